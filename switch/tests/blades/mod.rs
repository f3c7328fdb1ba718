//! Blades on a stage: the frames they send, and the whole switch on the virtual clock that they send them through.
//!
//! Each test program takes of this what it needs.
#![allow(dead_code)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bladeswitch::replay::Stage;
use control::config::Config;
use port::{Nanos, PortId};
use wire::ethernet::{self, EtherType, Tag};
use wire::message::{Final, Message, MessageType};
use wire::{MacAddr, Tci};

/// The switch blade's own address.
pub const SWITCH: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xfe]);
/// A station of the external network.
pub const OUTSIDE: MacAddr = MacAddr([2, 0, 0, 0, 9, 9]);
/// For configurations of tests that look at what the data plane sends and at nothing else.
pub const SILENT: &str = "identity = { advertise = false }\n";

/// MAC address of blade `n`.
pub fn blade(n: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, n])
}

/// IPv4 address of blade `n`.
pub fn ip(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 18, 0, n)
}

/// IPv6 address of blade `n`.
pub fn ip6(n: u8) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(n))
}

/// The port of slot `n` in a configuration whose slots are 1, 2, 3 …
pub fn slot(n: u8) -> PortId {
    PortId(n - 1)
}

/// A configuration with `count` blades in slots 1, 2, 3 …, with their addresses, and an uplink behind them; `head` comes first.
pub fn chassis(head: &str, count: u8) -> String {
    let blade = |n: u8| format!("[[blade]]\nslot = {n}\nmac = \"{}\"\nip = [\"{}\", \"{}\"]\n", blade(n), ip(n), ip6(n));
    format!("{head}\n{}[[uplink]]\n", (1..=count).map(blade).collect::<String>())
}

/// The switch of a configuration text.
pub fn stage(text: &str) -> Stage {
    let config = Config::parse(text, "test.toml").unwrap_or_else(|errors| panic!("{errors}\n{text}"));
    Stage::new(&config, 1).expect("memory for a packet pool")
}

/// An untagged frame.
pub fn frame(dst: MacAddr, src: MacAddr, ethertype: EtherType, payload: &[u8]) -> Vec<u8> {
    ethernet::emit(dst, src, &[], ethertype, payload)
}

/// A frame with these tags, outermost first: `(TPID, TCI)`.
pub fn tagged(dst: MacAddr, src: MacAddr, tags: &[(u16, u16)], ethertype: EtherType, payload: &[u8]) -> Vec<u8> {
    let tags: Vec<Tag> = tags.iter().map(|&(tpid, tci)| Tag { tpid: EtherType(tpid), tci: Tci(tci) }).collect();
    ethernet::emit(dst, src, &tags, ethertype, payload)
}

/// A frame of `len` bytes, told from others by `mark`, of a type the switch does not look into.
pub fn plain(dst: MacAddr, src: MacAddr, len: usize, mark: u8) -> Vec<u8> {
    frame(dst, src, EtherType(0x88b6), &vec![mark; len - 14])
}

/// A message of type Data with an opaque body.
pub fn message(initial: MacAddr, source: MacAddr, to: impl Into<Final>, body: &[u8]) -> Vec<u8> {
    typed(initial, source, to, MessageType::Data, body)
}

/// A message of any type.
pub fn typed(initial: MacAddr, source: MacAddr, to: impl Into<Final>, message_type: MessageType, body: &[u8]) -> Vec<u8> {
    let (final_destination, inner) = (to.into(), EtherType(0));
    let message = Message { initial_destination: initial, source, message_type, final_destination, inner, body };
    message.emit(&[]).expect("the body fits")
}

/// An IP packet without anything in it, between two addresses of one family.
pub fn ip_packet(src: IpAddr, dst: IpAddr) -> (EtherType, Vec<u8>) {
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let head = [0x45, 0, 0, 20, 0, 0, 0, 0, 64, 253, 0, 0];
            (EtherType::IPV4, [&head[..], &src.octets(), &dst.octets()].concat())
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let head = [0x60, 0, 0, 0, 0, 0, 59, 64];
            (EtherType::IPV6, [&head[..], &src.octets(), &dst.octets()].concat())
        }
        _ => panic!("{src} and {dst} are of two families"),
    }
}

/// What has come out, port by port, when nothing is on its way any more.
pub fn sent(stage: &mut Stage) -> Vec<(PortId, Vec<u8>)> {
    stage.finish();
    let mut sent: Vec<_> = stage.take_sent().into_iter().map(|departure| (departure.port, departure.bytes)).collect();
    sent.sort_by_key(|(port, _)| *port); // Stable: in the order of time on each port.
    sent
}

/// Each station of `stations` is heard once behind its port; what that floods is taken away.
pub fn teach(stage: &mut Stage, stations: &[(PortId, MacAddr)]) {
    for &(port, mac) in stations {
        stage.feed(port, [plain(MacAddr::BROADCAST, mac, 60, 0)]);
    }
    sent(stage);
}

/// Frames that `port` has dropped for the reason of this name.
pub fn drops(stage: &Stage, port: PortId, reason: &str) -> u64 {
    let name = &stage.switch.control.config().ports[port.index()].name;
    stage.counters().port[name].drops.get(reason).copied().unwrap_or(0)
}

/// Frames that all ports have dropped, for any reason.
pub fn dropped(stage: &Stage) -> u64 {
    stage.counters().port.values().flat_map(|port| port.drops.values()).sum()
}

/// The end of a test: every frame is accounted for, in all and for each port, and every buffer is back.
pub fn end(mut stage: Stage) {
    stage.finish();
    stage.switch.check_ledger().unwrap();
    stage.switch.flush_pools();
    assert_eq!(stage.switch.control.mempool().in_use(), 0, "buffers are lost");
}

/// Time of flight through a link: the last bit of a frame of `len` bytes, after its first could go. `bit_ps` is that of one bit.
pub fn on_the_wire(len: usize, bit_ps: u64) -> Nanos {
    Nanos(((8 + len + 4) as u64 * 8 * bit_ps).div_ceil(1000))
}
