//! `bench scale`: what a packet costs as one thing after another grows, and while the table is in trouble.
//!
//! One case is the measure of all: learning and forwarding between 1,000 stations at 17 ports, frames of 64 bytes in bursts of 32. Every row changes
//! one thing, and is measured in windows that alternate with windows of that case, so that what else the machine does meets both: the
//! ratio is what to look at. Only the worker's turn is timed, as in [`hotpath`](crate::hotpath).
//!
//! The rows of trouble: stations that show up behind other ports all the time, sources of which none is seen twice, with room in
//! the table and without, and the flush of a table in use, after which everything is flooded.
//!
//! Workers run on cores of their own, each with source and sink at its ports; the frames of the others reach it over rings.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use core_affinity::CoreId;
use dataplane::WorkerCounters;
use port::Nanos;
use port::clock::TscClock;
use serde::Serialize;
use traffic_gen::plan::Sizes;

use crate::hotpath::{Case, Load, NOW, Rig, assemble, drops, timed_turn};

/// Bytes of the frame check sequence, which sizes count and buffers do not hold.
const FCS: usize = 4;
/// Turns in a window.
const WINDOW: usize = 16;
/// The table's room in a learning storm.
const STORM_ROOM: u32 = 1 << 20;

/// What a row changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Sweep {
    /// Stations in the table.
    Addresses,
    /// Ports of the switch.
    Ports,
    /// VLANs on trunks at all ports.
    Vlans,
    /// Packets taken from a queue at once.
    Burst,
    /// Bytes of a frame with FCS.
    Size,
    /// Frames in a thousand whose source shows up behind another port.
    Moving,
    /// Every source is new.
    Storm,
    /// The whole table is flushed.
    Flush,
    /// Workers on cores of their own.
    Workers,
}

impl Sweep {
    /// All, in the order of the table.
    pub const ALL: [Sweep; 9] = [
        Sweep::Addresses,
        Sweep::Ports,
        Sweep::Vlans,
        Sweep::Burst,
        Sweep::Size,
        Sweep::Moving,
        Sweep::Storm,
        Sweep::Flush,
        Sweep::Workers,
    ];

    /// The name in results.
    pub fn name(self) -> &'static str {
        match self {
            Sweep::Addresses => "addresses",
            Sweep::Ports => "ports",
            Sweep::Vlans => "vlans",
            Sweep::Burst => "burst",
            Sweep::Size => "size",
            Sweep::Moving => "moving",
            Sweep::Storm => "storm",
            Sweep::Flush => "flush",
            Sweep::Workers => "workers",
        }
    }
}

/// One row.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What was changed.
    pub sweep: Sweep,
    /// To what.
    pub value: String,
    /// Median of the windows, in ticks of the time stamp counter.
    pub cycles_per_packet: f64,
    /// Fastest window.
    pub cycles_per_packet_min: f64,
    /// `cycles_per_packet` divided by that of the first case in the windows between.
    pub ratio: f64,
    /// Longest turn of a worker, in microseconds: what a frame may have had to wait, other work of the machine included.
    pub worst_turn_us: f64,
    /// Packets timed.
    pub packets: u64,
    /// Millions of packets a second that this makes, of all workers together.
    pub mpps: f64,
    /// What else there is to say.
    pub remark: String,
}

/// Turns timed.
#[derive(Clone, Debug, Default)]
struct Costs {
    /// Ticks per packet of each window.
    windows: Vec<f64>,
    packets: u64,
    worst_turn: u64,
}

impl Costs {
    /// A window of turns.
    fn window(&mut self, rig: &mut Rig, clock: &TscClock) {
        let (mut packets, mut ticks) = (0, 0);
        for _ in 0..WINDOW {
            let (count, took) = rig.turn(clock, &mut ());
            packets += count;
            ticks += took;
            self.worst_turn = self.worst_turn.max(took);
        }
        self.packets += packets;
        self.windows.push(ticks as f64 / packets.max(1) as f64);
    }

    fn median(&self) -> f64 {
        let mut windows = self.windows.clone();
        windows.sort_by(f64::total_cmp);
        windows.get(windows.len() / 2).copied().unwrap_or(f64::NAN)
    }

    fn min(&self) -> f64 {
        self.windows.iter().copied().fold(f64::INFINITY, f64::min)
    }

