//! Which load to try next (RFC 9971 §4.3 leaves that to the controller; the ideas are those of §6 and of CSIT).
//!
//! - Loads lie on a grid that is even in their logarithm, of which one step is the narrowest goal's width: bounds that are neighbours are close enough.
//! - A trial at the largest load warms the device up; a second one is counted, and its forwarding rate is the first candidate.
//! - Each goal is reached through intermediate targets: a quarter and then half as narrow, with a shorter duration sum. Their bounds are tried
//!   first by the next target.
//! - All goals take the first target before any takes the second, those with the least loss first: trials are shared.
//! - A load is tried until it is classified; then between the bounds, or outwards in doubling steps where a bound is missing.

use std::collections::BTreeMap;

use super::classify::{Bound, Criteria, TrialLoss, classify, conditional_loss_ratio};
use super::goal::Goal;

/// Intermediate targets before the goal itself.
const PRECEDING: i32 = 2;

/// Limits of a search.
#[derive(Clone, Copy, Debug)]
pub struct SearchConfig {
    /// Smallest load, frames a second.
    pub min_load: f64,
    /// Largest load.
    pub max_load: f64,
    /// Sum of trial durations after which the search fails, s (1200 in CSIT).
    pub search_max_s: f64,
    /// Duration of the warm-up trial at the largest load, s; 0 for none.
    pub warm_up_s: f64,
}

/// What was found for a goal. The relevant bounds of RFC 9971 §4.7.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The largest load below the upper bound that is a lower bound.
    pub lower_bound: Option<f64>,
    /// The smallest load that is an upper bound.
    pub upper_bound: Option<f64>,
    /// Lower bound less the loss of its quantile.
    pub conditional_throughput: Option<f64>,
}

/// Why a search ended without a result.
#[derive(Debug, PartialEq)]
pub enum SearchError<E> {
    /// A trial could not be run.
    Measure(E),
    /// It took longer than allowed.
    TooLong {
        /// The limit.
        seconds: f64,
    },
}

/// A goal, or a step on the way to it.
#[derive(Clone, Copy, Debug)]
struct Target {
    criteria: Criteria,
    /// Duration of its trials, s.
    trial_s: f64,
    /// Steps of the grid between bounds at the end.
    width: usize,
}

/// The trials so far, by place on the grid: 0 is the largest load.
#[derive(Default)]
struct Database(BTreeMap<usize, Vec<TrialLoss>>);

impl Database {
    fn bound(&self, place: usize, criteria: &Criteria) -> Bound {
        self.0.get(&place).map_or(Bound::Undecided, |trials| classify(criteria, trials))
    }

    /// Relevant lower and upper bound.
    fn relevant(&self, criteria: &Criteria) -> (Option<usize>, Option<usize>) {
        let bounds: Vec<(usize, Bound)> = self.0.iter().map(|(&place, trials)| (place, classify(criteria, trials))).collect();
        let upper = bounds.iter().rev().find(|(_, bound)| *bound == Bound::Upper).map(|&(place, _)| place);
        let below = |place: usize| upper.is_none_or(|upper| place > upper);
        let lower = bounds.iter().find(|&&(place, bound)| bound == Bound::Lower && below(place)).map(|&(place, _)| place);
        (lower, upper)
    }
}

/// The loads that may be tried.
struct Grid {
    max: f64,
    min: f64,
    /// Natural logarithm of the ratio of neighbours.
    step: f64,
    last: usize,
}

impl Grid {
    fn new(config: &SearchConfig, goals: &[Goal]) -> Grid {
        let width = goals.iter().map(|goal| goal.width).fold(0.5, f64::min);
        let step = -(1.0 - width).ln();
        let last = ((config.max_load / config.min_load).ln() / step).ceil().max(1.0) as usize;
        Grid { max: config.max_load, min: config.min_load, step, last }
    }

    fn load(&self, place: usize) -> f64 {
        if place >= self.last { self.min } else { self.max * (-(place as f64) * self.step).exp() }
    }

    /// The nearest place at or below a load.
    fn place(&self, load: f64) -> usize {
        if load >= self.max {
            return 0;
        }
        // A load that is on the grid but for rounding is on it.
        (((self.max / load.max(self.min)).ln() / self.step - 1e-9).ceil() as usize).min(self.last)
    }

    fn steps(&self, width: f64) -> usize {
        ((-(1.0 - width).ln() / self.step + 1e-9).floor() as usize).max(1)
    }
}

