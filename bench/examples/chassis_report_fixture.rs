//! Writes a report with made-up numbers and prints its tables, to look at their shape without a run.
//!
//! `cargo run -p bench --example chassis_report_fixture -- DIR [BLADES] [WIDTH]`

use std::io;
use std::path::Path;

use bench::report;

#[path = "../src/report/fixture.rs"]
mod fixture;

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(dir) = arguments.first() else {
        return Err(io::Error::other("usage: chassis_report_fixture DIR [BLADES] [WIDTH]"));
    };
    let number = |index: usize, otherwise: u64| arguments.get(index).and_then(|text| text.parse().ok()).unwrap_or(otherwise);
    let report = fixture::report(number(1, 16));
    report::print_tables(&report, &mut io::stdout(), u16::try_from(number(2, 100)).unwrap_or(100))?;
    for path in report::write_all(&report, Path::new(dir))? {
        println!("wrote {}", path.display());
    }
    Ok(())
}
