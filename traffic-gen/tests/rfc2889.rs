//! RFC 2889 against model devices: each test must find the limit the model has, wherever it is.

use port::Nanos;
use traffic_gen::method::rfc2889::{addresses, broadcast, congestion, errored, forwarding, pressure};
use traffic_gen::method::{Pattern, Report, Runner, Settings, Silent};
use traffic_gen::testbed::model::{ModelConfig, testbed};
use traffic_gen::trial::{Amount, Testbed, TestbedError};

fn settings(sizes: &[usize], trial_us: u64) -> Settings {
    Settings {
        sizes: sizes.to_vec(),
        trial: Nanos(trial_us * 1000),
        wait: Nanos::from_millis(10),
        rest: Nanos::from_millis(10),
        ..Settings::default()
    }
}

fn run(model: &str, settings: Settings, test: impl FnOnce(&mut Runner<'_>) -> Result<Report, TestbedError>) -> Report {
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

fn is(report: &Report, result: usize, name: &str) -> bool {
    report.results[result][name].as_bool().unwrap_or_else(|| panic!("{name} in {:?}", report.results[result]))
}

#[test]
fn an_ideal_bridge_carries_every_mesh_at_line_rate() {
    let patterns = [Pattern::full_mesh(4), Pattern::one_to_many(4, 0), Pattern::between(4, &[0, 1]), Pattern::unidirectional(4)];
    let report = run("ideal", settings(&[64, 512], 2_000), |runner| forwarding::run(runner, &patterns, "meshes", "5.1"));
    for result in 0..8 {
        assert_eq!(number(&report, result, "throughput_load"), 1.0, "{:?}", report.results[result]);
        assert_eq!((number(&report, result, "lost"), number(&report, result, "flooded")), (0.0, 0.0));
    }
}

/// 16 ports of 1G into one of 10G, 64 bytes: 16/10 of what it carries. 37.5 % are lost, less the queue that fills once.
#[test]
fn many_to_one_loses_exactly_what_arithmetic_says() {
    for queue in [512u64, 64] {
        let model = format!("ideal,ports=16,uplink=10G,queue={queue}");
        let report =
            run(&model, settings(&[64], 20_000), |runner| forwarding::run(runner, &[Pattern::many_to_one(17, 16)], "many-to-one", "5.2"));
        // Fitted, each port sends at 625 Mb/s and nothing is lost.
        assert_eq!(number(&report, 0, "throughput_load"), 1.0);
        let sent = number(&report, 0, "expected");
        assert_eq!(sent, 16.0 * 29_761.0);
        // The output sends from the first frame's arrival (576 ns and 1 µs) until the input ends; then what waits follows.
        let busy_ns = 29_761.0 * 672.0 - 672.0;
        let carried = busy_ns / 67.2 + queue as f64 + 1.0;
        let lost = number(&report, 0, "lost");
        assert!((lost - (sent - carried)).abs() <= 16.0, "lost {lost}, by arithmetic {}", sent - carried);
        assert!((lost / sent - 0.375).abs() < 0.002);
        assert!(number(&report, 0, "fairness") >= 0.999, "{:?}", report.results[0]);
    }
}

#[test]
fn head_of_line_blocking_and_back_pressure_are_told_apart() {
    for (model, blocking, pressure) in [("ideal", false, false), ("hol,queue=32", true, false), ("backpressure,queue=32", false, true)] {
        let report = run(model, settings(&[64, 512], 20_000), congestion::run);
        for result in 0..2 {
            assert_eq!(is(&report, result, "head_of_line_blocking"), blocking, "{model}: {:?}", report.results[result]);
            assert_eq!(is(&report, result, "back_pressure"), pressure, "{model}: {:?}", report.results[result]);
        }
        assert_eq!(number(&report, 0, "pauses") > 0.0, pressure, "{model}");
        // Held back, the senders offer what the congested output carries: 2 of 3 frames are for it.
        let offered = number(&report, 0, "offered_share");
        if pressure { assert!(offered < 0.8, "{offered}") } else { assert_eq!(offered, 1.0) }
    }
}

#[test]
fn forward_pressure_is_seen_and_the_sweep_finds_the_limit() {
    for (model, expected) in [("ideal", false), ("gap", true), ("ideal,gap=95", true), ("gap,speed=10G", true), ("ideal,speed=10G", false)]
    {
        let report = run(model, settings(&[64, 1518], 1_000), |runner| pressure::run(runner, 4));
        for result in [0, 2] {
            assert_eq!(is(&report, result, "forward_pressure"), expected, "{model}: {:?}", report.results[result]);
        }
    }
    let report = run("slow,buffer=8", settings(&[64], 5_000), |runner| pressure::run(runner, 4));
    let rate = number(&report, 1, "mfr_fps");
    assert!((rate / 7_300_000.0 - 1.0).abs() < 0.002, "{rate}");
}

#[test]
fn the_address_table_is_as_large_as_it_is() {
    for capacity in [8192.0, 1000.0] {
        let options = addresses::Options { addresses: 20_480, learning_fps: 100_000, pause: Nanos::from_millis(1) };
        let model = format!("fdb,fdb={capacity}");
        let report = run(&model, settings(&[64], 0), |runner| addresses::caching_capacity(runner, options));
        assert_eq!(number(&report, 0, "addresses"), capacity);
        assert!(!is(&report, 0, "at_least"));
    }
    let options = addresses::Options { addresses: 100, learning_fps: 100_000, pause: Nanos::from_millis(1) };
    let report = run("ideal", settings(&[64], 0), |runner| addresses::caching_capacity(runner, options));
    assert!(is(&report, 0, "at_least") && report.notes[0].contains("may be higher"));
}

#[test]
fn addresses_are_learned_as_fast_as_they_are() {
    for rate in [40_000.0, 9_000.0] {
        let options = addresses::Options { addresses: 500, learning_fps: 0, pause: Nanos::from_millis(1) };
        let model = format!("learner,learn={rate}");
        let report = run(&model, settings(&[64], 0), |runner| addresses::learning_rate(runner, options));
        let found = number(&report, 0, "learning_fps");
        assert!(found <= rate * 1.002 && found >= rate * 0.998, "{found} for {rate}");
    }
}

#[test]
fn errored_frames_are_filtered_or_not() {
    for (model, passes) in [("ideal", true), ("errors", false)] {
        let report = run(model, settings(&[64], 2_000), |runner| errored::run(runner, &[1.0, 0.5], 1522));
        assert_eq!(report.results.len(), 4);
        for result in 0..4 {
            assert_eq!(is(&report, result, "passed"), passes, "{model}: {:?}", report.results[result]);
            let (sent, forwarded) = (number(&report, result, "sent"), number(&report, result, "forwarded"));
            assert!(sent > 50.0 && if passes { forwarded == 0.0 } else { forwarded >= sent }, "{model}: {:?}", report.results[result]);
        }
    }
}

#[test]
fn broadcasts_reach_all_others() {
    let report = run("ideal,ports=5", settings(&[64, 512], 2_000), broadcast::run);
    assert_eq!((number(&report, 0, "throughput_load"), number(&report, 0, "loss_ratio")), (1.0, 0.0));
    assert_eq!(number(&report, 0, "latency_mean_ns"), 1576.0);
    let report = run("ideal,ports=5,pps=1000000,buffer=8", settings(&[64], 10_000), broadcast::run);
    let found = number(&report, 0, "throughput_fps");
    assert!((found / 1e6 - 1.0).abs() < 0.003, "{found}");
    assert!((number(&report, 0, "frmol_fps") / 4e6 - 1.0).abs() < 0.003, "four copies of each: {:?}", report.results[0]);
}

/// Faults that no section looks for by itself are in every trial.
#[test]
fn every_fault_is_counted() {
    for (model, name, share) in [
        ("ideal", "", 0.0),
        ("duplicate", "duplicated", 0.001),
        ("reorder", "reordered", 0.001),
        ("flood", "flooded", 0.002),
        ("flood,flood=100", "flooded", 0.02),
        ("ideal,corrupt=500", "corrupted", 0.002),
    ] {
        let mut testbed = testbed(&ModelConfig::parse(model).unwrap(), model);
        let ports = testbed.ports().to_vec();
        let trial = Pattern::full_mesh(4).trial(&ports, 128, 0.5, Amount::Span(Nanos::from_millis(10)), &settings(&[128], 0));
        let result = testbed.run(&trial, &mut |_| true).unwrap();
        let total = result.total();
        let corrupted: u64 = result.ports.iter().map(|port| port.corrupted).sum();
        for (what, found) in
            [("duplicated", total.duplicated), ("reordered", total.reordered), ("flooded", total.flooded), ("corrupted", corrupted)]
        {
            let expected = if what == name { share } else { 0.0 };
            let found = found as f64 / total.sent as f64;
            assert!((found - expected).abs() < expected * 0.2 + 1e-9, "{model}: {what} {found} of {}", total.sent);
        }
        assert_eq!(total.lost, 0, "{model}");
    }
}
