//! Control and the trunks to other chassis: what [`Joined`] decides becomes tables, forgotten addresses and frames, in this order.

use dataplane::event::Command;
use port::{LinkState, PortId};
use wire::ethernet;

use super::Control;
use crate::joined::Joined;
use crate::joined::hello::GROUP;

impl Control {
    /// Begins to talk with other chassis as of a new start: `session` is another each time.
    pub fn begin_joined(&mut self, session: u32) {
        self.joined = self.config.joined.as_ref().map(|config| Joined::new(config, session));
        self.stale |= self.joined.is_some();
    }

    /// The other chassis; `None` if this one is not joined to any.
    pub fn joined(&self) -> Option<&Joined> {
        self.joined.as_ref()
    }

    /// A frame of another switch blade.
    pub(super) fn take_hello(&mut self, port: PortId, payload: &[u8]) {
        if let Some(joined) = &mut self.joined {
            joined.handle_hello(self.now, port, payload);
            // Now, not once for all: what is closed must be closed before the next hello says so.
            self.follow_joined();
        }
    }

    /// What is due; returns how much that was.
    pub(super) fn poll_joined(&mut self) -> usize {
        let Some(joined) = &mut self.joined else { return 0 };
        for port in joined.ports() {
            let up = self.links[port.index()] == LinkState::Up && self.config.ports[port.index()].enabled;
            joined.set_link(self.now, port, up);
        }
        if joined.poll_timeout().is_some_and(|at| at <= self.now) {
            joined.handle_timeout(self.now);
        }
        self.follow_joined()
    }

    fn follow_joined(&mut self) -> usize {
        let Some(joined) = &mut self.joined else { return 0 };
        let outcome = joined.take_outcome();
        let ports = joined.ports();
        if outcome.trunks {
            self.publish();
        }
        if outcome.flush {
            for port in ports {
                self.command_all(|| Command::FlushPort(port));
            }
        }
        let mut sent = 0;
        while let Some((port, payload)) = self.joined.as_mut().and_then(Joined::poll_transmit) {
            self.inject(port, &ethernet::emit(GROUP, self.config.switch.mac, &[], ethernet::EtherType::CHASSIS, &payload));
            sent += 1;
        }
        sent
    }
}
