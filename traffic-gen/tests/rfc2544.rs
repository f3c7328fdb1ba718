//! RFC 2544 against model devices: each test must find the limit the model has, wherever it is.

use port::Nanos;
use serde_json::Value;
use traffic_gen::method::rfc2544::{back_to_back, latency, loss, recovery, reset, throughput};
use traffic_gen::method::{Pattern, Report, Runner, Settings, Silent, soak};
use traffic_gen::testbed::model::{ModelConfig, testbed};
use traffic_gen::trial::TestbedError;

/// Trials of some milliseconds: the clock is virtual, and the limits are sharp.
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
    assert!(report.text().contains("RFC"), "{}", report.text());
    report
}

fn number(report: &Report, result: usize, name: &str) -> f64 {
    report.results[result][name].as_f64().unwrap_or_else(|| panic!("{name} in {:?}", report.results[result]))
}

#[test]
fn an_ideal_bridge_has_the_throughput_of_its_lines() {
    let report = run("ideal,ports=2", settings(&[64, 1518], 10_000), |runner| throughput::run(runner, &Pattern::pairs(2, true)));
    assert_eq!(number(&report, 0, "load"), 1.0);
    // 14,880 frames of 64 bytes and 812 of 1518 are complete in 10 ms at 1 Gb/s, in each direction.
    assert_eq!(number(&report, 0, "fps"), 2.0 * 1_488_000.0);
    assert_eq!(number(&report, 1, "fps"), 2.0 * 81_200.0);
    assert_eq!(report.trials.len(), 2, "the maximum is tried first");
}

#[test]
fn the_throughput_of_a_slow_device_is_its_limit() {
    for pps in [7_300_000.0, 5_000_000.0] {
        let model = format!("slow,pps={pps},buffer=8");
        let report = run(&model, settings(&[64], 20_000), |runner| throughput::run(runner, &Pattern::pairs(2, false)));
        let found = number(&report, 0, "fps");
        // The resolution is 0.1 % of 14.88 Mpps; eight frames of buffer help for 20 ms.
        assert!((pps - 15_500.0..=pps + 800.0).contains(&found), "{found} for {pps}");
    }
}

#[test]
fn frame_loss_is_what_exceeds_the_limit() {
    let report = run("slow,buffer=8", settings(&[64], 10_000), |runner| loss::run(runner, &Pattern::pairs(2, false), 0.1));
    for (row, load) in [(0, 1.0f64), (1, 0.9), (4, 0.6), (5, 0.5)] {
        let expected = (1.0 - 7_300_000.0 / (14_880_952.0 * load)).max(0.0);
        assert!((number(&report, row, "loss_ratio") - expected).abs() < 0.001, "{:?}", report.results[row]);
    }
    // Two loads without loss in a row end it: 40 % and 30 % need not be tried. 49 % is the limit: 50 % loses.
    assert_eq!(report.results.len(), 8, "100 % down to 30 %: {:?}", report.results);
    assert_eq!(number(&report, 6, "loss_ratio"), 0.0);
}

#[test]
fn the_buffer_is_found_by_bursts() {
    for buffer in [1000.0, 100.0] {
        let model = format!("buffer,buffer={buffer}");
        let options = back_to_back::Options { repeats: 2, burst: Nanos::from_millis(20) };
        // Long trials for the throughput: the buffer must not carry them.
        let report = run(&model, settings(&[64], 200_000), |runner| back_to_back::run(runner, &Pattern::pairs(2, false), options));
        let corrected = number(&report, 0, "corrected_frames");
        assert!((corrected / buffer - 1.0).abs() < 0.03, "{corrected} for {buffer}: {:?}", report.results);
        assert!(number(&report, 0, "mean") > 3.0 * buffer, "1.488 in, 1 out: a burst is three times the buffer");
        assert_eq!(number(&report, 0, "deviation"), 0.0);
    }
}

#[test]
fn bursts_are_left_out_where_the_throughput_is_the_line_rate() {
    let options = back_to_back::Options { repeats: 1, burst: Nanos::from_millis(1) };
    let report = run("ideal,ports=2", settings(&[64], 1_000), |runner| back_to_back::run(runner, &Pattern::pairs(2, true), options));
    assert!(report.results.is_empty() && report.notes[0].contains("RFC 9004"), "{:?}", report.notes);
}

