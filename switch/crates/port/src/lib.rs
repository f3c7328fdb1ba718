//! Ports: where frames live, how they come in and how they go out.
//!
//! - [`mempool`]: buffers, and [`packet`]: the handles that own them;
//! - [`clock`]: time, real and virtual;
//! - [`device`]: the traits every port implements;
//! - [`spec`]: which port, as text; [`open`](mod@open): from there to a port;
//! - [`backend`]: the kinds of ports; [`wrap`]: link timing around any of them;
//! - [`capture`]: capture files;
//! - [`netdev`]: network interfaces, watched and prepared; [`privilege`]: what a process must be allowed to do;
//! - [`checksum`]: completing what local senders leave to their card; [`handover`]: another socket for a running queue;
//! - [`lanes`]: comparing several numbers at once.
//!
//! This crate is one of the two rooms where unsafe code may live; it is denied here and opened in `mempool`, in `lanes` (vector instructions), in `sys`
//! (system calls) and in backends that share memory with the kernel. Ports do not know what is done with their frames: the data plane is not a dependency.
#![deny(unsafe_code)]

pub mod backend;
pub mod capture;
pub mod checksum;
pub mod clock;
pub mod device;
pub mod handover;
pub mod lanes;
pub mod mempool;
pub mod netdev;
pub mod open;
pub mod packet;
pub mod privilege;
pub mod spec;
mod sys;
pub mod wrap;

pub use clock::Nanos;
pub use device::{Device, DeviceStatistics, LinkState, PORTS_MAX, Port, PortId, Refusal, RxDrops, RxQueue, TxQueue};
pub use mempool::{Hugepages, Mempool, PoolCache};
pub use open::{OpenError, OpenOptions, open};
pub use packet::{BURST_MAX, Burst, Packet};
pub use spec::{PortKind, PortSpec, PortSpecError};
