//! The devices that are compared, and the process that each of ours runs in.
//!
//! A device joins two ports. Ours run as a second process of this program (`bench ports-device`, hidden), so that its CPU time is its own; it
//! ends when its standard input does, so that it cannot outlive the benchmark. Others are the kernel's bridge and `dpdk-testpmd`.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bladeswitch::{assembly, lab::namespace, threads};
use control::config::{Config, Idle, Speed};
use core_affinity::CoreId;
use port::clock::TscClock;
use port::{Burst, Hugepages, Mempool, Nanos, OpenOptions, PoolCache, Port, PortSpec, RxQueue, TxQueue};
use serde::{Deserialize, Serialize};

/// How long a process has to end by itself.
const GOODBYE_MAX: Duration = Duration::from_secs(10);
/// Packets that the bare loop takes from a queue at once: as many as the switch.
const BARE_BURST: usize = 32;
/// Buffers of the bare loop.
const BARE_BUFFERS: u32 = 16_384;
/// How often devices are looked after.
const MAINTAIN: Nanos = Nanos::from_millis(10);

/// What is between the two ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Job {
    /// The whole switch
    Switch,
    /// What one port received the other sends, without a look at it
    Bare,
    /// Everything that is received is thrown away
    Sink,
}

/// The command line of the process.
#[derive(Debug, clap::Args)]
pub struct DeviceArgs {
    /// What it does
    #[arg(long, value_enum)]
    job: Job,
    /// Its ports
    #[arg(long = "port", num_args = 1, required = true)]
    ports: Vec<PortSpec>,
    /// Sleep when there is nothing to do
    #[arg(long)]
    adaptive: bool,
    /// Core of the thread that forwards
    #[arg(long)]
    core: Option<usize>,
    /// Stations that a switch has room for [default: as a switch without configuration]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1 << 22))]
    room: Option<u32>,
}

/// What a device has counted when it ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Frames received.
    pub rx: u64,
    /// Frames sent.
    pub tx: u64,
    /// Frames dropped.
    pub dropped: u64,
    /// Is every frame accounted for?
    pub balanced: bool,
}

/// The process: opens its ports, says so in a line, forwards until its standard input ends, and prints its [`Account`]. For each line that comes
/// before, a switch prints how many stations it knows.
///
/// # Errors
/// If there are not two ports, or one cannot be opened: the text is also printed, for whoever started it.
pub fn run(args: &DeviceArgs) -> Result<(), String> {
    let say = |line: String| writeln!(io::stdout(), "{line}").map_err(|error| format!("standard output: {error}"));
    let stop = Arc::new(AtomicBool::new(false));
    let questions = Arc::new(AtomicUsize::new(0));
    let (ends, asks) = (Arc::clone(&stop), Arc::clone(&questions));
    std::thread::spawn(move || {
        for _line in io::stdin().lines().map_while(Result::ok) {
            asks.fetch_add(1, Ordering::AcqRel);
        }
        // Whatever came, and be it an error: then nobody is there any more who wants a device.
        ends.store(true, Ordering::Release);
    });
    let ready = |ports: &[Port]| {
        let ports: Vec<String> = ports.iter().map(|port| port.device.describe()).collect();
        say(format!("ready {}", ports.join("; ")))
    };
    let done = match args.job {
        Job::Switch => switch(args, &stop, &questions, ready),
        Job::Bare | Job::Sink => bare(args, &stop, ready),
    };
    match done {
        Ok(account) => say(serde_json::to_string(&account).map_err(|error| error.to_string())?),
        Err(why) => say(format!("failed {}", why.replace('\n', "; "))).and(Err(why)),
    }
}

