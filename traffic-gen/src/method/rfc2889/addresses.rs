//! Address caching capacity and address learning rate (RFC 2889 §5.7 and §5.8).
//!
//! Three ports: *learning*, *test* and *monitoring* (all others monitor, too). The test port announces its one station. The learning
//! port sends a frame from each of N new stations to it; then the test port sends a frame to each of them. If all of these come out of the
//! learning port and none out of a monitoring one, all N were learned. N is searched at a fixed rate for the capacity, the rate at a fixed N for the
//! learning rate.
//!
//! The test port's own station is an address in the table, too: the capacity is N + 1.
//!
//! The table must be empty before each trial: the device rests for its ageing time, which must be known, and an eighth of it.

use std::sync::Arc;

use port::{Nanos, PortId};
use serde::Serialize;

use super::{line_fps, need, setup};
use crate::method::pattern::station;
use crate::method::report::count;
use crate::method::search::{highest, highest_within};
use crate::method::{Report, Runner, Table};
use crate::plan::{Station, udp_frame};
use crate::trial::{Amount, Phase, Stream, TestFrame, TestbedError, Trial, wire_bits};

const LEARNING: usize = 0;
const TEST: usize = 1;

/// How to measure.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Addresses to begin with in §5.7, at most; those learned in §5.8.
    pub addresses: u64,
    /// Learning frames a second in §5.7: what the device can surely learn.
    pub learning_fps: u64,
    /// Quiet time between learning and test frames.
    pub pause: Nanos,
}

/// Capacity or rate.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Addresses {
    /// Bytes with FCS.
    pub size: usize,
    /// Addresses: the capacity, or those of the rate's trials.
    pub addresses: u64,
    /// Learning frames a second: those of the capacity's trials, or the learning rate.
    pub learning_fps: u64,
    /// The most that was tried was passed: the limit may be higher.
    pub at_least: bool,
}

/// The `nth` new station behind the learning port.
fn newcomer(nth: u64) -> Station {
    let [_, _, _, _, a, b, c, d] = nth.to_be_bytes();
    Station { mac: [0x06, 0xbd, a, b, c, d], ip: [198, 18 + (b & 1), c, d] }
}

/// Learning frames from `count` stations at `fps`, then a test frame to each.
fn trial(runner: &Runner<'_>, size: usize, count: u64, fps: u64, pause: Nanos) -> Trial {
    let ports = runner.testbed.ports();
    let mut trial = runner.settings.empty_trial(ports.len());
    // All that was learned is forgotten before the next trial. Devices look for aged addresses now and then only: an eighth more.
    trial.rest = trial.rest + Nanos(runner.settings.ageing.0 / 8 * 9);
    let own = station(TEST, 0);
    let group = Station { mac: [0x01, 0x00, 0x5e, 0x7f, 0xff, 0x01], ip: [239, 255, 255, 1] };
    trial.ports[TEST].learning = vec![udp_frame(own, group, 60).into()];
    let len = size - 4;
    let due = |port: usize| vec![PortId(port as u8)];
    let learning = trial.add_stream(Stream { from: PortId(LEARNING as u8), due: due(TEST), group: 0, by_port: false });
    let testing = trial.add_stream(Stream { from: PortId(TEST as u8), due: due(LEARNING), group: 0, by_port: false });
    let frames = |stream: u16, make: &dyn Fn(u64) -> Arc<[u8]>| -> Vec<TestFrame> {
        (0..count).map(|nth| TestFrame { bytes: make(nth), stream: Some(stream) }).collect()
    };
    let bits = wire_bits(len);
    let rate = |port: usize| (fps * bits).min(ports[port].line_bps);
    let learn = Phase::even(frames(learning, &|nth| udp_frame(newcomer(nth), own, len).into()), rate(LEARNING), Amount::Frames(count));
    // Test frames are sent slowly enough not to be lost for want of speed.
    let mut test = Phase::even(
        frames(testing, &|nth| udp_frame(own, newcomer(nth), len).into()),
        rate(TEST).min(10_000 * bits),
        Amount::Frames(count),
    );
    test.start = learn.end() + pause;
    trial.ports[LEARNING].phases = vec![learn];
    trial.ports[TEST].phases = vec![test];
    trial
}

