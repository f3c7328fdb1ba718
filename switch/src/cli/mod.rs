//! The command line: what was typed, and how every command ends.
//!
//! Exit codes: 0, it worked; 1, it ran and something is wrong (frames unaccounted for, output not as expected, nobody answers);
//! 2, the input is wrong (arguments, configuration, captures), and one line on stderr says where.
//!
//! Results go to stdout in one piece, everything else to stderr. A reader that has gone away ends nothing but the output.

pub mod blade;
pub mod blades;
mod bus;
pub mod check;
pub mod client;
pub mod doctor;
pub mod explain;
pub mod fig3;
mod joined;
pub mod lab;
pub mod log;
pub mod rates;
pub mod reload;
pub mod replay;
pub mod run;
pub mod show;
pub mod slots;
pub mod standby;
pub mod steering;
pub mod table;
pub mod takeover;

use std::fmt::Display;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use control::config::{Config, ConfigErrors};
use port::PortId;

/// A software switch blade for multi-server chassis.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100)]
pub struct Cli {
    /// What to log to stderr: error, warn, info, debug, trace, or a filter such as `control=debug` [default: info on a terminal,
    /// else warn; RUST_LOG is heeded]
    #[arg(long, global = true, value_name = "FILTER", value_parser = log::filter)]
    pub log: Option<String>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the switch until SIGINT or SIGTERM
    Run(run::Args),
    /// Say whether a configuration is right
    Check(check::Args),
    /// Look at this machine: what there is, what stands in the way of a switch, and the commands that change it
    Doctor(doctor::Args),
    /// Send captures through the switch on a virtual clock, and keep or compare what comes out
    Replay(replay::Args),
    /// Tell the way of one frame through the switch, phase by phase
    Explain(explain::Args),
    /// Show the state of a running switch
    Show(show::Args),
    /// Make a running switch forget learned addresses
    Flush(show::FlushArgs),
    /// Give a running switch another configuration while frames flow: as a whole or not at all
    Reload(reload::Args),
    /// Keep the configuration that a reload with --confirm-within has brought
    Confirm(reload::AskArgs),
    /// Go back to the configuration before the last reload
    Rollback(reload::AskArgs),
    /// Put a blade back into service
    Attach(slots::Args),
    /// Take a blade out of service while the others go on
    Detach(slots::Args),
    /// Give a running switch other functions and rules
    Steer(steering::SteerArgs),
    /// Have a blade take no new flows of a function, or another part of them
    Drain(steering::DrainArgs),
    /// Set the rate from one port to another
    SetRate(rates::Args),
    /// A chassis of network namespaces on this machine, with the switch running on it
    Lab(lab::Args),
    /// Run the agent on a blade until SIGINT or SIGTERM
    Blade(blade::Args),
    /// Show the blades whose agents have said hello
    Blades(blades::Args),
    /// Have blades enter a mode
    SetMode(blades::SetModeArgs),
    /// Have blades execute a function
    Execute(blades::ExecuteArgs),
    /// Have blades listen to a timeslot
    Listen(blades::ListenArgs),
    /// Have blades work with parameters
    Provision(blades::ProvisionArgs),
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
/// As [`print`].
pub fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(Failure::other)?;
    print(&(text + "\n"))
}

/// The configuration at `path`.
///
/// # Errors
/// All that is wrong with it, a line for each.
pub fn load(path: &Path) -> Result<Config, Failure> {
    Ok(Config::load(path)?)
}

impl From<ConfigErrors> for Failure {
    /// A line for each.
    fn from(errors: ConfigErrors) -> Failure {
        Failure::input(errors.to_string().replace('\n', "\nerror: "))
    }
}

/// The port that an option means, by name or number.
///
/// # Errors
/// There is none; says which there are.
pub fn port(config: &Config, option: &str, text: &str) -> Result<PortId, Failure> {
    let by_number = || text.parse().ok().map(PortId).filter(|&id| config.port(id).is_some());
    config.port_named(text).or_else(by_number).ok_or_else(|| {
        let names: Vec<&str> = config.ports.iter().map(|port| port.name.as_str()).collect();
        Failure::input(format!("{option} {text}: no port is called that: expected one of {}", names.join(", ")))
    })
}

/// `PORT=FILE`, as typed.
#[derive(Clone, Debug)]
pub struct PortFile {
    /// Name or number of the port.
    pub port: String,
    /// The file.
    pub file: PathBuf,
}

impl std::str::FromStr for PortFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((port, file)) if !port.is_empty() && !file.is_empty() => Ok(PortFile { port: port.to_owned(), file: file.into() }),
            _ => Err("expected PORT=FILE, such as blade1=capture.pcapng".to_owned()),
        }
    }
}

/// The ports and files that an option means.
///
/// # Errors
/// As [`port`].
pub fn port_files(config: &Config, option: &str, typed: &[PortFile]) -> Result<Vec<(PortId, PathBuf)>, Failure> {
    typed.iter().map(|PortFile { port, file }| Ok((self::port(config, option, port)?, file.clone()))).collect()
}

/// `PORT=FILE`, or a file that says itself which port each frame belongs to.
#[derive(Clone, Debug)]
pub struct Input(Result<PortFile, PathBuf>);

impl std::str::FromStr for Input {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.contains('=') {
            true => text.parse().map(|file| Input(Ok(file))),
            false if text.is_empty() => Err("expected PORT=FILE or FILE".to_owned()),
            false => Ok(Input(Err(text.into()))),
        }
    }
}

/// The ports and files that an option means; a file without a port names its ports itself.
///
/// # Errors
/// As [`port`].
pub fn inputs(config: &Config, option: &str, typed: &[Input]) -> Result<Vec<(Option<PortId>, PathBuf)>, Failure> {
    let input = |Input(input): &Input| match input {
        Ok(PortFile { port, file }) => Ok((Some(self::port(config, option, port)?), file.clone())),
        Err(file) => Ok((None, file.clone())),
    };
    typed.iter().map(input).collect()
}
