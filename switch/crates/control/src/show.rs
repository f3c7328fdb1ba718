//! What operators see: the state of a running switch as plain structs.
//!
//! Each `show` of the command line, each page of the API and the metrics are made from these, so that all of them say the
//! same: the same counters, drop reasons by [`DropReason::name`]. They are read from [`Control`] in one go and own what they
//! hold; whoever shows them needs the lock no longer. They can be read back, since the command line is a client of the API.
//!
//! Limits: counters are those the workers published last, at most some 256 turns ago; sums over workers are not of one instant.
//! Frames that are in a worker's hands meanwhile stand on one side of the ledger only.

use std::net::IpAddr;

use dataplane::Ledger;
use dataplane::fdb::{Record, TICKS_PER_AGE};
use dataplane::pipeline::Phase;
use dataplane::verdict::DropReason;
use port::{LinkState, PortId};
use serde::{Deserialize, Serialize};
use wire::{MacAddr, Vid};

use crate::config::{PortConfig, Role, VlanMode};
use crate::identity::BladeIdentity;
use crate::plane::{Control, ControlCounters, Handover, Move};
use crate::tables;

mod blades;
mod bus;
mod drops;
mod joined;
mod rates;
mod status;
mod steering;
pub use blades::{Blade, BladeProgress, Blades, CommandShown, blades, command};
pub use bus::{Backplane, Buses, Slot, Station, buses};
pub use drops::{Drops, PortDrop, ReasonDrop, drops, meaning};
pub use joined::{Joined, Member, Trunk, joined};
pub use rates::{Rate, Rates, rates};
pub use status::{Status, status};
pub use steering::{Function, FunctionBlade, Functions, Probed, Steer, SteerRule, functions, steer};

/// Reads of the ledger before one is taken that is not confirmed by the next.
const LEDGER_READS_MAX: usize = 16;

/// `show ports`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    /// Name of the switch.
    pub switch: String,
    /// By id.
    pub ports: Vec<Port>,
}

/// A port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Its number, from 0.
    pub id: u8,
    /// Its name.
    pub name: String,
    /// `blade` or `uplink`.
    pub role: String,
    /// The bay, if it is a blade's.
    pub slot: Option<u16>,
    /// Kind of backend, as in a port spec.
    pub kind: String,
    /// What it is connected to.
    pub description: String,
    /// The way frames take, where there are several: `TPACKET_V2`, `native, copy`.
    pub mode: Option<String>,
    /// Queues in each direction.
    pub queues: usize,
    /// Address of its interface.
    pub mac: Option<MacAddr>,
    /// MTU of its interface: the most bytes of payload in a frame.
    pub mtu: Option<u32>,
    /// Why the mode is no better, what was changed on the interface, and warnings.
    pub reasons: Vec<String>,
    /// Times its link went down.
    pub link_downs: u64,
    /// Times its interface went away and came back.
    pub returns: u64,
    /// Frames that were counted as sent and lost with their interface.
    pub tx_lost: u64,
    /// Frames copied between the device's buffers and the switch's, where the device counts them.
    pub copied: Option<u64>,
    /// `up` or `down`.
    pub link: String,
    /// `forwarding`, `blocked` (switched off by the configuration) or `down`.
    pub state: String,
    /// Rate of its link in bit/s.
    pub speed_bps: u64,
    /// Its VLANs.
    pub vlan: PortVlan,
    /// Frames received.
    pub rx_frames: u64,
    /// Their bytes, without FCS.
    pub rx_bytes: u64,
    /// Frames sent.
    pub tx_frames: u64,
    /// Their bytes, without FCS.
    pub tx_bytes: u64,
    /// Frames dropped, for all reasons.
    pub drops: u64,
    /// What the device has to complain about.
    pub errors: Vec<String>,
}

/// The VLANs of a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortVlan {
    /// `access`, `trunk` or `transparent`.
    pub mode: String,
    /// The VLAN of frames without tag.
    pub untagged: Option<Vid>,
    /// The VLANs it carries with tags.
    pub tagged: Vec<Vid>,
}

