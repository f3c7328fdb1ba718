//! From a port spec to a port.
//!
//! All kinds that need no switch are opened here, for the switch and for the generator alike. Memory ports are not: their
//! two ends belong to one program, which makes them with [`memory::pair`](crate::backend::memory::pair).

use std::path::Path;

use crate::backend::af_xdp::{self, AfXdpError};
use crate::backend::pcap::{self, PcapError};
use crate::device::Port;
use crate::mempool::Mempool;
use crate::spec::{PortKind, PortSpec};

/// What opening a port needs to know beyond its spec.
#[derive(Clone, Copy, Debug)]
pub struct OpenOptions<'a> {
    /// What the port is called, in captures and messages.
    pub name: &'a str,
    /// Rate of its link, in bit/s, where the device does not know it.
    pub speed_bps: u64,
    /// Frames its transmit queue holds, where that can be chosen.
    pub queue: usize,
    /// The longest frame that will be sent or is wanted, in bytes without FCS.
    pub frame_len_max: usize,
    /// Where its frames lie.
    pub mempool: &'a Mempool,
    /// Take the interface even if it carries the machine's default route.
    pub force_default_route: bool,
}

/// Why a port could not be opened. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The kind is not in this program, or is not opened from a spec.
    #[error("`{kind}` ports cannot be opened: {why}")]
    Kind {
        /// The kind.
        kind: PortKind,
        /// What stands against it.
        why: &'static str,
    },
    /// Capture files.
    #[error(transparent)]
    Pcap(#[from] PcapError),
    /// AF_XDP.
    #[error(transparent)]
    AfXdp(Box<AfXdpError>),
}

impl From<AfXdpError> for OpenError {
    fn from(error: AfXdpError) -> OpenError {
        OpenError::AfXdp(Box::new(error))
    }
}

/// Opens the port that `spec` names.
///
/// # Errors
/// The kind is not in this build, an option has a value that makes no sense, or the system refuses what it takes.
pub fn open(spec: &PortSpec, options: &OpenOptions<'_>) -> Result<Port, OpenError> {
    match spec.kind {
        PortKind::Pcap => Ok(pcap::open(Path::new(&spec.arg), spec.option("out").map(Path::new), options.name, options.speed_bps)?),
        kind @ PortKind::Memory => Err(OpenError::Kind { kind, why: "both their ends belong to the program that makes them" }),
        PortKind::AfXdp => Ok(af_xdp::open(&spec.arg, &af_xdp::Options::parse(&spec.options, options.queue)?, options.mempool)?),
        kind @ (PortKind::AfPacket | PortKind::Auto | PortKind::Tap | PortKind::Dpdk | PortKind::Memif) => {
            Err(OpenError::Kind { kind, why: "this program was built without them: expected `pcap` or `af_xdp`" })
        }
    }
}
