//! Rates between ports: what the configuration begins with, and what is agreed on while the switch runs.
//!
//! The rate of a pair is that of its `[[rate]]` until a blade asks for another by message, or an operator by the API. A blade gets what it asks
//! for, but no more than the `max` of the pair and what either blade has said in its hello that it can take.
//!
//! A pair has a bucket and counters in the workers, by a number that it keeps as long as it is configured ([`dataplane::police`]).

use std::sync::Arc;

use dataplane::police::{PAIRS_MAX, Pair, PairCounters, PublishedPairs, Rates as Table};
use port::PortId;
use serde::{Deserialize, Serialize};

use crate::config::{Config, RateConfig};

/// Who has said what the rate is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// The configuration.
    #[default]
    Config,
    /// Somebody by the API.
    Operator,
    /// The blade that sends, by message.
    Blade,
}

impl By {
    /// The name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            By::Config => "config",
            By::Operator => "operator",
            By::Blade => "blade",
        }
    }
}

#[derive(Debug)]
struct Known {
    ports: (PortId, PortId),
    /// What was agreed on, and by whom it was asked for.
    agreed: Option<(u64, By)>,
    /// What the counters of this number had counted before they were this pair's.
    before: PairCounters,
}

/// The rates of one switch.
#[derive(Debug, Default)]
pub struct Rates {
    /// By number.
    known: Vec<Known>,
    /// Of each worker.
    counters: Vec<Arc<PublishedPairs>>,
}

impl Rates {
    /// With the counters of the workers.
    pub fn new(counters: Vec<Arc<PublishedPairs>>) -> Rates {
        Rates { known: Vec::new(), counters }
    }

    /// What the workers work with; `None`: there are no rates.
    pub fn build(&mut self, config: &Config) -> Option<Arc<Table>> {
        if config.rates.is_empty() {
            return None;
        }
        let pair = |rate: &RateConfig| {
            let counter = self.number(config, (rate.from, rate.to))?;
            let rate_bps = self.known[counter].agreed.map_or(rate.rate.bits_per_second(), |(bps, _)| bps);
            Some(Pair { from: rate.from, to: rate.to, rate_bps, burst: rate.burst, counter })
        };
        let pairs: Vec<Pair> = config.rates.iter().filter_map(pair).collect();
        Some(Arc::new(Table::new(pairs)))
    }

    /// The number of a pair: its own, a new one, or that of a pair that is not configured any more.
    fn number(&mut self, config: &Config, ports: (PortId, PortId)) -> Option<usize> {
        if let Some(number) = self.known.iter().position(|known| known.ports == ports) {
            return Some(number);
        }
        if self.known.len() < PAIRS_MAX {
            self.known.push(Known { ports, agreed: None, before: PairCounters::default() });
            return Some(self.known.len() - 1);
        }
        let is_there = |known: &Known| config.rates.iter().any(|rate| (rate.from, rate.to) == known.ports);
        let number = self.known.iter().position(|known| !is_there(known))?;
        self.known[number] = Known { ports, agreed: None, before: self.sum(number) };
        Some(number)
    }

    /// Forgets what was agreed on for pairs that another configuration is different about.
    pub fn follow(&mut self, before: &Config, after: &Config) {
        for known in &mut self.known {
            let of = |config: &Config| config.rates.iter().find(|rate| (rate.from, rate.to) == known.ports).copied();
            if of(before) != of(after) {
                known.agreed = None;
            }
        }
    }

    /// Sets what was agreed on for a pair that is configured.
    pub fn agree(&mut self, config: &Config, rate: &RateConfig, bps: u64, by: By) {
        if let Some(number) = self.number(config, (rate.from, rate.to)) {
            self.known[number].agreed = Some((bps, by));
        }
    }

    /// The rate that holds, in bit/s, and who has said so.
    pub fn now(&self, rate: &RateConfig) -> (u64, By) {
        let known = self.known.iter().find(|known| known.ports == (rate.from, rate.to));
        known.and_then(|known| known.agreed).unwrap_or((rate.rate.bits_per_second(), By::Config))
    }

    /// What all workers have counted.
    pub fn counters(&self, rate: &RateConfig) -> PairCounters {
        let Some(number) = self.known.iter().position(|known| known.ports == (rate.from, rate.to)) else { return PairCounters::default() };
        let (sum, before) = (self.sum(number), self.known[number].before);
        PairCounters {
            frames: sum.frames - before.frames,
            bytes: sum.bytes - before.bytes,
            exceeded: sum.exceeded - before.exceeded,
            exceeded_bytes: sum.exceeded_bytes - before.exceeded_bytes,
        }
    }

    fn sum(&self, number: usize) -> PairCounters {
        self.counters.iter().map(|worker| worker.pair(number)).fold(PairCounters::default(), |sum, more| PairCounters {
            frames: sum.frames + more.frames,
            bytes: sum.bytes + more.bytes,
            exceeded: sum.exceeded + more.exceeded,
            exceeded_bytes: sum.exceeded_bytes + more.exceeded_bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Speed;

    fn rate(from: u8, to: u8, mbps: u64) -> RateConfig {
        let speed = Speed::from_bits_per_second(mbps * 1_000_000).unwrap();
        RateConfig { from: PortId(from), to: PortId(to), rate: speed, max: speed, burst: 10_000 }
    }

    #[test]
    fn a_pair_keeps_its_number_and_what_was_agreed_on() {
        let mut config = Config { rates: vec![rate(0, 1, 5), rate(1, 0, 6)], ..Config::default() };
        let mut rates = Rates::default();
        assert_eq!(rates.build(&Config::default()), None);
        let numbers = |table: Option<Arc<Table>>| -> Vec<(usize, u64)> {
            table.unwrap().pairs().iter().map(|pair| (pair.counter, pair.rate_bps)).collect()
        };
        assert_eq!(numbers(rates.build(&config)), [(0, 5_000_000), (1, 6_000_000)]);
        rates.agree(&config, &config.rates[1], 4_000_000, By::Blade);
        let before = config.clone();
        config.rates = vec![rate(2, 0, 7), rate(1, 0, 6)];
        rates.follow(&before, &config);
        assert_eq!(numbers(rates.build(&config)), [(2, 7_000_000), (1, 4_000_000)]);
        assert_eq!((rates.now(&config.rates[1]), rates.now(&config.rates[0])), ((4_000_000, By::Blade), (7_000_000, By::Config)));
        let before = config.clone();
        config.rates[1] = rate(1, 0, 8);
        rates.follow(&before, &config);
        assert_eq!(numbers(rates.build(&config)), [(2, 7_000_000), (1, 8_000_000)]);
    }

    #[test]
    fn numbers_that_are_used_up_are_used_again() {
        let mut rates = Rates::default();
        for from in 0..PAIRS_MAX as u32 + 10 {
            let config = Config { rates: vec![rate((from / 100) as u8, 20 + (from % 100) as u8, 1)], ..Config::default() };
            let pairs = rates.build(&config).unwrap().pairs().to_vec();
            assert!(pairs.len() == 1 && pairs[0].counter < PAIRS_MAX);
        }
    }
}
