//! A frame in words: one line for each layer, outermost first.
//!
//! For `explain` and for comparing frames in tests. It says what an engineer looks for and no more: Wireshark, with
//! `docs/bladeswitch.lua` for the chassis message, says everything. Bytes that do not parse get a line that says so.
//!
//! Limits: a message within a message is described [`DEPTH_MAX`] levels deep; lists of identities are cut after
//! [`IDENTITIES_MAX`] slots.

use std::fmt::Write as _;

use crate::MacAddr;
use crate::arp::{Arp, Operation};
use crate::ethernet::{EtherType, Frame, Llc, MAX_FRAME_LEN, MIN_FRAME_LEN};
use crate::ip::{Ipv4, Ipv6, Protocol};
use crate::l4::{Icmp, Tcp, Udp};
use crate::message::{ControlMessage, Header, MessageType, Notice, Seal, decode_advertise};
use crate::nd::{NdMessage, NeighborDiscovery};

/// How many messages within messages are described.
pub const DEPTH_MAX: usize = 4;
/// How many identities of an Advertise are described.
pub const IDENTITIES_MAX: usize = 16;

/// Describes a frame (without FCS), one line for each layer. Any bytes give at least one line.
pub fn describe(frame: &[u8]) -> Vec<String> {
    let mut lines = Vec::new();
    let remark = match frame.len() {
        ..MIN_FRAME_LEN => " (runt)",
        MIN_FRAME_LEN..=MAX_FRAME_LEN => "",
        _ => " (oversize)",
    };
    let Some(view) = Frame::new_checked(frame) else {
        lines.push(format!("Ethernet: {} bytes{remark}, ends within its header", frame.len()));
        return lines;
    };
    lines.push(format!("Ethernet: {} to {}, {} bytes{remark}", view.src(), station(view.dst()), frame.len()));
    for tag in view.tags() {
        let mut line = match tag.tci.vid() {
            Some(vid) => format!("{} tag: VLAN {vid}", tag.tpid),
            None if tag.tci.vid_field() == 0 => format!("{} tag: no VLAN (priority tag)", tag.tpid),
            None => format!("{} tag: VID {} (reserved)", tag.tpid, tag.tci.vid_field()),
        };
        // Writing to a string cannot fail.
        let _ = write!(line, ", priority {}", tag.tci.pcp());
        if tag.tci.dei() {
            line.push_str(", drop eligible");
        }
        lines.push(line);
    }
    let ethertype = view.ethertype();
    if ethertype.is_length() {
        lines.push(match view.llc() {
            Some(llc) => describe_llc(&llc),
            None => format!("LLC: malformed, length field {} with {} bytes", ethertype.0, view.payload().len()),
        });
    } else {
        describe_payload(ethertype, view.payload(), 0, &mut lines);
    }
    lines
}

/// A destination with what is special about it.
fn station(mac: MacAddr) -> String {
    if mac.is_broadcast() {
        "broadcast".to_owned()
    } else if mac.is_link_local() {
        format!("{mac} (link-local group)")
    } else if mac.is_group() {
        format!("{mac} (group)")
    } else {
        mac.to_string()
    }
}

fn describe_llc(llc: &Llc<'_>) -> String {
    match llc.snap {
        Some(snap) => {
            let [a, b, c] = snap.oui;
            format!("LLC: SNAP, organisation {a:02x}:{b:02x}:{c:02x}, protocol {:#06x}, {} bytes", snap.pid, llc.payload.len())
        }
        None if llc.dsap == Llc::SAP_STP => format!("LLC: spanning tree, {} bytes", llc.payload.len()),
        None => format!("LLC: DSAP {:#04x}, SSAP {:#04x}, control {:#04x}, {} bytes", llc.dsap, llc.ssap, llc.control, llc.payload.len()),
    }
}

/// `depth` is the number of messages around this payload.
fn describe_payload(ethertype: EtherType, payload: &[u8], depth: usize, lines: &mut Vec<String>) {
    match ethertype {
        EtherType::ARP => lines.push(describe_arp(payload)),
        EtherType::IPV4 => describe_ipv4(payload, lines),
        EtherType::IPV6 => describe_ipv6(payload, lines),
        EtherType::MESSAGE if depth < DEPTH_MAX => describe_message(payload, depth, lines),
        EtherType(number) => {
            let name = ethertype.name().unwrap_or("payload");
            lines.push(format!("{name}: EtherType {number:#06x}, {} bytes", payload.len()));
        }
    }
}

