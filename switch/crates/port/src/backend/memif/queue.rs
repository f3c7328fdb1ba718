//! The receive queues of a memif port, and what both directions have in common: frames are copied between the peers' shared buffers and the mempool. How
//! they are sent is in [`transmit`](super::transmit).
//!
//! Whoever owns the buffers (the client) knows where they are and does not read it from the ring; the server reads it from descriptors,
//! and proves each to be inside its region after the read. A burst costs one acquire load of what the peer has written, one release store of
//! what we have, and neither a fence nor a system call as long as the receiver polls and bursts are large.
//!
//! **What makes no sense** (a count that no ring has, a buffer outside its region, a frame without end) breaks the connection: the queue does
//! nothing more with it and says why ([`Connection`]), and control ends it. Frames that are merely unfit (too long, too short, no buffer
//! for them) are dropped and counted.
//!
//! **Sleep**: while a worker polls, its rings say so (MASK_INT). Asked for a descriptor to sleep on, the queue takes that back, looks
//! once more, and gives a descriptor that is always ready if something came between; the next burst says again that it polls.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering, fence};

use arrayvec::ArrayVec;

use super::bell::{bell, silence};
use super::copy::copy;
use super::ring::{Descriptor, Ring, prefetch};
use crate::clock::Nanos;
use crate::device::{RxDrops, RxQueue};
use crate::handover::Slot;
use crate::mempool::{FRAME_MAX, PoolCache, SEGMENT_MAX};
use crate::packet::{BURST_MAX, Burst, Packet};

/// Buffers a frame may lie in. The longest frame there is in buffers of 256 bytes.
pub const CHAIN_MAX: usize = 256;
/// Bytes of an Ethernet header: shorter ones are no frames.
const HEADER_LEN: usize = 14;

/// Why a connection is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Nonsense {
    /// Head or tail moved back, or by more than the ring holds.
    Count = 1,
    /// A descriptor names a region that is not there, or bytes outside it.
    Outside,
    /// A frame in more than [`CHAIN_MAX`] buffers, or in the whole ring and on.
    Endless,
    /// A descriptor offers a buffer of no bytes.
    Empty,
}

impl Nonsense {
    const ALL: [Nonsense; 4] = [Nonsense::Count, Nonsense::Outside, Nonsense::Endless, Nonsense::Empty];

    /// As a sentence, for people and for the peer.
    pub fn text(self) -> &'static str {
        match self {
            Nonsense::Count => "a ring's head or tail is not where it can be",
            Nonsense::Outside => "a descriptor names bytes outside its region",
            Nonsense::Endless => "a frame lies in more buffers than it may",
            Nonsense::Empty => "a descriptor offers a buffer of no bytes",
        }
    }
}

/// What queues tell control about a connection. Written by workers, read by the port's thread.
#[derive(Debug, Default)]
pub struct Connection {
    /// The first [`Nonsense`] found; 0: none.
    broken: AtomicU8,
    /// Frames accepted and never taken by the peer.
    pub lost: AtomicU64,
}

impl Connection {
    #[cold]
    pub(super) fn fail(&self, nonsense: Nonsense) {
        let _ = self.broken.compare_exchange(0, nonsense as u8, Ordering::Relaxed, Ordering::Relaxed);
    }

    #[inline(always)]
    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed) != 0
    }

    /// What the peer did that made no sense.
    pub fn broken(&self) -> Option<Nonsense> {
        let code = self.broken.load(Ordering::Relaxed);
        Nonsense::ALL.into_iter().find(|nonsense| *nonsense as u8 == code)
    }
}

/// Whose the buffers of a ring are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Buffers {
    /// The peer's: its descriptors say where they are. (We are the server.)
    Peer,
    /// Ours: one for each place of the ring, side by side in region 0. (We are the client.)
    Ours {
        /// Where the first begins in region 0.
        offset: u32,
        /// From one to the next, in bytes.
        stride: u32,
        /// Bytes that may be used of each.
        size: u32,
    },
}

