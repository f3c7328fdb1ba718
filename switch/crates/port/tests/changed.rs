//! What is done to the interface of an open port: moved to another namespace, given another MTU or other queues.

mod world;

use std::process::Command;

use port::{LinkState, Refusal};
use world::{Named, Opened, Raw, alone, frame, ip, thread_id, veth};

const SPECS: [&str; 3] = ["af_packet:p0", "af_xdp:p0,mode=native", "af_xdp:p0,mode=skb"];

/// Waits until a frame of this length passes, and then one the other way.
fn passes_both_ways(opened: &mut Opened, raw: &Raw, what: &str, len: usize, mark: u8) {
    let ours = frame(len, &[], mark);
    opened.until(what, |opened| {
        let _ = raw.try_send(&ours); // Refused while its end has no carrier.
        opened.turn().contains(&ours)
    });
    opened.until("the link", |opened| opened.port.device.link() == LinkState::Up);
    let theirs = frame(len, &[], mark | 0x80);
    assert!(opened.send(&theirs), "{what}: {}", opened.port.device.describe());
    opened.turn();
    while raw.receive_ours() != theirs {} // It hears what it has sent, too.
}

/// An interface that comes back is the same one, with the same number, but what was open on it is dead.
#[test]
fn an_interface_that_was_in_another_namespace_is_opened_again() {
    alone(|| {
        let there = Named::new();
        for spec in SPECS {
            veth("p0", "p1");
            let raw = Raw::new("p1");
            let mut opened = Opened::open(spec);
            passes_both_ways(&mut opened, &raw, "the link", 60, 0);
            for (mark, seen) in [(1, true), (2, false)] {
                ip(&format!("link set p0 netns {}", there.0));
                if seen {
                    opened.until("the interface to go", |opened| {
                        opened.turn();
                        opened.port.device.link() == LinkState::Down && !opened.send(&frame(60, &[], mark))
                    });
                    assert_eq!(opened.port.tx[0].refusal(), Refusal::Down, "{spec}");
                }
                ip(&format!("-n {} link set p0 netns {}", there.0, thread_id()));
                ip("link set p0 up");
                passes_both_ways(&mut opened, &raw, &format!("{spec}: being back, {}", if seen { "late" } else { "at once" }), 60, mark);
            }
            opened.close();
            ip("link del p0");
        }
    });
}

#[test]
fn another_mtu_is_followed() {
    alone(|| {
        for spec in SPECS {
            veth("p0", "p1");
            let raw = Raw::new("p1");
            let mut opened = Opened::open(spec);
            passes_both_ways(&mut opened, &raw, "the link", 1514, 0);
            assert!(!opened.send(&frame(1600, &[], 0)), "{spec}");
            assert_eq!(opened.port.tx[0].refusal(), Refusal::Oversize, "{spec}");
            for (mark, mtu) in [(1, 9000), (2, 2000)] {
                ip(&format!("link set p1 mtu {mtu}"));
                ip(&format!("link set p0 mtu {mtu}"));
                opened.until("the new MTU", |opened| {
                    opened.turn();
                    opened.port.device.mtu() == Some(mtu) && opened.port.device.link() == LinkState::Up
                });
                passes_both_ways(&mut opened, &raw, &format!("{spec}: an MTU of {mtu}"), mtu as usize + 14, mark);
            }
            assert!(!opened.send(&frame(2100, &[], 0)), "{spec}");
            assert_eq!(opened.port.tx[0].refusal(), Refusal::Oversize, "{spec}");
            opened.close();
            ip("link del p0");
        }
    });
}

/// A socket is on one queue, and the number of queues is fixed when the port is opened: frames by a further one would be lost unseen.
#[test]
fn a_port_with_more_queues_than_it_was_opened_with_waits() {
    alone(|| {
        if Command::new("ethtool").arg("--version").output().is_err() {
            eprintln!("skipped: no `ethtool`");
            return;
        }
        let queues = |interface: &str, count: u32| {
            let count = count.to_string();
            let output = Command::new("ethtool").args(["-L", interface, "rx", &count, "tx", &count]).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        };
        for spec in &SPECS[1..] {
            ip("link add name p0 numrxqueues 2 numtxqueues 2 type veth peer name p1 numrxqueues 2 numtxqueues 2");
            queues("p1", 1);
            queues("p0", 1);
            ip("link set p0 up");
            ip("link set p1 up");
            let raw = Raw::new("p1");
            let mut opened = Opened::open(spec);
            passes_both_ways(&mut opened, &raw, "the link", 60, 0);
            queues("p0", 2);
            opened.until("the port to close", |opened| {
                opened.turn();
                opened.port.device.describe().contains("has 2 receive queues now and the port was opened with 1")
            });
            assert_eq!(opened.port.device.link(), LinkState::Down, "{spec}");
            queues("p0", 1);
            passes_both_ways(&mut opened, &raw, &format!("{spec}: its own number of queues"), 60, 1);
            opened.close();
            ip("link del p0");
        }
    });
}
