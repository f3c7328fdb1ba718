//! Lending: buffers without a handle, in the hands of the kernel or a device.
//!
//! A buffer is lent to be written to and comes back as a frame, or it is surrendered to be read and completed when it has been. Whoever
//! lends keeps the table of what is out; nothing here can tell a wrong index from a right one, which is why the ways back are unsafe.

use std::sync::atomic::Ordering;

use super::{BUFFER_SHIFT, BUFFER_SIZE, FRAME_MAX, NO_BUFFER, PoolCache, first_byte};
use crate::packet::{ADDR_UNIT, Packet};

/// What became of a buffer that was [surrendered](PoolCache::surrender) for transmission: how to end its life when it has been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Surrendered {
    /// Nobody else has it.
    Exclusive = 0,
    /// One handle of a shared buffer.
    Shared = 1,
    /// One handle of a shared chain, by its first buffer.
    SharedHead = 2,
    /// One handle of a shared chain, by a further buffer, which knows the first.
    SharedSegment = 3,
}

impl PoolCache {
    /// Which pool, for checking that two are the same.
    #[inline(always)]
    pub(crate) fn id(&self) -> u8 {
        self.id
    }

    /// A free buffer to be written to by somebody else: its index. It comes back through [`received`](Self::received),
    /// [`append`](Self::append) or [`take_back`](Self::take_back).
    #[inline]
    pub(crate) fn lend(&mut self) -> Option<u32> {
        self.take()
    }

    /// A lent buffer is free again.
    ///
    /// # Safety
    /// The buffer was lent by this pool and has not come back yet; nobody writes to it any more.
    #[inline]
    pub(crate) unsafe fn take_back(&mut self, index: u32) {
        self.give(index);
    }

    /// A lent buffer comes back with a frame of `len` bytes, `offset` bytes into the buffer.
    ///
    /// # Safety
    /// As for [`take_back`](Self::take_back); the frame ends inside the buffer and `offset` is even.
    #[inline]
    pub(crate) unsafe fn received(&self, index: u32, offset: usize, len: usize) -> Packet {
        debug_assert!(offset.is_multiple_of(ADDR_UNIT as usize) && offset + len <= BUFFER_SIZE);
        Packet { addr: (index << BUFFER_SHIFT) + offset as u32 / ADDR_UNIT, len: len as u16, flags: 0, pool: self.id }
    }

    /// A lent buffer comes back with the next `len` bytes of the frame in `packet`, whose last buffer so far is `last`.
    ///
    /// # Safety
    /// As for [`received`](Self::received); `packet` is not shared, `last` is its last buffer, and with `len` it is not longer than
    /// [`FRAME_MAX`].
    pub(crate) unsafe fn append(&mut self, packet: &mut Packet, last: u32, index: u32, offset: usize, len: usize) {
        self.check(packet);
        debug_assert!(offset.is_multiple_of(ADDR_UNIT as usize) && offset + len <= BUFFER_SIZE && packet.len() + len <= FRAME_MAX);
        let addr = (index << BUFFER_SHIFT) + offset as u32 / ADDR_UNIT;
        if !packet.is_chained() {
            self.meta(packet.addr).len.store(packet.len, Ordering::Relaxed);
            packet.flags |= Packet::CHAINED;
        }
        let meta = &self.shared.meta[index as usize];
        meta.len.store(len as u16, Ordering::Relaxed);
        meta.next.store(NO_BUFFER, Ordering::Relaxed);
        self.shared.meta[last as usize].next.store(addr, Ordering::Relaxed);
        packet.len += len as u16;
    }

    /// Buffers the frame lies in.
    #[inline]
    pub(crate) fn segment_count(&self, packet: &Packet) -> usize {
        if packet.is_chained() { self.segments(packet).count() } else { 1 }
    }

    /// Does nobody else have a handle of it? If all others are gone, the packet becomes an ordinary one.
    #[inline]
    #[cfg(feature = "dpdk")]
    pub(crate) fn is_exclusive(&mut self, packet: &mut Packet) -> bool {
        self.check(packet);
        !packet.is_shared() || self.unshare_if_last(packet)
    }

    /// For each segment its buffer, where in it the segment begins, and how many bytes it has.
    #[inline]
    #[cfg(feature = "dpdk")]
    pub(crate) fn places<'a>(&'a self, packet: &'a Packet) -> impl Iterator<Item = (u32, usize, usize)> + 'a {
        self.check(packet);
        let mut next = packet.addr;
        std::iter::from_fn(move || {
            if next == NO_BUFFER {
                return None;
            }
            let addr = next;
            let len = if packet.is_chained() {
                let meta = self.meta(addr);
                next = meta.next.load(Ordering::Relaxed);
                usize::from(meta.len.load(Ordering::Relaxed))
            } else {
                next = NO_BUFFER;
                packet.len()
            };
            Some((addr >> BUFFER_SHIFT, addr as usize * ADDR_UNIT as usize % BUFFER_SIZE, len))
        })
    }

    /// Ends the handle without freeing: somebody else is going to read the buffers. Calls `each` for every segment with the place of its
    /// first byte in the pool, its length, and how its buffer's life ends: [`complete`](Self::complete), once per segment.
    ///
    /// A shared chain has one count for all its buffers, but they may be sent at different times: each segment gets a share.
    #[inline]
    pub(crate) fn surrender(&mut self, mut packet: Packet, mut each: impl FnMut(u64, u32, Surrendered)) {
        self.check(&packet);
        let place = |addr: u32| addr as u64 * ADDR_UNIT as u64;
        let shared = packet.is_shared() && !self.unshare_if_last(&mut packet);
        if !packet.is_chained() {
            let kind = if shared { Surrendered::Shared } else { Surrendered::Exclusive };
            return each(place(packet.addr), packet.len as u32, kind);
        }
        let head = packet.buffer();
        let mut addr = packet.addr;
        while addr != NO_BUFFER {
            let meta = self.meta(addr);
            let (len, next) = (meta.len.load(Ordering::Relaxed), meta.next.load(Ordering::Relaxed));
            let kind = match (shared, addr >> BUFFER_SHIFT == head) {
                (false, _) => Surrendered::Exclusive,
                (true, true) => Surrendered::SharedHead,
                (true, false) => {
                    // A further buffer has no handle and so no count of its own: the place holds the first buffer's index. All who
                    // send the chain write the same.
                    meta.shares.store(head, Ordering::Relaxed);
                    self.meta(packet.addr).shares.fetch_add(1, Ordering::Relaxed);
                    Surrendered::SharedSegment
                }
            };
            each(place(addr), len as u32, kind);
            addr = next;
        }
    }

    /// A surrendered buffer has been read for the last time.
    ///
    /// # Safety
    /// The buffer was surrendered by a cache of this pool as `kind`, and this is called once for that.
    #[inline]
    pub(crate) unsafe fn complete(&mut self, index: u32, kind: Surrendered) {
        let handle = |index, flags| Packet { addr: first_byte(index), len: 0, flags, pool: self.id };
        match kind {
            Surrendered::Exclusive => self.give(index),
            Surrendered::Shared => self.free(handle(index, Packet::SHARED)),
            Surrendered::SharedHead => self.free(handle(index, Packet::SHARED | Packet::CHAINED)),
            Surrendered::SharedSegment => {
                let head = self.shared.meta[index as usize].shares.load(Ordering::Relaxed);
                self.free(handle(head, Packet::SHARED | Packet::CHAINED));
            }
        }
    }
}
