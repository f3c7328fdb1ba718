//! Sections that several methods have: streams, latencies in all their views, and how well the generator did.

use super::model::{Cell, Column, Figure, Item, Section, Table, Validity};
use super::numbers::{count, fixed, micros};
use super::plots::{Curve, Plot, Spacing};
use super::summary::latency_table;
use super::warning::Warning;
use crate::measure::pacing::{MISSED_MAX, SPACINGS_NS};
use crate::measure::{Latencies, LoopbackBias, Pacing, StreamResult};

/// Share of micro-bursts from which a reader is warned.
const MICRO_BURSTS_MAX: f64 = 0.01;

/// What became of the frames of each stream, and of all together if there are several.
pub fn streams_table<'a>(rows: impl IntoIterator<Item = (&'a str, &'a StreamResult)>) -> Table {
    let mut columns = vec![Column::text("stream")];
    columns.extend(["sent", "received", "lost"].map(Column::number));
    columns.push(Column::number("lost %").when_wide());
    columns.extend(["reordered", "duplicates", "elsewhere"].map(Column::number));
    columns.extend(["misdelivered", "too late", "extent max, frames", "late time max µs"].map(|name| Column::number(name).on_page()));
    columns.extend(["first lost at, s", "last lost at, s"].map(|name| Column::number(name).on_page()));
    let mut table = Table::new("What became of the frames", columns);
    let mut total = StreamResult::default();
    for (name, result) in rows {
        table.push(stream_row(name, result));
        total.merge(result);
    }
    if table.rows.len() > 1 {
        table.push(stream_row("all", &total));
        table.total = true;
    }
    table
}

fn stream_row(name: &str, result: &StreamResult) -> Vec<Cell> {
    let at = |time: Option<port::Nanos>| time.map_or(Cell::Empty, |time| Cell::Number(time.as_secs_f64(), 9));
    let mut row = vec![Cell::text(name)];
    row.extend([result.sent, result.received, result.lost].map(Cell::Count));
    row.push(Cell::Share(result.loss_ratio()));
    let counts = [result.reordered, result.duplicates, result.elsewhere, result.misdelivered, result.too_late, result.extent_max];
    row.extend(counts.map(Cell::Count));
    row.push(Cell::Micros(result.late_time_max.0 as f64));
    row.extend([at(result.lost_first), at(result.lost_last)]);
    row
}

/// What a reader has to know of such results.
pub fn stream_warnings(total: &StreamResult) -> Vec<Warning> {
    let mut warnings = Vec::new();
    if total.lost > 0 {
        warnings.push(Warning::FramesLost { lost: total.lost, due: total.sent });
    }
    if total.reordered > 0 {
        warnings.push(Warning::Reordered { frames: total.reordered });
    }
    if total.duplicates > 0 {
        warnings.push(Warning::Duplicated { frames: total.duplicates });
    }
    if total.elsewhere > 0 {
        warnings.push(Warning::Flooded { copies: total.elsewhere });
    }
    warnings
}

/// Latencies of each direction: both views, PDV and IPDV, as curves and tables.
pub fn latency_section<'a>(directions: impl IntoIterator<Item = (&'a str, &'a Latencies)>) -> Section {
    let directions: Vec<(&str, &Latencies)> = directions.into_iter().collect();
    let mut curves = Vec::new();
    let mut rows = Vec::new();
    for (name, latencies) in &directions {
        let views = [("sent", &latencies.sent), ("planned", &latencies.intended)];
        curves.extend(views.map(|(view, histogram)| Curve { name: format!("{name}, since {view}"), histogram: histogram.clone() }));
        rows.extend(views.map(|(view, histogram)| (format!("{name}, since {view}"), histogram)));
        rows.push((format!("{name}, PDV"), &latencies.pdv));
    }
    let note = "Values in µs. Since sent: what the device took. Since planned: what a user waits who sends by the plan; a stall of the \
                tester or of the device is charged to every frame that should have been sent during it (corrected for coordinated \
                omission). PDV: since sent, less the smallest (RFC 5481).";
    Section::new(
        "Latency",
        vec![
            Figure::item("Latency by percentile", Plot::Percentiles(curves), "No latency sample was taken."),
            Item::Table(latency_table("Latency in µs", rows.iter().map(|(name, histogram)| (name.as_str(), *histogram)))),
            Item::Table(variation_table(directions)),
            Item::Note(note.to_owned()),
        ],
    )
}

