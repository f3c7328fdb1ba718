//! What another configuration would change, and whom that disturbs: the plan of a reload.
//!
//! Both configurations are compared in the shape in which they are written out, key by key: what stands in a file and can be loaded is
//! compared, whatever it is. What is known of a key is in one table, `EFFECTS`; a key that is not there needs a restart, so that a new
//! one is refused while the switch runs until somebody has thought of it, and never overlooked.
//!
//! Ports are compared by their place: blades by slot, uplinks in the order of the file. A port keeps its number while the switch runs, and so
//! the set of ports is that of the start.
//!
//! This is arithmetic on two configurations; what is done about it is the matter of [`Control::reload`](crate::Control::reload).
//! `docs/decisions/reload.md` says why it is so.

use std::collections::{BTreeMap, BTreeSet};

use port::PortId;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use wire::Vid;

use crate::config::{Config, Role};

#[cfg(test)]
mod tests;

/// Whom a change disturbs. Frames that are not named lose nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Disturbs {
    /// Nobody.
    Nothing,
    /// Frames from and to the address that the change is about.
    Address,
    /// Frames from one port to another, if they are more than the rate between the two.
    Pair,
    /// Flows of a function: some go to another blade from now on.
    Flows,
    /// Frames to the switch's own address.
    OwnAddress,
    /// All frames from and to some ports ([`Change::ports`]): their addresses may have to be learned anew.
    Ports,
    /// Everybody: it cannot be changed while the switch runs.
    Restart,
}

/// One thing that is different.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What: a section or the name of what it is about, and a key, such as `fdb.ageing_ms` or `blade1.vlan`.
    pub what: String,
    /// How it is; `None`: it is not there.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub from: Option<Value>,
    /// How it would be; `None`: it would be gone.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub to: Option<Value>,
    /// Whom that disturbs.
    pub disturbs: Disturbs,
    /// The names of the ports that are disturbed, as far as it is certain ones.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub ports: Vec<String>,
}

/// All that would change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// In the order of the sections of the manual; nothing: the configurations are the same.
    pub changes: Vec<Change>,
}

impl Plan {
    /// It cannot be done while the switch runs.
    pub fn needs_restart(&self) -> bool {
        self.changes.iter().any(|change| change.disturbs == Disturbs::Restart)
    }

    /// The changes that cannot be made while the switch runs.
    pub fn restarts(&self) -> impl Iterator<Item = &Change> {
        self.changes.iter().filter(|change| change.disturbs == Disturbs::Restart)
    }
}

/// What a change of a key disturbs, as far as it can be changed while the switch runs; `*` is every key of the section.
const EFFECTS: &[(&str, &str, Disturbs)] = &[
    ("switch", "name", Disturbs::Nothing),
    ("fdb", "ageing_ms", Disturbs::Nothing),
    ("fdb", "limit_per_vlan", Disturbs::Nothing),
    ("fdb", "limit_per_port", Disturbs::Nothing),
    ("fdb", "move_events_per_s", Disturbs::Nothing),
    ("lanes", "message", Disturbs::OwnAddress),
    ("lanes", "ip", Disturbs::OwnAddress),
    ("lanes", "notice", Disturbs::Nothing),
    ("lanes", "notices_per_s", Disturbs::Nothing),
    ("identity", "advertise", Disturbs::Nothing),
    ("identity", "answer_arp", Disturbs::Nothing),
    ("identity", "answer_nd", Disturbs::Nothing),
    ("identity", "learn", Disturbs::Nothing),
    ("identity", "limit", Disturbs::Nothing),
    ("identity", "ageing_ms", Disturbs::Nothing),
    ("agents", "hello_ms", Disturbs::Nothing),
    ("agents", "retry_ms", Disturbs::Nothing),
    ("agents", "retries", Disturbs::Nothing),
    ("agents", "finish_ms", Disturbs::Nothing),
    ("vlan", "vid", Disturbs::Nothing),
    ("vlan", "name", Disturbs::Nothing),
    ("blade", "name", Disturbs::Nothing),
    ("blade", "mac", Disturbs::Address),
    ("blade", "ip", Disturbs::Address),
    ("blade", "standby", Disturbs::Address),
    ("blade", "probe", Disturbs::Nothing),
    ("blade", "functions", Disturbs::Flows),
    ("blade", "speed", Disturbs::Nothing),
    ("blade", "vlan", Disturbs::Ports),
    ("blade", "transparent", Disturbs::Ports),
    ("blade", "trunk", Disturbs::Ports),
    ("blade", "native", Disturbs::Ports),
    ("blade", "ingress_filter", Disturbs::Ports),
    ("blade", "fdb_limit", Disturbs::Nothing),
    ("blade", "learning", Disturbs::Ports),
    ("blade", "flood", Disturbs::Ports),
    ("blade", "enabled", Disturbs::Ports),
    ("blade", "control", Disturbs::Nothing),
    ("uplink", "name", Disturbs::Nothing),
    ("uplink", "speed", Disturbs::Nothing),
    ("uplink", "vlan", Disturbs::Ports),
    ("uplink", "transparent", Disturbs::Ports),
    ("uplink", "trunk", Disturbs::Ports),
    ("uplink", "native", Disturbs::Ports),
    ("uplink", "ingress_filter", Disturbs::Ports),
    ("uplink", "fdb_limit", Disturbs::Nothing),
    ("uplink", "learning", Disturbs::Ports),
    ("uplink", "flood", Disturbs::Ports),
    ("uplink", "enabled", Disturbs::Ports),
    ("uplink", "control", Disturbs::Nothing),
    ("function", "name", Disturbs::Flows),
    ("function", "blades", Disturbs::Flows),
    ("function", "standby", Disturbs::Flows),
    ("function", "preempt", Disturbs::Flows),
    ("function", "drain", Disturbs::Flows),
    ("function", "ip", Disturbs::Flows),
    ("function", "vlan", Disturbs::Flows),
    ("function", "affinity", Disturbs::Flows),
    ("function", "idle_s", Disturbs::Flows),
    ("function", "readdress", Disturbs::Flows),
    ("function", "health", Disturbs::Flows),
    ("function", "probe", Disturbs::Flows),
    ("function", "otherwise", Disturbs::Flows),
    ("function", "across", Disturbs::Flows),
    ("function", "weights", Disturbs::Flows),
    ("rate", "*", Disturbs::Pair),
    ("steer", "*", Disturbs::Flows),
    ("fdb_entry", "*", Disturbs::Address),
    ("neighbor", "*", Disturbs::Address),
];

