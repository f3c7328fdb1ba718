//! What machine a figure was measured on: it stands beside every figure.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use core_affinity::CoreId;
use port::clock::TscClock;
use port::mempool::Pages;

use crate::report::Machine;

/// This machine, as far as it tells.
pub fn describe(clock: &TscClock, pages: Pages) -> Machine {
    let first_line = |path: &str| fs::read_to_string(path).ok().map(|text| text.lines().next().unwrap_or_default().trim().to_owned());
    let cpu = fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    Machine {
        cpu: cpu.unwrap_or_default(),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        tsc_hz: clock.ticks_per_second() as u64,
        kernel: first_line("/proc/sys/kernel/osrelease").unwrap_or_default(),
        hugepages: pages.to_string(),
        governor: first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: commit(),
    }
}

/// The commit of the working tree, if this runs in one.
fn commit() -> Option<String> {
    let output = std::process::Command::new("git").args(["describe", "--always", "--dirty", "--abbrev=12"]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
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
