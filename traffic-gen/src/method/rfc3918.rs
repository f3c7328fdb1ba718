//! RFC 3918: IP multicast benchmarking; the tests that say something of a bridge.
//!
//! | section | test |
//! |---|---|
//! | 4.1 | mixed class throughput: multicast and unicast frames intermixed | [`mixed_class`] |
//! | 4.2 | scaled group forwarding matrix: more and more groups | [`scaled_groups`] |
//! | 4.3 | aggregated multicast throughput: one source, all other ports | [`aggregated`] |
//! | 5.1, 5.2 | multicast latency by destination port, and min/max multicast latency | [`latency`] |
//! | 7.1 | multicast group capacity | [`capacity`] |
//!
//! One port is the source, all others have joined all groups: before each trial they send IGMPv2 reports (RFC 2236) for them, so that a
//! device that snoops (RFC 4541) forwards to them; one that does not floods. Group `n` is 239.255.0.0 plus `n` (RFC 2365).
//!
//! Left out: 4.4 and 5.x through tunnels, which bridges do not have, and group join and leave delay (6) with its burdened variant (8).

use serde::Serialize;

use super::figures::{all_latencies, size_bar};
use super::pattern::Multicast;
use super::report::{count, micros, percent};
use super::rfc2544::throughput;
use super::rfc2889::{need, setup};
use super::search::highest;
use super::{Pattern, Report, Runner, Table};
use crate::output::Distribution;
use crate::trial::{Amount, StreamResult, TestbedError, TrialResult};

/// A throughput with so many groups, and a trial at the maximum load.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Forwarding {
    /// Bytes with FCS.
    pub size: usize,
    /// Groups.
    pub groups: u16,
    /// Of a hundred frames, those to stations.
    pub unicast_percent: u8,
    /// Highest load without loss at any port, share of the maximum, 0 to 1.
    pub throughput_load: f64,
    /// The same in frames a second sent.
    pub throughput_fps: f64,
    /// Copies a second of groups' frames that came out of all ports at the throughput: what RFC 3918 §4.3 calls aggregated.
    pub aggregated_fps: f64,
    /// Lost share of the copies of groups' frames at the maximum load.
    pub multicast_loss: f64,
    /// Groups of which a copy was lost then.
    pub groups_with_loss: usize,
    /// Lost share of the frames to stations at the maximum load; `None`: none were sent.
    pub unicast_loss: Option<f64>,
    /// Copies a second that came out of all ports at the maximum load.
    pub forwarding_fps: f64,
}

/// Latency of groups' frames at one destination, ns, last bit in to last bit out.
#[derive(Clone, Debug, Serialize)]
pub struct Destination {
    /// The port.
    pub port: String,
    /// Copies that came.
    pub copies: u64,
    /// Shortest, mean, 99.9th percentile, longest.
    pub latency: [f64; 4],
}

/// Multicast latency at one frame size.
#[derive(Clone, Debug, Serialize)]
pub struct Latency {
    /// Bytes with FCS.
    pub size: usize,
    /// Share of the maximum load: the throughput.
    pub load: f64,
    /// By destination.
    pub destinations: Vec<Destination>,
    /// The shortest of all (RFC 3918 §5.2).
    pub min: f64,
    /// The longest of all.
    pub max: f64,
}

/// What a device holds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Capacity {
    /// Bytes with FCS.
    pub size: usize,
    /// Most groups all of whose frames came out everywhere; 0: not even of one.
    pub groups: u16,
    /// The search ended at the most groups it may try, not at a limit of the device.
    pub at_most_tried: bool,
}

fn begin(runner: &Runner<'_>, test: &str, section: &str, source: usize) -> Result<Report, TestbedError> {
    need(runner, 3, "multicast")?;
    let mut report = Report::new(test, &format!("RFC 3918, {section}"));
    setup(&mut report, runner);
    let ports = runner.testbed.ports();
    report.set("source", &ports[source].name);
    report.set("destinations", format!("all {} others, joined by IGMPv2 before each trial", ports.len() - 1));
    Ok(report)
}

fn forwarding(runner: &mut Runner<'_>, source: usize, size: usize, multicast: Multicast) -> Result<(Forwarding, f64), TestbedError> {
    let ports = runner.testbed.ports().to_vec();
    let pattern = Pattern::multicast(ports.len(), source, multicast);
    let found = throughput::find(runner, &pattern, size)?;
    let trial = pattern.trial(&ports, size, 1.0, Amount::Span(runner.settings.trial), &runner.settings);
    let at_mol = runner.run(&format!("{} groups at MOL", multicast.groups), size, 1.0, &trial)?;
    let (to_groups, to_stations) = classes(&at_mol, multicast);
    let share = f64::from(100 - multicast.unicast_percent) / 100.0;
    let figures = Forwarding {
        size,
        groups: multicast.groups,
        unicast_percent: multicast.unicast_percent,
        throughput_load: found.load,
        throughput_fps: found.fps,
        aggregated_fps: found.fps * share * (ports.len() - 1) as f64,
        multicast_loss: sum(to_groups).loss_ratio(),
        groups_with_loss: to_groups.iter().filter(|group| group.lost > 0).count(),
        unicast_loss: (!to_stations.is_empty()).then(|| sum(to_stations).loss_ratio()),
        forwarding_fps: at_mol.forwarding_rate_fps(),
    };
    Ok((figures, found.max_fps))
}