fn effect(section: &str, key: &str) -> Disturbs {
    let known = EFFECTS.iter().find(|(of, name, _)| *of == section && (*name == key || *name == "*"));
    known.map_or(Disturbs::Restart, |(_, _, disturbs)| *disturbs)
}

/// What it disturbs that a table comes or goes: as much as if all its keys did. A port has keys that cannot be changed, and so cannot come or go.
fn presence(section: &str, table: &Value) -> Disturbs {
    let keys = table.as_object().into_iter().flatten();
    keys.map(|(key, _)| effect(section, key)).max().unwrap_or(Disturbs::Restart)
}

/// All that is different in `after`.
pub fn plan(before: &Config, after: &Config) -> Plan {
    if before == after {
        return Plan::default();
    }
    let (old, new) = (written(before), written(after));
    let mut changes = Vec::new();
    for section in sections(&old, &new) {
        match (old.get(section), new.get(section)) {
            (Some(Value::Array(old)), Some(Value::Array(new))) => repeated(section, old, new, &mut changes),
            (Some(Value::Object(old)), Some(Value::Object(new))) => keys(section, section, old, new, &mut changes),
            (Some(table), None) | (None, Some(table)) => {
                let disturbs = presence(section, table);
                push(&mut changes, section.to_owned(), old.get(section), new.get(section), disturbs);
            }
            (old, new) if old != new => push(&mut changes, section.to_owned(), old, new, Disturbs::Restart),
            _ => {}
        }
    }
    // A VLAN that goes takes frames from ports that do not filter.
    let unfiltered: Vec<String> = after.ports.iter().filter(|port| !port.ingress_filter).map(|port| port.name.clone()).collect();
    for change in changes.iter_mut().filter(|change| change.to.is_none() && change.what.starts_with("vlan ") && !unfiltered.is_empty()) {
        (change.disturbs, change.ports) = (Disturbs::Ports, unfiltered.clone());
    }
    if changes.is_empty() {
        push(&mut changes, "configuration".to_owned(), None, None, Disturbs::Restart);
    }
    Plan { changes }
}

/// A configuration as it is written out.
fn written(config: &Config) -> Map<String, Value> {
    match serde_json::to_value(config) {
        Ok(Value::Object(map)) => map,
        // Only a path that is not UTF-8, of a program: it then differs from everything, in what cannot be shown.
        _ => Map::new(),
    }
}

/// The sections, in the order of the manual; those it does not know come last.
fn sections<'a>(old: &'a Map<String, Value>, new: &'a Map<String, Value>) -> Vec<&'a str> {
    const ORDER: [&str; 8] = ["switch", "fdb", "lanes", "identity", "agents", "vlan", "blade", "uplink"];
    let names: BTreeSet<&str> = old.keys().chain(new.keys()).map(String::as_str).collect();
    let mut names: Vec<&str> = names.into_iter().collect();
    names.sort_by_key(|name| ORDER.iter().position(|known| known == name).unwrap_or(ORDER.len()));
    names
}

fn push(changes: &mut Vec<Change>, what: String, from: Option<&Value>, to: Option<&Value>, disturbs: Disturbs) {
    changes.push(Change { what, from: from.cloned(), to: to.cloned(), disturbs, ports: Vec::new() });
}

/// The keys of one table; `name` is what people call it.
fn keys(section: &str, name: &str, old: &Map<String, Value>, new: &Map<String, Value>, changes: &mut Vec<Change>) {
    let all: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for key in all {
        let (from, to) = (old.get(key), new.get(key));
        if from != to {
            let disturbs = effect(section, key);
            let ports = if disturbs == Disturbs::Ports { vec![name.to_owned()] } else { Vec::new() };
            changes.push(Change { what: format!("{name}.{key}"), from: from.cloned(), to: to.cloned(), disturbs, ports });
        }
    }
}

