//! Changing frames on their way out, once, before the run: MAC and IP addresses, VLAN tags, ports, lengths, checksums.
//!
//! [`layers`] finds the fields, [`checksum`] keeps their sums right, [`args`] is what can be typed. The edits of a frame happen in
//! the order of the fields of [`Edits`]. A checksum that was right stays right; one that was wrong stays wrong by as much,
//! unless it is repaired. Addresses in ARP packets are mapped with the others.
//!
//! What a seed does is a permutation: different addresses stay different, and one seed gives the same addresses every time.

pub mod args;
pub mod checksum;
pub mod layers;

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::str::FromStr;

use wire::MacAddr;

use crate::replay::Frame;
use crate::replay::select::Cidr;
use checksum::{Covers, repair, replace};
use layers::{Ip, Layers, TAG_TYPES, Version};

/// What to do with frames of which the capture kept only a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum FixLen {
    /// Zeros up to the length they had
    Pad,
    /// The IP header is made to tell the length there is
    Trunc,
    /// They are left out
    Del,
}

/// What to do with the outer VLAN tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vlan {
    /// Puts a tag in front of those there are.
    Push {
        /// EtherType of the tag.
        tpid: u16,
        /// Priority, drop eligible indicator, VID.
        tci: u16,
    },
    /// Takes the outer tag off, if there is one.
    Pop,
    /// Changes the VID of the outer tag, if there is one.
    Set {
        /// The VID.
        vid: u16,
        /// The priority, if that is to change too.
        pcp: Option<u8>,
    },
}

impl FromStr for Vlan {
    type Err = String;

    /// `push=100`, `push=100,pcp=3,type=88a8`, `pop`, `set=7`, `set=7,pcp=0`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong =
            || format!("`{text}`: expected push=VID[,pcp=0-7][,type=8100|88a8|9100], set=VID[,pcp=0-7] or pop; VIDs from 0 to 4095");
        let (mut vid, mut set, mut pcp, mut tpid) = (None, false, None, None);
        for part in text.split(',') {
            match part.split_once('=') {
                None if part == "pop" && text == "pop" => return Ok(Vlan::Pop),
                Some((what @ ("push" | "set"), value)) if vid.is_none() => {
                    set = what == "set";
                    vid = Some(value.parse().ok().filter(|vid| *vid <= 4095u16).ok_or_else(wrong)?);
                }
                Some(("pcp", value)) if pcp.is_none() => pcp = Some(value.parse().ok().filter(|pcp| *pcp <= 7u8).ok_or_else(wrong)?),
                Some(("type", value)) if tpid.is_none() => {
                    tpid = Some(u16::from_str_radix(value, 16).ok().filter(|tpid| TAG_TYPES.contains(tpid)).ok_or_else(wrong)?);
                }
                _ => return Err(wrong()),
            }
        }
        match (vid, set, tpid) {
            (Some(vid), true, None) => Ok(Vlan::Set { vid, pcp }),
            (Some(vid), false, tpid) => Ok(Vlan::Push { tpid: tpid.unwrap_or(0x8100), tci: u16::from(pcp.unwrap_or(0)) << 13 | vid }),
            _ => Err(wrong()),
        }
    }
}

/// One network's addresses become another's: the bits behind the new prefix stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpMap {
    /// Which addresses.
    pub from: Cidr,
    /// Where to.
    pub to: Cidr,
}

impl FromStr for IpMap {
    type Err = String;

    /// `10.0.0.0/8=172.16.0.0/12`; for IPv4 also with a colon, for IPv6 also `[…]:[…]`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("`{text}`: expected two networks of one kind, such as 10.0.0.0/8=172.16.0.0/12 or 2001:db8::/32=fd00::/32");
        let brackets = || text.strip_prefix('[')?.strip_suffix(']')?.split_once("]:[");
        let (from, to) = text.split_once('=').or_else(brackets).or_else(|| text.split_once(':')).ok_or_else(wrong)?;
        let (from, to): (Cidr, Cidr) = (from.parse()?, to.parse()?);
        if from.address.is_ipv4() == to.address.is_ipv4() { Ok(IpMap { from, to }) } else { Err(wrong()) }
    }
}