/// One end of a ring.
#[derive(Debug)]
pub struct End {
    /// Head, tail and descriptors.
    pub ring: Ring,
    /// Where the frames lie.
    pub buffers: Buffers,
    /// Whom to tell of nonsense.
    pub connection: Arc<Connection>,
}

/// A buffer: where it is, and its descriptor.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) start: NonNull<u8>,
    pub(super) descriptor: Descriptor,
}

impl End {
    /// The buffer at count `at` with the bytes that its descriptor says; `None` if it has not so many, or is nowhere.
    #[inline(always)]
    fn place(&self, at: u16) -> Option<Place> {
        let mut descriptor = self.ring.read(at);
        if let Buffers::Ours { offset, stride, size } = self.buffers {
            descriptor.region = 0;
            descriptor.offset = offset + u32::from(at & (self.ring.size() - 1)) * stride;
            if descriptor.len > size {
                return None;
            }
        }
        let start = self.ring.regions().at(descriptor.region, descriptor.offset, descriptor.len)?;
        Some(Place { start, descriptor })
    }

    /// The empty buffer at count `at`, all of it.
    #[inline(always)]
    pub(super) fn empty_place(&self, at: u16) -> Option<Place> {
        let Buffers::Ours { offset, stride, size } = self.buffers else { return self.place(at) };
        let offset = offset + u32::from(at & (self.ring.size() - 1)) * stride;
        let start = self.ring.regions().at(0, offset, size)?;
        Some(Place { start, descriptor: Descriptor { next: false, region: 0, len: size, offset } })
    }

    /// An empty buffer of ours into the ring at count `at`.
    #[inline(always)]
    fn offer(&self, at: u16) {
        if let Some(place) = self.empty_place(at) {
            self.ring.write(at, place.descriptor);
        }
    }
}

/// The receiving end of a ring.
#[derive(Debug)]
pub struct RxEnd {
    end: End,
    /// An eventfd that the peer writes if we do not poll. It can do with it what it wants.
    bell: OwnedFd,
    /// Readable at any time: what one sleeps on who has no time to sleep. Nobody else holds it.
    ready: OwnedFd,
    /// Count of the next descriptor to be taken.
    next: u16,
    /// The ring says that we do not poll.
    asleep: Cell<bool>,
}

impl RxEnd {
    /// Takes over a ring that no queue works with, and the eventfd that the peer rings. A client gives all its buffers to the server.
    ///
    /// # Errors
    /// No descriptors left.
    pub fn new(end: End, rung: OwnedFd) -> io::Result<RxEnd> {
        let ready = bell(1)?;
        let next = end.ring.tail().load(Ordering::Acquire);
        end.ring.set_polled(true);
        if end.buffers != Buffers::Peer {
            (0..end.ring.size()).for_each(|at| end.offer(next.wrapping_add(at)));
            end.ring.head().store(next.wrapping_add(end.ring.size()), Ordering::Release);
        }
        Ok(RxEnd { end, bell: rung, ready, next, asleep: Cell::new(false) })
    }

    /// Count up to which the peer has put frames.
    #[inline(always)]
    fn filled(&self, order: Ordering) -> u16 {
        match self.end.buffers {
            Buffers::Peer => self.end.ring.head().load(order),
            Buffers::Ours { .. } => self.end.ring.tail().load(order),
        }
    }

    /// The worker is awake again.
    #[cold]
    fn wake(&self) {
        self.asleep.set(false);
        self.end.ring.set_polled(true);
        silence(&self.bell);
    }

    /// Takes up to `max` frames, for which the burst has room.
    fn receive(&mut self, pool: &mut PoolCache, burst: &mut Burst, max: usize, drops: &mut RxDrops, scratch: &mut Vec<u8>) -> usize {
        if self.end.connection.is_broken() {
            return 0;
        }
        if self.asleep.get() {
            self.wake();
        }
        let before = burst.len();
        // Acquire: pairs with the peer's release, after it wrote frames and descriptors.
        let available = self.filled(Ordering::Acquire).wrapping_sub(self.next);
        if available == 0 {
            return 0;
        }
        if available > self.end.ring.size() {
            self.end.connection.fail(Nonsense::Count);
            return 0;
        }
        let count = available.min(max.min(BURST_MAX) as u16);
        let whole = self.receive_whole(count, pool, burst, drops, scratch);
        if whole == count || self.end.connection.is_broken() {
            return burst.len() - before;
        }
        self.receive_chained(available - whole, max - usize::from(whole), pool, burst, drops, scratch);
        burst.len() - before
    }

