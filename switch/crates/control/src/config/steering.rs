//! `[[function]]` and `[[steer]]`: what blades are for, and which frames go there.
//!
//! Both can be changed while the switch runs, so that they can be read by themselves as well ([`parse`]): from a text that has
//! no other sections, checked against the ports that there are.

use std::collections::HashMap;
use std::net::IpAddr;

use dataplane::steer::look::Conditions;
use dataplane::steer::{Affinity, MEMBERS_MAX, RULES_MAX};
use port::PortId;
use serde::Serialize;
use toml::Spanned;
use toml::de::DeTable;
use wire::Vid;
use wire::ip::Protocol;

use super::error::{ConfigErrors, Findings, Span, suggestion};
use super::model::{Config, PortConfig, Role};
use super::probe::{self, ProbeConfig};
use super::section::{Schemas, Section, SectionSchema, refuse_unknown_sections, repeated};
use super::{conditions, value};

/// The keys of `[[function]]`.
pub(super) const FUNCTION: SectionSchema = SectionSchema {
    name: "function",
    repeated: true,
    keys: &[
        "name",
        "blades",
        "standby",
        "preempt",
        "weights",
        "drain",
        "ip",
        "vlan",
        "affinity",
        "idle_s",
        "readdress",
        "health",
        "probe",
        "otherwise",
        "across",
    ],
};

/// The keys of `[[steer]]`.
pub(super) const STEER: SectionSchema = SectionSchema {
    name: "steer",
    repeated: true,
    keys: &[
        "name",
        "function",
        "in",
        "ethertype",
        "vlan",
        "src_mac",
        "dst_mac",
        "src",
        "dst",
        "protocol",
        "src_port",
        "dst_port",
        "dscp",
        "tcp_flags",
        "message_type",
        "payload",
    ],
};

const SECTIONS: Schemas = &[&FUNCTION, &STEER];

/// Functions at most.
pub const FUNCTIONS_MAX: usize = 64;
/// The greatest weight of a blade.
pub const WEIGHT_MAX: u32 = 64;

/// What some blades are for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionConfig {
    /// What operators and blades call it.
    pub name: String,
    /// The ports of its blades; `None`: those of blades that announce it in their hellos.
    pub blades: Option<Vec<PortId>>,
    /// Blades that take the place of one of `blades` that takes no new flows, in this order. None of them is in `blades`.
    pub standby: Vec<PortId>,
    /// Flows leave a standby blade as soon as it is not needed any more; otherwise those that live stay.
    pub preempt: bool,
    /// Blades whose part of new flows is another than 1, 1 to [`WEIGHT_MAX`].
    pub weights: Vec<(PortId, u32)>,
    /// Blades that keep the flows they have and take no new ones.
    pub drain: Vec<PortId>,
    /// Addresses of the function: the switch answers ARP and neighbour solicitations for them with its own.
    pub ips: Vec<IpAddr>,
    /// The VLAN of these.
    pub vid: Vid,
    /// What stays on one blade.
    pub affinity: Affinity,
    /// After how many seconds of silence a flow is over.
    pub idle_s: u32,
    /// The blade's address becomes the destination of its frames.
    pub readdress: bool,
    /// When a blade is well.
    pub health: Health,
    /// How its blades are asked whether they are well.
    pub probe: Option<ProbeConfig>,
    /// What becomes of frames that no blade takes.
    pub otherwise: Otherwise,
    /// Whether blades of other chassis take its flows.
    pub across: Across,
}

/// Whether blades of other chassis take the flows of a function that come in here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Across {
    /// They do not.
    No,
    /// They take new ones while no blade of this chassis does.
    #[default]
    LocalFirst,
    /// They take their part of new ones as those of this chassis do.
    Anywhere,
}

/// When a blade can take frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Its link is up, and it has not fallen silent after it said hello.
    #[default]
    Link,
    /// Its link is up and it says hello.
    Hello,
}

/// What becomes of frames that no blade takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Otherwise {
    /// They are dropped, as `no-blade`.
    #[default]
    Drop,
    /// They go on as if there were no rule.
    Pass,
}

