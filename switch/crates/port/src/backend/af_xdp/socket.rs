//! One AF_XDP socket: made, bound to a queue of an interface, and closed so that no buffer is lost or given away too early.
//!
//! A socket has four rings: FILL and RX for reception, TX and COMPLETION for transmission. The two halves ([`RxRings`], [`TxRings`])
//! may belong to different threads; what they share is the [`Socket`], which is closed when both are gone.
//!
//! **Closing.** The buffers in the kernel's hands go back to the pool when the kernel cannot touch them any more, not earlier: a
//! frame received into a buffer that somebody else has by then would be a frame changed at random. In copy mode that is when
//! `close` returns (`xsk_release` waits for whoever is receiving; mappings of rings keep a socket open, so they go first). In zero-copy
//! mode the driver lets go later, from a work queue; until it has, the queue refuses a new socket with EBUSY, and that is
//! how we know. If it never does, the buffers stay lost, and that is counted: better than sharing them with a NIC.
//!
//! Threads: closing may take some milliseconds and takes a lock; it happens on control's side, or when a worker is dropped.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::ring::{ConsumerRing, ProducerRing};
use super::umem::{self, InFlight, Lent};
use crate::mempool::{Hugepages, Mempool};
use crate::packet::Packet;

/// A queue that was just closed is busy for up to some 55 ms: the kernel lets go of it from a work queue.
const REBIND: Duration = Duration::from_millis(500);
/// How long a driver may take to let go of its buffers in zero-copy mode.
const QUIESCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(2);
/// Frames the kernel sends in a call in copy mode; without this option 32 (Linux 6.17, `XDP_MAX_TX_SKB_BUDGET`).
const XDP_MAX_TX_SKB_BUDGET: libc::c_int = 9;
const TX_BUDGET: u32 = 256;
const SO_PREFER_BUSY_POLL: libc::c_int = 69;
const SO_BUSY_POLL_BUDGET: libc::c_int = 70;

/// Sets a socket option.
pub fn set_option<T>(fd: RawFd, level: libc::c_int, name: libc::c_int, value: &T) -> io::Result<()> {
    // SAFETY: the kernel reads `size_of::<T>()` bytes from a live reference.
    let result = unsafe { libc::setsockopt(fd, level, name, std::ptr::from_ref(value).cast(), size_of::<T>() as libc::socklen_t) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Reads a socket option of the AF_XDP level. `T` is one of its `repr(C)` structures of integers.
fn get_option<T: Copy>(fd: RawFd, name: libc::c_int, mut value: T) -> io::Result<T> {
    let mut len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes into a live variable of that size, for which any bits are valid.
    let result = unsafe { libc::getsockopt(fd, libc::SOL_XDP, name, std::ptr::from_mut(&mut value).cast(), &mut len) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(value) }
}

/// What to bind to.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The interface.
    pub ifindex: u32,
    /// Its queue.
    pub queue: u32,
}

/// How to make a socket.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Entries of the RX and the FILL ring, a power of two.
    pub rx_ring: u32,
    /// Entries of the TX and the COMPLETION ring, a power of two; `None`: the socket only receives.
    pub tx_ring: Option<u32>,
    /// Bind with `XDP_ZEROCOPY`, or with `XDP_COPY`.
    pub zero_copy: bool,
    /// Frames of several buffers (`XDP_USE_SG`).
    pub fragments: bool,
    /// Microseconds of busy polling.
    pub busy_poll: Option<u32>,
}

