//! A report on a terminal, readable from 80 columns up.
//!
//! Units stand in the headings, numbers are right-aligned with thousands separators, and no colour is used: the text is
//! the same in a log file.

use std::io::{self, Write};

use comfy_table::presets::NOTHING;
use comfy_table::{Cell as Field, CellAlignment, ContentArrangement, LineStyle, Table as Grid, TableStyle};

use super::model::{Cell, Item, Report, Shown, Table};
use super::numbers::{count, fixed, micros, percent};

/// Columns below which a table cannot be read.
const WIDTH_MIN: u16 = 80;

/// Columns from which everything has room.
const WIDTH_WIDE: u16 = 100;

/// A rule under the headings, nothing else: numbers in columns need no boxes.
const STYLE: TableStyle = NOTHING.header_separator(LineStyle::none().fill('─').junction('─'));

/// Prints headlines, tables and notes of a report, its warnings and whether it is valid.
///
/// `width` is that of the terminal in columns; less than 80 is taken as 80.
///
/// # Errors
///
/// Those of `out`.
pub fn print_report(report: &Report, out: &mut dyn Write, width: u16) -> io::Result<()> {
    writeln!(out, "{}", report.title)?;
    if !report.standard.is_empty() {
        writeln!(out, "{}", report.standard)?;
    }
    let seed = report.seed.map_or_else(String::new, |seed| format!(", seed {seed}"));
    writeln!(out, "{} s{seed}\n", fixed(report.duration_s, 3))?;
    for headline in &report.headlines {
        writeln!(out, "{}  {}", headline.value, headline.what)?;
    }
    if !report.headlines.is_empty() {
        writeln!(out)?;
    }
    for section in &report.sections {
        for item in &section.items {
            match item {
                Item::Table(table) => print_table(table, out, width)?,
                Item::Note(text) => {
                    print_wrapped(out, "", text, width)?;
                    writeln!(out)?;
                }
                Item::Figure(_) => {}
            }
        }
    }
    for warning in &report.warnings {
        print_wrapped(out, "warning: ", &warning.to_string(), width)?;
    }
    print_wrapped(out, "", &report.validity.to_string(), width)
}

/// Prints a table under its title, and an empty line.
///
/// # Errors
///
/// Those of `out`.
pub fn print_table(table: &Table, out: &mut dyn Write, width: u16) -> io::Result<()> {
    let width = width.max(WIDTH_MIN);
    let narrow = width < WIDTH_WIDE;
    let shown: Vec<usize> = (0..table.columns.len())
        .filter(|&column| match table.columns[column].shown {
            Shown::Always => true,
            Shown::WhenWide => !narrow,
            Shown::OnPage => false,
        })
        .collect();
    let mut grid = Grid::new();
    grid.load_style(STYLE)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(width)
        .set_header(shown.iter().map(|&column| Field::new(&table.columns[column].name)));
    for row in &table.rows {
        grid.add_row(shown.iter().map(|&column| written(&row[column], if narrow { "\n" } else { ", " })));
    }
    for (column, &index) in grid.column_iter_mut().zip(&shown) {
        column.set_padding((0, 1));
        if !table.columns[index].text {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    if !table.title.is_empty() {
        print_wrapped(out, "", &table.title, width)?;
    }
    writeln!(out, "{}\n", grid.trim_fmt())
}

/// A cell as people read it; `separator` stands between the parts of a list.
pub(super) fn written(cell: &Cell, separator: &str) -> String {
    match cell {
        Cell::Empty => String::new(),
        Cell::Unknown => "-".to_owned(),
        Cell::Text(text) => text.clone(),
        Cell::List(parts) => parts.join(separator),
        Cell::Count(n) => count(*n),
        Cell::Number(value, decimals) => fixed(*value, *decimals),
        Cell::Share(share) => percent(*share),
        Cell::Micros(ns) => micros(*ns),
    }
}

/// Prints `head` and `text`, broken between words; the lines after the first are indented by the length of `head`.
///
/// # Errors
///
/// Those of `out`.
pub fn print_wrapped(out: &mut dyn Write, head: &str, text: &str, width: u16) -> io::Result<()> {
    let width = usize::from(width.max(WIDTH_MIN));
    let indent = head.chars().count();
    let mut line = head.to_owned();
    for (i, word) in text.split(' ').enumerate() {
        if i > 0 && line.chars().count() + 1 + word.chars().count() > width {
            writeln!(out, "{line}")?;
            line = " ".repeat(indent);
        } else if i > 0 {
            line.push(' ');
        }
        line.push_str(word);
    }
    writeln!(out, "{line}")
}
