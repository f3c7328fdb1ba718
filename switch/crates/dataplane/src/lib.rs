//! The hot path: what happens to every packet.
//!
//! Begin with [`pipeline`], one page that is the order of things. [`worker`] runs it; [`tables`] is what it reads and
//! control publishes; [`fdb`] is what it learns; [`verdict`] is what it decides; [`counters`] is how it accounts for every
//! frame.
//!
//! Invariants: no unsafe code; nothing per packet allocates, locks, logs, waits, calls the kernel or asks the time (see
//! `clippy.toml` beside this crate); no frame can make it panic. It does not know that control exists: it knows rings and a snapshot.
#![forbid(unsafe_code)]

pub mod address;
pub mod admit;
pub mod bus;
pub mod counters;
pub mod event;
pub mod fdb;
pub mod learn;
pub mod message;
pub mod neighbor;
pub mod pipeline;
pub mod police;
pub mod resolve;
pub mod rewrite;
pub mod steer;
pub mod tables;
pub mod transmit;
pub mod verdict;
pub mod worker;

pub use counters::{Ledger, PortCounters, WorkerCounters};
pub use fdb::Fdb;
pub use pipeline::{Observer, Phase};
pub use tables::Tables;
pub use verdict::{DropReason, PuntReason, Verdict};
pub use worker::Worker;
