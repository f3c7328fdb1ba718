//! The counters in OpenMetrics text, for Prometheus and its kin.
//!
//! Names are `bladeswitch_…`; ports and drop reasons are labels with the names they have everywhere else. Every reason of every port
//! is there from the start, zeros included, so that a rate can be computed over the first drop. Values are read when they are
//! asked for; nothing is kept between two scrapes. Written by the crate `prometheus-client`, OpenMetrics 1.0.

use std::fmt;

use dataplane::counters::{Ledger, PhaseCost, PortCounters, WorkerCounters};
use dataplane::pipeline::Phase;
use dataplane::verdict::DropReason;
use port::{LinkState, PortId};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::joined::TrunkState;
use crate::plane::{Control, ControlCounters};
use crate::show;
use crate::steering::BladeState;

/// The content type of [`encode`]'s text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What a scrape shows, read from control in one go.
#[derive(Debug)]
pub struct Scrape {
    ports: Vec<PortScrape>,
    workers: Vec<(WorkerCounters, [PhaseCost; Phase::ALL.len()])>,
    control: ControlCounters,
    held: u64,
    buses: Vec<show::Backplane>,
    rates: Vec<show::Rate>,
    rules: Vec<show::SteerRule>,
    functions: Vec<show::Function>,
    joined: show::Joined,
    neighbors: usize,
    pool_buffers: u32,
    pool_taken: u32,
}

#[derive(Debug)]
struct PortScrape {
    name: String,
    counters: PortCounters,
    up: bool,
    speed_bps: u64,
}

impl Scrape {
    /// The state of `control`.
    pub fn of(control: &Control) -> Scrape {
        let Ledger { held, .. } = control.ledger();
        let ports = control.config().ports.iter().enumerate().map(|(index, port)| PortScrape {
            name: port.name.clone(),
            counters: control.port_counters(PortId(index as u8)),
            up: control.links()[index] == LinkState::Up,
            speed_bps: port.speed.bits_per_second(),
        });
        Scrape {
            ports: ports.collect(),
            workers: control.worker_counters().into_iter().zip(control.phases().iter().map(|phases| phases.load())).collect(),
            control: control.counters(),
            held,
            buses: show::buses(control).backplanes,
            rates: show::rates(control).rates,
            rules: show::steer(control).rules,
            functions: show::functions(control).functions,
            joined: show::joined(control),
            neighbors: control.neighbors().len(),
            pool_buffers: control.mempool().buffers(),
            pool_taken: control.mempool().in_use(),
        }
    }
}

/// The scrape as OpenMetrics text, `# EOF` included.
///
/// # Errors
/// None that a scrape can cause: writing to a string does not fail.
pub fn encode(scrape: Scrape) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(scrape));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Families(encoder);
        self.encode_ports(&mut out)?;
        self.encode_workers(&mut out)?;
        self.encode_buses(&mut out)?;
        self.encode_rates(&mut out)?;
        self.encode_steering(&mut out)?;
        self.encode_joined(&mut out)?;
        self.encode_control(&mut out)
    }
}

/// A counter of a port: its name, what it counts, and how to get it.
type PortCounter = (&'static str, &'static str, fn(&PortCounters) -> u64);

const PORT_COUNTERS: [PortCounter; 7] = [
    ("bladeswitch_rx_frames", "Frames received by a port, into the switch", |port| port.rx),
    ("bladeswitch_rx_bytes", "Bytes of the frames received, without FCS", |port| port.rx_bytes),
    ("bladeswitch_tx_frames", "Frames sent by a port, out of the switch", |port| port.tx),
    ("bladeswitch_tx_bytes", "Bytes of the frames sent, without FCS", |port| port.tx_bytes),
    ("bladeswitch_copies", "Copies made of frames that came in by a port, for flooding and for control", |port| port.copies),
    ("bladeswitch_injected", "Frames of control's for a port", |port| port.injected),
    ("bladeswitch_punted", "Frames and copies that came in by a port and went to control", |port| port.punted),
];

/// A counter of a worker.
type WorkerCounter = (&'static str, &'static str, fn(&WorkerCounters) -> u64);

