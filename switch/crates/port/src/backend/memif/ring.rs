//! A ring of descriptors in shared memory.
//!
//! A header of two cache lines (cookie, flags and head in the first; tail in the second), then 2^n descriptors of 16 bytes. Head and tail
//! count on for ever, modulo 2^16; their low bits are the position. The client writes the head and the server the tail, in both directions:
//! by a ring to the server the client puts full buffers at the head, by a ring to the client empty ones, and the server is done with them at
//! the tail.
//!
//! Both sides write here at any time. Head, tail and flags are atomic; descriptors are read and written by volatile accesses, and what
//! was read is one consistent copy that the peer cannot change any more.
#![allow(unsafe_code)]

use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use super::region::Regions;

/// What the cookie must be.
const COOKIE: u32 = 0x03e3_1f20;
/// Bytes in front of the descriptors.
const HEADER_LEN: usize = 128;
const HEAD_AT: usize = 6;
const FLAGS_AT: usize = 4;
const TAIL_AT: usize = 64;
/// Bytes of a descriptor.
const DESCRIPTOR_LEN: usize = 16;
/// The frame goes on in the next descriptor.
const NEXT: u16 = 1;
/// In the ring's flags: whoever receives by it polls, and wants no eventfd written.
const MASK_INTERRUPT: u16 = 1;
/// Descriptors as a power of two: what is taken. More would make head and tail ambiguous.
pub const RING_LOG2: std::ops::RangeInclusive<u8> = 1..=14;

/// Bytes of a ring of 2^`log2` descriptors.
pub const fn ring_len(log2: u8) -> usize {
    HEADER_LEN + (DESCRIPTOR_LEN << log2)
}

/// A descriptor, read once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// The frame goes on in the next descriptor.
    pub next: bool,
    /// The region the buffer lies in.
    pub region: u16,
    /// Bytes of the frame in it; or of the buffer, while it is empty.
    pub len: u32,
    /// Where it begins in the region.
    pub offset: u32,
}

/// A ring.
#[derive(Debug)]
pub struct Ring {
    base: NonNull<u8>,
    mask: u16,
    /// Keeps the memory.
    regions: Arc<Regions>,
}

// SAFETY: the address is inside a region that lives as long as the value; what lies there is reached by atomic and volatile accesses only.
unsafe impl Send for Ring {}

impl Ring {
    /// The ring of 2^`log2` descriptors at `offset` of a region; `None` if it is not inside, not aligned, or too large or small.
    pub fn new(regions: &Arc<Regions>, region: u16, offset: u32, log2: u8) -> Option<Ring> {
        if !RING_LOG2.contains(&log2) || !offset.is_multiple_of(DESCRIPTOR_LEN as u32) {
            return None;
        }
        let base = regions.at(region, offset, ring_len(log2) as u32)?;
        Some(Ring { base, mask: ((1u32 << log2) - 1) as u16, regions: Arc::clone(regions) })
    }

    /// The memory it lies in.
    #[inline(always)]
    pub fn regions(&self) -> &Regions {
        &self.regions
    }

    /// Descriptors.
    #[inline(always)]
    pub fn size(&self) -> u16 {
        self.mask + 1
    }

    /// Makes it an empty ring with its cookie; what the client does before it tells of the ring.
    pub fn initialise(&self) {
        // SAFETY: inside the ring (`new`), aligned for a u32.
        unsafe { self.base.cast::<u32>().write_volatile(COOKIE) };
        self.word(FLAGS_AT).store(0, Ordering::Relaxed);
        self.word(HEAD_AT).store(0, Ordering::Relaxed);
        self.word(TAIL_AT).store(0, Ordering::Release);
    }

    /// Does it say that it is a ring?
    pub fn has_cookie(&self) -> bool {
        // SAFETY: as in `initialise`.
        unsafe { self.base.cast::<u32>().read_volatile() == COOKIE }
    }

    #[inline(always)]
    fn word(&self, at: usize) -> &AtomicU16 {
        // SAFETY: `at` is one of three even offsets in the header, inside the ring (`new`), which is aligned to 16 and lives as long as
        // `self`. An atomic may be written by others at any time.
        unsafe { AtomicU16::from_ptr(self.base.add(at).cast().as_ptr()) }
    }

    /// Written by the client.
    #[inline(always)]
    pub fn head(&self) -> &AtomicU16 {
        self.word(HEAD_AT)
    }

    /// Written by the server.
    #[inline(always)]
    pub fn tail(&self) -> &AtomicU16 {
        self.word(TAIL_AT)
    }

    /// The receiver polls, or (`false`) wants the eventfd written.
    #[inline]
    pub fn set_polled(&self, polled: bool) {
        // Relaxed: whoever sleeps puts a fence behind it.
        self.word(FLAGS_AT).store(if polled { MASK_INTERRUPT } else { 0 }, Ordering::Relaxed);
    }

    /// Does the receiver poll?
    #[inline(always)]
    pub fn is_polled(&self) -> bool {
        self.word(FLAGS_AT).load(Ordering::Relaxed) & MASK_INTERRUPT != 0
    }

    #[inline(always)]
    fn slot(&self, at: u16) -> NonNull<u8> {
        // SAFETY: the position is below the size, so the descriptor is inside the ring (`new`).
        unsafe { self.base.add(HEADER_LEN + usize::from(at & self.mask) * DESCRIPTOR_LEN) }
    }

