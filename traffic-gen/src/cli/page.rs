//! What a method has found as a report with files: page, JSON, CSV, histograms.

use std::time::SystemTime;

use port::Nanos;

use crate::method::{Report, Table, TrialRow};
use crate::output::numbers::fixed;
use crate::output::{self, Cell, Column, Headline, Item, Mood, Section, Setting, Validity, Warning};

/// How the run was made, beside what the method says of it.
pub struct Run<'a> {
    /// The command: `rfc2544`.
    pub command: &'a str,
    /// When it began.
    pub started: SystemTime,
    /// On a virtual clock.
    pub is_virtual: bool,
    /// Trials were shorter than the standard asks for.
    pub quick: bool,
    /// It was ended before its time.
    pub interrupted: bool,
    /// Sending time of its trials.
    pub trial: Nanos,
}

/// The report with files. Its name is that of the command and the test: `rfc2544-throughput`.
pub fn report(found: &Report, run: &Run<'_>) -> output::Report {
    let test = output::slug(&found.test);
    let name = if test.starts_with(run.command) { test } else { format!("{}-{test}", run.command) };
    let mut report = output::Report::new(name, &found.test, &found.standard);
    report.set_started(run.started);
    report.duration_s = found.trials.iter().map(|trial| trial.seconds).sum();
    report.validity = validity(&found.trials);
    report.warnings = warnings(found, run);
    let mut results: Vec<Item> = found.figures.iter().cloned().map(Item::Figure).collect();
    results.extend(found.tables.iter().map(|table| Item::Table(table_of(table))));
    results.extend(found.notes.iter().map(|note| Item::Note(note.clone())));
    if !found.distributions.is_empty() {
        let rows = found.distributions.iter().map(|d| (d.name.as_str(), &d.histogram));
        results.push(Item::Table(output::latency_table("Latency of all frames in µs", rows)));
    }
    let trials = Item::Table(trials_table(&found.trials));
    report.sections = vec![Section::new("Results", results), Section::new("Trials", vec![trials])];
    report.headlines =
        vec![Headline::new(format!("{} trials", found.trials.len()), format!("{} s of sending", fixed(report.duration_s, 1)), Mood::Plain)];
    report.settings = found.setup.iter().map(|(key, value)| Setting::new(key, value)).collect();
    report.distributions.clone_from(&found.distributions);
    report.result = serde_json::to_value(found).unwrap_or_default();
    report
}

fn validity(trials: &[TrialRow]) -> Validity {
    let invalid = trials.iter().filter(|trial| !trial.invalid.is_empty());
    let reasons: Vec<String> = invalid.map(|trial| format!("trial {}: {}", trial.number, trial.invalid.join("; "))).collect();
    // One reason is read, a hundred are not; each stands in the table of trials.
    match reasons.len() {
        0 => Validity::valid(),
        1 => Validity { reasons },
        several => Validity::invalid(format!("{several} trials, the first being {}", reasons[0])),
    }
}

fn warnings(found: &Report, run: &Run<'_>) -> Vec<Warning> {
    let sum = |of: fn(&TrialRow) -> u64| found.trials.iter().map(of).sum::<u64>();
    let mut warnings = Vec::new();
    if run.interrupted {
        warnings.push(Warning::Interrupted);
    }
    if run.quick {
        let standard = format!("{} asks for longer trials", found.standard);
        warnings.push(Warning::NotTheStandard { standard, done: format!("trials of {} s", run.trial.as_secs_f64()) });
    }
    if run.is_virtual {
        warnings.push(Warning::VirtualClock);
    }
    // Loss is what most methods look for, and no warning.
    if sum(|trial| trial.corrupted) > 0 {
        warnings.push(Warning::Corrupted { frames: sum(|trial| trial.corrupted) });
    }
    if sum(|trial| trial.flooded + trial.misdelivered) > 0 {
        warnings.push(Warning::Flooded { copies: sum(|trial| trial.flooded + trial.misdelivered) });
    }
    if sum(|trial| trial.reordered) > 0 {
        warnings.push(Warning::Reordered { frames: sum(|trial| trial.reordered) });
    }
    if sum(|trial| trial.duplicated) > 0 {
        warnings.push(Warning::Duplicated { frames: sum(|trial| trial.duplicated) });
    }
    warnings
}

