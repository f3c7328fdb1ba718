//! `bladeswitch`: the switch blade as a program. A table of contents; each command is a file in `cli`.
#![forbid(unsafe_code)]

mod cli;
mod explain;

use std::process::ExitCode;

use clap::Parser;
use cli::{Cli, Command};

fn main() -> ExitCode {
    let Cli { log, command } = Cli::parse();
    cli::log::start(log.as_deref());
    let done = match command {
        Command::Run(args) => cli::run::run(&args),
        Command::Check(args) => cli::check::check(&args),
        Command::Doctor(args) => cli::doctor::doctor(&args),
        Command::Replay(args) => cli::replay::replay(args),
        Command::Explain(args) => cli::explain::explain(args),
        Command::Show(args) => cli::show::show(&args),
        Command::Flush(args) => cli::show::flush(&args),
        Command::Reload(args) => cli::reload::reload(&args),
        Command::Confirm(args) => cli::reload::confirm(&args),
        Command::Rollback(args) => cli::reload::roll_back(&args),
        Command::Attach(args) => cli::slots::attach(&args),
        Command::Detach(args) => cli::slots::detach(&args),
        Command::Steer(args) => cli::steering::steer(&args),
        Command::Drain(args) => cli::steering::drain(args),
        Command::SetRate(args) => cli::rates::set(args),
        Command::Lab(args) => cli::lab::lab(args),
        Command::Blade(args) => cli::blade::blade(args),
        Command::Blades(args) => cli::blades::blades(&args),
        Command::SetMode(args) => cli::blades::set_mode(args),
        Command::Execute(args) => cli::blades::execute(args),
        Command::Listen(args) => cli::blades::listen(args),
        Command::Provision(args) => cli::blades::provision(args),
    };
    done.unwrap_or_else(|failure| failure.report())
}
