//! What workers call: bursts between a device's queues and the switch's buffers.
//!
//! Every frame is copied once on its way in and once on its way out, and counted: DPDK's mbufs and the switch's packets live in different memory. An
//! mbuf is in the hands of these functions only while they run; what a device does not take, or what has no room in the switch, is freed before they return.
#![allow(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::Ordering;

use capsule_ffi as ffi;

use super::ethdev::Ethdev;
use super::{AROUND_MTU, eal};
use crate::clock::Nanos;
use crate::device::{Refusal, RxDrops, RxQueue, TxQueue};
use crate::mempool::{FRAME_MAX, HEADROOM, PoolCache, SEGMENT_MAX};
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
        let mut hand = InHand::EMPTY;
        // SAFETY: the device is started as long as `ethdev` lives, this is the only owner of the queue (`new`), and the array has room for `room`.
        hand.count = usize::from(unsafe { ffi::shim_rx_burst(self.ethdev.port, self.queue, hand.mbufs.as_mut_ptr(), room as u16) });
        for index in 0..hand.count {
            // SAFETY: received just now: a valid mbuf, ours until it is freed at the end.
            let segments = unsafe { Segments::of(hand.mbufs[index]) };
            let len = segments.clone().map(<[u8]>::len).sum::<usize>();
            // SAFETY: as above.
            let unfinished = self.ethdev.vhost && unsafe { is_unfinished(hand.mbufs[index]) };
            if len == 0 || unfinished {
                self.drops.malformed += 1;
                self.drops.bytes += len as u64;
            } else if len > FRAME_MAX {
                self.drops.oversize += 1;
                self.drops.bytes += len as u64;
            } else if let Some(mut packet) = copy_in(segments, pool) {
                // A buffer of its own and short: there is always room.
                pool.pad_to(&mut packet, FRAME_LEN_MIN);
                burst.push(packet);
            } else {
                self.drops.no_buffer += 1;
                self.drops.bytes += len as u64;
            }
        }
        let received = burst.len() - before;
        if received > 0 {
            self.ethdev.copied.fetch_add(received as u64, Ordering::Relaxed);
        }
        received
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

/// The segments of an mbuf's frame.
#[derive(Clone)]
struct Segments<'a> {
    next: *const ffi::shim_mbuf,
    mbuf: std::marker::PhantomData<&'a ffi::shim_mbuf>,
}

impl<'a> Segments<'a> {
    /// # Safety
    /// `mbuf` heads a frame as a driver hands it over, and nobody writes to it during `'a`.
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

    /// Copies `packet` to mbufs behind those in `hand`, whose heads are counted in `heads`; `false`, and nothing done, if there are none.
    fn copy_out(&self, packet: &Packet, pool: &PoolCache, hand: &mut InHand) -> bool {
        let (room, len) = (self.ethdev.segment as usize, packet.len());
        let mut mbufs = [std::ptr::null_mut(); FRAME_MAX.div_ceil(1024)];
        let count = len.div_ceil(room);
        // SAFETY: the pool is the device's, the array has room: a segment is 2,048 bytes at least.
        if unsafe { ffi::shim_alloc_bulk(self.ethdev.pool(), mbufs.as_mut_ptr(), count as u32) } != 0 {
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

impl TxQueue for DpdkTx {
    fn tx_burst(&mut self, _now: Nanos, pool: &mut PoolCache, burst: &mut Burst) -> usize {
        eal::join();
        self.refusal = Refusal::Full;
        if !self.ethdev.up.load(Ordering::Acquire) {
            self.refusal = Refusal::Down;
            return 0;
        }
        let mut hand = InHand::EMPTY;
        for packet in burst.iter() {
            if packet.len() > self.frame_max() {
                self.refusal = Refusal::Oversize;
                break;
            }
            if !self.copy_out(packet, pool, &mut hand) {
                break;
            }
        }
        let ready = hand.count;
        if ready == 0 {
            return 0; // As above.
        }
        self.ethdev.copied.fetch_add(ready as u64, Ordering::Relaxed);
        // SAFETY: the device is started, this is the only owner of the queue (`new`), and the first `ready` mbufs are ours; those it takes are its own.
        let sent =
            usize::from(unsafe { ffi::shim_tx_burst(self.ethdev.port, self.queue, hand.mbufs.as_mut_ptr(), ready as u16) }).min(ready);
        hand.mbufs.copy_within(sent..ready, 0);
        hand.count = ready - sent;
        if sent < ready {
            self.refusal = Refusal::Full;
        }
        burst.drain(..sent).for_each(|packet| pool.free(packet));
        sent
    }

    fn refusal(&self) -> Refusal {
        self.refusal
    }
}
