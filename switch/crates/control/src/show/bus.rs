//! The buses of the backplanes: who may send when, and who did.

use serde::{Deserialize, Serialize};

use crate::bus::{Load, guarantee, published};
use crate::config::backplane::{slot_name, station_name};
use crate::config::{BackplaneConfig, BusConfig, Config, SlotConfig};
use crate::plane::Control;

/// `show bus`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Buses {
    /// The backplanes, as in the configuration.
    pub backplanes: Vec<Backplane>,
}

/// A backplane and its bus.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Backplane {
    /// Its name.
    pub name: String,
    /// `none`, `tdm`, `fdm` or `drr`.
    pub bus: String,
    /// Bits a second of the bus.
    pub rate_bps: u64,
    /// Nanoseconds since the switch began.
    pub time_ns: u64,
    /// Names of its ports.
    pub ports: Vec<String>,
    /// Length of a timeslot, if there are any.
    pub slot_ns: Option<u64>,
    /// What of it nobody sends in.
    pub guard_ns: Option<u64>,
    /// Idle reserved slots are lent.
    pub lend: Option<bool>,
    /// The slot table.
    pub slots: Vec<Slot>,
    /// Who puts frames on the bus; empty without an arbiter.
    pub stations: Vec<Station>,
}

/// A timeslot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Slot {
    /// Its number in the table, from 0.
    pub slot: usize,
    /// The station it is reserved for, or `shared`.
    pub owner: String,
    /// Times it came round.
    pub rounds: u64,
    /// Times it was used.
    pub used: u64,
    /// Frames in it.
    pub frames: u64,
    /// Of these, those of a station it was lent to.
    pub lent: u64,
    /// Bytes of the bus that these took.
    pub bytes: u64,
    /// The part of its time that frames took, 0 to 1, since the switch began.
    pub use_ratio: f64,
}

/// Who puts frames on a bus.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Station {
    /// Name of the blade's port, `switch` or `maintenance`.
    pub station: String,
    /// Frames that crossed.
    pub frames: u64,
    /// Bytes of the bus that these took.
    pub bytes: u64,
    /// The part of the bus that these took, 0 to 1, since the switch began.
    pub use_ratio: f64,
    /// Frames that wait.
    pub waiting: u64,
    /// The most that ever waited.
    pub waiting_max: u64,
    /// Frames that found the queue full.
    pub dropped: u64,
    /// The longest that a frame took until its last bit had crossed, in nanoseconds.
    pub latency_max_ns: u64,
    /// Its part of the bus, in bits a second, if all frames are as long as they may be; `None`: nothing is certain.
    pub guaranteed_bps: Option<u64>,
    /// The most that a frame takes which finds no other of its station waiting.
    pub guaranteed_latency_ns: Option<u64>,
}

/// The backplanes and what crossed their buses.
pub fn buses(control: &Control) -> Buses {
    let config = control.config();
    let time_ns = control.now().0;
    let backplanes = published(control).into_iter().map(|(backplane, counters)| {
        let (slot_ns, guard_ns, lend, table) = match &backplane.bus {
            BusConfig::Tdm { slot_ns, guard_ns, lend, slots } => (Some(*slot_ns), Some(*guard_ns), Some(*lend), &slots[..]),
            BusConfig::None | BusConfig::Fdm(_) | BusConfig::Drr(_) => (None, None, None, &[][..]),
        };
        let (of_slots, of_stations) = counters.map_or_else(Default::default, |counters| (counters.slots(), counters.stations()));
        let slots = table.iter().zip(of_slots).enumerate();
        let slots = slots.map(|(index, (slot, counters))| {
            let slot_ns = slot_ns.unwrap_or(1);
            let rounds = (time_ns / slot_ns + table.len() as u64 - index as u64) / table.len() as u64;
            slot_shown(config, backplane, index, *slot, rounds, &counters, slot_ns)
        });
        let load = Load { frames: 1, longest: usize::from(config.switch.max_frame) + wire::vlan::TAG_LEN };
        let stations = backplane.stations().zip(of_stations).map(|(station, counters)| {
            let sure = guarantee(backplane, station, load, config.switch.max_frame);
            Station {
                station: station_name(config, station),
                frames: counters.frames,
                bytes: counters.bytes,
                use_ratio: ratio(counters.bytes, backplane.rate.bits_per_second(), time_ns),
                waiting: counters.waiting,
                waiting_max: counters.waiting_max,
                dropped: counters.dropped,
                latency_max_ns: counters.latency_max_ns,
                guaranteed_bps: sure.map(|sure| (u128::from(sure.bytes) * 8_000_000_000 / u128::from(sure.period_ns.max(1))) as u64),
                guaranteed_latency_ns: sure.map(|sure| sure.latency.0),
            }
        });
        Backplane {
            name: backplane.name.clone(),
            bus: backplane.bus.name().to_owned(),
            rate_bps: backplane.rate.bits_per_second(),
            time_ns,
            ports: backplane.ports.iter().map(|&port| super::port_name(control, port)).collect(),
            slot_ns,
            guard_ns,
            lend,
            slots: slots.collect(),
            stations: stations.collect(),
        }
    });
    Buses { backplanes: backplanes.collect() }
}

fn slot_shown(
    config: &Config,
    backplane: &BackplaneConfig,
    index: usize,
    slot: SlotConfig,
    rounds: u64,
    counters: &dataplane::bus::SlotCounters,
    slot_ns: u64,
) -> Slot {
    Slot {
        slot: index,
        owner: slot_name(config, slot),
        rounds,
        used: counters.used,
        frames: counters.frames,
        lent: counters.lent,
        bytes: counters.bytes,
        use_ratio: ratio(counters.bytes, backplane.rate.bits_per_second(), rounds * slot_ns),
    }
}

/// The part of `time_ns` that `bytes` took.
fn ratio(bytes: u64, rate_bps: u64, time_ns: u64) -> f64 {
    if time_ns == 0 { 0.0 } else { bytes as f64 * 8e9 / (rate_bps as f64 * time_ns as f64) }
}
