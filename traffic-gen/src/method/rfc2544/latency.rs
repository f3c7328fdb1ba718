//! Latency (RFC 2544 §26.2) at the throughput.
//!
//! The standard marks one frame after half of a trial of 120 s and averages 20 trials. That number is given; beside it the distribution
//! over all frames of all trials and [how it varies](super::super::variation), which the standard could not ask for in 1999.
//!
//! Measured is the time from the last bit in to the last bit out. For a store-and-forward device RFC 1242 §3.8 counts until the first
//! bit out: less by the frame's own time on the line it leaves by.

use hdrhistogram::Histogram;
use port::Nanos;
use serde::Serialize;

use super::{check, setup, throughput};
use crate::method::report::{count, micros, percent};
use crate::method::variation::{self, Variations, Varied};
use crate::method::{Pattern, Report, Runner, Table};
use crate::output::Distribution;
use crate::trial::{Amount, TestbedError};

/// Latency at one frame size, ns, last bit to last bit.
#[derive(Clone, Debug, Serialize)]
pub struct Latency {
    /// Bytes with FCS.
    pub size: usize,
    /// Load as a share of the maximum: the throughput.
    pub load: f64,
    /// Frames a second, all ports.
    pub fps: f64,
    /// Trials.
    pub trials: u32,
    /// Mean of the marked frames.
    pub marked_mean: f64,
    /// Mean of the marked frames, counted as RFC 1242 §3.8 has it for store-and-forward devices.
    pub store_and_forward_mean: f64,
    /// Frames of all trials.
    pub frames: u64,
    /// Least, median, 90th, 99th and 99.9th percentile, most, of all frames.
    pub percentiles: [u64; 6],
    /// How it varied.
    pub varied: Varied,
}

/// How to measure.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Trials to average: at least 20.
    pub repeats: u32,
    /// Sending time of each: at least 120 s.
    pub trial: Nanos,
}

impl Default for Options {
    fn default() -> Self {
        Options { repeats: 20, trial: Nanos::from_secs(120) }
    }
}

/// The test at all sizes of the settings: searches the throughput first.
///
/// # Errors
/// As [`Testbed::run`](crate::trial::Testbed::run).
pub fn run(runner: &mut Runner<'_>, pattern: &Pattern, options: Options) -> Result<Report, TestbedError> {
    check(pattern)?;
    let mut report = Report::new("Latency", "RFC 2544, section 26.2");
    setup(&mut report, runner, pattern);
    report.set("latency trials", format!("{} of {} s at each size", options.repeats, options.trial.as_secs_f64()));
    let mut table = Table::new(
        "Latency in µs at the throughput, last bit in to last bit out",
        &[
            ">frame size (bytes)",
            ">rate (frames/s)",
            ">% of max",
            ">marked frames, mean",
            ">min",
            ">P50",
            ">P90",
            ">P99",
            ">P99.9",
            ">max",
            ">store-and-forward mean (RFC 1242)",
        ],
    );
    let ports = runner.testbed.ports().to_vec();
    let (mut latencies, mut varied) = (Vec::new(), Vec::new());
    for size in runner.settings.sizes.clone() {
        let found = throughput::find(runner, pattern, size)?;
        if found.load == 0.0 {
            report.notes.push(format!("{size} bytes: no latency, since frames were lost at the lowest load tried"));
            continue;
        }
        let mut all = Histogram::<u64>::new(3).map_err(|error| TestbedError::Setup(error.to_string()))?;
        // Latency of marked frames, last bit to last bit and to the first bit.
        let mut marked: Vec<(f64, f64)> = Vec::new();
        let mut variations = Variations::default();
        for _ in 0..options.repeats {
            let trial = pattern.trial(&ports, size, found.load, Amount::Span(options.trial), &runner.settings);
            let result = runner.run("latency", size, found.load, &trial)?;
            for (latency, stream) in result.marked_latency.iter().zip(&trial.streams) {
                if let (Some(latency), Some(to)) = (latency, stream.due.first()) {
                    let own = size as f64 * 8e9 / ports[to.index()].line_bps as f64;
                    marked.push((latency.0 as f64, (latency.0 as f64 - own).max(0.0)));
                }
            }
            variations.add(&result);
            for more in &result.latency {
                all.add(more).map_err(|error| TestbedError::Setup(error.to_string()))?;
            }
        }
        let mean = |value: fn(&(f64, f64)) -> f64| marked.iter().map(value).sum::<f64>() / marked.len().max(1) as f64;
        let latency = Latency {
            size,
            load: found.load,
            fps: found.fps,
            trials: options.repeats,
            marked_mean: mean(|marked| marked.0),
            store_and_forward_mean: mean(|marked| marked.1),
            frames: all.len(),
            percentiles: [
                all.min(),
                all.value_at_quantile(0.5),
                all.value_at_quantile(0.9),
                all.value_at_quantile(0.99),
                all.value_at_quantile(0.999),
                all.max(),
            ],
            varied: variations.finish(size),
        };
        let mut cells = vec![size.to_string(), count(found.fps), percent(found.load), micros(latency.marked_mean)];
        cells.extend(latency.percentiles.map(|ns| micros(ns as f64)));
        cells.push(micros(latency.store_and_forward_mean));
        table.row(cells);
        latencies.push(Distribution::new(format!("{size} B at {} % load", percent(found.load)), all));
        varied.push(latency.varied.clone());
        report.result(latency);
    }
    report.draw_latency(latencies);
    report.tables.push(table);
    report.tables.push(variation::table(&varied));
    report.take_trials(&mut runner.rows);
    Ok(report)
}
