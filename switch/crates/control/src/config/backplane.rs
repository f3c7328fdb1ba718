//! `[[backplane]]`: ports that share a bus, and the bus.
//!
//! What stands in the file is read into a draft, checked against the ports, and completed: every station of a bus gets a slot, a share or a
//! quantum, named in the file or by default, so that what is written out again says all of it.

use std::collections::{HashMap, HashSet};
use std::fmt;

use dataplane::bus::STATIONS_MAX;
use port::PortId;
use port::wrap::link::OVERHEAD_LEN;
use serde::Serialize;
use serde::ser::SerializeMap;
use toml::Spanned;
use wire::vlan;

use super::error::{Findings, Span, suggestion};
use super::model::{Config, PortConfig, Role};
use super::section::{Section, SectionSchema};
use super::speed::Speed;
use super::value;

/// The keys of the section.
pub(super) const BACKPLANE: SectionSchema = SectionSchema {
    name: "backplane",
    repeated: true,
    keys: &["name", "ports", "bus", "rate", "queue", "slot_ns", "guard_ns", "lend", "slots", "shares", "quanta"],
};

/// Timeslots in a table at most.
const SLOTS_MAX: usize = 1024;
/// Bytes of the bus a station takes in its turn, unless the file says otherwise: a frame of 1518 bytes with FCS.
const QUANTUM: u32 = 1538;
/// Nanoseconds at the end of a timeslot in which nothing is sent, unless the file says otherwise.
const GUARD_NS: u64 = 100;

/// A backplane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackplaneConfig {
    /// What operators call it.
    pub name: String,
    /// The ports on it, ascending. A port is on one backplane at most.
    pub ports: Vec<PortId>,
    /// Bits a second of its bus.
    pub rate: Speed,
    /// Frames that wait for the bus at each station at most.
    pub queue: usize,
    /// How the bus is shared.
    pub bus: BusConfig,
}

/// How a bus is shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BusConfig {
    /// It is not: every port is a link of its own.
    None,
    /// Timeslots.
    Tdm {
        /// Length of a slot in nanoseconds, with its guard time.
        slot_ns: u64,
        /// Nanoseconds at its end in which nothing is sent.
        guard_ns: u64,
        /// Idle reserved slots are lent.
        lend: bool,
        /// The table.
        slots: Vec<SlotConfig>,
    },
    /// Fixed shares, one for each station in the order of [`BackplaneConfig::stations`].
    Fdm(Vec<Speed>),
    /// Bytes of the bus in a turn, one number for each station in the order of [`BackplaneConfig::stations`].
    Drr(Vec<u32>),
}

/// Who may send in a timeslot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotConfig {
    /// This station.
    Reserved(Station),
    /// Everybody in turn.
    Shared,
}

/// Who puts frames on a bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Station {
    /// The blade at this port: frames that came in by it.
    Port(PortId),
    /// The switch blade: frames from anywhere else.
    Switch,
    /// The switch blade's control messages.
    Maintenance,
}

impl BusConfig {
    /// The name in the file.
    pub fn name(&self) -> &'static str {
        match self {
            BusConfig::None => "none",
            BusConfig::Tdm { .. } => "tdm",
            BusConfig::Fdm(_) => "fdm",
            BusConfig::Drr(_) => "drr",
        }
    }
}

impl BackplaneConfig {
    /// A backplane of these ports with a bus and all defaults. `frame_len_max` is that of the switch; it determines the length of timeslots.
    pub fn new(name: &str, ports: Vec<PortId>, kind: BusKind, rate: Speed, frame_len_max: u16) -> BackplaneConfig {
        let stations = ports.len() as u64 + 2;
        let bus = match kind {
            BusKind::None => BusConfig::None,
            BusKind::Tdm => {
                BusConfig::Tdm { slot_ns: slot_ns(rate, frame_len_max), guard_ns: GUARD_NS, lend: true, slots: default_slots(&ports) }
            }
            BusKind::Fdm => {
                let share = Speed::from_bits_per_second(rate.bits_per_second() / stations).unwrap_or(rate);
                BusConfig::Fdm(vec![share; stations as usize])
            }
            BusKind::Drr => BusConfig::Drr(vec![QUANTUM; stations as usize]),
        };
        BackplaneConfig { name: name.to_owned(), ports, rate, queue: 128, bus }
    }

