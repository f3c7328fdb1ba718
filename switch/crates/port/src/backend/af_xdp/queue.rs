//! The queue ends of an AF_XDP port, as a worker has them.
//!
//! A queue end outlives its sockets: an interface may be unplugged and come back while the worker runs. So the end holds a half of a
//! socket, or none, and exchanges it when the port's generation changes ([`Shared`]): the old half goes to the keeper, who closes it (that
//! takes time a worker does not have), the new one comes from there. Looking costs one load of a word that hardly ever changes, per burst.
//!
//! **Reception.** Every burst puts as many fresh buffers in the FILL ring as it took out of the RX ring; what the kernel holds for
//! reception is constant. A frame of several descriptors (`XDP_PKT_CONTD`) becomes a chain of buffers.
//!
//! **Transmission.** A packet's buffers go as they are. The kernel is called once, in `flush` at the end of the turn, if it sleeps. In
//! copy mode it always does: a call sends up to 256 frames (older kernels 32), so it is repeated until the ring is empty or the
//! kernel says why not. A queue whose interface is gone or switched off refuses ([`Refusal::Down`]); frames that were accepted before that
//! was known, or that the device dropped, are counted by reason ([`Failed`]).

use std::cell::Cell;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use crossbeam::queue::ArrayQueue;

use super::socket::{RxRings, Socket, TxRings};
use super::umem::{self, InFlight, Lent};
use crate::clock::Nanos;
use crate::device::{Refusal, RxDrops, RxQueue, TxQueue};
use crate::mempool::{BUFFER_SIZE, FRAME_MAX, PoolCache};
use crate::packet::{Burst, Packet};

/// An Ethernet header: shorter is no frame.
const FRAME_MIN: usize = 14;
/// Calls to the kernel in one flush, at most: with 256 frames each, or one refused frame each.
const KICKS_MAX: usize = 64;
/// How often an interface that is switched off is tried again.
const RETRY: Nanos = Nanos(10_000_000);
/// How old the kernel's statistics may be.
const STATISTICS_AGE: Nanos = Nanos(1_000_000);

/// Frames that were accepted for transmission and not sent, by reason. Written by the queue ends, read by control.
#[derive(Debug, Default)]
pub struct Failed {
    /// They were on their way when the interface went.
    pub gone: AtomicU64,
    /// The device dropped them: no carrier at the far end, longer than it takes, its queue full.
    pub refused: AtomicU64,
    /// Shorter than an Ethernet header.
    pub runt: AtomicU64,
}

/// Where a queue end and the keeper exchange halves.
#[derive(Debug)]
pub struct Exchange<H> {
    /// From the keeper.
    pub fresh: ArrayQueue<H>,
    /// To the keeper.
    pub spent: ArrayQueue<H>,
    /// The queue end is gone: nobody takes a fresh one.
    pub abandoned: AtomicBool,
}

impl<H> Exchange<H> {
    fn new() -> Self {
        Exchange { fresh: ArrayQueue::new(1), spent: ArrayQueue::new(2), abandoned: AtomicBool::new(false) }
    }
}

/// What the ends of a port and its keeper share.
pub struct Shared {
    /// Which halves are good. Written by the keeper, after it has put the fresh ones in their places.
    pub generation: AtomicU32,
    /// One for each receive queue.
    pub rx: Vec<Exchange<RxHalf>>,
    /// One for each transmit queue.
    pub tx: Vec<Exchange<TxHalf>>,
    /// The longest frame that can be sent, in bytes. Written by the keeper.
    pub frame_max: AtomicU32,
    /// What could not be sent.
    pub failed: Failed,
    /// Buffers that a driver did not give back.
    pub stranded: Arc<AtomicU64>,
}

impl Shared {
    /// For a port with so many queues, of frames of at most `frame_max` bytes.
    pub fn new(rx: usize, tx: usize, frame_max: u32, stranded: Arc<AtomicU64>) -> Shared {
        Shared {
            frame_max: AtomicU32::new(frame_max),
            generation: AtomicU32::new(0),
            rx: (0..rx).map(|_| Exchange::new()).collect(),
            tx: (0..tx).map(|_| Exchange::new()).collect(),
            failed: Failed::default(),
            stranded,
        }
    }
}

/// A frame of which not all descriptors have come.
struct Partial {
    packet: Packet,
    last: u32,
}

