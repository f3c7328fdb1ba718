//! The blades that have said hello, and what they were told to do.

use serde::{Deserialize, Serialize};
use wire::{MacAddr, Vid};

use crate::agents::{AgentCounters, Progress};
use crate::plane::Control;

/// `blades`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blades {
    /// By slot.
    pub blades: Vec<Blade>,
    /// What is counted of control messages.
    pub counters: AgentCounters,
}

/// A blade that has said hello.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blade {
    /// The bay.
    pub slot: u16,
    /// Name of its port.
    pub port: String,
    /// The VLAN it speaks in.
    pub vlan: Vid,
    /// The address it speaks from.
    pub mac: MacAddr,
    /// What it is for.
    pub functions: Vec<String>,
    /// The rate it can take in bit/s; 0: it does not say.
    pub rate_bps: u64,
    /// `present`, or `silent` after three intervals without a hello.
    pub state: String,
    /// Milliseconds since its last hello.
    pub heard_ms: u64,
    /// The mode it was told to enter and has acknowledged.
    pub mode: Option<String>,
    /// The timeslot it was told to listen to and has acknowledged.
    pub timeslot: Option<u16>,
    /// The slot it believes to sit in, if that is another.
    pub claimed_slot: Option<u16>,
}

/// The blades that have said hello.
pub fn blades(control: &Control) -> Blades {
    let now = control.now();
    let blade = |(slot, blade): (u16, &crate::agents::Blade)| Blade {
        slot,
        port: super::port_name(control, blade.port),
        vlan: blade.vid,
        mac: blade.mac,
        functions: blade.hello.functions.iter().map(ToString::to_string).collect(),
        rate_bps: blade.hello.rate_bps,
        state: if blade.silent { "silent" } else { "present" }.to_owned(),
        heard_ms: now.since(blade.heard).0 / 1_000_000,
        mode: blade.mode.as_ref().map(ToString::to_string),
        timeslot: blade.timeslot,
        claimed_slot: Some(blade.hello.slot).filter(|&claimed| claimed != 0 && claimed != slot),
    };
    Blades { blades: control.agents().blades().map(blade).collect(), counters: control.agents().counters }
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandShown {
    /// Its number.
    pub transaction: u32,
    /// What was asked for.
    pub command: String,
    /// Nothing more will come.
    pub over: bool,
    /// All blades have done it.
    pub done: bool,
    /// By slot.
    pub blades: Vec<BladeProgress>,
}

/// How far a blade is with a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BladeProgress {
    /// The bay.
    pub slot: u16,
    /// How far it is.
    #[serde(flatten)]
    pub progress: Progress,
}

/// A command by its number, if it is remembered.
pub fn command(control: &Control, transaction: u32) -> Option<CommandShown> {
    let command = control.agents().command_of(transaction)?;
    let done = |progress: &Progress| matches!(progress, Progress::Answered { status, .. } if status == "done");
    Some(CommandShown {
        transaction,
        command: command.control.to_string(),
        over: command.is_over(),
        done: command.blades.values().all(|errand| done(&errand.progress)),
        blades: command.blades.iter().map(|(&slot, errand)| BladeProgress { slot, progress: errand.progress.clone() }).collect(),
    })
}
