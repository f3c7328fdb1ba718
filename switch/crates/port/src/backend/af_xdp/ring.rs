//! The rings an AF_XDP socket shares with the kernel.
//!
//! Each is a power of two of entries, a producer's and a consumer's index that run freely and wrap at 2³², and a word of flags.
//! One side of each ring is ours, the other the kernel's (`Documentation/networking/af_xdp.rst`, section "Rings"). Ours are
//! [`ProducerRing`] (FILL, TX) and [`ConsumerRing`] (RX, COMPLETION); they keep our index to themselves until it is published, and
//! look at the kernel's only when what they know of it is not enough.
//!
//! What the kernel writes is not believed: an index that is farther off than the ring is long counts as "nothing there", so that no
//! value makes us leave the ring.
//!
//! Threads: a ring end belongs to one thread at a time (`Send`, not `Sync`). The orderings are those of the kernel's `xsk_queue.h`: the
//! producer's index is stored with Release after the entries and loaded with Acquire before them; the consumer's likewise.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

/// A mapping of a ring's memory; unmapped when dropped. A mapping that stays keeps the socket alive, and its queue busy.
#[derive(Debug)]
struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `base` and `len` are those of our own mapping; the ring that points into it is dropped with it.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

/// Where the parts of a ring lie.
struct Parts<T> {
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    flags: NonNull<AtomicU32>,
    entries: NonNull<T>,
    size: u32,
    /// Keeps the memory; `None` over memory that somebody else keeps.
    _mapping: Option<Mapping>,
}

// SAFETY: the pointers lead to memory that lives as long as `Parts` (whoever made it says so) and is reached through atomics, or, for
// the entries, by the one owner of our side of the ring.
unsafe impl<T: Send> Send for Parts<T> {}

impl<T: Copy> Parts<T> {
    /// Maps the ring at `page_offset` of the socket.
    fn map(socket: BorrowedFd<'_>, page_offset: libc::off_t, offsets: &libc::xdp_ring_offset, size: u32) -> io::Result<Parts<T>> {
        assert!(size.is_power_of_two(), "the kernel makes rings of a power of two");
        let entries_end = offsets.desc as usize + size as usize * size_of::<T>();
        let words_end = [offsets.producer, offsets.consumer, offsets.flags].into_iter().max().unwrap_or(0) as usize + 4;
        let len = entries_end.max(words_end);
        let aligned = |offset: u64, to: usize| (offset as usize).is_multiple_of(to);
        let words = [offsets.producer, offsets.consumer, offsets.flags];
        if !words.into_iter().all(|word| aligned(word, 4)) || !aligned(offsets.desc, align_of::<T>()) {
            return Err(io::Error::other("the kernel describes rings of another form than this program knows"));
        }
        // SAFETY: a shared mapping at an address of the kernel's choice touches nothing that exists.
        let base = unsafe {
            let flags = libc::MAP_SHARED | libc::MAP_POPULATE;
            libc::mmap(std::ptr::null_mut(), len, libc::PROT_READ | libc::PROT_WRITE, flags, socket.as_raw_fd(), page_offset)
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast::<u8>()).ok_or_else(|| io::Error::other("mmap returned address zero"))?;
        let mapping = Mapping { base, len };
        // SAFETY: every offset was checked to end inside the mapping and to be aligned for what is there.
        unsafe {
            Ok(Parts {
                producer: base.add(offsets.producer as usize).cast(),
                consumer: base.add(offsets.consumer as usize).cast(),
                flags: base.add(offsets.flags as usize).cast(),
                entries: base.add(offsets.desc as usize).cast(),
                size,
                _mapping: Some(mapping),
            })
        }
    }

    fn producer(&self) -> &AtomicU32 {
        // SAFETY: valid and aligned as long as `self` lives (see `Parts`); an atomic may be shared with the kernel.
        unsafe { self.producer.as_ref() }
    }

    fn consumer(&self) -> &AtomicU32 {
        // SAFETY: as in `producer`.
        unsafe { self.consumer.as_ref() }
    }

    fn needs_wakeup(&self) -> bool {
        // SAFETY: as in `producer`.
        let flags = unsafe { self.flags.as_ref() };
        flags.load(Ordering::Relaxed) & libc::XDP_RING_NEED_WAKEUP != 0
    }