fn describe_message(bytes: &[u8], depth: usize, lines: &mut Vec<String>) {
    let header = match Header::parse(bytes) {
        Ok(header) => header,
        Err(error) => return lines.push(format!("Message: malformed, {error}")),
    };
    let body = header.body(bytes);
    let inner = if header.inner == EtherType(0) { "opaque".to_owned() } else { header.inner.to_string() };
    lines.push(format!(
        "Message: {}, final destination {}, body {} bytes, {inner}",
        header.message_type,
        header.final_destination,
        body.len()
    ));
    match header.message_type {
        MessageType::Data if header.inner != EtherType(0) => describe_payload(header.inner, body, depth + 1, lines),
        MessageType::Data | MessageType::IdentityRequest | MessageType::Unknown(_) => {}
        MessageType::Hello
        | MessageType::SetMode
        | MessageType::Execute
        | MessageType::Listen
        | MessageType::Provision
        | MessageType::Ack
        | MessageType::Rate => lines.push(match ControlMessage::decode(header.message_type, body) {
            Ok(message) => {
                let ControlMessage { session, transaction, control } = message;
                let sealed = if Seal::of(body).is_some() { ", sealed" } else { "" };
                format!("Control: {control}; session {session:08x}, transaction {transaction}{sealed}")
            }
            Err(error) => format!("Control: malformed, {error}"),
        }),
        MessageType::Notice => lines.push(match Notice::decode(body) {
            Ok(notice) => {
                format!("Notice: {}: {}, with {} bytes of the message", notice.reason, notice.final_destination, notice.offending.len())
            }
            Err(error) => format!("Notice: malformed, {error}"),
        }),
        MessageType::Advertise => match decode_advertise(body) {
            Ok(identities) => {
                for identity in identities.iter().take(IDENTITIES_MAX) {
                    let mut line = format!("Identity: slot {}", identity.slot);
                    for mac in &identity.macs {
                        let _ = write!(line, ", {mac}");
                    }
                    for ip in &identity.ips {
                        let _ = write!(line, ", {ip}");
                    }
                    if identity.macs.is_empty() && identity.ips.is_empty() {
                        line.push_str(", nothing (forget it)");
                    }
                    lines.push(line);
                }
                if identities.len() > IDENTITIES_MAX {
                    lines.push(format!("Identity: {} more", identities.len() - IDENTITIES_MAX));
                }
            }
            Err(error) => lines.push(format!("Identity: malformed, {error}")),
        },
    }
}

fn describe_arp(payload: &[u8]) -> String {
    let Some(arp) = Arp::parse(payload) else {
        return format!("ARP: not IPv4 over Ethernet, or too short ({} bytes)", payload.len());
    };
    match arp.operation {
        Operation::Request if arp.is_probe() => format!("ARP: probe, does anybody have {}? asks {}", arp.target_ip, arp.sender_mac),
        Operation::Request | Operation::Reply if arp.is_announcement() => {
            format!("ARP: announcement, {} is at {}", arp.sender_ip, arp.sender_mac)
        }
        Operation::Request => format!("ARP: request, who has {}? tell {} at {}", arp.target_ip, arp.sender_ip, arp.sender_mac),
        Operation::Reply => format!("ARP: reply, {} is at {}", arp.sender_ip, arp.sender_mac),
        Operation::Unknown(number) => format!("ARP: operation {number}, sender {} at {}", arp.sender_ip, arp.sender_mac),
    }
}

fn describe_ipv4(payload: &[u8], lines: &mut Vec<String>) {
    let Some(ip) = Ipv4::new_checked(payload) else {
        return lines.push(format!("IPv4: malformed, {} bytes", payload.len()));
    };
    let mut line =
        format!("IPv4: {} to {}, {}, TTL {}, DSCP {}, {} bytes", ip.src(), ip.dst(), ip.protocol(), ip.ttl(), ip.dscp(), ip.total_len());
    let fragment_offset = ip.fragment_offset();
    if fragment_offset > 0 || ip.more_fragments() {
        let _ = write!(line, ", fragment at {fragment_offset}{}", if ip.more_fragments() { "" } else { " (last)" });
    }
    if !ip.checksum_ok() {
        line.push_str(", wrong header checksum");
    }
    lines.push(line);
    if fragment_offset == 0 {
        describe_transport(ip.protocol(), ip.payload(), lines);
    }
}

