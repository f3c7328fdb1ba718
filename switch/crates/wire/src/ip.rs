//! IPv4 (RFC 791) and IPv6 (RFC 8200) headers as views.
//!
//! A view is proved when it is made: the header is whole and the length it claims is there. Options of IPv4 are stepped
//! over. Extension headers of IPv6 are walked up to [`MAX_EXTENSION_HEADERS`]; jumbograms (RFC 2675) are not known.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::checksum::checksum;

/// Bytes of an IPv4 header without options.
pub const IPV4_HEADER_LEN: usize = 20;
/// Bytes of an IPv6 header without extension headers.
pub const IPV6_HEADER_LEN: usize = 40;
/// How many IPv6 extension headers are walked before the packet is given up. Longer chains occur in attacks only.
pub const MAX_EXTENSION_HEADERS: usize = 8;

/// What the payload of an IP packet is (IANA protocol numbers).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Protocol(pub u8);

impl Protocol {
    /// IPv6 hop-by-hop options, the number 0.
    pub const HOP_BY_HOP: Protocol = Protocol(0);
    /// ICMP (RFC 792).
    pub const ICMP: Protocol = Protocol(1);
    /// IGMP (RFC 3376).
    pub const IGMP: Protocol = Protocol(2);
    /// IPv4 in IP (RFC 2003).
    pub const IPV4: Protocol = Protocol(4);
    /// TCP (RFC 9293).
    pub const TCP: Protocol = Protocol(6);
    /// UDP (RFC 768).
    pub const UDP: Protocol = Protocol(17);
    /// IPv6 in IP (RFC 2473).
    pub const IPV6: Protocol = Protocol(41);
    /// IPv6 routing header.
    pub const ROUTING: Protocol = Protocol(43);
    /// IPv6 fragment header.
    pub const FRAGMENT: Protocol = Protocol(44);
    /// GRE (RFC 2784).
    pub const GRE: Protocol = Protocol(47);
    /// Encapsulating security payload (RFC 4303).
    pub const ESP: Protocol = Protocol(50);
    /// Authentication header (RFC 4302).
    pub const AH: Protocol = Protocol(51);
    /// ICMPv6 (RFC 4443).
    pub const ICMPV6: Protocol = Protocol(58);
    /// IPv6: nothing follows.
    pub const NO_NEXT_HEADER: Protocol = Protocol(59);
    /// IPv6 destination options.
    pub const DESTINATION_OPTIONS: Protocol = Protocol(60);
    /// OSPF (RFC 2328).
    pub const OSPF: Protocol = Protocol(89);
    /// VRRP (RFC 5798).
    pub const VRRP: Protocol = Protocol(112);
    /// SCTP (RFC 9260).
    pub const SCTP: Protocol = Protocol(132);

    /// What the field calls it; `None` for a number without a constant here.
    pub const fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::HOP_BY_HOP => "hop-by-hop options",
            Self::ICMP => "ICMP",
            Self::IGMP => "IGMP",
            Self::IPV4 => "IPv4",
            Self::TCP => "TCP",
            Self::UDP => "UDP",
            Self::IPV6 => "IPv6",
            Self::ROUTING => "routing header",
            Self::FRAGMENT => "fragment",
            Self::GRE => "GRE",
            Self::ESP => "ESP",
            Self::AH => "AH",
            Self::ICMPV6 => "ICMPv6",
            Self::NO_NEXT_HEADER => "no next header",
            Self::DESTINATION_OPTIONS => "destination options",
            Self::OSPF => "OSPF",
            Self::VRRP => "VRRP",
            Self::SCTP => "SCTP",
            Protocol(_) => return None,
        })
    }
}

impl fmt::Display for Protocol {
    /// The name, or `protocol 99`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.pad(name),
            None => write!(f, "protocol {}", self.0),
        }
    }
}

impl fmt::Debug for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Protocol({})", self.0)
    }
}

/// An IPv4 packet whose header and total length are proved to be there.
#[derive(Clone, Copy)]
pub struct Ipv4<'a> {
    header: &'a [u8; IPV4_HEADER_LEN],
    /// The packet up to its total length: no padding.
    packet: &'a [u8],
}

