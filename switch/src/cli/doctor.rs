//! `doctor`: is the machine fit to run a switch, or a certain one?

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bladeswitch::doctor::{Finding, Machine, Nic, Report, Severity, examine};
use serde::Serialize;

use super::{Done, load, print, print_json, table};

/// What was typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Judge the machine for this configuration, in TOML: its ports, cores and buffers
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Answer<'a> {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<&'a Path>,
    #[serde(flatten)]
    report: &'a Report,
}

/// Says what was found. Exit code 1 if the configuration cannot run here.
pub fn doctor(args: &Args) -> Done {
    let config = args.config.as_deref().map(load).transpose()?;
    let report = examine(&Machine::this(), config.as_ref());
    let ok = config.is_none() || report.count(Severity::Problem) == 0;
    match args.json {
        true => print_json(&Answer { ok, config: args.config.as_deref(), report: &report })?,
        false => print(&text(&report))?,
    }
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// The report for a terminal: the machine, its interfaces, then the findings, those that want something done with their reasons.
fn text(report: &Report) -> String {
    let nodes = report.cores.iter().filter_map(|core| core.numa_node).max().map_or(1, |node| node + 1);
    let mut text = format!(
        "kernel {}, {}, {}, {} MiB{}\n\n",
        report.kernel,
        counted(report.cores.len(), "core", "cores"),
        counted(nodes, "node", "nodes"),
        table::count(report.memory_mib),
        if report.virtual_machine { ", a virtual machine" } else { "" },
    );
    if !report.interfaces.is_empty() {
        text += &table::table(
            &["interface", "PCI", "driver", ">speed", ">node", ">IOMMU", ">queues", "link", "default route"],
            report.interfaces.iter().map(row),
        );
        text.push('\n');
    }
    for finding in report.findings.iter().filter(|finding| finding.severity > Severity::Ok) {
        text += &paragraph(finding);
        text.push('\n');
    }
    let ok = report.findings.iter().filter(|finding| finding.severity == Severity::Ok);
    text += &table::table(
        &["ok", "of", "found"],
        ok.map(|finding| vec![finding.id.to_owned(), finding.subject.clone(), finding.found.clone()]),
    );
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "\n{}, {}, {} ok",
        counted(report.count(Severity::Problem), "problem", "problems"),
        counted(report.count(Severity::Hint), "hint", "hints"),
        report.count(Severity::Ok)
    );
    text
}

fn row(nic: &Nic) -> Vec<String> {
    let speed =
        nic.speed_mbps.map(|mbps| if mbps >= 1000 && mbps.is_multiple_of(1000) { format!("{}G", mbps / 1000) } else { format!("{mbps}M") });
    vec![
        table::or_dash(nic.interface.clone()),
        table::or_dash(nic.pci.clone()),
        table::or_dash(nic.driver.clone()),
        table::or_dash(speed),
        table::or_dash(nic.numa_node.map(|node| node.to_string())),
        table::or_dash(nic.iommu_group.clone()),
        nic.rx_queues.to_string(),
        if nic.up { "up" } else { "down" }.to_owned(),
        if nic.default_route { "yes" } else { "no" }.to_owned(),
    ]
}

fn paragraph(finding: &Finding) -> String {
    let subject = if finding.subject.is_empty() { String::new() } else { format!(" {}", finding.subject) };
    let fix = finding.fix.as_ref().map_or(String::new(), |fix| format!("         $ {fix}\n"));
    format!("{:<8} {}{subject}: {}\n         {}\n{fix}", finding.severity, finding.id, finding.found, finding.meaning)
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
