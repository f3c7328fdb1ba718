//! IPv6 neighbor discovery (RFC 4861): who has which MAC.
//!
//! [`NeighborDiscovery::parse`] applies the validity rules of §6.1 and §7.1: hop limit 255, code 0, a right checksum,
//! no option of length 0 and so on; what it returns may be believed as far as neighbor discovery can be.
//! Only what tells MACs is kept: of a router advertisement that is its source link-layer address, not its prefixes.
//! Not read: redirects, and messages in fragments (RFC 6980 forbids them).

use std::net::Ipv6Addr;

use crate::MacAddr;
use crate::checksum::Sum;
use crate::ip::{IPV6_HEADER_LEN, Ipv6, Protocol};

const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
const NEIGHBOR_SOLICITATION: u8 = 135;
const NEIGHBOR_ADVERTISEMENT: u8 = 136;

/// Option: the sender's MAC.
const SOURCE_LINK_LAYER: u8 = 1;
/// Option: the target's MAC.
const TARGET_LINK_LAYER: u8 = 2;

/// The hop limit that proves that no router forwarded the packet (RFC 4861 §3.1).
const HOP_LIMIT: u8 = 255;
/// ff02::1, all nodes of the link.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// A neighbor discovery message and the addresses of the packet it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighborDiscovery {
    /// Source of the packet; `::` while the sender checks an address for duplicates.
    pub src: Ipv6Addr,
    /// Destination of the packet.
    pub dst: Ipv6Addr,
    /// What it says.
    pub message: NdMessage,
}

/// What a neighbor discovery message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NdMessage {
    /// Asks routers to announce themselves.
    RouterSolicitation {
        /// The sender's MAC, if told.
        mac: Option<MacAddr>,
    },
    /// A router announces itself.
    RouterAdvertisement {
        /// The sender's MAC, if told.
        mac: Option<MacAddr>,
    },
    /// Asks for the MAC of `target`.
    NeighborSolicitation {
        /// The address asked for.
        target: Ipv6Addr,
        /// The sender's MAC, if told.
        mac: Option<MacAddr>,
    },
    /// Tells the MAC of `target`.
    NeighborAdvertisement(Advertisement),
}

/// A neighbor advertisement (RFC 4861 §4.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advertisement {
    /// The target is a router. Hosts drop a default router whose advertisement lacks this flag (§7.2.5).
    pub router: bool,
    /// Answers a solicitation.
    pub solicited: bool,
    /// Replaces a MAC that the receiver has cached. Not set in answers on behalf of others (§7.2.8).
    pub override_cached: bool,
    /// Whose MAC it is.
    pub target: Ipv6Addr,
    /// The target's MAC; it may be left out when the solicitation was unicast.
    pub mac: Option<MacAddr>,
}

impl NeighborDiscovery {
    /// Reads and validates a packet. `None` if it is another protocol, another ICMPv6 type, or invalid by RFC 4861.
    pub fn parse(packet: &Ipv6<'_>) -> Option<NeighborDiscovery> {
        let upper = packet.upper_layer()?;
        if upper.protocol != Protocol::ICMPV6 || upper.fragment_offset.is_some() || packet.hop_limit() != HOP_LIMIT {
            return None;
        }
        let (src, dst) = (packet.src(), packet.dst());
        let [icmp_type, code, _, _, body @ ..] = upper.payload else { return None };
        if *code != 0 || icmpv6_checksum(src, dst, upper.payload) != 0 {
            return None;
        }
        let message = match *icmp_type {
            ROUTER_SOLICITATION => {
                let (_, options) = body.split_first_chunk::<4>()?;
                let mac = link_layer_option(options, SOURCE_LINK_LAYER)?;
                (!src.is_unspecified() || mac.is_none()).then_some(NdMessage::RouterSolicitation { mac })?
            }
            ROUTER_ADVERTISEMENT => {
                let (_, options) = body.split_first_chunk::<12>()?;
                let mac = link_layer_option(options, SOURCE_LINK_LAYER)?;
                src.is_unicast_link_local().then_some(NdMessage::RouterAdvertisement { mac })?
            }
            NEIGHBOR_SOLICITATION => {
                let (target, options) = target_and_options(body)?;
                let mac = link_layer_option(options, SOURCE_LINK_LAYER)?;
                // While an address is checked for duplicates there is no MAC to tell, and only its group is asked (§7.1.1).
                if src.is_unspecified() && (mac.is_some() || dst != solicited_node(target)) {
                    return None;
                }
                NdMessage::NeighborSolicitation { target, mac }
            }
            NEIGHBOR_ADVERTISEMENT => {
                let flags = *body.first()?;
                let (target, options) = target_and_options(body)?;
                let solicited = flags & 0x40 != 0;
                if solicited && dst.is_multicast() {
                    return None;
                }
                NdMessage::NeighborAdvertisement(Advertisement {
                    router: flags & 0x80 != 0,
                    solicited,
                    override_cached: flags & 0x20 != 0,
                    target,
                    mac: link_layer_option(options, TARGET_LINK_LAYER)?,
                })
            }
            _ => return None,
        };
        Some(NeighborDiscovery { src, dst, message })
    }