impl IpMap {
    fn map(&self, address: IpAddr) -> Option<IpAddr> {
        if !self.from.contains(address) {
            return None;
        }
        match (address, self.to.address) {
            (IpAddr::V4(old), IpAddr::V4(to)) => {
                let host = u32::MAX.checked_shr(self.to.prefix.into()).unwrap_or(0);
                Some(std::net::Ipv4Addr::from_bits(to.to_bits() & !host | old.to_bits() & host).into())
            }
            (IpAddr::V6(old), IpAddr::V6(to)) => {
                let host = u128::MAX.checked_shr(self.to.prefix.into()).unwrap_or(0);
                Some(std::net::Ipv6Addr::from_bits(to.to_bits() & !host | old.to_bits() & host).into())
            }
            _ => None,
        }
    }
}

/// What becomes of the TTL (hop limit).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ttl {
    /// This.
    Set(u8),
    /// So many more, 255 at most.
    Up(u8),
    /// So many less, 1 at least.
    Down(u8),
}

impl FromStr for Ttl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |text: &str| text.parse().map_err(|_| format!("`{text}`: expected a TTL from 0 to 255, or +N, or -N"));
        match text.as_bytes().first() {
            Some(b'+') => number(&text[1..]).map(Ttl::Up),
            Some(b'-') => number(&text[1..]).map(Ttl::Down),
            _ => number(text).map(Ttl::Set),
        }
    }
}

/// All that changes.
#[derive(Clone, Debug, Default)]
pub struct Edits {
    /// What becomes of frames the capture cut short.
    pub fix_len: Option<FixLen>,
    /// The last 4 bytes are an FCS that the capture has kept: off with them.
    pub strip_fcs: bool,
    /// Longer frames are cut to so many bytes.
    pub truncate: Option<usize>,
    /// Destination addresses by port; the last one for all further ports.
    pub dst_macs: Vec<MacAddr>,
    /// Source addresses by port; the last one for all further ports.
    pub src_macs: Vec<MacAddr>,
    /// These addresses become those, as destination, source and in ARP.
    pub mac_map: Vec<(MacAddr, MacAddr)>,
    /// Addresses of stations become others of the same manufacturer.
    pub mac_seed: Option<u64>,
    /// The outer tag.
    pub vlan: Vec<Vlan>,
    /// Source addresses of these networks.
    pub src_ip_map: Vec<IpMap>,
    /// Destination addresses of these networks.
    pub dst_ip_map: Vec<IpMap>,
    /// IP addresses become others that begin alike (8 bits of IPv4, 96 of IPv6).
    pub ip_seed: Option<u64>,
    /// TCP and UDP ports, both ways.
    pub port_map: Vec<(u16, u16)>,
    /// TTL or hop limit.
    pub ttl: Option<Ttl>,
    /// Type of service or traffic class.
    pub tos: Option<u8>,
    /// Shorter frames get zeros up to so many bytes.
    pub pad: Option<usize>,
    /// Checksums of IPv4, TCP, UDP and ICMP are made anew.
    pub fix_checksums: bool,
}

impl Edits {
    /// Changes frames, and leaves out those that are to be.
    pub fn apply(&self, frames: &mut Vec<Frame>) {
        if self.fix_len == Some(FixLen::Del) {
            frames.retain(|frame| !frame.is_snapped());
        }
        for frame in frames {
            let mut bytes = frame.bytes.to_vec();
            let original_len = frame.original_len as usize;
            let snapped = frame.is_snapped();
            self.edit(&mut bytes, frame.port, original_len, snapped);
            if bytes[..] != frame.bytes[..] {
                frame.bytes = bytes.into();
                if self.fix_len.is_some() || !snapped {
                    frame.original_len = frame.bytes.len() as u32;
                }
            }
        }
    }

    /// Changes one frame of `port`, which had `original_len` bytes when it was captured.
    pub fn edit(&self, bytes: &mut Vec<u8>, port: usize, original_len: usize, snapped: bool) {
        match self.fix_len.filter(|_| snapped) {
            Some(FixLen::Pad) => bytes.resize(original_len.min(crate::replay::load::FRAME_LEN_MAX), 0),
            Some(FixLen::Trunc) => shorten_ip(bytes),
            Some(FixLen::Del) | None => {}
        }
        if self.strip_fcs {
            bytes.truncate(bytes.len().saturating_sub(4));
        }
        if let Some(len) = self.truncate {
            bytes.truncate(len);
        }
        self.edit_macs(bytes, port);
        for vlan in &self.vlan {
            edit_vlan(bytes, *vlan);
        }
        self.edit_ip(bytes);
        self.edit_l4_ports(bytes);
        self.edit_ttl_and_tos(bytes);
        if let Some(len) = self.pad {
            bytes.resize(bytes.len().max(len), 0);
        }
        if self.fix_checksums {
            repair(bytes);
        }
    }

