//! What is odd about a frame of a capture by itself: addresses, tags, lengths, checksums.
//!
//! None of it is an error: captures are full of what cards do before and after software sees a frame, and of what tests send on
//! purpose. It is what explains why a replay is not what one thinks.
//!
//! Checksums are those of IPv4, TCP, UDP, ICMP and ICMPv6, of packets that lie whole in the capture and are no fragments.

use crate::edit::checksum::repair;
use crate::edit::layers::{L4, Layers, Version};

/// What is odd about these bytes. `snapped`: the capture has not all of the frame.
pub fn of_frame(bytes: &[u8], snapped: bool) -> Vec<&'static str> {
    let mut found = Vec::new();
    let mut odd = |what: &'static str, is_so: bool| found.extend(is_so.then_some(what));
    let (Some(dst), Some(src), Some(layers)) = (bytes.get(..6), bytes.get(6..12), Layers::of(bytes)) else {
        odd("too short for an Ethernet header", true);
        return found;
    };
    odd("with a group address as source", src[0] & 1 != 0);
    odd("from 00:00:00:00:00:00", src == [0; 6]);
    odd("from a station to itself", src == dst);
    odd("of IEEE 802.3 flow control (PAUSE): cards keep them, and do not send ours", layers.ethertype == 0x8808);
    odd("with more than two VLAN tags", layers.tags > 2);
    odd("in VLAN 4095, which is reserved", (0..layers.tags).any(|tag| vid(bytes, tag) == Some(0xfff)));
    odd("with a type between 1,501 and 1,535, which is neither length nor EtherType", (1_501..1_536).contains(&layers.ethertype));
    let payload = bytes.len().saturating_sub(14 + 4 * layers.tags);
    odd("of LLC that say they are longer than they are", !snapped && layers.ethertype <= 1_500 && payload < usize::from(layers.ethertype));
    let says_ip = matches!(layers.ethertype, 0x0800 | 0x86dd);
    odd("of IP without a whole header of that version", !snapped && says_ip && layers.ip.is_none());
    if let Some(ip) = layers.ip {
        odd("whose IP packet is longer than the frame", !snapped && ip.end > bytes.len());
        // The eighth byte of IPv6's header is the hop limit.
        let ttl = ip.at + if ip.version == Version::V4 { 8 } else { 7 };
        odd("with a TTL or hop limit of 0", bytes.get(ttl) == Some(&0));
        if !snapped {
            let [header, l4] = wrong_checksums(bytes, &layers);
            odd("with a wrong IPv4 header checksum", header);
            odd("with a wrong TCP, UDP or ICMP checksum (offloads leave them unfinished)", l4);
        }
    }
    let at = 14 + 4 * layers.tags;
    if layers.ethertype == 0x0806 && bytes.get(at..at + 6) == Some(&[0, 1, 8, 0, 6, 4]) {
        odd("of ARP that name another sender than the frame's", bytes.get(at + 8..at + 14).is_some_and(|sender| sender != src));
    }
    found
}

fn vid(bytes: &[u8], tag: usize) -> Option<u16> {
    let tci = bytes.get(14 + 4 * tag..)?.first_chunk().copied()?;
    Some(u16::from_be_bytes(tci) & 0xfff)
}

