//! Where the fields of a frame are: just enough to edit it. The tester's own reading, independent of the switch's.
//!
//! Ethernet II and LLC, any number of VLAN tags, IPv4 with options, IPv6 with the extension headers that have a length, TCP,
//! UDP and ICMP. Whatever is cut short or unknown is simply not there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// EtherTypes of VLAN tags: 802.1Q, 802.1ad, and the one used before it.
pub const TAG_TYPES: [u16; 3] = [0x8100, 0x88a8, 0x9100];

/// Which IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// RFC 791.
    V4,
    /// RFC 8200.
    V6,
}

/// The IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ip {
    /// Which.
    pub version: Version,
    /// Where it begins.
    pub at: usize,
    /// Where the packet ends by its own account; may be beyond the frame.
    pub end: usize,
}

/// The header after IP's. Fragments but the first have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct L4 {
    /// Its protocol number: 6 TCP, 17 UDP, 1 ICMP, 58 ICMPv6 or another.
    pub protocol: u8,
    /// Where it begins.
    pub at: usize,
    /// The packet is a first fragment: there is more of it elsewhere.
    pub fragment: bool,
}

/// Where things are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layers {
    /// VLAN tags.
    pub tags: usize,
    /// EtherType after the tags; below 0x600 a length.
    pub ethertype: u16,
    /// The IP header, whole.
    pub ip: Option<Ip>,
    /// What follows it.
    pub l4: Option<L4>,
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_be_bytes)
}

impl Layers {
    /// Reads a frame; `None` if it is too short for an Ethernet header.
    pub fn of(bytes: &[u8]) -> Option<Layers> {
        let (mut at, mut tags) = (12, 0);
        let mut ethertype = half(bytes, at)?;
        while TAG_TYPES.contains(&ethertype) {
            let Some(inner) = half(bytes, at + 4) else { break };
            (at, tags, ethertype) = (at + 4, tags + 1, inner);
        }
        let (ip, l4) = match ethertype {
            0x0800 => v4(bytes, at + 2),
            0x86dd => v6(bytes, at + 2),
            _ => (None, None),
        };
        Some(Layers { tags, ethertype, ip, l4 })
    }

    /// Where the source and destination addresses of IP are: a range each.
    pub fn address_ranges(&self) -> Option<[std::ops::Range<usize>; 2]> {
        let Ip { version, at, .. } = self.ip?;
        Some(match version {
            Version::V4 => [at + 12..at + 16, at + 16..at + 20],
            Version::V6 => [at + 8..at + 24, at + 24..at + 40],
        })
    }

    /// Source and destination address of IP.
    pub fn addresses(&self, bytes: &[u8]) -> Option<[IpAddr; 2]> {
        let [src, dst] = self.address_ranges()?;
        Some([address(bytes.get(src)?)?, address(bytes.get(dst)?)?])
    }

    /// Where the checksum of TCP, UDP, ICMP is, if it lies in the frame.
    pub fn l4_checksum(&self, bytes: &[u8]) -> Option<usize> {
        let l4 = self.l4?;
        let offset = match l4.protocol {
            6 => 16,
            17 => 6,
            1 | 58 => 2,
            _ => return None,
        };
        (l4.at + offset + 2 <= bytes.len()).then_some(l4.at + offset)
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => bytes.first_chunk::<4>().map(|octets| Ipv4Addr::from(*octets).into()),
        _ => bytes.first_chunk::<16>().map(|octets| Ipv6Addr::from(*octets).into()),
    }
}

fn v4(bytes: &[u8], at: usize) -> (Option<Ip>, Option<L4>) {
    let Some(&[first, _, len_high, len_low, _, _, flags, offset, _, protocol]) = bytes.get(at..).and_then(<[u8]>::first_chunk::<10>) else {
        return (None, None);
    };
    let header_len = usize::from(first & 15) * 4;
    if first >> 4 != 4 || header_len < 20 || bytes.len() < at + header_len {
        return (None, None);
    }
    let end = at + usize::from(u16::from_be_bytes([len_high, len_low]));
    let ip = Some(Ip { version: Version::V4, at, end });
    let fragment_offset = u16::from_be_bytes([flags, offset]) & 0x1fff;
    let l4 = (fragment_offset == 0 && bytes.len() > at + header_len).then_some(L4 {
        protocol,
        at: at + header_len,
        fragment: flags & 0x20 != 0,
    });
    (ip, l4)
}

fn v6(bytes: &[u8], at: usize) -> (Option<Ip>, Option<L4>) {
    const HEADER_LEN: usize = 40;
    let Some(header) = bytes.get(at..).and_then(<[u8]>::first_chunk::<HEADER_LEN>).filter(|header| header[0] >> 4 == 6) else {
        return (None, None);
    };
    let end = at + HEADER_LEN + usize::from(u16::from_be_bytes([header[4], header[5]]));
    let ip = Some(Ip { version: Version::V6, at, end });
    let (mut protocol, mut next, mut fragment) = (header[6], at + HEADER_LEN, false);
    loop {
        let Some(&[following, len, offset_high, offset_low]) = bytes.get(next..).and_then(<[u8]>::first_chunk::<4>) else {
            return (ip, None);
        };
        match protocol {
            // Hop-by-hop, routing, destination options, mobility: length in units of 8 bytes after the first 8.
            0 | 43 | 60 | 135 => next += 8 + usize::from(len) * 8,
            44 => {
                let field = u16::from_be_bytes([offset_high, offset_low]);
                if field >> 3 != 0 {
                    return (ip, None);
                }
                fragment |= field & 1 != 0;
                next += 8;
            }
            // ESP, no next header.
            50 | 59 => return (ip, None),
            _ => return (ip, Some(L4 { protocol, at: next, fragment })),
        }
        protocol = following;
    }
}