    /// The address and the MAC that a receiver learns from the message, if it tells both.
    pub fn binding(&self) -> Option<(Ipv6Addr, MacAddr)> {
        match self.message {
            NdMessage::RouterSolicitation { mac }
            | NdMessage::RouterAdvertisement { mac }
            | NdMessage::NeighborSolicitation { mac, .. } => Some((self.src, mac?)),
            NdMessage::NeighborAdvertisement(advertisement) => Some((advertisement.target, advertisement.mac?)),
        }
    }

    /// The packet that answers this neighbor solicitation on behalf of its target, which is at `mac`; `None` for other messages.
    ///
    /// It does not override what the asker has cached (§7.2.8). A duplicate address check (from `::`) is answered to all nodes.
    pub fn answer(&self, mac: MacAddr, router: bool) -> Option<Vec<u8>> {
        let NdMessage::NeighborSolicitation { target, .. } = self.message else { return None };
        let solicited = !self.src.is_unspecified();
        let advertisement = Advertisement { router, solicited, override_cached: false, target, mac: Some(mac) };
        Some(advertise(target, if solicited { self.src } else { ALL_NODES }, &advertisement))
    }
}

/// An IPv6 packet with a neighbor advertisement from `src` to `dst`.
pub fn advertise(src: Ipv6Addr, dst: Ipv6Addr, advertisement: &Advertisement) -> Vec<u8> {
    let a = advertisement;
    let flags = u8::from(a.router) << 7 | u8::from(a.solicited) << 6 | u8::from(a.override_cached) << 5;
    packet(src, dst, NEIGHBOR_ADVERTISEMENT, flags, a.target, a.mac.map(|mac| (TARGET_LINK_LAYER, mac)))
}

/// An IPv6 packet with a neighbor solicitation for `target`, from `src` at `mac`, to the target's multicast group.
///
/// With `src` = `::` it is a duplicate address check and does not tell `mac`.
pub fn solicit(src: Ipv6Addr, mac: MacAddr, target: Ipv6Addr) -> Vec<u8> {
    let option = (!src.is_unspecified()).then_some((SOURCE_LINK_LAYER, mac));
    packet(src, solicited_node(target), NEIGHBOR_SOLICITATION, 0, target, option)
}

/// The multicast group that the holder of `target` listens to: ff02::1:ff00:0/104 and its low 24 bits (RFC 4291 §2.7.1).
pub fn solicited_node(target: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = target.octets();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]))
}

/// The Ethernet address of an IPv6 multicast group: 33:33 and its low 32 bits (RFC 2464 §7).
pub fn multicast_mac(group: Ipv6Addr) -> MacAddr {
    let [.., a, b, c, d] = group.octets();
    MacAddr([0x33, 0x33, a, b, c, d])
}

/// The target after four octets of flags, which may not be a multicast group, and what follows it.
fn target_and_options(body: &[u8]) -> Option<(Ipv6Addr, &[u8])> {
    let (_, body) = body.split_first_chunk::<4>()?;
    let (target, options) = body.split_first_chunk::<16>()?;
    let target = Ipv6Addr::from(*target);
    (!target.is_multicast()).then_some((target, options))
}

/// The MAC in the first option of this type. `None` if an option has length 0 or is cut off: the packet is invalid then.
fn link_layer_option(mut options: &[u8], wanted: u8) -> Option<Option<MacAddr>> {
    let mut found = None;
    while let [option_type, units, ..] = options {
        let len = 8 * usize::from(*units); // The unit is eight octets (§4.6).
        let (option, rest) = options.split_at_checked(len).filter(|_| len > 0)?;
        if *option_type == wanted && found.is_none() {
            // An Ethernet address takes one unit; another length is of another link layer (RFC 2464 §6).
            if let [_, 1, a, b, c, d, e, f] = *option {
                found = Some(MacAddr([a, b, c, d, e, f]));
            }
        }
        options = rest;
    }
    options.is_empty().then_some(found)
}

