//! `run`: the switch in real time, until it is told to stop.

use std::hash::{BuildHasher, Hasher};
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use bladeswitch::{Fall, Running, assembly, privileges};
use control::config::{Config, Idle, PortKind};
use control::seal::Sealer;
use control::{api, show};
use port::clock::TscClock;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::check::summary;
use super::{Done, Failure, complain, load, print, reload, standby};

/// How often the devices are asked for news.
const DEVICES_PERIOD: Duration = Duration::from_secs(1);
/// The longest `--duration`, in seconds: a year.
const DURATION_S_MAX: f64 = 366.0 * 86_400.0;

/// What was typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration, in TOML
    config: PathBuf,
    /// Stop after so many seconds
    #[arg(long, value_name = "S", value_parser = duration)]
    duration: Option<Duration>,
    /// Take also the interface that carries this machine's default route: the machine may lose its network
    #[arg(long)]
    force_default_route: bool,
    /// Never sleep, as `switch.idle = "spin"`: the lowest latency, a whole core for each worker
    #[arg(long)]
    busy: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    let seconds: Option<f64> = text.parse().ok().filter(|seconds| (0.0..=DURATION_S_MAX).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| format!("expected seconds, 0 to {DURATION_S_MAX}"))
}

/// Runs the switch; at the end says what it did and whether every frame is accounted for.
pub fn run(args: &Args) -> Done {
    let mut config = load(&args.config)?;
    if args.busy {
        config.switch.idle = Idle::Spin;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::other)?;
    // From here on a signal is a wish to end well, also while the switch is being put together.
    let mut signals = runtime.block_on(async { Signals::new() }).map_err(|error| Failure::other(format!("signals: {error}")))?;
    // What takes long and disturbs nobody is done before standing by.
    let mempool = assembly::mempool(&config).map_err(|error| Failure::other(format!("packet pool: {error}")))?;
    let active = match (&config.standby, &config.switch.api) {
        (Some(standby), Some(socket)) => match runtime.block_on(standby::wait(standby, socket, &mut signals))? {
            Some(active) => Some(active),
            None => return Ok(ExitCode::SUCCESS),
        },
        _ => None,
    };
    let listening = config.switch.api.as_deref().map(api::listen).transpose().map_err(Failure::input)?;
    let (ports, far_ends) = assembly::open_ports(&config, &mempool, args.force_default_route).map_err(Failure::input)?;

    // Above all that any earlier start has used: the time of day.
    let counter = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
    let load = || config.agents.key_file.as_deref().map(|path| Sealer::load(path, counter)).transpose().map_err(Failure::input);
    // One for blades and one for trunks: each has its own counters.
    let (sealer, trunk_sealer) = (load()?, load()?);
    // Before any worker starts: threads have the capabilities of the one that started them.
    let kept = privileges::drop_all_but_needed(&ports).map_err(Failure::other)?;
    let mut switch = assembly::build(&config, ports, &mempool, seed());
    switch.control.begin_agents(seed() as u32, sealer);
    switch.control.begin_joined(seed() as u32, trunk_sealer);
    switch.control.loaded_from(&args.config, args.busy);
    if let Some(copy) = active.as_ref().and_then(|active| active.copy.as_ref()) {
        let learned = control::plane::standby::learned(&config, &copy.fdb);
        switch.workers.iter_mut().for_each(|worker| worker.remember(&learned));
        switch.control.remember_neighbors(&copy.neighbors);
    }
    let shown = show::ports(&switch.control);
    let started = switch.start(&config.switch.cores, config.switch.idle, TscClock::new());
    let mut running = started.map_err(|error| Failure::other(format!("threads: {error}")))?;
    let server = listening.map(|listening| listening.serve(running.shared_control())).transpose();
    let server = server.map_err(|error| Failure::other(format!("API: {error}")))?;

    print(&format!(
        "{}\npacket pool: {} buffers on {}\n\n{}\n",
        summary(&config),
        mempool.buffers(),
        mempool.pages(),
        super::show::ports(&shown)
    ))?;
    print(&match kept.is_empty() {
        true => "privileges: none are kept\n".to_owned(),
        false => format!("privileges: kept for opening ports again: {}\n", kept.join(", ")),
    })?;
    warn(&config);
    print(&match &server {
        Some(server) => format!("running; `bladeswitch show ports --socket {}` asks it\n", server.path().display()),
        None => "running; nobody can ask it: switch.api is not set\n".to_owned(),
    })?;

    if active.is_some() {
        // The file was read when it began to stand by; the one it takes over from may have reloaded it since.
        reload::again(&running.shared_control(), true);
    }
    let why = runtime.block_on(wait(&mut signals, args.duration, &running));
    drop(server);
    let ended = running.end();
    drop(far_ends); // Until here: a memory port whose far end is gone would be another switch.
    finish(&running, &why, ended)
}

/// The hash of the FDB differs from run to run, so that nobody can choose addresses that collide.
fn seed() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}

