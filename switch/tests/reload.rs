//! Reloads as operators meet them: the commands, SIGHUP, and what a running process says of itself; and under load, on threads.
//!
//! Nothing here sleeps: what has to come about is asked for until it has, or a deadline passes.

use std::fs::File;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use bladeswitch::assembly;
use control::config::{Config, Idle};
use control::show;
use port::clock::TscClock;
use port::{BURST_MAX, Burst, Hugepages, Mempool, Nanos, PoolCache, Port};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long anything may take before the test fails; generous, since the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);
const PORTS: &str = "[[blade]]\nslot = 1\n[[blade]]\nslot = 2\n[[uplink]]\n";
/// Blade 2 in another VLAN.
const MOVED: &str = "[[blade]]\nslot = 1\n[[blade]]\nslot = 2\nvlan = 20\n[[uplink]]\n";

/// A switch that runs until it is dropped, and the file it was started with.
struct Run {
    child: Child,
    dir: TempDir,
}

/// Starts the switch of a folder; what it says goes to files there whose names begin with `name`.
fn spawn(dir: &TempDir, name: &str, more: &[&str]) -> Child {
    let told = |what: &str| File::create(dir.path().join(format!("{name}{what}"))).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_bladeswitch"));
    // By a relative path: a reload finds it all the same.
    command.current_dir(dir.path()).args(["run", "switch.toml", "--duration", "600"]).args(more);
    command.stdin(Stdio::null()).stdout(told("stdout")).stderr(told("stderr")).spawn().unwrap()
}

impl Run {
    fn start(ports: &str, more: &[&str]) -> Run {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("switch.toml"), text(&dir, ports)).unwrap();
        let child = spawn(&dir, "", more);
        let mut run = Run { child, dir };
        let socket = run.path("api.sock");
        run.wait("nobody answers", |run| run.is_running().then(|| UnixStream::connect(&socket).ok()).flatten());
        run
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// Writes a file with these ports, as the switch's own has them; its path.
    fn write(&self, name: &str, ports: &str) -> String {
        std::fs::write(self.dir.path().join(name), text(&self.dir, ports)).unwrap();
        self.path(name)
    }

    fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    fn wait<T>(&mut self, what: &str, mut ready: impl FnMut(&mut Run) -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            if let Some(ready) = ready(self) {
                return ready;
            }
            assert!(began.elapsed() < PATIENCE, "{what}: {}", self.told());
            std::thread::yield_now();
        }
    }

    fn hangup(&mut self) {
        assert!(Command::new("kill").args(["-HUP", &self.child.id().to_string()]).status().unwrap().success());
    }

    /// What it has said on stderr.
    fn told(&self) -> String {
        std::fs::read_to_string(self.path("stderr")).unwrap()
    }

    fn ask(&self, args: &[&str]) -> Output {
        let socket = self.path("api.sock");
        let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_bladeswitch"));
        command.args(args).args(["--socket", &socket]).timeout(PATIENCE).output().unwrap()
    }

    /// It succeeds; what it prints.
    fn text(&self, args: &[&str]) -> String {
        let output = self.ask(args);
        assert_eq!((output.status.code(), &*String::from_utf8_lossy(&output.stderr)), (Some(0), ""), "{args:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.text(&[args, &["--json"]].concat())).unwrap()
    }

    /// It is refused with this exit code; what it says.
    fn refused(&self, code: i32, args: &[&str]) -> String {
        let output = self.ask(args);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        said
    }

    /// The VLAN of blade 2.
    fn vlan(&self) -> Value {
        self.json(&["show", "ports"])["ports"][1]["vlan"]["untagged"].clone()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.child.kill(); // It may have ended already.
        let _ = self.child.wait();
    }
}

fn text(dir: &TempDir, ports: &str) -> String {
    format!("[switch]\napi = \"{}\"\n{ports}", dir.path().join("api.sock").display())
}

#[test]
fn a_plan_a_reload_and_the_way_back() {
    let mut run = Run::start(PORTS, &[]);
    let own = run.path("switch.toml");
    let moved = run.write("moved.toml", MOVED);
    assert!(run.text(&["reload"]).ends_with("switch.toml: nothing has changed\n"));

    let plan = run.json(&["reload", &moved, "--plan"]);
    let changes = json!([
        { "what": "vlan 20", "to": { "name": "vlan20", "vid": 20 }, "disturbs": "nothing" },
        { "what": "blade2.vlan", "from": 1, "to": 20, "disturbs": "ports", "ports": ["blade2"] },
    ]);
    assert_eq!(plan, json!({ "file": moved, "applied": false, "needs_restart": false, "changes": changes }));
    let said = run.text(&["reload", &moved, "--plan"]);
    assert!(said.contains("blade2.vlan  1     20  frames of blade2") && said.contains("can be loaded while the switch runs"), "{said}");
    assert_eq!(run.vlan(), 1, "a plan changes nothing");

    assert!(run.text(&["reload", &moved]).ends_with("moved.toml: 2 changes are in use\n"));
    assert_eq!(run.vlan(), 20);
    let status = run.json(&["show", "status"]);
    assert_eq!((&status["file"], &status["start_file"], &status["reloads"]), (&json!(moved), &json!(own), &json!(2)));
    assert!(run.text(&["show", "status"]).contains("which a reload or a restart uses"));
    assert!(run.refused(1, &["confirm"]).contains("no reload waits to be confirmed"));
    // The same once more: nothing to confirm, and what there was before is still there.
    assert!(run.text(&["reload", &moved, "--confirm-within", "1h"]).ends_with("moved.toml: nothing has changed\n"));
    assert_eq!(run.json(&["show", "status"])["confirm_within_ms"], Value::Null);
    assert!(run.text(&["rollback"]).ends_with("switch.toml\n"));
    assert_eq!((run.vlan(), run.json(&["show", "status"])["file"].clone()), (json!(1), json!(own)));
    assert!(run.refused(1, &["rollback"]).contains("nothing to roll back to"));
    assert!(run.is_running());
}

