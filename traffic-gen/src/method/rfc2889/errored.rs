//! Errored frames filtering (RFC 2889 §5.9): frames with errors must not be forwarded, and must not hurt those without.
//!
//! The standard names five errors. Ports here carry frames without FCS, as every port of a host does, so that they can express two:
//!
//! | error | here |
//! |---|---|
//! | oversize (longer than 1518 bytes, or 1522 with a tag) | sent, at several lengths |
//! | undersize (shorter than 64 bytes) | sent, at several lengths; on real ports the card may pad them, which makes them lawful |
//! | CRC errors | cannot be sent: the port makes the FCS |
//! | dribble bits | cannot be sent: a port sends whole bytes |
//! | alignment errors | cannot be sent: as dribble bits |
//!
//! One frame in [`ONE_IN`] has an error; the loads are those of the settings' sweep.

use std::sync::Arc;

use serde::Serialize;

use super::{need, setup};
use crate::method::pattern::station;
use crate::method::report::{count, percent};
use crate::method::{Pattern, Report, Runner, Table};
use crate::plan::udp_frame;
use crate::trial::{Amount, TestFrame, TestbedError};

/// One frame in so many has an error.
pub const ONE_IN: usize = 10;

/// An error that can be sent: name and frame length in bytes with FCS.
#[derive(Clone, Debug)]
pub struct ErrorClass {
    /// Its name in the standard.
    pub name: &'static str,
    /// Lengths in bytes with FCS.
    pub sizes: Vec<usize>,
}

/// What became of one class of errors at one load.
#[derive(Clone, Debug, Serialize)]
pub struct Errored {
    /// The class.
    pub class: &'static str,
    /// Share of the maximum load, 0 to 1.
    pub load: f64,
    /// Frames with errors that were sent.
    pub sent: u64,
    /// Of these, copies that were forwarded.
    pub forwarded: u64,
    /// Good frames sent.
    pub good_sent: u64,
    /// Of these, lost.
    pub good_lost: u64,
    /// Was the class filtered, and no good frame lost?
    pub passed: bool,
}

/// The classes: `longest` is the length up to which the device may forward, bytes with FCS.
pub fn classes(longest: usize) -> Vec<ErrorClass> {
    vec![
        ErrorClass { name: "undersize", sizes: vec![63, 48, 32, 20] },
        ErrorClass { name: "oversize", sizes: vec![longest + 1, longest + 100, longest + 1000] },
    ]
}

/// The test between pairs of ports at these loads (shares of the maximum), good frames of the first size of the settings. `longest` is the longest
/// frame the device may forward, bytes with FCS: 1518, or its MTU and 18.
///
/// # Errors
/// As [`Testbed::run`](crate::trial::Testbed::run).
pub fn run(runner: &mut Runner<'_>, loads: &[f64], longest: usize) -> Result<Report, TestbedError> {
    need(runner, 2, "errored frames filtering")?;
    let mut report = Report::new("Errored frames filtering", "RFC 2889, section 5.9");
    setup(&mut report, runner);
    report.set("longest lawful frame", format!("{longest} bytes with FCS"));
    report.set("frames with errors", format!("one in {ONE_IN}"));
    let ports = runner.testbed.ports().to_vec();
    let pattern = Pattern::pairs(ports.len(), true);
    let size = runner.settings.sizes.first().copied().unwrap_or(64);
    let mut table = Table::new(
        "Errored frames filtering",
        &[
            "error",
            ">load (%)",
            ">sent with error",
            ">forwarded",
            ">good frames sent",
            ">good frames lost",
            "filtered, and no good frame lost",
        ],
    );
    for class in classes(longest) {
        if class.name == "undersize" && runner.testbed.pads() {
            report.notes.push("undersize frames cannot be sent: the way to this device pads them to 64 bytes, as a card does".to_owned());
            continue;
        }
        for &load in loads {
            let mut trial = pattern.trial(&ports, size, load, Amount::Span(runner.settings.trial), &runner.settings);
            for (index, port) in trial.ports.iter_mut().enumerate() {
                for phase in &mut port.phases {
                    phase.frames = mixed(&phase.frames, index, pattern.to[index].first().copied(), &class);
                }
            }
            let result = runner.run(&format!("errored frames: {}", class.name), size, load, &trial)?;
            let total = result.total();
            let sum = |value: fn(&crate::trial::PortResult) -> u64| result.ports.iter().map(value).sum::<u64>();
            let row = Errored {
                class: class.name,
                load,
                sent: sum(|port| port.sent_unmarked),
                forwarded: sum(|port| port.errored),
                good_sent: total.sent,
                good_lost: total.lost,
                passed: sum(|port| port.errored) == 0 && total.lost == 0 && result.is_valid(),
            };
            table.row([
                class.name.to_owned(),
                percent(load),
                count(row.sent as f64),
                count(row.forwarded as f64),
                count(row.good_sent as f64),
                count(row.good_lost as f64),
                if row.passed { "yes" } else { "NO" }.to_owned(),
            ]);
            report.result(row);
        }
    }
    report.tables.push(table);
    report.notes.push("CRC errors, dribble bits and alignment errors cannot be sent: ports of a host make the FCS themselves".to_owned());
    report.take_trials(&mut runner.rows);
    Ok(report)
}

/// The frames of a port with one in [`ONE_IN`] that has the error, all sizes of the class in turn. They have a source of their own, to be told apart.
fn mixed(good: &[TestFrame], from: usize, to: Option<usize>, class: &ErrorClass) -> Vec<TestFrame> {
    let (Some(to), false) = (to, good.is_empty()) else { return good.to_vec() };
    let mut source = station(from, 0);
    source.mac[3] = 0xee;
    let mut frames = Vec::new();
    for (nth, &size) in class.sizes.iter().enumerate() {
        frames.extend((0..ONE_IN - 1).map(|step| good[(nth * (ONE_IN - 1) + step) % good.len()].clone()));
        let len = size - 4;
        let whole = udp_frame(source, station(to, 0), len.max(60));
        frames.push(TestFrame { bytes: Arc::from(&whole[..len]), stream: None });
    }
    frames
}
