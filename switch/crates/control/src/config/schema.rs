//! The sections of a configuration file, their keys, ranges and defaults.
//!
//! Reading gives a [`Draft`]: the values, and the places of those that have to agree with others. Whether they do is the
//! matter of `check`. `docs/configuration.md` says the same for people; a test holds it to the keys here.

use std::net::IpAddr;

use dataplane::tables::ControlRights;
use port::backend::dpdk::MEMORY_MIB;
use port::mempool::BUFFERS_MAX;
use port::{BURST_MAX, Hugepages, PORTS_MAX};
use toml::Spanned;
use toml::de::DeTable;
use wire::{MacAddr, Vid};

use super::backplane::{self, BACKPLANE, BackplaneDraft};
use super::error::{Findings, Span};
use super::joined::{self, JOINED, JoinedDraft};
use super::model::{
    AgentsConfig, Config, DpdkConfig, FdbConfig, IdentityConfig, Idle, LanesConfig, PoolConfig, PortConfig, Role, SwitchConfig, VlanMode,
};
use super::probe;
use super::profile::{self, PROFILE};
use super::rates::{self, RATE, RateDraft};
use super::section::{Schemas, Section, SectionSchema, refuse_unknown_sections, repeated, single};
use super::standby::{self, STANDBY};
use super::steering::{self, FUNCTION, STEER, SteeringDraft};
use super::vids::VidSet;
use super::{FRAME_LEN_MAX, FRAME_LEN_MIN, value};
use port::spec::PortSpec;

/// A second has no more events than anybody would read.
const EVENTS_PER_S_MAX: u64 = 1_000_000;
/// Ageing times from ten milliseconds, for tests, to eleven days.
const AGEING_MS: std::ops::RangeInclusive<u64> = 10..=1_000_000_000;
/// FDB entries, in all or in part.
const FDB_LIMIT: std::ops::RangeInclusive<u64> = 1..=4_194_304;

const SWITCH: SectionSchema = SectionSchema {
    name: "switch",
    repeated: false,
    keys: &["name", "mac", "workers", "cores", "burst", "idle", "seccomp", "api", "max_frame"],
};
const POOL: SectionSchema = SectionSchema { name: "pool", repeated: false, keys: &["buffers", "hugepages"] };
const DPDK: SectionSchema = SectionSchema { name: "dpdk", repeated: false, keys: &["memory_mib", "hugepages", "arguments"] };
const FDB: SectionSchema =
    SectionSchema { name: "fdb", repeated: false, keys: &["ageing_ms", "limit", "limit_per_vlan", "limit_per_port", "move_events_per_s"] };
const LANES: SectionSchema = SectionSchema { name: "lanes", repeated: false, keys: &["message", "ip", "notice", "notices_per_s"] };
const IDENTITY: SectionSchema =
    SectionSchema { name: "identity", repeated: false, keys: &["advertise", "answer_arp", "answer_nd", "learn", "limit", "ageing_ms"] };
const AGENTS: SectionSchema =
    SectionSchema { name: "agents", repeated: false, keys: &["hello_ms", "retry_ms", "retries", "finish_ms", "key_file"] };
const VLAN: SectionSchema = SectionSchema { name: "vlan", repeated: true, keys: &["vid", "name"] };
const BLADE: SectionSchema = SectionSchema {
    name: "blade",
    repeated: true,
    keys: &[
        "slot",
        "name",
        "mac",
        "ip",
        "standby",
        "probe",
        "functions",
        "port",
        "speed",
        "vlan",
        "transparent",
        "trunk",
        "native",
        "ingress_filter",
        "queue",
        "fdb_limit",
        "learning",
        "flood",
        "enabled",
        "control",
    ],
};
const UPLINK: SectionSchema = SectionSchema {
    name: "uplink",
    repeated: true,
    keys: &[
        "name",
        "port",
        "speed",
        "vlan",
        "transparent",
        "trunk",
        "native",
        "ingress_filter",
        "queue",
        "fdb_limit",
        "learning",
        "flood",
        "enabled",
        "control",
    ],
};
const FDB_ENTRY: SectionSchema = SectionSchema { name: "fdb_entry", repeated: true, keys: &["mac", "vlan", "port", "blackhole"] };
const NEIGHBOR: SectionSchema = SectionSchema { name: "neighbor", repeated: true, keys: &["ip", "mac", "vlan"] };

