//! Several switch blades in real time, as processes in network namespaces: chassis joined as a chain, and a standby that takes over.
//!
//! ```text
//!   host 1 [eth0] ─── [one]                                              [three] ─── [eth0] host 3
//!                     chassis 1 [t12] ─── [t21] chassis 2 [t23] ─── [t32] chassis 3
//! ```
//!
//! The three chassis are in one namespace, each host has its own.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use bladeswitch::lab::{self, namespace};
use serde_json::Value;

/// Longer than anything here takes, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(60);

/// Can this machine do it? Says why not.
fn can(programs: &[&str]) -> bool {
    if let Err(error) = lab::check_root() {
        println!("skipped: {error}");
        return false;
    }
    for program in ["ip"].iter().chain(programs) {
        if !namespace::command("sh").args(["-c", &format!("command -v {program}")]).output().unwrap().status.success() {
            println!("skipped: no program `{program}`");
            return false;
        }
    }
    true
}

/// Namespaces; removed at the end, whatever happens.
struct World(Vec<String>);

impl World {
    fn new() -> World {
        let name = |place: &str| format!("joined-{}-{place}", std::process::id());
        let world = World(["switch", "host1", "host3"].map(name).to_vec());
        for namespace in &world.0 {
            namespace::ip(&["netns", "add", namespace]).unwrap();
            namespace::set(namespace, &[("ipv6/conf/default/disable_ipv6", "1")]).unwrap();
        }
        let [switch, host1, host3] = [0, 1, 2].map(|index| world.0[index].clone());
        let mut lines = vec![
            format!("link add one type veth peer name eth0 netns {host1}"),
            format!("link add three type veth peer name eth0 netns {host3}"),
            "link add t12 type veth peer name t21".to_owned(),
            "link add t23 type veth peer name t32".to_owned(),
        ];
        lines.extend(["one", "three", "t12", "t21", "t23", "t32"].map(|end| format!("link set {end} up")));
        namespace::ip_batch(Some(&switch), &lines).unwrap();
        for (host, address) in [(&host1, "198.18.0.1/24"), (&host3, "198.18.0.3/24")] {
            namespace::ip_batch(Some(host), &[format!("address add {address} dev eth0"), "link set eth0 up".to_owned()]).unwrap();
        }
        world
    }

    fn command(&self, index: usize, args: &[&str]) -> Command {
        let mut command = namespace::exec(&self.0[index], args[0]);
        command.args(&args[1..]).stdin(Stdio::null());
        command
    }

    fn run(&self, index: usize, args: &[&str]) -> Output {
        self.command(index, args).output().unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for namespace in &self.0 {
            let _ = namespace::ip(&["netns", "del", namespace]);
        }
    }
}

/// Ends with the test, however that ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a program and waits until it says a line that begins with `ready`.
fn start(mut command: Command, ready: &str) -> Running {
    let mut running = Running(command.stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(running.0.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut said = Vec::new();
    loop {
        let line = lines.next().unwrap_or_else(|| panic!("it ended without saying `{ready}`: {said:#?}"));
        if line.starts_with(ready) {
            break;
        }
        said.push(line);
    }
    // Read on, so that it never waits for a reader.
    std::thread::spawn(move || lines.for_each(drop));
    running
}

#[test]
fn three_chassis_in_a_chain_carry_ping_and_iperf3() {
    if !can(&["ping", "iperf3", "timeout"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let world = World::new();
    let chassis = |number: u8, blade: Option<&str>, trunks: &[&str]| {
        let blade = blade.map_or(String::new(), |port| format!("[[blade]]\nslot = 1\nport = \"af_packet:{port}\"\n"));
        let uplinks: String =
            trunks.iter().map(|trunk| format!("[[uplink]]\nname = \"{trunk}\"\nport = \"af_packet:{trunk}\"\n")).collect();
        // A busy machine may not let a switch speak for long: that must not part the chassis.
        let text = format!(
            "[switch]\nmac = \"02:00:00:00:02:0{number}\"\n[joined]\nchassis = {number}\ntrunks = {trunks:?}\nsilent_ms = 60000\n{blade}{uplinks}"
        );
        let path = folder.path().join(format!("chassis{number}.toml"));
        std::fs::write(&path, text).unwrap();
        start(world.command(0, &[env!("CARGO_BIN_EXE_bladeswitch"), "run", path.to_str().unwrap()]), "running;")
    };
    // Chassis 2 only passes on.
    let _switches = [chassis(1, Some("one"), &["t12"]), chassis(2, None, &["t21", "t23"]), chassis(3, Some("three"), &["t32"])];
    let begin = Instant::now();
    while !world.run(1, &["ping", "-c", "1", "-W", "1", "198.18.0.3"]).status.success() {
        assert!(begin.elapsed() < PATIENCE, "chassis 1 does not reach chassis 3");
    }
    let ping = world.run(1, &["ping", "-c", "20", "-i", "0.01", "-W", "10", "198.18.0.3"]);
    let said = String::from_utf8_lossy(&ping.stdout).into_owned();
    assert!(ping.status.success() && !said.contains("DUP!"), "{said}");
    let _server = start(world.command(2, &["iperf3", "-s", "-1", "--forceflush"]), "Server listening");
    let client = world.run(1, &["timeout", "60", "iperf3", "-J", "-c", "198.18.0.3", "-t", "2"]);
    let report: Value = serde_json::from_slice(&client.stdout).unwrap();
    let received = report["end"]["sum_received"]["bytes"].as_f64().unwrap_or_default();
    println!("{said}\niperf3: {} bit/s", report["end"]["sum_received"]["bits_per_second"]);
    assert!(received > 0.0, "{report}");
}

#[test]
fn a_standby_takes_over_from_a_killed_switch_blade() {
    if !can(&[]) {
        return;
    }
    let output = Command::new(env!("CARGO_BIN_EXE_bladeswitch")).args(["lab", "takeover", "--runs", "3", "--json"]).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{out}");
    assert!(output.status.success(), "{}: {out}\n{err}", output.status);
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["runs"].as_array().unwrap().len(), 3);
    assert_eq!((&report["duplicates"], &report["looped"]), (&Value::from(0), &Value::from(0)), "nothing comes twice, nothing comes back");
    assert_eq!(report["flooded"], Value::from(0), "the standby knows the addresses that the one before had learned");
}

/// It does not answer and does not end: the standby kills it, and only then takes over.
#[test]
fn a_standby_takes_over_from_a_switch_blade_that_hangs() {
    if !can(&[]) {
        return;
    }
    // Long enough that one that is only slow, on a busy machine, is not taken for dead.
    let args = ["lab", "takeover", "--runs", "1", "--hang", "10000", "--json"];
    let output = Command::new(env!("CARGO_BIN_EXE_bladeswitch")).args(args).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{out}");
    assert!(output.status.success(), "{}: {out}\n{err}", output.status);
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&report["duplicates"], &report["looped"]), (&Value::from(0), &Value::from(0)), "never two at once");
    let outage = report["runs"][0]["outage_ms"].as_f64().unwrap();
    assert!(outage >= 9_000.0, "{outage} ms: it was not the silence that ended it");
}
