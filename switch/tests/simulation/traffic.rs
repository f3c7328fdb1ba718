//! What stations send: mostly what they should, sometimes not.

use std::net::IpAddr;

use super::chance::Chance;
use super::protocols;
use super::site::{Mac, Mode, OWN, STATIONS, Site, VIDS, ip4, ip6, mac};

/// A frame, and what it says where the reference would have to parse much to find out.
#[derive(Clone, Debug)]
pub struct Sent {
    pub bytes: Vec<u8>,
    pub says: Option<Discovery>,
}

/// A valid message of IPv6 neighbour discovery.
#[derive(Clone, Copy, Debug)]
pub enum Discovery {
    /// `asker` (`::` while it checks for duplicates) asks for `target` and tells its MAC.
    Solicit { asker: IpAddr, mac: Option<Mac>, target: IpAddr },
    /// `target` is at `mac`.
    Advertise { target: IpAddr, mac: Mac },
}

/// A frame that comes in by `port`.
pub fn frame(site: &Site, port: usize, chance: &mut Chance) -> Sent {
    if chance.one_in(50) {
        let len = chance.below(200) as usize;
        return Sent { bytes: chance.bytes(len), says: None };
    }
    let station = |chance: &mut Chance| chance.below(u64::from(STATIONS)) as u8;
    // Stations mostly stay behind a port of their own.
    let who = if chance.one_in(12) {
        station(chance)
    } else {
        (station(chance) / site.ports.len() as u8 * site.ports.len() as u8 + port as u8) % STATIONS
    };
    let src = match chance.below(60) {
        0 => OWN,
        1 => [0; 6],
        2 => [3, 0, 0, 0, 0, 1],
        _ => mac(who),
    };
    let other = station(chance);
    let dst = match chance.below(100) {
        0..55 => mac(other),
        55..58 => mac(200), // Nobody has it.
        58..66 => [0xff; 6],
        66..72 => [1, 0, 0x5e, 0, 0, 5],
        72..75 => [1, 0x80, 0xc2, 0, 0, chance.below(18) as u8],
        _ => OWN,
    };
    let (dst, ethertype, payload, says) = content(who, other, dst, src, chance);
    let mut bytes = [&dst[..], &src].concat();
    for tag in tags(&site.ports[port].mode, chance) {
        bytes.extend(tag);
    }
    // Behind a tag that is payload to the switch it does not look; it says so by seeing the tag's type there.
    bytes.extend(ethertype.to_be_bytes());
    bytes.extend(payload);
    Sent { bytes, says }
}

