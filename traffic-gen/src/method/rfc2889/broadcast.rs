//! Broadcast frame forwarding and latency (RFC 2889 §5.10): one port sends broadcasts, all others must receive each of them.

use serde::Serialize;

use super::{need, setup};
use crate::method::figures::{all_latencies, size_bar};
use crate::method::report::{count, micros, percent};
use crate::method::rfc2544::throughput;
use crate::method::{Pattern, Report, Runner, Table};
use crate::output::Distribution;
use crate::trial::{Amount, TestbedError};

/// Broadcast forwarding at one frame size.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Broadcast {
    /// Bytes with FCS.
    pub size: usize,
    /// Highest load without loss at any port, share of the maximum, 0 to 1.
    pub throughput_load: f64,
    /// The same in frames a second sent.
    pub throughput_fps: f64,
    /// Forwarding rate at the maximum load, copies a second, all ports.
    pub frmol_fps: f64,
    /// Lost share of the copies due at the maximum load.
    pub loss_ratio: f64,
    /// Mean latency over all copies at the throughput, last bit in to last bit out, ns.
    pub latency_mean_ns: f64,
    /// Longest.
    pub latency_max_ns: u64,
}

/// The test from the first port at all sizes of the settings.
///
/// # Errors
/// As [`Testbed::run`](crate::trial::Testbed::run).
pub fn run(runner: &mut Runner<'_>) -> Result<Report, TestbedError> {
    need(runner, 4, "broadcast frame forwarding")?;
    let mut report = Report::new("Broadcast frame forwarding and latency", "RFC 2889, section 5.10");
    setup(&mut report, runner);
    let ports = runner.testbed.ports().to_vec();
    report.set("source", &ports[0].name);
    let pattern = Pattern::broadcast(ports.len(), 0);
    let mut table = Table::new(
        format!("Broadcast, {} to {} ports", ports[0].name, ports.len() - 1),
        &[
            ">frame size (bytes)",
            ">throughput (frames/s)",
            ">% of max",
            ">FRMOL (copies/s)",
            ">loss at MOL (%)",
            ">mean latency (µs)",
            ">max latency (µs)",
        ],
    );
    let (mut bars, mut latencies) = (Vec::new(), Vec::new());
    for size in runner.settings.sizes.clone() {
        let found = throughput::find(runner, &pattern, size)?;
        let span = Amount::Span(runner.settings.trial);
        let trial = pattern.trial(&ports, size, 1.0, span, &runner.settings);
        let at_mol = runner.run("broadcast at MOL", size, 1.0, &trial)?;
        let (mut mean, mut max) = (0.0, 0);
        if found.load > 0.0 {
            let trial = pattern.trial(&ports, size, found.load, span, &runner.settings);
            let result = runner.run("broadcast latency", size, found.load, &trial)?;
            if let Some(latency) = result.latency.first() {
                (mean, max) = (latency.mean(), latency.max());
                latencies.push(Distribution::new(format!("{size} B broadcast"), all_latencies(&result.latency)));
            }
        }
        let row = Broadcast {
            size,
            throughput_load: found.load,
            throughput_fps: found.fps,
            frmol_fps: at_mol.forwarding_rate_fps(),
            loss_ratio: at_mol.total().loss_ratio(),
            latency_mean_ns: mean,
            latency_max_ns: max,
        };
        table.row([
            size.to_string(),
            count(row.throughput_fps),
            percent(row.throughput_load),
            count(row.frmol_fps),
            percent(row.loss_ratio),
            micros(mean),
            micros(max as f64),
        ]);
        bars.push(size_bar(size, found.fps, found.max_fps));
        report.result(row);
    }
    report.draw_rates("Broadcast throughput", &bars);
    report.draw_latency(latencies);
    report.tables.push(table);
    report.take_trials(&mut runner.rows);
    Ok(report)
}
