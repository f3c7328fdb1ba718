//! `replay`: captures out of ports, on time.

use std::io::BufRead;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use clap::ArgGroup;
use port::capture::CaptureFile;
use port::clock::TscClock;
use port::{Hugepages, Mempool, Nanos};

use super::progress::Progress;
use super::stop::Stop;
use super::{Common, Done, Failure, complain, print, print_json};
use crate::output::{latency_table, print_table};
use crate::replay::load::{self, Loaded};
use crate::replay::matching::{Matching, PORTS_MAX};
use crate::replay::ports::{self, LineRate, Opened};
use crate::replay::ratio::Ratio;
use crate::replay::report;
use crate::replay::run::{self, RealTime, Setup, VirtualTime};
use crate::replay::schedule::{Bounds, Schedule};
use crate::replay::select::{Rule, Selection};
use crate::replay::speed::Speed;
use crate::replay::split::{Split, SplitRule};
use crate::replay::summary::{Input, Replayed, Summary};
use crate::replay::tcpprep::Cache;
use crate::replay::through;
use crate::replay::unique::Unique;
use crate::testbed::process::{self, ProcessTestbed};
use crate::trial::{TestPort, Testbed};

/// What was typed.
#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("speed"), group = ArgGroup::new("out").required(true))]
pub struct Args {
    /// Captures: pcap or pcapng, as they are or compressed with gzip or zstd, or folders of cases. Several are merged on one clock
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// A port to send on; again for further ones. With as many as files, each file has its own; with as many as interfaces in one
    /// pcapng file, each interface; otherwise say --split or --cachefile
    #[arg(short = 'i', long = "port", visible_alias = "intf1", value_name = "SPEC", group = "out")]
    ports: Vec<String>,
    /// Send nothing: write what would be sent to a pcapng file, with the exact times
    #[arg(short = 'w', long, value_name = "FILE", group = "out")]
    write: Option<PathBuf>,
    /// A program as the device, on the virtual clock: switch:CONFIG.toml, switch:CASE or exec:[p1=1G,p2=1G]COMMAND (docs/benchmarking.md).
    /// Interfaces of the captures that are called like its ports are these; otherwise as with so many --port
    #[arg(long, value_name = "KIND:REST", group = "out", conflicts_with_all = ["line", "clock", "oneatatime", "step"])]
    dut: Option<String>,
    /// Ports to write of, with --write [default: as many as the captures have]
    #[arg(long, value_name = "N", requires = "write", value_parser = clap::value_parser!(u16).range(1..=128))]
    ports_written: Option<u16>,
    /// Rate of the ports' lines, with a unit; once for all or once for each. No port sends faster
    #[arg(long, value_name = "RATE", default_value = "10G")]
    line: Vec<LineRate>,
    /// Which port a frame leaves by: first-seen-mac, or cidr=NETWORK,… (sources in these by the first port)
    #[arg(long, value_name = "HOW", conflicts_with = "cachefile")]
    split: Option<SplitRule>,
    /// Split as a cache file of tcpprep says
    #[arg(short = 'c', long, value_name = "FILE")]
    cachefile: Option<PathBuf>,
    /// Two files, one port each (what several files and as many ports mean anyway)
    #[arg(short = '2', long, conflicts_with_all = ["split", "cachefile"])]
    dualfile: bool,

