//! What workers call: bursts between a device's queues and the switch's buffers.
//!
//! Where the mbufs have buffers of the switch (`mbufs`), a frame that comes in brings its buffer along and leaves the mbuf a free one; a frame that goes out
//! takes the place of the mbuf's buffer, which is free then. What cannot be exchanged is copied, and counted: frames whose buffer others share
//! (flooding), frames for a worker with another pool, and all frames of mbufs with room of their own.
//!
//! An mbuf is in the hands of these functions only while they run; what a device does not take, or what has no room in the switch, is freed before they
//! return, with the buffer it had before.
#![allow(unsafe_code)]

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrayvec::ArrayVec;
use capsule_ffi as ffi;

use super::ethdev::Ethdev;
use super::{AROUND_MTU, eal};
use crate::clock::Nanos;
use crate::device::{Refusal, RxDrops, RxQueue, TxQueue};
use crate::mempool::{BUFFER_SIZE, FRAME_MAX, HEADROOM, PoolCache, SEGMENT_MAX};
use crate::packet::{BURST_MAX, Burst, Packet};

/// The shortest frame a card receives or sends, without FCS. Virtual devices hand over what they are given.
const FRAME_LEN_MIN: usize = 60;

/// Heads of frames in hand: what is still in here at the end is freed.
struct InHand {
    mbufs: [*mut ffi::shim_mbuf; BURST_MAX],
    count: usize,
}

impl InHand {
    const EMPTY: InHand = InHand { mbufs: [std::ptr::null_mut(); BURST_MAX], count: 0 };
}

impl Drop for InHand {
    fn drop(&mut self) {
        if self.count > 0 {
            // SAFETY: the first `count` are mbufs that are nobody else's: received, or allocated and not taken by the device.
            unsafe { ffi::shim_free_bulk(self.mbufs.as_mut_ptr(), self.count as u32) };
        }
    }
}

/// A receive queue of a device.
pub struct DpdkRx {
    ethdev: Arc<Ethdev>,
    queue: u16,
    drops: RxDrops,
}

impl DpdkRx {
    /// A queue of a started device; there must be only one of each.
    pub fn new(ethdev: Arc<Ethdev>, queue: u16) -> DpdkRx {
        DpdkRx { ethdev, queue, drops: RxDrops::default() }
    }
}

impl RxQueue for DpdkRx {
    fn rx_burst(&mut self, _now: Nanos, pool: &mut PoolCache, burst: &mut Burst, max: usize) -> usize {
        eal::join();
        let before = burst.len();
        let room = max.min(burst.remaining_capacity()).min(BURST_MAX);
        if room == 0 {
            return 0; // Not every driver likes an empty burst.
        }
        let area = Area::of(&self.ethdev, pool);
        let (mut hand, mut copied) = (InHand::EMPTY, 0);
        // SAFETY: the device is started as long as `ethdev` lives, this is the only owner of the queue (`new`), and the array has room for `room`.
        hand.count = usize::from(unsafe { ffi::shim_rx_burst(self.ethdev.port, self.queue, hand.mbufs.as_mut_ptr(), room as u16) });
        for index in 0..hand.count {
            // SAFETY: received just now: a valid mbuf, ours until it is freed at the end.
            let (len, inside) = unsafe { extent(hand.mbufs[index]) };
            // SAFETY: as above.
            let unfinished = self.ethdev.vhost && unsafe { is_unfinished(hand.mbufs[index]) };
            if len == 0 || unfinished || !inside {
                self.drops.malformed += 1;
                self.drops.bytes += len as u64;
            } else if len > FRAME_MAX {
                self.drops.oversize += 1;
                self.drops.bytes += len as u64;
            } else {
                // SAFETY: as above; the area is that of this device and this pool.
                let whole = area.as_ref().map_or(Exchange::Impossible, |area| unsafe { area.take(hand.mbufs[index], pool) });
                let packet = match whole {
                    Exchange::Done(packet) => Some(packet),
                    Exchange::NoBuffer => None,
                    Exchange::Impossible => {
                        copied += 1;
                        // SAFETY: as above; all its parts lie inside their buffers.
                        copy_in(unsafe { Segments::of(hand.mbufs[index]) }, pool)
                    }
                };
                if let Some(mut packet) = packet {
                    // A buffer of its own and short: there is always room.
                    pool.pad_to(&mut packet, FRAME_LEN_MIN);
                    burst.push(packet);
                } else {
                    self.drops.no_buffer += 1;
                    self.drops.bytes += len as u64;
                }
            }
        }
        if copied > 0 {
            self.ethdev.copied.fetch_add(copied, Ordering::Relaxed);
        }
        burst.len() - before
    }

