//! Do the values of a configuration agree with each other?
//!
//! Runs after every value was read for itself. A value that was wrong there takes no part here, so that one mistake is
//! reported once. Then the draft becomes the configuration.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;

use toml::Spanned;
use wire::{MacAddr, Vid};

use super::error::{Findings, Span, suggestion};
use super::joined;
use super::model::{Config, FdbEntryConfig, FdbTarget, NeighborConfig, Role, VlanConfig};
use super::schema::{Draft, PortDraft};
use super::steering;
use super::vids::VidSet;
use super::{backplane, bays, profile, rates};

/// Most names an error lists.
const LISTED_MAX: usize = 16;

/// Notes every disagreement.
pub(super) fn check(draft: &Draft, out: &mut Findings<'_>) {
    check_cores(draft, out);
    check_limits(draft, out);
    check_vlan_names(draft, out);
    check_slots_and_names(draft, out);
    check_specs(draft, out);
    check_addresses(draft, out);
    let ports: Vec<_> = draft.ports.iter().map(|port| &port.config).collect();
    backplane::check(&draft.backplanes, &ports, draft.config.switch.max_frame, out);
    joined::check(draft.joined.as_ref(), &ports, out);
    rates::check(&draft.rates, &ports, draft.config.switch.max_frame, out);
    steering::check(&draft.steering, &ports, out);
    steering::check_probes(&draft.steering, draft.config.identity.learn, out);
    bays::check(draft, out);
    profile::check(draft, out);
    let vlans = Vlans::of(draft);
    check_fdb_entries(draft, &vlans, out);
    check_neighbors(draft, &vlans, out);
}

/// The configuration of a draft in which nothing is wrong.
pub(super) fn resolve(draft: Draft) -> Config {
    let mut names: HashMap<Vid, String> = HashMap::new();
    let known = Vlans::of(&draft).known;
    for vlan in draft.vlans {
        if let (Some(vid), Some(name)) = (vlan.vid, vlan.name) {
            names.insert(vid.into_inner(), name.into_inner());
        }
    }
    let vlans = known.iter().map(|vid| names.remove(&vid).map_or(VlanConfig::unnamed(vid), |name| VlanConfig { vid, name })).collect();
    let standby_of = |port: &PortDraft| Some((port.config.name.clone(), port.standby.as_ref()?.get_ref().clone()));
    let standbys: Vec<(String, String)> = draft.ports.iter().filter_map(standby_of).collect();
    let mut ports: Vec<_> = draft.ports.into_iter().map(|port| port.config).collect();
    ports.sort_by_key(|port| match port.role {
        Role::Blade { slot, .. } => u32::from(slot),
        Role::Uplink => u32::MAX,
    });
    bays::resolve(&mut ports, &standbys);
    let mut config = Config { vlans, ports, ..draft.config };
    config.backplanes = draft.backplanes.into_iter().map(|draft| backplane::resolve(draft, &config)).collect();
    config.rates = draft.rates.into_iter().filter_map(|draft| rates::resolve(draft, &config)).collect();
    config.joined = draft.joined.map(|draft| joined::resolve(draft, &config));
    (config.functions, config.rules) = steering::resolve(draft.steering, &config.ports);
    for entry in draft.fdb_entries {
        let port = entry.port.and_then(|name| config.port_named(name.get_ref()));
        let target = port.map_or(FdbTarget::Blackhole, FdbTarget::Port);
        if let (Some(mac), Some(vid)) = (entry.mac, entry.vid) {
            config.fdb_entries.push(FdbEntryConfig { mac: mac.into_inner(), vid: vid.into_inner(), target });
        }
    }
    for neighbor in draft.neighbors {
        if let (Some(ip), Some(mac), Some(vid)) = (neighbor.ip, neighbor.mac, neighbor.vid) {
            config.neighbors.push(NeighborConfig { ip: ip.into_inner(), mac: mac.into_inner(), vid: vid.into_inner() });
        }
    }
    config
}

fn check_cores(draft: &Draft, out: &mut Findings<'_>) {
    let (cores, workers) = (draft.core_list.len(), draft.config.switch.workers);
    if cores > 0 && cores != workers {
        out.value(&draft.cores, "switch.cores", format!("expected one core for each worker, that is {workers}, found {cores}"));
    }
    let cores = draft.core_list.iter().map(|core| (*core.get_ref(), core.span(), "switch.cores"));
    no_twice(cores, "expected a core of its own for each worker", out);
}

