//! The run as a report of `traffic_gen::output`: which tables and plots, in which order, and what their notes say.

use traffic_gen::output::numbers::{count, fixed, micros, micros_or_dash, percent, speed};
use traffic_gen::output::plots::{Curve, LatencyStrip, PortBar, Strip};
use traffic_gen::output::{Cell, Column, Figure, Headline, Item, Machine, Mood, Plot, Rate, Report, Section, Summary, Table, Validity};

use super::model::{ChassisReport, PortRow, Totals};

/// The report for the page.
pub(super) fn report(chassis: &ChassisReport) -> Report {
    let totals = chassis.totals();
    Report {
        name: "chassis".to_owned(),
        title: if chassis.title.is_empty() { "Chassis".to_owned() } else { chassis.title.clone() },
        command: chassis.command.clone(),
        started: chassis.started.clone(),
        seed: Some(chassis.seed),
        duration_s: chassis.duration_s,
        validity: validity(chassis),
        headlines: headlines(chassis, &totals),
        warnings: chassis.warnings.clone(),
        sections: [latency(chassis), ports(chassis, &totals), timeline(chassis), ledger(chassis), generator(chassis)]
            .into_iter()
            .chain(chassis.bus_sections.iter().cloned())
            .collect(),
        settings: chassis.config.clone(),
        machine: Machine { line_transfer_ns: chassis.line_transfer_ns, ..chassis.machine.clone() },
        distributions: chassis.distributions(),
        ..Report::default()
    }
}

fn validity(chassis: &ChassisReport) -> Validity {
    let mut validity = Validity::valid();
    if !chassis.generator.valid {
        validity.reasons.push("the generator missed its rate".to_owned());
    }
    if !chassis.ledger.is_balanced() {
        validity.reasons.push("the switch's ledger is not balanced".to_owned());
    }
    validity
}

fn headlines(chassis: &ChassisReport, totals: &Totals) -> Vec<Headline> {
    let all = Summary::of(&chassis.merged_histogram());
    let speed_sum = chassis.ports.iter().fold(0_u64, |sum, port| sum.saturating_add(port.speed_bps));
    let line = totals.tx.share_of(speed_sum).map_or_else(String::new, |share| format!(", {} % of line", fixed(share * 100.0, 1)));
    let quality = &chassis.generator;
    let mood = |good| if good { Mood::Good } else { Mood::Bad };
    vec![
        Headline::new(format!("{} Mpps", fixed(totals.tx.mpps(), 3)), "throughput out of the switch", Mood::Plain),
        Headline::new(
            format!("{} Gb/s", fixed(totals.tx.bps_l1 / 1e9, 2)),
            format!("L1 (L2 {}){line}", fixed(totals.tx.bps_l2 / 1e9, 2)),
            Mood::Plain,
        ),
        Headline::new(
            format!("{} % lost", percent(totals.loss_ratio)),
            format!("{} of {} frames", count(totals.lost), count(totals.received.saturating_add(totals.lost))),
            if totals.sent == 0 && totals.lost == 0 { Mood::Plain } else { mood(totals.lost == 0) },
        ),
        Headline::new(
            all.percentile_ns("p99").map_or_else(|| "no latency".to_owned(), |ns| format!("{} µs", micros(ns as f64))),
            format!("p99 latency, all directions (p50 {}, max {})", micros_or_dash(all.percentile_ns("p50")), micros_or_dash(all.max_ns)),
            Mood::Plain,
        ),
        Headline::new(if chassis.ledger.is_balanced() { "balanced" } else { "NOT BALANCED" }, "ledger", mood(chassis.ledger.is_balanced())),
        Headline::new(
            if quality.valid { "on rate" } else { "below rate" },
            format!("generator, {} ppm off", quality.rate_error_ppm().map_or_else(|| "-".to_owned(), |ppm| fixed(ppm, 0))),
            mood(quality.valid),
        ),
    ]
}