/// Streams of groups come first, then those to stations.
fn classes(result: &TrialResult, multicast: Multicast) -> (&[StreamResult], &[StreamResult]) {
    result.streams.split_at(usize::from(multicast.groups).min(result.streams.len()))
}

fn sum(streams: &[StreamResult]) -> StreamResult {
    streams.iter().fold(StreamResult::default(), |mut sum, stream| {
        sum.merge(stream);
        sum
    })
}

/// Mixed class throughput (4.1): `unicast_percent` of a hundred frames go to stations, in turn, the others to groups.
///
/// # Errors
/// As [`Testbed::run`](crate::trial::Testbed::run).
pub fn mixed_class(runner: &mut Runner<'_>, source: usize, groups: u16, unicast_percent: u8) -> Result<Report, TestbedError> {
    let mut report = begin(runner, "Mixed class throughput", "section 4.1", source)?;
    report.set("classes", format!("{unicast_percent} % of frames unicast, the others to {groups} groups"));
    let columns = [
        ">frame size (bytes)",
        ">throughput (frames/s)",
        ">% of max",
        ">multicast loss at MOL (%)",
        ">unicast loss at MOL (%)",
        ">FRMOL (copies/s)",
    ];
    let mut table = Table::new("Multicast and unicast, intermixed", &columns);
    let mut bars = Vec::new();
    for size in runner.settings.sizes.clone() {
        let (row, max_fps) = forwarding(runner, source, size, Multicast { groups, unicast_percent })?;
        table.row([
            size.to_string(),
            count(row.throughput_fps),
            percent(row.throughput_load),
            percent(row.multicast_loss),
            row.unicast_loss.map_or("-".to_owned(), percent),
            count(row.forwarding_fps),
        ]);
        bars.push(size_bar(size, row.throughput_fps, max_fps));
        report.result(row);
    }
    report.draw_rates("Mixed class throughput", &bars);
    report.tables.push(table);
    report.take_trials(&mut runner.rows);
    Ok(report)
}

/// Scaled group forwarding matrix (4.2): the same with more and more groups.
///
/// # Errors
/// As [`Testbed::run`](crate::trial::Testbed::run).
pub fn scaled_groups(runner: &mut Runner<'_>, source: usize, groups: &[u16]) -> Result<Report, TestbedError> {
    let mut report = begin(runner, "Scaled group forwarding matrix", "section 4.2", source)?;
    matrix(runner, &mut report, source, groups)?;
    Ok(report)
}

/// Aggregated multicast throughput (4.3): what comes out of all ports together.
///
/// # Errors
/// As [`Testbed::run`](crate::trial::Testbed::run).
pub fn aggregated(runner: &mut Runner<'_>, source: usize, groups: u16) -> Result<Report, TestbedError> {
    let mut report = begin(runner, "Aggregated multicast throughput", "section 4.3", source)?;
    matrix(runner, &mut report, source, &[groups])?;
    Ok(report)
}

fn matrix(runner: &mut Runner<'_>, report: &mut Report, source: usize, groups: &[u16]) -> Result<(), TestbedError> {
    let columns = [
        ">frame size (bytes)",
        ">groups",
        ">throughput (frames/s)",
        ">% of max",
        ">aggregated (copies/s)",
        ">loss at MOL (%)",
        ">groups with loss",
        ">FRMOL (copies/s)",
    ];
    let mut table = Table::new("Frames of one source to groups at all other ports", &columns);
    let mut bars = Vec::new();
    for size in runner.settings.sizes.clone() {
        for &groups in groups {
            let (row, max_fps) = forwarding(runner, source, size, Multicast { groups, unicast_percent: 0 })?;
            table.row([
                size.to_string(),
                count(f64::from(groups)),
                count(row.throughput_fps),
                percent(row.throughput_load),
                count(row.aggregated_fps),
                percent(row.multicast_loss),
                count(row.groups_with_loss as f64),
                count(row.forwarding_fps),
            ]);
            let mut bar = size_bar(size, row.throughput_fps, max_fps);
            bar.size = format!("{size} B, {groups}");
            bars.push(bar);
            report.result(row);
        }
    }
    report.draw_rates("Multicast throughput, by frame size and groups", &bars);
    report.tables.push(table);
    report.take_trials(&mut runner.rows);
    Ok(())
}

