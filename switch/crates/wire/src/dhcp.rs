//! DHCP for IPv4 (RFC 2131, options of RFC 2132), as far as a switch reads it in passing: who asks for which address, and who is refused one.

use std::net::Ipv4Addr;

use crate::MacAddr;
use crate::ip::{Ipv4, Protocol};
use crate::l4::Udp;

/// The UDP port servers and relays listen on (RFC 2131 §4.1).
pub const SERVER_PORT: u16 = 67;
/// The UDP port clients listen on (RFC 2131 §4.1).
pub const CLIENT_PORT: u16 = 68;

/// Bytes before the options: the fields of BOOTP and the magic cookie.
const FIXED_LEN: usize = 240;
const COOKIE: [u8; 4] = [99, 130, 83, 99];

/// The options read here (RFC 2132).
mod option {
    pub const PAD: u8 = 0;
    pub const REQUESTED_IP: u8 = 50;
    pub const OVERLOAD: u8 = 52;
    pub const MESSAGE_TYPE: u8 = 53;
    pub const END: u8 = 255;
}

/// What a DHCP message does (RFC 2132 §9.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageType {
    /// A client takes an offer, or wants to keep an address (3).
    Request,
    /// A client has found that somebody else uses its address (4).
    Decline,
    /// A server gives the address (5).
    Ack,
    /// A server refuses it (6).
    Nak,
    /// A client gives its address back (7).
    Release,
    /// Any other number.
    Other(u8),
}

impl From<u8> for MessageType {
    fn from(number: u8) -> MessageType {
        match number {
            3 => MessageType::Request,
            4 => MessageType::Decline,
            5 => MessageType::Ack,
            6 => MessageType::Nak,
            7 => MessageType::Release,
            other => MessageType::Other(other),
        }
    }
}

/// A DHCP message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dhcp {
    /// From a client (BOOTREQUEST) rather than from a server (BOOTREPLY).
    pub from_client: bool,
    /// What it does.
    pub message_type: MessageType,
    /// The client's address, if it uses one already; else 0.0.0.0 (`ciaddr`).
    pub client_ip: Ipv4Addr,
    /// The address a server gives (`yiaddr`).
    pub your_ip: Ipv4Addr,
    /// The relay that has passed it on; 0.0.0.0: none (`giaddr`).
    pub relay_ip: Ipv4Addr,
    /// The client (`chaddr`).
    pub client_mac: MacAddr,
    /// The address the client asks for or declines (option 50).
    pub requested_ip: Option<Ipv4Addr>,
}

