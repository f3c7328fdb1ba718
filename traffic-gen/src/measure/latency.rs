//! Latency of every frame, seen in three ways, and how it varies.
//!
//! - *from the send time*: how long the device took. A generator that stalls sends late, and this view does not see it.
//! - *from the planned time*: how long a user waited who wanted to send by the plan. A stall of the generator, or of a device that
//!   holds the generator up, is charged to every frame that should have been sent during it: corrected for coordinated
//!   omission as `wrk2` does.
//! - *at an expected interval* ([`Latencies::at_expected_interval`]): HdrHistogram's own correction, which fills in what a tester
//!   that waits for each answer left out. For comparing with such testers; the view above needs no guess.
//!
//! Variation: *PDV*, latency less the smallest one (RFC 5481, section 4.2; its P99.9 is what ITU-T Y.1540 uses); *IPDV*, the
//! latency of a frame less that of the one sent before it (RFC 3393; RFC 5481, section 4.1), for neighbours that both arrived
//! and in order; *jitter*, the smoothed size of the same difference in order of arrival (RFC 3550, section 6.4.1 and appendix
//! A.8, in integers).
//!
//! Limits: values to three digits, 0 to 10 s. Views and PDV have the width of the buckets that the latency fell into:
//! [`Latencies::resolution`] says how wide those are. One meter serves all streams of a direction; what links one frame to the
//! next is kept for each stream in a [`Variation`].
//!
//! Threads: one owner. For a look at an interval the owner hands a meter on with [`LatencyMeter::take`].

use hdrhistogram::Histogram;
use port::Nanos;

use super::buckets::{Buckets, SignedBuckets, empty_histogram};

/// The last latency and the jitter of one stream.
#[derive(Clone, Copy, Debug, Default)]
pub struct Variation {
    last: u64,
    /// Sixteen times the jitter, as RFC 3550 A.8 keeps it. Never more than sixteen times the largest step.
    jitter_16: u64,
    seen: bool,
}

impl Variation {
    /// The latency less that of the frame before, in ns; `None` for the first.
    #[inline]
    pub fn step(&mut self, latency: Nanos) -> Option<i64> {
        // 63 bits of ns are 292 years: what does not fit came from a frame that lied, and wraps.
        let change = latency.0.wrapping_sub(std::mem::replace(&mut self.last, latency.0)) as i64;
        if !std::mem::replace(&mut self.seen, true) {
            return None;
        }
        let decay = self.jitter_16.wrapping_add(8) >> 4;
        self.jitter_16 = self.jitter_16.wrapping_add(change.unsigned_abs()).wrapping_sub(decay);
        Some(change)
    }

    /// Interarrival jitter in ns, RFC 3550.
    pub fn jitter(&self) -> Nanos {
        Nanos(self.jitter_16 >> 4)
    }
}

/// Counts the latencies of one direction.
#[derive(Clone, Debug, Default)]
pub struct LatencyMeter {
    sent: Buckets,
    intended: Buckets,
    ipdv: SignedBuckets,
}

impl LatencyMeter {
    /// The first copy of a frame: how long ago it was sent, and how long ago that was planned.
    #[inline]
    pub fn record(&mut self, since_sent: Nanos, since_intended: Nanos) {
        self.sent.record(since_sent.0);
        self.intended.record(since_intended.0);
    }

    /// The latency of a frame less that of the one sent before it, in ns.
    #[inline]
    pub fn record_ipdv(&mut self, change: i64) {
        self.ipdv.record(change);
    }

    /// Adds what another meter counted.
    pub fn merge(&mut self, other: &LatencyMeter) {
        self.sent.merge(&other.sent);
        self.intended.merge(&other.intended);
        self.ipdv.merge(&other.ipdv);
    }

    /// Hands over what was counted and goes on with `empty`, without looking at a single bucket.
    ///
    /// Whoever gets it merges it into a total, and clears it for the next time.
    pub fn take(&mut self, empty: LatencyMeter) -> LatencyMeter {
        std::mem::replace(self, empty)
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.sent.clear();
        self.intended.clear();
        self.ipdv.clear();
    }

    /// Latencies from the send time so far: a pass over all buckets.
    pub fn since_sent(&self) -> Histogram<u64> {
        self.sent.histogram()
    }

