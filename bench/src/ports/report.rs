//! The report: rates, costs and latencies by ground and device, as ratios to the reference and to the bare loop, for people and programs.

use hdrhistogram::Histogram;
use port::clock::TscClock;
use serde::Serialize;
use traffic_gen::output::numbers::{fixed, micros, percent};
use traffic_gen::output::plots::{BoxRow, Boxes, Curve};
use traffic_gen::output::{Cell, Column, Figure, Headline, Item, Machine, Mood, Plot, Report, Section, Setting, Table, Validity, Warning};

use super::traffic::Run;
use super::{Args, Ground, Measured, Round, Series, Who};

/// Below this share of refused or lost frames the device was not the limit.
const OVERLOADED: f64 = 0.01;
/// A generator that was late this often spoils the latencies beyond it.
const LATE_MAX: f64 = 0.01;
/// A device that loses a greater share of frames at the rate for latency does not work.
const LOSS_MAX: f64 = 0.5;

/// Median, least and most of all rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// In the middle.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
}

impl Spread {
    /// Of these; `None` if there are none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) };
        Some(Spread { median, min, max })
    }
}

/// A device under overload with frames of one size.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Overload {
    /// Bytes of a frame without FCS.
    pub len: u16,
    /// Millions of frames a second that came through; of a sink, that it was sent.
    pub mpps: Option<Spread>,
    /// That as a multiple of the reference's, round by round.
    pub to_reference: Option<Spread>,
    /// That as a multiple of the bare loop's on the same kind of port.
    pub to_bare: Option<Spread>,
    /// Frames sent and received in all rounds, warming up included.
    pub sent: u64,
    /// See above.
    pub received: u64,
    /// Frames that others had overtaken, or that came twice.
    pub out_of_order: u64,
    /// Frames that were not as they were sent.
    pub damaged: u64,
    /// Share of bursts that the generator's port did not take as a whole, 0 to 1; mean of the rounds.
    pub refused: f64,
    /// CPU time of the device's process for each frame, in ns.
    pub process_ns: Option<Spread>,
    /// The same in cycles of the TSC.
    pub process_cycles: Option<Spread>,
    /// Millions of frames in a second of the process's CPU time.
    pub mpps_per_cpu_second: Option<f64>,
    /// CPU time of the whole machine, generator and interrupts included, for each frame, in ns.
    pub system_ns: Option<Spread>,
}

/// A device at the rate for latency.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Latency {
    /// From handing over to receiving, in ns: median of the rounds' medians, and of their 99 %.
    pub p50_ns: Option<Spread>,
    /// See above.
    pub p99_ns: Option<Spread>,
    /// Frames that arrived.
    pub frames: u64,
    /// Share of frames that were lost, 0 to 1.
    pub loss: f64,
    /// Share of frames that left more than 10 µs late, 0 to 1.
    pub late: f64,
}

/// All rounds of a device: `result` of the JSON file is a list of these.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// `linux`, `memif`, or `memif, clients`.
    pub ground: &'static str,
    /// Its name.
    pub device: &'static str,
    /// Rounds that were measured.
    pub rounds: usize,
    /// By size.
    pub overload: Vec<Overload>,
    /// At the rate for latency.
    pub latency: Option<Latency>,
    /// Share of a core with adaptive idle and no traffic, 0 to 1.
    pub idle: Option<f64>,
    /// Ports and modes, or the command line.
    pub says: String,
    /// Rounds that failed, and why.
    pub failed: Vec<String>,
}