/// Multicast latency (5.1) at the throughput for each destination, and the shortest and longest of all (5.2).
///
/// # Errors
/// As [`Testbed::run`](crate::trial::Testbed::run).
pub fn latency(runner: &mut Runner<'_>, source: usize, groups: u16) -> Result<Report, TestbedError> {
    let mut report = begin(runner, "Multicast latency", "sections 5.1 and 5.2", source)?;
    report.set("groups", count(f64::from(groups)));
    let ports = runner.testbed.ports().to_vec();
    let pattern = Pattern::multicast(ports.len(), source, Multicast { groups, unicast_percent: 0 });
    let columns = [">frame size (bytes)", ">% of max", "destination", ">copies", ">min", ">mean", ">P99.9", ">max"];
    let mut table = Table::new("Multicast latency in µs, last bit in to last bit out", &columns);
    let mut latencies = Vec::new();
    for size in runner.settings.sizes.clone() {
        let found = throughput::find(runner, &pattern, size)?;
        if found.load == 0.0 {
            report.notes.push(format!("{size} bytes: no latency, since frames were lost at the lowest load tried"));
            continue;
        }
        let trial = pattern.trial(&ports, size, found.load, Amount::Span(runner.settings.trial), &runner.settings);
        let result = runner.run("multicast latency", size, found.load, &trial)?;
        let of_port = |(port, latency): (&usize, &hdrhistogram::Histogram<u64>)| Destination {
            port: ports[*port].name.clone(),
            copies: latency.len(),
            latency: [latency.min() as f64, latency.mean(), latency.value_at_quantile(0.999) as f64, latency.max() as f64],
        };
        let destinations: Vec<Destination> =
            pattern.to[source].iter().zip(&result.latency).filter(|(_, latency)| !latency.is_empty()).map(of_port).collect();
        for destination in &destinations {
            let mut cells = vec![size.to_string(), percent(found.load), destination.port.clone(), count(destination.copies as f64)];
            cells.extend(destination.latency.map(micros));
            table.row(cells);
        }
        let min = destinations.iter().map(|destination| destination.latency[0]).fold(f64::INFINITY, f64::min);
        let max = destinations.iter().map(|destination| destination.latency[3]).fold(0.0, f64::max);
        if !destinations.is_empty() {
            report.notes.push(format!(
                "{size} bytes: min/max multicast latency (section 5.2) {} and {} µs, {} apart",
                micros(min),
                micros(max),
                micros(max - min)
            ));
            latencies.push(Distribution::new(format!("{size} B multicast"), all_latencies(&result.latency)));
            report.result(Latency { size, load: found.load, destinations, min, max });
        }
    }
    report.draw_latency(latencies);
    report.tables.push(table);
    report.take_trials(&mut runner.rows);
    Ok(report)
}

/// Multicast group capacity (7.1): the most groups whose frames all come out everywhere, at a hundredth of the maximum load; `most` are
/// tried.
///
/// # Errors
/// As [`Testbed::run`](crate::trial::Testbed::run).
pub fn capacity(runner: &mut Runner<'_>, source: usize, most: u16) -> Result<Report, TestbedError> {
    const LOAD: f64 = 0.01;
    let mut report = begin(runner, "Multicast group capacity", "section 7.1", source)?;
    report.set("load", format!("{} % of the maximum, two frames to each group", percent(LOAD)));
    let ports = runner.testbed.ports().to_vec();
    let mut table = Table::new("Multicast group capacity", &[">frame size (bytes)", ">groups", "limited by"]);
    for size in runner.settings.sizes.clone() {
        let found = highest(u64::from(most), |groups| -> Result<bool, TestbedError> {
            let multicast = Multicast { groups: groups as u16, unicast_percent: 0 };
            let pattern = Pattern::multicast(ports.len(), source, multicast);
            let trial = pattern.trial(&ports, size, LOAD, Amount::Frames(groups * 2), &runner.settings);
            let result = runner.run(&format!("{groups} groups"), size, LOAD, &trial)?;
            Ok(result.invalid.is_empty() && result.total().loss_ratio() <= runner.settings.loss_accepted)
        })?;
        let groups = found.unwrap_or(0) as u16;
        let row = Capacity { size, groups, at_most_tried: groups == most };
        let by = if row.at_most_tried { "the most tried (--max-groups)" } else { "the device" };
        table.row([size.to_string(), count(f64::from(groups)), by.to_owned()]);
        report.result(row);
    }
    report.tables.push(table);
    report.take_trials(&mut runner.rows);
    Ok(report)
}
