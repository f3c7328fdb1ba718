//! The tester: what is sent, when, and what became of it.
//!
//! [`plan`] says which frames each port sends and how fast; [`engine`] plays all wires of a chassis in real time from one
//! thread, sends the plan, and measures what comes back; [`stamp`] is what a test frame carries;
//! [`measure`] turns what arrived into loss, order and latency; [`trial`] is what a [`method`] asks of a [`testbed`] and what it
//! answers; [`link`] waits for ports to be ready; [`regress`] checks captures against what is expected; [`output`] is how results are shown and written. Ports and rings are those of the switch; its forwarding and
//! parsing are not used here. [`cli`] is the command line of all of it.
#![forbid(unsafe_code)]

pub mod cli;
pub mod edit;
pub mod engine;
pub mod link;
pub mod measure;
pub mod method;
pub mod output;
pub mod plan;
pub mod profile;
pub mod regress;
pub mod replay;
pub mod stamp;
pub mod testbed;
pub mod trial;
