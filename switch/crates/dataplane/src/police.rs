//! Rates between two ports: how much one may send to another (paragraph 56 of the patent document: any rate; and that two blades, or a blade
//! and the network, agree on one).
//!
//! A pair of ports has a token bucket (MEF 10.3 §12, one rate and one colour; RFC 2697 without excess burst). Frames for one station that come in by
//! the first port and leave by the second are counted from destination address to FCS; one for which the bucket has too little is dropped as
//! [`DropReason::RateExceeded`]. Nothing waits: `docs/decisions/rates.md` says why. Frames that are flooded or go to a group are not of a pair.
//!
//! Arithmetic is in whole numbers and exact on any clock: a bucket holds bits in units of 10^-9, and a nanosecond brings `rate` of them.
//!
//! Police stands behind resolve, when it is known where a frame leaves. Without rates it is not called.
//!
//! Threads: control publishes [`Rates`]; the worker owns the buckets and adds to its counters, which control reads. All frames of a
//! receive queue are one worker's; a port of several queues has a bucket in each worker that receives from it, each with the whole rate.

use std::sync::Arc;

use port::{Nanos, PortId};
use sync::counter::Counter;

use crate::pipeline::{Context, Notes, bits};
use crate::verdict::{DropReason, Verdict};

/// Pairs at most.
pub const PAIRS_MAX: usize = 1024;
/// Bits are counted in units of 1/10^9.
const UNITS: u64 = 1_000_000_000;
/// Bytes of the frame check sequence, which count.
const FCS_LEN: u64 = 4;
/// In a row: no rate.
const NONE: u16 = u16::MAX;

/// What control publishes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Index into `pairs`, by the port a frame comes in by and the port it leaves by; rows of ports without a rate are empty.
    rows: Vec<Vec<u16>>,
    pairs: Vec<Pair>,
}

/// How much one port may send to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Frames that come in by this port
    pub from: PortId,
    /// and leave by this one.
    pub to: PortId,
    /// Bits a second: at least 1.
    pub rate_bps: u64,
    /// Bytes that may come at once, at most 2^30: at least the longest frame, or that never passes.
    pub burst: u32,
    /// Index of its bucket and counters, below [`PAIRS_MAX`], which the pair keeps.
    pub counter: usize,
}

impl Rates {
    /// Of these pairs, each of which is there once.
    pub fn new(pairs: Vec<Pair>) -> Rates {
        let mut rows: Vec<Vec<u16>> = vec![Vec::new(); port::PORTS_MAX];
        for (index, pair) in pairs.iter().enumerate() {
            let row = &mut rows[pair.from.index()];
            row.resize(port::PORTS_MAX, NONE);
            row[pair.to.index()] = index as u16;
        }
        Rates { rows, pairs }
    }

    /// The pairs.
    pub fn pairs(&self) -> &[Pair] {
        &self.pairs
    }
}

/// What was counted of a pair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct PairCounters {
    /// Frames that had room.
    pub frames: u64,
    /// Their bytes, without FCS.
    pub bytes: u64,
    /// Frames that were too many.
    pub exceeded: u64,
    /// Their bytes, without FCS.
    pub exceeded_bytes: u64,
}

/// Counters of one worker: written by it, read by control.
#[derive(Debug)]
pub struct PublishedPairs(Box<[[Counter; 4]]>);

impl PublishedPairs {
    /// Of the pair with these counters.
    pub fn pair(&self, counter: usize) -> PairCounters {
        let [frames, bytes, exceeded, exceeded_bytes] = self.0[counter].each_ref().map(Counter::load);
        PairCounters { frames, bytes, exceeded, exceeded_bytes }
    }
}

/// Tokens of a pair.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    /// Bits, in units of 1/10^9; `None`: nothing has come yet, it is full.
    credit: Option<u64>,
    last: Nanos,
}

impl Bucket {
    /// May a frame of so many bytes without FCS pass? Then its bits are gone.
    #[inline]
    fn pass(&mut self, now: Nanos, pair: &Pair, len: u64) -> bool {
        let full = u64::from(pair.burst) * 8 * UNITS;
        let earned = u128::from(now.since(self.last).0) * u128::from(pair.rate_bps);
        let credit = self.credit.map_or(full, |credit| u64::try_from(u128::from(credit) + earned).map_or(full, |credit| credit.min(full)));
        let cost = (len + FCS_LEN) * 8 * UNITS;
        let passes = credit >= cost;
        *self = Bucket { credit: Some(if passes { credit - cost } else { credit }), last: self.last.max(now) };
        passes
    }
}

/// A worker's buckets and counters.
#[derive(Debug)]
pub struct Policer {
    buckets: Box<[Bucket]>,
    counters: Arc<PublishedPairs>,
}

impl Policer {
    /// All buckets are full.
    pub fn new() -> Policer {
        let counters = (0..PAIRS_MAX).map(|_| [const { Counter::new() }; 4]).collect();
        Policer { buckets: vec![Bucket::default(); PAIRS_MAX].into(), counters: Arc::new(PublishedPairs(counters)) }
    }

