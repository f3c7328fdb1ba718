//! Tables on a terminal: a rule under the headings and nothing else, numbers to the right, the same text in a log file.

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, CellAlignment, LineStyle, Table, TableStyle};

const STYLE: TableStyle = NOTHING.header_separator(LineStyle::none().fill('─').junction('─'));

/// A table of `rows` under `heads`. Headings that begin with `>` have numbers below them; the mark is not shown.
pub fn table(heads: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(STYLE).set_header(heads.iter().map(|head| Cell::new(head.trim_start_matches('>'))));
    for row in rows {
        table.add_row(row);
    }
    for (column, head) in table.column_iter_mut().zip(heads) {
        column.set_padding((0, 1));
        if head.starts_with('>') {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt() + "\n"
}

/// `1234567` as `1,234,567`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// With one decimal, or `-` for nothing.
pub fn tenths(number: Option<f64>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| format!("{number:.1}"))
}

/// Milliseconds as seconds with one decimal, or `-` for nothing.
pub fn age(ms: Option<u64>) -> String {
    tenths(ms.map(|ms| ms as f64 / 1000.0))
}

/// The text, or `-` for nothing.
pub fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567"), (u64::MAX, "18,446,744,073,709,551,615")]
        {
            assert_eq!(count(number), text);
        }
    }

    #[test]
    fn numbers_are_aligned_and_no_line_ends_in_blanks() {
        let text = table(&["port", ">rx"], [vec!["a".to_owned(), "1".to_owned()], vec!["longer".to_owned(), "1,000".to_owned()]]);
        assert_eq!(text, "port       rx\n──────────────\na           1\nlonger  1,000\n");
    }
}
