//! The conditions of a `[[steer]]` rule: reading them, and writing them out again.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use dataplane::steer::look::{Conditions, FlagCondition, Prefix};
use serde::Serialize;
use toml::Spanned;
use toml::de::DeValue;
use wire::ethernet::EtherType;
use wire::ip::Protocol;
use wire::l4::TcpFlags;
use wire::{MacAddr, Vid};

use super::error::Findings;
use super::model::Config;
use super::section::Section;
use super::steering::SteerConfig;
use super::value;

/// Bytes a payload may be compared with.
const PAYLOAD_MAX: usize = 64;

const ETHERTYPES: &[(&str, u16)] =
    &[("ipv4", EtherType::IPV4.0), ("ipv6", EtherType::IPV6.0), ("arp", EtherType::ARP.0), ("message", EtherType::MESSAGE.0)];
const PROTOCOLS: &[(&str, u16)] = &[
    ("tcp", Protocol::TCP.0 as u16),
    ("udp", Protocol::UDP.0 as u16),
    ("sctp", Protocol::SCTP.0 as u16),
    ("icmp", Protocol::ICMP.0 as u16),
    ("icmpv6", Protocol::ICMPV6.0 as u16),
    ("gre", Protocol::GRE.0 as u16),
    ("esp", Protocol::ESP.0 as u16),
];
const MESSAGE_TYPES: &[(&str, u16)] = &[
    ("data", 0),
    ("notice", 1),
    ("advertise", 2),
    ("identity-request", 3),
    ("hello", 16),
    ("set-mode", 17),
    ("execute", 18),
    ("listen", 19),
    ("provision", 20),
    ("ack", 21),
];
const FLAGS: &[(&str, TcpFlags)] = &[
    ("SYN", TcpFlags::SYN),
    ("FIN", TcpFlags::FIN),
    ("RST", TcpFlags::RST),
    ("PSH", TcpFlags::PSH),
    ("ACK", TcpFlags::ACK),
    ("URG", TcpFlags::URG),
    ("ECE", TcpFlags::ECE),
    ("CWR", TcpFlags::CWR),
];

/// Reads all conditions of a rule but `in`, which needs the ports.
pub(super) fn read(section: &Section<'_, '_>, out: &mut Findings<'_>) -> Conditions {
    let of = |key, out: &mut Findings<'_>, words, most| section.read(out, key, numbered(words, most)).map(Spanned::into_inner);
    let ethertype = of("ethertype", out, ETHERTYPES, 0xffff);
    let protocol = of("protocol", out, PROTOCOLS, 255);
    let message_type = of("message_type", out, MESSAGE_TYPES, 255);
    let mac = |key, out: &mut Findings<'_>| section.read(out, key, value::station_mac).map(|mac| mac.get_ref().raw());
    let (src_mac, dst_mac) = (mac("src_mac", out), mac("dst_mac", out));
    let prefixes = |key, out: &mut Findings<'_>| section.read_list(out, key, prefix).into_iter().map(Spanned::into_inner).collect();
    let (src, dst) = (prefixes("src", out), prefixes("dst", out));
    let ports = |key, out: &mut Findings<'_>| section.read_list(out, key, port_range).into_iter().map(Spanned::into_inner).collect();
    let (src_port, dst_port) = (ports("src_port", out), ports("dst_port", out));
    let dscp = section.read_list(out, "dscp", value::integer("", 0..=63));
    let flags = section.read_list(out, "tcp_flags", flag);
    Conditions {
        ingress: 0,
        ethertype: ethertype.map(EtherType),
        vlan: section.read_list(out, "vlan", value::vid).into_iter().map(Spanned::into_inner).collect(),
        src_mac,
        dst_mac,
        src,
        dst,
        protocol: protocol.map(|number| Protocol(number as u8)),
        src_port,
        dst_port,
        dscp: dscp.iter().fold(0, |mask, dscp| mask | 1 << dscp.get_ref()),
        tcp_flags: (!flags.is_empty()).then(|| {
            flags.iter().fold(FlagCondition::default(), |condition, flag| match *flag.get_ref() {
                (true, flag) => FlagCondition { set: condition.set | flag.0, ..condition },
                (false, flag) => FlagCondition { clear: condition.clear | flag.0, ..condition },
            })
        }),
        message_type: message_type.map(|number| number as u8),
        payload: section.read(out, "payload", payload).map(Spanned::into_inner).unwrap_or_default(),
    }
}

