//! Control and its probes: questions become frames, frames become answers, and who is not well loses functions and identity.

use std::net::{IpAddr, Ipv4Addr};

use port::{LinkState, PortId};
use wire::arp::{Arp, Operation};
use wire::ethernet::{EtherType, Frame};
use wire::message::{AckStatus, Name};
use wire::{MacAddr, Vid};

use super::Control;
use crate::agents::Agents;
use crate::config::{Config, ProbeConfig, ProbeKind, Role};
use crate::probe::{Awaited, Key, Probes};
use crate::steering::announced;

impl Control {
    /// The probes and what came of them.
    pub fn probes(&self) -> &Probes {
        &self.probes
    }

    /// What is due of probes; returns how much that was.
    pub(super) fn poll_probes(&mut self) -> usize {
        if self.probes.is_empty() {
            return 0;
        }
        let (links, ports) = (&self.links, &self.config.ports);
        let is_up =
            |port: PortId| links.get(port.index()) == Some(&LinkState::Up) && ports.get(port.index()).is_some_and(|port| port.enabled);
        let mut changed = self.probes.set_up(self.now, is_up);
        while let Some((port, transaction, status)) = self.agents.poll_probed() {
            let said = if status == AckStatus::Done { "ok".to_owned() } else { status.to_string() };
            changed |= self.probes.answered(self.now, port, Awaited::Ack(transaction), &said);
        }
        let (late, given_up) = self.probes.handle_timeout(self.now);
        changed |= late;
        given_up.into_iter().for_each(|transaction| self.agents.forget_probe(transaction));
        let due = self.probes.due(self.now);
        for (key, config) in &due {
            changed |= self.ask(key, config);
        }
        self.stale |= changed;
        due.len() + usize::from(changed) + self.send_agents()
    }

    /// Asks one blade; `true` if it is not well any more, since it cannot be asked.
    fn ask(&mut self, key: &Key, config: &ProbeConfig) -> bool {
        let port = key.1;
        match config.kind {
            ProbeKind::Arp => {
                let Some((vid, mac, ip)) = self.address_of(port) else { return self.probes.failed(self.now, key, "no-address") };
                let question = Arp {
                    operation: Operation::Request,
                    sender_mac: self.config.switch.mac,
                    sender_ip: Ipv4Addr::UNSPECIFIED,
                    target_mac: MacAddr::ZERO,
                    target_ip: ip,
                };
                self.send(port, vid, mac, self.config.switch.mac, EtherType::ARP, &question.emit());
                self.probes.asked(self.now, key, Awaited::Arp(ip));
            }
            ProbeKind::Execute => {
                let name = config.run.as_deref().or(key.0.as_deref()).and_then(Name::new);
                let asked = name.and_then(|name| self.agents.probe(port, name));
                let Some(transaction) = asked else { return self.probes.failed(self.now, key, "no-hello") };
                self.probes.asked(self.now, key, Awaited::Ack(transaction));
            }
        }
        self.counters.probes += 1;
        false
    }

    /// An IPv4 address of the blade at a port, and where to ask for it: one of the configuration, or one that it has been heard to have.
    fn address_of(&self, port: PortId) -> Option<(Vid, MacAddr, Ipv4Addr)> {
        let config = self.config.port(port)?;
        let v4 = |ip: &IpAddr| match ip {
            IpAddr::V4(ip) => Some(*ip),
            IpAddr::V6(_) => None,
        };
        if let Role::Blade { macs, ips, .. } = &config.role
            && let (Some(vid), Some(&mac), Some(ip)) = (config.vlan.untagged(), macs.first(), ips.iter().find_map(v4))
        {
            return Some((vid, mac, ip));
        }
        let mut heard = self.neighbors.iter().filter(|(_, _, neighbor)| neighbor.port == Some(port) && !neighbor.leased);
        heard.find_map(|(vid, ip, neighbor)| Some((vid, neighbor.mac, v4(&ip)?)))
    }

    /// An ARP packet that may be the answer to a probe.
    pub(super) fn hear_probed(&mut self, port: PortId, arp: &Arp, frame: &Frame<'_>) {
        if arp.operation == Operation::Reply && frame.dst() == self.config.switch.mac {
            let changed = self.probes.answered(self.now, port, Awaited::Arp(arp.sender_ip), "ok");
            self.stale |= changed;
        }
    }
}

/// Whom to ask, and how.
pub(super) fn wanted(config: &Config, agents: &Agents) -> Vec<(Key, ProbeConfig)> {
    let of_functions = config.functions.iter().filter_map(|function| Some((function, function.probe.as_ref()?)));
    let of_functions = of_functions.flat_map(|(function, probe)| {
        let active = function.blades.clone().unwrap_or_else(|| announced(function, config, Some(agents)));
        let ports = active.into_iter().chain(function.standby.iter().copied());
        ports.map(|port| ((Some(function.name.clone()), port), probe.clone())).collect::<Vec<_>>()
    });
    let ports = config.ports.iter().enumerate();
    let of_blades = ports.filter_map(|(index, port)| Some(((None, PortId(index as u8)), port.probe.clone()?)));
    of_functions.chain(of_blades).collect()
}
