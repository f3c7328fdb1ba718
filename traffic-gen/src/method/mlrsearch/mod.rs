//! MLRsearch (RFC 9971): searches for several loss ratios at once, on devices whose loss is not the same every time.
//!
//! - [`goal`]: what is searched for, with the presets of FD.io CSIT;
//! - [`classify`]: is a load a lower or an upper bound, given its trials?
//! - [`controller`]: which load to try next;
//! - here: the search on a testbed, and its report.
//!
//! Loads are frames a second of all ports together, as CSIT prints them.

pub mod classify;
pub mod controller;
pub mod goal;

use port::Nanos;
use serde::Serialize;

pub use classify::{Bound, TrialLoss, conditional_loss_ratio};
pub use controller::{Found, SearchConfig, SearchError, search};
pub use goal::Goal;

use super::figures::size_bar;
use super::report::{count, percent};
use super::rfc2544::{check, setup};
use super::{Pattern, Report, Runner, Table};
use crate::output::Rate;
use crate::output::plots::SizeBar;
use crate::trial::{Amount, TestbedError};

/// Smallest load of CSIT, frames a second.
pub const MIN_LOAD_FPS: f64 = 9001.0;

/// The result for one goal at one frame size.
#[derive(Clone, Debug, Serialize)]
pub struct GoalResult {
    /// Bytes with FCS.
    pub size: usize,
    /// The goal.
    pub goal: Goal,
    /// Frames a second that the lines carry at most, all ports.
    pub max_fps: f64,
    /// Relevant lower bound, frames a second; nothing if the smallest load is an upper bound.
    pub lower_bound_fps: Option<f64>,
    /// Relevant upper bound; nothing if the largest load is a lower bound.
    pub upper_bound_fps: Option<f64>,
    /// Conditional throughput, frames a second.
    pub conditional_throughput_fps: Option<f64>,
    /// Trials and seconds of the search so far, all goals.
    pub trials: usize,
    /// Sum of all trial durations, s.
    pub seconds: f64,
}

/// Searches for these goals at all sizes of the settings.
///
/// # Errors
/// As [`Testbed::run`](crate::trial::Testbed::run); or the search took longer than `search_max`.
pub fn run(runner: &mut Runner<'_>, pattern: &Pattern, goals: &[Goal], search_max: Nanos) -> Result<Report, TestbedError> {
    check(pattern)?;
    let mut report = Report::new("Multiple loss ratio search", "RFC 9971");
    setup(&mut report, runner, pattern);
    report.setup.retain(|(name, _)| name != "trial");
    report.set("load", "frames a second of all ports together, offered for each trial's whole duration");
    for goal in goals {
        report.set(&format!("goal {}", goal.name), goal);
    }
    let mut table = Table::new(
        "Conditional throughput, all ports together",
        &[
            ">frame size (bytes)",
            "goal",
            ">relevant lower bound (frames/s)",
            ">relevant upper bound (frames/s)",
            ">conditional throughput (frames/s)",
            ">% of max",
            ">trials",
            ">search (s)",
        ],
    );
    let ports = runner.testbed.ports().to_vec();
    let mut bars = Vec::new();
    for size in runner.settings.sizes.clone() {
        let max_fps = pattern.full_fps(&ports, size);
        let config = SearchConfig {
            min_load: MIN_LOAD_FPS.min(max_fps / 100.0),
            max_load: max_fps,
            search_max_s: search_max.as_secs_f64(),
            warm_up_s: 1.0,
        };
        let before = runner.rows.len();
        let found = search(&config, goals, &mut |load, seconds| {
            let span = Nanos((seconds * 1e9).round() as u64);
            let trial = pattern.trial(&ports, size, load / max_fps, Amount::Span(span), &runner.settings);
            let result = runner.run("MLRsearch", size, load / max_fps, &trial)?;
            let (intended, _, _) = result.counts();
            let due = intended * pattern.copies() as u64;
            // Frames the device's flow control kept from being sent are lost as well (RFC 9971 §4.5.2: intended less forwarded).
            let missing = due.saturating_sub(result.total().received);
            Ok(if due == 0 { 0.0 } else { missing as f64 / due as f64 })
        });
        let found = found.map_err(|error| match error {
            SearchError::Measure(error) => error,
            SearchError::TooLong { seconds } => TestbedError::Setup(format!(
                "the search took more than {seconds} s of trials without a result: the device's loss is too irregular, or the goals too narrow"
            )),
        })?;
        let rows = &runner.rows[before..];
        let (trials, seconds) = (rows.len(), rows.iter().map(|row| row.seconds).sum());
        let mut bar = SizeBar { measured: None, ..size_bar(size, 0.0, max_fps) };
        for (goal, found) in goals.iter().zip(found) {
            let rate = found.conditional_throughput.map(|fps| Rate::of(fps, size as f64));
            // The names of the presets of CSIT; goals of other names are in the table only.
            match goal.name.to_ascii_uppercase().as_str() {
                "NDR" => bar.ndr = rate,
                "PDR" => bar.pdr = rate,
                _ => {}
            }
            let or_none = |fps: Option<f64>, none: &str| fps.map_or(none.to_owned(), count);
            table.row([
                size.to_string(),
                goal.name.clone(),
                or_none(found.lower_bound, "none: the smallest load is an upper bound"),
                or_none(found.upper_bound, "none: the largest load is a lower bound"),
                or_none(found.conditional_throughput, "-"),
                found.conditional_throughput.map_or("-".to_owned(), |fps| percent(fps / max_fps)),
                trials.to_string(),
                format!("{seconds:.1}"),
            ]);
            report.result(GoalResult {
                size,
                goal: goal.clone(),
                max_fps,
                lower_bound_fps: found.lower_bound,
                upper_bound_fps: found.upper_bound,
                conditional_throughput_fps: found.conditional_throughput,
                trials,
                seconds,
            });
        }
        bars.push(bar);
    }
    report.draw_rates("Conditional throughput", &bars);
    report.tables.push(table);
    report.take_trials(&mut runner.rows);
    Ok(report)
}
