//! Forward pressure and maximum forwarding rate (RFC 2889 §5.6).
//!
//! Forward pressure: one port is sent frames at gaps of 88 bit times instead of 96. A device that passes them on without loss sends with a gap
//! that the standard forbids, to gain on its competitors; an honest one loses what the output cannot carry. It shows in the output's rate, which is then
//! above the line rate; single gaps are known to one ns only.
//!
//! Maximum forwarding rate (MFR, RFC 2285 §3.6.3): the highest forwarding rate of a sweep of loads from the throughput up to the maximum.

use serde::Serialize;

use super::{line_fps, need, setup};
use crate::method::report::{count, percent};
use crate::method::rfc2544::throughput;
use crate::method::{Pattern, Report, Runner, Table};
use crate::trial::{Amount, SHORT_GAP_BITS, TestbedError};

/// Forward pressure at one frame size.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ForwardPressure {
    /// Bytes with FCS.
    pub size: usize,
    /// Maximum load of the output, frames a second.
    pub mol_fps: f64,
    /// Rate offered with the short gap, frames a second.
    pub offered_fps: f64,
    /// Rate at which the output sent, frames a second.
    pub forwarding_fps: f64,
    /// Frames lost.
    pub lost: u64,
    /// The shortest gap seen at the output, in ns, known to 1 ns.
    pub gap_min_ns: Option<i64>,
    /// Does the output send faster than its line allows?
    pub forward_pressure: bool,
}

/// Maximum forwarding rate at one frame size.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct MaxForwardingRate {
    /// Bytes with FCS.
    pub size: usize,
    /// Throughput, frames a second.
    pub throughput_fps: f64,
    /// Maximum forwarding rate, frames a second.
    pub mfr_fps: f64,
    /// Share of the maximum load at which it was reached.
    pub mfr_load: f64,
    /// Forwarding rate at the maximum offered load.
    pub frmol_fps: f64,
}

/// Both tests from the first port to the second, at all sizes of the settings; the sweep takes `steps` steps.
///
/// # Errors
/// As [`Testbed::run`](crate::trial::Testbed::run).
pub fn run(runner: &mut Runner<'_>, steps: u32) -> Result<Report, TestbedError> {
    need(runner, 2, "forward pressure")?;
    let mut report = Report::new("Forward pressure and maximum forwarding rate", "RFC 2889, section 5.6");
    setup(&mut report, runner);
    let ports = runner.testbed.ports().to_vec();
    let mut to = vec![Vec::new(); ports.len()];
    to[0] = vec![1];
    let pattern = Pattern { name: "one port to one".to_owned(), to, broadcast: false, fitted: false, multicast: None };
    let mut pressure = Table::new(
        format!("Forward pressure: gaps of {SHORT_GAP_BITS} bit times into the device"),
        &[
            ">frame size (bytes)",
            ">MOL (frames/s)",
            ">offered (frames/s)",
            ">forwarding rate (frames/s)",
            ">loss (frames)",
            ">shortest gap out (ns)",
            "forward pressure",
        ],
    );
    let mut rates = Table::new(
        "Maximum forwarding rate",
        &[">frame size (bytes)", ">throughput (frames/s)", ">MFR (frames/s)", ">at % of max", ">FRMOL (frames/s)"],
    );
    for size in runner.settings.sizes.clone() {
        let row = forward_pressure(runner, &pattern, size)?;
        pressure.row([
            size.to_string(),
            count(row.mol_fps),
            count(row.offered_fps),
            count(row.forwarding_fps),
            count(row.lost as f64),
            row.gap_min_ns.map_or("-".to_owned(), |gap| gap.to_string()),
            if row.forward_pressure { "yes: gaps below the standard's" } else { "no" }.to_owned(),
        ]);
        report.result(row);
        let row = max_forwarding_rate(runner, &pattern, size, steps)?;
        rates.row([size.to_string(), count(row.throughput_fps), count(row.mfr_fps), percent(row.mfr_load), count(row.frmol_fps)]);
        report.result(row);
    }
    report.tables.extend([pressure, rates]);
    report.take_trials(&mut runner.rows);
    Ok(report)
}

fn forward_pressure(runner: &mut Runner<'_>, pattern: &Pattern, size: usize) -> Result<ForwardPressure, TestbedError> {
    let ports = runner.testbed.ports().to_vec();
    let mut trial = pattern.trial(&ports, size, 1.0, Amount::Span(runner.settings.trial), &runner.settings);
    trial.ports[0].phases.iter_mut().for_each(|phase| phase.gap_bits = SHORT_GAP_BITS);
    let result = runner.run("forward pressure", size, 1.0, &trial)?;
    let out = &result.ports[1];
    let line = ports[1].line_bps as f64;
    // From the first arrival to the last there were so many frames with their gaps: a lawful output cannot have sent them in less
    // time, the rounding of both time stamps aside.
    let lawful_ns = out.span_bits as f64 * 1e9 / line;
    let forward_pressure = out.span.0 as f64 + 2.0 < lawful_ns;
    let frame_bits = crate::trial::wire_bits(size - 4) as f64;
    let rate = if out.span.0 == 0 { 0.0 } else { out.span_bits as f64 / frame_bits * 1e9 / out.span.0 as f64 };
    Ok(ForwardPressure {
        size,
        mol_fps: line_fps(runner, 1, size),
        offered_fps: result.offered_fps(),
        forwarding_fps: rate,
        lost: result.total().lost,
        gap_min_ns: out.gap_min_ns,
        forward_pressure,
    })
}

fn max_forwarding_rate(runner: &mut Runner<'_>, pattern: &Pattern, size: usize, steps: u32) -> Result<MaxForwardingRate, TestbedError> {
    let ports = runner.testbed.ports().to_vec();
    let found = throughput::find(runner, pattern, size)?;
    let mut row = MaxForwardingRate { size, throughput_fps: found.fps, mfr_fps: found.fps, mfr_load: found.load, frmol_fps: found.fps };
    if found.load >= 1.0 {
        return Ok(row);
    }
    let steps = steps.max(1);
    for step in 1..=steps {
        let load = found.load + (1.0 - found.load) * f64::from(step) / f64::from(steps);
        let trial = pattern.trial(&ports, size, load, Amount::Span(runner.settings.trial), &runner.settings);
        let result = runner.run("maximum forwarding rate", size, load, &trial)?;
        let rate = result.forwarding_rate_fps();
        if rate > row.mfr_fps {
            (row.mfr_fps, row.mfr_load) = (rate, load);
        }
        row.frmol_fps = rate;
    }
    Ok(row)
}
