//! A configuration as text again: TOML that can be loaded, or JSON of the same shape.
//!
//! Everything is written out, defaults included, so that what is shown is what holds. Loading it gives the same
//! configuration.

use std::net::IpAddr;

use dataplane::tables::ControlRights;
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};
use wire::{MacAddr, Vid};

use super::backplane;
use super::conditions;
use super::joined;
use super::model::{Config, FdbTarget, PortConfig, Role, VlanMode};
use super::probe::ProbeConfig;
use super::rates;
use super::speed::Speed;
use super::steering;
use super::vids::VidSet;
use port::spec::PortSpec;

impl Config {
    /// The configuration as TOML, in the form in which it is loaded.
    ///
    /// # Errors
    /// None that a configuration can cause, except a path of the API socket that is not UTF-8 (built by a program, not loaded).
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }
}

/// In the shape of the file: tables `blade`, `uplink`, `fdb_entry` and so on.
impl Serialize for Config {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let of_role = |blade: bool| -> Vec<PortTable<'_>> {
            self.ports.iter().filter(|port| matches!(port.role, Role::Blade { .. }) == blade).map(|port| port_table(self, port)).collect()
        };
        let table = |entry: &super::model::FdbEntryConfig| FdbEntryTable {
            mac: entry.mac,
            vlan: entry.vid,
            port: match entry.target {
                FdbTarget::Port(id) => self.port(id).map(|port| port.name.as_str()),
                FdbTarget::Blackhole => None,
            },
            blackhole: entry.target == FdbTarget::Blackhole,
        };
        let backplanes: Vec<_> = self.backplanes.iter().map(|backplane| backplane::table(self, backplane)).collect();
        let functions: Vec<_> = self.functions.iter().map(|function| steering::function_table(self, function)).collect();
        let rules: Vec<_> = self.rules.iter().map(|rule| conditions::table(self, rule)).collect();
        let fdb_entries: Vec<_> = self.fdb_entries.iter().map(table).collect();
        let mut config = serializer.serialize_struct("Config", 18)?;
        config.serialize_field("switch", &self.switch)?;
        config.serialize_field("pool", &self.pool)?;
        config.serialize_field("dpdk", &self.dpdk)?;
        config.serialize_field("fdb", &self.fdb)?;
        config.serialize_field("lanes", &self.lanes)?;
        config.serialize_field("identity", &self.identity)?;
        config.serialize_field("agents", &self.agents)?;
        if let Some(joined) = &self.joined {
            config.serialize_field("joined", &joined::table(self, joined))?;
        }
        if let Some(standby) = &self.standby {
            config.serialize_field("standby", standby)?;
        }
        config.serialize_field("vlan", &self.vlans)?;
        config.serialize_field("blade", &of_role(true))?;
        config.serialize_field("uplink", &of_role(false))?;
        config.serialize_field("backplane", &backplanes)?;
        let rates: Vec<_> = self.rates.iter().map(|rate| rates::table(self, rate)).collect();
        config.serialize_field("rate", &rates)?;
        config.serialize_field("function", &functions)?;
        config.serialize_field("steer", &rules)?;
        config.serialize_field("fdb_entry", &fdb_entries)?;
        config.serialize_field("neighbor", &self.neighbors)?;
        config.end()
    }
}

#[derive(Serialize)]
struct FdbEntryTable<'a> {
    mac: MacAddr,
    vlan: Vid,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<&'a str>,
    blackhole: bool,
}

#[derive(Serialize)]
struct PortTable<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    slot: Option<u16>,
    name: &'a str,
    port: &'a PortSpec,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    mac: &'a [MacAddr],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    ip: &'a [IpAddr],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    functions: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    standby: Option<&'a str>,
    speed: Speed,
    #[serde(skip_serializing_if = "Option::is_none")]
    vlan: Option<Vid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transparent: Option<Vid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trunk: Option<&'a VidSet>,
    #[serde(skip_serializing_if = "Option::is_none")]
    native: Option<Vid>,
    ingress_filter: bool,
    queue: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    fdb_limit: Option<u32>,
    learning: bool,
    flood: bool,
    enabled: bool,
    control: ControlRights,
    #[serde(skip_serializing_if = "Option::is_none")]
    probe: Option<&'a ProbeConfig>,
}

/// In the shape of `[[blade]]` and `[[uplink]]`.
fn port_table<'a>(config: &'a Config, own: &'a PortConfig) -> PortTable<'a> {
    let (slot, mac, ip): (_, &[MacAddr], &[IpAddr]) = match &own.role {
        Role::Blade { slot, macs, ips } => (Some(*slot), macs, ips),
        Role::Uplink => (None, &[], &[]),
    };
    let (vlan, transparent, trunk, native) = match &own.vlan {
        VlanMode::Access(vid) => (Some(*vid), None, None, None),
        VlanMode::Transparent(vid) => (None, Some(*vid), None, None),
        VlanMode::Trunk { allowed, native } => (None, None, Some(allowed), *native),
    };
    PortTable {
        slot,
        name: &own.name,
        port: &own.spec,
        mac,
        ip,
        functions: &own.functions,
        standby: own.standby.and_then(|port| config.port(port)).map(|port| port.name.as_str()),
        speed: own.speed,
        vlan,
        transparent,
        trunk,
        native,
        ingress_filter: own.ingress_filter,
        queue: own.queue,
        fdb_limit: own.fdb_limit,
        learning: own.learning,
        flood: own.flood,
        enabled: own.enabled,
        control: own.control,
        probe: own.probe.as_ref(),
    }
}
