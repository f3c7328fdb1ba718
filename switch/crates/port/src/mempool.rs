//! Buffers of fixed size in one mapping, and who may touch them.
//!
//! A [`Mempool`] is a mapping cut into buffers of [`BUFFER_SIZE`] bytes. A frame begins [`HEADROOM`] bytes into its
//! buffer, so that tags can be pushed without moving it; one longer than a buffer goes on in further buffers (a chain,
//! see `docs/decisions/jumbo-frames.md`). Threads allocate and free through a [`PoolCache`] of their own, which trades
//! free buffers with the pool in chunks; so the usual alloc and free touch no line of another core.
//!
//! Sharing: a flooded frame may be in several queues at once. [`PoolCache::share`] makes the further handles and counts
//! them beside the buffer; the last one freed frees the buffer. A shared buffer is read-only. Frames that are neither
//! shared nor chained, nearly all, never touch the counts: the handle's flags say so.
//!
//! Soundness: a [`Packet`] can only be made here and cannot be copied, so `&Packet` proves that no `&mut Packet` of the
//! same buffer exists, unless it is shared, and then nobody gets `&mut [u8]`. Every access checks that the handle is of
//! this pool. The bytes of a fresh buffer are whatever was there before (zero at first), never uninitialised memory.
//!
//! Buffers can be lent to the kernel (AF_XDP) or to a device: then there is no handle at all, and whoever lends them keeps a table
//! of what is out, and makes handles again of what comes back. That is the part `lending`, for backends of this crate only.
#![allow(unsafe_code)]

use std::io;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU32, Ordering};

use crossbeam::queue::ArrayQueue;

use crate::packet::{ADDR_UNIT, Packet};

mod lending;

pub(crate) use lending::Surrendered;

/// Bytes of a buffer, headroom included. Half a page, so that it can be an AF_XDP chunk.
pub const BUFFER_SIZE: usize = 2048;
/// Bytes kept free in front of a frame: room for tags, and one cache-line pair of distance from the buffer before.
pub const HEADROOM: usize = 128;
/// Bytes of a frame that fit in one buffer.
pub const SEGMENT_MAX: usize = BUFFER_SIZE - HEADROOM;
/// The longest frame there can be: the handle counts in 16 bits.
pub const FRAME_MAX: usize = u16::MAX as usize;
/// The largest pool: addresses in units of 2 bytes reach 8 GiB.
pub const BUFFERS_MAX: u32 = 1 << 22;
/// `Packet::addr >> BUFFER_SHIFT` is the buffer's index.
pub(crate) const BUFFER_SHIFT: u32 = (BUFFER_SIZE as u32 / ADDR_UNIT).trailing_zeros();

const _: () = assert!(BUFFERS_MAX as u64 * BUFFER_SIZE as u64 <= (u32::MAX as u64 + 1) * ADDR_UNIT as u64);
const _: () = assert!((HEADROOM as u32).is_multiple_of(ADDR_UNIT));

/// Free buffers traded at once between a cache and the pool.
const CHUNK: usize = 63;
/// A cache gives back when it holds more than this, or a sixteenth of the pool if that is less: what idle threads hold
/// must not starve the others.
const CACHE_MAX: usize = 8 * CHUNK;
const NO_BUFFER: u32 = u32::MAX;

/// Which pages to ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hugepages {
    /// Explicit 2 MiB pages if the system has them free, else plain pages with transparent hugepages advised.
    #[default]
    Auto,
    /// Explicit 2 MiB pages or an error.
    Require,
    /// Plain pages.
    Never,
}

/// Which pages were obtained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pages {
    /// 2 MiB pages reserved by the system (`vm.nr_hugepages`).
    Huge,
    /// Plain pages; the kernel was asked to join them into transparent hugepages.
    Plain,
}

impl std::fmt::Display for Pages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Pages::Huge => "2 MiB hugepages",
            Pages::Plain => "plain pages (transparent hugepages advised)",
        })
    }
}

