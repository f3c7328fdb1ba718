//! `bench generator`: how many frames a second the traffic generator can send and check on one core.
//!
//! Nothing is between: what one of its ports sends, another receives, or nobody does. The generator's own loops run, on a clock that
//! goes forward by one burst a turn, so that a burst is due at each port in every turn and none is ever late. What is counted is the time it
//! really takes.
//!
//! There are two loops: that of the chassis (`traffic_gen::engine`), which sends plans made for it, and that of `traffic-gen replay`
//! (`traffic_gen::replay`), which times each frame of a capture by itself and can change it on the way.

use std::cell::Cell;
use std::time::Duration;

use port::backend::memory::{Cable, pair};
use port::clock::TscClock;
use port::wrap::link::OVERHEAD_LEN;
use port::{Burst, Device, Hugepages, LinkState, Mempool, Nanos, PoolCache, Port, PortId, RxQueue, TxQueue};
use serde::Serialize;
use traffic_gen::engine::{Engine, RunResult};
use traffic_gen::measure::LoopbackBias;
use traffic_gen::plan::{Plan, PlannedFrame, PortPlan, Station, Target, udp_frame};
use traffic_gen::replay::Frame;
use traffic_gen::replay::run::{self, Setup, Time};
use traffic_gen::replay::schedule::{Bounds, Schedule};
use traffic_gen::replay::speed::Speed;
use traffic_gen::replay::unique::Unique;

use crate::callgrind;

/// Frames that are due in a turn.
const BURST: usize = 32;
/// Length of a turn on the generator's clock.
const TURN: Nanos = Nanos(1000);
/// Different frames sent in turn.
const FRAMES: usize = 1024;

/// What the generator does with each frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Case {
    /// Sends frames as they were captured, in a plan of the chassis' loop.
    Cached,
    /// Sends frames as they were captured, each at its own time: what `traffic-gen replay` does.
    Replayed,
    /// The same with other MAC and IP addresses in every loop and checksums to match: `--unique-mac --unique-ip`.
    Edited,
    /// Writes addresses, sequence number and time into each frame, receives it, checks everything and records its latency.
    Checked,
}

impl Case {
    /// The word for it on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Case::Cached => "cached",
            Case::Replayed => "replayed",
            Case::Edited => "edited",
            Case::Checked => "checked",
        }
    }
}

/// A figure.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Measured {
    /// What was done.
    pub case: Case,
    /// Bytes of a frame with FCS.
    pub size: usize,
    /// Median of the windows, TSC cycles for each frame.
    pub cycles_per_frame: f64,
    /// The best window.
    pub cycles_per_frame_min: f64,
    /// Frames a second in millions, by the median.
    pub mpps: f64,
    /// By callgrind, if it is there.
    pub instructions_per_frame: Option<f64>,
}

/// A port without a wire: takes everything, gives nothing.
struct Null;

impl RxQueue for Null {
    fn rx_burst(&mut self, _now: Nanos, _pool: &mut PoolCache, _burst: &mut Burst, _max: usize) -> usize {
        0
    }
}

impl TxQueue for Null {
    #[inline]
    fn tx_burst(&mut self, _now: Nanos, pool: &mut PoolCache, burst: &mut Burst) -> usize {
        let count = burst.len();
        pool.free_all(burst);
        count
    }
}

impl Device for Null {
    fn kind(&self) -> &'static str {
        "null"
    }
    fn describe(&self) -> String {
        "null: takes everything".to_owned()
    }
    fn link(&self) -> LinkState {
        LinkState::Up
    }
}

fn station(port: usize, n: usize) -> Station {
    Station { mac: [2, 0, 0, port as u8, (n >> 8) as u8, n as u8], ip: [198, 18 + port as u8, (n >> 8) as u8, n as u8] }
}

/// Bits a second at which a burst of frames of this size is due each turn.
fn rate_bps(size: usize) -> f64 {
    let wire_len = (size - 4) as u64 + OVERHEAD_LEN;
    (BURST as u64 * wire_len * 8_000_000_000 / TURN.0) as f64
}

/// A generator with nothing around it.
enum Rig {
    Chassis(Box<Engine>, Cell<u64>),
    Replay { mempool: Mempool, frames: Vec<Frame>, edited: bool, line_bps: u64 },
}

/// A clock that goes forward when the replay has nothing more to do.
struct Turns(Nanos);

impl Time for Turns {
    fn now(&self) -> Nanos {
        self.0
    }
    fn wait(&mut self, _until: Nanos) {
        self.0 = self.0 + TURN;
    }
    fn is_virtual(&self) -> bool {
        true
    }
}