/// Were all addresses learned?
fn learned(runner: &mut Runner<'_>, what: &str, size: usize, addresses: u64, fps: u64, pause: Nanos) -> Result<bool, TestbedError> {
    let trial = trial(runner, size, addresses, fps, pause);
    let result = runner.run(&format!("{what}: {addresses} addresses at {fps}/s"), size, 1.0, &trial)?;
    let total = result.total();
    Ok(result.is_valid() && total.lost == 0 && total.flooded + total.misdelivered == 0)
}

/// Address caching capacity at the first size of the settings.
///
/// # Errors
/// As [`Testbed::run`](crate::trial::Testbed::run).
pub fn caching_capacity(runner: &mut Runner<'_>, options: Options) -> Result<Report, TestbedError> {
    need(runner, 3, "address caching capacity")?;
    let mut report = Report::new("Address caching capacity", "RFC 2889, section 5.7");
    let size = prepare(&mut report, runner);
    report.set("learning frames", format!("{} a second", options.learning_fps));
    let fps = options.learning_fps.clamp(1, line_fps(runner, LEARNING, size) as u64);
    let most = options.addresses.clamp(1, u64::from(u32::MAX / 4));
    let found = highest(most, |count| learned(runner, "address caching capacity", size, count, fps, options.pause))?;
    let result = Addresses { size, addresses: found.map_or(0, |count| count + 1), learning_fps: fps, at_least: found == Some(most) };
    let mut table = Table::new("Address caching capacity", &[">frame size (bytes)", ">initial addresses", ">capacity (addresses)"]);
    let more = if result.at_least { "at least " } else { "" };
    table.row([size.to_string(), count(most as f64), format!("{more}{}", count(result.addresses as f64))]);
    finish(report, runner, table, result)
}

/// Address learning rate at the first size of the settings.
///
/// # Errors
/// As [`Testbed::run`](crate::trial::Testbed::run).
pub fn learning_rate(runner: &mut Runner<'_>, options: Options) -> Result<Report, TestbedError> {
    need(runner, 3, "address learning rate")?;
    let mut report = Report::new("Address learning rate", "RFC 2889, section 5.8");
    let size = prepare(&mut report, runner);
    report.set("addresses", count(options.addresses as f64));
    let most = line_fps(runner, LEARNING, size) as u64;
    let resolution = runner.settings.resolution;
    let found =
        highest_within(most, resolution, |fps| learned(runner, "address learning rate", size, options.addresses, fps, options.pause))?;
    let result = Addresses { size, addresses: options.addresses, learning_fps: found.unwrap_or(0), at_least: found == Some(most) };
    let mut table = Table::new("Address learning rate", &[">frame size (bytes)", ">addresses", ">learning rate (addresses/s)"]);
    let more = if result.at_least { "line rate, at least " } else { "" };
    table.row([size.to_string(), count(options.addresses as f64), format!("{more}{}", count(result.learning_fps as f64))]);
    finish(report, runner, table, result)
}

fn prepare(report: &mut Report, runner: &Runner<'_>) -> usize {
    setup(report, runner);
    let ports = runner.testbed.ports();
    let monitors: Vec<&str> = ports[2..].iter().map(|port| port.name.as_str()).collect();
    report.set("roles", format!("learning {}, test {}, monitoring {}", ports[LEARNING].name, ports[TEST].name, monitors.join(", ")));
    report.set("ageing time of the device", format!("{} s", runner.settings.ageing.as_secs_f64()));
    runner.settings.sizes.first().copied().unwrap_or(64)
}

fn finish(mut report: Report, runner: &mut Runner<'_>, table: Table, result: Addresses) -> Result<Report, TestbedError> {
    report.tables.push(table);
    if result.at_least {
        report.notes.push("the most that was tried was passed: the limit may be higher".to_owned());
    }
    report.result(result);
    report.take_trials(&mut runner.rows);
    Ok(report)
}
