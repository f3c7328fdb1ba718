//! `bench ports`: what each kind of port costs, beside the kernel's bridge, testpmd and a loop that only forwards, in the same run.
//!
//! The ground is the same for all: two veth pairs in a network namespace, or two memif interfaces. A device joins the inner ends; generator and
//! receiver are one thread with the outer ends, on another core. Devices take turns in every round, and the order turns too, so that
//! a bad phase of the machine hits all of them; ratios are taken within a round.
//!
//! - [`device`]: what is compared, and the processes of it, [`dpdk`]: those on DPDK's ports; [`site`]: the ground;
//! - [`traffic`]: what is offered and checked; [`cpu`]: what it costs; [`report`]: tables, plots, JSON.
//!
//! Limits: generator and receiver share a core, so that two cores are enough; with fewer, everything shares one, and the report says so.
//! Rates are the most that is forwarded under overload, not the throughput of RFC 2544. The kernel's bridge works on the core of whoever sends, so its
//! rate is also the generator's limit; `bridge, steered` has its work on the device's core.

pub mod cpu;
pub mod device;
pub mod dpdk;
pub mod report;
pub mod site;
pub mod traffic;

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Instant, SystemTime};

use bladeswitch::lab::namespace;
use core_affinity::CoreId;
use port::Nanos;
use port::clock::TscClock;
use traffic_gen::output::Report;

use device::{Job, Running};
use site::{Folder, Veths};
use traffic::{Ends, Offer, Run};

/// What to measure.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Ports on interfaces, on veth pairs: AF_XDP, AF_PACKET, TAP, against the kernel's bridge (root) [default: this and --memif]
    #[arg(long)]
    pub linux: bool,
    /// Ports on shared memory, against dpdk-testpmd
    #[arg(long)]
    pub memif: bool,
    /// Sizes of frames in bytes without FCS
    #[arg(long, value_delimiter = ',', default_value = "60,1514", value_parser = clap::value_parser!(u16).range(60..=1514))]
    pub sizes: Vec<u16>,
    /// Frames a second for latency
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(100..=10_000_000))]
    pub latency_pps: u64,
    /// Stations behind each port
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u8).range(1..=255))]
    pub stations: u8,
    /// Seconds of each run
    #[arg(long, default_value = "1", value_parser = seconds)]
    pub seconds: f64,
    /// Times that each device is measured
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,
    /// Devices to measure, by name or the beginning of it [default: all]
    #[arg(long = "only", value_name = "NAME")]
    pub only: Vec<String>,
    /// Write the figures as JSON to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Folder for the report as a page with plots, JSON and CSV
    #[arg(long, default_value = "target/report", value_name = "DIR")]
    pub report: PathBuf,
}

/// Seconds from 0.05 to 600.
///
/// # Errors
/// What was expected.
pub(crate) fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.05..=600.0).contains(&seconds) => Ok(seconds),
        _ => Err("expected seconds from 0.05 to 600".to_owned()),
    }
}

/// Who is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// No device: the generator into one end of a veth pair, the receiver at the other.
    VethAlone,
    /// One of ours over AF_XDP with the program in the driver.
    Native(Job),
    /// One of ours over AF_XDP with the program in the network stack.
    Skb(Job),
    /// One of ours over packet sockets.
    AfPacket(Job),
    /// One of ours over TAP devices, the generator sending through packet sockets.
    Tap(Job),
    /// The kernel's bridge.
    Bridge,
    /// The same, on the device's core.
    BridgeSteered,
    /// One of ours as memif server.
    Memif(Job),
    /// One of ours as memif server through DPDK's driver.
    Dpdk(Job),
    /// `dpdk-testpmd`, which sends out of the other port what it receives, as memif server.
    Testpmd,
    /// One of ours as memif client: the shared memory is its own, and the generator is the server.
    Client(Job),
    /// testpmd as memif client, copying as ours does.
    TestpmdClient,
}

