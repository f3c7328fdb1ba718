//! `blade`: the agent on a blade, until it is told to stop.
//!
//! One thread polls the port to the switch blade and, if there is one, the TAP interface of this host; between bursts it sleeps for as long
//! as nothing comes, a millisecond at most. Programs that a mode, a function or parameters call for run beside it, one for each command,
//! without a shell.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, Hasher};
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use bladeswitch::blade::{Action, Agent, AgentConfig};
use control::config::Speed;
use control::seal::Sealer;
use port::backend::tap;
use port::clock::TscClock;
use port::{Burst, Hugepages, Mempool, Nanos, OpenOptions, PoolCache, Port, PortSpec};
use wire::MacAddr;
use wire::message::{Control, HEADER_LEN, Name};

use super::{Done, Failure, print, print_json};

/// Packet buffers: what two ports and their bursts hold, many times over.
const BUFFERS: u32 = 8192;
/// Frames a port's queue holds.
const QUEUE: usize = 512;
/// The longest pause while nothing comes.
const PAUSE_MAX: Duration = Duration::from_millis(1);
const PAUSE_MIN: Duration = Duration::from_micros(20);
/// How often devices are looked after.
const DEVICES_PERIOD: Nanos = Nanos::from_millis(100);
/// MTU of the port, unless it says.
const PORT_MTU: u32 = 1500;

/// What was typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The port to the switch blade, as in a configuration: af_packet:eth0
    #[arg(long, value_name = "SPEC")]
    port: PortSpec,
    /// Make this TAP interface, through which the host talks; give it the blade's IP addresses with `ip address add`
    #[arg(long, value_name = "NAME")]
    tap: Option<String>,
    /// The blade's MAC address [default: that of the TAP interface, or of the port]
    #[arg(long, value_name = "MAC")]
    mac: Option<MacAddr>,
    /// An IP address of the blade (several times: these)
    #[arg(long = "ip", value_name = "IP")]
    ips: Vec<IpAddr>,
    /// The slot the blade sits in; left out, the switch goes by its port
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    slot: u16,
    /// The rate the blade can take, such as 1G
    #[arg(long, value_name = "RATE")]
    rate: Option<Speed>,
    /// The rate to ask the switch blade for, to the port of this name; it must have a [[rate]] for the two (several times)
    #[arg(long = "ask-rate", value_name = "PORT=RATE", value_parser = wanted)]
    ask_rates: Vec<(Name, Speed)>,
    /// Milliseconds between two hellos
    #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(10..=3_600_000))]
    hello_ms: u32,
    /// A mode the blade can be told to enter, and the program that does it, called with the mode's name (several times)
    #[arg(long = "mode", value_name = "NAME[=PROGRAM]", value_parser = hook)]
    modes: Vec<Hook>,
    /// A function the blade provides, and the program that `bladeswitch execute` runs, called with the function's name (several times)
    #[arg(long = "function", value_name = "NAME[=PROGRAM]", value_parser = hook)]
    functions: Vec<Hook>,
    /// The program that takes parameters, called with NAME=VALUE for each
    #[arg(long, value_name = "PROGRAM")]
    provision: Option<PathBuf>,
    /// The switch blade's MAC address [default: that of the first answer to a hello]
    #[arg(long, value_name = "MAC")]
    switch: Option<MacAddr>,
    /// What the final destination of messages to other blades is: their IP address, or their MAC as in FIG. 6
    #[arg(long, value_enum, default_value_t = FinalKind::Ip, value_name = "KIND")]
    r#final: FinalKind,
    /// File with the key of the seals, the one of the switch's agents.key_file
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Take the interface even if it carries the default route
    #[arg(long)]
    force_default_route: bool,
    /// Print what was counted as JSON at the end
    #[arg(long)]
    json: bool,
}

/// What names the blade that a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum FinalKind {
    /// Its IP address
    Ip,
    /// Its MAC address
    Mac,
}

/// A mode or function and its program.
type Hook = (Name, Option<PathBuf>);

fn wanted(text: &str) -> Result<(Name, Speed), String> {
    let (to, rate) = text.split_once('=').ok_or("expected PORT=RATE, such as blade2=500M")?;
    let to = Name::new(to).ok_or("expected PORT=RATE, the name of 1 to 32 visible ASCII characters")?;
    Ok((to, rate.parse().map_err(|error| format!("`{rate}` {error}"))?))
}

