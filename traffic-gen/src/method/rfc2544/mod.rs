//! RFC 2544: benchmarking methodology for network interconnect devices.
//!
//! | section | test | module |
//! |---|---|---|
//! | 26.1 | throughput | [`throughput`] |
//! | 26.2 | latency | [`latency`] |
//! | 26.3 | frame loss rate | [`loss`] |
//! | 26.4 | back-to-back frames, with RFC 9004 | [`back_to_back`] |
//! | 26.5 | system recovery | [`recovery`] |
//! | 26.6 | reset, as RFC 6201 has it | [`reset`] |

pub mod back_to_back;
pub mod latency;
pub mod loss;
pub mod recovery;
pub mod reset;
pub mod throughput;

use super::report::count;
use super::{Pattern, Report, Runner};
use crate::trial::{TestbedError, TrialResult};

/// What the standard wants beside every result (§26: media, protocol, load).
pub(super) fn setup(report: &mut Report, runner: &Runner<'_>, pattern: &Pattern) {
    let settings = &runner.settings;
    report.set("device and clock", runner.testbed.describe());
    let ports = runner.testbed.ports();
    let names: Vec<String> = ports.iter().map(|port| format!("{} ({} Mb/s)", port.name, count(port.line_bps as f64 / 1e6))).collect();
    report.set("ports", names.join(", "));
    report.set("media, protocol", "Ethernet; UDP over IPv4 (RFC 2544 appendix C)");
    report.set("pattern", format!("{}, {} of {} ports send", pattern.name, pattern.senders(), ports.len()));
    report.set(
        "trial",
        format!(
            "{} s, then {} s wait and {} s rest",
            settings.trial.as_secs_f64(),
            settings.wait.as_secs_f64(),
            settings.rest.as_secs_f64()
        ),
    );
    report.set("stations per port, burst size", format!("{}, {}", settings.addresses, settings.burst));
}

/// Does a trial count as without loss?
pub(super) fn passes(runner: &Runner<'_>, result: &TrialResult) -> bool {
    result.is_valid() && result.total().loss_ratio() <= runner.settings.loss_accepted
}

/// The error of a pattern in which nobody sends.
pub(super) fn check(pattern: &Pattern) -> Result<(), TestbedError> {
    match pattern.senders() {
        0 => Err(TestbedError::Setup(format!("nobody sends in the pattern `{}`: it needs more ports", pattern.name))),
        _ => Ok(()),
    }
}
