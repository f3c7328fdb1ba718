//! The report of the main job: what one run of the chassis measured, for people and for programs.
//!
//! The scenario fills a [`ChassisReport`] with plain data; everything that can be derived (totals, rate errors, percentiles) is
//! derived from it in one place. How tables, plots and files look is the business of [`traffic_gen::output`].
//!
//! - [`print_tables`]: the terminal.
//! - [`write_all`]: `chassis.html`, `chassis.json`, `chassis.hgrm`, one `chassis-<direction>.hgrm` for each direction.
//!
//! Words: seen from the switch, as everywhere. *offered* is what the plan asked the generator to send into the switch
//! from a port, *sent* what it did send (the switch's RX), *received* what came back out of the switch on that port (TX).

mod json;
mod model;
mod page;
mod table;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};

use traffic_gen::output::{File, HGRM_NS_PER_UNIT, hgrm_files, write_files, write_hgrm};

pub use model::{ChassisReport, Direction, GeneratorQuality, LedgerLine, PortRow, Tick, Totals};
pub use table::print_tables;
pub use traffic_gen::output::plots::LatencyTick;
pub use traffic_gen::output::{Machine, Rate, Setting, Warning};

/// Writes every file of the report into `dir`, which is created when missing, and returns their paths:
/// the page first, then JSON, then the merged and the single histograms.
///
/// Files of the same names are replaced; others are left alone.
///
/// # Errors
///
/// Whatever the file system answers, with the path in the text; also a histogram that cannot be encoded.
pub fn write_all(report: &ChassisReport, dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut merged = Vec::new();
    write_hgrm(&report.merged_histogram(), HGRM_NS_PER_UNIT, &mut merged)?;
    let page = page::report(report);
    let mut files = vec![
        File::new(
            "chassis.json",
            "everything above for programs; latency in ns, histograms as HdrHistogram V2 (base64)",
            json::document(report)?,
        ),
        File::new("chassis.hgrm", "percentile distribution of all directions, in µs, for HdrHistogram's plotters", merged),
    ];
    files.extend(hgrm_files(&page.name, &page.distributions)?);
    write_files(&page, files, dir)
}
