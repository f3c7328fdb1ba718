//! ARP for IPv4 over Ethernet (RFC 826), with the names of RFC 5227 for probes and announcements.

use std::net::Ipv4Addr;

use crate::MacAddr;
use crate::ethernet::EtherType;

/// Bytes of an ARP packet for IPv4 over Ethernet.
pub const ARP_LEN: usize = 28;

/// What hardware type, protocol type and the address lengths must be: Ethernet, IPv4, 6, 4.
const ETHERNET_IPV4: [u8; 6] = [0, 1, (EtherType::IPV4.0 >> 8) as u8, EtherType::IPV4.0 as u8, 6, 4];

/// What an ARP packet does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Asks for the MAC of the target IP (1).
    Request,
    /// Tells the sender's MAC (2).
    Reply,
    /// Any other number, such as those of RARP.
    Unknown(u16),
}

impl From<u16> for Operation {
    fn from(number: u16) -> Operation {
        match number {
            1 => Operation::Request,
            2 => Operation::Reply,
            unknown => Operation::Unknown(unknown),
        }
    }
}

impl From<Operation> for u16 {
    fn from(operation: Operation) -> u16 {
        match operation {
            Operation::Request => 1,
            Operation::Reply => 2,
            Operation::Unknown(number) => number,
        }
    }
}

/// An ARP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// What the packet does.
    pub operation: Operation,
    /// The sender's MAC: what a receiver learns for `sender_ip`.
    pub sender_mac: MacAddr,
    /// The sender's IP; 0.0.0.0 in a probe.
    pub sender_ip: Ipv4Addr,
    /// The MAC asked for (ignored, mostly zero) or, in a reply, of the one that asked.
    pub target_mac: MacAddr,
    /// The IP asked for or, in a reply, of the one that asked.
    pub target_ip: Ipv4Addr,
}

impl Arp {
    /// Reads the payload of an ARP frame; bytes after the first 28 are padding. `None` if it is shorter, or not IPv4 over Ethernet.
    pub fn parse(payload: &[u8]) -> Option<Arp> {
        let p = payload.first_chunk::<ARP_LEN>()?;
        if p[..6] != ETHERNET_IPV4 {
            return None;
        }
        Some(Arp {
            operation: u16::from_be_bytes([p[6], p[7]]).into(),
            sender_mac: MacAddr([p[8], p[9], p[10], p[11], p[12], p[13]]),
            sender_ip: Ipv4Addr::new(p[14], p[15], p[16], p[17]),
            target_mac: MacAddr([p[18], p[19], p[20], p[21], p[22], p[23]]),
            target_ip: Ipv4Addr::new(p[24], p[25], p[26], p[27]),
        })
    }

    /// The packet as bytes, the payload of a frame.
    pub fn emit(&self) -> [u8; ARP_LEN] {
        let mut p = [0; ARP_LEN];
        p[..6].copy_from_slice(&ETHERNET_IPV4);
        p[6..8].copy_from_slice(&u16::from(self.operation).to_be_bytes());
        p[8..14].copy_from_slice(&self.sender_mac.0);
        p[14..18].copy_from_slice(&self.sender_ip.octets());
        p[18..24].copy_from_slice(&self.target_mac.0);
        p[24..28].copy_from_slice(&self.target_ip.octets());
        p
    }

    /// The reply to this request: `target_ip` is at `mac`.
    #[must_use]
    pub fn reply(&self, mac: MacAddr) -> Arp {
        Arp {
            operation: Operation::Reply,
            sender_mac: mac,
            sender_ip: self.target_ip,
            target_mac: self.sender_mac,
            target_ip: self.sender_ip,
        }
    }

    /// A probe asks whether anybody has an address that the sender does not use yet (RFC 5227 §2.1.1): there is nothing to learn from it.
    pub fn is_probe(&self) -> bool {
        self.operation == Operation::Request && self.sender_ip.is_unspecified()
    }

    /// An announcement (gratuitous ARP) tells the sender's own address (RFC 5227 §2.3).
    pub fn is_announcement(&self) -> bool {
        self.sender_ip == self.target_ip && !self.sender_ip.is_unspecified()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const REQUEST: [u8; 28] = [
        0, 1, 8, 0, 6, 4, 0, 1, // Ethernet, IPv4, request
        2, 0, 0, 0, 0, 1, 10, 0, 0, 1, // sender
        0, 0, 0, 0, 0, 0, 10, 0, 0, 2, // target
    ];

    #[test]
    fn a_request_and_its_reply() {
        let request = Arp::parse(&REQUEST).unwrap();
        let expected = Arp {
            operation: Operation::Request,
            sender_mac: MacAddr([2, 0, 0, 0, 0, 1]),
            sender_ip: Ipv4Addr::new(10, 0, 0, 1),
            target_mac: MacAddr::ZERO,
            target_ip: Ipv4Addr::new(10, 0, 0, 2),
        };
        assert_eq!(request, expected);
        let reply = request.reply(MacAddr([2, 0, 0, 0, 0, 2])).emit();
        assert_eq!(reply[6..], [0, 2, 2, 0, 0, 0, 0, 2, 10, 0, 0, 2, 2, 0, 0, 0, 0, 1, 10, 0, 0, 1]);
    }

    #[test]
    fn only_ipv4_over_ethernet_and_only_whole() {
        let mut padded = REQUEST.to_vec();
        padded.resize(46, 0);
        assert_eq!(Arp::parse(&padded), Arp::parse(&REQUEST));
        assert_eq!(Arp::parse(&REQUEST[..27]), None);
        for at in 0..6 {
            let mut bytes = REQUEST;
            bytes[at] ^= 1;
            assert_eq!(Arp::parse(&bytes), None, "octet {at}");
        }
    }

    #[test]
    fn probes_and_announcements() {
        let mut arp = Arp::parse(&REQUEST).unwrap();
        assert!(!arp.is_probe() && !arp.is_announcement());
        arp.sender_ip = Ipv4Addr::UNSPECIFIED;
        assert!(arp.is_probe() && !arp.is_announcement());
        arp.target_ip = Ipv4Addr::UNSPECIFIED;
        assert!(!arp.is_announcement());
        arp.sender_ip = Ipv4Addr::new(10, 0, 0, 1);
        arp.target_ip = arp.sender_ip;
        assert!(!arp.is_probe() && arp.is_announcement());
    }

    proptest! {
        #[test]
        fn bytes_round_trip(operation: u16, macs: [[u8; 6]; 2], ips: [[u8; 4]; 2]) {
            let arp = Arp {
                operation: operation.into(),
                sender_mac: MacAddr(macs[0]), sender_ip: ips[0].into(),
                target_mac: MacAddr(macs[1]), target_ip: ips[1].into(),
            };
            prop_assert_eq!(Arp::parse(&arp.emit()), Some(arp));
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Some(arp) = Arp::parse(&bytes) {
                prop_assert_eq!(&arp.emit()[..], &bytes[..ARP_LEN]);
            }
        }

        #[test]
        fn any_octets_after_the_types_are_read_back(rest: [u8; 22]) {
            let mut bytes = ETHERNET_IPV4.to_vec();
            bytes.extend_from_slice(&rest);
            prop_assert_eq!(&Arp::parse(&bytes).unwrap().emit()[..], &bytes[..]);
        }
    }
}
