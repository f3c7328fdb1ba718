//! The handle of a buffer: 8 bytes, affine, and the bursts it travels in.

use arrayvec::ArrayVec;

/// Packets handled at once, at most (design: a burst is at most 64 packets).
pub const BURST_MAX: usize = 64;

/// Some packets in order, at most [`BURST_MAX`].
pub type Burst = ArrayVec<Packet, BURST_MAX>;

/// A frame in a buffer of a [`Mempool`](crate::Mempool).
///
/// The handle *is* the right to the buffer: it is neither `Copy` nor `Clone`, so safe code can hold it once. It has no
/// `Drop` (that would be code on the hot path for every packet): one that is let go of is a leaked buffer, which the
/// ledger and [`Mempool::in_use`](crate::Mempool::in_use) show. Its bytes are reached only through the pool's
/// [`PoolCache`](crate::PoolCache).
///
/// Eight handles fill one cache line of a ring.
#[derive(Debug)]
#[repr(C, align(8))]
#[must_use = "a packet that is let go of is a leaked buffer: send it or free it"]
pub struct Packet {
    /// Where the frame begins, counted from the pool's first byte in units of [`ADDR_UNIT`].
    pub(crate) addr: u32,
    /// Bytes of the frame, all segments, without FCS.
    pub(crate) len: u16,
    pub(crate) flags: u8,
    /// The pool it belongs to; every access checks it.
    pub(crate) pool: u8,
}

const _: () = assert!(size_of::<Packet>() == 8);

/// Bytes a unit of [`Packet::addr`] stands for: 2, so that 32 bits reach 8 GiB and a frame may begin at any even offset.
pub(crate) const ADDR_UNIT: u32 = 2;

impl Packet {
    /// Other handles share this buffer: it may be read, not written.
    pub(crate) const SHARED: u8 = 1;
    /// The frame goes on in further buffers.
    pub(crate) const CHAINED: u8 = 2;

    /// Bytes of the frame, without FCS.
    #[inline]
    #[allow(clippy::len_without_is_empty)] // A packet of no bytes does not exist: every frame has an Ethernet header.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Other handles may share the buffer (flooding): it may be read, not written.
    #[inline]
    pub fn is_shared(&self) -> bool {
        self.flags & Self::SHARED != 0
    }

    /// The frame lies in several buffers.
    #[inline]
    pub fn is_chained(&self) -> bool {
        self.flags & Self::CHAINED != 0
    }

    /// Index of the (first) buffer in its pool: a key for tables beside the pool, such as time stamps.
    #[inline]
    pub fn buffer(&self) -> u32 {
        self.addr >> crate::mempool::BUFFER_SHIFT
    }
}