fn describe_ipv6(payload: &[u8], lines: &mut Vec<String>) {
    let Some(ip) = Ipv6::new_checked(payload) else {
        return lines.push(format!("IPv6: malformed, {} bytes", payload.len()));
    };
    let Some(upper) = ip.upper_layer() else {
        return lines.push(format!("IPv6: {} to {}, malformed extension headers, {} bytes", ip.src(), ip.dst(), ip.total_len()));
    };
    let (src, dst, len) = (ip.src(), ip.dst(), ip.total_len());
    let mut line = format!("IPv6: {src} to {dst}, {}, hop limit {}, DSCP {}, {len} bytes", upper.protocol, ip.hop_limit(), ip.dscp());
    if let Some(offset) = upper.fragment_offset {
        let _ = write!(line, ", fragment at {offset}");
    }
    lines.push(line);
    match NeighborDiscovery::parse(&ip) {
        Some(nd) => lines.push(describe_nd(&nd)),
        None if upper.fragment_offset.unwrap_or(0) == 0 => describe_transport(upper.protocol, upper.payload, lines),
        None => {}
    }
}

fn describe_nd(nd: &NeighborDiscovery) -> String {
    let at = |mac: Option<MacAddr>| mac.map_or_else(|| "no MAC told".to_owned(), |mac| format!("at {mac}"));
    match nd.message {
        NdMessage::RouterSolicitation { mac } => format!("ICMPv6: router solicitation, {} {}", nd.src, at(mac)),
        NdMessage::RouterAdvertisement { mac } => format!("ICMPv6: router advertisement, {} {}", nd.src, at(mac)),
        NdMessage::NeighborSolicitation { target, .. } if nd.src.is_unspecified() => {
            format!("ICMPv6: duplicate address check, does anybody have {target}?")
        }
        NdMessage::NeighborSolicitation { target, mac } => {
            format!("ICMPv6: neighbor solicitation, who has {target}? tell {} {}", nd.src, at(mac))
        }
        NdMessage::NeighborAdvertisement(advertisement) => {
            format!("ICMPv6: neighbor advertisement, {} {}", advertisement.target, at(advertisement.mac))
        }
    }
}

