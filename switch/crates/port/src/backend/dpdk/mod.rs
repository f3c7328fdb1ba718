//! Ports on DPDK devices: NICs whose driver runs in this process, and DPDK's virtual devices.
//!
//! The feature `dpdk` of this crate decides whether they are in the program (`enabled`) or refused with a sentence (`disabled`). Specs and settings are
//! judged here, alike in both.
//!
//! `dpdk:DEVICE[,key=value…]`: DEVICE is a PCI address or the name of a virtual device. The keys `queues`, `rxd`, `txd`, `mtu`, `promiscuous` and `buffers` are
//! the port's; all others go to the driver as its own arguments ("devargs"), and so does `queues` where a driver wants to know it, too.
//!
//! The other kind of port that stands on it is `vhost-user`, [`vhost_user`](super::vhost_user).
//!
//! **EAL**, DPDK's environment, exists once in a process and is started by the first port, with what [`configure`] was told. Whoever runs the switch
//! keeps its threads, cores, signals and configuration: EAL gets none of them (`docs/decisions/dpdk.md`).

#[cfg(not(feature = "dpdk"))]
mod disabled;
#[cfg(feature = "dpdk")]
mod eal;
#[cfg(feature = "dpdk")]
mod enabled;
#[cfg(feature = "dpdk")]
mod ethdev;
#[cfg(feature = "dpdk")]
mod mbufs;
#[cfg(feature = "dpdk")]
mod queue;

use std::sync::{Mutex, PoisonError};

use thiserror::Error;

use crate::mempool::Hugepages;
use crate::spec::{PortKind, PortSpec};

#[cfg(not(feature = "dpdk"))]
pub use disabled::{open, open_device};
#[cfg(feature = "dpdk")]
pub use enabled::{open, open_device};
#[cfg(feature = "dpdk")]
pub use mbufs::mbufs_lost;

/// Queues of a device in each direction, at most.
pub const QUEUES_MAX: u16 = 64;
/// Descriptors of a queue, at least and at most; the device may want fewer or more.
const DESCRIPTORS: std::ops::RangeInclusive<u16> = 32..=16_384;
/// Receive descriptors unless the spec says otherwise.
const RX_DESCRIPTORS: u16 = 1024;
/// MTUs that may be asked for, in bytes: the least of IPv4 (RFC 791), and what leaves room for header, tags and headroom in a buffer of 64 KiB.
const MTU: std::ops::RangeInclusive<u16> = 68..=65_280;
/// What an Ethernet frame has around its payload, in bytes without FCS: header and two tags.
pub const AROUND_MTU: u32 = 14 + 2 * 4;
/// DPDK memory in MiB that can be asked for.
pub const MEMORY_MIB: std::ops::RangeInclusive<u32> = 4..=1_048_576;

/// How EAL is to be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EalSettings {
    /// DPDK memory in MiB, [`MEMORY_MIB`]; `None`: as it comes with hugepages, and [`NO_HUGE_MIB`] without.
    pub memory_mib: Option<u32>,
    /// Which pages it lies on.
    pub hugepages: Hugepages,
    /// Are there PCI devices among the ports? If not, EAL does not look at the bus.
    pub pci: bool,
    /// Further arguments of EAL, as DPDK's guide "EAL parameters" has them; they come last.
    pub arguments: Vec<String>,
}

/// DPDK memory in MiB on plain pages. It is taken from the system as it is used.
pub const NO_HUGE_MIB: u32 = 512;

impl Default for EalSettings {
    fn default() -> Self {
        EalSettings { memory_mib: None, hugepages: Hugepages::Auto, pci: true, arguments: Vec::new() }
    }
}

static SETTINGS: Mutex<Option<EalSettings>> = Mutex::new(None);

/// Says how EAL is to be started. Counts until the first port is opened; afterwards it is too late, and without effect.
pub fn configure(settings: EalSettings) {
    *SETTINGS.lock().unwrap_or_else(PoisonError::into_inner) = Some(settings);
}

#[cfg(feature = "dpdk")]
fn settings() -> EalSettings {
    SETTINGS.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_default()
}

