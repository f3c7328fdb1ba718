//! `traffic-gen`: the tester as a program. All of it is in [`traffic_gen::cli`], so that other programs can embed it.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    traffic_gen::cli::main(std::env::args_os())
}
