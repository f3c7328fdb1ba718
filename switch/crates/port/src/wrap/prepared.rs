//! Keeps the interface of a port prepared, around a backend that only knows its own sockets.
//!
//! Offloads go off when the port opens and on again when it closes ([`prepare`](crate::netdev::prepare)); an interface that has gone and
//! come back is prepared anew. Frames from a local stack, at the other end of a veth, are padded to the least length and get their checksums
//! completed on the way in: those in one buffer, that is; the checksum of a chained one stays as it is.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use wire::MacAddr;

use crate::checksum;
use crate::clock::Nanos;
use crate::device::{Device, DeviceStatistics, LinkState, Port, RxDrops, RxQueue};
use crate::mempool::PoolCache;
use crate::netdev::prepare::Preparation;
use crate::netdev::{Netdev, OpenInterfaceError};
use crate::open::OpenError;
use crate::packet::Burst;

/// The shortest frame a card sends, without FCS (IEEE 802.3 §4.2.8).
const FRAME_LEN_MIN: usize = 60;
/// The interface is looked at so often even if nobody tells of a change.
const LOOK_PERIOD: Nanos = Nanos::from_millis(1000);

/// Prepares the interface called `name` and keeps it prepared for as long as the port that `open` makes of it lives.
///
/// # Errors
/// Those of `open`, and of asking for the interface.
pub fn prepared(name: &str, open: impl FnOnce() -> Result<Port, OpenError>) -> Result<Port, OpenError> {
    let failed = |source| OpenError::Interface(OpenInterfaceError::of(name, source));
    let netdev = Netdev::new(name).map_err(failed)?;
    let index = netdev.state().map_err(failed)?.index;
    let preparation = Preparation::new(name).map_err(failed)?;
    let local = Arc::new(AtomicBool::new(preparation.is_local()));
    let port = open()?;
    let seen = netdev.state().ok().map(|link| (link.index, link.carrier_downs));
    let rx = port.rx.into_iter().map(|inner| Box::new(CompletingRx { inner, local: Arc::clone(&local) }) as Box<dyn RxQueue>);
    let rx = rx.collect();
    let prepared = Some((index, preparation));
    let device = PreparedDevice { inner: port.device, netdev, prepared, seen, flapped: false, local, next_look: Nanos::ZERO };
    Ok(Port { rx, tx: port.tx, device: Box::new(device) })
}

struct CompletingRx {
    inner: Box<dyn RxQueue>,
    /// Written by control, when the interface comes back as another kind.
    local: Arc<AtomicBool>,
}

impl RxQueue for CompletingRx {
    #[inline]
    fn rx_burst(&mut self, now: Nanos, pool: &mut PoolCache, burst: &mut Burst, max: usize) -> usize {
        let before = burst.len();
        let count = self.inner.rx_burst(now, pool, burst, max);
        if count > 0 && self.local.load(Ordering::Relaxed) {
            for packet in &mut burst[before..] {
                // No card has padded what a local stack has sent: an ARP request has 42 bytes. Received buffers have room.
                pool.pad_to(packet, FRAME_LEN_MIN);
                if !packet.is_chained()
                    && let Some(frame) = pool.bytes_mut(packet)
                {
                    checksum::complete(frame);
                }
            }
        }
        count
    }

    fn prefetch(&self) {
        self.inner.prefetch();
    }

    fn drops(&self) -> RxDrops {
        self.inner.drops()
    }

    fn next_event(&self) -> Option<Nanos> {
        self.inner.next_event()
    }

    fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        self.inner.poll_fd()
    }
}

struct PreparedDevice {
    /// Before the preparation: what the backend has on the interface goes first.
    inner: Box<dyn Device>,
    netdev: Netdev,
    /// The index of the interface that is prepared.
    prepared: Option<(u32, Preparation)>,
    /// Its index and how often it had lost its carrier, when there was one last.
    seen: Option<(u32, u32)>,
    /// The link was down meanwhile, and nobody has been told yet.
    flapped: bool,
    local: Arc<AtomicBool>,
    next_look: Nanos,
}

impl Device for PreparedDevice {
    fn kind(&self) -> &'static str {
        self.inner.kind()
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn link(&self) -> LinkState {
        if self.flapped { LinkState::Down } else { self.inner.link() }
    }

    fn maintain(&mut self, now: Nanos) {
        self.flapped = false; // It has been told by now.
        if self.netdev.rang() || now >= self.next_look {
            self.next_look = now + LOOK_PERIOD;
            let link = self.netdev.state().ok();
            // What went and came between two looks was down all the same: who was behind it need not be there any more.
            if let Some(link) = &link {
                let now = (link.index, link.carrier_downs);
                self.flapped = self.seen.replace(now).is_some_and(|before| before != now);
            }
            let index = link.map(|link| link.index);
            if index != self.prepared.as_ref().map(|(index, _)| *index) {
                if let Some((_, gone)) = self.prepared.take() {
                    gone.abandon();
                }
                self.prepared = index.zip(Preparation::new(self.netdev.name()).ok());
                let local = self.prepared.as_ref().is_some_and(|(_, preparation)| preparation.is_local());
                self.local.store(local, Ordering::Relaxed);
            }
        }
        self.inner.maintain(now);
    }

    fn mode(&self) -> Option<String> {
        self.inner.mode()
    }

    fn reasons(&self) -> Vec<String> {
        let mut reasons = self.inner.reasons();
        reasons.extend(self.prepared.iter().flat_map(|(_, preparation)| preparation.reasons().iter().cloned()));
        reasons
    }

    fn mac(&self) -> Option<MacAddr> {
        self.inner.mac().or_else(|| self.netdev.state().ok()?.mac)
    }

    fn mtu(&self) -> Option<u32> {
        self.inner.mtu().or_else(|| Some(self.netdev.state().ok()?.mtu))
    }

    fn queues(&self) -> usize {
        self.inner.queues()
    }

    fn statistics(&self) -> DeviceStatistics {
        self.inner.statistics()
    }

    fn enters_namespaces(&self) -> bool {
        self.inner.enters_namespaces() || self.prepared.as_ref().is_some_and(|(_, preparation)| preparation.is_abroad())
    }

    fn errors(&self) -> Vec<String> {
        self.inner.errors()
    }
}
