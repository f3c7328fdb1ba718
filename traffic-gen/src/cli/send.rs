//! `send`: synthetic streams out of ports, on time.

use std::fmt::Write as _;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use clap::ArgGroup;
use port::clock::TscClock;
use port::{Hugepages, Mempool, Nanos};

use super::progress::Progress;
use super::stop::Stop;
use super::{Common, Done, Failure};
use crate::edit::layers::Layers;
use crate::profile::Profile;
use crate::replay::Frame;
use crate::replay::matching::Matching;
use crate::replay::ports::{self, LineRate};
use crate::replay::run::{self, RealTime, Setup, VirtualTime};
use crate::replay::schedule::{Bounds, Schedule};
use crate::replay::summary::{Input, Summary};
use crate::replay::unique::Unique;

/// What was typed.
#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("send_out").required(true))]
pub struct Args {
    /// A profile in TOML: speed and streams. Without it, the flags say what one stream on port 0 is
    #[arg(value_name = "PROFILE", conflicts_with = "set")]
    profile: Option<PathBuf>,
    /// A port to send on; again for further ones: the first is port 0 of the profile
    #[arg(short = 'i', long = "port", value_name = "SPEC", group = "send_out")]
    ports: Vec<String>,
    /// Send nothing: write what would be sent to a pcapng file, with the exact times
    #[arg(short = 'w', long, value_name = "FILE", group = "send_out")]
    write: Option<PathBuf>,
    /// Rate of the ports' lines, with a unit; once for all or once for each
    #[arg(long, value_name = "RATE", default_value = "10G")]
    line: Vec<LineRate>,
    /// A key of the profile and its value, as it is written there: percent=50, sizes="imix", src_mac_count=16; again for more
    #[arg(short = 's', long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Send so many frames in all
    #[arg(short = 'L', long, value_name = "N")]
    limit: Option<NonZeroU64>,
    /// Send only what is out, to its last bit, within this time (with a unit)
    #[arg(long, value_name = "TIME", value_parser = super::replay::span)]
    duration: Option<Nanos>,
    /// The latest a frame may leave before the run is called INVALID, with a unit
    #[arg(long, value_name = "TIME", value_parser = super::replay::span, default_value = "1ms")]
    late_max: Nanos,
    /// Listen so long for what comes back, after the last frame
    #[arg(long, value_name = "TIME", value_parser = super::replay::span, default_value = "100ms")]
    listen: Nanos,
    /// Send the frames of the profile as they are. Without this, each carries its stream, its number and its time (the first 18 bytes of the UDP
    /// payload, the last 18 of other frames), and none is taken for another when it comes back
    #[arg(long)]
    no_stamps: bool,
    /// Begin when the links of all ports are up; wait so long for them, with a unit
    #[arg(long, value_name = "TIME", value_parser = super::replay::span, default_value = "10s")]
    link_wait: Nanos,
    /// Folder for the report as HTML, JSON, CSV and histograms (docs/results.md)
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// Take an interface even if it carries this machine's default route
    #[arg(long)]
    force_default_route: bool,
}

impl Args {
    /// The profile: that of the file, or the one that the flags spell.
    fn profile(&self) -> Result<Profile, Failure> {
        if let Some(path) = &self.profile {
            return Profile::load(path).map_err(Failure::input);
        }
        let (mut top, mut stream) = (String::new(), String::from("[[stream]]\n"));
        for set in &self.set {
            let (key, value) = set.split_once('=').ok_or_else(|| Failure::input(format!("--set {set}: expected KEY=VALUE")))?;
            let (key, value) = (key.trim(), value.trim());
            // A word that is no number or truth is a text, quoted or not.
            let bare = value.parse::<f64>().is_ok() || ["true", "false"].contains(&value) || value.starts_with(['"', '[']);
            let quoted = if bare { value.to_owned() } else { format!("{value:?}") };
            let section = if ["percent", "pps", "mbps", "mbps_l1", "burst"].contains(&key) { &mut top } else { &mut stream };
            let _ = writeln!(section, "{key} = {quoted}");
        }
        (top + &stream).parse().map_err(|error: crate::profile::ProfileError| Failure::input(format!("--set: {}", error.what)))
    }
}