impl Who {
    /// Everybody on veth pairs, the reference first.
    pub const LINUX: [Who; 11] = [
        Who::Bridge,
        Who::BridgeSteered,
        Who::Native(Job::Switch),
        Who::Native(Job::Bare),
        Who::Skb(Job::Switch),
        Who::Skb(Job::Bare),
        Who::AfPacket(Job::Switch),
        Who::AfPacket(Job::Bare),
        Who::Tap(Job::Switch),
        Who::Tap(Job::Bare),
        Who::VethAlone,
    ];
    /// Everybody on memif, the reference first.
    pub const MEMIF: [Who; 6] =
        [Who::Testpmd, Who::Memif(Job::Switch), Who::Memif(Job::Bare), Who::Memif(Job::Sink), Who::Dpdk(Job::Switch), Who::Dpdk(Job::Bare)];

    /// Everybody on memif in the other role, the reference first.
    pub const CLIENTS: [Who; 4] = [Who::TestpmdClient, Who::Client(Job::Switch), Who::Client(Job::Bare), Who::Client(Job::Sink)];

    /// Everybody.
    pub fn all() -> impl Iterator<Item = Who> {
        Who::LINUX.into_iter().chain(Who::MEMIF).chain(Who::CLIENTS)
    }

    /// For tables.
    pub const fn name(self) -> &'static str {
        match self {
            Who::VethAlone => "veth pair alone",
            Who::Native(Job::Switch) => "switch, af_xdp native",
            Who::Native(_) => "bare loop, af_xdp native",
            Who::Skb(Job::Switch) => "switch, af_xdp skb",
            Who::Skb(_) => "bare loop, af_xdp skb",
            Who::AfPacket(Job::Switch) => "switch, af_packet",
            Who::AfPacket(_) => "bare loop, af_packet",
            Who::Tap(Job::Switch) => "switch, tap",
            Who::Tap(_) => "bare loop, tap",
            Who::Bridge => "bridge",
            Who::BridgeSteered => "bridge, steered",
            Who::Memif(Job::Switch) => "switch, memif",
            Who::Memif(Job::Bare) => "bare loop, memif",
            Who::Memif(Job::Sink) => "sink, memif",
            Who::Dpdk(Job::Switch) => "switch, dpdk",
            Who::Dpdk(_) => "bare loop, dpdk",
            Who::Testpmd => "testpmd io, memif",
            Who::Client(Job::Switch) => "switch, memif client",
            Who::Client(Job::Bare) => "bare loop, memif client",
            Who::Client(Job::Sink) => "sink, memif client",
            Who::TestpmdClient => "testpmd io, memif client",
        }
    }

    /// What its port kind can be had for without a switch, in the same run.
    pub const fn bare(self) -> Option<Who> {
        match self {
            Who::Native(Job::Switch) => Some(Who::Native(Job::Bare)),
            Who::Skb(Job::Switch) => Some(Who::Skb(Job::Bare)),
            Who::AfPacket(Job::Switch) => Some(Who::AfPacket(Job::Bare)),
            Who::Tap(Job::Switch) => Some(Who::Tap(Job::Bare)),
            Who::Memif(Job::Switch) => Some(Who::Memif(Job::Bare)),
            Who::Dpdk(Job::Switch) => Some(Who::Dpdk(Job::Bare)),
            Who::Client(Job::Switch) => Some(Who::Client(Job::Bare)),
            _ => None,
        }
    }

    /// Is it the whole switch?
    pub const fn is_switch(self) -> bool {
        self.bare().is_some()
    }

    /// Does it forward? What does not only tells how fast the generator is.
    pub const fn forwards(self) -> bool {
        !matches!(self, Who::VethAlone) && !self.is_sink()
    }

    /// Does it throw away what it receives?
    pub const fn is_sink(self) -> bool {
        matches!(self, Who::Memif(Job::Sink) | Who::Client(Job::Sink))
    }

    /// Is it a memif client?
    pub const fn is_client(self) -> bool {
        matches!(self, Who::Client(_) | Who::TestpmdClient)
    }
}

/// One round of one device: by size, then latency.
#[derive(Debug)]
pub struct Round {
    /// Under overload, by size.
    pub overload: Vec<Run>,
    /// At the rate for latency, with the smallest size; `None` for a sink.
    pub latency: Option<Run>,
    /// Its own words: ports and modes, or its command line.
    pub says: String,
}