impl Rig {
    fn new(case: Case, size: usize) -> std::io::Result<Rig> {
        let mempool = Mempool::new(8192, Hugepages::Auto)?;
        match case {
            Case::Cached | Case::Checked => Ok(Rig::chassis(&mempool, case, size)),
            Case::Replayed | Case::Edited => Ok(Rig::replay(mempool, case == Case::Edited, size)),
        }
    }

    fn chassis(mempool: &Mempool, case: Case, size: usize) -> Rig {
        let ports = match case {
            Case::Checked => {
                let (one, other, _) = pair(Cable { queues: 1, forth: 1024, back: 1024 });
                vec![one, other]
            }
            _ => vec![null()],
        };
        // The wire carries a burst a turn, and a little more, so that the receiving side is never behind.
        let (count, rate_bps) = (ports.len(), rate_bps(size));
        let plan = |from: usize| {
            let to = (from + 1) % count;
            let frame = |n| PlannedFrame {
                bytes: udp_frame(station(from, n), station(to, n), size - 4).into(),
                target: if case == Case::Cached { Target::Nobody } else { Target::Port(PortId(to as u8)) },
                stamped: case == Case::Checked,
            };
            PortPlan { frames: (0..FRAMES).map(frame).collect(), line_bps: (rate_bps * 1.5) as u64, rate_bps }
        };
        let plan = Plan { ports: (0..count).map(plan).collect() };
        let engine = Engine::new(ports, plan, mempool.cache_of(4096), 1, |_, _| 0, 1);
        Rig::Chassis(Box::new(engine), Cell::new(1_000_000))
    }

    fn replay(mempool: Mempool, edited: bool, size: usize) -> Rig {
        let frame = |n: usize| Frame {
            port: 0,
            time: 0,
            bytes: udp_frame(station(0, n), station(1, n), size - 4).into(),
            original_len: size as u32 - 4,
            number: n as u64 + 1,
            file: 0,
            interface: 0,
        };
        Rig::Replay { mempool, frames: (0..FRAMES).map(frame).collect(), edited, line_bps: rate_bps(size) as u64 }
    }

    /// Runs so many turns and returns the frames sent since the rig was made, or by these turns.
    #[inline(never)]
    fn generator_turns(&mut self, turns: u64) -> Result<u64, String> {
        match self {
            Rig::Chassis(engine, clock) => check(&engine.run(
                Nanos(turns * TURN.0),
                Nanos(u64::MAX / 4),
                || {
                    clock.set(clock.get() + TURN.0);
                    Nanos(clock.get())
                },
                |_| true,
            )),
            Rig::Replay { mempool, frames, edited, line_bps } => {
                let bounds = Bounds { loops: None, limit: Some(turns * BURST as u64), ..Bounds::default() };
                let schedule = Schedule::new(frames, &[*line_bps], Speed::Topspeed, &bounds).map_err(|error| error.to_string())?;
                let setup = Setup {
                    frames,
                    schedule,
                    ports: vec![("null".to_owned(), null(), *line_bps)],
                    learning: Vec::new(),
                    pool: mempool.cache_of(4096),
                    unique: Unique::new(frames, edited.then_some(1), *edited),
                    step: None,
                    listen: Nanos::ZERO,
                    matching: None,
                    stamped: false,
                };
                let replayed = run::run(setup, &mut Turns(Nanos(1)), &mut |_| true);
                let port = &replayed.ports[0];
                let all = port.sent == turns * BURST as u64 && port.failed() == 0;
                if all { Ok(port.sent) } else { Err(format!("the generator did not send all of its frames: {port:?}")) }
            }
        }
    }

    /// Does [`generator_turns`](Self::generator_turns) count from the beginning?
    fn adds_up(&self) -> bool {
        matches!(self, Rig::Chassis(..))
    }
}

fn null() -> Port {
    Port { rx: vec![Box::new(Null)], tx: vec![Box::new(Null)], device: Box::new(Null) }
}

fn check(result: &RunResult) -> Result<u64, String> {
    let sum = |value: fn(&traffic_gen::engine::PortResult) -> u64| result.ports.iter().map(value).sum::<u64>();
    let lost = sum(|port| port.expected) != sum(|port| port.received);
    let wrong = sum(|port| port.missed + port.not_taken + port.reordered + port.misdelivered + port.corrupted);
    if lost || wrong > 0 {
        Err(format!("the generator lost or missed frames on its own: {:?}", result.ports))
    } else {
        Ok(sum(|port| port.sent))
    }
}

