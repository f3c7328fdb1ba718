//! Congestion control (RFC 2889 §5.5): does congestion of one output hurt another, and does the device hold senders back?
//!
//! Of four ports A sends half of its frames to an uncongested port and half to a congested one, B all of its to the congested one, both at
//! the maximum load: the congested output is asked for 150 %. Any loss on the uncongested output is head-of-line blocking; no
//! loss on the congested one is back pressure.

use serde::Serialize;

use super::{need, setup};
use crate::method::report::{count, percent};
use crate::method::{Pattern, Report, Runner, Table};
use crate::trial::{Amount, TestbedError};

/// Congestion control at one frame size.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Congestion {
    /// Bytes with FCS.
    pub size: usize,
    /// Frames due at the uncongested output, and those lost.
    pub uncongested_expected: u64,
    /// Of these, lost.
    pub uncongested_lost: u64,
    /// Frames due at the congested output.
    pub congested_expected: u64,
    /// Of these, lost.
    pub congested_lost: u64,
    /// PAUSE frames the device sent.
    pub pauses: u64,
    /// Offered load as a share of the intended load.
    pub offered_share: f64,
    /// Is there head-of-line blocking?
    pub head_of_line_blocking: bool,
    /// Is there back pressure?
    pub back_pressure: bool,
}

/// The test on the first four ports, which should be of one rate, at all sizes of the settings.
///
/// # Errors
/// As [`Testbed::run`](crate::trial::Testbed::run).
pub fn run(runner: &mut Runner<'_>) -> Result<Report, TestbedError> {
    need(runner, 4, "congestion control")?;
    let mut report = Report::new("Congestion control", "RFC 2889, section 5.5");
    setup(&mut report, runner);
    let ports = runner.testbed.ports().to_vec();
    let names: Vec<&str> = ports.iter().map(|port| port.name.as_str()).collect();
    report.set("roles", format!("{} sends to {} and {}, {} to {} (congested)", names[0], names[2], names[3], names[1], names[3]));
    let mut to = vec![Vec::new(); ports.len()];
    (to[0], to[1]) = (vec![2, 3], vec![3]);
    let pattern = Pattern { name: "congestion".to_owned(), to, broadcast: false, fitted: false, multicast: None };
    let mut table = Table::new(
        "Congestion control",
        &[
            ">frame size (bytes)",
            ">offered/intended (%)",
            ">loss uncongested (frames)",
            ">loss congested (frames)",
            ">loss congested (%)",
            ">PAUSE frames",
            "head-of-line blocking",
            "back pressure",
        ],
    );
    let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
    for size in runner.settings.sizes.clone() {
        let trial = pattern.trial(&ports, size, 1.0, Amount::Span(runner.settings.trial), &runner.settings);
        let result = runner.run("congestion control", size, 1.0, &trial)?;
        let at = |port: usize| {
            let streams = trial.streams.iter().zip(&result.streams).filter(|(stream, _)| stream.due[0].index() == port);
            streams.fold((0, 0), |(expected, lost), (_, got)| (expected + got.expected, lost + got.lost))
        };
        let ((uncongested_expected, uncongested_lost), (congested_expected, congested_lost)) = (at(2), at(3));
        let (intended, sent, _) = result.counts();
        let row = Congestion {
            size,
            uncongested_expected,
            uncongested_lost,
            congested_expected,
            congested_lost,
            pauses: result.ports.iter().map(|port| port.pauses).sum(),
            offered_share: sent as f64 / intended.max(1) as f64,
            head_of_line_blocking: uncongested_lost > 0,
            back_pressure: congested_lost == 0,
        };
        let share = congested_lost as f64 / congested_expected.max(1) as f64;
        table.row([
            size.to_string(),
            percent(row.offered_share),
            count(uncongested_lost as f64),
            count(congested_lost as f64),
            percent(share),
            count(row.pauses as f64),
            yes(row.head_of_line_blocking),
            yes(row.back_pressure),
        ]);
        report.result(row);
    }
    report.tables.push(table);
    report.take_trials(&mut runner.rows);
    Ok(report)
}
