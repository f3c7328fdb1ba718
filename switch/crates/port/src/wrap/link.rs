//! The timing of a real Ethernet link around any queue.
//!
//! A frame of `len` bytes (without FCS) occupies the wire for preamble and SFD (8 bytes), itself, FCS (4) and the
//! inter-packet gap (12): `len + 24` bytes (IEEE 802.3 §4.2.3.2 and table 4-2). It has arrived when its last bit has, which is
//! before the gap. At 1 Gb/s a 64-byte frame (60 and FCS) thus takes 672 ns, and 1,488,095 of them are complete in a second.
//!
//! Arithmetic is exact at any whole number of bits a second: time is counted in nanoseconds and parts of 1/rate of one, nothing is
//! rounded until a time stamp is made, and then up: a frame is not complete before its last bit is.
//!
//! [`LinkTx`] wraps a transmit queue: a finite queue, the wire, optionally a delay (cable, or the far end's reception).
//! [`LinkRx`] wraps a receive queue, from the side of whoever plays the wire: it takes the next frame out of the switch's
//! transmit ring only when the wire is free, so that the ring is the port's queue.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;

use crate::clock::Nanos;
use crate::device::{RxDrops, RxQueue, TxQueue};
use crate::mempool::PoolCache;
use crate::packet::{Burst, Packet};

/// Bytes of the wire a frame needs before its first byte: preamble and start of frame delimiter.
pub const PREAMBLE_LEN: u64 = 8;
/// Frame check sequence.
pub const FCS_LEN: u64 = 4;
/// Inter-packet gap.
pub const GAP_LEN: u64 = 12;
/// Bytes of the wire a frame takes beyond its own, without FCS in the frame.
pub const OVERHEAD_LEN: u64 = PREAMBLE_LEN + FCS_LEN + GAP_LEN;

/// One direction of a link: when is the wire free again?
#[derive(Clone, Debug)]
pub struct Wire {
    rate_bps: u64,
    /// When the gap after the last frame is over.
    free_at: Exact,
    /// The same rounded up: at whole nanoseconds, it is over by both or by neither.
    free_by: Nanos,
    gap: Exact,
    /// What the last frame took without its gap, and its length: the next one is often as long, and a division is saved.
    last: (usize, Exact),
}

/// A time, or a length of time, in whole nanoseconds and 1/rate_bps of one: `part` is less than the rate.
#[derive(Clone, Copy, Debug)]
struct Exact {
    ns: u64,
    part: u64,
}

impl Exact {
    const ZERO: Exact = Exact { ns: 0, part: 0 };

    /// What so many bytes take at this rate.
    fn of(bytes: u64, rate_bps: u64) -> Exact {
        let units = bytes.saturating_mul(8_000_000_000);
        Exact { ns: units / rate_bps, part: units % rate_bps }
    }

    #[inline]
    fn plus(self, other: Exact, rate_bps: u64) -> Exact {
        let (sum, part) = (self.ns.saturating_add(other.ns), self.part + other.part);
        match part.checked_sub(rate_bps) {
            Some(part) => Exact { ns: sum.saturating_add(1), part },
            None => Exact { ns: sum, part },
        }
    }

    /// Rounded up.
    #[inline]
    fn ceil(self) -> Nanos {
        Nanos(self.ns.saturating_add(u64::from(self.part > 0)))
    }
}

impl Wire {
    /// A free wire of `rate_bps` bits a second.
    ///
    /// # Panics
    /// If the rate is 0, or 2^63 or more.
    pub fn new(rate_bps: u64) -> Wire {
        assert!(rate_bps > 0, "a wire of 0 bit/s carries nothing");
        assert!(rate_bps < 1 << 63, "no wire carries {rate_bps} bit/s");
        Wire {
            rate_bps,
            free_at: Exact::ZERO,
            free_by: Nanos::ZERO,
            gap: Exact::of(GAP_LEN, rate_bps),
            last: (0, Exact::of(PREAMBLE_LEN + FCS_LEN, rate_bps)),
        }
    }

    /// Bits a second.
    pub fn rate_bps(&self) -> u64 {
        self.rate_bps
    }

    /// Is the wire free at `now`?
    #[inline]
    pub fn is_free(&self, now: Nanos) -> bool {
        self.free_by <= now
    }

    /// The first nanosecond at which the wire is free.
    #[inline]
    pub fn free_at(&self) -> Nanos {
        self.free_by
    }

    /// Sends a frame that is ready at `ready` as soon as the wire is free; returns when its last bit is out.
    #[inline]
    pub fn send(&mut self, ready: Nanos, len: usize) -> Nanos {
        let start = if self.is_free(ready) { Exact { ns: ready.0, part: 0 } } else { self.free_at };
        self.occupy(start, len)
    }

    /// Sends a frame that has been waiting: right after the one before.
    #[inline]
    pub fn send_next(&mut self, len: usize) -> Nanos {
        self.occupy(self.free_at, len)
    }

