//! The command line: what was typed, and how every command ends.
//!
//! Exit codes: 0, it worked; 1, it ran and something is wrong (the plan was missed, frames were lost or not as expected);
//! 2, the input is wrong (arguments, profiles, captures, ports), and one line on stderr says where.
//!
//! Results go to stdout in one piece, everything else to stderr. A reader that has gone away ends nothing but the output.
//! [`main`] takes the arguments, so that another program can offer the whole tester as a command of its own.
//!
//! Each command is a file beside this one: a `clap` struct of arguments and a function from it and [`Common`] to [`Done`].

pub mod check;
pub mod info;
pub mod log;
mod page;
pub mod progress;
pub mod record;
pub mod replay;
pub mod rfc2544;
pub mod rfc2889;
pub mod rfc3918;
pub mod search;
pub mod send;
pub mod soak;
pub mod stop;
pub mod testbed;
pub mod trend;

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::trial::DutFactory;

/// The tester of a switch: generates, replays, measures.
#[derive(Debug, Parser)]
#[command(name = "traffic-gen", version, about, max_term_width = 100)]
pub struct Cli {
    /// What all commands understand.
    #[command(flatten)]
    pub common: Common,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Arguments of all commands.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Common {
    /// What to log to stderr: error, warn, info, debug, trace, or a filter such as `traffic_gen=debug` [default: info on a
    /// terminal, else warn; RUST_LOG is heeded]
    #[arg(long, global = true, value_name = "FILTER", value_parser = log::filter)]
    pub log: Option<String>,
    /// Print the result as JSON
    #[arg(long, global = true)]
    pub json: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Send captures on time, out of any number of ports
    Replay(Box<replay::Args>),
    /// Send synthetic streams on time
    Send(send::Args),
    /// Say what a capture is: interfaces, times, rate, sizes, protocols, oddities
    Info(info::Args),
    /// Record what arrives on ports as the input of a case
    Record(record::Args),
    /// Replay cases into the switch, compare what comes out with what is expected, and explain what differs
    Check(check::Args),
    /// Throughput, latency, loss, back-to-back frames, recovery, reset (RFC 2544)
    Rfc2544(rfc2544::Args),
    /// The ten tests of LAN switches (RFC 2889)
    Rfc2889(rfc2889::Args),
    /// Throughput, latency and group capacity of multicast (RFC 3918)
    Rfc3918(rfc3918::Args),
    /// Search for several loss ratios at once: MLRsearch (RFC 9971), NDR and PDR
    Search(search::Args),
    /// One load for a long time
    Soak(soak::Args),
    /// Say when a figure changed, from its history of runs; fails if the last change was for the worse
    Trend(trend::Args),
}

/// Runs the command that `args` ask for, the first of which is the name of the program; returns how it ended.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    main_with(args, &[])
}

/// As [`main`], with kinds of devices under test that the program that embeds the tester adds to `--dut`.
pub fn main_with(args: impl IntoIterator<Item = OsString>, factories: &[&dyn DutFactory]) -> ExitCode {
    let Cli { common, command } = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(answer) => {
            // Help and version are answers too, and go to stdout.
            let code = if answer.use_stderr() { 2 } else { 0 };
            let _ = answer.print();
            return ExitCode::from(code);
        }
    };
    log::start(common.log.as_deref());
    run(command, &common, factories).unwrap_or_else(Failure::report)
}

/// Each command is a function of its own file.
fn run(command: Command, common: &Common, factories: &[&dyn DutFactory]) -> Done {
    match command {
        Command::Check(args) => check::run(&args, common),
        Command::Info(args) => info::run(&args, common),
        Command::Trend(args) => trend::run(&args, common),
        Command::Record(args) => record::run(&args, common),
        Command::Rfc2544(args) => rfc2544::run(&args, common, factories),
        Command::Rfc2889(args) => rfc2889::run(&args, common, factories),
        Command::Rfc3918(args) => rfc3918::run(&args, common, factories),
        Command::Search(args) => search::run(&args, common, factories),
        Command::Soak(args) => soak::run(&args, common, factories),
        Command::Replay(args) => replay::replay(*args, common),
        Command::Send(args) => send::send(&args, common),
    }
}

/// How a command ends that can end well.
pub type Done = Result<ExitCode, Failure>;

/// Why a command ended badly.
#[derive(Debug)]
pub struct Failure {
    message: String,
    code: u8,
}

impl Failure {
    /// The input is wrong.
    pub fn input(message: impl Display) -> Failure {
        Failure { message: message.to_string(), code: 2 }
    }

    /// The input was right, and yet.
    pub fn other(message: impl Display) -> Failure {
        Failure { message: message.to_string(), code: 1 }
    }

    /// Says so on stderr.
    pub fn report(self) -> ExitCode {
        complain("error", &self.message);
        ExitCode::from(self.code)
    }

    /// What it says.
    pub fn message(&self) -> &str {
        &self.message
    }
}

/// A line on stderr, such as `warning: …`. If nobody reads it, it is lost.
pub fn complain(what: &str, message: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{what}: {message}");
}

/// A result to stdout.
///
/// # Errors
/// Those of stdout, but not that its reader has gone away: then nobody wants it, and that is all right.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::other(format!("stdout: {error}"))),
        _ => Ok(()),
    }
}

/// A result as JSON to stdout.
///
/// # Errors
/// As [`print()`].
pub fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(Failure::other)?;
    print(&(text + "\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }
}
