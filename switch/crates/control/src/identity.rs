//! Identities: which MAC and IP addresses the blade in each slot has.
//!
//! Known from the configuration, from what blades say of themselves in their hellos, and from what ARP, neighbour discovery and
//! DHCP tell of the port a blade is on; advertised to the other blades when they change and on request (paragraphs 10, 25, 60). Of an address
//! that is known from several sources the first of these counts.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use port::PortId;
use serde::{Deserialize, Serialize};
use wire::MacAddr;
use wire::message::{Identity, encode_advertise, encode_advertise_across};

use crate::agents::Agents;
use crate::config::{Config, Role};
use crate::neighbor::NeighborTable;

/// Places in other chassis that receivers are told to forget, at most.
const FORGET_MAX: usize = 1024;

/// Where an address of a blade is known from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The configuration.
    Config,
    /// The blade's own hello.
    Hello,
    /// ARP.
    Arp,
    /// Neighbour discovery.
    Nd,
    /// A lease of DHCP that its owner has not spoken with yet.
    Dhcp,
}

impl Source {
    /// The word in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Source::Config => "config",
            Source::Hello => "hello",
            Source::Arp => "ARP",
            Source::Nd => "ND",
            Source::Dhcp => "DHCP",
        }
    }
}

/// What is known of one blade.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BladeIdentity {
    /// MAC addresses, and where from.
    pub macs: BTreeMap<MacAddr, Source>,
    /// IP addresses, and where from.
    pub ips: BTreeMap<IpAddr, Source>,
}

impl BladeIdentity {
    fn has_all_of(&self, other: &BladeIdentity) -> bool {
        other.macs.keys().all(|mac| self.macs.contains_key(mac)) && other.ips.keys().all(|ip| self.ips.contains_key(ip))
    }

    /// The same addresses, wherever they are known from.
    fn is_like(&self, other: &BladeIdentity) -> bool {
        self.has_all_of(other) && other.has_all_of(self)
    }
}

/// The identities of all blades, by slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identities {
    blades: BTreeMap<u16, BladeIdentity>,
    /// Slots that were advertised with addresses that are no longer theirs: receivers must forget them first.
    forget: BTreeSet<u16>,
    /// Those of other chassis, by chassis and slot, and the ports they are reached by.
    others: BTreeMap<(u16, u16), (BladeIdentity, PortId)>,
    forget_others: BTreeSet<(u16, u16)>,
}

impl Identities {
    /// What the configuration says.
    pub fn from_config(config: &Config) -> Identities {
        let mut blades = BTreeMap::new();
        for port in &config.ports {
            if let Role::Blade { slot, macs, ips } = &port.role
                && !(macs.is_empty() && ips.is_empty())
            {
                let identity = BladeIdentity {
                    macs: macs.iter().map(|&mac| (mac, Source::Config)).collect(),
                    ips: ips.iter().map(|&ip| (ip, Source::Config)).collect(),
                };
                blades.insert(*slot, identity);
            }
        }
        Identities { blades, ..Identities::default() }
    }