/// The receiving half of a socket.
pub struct RxHalf {
    rings: RxRings,
    lent: Lent,
    partial: Option<Partial>,
    /// The rest of the frame in progress is to be thrown away.
    skipping: bool,
    /// Buffers the kernel shall have.
    level: u32,
    busy_poll: bool,
    // Last: its rings are unmapped before it is closed.
    socket: Arc<Socket>,
}

impl std::fmt::Debug for RxHalf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RxHalf({} buffers lent)", self.lent.count())
    }
}

impl RxHalf {
    /// A half that keeps `level` buffers in the kernel's hands (as many as the rings have entries).
    pub fn new(socket: Arc<Socket>, rings: RxRings, level: u32, busy_poll: bool) -> RxHalf {
        let lent = Lent::new(socket.mempool().buffers());
        RxHalf { rings, lent, partial: None, skipping: false, level, busy_poll, socket }
    }

    /// Fills the FILL ring up.
    #[inline]
    pub fn fill(&mut self, pool: &mut PoolCache) {
        let missing = self.level.saturating_sub(self.lent.count());
        if missing > 0 {
            for _ in 0..missing.min(self.rings.fill.room(missing)) {
                let Some(buffer) = self.lent.lend(pool) else { break };
                if !self.rings.fill.push(umem::address(buffer)) {
                    unreachable!("there is room, and nobody else pushes");
                }
            }
            self.rings.fill.submit();
        }
        if self.rings.fill.needs_wakeup() && !self.busy_poll {
            let _ = self.socket.kick_rx(); // What is wrong with the interface is found out by who watches it.
        }
    }

    /// Takes what one descriptor says; the packet if it is complete.
    #[inline]
    fn accept(&mut self, descriptor: libc::xdp_desc, pool: &mut PoolCache, drops: &mut RxDrops) -> Option<Packet> {
        let more = descriptor.options & libc::XDP_PKT_CONTD != 0;
        let len = descriptor.len as usize;
        // What the kernel hands over is checked here, once; after that it is ours.
        let buffer = match umem::locate(descriptor.addr, self.lent_of()) {
            Some((buffer, offset)) if self.lent.remove(buffer) => Ok((buffer, offset)),
            _ => Err(()),
        };
        let sound = match buffer {
            Ok((buffer, offset)) if len > 0 && offset + len <= BUFFER_SIZE && offset.is_multiple_of(2) => Some((buffer, offset)),
            Ok((buffer, _)) => {
                // SAFETY: it was lent, and just taken off the table.
                unsafe { pool.take_back(buffer) };
                None
            }
            Err(()) => None,
        };
        if !more && !self.skipping && self.partial.is_none() {
            let Some((buffer, offset)) = sound else {
                drops.malformed += 1;
                return None;
            };
            // SAFETY: it was lent, and just taken off the table; place and length were checked above.
            return Some(unsafe { pool.received(buffer, offset, len) });
        }
        self.accept_part(sound, len, more, pool, drops)
    }

    /// A descriptor of a frame of several.
    #[inline(never)]
    fn accept_part(
        &mut self,
        part: Option<(u32, usize)>,
        len: usize,
        more: bool,
        pool: &mut PoolCache,
        drops: &mut RxDrops,
    ) -> Option<Packet> {
        match (part, &mut self.partial) {
            (Some((buffer, _)), _) if self.skipping => {
                drops.bytes += len as u64;
                // SAFETY: it was lent, and taken off the table (`accept`).
                unsafe { pool.take_back(buffer) };
            }
            (Some((buffer, offset)), Some(partial)) if partial.packet.len() + len <= FRAME_MAX => {
                // SAFETY: as above, place and length were checked; the packet was made here and is nobody else's.
                unsafe { pool.append(&mut partial.packet, partial.last, buffer, offset, len) };
                partial.last = buffer;
            }
            (Some((buffer, offset)), None) => {
                // SAFETY: as above.
                let packet = unsafe { pool.received(buffer, offset, len) };
                self.partial = Some(Partial { packet, last: buffer });
            }
            (Some((buffer, _)), Some(_)) => {
                // SAFETY: as above.
                unsafe { pool.take_back(buffer) };
                drops.bytes += len as u64;
                drops.oversize += 1;
                self.skipping = true;
            }
            (None, _) => {
                drops.malformed += !self.skipping as u64;
                self.skipping = true;
            }
        }
        if self.skipping
            && let Some(partial) = self.partial.take()
        {
            drops.bytes += partial.packet.len() as u64;
            pool.free(partial.packet);
        }
        if more {
            return None;
        }
        self.skipping = false;
        self.partial.take().map(|partial| partial.packet)
    }