/// Control messages a port may send.
const CONTROL: &[(&str, ControlRights)] = &[("none", ControlRights::None), ("hello", ControlRights::Hello), ("all", ControlRights::All)];

/// Every section there is.
pub(super) const SECTIONS: Schemas = &[
    &SWITCH, &POOL, &DPDK, &FDB, &LANES, &IDENTITY, &AGENTS, &JOINED, &STANDBY, &VLAN, &PROFILE, &BLADE, &UPLINK, &BACKPLANE, &RATE,
    &FUNCTION, &STEER, &FDB_ENTRY, &NEIGHBOR,
];

/// What stands in the file, value by value.
pub(super) struct Draft {
    /// Everything that needs no other value to be known: no VLANs, ports, entries.
    pub(super) config: Config,
    /// Place of `switch.cores`.
    pub(super) cores: Span,
    pub(super) core_list: Vec<Spanned<u64>>,
    pub(super) limit_per_vlan: Option<Spanned<u64>>,
    pub(super) limit_per_port: Option<Spanned<u64>>,
    pub(super) vlans: Vec<VlanDraft>,
    pub(super) profiles: Vec<ProfileDraft>,
    pub(super) ports: Vec<PortDraft>,
    pub(super) backplanes: Vec<BackplaneDraft>,
    pub(super) joined: Option<JoinedDraft>,
    pub(super) rates: Vec<RateDraft>,
    pub(super) steering: SteeringDraft,
    pub(super) fdb_entries: Vec<FdbEntryDraft>,
    pub(super) neighbors: Vec<NeighborDraft>,
}

pub(super) struct VlanDraft {
    pub(super) vid: Option<Spanned<Vid>>,
    pub(super) name: Option<Spanned<String>>,
}

/// A port. Places are those of values that are there and right.
pub(super) struct PortDraft {
    pub(super) config: PortConfig,
    /// `blade` or `uplink`.
    pub(super) section: &'static str,
    /// Slot of a blade; `None` for an uplink, or when it is missing or wrong.
    pub(super) slot: Option<Span>,
    /// Place of the name, or of what it is made from.
    pub(super) name: Option<Span>,
    pub(super) spec: Option<Span>,
    pub(super) macs: Vec<Spanned<MacAddr>>,
    pub(super) ips: Vec<Spanned<IpAddr>>,
    pub(super) standby: Option<Spanned<String>>,
    pub(super) probe: Option<Span>,
    /// Its own, not those of its profile.
    pub(super) functions: Vec<Spanned<String>>,
    pub(super) fdb_limit: Option<Spanned<u64>>,
    /// All about its VLANs was right: `config.vlan` can be relied on.
    pub(super) vlan_is_right: bool,
}

/// A profile of bays.
pub(super) struct ProfileDraft {
    pub(super) name: Option<Spanned<String>>,
    pub(super) slots: Vec<Spanned<std::ops::RangeInclusive<u16>>>,
    pub(super) prefix: Option<String>,
    pub(super) functions: Vec<Spanned<String>>,
    /// What ports have by it.
    pub(super) config: PortConfig,
    pub(super) vlan_is_right: bool,
    pub(super) fdb_limit: Option<Spanned<u64>>,
}

pub(super) struct FdbEntryDraft {
    pub(super) header: Span,
    pub(super) mac: Option<Spanned<MacAddr>>,
    pub(super) vid: Option<Spanned<Vid>>,
    /// `None`: a blackhole, or an error that was noted.
    pub(super) port: Option<Spanned<String>>,
}

