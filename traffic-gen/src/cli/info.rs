//! `info`: what a capture is.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use super::{Common, Done, complain, print, print_json};
use crate::regress::info::{Info, info};

/// What was typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Captures: pcap or pcapng, plain or compressed with gzip or zstd
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Tells; 2 if a file is no capture or is damaged.
pub fn run(args: &Args, common: &Common) -> Done {
    let mut told = Vec::new();
    let mut code = ExitCode::SUCCESS;
    for path in &args.files {
        match info(path) {
            Ok(info) => {
                if let Some(damage) = &info.damage {
                    complain("error", damage);
                    code = ExitCode::from(2);
                }
                if !common.json {
                    print(&text(&info))?;
                }
                told.push(info);
            }
            Err(error) => {
                complain("error", error);
                code = ExitCode::from(2);
            }
        }
    }
    if common.json {
        print_json(&told)?;
    }
    Ok(code)
}

fn text(info: &Info) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<12} {value}");
    };
    line("file", info.path.display().to_string());
    line("format", info.format.clone());
    for (number, interface) in info.interfaces.iter().enumerate() {
        let name = if interface.name.is_empty() { "(no name)" } else { &interface.name };
        let snap = if interface.snaplen == 0 { "all".to_owned() } else { interface.snaplen.to_string() };
        let speed = interface.speed_bps.map_or_else(String::new, |speed| format!(", {} Mbit/s", speed / 1_000_000));
        line(
            "interface",
            format!(
                "{number} {name}: {}, unit of times {}, {snap} bytes kept{speed}, {} frames",
                interface.link_type, interface.resolution, interface.frames
            ),
        );
    }
    line("frames", format!("{} with {} bytes", info.frames, info.bytes));
    let date = |ns: u64| humantime::format_rfc3339_nanos(UNIX_EPOCH + Duration::from_nanos(ns)).to_string();
    if let (Some(first), Some(last)) = (info.first_ns, info.last_ns) {
        line("time", format!("{} to {}, {:.9} s", date(first), date(last), (last - first) as f64 / 1e9));
    }
    if let (Some(frames), Some(bits)) = (info.frames_per_second, info.bits_per_second) {
        line("rate", format!("{frames:.1} frames/s, {:.6} Mbit/s", bits / 1e6));
    }
    if let (Some(min), Some(max)) = (info.len_min, info.len_max) {
        line("lengths", format!("{min} to {max} bytes without FCS, {:.1} on average", info.bytes as f64 / info.frames.max(1) as f64));
    }
    let list = |counts: Vec<(String, u64)>| counts.iter().map(|(name, count)| format!("{name}: {count}")).collect::<Vec<_>>().join(", ");
    line("with FCS", list(info.sizes.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()));
    line("MACs", format!("{} send, {} are sent to", info.sources, info.destinations));
    if !info.vlans.is_empty() {
        line("VLANs", list(info.vlans.iter().map(|(vlan, count)| (vlan.to_string(), *count)).collect()));
    }
    line("protocols", list(info.protocols.iter().map(|(name, count)| (name.clone(), *count)).collect()));
    for (what, count) in &info.oddities {
        line("odd", format!("{count} frames {what}"));
    }
    if let Some(damage) = &info.damage {
        line("damage", damage.clone());
    }
    text.push('\n');
    text
}
