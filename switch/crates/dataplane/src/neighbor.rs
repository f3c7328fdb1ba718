//! Who has which IP address, per VLAN: the neighbor table of ARP and neighbour discovery.
//!
//! Made by control from ARP, ND and static entries; the data plane only looks up. IPv4 addresses are also in lines of four, found by a
//! multiplication, so that a look-up is one line of the cache, which can be asked for a burst before it is needed. Half of the places are
//! free; what finds its line full is in the table alone. IPv6 addresses are in a table only.

use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hashbrown::HashMap;
use wire::{MacAddr, Vid};

/// An IPv4 address in a VLAN: the VID above its 32 bits.
pub(crate) type KeyV4 = u64;

/// Entries of a line.
const WAYS: usize = 4;
/// Lines at first.
const LINES_MIN: usize = 16;

/// Entries side by side, the first places first. Key 0 is none: there is no VID 0.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Line {
    keys: [KeyV4; WAYS],
    /// [Raw](MacAddr::raw).
    macs: [u64; WAYS],
}

const _: () = assert!(size_of::<Line>() == 64);

/// Lines of IPv4 neighbours; a power of two.
#[derive(Clone, Debug)]
struct Front {
    lines: Box<[Line]>,
    /// Secret and odd: nobody outside can choose addresses that crowd one line.
    multiplier: u64,
    shift: u32,
}

impl Front {
    fn new(lines: usize, multiplier: u64) -> Front {
        let lines = lines.next_power_of_two().max(LINES_MIN);
        Front { lines: vec![Line::default(); lines].into_boxed_slice(), multiplier: multiplier | 1, shift: 64 - lines.trailing_zeros() }
    }

    #[inline(always)]
    fn line_of(&self, key: KeyV4) -> usize {
        (key.wrapping_mul(self.multiplier) >> self.shift) as usize
    }

    /// Adds or replaces a key, if there is a place for it in its line.
    fn set(&mut self, key: KeyV4, mac: u64) {
        let line = self.line_of(key);
        let line = &mut self.lines[line];
        if let Some(way) = line.keys.iter().position(|&there| there == key || there == 0) {
            line.keys[way] = key;
            line.macs[way] = mac;
        }
    }
}

/// The neighbor table.
#[derive(Clone, Debug)]
pub struct Neighbors {
    v4: HashMap<KeyV4, MacAddr>,
    front: Front,
    v6: HashMap<(u16, u128), MacAddr>,
}

impl Default for Neighbors {
    fn default() -> Self {
        let v4: HashMap<KeyV4, MacAddr> = HashMap::default();
        let front = Front::new(LINES_MIN, v4.hasher().hash_one(LINES_MIN));
        Neighbors { v4, front, v6: HashMap::default() }
    }
}

impl Neighbors {
    /// Adds or replaces the address of `ip` in `vid`.
    pub fn insert(&mut self, vid: Vid, ip: IpAddr, mac: MacAddr) {
        match ip {
            IpAddr::V4(ip) => self.insert_v4(key_v4(vid.get(), ip.to_bits()), mac),
            IpAddr::V6(ip) => {
                self.v6.insert((vid.get(), ip.to_bits()), mac);
            }
        }
    }

    fn insert_v4(&mut self, key: KeyV4, mac: MacAddr) {
        self.v4.insert(key, mac);
        if self.v4.len() * 2 > self.front.lines.len() * WAYS {
            self.front = Front::new(self.front.lines.len() * 2, self.front.multiplier);
            self.v4.iter().for_each(|(&key, mac)| self.front.set(key, mac.raw()));
        } else {
            self.front.set(key, mac.raw());
        }
    }

    /// Asks for the line of an IPv4 address ahead of its use.
    #[inline(always)]
    pub(crate) fn prefetch_v4(&self, key: KeyV4) {
        if let Some(line) = self.front.lines.get(self.front.line_of(key)) {
            port::mempool::prefetch(line);
        }
    }

    /// Who has this IPv4 address? In [raw](MacAddr::raw) form; 0 is nobody.
    #[inline(always)]
    pub(crate) fn raw_v4(&self, key: KeyV4) -> u64 {
        let Some(line) = self.front.lines.get(self.front.line_of(key)) else { return 0 };
        // Which place it has, nobody could foretell: no branches.
        let mac = (0..WAYS).fold(0, |mac, way| if line.keys[way] == key { line.macs[way] } else { mac });
        if mac == 0 && line.keys[WAYS - 1] != 0 { self.beside_front(key) } else { mac }
    }

    /// Its line is full.
    #[cold]
    fn beside_front(&self, key: KeyV4) -> u64 {
        self.v4.get(&key).map_or(0, |mac| mac.raw())
    }

    /// Who has this IPv4 address in `vid`?
    #[inline]
    pub fn v4(&self, vid: Vid, ip: Ipv4Addr) -> Option<MacAddr> {
        self.v4.get(&key_v4(vid.get(), ip.to_bits())).copied()
    }

    /// Who has this IPv6 address in `vid`?
    #[inline]
    pub fn v6(&self, vid: Vid, ip: Ipv6Addr) -> Option<MacAddr> {
        self.v6.get(&(vid.get(), ip.to_bits())).copied()
    }

    /// Who has this address in `vid`?
    pub fn get(&self, vid: Vid, ip: IpAddr) -> Option<MacAddr> {
        match ip {
            IpAddr::V4(ip) => self.v4(vid, ip),
            IpAddr::V6(ip) => self.v6(vid, ip),
        }
    }

    /// Entries in all.
    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// Nobody is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The key of an IPv4 address in a VLAN.
#[inline(always)]
pub(crate) fn key_v4(vid: u16, ip: u32) -> KeyV4 {
    u64::from(vid) << 32 | u64::from(ip)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn crowded_lines_lose_nobody() {
        // Every key in one line: all but four are found in the table.
        let mut neighbors = Neighbors { front: Front::new(LINES_MIN, 1), ..Neighbors::default() };
        let vid = Vid::new(7).unwrap();
        for n in 0..20u8 {
            neighbors.insert(vid, Ipv4Addr::new(10, 0, 0, n).into(), MacAddr([2, 0, 0, 0, 0, n]));
        }
        for n in 0..20u8 {
            let (key, mac) = (key_v4(7, u32::from_be_bytes([10, 0, 0, n])), MacAddr([2, 0, 0, 0, 0, n]));
            assert_eq!(neighbors.raw_v4(key), mac.raw());
        }
        assert_eq!(neighbors.raw_v4(key_v4(7, u32::from_be_bytes([10, 0, 0, 20]))), 0);
        assert_eq!(neighbors.raw_v4(key_v4(8, u32::from_be_bytes([10, 0, 0, 1]))), 0);
    }

    proptest! {
        /// Lines and table say the same, whatever was added and replaced.
        #[test]
        fn lines_are_the_table(entries in prop::collection::vec((1..4u16, 0..300u32, 1..9u8), 0..600)) {
            let mut neighbors = Neighbors::default();
            for (vid, ip, n) in entries {
                neighbors.insert(Vid::new(vid).unwrap(), Ipv4Addr::from_bits(ip).into(), MacAddr([2, 0, 0, 0, 0, n]));
            }
            for vid in 1..5u16 {
                for ip in 0..310u32 {
                    let known = neighbors.v4(Vid::new(vid).unwrap(), Ipv4Addr::from_bits(ip));
                    prop_assert_eq!(neighbors.raw_v4(key_v4(vid, ip)), known.map_or(0, |mac| mac.raw()));
                }
            }
        }
    }
}
