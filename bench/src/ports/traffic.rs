//! Generator and receiver: one thread with the outer ends of both ports.
//!
//! Frames go from stations behind the first port to stations behind the second, or both ways. Each carries a mark, its number and the time it
//! was handed over. The receiver counts all, checks each one's length, mark, addresses and number, and of one in 64 every byte.
//!
//! What a port does not take is offered again: nothing is lost at the generator. How often that happens, and what is lost behind it, tells
//! whether the device or the generator was the limit.

use std::sync::atomic::{AtomicBool, Ordering};

use hdrhistogram::Histogram;
use port::clock::TscClock;
use port::{Burst, Hugepages, LinkState, Mempool, Nanos, PoolCache, Port, PortSpec};
use traffic_gen::plan::{Station, udp_frame};

use super::cpu::Spent;
use super::device::open;

/// Frames offered at once.
const BURST: usize = 32;
/// Buffers of the generator.
const BUFFERS: u32 = 16_384;
/// Where the payload of a UDP frame begins: mark, number, time.
const MARK_AT: usize = 42;
const MARK: [u8; 4] = *b"port";
const STAMP: std::ops::Range<usize> = MARK_AT + 4..MARK_AT + 16;
/// Which run a frame belongs to: what comes too late must not count in the next one. 0 are introductions.
const RUN: std::ops::Range<usize> = STAMP.end..STAMP.end + 2;
/// The number of an introduction.
const INTRODUCTION: u32 = u32::MAX;
/// What has not happened after so long does not happen.
const PATIENCE: Nanos = Nanos::from_secs(30);
/// Introductions are repeated after so long.
const AGAIN: Nanos = Nanos::from_millis(20);
/// Nothing more comes after this long without a frame.
const QUIET: Nanos = Nanos::from_millis(100);
/// Part of a run that is not measured: the first frames find everything cold.
const WARM_UP: u64 = 8;
/// A frame that leaves this late is late.
const LATE: Nanos = Nanos(10_000);

/// What to offer.
#[derive(Clone, Copy, Debug)]
pub struct Offer {
    /// Bytes of a frame without FCS.
    pub len: usize,
    /// Frames a second; `None`: as many as go.
    pub rate_pps: Option<u64>,
    /// How long.
    pub duration: Nanos,
    /// From both sides.
    pub both_ways: bool,
    /// Nobody sends anything back.
    pub to_sink: bool,
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Run {
    /// Length of the measured part in s.
    pub seconds: f64,
    /// Frames received, or for a sink sent, in the measured part.
    pub frames: u64,
    /// Frames handed over in the whole run.
    pub sent: u64,
    /// Frames received in the whole run.
    pub received: u64,
    /// Frames that others had overtaken, or that came twice.
    pub out_of_order: u64,
    /// Frames that were not as they were sent.
    pub damaged: u64,
    /// Share of bursts that the port did not take as a whole, 0 to 1.
    pub refused: f64,
    /// Share of frames that left more than 10 µs late, 0 to 1, of a run with a rate.
    pub late: f64,
    /// From handing over to receiving, in ns.
    pub latency: Histogram<u64>,
    /// CPU time in the measured part.
    pub spent: Spent,
}

impl Run {
    /// Frames a second.
    pub fn pps(&self) -> f64 {
        self.frames as f64 / self.seconds
    }

    /// Share of the frames that did not arrive, 0 to 1.
    pub fn loss(&self) -> f64 {
        self.sent.saturating_sub(self.received) as f64 / self.sent.max(1) as f64
    }
}

/// The outer ends.
pub struct Ends {
    ports: [Port; 2],
    pool: PoolCache,
    clock: TscClock,
    stations: u32,
    maintained: Nanos,
    /// Number of the run, from 1.
    run: u16,
}

impl std::fmt::Debug for Ends {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ends({:?})", self.ports)
    }
}

/// One direction of a run.
struct Direction {
    templates: Vec<Box<[u8]>>,
    burst: Burst,
    next: u32,
    expected: u32,
    sent: u64,
}