    fn row(&self, sweep: Sweep, value: impl ToString, base: &Costs, clock: &TscClock, remark: String) -> Row {
        Row {
            sweep,
            value: value.to_string(),
            cycles_per_packet: self.median(),
            cycles_per_packet_min: self.min(),
            ratio: self.median() / base.median(),
            worst_turn_us: self.worst_turn as f64 / clock.ticks_per_second() * 1e6,
            packets: self.packets,
            mpps: clock.ticks_per_second() / self.median() / 1e6,
            remark,
        }
    }
}

/// The case that every other is compared with.
fn base_load() -> Load {
    Load::new(Case::LearnForward, 17, 1000, 32)
}

/// Measures with the same case beside every row.
pub struct Bench {
    base: Rig,
    clock: TscClock,
    duration: Duration,
}

impl Bench {
    /// Each row takes twice `duration`: its own, and that of the case between.
    ///
    /// # Errors
    /// If there is no memory for the packet pool.
    pub fn new(duration: Duration) -> Result<Bench, String> {
        let base = Rig::new(base_load()).map_err(|error| error.to_string())?;
        Ok(Bench { base, clock: TscClock::new(), duration })
    }

    /// The rows of a sweep; `progress` is told of each before it is measured.
    ///
    /// # Errors
    /// A row in which packets were lost that must not be: then nothing was measured.
    pub fn sweep(&mut self, sweep: Sweep, mut progress: impl FnMut(&str)) -> Result<Vec<Row>, String> {
        match sweep {
            Sweep::Storm => {
                progress("storm");
                self.storm()
            }
            Sweep::Flush => [1_000, 1_000_000]
                .into_iter()
                .map(|addresses| {
                    progress(&format!("flush of {addresses}"));
                    self.flush(addresses)
                })
                .collect(),
            Sweep::Workers => {
                let cores: Vec<usize> = core_affinity::get_core_ids().unwrap_or_default().iter().map(|core| core.id).collect();
                (1..=cores.len().clamp(1, 16))
                    .map(|workers| {
                        progress(&format!("workers {workers}"));
                        self.workers(workers, &cores)
                    })
                    .collect()
            }
            _ => loads(sweep)
                .into_iter()
                .map(|(value, load)| {
                    progress(&format!("{} {value}", sweep.name()));
                    self.row(sweep, value, load)
                })
                .collect(),
        }
    }

    /// Alternates windows of `rig` with windows of the base case, for twice the duration.
    fn alternate(&mut self, rig: &mut Rig) -> (Costs, Costs) {
        let (mut base, mut costs) = (Costs::default(), Costs::default());
        // The caches get used to both first.
        for _ in 0..2 {
            Costs::default().window(&mut self.base, &self.clock);
            Costs::default().window(rig, &self.clock);
        }
        let end = self.clock.now() + Nanos(2 * self.duration.as_nanos() as u64);
        while self.clock.now() < end {
            base.window(&mut self.base, &self.clock);
            costs.window(rig, &self.clock);
        }
        (base, costs)
    }

    fn row(&mut self, sweep: Sweep, value: String, load: Load) -> Result<Row, String> {
        let mut rig = Rig::new(load).map_err(|error| error.to_string())?;
        let (base, costs) = self.alternate(&mut rig);
        rig.check()?;
        self.base.check()?;
        let remark = match sweep {
            Sweep::Moving => {
                format!(
                    "{} moves learned, {} of frames out, {}",
                    counters(&mut rig).fdb_moved,
                    share(rig.ends.received, rig.ends.offered),
                    drops(&rig.switch).join(", ")
                )
            }
            _ => String::new(),
        };
        Ok(costs.row(sweep, value, &base, &self.clock, remark))
    }

    /// Every frame has a source never seen before: first as long as the table has room, then when it has none.
    fn storm(&mut self) -> Result<Vec<Row>, String> {
        let load = Load { storm: true, fdb_limit: STORM_ROOM, ..base_load() };
        let mut rig = Rig::new(load).map_err(|error| error.to_string())?;
        let mut rows = Vec::new();
        let (mut base, mut costs) = (Costs::default(), Costs::default());
        while rig.ends.offered + 2 * (WINDOW * 17 * 32) as u64 <= u64::from(STORM_ROOM) - 1000 {
            base.window(&mut self.base, &self.clock);
            costs.window(&mut rig, &self.clock);
        }
        let learned = counters(&mut rig).fdb_learned;
        rows.push(costs.row(Sweep::Storm, "room for all", &base, &self.clock, format!("{learned} learned")));
        // Fill it.
        while rig.ends.offered <= u64::from(STORM_ROOM) {
            rig.turn(&self.clock, &mut ());
        }
        let before = counters(&mut rig);
        let (base, costs) = self.alternate(&mut rig);
        let after = counters(&mut rig);
        rig.check()?;
        let remark = format!("{} evicted, {} refused", after.fdb_evicted - before.fdb_evicted, after.fdb_refused - before.fdb_refused);
        rows.push(costs.row(Sweep::Storm, "table full", &base, &self.clock, remark));
        Ok(rows)
    }

