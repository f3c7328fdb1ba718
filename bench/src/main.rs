//! `bench`: scenarios and measurements. Without a subcommand it runs the main job, a chassis at full rate.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
