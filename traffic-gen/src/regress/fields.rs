//! The fields of a frame with their places, for people and for masks.
//!
//! `etherparse` reads Ethernet, 802.1Q tags, ARP, IPv4, IPv6, TCP, UDP and ICMP; the chassis message (EtherType 0x88B5) is read here, by
//! its published layout and not by the switch's parser. What is not understood is `payload`, and so are the bytes behind the last
//! header. Any bytes give at least one field.

use std::ops::Range;

use etherparse::{LaxLinkExtSlice, LaxNetSlice, LaxSlicedPacket, TransportSlice};
use wire::MacAddr;

/// A field of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// One of [`NAMES`].
    pub name: &'static str,
    /// Its value in words.
    pub value: String,
    /// Where it is.
    pub range: Range<usize>,
}

/// The names of all fields there are. A second tag is `vlan2`, a third `vlan3`.
pub const NAMES: &[&str] = &[
    "eth.dst",
    "eth.src",
    "vlan.tpid",
    "vlan.tci",
    "vlan2.tpid",
    "vlan2.tci",
    "vlan3.tpid",
    "vlan3.tci",
    "eth.type",
    "arp.operation",
    "arp.sender_mac",
    "arp.sender_ip",
    "arp.target_mac",
    "arp.target_ip",
    "ipv4.tos",
    "ipv4.length",
    "ipv4.id",
    "ipv4.fragment",
    "ipv4.ttl",
    "ipv4.protocol",
    "ipv4.checksum",
    "ipv4.src",
    "ipv4.dst",
    "ipv4.options",
    "ipv6.class_and_flow",
    "ipv6.length",
    "ipv6.next_header",
    "ipv6.hop_limit",
    "ipv6.src",
    "ipv6.dst",
    "tcp.src_port",
    "tcp.dst_port",
    "tcp.sequence",
    "tcp.acknowledgment",
    "tcp.flags",
    "tcp.window",
    "tcp.checksum",
    "tcp.urgent",
    "tcp.options",
    "udp.src_port",
    "udp.dst_port",
    "udp.length",
    "udp.checksum",
    "icmp.type",
    "icmp.code",
    "icmp.checksum",
    "icmp.rest",
    "message.version",
    "message.type",
    "message.kind",
    "message.flags",
    "message.inner_type",
    "message.body_length",
    "message.final",
    "payload",
];

/// Is there a field of this name?
pub fn is_known(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Bytes of a value that are shown in hexadecimal digits.
const SHOWN_MAX: usize = 16;

/// Collects fields, each a part of one frame.
struct Fields<'a> {
    frame: &'a [u8],
    fields: Vec<Field>,
}

impl Fields<'_> {
    /// A field of `len` bytes at `at`, if the frame has them.
    fn add(&mut self, name: &'static str, at: usize, len: usize, show: impl FnOnce(&[u8]) -> String) {
        if let Some(bytes) = self.frame.get(at..at + len).filter(|bytes| !bytes.is_empty()) {
            self.fields.push(Field { name, value: show(bytes), range: at..at + len });
        }
    }

    /// The first byte behind all fields so far.
    fn end(&self) -> usize {
        self.fields.iter().map(|field| field.range.end).max().unwrap_or(0)
    }

    /// Where a part of the frame begins in it.
    fn place(&self, part: &[u8]) -> usize {
        (part.as_ptr() as usize).saturating_sub(self.frame.as_ptr() as usize)
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().take(8).fold(0, |number, &byte| number << 8 | u64::from(byte))
}

fn decimal(bytes: &[u8]) -> String {
    number(bytes).to_string()
}

fn hex_number(bytes: &[u8]) -> String {
    format!("{:#0width$x}", number(bytes), width = 2 + 2 * bytes.len())
}

/// The first bytes in hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    let digits: Vec<String> = bytes.iter().take(SHOWN_MAX).map(|byte| format!("{byte:02x}")).collect();
    let more = if bytes.len() > SHOWN_MAX { " …" } else { "" };
    format!("{}{more}", digits.join(" "))
}

fn mac(bytes: &[u8]) -> String {
    <[u8; 6]>::try_from(bytes).map_or_else(|_| hex(bytes), |bytes| MacAddr(bytes).to_string())
}

