//! Ports that come and go, and a switch that is killed.

use bladeswitch::lab::{Place, namespace};
use serde_json::Value;

use crate::site::{KINDS, Site, can, frame, marker, until};

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
        let link_is = |state: &str| until(&format!("blade 3 is {state}"), || link(&site, 2) == state);
        let (said, pulled) = std::thread::scope(|scope| {
            let client = scope.spawn(|| site.ok(ONE, &["iperf3", "-J", "-c", "198.18.0.2", "-t", "4", "-i", "0.5"]));
            let mut pulled = 0;
            while !client.is_finished() {
                site.chassis.unplug(THREE).unwrap();
                link_is("down");
                site.chassis.plug(THREE).unwrap();
                link_is("up");
                pulled += 1;
            }
            (client.join().unwrap(), pulled)
        });
        server.finish();
        let said: Value = serde_json::from_str(&said).unwrap();
        let bytes: Vec<u64> = said["intervals"].as_array().unwrap().iter().map(|each| each["sum"]["bytes"].as_u64().unwrap()).collect();
        assert!(bytes.len() >= 7 && pulled >= 2, "{kinds:?}: pulled {pulled} times: {bytes:?}");
        assert!(bytes.iter().all(|&bytes| bytes > 0), "{kinds:?}: pulled {pulled} times: {bytes:?}");
        let said = site.ok(ONE, &["ping", "-4", "-c", "3", "-i", "0.05", "-W", "10", "blade3"]);
        assert!(said.contains(" 0% packet loss"), "{kinds:?}: {said}");
        site.stop();
    }
}

/// The state of a port's link.
fn link(site: &Site, port: usize) -> String {
    site.show("ports").expect("the switch answers")["ports"][port]["link"].as_str().unwrap().to_owned()
}

/// Who was behind a port whose link is lost is forgotten, and only they; frames to them are flooded as to anybody unknown.
#[test]
fn what_was_behind_a_lost_link_is_forgotten() {
    if !can(&["ping", "tcpdump", "tcpreplay"]) {
        return;
    }
    let inside = |site: &Site, place: Place, line: &str| {
        namespace::ip_batch(Some(&site.chassis.name.namespace(place)), &[line.to_owned()]).unwrap();
    };
    type Way<'a> = (&'a str, &'a dyn Fn(&Site), &'a dyn Fn(&Site));
    let ways: [Way<'_>; 3] = [
        ("pulled", &|site| site.chassis.unplug(THREE).unwrap(), &|site| site.chassis.plug(THREE).unwrap()),
        ("without carrier", &|site| inside(site, THREE, "link set eth0 down"), &|site| inside(site, THREE, "link set eth0 up")),
        ("switched off", &|site| inside(site, Place::Switch, "link set blade3 down"), &|site| {
            inside(site, Place::Switch, "link set blade3 up");
        }),
    ];
    for kinds in KINDS {
        let mut site = Site::up(kinds, 3, 1500);
        for (number, (way, lose, regain)) in (0u8..).zip(ways) {
            for blade in ["blade2", "blade3"] {
                site.ok(ONE, &["ping", "-4", "-c", "1", "-W", "10", blade]);
            }
            let behind = |port: &str| {
                let shown = site.show("fdb").expect("the switch answers");
                let entries = shown["entries"].as_array().unwrap();
                entries.iter().filter(|entry| entry["port"] == port && entry["kind"] == "dynamic").count()
            };
            assert!(behind("blade1") > 0 && behind("blade2") > 0 && behind("blade3") > 0, "{kinds:?}: {way}");
            let file = format!("{number}.pcap");
            let recording = site.record(TWO, &file);
            lose(&site);
            until(&format!("{kinds:?}: {way}: the link is down"), || link(&site, 2) == "down");
            until(&format!("{kinds:?}: {way}: who was behind it is forgotten"), || behind("blade3") == 0);
            assert!(behind("blade1") > 0 && behind("blade2") > 0, "{kinds:?}: {way}: the others are not");
            let stray = frame([2, 0, 0, 0, 0, 3], [2, 0, 0, 0, 0, 1], 0x9000, &[number; 64]);
            site.send(ONE, &[stray.clone(), marker([2, 0, 0, 0, 0, 1])]);
            assert!(site.recorded(&file).contains(&stray), "{kinds:?}: {way}: a frame for blade 3 is flooded");
            drop(recording);
            regain(&site);
            until(&format!("{kinds:?}: {way}: the link is up"), || link(&site, 2) == "up");
        }
        site.ok(ONE, &["ping", "-4", "-c", "1", "-W", "10", "blade3"]);
        site.stop();
    }
}

