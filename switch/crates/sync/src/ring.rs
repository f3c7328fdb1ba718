//! A bounded single-producer, single-consumer ring with bulk operations.
//!
//! The idea: two indices that only grow (and wrap). The producer owns `tail`, the consumer owns `head`, each on a cache
//! line of its own; an end keeps a private copy of the other's index and looks at the shared one only when the copy is
//! not enough. In the common case a burst of packets therefore moves one line of descriptors and one index line between
//! the cores, not one per packet.
//!
//! Limits: capacity is a power of two, at most 2^31. A full ring refuses and gives the value back; nothing ever waits.
//! Values left in the ring are dropped with it. Threads: each end is `Send`, not `Sync` and not `Clone`; that is what makes the plain
//! accesses to the slots sound.
#![allow(unsafe_code)]

use std::fmt;
use std::mem::MaybeUninit;

use arrayvec::ArrayVec;
use crossbeam::utils::CachePadded;
use primitive::{Arc, AtomicUsize, Ordering, Slot};

#[cfg(not(loom))]
mod primitive {
    pub use std::sync::Arc;
    pub use std::sync::atomic::{AtomicUsize, Ordering};

    use std::cell::UnsafeCell;
    use std::mem::MaybeUninit;

    /// One place of the ring.
    #[repr(transparent)]
    pub struct Slot<T>(UnsafeCell<MaybeUninit<T>>);

    impl<T> Slot<T> {
        pub fn new() -> Self {
            Slot(UnsafeCell::new(MaybeUninit::uninit()))
        }

        /// # Safety
        /// No other access to this slot may run at the same time.
        #[inline(always)]
        pub unsafe fn write(&self, value: MaybeUninit<T>) {
            // SAFETY: exclusive access is the caller's promise.
            unsafe { *self.0.get() = value }
        }

        /// # Safety
        /// No write to this slot may run at the same time; the value must not be read twice as an owned `T`.
        #[inline(always)]
        pub unsafe fn read(&self) -> MaybeUninit<T> {
            // SAFETY: as above; the pointer is valid and aligned, and a `MaybeUninit` may be copied whatever it holds.
            unsafe { self.0.get().read() }
        }
    }
}

#[cfg(loom)]
mod primitive {
    pub use loom::sync::Arc;
    pub use loom::sync::atomic::{AtomicUsize, Ordering};

    use loom::cell::UnsafeCell;
    use std::mem::MaybeUninit;

    /// One place of the ring, watched by loom.
    pub struct Slot<T>(UnsafeCell<MaybeUninit<T>>);

    impl<T> Slot<T> {
        pub fn new() -> Self {
            Slot(UnsafeCell::new(MaybeUninit::uninit()))
        }

        /// # Safety
        /// No other access to this slot may run at the same time.
        pub unsafe fn write(&self, value: MaybeUninit<T>) {
            // SAFETY: exclusive access is the caller's promise, and loom checks it.
            self.0.with_mut(|slot| unsafe { *slot = value })
        }

        /// # Safety
        /// No write to this slot may run at the same time; the value must not be read twice as an owned `T`.
        pub unsafe fn read(&self) -> MaybeUninit<T> {
            // SAFETY: as above, and loom checks it.
            self.0.with(|slot| unsafe { slot.read() })
        }
    }
}

struct Shared<T> {
    /// Items ever pushed. Written by the producer, read by the consumer.
    tail: CachePadded<AtomicUsize>,
    /// Items ever popped. Written by the consumer, read by the producer.
    head: CachePadded<AtomicUsize>,
    /// Item number `i` is in slot `i & mask`.
    slots: Box<[Slot<T>]>,
}

// SAFETY: a slot is written by the one producer before it publishes `tail`, and read by the one consumer after it has seen
// that `tail`; the same the other way round with `head`. So no slot is accessed from both sides at once. Values cross
// threads, hence `T: Send`.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above; the ends are not `Sync`, so there are never two producers or two consumers.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    #[inline(always)]
    fn slot(&self, index: usize) -> &Slot<T> {
        // The mask keeps the index in bounds; written like this the compiler drops the check.
        &self.slots[index & (self.slots.len() - 1)]
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        // Relaxed: `&mut self` means both ends are gone, and the drop of the last `Arc` has ordered their accesses before this.
        let (mut head, tail) = (self.head.load(Ordering::Relaxed), self.tail.load(Ordering::Relaxed));
        while head != tail {
            // SAFETY: slots from head to tail hold values that nobody has taken; we are the only one left.
            unsafe { drop(self.slot(head).read().assume_init()) };
            head = head.wrapping_add(1);
        }
    }
}

