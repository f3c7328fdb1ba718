//! Identities: which MAC and IP addresses the blade in each slot has.
//!
//! Known from the configuration and from what ARP and neighbour discovery tell of the port a blade is on; advertised to the
//! other blades when they change and on request (paragraphs 10, 25, 60). Left for later: DHCP and hello messages as sources.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::Serialize;
use wire::MacAddr;
use wire::message::{Identity, encode_advertise};

use crate::config::{Config, Role};
use crate::neighbor::NeighborTable;

/// What is known of one blade.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BladeIdentity {
    /// MAC addresses.
    pub macs: BTreeSet<MacAddr>,
    /// IP addresses.
    pub ips: BTreeSet<IpAddr>,
}

/// The identities of all blades, by slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identities {
    blades: BTreeMap<u16, BladeIdentity>,
    /// Slots that were advertised with addresses that are no longer theirs: receivers must forget them first.
    forget: BTreeSet<u16>,
}

impl Identities {
    /// What the configuration says.
    pub fn from_config(config: &Config) -> Identities {
        let mut blades = BTreeMap::new();
        for port in &config.ports {
            if let Role::Blade { slot, macs, ips } = &port.role
                && !(macs.is_empty() && ips.is_empty())
            {
                blades.insert(*slot, BladeIdentity { macs: macs.iter().copied().collect(), ips: ips.iter().copied().collect() });
            }
        }
        Identities { blades, forget: BTreeSet::new() }
    }

    /// Works them out anew; `true` if anything changed.
    pub fn update(&mut self, config: &Config, neighbors: &NeighborTable) -> bool {
        let mut blades = Identities::from_config(config).blades;
        for (_, ip, neighbor) in neighbors.iter() {
            if let Some(port) = neighbor.port
                && let Role::Blade { slot, .. } = config.ports[port.index()].role
            {
                let blade = blades.entry(slot).or_default();
                blade.ips.insert(ip);
                blade.macs.insert(neighbor.mac);
            }
        }
        if blades == self.blades {
            return false;
        }
        for (slot, before) in &self.blades {
            let lost = blades.get(slot).is_none_or(|after| !before.macs.is_subset(&after.macs) || !before.ips.is_subset(&after.ips));
            if lost {
                self.forget.insert(*slot);
            }
        }
        self.blades = blades;
        true
    }

    /// Bodies of Advertise messages that say it all: first what to forget, then who is where.
    pub fn encode(&self, body_len_max: usize) -> Vec<Vec<u8>> {
        let forget = self.forget.iter().map(|&slot| Identity { slot, ..Identity::default() });
        let known = self.blades.iter().map(|(&slot, blade)| Identity {
            slot,
            macs: blade.macs.iter().copied().collect(),
            ips: blade.ips.iter().copied().collect(),
        });
        encode_advertise(&forget.chain(known).collect::<Vec<_>>(), body_len_max)
    }

    /// By slot.
    pub fn iter(&self) -> impl Iterator<Item = (u16, &BladeIdentity)> {
        self.blades.iter().map(|(&slot, blade)| (slot, blade))
    }

    /// Nothing is known of any blade.
    pub fn is_empty(&self) -> bool {
        self.blades.is_empty()
    }
}