#[test]
fn latency_is_the_delay_and_the_frame_itself() {
    for (delay, size) in [(1_000.0, 64), (50_000.0, 1518)] {
        let model = format!("ideal,ports=2,delay={delay}");
        let options = latency::Options { repeats: 3, trial: Nanos::from_millis(2) };
        let report = run(&model, settings(&[size], 2_000), |runner| latency::run(runner, &Pattern::pairs(2, true), options));
        // Preamble, frame and FCS at 1 Gb/s.
        let own = (8.0 + size as f64) * 8.0;
        assert_eq!(number(&report, 0, "marked_mean"), delay + own);
        assert_eq!(number(&report, 0, "store_and_forward_mean"), delay + 64.0, "the preamble is before the first bit");
        let percentiles: Vec<f64> = report.results[0]["percentiles"].as_array().unwrap().iter().filter_map(Value::as_f64).collect();
        assert!((percentiles[5] / (delay + own) - 1.0).abs() < 0.002, "{percentiles:?}");
        // All took as long, and left when they were to leave.
        let varied = &report.results[0]["varied"];
        let numbers = |name: &str| varied[name].as_array().unwrap().iter().filter_map(Value::as_f64).collect::<Vec<f64>>();
        assert_eq!(
            (varied["pdv_p999"].as_f64(), numbers("ipdv"), varied["jitter"].as_f64()),
            (Some(0.0), vec![0.0; 3], Some(0.0)),
            "{varied}"
        );
        assert!((numbers("planned")[2] / (delay + own) - 1.0).abs() < 0.002, "{varied}");
    }
}

#[test]
fn recovery_is_as_long_as_the_device_takes() {
    for recovery_ms in [50u64, 20] {
        let model = format!("recovers,recovery={}", recovery_ms * 1_000_000);
        let report = run(&model, settings(&[64], 100_000), |runner| recovery::run(runner, &Pattern::pairs(2, false)));
        let found = number(&report, 0, "recovery_ns");
        assert!((found / (recovery_ms as f64 * 1e6) - 1.0).abs() < 0.001, "{found} for {recovery_ms} ms");
    }
    let report = run("slow,buffer=8", settings(&[64], 5_000), |runner| recovery::run(runner, &Pattern::pairs(2, false)));
    assert!(number(&report, 0, "lost") > 0.0 && number(&report, 0, "recovery_ns") < 1_000.0, "{:?}", report.results);
}

#[test]
fn a_reset_is_as_long_as_the_outage() {
    for outage_ms in [5u64, 20] {
        let model = format!("ideal,ports=2,outage={}", outage_ms * 1_000_000);
        let report =
            run(&model, settings(&[64], 50_000), |runner| reset::run(runner, &Pattern::pairs(2, false), Some(0.5), Nanos::from_millis(20)));
        for name in ["by_loss_ns", "by_time_ns"] {
            let found = number(&report, 0, name);
            assert!((found / (outage_ms as f64 * 1e6) - 1.0).abs() < 0.002, "{name} {found} for {outage_ms} ms");
        }
    }
}

#[test]
fn a_soak_shows_what_is_lost_now_and_then() {
    let options = soak::Options { load: 0.5, intervals: 10, interval: Nanos::from_millis(10), n: 3, loss_accepted: 1e-7 };
    let report = run("ideal,ports=2,lose=1000", settings(&[64], 10_000), |runner| soak::run(runner, &Pattern::pairs(2, true), options));
    let loss: Vec<f64> = report.results[0]["loss"].as_array().unwrap().iter().filter_map(Value::as_f64).collect();
    let mean = loss.iter().sum::<f64>() / 10.0;
    assert!((0.0007..0.0013).contains(&mean), "{loss:?}");
    let (best, worst) = (number(&report, 0, "best_n"), number(&report, 0, "worst_n"));
    assert!(best < mean && mean < worst && number(&report, 0, "failed") == 10.0, "{loss:?}");
    let report = run("ideal,ports=2", settings(&[64], 10_000), |runner| soak::run(runner, &Pattern::pairs(2, true), options));
    assert_eq!(number(&report, 0, "failed"), 0.0);
}
