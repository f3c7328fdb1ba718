//! The model bridge: inputs, one server, a table, outputs.
//!
//! A frame that has arrived waits its turn at the server (if the device has a limit in frames a second), then in its input's queue until
//! it is ready, goes to the queues of its outputs, and from there onto the wires, which the model plays itself: that it can
//! send with gaps that are too short.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use port::wrap::link::{FCS_LEN, PREAMBLE_LEN};
use port::{Nanos, PortId};

use super::config::ModelConfig;
use crate::testbed::judge::{PAUSE_DESTINATION, pause_quanta};
use crate::testbed::virtual_time::VirtualDut;

const SHORTEST: usize = 60;
/// Without FCS, with one tag.
const LONGEST: usize = 1518;
/// A frame that is held back to be overtaken goes after this time, overtaken or not.
const HELD_MAX: Nanos = Nanos::from_millis(1);

#[derive(Debug)]
struct Waiting {
    ready: Nanos,
    bytes: Rc<[u8]>,
}

#[derive(Debug, Default)]
struct Input {
    waiting: VecDeque<Waiting>,
    /// The head cannot move until an output has room.
    blocked: bool,
    paused: bool,
}

#[derive(Debug)]
struct Output {
    /// Frames, and when they came.
    queue: VecDeque<(Rc<[u8]>, Nanos)>,
    line_bps: u64,
    /// When the line is free again, in 1/line_bps ns.
    free: u128,
    /// The frame on the line, and when its last bit has left.
    sending: Option<(Rc<[u8]>, Nanos)>,
}

/// A bridge with known limits.
#[derive(Debug)]
pub struct ModelBridge {
    config: ModelConfig,
    inputs: Vec<Input>,
    outputs: Vec<Output>,
    /// Port of each address, and when it last sent.
    table: HashMap<[u8; 6], (usize, Nanos)>,
    /// Ports of each group that somebody has joined.
    members: HashMap<[u8; 6], Vec<usize>>,
    learns_again: Nanos,
    /// When the server is free, in 1/pps ns.
    served: u128,
    stalled_until: Nanos,
    /// Overloaded, and until when; and when the last frame came.
    overloaded_until: Option<Nanos>,
    last_came: Nanos,
    down_until: Nanos,
    /// Frames so far, for "one in so many".
    count: u64,
    chance: u64,
    /// A frame held back to be overtaken, and until when at most.
    held: Option<(usize, Rc<[u8]>, Nanos)>,
    turn: usize,
}

impl ModelBridge {
    /// A bridge that knows no addresses yet.
    pub fn new(config: &ModelConfig) -> ModelBridge {
        let output = |line_bps| Output { queue: VecDeque::new(), line_bps, free: 0, sending: None };
        let lines = config.lines();
        ModelBridge {
            inputs: lines.iter().map(|_| Input::default()).collect(),
            outputs: lines.into_iter().map(output).collect(),
            table: HashMap::new(),
            members: HashMap::new(),
            learns_again: Nanos::ZERO,
            served: 0,
            stalled_until: Nanos::ZERO,
            overloaded_until: None,
            last_came: Nanos::ZERO,
            down_until: Nanos::ZERO,
            count: 0,
            chance: config.seed,
            held: None,
            turn: 0,
            config: config.clone(),
        }
    }

