//! All that is not per packet: configuration, identities, neighbours, ageing, what operators see.
//!
//! [`plane::Control`] is the control plane of one switch; [`config`] what it is told, [`tables`] what it tells the workers,
//! [`show`] what it tells people, [`api`] and [`metrics`] how.
#![forbid(unsafe_code)]

pub mod agents;
pub mod api;
pub mod bus;
pub mod config;
pub mod identity;
pub mod joined;
pub mod metrics;
pub mod neighbor;
pub mod plane;
pub mod probe;
pub mod rate;
pub mod rates;
pub mod reload;
pub mod seal;
pub mod show;
pub mod steering;
pub mod tables;

pub use plane::Control;
