//! The report on a terminal, readable from 80 columns up.
//!
//! Units stand in the headings, numbers are right-aligned with thousands separators, and no colour is used: the text is
//! the same in a log file.

use std::io::{self, Write};

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, CellAlignment, ContentArrangement, LineStyle, Table, TableStyle};

use super::model::{ChassisReport, PERCENTILES, PortRow, Rate, Summary, Totals};
use super::numbers::{count, fixed, gbps, micros, micros_or_dash, percent, speed};

/// Columns below which a table cannot be read.
const WIDTH_MIN: u16 = 80;

/// Columns from which the share of loss and several drop reasons in a line have room.
const WIDTH_WIDE: u16 = 100;

/// The column that gives way on a narrow terminal.
const LOST_PERCENT: usize = 6;

/// A rule under the headings, nothing else: numbers in columns need no boxes.
const STYLE: TableStyle = NOTHING.header_separator(LineStyle::none().fill('─').junction('─'));

/// Prints the tables of the report: ports, throughput, latency, ledger, generator, warnings.
///
/// `width` is that of the terminal in columns; less than 80 is taken as 80.
///
/// # Errors
///
/// Those of `out`.
pub fn print_tables(report: &ChassisReport, out: &mut dyn Write, width: u16) -> io::Result<()> {
    let width = width.max(WIDTH_MIN);
    let totals = report.totals();

    writeln!(out, "{} ({} s, seed {})\n", report.title, fixed(report.duration_s, 1), report.seed)?;

    writeln!(out, "Frames, sent into the switch and received from it")?;
    writeln!(out, "{}\n", frames_table(report, &totals, width).trim_fmt())?;

    writeln!(out, "Rates, RX into the switch and TX out of it; L1 with preamble and gap, L2 without")?;
    writeln!(out, "{}\n", throughput_table(report, &totals, width).trim_fmt())?;

    wrapped(out, "", &latency_heading(report), width)?;
    writeln!(out, "{}\n", latency_table(report, width).trim_fmt())?;
    if report.directions.iter().any(|d| (1..PERCENTILES[4].samples_min).contains(&d.samples())) {
        writeln!(out, "- stands where the samples are too few to tell.\n")?;
    }

    print_ledger(report, out, width)?;
    print_generator(report, out, width)?;
    for warning in &report.warnings {
        wrapped(out, "warning: ", &warning.to_string(), width)?;
    }
    Ok(())
}

fn frames_table(report: &ChassisReport, totals: &Totals, width: u16) -> Table {
    let narrow = width < WIDTH_WIDE;
    let mut heads = vec!["port", "speed", "offered", "sent", "received", "lost", "lost %", "drops by reason"];
    if narrow {
        heads.remove(LOST_PERCENT);
    }
    let mut table = new_table(width, &heads);
    for port in &report.ports {
        table.add_row(frames_row(port, narrow));
    }
    let total = PortRow {
        name: "total".to_owned(),
        offered: totals.offered,
        sent: totals.sent,
        received: totals.received,
        lost: totals.lost,
        drops: totals.drops.clone(),
        ..PortRow::default()
    };
    table.add_row(frames_row(&total, narrow));
    align(&mut table, 1..heads.len() - 1);
    table
}

fn frames_row(port: &PortRow, narrow: bool) -> Vec<String> {
    let mut row = vec![
        port.name.clone(),
        if port.speed_bps == 0 { String::new() } else { speed(port.speed_bps) },
        count(port.offered),
        count(port.sent),
        count(port.received),
        count(port.lost),
        percent(port.loss_ratio()),
        port.drops_text(if narrow { "\n" } else { ", " }),
    ];
    if narrow {
        row.remove(LOST_PERCENT);
    }
    row
}

fn throughput_table(report: &ChassisReport, totals: &Totals, width: u16) -> Table {
    let heads = ["port", "RX Mpps", "RX Gb/s L1", "RX Gb/s L2", "RX % line", "TX Mpps", "TX Gb/s L1", "TX Gb/s L2", "TX % line"];
    let mut table = new_table(width, &heads);
    for port in &report.ports {
        table.add_row(throughput_row(&port.name, &port.rx, &port.tx, port.speed_bps));
    }
    let speed_sum = report.ports.iter().fold(0_u64, |sum, port| sum.saturating_add(port.speed_bps));
    table.add_row(throughput_row("total", &totals.rx, &totals.tx, speed_sum));
    align(&mut table, 1..9);
    table
}