    /// Every station: the ports in their order, the switch, maintenance.
    pub fn stations(&self) -> impl Iterator<Item = Station> {
        self.ports.iter().map(|&port| Station::Port(port)).chain([Station::Switch, Station::Maintenance])
    }
}

/// The longest time a frame takes on a bus, with its gap, in nanoseconds.
fn longest_ns(rate: Speed, frame_len_max: u16) -> u64 {
    let bits = (u64::from(frame_len_max) + vlan::TAG_LEN as u64 + OVERHEAD_LEN) * 8;
    (bits * 1_000_000_000).div_ceil(rate.bits_per_second())
}

/// Whole microseconds that hold the longest frame and the usual guard time.
fn slot_ns(rate: Speed, frame_len_max: u16) -> u64 {
    (longest_ns(rate, frame_len_max) + GUARD_NS).next_multiple_of(1000)
}

/// A slot for each station, and one for everybody.
fn default_slots(ports: &[PortId]) -> Vec<SlotConfig> {
    let ports = ports.iter().map(|&port| SlotConfig::Reserved(Station::Port(port)));
    ports.chain([SlotConfig::Reserved(Station::Switch), SlotConfig::Shared, SlotConfig::Reserved(Station::Maintenance)]).collect()
}

/// Kinds of buses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BusKind {
    /// None.
    None,
    /// Timeslots.
    Tdm,
    /// Fixed shares.
    Fdm,
    /// Turns of so many bytes.
    Drr,
}

impl BusKind {
    /// All, with their names.
    pub const ALL: &[(&str, BusKind)] = &[("none", BusKind::None), ("tdm", BusKind::Tdm), ("fdm", BusKind::Fdm), ("drr", BusKind::Drr)];

    /// The name in the file.
    pub fn name(self) -> &'static str {
        BusKind::ALL.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }
}

impl fmt::Display for BusKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What stands in the file.
pub(super) struct BackplaneDraft {
    header: Span,
    name: Option<Spanned<String>>,
    default_name: String,
    /// `None`: all blades.
    ports: Option<Vec<Spanned<String>>>,
    kind: BusKind,
    rate: Speed,
    queue: usize,
    slot_ns: Option<Spanned<u64>>,
    guard_ns: u64,
    lend: bool,
    slots: Option<Vec<Spanned<String>>>,
    shares: Option<Spanned<Vec<(String, Speed)>>>,
    quanta: Option<Spanned<Vec<(String, u64)>>>,
}

/// Reads the `number`th section, from 1.
pub(super) fn read(section: &Section<'_, '_>, number: usize, out: &mut Findings<'_>) -> BackplaneDraft {
    let kind = section.read(out, "bus", value::choice(BusKind::ALL)).map_or(BusKind::None, Spanned::into_inner);
    for (keys, of) in
        [(&["slot_ns", "guard_ns", "lend", "slots"][..], BusKind::Tdm), (&["shares"], BusKind::Fdm), (&["quanta"], BusKind::Drr)]
    {
        for key in keys.iter().filter(|key| kind != of && section.has(key)) {
            let problem = format!("is a key of a bus = \"{of}\": expected that, or no `{key}` beside bus = \"{kind}\"");
            out.value(&section.span_of(key), &section.key(key), problem);
        }
    }
    let mut list = |key| section.has(key).then(|| section.read_list(out, key, value::reference));
    let (ports, slots) = (list("ports"), list("slots"));
    let number_of = |out: &mut Findings<'_>, key, unit, range| section.read(out, key, value::integer(unit, range));
    BackplaneDraft {
        header: section.span.clone(),
        name: section.read(out, "name", value::name),
        default_name: format!("backplane{number}"),
        ports,
        kind,
        rate: section.read(out, "rate", value::speed).map_or(Speed::G10, Spanned::into_inner),
        queue: number_of(out, "queue", "frames", 1..=65_536).map_or(128, |queue| queue.into_inner() as usize),
        slot_ns: number_of(out, "slot_ns", "nanoseconds", 100..=1_000_000_000),
        guard_ns: number_of(out, "guard_ns", "nanoseconds", 0..=1_000_000).map_or(GUARD_NS, Spanned::into_inner),
        lend: section.read(out, "lend", value::flag).is_none_or(Spanned::into_inner),
        slots,
        shares: section.read(out, "shares", value::named(value::speed)),
        quanta: section.read(out, "quanta", value::named(value::integer("bytes", 64..=1_000_000))),
    }
}

