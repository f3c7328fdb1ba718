//! The report: who kept the plan how well, by place and load, for people and programs.

use port::clock::TscClock;
use serde::Serialize;
use traffic_gen::measure::Pacing;
use traffic_gen::measure::pacing::SPACINGS_NS;
use traffic_gen::output::numbers::{count, fixed, micros};
use traffic_gen::output::plots::Spacing;
use traffic_gen::output::{Cell, Column, Figure, Headline, Item, Mood, Plot, Report, Section, Setting, Table, Validity, Warning};

use super::course::Load;
use super::judge::Run;
use super::{Args, Measured, Sender, Series};
use crate::machine;

/// How far to each side the histograms are drawn: the same for all, so that they can be compared.
const REACH_NS: i64 = 12 * 64;
/// Below this share of the plan's rate a sender did not keep it.
const RATE_MIN: f64 = 0.999;
/// A receiver that did not look for this long says more of itself than of the sender.
const LOOK_MAX_NS: u64 = 1_000;
/// A sender that stood still for this long was off its core.
const STALL_NS: u64 = 100_000;

/// What all rounds of a series came to: `result` of the JSON file is a list of these.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// Rate of the line in bits a second.
    pub line_bps: u64,
    /// Bytes of a frame with FCS.
    pub size: usize,
    /// Who sent.
    pub sender: &'static str,
    /// `memory` or `veth`.
    pub place: &'static str,
    /// Time between frames by the plan, in ns.
    pub period_ns: f64,
    /// Rounds that were measured.
    pub rounds: usize,
    /// Frames of the plan in these.
    pub planned: u64,
    /// Of these, not seen.
    pub lost: u64,
    /// Frames overtaken, and second copies.
    pub out_of_order: u64,
    /// The rate achieved as a share of the plan's, 0 to 1: the worst round.
    pub rate_of_plan: Option<f64>,
    /// Share of frames within 64, 128 and 256 ns of the planned time after the frame before, 0 to 1.
    pub within: Option<[f64; 3]>,
    /// The first of these in the worst and the best round.
    pub within_64_rounds: Option<[f64; 2]>,
    /// Share of frames that followed the one before in less than half of the planned time, 0 to 1.
    pub micro_bursts: Option<f64>,
    /// Behind the plan in ns: median, 99.9 %, worst.
    pub late_ns: Option<[u64; 3]>,
    /// Time since the frame before less what was planned, in ns: 0.1 %, 1 %, 50 %, 99 %, 99.9 %.
    pub spacing_ns: Option<[i64; 5]>,
    /// Rounds that failed, and why.
    pub failed: Vec<String>,
}

impl Figures {
    /// Of all rounds of a series, and their departures together.
    fn of(series: &Series) -> (Figures, Pacing) {
        let done: Vec<&Run> = series.rounds.iter().filter_map(|round| round.as_ref().ok()).collect();
        let mut pacing = Pacing::default();
        done.iter().for_each(|run| pacing.merge(&run.pacing));
        let sum = |of: fn(&Run) -> u64| done.iter().map(|run| of(run)).sum();
        let shares = done.iter().filter_map(|run| run.pacing.spacing.share_within(SPACINGS_NS[0]));
        let extremes = shares.fold(None, |extremes: Option<[f64; 2]>, share| match extremes {
            None => Some([share; 2]),
            Some([low, high]) => Some([low.min(share), high.max(share)]),
        });
        let late = |quantile| pacing.lateness.value_at_quantile(quantile);
        let spacing = |quantile| pacing.spacing.quantile(quantile);
        let figures = Figures {
            line_bps: series.load.line_bps,
            size: series.load.size,
            sender: series.sender.name(),
            place: if series.sender == Sender::Memory { "memory" } else { "veth" },
            period_ns: series.period_ns,
            rounds: done.len(),
            planned: sum(|run| run.planned),
            lost: sum(Run::lost),
            out_of_order: sum(|run| run.out_of_order),
            rate_of_plan: done.iter().filter_map(|run| run.rate_of_plan()).reduce(f64::min),
            within: pacing.shares_within(),
            within_64_rounds: extremes,
            micro_bursts: pacing.micro_burst_share(),
            late_ns: (!pacing.lateness.is_empty()).then(|| [late(0.5), late(0.999), late(1.0)]),
            spacing_ns: [0.001, 0.01, 0.5, 0.99, 0.999]
                .map(spacing)
                .into_iter()
                .collect::<Option<Vec<i64>>>()
                .and_then(|all| all.try_into().ok()),
            failed: series.rounds.iter().filter_map(|round| round.as_ref().err().cloned()).collect(),
        };
        (figures, pacing)
    }

