//! Frame loss rate (RFC 2544 §26.3): from the maximum rate down until two trials in a row lose nothing.

use serde::Serialize;

use super::{check, setup};
use crate::method::report::{count, percent};
use crate::method::{Pattern, Report, Runner, Table};
use crate::output::plots::LossCurve;
use crate::trial::{Amount, TestbedError};

/// Loss at one load.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Loss {
    /// Bytes with FCS.
    pub size: usize,
    /// Share of the maximum rate, 0 to 1.
    pub load: f64,
    /// Copies that were due.
    pub expected: u64,
    /// Copies that came.
    pub received: u64,
    /// (input count - output count) / input count, 0 to 1.
    pub loss_ratio: f64,
}

/// The test at all sizes of the settings, in steps of `step` of the maximum rate: at most 0.1.
///
/// # Errors
/// As [`Testbed::run`](crate::trial::Testbed::run).
pub fn run(runner: &mut Runner<'_>, pattern: &Pattern, step: f64) -> Result<Report, TestbedError> {
    check(pattern)?;
    let mut report = Report::new("Frame loss rate", "RFC 2544, section 26.3");
    setup(&mut report, runner, pattern);
    let steps = (1.0 / step.clamp(0.001, 0.1)).round() as u64;
    report.set("steps", format!("{} % of the maximum rate", percent(1.0 / steps as f64)));
    let ports = runner.testbed.ports().to_vec();
    let mut curves = Vec::new();
    for size in runner.settings.sizes.clone() {
        let mut curve = LossCurve { name: format!("{size} B"), points: Vec::new() };
        let mut table =
            Table::new(format!("Frame loss rate, {size} bytes"), &[">% of max rate", ">frames due", ">frames received", ">frame loss (%)"]);
        let mut without_loss = 0;
        for step in (1..=steps).rev() {
            let load = step as f64 / steps as f64;
            let trial = pattern.trial(&ports, size, load, Amount::Span(runner.settings.trial), &runner.settings);
            let result = runner.run("frame loss rate", size, load, &trial)?;
            let total = result.total();
            let loss = Loss { size, load, expected: total.expected, received: total.received, loss_ratio: total.loss_ratio() };
            table.row([percent(load), count(loss.expected as f64), count(loss.received as f64), percent(loss.loss_ratio)]);
            curve.points.push((loss.load, loss.loss_ratio));
            report.result(loss);
            without_loss = if loss.loss_ratio == 0.0 && result.is_valid() { without_loss + 1 } else { 0 };
            if without_loss == 2 {
                break;
            }
        }
        curves.push(curve);
        report.tables.push(table);
    }
    report.draw_loss(curves);
    report.take_trials(&mut runner.rows);
    Ok(report)
}
