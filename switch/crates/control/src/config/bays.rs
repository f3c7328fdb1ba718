//! What belongs to a bay: the blade that stands by for the one in it.

use toml::Spanned;

use super::error::{Findings, suggestion};
use super::model::{PortConfig, Role};
use super::probe;
use super::schema::{Draft, PortDraft};

/// MAC addresses of a blade with a standby, times the VLANs of its port, at most: so many entries of the FDB are pinned for it.
pub const PINS_MAX: usize = 64;

/// Does what bays say of each other agree?
pub(super) fn check(draft: &Draft, out: &mut Findings<'_>) {
    for port in &draft.ports {
        probe::check_learn("blade.probe", port.config.probe.as_ref(), port.probe.as_ref(), draft.config.identity.learn, out);
        if let Some(standby) = &port.standby {
            check_standby(port, standby, draft, out);
        }
    }
}

fn check_standby(port: &PortDraft, standby: &Spanned<String>, draft: &Draft, out: &mut Findings<'_>) {
    const KEY: &str = "blade.standby";
    let mut refuse = |problem: String| out.value(&standby.span(), KEY, problem);
    let is_blade = |port: &&PortDraft| matches!(port.config.role, Role::Blade { .. });
    let Some(other) = draft.ports.iter().filter(is_blade).find(|other| other.config.name == *standby.get_ref()) else {
        let likely = suggestion(standby.get_ref(), draft.ports.iter().filter(is_blade).map(|port| port.config.name.as_str()));
        return refuse(format!("no blade has this name{likely}: expected the name of a [[blade]]"));
    };
    if other.config.name == port.config.name {
        return refuse("a blade cannot stand by for itself: expected another".to_owned());
    }
    if other.standby.is_some() {
        return refuse("has a standby blade itself: expected one that has none, or nobody could say who stands for whom".to_owned());
    }
    if port.macs.is_empty() {
        return refuse("there is no address it could take: expected `mac` beside `standby`".to_owned());
    }
    if !(port.vlan_is_right && other.vlan_is_right) {
        return;
    }
    let vids = port.config.vlan.vids();
    if let Some(vid) = vids.iter().find(|vid| !other.config.vlan.contains(*vid)) {
        return refuse(format!("does not carry VLAN {vid} of {}: expected a blade that carries all of {vids}", port.config.name));
    }
    let pins = vids.iter().count() * port.macs.len();
    if pins > PINS_MAX {
        return refuse(format!("{pins} addresses would be pinned, each MAC address in each VLAN: expected at most {PINS_MAX}"));
    }
    for entry in &draft.fdb_entries {
        if let Some(mac) = entry.mac.as_ref().filter(|mac| port.macs.iter().any(|own| own.get_ref() == mac.get_ref())) {
            let problem = format!("is pinned to {}, which has a standby blade: expected no [[fdb_entry]] for it", port.config.name);
            out.value(&mac.span(), "fdb_entry.mac", problem);
        }
    }
}

/// Puts ports in for names, in a draft in which nothing is wrong. `names` has a standby blade for each of `ports`.
pub(super) fn resolve(ports: &mut [PortConfig], names: &[(String, String)]) {
    let id = |name: &str| ports.iter().position(|port| port.name == name).and_then(|index| u8::try_from(index).ok()).map(port::PortId);
    let standbys: Vec<_> = names.iter().map(|(owner, standby)| (id(owner), id(standby))).collect();
    for (owner, standby) in standbys {
        if let Some(owner) = owner {
            ports[owner.index()].standby = standby;
        }
    }
}