/// The tables of a repeated section: those of the same identity are compared, the others come or go.
fn repeated(section: &str, old: &[Value], new: &[Value], changes: &mut Vec<Change>) {
    let ids = |items: &[Value]| -> Vec<String> { items.iter().enumerate().map(|(place, item)| identity(section, place, item)).collect() };
    let (old_ids, new_ids) = (ids(old), ids(new));
    let place: BTreeMap<&String, usize> = new_ids.iter().enumerate().map(|(place, id)| (id, place)).collect();
    for (id, old) in old_ids.iter().zip(old) {
        match (place.get(id).map(|&place| &new[place]), old) {
            (Some(Value::Object(new)), Value::Object(old)) => keys(section, &title(section, id, old), old, new, changes),
            (Some(new), old) if new != old => push(changes, format!("{section} {id}"), Some(old), Some(new), Disturbs::Restart),
            (Some(_), _) => {}
            (None, _) => push(changes, title_of(section, id, old), Some(old), None, presence(section, old)),
        }
    }
    let known: BTreeSet<&String> = old_ids.iter().collect();
    for (id, new) in new_ids.iter().zip(new).filter(|(id, _)| !known.contains(id)) {
        push(changes, title_of(section, id, new), None, Some(new), presence(section, new));
    }
    let common = |ids: &[String], other: &[String]| -> Vec<String> {
        let other: BTreeSet<&String> = other.iter().collect();
        ids.iter().filter(|id| other.contains(id)).cloned().collect()
    };
    let (from, to) = (common(&old_ids, &new_ids), common(&new_ids, &old_ids));
    if from != to {
        let disturbs = match section {
            "steer" => Disturbs::Flows, // Of rules the first that matches decides.
            "vlan" | "function" | "fdb_entry" | "neighbor" => Disturbs::Nothing,
            _ => Disturbs::Restart,
        };
        push(changes, format!("order of [[{section}]]"), Some(&from.into()), Some(&to.into()), disturbs);
    }
}

/// What makes a table of a repeated section the same one.
fn identity(section: &str, place: usize, item: &Value) -> String {
    let text = |key: &str| match item.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => String::new(),
    };
    match section {
        "blade" => text("slot"),
        "vlan" => text("vid"),
        "uplink" => (place + 1).to_string(),
        "fdb_entry" => format!("{} in VLAN {}", text("mac"), text("vlan")),
        "neighbor" => format!("{} in VLAN {}", text("ip"), text("vlan")),
        _ if item.get("name").is_some() => text("name"),
        _ => (place + 1).to_string(),
    }
}

/// What people call a table: ports by their names.
fn title(section: &str, id: &str, item: &Map<String, Value>) -> String {
    match (section, item.get("name").and_then(Value::as_str)) {
        ("blade" | "uplink", Some(name)) => name.to_owned(),
        _ => format!("{section} {id}"),
    }
}

fn title_of(section: &str, id: &str, item: &Value) -> String {
    item.as_object().map_or_else(|| format!("{section} {id}"), |item| title(section, id, item))
}

/// Learned addresses that a reload makes wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stale {
    /// All that were learned behind these ports.
    pub ports: Vec<PortId>,
    /// All that were learned in these VLANs.
    pub vlans: Vec<Vid>,
    /// Of the ports, those that are out of service now: nobody is behind them.
    pub pulled: Vec<PortId>,
}

/// Addresses learned where a port carries their VLAN no longer, or learns no longer, or is out of service. Both configurations have the
/// same ports.
pub(crate) fn stale(before: &Config, after: &Config) -> Stale {
    let kept: BTreeSet<Vid> = after.vlans.iter().map(|vlan| vlan.vid).collect();
    let vlans: Vec<Vid> = before.vlans.iter().map(|vlan| vlan.vid).filter(|vid| !kept.contains(vid)).collect();
    let mut stale = Stale { vlans, ..Stale::default() };
    for (index, (old, new)) in before.ports.iter().zip(&after.ports).enumerate() {
        let Ok(port) = u8::try_from(index).map(PortId) else { continue };
        // What goes with its VLAN goes anyway.
        let lost = old.vlan != new.vlan && old.vlan.vids().iter().any(|vid| kept.contains(&vid) && !new.vlan.contains(vid));
        let pulled = old.enabled && !new.enabled;
        if lost || pulled || (old.learning && !new.learning) {
            stale.ports.push(port);
        }
        if pulled {
            stale.pulled.push(port);
        }
    }
    stale
}

/// Are the ports the same, each at its place?
pub(crate) fn same_ports(before: &Config, after: &Config) -> bool {
    let place = |role: &Role| match role {
        Role::Blade { slot, .. } => Some(*slot),
        Role::Uplink => None,
    };
    before.ports.iter().map(|port| place(&port.role)).eq(after.ports.iter().map(|port| place(&port.role)))
}
