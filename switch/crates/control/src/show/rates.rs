//! Rates between ports, and what they did.

use serde::{Deserialize, Serialize};

use crate::plane::Control;
use crate::rates::By;

/// `show rates`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rates {
    /// In the order of the configuration.
    pub rates: Vec<Rate>,
}

/// How much one port may send to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// Name of the port that sends.
    pub from: String,
    /// Name of the port that is sent to.
    pub to: String,
    /// The rate that holds, in bit/s.
    pub rate_bps: u64,
    /// Who has said so.
    pub by: By,
    /// The most that may be agreed on, in bit/s.
    pub max_bps: u64,
    /// Bytes that may come at once.
    pub burst: u32,
    /// Frames that had room.
    pub frames: u64,
    /// Their bytes, without FCS.
    pub bytes: u64,
    /// Frames that were too many: dropped as `rate-exceeded`.
    pub exceeded: u64,
    /// Their bytes, without FCS.
    pub exceeded_bytes: u64,
}

/// The rates.
pub fn rates(control: &Control) -> Rates {
    let known = control.rates();
    let rates = control.config().rates.iter().map(|rate| {
        let (rate_bps, by) = known.now(rate);
        let counters = known.counters(rate);
        Rate {
            from: super::port_name(control, rate.from),
            to: super::port_name(control, rate.to),
            rate_bps,
            by,
            max_bps: rate.max.bits_per_second(),
            burst: rate.burst,
            frames: counters.frames,
            bytes: counters.bytes,
            exceeded: counters.exceeded,
            exceeded_bytes: counters.exceeded_bytes,
        }
    });
    Rates { rates: rates.collect() }
}