/// One of some words, or a number as number or text.
fn numbered(words: &'static [(&'static str, u16)], most: u16) -> impl Fn(&DeValue<'_>) -> Result<u16, String> {
    move |value| {
        let named = value.as_str().and_then(|word| words.iter().find(|(name, _)| *name == word)).map(|(_, number)| *number);
        let of_text = || value.as_str().and_then(number);
        let of_number = || value::integer("", 0..=u64::from(most))(value).ok().map(|number| number as u16);
        named.or_else(of_text).or_else(of_number).filter(|number| *number <= most).ok_or_else(|| {
            let names: Vec<String> = words.iter().map(|(name, _)| format!("\"{name}\"")).collect();
            format!("expected {} or a number from 0 to {most}", names.join(", "))
        })
    }
}

fn number(text: &str) -> Option<u16> {
    match text.strip_prefix("0x") {
        Some(digits) => u16::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// `198.18.0.0/16`, or an address for itself alone.
fn prefix(value: &DeValue<'_>) -> Result<Prefix, String> {
    const EXPECTED: &str = "expected an IP prefix such as \"198.18.0.0/16\" or \"2001:db8::/32\", or an address";
    let text = value.as_str().ok_or(EXPECTED)?;
    let (address, len) = text.split_once('/').map_or((text, None), |(address, len)| (address, Some(len)));
    let address: IpAddr = address.parse().map_err(|_| EXPECTED)?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let len: u8 = len.map_or(Ok(most), str::parse).map_err(|_| EXPECTED)?;
    if len > most {
        return Err(format!("an address of this family has {most} bits: {EXPECTED}"));
    }
    let bits_beyond = match address {
        IpAddr::V4(ip) => u128::from(ip.to_bits()) & ((1u128 << (32 - len)) - 1),
        IpAddr::V6(ip) => ip.to_bits() & 1u128.checked_shl(u32::from(128 - len)).unwrap_or(0).wrapping_sub(1),
    };
    if bits_beyond != 0 {
        return Err(format!("has bits beyond its first {len}: {EXPECTED}"));
    }
    Ok(Prefix { address, len })
}

/// A port, or a range of them.
fn port_range(value: &DeValue<'_>) -> Result<RangeInclusive<u16>, String> {
    const EXPECTED: &str = "expected a port from 0 to 65535, or a range such as \"5060-5061\"";
    if let Ok(port) = value::integer("", 0..=65_535)(value) {
        return Ok(port as u16..=port as u16);
    }
    let text = value.as_str().ok_or(EXPECTED)?;
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    let range = from.trim().parse().map_err(|_| EXPECTED)?..=to.trim().parse().map_err(|_| EXPECTED)?;
    if range.is_empty() { Err(format!("begins after its end: {EXPECTED}")) } else { Ok(range) }
}

/// A TCP flag that must be set, or with `!` must not be.
fn flag(value: &DeValue<'_>) -> Result<(bool, TcpFlags), String> {
    let text = value.as_str().unwrap_or("");
    let (set, name) = text.strip_prefix('!').map_or((true, text), |name| (false, name));
    let found = FLAGS.iter().find(|(flag, _)| flag.eq_ignore_ascii_case(name));
    found.map(|(_, flag)| (set, *flag)).ok_or_else(|| {
        let names: Vec<String> = FLAGS.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        format!("expected {}, or one of them with `!` before it", names.join(", "))
    })
}

/// Text, or `0x` and pairs of digits.
fn payload(value: &DeValue<'_>) -> Result<Vec<u8>, String> {
    let expected = || format!("expected 1 to {PAYLOAD_MAX} bytes, as text or as `0x` and pairs of hexadecimal digits");
    let text = value.as_str().ok_or_else(expected)?;
    let bytes = match text.strip_prefix("0x") {
        None => text.as_bytes().to_vec(),
        Some(digits) if digits.len() % 2 == 0 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()) => digits
            .as_bytes()
            .chunks(2)
            .filter_map(|pair| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok()))
            .collect(),
        Some(_) => return Err(expected()),
    };
    if bytes.is_empty() || bytes.len() > PAYLOAD_MAX { Err(expected()) } else { Ok(bytes) }
}