/// Frames like this are for this function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SteerConfig {
    /// What operators call the rule.
    pub name: String,
    /// Name of the function.
    pub function: String,
    /// The characteristics.
    pub conditions: Conditions,
}

impl FunctionConfig {
    /// A function with all defaults.
    pub fn new(name: &str, blades: Option<Vec<PortId>>) -> FunctionConfig {
        FunctionConfig {
            name: name.to_owned(),
            blades,
            standby: Vec::new(),
            preempt: false,
            weights: Vec::new(),
            drain: Vec::new(),
            ips: Vec::new(),
            vid: Vid::DEFAULT,
            affinity: Affinity::default(),
            idle_s: 300,
            readdress: true,
            health: Health::default(),
            probe: None,
            otherwise: Otherwise::default(),
            across: Across::default(),
        }
    }

    /// The weight of a blade.
    pub fn weight(&self, port: PortId) -> u32 {
        self.weights.iter().find(|(own, _)| *own == port).map_or(1, |(_, weight)| *weight)
    }
}

/// What stands in the file of a function.
pub(super) struct FunctionDraft {
    header: Span,
    name: Option<Spanned<String>>,
    blades: Option<Vec<Spanned<String>>>,
    standby: Vec<Spanned<String>>,
    weights: Option<Spanned<Vec<(String, u64)>>>,
    drain: Vec<Spanned<String>>,
    ips: Vec<Spanned<IpAddr>>,
    vid: Option<Spanned<Vid>>,
    probe: Option<Span>,
    /// Where `across` stands.
    across: Option<Span>,
    config: FunctionConfig,
}

impl FunctionDraft {
    /// Its name, if it has one.
    pub(super) fn name(&self) -> Option<&str> {
        self.name.as_ref().map(|name| name.get_ref().as_str())
    }

    /// Does this bay have the function, whichever blade is in it?
    fn is_of_bay(&self, port: &PortConfig) -> bool {
        self.name().is_some_and(|name| port.functions.iter().any(|function| function == name))
    }
}

/// What stands in the file of a rule.
pub(super) struct SteerDraft {
    header: Span,
    name: Option<Spanned<String>>,
    default_name: String,
    function: Option<Spanned<String>>,
    ingress: Option<Vec<Spanned<String>>>,
    conditions: Conditions,
    /// Places of conditions that need others.
    ports: Option<Span>,
    tcp_flags: Option<Span>,
}

/// Both sections of a file.
#[derive(Default)]
pub(super) struct SteeringDraft {
    pub(super) functions: Vec<FunctionDraft>,
    pub(super) rules: Vec<SteerDraft>,
}

/// Reads both.
pub(super) fn read(root: &DeTable<'_>, schemas: Schemas, out: &mut Findings<'_>) -> SteeringDraft {
    SteeringDraft {
        functions: repeated(root, &FUNCTION, schemas, out).iter().map(|section| read_function(section, schemas, out)).collect(),
        rules: repeated(root, &STEER, schemas, out).iter().zip(1..).map(|(section, number)| read_steer(section, number, out)).collect(),
    }
}

