//! Interfaces are prepared, and put back as they were.

mod world;

use std::process::Command;
use std::time::Instant;

use port::netdev::Netdev;
use port::netdev::prepare::Preparation;
use port::{LinkState, netdev::route};
use world::{Named, Opened, alone, ip, veth};

/// The features of an interface as `ethtool -k` lists them; `None` without that program.
fn features(interface: &str, namespace: Option<&str>) -> Option<String> {
    let mut command = match namespace {
        Some(name) => {
            let mut command = Command::new("ip");
            command.args(["netns", "exec", name, "ethtool"]);
            command
        }
        None => Command::new("ethtool"),
    };
    let output = command.args(["-k", interface]).output().ok().filter(|output| output.status.success());
    if output.is_none() {
        eprintln!("skipped: no `ethtool`");
    }
    output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn is_on(features: &str, name: &str) -> bool {
    features.lines().any(|line| line.trim().starts_with(&format!("{name}: on")))
}

#[test]
fn settings_are_changed_on_both_ends_and_put_back() {
    alone(|| {
        let there = Named::new();
        veth("p0", "p1");
        ip(&format!("link set p1 netns {}", there.0));
        ip(&format!("-n {} link set p1 up", there.0));
        let Some(ours) = features("p0", None) else { return };
        let Some(theirs) = features("p1", Some(&there.0)) else { return };
        assert!(
            is_on(&theirs, "tx-checksumming") && is_on(&theirs, "tcp-segmentation-offload") && is_on(&ours, "tcp-segmentation-offload")
        );
        let opened = Opened::open("af_packet:p0");
        let reasons = opened.port.device.reasons().join("\n");
        assert!(
            reasons.contains("switched off on p0: ")
                && reasons.contains(&format!("switched off on p1 in namespace /run/netns/{}: ", there.0)),
            "{reasons}"
        );
        let (now_ours, now_theirs) = (features("p0", None).unwrap(), features("p1", Some(&there.0)).unwrap());
        for name in ["generic-receive-offload", "generic-segmentation-offload", "rx-vlan-offload"] {
            assert!(!is_on(&now_ours, name), "{name}");
        }
        for name in ["tx-checksumming", "tx-vlan-offload", "tx-udp-segmentation"] {
            assert!(!is_on(&now_theirs, name), "{name}");
        }
        opened.close();
        assert_eq!(features("p0", None).unwrap(), ours);
        assert_eq!(features("p1", Some(&there.0)).unwrap(), theirs);
    });
}

#[test]
fn what_was_off_stays_off_and_a_gone_interface_is_let_go() {
    alone(|| {
        veth("p0", "p1");
        let Some(_) = features("p0", None) else { return };
        assert!(Command::new("ethtool").args(["-K", "p0", "gso", "off"]).output().unwrap().status.success());
        let before = features("p0", None).unwrap();
        drop(Preparation::new("p0").unwrap());
        assert_eq!(features("p0", None).unwrap(), before);
        let preparation = Preparation::new("p0").unwrap();
        ip("link del p0");
        veth("p0", "p1");
        let fresh = features("p0", None).unwrap();
        preparation.abandon();
        assert_eq!(features("p0", None).unwrap(), fresh);
        assert!(Preparation::new("nobody").is_err());
    });
}

#[test]
fn changes_ring_the_bell() {
    alone(|| {
        let netdev = Netdev::new("p0").unwrap();
        assert_eq!(netdev.state().unwrap_err().raw_os_error(), Some(libc::ENODEV));
        assert!(!netdev.rang());
        veth("p0", "p1");
        assert!(netdev.rang());
        let first = netdev.state().unwrap();
        assert_eq!((first.name.as_str(), first.kind.as_str(), first.mtu, first.hardware), ("p0", "veth", 1500, 1));
        ip("link set p0 mtu 2000");
        assert!(netdev.rang());
        assert_eq!(netdev.state().unwrap().mtu, 2000);
        ip("link set p0 down");
        let off = netdev.state().unwrap();
        assert_eq!((off.state(), off.why_down()), (LinkState::Down, "switched off"));
        ip("link del p0");
        veth("p0", "p1");
        assert!(netdev.rang());
        assert_ne!(netdev.state().unwrap().index, first.index);
    });
}

#[test]
fn promiscuous_and_hidden_as_long_as_it_is_open() {
    alone(|| {
        veth("p0", "p1");
        let details = || String::from_utf8(Command::new("ip").args(["-d", "link", "show", "p0"]).output().unwrap().stdout).unwrap();
        assert!(details().contains("promiscuity 0"));
        let opened = Opened::open("af_packet:p0");
        assert!(details().contains("promiscuity 1"), "{}", details());
        opened.close();
        // Another test's program that is just being started holds the socket, too, for as long as that takes.
        let deadline = Instant::now() + world::PATIENCE;
        while !details().contains("promiscuity 0") {
            assert!(Instant::now() < deadline, "{}", details());
        }
    });
}

#[test]
fn the_default_route_is_found() {
    alone(|| {
        assert!(route::default_interfaces().unwrap().is_empty());
        veth("p0", "p1");
        ip("addr add 198.18.0.1/24 dev p0");
        assert!(route::default_interfaces().unwrap().is_empty());
        ip("route add default via 198.18.0.2 dev p0");
        assert_eq!(route::default_interfaces().unwrap(), ["p0"]);
    });
}

#[test]
fn the_ladder_says_where_it_stopped() {
    alone(|| {
        veth("p0", "p1");
        // A veth grants no zero-copy; the program of the first port takes the place of a second one.
        let mut first = Opened::open("auto:p0");
        let said = format!("{} {:?} {:?}", first.port.device.describe(), first.port.device.mode(), first.port.device.reasons());
        if first.port.device.kind() != "af_xdp" {
            eprintln!("skipped: no AF_XDP here: {said}");
            return;
        }
        assert!(said.contains("native") && said.contains("zero-copy"), "{said}");
        let second = Opened::open("auto:p0,queues=2");
        assert_eq!((second.port.device.kind(), second.port.device.queues()), ("af_packet", 2));
        let reasons = second.port.device.reasons();
        assert!(reasons[0].starts_with("not AF_XDP: "), "{reasons:?}");
        second.close();
        // And what the first one carries is whole: a local sender leaves the checksum to a card.
        first.until("the link", |opened| opened.port.device.link() == LinkState::Up);
        let raw = world::Raw::new("p1");
        raw.send(&world::frame(60, &[[0x81, 0, 0x60, 7]], 1));
        assert_eq!(first.receive_ours(1), [world::frame(60, &[[0x81, 0, 0x60, 7]], 1)]);
        // A short one, such as ARP, comes from a stack that leaves the padding to its card.
        raw.send(&world::frame(42, &[], 2));
        let short = first.receive_ours(1).remove(0);
        assert_eq!((&short[..42], &short[42..]), (&world::frame(42, &[], 2)[..], &[0; 18][..]));
        let missing = Opened::try_open("auto:nobody").err().unwrap().to_string();
        assert!(missing.contains("there is no interface `nobody`"), "{missing}");
    });
}

#[test]
fn what_is_missing_is_named_with_its_cure() {
    alone(|| {
        veth("p0", "p1");
        // Of this thread only, which ends with the test.
        caps::clear(None, caps::CapSet::Effective).unwrap();
        for spec in ["af_packet:p0", "tap:t0"] {
            let error = Opened::try_open(spec).err().expect(spec).to_string();
            for part in [
                "missing CAP_NET_RAW, CAP_NET_ADMIN, CAP_BPF, CAP_IPC_LOCK",
                "sudo setcap cap_net_raw,",
                "AmbientCapabilities=CAP_NET_RAW ",
            ] {
                assert!(error.contains(part), "{spec}: {error}");
            }
        }
    });
}

/// Whoever was behind a port may have gone with its link, however short it was away: control must hear of it, to forget them.
#[test]
fn a_link_that_was_down_unseen_is_told() {
    alone(|| {
        for spec in ["af_packet:p0", "af_xdp:p0,mode=native", "af_xdp:p0,mode=skb"] {
            veth("p0", "p1");
            let mut opened = Opened::open(spec);
            opened.until("the link", |opened| opened.port.device.link() == LinkState::Up);
            // Nobody looks after the device meanwhile.
            ip("link set p1 down");
            ip("link set p1 up");
            opened.until("being told that it was down", |opened| opened.port.device.link() == LinkState::Down);
            opened.until("the link again", |opened| opened.port.device.link() == LinkState::Up);
            ip("link del p0");
            veth("p0", "p1");
            opened.until("being told that it was gone", |opened| opened.port.device.link() == LinkState::Down);
            opened.until("the new link", |opened| {
                opened.turn();
                opened.port.device.link() == LinkState::Up && opened.port.device.statistics().returns == 1
            });
            opened.close();
            ip("link del p0");
        }
    });
}
