//! Control and the blades of other chassis: what the other switch blades tell of them becomes neighbours, addresses in the FDB and identities; what
//! is known of the own ones is told.
//!
//! Addresses of other chassis are in the FDB as if they had just been heard by the trunk that leads there, and those of this one as if they had been heard
//! by their ports, so that nothing is flooded for them. They are put there again and again while the chassis tells of them, and give way
//! to what is heard elsewhere. What this chassis knows by itself counts before what it is told.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use dataplane::event::Command;
use dataplane::fdb::{self, Key};
use dataplane::neighbor::Neighbors;
use port::{LinkState, Nanos, PortId};
use wire::message::Name;
use wire::{MacAddr, Vid};

use super::Control;
use crate::config::steering::WEIGHT_MAX;
use crate::config::{PortConfig, Role};
use crate::identity::{BladeIdentity, Source, is_host, is_station};
use crate::joined::roster::{FunctionRecord, IpRecord, MacRecord, Roster};
use crate::steering::{BladeState, Elsewhere};

/// After a roster was told: how long to wait before it is told again, if it has changed.
const ROSTER_DELAY: Nanos = Nanos::from_millis(20);

/// What is known of other chassis.
#[derive(Debug, Default)]
pub(super) struct Across {
    /// What there is to tell of this chassis may have changed.
    pub(super) roster_stale: bool,
    told_at: Option<Nanos>,
    /// Who has an address: its MAC, by VLAN and address.
    neighbors: BTreeMap<(Vid, IpAddr), MacAddr>,
    /// Addresses that the workers were told to learn, and the trunks.
    learned: BTreeMap<Key, PortId>,
    learned_at: Nanos,
}

impl Control {
    /// When there is something to do that nobody asks for.
    pub(super) fn across_timeout(&self) -> Option<Nanos> {
        self.joined.as_ref()?;
        let tell = self.across.roster_stale.then(|| self.across.told_at.map_or(Nanos::ZERO, |told| told + ROSTER_DELAY));
        let again = self.learn_again_after().filter(|_| !self.across.learned.is_empty()).map(|after| self.across.learned_at + after);
        tell.into_iter().chain(again).min()
    }

    /// Addresses are learned again before they age.
    fn learn_again_after(&self) -> Option<Nanos> {
        Some(Nanos::from_millis(self.config.fdb.ageing_ms / 4)).filter(|after| *after > Nanos::ZERO)
    }

    /// Tells the other chassis what is new of this one, but not too often.
    pub(super) fn tell_roster(&mut self) {
        let due = self.across.told_at.is_none_or(|told| told + ROSTER_DELAY <= self.now);
        if self.joined.is_none() || !self.across.roster_stale || !due {
            return;
        }
        (self.across.roster_stale, self.across.told_at) = (false, Some(self.now));
        let roster = self.own_roster();
        if let Some(joined) = &mut self.joined {
            joined.set_own(self.now, roster);
            self.remember_others(false);
        }
    }

    /// What there is to tell of the blades of this chassis.
    fn own_roster(&self) -> Roster {
        let config = &self.config;
        let (mut macs, mut ips) = (BTreeMap::new(), BTreeMap::new());
        let mut mac = |slot: u16, source: Source, vid: Vid, mac: MacAddr| {
            if is_station(mac, config) {
                macs.entry((slot, vid, mac)).or_insert(source);
            }
        };
        for (index, port) in config.ports.iter().enumerate() {
            let vid = port.vlan.untagged().or_else(|| port.vlan.vids().iter().next());
            // The slot of whoever has the identity: a standby blade may.
            let holder = &config.ports[self.holder(PortId(index as u8)).index()];
            if let (Role::Blade { macs, .. }, Role::Blade { slot, .. }, Some(vid)) = (&port.role, &holder.role, vid) {
                macs.iter().for_each(|&own| mac(*slot, Source::Config, vid, own));
            }
        }
        for (slot, agent) in self.agents.blades().filter(|(_, agent)| !agent.silent) {
            agent.hello.macs.iter().chain([&agent.mac]).for_each(|&own| mac(slot, Source::Hello, agent.vid, own));
        }
        for (vid, ip, neighbor) in self.neighbors.iter() {
            let slot = neighbor.port.and_then(|port| match config.ports[port.index()].role {
                Role::Blade { slot, .. } => Some(slot),
                Role::Uplink => None,
            });
            if let Some(slot) = slot.filter(|_| is_host(ip)) {
                // As the identities of this chassis have it; a blade may have told of addresses in VLANs of which the identity knows nothing.
                let known = self.identities.iter().find(|(at, _)| *at == slot).and_then(|(_, blade)| blade.ips.get(&ip).copied());
                let source = known.unwrap_or(if ip.is_ipv4() { Source::Arp } else { Source::Nd });
                mac(slot, source, vid, neighbor.mac);
                ips.insert((slot, vid, ip), (source, neighbor.mac));
            }
        }
        Roster {
            functions: self.own_functions(),
            macs: macs.into_iter().map(|((slot, vid, mac), source)| MacRecord { slot, source, vid, mac }).collect(),
            ips: ips.into_iter().map(|((slot, vid, ip), (source, mac))| IpRecord { slot, source, vid, mac, ip }).collect(),
        }
    }