fn latency(chassis: &ChassisReport) -> Section {
    if chassis.directions.is_empty() {
        return Section::new("Latency", vec![Item::Note("No latency was measured.".to_owned())]);
    }
    let curves = chassis.directions.iter().map(|d| Curve { name: d.name.clone(), histogram: d.histogram.clone() }).collect();
    let method = if chassis.latency_method.is_empty() { String::new() } else { format!(" Measured {}.", chassis.latency_method) };
    let note = format!("Values in µs.{method} A dash stands where the samples are too few to tell.");
    Section::new(
        "Latency",
        vec![
            Figure::item("Latency by percentile", Plot::Percentiles(curves), "No latency sample was taken."),
            Item::Table(latency_table(chassis)),
            Item::Note(note),
        ],
    )
}

/// Latency by direction in µs.
pub(super) fn latency_table(chassis: &ChassisReport) -> Table {
    let mut columns = vec![Column::text("direction"), Column::text("sampled").on_page()];
    columns.extend(Summary::columns());
    let mut table = Table::new("", columns);
    let mut row = |name: &str, sampled: String, summary: Summary| {
        table.push([Cell::text(name), Cell::Text(sampled)].into_iter().chain(summary.cells()).collect());
    };
    for direction in &chassis.directions {
        let sampled = if direction.sampling <= 1 { "every frame".to_owned() } else { format!("1 in {}", count(direction.sampling)) };
        row(&direction.name, sampled, direction.summary());
    }
    if chassis.directions.len() > 1 {
        row("all", String::new(), Summary::of(&chassis.merged_histogram()));
        table.total = true;
    }
    table
}

fn ports(chassis: &ChassisReport, totals: &Totals) -> Section {
    let bars = chassis.ports.iter().map(|port| PortBar {
        name: port.name.clone(),
        speed_bps: port.speed_bps,
        offered_bps: port.offered_rate.bps_l1,
        rx_bps: port.rx.bps_l1,
        tx_bps: port.tx.bps_l1,
        lost: port.lost,
        due: port.received.saturating_add(port.lost),
    });
    let note = "Sent is into the switch, received out of it on the same port; lost are frames that should have come out of the port and did not. \
                L1 counts preamble, delimiter and gap (20 B a frame), L2 the frame with its FCS.";
    Section::new(
        "Ports",
        vec![
            Figure::item("Load and loss by port", Plot::Ports(bars.collect()), "The run had no ports."),
            Item::Table(frames_table(chassis, totals)),
            Item::Table(rates_table(chassis, totals)),
            Item::Note(note.to_owned()),
        ],
    )
}

/// Frames by port, and what became of them.
pub(super) fn frames_table(chassis: &ChassisReport, totals: &Totals) -> Table {
    let numbers = ["offered", "sent", "received", "lost"].map(Column::number);
    let mut columns = vec![Column::text("port"), Column::text("role").on_page(), Column::number("speed")];
    columns.extend(numbers);
    columns.extend([Column::number("lost %").when_wide(), Column::text("drops by reason")]);
    let mut table = Table::new("Frames, sent into the switch and received from it", columns);
    let total = PortRow {
        name: "total".to_owned(),
        offered: totals.offered,
        sent: totals.sent,
        received: totals.received,
        lost: totals.lost,
        drops: totals.drops.clone(),
        ..PortRow::default()
    };
    for port in chassis.ports.iter().chain([&total]) {
        table.push(vec![
            Cell::text(&port.name),
            Cell::text(&port.role),
            if port.speed_bps == 0 { Cell::Empty } else { Cell::Text(speed(port.speed_bps)) },
            Cell::Count(port.offered),
            Cell::Count(port.sent),
            Cell::Count(port.received),
            Cell::Count(port.lost),
            Cell::Share(port.loss_ratio()),
            traffic_gen::output::model::counts_by_name(&port.drops),
        ]);
    }
    table.total = true;
    table
}