impl BackplaneDraft {
    fn name(&self) -> &str {
        self.name.as_ref().map_or(&self.default_name, |name| name.get_ref())
    }

    /// Names of its ports, as far as these are right.
    fn port_names<'a>(&'a self, ports: &'a [&PortConfig]) -> Vec<&'a str> {
        let is_blade = |port: &&&PortConfig| matches!(port.role, Role::Blade { .. });
        match &self.ports {
            Some(names) => names.iter().map(|name| name.get_ref().as_str()).collect(),
            None => ports.iter().filter(is_blade).map(|port| port.name.as_str()).collect(),
        }
    }
}

/// Do the backplanes agree with the ports, with each other and with themselves?
pub(super) fn check(drafts: &[BackplaneDraft], ports: &[&PortConfig], frame_len_max: u16, out: &mut Findings<'_>) {
    let mut names: HashMap<&str, Span> = HashMap::new();
    let mut taken: HashMap<&str, (&str, Span)> = HashMap::new();
    for draft in drafts {
        let place = draft.name.as_ref().map_or(draft.header.clone(), Spanned::span);
        if let Some(first) = names.insert(draft.name(), place.clone()) {
            let (name, line) = (draft.name(), out.line(&first));
            out.at(&place, "backplane.name", format!("backplane.name = \"{name}\" is used twice: first at line {line}; expected another"));
        }
        for name in draft.ports.iter().flatten() {
            if !ports.iter().any(|port| port.name == *name.get_ref()) {
                let likely = suggestion(name.get_ref(), ports.iter().map(|port| port.name.as_str()));
                out.value(&name.span(), "backplane.ports", format!("no port has this name{likely}: expected names of blades or uplinks"));
            }
        }
        let place_of = |name: &str| {
            let listed = draft.ports.iter().flatten().find(|listed| listed.get_ref() == name);
            listed.map_or(draft.header.clone(), Spanned::span)
        };
        let on_it = draft.port_names(ports);
        let mut seen = HashSet::new();
        for name in &on_it {
            let again = !seen.insert(*name);
            if let Some((other, _)) = taken.insert(name, (draft.name(), place_of(name))).filter(|_| !again) {
                let message = format!("backplane.ports: port {name} is on backplane {other} already: expected each port on one backplane");
                out.at(&place_of(name), "backplane.ports", message);
            }
            if again {
                out.at(&place_of(name), "backplane.ports", format!("backplane.ports: port {name} stands there twice: expected it once"));
            }
            if draft.kind != BusKind::None && ["switch", "maintenance", "shared"].contains(name) {
                let message =
                    format!("backplane.ports: a port called `{name}` cannot be told from the bus's own words: expected another name");
                out.at(&place_of(name), "backplane.ports", message);
            }
        }
        if on_it.is_empty() || on_it.len() > STATIONS_MAX - 2 {
            let (count, most) = (on_it.len(), STATIONS_MAX - 2);
            out.at(&draft.header, "backplane.ports", format!("[[backplane]] has {count} ports: expected 1 to {most}"));
        } else {
            check_bus(draft, &on_it, frame_len_max, out);
        }
    }
}