const WORKER_COUNTERS: [WorkerCounter; 11] = [
    ("bladeswitch_worker_turns", "Turns of a worker's loop", |worker| worker.turns),
    ("bladeswitch_worker_idle_turns", "Turns in which nothing was received", |worker| worker.idle_turns),
    ("bladeswitch_worker_crossed_out", "Frames given to other workers", |worker| worker.crossed_out),
    ("bladeswitch_worker_crossed_in", "Frames taken from other workers", |worker| worker.crossed_in),
    ("bladeswitch_worker_updates_lost", "Learned addresses another worker could not be told", |worker| worker.updates_lost),
    ("bladeswitch_worker_events_lost", "Events control could not be told", |worker| worker.events_lost),
    ("bladeswitch_fdb_learned", "Addresses a worker learned", |worker| worker.fdb_learned),
    ("bladeswitch_fdb_moved", "Addresses that moved to another port", |worker| worker.fdb_moved),
    ("bladeswitch_fdb_aged", "Addresses aged out", |worker| worker.fdb_aged),
    ("bladeswitch_fdb_evicted", "Addresses pushed out by others because the table was full", |worker| worker.fdb_evicted),
    ("bladeswitch_fdb_refused", "Addresses not learned because of a limit", |worker| worker.fdb_refused),
];

/// A counter of a phase.
type PhaseCounter = (&'static str, &'static str, fn(&PhaseCost) -> u64);

const PHASE_COUNTERS: [PhaseCounter; 3] = [
    ("bladeswitch_phase_calls", "Times a phase of a worker ran with packets, in the turns that were timed", |cost| cost.calls),
    ("bladeswitch_phase_packets", "Packets a phase handled in the turns that were timed", |cost| cost.packets),
    ("bladeswitch_phase_ticks", "Ticks of the time stamp counter a phase took in the turns that were timed", |cost| cost.ticks),
];

/// A counter or gauge of a station of a bus.
type StationCounter = (&'static str, &'static str, fn(&show::Station) -> u64);

const STATION_COUNTERS: [StationCounter; 3] = [
    ("bladeswitch_bus_frames", "Frames of a station that crossed the bus", |station| station.frames),
    ("bladeswitch_bus_bytes", "Bytes of the bus these took, 24 a frame included", |station| station.bytes),
    ("bladeswitch_bus_dropped", "Frames that found the station's queue full", |station| station.dropped),
];

const STATION_GAUGES: [StationCounter; 2] = [
    ("bladeswitch_bus_waiting", "Frames of a station that wait for the bus", |station| station.waiting),
    ("bladeswitch_bus_latency_max_nanoseconds", "The longest that a frame of a station took to cross", |station| station.latency_max_ns),
];

/// A counter of a timeslot.
type SlotCounter = (&'static str, &'static str, fn(&show::Slot) -> u64);

const SLOT_COUNTERS: [SlotCounter; 4] = [
    ("bladeswitch_bus_slot_used", "Times a timeslot was used", |slot| slot.used),
    ("bladeswitch_bus_slot_frames", "Frames in a timeslot", |slot| slot.frames),
    ("bladeswitch_bus_slot_bytes", "Bytes of the bus in a timeslot", |slot| slot.bytes),
    ("bladeswitch_bus_slot_lent", "Frames in a timeslot of a station it was lent to", |slot| slot.lent),
];

/// A counter of a rate.
type RateCounter = (&'static str, &'static str, fn(&show::Rate) -> u64);

const RATE_COUNTERS: [RateCounter; 4] = [
    ("bladeswitch_rate_frames", "Frames within the rate from one port to another", |rate| rate.frames),
    ("bladeswitch_rate_bytes", "Bytes of these, without FCS", |rate| rate.bytes),
    ("bladeswitch_rate_exceeded", "Frames above the rate from one port to another", |rate| rate.exceeded),
    ("bladeswitch_rate_exceeded_bytes", "Bytes of these, without FCS", |rate| rate.exceeded_bytes),
];

/// A counter of a steering rule.
type RuleCounter = (&'static str, &'static str, fn(&show::SteerRule) -> u64);

const RULE_COUNTERS: [RuleCounter; 3] = [
    ("bladeswitch_steer_frames", "Frames a steering rule decided about", |rule| rule.frames),
    ("bladeswitch_steer_bytes", "Bytes of these, without FCS", |rule| rule.bytes),
    ("bladeswitch_steer_without_blade", "Of these frames, those that no blade could take", |rule| rule.without_blade),
];

/// A counter of a blade of a function.
type BladeCounter = (&'static str, &'static str, fn(&show::FunctionBlade) -> u64);

const BLADE_COUNTERS: [BladeCounter; 4] = [
    ("bladeswitch_function_frames", "Frames steered to a blade of a function", |blade| blade.frames),
    ("bladeswitch_function_bytes", "Bytes of these, without FCS", |blade| blade.bytes),
    ("bladeswitch_function_flows", "Flows that began at a blade of a function", |blade| blade.flows),
    ("bladeswitch_function_moved", "Of these, flows whose blade was lost", |blade| blade.moved),
];

fn station_labels(bus: &show::Backplane, station: &show::Station) -> Labels {
    vec![("backplane", bus.name.clone()), ("station", station.station.clone())]
}

/// A counter of control's.
type ControlCounter = (&'static str, &'static str, fn(&ControlCounters) -> u64);

