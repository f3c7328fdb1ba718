//! Writes a report with made-up numbers, every kind of plot in it, and prints its tables, to look at their shape without a run.
//!
//! `cargo run -p traffic-gen --example report_fixture -- DIR [WIDTH]`

use std::io;
use std::path::Path;

use traffic_gen::{measure, output};

#[path = "../src/output/fixture.rs"]
mod fixture;

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(dir) = arguments.first() else {
        return Err(io::Error::other("usage: report_fixture DIR [WIDTH]"));
    };
    let width = arguments.get(1).and_then(|text| text.parse().ok()).unwrap_or(100);
    let report = fixture::report();
    output::print_report(&report, &mut io::stdout(), width)?;
    for path in output::write_all(&report, Path::new(dir))? {
        println!("wrote {}", path.display());
    }
    Ok(())
}