struct Controller<'a, E> {
    grid: Grid,
    database: Database,
    measure: &'a mut dyn FnMut(f64, f64) -> Result<f64, E>,
    seconds: f64,
    seconds_max: f64,
}

/// Searches for these goals. `measure` runs a trial at a load (frames a second) of a duration (s) and answers with its loss ratio.
///
/// # Errors
/// The first of `measure`, or the search took too long.
pub fn search<E>(
    config: &SearchConfig,
    goals: &[Goal],
    measure: &mut dyn FnMut(f64, f64) -> Result<f64, E>,
) -> Result<Vec<Found>, SearchError<E>> {
    let grid = Grid::new(config, goals);
    let mut controller = Controller { grid, database: Database::default(), measure, seconds: 0.0, seconds_max: config.search_max_s };
    if config.warm_up_s > 0.0 {
        controller.trial(0, config.warm_up_s)?;
        controller.database.0.clear();
    }
    // Those with the least loss first: their loads are smaller, and serve the others.
    let mut order: Vec<usize> = (0..goals.len()).collect();
    order.sort_by(|&a, &b| goals[a].loss_ratio.total_cmp(&goals[b].loss_ratio));
    if let Some(first) = order.first() {
        let loss = controller.trial(0, goals[*first].initial_trial_s)?;
        let place = controller.grid.place(config.max_load * (1.0 - loss));
        if place > 0 {
            controller.trial(place, goals[*first].initial_trial_s)?;
        }
    }
    let mut bounds = vec![(None, None); goals.len()];
    for stage in 0..=PRECEDING {
        for &index in &order {
            let target = target(&goals[index], &controller.grid, PRECEDING - stage);
            bounds[index] = controller.reach(&target, bounds[index])?;
        }
    }
    let found = goals.iter().map(|goal| {
        let criteria = target(goal, &controller.grid, 0).criteria;
        // Other goals' trials may have moved the bounds since.
        let (lower, upper) = controller.database.relevant(&criteria);
        let load = |place: Option<usize>| place.map(|place| controller.grid.load(place));
        let trials = lower.and_then(|place| controller.database.0.get(&place));
        let conditional =
            lower.zip(trials).map(|(place, trials)| controller.grid.load(place) * (1.0 - conditional_loss_ratio(&criteria, trials)));
        Found { lower_bound: load(lower), upper_bound: load(upper), conditional_throughput: conditional }
    });
    Ok(found.collect())
}

/// The target that comes `before` steps before the goal. Durations grow geometrically, widths halve.
fn target(goal: &Goal, grid: &Grid, before: i32) -> Target {
    let between = |from: f64, to: f64| to * (from / to).powf(f64::from(before) / f64::from(PRECEDING));
    let trial_s = if before == 0 { goal.final_trial_s } else { between(goal.initial_trial_s, goal.final_trial_s) };
    let duration_sum_s = if before == 0 { goal.duration_sum_s } else { between(goal.initial_trial_s, goal.duration_sum_s) };
    let criteria = Criteria { full_s: trial_s, duration_sum_s, loss_ratio: goal.loss_ratio, exceed_ratio: goal.exceed_ratio };
    Target { criteria, trial_s, width: grid.steps(goal.width) << before }
}

type Bounds = (Option<usize>, Option<usize>);

