//! Ports on network interfaces through AF_XDP: the kernel's own driver, no binding, no hugepages needed.
//!
//! An XDP program on the interface (`bpf`) gives every frame of a receive queue to the socket of that queue (`socket`, `ring`); the
//! switch's mempool is the memory of all sockets (`umem`), so frames go from one interface to another, or to a memory port, without
//! being copied by us. (In copy mode the kernel copies between its own buffers and ours.) `queue` is what workers call, `keeper` the
//! life of the port: it goes away and comes back without the workers noticing more than an empty queue.
//!
//! Nothing is left behind on the interface when the process ends, by whatever signal: program, map and sockets hang on descriptors.
//!
//! **Modes**, best first: *zero-copy* (the NIC reads and writes the pool; needs a driver that can), *native, copy* (the program runs in the
//! driver), *skb, copy* (the program runs in the network stack; any interface). `auto` takes the best that is granted; what was obtained, and
//! why not better, is in [`Device::describe`](crate::Device::describe).
//!
//! Limits: [`QUEUES_MAX`] queues; a received frame of more than 1,792 bytes takes several buffers, a sent one is refused if it is in more than 17.
//! Features the kernel applies before XDP (stripped VLAN tags, merged segments, unfinished checksums) are not undone here.
//!
//! Unsafe code: system calls, rings shared with the kernel, and buffers without handles. Each submodule says what it relies on.
#![allow(unsafe_code)]

mod bpf;
mod interface;
mod keeper;
mod queue;
mod ring;
mod socket;
mod umem;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use thiserror::Error;

use bpf::{Attach, Link, SocketMap};
use interface::{Asker, Interface};
use queue::{RxHalf, Shared, TxHalf, XdpRx, XdpTx};
use socket::{Place, Plan, Socket};

use crate::device::Port;
use crate::mempool::Mempool;

/// Queues of an interface that are served, at most.
pub const QUEUES_MAX: u32 = 64;
/// Entries of an RX and a FILL ring: buffers that wait for frames at each queue.
pub const RX_RING: u32 = 1024;
/// Entries of a TX ring, at least and at most.
const TX_RING: std::ops::RangeInclusive<usize> = 64..=16384;
/// Buffers a sent frame may lie in: the first and 16 fragments. The kernel takes `MAX_SKB_FRAGS` + 1 = 18 in copy mode, and drops what is
/// longer without completing it, which would cost us the buffers.
const SEGMENTS_MAX: usize = 17;
/// Bytes the kernel reckons with in a buffer of a frame of several in zero-copy mode: 1,792 less `skb_shared_info`, by 128.
const ZERO_COPY_PIECE: usize = 1408;
/// What an Ethernet frame has around its payload, without FCS: header and two tags.
const AROUND_MTU: u32 = 14 + 2 * 4;

/// Which mode is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// The best that is granted.
    #[default]
    Auto,
    /// Zero-copy or an error.
    ZeroCopy,
    /// The program in the driver, frames copied, or an error.
    Native,
    /// The program in the network stack, frames copied.
    Skb,
}

/// What can be said about an AF_XDP port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// `mode=`.
    pub mode: Mode,
    /// `queues=`: how many receive queues the interface is expected to have, all of which are served; `None`: as many as it has.
    pub queues: Option<u32>,
    /// `busy-poll=`: microseconds; `None`: the kernel receives by interrupt.
    pub busy_poll: Option<u32>,
    /// Frames a transmit queue holds; rounded up to a power of two, 64 to 16,384. Not in the port spec: it is the port's `queue`.
    pub tx_queue: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options { mode: Mode::Auto, queues: None, busy_poll: None, tx_queue: 512 }
    }
}

