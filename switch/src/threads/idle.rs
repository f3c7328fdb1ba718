//! What a worker does when there is nothing to do: it turns for a while, then it sleeps on everything that can wake it.
//!
//! A sleeping worker waits in `poll(2)` on a descriptor for each of its receive queues and on a [`Bell`], which control rings
//! after a command, another worker after frames for it, and whoever stops the switch. A receive queue without a descriptor
//! (memory, files) cannot wake anybody: while a worker has one, it sleeps in short naps, each twice as long as the one before.
//! It naps as well while a transmit queue holds packets, which only turns move on, and when a descriptor says that there is
//! something and there is not (an interface that is gone may do that for ever).
//!
//! While frames wait for a bus it wakes [`WAKE_EARLY`] before the next of them may go, and spins until then: a slot that is slept through is lost
//! to nobody else, but late.
//!
//! Limits: what nothing announces, such as an FDB entry that ages or a table that has been replaced, waits up to [`SLEEP_MAX`].
//!
//! Threads: a [`Bell`] is rung from any, an [`Idler`] belongs to its worker's.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::time::Duration;

use dataplane::Worker;
use port::Nanos;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

/// After so long without a frame the worker begins to sleep.
pub const QUIET: Nanos = Nanos(50_000);
/// The longest sleep on descriptors.
pub const SLEEP_MAX: Duration = Duration::from_millis(50);
/// A sleeper is late by some 50 µs, more on a busy machine: so long before a bus lets a frame go the worker is awake.
pub const WAKE_EARLY: Nanos = Nanos(200_000);
/// The first and the longest nap. Linux adds some 50 µs to each.
const NAP_MIN: Duration = Duration::from_micros(20);
const NAP_MAX: Duration = Duration::from_millis(1);
/// So many times in a row a descriptor may say that there is something when there is not. After that it is not believed until a
/// frame has come.
const FALSE_ALARMS_MAX: u32 = 4;

/// Wakes a sleeping worker. Costs two instructions if it is awake.
#[derive(Debug)]
pub struct Bell {
    fd: OwnedFd,
    /// Set by the worker before it looks a last time and sleeps; taken by who rings.
    asleep: AtomicBool,
}

impl Bell {
    /// A bell nobody has rung.
    ///
    /// # Errors
    /// If the system refuses a descriptor.
    pub fn new() -> io::Result<Bell> {
        Ok(Bell { fd: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?, asleep: AtomicBool::new(false) })
    }

    /// Wakes the worker if it sleeps or is about to.
    pub fn ring(&self) {
        // Pairs with the fence in `Idler::last_look`: either the worker's last look sees what we put in a ring before, or we see
        // that it is asleep.
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::AcqRel) {
            // It fails only when the count is full, and then it has been rung.
            let _ = rustix::io::write(&self.fd, &1u64.to_ne_bytes());
        }
    }

    /// Takes back what was rung, so that the next sleep is one.
    fn silence(&self) {
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.fd, &mut count); // Nothing to read: it was not rung.
    }
}

/// How idle a worker is.
#[derive(Debug)]
pub struct Idler {
    quiet_since: Option<Nanos>,
    nap: Duration,
    false_alarms: u32,
}

impl Default for Idler {
    fn default() -> Self {
        Idler { quiet_since: None, nap: NAP_MIN, false_alarms: 0 }
    }
}

impl Idler {
    /// There was a frame.
    #[inline]
    pub fn busy(&mut self) {
        *self = Idler::default();
    }

    /// There was none at `now`: is it time to sleep?
    #[inline]
    pub fn is_due(&mut self, now: Nanos) -> bool {
        now.since(*self.quiet_since.get_or_insert(now)) > QUIET
    }

    /// Says that the worker is asleep, and gives it a last turn by `turn` before it is. Returns whether it found something, in
    /// which case it is awake again.
    pub fn last_look(&mut self, bell: &Bell, turn: impl FnOnce() -> usize) -> bool {
        bell.asleep.store(true, Ordering::Relaxed);
        // Pairs with the fence in `Bell::ring`.
        fence(Ordering::SeqCst);
        let found = turn() > 0;
        if found {
            bell.asleep.store(false, Ordering::Relaxed);
        }
        found
    }