impl<E> Controller<'_, E> {
    fn trial(&mut self, place: usize, seconds: f64) -> Result<f64, SearchError<E>> {
        if self.seconds + seconds > self.seconds_max {
            return Err(SearchError::TooLong { seconds: self.seconds_max });
        }
        self.seconds += seconds;
        let loss_ratio = (self.measure)(self.grid.load(place), seconds).map_err(SearchError::Measure)?;
        self.database.0.entry(place).or_default().push(TrialLoss { seconds, loss_ratio });
        Ok(loss_ratio)
    }

    /// Measures until the bounds of the target are close enough, or its bound is at the end of the grid. `hints` are the bounds of the
    /// target before.
    fn reach(&mut self, target: &Target, hints: Bounds) -> Result<Bounds, SearchError<E>> {
        let mut outwards = target.width;
        let mut trying: Option<usize> = None;
        loop {
            let (lower, upper) = self.database.relevant(&target.criteria);
            // The largest load is a lower bound, the smallest an upper one, or they are close enough.
            let done = match (lower, upper) {
                (Some(lower), Some(upper)) => lower - upper <= target.width,
                (Some(lower), None) => lower == 0,
                (None, Some(upper)) => upper == self.grid.last,
                (None, None) => false,
            };
            if done {
                return Ok((lower, upper));
            }
            let inside = |place: usize| upper.is_none_or(|upper| place > upper) && lower.is_none_or(|lower| place < lower);
            let undecided = |place: &usize| inside(*place) && self.database.bound(*place, &target.criteria) == Bound::Undecided;
            let place = match trying.filter(undecided).or([hints.0, hints.1].into_iter().flatten().find(undecided)) {
                Some(place) => place,
                None => match (lower, upper) {
                    (Some(lower), Some(upper)) => upper + (lower - upper) / 2,
                    (Some(lower), None) => {
                        let next = lower.saturating_sub(outwards);
                        outwards *= 2;
                        next
                    }
                    (None, Some(upper)) => {
                        let next = (upper + outwards).min(self.grid.last);
                        outwards *= 2;
                        next
                    }
                    // Nothing is decided: the load with most trials below the largest one, from the forwarding rate at that.
                    (None, None) => self.database.0.keys().copied().max().unwrap_or(0),
                },
            };
            trying = Some(place);
            self.trial(place, target.trial_s)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: SearchConfig = SearchConfig { min_load: 9001.0, max_load: 14_880_952.0, search_max_s: 1200.0, warm_up_s: 1.0 };

    fn sharp(limit: f64) -> impl FnMut(f64, f64) -> Result<f64, ()> {
        move |load, _| Ok((1.0 - limit / load).max(0.0))
    }

    #[test]
    fn a_sharp_limit_is_found_to_the_width() {
        for limit in [10_000.0, 123_456.0, 7_300_000.0, 14_800_000.0] {
            let mut trials = 0;
            let mut device = sharp(limit);
            let found = search(&CONFIG, &[Goal::ndr(), Goal::pdr()], &mut |load, seconds| {
                trials += 1;
                device(load, seconds)
            })
            .unwrap();
            let (lower, upper) = (found[0].lower_bound.unwrap(), found[0].upper_bound.unwrap());
            assert!(lower <= limit && limit < upper && (upper - lower) / upper <= 0.0050001, "{limit}: {found:?}");
            let (lower, upper) = (found[1].lower_bound.unwrap(), found[1].upper_bound.unwrap());
            let partial = limit / 0.995;
            assert!(lower <= partial && partial < upper && (upper - lower) / upper <= 0.0050001, "{limit}: {found:?}");
            assert!(trials < 400, "{limit}: {trials} trials");
            // What gets through at the lower bound of the PDR is the limit itself.
            assert!((found[1].conditional_throughput.unwrap() / limit - 1.0).abs() < 0.005, "{found:?}");
        }
    }

    #[test]
    fn the_ends_of_the_range_are_said() {
        let found = search(&CONFIG, &[Goal::ndr()], &mut sharp(1e9)).unwrap();
        assert_eq!((found[0].lower_bound, found[0].upper_bound), (Some(14_880_952.0), None));
        let found = search(&CONFIG, &[Goal::ndr()], &mut sharp(1.0)).unwrap();
        assert_eq!((found[0].lower_bound, found[0].upper_bound), (None, Some(9001.0)));
        assert_eq!(found[0].conditional_throughput, None);
    }

    #[test]
    fn a_search_does_not_go_on_for_ever() {
        let config = SearchConfig { search_max_s: 30.0, ..CONFIG };
        assert_eq!(search(&config, &[Goal::ndr()], &mut sharp(7e6)), Err(SearchError::TooLong { seconds: 30.0 }));
        assert_eq!(search(&CONFIG, &[Goal::ndr()], &mut |_, _| Err("broken")), Err(SearchError::Measure("broken")));
    }

    #[test]
    fn long_goals_begin_with_short_trials() {
        let mut durations = Vec::new();
        let mut device = sharp(7e6);
        let goal = Goal::rfc2544();
        let config = SearchConfig { search_max_s: 1e5, ..CONFIG };
        let found = search(&config, std::slice::from_ref(&goal), &mut |load, seconds| {
            durations.push(seconds);
            device(load, seconds)
        })
        .unwrap();
        assert_eq!(durations[0], 1.0);
        assert!(durations.contains(&60.0));
        let long = durations.iter().filter(|&&seconds| seconds == 60.0).count();
        assert!(long < durations.len() / 2, "{durations:?}");
        assert!(found[0].lower_bound.unwrap() <= 7e6);
    }
}