#[test]
fn what_is_wrong_or_needs_a_restart_is_refused_as_a_whole() {
    let run = Run::start(PORTS, &[]);
    let before = (run.text(&["show", "config"]), run.text(&["show", "vlans"]));
    let wrong = run.write("wrong.toml", "[[blade]]\nslot = 1\nvlan = 7\n[[blade]]\nslot = 2\nspped = \"1G\"\nvlan = 0\n");
    let said = run.refused(2, &["reload", &wrong]);
    assert!(said.contains("wrong.toml:8:1: unknown key `spped` in [[blade]]") && said.contains("wrong.toml:9:8:"), "{said}");
    assert_eq!(said, run.refused(2, &["reload", &wrong, "--plan"]), "a plan says the same");
    // The switch reads its own file, and says as much of it.
    run.write("switch.toml", "[[blade]]\nslot = 1\nspped = \"1G\"\n");
    assert!(run.refused(2, &["reload"]).contains("switch.toml:5:1: unknown key `spped` in [[blade]]"));
    assert!(run.refused(2, &["reload", "/nowhere/x.toml"]).contains("/nowhere/x.toml: cannot be read"));

    let workers = run.write("workers.toml", &MOVED.replace("[[uplink]]\n", "[[uplink]]\nqueue = 64\n[[uplink]]\n"));
    let said = run.refused(1, &["reload", &workers]);
    assert!(said.contains("nothing has changed: uplink1.queue, uplink2 cannot be changed while the switch runs; restart"), "{said}");
    let output = run.ask(&["reload", &workers, "--plan", "--json"]);
    let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &plan["needs_restart"]), (Some(1), &json!(true)));
    assert_eq!((run.text(&["show", "config"]), run.text(&["show", "vlans"])), before);
    assert_eq!(run.json(&["show", "status"])["reloads"], 0);
    for wrong in ["60", "0s", "25h"] {
        assert!(run.refused(2, &["reload", "--confirm-within", wrong]).contains("such as 60s"));
    }
}

#[test]
fn a_reload_that_nobody_confirms_goes_back() {
    let mut run = Run::start(PORTS, &[]);
    let moved = run.write("moved.toml", MOVED);
    let said = run.text(&["reload", &moved, "--confirm-within", "10m"]);
    assert!(said.ends_with("2 changes are in use; rolled back in 600 s unless `bladeswitch confirm` comes before\n"), "{said}");
    assert!(run.json(&["show", "status"])["confirm_within_ms"].as_u64().unwrap() <= 600_000);
    let status = run.text(&["show", "status"]);
    assert!(status.contains("to confirm     within ") && status.contains(&run.path("switch.toml")), "{status}");
    assert!(run.refused(1, &["reload"]).contains("the last reload waits to be confirmed"));
    let said = run.text(&["confirm"]);
    assert_eq!(said, format!("confirmed: {moved} stays\n"));
    assert_eq!((run.vlan(), run.json(&["show", "status"])["confirm_within_ms"].clone()), (json!(20), Value::Null));

    let own = run.write("switch.toml", PORTS);
    run.text(&["reload", "--confirm-within", "1ms"]);
    run.wait("it does not go back", |run| (run.json(&["show", "status"])["unconfirmed"] == 1).then_some(()));
    assert_eq!((run.vlan(), run.json(&["show", "status"])["file"].clone()), (json!(20), json!(moved)));
    assert_ne!(own, moved);
}

#[test]
fn sighup_reads_the_file_again() {
    // What the command line says holds against the file, which knows nothing of it.
    let mut run = Run::start(PORTS, &["--busy"]);
    assert!(run.text(&["show", "config"]).contains("idle = \"spin\""));
    run.write("switch.toml", MOVED);
    run.hangup();
    run.wait("it does not read its file", |run| (run.vlan() == 20).then_some(()));
    run.wait("it does not say so", |run| run.told().contains("switch.toml: 2 changes are in use").then_some(()));

    // What cannot be used is said, and the switch goes on with what it has.
    run.write("switch.toml", "[[blade]]\nslot = 1\nspped = \"1G\"\n");
    run.hangup();
    run.wait("it does not complain", |run| run.told().contains("switch.toml:5:1: unknown key `spped`").then_some(()));
    run.write("switch.toml", &format!("{PORTS}[[uplink]]\n"));
    run.hangup();
    run.wait("it does not refuse", |run| run.told().contains("uplink2 cannot be changed while the switch runs").then_some(()));
    assert_eq!((run.vlan(), run.is_running()), (json!(20), true));
    assert_eq!(run.json(&["show", "status"])["reloads"], 1);
}