    #[inline]
    fn occupy(&mut self, start: Exact, len: usize) -> Nanos {
        if self.last.0 != len {
            self.last = (len, Exact::of(PREAMBLE_LEN + len as u64 + FCS_LEN, self.rate_bps));
        }
        let end = start.plus(self.last.1, self.rate_bps);
        self.free_at = end.plus(self.gap, self.rate_bps);
        self.free_by = self.free_at.ceil();
        end.ceil()
    }
}

/// A transmit queue behind a link.
pub struct LinkTx<T> {
    inner: T,
    wire: Wire,
    delay: Nanos,
    queue_max: usize,
    /// Packets on their way, and when their last bit has arrived.
    in_flight: VecDeque<(Packet, Nanos)>,
}

impl<T: TxQueue> LinkTx<T> {
    /// At most `queue_max` packets wait or are on the wire; each arrives `delay` after its last bit went out.
    pub fn new(inner: T, rate_bps: u64, queue_max: usize, delay: Nanos) -> Self {
        LinkTx { inner, wire: Wire::new(rate_bps), delay, queue_max, in_flight: VecDeque::new() }
    }

    fn deliver(&mut self, now: Nanos, pool: &mut PoolCache) {
        while let Some((_, arrival)) = self.in_flight.front() {
            if *arrival > now {
                break;
            }
            let (packet, arrival) = self.in_flight.pop_front().expect("there is a front");
            let mut burst = Burst::new();
            burst.push(packet);
            if self.inner.tx_burst(arrival, pool, &mut burst) == 0 {
                // The far end does not take it yet: it waits, as in a NIC with flow control, and the queue fills behind it.
                if let Some(packet) = burst.pop() {
                    self.in_flight.push_front((packet, arrival));
                }
                break;
            }
        }
    }
}

impl<T: TxQueue> TxQueue for LinkTx<T> {
    fn tx_burst(&mut self, now: Nanos, pool: &mut PoolCache, burst: &mut Burst) -> usize {
        self.deliver(now, pool);
        let count = burst.len().min(self.queue_max.saturating_sub(self.in_flight.len()));
        for packet in burst.drain(..count) {
            let arrival = self.wire.send(now, packet.len()) + self.delay;
            self.in_flight.push_back((packet, arrival));
        }
        count
    }

    fn flush(&mut self, now: Nanos, pool: &mut PoolCache) {
        self.deliver(now, pool);
        self.inner.flush(now, pool);
    }

    fn held(&self) -> usize {
        self.in_flight.len() + self.inner.held()
    }

    fn next_event(&self) -> Option<Nanos> {
        let ours = self.in_flight.front().map(|(_, arrival)| *arrival);
        [ours, self.inner.next_event()].into_iter().flatten().min()
    }
}

/// A receive queue behind a link.
pub struct LinkRx<R> {
    inner: R,
    wire: Wire,
    delay: Nanos,
    /// The frame on the wire, and when its last bit has arrived.
    in_flight: VecDeque<(Packet, Nanos)>,
    /// There was a frame waiting when we last looked: the next one follows without a pause.
    backlog: bool,
}

impl<R: RxQueue> LinkRx<R> {
    /// Frames of `inner` arrive one after the other at `rate_bps`, each `delay` after its last bit.
    pub fn new(inner: R, rate_bps: u64, delay: Nanos) -> Self {
        LinkRx { inner, wire: Wire::new(rate_bps), delay, in_flight: VecDeque::new(), backlog: false }
    }
}

impl<R: RxQueue> RxQueue for LinkRx<R> {
    fn rx_burst(&mut self, now: Nanos, pool: &mut PoolCache, burst: &mut Burst, max: usize) -> usize {
        // Whatever starts on the wire by now, starts.
        while self.wire.is_free(now) {
            let mut next = Burst::new();
            if self.inner.rx_burst(now, pool, &mut next, 1) == 0 {
                self.backlog = false;
                break;
            }
            for packet in next {
                // A frame found waiting began when the wire became free; one that has just come begins now.
                let arrival = if self.backlog { self.wire.send_next(packet.len()) } else { self.wire.send(now, packet.len()) };
                self.in_flight.push_back((packet, arrival + self.delay));
            }
            self.backlog = true;
        }
        let room = max.min(burst.remaining_capacity());
        let count = self.in_flight.iter().take(room).take_while(|(_, arrival)| *arrival <= now).count();
        burst.extend(self.in_flight.drain(..count).map(|(packet, _)| packet));
        count
    }

    fn drops(&self) -> RxDrops {
        self.inner.drops()
    }

    fn next_event(&self) -> Option<Nanos> {
        let arrival = self.in_flight.front().map(|(_, arrival)| *arrival);
        let free = self.backlog.then(|| self.wire.free_at());
        [arrival, free, self.inner.next_event()].into_iter().flatten().min()
    }

    fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        self.inner.poll_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::memory::{Cable, pair};
    use crate::mempool::{Hugepages, Mempool};
    use proptest::prelude::*;