impl Figures {
    fn of(args: &Args, ground: &Ground, series: &Series, clock: &TscClock) -> Figures {
        let done = done(series);
        let other = |who: Who| ground.series.iter().find(|other| other.who == who && who != series.who);
        let reference = other(ground.reference);
        let bare = series.who.bare().and_then(other);
        let overload = args.sizes.iter().enumerate().map(|(place, &len)| {
            let runs: Vec<&Run> = done.iter().map(|round| &round.overload[place]).collect();
            let ratio = |to: Option<&Series>| {
                let pairs = to.into_iter().flat_map(|to| series.rounds.iter().zip(&to.rounds));
                let pps = |round: &Result<Round, String>| round.as_ref().ok().map(|round| round.overload[place].pps());
                Spread::of(pairs.filter_map(|(ours, theirs)| Some(pps(ours)? / pps(theirs)?)))
            };
            let ticks_per_ns = clock.ticks_per_second() / 1e9;
            let process = || runs.iter().filter_map(|run| Some(run.spent.process_ns? as f64 / run.frames as f64));
            let system = runs.iter().filter_map(|run| Some(run.spent.system_ns? as f64 / run.frames as f64));
            let process_ns = Spread::of(process());
            Overload {
                len,
                mpps: Spread::of(runs.iter().map(|run| run.pps() / 1e6)),
                to_reference: ratio(reference),
                to_bare: ratio(bare),
                sent: runs.iter().map(|run| run.sent).sum(),
                received: runs.iter().map(|run| run.received).sum(),
                out_of_order: runs.iter().map(|run| run.out_of_order).sum(),
                damaged: runs.iter().map(|run| run.damaged).sum(),
                refused: runs.iter().map(|run| run.refused).sum::<f64>() / runs.len().max(1) as f64,
                process_ns,
                process_cycles: Spread::of(process().map(|ns| ns * ticks_per_ns)),
                mpps_per_cpu_second: process_ns.map(|ns| 1e3 / ns.median).filter(|mpps| mpps.is_finite()),
                system_ns: Spread::of(system),
            }
        });
        let quiet: Vec<&Run> = done.iter().filter_map(|round| round.latency.as_ref()).collect();
        let quantile = |quantile: f64| {
            Spread::of(quiet.iter().filter(|run| !run.latency.is_empty()).map(|run| run.latency.value_at_quantile(quantile) as f64))
        };
        let latency = (!quiet.is_empty()).then(|| Latency {
            p50_ns: quantile(0.5),
            p99_ns: quantile(0.99),
            frames: quiet.iter().map(|run| run.received).sum(),
            loss: quiet.iter().map(|run| run.loss()).sum::<f64>() / quiet.len() as f64,
            late: quiet.iter().map(|run| run.late).sum::<f64>() / quiet.len() as f64,
        });
        Figures {
            ground: ground.name,
            device: series.who.name(),
            rounds: done.len(),
            overload: overload.collect(),
            latency,
            idle: series.idle,
            says: done.first().map_or_else(String::new, |round| round.says.clone()),
            failed: series.rounds.iter().filter_map(|round| round.as_ref().err().cloned()).collect(),
        }
    }
}

fn done(series: &Series) -> Vec<&Round> {
    series.rounds.iter().filter_map(|round| round.as_ref().ok()).collect()
}

/// The report with files.
pub(super) fn report(args: &Args, measured: &Measured, clock: &TscClock) -> Report {
    let mut report = Report::new("ports", "What each kind of port costs", "");
    report.machine = Machine { tsc_hz: clock.ticks_per_second() as u64, ..report.machine };
    let mut all = Vec::new();
    for ground in &measured.grounds {
        let figures: Vec<Figures> = ground.series.iter().map(|series| Figures::of(args, ground, series, clock)).collect();
        report.sections.push(section(args, ground, &figures));
        report.headlines.extend(headlines(ground, &figures));
        report.warnings.extend(warnings(ground, &figures));
        all.extend(figures);
    }
    report.sections.push(Section::new(
        "How to read this",
        vec![Item::Note(
            "Mpps: the most that came through under overload, median of the rounds. Ratios are taken within a round. CPU of the device: its \
             process alone, which on a dedicated core spins, so that the figure means something only where the device was the limit; the kernel's \
             bridge has no process. CPU of the machine: all of it, generator, receiver and interrupts included: the figure for comparing with the \
             bridge. Latency: from handing over to receiving, by one clock, generator and receiver in one thread. Idle: share of a core with \
             adaptive idle and no traffic."
                .to_owned(),
        )],
    ));
    report.warnings.splice(0..0, general(measured, &report.machine));
    report.validity = validity(&all);
    let cores = measured.cores.map_or("one for all".to_owned(), |(generator, device)| format!("generator {generator}, device {device}"));
    report.settings = vec![
        Setting::new("rounds", args.rounds),
        Setting::new("seconds of a run", args.seconds),
        Setting::new("stations a side", args.stations),
        Setting::new("rate for latency", format!("{} frames/s", args.latency_pps)),
        Setting::new("cores", cores),
    ];
    report.result = serde_json::to_value(&all).unwrap_or_default();
    report
}

