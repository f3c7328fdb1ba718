//! A token bucket: so many a second, the fraction carried forward.

use port::Nanos;

/// Allows `per_second` things a second, and as many at once.
#[derive(Clone, Debug)]
pub struct RateLimit {
    per_second: u64,
    /// Tokens in billionths: one thing costs 10^9, one nanosecond brings `per_second`.
    credit: u64,
    last: Nanos,
}

const COST: u64 = 1_000_000_000;

impl RateLimit {
    /// A full bucket.
    pub fn new(per_second: u32) -> RateLimit {
        RateLimit { per_second: u64::from(per_second), credit: u64::from(per_second) * COST, last: Nanos::ZERO }
    }

    /// May one more happen at `now`? If so it is counted.
    pub fn allow(&mut self, now: Nanos) -> bool {
        let earned = now.since(self.last).0.saturating_mul(self.per_second);
        self.credit = self.credit.saturating_add(earned).min(self.per_second * COST);
        self.last = now;
        if self.credit < COST {
            return false;
        }
        self.credit -= COST;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_a_second_and_not_one_more() {
        let mut limit = RateLimit::new(10);
        assert_eq!((0..100).filter(|_| limit.allow(Nanos::ZERO)).count(), 10, "a full bucket at the start");
        // A try every millisecond for ten seconds.
        assert_eq!((1..=10_000).filter(|&ms| limit.allow(Nanos::from_millis(ms))).count(), 100);
        assert!(!RateLimit::new(0).allow(Nanos::from_secs(100)));
    }
}
