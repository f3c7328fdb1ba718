//! Anything with memory ports as a device on the virtual clock.
//!
//! The tester holds the far ends of the memory ports and plays their wires: a frame is in the device's receive ring when
//! its last bit has arrived; the next frame is taken out of the device's transmit ring when the wire is free, so that the ring is the
//! port's queue (`port::wrap::link::LinkRx`). Since the tester plays the wire, no device can send faster than the line here.

use port::wrap::link::LinkRx;
use port::{Burst, Mempool, Nanos, PoolCache, Port, PortId, RxQueue, TxQueue};

use super::virtual_time::VirtualDut;

/// What the tester must be able to ask of a device behind memory ports.
pub trait Settle {
    /// Does all there is to do at `now`.
    fn settle(&mut self, now: Nanos);

    /// When there is something to do that no frame causes.
    fn next_event(&self) -> Option<Nanos>;
}

struct Wire {
    tx: Box<dyn TxQueue>,
    rx: LinkRx<Box<dyn RxQueue>>,
    not_taken: u64,
}

/// A device behind memory ports.
pub struct MemoryDut<D> {
    wires: Vec<Wire>,
    device: D,
    pool: PoolCache,
    burst: Burst,
    bytes: Vec<u8>,
}

impl<D: Settle> MemoryDut<D> {
    /// `far` are the far ends of the device's ports with the rates of their lines, `pool` is the pool of its packets.
    ///
    /// # Panics
    /// If a port has no queue.
    pub fn new(far: Vec<(Port, u64)>, pool: &Mempool, device: D) -> MemoryDut<D> {
        let wire = |(mut port, line_bps): (Port, u64)| Wire {
            tx: port.tx.remove(0),
            rx: LinkRx::new(port.rx.remove(0), line_bps, Nanos::ZERO),
            not_taken: 0,
        };
        let wires = far.into_iter().map(wire).collect();
        MemoryDut { wires, device, pool: pool.cache(), burst: Burst::new(), bytes: Vec::new() }
    }

    /// The device.
    pub fn device(&mut self) -> &mut D {
        &mut self.device
    }
}

impl<D: Settle> VirtualDut for MemoryDut<D> {
    fn feed(&mut self, now: Nanos, port: PortId, frame: &[u8]) {
        let wire = &mut self.wires[port.index()];
        let Some(packet) = self.pool.alloc_copy(frame) else {
            wire.not_taken += 1;
            return;
        };
        self.burst.push(packet);
        wire.tx.tx_burst(now, &mut self.pool, &mut self.burst);
        wire.not_taken += self.burst.len() as u64;
        self.pool.free_all(&mut self.burst);
    }

    fn settle(&mut self, now: Nanos, out: &mut dyn FnMut(PortId, &[u8])) {
        self.device.settle(now);
        for (index, wire) in self.wires.iter_mut().enumerate() {
            while wire.rx.rx_burst(now, &mut self.pool, &mut self.burst, port::BURST_MAX) > 0 {
                for packet in self.burst.drain(..) {
                    if packet.is_chained() {
                        self.bytes.clear();
                        self.pool.copy_to(&packet, &mut self.bytes);
                        out(PortId(index as u8), &self.bytes);
                    } else {
                        out(PortId(index as u8), self.pool.head(&packet));
                    }
                    self.pool.free(packet);
                }
            }
        }
    }

    fn next_event(&self) -> Option<Nanos> {
        self.wires.iter().filter_map(|wire| wire.rx.next_event()).chain(self.device.next_event()).min()
    }

    fn not_taken(&self) -> Vec<u64> {
        self.wires.iter().map(|wire| wire.not_taken).collect()
    }
}
