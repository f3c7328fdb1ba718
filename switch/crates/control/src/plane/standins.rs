//! Standby blades for identities (paragraphs 57 and 58 of the patent document): when the blade in a bay is lost, its addresses are those of another.
//!
//! A blade whose bay names a `standby` is *pinned*: its configured MAC addresses are entries of the FDB that are not learned, in every VLAN of
//! its port. When it is lost (its link, its port switched off, no hellos, or a probe that fails) and its standby is well, the
//! pins lead to the standby's port, and its addresses are advertised as those of the standby's slot. Frames are not changed: whoever stands by
//! has these addresses beside its own. So neighbours, hosts and what is behind the uplink have nothing to learn, and no gratuitous ARP is
//! needed. When the owner is back, or the standby is lost as well, the pins lead to the owner again.
//!
//! Who holds an identity follows from who is well at this moment alone.
//!
//! Limits: [`PINS_MAX`](crate::config::bays::PINS_MAX) pins for a blade; only configured MAC addresses move, and the IP addresses that
//! are at them.

use std::collections::{BTreeMap, VecDeque};

use dataplane::event::Command;
use dataplane::fdb::{self, Key, Kind};
use port::{LinkState, PortId};
use serde::{Deserialize, Serialize};
use wire::MacAddr;

use super::Control;
use crate::config::Role;

/// Changes that are kept for `show`.
const EVENTS_KEPT: usize = 64;

/// Why an identity changed hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The link of its blade is down.
    LinkDown,
    /// The port of its blade was switched off.
    Detached,
    /// Its blade has fallen silent.
    Silent,
    /// Its blade has not answered its probe as it should.
    Probe,
    /// Its blade is well again.
    Returned,
    /// The standby blade is lost as well.
    StandbyLost,
    /// The configuration names no standby blade any more, or another.
    Configured,
}

impl Cause {
    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Cause::LinkDown => "link-down",
            Cause::Detached => "detached",
            Cause::Silent => "silent",
            Cause::Probe => "probe",
            Cause::Returned => "returned",
            Cause::StandbyLost => "standby-lost",
            Cause::Configured => "configured",
        }
    }
}

/// An identity has changed hands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handover {
    /// When, in nanoseconds since the start.
    pub time_ns: u64,
    /// `identity-taken` or `identity-returned`.
    pub event: String,
    /// Name of the port of the blade whose identity it is.
    pub blade: String,
    /// Name of the port of its standby blade.
    pub standby: String,
    /// Why.
    pub cause: Cause,
}

/// Who has whose identity.
#[derive(Debug, Default)]
pub(super) struct Standins {
    /// From the port of the owner to that of the standby blade that has its identity.
    held: BTreeMap<PortId, PortId>,
    /// What the workers were told.
    pinned: BTreeMap<Key, PortId>,
    events: VecDeque<Handover>,
}

impl Control {
    /// The port whose blade has the identity of the one at `port`: its own, as long as no standby blade has taken it.
    pub fn holder(&self, port: PortId) -> PortId {
        self.standins.held.get(&port).copied().unwrap_or(port)
    }

    /// The last identities that changed hands, oldest first.
    pub fn handovers(&self) -> impl Iterator<Item = &Handover> {
        self.standins.events.iter()
    }

    /// Has each identity where it belongs; returns how much has changed.
    pub(super) fn follow_standins(&mut self) -> usize {
        let none = self.config.ports.iter().all(|port| port.standby.is_none());
        if none && self.standins.pinned.is_empty() && self.standins.held.is_empty() {
            return 0;
        }
        let mut wanted = BTreeMap::new();
        for (owner, standby) in self.standbys() {
            if self.why_lost(owner).is_some() && self.why_lost(standby).is_none() {
                wanted.insert(owner, standby);
            }
        }
        let before = std::mem::replace(&mut self.standins.held, wanted.clone());
        let mut changed = 0;
        for (&owner, &standby) in before.iter().filter(|(owner, standby)| wanted.get(owner) != Some(standby)) {
            let named = self.config.ports.get(owner.index()).is_some_and(|port| port.standby == Some(standby));
            let cause = match (named, self.why_lost(owner)) {
                (false, _) => Cause::Configured,
                (true, None) => Cause::Returned,
                (true, Some(_)) => Cause::StandbyLost,
            };
            if cause == Cause::StandbyLost && self.neighbors.flush_port(owner) {
                self.stale = true; // Nobody is there.
            }
            self.counters.identities_returned += 1;
            self.note_handover("identity-returned", owner, standby, cause);
            changed += 1;
        }
        for (&owner, &standby) in wanted.iter().filter(|(owner, standby)| before.get(owner) != Some(standby)) {
            let Some(cause) = self.why_lost(owner) else { continue };
            let macs = self.macs_of(owner);
            if self.neighbors.flush_port_but(owner, &macs) {
                self.stale = true;
            }
            self.counters.identities_taken += 1;
            self.note_handover("identity-taken", owner, standby, cause);
            changed += 1;
        }
        if changed > 0 {
            self.identities_changed();
        }
        changed + self.pin()
    }

