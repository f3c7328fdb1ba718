//! `reload`, `confirm` and `rollback`: another configuration for a running switch, and back again.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Duration;

use control::Control;
use control::api::{CONFIRM_MS_MAX, Confirmed, ReloadAnswer, ReloadRequest};
use control::config::Config;
use control::reload::{Change, Disturbs, Plan};
use control::show;
use serde_json::Value;

use super::show::{DEFAULT_SOCKET, read};
use super::table::table;
use super::{Done, Failure, client, complain, load, print};

/// Characters of a value that a line of a plan has.
const VALUE_MAX: usize = 40;

/// What was typed after `reload`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration, in TOML [default: the file the switch was started with, which it reads itself]
    file: Option<PathBuf>,
    /// Only tell what would change and whom that disturbs; ends with 1 if it needs a restart
    #[arg(long)]
    plan: bool,
    /// Go back to the configuration there is now after so long (500ms, 60s, 5m), unless `bladeswitch confirm` comes before
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "plan")]
    confirm_within: Option<Duration>,
    /// Print the API's JSON
    #[arg(long)]
    json: bool,
    /// The switch's API socket (its switch.api)
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
}

/// What was typed after `confirm` or `rollback`.
#[derive(Debug, clap::Args)]
pub struct AskArgs {
    /// Print the API's JSON
    #[arg(long)]
    json: bool,
    /// The switch's API socket (its switch.api)
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
}

fn time(text: &str) -> Result<Duration, String> {
    let units = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];
    let ms = units.iter().find_map(|(unit, ms)| text.strip_suffix(unit)?.parse::<u64>().ok()?.checked_mul(*ms));
    match ms.filter(|ms| (1..=CONFIRM_MS_MAX).contains(ms)) {
        Some(ms) => Ok(Duration::from_millis(ms)),
        None => Err("expected a whole number with ms, s, m or h, 1ms to 24h, such as 60s".to_owned()),
    }
}

