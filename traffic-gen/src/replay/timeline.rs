//! How much was sent and received when, and how long it took, for plots: a fixed number of intervals, however long the run.
//!
//! Intervals begin with 2^20 ns (about 1 ms). When they are used up, two become one: so a run of any length has between half of
//! [`INTERVALS`] and all of them, and nothing is known of its length beforehand.

use hdrhistogram::Histogram;
use port::Nanos;

use crate::output::plots::LatencyTick;

/// Intervals at most.
pub const INTERVALS: usize = 512;

/// What happened in an interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interval {
    /// Frames sent.
    pub sent: u64,
    /// Bytes of these, without FCS.
    pub sent_bytes: u64,
    /// Frames received.
    pub received: u64,
}

/// A run in intervals.
#[derive(Clone, Debug)]
pub struct Timeline {
    shift: u32,
    intervals: Vec<Interval>,
    /// Of intervals in which a frame came back: latencies, to two digits. Those without are `None`, and so are all further ones.
    latencies: Vec<Option<Histogram<u32>>>,
}

impl Default for Timeline {
    fn default() -> Timeline {
        Timeline { shift: 20, intervals: Vec::new(), latencies: Vec::new() }
    }
}

impl Timeline {
    /// So many frames and bytes were sent.
    pub fn sent(&mut self, at: Nanos, frames: u64, bytes: u64) {
        let interval = self.at(at);
        interval.sent += frames;
        interval.sent_bytes += bytes;
    }

    /// So many frames were received.
    pub fn received(&mut self, at: Nanos, frames: u64) {
        self.at(at).received += frames;
    }

    /// A frame was received that had taken so long.
    pub fn took(&mut self, at: Nanos, latency: Nanos) {
        self.at(at);
        let index = (at.0 >> self.shift) as usize;
        if index >= self.latencies.len() {
            self.latencies.resize_with(index + 1, || None);
        }
        self.latencies[index].get_or_insert_with(coarse).saturating_record(latency.0.max(1));
    }

    /// Ends of intervals in seconds, and latencies of what was received in them; those in which nothing was are left out.
    pub fn ticks(&self) -> Vec<(f64, LatencyTick)> {
        let tick = |histogram: &Histogram<u32>| LatencyTick {
            p50_ns: histogram.value_at_quantile(0.5),
            p99_ns: histogram.value_at_quantile(0.99),
            max_ns: histogram.max(),
        };
        let end = |number: u32| f64::from(number) * self.length().as_secs_f64();
        (1..).zip(&self.latencies).filter_map(|(number, latency)| Some((end(number), tick(latency.as_ref()?)))).collect()
    }

    /// The intervals, from the start of the run on.
    pub fn intervals(&self) -> &[Interval] {
        &self.intervals
    }

    /// How long each is.
    pub fn length(&self) -> Nanos {
        Nanos(1 << self.shift)
    }

    fn at(&mut self, at: Nanos) -> &mut Interval {
        while at.0 >> self.shift >= INTERVALS as u64 {
            self.shift += 1;
            let pair = |pair: &[Interval]| {
                pair.iter().fold(Interval::default(), |sum, half| Interval {
                    sent: sum.sent + half.sent,
                    sent_bytes: sum.sent_bytes + half.sent_bytes,
                    received: sum.received + half.received,
                })
            };
            self.intervals = self.intervals.chunks(2).map(pair).collect();
            self.latencies = self.latencies.chunks_mut(2).map(merge).collect();
        }
        let index = (at.0 >> self.shift) as usize;
        if index >= self.intervals.len() {
            self.intervals.resize(index + 1, Interval::default());
        }
        &mut self.intervals[index]
    }
}

/// 1 ns to 10 s in two digits, 14 KiB.
fn coarse() -> Histogram<u32> {
    Histogram::new_with_bounds(1, 10_000_000_000, 2).expect("1 ns to 10 s in two digits")
}

/// Two intervals as one.
fn merge(pair: &mut [Option<Histogram<u32>>]) -> Option<Histogram<u32>> {
    let mut halves = pair.iter_mut().filter_map(Option::take);
    let mut sum = halves.next()?;
    for half in halves {
        // Both have the same bounds.
        let _ = sum.add(half);
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_length_keeps_its_sums() {
        let mut timeline = Timeline::default();
        for step in 0..2_000 {
            timeline.sent(Nanos(step * 1_000_000), 1, 60);
        }
        assert_eq!((timeline.length(), timeline.intervals().len()), (Nanos(1 << 22), 477));
        assert_eq!(timeline.intervals()[0], Interval { sent: 5, sent_bytes: 300, received: 0 });
        for (at, latency) in [(0, 100), (1, 300), (5_000_000, 200)] {
            timeline.took(Nanos(at), Nanos(latency));
        }
        let ticks: Vec<u64> = timeline.ticks().iter().map(|(_, tick)| tick.max_ns).collect();
        assert!(ticks.len() == 2 && (300..=302).contains(&ticks[0]) && (200..=201).contains(&ticks[1]), "{ticks:?}");
        timeline.received(Nanos(u64::MAX), 1);
        let ticks = timeline.ticks();
        assert!(ticks.len() == 1 && (300..=302).contains(&ticks[0].1.max_ns), "two intervals become one: {ticks:?}");
        assert!(timeline.intervals().len() <= INTERVALS);
        assert_eq!(timeline.intervals().iter().map(|interval| interval.sent).sum::<u64>(), 2_000);
        assert_eq!(timeline.intervals().last().unwrap().received, 1);
    }
}
