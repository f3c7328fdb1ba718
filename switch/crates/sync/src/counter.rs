//! Counters that one thread writes and others read.
//!
//! The writer adds to plain numbers of its own (see the worker) and stores them here now and then; a reader may be a
//! little late, never wrong. There is no read-modify-write and no shared line that two threads write.

use std::sync::atomic::{AtomicU64, Ordering};

/// One number, stored by its one writer and read by anybody.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Zero.
    pub const fn new() -> Counter {
        Counter(AtomicU64::new(0))
    }

    /// Publishes the writer's current total.
    #[inline]
    pub fn store(&self, total: u64) {
        // Relaxed: the number stands for itself; nothing else is published through it.
        self.0.store(total, Ordering::Relaxed);
    }

    /// The total as last published.
    #[inline]
    pub fn load(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