    fn drops(&self) -> RxDrops {
        if self.queue > 0 {
            return self.drops;
        }
        // The device counts for all its queues together.
        let lost = self.ethdev.drops();
        RxDrops { no_buffer: self.drops.no_buffer + lost.no_buffer, malformed: self.drops.malformed + lost.malformed, ..self.drops }
    }
}

/// What came of an attempt to keep a received frame's buffers.
enum Exchange {
    /// They are the packet's, and the mbufs have others.
    Done(Packet),
    /// There are no others.
    NoBuffer,
    /// Something about them is not as the switch needs it.
    Impossible,
}

/// Where the buffers of a device's mbufs lie, if they are of the pool in hand.
struct Area {
    base: *mut u8,
    buffers: u32,
    mbufs: *mut ffi::rte_mempool,
}

impl Area {
    fn of(ethdev: &Ethdev, pool: &PoolCache) -> Option<Area> {
        let mempool = ethdev.mempool().filter(|mempool| mempool.id() == pool.id())?;
        Some(Area { base: mempool.area().0.as_ptr(), buffers: mempool.buffers(), mbufs: ethdev.pool() })
    }

    /// The buffer an mbuf has.
    ///
    /// # Safety
    /// A valid mbuf.
    unsafe fn buffer(&self, mbuf: *const ffi::shim_mbuf) -> Option<u32> {
        // SAFETY: the caller's.
        let (place, pool, refcnt) = unsafe { ((*mbuf).buf_addr as usize, (*mbuf).pool, (*mbuf).refcnt) };
        let offset = place.wrapping_sub(self.base as usize);
        let index = offset / BUFFER_SIZE;
        let ours = pool == self.mbufs.cast() && refcnt == 1 && offset.is_multiple_of(BUFFER_SIZE) && index < self.buffers as usize;
        ours.then_some(index as u32)
    }

    /// The buffer an mbuf of this device has.
    ///
    /// # Safety
    /// A valid mbuf of the device's pool.
    unsafe fn buffer_unchecked(&self, mbuf: *const ffi::shim_mbuf) -> u32 {
        // SAFETY: the caller's: its buffer is one of the switch's pool.
        ((unsafe { (*mbuf).buf_addr } as usize - self.base as usize) / BUFFER_SIZE) as u32
    }

    /// Gives an mbuf another buffer.
    ///
    /// # Safety
    /// A valid mbuf of this device that is ours alone; `index` is a buffer of the pool, lent, and no other mbuf's.
    unsafe fn give(&self, mbuf: *mut ffi::shim_mbuf, index: u32) {
        // SAFETY: the caller's; the place is inside the pool's area.
        unsafe {
            let place = self.base.add(index as usize * BUFFER_SIZE);
            (*mbuf).buf_addr = place.cast();
            (*mbuf).buf_iova = place as u64;
        }
    }

    /// Keeps the buffers of a received frame, and gives its mbufs free ones.
    ///
    /// # Safety
    /// `mbuf` heads a frame as a driver hands it over, ours alone and not longer than [`FRAME_MAX`]; `pool` is of this area.
    unsafe fn take(&self, mbuf: *mut ffi::shim_mbuf, pool: &mut PoolCache) -> Exchange {
        /// Of a longest frame in full buffers, twice over: drivers fill them as they like.
        const SEGMENTS_MAX: usize = 2 * FRAME_MAX.div_ceil(SEGMENT_MAX);
        let mut parts = ArrayVec::<(*mut ffi::shim_mbuf, u32, usize, usize), SEGMENTS_MAX>::new();
        let mut next = mbuf;
        while !next.is_null() {
            // SAFETY: the chain is whole and ours.
            let (buffer, offset, len) = unsafe { (self.buffer(next), usize::from((*next).data_off), data_len(next)) };
            // Buffers are counted from even places.
            let usable = offset.is_multiple_of(2) && len > 0 && offset + len <= BUFFER_SIZE;
            let Some(buffer) = buffer.filter(|_| usable && !parts.is_full()) else { return Exchange::Impossible };
            parts.push((next, buffer, offset, len));
            // SAFETY: as above.
            next = unsafe { (*next).next };
        }
        let mut whole: Option<(Packet, u32)> = None;
        for (mbuf, buffer, offset, len) in parts {
            let Some(fresh) = pool.lend() else {
                // What has been exchanged is the switch's, and goes; the rest goes home with its mbufs.
                whole.into_iter().for_each(|(packet, _)| pool.free(packet));
                return Exchange::NoBuffer;
            };
            // SAFETY: `fresh` was lent just now. `buffer` was lent and is this mbuf's (`Mbufs`), so that nobody else's and, after the exchange, not the
            // mbuf's any more; the frame lies inside it (`usable`), its length was looked at by the caller, and the packet is fresh, so not shared.
            unsafe {
                self.give(mbuf, fresh);
                match &mut whole {
                    None => whole = Some((pool.received(buffer, offset, len), buffer)),
                    Some((packet, last)) => {
                        pool.append(packet, *last, buffer, offset, len);
                        *last = buffer;
                    }
                }
            }
        }
        whole.map_or(Exchange::Impossible, |(packet, _)| Exchange::Done(packet))
    }
}