/// How latency changes from frame to frame in each direction.
pub fn variation_table<'a>(directions: impl IntoIterator<Item = (&'a str, &'a Latencies)>) -> Table {
    let columns = ["pairs", "p0.1", "p50", "p99.9", "PDV p99.9", "jitter", "known to"].map(Column::number);
    let mut variation = Table::new("Variation in µs: latency less that of the frame before (IPDV)", vec![Column::text("direction")]);
    variation.columns.extend(columns);
    for (name, latencies) in directions {
        let ipdv = |quantile| latencies.ipdv.quantile(quantile).map_or(Cell::Unknown, |ns| Cell::Micros(ns as f64));
        variation.push(vec![
            Cell::text(name),
            Cell::Count(latencies.ipdv.len()),
            ipdv(0.001),
            ipdv(0.5),
            ipdv(0.999),
            Cell::micros(latencies.pdv_p999().map(|pdv| pdv.0)),
            Cell::micros(latencies.jitter.map(|jitter| jitter.0)),
            Cell::Micros(latencies.resolution().0 as f64),
        ]);
    }
    variation
}

/// How well the generator kept its plan, and what the tester itself adds to latency if that was measured.
pub fn generator_section(pacing: &Pacing, bias: Option<&LoopbackBias>) -> Section {
    let mut table = Table::new("Departures", Vec::new());
    let mut row = Vec::new();
    let mut cell = |name: String, value: Cell| {
        table.columns.push(Column::number(name));
        row.push(value);
    };
    cell("sent".to_owned(), Cell::Count(pacing.departed));
    let late = |quantile: f64| (!pacing.lateness.is_empty()).then(|| pacing.lateness.value_at_quantile(quantile));
    cell("late p50 µs".to_owned(), Cell::micros(late(0.5)));
    cell("p99 µs".to_owned(), Cell::micros(late(0.99)));
    cell("max µs".to_owned(), Cell::micros(late(1.0)));
    for ns in SPACINGS_NS {
        cell(format!("±{ns} ns %"), pacing.spacing.share_within(ns).map_or(Cell::Unknown, Cell::Share));
    }
    cell("bursts %".to_owned(), pacing.micro_burst_share().map_or(Cell::Unknown, Cell::Share));
    cell("missed".to_owned(), Cell::Count(pacing.missed));
    table.columns.push(Column::number("missed µs").on_page());
    row.push(Cell::Micros(pacing.missed_time.0 as f64));
    table.push(row);
    let note = "Late: actual less planned departure. ±: share of departures whose distance from the one before is within so much of the plan. \
                Bursts: departures that followed in less than half of the planned time. Missed: frames of the plan that were not sent.";
    let mut items = vec![
        Figure::item(
            "Time between departures, actual less planned",
            Plot::Spacing(Spacing::of(pacing)),
            "Fewer than two frames were sent.",
        ),
        Item::Table(table),
        Item::Note(note.to_owned()),
    ];
    if let Some(bias) = bias {
        let [min, p50, p999, max] = [bias.min_ns, bias.p50_ns, bias.p999_ns, bias.max_ns].map(|ns| micros(ns as f64));
        let text = format!(
            "Bias: {} frames looped back past the device took {min} to {max} µs (p50 {p50}, p99.9 {p999}). Every latency contains as much of \
             the tester itself; it is not taken off.",
            count(bias.frames)
        );
        items.push(Item::Note(text));
    }
    Section::new("Generator", items)
}

/// Whether the plan was kept, and what a reader has to know of how it was.
pub fn generator_verdict(pacing: &Pacing) -> (Validity, Vec<Warning>) {
    let mut warnings = Vec::new();
    let mut validity = Validity::valid();
    if pacing.missed > 0 {
        warnings.push(Warning::SlotsMissed { missed: pacing.missed, missed_ns: pacing.missed_time_worst.0 });
    }
    if !pacing.is_valid() {
        let (missed, limit) = (micros(pacing.missed_time_worst.0 as f64), micros(MISSED_MAX.0 as f64));
        validity = Validity::invalid(format!("the generator missed {missed} µs of wire on a port, more than {limit}"));
    }
    if let Some(share) = pacing.micro_burst_share().filter(|&share| share > MICRO_BURSTS_MAX) {
        warnings.push(Warning::MicroBursts { share });
    }
    (validity, warnings)
}