/// Are the checksums of IPv4 and of what it carries other than they should be?
fn wrong_checksums(bytes: &[u8], layers: &Layers) -> [bool; 2] {
    let mut right = bytes.to_vec();
    repair(&mut right);
    let differs = |at: usize| {
        let of = |bytes: &[u8]| bytes.get(at..)?.first_chunk().copied().map(u16::from_be_bytes);
        // Two ways to write zero (RFC 1071, section 2).
        matches!((of(bytes), of(&right)), (Some(found), Some(made)) if found % 0xffff != made % 0xffff)
    };
    let header = layers.ip.filter(|ip| ip.version == Version::V4).is_some_and(|ip| differs(ip.at + 10));
    let l4 = layers.l4_checksum(bytes).is_some_and(|at| {
        // RFC 768: none was made. IPv6 demands one (RFC 8200, section 8.1).
        let none = matches!(layers.l4, Some(L4 { protocol: 17, .. })) && bytes[at..at + 2] == [0, 0];
        let may_be_none = layers.ip.is_some_and(|ip| ip.version == Version::V4);
        if none { !may_be_none } else { differs(at) }
    });
    [header, l4]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn udp() -> Vec<u8> {
        let station = |n: u8| crate::plan::Station { mac: [2, 0, 0, 0, 0, n], ip: [10, 0, 0, n] };
        let mut frame = crate::plan::udp_frame(station(1), station(2), 100).into_vec();
        // Test frames have none, since stamps change.
        assert!(repair(&mut frame));
        frame
    }

    /// A neighbor advertisement that says nothing, with its checksum.
    fn na() -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 24, 58, 255];
        frame.extend([0xfe; 32]);
        frame.extend([136, 0, 0, 0]);
        frame.resize(14 + 40 + 24, 7);
        assert!(repair(&mut frame));
        frame
    }

    #[test]
    fn each_oddity_is_told_and_nothing_else() {
        assert_eq!(of_frame(&udp(), false), [""; 0]);
        assert_eq!(of_frame(&na(), false), [""; 0]);
        type Spoil = fn(&mut Vec<u8>);
        type Make = fn() -> Vec<u8>;
        let cases: [(&str, Make, Spoil); 16] = [
            ("too short", udp, |frame| frame.truncate(13)),
            ("group address as source", udp, |frame| frame[6] |= 1),
            ("from 00:00:00:00:00:00", udp, |frame| frame[6..12].fill(0)),
            ("to itself", udp, |frame| frame.copy_within(0..6, 6)),
            ("VLAN 4095", udp, |frame| drop(frame.splice(12..12, [0x81, 0, 0xaf, 0xff]))),
            ("more than two VLAN tags", udp, |frame| drop(frame.splice(12..12, [0x81, 0, 0, 1].repeat(3)))),
            ("longer than they are", udp, |frame| frame[12..14].copy_from_slice(&[5, 0])),
            ("neither length nor EtherType", udp, |frame| frame[12..14].copy_from_slice(&[5, 0xe0])),
            ("PAUSE", udp, |frame| frame[12..14].copy_from_slice(&[0x88, 8])),
            ("of IP without", udp, |frame| frame[14] = 0x65),
            ("IP packet is longer", udp, |frame| frame.truncate(99)),
            ("wrong IPv4 header checksum", udp, |frame| frame[24] ^= 0x10),
            ("wrong TCP, UDP or ICMP", udp, |frame| frame[60] ^= 0x10),
            ("wrong TCP, UDP or ICMP", na, |frame| frame[70] ^= 0x10),
            ("hop limit of 0", na, |frame| frame[21] = 0),
            ("name another sender", udp, |frame| {
                frame[12..22].copy_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
            }),
        ];
        for (what, frame, spoil) in cases {
            let mut frame = frame();
            spoil(&mut frame);
            let found = of_frame(&frame, false);
            assert!(found.len() == 1 && found[0].contains(what), "{what}: {found:?}");
        }
        // Of what was cut short nothing can be said that needs the rest.
        assert_eq!(of_frame(&udp()[..60], true), [""; 0]);
        // A UDP checksum of 0 is none, but not in IPv6.
        let mut none = udp();
        none[40..42].fill(0);
        assert_eq!(of_frame(&none, false), [""; 0]);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..120), v6: bool, snapped: bool) {
            if bytes.len() > 20 {
                bytes[12..14].copy_from_slice(&if v6 { 0x86ddu16 } else { 0x0800 }.to_be_bytes());
                bytes[14] = if v6 { 0x60 } else { 0x45 };
            }
            of_frame(&bytes, snapped);
        }
    }
}
