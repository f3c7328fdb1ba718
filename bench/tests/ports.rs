//! `bench ports` as it is run: frames really arrive through every kind of port, the report has its parts, and nothing is left behind.
//!
//! Nothing here depends on how fast the machine is.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// Runs it on one ground for a moment; `None` where the machine has no such ground.
fn bench(ground: &str, dir: &Path) -> Option<Vec<Value>> {
    let json = dir.join("ports.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench"));
    command.args(["ports", ground, "--seconds", "0.1", "--rounds", "1", "--stations", "3", "--latency-pps", "1000"]);
    command.arg("--json").arg(&json).arg("--report").arg(dir.join("report"));
    let Output { status, stdout, stderr } = command.output().unwrap();
    let says = String::from_utf8_lossy(&stderr);
    if says.contains("it takes root") {
        eprintln!("skipped: {}", says.trim());
        return None;
    }
    assert!(status.success(), "{says}{}", String::from_utf8_lossy(&stdout));
    assert!(dir.join("report/ports.html").is_file() && dir.join("report/ports.json").is_file());
    let document: Value = serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
    Some(document["result"].as_array().unwrap().clone())
}

fn all_arrived(figures: &[Value], expected: &[&str]) {
    for device in expected {
        let figures = figures.iter().find(|figures| figures["device"] == *device).unwrap_or_else(|| panic!("{device} in {figures:?}"));
        assert_eq!(figures["failed"], serde_json::json!([]), "{device}");
        assert_eq!(figures["rounds"], 1, "{device}");
        for overload in figures["overload"].as_array().unwrap() {
            let count = |name: &str| overload[name].as_u64().unwrap();
            assert!(count("received") > 0 && count("received") <= count("sent"), "{device}: {overload}");
            assert_eq!((count("damaged"), count("out_of_order")), (0, 0), "{device}: {overload}");
        }
        assert!(figures["latency"]["frames"].as_u64().unwrap() > 0, "{device}");
        if device.starts_with("switch") {
            assert!(figures["idle"].as_f64().is_some(), "{device}");
        }
    }
}

#[test]
fn frames_arrive_through_every_kind_of_interface() {
    let dir = tempfile::tempdir().unwrap();
    let Some(figures) = bench("--linux", dir.path()) else { return };
    let ours = ["af_xdp native", "af_xdp skb", "af_packet", "tap"].map(|kind| [format!("switch, {kind}"), format!("bare loop, {kind}")]);
    let mut expected: Vec<&str> = ours.iter().flatten().map(String::as_str).collect();
    expected.extend(["bridge", "veth pair alone"]);
    all_arrived(&figures, &expected);
    let namespaces = std::fs::read_dir("/run/netns").unwrap().flatten();
    let name = |entry: std::fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    let ours: Vec<String> = namespaces.map(name).filter(|name| name.starts_with("bench-ports-")).collect();
    // Those of other tests are of this process, or of one that lives.
    let dead = |name: &String| name.split('-').nth(2).is_some_and(|process| !Path::new("/proc").join(process).exists());
    assert!(!ours.iter().any(dead), "{ours:?}");
}

#[test]
fn frames_arrive_through_memif() {
    let dir = tempfile::tempdir().unwrap();
    let Some(figures) = bench("--memif", dir.path()) else { return };
    all_arrived(&figures, &["switch, memif", "bare loop, memif", "switch, memif client", "bare loop, memif client"]);
    for sink in ["sink, memif", "sink, memif client"] {
        let sink = figures.iter().find(|figures| figures["device"] == sink).unwrap();
        assert!(sink["overload"][0]["sent"].as_u64().unwrap() > 0, "{sink}");
    }
    // Whoever is compared in that role, if it is there, takes part in it.
    match figures.iter().find(|figures| figures["device"] == "testpmd io, memif client") {
        Some(_) => all_arrived(&figures, &["testpmd io, memif client"]),
        None => eprintln!("skipped: dpdk-testpmd is not installed"),
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let bench = |args: &[&str]| Command::new(env!("CARGO_BIN_EXE_bench")).arg("ports").args(args).output().unwrap();
    let output = bench(&["--only", "nobody"]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("expected the beginning of one of"));
    assert!(!bench(&["--sizes", "9000"]).status.success());
}