    /// The descriptor at count `at`.
    #[inline(always)]
    pub fn read(&self, at: u16) -> Descriptor {
        let slot = self.slot(at).cast::<u64>();
        // SAFETY: inside the ring, aligned to 16.
        let (low, high) = unsafe { (slot.read_volatile(), slot.add(1).read_volatile()) };
        let low = low.to_ne_bytes();
        let high = high.to_ne_bytes();
        Descriptor {
            next: u16::from_ne_bytes([low[0], low[1]]) & NEXT != 0,
            region: u16::from_ne_bytes([low[2], low[3]]),
            len: u32::from_ne_bytes([low[4], low[5], low[6], low[7]]),
            offset: u32::from_ne_bytes([high[0], high[1], high[2], high[3]]),
        }
    }

    /// Writes the descriptor at count `at`.
    #[inline(always)]
    pub fn write(&self, at: u16, descriptor: Descriptor) {
        let [f0, f1] = (if descriptor.next { NEXT } else { 0 }).to_ne_bytes();
        let [r0, r1] = descriptor.region.to_ne_bytes();
        let [l0, l1, l2, l3] = descriptor.len.to_ne_bytes();
        let [o0, o1, o2, o3] = descriptor.offset.to_ne_bytes();
        let slot = self.slot(at).cast::<u64>();
        // SAFETY: as in `read`.
        unsafe {
            slot.write_volatile(u64::from_ne_bytes([f0, f1, r0, r1, l0, l1, l2, l3]));
            slot.add(1).write_volatile(u64::from_ne_bytes([o0, o1, o2, o3, 0, 0, 0, 0]));
        }
    }

    /// Asks for the line of a descriptor ahead of its use.
    #[inline(always)]
    pub fn prefetch(&self, at: u16) {
        prefetch(self.slot(at).as_ptr());
    }

    /// Asks for the line of the head.
    #[inline(always)]
    pub fn prefetch_head(&self) {
        prefetch(self.base.as_ptr());
    }

    /// Asks for the line of the tail.
    #[inline(always)]
    pub fn prefetch_tail(&self) {
        prefetch(self.base.as_ptr().wrapping_add(TAIL_AT));
    }
}

/// Asks for the cache line at an address ahead of its use.
#[inline(always)]
pub fn prefetch(place: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing architecturally, whatever the address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(place.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

#[cfg(test)]
mod tests {
    use super::super::region::Region;
    use super::*;

    fn ring(log2: u8) -> Ring {
        let (region, _file) = Region::create(1 << 20).unwrap();
        let ring = Ring::new(&Arc::new(Regions(vec![region])), 0, 64, log2).unwrap();
        ring.initialise();
        ring
    }

    #[test]
    fn descriptors_round_trip_at_every_place() {
        let ring = ring(3);
        let descriptor = |at: u16| Descriptor {
            next: at.is_multiple_of(3),
            region: at,
            len: 0x1_0000 + u32::from(at),
            offset: 0x2_0000 + u32::from(at),
        };
        assert!(ring.has_cookie() && ring.size() == 8);
        for at in 0u16..8 {
            ring.write(at, descriptor(at));
        }
        for at in 0u16..8 {
            assert_eq!(ring.read(at.wrapping_add(65_528)), descriptor(at), "counts wrap round");
        }
        assert_eq!((ring.head().load(Ordering::Relaxed), ring.tail().load(Ordering::Relaxed)), (0, 0));
    }

    /// Where VPP and DPDK look for each field.
    #[test]
    #[cfg(target_endian = "little")]
    fn the_layout_of_the_fields() {
        let ring = ring(1);
        ring.head().store(0x0102, Ordering::Relaxed);
        ring.tail().store(0x0304, Ordering::Relaxed);
        ring.set_polled(true);
        ring.write(1, Descriptor { next: true, region: 0x0506, len: 0x0708_090a, offset: 0x0b0c_0d0e });
        // SAFETY: inside the region, which nobody else has.
        let bytes: Vec<u8> = (0..ring_len(1)).map(|at| unsafe { ring.base.add(at).read_volatile() }).collect();
        assert_eq!(bytes[..8], [0x20, 0x1f, 0xe3, 0x03, 1, 0, 2, 1]);
        assert_eq!(bytes[64..66], [4, 3]);
        assert_eq!(bytes[144..160], [1, 0, 6, 5, 0x0a, 9, 8, 7, 0x0e, 0x0d, 0x0c, 0x0b, 0, 0, 0, 0]);
    }

    #[test]
    fn what_is_no_ring() {
        let (region, _file) = Region::create(4096).unwrap();
        let regions = Arc::new(Regions(vec![region]));
        assert!(
            Ring::new(&regions, 0, 0, 0).is_none() && Ring::new(&regions, 0, 0, 15).is_none() && Ring::new(&regions, 0, 0, 255).is_none()
        );
        assert!(Ring::new(&regions, 1, 0, 3).is_none() && Ring::new(&regions, 0, 8, 3).is_none());
        assert!(Ring::new(&regions, 0, 4096 - 256, 3).is_some() && Ring::new(&regions, 0, 4096 - 240, 3).is_none());
        assert!(Ring::new(&regions, 0, u32::MAX - 15, 14).is_none());
        assert!(!Ring::new(&regions, 0, 0, 3).unwrap().has_cookie());
    }
}
