//! The trend of a figure against PyPI `jumpavg` 0.4.2, with which FD.io CSIT looks for regressions; and as a person asks for it.
//!
//! `trend_oracle.py` writes histories and what the oracle makes of them, `trend_golden.json` is what it wrote.

use std::process::Command;

use serde_json::Value;
use traffic_gen::measure::trend::stretches;

const GOLDEN: &str = include_str!("trend_golden.json");

fn golden() -> Vec<Value> {
    serde_json::from_str(GOLDEN).unwrap()
}

fn history(case: &Value) -> Vec<Vec<f64>> {
    serde_json::from_value(case["history"].clone()).unwrap()
}

#[test]
fn the_same_stretches_as_the_oracle() {
    for case in golden() {
        let found = stretches(&history(&case));
        let groups = case["groups"].as_array().unwrap();
        assert_eq!(found.len(), groups.len(), "{case}: {found:?}");
        let mut start = 0;
        for (stretch, group) in found.iter().zip(groups) {
            let number = |name: &str| group[name].as_f64().unwrap();
            assert_eq!((stretch.start, stretch.runs as u64), (start, group["runs"].as_u64().unwrap()));
            assert!((stretch.mean - number("mean")).abs() < 1e-9 && (stretch.stdev - number("stdev")).abs() < 1e-6, "{stretch:?}: {group}");
            start += stretch.runs;
        }
    }
}

/// The golden file is what the oracle says, where there is one: `TEST_PYTHON` names a Python that has it.
#[test]
fn the_golden_file_is_the_oracles() {
    let python = std::env::var_os("TEST_PYTHON").unwrap_or_else(|| "python3".into());
    let needs = "import importlib.metadata as m; assert m.version('jumpavg') == '0.4.2'";
    let has = Command::new(&python).args(["-c", needs]).output();
    if !has.as_ref().is_ok_and(|output| output.status.success()) {
        println!("skipped: {} has no jumpavg 0.4.2 (TEST_PYTHON names a Python that can)", python.to_string_lossy());
        return;
    }
    let output = Command::new(&python).arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/trend_oracle.py")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let now: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    for (now, kept) in now.iter().zip(&golden()) {
        // Other versions of Python add in another order.
        let sizes = |case: &Value| case["groups"].as_array().unwrap().iter().map(|group| group["runs"].clone()).collect::<Vec<_>>();
        assert_eq!((&now["history"], sizes(now)), (&kept["history"], sizes(kept)));
    }
    assert_eq!(now.len(), golden().len(), "run traffic-gen/tests/trend_oracle.py again");
}

/// Rates that become 5 % less are worse, and more instructions are; noise and gains are not.
#[test]
fn a_loss_of_five_percent_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("history");
    let told = |case: &Value, more: &[&str]| {
        let lines: Vec<String> =
            history(case).iter().map(|run| run.iter().map(f64::to_string).collect::<Vec<_>>().join(" ") + " # a run\n").collect();
        std::fs::write(&file, lines.concat()).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_traffic-gen")).arg("trend").arg(&file).args(more).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let golden = golden();
    let case = |levels: &[f64], spread: f64| {
        golden.iter().find(|case| case["levels"] == serde_json::json!(levels) && case["spread"] == spread).unwrap()
    };
    let slower = case(&[10.0, 9.5], 0.005);
    let (code, text) = told(slower, &[]);
    assert!(code == Some(1) && text.contains("WORSE since run 4") && text.contains(", -4."), "{text}");
    assert_eq!(told(slower, &["--lower-is-better"]).0, Some(0));
    let noise = case(&[10.0], 0.01);
    for more in [&[][..], &["--lower-is-better"]] {
        assert_eq!(told(noise, more).0, Some(0));
    }
    let (code, text) = told(case(&[10.0, 9.5, 9.0, 9.5], 0.002), &["--lower-is-better", "--json"]);
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &value[0]["worse"], value[0]["stretches"].as_array().unwrap().len()), (Some(1), &true.into(), 4), "{text}");
    std::fs::write(&file, "1\ntwo\n").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_traffic-gen")).arg("trend").arg(&file).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && stderr.contains("history: line 2: `two`: expected a number"), "{stderr}");
}