/// The segments of an mbuf's frame.
#[derive(Clone)]
struct Segments<'a> {
    next: *const ffi::shim_mbuf,
    mbuf: std::marker::PhantomData<&'a ffi::shim_mbuf>,
}

impl<'a> Segments<'a> {
    /// # Safety
    /// `mbuf` heads a frame whose parts lie inside their buffers ([`extent`]), and nobody writes to it during `'a`.
    unsafe fn of(mbuf: *const ffi::shim_mbuf) -> Segments<'a> {
        Segments { next: mbuf, mbuf: std::marker::PhantomData }
    }
}

impl<'a> Iterator for Segments<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.next.is_null() {
            return None;
        }
        // SAFETY: the chain is whole and ours (`of`): the driver has set data offset and length to bytes inside the mbuf's buffer.
        unsafe {
            let (len, data) = (data_len(self.next), data(self.next));
            self.next = (*self.next).next;
            Some(std::slice::from_raw_parts(data, len))
        }
    }
}

/// Has the sender left the checksum, or the division into packets, to whoever puts the frame on a wire? Nobody here does.
///
/// # Safety
/// A valid mbuf.
unsafe fn is_unfinished(mbuf: *const ffi::shim_mbuf) -> bool {
    // SAFETY: the caller's.
    let flags = unsafe { (*mbuf).ol_flags };
    flags & ffi::SHIM_RX_LRO != 0 || flags & ffi::SHIM_RX_L4_CKSUM_MASK == ffi::SHIM_RX_L4_CKSUM_NONE
}

/// How long a frame is, and whether every part of it ends inside its buffer: a driver may say otherwise of what it has not written (net_null).
///
/// # Safety
/// `mbuf` heads a frame as a driver hands it over.
unsafe fn extent(mut mbuf: *const ffi::shim_mbuf) -> (usize, bool) {
    let (mut len, mut inside) = (0, true);
    while !mbuf.is_null() {
        // SAFETY: the caller's.
        unsafe {
            len += data_len(mbuf);
            inside &= usize::from((*mbuf).data_off) + data_len(mbuf) <= usize::from((*mbuf).buf_len);
            mbuf = (*mbuf).next;
        }
    }
    (len, inside)
}

/// # Safety
/// A valid mbuf.
unsafe fn data_len(mbuf: *const ffi::shim_mbuf) -> usize {
    // SAFETY: the caller's.
    usize::from(unsafe { (*mbuf).data_len })
}

/// # Safety
/// A valid mbuf whose data begins inside its buffer.
unsafe fn data(mbuf: *const ffi::shim_mbuf) -> *mut u8 {
    // SAFETY: the caller's.
    unsafe { (*mbuf).buf_addr.cast::<u8>().add(usize::from((*mbuf).data_off)) }
}

/// A packet with a copy of what lies in `segments`; `None`, and nothing held, if there are not enough buffers.
fn copy_in<'a>(segments: Segments<'a>, pool: &mut PoolCache) -> Option<Packet> {
    let mut parts = segments.flat_map(|segment| segment.chunks(SEGMENT_MAX));
    let mut whole = copy_part(parts.next()?, pool)?;
    let mut last = whole.buffer();
    for part in parts {
        let Some(piece) = copy_part(part, pool) else {
            pool.free(whole);
            return None;
        };
        let index = piece.buffer();
        // SAFETY: `piece` is a buffer of this pool with `part` behind its headroom; its handle ends here, so that the buffer is as one lent. The packet
        // is fresh, so not shared; `last` is its last buffer; the caller knows that the frame is not longer than `FRAME_MAX`.
        unsafe { pool.append(&mut whole, last, index, HEADROOM, part.len()) };
        last = index;
    }
    Some(whole)
}

