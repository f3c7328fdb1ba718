//! The switch of this process as a device under test of the methods, on the virtual clock.
//!
//! `bench tester …` is the whole tester with two more kinds of devices: `--dut switch:CONFIG.toml`, the switch on the virtual clock, for which no
//! second process and no captures are needed as by `traffic-gen` with the same words; and `--dut threads:CONFIG.toml`, the switch with its own threads in real
//! time. `chassis` instead of a file is the default chassis: 16 blades of 1G, an uplink of 10G, a plain bridge.
//!
//! The tester plays the wires of memory ports; what waits for a wire waits in the port's queue.

use std::path::Path;

use bladeswitch::assembly::{self, Switch};
use control::config::{Config, Idle, Speed};
use port::clock::TscClock;
use port::{Mempool, Nanos, Port};
use traffic_gen::testbed::memory::{MemoryDut, Settle};
use traffic_gen::testbed::realtime::{RealtimeTestbed, Wires};
use traffic_gen::testbed::virtual_time::VirtualTestbed;
use traffic_gen::trial::{DutFactory, TestPort, Testbed, TestbedError};

/// Frames that wait for the switch on each port: it takes them at once.
const RX_QUEUE: usize = 64;
/// The same in real time: more than a turn of the tester brings.
const RX_QUEUE_IN_REAL_TIME: usize = 4096;

/// `--dut switch:…` in this process.
#[derive(Clone, Copy, Debug)]
pub struct SwitchFactory;

impl DutFactory for SwitchFactory {
    fn kind(&self) -> &'static str {
        "switch"
    }

    fn usage(&self) -> &'static str {
        "CONFIG.toml or chassis: bladeswitch in this process, on the virtual clock"
    }

    fn open(&self, rest: &str) -> Result<Box<dyn Testbed>, TestbedError> {
        Ok(Box::new(testbed(&load(rest)?, rest, 1)?))
    }
}

/// `--dut threads:…` in this process.
#[derive(Clone, Copy, Debug)]
pub struct ThreadsFactory;

impl DutFactory for ThreadsFactory {
    fn kind(&self) -> &'static str {
        "threads"
    }

    fn usage(&self) -> &'static str {
        "CONFIG.toml or chassis: bladeswitch with threads of its own, in real time"
    }

    fn open(&self, rest: &str) -> Result<Box<dyn Testbed>, TestbedError> {
        Ok(Box::new(threads(&load(rest)?, rest)?))
    }
}

fn load(rest: &str) -> Result<Config, TestbedError> {
    match rest {
        "chassis" => Ok(chassis()),
        path => Config::load(Path::new(path)).map_err(|errors| TestbedError::Setup(errors.to_string())),
    }
}

/// The default chassis, as a bridge that says nothing of its own accord.
pub fn chassis() -> Config {
    let rate = |gigabits: u64| Speed::from_bits_per_second(gigabits * 1_000_000_000).expect("a rate that ports have");
    let mut config = Config::chassis(16, rate(1), rate(10));
    config.identity.advertise = false;
    config.identity.answer_arp = false;
    config.identity.answer_nd = false;
    config.identity.learn = false;
    config
}

struct InProcess(Switch);

impl Settle for InProcess {
    fn settle(&mut self, now: Nanos) {
        self.0.settle(now);
    }

    fn next_event(&self) -> Option<Nanos> {
        self.0.next_event()
    }
}

/// The far ends of a switch's ports with their lines.
type Lines = Vec<(TestPort, Port)>;

fn assemble(config: &Config, rx_queue: usize, seed: u64) -> Result<(Mempool, Switch, Lines), TestbedError> {
    let system = |source| TestbedError::System { what: "packet pool".to_owned(), source };
    let queued = u32::try_from(config.ports.len() * rx_queue).unwrap_or(u32::MAX);
    let buffers = config.pool.buffers.unwrap_or_else(|| assembly::buffers_needed(config).saturating_add(queued));
    let mempool = Mempool::new(buffers.min(port::mempool::BUFFERS_MAX), config.pool.hugepages).map_err(system)?;
    let (near, far, _) = assembly::memory_ports(config, rx_queue);
    let switch = assembly::build(config, near, &mempool, seed);
    let line = |port: &control::config::PortConfig| TestPort { name: port.name.clone(), line_bps: port.speed.bits_per_second() };
    Ok((mempool, switch, config.ports.iter().map(line).zip(far).collect()))
}

/// A switch of this configuration on the virtual clock; the kinds of its ports do not matter. `seed` goes into the hash of its FDB.
///
/// # Errors
/// If there is no memory for the packet pool.
pub fn testbed(config: &Config, name: &str, seed: u64) -> Result<VirtualTestbed, TestbedError> {
    let (mempool, mut switch, ports) = assemble(config, RX_QUEUE, seed)?;
    switch.settle(Nanos::ZERO);
    let (lines, far): (Vec<TestPort>, Vec<Port>) = ports.into_iter().unzip();
    let far = far.into_iter().zip(&lines).map(|(port, line)| (port, line.line_bps)).collect();
    let dut = MemoryDut::new(far, &mempool, InProcess(switch));
    Ok(VirtualTestbed::new(lines, Box::new(dut), format!("bladeswitch {name}")))
}

/// A switch of this configuration with threads of its own, in real time: its workers on the last cores, the tester on the first.
///
/// # Errors
/// If there is no memory for the packet pool, or the system refuses a thread.
pub fn threads(config: &Config, name: &str) -> Result<RealtimeTestbed, TestbedError> {
    let (mempool, switch, ports) = assemble(config, RX_QUEUE_IN_REAL_TIME, 1)?;
    let cores: Vec<usize> = core_affinity::get_core_ids().unwrap_or_default().iter().map(|core| core.id).collect();
    let workers = config.switch.workers;
    let enough = cores.len() > workers;
    let worker_cores = if enough { &cores[cores.len() - workers..] } else { &[] };
    let clock = TscClock::new();
    let system = |source| TestbedError::System { what: "starting the switch".to_owned(), source };
    let running = switch.start(worker_cores, Idle::Spin, clock.clone()).map_err(system)?;
    if enough {
        core_affinity::set_for_current(core_affinity::CoreId { id: cores[0] });
    }
    let description = format!("bladeswitch {name} with {workers} worker(s)");
    Ok(RealtimeTestbed::new(ports, Wires::Played, &mempool, clock, description, Box::new(running)))
}
