//! What comes out of a replay, in the order of time, as a capture: the bare frames, or with notes on each.
//!
//! An annotated capture has, beside each frame that came out, the one it came from, with the same packet id; the verdict on
//! that one as option and in words; and an interface of its own, [`DROPS`], with everything that was dropped and why. Together they
//! are the ledger, frame by frame. At the end stands for each interface what it has counted.
//!
//! Frames that leave are known before they have left (their last bit is in the future), so they wait here until nothing earlier can
//! come any more: as many as the links' queues hold.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::io::{self, Write};

use control::Control;
use control::config::Config;
use control::show::meaning;
use dataplane::pipeline::Notes;
use dataplane::{DropReason, Observer, Phase, PortCounters, Verdict};
use port::capture::{CaptureWriter, Direction, FrameNotes};
use port::mempool::FRAME_MAX;
use port::{Nanos, PortId};
use wire::{MacAddr, Vid};

use super::stage::{Departure, Stage};

/// Name of the interface of dropped frames in an annotated capture.
pub const DROPS: &str = "drops";

/// Addresses whose last port is remembered, to say where one has moved from.
const STATIONS_MAX: usize = 1 << 20;

/// The shortest frame a card sends, without FCS: shorter ones are shown as they went in, padded.
const FRAME_LEN_MIN: usize = 60;

/// Writes a capture in the order of time.
pub(super) struct Output<W: Write> {
    writer: CaptureWriter<W>,
    ports: u32,
    waiting: BinaryHeap<Reverse<Waiting>>,
    sequence: u64,
    /// Added to times of the switch's clock, which begins at 0.
    pub first_ns: u64,
}

/// A frame that is not written yet; ordered by when it happened.
struct Waiting {
    time: Nanos,
    kind: Kind,
    interface: u32,
    sequence: u64,
    bytes: Vec<u8>,
    notes: FrameNotes<'static>,
}

/// What happens first of what happens at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Received,
    Dropped,
    Sent,
}

impl Waiting {
    fn key(&self) -> (Nanos, Kind, u32, u64) {
        // Frames come in in the order they are fed in, which numbers them; those that leave have an order for each port.
        let interface = if self.kind == Kind::Sent { self.interface } else { 0 };
        (self.time, self.kind, interface, self.sequence)
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

impl<W: Write> Output<W> {
    /// A capture with an interface for each port, and one for drops if it is to be annotated.
    pub fn new(config: &Config, annotated: bool, out: W) -> io::Result<Output<W>> {
        let mut writer = CaptureWriter::new(out)?;
        for port in &config.ports {
            writer.add_interface(&port.name, Some(port.speed.bits_per_second()))?;
        }
        if annotated {
            writer.add_interface(DROPS, None)?;
        }
        Ok(Output { writer, ports: config.ports.len() as u32, waiting: BinaryHeap::new(), sequence: 0, first_ns: 0 })
    }

    fn add(&mut self, time: Nanos, kind: Kind, interface: u32, bytes: Vec<u8>, notes: FrameNotes<'static>) {
        self.sequence += 1;
        self.waiting.push(Reverse(Waiting { time, kind, interface, sequence: self.sequence, bytes, notes }));
    }

    /// A frame that has come out or will.
    pub fn sent(&mut self, departure: Departure, notes: FrameNotes<'static>) {
        let Departure { time, port, bytes, .. } = departure;
        self.add(time, Kind::Sent, u32::from(port.0), bytes, notes);
    }

    /// Writes what happened before `now`: nothing earlier comes any more. Each frame that came out is shown to `each` first, with its
    /// port, its time in nanoseconds since 1970 and its bytes.
    pub fn write_before(&mut self, now: Nanos, each: &mut impl FnMut(PortId, u64, &[u8])) -> io::Result<()> {
        while self.waiting.peek().is_some_and(|Reverse(next)| next.time < now) {
            let Some(Reverse(Waiting { time, kind, interface, bytes, notes, .. })) = self.waiting.pop() else { break };
            let time_ns = self.first_ns.saturating_add(time.0);
            if kind == Kind::Sent {
                each(PortId(interface as u8), time_ns, &bytes);
            }
            self.writer.write_frame(interface, time_ns, &bytes, bytes.len() as u32, &notes)?;
        }
        Ok(())
    }

    /// Passes on what has been written.
    pub fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }

    /// Writes what each port has counted until `now`, and ends the capture.
    pub fn finish(mut self, now: Nanos, counters: Option<&Control>) -> io::Result<W> {
        if let Some(control) = counters {
            let time_ns = self.first_ns.saturating_add(now.0);
            let mut dropped = 0;
            for interface in 0..self.ports {
                let counters = control.port_counters(PortId(interface as u8));
                dropped += counters.dropped_total();
                self.writer.write_statistics(interface, time_ns, Some(counters.rx), Some(counters.dropped_total()))?;
            }
            self.writer.write_statistics(self.ports, time_ns, Some(dropped), None)?;
        }
        self.writer.finish()
    }
}

/// Puts into words what becomes of each frame.
pub(super) struct Annotator {
    counters: Vec<PortCounters>,
    learned: u64,
    moved: u64,
    /// Where each address was seen last.
    stations: HashMap<(Vid, MacAddr), PortId>,
    /// When each frame that may still be on its way came in, and by which port; the first of them has number `first_known`.
    on_their_way: VecDeque<(Nanos, PortId)>,
    first_known: u64,
    /// The longest time a frame waits in a queue.
    wait_max: Nanos,
}

/// What the pipeline found out about the one frame that went in.
#[derive(Default)]
pub(super) struct Found {
    verdict: Option<Verdict>,
    /// Source, destination and index of the VLAN, if it was admitted.
    admitted: Option<(MacAddr, MacAddr, u16)>,
}

impl Observer for Found {
    fn end(&mut self, phase: Phase, packets: usize, notes: &Notes) {
        if packets == 0 {
            return;
        }
        if phase == Phase::Admit && notes.admitted_mask & 1 != 0 {
            let headers = &notes.packets[0].headers;
            self.admitted = Some((MacAddr::from_raw(headers.src), MacAddr::from_raw(headers.dst), notes.packets[0].admitted.vlan));
        }
        if phase == Phase::Transmit {
            self.verdict = notes.packets[0].verdict;
        }
    }
}

impl Annotator {
    pub fn new(stage: &mut Stage) -> Annotator {
        stage.keep_refused();
        let ports = &stage.switch.control.config().ports;
        // Preamble, FCS and gap included, and rounded up: it only bounds how much is remembered.
        let wait = |port: &control::config::PortConfig| {
            let bits = (port.queue as u128 + 2) * (FRAME_MAX as u128 + 24) * 8;
            u64::try_from(bits * 1_000_000_000 / u128::from(port.speed.bits_per_second())).unwrap_or(u64::MAX)
        };
        Annotator {
            counters: vec![PortCounters::default(); ports.len()],
            learned: 0,
            moved: 0,
            stations: HashMap::new(),
            on_their_way: VecDeque::new(),
            first_known: 1,
            wait_max: Nanos(ports.iter().map(wait).max().unwrap_or_default()),
        }
    }