impl<'a> Ipv4<'a> {
    /// `None` unless the version is 4, the header has at least 20 bytes and header and total length fit into `bytes`.
    pub fn new_checked(bytes: &'a [u8]) -> Option<Ipv4<'a>> {
        let header = bytes.first_chunk::<IPV4_HEADER_LEN>()?;
        let header_len = usize::from(header[0] & 0x0f) * 4;
        let total_len = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if header[0] >> 4 != 4 || header_len < IPV4_HEADER_LEN || total_len < header_len {
            return None;
        }
        Some(Ipv4 { header, packet: bytes.get(..total_len)? })
    }

    /// Bytes of the header with its options, 20 to 60.
    pub fn header_len(&self) -> usize {
        usize::from(self.header[0] & 0x0f) * 4
    }

    /// Bytes of header and payload.
    pub fn total_len(&self) -> usize {
        self.packet.len()
    }

    /// Differentiated services code point, 0 to 63.
    pub fn dscp(&self) -> u8 {
        self.header[1] >> 2
    }

    /// Identification, which the fragments of a packet share.
    pub fn identification(&self) -> u16 {
        u16::from_be_bytes([self.header[4], self.header[5]])
    }

    /// No router may fragment the packet.
    pub fn dont_fragment(&self) -> bool {
        self.header[6] & 0x40 != 0
    }

    /// More fragments follow this one.
    pub fn more_fragments(&self) -> bool {
        self.header[6] & 0x20 != 0
    }

    /// Where in the original payload this fragment starts, in bytes; the transport header is there if it is 0.
    pub fn fragment_offset(&self) -> usize {
        usize::from(u16::from_be_bytes([self.header[6] & 0x1f, self.header[7]])) * 8
    }

    /// Time to live, in hops.
    pub fn ttl(&self) -> u8 {
        self.header[8]
    }

    /// What the payload is.
    pub fn protocol(&self) -> Protocol {
        Protocol(self.header[9])
    }

    /// The header checksum is right.
    pub fn checksum_ok(&self) -> bool {
        checksum(&self.packet[..self.header_len()]) == 0
    }

    /// The source.
    pub fn src(&self) -> Ipv4Addr {
        let h = self.header;
        Ipv4Addr::new(h[12], h[13], h[14], h[15])
    }

    /// The destination.
    pub fn dst(&self) -> Ipv4Addr {
        let h = self.header;
        Ipv4Addr::new(h[16], h[17], h[18], h[19])
    }

    /// What follows the header, up to the total length.
    pub fn payload(&self) -> &'a [u8] {
        &self.packet[self.header_len()..]
    }
}

/// An IPv6 packet whose header and payload length are proved to be there.
#[derive(Clone, Copy)]
pub struct Ipv6<'a> {
    header: &'a [u8; IPV6_HEADER_LEN],
    /// What follows the header, up to the payload length: no padding.
    payload: &'a [u8],
}

/// What an IPv6 packet carries beneath its extension headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpperLayer<'a> {
    /// What the payload is.
    pub protocol: Protocol,
    /// Where in the original payload this fragment starts, in bytes; `None` if there is no fragment header.
    /// Unless it is 0 or `None`, `payload` does not start with the header of `protocol`.
    pub fragment_offset: Option<usize>,
    /// What follows the last extension header.
    pub payload: &'a [u8],
}

