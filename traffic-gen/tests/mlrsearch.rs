//! MLRsearch against the reference implementation of its authors (PyPI `MLRsearch` 1.2.1, of FD.io CSIT).
//!
//! `mlrsearch_oracle.py` runs it and writes what it decides; `mlrsearch_golden.json` is what it wrote. 1.2.1 is of October 2023, before
//! RFC 9971 (May 2026). Load classification and conditional throughput are the same in both, and must be here. The order in which
//! loads are tried is left to the implementation by the RFC and differs: so does the grid of loads, which 1.2.1 fits to both ends of the
//! range. What both find for one device must agree to within the goal's width.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;
use traffic_gen::method::mlrsearch::classify::{Criteria, classify};
use traffic_gen::method::mlrsearch::{Bound, Goal, SearchConfig, TrialLoss, conditional_loss_ratio, search};

const GOLDEN: &str = include_str!("mlrsearch_golden.json");

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("a number, not {value}"))
}

fn criteria(goal: &Value) -> Criteria {
    Criteria {
        full_s: number(&goal["final_trial_duration"]),
        duration_sum_s: number(&goal["duration_sum"]),
        loss_ratio: number(&goal["loss_ratio"]),
        exceed_ratio: number(&goal["exceed_ratio"]),
    }
}

/// SplitMix64, as in `mlrsearch_oracle.py`.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / 9_007_199_254_740_992.0
    }
}

/// The device of `mlrsearch_oracle.py`.
struct Device {
    chance: Chance,
    capacity: f64,
    noise: f64,
    one_in: u64,
}

impl Device {
    fn of(search: &Value) -> Device {
        let whole = |name: &str| search[name].as_u64().unwrap();
        Device {
            chance: Chance(whole("seed")),
            capacity: number(&search["capacity"]),
            noise: number(&search["noise"]),
            one_in: whole("one_in"),
        }
    }

    fn loss_ratio(&mut self, load: f64, seconds: f64) -> f64 {
        let offered = (load * seconds + 0.5) as i64;
        let capacity = self.capacity * (1.0 + self.noise * (self.chance.unit() - 0.5));
        let mut lost = if load > capacity { offered - (capacity * seconds + 0.5) as i64 } else { 0 };
        if self.one_in > 0 && self.chance.next().is_multiple_of(self.one_in) {
            lost += 1 + offered / 100_000;
        }
        if offered == 0 { 0.0 } else { lost.clamp(0, offered) as f64 / offered as f64 }
    }
}

#[test]
fn loads_are_classified_as_the_oracle_does() {
    let golden: Value = serde_json::from_str(GOLDEN).unwrap();
    let mut seen = BTreeMap::new();
    for case in golden["loads"].as_array().unwrap() {
        let trials: Vec<TrialLoss> = case["trials"]
            .as_array()
            .unwrap()
            .iter()
            .map(|trial| TrialLoss { seconds: number(&trial[0]), loss_ratio: number(&trial[1]) })
            .collect();
        for (name, answer) in case["answers"].as_object().unwrap() {
            let criteria = criteria(&golden["goals"][name]);
            let expected = match answer[0].as_str().unwrap() {
                "lower" => Bound::Lower,
                "upper" => Bound::Upper,
                _ => Bound::Undecided,
            };
            assert_eq!(classify(&criteria, &trials), expected, "{name}: {trials:?}");
            *seen.entry(answer[0].as_str().unwrap()).or_insert(0) += 1;
            if let Some(ratio) = answer[1].as_f64() {
                let ours = conditional_loss_ratio(&criteria, &trials);
                assert!((ours - ratio).abs() < 1e-12, "{name}: {ours} and {ratio} of {trials:?}");
            }
        }
    }
    assert!(seen.len() == 3 && seen.values().all(|&count| count > 100), "all answers are tried: {seen:?}");
}

/// The device is the same one: with the oracle's loads it gives the oracle's losses, to the last bit but one that reading JSON costs.
#[test]
fn the_seeded_device_is_the_oracles() {
    let golden: Value = serde_json::from_str(GOLDEN).unwrap();
    for search in golden["searches"].as_array().unwrap() {
        let mut device = Device::of(search);
        for trial in search["trials"].as_array().unwrap() {
            let loss = device.loss_ratio(number(&trial[0]), number(&trial[1]));
            assert!((loss - number(&trial[2])).abs() < 1e-15, "{trial}: {loss}");
        }
    }
}