impl Ends {
    /// Opens them and [waits](Ends::wait) for their links.
    ///
    /// # Errors
    /// If a port cannot be had, or has no link after 30 s.
    pub fn open(specs: &[String; 2], stations: u32, clock: &TscClock, stop: &AtomicBool) -> Result<Ends, String> {
        let mut ends = Ends::listen(specs, stations, clock)?;
        ends.wait(stop)?;
        Ok(ends)
    }

    /// Opens them: as memif servers they listen from now on. Of some programs that must be so before they are started.
    ///
    /// # Errors
    /// If a port cannot be had.
    pub fn listen(specs: &[String; 2], stations: u32, clock: &TscClock) -> Result<Ends, String> {
        let mempool = Mempool::new(BUFFERS, Hugepages::Auto).map_err(|error| format!("no memory for packets: {error}"))?;
        let parse = |spec: &String| spec.parse::<PortSpec>().map_err(|error| format!("{spec}: {error}"));
        let [a, b] = specs;
        let ports = [open(&parse(a)?, &mempool)?, open(&parse(b)?, &mempool)?];
        Ok(Ends { ports, pool: mempool.cache(), clock: clock.clone(), stations, maintained: Nanos::ZERO, run: 0 })
    }

    /// Waits for their links.
    ///
    /// # Errors
    /// If a port has none after 30 s.
    pub fn wait(&mut self, stop: &AtomicBool) -> Result<(), String> {
        let began = self.clock.now();
        while self.ports.iter().any(|port| port.device.link() != LinkState::Up) {
            let now = self.maintain(stop)?;
            if now.since(began) > PATIENCE {
                return Err(format!("no link after {} s: {}", PATIENCE.0 / 1_000_000_000, self.describe()));
            }
        }
        Ok(())
    }

    /// How the ports describe themselves.
    pub fn describe(&self) -> String {
        self.ports.iter().map(|port| port.device.describe()).collect::<Vec<_>>().join("; ")
    }

    fn maintain(&mut self, stop: &AtomicBool) -> Result<Nanos, String> {
        if stop.load(Ordering::Relaxed) {
            return Err("interrupted".to_owned());
        }
        let now = self.clock.now();
        if now.since(self.maintained) > Nanos::from_millis(10) {
            self.maintained = now;
            self.ports.iter_mut().for_each(|port| port.device.maintain(now));
        }
        Ok(now)
    }

    /// How many stations there are behind each side from now on. The new ones are unknown to the device until [`Ends::introduce`].
    pub fn set_stations(&mut self, stations: u32) {
        self.stations = stations;
    }

    /// Has every station send until each has been heard on the other side: then a switch has learned where all are.
    ///
    /// # Errors
    /// If nobody new has been heard for 30 s.
    pub fn introduce(&mut self, stop: &AtomicBool) -> Result<(), String> {
        let mut heard = [vec![false; self.stations as usize], vec![false; self.stations as usize]];
        let (mut missing, mut progress) = (2 * u64::from(self.stations), self.clock.now());
        // Whose turn it is on each side, and when number 0 had its last.
        let (mut next, mut began) = ([0, 0], [None, None]);
        let mut burst = Burst::new();
        while missing > 0 {
            let now = self.maintain(stop)?;
            if now.since(progress) > PATIENCE {
                let count = |side: usize| heard[side].iter().filter(|heard| **heard).count();
                return Err(format!(
                    "the device forwards nothing: of {} stations on each side {} and {} were heard on the other",
                    self.stations,
                    count(0),
                    count(1)
                ));
            }
            for side in 0..2 {
                if next[side] == self.stations && began[side].is_none_or(|began| now.since(began) > AGAIN) {
                    next[side] = 0;
                }
                if next[side] == 0 {
                    began[side] = Some(now);
                }
                while next[side] < self.stations && burst.len() < BURST {
                    let n = next[side];
                    next[side] += 1;
                    if !heard[side][n as usize] {
                        let mut frame = udp_frame(station(side, n), station(1 - side, 0), 60);
                        frame[MARK_AT..MARK_AT + 4].copy_from_slice(&MARK);
                        frame[STAMP][..4].copy_from_slice(&INTRODUCTION.to_be_bytes());
                        burst.extend(self.pool.alloc_copy(&frame));
                    }
                }
                // What the port does not take now has its turn again.
                self.ports[side].tx[0].tx_burst(now, &mut self.pool, &mut burst);
                self.pool.free_all(&mut burst);
                self.ports[side].tx[0].flush(now, &mut self.pool);
                for queue in &mut self.ports[side].rx {
                    queue.rx_burst(now, &mut self.pool, &mut burst, BURST);
                    for packet in burst.drain(..) {
                        let bytes = self.pool.head(&packet);
                        let heard = number(bytes).and_then(|_| heard[1 - side].get_mut(station_number(bytes) as usize));
                        if let Some(heard) = heard.filter(|heard| !**heard) {
                            (*heard, missing, progress) = (true, missing - 1, now);
                        }
                        self.pool.free(packet);
                    }
                }
            }
        }
        // What is still under way would be counted.
        let mut quiet = self.clock.now();
        while self.clock.now().since(quiet) < QUIET {
            let now = self.maintain(stop)?;
            for queue in self.ports.iter_mut().flat_map(|port| &mut port.rx) {
                if queue.rx_burst(now, &mut self.pool, &mut burst, BURST) > 0 {
                    quiet = now;
                }
                self.pool.free_all(&mut burst);
            }
        }
        Ok(())
    }

