//! Control and the agents on the blades: their messages in and out, and what a hello means for the other tables.

use dataplane::event::Punted;
use wire::ethernet::EtherType;
use wire::message::{Header, Message};

use super::Control;
use crate::agents::{Agents, CommandError, Target};
use crate::config::Role;
use crate::identity::{is_host, is_station};
use crate::neighbor::Heard;
use crate::seal::Sealer;

impl Control {
    /// The agents on the blades.
    pub fn agents(&self) -> &Agents {
        &self.agents
    }

    /// Begins to talk with agents as of a new start: `session` is another each time; with a `sealer`, what is sent is sealed and
    /// what is not is refused.
    pub fn begin_agents(&mut self, session: u32, sealer: Option<Sealer>) {
        self.agents.begin(session, sealer);
    }

    /// Has blades do something. What comes of it, [`Agents::command_of`] tells.
    ///
    /// # Errors
    /// As [`Agents::command`].
    pub fn command_blades(&mut self, target: &Target, control: wire::message::Control) -> Result<u32, CommandError> {
        let number = self.agents.command(self.now, target, control)?;
        self.send_agents();
        Ok(number)
    }

    /// A control message to the switch, or to everybody.
    pub(super) fn take_control(&mut self, punted: &Punted, message: &Message<'_>) {
        let slot = match self.config.ports[punted.port.index()].role {
            Role::Blade { slot, .. } => Some(slot),
            Role::Uplink => None,
        };
        let header = Header {
            message_type: message.message_type,
            final_destination: message.final_destination,
            inner: EtherType(0),
            body_len: u16::try_from(message.body.len()).unwrap_or(u16::MAX),
        };
        let before = slot.and_then(|slot| self.agents.blade(slot)).map(|blade| (blade.vid, blade.mac, blade.hello.ips.clone()));
        let hellos = self.agents.counters.hellos;
        let changed = self.agents.handle_message(self.now, (punted.port, punted.vid, slot), message.source, &header, message.body);
        if let Some(slot) = slot.filter(|_| self.agents.counters.hellos > hellos) {
            self.hear_addresses(slot, before);
        }
        if changed {
            self.identities_changed();
        }
        self.grant_rates();
        self.send_agents();
    }

    /// A hello names the IP addresses of its blade: all of them, so that those of `before` that are not there any more are gone.
    fn hear_addresses(&mut self, slot: u16, before: Option<(wire::Vid, wire::MacAddr, Vec<std::net::IpAddr>)>) {
        let Some(blade) = self.agents.blade(slot) else { return };
        let (port, vid) = (blade.port, blade.vid);
        let mac = blade.hello.macs.iter().copied().find(|&mac| is_station(mac, &self.config)).unwrap_or(blade.mac);
        let ips: Vec<_> = blade.hello.ips.iter().copied().filter(|&ip| is_host(ip)).collect();
        if let Some((vid_before, mac_before, ips_before)) = before {
            for ip in ips_before {
                if vid_before != vid || !ips.contains(&ip) {
                    self.stale |= self.neighbors.forget(vid_before, ip, mac_before);
                }
            }
        }
        for ip in ips {
            match self.neighbors.hear(vid, ip, mac, port, false, self.now) {
                Heard::Changed => self.stale = true,
                Heard::Known | Heard::Ignored => {}
            }
        }
    }

    /// What is due; returns how much that was.
    pub(super) fn poll_agents(&mut self) -> usize {
        if self.agents.poll_timeout().is_none_or(|at| at > self.now) {
            return 0;
        }
        if self.agents.handle_timeout(self.now) {
            self.identities_changed();
        }
        self.send_agents()
    }

    pub(super) fn send_agents(&mut self) -> usize {
        let mut sent = 0;
        while let Some(outgoing) = self.agents.poll_transmit() {
            self.send_message(outgoing.port, outgoing.vid, outgoing.to, outgoing.message_type, &outgoing.body);
            sent += 1;
        }
        sent
    }
}