fn warn(config: &Config) {
    if config.ports.iter().all(|port| port.spec.kind == PortKind::Memory) {
        complain(
            "warning",
            "all ports are `memory:` and nobody is at their other ends: no frame comes in, and what is sent waits for nobody. Memory \
             ports are for programs that embed the switch; for files use pcap:FILE, for tests `bladeswitch replay`",
        );
    }
}

/// What may end a run, and what has it read its file again.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> io::Result<Signals> {
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for one that ends it. A SIGHUP that comes meanwhile waits as well, until the switch runs.
    pub async fn any(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Waits for the end, which a worker that panics brings about as well; meanwhile reads the file again at SIGHUP and tells what devices
/// complain about.
async fn wait(signals: &mut Signals, duration: Option<Duration>, running: &Running) -> String {
    let over = async {
        match duration {
            Some(duration) => tokio::time::sleep(duration).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = signals.interrupt.recv() => "SIGINT".to_owned(),
        _ = signals.terminate.recv() => "SIGTERM".to_owned(),
        fall = running.fall() => {
            tracing::error!("{fall}: the switch stops");
            fall.to_string()
        }
        () = over => format!("{} s are over", duration.unwrap_or_default().as_secs_f64()),
        () = watch(running) => unreachable!("it watches without end"),
        () = reload_at(&mut signals.hangup, running) => unreachable!("it waits without end"),
    }
}

/// Reads the file again at each SIGHUP.
async fn reload_at(hangup: &mut Signal, running: &Running) {
    while hangup.recv().await.is_some() {
        reload::again(&running.shared_control(), false);
    }
    std::future::pending::<()>().await;
}

async fn watch(running: &Running) {
    let mut period = tokio::time::interval(DEVICES_PERIOD);
    let mut told: Vec<usize> = Vec::new();
    loop {
        period.tick().await;
        let control = running.control();
        told.resize(control.devices().len(), 0);
        for ((device, port), told) in control.devices().iter().zip(&control.config().ports).zip(&mut told) {
            let errors = device.errors();
            for error in errors.iter().skip(*told) {
                tracing::warn!(port = port.name, "{error}");
            }
            *told = errors.len();
        }
    }
}

fn finish(running: &Running, why: &str, ended: Result<(), Fall>) -> Done {
    let control = running.control();
    let ports = show::ports(&control);
    let drops = show::drops(&control);
    let ledger = show::ledger(&control);
    let dropped = if drops.total > 0 { format!("{}\n", super::show::drops(&drops)) } else { String::new() };
    print(&format!("\nstopped: {why}\n\n{}\n{dropped}{}\n", super::show::ports(&ports), ledger.line))?;
    if let Err(fall) = ended {
        return Err(Failure::other(format!("{fall}. The frames it held are lost and not in the ledger: this is a defect of the switch")));
    }
    let open = ledger.ports.iter().filter(|port| port.open_in != 0 || port.open_out != 0);
    let open: Vec<&str> = open.map(|port| port.port.as_str()).collect();
    if !ledger.balanced || !open.is_empty() {
        let ports = if open.is_empty() { String::new() } else { format!(" (ports: {})", open.join(", ")) };
        return Err(Failure::other(format!("frames are not accounted for: this is a defect of the switch{ports}")));
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use port::{Burst, Nanos, PoolCache, RxQueue};

    /// A device's queue that cannot be polled.
    struct Broken;

    impl RxQueue for Broken {
        fn rx_burst(&mut self, _now: Nanos, _pool: &mut PoolCache, _burst: &mut Burst, _max: usize) -> usize {
            panic!("no such register")
        }
    }

    /// From the panic to the exit code, without a signal and without `--duration`.
    #[test]
    fn a_worker_that_panics_ends_the_run_with_an_error() {
        let config = "[switch]\nworkers = 2\n[[blade]]\nslot = 1\nport = \"memory:\"\n[[blade]]\nslot = 2\nport = \"memory:\"\n";
        let config = Config::parse(config, "test.toml").unwrap();
        let mempool = assembly::mempool(&config).unwrap();
        let (mut ports, _far, _) = assembly::memory_ports(&config, 64);
        ports[1].rx = vec![Box::new(Broken)];
        let mut running = assembly::build(&config, ports, &mempool, 1).start(&[], Idle::Adaptive, TscClock::new()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut signals = runtime.block_on(async { Signals::new() }).unwrap();
        let patience = Some(Duration::from_secs(60)); // Not how it ends.
        let why = runtime.block_on(wait(&mut signals, patience, &running));
        assert!(why.starts_with("worker 1 panicked at ") && why.ends_with(": no such register"), "{why}");
        let ended = running.end();
        let failure = finish(&running, &why, ended).unwrap_err();
        assert_eq!(failure.code, 1);
        assert!(failure.message.starts_with(&why) && failure.message.contains("defect"), "{}", failure.message);
    }
}