fn hook(text: &str) -> Result<Hook, String> {
    let (name, program) = text.split_once('=').map_or((text, None), |(name, program)| (name, Some(program)));
    let name = Name::new(name).ok_or("expected NAME or NAME=PROGRAM, the name of 1 to 32 visible ASCII characters")?;
    match program {
        Some("") => Err("expected a program behind `=`".to_owned()),
        program => Ok((name, program.map(PathBuf::from))),
    }
}

/// The programs, and those of them that run.
struct Hooks {
    modes: BTreeMap<Name, Option<PathBuf>>,
    functions: BTreeMap<Name, Option<PathBuf>>,
    provision: Option<PathBuf>,
    running: Vec<(u64, Child)>,
}

impl Hooks {
    fn begin(&mut self, action: &Action, agent: &mut Agent) {
        let (program, words) = match &action.control {
            Control::SetMode(mode) => (self.modes.get(mode).cloned().flatten(), vec![mode.to_string()]),
            Control::Execute(function) => (self.functions.get(function).cloned().flatten(), vec![function.to_string()]),
            Control::Provision(parameters) => {
                (self.provision.clone(), parameters.iter().map(|(name, value)| format!("{name}={value}")).collect())
            }
            Control::Hello(_) | Control::Listen(_) | Control::Ack(_) | Control::Rate { .. } => (None, Vec::new()),
        };
        tracing::info!(command = %action.control, "told by the switch blade");
        let Some(program) = program else { return agent.finish(action.id, Ok(String::new())) };
        match Command::new(&program).args(words).stdin(Stdio::null()).spawn() {
            Ok(child) => self.running.push((action.id, child)),
            Err(error) => agent.finish(action.id, Err(format!("{}: {error}", program.display()))),
        }
    }

    fn reap(&mut self, agent: &mut Agent) {
        self.running.retain_mut(|(id, child)| {
            let outcome = match child.try_wait() {
                Ok(None) => return true,
                Ok(Some(status)) if status.success() => Ok(String::new()),
                Ok(Some(status)) => Err(status.to_string()),
                Err(error) => Err(error.to_string()),
            };
            agent.finish(*id, outcome);
            false
        });
    }
}

