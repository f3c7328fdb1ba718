//! From configuration and live state to the tables the workers read.

use std::sync::Arc;

use dataplane::fdb::Limits;
use dataplane::neighbor::Neighbors;
use dataplane::tables::{Lanes, Member, NO_VLAN, PortState, PortTable, Tables, TagMode, VlanTable};
use port::{LinkState, PORTS_MAX, PortId};
use wire::Vid;

use crate::config::{Config, VlanMode};

/// The tables for `config`, with the links as they are; ports of the mask `closed` do not forward.
pub fn build(config: &Config, links: &[LinkState], closed: u128, neighbors: Neighbors) -> Tables {
    let is_open = |index: usize| config.ports[index].enabled && closed & 1 << index == 0;
    let state = |index: usize| match (is_open(index), links[index]) {
        (false, _) => PortState::Blocked,
        (true, LinkState::Down) => PortState::Down,
        (true, LinkState::Up) => PortState::Forwarding,
    };
    let vlans: Arc<[VlanTable]> = config
        .vlans
        .iter()
        .map(|vlan| {
            let members = config.ports.iter().enumerate().filter(|(_, port)| port.vlan.contains(vlan.vid));
            VlanTable::new(
                vlan.vid,
                members.map(|(index, port)| Member {
                    port: PortId(index as u8),
                    tagged: is_tagged(&port.vlan, vlan.vid),
                    state: state(index),
                    unknown_unicast: port.flood,
                }),
            )
        })
        .collect();
    let vlan_index = Tables::index_vlans(&vlans);
    let ports = config
        .ports
        .iter()
        .enumerate()
        .map(|(index, port)| PortTable {
            forwarding: state(index) == PortState::Forwarding,
            mode: match port.vlan {
                VlanMode::Transparent(_) => TagMode::Transparent,
                VlanMode::Access(_) => TagMode::Access,
                VlanMode::Trunk { .. } => TagMode::Trunk,
            },
            pvid: port.vlan.untagged().map_or(NO_VLAN, |vid| vlan_index[vid.get() as usize]),
            ingress_filter: port.ingress_filter,
            learning: port.learning,
            frame_len_max: config.switch.max_frame,
            control: port.control,
            chassis: config.joined.as_ref().is_some_and(|joined| joined.trunks.contains(&PortId(index as u8))),
        })
        .collect();
    Tables {
        own_mac: config.switch.mac,
        ports,
        vlans,
        vlan_index,
        neighbors,
        steering: None,
        rates: None,
        lanes: Lanes {
            message: config.lanes.message,
            ip: config.lanes.ip,
            learn_neighbors: config.identity.learn,
            answer_arp: config.identity.answer_arp,
            answer_nd: config.identity.answer_nd,
        },
    }
}

/// The limits of the workers' tables of addresses.
pub fn fdb_limits(config: &Config) -> Limits {
    let mut per_port = [config.fdb.limit_per_port.unwrap_or(u32::MAX); PORTS_MAX];
    for (limit, port) in per_port.iter_mut().zip(&config.ports) {
        *limit = port.fdb_limit.unwrap_or(*limit);
    }
    Limits { total: config.fdb.limit, per_vlan: config.fdb.limit_per_vlan.unwrap_or(u32::MAX), per_port }
}

/// Does a port send frames of `vid` with a tag?
pub fn is_tagged(mode: &VlanMode, vid: Vid) -> bool {
    mode.untagged() != Some(vid)
}