/// Why a DPDK port could not be opened. The text says what to do.
#[derive(Debug, Error)]
pub enum DpdkError {
    /// The program was built without DPDK.
    #[error(
        "`{0}` ports are not in this build: install DPDK (`apt-get install libdpdk-dev dpdk clang libclang-dev pkg-config`) and build with \
         `cargo build --release -p bladeswitch --features dpdk`"
    )]
    NotBuilt(PortKind),
    /// An option of the port spec.
    #[error("`{text}`: expected {expected}")]
    Option {
        /// As it was given.
        text: String,
        /// What would do.
        expected: String,
    },
    /// EAL did not start.
    #[error("DPDK does not start with `{arguments}`: {reason}")]
    Eal {
        /// Its arguments.
        arguments: String,
        /// What it said.
        reason: String,
    },
    /// There is not enough memory for EAL.
    #[error("DPDK memory of {wanted_mib} MiB on hugepages was asked for and {free_mib} MiB are free: {cure}")]
    Hugepages {
        /// What was asked for.
        wanted_mib: u32,
        /// What there is.
        free_mib: u32,
        /// What to do.
        cure: String,
    },
    /// There is not enough of EAL's memory for a port.
    #[error(
        "{device}: {mbufs} packet buffers (mbufs) need {needed_mib} MiB of DPDK memory, of which {free_mib} of {total_mib} MiB are free: raise \
         dpdk.memory_mib, or give the port fewer descriptors (rxd=, txd=) or queues"
    )]
    Memory {
        /// The device.
        device: String,
        /// How many packet buffers it wants.
        mbufs: u32,
        /// What they need, in MiB.
        needed_mib: u32,
        /// What is free, in MiB.
        free_mib: u32,
        /// What there is in all, in MiB.
        total_mib: u32,
    },
    /// The device refuses.
    #[error("{device}: {step}: {reason}")]
    Device {
        /// The device.
        device: String,
        /// What was asked of it.
        step: &'static str,
        /// What it said.
        reason: String,
    },
}

/// In whose buffers a device's frames lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Buffers {
    /// In the switch's, where that is known to work, else in DPDK's.
    #[default]
    Auto,
    /// In the switch's: frames are not copied.
    Switch,
    /// In DPDK's: a frame is copied once on its way in and once on its way out.
    Dpdk,
}

/// What can be said about a DPDK port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The device's name.
    pub device: String,
    /// What it is called in messages: its name, or what stands for it in a spec of another kind.
    pub title: String,
    /// What its driver is told: the name, then the driver's own arguments.
    pub devargs: String,
    /// `queues=`: in each direction, 1 to [`QUEUES_MAX`].
    pub queues: u16,
    /// `rxd=`: receive descriptors of a queue.
    pub rx_descriptors: u16,
    /// `txd=`: transmit descriptors of a queue; the port's `queue` unless it is given.
    pub tx_descriptors: u16,
    /// `mtu=`, in bytes; `None`: what the device comes with, usually 1500.
    pub mtu: Option<u16>,
    /// `promiscuous=on|off`: receive frames for any address. A switch must.
    pub promiscuous: bool,
    /// `buffers=auto|switch|dpdk`: in whose buffers its frames lie.
    pub buffers: Buffers,
    /// The socket of a device that is the back-end of virtual machines (`net_vhost`).
    pub vhost: Option<String>,
}

impl Options {
    /// From a port spec; `tx_queue` is how many frames a transmit queue is to hold.
    ///
    /// # Errors
    /// The first option of ours with a value that cannot be. Those of the driver are the driver's to judge.
    pub fn parse(spec: &PortSpec, tx_queue: usize) -> Result<Options, DpdkError> {
        let txd = u16::try_from(tx_queue).unwrap_or(u16::MAX).clamp(*DESCRIPTORS.start(), *DESCRIPTORS.end());
        let mut parsed = Options {
            device: spec.arg.clone(),
            title: spec.arg.clone(),
            devargs: spec.arg.clone(),
            queues: 1,
            rx_descriptors: RX_DESCRIPTORS,
            tx_descriptors: txd.next_power_of_two(),
            mtu: None,
            promiscuous: true,
            buffers: Buffers::Auto,
            vhost: spec.option("iface").filter(|_| spec.arg.starts_with("net_vhost")).map(str::to_owned),
        };
        for (key, value) in &spec.options {
            let refuse = |expected: String| DpdkError::Option { text: format!("{key}={value}"), expected };
            let number = |range: std::ops::RangeInclusive<u16>| {
                let expected = || refuse(format!("{key}={} to {}", range.start(), range.end()));
                value.parse().ok().filter(|number| range.contains(number)).ok_or_else(expected)
            };
            match (key.as_str(), value.as_str()) {
                ("queues", _) => {
                    parsed.queues = number(1..=QUEUES_MAX)?;
                    if ["net_vhost", "net_virtio_user"].iter().any(|driver| spec.arg.starts_with(driver)) {
                        parsed.devargs.push_str(&format!(",{key}={value}"));
                    }
                }
                ("rxd", _) => parsed.rx_descriptors = number(DESCRIPTORS)?,
                ("txd", _) => parsed.tx_descriptors = number(DESCRIPTORS)?,
                ("mtu", _) => parsed.mtu = Some(number(MTU)?),
                ("promiscuous", "on") => parsed.promiscuous = true,
                ("promiscuous", "off") => parsed.promiscuous = false,
                ("promiscuous", _) => return Err(refuse("promiscuous=on or off".to_owned())),
                ("buffers", "auto") => parsed.buffers = Buffers::Auto,
                ("buffers", "switch") => parsed.buffers = Buffers::Switch,
                ("buffers", "dpdk") => parsed.buffers = Buffers::Dpdk,
                ("buffers", _) => return Err(refuse("buffers=auto, switch or dpdk".to_owned())),
                _ => parsed.devargs.push_str(&format!(",{key}={value}")),
            }
        }
        Ok(parsed)
    }
}

