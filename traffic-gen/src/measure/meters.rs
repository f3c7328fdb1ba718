//! All streams at all ports: which meter a received frame belongs to.
//!
//! A stream is due at one port, or at several if it is flooded; at each of them it has a [`StreamMeter`] of its own, and belongs to a
//! direction whose latencies are counted together. What comes out of any other port is told to the stream as a copy elsewhere.
//!
//! The way of a frame is two indexed loads, the stream's comparison and bit, and three counts. Nothing allocates or hashes.
//!
//! Threads: one owner, the receiving loop.

use port::{Nanos, PortId};
use serde::Serialize;

use super::latency::{LatencyMeter, Variation};
use super::stream::{Order, StreamMeter, StreamResult};

/// A stream and where it should come out.
#[derive(Clone, Debug, Default)]
pub struct StreamSpec {
    /// The ports it is due at, each with the index of the direction that its latency belongs to.
    pub due: Vec<(PortId, usize)>,
    /// Number of its first frame.
    pub first_sequence: u32,
    /// When that is planned.
    pub start: Nanos,
}

/// A test frame that has come out of a port, as its stamp tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Index of its stream.
    pub stream: u16,
    /// Its number in the stream; wraps.
    pub sequence: u32,
    /// When it should have been sent.
    pub intended: Nanos,
    /// When it was sent.
    pub sent: Nanos,
    /// When it arrived.
    pub at: Nanos,
}

/// What came out of one port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PortCounts {
    /// Test frames whose stamp is whole.
    pub stamped: u64,
    /// Test frames with a stamp that is damaged.
    pub corrupted: u64,
    /// Frames without a stamp: the device's own, or those of others.
    pub foreign: u64,
    /// Stamped frames of no stream of this run: left over from an earlier one.
    pub unknown_stream: u64,
}

/// What became of a stream at one port where it was due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct FlowResult {
    /// Index of the stream.
    pub stream: u16,
    /// The port.
    pub port: PortId,
    /// Index of its direction.
    pub direction: usize,
    /// Loss, duplicates, order.
    pub frames: StreamResult,
    /// RFC 3550 jitter at the end.
    pub jitter: Nanos,
}

#[derive(Debug)]
struct Flow {
    meter: StreamMeter,
    variation: Variation,
    stream: u16,
    port: PortId,
    direction: usize,
}

/// The meters of a run.
#[derive(Debug)]
pub struct Meters {
    ports: usize,
    flows: Vec<Flow>,
    /// `routes[stream * ports + port]`: the flow, if the stream is due there.
    routes: Vec<Option<u16>>,
    /// The first flow of a stream, which is told of copies elsewhere.
    home: Vec<Option<u16>>,
    /// By direction.
    latency: Vec<LatencyMeter>,
    counts: Vec<PortCounts>,
}

impl Meters {
    /// Meters for these streams between so many ports; latency in so many directions. A port or direction that does not exist
    /// is passed over.
    ///
    /// # Panics
    /// With more than 65,535 pairs of a stream and a port.
    pub fn new(ports: usize, directions: usize, streams: &[StreamSpec]) -> Meters {
        let mut meters = Meters {
            ports,
            flows: Vec::new(),
            routes: vec![None; streams.len() * ports],
            home: vec![None; streams.len()],
            latency: (0..directions).map(|_| LatencyMeter::default()).collect(),
            counts: vec![PortCounts::default(); ports],
        };
        for (index, spec) in streams.iter().enumerate() {
            for &(port, direction) in spec.due.iter().filter(|&&(port, direction)| port.index() < ports && direction < directions) {
                let flow = u16::try_from(meters.flows.len()).expect("at most 65,535 flows");
                meters.home[index].get_or_insert(flow);
                meters.routes[index * ports + port.index()] = Some(flow);
                let meter = StreamMeter::new(spec.first_sequence, spec.start);
                meters.flows.push(Flow { meter, variation: Variation::default(), stream: index as u16, port, direction });
            }
        }
        meters
    }

    /// A test frame came out of `port`. `None` if its stream is not for that port.
    ///
    /// # Panics
    /// If there is no such port.
    #[inline]
    pub fn arrived(&mut self, port: PortId, frame: &Arrival) -> Option<Order> {
        self.counts[port.index()].stamped += 1;
        let route = usize::from(frame.stream) * self.ports + port.index();
        let Some(&Some(flow)) = self.routes.get(route) else {
            self.elsewhere(port, frame);
            return None;
        };
        let flow = &mut self.flows[usize::from(flow)];
        let order = flow.meter.arrived(frame.sequence, frame.intended, frame.at);
        if order.is_first_copy() {
            let latency = frame.at.since(frame.sent);
            let meter = &mut self.latency[flow.direction];
            meter.record(latency, frame.at.since(frame.intended));
            // RFC 5481: between neighbours in the order of sending that both arrived.
            if let (Some(change), Order::Next) = (flow.variation.step(latency), order) {
                meter.record_ipdv(change);
            }
        }
        Some(order)
    }