fn copy_part(part: &[u8], pool: &mut PoolCache) -> Option<Packet> {
    let mut packet = pool.alloc(part.len())?;
    pool.bytes_mut(&mut packet)?.copy_from_slice(part);
    Some(packet)
}

/// A transmit queue of a device.
pub struct DpdkTx {
    ethdev: Arc<Ethdev>,
    queue: u16,
    refusal: Refusal,
}

impl DpdkTx {
    /// A queue of a started device; there must be only one of each.
    pub fn new(ethdev: Arc<Ethdev>, queue: u16) -> DpdkTx {
        DpdkTx { ethdev, queue, refusal: Refusal::Full }
    }

    /// The longest frame that may leave.
    fn frame_max(&self) -> usize {
        let by_mtu = (self.ethdev.mtu + AROUND_MTU) as usize;
        if self.ethdev.multi_segments { by_mtu } else { by_mtu.min(self.ethdev.segment as usize) }
    }

    /// Fresh mbufs for a frame: of the `stock` if it takes but one, else from the pool; `false` if there are none.
    fn fresh(&self, stock: &mut InHand, mbufs: &mut [*mut ffi::shim_mbuf]) -> bool {
        if let [mbuf] = mbufs
            && stock.count > 0
        {
            stock.count -= 1;
            *mbuf = stock.mbufs[stock.count];
            return true;
        }
        // SAFETY: the pool is the device's, and the array has room for as many as are asked for.
        unsafe { ffi::shim_alloc_bulk(self.ethdev.pool(), mbufs.as_mut_ptr(), mbufs.len() as u32) == 0 }
    }

    /// Puts the buffers of `packet` into mbufs behind those in `hand`, and what these had into `before`; `false`, and nothing done, if there are no mbufs.
    /// The packet's handle is to end when the device has taken them.
    ///
    /// # Safety
    /// Nobody else shares the packet, which has at most as many buffers as there is room in `before`; `area` is of its pool.
    unsafe fn hand_over(
        &self,
        packet: &Packet,
        pool: &PoolCache,
        area: &Area,
        stock: &mut InHand,
        (hand, before): (&mut InHand, &mut Before),
    ) -> bool {
        let mut mbufs = [std::ptr::null_mut(); BURST_MAX];
        let count = pool.segment_count(packet);
        if !self.fresh(stock, &mut mbufs[..count]) {
            return false;
        }
        for (at, (buffer, offset, len)) in pool.places(packet).enumerate() {
            let mbuf = mbufs[at];
            // SAFETY: a fresh mbuf, ours alone, over a buffer of the pool (`Mbufs::over`); the buffer it gets is the packet's alone.
            unsafe {
                before.push((mbuf, area.buffer_unchecked(mbuf)));
                area.give(mbuf, buffer);
                (*mbuf).data_off = offset as u16;
                (*mbuf).data_len = len as u16;
                (*mbuf).next = if at + 1 < count { mbufs[at + 1] } else { std::ptr::null_mut() };
            }
        }
        // SAFETY: as above.
        unsafe {
            (*mbufs[0]).pkt_len = packet.len() as u32;
            (*mbufs[0]).nb_segs = count as u16;
        }
        hand.mbufs[hand.count] = mbufs[0];
        hand.count += 1;
        true
    }

    /// Copies `packet` to mbufs behind those in `hand`, whose heads are counted in `heads`; `false`, and nothing done, if there are none.
    fn copy_out(&self, packet: &Packet, pool: &PoolCache, stock: &mut InHand, hand: &mut InHand) -> bool {
        let (room, len) = (self.ethdev.segment as usize, packet.len());
        let mut mbufs = [std::ptr::null_mut(); FRAME_MAX.div_ceil(1024)];
        let count = len.div_ceil(room);
        if !self.fresh(stock, &mut mbufs[..count]) {
            return false;
        }
        // SAFETY: fresh mbufs, ours alone, with `room` bytes behind their headroom each (`Mbufs::new`). The frame has `len` bytes, which is what the
        // mbufs get in all.
        unsafe {
            let mut at = 0;
            for part in pool.segments(packet) {
                let mut part = part;
                while !part.is_empty() {
                    let (mbuf, offset) = (mbufs[at / room], at % room);
                    let copied = part.len().min(room - offset);
                    std::ptr::copy_nonoverlapping(part.as_ptr(), data(mbuf).add(offset), copied);
                    part = &part[copied..];
                    at += copied;
                }
            }
            for (index, mbuf) in mbufs[..count].iter().enumerate() {
                (**mbuf).data_len = (len - index * room).min(room) as u16;
                (**mbuf).next = mbufs.get(index + 1).filter(|_| index + 1 < count).copied().unwrap_or(std::ptr::null_mut());
            }
            let head = mbufs[0];
            (*head).pkt_len = len as u32;
            (*head).nb_segs = count as u16;
            hand.mbufs[hand.count] = head;
        }
        hand.count += 1;
        true
    }
}

