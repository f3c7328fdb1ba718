//! How well the generator kept its plan: the tester tested first.
//!
//! For each frame it is known when it should have left and when it did. From that follow
//! - *lateness*: actual less planned departure;
//! - *spacing*: the time since the frame before, less what was planned: the inter-departure error, of which the share within ±64,
//!   ±128 and ±256 ns is what generators are compared by (Emmerich et al., "Mind the Gap", ANCS 2017; MoonGen, IMC 2015);
//! - *micro-bursts*: frames that followed the one before in less than half of the planned time. A device with a small buffer loses
//!   frames to them that it would not have lost to the plan;
//! - *missed slots*: frames that were not sent at all, because their time was over or no buffer was free.
//!
//! A run that missed more than [`MISSED_MAX`] worth of wire time did not offer the load it was asked for, and is INVALID.
//!
//! A bias of the tester itself is measured by looping frames back past the device: [`LoopbackBias`]. It is printed beside the
//! results and never taken off them.
//!
//! Threads: a [`PacingMeter`] belongs to the loop that sends.

use hdrhistogram::Histogram;
use port::Nanos;
use serde::Serialize;

use super::buckets::{Buckets, SignedBuckets};
use crate::output::numbers::{count, micros};

/// A run that missed more wire time than this on one port is not valid.
pub const MISSED_MAX: Nanos = Nanos(10_000);

/// The distances in ns from the planned spacing that generators are compared by.
pub const SPACINGS_NS: [u64; 3] = [64, 128, 256];

/// Watches the departures of one port.
#[derive(Clone, Debug, Default)]
pub struct PacingMeter {
    lateness: Buckets,
    spacing: SignedBuckets,
    departed: u64,
    micro_bursts: u64,
    missed: u64,
    missed_ps: u64,
    last_intended: Nanos,
    last_actual: Nanos,
}

impl PacingMeter {
    /// A frame planned for `intended` left at `actual`.
    #[inline]
    pub fn departed(&mut self, intended: Nanos, actual: Nanos) {
        self.lateness.record(actual.since(intended).0);
        if self.departed > 0 {
            let (planned, took) = (intended.since(self.last_intended).0, actual.since(self.last_actual).0);
            self.spacing.record(took.wrapping_sub(planned) as i64);
            self.micro_bursts += u64::from(took < planned / 2);
        }
        self.departed += 1;
        self.last_intended = intended;
        self.last_actual = actual;
    }

    /// A frame that would have taken `wire_ps` picoseconds of wire, gap included, was not sent.
    #[inline]
    pub fn missed(&mut self, wire_ps: u64) {
        self.missed += 1;
        self.missed_ps = self.missed_ps.saturating_add(wire_ps);
    }

    /// What was seen on the port. `offered` is the count of frames that the plan held for this time.
    pub fn finish(&self) -> Pacing {
        Pacing {
            departed: self.departed,
            lateness: self.lateness.histogram(),
            spacing: self.spacing.clone(),
            micro_bursts: self.micro_bursts,
            missed: self.missed,
            missed_time: Nanos(self.missed_ps.div_ceil(1_000)),
            missed_time_worst: Nanos(self.missed_ps.div_ceil(1_000)),
        }
    }
}

/// How well one port, or all of them together, kept the plan.
#[derive(Clone, Debug)]
pub struct Pacing {
    /// Frames sent.
    pub departed: u64,
    /// Actual less planned departure in ns.
    pub lateness: Histogram<u64>,
    /// Time since the frame before, less what was planned, in ns.
    pub spacing: SignedBuckets,
    /// Frames that followed the one before in less than half of the planned time.
    pub micro_bursts: u64,
    /// Frames not sent.
    pub missed: u64,
    /// Wire time they would have taken, all ports.
    pub missed_time: Nanos,
    /// The same of the port that missed most.
    pub missed_time_worst: Nanos,
}

impl Default for Pacing {
    fn default() -> Self {
        PacingMeter::default().finish()
    }
}

impl Pacing {
    /// Adds another port.
    pub fn merge(&mut self, other: &Pacing) {
        self.departed += other.departed;
        for recorded in other.lateness.iter_recorded() {
            self.lateness.saturating_record_n(recorded.value_iterated_to(), recorded.count_at_value());
        }
        self.spacing.merge(&other.spacing);
        self.micro_bursts += other.micro_bursts;
        self.missed += other.missed;
        self.missed_time = self.missed_time + other.missed_time;
        self.missed_time_worst = self.missed_time_worst.max(other.missed_time_worst);
    }

    /// The share of departures within each of [`SPACINGS_NS`] of the planned spacing; `None` with fewer than two frames.
    pub fn shares_within(&self) -> Option<[f64; 3]> {
        let [a, b, c] = SPACINGS_NS.map(|ns| self.spacing.share_within(ns));
        Some([a?, b?, c?])
    }

    /// The share of departures that were micro-bursts; `None` with fewer than two frames.
    pub fn micro_burst_share(&self) -> Option<f64> {
        let pairs = self.spacing.len();
        (pairs > 0).then(|| self.micro_bursts as f64 / pairs as f64)
    }

    /// Whether the load was offered as planned: no port missed more than [`MISSED_MAX`] of wire time.
    pub fn is_valid(&self) -> bool {
        self.missed_time_worst <= MISSED_MAX
    }
}