    /// Takes frames that lie in one buffer each, at most `count` of what is there: nearly all do. Returns how many it has taken, dropped ones among
    /// them: up to the first that lies in several, or in none.
    #[inline]
    fn receive_whole(&mut self, count: u16, pool: &mut PoolCache, burst: &mut Burst, drops: &mut RxDrops, scratch: &mut Vec<u8>) -> u16 {
        // First all places, so that the frames' lines are on their way before the first is needed.
        let mut places = ArrayVec::<Place, BURST_MAX>::new();
        for at in 0..count {
            let Some(place) = self.end.place(self.next.wrapping_add(at)) else {
                self.end.connection.fail(Nonsense::Outside);
                break;
            };
            if place.descriptor.next {
                break;
            }
            prefetch(place.start.as_ptr());
            places.push(place);
        }
        for place in &places {
            let len = place.descriptor.len as usize;
            if (HEADER_LEN..=SEGMENT_MAX).contains(&len)
                && let Some((packet, to)) = pool.alloc_at(len)
            {
                // SAFETY: `len` bytes are inside a region (`End::place`), which the ring keeps; the packet's, not fewer, are ours alone. The peer
                // may write meanwhile: then they are whatever they are, and any bytes are a frame.
                unsafe { copy(place.start.as_ptr(), to.as_ptr(), len) };
                burst.push(packet);
            } else {
                burst.extend(take(std::slice::from_ref(place), pool, drops, scratch));
            }
        }
        let taken = places.len() as u16;
        self.give_back(taken);
        taken
    }

    /// Takes up to `max` frames of `available` buffers, in however many each lies.
    #[cold]
    fn receive_chained(
        &mut self,
        available: u16,
        max: usize,
        pool: &mut PoolCache,
        burst: &mut Burst,
        drops: &mut RxDrops,
        scratch: &mut Vec<u8>,
    ) {
        let size = self.end.ring.size();
        // First all places, so that the frames' lines are on their way before the first is needed.
        let mut places = ArrayVec::<Place, CHAIN_MAX>::new();
        let (mut complete, mut frames) = (0, 0);
        while places.len() < usize::from(available) && !places.is_full() && frames < max {
            let Some(place) = self.end.place(self.next.wrapping_add(places.len() as u16)) else {
                self.end.connection.fail(Nonsense::Outside);
                break;
            };
            prefetch(place.start.as_ptr());
            places.push(place);
            if !place.descriptor.next {
                (complete, frames) = (places.len(), frames + 1);
            }
        }
        if complete == 0 && (places.is_full() || places.len() == usize::from(size)) {
            self.end.connection.fail(Nonsense::Endless);
        }
        let mut rest = &places[..complete];
        while let Some(last) = rest.iter().position(|place| !place.descriptor.next) {
            let (frame, behind) = rest.split_at(last + 1);
            rest = behind;
            burst.extend(take(frame, pool, drops, scratch));
        }
        // DPDK's client (22.11) never takes the mark off by itself: its next frame in this place would seem to go on.
        if self.end.buffers == Buffers::Peer && complete > frames {
            for (at, place) in places[..complete].iter().enumerate().filter(|(_, place)| place.descriptor.next) {
                self.end.ring.write(self.next.wrapping_add(at as u16), Descriptor { next: false, ..place.descriptor });
            }
        }
        self.give_back(complete as u16);
    }

