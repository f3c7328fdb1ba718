//! Reloads as operators meet them: the commands, SIGHUP, and what a running process says of itself.
//!
//! Nothing here sleeps: what has to come about is asked for until it has, or a deadline passes.

use std::fs::File;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

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

impl Run {
    fn start(more: &[&str]) -> Run {
        let dir = tempfile::tempdir().unwrap();
        let told = File::create(dir.path().join("stderr")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_bladeswitch"));
        // By a relative path: a reload finds it all the same.
        command.current_dir(dir.path()).args(["run", "switch.toml", "--duration", "600"]).args(more);
        std::fs::write(dir.path().join("switch.toml"), text(&dir, PORTS)).unwrap();
        let child = command.stdout(Stdio::null()).stderr(told).spawn().unwrap();
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
    let mut run = Run::start(&[]);
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
    assert!(run.text(&["rollback"]).ends_with("switch.toml\n"));
    assert_eq!((run.vlan(), run.json(&["show", "status"])["file"].clone()), (json!(1), json!(own)));
    assert!(run.refused(1, &["rollback"]).contains("nothing to roll back to"));
    assert!(run.is_running());
}

#[test]
fn what_is_wrong_or_needs_a_restart_is_refused_as_a_whole() {
    let run = Run::start(&[]);
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
    let mut run = Run::start(&[]);
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
    let mut run = Run::start(&["--busy"]);
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
