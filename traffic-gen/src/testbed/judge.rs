//! What became of every frame of a trial.
//!
//! The counting of streams is that of [`measure`](crate::measure); here is what a trial needs beside it: which frame it is and
//! whether its bytes are those that were sent, gaps on the wire, rates, and the verdict whether the trial counts.
//!
//! A test frame may come out with a VLAN tag more or less, and padded: that is the device's business. Any other difference
//! is corruption.

use std::collections::HashMap;

use port::wrap::link::{FCS_LEN, PREAMBLE_LEN};
use port::{Nanos, PortId};

use super::schedule::Sender;
use crate::measure::{Arrival, Meters, StreamSpec};
use crate::stamp::Stamp;
use crate::trial::{Invalid, PortResult, StreamResult, TestPort, Trial, TrialResult, wire_bits};

/// Destination of MAC control frames (IEEE 802.3 annex 31B).
pub const PAUSE_DESTINATION: [u8; 6] = [0x01, 0x80, 0xc2, 0x00, 0x00, 0x01];
/// EtherType and opcode of a PAUSE frame.
const PAUSE_TYPE: [u8; 4] = [0x88, 0x08, 0x00, 0x01];

/// The pause time a frame asks for in units of 512 bit times, if it is a PAUSE frame.
pub fn pause_quanta(frame: &[u8]) -> Option<u16> {
    let asks = frame.len() >= 18 && frame[..6] == PAUSE_DESTINATION && frame[12..16] == PAUSE_TYPE;
    asks.then(|| u16::from_be_bytes([frame[16], frame[17]]))
}

/// What frames with these addresses are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Marked,
    Unmarked,
}

/// Follows one trial.
#[derive(Debug)]
pub struct Judge {
    /// Start of the trial on the testbed's clock.
    start: Nanos,
    meters: Meters,
    ports: Vec<PortResult>,
    line_bps: Vec<u64>,
    /// Last arrival at each port.
    last: Vec<Option<Nanos>>,
    first: Vec<Nanos>,
    /// By destination and source.
    addresses: HashMap<[u8; 12], Kind>,
    due: Vec<Vec<PortId>>,
    from: Vec<usize>,
    /// Half of the sending time, and what was noted then.
    marked_from: Nanos,
    marked: Vec<Option<(u32, Option<Nanos>)>>,
    scratch: Vec<u8>,
}

impl Judge {
    /// A trial between `ports` that begins at `start` of the testbed's clock.
    pub fn new(trial: &Trial, ports: &[TestPort], start: Nanos) -> Judge {
        let specs: Vec<StreamSpec> = trial
            .streams
            .iter()
            .map(|stream| StreamSpec {
                due: stream.due.iter().enumerate().map(|(n, &port)| (port, stream.group + n * usize::from(stream.by_port))).collect(),
                first_sequence: 0,
                start,
            })
            .collect();
        let mut addresses = HashMap::new();
        for frame in trial.ports.iter().flat_map(|port| &port.phases).flat_map(|phase| &phase.frames) {
            if let Some(&pair) = frame.bytes.first_chunk::<12>() {
                let kind = if frame.stream.is_some() { Kind::Marked } else { Kind::Unmarked };
                addresses.entry(pair).or_insert(kind);
            }
        }
        let end = trial.ports.iter().flat_map(|port| &port.phases).map(|phase| phase.end()).max().unwrap_or_default();
        Judge {
            start,
            meters: Meters::new(ports.len(), trial.groups.len().max(1), &specs),
            ports: vec![PortResult::default(); ports.len()],
            line_bps: ports.iter().map(|port| port.line_bps).collect(),
            last: vec![None; ports.len()],
            first: vec![Nanos::ZERO; ports.len()],
            addresses,
            due: trial.streams.iter().map(|stream| stream.due.clone()).collect(),
            from: trial.streams.iter().map(|stream| stream.from.index()).collect(),
            marked_from: start + Nanos(end.0 / 2),
            marked: vec![None; trial.streams.len()],
            scratch: Vec::new(),
        }
    }

