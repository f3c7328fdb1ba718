//! Ports: where frames live, how they come in and how they go out.
//!
//! - [`mempool`]: buffers, and [`packet`]: the handles that own them;
//! - [`clock`]: time, real and virtual;
//! - [`device`]: the traits every port implements;
//! - [`spec`]: which port, as text; [`open`](mod@open): from there to a port;
//! - [`backend`]: the kinds of ports; [`wrap`]: link timing around any of them;
//! - [`capture`]: capture files.
//!
//! This crate is one of the two rooms where unsafe code may live; it is denied here and opened in `mempool` and `backend::af_xdp`. Ports do
//! not know what is done with their frames: the data plane is not a dependency.
#![deny(unsafe_code)]

pub mod backend;
pub mod capture;
pub mod clock;
pub mod device;
pub mod mempool;
pub mod open;
pub mod packet;
pub mod spec;
pub mod wrap;

pub use clock::Nanos;
pub use device::{Device, DeviceStatistics, LinkState, PORTS_MAX, Port, PortId, Refusal, RxDrops, RxQueue, TxQueue};
pub use mempool::{Hugepages, Mempool, PoolCache};
pub use open::{OpenError, OpenOptions, open};
pub use packet::{BURST_MAX, Burst, Packet};
pub use spec::{PortKind, PortSpec, PortSpecError};
