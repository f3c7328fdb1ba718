//! What a report says: headlines, sections of tables and plots, histograms, and under which conditions all of it was measured.
//!
//! A method fills a [`Report`] with plain data. Cells of tables hold numbers, not text, so that the page, the terminal, JSON and
//! CSV each write them in their way and cannot disagree.

use std::collections::BTreeMap;
use std::fmt;
use std::time::SystemTime;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::machine::Machine;
use super::plots::Plot;
use super::warning::Warning;

/// Everything that is reported of one run of a method.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Stem of the file names, for example `rfc2544-throughput`: lower-case letters, digits and dashes.
    pub name: String,
    /// Headline.
    pub title: String,
    /// The standard that is followed, for example `RFC 2544, section 26.1`; empty if none is.
    pub standard: String,
    /// The command that repeats the run, as typed.
    pub command: String,
    /// Wall-clock start, RFC 3339.
    pub started: String,
    /// Wall-clock start in seconds since 1970, for interval logs; 0 where there was no wall clock.
    pub started_unix_s: f64,
    /// Seed of all chance in the run, if there was any.
    pub seed: Option<u64>,
    /// Length of the run in seconds of its clock.
    pub duration_s: f64,
    /// Whether the figures may be quoted.
    pub validity: Validity,
    /// The few figures that stand on top.
    pub headlines: Vec<Headline>,
    /// What a reader has to know before believing the numbers.
    pub warnings: Vec<Warning>,
    /// The results, in the order to be read.
    pub sections: Vec<Section>,
    /// What was configured, in the order to be shown.
    pub settings: Vec<Setting>,
    /// Where it ran.
    pub machine: Machine,
    /// Histograms that get files of their own.
    pub distributions: Vec<Distribution>,
    /// The result for programs, under `result` in the JSON file: what the method documents.
    pub result: serde_json::Value,
}

impl Report {
    /// A report without results, in the words of its standard; it runs here, by the command that was typed.
    pub fn new(name: impl Into<String>, title: impl Into<String>, standard: impl Into<String>) -> Report {
        Report {
            name: name.into(),
            title: title.into(),
            standard: standard.into(),
            command: std::env::args().collect::<Vec<_>>().join(" "),
            machine: Machine::here(),
            ..Report::default()
        }
    }

    /// When it began, by the wall clock.
    pub fn set_started(&mut self, at: SystemTime) {
        self.started = humantime::format_rfc3339_seconds(at).to_string();
        self.started_unix_s = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    }
}

/// Whether the figures of a run may be quoted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Validity {
    /// Why not, a sentence each; empty when the run is valid.
    pub reasons: Vec<String>,
}

impl Validity {
    /// The load was offered as asked, and nothing else spoilt the run.
    pub fn valid() -> Validity {
        Validity::default()
    }

    /// The run must not be quoted, for this reason.
    pub fn invalid(reason: impl Into<String>) -> Validity {
        Validity { reasons: vec![reason.into()] }
    }

    /// Whether the run may be quoted.
    pub fn is_valid(&self) -> bool {
        self.reasons.is_empty()
    }
}

/// `VALID`, or `INVALID` and why.
impl fmt::Display for Validity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_valid() { f.write_str("VALID") } else { write!(f, "INVALID: {}", self.reasons.join("; ")) }
    }
}

/// A figure on top of the report.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Headline {
    /// With its unit: `38.690 Mpps`.
    pub value: String,
    /// What it is.
    pub what: String,
    /// How it is to be taken.
    pub mood: Mood,
}

/// How a headline is to be taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mood {
    /// Neither.
    #[default]
    Plain,
    /// As wished.
    Good,
    /// Not as wished.
    Bad,
}

impl Headline {
    /// A figure and what it is.
    pub fn new(value: impl Into<String>, what: impl Into<String>, mood: Mood) -> Headline {
        Headline { value: value.into(), what: what.into(), mood }
    }
}

/// A part of a report under a heading.
#[derive(Debug, Clone, Default)]
pub struct Section {
    /// Its heading.
    pub title: String,
    /// What it shows, in order.
    pub items: Vec<Item>,
}

impl Section {
    /// A section.
    pub fn new(title: impl Into<String>, items: Vec<Item>) -> Section {
        Section { title: title.into(), items }
    }
}

/// A piece of a section.
#[derive(Debug, Clone)]
pub enum Item {
    /// A sentence or two.
    Note(String),
    /// A table.
    Table(Table),
    /// A plot; terminals and CSV leave it out.
    Figure(Figure),
}