/// Rates by port and direction.
pub(super) fn rates_table(chassis: &ChassisReport, totals: &Totals) -> Table {
    let heads = ["RX Mpps", "RX Gb/s L1", "RX Gb/s L2", "RX % line", "TX Mpps", "TX Gb/s L1", "TX Gb/s L2", "TX % line"];
    let mut columns = vec![Column::text("port")];
    columns.extend(heads.map(Column::number));
    let mut table = Table::new("Rates, RX into the switch and TX out of it; L1 with preamble and gap, L2 without", columns);
    let row = |name: &str, rx: &Rate, tx: &Rate, speed_bps: u64| {
        let mut row = vec![Cell::text(name)];
        for rate in [rx, tx] {
            row.extend([rate.mpps(), rate.bps_l1 / 1e9, rate.bps_l2 / 1e9].map(|value| Cell::Number(value, 3)));
            row.push(Cell::number(rate.share_of(speed_bps).map(|share| share * 100.0), 1));
        }
        row
    };
    for port in &chassis.ports {
        table.push(row(&port.name, &port.rx, &port.tx, port.speed_bps));
    }
    let speed_sum = chassis.ports.iter().fold(0_u64, |sum, port| sum.saturating_add(port.speed_bps));
    table.push(row("total", &totals.rx, &totals.tx, speed_sum));
    table.total = true;
    table
}

fn timeline(chassis: &ChassisReport) -> Section {
    let ticks = &chassis.timeline;
    if ticks.is_empty() {
        return Section::default();
    }
    let strip = |unit: &str, loss, value: fn(&super::Tick) -> f64| {
        Plot::OverTime(Strip { unit: unit.to_owned(), loss, points: ticks.iter().map(|tick| (tick.t_s, value(tick))).collect() })
    };
    let mut items = vec![
        Figure::item("Throughput out of the switch, Mpps", strip("Mpps", false, |tick| tick.mpps), ""),
        Figure::item("Throughput out of the switch, Gb/s L1", strip("Gb/s L1", false, |tick| tick.gbps_l1), ""),
    ];
    if ticks.iter().any(|tick| tick.lost > 0) {
        items.push(Figure::item("Frames lost in each interval", strip("lost, frames", true, |tick| tick.lost as f64), ""));
    }
    let directions = chassis.directions.iter().enumerate().map(|(index, direction)| {
        let present = ticks.iter().filter_map(|tick| Some((tick.t_s, (*tick.latency.get(index)?)?)));
        (direction.name.clone(), present.collect())
    });
    let end_s = ticks.iter().map(|tick| tick.t_s).filter(|t_s| t_s.is_finite()).fold(0.0, f64::max);
    for strip in LatencyStrip::all(directions, end_s) {
        let title = format!("Latency {}: p50 thick, p99 dashed, maximum shaded", strip.name);
        items.push(Figure::item(title, Plot::LatencyOverTime(strip), "No latency sample in any interval."));
    }
    Section::new("Over time", items)
}

fn ledger(chassis: &ChassisReport) -> Section {
    let ledger = &chassis.ledger;
    let heads = ["rx", "+ copies", "+ injected", "= tx", "+ dropped", "+ punted", "+ held"];
    let mut table = Table::new("", heads.map(Column::number).to_vec());
    let row = [ledger.rx, ledger.copies, ledger.injected, ledger.tx, ledger.dropped, ledger.punted, ledger.held];
    table.push(row.map(Cell::Count).to_vec());
    let note = format!("Ledger: {}. Every frame that entered the switch, by where it ended.", ledger.verdict());
    Section::new("Ledger", vec![Item::Table(table), Item::Note(note)])
}

fn generator(chassis: &ChassisReport) -> Section {
    let quality = &chassis.generator;
    let heads = ["asked Mpps", "sent Mpps", "rate error ppm", "late p50 µs", "late p99 µs", "late max µs"];
    let mut columns = heads.map(Column::number).to_vec();
    columns.push(Column::text("verdict"));
    let mut table = Table::new("", columns);
    table.push(vec![
        Cell::Number(quality.asked_pps / 1e6, 3),
        Cell::Number(quality.achieved_pps / 1e6, 3),
        Cell::number(quality.rate_error_ppm(), 0),
        Cell::Micros(quality.lateness_p50_ns as f64),
        Cell::Micros(quality.lateness_p99_ns as f64),
        Cell::Micros(quality.lateness_max_ns as f64),
        Cell::text(if quality.valid { "kept its rate" } else { "missed its rate" }),
    ]);
    let mut items = vec![Item::Table(table), Item::Note("Late: actual less planned departure.".to_owned())];
    if let Some(bias) = &quality.bias {
        let text = format!(
            "Bias: {}, looped back past the switch. Every latency contains as much of the generator itself; it is not taken off.",
            bias.text()
        );
        items.push(Item::Note(text));
    }
    Section::new("Generator", items)
}
