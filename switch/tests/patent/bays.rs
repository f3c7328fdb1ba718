//! Bays, paragraphs [57] and [58]: name, VLANs, functions and rate belong to the bay, and a blade that is put in has them.

use bladeswitch::replay::Stage;
use control::show;
use port::{Nanos, PortId};
use wire::MacAddr;

use super::UPLINK;
use super::blades::*;

/// Bays 1 and 2 are for the web, in VLAN 10 at 2.5 Gb/s; 3 and 4 are spare, in VLAN 20.
const CHASSIS: &str = r#"
identity = { advertise = false }
[[profile]]
name = "web"
slots = ["1-2"]
prefix = "web"
vlan = 10
speed = "2.5G"
functions = ["http"]
[[profile]]
name = "spare"
slots = [3, 4]
prefix = "spare"
vlan = 20
[[function]]
name = "http"
[[steer]]
function = "http"
ethertype = 0x88b6
[[blade]]
slot = 1
[[blade]]
slot = 2
[[blade]]
slot = 3
[[blade]]
slot = 4
speed = "100M"
[[uplink]]
trunk = [10, 20]
"#;

/// A frame from outside, in a VLAN.
fn from_outside(vid: u16, n: u8, dst: MacAddr) -> Vec<u8> {
    tagged(dst, MacAddr([2, 0, 0, 0, 8, n]), &[(0x8100, vid)], wire::ethernet::EtherType(0x88b6), &[n; 46])
}

/// Where the flows of 40 clients go, that of this number and the following.
fn steered(stage: &mut Stage, first: u8) -> Vec<PortId> {
    for n in first..first + 40 {
        stage.feed(UPLINK, [from_outside(10, n, OUTSIDE)]);
        stage.advance(stage.now() + Nanos(2_000));
    }
    let mut ports: Vec<PortId> = sent(stage).into_iter().map(|(port, _)| port).collect();
    ports.sort_unstable();
    assert_eq!(ports.len(), 40);
    ports.dedup();
    ports
}

#[test]
fn p58_a_blade_that_is_put_into_another_bay_has_what_that_bay_has() {
    let mut stage = stage(CHASSIS);
    let ports = show::ports(&stage.switch.control).ports;
    let shown: Vec<_> = ports.iter().map(|port| (port.name.as_str(), port.speed_bps)).collect();
    let rates = [("web1", 2_500_000_000), ("web2", 2_500_000_000), ("spare3", 1_000_000_000), ("spare4", 100_000_000)];
    assert_eq!(shown[..4], rates, "one profile for many bays; what a bay says itself counts before it");
    assert_eq!(steered(&mut stage, 0), [slot(1), slot(2)], "the function is that of the bays, whichever blade is in them");

    // A blade speaks in bay 1: in VLAN 10.
    stage.feed(slot(1), [plain(MacAddr::BROADCAST, blade(1), 60, 1)]);
    let got: Vec<PortId> = sent(&mut stage).into_iter().map(|(port, _)| port).collect();
    assert_eq!(got, [slot(2), UPLINK]);
    // It is pulled and put into bay 3, and speaks there: in VLAN 20, at the rate of that bay, and not for the web any more.
    stage.switch.control.set_enabled(slot(1), false);
    assert_eq!(steered(&mut stage, 40), [slot(2)]);
    let from = stage.now();
    stage.feed(slot(3), [plain(MacAddr::BROADCAST, blade(1), 60, 2)]);
    stage.finish();
    let got = stage.take_sent();
    let at: Vec<_> = got.iter().map(|departure| (departure.port, departure.bytes.len())).collect();
    assert_eq!(at, [(UPLINK, 64), (slot(4), 60)], "tagged for the network, untagged for the other spare bay");
    assert_eq!(got[1].time, Nanos(from.0 + on_the_wire(60, 10_000).0), "at 100 Mb/s");
    assert_eq!(got[0].bytes[12..16], [0x81, 0x00, 0, 20]);
    stage.switch.control.set_enabled(slot(1), true);
    // Found by its first frame: what is for it in VLAN 20 goes to bay 3, and nowhere else.
    let (dst, src) = (blade(1), MacAddr([2, 0, 0, 0, 9, 1]));
    stage.feed(UPLINK, [tagged(dst, src, &[(0x8100, 20)], wire::ethernet::EtherType(0x88b7), &[7; 46])]);
    assert_eq!(sent(&mut stage), [(slot(3), frame(dst, src, wire::ethernet::EtherType(0x88b7), &[7; 46]))]);
    assert_eq!(steered(&mut stage, 80), [slot(1), slot(2)], "bay 1 has its function for new flows of whoever comes next");
    end(stage);
}