pub(super) struct NeighborDraft {
    pub(super) header: Span,
    pub(super) ip: Option<Spanned<IpAddr>>,
    pub(super) mac: Option<Spanned<MacAddr>>,
    pub(super) vid: Option<Spanned<Vid>>,
}

/// Reads every section; notes what is wrong.
pub(super) fn read(root: &DeTable<'_>, out: &mut Findings<'_>) -> Draft {
    refuse_unknown_sections(root, SECTIONS, out);

    let switch = single(root, &SWITCH, SECTIONS, out);
    let core_list = switch.read_list(out, "cores", value::integer("", 0..=1023));
    let cores = switch.span_of("cores");
    let switch = read_switch(&switch, &core_list, out);

    let pool = single(root, &POOL, SECTIONS, out);
    let pool = read_pool(&pool, out);
    let dpdk = single(root, &DPDK, SECTIONS, out);
    let dpdk = read_dpdk(&dpdk, out);

    let fdb = single(root, &FDB, SECTIONS, out);
    let limit_per_vlan = fdb.read(out, "limit_per_vlan", value::integer("entries", FDB_LIMIT));
    let limit_per_port = fdb.read(out, "limit_per_port", value::integer("entries", FDB_LIMIT));
    let defaults = FdbConfig::default();
    let fdb = FdbConfig {
        ageing_ms: number(&fdb, out, "ageing_ms", "milliseconds", AGEING_MS, defaults.ageing_ms),
        limit: number(&fdb, out, "limit", "entries", FDB_LIMIT, defaults.limit),
        limit_per_vlan: limit_per_vlan.as_ref().map(|limit| *limit.get_ref() as u32),
        limit_per_port: limit_per_port.as_ref().map(|limit| *limit.get_ref() as u32),
        move_events_per_s: number(&fdb, out, "move_events_per_s", "events", 0..=EVENTS_PER_S_MAX, defaults.move_events_per_s),
    };

    let lanes = single(root, &LANES, SECTIONS, out);
    let lanes = read_lanes(&lanes, out);
    let identity = single(root, &IDENTITY, SECTIONS, out);
    let identity = read_identity(&identity, out);

    let agents = single(root, &AGENTS, SECTIONS, out);
    let agents = read_agents(&agents, out);

    let joined = joined::read(&single(root, &JOINED, SECTIONS, out), in_file(root, &JOINED) > 0, out);

    let stands = in_file(root, &STANDBY) > 0;
    let standby = standby::read(&single(root, &STANDBY, SECTIONS, out), stands, switch.api.is_some(), out);

    let vlans = repeated(root, &VLAN, SECTIONS, out).iter().map(|section| read_vlan(section, out)).collect();
    let profiles: Vec<ProfileDraft> = repeated(root, &PROFILE, SECTIONS, out).iter().map(|section| profile::read(section, out)).collect();
    let ports = read_ports(root, &profiles, out);
    let backplanes = repeated(root, &BACKPLANE, SECTIONS, out);
    let backplanes = backplanes.iter().zip(1..).map(|(section, number)| backplane::read(section, number, out)).collect();
    let rates = repeated(root, &RATE, SECTIONS, out).iter().map(|section| rates::read(section, out)).collect();
    let steering = steering::read(root, SECTIONS, out);
    let fdb_entries = repeated(root, &FDB_ENTRY, SECTIONS, out).iter().map(|section| read_fdb_entry(section, out)).collect();
    let neighbors = repeated(root, &NEIGHBOR, SECTIONS, out).iter().map(|section| read_neighbor(section, out)).collect();

    let config = Config { switch, pool, dpdk, fdb, lanes, identity, agents, standby, ..Config::default() };
    Draft {
        config,
        cores,
        core_list,
        limit_per_vlan,
        limit_per_port,
        vlans,
        profiles,
        ports,
        backplanes,
        joined,
        rates,
        steering,
        fdb_entries,
        neighbors,
    }
}