    /// A test frame goes: from the middle of the trial on, the first one of each stream is marked.
    #[inline]
    pub fn sent(&mut self, stream: u16, sequence: u32, sent: Nanos) {
        if sent >= self.marked_from
            && let Some(marked @ None) = self.marked.get_mut(usize::from(stream))
        {
            *marked = Some((sequence, None));
        }
    }

    /// A frame's last bit came out of `port` at `at`. `senders` are those of all ports. The pause it asks for, if it does.
    pub fn received(&mut self, port: PortId, at: Nanos, frame: &[u8], senders: &[Sender]) -> Option<u16> {
        let index = port.index();
        self.note_gap(index, at, frame.len());
        let Some(stamp) = Stamp::read(frame, at) else {
            return self.unmarked(index, frame);
        };
        let result = &mut self.ports[index];
        result.received += 1;
        let Some(due) = self.due.get(usize::from(stamp.stream)) else {
            result.stray += 1;
            return None;
        };
        result.stray += u64::from(!due.contains(&port));
        let sender = self.from.get(usize::from(stamp.stream)).and_then(|&from| senders.get(from));
        let original = sender.and_then(|sender| sender.frame_of(stamp.stream, stamp.sequence));
        let same = original.is_some_and(|original| {
            self.scratch.clear();
            self.scratch.extend_from_slice(original);
            stamp.write(&mut self.scratch) && is_same(&self.scratch, frame)
        });
        if !same {
            self.ports[index].corrupted += 1;
        }
        let arrival = Arrival { stream: stamp.stream, sequence: stamp.sequence, intended: stamp.intended, sent: stamp.sent, at };
        let order = self.meters.arrived(port, &arrival);
        if order.is_some_and(|order| order.is_first_copy())
            && let Some(Some((sequence, latency @ None))) = self.marked.get_mut(usize::from(stamp.stream))
            && *sequence == stamp.sequence
        {
            *latency = Some(at.since(stamp.sent));
        }
        None
    }

    fn unmarked(&mut self, index: usize, frame: &[u8]) -> Option<u16> {
        let result = &mut self.ports[index];
        if let Some(quanta) = pause_quanta(frame) {
            result.pauses += 1;
            return Some(quanta);
        }
        match frame.first_chunk::<12>().and_then(|pair| self.addresses.get(pair)) {
            Some(Kind::Marked) => result.corrupted += 1,
            Some(Kind::Unmarked) => {
                result.unmarked += 1;
                result.errored += 1;
            }
            None => result.unmarked += 1,
        }
        None
    }

    fn note_gap(&mut self, index: usize, at: Nanos, len: usize) {
        let result = &mut self.ports[index];
        let bits = wire_bits(len);
        result.received_bits += bits;
        match self.last[index] {
            None => self.first[index] = at,
            Some(last) => {
                let length_ps = (PREAMBLE_LEN + len as u64 + FCS_LEN) as i64 * 8_000_000_000_000 / self.line_bps[index] as i64;
                let gap = (at.0 as i64 - last.0 as i64) - (length_ps + 500) / 1000;
                result.gap_min_ns = Some(result.gap_min_ns.map_or(gap, |least| least.min(gap)));
                result.span_bits += bits;
                result.span = at.since(self.first[index]);
            }
        }
        self.last[index] = Some(at);
    }

