//! RFC 3918 against model devices: each test must find what the model is made to do.

use port::Nanos;
use serde_json::Value;
use traffic_gen::method::rfc3918::{aggregated, capacity, latency, mixed_class, scaled_groups};
use traffic_gen::method::{Report, Runner, Settings, Silent};
use traffic_gen::testbed::model::{ModelConfig, testbed};
use traffic_gen::trial::TestbedError;

fn run(model: &str, sizes: &[usize], test: impl FnOnce(&mut Runner<'_>) -> Result<Report, TestbedError>) -> Report {
    let settings = Settings {
        sizes: sizes.to_vec(),
        trial: Nanos::from_millis(2),
        wait: Nanos::from_millis(10),
        rest: Nanos::from_millis(10),
        ..Settings::default()
    };
    let mut testbed = testbed(&ModelConfig::parse(model).unwrap(), model);
    let mut watch = Silent;
    let mut runner = Runner::new(&mut testbed, settings, &mut watch);
    let report = test(&mut runner).unwrap();
    assert!(report.trials.iter().all(|trial| trial.invalid.is_empty()), "{:?}", report.notes);
    report
}

fn number(report: &Report, result: usize, name: &str) -> f64 {
    report.results[result][name].as_f64().unwrap_or_else(|| panic!("{name} in {:?}", report.results[result]))
}

/// 1G at 64 bytes, to three ports, whether it floods or knows who has joined.
#[test]
fn an_ideal_device_copies_at_line_rate() {
    for model in ["ideal", "snooper"] {
        let report = run(model, &[64, 512], |runner| aggregated(runner, 0, 16));
        for (result, line) in [(0, 1_488_095.0), (1, 234_962.0)] {
            assert_eq!((number(&report, result, "throughput_load"), number(&report, result, "multicast_loss")), (1.0, 0.0));
            assert!((number(&report, result, "aggregated_fps") / (3.0 * line) - 1.0).abs() < 0.003, "{model}: {:?}", report.results);
            assert!((number(&report, result, "forwarding_fps") / (3.0 * line) - 1.0).abs() < 0.003, "{model}: {:?}", report.results);
        }
    }
}

#[test]
fn a_device_that_is_too_slow_has_its_limit() {
    let report = run("ideal,pps=500k,buffer=8", &[64], |runner| aggregated(runner, 2, 4));
    let found = number(&report, 0, "throughput_fps");
    assert!((found / 500_000.0 - 1.0).abs() < 0.02, "{found} frames/s");
    assert!(number(&report, 0, "multicast_loss") > 0.6 && number(&report, 0, "groups_with_loss") == 4.0, "{:?}", report.results);
}

/// Groups beyond the device's table get nothing: all of their frames are lost, and no others.
#[test]
fn groups_that_do_not_fit_are_seen() {
    let report = run("snooper,groups=10", &[64], |runner| scaled_groups(runner, 0, &[1, 10, 16]));
    for (result, groups, lost) in [(0, 1.0, 0.0), (1, 10.0, 0.0), (2, 16.0, 6.0)] {
        assert_eq!((number(&report, result, "groups"), number(&report, result, "groups_with_loss")), (groups, lost));
        let loss = number(&report, result, "multicast_loss");
        assert!((loss - lost / 16.0).abs() < 0.001, "{loss}");
    }
    // So few frames that none was for the eleventh group.
    assert!(number(&report, 2, "throughput_load") < 0.01, "{:?}", report.results);
    for limit in [1, 37, 100] {
        let report = run(&format!("snooper,groups={limit}"), &[64], |runner| capacity(runner, 1, 100));
        assert_eq!(number(&report, 0, "groups"), f64::from(limit));
        assert_eq!(report.results[0]["at_most_tried"].as_bool(), Some(limit == 100));
    }
    let report = run("ideal", &[128], |runner| capacity(runner, 0, 300));
    assert_eq!((number(&report, 0, "groups"), report.results[0]["at_most_tried"].as_bool()), (300.0, Some(true)), "it floods");
}

/// With the source's line full, each other port gets all of the multicast half and its part of the unicast half.
#[test]
fn classes_are_told_apart() {
    let report = run("ideal", &[64], |runner| mixed_class(runner, 0, 8, 50));
    assert_eq!(number(&report, 0, "throughput_load"), 1.0);
    assert_eq!((number(&report, 0, "multicast_loss"), number(&report, 0, "unicast_loss")), (0.0, 0.0));
    let copies = number(&report, 0, "forwarding_fps");
    assert!((copies / (1_488_095.0 * (0.5 * 3.0 + 0.5)) - 1.0).abs() < 0.002, "{copies}");
    // A device that knows no group forwards what goes to stations.
    let report = run("snooper,groups=1", &[64], |runner| mixed_class(runner, 0, 2, 20));
    assert_eq!((number(&report, 0, "unicast_loss"), number(&report, 0, "throughput_load")), (0.0, 0.0));
    assert!((number(&report, 0, "multicast_loss") - 0.5).abs() < 0.001, "{:?}", report.results);
}

/// The last bit leaves a port of 10G earlier than one of 1G: by what the frame takes less there.
#[test]
fn latency_is_told_for_each_destination() {
    for (delay, size) in [(1_000.0, 64), (20_000.0, 1518)] {
        let report = run(&format!("ideal,ports=3,uplink=10G,delay={delay}"), &[size], |runner| latency(runner, 0, 5));
        let bits = (8.0 + size as f64) * 8.0;
        let destinations = report.results[0]["destinations"].as_array().unwrap();
        assert_eq!(destinations.iter().map(|one| one["port"].as_str().unwrap()).collect::<Vec<_>>(), ["p2", "p3", "p4"]);
        for (destination, own) in destinations.iter().zip([bits, bits, bits / 10.0]) {
            let values: Vec<f64> = destination["latency"].as_array().unwrap().iter().filter_map(Value::as_f64).collect();
            assert!(values.iter().all(|ns| (ns / (delay + own) - 1.0).abs() < 0.002), "{values:?}, not {}", delay + own);
            assert!(destination["copies"].as_u64() > Some(100));
        }
        let apart = number(&report, 0, "max") - number(&report, 0, "min");
        assert!((apart / (bits * 0.9) - 1.0).abs() < 0.05, "{apart}");
        assert!(report.notes.iter().any(|note| note.contains("min/max multicast latency")), "{:?}", report.notes);
    }
}
