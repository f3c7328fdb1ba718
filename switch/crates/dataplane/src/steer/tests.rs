use std::net::IpAddr;

use wire::Vid;
use wire::ethernet::EtherType;
use wire::headers::Headers;
use wire::ip::Protocol;

use super::flows::{FLOWS_MAX, Flows};
use super::look::{Conditions, FlagCondition, Look, Prefix};
use super::*;
use crate::admit::TagState;

const MACS: [u8; 12] = [2, 0, 0, 0, 0, 0xaa, 2, 0, 0, 0, 0, 0xbb];

fn tcp(flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut segment = vec![0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0];
    segment.extend_from_slice(payload);
    segment
}

/// `fragment` is the word of flags and offset.
fn ipv4(protocol: u8, fragment: u16, upper: &[u8]) -> Vec<u8> {
    let len = (20 + upper.len()) as u16;
    let mut packet = vec![0x45, 46 << 2];
    packet.extend_from_slice(&len.to_be_bytes());
    packet.extend_from_slice(&[0x12, 0x34]);
    packet.extend_from_slice(&fragment.to_be_bytes());
    packet.extend_from_slice(&[64, protocol, 0, 0, 198, 18, 0, 1, 198, 18, 0, 2]);
    packet.extend_from_slice(upper);
    packet
}

fn ethernet(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = [&MACS[..], &ethertype.to_be_bytes(), payload].concat();
    frame.resize(frame.len().max(60), 0);
    frame
}

fn look(frame: &[u8]) -> Option<Look<'_>> {
    Look::at(frame, frame.len(), &Headers::parse(frame).unwrap(), TagState::Untagged, Vid::DEFAULT)
}

fn prefix(text: &str, len: u8) -> Prefix {
    Prefix { address: text.parse::<IpAddr>().unwrap(), len }
}

#[test]
fn a_tcp_segment_and_each_condition_on_it() {
    let frame = ethernet(0x0800, &ipv4(6, 0, &tcp(0x18, b"GET / HTTP/1.1")));
    let seen = look(&frame).unwrap();
    assert_eq!((seen.ports, seen.tcp_flags, seen.payload), (Some((40000, 80)), Some(0x18), &b"GET / HTTP/1.1"[..]));
    assert_eq!(seen.ip.map(|ip| (ip.protocol, ip.dscp)), Some((6, 46)));
    let is = |conditions: Conditions| conditions.matches(&seen);
    let mac = |last| u64::from_le_bytes([2, 0, 0, 0, 0, last, 0, 0]);
    let any = Conditions::default;
    let cases: [(Conditions, Conditions); 13] = [
        (Conditions { ethertype: Some(EtherType::IPV4), ..any() }, Conditions { ethertype: Some(EtherType::IPV6), ..any() }),
        (Conditions { vlan: vec![Vid::DEFAULT], ..any() }, Conditions { vlan: vec![Vid::new(2).unwrap()], ..any() }),
        (Conditions { src_mac: Some(mac(0xbb)), ..any() }, Conditions { src_mac: Some(mac(0xaa)), ..any() }),
        (Conditions { dst_mac: Some(mac(0xaa)), ..any() }, Conditions { dst_mac: Some(mac(0xbb)), ..any() }),
        (Conditions { src: vec![prefix("198.18.0.0", 31)], ..any() }, Conditions { src: vec![prefix("198.18.0.2", 31)], ..any() }),
        (Conditions { dst: vec![prefix("0.0.0.0", 0)], ..any() }, Conditions { dst: vec![prefix("::", 0)], ..any() }),
        (
            Conditions { dst: vec![prefix("10.0.0.0", 8), prefix("198.18.0.2", 32)], ..any() },
            Conditions { dst: vec![prefix("198.18.0.3", 32)], ..any() },
        ),
        (Conditions { protocol: Some(Protocol::TCP), ..any() }, Conditions { protocol: Some(Protocol::UDP), ..any() }),
        (Conditions { src_port: vec![39_999..=40_000], ..any() }, Conditions { src_port: vec![40_001..=65_535], ..any() }),
        (Conditions { dst_port: vec![25..=25, 80..=80], ..any() }, Conditions { dst_port: vec![81..=81], ..any() }),
        (Conditions { dscp: 1 << 46, ..any() }, Conditions { dscp: !(1 << 46), ..any() }),
        (
            Conditions { tcp_flags: Some(FlagCondition { set: 0x10, clear: 0x02 }), ..any() },
            Conditions { tcp_flags: Some(FlagCondition { set: 0x10, clear: 0x08 }), ..any() },
        ),
        (Conditions { payload: b"GET ".to_vec(), ..any() }, Conditions { payload: b"PUT ".to_vec(), ..any() }),
    ];
    assert!(is(any()));
    for (yes, no) in cases {
        assert!(is(yes.clone()), "{yes:?}");
        assert!(!is(no.clone()), "{no:?}");
    }
    assert!(!is(Conditions { message_type: Some(0), ..any() }));
}

#[test]
fn padding_is_no_payload() {
    let frame = ethernet(0x0800, &ipv4(6, 0, &tcp(0x02, b"")));
    let seen = look(&frame).unwrap();
    assert_eq!(seen.payload, b"");
    assert!(seen.opens_connection());
    let answer = ethernet(0x0800, &ipv4(6, 0, &tcp(0x12, b"")));
    assert!(!look(&answer).unwrap().opens_connection());
}