/// All rounds of a device.
#[derive(Debug)]
pub struct Series {
    /// Whose.
    pub who: Who,
    /// Each round, or why there is none.
    pub rounds: Vec<Result<Round, String>>,
    /// Share of a core that the process takes with adaptive idle and no traffic, 0 to 1.
    pub idle: Option<f64>,
}

/// Devices on one ground.
#[derive(Debug)]
pub struct Ground {
    /// `linux`, `memif`, or `memif, clients`.
    pub name: &'static str,
    /// Who others are compared with.
    pub reference: Who,
    /// Frames went both ways.
    pub both_ways: bool,
    /// By device.
    pub series: Vec<Series>,
}

/// Everything that was measured, and what must be said of it.
#[derive(Debug, Default)]
pub struct Measured {
    /// By ground.
    pub grounds: Vec<Ground>,
    /// Grounds and peers that were left out, and why.
    pub left_out: Vec<String>,
    /// Cores of generator and device; `None`: one has to do.
    pub cores: Option<(usize, usize)>,
}

/// Measures and reports. Ctrl-C ends it, and what was made is removed.
///
/// # Errors
/// If nothing can be set up, or it is interrupted. A busy machine and missing peers are not errors: the report says them.
pub fn run(args: &Args) -> Result<Report, String> {
    let clock = TscClock::new();
    interruptible(|stop| Ok(report::report(args, &measure(args, &clock, stop)?, &clock)))
}

/// The report of `measure`, with its times. SIGINT and SIGTERM are told to it; then there is no report.
///
/// # Errors
/// Those of `measure`, or it was interrupted.
pub(crate) fn interruptible(measure: impl FnOnce(&AtomicBool) -> Result<Report, String>) -> Result<Report, String> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).map_err(|error| format!("signals: {error}"))?;
    }
    let (started, began) = (SystemTime::now(), Instant::now());
    let mut report = measure(&stop)?;
    if stop.load(Ordering::Relaxed) {
        return Err("interrupted: nothing is reported, everything that was started or made is removed".to_owned());
    }
    report.set_started(started);
    report.duration_s = began.elapsed().as_secs_f64();
    Ok(report)
}

/// Measures; what cannot be done here is in [`Measured::left_out`].
///
/// # Errors
/// A ground that was asked for by name cannot be made, or no device is named so.
pub fn measure(args: &Args, clock: &TscClock, stop: &AtomicBool) -> Result<Measured, String> {
    let ids: Vec<usize> = core_affinity::get_core_ids().unwrap_or_default().iter().map(|core| core.id).collect();
    let cores = (ids.len() > 1).then(|| (ids[0], ids[ids.len() - 1]));
    let mut measured = Measured { cores, ..Measured::default() };
    let wanted = |all: &[Who]| -> Vec<Who> {
        let named = |who: &Who| args.only.is_empty() || args.only.iter().any(|only| who.name().starts_with(only.as_str()));
        all.iter().copied().filter(named).collect()
    };
    if let Some(unknown) = args.only.iter().find(|only| !Who::all().any(|who| who.name().starts_with(only.as_str()))) {
        let names: Vec<&str> = Who::all().map(Who::name).collect();
        return Err(format!("--only {unknown}: expected the beginning of one of: {}", names.join("; ")));
    }
    let both = args.linux == args.memif;
    if both || args.linux {
        let bench = Bench { args, clock, cores, stop, both_ways: false };
        match Veths::new() {
            Ok(veths) => {
                let devices = wanted(&Who::LINUX).into_iter().filter(|who| *who != Who::BridgeSteered || cores.is_some()).collect();
                measured.grounds.push(bench.ground("linux", Who::Bridge, devices, &|who, work| on_veths(&bench, &veths, who, work)));
                measured.left_out.extend(
                    missing("ovs-vswitchd", "openvswitch-switch-dpdk")
                        .or_else(|| Some("ovs-vswitchd is installed, but this benchmark does not drive it: bench peers does".to_owned())),
                );
            }
            // Asked for by name, it must be there.
            Err(why) if args.linux => return Err(why),
            Err(why) => measured.left_out.push(why),
        }
    }
    if both || args.memif {
        let bench = Bench { args, clock, cores, stop, both_ways: true };
        let folder = Folder::new()?;
        let (mut devices, mut clients) = (wanted(&Who::MEMIF), wanted(&Who::CLIENTS));
        if let Some(why) = missing("dpdk-testpmd", "dpdk") {
            devices.retain(|who| *who != Who::Testpmd);
            clients.retain(|who| *who != Who::TestpmdClient);
            measured.left_out.push(why);
        }
        if let Some(why) = dpdk::missing() {
            devices.retain(|who| !matches!(who, Who::Dpdk(_)));
            measured.left_out.push(why);
        }
        let visit = |who, work| on_memif(&bench, &folder, who, work);
        measured.grounds.push(bench.ground("memif", Who::Testpmd, devices, &visit));
        measured.grounds.push(bench.ground("memif, clients", Who::TestpmdClient, clients, &visit));
    }
    Ok(measured)
}

