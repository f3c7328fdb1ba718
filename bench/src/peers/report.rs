//! The report: everybody on each ground, beside us, for people and programs.

use hdrhistogram::Histogram;
use port::clock::TscClock;
use serde::Serialize;
use traffic_gen::output::numbers::{fixed, percent};
use traffic_gen::output::plots::{BoxRow, Boxes, Curve};
use traffic_gen::output::{Cell, Column, Figure, Headline, Item, Machine, Mood, Plot, Report, Section, Setting, Table, Validity, Warning};

use super::visit::{SHARES, Sample};
use super::{Args, Ground, Measured, Peer, Series, Who};
pub use crate::ports::report::Spread;

/// Below this share of refused or lost frames a device was not the limit.
const OVERLOADED: f64 = 0.01;
/// A spread wider than this part of the median is said.
const SPREAD_MAX: f64 = 0.2;
/// A generator that was late this often spoils latencies.
const LATE_MAX: f64 = 0.01;

/// A contestant with a number of stations and a size of frames: `rows` of the JSON file are these.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// `inside`, `memif`, `veth` or `send`.
    pub ground: &'static str,
    /// Whose.
    pub peer: &'static str,
    /// Stations on each side.
    pub addresses: u32,
    /// Bytes of a frame without FCS.
    pub len: u16,
    /// Rounds that were measured.
    pub rounds: usize,
    /// Millions of frames a second, all directions together.
    pub mpps: Option<Spread>,
    /// TSC cycles per frame, source and sink included; on two cores, those that pass from frame to frame.
    pub cycles: Option<Spread>,
    /// The same without source and sink, where that can be told.
    pub own_cycles: Option<Spread>,
    /// How much better we are, round by round: our rate to theirs, or their cycles to ours. Above 1 we are ahead.
    pub ours_ahead: Option<Spread>,
    /// The same without source and sink.
    pub ours_ahead_own: Option<Spread>,
    /// Frames in and out in all rounds.
    pub sent: u64,
    /// See above.
    pub received: u64,
    /// Frames that were not as they were sent.
    pub damaged: u64,
    /// Frames that others had overtaken, or that came twice.
    pub out_of_order: u64,
    /// Mean share of bursts that the generator's port did not take as a whole, 0 to 1.
    pub refused: f64,
}

/// A peer in the role in which it is fastest on memif, beside us in ours.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Best {
    /// Whose, in which role.
    pub peer: &'static str,
    /// Our role.
    pub ours: &'static str,
    /// Stations on each side.
    pub addresses: u32,
    /// Bytes of a frame without FCS.
    pub len: u16,
    /// Our rate to theirs, round by round.
    pub ours_ahead: Spread,
}

/// A contestant at a share of our throughput.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LatencyRow {
    /// Whose.
    pub peer: &'static str,
    /// Per cent of our throughput.
    pub share: u32,
    /// Frames a second, all directions together.
    pub pps: f64,
    /// From handing over to receiving, in ns: of the rounds.
    pub p50_ns: Option<Spread>,
    /// See above.
    pub p99_9_ns: Option<Spread>,
    /// Frames that arrived.
    pub frames: u64,
    /// Mean share that was lost, 0 to 1.
    pub loss: f64,
    /// Mean share that left more than 10 µs late, 0 to 1.
    pub late: f64,
}

/// What a contestant says of itself.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Account {
    /// Whose.
    pub peer: &'static str,
    /// Addresses it said it knew, and how many there were; `None`: it does not learn.
    pub learned: Option<(u64, u64)>,
    /// What was typed.
    pub commands: Vec<String>,
    /// Rounds that failed, and why.
    pub failed: Vec<String>,
}

/// The JSON file's `result`.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Outcome {
    rows: Vec<Row>,
    best: Vec<Best>,
    latency: Vec<LatencyRow>,
    contestants: Vec<Account>,
    left_out: Vec<String>,
}

