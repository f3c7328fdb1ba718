//! `blades`, `set-mode`, `execute`, `listen`, `provision`: the blades that have said hello, and having them do things.
//!
//! A command is sent by the switch to all blades or to some, which acknowledge it; here it is waited for until every one of them has
//! answered or was given up.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use control::agents::Progress;
use control::api::CommandRequest;
use control::show;

use super::show::DEFAULT_SOCKET;
use super::table::{count, or_dash, table};
use super::{Done, Failure, client, print, print_json};

/// How often it is asked how far a command is.
const ASK_PERIOD: Duration = Duration::from_millis(20);

/// Where the switch is, and in which form it is to answer.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The switch's API socket (its switch.api)
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Whom a command is for.
#[derive(Debug, clap::Args)]
pub struct Whom {
    /// Only the blade in this slot (several times: these)
    #[arg(long = "slot", value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    slots: Vec<u16>,
    /// Give up waiting after so many seconds; the switch goes on
    #[arg(long, value_name = "S", default_value_t = 90, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    wait: u64,
    #[command(flatten)]
    args: Args,
}

/// What was typed behind `set-mode`.
#[derive(Debug, clap::Args)]
pub struct SetModeArgs {
    /// The mode
    mode: String,
    #[command(flatten)]
    whom: Whom,
}

/// What was typed behind `execute`.
#[derive(Debug, clap::Args)]
pub struct ExecuteArgs {
    /// The function
    function: String,
    #[command(flatten)]
    whom: Whom,
}

/// What was typed behind `listen`.
#[derive(Debug, clap::Args)]
pub struct ListenArgs {
    /// The timeslot of the bus
    timeslot: u16,
    #[command(flatten)]
    whom: Whom,
}

/// What was typed behind `provision`.
#[derive(Debug, clap::Args)]
pub struct ProvisionArgs {
    /// Parameters and values
    #[arg(required = true, value_name = "NAME=VALUE", value_parser = parameter)]
    parameters: Vec<(String, String)>,
    #[command(flatten)]
    whom: Whom,
}

fn parameter(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE, such as mtu=9000")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Shows the blades.
pub fn blades(args: &Args) -> Done {
    let shown: show::Blades = parse(&client::get(&args.socket, "/v1/blades")?)?;
    if args.json {
        print_json(&shown)?;
    } else {
        print(&text(&shown))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// `set-mode`.
pub fn set_mode(args: SetModeArgs) -> Done {
    command(CommandRequest { set_mode: Some(args.mode), ..CommandRequest::default() }, args.whom)
}

/// `execute`.
pub fn execute(args: ExecuteArgs) -> Done {
    command(CommandRequest { execute: Some(args.function), ..CommandRequest::default() }, args.whom)
}

/// `listen`.
pub fn listen(args: ListenArgs) -> Done {
    command(CommandRequest { listen: Some(args.timeslot), ..CommandRequest::default() }, args.whom)
}

/// `provision`.
pub fn provision(args: ProvisionArgs) -> Done {
    command(CommandRequest { provision: Some(args.parameters), ..CommandRequest::default() }, args.whom)
}

/// Asks for it and waits. Exit code 0: every blade has done it.
fn command(request: CommandRequest, whom: Whom) -> Done {
    let request = CommandRequest { slots: whom.slots, ..request };
    request.control().map_err(Failure::input)?;
    let socket = &whom.args.socket;
    let body = serde_json::to_string(&request).map_err(Failure::other)?;
    let mut shown: show::CommandShown = parse(&client::post(socket, "/v1/blades/command", body)?)?;
    let deadline = Instant::now() + Duration::from_secs(whom.wait);
    while !shown.over && Instant::now() < deadline {
        std::thread::sleep(ASK_PERIOD);
        shown = parse(&client::get(socket, &format!("/v1/blades/command/{}", shown.transaction))?)?;
    }
    if whom.args.json {
        print_json(&shown)?;
    } else {
        let row = |blade: &show::BladeProgress| {
            let (state, text) = match &blade.progress {
                Progress::Waiting { sent } => (format!("no answer yet to {sent} messages"), String::new()),
                Progress::Accepted => ("at it".to_owned(), String::new()),
                Progress::Answered { status, text } => (status.clone(), text.clone()),
                Progress::Abandoned => ("no answer, given up".to_owned(), String::new()),
            };
            vec![blade.slot.to_string(), state, text]
        };
        print(&format!(
            "{} (transaction {})\n{}",
            shown.command,
            shown.transaction,
            table(&[">slot", "answer", "says"], shown.blades.iter().map(row))
        ))?;
    }
    Ok(if shown.done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn parse<T: serde::de::DeserializeOwned>(json: &str) -> Result<T, Failure> {
    serde_json::from_str(json)
        .map_err(|error| Failure::other(format!("the answer is not as expected: {error}; is the switch of another version?")))
}

fn text(shown: &show::Blades) -> String {
    if shown.blades.is_empty() {
        return "no blade has said hello\n".to_owned();
    }
    let row = |blade: &show::Blade| {
        vec![
            blade.slot.to_string(),
            blade.port.clone(),
            blade.mac.to_string(),
            blade.state.clone(),
            format!("{}.{}", blade.heard_ms / 1000, blade.heard_ms % 1000 / 100),
            or_dash(Some(blade.functions.join(", ")).filter(|functions| !functions.is_empty())),
            or_dash(blade.mode.clone()),
            or_dash(blade.timeslot.map(|timeslot| timeslot.to_string())),
        ]
    };
    let mut text =
        table(&[">slot", "port", "address", "state", ">heard s", "functions", "mode", ">timeslot"], shown.blades.iter().map(row));
    let counters = &shown.counters;
    let [hellos, sent, repeated, acks, abandoned, malformed, unsealed] =
        [counters.hellos, counters.sent, counters.repeated, counters.acks, counters.abandoned, counters.malformed, counters.unsealed]
            .map(count);
    text += &format!(
        "\n{hellos} hellos, {sent} messages sent ({repeated} again), {acks} acknowledged, {abandoned} given up, {malformed} malformed, \
         {unsealed} without a right seal\n"
    );
    text
}