/// Mbufs whose buffer was exchanged for one of a packet, with the buffer they had.
type Before = ArrayVec<(*mut ffi::shim_mbuf, u32), { 2 * BURST_MAX }>;

impl DpdkTx {
    /// Sends the packets at the front of `burst`, as many as there is room for in the tables of one call. Returns how many the device has taken, and
    /// whether there is sense in another call.
    fn send_some(&mut self, pool: &mut PoolCache, burst: &mut Burst) -> (usize, bool) {
        let area = Area::of(&self.ethdev, pool);
        let (mut hand, mut before) = (InHand::EMPTY, Before::new());
        // An mbuf for each packet in one call, as most take one; what is left over goes back.
        let mut stock = InHand::EMPTY;
        // SAFETY: the pool is the device's, and the array has room for a burst.
        if unsafe { ffi::shim_alloc_bulk(self.ethdev.pool(), stock.mbufs.as_mut_ptr(), burst.len() as u32) } == 0 {
            stock.count = burst.len();
        }
        // For each frame in hand: which of `before` are its mbufs. None: it was copied.
        let mut exchanged = ArrayVec::<Range<usize>, BURST_MAX>::new();
        let (mut copied, mut more) = (0, false);
        for packet in burst.iter_mut() {
            if packet.len() > self.frame_max() {
                self.refusal = Refusal::Oversize;
                break;
            }
            let start = before.len();
            let segments = pool.segment_count(packet);
            let done = match area.as_ref().filter(|_| segments <= BURST_MAX && pool.is_exclusive(packet)) {
                Some(_) if segments > before.remaining_capacity() => {
                    more = true;
                    break;
                }
                // SAFETY: nobody shares it, there is room, and the area is of this pool (`Area::of`).
                Some(area) => unsafe { self.hand_over(packet, pool, area, &mut stock, (&mut hand, &mut before)) },
                None => self.copy_out(packet, pool, &mut stock, &mut hand),
            };
            if !done {
                break;
            }
            copied += u64::from(before.len() == start);
            exchanged.push(start..before.len());
        }
        let ready = hand.count;
        if ready == 0 {
            return (0, false); // Not every driver likes an empty burst.
        }
        if copied > 0 {
            self.ethdev.copied.fetch_add(copied, Ordering::Relaxed);
        }
        // SAFETY: the device is started, this is the only owner of the queue (`new`), and the first `ready` mbufs are ours; those it takes are its own.
        let sent =
            usize::from(unsafe { ffi::shim_tx_burst(self.ethdev.port, self.queue, hand.mbufs.as_mut_ptr(), ready as u16) }).min(ready);
        let kept = exchanged.get(sent).map_or(before.len(), |range| range.start);
        for (mbuf, index) in before.drain(kept..) {
            // SAFETY: the device has not taken it, so it is ours; it gets back what it had, which nobody else has been given.
            unsafe { area.as_ref().into_iter().for_each(|area| area.give(mbuf, index)) };
        }
        for (_, index) in before {
            // SAFETY: an mbuf had it, lent, and has got the packet's in its place for good.
            unsafe { pool.take_back(index) };
        }
        hand.mbufs.copy_within(sent..ready, 0);
        hand.count = ready - sent;
        for (packet, range) in burst.drain(..sent).zip(&exchanged) {
            if range.is_empty() {
                pool.free(packet);
            } // Else its buffers are the mbufs' now.
        }
        (sent, more && sent == ready)
    }
}

impl TxQueue for DpdkTx {
    fn tx_burst(&mut self, _now: Nanos, pool: &mut PoolCache, burst: &mut Burst) -> usize {
        eal::join();
        self.refusal = Refusal::Full;
        if !self.ethdev.up.load(Ordering::Acquire) {
            self.refusal = Refusal::Down;
            return 0;
        }
        let mut sent = 0;
        loop {
            let (some, more) = self.send_some(pool, burst);
            sent += some;
            if !more {
                return sent;
            }
        }
    }

    fn refusal(&self) -> Refusal {
        self.refusal
    }
}
