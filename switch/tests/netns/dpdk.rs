//! A chassis whose switch has its blades on DPDK's packet driver.

use bladeswitch::lab::Place;

use crate::site::{Site, can};

/// The chassis' own configuration with ports of DPDK, on plain pages as on any machine.
fn config(site: &Site) -> String {
    let ports = ["blade1", "blade2", "uplink"].iter().fold(site.chassis.config(), |text, interface| {
        text.replace(&format!("\"af_packet:{interface}\""), &format!("\"dpdk:net_af_packet_{interface},iface={interface}\""))
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

/// Two switches side by side; one is killed, which the other does not notice, and starts again.
#[test]
fn two_switches_side_by_side_and_one_is_killed() {
    if !can(&["ping"]) {
        return;
    }
    let mut sites = [Site::bare(&["af_packet"], 2, 1500), Site::bare(&["af_packet"], 2, 1500)];
    for site in &mut sites {
        site.start(&config(site));
        ping(site);
        let ports = site.show("ports").expect("the switch answers");
        let port = &ports["ports"][0];
        assert_eq!((port["kind"].as_str(), port["mode"].as_str()), (Some("dpdk"), Some("copied")), "{port}");
    }
    let [first, second] = &mut sites;
    first.kill();
    ping(second);
    first.start(&config(first));
    ping(first);
    first.stop();
    second.stop();
}
