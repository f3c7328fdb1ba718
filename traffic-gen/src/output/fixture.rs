//! A report with made-up numbers that has every kind of table and plot: what the tests render and the example shows. The numbers
//! were measured nowhere.

use hdrhistogram::Histogram;
use port::Nanos;

use crate::measure::{PacingMeter, empty_histogram};
use crate::output::plots::{
    BoxRow, Boxes, Curve, LatencyStrip, LatencyTick, LossCurve, PortBar, SizeBar, Spacing, Strip, Throughput, Unit,
};
use crate::output::{
    Cell, Column, Distribution, Figure, Headline, Interval, Item, Machine, Mood, Plot, Rate, Report, Section, Setting, Table, Validity,
    Warning, latency_table,
};

const SIZES: [u64; 7] = [64, 128, 256, 512, 1024, 1280, 1518];
const LINE_BPS: u64 = 10_000_000_000;

/// Every table and plot there is.
pub fn report() -> Report {
    let mut chance = Chance(7);
    let loads = [("no load", 1_900), ("10 % PDR", 2_400), ("50 % PDR", 3_300), ("90 % PDR", 7_000)];
    let mut distributions: Vec<Distribution> =
        loads.iter().map(|(name, typical)| Distribution::new(format!("{name}, →"), latencies(&mut chance, 60_000, *typical))).collect();
    distributions[0].intervals =
        (0..3).map(|i| Interval { start_s: f64::from(i), length_s: 1.0, histogram: latencies(&mut chance, 1_000, 1_900) }).collect();
    Report {
        name: "fixture".to_owned(),
        title: "Throughput of a made-up switch".to_owned(),
        standard: "RFC 2544, section 26.1".to_owned(),
        command: "traffic-gen rfc2544 throughput --port memory:0 --port memory:1 --seed 42".to_owned(),
        started: "2026-01-02T03:04:05Z".to_owned(),
        started_unix_s: 1_767_323_045.25,
        seed: Some(42),
        duration_s: 60.0,
        validity: Validity::invalid("the generator missed 12.4 µs of wire on port 3"),
        headlines: vec![
            Headline::new("7.300 Mpps", "throughput, 64 B", Mood::Plain),
            Headline::new("0 % lost", "0 of 438,000,000 frames", Mood::Good),
        ],
        warnings: vec![
            Warning::SlotsMissed { missed: 185, missed_ns: 12_400 },
            Warning::NotTheStandard {
                standard: "RFC 2544, section 24, asks for trials of 60 s".to_owned(),
                done: "trials of 2 s".to_owned(),
            },
        ],
        sections: vec![
            throughput(),
            loss(),
            latency(&distributions),
            over_time(&mut chance),
            generator(&mut chance),
            runs(&mut chance),
            ports(16),
        ],
        settings: vec![Setting::new("trial, s", 60), Setting::new("sizes, B", "64, 128, 256, 512, 1024, 1280, 1518")],
        machine: Machine {
            cpu: "Example CPU @ 2.60GHz".to_owned(),
            cores: 2,
            tsc_hz: 2_614_000_000,
            kernel: "6.1.0".to_owned(),
            version: "0.1.0".to_owned(),
            ..Machine::default()
        },
        distributions,
        result: serde_json::json!({ "throughput": [{ "size": 64, "pps": 7_300_000.0 }] }),
    }
}

fn throughput() -> Section {
    let bars: Vec<SizeBar> = SIZES
        .iter()
        .map(|&size| {
            let line = Rate::line(LINE_BPS, size as f64);
            let rate = |share: f64| Some(Rate::of((line.pps * share).min(7.3e6 * share), size as f64));
            SizeBar { size: size.to_string(), measured: rate(0.97), line: Some(line), ndr: rate(0.97), pdr: rate(0.985) }
        })
        .collect();
    let heads = ["frame size, B", "throughput Mpps", "Gb/s L1", "% line"];
    let mut table = Table::new("Throughput", heads.map(Column::number).to_vec());
    for (size, bar) in SIZES.iter().zip(&bars) {
        let rate = bar.measured.unwrap_or_default();
        let share = rate.share_of(LINE_BPS).map(|share| share * 100.0);
        table.push(vec![Cell::Count(*size), Cell::Number(rate.mpps(), 3), Cell::Number(rate.bps_l1 / 1e9, 3), Cell::number(share, 1)]);
    }
    let figure = |unit: Unit| {
        let plot = Plot::Throughput(Throughput { unit, what: "throughput, zero loss".to_owned(), bars: bars.clone() });
        Figure::item(format!("Throughput by frame size, {}", unit.name()), plot, "Nothing was measured.")
    };
    Section::new("Throughput", vec![figure(Unit::Mpps), figure(Unit::GbpsL1), figure(Unit::GbpsL2), Item::Table(table)])
}