/// The pushing end.
pub struct Producer<T> {
    shared: Arc<Shared<T>>,
    /// Our `tail`; equal to the shared one between calls.
    tail: usize,
    /// What we last saw of the consumer's `head`; the true one is at or after it.
    head_seen: usize,
    /// Makes the end `!Sync`: pushing takes `&mut self`, and this keeps it so for what is added later.
    _not_sync: std::marker::PhantomData<std::cell::Cell<()>>,
}

/// The popping end.
pub struct Consumer<T> {
    shared: Arc<Shared<T>>,
    /// Our `head`; equal to the shared one between calls.
    head: usize,
    /// What we last saw of the producer's `tail`; the true one is at or after it.
    tail_seen: usize,
    _not_sync: std::marker::PhantomData<std::cell::Cell<()>>,
}

/// A ring for at least `capacity` items (rounded up to a power of two; at least 1).
///
/// # Panics
/// If `capacity` is above 2^31.
pub fn ring<T: Send>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    assert!(capacity <= 1 << 31, "ring of {capacity} items");
    let slots = (0..capacity.max(1).next_power_of_two()).map(|_| Slot::new()).collect();
    ring_at(slots, 0)
}

fn ring_at<T: Send>(slots: Box<[Slot<T>]>, start: usize) -> (Producer<T>, Consumer<T>) {
    let shared =
        Arc::new(Shared { tail: CachePadded::new(AtomicUsize::new(start)), head: CachePadded::new(AtomicUsize::new(start)), slots });
    let producer = Producer { shared: Arc::clone(&shared), tail: start, head_seen: start, _not_sync: std::marker::PhantomData };
    let consumer = Consumer { shared, head: start, tail_seen: start, _not_sync: std::marker::PhantomData };
    (producer, consumer)
}

impl<T> Producer<T> {
    /// How many items the ring holds at most.
    pub fn capacity(&self) -> usize {
        self.shared.slots.len()
    }

    /// How many items were ever pushed, wrapping: whoever owns this end can tell whether anything was since it last looked.
    #[inline]
    pub fn pushed(&self) -> usize {
        self.tail
    }

    /// Room for at least this many items; looks at the consumer's index if the copy shows less than `wanted`.
    #[inline]
    pub fn room(&mut self, wanted: usize) -> usize {
        let capacity = self.capacity();
        let room = capacity - self.tail.wrapping_sub(self.head_seen);
        if room >= wanted {
            return room;
        }
        // Acquire pairs with the consumer's Release of `head`: its reads of the slots are over before we write them again.
        self.head_seen = self.shared.head.load(Ordering::Acquire);
        capacity - self.tail.wrapping_sub(self.head_seen)
    }

    /// Pushes one item, or gives it back if the ring is full.
    #[inline]
    pub fn push(&mut self, item: T) -> Result<(), T> {
        if self.room(1) == 0 {
            return Err(item);
        }
        // SAFETY: `room` says that the consumer has left this slot, and we are the only producer.
        unsafe { self.shared.slot(self.tail).write(MaybeUninit::new(item)) };
        self.publish(1);
        Ok(())
    }

    /// Moves items from the front of `items` into the ring, as many as fit; returns how many. The rest stay, in order.
    #[inline]
    pub fn push_bulk<const N: usize>(&mut self, items: &mut ArrayVec<T, N>) -> usize {
        let count = items.len().min(self.room(items.len()));
        if count == items.len() {
            for (i, item) in items.drain(..).enumerate() {
                // SAFETY: as in `push`, for `count` slots.
                unsafe { self.shared.slot(self.tail.wrapping_add(i)).write(MaybeUninit::new(item)) };
            }
        } else {
            for (i, item) in items.drain(..count).enumerate() {
                // SAFETY: as above.
                unsafe { self.shared.slot(self.tail.wrapping_add(i)).write(MaybeUninit::new(item)) };
            }
        }
        if count > 0 {
            self.publish(count);
        }
        count
    }

    /// The consumer is gone: whatever is pushed will never be read.
    pub fn is_abandoned(&self) -> bool {
        Arc::strong_count(&self.shared) < 2
    }

    #[inline]
    fn publish(&mut self, count: usize) {
        self.tail = self.tail.wrapping_add(count);
        // Release pairs with the consumer's Acquire of `tail`: it sees the slots written.
        self.shared.tail.store(self.tail, Ordering::Release);
    }
}