impl Options {
    /// From the options of a port spec, `mode=auto|zerocopy|native|skb`, `queues=N`, `busy-poll=USECS`.
    ///
    /// # Errors
    /// The first option that is unknown or has a value that cannot be.
    pub fn parse(options: &BTreeMap<String, String>, tx_queue: usize) -> Result<Options, AfXdpError> {
        let mut parsed = Options { tx_queue, ..Options::default() };
        let refuse = |key: &str, value: &str, expected: String| AfXdpError::Option { text: format!("{key}={value}"), expected };
        for (key, value) in options {
            let number = |range: std::ops::RangeInclusive<u32>| {
                let expected = || refuse(key, value, format!("{key}={} to {}", range.start(), range.end()));
                value.parse().ok().filter(|number| range.contains(number)).ok_or_else(expected)
            };
            match (key.as_str(), value.as_str()) {
                ("mode", "auto") => parsed.mode = Mode::Auto,
                ("mode", "zerocopy") => parsed.mode = Mode::ZeroCopy,
                ("mode", "native") => parsed.mode = Mode::Native,
                ("mode", "skb") => parsed.mode = Mode::Skb,
                ("mode", _) => return Err(refuse(key, value, "mode=auto, zerocopy, native or skb".to_owned())),
                ("queues", _) => parsed.queues = Some(number(1..=QUEUES_MAX)?),
                ("busy-poll", _) => parsed.busy_poll = Some(number(1..=1_000_000)?),
                _ => return Err(refuse(key, value, "mode=, queues= or busy-poll=".to_owned())),
            }
        }
        Ok(parsed)
    }

    fn tx_ring(&self) -> u32 {
        self.tx_queue.clamp(*TX_RING.start(), *TX_RING.end()).next_power_of_two() as u32
    }
}

/// Why an AF_XDP port could not be opened.
#[derive(Debug, Error)]
pub enum AfXdpError {
    /// An option of the port spec.
    #[error("`{text}`: expected {expected}")]
    Option {
        /// As it was given.
        text: String,
        /// What could have been.
        expected: String,
    },
    /// The interface cannot be asked.
    #[error("interface {name}: {source}: `ip link` lists the interfaces of this network namespace")]
    Interface {
        /// Its name.
        name: String,
        /// What the kernel says.
        source: io::Error,
    },
    /// It has another number of queues than was expected.
    #[error(
        "interface {name} has {found} receive queues, expected {wanted}: each is served, or its frames are lost. Leave `queues` out, or set the interface with `ethtool -L {name} combined {wanted}` (or `rx {wanted} tx {wanted}`)"
    )]
    Queues {
        /// The interface.
        name: String,
        /// Queues it has.
        found: u32,
        /// Queues asked for, or the most there can be.
        wanted: u32,
    },
    /// Its frames are too long for what the kernel offers.
    #[error(
        "interface {name} has an MTU of {mtu}, and its frames do not fit in one buffer, which is all that this kernel or driver offers: \
         `ip link set {name} mtu {max}`, or use af_packet:{name}"
    )]
    Mtu {
        /// The interface.
        name: String,
        /// Its MTU.
        mtu: u32,
        /// The longest that would do.
        max: u32,
    },
    /// A right is missing.
    #[error("interface {name}: {step} is not permitted: {}", crate::privilege::advice())]
    Permission {
        /// The interface.
        name: String,
        /// What was refused.
        step: &'static str,
    },
    /// The pool may not be locked.
    #[error(
        "interface {name}: the kernel may not lock the packet pool of {mib} MiB (RLIMIT_MEMLOCK, counted once for each socket): grant \
         CAP_IPC_LOCK, raise the limit (`ulimit -l unlimited`, or `LimitMEMLOCK=infinity` in a systemd unit), or lower pool.buffers"
    )]
    Memlock {
        /// The interface.
        name: String,
        /// Size of the pool.
        mib: usize,
    },
    /// The mode asked for is not to be had.
    #[error("interface {name}: {reasons}")]
    Refused {
        /// The interface.
        name: String,
        /// What was tried, and what the kernel says.
        reasons: String,
    },
}

/// What was obtained.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Obtained {
    attach: Attach,
    zero_copy: bool,
    /// Why it is not better.
    reasons: Vec<String>,
}

impl Obtained {
    fn mode(&self) -> &'static str {
        match (self.attach, self.zero_copy) {
            (_, true) => "zero-copy",
            (Attach::Native, false) => "native, copy",
            (Attach::Skb, false) => "skb, copy",
        }
    }
}

impl fmt::Display for Obtained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.mode())?;
        if self.reasons.is_empty() { Ok(()) } else { write!(f, ": {}", self.reasons.join("; ")) }
    }
}

