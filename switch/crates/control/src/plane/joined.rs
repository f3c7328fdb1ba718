//! Control and the trunks to other chassis: what [`Joined`] decides becomes tables, forgotten addresses and frames, in this order.

use dataplane::event::Command;
use port::{LinkState, PortId};
use wire::{MacAddr, ethernet};

use super::Control;
use crate::joined::Joined;
use crate::joined::hello::GROUP;
use crate::seal::Sealer;

impl Control {
    /// Begins to talk with other chassis as of a new start: `session` is another each time. With a `sealer`, what is told of blades is sealed,
    /// and what is not is dropped.
    pub fn begin_joined(&mut self, session: u32, sealer: Option<Sealer>) {
        self.joined = self.config.joined.as_ref().map(|config| Joined::new(config, session));
        if let Some(joined) = &mut self.joined {
            joined.begin(self.config.switch.mac, sealer);
            self.stale = true;
        }
    }

    /// The other chassis; `None` if this one is not joined to any.
    pub fn joined(&self) -> Option<&Joined> {
        self.joined.as_ref()
    }

    /// A frame of another switch blade.
    pub(super) fn take_chassis(&mut self, port: PortId, source: MacAddr, payload: &[u8]) {
        if let Some(joined) = &mut self.joined {
            joined.handle_frame(self.now, port, source, payload);
            // Now, not once for all: what is closed must be closed before the next hello says so.
            self.follow_joined();
        }
    }

    /// What is due; returns how much that was.
    pub(super) fn poll_joined(&mut self) -> usize {
        self.tell_roster();
        let Some(joined) = &mut self.joined else { return 0 };
        for port in joined.ports() {
            let up = self.links[port.index()] == LinkState::Up && self.config.ports[port.index()].enabled;
            joined.set_link(self.now, port, up);
        }
        if joined.poll_timeout().is_some_and(|at| at <= self.now) {
            joined.handle_timeout(self.now);
        }
        self.follow_joined() + self.remember_others_again()
    }

    fn follow_joined(&mut self) -> usize {
        let Some(joined) = &mut self.joined else { return 0 };
        let outcome = joined.take_outcome();
        let ports = joined.ports();
        if outcome.rosters {
            self.hear_rosters();
        }
        if outcome.trunks {
            self.publish();
        }
        if outcome.flush {
            for port in ports {
                self.order_all(|| Command::FlushPort(port));
            }
        }
        if outcome.rosters || outcome.flush {
            self.remember_others(outcome.flush);
        }
        let mut sent = 0;
        while let Some((port, payload)) = self.joined.as_mut().and_then(Joined::poll_transmit) {
            self.inject(port, &ethernet::emit(GROUP, self.config.switch.mac, &[], ethernet::EtherType::CHASSIS, &payload));
            sent += 1;
        }
        sent
    }
}