fn section(args: &Args, ground: &Ground, figures: &[Figures]) -> Section {
    let ways = if ground.both_ways { "both ways together" } else { "one way" };
    let number = |value: Option<f64>, decimals| Cell::number(value, decimals);
    let median = |spread: Option<Spread>, decimals| number(spread.map(|spread| spread.median), decimals);
    let range = |spread: Option<Spread>, decimals| {
        Cell::text(spread.map_or("-".to_owned(), |spread| format!("{} to {}", fixed(spread.min, decimals), fixed(spread.max, decimals))))
    };
    let mut items = Vec::new();
    for (place, len) in args.sizes.iter().enumerate() {
        let columns = vec![
            Column::text("device"),
            Column::number("Mpps"),
            Column::text("least to most").when_wide(),
            Column::number(format!("× {}", ground.reference.name())),
            Column::number("× bare loop"),
            Column::number("lost %"),
            Column::number("CPU of device ns/frame"),
            Column::number("TSC cycles").when_wide(),
            Column::number("Mpps/CPU-s"),
            Column::number("CPU of machine ns/frame"),
        ];
        let mut table = Table::new(format!("Overload, {len} B, {ways}; {} rounds, devices in turn", args.rounds), columns);
        let mut boxes = Vec::new();
        for (figures, series) in figures.iter().zip(&ground.series) {
            let overload = &figures.overload[place];
            let lost = overload.sent.saturating_sub(overload.received) as f64 / overload.sent.max(1) as f64;
            table.push(vec![
                Cell::text(figures.device),
                median(overload.mpps, 3),
                range(overload.mpps, 3),
                median(overload.to_reference, 2),
                median(overload.to_bare, 3),
                if series.who.forwards() && overload.sent > 0 { Cell::Share(lost) } else { Cell::Unknown },
                median(overload.process_ns, 1),
                median(overload.process_cycles, 0),
                number(overload.mpps_per_cpu_second, 2),
                median(overload.system_ns, 0),
            ]);
            let values: Vec<f64> = done(series).iter().map(|round| round.overload[place].pps() / 1e6).collect();
            boxes.push(BoxRow { name: figures.device.to_owned(), values });
        }
        items.push(Item::Table(table));
        let plot = Plot::Boxes(Boxes { unit: "Mpps".to_owned(), rows: boxes });
        items.push(Figure::item(format!("Rate under overload, {len} B"), plot, "Nothing was measured."));
    }
    items.extend(latency(args, ground, figures));
    for figures in figures {
        if !figures.says.is_empty() {
            items.push(Item::Note(format!("{}: {}", figures.device, figures.says)));
        }
        items.extend(figures.failed.iter().map(|why| Item::Note(format!("{}: a round failed: {why}", figures.device))));
    }
    let title = match ground.name {
        "linux" => "On veth pairs",
        "memif" => "On memif",
        _ => "On memif, devices as clients",
    };
    Section::new(title, items)
}

fn latency(args: &Args, ground: &Ground, figures: &[Figures]) -> [Item; 2] {
    let columns = vec![
        Column::text("device"),
        Column::number("p50 µs"),
        Column::text("least to most").when_wide(),
        Column::number("p99 µs"),
        Column::number("lost %"),
        Column::number("sent late %"),
        Column::number("idle: % of a core"),
    ];
    let mut table = Table::new(format!("Latency at {} frames/s one way, and what an idle device takes", args.latency_pps), columns);
    let mut curves = Vec::new();
    for (figures, series) in figures.iter().zip(&ground.series) {
        let Some(latency) = &figures.latency else { continue };
        let ns = |spread: Option<Spread>| spread.map_or(Cell::Unknown, |spread| Cell::Micros(spread.median));
        let range = latency.p50_ns.map_or("-".to_owned(), |spread| format!("{} to {}", micros(spread.min), micros(spread.max)));
        table.push(vec![
            Cell::text(figures.device),
            ns(latency.p50_ns),
            Cell::text(range),
            ns(latency.p99_ns),
            Cell::Share(latency.loss),
            Cell::Share(latency.late),
            figures.idle.map_or(Cell::Unknown, Cell::Share),
        ]);
        let runs = done(series).into_iter().filter_map(|round| round.latency.as_ref());
        let merged = runs.fold(None, |merged: Option<Histogram<u64>>, run| match merged {
            None => Some(run.latency.clone()),
            Some(mut merged) => merged.add(&run.latency).is_ok().then_some(merged),
        });
        curves.extend(merged.map(|histogram| Curve { name: figures.device.to_owned(), histogram }));
    }
    let title = format!("Latency at {} frames/s by percentile", args.latency_pps);
    [Item::Table(table), Figure::item(title, Plot::Percentiles(curves), "No latency was measured.")]
}

