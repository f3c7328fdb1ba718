//! RFC 2889: benchmarking methodology for LAN switching devices.
//!
//! | section | test | module |
//! |---|---|---|
//! | 5.1 | fully meshed throughput, frame loss and forwarding rates | [`forwarding`] |
//! | 5.2 | partially meshed one-to-many, many-to-one | [`forwarding`] |
//! | 5.3 | partially meshed multiple devices | [`forwarding`] |
//! | 5.4 | partially meshed unidirectional traffic | [`forwarding`] |
//! | 5.5 | congestion control | [`congestion`] |
//! | 5.6 | forward pressure and maximum forwarding rate | [`pressure`] |
//! | 5.7 | address caching capacity | [`addresses`] |
//! | 5.8 | address learning rate | [`addresses`] |
//! | 5.9 | errored frames filtering | [`errored`] |
//! | 5.10 | broadcast frame forwarding and latency | [`broadcast`] |

pub mod addresses;
pub mod broadcast;
pub mod congestion;
pub mod errored;
pub mod forwarding;
pub mod pressure;

use super::report::count;
use super::{Report, Runner, Settings};
use crate::trial::{TestbedError, frames_per_second};

/// Frame sizes of RFC 2889 §5: those of RFC 2544.
pub use super::SIZES;

/// Trial time that RFC 2889 §5.1.2 recommends.
pub const TRIAL: port::Nanos = port::Nanos::from_secs(30);

/// The settings that RFC 2889 starts from.
pub fn settings() -> Settings {
    Settings { trial: TRIAL, ..Settings::default() }
}

pub(in crate::method) fn setup(report: &mut Report, runner: &Runner<'_>) {
    let settings = &runner.settings;
    report.set("device and clock", runner.testbed.describe());
    let ports = runner.testbed.ports();
    let names: Vec<String> = ports.iter().map(|port| format!("{} ({} Mb/s)", port.name, count(port.line_bps as f64 / 1e6))).collect();
    report.set("ports", names.join(", "));
    report.set("duplex mode", "full");
    report.set(
        "trial",
        format!(
            "{} s, then {} s wait and {} s rest",
            settings.trial.as_secs_f64(),
            settings.wait.as_secs_f64(),
            settings.rest.as_secs_f64()
        ),
    );
    report.set("addresses per port, burst size", format!("{}, {}", settings.addresses, settings.burst));
}

/// The test needs so many ports.
pub(in crate::method) fn need(runner: &Runner<'_>, ports: usize, test: &str) -> Result<(), TestbedError> {
    match runner.testbed.ports().len() {
        have if have < ports => Err(TestbedError::Setup(format!("{test} needs {ports} ports, there are {have}"))),
        _ => Ok(()),
    }
}

/// Maximum load of a port in frames a second.
pub(super) fn line_fps(runner: &Runner<'_>, port: usize, size: usize) -> f64 {
    frames_per_second(runner.testbed.ports()[port].line_bps, size)
}
