//! A port on any network interface, through packet sockets (AF_PACKET): works with every driver, and copies every frame in and out.
//!
//! - `ring`: receiving; `send`: sending; `device`: the interface, its life and what is set on it;
//! - [`monitor`]: listening only, with the kernel's time stamps.
//!
//! Each queue has a socket of its own in each direction. With `fanout=N` the kernel spreads the frames that come in over N sockets by the hash
//! of their flow, so that each flow stays in order.
//!
//! The frames are as they were on the wire: tags the kernel has taken out go back in, checksums a local sender has left to a card
//! are completed, and frames shorter than 60 bytes are padded (IEEE 802.3 §4.2.8), since no card has done so yet.

mod device;
pub mod monitor;
mod ring;
mod send;

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::checksum;
use crate::clock::Nanos;
use crate::device::{Port, Refusal, RxDrops, RxQueue, TxQueue};
use crate::handover::Slot;
use crate::mempool::PoolCache;
use crate::netdev::OpenInterfaceError;
use crate::packet::Burst;
use ring::{Received, RxRing};
use send::TxSocket;

/// The most sockets that share the frames of a port.
pub const FANOUT_MAX: usize = 64;
/// The shortest frame a card sends, without FCS.
const FRAME_LEN_MIN: usize = 60;

/// What a port on packet sockets needs to know.
#[derive(Clone, Debug)]
pub struct Options {
    /// The interface.
    pub interface: String,
    /// Queues in each direction, 1 to [`FANOUT_MAX`].
    pub fanout: usize,
    /// The longest frame that will be sent, in bytes without FCS.
    pub frame_len_max: usize,
    /// What to say among its reasons: why no better kind was to be had.
    pub notes: Vec<String>,
}

/// Opens a port on an interface that is there.
///
/// # Errors
/// There is no such interface, it is no Ethernet, or the system refuses; the text says what to do.
pub fn open(options: &Options) -> Result<Port, OpenInterfaceError> {
    device::open(options)
}

struct PacketRx {
    slot: Slot<RxRing>,
    up: Arc<AtomicBool>,
    drops: RxDrops,
}

impl RxQueue for PacketRx {
    fn rx_burst(&mut self, _now: Nanos, pool: &mut PoolCache, burst: &mut Burst, max: usize) -> usize {
        let Some(ring) = self.slot.get() else { return 0 };
        let before = burst.len();
        let drops = &mut self.drops;
        while burst.len() - before < max && !burst.is_full() {
            let mut lost = 0;
            let taken = ring.receive(&mut lost, |received| match received {
                Received::Frame(frame, partial) => {
                    if partial {
                        checksum::complete(frame);
                    }
                    match pool.alloc_copy(frame) {
                        Some(mut packet) => {
                            // A buffer of its own and short: there is always room.
                            pool.pad_to(&mut packet, FRAME_LEN_MIN);
                            burst.push(packet);
                        }
                        None => {
                            drops.no_buffer += 1;
                            drops.bytes += frame.len() as u64;
                        }
                    }
                }
                Received::Oversize(len) => {
                    drops.oversize += 1;
                    drops.bytes += len as u64;
                }
            });
            drops.no_buffer += lost; // How many bytes they had the kernel does not tell.
            if taken.is_none() {
                break;
            }
        }
        burst.len() - before
    }

    fn drops(&self) -> RxDrops {
        self.drops
    }

    fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        // A socket whose interface is down has an error pending, which would wake whoever sleeps on it at once.
        self.slot.peek().filter(|_| self.up.load(Ordering::Acquire)).map(RxRing::as_fd)
    }
}

struct PacketTx {
    slot: Slot<TxSocket>,
    up: Arc<AtomicBool>,
    refusal: Refusal,
}

impl TxQueue for PacketTx {
    fn tx_burst(&mut self, _now: Nanos, pool: &mut PoolCache, burst: &mut Burst) -> usize {
        let before = burst.len();
        let socket = self.slot.get();
        let up = self.up.load(Ordering::Acquire);
        let sent = match socket.filter(|_| up) {
            Some(socket) => socket.send(pool, burst),
            None => Err(Refusal::Down),
        };
        if let Err(refusal) = sent {
            self.refusal = refusal;
        }
        before - burst.len()
    }

    fn refusal(&self) -> Refusal {
        self.refusal
    }

    fn flush(&mut self, _now: Nanos, _pool: &mut PoolCache) {
        self.slot.get(); // Nothing is sent by a port that is down, and yet it gives back what is called back.
    }
}