fn check_limits(draft: &Draft, out: &mut Findings<'_>) {
    let total = draft.config.fdb.limit;
    let ports = draft.ports.iter().map(|port| (format!("{}.fdb_limit", port.section), &port.fdb_limit));
    let profiles = draft.profiles.iter().map(|profile| ("profile.fdb_limit".to_owned(), &profile.fdb_limit));
    let parts = [("fdb.limit_per_vlan".to_owned(), &draft.limit_per_vlan), ("fdb.limit_per_port".to_owned(), &draft.limit_per_port)];
    for (key, limit) in parts.into_iter().chain(profiles).chain(ports) {
        if let Some(limit) = limit.as_ref().filter(|limit| *limit.get_ref() > u64::from(total)) {
            out.value(&limit.span(), &key, format!("is more than the whole FDB holds: expected at most fdb.limit = {total}"));
        }
    }
    if let Some(entry) = draft.fdb_entries.get(total as usize) {
        out.at(
            &entry.header,
            "fdb_entry",
            format!("[[fdb_entry]] is beyond what the FDB holds: expected at most fdb.limit = {total} entries"),
        );
    }
    let limit = draft.config.identity.limit;
    let blades = draft.ports.iter().flat_map(|port| &port.ips).map(|ip| ("blade.ip", ip));
    let neighbors = draft.neighbors.iter().filter_map(|neighbor| Some(("neighbor.ip", neighbor.ip.as_ref()?)));
    if let Some((key, ip)) = blades.chain(neighbors).nth(limit as usize) {
        let problem = format!("is beyond what the neighbor table holds: expected at most identity.limit = {limit} addresses");
        out.value(&ip.span(), key, problem);
    }
}

fn check_vlan_names(draft: &Draft, out: &mut Findings<'_>) {
    let vids = draft.vlans.iter().filter_map(|vlan| vlan.vid.as_ref()).map(|vid| (*vid.get_ref(), vid.span(), "vlan.vid"));
    no_twice(vids, "expected one [[vlan]] for each VLAN", out);
    let names = draft.vlans.iter().filter_map(|vlan| vlan.name.as_ref()).map(|name| (name.get_ref(), name.span(), "vlan.name"));
    no_twice(names, "expected a name of its own for each VLAN", out);
    for vlan in &draft.vlans {
        let (Some(vid), Some(name)) = (&vlan.vid, &vlan.name) else { continue };
        let default = name.get_ref().strip_prefix("vlan").and_then(|number| number.parse().ok()).and_then(Vid::new);
        if default.is_some_and(|other| other != *vid.get_ref()) {
            out.value(&name.span(), "vlan.name", "is what another VLAN is called by default: expected a different name");
        }
    }
}

fn check_slots_and_names(draft: &Draft, out: &mut Findings<'_>) {
    let mut slots: HashMap<u16, &Span> = HashMap::new();
    let mut names: HashMap<&str, &Span> = HashMap::new();
    for port in &draft.ports {
        if let (Role::Blade { slot, .. }, Some(span)) = (&port.config.role, &port.slot) {
            if let Some(first) = slots.get(slot) {
                out.twice(span, "blade.slot", first, "every slot holds one blade, on one port: expected another slot");
                if port.name == port.slot {
                    continue; // Its default name is taken, too, but that is the same mistake.
                }
            } else {
                slots.insert(*slot, span);
            }
        }
        let (name, Some(span)) = (port.config.name.as_str(), &port.name) else { continue };
        if let Some(first) = names.get(name) {
            // The name may be a default, so that what stands in the file is not the name.
            let (key, line) = (format!("{}.name", port.section), out.line(first));
            let message = format!("{key} = \"{name}\" is used twice: first at line {line}; expected a name of its own for each port");
            out.at(span, key, message);
        } else {
            names.insert(name, span);
        }
    }
}

fn check_specs(draft: &Draft, out: &mut Findings<'_>) {
    let mut seen: HashMap<String, &Span> = HashMap::new();
    for port in &draft.ports {
        let Some(span) = &port.spec else { continue };
        for claim in port.config.spec.claims() {
            if let Some(first) = seen.get(&claim) {
                let problem = match out.line(first) {
                    _ if *first == span => format!("{claim} is used twice: expected two different ones"),
                    line => format!("{claim} is used twice: first at line {line}; expected one of its own for each port"),
                };
                out.value(span, &format!("{}.port", port.section), problem);
                break;
            }
            seen.insert(claim, span);
        }
    }
}

fn check_addresses(draft: &Draft, out: &mut Findings<'_>) {
    for mac in draft.ports.iter().flat_map(|port| &port.macs) {
        check_not_own("blade.mac", Some(mac), draft, out);
    }
    let macs = draft.ports.iter().flat_map(|port| &port.macs).map(|mac| (*mac.get_ref(), mac.span(), "blade.mac"));
    no_twice(macs, "an address belongs to one blade: expected another", out);
    let ips = draft.ports.iter().flat_map(|port| &port.ips).map(|ip| (*ip.get_ref(), ip.span(), "blade.ip"));
    no_twice(ips, "an address belongs to one blade: expected another", out);

    for port in draft.ports.iter().filter(|port| port.vlan_is_right && port.config.vlan.untagged().is_none()) {
        if let Some(ip) = port.ips.first() {
            let problem = "the trunk has no untagged VLAN the address could be in: expected `native` beside `trunk`, or the address in a \
                           [[neighbor]] with its `vlan`";
            out.value(&ip.span(), "blade.ip", problem);
        }
    }
}

