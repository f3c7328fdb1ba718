//! `replay`: captures through the switch on the virtual clock.

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use bladeswitch::replay::{self, CONFIG_FILE, IN_FILE, Options, Outcome, PortSummary, ReplayError};

use super::table::{count, table};
use super::{Done, Failure, Input, complain, inputs, load, print, print_json};

/// What was typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration, in TOML (the kinds of its ports do not matter here); or the folder of a case: its switch.toml is the
    /// configuration, its in.pcapng goes in unless --in says otherwise, and its out.pcapng and counters.toml are expected unless
    /// --out or --expect is given
    #[arg(value_name = "CONFIG|CASE")]
    config: PathBuf,
    /// A capture and the port its frames go into; without PORT= each interface's go into the port of its name; again for
    /// further ones
    #[arg(long = "in", value_name = "[PORT=]FILE", conflicts_with = "stream")]
    inputs: Vec<Input>,
    /// Where to write what came out: a capture if it ends in .pcapng, else a folder for out.pcapng and counters.toml
    #[arg(long, value_name = "DIR|FILE.pcapng", conflicts_with = "stream")]
    out: Option<PathBuf>,
    /// Folder with the out.pcapng and counters.toml to expect
    #[arg(long, value_name = "DIR", conflicts_with = "stream")]
    expect: Option<PathBuf>,
    /// Read pcapng from stdin, its interfaces named like the ports, and write pcapng to stdout as frames come out
    #[arg(long)]
    stream: bool,
    /// Note in the capture what became of each frame: packet ids, verdicts, drops on an interface of their own
    #[arg(long)]
    annotate: bool,
    /// Workers, instead of the configuration's: the output must not depend on it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    workers: Option<u8>,
    /// Goes into the hash of the FDB: the output must not depend on it
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print JSON (with --stream to stderr)
    #[arg(long)]
    json: bool,
}

/// Replays; fails if the output is not as expected, or an input is damaged (after what was whole in it has been played).
pub fn replay(args: Args) -> Done {
    let case = args.config.is_dir().then(|| args.config.clone());
    let mut config = load(&case.as_ref().map_or(args.config, |case| case.join(CONFIG_FILE)))?;
    if let Some(workers) = args.workers {
        config.switch.workers = workers.into();
        config.switch.cores.clear();
    }
    let failure = |error| match error {
        ReplayError::Capture(_) | ReplayError::File { .. } | ReplayError::Interface { .. } => Failure::input(error),
        ReplayError::Pool(_) | ReplayError::Ledger(_) | ReplayError::Output(_) => Failure::other(error),
    };
    if args.stream {
        let played = replay::stream(&config, args.seed, args.annotate, io::stdin().lock(), io::stdout().lock());
        let outcome = match played {
            Ok(outcome) => outcome,
            // A reader that has gone away wants no more.
            Err(ReplayError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
            Err(error) => return Err(failure(error)),
        };
        if args.json {
            eprintln!("{}", serde_json::to_string_pretty(&outcome).map_err(Failure::other)?);
        }
        return Ok(damage(&outcome));
    }
    let mut inputs = inputs(&config, "--in", &args.inputs)?;
    let (mut out, mut expect) = (args.out, args.expect);
    match case {
        Some(case) => {
            if inputs.is_empty() {
                inputs.push((None, case.join(IN_FILE)));
            }
            if out.is_none() && expect.is_none() {
                expect = Some(case);
            }
        }
        None if inputs.is_empty() => {
            return Err(Failure::input(
                "nothing to replay: expected --in FILE, --stream, or the folder of a case instead of the configuration",
            ));
        }
        None if out.is_none() && expect.is_none() => {
            return Err(Failure::input("nothing to do with what comes out: expected --out DIR or --expect DIR"));
        }
        None => {}
    }
    let options = Options { config, inputs, out: out.take(), annotate: args.annotate, expect, seed: args.seed };
    let outcome = replay::run(&options).map_err(failure)?;
    if args.json {
        print_json(&outcome)?;
    } else {
        print(&text(&outcome, &options))?;
    }
    let code = damage(&outcome);
    if !outcome.damaged.is_empty() {
        return Ok(code);
    }
    if !outcome.differences.is_empty() {
        return Err(Failure::other(format!("the output is not as expected: {} differences", outcome.differences.len())));
    }
    Ok(code)
}

/// Says which inputs were damaged.
fn damage(outcome: &Outcome) -> ExitCode {
    for damage in &outcome.damaged {
        complain("error", damage);
    }
    if outcome.damaged.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(2) }
}

fn text(outcome: &Outcome, options: &Options) -> String {
    let row = |(name, port): (&String, &PortSummary)| {
        let drops: Vec<String> = port.drops.iter().map(|(reason, number)| format!("{reason} {}", count(*number))).collect();
        vec![name.clone(), count(port.rx), count(port.tx), drops.join(", ")]
    };
    // In the order of the configuration, not of the alphabet.
    let ports = options.config.ports.iter().filter_map(|port| outcome.counters.port.get_key_value(&port.name));
    let mut text = table(&["port", ">rx frames", ">tx frames", "drops"], ports.map(row));
    if let Some(functions) = &outcome.functions {
        text += "\n";
        text += &super::steering::functions(functions);
    }
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