/// What stands beside each buffer. Touched only for shared or chained packets.
#[derive(Debug, Default)]
struct Meta {
    /// Handles that share the buffer, less one. Zero unless the handle says SHARED.
    shares: AtomicU32,
    /// Address of the next segment's first byte, in units; [`NO_BUFFER`] at the end. Valid if the head says CHAINED.
    next: AtomicU32,
    /// Bytes in this segment. Valid if the head says CHAINED.
    len: AtomicU16,
}

#[derive(Clone, Copy)]
struct Chunk {
    count: u8,
    buffers: [u32; CHUNK],
}

struct Shared {
    base: NonNull<u8>,
    map_len: usize,
    pages: Pages,
    buffers: u32,
    id: u8,
    meta: Box<[Meta]>,
    free: ArrayQueue<Chunk>,
    /// Buffers in `free`. Not exact while a trade is under way.
    free_count: AtomicU32,
}

// SAFETY: `base` points to a mapping that lives as long as `Shared`; access to its bytes is governed by packets (see the
// module text). The rest is atomics and a concurrent queue.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: `base` and `map_len` are those of our own mapping, and no cache is left to use it.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.map_len) };
        let free: u32 = self.free_count.load(Ordering::Relaxed);
        if free == self.buffers {
            POOL_IDS[self.id as usize].store(false, Ordering::Release);
        } // Else packets are still about: the id is never used again, so that they can never reach another pool's bytes.
    }
}

static POOL_IDS: [AtomicBool; 256] = [const { AtomicBool::new(false) }; 256];
/// Where the search for a free id begins: the oldest freed first.
static NEXT_POOL_ID: AtomicU8 = AtomicU8::new(0);

fn take_pool_id() -> Option<u8> {
    (0..=255).find_map(|_| {
        let id = NEXT_POOL_ID.fetch_add(1, Ordering::Relaxed);
        POOL_IDS[id as usize].compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok().then_some(id)
    })
}

/// A pool of buffers. Clones are the same pool.
#[derive(Clone)]
pub struct Mempool(Arc<Shared>);

