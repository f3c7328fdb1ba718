//! Blades of several chassis know each other: identities cross the trunks, messages find them without flooding, and who is cut off is gone.

use std::net::{IpAddr, Ipv4Addr};

use wire::Vid;
use wire::message::Final;

use super::super::blades::message;
use super::*;

mod functions;

/// [`HEALED`], and two more summaries: one may have come before the other end of the trunk was open.
const KNOWN: Nanos = Nanos::from_millis(HEALED.0 / 1_000_000 + 200);
const CHAIN: [(usize, usize); 2] = [(0, 1), (1, 2)];

fn ip(chassis: usize) -> Ipv4Addr {
    Ipv4Addr::new(198, 18, 1, chassis as u8)
}

/// The address of the switch blade itself.
fn switch(chassis: usize) -> MacAddr {
    MacAddr([2, 0, 0, 0, 2, chassis as u8])
}

/// A blade with a MAC and an IP address.
fn with_addresses(chassis: usize) -> (String, String) {
    (format!("slot = 1\nmac = \"{}\"\nip = \"{}\"\n", blade(chassis), ip(chassis)), String::new())
}

fn key(text: &str) -> Option<Sealer> {
    Some(Sealer::new(text.as_bytes(), 1))
}

impl Fabric {
    fn addressed(count: usize, pairs: &[(usize, usize)], seed: u64) -> Fabric {
        let mut fabric = Fabric::with(count, pairs, seed, with_addresses, |_| None);
        fabric.inbox = Some(Vec::new());
        fabric
    }

    /// The other chassis whose blade is known in this one.
    fn known_in(&self, chassis: usize) -> Vec<usize> {
        let others = self.switches[chassis].control.identities().others();
        let known = others.map(|(other, slot, identity, _)| {
            let other = usize::from(other) - 1;
            assert!(slot == 1 && identity.macs.contains_key(&blade(other)) && identity.ips.contains_key(&IpAddr::V4(ip(other))));
            other
        });
        known.collect()
    }

    /// Everybody knows whom he is connected with and nobody else, and a message for somebody else's address finds him and nobody besides.
    fn check_all_know_each_other(&mut self) {
        let islands = self.islands();
        for from in 0..self.switches.len() {
            let connected: Vec<usize> = (0..islands.len()).filter(|&other| other != from && islands[other] == islands[from]).collect();
            assert_eq!(self.known_in(from), connected, "known in chassis {}", from + 1);
            for to in (0..islands.len()).filter(|&to| to != from) {
                for destination in [Final::Mac(blade(to)), Final::Ipv4(ip(to))] {
                    self.inbox = Some(Vec::new());
                    self.carried.clear();
                    self.give(from, BLADE, &message(switch(from), blade(from), destination, b"across"));
                    self.advance(self.now + Nanos::from_millis(30));
                    let got = self.inbox.take().unwrap();
                    self.inbox = Some(Vec::new());
                    if connected.contains(&to) {
                        let arrived: Vec<_> = got.iter().map(|(chassis, bytes)| (*chassis, bytes[..6].to_vec())).collect();
                        assert_eq!(arrived, [(to, blade(to).0.to_vec())], "{destination} from chassis {}", from + 1);
                        // In a tree there is one way; a flooded one would be on others as well.
                        let mut cables: Vec<usize> = self.carried.iter().map(|(cable, _)| *cable).collect();
                        let hops = self.switches[from].control.joined().unwrap().exchange().known();
                        let hops = hops.iter().find(|known| usize::from(known.chassis) == to + 1).unwrap().hops;
                        cables.sort_unstable();
                        cables.dedup();
                        assert_eq!(
                            (cables.len(), self.carried.len()),
                            (usize::from(hops), usize::from(hops)),
                            "{destination} from chassis {}: not one cable more",
                            from + 1
                        );
                    } else {
                        // A notice that nobody has this address comes back, and nothing else goes anywhere.
                        assert!(got.iter().all(|(chassis, _)| *chassis == from) && self.carried.is_empty(), "{got:?}");
                    }
                }
            }
        }
    }
}

