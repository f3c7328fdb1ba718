//! `show functions`, `show steer`, `steer` and `drain`: which blade has which function, and changing it while frames flow.

use std::path::PathBuf;
use std::process::ExitCode;

use control::api::{BODY_LEN_MAX, BladeRequest};
use control::show;

use super::show::DEFAULT_SOCKET;
use super::table::{count, table};
use super::{Done, Failure, client, print};

/// What was typed after `steer`.
#[derive(Debug, clap::Args)]
pub struct SteerArgs {
    /// A file with functions and rules, which replace those there are
    file: PathBuf,
    /// The switch's API socket (its switch.api)
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
    /// Print the API's JSON
    #[arg(long)]
    json: bool,
}

/// What was typed after `drain`.
#[derive(Debug, clap::Args)]
pub struct DrainArgs {
    /// Name of the function
    function: String,
    /// Name of the blade's port
    blade: String,
    /// It takes new flows again
    #[arg(long)]
    undo: bool,
    /// Its part of new flows, relative to other blades (1 to 64); alone, nothing is drained
    #[arg(long, value_name = "N", conflicts_with = "undo")]
    weight: Option<u32>,
    /// The switch's API socket (its switch.api)
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
    /// Print the API's JSON
    #[arg(long)]
    json: bool,
}

/// Other functions and rules.
pub fn steer(args: &SteerArgs) -> Done {
    let text = std::fs::read_to_string(&args.file).map_err(|error| {
        Failure::input(format!("{}: {error}; expected a file with [[function]] and [[steer]] sections", args.file.display()))
    })?;
    if text.len() > BODY_LEN_MAX {
        return Err(Failure::input(format!("{} is too long: expected at most {BODY_LEN_MAX} bytes", args.file.display())));
    }
    answered(&client::post(&args.socket, "/v1/steer", text)?, args.json)
}

/// A blade takes no new flows, or does again.
pub fn drain(args: DrainArgs) -> Done {
    let drain = args.weight.is_none().then_some(!args.undo);
    let request = BladeRequest { function: args.function, blade: args.blade, weight: args.weight, drain };
    let body = serde_json::to_string(&request).map_err(Failure::other)?;
    answered(&client::post(&args.socket, "/v1/functions/blade", body)?, args.json)
}

fn answered(answer: &str, json: bool) -> Done {
    let shown: show::Functions = serde_json::from_str(answer)
        .map_err(|error| Failure::other(format!("the switch answers what this program cannot read: {error}")))?;
    print(&if json { format!("{answer}\n") } else { functions(&shown) })?;
    Ok(ExitCode::SUCCESS)
}

/// Functions and their blades.
pub fn functions(shown: &show::Functions) -> String {
    if shown.functions.is_empty() {
        return "no [[function]] is configured: nothing is steered\n".to_owned();
    }
    let probe = shown.functions.iter().flat_map(|function| &function.blades).any(|blade| blade.probe.is_some());
    let rows = shown.functions.iter().flat_map(|function| {
        let nobody = function.blades.is_empty().then(|| {
            let mut row = vec![function.function.clone(), "no blade announces it".to_owned()];
            row.resize(10 + usize::from(probe), String::new());
            row
        });
        let blades = function.blades.iter().enumerate().map(|(index, blade)| {
            let name = if index == 0 { function.function.clone() } else { String::new() };
            let [frames, bytes, flows, moved] = [blade.frames, blade.bytes, blade.flows, blade.moved].map(count);
            let part = format!("{:.1}", blade.part * 100.0);
            let duty = match &blade.stands_for {
                Some(owner) => format!("for {owner}"),
                None => blade.duty.name().to_owned(),
            };
            let probe = probe.then(|| asked(blade.probe.as_ref()));
            let row = vec![
                name,
                blade.blade.clone(),
                duty,
                blade.state.name().to_owned(),
                blade.weight.to_string(),
                part,
                flows,
                moved,
                frames,
                bytes,
            ];
            row.into_iter().chain(probe).collect::<Vec<_>>()
        });
        nobody.into_iter().chain(blades).collect::<Vec<_>>()
    });
    let mut titles = vec!["function", "blade", "duty", "state", ">weight", ">part %", ">flows", ">of these moved", ">frames", ">bytes"];
    titles.extend(probe.then_some("last answer"));
    table(&titles, rows)
}

/// The last answer of a blade, and how long it took.
pub fn asked(probe: Option<&show::Probed>) -> String {
    let Some(last) = probe.and_then(|probe| probe.last.as_ref()) else { return "-".to_owned() };
    let took = last.round_trip_ns.map_or_else(String::new, |ns| format!(" in {:.3} ms", ns as f64 / 1e6));
    format!("{}{took}", last.said)
}

/// Rules and what they did.
pub fn rules(shown: &show::Steer) -> String {
    if shown.rules.is_empty() {
        return "no [[steer]] rule is configured: nothing is steered\n".to_owned();
    }
    let row = |rule: &show::SteerRule| {
        let [frames, bytes, without] = [rule.frames, rule.bytes, rule.without_blade].map(count);
        let conditions: Vec<String> = rule.conditions.iter().map(|(key, value)| format!("{key} {}", plain(value))).collect();
        let conditions = if conditions.is_empty() { "everything".to_owned() } else { conditions.join(", ") };
        vec![rule.rule.clone(), rule.ports.join(" "), conditions, rule.function.clone(), frames, bytes, without]
    };
    table(&["rule", "from", "frames that are", "function", ">frames", ">bytes", ">without blade"], shown.rules.iter().map(row))
}

/// A value without the marks of JSON.
fn plain(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join("|"),
        other => other.to_string(),
    }
}