fn describe_transport(protocol: Protocol, payload: &[u8], lines: &mut Vec<String>) {
    let line = match protocol {
        Protocol::UDP => Udp::new_checked(payload)
            .map(|udp| format!("UDP: port {} to {}, {} bytes of payload", udp.src_port(), udp.dst_port(), udp.payload().len())),
        Protocol::TCP => Tcp::new_checked(payload).map(|tcp| {
            let flags = tcp.flags().names().collect::<Vec<_>>().join(" ");
            let (src, dst) = (tcp.src_port(), tcp.dst_port());
            format!("TCP: port {src} to {dst}, [{flags}], seq {}, {} bytes of payload", tcp.sequence(), tcp.payload().len())
        }),
        Protocol::ICMP | Protocol::ICMPV6 => Icmp::new_checked(payload).map(|icmp| {
            let name = match (protocol, icmp.icmp_type()) {
                (Protocol::ICMP, 0) | (Protocol::ICMPV6, 129) => "echo reply, ",
                (Protocol::ICMP, 8) | (Protocol::ICMPV6, 128) => "echo request, ",
                (Protocol::ICMP, 3) | (Protocol::ICMPV6, 1) => "destination unreachable, ",
                (Protocol::ICMP, 11) | (Protocol::ICMPV6, 3) => "time exceeded, ",
                (Protocol::ICMPV6, 2) => "packet too big, ",
                _ => "",
            };
            format!("{protocol}: {name}type {}, code {}, {} bytes", icmp.icmp_type(), icmp.code(), icmp.bytes().len())
        }),
        Protocol(_) => return, // The line of the IP header has said its name.
    };
    lines.push(line.unwrap_or_else(|| format!("{protocol}: malformed, {} bytes", payload.len())));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ethernet::{self, Tag};
    use crate::message::{Control, Final, Identity, Message, Name, NoticeReason, encode_advertise};
    use crate::vlan::Tci;
    use proptest::prelude::*;
    use std::net::IpAddr;

    const BLADE_1: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const BLADE_2: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
    const SWITCH: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xfe]);

    /// An echo request of 28 bytes from 10.0.0.1 to 10.0.0.2.
    #[rustfmt::skip]
    const PING: [u8; 28] = [
        0x45, 0, 0, 28, 0, 0, 0x40, 0, 64, 1, 0x26, 0xdf, 10, 0, 0, 1, 10, 0, 0, 2,
        8, 0, 0xf7, 0xfd, 0, 1, 0, 1,
    ];

    fn message(message_type: MessageType, final_destination: Final, inner: EtherType, body: &[u8]) -> Vec<u8> {
        Message { initial_destination: SWITCH, source: BLADE_1, message_type, final_destination, inner, body }.emit(&[]).unwrap()
    }

    #[test]
    fn a_ping_in_two_tags() {
        let tags = [Tag { tpid: EtherType::QINQ, tci: Tci(0x2064) }, Tag { tpid: EtherType::VLAN, tci: Tci(0xf000) }];
        let frame = ethernet::emit(BLADE_2, BLADE_1, &tags, EtherType::IPV4, &PING);
        let expected = [
            "Ethernet: 02:00:00:00:00:01 to 02:00:00:00:00:02, 60 bytes",
            "802.1ad tag: VLAN 100, priority 1",
            "802.1Q tag: no VLAN (priority tag), priority 7, drop eligible",
            "IPv4: 10.0.0.1 to 10.0.0.2, ICMP, TTL 64, DSCP 0, 28 bytes",
            "ICMP: echo request, type 8, code 0, 8 bytes",
        ];
        assert_eq!(describe(&frame), expected);
    }

    #[test]
    fn a_message_with_a_packet_inside() {
        let frame = message(MessageType::Data, Final::Ipv4([10, 0, 0, 2].into()), EtherType::IPV4, &PING);
        let expected = [
            "Ethernet: 02:00:00:00:00:01 to 02:00:00:00:00:fe, 66 bytes",
            "Message: data, final destination 10.0.0.2, body 28 bytes, IPv4",
            "IPv4: 10.0.0.1 to 10.0.0.2, ICMP, TTL 64, DSCP 0, 28 bytes",
            "ICMP: echo request, type 8, code 0, 8 bytes",
        ];
        assert_eq!(describe(&frame), expected);
        let opaque = message(MessageType::Data, Final::Mac(BLADE_2), EtherType(0), b"hello");
        assert_eq!(describe(&opaque)[1..], ["Message: data, final destination 02:00:00:00:00:02, body 5 bytes, opaque"]);
    }

    #[test]
    fn control_messages() {
        let (function, session) = (Name::new("fsck").unwrap(), 0xab);
        let body = ControlMessage { session, transaction: 7, control: Control::Execute(function) }.encode(Some(1));
        let frame = message(MessageType::Execute, Final::Mac(BLADE_1), EtherType(0), &body);
        assert_eq!(describe(&frame)[2], "Control: execute fsck; session 000000ab, transaction 7, sealed");
        let frame = message(MessageType::Ack, Final::Mac(BLADE_1), EtherType(0), &body[..12]);
        assert_eq!(describe(&frame)[2], "Control: malformed, the message ends within a field");
    }

    #[test]
    fn notices_identities_and_malformed_messages() {
        let notice = Notice { reason: NoticeReason::FinalUnknown, final_destination: Final::Mac(BLADE_2), offending: &[1; 24] };
        let frame = message(MessageType::Notice, Final::Mac(BLADE_1), EtherType(0), &notice.encode());
        assert_eq!(describe(&frame)[2], "Notice: final destination unknown: 02:00:00:00:00:02, with 24 bytes of the message");

        let mut identities = vec![Identity { slot: 1, macs: vec![BLADE_1], ips: vec![IpAddr::from([10, 0, 0, 1])] }];
        identities.extend((2..19).map(|slot| Identity { slot, ..Identity::default() }));
        let body = encode_advertise(&identities, 1400).remove(0);
        let lines = describe(&message(MessageType::Advertise, Final::Mac(MacAddr::BROADCAST), EtherType(0), &body));
        assert_eq!(lines[2], "Identity: slot 1, 02:00:00:00:00:01, 10.0.0.1");
        assert_eq!(lines[3], "Identity: slot 2, nothing (forget it)");
        assert_eq!((lines.len(), &lines[18][..]), (19, "Identity: 2 more"));

        let mut wrong = frame;
        wrong[14] = 2;
        assert_eq!(describe(&wrong)[1], "Message: malformed, the message has version 2, known is 1");
    }

    #[test]
    fn arp_neighbor_discovery_and_llc() {
        let arp = Arp {
            operation: Operation::Request,
            sender_mac: BLADE_1,
            sender_ip: [10, 0, 0, 1].into(),
            target_mac: MacAddr::ZERO,
            target_ip: [10, 0, 0, 2].into(),
        };
        let frame = ethernet::emit(MacAddr::BROADCAST, BLADE_1, &[], EtherType::ARP, &arp.emit());
        let expected =
            ["Ethernet: 02:00:00:00:00:01 to broadcast, 60 bytes", "ARP: request, who has 10.0.0.2? tell 10.0.0.1 at 02:00:00:00:00:01"];
        assert_eq!(describe(&frame), expected);

        let (src, target) = ("fe80::1".parse().unwrap(), "fe80::2".parse().unwrap());
        let group = crate::nd::multicast_mac(crate::nd::solicited_node(target));
        let frame = ethernet::emit(group, BLADE_1, &[], EtherType::IPV6, &crate::nd::solicit(src, BLADE_1, target));
        let expected = [
            "Ethernet: 02:00:00:00:00:01 to 33:33:ff:00:00:02 (group), 86 bytes",
            "IPv6: fe80::1 to ff02::1:ff00:2, ICMPv6, hop limit 255, DSCP 0, 72 bytes",
            "ICMPv6: neighbor solicitation, who has fe80::2? tell fe80::1 at 02:00:00:00:00:01",
        ];
        assert_eq!(describe(&frame), expected);

        let bpdu = ethernet::emit(MacAddr([1, 0x80, 0xc2, 0, 0, 0]), BLADE_1, &[], EtherType(38), &[0x42, 0x42, 3]);
        assert_eq!(describe(&bpdu)[1], "LLC: spanning tree, 35 bytes");
    }

    #[test]
    fn what_does_not_parse_is_said() {
        assert_eq!(describe(&[]), ["Ethernet: 0 bytes (runt), ends within its header"]);
        let mut broken = ethernet::emit(BLADE_2, BLADE_1, &[], EtherType::IPV4, &PING);
        broken[22] = 63;
        assert!(describe(&broken)[1].ends_with("wrong header checksum"));
        broken[14] = 0x55;
        assert_eq!(describe(&broken)[1], "IPv4: malformed, 46 bytes");
        let lldp = ethernet::emit(BLADE_2, BLADE_1, &[], EtherType::LLDP, &[]);
        assert_eq!(describe(&lldp)[1], "LLDP: EtherType 0x88cc, 46 bytes");
    }

    #[test]
    fn messages_within_messages_end() {
        let mut body = Vec::new();
        for _ in 0..100 {
            body = message(MessageType::Data, Final::Mac(BLADE_2), EtherType::MESSAGE, &body).split_off(14);
        }
        let frame = message(MessageType::Data, Final::Mac(BLADE_2), EtherType::MESSAGE, &body);
        let lines = describe(&frame);
        assert_eq!(lines.len(), 2 + DEPTH_MAX);
        assert!(lines[1 + DEPTH_MAX].starts_with("chassis message: EtherType 0x88b5"));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(ethertype in prop_oneof![Just(0x0800u16), Just(0x0806), Just(0x86dd), Just(0x88b5), Just(0x8100), 0u16..60, any::<u16>()],
                          start in prop_oneof![Just(vec![0x45u8, 0, 0, 40]), Just(vec![0x60, 0, 0, 0, 0, 8, 58, 255]),
                                               Just(vec![1, 1, 1, 0]), Just(vec![1, 2, 2, 0, 0, 0, 0, 9]), Just(vec![1, 0, 3, 0, 0x88, 0xb5, 0, 30]), Just(vec![])],
                          rest in prop::collection::vec(prop_oneof![0u8..4, any::<u8>()], 0..150)) {
            let frame = ethernet::emit(BLADE_2, BLADE_1, &[], EtherType(ethertype), &[start, rest].concat());
            prop_assert!(describe(&frame).len() >= 2);
            for len in 0..frame.len() {
                prop_assert!(!describe(&frame[..len]).is_empty());
            }
        }
    }
}