    /// What control reads.
    pub fn counters(&self) -> Arc<PublishedPairs> {
        Arc::clone(&self.counters)
    }

    /// Counts a frame that comes now, and says whether it passes.
    fn ask(&mut self, now: Nanos, pair: &Pair, len: u64) -> bool {
        let (Some(bucket), Some(counters)) = (self.buckets.get_mut(pair.counter), self.counters.0.get(pair.counter)) else { return true };
        let passes = bucket.pass(now, pair, len);
        let [frames, bytes] = if passes { [&counters[0], &counters[1]] } else { [&counters[2], &counters[3]] };
        // Nobody else writes them.
        frames.store(frames.load() + 1);
        bytes.store(bytes.load() + len);
        passes
    }
}

impl Default for Policer {
    fn default() -> Policer {
        Policer::new()
    }
}

/// Drops what is too much between two ports.
#[inline(never)]
pub fn police(count: usize, ingress: PortId, rates: &Rates, notes: &mut Notes, context: &mut Context<'_>) {
    let Some(row) = rates.rows.get(ingress.index()).filter(|row| !row.is_empty()) else { return };
    for i in bits(u64::MAX >> (64 - count.clamp(1, 64))).take(count) {
        let note = &mut notes.packets[i];
        if let Some(Verdict::Forward(egress)) = note.verdict
            && let Some(pair) = row.get(egress.index()).and_then(|&index| rates.pairs.get(usize::from(index)))
            && !context.policer.ask(context.now, pair, u64::from(note.len))
        {
            note.verdict = Some(Verdict::Drop(DropReason::RateExceeded));
            notes.readdressed &= !(1 << i);
            notes.retagged &= !(1 << i);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PAIR: Pair = Pair { from: PortId(0), to: PortId(1), rate_bps: 8_000_000, burst: 1_000, counter: 3 };

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let mut bucket = Bucket::default();
        let mut passed = |us: u64, len| bucket.pass(Nanos(us * 1_000), &PAIR, len);
        // 1,000 bytes at once, and then one a microsecond.
        assert!(passed(0, 496) && passed(0, 496) && !passed(0, 60));
        assert!(!passed(63, 60) && passed(64, 60) && !passed(127, 60) && passed(128, 60));
        assert!(passed(10_000, 996) && !passed(10_000, 60), "no more than the burst is saved");
        assert!(!passed(9_000, 60), "time that goes back brings nothing");
        assert!(!passed(20_000, 997), "a frame longer than the burst never passes");
    }

    #[test]
    fn a_rate_that_changes_keeps_what_is_in_the_bucket() {
        let mut bucket = Bucket::default();
        assert!(bucket.pass(Nanos::ZERO, &PAIR, 996));
        let faster = Pair { rate_bps: 80_000_000, ..PAIR };
        assert!(!bucket.pass(Nanos(6_399), &faster, 60) && bucket.pass(Nanos(6_400), &faster, 60));
        let smaller = Pair { burst: 64, ..PAIR };
        assert!(bucket.pass(Nanos::from_secs(1), &smaller, 60) && !bucket.pass(Nanos::from_secs(1), &smaller, 60));
    }

    #[test]
    fn each_pair_has_its_own() {
        let rates = Rates::new(vec![PAIR, Pair { from: PortId(1), to: PortId(0), counter: 0, ..PAIR }]);
        assert_eq!((rates.rows[0][1], rates.rows[1][0], rates.rows[0][0], rates.rows[2].len()), (0, 1, NONE, 0));
        let mut policer = Policer::new();
        let counters = policer.counters();
        assert!(policer.ask(Nanos::ZERO, &rates.pairs[0], 996) && !policer.ask(Nanos::ZERO, &rates.pairs[0], 60));
        assert!(policer.ask(Nanos::ZERO, &rates.pairs[1], 996));
        assert_eq!(counters.pair(3), PairCounters { frames: 1, bytes: 996, exceeded: 1, exceeded_bytes: 60 });
        assert_eq!(counters.pair(0), PairCounters { frames: 1, bytes: 996, ..PairCounters::default() });
    }

    proptest! {
        /// In exact fractions of a bit: the bucket of the standard, worked out anew for each frame.
        #[test]
        fn the_bucket_is_that_of_the_standard(
            rate_bps in 1_u64..400_000_000_000,
            burst in 64_u32..100_000,
            frames in prop::collection::vec((0_u64..2_000_000, 60_u64..9_000), 1..200),
        ) {
            let pair = Pair { rate_bps, burst, ..PAIR };
            let (mut bucket, mut now, mut tokens) = (Bucket::default(), 0, u128::from(burst) * 8 * 1_000_000_000);
            for (pause, len) in frames {
                now += pause;
                tokens = (tokens + u128::from(pause) * u128::from(rate_bps)).min(u128::from(burst) * 8 * 1_000_000_000);
                let cost = u128::from(len + 4) * 8 * 1_000_000_000;
                let passes = tokens >= cost;
                tokens -= if passes { cost } else { 0 };
                prop_assert_eq!(bucket.pass(Nanos(now), &pair, len), passes);
            }
        }
    }
}
