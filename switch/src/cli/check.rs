//! `check`: is a configuration right?

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use bladeswitch::assembly;
use control::config::{Config, ConfigErrors, Idle};
use serde::Serialize;

use super::{Done, print, print_json};

/// What was typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration, in TOML
    config: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Answer<'a> {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<String>,
    #[serde(flatten)]
    errors: Option<&'a ConfigErrors>,
}

/// Says `ok` and a summary, or every error.
pub fn check(args: &Args) -> Done {
    match (Config::load(&args.config), args.json) {
        (Ok(config), false) => print(&format!("ok: {}: {}\n", args.config.display(), summary(&config)))?,
        (Ok(config), true) => print_json(&Answer { ok: true, summary: Some(summary(&config)), errors: None })?,
        (Err(errors), false) => return Err(errors.into()),
        (Err(errors), true) => {
            print_json(&Answer { ok: false, summary: None, errors: Some(&errors) })?;
            return Ok(ExitCode::from(2));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A configuration in a line: `chassis-1: 16 blades, 1 uplink, 1 VLAN, 1 worker (adaptive), API at /run/bladeswitch.sock`.
pub fn summary(config: &Config) -> String {
    let blades = config.ports.iter().filter(|port| assembly::slot(port).is_some()).count();
    let mut text = format!(
        "{}: {}, {}, {}, {} ({})",
        config.switch.name,
        count(blades, "blade"),
        count(config.ports.len() - blades, "uplink"),
        count(config.vlans.len(), "VLAN"),
        count(config.switch.workers, "worker"),
        match config.switch.idle {
            Idle::Spin => "spin",
            Idle::Adaptive => "adaptive",
        }
    );
    // Writing to a string cannot fail.
    let _ = match &config.switch.api {
        Some(path) => write!(text, ", API at {}", path.display()),
        None => write!(text, ", no API"),
    };
    text
}

fn count(count: usize, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}
