//! The clock of an FDB: ticks, of which an ageing time has always the same number.
//!
//! When the ageing time changes, the count goes on from where it is at another pace. An address that has lived through a third of the old time has
//! two thirds of the new one before it; nothing is walked, nothing stalls, and no stamp is ever ahead of the clock.

use port::Nanos;

use super::TICKS_PER_AGE;

/// From time to ticks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticks {
    /// Of one tick; `u64::MAX` if nothing ages.
    length: Nanos,
    /// Since when it has been that long, and how many there were until then.
    since: Nanos,
    before: u32,
}

impl Ticks {
    /// From time 0 on. An ageing time of 0 is never over.
    pub(crate) fn new(ageing: Nanos) -> Ticks {
        Ticks { length: length(ageing), since: Nanos::ZERO, before: 0 }
    }

    /// The ageing time in ticks.
    pub(crate) fn per_age(ageing: Nanos) -> u32 {
        if ageing == Nanos::ZERO { u32::MAX } else { TICKS_PER_AGE }
    }

    /// The tick at `now`.
    #[inline(always)]
    pub(crate) fn at(&self, now: Nanos) -> u32 {
        self.before.wrapping_add((now.since(self.since).0 / self.length.0) as u32)
    }

    /// Another ageing time from `now` on; if it is the same, the clock goes on as it was.
    pub(crate) fn change(&mut self, now: Nanos, ageing: Nanos) {
        if self.length == length(ageing) {
            return;
        }
        *self = Ticks { length: length(ageing), since: now, before: self.at(now) };
    }
}

fn length(ageing: Nanos) -> Nanos {
    match ageing {
        Nanos::ZERO => Nanos(u64::MAX),
        ageing => Nanos((ageing.0 / u64::from(TICKS_PER_AGE)).max(1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ageing_time_has_always_the_same_number_of_ticks() {
        let mut ticks = Ticks::new(Nanos::from_secs(64));
        assert_eq!((ticks.at(Nanos::ZERO), ticks.at(Nanos::from_secs(64))), (0, TICKS_PER_AGE));
        // At half of it eight times as fast: the other half takes an eighth of the time.
        ticks.change(Nanos::from_secs(32), Nanos::from_secs(8));
        assert_eq!((ticks.at(Nanos::from_secs(32)), ticks.at(Nanos::from_secs(36))), (32, 64));
        // Slower, and one that is asked for an earlier time does not go back.
        ticks.change(Nanos::from_secs(36), Nanos::from_secs(640));
        assert_eq!((ticks.at(Nanos::from_secs(35)), ticks.at(Nanos::from_secs(45)), ticks.at(Nanos::from_secs(46))), (64, 64, 65));
        ticks.change(Nanos::from_secs(46), Nanos::ZERO);
        assert_eq!((ticks.at(Nanos(u64::MAX - 1)), Ticks::per_age(Nanos::ZERO)), (65, u32::MAX));
    }
}