impl<'a> Ipv6<'a> {
    /// `None` unless the version is 6 and the header and its payload length fit into `bytes`.
    pub fn new_checked(bytes: &'a [u8]) -> Option<Ipv6<'a>> {
        let (header, rest) = bytes.split_first_chunk::<IPV6_HEADER_LEN>()?;
        if header[0] >> 4 != 6 {
            return None;
        }
        let payload = rest.get(..usize::from(u16::from_be_bytes([header[4], header[5]])))?;
        Some(Ipv6 { header, payload })
    }

    /// Traffic class: code point and congestion bits.
    pub fn traffic_class(&self) -> u8 {
        self.header[0] << 4 | self.header[1] >> 4
    }

    /// Differentiated services code point, 0 to 63.
    pub fn dscp(&self) -> u8 {
        self.traffic_class() >> 2
    }

    /// Flow label, 20 bits.
    pub fn flow_label(&self) -> u32 {
        u32::from_be_bytes([0, self.header[1] & 0x0f, self.header[2], self.header[3]])
    }

    /// Bytes of header and payload.
    pub fn total_len(&self) -> usize {
        IPV6_HEADER_LEN + self.payload.len()
    }

    /// What follows the header directly, maybe an extension header: see [`upper_layer`](Self::upper_layer).
    pub fn next_header(&self) -> Protocol {
        Protocol(self.header[6])
    }

    /// Hop limit.
    pub fn hop_limit(&self) -> u8 {
        self.header[7]
    }

    /// The source.
    pub fn src(&self) -> Ipv6Addr {
        address(self.header, 8)
    }

    /// The destination.
    pub fn dst(&self) -> Ipv6Addr {
        address(self.header, 24)
    }

    /// What follows the header, extension headers included, up to the payload length.
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// Steps over the extension headers (RFC 8200 §4). `None` if one is cut off or there are more than [`MAX_EXTENSION_HEADERS`].
    ///
    /// ESP hides what follows and counts as the upper layer, as do unknown numbers.
    pub fn upper_layer(&self) -> Option<UpperLayer<'a>> {
        let mut upper = UpperLayer { protocol: self.next_header(), fragment_offset: None, payload: self.payload };
        for _ in 0..MAX_EXTENSION_HEADERS {
            let len = match upper.protocol {
                Protocol::HOP_BY_HOP | Protocol::ROUTING | Protocol::DESTINATION_OPTIONS => 8 + 8 * usize::from(*upper.payload.get(1)?),
                Protocol::AH => 8 + 4 * usize::from(*upper.payload.get(1)?),
                Protocol::FRAGMENT => {
                    let header = upper.payload.first_chunk::<8>()?;
                    upper.fragment_offset = Some(usize::from(u16::from_be_bytes([header[2], header[3] & 0xf8])));
                    8
                }
                Protocol(_) => return Some(upper),
            };
            upper.protocol = Protocol(*upper.payload.first()?);
            upper.payload = upper.payload.get(len..)?;
            if upper.fragment_offset.is_some_and(|offset| offset > 0) {
                return Some(upper); // The rest of the chain stands in the first fragment.
            }
        }
        match upper.protocol {
            Protocol::HOP_BY_HOP | Protocol::ROUTING | Protocol::DESTINATION_OPTIONS | Protocol::AH | Protocol::FRAGMENT => None,
            Protocol(_) => Some(upper),
        }
    }
}