/// A checksum would have to change with every stamp; none is right as well (RFC 768).
fn leave_udp_checksum_out(frame: &mut Frame) {
    const UDP: u8 = 17;
    let checksum = Layers::of(&frame.bytes).filter(|layers| layers.l4.is_some_and(|l4| l4.protocol == UDP));
    if let Some(at) = checksum.and_then(|layers| layers.l4_checksum(&frame.bytes)) {
        let mut bytes = frame.bytes.to_vec();
        bytes[at..at + 2].fill(0);
        frame.bytes = bytes.into();
    }
}

/// Sends; fails if the plan was missed.
pub fn send(args: &Args, common: &Common) -> Done {
    let (stop, started) = (Stop::on_signals()?, SystemTime::now());
    let profile = args.profile()?;
    let mut frames = profile.frames().map_err(Failure::input)?;
    if !args.no_stamps {
        frames.iter_mut().for_each(leave_udp_checksum_out);
    }
    let count = if args.write.is_some() { profile.ports() } else { args.ports.len() };
    if profile.ports() > count {
        return Err(Failure::input(format!("the profile has {} ports: expected a --port for each, found {count}", profile.ports())));
    }
    let lines = match args.line.as_slice() {
        [one] => vec![*one; count],
        each if each.len() == count => each.to_vec(),
        each => {
            return Err(Failure::input(format!("--line is given {} times for {count} ports: expected once, or once for each", each.len())));
        }
    };
    if args.write.is_some() && args.limit.is_none() && args.duration.is_none() {
        return Err(Failure::input("--write: expected --limit or --duration: a file for ever has no end"));
    }
    let bounds = Bounds { loops: None, limit: args.limit.map(NonZeroU64::get), duration: args.duration, ..Bounds::default() };
    let lines_bps: Vec<u64> = lines.iter().map(|line| line.0).collect();
    let schedule = Schedule::new(&frames, &lines_bps, profile.speed, &bounds).map_err(Failure::input)?;
    let mempool = Mempool::new(16_384, Hugepages::Auto).map_err(|error| Failure::other(format!("no memory for packets: {error}")))?;
    let opened = match &args.write {
        Some(path) => {
            let names: Vec<String> = (0..count).map(|port| format!("port{port}")).collect();
            ports::writers(path, &names, &lines)
        }
        None => ports::open(&args.ports, &lines, &mempool, args.force_default_route),
    };
    let mut opened = opened.map_err(Failure::input)?;
    let clock = TscClock::new();
    ports::wait_for_links(&mut opened, args.link_wait, &clock, &|| stop.asked()).map_err(Failure::input)?;
    let is_virtual = opened.iter().all(|port| port.timeless);
    let silent = opened.iter().all(|port| port.silent);
    if is_virtual && args.limit.is_none() && args.duration.is_none() {
        return Err(Failure::input("expected --limit or --duration: on the virtual clock for ever has no end"));
    }
    let bar = Progress::new(schedule.total(), "frames");
    let setup = Setup {
        unique: Unique::new(&[], None, false),
        frames: &frames,
        schedule,
        ports: opened.into_iter().zip(lines_bps).map(|(port, line)| (port.name, port.port, line)).collect(),
        learning: profile.learning(),
        pool: mempool.cache(),
        step: None,
        listen: if is_virtual { Nanos::ZERO } else { args.listen },
        matching: (!silent).then_some(Matching { patience: args.listen, tag_blind: true, stamped: !args.no_stamps }),
        stamped: !args.no_stamps,
    };
    let mut watch = |progress: run::Progress| {
        bar.set(progress.sent);
        !stop.asked()
    };
    let replayed = match is_virtual {
        true => run::run(setup, &mut VirtualTime::default(), &mut watch),
        false => run::run(setup, &mut RealTime(clock), &mut watch),
    };
    drop(bar);
    let input = Input { frames: frames.len() as u64, ..Input::default() };
    let summary = Summary::new(&replayed, input, profile.speed, is_virtual, args.late_max);
    super::replay::show("send", &summary, &replayed, started, args.report.as_deref(), common)?;
    Ok(ExitCode::from(u8::from(!summary.valid)))
}