    /// The peer may have the next `count` buffers again.
    #[inline]
    fn give_back(&mut self, count: u16) {
        if count == 0 {
            return;
        }
        let after = self.next.wrapping_add(count);
        // Release: our reads of the frames come before the peer's writes.
        match self.end.buffers {
            Buffers::Peer => self.end.ring.tail().store(after, Ordering::Release),
            Buffers::Ours { .. } => {
                let size = self.end.ring.size();
                (0..count).for_each(|at| self.end.offer(self.next.wrapping_add(at).wrapping_add(size)));
                self.end.ring.head().store(after.wrapping_add(size), Ordering::Release);
            }
        }
        self.next = after;
    }
}

/// Copies a frame that lies in `places` into the mempool, or drops and counts it.
#[inline]
fn take(places: &[Place], pool: &mut PoolCache, drops: &mut RxDrops, scratch: &mut Vec<u8>) -> Option<Packet> {
    let len = places.iter().map(|place| place.descriptor.len as usize).sum::<usize>();
    let reason = if len < HEADER_LEN {
        &mut drops.malformed
    } else if len > FRAME_MAX {
        &mut drops.oversize
    } else if let [place] = places
        && len <= SEGMENT_MAX
    {
        if let Some(mut packet) = pool.alloc(len) {
            let Some(bytes) = pool.bytes_mut(&mut packet) else { unreachable!("a new packet is not shared") };
            // SAFETY: `len` bytes are inside a region (`End::place`), which the ring keeps; the packet's are ours alone. The peer may write
            // meanwhile: then they are whatever they are, and any bytes are a frame.
            unsafe { std::ptr::copy_nonoverlapping(place.start.as_ptr(), bytes.as_mut_ptr(), len) };
            return Some(packet);
        }
        &mut drops.no_buffer
    } else {
        // By way of memory of our own: the bytes may change under us, and what cuts them into buffers takes a slice.
        scratch.clear();
        scratch.reserve(len);
        for place in places {
            let part = place.descriptor.len as usize;
            // SAFETY: as above; the vector has room for `len` bytes in all, of which these are the next `part`, initialised by the copy.
            unsafe {
                std::ptr::copy_nonoverlapping(place.start.as_ptr(), scratch.as_mut_ptr().add(scratch.len()), part);
                scratch.set_len(scratch.len() + part);
            }
        }
        if let Some(packet) = pool.alloc_copy(scratch) {
            return Some(packet);
        }
        &mut drops.no_buffer
    };
    *reason += 1;
    drops.bytes += len as u64;
    None
}

/// A receive queue.
#[derive(Debug)]
pub struct MemifRx {
    slot: Slot<RxEnd>,
    drops: RxDrops,
    /// A frame that lies in several buffers, on its way.
    scratch: Vec<u8>,
}

impl MemifRx {
    /// A queue that works with whatever end `slot` has.
    pub fn new(slot: Slot<RxEnd>) -> MemifRx {
        MemifRx { slot, drops: RxDrops::default(), scratch: Vec::new() }
    }
}

impl RxQueue for MemifRx {
    #[inline]
    fn rx_burst(&mut self, _now: Nanos, pool: &mut PoolCache, burst: &mut Burst, max: usize) -> usize {
        let Some(end) = self.slot.get() else { return 0 };
        end.receive(pool, burst, max.min(burst.remaining_capacity()), &mut self.drops, &mut self.scratch)
    }

    #[inline]
    fn prefetch(&self) {
        let Some(end) = self.slot.peek() else { return };
        end.end.ring.prefetch(end.next);
        match end.end.buffers {
            Buffers::Peer => end.end.ring.prefetch_head(),
            Buffers::Ours { .. } => end.end.ring.prefetch_tail(),
        }
    }

    fn drops(&self) -> RxDrops {
        self.drops
    }

    fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        let end = self.slot.peek().filter(|end| !end.end.connection.is_broken())?;
        end.asleep.set(true);
        end.end.ring.set_polled(false);
        // Pairs with the fence in `TxEnd::look`: either we see the frame, or the peer sees that we sleep.
        fence(Ordering::SeqCst);
        Some(if end.filled(Ordering::Relaxed) != end.next { end.ready.as_fd() } else { end.bell.as_fd() })
    }
}
