//! Control and the rates between ports: asked for by blades and operators while frames flow.

use port::PortId;
use wire::message::{Ack, AckStatus, MessageType};

use super::Control;
use crate::agents::Asked;
use crate::config::{RateConfig, Speed};
use crate::rates::{By, Rates};

impl Control {
    /// The rates between ports.
    pub fn rates(&self) -> &Rates {
        &self.rates
    }

    /// Another rate from one port to another, in bit/s, from now on; returns it.
    ///
    /// # Errors
    /// There is no such port, no `[[rate]]` between the two, or more is asked for than its `max`, in words.
    pub fn set_rate(&mut self, from: &str, to: &str, bps: u64) -> Result<u64, String> {
        let port = |name: &str| {
            let names: Vec<&str> = self.config.ports.iter().map(|port| port.name.as_str()).collect();
            self.config.port_named(name).ok_or_else(|| format!("no port is called `{name}`: expected one of {}", names.join(", ")))
        };
        let rate = self.rate_between(port(from)?, port(to)?)?;
        if bps == 0 || bps > rate.max.bits_per_second() {
            let asked = Speed::from_bits_per_second(bps).map_or_else(|| format!("{bps} bit/s"), |speed| speed.to_string());
            return Err(format!("{asked} from {from} to {to}: expected more than 0 and at most {}, the max of this [[rate]]", rate.max));
        }
        self.agree(&rate, bps, By::Operator);
        Ok(bps)
    }

    /// What blades have asked for by message is granted and answered.
    pub(super) fn grant_rates(&mut self) {
        while let Some(asked) = self.agents.poll_asked() {
            let (status, text) = match self.grant(&asked) {
                Ok(bps) => (AckStatus::Done, bps.to_string()),
                Err(text) => (AckStatus::Refused, text),
            };
            self.agents.answer(&asked, Ack { acked: MessageType::Rate, status, text });
        }
    }

    fn grant(&mut self, asked: &Asked) -> Result<u64, String> {
        let to = self.config.port_named(asked.to.as_str()).ok_or_else(|| format!("no port is called {}", asked.to))?;
        let rate = self.rate_between(asked.port, to)?;
        if asked.rate_bps == 0 {
            return Ok(self.rates.now(&rate).0);
        }
        // What either of them has said that it can take; 0: it has not.
        let said = [asked.port, to].into_iter().filter_map(|port| {
            let blade = self.agents.blades().find(|(_, blade)| blade.port == port)?.1;
            Some(blade.hello.rate_bps).filter(|&bps| bps > 0)
        });
        let bps = said.fold(asked.rate_bps.min(rate.max.bits_per_second()), u64::min);
        self.agree(&rate, bps, By::Blade);
        Ok(bps)
    }

    fn agree(&mut self, rate: &RateConfig, bps: u64, by: By) {
        if self.rates.now(rate) == (bps, by) {
            return;
        }
        self.rates.agree(&self.config, rate, bps, by);
        let name = |port: PortId| self.config.port(port).map_or("", |port| port.name.as_str());
        tracing::info!(from = name(rate.from), to = name(rate.to), bps, by = by.name(), "another rate");
        self.publish();
    }

    fn rate_between(&self, from: PortId, to: PortId) -> Result<RateConfig, String> {
        let name = |port: PortId| self.config.port(port).map_or("", |port| port.name.as_str());
        let rate = self.config.rates.iter().find(|rate| (rate.from, rate.to) == (from, to)).copied();
        rate.ok_or_else(|| format!("no [[rate]] from {} to {} is configured: there is nothing to agree on", name(from), name(to)))
    }
}
