//! What machine a figure was measured on: it stands beside every figure.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use core_affinity::CoreId;
use port::clock::TscClock;
use port::mempool::Pages;

use crate::report::Machine;

/// This machine, as far as it tells.
pub fn describe(clock: &TscClock, pages: Pages) -> Machine {
    Machine { tsc_hz: clock.ticks_per_second() as u64, hugepages: pages.to_string(), ..Machine::here() }
}

/// How long a cache line takes from one core to the other: half a round trip of a number that two threads count up in turn; median.
/// `None` if the threads cannot be pinned.
pub fn line_transfer_ns(clock: &TscClock, a: usize, b: usize) -> Option<f64> {
    const ROUNDS: u64 = 2000;
    const BATCHES: usize = 15;
    let ball = Arc::new(AtomicU64::new(0));
    let theirs = Arc::clone(&ball);
    let end = ROUNDS * 2 * BATCHES as u64;
    let partner = std::thread::spawn(move || {
        let pinned = core_affinity::set_for_current(CoreId { id: b });
        for turn in (1..end).step_by(2) {
            while theirs.load(Ordering::Acquire) != turn {
                std::hint::spin_loop();
            }
            theirs.store(turn + 1, Ordering::Release);
        }
        pinned
    });
    let mine = std::thread::scope(|scope| {
        scope
            .spawn(|| {
                let pinned = core_affinity::set_for_current(CoreId { id: a });
                let mut batches = Vec::new();
                let mut turn = 0;
                for _ in 0..BATCHES {
                    let before = clock.now();
                    for _ in 0..ROUNDS {
                        ball.store(turn + 1, Ordering::Release);
                        turn += 2;
                        while ball.load(Ordering::Acquire) != turn {
                            std::hint::spin_loop();
                        }
                    }
                    batches.push(clock.now().since(before).0 as f64 / (2 * ROUNDS) as f64);
                }
                batches.sort_by(f64::total_cmp);
                (pinned, batches[BATCHES / 2])
            })
            .join()
    });
    match (mine, partner.join()) {
        (Ok((true, ns)), Ok(true)) => Some(ns),
        _ => None,
    }
}