/// The interface that carries the default route is taken only from who insists.
#[test]
fn the_default_route_is_not_taken_by_mistake() {
    if !can(&[]) {
        return;
    }
    for kinds in [&["auto"][..], &["af_packet"], &["af_xdp"]] {
        let site = Site::bare(kinds, 1, 1500);
        let lines = ["address add 192.0.2.1/24 dev uplink", "route add default via 192.0.2.2 dev uplink"];
        namespace::ip_batch(Some(&site.chassis.name.namespace(Place::Switch)), &lines.map(str::to_owned)).unwrap();
        let config = site.path("chassis.toml");
        std::fs::write(&config, site.chassis.config()).unwrap();
        let run = [env!("CARGO_BIN_EXE_bladeswitch"), "run", config.to_str().unwrap(), "--duration", "0"];
        let refused = site.run(Place::Switch, &run);
        let said = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{kinds:?}: {said}");
        for part in ["`uplink` carries the default route", "--force-default-route"] {
            assert!(said.contains(part) && said.lines().count() == 1, "{kinds:?}: {said}");
        }
        let said = site.ok(Place::Switch, &[&run[..], &["--force-default-route"]].concat());
        assert!(said.contains("ledger: balanced"), "{kinds:?}: {said}");
    }
}

/// Every thread of the switch gives up what its ports do not need; that they come back all the same is seen above.
#[test]
fn no_thread_keeps_more_than_ports_need() {
    /// CAP_NET_ADMIN, CAP_NET_RAW, CAP_IPC_LOCK, CAP_BPF; see capabilities(7).
    const TO_OPEN: u64 = 1 << 12 | 1 << 13 | 1 << 14 | 1 << 39;
    /// CAP_SYS_ADMIN: the other ends of the veths are in other namespaces.
    const TO_ENTER: u64 = 1 << 21;
    if !can(&[]) {
        return;
    }
    for kinds in KINDS {
        let mut site = Site::up(kinds, 2, 1500);
        let tasks = format!("/proc/{}/task", site.switch.as_ref().unwrap().id());
        let held = || {
            let mut held = Vec::new();
            for task in std::fs::read_dir(&tasks).unwrap() {
                // One that has ended meanwhile has none.
                let Ok(status) = std::fs::read_to_string(task.unwrap().path().join("status")) else { continue };
                let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
                let mask = |name: &str| u64::from_str_radix(&field(name), 16).unwrap();
                held.push((field("Name:"), mask("CapInh:") | mask("CapPrm:") | mask("CapEff:")));
            }
            held
        };
        // A thread may not have had the processor yet.
        until("threads give up their capabilities", || {
            let allowed = |name: &str| if name.starts_with("xdp-") { TO_OPEN } else { TO_OPEN | TO_ENTER };
            held().iter().all(|(name, held)| held & !allowed(name) == 0)
        });
        let held = held();
        assert!(held.iter().any(|(_, held)| held & TO_OPEN == TO_OPEN), "{kinds:?}: {held:x?}: ports are opened again with these");
        let keepers = held.iter().filter(|(name, _)| name.starts_with("xdp-")).count();
        assert_eq!(keepers, (0..3).filter(|port| kinds[port % kinds.len()].starts_with("af_xdp")).count(), "{held:x?}");
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