/// The socket itself, and what its halves had in the kernel when they were dropped.
#[derive(Debug)]
pub struct Socket {
    /// `None` only while it is being dropped.
    fd: Option<OwnedFd>,
    raw: RawFd,
    place: Place,
    zero_copy: bool,
    mempool: Mempool,
    remains: Mutex<Remains>,
    /// Buffers that could not be given back. Shared with the port.
    stranded: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct Remains {
    lent: Option<Lent>,
    in_flight: Option<InFlight>,
    partial: Option<Packet>,
}

/// The receiving half's rings.
pub struct RxRings {
    /// Frames for us.
    pub rx: ConsumerRing<libc::xdp_desc>,
    /// Buffers for the kernel.
    pub fill: ProducerRing<u64>,
}

/// The transmitting half's rings.
pub struct TxRings {
    /// Frames for the kernel.
    pub tx: ProducerRing<libc::xdp_desc>,
    /// What it has sent.
    pub completion: ConsumerRing<u64>,
    /// Entries of each.
    pub size: u32,
}

/// A socket and its rings; those for transmission only if they were asked for.
pub type Bound = (Arc<Socket>, RxRings, Option<TxRings>);

impl Socket {
    /// A bound socket and its rings. Nothing is received before buffers are in the FILL ring and the socket is in the map.
    ///
    /// # Errors
    /// The step that failed, and how.
    pub fn open(mempool: &Mempool, place: Place, plan: &Plan, stranded: &Arc<AtomicU64>) -> Result<Bound, (&'static str, io::Error)> {
        let fd = raw_socket().map_err(|error| ("socket(AF_XDP)", error))?;
        umem::register(fd.as_fd(), mempool).map_err(|error| ("XDP_UMEM_REG", error))?;
        let raw = fd.as_raw_fd();
        let completion = plan.tx_ring.unwrap_or(plan.rx_ring);
        let sizes = [
            ("XDP_UMEM_FILL_RING", libc::XDP_UMEM_FILL_RING, Some(plan.rx_ring)),
            ("XDP_UMEM_COMPLETION_RING", libc::XDP_UMEM_COMPLETION_RING, Some(completion)),
            ("XDP_RX_RING", libc::XDP_RX_RING, Some(plan.rx_ring)),
            ("XDP_TX_RING", libc::XDP_TX_RING, plan.tx_ring),
        ];
        for (step, name, size) in sizes {
            if let Some(size) = size {
                set_option(raw, libc::SOL_XDP, name, &size).map_err(|error| (step, error))?;
            }
        }
        // Both are about speed: a kernel that does not know them sends 32 frames a call, and a small send buffer holds back sooner.
        if let Some(tx) = plan.tx_ring {
            let _ = set_option(raw, libc::SOL_XDP, XDP_MAX_TX_SKB_BUDGET, &TX_BUDGET.min(tx));
            let _ = set_option(raw, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, &(tx as libc::c_int * umem::RX_SEGMENT_MAX as libc::c_int));
        }
        if let Some(usecs) = plan.busy_poll {
            let options = [(SO_PREFER_BUSY_POLL, 1), (libc::SO_BUSY_POLL, usecs as libc::c_int), (SO_BUSY_POLL_BUDGET, 64)];
            for (name, value) in options {
                set_option(raw, libc::SOL_SOCKET, name, &value).map_err(|error| ("busy polling", error))?;
            }
        }
        let none = libc::xdp_ring_offset { producer: 0, consumer: 0, desc: 0, flags: 0 };
        let offsets = libc::xdp_mmap_offsets { rx: none, tx: none, fr: none, cr: none };
        let offsets = get_option(raw, libc::XDP_MMAP_OFFSETS, offsets).map_err(|error| ("XDP_MMAP_OFFSETS", error))?;
        let mapped = |error| ("mmap of a ring", error);
        let rx = RxRings {
            rx: ConsumerRing::map(fd.as_fd(), libc::XDP_PGOFF_RX_RING, &offsets.rx, plan.rx_ring).map_err(mapped)?,
            fill: ProducerRing::map(fd.as_fd(), libc::XDP_UMEM_PGOFF_FILL_RING as libc::off_t, &offsets.fr, plan.rx_ring)
                .map_err(mapped)?,
        };
        let tx = match plan.tx_ring {
            Some(size) => {
                let page = libc::XDP_UMEM_PGOFF_COMPLETION_RING as libc::off_t;
                Some(TxRings {
                    tx: ProducerRing::map(fd.as_fd(), libc::XDP_PGOFF_TX_RING, &offsets.tx, size).map_err(mapped)?,
                    completion: ConsumerRing::map(fd.as_fd(), page, &offsets.cr, size).map_err(mapped)?,
                    size,
                })
            }
            None => None,
        };
        let mut flags = libc::XDP_USE_NEED_WAKEUP | if plan.zero_copy { libc::XDP_ZEROCOPY } else { libc::XDP_COPY };
        if plan.fragments {
            flags |= libc::XDP_USE_SG;
        }
        bind_patiently(raw, place, flags).map_err(|error| ("bind", error))?;
        let options = get_option(raw, libc::XDP_OPTIONS, libc::xdp_options { flags: 0 }).map_err(|error| ("XDP_OPTIONS", error))?;
        let zero_copy = options.flags & libc::XDP_OPTIONS_ZEROCOPY != 0;
        let (mempool, stranded) = (mempool.clone(), Arc::clone(stranded));
        Ok((Arc::new(Socket { fd: Some(fd), raw, place, zero_copy, mempool, remains: Mutex::default(), stranded }), rx, tx))
    }

    /// The pool it works with.
    pub fn mempool(&self) -> &Mempool {
        &self.mempool
    }

    /// Frames are not copied between NIC and pool: what was obtained (`XDP_OPTIONS`).
    pub fn is_zero_copy(&self) -> bool {
        self.zero_copy
    }

    /// For the map of sockets.
    pub fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        match &self.fd {
            Some(fd) => fd.as_fd(),
            None => unreachable!("only while it is dropped"),
        }
    }