/// Destination, EtherType, what follows it, and what that says.
fn content(who: u8, other: u8, dst: Mac, src: Mac, chance: &mut Chance) -> (Mac, u16, Vec<u8>, Option<Discovery>) {
    match chance.below(if dst == OWN { 12 } else { 30 }) {
        0..4 => {
            let to = match chance.below(12) {
                0..5 => protocols::Address::Mac(if chance.one_in(8) { mac(200) } else { mac(other) }),
                5..7 => protocols::Address::Ip(ip4(other)),
                7..9 => protocols::Address::Ip(ip6(other)),
                9 => protocols::Address::Mac(chance.pick(&[OWN, [0xff; 6], [1, 0x80, 0xc2, 0, 0, 3], [3, 0, 0, 0, 0, 9]])),
                10 => protocols::Address::Ip(chance.pick(&[[255; 4].into(), [239, 200, 1, 2].into(), [9, 9, 9, 9].into()])),
                _ => protocols::Address::Ip([0xff02, 0, 0, 0, 0, 0, 0, 0x1234].into()),
            };
            let len = len(chance);
            let mut message = protocols::message(chance.pick(&[0, 0, 0, 0, 1, 2, 3, 77]), to, &chance.bytes(len));
            match chance.below(40) {
                0 => message[0] = 2,
                1 => message[2] = chance.pick(&[0, 4, 255]),
                2 => message[6] = 0xff,
                3 => message[3] = 0xff,
                _ => {}
            }
            (dst, 0x88b5, message, None)
        }
        4..7 => {
            let (from, to) = (if chance.one_in(9) { other } else { who }, ip4(other));
            let sender_ip = if chance.one_in(8) { [0; 4].into() } else { ip4(from) };
            let operation = chance.pick(&[1, 1, 1, 2, 2, 3]);
            let to = if chance.one_in(8) { sender_ip } else { to };
            let sender_mac = if chance.one_in(9) { chance.pick(&[mac(other), OWN, [0; 6], [0xff; 6]]) } else { src };
            let mut packet = protocols::arp(operation, sender_mac, sender_ip, [0; 6], to);
            if chance.one_in(20) {
                packet[chance.below(6) as usize] ^= 1;
            }
            (if chance.one_in(3) { dst } else { [0xff; 6] }, 0x0806, packet, None)
        }
        7..9 => {
            let (asker, target) = (if chance.one_in(9) { [0u16; 8].into() } else { ip6(who) }, ip6(other));
            if chance.one_in(3) {
                let mac = if chance.one_in(9) { mac(other) } else { src };
                let about = if asker == IpAddr::from([0u16; 8]) { target } else { asker };
                let packet = protocols::advertise(about, ip6(other), mac, true);
                return (dst, 0x86dd, packet, Some(Discovery::Advertise { target: about, mac }));
            }
            let tells = (asker != IpAddr::from([0u16; 8]) && !chance.one_in(5)).then_some(src);
            let packet = protocols::solicit(asker, tells, target);
            let group = [0x33, 0x33, 0xff, 0, 0, other + 1];
            (if chance.one_in(4) { dst } else { group }, 0x86dd, packet, Some(Discovery::Solicit { asker, mac: tells, target }))
        }
        9..11 => {
            let packet = if chance.one_in(2) { protocols::ip(ip4(who), ip4(other)) } else { protocols::ip(ip6(who), ip6(other)) };
            let ethertype = if packet[0] == 0x45 || chance.one_in(20) { 0x0800 } else { 0x86dd };
            (dst, ethertype, packet, None)
        }
        _ => {
            let len = len(chance);
            (dst, chance.pick(&[0x88b6, 0x88f7, 0x002e]), chance.bytes(len), None)
        }
    }
}

/// Bytes of a body.
fn len(chance: &mut Chance) -> usize {
    match chance.below(400) {
        0 => 9000 + chance.below(300) as usize,
        1 => chance.pick(&[1896, 1900, 1906, 1910, 3800]), // Where one buffer ends.
        2..12 => 1400 + chance.below(200) as usize,
        12 => 65_600 - chance.below(200) as usize,
        _ => chance.below(90) as usize,
    }
}

/// Tags as the port takes them, or not.
fn tags(mode: &Mode, chance: &mut Chance) -> Vec<[u8; 4]> {
    let tag = |tpid: u16, tci: u16| {
        let ([a, b], [c, d]) = (tpid.to_be_bytes(), tci.to_be_bytes());
        [a, b, c, d]
    };
    let priority = (chance.below(16) as u16) << 12;
    let usual = match mode {
        Mode::Trunk { vids, native } => {
            let vid = chance.pick(vids);
            if native.is_some() && chance.one_in(3) { vec![] } else { vec![tag(0x8100, priority | vid)] }
        }
        Mode::Access(_) | Mode::Transparent(_) => vec![],
    };
    let any = chance.pick(&VIDS);
    match chance.below(40) {
        0 => vec![],
        1 => vec![tag(0x8100, priority)], // A priority tag.
        2 => vec![tag(0x8100, priority | any)],
        3 => vec![tag(0x8100, priority | 99)], // A VLAN nobody has configured.
        4 => vec![tag(0x8100, 0xffff)],        // VID 4095, which is reserved.
        5 => vec![tag(0x88a8, any)],
        6 => vec![tag(0x88a8, 100), tag(0x8100, any)],
        7 => usual.into_iter().chain([tag(0x8100, 77), tag(0x88a8, 78)]).collect(),
        8 => vec![tag(0x8100, any); 6],
        _ => usual,
    }
}