fn throughput_row(name: &str, rx: &Rate, tx: &Rate, speed_bps: u64) -> Vec<String> {
    let mut row = vec![name.to_owned()];
    for rate in [rx, tx] {
        let share = rate.share_of(speed_bps).map_or_else(|| "-".to_owned(), |share| fixed(share * 100.0, 1));
        row.extend([fixed(rate.mpps(), 3), gbps(rate.bps_l1), gbps(rate.bps_l2), share]);
    }
    row
}

fn latency_heading(report: &ChassisReport) -> String {
    let mut text = "Latency in µs".to_owned();
    if !report.latency_method.is_empty() {
        text.push_str(&format!(", {}", report.latency_method));
    }
    if let Some(one_in) = report.directions.iter().map(|d| d.sampling).max().filter(|one_in| *one_in > 1) {
        text.push_str(&format!(", one frame in {} sampled", count(one_in)));
    }
    text
}

fn latency_table(report: &ChassisReport, width: u16) -> Table {
    let mut heads = vec!["direction", "samples", "min"];
    heads.extend(PERCENTILES.iter().map(|p| p.name));
    heads.push("max");
    let columns = heads.len();
    let mut table = new_table(width, &heads);
    for direction in &report.directions {
        table.add_row(latency_row(&direction.name, &direction.summary()));
    }
    if report.directions.len() > 1 {
        table.add_row(latency_row("all", &Summary::of(&report.merged_histogram())));
    }
    align(&mut table, 1..columns);
    table
}

fn latency_row(name: &str, summary: &Summary) -> Vec<String> {
    let mut row = vec![name.to_owned(), count(summary.samples), micros_or_dash(summary.min_ns)];
    row.extend(summary.percentiles_ns.map(micros_or_dash));
    row.push(micros_or_dash(summary.max_ns));
    row
}

/// On one line where it fits, else broken before the `=`.
fn print_ledger(report: &ChassisReport, out: &mut dyn Write, width: u16) -> io::Result<()> {
    let ledger = &report.ledger;
    let line = format!("ledger: {ledger}");
    if line.chars().count() <= usize::from(width) {
        return writeln!(out, "{line}");
    }
    writeln!(out, "ledger: {}  {}", ledger.verdict(), ledger.left())?;
    wrapped(out, "        = ", &ledger.right(), width)
}

fn print_generator(report: &ChassisReport, out: &mut dyn Write, width: u16) -> io::Result<()> {
    let generator = &report.generator;
    let verdict = if generator.valid { "kept its rate" } else { "MISSED ITS RATE" };
    let error = generator.rate_error_ppm().map_or_else(|| "-".to_owned(), |ppm| fixed(ppm, 0));
    let [p50, p99, max] = [generator.lateness_p50_ns, generator.lateness_p99_ns, generator.lateness_max_ns].map(|ns| micros(ns as f64));
    let text = format!(
        "{verdict}  asked {} Mpps, sent {} Mpps, error {error} ppm; late by p50 {p50}, p99 {p99}, max {max} µs",
        fixed(generator.asked_pps / 1e6, 3),
        fixed(generator.achieved_pps / 1e6, 3),
    );
    wrapped(out, "generator: ", &text, width)?;
    if let Some(ns) = report.line_transfer_ns {
        writeln!(out, "cores: a cache line takes {} ns between switch and generator", fixed(ns, 0))?;
    }
    Ok(())
}

fn new_table(width: u16, heads: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(STYLE).set_content_arrangement(ContentArrangement::Dynamic).set_width(width).set_header(heads.iter().map(Cell::new));
    for column in table.column_iter_mut() {
        column.set_padding((0, 1));
    }
    table
}

fn align(table: &mut Table, numbers: std::ops::Range<usize>) {
    for index in numbers {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

/// `head` and `text`, broken between words; the lines after the first are indented by the length of `head`.
fn wrapped(out: &mut dyn Write, head: &str, text: &str, width: u16) -> io::Result<()> {
    let indent = head.chars().count();
    let mut line = head.to_owned();
    for (i, word) in text.split(' ').enumerate() {
        if i > 0 && line.chars().count() + 1 + word.chars().count() > usize::from(width) {
            writeln!(out, "{line}")?;
            line = " ".repeat(indent);
        } else if i > 0 {
            line.push(' ');
        }
        line.push_str(word);
    }
    writeln!(out, "{line}")
}