/// An IPv6 packet with the given neighbor discovery message.
fn packet(src: Ipv6Addr, dst: Ipv6Addr, icmp_type: u8, flags: u8, target: Ipv6Addr, option: Option<(u8, MacAddr)>) -> Vec<u8> {
    let mut message = vec![icmp_type, 0, 0, 0, flags, 0, 0, 0];
    message.extend_from_slice(&target.octets());
    if let Some((option_type, mac)) = option {
        message.extend_from_slice(&[option_type, 1]);
        message.extend_from_slice(&mac.0);
    }
    let checksum = icmpv6_checksum(src, dst, &message);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());

    let mut packet = Vec::with_capacity(IPV6_HEADER_LEN + message.len());
    // The message has 24 or 32 bytes.
    packet.extend_from_slice(&[0x60, 0, 0, 0, 0, message.len() as u8, Protocol::ICMPV6.0, HOP_LIMIT]);
    packet.extend_from_slice(&src.octets());
    packet.extend_from_slice(&dst.octets());
    packet.extend_from_slice(&message);
    packet
}

/// Over a message whose checksum field is zero, the checksum; over a whole message, 0 if it is intact (RFC 4443 §2.3).
fn icmpv6_checksum(src: Ipv6Addr, dst: Ipv6Addr, message: &[u8]) -> u16 {
    // A view's payload has at most 65,535 bytes.
    let mut sum = Sum::with_ipv6(src, dst, Protocol::ICMPV6, message.len() as u32);
    sum.add(message);
    sum.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

    /// A solicitation of fe80::2 by fe80::1; the checksum is worked out by hand below.
    #[rustfmt::skip]
    const SOLICITATION: [u8; 72] = [
        0x60, 0, 0, 0, 0, 32, 58, 255,
        0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
        0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 2,
        // fe80+1 + ff02+1+ff00+2 + 20+3a + 8700 + fe80+2 + 0101+0200+1 = 48564; carries folded: 8568; complement: 7a97.
        135, 0, 0x7a, 0x97, 0, 0, 0, 0,
        0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2,
        1, 1, 2, 0, 0, 0, 0, 1,
    ];

    fn ip(text: &str) -> Ipv6Addr {
        text.parse().unwrap()
    }

    fn parse(bytes: &[u8]) -> Option<NeighborDiscovery> {
        NeighborDiscovery::parse(&Ipv6::new_checked(bytes).unwrap())
    }

    /// The packet with octets set, given as (index, value), and the checksum made right again.
    fn changed(packet: &[u8], octets: &[(usize, u8)]) -> Vec<u8> {
        let mut packet = packet.to_vec();
        for &(at, value) in octets {
            packet[at] = value;
        }
        packet[42..44].fill(0);
        let view = Ipv6::new_checked(&packet).unwrap();
        let checksum = icmpv6_checksum(view.src(), view.dst(), view.payload());
        packet[42..44].copy_from_slice(&checksum.to_be_bytes());
        packet
    }

    #[test]
    fn a_solicitation_and_its_answer() {
        let solicitation = parse(&SOLICITATION).unwrap();
        assert_eq!(solicitation.src, ip("fe80::1"));
        assert_eq!(solicitation.message, NdMessage::NeighborSolicitation { target: ip("fe80::2"), mac: Some(MAC) });
        assert_eq!(solicitation.binding(), Some((ip("fe80::1"), MAC)));
        assert_eq!(solicit(ip("fe80::1"), MAC, ip("fe80::2")), SOLICITATION);

        let mac = MacAddr([2, 0, 0, 0, 0, 2]);
        let answer = solicitation.answer(mac, true).unwrap();
        assert_eq!((answer[40], answer[44], answer.len()), (136, 0xc0, 72));
        let answer = parse(&answer).unwrap();
        assert_eq!((answer.src, answer.dst, answer.binding()), (ip("fe80::2"), ip("fe80::1"), Some((ip("fe80::2"), mac))));
        assert_eq!(answer.answer(mac, false), None);
    }

    #[test]
    fn a_duplicate_check_is_answered_to_all() {
        let check = parse(&solicit(Ipv6Addr::UNSPECIFIED, MAC, ip("2001:db8::abcd:ef01"))).unwrap();
        assert_eq!((check.dst, check.binding()), (ip("ff02::1:ffcd:ef01"), None));
        let answer = parse(&check.answer(MAC, false).unwrap()).unwrap();
        let expected =
            Advertisement { router: false, solicited: false, override_cached: false, target: ip("2001:db8::abcd:ef01"), mac: Some(MAC) };
        assert_eq!((answer.dst, answer.message), (ALL_NODES, NdMessage::NeighborAdvertisement(expected)));
        assert_eq!(multicast_mac(check.dst), MacAddr([0x33, 0x33, 0xff, 0xcd, 0xef, 0x01]));
    }

    #[test]
    fn router_messages_tell_their_source() {
        let mut advert = SOLICITATION[..40].to_vec();
        advert.extend_from_slice(&[134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0]);
        advert.extend_from_slice(&[5, 1, 0, 0, 0, 0, 5, 220]); // MTU, stepped over
        advert.extend_from_slice(&[1, 1, 2, 0, 0, 0, 0, 1]);
        let advert = changed(&advert, &[]);
        assert_eq!(parse(&advert).unwrap().binding(), Some((ip("fe80::1"), MAC)));
        assert_eq!(parse(&changed(&advert, &[(8, 0x20)])), None, "a router speaks from a link-local address");

        let mut solicit = SOLICITATION[..40].to_vec();
        solicit[5] = 16;
        solicit.extend_from_slice(&[133, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 0, 0, 0, 0, 1]);
        let solicit = changed(&solicit, &[]);
        assert_eq!(parse(&solicit).unwrap().message, NdMessage::RouterSolicitation { mac: Some(MAC) });
        assert_eq!(parse(&changed(&solicit, &[(8, 0), (9, 0), (23, 0)])), None, "from :: there is no MAC to tell");
    }

    #[test]
    fn invalid_messages_are_refused() {
        let good = SOLICITATION;
        assert!(parse(&changed(&good, &[])).is_some());
        for (octets, why) in [
            (&[(7, 254)][..], "a router forwarded it"),
            (&[(6, 17)], "UDP"),
            (&[(40, 128)], "echo request"),
            (&[(41, 1)], "code"),
            (&[(48, 0xff)], "multicast target"),
            (&[(65, 0)], "option of length 0"),
            (&[(65, 2)], "option beyond the packet"),
            (&[(8, 0), (9, 0), (23, 0)], "a MAC told from ::"),
            (&[(40, 136), (44, 0x40)], "a solicited advertisement to a group"),
        ] {
            assert_eq!(parse(&changed(&good, octets)), None, "{why}");
        }
        for at in 40..72 {
            let mut broken = good;
            broken[at] ^= 0x10;
            assert_eq!(parse(&broken), None, "checksum, octet {at}");
        }
        for len in 0..32u8 {
            let cut = changed(&good[..40 + usize::from(len.max(4))], &[(5, len.max(4))]);
            assert_eq!(parse(&cut).is_some(), len == 24, "{len}"); // 24 bytes are whole: no option.
        }
    }

    proptest! {
        #[test]
        fn advertisements_round_trip(src: [u8; 16], target: [u8; 16], flags: [bool; 3], mac: Option<[u8; 6]>) {
            prop_assume!(target[0] != 0xff);
            let [router, solicited, override_cached] = flags;
            let advertisement = Advertisement { router, solicited, override_cached, target: target.into(), mac: mac.map(MacAddr) };
            let dst = if solicited { ip("fe80::9") } else { ALL_NODES };
            let got = parse(&advertise(src.into(), dst, &advertisement)).unwrap();
            prop_assert_eq!(got, NeighborDiscovery { src: src.into(), dst, message: NdMessage::NeighborAdvertisement(advertisement) });
        }

        #[test]
        fn no_bytes_panic(icmp_type in 132u8..138, body in prop::collection::vec(prop_oneof![0u8..4, any::<u8>()], 3..80), dst: [u8; 16]) {
            let mut packet = SOLICITATION[..24].to_vec();
            packet.extend_from_slice(&dst);
            packet[5] = (body.len() + 1) as u8;
            packet.push(icmp_type);
            packet.extend_from_slice(&body);
            packet[41] = 0;
            if let Some(message) = parse(&changed(&packet, &[])) {
                let _ = (message.binding(), message.answer(MAC, true));
            }
        }
    }
}
