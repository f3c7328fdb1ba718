//! Scenarios, measurements and reports.

pub mod buffers;
pub mod bus;
pub mod callgrind;
pub mod chassis;
pub mod dut;
pub mod generator;
pub mod history;
pub mod hotpath;
pub mod machine;
pub mod pacing;
pub mod peers;
pub mod ports;
pub mod report;
pub mod scale;
pub mod seccomp;
