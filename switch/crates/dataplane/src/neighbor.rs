//! Who has which IP address, per VLAN: the neighbor table of ARP and neighbour discovery.
//!
//! Made by control from ARP, ND and static entries; the data plane only looks up. Keys are small numbers, so that a look-up is
//! one hash and one line.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hashbrown::HashMap;
use wire::{MacAddr, Vid};

/// The neighbor table.
#[derive(Clone, Debug, Default)]
pub struct Neighbors {
    /// By VID above the 32 bits of the address.
    v4: HashMap<u64, MacAddr>,
    v6: HashMap<(u16, u128), MacAddr>,
}

impl Neighbors {
    /// Adds or replaces the address of `ip` in `vid`.
    pub fn insert(&mut self, vid: Vid, ip: IpAddr, mac: MacAddr) {
        match ip {
            IpAddr::V4(ip) => self.v4.insert(key_v4(vid, ip), mac),
            IpAddr::V6(ip) => self.v6.insert((vid.get(), ip.to_bits()), mac),
        };
    }

    /// Who has this IPv4 address in `vid`?
    #[inline]
    pub fn v4(&self, vid: Vid, ip: Ipv4Addr) -> Option<MacAddr> {
        self.v4.get(&key_v4(vid, ip)).copied()
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

#[inline(always)]
fn key_v4(vid: Vid, ip: Ipv4Addr) -> u64 {
    u64::from(vid.get()) << 32 | u64::from(ip.to_bits())
}