fn ip(bytes: &[u8]) -> String {
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
        return std::net::Ipv4Addr::from(bytes).to_string();
    }
    <[u8; 16]>::try_from(bytes).map_or_else(|_| hex(bytes), |bytes| std::net::Ipv6Addr::from(bytes).to_string())
}

fn ethertype(bytes: &[u8]) -> String {
    let name = match number(bytes) {
        0x0800 => " (IPv4)",
        0x0806 => " (ARP)",
        0x86dd => " (IPv6)",
        0x8100 => " (802.1Q)",
        0x88a8 => " (802.1ad)",
        0x88b5 => " (chassis message)",
        0..=1500 => " (length)",
        _ => "",
    };
    format!("{}{name}", hex_number(bytes))
}

fn protocol(bytes: &[u8]) -> String {
    let name = match number(bytes) {
        1 => " (ICMP)",
        2 => " (IGMP)",
        6 => " (TCP)",
        17 => " (UDP)",
        58 => " (ICMPv6)",
        _ => "",
    };
    format!("{}{name}", number(bytes))
}

fn tci(bytes: &[u8]) -> String {
    let tci = number(bytes);
    let eligible = if tci & 0x1000 != 0 { ", drop eligible" } else { "" };
    format!("VLAN {}, priority {}{eligible}", tci & 0xfff, tci >> 13)
}

fn tcp_flags(bytes: &[u8]) -> String {
    let bits = number(bytes);
    let names = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];
    let set: Vec<&str> = names.iter().enumerate().filter(|(bit, _)| bits >> bit & 1 != 0).map(|(_, name)| *name).collect();
    format!("{} (header of {} bytes)", if set.is_empty() { "none".to_owned() } else { set.join(" ") }, (bits >> 12) * 4)
}

/// The fields of a frame, in the order of the frame.
pub fn decode(frame: &[u8]) -> Vec<Field> {
    let mut fields = Fields { frame, fields: Vec::new() };
    if let Ok(packet) = LaxSlicedPacket::from_ethernet(frame) {
        fields.add("eth.dst", 0, 6, mac);
        fields.add("eth.src", 6, 6, mac);
        let mut type_at = 12;
        for (index, extension) in packet.link_exts.iter().enumerate() {
            let LaxLinkExtSlice::Vlan(_) = extension else { break };
            let (tpid, name) = [("vlan.tpid", "vlan.tci"), ("vlan2.tpid", "vlan2.tci"), ("vlan3.tpid", "vlan3.tci")][index.min(2)];
            fields.add(tpid, type_at, 2, ethertype);
            fields.add(name, type_at + 2, 2, tci);
            type_at += 4;
        }
        fields.add("eth.type", type_at, 2, ethertype);
        if frame.get(type_at..type_at + 2) == Some(&[0x88, 0xb5]) {
            message(&mut fields, type_at + 2);
        }
        network(&mut fields, packet.net.as_ref());
        transport(&mut fields, packet.transport.as_ref());
    }
    let end = fields.end();
    fields.add("payload", end, frame.len() - end, |bytes| format!("{} bytes: {}", bytes.len(), hex(bytes)));
    fields.fields
}