/// The tester's own part of every latency, from frames looped back past the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LoopbackBias {
    /// Frames that came back.
    pub frames: u64,
    /// The shortest way round, ns: what every latency contains at least.
    pub min_ns: u64,
    /// The usual way round, ns.
    pub p50_ns: u64,
    /// What one frame in a thousand exceeded, ns.
    pub p999_ns: u64,
    /// The longest way round, ns.
    pub max_ns: u64,
}

impl LoopbackBias {
    /// From latencies in ns that were measured without a device; `None` without samples.
    pub fn of(looped: &Histogram<u64>) -> Option<LoopbackBias> {
        (!looped.is_empty()).then(|| LoopbackBias {
            frames: looped.len(),
            min_ns: looped.min(),
            p50_ns: looped.value_at_quantile(0.5),
            p999_ns: looped.value_at_quantile(0.999),
            max_ns: looped.max(),
        })
    }

    /// For people, in µs: `0.105 to 6.207 µs, P50 0.131, P99.9 2.103, of 1,488 frames`.
    pub fn text(&self) -> String {
        let [min, p50, p999, max] = [self.min_ns, self.p50_ns, self.p999_ns, self.max_ns].map(|ns| micros(ns as f64));
        format!("{min} to {max} µs, P50 {p50}, P99.9 {p999}, of {} frames", count(self.frames))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Departures every `period` ns, each late by what `late` says.
    fn pacing(period: u64, late: impl IntoIterator<Item = u64>) -> Pacing {
        let mut meter = PacingMeter::default();
        for (i, late) in (0..).zip(late) {
            meter.departed(Nanos(i * period), Nanos(i * period + late));
        }
        meter.finish()
    }

    #[test]
    fn a_perfect_generator_is_perfect() {
        let pacing = pacing(672, [0; 1_000]);
        assert_eq!(pacing.shares_within(), Some([1.0; 3]));
        assert_eq!((pacing.micro_burst_share(), pacing.lateness.max(), pacing.departed), (Some(0.0), 0, 1_000));
        assert!(pacing.is_valid());
    }

    #[test]
    fn being_late_by_the_same_is_no_error_of_spacing() {
        let pacing = pacing(672, [5_000; 100]);
        assert_eq!(pacing.shares_within(), Some([1.0; 3]));
        assert_eq!(pacing.lateness.value_at_quantile(0.5), pacing.lateness.highest_equivalent(5_000));
    }

    /// Every tenth frame waits 100, 200 and 300 ns in turn; each such delay lengthens one spacing and shortens the next.
    #[test]
    fn injected_delays_are_told_by_their_size() {
        let late = (0..3_000).map(|i| if i % 10 == 5 { 100 * (1 + i / 10 % 3) } else { 0 });
        let pacing = pacing(672, late);
        let pairs = 2_999.0;
        assert_eq!(pacing.shares_within(), Some([(pairs - 600.0) / pairs, (pairs - 400.0) / pairs, (pairs - 200.0) / pairs]));
        assert_eq!((pacing.spacing.quantile(0.0), pacing.spacing.quantile(1.0)), (Some(-300), Some(300)));
        assert_eq!(pacing.micro_bursts, 0, "372 ns are more than half of 672");
    }

    /// A loop that looks every fourth period sends four frames at once.
    #[test]
    fn frames_sent_at_once_are_micro_bursts() {
        let pacing = pacing(672, (0..4_000).map(|i| (3 - i % 4) * 672));
        assert_eq!(pacing.micro_bursts, 3_000);
        assert_eq!(pacing.shares_within(), Some([0.0; 3]));
    }

    #[test]
    fn ten_microseconds_of_missed_slots_turn_the_verdict() {
        let mut meter = PacingMeter::default();
        // 148 frames of 64 B at 10G take 9,945.6 ns, 149 take 10,012.8.
        (0..148).for_each(|_| meter.missed(67_200));
        assert!(meter.finish().is_valid());
        meter.missed(67_200);
        let mut pacing = meter.finish();
        assert_eq!((pacing.missed, pacing.missed_time, pacing.is_valid()), (149, Nanos(10_013), false));
        // Many ports that each missed a little are valid; one that missed much is not made valid by others.
        let mut small = PacingMeter::default();
        small.missed(9_000_000);
        let mut sum = small.finish();
        sum.merge(&small.finish());
        assert!(sum.is_valid() && sum.missed_time == Nanos(18_000));
        pacing.merge(&sum);
        assert!(!pacing.is_valid());
    }

    #[test]
    fn a_bias_needs_samples() {
        let mut histogram = super::super::buckets::empty_histogram();
        assert_eq!(LoopbackBias::of(&histogram), None);
        (1..=1_000).for_each(|ns| histogram.saturating_record(ns));
        let bias = LoopbackBias { frames: 1_000, min_ns: 1, p50_ns: 500, p999_ns: 999, max_ns: 1_000 };
        assert_eq!(LoopbackBias::of(&histogram), Some(bias));
        assert_eq!(bias.text(), "0.001 to 1.000 µs, P50 0.500, P99.9 0.999, of 1,000 frames");
    }

    proptest! {
        #[test]
        fn spacing_errors_sum_to_the_change_of_lateness(late in proptest::collection::vec(0_u64..2_000, 2..200)) {
            // Period so long that no frame overtakes another.
            let pacing = pacing(5_000, late.iter().copied());
            let sum: i64 = pacing.spacing.iter().map(|(error, count)| error * count as i64).sum();
            prop_assert_eq!(sum, late[late.len() - 1] as i64 - late[0] as i64);
        }
    }
}
