//! `chassis.json`: the whole model for programs, with what derives from it.
//!
//! Histograms are kept twice: as percentiles for a quick look, and whole, in HdrHistogram's V2 compressed encoding as
//! base64, the form that its log files and every port of the library read.

use std::io;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use traffic_gen::output::HGRM_NS_PER_UNIT;
use traffic_gen::output::json::encoded;

use super::model::{ChassisReport, Direction, Totals};

/// Changes whenever a field changes its meaning or goes away; new fields leave it alone.
const SCHEMA: &str = "bladeswitch/chassis-report/1";

/// The file as bytes, indented, with a newline at its end. Rates that are not a number become `null`.
pub(super) fn document(report: &ChassisReport) -> io::Result<Vec<u8>> {
    let ledger_balanced = report.ledger.is_balanced();
    let document = Document {
        schema: SCHEMA,
        report,
        totals: report.totals(),
        ledger_balanced,
        rate_error_ppm: report.generator.rate_error_ppm(),
        warning_texts: report.warnings.iter().map(ToString::to_string).collect(),
        latency_unit: "ns",
        hgrm_ns_per_unit: HGRM_NS_PER_UNIT,
    };
    let mut bytes = serde_json::to_vec_pretty(&document)?;
    bytes.push(b'\n');
    Ok(bytes)
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    #[serde(flatten)]
    report: &'a ChassisReport,
    totals: Totals,
    ledger_balanced: bool,
    rate_error_ppm: Option<f64>,
    warning_texts: Vec<String>,
    latency_unit: &'static str,
    hgrm_ns_per_unit: f64,
}

impl Serialize for Direction {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let summary = self.summary();
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", &self.name)?;
        map.serialize_entry("sampled_one_in", &self.sampling)?;
        map.serialize_entry("samples", &summary.samples)?;
        map.serialize_entry("latency_ns", &summary)?;
        map.serialize_entry("histogram_v2_deflate_base64", &encoded(&self.histogram).map_err(serde::ser::Error::custom)?)?;
        map.end()
    }
}