fn check_fdb_entries(draft: &Draft, vlans: &Vlans, out: &mut Findings<'_>) {
    let keys = draft.fdb_entries.iter().filter_map(|entry| {
        let (mac, vid) = (entry.mac.as_ref()?, entry.vid.as_ref()?);
        Some(((*mac.get_ref(), *vid.get_ref()), mac.span(), "fdb_entry.mac"))
    });
    no_twice(keys, "expected one entry for each address and VLAN", out);

    let ports: HashMap<&str, &PortDraft> = draft.ports.iter().map(|port| (port.config.name.as_str(), port)).collect();
    for entry in &draft.fdb_entries {
        check_not_own("fdb_entry.mac", entry.mac.as_ref(), draft, out);
        let vid = entry.vid.as_ref().filter(|vid| vlans.check("fdb_entry.vlan", vid, &entry.header, out));
        let Some(name) = &entry.port else { continue };
        let Some(port) = ports.get(name.get_ref().as_str()) else {
            let names: Vec<&str> = draft.ports.iter().map(|port| port.config.name.as_str()).collect();
            let likely = suggestion(name.get_ref(), names.iter().copied());
            let more = if names.len() > LISTED_MAX { ", …" } else { "" };
            let listed = names[..names.len().min(LISTED_MAX)].join(", ");
            out.value(&name.span(), "fdb_entry.port", format!("no port has this name{likely} (expected one of the ports: {listed}{more})"));
            continue;
        };
        if let Some(vid) = vid.filter(|vid| port.vlan_is_right && !port.config.vlan.contains(*vid.get_ref())) {
            let (vid, vids) = (vid.get_ref(), port.config.vlan.vids());
            let problem =
                format!("the port does not carry VLAN {vid}, no frame could leave by it: expected `vlan` to be one of its own, {vids}");
            out.value(&name.span(), "fdb_entry.port", problem);
        }
    }
}

fn check_neighbors(draft: &Draft, vlans: &Vlans, out: &mut Findings<'_>) {
    // Blades bring their addresses along, in the untagged VLAN of their port.
    let mut seen: HashMap<(Vid, IpAddr), Span> = HashMap::new();
    for port in draft.ports.iter().filter(|port| port.vlan_is_right) {
        if let Some(vid) = port.config.vlan.untagged() {
            seen.extend(port.ips.iter().map(|ip| ((vid, *ip.get_ref()), ip.span())));
        }
    }
    for neighbor in &draft.neighbors {
        check_not_own("neighbor.mac", neighbor.mac.as_ref(), draft, out);
        let Some(vid) = &neighbor.vid else { continue };
        vlans.check("neighbor.vlan", vid, &neighbor.header, out);
        let Some(ip) = &neighbor.ip else { continue };
        let key = (*vid.get_ref(), *ip.get_ref());
        if let Some(first) = seen.get(&key) {
            out.twice(&ip.span(), "neighbor.ip", first, "expected each address once in a VLAN");
        } else {
            seen.insert(key, ip.span());
        }
    }
}

fn check_not_own(key: &str, mac: Option<&Spanned<MacAddr>>, draft: &Draft, out: &mut Findings<'_>) {
    if let Some(mac) = mac.filter(|mac| *mac.get_ref() == draft.config.switch.mac) {
        out.value(&mac.span(), key, "is the address of the switch itself (switch.mac): expected a station's");
    }
}

/// Every VLAN that has a section or is carried by a port.
struct Vlans {
    known: VidSet,
    /// Nothing about VLANs was wrong: there are no others.
    certain: bool,
}

impl Vlans {
    fn of(draft: &Draft) -> Vlans {
        let named = draft.vlans.iter().filter_map(|vlan| vlan.vid.as_ref()).map(|vid| *vid.get_ref()..=*vid.get_ref());
        let carried = draft.ports.iter().flat_map(|port| port.config.vlan.ranges());
        Vlans {
            known: named.chain(carried).collect(),
            certain: draft.ports.iter().all(|port| port.vlan_is_right) && draft.vlans.iter().all(|vlan| vlan.vid.is_some()),
        }
    }

    /// Does the VLAN of `key` exist? Notes if it does not. `header` is the place of a VLAN that was left out.
    fn check(&self, key: &str, vid: &Spanned<Vid>, header: &Span, out: &mut Findings<'_>) -> bool {
        if self.known.contains(*vid.get_ref()) || !self.certain {
            return true;
        }
        let expected = format!("no port carries this VLAN and no [[vlan]] names it: expected one of {}", self.known);
        if vid.span() == *header {
            out.at(header, key, format!("{key} is left out, which means {}: {expected}", vid.get_ref()));
        } else {
            out.value(&vid.span(), key, expected);
        }
        false
    }
}

/// Notes each value that was there before.
fn no_twice<'k, T: Eq + Hash>(values: impl Iterator<Item = (T, Span, &'k str)>, expected: &str, out: &mut Findings<'_>) {
    let mut seen: HashMap<T, Span> = HashMap::new();
    for (value, span, key) in values {
        if let Some(first) = seen.get(&value) {
            out.twice(&span, key, first, expected);
        } else {
            seen.insert(value, span);
        }
    }
}