fn samples_of(series: &Series, addresses: u32, len: u16) -> Vec<Option<&Sample>> {
    let find = |sample: &&Sample| (sample.addresses, sample.len) == (addresses, len);
    series.rounds.iter().map(|round| round.as_ref().ok().and_then(|visit| visit.samples.iter().find(find))).collect()
}

fn row(series: &Series, reference: Option<&Series>, addresses: u32, len: u16) -> Option<Row> {
    let all = samples_of(series, addresses, len);
    let done: Vec<&Sample> = all.iter().flatten().copied().collect();
    if done.is_empty() {
        return None;
    }
    let reference = reference
        .filter(|reference| reference.who != series.who && !series.who.is_sink())
        .map(|reference| samples_of(reference, addresses, len));
    let ahead = |figure: &dyn Fn(&Sample, &Sample) -> Option<f64>| {
        let pairs = reference.iter().flat_map(|ours| ours.iter().zip(&all));
        Spread::of(pairs.filter_map(|(ours, theirs)| figure((*ours)?, (*theirs)?)))
    };
    let in_cycles = series.who.ground().is_in_cycles();
    let sum = |count: fn(&Sample) -> u64| done.iter().map(|sample| count(sample)).sum();
    Some(Row {
        ground: series.who.ground().name(),
        peer: series.who.name(),
        addresses,
        len,
        rounds: done.len(),
        mpps: Spread::of(done.iter().filter_map(|sample| Some(sample.pps? / 1e6))),
        cycles: Spread::of(done.iter().filter_map(|sample| sample.cycles)),
        own_cycles: Spread::of(done.iter().filter_map(|sample| sample.own_cycles)),
        ours_ahead: match in_cycles {
            true => ahead(&|ours, theirs| Some(theirs.cycles? / ours.cycles?)),
            false => ahead(&|ours, theirs| Some(ours.pps? / theirs.pps?)),
        },
        ours_ahead_own: ahead(&|ours, theirs| Some(theirs.own_cycles? / ours.own_cycles?)),
        sent: sum(|sample| sample.sent),
        received: sum(|sample| sample.received),
        damaged: sum(|sample| sample.damaged),
        out_of_order: sum(|sample| sample.out_of_order),
        refused: done.iter().map(|sample| sample.refused).sum::<f64>() / done.len() as f64,
    })
}

/// Each peer in its best role by the median, beside us in ours.
fn best_roles(here: &[&Series], addresses: u32, len: u16) -> Vec<Best> {
    let rates = |series: &Series| -> Vec<Option<f64>> {
        samples_of(series, addresses, len).into_iter().map(|sample| sample.and_then(|sample| sample.pps)).collect()
    };
    let of = |peer: Peer| {
        let those = here.iter().filter(|series| series.who.peer() == peer && series.who.forwards());
        let medians = those.filter_map(|series| Some((series.who, rates(series), Spread::of(rates(series).into_iter().flatten())?.median)));
        medians.max_by(|a, b| a.2.total_cmp(&b.2)).map(|(who, rates, _)| (who, rates))
    };
    let Some((ours, our_rates)) = of(Peer::Bladeswitch) else { return Vec::new() };
    let beside = |peer: Peer| {
        let (who, rates) = of(peer)?;
        let ahead = Spread::of(our_rates.iter().zip(&rates).filter_map(|(ours, theirs)| Some((*ours)? / (*theirs)?)))?;
        Some(Best { peer: who.name(), ours: ours.name(), addresses, len, ours_ahead: ahead })
    };
    [Peer::Vpp, Peer::Ovs, Peer::Testpmd].into_iter().filter_map(beside).collect()
}