    fn load(&self) -> Load {
        Load { line_bps: self.line_bps, size: self.size }
    }
}

/// The report with files.
pub(super) fn report(args: &Args, measured: &Measured, clock: &TscClock) -> Report {
    let all: Vec<(&Series, Figures, Pacing)> = measured
        .series
        .iter()
        .map(|series| {
            let (figures, pacing) = Figures::of(series);
            (series, figures, pacing)
        })
        .collect();
    let mut report = Report::new("pacing", "How exactly frames leave", "");
    report.machine.tsc_hz = clock.ticks_per_second() as u64;
    if let Some((sender, receiver)) = measured.cores {
        report.machine.line_transfer_ns = machine::line_transfer_ns(clock, sender, receiver);
    }
    let places = [
        ("memory", "Memory ports", "Between memory ports, stamped by a second core"),
        ("veth", "Veth pair", "On a veth pair, stamped by the kernel for all senders alike"),
    ];
    for (place, name, title) in places {
        let here: Vec<&(&Series, Figures, Pacing)> = all.iter().filter(|(_, figures, _)| figures.place == place).collect();
        if !here.is_empty() {
            report.sections.push(section(title, name, &here));
        }
    }
    report.sections.push(Section::new(
        "How to read this",
        vec![Item::Note(
            "±: share of frames whose distance from the frame before is within so much of the plan, and of ±64 ns the worst and the best round. \
             Histograms reach to ±768 ns; what lies beyond is named there. Bursts: frames that followed in less than half of the planned time. Late: behind the plan, which is laid against the stamps so that \
             no frame is early and one is on time. tcpreplay up to 4.4 reads the times of captures to a µs; `--pps` does not depend on them."
                .to_owned(),
        )],
    ));
    report.headlines = headlines(&all);
    report.validity = validity(&all);
    report.warnings = warnings(measured, &all, &report.machine);
    report.settings = settings(args, measured);
    report.result = serde_json::to_value(all.iter().map(|(_, figures, _)| figures).collect::<Vec<_>>()).unwrap_or_default();
    report
}

fn section(title: &str, name: &str, series: &[&(&Series, Figures, Pacing)]) -> Section {
    let columns = vec![
        Column::text("line, frame"),
        Column::text("sender"),
        Column::number("frames").when_wide(),
        Column::number("lost"),
        Column::number("rate % of plan"),
        Column::number("±64 ns %"),
        Column::text("worst to best").when_wide(),
        Column::number("±128 ns %"),
        Column::number("±256 ns %"),
        Column::number("bursts %"),
        Column::number("late p50 µs"),
        Column::number("p99.9 µs"),
        Column::number("max µs").when_wide(),
    ];
    let mut table = Table::new(name, columns);
    for (_, figures, _) in series {
        let share = |share: Option<f64>| share.map_or(Cell::Unknown, Cell::Share);
        let within = |place: usize| share(figures.within.map(|within| within[place]));
        let late = |place: usize| Cell::micros(figures.late_ns.map(|late| late[place]));
        let rounds = figures
            .within_64_rounds
            .map_or("-".to_owned(), |[worst, best]| format!("{} to {}", fixed(worst * 100.0, 1), fixed(best * 100.0, 1)));
        table.push(vec![
            Cell::text(figures.load().to_string()),
            Cell::text(figures.sender),
            Cell::Count(figures.planned),
            Cell::Count(figures.lost),
            share(figures.rate_of_plan),
            within(0),
            Cell::text(rounds),
            within(1),
            within(2),
            share(figures.micro_bursts),
            late(0),
            late(1),
            late(2),
        ]);
    }
    let mut items = vec![Item::Table(table)];
    for (series, figures, pacing) in series {
        let name = format!("{}, {}: one frame every {} ns", series.sender.name(), series.load, fixed(series.period_ns, 1));
        items.push(Figure::item(
            name,
            Plot::Spacing(Spacing { reach_ns: Some(REACH_NS), ..Spacing::of(pacing) }),
            "No two frames were seen.",
        ));
        for why in &figures.failed {
            items.push(Item::Note(format!("{}, {}: a round failed: {why}", series.sender.name(), series.load)));
        }
    }
    Section::new(title, items)
}

