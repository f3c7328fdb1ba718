//! Throughput, frame loss and forwarding rates of meshed patterns (RFC 2889 §5.1 to §5.4).
//!
//! The throughput is searched with loads that no output is asked for more than it carries. Then one trial at the maximum offered load
//! (MOL) of every sender gives loss and the forwarding rate at it (FRMOL, RFC 2285 §3.6.2): in many-to-one patterns that is an overload, and
//! what comes out shows how fairly the output is shared.

use serde::Serialize;

use super::setup;
use crate::method::figures::size_bar;
use crate::method::report::{count, percent};
use crate::method::rfc2544::throughput;
use crate::method::{Pattern, Report, Runner, Table};
use crate::trial::{Amount, TestbedError, TrialResult, frames_per_second};

/// What a pattern came to at one frame size.
#[derive(Clone, Debug, Serialize)]
pub struct Forwarding {
    /// Name of the pattern.
    pub pattern: String,
    /// Bytes with FCS.
    pub size: usize,
    /// Highest load without loss as a share of what the outputs carry, 0 to 1.
    pub throughput_load: f64,
    /// The same in frames a second, all ports.
    pub throughput_fps: f64,
    /// Frames a second that the lines of all senders carry.
    pub line_fps: f64,
    /// Frames a second offered at MOL, all ports.
    pub mol_offered_fps: f64,
    /// Forwarding rate at MOL, frames a second, all ports.
    pub frmol_fps: f64,
    /// Copies due at MOL, and those lost.
    pub expected: u64,
    /// Of these, lost.
    pub lost: u64,
    /// Lost share, 0 to 1.
    pub loss_ratio: f64,
    /// Copies out of ports that a frame was not for, at MOL.
    pub flooded: u64,
    /// Fairness between sources at MOL (Jain's index, 1/n to 1) of what each source got through.
    pub fairness: f64,
    /// Frames that each source got through at MOL, by port; 0 for ports that do not send.
    pub by_source: Vec<u64>,
}

/// Jain's fairness index of shares: (Σx)² / (n Σx²); 1 for nothing at all.
pub fn fairness(shares: &[f64]) -> f64 {
    let (sum, squares) = shares.iter().fold((0.0, 0.0), |(sum, squares), share| (sum + share, squares + share * share));
    if squares == 0.0 { 1.0 } else { sum * sum / (shares.len() as f64 * squares) }
}

/// Runs the pattern at MOL once: the result, and its summary with the throughput left at 0.
///
/// # Errors
/// As [`Testbed::run`](crate::trial::Testbed::run).
pub fn at_mol(runner: &mut Runner<'_>, pattern: &Pattern, size: usize) -> Result<(TrialResult, Forwarding), TestbedError> {
    let ports = runner.testbed.ports().to_vec();
    let pattern = pattern.clone().unfitted();
    let trial = pattern.trial(&ports, size, 1.0, Amount::Span(runner.settings.trial), &runner.settings);
    let result = runner.run(&format!("{} at MOL", pattern.name), size, 1.0, &trial)?;
    let total = result.total();
    let mut by_source = vec![0; ports.len()];
    let mut expected = vec![0; ports.len()];
    for (stream, got) in trial.streams.iter().zip(&result.streams) {
        by_source[stream.from.index()] += got.received;
        expected[stream.from.index()] += got.expected;
    }
    let shares: Vec<f64> =
        by_source.iter().zip(&expected).filter(|&(_, &expected)| expected > 0).map(|(&got, &due)| got as f64 / due as f64).collect();
    let senders = trial.ports.iter().zip(&ports).filter(|(port, _)| port.phases.iter().any(|phase| !phase.frames.is_empty()));
    let line_fps: f64 = senders.map(|(_, line)| frames_per_second(line.line_bps, size)).sum();
    let forwarding = Forwarding {
        pattern: pattern.name,
        size,
        throughput_load: 0.0,
        throughput_fps: 0.0,
        line_fps,
        mol_offered_fps: result.offered_fps(),
        frmol_fps: result.forwarding_rate_fps(),
        expected: total.expected,
        lost: total.lost,
        loss_ratio: total.loss_ratio(),
        flooded: total.flooded + total.misdelivered,
        fairness: fairness(&shares),
        by_source,
    };
    Ok((result, forwarding))
}

/// The test of these patterns at all sizes of the settings; `section` of the standard names it.
///
/// # Errors
/// As [`Testbed::run`](crate::trial::Testbed::run).
pub fn run(runner: &mut Runner<'_>, patterns: &[Pattern], test: &str, section: &str) -> Result<Report, TestbedError> {
    let mut report = Report::new(test, &format!("RFC 2889, section {section}"));
    setup(&mut report, runner);
    for pattern in patterns {
        let mut table = Table::new(
            format!("{}, all ports together", pattern.name),
            &[
                ">frame size (bytes)",
                ">throughput (frames/s)",
                ">% of max",
                ">% of line",
                ">offered at MOL (frames/s)",
                ">FRMOL (frames/s)",
                ">FRMOL (% of line)",
                ">frame loss at MOL (%)",
                ">flood count",
                ">fairness index",
            ],
        );
        let mut bars = Vec::new();
        for size in runner.settings.sizes.clone() {
            let found = throughput::find(runner, pattern, size)?;
            let (_, forwarding) = at_mol(runner, pattern, size)?;
            let row = Forwarding { throughput_load: found.load, throughput_fps: found.fps, ..forwarding };
            let of_line = |fps: f64| percent(fps / row.line_fps.max(1.0));
            table.row([
                size.to_string(),
                count(row.throughput_fps),
                percent(row.throughput_load),
                of_line(row.throughput_fps),
                count(row.mol_offered_fps),
                count(row.frmol_fps),
                of_line(row.frmol_fps),
                percent(row.loss_ratio),
                count(row.flooded as f64),
                format!("{:.6}", row.fairness),
            ]);
            bars.push(size_bar(size, found.fps, found.max_fps));
            report.result(row);
        }
        report.draw_rates(&format!("Throughput, {}", pattern.name), &bars);
        report.tables.push(table);
    }
    report.take_trials(&mut runner.rows);
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::fairness;

    #[test]
    fn fairness_is_one_if_all_get_the_same() {
        assert_eq!(fairness(&[0.5; 16]), 1.0);
        assert_eq!(fairness(&[1.0, 0.0, 0.0, 0.0]), 0.25);
        assert_eq!(fairness(&[0.0; 3]), 1.0);
    }
}
