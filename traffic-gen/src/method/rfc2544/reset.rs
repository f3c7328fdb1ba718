//! Reset (RFC 2544 §26.6, as RFC 6201 updates it): how long a reset keeps the device from forwarding.
//!
//! Frames are sent for at least 20 s before the reset (RFC 6201 §4). Two numbers: by time stamps, from the last frame before to the first one
//! after the outage; and by loss, frames lost divided by their rate. The rate is the throughput of the smallest size unless a load is given.

use port::Nanos;
use serde::Serialize;

use super::{check, setup, throughput};
use crate::method::report::{count, micros, percent};
use crate::method::{Pattern, Report, Runner, Table};
use crate::trial::{Amount, TestbedError};

/// The outage of a reset.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Reset {
    /// Bytes with FCS.
    pub size: usize,
    /// Share of the maximum rate that was sent.
    pub load: f64,
    /// Frames lost.
    pub lost: u64,
    /// Frames lost divided by their rate, ns.
    pub by_loss_ns: f64,
    /// From the last frame before to the first one after, ns; nothing if none came after it.
    pub by_time_ns: Option<u64>,
}

/// The test at the first size of the settings. `load` is a share of the maximum rate, or the throughput is searched. The device is reset after
/// `before`; the trial goes on for the settings' trial time.
///
/// # Errors
/// As [`Testbed::run`](crate::trial::Testbed::run); the testbed must be able to reset the device.
pub fn run(runner: &mut Runner<'_>, pattern: &Pattern, load: Option<f64>, before: Nanos) -> Result<Report, TestbedError> {
    check(pattern)?;
    if !runner.testbed.can_reset() {
        let why = "reset the device under test: give a command that does, or use a device that can be reset".to_owned();
        return Err(TestbedError::Unsupported(why));
    }
    let mut report = Report::new("Reset", "RFC 2544, section 26.6; RFC 6201");
    setup(&mut report, runner, pattern);
    report
        .set("reset", format!("after {} s; frames are sent for {} s after it", before.as_secs_f64(), runner.settings.trial.as_secs_f64()));
    let size = runner.settings.sizes.first().copied().unwrap_or(64);
    let load = match load {
        Some(load) => load,
        None => throughput::find(runner, pattern, size)?.load,
    };
    let ports = runner.testbed.ports().to_vec();
    let mut trial = pattern.trial(&ports, size, load, Amount::Span(before + runner.settings.trial), &runner.settings);
    trial.reset_at = Some(before);
    let result = runner.run("reset", size, load, &trial)?;
    let total = result.total();
    let copies = pattern.copies() as f64;
    let by_loss_ns = total.lost as f64 / copies / result.offered_fps().max(f64::MIN_POSITIVE) * 1e9;
    // The longest silence: the first port to be dead until the last to be alive.
    let outage = total.outage.map(|(from, until)| until.since(from).0);
    let row = Reset { size, load, lost: total.lost, by_loss_ns, by_time_ns: outage };
    let mut table =
        Table::new("Reset", &[">frame size (bytes)", ">load (% of max)", ">frames lost", ">by loss (µs)", ">by time stamps (µs)"]);
    table.row([
        size.to_string(),
        percent(load),
        count(total.lost as f64),
        micros(by_loss_ns),
        outage.map_or("no frame after it".to_owned(), |ns| micros(ns as f64)),
    ]);
    report.tables.push(table);
    report.result(row);
    report.take_trials(&mut runner.rows);
    Ok(report)
}