/// The ports and what they have counted.
pub fn ports(control: &Control) -> Ports {
    let config = control.config();
    let ports = config.ports.iter().enumerate().map(|(index, port)| self::port(control, PortId(index as u8), port)).collect();
    Ports { switch: config.switch.name.clone(), ports }
}

fn port(control: &Control, id: PortId, config: &PortConfig) -> Port {
    let counters = control.port_counters(id);
    let device = &control.devices()[id.index()];
    let link = control.links()[id.index()];
    let statistics = device.statistics();
    Port {
        id: id.0,
        name: config.name.clone(),
        role: if slot(config).is_some() { "blade" } else { "uplink" }.to_owned(),
        slot: slot(config),
        kind: device.kind().to_owned(),
        description: device.describe(),
        mode: device.mode(),
        queues: device.queues(),
        mac: device.mac(),
        mtu: device.mtu(),
        reasons: device.reasons(),
        link_downs: statistics.link_downs,
        returns: statistics.returns,
        tx_lost: statistics.tx_lost,
        copied: statistics.copied,
        link: if link == LinkState::Up { "up" } else { "down" }.to_owned(),
        state: match (config.enabled, link) {
            (false, _) => "blocked",
            (true, LinkState::Down) => "down",
            (true, LinkState::Up) => "forwarding",
        }
        .to_owned(),
        speed_bps: config.speed.bits_per_second(),
        vlan: PortVlan {
            mode: match config.vlan {
                VlanMode::Transparent(_) => "transparent",
                VlanMode::Access(_) => "access",
                VlanMode::Trunk { .. } => "trunk",
            }
            .to_owned(),
            untagged: config.vlan.untagged(),
            tagged: config.vlan.vids().iter().filter(|&vid| tables::is_tagged(&config.vlan, vid)).collect(),
        },
        rx_frames: counters.rx,
        rx_bytes: counters.rx_bytes,
        tx_frames: counters.tx,
        tx_bytes: counters.tx_bytes,
        drops: counters.dropped_total(),
        errors: device.errors(),
    }
}

fn slot(port: &PortConfig) -> Option<u16> {
    match port.role {
        Role::Blade { slot, .. } => Some(slot),
        Role::Uplink => None,
    }
}

/// `show fdb`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fdb {
    /// By VLAN and address.
    pub entries: Vec<FdbEntry>,
    /// The last moves of addresses, oldest first.
    pub moves: Vec<Move>,
}

/// An address and where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FdbEntry {
    /// VLAN.
    pub vlan: Vid,
    /// Address.
    pub mac: MacAddr,
    /// Name of the port it is behind; `None` for a blackhole.
    pub port: Option<String>,
    /// `dynamic`, `static` or `blackhole`.
    pub kind: String,
    /// Milliseconds since it was last seen, exact to a 64th of the ageing time; `None` if it does not age.
    pub age_ms: Option<u64>,
}

/// The FDB, from the `records` that control was sent (see [`Control::request_fdb`]).
pub fn fdb(control: &Control, records: &[Record]) -> Fdb {
    let config = control.config();
    let entry = |record: &Record| FdbEntry {
        vlan: record.vid,
        mac: record.mac,
        port: (record.kind != "blackhole").then(|| port_name(control, record.port)),
        kind: record.kind.to_owned(),
        age_ms: (record.kind == "dynamic")
            .then(|| u64::from(record.age_ticks).saturating_mul(config.fdb.ageing_ms) / u64::from(TICKS_PER_AGE)),
    };
    Fdb { entries: records.iter().map(entry).collect(), moves: control.moves().cloned().collect() }
}

/// `show neighbors`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbors {
    /// By VLAN and address.
    pub neighbors: Vec<Neighbor>,
}

/// Who has an IP address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbor {
    /// VLAN.
    pub vlan: Vid,
    /// IP address.
    pub ip: IpAddr,
    /// Who has it.
    pub mac: MacAddr,
    /// Name of the port it was heard on or its blade is on, if known.
    pub port: Option<String>,
    /// `static` or `learned`.
    pub kind: String,
    /// It has called itself a router.
    pub router: bool,
    /// Milliseconds since it was last heard; `None` if it does not age.
    pub age_ms: Option<u64>,
}