fn read_function(section: &Section<'_, '_>, schemas: Schemas, out: &mut Findings<'_>) -> FunctionDraft {
    if !section.has("name") {
        section.missing(out, "name", "what the function is called, as in `name = \"web\"`");
    }
    const AFFINITY: &[(&str, Affinity)] = &[("flow", Affinity::Flow), ("source", Affinity::Source)];
    const HEALTH: &[(&str, Health)] = &[("link", Health::Link), ("hello", Health::Hello)];
    const ACROSS: &[(&str, Across)] = &[("no", Across::No), ("local-first", Across::LocalFirst), ("anywhere", Across::Anywhere)];
    const OTHERWISE: &[(&str, Otherwise)] = &[("drop", Otherwise::Drop), ("pass", Otherwise::Pass)];
    let name = section.read(out, "name", value::name);
    let defaults = FunctionConfig::new(name.as_ref().map_or("", |name| name.get_ref()), None);
    FunctionDraft {
        header: section.span.clone(),
        blades: section.has("blades").then(|| section.read_list(out, "blades", value::reference)),
        standby: section.read_list(out, "standby", value::reference),
        weights: section.read(out, "weights", value::named(value::integer("", 1..=u64::from(WEIGHT_MAX)))),
        drain: section.read_list(out, "drain", value::reference),
        ips: section.read_list(out, "ip", value::host_ip),
        vid: section.read(out, "vlan", value::vid),
        probe: section.has("probe").then(|| section.span_of("probe")),
        config: FunctionConfig {
            probe: probe::read(section, &probe::OF_FUNCTION, schemas, out),
            affinity: section.read(out, "affinity", value::choice(AFFINITY)).map_or(defaults.affinity, Spanned::into_inner),
            idle_s: section
                .read(out, "idle_s", value::integer("seconds", 1..=86_400))
                .map_or(defaults.idle_s, |seconds| seconds.into_inner() as u32),
            preempt: section.read(out, "preempt", value::flag).map_or(defaults.preempt, Spanned::into_inner),
            readdress: section.read(out, "readdress", value::flag).map_or(defaults.readdress, Spanned::into_inner),
            health: section.read(out, "health", value::choice(HEALTH)).map_or(defaults.health, Spanned::into_inner),
            otherwise: section.read(out, "otherwise", value::choice(OTHERWISE)).map_or(defaults.otherwise, Spanned::into_inner),
            across: section.read(out, "across", value::choice(ACROSS)).map_or(defaults.across, Spanned::into_inner),
            ..defaults
        },
        across: section.has("across").then(|| section.span_of("across")),
        name,
    }
}

fn read_steer(section: &Section<'_, '_>, number: usize, out: &mut Findings<'_>) -> SteerDraft {
    if !section.has("function") {
        section.missing(out, "function", "the name of a [[function]], as in `function = \"web\"`");
    }
    let place = |key: &str| section.has(key).then(|| section.span_of(key));
    SteerDraft {
        header: section.span.clone(),
        name: section.read(out, "name", value::name),
        default_name: format!("rule{number}"),
        function: section.read(out, "function", value::reference),
        ingress: section.has("in").then(|| section.read_list(out, "in", value::reference)),
        conditions: conditions::read(section, out),
        ports: place("dst_port").or_else(|| place("src_port")),
        tcp_flags: place("tcp_flags"),
    }
}