/// Runs the agent; at the end says what it counted.
pub fn blade(args: Args) -> Done {
    let mempool = Mempool::new(BUFFERS, Hugepages::Never).map_err(|error| Failure::other(format!("packet pool: {error}")))?;
    let options = OpenOptions {
        name: "blade",
        speed_bps: args.rate.map_or(1_000_000_000, Speed::bits_per_second),
        queue: QUEUE,
        frame_len_max: usize::from(control::config::FRAME_LEN_MAX),
        mempool: &mempool,
        force_default_route: args.force_default_route,
    };
    let port = port::open(&args.port, &options).map_err(|error| Failure::input(format!("--port {}: {error}", args.port)))?;
    // What the header of a message takes, a packet of the host must leave room for.
    let mtu = port.device.mtu().unwrap_or(PORT_MTU).saturating_sub(HEADER_LEN as u32).max(tap::MTU_MIN);
    let open_tap = |name: &str| tap::open(name, Some(mtu)).map_err(|error| Failure::input(format!("--tap {name}: {error}")));
    let host = args.tap.as_deref().map(open_tap).transpose()?;
    let found = host.as_ref().and_then(|host| host.device.mac()).or_else(|| port.device.mac());
    let mac = args.mac.or(found).ok_or_else(|| Failure::input("the port has no address of its own: expected --mac"))?;
    if mac.is_group() || mac.is_zero() {
        return Err(Failure::input(format!("--mac {mac}: expected the address of one station")));
    }
    let counter = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
    let sealer = args.key_file.as_deref().map(|path| Sealer::load(path, counter)).transpose().map_err(Failure::input)?;
    let config = AgentConfig {
        mac,
        ips: args.ips,
        slot: args.slot,
        rate_bps: args.rate.map_or(0, Speed::bits_per_second),
        hello_ms: args.hello_ms,
        functions: args.functions.iter().map(|(name, _)| name.clone()).collect::<BTreeSet<_>>(),
        modes: args.modes.iter().map(|(name, _)| name.clone()).collect(),
        provision: args.provision.is_some(),
        switch: args.switch,
        session: std::hash::RandomState::new().build_hasher().finish() as u32,
    };
    let hooks = Hooks {
        modes: args.modes.into_iter().collect(),
        functions: args.functions.into_iter().collect(),
        provision: args.provision,
        running: Vec::new(),
    };
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).map_err(|error| Failure::other(format!("signals: {error}")))?;
    }
    if !args.json {
        let tap = args.tap.map_or_else(String::new, |name| format!(", {name} with MTU {mtu}"));
        print(&format!("blade {mac} on {}{tap}\n", port.device.describe()))?;
    }
    let mut agent = Agent::new(config, sealer);
    args.ask_rates.into_iter().for_each(|(to, rate)| agent.ask_rate(to, rate.bits_per_second()));
    if args.r#final == FinalKind::Mac {
        agent.name_blades_by_mac();
    }
    let counters = run(agent, hooks, port, host, &mempool, &stop);
    if args.json {
        print_json(&counters)?;
    } else {
        let (wrapped, unwrapped) = (counters.wrapped, counters.unwrapped);
        let (plain_out, plain_in) = (counters.plain_out, counters.plain_in);
        print(&format!("stopped: {wrapped} messages and {plain_out} frames out, {unwrapped} messages and {plain_in} frames in\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn run(
    mut agent: Agent,
    mut hooks: Hooks,
    mut port: Port,
    mut host: Option<Port>,
    mempool: &Mempool,
    stop: &AtomicBool,
) -> bladeswitch::blade::Counters {
    let (clock, mut pool, mut bytes) = (TscClock::new(), mempool.cache(), Vec::new());
    let (mut pause, mut next_look) = (PAUSE_MIN, Nanos::ZERO);
    while !stop.load(Ordering::Relaxed) {
        let now = clock.now();
        let mut done = receive(&mut port, now, &mut pool, &mut bytes, |frame| agent.handle_frame(now, frame));
        if let Some(host) = &mut host {
            done += receive(host, now, &mut pool, &mut bytes, |frame| agent.handle_host(frame));
        }
        agent.handle_timeout(now);
        while let Some(action) = agent.poll_action() {
            hooks.begin(&action, &mut agent);
        }
        hooks.reap(&mut agent);
        send(&mut port, now, &mut pool, || agent.poll_transmit());
        match &mut host {
            Some(host) => send(host, now, &mut pool, || agent.poll_deliver()),
            None => while agent.poll_deliver().is_some() {}, // Nobody is there to take it.
        }
        while let Some(received) = agent.poll_receive() {
            tracing::info!(source = %received.source, bytes = received.body.len(), "a message with an opaque body");
        }
        if now >= next_look {
            next_look = now + DEVICES_PERIOD;
            port.device.maintain(now);
            if let Some(host) = &mut host {
                host.device.maintain(now);
            }
        }
        if done > 0 {
            pause = PAUSE_MIN;
        } else {
            std::thread::park_timeout(pause);
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
    agent.counters()
}

/// One burst of every queue; returns how many frames that was.
fn receive(port: &mut Port, now: Nanos, pool: &mut PoolCache, bytes: &mut Vec<u8>, mut take: impl FnMut(&[u8])) -> usize {
    let mut done = 0;
    for queue in &mut port.rx {
        let mut burst = Burst::new();
        done += queue.rx_burst(now, pool, &mut burst, port::BURST_MAX);
        for packet in burst.drain(..) {
            bytes.clear();
            pool.copy_to(&packet, bytes);
            pool.free(packet);
            take(bytes);
        }
    }
    done
}

/// Sends all there is by the first queue. What it refuses is lost, as on any link that is full.
fn send(port: &mut Port, now: Nanos, pool: &mut PoolCache, mut next: impl FnMut() -> Option<Vec<u8>>) {
    let Some(queue) = port.tx.first_mut() else { return };
    let mut lost = 0usize;
    while let Some(frame) = next() {
        let mut burst = Burst::new();
        match pool.alloc_copy(&frame) {
            Some(packet) => burst.push(packet),
            None => lost += 1,
        }
        queue.tx_burst(now, pool, &mut burst);
        lost += burst.len();
        pool.free_all(&mut burst);
    }
    queue.flush(now, pool);
    if lost > 0 {
        tracing::warn!(lost, "frames were lost: the queue is full, or there is no buffer");
    }
}