/// All ports, blades first. What is beyond the limit is refused and not looked into.
fn read_ports(root: &DeTable<'_>, profiles: &[ProfileDraft], out: &mut Findings<'_>) -> Vec<PortDraft> {
    let blades = repeated(root, &BLADE, SECTIONS, out);
    let uplinks = repeated(root, &UPLINK, SECTIONS, out);
    if let Some(section) = blades.iter().chain(&uplinks).nth(PORTS_MAX) {
        let count = blades.len() + uplinks.len();
        out.at(
            &section.span,
            section.name(),
            format!("{} is beyond the last port: expected at most {PORTS_MAX} ports in all, found {count}", section.title()),
        );
    }
    if in_file(root, &BLADE) + in_file(root, &UPLINK) == 0 {
        out.whole("blade", "there is no port: expected at least one [[blade]] or [[uplink]]");
    }
    let mut ports: Vec<PortDraft> = blades.iter().take(PORTS_MAX).map(|section| read_blade(section, profiles, out)).collect();
    for (section, number) in uplinks.iter().zip(1..).take(PORTS_MAX - ports.len()) {
        ports.push(read_port(section, "uplink", PortConfig::uplink(number), true, out));
    }
    ports
}

/// How often a section stands in the file, right or wrong.
fn in_file(root: &DeTable<'_>, schema: &SectionSchema) -> usize {
    root.get(schema.name).map_or(0, |value| value.get_ref().as_array().map_or(1, |sections| sections.len()))
}

fn read_switch(section: &Section<'_, '_>, cores: &[Spanned<u64>], out: &mut Findings<'_>) -> SwitchConfig {
    let defaults = SwitchConfig::default();
    SwitchConfig {
        name: section.read(out, "name", value::name).map_or(defaults.name, Spanned::into_inner),
        mac: section.read(out, "mac", value::station_mac).map_or(defaults.mac, Spanned::into_inner),
        workers: number(section, out, "workers", "threads", 1..=64, defaults.workers),
        cores: cores.iter().map(|core| *core.get_ref() as usize).collect(),
        burst: number(section, out, "burst", "packets", 1..=BURST_MAX as u64, defaults.burst),
        idle: section
            .read(out, "idle", value::choice(&[("spin", Idle::Spin), ("adaptive", Idle::Adaptive)]))
            .map_or(defaults.idle, Spanned::into_inner),
        seccomp: flag(section, out, "seccomp", defaults.seccomp),
        api: section.read(out, "api", value::socket_path).map(Spanned::into_inner),
        max_frame: number(
            section,
            out,
            "max_frame",
            "bytes without FCS",
            u64::from(FRAME_LEN_MIN)..=u64::from(FRAME_LEN_MAX),
            defaults.max_frame,
        ),
    }
}

/// Pages that may be asked for.
const HUGEPAGES: &[(&str, Hugepages)] = &[("auto", Hugepages::Auto), ("require", Hugepages::Require), ("never", Hugepages::Never)];

fn read_dpdk(section: &Section<'_, '_>, out: &mut Findings<'_>) -> DpdkConfig {
    let mib = u64::from(*MEMORY_MIB.start())..=u64::from(*MEMORY_MIB.end());
    DpdkConfig {
        memory_mib: section.read(out, "memory_mib", value::integer("MiB", mib)).map(|mib| *mib.get_ref() as u32),
        hugepages: section.read(out, "hugepages", value::choice(HUGEPAGES)).map_or(Hugepages::Auto, Spanned::into_inner),
        arguments: section.read_list(out, "arguments", value::argument).into_iter().map(Spanned::into_inner).collect(),
    }
}

fn read_pool(section: &Section<'_, '_>, out: &mut Findings<'_>) -> PoolConfig {
    let buffers: u32 = number(section, out, "buffers", "buffers", 0..=u64::from(BUFFERS_MAX), 0);
    PoolConfig {
        buffers: (buffers > 0).then_some(buffers),
        hugepages: section.read(out, "hugepages", value::choice(HUGEPAGES)).map_or(Hugepages::Auto, Spanned::into_inner),
    }
}

