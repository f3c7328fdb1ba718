//! Scenarios, measurements and reports.

pub mod chassis;
pub mod hotpath;
pub mod machine;
pub mod report;