    /// Everything that follows from the counts.
    pub fn finish(&self) -> Latencies {
        let sent = self.sent.histogram();
        Latencies { pdv: pdv(&sent), sent, intended: self.intended.histogram(), ipdv: self.ipdv.clone(), jitter: None }
    }
}

/// The latencies of one direction in ns.
#[derive(Clone, Debug)]
pub struct Latencies {
    /// From the moment a frame was sent.
    pub sent: Histogram<u64>,
    /// From the moment it should have been: corrected for coordinated omission.
    pub intended: Histogram<u64>,
    /// Latency from the send time less the smallest one (RFC 5481).
    pub pdv: Histogram<u64>,
    /// Latency less that of the frame sent before (RFC 5481).
    pub ipdv: SignedBuckets,
    /// Interarrival jitter at the end (RFC 3550), of the stream in which it is largest; `None` if whoever counted has not said.
    pub jitter: Option<Nanos>,
}

impl Latencies {
    /// The first view with HdrHistogram's correction for a tester that would have sent every `interval`, had it not waited.
    pub fn at_expected_interval(&self, interval: Nanos) -> Histogram<u64> {
        self.sent.clone_correct(interval.0)
    }

    /// The 99.9th percentile of PDV; `None` without samples.
    pub fn pdv_p999(&self) -> Option<Nanos> {
        (!self.pdv.is_empty()).then(|| Nanos(self.pdv.value_at_quantile(0.999)))
    }

    /// How exact the values are: the width of the bucket of the largest, at most a thousandth of it.
    pub fn resolution(&self) -> Nanos {
        Nanos(self.sent.equivalent_range(self.sent.max()))
    }
}

