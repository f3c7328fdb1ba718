//! A replay through a program on the virtual clock: what is sent is written down with its times, the program gets it, and what
//! came out of it arrives in a second replay of the same plan.
//!
//! The two replays are one run to whoever looks: on the virtual clock the plan does not depend on what arrives. So the loop that
//! sends and the one that matches are those of real ports. A frame is sent when its first bit leaves, and with the program when
//! its last bit has arrived; it is back when its last bit has.
//!
//! Limits: all that is sent and all that comes out is in memory at once.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use port::wrap::link::Wire;
use port::{Burst, Device, LinkState, Mempool, Nanos, PoolCache, Port, RxQueue, TxQueue};

use super::Frame;
use super::matching::Matching;
use super::run::{self, Setup, VirtualTime};
use super::schedule::{Bounds, Schedule};
use super::speed::Speed;
use super::summary::Replayed;
use super::unique::Unique;
use crate::testbed::process::ProcessTestbed;
use crate::trial::{TestPort, Testbed, TestbedError};

/// A frame at a port of the program: its last bit is there at `time`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passing {
    /// The port, from 0.
    pub port: usize,
    /// Since the start of the replay.
    pub time: Nanos,
    /// Without FCS.
    pub bytes: Box<[u8]>,
}

/// What has been sent so far, by all ports of [`recording`].
#[derive(Clone, Debug, Default)]
pub struct Recorded(Arc<Mutex<Vec<Passing>>>);

impl Recorded {
    /// All of it, in the order of time; equal times in that of sending.
    pub fn take(&self) -> Vec<Passing> {
        let mut sent = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        sent.sort_by_key(|frame| frame.time);
        sent
    }
}

/// Ports that write down what they are given, and give nothing.
pub fn recording(ports: &[TestPort]) -> (Vec<Port>, Recorded) {
    let recorded = Recorded::default();
    let port = |(index, port): (usize, &TestPort)| {
        let tx = Recorder { port: index, wire: Wire::new(port.line_bps), recorded: recorded.clone() };
        Port { rx: vec![Box::new(Player::default())], tx: vec![Box::new(tx)], device: Box::new(Ends) }
    };
    (ports.iter().enumerate().map(port).collect(), recorded)
}

/// Ports that take everything, and out of which these frames come at their times; and the last of these times.
pub fn playing(ports: usize, frames: Vec<Passing>) -> (Vec<Port>, Nanos) {
    let mut queues = vec![VecDeque::new(); ports];
    let mut last = Nanos::ZERO;
    for frame in frames {
        last = last.max(frame.time);
        queues[frame.port].push_back((frame.time, frame.bytes));
    }
    let port = |frames| Port { rx: vec![Box::new(Player { frames })], tx: vec![Box::new(Sink)], device: Box::new(Ends) };
    (queues.into_iter().map(port).collect(), last)
}

/// What is to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// The frames.
    pub frames: &'a [Frame],
    /// Rates of the program's ports.
    pub lines_bps: &'a [u64],
    /// How fast.
    pub speed: Speed,
    /// How much: it must have an end.
    pub bounds: &'a Bounds,
    /// What changes from loop to loop.
    pub unique: &'a Unique,
    /// How frames are known again.
    pub matching: Matching,
}

