//! From a port spec to a port.
//!
//! All kinds that need no switch are opened here, for the switch and for the generator alike. Memory ports are not: their
//! two ends belong to one program, which makes them with [`memory::pair`](crate::backend::memory::pair).

use std::path::Path;

use crate::backend::af_packet;
use crate::backend::af_xdp::{self, AfXdpError};
use crate::backend::dpdk::{self, DpdkError};
use crate::backend::memif;
use crate::backend::pcap::{self, PcapError};
use crate::backend::tap;
use crate::backend::vhost_user;
use crate::device::Port;
use crate::mempool::Mempool;
use crate::netdev::{OpenInterfaceError, route};
use crate::spec::{PortKind, PortSpec};
use crate::wrap::prepared::prepared;

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
    #[error("`{kind}` ports are not in this build: {why}")]
    Kind {
        /// The kind.
        kind: PortKind,
        /// What stands against it.
        why: &'static str,
    },
    /// An option has a value that makes no sense.
    #[error("option `{key}={value}`: expected {expected}")]
    Option {
        /// The option.
        key: &'static str,
        /// What was given.
        value: String,
        /// What would do.
        expected: String,
    },
    /// The machine would lose its network.
    #[error(
        "`{0}` carries the default route of this machine: a switch that takes it may cut the machine off. Name another interface, or give \
         --force-default-route"
    )]
    DefaultRoute(String),
    /// Capture files.
    #[error(transparent)]
    Pcap(#[from] PcapError),
    /// AF_XDP.
    #[error(transparent)]
    AfXdp(Box<AfXdpError>),
    /// A memif socket.
    #[error("memif socket {socket}: {source}")]
    Memif {
        /// Where the peers were to meet.
        socket: String,
        /// What stands against it.
        source: std::io::Error,
    },
    /// A vhost-user socket.
    #[error("vhost-user socket {socket}: {source}")]
    VhostUser {
        /// Where the virtual machine was to connect.
        socket: String,
        /// What stands against it.
        source: std::io::Error,
    },
    /// DPDK.
    #[error(transparent)]
    Dpdk(#[from] DpdkError),
    /// Interfaces.
    #[error(transparent)]
    Interface(#[from] OpenInterfaceError),
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
    if matches!(spec.kind, PortKind::AfXdp | PortKind::AfPacket | PortKind::Auto) && !options.force_default_route {
        refuse_default_route(&spec.arg)?;
    }
    match spec.kind {
        PortKind::AfPacket => open_af_packet(spec, number(spec, "fanout", 1..=af_packet::FANOUT_MAX)?, options, Vec::new()),
        PortKind::AfXdp => open_af_xdp(spec, options),
        PortKind::Auto => open_auto(spec, options),
        PortKind::Tap => {
            let mtu = number(spec, "mtu", tap::MTU_MIN as usize..=tap::MTU_MAX as usize)?;
            Ok(tap::open(&spec.arg, mtu.map(|mtu| mtu as u32))?)
        }
        PortKind::Pcap => Ok(pcap::open(Path::new(&spec.arg), spec.option("out").map(Path::new), options.name, options.speed_bps)?),
        kind @ PortKind::Memory => {
            Err(OpenError::Kind { kind, why: "both their ends belong to the program that makes them; this one makes none" })
        }
        PortKind::Memif => open_memif(spec),
        PortKind::Dpdk => dpdk::open(spec, options),
        PortKind::VhostUser => vhost_user::open(spec, options),
    }
}

fn open_af_packet(spec: &PortSpec, fanout: Option<usize>, options: &OpenOptions<'_>, notes: Vec<String>) -> Result<Port, OpenError> {
    let (interface, fanout) = (spec.arg.clone(), fanout.unwrap_or(1));
    Ok(af_packet::open(&af_packet::Options { interface, fanout, frame_len_max: options.frame_len_max, notes })?)
}

fn open_memif(spec: &PortSpec) -> Result<Port, OpenError> {
    let options = memif::Options::parse(&spec.arg, &spec.options).map_err(|memif::BadOption { key, expected }| OpenError::Option {
        key,
        value: spec.option(key).unwrap_or_default().to_owned(),
        expected,
    })?;
    memif::open(&options).map_err(|source| OpenError::Memif { socket: spec.arg.clone(), source })
}

fn open_af_xdp(spec: &PortSpec, options: &OpenOptions<'_>) -> Result<Port, OpenError> {
    let parsed = af_xdp::Options::parse(&spec.options, options.queue)?;
    prepared(&spec.arg, || Ok(af_xdp::open(&spec.arg, &parsed, options.mempool)?))
}

/// The ladder: AF_XDP in its best mode, which is its own ladder (zero-copy, native, generic), then AF_PACKET.
fn open_auto(spec: &PortSpec, options: &OpenOptions<'_>) -> Result<Port, OpenError> {
    let queues = number(spec, "queues", 1..=af_packet::FANOUT_MAX)?;
    let why_not = match open_af_xdp(spec, options) {
        Ok(port) => return Ok(port),
        Err(error @ OpenError::Interface(OpenInterfaceError::Missing(_))) => return Err(error),
        Err(error) => error.to_string(),
    };
    open_af_packet(spec, queues, options, vec![format!("not AF_XDP: {why_not}")])
}

/// The number an option has, if it is given.
fn number(spec: &PortSpec, key: &'static str, range: std::ops::RangeInclusive<usize>) -> Result<Option<usize>, OpenError> {
    let Some(value) = spec.option(key) else { return Ok(None) };
    match value.parse().ok().filter(|number| range.contains(number)) {
        Some(number) => Ok(Some(number)),
        None => Err(OpenError::Option { key, value: value.to_owned(), expected: format!("{} to {}", range.start(), range.end()) }),
    }
}

fn refuse_default_route(interface: &str) -> Result<(), OpenError> {
    let system = |source| OpenInterfaceError::System { interface: interface.to_owned(), source };
    match route::default_interfaces().map_err(system)?.iter().any(|carrier| carrier == interface) {
        true => Err(OpenError::DefaultRoute(interface.to_owned())),
        false => Ok(()),
    }
}