    /// Once in `every`, by chance (SplitMix64).
    fn by_chance(&mut self, every: u64) -> bool {
        if every == 0 {
            return false;
        }
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.chance;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)).is_multiple_of(every)
    }

    fn one_in(&self, every: u64) -> bool {
        every > 0 && self.count.is_multiple_of(every)
    }

    fn learn(&mut self, now: Nanos, source: [u8; 6], port: usize) {
        if source[0] & 1 == 1 {
            return;
        }
        if let Some(known) = self.table.get_mut(&source).filter(|(_, seen)| now.since(*seen).0 < self.config.ageing) {
            *known = (port, now);
            return;
        }
        self.table.remove(&source);
        if self.table.len() >= self.config.fdb {
            self.table.retain(|_, (_, seen)| now.since(*seen).0 < self.config.ageing);
        }
        if self.table.len() >= self.config.fdb || self.config.learn > 0 && now < self.learns_again {
            return;
        }
        if let Some(pause) = 1_000_000_000u64.checked_div(self.config.learn) {
            self.learns_again = now + Nanos(pause);
        }
        self.table.insert(source, (port, now));
    }

    /// A report of membership (IGMPv1 or 2) is taken, and not forwarded.
    fn snoop(&mut self, from: usize, frame: &[u8]) -> bool {
        let igmp = 14 + usize::from(frame.get(14).map_or(0, |first| first & 15)) * 4;
        let is_report =
            frame.get(12..14) == Some(&[0x08, 0x00]) && frame.get(23) == Some(&2) && matches!(frame.get(igmp), Some(0x12 | 0x16));
        if self.config.groups == 0 || !is_report {
            return false;
        }
        let group: [u8; 6] = std::array::from_fn(|n| frame[n]);
        if self.members.contains_key(&group) || self.members.len() < self.config.groups {
            let members = self.members.entry(group).or_default();
            if !members.contains(&from) {
                members.push(from);
            }
        }
        true
    }

    /// When the server has dealt with a frame that comes now; `None` if too many wait already.
    fn serve(&mut self, now: Nanos) -> Option<Nanos> {
        if self.config.pps == 0 {
            return Some(now);
        }
        let (pps, second) = (u128::from(self.config.pps), 1_000_000_000u128);
        if self.is_overloaded(now) {
            return None;
        }
        let now_scaled = u128::from(now.0.max(self.stalled_until.0)) * pps;
        let busy = self.served.max(now_scaled).saturating_sub(u128::from(now.0) * pps);
        // The one being served and those that wait.
        if busy > u128::from(self.config.buffer) * second {
            self.overloaded_until = (self.config.recovery > 0).then_some(now + Nanos(self.config.recovery));
            return None;
        }
        self.served = self.served.max(now_scaled) + second;
        Some(Nanos(self.served.div_ceil(pps) as u64))
    }

    /// Has an overload not been slept off? Frames that come too fast prolong it.
    fn is_overloaded(&mut self, now: Nanos) -> bool {
        let too_fast = now.since(self.last_came).0.saturating_mul(self.config.pps) < 1_000_000_000;
        self.last_came = now;
        if too_fast && self.overloaded_until.is_some() {
            self.overloaded_until = Some(now + Nanos(self.config.recovery));
        }
        self.overloaded_until = self.overloaded_until.filter(|&until| now < until);
        self.overloaded_until.is_some()
    }

    /// Where a frame goes: one output, or all others.
    fn destinations(&self, now: Nanos, from: usize, bytes: &[u8], flood: bool) -> Vec<usize> {
        let others = (0..self.outputs.len()).filter(|&to| to != from);
        if self.config.groups > 0 && bytes.starts_with(&[0x01, 0x00, 0x5e]) {
            let members = bytes.first_chunk::<6>().and_then(|group| self.members.get(group));
            return others.filter(|to| members.is_some_and(|members| members.contains(to))).collect();
        }
        let known = bytes.first_chunk::<6>().and_then(|destination| self.table.get(destination));
        match known.filter(|(_, seen)| now.since(*seen).0 < self.config.ageing) {
            Some(&(to, _)) if to == from => Vec::new(),
            Some(&(to, _)) if !flood => vec![to],
            _ => others.collect(),
        }
    }

    /// Moves ready frames from inputs to outputs.
    fn switch(&mut self, now: Nanos) {
        let count = self.inputs.len();
        loop {
            let mut first = None;
            for step in 0..count {
                // Inputs that block each other are served unfairly, as in switches that had this fault; else each is first in turn.
                let from = if self.config.hol { count - 1 - step } else { (self.turn + step) % count };
                if self.inputs[from].waiting.front().is_some_and(|head| head.ready <= now) && self.forward_head(now, from) {
                    first.get_or_insert(from);
                }
            }
            let Some(first) = first else { break };
            self.turn = (first + 1) % count;
        }
    }

    /// Forwards the head of an input; `false` if it is blocked.
    fn forward_head(&mut self, now: Nanos, from: usize) -> bool {
        let Some(head) = self.inputs[from].waiting.front() else { return false };
        let bytes = Rc::clone(&head.bytes);
        let flood = self.config.flood > 0 && (self.count + 1).is_multiple_of(self.config.flood);
        let to = self.destinations(now, from, &bytes, flood);
        let blocks = self.config.hol && to.iter().any(|&to| self.outputs[to].queue.len() >= self.config.queue);
        self.inputs[from].blocked = blocks;
        if blocks {
            return false;
        }
        self.inputs[from].waiting.pop_front();
        self.count += 1;
        if self.by_chance(self.config.lose) {
            return true;
        }
        let bytes = if self.one_in(self.config.corrupt) { flip(&bytes) } else { bytes };
        let copies = if self.one_in(self.config.duplicate) { 2 } else { 1 };
        let late = self.one_in(self.config.reorder);
        for to in to {
            for _ in 0..copies {
                if late && self.held.is_none() {
                    self.held = Some((to, Rc::clone(&bytes), now + HELD_MAX));
                    continue;
                }
                self.enqueue(now, to, Rc::clone(&bytes));
                self.release(now, |held| held.get(..12) == bytes.get(..12));
            }
        }
        true
    }

    /// The frame that was held back goes, if it is the right one.
    fn release(&mut self, now: Nanos, right: impl Fn(&[u8]) -> bool) {
        if self.held.as_ref().is_some_and(|(_, bytes, _)| right(bytes))
            && let Some((to, bytes, _)) = self.held.take()
        {
            self.enqueue(now, to, bytes);
        }
    }

    fn enqueue(&mut self, now: Nanos, to: usize, bytes: Rc<[u8]>) {
        let output = &mut self.outputs[to];
        if output.queue.len() < self.config.queue {
            output.queue.push_back((bytes, now));
        }
    }

    /// Puts the next frame of each output onto its line, and hands out those whose last bit has left.
    fn transmit(&mut self, now: Nanos, out: &mut dyn FnMut(PortId, &[u8])) -> bool {
        let mut freed = false;
        for (index, output) in self.outputs.iter_mut().enumerate() {
            loop {
                if let Some((bytes, end)) = &output.sending {
                    if *end > now {
                        break;
                    }
                    out(PortId(index as u8), bytes);
                    output.sending = None;
                }
                let Some((bytes, came)) = output.queue.pop_front() else { break };
                freed = true;
                let line = u128::from(output.line_bps);
                let bits = (PREAMBLE_LEN + bytes.len() as u64 + FCS_LEN) * 8;
                let end = output.free.max(u128::from(came.0) * line) + u128::from(bits) * 1_000_000_000;
                output.free = end + u128::from(self.config.gap) * 1_000_000_000;
                output.sending = Some((bytes, Nanos(end.div_ceil(line) as u64)));
            }
        }
        freed
    }

    /// Holds inputs back, or lets them go.
    fn back_pressure(&mut self, now: Nanos) {
        for (input, output) in self.inputs.iter_mut().zip(&mut self.outputs) {
            let full = input.waiting.len() * 2 >= self.config.input;
            let empty = input.waiting.len() * 8 <= self.config.input;
            let quanta = match input.paused {
                false if full => 0xffffu16,
                true if empty => 0,
                _ => continue,
            };
            input.paused = quanta > 0;
            let mut frame = vec![0u8; SHORTEST];
            frame[..6].copy_from_slice(&PAUSE_DESTINATION);
            frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 0xff]);
            frame[12..16].copy_from_slice(&[0x88, 0x08, 0x00, 0x01]);
            frame[16..18].copy_from_slice(&quanta.to_be_bytes());
            output.queue.push_front((frame.into(), now));
        }
    }
}