/// A program on an interface and the halves of a socket for each of its queues.
struct Opened {
    link: Link,
    obtained: Obtained,
    sockets: Vec<std::sync::Weak<Socket>>,
    rx: Vec<RxHalf>,
    tx: Vec<TxHalf>,
}

/// Buffers that a port holds for itself: those that wait for frames and those that are being sent.
pub fn buffers_needed(name: &str, options: &Options) -> usize {
    let queues = match (options.queues, Asker::new().and_then(|asker| asker.interface(name))) {
        (Some(queues), _) => queues,
        (None, Ok(interface)) => interface.rx_queues.min(QUEUES_MAX),
        (None, Err(_)) => 1, // Opening it will say what is wrong.
    };
    queues as usize * (RX_RING + options.tx_ring()) as usize
}

/// Opens a port on the interface `name` of the calling thread's network namespace, with buffers of `mempool`.
///
/// Receive queue `i` of the port is that of the interface, and so is transmit queue `i`, as far as the interface has as many.
///
/// # Errors
/// See [`AfXdpError`]: each says what to do.
pub fn open(name: &str, options: &Options, mempool: &Mempool) -> Result<Port, AfXdpError> {
    let asker = Asker::new().map_err(|source| AfXdpError::Interface { name: name.to_owned(), source })?;
    let interface = asker.interface(name).map_err(|source| AfXdpError::Interface { name: name.to_owned(), source })?;
    if let Some(wanted) = options.queues
        && wanted != interface.rx_queues
    {
        return Err(AfXdpError::Queues { name: name.to_owned(), found: interface.rx_queues, wanted });
    }
    if interface.rx_queues > QUEUES_MAX {
        return Err(AfXdpError::Queues { name: name.to_owned(), found: interface.rx_queues, wanted: QUEUES_MAX });
    }
    let stranded = Arc::new(AtomicU64::new(0));
    let mut opened = open_sockets(name, &interface, options, mempool, &stranded)?;
    let shared = Arc::new(Shared::new(opened.rx.len(), opened.tx.len(), interface.frame_max(), stranded));
    let mut pool = mempool.cache();
    let mut port_rx: Vec<Box<dyn crate::RxQueue>> = Vec::new();
    for (queue, mut half) in std::mem::take(&mut opened.rx).into_iter().enumerate() {
        half.fill(&mut pool);
        port_rx.push(Box::new(XdpRx::new(half, queue, Arc::clone(&shared), &pool)));
    }
    let mut port_tx: Vec<Box<dyn crate::TxQueue>> = Vec::new();
    for (queue, half) in std::mem::take(&mut opened.tx).into_iter().enumerate() {
        port_tx.push(Box::new(XdpTx::new(half, queue, Arc::clone(&shared), &pool)));
    }
    let device = keeper::start(name, interface, options.clone(), mempool.clone(), shared, opened)
        .map_err(|source| AfXdpError::Interface { name: name.to_owned(), source })?;
    Ok(Port { rx: port_rx, tx: port_tx, device: Box::new(device) })
}