    /// Original timing, so many times as fast
    #[arg(short = 'x', long, value_name = "TIMES", group = "speed", help_heading = "Speed")]
    multiplier: Option<Ratio>,
    /// Frames a second, all ports together
    #[arg(short = 'p', long, value_name = "RATE", group = "speed", help_heading = "Speed")]
    pps: Option<Ratio>,
    /// Frames that leave together, with --pps
    #[arg(long, visible_alias = "burst", value_name = "N", requires = "pps", help_heading = "Speed")]
    pps_multi: Option<NonZeroU64>,
    /// Megabits a second of frames, without FCS, all ports together
    #[arg(short = 'M', long, value_name = "RATE", group = "speed", help_heading = "Speed")]
    mbps: Option<Ratio>,
    /// Megabits a second on the wire, all ports together
    #[arg(long, value_name = "RATE", group = "speed", help_heading = "Speed")]
    mbps_l1: Option<Ratio>,
    /// Per cent of each port's line (at most 100)
    #[arg(long, visible_alias = "percent-line", value_name = "SHARE", group = "speed", help_heading = "Speed", value_parser = percent)]
    percent: Option<Ratio>,
    /// As fast as the lines carry
    #[arg(short = 't', long, group = "speed", help_heading = "Speed")]
    topspeed: bool,
    /// One frame for each press of Enter
    #[arg(short = 'o', long, group = "speed", help_heading = "Speed")]
    oneatatime: bool,
    /// So many frames for each press of Enter
    #[arg(long, value_name = "N", group = "speed", help_heading = "Speed")]
    step: Option<NonZeroU64>,
    /// Gap between frames in ns, on each port: from the last bit to the next preamble
    #[arg(long, visible_alias = "ipg-ns", value_name = "NS", group = "speed", help_heading = "Speed")]
    ipg: Option<u64>,

    /// Play so many times; 0: for ever
    #[arg(short = 'l', long = "loop", value_name = "N", default_value_t = 1, help_heading = "Bounds")]
    loops: u64,
    /// Pause between loops, with a unit: 10ms, 500ns, 2s
    #[arg(long, value_name = "TIME", value_parser = span, group = "pause", help_heading = "Bounds")]
    loop_delay: Option<Nanos>,
    /// The same in ms
    #[arg(long, value_name = "MS", group = "pause", help_heading = "Bounds")]
    loopdelay_ms: Option<u32>,
    /// The same in ns
    #[arg(long, value_name = "NS", group = "pause", help_heading = "Bounds")]
    loopdelay_ns: Option<u64>,
    /// Frames in all
    #[arg(short = 'L', long, value_name = "N", help_heading = "Bounds")]
    limit: Option<NonZeroU64>,
    /// Send only what is out, to its last bit, within so many seconds (or a time with a unit)
    #[arg(long, value_name = "TIME", value_parser = seconds_or_span, help_heading = "Bounds")]
    duration: Option<Nanos>,
    /// The longest pause between frames, with a unit
    #[arg(long, value_name = "TIME", value_parser = span, group = "gap", help_heading = "Bounds")]
    max_gap: Option<Nanos>,
    /// The same in ms
    #[arg(long, value_name = "MS", group = "gap", help_heading = "Bounds")]
    maxsleep: Option<u32>,
    /// Only these: packets by number (P:1-5,9,15-) or by IP (S:, D:, B:, E: and networks)
    #[arg(long, value_name = "RULE", help_heading = "Bounds")]
    include: Vec<Rule>,
    /// All but these
    #[arg(long, value_name = "RULE", help_heading = "Bounds")]
    exclude: Vec<Rule>,

    /// Other IP addresses in every loop
    #[arg(long, help_heading = "Variety")]
    unique_ip: bool,
    /// Other IP addresses in every N loops
    #[arg(long, value_name = "N", help_heading = "Variety")]
    unique_ip_loops: Option<NonZeroU64>,
    /// Other MAC addresses in every loop
    #[arg(long, help_heading = "Variety")]
    unique_mac: bool,
    #[command(flatten)]
    edits: crate::edit::args::Args,

