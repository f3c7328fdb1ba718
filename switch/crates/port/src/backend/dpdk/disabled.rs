//! A program built without the feature `dpdk`: its specs are understood, and refused.

use super::{DpdkError, Options};
use crate::device::Port;
use crate::mempool::Mempool;
use crate::open::{OpenError, OpenOptions};
use crate::spec::{PortKind, PortSpec};

/// Refuses the port.
///
/// # Errors
/// Always: what is wrong with the spec, or else that DPDK is not in this build and how to have it.
pub fn open(spec: &PortSpec, options: &OpenOptions<'_>) -> Result<Port, OpenError> {
    open_device(&Options::parse(spec, options.queue)?, spec.kind, options.mempool)
}

/// Refuses the port.
///
/// # Errors
/// Always: DPDK is not in this build, and how to have it.
pub fn open_device(_options: &Options, kind: PortKind, _mempool: &Mempool) -> Result<Port, OpenError> {
    Err(DpdkError::NotBuilt(kind).into())
}
