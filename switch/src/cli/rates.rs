//! `show rates` and `set-rate`: how much ports may send to one another.

use std::path::PathBuf;
use std::process::ExitCode;

use control::api::RateRequest;
use control::config::Speed;
use control::show;

use super::show::DEFAULT_SOCKET;
use super::table::{count, table};
use super::{Done, Failure, client, print};

/// What was typed after `set-rate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the port that sends
    from: String,
    /// Name of the port that is sent to
    to: String,
    /// Bits a second, such as 500M: at most the `max` of the [[rate]] of the two
    rate: Speed,
    /// The switch's API socket (its switch.api)
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
    /// Print the API's JSON
    #[arg(long)]
    json: bool,
}

/// Another rate.
pub fn set(args: Args) -> Done {
    let request = RateRequest { from: args.from, to: args.to, rate: args.rate };
    let body = serde_json::to_string(&request).map_err(Failure::other)?;
    let answer = client::post(&args.socket, "/v1/rates", body)?;
    let shown: show::Rates = super::show::read(&answer)?;
    print(&if args.json { format!("{answer}\n") } else { text(&shown) })?;
    Ok(ExitCode::SUCCESS)
}

/// The rates and what they did.
pub fn text(shown: &show::Rates) -> String {
    if shown.rates.is_empty() {
        return "no [[rate]] is configured: ports send to one another as much as they can\n".to_owned();
    }
    let speed = |bps| Speed::from_bits_per_second(bps).map_or_else(|| count(bps), |speed| speed.to_string());
    let row = |rate: &show::Rate| {
        let [frames, bytes, exceeded, exceeded_bytes] = [rate.frames, rate.bytes, rate.exceeded, rate.exceeded_bytes].map(count);
        vec![
            rate.from.clone(),
            rate.to.clone(),
            speed(rate.rate_bps),
            rate.by.name().to_owned(),
            speed(rate.max_bps),
            count(u64::from(rate.burst)),
            frames,
            bytes,
            exceeded,
            exceeded_bytes,
        ]
    };
    let titles = ["from", "to", ">rate", "set by", ">max", ">burst", ">frames", ">bytes", ">exceeded", ">bytes"];
    table(&titles, shown.rates.iter().map(row))
}