    /// Which clock: virtual takes no time [default: virtual if all ports are files, else real]
    #[arg(long, value_enum, help_heading = "Run")]
    clock: Option<Clock>,
    /// The latest a frame may leave before the run is called INVALID, with a unit
    #[arg(long, value_name = "TIME", value_parser = span, default_value = "1ms", help_heading = "Run")]
    late_max: Nanos,
    /// Listen so long for what comes back, after the last frame; a frame away for longer is lost if an equal one follows it
    #[arg(long, value_name = "TIME", value_parser = span, default_value = "100ms", help_heading = "Run")]
    listen: Nanos,
    /// Know frames again whose VLAN tags the device has pushed, popped or changed; frames that differ in nothing else are then equal
    #[arg(long, help_heading = "Run")]
    ignore_tags: bool,
    /// Begin when the links of all ports are up; wait so long for them, with a unit
    #[arg(long, value_name = "TIME", value_parser = span, default_value = "10s", help_heading = "Run")]
    link_wait: Nanos,
    /// Say every so many seconds what was sent
    #[arg(long, value_name = "SECONDS", help_heading = "Run")]
    stats: Option<NonZeroU64>,
    /// Folder for the report as HTML, JSON, CSV and histograms (docs/results.md)
    #[arg(long, value_name = "DIR", help_heading = "Run")]
    report: Option<PathBuf>,
    /// Take an interface even if it carries this machine's default route
    #[arg(long, help_heading = "Run")]
    force_default_route: bool,
    /// Packet buffers
    #[arg(long, value_name = "N", default_value_t = 16_384, value_parser = clap::value_parser!(u32).range(256..=1 << 20), help_heading = "Run")]
    buffers: u32,
}

/// Whose time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Clock {
    /// Computed: a year passes in no time
    Virtual,
    /// The processor's
    Real,
}

/// A time with its unit: `10ms`.
pub fn span(text: &str) -> Result<Nanos, String> {
    let wrong = || format!("`{text}`: expected a time with its unit, such as 500ns, 20us, 10ms, 1.5s, 2min or 1h");
    let at = text.find(|c: char| c.is_ascii_alphabetic() || c == 'µ').ok_or_else(wrong)?;
    let (number, unit) = text.split_at(at);
    let unit: u128 = match unit {
        "ns" => 1,
        "us" | "µs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "min" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return Err(wrong()),
    };
    if number.bytes().all(|byte| byte == b'0') && !number.is_empty() {
        return Ok(Nanos::ZERO);
    }
    let ratio: Ratio = number.parse().map_err(|_| wrong())?;
    let ns = u128::from(ratio.num) * unit / u128::from(ratio.den);
    u64::try_from(ns).ok().filter(|ns| *ns <= i64::MAX as u64).map(Nanos).ok_or_else(|| format!("`{text}`: expected at most 292 years"))
}

/// Seconds as tcpreplay has them, or a time with its unit.
fn seconds_or_span(text: &str) -> Result<Nanos, String> {
    let bare = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let span = if bare { span(&format!("{text}s")) } else { span(text) }?;
    if span == Nanos::ZERO { Err("expected more than no time".to_owned()) } else { Ok(span) }
}

fn percent(text: &str) -> Result<Ratio, String> {
    let share: Ratio = text.parse().map_err(|error| format!("{error}"))?;
    if share.num > share.den * 100 { Err("a line carries no more than 100 %".to_owned()) } else { Ok(share) }
}

impl Args {
    fn speed(&self) -> Speed {
        let burst = self.pps_multi.map_or(1, NonZeroU64::get);
        let rates = [
            self.multiplier.map(Speed::Multiplier),
            self.pps.map(|rate| Speed::Pps { rate, burst }),
            self.mbps.map(Speed::Mbps),
            self.mbps_l1.map(Speed::MbpsL1),
            self.percent.map(Speed::Percent),
            self.ipg.map(|ns| Speed::Ipg { ns }),
            (self.topspeed || self.step().is_some()).then_some(Speed::Topspeed),
        ];
        rates.into_iter().flatten().next().unwrap_or(Speed::ORIGINAL)
    }

    fn step(&self) -> Option<u64> {
        if self.oneatatime { Some(1) } else { self.step.map(NonZeroU64::get) }
    }