    /// RFC 2544 appendix B: frames of 64 bytes complete in a second.
    #[test]
    fn a_second_of_minimum_frames_is_what_the_standard_says() {
        for (rate_bps, frames) in [(1_000_000_000, 1_488_095), (10_000_000_000, 14_880_952), (100_000_000, 148_809)] {
            let mut wire = Wire::new(rate_bps);
            let mut complete = 0;
            // A frame is complete when its gap is over as well: that is how line rates are counted.
            while {
                wire.send_next(60);
                wire.free_at() <= Nanos::from_secs(1)
            } {
                complete += 1;
            }
            assert_eq!(complete, frames, "{rate_bps} bit/s");
        }
    }

    #[test]
    fn nothing_drifts_at_odd_rates() {
        let mut wire = Wire::new(3_000_000_000);
        for _ in 0..3_000_000 {
            wire.send_next(1514);
        }
        // 3e6 frames of 1538 bytes are 36.912e9 bits: 12.304 s at 3 Gb/s, to the nanosecond.
        assert_eq!(wire.free_at(), Nanos(12_304_000_000));
    }

    proptest! {
        /// The same in one number of 128 bits, in units of 1/rate nanoseconds.
        #[test]
        fn nothing_is_rounded(rate_bps in 1_u64..500_000_000_000, frames in prop::collection::vec((0_u64..1 << 40, 0_usize..80_000), 1..50)) {
            let (mut wire, mut free_at, rate) = (Wire::new(rate_bps), 0_u128, u128::from(rate_bps));
            let bytes = |count: u64| u128::from(count) * 8_000_000_000;
            for (ready, len) in frames {
                let scaled = u128::from(ready) * rate;
                prop_assert_eq!(wire.is_free(Nanos(ready)), free_at <= scaled);
                let end = free_at.max(scaled) + bytes(PREAMBLE_LEN + len as u64 + FCS_LEN);
                free_at = end + bytes(GAP_LEN);
                prop_assert_eq!(u128::from(wire.send(Nanos(ready), len).0), end.div_ceil(rate));
                prop_assert_eq!(u128::from(wire.free_at().0), free_at.div_ceil(rate));
            }
        }
    }

    #[test]
    fn a_frame_arrives_with_its_last_bit() {
        let mut wire = Wire::new(1_000_000_000);
        assert_eq!(wire.send(Nanos(1000), 60), Nanos(1000 + 72 * 8));
        assert_eq!(wire.send(Nanos(1000), 60), Nanos(1000 + (84 + 72) * 8), "the second waits for the first and its gap");
        assert_eq!(wire.send(Nanos(9000), 60), Nanos(9000 + 72 * 8), "an idle wire is free at once");
        let mut fast = Wire::new(10_000_000_000);
        assert_eq!(fast.send(Nanos::ZERO, 60), Nanos(58), "57.6 ns, rounded up");
    }

    #[test]
    fn the_queue_is_finite_and_paced() {
        let pool = Mempool::new(64, Hugepages::Never).unwrap();
        let mut cache = pool.cache();
        let (mut near, mut far, _) = pair(Cable::default());
        let mut link = LinkTx::new(near.tx.remove(0), 1_000_000_000, 4, Nanos(100));
        let mut burst: Burst = (0..6u8).map(|n| cache.alloc_copy(&[n; 60]).unwrap()).collect();
        assert_eq!(link.tx_burst(Nanos::ZERO, &mut cache, &mut burst), 4, "four fit, two are refused");
        cache.free_all(&mut burst);
        assert_eq!((link.held(), link.next_event()), (4, Some(Nanos(676))));
        link.flush(Nanos(675), &mut cache);
        assert_eq!(far.rx[0].rx_burst(Nanos(675), &mut cache, &mut burst, 64), 0);
        link.flush(Nanos(676), &mut cache);
        assert_eq!(far.rx[0].rx_burst(Nanos(676), &mut cache, &mut burst, 64), 1);
        link.flush(Nanos(676 + 3 * 672), &mut cache);
        assert_eq!(far.rx[0].rx_burst(Nanos(0), &mut cache, &mut burst, 64), 3);
        assert_eq!((link.held(), link.next_event()), (0, None));
        cache.free_all(&mut burst);
    }

    #[test]
    fn the_wire_player_takes_frames_at_the_wires_pace() {
        let pool = Mempool::new(64, Hugepages::Never).unwrap();
        let mut cache = pool.cache();
        let (mut near, mut far, _) = pair(Cable::default());
        let mut link = LinkRx::new(far.rx.remove(0), 1_000_000_000, Nanos::ZERO);
        let mut burst: Burst = (0..3u8).map(|n| cache.alloc_copy(&[n; 60]).unwrap()).collect();
        near.tx[0].tx_burst(Nanos::ZERO, &mut cache, &mut burst);
        let mut arrivals = Vec::new();
        let mut now = Nanos::ZERO;
        loop {
            let count = link.rx_burst(now, &mut cache, &mut burst, 64);
            arrivals.extend((0..count).map(|_| now.0));
            cache.free_all(&mut burst);
            match link.next_event() {
                Some(next) => now = next,
                None => break,
            }
        }
        assert_eq!(arrivals, [576, 576 + 672, 576 + 2 * 672]);
    }
}
