//! `bench buffers`: what a frame costs at DPDK ports whose frames lie in the switch's buffers, and at such that copy them.
//!
//! Two null devices of DPDK: one has a frame of the size asked for whenever it is polled, the other lets go of all it is given. A loop on one core takes
//! bursts from the one and gives them to the other, so that a frame costs what the two ports cost. The devices do not touch what is in a frame; so the
//! copies are at their cheapest here: both the mbufs and the buffers come round so soon that they lie in the core's own cache.
//!
//! Exchanging and copying take turns of some milliseconds each, so that what disturbs the machine disturbs both.

use std::time::Duration;

use port::backend::dpdk::{self, EalSettings};
use port::clock::TscClock;
use port::{BURST_MAX, Burst, Hugepages, Mempool, Nanos, OpenOptions, PoolCache, Port};

/// How long the two ways take turns.
const WINDOW: Duration = Duration::from_millis(20);
/// Frames without FCS. Longer ones would lie in several buffers, which null devices do not make.
const SIZES: [usize; 4] = [60, 508, 1020, 1514];

/// What to measure.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Seconds for each figure
    #[arg(long, default_value_t = 0.5)]
    pub seconds: f64,
    /// Packets taken at once
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u8).range(1..=BURST_MAX as i64))]
    pub burst: u8,
    /// Write the figures as a JSON list to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<std::path::PathBuf>,
}

/// A figure for each way, TSC cycles per frame, medians of the windows.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Row {
    /// Bytes of a frame without FCS.
    pub size: usize,
    /// Frames in the switch's buffers.
    pub exchanged: f64,
    /// Frames copied in and out.
    pub copied: f64,
}

/// Measures every size.
///
/// # Errors
/// DPDK is not in this build, does not start, or has no null devices.
pub fn measure(args: &Args, duration: Duration) -> Result<Vec<Row>, String> {
    dpdk::configure(EalSettings { memory_mib: Some(256), hugepages: Hugepages::Auto, pci: false, arguments: Vec::new() });
    let windows = (duration.as_secs_f64() / WINDOW.as_secs_f64()).ceil().max(3.0) as usize;
    let clock = TscClock::new();
    let window = (WINDOW.as_secs_f64() * clock.ticks_per_second()) as u64;
    let mut rows = Vec::new();
    for size in SIZES {
        let mut ways = [Way::open("switch", size)?, Way::open("dpdk", size)?];
        let mut figures = [Vec::new(), Vec::new()];
        for _ in 0..windows {
            for (way, figures) in ways.iter_mut().zip(&mut figures) {
                figures.push(way.run(&clock, window, args.burst.into()));
            }
        }
        let [exchanged, copied] = figures.map(median);
        rows.push(Row { size, exchanged, copied });
    }
    Ok(rows)
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// The two devices, with a pool of their own.
struct Way {
    source: Port,
    sink: Port,
    pool: PoolCache,
}

impl Way {
    fn open(buffers: &str, size: usize) -> Result<Way, String> {
        let mempool = Mempool::new(16_384, Hugepages::Auto).map_err(|error| error.to_string())?;
        let open = |end: &str| {
            let spec = format!("dpdk:net_null_{buffers}_{size}_{end},size={size},buffers={buffers}");
            let options = OpenOptions {
                name: end,
                speed_bps: 10_000_000_000,
                queue: 512,
                frame_len_max: 1514,
                mempool: &mempool,
                force_default_route: false,
            };
            let spec = spec.parse().map_err(|error| format!("{spec}: {error}"))?;
            port::open(&spec, &options).map_err(|error| error.to_string())
        };
        Ok(Way { source: open("source")?, sink: open("sink")?, pool: mempool.cache() })
    }

    /// Cycles per frame in a window of `ticks`.
    fn run(&mut self, clock: &TscClock, ticks: u64, burst: usize) -> f64 {
        let (rx, tx, mut packets) = (&mut self.source.rx[0], &mut self.sink.tx[0], Burst::new());
        let (start, mut frames) = (clock.ticks(), 0);
        loop {
            for _ in 0..64 {
                rx.rx_burst(Nanos::ZERO, &mut self.pool, &mut packets, burst);
                frames += tx.tx_burst(Nanos::ZERO, &mut self.pool, &mut packets) as u64;
                self.pool.free_all(&mut packets);
            }
            let passed = clock.ticks() - start;
            if passed >= ticks {
                return passed as f64 / frames.max(1) as f64;
            }
        }
    }
}
