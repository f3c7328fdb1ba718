//! The mempool as UMEM, and the tables of what is in the kernel's hands.
//!
//! Every socket registers the whole pool as a UMEM of its own ("double registration"): chunks are the pool's buffers, their addresses
//! offsets from the pool's first byte. So a frame that one socket received is sent by any other from where it lies, and sockets do not
//! depend on one another, as they do when they share one UMEM by `XDP_SHARED_UMEM`.
//!
//! Numbers: a chunk is [`BUFFER_SIZE`] = 2,048 bytes, aligned, the UMEM's headroom 0. The kernel keeps `XDP_PACKET_HEADROOM` = 256 bytes
//! of each chunk it receives into; so a frame begins 256 bytes into its buffer, at least the [`HEADROOM`] that tags need, and up to
//! [`RX_SEGMENT_MAX`] = 1,792 bytes of it lie in one buffer. Transmission is free to begin anywhere in a chunk.
//!
//! A buffer in the kernel's hands has no handle. [`Lent`] and [`InFlight`] say which they are: an address that comes back from the kernel is
//! good only if its buffer is in the table, and a socket that dies leaks nothing, because its tables tell what it had.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::mempool::{BUFFER_SIZE, HEADROOM, Mempool, PoolCache, Surrendered};

/// Bytes the kernel leaves free in front of a received frame.
const XDP_PACKET_HEADROOM: usize = 256;
/// Bytes of a received frame that lie in one buffer.
pub const RX_SEGMENT_MAX: usize = BUFFER_SIZE - XDP_PACKET_HEADROOM;

const _: () = assert!(XDP_PACKET_HEADROOM >= HEADROOM);
// Aligned chunks are a power of two, from 2,048 bytes to a page.
const _: () = assert!(BUFFER_SIZE.is_power_of_two() && BUFFER_SIZE >= 2048 && BUFFER_SIZE <= 4096);

/// Registers the pool as UMEM of `socket`.
///
/// # Errors
/// What the kernel says; ENOBUFS if the process may not lock so much memory.
pub fn register(socket: BorrowedFd<'_>, mempool: &Mempool) -> io::Result<()> {
    let (base, len) = mempool.area();
    let registration = libc::xdp_umem_reg {
        addr: base.as_ptr() as u64,
        len: len as u64,
        chunk_size: BUFFER_SIZE as u32,
        headroom: 0,
        flags: 0,
        tx_metadata_len: 0,
    };
    super::socket::set_option(socket.as_raw_fd(), libc::SOL_XDP, libc::XDP_UMEM_REG, &registration)
}

/// Splits an address from the kernel into buffer and offset; `None` if it is not in the pool.
#[inline]
pub fn locate(address: u64, buffers: u32) -> Option<(u32, usize)> {
    let (buffer, offset) = (address / BUFFER_SIZE as u64, address % BUFFER_SIZE as u64);
    (buffer < buffers as u64).then_some((buffer as u32, offset as usize))
}

/// The address of a buffer.
#[inline]
pub fn address(buffer: u32) -> u64 {
    buffer as u64 * BUFFER_SIZE as u64
}

/// The buffers that the kernel may receive into: those in the FILL ring, in the RX ring and between. A bit for each of the pool.
#[derive(Debug)]
pub struct Lent {
    bits: Box<[u64]>,
    count: u32,
}

impl Lent {
    /// Nothing is lent, of a pool of `buffers`.
    pub fn new(buffers: u32) -> Lent {
        Lent { bits: vec![0; (buffers as usize).div_ceil(64)].into(), count: 0 }
    }

    /// How many are lent.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Lends another buffer of the pool to the kernel; `None` if the pool is empty.
    #[inline]
    pub fn lend(&mut self, pool: &mut PoolCache) -> Option<u32> {
        let buffer = pool.lend()?;
        self.bits[buffer as usize / 64] |= 1 << (buffer % 64);
        self.count += 1;
        Some(buffer)
    }

    /// Takes a buffer off the table; `false` if it is not on it.
    #[inline]
    pub fn remove(&mut self, buffer: u32) -> bool {
        let (word, bit) = (&mut self.bits[buffer as usize / 64], 1 << (buffer % 64));
        // A branch, not `count -= was as u32`: rustc 1.95 loses such a count when the caller branches on the same comparison
        // (rust-lang/rust#158206), so an optimised build never filled the ring again.
        if *word & bit == 0 {
            return false;
        }
        *word &= !bit;
        self.count -= 1;
        true
    }

    /// Gives everything back to the pool.
    ///
    /// # Safety
    /// The kernel has let go of all of it: the socket is closed and the driver through with it.
    pub unsafe fn give_back(&mut self, pool: &mut PoolCache) {
        for (index, word) in self.bits.iter_mut().enumerate() {
            while *word != 0 {
                let buffer = index as u32 * 64 + word.trailing_zeros();
                *word &= *word - 1;
                // SAFETY: on the table, so it was lent (`lend`) and did not come back; the caller knows that nobody writes to it.
                unsafe { pool.take_back(buffer) };
            }
        }
        self.count = 0;
    }
}

