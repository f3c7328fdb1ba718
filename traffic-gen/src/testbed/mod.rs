//! Testbeds: what runs a [trial](crate::trial).
//!
//! - [`virtual_time`]: wires on a virtual clock around a device in this process: [`memory`] around anything with memory ports,
//!   [`model`] devices with a known limit;
//! - [`process`]: a program that reads and writes captures, on the virtual clock;
//! - [`realtime`]: ports in real time: [`interfaces`] of this machine, or memory ports of a switch with threads of its own.
//!
//! [`schedule`] says when each frame goes, [`judge`] what became of it; all testbeds share both, so that they cannot differ in what a
//! trial means.

pub mod interfaces;
pub mod judge;
pub mod memory;
pub mod model;
pub mod process;
pub mod realtime;
pub mod schedule;
pub mod virtual_time;

use crate::trial::DutFactory;

/// The kinds of devices under test that are built in.
pub fn factories() -> Vec<&'static dyn DutFactory> {
    vec![&model::ModelFactory, &process::SwitchFactory, &process::ExecFactory, &interfaces::PortsFactory]
}