    /// One run. CPU time is taken of `process` and of the machine.
    ///
    /// # Errors
    /// If it is interrupted, or there is no buffer left.
    pub fn run(&mut self, offer: &Offer, process: Option<u32>, stop: &AtomicBool) -> Result<Run, String> {
        self.run = self.run.wrapping_add(1).max(1);
        let (stations, number) = (self.stations, self.run);
        let direction = |from: usize| Direction {
            templates: (0..stations).map(|n| template(from, n, offer.len, number)).collect(),
            burst: Burst::new(),
            next: 0,
            expected: 0,
            sent: 0,
        };
        let mut directions: Vec<Direction> = (0..if offer.both_ways { 2 } else { 1 }).map(direction).collect();
        let latency = Histogram::new_with_bounds(1, 10_000_000_000, 3).map_err(|error| error.to_string())?;
        let mut run = Run {
            seconds: 0.0,
            frames: 0,
            sent: 0,
            received: 0,
            out_of_order: 0,
            damaged: 0,
            refused: 0.0,
            late: 0.0,
            latency,
            spent: Spent::default(),
        };
        let (mut offered, mut refused, mut late) = (0u64, 0u64, 0u64);
        let began = self.clock.now();
        let measure_from = Nanos(began.0 + offer.duration.0 / WARM_UP);
        let end = Nanos(measure_from.0 + offer.duration.0);
        let mut from: Option<(Nanos, Spent, u64)> = None;
        // Frames of a direction that had their time. What is late is made up for: the rate is held as far as the machine lets it.
        let mut due = 0u64;
        let count = |run: &Run, directions: &[Direction]| {
            if offer.to_sink { directions.iter().map(|direction| direction.sent).sum() } else { run.received }
        };
        loop {
            let now = self.maintain(stop)?;
            if now >= end {
                if let Some((at, spent, frames)) = from {
                    run.spent = Spent::now(process).since(spent);
                    run.seconds = self.clock.now().since(at).as_secs_f64();
                    run.frames = count(&run, &directions) - frames;
                }
                break;
            }
            if from.is_none() && now >= measure_from {
                from = Some((self.clock.now(), Spent::now(process), count(&run, &directions)));
                run.latency.reset();
            }
            let wanted = match offer.rate_pps {
                None => BURST,
                Some(pps) => {
                    let by_now = |at: Nanos| (u128::from(at.since(began).0) * u128::from(pps) / 1_000_000_000) as u64;
                    let wanted = (by_now(now) + 1).saturating_sub(due).min(BURST as u64);
                    late += wanted.min(by_now(Nanos(now.0.saturating_sub(LATE.0)).max(began)).saturating_sub(due));
                    due += wanted;
                    wanted as usize
                }
            };
            for (side, direction) in directions.iter_mut().enumerate() {
                let port = &mut self.ports[side];
                // With a rate, what was refused goes before what is due now.
                let held = if offer.rate_pps.is_some() { direction.burst.len() } else { 0 };
                if held + wanted > 0 {
                    direction.fill(&mut self.pool, now, (held + wanted).min(BURST))?;
                    offered += 1;
                    direction.sent += port.tx[0].tx_burst(now, &mut self.pool, &mut direction.burst) as u64;
                    refused += u64::from(!direction.burst.is_empty());
                }
                port.tx[0].flush(now, &mut self.pool);
            }
            self.receive(&mut directions, &mut run);
        }
        // What was offered and never taken was not sent.
        directions.iter_mut().for_each(|direction| self.pool.free_all(&mut direction.burst));
        run.sent = directions.iter().map(|direction| direction.sent).sum();
        let mut quiet = self.clock.now();
        // A device that has not had its turn on a busy machine is given time.
        let quiet_max = |run: &Run| if run.received == 0 { PATIENCE } else { QUIET };
        while !offer.to_sink && run.received < run.sent && self.clock.now().since(quiet) < quiet_max(&run) {
            let now = self.maintain(stop)?;
            if self.receive(&mut directions, &mut run) > 0 {
                quiet = now;
            }
            self.ports.iter_mut().for_each(|port| port.tx[0].flush(now, &mut self.pool));
        }
        run.refused = refused as f64 / offered.max(1) as f64;
        run.late = late as f64 / due.max(1) as f64;
        Ok(run)
    }

