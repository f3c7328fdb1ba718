//! The bytes of the protocols that stations speak, written from their documents and not with the switch's own code.

use std::net::IpAddr;

use super::site::Mac;

/// A final destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    Mac(Mac),
    Ip(IpAddr),
}

impl Address {
    /// Kind and 16 octets, as in `docs/message-format.md`.
    pub fn octets(self) -> [u8; 17] {
        let (kind, octets) = match self {
            Address::Mac(mac) => (1, mac.to_vec()),
            Address::Ip(IpAddr::V4(ip)) => (2, ip.octets().to_vec()),
            Address::Ip(IpAddr::V6(ip)) => (3, ip.octets().to_vec()),
        };
        let mut all = [0; 17];
        all[0] = kind;
        all[1..=octets.len()].copy_from_slice(&octets);
        all
    }

    /// Reads what `octets` writes.
    pub fn read(kind: u8, octets: &[u8]) -> Option<Address> {
        match kind {
            1 => Some(Address::Mac(octets[..6].try_into().expect("six octets"))),
            2 => Some(Address::Ip(<[u8; 4]>::try_from(&octets[..4]).expect("four octets").into())),
            3 => Some(Address::Ip(<[u8; 16]>::try_from(&octets[..16]).expect("sixteen octets").into())),
            _ => None,
        }
    }
}

/// A chassis message, from its version octet on.
pub fn message(message_type: u8, to: Address, body: &[u8]) -> Vec<u8> {
    let to = to.octets();
    let mut bytes = vec![1, message_type, to[0], 0, 0, 0];
    bytes.extend((body.len() as u16).to_be_bytes());
    bytes.extend(&to[1..]);
    bytes.extend(body);
    bytes
}

/// An ARP packet for IPv4 over Ethernet (RFC 826).
pub fn arp(operation: u16, sender_mac: Mac, sender_ip: IpAddr, target_mac: Mac, target_ip: IpAddr) -> Vec<u8> {
    let mut bytes = vec![0, 1, 8, 0, 6, 4];
    bytes.extend(operation.to_be_bytes());
    bytes.extend(sender_mac);
    bytes.extend(&octets(sender_ip));
    bytes.extend(target_mac);
    bytes.extend(&octets(target_ip));
    bytes
}

/// An IP packet with nothing in it.
pub fn ip(src: IpAddr, dst: IpAddr) -> Vec<u8> {
    match src {
        IpAddr::V4(_) => [&[0x45, 0, 0, 20, 0, 0, 0, 0, 64, 253, 0, 0][..], &octets(src), &octets(dst)].concat(),
        IpAddr::V6(_) => ipv6(src, dst, 59, &[]),
    }
}

/// A neighbour solicitation to the group of `target` (RFC 4861 §4.3).
pub fn solicit(src: IpAddr, mac: Option<Mac>, target: IpAddr) -> Vec<u8> {
    let t = octets(target);
    let group: [u8; 16] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, t[13], t[14], t[15]];
    icmpv6(src, group.into(), 135, 0, target, mac.map(|mac| (1, mac)))
}

/// A neighbour advertisement (RFC 4861 §4.4), solicited or not.
pub fn advertise(target: IpAddr, dst: IpAddr, mac: Mac, solicited: bool) -> Vec<u8> {
    icmpv6(target, dst, 136, if solicited { 0x40 } else { 0 }, target, Some((2, mac)))
}

fn icmpv6(src: IpAddr, dst: IpAddr, icmp_type: u8, flags: u8, target: IpAddr, option: Option<(u8, Mac)>) -> Vec<u8> {
    let mut body = vec![icmp_type, 0, 0, 0, flags, 0, 0, 0];
    body.extend(octets(target));
    if let Some((option_type, mac)) = option {
        body.extend([option_type, 1]);
        body.extend(mac);
    }
    // RFC 8200 §8.1: the sum over a pseudo-header and the message.
    let pseudo = [&octets(src)[..], &octets(dst), &(body.len() as u32).to_be_bytes(), &[0, 0, 0, 58], &body].concat();
    let mut sum: u32 = pseudo.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    body[2..4].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    let mut packet = ipv6(src, dst, 58, &body);
    packet[7] = 255;
    packet
}

fn ipv6(src: IpAddr, dst: IpAddr, next: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0, (payload.len() >> 8) as u8, payload.len() as u8, next, 64];
    packet.extend(octets(src));
    packet.extend(octets(dst));
    packet.extend(payload);
    packet
}

pub fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}