fn check_bus(draft: &BackplaneDraft, ports: &[&str], frame_len_max: u16, out: &mut Findings<'_>) {
    let stations: Vec<&str> = ports.iter().copied().chain(["switch", "maintenance"]).collect();
    let unknown = |name: &str, more: &str| {
        let likely = suggestion(name, stations.iter().copied());
        format!("`{name}` is none of its stations{likely}: expected the name of one of its ports, `switch`, `maintenance`{more}")
    };
    match draft.kind {
        BusKind::None => {}
        BusKind::Tdm => {
            for slot in draft.slots.iter().flatten() {
                if !stations.contains(&slot.get_ref().as_str()) && slot.get_ref() != "shared" {
                    out.value(&slot.span(), "backplane.slots", unknown(slot.get_ref(), " or `shared`"));
                }
            }
            if let Some(slots) = &draft.slots {
                let has = |name: &str| slots.iter().any(|slot| slot.get_ref() == name);
                let without = stations.iter().find(|station| !has(station) && !has("shared"));
                let place = slots.first().map_or(draft.header.clone(), Spanned::span);
                if slots.is_empty() || slots.len() > SLOTS_MAX {
                    let message = format!("backplane.slots: {} slots: expected 1 to {SLOTS_MAX}", slots.len());
                    out.at(&place, "backplane.slots", message);
                } else if let Some(station) = without {
                    let message = format!("backplane.slots: {station} could never send: expected a slot for it, or one that is \"shared\"");
                    out.at(&place, "backplane.slots", message);
                }
            }
            let needed = longest_ns(draft.rate, frame_len_max) + draft.guard_ns;
            let is = draft.slot_ns.as_ref().map_or_else(|| slot_ns(draft.rate, frame_len_max), |slot_ns| *slot_ns.get_ref());
            if is < needed {
                let place = draft.slot_ns.as_ref().map_or(draft.header.clone(), Spanned::span);
                let message = format!(
                    "backplane.slot_ns = {is}: the longest frame and the guard time take {needed}: expected at least that, a higher `rate`, or \
                     a lower switch.max_frame"
                );
                out.at(&place, "backplane.slot_ns", message);
            }
        }
        BusKind::Fdm => {
            let named = draft.shares.as_ref().map_or(&[][..], |shares| shares.get_ref());
            let place = draft.shares.as_ref().map_or(draft.header.clone(), Spanned::span);
            for (name, _) in named.iter().filter(|(name, _)| !stations.contains(&name.as_str())) {
                out.at(&place, "backplane.shares", format!("backplane.shares: {}", unknown(name, "")));
            }
            let sum: u64 = named.iter().map(|(_, share)| share.bits_per_second()).sum();
            let unnamed = stations.iter().filter(|station| !named.iter().any(|(name, _)| name == *station)).count() as u64;
            if draft.rate.bits_per_second() < sum.saturating_add(unnamed) {
                let message = format!(
                    "backplane.shares: {sum} bit/s are given away and {unnamed} stations have no share yet: expected something of `rate` = {} \
                     to be left for each",
                    draft.rate
                );
                out.at(&place, "backplane.shares", message);
            }
        }
        BusKind::Drr => {
            let named = draft.quanta.as_ref().map_or(&[][..], |quanta| quanta.get_ref());
            for (name, _) in named.iter().filter(|(name, _)| !stations.contains(&name.as_str())) {
                let place = draft.quanta.as_ref().map_or(draft.header.clone(), Spanned::span);
                out.at(&place, "backplane.quanta", format!("backplane.quanta: {}", unknown(name, "")));
            }
        }
    }
}

