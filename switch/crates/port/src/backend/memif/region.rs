//! Regions: memory that both peers have mapped. The client makes them and sends their files; the server maps what it was sent.
//!
//! The peer may write to a region at any moment, so nothing here or above makes a reference to its bytes: they are reached by address, with
//! atomic or volatile accesses where both sides' numbers are, and copied where frames are. Whatever is read is checked after the read.
//!
//! A file of the peer is taken if it lies in memory (tmpfs or hugetlbfs: a file on a network could stall whoever touches it) and is as long as
//! the peer says. VPP and DPDK seal the files they make for memif against shrinking (F_SEAL_SHRINK), as we do; but the memory that their
//! zero-copy clients share is not sealed, and hugepages can be taken away in spite of a seal. So a seal is not asked for: what is taken away,
//! [`guard`](super::guard) catches.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;

use rustix::fs::{MemfdFlags, SealFlags};

use super::guard::{self, Guarded};

/// Bytes of a region that a descriptor can reach: its offset has 32 bits, and so has its length.
const REACH: u64 = 2 << 32;
/// File systems whose files are memory.
const TMPFS: i64 = 0x0102_1994;
const HUGETLBFS: i64 = 0x9584_58f6;

/// A region.
#[derive(Debug)]
pub struct Region {
    base: NonNull<u8>,
    /// Bytes that may be used.
    len: usize,
    /// Bytes that are mapped: whole pages.
    map_len: usize,
    /// Dropped before the mapping goes.
    guard: Option<Guarded>,
}

// SAFETY: an address and a length of a mapping that lives as long as the value; its bytes are only reached through raw pointers.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    /// A region of our own of `len` zero bytes, and its file for the peer.
    pub fn create(len: usize) -> io::Result<(Region, OwnedFd)> {
        let file = rustix::fs::memfd_create("memif", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        rustix::fs::ftruncate(&file, len as u64)?;
        rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        Ok((Region::map(&file, len)?, file))
    }

    /// Maps the first `size` bytes of a file of the peer's.
    ///
    /// # Errors
    /// A sentence about what is wrong with the file, fit to be sent to the peer.
    pub fn of_peer(file: &OwnedFd, size: u64) -> Result<Region, String> {
        let system = |what: &str, error: &dyn std::fmt::Display| format!("region: {what}: {error}");
        let place = rustix::fs::fstatfs(file).map_err(|error| system("fstatfs", &error))?;
        #[allow(clippy::unnecessary_cast)] // The type differs between architectures.
        if ![TMPFS, HUGETLBFS].contains(&(place.f_type as i64)) {
            return Err("region: its file is not memory (memfd, tmpfs or hugetlbfs)".to_owned());
        }
        let len = rustix::fs::fstat(file).map_err(|error| system("fstat", &error))?.st_size;
        if size == 0 || u64::try_from(len).is_ok_and(|len| size > len) || len < 0 {
            return Err(format!("region: {size} bytes said, its file has {len}"));
        }
        // Whole pages, which in hugetlbfs are the blocks of the file system.
        #[allow(clippy::unnecessary_cast)]
        let page = (place.f_bsize as usize).clamp(4096, 1 << 30);
        let mut region = Region::map(file, (size.min(REACH) as usize).next_multiple_of(page)).map_err(|error| system("mmap", &error))?;
        region.len = size.min(REACH) as usize;
        Ok(region)
    }

    fn map(file: &OwnedFd, len: usize) -> io::Result<Region> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new shared mapping at an address of the kernel's choice touches nothing that exists.
        let address = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, libc::MAP_SHARED, file.as_raw_fd(), 0) };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(address.cast()).ok_or_else(|| io::Error::other("mmap returned address zero"))?;
        let mut region = Region { base, len, map_len: len, guard: None };
        region.guard = Some(guard::watch(base, len)?);
        Ok(region)
    }

    /// Bytes of it.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The address of `len` bytes at `offset`, if they are all inside. It is good as long as the region lives.
    #[inline(always)]
    pub fn at(&self, offset: u64, len: u64) -> Option<NonNull<u8>> {
        // Neither sum overflows: both come from fields of 32 bits.
        debug_assert!(offset <= REACH && len <= REACH);
        if offset + len > self.len as u64 {
            return None;
        }
        // SAFETY: the offset is inside the mapping.
        Some(unsafe { self.base.add(offset as usize) })
    }

    /// The peer took its memory away from under us, and [`guard`](super::guard) put zeros there.
    pub fn is_gone(&self) -> bool {
        self.guard.as_ref().is_some_and(Guarded::hit)
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        self.guard.take(); // First: see there.
        // SAFETY: our own mapping; all that could reach it borrowed from this value or held it by an `Arc`.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.map_len) };
    }
}

/// All regions of a connection, by index.
#[derive(Debug, Default)]
pub struct Regions(pub Vec<Region>);

impl Regions {
    /// The address of `len` bytes at `offset` of a region, if there is such a region and they are all inside.
    #[inline(always)]
    pub fn at(&self, region: u16, offset: u32, len: u32) -> Option<NonNull<u8>> {
        self.0.get(region as usize)?.at(u64::from(offset), u64::from(len))
    }

    /// The peer took memory away.
    pub fn is_gone(&self) -> bool {
        self.0.iter().any(Region::is_gone)
    }
}

/// Is this descriptor an eventfd? Anything else could make whoever writes to it wait.
pub fn is_eventfd(fd: BorrowedFd<'_>) -> bool {
    std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).is_ok_and(|target| target.as_os_str() == "anon_inode:[eventfd]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inside_and_one_past() {
        let (region, _file) = Region::create(4096).unwrap();
        assert!(region.at(0, 4096).is_some() && region.at(4095, 1).is_some() && region.at(4096, 0).is_some());
        assert!(region.at(1, 4096).is_none() && region.at(4096, 1).is_none());
        assert!(region.at(u32::MAX.into(), u32::MAX.into()).is_none());
        let regions = Regions(vec![region]);
        assert!(regions.at(0, 4000, 96).is_some() && regions.at(0, 4000, 97).is_none() && regions.at(1, 0, 1).is_none());
    }

    #[test]
    fn what_one_makes_the_other_maps() {
        let (ours, file) = Region::create(8192).unwrap();
        let theirs = Region::of_peer(&file, 8192).unwrap();
        // SAFETY: both addresses are inside their mappings.
        unsafe {
            ours.at(5000, 1).unwrap().as_ptr().write_volatile(7);
            assert_eq!(theirs.at(5000, 1).unwrap().as_ptr().read_volatile(), 7);
        }
        assert!(rustix::fs::ftruncate(&file, 4096).is_err(), "ours is sealed");
    }

    #[test]
    fn what_is_refused() {
        let (_, file) = Region::create(8192).unwrap();
        assert!(Region::of_peer(&file, 8193).unwrap_err().contains("8193 bytes said, its file has 8192"));
        assert!(Region::of_peer(&file, 0).is_err() && Region::of_peer(&file, u64::MAX).is_err());
        let file = OwnedFd::from(std::fs::File::open("/proc/self/status").unwrap());
        assert!(Region::of_peer(&file, 1).unwrap_err().contains("not memory"));
        assert!(!is_eventfd(std::os::fd::AsFd::as_fd(&file)));
        assert!(is_eventfd(std::os::fd::AsFd::as_fd(&rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap())));
    }
}