fn trials_table(trials: &[TrialRow]) -> output::Table {
    let number = |name: &str| Column::number(name);
    let columns = vec![
        number("trial"),
        Column::text("for"),
        number("size, B"),
        number("load %"),
        number("sending s").on_page(),
        number("offered frames/s"),
        number("forwarded frames/s"),
        number("due"),
        number("lost"),
        number("lost %"),
        number("p50 µs"),
        number("p99 µs").on_page(),
        number("p99.9 µs"),
        number("max µs").on_page(),
        Column::text("valid"),
    ];
    let mut table = output::Table::new("Trials", columns);
    for trial in trials {
        let lost = if trial.expected == 0 { 0.0 } else { trial.lost as f64 / trial.expected as f64 };
        let latency = |place: usize| Cell::micros(trial.latency_ns.map(|all| all[place]));
        table.push(vec![
            Cell::Count(trial.number as u64),
            Cell::text(&trial.what),
            Cell::Count(trial.size as u64),
            Cell::Number(trial.load_percent, 3),
            Cell::Number(trial.seconds, 3),
            Cell::Number(trial.offered_fps, 0),
            Cell::Number(trial.forwarded_fps, 0),
            Cell::Count(trial.expected),
            Cell::Count(trial.lost),
            Cell::Share(lost),
            latency(1),
            latency(2),
            latency(3),
            latency(4),
            Cell::Text(if trial.invalid.is_empty() { "yes".to_owned() } else { format!("INVALID: {}", trial.invalid.join("; ")) }),
        ]);
    }
    table
}

fn table_of(table: &Table) -> output::Table {
    let column = |name: &String| match name.strip_prefix('>') {
        Some(name) => Column::number(name),
        None => Column::text(name),
    };
    let mut out = output::Table::new(table.title.clone(), table.columns.iter().map(column).collect());
    for row in &table.rows {
        // A method that forgets a cell is to be seen, not to end the report.
        let cells = (0..out.columns.len()).map(|place| row.get(place).map_or(Cell::Unknown, |cell| cell_of(cell)));
        out.rows.push(cells.collect());
    }
    out
}

/// A number that was written for people is one for programs, too.
fn cell_of(text: &str) -> Cell {
    let plain = text.replace(',', "");
    let decimals = plain.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    match (plain.parse::<u64>(), plain.parse::<f64>()) {
        (Ok(count), _) => Cell::Count(count),
        (_, Ok(value)) if value.is_finite() && !plain.contains(['e', 'E']) => Cell::Number(value, decimals),
        _ if text == "-" => Cell::Unknown,
        _ => Cell::text(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_numbers_where_they_can_be() {
        assert_eq!(cell_of("14,880,952"), Cell::Count(14_880_952));
        assert_eq!(cell_of("37.500"), Cell::Number(37.5, 3));
        assert_eq!(cell_of("1.0e-5"), Cell::text("1.0e-5"));
        assert_eq!(cell_of("<100"), Cell::text("<100"));
        assert_eq!((cell_of("-"), cell_of("inf")), (Cell::Unknown, Cell::text("inf")));
    }

    #[test]
    fn what_spoilt_a_trial_spoils_the_report() {
        let mut found = Report::new("Throughput", "RFC 2544, section 26.1");
        found.tables.push(Table {
            title: "t".to_owned(),
            columns: vec![">a".to_owned(), "b".to_owned()],
            rows: vec![vec!["1".to_owned()]],
        });
        let trial = |number, invalid: &[&str]| TrialRow {
            number,
            what: "throughput".to_owned(),
            size: 64,
            load_percent: 50.0,
            seconds: 2.0,
            offered_fps: 1e6,
            forwarded_fps: 1e6,
            sent: 10,
            expected: 10,
            lost: 0,
            duplicated: 0,
            reordered: 2,
            misdelivered: 0,
            flooded: 0,
            corrupted: 0,
            latency_ns: None,
            invalid: invalid.iter().map(|&text| text.to_owned()).collect(),
        };
        found.trials = vec![trial(1, &[]), trial(2, &["late"])];
        let run = Run {
            command: "rfc2544",
            started: SystemTime::UNIX_EPOCH,
            is_virtual: true,
            quick: true,
            interrupted: true,
            trial: Nanos::from_secs(2),
        };
        let page = report(&found, &run);
        assert_eq!((page.name.as_str(), page.duration_s), ("rfc2544-throughput", 4.0));
        assert_eq!(page.validity.to_string(), "INVALID: trial 2: late");
        assert!(matches!(
            page.warnings[..],
            [Warning::Interrupted, Warning::NotTheStandard { .. }, Warning::VirtualClock, Warning::Reordered { frames: 4 }]
        ));
        let Item::Table(table) = &page.sections[0].items[0] else { panic!("a table") };
        assert_eq!(table.rows, [[Cell::Count(1), Cell::Unknown]]);
        found.trials.push(trial(3, &["late, too"]));
        assert_eq!(report(&found, &run).validity.to_string(), "INVALID: 2 trials, the first being trial 2: late");
    }
}