    /// Says of the frame that has just gone in, and of what was dropped since, what became of it.
    pub fn received<W: Write>(&mut self, stage: &mut Stage, frame: (u64, PortId, Vec<u8>), found: &Found, output: &mut Output<W>) {
        let (number, port, mut bytes) = frame;
        bytes.resize(bytes.len().max(FRAME_LEN_MIN), 0);
        stage.publish();
        let now = stage.now();
        let drops = self.new_drops(&stage.switch.control);
        let (verdict, words) = self.verdict(&stage.switch.control, port, found, &drops);
        self.on_their_way.push_back((now, port));
        for (at, reason, count) in drops.into_iter().filter(|(_, reason, _)| *reason != DropReason::TxFull) {
            let notes = self.drop_notes(&stage.switch.control, number, port, at, reason);
            for _ in 0..count {
                output.add(now, Kind::Dropped, output.ports, bytes.clone(), notes.clone());
            }
        }
        self.refused(stage, output);
        let name = &stage.switch.control.config().ports[port.index()].name;
        let comment = format!("packet {number} into {name}: {words}");
        let notes = FrameNotes {
            direction: Some(Direction::Inbound),
            comment: Some(comment.into()),
            packet_id: Some(number),
            verdict: Some(verdict.into()),
        };
        output.add(now, Kind::Received, u32::from(port.0), bytes, notes);
    }

    /// What queues have refused: these frames are known as they would have left.
    pub fn refused<W: Write>(&mut self, stage: &mut Stage, output: &mut Output<W>) {
        for Departure { time, port, bytes, cause } in stage.take_refused() {
            let from = self.known(cause.frame).map_or(port, |(_, from)| from);
            let notes = self.drop_notes(&stage.switch.control, cause.frame, from, port, DropReason::TxFull);
            output.add(time, Kind::Dropped, output.ports, bytes, notes);
        }
    }

    /// Notes on a frame that left.
    pub fn sent(&mut self, control: &Control, departure: &Departure) -> FrameNotes<'static> {
        let cause = departure.cause;
        let came = self.known(cause.frame);
        let comment = match (came, cause.by_control) {
            (Some((time, port)), false) => {
                let name = &control.config().ports[port.index()].name;
                format!("packet {} from {name}, {} ns after it came in", cause.frame, departure.time.since(time).0)
            }
            (Some(_), true) => format!("sent by the switch because of packet {}", cause.frame),
            (None, _) => "sent by the switch of its own accord".to_owned(),
        };
        FrameNotes {
            direction: Some(Direction::Outbound),
            comment: Some(comment.into()),
            // What control sends because of a packet is no copy of it.
            packet_id: Some(cause.frame).filter(|&number| number > 0 && !cause.by_control),
            verdict: None,
        }
    }