/// Why a peer is left out, with the line that installs it; `None`: it is there.
fn missing(program: &str, package: &str) -> Option<String> {
    let found = namespace::command(program).arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let why = format!("{program} is not installed, so there is nothing to compare with: apt-get install {package}");
    found.is_err().then_some(why)
}

/// What one visit to a device is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Round,
    Idle,
}

/// What came of a visit.
enum Done {
    Round(Box<Round>),
    Idle(Option<f64>),
}

/// What all runs have in common.
struct Bench<'a> {
    args: &'a Args,
    clock: &'a TscClock,
    cores: Option<(usize, usize)>,
    stop: &'a AtomicBool,
    both_ways: bool,
}

type Visit<'a> = &'a dyn Fn(Who, Work) -> Result<Done, String>;

impl Bench<'_> {
    /// All devices in turn, round by round; then those of ours without traffic.
    fn ground(&self, name: &'static str, reference: Who, devices: Vec<Who>, visit: Visit<'_>) -> Ground {
        let mut series: Vec<Series> = devices.iter().map(|&who| Series { who, rounds: Vec::new(), idle: None }).collect();
        for round in 0..self.args.rounds as usize {
            for turn in 0..series.len() {
                let place = (round + turn) % series.len();
                let one = &mut series[place];
                if self.stop.load(Ordering::Relaxed) {
                    return Ground { name, reference, both_ways: self.both_ways, series };
                }
                one.rounds.push(visit(one.who, Work::Round).and_then(|done| match done {
                    Done::Round(round) => Ok(*round),
                    Done::Idle(_) => Err("no round".to_owned()),
                }));
            }
        }
        for one in series.iter_mut().filter(|one| one.who.is_switch() && !self.stop.load(Ordering::Relaxed)) {
            match visit(one.who, Work::Idle) {
                Ok(Done::Idle(share)) => one.idle = share,
                Ok(Done::Round(_)) => {}
                Err(why) => one.rounds.push(Err(format!("without traffic: {why}"))),
            }
        }
        Ground { name, reference, both_ways: self.both_ways, series }
    }

    fn core(&self) -> Option<usize> {
        self.cores.map(|(_, device)| device)
    }

    /// Starts one of ours. With one core for all it must not spin.
    fn start(&self, job: Job, ports: &[String], work: Work, inside: Option<&str>) -> Result<Running, String> {
        Running::start(job, ports, work == Work::Idle || self.cores.is_none(), self.core(), inside)
    }

    /// The generator's ends: as memif servers they listen.
    fn ends(&self, specs: &[String; 2]) -> Result<Ends, String> {
        Ends::listen(specs, self.args.stations.into(), self.clock)
    }

    /// The runs of a round, with the device between the ends. Called in the thread that is to generate.
    fn work(&self, mut ends: Ends, who: Who, process: Option<u32>, says: &str, work: Work) -> Result<Done, String> {
        if let Some((id, _)) = self.cores {
            core_affinity::set_for_current(CoreId { id });
        }
        let to_sink = who.is_sink();
        ends.wait(self.stop)?;
        if !to_sink {
            ends.introduce(self.stop)?;
        }
        let duration = Nanos((self.args.seconds * 1e9) as u64);
        if work == Work::Idle {
            let (seconds, spent) = ends.idle(process, duration, self.stop)?;
            return Ok(Done::Idle(spent.process_ns.map(|ns| ns as f64 / 1e9 / seconds)));
        }
        let offer = |len: u16, rate_pps| Offer { len: len.into(), rate_pps, duration, both_ways: self.both_ways, to_sink };
        let overload = self.args.sizes.iter().map(|&len| ends.run(&offer(len, None), process, self.stop)).collect::<Result<_, _>>()?;
        let smallest = self.args.sizes.iter().copied().min().unwrap_or(60);
        let latency = match to_sink {
            true => None,
            false => Some(ends.run(&Offer { both_ways: false, ..offer(smallest, Some(self.args.latency_pps)) }, process, self.stop)?),
        };
        Ok(Done::Round(Box::new(Round { overload, latency, says: format!("{says}; generator on {}", ends.describe()) })))
    }
}

