//! The report for programs: everything that the page says, with the histograms whole.
//!
//! Histograms are kept twice: as percentiles for a quick look, and in HdrHistogram's V2 compressed encoding as base64, the form that
//! its log files and every port of the library read. The fields are described in `docs/results.md`.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer as _, V2DeflateSerializer};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::model::{Cell, Distribution, Headline, Item, Report, Section, Setting, Table};
use super::summary::{PERCENTILES, Summary};
use super::{HGRM_NS_PER_UNIT, machine::Machine, warning::Warning};

/// Changes whenever a field changes its meaning or goes away; new fields leave it alone.
pub const SCHEMA: &str = "traffic-gen/report/1";

/// The file as bytes, indented, with a newline at its end. Numbers that are none become `null`.
///
/// # Errors
///
/// A histogram that cannot be encoded.
pub fn document(report: &Report) -> io::Result<Vec<u8>> {
    let document = Document {
        schema: SCHEMA,
        name: &report.name,
        title: &report.title,
        standard: &report.standard,
        command: &report.command,
        started: &report.started,
        seed: report.seed,
        duration_s: report.duration_s,
        valid: report.validity.is_valid(),
        invalid_because: &report.validity.reasons,
        headlines: &report.headlines,
        warnings: &report.warnings,
        warning_texts: report.warnings.iter().map(ToString::to_string).collect(),
        settings: &report.settings,
        machine: &report.machine,
        sections: &report.sections,
        distributions: &report.distributions,
        value_unit: "ns",
        hgrm_ns_per_unit: HGRM_NS_PER_UNIT,
        result: &report.result,
    };
    let mut bytes = serde_json::to_vec_pretty(&document)?;
    bytes.push(b'\n');
    Ok(bytes)
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    name: &'a str,
    title: &'a str,
    standard: &'a str,
    command: &'a str,
    started: &'a str,
    seed: Option<u64>,
    duration_s: f64,
    valid: bool,
    invalid_because: &'a [String],
    headlines: &'a [Headline],
    warnings: &'a [Warning],
    warning_texts: Vec<String>,
    settings: &'a [Setting],
    machine: &'a Machine,
    sections: &'a [Section],
    distributions: &'a [Distribution],
    value_unit: &'static str,
    hgrm_ns_per_unit: f64,
    result: &'a Value,
}

/// Its tables and notes; a plot draws what a table or a distribution holds.
impl Serialize for Section {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let notes: Vec<&String> =
            self.items.iter().filter_map(|item| if let Item::Note(note) = item { Some(note) } else { None }).collect();
        let tables: Vec<&Table> =
            self.items.iter().filter_map(|item| if let Item::Table(table) = item { Some(table) } else { None }).collect();
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("title", &self.title)?;
        map.serialize_entry("notes", &notes)?;
        map.serialize_entry("tables", &tables)?;
        map.end()
    }
}

impl Serialize for Table {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let columns: Vec<&String> = self.columns.iter().map(|column| &column.name).collect();
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("title", &self.title)?;
        map.serialize_entry("columns", &columns)?;
        map.serialize_entry("rows", &self.rows)?;
        map.end()
    }
}

/// In the unit of the heading: shares in per cent, times in µs.
impl Serialize for Cell {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Cell::Empty | Cell::Unknown => serializer.serialize_none(),
            Cell::Text(text) => serializer.serialize_str(text),
            Cell::Count(n) => serializer.serialize_u64(*n),
            Cell::Number(value, _) => serializer.serialize_f64(*value),
            Cell::Share(share) => serializer.serialize_f64(share * 100.0),
            Cell::Micros(ns) => serializer.serialize_f64(ns / 1e3),
            Cell::List(parts) => {
                let mut list = serializer.serialize_seq(Some(parts.len()))?;
                parts.iter().try_for_each(|part| list.serialize_element(part))?;
                list.end()
            }
        }
    }
}

impl Serialize for Distribution {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let summary = Summary::of(&self.histogram);
        let mut map = serializer.serialize_map(Some(4))?;
        map.serialize_entry("name", &self.name)?;
        map.serialize_entry("samples", &summary.samples)?;
        map.serialize_entry("ns", &summary)?;
        map.serialize_entry("histogram_v2_deflate_base64", &encoded(&self.histogram).map_err(serde::ser::Error::custom)?)?;
        map.end()
    }
}

/// The figures under their names, in ns.
impl Serialize for Summary {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("min", &self.min_ns)?;
        for (percentile, value) in PERCENTILES.iter().zip(self.percentiles_ns) {
            map.serialize_entry(percentile.name, &value)?;
        }
        map.serialize_entry("max", &self.max_ns)?;
        map.serialize_entry("mean", &self.mean_ns)?;
        map.serialize_entry("stdev", &self.stdev_ns)?;
        map.end()
    }
}

/// A histogram in HdrHistogram's V2 compressed encoding, as base64.
///
/// # Errors
///
/// What the encoder says, in words.
pub fn encoded(histogram: &Histogram<u64>) -> Result<String, String> {
    let mut bytes = Vec::new();
    V2DeflateSerializer::new().serialize(histogram, &mut bytes).map_err(|error| format!("histogram: {error:?}"))?;
    Ok(STANDARD.encode(bytes))
}
