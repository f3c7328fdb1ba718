//! A chassis whose switch has its blades on DPDK's drivers for interfaces, and one with a virtual machine as blade.

#[path = "dpdk/guest.rs"]
mod guest;

use bladeswitch::lab::{Place, namespace};

use crate::site::{Site, can, until};

/// The chassis' own configuration with ports of DPDK, on plain pages as on any machine.
fn config(site: &Site, driver: &str) -> String {
    let ports = ["blade1", "blade2", "uplink"].iter().fold(site.chassis.config(), |text, interface| {
        text.replace(&format!("\"af_packet:{interface}\""), &format!("\"dpdk:{driver}_{interface},iface={interface}\""))
    });
    assert!(!ports.contains("\"af_packet:"), "{ports}");
    format!("{ports}\n[dpdk]\nmemory_mib = 128\nhugepages = \"never\"\n")
}

fn ping(site: &Site) {
    for version in ["-4", "-6"] {
        let said = site.ok(Place::Blade(1), &["ping", version, "-c", "3", "-i", "0.05", "-W", "10", "blade2"]);
        assert!(said.contains(" 0% packet loss"), "{said}");
    }
}

/// TCP both ways, to its end.
fn iperf3(site: &Site, to: Place, from: Place) {
    let address = to.ipv4().unwrap().to_string();
    for direction in [&["-n", "2M"][..], &["-n", "2M", "-R"]] {
        let server = site.background(to, &["iperf3", "-s", "-1", "--forceflush"], "Server listening");
        site.ok(from, &[&["iperf3", "-c", &address], direction].concat());
        server.finish();
    }
}

#[test]
fn ping_and_tcp_through_packet_sockets_and_af_xdp() {
    if !can(&["ethtool", "iperf3", "ping"]) {
        return;
    }
    for driver in ["net_af_packet", "net_af_xdp"] {
        let mut site = Site::bare(&["af_packet"], 2, 1500);
        // The drivers hand over what the kernel would have left to a NIC as if it were whole.
        for place in site.chassis.ends() {
            site.ok(place, &["ethtool", "-K", "eth0", "tx", "off"]);
        }
        site.start(&config(&site, driver));
        // AF_XDP sockets come into service with the first frames.
        until("blade 2 answers", || site.run(Place::Blade(1), &["ping", "-4", "-c", "1", "-W", "1", "blade2"]).status.success());
        iperf3(&site, Place::Blade(2), Place::Blade(1));
        site.stop();
    }
}

/// The switch's own machine is the blade behind a TAP, whose other end of the switch is a port of another kind. Frames go from one to the other in the
/// buffers they came in.
#[test]
fn ping_and_tcp_through_a_tap() {
    if !can(&["ping", "iperf3"]) {
        return;
    }
    for kind in ["af_packet", "af_xdp"] {
        through_a_tap(kind);
    }
}

fn through_a_tap(kind: &'static str) {
    let mut site = Site::bare(&[kind], 2, 1500);
    let ports = site.chassis.config().replace(&format!("\"{kind}:blade2\""), "\"dpdk:net_tap0,iface=dtap2\"");
    assert!(ports.contains("net_tap0") && ports.contains(&format!("\"{kind}:blade1\"")), "{ports}");
    site.start(&format!("{ports}\n[dpdk]\nmemory_mib = 128\nhugepages = \"never\"\n"));
    let (blade, switch) = (Place::Blade(2), site.chassis.name.namespace(Place::Switch));
    let lines = [
        format!("link set dtap2 address {}", blade.mac().unwrap()),
        format!("address add {}/15 dev dtap2", blade.ipv4().unwrap()),
        "link set dtap2 up".to_owned(),
    ];
    namespace::ip_batch(Some(&switch), &lines).unwrap();
    let one = Place::Blade(1).ipv4().unwrap().to_string();
    let said = site.ok(Place::Switch, &["ping", "-c", "3", "-i", "0.05", "-W", "10", &one]);
    assert!(said.contains(" 0% packet loss"), "{said}");
    iperf3(&site, Place::Blade(1), Place::Switch);
    let shown = site.show("ports").expect("the switch answers");
    let port = shown["ports"].as_array().unwrap().iter().find(|port| port["kind"] == "dpdk").unwrap();
    let (frames, copied) = (port["tx_frames"].as_u64().unwrap(), port["copied"].as_u64().unwrap());
    // What is flooded is copied: requests of ARP and the first frames.
    assert!(port["mode"] == "zero-copy" && frames > 1000 && copied < frames / 10, "{port}");
    site.stop();
}

/// Two switches side by side; one is killed, which the other does not notice, and starts again.
#[test]
fn two_switches_side_by_side_and_one_is_killed() {
    if !can(&["ping"]) {
        return;
    }
    let mut sites = [Site::bare(&["af_packet"], 2, 1500), Site::bare(&["af_packet"], 2, 1500)];
    for site in &mut sites {
        site.start(&config(site, "net_af_packet"));
        ping(site);
        let ports = site.show("ports").expect("the switch answers");
        let port = &ports["ports"][0];
        assert_eq!((port["kind"].as_str(), port["mode"].as_str()), (Some("dpdk"), Some("copied")), "{port}");
    }
    let [first, second] = &mut sites;
    first.kill();
    ping(second);
    first.start(&config(first, "net_af_packet"));
    ping(first);
    first.stop();
    second.stop();
}