    /// Works them out anew; `true` if there is anything to tell the blades. The addresses of a slot in `moved` are those of the slot that it leads
    /// to: a standby blade has them.
    pub fn update(&mut self, config: &Config, agents: &Agents, neighbors: &NeighborTable, moved: &BTreeMap<u16, u16>) -> bool {
        let mut blades = Identities::from_config(config).blades;
        for (slot, agent) in agents.blades() {
            let blade = blades.entry(slot).or_default();
            for &mac in agent.hello.macs.iter().filter(|&&mac| is_station(mac, config)).chain([&agent.mac]) {
                blade.macs.entry(mac).or_insert(Source::Hello);
            }
            for &ip in agent.hello.ips.iter().filter(|&&ip| is_host(ip)) {
                blade.ips.entry(ip).or_insert(Source::Hello);
            }
        }
        for (_, ip, neighbor) in neighbors.iter() {
            if let Some(port) = neighbor.port
                && let Role::Blade { slot, .. } = config.ports[port.index()].role
            {
                let blade = blades.entry(slot).or_default();
                let source = if neighbor.seen.is_none() {
                    Source::Config
                } else if neighbor.leased {
                    Source::Dhcp
                } else if ip.is_ipv4() {
                    Source::Arp
                } else {
                    Source::Nd
                };
                blade.ips.entry(ip).or_insert(source);
                blade.macs.entry(neighbor.mac).or_insert(source);
            }
        }
        for (owner, standby) in moved {
            let Some(identity) = blades.remove(owner) else { continue };
            let blade = blades.entry(*standby).or_default();
            for (mac, source) in identity.macs {
                blade.macs.entry(mac).or_insert(source);
            }
            for (ip, source) in identity.ips {
                blade.ips.entry(ip).or_insert(source);
            }
        }
        let same = blades.len() == self.blades.len()
            && blades.iter().all(|(slot, after)| self.blades.get(slot).is_some_and(|before| before.is_like(after)));
        if same {
            self.blades = blades; // The sources may be others.
            return false;
        }
        for (slot, before) in &self.blades {
            let lost = blades.get(slot).is_none_or(|after| !after.has_all_of(before));
            if lost {
                self.forget.insert(*slot);
            }
        }
        self.blades = blades;
        true
    }

    /// Those of other chassis, by chassis and slot, with the trunks they are reached by; `true` if there is anything to tell the blades.
    pub fn set_others(&mut self, others: BTreeMap<(u16, u16), (BladeIdentity, PortId)>) -> bool {
        let same = others.len() == self.others.len()
            && others.iter().all(|(place, (after, _))| self.others.get(place).is_some_and(|(before, _)| before.is_like(after)));
        for (place, (before, _)) in &self.others {
            if others.get(place).is_none_or(|(after, _)| !after.has_all_of(before)) {
                self.forget_others.insert(*place);
            }
        }
        self.others = others;
        // Of chassis there may be many in the course of time; of those that are long gone nobody knows anything.
        while self.forget_others.len() > FORGET_MAX {
            self.forget_others.pop_first();
        }
        !same
    }

    /// Those of other chassis: chassis, slot, identity and the port it is reached by.
    pub fn others(&self) -> impl Iterator<Item = (u16, u16, &BladeIdentity, PortId)> {
        self.others.iter().map(|(&(chassis, slot), (blade, port))| (chassis, slot, blade, *port))
    }

    /// Bodies of Advertise messages that say it all: first what to forget, then who is where.
    pub fn encode(&self, body_len_max: usize) -> Vec<Vec<u8>> {
        let forget = self.forget.iter().map(|&slot| Identity { slot, ..Identity::default() });
        let known = self.blades.iter().map(|(&slot, blade)| Identity {
            slot,
            macs: blade.macs.keys().copied().collect(),
            ips: blade.ips.keys().copied().collect(),
        });
        let mut bodies = encode_advertise(&forget.chain(known).collect::<Vec<_>>(), body_len_max);
        let forget = self.forget_others.iter().map(|&(chassis, slot)| (chassis, Identity { slot, ..Identity::default() }));
        let known = self.others().map(|(chassis, slot, blade, _)| {
            (chassis, Identity { slot, macs: blade.macs.keys().copied().collect(), ips: blade.ips.keys().copied().collect() })
        });
        bodies.extend(encode_advertise_across(&forget.chain(known).collect::<Vec<_>>(), body_len_max));
        bodies
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

/// Can a station have this address, other than the switch?
pub(crate) fn is_station(mac: MacAddr, config: &Config) -> bool {
    !mac.is_group() && !mac.is_zero() && mac != config.switch.mac
}

/// Can a host have this address?
pub(crate) fn is_host(ip: IpAddr) -> bool {
    !ip.is_unspecified() && !ip.is_multicast() && !ip.is_loopback() && ip != IpAddr::V4(std::net::Ipv4Addr::BROADCAST)
}