impl Dhcp {
    /// Reads the payload of a UDP datagram. `None` if it is not DHCP over Ethernet, or an option reaches beyond its end.
    pub fn parse(payload: &[u8]) -> Option<Dhcp> {
        let fixed = payload.first_chunk::<FIXED_LEN>()?;
        let from_client = match fixed[0] {
            1 => true,
            2 => false,
            _ => return None,
        };
        // Hardware type Ethernet, addresses of six octets.
        if fixed[1..3] != [1, 6] || fixed[236..] != COOKIE {
            return None;
        }
        let ip = |at: usize| Ipv4Addr::new(fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]);
        let mut dhcp = Dhcp {
            from_client,
            message_type: MessageType::Other(0),
            client_ip: ip(12),
            your_ip: ip(16),
            relay_ip: ip(24),
            client_mac: MacAddr([fixed[28], fixed[29], fixed[30], fixed[31], fixed[32], fixed[33]]),
            requested_ip: None,
        };
        let overload = dhcp.read_options(&payload[FIXED_LEN..])?;
        // Options may go on in the fields `file` and `sname` (RFC 2132 §9.3).
        if overload & 1 != 0 {
            dhcp.read_options(&fixed[108..236])?;
        }
        if overload & 2 != 0 {
            dhcp.read_options(&fixed[44..108])?;
        }
        (dhcp.message_type != MessageType::Other(0)).then_some(dhcp)
    }

    /// Reads the payload of an IPv4 packet's frame: a whole DHCP message between the ports of clients and servers.
    pub fn of_packet(payload: &[u8]) -> Option<Dhcp> {
        let packet = Ipv4::new_checked(payload)?;
        if packet.protocol() != Protocol::UDP || packet.more_fragments() || packet.fragment_offset() != 0 {
            return None;
        }
        let datagram = Udp::new_checked(packet.payload())?;
        [SERVER_PORT, CLIENT_PORT].contains(&datagram.dst_port()).then(|| Dhcp::parse(datagram.payload()))?
    }

    /// Returns the option that says where options go on; 0 if there is none.
    fn read_options(&mut self, mut options: &[u8]) -> Option<u8> {
        let mut overload = 0;
        while let Some((&code, rest)) = options.split_first() {
            if code == option::END {
                break;
            }
            if code == option::PAD {
                options = rest;
                continue;
            }
            let (&len, rest) = rest.split_first()?;
            let (value, after) = rest.split_at_checked(usize::from(len))?;
            match (code, value) {
                (option::MESSAGE_TYPE, &[number]) => self.message_type = number.into(),
                (option::REQUESTED_IP, &[a, b, c, d]) => self.requested_ip = Some(Ipv4Addr::new(a, b, c, d)),
                (option::OVERLOAD, &[fields]) => overload = fields,
                _ => {}
            }
            options = after;
        }
        Some(overload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 7];

    /// A BOOTREQUEST of `MAC` with `options` behind the cookie.
    fn message(options: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; FIXED_LEN];
        bytes[..3].copy_from_slice(&[1, 1, 6]);
        bytes[28..34].copy_from_slice(&MAC);
        bytes[236..].copy_from_slice(&COOKIE);
        bytes.extend(options);
        bytes
    }

    #[test]
    fn a_request() {
        let bytes = message(&[0, 12, 2, b'a', b'b', 53, 1, 3, 50, 4, 10, 0, 0, 7, 255, 53, 1, 6]);
        let expected = Dhcp {
            from_client: true,
            message_type: MessageType::Request,
            client_ip: Ipv4Addr::UNSPECIFIED,
            your_ip: Ipv4Addr::UNSPECIFIED,
            relay_ip: Ipv4Addr::UNSPECIFIED,
            client_mac: MacAddr(MAC),
            requested_ip: Some(Ipv4Addr::new(10, 0, 0, 7)),
        };
        assert_eq!(Dhcp::parse(&bytes), Some(expected), "nothing counts behind the end option");
    }

    #[test]
    fn options_go_on_in_other_fields() {
        let mut bytes = message(&[52, 1, 3, 255]);
        bytes[108..112].copy_from_slice(&[53, 1, 4, 255]);
        bytes[44..51].copy_from_slice(&[50, 4, 10, 0, 0, 9, 255]);
        let dhcp = Dhcp::parse(&bytes).unwrap();
        assert_eq!((dhcp.message_type, dhcp.requested_ip), (MessageType::Decline, Some(Ipv4Addr::new(10, 0, 0, 9))));
    }

    #[test]
    fn what_is_not_dhcp() {
        let good = message(&[53, 1, 3, 255]);
        assert!(Dhcp::parse(&good).is_some());
        for at in [0, 1, 2, 236, 239] {
            let mut bytes = good.clone();
            bytes[at] ^= 4;
            assert_eq!(Dhcp::parse(&bytes), None, "octet {at}");
        }
        assert_eq!(Dhcp::parse(&good[..FIXED_LEN - 1]), None);
        assert_eq!(Dhcp::parse(&good[..FIXED_LEN]), None, "BOOTP without a message type");
        assert_eq!(Dhcp::parse(&message(&[53, 2, 3])), None, "cut in an option");
        assert_eq!(Dhcp::parse(&message(&[53])), None, "cut before a length");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(options: Vec<u8>, packet: Vec<u8>) {
            let _ = Dhcp::parse(&message(&options));
            let _ = Dhcp::of_packet(&packet);
        }
    }
}