/// For the loads that say most: ours, and the best of tcpreplay.
fn headlines(all: &[(&Series, Figures, Pacing)]) -> Vec<Headline> {
    let within = |figures: &Figures| figures.within.map(|within| within[0]);
    let share = |share: f64| format!("{} %", fixed(share * 100.0, 1));
    let mut headlines = Vec::new();
    let mut loads: Vec<(&str, Load)> = Vec::new();
    for (series, figures, _) in all {
        if !loads.contains(&(figures.place, series.load)) {
            loads.push((figures.place, series.load));
        }
    }
    for (place, load) in loads {
        let here = || all.iter().filter(|(series, figures, _)| figures.place == place && series.load == load);
        let best = |ours: bool| {
            here().filter(|(series, _, _)| series.sender.is_ours() == ours).filter_map(|(_, figures, _)| within(figures)).reduce(f64::max)
        };
        let Some(ours) = best(true) else { continue };
        let (what, mood) = match best(false) {
            None => (format!("within ±64 ns, {place}, {load}"), Mood::Plain),
            Some(other) => {
                let mood = if ours >= other { Mood::Good } else { Mood::Bad };
                (format!("within ±64 ns, {place}, {load}; tcpreplay {}", share(other)), mood)
            }
        };
        headlines.push(Headline::new(share(ours), what, mood));
    }
    headlines
}

fn validity(all: &[(&Series, Figures, Pacing)]) -> Validity {
    let mut validity = Validity::valid();
    for (series, figures, _) in all {
        if let Some(why) = figures.failed.first().filter(|_| series.sender.is_ours()) {
            validity.reasons.push(format!("{}, {}: {why}", series.sender.name(), series.load));
        }
    }
    if all.is_empty() {
        validity.reasons.push("nothing was measured".to_owned());
    }
    validity
}

fn warnings(measured: &Measured, all: &[(&Series, Figures, Pacing)], here: &traffic_gen::output::Machine) -> Vec<Warning> {
    let other = |text: String| Warning::Other { text };
    let mut warnings: Vec<Warning> = measured.left_out.iter().cloned().map(other).collect();
    match measured.cores {
        None => warnings.push(Warning::CoresShared { needed: 2, available: 1 }),
        Some(_) if here.isolated.is_empty() => warnings.push(other(
            "no core is isolated, so the kernel and other programs stop sender and receiver at will, which shows in the last per mille: \
             boot with isolcpus and nohz_full for two cores, or take the worst rounds for the machine's"
                .to_owned(),
        )),
        Some(_) => {}
    }
    if let Some(governor) = here.governor.clone().filter(|governor| governor != "performance") {
        warnings.push(Warning::GovernorNotPerformance { governor });
    }
    if measured.look_max_ns > LOOK_MAX_NS {
        let gap_max_ns = measured.look_max_ns;
        let text = format!(
            "the receiver on memory ports did not look for up to {} µs, and what came meanwhile was stamped late: such times are the receiver's",
            micros(gap_max_ns as f64)
        );
        warnings.push(other(text));
    }
    let slow = all.iter().filter(|(_, figures, _)| figures.rate_of_plan.is_some_and(|share| share < RATE_MIN)).count();
    if slow > 0 {
        warnings.push(other(format!(
            "{slow} of {} rows had a round below {} % of the planned rate (column `rate`): the spacing there is that of a sender that could \
             not go faster, or was kept from its core",
            all.len(),
            fixed(RATE_MIN * 100.0, 1),
        )));
    }
    let ours = all.iter().filter(|(series, _, _)| series.sender == Sender::Memory);
    let worst = ours.filter_map(|(series, figures, _)| Some((figures.late_ns?[2], series.load))).max_by_key(|(worst, _)| *worst);
    if let Some((gap_max_ns, load)) = worst.filter(|(worst, _)| *worst > STALL_NS) {
        warnings.push(Warning::Preempted { thread: format!("the sender on memory ports ({load})"), gap_max_ns });
    }
    for (series, figures, _) in all.iter().filter(|(_, figures, _)| figures.lost > 0) {
        let (name, load) = (series.sender.name(), series.load);
        warnings.push(other(format!("{name}, {load}: {} of {} frames were not seen", count(figures.lost), count(figures.planned))));
    }
    warnings
}