    #[inline]
    fn entry(&self, index: u32) -> *mut T {
        // SAFETY: masked, so one of the `size` entries behind `entries`.
        unsafe { self.entries.as_ptr().add((index & (self.size - 1)) as usize) }
    }
}

/// Our end of a ring that we fill and the kernel empties: FILL and TX.
pub struct ProducerRing<T> {
    parts: Parts<T>,
    /// The next entry we write.
    head: u32,
    /// The kernel's index as we last saw it.
    tail: u32,
}

impl<T: Copy> ProducerRing<T> {
    /// Maps the ring of `size` entries at `page_offset` of `socket`.
    ///
    /// # Errors
    /// If the kernel refuses the mapping.
    pub fn map(socket: BorrowedFd<'_>, page_offset: libc::off_t, offsets: &libc::xdp_ring_offset, size: u32) -> io::Result<Self> {
        Ok(Self::over(Parts::map(socket, page_offset, offsets, size)?))
    }

    fn over(parts: Parts<T>) -> Self {
        let (head, tail) = (parts.producer().load(Ordering::Relaxed), parts.consumer().load(Ordering::Acquire));
        ProducerRing { parts, head, tail }
    }

    /// Entries that can be pushed now. Looks at the kernel's index only if fewer than `wanted` are known to be free.
    #[inline]
    pub fn room(&mut self, wanted: u32) -> u32 {
        let room = self.known_room();
        if room >= wanted {
            return room;
        }
        // Acquire: the kernel has read the entries before it gave them free.
        self.tail = self.parts.consumer().load(Ordering::Acquire);
        self.known_room()
    }

    #[inline]
    fn known_room(&self) -> u32 {
        self.parts.size.saturating_sub(self.head.wrapping_sub(self.tail))
    }

    /// Writes the next entry; `false`, and nothing done, if there is no room. The kernel sees it after [`submit`](Self::submit).
    #[inline]
    pub fn push(&mut self, entry: T) -> bool {
        if self.room(1) == 0 {
            return false;
        }
        // SAFETY: an entry of the ring that the kernel has given free (`room`) and does not read before `submit`.
        unsafe { self.parts.entry(self.head).write(entry) };
        self.head = self.head.wrapping_add(1);
        true
    }

    /// Shows the kernel all that was pushed.
    #[inline]
    pub fn submit(&self) {
        // Release: the entries before the index that makes them the kernel's.
        self.parts.producer().store(self.head, Ordering::Release);
    }

    /// Entries the kernel has not taken yet.
    #[inline]
    pub fn pending(&self) -> u32 {
        self.head.wrapping_sub(self.parts.consumer().load(Ordering::Acquire)).min(self.parts.size)
    }

    /// The kernel sleeps: it has to be called to look at the ring.
    #[inline]
    pub fn needs_wakeup(&self) -> bool {
        self.parts.needs_wakeup()
    }
}

/// Our end of a ring that the kernel fills and we empty: RX and COMPLETION.
pub struct ConsumerRing<T> {
    parts: Parts<T>,
    /// The next entry we read.
    tail: u32,
    /// The kernel's index as we last saw it.
    head: u32,
}

impl<T: Copy> ConsumerRing<T> {
    /// Maps the ring of `size` entries at `page_offset` of `socket`.
    ///
    /// # Errors
    /// If the kernel refuses the mapping.
    pub fn map(socket: BorrowedFd<'_>, page_offset: libc::off_t, offsets: &libc::xdp_ring_offset, size: u32) -> io::Result<Self> {
        Ok(Self::over(Parts::map(socket, page_offset, offsets, size)?))
    }

    fn over(parts: Parts<T>) -> Self {
        let (tail, head) = (parts.consumer().load(Ordering::Relaxed), parts.producer().load(Ordering::Acquire));
        ConsumerRing { parts, tail, head }
    }