/// Buffers of the switch that a port's device may hold, if it comes to that.
pub fn buffers_needed(options: &Options) -> usize {
    let whole = options.buffers != Buffers::Dpdk && (!is_pci(&options.device) || options.buffers == Buffers::Switch);
    let queues = usize::from(options.queues);
    let rings = queues * (usize::from(options.rx_descriptors) + usize::from(options.tx_descriptors));
    if cfg!(feature = "dpdk") && whole { rings + MBUFS_AROUND * (2 * queues + 1) } else { 0 }
}

/// Mbufs of a port beside those in rings, for each thread that may hold some.
const MBUFS_AROUND: usize = 256;

/// Is a device one on the PCI bus, by its name (`3b:00.0`, `0000:3b:00.0`)? Virtual ones have letters in front.
pub fn is_pci(device: &str) -> bool {
    let hexadecimal = |text: &str, digits: std::ops::RangeInclusive<usize>| {
        digits.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    let (address, function) = device.rsplit_once('.').unwrap_or((device, ""));
    let parts: Vec<&str> = address.split(':').collect();
    let (domain, rest) = if parts.len() == 3 { (Some(parts[0]), &parts[1..]) } else { (None, &parts[..]) };
    domain.is_none_or(|domain| hexadecimal(domain, 1..=8))
        && rest.len() == 2
        && rest.iter().all(|part| hexadecimal(part, 1..=2))
        && hexadecimal(function, 1..=1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(spec: &str) -> Result<Options, String> {
        Options::parse(&spec.parse().unwrap(), 512).map_err(|error| error.to_string())
    }

    #[test]
    fn our_options_and_the_drivers() {
        let options = parse("dpdk:net_tap0,iface=x,queues=2,mtu=9000,rxd=64,txd=4096,promiscuous=off,buffers=switch").unwrap();
        let expected = Options {
            device: "net_tap0".to_owned(),
            title: "net_tap0".to_owned(),
            devargs: "net_tap0,iface=x".to_owned(),
            queues: 2,
            rx_descriptors: 64,
            tx_descriptors: 4096,
            mtu: Some(9000),
            promiscuous: false,
            buffers: Buffers::Switch,
            vhost: None,
        };
        assert_eq!(options, expected);
        let options = parse("dpdk:0000:3b:00.0").unwrap();
        assert_eq!((options.devargs.as_str(), options.queues, options.tx_descriptors), ("0000:3b:00.0", 1, 512));
        let options = parse("dpdk:net_vhost0,iface=/tmp/v,queues=2").unwrap();
        assert_eq!((options.devargs.as_str(), options.vhost.as_deref()), ("net_vhost0,iface=/tmp/v,queues=2", Some("/tmp/v")));
    }

    #[test]
    fn values_that_cannot_be() {
        for (spec, message) in [
            ("dpdk:net_null0,queues=0", "`queues=0`: expected queues=1 to 64"),
            ("dpdk:net_null0,queues=65", "`queues=65`: expected queues=1 to 64"),
            ("dpdk:net_null0,rxd=many", "`rxd=many`: expected rxd=32 to 16384"),
            ("dpdk:net_null0,txd=16385", "`txd=16385`: expected txd=32 to 16384"),
            ("dpdk:net_null0,mtu=67", "`mtu=67`: expected mtu=68 to 65280"),
            ("dpdk:net_null0,promiscuous=yes", "`promiscuous=yes`: expected promiscuous=on or off"),
            ("dpdk:net_null0,buffers=mine", "`buffers=mine`: expected buffers=auto, switch or dpdk"),
        ] {
            assert_eq!(parse(spec), Err(message.to_owned()), "{spec}");
        }
    }

    #[test]
    fn addresses_of_the_bus_are_told_from_names() {
        for device in ["0000:3b:00.0", "3b:00.1", "10000:01:00.0"] {
            assert!(is_pci(device), "{device}");
        }
        for device in ["net_tap0", "net_null0.1", "", ":", "3b", "3b:00", "0000:3b:00", "0000:3g:00.0", "a:b:c:d.0", "net:pcap.0"] {
            assert!(!is_pci(device), "{device}");
        }
    }
}