/// A rule in the shape of its section.
#[derive(Serialize)]
pub(crate) struct SteerTable {
    name: String,
    function: String,
    r#in: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ethertype: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    vlan: Vec<Vid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    src_mac: Option<MacAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dst_mac: Option<MacAddr>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    src: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    dst: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    src_port: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    dst_port: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    dscp: Vec<u8>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tcp_flags: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<String>,
}

/// As it is written out.
pub(crate) fn table(config: &Config, rule: &SteerConfig) -> SteerTable {
    let Conditions {
        ingress,
        ethertype,
        vlan,
        src_mac,
        dst_mac,
        src,
        dst,
        protocol,
        src_port,
        dst_port,
        dscp,
        tcp_flags,
        message_type,
        payload,
    } = &rule.conditions;
    let word = |words: &[(&str, u16)], number: u16| {
        words.iter().find(|(_, own)| *own == number).map_or_else(|| number.to_string(), |(name, _)| (*name).to_owned())
    };
    let prefixes = |prefixes: &[Prefix]| prefixes.iter().map(Prefix::to_string).collect();
    let ports = |ranges: &[RangeInclusive<u16>]| ranges.iter().map(range_text).collect();
    let flags = tcp_flags.unwrap_or_default();
    let flag_names = |set: u8, before: &'static str| TcpFlags(set).names().map(move |name| format!("{before}{name}"));
    SteerTable {
        name: rule.name.clone(),
        function: rule.function.clone(),
        r#in: config.ports.iter().enumerate().filter(|(index, _)| ingress & 1 << index != 0).map(|(_, port)| port.name.clone()).collect(),
        ethertype: ethertype.map(|ethertype| word(ETHERTYPES, ethertype.0)),
        vlan: vlan.clone(),
        src_mac: src_mac.map(MacAddr::from_raw),
        dst_mac: dst_mac.map(MacAddr::from_raw),
        src: prefixes(src),
        dst: prefixes(dst),
        protocol: protocol.map(|protocol| word(PROTOCOLS, u16::from(protocol.0))),
        src_port: ports(src_port),
        dst_port: ports(dst_port),
        dscp: (0..64).filter(|bit| dscp & 1 << bit != 0).collect(),
        tcp_flags: flag_names(flags.set, "").chain(flag_names(flags.clear, "!")).collect(),
        message_type: message_type.map(|number| word(MESSAGE_TYPES, u16::from(number))),
        payload: (!payload.is_empty()).then(|| payload_text(payload)),
    }
}

fn range_text(range: &RangeInclusive<u16>) -> String {
    if range.start() == range.end() { range.start().to_string() } else { format!("{}-{}", range.start(), range.end()) }
}

fn payload_text(payload: &[u8]) -> String {
    match std::str::from_utf8(payload) {
        Ok(text) if !text.starts_with("0x") && !text.contains(char::is_control) => text.to_owned(),
        _ => payload.iter().fold("0x".to_owned(), |text, byte| format!("{text}{byte:02x}")),
    }
}

#[cfg(test)]
mod tests {
    use wire::message::MessageType;

    use super::*;

    #[test]
    fn message_types_have_the_names_of_their_numbers() {
        for (name, number) in MESSAGE_TYPES {
            let message_type = MessageType::from(*number as u8);
            assert_eq!(format!("{message_type:?}").to_lowercase(), name.replace('-', ""));
        }
    }
}
