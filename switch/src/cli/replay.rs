//! `replay`: captures through the switch on the virtual clock.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use bladeswitch::replay::{self, Options, Outcome, PortSummary, ReplayError};

use super::table::{count, table};
use super::{Done, Failure, PortFile, complain, load, port_files, print, print_json};

/// What was typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration, in TOML; the kinds of its ports do not matter here
    config: PathBuf,
    /// A capture and the port its frames go into; again for further ones
    #[arg(long = "in", value_name = "PORT=FILE", required = true)]
    inputs: Vec<PortFile>,
    /// Folder to write what came out to: out.pcapng and counters.toml
    #[arg(long, value_name = "DIR", required_unless_present = "expect")]
    out: Option<PathBuf>,
    /// Folder with the out.pcapng and counters.toml to expect
    #[arg(long, value_name = "DIR")]
    expect: Option<PathBuf>,
    /// Workers, instead of the configuration's: the output must not depend on it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    workers: Option<u8>,
    /// Goes into the hash of the FDB: the output must not depend on it
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Replays; fails if the output is not as expected, or an input is damaged (after what was whole in it has been played).
pub fn replay(args: Args) -> Done {
    let mut config = load(&args.config)?;
    if let Some(workers) = args.workers {
        config.switch.workers = workers.into();
        config.switch.cores.clear();
    }
    let inputs = port_files(&config, "--in", &args.inputs)?;
    let options = Options { config, inputs, out: args.out, expect: args.expect, seed: args.seed };
    let outcome = replay::run(&options).map_err(|error| match error {
        ReplayError::Capture(_) | ReplayError::File { .. } => Failure::input(error),
        ReplayError::Pool(_) | ReplayError::Ledger(_) => Failure::other(error),
    })?;
    if args.json {
        print_json(&outcome)?;
    } else {
        print(&text(&outcome, &options))?;
    }
    for damage in &outcome.damaged {
        complain("error", damage);
    }
    if !outcome.damaged.is_empty() {
        return Ok(ExitCode::from(2));
    }
    if !outcome.differences.is_empty() {
        return Err(Failure::other(format!("the output is not as expected: {} differences", outcome.differences.len())));
    }
    Ok(ExitCode::SUCCESS)
}

fn text(outcome: &Outcome, options: &Options) -> String {
    let row = |(name, port): (&String, &PortSummary)| {
        let drops: Vec<String> = port.drops.iter().map(|(reason, number)| format!("{reason} {}", count(*number))).collect();
        vec![name.clone(), count(port.rx), count(port.tx), drops.join(", ")]
    };
    // In the order of the configuration, not of the alphabet.
    let ports = options.config.ports.iter().filter_map(|port| outcome.counters.port.get_key_value(&port.name));
    let mut text = table(&["port", ">rx frames", ">tx frames", "drops"], ports.map(row));
    // Writing to a string cannot fail.
    let _ = writeln!(text, "\n{} frames in, {} out", count(outcome.frames_in), count(outcome.frames_out));
    if outcome.snapped > 0 {
        let _ = writeln!(text, "{} frames were cut short when they were captured and went in as they are", count(outcome.snapped));
    }
    let _ = writeln!(text, "{}", outcome.ledger);
    for path in &outcome.written {
        let _ = writeln!(text, "written: {}", path.display());
    }
    if let Some(dir) = &options.expect {
        for difference in &outcome.differences {
            let _ = writeln!(text, "difference: {difference}");
        }
        if outcome.differences.is_empty() {
            let _ = writeln!(text, "as expected in {}", dir.display());
        }
    }
    text
}
