//! What every port is to the switch: queues that move bursts, and a device that can be asked about itself.
//!
//! A backend (memory, capture files, later AF_XDP, AF_PACKET, TAP, DPDK, memif) implements these traits and is nothing
//! else; a wrapper (link timing) implements them around another. Calls through `dyn` happen once per burst, never per packet.
//!
//! A port has one or several queues in each direction. Each queue end is owned by one worker and may be moved to its
//! thread; the [`Device`] stays with control.

use serde::Serialize;

use crate::clock::Nanos;
use crate::mempool::PoolCache;
use crate::packet::Burst;

/// Number of a port in its switch, from 0. A switch has at most [`PORTS_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct PortId(pub u8);

impl PortId {
    /// As an index into a table of ports.
    #[inline(always)]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl std::fmt::Display for PortId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Ports a switch has at most: sets of ports are 128-bit masks.
pub const PORTS_MAX: usize = 128;

/// Frames that came in from the wire but could not be delivered to the switch. They count as received and as dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RxDrops {
    /// Longer than a frame may be.
    pub oversize: u64,
    /// No free buffer.
    pub no_buffer: u64,
    /// Not an Ethernet frame, or damaged.
    pub malformed: u64,
    /// Bytes of all of these.
    pub bytes: u64,
}

impl RxDrops {
    /// Frames in all.
    pub fn frames(&self) -> u64 {
        self.oversize + self.no_buffer + self.malformed
    }
}

/// A receive queue: frames into the switch.
pub trait RxQueue: Send {
    /// Appends up to `max` received packets to `burst`, as many as it has room for; returns how many.
    fn rx_burst(&mut self, now: Nanos, pool: &mut PoolCache, burst: &mut Burst, max: usize) -> usize;

    /// Asks for what the next `rx_burst` will read, ahead of it: whoever polls many queues asks for all of them first.
    #[inline]
    fn prefetch(&self) {}

    /// What was received and lost before the switch could have it, since the start.
    fn drops(&self) -> RxDrops {
        RxDrops::default()
    }

    /// When, on a virtual clock, polling again can bring something; `None`: only something outside can.
    fn next_event(&self) -> Option<Nanos> {
        None
    }
}

/// A transmit queue: frames out of the switch.
pub trait TxQueue: Send {
    /// Takes packets from the front of `burst`, as many as it has room for; returns how many. The rest stay, in order:
    /// the caller drops and counts them.
    fn tx_burst(&mut self, now: Nanos, pool: &mut PoolCache, burst: &mut Burst) -> usize;

    /// Called at the end of a turn: kicks what must be kicked, takes back what was sent.
    fn flush(&mut self, now: Nanos, pool: &mut PoolCache) {
        let _ = (now, pool);
    }

    /// Packets accepted and not yet gone.
    fn held(&self) -> usize {
        0
    }

    /// When, on a virtual clock, `flush` has something to do.
    fn next_event(&self) -> Option<Nanos> {
        None
    }
}

impl<R: RxQueue + ?Sized> RxQueue for Box<R> {
    #[inline]
    fn rx_burst(&mut self, now: Nanos, pool: &mut PoolCache, burst: &mut Burst, max: usize) -> usize {
        (**self).rx_burst(now, pool, burst, max)
    }
    #[inline]
    fn prefetch(&self) {
        (**self).prefetch();
    }
    fn drops(&self) -> RxDrops {
        (**self).drops()
    }
    fn next_event(&self) -> Option<Nanos> {
        (**self).next_event()
    }
}

impl<T: TxQueue + ?Sized> TxQueue for Box<T> {
    #[inline]
    fn tx_burst(&mut self, now: Nanos, pool: &mut PoolCache, burst: &mut Burst) -> usize {
        (**self).tx_burst(now, pool, burst)
    }
    fn flush(&mut self, now: Nanos, pool: &mut PoolCache) {
        (**self).flush(now, pool);
    }
    fn held(&self) -> usize {
        (**self).held()
    }
    fn next_event(&self) -> Option<Nanos> {
        (**self).next_event()
    }
}

/// Whether a link carries frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkState {
    /// Frames pass.
    Up,
    /// The far end is missing or switched off.
    Down,
}

/// The port as control sees it.
pub trait Device: Send {
    /// The kind of backend, as in a port spec: `memory`, `pcap`.
    fn kind(&self) -> &'static str;

    /// What it is connected to and in which mode, for people.
    fn describe(&self) -> String;

    /// Is the link up? Must not block.
    fn link(&self) -> LinkState;

    /// Frames that failed on the way out after they were accepted, for the port's statistics.
    fn errors(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A port, ready to be given to a switch.
pub struct Port {
    /// Receive queues; at least one.
    pub rx: Vec<Box<dyn RxQueue>>,
    /// Transmit queues; at least one.
    pub tx: Vec<Box<dyn TxQueue>>,
    /// The device behind them.
    pub device: Box<dyn Device>,
}

impl std::fmt::Debug for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Port({}, {} rx, {} tx)", self.device.describe(), self.rx.len(), self.tx.len())
    }
}
