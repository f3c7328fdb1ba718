//! What a standby switch blade begins with: what the active one had learned.

use dataplane::fdb::{self, Key};
use port::PortId;

use super::Control;
use crate::config::Config;
use crate::show::{Fdb, Neighbors};

/// Addresses that were learned, as a worker takes them ([`dataplane::Worker::remember`]); those of ports that there are not are left out.
pub fn learned(config: &Config, fdb: &Fdb) -> Vec<(Key, PortId)> {
    let dynamic = fdb.entries.iter().filter(|entry| entry.kind == "dynamic");
    dynamic.filter_map(|entry| Some((fdb::key(entry.vlan, entry.mac), config.port_named(entry.port.as_deref()?)?))).collect()
}

impl Control {
    /// Believes what another switch had learned of IP addresses, as if it had just been heard; returns how many are new.
    pub fn remember_neighbors(&mut self, neighbors: &Neighbors) -> usize {
        let before = self.neighbors.len();
        for neighbor in neighbors.neighbors.iter().filter(|neighbor| neighbor.kind == "learned") {
            if let Some(port) = neighbor.port.as_deref().and_then(|name| self.config.port_named(name)) {
                self.neighbors.hear(neighbor.vlan, neighbor.ip, neighbor.mac, port, neighbor.router, self.now);
            }
        }
        self.neighbors_changed();
        self.neighbors.len() - before
    }
}
