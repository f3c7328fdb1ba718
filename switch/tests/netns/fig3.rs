//! `lab fig3`: FIG. 3 by agents on four blades, as typed; interrupted; and after a crash.

use std::process::{Child, Command, Stdio};

use bladeswitch::lab::{Name, Remains, remove};
use serde_json::Value;

use crate::site::{DEADLINE, can, until};

/// A name of its own, and nothing left of it at the end, whatever happens.
struct Lab(Name);

impl Lab {
    fn new(which: char) -> Lab {
        Lab(format!("f{which}{}", std::process::id()).parse().unwrap())
    }

    fn args(&self) -> [String; 4] {
        ["lab", "fig3", "--name", &self.0.to_string()].map(str::to_owned)
    }

    /// Runs it to its end.
    fn run(&self, args: &[&str]) -> String {
        let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_bladeswitch"));
        let output = command.args(self.args()).args(args).timeout(DEADLINE * 3).output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && err.is_empty(), "{}: {out}\n{err}", output.status);
        out.into_owned()
    }

    /// Starts it, and waits until the switch, four agents and four pings run.
    fn start(&self) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bladeswitch"));
        command.args(self.args()).args(["--count", "500"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        until("everything runs", || {
            assert!(child.try_wait().unwrap().is_none(), "it has ended");
            Remains::find(&self.0).unwrap().processes() >= 9
        });
        child
    }

    fn assert_gone(&self) {
        assert_eq!(Remains::find(&self.0).unwrap(), Remains::default());
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = remove(&self.0);
    }
}

fn able() -> bool {
    let tun = std::path::Path::new("/dev/net/tun").exists();
    if !tun {
        println!("skipped: no /dev/net/tun for the blades' TAP interfaces");
    }
    tun && can(&["ping"])
}

/// FIG. 3 with [46] to [54]: each header before and after, by MAC and by IP address.
#[test]
fn fig_3_by_blade_agents_shows_every_header() {
    if !able() {
        return;
    }
    let lab = Lab::new('a');
    let told: Value = serde_json::from_str(&lab.run(&["--json", "--count", "3"])).unwrap();
    assert_eq!(told["faults"], Value::Array(Vec::new()));
    let flows = told["flows"].as_array().unwrap();
    let steps: Vec<&str> = flows.iter().map(|flow| flow["step"].as_str().unwrap()).collect();
    assert_eq!(steps, ["301", "302", "303", "304", "302'", "304'", "ext", "ext'"]);
    assert!(flows.iter().all(|flow| flow["rx"] == 3 && flow["passed"] == 3), "{flows:#?}");
    let frames = told["frames"].as_array().unwrap();
    assert_eq!(frames.len(), 24);
    for frame in frames {
        let (rx, tx) = (&frame["rx"], &frame["tx"]);
        assert_eq!((&rx["source"], &rx["final_destination"]), (&tx["source"], &tx["final_destination"]));
        if frame["step"].as_str().unwrap().starts_with("ext") {
            assert!(rx["final_destination"].is_null() && rx["initial_destination"] == tx["initial_destination"], "{frame:#}");
        } else {
            assert_eq!(rx["initial_destination"], told["switch"], "FIG. 6a, 7a");
            assert_eq!(tx["initial_destination"], tx["final_destination"], "FIG. 6b, 7b");
        }
    }
    lab.assert_gone();

    let said = lab.run(&["--final", "ip", "--count", "1"]);
    println!("{said}");
    assert!(said.contains("Right: in 6 messages of 6 ") && said.contains("198.18.0.2") && !said.contains("WRONG"), "{said}");
    assert!(said.lines().all(|line| line.chars().count() <= 100), "{said}");
    lab.assert_gone();
}

/// Ctrl-C leaves nothing; what a crash leaves, `lab down` removes.
#[test]
fn fig_3_interrupted_leaves_nothing() {
    if !able() {
        return;
    }
    let lab = Lab::new('b');
    let child = lab.start();
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("interrupted"), "{}: {said}", output.status);
    lab.assert_gone();

    let mut child = lab.start();
    child.kill().unwrap();
    child.wait().unwrap();
    let mut down = assert_cmd::Command::new(env!("CARGO_BIN_EXE_bladeswitch"));
    down.args(["lab", "down", "--name", &lab.0.to_string()]).timeout(DEADLINE).assert().success();
    lab.assert_gone();
}