#[test]
fn fragments_are_told_apart() {
    let whole = ethernet(0x0800, &ipv4(17, 0x4000, &[0x9c, 0x40, 0, 53, 0, 9, 0, 0, 1]));
    let first = ethernet(0x0800, &ipv4(17, 0x2000, &[0x9c, 0x40, 0, 53, 0, 9, 0, 0, 1]));
    let later = ethernet(0x0800, &ipv4(17, 1, &[0x9c, 0x40, 0, 53]));
    let (whole, first, later) = (look(&whole).unwrap(), look(&first).unwrap(), look(&later).unwrap());
    // "Don't fragment" makes no fragment.
    assert!(whole.fragment.is_none() && first.is_first_fragment() && later.is_later_fragment());
    assert_eq!((first.ports, later.ports), (Some((40_000, 53)), None));
    let mut flows = Flows::new(1);
    assert_eq!(flows.fragment(&later, 5), None);
    flows.keep_fragment(&first, PortId(3), 7, 5);
    assert_eq!(flows.fragment(&later, 65), Some((7, PortId(3))));
    assert_eq!(flows.fragment(&later, 66), None, "a minute is over");
}

#[test]
fn ipv6_beneath_extension_headers() {
    let mut packet = vec![0x60, 0, 0, 0, 0, 0, 0, 64];
    packet.extend_from_slice(&[0xfd; 16]);
    packet.extend_from_slice(&[0xfe; 16]);
    packet.extend_from_slice(&[60, 0, 1, 4, 0, 0, 0, 0]); // Hop-by-hop, then destination options.
    packet.extend_from_slice(&[17, 0, 1, 4, 0, 0, 0, 0]);
    packet.extend_from_slice(&[0, 1, 0, 2, 0, 11, 0, 0, b'a', b'b', b'c']);
    let len = (packet.len() - 40) as u16;
    packet[4..6].copy_from_slice(&len.to_be_bytes());
    let frame = ethernet(0x86dd, &packet);
    let seen = look(&frame).unwrap();
    assert_eq!((seen.ports, seen.payload), (Some((1, 2)), &b"abc"[..]));
    assert!(Conditions { dst: vec![prefix("fefe::", 16)], ..Conditions::default() }.matches(&seen));
    assert!(!Conditions { dst: vec![prefix("0.0.0.0", 0)], ..Conditions::default() }.matches(&seen));
}

#[test]
fn groups_and_neighbour_discovery_are_left_alone() {
    let mut group = ethernet(0x0800, &ipv4(6, 0, &tcp(0x18, b"")));
    group[0] = 1;
    assert_eq!(look(&group), None);
    let mut packet = vec![0x60, 0, 0, 0, 0, 24, 58, 255];
    packet.extend_from_slice(&[0xfd; 32]);
    packet.extend_from_slice(&[135; 24]);
    assert_eq!(look(&ethernet(0x86dd, &packet)), None);
    packet[40] = 128; // An echo request is not about addresses.
    assert!(look(&ethernet(0x86dd, &packet)).is_some());
}

#[test]
fn a_flow_is_found_until_it_is_over_and_the_oldest_makes_room() {
    let mut flows = Flows::new(1);
    assert_eq!(flows.find(5, 10, 100), None);
    flows.keep(5, PortId(1), 0, 10);
    assert_eq!(flows.find(5, 110, 100), Some(PortId(1)));
    assert_eq!(flows.find(5, 111, 100), None);
    flows.keep(5, PortId(2), 0, 50);
    assert_eq!(flows.find(5, 111, 100), Some(PortId(2)));
    // Four others of the same line: the one that was silent longest goes.
    for n in 1..=4u64 {
        flows.keep(5 + n * FLOWS_MAX as u64, PortId(9), 0, 60 + n as u32);
    }
    assert_eq!(flows.find(5, 70, 100), None);
    assert_eq!(flows.find(5 + FLOWS_MAX as u64, 70, 100), Some(PortId(9)));
}

#[test]
fn flows_spread_evenly_over_the_parts() {
    let flows = Flows::new(1);
    let mut hits = vec![0u32; 16];
    for client in 0..16_000u32 {
        let mut packet = ipv4(6, 0, &tcp(0x18, b""));
        packet[14..16].copy_from_slice(&(client as u16).to_be_bytes());
        let frame = ethernet(0x0800, &packet);
        let (_, slot) = flows.key(&look(&frame).unwrap(), 1, Affinity::Flow);
        hits[slot / (SLOTS / 16)] += 1;
    }
    assert!(hits.iter().all(|&hits| (850..1150).contains(&hits)), "{hits:?}");
}

#[test]
fn no_bytes_panic() {
    let mut state = 1u64;
    for len in (14..200).cycle().take(20_000) {
        let mut bytes: Vec<u8> = (0..len)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 56) as u8
            })
            .collect();
        bytes.resize(bytes.len().max(60), 0);
        bytes[0] &= 0xfe;
        let ethertype: u16 = [0x0800, 0x86dd, 0x88b5, 0x8100][(state >> 40) as usize % 4];
        bytes[12..14].copy_from_slice(&ethertype.to_be_bytes());
        bytes[14] = if ethertype == 0x0800 {
            0x45
        } else if ethertype == 0x86dd {
            0x60
        } else {
            1
        };
        if let Some(seen) = look(&bytes) {
            assert!(seen.payload.len() <= bytes.len());
            let _ = Flows::new(1).key(&seen, 1, Affinity::Flow);
        }
    }
}