    /// The blades of this chassis that can take frames of a function: of those that are configured, and of those that agents announce.
    fn own_functions(&self) -> Vec<FunctionRecord> {
        let slot_of = |port: PortId| match self.config.port(port)?.role {
            Role::Blade { slot, .. } => Some(slot),
            Role::Uplink => None,
        };
        let mut records = Vec::new();
        for (index, function) in self.config.functions.iter().enumerate() {
            let Some(name) = Name::new(&function.name) else { continue };
            for blade in self.functions.blades(index).iter().filter(|blade| blade.elsewhere.is_none() && blade.mac != 0) {
                let keeps = match blade.state {
                    BladeState::Up | BladeState::Drain => true,
                    BladeState::Ready => !function.preempt,
                    BladeState::Down | BladeState::Silent | BladeState::Failing => false,
                };
                let Some(slot) = slot_of(blade.port).filter(|_| keeps) else { continue };
                let takes_new = blade.state == BladeState::Up;
                let (weight, mac) = (blade.weight.min(WEIGHT_MAX) as u8, MacAddr::from_raw(blade.mac));
                records.push(FunctionRecord { slot, takes_new, weight, mac, function: name.clone() });
            }
        }
        let configured = |name: &Name| self.config.functions.iter().any(|function| function.name == name.as_str());
        for (slot, agent) in self.agents.blades().filter(|(_, agent)| !agent.silent) {
            for function in agent.hello.functions.iter().filter(|name| !configured(name)) {
                records.push(FunctionRecord { slot, takes_new: true, weight: 1, mac: agent.mac, function: function.clone() });
            }
        }
        records
    }

    /// Other chassis have come or gone, or tell something else.
    pub(super) fn hear_rosters(&mut self) {
        let Some(joined) = &self.joined else { return };
        let ports = joined.ports();
        let mut neighbors: BTreeMap<(Vid, IpAddr), MacAddr> = BTreeMap::new();
        let mut others: BTreeMap<(u16, u16), (BladeIdentity, PortId)> = BTreeMap::new();
        let mut elsewhere = Vec::new();
        for known in joined.exchange().known() {
            let port = ports[known.trunk];
            elsewhere.extend(known.roster.functions.iter().filter(|record| is_station(record.mac, &self.config)).map(|record| Elsewhere {
                function: record.function.to_string(),
                chassis: known.chassis,
                slot: record.slot,
                trunk: port,
                mac: record.mac,
                weight: u32::from(record.weight),
                takes_new: record.takes_new,
            }));
            let blade = |slot: u16| ((known.chassis, slot), (BladeIdentity::default(), port));
            for record in known.roster.macs.iter().filter(|record| is_station(record.mac, &self.config)) {
                let (place, new) = blade(record.slot);
                others.entry(place).or_insert(new).0.macs.entry(record.mac).or_insert(record.source);
            }
            for record in known.roster.ips.iter().filter(|record| is_station(record.mac, &self.config)) {
                let (place, new) = blade(record.slot);
                others.entry(place).or_insert(new).0.ips.entry(record.ip).or_insert(record.source);
                neighbors.entry((record.vid, record.ip)).or_insert(record.mac);
            }
        }
        // Who is gone is not to be found under the address that he was heard to have, either.
        let gone: Vec<_> =
            self.across.neighbors.iter().filter(|(at, mac)| neighbors.get(at) != Some(mac)).map(|(&at, &mac)| (at, mac)).collect();
        for ((vid, ip), mac) in gone {
            if self.neighbors.get(vid, ip).and_then(|entry| entry.port).is_some_and(|port| ports.contains(&port)) {
                self.neighbors.forget(vid, ip, mac);
            }
        }
        self.across.neighbors = neighbors;
        self.functions.set_elsewhere(elsewhere);
        self.stale = true;
        if self.identities.set_others(others) && self.config.identity.advertise && self.advertise_at.is_none() {
            self.advertise_at = Some(self.now + super::ADVERTISE_DELAY);
        }
    }

