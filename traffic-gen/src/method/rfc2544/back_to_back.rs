//! Back-to-back frames (RFC 2544 §26.4, as RFC 9004 updates it): the longest burst at the smallest gap of which nothing is lost, and the
//! buffer that it tells of.
//!
//! RFC 9004 §5.4: the burst's mean length at the maximum rate is the *implied* buffer time; while a burst fills the buffer the device
//! empties it at its throughput, so the *corrected* buffer time is the implied one times (1 - throughput / maximum rate). Sizes at which the
//! throughput is the maximum rate have no limit to find (§5.1) and are left out.

use port::Nanos;
use serde::Serialize;

use super::{check, passes, setup, throughput};
use crate::method::report::{count, micros};
use crate::method::search::highest;
use crate::method::{Pattern, Report, Runner, Table};
use crate::output::plots::BoxRow;
use crate::trial::{Amount, TestbedError};

/// Back-to-back frames at one size.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct BackToBack {
    /// Bytes with FCS.
    pub size: usize,
    /// Repeats.
    pub repeats: u32,
    /// Mean, least and most frames of the longest burst without loss, each port.
    pub mean: f64,
    /// Least.
    pub min: u64,
    /// Most.
    pub max: u64,
    /// Standard deviation of the repeats.
    pub deviation: f64,
    /// Implied buffer time, ns.
    pub implied_ns: f64,
    /// Corrected buffer time, ns.
    pub corrected_ns: f64,
    /// Frames that the corrected buffer time is at the maximum rate.
    pub corrected_frames: f64,
}

/// How to measure.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Repeats to average: at least 50.
    pub repeats: u32,
    /// Longest burst tried: at least 2 s.
    pub burst: Nanos,
}

impl Default for Options {
    fn default() -> Self {
        Options { repeats: 50, burst: Nanos::from_secs(2) }
    }
}

/// The test at all sizes of the settings: searches the throughput first.
///
/// # Errors
/// As [`Testbed::run`](crate::trial::Testbed::run).
pub fn run(runner: &mut Runner<'_>, pattern: &Pattern, options: Options) -> Result<Report, TestbedError> {
    check(pattern)?;
    let mut report = Report::new("Back-to-back frames", "RFC 2544, section 26.4; RFC 9004");
    setup(&mut report, runner, pattern);
    report.set("repeats", options.repeats);
    report.set("longest burst tried", format!("{} s", options.burst.as_secs_f64()));
    let mut table = Table::new(
        "Back-to-back frames, each port",
        &[
            ">frame size (bytes)",
            ">mean (frames)",
            ">min",
            ">max",
            ">std dev",
            ">implied buffer time (µs)",
            ">corrected buffer time (µs)",
            ">corrected buffer (frames)",
        ],
    );
    let ports = runner.testbed.ports().to_vec();
    let mut repeats = Vec::new();
    for size in runner.settings.sizes.clone() {
        let found = throughput::find(runner, pattern, size)?;
        if found.load >= 1.0 {
            report.notes.push(format!("{size} bytes: left out, since the throughput is the maximum rate (RFC 9004 §5.1)"));
            continue;
        }
        let port_fps = found.max_fps / pattern.senders() as f64;
        let most = (port_fps * options.burst.as_secs_f64()) as u64;
        let mut bursts = Vec::new();
        for _ in 0..options.repeats.max(1) {
            let longest = highest(most, |frames| {
                let trial = pattern.trial(&ports, size, 1.0, Amount::Frames(frames), &runner.settings);
                let result = runner.run(&format!("back-to-back, {frames} frames"), size, 1.0, &trial)?;
                Ok::<_, TestbedError>(passes(runner, &result))
            })?;
            bursts.push(longest.unwrap_or(0));
        }
        let mean = bursts.iter().sum::<u64>() as f64 / bursts.len() as f64;
        let variance = bursts.iter().map(|&burst| (burst as f64 - mean).powi(2)).sum::<f64>() / (bursts.len() - 1).max(1) as f64;
        let implied_ns = mean / port_fps * 1e9;
        let corrected_ns = implied_ns * (1.0 - found.fps / found.max_fps);
        let (min, max) = (bursts.iter().copied().min().unwrap_or(0), bursts.iter().copied().max().unwrap_or(0));
        let row = BackToBack {
            size,
            repeats: options.repeats,
            mean,
            min,
            max,
            deviation: variance.sqrt(),
            implied_ns,
            corrected_ns,
            corrected_frames: corrected_ns * port_fps / 1e9,
        };
        if max == most {
            report.notes.push(format!("{size} bytes: the longest burst tried was without loss; the buffer may be larger"));
        }
        table.row([
            size.to_string(),
            count(mean),
            count(min as f64),
            count(max as f64),
            format!("{:.1}", row.deviation),
            micros(implied_ns),
            micros(corrected_ns),
            count(row.corrected_frames),
        ]);
        repeats.push(BoxRow { name: format!("{size} B"), values: bursts.iter().map(|&burst| burst as f64).collect() });
        report.result(row);
    }
    report.draw_repeats("Longest burst without loss, all repeats", "frames", repeats);
    report.tables.push(table);
    report.take_trials(&mut runner.rows);
    Ok(report)
}
