//! A value that control publishes whole and workers read once per turn.
//!
//! `arc-swap` underneath: a reader keeps its own reference and, once per turn, compares one pointer; only after a
//! publication does it take the new value. The old value is freed by whoever drops the last reference. So that this is
//! never a worker, the publisher keeps the value before and drops it on its own thread one publication after every
//! reader has moved on (see [`Publisher::collect`]).

use std::sync::Arc;

use arc_swap::{ArcSwap, Cache};

/// The writing end. One per snapshot.
#[derive(Debug)]
pub struct Publisher<T> {
    current: Arc<ArcSwap<T>>,
    /// Values that were replaced and that some reader may still hold.
    retired: Vec<Arc<T>>,
}

/// The reading end; each worker has its own.
#[derive(Debug, Clone)]
pub struct Reader<T> {
    cache: Cache<Arc<ArcSwap<T>>, Arc<T>>,
}

impl<T> Publisher<T> {
    /// A snapshot that holds `value` until the first [`publish`](Self::publish).
    pub fn new(value: T) -> Self {
        Publisher { current: Arc::new(ArcSwap::from_pointee(value)), retired: Vec::new() }
    }

    /// Another reading end.
    pub fn reader(&self) -> Reader<T> {
        Reader { cache: Cache::new(Arc::clone(&self.current)) }
    }

    /// Replaces the value. Readers see it at their next [`Reader::read`].
    pub fn publish(&mut self, value: T) {
        let old = self.current.swap(Arc::new(value));
        self.retired.push(old);
        self.collect();
    }

    /// The value as it is now.
    pub fn current(&self) -> Arc<T> {
        self.current.load_full()
    }

    /// Frees replaced values that no reader holds any more; call it now and then from the publisher's thread.
    pub fn collect(&mut self) {
        self.retired.retain(|value| Arc::strong_count(value) > 1);
    }

    /// How many replaced values are still held by readers.
    pub fn retired_count(&self) -> usize {
        self.retired.len()
    }
}

impl<T> Reader<T> {
    /// The current value: one load and one comparison where nothing has changed.
    #[inline]
    pub fn read(&mut self) -> &Arc<T> {
        self.cache.load()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn readers_see_the_newest_value_and_old_ones_are_freed_by_the_publisher() {
        let mut publisher = Publisher::new(1);
        let mut reader = publisher.reader();
        assert_eq!(**reader.read(), 1);
        publisher.publish(2);
        assert_eq!(publisher.retired_count(), 1, "the reader still holds the old value");
        assert_eq!(**reader.read(), 2);
        publisher.collect();
        assert_eq!(publisher.retired_count(), 0);
    }
}