    fn lent_of(&self) -> u32 {
        self.socket.mempool().buffers()
    }
}

impl Drop for RxHalf {
    fn drop(&mut self) {
        let lent = std::mem::replace(&mut self.lent, Lent::new(0));
        self.socket.leave_rx(lent, self.partial.take().map(|partial| partial.packet));
    }
}

/// A receive queue.
pub struct XdpRx {
    half: Option<RxHalf>,
    queue: usize,
    generation: u32,
    shared: Arc<Shared>,
    pool: u8,
    /// What we dropped, and what the kernel had dropped for sockets that are no more.
    drops: RxDrops,
    /// What the kernel has dropped for this socket, and when we asked.
    kernel: Cell<(Nanos, RxDrops)>,
    now: Nanos,
}

impl XdpRx {
    /// The end of queue `queue`, with its first half; `pool` is the pool it works with.
    pub fn new(half: RxHalf, queue: usize, shared: Arc<Shared>, pool: &PoolCache) -> XdpRx {
        let generation = shared.generation.load(Ordering::Acquire);
        let kernel = Cell::new((Nanos::ZERO, RxDrops::default()));
        XdpRx { half: Some(half), queue, generation, shared, pool: pool.id(), drops: RxDrops::default(), kernel, now: Nanos::ZERO }
    }

    #[cold]
    fn exchange(&mut self, generation: u32, pool: &mut PoolCache) {
        let exchange = &self.shared.rx[self.queue];
        if let Some(half) = self.half.take() {
            let kernel = kernel_drops(&half.socket);
            self.drops.no_buffer += kernel.no_buffer;
            self.drops.oversize += kernel.oversize;
            self.kernel.set((self.now, RxDrops::default()));
            let _ = exchange.spent.push(half); // No room cannot be, and would only mean that it is closed here.
        }
        self.generation = generation;
        self.half = exchange.fresh.pop();
        if let Some(half) = &mut self.half {
            half.fill(pool);
        }
    }
}

impl RxQueue for XdpRx {
    #[inline]
    fn rx_burst(&mut self, now: Nanos, pool: &mut PoolCache, burst: &mut Burst, max: usize) -> usize {
        assert!(pool.id() == self.pool, "a cache of another pool");
        self.now = now;
        // Acquire: the fresh halves are in place before the generation says so.
        let generation = self.shared.generation.load(Ordering::Acquire);
        if generation != self.generation {
            self.exchange(generation, pool);
        }
        let Some(half) = &mut self.half else { return 0 };
        let wanted = max.min(burst.remaining_capacity());
        let mut count = 0;
        let mut taken = 0;
        while count < wanted {
            let Some(descriptor) = half.rings.rx.pop() else { break };
            taken += 1;
            if let Some(packet) = half.accept(descriptor, pool, &mut self.drops) {
                burst.push(packet);
                count += 1;
            }
        }
        if taken > 0 {
            half.rings.rx.release();
        }
        half.fill(pool);
        if half.busy_poll && taken == 0 {
            let _ = half.socket.kick_rx(); // As above.
        }
        count
    }

    #[inline]
    fn prefetch(&self) {
        if let Some(half) = &self.half {
            half.rings.rx.prefetch();
        }
    }

    fn drops(&self) -> RxDrops {
        let (asked, mut kernel) = self.kernel.get();
        if let Some(half) = &self.half
            && self.now.since(asked) >= STATISTICS_AGE
        {
            kernel = kernel_drops(&half.socket);
            self.kernel.set((self.now, kernel));
        }
        RxDrops { no_buffer: self.drops.no_buffer + kernel.no_buffer, oversize: self.drops.oversize + kernel.oversize, ..self.drops }
    }

    fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        self.half.as_ref().map(|half| half.socket.as_fd())
    }
}

impl Drop for XdpRx {
    fn drop(&mut self) {
        self.shared.rx[self.queue].abandoned.store(true, Ordering::Release);
    }
}