fn read_lanes(section: &Section<'_, '_>, out: &mut Findings<'_>) -> LanesConfig {
    let defaults = LanesConfig::default();
    LanesConfig {
        message: flag(section, out, "message", defaults.message),
        ip: flag(section, out, "ip", defaults.ip),
        notice: flag(section, out, "notice", defaults.notice),
        notices_per_s: number(section, out, "notices_per_s", "notices", 0..=EVENTS_PER_S_MAX, defaults.notices_per_s),
    }
}

fn read_identity(section: &Section<'_, '_>, out: &mut Findings<'_>) -> IdentityConfig {
    let defaults = IdentityConfig::default();
    IdentityConfig {
        advertise: flag(section, out, "advertise", defaults.advertise),
        answer_arp: flag(section, out, "answer_arp", defaults.answer_arp),
        answer_nd: flag(section, out, "answer_nd", defaults.answer_nd),
        learn: flag(section, out, "learn", defaults.learn),
        limit: number(section, out, "limit", "entries", 1..=1_048_576, defaults.limit),
        ageing_ms: number(section, out, "ageing_ms", "milliseconds", AGEING_MS, defaults.ageing_ms),
    }
}

fn read_agents(section: &Section<'_, '_>, out: &mut Findings<'_>) -> AgentsConfig {
    let defaults = AgentsConfig::default();
    let ms = 10..=3_600_000;
    AgentsConfig {
        hello_ms: number(section, out, "hello_ms", "milliseconds", ms.clone(), defaults.hello_ms),
        retry_ms: number(section, out, "retry_ms", "milliseconds", ms.clone(), defaults.retry_ms),
        retries: number(section, out, "retries", "repetitions", 0..=16, defaults.retries),
        finish_ms: number(section, out, "finish_ms", "milliseconds", ms, defaults.finish_ms),
        key_file: section.read(out, "key_file", value::file_path).map(Spanned::into_inner),
    }
}

fn read_vlan(section: &Section<'_, '_>, out: &mut Findings<'_>) -> VlanDraft {
    if !section.has("vid") {
        section.missing(out, "vid", "a VLAN from 1 to 4094, as in `vid = 10`");
    }
    VlanDraft { vid: section.read(out, "vid", value::vid), name: section.read(out, "name", value::name) }
}

fn read_blade(section: &Section<'_, '_>, profiles: &[ProfileDraft], out: &mut Findings<'_>) -> PortDraft {
    if !section.has("slot") {
        section.missing(out, "slot", "the number of the bay the blade sits in, as in `slot = 1`");
    }
    let slot = section.read(out, "slot", value::integer("", 1..=65_535));
    let number = slot.as_ref().map_or(0, |slot| *slot.get_ref() as u16);
    let (defaults, profile) = profile::defaults(profiles, number);
    let mut draft = read_port(section, "blade", defaults, profile.is_none_or(|profile| profile.vlan_is_right), out);
    draft.functions = section.read_list(out, "functions", value::reference);
    let functions = match profile.filter(|_| !section.has("functions")) {
        Some(profile) => &profile.functions,
        None => &draft.functions,
    };
    draft.config.functions = functions.iter().map(|name| name.get_ref().clone()).collect();
    draft.config.functions.sort_unstable();
    draft.config.functions.dedup();
    draft.macs = section.read_list(out, "mac", value::station_mac);
    draft.ips = section.read_list(out, "ip", value::host_ip);
    draft.standby = section.read(out, "standby", value::reference);
    draft.config.probe = probe::read(section, &probe::OF_BLADE, SECTIONS, out);
    draft.probe = section.has("probe").then(|| section.span_of("probe"));
    draft.slot = slot.map(|slot| slot.span());
    draft.name = if section.has("name") { draft.name } else { draft.slot.clone() };
    draft.config.role = Role::Blade {
        slot: number,
        macs: draft.macs.iter().map(|mac| *mac.get_ref()).collect(),
        ips: draft.ips.iter().map(|ip| *ip.get_ref()).collect(),
    };
    draft
}

