//! Ports made of rings in memory: two ports joined by a cable, in one process, on one or two threads.
//!
//! The descriptors are the packet handles themselves, so a frame crosses without being copied. A transmit ring is the
//! queue of the port: what does not fit is the switch's to drop. Both ends must use the same [`Mempool`](crate::Mempool).
//!
//! With several queues, queue `i` of one end is joined to queue `i` of the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sync::ring::{Consumer, Producer, ring};

use crate::clock::Nanos;
use crate::device::{Device, LinkState, Port, RxQueue, TxQueue};
use crate::mempool::PoolCache;
use crate::packet::{Burst, Packet};

/// Sizes of a cable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cable {
    /// Queues in each direction, at least 1.
    pub queues: usize,
    /// Packets a queue from the first to the second end holds; rounded up to a power of two.
    pub forth: usize,
    /// Packets a queue from the second to the first end holds; rounded up to a power of two.
    pub back: usize,
}

impl Default for Cable {
    fn default() -> Self {
        Cable { queues: 1, forth: 512, back: 512 }
    }
}

/// The receiving end of one ring.
#[derive(Debug)]
pub struct MemoryRx(Consumer<Packet>);

/// The transmitting end of one ring.
#[derive(Debug)]
pub struct MemoryTx(Producer<Packet>);

impl RxQueue for MemoryRx {
    #[inline]
    fn rx_burst(&mut self, _now: Nanos, _pool: &mut PoolCache, burst: &mut Burst, max: usize) -> usize {
        self.0.pop_bulk(burst, max)
    }

    #[inline]
    fn prefetch(&self) {
        self.0.prefetch();
    }
}

impl TxQueue for MemoryTx {
    #[inline]
    fn tx_burst(&mut self, _now: Nanos, _pool: &mut PoolCache, burst: &mut Burst) -> usize {
        self.0.push_bulk(burst)
    }
}

/// The plug of one end: pulls the cable or puts it back.
#[derive(Clone, Debug)]
pub struct Plug(Arc<AtomicBool>);

impl Plug {
    /// Sets the link state of both ends.
    pub fn set(&self, state: LinkState) {
        self.0.store(state == LinkState::Up, Ordering::Release);
    }

    /// Is the cable in?
    pub fn link(&self) -> LinkState {
        if self.0.load(Ordering::Acquire) { LinkState::Up } else { LinkState::Down }
    }
}

struct MemoryDevice {
    plug: Plug,
    queues: usize,
    capacity: usize,
}

impl Device for MemoryDevice {
    fn kind(&self) -> &'static str {
        "memory"
    }

    fn describe(&self) -> String {
        format!("memory, {} queue(s) of {} packets", self.queues, self.capacity)
    }

    fn link(&self) -> LinkState {
        self.plug.link()
    }
}

/// Two ports joined by a cable, and its plug. What one end transmits the other receives.
///
/// # Panics
/// If `cable.queues` is 0.
pub fn pair(cable: Cable) -> (Port, Port, Plug) {
    assert!(cable.queues > 0, "a cable without queues carries nothing");
    let plug = Plug(Arc::new(AtomicBool::new(true)));
    let end = |capacity| -> Port {
        Port { rx: Vec::new(), tx: Vec::new(), device: Box::new(MemoryDevice { plug: plug.clone(), queues: cable.queues, capacity }) }
    };
    let (mut first, mut second) = (end(cable.forth), end(cable.back));
    for _ in 0..cable.queues {
        let (forth_tx, forth_rx) = ring(cable.forth);
        let (back_tx, back_rx) = ring(cable.back);
        first.tx.push(Box::new(MemoryTx(forth_tx)));
        second.rx.push(Box::new(MemoryRx(forth_rx)));
        second.tx.push(Box::new(MemoryTx(back_tx)));
        first.rx.push(Box::new(MemoryRx(back_rx)));
    }
    (first, second, plug)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mempool::{Hugepages, Mempool};

    #[test]
    fn a_frame_crosses_without_being_copied() {
        let pool = Mempool::new(16, Hugepages::Never).unwrap();
        let mut cache = pool.cache();
        let (mut a, mut b, plug) = pair(Cable { queues: 2, forth: 4, back: 4 });
        let packet = cache.alloc_copy(&[7; 60]).unwrap();
        let buffer = packet.buffer();
        let mut burst = Burst::new();
        burst.push(packet);
        assert_eq!(a.tx[1].tx_burst(Nanos::ZERO, &mut cache, &mut burst), 1);
        assert_eq!(b.rx[0].rx_burst(Nanos::ZERO, &mut cache, &mut burst, 64), 0, "queue 1 is joined to queue 1");
        assert_eq!(b.rx[1].rx_burst(Nanos::ZERO, &mut cache, &mut burst, 64), 1);
        assert_eq!(burst[0].buffer(), buffer);
        assert_eq!(cache.head(&burst[0]), &[7; 60]);
        cache.free_all(&mut burst);
        plug.set(LinkState::Down);
        assert_eq!((a.device.link(), b.device.link()), (LinkState::Down, LinkState::Down));
    }

    #[test]
    fn a_full_queue_leaves_the_rest_in_order() {
        let pool = Mempool::new(16, Hugepages::Never).unwrap();
        let mut cache = pool.cache();
        let (mut a, mut b, _) = pair(Cable { queues: 1, forth: 4, back: 4 });
        let mut burst: Burst = (0..6u8).map(|n| cache.alloc_copy(&[n; 60]).unwrap()).collect();
        assert_eq!(a.tx[0].tx_burst(Nanos::ZERO, &mut cache, &mut burst), 4);
        assert_eq!(burst.iter().map(|p| cache.head(p)[0]).collect::<Vec<_>>(), [4, 5]);
        cache.free_all(&mut burst);
        assert_eq!(b.rx[0].rx_burst(Nanos::ZERO, &mut cache, &mut burst, 3), 3);
        assert_eq!(burst.iter().map(|p| cache.head(p)[0]).collect::<Vec<_>>(), [0, 1, 2]);
        cache.free_all(&mut burst);
    }
}