/// Do they agree with the ports and with each other?
pub(super) fn check(draft: &SteeringDraft, ports: &[&PortConfig], out: &mut Findings<'_>) {
    let is_blade = |port: &PortConfig| matches!(port.role, Role::Blade { .. });
    let blades: Vec<&str> = ports.iter().filter(|port| is_blade(port)).map(|port| port.name.as_str()).collect();
    let not_a_blade = |name: &str| {
        let likely = suggestion(name, blades.iter().copied());
        format!("no blade has this name{likely}: expected names of [[blade]]s")
    };
    let mut names: HashMap<&str, Span> = HashMap::new();
    let mut addresses: HashMap<(Vid, IpAddr), Span> = HashMap::new();
    let mut members = 0;
    for (index, function) in draft.functions.iter().enumerate() {
        members += function.blades.as_ref().map_or(blades.len(), Vec::len) + function.standby.len();
        if index == FUNCTIONS_MAX || members > MEMBERS_MAX {
            let message = format!("[[function]] is one too many: expected at most {FUNCTIONS_MAX}, with {MEMBERS_MAX} blades in all");
            out.at(&function.header, "function", message);
            break;
        }
        if let Some(name) = &function.name
            && let Some(first) = names.insert(name.get_ref(), name.span())
        {
            out.twice(&name.span(), "function.name", &first, "expected a name of its own for each function");
        }
        let mut seen: HashMap<&str, Span> = HashMap::new();
        let active = function.blades.iter().flatten().map(|blade| ("function.blades", blade));
        for (key, blade) in active.chain(function.standby.iter().map(|blade| ("function.standby", blade))) {
            if !blades.contains(&blade.get_ref().as_str()) {
                out.value(&blade.span(), key, not_a_blade(blade.get_ref()));
            } else if let Some(first) = seen.insert(blade.get_ref(), blade.span()) {
                out.twice(&blade.span(), key, &first, "expected each blade once, in `blades` or in `standby`");
            }
        }
        let bays: Vec<&str> = ports.iter().filter(|port| function.is_of_bay(port)).map(|port| port.name.as_str()).collect();
        for blade in function.standby.iter().filter(|blade| bays.contains(&blade.get_ref().as_str())) {
            let problem = "its bay has the function: expected a blade that is not active already";
            out.value(&blade.span(), "function.standby", problem);
        }
        if let Some(standby) = function.standby.first().filter(|_| function.blades.is_none() && bays.is_empty()) {
            let problem = "stands by for nobody in particular: expected the active ones in `blades`";
            out.value(&standby.span(), "function.standby", problem);
        }
        if let Some(across) = function.across.as_ref().filter(|_| !function.config.readdress && function.config.across != Across::No) {
            let message = "function.across: with readdress = false frames keep their destination and find no way to another chassis: \
                           expected \"no\", or readdress = true";
            out.at(across, "function.across", message);
        }
        if function.blades.as_ref().is_some_and(Vec::is_empty) {
            let message = "function.blades: expected at least one blade, or no `blades` for all that announce the function";
            out.at(&function.header, "function.blades", message);
        }
        let has = |name: &str| match &function.blades {
            Some(own) => own.iter().any(|blade| blade.get_ref() == name) || bays.contains(&name),
            None if !bays.is_empty() => bays.contains(&name),
            None => blades.contains(&name),
        };
        let stands_by = |name: &str| function.standby.iter().any(|blade| blade.get_ref() == name);
        for blade in function.drain.iter().filter(|blade| !has(blade.get_ref()) && !stands_by(blade.get_ref())) {
            out.value(&blade.span(), "function.drain", "is none of the function's blades: expected names from `blades` or `standby`");
        }
        if let Some(weights) = &function.weights {
            for (name, _) in weights.get_ref().iter().filter(|(name, _)| !has(name)) {
                let message = format!("function.weights: {name} is none of the function's blades: expected names from `blades`");
                out.at(&weights.span(), "function.weights", message);
            }
        }
        let vid = function.vid.as_ref().map_or(Vid::DEFAULT, |vid| *vid.get_ref());
        if let Some(vid) = function.vid.as_ref().filter(|vid| !ports.iter().any(|port| port.vlan.contains(*vid.get_ref()))) {
            out.value(&vid.span(), "function.vlan", "no port carries this VLAN: expected that of the function's addresses");
        }
        for ip in &function.ips {
            if let Some(first) = addresses.insert((vid, *ip.get_ref()), ip.span()) {
                out.twice(&ip.span(), "function.ip", &first, "expected each address once in a VLAN");
            }
            let owned = |port: &&&PortConfig| matches!(&port.role, Role::Blade { ips, .. } if ips.contains(ip.get_ref()));
            if let Some(blade) = ports.iter().find(owned) {
                let problem = format!("is the address of {}: expected one that belongs to the function alone", blade.name);
                out.value(&ip.span(), "function.ip", problem);
            }
        }
    }
    check_rules(draft, ports, out);
}

/// Answers to ARP probes are heard where neighbours are learned from.
pub(super) fn check_probes(draft: &SteeringDraft, learn: bool, out: &mut Findings<'_>) {
    for function in &draft.functions {
        probe::check_learn("function.probe", function.config.probe.as_ref(), function.probe.as_ref(), learn, out);
    }
}

