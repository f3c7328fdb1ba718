//! The mbufs of a port, and the buffers they stand for.
//!
//! **Over the switch's buffers.** The mbufs are structures without room of their own, and the buffer of each is one that the switch's pool has lent. When a
//! worker receives a frame it keeps the buffer, which becomes a packet, and puts another free one in its place; when it sends a packet it puts the packet's
//! buffer in the place of the one the mbuf had, which is free again (`queue`). So frames come and go without being copied, each mbuf has exactly
//! one buffer at any time, and how many are lent never changes. Nobody has to be told when a device has sent a frame: its buffer comes home as that of
//! the mbuf, to be had with the next one.
//!
//! This rests on drivers asking the mbuf where its buffer is, as those for real cards have to, and not reckoning from where the mbuf lies. What reckons
//! (net_af_xdp; net_virtio_user and net_memif, whose peers map DPDK's memory) gets mbufs with room of their own, and so does everybody whose
//! driver is not known here: frames are copied then.
#![allow(unsafe_code)]

use std::ffi::{CString, c_int};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use capsule_ffi as ffi;

use super::{Buffers, DpdkError, Options, eal, is_pci};
use crate::mempool::{BUFFER_SIZE, HEADROOM, Mempool, Pages};

/// Free mbufs a thread keeps to itself, by DPDK's reckoning; in fact up to one and a half times as many.
pub const CACHE: u32 = 128;

/// What mbufs without a buffer of the switch have in front of the frame is what the switch's have: so frames lie alike.
const _: () = assert!(HEADROOM == ffi::SHIM_HEADROOM as usize);

/// Mbufs that had not come back when their port was closed, in all ports of the process so far: 0, or a driver (or we) have lost some.
pub fn mbufs_lost() -> u64 {
    MBUFS_LOST.load(Ordering::Acquire)
}

static MBUFS_LOST: AtomicU64 = AtomicU64::new(0);

/// The mempool of a port, freed when it is whole again.
pub struct Mbufs {
    pool: Option<NonNull<ffi::rte_mempool>>,
    count: u32,
    lent: Option<Lent>,
}

/// Where the lent buffers are from.
struct Lent {
    mempool: Mempool,
    /// Devices reach them by DMA, which has to be told.
    mapping: Option<Mapping>,
}

impl Mbufs {
    /// None.
    pub const NONE: Mbufs = Mbufs { pool: None, count: 0, lent: None };

    /// `count` mbufs with room for `segment` bytes each.
    ///
    /// # Errors
    /// DPDK has not the memory for it.
    pub fn new(device: &str, count: u32, segment: u32, socket: c_int) -> Result<Mbufs, DpdkError> {
        let room = segment as u16 + ffi::SHIM_HEADROOM;
        let name = name();
        // SAFETY: EAL runs; the name is copied.
        let pool = unsafe { ffi::rte_pktmbuf_pool_create(name.as_ptr(), count, CACHE, 0, room, socket) };
        match NonNull::new(pool) {
            Some(pool) => Ok(Mbufs { pool: Some(pool), count, lent: None }),
            None => Err(no_pool(device, count, room.into(), "rte_pktmbuf_pool_create")),
        }
    }

    /// `count` mbufs over buffers of `mempool`. `device` is what reaches them by DMA, or null.
    ///
    /// # Errors
    /// DPDK has not the memory for it, or the device cannot reach the buffers. Nothing is lent then.
    pub fn over(title: &str, count: u32, mempool: &Mempool, device: *mut ffi::rte_device, socket: c_int) -> Result<Mbufs, DpdkError> {
        let mapping = if device.is_null() { None } else { Some(Mapping::new(title, device, mempool)?) };
        let (base, _) = mempool.area();
        let mut cache = mempool.cache();
        let lent: Vec<u32> = std::iter::from_fn(|| cache.lend()).take(count as usize).collect();
        // SAFETY: indices of the pool's buffers, so the places are inside its area.
        let places: Vec<_> = lent.iter().map(|index| unsafe { base.as_ptr().add(*index as usize * BUFFER_SIZE) }.cast()).collect();
        let mut pool = None;
        if places.len() == count as usize {
            let name = name();
            // SAFETY: EAL runs; name and places are copied. The buffers are nobody else's (`lend`), and the pool's memory outlives the mbufs: `Lent`.
            pool = NonNull::new(unsafe { ffi::shim_pool_over(name.as_ptr(), count, CACHE, socket, places.as_ptr(), BUFFER_SIZE as u16) });
        }
        if pool.is_some() {
            return Ok(Mbufs { pool, count, lent: Some(Lent { mempool: mempool.clone(), mapping }) });
        }
        let error = no_pool(title, count, 0, "rte_pktmbuf_pool_create_extbuf");
        for index in lent {
            // SAFETY: lent above, and no mbuf was made of it.
            unsafe { cache.take_back(index) };
        }
        Err(error)
    }

