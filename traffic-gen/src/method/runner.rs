//! Runs the trials of a method, keeps the table of them and tells whoever watches.

use hdrhistogram::Histogram;
use port::Nanos;
use serde::Serialize;

use super::Settings;
use crate::trial::{Testbed, TestbedError, Trial, TrialProgress, TrialResult};

/// A line of the trial table.
#[derive(Clone, Debug, Serialize)]
pub struct TrialRow {
    /// Counted from 1.
    pub number: usize,
    /// What the trial is for.
    pub what: String,
    /// Frame size, bytes with FCS.
    pub size: usize,
    /// Intended load in percent of what 100 % is in this pattern.
    pub load_percent: f64,
    /// Sending time, s.
    pub seconds: f64,
    /// Offered load, frames a second, all ports.
    pub offered_fps: f64,
    /// Forwarding rate, frames a second, all ports.
    pub forwarded_fps: f64,
    /// Test frames sent.
    pub sent: u64,
    /// Copies that were due.
    pub expected: u64,
    /// Of these, lost.
    pub lost: u64,
    /// Copies beyond the first.
    pub duplicated: u64,
    /// Overtaken frames.
    pub reordered: u64,
    /// Frames that came out of wrong ports only.
    pub misdelivered: u64,
    /// Copies out of wrong ports besides.
    pub flooded: u64,
    /// Frames that came out changed.
    pub corrupted: u64,
    /// Latency: least, median, 99th and 99.9th percentile, most; ns. Nothing if no frame came.
    pub latency_ns: Option<[u64; 5]>,
    /// Why it does not count; empty if it does.
    pub invalid: Vec<String>,
}

/// Whoever watches a method at work.
pub trait Watch {
    /// A trial begins; it takes about `length`.
    fn begins(&mut self, number: usize, what: &str, length: Nanos);

    /// How far it is. `false` ends the method.
    fn progress(&mut self, progress: TrialProgress) -> bool;

    /// It is over.
    fn ends(&mut self, row: &TrialRow);

    /// A word for people.
    fn says(&mut self, text: &str) {
        let _ = text;
    }
}

/// Nobody watches.
#[derive(Clone, Copy, Debug)]
pub struct Silent;

impl Watch for Silent {
    fn begins(&mut self, _number: usize, _what: &str, _length: Nanos) {}
    fn progress(&mut self, _progress: TrialProgress) -> bool {
        true
    }
    fn ends(&mut self, _row: &TrialRow) {}
}

/// A testbed, the settings, and the trials so far.
pub struct Runner<'a> {
    /// Where trials run.
    pub testbed: &'a mut dyn Testbed,
    /// What holds for all of them.
    pub settings: Settings,
    /// All trials so far.
    pub rows: Vec<TrialRow>,
    /// Latencies in ns that a method keeps from one trial for its report.
    pub kept: Option<Histogram<u64>>,
    watch: &'a mut dyn Watch,
}

impl<'a> Runner<'a> {
    /// No trials yet.
    pub fn new(testbed: &'a mut dyn Testbed, settings: Settings, watch: &'a mut dyn Watch) -> Runner<'a> {
        Runner { testbed, settings, rows: Vec::new(), kept: None, watch }
    }

    /// Runs a trial and adds it to the table. `load` is what the table calls 100 % as 1.
    ///
    /// # Errors
    /// As [`Testbed::run`].
    pub fn run(&mut self, what: &str, size: usize, load: f64, trial: &Trial) -> Result<TrialResult, TestbedError> {
        let number = self.rows.len() + 1;
        self.watch.begins(number, what, trial.length());
        let result = self.testbed.run(trial, &mut |progress| self.watch.progress(progress))?;
        let total = result.total();
        let corrupted = result.ports.iter().map(|port| port.corrupted).sum();
        let mut latency = hdrhistogram::Histogram::<u64>::new(3).ok();
        for more in &result.latency {
            // Both count 3 digits and grow as needed.
            latency = latency.and_then(|mut all| all.add(more).is_ok().then_some(all));
        }
        let row = TrialRow {
            number,
            what: what.to_owned(),
            size,
            load_percent: load * 100.0,
            seconds: result.duration.as_secs_f64(),
            offered_fps: result.offered_fps(),
            forwarded_fps: result.forwarding_rate_fps(),
            sent: result.counts().1,
            expected: total.expected,
            lost: total.lost,
            duplicated: total.duplicated,
            reordered: total.reordered,
            misdelivered: total.misdelivered,
            flooded: total.flooded,
            corrupted,
            latency_ns: latency
                .filter(|all| !all.is_empty())
                .map(|all| [all.min(), all.value_at_quantile(0.5), all.value_at_quantile(0.99), all.value_at_quantile(0.999), all.max()]),
            invalid: result.invalid.iter().map(ToString::to_string).collect(),
        };
        self.watch.ends(&row);
        self.rows.push(row);
        Ok(result)
    }

    /// A word for people.
    pub fn say(&mut self, text: &str) {
        self.watch.says(text);
    }
}
