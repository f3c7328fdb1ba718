//! A look at the machine before a switch runs on it: what there is, what stands in the way, and the command that changes it.
//!
//! [`examine`] reads `/proc` and `/sys` (of a [`Machine`], so that tests can show it other ones) and judges what it reads, with a
//! configuration or without. It changes nothing, opens no interface and needs no privileges; what only root may read is called unread.
//! Capabilities and limits are those of the process that asks: ask as the user who will run the switch.
//!
//! - `machine`: files, lists of cores, the kernel's options;
//! - `nic`: interfaces, and what binding them to vfio-pci would take;
//! - `cpu`: cores, siblings, interrupts, frequency, clock;
//! - `memory`: hugepages and pool;
//! - `kernel`: features, limits, capabilities, the ports of the configuration.
//!
//! Limits: Linux on x86-64 is what it knows best; commands are written for Debian. One command of a finding may be one of several ways.

mod cpu;
mod kernel;
mod machine;
mod memory;
mod nic;

use std::collections::BTreeSet;
use std::fmt;

use control::config::{Config, PortConfig, PortKind};
use serde::Serialize;

pub use machine::Machine;
pub use nic::Nic;

use machine::{Kernel, core_list};

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// It works, and could be faster, steadier or safer.
    Hint,
    /// The configuration cannot run; without one, no switch on interfaces can.
    Problem,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Severity::Ok => "ok",
            Severity::Hint => "hint",
            Severity::Problem => "problem",
        })
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at; the name does not change between versions.
    pub id: &'static str,
    /// Which one of several: an interface, a node, a core. Empty if there is only one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subject: String,
    /// How much it matters.
    pub severity: Severity,
    /// What was found.
    pub found: String,
    /// What that means for a switch, in a sentence.
    pub meaning: String,
    /// A command for a shell that changes it, where there is one; with `sudo` unless root asks. It lasts until the machine is started again,
    /// unless it restarts it itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Finding {
    fn new(severity: Severity, id: &'static str, found: impl Into<String>, meaning: impl Into<String>) -> Finding {
        Finding { id, subject: String::new(), severity, found: found.into(), meaning: meaning.into(), fix: None }
    }

    fn ok(id: &'static str, found: impl Into<String>, meaning: impl Into<String>) -> Finding {
        Finding::new(Severity::Ok, id, found, meaning)
    }

    fn hint(id: &'static str, found: impl Into<String>, meaning: impl Into<String>) -> Finding {
        Finding::new(Severity::Hint, id, found, meaning)
    }

    fn problem(id: &'static str, found: impl Into<String>, meaning: impl Into<String>) -> Finding {
        Finding::new(Severity::Problem, id, found, meaning)
    }

    fn of(mut self, subject: impl Into<String>) -> Finding {
        self.subject = subject.into();
        self
    }

    fn fix(mut self, command: impl Into<String>) -> Finding {
        self.fix = Some(command.into());
        self
    }

    fn fix_if(mut self, command: Option<String>) -> Finding {
        self.fix = command;
        self
    }
}

/// A core of the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Core {
    /// Its number.
    pub id: usize,
    /// Its NUMA node.
    pub numa_node: Option<usize>,
    /// The other threads of the same physical core, as a list.
    pub siblings: String,
    /// Kept free of other threads by `isolcpus`.
    pub isolated: bool,
    /// Without a timer tick while one thread runs (`nohz_full`).
    pub nohz_full: bool,
    /// The frequency governor, if the system has one.
    pub governor: Option<String>,
    /// A worker of the configuration runs there.
    pub worker: bool,
}

/// All that was found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Release of the kernel.
    pub kernel: String,
    /// Does it run in a virtual machine?
    pub virtual_machine: bool,
    /// Memory in all, in MiB.
    pub memory_mib: u64,
    /// The network interfaces that are devices, and network devices that have no interface.
    pub interfaces: Vec<Nic>,
    /// The cores that are online.
    pub cores: Vec<Core>,
    /// What was looked at, the worst first.
    pub findings: Vec<Finding>,
}

impl Report {
    /// How many findings are of this severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }
}

/// What all checks look at.
struct Look<'a> {
    machine: &'a Machine,
    config: Option<&'a Config>,
    kernel: Kernel,
    cores: Vec<Core>,
    nics: Vec<Nic>,
    virtual_machine: bool,
    /// The flags of the first core in `/proc/cpuinfo`.
    flags: BTreeSet<String>,
    intel: bool,
}

impl Look<'_> {
    fn ports(&self) -> &[PortConfig] {
        self.config.map_or(&[], |config| &config.ports)
    }

    /// Has the configuration a port of one of these kinds? Without a configuration: it might.
    fn uses(&self, kinds: &[PortKind]) -> bool {
        self.config.is_none() || self.ports().iter().any(|port| kinds.contains(&port.spec.kind))
    }

    fn workers(&self) -> BTreeSet<usize> {
        self.cores.iter().filter(|core| core.worker).map(|core| core.id).collect()
    }

    /// The command that adds parameters to the kernel's command line, where GRUB is what starts the kernel.
    fn boot_with(&self, parameters: &str) -> Option<String> {
        self.machine.exists("etc/default/grub").then(|| {
            format!("sudo sed -i 's/^GRUB_CMDLINE_LINUX=\"/&{parameters} /' /etc/default/grub && sudo update-grub && sudo systemctl reboot")
        })
    }

    /// What to add to a meaning: that it takes a restart, and where the parameters go if there is no such command.
    fn boot_note(&self, parameters: &str) -> String {
        match self.boot_with(parameters) {
            Some(_) => " The command restarts the machine.".to_owned(),
            None => format!(" Add `{parameters}` to the kernel's command line, wherever this machine has it, and restart."),
        }
    }

    /// Does root ask? Then commands need no `sudo`, which a small Debian does not even have.
    fn is_root(&self) -> bool {
        let status = self.machine.text("proc/self/status").unwrap_or_default();
        status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().nth(1)) == Some("0")
    }
}

/// Looks at a machine, with the eyes of a configuration if there is one.
pub fn examine(machine: &Machine, config: Option<&Config>) -> Report {
    let cpuinfo = machine.text("proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let mut lines = cpuinfo.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(key, _)| key.trim() == name).map_or("", |(_, value)| value.trim())
    };
    let flags: BTreeSet<String> = field("flags").split_whitespace().map(str::to_owned).collect();
    let look = Look {
        machine,
        config,
        kernel: Kernel::of(machine),
        cores: cpu::cores(machine, config),
        nics: nic::nics(machine),
        virtual_machine: flags.contains("hypervisor"),
        flags,
        intel: field("vendor_id") == "GenuineIntel",
    };
    let mut findings = kernel::check(&look);
    findings.extend(nic::check(&look));
    findings.extend(memory::check(&look));
    findings.extend(cpu::check(&look));
    if look.is_root() {
        for fix in findings.iter_mut().filter_map(|finding| finding.fix.as_mut()) {
            *fix = fix.replace("sudo ", "");
        }
    }
    // Within a severity they stay in the order of the checks.
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    Report {
        virtual_machine: look.virtual_machine,
        memory_mib: memory::kib(machine, "MemTotal").unwrap_or(0) / 1024,
        kernel: look.kernel.release,
        interfaces: look.nics,
        cores: look.cores,
        findings,
    }
}

/// `a core`, or `cores 2-3`.
fn cores_text(cores: &BTreeSet<usize>) -> String {
    format!("core{} {}", if cores.len() == 1 { "" } else { "s" }, core_list(cores))
}