/// Identities and messages, while cables are cut and mended by chance.
fn changes(count: usize, pairs: &[(usize, usize)], seed: u64) {
    let mut fabric = Fabric::addressed(count, pairs, seed);
    fabric.advance(KNOWN);
    fabric.check_all_know_each_other();
    for _ in 0..4 {
        // Some changes come while the last one is still being digested.
        for _ in 0..=fabric.chance.below(2) {
            let cable = fabric.chance.below(pairs.len() as u64) as usize;
            let (whole, notice) = (!fabric.cables[cable].whole, fabric.chance.one_in(2));
            fabric.set_cable(cable, whole, notice);
            let next = fabric.now + Nanos::from_millis(fabric.chance.below(300));
            fabric.advance(next);
        }
        fabric.advance(fabric.now + KNOWN);
        fabric.check_all_know_each_other();
    }
    fabric.end();
}

#[test]
fn p57_blades_of_a_chain_of_chassis_know_each_other() {
    (1..5).for_each(|seed| changes(4, &[(0, 1), (1, 2), (2, 3)], seed));
}

#[test]
fn p57_blades_of_a_ring_of_chassis_know_each_other() {
    (1..5).for_each(|seed| changes(4, &[(0, 1), (1, 2), (2, 3), (3, 0)], seed));
}

#[test]
fn p57_blades_of_a_star_of_chassis_know_each_other() {
    (1..5).for_each(|seed| changes(4, &[(2, 0), (2, 1), (2, 3)], seed));
}

/// Who is cut off is gone at once: where the cut is noticed in the same moment, elsewhere with the next frame from there.
#[test]
fn p57_a_chassis_that_leaves_takes_its_identities_with_it() {
    let mut fabric = Fabric::addressed(3, &CHAIN, 1);
    fabric.advance(KNOWN);
    assert_eq!((fabric.known_in(0), fabric.known_in(1)), (vec![1, 2], vec![0, 2]));
    fabric.set_cable(1, false, true);
    fabric.advance(fabric.now);
    assert_eq!(fabric.known_in(1), [0]);
    fabric.advance(fabric.now + Nanos::from_millis(3));
    assert_eq!((fabric.known_in(0), fabric.known_in(2)), (vec![1], vec![]));
    fabric.check_all_know_each_other();
    fabric.set_cable(1, true, true);
    fabric.advance(fabric.now + KNOWN);
    fabric.check_all_know_each_other();
    fabric.end();
}

/// What is known of others does not age while they tell of it, and is forgotten with the blade it was heard of.
#[test]
fn p57_a_silent_blade_is_known_as_long_as_its_chassis_tells_of_it() {
    let heard = |chassis: usize| match chassis {
        2 => ("slot = 1\n".to_owned(), "[fdb]\nageing_ms = 5000\n".to_owned()),
        _ => (with_addresses(chassis).0, "[fdb]\nageing_ms = 5000\n".to_owned()),
    };
    let mut fabric = Fabric::with(3, &CHAIN, 1, heard, |_| None);
    fabric.inbox = Some(Vec::new());
    fabric.advance(KNOWN);
    assert_eq!(fabric.known_in(0), [1]);
    let claim = wire::arp::Arp {
        operation: wire::arp::Operation::Request,
        sender_mac: blade(2),
        sender_ip: ip(2),
        target_mac: MacAddr::ZERO,
        target_ip: ip(2),
    };
    fabric.give(2, BLADE, &frame(MacAddr::BROADCAST, blade(2), EtherType::ARP, &claim.emit()));
    fabric.advance(fabric.now + Nanos::from_secs(30));
    fabric.check_all_know_each_other();
    let (.., identity, _) = fabric.switches[0].control.identities().others().find(|(chassis, ..)| *chassis == 3).unwrap();
    assert_eq!(identity.ips[&IpAddr::V4(ip(2))], control::identity::Source::Arp);
    fabric.plugs[2][BLADE.index()].set(LinkState::Down);
    fabric.advance(fabric.now + Nanos::from_millis(200));
    assert_eq!((fabric.known_in(0), fabric.known_in(1)), (vec![1], vec![0]));
    fabric.end();
}