/// What blades and uplinks have in common. `defaults` knows what they are.
fn read_port(
    section: &Section<'_, '_>,
    name: &'static str,
    defaults: PortConfig,
    vlan_is_right: bool,
    out: &mut Findings<'_>,
) -> PortDraft {
    let own_name = section.read(out, "name", value::name);
    let spec = section.read(out, "port", value::port_spec);
    let default_name = defaults.name.clone();
    let Link { config, vlan_is_right, fdb_limit } = read_link(section, defaults, vlan_is_right, out);
    PortDraft {
        section: name,
        slot: None,
        name: match &own_name {
            Some(own_name) => Some(own_name.span()),
            None => (!section.has("name")).then(|| section.span.clone()),
        },
        spec: spec.as_ref().map(Spanned::span),
        macs: Vec::new(),
        ips: Vec::new(),
        standby: None,
        probe: None,
        functions: Vec::new(),
        vlan_is_right,
        config: PortConfig {
            name: own_name.map_or(default_name, Spanned::into_inner),
            spec: spec.map_or(PortSpec::memory(), Spanned::into_inner),
            ..config
        },
        fdb_limit,
    }
}

/// What a section says of a port and its link that a profile may say as well.
pub(super) struct Link {
    pub(super) config: PortConfig,
    /// All about its VLANs was right.
    pub(super) vlan_is_right: bool,
    pub(super) fdb_limit: Option<Spanned<u64>>,
}

/// Reads that. `vlan_is_right` tells whether the VLANs of `defaults` are.
pub(super) fn read_link(section: &Section<'_, '_>, defaults: PortConfig, vlan_is_right: bool, out: &mut Findings<'_>) -> Link {
    let vlan = read_vlan_mode(section, out);
    let says_vlan = ["vlan", "transparent", "trunk", "native"].into_iter().any(|key| section.has(key));
    let fdb_limit = section.read(out, "fdb_limit", value::integer("entries", FDB_LIMIT));
    Link {
        vlan_is_right: if says_vlan { vlan.is_some() } else { vlan_is_right },
        config: PortConfig {
            speed: section.read(out, "speed", value::speed).map_or(defaults.speed, Spanned::into_inner),
            vlan: vlan.filter(|_| says_vlan).unwrap_or(defaults.vlan),
            ingress_filter: flag(section, out, "ingress_filter", defaults.ingress_filter),
            queue: number(section, out, "queue", "frames", 1..=65_536, defaults.queue),
            fdb_limit: fdb_limit.as_ref().map(|limit| *limit.get_ref() as u32).or(defaults.fdb_limit),
            learning: flag(section, out, "learning", defaults.learning),
            flood: flag(section, out, "flood", defaults.flood),
            enabled: flag(section, out, "enabled", defaults.enabled),
            control: section.read(out, "control", value::choice(CONTROL)).map_or(defaults.control, Spanned::into_inner),
            ..defaults
        },
        fdb_limit,
    }
}