    /// The mempool's address, for those who take mbufs from it.
    pub fn pool(&self) -> *mut ffi::rte_mempool {
        self.pool.map_or(std::ptr::null_mut(), NonNull::as_ptr)
    }

    /// Takes back that the device reaches the buffers: before it is removed, and after it is closed.
    pub fn unmap(&mut self) {
        if let Some(lent) = &mut self.lent {
            lent.mapping = None;
        }
    }

    /// The pool that the mbufs' buffers are from, if they are the switch's.
    pub fn mempool(&self) -> Option<&Mempool> {
        self.lent.as_ref().map(|lent| &lent.mempool)
    }
}

impl Drop for Mbufs {
    fn drop(&mut self) {
        let (Some(pool), lent) = (self.pool, self.lent.take()) else { return };
        // SAFETY: the pool is ours.
        let free = unsafe { ffi::rte_mempool_avail_count(pool.as_ptr()) };
        if free != self.count {
            // Somebody may still write to one: the memory stays, DPDK's and the switch's.
            MBUFS_LOST.fetch_add(u64::from(self.count.saturating_sub(free)), Ordering::AcqRel);
            std::mem::forget(lent);
            return;
        }
        if let Some(Lent { mempool, mapping: _ }) = lent {
            let mut places = vec![std::ptr::null_mut(); self.count as usize];
            // SAFETY: the pool is ours, and the array has room for as many as it has mbufs.
            unsafe { ffi::shim_pool_buffers(pool.as_ptr(), places.as_mut_ptr(), self.count) };
            let (mut cache, base) = (mempool.cache(), mempool.area().0.as_ptr() as usize);
            for place in places {
                // SAFETY: all mbufs are in their pool, so nobody writes to their buffers; each has one of its own that was lent: at first
                // (`over`) and after every exchange (`queue`).
                unsafe { cache.take_back(((place as usize - base) / BUFFER_SIZE) as u32) };
            }
        }
        // SAFETY: all of its mbufs are in it, so nobody has one.
        unsafe { ffi::rte_mempool_free(pool.as_ptr()) };
    }
}

fn name() -> CString {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    CString::new(format!("bs_{}", NUMBER.fetch_add(1, Ordering::Relaxed))).unwrap_or_default()
}

/// Why there is no pool of `count` mbufs with `room` bytes each.
fn no_pool(device: &str, count: u32, room: u64, step: &'static str) -> DpdkError {
    /// Of an mbuf beside its data: the structure, and what a mempool adds.
    const OVERHEAD: u64 = 128 + 64;
    let why = eal::last_error();
    let ((free, total), needed) = (eal::memory(), u64::from(count) * (room + OVERHEAD));
    let mib = |bytes: u64| u32::try_from(bytes.div_ceil(1 << 20)).unwrap_or(u32::MAX);
    match needed > free {
        true => DpdkError::Memory {
            device: device.to_owned(),
            mbufs: count,
            needed_mib: mib(needed),
            free_mib: u32::try_from(free >> 20).unwrap_or(u32::MAX),
            total_mib: mib(total),
        },
        false => DpdkError::Device { device: device.to_owned(), step, reason: eal::explain(&why) },
    }
}

