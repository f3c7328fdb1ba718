//! What every port is to the switch: queues that move bursts, and a device that can be asked about itself.
//!
//! A backend (memory, capture files, AF_XDP, AF_PACKET, TAP, later DPDK, memif) implements these traits and is nothing
//! else; a wrapper (link timing) implements them around another. Calls through `dyn` happen once per burst, never per packet.
//!
//! A port has one or several queues in each direction. Each queue end is owned by one worker and may be moved to its
//! thread; the [`Device`] stays with control.

use std::os::fd::BorrowedFd;

use serde::Serialize;

use crate::clock::Nanos;
use crate::mempool::PoolCache;
use crate::packet::Burst;
use wire::MacAddr;

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

    /// A descriptor that `poll(2)` calls readable when there is something to receive: an idle worker sleeps on it. `None`: there
    /// is none (memory, files), or none at the moment (the interface is gone); the worker then looks from time to time.
    fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// Why a transmit queue did not take a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is full: this packet and all behind it have to wait, or go.
    Full,
    /// Its interface is gone, switched off or without link: nothing can leave by it.
    Down,
    /// This one packet is longer than the interface sends; the one behind it may fit.
    Oversize,
}

/// A transmit queue: frames out of the switch.
pub trait TxQueue: Send {
    /// Takes packets from the front of `burst`, as many as it has room for; returns how many. The rest stay, in order:
    /// the caller drops and counts them.
    fn tx_burst(&mut self, now: Nanos, pool: &mut PoolCache, burst: &mut Burst) -> usize;

    /// Why the last `tx_burst` left the packet at the front of the burst.
    fn refusal(&self) -> Refusal {
        Refusal::Full
    }

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
    fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        (**self).poll_fd()
    }
}

impl<T: TxQueue + ?Sized> TxQueue for Box<T> {
    #[inline]
    fn tx_burst(&mut self, now: Nanos, pool: &mut PoolCache, burst: &mut Burst) -> usize {
        (**self).tx_burst(now, pool, burst)
    }
    fn refusal(&self) -> Refusal {
        (**self).refusal()
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

/// What a device has counted that the queues do not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DeviceStatistics {
    /// Frames that were accepted, counted as sent, and then lost: the interface went away with them.
    pub tx_lost: u64,
    /// Times the link went down.
    pub link_downs: u64,
    /// Times the interface went away and came back.
    pub returns: u64,
    /// Frames that were copied between the device's buffers and the switch's, where a device can do without and counts them.
    pub copied: Option<u64>,
}

/// The port as control sees it.
pub trait Device: Send {
    /// The kind of backend, as in a port spec: `memory`, `pcap`, `af_packet`.
    fn kind(&self) -> &'static str;

    /// What it is connected to and in which mode, for people.
    fn describe(&self) -> String;

    /// Is the link up? Must not block.
    fn link(&self) -> LinkState;

    /// Looks after the device: hears what has happened to its interface, takes down what has gone and opens it again. Control
    /// calls it from time to time, before it asks for the link. Must not block; works over many calls if it must wait.
    fn maintain(&mut self, now: Nanos) {
        let _ = now;
    }

    /// The way frames take, as obtained: `native, copy`, `TPACKET_V2`. `None` where there is but one.
    fn mode(&self) -> Option<String> {
        None
    }

    /// Why it is as it is: why not a better mode, what was changed on the interface and is put back at the end, what is missing.
    fn reasons(&self) -> Vec<String> {
        Vec::new()
    }

    /// Hardware address of the interface, if it has one.
    fn mac(&self) -> Option<MacAddr> {
        None
    }

    /// The most bytes of payload in a frame of the interface (as Linux counts: without Ethernet header and FCS).
    fn mtu(&self) -> Option<u32> {
        None
    }

    /// Queues it has in each direction.
    fn queues(&self) -> usize {
        1
    }

    /// What the device itself has counted.
    fn statistics(&self) -> DeviceStatistics {
        DeviceStatistics::default()
    }

    /// It can only come back whole if the process may still enter other network namespaces (CAP_SYS_ADMIN).
    fn enters_namespaces(&self) -> bool {
        false
    }

    /// What has gone wrong, for people; oldest first, and never shorter than it was.
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
