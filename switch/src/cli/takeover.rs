//! `lab takeover`: the active switch blade is killed, or hangs, under load, again and again, and the standby takes over.
//!
//! ```text
//!   a0 (ours, sends) ─── a1 ┐
//!   b0 (ours, hears) ─── b1 ┤ the active one and the standby, on the same interfaces, in a network namespace of their own
//!   c0 (ours, aside) ─── c1 ┘
//! ```
//!
//! Numbered frames go from a0 to the address of a station at b0 that spoke once, at the very beginning: what reaches c0 was flooded, since the
//! address was forgotten. The outage is the longest time between two frames at b0; lost is every number that never came.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use bladeswitch::lab::{self, Name, Place, namespace};
use port::{Burst, Hugepages, Mempool, Nanos, OpenOptions, PoolCache, Port};
use serde::Serialize;
use wire::MacAddr;
use wire::ethernet::{self, EtherType};

use super::{Done, Failure, print, print_json, table};

const SENDER: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const STATION: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
/// A type of our own: nobody else sends it there.
const OURS: EtherType = EtherType(0x9000);
/// Frames that must have come before the active one is killed, and after the standby took over.
const FRAMES_AROUND: u64 = 200;
/// Frames that are sent at once at most.
const CATCH_UP_MAX: usize = 64;
/// How long anything may take before the command gives up, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(60);

/// What was typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How often the active switch is killed
    #[arg(long, default_value_t = 50, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    runs: u32,
    /// Frames a second meanwhile
    #[arg(long, default_value_t = 5000, value_name = "PPS", value_parser = clap::value_parser!(u32).range(100..=100_000))]
    rate: u32,
    /// The active switch hangs (SIGSTOP) instead; the standby kills it when it has been silent for so many milliseconds (standby.silent_ms)
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u32).range(100..=20_000))]
    hang: Option<u32>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    /// The active switch hung, and was killed after so many milliseconds; `None`: it was killed at once.
    hang_ms: Option<u32>,
    /// Frames a second that were asked for.
    rate_pps: u32,
    /// Frames a second that were sent.
    sent_pps: f64,
    frames_sent: u64,
    /// Frames that came more than once.
    duplicates: u64,
    /// Frames that came back to their sender.
    looped: u64,
    /// Frames that reached somebody else because their destination was forgotten.
    flooded: u64,
    runs: Vec<Run>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Run {
    outage_ms: f64,
    lost: u64,
}