/// What stands against the switch's buffers in the driver of a virtual device.
fn virtual_driver_wants(driver: &str) -> Option<&'static str> {
    match driver {
        "net_null" | "net_ring" | "net_pcap" | "net_tap" | "net_vhost" => None,
        "net_af_packet" => Some("wants room for 2,016 bytes in each buffer"),
        "net_af_xdp" => Some("reckons from a buffer to its mbuf"),
        "net_memif" => Some("copies by itself, and slowly into buffers shorter than its peer's"),
        "net_virtio_user" => Some("has peers that see DPDK's own memory alone"),
        _ => Some("is not known to do with them"),
    }
}

/// Why the mbufs of a device cannot be over the switch's buffers, or `None`.
pub fn why_not_over(options: &Options, driver: &str, count: u32, fits: bool, mempool: &Mempool) -> Option<String> {
    let (asked, pci) = (options.buffers == Buffers::Switch, is_pci(&options.device));
    // SAFETY: EAL runs: a device has been probed.
    let addresses_differ = pci && !unsafe { ffi::shim_iova_is_va() };
    // A queue that holds everything leaves nothing to exchange.
    let free = mempool.buffers() - mempool.in_use();
    if options.buffers == Buffers::Dpdk {
        Some("buffers=dpdk".to_owned())
    } else if let Some(why) = if pci { None } else { virtual_driver_wants(driver) } {
        Some(format!("{driver} {why}"))
    } else if pci && !asked {
        Some("not tried on this card yet: buffers=switch tries it".to_owned())
    } else if addresses_differ {
        Some("devices use physical addresses here: an IOMMU is needed".to_owned())
    } else if !fits {
        Some(format!("its frames have to lie in one buffer, and are longer than {}", BUFFER_SIZE - HEADROOM))
    } else if count > free / 2 {
        Some(format!(
            "it would hold {count} buffers of {free} free ones: raise pool.buffers, or give the port fewer descriptors (rxd=, txd=)"
        ))
    } else {
        None
    }
}

/// The switch's buffers, as a device reaches them by DMA.
struct Mapping {
    device: *mut ffi::rte_device,
    /// The one that has made the memory known to DPDK takes that back, too.
    registered: bool,
    start: *mut std::ffi::c_void,
    len: usize,
}

// SAFETY: used by the port's set-up and its `Drop` alone, one at a time; the device lives until it is removed, which is after `Mbufs::unmap`.
unsafe impl Send for Mapping {}
// SAFETY: as above: nothing is done by reference.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(title: &str, device: *mut ffi::rte_device, mempool: &Mempool) -> Result<Mapping, DpdkError> {
        let page: usize = if mempool.pages() == Pages::Huge { 2 << 20 } else { 4096 };
        let (base, bytes) = mempool.area();
        // The mapping behind the area ends with a whole page of either kind.
        let (start, len) = (base.as_ptr().cast(), bytes.next_multiple_of(page));
        let fail = |step: &'static str, why: String| DpdkError::Device { device: title.to_owned(), step, reason: eal::explain(&why) };
        // SAFETY: memory of a pool that outlives the registration (`Lent`); DPDK does not write to it by itself.
        let registered = unsafe { ffi::rte_extmem_register(start, len, std::ptr::null_mut(), 0, page) } == 0;
        if !registered && ffi_errno() != libc::EEXIST {
            return Err(fail("rte_extmem_register", eal::last_error()));
        }
        let mapping = Mapping { device, registered, start, len };
        // SAFETY: the device is ours, the memory as above; the addresses are those of the process (`why_not_over`).
        match unsafe { ffi::rte_dev_dma_map(device, start, start as u64, len) } {
            0 => Ok(mapping),
            _ => Err(fail("rte_dev_dma_map", eal::last_error())),
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: as in `new`; no queue of the device is set up any more, so it reaches for nothing. One that was never mapped is refused.
        unsafe {
            ffi::rte_dev_dma_unmap(self.device, self.start, self.start as u64, self.len);
            if self.registered {
                ffi::rte_extmem_unregister(self.start, self.len);
            }
        }
    }
}

fn ffi_errno() -> c_int {
    // SAFETY: reads a number of this thread.
    unsafe { ffi::shim_errno() }
}