impl Mempool {
    /// Maps a pool of `buffers` buffers (1 to [`BUFFERS_MAX`]).
    ///
    /// # Errors
    /// A count out of range, a mapping the system refuses (with the amount asked for), no hugepages though required, or more
    /// than 256 pools in the process.
    pub fn new(buffers: u32, hugepages: Hugepages) -> io::Result<Mempool> {
        if buffers == 0 || buffers > BUFFERS_MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("a pool of {buffers} buffers cannot be made: expected 1 to {BUFFERS_MAX}"),
            ));
        }
        const HUGE: usize = 2 << 20;
        let map_len = (buffers as usize * BUFFER_SIZE).next_multiple_of(HUGE);
        let mut mapped = Err(io::Error::from(io::ErrorKind::Unsupported));
        if hugepages != Hugepages::Never {
            mapped = map(map_len, libc::MAP_HUGETLB).map(|base| (base, Pages::Huge));
        }
        if hugepages != Hugepages::Require && mapped.is_err() {
            mapped = map(map_len, 0).map(|base| (base, Pages::Plain));
        }
        let (base, pages) = mapped.map_err(|error| {
            let (mib, kind) = (map_len >> 20, if hugepages == Hugepages::Require { "2 MiB hugepages" } else { "memory" });
            let cure = if hugepages == Hugepages::Require {
                format!("reserve them with `sysctl vm.nr_hugepages={}` or set pool.hugepages = \"auto\"", map_len / HUGE)
            } else {
                "lower pool.buffers".to_owned()
            };
            io::Error::new(
                error.kind(),
                format!("{buffers} packet buffers need {mib} MiB of {kind}, which the system refused ({error}): {cure}"),
            )
        })?;
        let Some(id) = take_pool_id() else {
            // SAFETY: the mapping is ours and nobody knows of it yet.
            unsafe { libc::munmap(base.as_ptr().cast(), map_len) };
            return Err(io::Error::other("this process has 256 packet pools already; drop one first"));
        };
        // Twice the full chunks, and some for the part-filled ones that flushes leave; a cache keeps what finds no room.
        let free = ArrayQueue::new(buffers as usize / CHUNK * 2 + 1024);
        let chunk_len = CHUNK.min(buffers as usize / 32 + 1);
        let mut all = 0..buffers;
        loop {
            let mut chunk = Chunk { count: 0, buffers: [0; CHUNK] };
            for index in all.by_ref().take(chunk_len) {
                chunk.buffers[chunk.count as usize] = index;
                chunk.count += 1;
            }
            if chunk.count == 0 || free.push(chunk).is_err() {
                break;
            }
        }
        let meta = (0..buffers).map(|_| Meta::default()).collect();
        Ok(Mempool(Arc::new(Shared { base, map_len, pages, buffers, id, meta, free, free_count: AtomicU32::new(buffers) })))
    }

    /// A thread's own door to the pool.
    pub fn cache(&self) -> PoolCache {
        self.cache_of(CACHE_MAX.min(self.0.buffers as usize / 16))
    }

    /// A cache that keeps up to `free_max` free buffers before it gives any back. For a thread that both makes and ends most
    /// packets (a generator that plays all wires): what it reuses is then what it used last, and warm, whereas buffers traded with the pool
    /// come round in turn, all of them.
    pub fn cache_of(&self, free_max: usize) -> PoolCache {
        PoolCache { base: self.0.base, id: self.0.id, free_max, free: Vec::with_capacity(free_max + CHUNK), shared: Arc::clone(&self.0) }
    }

    /// Buffers in all.
    pub fn buffers(&self) -> u32 {
        self.0.buffers
    }

    /// Which pool, for checking that two are the same.
    #[cfg(feature = "dpdk")]
    pub(crate) fn id(&self) -> u8 {
        self.0.id
    }

    /// Where its bytes lie, for whoever registers them with the kernel or a device: the first one (on a page's start) and how many.
    pub(crate) fn area(&self) -> (NonNull<u8>, usize) {
        (self.0.base, self.0.buffers as usize * BUFFER_SIZE)
    }

    /// Which pages it lies on.
    pub fn pages(&self) -> Pages {
        self.0.pages
    }

    /// Buffers that are neither in the pool nor yet given back by a cache: exact after every cache has been [flushed](PoolCache::flush).
    pub fn in_use(&self) -> u32 {
        self.0.buffers - self.0.free_count.load(Ordering::Acquire)
    }
}

impl std::fmt::Debug for Mempool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mempool({} buffers on {}, {} in use)", self.buffers(), self.pages(), self.in_use())
    }
}

/// Asks the kernel to put a large table on transparent hugepages now. Advice: nothing changes but the speed.
///
/// A table that is looked up at random costs a page walk per look-up otherwise.
pub fn advise_hugepages<T>(table: &[T]) {
    const MADV_COLLAPSE: libc::c_int = 25; // Linux 6.1; older kernels refuse it.
    const PAGE: usize = 4096;
    let range = table.as_ptr_range();
    let start = (range.start as usize).next_multiple_of(PAGE);
    let end = range.end as usize / PAGE * PAGE;
    if start < end {
        // SAFETY: both are advice on whole pages inside memory that the caller has borrowed; contents stay as they are.
        unsafe {
            libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_HUGEPAGE);
            libc::madvise(start as *mut libc::c_void, end - start, MADV_COLLAPSE);
        }
    }
}