    /// When frame `number` came in and by which port; `None` of 0 and of those that must have left long ago.
    fn known(&self, number: u64) -> Option<(Nanos, PortId)> {
        let index = number.checked_sub(self.first_known)?;
        self.on_their_way.get(usize::try_from(index).ok()?).copied()
    }

    /// Forgets frames that must have left by now.
    pub fn forget(&mut self, now: Nanos) {
        while self.on_their_way.front().is_some_and(|(came, _)| came.0.saturating_add(self.wait_max.0) < now.0) {
            self.on_their_way.pop_front();
            self.first_known += 1;
        }
    }

    fn new_drops(&mut self, control: &Control) -> Vec<(PortId, DropReason, u64)> {
        let mut drops = Vec::new();
        for (index, before) in self.counters.iter_mut().enumerate() {
            let port = PortId(index as u8);
            let after = control.port_counters(port);
            let news = DropReason::ALL.iter().map(|&reason| (port, reason, after.dropped(reason) - before.dropped(reason)));
            drops.extend(news.filter(|(_, _, count)| *count > 0));
            *before = after;
        }
        drops
    }

    fn drop_notes(&self, control: &Control, number: u64, from: PortId, at: PortId, reason: DropReason) -> FrameNotes<'static> {
        let name = |port: PortId| &control.config().ports[port.index()].name;
        let comment = match number {
            0 => format!("drop: {reason} at {}: {}", name(at), meaning(reason)),
            _ => format!("drop: {reason} at {}: {} (packet {number} from {})", name(at), meaning(reason), name(from)),
        };
        FrameNotes {
            direction: None,
            comment: Some(comment.into()),
            packet_id: Some(number).filter(|&number| number > 0),
            verdict: Some(format!("drop:{reason}").into()),
        }
    }

    /// The verdict as a word, and in words with what the switch learned.
    fn verdict(&mut self, control: &Control, port: PortId, found: &Found, drops: &[(PortId, DropReason, u64)]) -> (String, String) {
        let name = |port: PortId| control.config().ports[port.index()].name.as_str();
        let vid = found.admitted.and_then(|(_, _, vlan)| control.config().vlans.get(usize::from(vlan))).map(|vlan| vlan.vid);
        let in_vlan = vid.map_or(String::new(), |vid| format!(" in VLAN {vid}"));
        let (word, mut words) = match found.verdict {
            Some(Verdict::Forward(to)) => ("forward".to_owned(), format!("forward: out of {}{in_vlan}", name(to))),
            Some(Verdict::Flood) => {
                let why = match found.admitted {
                    Some((_, dst, _)) if dst.is_broadcast() => "broadcast".to_owned(),
                    Some((_, dst, _)) if dst.is_group() => "a group address".to_owned(),
                    Some((_, dst, _)) => format!("the FDB does not know {dst}{in_vlan}"),
                    None => String::new(),
                };
                ("flood".to_owned(), format!("flood{in_vlan}: {why}"))
            }
            Some(Verdict::Punt(reason)) => (format!("punt:{reason}"), format!("punt to control: {reason}")),
            Some(Verdict::Drop(reason)) => (format!("drop:{reason}"), format!("drop: {reason}: {}", meaning(reason))),
            None => match drops.first() {
                Some((_, reason, _)) => (format!("drop:{reason}"), format!("drop: {reason}: {}", meaning(*reason))),
                None => ("none".to_owned(), "no verdict".to_owned()),
            },
        };
        let totals = control.worker_counters();
        let learned: u64 = totals.iter().map(|worker| worker.fdb_learned).sum();
        let moved: u64 = totals.iter().map(|worker| worker.fdb_moved).sum();
        if let (Some((src, ..)), Some(vid)) = (found.admitted, vid) {
            let before = self.stations.get(&(vid, src)).copied().filter(|&before| before != port);
            match before {
                Some(before) if moved > self.moved => {
                    words += &format!("; {src} moved in VLAN {vid} from {} to {}", name(before), name(port));
                }
                _ if learned > self.learned || moved > self.moved => {
                    words += &format!("; learned {src} in VLAN {vid} behind {}", name(port))
                }
                _ => {}
            }
            if learned > self.learned || moved > self.moved {
                if self.stations.len() >= STATIONS_MAX {
                    self.stations.clear();
                }
                self.stations.insert((vid, src), port);
            }
        }
        (self.learned, self.moved) = (learned, moved);
        (word, words)
    }
}