    /// The MAC addresses of a blade that its standby blade is about to take, or has: what is known of them outlives the blade.
    pub(super) fn outliving(&self, port: PortId) -> Vec<MacAddr> {
        let standby = self.config.ports[port.index()].standby.filter(|&standby| self.why_lost(standby).is_none());
        standby.map_or_else(Vec::new, |_| self.macs_of(port))
    }

    /// From the slot of each blade whose identity is elsewhere to the slot where it is.
    pub(super) fn moved_slots(&self) -> BTreeMap<u16, u16> {
        let slot = |port: PortId| match self.config.port(port)?.role {
            Role::Blade { slot, .. } => Some(slot),
            Role::Uplink => None,
        };
        self.standins.held.iter().filter_map(|(&owner, &standby)| Some((slot(owner)?, slot(standby)?))).collect()
    }

    /// Blades that have a standby, and that.
    fn standbys(&self) -> Vec<(PortId, PortId)> {
        let ports = self.config.ports.iter().enumerate();
        ports.filter_map(|(index, port)| Some((PortId(index as u8), port.standby?))).collect()
    }

    /// Why the blade at a port cannot be reached, if it cannot.
    fn why_lost(&self, port: PortId) -> Option<Cause> {
        let config = self.config.port(port)?;
        let Role::Blade { slot, .. } = config.role else { return None };
        if !config.enabled {
            return Some(Cause::Detached);
        }
        if self.links.get(port.index()) != Some(&LinkState::Up) {
            return Some(Cause::LinkDown);
        }
        self.agents
            .blade(slot)
            .is_some_and(|agent| agent.silent)
            .then_some(Cause::Silent)
            .or_else(|| (!self.probes.is_well(None, port)).then_some(Cause::Probe))
    }

    fn macs_of(&self, port: PortId) -> Vec<MacAddr> {
        match self.config.port(port).map(|port| &port.role) {
            Some(Role::Blade { macs, .. }) => macs.clone(),
            Some(Role::Uplink) | None => Vec::new(),
        }
    }

    fn note_handover(&mut self, event: &str, owner: PortId, standby: PortId, cause: Cause) {
        let name = |port: PortId| self.config.port(port).map_or_else(|| port.to_string(), |port| port.name.clone());
        let (blade, standby) = (name(owner), name(standby));
        tracing::warn!(blade, standby, cause = cause.name(), "{event}");
        if self.standins.events.len() == EVENTS_KEPT {
            self.standins.events.pop_front();
        }
        self.standins.events.push_back(Handover { time_ns: self.now.0, event: event.to_owned(), blade, standby, cause });
    }

    /// Tells the workers what they have not been told of pins yet; returns how much that was.
    fn pin(&mut self) -> usize {
        let mut wanted: BTreeMap<Key, PortId> = BTreeMap::new();
        for (owner, _) in self.standbys() {
            let (vids, at) = (self.config.ports[owner.index()].vlan.vids(), self.holder(owner));
            for mac in self.macs_of(owner) {
                wanted.extend(vids.iter().map(|vid| (fdb::key(vid, mac), at)));
            }
        }
        if wanted == self.standins.pinned {
            return 0;
        }
        let before = std::mem::replace(&mut self.standins.pinned, wanted.clone());
        let mut told = 0;
        for (&key, &port) in wanted.iter().filter(|(key, port)| before.get(key) != Some(port)) {
            self.order_all(|| Command::SetEntry { key, port, kind: Kind::Static });
            told += 1;
        }
        let set_by_hand = |key: Key| self.config.fdb_entries.iter().any(|entry| fdb::key(entry.vid, entry.mac) == key);
        let gone = before.keys().filter(|key| !wanted.contains_key(key) && !set_by_hand(**key));
        let gone: Vec<Key> = gone.copied().collect();
        for key in gone {
            self.order_all(|| Command::RemoveEntry(key));
            told += 1;
        }
        told
    }
}