    /// Who has an address, in this chassis or another, and whether it is a router.
    pub(super) fn neighbor_anywhere(&self, vid: Vid, ip: IpAddr) -> Option<(MacAddr, bool)> {
        let own = self.neighbors.get(vid, ip).map(|neighbor| (neighbor.mac, neighbor.router));
        own.or_else(|| self.across.neighbors.get(&(vid, ip)).map(|&mac| (mac, false)))
    }

    /// The neighbours of this chassis and of the others, as the data plane reads them.
    pub(super) fn neighbors_with_others(&self) -> Neighbors {
        let mut neighbors = self.neighbors.publish();
        for (&(vid, ip), &mac) in &self.across.neighbors {
            if self.neighbors.get(vid, ip).is_none() {
                neighbors.insert(vid, ip, mac);
            }
        }
        neighbors
    }

    /// Has the workers know what other chassis tell, and forget what they do not tell any more. `flushed`: they were told to forget what is
    /// behind trunks.
    pub(super) fn remember_others(&mut self, flushed: bool) {
        let Some(joined) = &self.joined else { return };
        let ports = joined.ports();
        // Own blades as well: what comes for one that has not spoken yet must not be sent on to other chassis.
        let mut learned: BTreeMap<Key, PortId> = BTreeMap::new();
        let mut own: BTreeSet<Key> = BTreeSet::new();
        for record in &joined.exchange().own().macs {
            let is_it = |port: &PortConfig| matches!(port.role, Role::Blade { slot, .. } if slot == record.slot);
            let Some(index) = self.config.ports.iter().position(is_it) else { continue };
            let key = fdb::key(record.vid, record.mac);
            own.insert(key);
            if self.links[index] == LinkState::Up && self.config.ports[index].enabled {
                learned.insert(key, PortId(index as u8));
            }
        }
        for known in joined.exchange().known() {
            for record in known.roster.macs.iter().filter(|record| is_station(record.mac, &self.config)) {
                let key = fdb::key(record.vid, record.mac);
                let port = ports[known.trunk];
                if !own.contains(&key) && self.config.ports[port.index()].vlan.contains(record.vid) {
                    learned.entry(key).or_insert(port);
                }
            }
        }
        let before = std::mem::take(&mut self.across.learned);
        for (&key, &port) in before.iter().filter(|(key, port)| learned.get(key) != Some(port)) {
            self.order_all(|| Command::Forget { key, port });
        }
        for (&key, &port) in learned.iter().filter(|(key, port)| flushed || before.get(key) != Some(port)) {
            self.order_all(|| Command::Remember { key, port });
        }
        self.across.learned = learned;
        if flushed {
            self.across.learned_at = self.now;
        }
        self.send_orders();
    }

    /// What is known of other chassis must not age while they tell of it; returns how much there was to do.
    pub(super) fn remember_others_again(&mut self) -> usize {
        let due = self.learn_again_after().is_some_and(|after| self.across.learned_at + after <= self.now);
        if !due {
            return 0;
        }
        self.across.learned_at = self.now;
        let learned: Vec<(Key, PortId)> = self.across.learned.iter().map(|(&key, &port)| (key, port)).collect();
        for &(key, port) in &learned {
            self.order_all(|| Command::Remember { key, port });
        }
        self.send_orders();
        learned.len()
    }
}