/// A plot and what it shows.
#[derive(Debug, Clone)]
pub struct Figure {
    /// What it shows, with the unit.
    pub title: String,
    /// The data.
    pub plot: Plot,
    /// What is said when there is nothing to draw; may be empty.
    pub otherwise: String,
}

impl Figure {
    /// A plot under its title, with a sentence for when there is nothing to draw.
    pub fn item(title: impl Into<String>, plot: Plot, otherwise: impl Into<String>) -> Item {
        Item::Figure(Figure { title: title.into(), plot, otherwise: otherwise.into() })
    }
}

/// Rows of numbers under headings.
#[derive(Debug, Clone, Default)]
pub struct Table {
    /// What it holds.
    pub title: String,
    /// Its columns.
    pub columns: Vec<Column>,
    /// Its rows, a cell for each column.
    pub rows: Vec<Vec<Cell>>,
    /// The last row sums up the others.
    pub total: bool,
}

impl Table {
    /// An empty table.
    pub fn new(title: impl Into<String>, columns: Vec<Column>) -> Table {
        Table { title: title.into(), columns, ..Table::default() }
    }

    /// Adds a row.
    ///
    /// # Panics
    /// If it has not a cell for each column.
    pub fn push(&mut self, row: Vec<Cell>) {
        assert_eq!(row.len(), self.columns.len(), "a cell for each column of the table {:?}", self.title);
        self.rows.push(row);
    }
}

/// A column of a table.
#[derive(Debug, Clone, Default)]
pub struct Column {
    /// Heading, with the unit if there is one: `lost %`, `p99 µs`.
    pub name: String,
    /// Words, not numbers: left-aligned.
    pub text: bool,
    /// Where it is shown. JSON and CSV hold all columns.
    pub shown: Shown,
}

/// Where a column is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Shown {
    /// Everywhere.
    #[default]
    Always,
    /// On the page and on terminals of 100 columns and more.
    WhenWide,
    /// On the page only.
    OnPage,
}

impl Column {
    /// A column of words.
    pub fn text(name: impl Into<String>) -> Column {
        Column { name: name.into(), text: true, shown: Shown::Always }
    }

    /// A column of numbers.
    pub fn number(name: impl Into<String>) -> Column {
        Column { name: name.into(), text: false, shown: Shown::Always }
    }

    /// The same column, left out of narrow terminals.
    #[must_use]
    pub fn when_wide(mut self) -> Column {
        self.shown = Shown::WhenWide;
        self
    }

    /// The same column, left out of terminals.
    #[must_use]
    pub fn on_page(mut self) -> Column {
        self.shown = Shown::OnPage;
        self
    }
}

/// A cell of a table. The unit stands in the heading.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Cell {
    /// Nothing to say.
    #[default]
    Empty,
    /// Not measured, or too few samples to tell: a dash.
    Unknown,
    /// Words.
    Text(String),
    /// Several words or phrases.
    List(Vec<String>),
    /// A count.
    Count(u64),
    /// A number with so many decimals.
    Number(f64, usize),
    /// A share from 0.0 to 1.0, shown in per cent.
    Share(f64),
    /// A time in ns, shown in µs.
    Micros(f64),
}

impl Cell {
    /// Words.
    pub fn text(text: impl Into<String>) -> Cell {
        Cell::Text(text.into())
    }

    /// A time in ns, shown in µs, or a dash.
    pub fn micros(ns: Option<u64>) -> Cell {
        ns.map_or(Cell::Unknown, |ns| Cell::Micros(ns as f64))
    }

    /// A number with so many decimals, or a dash.
    pub fn number(value: Option<f64>, decimals: usize) -> Cell {
        value.map_or(Cell::Unknown, |value| Cell::Number(value, decimals))
    }
}

/// One line of the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// What was set, with its unit if it has one.
    pub key: String,
    /// To what.
    pub value: String,
}

impl Setting {
    /// A line of the summary.
    pub fn new(key: impl Into<String>, value: impl fmt::Display) -> Self {
        Self { key: key.into(), value: value.to_string() }
    }
}

/// A histogram that gets files of its own.
#[derive(Debug, Clone)]
pub struct Distribution {
    /// What was measured, for example `blade→uplink`.
    pub name: String,
    /// Values in ns.
    pub histogram: Histogram<u64>,
    /// The same cut into intervals, in order of time; may be empty.
    pub intervals: Vec<Interval>,
}