fn network(fields: &mut Fields<'_>, net: Option<&LaxNetSlice<'_>>) {
    match net {
        Some(LaxNetSlice::Ipv4(ipv4)) => {
            let at = fields.place(ipv4.header().slice());
            fields.add("ipv4.tos", at + 1, 1, hex_number);
            fields.add("ipv4.length", at + 2, 2, decimal);
            fields.add("ipv4.id", at + 4, 2, hex_number);
            fields.add("ipv4.fragment", at + 6, 2, hex_number);
            fields.add("ipv4.ttl", at + 8, 1, decimal);
            fields.add("ipv4.protocol", at + 9, 1, protocol);
            fields.add("ipv4.checksum", at + 10, 2, hex_number);
            fields.add("ipv4.src", at + 12, 4, ip);
            fields.add("ipv4.dst", at + 16, 4, ip);
            fields.add("ipv4.options", at + 20, ipv4.header().slice().len().saturating_sub(20), hex);
        }
        Some(LaxNetSlice::Ipv6(ipv6)) => {
            let at = fields.place(ipv6.header().slice());
            fields.add("ipv6.class_and_flow", at, 4, hex_number);
            fields.add("ipv6.length", at + 4, 2, decimal);
            fields.add("ipv6.next_header", at + 6, 1, protocol);
            fields.add("ipv6.hop_limit", at + 7, 1, decimal);
            fields.add("ipv6.src", at + 8, 16, ip);
            fields.add("ipv6.dst", at + 24, 16, ip);
        }
        Some(LaxNetSlice::Arp(arp)) => {
            let at = fields.place(arp.slice());
            // Ethernet and IPv4, as everywhere; anything else stays payload (RFC 826).
            if fields.frame.get(at..at + 6) == Some(&[0, 1, 8, 0, 6, 4]) {
                let operation = |bytes: &[u8]| match number(bytes) {
                    1 => "1 (request)".to_owned(),
                    2 => "2 (reply)".to_owned(),
                    other => other.to_string(),
                };
                fields.add("arp.operation", at + 6, 2, operation);
                fields.add("arp.sender_mac", at + 8, 6, mac);
                fields.add("arp.sender_ip", at + 14, 4, ip);
                fields.add("arp.target_mac", at + 18, 6, mac);
                fields.add("arp.target_ip", at + 24, 4, ip);
            }
        }
        None => {}
    }
}

fn transport(fields: &mut Fields<'_>, transport: Option<&TransportSlice<'_>>) {
    match transport {
        Some(TransportSlice::Tcp(tcp)) => {
            let at = fields.place(tcp.slice());
            fields.add("tcp.src_port", at, 2, decimal);
            fields.add("tcp.dst_port", at + 2, 2, decimal);
            fields.add("tcp.sequence", at + 4, 4, decimal);
            fields.add("tcp.acknowledgment", at + 8, 4, decimal);
            fields.add("tcp.flags", at + 12, 2, tcp_flags);
            fields.add("tcp.window", at + 14, 2, decimal);
            fields.add("tcp.checksum", at + 16, 2, hex_number);
            fields.add("tcp.urgent", at + 18, 2, decimal);
            fields.add("tcp.options", at + 20, tcp.header_slice().len().saturating_sub(20), hex);
        }
        Some(TransportSlice::Udp(udp)) => {
            let at = fields.place(udp.slice());
            fields.add("udp.src_port", at, 2, decimal);
            fields.add("udp.dst_port", at + 2, 2, decimal);
            fields.add("udp.length", at + 4, 2, decimal);
            fields.add("udp.checksum", at + 6, 2, hex_number);
        }
        Some(TransportSlice::Icmpv4(icmp)) => icmp_header(fields, icmp.slice()),
        Some(TransportSlice::Icmpv6(icmp)) => icmp_header(fields, icmp.slice()),
        Some(TransportSlice::Igmp(_)) | None => {}
    }
}

fn icmp_header(fields: &mut Fields<'_>, icmp: &[u8]) {
    let at = fields.place(icmp);
    fields.add("icmp.type", at, 1, decimal);
    fields.add("icmp.code", at + 1, 1, decimal);
    fields.add("icmp.checksum", at + 2, 2, hex_number);
    fields.add("icmp.rest", at + 4, 4, hex_number);
}

/// The layout of `docs/message-format.md`.
fn message(fields: &mut Fields<'_>, at: usize) {
    let kind = fields.frame.get(at + 2).copied();
    fields.add("message.version", at, 1, decimal);
    fields.add("message.type", at + 1, 1, decimal);
    fields.add("message.kind", at + 2, 1, |bytes| match bytes[0] {
        1 => "1 (MAC)".to_owned(),
        2 => "2 (IPv4)".to_owned(),
        3 => "3 (IPv6)".to_owned(),
        other => other.to_string(),
    });
    fields.add("message.flags", at + 3, 1, hex_number);
    fields.add("message.inner_type", at + 4, 2, ethertype);
    fields.add("message.body_length", at + 6, 2, decimal);
    fields.add("message.final", at + 8, 16, |bytes| match kind {
        Some(1) => mac(&bytes[..6]),
        Some(2) => ip(&bytes[..4]),
        _ => ip(bytes),
    });
}