    /// The next entry, if there is one. Its place is the kernel's again after [`release`](Self::release).
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        if self.head == self.tail {
            // Acquire: the entries after the index that made them ours.
            self.head = self.parts.producer().load(Ordering::Acquire);
        }
        if !(1..=self.parts.size).contains(&self.head.wrapping_sub(self.tail)) {
            self.head = self.tail; // Empty, or an index that cannot be.
            return None;
        }
        // SAFETY: an entry of the ring that the kernel has finished (Acquire above) and leaves alone until `release`.
        let entry = unsafe { self.parts.entry(self.tail).read() };
        self.tail = self.tail.wrapping_add(1);
        Some(entry)
    }

    /// Gives the kernel the places of all entries read so far.
    #[inline]
    pub fn release(&self) {
        // Release: our reads before the kernel writes there again.
        self.parts.consumer().store(self.tail, Ordering::Release);
    }

    /// Asks for the kernel's index ahead of its use.
    #[inline]
    pub fn prefetch(&self) {
        crate::mempool::prefetch(self.parts.producer());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cell::UnsafeCell;
    use std::collections::VecDeque;

    const SIZE: u32 = 8;

    /// A ring over plain memory, with both sides in this process.
    struct Memory {
        words: Box<[AtomicU32; 3]>,
        /// Both ends reach them by pointers.
        entries: Box<[UnsafeCell<u64>]>,
    }

    impl Memory {
        fn new(start: u32) -> Memory {
            let words = Box::new([AtomicU32::new(start), AtomicU32::new(start), AtomicU32::new(0)]);
            Memory { words, entries: (0..SIZE).map(|_| UnsafeCell::new(0)).collect() }
        }

        /// The tests keep the memory until both ends are gone.
        fn parts(&self) -> Parts<u64> {
            Parts {
                producer: NonNull::from(&self.words[0]),
                consumer: NonNull::from(&self.words[1]),
                flags: NonNull::from(&self.words[2]),
                entries: NonNull::new(self.entries.as_ptr().cast_mut().cast()).unwrap(),
                size: SIZE,
                _mapping: None,
            }
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push(u8),
        Submit,
        Pop(u8),
        Release,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![(1..12u8).prop_map(Step::Push), Just(Step::Submit), (1..12u8).prop_map(Step::Pop), Just(Step::Release)]
    }

    proptest! {
        /// Both ends against queues: what is pushed, what is published, and places that were read and not yet released.
        #[test]
        fn a_ring_is_a_queue(start in prop_oneof![Just(0), Just(u32::MAX - 5), any::<u32>()], steps in prop::collection::vec(step(), 0..200)) {
            let memory = Memory::new(start);
            let mut producer = ProducerRing::over(memory.parts());
            let mut consumer = ConsumerRing::over(memory.parts());
            let (mut pushed, mut published) = (VecDeque::new(), VecDeque::new());
            let (mut read, mut next) = (0, 0u64);
            for step in steps {
                match step {
                    Step::Push(count) => for _ in 0..count {
                        let room = SIZE as usize - pushed.len() - published.len() - read;
                        prop_assert_eq!(producer.room(SIZE) as usize, room);
                        prop_assert_eq!(producer.push(next), room > 0);
                        if room > 0 {
                            pushed.push_back(next);
                            next += 1;
                        }
                    },
                    Step::Submit => {
                        producer.submit();
                        published.append(&mut pushed);
                    }
                    Step::Pop(count) => for _ in 0..count {
                        let expected = published.pop_front();
                        prop_assert_eq!(consumer.pop(), expected);
                        read += expected.is_some() as usize;
                    },
                    Step::Release => {
                        consumer.release();
                        read = 0;
                    }
                }
                prop_assert_eq!(producer.pending() as usize, pushed.len() + published.len() + read);
            }
        }
    }

    #[test]
    fn an_index_that_cannot_be_is_an_empty_or_a_full_ring() {
        let memory = Memory::new(0);
        let mut consumer = ConsumerRing::over(memory.parts());
        memory.words[0].store(SIZE + 1, Ordering::Relaxed);
        assert_eq!(consumer.pop(), None);
        memory.words[0].store(u32::MAX, Ordering::Relaxed);
        assert_eq!(consumer.pop(), None);
        memory.words[0].store(SIZE, Ordering::Relaxed);
        assert_eq!(consumer.pop(), Some(0), "as soon as it is sane again, the ring goes on");

        let memory = Memory::new(0);
        let mut producer = ProducerRing::over(memory.parts());
        memory.words[1].store(7, Ordering::Relaxed); // The kernel claims to have read what was never there.
        producer.tail = 7;
        assert!(!producer.push(1));
    }

    #[test]
    fn the_flag_of_a_sleeping_kernel_is_seen() {
        let memory = Memory::new(0);
        let ring = ProducerRing::over(memory.parts());
        assert!(!ring.needs_wakeup());
        memory.words[2].store(libc::XDP_RING_NEED_WAKEUP, Ordering::Relaxed);
        assert!(ring.needs_wakeup());
    }
}