/// Attaches and binds in the best mode that is wanted and granted.
fn open_sockets(
    name: &str,
    interface: &Interface,
    options: &Options,
    mempool: &Mempool,
    stranded: &Arc<AtomicU64>,
) -> Result<Opened, AfXdpError> {
    let system = |step: &'static str, error: &io::Error| explain(name, mempool, step, error);
    let map = SocketMap::new(interface.rx_queues).map_err(|error| {
        system("a BPF map", &error).unwrap_or_else(|| AfXdpError::Refused { name: name.to_owned(), reasons: refusal("a BPF map", &error) })
    })?;
    let one_buffer = interface.mtu + AROUND_MTU <= umem::RX_SEGMENT_MAX as u32;
    let mut reasons = Vec::new();
    let attaches: &[Attach] = match options.mode {
        Mode::Auto => &[Attach::Native, Attach::Skb],
        Mode::ZeroCopy | Mode::Native => &[Attach::Native],
        Mode::Skb => &[Attach::Skb],
    };
    let mut too_long = false;
    for &attach in attaches {
        let what = if attach == Attach::Native { "native XDP" } else { "skb XDP" };
        // With fragments first; without them if the kernel or driver cannot, and no frame needs them.
        let attached = Link::attach(&map, interface.index, attach, true).map(|link| (link, true)).or_else(|error| {
            if one_buffer && !matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EPERM)) {
                return Link::attach(&map, interface.index, attach, false).map(|link| (link, false));
            }
            Err(error)
        });
        let (link, fragments) = match attached {
            Ok(attached) => attached,
            Err(error) => {
                if let Some(error) = system("an XDP program", &error) {
                    return Err(error);
                }
                reasons.push(format!("{what} refused by {}: {}", interface.driver, attach_refusal(name, &error)));
                continue;
            }
        };
        // Each with or without frames of several buffers (`XDP_USE_SG`). A NIC needs not do what no frame asks for; in copy mode it costs
        // nothing, and catches what is longer than the MTU. Kernels before Linux 6.6 do not know it.
        let zero_copy = [(true, fragments && !one_buffer)];
        let copy = [(false, fragments), (false, false)];
        let copy = if fragments && one_buffer { &copy[..] } else { &copy[..1] };
        let attempts = match (options.mode, attach) {
            (Mode::Auto, Attach::Native) => [&zero_copy, copy].concat(),
            (Mode::ZeroCopy, _) => zero_copy.to_vec(),
            _ => copy.to_vec(),
        };
        let mut link = Some(link);
        for (zero_copy, fragments) in attempts {
            let (tx_ring, busy_poll) = (Some(options.tx_ring()), options.busy_poll);
            let plan = Plan { rx_ring: RX_RING, tx_ring, zero_copy, fragments, busy_poll };
            match bind_all(interface, &map, &plan, mempool, stranded) {
                Ok((sockets, rx, tx)) => {
                    let zero_copy = sockets.iter().all(|socket| socket.upgrade().is_some_and(|socket| socket.is_zero_copy()));
                    let Some(link) = link.take() else { unreachable!("taken once, by who returns") };
                    return Ok(Opened { link, obtained: Obtained { attach, zero_copy, reasons }, sockets, rx, tx });
                }
                Err((step, error)) => {
                    if let Some(error) = system(step, &error) {
                        return Err(error);
                    }
                    let what = if zero_copy { "zero-copy".to_owned() } else { format!("{what}: {step}") };
                    reasons.push(format!("{what} refused by {}: {}", interface.driver, errno(&error)));
                    too_long |= !one_buffer && error.raw_os_error() == Some(libc::EINVAL);
                }
            }
        }
    }
    if too_long && options.mode != Mode::ZeroCopy {
        let max = umem::RX_SEGMENT_MAX as u32 - AROUND_MTU;
        return Err(AfXdpError::Mtu { name: name.to_owned(), mtu: interface.mtu, max });
    }
    Err(AfXdpError::Refused { name: name.to_owned(), reasons: reasons.join("; ") })
}

type Bound = (Vec<std::sync::Weak<Socket>>, Vec<RxHalf>, Vec<TxHalf>);

/// A socket for each receive queue. All in the same mode, or none.
fn bind_all(
    interface: &Interface,
    map: &SocketMap,
    plan: &Plan,
    mempool: &Mempool,
    stranded: &Arc<AtomicU64>,
) -> Result<Bound, (&'static str, io::Error)> {
    let (mut sockets, mut rx, mut tx) = (Vec::new(), Vec::new(), Vec::new());
    for queue in 0..interface.rx_queues {
        let place = Place { ifindex: interface.index, queue };
        let plan = Plan { tx_ring: plan.tx_ring.filter(|_| queue < interface.tx_queues), ..*plan };
        let (socket, rx_rings, tx_rings) = Socket::open(mempool, place, &plan, stranded)?;
        map.insert(queue, socket.as_fd()).map_err(|error| ("the map of sockets", error))?;
        sockets.push(Arc::downgrade(&socket));
        if let Some(rings) = tx_rings {
            let segments_max = match (plan.fragments, plan.zero_copy) {
                (false, _) => 1,
                (true, false) => SEGMENTS_MAX,
                // The kernel has checked that the NIC takes as many pieces of this size as the MTU needs, and promises no more.
                (true, true) => (interface.frame_max() as usize).div_ceil(ZERO_COPY_PIECE).min(SEGMENTS_MAX),
            };
            tx.push(TxHalf::new(Arc::clone(&socket), rings, segments_max, plan.busy_poll.is_some()));
        }
        rx.push(RxHalf::new(socket, rx_rings, plan.rx_ring, plan.busy_poll.is_some()));
    }
    Ok((sockets, rx, tx))
}