/// What the kernel has dropped before the switch could have it. It does not tell how long those frames were.
///
/// `rx_dropped` counts frames for which there was no buffer and, without multi-buffer, frames that are too long for one.
/// An empty FILL ring is counted by itself, so the rest were too long. In zero-copy mode a NIC without buffers drops by itself and counts
/// in the interface's statistics.
fn kernel_drops(socket: &Socket) -> RxDrops {
    let Some(statistics) = socket.statistics() else { return RxDrops::default() };
    let empty = statistics.rx_dropped.min(statistics.rx_fill_ring_empty_descs);
    RxDrops { no_buffer: empty + statistics.rx_ring_full, oversize: statistics.rx_dropped - empty, ..RxDrops::default() }
}

/// The transmitting half of a socket.
pub struct TxHalf {
    rings: TxRings,
    in_flight: InFlight,
    /// Buffers a frame may lie in.
    segments_max: usize,
    /// There may be frames the kernel has not been told of.
    kick: bool,
    /// Nothing can be sent at present: the interface is switched off, or gone and a new half will come, or its driver is being set up
    /// again. To be tried at this time.
    blocked: Option<Nanos>,
    busy_poll: bool,
    // Last: its rings are unmapped before it is closed.
    socket: Arc<Socket>,
}

impl std::fmt::Debug for TxHalf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TxHalf({} descriptors in flight)", self.in_flight.count())
    }
}

impl TxHalf {
    /// A half with nothing in flight.
    pub fn new(socket: Arc<Socket>, rings: TxRings, segments_max: usize, busy_poll: bool) -> TxHalf {
        let in_flight = InFlight::new(socket.mempool().buffers());
        TxHalf { rings, in_flight, segments_max, kick: false, blocked: None, busy_poll, socket }
    }

    /// Ends the lives of the frames that were sent.
    #[inline]
    fn reap(&mut self, pool: &mut PoolCache) {
        if self.in_flight.count() == 0 {
            return;
        }
        let mut any = false;
        while let Some(address) = self.rings.completion.pop() {
            any = true;
            // An address that is not on the table is the kernel's mistake; there is nothing to be freed then.
            if let Some((buffer, _)) = umem::locate(address, self.socket.mempool().buffers()) {
                self.in_flight.complete(buffer, pool);
            }
        }
        if any {
            self.rings.completion.release();
        }
    }

    /// Descriptors that can be submitted now, if `wanted` are to be.
    #[inline]
    fn room(&mut self, wanted: u32) -> u32 {
        // Every descriptor needs a place in the COMPLETION ring in the end.
        self.rings.tx.room(wanted).min(self.rings.size.saturating_sub(self.in_flight.count()))
    }

    /// Has the kernel send what is in the ring.
    fn kick(&mut self, now: Nanos, pool: &mut PoolCache, failed: &Failed) {
        self.kick = false;
        if !self.rings.tx.needs_wakeup() && !self.busy_poll && self.blocked.is_none() {
            return;
        }
        let mut before = u32::MAX;
        for _ in 0..KICKS_MAX {
            let Err(error) = self.socket.kick_tx() else {
                self.blocked = None;
                return;
            };
            self.blocked = None;
            match error.raw_os_error() {
                // A part was sent, or the device, the send buffer or the COMPLETION ring is full. Again if that helps, else next turn.
                Some(libc::EAGAIN | libc::ENOBUFS | libc::EINTR) => {
                    self.reap(pool);
                    let pending = self.rings.tx.pending();
                    self.kick = pending > 0;
                    if pending == 0 || pending >= before {
                        return;
                    }
                    before = pending;
                }
                // The device dropped this frame; the next one may fare better.
                Some(libc::EBUSY) => {
                    failed.refused.fetch_add(1, Ordering::Relaxed);
                    self.kick = true;
                }
                // ENETDOWN, ENXIO, and what drivers say while they are set up again.
                _ => return self.blocked = Some(now + RETRY),
            }
        }
    }

    #[inline]
    fn submit(&mut self, packet: Packet, segments: usize, pool: &mut PoolCache) {
        let TxHalf { rings, in_flight, .. } = self;
        let mut left = segments;
        pool.surrender(packet, |addr, len, kind| {
            left = left.saturating_sub(1);
            let options = if left > 0 { libc::XDP_PKT_CONTD } else { 0 };
            in_flight.insert((addr / BUFFER_SIZE as u64) as u32, kind);
            if !rings.tx.push(libc::xdp_desc { addr, len, options }) {
                unreachable!("room was asked for");
            }
        });
    }
}

