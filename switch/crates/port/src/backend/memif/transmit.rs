//! The transmit queues of a memif port.
//!
//! Frames are copied into the next empty buffers of a ring, whoever's they are, and the whole burst is published by one store. What is not to be trusted
//! there, and how, is said in [`queue`](super::queue).
#![allow(unsafe_code)]

use std::sync::atomic::{Ordering, fence};

use arrayvec::ArrayVec;

use super::bell::Doorbell;
use super::copy::copy;
use super::queue::{Buffers, CHAIN_MAX, End, Nonsense, Place};
use super::ring::Descriptor;
use crate::clock::Nanos;
use crate::device::{Refusal, TxQueue};
use crate::handover::Slot;
use crate::mempool::PoolCache;
use crate::packet::{Burst, Packet};

/// The transmitting end of a ring.
#[derive(Debug)]
pub struct TxEnd {
    end: End,
    doorbell: Doorbell,
    /// Count of the next descriptor to be filled.
    next: u16,
    /// Ends of turns until the receiver is looked at behind a fence; 0: it has been, since the last frame.
    unsure: u8,
}

/// A burst of so many frames does not wait for the fence behind it.
const MANY: usize = 8;

impl TxEnd {
    /// Takes over a ring that no queue works with, and what wakes its receiver.
    pub fn new(end: End, doorbell: Doorbell) -> TxEnd {
        let next = match end.buffers {
            Buffers::Peer => end.ring.tail().load(Ordering::Acquire),
            Buffers::Ours { .. } => end.ring.head().load(Ordering::Acquire),
        };
        TxEnd { end, doorbell, next, unsure: 0 }
    }

    /// Descriptors that can be filled now.
    #[inline(always)]
    fn free(&self) -> Option<u16> {
        let size = self.end.ring.size();
        // Acquire: pairs with the peer's release: it has read what was in these buffers, or written where they are.
        let free = match self.end.buffers {
            Buffers::Peer => self.end.ring.head().load(Ordering::Acquire).wrapping_sub(self.next),
            Buffers::Ours { .. } => size.wrapping_sub(self.next.wrapping_sub(self.end.ring.tail().load(Ordering::Acquire))),
        };
        (free <= size).then_some(free)
    }

    /// Sends from the front of the burst; returns how many.
    fn send(&mut self, pool: &mut PoolCache, burst: &mut Burst, refusal: &mut Refusal) -> usize {
        *refusal = Refusal::Down;
        if self.end.connection.is_broken() {
            return 0;
        }
        let Some(mut free) = self.free() else {
            self.end.connection.fail(Nonsense::Count);
            return 0;
        };
        *refusal = Refusal::Full;
        let mut sent = 0;
        for packet in burst.iter() {
            match self.put(packet, pool, free) {
                Ok(used) => free -= used,
                Err(why) => {
                    *refusal = why;
                    break;
                }
            }
            sent += 1;
        }
        if sent > 0 {
            self.publish(sent);
            burst.drain(..sent).for_each(|packet| pool.free(packet));
        }
        sent
    }

    /// Copies a frame into the next of `free` buffers; returns how many it took.
    #[inline]
    fn put(&mut self, packet: &Packet, pool: &PoolCache, free: u16) -> Result<u16, Refusal> {
        let len = packet.len();
        if free == 0 {
            return Err(Refusal::Full);
        }
        if !packet.is_chained() {
            let place = self.empty()?;
            if len <= place.descriptor.len as usize {
                // SAFETY: the buffer has room for `len` bytes inside a region (`End::place`), which the ring keeps. If the peer reads them
                // meanwhile, it reads nonsense.
                unsafe { copy(pool.head(packet).as_ptr(), place.start.as_ptr(), len) };
                self.end.ring.write(self.next, Descriptor { next: false, len: len as u32, ..place.descriptor });
                self.next = self.next.wrapping_add(1);
                return Ok(1);
            }
        }
        self.put_chain(packet, pool, free)
    }

    /// The next empty buffer.
    #[inline(always)]
    fn empty(&self) -> Result<Place, Refusal> {
        self.empty_at(self.next)
    }

    #[inline(always)]
    fn empty_at(&self, at: u16) -> Result<Place, Refusal> {
        let broken = |nonsense| {
            self.end.connection.fail(nonsense);
            Refusal::Down
        };
        let place = self.end.empty_place(at).ok_or_else(|| broken(Nonsense::Outside))?;
        if place.descriptor.len == 0 {
            return Err(broken(Nonsense::Empty));
        }
        Ok(place)
    }

    /// A frame in several buffers. Nothing is written before they are known to be enough: a descriptor of the peer says how large its
    /// buffer is only as long as we have not written to it.
    #[cold]
    fn put_chain(&mut self, packet: &Packet, pool: &PoolCache, free: u16) -> Result<u16, Refusal> {
        let mut places = ArrayVec::<Place, CHAIN_MAX>::new();
        let mut room = 0;
        while room < packet.len() {
            if places.is_full() || places.len() == usize::from(self.end.ring.size()) {
                return Err(Refusal::Oversize);
            }
            if places.len() == usize::from(free) {
                return Err(Refusal::Full);
            }
            let place = self.empty_at(self.next.wrapping_add(places.len() as u16))?;
            room += place.descriptor.len as usize;
            places.push(place);
        }
        let (mut index, mut used) = (0, 0);
        for mut segment in pool.segments(packet) {
            while !segment.is_empty() {
                let place = &places[index];
                let part = segment.len().min(place.descriptor.len as usize - used);
                assert!(part > 0, "the segments of a packet are as long as the packet");
                // SAFETY: as in `put`; `used + part` is not more than the buffer has.
                unsafe { std::ptr::copy_nonoverlapping(segment.as_ptr(), place.start.as_ptr().add(used), part) };
                segment = &segment[part..];
                used += part;
                if used == place.descriptor.len as usize && index + 1 < places.len() {
                    (index, used) = (index + 1, 0);
                }
            }
        }
        let count = places.len() as u16;
        for (at, place) in places.iter().enumerate() {
            let is_last = at + 1 == places.len();
            let len = if is_last { used as u32 } else { place.descriptor.len };
            self.end.ring.write(self.next.wrapping_add(at as u16), Descriptor { next: !is_last, len, ..place.descriptor });
        }
        self.next = self.next.wrapping_add(count);
        Ok(count)
    }

