//! `bench peers` as it is run: whoever is installed really forwards, what is missing is named, nothing is left behind.
//!
//! Nothing here depends on how fast the machine is.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

fn bench(args: &[&str], dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench"));
    command.arg("peers").args(args);
    command.arg("--json").arg(dir.join("peers.json")).arg("--report").arg(dir.join("report"));
    command
}

/// Runs it on one ground for a moment: the result, and what it said.
fn run(ground: &str, dir: &Path) -> Value {
    let Output { status, stdout, stderr } =
        bench(&["--grounds", ground, "--rounds", "1", "--duration", "0.1", "--addresses", "3,40"], dir).output().unwrap();
    assert!(status.success(), "{}{}", String::from_utf8_lossy(&stderr), String::from_utf8_lossy(&stdout));
    let page = std::fs::read_to_string(dir.join("report/peers.html")).unwrap();
    assert!(page.contains("<svg") && page.contains("stations on each side"));
    let document: Value = serde_json::from_str(&std::fs::read_to_string(dir.join("peers.json")).unwrap()).unwrap();
    document["result"].clone()
}

/// Everybody who took part did so with every number of stations, lost no content and knew every address; missing ones have an instruction.
fn all_took_part(result: &Value) -> Vec<&str> {
    for why in result["left_out"].as_array().unwrap() {
        let why = why.as_str().unwrap();
        assert!(["apt-get install", "on the PATH", "boot a kernel", "it takes root"].iter().any(|what| why.contains(what)), "{why}");
        // Some peers cannot be had everywhere; the others are installed for the tests.
        if !why.contains("vpp") && !why.contains("kernel") {
            eprintln!("skipped: {why}");
        }
    }
    let rows = result["rows"].as_array().unwrap();
    let contestants = result["contestants"].as_array().unwrap();
    for contestant in contestants {
        assert_eq!(contestant["failed"], serde_json::json!([]), "{contestant}");
        assert!(!contestant["commands"].as_array().unwrap().is_empty(), "{contestant}");
        if let Some(learned) = contestant["learned"].as_array() {
            assert_eq!(learned[0], learned[1], "{contestant}");
        }
        let mut those = rows.iter().filter(|row| row["peer"] == contestant["peer"]).peekable();
        assert!(those.peek().is_some(), "{contestant}");
        for row in those {
            assert!(row["received"].as_u64().unwrap() > 0 || row["peer"].as_str().unwrap().starts_with("sink"), "{row}");
            assert_eq!(row["damaged"], 0, "{row}");
        }
    }
    contestants.iter().filter_map(|contestant| contestant["peer"].as_str()).collect()
}

/// What processes that are gone have left.
fn left_over() -> Vec<String> {
    let folders = [Path::new("/run/netns").to_owned(), std::env::temp_dir()];
    let names = folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten();
    let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let dead = |name: &String| {
        let process = name.strip_prefix("bench-ports-").and_then(|rest| rest.split('-').next());
        process.is_some_and(|process| !Path::new("/proc").join(process).exists())
    };
    names.filter(dead).collect()
}

#[test]
fn paths_inside_a_process_are_compared() {
    let dir = tempfile::tempdir().unwrap();
    let result = run("inside", dir.path());
    let there = all_took_part(&result);
    assert!(there.contains(&"bladeswitch, learn + forward"), "{there:?}");
    for row in result["rows"].as_array().unwrap() {
        assert!(row["cycles"]["median"].as_f64().unwrap() > 0.0, "{row}");
    }
}

#[test]
fn processes_are_compared_through_memif() {
    let dir = tempfile::tempdir().unwrap();
    let result = run("memif", dir.path());
    let there = all_took_part(&result);
    for ours in [
        "bladeswitch, memif",
        "sink (the generator's limit)",
        "bladeswitch, memif client",
        "sink, memif client (the generator's limit as server)",
    ] {
        assert!(there.contains(&ours), "{ours}: {there:?}");
    }
    assert_eq!(left_over(), Vec::<String>::new());
}

#[test]
fn switches_and_generators_are_compared_on_interfaces() {
    let dir = tempfile::tempdir().unwrap();
    let output =
        bench(&["--grounds", "veth,send", "--rounds", "1", "--duration", "0.1", "--addresses", "3,40"], dir.path()).output().unwrap();
    let says = String::from_utf8_lossy(&output.stdout);
    if says.contains("it takes root") {
        return eprintln!("skipped: it takes root to make a network namespace");
    }
    assert!(output.status.success(), "{}{says}", String::from_utf8_lossy(&output.stderr));
    let document: Value = serde_json::from_str(&std::fs::read_to_string(dir.path().join("peers.json")).unwrap()).unwrap();
    let result = &document["result"];
    let there = all_took_part(result);
    assert!(there.contains(&"linux bridge") && there.contains(&"bladeswitch, af_xdp"), "{there:?}");
    assert_eq!(left_over(), Vec::<String>::new());
}

#[test]
fn an_interrupt_ends_everything_that_was_started() {
    let dir = tempfile::tempdir().unwrap();
    let mut long = bench(&["--grounds", "memif", "--rounds", "1000", "--duration", "600", "--addresses", "3"], dir.path());
    let mut child = long.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let began = Instant::now();
    while children(&child).is_empty() {
        assert!(began.elapsed() < Duration::from_secs(60), "no device was started");
        std::thread::park_timeout(Duration::from_millis(5));
    }
    let started = children(&child);
    let kill = Command::new("sh").arg("-c").arg(format!("kill -INT {}", child.id())).status().unwrap();
    assert!(kill.success());
    assert!(!child.wait().unwrap().success());
    let alive: Vec<&u32> = started.iter().filter(|process| Path::new("/proc").join(process.to_string()).exists()).collect();
    assert!(alive.is_empty(), "{alive:?}");
    assert!(!dir.path().join("peers.json").exists());
}

#[test]
fn a_peer_dies_with_a_benchmark_that_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let mut long =
        bench(&["--grounds", "inside", "--peers", "testpmd", "--rounds", "1000", "--duration", "1", "--addresses", "3"], dir.path());
    let mut child = long.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let name = |process: &u32| std::fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default();
    let began = Instant::now();
    let peer = loop {
        // From then on it is what it will be, and the kernel knows what to do.
        if let Some(peer) = children(&child).into_iter().find(|process| name(process).trim() == "dpdk-testpmd") {
            break peer;
        }
        if child.try_wait().unwrap().is_some() || began.elapsed() > Duration::from_secs(60) {
            let _ = child.kill();
            let _ = child.wait();
            return eprintln!("skipped: dpdk-testpmd was not started: apt-get install dpdk dpdk-dev");
        }
        std::thread::park_timeout(Duration::from_millis(5));
    };
    child.kill().unwrap();
    child.wait().unwrap();
    let began = Instant::now();
    // It may be that nobody has fetched its exit status yet.
    let is_alive = || std::fs::read_to_string(format!("/proc/{peer}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
    while is_alive() {
        assert!(began.elapsed() < Duration::from_secs(60), "process {peer} lives on");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// Processes that the benchmark has started.
fn children(parent: &Child) -> Vec<u32> {
    let path = format!("/proc/{0}/task/{0}/children", parent.id());
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().filter_map(|process| process.parse().ok()).collect()
}

#[test]
fn what_cannot_be_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for wrong in [["--peers", "nobody"], ["--grounds", "moon"], ["--sizes", "9000"], ["--addresses", "0"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_bench")).arg("peers").args(wrong).current_dir(dir.path()).output().unwrap();
        assert!(!output.status.success(), "{wrong:?}");
    }
}