const CONTROL_COUNTERS: [ControlCounter; 14] = [
    ("bladeswitch_arp_answered", "ARP requests answered", |control| control.arp_answered),
    ("bladeswitch_nd_answered", "Neighbour solicitations answered", |control| control.nd_answered),
    ("bladeswitch_notices", "Notices sent to sources of messages without a known final destination", |control| control.notices),
    ("bladeswitch_notices_limited", "Notices not sent because there were too many", |control| control.notices_limited),
    ("bladeswitch_advertised", "Advertise messages sent", |control| control.advertised),
    ("bladeswitch_inject_lost", "Frames of control's that could not be handed to a worker", |control| control.inject_lost),
    ("bladeswitch_neighbors_refused", "Neighbours not learned because the table was full", |control| control.neighbors_refused),
    ("bladeswitch_identities_taken", "Identities that a standby blade has taken", |control| control.identities_taken),
    ("bladeswitch_identities_returned", "Identities that a standby blade has given back", |control| control.identities_returned),
    ("bladeswitch_probes", "Questions of probes sent", |control| control.probes),
    ("bladeswitch_moves", "Moves of addresses control was told of", |control| control.moves),
    ("bladeswitch_tables_published", "Tables published to the workers", |control| control.published),
    ("bladeswitch_reloads", "Configurations loaded while the switch ran", |control| control.reloads),
    ("bladeswitch_reloads_unconfirmed", "Reloads rolled back because nobody confirmed them", |control| control.unconfirmed),
];

impl Scrape {
    fn encode_ports(&self, out: &mut Families<'_>) -> fmt::Result {
        let label = |port: &PortScrape| vec![("port", port.name.clone())];
        for (name, help, get) in PORT_COUNTERS {
            out.counters(name, help, self.ports.iter().map(|port| (label(port), get(&port.counters))))?;
        }
        let drops = self.ports.iter().flat_map(|port| {
            let labels = |reason: DropReason| vec![("port", port.name.clone()), ("reason", reason.name().to_owned())];
            DropReason::ALL.iter().map(move |&reason| (labels(reason), port.counters.dropped(reason)))
        });
        out.counters("bladeswitch_drops", "Frames dropped, by the port they came in by (at full queues: would have left by)", drops)?;
        let links = self.ports.iter().map(|port| (label(port), u64::from(port.up)));
        out.gauges("bladeswitch_link", "1 if the link of a port is up", links)?;
        let speeds = self.ports.iter().map(|port| (label(port), port.speed_bps));
        out.gauges("bladeswitch_speed_bits_per_second", "Rate of a port's link", speeds)
    }

    fn encode_workers(&self, out: &mut Families<'_>) -> fmt::Result {
        let label = |worker: usize| vec![("worker", worker.to_string())];
        for (name, help, get) in WORKER_COUNTERS {
            out.counters(name, help, self.workers.iter().enumerate().map(|(index, (counters, _))| (label(index), get(counters))))?;
        }
        let entries = self.workers.iter().enumerate().map(|(index, (counters, _))| (label(index), counters.fdb_entries));
        out.gauges("bladeswitch_fdb_entries", "Entries in a worker's FDB", entries)?;
        for (name, help, get) in PHASE_COUNTERS {
            let costs = self.workers.iter().enumerate().flat_map(|(index, (_, costs))| {
                let labels = move |phase: Phase| vec![("worker", index.to_string()), ("phase", phase.name().to_owned())];
                Phase::ALL.iter().zip(costs).map(move |(&phase, cost)| (labels(phase), get(cost)))
            });
            out.counters(name, help, costs)?;
        }
        Ok(())
    }

    fn encode_buses(&self, out: &mut Families<'_>) -> fmt::Result {
        for (name, help, get) in STATION_COUNTERS {
            let stations =
                self.buses.iter().flat_map(|bus| bus.stations.iter().map(|station| (station_labels(bus, station), get(station))));
            out.counters(name, help, stations)?;
        }
        for (name, help, get) in STATION_GAUGES {
            let stations =
                self.buses.iter().flat_map(|bus| bus.stations.iter().map(|station| (station_labels(bus, station), get(station))));
            out.gauges(name, help, stations)?;
        }
        for (name, help, get) in SLOT_COUNTERS {
            let labels = |bus: &show::Backplane, slot: &show::Slot| {
                vec![("backplane", bus.name.clone()), ("slot", slot.slot.to_string()), ("owner", slot.owner.clone())]
            };
            out.counters(name, help, self.buses.iter().flat_map(|bus| bus.slots.iter().map(move |slot| (labels(bus, slot), get(slot)))))?;
        }
        Ok(())
    }