fn on_veths(bench: &Bench<'_>, veths: &Veths, who: Who, work: Work) -> Result<Done, String> {
    let outer = |kind: &str, mode: &str| [0, 1].map(|side| format!("{kind}:{}{mode}", veths.near(side)));
    let inner = |kind: &str, mode: &str| [0, 1].map(|side| format!("{kind}:{}{mode}", veths.inner(side)));
    let with = |ends: [String; 2], process: Option<u32>, says: &str| {
        namespace::inside(veths.namespace(), || bench.work(bench.ends(&ends)?, who, process, says, work))
            .map_err(|error| error.to_string())?
    };
    let ends = outer("af_xdp", ",mode=skb");
    let ours = |job: Job, ports: [String; 2]| -> Result<Done, String> {
        let device = bench.start(job, &ports, work, Some(veths.namespace()))?;
        let done = with(ends.clone(), Some(device.id()), &device.says)?;
        check(device, done)
    };
    match who {
        Who::VethAlone => {
            with([format!("af_xdp:{},mode=skb", veths.near(0)), format!("af_xdp:{},mode=skb", veths.inner(0))], None, "no device")
        }
        Who::Native(job) => ours(job, inner("af_xdp", ",mode=native")),
        Who::Skb(job) => ours(job, inner("af_xdp", ",mode=skb")),
        Who::AfPacket(job) => ours(job, inner("af_packet", "")),
        Who::Tap(job) => {
            let names = ["tap0", "tap1"];
            let device = bench.start(job, &names.map(|name| format!("tap:{name}")), work, Some(veths.namespace()))?;
            veths.ip(&names.map(|name| format!("link set {name} up")))?;
            let done = with(names.map(|name| format!("af_packet:{name}")), Some(device.id()), &device.says)?;
            check(device, done)
        }
        Who::Bridge | Who::BridgeSteered => {
            let steered = who == Who::BridgeSteered;
            let _bridge = veths.bridge(bench.core().filter(|_| steered))?;
            with(ends, None, if steered { "br0, rps_cpus of its ports set to the device's core" } else { "br0, on the core that sends" })
        }
        Who::Memif(_) | Who::Dpdk(_) | Who::Testpmd | Who::Client(_) | Who::TestpmdClient => {
            Err("memif ports are not on veth pairs".to_owned())
        }
    }
}