/// The VLANs of a port: `vlan`, or `transparent`, or `trunk` with or without `native`; `None` if any of it is wrong.
fn read_vlan_mode(section: &Section<'_, '_>, out: &mut Findings<'_>) -> Option<VlanMode> {
    let access = section.read(out, "vlan", value::vid);
    let transparent = section.read(out, "transparent", value::vid);
    let trunk = section.read_list(out, "trunk", value::vids);
    let native = section.read(out, "native", value::vid);

    let modes: Vec<&str> = ["vlan", "transparent", "trunk"].into_iter().filter(|key| section.has(key)).collect();
    for key in modes.iter().skip(1) {
        let problem = "a port has one of `vlan`, `transparent` and `trunk`: expected `vlan` for one VLAN without tags, `transparent` for \
                       one VLAN with tags as payload, or `trunk` for tagged VLANs, with `native` for the untagged one among them";
        out.value(&section.span_of(key), &section.key(key), problem);
    }
    let (has_trunk, has_native) = (section.has("trunk"), section.has("native"));
    if has_native && !has_trunk {
        let problem = "only a trunk has a native VLAN: expected `trunk` beside it, or `vlan` instead of it";
        out.value(&section.span_of("native"), &section.key("native"), problem);
        return None;
    }
    match modes.as_slice() {
        [] => return Some(VlanMode::Access(Vid::DEFAULT)),
        ["vlan"] => return Some(VlanMode::Access(access?.into_inner())),
        ["transparent"] => return Some(VlanMode::Transparent(transparent?.into_inner())),
        ["trunk"] => {}
        _ => return None,
    }
    // A list with an entry that was refused is shorter than it is in the file.
    if trunk.len() < section.count("trunk") || has_native && native.is_none() {
        return None;
    }
    if trunk.is_empty() {
        out.value(&section.span_of("trunk"), &section.key("trunk"), "expected at least one VLAN, as in `trunk = [10, \"30-40\"]`");
        return None;
    }
    // Who names a native VLAN wants its frames to pass, whether or not the list repeats it.
    let native = native.map(Spanned::into_inner);
    let allowed: VidSet = trunk.into_iter().map(Spanned::into_inner).chain(native.map(|vid| vid..=vid)).collect();
    Some(VlanMode::Trunk { allowed, native })
}

fn read_fdb_entry(section: &Section<'_, '_>, out: &mut Findings<'_>) -> FdbEntryDraft {
    if !section.has("mac") {
        section.missing(out, "mac", "the MAC address of a station, as in `mac = \"02:00:00:00:00:01\"`");
    }
    let port = section.read(out, "port", value::reference);
    let blackhole = section.read(out, "blackhole", value::flag).is_some_and(Spanned::into_inner);
    if blackhole && section.has("port") {
        out.value(
            &section.span_of("blackhole"),
            "fdb_entry.blackhole",
            "a frame cannot be dropped and sent: expected either `port` or `blackhole = true`",
        );
    }
    if !blackhole && !section.has("port") {
        section.missing(out, "port", "the name of a port, as in `port = \"blade1\"`, or `blackhole = true`");
    }
    FdbEntryDraft {
        header: section.span.clone(),
        mac: section.read(out, "mac", value::station_mac),
        vid: vid_or_default(section, out),
        port,
    }
}

fn read_neighbor(section: &Section<'_, '_>, out: &mut Findings<'_>) -> NeighborDraft {
    for (key, expected) in
        [("ip", "an IP address, as in `ip = \"198.18.0.1\"`"), ("mac", "a MAC address, as in `mac = \"02:00:00:00:00:01\"`")]
    {
        if !section.has(key) {
            section.missing(out, key, expected);
        }
    }
    NeighborDraft {
        header: section.span.clone(),
        ip: section.read(out, "ip", value::host_ip),
        mac: section.read(out, "mac", value::station_mac),
        vid: vid_or_default(section, out),
    }
}

/// `vlan`, 1 if it is left out, nothing if it is wrong.
fn vid_or_default(section: &Section<'_, '_>, out: &mut Findings<'_>) -> Option<Spanned<Vid>> {
    match section.has("vlan") {
        true => section.read(out, "vlan", value::vid),
        false => Some(Spanned::new(section.span.clone(), Vid::DEFAULT)),
    }
}

fn flag(section: &Section<'_, '_>, out: &mut Findings<'_>, key: &str, default: bool) -> bool {
    section.read(out, key, value::flag).map_or(default, Spanned::into_inner)
}

/// A number within `range`, which fits into `T`.
fn number<T: TryFrom<u64>>(
    section: &Section<'_, '_>,
    out: &mut Findings<'_>,
    key: &str,
    unit: &str,
    range: std::ops::RangeInclusive<u64>,
    default: T,
) -> T {
    let number = section.read(out, key, value::integer(unit, range));
    number.and_then(|number| T::try_from(number.into_inner()).ok()).unwrap_or(default)
}