    fn edit_macs(&self, bytes: &mut [u8], port: usize) {
        let of_port = |macs: &[MacAddr]| macs.get(port).or(macs.last()).copied();
        for (at, mac) in [(0, of_port(&self.dst_macs)), (6, of_port(&self.src_macs))] {
            if let (Some(mac), Some(place)) = (mac, bytes.get_mut(at..at + 6)) {
                place.copy_from_slice(&mac.0);
            }
        }
        if self.mac_map.is_empty() && self.mac_seed.is_none() {
            return;
        }
        let arp = arp_at(bytes).map_or([None; 2], |at| [Some(at + 8), Some(at + 18)]);
        for at in [Some(0), Some(6)].into_iter().chain(arp).flatten() {
            let Some(place) = bytes.get_mut(at..at + 6) else { continue };
            if let Some((_, new)) = self.mac_map.iter().find(|(old, _)| old.0 == *place) {
                place.copy_from_slice(&new.0);
            } else if let Some(seed) = self.mac_seed.filter(|_| place[0] & 1 == 0 && place.iter().any(|byte| *byte != 0)) {
                let low = u32::from_be_bytes([0, place[3], place[4], place[5]]);
                place[3..6].copy_from_slice(&permute(low, 24, seed).to_be_bytes()[1..]);
            }
        }
    }

    fn new_ip(&self, address: IpAddr, map: &[IpMap]) -> Option<IpAddr> {
        let mapped = map.iter().find_map(|map| map.map(address));
        let Some(seed) = self.ip_seed else { return mapped };
        let address = mapped.unwrap_or(address);
        // Groups and addresses that mean something stay.
        if address.is_multicast() || address.is_unspecified() || address.is_loopback() {
            return mapped;
        }
        Some(match address {
            IpAddr::V4(old) if old.is_broadcast() => old.into(),
            IpAddr::V4(old) => {
                let bits = old.to_bits();
                std::net::Ipv4Addr::from_bits(bits & 0xff00_0000 | permute(bits & 0x00ff_ffff, 24, seed)).into()
            }
            IpAddr::V6(old) => {
                let bits = old.to_bits();
                std::net::Ipv6Addr::from_bits(bits & !0xffff_ffff | u128::from(permute(bits as u32, 32, seed))).into()
            }
        })
    }

    fn edit_ip(&self, bytes: &mut [u8]) {
        if self.src_ip_map.is_empty() && self.dst_ip_map.is_empty() && self.ip_seed.is_none() {
            return;
        }
        let maps = [&self.src_ip_map, &self.dst_ip_map];
        if let Some(arp) = arp_at(bytes) {
            for (at, map) in [arp + 14, arp + 24].into_iter().zip(maps) {
                let old = bytes.get(at..).and_then(|bytes| bytes.first_chunk::<4>()).map(|octets| IpAddr::from(*octets));
                if let Some(IpAddr::V4(new)) = old.and_then(|old| self.new_ip(old, map)) {
                    bytes[at..at + 4].copy_from_slice(&new.octets());
                }
            }
            return;
        }
        let Some(layers) = Layers::of(bytes) else { return };
        let (Some(ranges), Some(addresses)) = (layers.address_ranges(), layers.addresses(bytes)) else { return };
        for ((range, address), map) in ranges.into_iter().zip(addresses).zip(maps) {
            match self.new_ip(address, map) {
                Some(IpAddr::V4(new)) => replace(bytes, &layers, range.start, &new.octets(), Covers::Both),
                Some(IpAddr::V6(new)) => replace(bytes, &layers, range.start, &new.octets(), Covers::Both),
                None => {}
            }
        }
    }

