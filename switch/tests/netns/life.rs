//! Ports that come and go, and a switch that is killed.

use bladeswitch::lab::{Place, namespace};

use crate::site::{KINDS, Site, can, until};

const ONE: Place = Place::Blade(1);
const TWO: Place = Place::Blade(2);
const THREE: Place = Place::Blade(3);

/// While blade 3 is pulled out and put back, again and again, blades 1 and 2 hear nothing of it; then blade 3 is back.
#[test]
fn the_others_never_stall_when_a_blade_is_pulled() {
    if !can(&["iperf3", "ping"]) {
        return;
    }
    for kinds in KINDS {
        let mut site = Site::up(kinds, 3, 1500);
        let server = site.background(TWO, &["iperf3", "-s", "-1", "--forceflush"], "Server listening");
        let args = ["iperf3", "-c", "198.18.0.2", "-t", "4", "-i", "0.5", "--forceflush", "-f", "m"];
        let mut client = site.background(ONE, &args, "connected to");
        let link = |state: &str| {
            let is = |site: &Site| {
                let ports = site.show("ports").expect("the switch answers");
                ports["ports"][2]["link"] == state
            };
            until(&format!("blade 3 is {state}"), || is(&site));
        };
        let mut intervals = Vec::new();
        for _ in 0..3 {
            site.chassis.unplug(THREE).unwrap();
            link("down");
            site.chassis.plug(THREE).unwrap();
            link("up");
        }
        loop {
            let line = client.line();
            if line.is_empty() {
                break;
            }
            // `[  5]   0.00-0.50   sec  32.0 MBytes   537 Mbits/sec    0   1.2 MBytes`, until a line of dashes.
            if line.contains("- - -") {
                break;
            }
            if let Some((_, after)) = line.split_once("Bytes") {
                intervals.push(after.split_whitespace().next().and_then(|number| number.parse::<f64>().ok()).unwrap_or_default());
            }
        }
        assert!(intervals.len() >= 7, "{kinds:?}: {intervals:?}");
        assert!(intervals.iter().all(|&mbps| mbps > 0.0), "{kinds:?}: {intervals:?}");
        client.finish();
        server.finish();
        let said = site.ok(ONE, &["ping", "-4", "-c", "3", "-i", "0.05", "-W", "10", "blade3"]);
        assert!(said.contains(" 0% packet loss"), "{kinds:?}: {said}");
        site.stop();
    }
}

/// Nothing is attached to an interface when the switch is killed, and the next one starts at once.
#[test]
fn a_killed_switch_leaves_nothing_behind() {
    if !can(&["ping"]) {
        return;
    }
    for kinds in KINDS {
        let mut site = Site::up(kinds, 2, 1500);
        for _ in 0..5 {
            site.ok(ONE, &["ping", "-4", "-c", "1", "-W", "10", "blade2"]);
            site.kill();
            until("nothing is attached", || {
                let links = namespace::ip(&["-n", &site.chassis.name.namespace(Place::Switch), "-d", "link"]).unwrap();
                !links.contains("xdp")
                    && links.lines().filter(|line| line.contains("promiscuity")).all(|line| line.contains("promiscuity 0"))
            });
            site.start(&site.chassis.config());
        }
        site.ok(ONE, &["ping", "-4", "-c", "1", "-W", "10", "blade2"]);
        site.stop();
    }
}

/// `lab up`, `shell`, `status`, `down`, as typed; and after a crash.
#[test]
fn a_lab_goes_up_and_down_and_leaves_nothing() {
    if !can(&["ping"]) {
        return;
    }
    let name = format!("c{}", std::process::id());
    let run = |args: &[&str]| {
        let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_bladeswitch"));
        let output = command.arg("lab").args(args).args(["--name", &name]).timeout(crate::site::DEADLINE).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
    };
    let shell = |args: &[&str]| {
        let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_bladeswitch"));
        let output = command.args(["lab", "shell", "--name", &name]).args(args).timeout(crate::site::DEADLINE).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
    };
    struct Down<'a>(&'a str);
    impl Drop for Down<'_> {
        fn drop(&mut self) {
            let _ = bladeswitch::lab::remove(&self.0.parse().unwrap());
        }
    }
    let _down = Down(&name);
    let interfaces = || namespace::ip(&["-o", "link"]).unwrap().lines().count();
    let before = interfaces();
    let (code, said) = run(&["up", "--blades", "2", "--kind", "af_packet"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("198.18.0.2") && said.contains("lab down"), "{said}");
    let (code, said) = shell(&["1", "--", "ping", "-c", "1", "-W", "10", "blade2"]);
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = shell(&["3"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("there is no blade3") && said.contains("blade2, uplink"), "{said}");
    let (code, said) = run(&["up"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("lab down"), "{said}");
    // The switch crashes; what is left is found by its name.
    let (code, said) = run(&["status", "--json"]);
    assert_eq!(code, Some(0), "{said}");
    let status: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(status["answers"], true);
    let switch = rustix::process::Pid::from_raw(status["switch"][0].as_i64().unwrap() as i32).unwrap();
    rustix::process::kill_process(switch, rustix::process::Signal::KILL).unwrap();
    until("it is dead", || serde_json::from_str::<serde_json::Value>(&run(&["status", "--json"]).1).unwrap()["answers"] == false);
    let (_, said) = run(&["status"]);
    assert!(said.contains("does not answer") && said.contains("lab down"), "{said}");
    for found in ["is removed", "there is no lab"] {
        let (code, said) = run(&["down"]);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains(found), "{said}");
    }
    assert!(!namespace::all().unwrap().iter().any(|namespace| namespace.contains(&name)));
    assert_eq!(interfaces(), before, "the machine's own interfaces are as they were");
}