/// Asks for the cache line of `place` ahead of its use.
#[inline(always)]
pub fn prefetch<T>(place: &T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing architecturally.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(place).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

fn map(len: usize, flags: libc::c_int) -> io::Result<NonNull<u8>> {
    // SAFETY: an anonymous private mapping at an address of the kernel's choice touches nothing that exists.
    let address = unsafe {
        libc::mmap(std::ptr::null_mut(), len, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | flags, -1, 0)
    };
    if address == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    if flags == 0 {
        // Advice; a refusal costs speed, not correctness.
        // SAFETY: the range is the mapping just made.
        unsafe { libc::madvise(address, len, libc::MADV_HUGEPAGE) };
    }
    NonNull::new(address.cast()).ok_or_else(|| io::Error::other("mmap returned address zero"))
}

/// One thread's free buffers, and its access to the bytes of packets.
///
/// Not `Clone`: make one per thread with [`Mempool::cache`]. Dropping it gives its free buffers back.
pub struct PoolCache {
    base: NonNull<u8>,
    id: u8,
    /// Indices of free buffers; the last freed, whose lines are warm, is the first allocated.
    free: Vec<u32>,
    /// Above this many, a chunk goes back to the pool.
    free_max: usize,
    shared: Arc<Shared>,
}

// SAFETY: `base` is kept alive by `shared`; a cache is used by one thread at a time through `&mut`, and what `&` allows
// (reading the bytes of a `&Packet`) is sound from any thread.
unsafe impl Send for PoolCache {}

impl PoolCache {
    /// The pool behind this cache.
    pub fn pool(&self) -> Mempool {
        Mempool(Arc::clone(&self.shared))
    }

    /// A packet of `len` bytes in one buffer; their content is left over from earlier use. `None` if no buffer is free.
    ///
    /// # Panics
    /// If `len` is above [`SEGMENT_MAX`] (use [`alloc_copy`](Self::alloc_copy)).
    #[inline]
    pub fn alloc(&mut self, len: usize) -> Option<Packet> {
        assert!(len <= SEGMENT_MAX, "{len} bytes do not fit in one buffer of {SEGMENT_MAX}");
        let index = self.take()?;
        Some(Packet { addr: first_byte(index), len: len as u16, flags: 0, pool: self.id })
    }

    /// As [`alloc`](Self::alloc), and where its first byte is: [`SEGMENT_MAX`] bytes from there are the caller's alone.
    #[inline(always)]
    pub(crate) fn alloc_at(&mut self, len: usize) -> Option<(Packet, NonNull<u8>)> {
        let packet = self.alloc(len)?;
        // SAFETY: an address inside the mapping is not null.
        let place = unsafe { NonNull::new_unchecked(self.at(packet.addr)) };
        Some((packet, place))
    }

    /// A packet with a copy of `frame`, in as many buffers as it takes. `None` if there are not enough or it is longer than
    /// [`FRAME_MAX`]; then nothing is held.
    pub fn alloc_copy(&mut self, frame: &[u8]) -> Option<Packet> {
        if frame.len() <= SEGMENT_MAX {
            let mut packet = self.alloc(frame.len())?;
            self.bytes_mut(&mut packet)?.copy_from_slice(frame);
            return Some(packet);
        }
        if frame.len() > FRAME_MAX {
            return None;
        }
        let mut next = NO_BUFFER;
        // From the back, so that each segment knows its successor.
        for part in frame.chunks(SEGMENT_MAX).rev() {
            let Some(index) = self.take() else {
                self.free_chain(next);
                return None;
            };
            let addr = first_byte(index);
            // SAFETY: `take` gave us this buffer alone; `part` fits behind the headroom.
            unsafe { std::ptr::copy_nonoverlapping(part.as_ptr(), self.at(addr), part.len()) };
            let meta = &self.shared.meta[index as usize];
            meta.next.store(next, Ordering::Relaxed);
            meta.len.store(part.len() as u16, Ordering::Relaxed);
            next = addr;
        }
        Some(Packet { addr: next, len: frame.len() as u16, flags: Packet::CHAINED, pool: self.id })
    }

    /// The bytes of the first segment: the whole frame unless it is [chained](Packet::is_chained).
    #[inline]
    pub fn head<'a>(&'a self, packet: &'a Packet) -> &'a [u8] {
        self.check(packet);
        let len = self.head_len(packet);
        // SAFETY: the handle was made by this pool, which keeps address and length inside one buffer of the mapping; it proves that nobody has
        // the buffer mutably (module text).
        unsafe { std::slice::from_raw_parts(self.at(packet.addr), len) }
    }

    /// The bytes of the first segment for writing; `None` if the buffer is shared.
    #[inline]
    pub fn bytes_mut<'a>(&'a mut self, packet: &'a mut Packet) -> Option<&'a mut [u8]> {
        self.check(packet);
        if packet.is_shared() && !self.unshare_if_last(packet) {
            return None;
        }
        let len = self.head_len(packet);
        // SAFETY: as in `head`; the packet is not shared and borrowed mutably, so this is the only access.
        Some(unsafe { std::slice::from_raw_parts_mut(self.at(packet.addr), len) })
    }

    /// The first eight bytes for writing, of a frame that lies in one buffer and is not shared; `None` of any other, which takes the long way
    /// by [`bytes_mut`](Self::bytes_mut).
    #[inline(always)]
    pub fn start_mut<'a>(&'a mut self, packet: &'a mut Packet) -> Option<&'a mut [u8; 8]> {
        self.check(packet);
        if packet.flags & (Packet::SHARED | Packet::CHAINED) != 0 || packet.len < 8 {
            return None;
        }
        // SAFETY: as in `bytes_mut`; without chain the length is that of the bytes here.
        Some(unsafe { &mut *self.at(packet.addr).cast::<[u8; 8]>() })
    }

    /// The frame's segments in order.
    pub fn segments<'a>(&'a self, packet: &'a Packet) -> impl Iterator<Item = &'a [u8]> {
        let first = self.head(packet);
        let mut next = if packet.is_chained() { self.meta(packet.addr).next.load(Ordering::Relaxed) } else { NO_BUFFER };
        let rest = std::iter::from_fn(move || {
            if next == NO_BUFFER {
                return None;
            }
            let (addr, meta) = (next, self.meta(next));
            next = meta.next.load(Ordering::Relaxed);
            // SAFETY: segments of a chain belong to its handle; as in `head`.
            Some(unsafe { std::slice::from_raw_parts(self.at(addr), meta.len.load(Ordering::Relaxed) as usize) })
        });
        std::iter::once(first).chain(rest)
    }

    /// Appends the whole frame to `out`.
    pub fn copy_to(&self, packet: &Packet, out: &mut Vec<u8>) {
        for segment in self.segments(packet) {
            out.extend_from_slice(segment);
        }
    }

    /// Asks for the frame's first cache line ahead of its use.
    #[inline(always)]
    pub fn prefetch(&self, packet: &Packet) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a prefetch reads nothing architecturally, whatever the address; so a packet of another pool does no harm
        // here, and the check is left out: this runs for every packet.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let address = self.base.as_ptr().wrapping_add(packet.addr as usize * ADDR_UNIT as usize);
            _mm_prefetch::<_MM_HINT_T0>(address.cast_const().cast());
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = packet;
    }

    /// Makes a further handle of the same, from now on read-only, frame.
    #[inline]
    pub fn share(&mut self, packet: &mut Packet) -> Packet {
        self.check(packet);
        let meta = self.meta(packet.addr);
        if packet.is_shared() {
            // Relaxed: the handle in hand keeps the buffer alive; passing the new one to another thread goes through a ring.
            meta.shares.fetch_add(1, Ordering::Relaxed);
        } else {
            packet.flags |= Packet::SHARED;
            meta.shares.store(1, Ordering::Relaxed);
        }
        Packet { addr: packet.addr, len: packet.len, flags: packet.flags, pool: packet.pool }
    }

    /// A packet of its own with the same bytes; `None` if no buffer is free.
    pub fn copy(&mut self, packet: &Packet) -> Option<Packet> {
        if packet.is_chained() {
            let mut frame = Vec::with_capacity(packet.len());
            self.copy_to(packet, &mut frame);
            return self.alloc_copy(&frame);
        }
        let copy = self.alloc(packet.len())?;
        self.check(packet);
        // SAFETY: two different buffers of the mapping; the new one is ours alone, the old one is not written meanwhile.
        unsafe { std::ptr::copy_nonoverlapping(self.at(packet.addr), self.at(copy.addr), packet.len()) };
        Some(copy)
    }

    /// Puts `count` bytes in front of the frame (a tag). Their content is left over. `false`, and nothing done, if the headroom
    /// is used up, `count` is odd or the buffer is shared.
    #[inline]
    pub fn push_front(&mut self, packet: &mut Packet, count: usize) -> bool {
        self.check(packet);
        let offset = (packet.addr as usize * ADDR_UNIT as usize) % BUFFER_SIZE;
        let fits = count <= offset && count.is_multiple_of(ADDR_UNIT as usize) && packet.len() + count <= FRAME_MAX;
        if !fits || (packet.is_shared() && !self.unshare_if_last(packet)) {
            return false;
        }
        if packet.is_chained() {
            let len = &self.meta(packet.addr).len;
            len.store(len.load(Ordering::Relaxed) + count as u16, Ordering::Relaxed);
        }
        packet.addr -= count as u32 / ADDR_UNIT;
        packet.len += count as u16;
        true
    }

    /// Takes `count` bytes off the front of the frame. `false`, and nothing done, if the first segment is not longer than
    /// that, `count` is odd or the buffer is shared.
    #[inline]
    pub fn pop_front(&mut self, packet: &mut Packet, count: usize) -> bool {
        self.check(packet);
        let fits = count < self.head_len(packet) && count.is_multiple_of(ADDR_UNIT as usize);
        if !fits || (packet.is_shared() && !self.unshare_if_last(packet)) {
            return false;
        }
        if packet.is_chained() {
            let len = &self.meta(packet.addr).len;
            len.store(len.load(Ordering::Relaxed) - count as u16, Ordering::Relaxed);
        }
        packet.addr += count as u32 / ADDR_UNIT;
        packet.len -= count as u16;
        true
    }

    /// Makes the frame at least `len` bytes long, with zeros at its end (the padding an Ethernet MAC adds). `false`, and nothing
    /// done, if the buffer is shared or has no room.
    pub fn pad_to(&mut self, packet: &mut Packet, len: usize) -> bool {
        let old = packet.len();
        if old >= len {
            return true;
        }
        let offset = (packet.addr as usize * ADDR_UNIT as usize) % BUFFER_SIZE;
        if packet.is_chained() || offset + len > BUFFER_SIZE || (packet.is_shared() && !self.unshare_if_last(packet)) {
            return false;
        }
        packet.len = len as u16;
        match self.bytes_mut(packet) {
            Some(bytes) => bytes[old..].fill(0),
            None => unreachable!("the packet is not shared"),
        }
        true
    }

    /// Ends the packet's life: its buffers are free once no other handle shares them.
    #[inline]
    pub fn free(&mut self, packet: Packet) {
        self.check(&packet);
        if packet.flags == 0 {
            self.give(packet.buffer());
        } else {
            self.free_slow(packet);
        }
    }

    /// Frees every packet of `packets`.
    #[inline]
    pub fn free_all<const N: usize>(&mut self, packets: &mut arrayvec::ArrayVec<Packet, N>) {
        for packet in packets.drain(..) {
            self.free(packet);
        }
    }

    /// Gives all free buffers back to the pool (before counting, or when a thread rests).
    pub fn flush(&mut self) {
        while !self.free.is_empty() && self.give_chunk() {}
    }

    #[cold]
    fn free_slow(&mut self, mut packet: Packet) {
        if packet.is_shared() && !self.unshare_if_last(&mut packet) {
            // Release: our reads of the bytes come before whatever the last holder does with the buffer (its Acquire in
            // `unshare_if_last`).
            let before = self.meta(packet.addr).shares.fetch_sub(1, Ordering::AcqRel);
            if before > 0 {
                return;
            }
            // Another holder let go between the look and the subtraction: we are the last after all.
        }
        if packet.is_chained() {
            self.free_chain(packet.addr);
        } else {
            self.give(packet.buffer());
        }
    }

    fn free_chain(&mut self, mut addr: u32) {
        while addr != NO_BUFFER {
            let next = self.meta(addr).next.load(Ordering::Relaxed);
            self.give(addr >> BUFFER_SHIFT);
            addr = next;
        }
    }

    /// If all other handles are gone, this packet becomes an ordinary one.
    fn unshare_if_last(&mut self, packet: &mut Packet) -> bool {
        // Acquire pairs with the Release in `free_slow`: the reads of the other holders are over.
        let last = self.meta(packet.addr).shares.load(Ordering::Acquire) == 0;
        if last {
            packet.flags &= !Packet::SHARED;
        }
        last
    }

    #[inline(always)]
    fn check(&self, packet: &Packet) {
        assert!(packet.pool == self.id, "packet of another pool");
    }

    #[inline(always)]
    fn head_len(&self, packet: &Packet) -> usize {
        if packet.is_chained() { self.meta(packet.addr).len.load(Ordering::Relaxed) as usize } else { packet.len as usize }
    }

    #[inline(always)]
    fn meta(&self, addr: u32) -> &Meta {
        &self.shared.meta[(addr >> BUFFER_SHIFT) as usize]
    }

    #[inline(always)]
    fn at(&self, addr: u32) -> *mut u8 {
        // SAFETY: addresses are made from buffer indices below `buffers`, so the offset is inside the mapping.
        unsafe { self.base.as_ptr().add(addr as usize * ADDR_UNIT as usize) }
    }

    #[inline]
    fn take(&mut self) -> Option<u32> {
        if let Some(index) = self.free.pop() {
            return Some(index);
        }
        self.refill();
        self.free.pop()
    }

    #[inline]
    fn give(&mut self, index: u32) {
        self.free.push(index);
        if self.free.len() > self.free_max {
            self.give_chunk();
        }
    }

    #[cold]
    fn refill(&mut self) {
        // Ours is empty. A small pool's chunks may be larger than what a cache keeps: the surplus goes back with the next free.
        if let Some(chunk) = self.shared.free.pop() {
            self.free.extend_from_slice(&chunk.buffers[..chunk.count as usize]);
            self.shared.free_count.fetch_sub(chunk.count as u32, Ordering::AcqRel);
        }
    }

    #[cold]
    fn give_chunk(&mut self) -> bool {
        let mut chunk = Chunk { count: 0, buffers: [0; CHUNK] };
        let rest = self.free.len().saturating_sub(CHUNK.min(self.free_max / 2 + 1));
        for (place, index) in chunk.buffers.iter_mut().zip(self.free.drain(rest..)) {
            *place = index;
            chunk.count += 1;
        }
        if self.shared.free.push(chunk).is_err() {
            self.free.extend_from_slice(&chunk.buffers[..chunk.count as usize]);
            return false;
        }
        self.shared.free_count.fetch_add(chunk.count as u32, Ordering::AcqRel);
        true
    }
}

impl Drop for PoolCache {
    fn drop(&mut self) {
        self.flush();
    }
}

impl std::fmt::Debug for PoolCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PoolCache({} free buffers of pool {})", self.free.len(), self.id)
    }
}

#[inline(always)]
fn first_byte(index: u32) -> u32 {
    (index << BUFFER_SHIFT) + HEADROOM as u32 / ADDR_UNIT
}

#[cfg(test)]
mod tests;
