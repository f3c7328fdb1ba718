//! The functions of blades, and the rules that lead there.

use port::PortId;
use serde::{Deserialize, Serialize};

use crate::config::conditions;
use crate::plane::Control;
use crate::probe::{Answer, Probe};
use crate::steering::{BladeState, Duty};

/// `show functions`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Functions {
    /// The functions, as in the configuration.
    pub functions: Vec<Function>,
}

/// What some blades are for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Function {
    /// Its name.
    pub function: String,
    /// Its own addresses.
    pub ips: Vec<std::net::IpAddr>,
    /// `flow` or `source`.
    pub affinity: String,
    /// After how many seconds of silence a flow is over.
    pub idle_s: u32,
    /// Its blades; announced ones, if it names none.
    pub blades: Vec<FunctionBlade>,
}

/// A blade of a function.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FunctionBlade {
    /// Name of its port; of one in another chassis that and its slot, as in `chassis 3 slot 1`.
    pub blade: String,
    /// Active or standby.
    pub duty: Duty,
    /// Name of the port of the active blade whose place a standby blade has taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stands_for: Option<String>,
    /// How it is.
    pub state: BladeState,
    /// What came of asking it, if it is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<Probed>,
    /// Its weight.
    pub weight: u32,
    /// The part of new flows that it takes, 0 to 1.
    pub part: f64,
    /// Frames steered to it.
    pub frames: u64,
    /// Their bytes, without FCS.
    pub bytes: u64,
    /// Flows that began at it.
    pub flows: u64,
    /// Of these, flows whose blade was lost.
    pub moved: u64,
}

/// What came of asking a blade.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probed {
    /// It is well.
    pub well: bool,
    /// Answers in a row that speak against that.
    pub against: u32,
    /// Questions asked.
    pub asked: u64,
    /// Of these, those that were answered as they should be.
    pub answered: u64,
    /// The last answer; `None`: there was none yet.
    pub last: Option<Answer>,
}

/// What came of asking the blade at a port for a function, or for itself.
pub(super) fn probed(control: &Control, function: Option<&str>, port: PortId) -> Option<Probed> {
    let Probe { well, against, asked, answered, ref last, .. } = *control.probes().get(function, port)?;
    Some(Probed { well, against, asked, answered, last: last.clone() })
}

/// `show steer`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Steer {
    /// The rules, in the order in which they are asked.
    pub rules: Vec<SteerRule>,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SteerRule {
    /// Its name.
    pub rule: String,
    /// Name of its function.
    pub function: String,
    /// Names of the ports it is about.
    pub ports: Vec<String>,
    /// The conditions, as in the configuration.
    pub conditions: serde_json::Map<String, serde_json::Value>,
    /// Frames it decided about.
    pub frames: u64,
    /// Their bytes, without FCS.
    pub bytes: u64,
    /// Of these frames, those that no blade could take.
    pub without_blade: u64,
}

/// The functions and their blades.
pub fn functions(control: &Control) -> Functions {
    let known = control.functions();
    let functions = control.config().functions.iter().enumerate().map(|(index, function)| {
        let blades = known.blades(index);
        let parts = known.parts(&function.name, blades.len());
        let blades = blades.iter().zip(parts).map(|(blade, part)| {
            let counters = known.blade_counters(blade);
            FunctionBlade {
                blade: match blade.elsewhere {
                    Some((chassis, slot)) => format!("chassis {chassis} slot {slot}"),
                    None => super::port_name(control, blade.port),
                },
                duty: blade.duty,
                stands_for: blade.stands_for.map(|owner| super::port_name(control, owner)),
                state: blade.state,
                probe: probed(control, Some(&function.name), blade.port),
                weight: blade.weight,
                part,
                frames: counters.frames,
                bytes: counters.bytes,
                flows: counters.flows,
                moved: counters.moved,
            }
        });
        Function {
            function: function.name.clone(),
            ips: function.ips.clone(),
            affinity: match function.affinity {
                dataplane::steer::Affinity::Flow => "flow",
                dataplane::steer::Affinity::Source => "source",
            }
            .to_owned(),
            idle_s: function.idle_s,
            blades: blades.collect(),
        }
    });
    Functions { functions: functions.collect() }
}

/// The rules and what they did.
pub fn steer(control: &Control) -> Steer {
    let config = control.config();
    let rules = config.rules.iter().map(|rule| {
        let counters = control.functions().rule_counters(&rule.name);
        let written = serde_json::to_value(conditions::table(config, rule)).unwrap_or_default();
        let mut conditions = match written {
            serde_json::Value::Object(written) => written,
            _ => serde_json::Map::new(),
        };
        conditions.retain(|key, _| !["name", "function", "in"].contains(&key.as_str()));
        let ports = config.ports.iter().enumerate().filter(|(index, _)| rule.conditions.ingress & 1 << index != 0);
        SteerRule {
            rule: rule.name.clone(),
            function: rule.function.clone(),
            ports: ports.map(|(_, port)| port.name.clone()).collect(),
            conditions,
            frames: counters.frames,
            bytes: counters.bytes,
            without_blade: counters.without_blade,
        }
    });
    Steer { rules: rules.collect() }
}
