//! The characteristics of a frame that rules are about, and the conditions on them.
//!
//! Read once for each frame that comes in by a port some rule is about. IP addresses of both families are one number, IPv4 as
//! IPv4-mapped (RFC 4291 §2.5.5.2). Of a message that carries an IP packet, the packet's characteristics count.
//!
//! Limits: what lies in the first buffer of a frame; [`EXTENSIONS_MAX`] extension headers. Whether a packet is whole is for its receiver to judge.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use wire::Vid;
use wire::ethernet::EtherType;
use wire::headers::Headers;
use wire::ip::{MAX_EXTENSION_HEADERS as EXTENSIONS_MAX, Protocol};
use wire::message::{HEADER_LEN, Header};

use crate::address::has_payload_tags;
use crate::admit::TagState;

/// A set of IP addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// The first of them.
    pub address: IpAddr,
    /// Bits that all have in common, 0 to 32 or 128.
    pub len: u8,
}

impl Prefix {
    /// Is the address among them?
    #[inline]
    fn contains(&self, ip: u128) -> bool {
        let is_ipv4 = ip >> 32 == 0xffff;
        let len = u32::from(self.len) + if is_ipv4 { 96 } else { 0 };
        let differs = ip ^ number(self.address);
        self.address.is_ipv4() == is_ipv4 && (len == 0 || differs.checked_shr(128 - len).unwrap_or(0) == 0)
    }
}

impl std::fmt::Display for Prefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.len)
    }
}

/// An address as a number.
fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => mapped(ip.to_bits()),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

fn mapped(ip: u32) -> u128 {
    0xffff_0000_0000 | u128::from(ip)
}

/// TCP flags that must be set, and that must not be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlagCondition {
    /// Must be set.
    pub set: u8,
    /// Must not be set.
    pub clear: u8,
}

/// What a frame must be like. What is empty or `None` says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// Ports it may come in by, a bit for each.
    pub ingress: u128,
    /// EtherType behind the tag of its VLAN.
    pub ethertype: Option<EtherType>,
    /// Its VLAN is one of these.
    pub vlan: Vec<Vid>,
    /// Source, in raw form.
    pub src_mac: Option<u64>,
    /// Destination, in raw form.
    pub dst_mac: Option<u64>,
    /// IP source.
    pub src: Vec<Prefix>,
    /// IP destination.
    pub dst: Vec<Prefix>,
    /// What the IP packet carries.
    pub protocol: Option<Protocol>,
    /// Source port of TCP, UDP or SCTP.
    pub src_port: Vec<RangeInclusive<u16>>,
    /// Destination port.
    pub dst_port: Vec<RangeInclusive<u16>>,
    /// Differentiated services code points, a bit for each; 0 says nothing.
    pub dscp: u64,
    /// TCP flags.
    pub tcp_flags: Option<FlagCondition>,
    /// Type of a message.
    pub message_type: Option<u8>,
    /// What the payload begins with: that of TCP or UDP, of a message with an opaque body, or what follows the EtherType.
    pub payload: Vec<u8>,
}

