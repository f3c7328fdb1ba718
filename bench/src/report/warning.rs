//! Every warning about a measurement, in one place. Each says what it means for the numbers and what to do next.

use std::fmt;

use serde::Serialize;

use super::model::ratio;
use super::numbers::{count, fixed, micros, percent};

/// Something a reader has to know before believing the numbers. [`fmt::Display`] gives the sentence to print.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Warning {
    /// The CPU changes its clock while we measure.
    GovernorNotPerformance {
        /// The governor in force.
        governor: String,
    },
    /// The generator did not send what the plan asked for.
    GeneratorBelowRate {
        /// Rate of the plan, frames a second.
        asked_pps: f64,
        /// Rate sent, frames a second.
        achieved_pps: f64,
    },
    /// There was no load at all.
    NothingSent,
    /// Switch and generator take turns on the same cores.
    CoresShared {
        /// Cores for every thread to have its own.
        needed: usize,
        /// Cores this process may use.
        available: usize,
    },
    /// The mempool lies on ordinary pages.
    NoHugepages,
    /// Frames came out nowhere.
    FramesLost {
        /// How many.
        lost: u64,
        /// Frames that should have come out.
        due: u64,
    },
    /// The switch's own account is wrong: a bug in the switch.
    LedgerNotBalanced {
        /// What came in less what is accounted for.
        difference: i128,
    },
    /// The two cores were far apart.
    CoresFar {
        /// Time for a cache line between them, ns.
        line_transfer_ns: f64,
    },
    /// The distance of the two cores changed while we measured.
    PhaseChanged {
        /// Time for a cache line before the run, ns.
        before_ns: f64,
        /// And after it, ns.
        after_ns: f64,
    },
    /// Not every frame was stamped.
    LatencySampled {
        /// One frame in so many was, in the direction with the fewest.
        one_in: u64,
    },
    /// A direction has no latency at all.
    NoLatency {
        /// Which.
        direction: String,
    },
    /// A thread that must not stop was stopped.
    Preempted {
        /// Which thread, as `switch worker 0` or `generator`.
        thread: String,
        /// The longest time between two turns of its loop, ns.
        gap_max_ns: u64,
    },
    /// The run was too short to say much about rare events.
    ShortRun {
        /// Length of the measured part, s.
        duration_s: f64,
    },
    /// Anything else, in the scenario's own words: what it means and what to do next.
    Other {
        /// The sentence.
        text: String,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::GovernorNotPerformance { governor } => write!(
                f,
                "the CPU frequency governor is `{governor}`, so the clock moves while we measure: \
                 run `cpupower frequency-set -g performance` and measure again"
            ),
            Self::GeneratorBelowRate { asked_pps, achieved_pps } => write!(
                f,
                "the generator sent {} Mpps where {} were asked for ({} %): the figures hold for the load that was sent and say \
                 nothing about more; give the generator cores of its own, or ask for less (fewer blades, lower speeds, larger frames)",
                fixed(achieved_pps / 1e6, 3),
                fixed(asked_pps / 1e6, 3),
                if *asked_pps > 0.0 { percent(achieved_pps / asked_pps) } else { "-".to_owned() },
            ),
            Self::NothingSent => f.write_str(
                "not one frame was sent, so nothing was measured: look at the plan (sizes, speeds, duration) and at the captures it reads",
            ),
            Self::CoresShared { needed, available } => write!(
                f,
                "{needed} cores are needed and {available} can be used, so switch and generator take turns: rates are too low and \
                 latency includes waiting for a core; use a machine with {needed} cores or fewer workers"
            ),
            Self::NoHugepages => f.write_str(
                "no hugepages, so the buffers lie on ordinary pages and miss the TLB more often: \
                 reserve some with `sysctl vm.nr_hugepages=512` and measure again",
            ),
            Self::FramesLost { lost, due } => write!(
                f,
                "{} of {} frames were lost ({} %), so this is not a throughput in the sense of RFC 2544: look for the reason among \
                 the drops, and lower the load until nothing is lost",
                count(*lost),
                count(*due),
                percent(ratio(*lost, *due)),
            ),
            Self::LedgerNotBalanced { difference } => write!(
                f,
                "the ledger is off by {difference} frames: the switch lost track of them, which is a bug; do not use these numbers, \
                 and report the command and the seed"
            ),
            Self::CoresFar { line_transfer_ns } => write!(
                f,
                "a cache line took {} ns between the cores of switch and generator, so they are far apart (about 85 ns is near): \
                 the same switch is faster on near cores; pin both to one socket, or repeat until the machine places them near",
                fixed(*line_transfer_ns, 0),
            ),
            Self::PhaseChanged { before_ns, after_ns } => write!(
                f,
                "the time for a cache line between the cores changed from {} to {} ns during the run, so the machine was not the same \
                 throughout: look at the rate over time, and measure again",
                fixed(*before_ns, 0),
                fixed(*after_ns, 0),
            ),
            Self::LatencySampled { one_in } => write!(
                f,
                "latency was sampled, one frame in {}: rare delays may have been missed, and the maximum is that of the samples; \
                 a lower rate lets every frame be stamped",
                count(*one_in),
            ),
            Self::NoLatency { direction } => write!(
                f,
                "no latency sample for {direction}: nothing of it arrived or nothing was stamped; run longer, or sample more often"
            ),
            Self::Preempted { thread, gap_max_ns } => write!(
                f,
                "{thread} was off its core for up to {} µs: the upper percentiles and loss by full queues may be the machine's and \
                 not the switch's; isolate its core (isolcpus, nohz_full) or measure again on a quiet machine",
                micros(*gap_max_ns as f64),
            ),
            Self::ShortRun { duration_s } => write!(
                f,
                "the run took {} s, too short for rare events: run 60 s, as RFC 2544 does, before quoting loss or high percentiles",
                fixed(*duration_s, 1),
            ),
            Self::Other { text } => f.write_str(text),
        }
    }
}