    fn edit_l4_ports(&self, bytes: &mut [u8]) {
        let Some(layers) = Layers::of(bytes).filter(|_| !self.port_map.is_empty()) else { return };
        let Some(l4) = layers.l4.filter(|l4| l4.protocol == 6 || l4.protocol == 17) else { return };
        for at in [l4.at, l4.at + 2] {
            let Some(old) = bytes.get(at..).and_then(|bytes| bytes.first_chunk::<2>()).map(|port| u16::from_be_bytes(*port)) else {
                continue;
            };
            if let Some((_, new)) = self.port_map.iter().find(|(from, _)| *from == old) {
                replace(bytes, &layers, at, &new.to_be_bytes(), Covers::L4);
            }
        }
    }

    fn edit_ttl_and_tos(&self, bytes: &mut [u8]) {
        let Some(layers) = Layers::of(bytes).filter(|_| self.ttl.is_some() || self.tos.is_some()) else { return };
        let Some(Ip { version, at, .. }) = layers.ip else { return };
        if let Some(ttl) = self.ttl {
            let field = at + if version == Version::V4 { 8 } else { 7 };
            let new = match ttl {
                Ttl::Set(new) => new,
                Ttl::Up(more) => bytes[field].saturating_add(more),
                Ttl::Down(less) => bytes[field].saturating_sub(less).max(1),
            };
            match version {
                Version::V4 => replace(bytes, &layers, field, &[new], Covers::Ip),
                Version::V6 => bytes[field] = new,
            }
        }
        match (self.tos, version) {
            (Some(tos), Version::V4) => replace(bytes, &layers, at + 1, &[tos], Covers::Ip),
            (Some(class), Version::V6) => {
                bytes[at] = bytes[at] & 0xf0 | class >> 4;
                bytes[at + 1] = bytes[at + 1] & 0x0f | class << 4;
            }
            (None, _) => {}
        }
    }
}

/// Where an ARP packet for IPv4 over Ethernet begins, if the frame has a whole one.
fn arp_at(bytes: &[u8]) -> Option<usize> {
    let layers = Layers::of(bytes).filter(|layers| layers.ethertype == 0x0806)?;
    let at = 14 + 4 * layers.tags;
    bytes.get(at..at + 28).filter(|arp| arp[..6] == [0, 1, 8, 0, 6, 4]).map(|_| at)
}

fn edit_vlan(bytes: &mut Vec<u8>, vlan: Vlan) {
    let tagged = Layers::of(bytes).is_some_and(|layers| layers.tags > 0);
    match vlan {
        Vlan::Push { tpid, tci } if bytes.len() >= 14 => {
            let [a, b] = tpid.to_be_bytes();
            let [c, d] = tci.to_be_bytes();
            bytes.splice(12..12, [a, b, c, d]);
        }
        Vlan::Pop if tagged => drop(bytes.drain(12..16)),
        Vlan::Set { vid, pcp } if tagged => {
            let old = u16::from_be_bytes([bytes[14], bytes[15]]);
            let priority = pcp.map_or(old & 0xf000, |pcp| u16::from(pcp) << 13 | old & 0x1000);
            bytes[14..16].copy_from_slice(&(priority | vid).to_be_bytes());
        }
        Vlan::Push { .. } | Vlan::Pop | Vlan::Set { .. } => {}
    }
}

/// Makes the IP header tell the length there is.
fn shorten_ip(bytes: &mut [u8]) {
    let Some(layers) = Layers::of(bytes) else { return };
    let Some(ip) = layers.ip.filter(|ip| ip.end > bytes.len()) else { return };
    let len = bytes.len() - ip.at;
    match ip.version {
        Version::V4 => replace(bytes, &layers, ip.at + 2, &(len as u16).to_be_bytes(), Covers::Ip),
        Version::V6 => bytes[ip.at + 4..ip.at + 6].copy_from_slice(&((len - 40) as u16).to_be_bytes()),
    }
    repair(bytes);
}

/// A permutation of the numbers below 2^`bits` (even, up to 32) that the seed chooses: a Feistel network of four rounds.
pub fn permute(value: u32, bits: u32, seed: u64) -> u32 {
    let half = bits / 2;
    let mask = (1u32 << half) - 1;
    let (mut left, mut right) = (value >> half & mask, value & mask);
    for round in 0..4 {
        // The finalizer of SplitMix64 (Steele, Lea, Flood, 2014).
        let mut mixed = (u64::from(right) << 8 | round).wrapping_add(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        (left, right) = (right, left ^ mixed as u32 & mask);
    }
    left << half | right
}
