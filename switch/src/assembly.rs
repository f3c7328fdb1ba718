//! From a configuration to a switch that is ready to run: pool, ports, workers, control.

use std::io;

use control::Control;
use control::config::PortConfig;
use control::config::{Config, PortKind, Role};
use dataplane::Worker;
use dataplane::worker::{self, Sizes};
use port::backend::dpdk::{self, EalSettings};
use port::backend::memory::{self, Cable, Plug};
use port::backend::{af_xdp, vhost_user};
use port::{BURST_MAX, LinkState, Mempool, Nanos, OpenOptions, Port};
use thiserror::Error;

/// Frames that wait for control, per worker.
const PUNT_RING: usize = 1024;
/// Frames that wait to cross from one worker to another.
const CROSS_RING: usize = 1024;

/// A switch, ready to run: move the workers to their threads, or poll them from one.
pub struct Switch {
    /// One per thread.
    pub workers: Vec<Worker>,
    /// The control plane.
    pub control: Control,
}

/// Far ends of memory ports, each with the index of its port.
pub type FarEnds = Vec<(usize, Port)>;

/// Why a port of the configuration could not be opened.
#[derive(Debug, Error)]
#[error("port {port}: {source}")]
pub struct OpenError {
    /// Name of the port.
    pub port: String,
    /// What went wrong.
    pub source: Box<port::OpenError>,
}

/// Buffers a switch of this configuration needs, a line for each holder.
pub fn buffers_needed(config: &Config) -> u32 {
    let queues: usize = config.ports.iter().map(|port| 2 * port.queue.next_power_of_two()).sum();
    let in_hand = config.switch.workers * (1 + config.ports.len()) * BURST_MAX;
    let crossing = config.switch.workers * config.switch.workers.saturating_sub(1) * CROSS_RING;
    let to_control = config.switch.workers * 2 * PUNT_RING;
    let free_in_caches = (config.switch.workers + 2) * 1024;
    let interfaces: usize = config.ports.iter().map(held_by_interface).sum();
    let buses = control::bus::frames_waiting_max(config);
    let all = buses + queues + in_hand + crossing + to_control + free_in_caches + interfaces;
    u32::try_from(all.next_multiple_of(1024)).unwrap_or(u32::MAX).min(port::mempool::BUFFERS_MAX)
}

/// Buffers that the queues of an interface hold, beyond what any port does.
fn held_by_interface(port: &PortConfig) -> usize {
    // A spec that cannot be holds nothing: opening it will say what is wrong.
    match port.spec.kind {
        PortKind::AfXdp | PortKind::Auto => {
            af_xdp::Options::parse(&port.spec.options, port.queue).map_or(0, |options| af_xdp::buffers_needed(&port.spec.arg, &options))
        }
        PortKind::Dpdk => dpdk::Options::parse(&port.spec, port.queue).map_or(0, |options| dpdk::buffers_needed(&options)),
        PortKind::VhostUser => vhost_user::buffers_needed(&port.spec, port.queue),
        _ => 0,
    }
}

/// The pool the configuration asks for.
///
/// # Errors
/// As [`Mempool::new`].
pub fn mempool(config: &Config) -> io::Result<Mempool> {
    Mempool::new(config.pool.buffers.unwrap_or_else(|| buffers_needed(config)), config.pool.hugepages)
}

/// Sizes of the data plane for `config`.
pub fn sizes(config: &Config, seed: u64) -> Sizes {
    Sizes {
        workers: config.switch.workers,
        burst: config.switch.burst,
        fdb: control::tables::fdb_limits(config),
        ageing: Nanos::from_millis(config.fdb.ageing_ms),
        seed,
        punt_ring: PUNT_RING,
        cross_ring: CROSS_RING,
        buses: control::bus::specs(config),
    }
}

/// Puts a switch together. `ports` are in the order of the configuration's.
///
/// # Panics
/// If there are more or fewer ports than the configuration has.
pub fn build(config: &Config, ports: Vec<Port>, mempool: &Mempool, seed: u64) -> Switch {
    assert_eq!(ports.len(), config.ports.len(), "a port for each of the configuration");
    let links: Vec<LinkState> = ports.iter().map(|port| port.device.link()).collect();
    let tables = Control::first_tables(config, &links);
    let (workers, ends, devices) = worker::build(&sizes(config, seed), ports, &tables.reader(), mempool);
    let control = Control::new(config.clone(), tables, links, ends, devices, mempool.clone());
    Switch { workers, control }
}

/// Memory ports for every port of the configuration: the switch's ends, the far ends and the plugs of the cables.
///
/// What the switch sends waits in its port's queue (`queue` frames, rounded up to a power of two); `rx_queue` frames wait
/// for the switch.
pub fn memory_ports(config: &Config, rx_queue: usize) -> (Vec<Port>, Vec<Port>, Vec<Plug>) {
    let (mut near, mut far, mut plugs) = (Vec::new(), Vec::new(), Vec::new());
    for port in &config.ports {
        let (a, b, plug) = memory::pair(Cable { queues: 1, forth: port.queue, back: rx_queue });
        near.push(a);
        far.push(b);
        plugs.push(plug);
    }
    (near, far, plugs)
}

/// Opens the ports a configuration names; their frames lie in `mempool`. The far ends of its memory ports come with it, by
/// index: whoever embeds the switch connects to them. An interface that carries the machine's default route is taken only
/// with `force_default_route`.
///
/// # Errors
/// The first port that cannot be opened.
pub fn open_ports(config: &Config, mempool: &Mempool, force_default_route: bool) -> Result<(Vec<Port>, FarEnds), OpenError> {
    dpdk::configure(eal_settings(config));
    let (mut ports, mut far_ends) = (Vec::new(), Vec::new());
    for (index, port) in config.ports.iter().enumerate() {
        if port.spec.kind == PortKind::Memory {
            let (near, far, _) = memory::pair(Cable { queues: 1, forth: port.queue, back: port.queue });
            ports.push(near);
            far_ends.push((index, far));
            continue;
        }
        let options = OpenOptions {
            name: &port.name,
            speed_bps: port.speed.bits_per_second(),
            queue: port.queue,
            frame_len_max: usize::from(config.switch.max_frame),
            mempool,
            force_default_route,
        };
        ports.push(port::open(&port.spec, &options).map_err(|source| OpenError { port: port.name.clone(), source: Box::new(source) })?);
    }
    Ok((ports, far_ends))
}

/// How DPDK is started when a port needs it.
fn eal_settings(config: &Config) -> EalSettings {
    EalSettings {
        memory_mib: config.dpdk.memory_mib,
        hugepages: config.dpdk.hugepages,
        pci: config.ports.iter().any(|port| port.spec.kind == PortKind::Dpdk && dpdk::is_pci(&port.spec.arg)),
        arguments: config.dpdk.arguments.clone(),
    }
}

/// The slot of a port, if it is a blade's.
pub fn slot(port: &PortConfig) -> Option<u16> {
    match port.role {
        Role::Blade { slot, .. } => Some(slot),
        Role::Uplink => None,
    }
}