impl Drop for TxHalf {
    fn drop(&mut self) {
        self.socket.leave_tx(std::mem::replace(&mut self.in_flight, InFlight::new(0)));
    }
}

/// A transmit queue.
pub struct XdpTx {
    half: Option<TxHalf>,
    queue: usize,
    generation: u32,
    shared: Arc<Shared>,
    pool: u8,
    refusal: Refusal,
}

impl XdpTx {
    /// The end of queue `queue`, with its first half; `pool` is the pool it works with.
    pub fn new(half: TxHalf, queue: usize, shared: Arc<Shared>, pool: &PoolCache) -> XdpTx {
        let generation = shared.generation.load(Ordering::Acquire);
        XdpTx { half: Some(half), queue, generation, shared, pool: pool.id(), refusal: Refusal::Full }
    }

    #[cold]
    fn exchange(&mut self, generation: u32) {
        let exchange = &self.shared.tx[self.queue];
        if let Some(half) = self.half.take() {
            self.shared.failed.gone.fetch_add(half.in_flight.count().into(), Ordering::Relaxed);
            let _ = exchange.spent.push(half);
        }
        self.generation = generation;
        self.half = exchange.fresh.pop();
    }

    #[inline]
    fn follow(&mut self) {
        // Acquire: as in `XdpRx::rx_burst`.
        let generation = self.shared.generation.load(Ordering::Acquire);
        if generation != self.generation {
            self.exchange(generation);
        }
    }
}

impl TxQueue for XdpTx {
    fn tx_burst(&mut self, now: Nanos, pool: &mut PoolCache, burst: &mut Burst) -> usize {
        assert!(pool.id() == self.pool, "a cache of another pool");
        self.follow();
        self.refusal = Refusal::Down;
        let Some(half) = &mut self.half else { return 0 };
        if half.blocked.is_some() {
            return 0; // `flush` finds out when that is over.
        }
        self.refusal = Refusal::Full;
        let failed = &self.shared.failed;
        let frame_max = self.shared.frame_max.load(Ordering::Relaxed) as usize;
        let mut room = half.room(burst.len() as u32);
        let (mut count, mut used) = (0, 0);
        let mut helped = false;
        for packet in burst.iter() {
            let segments = pool.segment_count(packet);
            if packet.len() > frame_max || segments > half.segments_max {
                self.refusal = Refusal::Oversize;
                break;
            }
            let segments = segments as u32;
            if used + segments > room && !helped {
                // Full: what is in the ring goes first, once per burst.
                helped = true;
                half.kick(now, pool, failed);
                half.reap(pool);
                room = half.room(u32::MAX);
            }
            // (A buffer that is there 63 times already is one that was flooded to this port in a loop.)
            if used + segments > room || !half.in_flight.has_room(packet.buffer()) {
                break;
            }
            used += segments;
            count += 1;
        }
        for packet in burst.drain(..count) {
            let segments = pool.segment_count(&packet);
            // The table is asked again: the burst may have had many handles of one buffer.
            if packet.len() < FRAME_MIN || !half.in_flight.has_room(packet.buffer()) {
                failed.runt.fetch_add(1, Ordering::Relaxed);
                pool.free(packet);
            } else {
                half.submit(packet, segments, pool);
            }
        }
        half.rings.tx.submit();
        half.kick |= count > 0;
        count
    }

    fn refusal(&self) -> Refusal {
        self.refusal
    }

    #[inline]
    fn flush(&mut self, now: Nanos, pool: &mut PoolCache) {
        self.follow();
        let Some(half) = &mut self.half else { return };
        // A driver may have fallen asleep just when we looked whether it had: what is left in the ring is asked about again.
        let left = || half.in_flight.count() > 0 && half.rings.tx.needs_wakeup() && half.rings.tx.pending() > 0;
        if half.blocked.map_or_else(|| half.kick || left(), |again| now >= again) {
            half.kick(now, pool, &self.shared.failed);
        }
        half.reap(pool);
    }

    fn held(&self) -> usize {
        self.half.as_ref().map_or(0, |half| half.in_flight.count() as usize)
    }
}

impl Drop for XdpTx {
    fn drop(&mut self) {
        self.shared.tx[self.queue].abandoned.store(true, Ordering::Release);
    }
}
