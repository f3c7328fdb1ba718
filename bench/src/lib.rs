//! Scenarios, measurements and reports.

pub mod hotpath;
pub mod report;