    fn bounds(&self) -> Bounds {
        let ms = |ms: u32| Nanos::from_millis(ms.into());
        let pause = self.loop_delay.or(self.loopdelay_ms.map(ms)).or(self.loopdelay_ns.map(Nanos));
        Bounds {
            loops: (self.loops > 0).then_some(self.loops),
            loop_delay: pause.unwrap_or_default(),
            limit: self.limit.map(NonZeroU64::get),
            duration: self.duration,
            max_gap: self.max_gap.or(self.maxsleep.map(ms)),
        }
    }

    /// How frames are given to ports, and how many ports there are.
    fn split(&self, files: &[CaptureFile], device: Option<&ProcessTestbed>) -> Result<(Split, usize), Failure> {
        let interfaces: usize = files.iter().map(|file| file.interfaces().len()).sum();
        let given = match (&self.write, device) {
            (Some(_), _) => self.ports_written.map(usize::from),
            (None, Some(device)) => Some(device.ports().len()),
            (None, None) => Some(self.ports.len()),
        };
        let two = |split, what: &str| match given.unwrap_or(2) {
            2 => Ok((split, 2)),
            found => Err(Failure::input(format!("{what} splits between two ports: found {found}"))),
        };
        if let Some(path) = &self.cachefile {
            if files.len() != 1 {
                return Err(Failure::input(format!("--cachefile is about one capture: found {}", files.len())));
            }
            let failed = |error: &dyn std::fmt::Display| Failure::input(format!("{}: {error}", path.display()));
            let bytes = std::fs::read(path).map_err(|error| failed(&error))?;
            return two(Split::Cache(Cache::parse(&bytes).map_err(|error| failed(&error))?), "--cachefile");
        }
        match &self.split {
            Some(SplitRule::Cidr(nets)) => return two(Split::Cidr(nets.clone()), "--split cidr"),
            Some(SplitRule::FirstSeenMac) => return Ok((Split::FirstSeenMac, given.unwrap_or(2))),
            None => {}
        }
        if self.dualfile && files.len() != given.unwrap_or(2) {
            return Err(Failure::input(format!("--dualfile needs a port for each file: found {} files", files.len())));
        }
        match given {
            None if files.len() > 1 => Ok((Split::ByFile, files.len())),
            None if interfaces > 1 => Ok((Split::ByInterface, interfaces)),
            None | Some(1) => Ok((Split::One, 1)),
            Some(ports) if files.len() == ports => Ok((Split::ByFile, ports)),
            Some(ports) if interfaces == ports => Ok((Split::ByInterface, ports)),
            Some(ports) => Err(Failure::input(format!(
                "{ports} ports for {} file(s) with {interfaces} interface(s): expected as many ports as files or as interfaces, or --split \
                 first-seen-mac, --split cidr=NETWORK,… or --cachefile FILE",
                files.len()
            ))),
        }
    }

    fn lines(&self, count: usize) -> Result<Vec<LineRate>, Failure> {
        match self.line.as_slice() {
            [one] => Ok(vec![*one; count]),
            each if each.len() == count => Ok(each.to_vec()),
            each => Err(Failure::input(format!("--line is given {} times for {count} ports: expected once, or once for each", each.len()))),
        }
    }

    /// What is told while it runs, and when to end.
    fn watch<'a>(&self, stop: &'a Stop, bar: &'a Progress) -> impl FnMut(run::Progress) -> bool + use<'a> {
        let every = self.stats.map(|seconds| Nanos::from_secs(seconds.get().min(1 << 32)));
        let mut next_stats = every.unwrap_or_default();
        move |progress| {
            bar.set(progress.sent);
            if let Some(every) = every
                && progress.now >= next_stats
            {
                next_stats = progress.now + every;
                complain("stats", format!("{} packets ({} bytes) sent in {} seconds", progress.sent, progress.bytes, progress.now));
            }
            if progress.step {
                complain("step", format!("{} packets sent: press Enter to go on", progress.sent));
                let answer = std::io::stdin().lock().read_line(&mut String::new());
                if !matches!(answer, Ok(read) if read > 0) {
                    return false;
                }
            }
            !stop.asked()
        }
    }