fn loss() -> Section {
    let curve = |size: u64, limit: f64| LossCurve {
        name: format!("{size} B"),
        points: (1..=10).map(|step| f64::from(step) / 10.0).map(|load| (load, (1.0 - limit / load).max(0.0))).collect(),
    };
    let curves = vec![curve(64, 0.49), curve(128, 0.86), curve(256, 1.0)];
    Section::new("Frame loss rate", vec![Figure::item("Loss by load", Plot::LossByLoad(curves), "")])
}

fn latency(distributions: &[Distribution]) -> Section {
    let curves = distributions.iter().map(|d| Curve { name: d.name.clone(), histogram: d.histogram.clone() }).collect();
    let rows = distributions.iter().map(|d| (d.name.as_str(), &d.histogram));
    Section::new(
        "Latency",
        vec![
            Figure::item("Latency by percentile", Plot::Percentiles(curves), ""),
            Item::Table(latency_table("Latency in µs", rows)),
            Item::Note("From the planned departure to the arrival of the last bit.".to_owned()),
        ],
    )
}

fn over_time(chance: &mut Chance) -> Section {
    let directions = ["blade→uplink", "uplink→blade"].map(|name| {
        let ticks = (1..=60).map(|second| {
            let p50_ns = 2_000 + chance.below(400);
            let max_ns = if second == 31 { 1_400_000_000 } else { 9_000 + chance.below(40_000) };
            (second as f64, LatencyTick { p50_ns, p99_ns: p50_ns * 2 + chance.below(900), max_ns })
        });
        (name.to_owned(), ticks.collect())
    });
    let mut items: Vec<Item> = LatencyStrip::all(directions, 60.0)
        .into_iter()
        .map(|strip| {
            Figure::item(format!("Latency {}: p50 thick, p99 dashed, maximum shaded", strip.name), Plot::LatencyOverTime(strip), "")
        })
        .collect();
    let lost = (1..=60).map(|second| (f64::from(second), if second == 31 { 12_000.0 } else { 0.0 })).collect();
    items.push(Figure::item("Frames lost", Plot::OverTime(Strip { unit: "frames".to_owned(), loss: true, points: lost }), ""));
    Section::new("Over time", items)
}

fn generator(chance: &mut Chance) -> Section {
    let mut meter = PacingMeter::default();
    for frame in 0..100_000_u64 {
        let late = chance.below(60) + if chance.below(50) == 0 { chance.below(300) } else { 0 };
        meter.departed(Nanos(frame * 672), Nanos(frame * 672 + late + if frame % 40_000 == 9 { 20_000 } else { 0 }));
    }
    let spacing = Spacing::of(&meter.finish());
    Section::new("Generator", vec![Figure::item("Time between departures, actual less planned", Plot::Spacing(spacing), "")])
}

fn runs(chance: &mut Chance) -> Section {
    let rows = SIZES.iter().take(4).map(|size| BoxRow {
        name: format!("{size} B"),
        values: (0..11).map(|_| 7.28 + *size as f64 / 4_000.0 + chance.below(1_000) as f64 / 40_000.0).collect(),
    });
    let mut boxes = Boxes { unit: "throughput, Mpps".to_owned(), rows: rows.collect() };
    boxes.rows[1].values.push(7.2);
    Section::new("Repeated runs", vec![Figure::item("Throughput over 11 runs", Plot::Boxes(boxes), "")])
}

/// So many blades and their uplink.
pub fn ports(blades: u64) -> Section {
    let bars = (1..=blades).map(|slot| PortBar {
        name: format!("blade{slot}"),
        speed_bps: 1_000_000_000,
        offered_bps: 0.97e9,
        rx_bps: 0.96e9,
        tx_bps: 0.9e9,
        lost: slot % 3 * 1_000,
        due: 1_400_000,
    });
    let uplink = PortBar { name: "uplink".to_owned(), speed_bps: LINE_BPS, rx_bps: 8e9, tx_bps: 9.9e9, ..PortBar::default() };
    Section::new("Ports", vec![Figure::item("Load and loss by port", Plot::Ports(bars.chain([uplink]).collect()), "")])
}

/// A body around `typical_ns`, a tail that gets ten times rarer with each doubling, and a few stalls.
pub fn latencies(chance: &mut Chance, samples: u64, typical_ns: u64) -> Histogram<u64> {
    let mut histogram = empty_histogram();
    for i in 0..samples {
        let mut ns = typical_ns / 2 + chance.below(typical_ns);
        while chance.below(10) == 0 {
            ns = ns * 2 + chance.below(500);
        }
        if i % 19_000 == 18_999 {
            ns = 400_000 + chance.below(3_200_000);
        }
        histogram.saturating_record(ns);
    }
    histogram
}

/// A linear congruential generator (Knuth, MMIX): the same numbers everywhere.
pub struct Chance(pub u64);

impl Chance {
    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit.max(1)
    }
}
