//! RFC 2544 and RFC 2889 against the switch itself, on the virtual clock.

use bench::dut::{chassis, testbed};
use port::Nanos;
use traffic_gen::method::rfc2544::throughput;
use traffic_gen::method::rfc2889::{addresses, broadcast, congestion, errored, forwarding, pressure};
use traffic_gen::method::{Pattern, Report, Runner, Settings, Silent};
use traffic_gen::trial::{Amount, Phase, Testbed, TestbedError};

fn settings(sizes: &[usize], trial_us: u64) -> Settings {
    Settings {
        sizes: sizes.to_vec(),
        trial: Nanos(trial_us * 1000),
        wait: Nanos::from_millis(10),
        rest: Nanos::from_millis(10),
        ..Settings::default()
    }
}

fn run(settings: Settings, test: impl FnOnce(&mut Runner<'_>) -> Result<Report, TestbedError>) -> Report {
    let mut testbed = testbed(&chassis(), "chassis", 1).unwrap();
    let mut watch = Silent;
    let mut runner = Runner::new(&mut testbed, settings, &mut watch);
    let report = test(&mut runner).unwrap();
    assert!(report.trials.iter().all(|trial| trial.invalid.is_empty()), "{:?}", report.notes);
    let clean = |trial: &&traffic_gen::method::TrialRow| trial.duplicated + trial.reordered + trial.misdelivered + trial.corrupted == 0;
    assert!(report.trials.iter().all(|trial| clean(&trial)), "{:?}", report.trials);
    report
}

fn number(report: &Report, result: usize, name: &str) -> f64 {
    report.results[result][name].as_f64().unwrap_or_else(|| panic!("{name} in {:?}", report.results[result]))
}

/// 16 blades of 1G into the uplink of 10G, 64 bytes: 37.5 % are lost, less the one queue that fills; fairly; and not one frame of what
/// the uplink sends to the blades at the same time.
#[test]
fn many_to_one_loses_exactly_what_arithmetic_says() {
    let config = chassis();
    let queue = config.ports[16].queue.next_power_of_two() as f64;
    let mut testbed = testbed(&config, "chassis", 1).unwrap();
    let ports = testbed.ports().to_vec();
    let settings = settings(&[64], 10_000);
    let amount = Amount::Span(settings.trial);
    let up = Pattern::many_to_one(17, 16).unfitted();
    let mut trial = up.trial(&ports, 64, 1.0, amount, &settings);
    let upwards = trial.streams.len();
    let frames = Pattern::one_to_many(17, 16).frames(&mut trial, 16, 64, 1);
    trial.ports[16].phases = vec![Phase::even(frames, ports[16].line_bps, amount)];
    let result = testbed.run(&trial, &mut |_| true).unwrap();
    assert!(result.is_valid(), "{:?}", result.invalid);

    let (loaded, uncongested) = result.streams.split_at(upwards);
    assert_eq!(uncongested.iter().map(|stream| stream.lost).sum::<u64>(), 0, "nothing is lost where there is no congestion");
    assert_eq!(uncongested.iter().map(|stream| stream.sent).sum::<u64>(), 148_809);
    let sent: u64 = loaded.iter().map(|stream| stream.sent).sum();
    let lost: u64 = loaded.iter().map(|stream| stream.lost).sum();
    assert_eq!(sent, 16 * 14_880);
    // 14,880 frames from each blade, the last of which arrives 14,879 frame times after the first: for so long the uplink
    // sends, a frame each 67.2 ns, beginning with one of the first; what then waits in its queue follows.
    let carried = (14_879.0 * 672.0 / 67.2) + queue + 1.0;
    assert!((lost as f64 - (sent as f64 - carried)).abs() <= 1.0, "lost {lost}, by arithmetic {}", sent as f64 - carried);
    let shares: Vec<f64> = loaded.iter().map(|stream| stream.received as f64).collect();
    let fairness = forwarding::fairness(&shares);
    assert!(fairness >= 0.999, "{fairness}: {shares:?}");
}

#[test]
fn the_switch_has_the_throughput_of_its_lines() {
    let report = run(settings(&[64, 1518], 2_000), |runner| throughput::run(runner, &Pattern::pairs(17, true)));
    assert_eq!((number(&report, 0, "load"), number(&report, 1, "load")), (1.0, 1.0));
}

#[test]
fn all_of_rfc_2889() {
    let mut blades = chassis();
    // Meshes are of ports of one rate.
    blades.ports.truncate(5);
    let on = |settings: Settings, test: &dyn Fn(&mut Runner<'_>) -> Result<Report, TestbedError>| {
        let mut testbed = testbed(&blades, "five blades", 1).unwrap();
        let mut watch = Silent;
        let mut runner = Runner::new(&mut testbed, settings, &mut watch);
        test(&mut runner).unwrap()
    };
    let meshes = [
        Pattern::full_mesh(5),
        Pattern::one_to_many(5, 4),
        Pattern::many_to_one(5, 4),
        Pattern::between(5, &[0, 1]),
        Pattern::unidirectional(5),
    ];
    let report = on(settings(&[64, 512], 1_000), &|runner| forwarding::run(runner, &meshes, "meshes", "5.1 to 5.4"));
    for result in 0..report.results.len() {
        assert_eq!(number(&report, result, "throughput_load"), 1.0, "{:?}", report.results[result]);
        assert_eq!(number(&report, result, "flooded"), 0.0);
    }
    let report = on(settings(&[64], 5_000), &congestion::run);
    assert_eq!(report.results[0]["head_of_line_blocking"], false, "{:?}", report.results);
    let report = on(settings(&[64], 1_000), &|runner| pressure::run(runner, 2));
    assert_eq!(report.results[0]["forward_pressure"], false, "{:?}", report.results);
    let learn = |addresses| addresses::Options { addresses, learning_fps: 1_000_000, pause: Nanos::from_millis(1) };
    let limit = f64::from(blades.fdb.limit);
    assert!(limit > 2_000.0);
    let report = on(settings(&[64], 0), &|runner| addresses::caching_capacity(runner, learn(2_000)));
    assert_eq!((number(&report, 0, "addresses"), &report.results[0]["at_least"]), (2_001.0, &true.into()));
    let report = on(settings(&[64], 0), &|runner| addresses::learning_rate(runner, learn(1_000)));
    assert_eq!(report.results[0]["at_least"], true, "it learns at line rate: {:?}", report.results);
    let report = on(settings(&[64], 1_000), &|runner| errored::run(runner, &[1.0], usize::from(blades.switch.max_frame) + 4));
    assert!(report.results.iter().any(|class| class["class"] == "oversize" && class["passed"] == true), "{:?}", report.results);
    let report = on(settings(&[64], 1_000), &broadcast::run);
    assert_eq!((number(&report, 0, "throughput_load"), number(&report, 0, "loss_ratio")), (1.0, 0.0));
}

/// A limit that is configured is the limit that is found.
#[test]
fn the_table_of_the_switch_is_as_large_as_configured() {
    let mut config = chassis();
    config.fdb.limit = 300;
    let mut testbed = testbed(&config, "small table", 1).unwrap();
    let mut watch = Silent;
    let settings = settings(&[64], 0);
    let mut runner = Runner::new(&mut testbed, settings, &mut watch);
    let options = addresses::Options { addresses: 1_000, learning_fps: 100_000, pause: Nanos::from_millis(1) };
    let report = addresses::caching_capacity(&mut runner, options).unwrap();
    assert_eq!(number(&report, 0, "addresses"), 300.0, "{:?}", report.results);
}

/// The same with the switch's own threads, in real time: at a low load nothing is lost but what the tester did not send in time.
#[test]
fn a_trial_in_real_time_accounts_for_every_frame() {
    let mut config = chassis();
    config.ports.truncate(2);
    let mut testbed = bench::dut::threads(&config, "two blades").unwrap();
    let lines = testbed.ports().to_vec();
    let settings = Settings { wait: Nanos::from_millis(50), ..settings(&[256], 0) };
    let trial = Pattern::pairs(2, true).trial(&lines, 256, 0.01, Amount::Span(Nanos::from_millis(20)), &settings);
    let result = testbed.run(&trial, &mut |_| true).unwrap();
    let (intended, sent, received) = result.counts();
    // 452,899 frames a second are 100 %: 90 in 20 ms at 1 %, both ways.
    assert_eq!(intended, 180);
    assert_eq!(received, sent, "{result:?}");
    assert_eq!(result.is_valid(), sent == intended, "{:?}", result.invalid);
}