impl<T> Consumer<T> {
    /// How many items the ring holds at most.
    pub fn capacity(&self) -> usize {
        self.shared.slots.len()
    }

    /// At least this many items are there; looks at the producer's index if the copy shows less than `wanted`.
    #[inline]
    pub fn available(&mut self, wanted: usize) -> usize {
        let available = self.tail_seen.wrapping_sub(self.head);
        if available >= wanted {
            return available;
        }
        // Acquire pairs with the producer's Release of `tail`: we see what it wrote to the slots.
        self.tail_seen = self.shared.tail.load(Ordering::Acquire);
        self.tail_seen.wrapping_sub(self.head)
    }

    /// Takes the oldest item.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        if self.available(1) == 0 {
            return None;
        }
        // SAFETY: `available` says that the producer has filled this slot; after `release` nobody reads it again.
        let item = unsafe { self.shared.slot(self.head).read().assume_init() };
        self.release(1);
        Some(item)
    }

    /// Moves up to `max` of the oldest items to the end of `items`, as many as it has room for; returns how many.
    #[inline]
    pub fn pop_bulk<const N: usize>(&mut self, items: &mut ArrayVec<T, N>, max: usize) -> usize {
        let wanted = max.min(items.remaining_capacity());
        let count = wanted.min(self.available(wanted));
        let len = items.len();
        for i in 0..count {
            // SAFETY: as in `pop`, for `count` slots; `wanted` keeps `len + i` below the capacity of `items`.
            unsafe {
                let item = self.shared.slot(self.head.wrapping_add(i)).read().assume_init();
                items.as_mut_ptr().add(len + i).write(item);
            }
        }
        // SAFETY: the loop has initialised these `count` elements.
        unsafe { items.set_len(len + count) };
        if count > 0 {
            self.release(count);
        }
        count
    }

    /// Asks for the lines that the next look at the ring will read, if it has to: the producer's index and the next item.
    #[inline]
    pub fn prefetch(&self) {
        #[cfg(all(target_arch = "x86_64", not(loom)))]
        if self.tail_seen == self.head {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            // SAFETY: a prefetch reads nothing architecturally, whatever the address.
            unsafe {
                _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(&*self.shared.tail).cast());
                _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(self.shared.slot(self.head)).cast());
            }
        }
    }

    /// The producer is gone: once the ring is empty it stays so.
    pub fn is_abandoned(&self) -> bool {
        Arc::strong_count(&self.shared) < 2
    }

    #[inline]
    fn release(&mut self, count: usize) {
        self.head = self.head.wrapping_add(count);
        // Release pairs with the producer's Acquire of `head`: our reads are over before it writes the slots again.
        self.shared.head.store(self.head, Ordering::Release);
    }
}

impl<T> fmt::Debug for Producer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("capacity", &self.capacity()).field("pushed", &self.tail).finish()
    }
}