/// The neighbor table.
pub fn neighbors(control: &Control) -> Neighbors {
    let now = control.now();
    let neighbors = control.neighbors().iter().map(|(vlan, ip, neighbor)| Neighbor {
        vlan,
        ip,
        mac: neighbor.mac,
        port: neighbor.port.map(|port| port_name(control, port)),
        kind: if neighbor.seen.is_some() { "learned" } else { "static" }.to_owned(),
        router: neighbor.router,
        age_ms: neighbor.seen.map(|seen| now.since(seen).0 / 1_000_000),
    });
    Neighbors { neighbors: neighbors.collect() }
}

/// `show identities`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identities {
    /// By slot; then those of other chassis, by chassis and slot.
    pub identities: Vec<Identity>,
    /// Blades that have a standby blade for their identity.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub standbys: Vec<IdentityStandby>,
    /// The last identities that changed hands, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub handovers: Vec<Handover>,
}

/// A blade that another stands by for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityStandby {
    /// Name of its port.
    pub blade: String,
    /// Name of the port of its standby blade.
    pub standby: String,
    /// Name of the port where the identity is: one of these two.
    pub holder: String,
    /// What came of asking the blade, if it is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<Probed>,
}

/// What is known of the blade in a slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The chassis, if several are joined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chassis: Option<u16>,
    /// The bay.
    pub slot: u16,
    /// Name of its port; of one in another chassis that of the trunk that leads there.
    pub port: Option<String>,
    /// MAC addresses.
    pub macs: Vec<MacAddr>,
    /// IP addresses.
    pub ips: Vec<IpAddr>,
    /// Where each of these is known from, MACs first.
    pub sources: Vec<AddressSource>,
    /// The blade has said hello once, and has fallen silent.
    pub silent: bool,
}

/// An address of a blade and where it is known from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressSource {
    /// MAC or IP address.
    pub address: String,
    /// `config`, `hello`, `ARP` or `ND`.
    pub source: String,
}

/// Who is in which slot, and in which chassis.
pub fn identities(control: &Control) -> Identities {
    let port_of = |wanted: u16| control.config().ports.iter().find(|port| slot(port) == Some(wanted)).map(|port| port.name.clone());
    let chassis = control.joined().map(|joined| joined.chassis());
    let own = control.identities().iter().map(|(slot, blade)| Identity {
        chassis,
        slot,
        port: port_of(slot),
        macs: blade.macs.keys().copied().collect(),
        ips: blade.ips.keys().copied().collect(),
        sources: sources(blade),
        silent: control.agents().blade(slot).is_some_and(|agent| agent.silent),
    });
    let others = control.identities().others().map(|(chassis, slot, blade, port)| Identity {
        chassis: Some(chassis),
        slot,
        port: Some(port_name(control, port)),
        macs: blade.macs.keys().copied().collect(),
        ips: blade.ips.keys().copied().collect(),
        sources: sources(blade),
        silent: false,
    });
    let name = |port| port_name(control, port);
    let standby = |(index, port): (usize, &PortConfig)| {
        let (own, standby) = (PortId(index as u8), port.standby?);
        Some(IdentityStandby {
            blade: name(own),
            standby: name(standby),
            holder: name(control.holder(own)),
            probe: steering::probed(control, None, own),
        })
    };
    Identities {
        identities: own.chain(others).collect(),
        standbys: control.config().ports.iter().enumerate().filter_map(standby).collect(),
        handovers: control.handovers().cloned().collect(),
    }
}

fn sources(blade: &BladeIdentity) -> Vec<AddressSource> {
    let macs = blade.macs.iter().map(|(mac, source)| (mac.to_string(), source));
    let ips = blade.ips.iter().map(|(ip, source)| (ip.to_string(), source));
    macs.chain(ips).map(|(address, source)| AddressSource { address, source: source.name().to_owned() }).collect()
}

/// `show vlans`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vlans {
    /// By VID.
    pub vlans: Vec<Vlan>,
}

/// A VLAN and its ports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vlan {
    /// Its number.
    pub vid: Vid,
    /// Its name.
    pub name: String,
    /// Names of the ports that send its frames without tag.
    pub untagged: Vec<String>,
    /// Names of the ports that send its frames with a tag.
    pub tagged: Vec<String>,
}

