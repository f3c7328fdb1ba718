//! Tables as CSV (RFC 4180): the headings, then a line for each row, numbers as numbers in the unit of their heading.

use std::io;

use super::model::{Cell, Table};

/// The table as bytes. Shares are in per cent and times in µs, as their headings say; what is unknown is an empty field.
///
/// # Errors
///
/// Only if memory cannot be written to.
pub fn document(table: &Table) -> io::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(table.columns.iter().map(|column| &column.name)).map_err(io::Error::other)?;
    for row in &table.rows {
        writer.write_record(row.iter().map(plain)).map_err(io::Error::other)?;
    }
    writer.into_inner().map_err(|error| io::Error::other(error.to_string()))
}

/// A cell without separators for thousands.
fn plain(cell: &Cell) -> String {
    let number = |value: f64| if value.is_finite() { value.to_string() } else { String::new() };
    match cell {
        Cell::Empty | Cell::Unknown => String::new(),
        Cell::Text(text) => text.clone(),
        Cell::List(parts) => parts.join("; "),
        Cell::Count(n) => n.to_string(),
        Cell::Number(value, _) => number(*value),
        Cell::Share(share) => number(share * 100.0),
        Cell::Micros(ns) => number(ns / 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::model::Column;

    #[test]
    fn numbers_are_numbers_and_commas_are_quoted() {
        let columns = ["name", "frames", "lost %", "p99 µs", "rate", "reasons"].map(Column::text).to_vec();
        let mut table = Table::new("t", columns);
        table.push(vec![
            Cell::text("blade 1, \"left\""),
            Cell::Count(1_671_870),
            Cell::Share(0.375),
            Cell::Micros(1_234.0),
            Cell::Number(f64::NAN, 3),
            Cell::List(vec!["tx_full 7".to_owned(), "vlan 1,000".to_owned()]),
        ]);
        table.push(vec![Cell::Unknown, Cell::Empty, Cell::Share(0.0), Cell::Unknown, Cell::Number(0.5, 0), Cell::Empty]);
        let text = String::from_utf8(document(&table).unwrap()).unwrap();
        assert_eq!(
            text,
            "name,frames,lost %,p99 µs,rate,reasons\n\
             \"blade 1, \"\"left\"\"\",1671870,37.5,1.234,,\"tx_full 7; vlan 1,000\"\n\
             ,,0,,0.5,\n"
        );
    }
}
