//! Throughput (RFC 2544 §26.1): the fastest rate at which every frame sent comes out.

use serde::Serialize;

use super::{check, passes, setup};
use crate::method::figures::{all_latencies, size_bar};
use crate::method::report::{count, percent};
use crate::method::search::highest;
use crate::method::{Pattern, Report, Runner, Table};
use crate::output::Distribution;
use crate::trial::{Amount, TestbedError, wire_bits};

/// The throughput at one frame size.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Throughput {
    /// Bytes with FCS.
    pub size: usize,
    /// Frames a second that the lines carry at most in this pattern, all ports.
    pub max_fps: f64,
    /// Share of it, 0 to 1: the highest load without loss; 0 if there was loss at the lowest.
    pub load: f64,
    /// Frames a second, all ports.
    pub fps: f64,
    /// Bits a second of frames with FCS, all ports.
    pub frame_bps: f64,
    /// Bits a second on the wire, all ports.
    pub wire_bps: f64,
    /// Higher loads failed although nothing was lost: the tester did not keep up, and this is its limit.
    pub testers_limit: bool,
}

/// Finds the throughput at one size to within the settings' resolution.
///
/// # Errors
/// As [`Testbed::run`](crate::trial::Testbed::run).
pub fn find(runner: &mut Runner<'_>, pattern: &Pattern, size: usize) -> Result<Throughput, TestbedError> {
    check(pattern)?;
    let steps = (1.0 / runner.settings.resolution.clamp(1e-6, 1.0)).round() as u64;
    let ports = runner.testbed.ports().to_vec();
    let max_fps = pattern.full_fps(&ports, size);
    let (mut fps, mut losses, mut unproven) = (0.0, 0, 0);
    runner.kept = None;
    let found = highest(steps, |step| {
        let load = step as f64 / steps as f64;
        let trial = pattern.trial(&ports, size, load, Amount::Span(runner.settings.trial), &runner.settings);
        let result = runner.run("throughput", size, load, &trial)?;
        let passed = passes(runner, &result);
        if !passed && result.total().loss_ratio() <= runner.settings.loss_accepted {
            unproven += 1;
        } else if !passed {
            losses += 1;
        }
        if passed {
            fps = result.offered_fps();
            runner.kept = Some(all_latencies(&result.latency));
        }
        Ok(passed)
    })?;
    let load = found.map_or(0.0, |step| step as f64 / steps as f64);
    let (frame_bps, wire_bps) = (fps * size as f64 * 8.0, fps * wire_bits(size - 4) as f64);
    Ok(Throughput { size, max_fps, load, fps, frame_bps, wire_bps, testers_limit: unproven > 0 && losses == 0 })
}

/// The test at all sizes of the settings.
///
/// # Errors
/// As [`find`].
pub fn run(runner: &mut Runner<'_>, pattern: &Pattern) -> Result<Report, TestbedError> {
    let mut report = Report::new("Throughput", "RFC 2544, section 26.1");
    setup(&mut report, runner, pattern);
    report.set("resolution", format!("{} % of the maximum", percent(runner.settings.resolution)));
    let mut table = Table::new(
        "Throughput, all ports together",
        &[
            ">frame size (bytes)",
            ">theoretical max (frames/s)",
            ">throughput (frames/s)",
            ">% of max",
            ">Mb/s of frames",
            ">Mb/s on the wire",
        ],
    );
    let (mut bars, mut latencies) = (Vec::new(), Vec::new());
    for size in runner.settings.sizes.clone() {
        let found = find(runner, pattern, size)?;
        table.row([
            size.to_string(),
            count(found.max_fps),
            count(found.fps),
            percent(found.load),
            count(found.frame_bps / 1e6),
            count(found.wire_bps / 1e6),
        ]);
        if found.testers_limit {
            report.notes.push(format!(
                "{size} bytes: this is the tester's limit, not the device's: no trial lost a frame, but in some not all were sent in time"
            ));
        } else if found.load == 0.0 {
            report.notes.push(format!("{size} bytes: frames were lost at the lowest load tried"));
        }
        bars.push(size_bar(size, found.fps, found.max_fps));
        // The search has kept the latencies of the last trial that passed: those at the throughput.
        latencies.extend(runner.kept.take().map(|kept| Distribution::new(format!("{size} B at the throughput"), kept)));
        report.result(found);
    }
    report.draw_rates("Throughput", &bars);
    report.draw_latency(latencies);
    report.tables.push(table);
    report.take_trials(&mut runner.rows);
    Ok(report)
}
