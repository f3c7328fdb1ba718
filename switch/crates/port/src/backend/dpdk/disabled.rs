//! A program built without the feature `dpdk`: its specs are understood, and refused.

use super::{DpdkError, Options};
use crate::device::Port;
use crate::open::{OpenError, OpenOptions};
use crate::spec::PortSpec;

/// Refuses the port.
///
/// # Errors
/// Always: what is wrong with the spec, or else that DPDK is not in this build and how to have it.
pub fn open(spec: &PortSpec, options: &OpenOptions<'_>) -> Result<Port, OpenError> {
    Options::parse(spec, options.queue)?;
    Err(DpdkError::NotBuilt.into())
}