/// Another configuration.
pub fn reload(args: &Args) -> Done {
    let mut request = ReloadRequest { plan: args.plan, ..ReloadRequest::default() };
    request.confirm_within_ms = args.confirm_within.map(|within| within.as_millis() as u64);
    if let Some(path) = &args.file {
        // Read here, by the rights of whoever types; checked here as well, so that what is wrong is said as `check` says it.
        load(path)?;
        let text = std::fs::read_to_string(path).map_err(|error| Failure::input(format!("{}: {error}", path.display())))?;
        let name = std::path::absolute(path).unwrap_or_else(|_| path.clone());
        (request.text, request.file) = (Some(text), Some(name.display().to_string()));
    }
    let body = serde_json::to_string(&request).map_err(Failure::other)?;
    let answer = client::post(&args.socket, "/v1/reload", body)?;
    let shown: ReloadAnswer = read(&answer)?;
    print(&if args.json { answer + "\n" } else { text(&shown) })?;
    Ok(if shown.needs_restart { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The configuration stays.
pub fn confirm(args: &AskArgs) -> Done {
    let answer = client::post(&args.socket, "/v1/confirm", String::new())?;
    let Confirmed { confirmed } = read(&answer)?;
    print(&if args.json { answer + "\n" } else { format!("confirmed: {} stays\n", file(confirmed.as_deref())) })?;
    Ok(ExitCode::SUCCESS)
}

/// The one before.
pub fn roll_back(args: &AskArgs) -> Done {
    let answer = client::post(&args.socket, "/v1/rollback", String::new())?;
    print(&if args.json {
        answer + "\n"
    } else {
        let ReloadAnswer { file: name, plan, .. } = read(&answer)?;
        format!("{}rolled back to {}\n", changes(&plan), file(name.as_deref()))
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Reads the file of the start again, as `reload` does, and says on stderr what came of it; `quietly`: unless nothing has changed.
pub fn again(control: &Mutex<Control>, quietly: bool) {
    let lock = || control.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let Some(path) = lock().start_file().map(Path::to_owned) else { return };
    let errors = match Config::load(&path) {
        Ok(config) => match lock().reload(config, Some(path.display().to_string()), None) {
            Ok(plan) if quietly && plan.changes.is_empty() => return,
            Ok(plan) => return complain("reload", format!("{}: {}", path.display(), summary(&plan))),
            Err(error) => error.to_string(),
        },
        Err(errors) => errors.to_string().replace('\n', "\nreload: "),
    };
    complain("reload", errors);
}

fn summary(plan: &Plan) -> String {
    match plan.changes.len() {
        0 => "nothing has changed".to_owned(),
        1 => "1 change is in use".to_owned(),
        count => format!("{count} changes are in use"),
    }
}

fn file(name: Option<&str>) -> &str {
    name.unwrap_or("the configuration that a program has built")
}

/// What a reload says.
fn text(answer: &ReloadAnswer) -> String {
    let mut text = changes(&answer.plan);
    let name = file(answer.file.as_deref());
    let said = match (answer.applied, answer.needs_restart, answer.confirm_within_ms) {
        (true, _, None) => format!("{name}: {}\n", summary(&answer.plan)),
        (true, _, Some(ms)) => {
            format!("{name}: {}; rolled back in {} s unless `bladeswitch confirm` comes before\n", summary(&answer.plan), seconds(ms))
        }
        (false, true, _) => format!("{name}: cannot be loaded while the switch runs; restart it to use this configuration\n"),
        (false, false, _) => format!("{name}: can be loaded while the switch runs; nothing has changed yet\n"),
    };
    text += &said;
    text
}

/// The changes as a table; nothing if there are none.
fn changes(plan: &Plan) -> String {
    if plan.changes.is_empty() {
        return String::new();
    }
    let row = |change: &Change| vec![change.what.clone(), value(change.from.as_ref()), value(change.to.as_ref()), disturbs(change)];
    table(&["what", "from", "to", "disturbs"], plan.changes.iter().map(row)) + "\n"
}

fn disturbs(change: &Change) -> String {
    match change.disturbs {
        Disturbs::Nothing => "nothing".to_owned(),
        Disturbs::Address => "frames of this address".to_owned(),
        Disturbs::Pair => "what is above the rate".to_owned(),
        Disturbs::Flows => "flows of the function".to_owned(),
        Disturbs::OwnAddress => "frames to the switch's own address".to_owned(),
        Disturbs::Ports => format!("frames of {}", change.ports.join(", ")),
        Disturbs::Restart => "everything: needs a restart".to_owned(),
    }
}

/// A value as it would stand in a file, shortened; `-` for none.
fn value(value: Option<&Value>) -> String {
    let text = match value {
        None => return "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        // A whole table comes or goes: what is in it stands in the file.
        Some(Value::Object(_)) => return "…".to_owned(),
        Some(Value::Array(items)) => {
            items.iter().map(|item| item.as_str().map_or_else(|| item.to_string(), ToOwned::to_owned)).collect::<Vec<_>>().join(", ")
        }
        Some(other) => other.to_string(),
    };
    match text.char_indices().nth(VALUE_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None if text.is_empty() => "none".to_owned(),
        None => text,
    }
}

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

/// `show status`.
pub fn status(shown: &show::Status) -> String {
    let mut text = String::new();
    let mut line = |what: &str, said: String| {
        let _ = writeln!(text, "{what:<14} {said}"); // Writing to a string cannot fail.
    };
    line("switch", format!("{}, running for {:.1} s", shown.switch, seconds(shown.uptime_ms)));
    line("configuration", format!("{}, loaded {:.1} s ago", file(shown.file.as_deref()), seconds(shown.loaded_ms_ago)));
    if shown.start_file != shown.file {
        line("started with", format!("{}, which a reload or a restart uses", file(shown.start_file.as_deref())));
    }
    line("reloads", format!("{}, of which {} were not confirmed in time", shown.reloads, shown.unconfirmed));
    match shown.confirm_within_ms {
        Some(ms) => {
            let before = file(shown.before.as_deref());
            line("to confirm", format!("within {:.1} s, or it goes back to {before}", seconds(ms)));
        }
        None => line("to confirm", "nothing".to_owned()),
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit_and_a_limit() {
        for (text, ms) in [("1ms", 1), ("60s", 60_000), ("5m", 300_000), ("24h", CONFIRM_MS_MAX)] {
            assert_eq!(time(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "60", "s", "0s", "25h", "-1s", "1.5s", "99999999999999999999s", "18446744073709551615h", "1d"] {
            assert!(time(text).is_err(), "{text}");
        }
    }
}