fn check_rules(draft: &SteeringDraft, ports: &[&PortConfig], out: &mut Findings<'_>) {
    let functions: Vec<&str> =
        draft.functions.iter().filter_map(|function| function.name.as_ref()).map(|name| name.get_ref().as_str()).collect();
    let mut names: HashMap<&str, Span> = HashMap::new();
    for (index, rule) in draft.rules.iter().enumerate() {
        if index == RULES_MAX {
            out.at(&rule.header, "steer", format!("[[steer]] is one too many: expected at most {RULES_MAX}"));
            break;
        }
        let place = rule.name.as_ref().map_or(rule.header.clone(), Spanned::span);
        let name = rule.name.as_ref().map_or(rule.default_name.as_str(), |name| name.get_ref());
        if let Some(first) = names.insert(name, place.clone()) {
            let line = out.line(&first);
            out.at(&place, "steer.name", format!("steer.name = \"{name}\" is used twice: first at line {line}; expected another"));
        }
        if let Some(function) = rule.function.as_ref().filter(|function| !functions.contains(&function.get_ref().as_str())) {
            let likely = suggestion(function.get_ref(), functions.iter().copied());
            out.value(&function.span(), "steer.function", format!("no [[function]] has this name{likely}: expected the name of one"));
        }
        for name in rule.ingress.iter().flatten() {
            if !ports.iter().any(|port| port.name == *name.get_ref()) {
                let likely = suggestion(name.get_ref(), ports.iter().map(|port| port.name.as_str()));
                out.value(&name.span(), "steer.in", format!("no port has this name{likely}: expected names of blades or uplinks"));
            }
        }
        if rule.ingress.as_ref().is_some_and(Vec::is_empty) {
            out.at(&rule.header, "steer.in", "steer.in: expected at least one port, or no `in` for all uplinks");
        }
        let protocol = rule.conditions.protocol;
        let has_ports = [Protocol::TCP, Protocol::UDP, Protocol::SCTP];
        if let Some(span) = rule.ports.as_ref().filter(|_| protocol.is_some_and(|protocol| !has_ports.contains(&protocol))) {
            out.at(
                span,
                "steer.dst_port",
                "steer: a protocol without ports never matches: expected protocol = \"tcp\", \"udp\" or \"sctp\"",
            );
        }
        if let Some(span) = rule.tcp_flags.as_ref().filter(|_| protocol.is_some_and(|protocol| protocol != Protocol::TCP)) {
            out.at(span, "steer.tcp_flags", "steer.tcp_flags: another protocol never matches: expected protocol = \"tcp\", or none");
        }
    }
}

/// A draft in which nothing is wrong, with these ports.
pub(super) fn resolve(draft: SteeringDraft, ports: &[PortConfig]) -> (Vec<FunctionConfig>, Vec<SteerConfig>) {
    let port_of = |name: &str| ports.iter().position(|port| port.name == name).and_then(|index| u8::try_from(index).ok()).map(PortId);
    let listed = |names: &[Spanned<String>]| -> Vec<PortId> {
        let mut ports: Vec<PortId> = names.iter().filter_map(|name| port_of(name.get_ref())).collect();
        ports.sort_unstable();
        ports
    };
    let functions = draft.functions.into_iter().map(|function| {
        let weights = function.weights.as_ref().map(|weights| weights.get_ref().clone()).unwrap_or_default();
        let mut weights: Vec<(PortId, u32)> =
            weights.iter().filter_map(|(name, weight)| Some((port_of(name)?, *weight as u32))).filter(|(_, weight)| *weight != 1).collect();
        weights.sort_unstable();
        let of_bays = ports.iter().zip(0u8..).filter(|(port, _)| function.is_of_bay(port)).map(|(_, index)| PortId(index));
        let of_bays: Vec<PortId> = of_bays.collect();
        let named = function.blades.as_deref().map(listed).or_else(|| (!of_bays.is_empty()).then(Vec::new));
        FunctionConfig {
            blades: named.map(|mut blades| {
                blades.extend(of_bays);
                blades.sort_unstable();
                blades.dedup();
                blades
            }),
            // In the order of the file: that is the order in which they are called.
            standby: function.standby.iter().filter_map(|name| port_of(name.get_ref())).collect(),
            weights,
            drain: listed(&function.drain),
            ips: function.ips.into_iter().map(Spanned::into_inner).collect(),
            vid: function.vid.map_or(Vid::DEFAULT, Spanned::into_inner),
            ..function.config
        }
    });
    let uplinks = || ports.iter().enumerate().filter(|(_, port)| port.role == Role::Uplink).map(|(index, _)| index);
    let all = if uplinks().next().is_some() { mask(uplinks()) } else { mask(0..ports.len()) };
    let rules = draft.rules.into_iter().map(|rule| SteerConfig {
        name: rule.name.map_or(rule.default_name, Spanned::into_inner),
        function: rule.function.map(Spanned::into_inner).unwrap_or_default(),
        conditions: Conditions {
            ingress: rule.ingress.map_or(all, |names| mask(listed(&names).into_iter().map(PortId::index))),
            ..rule.conditions
        },
    });
    (functions.collect(), rules.collect())
}