fn on_memif(bench: &Bench<'_>, folder: &Folder, who: Who, work: Work) -> Result<Done, String> {
    let socket = folder.file("memif.sock");
    let specs = |role: &str| [0, 1].map(|id| format!("memif:{socket},id={id},role={role}"));
    // A server that has ended may have left its socket behind. Servers are there before their clients: DPDK's try once.
    let _ = std::fs::remove_file(&socket);
    let servers = who.is_client().then(|| bench.ends(&specs("server"))).transpose()?;
    let run = |device: &Running| {
        let ends = match servers {
            Some(ends) => ends,
            None => bench.ends(&specs("client"))?,
        };
        // A thread of its own: it is bound to a core.
        std::thread::scope(|scope| scope.spawn(|| bench.work(ends, who, Some(device.id()), &device.says, work)).join())
            .map_err(|_| "the generator panicked".to_owned())?
    };
    match who {
        Who::Memif(job) | Who::Dpdk(job) | Who::Client(job) => {
            let ports = match who {
                Who::Dpdk(_) => dpdk::ports(&socket),
                Who::Client(_) => specs("client"),
                _ => specs("server"),
            };
            let device = bench.start(job, &ports, work, None)?;
            let done = run(&device)?;
            check(device, done)
        }
        Who::Testpmd | Who::TestpmdClient => {
            let mut device = Running::spawn(testpmd(&socket, who.is_client(), bench.cores), None)?;
            let done = run(&device);
            done.map_err(|why| if device.has_ended() { format!("it has ended by itself: {}", device.says) } else { why })
        }
        _ => Err("only memif ports are here".to_owned()),
    }
}

/// testpmd on memif, its main thread on the generator's core (it sleeps), forwarding on the device's.
fn testpmd(socket: &str, is_client: bool, cores: Option<(usize, usize)>) -> Command {
    let (main, worker) = cores.unwrap_or((0, 0));
    let mut command = namespace::command("dpdk-testpmd");
    command.args(["--lcores", &format!("0@{main},1@{worker}"), "--no-pci", "-m", "192", "--force-max-simd-bitwidth=512"]);
    // Huge pages where enough of 2 MiB are free. Without them DPDK cannot keep everything in memory of its own.
    command.args(if free_hugepages() >= 96 { ["--in-memory"].as_slice() } else { &["--no-huge", "--no-shconf"] });
    command.args(["--no-telemetry", "--file-prefix", &format!("bench{}", std::process::id())]);
    let role = if is_client { "client" } else { "server" };
    for id in 0..2 {
        command.args(["--vdev", &format!("net_memif{id},role={role},id={id},socket={socket},socket-abstract=no,rsize=9,bsize=2048")]);
    }
    let forward = ["--nb-cores=1", "--forward-mode=io", "--port-topology=paired", "--total-num-mbufs=16384", "--auto-start"];
    command.arg("--").args(forward);
    command
}

/// Huge pages of the default size that nobody has taken.
fn free_hugepages() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let count = text.lines().find_map(|line| line.strip_prefix("HugePages_Free:")?.trim().parse().ok());
    count.unwrap_or(0)
}

/// Ends a device of ours: what it counted must add up.
fn check(device: Running, done: Done) -> Result<Done, String> {
    let account = device.finish()?;
    if account.balanced { Ok(done) } else { Err(format!("the device does not account for every frame: {account:?}")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn parse(line: &[&str]) -> Result<Args, clap::Error> {
        Line::try_parse_from(std::iter::once(&"bench").chain(line)).map(|line| line.args)
    }

    #[test]
    fn the_command_line_is_read_or_refused() {
        let args = parse(&["--linux", "--sizes", "60,512", "--seconds", "0.5", "--only", "bridge", "--only", "switch, af_packet"]).unwrap();
        assert!(args.linux && !args.memif);
        assert_eq!((args.sizes, args.seconds, args.only.len()), (vec![60, 512], 0.5, 2));
        for wrong in
            [["--sizes", "59"], ["--sizes", "1515"], ["--seconds", "0"], ["--seconds", "x"], ["--rounds", "0"], ["--stations", "0"]]
        {
            assert!(parse(&wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn who_is_not_known_is_named() {
        let args = parse(&["--only", "bridge,nobody"]).unwrap();
        let why = measure(&args, &TscClock::new(), &AtomicBool::new(false)).unwrap_err();
        assert!(why.contains("nobody") && why.contains("switch, af_packet"), "{why}");
    }

    #[test]
    fn what_is_missing_comes_with_its_install_line() {
        assert_eq!(missing("true", "coreutils"), None);
        assert!(missing("no-such-program-at-all", "that").unwrap().ends_with("apt-get install that"));
    }

    #[test]
    fn names_are_told_apart() {
        let mut names: Vec<&str> = Who::all().map(Who::name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Who::all().count());
    }
}