/// What was measured in one interval of a run.
#[derive(Debug, Clone)]
pub struct Interval {
    /// Its start, seconds after the start of the run.
    pub start_s: f64,
    /// Its length in seconds.
    pub length_s: f64,
    /// Values in ns.
    pub histogram: Histogram<u64>,
}

impl Distribution {
    /// A distribution without intervals.
    pub fn new(name: impl Into<String>, histogram: Histogram<u64>) -> Distribution {
        Distribution { name: name.into(), histogram, intervals: Vec::new() }
    }
}

/// Frames and bits in a second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Rate {
    /// Frames in a second.
    pub pps: f64,
    /// Bits in a second on the wire: frame, FCS and the 20 B of preamble, delimiter and gap (IEEE 802.3 clause 4).
    pub bps_l1: f64,
    /// Bits in a second of frames with FCS.
    pub bps_l2: f64,
}

impl Rate {
    /// The mean rate of `frames` that hold `bytes` in all, FCS included, in `seconds`; zero when no time passed.
    pub fn over(frames: u64, bytes: u64, seconds: f64) -> Self {
        if seconds.is_nan() || seconds <= 0.0 {
            return Self::default();
        }
        Self::of(frames as f64 / seconds, bytes as f64 / frames.max(1) as f64)
    }

    /// So many frames a second of `bytes` each, FCS included.
    pub fn of(pps: f64, bytes: f64) -> Self {
        Self { pps, bps_l1: (bytes + 20.0) * 8.0 * pps, bps_l2: bytes * 8.0 * pps }
    }

    /// As many frames of `bytes` each, FCS included, as fit on a wire of `bps` bits a second.
    pub fn line(bps: u64, bytes: f64) -> Self {
        Self::of(bps as f64 / ((bytes + 20.0) * 8.0), bytes)
    }

    /// Million frames in a second.
    pub fn mpps(&self) -> f64 {
        self.pps / 1e6
    }

    /// Share of a link of `speed_bps`, 1.0 = line rate; `None` without a speed.
    pub fn share_of(&self, speed_bps: u64) -> Option<f64> {
        (speed_bps > 0).then(|| self.bps_l1 / speed_bps as f64)
    }

    /// Adds another rate.
    pub fn add(&mut self, other: &Self) {
        self.pps += other.pps;
        self.bps_l1 += other.bps_l1;
        self.bps_l2 += other.bps_l2;
    }
}

/// `tx_full 1,204`, `vlan_ingress 7`: counts by name, the largest first, zeroes left out.
pub fn counts_by_name(counts: &BTreeMap<String, u64>) -> Cell {
    let mut counts: Vec<(&String, u64)> = counts.iter().map(|(name, n)| (name, *n)).filter(|(_, n)| *n > 0).collect();
    counts.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    Cell::List(counts.iter().map(|(name, n)| format!("{name} {}", super::numbers::count(*n))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_count_the_wire() {
        // IEEE 802.3: 1,488,095 frames of 64 B fill 1 Gb/s but for 160 bits.
        let rate = Rate::over(1_488_095, 1_488_095 * 64, 1.0);
        assert_eq!((rate.pps, rate.bps_l1, rate.bps_l2), (1_488_095.0, 999_999_840.0, 761_904_640.0));
        assert_eq!(rate.share_of(0), None);
        assert_eq!(Rate::over(1, 64, 0.0), Rate::default());
        assert_eq!(Rate::over(1, 64, f64::NAN), Rate::default());
        assert_eq!(Rate::line(1_000_000_000, 64.0).pps.floor(), 1_488_095.0);
    }

    #[test]
    fn a_start_is_said_in_two_ways() {
        let mut report = Report::new("n", "t", "RFC 2544");
        report.set_started(SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(1_767_323_045_250));
        assert_eq!((report.started.as_str(), report.started_unix_s), ("2026-01-02T03:04:05Z", 1_767_323_045.25));
        assert!(!report.command.is_empty() && report.machine.cores > 0);
    }

    #[test]
    fn counts_are_listed_by_size() {
        let counts = [("a".to_owned(), 7), ("b".to_owned(), 1_204), ("c".to_owned(), 0)].into();
        assert_eq!(counts_by_name(&counts), Cell::List(vec!["b 1,204".to_owned(), "a 7".to_owned()]));
    }

    #[test]
    fn a_verdict_says_why() {
        assert_eq!(Validity::valid().to_string(), "VALID");
        let invalid = Validity { reasons: vec!["the generator missed 12 µs".to_owned(), "a port was down".to_owned()] };
        assert_eq!(invalid.to_string(), "INVALID: the generator missed 12 µs; a port was down");
    }
}
