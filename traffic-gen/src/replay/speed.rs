//! How fast: each way to say it becomes a rule for when frame `i` of loop `l` begins.

use std::fmt;

use super::ratio::Ratio;

/// How fast frames leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speed {
    /// As they were captured, so many times as fast (`--multiplier`); 1 is the original timing.
    Multiplier(Ratio),
    /// So many frames a second, all ports together (`--pps`), `burst` of them at once (`--pps-multi`).
    Pps {
        /// Frames a second.
        rate: Ratio,
        /// Frames that leave together; at least 1.
        burst: u64,
    },
    /// So many megabits a second, all ports together (`--mbps`). As in tcpreplay, the bytes of a frame count from its destination
    /// address to its end, padding included, FCS not.
    Mbps(Ratio),
    /// So many megabits a second on the wire, all ports together: preamble, FCS and gap count (`--mbps-l1`).
    MbpsL1(Ratio),
    /// So many per cent of each port's line (`--percent`).
    Percent(Ratio),
    /// As fast as each port's line carries them (`--topspeed`).
    Topspeed,
    /// So many ns between the end of a frame and the preamble of the next, on each port (`--ipg`).
    Ipg {
        /// The gap. Less than the 96 bit times of Ethernet becomes these.
        ns: u64,
    },
}

impl Speed {
    /// The original timing.
    pub const ORIGINAL: Speed = Speed::Multiplier(Ratio::ONE);

    /// Does it promise a rate? Then a line that is too slow for it is a failure, not a property of the capture.
    pub fn promises_a_rate(&self) -> bool {
        match self {
            Speed::Pps { .. } | Speed::Mbps(_) | Speed::MbpsL1(_) => true,
            Speed::Multiplier(_) | Speed::Percent(_) | Speed::Topspeed | Speed::Ipg { .. } => false,
        }
    }
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Speed::Multiplier(Ratio::ONE) => f.write_str("original timing"),
            Speed::Multiplier(times) => write!(f, "{times} times the original speed"),
            Speed::Pps { rate, burst: 1 } => write!(f, "{rate} frames/s"),
            Speed::Pps { rate, burst } => write!(f, "{rate} frames/s, {burst} at once"),
            Speed::Mbps(rate) => write!(f, "{rate} Mb/s of frames"),
            Speed::MbpsL1(rate) => write!(f, "{rate} Mb/s on the wire"),
            Speed::Percent(share) => write!(f, "{share} % of each line"),
            Speed::Topspeed => f.write_str("top speed"),
            Speed::Ipg { ns } => write!(f, "{ns} ns between frames"),
        }
    }
}
