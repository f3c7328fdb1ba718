//! The report of the main job: what one run of the chassis measured, for people and for programs.
//!
//! The scenario fills a [`ChassisReport`] with plain data; this module computes nothing that was not measured and
//! measures nothing itself. The idea: one model, several renderings, and everything that can be derived (totals,
//! rate errors, percentiles) is derived from the model in one place, so that terminal, page and JSON cannot disagree.
//!
//! - [`print_tables`]: the terminal.
//! - [`write_all`]: `chassis.html` (one self-contained page, plots as inline SVG, nothing loaded from elsewhere),
//!   `chassis.json`, `chassis.hgrm` and one `chassis-<direction>.hgrm` for each direction.
//!
//! Words: seen from the switch, as everywhere. *offered* is what the plan asked the generator to send into the switch
//! from a port, *sent* what it did send (the switch's RX), *received* what came back out of the switch on that port (TX).
//! L2 rates count the frame with its FCS, L1 rates add the 20 B of preamble, delimiter and gap.
//! *Latency* is in ns in the model, in µs wherever people read it, `.hgrm` included.
//!
//! A number is real or it is not printed: a percentile beyond what the samples can tell is left out, not guessed.
//!
//! Limits: a run too long for its timeline is drawn with every peak kept, but one page has no zoom. No threads.

mod hgrm;
mod html;
mod json;
mod model;
mod numbers;
mod plots;
mod table;
mod warning;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub use hgrm::{HGRM_NS_PER_UNIT, write_hgrm};
pub use model::{
    ChassisReport, Direction, GeneratorQuality, LatencyTick, LedgerLine, Machine, PERCENTILES, Percentile, PortRow, Rate, Setting, Summary,
    Tick, Totals,
};
pub use table::print_tables;
pub use warning::Warning;

/// Writes every file of the report into `dir`, which is created when missing, and returns their paths:
/// the page first, then JSON, then the merged and the single histograms.
///
/// Files of the same names are replaced; others are left alone.
///
/// # Errors
///
/// Whatever the file system answers, with the path in the text; also a histogram that cannot be encoded.
pub fn write_all(report: &ChassisReport, dir: &Path) -> io::Result<Vec<PathBuf>> {
    fs::create_dir_all(dir).map_err(|error| at(dir, &error))?;
    let names = hgrm_names(&report.directions);
    let mut files = vec![
        ("chassis.html".to_owned(), html::page(report, &names)?.into_bytes()),
        ("chassis.json".to_owned(), json::document(report)?),
        ("chassis.hgrm".to_owned(), hgrm_bytes(&report.merged_histogram())?),
    ];
    for (direction, name) in report.directions.iter().zip(names) {
        files.push((name, hgrm_bytes(&direction.histogram)?));
    }

    let mut written = Vec::with_capacity(files.len());
    for (name, bytes) in files {
        let path = dir.join(name);
        fs::write(&path, bytes).map_err(|error| at(&path, &error))?;
        written.push(path);
    }
    Ok(written)
}

fn hgrm_bytes(histogram: &hdrhistogram::Histogram<u64>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    write_hgrm(histogram, HGRM_NS_PER_UNIT, &mut bytes)?;
    Ok(bytes)
}

fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// A file name for each direction: `blade→uplink` becomes `chassis-blade-to-uplink.hgrm`.
///
/// Names that would be the same file get a number, so that no direction overwrites another.
fn hgrm_names(directions: &[Direction]) -> Vec<String> {
    let mut names: Vec<String> = Vec::with_capacity(directions.len());
    for direction in directions {
        let slug = slug(&direction.name);
        let mut name = format!("chassis-{slug}.hgrm");
        let mut number = 2;
        while names.contains(&name) {
            name = format!("chassis-{slug}-{number}.hgrm");
            number += 1;
        }
        names.push(name);
    }
    names
}

/// Lower-case letters and digits with single dashes between them, at most 60 characters, never empty.
fn slug(name: &str) -> String {
    let spelled = name.replace('→', "-to-").replace('↔', "-and-").replace("->", "-to-");
    let words: Vec<String> =
        spelled.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_ascii_lowercase).collect();
    let mut slug = words.join("-");
    slug.truncate(60);
    if slug.is_empty() { "direction".to_owned() } else { slug }
}
