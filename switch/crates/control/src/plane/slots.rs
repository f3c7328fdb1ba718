//! Blades are pulled and put back while frames flow (paragraphs 57 and 58 of the patent document).

use dataplane::event::Command;
use port::PortId;

use super::Control;

impl Control {
    /// Takes the blade at a port out of service, or puts it back; `false` if it is so already.
    ///
    /// From then on nothing comes in by the port (`port-blocked`) and nothing goes out by it; addresses behind it are forgotten, its
    /// functions are for others. What it has been given before still leaves. The other ports notice nothing. Put back, it is known again by
    /// its first frame: in this bay or in another, which keep their name, VLANs, rate and functions.
    pub fn set_enabled(&mut self, port: PortId, enabled: bool) -> bool {
        let config = &mut self.config.ports[port.index()];
        if config.enabled == enabled {
            return false;
        }
        config.enabled = enabled;
        tracing::info!(port = config.name, enabled, "a blade was {}", if enabled { "attached" } else { "detached" });
        // The workers see the new tables before they are told to forget: nothing is learned in between.
        self.publish();
        if !enabled {
            self.forget_behind(port);
        }
        self.follow_standins();
        self.send_orders();
        true
    }

    /// Who was behind a port is there no longer. What is known of an identity that its standby blade takes stays.
    pub(super) fn forget_behind(&mut self, port: PortId) {
        self.command_all(|| Command::FlushPort(port));
        let outliving = self.outliving(port);
        // Both: of blades that say hello and of those that do not.
        if self.neighbors.flush_port_but(port, &outliving) | self.agents.flush_port(port) {
            self.identities_changed();
        }
    }
}
