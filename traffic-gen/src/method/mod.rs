//! The methods: which trials to run, and what they add up to.
//!
//! - [`rfc2544`]: throughput, latency, frame loss rate, back-to-back frames (RFC 9004), system recovery, reset (RFC 6201);
//! - [`rfc2889`]: the ten tests of LAN switches; [`rfc3918`]: multicast;
//! - [`mlrsearch`]: RFC 9971; [`soak`]: one load for a long time.
//!
//! A method asks a [`Runner`] for trials and fills a [`Report`]. It never looks at a clock and sends nothing itself, so that it works
//! on any [testbed](crate::testbed).

pub mod figures;
pub mod mlrsearch;
pub mod pattern;
pub mod report;
pub mod rfc2544;
pub mod rfc2889;
pub mod rfc3918;
mod runner;
pub mod search;
pub mod soak;
pub mod variation;

use port::Nanos;

pub use pattern::Pattern;
pub use report::{Report, Table};
pub use runner::{Runner, Silent, TrialRow, Watch};

use crate::trial::Trial;

/// Frame sizes of RFC 2544 §9.1 for Ethernet, bytes with FCS.
pub const SIZES: [usize; 7] = [64, 128, 256, 512, 1024, 1280, 1518];

/// What holds for all trials of a method. The defaults are those of RFC 2544.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Frame sizes in bytes with FCS, each at least 64.
    pub sizes: Vec<usize>,
    /// Sending time of a trial: at least 60 s for a final result (RFC 2544 §24), 30 s recommended in RFC 2889 §5.1.2.
    pub trial: Nanos,
    /// Time to wait for frames after the last one was sent (RFC 2544 §23).
    pub wait: Nanos,
    /// Time for the device to settle afterwards (RFC 2544 §23).
    pub rest: Nanos,
    /// Stations announce themselves before each trial.
    pub learning: bool,
    /// Stations behind each port, at least 1.
    pub addresses: u16,
    /// Burst size (RFC 2285 §3.4.2), 1 to 930 in RFC 2889.
    pub burst: u32,
    /// Searches for a load end at this share of 100 %.
    pub resolution: f64,
    /// Loss ratio that a search still takes for none: 0 in the standards.
    pub loss_accepted: f64,
    /// Ageing time of the device, for tests that need an empty table.
    pub ageing: Nanos,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            sizes: SIZES.to_vec(),
            trial: Nanos::from_secs(60),
            wait: Nanos::from_secs(2),
            rest: Nanos::from_secs(5),
            learning: true,
            addresses: 1,
            burst: 1,
            resolution: 0.001,
            loss_accepted: 0.0,
            ageing: Nanos::from_secs(300),
        }
    }
}

impl Settings {
    /// A trial of nothing with these waiting times.
    pub fn empty_trial(&self, ports: usize) -> Trial {
        Trial { wait: self.wait, rest: self.rest, ..Trial::new(ports) }
    }
}