impl Conditions {
    /// Is the frame like that? (The port it came in by is not looked at here.)
    #[inline]
    pub fn matches(&self, look: &Look<'_>) -> bool {
        let Some(ports) = look.ports.or((self.src_port.is_empty() && self.dst_port.is_empty()).then_some((0, 0))) else { return false };
        let any_of = |ranges: &[RangeInclusive<u16>], port| ranges.is_empty() || ranges.iter().any(|range| range.contains(&port));
        let of_ip = self.src.is_empty() && self.dst.is_empty() && self.protocol.is_none() && self.dscp == 0;
        let ip = match look.ip {
            None => of_ip,
            Some(ip) => {
                let one_of = |prefixes: &[Prefix], address| prefixes.is_empty() || prefixes.iter().any(|prefix| prefix.contains(address));
                self.protocol.is_none_or(|protocol| protocol.0 == ip.protocol)
                    && (self.dscp == 0 || self.dscp & 1 << ip.dscp != 0)
                    && one_of(&self.dst, ip.dst)
                    && one_of(&self.src, ip.src)
            }
        };
        self.ethertype.is_none_or(|ethertype| ethertype.0 == look.ethertype)
            && ip
            && any_of(&self.dst_port, ports.1)
            && any_of(&self.src_port, ports.0)
            && (self.vlan.is_empty() || self.vlan.iter().any(|vid| vid.get() == look.vid))
            && self.src_mac.is_none_or(|mac| mac == look.src_mac)
            && self.dst_mac.is_none_or(|mac| mac == look.dst_mac)
            && self.tcp_flags.is_none_or(|wanted| look.tcp_flags.is_some_and(|is| is & wanted.set == wanted.set && is & wanted.clear == 0))
            && self.message_type.is_none_or(|wanted| look.message_type == Some(wanted))
            && look.payload.starts_with(&self.payload)
    }
}

/// What an IP packet says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpLook {
    /// Source.
    pub src: u128,
    /// Destination.
    pub dst: u128,
    /// What it carries, beneath extension headers.
    pub protocol: u8,
    /// Differentiated services code point.
    pub dscp: u8,
}

/// A fragment of an IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// What its fragments have in common.
    pub id: u32,
    /// It is the first.
    pub first: bool,
}

/// The characteristics of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look<'a> {
    /// EtherType behind the tag of its VLAN.
    pub ethertype: u16,
    /// Its VLAN.
    pub vid: u16,
    /// Source, in raw form.
    pub src_mac: u64,
    /// Destination as it stands in the frame, in raw form.
    pub dst_mac: u64,
    /// If it is or carries an IP packet.
    pub ip: Option<IpLook>,
    /// If that is a fragment.
    pub fragment: Option<Fragment>,
    /// Source and destination port of TCP, UDP or SCTP.
    pub ports: Option<(u16, u16)>,
    /// Of TCP.
    pub tcp_flags: Option<u8>,
    /// If it is a message.
    pub message_type: Option<u8>,
    /// What is carried, as far as it lies in the first buffer; padding may follow.
    pub payload: &'a [u8],
}