/// The VLANs and their ports, whether these forward or not.
pub fn vlans(control: &Control) -> Vlans {
    let config = control.config();
    let members = |vid: Vid, tagged: bool| -> Vec<String> {
        let ports = config.ports.iter().filter(|port| port.vlan.contains(vid) && tables::is_tagged(&port.vlan, vid) == tagged);
        ports.map(|port| port.name.clone()).collect()
    };
    let vlan = |vid: Vid, name: &str| Vlan { vid, name: name.to_owned(), untagged: members(vid, false), tagged: members(vid, true) };
    Vlans { vlans: config.vlans.iter().map(|config| vlan(config.vid, &config.name)).collect() }
}

/// `show ledger`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerShown {
    /// The line, as [`Ledger`] displays it.
    pub line: String,
    /// `rx + copies + injected = tx + dropped + punted + held`.
    pub balanced: bool,
    /// Frames received.
    pub rx: u64,
    /// Handles made beyond those received.
    pub copies: u64,
    /// Frames made by control.
    pub injected: u64,
    /// Frames sent.
    pub tx: u64,
    /// Frames dropped, for all reasons.
    pub dropped: u64,
    /// Frames that went to control.
    pub punted: u64,
    /// Frames on their way between workers, and those that wait for a bus.
    pub held: u64,
    /// The two halves of each port's own ledger, by id.
    pub ports: Vec<PortLedger>,
}

/// The two halves of a port's ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortLedger {
    /// Name of the port.
    pub port: String,
    /// Frames received.
    pub rx: u64,
    /// Handles made of them beyond the one that came in.
    pub copies: u64,
    /// Of these, put in transmit queues.
    pub queued_in: u64,
    /// Of these, to control.
    pub punted: u64,
    /// Of these, dropped before a queue.
    pub dropped_in: u64,
    /// `rx + copies - queued_in - punted - dropped_in`: what was in a worker's hands when it was read. 0 when it is quiet.
    pub open_in: i64,
    /// Frames for this port's transmit queue.
    pub queued_out: u64,
    /// Frames of control's for it.
    pub injected: u64,
    /// Of these, sent.
    pub tx: u64,
    /// Of these, dropped at the queue.
    pub dropped_out: u64,
    /// Of these, waiting for the bus.
    #[serde(default)]
    pub held: u64,
    /// `queued_out + injected - tx - dropped_out - held`: what was on its way to the queue when it was read. 0 when it is quiet.
    pub open_out: i64,
}

/// The ledger, in total and per port.
pub fn ledger(control: &Control) -> LedgerShown {
    let ledger = steady_ledger(control);
    let Ledger { rx, copies, injected, tx, dropped, punted, held } = ledger;
    let ports = control.config().ports.iter().enumerate().map(|(index, port)| {
        let counters = control.port_counters(PortId(index as u8));
        let dropped_out = DropReason::ALL.iter().filter(|reason| reason.is_at_queue()).map(|&reason| counters.dropped(reason)).sum();
        let dropped_in = counters.dropped_total() - dropped_out;
        // Differences of counters that are close to each other: they fit, whatever the counters are.
        let open = |more: u64, less: u64| more.wrapping_sub(less) as i64;
        PortLedger {
            port: port.name.clone(),
            rx: counters.rx,
            copies: counters.copies,
            queued_in: counters.queued_in,
            punted: counters.punted,
            dropped_in,
            open_in: open(counters.rx + counters.copies, counters.queued_in + counters.punted + dropped_in),
            queued_out: counters.queued_out,
            injected: counters.injected,
            tx: counters.tx,
            dropped_out,
            held: counters.held,
            open_out: open(counters.queued_out + counters.injected, counters.tx + dropped_out + counters.held),
        }
    });
    let ports = ports.collect();
    LedgerShown { line: ledger.to_string(), balanced: ledger.is_balanced(), rx, copies, injected, tx, dropped, punted, held, ports }
}

/// The ledger as two reads in a row agree on it: a read into which a worker publishes is part old, part new.
fn steady_ledger(control: &Control) -> Ledger {
    let mut ledger = control.ledger();
    for _ in 0..LEDGER_READS_MAX {
        let again = control.ledger();
        if again == ledger && again.is_balanced() {
            break;
        }
        ledger = again;
    }
    ledger
}

