//! Counts of values by size, as cheap as counting can be: the buckets of an HdrHistogram in a plain array.
//!
//! Every frame is counted several times, and at 14.88 million frames a second there are some 170 cycles for all that is done
//! with a frame. `hdrhistogram` keeps a total, a minimum and a maximum on every record and checks for growth; here a record is
//! a shift and an increment. The arithmetic of the buckets is the same (2,048 values of one unit, then 1,024 for each
//! doubling: three significant digits), so a histogram made at the end is the one that would have been filled on the way.
//!
//! Limits: 0 to [`MAX_NS`]; what is larger counts as that. 256 kB each, of which only the lines of values that occur are touched.

use hdrhistogram::Histogram;

/// The largest value that is told apart: 10 s in ns.
pub const MAX_NS: u64 = 10_000_000_000;

/// Significant decimal digits of every value.
pub const DIGITS: u8 = 3;

/// log2 of the values of one unit.
const UNIT_BITS: u32 = 11;

/// Values that share a bucket size, but for the first which has twice as many.
const HALF: usize = 1 << (UNIT_BITS - 1);

/// Buckets that it takes to reach [`MAX_NS`].
const LEN: usize = index(MAX_NS) + 1;

/// Buckets there are: a power of two, so that a mask says what the compiler cannot see, that no index is beyond.
const ROOM: usize = LEN.next_power_of_two();

/// The bucket of a value.
const fn index(value: u64) -> usize {
    let shift = u64::BITS - UNIT_BITS - (value | ((1 << UNIT_BITS) - 1)).leading_zeros();
    ((shift as usize) * HALF) + (value >> shift) as usize
}

/// The lowest value of a bucket.
const fn lowest(index: usize) -> u64 {
    if index < 2 * HALF { index as u64 } else { ((index % HALF + HALF) as u64) << (index / HALF - 1) }
}

/// Counts of values from 0 to 10 s in ns, to three digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buckets {
    counts: Box<[u64; ROOM]>,
}

impl Default for Buckets {
    fn default() -> Self {
        Self::new()
    }
}

impl Buckets {
    /// Nothing counted. The memory is touched when it is used.
    pub fn new() -> Buckets {
        // By way of a vector: an array would be made on the stack first, and touched.
        let counts = vec![0; ROOM].into_boxed_slice();
        Buckets { counts: counts.try_into().expect("as many as asked for") }
    }

    /// Counts a value in ns.
    #[inline]
    pub fn record(&mut self, value: u64) {
        self.counts[index(value.min(MAX_NS)) % ROOM] += 1;
    }

    /// Counts a value `count` times.
    pub fn record_n(&mut self, value: u64, count: u64) {
        let bucket = &mut self.counts[index(value.min(MAX_NS))];
        *bucket = bucket.saturating_add(count);
    }

    /// How many values were counted. Looks at all buckets.
    pub fn len(&self) -> u64 {
        self.counts.iter().fold(0, |sum, &count| sum.saturating_add(count))
    }

    /// Whether none was.
    pub fn is_empty(&self) -> bool {
        self.counts.iter().all(|&count| count == 0)
    }

    /// Adds what another one counted.
    pub fn merge(&mut self, other: &Buckets) {
        for (count, more) in self.counts.iter_mut().zip(other.counts.iter()) {
            *count = count.saturating_add(*more);
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.counts.fill(0);
    }

    /// The buckets in use, in order: lowest value, count.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, u64)> + '_ {
        self.counts.iter().enumerate().filter(|&(_, &count)| count > 0).map(|(index, &count)| (lowest(index), count))
    }

    /// How many values are at most `value`, exact below 2,048 ns and to the width of a bucket above.
    pub fn at_most(&self, value: u64) -> u64 {
        self.counts[..=index(value.min(MAX_NS))].iter().fold(0, |sum, &count| sum.saturating_add(count))
    }

    /// The same counts as an HdrHistogram of 1 ns to 10 s and three digits.
    pub fn histogram(&self) -> Histogram<u64> {
        let mut histogram = empty_histogram();
        for (value, count) in self.iter() {
            histogram.saturating_record_n(value, count);
        }
        histogram
    }
}

/// An empty HdrHistogram with the buckets used here: 1 ns to 10 s, three digits.
pub fn empty_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, MAX_NS, DIGITS).expect("1 ns to 10 s in three digits")
}

/// Counts of values that can be negative: the sizes of each sign in [`Buckets`] of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SignedBuckets {
    /// Zero and above, then below zero.
    sides: [Buckets; 2],
}

impl SignedBuckets {
    /// Counts a value in ns.
    #[inline]
    pub fn record(&mut self, value: i64) {
        self.sides[usize::from(value < 0)].record(value.unsigned_abs());
    }

    /// How many values were counted.
    pub fn len(&self) -> u64 {
        self.sides[0].len().saturating_add(self.sides[1].len())
    }