/// Errors that no other mode would mend.
fn explain(name: &str, mempool: &Mempool, step: &'static str, error: &io::Error) -> Option<AfXdpError> {
    let name = name.to_owned();
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => Some(AfXdpError::Permission { name, step }),
        Some(libc::ENOBUFS) if step == "XDP_UMEM_REG" => Some(AfXdpError::Memlock { name, mib: mempool.area().1 >> 20 }),
        Some(libc::EAFNOSUPPORT) => {
            Some(AfXdpError::Refused { name, reasons: "this kernel has no AF_XDP (CONFIG_XDP_SOCKETS): use af_packet".to_owned() })
        }
        _ => None,
    }
}

/// What stands in the way of a program on an interface, and what helps.
fn attach_refusal(name: &str, error: &io::Error) -> String {
    let cure = match error.raw_os_error() {
        Some(libc::EBUSY | libc::EEXIST) => {
            format!("another XDP program is attached (`ip link show {name}` names it, `ip link set {name} xdp off` takes it off)")
        }
        Some(libc::ENOSPC) => {
            format!("the other end of the veth has more transmit queues than {name} has receive queues (`ethtool -L`)")
        }
        Some(libc::ERANGE) => "the MTU of the other end of the veth is too large for one buffer".to_owned(),
        _ => return errno(error),
    };
    format!("{}: {cure}", errno(error))
}

fn refusal(step: &str, error: &io::Error) -> String {
    format!("{step} refused: {}", errno(error))
}

/// The error by the name that manuals and search engines know.
fn errno(error: &io::Error) -> String {
    let name = match error.raw_os_error() {
        Some(libc::EOPNOTSUPP) => "EOPNOTSUPP",
        Some(libc::EINVAL) => "EINVAL",
        Some(libc::EBUSY) => "EBUSY",
        Some(libc::EEXIST) => "EEXIST",
        Some(libc::ENOSPC) => "ENOSPC",
        Some(libc::ERANGE) => "ERANGE",
        Some(libc::ENODEV) => "ENODEV",
        Some(libc::ENOMEM) => "ENOMEM",
        Some(libc::ENOBUFS) => "ENOBUFS",
        Some(libc::ENETDOWN) => "ENETDOWN",
        _ => return error.to_string(),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Options, String> {
        let options = text.split(',').filter_map(|option| option.split_once('='));
        let options = options.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        Options::parse(&options, 512).map_err(|error| error.to_string())
    }

    #[test]
    fn options_are_what_they_say() {
        assert_eq!(parse(""), Ok(Options::default()));
        let expected = Options { mode: Mode::Skb, queues: Some(4), busy_poll: Some(20), tx_queue: 512 };
        assert_eq!(parse("mode=skb,queues=4,busy-poll=20"), Ok(expected));
        for (text, message) in [
            ("mode=drv", "`mode=drv`: expected mode=auto, zerocopy, native or skb"),
            ("queues=0", "`queues=0`: expected queues=1 to 64"),
            ("queues=many", "`queues=many`: expected queues=1 to 64"),
            ("busy-poll=-1", "`busy-poll=-1`: expected busy-poll=1 to 1000000"),
            ("mdoe=skb", "`mdoe=skb`: expected mode=, queues= or busy-poll="),
        ] {
            assert_eq!(parse(text), Err(message.to_owned()));
        }
    }

    #[test]
    fn transmit_rings_are_powers_of_two_within_limits() {
        for (queue, ring) in [(0, 64), (64, 64), (65, 128), (512, 512), (1000, 1024), (usize::MAX, 16384)] {
            assert_eq!(Options { tx_queue: queue, ..Options::default() }.tx_ring(), ring);
        }
    }

    #[test]
    fn an_interface_that_is_not_there_is_named() {
        let mempool = Mempool::new(64, crate::Hugepages::Never).unwrap();
        for name in ["nosuch0", "a-name-that-no-interface-can-have", ""] {
            let error = open(name, &Options::default(), &mempool).unwrap_err().to_string();
            assert!(error.contains(&format!("interface {name}: ")) && error.contains("`ip link`"), "{error}");
        }
    }
}