/// A draft in which nothing is wrong, with the ports as they are in `config`.
pub(super) fn resolve(draft: BackplaneDraft, config: &Config) -> BackplaneConfig {
    let all: Vec<&PortConfig> = config.ports.iter().collect();
    let mut ports: Vec<PortId> = draft.port_names(&all).iter().filter_map(|name| config.port_named(name)).collect();
    ports.sort_unstable();
    let frame_len_max = config.switch.max_frame;
    let name = draft.name().to_owned();
    let defaults = BackplaneConfig::new(&name, ports, draft.kind, draft.rate, frame_len_max);
    let stations: Vec<String> = defaults.stations().map(|station| station_name(config, station)).collect();
    let station = |name: &str| defaults.stations().zip(&stations).find(|(_, own)| *own == name).map(|(station, _)| station);
    let bus = match draft.kind {
        BusKind::None => BusConfig::None,
        BusKind::Tdm => BusConfig::Tdm {
            slot_ns: draft.slot_ns.map_or_else(|| slot_ns(draft.rate, frame_len_max), Spanned::into_inner),
            guard_ns: draft.guard_ns,
            lend: draft.lend,
            slots: match &draft.slots {
                Some(slots) => slots.iter().map(|slot| station(slot.get_ref()).map_or(SlotConfig::Shared, SlotConfig::Reserved)).collect(),
                None => default_slots(&defaults.ports),
            },
        },
        BusKind::Fdm => {
            let named = draft.shares.map(Spanned::into_inner).unwrap_or_default();
            let of = |station: &String| named.iter().find(|(name, _)| name == station).map(|(_, share)| *share);
            let given: u64 = stations.iter().filter_map(&of).map(Speed::bits_per_second).sum();
            let unnamed = stations.iter().filter(|station| of(station).is_none()).count() as u64;
            let left = draft.rate.bits_per_second().saturating_sub(given) / unnamed.max(1);
            let default = Speed::from_bits_per_second(left).unwrap_or(draft.rate);
            BusConfig::Fdm(stations.iter().map(|station| of(station).unwrap_or(default)).collect())
        }
        BusKind::Drr => {
            let named = draft.quanta.map(Spanned::into_inner).unwrap_or_default();
            let of = |station: &String| named.iter().find(|(name, _)| name == station).map_or(QUANTUM, |(_, quantum)| *quantum as u32);
            BusConfig::Drr(stations.iter().map(of).collect())
        }
    };
    BackplaneConfig { queue: draft.queue, bus, ..defaults }
}

/// What a station is called in the file and everywhere else.
pub fn station_name(config: &Config, station: Station) -> String {
    match station {
        Station::Port(port) => config.port(port).map_or_else(|| port.to_string(), |port| port.name.clone()),
        Station::Switch => "switch".to_owned(),
        Station::Maintenance => "maintenance".to_owned(),
    }
}

/// A backplane in the shape of its section.
#[derive(Serialize)]
pub(super) struct BackplaneTable {
    name: String,
    ports: Vec<String>,
    bus: &'static str,
    rate: Speed,
    queue: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    slot_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    guard_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lend: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    slots: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shares: Option<Named<Speed>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quanta: Option<Named<u32>>,
}

/// A table with a value for each station.
struct Named<T>(Vec<(String, T)>);

impl<T: Serialize> Serialize for Named<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// As it is written out.
pub(super) fn table(config: &Config, backplane: &BackplaneConfig) -> BackplaneTable {
    let names: Vec<String> = backplane.stations().map(|station| station_name(config, station)).collect();
    let mut table = BackplaneTable {
        name: backplane.name.clone(),
        ports: names[..backplane.ports.len()].to_vec(),
        bus: backplane.bus.name(),
        rate: backplane.rate,
        queue: backplane.queue,
        slot_ns: None,
        guard_ns: None,
        lend: None,
        slots: None,
        shares: None,
        quanta: None,
    };
    match &backplane.bus {
        BusConfig::None => {}
        BusConfig::Tdm { slot_ns, guard_ns, lend, slots } => {
            (table.slot_ns, table.guard_ns, table.lend) = (Some(*slot_ns), Some(*guard_ns), Some(*lend));
            table.slots = Some(slots.iter().map(|slot| slot_name(config, *slot)).collect());
        }
        BusConfig::Fdm(shares) => table.shares = Some(Named(names.into_iter().zip(shares.iter().copied()).collect())),
        BusConfig::Drr(quanta) => table.quanta = Some(Named(names.into_iter().zip(quanta.iter().copied()).collect())),
    }
    table
}

/// What a timeslot is called in the file and everywhere else.
pub fn slot_name(config: &Config, slot: SlotConfig) -> String {
    match slot {
        SlotConfig::Reserved(station) => station_name(config, station),
        SlotConfig::Shared => "shared".to_owned(),
    }
}