    /// Has the kernel look at the TX ring.
    ///
    /// # Errors
    /// EAGAIN: it sent a part; EBUSY: the device dropped a frame; ENETDOWN: the interface is switched off; ENXIO: it is gone.
    #[inline]
    pub fn kick_tx(&self) -> io::Result<()> {
        // SAFETY: no buffer is passed, and the descriptor is open as long as `self` lives.
        let result = unsafe { libc::sendto(self.raw, std::ptr::null(), 0, libc::MSG_DONTWAIT, std::ptr::null(), 0) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Has the kernel look at the FILL ring, and receive if it is polled.
    ///
    /// # Errors
    /// ENETDOWN: the interface is switched off; ENXIO: it is gone, or has been in another namespace.
    #[inline]
    pub fn kick_rx(&self) -> io::Result<()> {
        // SAFETY: as in `kick_tx`.
        let result =
            unsafe { libc::recvfrom(self.raw, std::ptr::null_mut(), 0, libc::MSG_DONTWAIT, std::ptr::null_mut(), std::ptr::null_mut()) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Its interface went away, and the socket is bound to nothing any more: for good, also if the interface comes back.
    pub fn is_unbound(&self) -> bool {
        self.kick_rx().is_err_and(|error| error.raw_os_error() == Some(libc::ENXIO))
    }

    /// What the kernel has counted for this socket.
    pub fn statistics(&self) -> Option<libc::xdp_statistics> {
        let none = libc::xdp_statistics {
            rx_dropped: 0,
            rx_invalid_descs: 0,
            tx_invalid_descs: 0,
            rx_ring_full: 0,
            rx_fill_ring_empty_descs: 0,
            tx_ring_empty_descs: 0,
        };
        get_option(self.raw, libc::XDP_STATISTICS, none).ok()
    }

    /// The receiving half ends. Its rings are to be dropped before the socket is.
    pub fn leave_rx(&self, lent: Lent, partial: Option<Packet>) {
        let mut remains = self.remains.lock().unwrap_or_else(PoisonError::into_inner);
        remains.lent = Some(lent);
        remains.partial = partial;
    }

    /// The transmitting half ends. Its rings are to be dropped before the socket is.
    pub fn leave_tx(&self, in_flight: InFlight) {
        self.remains.lock().unwrap_or_else(PoisonError::into_inner).in_flight = Some(in_flight);
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let mut remains = std::mem::take(&mut *self.remains.lock().unwrap_or_else(PoisonError::into_inner));
        // The halves are gone and so are their mappings: this is the last reference, and `close` waits for the kernel.
        drop(self.fd.take());
        let mut pool = self.mempool.cache();
        if let Some(packet) = remains.partial.take() {
            pool.free(packet);
        }
        if self.zero_copy && !is_free(self.place) {
            let lent = remains.lent.map_or(0, |lent| lent.count()) + remains.in_flight.map_or(0, |in_flight| in_flight.count());
            self.stranded.fetch_add(lent.into(), Ordering::Relaxed);
            return;
        }
        // SAFETY: the socket is closed; in copy mode nobody touches its buffers after that, in zero-copy mode the driver has let go
        // of them (module text).
        unsafe {
            if let Some(lent) = &mut remains.lent {
                lent.give_back(&mut pool);
            }
            if let Some(in_flight) = &mut remains.in_flight {
                in_flight.give_back(&mut pool);
            }
        }
    }
}

fn raw_socket() -> io::Result<OwnedFd> {
    // SAFETY: makes a new descriptor and touches no memory.
    let fd = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: new, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn bind(fd: RawFd, place: Place, flags: u16) -> io::Result<()> {
    let address = libc::sockaddr_xdp {
        sxdp_family: libc::AF_XDP as u16,
        sxdp_flags: flags,
        sxdp_ifindex: place.ifindex,
        sxdp_queue_id: place.queue,
        sxdp_shared_umem_fd: 0,
    };
    // SAFETY: the kernel reads the address of the size given.
    let result = unsafe { libc::bind(fd, std::ptr::from_ref(&address).cast(), size_of::<libc::sockaddr_xdp>() as libc::socklen_t) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Binds; a queue that is busy may be one that was just closed.
fn bind_patiently(fd: RawFd, place: Place, flags: u16) -> io::Result<()> {
    let deadline = Instant::now() + REBIND;
    loop {
        match bind(fd, place, flags) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) && Instant::now() < deadline => std::thread::sleep(PAUSE),
            result => return result,
        }
    }
}

/// Waits until the kernel has let go of a queue whose socket was closed: it takes a new one, or the interface is gone.
fn is_free(place: Place) -> bool {
    let deadline = Instant::now() + QUIESCE;
    let probe = || -> io::Result<()> {
        let mempool = Mempool::new(2, Hugepages::Never)?;
        let fd = raw_socket()?;
        umem::register(fd.as_fd(), &mempool)?;
        for name in [libc::XDP_UMEM_FILL_RING, libc::XDP_UMEM_COMPLETION_RING, libc::XDP_RX_RING] {
            set_option(fd.as_raw_fd(), libc::SOL_XDP, name, &1u32)?;
        }
        bind(fd.as_raw_fd(), place, libc::XDP_COPY)
    };
    loop {
        match probe() {
            Ok(()) => return true,
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => return true,
            Err(_) if Instant::now() >= deadline => return false,
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}