    /// The account of the trial.
    pub fn finish(mut self, trial: &Trial, ports: &[TestPort], senders: &[Sender]) -> TrialResult {
        let from = |stream: u16| trial.streams.get(usize::from(stream)).map_or(0, |stream| stream.from.index());
        let sent = |stream: u16| senders.get(from(stream)).map(|sender| sender.stream(stream)).unwrap_or_default();
        let mut invalid = Vec::new();
        for (index, sender) in senders.iter().enumerate() {
            let result = &mut self.ports[index];
            (result.intended, result.sent) = sender.intended_and_sent();
            (result.sent_bits, result.sent_unmarked) = sender.bits_and_unmarked();
            // What a device's flow control held back is its answer, not the tester's fault.
            if result.sent < result.intended && result.pauses == 0 {
                let port = ports[index].name.clone();
                invalid.push(Invalid::NotOffered { port, intended: result.intended, sent: result.sent });
            }
        }
        let mut streams = vec![StreamResult::default(); trial.streams.len()];
        for (stream, (result, spec)) in streams.iter_mut().zip(&trial.streams).enumerate() {
            result.sent = sent(stream as u16).frames;
            for port in &spec.due {
                self.ports[port.index()].expected += result.sent;
            }
        }
        let start = self.start;
        let (flows, meters, _) = self.meters.finish(|stream| {
            let sent = sent(stream);
            (sent.frames, start + sent.last_intended)
        });
        let jitter = flows.iter().map(|flow| flow.jitter).max();
        for flow in flows {
            let (stream, frames) = (&mut streams[usize::from(flow.stream)], flow.frames);
            stream.expected += frames.sent;
            stream.received += frames.received;
            stream.lost += frames.lost;
            stream.duplicated += frames.duplicates;
            stream.reordered += frames.reordered;
            stream.misdelivered += frames.misdelivered;
            stream.flooded += frames.flooded();
            let more = StreamResult {
                first_lost: frames.lost_first.map(|at| at.since(start)),
                last_lost: frames.lost_last.map(|at| at.since(start)),
                outage: frames.largest_gap.map(|gap| (gap.arrived_before.since(start), gap.arrived_after.since(start))),
                ..StreamResult::default()
            };
            stream.merge(&more);
        }
        let end = trial.ports.iter().flat_map(|port| &port.phases).filter(|phase| !phase.frames.is_empty()).map(|phase| phase.end()).max();
        let begin =
            trial.ports.iter().flat_map(|port| &port.phases).filter(|phase| !phase.frames.is_empty()).map(|phase| phase.start).min();
        TrialResult {
            ports: self.ports,
            streams,
            latency: meters.iter().map(|meter| meter.since_sent()).collect(),
            meters,
            jitter,
            marked_latency: self.marked.iter().map(|marked| marked.and_then(|(_, latency)| latency)).collect(),
            duration: end.unwrap_or_default().since(begin.unwrap_or_default()),
            invalid,
        }
    }
}

/// Are these the same but for a VLAN tag and padding?
fn is_same(sent: &[u8], received: &[u8]) -> bool {
    if sent == received {
        return true;
    }
    let untagged = |frame: &[u8]| -> Option<(Vec<u8>, bool)> {
        let tagged = matches!(frame.get(12..14)?, [0x81, 0x00] | [0x88, 0xa8]);
        let rest = if tagged { frame.get(16..)? } else { frame.get(12..)? };
        Some((rest.to_vec(), tagged))
    };
    let (Some(one), Some(other)) = (untagged(sent), untagged(received)) else { return false };
    let (one, other) = (one.0, other.0);
    sent[..12] == received[..12] && other.starts_with(&one) && other[one.len()..].iter().all(|&byte| byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_and_padding_may_differ_and_nothing_else() {
        let mut frame = vec![7u8; 60];
        frame[12..14].copy_from_slice(&[0x08, 0x00]);
        let mut tagged = frame.clone();
        tagged.splice(12..12, [0x81, 0x00, 0x00, 0x05]);
        assert!(is_same(&frame, &frame) && is_same(&frame, &tagged) && is_same(&tagged, &frame));
        let mut padded = frame.clone();
        padded.push(0);
        assert!(is_same(&frame, &padded));
        assert!(!is_same(&padded, &frame[..50]));
        for place in [0, 13, 59] {
            let mut wrong = frame.clone();
            wrong[place] ^= 1;
            assert!(!is_same(&frame, &wrong), "{place}");
        }
        assert!(!is_same(&frame, &[]) && !is_same(&[], &frame));
    }

    #[test]
    fn a_pause_frame_says_for_how_long() {
        let mut frame = vec![0u8; 60];
        frame[..6].copy_from_slice(&PAUSE_DESTINATION);
        frame[12..18].copy_from_slice(&[0x88, 0x08, 0x00, 0x01, 0x12, 0x34]);
        assert_eq!(pause_quanta(&frame), Some(0x1234));
        assert_eq!(pause_quanta(&frame[..17]), None);
        frame[15] = 2;
        assert_eq!(pause_quanta(&frame), None);
    }
}
