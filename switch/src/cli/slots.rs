//! `attach` and `detach`: a blade is pulled and put back while frames flow.

use std::path::PathBuf;
use std::process::ExitCode;

use control::api::SlotAnswer;

use super::show::DEFAULT_SOCKET;
use super::{Done, Failure, client, print};

/// What was typed after `attach` or `detach`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the port, or number of the slot
    blade: String,
    /// The switch's API socket (its switch.api)
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
    /// Print the API's JSON
    #[arg(long)]
    json: bool,
}

/// The blade is in service again.
pub fn attach(args: &Args) -> Done {
    ask(args, "attach")
}

/// The blade is out of service.
pub fn detach(args: &Args) -> Done {
    ask(args, "detach")
}

fn ask(args: &Args, what: &str) -> Done {
    // As a part of a path: a name has no other characters, a typing error may.
    if args.blade.is_empty() || !args.blade.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) {
        return Err(Failure::input(format!("{:?} is no name of a port and no slot: expected such as blade3 or 3", args.blade)));
    }
    let answer = client::post(&args.socket, &format!("/v1/ports/{}/{what}", args.blade), String::new())?;
    if args.json {
        print(&format!("{answer}\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let SlotAnswer { port, changed, .. } = serde_json::from_str(&answer)
        .map_err(|error| Failure::other(format!("the switch answers what this program cannot read: {error}")))?;
    print(&format!("{port}: {what}ed{}\n", if changed { "" } else { " already" }))?;
    Ok(ExitCode::SUCCESS)
}