fn roles(best: &[Best], addresses: u32, len: u16) -> Item {
    let columns =
        vec![Column::text("who, at its best"), Column::text("we, at ours"), Column::number("ahead"), Column::text("least to most")];
    let mut table = Table::new(format!("Best role against best role, {len} B, {addresses} stations on each side"), columns);
    for Best { peer, ours, ours_ahead: Spread { median, min, max }, .. } in best {
        let range = format!("{} to {}", fixed(*min, 2), fixed(*max, 2));
        table.push(vec![Cell::text(*peer), Cell::text(*ours), Cell::number(Some(*median), 2), Cell::text(range)]);
    }
    Item::Table(table)
}

fn account(series: &Series) -> Account {
    let last = series.rounds.iter().rev().find_map(|round| round.as_ref().ok());
    Account {
        peer: series.who.name(),
        learned: last.and_then(|visit| visit.learned),
        commands: last.map(|visit| visit.commands.clone()).unwrap_or_default(),
        failed: series.rounds.iter().filter_map(|round| round.as_ref().err().cloned()).collect(),
    }
}

/// The report with files.
pub(super) fn report(args: &Args, measured: &Measured, clock: &TscClock) -> Report {
    let mut report = Report::new("peers", "Beside the peers", "");
    report.machine = Machine {
        tsc_hz: clock.ticks_per_second() as u64,
        line_transfer_ns: measured.line_transfer_ns,
        hugepages: if measured.hugepages { "for peers and us" } else { "none free for peers" }.to_owned(),
        ..report.machine
    };
    let (mut addresses, mut sizes) = (args.addresses.clone(), args.sizes.clone());
    addresses.sort_unstable();
    addresses.dedup();
    sizes.sort_unstable();
    sizes.dedup();
    let (mut rows, mut best) = (Vec::new(), Vec::new());
    for ground in Ground::ALL {
        let here: Vec<&Series> = measured.series.iter().filter(|series| series.who.ground() == ground).collect();
        if here.is_empty() {
            continue;
        }
        let mut items = Vec::new();
        for &len in if ground.is_in_cycles() { &[60][..] } else { &sizes } {
            for &addresses in &addresses {
                let reference = |who: Who| here.iter().find(|series| series.who == who.reference()).copied();
                let those: Vec<Row> = here.iter().filter_map(|series| row(series, reference(series.who), addresses, len)).collect();
                if !those.is_empty() {
                    items.extend(figures(ground, addresses, len, &those, &here));
                    rows.extend(those);
                    let those = if ground == Ground::Memif { best_roles(&here, addresses, len) } else { Vec::new() };
                    items.extend((!those.is_empty()).then(|| roles(&those, addresses, len)));
                    best.extend(those);
                }
            }
        }
        items.extend(here.iter().flat_map(|series| said(&account(series))));
        report.sections.push(Section::new(ground.title(), items));
    }
    let latency = latency(measured);
    if !latency.is_empty() {
        report.sections.push(latency_section(measured, &latency));
    }
    report.sections.push(Section::new("How to read this", vec![Item::Note(HOW_TO_READ.to_owned())]));
    report.headlines = headlines(&rows);
    report.warnings = general(measured, &report.machine);
    report.warnings.extend(measured.series.iter().flat_map(|series| of_series(series, &rows)));
    for (series, why) in
        measured.latency.iter().flat_map(|series| series.rounds.iter().filter_map(move |round| Some((series, round.as_ref().err()?))))
    {
        report.warnings.push(other(format!("{}, latency: a round failed: {why}", series.who.name())));
    }
    for row in latency.iter().filter(|row| row.late > LATE_MAX) {
        let late = percent(row.late);
        report.warnings.push(other(format!("{} at {} %: {late} % of the frames left more than 10 µs late", row.peer, row.share)));
    }
    report.validity = validity(&rows);
    let cores = measured.cores.map_or("one for all".to_owned(), |(generator, device)| format!("generator {generator}, device {device}"));
    report.settings = vec![
        Setting::new("rounds", args.rounds),
        Setting::new("seconds of a run", args.duration),
        Setting::new("stations a side", addresses.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")),
        Setting::new("cores", cores),
    ];
    let contestants = measured.series.iter().map(account).collect();
    let outcome = Outcome { rows, best, latency, contestants, left_out: measured.left_out.clone() };
    report.result = serde_json::to_value(&outcome).unwrap_or_default();
    report
}

const HOW_TO_READ: &str = "Medians of the rounds with least and most; contestants take turns in each round, and ratios are taken within a round. \
    Ahead: how much better we are, our rate to theirs or their cycles to ours. Inside a process everybody has the source and the sink that it \
    brings: ours fills and empties memory ports with random addresses, VPP's is its packet generator, OVS and testpmd repeat a capture, whose cost is the row \
    of testpmd with the same capture. Without source and sink: the turn of our worker, and VPP's nodes without those of its generator. testpmd looks at nothing and \
    learns nothing: it is what ports cost. On memif and veth pairs cycles are those of the TSC from frame to frame; every frame is numbered, counted and checked on \
    its return. The sink shows what the generator can do. A memif client brings the shared memory and the server copies: who is the client \
    has the generator as server, and is compared with us as client; with zero-copy the client's packet buffers are that memory. Ours as client copies, too. A bridge of the kernel works on the core of whoever sends.";

fn figures(ground: Ground, addresses: u32, len: u16, rows: &[Row], here: &[&Series]) -> Vec<Item> {
    let in_cycles = ground.is_in_cycles();
    let median = |spread: Option<Spread>, decimals| Cell::number(spread.map(|spread| spread.median), decimals);
    let range = |spread: Option<Spread>, decimals| {
        Cell::text(spread.map_or("-".to_owned(), |spread| format!("{} to {}", fixed(spread.min, decimals), fixed(spread.max, decimals))))
    };
    let mut columns = vec![Column::text("who")];
    columns.extend(if in_cycles {
        [
            Column::number("TSC cycles"),
            Column::text("least to most"),
            Column::number("without source and sink"),
            Column::number("ahead"),
            Column::number("ahead without"),
        ]
    } else {
        [
            Column::number("Mpps"),
            Column::text("least to most"),
            Column::number("TSC cycles"),
            Column::number("ahead"),
            Column::number("lost %"),
        ]
    });
    columns.extend((!in_cycles).then(|| Column::number("held back %").when_wide()));
    let mut table = Table::new(format!("{len} B, {addresses} stations on each side"), columns);
    for row in rows {
        let forwards = Who::ALL.iter().any(|who| who.name() == row.peer && (who.forwards() || ground == Ground::Send));
        let lost = row.sent.saturating_sub(row.received) as f64 / row.sent.max(1) as f64;
        let mut cells = vec![Cell::text(row.peer)];
        cells.extend(if in_cycles {
            [
                median(row.cycles, 1),
                range(row.cycles, 1),
                median(row.own_cycles, 1),
                median(row.ours_ahead, 2),
                median(row.ours_ahead_own, 2),
            ]
        } else {
            let lost = if forwards && row.sent > 0 { Cell::Share(lost) } else { Cell::Unknown };
            [median(row.mpps, 3), range(row.mpps, 3), median(row.cycles, 0), median(row.ours_ahead, 2), lost]
        });
        cells.extend((!in_cycles).then_some(Cell::Share(row.refused)));
        table.push(cells);
    }
    let boxes = here.iter().map(|series| {
        let done = samples_of(series, addresses, len).into_iter().flatten();
        let values = done.filter_map(|sample| if in_cycles { sample.cycles } else { Some(sample.pps? / 1e6) }).collect();
        BoxRow { name: series.who.name().to_owned(), values }
    });
    let unit = if in_cycles { "TSC cycles per frame" } else { "Mpps" };
    let plot = Plot::Boxes(Boxes { unit: unit.to_owned(), rows: boxes.filter(|row: &BoxRow| !row.values.is_empty()).collect() });
    let title = format!("{}: {len} B, {addresses} stations on each side", ground.title());
    vec![Item::Table(table), Figure::item(title, plot, "Nothing was measured.")]
}

/// What a contestant has learned, what was typed for it, and what went wrong.
fn said(account: &Account) -> Vec<Item> {
    let mut notes = Vec::new();
    if let Some((known, all)) = account.learned {
        notes.push(format!("{}: knew {known} of {all} addresses", account.peer));
    }
    if !account.commands.is_empty() {
        notes.push(format!("{}: {}", account.peer, account.commands.join(" ⏎ ")));
    }
    notes.extend(account.failed.iter().map(|why| format!("{}: a round failed: {why}", account.peer)));
    notes.into_iter().map(Item::Note).collect()
}

fn latency(measured: &Measured) -> Vec<LatencyRow> {
    let pps = measured.latency_pps.unwrap_or(0.0);
    let mut rows = Vec::new();
    for share in SHARES {
        for series in &measured.latency {
            let quiet = series.rounds.iter().flatten().flat_map(|visit| &visit.quiet).filter(|quiet| quiet.share == share);
            let runs: Vec<_> = quiet.map(|quiet| &quiet.run).collect();
            if runs.is_empty() {
                continue;
            }
            let quantile = |quantile: f64| {
                Spread::of(runs.iter().filter(|run| !run.latency.is_empty()).map(|run| run.latency.value_at_quantile(quantile) as f64))
            };
            rows.push(LatencyRow {
                peer: series.who.name(),
                share,
                pps: pps * f64::from(share) / 100.0,
                p50_ns: quantile(0.5),
                p99_9_ns: quantile(0.999),
                frames: runs.iter().map(|run| run.received).sum(),
                loss: runs.iter().map(|run| run.loss()).sum::<f64>() / runs.len() as f64,
                late: runs.iter().map(|run| run.late).sum::<f64>() / runs.len() as f64,
            });
        }
    }
    rows
}

fn latency_section(measured: &Measured, rows: &[LatencyRow]) -> Section {
    let columns = vec![
        Column::text("who"),
        Column::number("% of our throughput"),
        Column::number("Mpps"),
        Column::number("p50 µs"),
        Column::number("p99.9 µs"),
        Column::number("lost %"),
        Column::number("sent late %"),
    ];
    let mut table = Table::new("Latency through memif, both ways together", columns);
    for row in rows {
        let ns = |spread: Option<Spread>| spread.map_or(Cell::Unknown, |spread| Cell::Micros(spread.median));
        table.push(vec![
            Cell::text(row.peer),
            Cell::Count(row.share.into()),
            Cell::Number(row.pps / 1e6, 3),
            ns(row.p50_ns),
            ns(row.p99_9_ns),
            Cell::Share(row.loss),
            Cell::Share(row.late),
        ]);
    }
    let mut curves = Vec::new();
    for series in &measured.latency {
        for share in SHARES {
            let quiet = series.rounds.iter().flatten().flat_map(|visit| &visit.quiet).filter(|quiet| quiet.share == share);
            let merged = quiet.fold(None, |merged: Option<Histogram<u64>>, quiet| match merged {
                None => Some(quiet.run.latency.clone()),
                Some(mut merged) => merged.add(&quiet.run.latency).is_ok().then_some(merged),
            });
            curves.extend(merged.map(|histogram| Curve { name: format!("{}, {share} %", series.who.name()), histogram }));
        }
    }
    let note = "From handing over to receiving, by one clock, generator and receiver in one thread: its loop is part of every figure, for all alike.";
    Section::new(
        "Latency",
        vec![
            Item::Table(table),
            Figure::item("Latency by percentile", Plot::Percentiles(curves), "No latency was measured."),
            Item::Note(note.to_owned()),
        ],
    )
}

/// Beside VPP and OVS, and the bridge on veth pairs, with the fewest and the most stations.
fn headlines(rows: &[Row]) -> Vec<Headline> {
    let beside = |row: &&Row| row.ours_ahead.is_some() && ["vpp", "ovs-dpdk", "linux bridge"].iter().any(|name| row.peer.starts_with(name));
    let mut headlines = Vec::new();
    for row in rows.iter().filter(beside) {
        let same = rows.iter().filter(|other| other.peer == row.peer && other.len == row.len);
        let (least, most) = same.fold((u32::MAX, 0), |(least, most), other| (least.min(other.addresses), most.max(other.addresses)));
        if let Some(ahead) = row.ours_ahead.filter(|_| row.addresses == least || row.addresses == most) {
            let mood = if ahead.median >= 1.0 { Mood::Good } else { Mood::Bad };
            let what = format!("ahead of {}, {} B, {} stations a side", row.peer, row.len, row.addresses);
            headlines.push(Headline::new(format!("{} ×", fixed(ahead.median, 2)), what, mood));
        }
    }
    headlines
}

fn validity(rows: &[Row]) -> Validity {
    let mut validity = Validity::valid();
    if rows.is_empty() {
        validity.reasons.push("nothing was measured".to_owned());
    }
    for row in rows.iter().filter(|row| row.damaged > 0) {
        validity.reasons.push(format!("{}: {} frames were not as they were sent", row.peer, row.damaged));
    }
    validity
}

fn other(text: String) -> Warning {
    Warning::Other { text }
}

/// What is true of all grounds.
fn general(measured: &Measured, here: &Machine) -> Vec<Warning> {
    let mut warnings: Vec<Warning> = measured.left_out.iter().map(|why| other(format!("left out: {why}"))).collect();
    if measured.cores.is_none() {
        warnings.push(Warning::CoresShared { needed: 2, available: 1 });
    }
    if !measured.hugepages {
        warnings.push(other("1 GiB of huge pages is not free: peers ran on ordinary pages, which their manuals advise against".to_owned()));
    }
    if let Some(governor) = here.governor.clone().filter(|governor| governor != "performance") {
        warnings.push(Warning::GovernorNotPerformance { governor });
    }
    warnings
}

fn of_series(series: &Series, rows: &[Row]) -> Vec<Warning> {
    let account = account(series);
    let name = account.peer;
    let mut warnings = Vec::new();
    if let Some(why) = account.failed.first() {
        warnings.push(other(format!("{name}: {} rounds failed, the first because: {why}", account.failed.len())));
    }
    if let Some((known, all)) = account.learned.filter(|(known, all)| known < all) {
        warnings.push(other(format!("{name}: it knew {known} of {all} addresses: what it did not know it flooded")));
    }
    for row in rows.iter().filter(|row| row.peer == name) {
        let what = format!("{name}, {} B, {} stations", row.len, row.addresses);
        let lost = row.sent.saturating_sub(row.received) as f64 / row.sent.max(1) as f64;
        if series.who.forwards() && row.received == 0 {
            warnings.push(other(format!("{what}: not one frame came through")));
        } else if series.who.forwards() && lost < OVERLOADED && row.refused < OVERLOADED {
            warnings.push(other(format!(
                "{what}: {} % lost, nothing held back: the generator was the limit, or shares its core",
                percent(lost)
            )));
        }
        if row.out_of_order > 0 {
            warnings.push(other(format!("{what}: {} frames were overtaken or came twice", row.out_of_order)));
        }
        let figure = if series.who.ground().is_in_cycles() { row.cycles } else { row.mpps };
        if let Some(spread) = figure.filter(|spread| spread.max - spread.min > SPREAD_MAX * spread.median) {
            let wide = percent((spread.max - spread.min) / spread.median);
            warnings.push(other(format!("{what}: rounds differ by {wide} % of their median: the machine was not quiet")));
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::super::visit::Visit;
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn series(who: Who, figures: &[f64]) -> Series {
        let visit = |&figure: &f64| {
            let in_cycles = who.ground().is_in_cycles();
            let sample = Sample {
                addresses: 100,
                len: 60,
                pps: (!in_cycles).then_some(figure),
                cycles: in_cycles.then_some(figure),
                own_cycles: in_cycles.then_some(figure / 2.0),
                sent: 1000,
                received: 900,
                refused: 0.5,
                ..Sample::default()
            };
            let learned = who.learns().then_some((150, 200));
            Ok(Visit { samples: vec![sample], learned, commands: vec!["the-command --it-was".to_owned()], ..Visit::default() })
        };
        Series { who, rounds: figures.iter().map(visit).collect() }
    }

    fn reported() -> Report {
        let args = Line::parse_from(["bench", "--addresses", "100", "--rounds", "3"]).args;
        let mut vpp = series(Who::VppMemif, &[1e6, 2e6, 1e6]);
        vpp.rounds.push(Err("no memory".to_owned()));
        let measured = Measured {
            series: vec![
                series(Who::Path, &[40.0, 50.0, 40.0]),
                series(Who::VppGenerator, &[80.0, 150.0, 88.0]),
                series(Who::SwitchMemif, &[2e6, 3e6, 2.2e6]),
                vpp,
                series(Who::SwitchClient, &[4e6, 4e6, 3.3e6]),
                series(Who::VppClient, &[2e6, 3e6, 3e6]),
            ],
            left_out: vec!["tcpreplay: not installed: apt-get install tcpreplay".to_owned()],
            ..Measured::default()
        };
        report(&args, &measured, &TscClock::new())
    }

    #[test]
    fn we_are_compared_within_rounds() {
        let report = reported();
        let find = |peer: &str| report.result["rows"].as_array().unwrap().iter().find(|row| row["peer"] == peer).unwrap().clone();
        // 80/40, 150/50, 88/40; and 2/1, 3/2, 2.2/1.
        assert_eq!(find("vpp bridge, packet generator")["ours_ahead"], serde_json::json!({"median": 2.2, "min": 2.0, "max": 3.0}));
        assert_eq!(find("vpp bridge, memif")["ours_ahead"], serde_json::json!({"median": 2.0, "min": 1.5, "max": 2.2}));
        assert!(find("bladeswitch, memif")["ours_ahead"].is_null() && find("bladeswitch, memif client")["ours_ahead"].is_null());
        // A client is compared with a client: 4/2, 4/3, 3.3/3. Both are best in that role.
        let ahead = find("vpp bridge, memif client, zero-copy")["ours_ahead"].clone();
        assert_eq!((ahead["min"].as_f64(), ahead["max"].as_f64()), (Some(1.1), Some(2.0)));
        let best = &report.result["best"];
        assert_eq!(best.as_array().map(Vec::len), Some(1));
        assert_eq!(
            (best[0]["peer"].as_str(), best[0]["ours"].as_str()),
            (Some("vpp bridge, memif client, zero-copy"), Some("bladeswitch, memif client"))
        );
        assert_eq!(best[0]["ours_ahead"], ahead);
        assert_eq!(find("vpp bridge, memif")["rounds"], 3);
    }

    #[test]
    fn the_report_says_what_must_be_known() {
        let report = reported();
        let said: Vec<String> = report.warnings.iter().map(ToString::to_string).collect();
        for expected in
            ["apt-get install tcpreplay", "1 rounds failed, the first because: no memory", "knew 150 of 200", "huge pages", "was not quiet"]
        {
            assert!(said.iter().any(|said| said.contains(expected)), "{expected}: {said:?}");
        }
        let dir = tempfile::tempdir().unwrap();
        let files = traffic_gen::output::write_all(&report, dir.path()).unwrap();
        let page = std::fs::read_to_string(&files[0]).unwrap();
        for expected in ["vpp bridge, memif", "<svg", "the-command --it-was"] {
            assert!(page.contains(expected), "{expected}");
        }
    }
}