impl<T> fmt::Debug for Consumer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").field("capacity", &self.capacity()).field("popped", &self.head).finish()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    #[derive(Clone, Debug)]
    enum Op {
        Push,
        PushBulk(usize),
        Pop,
        PopBulk(usize),
    }

    fn ops() -> impl Strategy<Value = Vec<Op>> {
        let op = prop_oneof![Just(Op::Push), (0..10usize).prop_map(Op::PushBulk), Just(Op::Pop), (0..10usize).prop_map(Op::PopBulk)];
        prop::collection::vec(op, 0..200)
    }

    proptest! {
        /// Against a `VecDeque`, and with indices that wrap in the middle of the run.
        #[test]
        fn behaves_like_a_bounded_deque(capacity in 1..20usize, before_wrap in 0..100usize, ops in ops()) {
            let slots = (0..capacity.next_power_of_two()).map(|_| Slot::new()).collect();
            let (mut producer, mut consumer) = ring_at::<Box<u32>>(slots, 0usize.wrapping_sub(before_wrap));
            let mut model = VecDeque::new();
            let mut next = 0;
            let mut fresh = || { next += 1; next };
            for op in ops {
                match op {
                    Op::Push => {
                        let value = fresh();
                        let pushed = producer.push(Box::new(value)).is_ok();
                        prop_assert_eq!(pushed, model.len() < producer.capacity());
                        if pushed { model.push_back(value); }
                    }
                    Op::PushBulk(count) => {
                        let mut items: ArrayVec<Box<u32>, 16> = (0..count).map(|_| Box::new(fresh())).collect();
                        let all: Vec<u32> = items.iter().map(|item| **item).collect();
                        let pushed = producer.push_bulk(&mut items);
                        prop_assert_eq!(pushed, count.min(producer.capacity() - model.len()));
                        model.extend(&all[..pushed]);
                        let rest: Vec<u32> = items.iter().map(|item| **item).collect();
                        prop_assert_eq!(&rest[..], &all[pushed..], "what does not fit stays, in order");
                    }
                    Op::Pop => prop_assert_eq!(consumer.pop().map(|item| *item), model.pop_front()),
                    Op::PopBulk(count) => {
                        let mut items: ArrayVec<Box<u32>, 4> = ArrayVec::new();
                        let popped = consumer.pop_bulk(&mut items, count);
                        prop_assert_eq!(popped, count.min(4).min(model.len()));
                        for item in items { prop_assert_eq!(Some(*item), model.pop_front()); }
                    }
                }
                prop_assert_eq!(consumer.available(usize::MAX), model.len());
                prop_assert_eq!(producer.room(usize::MAX), producer.capacity() - model.len());
            }
        }
    }

    #[test]
    fn two_threads_pass_every_item_in_order() {
        const COUNT: u64 = if cfg!(miri) { 500 } else { 1_000_000 };
        let (mut producer, mut consumer) = ring::<u64>(64);
        let pusher = std::thread::spawn(move || {
            let mut next = 0;
            let mut items: ArrayVec<u64, 32> = ArrayVec::new();
            while next < COUNT || !items.is_empty() {
                while !items.is_full() && next < COUNT {
                    items.push(next);
                    next += 1;
                }
                if producer.push_bulk(&mut items) == 0 {
                    std::thread::yield_now();
                }
            }
        });
        let mut expected = 0;
        let mut items: ArrayVec<u64, 32> = ArrayVec::new();
        while expected < COUNT {
            if consumer.pop_bulk(&mut items, 32) == 0 {
                std::thread::yield_now();
            }
            for item in items.drain(..) {
                assert_eq!(item, expected);
                expected += 1;
            }
        }
        pusher.join().unwrap();
        assert!(consumer.is_abandoned());
        assert_eq!(consumer.pop(), None);
    }

    #[test]
    fn what_is_left_is_dropped_with_the_ring() {
        let witness = std::sync::Arc::new(());
        let (mut producer, mut consumer) = ring(4);
        for _ in 0..3 {
            producer.push(witness.clone()).unwrap();
        }
        drop(consumer.pop());
        assert_eq!(std::sync::Arc::strong_count(&witness), 3);
        drop((producer, consumer));
        assert_eq!(std::sync::Arc::strong_count(&witness), 1);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;

    /// Every interleaving of three pushes into a ring of two, and of the pops that empty it.
    #[test]
    fn every_interleaving_keeps_order_and_loses_nothing() {
        loom::model(|| {
            let (mut producer, mut consumer) = ring::<u32>(2);
            let pusher = loom::thread::spawn(move || {
                let mut refused = 0;
                for value in 1..=3 {
                    refused += producer.push(value).is_err() as u32;
                }
                refused
            });
            let mut popped = Vec::new();
            for _ in 0..2 {
                popped.extend(consumer.pop());
            }
            let refused = pusher.join().unwrap();
            while let Some(value) = consumer.pop() {
                popped.push(value);
            }
            assert!(popped.is_sorted());
            assert_eq!(popped.len() as u32 + refused, 3);
        });
    }

    /// The same with bulk operations that wrap round the end of the slots.
    #[test]
    fn bulk_operations_in_every_interleaving() {
        loom::model(|| {
            let (mut producer, mut consumer) = ring::<u32>(2);
            producer.push(0).unwrap();
            assert_eq!(consumer.pop(), Some(0));
            let pusher = loom::thread::spawn(move || {
                let mut items: ArrayVec<u32, 4> = [1, 2, 3].into_iter().collect();
                let first = producer.push_bulk(&mut items);
                first + producer.push_bulk(&mut items)
            });
            let mut items: ArrayVec<u32, 4> = ArrayVec::new();
            consumer.pop_bulk(&mut items, 4);
            let pushed = pusher.join().unwrap();
            consumer.pop_bulk(&mut items, 4);
            let expected: Vec<u32> = (1..=pushed as u32).collect();
            assert_eq!(&items[..], &expected[..]);
        });
    }
}
