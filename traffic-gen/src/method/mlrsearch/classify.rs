//! Load classification and conditional throughput (RFC 9971 §4.7 and appendices A and B).

use std::cmp::Ordering;

/// A trial at some load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrialLoss {
    /// Its duration, s.
    pub seconds: f64,
    /// Its loss ratio, 0 to 1: intended less forwarded, by intended.
    pub loss_ratio: f64,
}

/// What a load is for a goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// However the missing trials turn out, the goal is met.
    Lower,
    /// However they turn out, it is not.
    Upper,
    /// It depends on them.
    Undecided,
}

/// The attributes that decide.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Criteria {
    /// Trials at least this long are full-length, s.
    pub full_s: f64,
    /// Sum of durations that decides, s.
    pub duration_sum_s: f64,
    /// Trials that lose more are high-loss.
    pub loss_ratio: f64,
    /// Share of the duration sum that may be high-loss.
    pub exceed_ratio: f64,
}

/// Classifies a load by its trials. The names are those of RFC 9971 appendix A.
pub fn classify(criteria: &Criteria, trials: &[TrialLoss]) -> Bound {
    let sum = |full: bool, high: bool| -> f64 {
        trials
            .iter()
            .filter(|trial| (trial.seconds >= criteria.full_s) == full && (trial.loss_ratio > criteria.loss_ratio) == high)
            .map(|trial| trial.seconds)
            .sum()
    };
    let (full_low, full_high, short_low, short_high) = (sum(true, false), sum(true, true), sum(false, false), sum(false, true));
    let exceed_coefficient = criteria.exceed_ratio / (1.0 - criteria.exceed_ratio);
    // Short trials with little loss say nothing by themselves; they balance short ones with much.
    let balancing = short_low * exceed_coefficient;
    let excess = (short_high - balancing).max(0.0);
    let effective_high = full_high + excess;
    let effective_full = full_low + effective_high;
    let whole = effective_full.max(criteria.duration_sum_s);
    let quantile = whole * criteria.exceed_ratio;
    let pessimistic_lower = (whole - full_low) <= quantile;
    let optimistic_lower = effective_high <= quantile;
    match (pessimistic_lower, optimistic_lower) {
        (true, true) => Bound::Lower,
        (false, false) => Bound::Upper,
        _ => Bound::Undecided,
    }
}

/// The loss ratio at the quantile of the exceed ratio among full-length trials; missing ones count as lost completely. The conditional
/// throughput is the load times one minus this (RFC 9971 appendix B).
pub fn conditional_loss_ratio(criteria: &Criteria, trials: &[TrialLoss]) -> f64 {
    let mut full: Vec<TrialLoss> = trials.iter().copied().filter(|trial| trial.seconds >= criteria.full_s).collect();
    full.sort_by(|a, b| a.loss_ratio.partial_cmp(&b.loss_ratio).unwrap_or(Ordering::Equal));
    let measured: f64 = full.iter().map(|trial| trial.seconds).sum();
    let mut remaining = measured.max(criteria.duration_sum_s) * (1.0 - criteria.exceed_ratio);
    let mut ratio = None;
    let mut at = 0;
    while at < full.len() {
        if ratio.is_some() && remaining <= 0.0 {
            break;
        }
        // Trials of one loss ratio are taken together.
        let loss = full[at].loss_ratio;
        ratio = Some(loss);
        while at < full.len() && full[at].loss_ratio == loss {
            remaining -= full[at].seconds;
            at += 1;
        }
    }
    if at == full.len() && remaining > 0.0 { 1.0 } else { ratio.unwrap_or(1.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOAL: Criteria = Criteria { full_s: 1.0, duration_sum_s: 5.0, loss_ratio: 0.0, exceed_ratio: 0.5 };

    fn trials(losses: &[f64], seconds: f64) -> Vec<TrialLoss> {
        losses.iter().map(|&loss_ratio| TrialLoss { seconds, loss_ratio }).collect()
    }

    #[test]
    fn the_majority_decides_as_soon_as_it_is_certain() {
        assert_eq!(classify(&GOAL, &[]), Bound::Undecided);
        assert_eq!(classify(&GOAL, &trials(&[0.0, 0.0], 1.0)), Bound::Undecided);
        assert_eq!(classify(&GOAL, &trials(&[0.0, 0.0, 0.0], 1.0)), Bound::Lower, "3 of 5 s are at least half");
        assert_eq!(classify(&GOAL, &trials(&[0.1, 0.1], 1.0)), Bound::Undecided);
        assert_eq!(classify(&GOAL, &trials(&[0.1, 0.1, 0.1], 1.0)), Bound::Upper);
        assert_eq!(classify(&GOAL, &trials(&[0.1, 0.0, 0.1, 0.0, 0.0], 1.0)), Bound::Lower);
    }

    #[test]
    fn no_exceed_ratio_forgives_nothing() {
        let strict = Criteria { exceed_ratio: 0.0, ..GOAL };
        assert_eq!(classify(&strict, &trials(&[0.001], 1.0)), Bound::Upper);
        assert_eq!(classify(&strict, &trials(&[0.0; 4], 1.0)), Bound::Undecided);
        assert_eq!(classify(&strict, &trials(&[0.0; 5], 1.0)), Bound::Lower);
    }

    #[test]
    fn short_trials_can_refuse_but_not_accept() {
        assert_eq!(classify(&GOAL, &trials(&[0.0; 100], 0.5)), Bound::Undecided);
        assert_eq!(classify(&GOAL, &trials(&[0.1; 6], 0.5)), Bound::Upper);
        let mut mixed = trials(&[0.1; 6], 0.5);
        mixed.extend(trials(&[0.0; 6], 0.5));
        assert_eq!(classify(&GOAL, &mixed), Bound::Undecided, "balanced");
    }

    #[test]
    fn conditional_throughput_is_that_of_the_worst_trial_that_counts() {
        let criteria = Criteria { loss_ratio: 0.01, ..GOAL };
        let five = trials(&[0.004, 0.0, 0.002, 0.3, 0.5], 1.0);
        assert_eq!(conditional_loss_ratio(&criteria, &five), 0.004);
        assert_eq!(conditional_loss_ratio(&criteria, &trials(&[0.0; 3], 1.0)), 0.0);
        assert_eq!(conditional_loss_ratio(&criteria, &trials(&[0.0; 2], 1.0)), 1.0, "what is missing is lost");
        assert_eq!(conditional_loss_ratio(&criteria, &[]), 1.0);
    }
}