/// A line for terminals: `generator: VALID  1,000 sent, late by p99 0.120 µs, 99.8 % within ±64 ns, 0 missed`.
pub fn generator_line(pacing: &Pacing) -> String {
    let verdict = if pacing.is_valid() { "VALID" } else { "INVALID" };
    let late = micros(pacing.lateness.value_at_quantile(0.99) as f64);
    let within = pacing.spacing.share_within(SPACINGS_NS[0]).map_or_else(|| "-".to_owned(), |share| fixed(share * 100.0, 1));
    let [sent, missed] = [pacing.departed, pacing.missed].map(count);
    format!("generator: {verdict}  {sent} sent, late by p99 {late} µs, {within} % within ±64 ns of the plan, {missed} missed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{LatencyMeter, PacingMeter};
    use port::Nanos;

    #[test]
    fn what_a_generator_missed_turns_the_verdict() {
        let mut meter = PacingMeter::default();
        (0..1_000).for_each(|i| meter.departed(Nanos(i * 672), Nanos(i * 672 + 20)));
        let (validity, warnings) = generator_verdict(&meter.finish());
        assert!(validity.is_valid() && warnings.is_empty());
        let line = generator_line(&meter.finish());
        assert_eq!(line, "generator: VALID  1,000 sent, late by p99 0.020 µs, 100.0 % within ±64 ns of the plan, 0 missed");
        (0..149).for_each(|_| meter.missed(67_200));
        // Four at once, as a loop that is too slow does.
        (0..400).for_each(|i| meter.departed(Nanos(1_000_000 + i * 672), Nanos(1_000_000 + (i | 3) * 672)));
        let (validity, warnings) = generator_verdict(&meter.finish());
        assert_eq!(validity.to_string(), "INVALID: the generator missed 10.01 µs of wire on a port, more than 10.00");
        assert!(matches!(warnings[..], [Warning::SlotsMissed { missed: 149, .. }, Warning::MicroBursts { .. }]), "{warnings:?}");
    }

    #[test]
    fn sections_hold_what_was_measured() {
        let mut meter = LatencyMeter::default();
        (1..=1_000).for_each(|ns| meter.record(Nanos(ns), Nanos(ns + 1_000)));
        let latencies = meter.finish();
        let section = latency_section([("a→b", &latencies)]);
        let Item::Table(table) = &section.items[1] else { panic!("a table") };
        assert_eq!(
            table.rows.iter().map(|row| row[0].clone()).collect::<Vec<_>>(),
            ["a→b, since sent", "a→b, since planned", "a→b, PDV"].map(Cell::text)
        );
        assert_eq!([&table.rows[0], &table.rows[1], &table.rows[2]].map(|row| row[3].clone()), [500.0, 1_500.0, 499.0].map(Cell::Micros));

        let lossy = StreamResult { sent: 10, received: 7, lost: 3, lost_first: Some(Nanos(1_500_000_000)), ..StreamResult::default() };
        let table = streams_table([("1", &lossy), ("2", &lossy)]);
        assert!(table.total && table.rows.len() == 3);
        assert_eq!(table.rows[2][1..5], [Cell::Count(20), Cell::Count(14), Cell::Count(6), Cell::Share(0.3)]);
        assert_eq!(stream_warnings(&lossy), [Warning::FramesLost { lost: 3, due: 10 }]);

        let bias = LoopbackBias { frames: 1_000, min_ns: 90, p50_ns: 120, p999_ns: 400, max_ns: 9_000 };
        let section = generator_section(&Pacing::default(), Some(&bias));
        assert!(matches!(&section.items[3], Item::Note(text) if text.contains("took 0.090 to 9.000 µs (p50 0.120, p99.9 0.400)")));
    }
}
