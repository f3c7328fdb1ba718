//! The generator on memory ports, and a receiver on another core that stamps each frame as it takes it.

use std::sync::atomic::{AtomicBool, Ordering};

use core_affinity::CoreId;
use port::backend::memory::{Cable, pair};
use port::clock::TscClock;
use port::{Burst, Hugepages, Mempool, PoolCache, Port};
use traffic_gen::replay::run::{self, RealTime, Setup};
use traffic_gen::replay::unique::Unique;

use super::course::{Course, number};
use super::judge::{Run, judge};

/// Frames that wait for the receiver at most.
const QUEUE: usize = 8192;

/// One run, and the longest time between two looks of the receiver while frames were under way, in ns.
///
/// # Errors
/// If there is no memory, or the port took nothing for a second.
pub fn run(course: &Course, clock: &TscClock, cores: Option<(usize, usize)>) -> Result<(Run, u64), String> {
    let mempool = Mempool::new(4 * QUEUE as u32, Hugepages::Auto).map_err(|error| format!("no memory for packets: {error}"))?;
    let (near, far, _) = pair(Cable { queues: 1, forth: QUEUE, back: 64 });
    let (ready, done) = (AtomicBool::new(false), AtomicBool::new(false));
    let (seen, look_max_ns) = std::thread::scope(|scope| {
        let receiver = scope.spawn(|| {
            pin(cores.map(|(_, receiver)| receiver));
            receive(far, mempool.cache(), clock, course.frames.len(), &ready, &done)
        });
        let sender = scope.spawn(|| {
            pin(cores.map(|(sender, _)| sender));
            while !ready.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
            let sent = send(course, near, mempool.cache(), clock);
            done.store(true, Ordering::Release);
            sent
        });
        let sent = sender.join().map_err(|_| "the sender panicked".to_owned())?;
        let received = receiver.join().map_err(|_| "the receiver panicked".to_owned())?;
        sent.map(|()| received)
    })?;
    Ok((judge(&course.plan, &seen), look_max_ns))
}

/// Puts the calling thread on this core, if there is one to spare.
pub(super) fn pin(core: Option<usize>) {
    if let Some(id) = core {
        core_affinity::set_for_current(CoreId { id });
    }
}

/// Sends a course as `traffic-gen replay --percent` does.
///
/// # Errors
/// If frames were not sent.
pub(super) fn send(course: &Course, port: Port, pool: PoolCache, clock: &TscClock) -> Result<(), String> {
    let setup = Setup {
        frames: &course.frames,
        schedule: course.schedule()?,
        ports: vec![("port".to_owned(), port, course.load.line_bps)],
        learning: Vec::new(),
        pool,
        unique: Unique::new(&[], None, false),
        step: None,
        listen: port::Nanos::ZERO,
        matching: None,
        stamped: false,
    };
    let replayed = run::run(setup, &mut RealTime(clock.clone()), &mut |_| true);
    match replayed.ports.iter().map(|port| port.failed()).sum() {
        0u64 => Ok(()),
        failed => Err(format!("{failed} frames were not sent: {}", replayed.ports[0].errors.join("; "))),
    }
}

fn receive(
    mut port: Port,
    mut pool: PoolCache,
    clock: &TscClock,
    expected: usize,
    ready: &AtomicBool,
    done: &AtomicBool,
) -> (Vec<(u32, u64)>, u64) {
    // Touched now: the first write to a page takes microseconds.
    let mut seen = vec![(0, 0); expected];
    seen.clear();
    let mut burst = Burst::new();
    let (mut last, mut look_max) = (clock.now(), 0);
    ready.store(true, Ordering::Release);
    loop {
        // Read before the look: what was sent before it was set is there to be seen.
        let over = done.load(Ordering::Acquire);
        let taken = port.rx[0].rx_burst(last, &mut pool, &mut burst, 1);
        let now = clock.now();
        if !seen.is_empty() && !over {
            look_max = look_max.max(now.since(last).0);
        }
        last = now;
        for packet in burst.drain(..) {
            seen.extend(number(pool.head(&packet)).map(|number| (number, now.0)));
            pool.free(packet);
        }
        if taken == 0 && over {
            return (seen, look_max);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use traffic_gen::replay::ratio::Ratio;

    /// However busy the machine is: every frame is seen, in order, and none earlier than the plan has it.
    #[test]
    fn every_frame_is_seen_and_none_is_early() {
        let course = Course::new("1G:512".parse().unwrap(), Ratio::new(10, 1), 500).unwrap();
        let (run, _) = super::run(&course, &TscClock::new(), None).unwrap();
        assert_eq!((run.received, run.lost(), run.out_of_order, run.pacing.departed), (500, 0, 0, 500));
        assert!(run.pacing.shares_within().is_some());
    }
}
