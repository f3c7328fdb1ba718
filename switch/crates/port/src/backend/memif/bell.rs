//! Doorbells: eventfds by which whoever sends wakes a receiver that does not poll. Both peers hold them.
//!
//! A write to an eventfd waits while its counter is full, unless it is non-blocking; and that flag belongs to the description that both peers hold, so
//! the peer can take it away. No flag of the call helps: `RWF_NOWAIT` is not supported for writes to an eventfd. So no worker ever writes to a peer's
//! description. It notes what is to be rung and wakes a [`Ringer`], a thread of the connection's own, by an eventfd that nobody else holds. If the peer
//! has that thread wait, the peer is not woken, and that is all.
//!
//! **The end.** A thread that waits is not joined. When the connection is over, its doorbells are emptied each time somebody asks whether
//! the thread [has ended](Ringer::has_ended): that frees it unless the peer fills them again, and a port takes no new peer before. So at most one
//! thread of each port waits, and only as long as a process lives that wants it to.
//!
//! Receiving, a worker sleeps in `poll(2)` on a doorbell and empties it by `preadv2(2)` with `RWF_NOWAIT`: neither waits for a peer.
//!
//! Threads: a [`Doorbell`] is its worker's, a [`Ringer`] the port's thread's.

use std::io::{self, IoSliceMut};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::ReadWriteFlags;

