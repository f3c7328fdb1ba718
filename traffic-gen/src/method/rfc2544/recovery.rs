//! System recovery (RFC 2544 §26.5): how long after an overload the last frame is lost.
//!
//! 110 % of the throughput, or the maximum rate if that is less, for at least 60 s; then half of it. The recovery time is the time from the
//! change to the last lost frame.

use port::Nanos;
use serde::Serialize;

use super::{check, setup, throughput};
use crate::method::report::{count, micros, percent};
use crate::method::{Pattern, Report, Runner, Table};
use crate::trial::{Amount, Phase, TestbedError};

/// Recovery at one size.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Recovery {
    /// Bytes with FCS.
    pub size: usize,
    /// Load of the overload as a share of the maximum.
    pub overload: f64,
    /// Frames lost in all.
    pub lost: u64,
    /// Time from the change of rate to the last lost frame, ns; 0 if none was lost after it.
    pub recovery_ns: u64,
}

/// The test at all sizes of the settings; overload and recovery each take their trial time.
///
/// # Errors
/// As [`Testbed::run`](crate::trial::Testbed::run).
pub fn run(runner: &mut Runner<'_>, pattern: &Pattern) -> Result<Report, TestbedError> {
    check(pattern)?;
    let mut report = Report::new("System recovery", "RFC 2544, section 26.5");
    setup(&mut report, runner, pattern);
    let mut table = Table::new(
        "System recovery",
        &[">frame size (bytes)", ">throughput (% of max)", ">overload (% of max)", ">frames lost", ">recovery time (µs)"],
    );
    let ports = runner.testbed.ports().to_vec();
    for size in runner.settings.sizes.clone() {
        let found = throughput::find(runner, pattern, size)?;
        if found.load == 0.0 {
            report.notes.push(format!("{size} bytes: no recovery time, since frames were lost at the lowest load tried"));
            continue;
        }
        let overload = (found.load * 1.1).min(1.0);
        if overload <= found.load {
            report.notes.push(format!("{size} bytes: the throughput is the maximum rate, so that the device cannot be overloaded"));
        }
        let span = runner.settings.trial;
        let mut trial = pattern.trial(&ports, size, overload, Amount::Span(span), &runner.settings);
        for port in &mut trial.ports {
            let after: Vec<Phase> =
                port.phases.iter().map(|phase| Phase { start: span, rate_bps: (phase.rate_bps / 2).max(1), ..phase.clone() }).collect();
            port.phases.extend(after);
        }
        let result = runner.run("recovery", size, overload, &trial)?;
        let total = result.total();
        let recovery = total.last_lost.map_or(Nanos::ZERO, |last| last.since(span));
        table.row([size.to_string(), percent(found.load), percent(overload), count(total.lost as f64), micros(recovery.0 as f64)]);
        report.result(Recovery { size, overload, lost: total.lost, recovery_ns: recovery.0 });
    }
    report.tables.push(table);
    report.take_trials(&mut runner.rows);
    Ok(report)
}