/// From the oracle's trials follow the oracle's bounds and conditional throughput.
#[test]
fn the_oracles_trials_mean_the_same_here() {
    let golden: Value = serde_json::from_str(GOLDEN).unwrap();
    for search in golden["searches"].as_array().unwrap() {
        let mut loads: Vec<(f64, Vec<TrialLoss>)> = Vec::new();
        // The first trial warms the device up and does not count.
        for trial in search["trials"].as_array().unwrap().iter().skip(1) {
            let (load, trial) = (number(&trial[0]), TrialLoss { seconds: number(&trial[1]), loss_ratio: number(&trial[2]) });
            match loads.iter_mut().find(|(known, _)| *known == load) {
                Some((_, trials)) => trials.push(trial),
                None => loads.push((load, vec![trial])),
            }
        }
        loads.sort_by(|a, b| a.0.total_cmp(&b.0));
        for (goal, expected) in ["ndr", "pdr"].iter().zip(search["bounds"].as_array().unwrap()) {
            let criteria = criteria(&golden["goals"][goal]);
            let upper = loads.iter().position(|(_, trials)| classify(&criteria, trials) == Bound::Upper).unwrap();
            let lower = loads[..upper].iter().rposition(|(_, trials)| classify(&criteria, trials) == Bound::Lower).unwrap();
            let conditional = loads[lower].0 * (1.0 - conditional_loss_ratio(&criteria, &loads[lower].1));
            for (ours, theirs) in [loads[lower].0, loads[upper].0, conditional].iter().zip(expected.as_array().unwrap()) {
                assert!((ours / number(theirs) - 1.0).abs() < 1e-9, "{goal}: {ours} and {theirs}");
            }
        }
    }
}

/// Two searches of one device agree to within the goal's width, on either side, and the device's noise.
#[test]
fn our_search_finds_what_the_oracle_finds() {
    let golden: Value = serde_json::from_str(GOLDEN).unwrap();
    for case in golden["searches"].as_array().unwrap() {
        let mut device = Device::of(case);
        let config = SearchConfig { min_load: number(&case["min"]), max_load: number(&case["max"]), search_max_s: 1200.0, warm_up_s: 1.0 };
        let mut trials = 0;
        let found = search::<()>(&config, &[Goal::ndr(), Goal::pdr()], &mut |load, seconds| {
            trials += 1;
            Ok(device.loss_ratio(load, seconds))
        })
        .unwrap();
        for (ours, theirs) in found.iter().zip(case["bounds"].as_array().unwrap()) {
            let (lower, upper) = (ours.lower_bound.unwrap(), ours.upper_bound.unwrap());
            assert!((upper - lower) / upper <= 0.0050001, "{ours:?}");
            let slack = 0.005 + number(&case["noise"]);
            assert!(lower < number(&theirs[1]) * (1.0 + slack) && upper > number(&theirs[0]) * (1.0 - slack), "{ours:?} and {theirs}");
            let conditional = ours.conditional_throughput.unwrap() / number(&theirs[2]);
            assert!((conditional - 1.0).abs() < 0.01, "{ours:?} and {theirs}");
        }
        // Not many more trials than the oracle needs.
        let theirs = case["trials"].as_array().unwrap().len();
        assert!(trials <= theirs * 3, "{trials} trials, the oracle needs {theirs}");
    }
}

/// The golden file is what the oracle says, where there is one: `TEST_PYTHON` names a Python that has it.
#[test]
fn the_golden_file_is_the_oracles() {
    let python = std::env::var_os("TEST_PYTHON").unwrap_or_else(|| "python3".into());
    let needs = "import importlib.metadata as m; assert m.version('MLRsearch') == '1.2.1'";
    let has = Command::new(&python).args(["-W", "ignore", "-c", needs]).output();
    if !has.as_ref().is_ok_and(|output| output.status.success()) {
        println!("skipped: {} has no MLRsearch 1.2.1 (TEST_PYTHON names a Python that can)", python.to_string_lossy());
        return;
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mlrsearch_oracle.py");
    let output = Command::new(&python).args(["-W", "ignore", script]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (now, kept): (Value, Value) = (serde_json::from_slice(&output.stdout).unwrap(), serde_json::from_str(GOLDEN).unwrap());
    assert!(now == kept, "run traffic-gen/tests/mlrsearch_oracle.py again and see what differs");
}
