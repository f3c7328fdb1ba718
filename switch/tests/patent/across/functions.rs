//! Functions across chassis, [43] and [57]: a rule in one chassis has frames go to blades of another.

use std::collections::BTreeMap;

use super::*;

/// A TCP segment to port 80 in the middle of a connection; `flow` is its source port.
fn segment(dst: MacAddr, src: MacAddr, flow: u16) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 198, 18, 1, 0, 198, 18, 9, 9];
    packet.extend(flow.to_be_bytes());
    packet.extend([0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 0xff, 0xff, 0, 0, 0, 0]);
    frame(dst, src, EtherType::IPV4, &packet)
}

const RULE: &str = "[[steer]]\nfunction = \"web\"\nprotocol = \"tcp\"\ndst_port = 80\n";

/// Chassis 1 steers, and has no blade of the function; `more` is what the others have.
fn steering(count: usize, pairs: &[(usize, usize)], more: impl Fn(usize) -> String) -> Fabric {
    let config = |chassis: usize| match chassis {
        0 => (with_addresses(0).0, format!("[[function]]\nname = \"web\"\n{RULE}in = \"blade1\"\n")),
        _ => (with_addresses(chassis).0, more(chassis)),
    };
    let mut fabric = Fabric::with(count, pairs, 1, config, |_| None);
    fabric.inbox = Some(Vec::new());
    fabric.advance(KNOWN);
    fabric
}

const FLOWS: std::ops::Range<u16> = 1000..1040;

impl Fabric {
    /// Sends a frame of each flow from the blade of chassis 1; which chassis has got it.
    fn steer_flows(&mut self, flows: std::ops::Range<u16>) -> BTreeMap<u16, usize> {
        for flow in flows.clone() {
            self.give(0, BLADE, &segment(switch(0), blade(0), flow));
        }
        self.advance(self.now + Nanos::from_millis(30));
        let got = self.inbox.replace(Vec::new()).unwrap();
        let mut places = BTreeMap::new();
        for (chassis, bytes) in got {
            assert_eq!(bytes[..6], blade(chassis).0, "it goes to whom it is addressed to");
            assert_eq!(places.insert(u16::from_be_bytes([bytes[34], bytes[35]]), chassis), None, "once");
        }
        assert_eq!(places.len(), flows.len(), "all arrive: {places:?}");
        places
    }

    /// Frames that chassis 1 has steered to another.
    fn steered_to(&self, chassis: usize) -> u64 {
        let shown = control::show::functions(&self.switches[0].control);
        let name = format!("chassis {} slot 1", chassis + 1);
        shown.functions[0].blades.iter().find(|blade| blade.blade == name).map_or(0, |blade| blade.frames)
    }
}

fn web(_: usize) -> String {
    "[[function]]\nname = \"web\"\nblades = \"blade1\"\n".to_owned()
}

/// Through the middle one to chassis 3, and the answer comes back as the question came.
#[test]
fn p57_a_blade_in_chassis_1_steers_to_a_function_in_chassis_3() {
    let mut fabric = steering(3, &CHAIN, |chassis| if chassis == 2 { web(2) } else { String::new() });
    fabric.carried.clear();
    assert!(fabric.steer_flows(FLOWS).values().all(|&chassis| chassis == 2));
    assert_eq!((fabric.carried.len(), fabric.steered_to(2)), (2 * FLOWS.len(), FLOWS.len() as u64), "each over two trunks");
    fabric.carried.clear();
    let answer = segment(blade(0), blade(2), 1000);
    fabric.give(2, BLADE, &answer);
    fabric.advance(fabric.now + Nanos::from_millis(30));
    assert_eq!(fabric.inbox.replace(Vec::new()).unwrap(), [(0, answer)]);
    assert_eq!(fabric.carried.len(), 2);
    // Cut off: nobody has the function, and the frames have a name.
    fabric.set_cable(1, false, true);
    fabric.advance(fabric.now + Nanos::from_millis(10));
    fabric.give(0, BLADE, &segment(switch(0), blade(0), 1000));
    fabric.advance(fabric.now + Nanos::from_millis(30));
    assert_eq!(fabric.inbox.replace(Vec::new()).unwrap(), []);
    let drops = fabric.switches[0].control.port_counters(BLADE);
    assert_eq!(drops.drops[dataplane::verdict::DropReason::NoBlade as usize], 1);
    fabric.end();
}

/// Flows stay where they are, and of a chassis that is cut off only its own move.
#[test]
fn p57_only_flows_of_a_chassis_that_is_cut_off_move() {
    let mut fabric = steering(4, &[(0, 1), (1, 2), (1, 3)], |chassis| if chassis > 1 { web(chassis) } else { String::new() });
    let before = fabric.steer_flows(FLOWS);
    let at = |places: &BTreeMap<u16, usize>, chassis: usize| places.values().filter(|&&place| place == chassis).count();
    assert!(at(&before, 2) > 5 && at(&before, 3) > 5 && at(&before, 2) + at(&before, 3) == FLOWS.len(), "{before:?}");
    assert_eq!(fabric.steer_flows(FLOWS), before, "they stay");
    fabric.set_cable(2, false, true);
    fabric.advance(fabric.now + Nanos::from_millis(10));
    let cut: BTreeMap<u16, usize> = before.keys().map(|&flow| (flow, 2)).collect();
    assert_eq!(fabric.steer_flows(FLOWS), cut);
    fabric.set_cable(2, true, true);
    fabric.advance(fabric.now + KNOWN);
    assert_eq!(fabric.steer_flows(FLOWS), cut, "those that live stay where they are");
    let new = fabric.steer_flows(2000..2040);
    assert!(at(&new, 2) > 5 && at(&new, 3) > 5, "{new:?}");
    fabric.end();
}

/// A chassis in the middle with the same function and the same rule, on its trunks as well, leaves alone what another has steered.
#[test]
fn p57_what_one_chassis_has_steered_the_others_leave_alone() {
    let everywhere = |chassis: usize| {
        let trunks = if chassis == 1 { "\"trunk1\", \"trunk2\"" } else { "\"trunk1\"" };
        format!("{}across = \"anywhere\"\n{RULE}in = [{trunks}]\n", web(chassis))
    };
    let mut fabric = steering(3, &CHAIN, everywhere);
    let places = fabric.steer_flows(FLOWS);
    for chassis in [1, 2] {
        let count = places.values().filter(|&&place| place == chassis).count();
        assert!(count > 5, "{places:?}");
        assert_eq!(fabric.steered_to(chassis), count as u64, "as chassis 1 has decided");
    }
    // What nobody has steered yet is steered where it comes in, to a blade that is there.
    fabric.give(0, BLADE, &frame(blade(1), blade(0), OURS, &[0; 46]));
    fabric.advance(fabric.now + Nanos::from_millis(30));
    fabric.received.clear();
    fabric.give(1, PortId(2), &segment(switch(1), blade(2), 5));
    fabric.advance(fabric.now + Nanos::from_millis(30));
    let got = fabric.inbox.replace(Vec::new()).unwrap();
    assert!(matches!(&got[..], [(1, bytes)] if bytes[..6] == blade(1).0), "{got:?}");
    fabric.end();
}