/// For the switch on each kind of port, with the smallest frames: beside the reference and beside the bare loop.
fn headlines(ground: &Ground, figures: &[Figures]) -> Vec<Headline> {
    let mut headlines = Vec::new();
    for (figures, series) in figures.iter().zip(&ground.series).filter(|(_, series)| series.who.is_switch()) {
        let Some(overload) = figures.overload.iter().min_by_key(|overload| overload.len) else { continue };
        let name = series.who.name();
        if let Some(ratio) = overload.to_reference {
            let mood = if ratio.median >= 1.0 { Mood::Good } else { Mood::Bad };
            let what = format!("{name}: rate beside {}, {} B", ground.reference.name(), overload.len);
            headlines.push(Headline::new(format!("{} ×", fixed(ratio.median, 2)), what, mood));
        }
        if let Some(ratio) = overload.to_bare {
            let what = format!("{name}: rate beside the bare loop, {} B", overload.len);
            headlines.push(Headline::new(format!("{} ×", fixed(ratio.median, 3)), what, Mood::Plain));
        }
    }
    headlines
}

fn validity(all: &[Figures]) -> Validity {
    let mut validity = Validity::valid();
    if all.iter().all(|figures| figures.rounds == 0) {
        validity.reasons.push("nothing was measured".to_owned());
    }
    for figures in all {
        let damaged: u64 = figures.overload.iter().map(|overload| overload.damaged).sum();
        if damaged > 0 {
            validity.reasons.push(format!("{}: {damaged} frames were not as they were sent", figures.device));
        }
        // Nothing is lost at a rate for latency but by a device that stands still.
        if let Some(latency) = figures.latency.as_ref().filter(|latency| latency.loss > LOSS_MAX) {
            let lost = percent(latency.loss);
            validity.reasons.push(format!("{}: {lost} % of the frames were lost at the rate for latency", figures.device));
        }
    }
    validity
}

fn other(text: String) -> Warning {
    Warning::Other { text }
}

/// What is true of all grounds.
fn general(measured: &Measured, here: &Machine) -> Vec<Warning> {
    let mut warnings: Vec<Warning> = measured.left_out.iter().cloned().map(other).collect();
    if measured.cores.is_none() {
        warnings.push(Warning::CoresShared { needed: 2, available: 1 });
    }
    if let Some(governor) = here.governor.clone().filter(|governor| governor != "performance") {
        warnings.push(Warning::GovernorNotPerformance { governor });
    }
    warnings
}