#[test]
fn a_switch_that_takes_over_reads_the_file_again() {
    let standby = |ports: &str| format!("{ports}[standby]\nlock = \"lock\"\n");
    let mut run = Run::start(&standby(PORTS), &[]);
    let second = spawn(&run.dir, "second-", &[]);
    run.wait("it does not stand by", |run| {
        std::fs::read_to_string(run.path("second-stdout")).unwrap().contains("standing by").then_some(())
    });
    run.write("switch.toml", &standby(MOVED));
    // From here on it is the second one that is ended with the test.
    let mut first = std::mem::replace(&mut run.child, second);
    first.kill().unwrap();
    first.wait().unwrap();
    run.wait("it does not take over", |run| {
        assert!(run.is_running());
        std::fs::read_to_string(run.path("second-stderr")).unwrap().contains("switch.toml: 2 changes are in use").then_some(())
    });
    assert_eq!(run.vlan(), 20);
}

/// Sends these numbers to the address of the station at the other port.
fn send(port: &mut Port, pool: &mut PoolCache, numbers: std::ops::Range<u32>) {
    let mut burst = Burst::new();
    for number in numbers {
        let mut frame = [0u8; 60];
        frame[..14].copy_from_slice(&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb6]);
        frame[14..18].copy_from_slice(&number.to_be_bytes());
        burst.push(pool.alloc_copy(&frame).expect("a buffer"));
    }
    let count = burst.len();
    assert_eq!(port.tx[0].tx_burst(Nanos::ZERO, pool, &mut burst), count, "the queue holds what is on its way");
}

/// The frames that have come out of a port, as numbers; what was flooded among them counts.
fn receive(port: &mut Port, pool: &mut PoolCache, numbers: &mut Vec<u32>) {
    let mut burst = Burst::new();
    port.rx[0].rx_burst(Nanos::ZERO, pool, &mut burst, BURST_MAX);
    for packet in burst.iter() {
        let head = pool.head(packet);
        if head[..6] == [2, 0, 0, 0, 0, 2] {
            numbers.push(u32::from_be_bytes([head[14], head[15], head[16], head[17]]));
        }
    }
    pool.free_all(&mut burst);
}

/// Workers on threads, frames on their way from one to the other at every reload: none is lost, and none is out of order.
#[test]
fn frames_on_their_way_while_a_reload_happens_all_arrive() {
    const ROUNDS: u32 = 100;
    const AT_ONCE: u32 = 60;
    let head = "[switch]\nworkers = 2\n[identity]\nadvertise = false\n";
    let text = |third: &str| format!("{head}[[blade]]\nslot = 1\n[[blade]]\nslot = 2\n[[blade]]\nslot = 3\n{third}");
    let parse = |third: &str| Config::parse(&text(third), "test.toml").unwrap_or_else(|errors| panic!("{errors}"));
    let configs = [parse(""), parse("vlan = 20\n[fdb]\nageing_ms = 10_000\n"), parse("enabled = false\nname = \"spare\"\n")];
    let mempool = Mempool::new(8192, Hugepages::Never).unwrap();
    let (near, mut far, _plugs) = assembly::memory_ports(&configs[0], 512);
    let mut pool = mempool.cache();
    let mut running = assembly::build(&configs[0], near, &mempool, 1).start(&[], Idle::Adaptive, TscClock::new()).unwrap();
    let mut arrived = Vec::new();
    for round in 0..ROUNDS {
        send(&mut far[0], &mut pool, round * AT_ONCE..(round + 1) * AT_ONCE);
        let next = configs[(round as usize + 1) % configs.len()].clone();
        let plan = running.control().reload(next, None, None).unwrap();
        assert!(!plan.changes.is_empty());
        let began = Instant::now();
        while arrived.len() < ((round + 1) * AT_ONCE) as usize {
            receive(&mut far[1], &mut pool, &mut arrived);
            receive(&mut far[2], &mut pool, &mut Vec::new()); // The address was never heard: it is flooded.
            assert!(began.elapsed() < PATIENCE, "round {round}: {} have come", arrived.len());
            std::thread::yield_now();
        }
    }
    assert!(arrived.into_iter().eq(0..ROUNDS * AT_ONCE), "each once, in order");
    running.end().unwrap_or_else(|fall| panic!("{fall}"));
    let control = running.control();
    assert!(show::ledger(&control).balanced);
    let ports = show::ports(&control).ports;
    assert_eq!((ports[0].drops, ports[1].drops), (0, 0));
}