    /// Whether none was.
    pub fn is_empty(&self) -> bool {
        self.sides.iter().all(Buckets::is_empty)
    }

    /// Adds what another one counted.
    pub fn merge(&mut self, other: &SignedBuckets) {
        for (side, more) in self.sides.iter_mut().zip(&other.sides) {
            side.merge(more);
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.sides.iter_mut().for_each(Buckets::clear);
    }

    /// The buckets in use from the most negative to the largest: the value nearest to zero, count.
    pub fn iter(&self) -> impl Iterator<Item = (i64, u64)> + '_ {
        let below = self.sides[1].iter().rev().map(|(value, count)| (-(value as i64), count));
        below.chain(self.sides[0].iter().map(|(value, count)| (value as i64, count)))
    }

    /// The share of values from `-ns` to `ns`, 0.0 to 1.0; `None` if nothing was counted.
    pub fn share_within(&self, ns: u64) -> Option<f64> {
        let all = self.len();
        let within = self.sides[0].at_most(ns).saturating_add(self.sides[1].at_most(ns));
        (all > 0).then(|| within as f64 / all as f64)
    }

    /// The smallest value that at least the share `quantile` of values does not exceed; `None` if nothing was counted.
    pub fn quantile(&self, quantile: f64) -> Option<i64> {
        let wanted = ((self.len() as f64 * quantile).ceil() as u64).max(1);
        let mut seen = 0_u64;
        let mut last = None;
        for (value, count) in self.iter() {
            seen = seen.saturating_add(count);
            last = Some(value);
            if seen >= wanted {
                break;
            }
        }
        last
    }

    /// Sizes without their signs, as an HdrHistogram.
    pub fn magnitudes(&self) -> Histogram<u64> {
        let mut sum = self.sides[0].clone();
        sum.merge(&self.sides[1]);
        sum.histogram()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn buckets_begin_where_the_ones_before_end() {
        assert_eq!([0, 1, 2_047, 2_048, 2_049, 2_050, 4_096].map(index), [0, 1, 2_047, 2_048, 2_048, 2_049, 3_072]);
        for i in 0..LEN {
            assert_eq!(index(lowest(i)), i);
            assert!(i == 0 || index(lowest(i) - 1) == i - 1);
        }
    }

    #[test]
    fn too_large_counts_as_the_largest() {
        let mut buckets = Buckets::new();
        buckets.record(u64::MAX);
        buckets.record_n(MAX_NS, u64::MAX);
        assert_eq!(buckets.iter().collect::<Vec<_>>(), [(lowest(LEN - 1), u64::MAX)]);
        assert_eq!(buckets.histogram().len(), u64::MAX);
        let mut signed = SignedBuckets::default();
        signed.record(i64::MIN);
        signed.record(i64::MAX);
        assert_eq!(signed.iter().map(|(_, count)| count).collect::<Vec<_>>(), [1, 1]);
    }

    /// Mostly small, as latencies are, but of all sizes.
    fn values() -> impl Strategy<Value = Vec<u64>> {
        proptest::collection::vec((0_u32..35, 0_u64..1 << 34).prop_map(|(bits, value)| value & ((1 << bits) - 1)), 0..200)
    }

    proptest! {
        #[test]
        fn the_histogram_is_the_one_filled_directly(values in values()) {
            let (mut buckets, mut oracle) = (Buckets::new(), empty_histogram());
            for &value in &values {
                buckets.record(value);
                oracle.saturating_record(value.min(MAX_NS));
            }
            let histogram = buckets.histogram();
            prop_assert_eq!(buckets.len(), values.len() as u64);
            prop_assert!(histogram == oracle);
            prop_assert_eq!((histogram.min(), histogram.max()), (oracle.min(), oracle.max()));
            for quantile in [0.0, 0.5, 0.9, 0.999, 1.0] {
                prop_assert_eq!(histogram.value_at_quantile(quantile), oracle.value_at_quantile(quantile));
            }
        }

        #[test]
        fn signs_are_kept(mut values in proptest::collection::vec(-2_047_i64..2_048, 1..100), within in 0_u64..2_048) {
            let mut buckets = SignedBuckets::default();
            values.iter().for_each(|&value| buckets.record(value));
            values.sort_unstable();
            let spread: Vec<i64> = buckets.iter().flat_map(|(value, count)| (0..count).map(move |_| value)).collect();
            prop_assert_eq!(&spread, &values);
            let inside = values.iter().filter(|value| value.unsigned_abs() <= within).count();
            prop_assert_eq!(buckets.share_within(within), Some(inside as f64 / values.len() as f64));
            prop_assert_eq!(buckets.quantile(0.5), Some(values[(values.len() - 1) / 2]));
            prop_assert_eq!(buckets.quantile(1.0), values.last().copied());
        }
    }
}