/// The buffers the kernel is sending. For each of the pool, how often (a shared one may be there several times) and as what.
#[derive(Debug)]
pub struct InFlight {
    /// Low bits: how often. High bits: as what ([`Surrendered`]).
    entries: Box<[u8]>,
    count: u32,
}

const KIND_SHIFT: u32 = 6;
const TIMES_MAX: u8 = (1 << KIND_SHIFT) - 1;

impl InFlight {
    /// Nothing is being sent, of a pool of `buffers`.
    pub fn new(buffers: u32) -> InFlight {
        InFlight { entries: vec![0; buffers as usize].into(), count: 0 }
    }

    /// Descriptors that have not been completed.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// May this buffer be sent once more? (The table counts to 63.)
    #[inline]
    pub fn has_room(&self, buffer: u32) -> bool {
        self.entries[buffer as usize] & TIMES_MAX < TIMES_MAX
    }

    /// A segment has been surrendered.
    #[inline]
    pub fn insert(&mut self, buffer: u32, kind: Surrendered) {
        let entry = &mut self.entries[buffer as usize];
        let times = *entry & TIMES_MAX;
        // All handles of a buffer are alike as long as there are several; and a lone one is there once.
        debug_assert!(times == 0 || (*entry >> KIND_SHIFT == kind as u8 && kind != Surrendered::Exclusive));
        assert!(times < TIMES_MAX, "whoever sends asks `has_room` first");
        *entry = (kind as u8) << KIND_SHIFT | (times + 1);
        self.count += 1;
    }

    /// The kernel says that it has sent `buffer`: its handle ends. `false`, and nothing done, if it is not on the table.
    #[inline]
    pub fn complete(&mut self, buffer: u32, pool: &mut PoolCache) -> bool {
        let entry = &mut self.entries[buffer as usize];
        if *entry & TIMES_MAX == 0 {
            return false;
        }
        let kind = match *entry >> KIND_SHIFT {
            0 => Surrendered::Exclusive,
            1 => Surrendered::Shared,
            2 => Surrendered::SharedHead,
            _ => Surrendered::SharedSegment,
        };
        *entry -= 1;
        self.count -= 1;
        // SAFETY: on the table, so it was surrendered as `kind` (`insert`), and each entry is taken off once.
        unsafe { pool.complete(buffer, kind) };
        true
    }

    /// Ends everything.
    ///
    /// # Safety
    /// The kernel has let go of all of it.
    pub unsafe fn give_back(&mut self, pool: &mut PoolCache) {
        for buffer in 0..self.entries.len() as u32 {
            while self.complete(buffer, pool) {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mempool::Hugepages;

    #[test]
    fn addresses_outside_the_pool_are_nobody() {
        assert_eq!(locate(0, 4), Some((0, 0)));
        assert_eq!(locate(2 * 2048 + 256, 4), Some((2, 256)));
        assert_eq!(locate(4 * 2048, 4), None);
        assert_eq!(locate(u64::MAX, 4), None);
        assert_eq!(locate(u64::MAX, u32::MAX), None);
    }

    #[test]
    fn what_is_lent_comes_back_once() {
        let pool = Mempool::new(70, Hugepages::Never).unwrap();
        let mut cache = pool.cache();
        let mut lent = Lent::new(70);
        let mut buffers = Vec::new();
        while let Some(buffer) = lent.lend(&mut cache) {
            buffers.push(buffer);
        }
        assert_eq!((buffers.len(), lent.count()), (70, 70));
        assert!(lent.remove(buffers[3]) && !lent.remove(buffers[3]));
        // SAFETY: nobody but this test has had the buffer.
        unsafe { cache.take_back(buffers[3]) };
        // SAFETY: there is no kernel in this test.
        unsafe { lent.give_back(&mut cache) };
        cache.flush();
        assert_eq!((lent.count(), pool.in_use()), (0, 0));
    }

    #[test]
    fn a_flooded_frame_ends_with_its_last_completion() {
        let pool = Mempool::new(4, Hugepages::Never).unwrap();
        let mut cache = pool.cache();
        let (mut one, mut other) = (InFlight::new(4), InFlight::new(4));
        let mut packet = cache.alloc(60).unwrap();
        let copies = [cache.share(&mut packet), cache.share(&mut packet)];
        let buffer = packet.buffer();
        cache.surrender(packet, |_, _, kind| one.insert(buffer, kind));
        for copy in copies {
            cache.surrender(copy, |_, _, kind| other.insert(buffer, kind));
        }
        assert_eq!((one.count(), other.count()), (1, 2));
        assert!(one.complete(buffer, &mut cache) && !one.complete(buffer, &mut cache));
        assert!(other.complete(buffer, &mut cache));
        cache.flush();
        assert_eq!(pool.in_use(), 1);
        // SAFETY: there is no kernel in this test.
        unsafe { other.give_back(&mut cache) };
        cache.flush();
        assert_eq!((other.count(), pool.in_use()), (0, 0));
    }
}
