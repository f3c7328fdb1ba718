//! The report on a terminal, readable from 80 columns up.

use std::io::{self, Write};

use traffic_gen::output::numbers::{count, fixed, micros};
use traffic_gen::output::terminal::{print_table, print_wrapped};
use traffic_gen::output::{Item, PERCENTILES};

use super::model::ChassisReport;
use super::page;

/// Columns below which a table cannot be read.
const WIDTH_MIN: u16 = 80;

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
    print_table(&page::frames_table(report, &totals), out, width)?;
    print_table(&page::rates_table(report, &totals), out, width)?;
    print_wrapped(out, "", &latency_heading(report), width)?;
    print_table(&page::latency_table(report), out, width)?;
    if report.directions.iter().any(|d| (1..PERCENTILES[4].samples_min).contains(&d.samples())) {
        writeln!(out, "- stands where the samples are too few to tell.\n")?;
    }

    for item in report.bus_sections.iter().flat_map(|section| &section.items) {
        match item {
            Item::Table(table) => print_table(table, out, width)?,
            Item::Note(note) => print_wrapped(out, "", note, width)?,
            Item::Figure(_) => {}
        }
    }
    print_ledger(report, out, width)?;
    print_generator(report, out, width)?;
    for warning in &report.warnings {
        print_wrapped(out, "warning: ", &warning.to_string(), width)?;
    }
    Ok(())
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

/// On one line where it fits, else broken before the `=`.
fn print_ledger(report: &ChassisReport, out: &mut dyn Write, width: u16) -> io::Result<()> {
    let ledger = &report.ledger;
    let line = format!("ledger: {ledger}");
    if line.chars().count() <= usize::from(width) {
        return writeln!(out, "{line}");
    }
    writeln!(out, "ledger: {}  {}", ledger.verdict(), ledger.left())?;
    print_wrapped(out, "        = ", &ledger.right(), width)
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
    print_wrapped(out, "generator: ", &text, width)?;
    if let Some(bias) = &generator.bias {
        print_wrapped(
            out,
            "bias: ",
            &format!("{}, looped back past the switch; part of every latency, not taken off", bias.text()),
            width,
        )?;
    }
    if let Some(ns) = report.line_transfer_ns {
        writeln!(out, "cores: a cache line takes {} ns between switch and generator", fixed(ns, 0))?;
    }
    Ok(())
}