fn settings(args: &Args, measured: &Measured) -> Vec<Setting> {
    let cores = measured.cores.map_or("one for both".to_owned(), |(sender, receiver)| format!("sender {sender}, receiver {receiver}"));
    vec![
        Setting::new("load", format!("{} % of the line", args.percent)),
        Setting::new("frames in a run", count(args.frames.into())),
        Setting::new("rounds", args.rounds),
        Setting::new("cores", cores),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::judge::judge;
    use super::*;

    fn series(sender: Sender, delays: &[u64]) -> Series {
        let load = Load { line_bps: 1_000_000_000, size: 64 };
        let plan: Vec<u64> = (0..100).map(|n| n * 672).collect();
        let round = |&every: &u64| {
            let seen: Vec<(u32, u64)> = (0..100).map(|n| (n, u64::from(n) * 672 + u64::from(n % 2) * every)).collect();
            Ok(judge(&plan, &seen))
        };
        Series { load, period_ns: 672.0, sender, rounds: delays.iter().map(round).collect() }
    }

    fn args() -> Args {
        use clap::Parser;
        #[derive(Parser)]
        struct Cli {
            #[command(flatten)]
            args: Args,
        }
        Cli::parse_from(["pacing", "--loads", "1G:64", "--rounds", "2"]).args
    }

    #[test]
    fn rounds_are_summed_and_told_apart() {
        let (figures, pacing) = Figures::of(&series(Sender::AfPacket, &[0, 100]));
        assert_eq!((figures.planned, figures.lost, figures.rounds, pacing.departed), (200, 0, 2, 200));
        assert_eq!(figures.within, Some([0.5, 1.0, 1.0]));
        assert_eq!(figures.within_64_rounds, Some([0.0, 1.0]));
        assert_eq!(figures.spacing_ns, Some([-100, -100, 0, 100, 100]));
    }

    #[test]
    fn what_went_wrong_is_said() {
        let mut failed = series(Sender::AfXdp, &[0]);
        failed.rounds.push(Err("no such thing".to_owned()));
        let measured = Measured {
            series: vec![series(Sender::AfPacket, &[0]), failed, series(Sender::TcpreplayPps, &[300])],
            left_out: vec!["no tea".to_owned()],
            ..Measured::default()
        };
        let report = report(&args(), &measured, &TscClock::new());
        assert_eq!(report.validity.to_string(), "INVALID: replay, af_xdp, 1G, 64 B: no such thing");
        assert!(matches!(&report.warnings[..], [Warning::Other { text }, Warning::CoresShared { .. }, ..] if text == "no tea"));
        assert_eq!(report.headlines.len(), 1);
        assert_eq!((report.headlines[0].value.as_str(), report.headlines[0].mood), ("100.0 %", Mood::Good));
        assert!(report.headlines[0].what.ends_with("tcpreplay 0.0 %"), "{}", report.headlines[0].what);
        assert_eq!(report.result.as_array().unwrap().len(), 3);
        assert_eq!(report.result[2]["within"], serde_json::json!([0.0, 0.0, 0.0]));
        assert_eq!(report.result[1]["failed"], serde_json::json!(["no such thing"]));
        let mut text = Vec::new();
        traffic_gen::output::print_report(&report, &mut text, 240).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains("replay, af_packet") && text.contains("±64 ns %"), "{text}");
    }
}
