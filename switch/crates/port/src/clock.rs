//! Time. Only thread loops and programs ask a clock; everything else is told `now`.

use std::fmt;
use std::ops::{Add, Sub};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

/// A point in time or a span, in nanoseconds. Points count from the start of the run; 584 years fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Nanos(pub u64);

impl Nanos {
    /// The start of the run.
    pub const ZERO: Nanos = Nanos(0);

    /// So many milliseconds.
    pub const fn from_millis(ms: u64) -> Nanos {
        Nanos(ms * 1_000_000)
    }

    /// So many seconds.
    pub const fn from_secs(s: u64) -> Nanos {
        Nanos(s * 1_000_000_000)
    }

    /// In seconds, for people.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// The span since `earlier`, or zero if that is later.
    pub const fn since(self, earlier: Nanos) -> Nanos {
        Nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add for Nanos {
    type Output = Nanos;
    fn add(self, span: Nanos) -> Nanos {
        Nanos(self.0 + span.0)
    }
}

impl Sub for Nanos {
    type Output = Nanos;
    fn sub(self, earlier: Nanos) -> Nanos {
        Nanos(self.0 - earlier.0)
    }
}

impl fmt::Display for Nanos {
    /// Seconds with all nine digits: `12.000000345`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}", self.0 / 1_000_000_000, self.0 % 1_000_000_000)
    }
}

/// The processor's time stamp counter, in nanoseconds since it was made and in raw ticks.
///
/// `quanta` reads and calibrates it, and falls back to the operating system's monotonic clock where the TSC does not run
/// at a constant rate.
#[derive(Clone, Debug)]
pub struct TscClock {
    clock: quanta::Clock,
    start: u64,
}

impl TscClock {
    /// A clock that begins at zero now.
    pub fn new() -> Self {
        let clock = quanta::Clock::new();
        let start = clock.raw();
        TscClock { clock, start }
    }

    /// Nanoseconds since the clock was made.
    #[inline]
    pub fn now(&self) -> Nanos {
        Nanos(self.clock.delta_as_nanos(self.start, self.clock.raw()))
    }

    /// Raw ticks: for counting cycles.
    #[inline]
    pub fn ticks(&self) -> u64 {
        self.clock.raw()
    }

    /// What [`now`](Self::now) would have said at `ticks`.
    #[inline]
    pub fn at_ticks(&self, ticks: u64) -> Nanos {
        Nanos(self.clock.delta_as_nanos(self.start, ticks))
    }

    /// Ticks a second, as calibrated.
    pub fn ticks_per_second(&self) -> f64 {
        const TICKS: u64 = 1 << 40;
        TICKS as f64 / (self.clock.delta_as_nanos(0, TICKS) as f64 / 1e9)
    }
}

impl Default for TscClock {
    fn default() -> Self {
        Self::new()
    }
}

/// A clock that stands still until it is set: simulations and deterministic replay.
#[derive(Clone, Debug, Default)]
pub struct VirtualClock(Arc<AtomicU64>);

impl VirtualClock {
    /// The time it was last set to.
    pub fn now(&self) -> Nanos {
        Nanos(self.0.load(Ordering::Relaxed))
    }

    /// Sets the time.
    ///
    /// # Panics
    /// If that would turn it back.
    pub fn set(&self, now: Nanos) {
        assert!(now >= self.now(), "the clock cannot go back from {} to {now}", self.now());
        self.0.store(now.0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tsc_goes_forward_and_at_a_plausible_rate() {
        let clock = TscClock::new();
        let (first, ticks) = (clock.now(), clock.ticks());
        assert!(clock.now() >= first);
        assert!(clock.at_ticks(ticks) >= first);
        assert!((1e8..2e10).contains(&clock.ticks_per_second()), "{}", clock.ticks_per_second());
    }

    #[test]
    fn nanos_print_all_digits() {
        assert_eq!(Nanos(12_000_000_345).to_string(), "12.000000345");
        assert_eq!(Nanos::from_millis(3).since(Nanos::from_secs(1)), Nanos::ZERO);
    }
}