impl<'a> Look<'a> {
    /// The characteristics of a frame of `len` bytes whose first bytes are `frame`; `None` if it is of a kind that is never steered.
    #[inline]
    pub fn at(frame: &'a [u8], len: usize, headers: &Headers, tag: TagState, vid: Vid) -> Option<Look<'a>> {
        let destination = u64::from_le_bytes(*frame.first_chunk::<8>()?) & 0xffff_ffff_ffff;
        if destination & 1 != 0 {
            return None;
        }
        let start = usize::from(headers.payload);
        let payload = frame.get(start..)?;
        let mut look =
            Look { ethertype: headers.ethertype, vid: vid.get(), src_mac: headers.src, dst_mac: destination, payload, ..Look::default() };
        if has_payload_tags(headers.payload, tag) {
            // What is behind a tag that is payload is payload as well.
            look.ethertype = EtherType::QINQ.0;
            return Some(look);
        }
        match EtherType(headers.ethertype) {
            EtherType::MESSAGE => {
                if let Ok(header) = Header::parse_prefix(payload, len.saturating_sub(start)) {
                    look.message_type = Some(header.message_type.into());
                    look.payload = payload.get(HEADER_LEN..).unwrap_or_default();
                    look.payload = look.payload.get(..usize::from(header.body_len)).unwrap_or(look.payload);
                    look.at_ip(header.inner)?;
                }
            }
            ethertype => look.at_ip(ethertype)?,
        }
        Some(look)
    }

    fn at_ip(&mut self, ethertype: EtherType) -> Option<()> {
        let packet = self.payload;
        let (protocol, upper) = match ethertype {
            EtherType::IPV4 => {
                let Some(header) = packet.first_chunk::<20>().filter(|header| header[0] >> 4 == 4) else { return Some(()) };
                let word = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
                let (flags, id) = (word(4) & 0xffff, word(4) >> 16);
                self.ip = Some(IpLook { src: mapped(word(12)), dst: mapped(word(16)), protocol: header[9], dscp: header[1] >> 2 });
                if flags & 0x3fff != 0 {
                    self.fragment = Some(Fragment { id, first: flags & 0x1fff == 0 });
                }
                let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
                let end = total.min(packet.len());
                (Protocol(header[9]), packet.get(usize::from(header[0] & 15) * 4..end).unwrap_or_default())
            }
            EtherType::IPV6 => {
                let Some((header, rest)) = packet.split_first_chunk::<40>().filter(|(header, _)| header[0] >> 4 == 6) else {
                    return Some(());
                };
                let address = |at: usize| header[at..at + 16].iter().fold(0, |number, &octet| number << 8 | u128::from(octet));
                let end = usize::from(u16::from_be_bytes([header[4], header[5]])).min(rest.len());
                let (protocol, upper) = self.upper_layer(Protocol(header[6]), &rest[..end]);
                let dscp = (header[0] << 4 | header[1] >> 4) >> 2;
                self.ip = Some(IpLook { src: address(8), dst: address(24), protocol: protocol.0, dscp });
                (protocol, upper)
            }
            _ => return Some(()),
        };
        if self.fragment.is_some_and(|fragment| !fragment.first) {
            self.payload = upper;
            return Some(());
        }
        let ports =
            upper.first_chunk::<4>().map(|bytes| (u16::from_be_bytes([bytes[0], bytes[1]]), u16::from_be_bytes([bytes[2], bytes[3]])));
        let carried_from = match protocol {
            Protocol::TCP => {
                self.tcp_flags = upper.get(13).copied();
                upper.get(12).map_or(0, |offset| usize::from(offset >> 4) * 4)
            }
            Protocol::UDP => 8,
            Protocol::SCTP => 12,
            // Neighbour discovery (RFC 4861 §4): it asks who has an address.
            Protocol::ICMPV6 if upper.first().is_some_and(|kind| (133..=137).contains(kind)) => return None,
            Protocol(_) => {
                self.payload = upper;
                return Some(());
            }
        };
        self.ports = ports;
        self.payload = upper.get(carried_from..).unwrap_or_default();
        Some(())
    }

    /// Steps over the extension headers (RFC 8200 §4).
    fn upper_layer(&mut self, first: Protocol, payload: &'a [u8]) -> (Protocol, &'a [u8]) {
        let (mut protocol, mut rest) = (first, payload);
        for _ in 0..EXTENSIONS_MAX {
            let Some(header) = rest.first_chunk::<8>() else { break };
            let len = match protocol {
                Protocol::HOP_BY_HOP | Protocol::ROUTING | Protocol::DESTINATION_OPTIONS => 8 + 8 * usize::from(header[1]),
                Protocol::AH => 8 + 4 * usize::from(header[1]),
                Protocol::FRAGMENT => {
                    let first = u16::from_be_bytes([header[2], header[3]]) & 0xfff8 == 0;
                    let id = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
                    self.fragment = Some(Fragment { id, first });
                    8
                }
                Protocol(_) => break,
            };
            protocol = Protocol(header[0]);
            rest = rest.get(len..).unwrap_or_default();
            if self.fragment.is_some_and(|fragment| !fragment.first) {
                break; // What follows stands in the first fragment.
            }
        }
        (protocol, rest)
    }

    /// The transport header is in another frame.
    pub fn is_later_fragment(&self) -> bool {
        self.fragment.is_some_and(|fragment| !fragment.first)
    }

    /// Others will follow that have no transport header.
    pub fn is_first_fragment(&self) -> bool {
        self.fragment.is_some_and(|fragment| fragment.first)
    }

    /// The first segment of a TCP connection: SYN without ACK.
    pub fn opens_connection(&self) -> bool {
        self.tcp_flags.is_some_and(|flags| flags & 0x12 == 0x02)
    }
}
