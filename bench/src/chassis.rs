//! `bench chassis`, the main job: a chassis at full rate in real time, and the report of it.
//!
//! The switch runs on a core of its own (or several), the generator on another; it plays all wires. The load is an IMIX that
//! keeps every link busy in both directions, with the captures of `pcaps/` mixed in: each conversation's stations are given to
//! blades and the uplink, its frames go in where they would, with the addresses of those blades.

use std::collections::HashMap;
use std::fmt;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bladeswitch::assembly;
use control::config::{BackplaneConfig, BusKind, Config, Idle, PortConfig, Role, Speed, VlanMode};
use core_affinity::CoreId;
use dataplane::DropReason;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use port::capture::CaptureFile;
use port::clock::TscClock;
use port::mempool::Pages;
use port::{Mempool, Nanos, PortId};
use traffic_gen::engine::{Engine, LATE_MAX, PortResult, Progress, RunResult};
use traffic_gen::output::{Item, Section};
use traffic_gen::plan::{self, Plan, PlannedFrame, Sizes, Station, Target};
use wire::{MacAddr, Vid};

use crate::bus::{self, Weights};
use crate::report::{ChassisReport, Direction, GeneratorQuality, LatencyTick, LedgerLine, PortRow, Rate, Setting, Tick, Warning};
use crate::{generator, machine};

/// Frames of the mix in each port's list: a multiple of it, and many enough that the floods among the captures take little.
const FRAMES_PER_PORT: usize = 9600;
/// Stations behind the uplink.
const UPLINK_STATIONS: usize = 64;
/// Frames that wait for the switch on each port: more than a turn of the generator brings.
const RX_QUEUE: usize = 4096;
/// Above this load the latency of one frame in sixteen is recorded: recording all would make the generator the limit.
const SAMPLE_ABOVE_PPS: f64 = 12e6;
/// A line transfer slower than this means that the two cores are far apart.
const FAR_NS: f64 = 150.0;

/// What to run.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Blades in the chassis (2 to 127)
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(2..=127))]
    blades: u16,
    /// Rate of each blade's link, with a unit: 1G, 2.5G, 100M
    #[arg(long, default_value = "1G")]
    blade_speed: Speed,
    /// Rate of the uplink
    #[arg(long, default_value = "10G")]
    uplink_speed: Speed,
    /// Frame sizes in bytes with FCS, sent in turn (64 to 9220), or `imix` (7×64, 4×570, 1×1518)
    #[arg(long, default_value = "imix", value_parser = sizes)]
    sizes: Sizes,
    /// Seconds to measure
    #[arg(long, default_value_t = 5.0, value_parser = seconds)]
    duration: f64,
    /// Share of the links' capacity to offer, in percent; floods are allowed for
    #[arg(long, default_value_t = 100.0, value_parser = percent)]
    load: f64,
    /// Folder of captures to mix in: files *.pcap and *.pcapng in it and in its folders
    #[arg(long, default_value = "pcaps", value_name = "DIR")]
    captures: PathBuf,
    /// Send the IMIX alone
    #[arg(long)]
    no_captures: bool,
    /// A configuration of the switch instead of the default chassis; the kinds of its ports do not matter
    #[arg(long, value_name = "FILE", conflicts_with_all = ["blades", "blade_speed", "uplink_speed", "workers"])]
    config: Option<PathBuf>,
    /// Threads of the switch
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    workers: u16,
    /// Give the blades' backplane a bus: none, tdm, fdm or drr; the report then compares the four on the virtual clock as well
    #[arg(long, value_name = "BUS", value_parser = bus_kind, conflicts_with = "config")]
    bus: Option<BusKind>,
    /// Rate of the bus [default: 1.5 times that of all links]
    #[arg(long, requires = "bus")]
    bus_rate: Option<Speed>,
    /// Folder for the report
    #[arg(long, default_value = "target/report", value_name = "DIR")]
    report: PathBuf,
    /// Seed of the switch's hash
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn sizes(text: &str) -> Result<Sizes, String> {
    if text == "imix" {
        return Ok(Sizes::imix());
    }
    let sizes: Vec<usize> = text
        .split(',')
        .map(|size| size.trim().parse().map_err(|_| format!("`{size}` is not a size: expected `imix` or bytes such as 64,512,1518")))
        .collect::<Result<_, _>>()?;
    Sizes::in_turn(&sizes).map_err(|size| format!("frames have 64 to 9220 bytes with FCS, not {size}"))
}