    /// Takes what has come on both sides; returns how much.
    fn receive(&mut self, directions: &mut [Direction], run: &mut Run) -> u64 {
        let (mut burst, mut came) = (Burst::new(), 0);
        for side in 0..2 {
            // A device may send on any of its queues.
            for place in 0..self.ports[side].rx.len() {
                let now = self.clock.now();
                let count = self.ports[side].rx[place].rx_burst(now, &mut self.pool, &mut burst, port::BURST_MAX);
                if count == 0 {
                    continue;
                }
                // The burst was there when the call returned, not when it began.
                let now = self.clock.now();
                for packet in burst.drain(..) {
                    let bytes = self.pool.head(&packet);
                    let direction = directions.get_mut(1 - side);
                    match (number(bytes).filter(|_| bytes.get(RUN) == Some(&self.run.to_be_bytes()[..])), direction) {
                        (Some(number), Some(direction)) => {
                            came += 1;
                            run.received += 1;
                            direction.check(bytes, number, run);
                            run.latency.saturating_record(now.since(stamp(bytes)).0.max(1));
                        }
                        (Some(_), None) => run.damaged += 1,
                        (None, _) => {} // Not of this run: the device's own, an introduction, a straggler.
                    }
                    self.pool.free(packet);
                }
            }
        }
        came
    }

    /// Ends with the CPU time that a device took in which nothing came, after it had time to go to sleep.
    ///
    /// # Errors
    /// If it is interrupted.
    pub fn idle(&mut self, process: Option<u32>, duration: Nanos, stop: &AtomicBool) -> Result<(f64, Spent), String> {
        let rest = |ends: &mut Ends, duration: Nanos| {
            let began = ends.clock.now();
            while ends.clock.now().since(began) < duration {
                ends.maintain(stop)?;
                std::thread::park_timeout(std::time::Duration::from_millis(20));
            }
            Ok::<Nanos, String>(ends.clock.now().since(began))
        };
        rest(self, Nanos(duration.0 / WARM_UP))?;
        let before = Spent::now(process);
        let lasted = rest(self, duration)?;
        Ok((lasted.as_secs_f64(), Spent::now(process).since(before)))
    }
}