/// Replays through a program; `watch` as in [`run`](run::run).
///
/// # Errors
/// As [`pass`].
pub fn replay(
    program: &ProcessTestbed,
    plan: &Plan<'_>,
    mempool: &Mempool,
    watch: &mut dyn FnMut(run::Progress) -> bool,
) -> Result<Replayed, TestbedError> {
    let names = || program.ports().iter().map(|port| port.name.clone());
    let setup = |ports: Vec<Port>, limit: Option<u64>, listen| {
        let bounds = Bounds { limit: limit.or(plan.bounds.limit), ..*plan.bounds };
        // The same that was made of it before.
        let schedule =
            Schedule::new(plan.frames, plan.lines_bps, plan.speed, &bounds).map_err(|error| TestbedError::Setup(error.to_string()))?;
        Ok(Setup {
            frames: plan.frames,
            schedule,
            ports: names().zip(ports).zip(plan.lines_bps).map(|((name, port), line)| (name, port, *line)).collect(),
            learning: Vec::new(),
            pool: mempool.cache(),
            unique: plan.unique.clone(),
            step: None,
            listen,
            matching: None,
            stamped: plan.matching.stamped,
        })
    };
    let (ports, recorded) = recording(program.ports());
    let first = run::run(setup(ports, None, Nanos::ZERO)?, &mut VirtualTime::default(), watch);
    let sent = recorded.take();
    let (ports, last) = playing(program.ports().len(), pass(program, &sent)?);
    // If it was ended before its time, what was sent until then is all of the plan.
    let limit = first.interrupted.then_some(sent.len() as u64);
    if limit == Some(0) {
        return Ok(first);
    }
    let setup = Setup { matching: Some(plan.matching), ..setup(ports, limit, last)? };
    let second = run::run(setup, &mut VirtualTime::default(), &mut |_| true);
    Ok(Replayed { interrupted: first.interrupted, planned: first.planned, ..second })
}

/// Gives a program these frames, and takes what comes out.
///
/// # Errors
/// If it cannot be run, or fails, or writes what is no capture.
pub fn pass(program: &ProcessTestbed, frames: &[Passing]) -> Result<Vec<Passing>, TestbedError> {
    debug_assert!(frames.iter().all(|frame| frame.port < program.ports().len()));
    let mut out = Vec::new();
    program.pass(frames.iter().map(|frame| (frame.port, frame.time, &frame.bytes[..])), &mut |port, time, bytes| {
        out.push(Passing { port, time, bytes: bytes.into() });
    })?;
    Ok(out)
}

struct Recorder {
    port: usize,
    wire: Wire,
    recorded: Recorded,
}

impl TxQueue for Recorder {
    fn tx_burst(&mut self, now: Nanos, pool: &mut PoolCache, burst: &mut Burst) -> usize {
        let count = burst.len();
        let mut recorded = self.recorded.0.lock().unwrap_or_else(PoisonError::into_inner);
        for packet in burst.drain(..) {
            let mut bytes = Vec::with_capacity(packet.len());
            pool.copy_to(&packet, &mut bytes);
            pool.free(packet);
            let time = self.wire.send(now, bytes.len());
            recorded.push(Passing { port: self.port, time, bytes: bytes.into() });
        }
        count
    }
}

struct Sink;

impl TxQueue for Sink {
    fn tx_burst(&mut self, _now: Nanos, pool: &mut PoolCache, burst: &mut Burst) -> usize {
        let count = burst.len();
        pool.free_all(burst);
        count
    }
}

#[derive(Default)]
struct Player {
    frames: VecDeque<(Nanos, Box<[u8]>)>,
}

impl RxQueue for Player {
    fn rx_burst(&mut self, now: Nanos, pool: &mut PoolCache, burst: &mut Burst, max: usize) -> usize {
        let mut count = 0;
        while count < max && self.frames.front().is_some_and(|(time, _)| *time <= now) {
            // Without a buffer it waits, and so the loop comes again.
            let Some(packet) = self.frames.front().and_then(|(_, bytes)| pool.alloc_copy(bytes)) else { break };
            burst.push(packet);
            self.frames.pop_front();
            count += 1;
        }
        count
    }

    fn next_event(&self) -> Option<Nanos> {
        self.frames.front().map(|(time, _)| *time)
    }
}

struct Ends;

impl Device for Ends {
    fn kind(&self) -> &'static str {
        "program"
    }
    fn describe(&self) -> String {
        "a program that reads and writes captures".to_owned()
    }
    fn link(&self) -> LinkState {
        LinkState::Up
    }
}
