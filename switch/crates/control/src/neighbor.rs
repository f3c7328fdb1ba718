//! The neighbor table as control keeps it: who has which IP address, since when, behind which port.
//!
//! Fed by the configuration (entries that do not age) and by ARP, neighbour discovery and DHCP (entries that do). An address set by
//! hand is never overwritten by what is heard. At the limit nothing further is learned; that is counted.

use std::collections::BTreeMap;
use std::net::IpAddr;

use dataplane::neighbor::Neighbors;
use port::{Nanos, PortId};
use wire::{MacAddr, Vid};

/// What is known of one IP address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbor {
    /// Who has it.
    pub mac: MacAddr,
    /// The port it was heard on, or its blade is configured on.
    pub port: Option<PortId>,
    /// When it was last heard; `None`: set by hand.
    pub seen: Option<Nanos>,
    /// It has called itself a router (RFC 4861 §4.4).
    pub router: bool,
    /// Nothing but DHCP has told of it so far.
    pub leased: bool,
}

/// What hearing an address changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Nothing but its age.
    Known,
    /// It is new, or has another MAC, or is behind another port, or was known from a lease only.
    Changed,
    /// It is set by hand to something else, or the table is full.
    Ignored,
}

/// The table.
#[derive(Debug)]
pub struct NeighborTable {
    entries: BTreeMap<(Vid, IpAddr), Neighbor>,
    limit: usize,
    ageing: Nanos,
    next_sweep: Nanos,
    /// Addresses not learned because the table was full.
    pub refused: u64,
}

impl NeighborTable {
    /// An empty table.
    pub fn new(limit: u32, ageing: Nanos) -> NeighborTable {
        NeighborTable { entries: BTreeMap::new(), limit: limit as usize, ageing, next_sweep: Nanos::ZERO, refused: 0 }
    }

    /// Sets an entry by hand.
    pub fn set(&mut self, vid: Vid, ip: IpAddr, mac: MacAddr, port: Option<PortId>) {
        self.entries.insert((vid, ip), Neighbor { mac, port, seen: None, router: false, leased: false });
    }

    /// Takes back what [`set`](Self::set) has set, if `ip` is still at `mac`.
    pub fn unset(&mut self, vid: Vid, ip: IpAddr, mac: MacAddr) {
        if self.entries.get(&(vid, ip)).is_some_and(|entry| entry.seen.is_none() && entry.mac == mac) {
            self.entries.remove(&(vid, ip));
        }
    }

    /// Another limit and ageing time. At a lower limit nothing is forgotten, and nothing learned until there is room.
    pub fn set_bounds(&mut self, limit: u32, ageing: Nanos) {
        (self.limit, self.ageing, self.next_sweep) = (limit as usize, ageing, Nanos::ZERO);
    }

    /// Forgets what was learned, but where `keep` says otherwise of VLAN, port and MAC address.
    pub fn keep_learned(&mut self, keep: impl Fn(Vid, PortId, MacAddr) -> bool) {
        self.entries.retain(|&(vid, _), entry| entry.seen.is_none() || entry.port.is_some_and(|port| keep(vid, port, entry.mac)));
    }

    /// `ip` was heard to be at `mac`, behind `port`.
    pub fn hear(&mut self, vid: Vid, ip: IpAddr, mac: MacAddr, port: PortId, router: bool, now: Nanos) -> Heard {
        let full = self.entries.len() >= self.limit;
        let heard = Neighbor { mac, port: Some(port), seen: Some(now), router, leased: false };
        match self.entries.get_mut(&(vid, ip)) {
            Some(entry) if entry.seen.is_none() => {
                // Set by hand: it stays. Its owner may still turn out to be a router.
                if entry.mac != mac {
                    return Heard::Ignored;
                }
                entry.router |= router;
                Heard::Known
            }
            Some(entry) => {
                let same = entry.mac == mac && entry.port == Some(port);
                let told_by_itself = !entry.leased;
                *entry = Neighbor { router: router || (same && entry.router), ..heard };
                if same && told_by_itself { Heard::Known } else { Heard::Changed }
            }
            None if full => {
                self.refused += 1;
                Heard::Ignored
            }
            None => {
                self.entries.insert((vid, ip), heard);
                Heard::Changed
            }
        }
    }