fn bus_kind(text: &str) -> Result<BusKind, String> {
    let found = BusKind::ALL.iter().find(|(name, _)| *name == text).map(|(_, kind)| *kind);
    found.ok_or_else(|| "expected none, tdm, fdm or drr".to_owned())
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.1..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("expected seconds from 0.1 to 3600".to_owned()),
    }
}

fn percent(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(percent) if percent > 0.0 && percent <= 100.0 => Ok(percent),
        _ => Err("expected a share of the links' capacity above 0 and up to 100 percent".to_owned()),
    }
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum ChassisError {
    /// The configuration.
    #[error("{0}")]
    Config(control::config::ConfigErrors),
    /// Too few ports.
    #[error("the configuration has {0} port(s): a chassis needs two to have traffic between them")]
    Ports(usize),
    /// A capture.
    #[error(transparent)]
    Capture(#[from] port::capture::CaptureError),
    /// A bus did not keep what it promised, or its switch did not account for every frame.
    #[error("{0}")]
    Bus(String),
    /// Files, memory, threads.
    #[error("{0}: {1}")]
    System(String, std::io::Error),
}

fn system(what: impl fmt::Display) -> impl FnOnce(std::io::Error) -> ChassisError {
    move |error| ChassisError::System(what.to_string(), error)
}

/// Runs it. The report is filled, not yet written.
///
/// # Errors
/// If it cannot be set up. Loss, a slow generator and a busy machine are not errors: the report says them.
pub fn run(args: &Args) -> Result<ChassisReport, ChassisError> {
    let config = configuration(args)?;
    let clock = TscClock::new();
    let started = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();

    let cores: Vec<usize> = core_affinity::get_core_ids().unwrap_or_default().iter().map(|core| core.id).collect();
    let workers = config.switch.workers;
    // The generator takes the first core, the workers the last ones; the rest is for everybody else.
    let enough = cores.len() > workers;
    let worker_cores = if enough { cores[cores.len() - workers..].to_vec() } else { Vec::new() };
    let line_transfer = |clock: &TscClock| if enough { machine::line_transfer_ns(clock, cores[0], worker_cores[0]) } else { None };
    let line_before = line_transfer(&clock);

    let stations = Stations::new(&config);
    let (mut plan, captures) = make_plan(args, &config, &stations)?;
    let share = plan.set_load(args.load / 100.0);
    let asked_pps = plan.frames_per_second();
    let sampling = if asked_pps > SAMPLE_ABOVE_PPS { 16 } else { 1 };
    let plan_rates: Vec<(f64, u64)> = plan.ports.iter().map(|port| (port.frames_per_second(), port.line_bps)).collect();

    let buffers = (assembly::buffers_needed(&config) as usize + config.ports.len() * RX_QUEUE).min(port::mempool::BUFFERS_MAX as usize);
    let mempool = Mempool::new(config.pool.buffers.unwrap_or(buffers as u32), config.pool.hugepages).map_err(system("packet pool"))?;
    let (near, far, _plugs) = assembly::memory_ports(&config, RX_QUEUE);
    let mut running = assembly::build(&config, near, &mempool, args.seed)
        .start(&worker_cores, Idle::Spin, clock.clone())
        .map_err(system("starting the switch"))?;
    if enough {
        core_affinity::set_for_current(CoreId { id: cores[0] });
    }

    let is_blade: Vec<bool> = config.ports.iter().map(|port| matches!(port.role, Role::Blade { .. })).collect();
    let directions = ["blade→blade", "blade→uplink", "uplink→blade", "uplink→uplink"];
    let direction = |from: PortId, to: PortId| match (is_blade[from.index()], is_blade[to.index()]) {
        (true, true) => 0,
        (true, false) => 1,
        (false, true) => 2,
        (false, false) => 3,
    };
    let pool = mempool.cache_of(mempool.buffers() as usize / 2);
    let mut engine = Engine::new(far, plan, pool, directions.len(), direction, sampling);
    engine.introduce(&stations.introductions(), || clock.now());

    let duration = Nanos((args.duration * 1e9) as u64);
    let bar = progress_bar(duration);
    let mut timeline = Vec::new();
    let mut last = None;
    let result = engine.run(
        duration,
        Nanos(duration.0 / 50),
        || clock.now(),
        |progress| {
            bar.set_position(progress.elapsed.0 / 1_000_000);
            timeline.extend(tick(&progress, last.as_ref()));
            last = Some(progress);
            true
        },
    );
    bar.finish_and_clear();
    drop(engine);
    running.stop();
    let line_after = line_transfer(&clock);
    let lines: Vec<u64> = config.ports.iter().map(|port| port.speed.bits_per_second()).collect();
    let bias = generator::loopback_bias(&lines, &clock).map_err(system("measuring the generator's own part of latencies"))?;

    let control = running.control();
    let mut report = ChassisReport {
        title: title(&config),
        command: std::env::args().collect::<Vec<_>>().join(" "),
        machine: machine::describe(&clock, mempool.pages()),
        seed: args.seed,
        started,
        config: settings(args, &config, share, &captures, sampling),
        duration_s: result.duration.as_secs_f64(),
        ports: rows(&config, &control, &result, &plan_rates),
        directions: directions
            .iter()
            .zip(&result.latency)
            .filter(|(_, histogram)| !histogram.is_empty())
            .map(|(&name, histogram)| Direction::new(name, histogram.clone(), sampling))
            .collect(),
        latency_method: "from the last bit into the switch to the last bit out of it, on the link of the port it leaves by".to_owned(),
        timeline,
        ledger: ledger(&control),
        generator: GeneratorQuality {
            asked_pps,
            achieved_pps: result.ports.iter().map(|port| port.sent).sum::<u64>() as f64 / result.duration.as_secs_f64(),
            lateness_p50_ns: result.lateness.value_at_quantile(0.5),
            lateness_p99_ns: result.lateness.value_at_quantile(0.99),
            lateness_max_ns: result.lateness.max(),
            valid: result.ports.iter().all(|port| port.missed == 0),
            bias,
        },
        line_transfer_ns: line_before,
        warnings: Vec::new(),
        bus: serde_json::Value::Null,
        bus_sections: Vec::new(),
    };
    drop_unused_directions(&mut report, &result);
    report.warnings = warnings(args, &result, &report, workers, cores.len(), mempool.pages(), line_before, line_after);
    report.add_derived_warnings();
    if args.bus.is_some() {
        report_bus(args, &mut report, &control)?;
    }
    Ok(report)
}

fn configuration(args: &Args) -> Result<Config, ChassisError> {
    let config = match &args.config {
        Some(path) => Config::load(path).map_err(ChassisError::Config)?,
        None => {
            let mut config = Config::chassis(args.blades, args.blade_speed, args.uplink_speed);
            config.switch.workers = usize::from(args.workers);
            // Tagged frames of the captures pass as they are.
            for port in &mut config.ports {
                *port = PortConfig { vlan: VlanMode::Transparent(Vid::DEFAULT), ..port.clone() };
            }
            // What the generator sends must come out, and nothing else: nobody answers for others or announces anybody.
            config.identity.advertise = false;
            config.identity.answer_arp = false;
            config.identity.answer_nd = false;
            config.identity.learn = false;
            if let Some(kind) = args.bus {
                config.backplanes = vec![backplane(&config, kind, args.bus_rate)];
            }
            config
        }
    };
    if config.ports.len() < 2 { Err(ChassisError::Ports(config.ports.len())) } else { Ok(config) }
}

/// All blades on one backplane. Who has the faster link has the greater part of the bus.
fn backplane(config: &Config, kind: BusKind, rate: Option<Speed>) -> BackplaneConfig {
    let speed = |port: &PortConfig| port.speed.bits_per_second();
    let slowest = config.ports.iter().map(speed).min().unwrap_or(1);
    let sum: u64 = config.ports.iter().map(speed).sum();
    let rate = rate.or_else(|| Speed::from_bits_per_second(sum / 2 * 3)).unwrap_or(Speed::MAX);
    let blades = || config.ports.iter().enumerate().filter(|(_, port)| port.role != Role::Uplink);
    // At most 64 slots for one of them.
    let weight = |bps: u64| (bps / slowest).clamp(1, 64);
    let weights = Weights {
        ports: blades().map(|(_, port)| weight(speed(port))).collect(),
        switch: weight(config.ports.iter().filter(|port| port.role == Role::Uplink).map(speed).sum()),
    };
    let ports = blades().map(|(index, _)| PortId(index as u8)).collect();
    bus::weighted(ports, kind, rate, config.switch.max_frame, &weights)
}

/// The bus of this run, and the four kinds side by side on the virtual clock.
fn report_bus(args: &Args, report: &mut ChassisReport, control: &control::Control) -> Result<(), ChassisError> {
    let shown = control::show::buses(control);
    let mut items: Vec<Item> = shown.backplanes.iter().filter(|shown| !shown.stations.is_empty()).map(bus::stations).collect();
    items.extend(shown.backplanes.iter().filter(|shown| !shown.slots.is_empty()).map(bus::slots));
    let comparison = bus::compare(&bus::Args { seed: args.seed, ..bus::Args::default() }).map_err(ChassisError::Bus)?;
    if !comparison.is_kept() {
        return Err(ChassisError::Bus(format!("a bus did not keep what it promised: {}", comparison.json())));
    }
    report.bus = serde_json::json!({ "this_run": shown, "on_the_virtual_clock": comparison.json() });
    report.bus_sections = std::iter::once(Section::new("Bus in this run", items)).chain(comparison.sections()).collect();
    Ok(())
}

/// Who is behind each port.
struct Stations {
    ports: Vec<Vec<Station>>,
}

impl Stations {
    fn new(config: &Config) -> Stations {
        let ports = config.ports.iter().enumerate().map(|(index, port)| match &port.role {
            Role::Blade { slot, macs, ips } => {
                let [high, low] = slot.to_be_bytes();
                let ip = ips.iter().find_map(|ip| match ip {
                    std::net::IpAddr::V4(ip) => Some(ip.octets()),
                    std::net::IpAddr::V6(_) => None,
                });
                vec![Station { mac: macs.first().map_or([2, 0, 0, 0, high, low], |mac| mac.0), ip: ip.unwrap_or([198, 18, high, low]) }]
            }
            Role::Uplink => (0..UPLINK_STATIONS)
                .map(|n| Station { mac: [2, 0, 0, 1, index as u8, n as u8], ip: [198, 19, index as u8, n as u8] })
                .collect(),
        });
        Stations { ports: ports.collect() }
    }

    fn of(&self, port: usize, n: usize) -> Station {
        let stations = &self.ports[port];
        stations[n % stations.len()]
    }

    /// A frame from each station to a group nobody listens to, by port: the switch learns where it is.
    fn introductions(&self) -> Vec<Vec<Box<[u8]>>> {
        let group = Station { mac: [0x01, 0x00, 0x5e, 0x7f, 0xff, 0x01], ip: [239, 255, 255, 1] };
        self.ports.iter().map(|stations| stations.iter().map(|&from| plan::udp_frame(from, group, 60)).collect()).collect()
    }
}

/// What was taken from captures.
#[derive(Debug, Default)]
struct Captures {
    files: usize,
    frames: usize,
}

fn make_plan(args: &Args, config: &Config, stations: &Stations) -> Result<(Plan, Captures), ChassisError> {
    let lines: Vec<u64> = config.ports.iter().map(|port| port.speed.bits_per_second()).collect();
    let uplinks = config.ports.iter().filter(|port| port.role == Role::Uplink).count();
    let mut plan = plan::chassis(&lines, uplinks, &args.sizes, FRAMES_PER_PORT, UPLINK_STATIONS, |port, n| stations.of(port, n));
    let mut found = Captures::default();
    if !args.no_captures {
        let mut by_port: Vec<Vec<PlannedFrame>> = vec![Vec::new(); lines.len()];
        for (number, path) in capture_files(&args.captures).map_err(system(args.captures.display()))?.iter().enumerate() {
            found.files += 1;
            found.frames += capture_frames(path, number, config, stations, &mut by_port)?;
        }
        for (port, frames) in plan.ports.iter_mut().zip(by_port) {
            plan::mix_in(port, frames);
        }
    }
    Ok((plan, found))
}

/// Captures below `dir`, in a fixed order. The default folder may be missing: the program may run anywhere.
fn capture_files(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    if !dir.exists() && dir == Path::new("pcaps") {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            // Expected outputs of tests are not traffic to send.
            if path.file_name().is_some_and(|name| name != "expected") {
                files.extend(capture_files(&path)?);
            }
        } else if path.extension().is_some_and(|kind| kind == "pcap" || kind == "pcapng") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Gives the stations of a capture to ports, and its frames to the ports of their senders.
fn capture_frames(
    path: &Path,
    number: usize,
    config: &Config,
    stations: &Stations,
    by_port: &mut [Vec<PlannedFrame>],
) -> Result<usize, ChassisError> {
    let ports = by_port.len();
    let mut homes: HashMap<[u8; 6], usize> = HashMap::new();
    let mut count = 0;
    let file = CaptureFile::open(path)?;
    for frame in file.frames() {
        let frame = frame?;
        let (Some(&dst), Some(&src)) = (frame.bytes.first_chunk::<6>(), frame.bytes.get(6..12).and_then(|mac| mac.first_chunk::<6>()))
        else {
            continue;
        };
        if frame.bytes.len() > usize::from(config.switch.max_frame) || MacAddr(src).is_group() {
            continue;
        }
        let mut home = |mac: [u8; 6]| {
            let next = homes.len();
            // Stations of one capture get neighbouring ports; captures begin at different ones.
            *homes.entry(mac).or_insert((number * 3 + next) % ports)
        };
        let from = home(src);
        let mut bytes = frame.bytes.to_vec();
        bytes.resize(bytes.len().max(60), 0);
        bytes[6..12].copy_from_slice(&stations.of(from, 0).mac);
        let target = match MacAddr(dst) {
            mac if mac.is_link_local() => Target::Nobody,
            mac if mac.is_group() => Target::Others,
            _ => {
                let to = home(dst);
                bytes[0..6].copy_from_slice(&stations.of(to, 0).mac);
                if to == from {
                    continue; // Two stations of the capture share a port here: the frame would never cross the switch.
                }
                Target::Port(PortId(to as u8))
            }
        };
        by_port[from].push(PlannedFrame { bytes: bytes.into(), target, stamped: false });
        count += 1;
    }
    Ok(count)
}

fn progress_bar(duration: Nanos) -> ProgressBar {
    let target = if std::io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(duration.0 / 1_000_000), target);
    if let Ok(style) = ProgressStyle::with_template("measuring {bar:40} {percent:>3} %  {eta} left") {
        bar.set_style(style);
    }
    bar
}

fn tick(progress: &Progress, last: Option<&Progress>) -> Option<Tick> {
    let (elapsed, received, bytes, lost) =
        last.map_or((Nanos::ZERO, 0, 0, 0), |last| (last.elapsed, last.received, last.received_bytes, last.not_taken));
    let seconds = progress.elapsed.since(elapsed).as_secs_f64();
    if seconds < 1e-3 {
        return None;
    }
    let frames = progress.received - received;
    let rate = Rate::over(frames, progress.received_bytes - bytes + 4 * frames, seconds);
    Some(Tick {
        t_s: progress.elapsed.as_secs_f64(),
        mpps: rate.mpps(),
        gbps_l1: rate.bps_l1 / 1e9,
        lost: progress.not_taken - lost,
        latency: progress
            .latency
            .iter()
            .map(|histogram| {
                (!histogram.is_empty()).then(|| LatencyTick {
                    p50_ns: histogram.value_at_quantile(0.5),
                    p99_ns: histogram.value_at_quantile(0.99),
                    max_ns: histogram.max(),
                })
            })
            .collect(),
    })
}

/// Directions without traffic (uplink to uplink, with one uplink) are left out everywhere.
fn drop_unused_directions(report: &mut ChassisReport, result: &RunResult) {
    let used: Vec<bool> = result.latency.iter().map(|histogram| !histogram.is_empty()).collect();
    for tick in &mut report.timeline {
        let mut used = used.iter();
        tick.latency.retain(|_| used.next().copied().unwrap_or(false));
    }
}

fn title(config: &Config) -> String {
    let blades: Vec<&PortConfig> = config.ports.iter().filter(|port| port.role != Role::Uplink).collect();
    let uplinks: Vec<&PortConfig> = config.ports.iter().filter(|port| port.role == Role::Uplink).collect();
    let speed = |ports: &[&PortConfig]| ports.first().map_or(String::new(), |port| port.speed.to_string());
    let up = match uplinks.len() {
        0 => "no uplink".to_owned(),
        1 => format!("uplink at {}", speed(&uplinks)),
        count => format!("{count} uplinks at {}", speed(&uplinks)),
    };
    format!("{} blades at {}, {up}", blades.len(), speed(&blades))
}

fn settings(args: &Args, config: &Config, share: f64, captures: &Captures, sampling: u64) -> Vec<Setting> {
    let lens: Vec<String> = args.sizes.lens().iter().map(|len| (len + 4).to_string()).collect();
    vec![
        Setting::new("blades and uplinks", title(config)),
        Setting::new("frame sizes in turn (bytes with FCS)", lens.join(" ")),
        Setting::new("captures mixed in", format!("{} frames of {} files", captures.frames, captures.files)),
        Setting::new("load asked for (% of line, every port, both directions)", format!("{:.2}", share * 100.0)),
        Setting::new("bus of the backplane", config.backplanes.first().map_or("none", |backplane| backplane.bus.name())),
        Setting::new("workers", config.switch.workers),
        Setting::new("burst (packets)", config.switch.burst),
        Setting::new("transmit queue (frames)", config.ports.first().map_or(0, |port| port.queue)),
        Setting::new(
            "latency recorded",
            if sampling == 1 { "every frame of the mix".to_owned() } else { format!("one frame in {sampling}") },
        ),
    ]
}

fn rows(config: &Config, control: &control::Control, result: &RunResult, plan: &[(f64, u64)]) -> Vec<PortRow> {
    let seconds = result.duration.as_secs_f64();
    let row = |(index, port): (usize, &PortConfig)| {
        let counters = control.port_counters(PortId(index as u8));
        let PortResult { offered, offered_bytes, sent, sent_bytes, received, received_bytes, not_taken, expected, .. } =
            result.ports[index];
        let mut drops: std::collections::BTreeMap<String, u64> = DropReason::ALL
            .iter()
            .map(|&reason| (reason.name().to_owned(), counters.dropped(reason)))
            .filter(|(_, count)| *count > 0)
            .collect();
        if not_taken > 0 {
            drops.insert("rx-ring-full".to_owned(), not_taken);
        }
        PortRow {
            name: port.name.clone(),
            role: if port.role == Role::Uplink { "uplink" } else { "blade" }.to_owned(),
            speed_bps: plan[index].1,
            offered,
            sent,
            received,
            lost: expected.saturating_sub(received),
            drops,
            offered_rate: Rate::over(offered, offered_bytes + 4 * offered, seconds),
            rx: Rate::over(sent, sent_bytes + 4 * sent, seconds),
            tx: Rate::over(received, received_bytes + 4 * received, seconds),
        }
    };
    config.ports.iter().enumerate().map(row).collect()
}

fn ledger(control: &control::Control) -> LedgerLine {
    let dataplane::Ledger { rx, copies, injected, tx, dropped, punted, held } = control.ledger();
    LedgerLine { rx, copies, injected, tx, dropped, punted, held }
}

#[allow(clippy::too_many_arguments)] // Each is one fact that only this run knows.
fn warnings(
    args: &Args,
    result: &RunResult,
    report: &ChassisReport,
    workers: usize,
    cores: usize,
    pages: Pages,
    line_before: Option<f64>,
    line_after: Option<f64>,
) -> Vec<Warning> {
    let mut warnings = Vec::new();
    if cores <= workers {
        warnings.push(Warning::CoresShared { needed: workers + 1, available: cores });
    }
    if result.turn.max() > LATE_MAX.0 {
        warnings.push(Warning::Preempted { thread: "generator".to_owned(), gap_max_ns: result.turn.max() });
    }
    if let Some(ns) = line_before.filter(|&ns| ns > FAR_NS) {
        warnings.push(Warning::CoresFar { line_transfer_ns: ns });
    }
    if let (Some(before_ns), Some(after_ns)) = (line_before, line_after)
        && (after_ns > 1.5 * before_ns || before_ns > 1.5 * after_ns)
    {
        warnings.push(Warning::PhaseChanged { before_ns, after_ns });
    }
    if pages != Pages::Huge {
        warnings.push(Warning::NoHugepages);
    }
    if args.duration < 1.0 {
        warnings.push(Warning::ShortRun { duration_s: args.duration });
    }
    let p99 = result.turn.value_at_quantile(0.99);
    warnings.push(Warning::Other {
        text: format!(
            "the generator looks at each port once a turn, so latencies are known to within a turn: {:.1} µs (p50), {:.1} µs (p99)",
            result.turn.value_at_quantile(0.5) as f64 / 1e3,
            p99 as f64 / 1e3
        ),
    });
    let sum = |value: fn(&PortResult) -> u64| result.ports.iter().map(value).sum::<u64>();
    // What is due and did not come, and what both sides say they dropped, floods counted per port, must agree unless frames that
    // would have been flooded were dropped: those are due on many ports and dropped once.
    let (lost, misdelivered, reordered) =
        (report.ports.iter().map(|row| row.lost).sum::<u64>(), sum(|port| port.misdelivered), sum(|port| port.reordered));
    let dropped: u64 = report.ports.iter().flat_map(|row| row.drops.iter()).filter(|(name, _)| *name != "link-local").map(|(_, n)| n).sum();
    if lost > 0 && dropped == 0 || lost < dropped {
        warnings.push(Warning::Other {
            text: format!("the generator misses {lost} frames, drops explain {dropped}: one of them counts wrongly, report it"),
        });
    }
    if misdelivered > 0 {
        warnings.push(Warning::Other {
            text: format!("{misdelivered} frames came out of a port they were not for (floods of frames with a stamp)"),
        });
    }
    if reordered > 0 {
        warnings.push(Warning::Other { text: format!("{reordered} frames came out behind a later one of the same pair of ports") });
    }
    warnings
}

/// For tests: a run short enough for them.
pub fn quick(blades: u16, duration: Duration) -> Args {
    Args {
        blades,
        blade_speed: Speed::from_bits_per_second(10_000_000).unwrap_or(Speed::G1),
        uplink_speed: Speed::from_bits_per_second(100_000_000).unwrap_or(Speed::G1),
        sizes: Sizes::imix(),
        duration: duration.as_secs_f64(),
        load: 50.0,
        captures: PathBuf::from("pcaps"),
        no_captures: false,
        config: None,
        workers: 1,
        bus: None,
        bus_rate: None,
        report: PathBuf::from("target/report"),
        seed: 1,
    }
}

impl Args {
    /// The folder for the report.
    pub fn report_dir(&self) -> &Path {
        &self.report
    }
}