    fn encode_rates(&self, out: &mut Families<'_>) -> fmt::Result {
        let label = |rate: &show::Rate| vec![("from", rate.from.clone()), ("to", rate.to.clone())];
        for (name, help, get) in RATE_COUNTERS {
            out.counters(name, help, self.rates.iter().map(|rate| (label(rate), get(rate))))?;
        }
        let help = "Rate from one port to another";
        out.gauges("bladeswitch_rate_bits_per_second", help, self.rates.iter().map(|rate| (label(rate), rate.rate_bps)))
    }

    fn encode_steering(&self, out: &mut Families<'_>) -> fmt::Result {
        let label = |rule: &show::SteerRule| vec![("rule", rule.rule.clone()), ("function", rule.function.clone())];
        for (name, help, get) in RULE_COUNTERS {
            out.counters(name, help, self.rules.iter().map(|rule| (label(rule), get(rule))))?;
        }
        let blades = || self.functions.iter().flat_map(|function| function.blades.iter().map(move |blade| (function, blade)));
        let label = |function: &show::Function, blade: &show::FunctionBlade| {
            vec![("function", function.function.clone()), ("blade", blade.blade.clone())]
        };
        for (name, help, get) in BLADE_COUNTERS {
            out.counters(name, help, blades().map(|(function, blade)| (label(function, blade), get(blade))))?;
        }
        let up = |blade: &show::FunctionBlade| u64::from(blade.state == BladeState::Up);
        let help = "1 if a blade takes new flows of a function";
        out.gauges("bladeswitch_function_up", help, blades().map(|(function, blade)| (label(function, blade), up(blade))))
    }

    fn encode_joined(&self, out: &mut Families<'_>) -> fmt::Result {
        let open = |trunk: &show::Trunk| u64::from(trunk.state == TrunkState::Open);
        let trunks = self.joined.trunks.iter().map(|trunk| (vec![("trunk", trunk.trunk.clone())], open(trunk)));
        out.gauges("bladeswitch_joined_trunk_forwarding", "1 if a trunk to another chassis forwards", trunks)?;
        let members = || self.joined.members.iter().map(|member| (vec![("chassis", member.chassis.to_string())], member));
        let hops = members().map(|(label, member)| (label, u64::from(member.hops)));
        out.gauges("bladeswitch_joined_hops", "Trunks between this chassis and one that is reached", hops)?;
        let identities = members().map(|(label, member)| (label, member.identities as u64));
        out.gauges("bladeswitch_joined_identities", "Slots of a chassis whose blades are known", identities)?;
        if self.joined.chassis.is_none() {
            return Ok(());
        }
        let drops = self.joined.counters.drops().into_iter().map(|(reason, frames)| (vec![("reason", reason.to_owned())], frames));
        out.counters("bladeswitch_joined_dropped", "Frames of other switch blades that were not believed", drops)
    }

    fn encode_control(&self, out: &mut Families<'_>) -> fmt::Result {
        for (name, help, get) in CONTROL_COUNTERS {
            out.counters(name, help, [(Labels::new(), get(&self.control))])?;
        }
        out.gauges("bladeswitch_held", "Frames on their way between workers, and those that wait for a bus", [(Labels::new(), self.held)])?;
        out.gauges("bladeswitch_neighbors", "Entries in the neighbor table", [(Labels::new(), self.neighbors as u64)])?;
        out.gauges("bladeswitch_pool_buffers", "Packet buffers in all", [(Labels::new(), u64::from(self.pool_buffers))])?;
        let taken = [(Labels::new(), u64::from(self.pool_taken))];
        out.gauges("bladeswitch_pool_taken", "Packet buffers taken from the pool, those that threads keep ready included", taken)
    }
}

type Labels = Vec<(&'static str, String)>;

/// Writes families of metrics.
struct Families<'a>(DescriptorEncoder<'a>);

impl Families<'_> {
    fn counters(&mut self, name: &str, help: &str, values: impl IntoIterator<Item = (Labels, u64)>) -> fmt::Result {
        self.family(name, help, values.into_iter().map(|(labels, value)| (labels, ConstCounter::new(value))))
    }

    fn gauges(&mut self, name: &str, help: &str, values: impl IntoIterator<Item = (Labels, u64)>) -> fmt::Result {
        self.family(name, help, values.into_iter().map(|(labels, value)| (labels, ConstGauge::new(value))))
    }

    fn family<M: EncodeMetric>(&mut self, name: &str, help: &str, values: impl Iterator<Item = (Labels, M)>) -> fmt::Result {
        let mut values = values.peekable();
        let Some((_, first)) = values.peek() else { return Ok(()) };
        let mut family = self.0.encode_descriptor(name, help, None, first.metric_type())?;
        for (labels, value) in values {
            if labels.is_empty() {
                return value.encode(family); // A family of one metric, without labels.
            }
            value.encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