/// Does it, and removes everything afterwards.
pub fn takeover(args: &Args) -> Done {
    lab::check_root()?;
    let name: Name = format!("tk{}", std::process::id()).parse().map_err(|_| Failure::other("no name for the lab"))?;
    let report = prepare(&name, args.hang).and_then(|config| {
        let namespace = name.namespace(Place::Switch);
        namespace::inside(&namespace, || measure(args, &namespace, &config)).map_err(Failure::from)?
    });
    lab::remove(&name)?;
    let report = report?;
    if args.json {
        print_json(&report)?;
    } else {
        print(&told(&report))?;
    }
    let clean = report.duplicates + report.looped == 0;
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The namespace, its interfaces, and the configuration of both switches.
fn prepare(name: &Name, hang: Option<u32>) -> Result<PathBuf, Failure> {
    let failed = |path: &Path, error: std::io::Error| Failure::other(format!("{}: {error}", path.display()));
    let (folder, namespace) = (name.folder(), name.namespace(Place::Switch));
    std::fs::create_dir_all(&folder).map_err(|error: std::io::Error| failed(&folder, error))?;
    namespace::ip(&["netns", "add", &namespace])?;
    namespace::set(&namespace, &[("ipv6/conf/default/disable_ipv6", "1")])?;
    let pair = |end: &str| format!("link add {end}0 type veth peer name {end}1");
    let up = |end: &str| format!("link set {end} up");
    let lines: Vec<String> = ["a", "b", "c"].iter().map(|end| pair(end)).chain(["a0", "a1", "b0", "b1", "c0", "c1"].map(up)).collect();
    namespace::ip_batch(Some(&namespace), &lines)?;
    let config = folder.join("switch.toml");
    let text = format!(
        "[switch]\napi = \"{0}/api.sock\"\n[standby]\nlock = \"{0}/lock\"\ncopy_ms = 100\n# However busy the machine is: only our own kills count.\n\
         silent_ms = {1}\n[[blade]]\nslot = 1\nport = \"af_packet:a1\"\n[[blade]]\nslot = 2\nport = \"af_packet:b1\"\n[[blade]]\nslot = 3\n\
         port = \"af_packet:c1\"\n",
        folder.display(),
        hang.unwrap_or(0)
    );
    std::fs::write(&config, text).map_err(|error: std::io::Error| failed(&config, error))?;
    Ok(config)
}

/// A switch process. It ends with this.
struct Process {
    child: Child,
    lines: Receiver<String>,
}

impl Process {
    fn start(namespace: &str, config: &Path) -> Result<Process, Failure> {
        let program = std::env::current_exe().map_err(|error| Failure::other(format!("this program: {error}")))?;
        let mut command = namespace::exec(namespace, &program.to_string_lossy());
        let mut child = command
            .arg("run")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| Failure::other(format!("ip netns exec: {error}")))?;
        let (sender, lines) = channel();
        if let Some(stdout) = child.stdout.take() {
            // It ends with the process.
            std::thread::spawn(move || BufReader::new(stdout).lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        }
        Ok(Process { child, lines })
    }

    /// Waits until it says a line that begins with this.
    fn says(&self, start: &str) -> Result<(), Failure> {
        let begin = Instant::now();
        loop {
            match self.lines.recv_timeout(PATIENCE.saturating_sub(begin.elapsed())) {
                Ok(line) if line.starts_with(start) => return Ok(()),
                Ok(_) => {}
                Err(_) => {
                    return Err(Failure::other(format!("a switch does not say `{start}` within {} s, or has ended", PATIENCE.as_secs())));
                }
            }
        }
    }
}

impl Process {
    /// Stops it where it is (SIGSTOP).
    fn stop(&self) -> Result<(), Failure> {
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        let pid = pid.ok_or_else(|| Failure::other("the switch has no process number"))?;
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).map_err(|error| Failure::other(format!("SIGSTOP: {error}")))
    }

    /// It has ended, although nobody here has waited for it.
    fn has_ended(&mut self) -> Result<(), Failure> {
        match self.child.try_wait() {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(Failure::other("the standby forwards, and the switch before it has not ended")),
            Err(error) => Err(Failure::other(format!("the switch: {error}"))),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Both sides of the switch.
struct Wire {
    pool: PoolCache,
    from: Port,
    to: Port,
    aside: Port,
    start: Instant,
    period: Duration,
    next: Instant,
    /// By number: has it come?
    came: Vec<bool>,
    newest: usize,
    count: u64,
    last: Instant,
    gap: Duration,
    duplicates: u64,
    looped: u64,
    flooded: u64,
    /// How long frames were sent in all.
    carried: Duration,
}

fn measure(args: &Args, namespace: &str, config: &Path) -> Result<Report, Failure> {
    let mut wire = Wire::open(args.rate)?;
    let mut active = Process::start(namespace, config)?;
    active.says("running;")?;
    wire.speak_once()?;
    let mut standby = Process::start(namespace, config)?;
    standby.says("copied")?;
    let mut runs = Vec::new();
    for _ in 0..args.runs {
        wire.carry(0)?;
        let (killed_at, lost_from) = (wire.came.len(), wire.newest);
        wire.gap = Duration::ZERO;
        if args.hang.is_some() {
            active.stop()?;
        } else {
            // SIGKILL. It is not waited for: frames go on meanwhile.
            let _ = active.child.kill();
        }
        wire.carry(killed_at)?;
        // Never two: whoever forwards again does it after the one before has ended, killed by the standby if not by us.
        active.has_ended()?;
        let lost = wire.came[lost_from..wire.newest].iter().filter(|came| !**came).count() as u64;
        runs.push(Run { outage_ms: wire.gap.as_secs_f64() * 1e3, lost });
        active = standby;
        active.says("running;")?;
        standby = Process::start(namespace, config)?;
        standby.says("copied")?;
    }
    let (duplicates, looped, flooded) = (wire.duplicates, wire.looped, wire.flooded);
    let frames_sent = wire.came.len() as u64;
    let sent_pps = frames_sent as f64 / wire.carried.as_secs_f64();
    Ok(Report { hang_ms: args.hang, rate_pps: args.rate, sent_pps, frames_sent, duplicates, looped, flooded, runs })
}

impl Wire {
    fn open(rate: u32) -> Result<Wire, Failure> {
        let mempool = Mempool::new(16_384, Hugepages::Never).map_err(Failure::other)?;
        let open = |name: &str| {
            let spec = format!("af_packet:{name}").parse().map_err(Failure::other)?;
            let options = OpenOptions {
                name,
                speed_bps: 1_000_000_000,
                queue: 512,
                frame_len_max: 1514,
                mempool: &mempool,
                force_default_route: false,
            };
            port::open(&spec, &options).map_err(Failure::other)
        };
        let (from, to, aside) = (open("a0")?, open("b0")?, open("c0")?);
        let now = Instant::now();
        Ok(Wire {
            pool: mempool.cache(),
            from,
            to,
            aside,
            start: now,
            period: Duration::from_secs(1) / rate,
            next: now,
            came: Vec::new(),
            newest: 0,
            count: 0,
            last: now,
            gap: Duration::ZERO,
            duplicates: 0,
            looped: 0,
            flooded: 0,
            carried: Duration::ZERO,
        })
    }

    /// The station at the other end says one word, and from then on the switch knows where it is.
    fn speak_once(&mut self) -> Result<(), Failure> {
        let word = ethernet::emit(SENDER, STATION, &[], OURS, &[]);
        send(&mut self.to, &mut self.pool, self.start, &word);
        let begin = Instant::now();
        while !receive(&mut self.from, &mut self.pool, self.start, STATION).iter().any(Option::is_some) {
            patient(begin, "the first frame does not come through")?;
        }
        Ok(())
    }

    /// Sends on until enough frames have come that were sent as number `first` or later.
    fn carry(&mut self, first: usize) -> Result<(), Failure> {
        let (begin, mut enough) = (Instant::now(), self.count + FRAMES_AROUND);
        self.next = begin;
        // What was silence between two runs is none of a switch.
        if first == 0 {
            self.last = begin;
        }
        while self.count < enough {
            patient(begin, "no frames come through")?;
            self.turn();
            if self.newest < first {
                enough = self.count + FRAMES_AROUND;
            }
        }
        self.carried += begin.elapsed();
        Ok(())
    }

    fn turn(&mut self) {
        let now = Instant::now();
        // A busy machine may not have let us: what is due is sent at once, some of it in the next turn.
        for _ in 0..CATCH_UP_MAX {
            if now < self.next {
                break;
            }
            self.next += self.period;
            let number = self.came.len() as u64;
            if send(&mut self.from, &mut self.pool, self.start, &ethernet::emit(STATION, SENDER, &[], OURS, &number.to_be_bytes())) {
                self.came.push(false);
            }
        }
        for number in receive(&mut self.to, &mut self.pool, self.start, SENDER).into_iter().flatten() {
            let Some(came) = self.came.get_mut(number) else { continue };
            self.duplicates += u64::from(std::mem::replace(came, true));
            self.newest = self.newest.max(number);
            self.count += 1;
            let now = Instant::now();
            self.gap = self.gap.max(now - self.last);
            self.last = now;
        }
        self.flooded += receive(&mut self.aside, &mut self.pool, self.start, SENDER).len() as u64;
        self.looped += receive(&mut self.from, &mut self.pool, self.start, SENDER).len() as u64;
        std::thread::yield_now();
    }
}

fn patient(begin: Instant, what: &str) -> Result<(), Failure> {
    let over = begin.elapsed() > PATIENCE;
    if over { Err(Failure::other(format!("{what} within {} s", PATIENCE.as_secs()))) } else { Ok(()) }
}

/// Sends a frame; `false` if the interface does not take it.
fn send(port: &mut Port, pool: &mut PoolCache, start: Instant, frame: &[u8]) -> bool {
    let now = Nanos(start.elapsed().as_nanos() as u64);
    let mut burst = Burst::new();
    burst.extend(pool.alloc_copy(frame));
    let taken = port.tx.first_mut().map_or(0, |queue| {
        let taken = queue.tx_burst(now, pool, &mut burst);
        queue.flush(now, pool);
        taken
    });
    pool.free_all(&mut burst);
    taken == 1
}

/// The numbers of our frames from `source` that have come, as far as they have one.
fn receive(port: &mut Port, pool: &mut PoolCache, start: Instant, source: MacAddr) -> Vec<Option<usize>> {
    let now = Nanos(start.elapsed().as_nanos() as u64);
    let (mut burst, mut found) = (Burst::new(), Vec::new());
    for queue in &mut port.rx {
        queue.rx_burst(now, pool, &mut burst, 64);
        for packet in &burst {
            let bytes = pool.head(packet);
            if bytes.get(6..14) == Some(&[&source.0[..], &OURS.0.to_be_bytes()].concat()) {
                found.push(bytes.get(14..22).and_then(|number| usize::try_from(u64::from_be_bytes(*number.first_chunk()?)).ok()));
            }
        }
        pool.free_all(&mut burst);
    }
    found
}

fn told(report: &Report) -> String {
    let row = |name: &str, of: &dyn Fn(&Run) -> f64, digits: usize| {
        let mut values: Vec<f64> = report.runs.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        // Nearest rank.
        let at = |percent: usize| values[(values.len() * percent).div_ceil(100).max(1) - 1];
        let shown = [0, 50, 99, 100].map(|percent| format!("{:.digits$}", at(percent)));
        [name.to_owned()].into_iter().chain(shown).collect::<Vec<_>>()
    };
    let table = table::table(
        &["a takeover", "min", "p50", "p99", "max"],
        [row("outage, ms", &|run| run.outage_ms, 2), row("frames lost", &|run| run.lost as f64, 0)],
    );
    let what = report.hang_ms.map_or("was killed".to_owned(), |ms| format!("hung, and was killed after {ms} ms,"));
    format!(
        "the active switch {what} {} times at {:.0} frames a second ({} were asked for)\n\n{table}\n{} frames were sent; {} came twice, {} came back, {} were flooded\n",
        report.runs.len(),
        report.sent_pps,
        report.rate_pps,
        report.frames_sent,
        report.duplicates,
        report.looped,
        report.flooded
    )
}