/// A frame in one line: who to whom, what, how long.
pub fn summary(frame: &[u8]) -> String {
    let fields = decode(frame);
    let value = |name: &str| fields.iter().find(|field| field.name == name).map(|field| field.value.as_str());
    let mut parts = Vec::new();
    if let (Some(src), Some(dst)) = (value("eth.src"), value("eth.dst")) {
        parts.push(format!("{src} → {dst}"));
    }
    parts.extend(value("vlan.tci").map(str::to_owned));
    let ends = |src, dst| Some(format!("{} → {}", value(src)?, value(dst)?));
    if let Some(ends) = ends("ipv4.src", "ipv4.dst").or_else(|| ends("ipv6.src", "ipv6.dst")) {
        parts.push(ends);
        parts.extend(value("ipv4.protocol").or(value("ipv6.next_header")).map(|protocol| format!("protocol {protocol}")));
    } else if let (Some(operation), Some(target)) = (value("arp.operation"), value("arp.target_ip")) {
        parts.push(format!("ARP {operation} for {target}"));
    } else {
        parts.extend(value("eth.type").map(|kind| format!("type {kind}")));
    }
    if let Some(ends) = ends("tcp.src_port", "tcp.dst_port").or_else(|| ends("udp.src_port", "udp.dst_port")) {
        parts.push(format!("ports {ends}"));
    }
    parts.push(format!("{} bytes", frame.len()));
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ping() -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x81, 0, 0x60, 10, 8, 0];
        frame.extend([0x45, 0, 0, 36, 0x12, 0x34, 0x40, 0, 64, 1, 0xab, 0xcd, 198, 18, 0, 1, 198, 18, 0, 2]);
        frame.extend([8, 0, 0x11, 0x22, 0, 7, 0, 9]);
        frame.extend([1, 2, 3, 4, 5, 6, 7, 8]);
        frame
    }

    #[test]
    fn fields_have_names_values_and_places() {
        let fields = decode(&ping());
        let shown: Vec<String> = fields.iter().map(|field| format!("{} {:?} {}", field.name, field.range, field.value)).collect();
        let expected = [
            "eth.dst 0..6 02:00:00:00:00:02",
            "eth.src 6..12 02:00:00:00:00:01",
            "vlan.tpid 12..14 0x8100 (802.1Q)",
            "vlan.tci 14..16 VLAN 10, priority 3",
            "eth.type 16..18 0x0800 (IPv4)",
            "ipv4.tos 19..20 0x00",
            "ipv4.length 20..22 36",
            "ipv4.id 22..24 0x1234",
            "ipv4.fragment 24..26 0x4000",
            "ipv4.ttl 26..27 64",
            "ipv4.protocol 27..28 1 (ICMP)",
            "ipv4.checksum 28..30 0xabcd",
            "ipv4.src 30..34 198.18.0.1",
            "ipv4.dst 34..38 198.18.0.2",
            "icmp.type 38..39 8",
            "icmp.code 39..40 0",
            "icmp.checksum 40..42 0x1122",
            "icmp.rest 42..46 0x00070009",
            "payload 46..54 8 bytes: 01 02 03 04 05 06 07 08",
        ];
        assert_eq!(shown, expected);
        assert_eq!(
            summary(&ping()),
            "02:00:00:00:00:01 → 02:00:00:00:00:02, VLAN 10, priority 3, 198.18.0.1 → 198.18.0.2, protocol 1 (ICMP), 54 bytes"
        );
    }

    proptest! {
        /// Any bytes: fields lie in the frame, have known names, and all of a frame that is not empty is somebody's or a header's.
        #[test]
        fn any_bytes_have_fields(mut frame in prop::collection::vec(any::<u8>(), 0..120), kind in 0usize..6) {
            let types = [[8, 0], [0x86, 0xdd], [8, 6], [0x81, 0], [0x88, 0xb5], [0x90, 0]];
            if let Some(place) = frame.get_mut(12..14) {
                place.copy_from_slice(&types[kind]);
            }
            let fields = decode(&frame);
            prop_assert_eq!(fields.is_empty(), frame.is_empty());
            prop_assert!(fields.iter().all(|field| is_known(field.name) && field.range.end <= frame.len()));
            prop_assert_eq!(fields.iter().map(|field| field.range.end).max().unwrap_or(0), frame.len());
            summary(&frame);
        }
    }
}