/// Measures one case in windows for `duration`.
///
/// # Errors
/// If frames were lost on the way: then nothing was measured.
pub fn measure(case: Case, size: usize, duration: Duration) -> Result<Measured, String> {
    const WINDOW: u64 = 20_000;
    let clock = TscClock::new();
    let end = clock.now() + Nanos(duration.as_nanos() as u64);
    let mut rig = Rig::new(case, size).map_err(|error| error.to_string())?;
    rig.generator_turns(WINDOW)?;
    let mut windows = Vec::new();
    let mut before = 0;
    while clock.now() < end {
        let ticks = clock.ticks();
        let sent = rig.generator_turns(WINDOW)?;
        windows.push((clock.ticks() - ticks) as f64 / (sent - before).max(1) as f64);
        before = if rig.adds_up() { sent } else { 0 };
    }
    windows.sort_by(f64::total_cmp);
    let median = *windows.get(windows.len() / 2).ok_or("the time was too short to measure anything")?;
    Ok(Measured {
        case,
        size,
        cycles_per_frame: median,
        cycles_per_frame_min: windows[0],
        mpps: clock.ticks_per_second() / median / 1e6,
        instructions_per_frame: None,
    })
}

/// What callgrind watches: so many turns. Returns the frames sent.
///
/// # Errors
/// As [`measure`].
pub fn count_turns(case: Case, size: usize, turns: u64) -> Result<u64, String> {
    Rig::new(case, size).map_err(|error| error.to_string())?.generator_turns(turns)
}

/// Instructions for each frame; `None` if valgrind is not installed or fails.
pub fn instructions(case: Case, size: usize) -> Option<f64> {
    let args = ["generator-count", "--case", case.name(), "--size", &size.to_string(), "--turns", "20000"];
    callgrind::instructions_per_unit("generator_turns", &args.map(str::to_owned))
}

/// The generator's own part of every latency: as many ports as the chassis has (one more if they are odd), joined in pairs by cables, with
/// a tenth of the load. Their wires take no time, so that what is left is the loop.
///
/// # Errors
/// If there is no memory for the packet pool.
pub fn loopback_bias(lines: &[u64], clock: &TscClock) -> std::io::Result<Option<LoopbackBias>> {
    const BUFFERS: u32 = 2048;
    let mempool = Mempool::new(BUFFERS * lines.len() as u32, Hugepages::Auto)?;
    let (mut ports, mut plan) = (Vec::new(), Plan::default());
    for two in lines.chunks(2) {
        let (one, other, _) = pair(Cable { queues: 1, forth: 512, back: 512 });
        ports.extend([one, other]);
        for (index, line_bps) in [two[0], two[two.len() - 1]].into_iter().enumerate() {
            let (from, to) = (plan.ports.len() as u8, (plan.ports.len() + 1 - 2 * index) as u8);
            let frame = PlannedFrame {
                bytes: udp_frame(station(from.into(), 0), station(to.into(), 0), 60).into(),
                target: Target::Port(PortId(to)),
                stamped: true,
            };
            plan.ports.push(PortPlan { frames: vec![frame], line_bps: 1_000_000_000_000, rate_bps: line_bps as f64 / 10.0 });
        }
    }
    let mut engine = Engine::new(ports, plan, mempool.cache_of(mempool.buffers() as usize / 2), 1, |_, _| 0, 1);
    let result = engine.run(Nanos::from_millis(100), Nanos::from_secs(1), || clock.now(), |_| true);
    Ok(result.latency.first().and_then(LoopbackBias::of))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_measured_has_really_been_sent_and_checked() {
        for &case in clap::ValueEnum::value_variants() {
            let sent = count_turns(case, 64, 100).unwrap();
            let ports = if case == Case::Checked { 2 } else { 1 };
            assert!((100 * 31 * ports..=101 * 32 * ports).contains(&sent), "{case:?}: {sent}");
        }
    }

    #[test]
    fn frames_looped_back_say_what_the_generator_adds() {
        let bias = loopback_bias(&[10_000_000, 10_000_000, 100_000_000], &TscClock::new()).unwrap().unwrap();
        // A tenth of 14,880 and 148,809 frames a second for 0.1 s, two ports each; on a busy machine some are missed.
        assert!((1..=2 * (149 + 1489)).contains(&bias.frames), "{bias:?}");
        assert!(bias.min_ns <= bias.p50_ns && bias.p50_ns <= bias.max_ns, "{bias:?}");
    }
}
