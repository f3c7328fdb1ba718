//! How much was sent and received when, for plots: a fixed number of intervals, however long the run.
//!
//! Intervals begin with 2^20 ns (about 1 ms). When they are used up, two become one: so a run of any length has between half of
//! [`INTERVALS`] and all of them, and nothing is known of its length beforehand.

use port::Nanos;

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
}

impl Default for Timeline {
    fn default() -> Timeline {
        Timeline { shift: 20, intervals: Vec::new() }
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
        }
        let index = (at.0 >> self.shift) as usize;
        if index >= self.intervals.len() {
            self.intervals.resize(index + 1, Interval::default());
        }
        &mut self.intervals[index]
    }
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
        timeline.received(Nanos(u64::MAX), 1);
        assert!(timeline.intervals().len() <= INTERVALS);
        assert_eq!(timeline.intervals().iter().map(|interval| interval.sent).sum::<u64>(), 2_000);
        assert_eq!(timeline.intervals().last().unwrap().received, 1);
    }
}
