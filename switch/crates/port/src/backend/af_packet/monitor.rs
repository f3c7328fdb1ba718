//! Listening on an interface, with the kernel's time stamp of each frame: for measuring how regularly somebody sends.
//!
//! The kernel stamps a frame as it writes it into the ring, in the context that received it: on a veth pair that is the core of the
//! sender, within the call that sent. So the stamps say when frames left, whoever sent them and by whatever means, and it does not matter when
//! the ring is read, as long as it is read before it is full.
//!
//! Nothing is set on the interface, and what leaves by it is not seen. Threads: one at a time.

use crate::netdev::{Asker, OpenInterfaceError};

use super::ring::{Fanout, Received, RxRing};

/// Bytes of the ring: 32,768 frames of up to 1,900 bytes wait.
const RING_LEN: usize = 64 << 20;
/// The same for who listens to little.
const SMALL_RING_LEN: usize = 2 << 20;

/// Listens on one interface.
#[derive(Debug)]
pub struct Monitor {
    ring: RxRing,
    lost: u64,
}

impl Monitor {
    /// Listens on an interface of the calling thread's network namespace.
    ///
    /// # Errors
    /// There is no such interface, or the system refuses; the text says what to do.
    pub fn open(interface: &str) -> Result<Monitor, OpenInterfaceError> {
        Monitor::open_with(interface, RING_LEN)
    }

    /// As [`open`](Self::open), for less traffic: 2 MiB, in which 1,024 frames of up to 1,900 bytes wait.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_small(interface: &str) -> Result<Monitor, OpenInterfaceError> {
        Monitor::open_with(interface, SMALL_RING_LEN)
    }

    fn open_with(interface: &str, ring_len: usize) -> Result<Monitor, OpenInterfaceError> {
        let failed = |source| OpenInterfaceError::of(interface, source);
        let link = Asker::new().and_then(|asker| asker.by_name(interface)).map_err(failed)?;
        let ring = RxRing::open_with(link.index, link.mtu, Fanout::Alone, ring_len).map_err(failed)?;
        Ok(Monitor { ring, lost: 0 })
    }

    /// The next frame, if one has come: its bytes and when the kernel had it, in ns of the wall clock. Frames too long for a slot have
    /// no bytes.
    #[inline]
    pub fn next<T>(&mut self, take: impl FnOnce(&[u8], u64) -> T) -> Option<T> {
        self.ring.receive_stamped(&mut self.lost, |received, at| match received {
            Received::Frame(frame, _) => take(frame, at),
            Received::Oversize(_) => take(&[], at),
        })
    }

    /// Frames the kernel had no room for, as far as frames that came after them have told.
    pub fn lost(&self) -> u64 {
        self.lost
    }
}