fn mask(ports: impl Iterator<Item = usize>) -> u128 {
    ports.fold(0, |mask, port| mask | 1 << port)
}

/// Functions and rules from a text that has no other sections, for the ports of `config`. `name` is what errors call the text.
///
/// # Errors
/// Everything that is wrong, in the order of the text.
pub fn parse(text: &str, name: &str, config: &Config) -> Result<(Vec<FunctionConfig>, Vec<SteerConfig>), ConfigErrors> {
    let mut out = Findings::new(name, text);
    let (root, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let span = error.span().unwrap_or(0..0);
        let line = out.line_text(&span);
        out.at(&span, "", format!("{}: {line}", error.message()));
    }
    if out.is_empty() {
        refuse_unknown_sections(root.get_ref(), SECTIONS, &mut out);
        let draft = read(root.get_ref(), SECTIONS, &mut out);
        let ports: Vec<&PortConfig> = config.ports.iter().collect();
        check(&draft, &ports, &mut out);
        check_probes(&draft, config.identity.learn, &mut out);
        let named = |name: &String| draft.functions.iter().any(|function| function.name() == Some(name));
        let of_bays = config.ports.iter().flat_map(|port| port.functions.iter().map(move |name| (port, name)));
        for (port, name) in of_bays.filter(|(_, name)| !named(name)) {
            out.whole("function", format!("the bay of {} has the function `{name}`: expected a [[function]] of this name", port.name));
        }
        if out.is_empty() {
            return Ok(resolve(draft, &config.ports));
        }
    }
    Err(out.into_errors())
}

/// A function in the shape of its section.
#[derive(Serialize)]
pub(super) struct FunctionTable {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    blades: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    standby: Vec<String>,
    preempt: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    drain: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ip: Vec<IpAddr>,
    vlan: Vid,
    affinity: Affinity,
    idle_s: u32,
    readdress: bool,
    health: Health,
    otherwise: Otherwise,
    #[serde(skip_serializing_if = "Option::is_none")]
    across: Option<Across>,
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    weights: std::collections::BTreeMap<String, u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    probe: Option<ProbeConfig>,
}

/// As it is written out.
pub(super) fn function_table(config: &Config, function: &FunctionConfig) -> FunctionTable {
    let name = |port: &PortId| config.port(*port).map_or_else(|| port.to_string(), |port| port.name.clone());
    FunctionTable {
        name: function.name.clone(),
        blades: function.blades.as_ref().map(|blades| blades.iter().map(name).collect()),
        standby: function.standby.iter().map(name).collect(),
        preempt: function.preempt,
        drain: function.drain.iter().map(name).collect(),
        ip: function.ips.clone(),
        vlan: function.vid,
        affinity: function.affinity,
        idle_s: function.idle_s,
        readdress: function.readdress,
        health: function.health,
        probe: function.probe.clone(),
        otherwise: function.otherwise,
        // The one that means nothing where frames are not readdressed.
        across: Some(function.across).filter(|across| function.readdress || *across == Across::No),
        weights: function.weights.iter().map(|(port, weight)| (name(port), *weight)).collect(),
    }
}