fn switch(
    args: &DeviceArgs,
    stop: &AtomicBool,
    questions: &AtomicUsize,
    ready: impl Fn(&[Port]) -> Result<(), String>,
) -> Result<Account, String> {
    let mut config = Config::chassis(2, Speed::G10, Speed::G10);
    config.ports.truncate(args.ports.len()); // The blades; without the uplink.
    if config.ports.len() < 2 {
        return Err("a switch takes two ports".to_owned());
    }
    config.fdb.limit = args.room.unwrap_or(config.fdb.limit).max(config.fdb.limit);
    config.identity.advertise = false;
    config.identity.answer_arp = false;
    config.identity.answer_nd = false;
    config.identity.learn = false;
    for (port, spec) in config.ports.iter_mut().zip(&args.ports) {
        port.spec = spec.clone();
    }
    let mempool = assembly::mempool(&config).map_err(|error| format!("packet pool: {error}"))?;
    let (ports, _) = assembly::open_ports(&config, &mempool, false).map_err(|error| error.to_string())?;
    ready(&ports)?;
    let idle = if args.adaptive { Idle::Adaptive } else { Idle::Spin };
    let cores: Vec<usize> = args.core.into_iter().collect();
    let started = assembly::build(&config, ports, &mempool, 1).start(&cores, idle, TscClock::new());
    let mut running = started.map_err(|error| format!("threads: {error}"))?;
    let mut answered = 0;
    while !stop.load(Ordering::Acquire) {
        while answered < questions.load(Ordering::Acquire) {
            answered += 1;
            writeln!(io::stdout(), "{}", stations(&running)).map_err(|error| format!("standard output: {error}"))?;
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
    running.stop();
    let ledger = running.control().ledger();
    Ok(Account { rx: ledger.rx, tx: ledger.tx, dropped: ledger.dropped, balanced: ledger.is_balanced() })
}

/// How many stations the switch knows. Its own threads answer, as long as they run; 0 if they have not in [`GOODBYE_MAX`].
fn stations(running: &threads::Running) -> usize {
    let asked = Instant::now();
    let request = running.control().request_fdb();
    while asked.elapsed() < GOODBYE_MAX {
        if let Some(records) = running.control().fdb_records(request) {
            return records.len();
        }
        std::thread::park_timeout(Duration::from_millis(1));
    }
    0
}

fn bare(args: &DeviceArgs, stop: &AtomicBool, ready: impl Fn(&[Port]) -> Result<(), String>) -> Result<Account, String> {
    let mempool = Mempool::new(BARE_BUFFERS, Hugepages::Auto).map_err(|error| format!("packet pool: {error}"))?;
    let mut ports = args.ports.iter().map(|spec| open(spec, &mempool)).collect::<Result<Vec<_>, _>>()?;
    ready(&ports)?;
    if let Some(id) = args.core {
        core_affinity::set_for_current(CoreId { id });
    }
    let [a, b] = &mut ports[..] else { return Err("a device takes two ports".to_owned()) };
    let (clock, mut pool, mut burst, mut account) = (TscClock::new(), mempool.cache(), Burst::new(), Account::default());
    let mut maintained = Nanos::ZERO;
    while !stop.load(Ordering::Acquire) {
        let now = clock.now();
        for forth in [true, false] {
            let (from, to) = if forth { (&mut *a, &mut *b) } else { (&mut *b, &mut *a) };
            account.rx += from.rx[0].rx_burst(now, &mut pool, &mut burst, BARE_BURST) as u64;
            if args.job == Job::Bare {
                forward(to.tx[0].as_mut(), now, &mut pool, &mut burst, &mut account);
            }
            account.dropped += burst.len() as u64;
            pool.free_all(&mut burst);
        }
        if now.since(maintained) > MAINTAIN {
            maintained = now;
            a.device.maintain(now);
            b.device.maintain(now);
        }
    }
    account.balanced = account.rx == account.tx + account.dropped;
    Ok(account)
}

fn forward(tx: &mut dyn TxQueue, now: Nanos, pool: &mut PoolCache, burst: &mut Burst, account: &mut Account) {
    if !burst.is_empty() {
        account.tx += tx.tx_burst(now, pool, burst) as u64;
    }
    tx.flush(now, pool);
}

/// Opens a port as the switch does.
///
/// # Errors
/// If it cannot be had.
pub(super) fn open(spec: &PortSpec, mempool: &Mempool) -> Result<Port, String> {
    let options =
        OpenOptions { name: "bench", speed_bps: 10_000_000_000, queue: 512, frame_len_max: 1514, mempool, force_default_route: false };
    port::open(spec, &options).map_err(|error| format!("{spec}: {error}"))
}

/// A device that runs.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    /// Its own words, or the command line.
    pub says: String,
}

impl Running {
    /// Starts one of ours, in a namespace if one is named, and waits until its ports are open.
    ///
    /// # Errors
    /// What it says.
    pub fn start(job: Job, ports: &[String], adaptive: bool, core: Option<usize>, inside: Option<&str>) -> Result<Running, String> {
        Running::start_with_room(job, ports, adaptive, core, inside, None)
    }

    /// The same with a table for so many stations.
    ///
    /// # Errors
    /// What it says.
    pub fn start_with_room(
        job: Job,
        ports: &[String],
        adaptive: bool,
        core: Option<usize>,
        inside: Option<&str>,
        room: Option<u32>,
    ) -> Result<Running, String> {
        let mut command = Command::new(std::env::current_exe().map_err(|error| format!("where this program is: {error}"))?);
        command.arg("ports-device").args([
            "--job",
            if job == Job::Switch {
                "switch"
            } else if job == Job::Bare {
                "bare"
            } else {
                "sink"
            },
        ]);
        for port in ports {
            command.args(["--port", port]);
        }
        command.args(adaptive.then_some("--adaptive"));
        command.args(core.map(|core| format!("--core={core}")));
        command.args(room.map(|room| format!("--room={room}")));
        let mut running = Running::spawn(command, inside)?;
        let mut line = String::new();
        running.stdout.read_line(&mut line).map_err(|error| format!("the device's first words: {error}"))?;
        match line.trim().split_once(' ') {
            Some(("ready", says)) => running.says = says.to_owned(),
            Some(("failed", why)) => return Err(why.to_owned()),
            _ => return Err(format!("the device ended before it was ready: {line}")),
        }
        Ok(running)
    }

    /// Starts another program, which ends when its standard input does.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn spawn(mut command: Command, inside: Option<&str>) -> Result<Running, String> {
        // Ctrl-C is for us: we end it.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        // As it is typed, without the environment.
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let says = words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
        let mut spawn = || command.spawn();
        let spawned = match inside {
            Some(name) => namespace::inside(name, spawn).map_err(|error| error.to_string())?,
            None => spawn(),
        };
        let mut child = spawned.map_err(|error| format!("{says}: {error}"))?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        match stdout {
            Some(stdout) => Ok(Running { child, stdin, stdout: BufReader::new(stdout), says }),
            None => Err(format!("{says}: no pipe")),
        }
    }

    /// Number of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// It is not there any more, though nobody has asked it to end.
    pub fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// How many stations a switch of ours knows.
    ///
    /// # Errors
    /// It does not answer.
    pub fn stations(&mut self) -> Result<u64, String> {
        let failed = |error: io::Error| format!("asking the device what it knows: {error}");
        let stdin = self.stdin.as_mut().ok_or("the device is asked for nothing any more")?;
        stdin.write_all(b"\n").map_err(failed)?;
        let mut line = String::new();
        self.stdout.read_line(&mut line).map_err(failed)?;
        line.trim().parse().map_err(|_| format!("the device was asked what it knows and said: {line}"))
    }

    /// Ends one of ours and returns what it has counted.
    ///
    /// # Errors
    /// If it has not ended well.
    pub fn finish(mut self) -> Result<Account, String> {
        drop(self.stdin.take());
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).map_err(|error| format!("the device's last words: {error}"))?;
        serde_json::from_str(rest.trim()).map_err(|_| format!("the device did not end well: {rest}"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let began = Instant::now();
        while let Ok(None) = self.child.try_wait() {
            if began.elapsed() > GOODBYE_MAX {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            std::thread::park_timeout(Duration::from_millis(2));
        }
    }
}
