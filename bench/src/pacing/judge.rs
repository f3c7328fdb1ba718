//! What a receiver's stamps say of a sender.
//!
//! The receiver's clock need not be the sender's: the plan is laid against the stamps so that no frame is early and one is on time. *Late* is
//! what a frame then is behind the plan. The time between two frames needs no such agreement.
//!
//! Of a frame that comes twice the first counts; one that others have overtaken is counted and left out.

use port::Nanos;
use traffic_gen::measure::{Pacing, PacingMeter};

/// One run of one sender.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// Departures as they were seen.
    pub pacing: Pacing,
    /// Frames of the plan.
    pub planned: u64,
    /// Frames seen, each once.
    pub received: u64,
    /// Frames overtaken by later ones, and second copies.
    pub out_of_order: u64,
    /// Time from the first to the last frame seen.
    pub span: Nanos,
    /// The same by the plan, of the same two frames.
    pub planned_span: Nanos,
}

impl Run {
    /// Frames that were not seen.
    pub fn lost(&self) -> u64 {
        self.planned.saturating_sub(self.received)
    }

    /// The rate that was achieved, as a share of the plan's; `None` with fewer than two frames.
    pub fn rate_of_plan(&self) -> Option<f64> {
        let per_frame = |span: Nanos, frames: u64| span.0 as f64 / frames as f64;
        let frames = self.received.checked_sub(1).filter(|&frames| frames > 0)?;
        if self.span == Nanos::ZERO {
            return None;
        }
        let period = per_frame(self.planned_span, self.planned.checked_sub(1).filter(|&frames| frames > 0)?);
        Some(period / per_frame(self.span, frames))
    }
}

/// Lays the plan (ns after the start, by number of frame) against what was seen (number of frame, ns of the receiver's clock), in order of time.
pub fn judge(plan: &[u64], seen: &[(u32, u64)]) -> Run {
    let mut run = Run { planned: plan.len() as u64, ..Run::default() };
    let mut kept: Vec<(u64, u64)> = Vec::with_capacity(seen.len());
    let mut next = 0;
    for &(number, at) in seen {
        let Some(&planned) = plan.get(number as usize).filter(|_| number >= next) else {
            run.out_of_order += 1;
            continue;
        };
        next = number + 1;
        kept.push((planned, at));
    }
    // Of all frames the one that is least behind its plan is on time.
    let origin = kept.iter().map(|&(planned, at)| at.saturating_sub(planned)).min().unwrap_or_default();
    let mut meter = PacingMeter::default();
    for &(planned, at) in &kept {
        meter.departed(Nanos(origin + planned), Nanos(at));
    }
    run.received = kept.len() as u64;
    if let (Some(first), Some(last)) = (kept.first(), kept.last()) {
        run.span = Nanos(last.1).since(Nanos(first.1));
        run.planned_span = Nanos(plan.last().copied().unwrap_or_default()).since(Nanos(plan.first().copied().unwrap_or_default()));
    }
    run.pacing = meter.finish();
    run
}

#[cfg(test)]
mod tests {
    use super::*;

    const WALL: u64 = 1_800_000_000_000_000_000;

    fn plan(count: u64) -> Vec<u64> {
        (0..count).map(|n| n * 1000).collect()
    }

    /// Frames seen with this much delay each.
    fn seen(late: impl IntoIterator<Item = u64>) -> Vec<(u32, u64)> {
        (0..).zip(late).map(|(n, late)| (n, WALL + u64::from(n) * 1000 + late)).collect()
    }

    #[test]
    fn a_constant_delay_is_none() {
        let run = judge(&plan(100), &seen([70_000; 100]));
        assert_eq!((run.received, run.lost(), run.out_of_order, run.pacing.lateness.max()), (100, 0, 0, 0));
        assert_eq!((run.pacing.shares_within(), run.rate_of_plan()), (Some([1.0; 3]), Some(1.0)));
    }

    #[test]
    fn delays_are_told_by_their_size() {
        // Every tenth frame comes 100 ns late: of 99 spacings, ten are longer and nine shorter (the last has none behind it).
        let run = judge(&plan(100), &seen((0..100).map(|n| if n % 10 == 9 { 100 } else { 0 })));
        assert_eq!(run.pacing.shares_within(), Some([80.0 / 99.0, 1.0, 1.0]));
        assert_eq!(run.pacing.lateness.max(), 100);
    }

    #[test]
    fn what_is_missing_or_overtaken_is_counted() {
        let mut frames = seen([0; 10]);
        frames.remove(4);
        frames.swap(6, 7);
        frames.push((9, WALL + 9_500));
        frames.push((77, WALL + 9_900));
        let run = judge(&plan(10), &frames);
        assert_eq!((run.received, run.lost(), run.out_of_order), (8, 2, 3));
        assert_eq!(judge(&plan(10), &[]).rate_of_plan(), None);
    }

    #[test]
    fn a_sender_at_half_the_rate_is_one() {
        let slow: Vec<(u32, u64)> = (0..1001).map(|n| (n, WALL + u64::from(n) * 2000)).collect();
        let run = judge(&plan(1001), &slow);
        assert_eq!(run.rate_of_plan(), Some(0.5));
        assert_eq!(run.pacing.shares_within(), Some([0.0; 3]));
    }
}