    /// The whole table is flushed while frames pass: the turn that does it, the flood after it, and until all stations have spoken.
    fn flush(&mut self, addresses: u32) -> Result<Row, String> {
        let mut rig = Rig::new(Load { addresses, ..base_load() }).map_err(|error| error.to_string())?;
        let mut costs = Costs::default();
        let mut base = Costs::default();
        let mut flood = 0;
        let end = self.clock.now() + Nanos(2 * self.duration.as_nanos() as u64);
        while self.clock.now() < end {
            base.window(&mut self.base, &self.clock);
            let out = rig.ends.received;
            let offered = rig.ends.offered;
            rig.switch.control.flush(None, None);
            costs.window(&mut rig, &self.clock);
            flood += (rig.ends.received - out) / (rig.ends.offered - offered).max(1);
            rig.introduce();
        }
        let remark = format!(
            "{} flushes; each frame went out {:.1} times after one",
            costs.windows.len(),
            flood as f64 / costs.windows.len() as f64
        );
        rig.switch.settle(NOW);
        rig.switch.check_ledger()?;
        Ok(costs.row(Sweep::Flush, format!("{addresses} stations"), &base, &self.clock, remark))
    }

    /// `workers` threads on the first cores, each with its share of the ports.
    fn workers(&mut self, workers: usize, cores: &[usize]) -> Result<Row, String> {
        let mut base = Costs::default();
        for _ in 0..64 {
            base.window(&mut self.base, &self.clock);
        }
        let (mut switch, mut ends) = assemble(&base_load(), workers).map_err(|error| error.to_string())?;
        let mut next = 0;
        while next < base_load().addresses {
            next = ends.iter_mut().map(|ends| ends.introduce(next)).max().unwrap_or(u32::MAX);
            switch.settle(NOW);
            ends.iter_mut().for_each(|ends| {
                ends.drain();
            });
        }
        let start = Barrier::new(workers);
        let over = AtomicBool::new(false);
        let still_sending = AtomicUsize::new(workers);
        let end = self.duration;
        let results: Vec<Costs> = std::thread::scope(|scope| {
            let threads: Vec<_> = switch
                .workers
                .iter_mut()
                .zip(&mut ends)
                .enumerate()
                .map(|(index, (worker, ends))| {
                    let (start, over, still_sending, clock) = (&start, &over, &still_sending, &self.clock);
                    scope.spawn(move || {
                        if let Some(&id) = cores.get(index) {
                            core_affinity::set_for_current(CoreId { id });
                        }
                        let mut costs = Costs::default();
                        let mut turn = |costs: &mut Costs, fill: bool| {
                            let (mut packets, mut ticks) = (0, 0);
                            for _ in 0..WINDOW {
                                if fill {
                                    ends.fill();
                                }
                                let before = clock.ticks();
                                packets += timed_turn(worker, NOW, &mut ()) as u64;
                                let took = clock.ticks() - before;
                                costs.worst_turn = costs.worst_turn.max(took);
                                ticks += took;
                                ends.drain();
                            }
                            costs.packets += packets;
                            costs.windows.push(ticks as f64 / packets.max(1) as f64);
                        };
                        start.wait();
                        let began = clock.now();
                        while !over.load(Ordering::Relaxed) {
                            turn(&mut costs, true);
                            if index == 0 && clock.now().since(began) >= Nanos(end.as_nanos() as u64) {
                                over.store(true, Ordering::Relaxed);
                            }
                        }
                        // What the others send is taken until all have stopped.
                        still_sending.fetch_sub(1, Ordering::AcqRel);
                        while still_sending.load(Ordering::Acquire) > 0 {
                            turn(&mut Costs::default(), false);
                        }
                        costs
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap_or_default()).collect()
        });
        // What still lies in the switch comes out as the sinks make room.
        for _ in 0..64 {
            switch.settle(NOW);
            ends.iter_mut().for_each(|ends| {
                ends.drain();
            });
        }
        ends.iter_mut().for_each(crate::hotpath::Ends::flush_pool);
        switch.check_ledger()?;
        let (offered, received) = ends.iter().fold((0, 0), |(offered, received), ends| (offered + ends.offered, received + ends.received));
        let mut all = Costs { worst_turn: results.iter().map(|costs| costs.worst_turn).max().unwrap_or(0), ..Costs::default() };
        let mut mpps = 0.0;
        for costs in &results {
            all.windows.extend(&costs.windows);
            all.packets += costs.packets;
            mpps += self.clock.ticks_per_second() / costs.median() / 1e6;
        }
        let lost = drops(&switch).into_iter().filter(|drop| !drop.starts_with("hairpin")).collect::<Vec<_>>().join(", ");
        let remark = format!("{} of frames out{}{lost}", share(received, offered), if lost.is_empty() { "" } else { "; " });
        Ok(Row { mpps, ..all.row(Sweep::Workers, workers, &base, &self.clock, remark) })
    }
}

fn share(part: u64, whole: u64) -> String {
    format!("{:.2} %", 100.0 * part as f64 / whole.max(1) as f64)
}

fn counters(rig: &mut Rig) -> WorkerCounters {
    rig.switch.settle(NOW);
    rig.ends.drain();
    rig.switch.control.worker_counters()[0]
}

/// The loads of a sweep that needs no more than another load.
fn loads(sweep: Sweep) -> Vec<(String, Load)> {
    let base = base_load();
    match sweep {
        Sweep::Addresses => {
            [100, 1_000, 10_000, 100_000, 1_000_000].map(|addresses| (addresses.to_string(), Load { addresses, ..base.clone() })).to_vec()
        }
        Sweep::Ports => [2, 4, 8, 16, 32, 64].map(|ports| (ports.to_string(), Load { ports, ..base.clone() })).to_vec(),
        Sweep::Vlans => [1, 16, 256, 4094]
            .map(|vlans| (vlans.to_string(), Load { vlans, addresses: 100_000, case: Case::VlanTrunk, ..base.clone() }))
            .to_vec(),
        Sweep::Burst => [1, 4, 8, 16, 32, 64].map(|burst| (burst.to_string(), Load { burst, ..base.clone() })).to_vec(),
        Sweep::Size => {
            let of = |sizes: &[usize]| Load { lengths: sizes.iter().map(|size| size - FCS).collect(), ..base.clone() };
            let mut loads: Vec<_> = [64, 128, 256, 512, 1024, 1518].map(|size| (size.to_string(), of(&[size]))).to_vec();
            loads.push(("IMIX".to_owned(), Load { lengths: Sizes::imix().lens().to_vec(), ..base.clone() }));
            loads
        }
        Sweep::Moving => [1, 10, 100, 1000].map(|moving| (format!("{moving}/1000"), Load { moving, ..base.clone() })).to_vec(),
        Sweep::Storm | Sweep::Flush | Sweep::Workers => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(sweep: Sweep) -> Vec<Row> {
        let mut told = 0;
        let rows = Bench::new(Duration::from_millis(1)).unwrap().sweep(sweep, |_| told += 1).unwrap();
        assert!(told > 0 && rows.iter().all(|row| row.sweep == sweep && row.packets > 0 && row.ratio > 0.0 && row.worst_turn_us > 0.0));
        rows
    }

    #[test]
    fn every_frame_comes_out_of_any_number_of_ports_and_vlans_in_any_burst_and_size() {
        assert_eq!(rows(Sweep::Ports).len(), 6);
        assert_eq!(rows(Sweep::Burst).len(), 6);
        assert_eq!(rows(Sweep::Size).last().unwrap().value, "IMIX");
        assert_eq!(rows(Sweep::Vlans).last().unwrap().value, "4094");
    }

    #[test]
    fn moves_are_learned() {
        let rows = rows(Sweep::Moving);
        let moves = |row: &Row| row.remark.split(' ').next().unwrap().parse::<u64>().unwrap();
        // One frame in a thousand need not be among so few, all of them are.
        assert!(moves(rows.last().unwrap()) > 1000, "{rows:?}");
    }

    #[test]
    fn after_a_flush_frames_are_flooded_and_between_workers_none_is_lost_unnamed() {
        let mut bench = Bench::new(Duration::from_millis(1)).unwrap();
        let row = bench.flush(1000).unwrap();
        let copies: f64 = row.remark.split(' ').rev().nth(3).unwrap().parse().unwrap();
        assert!(copies > 1.0, "{}", row.remark);
        let row = bench.workers(3, &[]).unwrap();
        assert!(row.remark.contains("% of frames out") && row.value == "3", "{row:?}");
    }
}