    fn open_ports(&self, lines: &[LineRate], mempool: &Mempool) -> Result<Vec<Opened>, Failure> {
        let opened = match &self.write {
            Some(path) => {
                let names: Vec<String> = (0..lines.len()).map(|port| format!("port{port}")).collect();
                ports::writers(path, &names, lines)
            }
            None => ports::open(&self.ports, lines, mempool, self.force_default_route),
        };
        opened.map_err(Failure::input)
    }
}

/// Replays; fails if the plan was missed, or a capture is damaged (after what was whole in it has been played).
pub fn replay(args: Args, common: &Common) -> Done {
    let (stop, started) = (Stop::on_signals()?, SystemTime::now());
    if args.ports.len() > PORTS_MAX {
        return Err(Failure::input(format!("--port: expected at most {PORTS_MAX} ports, found {}", args.ports.len())));
    }
    let files = args.files.iter().map(|path| load::open(path)).collect::<Result<Vec<_>, _>>().map_err(Failure::input)?;
    let device = args.dut.as_ref().map(|dut| process::open(dut).map_err(|error| Failure::input(format!("--dut {dut}: {error}"))));
    let device = device.transpose()?;
    let selection = Selection { include: args.include.clone(), exclude: args.exclude.clone() };
    let named = device.as_ref().filter(|_| args.split.is_none() && args.cachefile.is_none());
    let (mut loaded, count) = match named.and_then(|device| ports_by_name(&files, device.ports())) {
        Some(places) => {
            let mut loaded = load::from_files(&files, places.len(), Split::ByInterface, &selection).map_err(Failure::input)?;
            loaded.frames.iter_mut().for_each(|frame| frame.port = places[frame.port]);
            (loaded, device.as_ref().map_or(0, |device| device.ports().len()))
        }
        None => {
            let (split, count) = args.split(&files, device.as_ref())?;
            (load::from_files(&files, count, split, &selection).map_err(Failure::input)?, count)
        }
    };
    drop(files);
    args.edits.edits().apply(&mut loaded.frames);
    let Loaded { frames, read, deselected, oversize, empty, damaged, .. } = loaded;
    let truncated = frames.iter().filter(|frame| frame.is_snapped()).count() as u64;
    let input = Input { read, deselected, oversize, empty, truncated, frames: frames.len() as u64, damaged };
    let lines = match &device {
        Some(device) => device.ports().iter().map(|port| LineRate(port.line_bps)).collect(),
        None => args.lines(count)?,
    };
    let lines_bps: Vec<u64> = lines.iter().map(|line| line.0).collect();
    let (speed, bounds) = (args.speed(), args.bounds());
    let schedule =
        Schedule::new(&frames, &lines_bps, speed, &bounds).map_err(|error| damage(&input).unwrap_or_else(|| Failure::input(error)))?;
    let mempool = Mempool::new(args.buffers, Hugepages::Auto)
        .map_err(|error| Failure::other(format!("no memory for {} buffers: {error}", args.buffers)))?;
    let unique_ip = args.unique_ip_loops.map(NonZeroU64::get).or(args.unique_ip.then_some(1));
    let unique = Unique::new(&frames, unique_ip, args.unique_mac);
    let bar = Progress::new(schedule.total(), "frames");
    let mut watch = args.watch(&stop, &bar);
    let matching = Matching { patience: args.listen, tag_blind: args.ignore_tags, stamped: false };
    let (replayed, is_virtual) = match &device {
        Some(device) => {
            if schedule.total().is_none() && bounds.duration.is_none() {
                return Err(Failure::input("--dut: expected --limit, --duration or a number of loops: a program is given all at once"));
            }
            let plan = through::Plan { frames: &frames, lines_bps: &lines_bps, speed, bounds: &bounds, unique: &unique, matching };
            let replayed = through::replay(device, &plan, &mempool, &mut watch);
            (replayed.map_err(|error| Failure::input(format!("--dut: {error}")))?, true)
        }
        None => {
            let mut opened = args.open_ports(&lines, &mempool)?;
            let clock = TscClock::new();
            ports::wait_for_links(&mut opened, args.link_wait, &clock, &|| stop.asked()).map_err(Failure::input)?;
            let timeless = opened.iter().all(|port| port.timeless);
            let silent = opened.iter().all(|port| port.silent);
            let is_virtual = match args.clock {
                Some(Clock::Virtual) if !timeless => {
                    return Err(Failure::input("--clock virtual: real ports have their own time: use pcap: ports, --write or --dut"));
                }
                Some(clock) => clock == Clock::Virtual,
                None => timeless,
            };
            let setup = Setup {
                unique,
                frames: &frames,
                schedule,
                ports: opened.into_iter().zip(lines_bps).map(|(port, line)| (port.name, port.port, line)).collect(),
                learning: Vec::new(),
                pool: mempool.cache(),
                step: args.step(),
                listen: if is_virtual { Nanos::ZERO } else { args.listen },
                matching: (!silent).then_some(matching),
                stamped: false,
            };
            let replayed = match is_virtual {
                true => run::run(setup, &mut VirtualTime::default(), &mut watch),
                false => run::run(setup, &mut RealTime(clock), &mut watch),
            };
            (replayed, is_virtual)
        }
    };
    drop(watch);
    drop(bar);
    let summary = Summary::new(&replayed, input, speed, is_virtual, args.late_max);
    show("replay", &summary, &replayed, started, args.report.as_deref(), common)?;
    if let Some(damage) = damage(&summary.input) {
        return Err(damage);
    }
    Ok(ExitCode::from(u8::from(!summary.valid)))
}