/// A bit of the source IP address changed.
fn flip(bytes: &[u8]) -> Rc<[u8]> {
    let mut bytes = bytes.to_vec();
    if let Some(last) = bytes.get_mut(26) {
        *last ^= 1;
    }
    bytes.into()
}

impl VirtualDut for ModelBridge {
    fn feed(&mut self, now: Nanos, port: PortId, frame: &[u8]) {
        let from = port.index();
        let whole = (SHORTEST..=LONGEST).contains(&frame.len()) || self.config.errors && frame.len() >= 14;
        if now < self.down_until || !whole || pause_quanta(frame).is_some() {
            return;
        }
        let mut source = [0; 6];
        source.copy_from_slice(&frame[6..12]);
        self.learn(now, source, from);
        if self.snoop(from, frame) {
            return;
        }
        if self.by_chance(self.config.stall_every) {
            self.stalled_until = now + Nanos(self.config.stall);
        }
        let room = !self.config.hol || self.inputs[from].waiting.len() < self.config.input;
        if let (true, Some(served)) = (room, self.serve(now)) {
            self.inputs[from].waiting.push_back(Waiting { ready: served + Nanos(self.config.delay), bytes: frame.into() });
        }
    }

    fn settle(&mut self, now: Nanos, out: &mut dyn FnMut(PortId, &[u8])) {
        if self.held.as_ref().is_some_and(|(_, _, until)| *until <= now) {
            self.release(now, |_| true);
        }
        loop {
            self.switch(now);
            if self.config.backpressure {
                self.back_pressure(now);
            }
            // An output that has taken a frame has room for one that was blocked.
            if !self.transmit(now, out) {
                break;
            }
        }
    }

    fn next_event(&self) -> Option<Nanos> {
        let ready = self.inputs.iter().filter(|input| !input.blocked).filter_map(|input| input.waiting.front()).map(|head| head.ready);
        let sent = self.outputs.iter().filter_map(|output| output.sending.as_ref()).map(|(_, end)| *end);
        ready.chain(sent).chain(self.held.as_ref().map(|(_, _, until)| *until)).min()
    }

    fn reset(&mut self, now: Nanos) -> bool {
        self.table.clear();
        self.members.clear();
        self.inputs.iter_mut().for_each(|input| *input = Input::default());
        for output in &mut self.outputs {
            output.queue.clear();
            output.sending = None;
        }
        self.held = None;
        self.down_until = now + Nanos(self.config.outage);
        true
    }

    fn can_reset(&self) -> bool {
        true
    }
}
