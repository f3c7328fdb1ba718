//! Reports: what a run measured, for people and for programs.
//!
//! A method fills a [`Report`] with plain data; this module computes nothing that was not measured and measures nothing itself. The
//! idea: one model, several renderings, so that terminal, page, JSON and CSV cannot disagree.
//!
//! - [`print_report`]: the terminal.
//! - [`write_all`]: `NAME.html` (one self-contained page, plots as inline SVG, nothing loaded from elsewhere), `NAME.json`,
//!   `NAME-TABLE.csv` for each table, `NAME-DISTRIBUTION.hgrm` for each distribution and `NAME.hlog` with all of them over time.
//!
//! Words: seen from the device under test, as everywhere. RX is into it, TX out of it. L2 rates count the frame with its FCS, L1
//! rates add the 20 B of preamble, delimiter and gap. *Latency* is in ns in the model, in µs wherever people read it, `.hgrm`
//! included.
//!
//! A number is real or it is not printed: a percentile beyond what the samples can tell is left out, not guessed.
//!
//! Limits: a run too long for its plot is drawn with every peak kept, but one page has no zoom. No threads.

mod csv;
mod hgrm;
pub mod hlog;
pub mod html;
pub mod json;
pub mod machine;
pub mod model;
pub mod numbers;
pub mod plots;
pub mod sections;
pub mod summary;
pub mod terminal;
pub mod warning;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub use hgrm::{HGRM_NS_PER_UNIT, write_hgrm};
pub use machine::Machine;
pub use model::{Cell, Column, Distribution, Figure, Headline, Interval, Item, Mood, Rate, Report, Section, Setting, Table, Validity};
pub use plots::Plot;
pub use summary::{PERCENTILES, Percentile, Summary, latency_table};
pub use terminal::{print_report, print_table};
pub use warning::Warning;

/// A file of a report.
#[derive(Debug, Clone)]
pub struct File {
    /// Its name.
    pub name: String,
    /// What it holds, in a few words.
    pub what: String,
    /// Its content.
    pub bytes: Vec<u8>,
}

impl File {
    /// A file.
    pub fn new(name: impl Into<String>, what: impl Into<String>, bytes: Vec<u8>) -> File {
        File { name: name.into(), what: what.into(), bytes }
    }
}

/// Writes every file of the report into `dir`, which is created when missing, and returns their paths, the page first.
///
/// Files of the same names are replaced; others are left alone.
///
/// # Errors
///
/// Whatever the file system answers, with the path in the text; also a histogram that cannot be encoded.
pub fn write_all(report: &Report, dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = vec![File::new(
        format!("{}.json", report.name),
        "everything above for programs; times in ns, histograms as HdrHistogram V2 (base64)",
        json::document(report)?,
    )];
    files.extend(hgrm_files(&report.name, &report.distributions)?);
    if !report.distributions.is_empty() {
        let bytes = hlog::document(&report.distributions, report.started_unix_s, report.duration_s)?;
        files.push(File::new(format!("{}.hlog", report.name), "all distributions over time, HdrHistogram interval log, in ns", bytes));
    }
    let tables = report.sections.iter().flat_map(|section| section.items.iter().map(move |item| (section, item)));
    for (section, item) in tables {
        if let Item::Table(table) = item {
            let title = if table.title.is_empty() { &section.title } else { &table.title };
            let stem = format!("{}-{}", report.name, slug(title));
            let name = free_name(&files, &stem, "csv");
            files.push(File::new(name, format!("table: {title}"), csv::document(table)?));
        }
    }
    write_files(report, files, dir)
}

/// Writes the page `NAME.html`, which links to `files`, and these.
///
/// # Errors
///
/// Whatever the file system answers, with the path in the text.
pub fn write_files(report: &Report, files: Vec<File>, dir: &Path) -> io::Result<Vec<PathBuf>> {
    fs::create_dir_all(dir).map_err(|error| at(dir, &error))?;
    let page = File::new(format!("{}.html", report.name), "this page", html::page(report, &files)?.into_bytes());
    let mut written = Vec::with_capacity(files.len() + 1);
    for file in std::iter::once(page).chain(files) {
        let path = dir.join(file.name);
        fs::write(&path, file.bytes).map_err(|error| at(&path, &error))?;
        written.push(path);
    }
    Ok(written)
}

/// A percentile distribution for each of these, in µs: `blade→uplink` becomes `NAME-blade-to-uplink.hgrm`.
///
/// # Errors
///
/// None but those of memory that cannot be written to.
pub fn hgrm_files(name: &str, distributions: &[Distribution]) -> io::Result<Vec<File>> {
    let mut files = Vec::with_capacity(distributions.len());
    for distribution in distributions {
        let mut bytes = Vec::new();
        write_hgrm(&distribution.histogram, HGRM_NS_PER_UNIT, &mut bytes)?;
        let file = free_name(&files, &format!("{name}-{}", slug(&distribution.name)), "hgrm");
        files.push(File::new(file, format!("percentile distribution of {}, in µs", distribution.name), bytes));
    }
    Ok(files)
}

/// A name that none of the files has: where two would be the same, the later gets a number.
fn free_name(files: &[File], stem: &str, extension: &str) -> String {
    let mut name = format!("{stem}.{extension}");
    let mut number = 2;
    while files.iter().any(|file| file.name == name) {
        name = format!("{stem}-{number}.{extension}");
        number += 1;
    }
    name
}

fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Lower-case letters and digits with single dashes between them, at most 60 characters, never empty.
pub fn slug(name: &str) -> String {
    let spelled = name.replace('→', "-to-").replace('↔', "-and-").replace("->", "-to-").replace('µ', "u");
    let words: Vec<String> =
        spelled.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_ascii_lowercase).collect();
    let mut slug = words.join("-");
    slug.truncate(60);
    slug.truncate(slug.trim_end_matches('-').len());
    if slug.is_empty() { "unnamed".to_owned() } else { slug }
}