/// Which port each interface of the captures is, if each has the name of one.
fn ports_by_name(files: &[CaptureFile], ports: &[TestPort]) -> Option<Vec<usize>> {
    let place = |name: &str| ports.iter().position(|port| port.name == name);
    files.iter().flat_map(CaptureFile::interfaces).map(|interface| place(&interface.name)).collect()
}

/// Prints what was done, after it was written to the folder `report` if there is one.
pub(super) fn show(
    command: &str,
    summary: &Summary,
    replayed: &Replayed,
    started: SystemTime,
    report: Option<&Path>,
    common: &Common,
) -> Result<(), Failure> {
    if let Some(dir) = report {
        super::testbed::write(&report::report(command, started, summary, replayed), dir)?;
    }
    if common.json {
        return print_json(summary);
    }
    let mut text = summary.text().into_bytes();
    let latencies = report::latencies(replayed);
    let rows = latencies.iter().map(|(name, latency)| (name.as_str(), &latency.sent));
    let latencies = (!latencies.is_empty()).then(|| latency_table("Latency in µs, since sent", rows));
    for table in report::account_table(summary).into_iter().chain(latencies) {
        text.push(b'\n');
        print_table(&table, &mut text, TABLE_WIDTH).map_err(Failure::other)?;
    }
    print(&String::from_utf8_lossy(&text))
}

/// Columns that tables may take.
const TABLE_WIDTH: u16 = 110;

/// What is wrong with the captures, if anything.
fn damage(input: &Input) -> Option<Failure> {
    (!input.damaged.is_empty()).then(|| Failure::input(input.damaged.join("\nerror: ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        for (text, ns) in [("500ns", 500), ("20us", 20_000), ("1.5s", 1_500_000_000), ("2min", 120_000_000_000), ("0ms", 0), ("3µs", 3_000)]
        {
            assert_eq!(span(text), Ok(Nanos(ns)), "{text}");
        }
        for wrong in ["", "5", "ms", "-1s", "1e3s", "1 s", "300000000h"] {
            assert!(span(wrong).is_err(), "{wrong}");
        }
        assert_eq!(seconds_or_span("2.5"), Ok(Nanos(2_500_000_000)));
        assert!(seconds_or_span("0").is_err());
        assert!(percent("100").is_ok() && percent("100.1").is_err());
    }
}
