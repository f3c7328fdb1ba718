//! What a method has found, in the words and tables of its standard.

use std::fmt::Write as _;

use serde::Serialize;

use super::runner::TrialRow;
use crate::measure::LoopbackBias;
use crate::output;

/// A table for people and programs.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Table {
    /// What it shows.
    pub title: String,
    /// Names of the columns with their units. Those that begin with `>` are numbers, to the right.
    pub columns: Vec<String>,
    /// Cells, by row.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub fn new(title: impl Into<String>, columns: &[&str]) -> Table {
        Table { title: title.into(), columns: columns.iter().map(|&name| name.to_owned()).collect(), rows: Vec::new() }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// As lines of text with aligned columns.
    pub fn text(&self) -> String {
        let cells = || std::iter::once(&self.columns).chain(&self.rows);
        let plain = |cell: &str| cell.trim_start_matches('>').chars().count();
        let widths: Vec<usize> =
            (0..self.columns.len()).map(|n| cells().filter_map(|row| row.get(n)).map(|c| plain(c)).max().unwrap_or(0)).collect();
        let mut text = format!("{}\n", self.title);
        for row in cells() {
            let mut line = String::from(" ");
            for ((cell, &width), column) in row.iter().zip(&widths).zip(&self.columns) {
                let cell = cell.trim_start_matches('>');
                // Writing to a string cannot fail.
                let _ = if column.starts_with('>') { write!(line, " {cell:>width$} ") } else { write!(line, " {cell:<width$} ") };
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// What a method has found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// The test, as its standard names it.
    pub test: String,
    /// The standard and section.
    pub standard: String,
    /// Settings that the standard wants reported.
    pub setup: Vec<(String, String)>,
    /// The results, for people.
    pub tables: Vec<Table>,
    /// The same, by name, for programs.
    pub results: Vec<serde_json::Value>,
    /// What must be known to read the numbers rightly.
    pub notes: Vec<String>,
    /// All trials.
    pub trials: Vec<TrialRow>,
    /// In real time: the tester's own part of every latency, from frames looped back past the device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bias: Option<LoopbackBias>,
    /// What is drawn: see [`figures`](super::figures).
    #[serde(skip)]
    pub figures: Vec<output::Figure>,
    /// Latencies that get files of their own.
    #[serde(skip)]
    pub distributions: Vec<output::Distribution>,
}

impl Report {
    /// A report without results.
    pub fn new(test: &str, standard: &str) -> Report {
        Report { test: test.to_owned(), standard: standard.to_owned(), ..Report::default() }
    }

    /// Adds a line of the set-up.
    pub fn set(&mut self, name: &str, value: impl ToString) {
        self.setup.push((name.to_owned(), value.to_string()));
    }

    /// Adds a result for programs. What cannot be JSON is a mistake of the method and left out.
    pub fn result(&mut self, value: impl Serialize) {
        self.results.extend(serde_json::to_value(value).ok());
    }

    /// Takes over the trials of a runner and notes those that do not count.
    pub fn take_trials(&mut self, rows: &mut Vec<TrialRow>) {
        self.trials.append(rows);
        let invalid: Vec<&TrialRow> = self.trials.iter().filter(|row| !row.invalid.is_empty()).collect();
        if let Some(first) = invalid.first() {
            let note =
                format!("{} trial(s) are INVALID; the first is number {}: {}", invalid.len(), first.number, first.invalid.join("; "));
            self.notes.push(note);
        }
    }

    /// As text, without the trials.
    pub fn text(&self) -> String {
        let mut text = format!("{} ({})\n", self.test, self.standard);
        let width = self.setup.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        for (name, value) in &self.setup {
            let _ = writeln!(text, "  {name:<width$}  {value}");
        }
        for table in &self.tables {
            text.push('\n');
            text.push_str(&table.text());
        }
        if !self.notes.is_empty() {
            text.push('\n');
        }
        for note in &self.notes {
            let _ = writeln!(text, "note: {note}");
        }
        text
    }
}

/// A number of frames or frames a second with thousands separated, as the standards' tables have it.
pub fn count(number: f64) -> String {
    let digits = format!("{:.0}", number.max(0.0));
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Nanoseconds as microseconds.
pub fn micros(ns: f64) -> String {
    format!("{:.3}", ns / 1000.0)
}

/// A share as percent, with as many digits as tell it from 0 and from 100.
pub fn percent(share: f64) -> String {
    let text = format!("{:.3}", share * 100.0);
    match text.as_str() {
        "0.000" if share > 0.0 => format!("{:.1e}", share * 100.0),
        "100.000" if share < 1.0 => "<100".to_owned(),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_for_people() {
        assert_eq!([count(0.0), count(999.0), count(1000.0), count(14_880_952.4)], ["0", "999", "1,000", "14,880,952"]);
        assert_eq!(
            [percent(0.0), percent(1e-7), percent(0.375), percent(0.999_999_99), percent(1.0)],
            ["0.000", "1.0e-5", "37.500", "<100", "100.000"]
        );
    }

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new("Throughput", &[">size", "load"]);
        table.row(["64".to_owned(), "1".to_owned()]);
        table.row(["1518".to_owned(), "100 %".to_owned()]);
        assert_eq!(table.text(), "Throughput\n  size  load\n    64  1\n  1518  100 %\n");
    }
}