/// Sixteen bytes of `header` from `start`, which is at most 24.
fn address(header: &[u8; IPV6_HEADER_LEN], start: usize) -> Ipv6Addr {
    let mut octets = [0; 16];
    octets.copy_from_slice(&header[start..start + 16]);
    Ipv6Addr::from(octets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The example header of many textbooks: checksum 0xb861.
    const V4: [u8; 20] =
        [0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8, 0x00, 0x01, 0xc0, 0xa8, 0x00, 0xc7];

    fn v4(payload_len: usize) -> Vec<u8> {
        let mut bytes = V4.to_vec();
        bytes.resize(20 + payload_len, 0xaa);
        bytes
    }

    #[test]
    fn ipv4_fields() {
        let bytes = v4(95 + 6); // Six bytes of padding.
        let ip = Ipv4::new_checked(&bytes).unwrap();
        assert_eq!((ip.header_len(), ip.total_len(), ip.ttl(), ip.protocol()), (20, 115, 64, Protocol::UDP));
        assert_eq!((ip.src(), ip.dst()), (Ipv4Addr::new(192, 168, 0, 1), Ipv4Addr::new(192, 168, 0, 199)));
        assert_eq!((ip.dont_fragment(), ip.more_fragments(), ip.fragment_offset()), (true, false, 0));
        assert_eq!((ip.dscp(), ip.identification(), ip.payload().len()), (0, 0, 95));
        assert!(ip.checksum_ok());
        let mut broken = bytes;
        broken[8] = 63;
        assert!(!Ipv4::new_checked(&broken).unwrap().checksum_ok());
    }

    #[test]
    fn ipv4_options_and_fragments() {
        let mut bytes = v4(95);
        bytes[0] = 0x46;
        bytes[1] = 46 << 2;
        bytes[6..8].copy_from_slice(&[0x20, 0xb9]);
        let ip = Ipv4::new_checked(&bytes).unwrap();
        assert_eq!((ip.header_len(), ip.payload().len(), ip.dscp()), (24, 91, 46));
        assert_eq!((ip.dont_fragment(), ip.more_fragments(), ip.fragment_offset()), (false, true, 1480));
    }

    #[test]
    fn ipv4_lengths_that_lie_are_refused() {
        let good = v4(95);
        assert!(Ipv4::new_checked(&good).is_some());
        assert!(Ipv4::new_checked(&good[..114]).is_none());
        assert!(Ipv4::new_checked(&good[..19]).is_none());
        let with = |at: usize, value: u8| {
            let mut bytes = good.clone();
            bytes[at] = value;
            Ipv4::new_checked(&bytes).is_some()
        };
        assert!(!with(0, 0x44) && !with(0, 0x65), "header of 16 bytes; version 6");
        assert!(with(3, 20) && !with(3, 19), "total length below the header");
        assert!(!with(2, 1), "total length beyond the bytes");
    }

    fn v6(next_header: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x6b, 0x81, 0x23, 0x45];
        bytes.extend_from_slice(&(payload.len() as u16).to_be_bytes());
        bytes.extend_from_slice(&[next_header, 64]);
        bytes.extend_from_slice(&Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1).octets());
        bytes.extend_from_slice(&Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2).octets());
        bytes.extend_from_slice(payload);
        bytes
    }

    #[test]
    fn ipv6_fields() {
        let mut bytes = v6(17, &[1, 2, 3]);
        bytes.push(0); // Padding.
        let ip = Ipv6::new_checked(&bytes).unwrap();
        assert_eq!((ip.traffic_class(), ip.dscp(), ip.flow_label()), (0xb8, 46, 0x12345));
        assert_eq!((ip.next_header(), ip.hop_limit(), ip.total_len(), ip.payload()), (Protocol::UDP, 64, 43, &[1, 2, 3][..]));
        assert_eq!((ip.src().to_string(), ip.dst().to_string()), ("fe80::1".to_owned(), "ff02::2".to_owned()));
        assert_eq!(ip.upper_layer(), Some(UpperLayer { protocol: Protocol::UDP, fragment_offset: None, payload: &[1, 2, 3] }));
        assert!(Ipv6::new_checked(&bytes[..42]).is_none());
        assert!(Ipv6::new_checked(&bytes[..39]).is_none());
        bytes[0] = 0x45;
        assert!(Ipv6::new_checked(&bytes).is_none());
    }

    #[test]
    fn ipv6_extension_headers_are_walked() {
        let mut payload = vec![43, 0, 5, 2, 0, 0, 1, 0]; // Hop-by-hop with router alert, then routing,
        payload.extend_from_slice(&[51, 1, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]); // of 16 bytes, then AH,
        payload.extend_from_slice(&[44, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2]); // of 12 bytes, then fragment,
        payload.extend_from_slice(&[6, 0, 0, 1, 0, 0, 0, 9]); // the first one of several, then TCP.
        payload.push(0x77);
        let bytes = v6(0, &payload);
        let upper = Ipv6::new_checked(&bytes).unwrap().upper_layer();
        assert_eq!(upper, Some(UpperLayer { protocol: Protocol::TCP, fragment_offset: Some(0), payload: &[0x77] }));
        for len in 0..payload.len() - 1 {
            let cut = v6(0, &payload[..len]);
            assert_eq!(Ipv6::new_checked(&cut).unwrap().upper_layer(), None, "{len}");
        }
    }

    #[test]
    fn a_later_fragment_ends_the_walk() {
        let bytes = v6(44, &[60, 0, 0x05, 0xa8, 0, 0, 0, 9, 1, 2]); // Offset 1448; looks like destination options.
        let upper = Ipv6::new_checked(&bytes).unwrap().upper_layer();
        let expected = UpperLayer { protocol: Protocol::DESTINATION_OPTIONS, fragment_offset: Some(1448), payload: &[1, 2] };
        assert_eq!(upper, Some(expected));
    }

    #[test]
    fn the_walk_is_bounded() {
        let chain = |count: usize| {
            let mut payload = [60, 0, 0, 0, 0, 0, 0, 0].repeat(count);
            payload[8 * (count - 1)] = 17;
            let bytes = v6(60, &payload);
            Ipv6::new_checked(&bytes).unwrap().upper_layer().map(|upper| upper.protocol)
        };
        assert_eq!(chain(MAX_EXTENSION_HEADERS), Some(Protocol::UDP));
        assert_eq!(chain(MAX_EXTENSION_HEADERS + 1), None);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(first in prop_oneof![Just(0x45u8), Just(0x4f), Just(0x60), any::<u8>()],
                          mut bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0u8..64], 1..200)) {
            bytes[0] = first;
            if bytes.len() > 5 {
                bytes[2] = 0;
                bytes[4] = 0;
            }
            if let Some(ip) = Ipv4::new_checked(&bytes) {
                let _ = (ip.src(), ip.dst(), ip.protocol(), ip.checksum_ok(), ip.fragment_offset());
                prop_assert_eq!(ip.header_len() + ip.payload().len(), ip.total_len());
            }
            if let Some(ip) = Ipv6::new_checked(&bytes) {
                let _ = (ip.src(), ip.dst(), ip.flow_label());
                if let Some(upper) = ip.upper_layer() {
                    prop_assert!(upper.payload.len() <= ip.payload().len());
                }
            }
        }
    }
}