impl Direction {
    /// Fills the burst up to so many frames, stamped now.
    fn fill(&mut self, pool: &mut PoolCache, now: Nanos, wanted: usize) -> Result<(), String> {
        while self.burst.len() < wanted {
            let template = &self.templates[self.next as usize % self.templates.len()];
            // All buffers are under way: the port has them and gives them back when it has sent.
            let Some(mut packet) = pool.alloc_copy(template) else { return Ok(()) };
            let bytes = pool.bytes_mut(&mut packet).ok_or("a fresh buffer cannot be written")?;
            bytes[STAMP][..4].copy_from_slice(&self.next.to_be_bytes());
            bytes[STAMP][4..].copy_from_slice(&now.0.to_be_bytes());
            self.next = (self.next + 1) % INTRODUCTION;
            self.burst.push(packet);
        }
        Ok(())
    }

    fn check(&mut self, bytes: &[u8], number: u32, run: &mut Run) {
        let template = &self.templates[number as usize % self.templates.len()];
        let same = bytes.len() == template.len()
            && bytes[..12] == template[..12]
            && (!number.is_multiple_of(64)
                || (bytes[..STAMP.start] == template[..STAMP.start] && bytes[STAMP.end..] == template[STAMP.end..]));
        run.damaged += u64::from(!same);
        if number < self.expected {
            run.out_of_order += 1;
        } else {
            self.expected = number + 1;
        }
    }
}

/// Addresses of a station: 256 MAC addresses to each value of the last byte but one, as they are handed out; IP addresses repeat after 65,536.
fn station(side: usize, n: u32) -> Station {
    let [_, high, middle, low] = n.to_be_bytes();
    Station { mac: [2, 0, 0xb0 + side as u8, high, middle, low], ip: [198, 18 + side as u8, middle, low] }
}

/// The number of the station that sent a frame of ours.
fn station_number(bytes: &[u8]) -> u32 {
    bytes.get(9..12).map_or(u32::MAX, |low| u32::from_be_bytes([0, low[0], low[1], low[2]]))
}

fn template(from: usize, n: u32, len: usize, run: u16) -> Box<[u8]> {
    let mut frame = udp_frame(station(from, n), station(1 - from, n), len);
    frame[MARK_AT..MARK_AT + 4].copy_from_slice(&MARK);
    frame[RUN].copy_from_slice(&run.to_be_bytes());
    frame
}

/// The frame that a station on one side sends to the one of the same number on the other, without number and time.
///
/// # Panics
/// If `len` is below 60.
pub fn capture_frame(from: usize, n: u32, len: usize) -> Box<[u8]> {
    template(from, n, len, 0)
}

/// The number of one of our frames.
fn number(bytes: &[u8]) -> Option<u32> {
    let place = bytes.get(MARK_AT..STAMP.end)?;
    (place[..4] == MARK).then(|| u32::from_be_bytes([place[4], place[5], place[6], place[7]]))
}

/// When one of our frames was handed over.
fn stamp(bytes: &[u8]) -> Nanos {
    let time = bytes.get(STAMP).and_then(|stamp| stamp[4..].try_into().ok());
    Nanos(time.map_or(0, u64::from_be_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_know_their_number_and_time() {
        let mempool = Mempool::new(64, Hugepages::Never).unwrap();
        let mut pool = mempool.cache();
        for len in [60, 1514] {
            let mut direction = Direction {
                templates: (0..4).map(|n| template(0, n, len, 9)).collect(),
                burst: Burst::new(),
                next: 6,
                expected: 0,
                sent: 0,
            };
            direction.fill(&mut pool, Nanos(77), 3).unwrap();
            for (packet, expected) in direction.burst.iter().zip(6..) {
                let bytes = pool.head(packet);
                assert_eq!((bytes.len(), number(bytes), stamp(bytes)), (len, Some(expected), Nanos(77)));
                assert_eq!(
                    (bytes[5], station_number(bytes), &bytes[RUN]),
                    (expected as u8 % 4, expected % 4, &[0, 9][..]),
                    "its station and run"
                );
            }
            pool.free_all(&mut direction.burst);
        }
        assert_eq!(number(&[0; 60]), None);
        assert_eq!(number(&[]), None);
    }
}