/// A new eventfd whose counter is at `count`, closed on exec and non-blocking.
///
/// # Errors
/// No descriptors left.
pub fn bell(count: u32) -> io::Result<OwnedFd> {
    Ok(eventfd(count, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)
}

/// Takes back what was rung. Does not wait, whatever the peer did to the description.
pub fn silence(bell: &OwnedFd) {
    let mut count = [0; 8];
    // Nothing to read: it was not rung. (An offset of -1 is "where it is": an eventfd has no places.)
    let _ = rustix::io::preadv2(bell, &mut [IoSliceMut::new(&mut count)], u64::MAX, ReadWriteFlags::NOWAIT);
}

/// Rings an eventfd of which the peer has no description.
pub fn ring_own(bell: &OwnedFd) {
    let _ = rustix::io::write(bell, &1u64.to_ne_bytes()); // It fails only when the counter is full, and then it has been rung.
}

/// What workers ask of the thread.
#[derive(Debug)]
struct Calls {
    /// By doorbell: to be rung. Set by the worker, taken by the thread.
    wanted: Box<[AtomicBool]>,
    /// Wakes the thread. Nobody else holds it.
    bell: OwnedFd,
    over: AtomicBool,
}

/// A transmit queue's doorbell.
#[derive(Debug)]
pub struct Doorbell {
    calls: Arc<Calls>,
    index: usize,
}

impl Doorbell {
    /// Has it rung, soon. Does not wait, and costs no system call while an earlier ring is still to be done.
    #[cold]
    pub fn ring(&self) {
        // Acquire and release: what was put into the ring before is there when the thread that takes this rings.
        if !self.calls.wanted[self.index].swap(true, Ordering::AcqRel) {
            ring_own(&self.calls.bell);
        }
    }
}

/// The thread that rings a connection's doorbells. Dropping it lets the thread go, which ends when it does not wait for the peer.
#[derive(Debug)]
pub struct Ringer {
    calls: Arc<Calls>,
    bells: Arc<[OwnedFd]>,
    thread: JoinHandle<()>,
}

impl Ringer {
    /// Starts the thread for these eventfds. Returns what their queues ring by, in the same order.
    ///
    /// # Errors
    /// No descriptor or no thread to be had.
    pub fn start(bells: Vec<OwnedFd>) -> io::Result<(Ringer, Vec<Doorbell>)> {
        let wanted = bells.iter().map(|_| AtomicBool::new(false)).collect();
        let calls = Arc::new(Calls { wanted, bell: bell(0)?, over: AtomicBool::new(false) });
        let bells: Arc<[OwnedFd]> = bells.into();
        let doorbells = (0..bells.len()).map(|index| Doorbell { calls: Arc::clone(&calls), index }).collect();
        let (theirs, rung) = (Arc::clone(&calls), Arc::clone(&bells));
        let thread = std::thread::Builder::new().name("memif-bells".to_owned()).spawn(move || run(&theirs, &rung))?;
        Ok((Ringer { calls, bells, thread }, doorbells))
    }

    /// Nothing is to be rung any more.
    pub fn end(&self) {
        self.calls.over.store(true, Ordering::Release);
        ring_own(&self.calls.bell);
    }

    /// Is the thread gone? If not, it may wait for room in a counter: that is made.
    pub fn has_ended(&self) -> bool {
        self.thread.is_finished() || {
            self.bells.iter().for_each(silence);
            false
        }
    }
}

impl Drop for Ringer {
    fn drop(&mut self) {
        self.end();
        self.bells.iter().for_each(silence);
    }
}

fn run(calls: &Calls, bells: &[OwnedFd]) {
    while !calls.over.load(Ordering::Acquire) {
        let _ = poll(&mut [PollFd::new(&calls.bell, PollFlags::IN)], None); // An error is a signal, or too little memory: then it looks in vain.
        silence(&calls.bell);
        for (wanted, bell) in calls.wanted.iter().zip(bells) {
            if wanted.swap(false, Ordering::AcqRel) && !calls.over.load(Ordering::Acquire) {
                let _ = rustix::io::write(bell, &1u64.to_ne_bytes()); // This may wait, at the peer's will. Failing: it is full, so it has been rung.
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::Timespec;
    use rustix::fs::OFlags;
    use std::time::{Duration, Instant};

    const PATIENCE: Duration = Duration::from_secs(30);

    fn until(what: &str, mut done: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done() {
            assert!(Instant::now() < deadline, "{what}");
            std::thread::park_timeout(Duration::from_micros(100));
        }
    }

    fn is_rung(bell: &OwnedFd) -> bool {
        let timeout = Timespec { tv_sec: 30, tv_nsec: 0 };
        poll(&mut [PollFd::new(bell, PollFlags::IN)], Some(&timeout)).unwrap() == 1
    }

    #[test]
    fn every_ring_arrives() {
        let bells = [bell(0).unwrap(), bell(0).unwrap()];
        let (ringer, doorbells) = Ringer::start(bells.iter().map(|bell| bell.try_clone().unwrap()).collect()).unwrap();
        for round in 0..2000 {
            let index = round % 2;
            doorbells[index].ring();
            assert!(is_rung(&bells[index]), "round {round}");
            silence(&bells[index]);
        }
        ringer.end();
        until("the thread to end", || ringer.has_ended());
    }

    /// The peer can keep the thread, as long as it does something for it; neither who rings nor who ends it waits.
    #[test]
    fn a_full_blocking_doorbell_keeps_the_thread_only() {
        let theirs = bell(0).unwrap();
        let (ringer, doorbells) = Ringer::start(vec![theirs.try_clone().unwrap()]).unwrap();
        let fill = || rustix::io::write(&theirs, &(u64::MAX - 1).to_ne_bytes()).unwrap();
        fill();
        rustix::fs::fcntl_setfl(&theirs, OFlags::empty()).unwrap();
        // The second ring is noted after the thread took the first: it is on its way into the write that waits.
        doorbells[0].ring();
        until("the thread to take the first", || !doorbells[0].calls.wanted[0].load(Ordering::Acquire));
        (0..100).for_each(|_| doorbells[0].ring());
        assert!(doorbells[0].calls.wanted[0].load(Ordering::Acquire), "the thread waits: nobody takes the second");
        assert!(!ringer.thread.is_finished());
        ringer.end();
        until("the thread to be freed", || ringer.has_ended());
    }
}