fn warnings(ground: &Ground, figures: &[Figures]) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for (figures, series) in figures.iter().zip(&ground.series) {
        let name = figures.device;
        if let Some(why) = figures.failed.first() {
            warnings.push(other(format!("{name}: {} rounds failed, the first because: {why}", figures.failed.len())));
        }
        for overload in figures.overload.iter().filter(|overload| overload.sent > 0 && series.who.forwards()) {
            let lost = overload.sent.saturating_sub(overload.received) as f64 / overload.sent as f64;
            if lost < OVERLOADED && overload.refused < OVERLOADED {
                let why = match series.who {
                    Who::Bridge => "it works on the core that sends, so its rate is that of generator and bridge together",
                    _ => "the generator was the limit: the device can do more",
                };
                warnings.push(other(format!("{name}, {} B: {} % lost, nothing held back: {why}", overload.len, percent(lost))));
            }
            if overload.received == 0 {
                warnings.push(other(format!("{name}, {} B: not one frame came through", overload.len)));
            }
            if overload.out_of_order > 0 {
                warnings.push(Warning::Reordered { frames: overload.out_of_order });
            }
        }
        if let Some(latency) = figures.latency.as_ref().filter(|latency| latency.late > LATE_MAX) {
            let text =
                format!("{name}: {} % of the frames for latency left more than 10 µs late: the machine is busy", percent(latency.late));
            warnings.push(other(text));
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::super::cpu::Spent;
    use super::super::device::Job;
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn run(frames: u64, sent: u64) -> Run {
        let mut latency = Histogram::new_with_bounds(1, 10_000_000_000, 3).unwrap();
        latency.record_n(2_000, frames).unwrap();
        Run {
            seconds: 1.0,
            frames,
            sent,
            received: frames,
            out_of_order: 0,
            damaged: 0,
            refused: 0.0,
            late: 0.0,
            latency,
            spent: Spent { process_ns: Some(1_000_000_000), system_ns: Some(2_000_000_000) },
        }
    }

    fn series(who: Who, frames: &[u64], sent: u64) -> Series {
        let round =
            |&frames: &u64| Ok(Round { overload: vec![run(frames, sent)], latency: Some(run(1000, 1000)), says: "here".to_owned() });
        Series { who, rounds: frames.iter().map(round).collect(), idle: None }
    }

    fn reported() -> Report {
        let args = Line::parse_from(["bench", "--sizes", "60", "--rounds", "3"]).args;
        let mut switch = series(Who::Native(Job::Switch), &[2_000_000, 3_000_000, 2_200_000], 4_000_000);
        switch.idle = Some(0.01);
        switch.rounds.push(Err("no port".to_owned()));
        let ground = Ground {
            name: "linux",
            reference: Who::Bridge,
            both_ways: false,
            series: vec![
                series(Who::Bridge, &[1_000_000, 2_000_000, 1_000_000], 2_000_000),
                switch,
                series(Who::Native(Job::Bare), &[2_000_000, 3_000_000, 2_200_000], 3_000_000),
            ],
        };
        let measured = Measured { grounds: vec![ground], left_out: vec!["x is not installed: apt-get install x".to_owned()], cores: None };
        report(&args, &measured, &TscClock::new())
    }

    #[test]
    fn ratios_are_taken_within_rounds() {
        let report = reported();
        let switch = &report.result[1];
        assert_eq!((switch["device"].as_str(), switch["rounds"].as_u64()), (Some("switch, af_xdp native"), Some(3)));
        let overload = &switch["overload"][0];
        // 2/1, 3/2 and 2.2/1; medians would have 2.2/1.
        assert_eq!(overload["to_reference"], serde_json::json!({"median": 2.0, "min": 1.5, "max": 2.2}));
        assert_eq!(overload["to_bare"]["median"].as_f64(), Some(1.0));
        assert_eq!(overload["process_ns"]["max"].as_f64(), Some(500.0));
        assert_eq!(switch["latency"]["p50_ns"]["median"].as_f64(), Some(2_000.0));
        assert_eq!(switch["idle"].as_f64(), Some(0.01));
        assert!(report.result[0]["overload"][0]["to_reference"].is_null());
    }

    #[test]
    fn the_report_says_what_must_be_known() {
        let report = reported();
        let said: Vec<String> = report.warnings.iter().map(ToString::to_string).collect();
        for expected in ["apt-get install x", "1 rounds failed, the first because: no port"] {
            assert!(said.iter().any(|said| said.contains(expected)), "{expected}: {said:?}");
        }
        // Everybody lost frames, so nobody had too few.
        assert!(!said.iter().any(|said| said.contains("generator was the limit")), "{said:?}");
        let dir = tempfile::tempdir().unwrap();
        let files = traffic_gen::output::write_all(&report, dir.path()).unwrap();
        let page = std::fs::read_to_string(&files[0]).unwrap();
        for expected in ["bare loop, af_xdp native", "<svg", "Latency at"] {
            assert!(page.contains(expected), "{expected}");
        }
    }

    #[test]
    fn a_generator_that_is_the_limit_is_named() {
        let args = Line::parse_from(["bench", "--sizes", "60"]).args;
        let ground = Ground {
            name: "linux",
            reference: Who::Bridge,
            both_ways: false,
            series: vec![series(Who::Skb(Job::Switch), &[1_000_000], 1_000_000)],
        };
        let measured = Measured { grounds: vec![ground], ..Measured::default() };
        let report = report(&args, &measured, &TscClock::new());
        let said: Vec<String> = report.warnings.iter().map(ToString::to_string).collect();
        assert!(said.iter().any(|said| said.contains("the generator was the limit")), "{said:?}");
    }

    #[test]
    fn a_device_that_stands_still_is_no_result() {
        let args = Line::parse_from(["bench", "--sizes", "60"]).args;
        let mut stuck = series(Who::Skb(Job::Switch), &[1_024], 1_000_000);
        if let Ok(round) = &mut stuck.rounds[0] {
            round.latency = Some(Run { received: 0, ..run(0, 1000) });
        }
        let ground = Ground { name: "linux", reference: Who::Bridge, both_ways: false, series: vec![stuck] };
        let measured = Measured { grounds: vec![ground], ..Measured::default() };
        let report = report(&args, &measured, &TscClock::new());
        assert_eq!(report.validity.reasons, ["switch, af_xdp skb: 100.0 % of the frames were lost at the rate for latency"]);
        assert!(reported().validity.is_valid());
    }

    #[test]
    fn spreads_are_of_what_there_is() {
        assert_eq!(Spread::of([]), None);
        assert_eq!(Spread::of([f64::NAN]), None);
        assert_eq!(Spread::of([3.0, 1.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
    }
}
