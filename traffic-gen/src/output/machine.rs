//! The machine and the program of a run: they stand beside every figure.
//!
//! Everything is read from where Linux shows it; what is not shown is said to be unknown.

use std::fs;

use serde::Serialize;

use super::model::Setting;
use super::numbers::fixed;

/// The environment of a run. Texts are shown as they are; empty means unknown.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Machine {
    /// CPU model.
    pub cpu: String,
    /// Logical cores this process may use.
    pub cores: usize,
    /// Cores kept free of other work (`isolcpus`), as the kernel lists them; empty if none.
    pub isolated: String,
    /// TSC ticks in a second; 0 when unknown.
    pub tsc_hz: u64,
    /// Time in ns for a cache line to travel between the generator's and the device's core, measured in this run; `None` when not
    /// measured, or when one core does both.
    pub line_transfer_ns: Option<f64>,
    /// Kernel release.
    pub kernel: String,
    /// Where the mempool lies, for example `none` or `2 MiB`.
    pub hugepages: String,
    /// Frequency governor, `None` where the machine shows none (most virtual machines).
    pub governor: Option<String>,
    /// Version of this program.
    pub version: String,
    /// Commit it was built from, where known.
    pub commit: Option<String>,
}

impl Machine {
    /// This machine, as far as it tells. What only the program knows (hugepages in use, TSC, cache lines) is left to be filled in.
    pub fn here() -> Machine {
        let first_line = |path: &str| fs::read_to_string(path).ok().map(|text| text.lines().next().unwrap_or_default().trim().to_owned());
        let cpu = fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("model name"))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        });
        Machine {
            cpu: cpu.unwrap_or_default(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            isolated: first_line("/sys/devices/system/cpu/isolated").unwrap_or_default(),
            kernel: first_line("/proc/sys/kernel/osrelease").unwrap_or_default(),
            governor: first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: commit(),
            ..Machine::default()
        }
    }

    /// The environment, a line each.
    pub fn settings(&self) -> Vec<Setting> {
        let text = |value: &str| if value.is_empty() { "unknown".to_owned() } else { value.to_owned() };
        vec![
            Setting::new("CPU", text(&self.cpu)),
            Setting::new("cores", self.cores),
            Setting::new("isolated cores", if self.isolated.is_empty() { "none" } else { &self.isolated }),
            Setting::new("TSC", if self.tsc_hz == 0 { text("") } else { format!("{} MHz", fixed(self.tsc_hz as f64 / 1e6, 1)) }),
            Setting::new(
                "cache line between cores",
                self.line_transfer_ns.map_or_else(|| "not measured".to_owned(), |ns| format!("{} ns", fixed(ns, 0))),
            ),
            Setting::new("kernel", text(&self.kernel)),
            Setting::new("hugepages", text(&self.hugepages)),
            Setting::new("frequency governor", self.governor.as_deref().unwrap_or("not shown by this machine")),
            Setting::new("version", text(&self.version)),
            Setting::new("commit", self.commit.as_deref().unwrap_or("unknown")),
        ]
    }
}

/// The commit of the working tree, if this runs in one.
fn commit() -> Option<String> {
    let output = std::process::Command::new("git").args(["describe", "--always", "--dirty", "--abbrev=12"]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}