/// `show workers`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Workers {
    /// By number.
    pub workers: Vec<Worker>,
    /// What control counts.
    pub control: ControlCounters,
    /// The packet pool.
    pub pool: Pool,
}

/// A worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Worker {
    /// Its number, from 0.
    pub worker: usize,
    /// The core it is pinned to; `None`: the system chooses.
    pub core: Option<usize>,
    /// Its thread may only make the system calls that forwarding takes.
    pub seccomp: bool,
    /// Turns of its loop.
    pub turns: u64,
    /// Turns in which nothing was received.
    pub idle_turns: u64,
    /// Frames given to other workers.
    pub crossed_out: u64,
    /// Frames taken from other workers.
    pub crossed_in: u64,
    /// What other workers learned and this one could not be told.
    pub updates_lost: u64,
    /// Events control could not be told.
    pub events_lost: u64,
    /// Its FDB.
    pub fdb: WorkerFdb,
    /// What its phases cost, in the order in which they run. Sampled: some turns are timed, the others are not in here.
    pub phases: Vec<PhaseShown>,
}

/// A worker's FDB in numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerFdb {
    /// Entries.
    pub entries: u64,
    /// Addresses learned.
    pub learned: u64,
    /// Addresses that moved.
    pub moved: u64,
    /// Addresses aged out.
    pub aged: u64,
    /// Addresses pushed out by others.
    pub evicted: u64,
    /// Addresses not learned because of a limit.
    pub refused: u64,
}

/// What a phase cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PhaseShown {
    /// Its name.
    pub phase: String,
    /// Times it ran with packets while it was timed.
    pub calls: u64,
    /// Packets it handled in these.
    pub packets: u64,
    /// Ticks of the time stamp counter it took for these.
    pub ticks: u64,
    /// `packets / calls`; `None` without calls.
    pub packets_per_call: Option<f64>,
    /// `ticks / packets`; `None` without packets.
    pub cycles_per_packet: Option<f64>,
}

/// The packet pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// Buffers in all.
    pub buffers: u32,
    /// Buffers taken from the pool, those that threads keep ready included.
    pub taken: u32,
    /// The pages they are on.
    pub pages: String,
}

/// The workers, control and the pool.
pub fn workers(control: &Control) -> Workers {
    let cores = &control.config().switch.cores;
    let worker = |(worker, (counters, phases)): (usize, (dataplane::WorkerCounters, &_))| {
        let published: &std::sync::Arc<dataplane::counters::PublishedPhases> = phases;
        let phase = |(phase, cost): (Phase, dataplane::counters::PhaseCost)| PhaseShown {
            phase: phase.name().to_owned(),
            calls: cost.calls,
            packets: cost.packets,
            ticks: cost.ticks,
            packets_per_call: (cost.calls > 0).then(|| cost.packets as f64 / cost.calls as f64),
            cycles_per_packet: (cost.packets > 0).then(|| cost.ticks as f64 / cost.packets as f64),
        };
        Worker {
            worker,
            core: cores.get(worker).copied(),
            seccomp: control.confined()[worker],
            turns: counters.turns,
            idle_turns: counters.idle_turns,
            crossed_out: counters.crossed_out,
            crossed_in: counters.crossed_in,
            updates_lost: counters.updates_lost,
            events_lost: counters.events_lost,
            fdb: WorkerFdb {
                entries: counters.fdb_entries,
                learned: counters.fdb_learned,
                moved: counters.fdb_moved,
                aged: counters.fdb_aged,
                evicted: counters.fdb_evicted,
                refused: counters.fdb_refused,
            },
            phases: Phase::ALL.into_iter().zip(published.load()).map(phase).collect(),
        }
    };
    let pool = control.mempool();
    Workers {
        workers: control.worker_counters().into_iter().zip(control.phases()).enumerate().map(worker).collect(),
        control: control.counters(),
        pool: Pool { buffers: pool.buffers(), taken: pool.in_use(), pages: pool.pages().to_string() },
    }
}

fn port_name(control: &Control, port: PortId) -> String {
    control.config().port(port).map_or_else(|| port.to_string(), |port| port.name.clone())
}