/// Values less the smallest. Both are known to the width of their buckets, and so is the difference.
fn pdv(histogram: &Histogram<u64>) -> Histogram<u64> {
    let mut pdv = empty_histogram();
    let min = histogram.min();
    for recorded in histogram.iter_recorded() {
        let value = histogram.lowest_equivalent(recorded.value_iterated_to());
        pdv.saturating_record_n(value - min, recorded.count_at_value());
    }
    pdv
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn meter(latencies: impl IntoIterator<Item = (u64, u64)>) -> LatencyMeter {
        let (mut meter, mut variation) = (LatencyMeter::default(), Variation::default());
        for (sent, intended) in latencies {
            meter.record(Nanos(sent), Nanos(intended));
            if let Some(change) = variation.step(Nanos(sent)) {
                meter.record_ipdv(change);
            }
        }
        meter
    }

    /// 1 to 1,000 ns, each as often, in an order without pattern: percentiles are the numbers themselves.
    #[test]
    fn a_known_distribution_has_exact_percentiles() {
        let shuffled = (0..1_000_u64).map(|i| i * 387 % 1_000 + 1);
        let latencies = meter(shuffled.map(|ns| (ns, ns + 500))).finish();
        for (quantile, ns) in [(0.001, 1), (0.5, 500), (0.9, 900), (0.99, 990), (0.999, 999), (1.0, 1_000)] {
            assert_eq!(latencies.sent.value_at_quantile(quantile), ns);
            assert_eq!(latencies.intended.value_at_quantile(quantile), ns + 500);
            assert_eq!(latencies.pdv.value_at_quantile(quantile), ns - 1, "RFC 5481: less the smallest");
        }
        assert_eq!(latencies.pdv_p999(), Some(Nanos(998)));
        assert_eq!(latencies.sent.mean(), 500.5);
        assert_eq!(latencies.resolution(), Nanos(1));
        // Steps of +387 and of 387 - 1,000, the latter as often as 387 of 1,000.
        assert_eq!((latencies.ipdv.quantile(0.0), latencies.ipdv.quantile(1.0)), (Some(-613), Some(387)));
        assert_eq!(latencies.ipdv.len(), 999);
    }

    /// A frame every 100 µs for 10 s. After 5 s the generator stands still for 1.4 s and then sends at once what it missed; the
    /// device takes 20 µs throughout. `wrk2` shows the same example.
    #[test]
    fn a_stall_shows_in_the_corrected_view_only() {
        let stall = 5_000_000_000..6_400_000_000_u64;
        let latencies = meter((0..100_000).map(|i| {
            let intended = i * 100_000;
            let sent = if stall.contains(&intended) { stall.end } else { intended };
            (20_000, sent + 20_000 - intended)
        }))
        .finish();
        assert_eq!(latencies.sent.min(), latencies.sent.lowest_equivalent(20_000));
        assert_eq!(latencies.sent.max(), latencies.sent.highest_equivalent(20_000), "the device never took longer");
        let p = |quantile| latencies.intended.value_at_quantile(quantile) as f64 / 1e9;
        assert_eq!(latencies.intended.value_at_quantile(0.85), latencies.intended.highest_equivalent(20_000));
        // 14 % of frames waited, evenly between 0 and 1.4 s: 1.4 s less a tenth of it for each 1.4 % from the end.
        assert!((p(0.99) - 1.3).abs() < 0.002, "{}", p(0.99));
        assert!((p(0.93) - 0.7).abs() < 0.002, "{}", p(0.93));
        assert!((p(1.0) - 1.4).abs() < 0.002, "{}", p(1.0));
        assert!(latencies.pdv.max() == 0 && latencies.ipdv.share_within(0) == Some(1.0));
    }

    /// A tester that waits for each answer sees a stall of the device once; HdrHistogram fills in the rest.
    #[test]
    fn an_expected_interval_fills_in_what_was_not_sent() {
        let latencies = meter((0..10_000).map(|i| if i == 5_000 { 1_000_000_000 } else { 20_000 }).map(|ns| (ns, ns))).finish();
        assert!(latencies.sent.value_at_quantile(0.99) < 21_000);
        let corrected = latencies.at_expected_interval(Nanos(100_000));
        // As many as fit into a second, to the three digits in which that second is known.
        assert!(corrected.len().abs_diff(10_000 + 9_999) < 10, "{}", corrected.len());
        assert!(corrected.value_at_quantile(0.99) > 900_000_000);
    }

    #[test]
    fn nothing_measured_is_nothing() {
        let latencies = LatencyMeter::default().finish();
        assert!(latencies.sent.is_empty() && latencies.pdv.is_empty() && latencies.ipdv.is_empty());
        assert_eq!((latencies.pdv_p999(), latencies.ipdv.quantile(0.5)), (None, None));
        assert_eq!(Variation::default().jitter(), Nanos(0));
    }

    /// RFC 3550 A.8 as printed there: `s->jitter += d - ((s->jitter + 8) >> 4)`, reported `>> 4`.
    #[test]
    fn jitter_settles_at_the_size_of_the_steps() {
        let mut variation = Variation::default();
        for i in 0..1_000 {
            variation.step(Nanos(10_000 + 800 * (i % 2)));
        }
        // Rounding in the sixteenths keeps it half a unit below: so does the code of the RFC.
        assert_eq!(variation.jitter(), Nanos(799));
        variation.step(Nanos(10_800 + 16_000));
        assert_eq!(variation.jitter(), Nanos(799 + (16_000 - 799) / 16));
    }

    proptest! {
        #[test]
        fn steps_and_jitter_as_in_floating_point(latencies in proptest::collection::vec(0_u64..1_000_000, 1..300)) {
            let (mut variation, mut jitter) = (Variation::default(), 0.0_f64);
            for (i, &latency) in latencies.iter().enumerate() {
                let step = variation.step(Nanos(latency));
                let expected = i.checked_sub(1).map(|before| latency as i64 - latencies[before] as i64);
                prop_assert_eq!(step, expected);
                // RFC 3550, section 6.4.1.
                jitter += (expected.unwrap_or(0).abs() as f64 - jitter) / 16.0;
            }
            prop_assert!((variation.jitter().0 as f64 - jitter).abs() <= 1.5, "{} and {jitter}", variation.jitter().0);
        }

        #[test]
        fn taken_meters_add_up(latencies in proptest::collection::vec((0_u64..1 << 33, 0_u64..1 << 33), 0..100), cut in 0_usize..100) {
            let whole = meter(latencies.iter().copied()).finish();
            let (mut running, mut total) = (LatencyMeter::default(), LatencyMeter::default());
            for (i, &(sent, intended)) in latencies.iter().enumerate() {
                running.record(Nanos(sent), Nanos(intended));
                if i == cut {
                    total.merge(&running.take(LatencyMeter::default()));
                }
            }
            total.merge(&running);
            prop_assert!(total.finish().sent == whole.sent);
            prop_assert!(total.finish().intended == whole.intended);
            prop_assert!(total.finish().pdv == whole.pdv);
        }
    }
}