    #[cold]
    fn elsewhere(&mut self, port: PortId, frame: &Arrival) {
        match self.home.get(usize::from(frame.stream)) {
            Some(&Some(flow)) => self.flows[usize::from(flow)].meter.arrived_elsewhere(frame.sequence),
            _ => self.counts[port.index()].unknown_stream += 1,
        }
    }

    /// A frame without a stamp came out of `port`; `damaged` if it seems to have had one.
    pub fn unstamped(&mut self, port: PortId, damaged: bool) {
        let counts = &mut self.counts[port.index()];
        if damaged {
            counts.corrupted += 1;
        } else {
            counts.foreign += 1;
        }
    }

    /// Test frames received so far at the ports they were for, second copies not counted.
    pub fn received(&self) -> u64 {
        self.flows.iter().map(|flow| flow.meter.received()).sum()
    }

    /// Test frames known to be missing so far.
    pub fn missing(&self) -> u64 {
        self.flows.iter().map(|flow| flow.meter.missing()).sum()
    }

    /// The latencies of each direction so far. An interval is taken out with [`LatencyMeter::take`].
    pub fn latency_mut(&mut self) -> &mut [LatencyMeter] {
        &mut self.latency
    }

    /// The account: by flow, the latency meters by direction, and the counts by port.
    ///
    /// `sent` says for each stream how many of its frames were sent and for when the last one was planned.
    pub fn finish(self, sent: impl Fn(u16) -> (u64, Nanos)) -> (Vec<FlowResult>, Vec<LatencyMeter>, Vec<PortCounts>) {
        let flows = self.flows.into_iter().map(|flow| {
            let (frames, last) = sent(flow.stream);
            FlowResult {
                stream: flow.stream,
                port: flow.port,
                direction: flow.direction,
                frames: flow.meter.finish(frames, last),
                jitter: flow.variation.jitter(),
            }
        });
        (flows.collect(), self.latency, self.counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sent every 1,000 ns, on time.
    fn frame(stream: u16, sequence: u32, latency: u64) -> Arrival {
        let sent = Nanos(u64::from(sequence) * 1_000);
        Arrival { stream, sequence, intended: sent, sent, at: sent + Nanos(latency) }
    }

    #[test]
    fn each_frame_finds_its_meter() {
        let streams = [
            StreamSpec { due: vec![(PortId(1), 0)], ..StreamSpec::default() },
            StreamSpec { due: vec![(PortId(0), 1), (PortId(2), 1)], ..StreamSpec::default() },
            StreamSpec { due: vec![(PortId(9), 0)], ..StreamSpec::default() },
        ];
        let mut meters = Meters::new(3, 2, &streams);
        // Stream 0 is for port 1: frame 0 arrives, 1 is flooded, 2 goes to port 2 only, 3 comes twice.
        meters.arrived(PortId(1), &frame(0, 0, 100));
        meters.arrived(PortId(1), &frame(0, 1, 130));
        meters.arrived(PortId(2), &frame(0, 1, 150));
        meters.arrived(PortId(0), &frame(0, 1, 150));
        meters.arrived(PortId(2), &frame(0, 2, 150));
        assert_eq!(meters.arrived(PortId(1), &frame(0, 3, 110)), Some(Order::Ahead));
        assert_eq!(meters.arrived(PortId(1), &frame(0, 3, 900)), Some(Order::Duplicate));
        // Stream 1 is flooded to ports 0 and 2.
        meters.arrived(PortId(0), &frame(1, 0, 200));
        meters.arrived(PortId(2), &frame(1, 0, 220));
        // Stream 2 has no port here, and 77 is none at all.
        meters.arrived(PortId(0), &frame(2, 0, 1));
        meters.arrived(PortId(0), &frame(77, 0, 1));
        meters.unstamped(PortId(0), true);
        meters.unstamped(PortId(0), false);
        assert_eq!((meters.received(), meters.missing()), (5, 1));

        let (flows, latency, counts) = meters.finish(|stream| if stream == 0 { (4, Nanos(3_000)) } else { (1, Nanos(0)) });
        assert_eq!(flows.iter().map(|flow| (flow.stream, flow.port.0)).collect::<Vec<_>>(), [(0, 1), (1, 0), (1, 2)]);
        let first = flows[0].frames;
        assert_eq!((first.received, first.lost, first.duplicates, first.elsewhere, first.misdelivered), (3, 1, 1, 3, 1));
        assert_eq!(first.flooded(), 2);
        assert_eq!(first.lost_first, Some(Nanos(2_000)));
        assert_eq!((flows[1].frames.received, flows[2].frames.received), (1, 1));
        let latencies: Vec<_> = latency.iter().map(|meter| meter.finish()).collect();
        assert_eq!((latencies[0].sent.len(), latencies[0].sent.max(), latencies[0].ipdv.len()), (3, 130, 1));
        assert_eq!((latencies[1].sent.min(), latencies[1].sent.max()), (200, 220));
        assert_eq!(counts[0], PortCounts { stamped: 4, corrupted: 1, foreign: 1, unknown_stream: 2 });
    }
}