    /// `mac`, behind `port`, has asked for the lease of `ip`; `true` if that is new. It is believed only of an address that nobody has:
    /// the server may refuse it yet.
    pub fn hear_lease(&mut self, vid: Vid, ip: IpAddr, mac: MacAddr, port: PortId, now: Nanos) -> bool {
        if let Some(entry) = self.entries.get_mut(&(vid, ip)) {
            // Renewed: it lives on.
            if entry.mac == mac && entry.port == Some(port) && entry.seen.is_some() {
                entry.seen = Some(now);
            }
            return false;
        }
        if self.entries.len() >= self.limit {
            self.refused += 1;
            return false;
        }
        self.entries.insert((vid, ip), Neighbor { mac, port: Some(port), seen: Some(now), router: false, leased: true });
        true
    }

    /// A server has refused `mac` the address it asked for; `true` if it was believed to have one.
    pub fn refuse_lease(&mut self, vid: Vid, mac: MacAddr) -> bool {
        let before = self.entries.len();
        self.entries.retain(|&(in_vid, _), entry| in_vid != vid || entry.mac != mac || !entry.leased);
        self.entries.len() != before
    }

    /// Forgets what has not been heard for the ageing time; `true` if anything was. Looks only now and then.
    pub fn age(&mut self, now: Nanos) -> bool {
        if self.ageing == Nanos::ZERO || now < self.next_sweep {
            return false;
        }
        self.next_sweep = now + Nanos((self.ageing.0 / 16).max(1));
        let before = self.entries.len();
        let ageing = self.ageing;
        self.entries.retain(|_, entry| entry.seen.is_none_or(|seen| now.since(seen) <= ageing));
        self.entries.len() != before
    }

    /// `mac` says that it has `ip` no longer; `true` if it was learned to have it.
    pub fn forget(&mut self, vid: Vid, ip: IpAddr, mac: MacAddr) -> bool {
        let gone = self.entries.get(&(vid, ip)).is_some_and(|entry| entry.seen.is_some() && entry.mac == mac);
        gone && self.entries.remove(&(vid, ip)).is_some()
    }

    /// Forgets what was learned behind `port`; `true` if anything was.
    pub fn flush_port(&mut self, port: PortId) -> bool {
        self.flush_port_but(port, &[])
    }

    /// The same, but for what is at one of these addresses.
    pub fn flush_port_but(&mut self, port: PortId, macs: &[MacAddr]) -> bool {
        let before = self.entries.len();
        self.entries.retain(|_, entry| entry.seen.is_none() || entry.port != Some(port) || macs.contains(&entry.mac));
        self.entries.len() != before
    }

    /// Who has this address?
    pub fn get(&self, vid: Vid, ip: IpAddr) -> Option<&Neighbor> {
        self.entries.get(&(vid, ip))
    }

    /// All entries, by VLAN and address.
    pub fn iter(&self) -> impl Iterator<Item = (Vid, IpAddr, &Neighbor)> {
        self.entries.iter().map(|(&(vid, ip), neighbor)| (vid, ip, neighbor))
    }

    /// Entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Nobody is known.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The table as the data plane reads it.
    pub fn publish(&self) -> Neighbors {
        let mut neighbors = Neighbors::default();
        for (vid, ip, neighbor) in self.iter() {
            neighbors.insert(vid, ip, neighbor.mac);
        }
        neighbors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const B: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

    #[test]
    fn entries_age_move_and_are_limited() {
        let mut table = NeighborTable::new(2, Nanos::from_secs(10));
        let ip = |n: u8| IpAddr::from([198, 18, 0, n]);
        let (vid, port) = (Vid::DEFAULT, PortId(0));
        table.set(vid, ip(1), A, None);
        assert_eq!(table.hear(vid, ip(1), B, port, false, Nanos::ZERO), Heard::Ignored, "set by hand");
        assert_eq!(table.hear(vid, ip(2), A, port, false, Nanos::ZERO), Heard::Changed);
        assert_eq!(table.hear(vid, ip(2), A, port, false, Nanos::from_secs(1)), Heard::Known);
        assert_eq!(table.hear(vid, ip(2), B, port, false, Nanos::from_secs(2)), Heard::Changed);
        assert_eq!((table.hear(vid, ip(3), B, port, false, Nanos::ZERO), table.refused), (Heard::Ignored, 1), "full");
        assert!(!table.age(Nanos::from_secs(12)), "exactly the ageing time is not over it");
        assert!(table.age(Nanos::from_secs(13)));
        assert_eq!(table.len(), 1);
        assert_eq!(table.hear(vid, ip(3), B, port, true, Nanos::from_secs(13)), Heard::Changed);
        assert!(table.get(vid, ip(3)).unwrap().router);
        assert!(table.flush_port(port) && table.len() == 1);
    }
}