/// With a key in all chassis but one, that one is not believed, and its frames have a name.
#[test]
fn p57_what_is_told_of_blades_is_sealed() {
    let keys = |chassis: usize| if chassis == 2 { key("another key.....") } else { key("sixteen bytes...") };
    let mut fabric = Fabric::with(4, &[(0, 1), (1, 2), (1, 3)], 1, with_addresses, keys);
    fabric.advance(KNOWN);
    assert_eq!((fabric.known_in(0), fabric.known_in(1), fabric.known_in(2)), (vec![1, 3], vec![0, 3], vec![]));
    let counters = |fabric: &Fabric, chassis: usize| fabric.switches[chassis].control.joined().unwrap().exchange().counters;
    assert!(counters(&fabric, 1).wrong_seal > 0 && counters(&fabric, 2).wrong_seal > 0);
    assert_eq!((counters(&fabric, 0).wrong_seal, counters(&fabric, 0).unsealed), (0, 0));
    fabric.end();

    let keys = |chassis: usize| if chassis == 0 { None } else { key("sixteen bytes...") };
    let mut fabric = Fabric::with(3, &CHAIN, 1, with_addresses, keys);
    fabric.advance(KNOWN);
    assert_eq!((fabric.known_in(1), fabric.known_in(2)), (vec![2], vec![1]));
    assert!(counters(&fabric, 1).unsealed > 0);
    fabric.end();
}

/// Frames of switch blades that are garbled, played again or made up: dropped by name, believed by nobody.
#[test]
fn p57_hostile_frames_of_switch_blades_are_dropped_by_name() {
    for seed in 1..4 {
        let mut fabric = Fabric::with(3, &CHAIN, seed, with_addresses, |_| key("sixteen bytes..."));
        fabric.advance(KNOWN);
        // What was on the cables: taken down as it comes by.
        let mut heard: Vec<Vec<u8>> = Vec::new();
        for _ in 0..2000 {
            fabric.advance(fabric.now + Nanos(200_000));
            let waiting = fabric.cables.iter().flat_map(|cable| cable.transit.iter().flatten());
            heard.extend(waiting.map(|(_, bytes)| bytes.clone()).filter(|bytes| bytes[14] != 1));
        }
        fabric.plugs[2][BLADE.index()].set(LinkState::Down);
        assert!(!heard.is_empty());
        let counters = |fabric: &Fabric| fabric.switches[1].control.joined().unwrap().exchange().counters;
        for _ in 0..400 {
            let mut bytes = heard[fabric.chance.below(heard.len() as u64) as usize].clone();
            // Some are played again as they were.
            for _ in 0..fabric.chance.below(4) {
                let at = 14 + fabric.chance.below(bytes.len() as u64 - 14) as usize;
                bytes[at] = fabric.chance.below(256) as u8;
            }
            // Not a hello: that is another matter.
            if bytes[14] == 1 {
                bytes[14] = 2;
            }
            bytes.truncate(60.max(fabric.chance.below(2 * bytes.len() as u64) as usize));
            let trunk = PortId(1 + fabric.chance.below(2) as u8);
            fabric.give(1, trunk, &bytes);
            fabric.advance(fabric.now + Nanos::from_millis(3));
        }
        let after = counters(&fabric);
        assert!(after.wrong_seal > 0 && after.late > 0 && after.malformed > 0 && after.unsealed + after.unknown_version > 0, "{after:?}");
        let dropped: u64 = after.drops().iter().map(|(_, frames)| frames).sum();
        assert!(dropped >= 390, "nearly all: one may be as it was, and not have been heard: {after:?}");
        fabric.advance(fabric.now + KNOWN);
        assert_eq!((fabric.known_in(0), fabric.known_in(1), fabric.known_in(2)), (vec![1, 2], vec![0, 2], vec![0, 1]));
        fabric.end();
    }
}

/// More frames than a trunk takes in a second are dropped, whatever they say; and what was known stays.
#[test]
fn p57_a_flood_of_frames_of_switch_blades_is_limited() {
    let mut fabric = Fabric::addressed(2, &[(0, 1)], 1);
    fabric.advance(KNOWN);
    let nonsense = frame(control::joined::hello::GROUP, switch(0), EtherType::CHASSIS, &[2; 46]);
    for _ in 0..30 {
        (0..100).for_each(|_| fabric.give(1, PortId(1), &nonsense));
        fabric.advance(fabric.now + Nanos::from_millis(1));
    }
    let counters = fabric.switches[1].control.joined().unwrap().exchange().counters;
    assert!(counters.too_many > 1000, "{counters:?}");
    assert_eq!(fabric.known_in(1), [0]);
    assert!(fabric.switches[1].control.neighbors().get(Vid::DEFAULT, IpAddr::V4(ip(0))).is_none(), "told, not learned");
    fabric.advance(fabric.now + Nanos::from_secs(2));
    fabric.check_all_know_each_other();
    fabric.end();
}
