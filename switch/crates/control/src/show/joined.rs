//! The chassis that are joined: trunks, and who is reached by them.

use serde::{Deserialize, Serialize};

use crate::joined::TrunkState;
use crate::joined::exchange::ExchangeCounters;
use crate::plane::Control;

/// `show joined`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    /// The number of this chassis; `None`: it is not joined to others.
    pub chassis: Option<u16>,
    /// The chassis on the way from the root of the tree to this one, both included.
    pub path: Vec<u16>,
    /// The trunks.
    pub trunks: Vec<Trunk>,
    /// This chassis and those that are reached, by number.
    pub members: Vec<Member>,
    /// What is counted of frames between switch blades.
    pub counters: ExchangeCounters,
}

/// A trunk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trunk {
    /// Name of its port.
    pub trunk: String,
    /// How it is.
    pub state: TrunkState,
    /// Why it is not open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The chassis at the other end.
    pub neighbor: Option<u16>,
    /// It leads towards the root of the tree.
    pub towards_root: bool,
}

/// A chassis that is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its number.
    pub chassis: u16,
    /// Name of the trunk that leads there; `None`: it is this one.
    pub trunk: Option<String>,
    /// Trunks in between.
    pub hops: u8,
    /// Slots whose blades are known.
    pub identities: usize,
    /// Their MAC and IP addresses.
    pub addresses: usize,
    /// Functions its blades have, with the number of blades that take new flows.
    pub functions: Vec<(String, usize)>,
}

/// The joined chassis.
pub fn joined(control: &Control) -> Joined {
    let Some(joined) = control.joined() else { return Joined::default() };
    let (ports, exchange) = (joined.ports(), joined.exchange());
    let member = |chassis, trunk: Option<usize>, hops, roster: &crate::joined::roster::Roster| {
        let slots = roster.macs.iter().map(|record| record.slot).chain(roster.ips.iter().map(|record| record.slot));
        let mut functions = std::collections::BTreeMap::new();
        for record in &roster.functions {
            *functions.entry(record.function.to_string()).or_default() += usize::from(record.takes_new);
        }
        Member {
            chassis,
            trunk: trunk.map(|index| super::port_name(control, ports[index])),
            hops,
            identities: slots.collect::<std::collections::BTreeSet<u16>>().len(),
            addresses: roster.macs.len() + roster.ips.len(),
            functions: functions.into_iter().collect(),
        }
    };
    let own = member(joined.chassis(), None, 0, exchange.own());
    let others = exchange.known();
    let mut members: Vec<Member> =
        others.iter().map(|known| member(known.chassis, Some(known.trunk), known.hops, known.roster)).chain([own]).collect();
    members.sort_by_key(|member| member.chassis);
    let trunks = joined.trunks().map(|trunk| Trunk {
        trunk: super::port_name(control, trunk.port),
        state: trunk.state,
        reason: trunk.reason.map(str::to_owned),
        neighbor: trunk.neighbor,
        towards_root: trunk.towards_root,
    });
    Joined { chassis: Some(joined.chassis()), path: joined.path().to_vec(), trunks: trunks.collect(), members, counters: exchange.counters }
}