    /// Sleeps until something wakes `worker`, or it has to look for itself.
    pub fn sleep(&mut self, worker: &Worker, bell: &Bell, now: Nanos) {
        let mut fds = vec![PollFd::new(&bell.fd, PollFlags::IN)];
        let mut napping = worker.held() > 0;
        for fd in worker.poll_fds() {
            match fd {
                Some(fd) if self.false_alarms < FALSE_ALARMS_MAX => fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN)),
                Some(_) | None => napping = true,
            }
        }
        let mut longest = SLEEP_MAX;
        if let Some(event) = worker.next_bus_event() {
            match before(event, now) {
                Some(left) => longest = left.min(SLEEP_MAX),
                None => {
                    bell.asleep.store(false, Ordering::Relaxed);
                    return;
                }
            }
        }
        if napping {
            longest = longest.min(self.nap);
            self.nap = (self.nap * 2).min(NAP_MAX);
        }
        if let Some(event) = worker.next_event() {
            longest = longest.min(Duration::from_nanos(event.since(now).0));
        }
        let timeout = Timespec { tv_sec: 0, tv_nsec: longest.subsec_nanos().into() };
        // An error is a signal or too little memory in the kernel: then it was a short sleep.
        let _ = poll(&mut fds, Some(&timeout));
        if fds[1..].iter().any(|fd| !fd.revents().is_empty()) {
            self.false_alarms += 1; // Until the next turn finds a frame.
        }
        let rung = !fds[0].revents().is_empty();
        bell.asleep.store(false, Ordering::Relaxed);
        if rung {
            bell.silence();
        }
    }
}

/// How long one may sleep before a bus lets a frame go at `event`; `None`: not at all.
fn before(event: Nanos, now: Nanos) -> Option<Duration> {
    let left = event.since(now).since(WAKE_EARLY);
    (left > Nanos::ZERO).then_some(Duration::from_nanos(left.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::Instant;

    #[test]
    fn it_sleeps_after_a_quiet_while_only() {
        let mut idler = Idler::default();
        assert!(!idler.is_due(Nanos(1_000)));
        assert!(!idler.is_due(Nanos(1_000) + QUIET));
        assert!(idler.is_due(Nanos(1_001) + QUIET));
        idler.busy();
        assert!(!idler.is_due(Nanos(1_001) + QUIET));
    }

    #[test]
    fn a_slot_is_not_slept_through() {
        let now = Nanos::from_secs(1);
        assert_eq!(before(now + Nanos(10_000), now), None);
        assert_eq!(before(now + WAKE_EARLY, now), None);
        assert_eq!(before(Nanos::ZERO, now), None, "it is due");
        assert_eq!(before(now + WAKE_EARLY + Nanos(1000), now), Some(Duration::from_micros(1)));
    }

    #[test]
    fn whoever_is_awake_is_not_rung() {
        let bell = Bell::new().unwrap();
        bell.ring();
        let mut count = [0; 8];
        assert!(rustix::io::read(&bell.fd, &mut count).is_err(), "nothing was written");
        let mut idler = Idler::default();
        assert!(idler.last_look(&bell, || 1), "the last look found something");
        bell.ring();
        assert!(rustix::io::read(&bell.fd, &mut count).is_err());
        assert!(!idler.last_look(&bell, || 0));
        bell.ring();
        bell.ring();
        assert_eq!(rustix::io::read(&bell.fd, &mut count), Ok(8));
        assert_eq!(u64::from_ne_bytes(count), 1, "rung once");
    }

    /// No ring is lost, however it falls between the last look and the sleep.
    #[test]
    fn every_item_wakes_the_sleeper() {
        const ITEMS: usize = 20_000;
        let bell = Arc::new(Bell::new().unwrap());
        let (mut to, mut from) = sync::ring::ring::<usize>(1);
        let ringer = Arc::clone(&bell);
        let sender = std::thread::spawn(move || {
            for item in 0..ITEMS {
                let mut item = item;
                while let Err(full) = to.push(item) {
                    item = full;
                    std::thread::yield_now();
                }
                ringer.ring();
            }
        });
        let (mut idler, mut next) = (Idler::default(), 0);
        while next < ITEMS {
            let mut found = 0;
            idler.last_look(&bell, || {
                found = from.pop().into_iter().inspect(|&item| assert_eq!(item, next)).count();
                found
            });
            next += found;
            if found > 0 {
                continue;
            }
            let started = Instant::now();
            let mut fds = [PollFd::new(&bell.fd, PollFlags::IN)];
            let woken = poll(&mut fds, Some(&Timespec { tv_sec: 30, tv_nsec: 0 })).unwrap();
            assert_eq!(woken, 1, "nobody rang for {:?} after item {next}", started.elapsed());
            bell.asleep.store(false, Ordering::Relaxed);
            bell.silence();
        }
        sender.join().unwrap();
    }
}
