//! Soak: one load for a long time, in intervals (RFC 8204 and the vsperf test list: 6 to 24 hours, intervals of 300 s).
//!
//! Each interval is a trial of its own and the next follows without a pause. BestN and WorstN are the means of the N intervals that
//! lost least and most.

use port::Nanos;
use serde::Serialize;

use super::figures::all_latencies;
use super::report::{count, percent};
use super::rfc2544::setup;
use super::variation::{self, Variations, Varied};
use super::{Pattern, Report, Runner, Table};
use crate::measure::empty_histogram;
use crate::output::plots::BoxRow;
use crate::output::{Distribution, Interval};
use crate::trial::{Amount, TestbedError};

/// How to soak.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Share of the maximum load, 0 to 1.
    pub load: f64,
    /// Intervals.
    pub intervals: u32,
    /// Length of each.
    pub interval: Nanos,
    /// N of BestN and WorstN.
    pub n: usize,
    /// Loss ratio that is still accepted in each interval: 1e-7 in vsperf.
    pub loss_accepted: f64,
}

/// What a soak came to at one frame size.
#[derive(Clone, Debug, Serialize)]
pub struct Soak {
    /// Bytes with FCS.
    pub size: usize,
    /// Share of the maximum load.
    pub load: f64,
    /// Loss ratio of each interval.
    pub loss: Vec<f64>,
    /// Mean of the N lowest.
    pub best_n: f64,
    /// Mean of the N highest.
    pub worst_n: f64,
    /// Intervals above the loss accepted.
    pub failed: usize,
    /// How latency varied over all intervals.
    pub varied: Varied,
}

/// The mean of the `n` lowest and of the `n` highest.
pub fn best_and_worst(values: &[f64], n: usize) -> (f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = n.clamp(1, sorted.len().max(1));
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
    (mean(&sorted[..n.min(sorted.len())]), mean(&sorted[sorted.len().saturating_sub(n)..]))
}

/// Soaks at all sizes of the settings.
///
/// # Errors
/// As [`Testbed::run`](crate::trial::Testbed::run).
pub fn run(runner: &mut Runner<'_>, pattern: &Pattern, options: Options) -> Result<Report, TestbedError> {
    let mut report = Report::new("Soak", "RFC 8204");
    setup(&mut report, runner, pattern);
    report.set(
        "intervals",
        format!("{} of {} s at {} % of the maximum load", options.intervals, options.interval.as_secs_f64(), percent(options.load)),
    );
    let ports = runner.testbed.ports().to_vec();
    let mut table = Table::new(
        "Soak: loss ratio by interval (%)",
        &[">frame size (bytes)", ">mean", ">BestN", ">WorstN", ">worst", ">intervals", ">above the loss accepted"],
    );
    let (mut losses, mut latencies, mut all_varied) = (Vec::new(), Vec::new(), Vec::new());
    for size in runner.settings.sizes.clone() {
        let mut latency = Distribution::new(format!("{size} B"), empty_histogram());
        let mut loss = Vec::new();
        let mut variations = Variations::default();
        for interval in 0..options.intervals.max(1) {
            let mut settings = runner.settings.clone();
            // Without a pause, and learned once.
            settings.rest = Nanos::ZERO;
            settings.learning &= interval == 0;
            let trial = pattern.trial(&ports, size, options.load, Amount::Span(options.interval), &settings);
            let result = runner.run(&format!("soak, interval {}", interval + 1), size, options.load, &trial)?;
            loss.push(result.total().loss_ratio());
            variations.add(&result);
            let histogram = all_latencies(&result.latency);
            latency.histogram.add(&histogram).map_err(|error| TestbedError::Setup(error.to_string()))?;
            let length_s = options.interval.as_secs_f64();
            latency.intervals.push(Interval { start_s: f64::from(interval) * length_s, length_s, histogram });
        }
        let (best_n, worst_n) = best_and_worst(&loss, options.n);
        let failed = loss.iter().filter(|&&loss| loss > options.loss_accepted).count();
        let (mean, worst) = (best_and_worst(&loss, loss.len()).0, best_and_worst(&loss, 1).1);
        let mut cells = vec![size.to_string()];
        cells.extend([mean, best_n, worst_n, worst].map(percent));
        cells.extend([count(loss.len() as f64), count(failed as f64)]);
        table.row(cells);
        losses.push(BoxRow { name: format!("{size} B"), values: loss.iter().map(|loss| loss * 100.0).collect() });
        latencies.push(latency);
        let varied = variations.finish(size);
        all_varied.push(varied.clone());
        report.result(Soak { size, load: options.load, loss, best_n, worst_n, failed, varied });
    }
    report.draw_repeats("Loss of all intervals", "frames lost, %", losses);
    report.draw_latency(latencies);
    report.tables.push(table);
    report.tables.push(variation::table(&all_varied));
    report.take_trials(&mut runner.rows);
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::best_and_worst;

    #[test]
    fn best_and_worst_are_means_of_the_extremes() {
        assert_eq!(best_and_worst(&[3.0, 1.0, 2.0, 5.0], 2), (1.5, 4.0));
        assert_eq!(best_and_worst(&[1.0], 10), (1.0, 1.0));
        assert_eq!(best_and_worst(&[], 3), (0.0, 0.0));
    }
}