    /// What was put is the peer's.
    ///
    /// Whether the receiver sleeps is only certain behind a fence, and a fence waits until every line written before has come from the
    /// other core. So after many frames the look is taken without one, and the certain one at the end of the first turn that sends nothing
    /// ([`TxEnd::settle`]): in between, each burst looks again.
    #[inline]
    fn publish(&mut self, sent: usize) {
        // Release: frames and descriptors come before it.
        match self.end.buffers {
            Buffers::Peer => self.end.ring.tail().store(self.next, Ordering::Release),
            Buffers::Ours { .. } => self.end.ring.head().store(self.next, Ordering::Release),
        }
        if sent < MANY {
            return self.look();
        }
        self.unsure = 2;
        if !self.end.ring.is_polled() {
            self.doorbell.ring();
        }
    }

    /// At the end of a turn.
    #[inline]
    fn settle(&mut self) {
        if self.unsure > 0 {
            self.unsure -= 1;
            if self.unsure == 0 {
                self.look();
            }
        }
    }

    /// Wakes the receiver if it sleeps or is about to.
    fn look(&mut self) {
        self.unsure = 0;
        // Pairs with the fence of a receiver that goes to sleep (ours: `MemifRx::poll_fd`).
        fence(Ordering::SeqCst);
        if !self.end.ring.is_polled() {
            self.doorbell.ring();
        }
    }
}

impl Drop for TxEnd {
    fn drop(&mut self) {
        if self.unsure > 0 {
            self.look();
        }
        let Some(free) = self.free().filter(|_| self.end.buffers != Buffers::Peer) else { return };
        // What the peer has not taken is lost. (A server cannot know: its client does not say when it has read a frame.)
        let waiting = self.end.ring.size() - free;
        let frames = (1..=waiting).filter(|back| !self.end.ring.read(self.next.wrapping_sub(*back)).next).count();
        self.end.connection.lost.fetch_add(frames as u64, Ordering::Relaxed);
    }
}

/// A transmit queue.
#[derive(Debug)]
pub struct MemifTx {
    slot: Slot<TxEnd>,
    refusal: Refusal,
}

impl MemifTx {
    /// A queue that works with whatever end `slot` has.
    pub fn new(slot: Slot<TxEnd>) -> MemifTx {
        MemifTx { slot, refusal: Refusal::Down }
    }
}

impl TxQueue for MemifTx {
    #[inline]
    fn tx_burst(&mut self, _now: Nanos, pool: &mut PoolCache, burst: &mut Burst) -> usize {
        let Some(end) = self.slot.get() else {
            self.refusal = Refusal::Down;
            return 0;
        };
        end.send(pool, burst, &mut self.refusal)
    }

    fn refusal(&self) -> Refusal {
        self.refusal
    }

    fn flush(&mut self, _now: Nanos, _pool: &mut PoolCache) {
        // The port may have lost its peer with nothing to send: then this gives the end back.
        if let Some(end) = self.slot.get() {
            end.settle();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::bell::{Ringer, bell};
    use super::super::queue::Connection;
    use super::super::region::{Region, Regions};
    use super::super::ring::{Ring, ring_len};
    use super::*;
    use crate::mempool::{Hugepages, Mempool};
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use std::os::fd::OwnedFd;
    use std::sync::Arc;

    fn is_rung(bell: &OwnedFd, patience_s: i64) -> bool {
        let mut fds = [PollFd::new(bell, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: patience_s, tv_nsec: 0 })).unwrap() > 0
    }

    /// A receiver may have gone to sleep while the lines of a large burst were under way: what the look without a fence missed, the end of the next
    /// turn finds.
    #[test]
    fn a_receiver_that_fell_asleep_unseen_is_woken_at_the_end_of_the_next_turn() {
        let (region, _file) = Region::create(1 << 20).unwrap();
        let regions = Arc::new(Regions(vec![region]));
        let ring = || Ring::new(&regions, 0, 0, 6).unwrap();
        ring().initialise();
        ring().set_polled(true);
        let buffers = Buffers::Ours { offset: ring_len(6) as u32, stride: 2048, size: 2048 };
        let end = End { ring: ring(), buffers, connection: Arc::new(Connection::default()) };
        let theirs = bell(0).unwrap();
        let (ringer, mut doorbells) = Ringer::start(vec![theirs.try_clone().unwrap()]).unwrap();
        let mut sender = TxEnd::new(end, doorbells.pop().unwrap());
        let mempool = Mempool::new(64, Hugepages::Never).unwrap();
        let (mut pool, mut burst, mut refusal) = (mempool.cache(), Burst::new(), Refusal::Full);
        burst.extend((0..MANY).map(|_| pool.alloc_copy(&[7; 60]).unwrap()));
        assert_eq!(sender.send(&mut pool, &mut burst, &mut refusal), MANY);
        sender.settle();
        ring().set_polled(false);
        assert_eq!((sender.unsure, is_rung(&theirs, 0)), (1, false), "nobody has looked since");
        sender.settle();
        assert!(is_rung(&theirs, 30));
        assert_eq!(sender.unsure, 0);
        drop((sender, ringer));
    }
}
