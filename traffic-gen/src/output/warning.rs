//! Every warning about a measurement, in one place. Each says what it means for the numbers and what to do next.

use std::fmt;

use serde::Serialize;

use super::numbers::{count, fixed, micros, percent, ratio};

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
    /// Frames of the plan were not sent.
    SlotsMissed {
        /// How many.
        missed: u64,
        /// Wire time they would have taken on the port that missed most, ns.
        missed_ns: u64,
    },
    /// Frames left in bursts that were not planned.
    MicroBursts {
        /// Their share of all departures.
        share: f64,
    },
    /// The run was ended before its time.
    Interrupted,
    /// Trials were shorter or fewer than the standard asks for.
    NotTheStandard {
        /// What the standard says, and where: `RFC 2544, section 24, asks for trials of 60 s`.
        standard: String,
        /// What was done instead: `trials of 2 s`.
        done: String,
    },
    /// Time was simulated.
    VirtualClock,
    /// Frames of the tester came back damaged.
    Corrupted {
        /// How many.
        frames: u64,
    },
    /// Frames came out of ports they were not for.
    Flooded {
        /// How many copies.
        copies: u64,
    },
    /// Frames came out in another order than they went in.
    Reordered {
        /// How many were overtaken.
        frames: u64,
    },
    /// Frames came out more than once.
    Duplicated {
        /// How many copies too many.
        frames: u64,
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
            Self::SlotsMissed { missed, missed_ns } => write!(
                f,
                "{} frames of the plan were not sent ({} µs of wire on the port that missed most): the device saw less load than \
                 asked for; give the generator a core of its own, or ask for a lower rate",
                count(*missed),
                micros(*missed_ns as f64),
            ),
            Self::MicroBursts { share } => write!(
                f,
                "{} % of frames followed the one before in less than half of the planned time: a device with small buffers may lose \
                 frames to these bursts that it would not lose to the plan; isolate the generator's core, or pace in hardware",
                percent(*share),
            ),
            Self::Interrupted => {
                f.write_str("the run was interrupted: the figures hold for what was done; run it to the end before quoting them")
            }
            Self::NotTheStandard { standard, done } => {
                write!(f, "{standard}; this run had {done}: use it to look around, and run without `--quick` before quoting a figure")
            }
            Self::VirtualClock => f.write_str(
                "time was simulated (virtual clock): loss and order are the device's, but rates and latencies are those of the model \
                 of its links; run on real ports with the TSC for figures of a machine",
            ),
            Self::Corrupted { frames } => write!(
                f,
                "{} test frames came back damaged: look for a rewrite that was not asked for, or for a bad link (FCS errors of the NIC)",
                count(*frames),
            ),
            Self::Flooded { copies } => write!(
                f,
                "{} copies came out of ports they were not for: the device had not learned the addresses, or forgot them; send learning \
                 frames, and compare the ageing time with the length of a trial",
                count(*copies),
            ),
            Self::Reordered { frames } => write!(
                f,
                "{} frames were overtaken by later ones of their stream: a device that spreads a stream over several cores or links does \
                 that; the largest extent says how large a receiver's buffer must be",
                count(*frames),
            ),
            Self::Duplicated { frames } => write!(
                f,
                "{} frames came out more than once: look for a loop, a mirror port, or a flood that includes a learned port",
                count(*frames),
            ),
            Self::Other { text } => f.write_str(text),
        }
    }
}
