//! The vocabulary of a trial: what is sent into which port and when, and what came of it.
//!
//! A method (RFC 2544, RFC 2889, RFC 9971) makes [`Trial`]s, a [`Testbed`] runs them against a device under test and answers with
//! [`TrialResult`]s. Neither knows more of the other than this page: each method thus works on real ports in real time and on
//! a virtual clock, and what it finds is checked against model devices whose limits are known.
//!
//! The words are those of RFC 1242, RFC 2285, RFC 2544 and RFC 2889. Rates are bits a second **on the wire**: preamble, frame,
//! FCS and a gap of 96 bit times for each frame, so that the line rate is 100 % whatever the size of the frames.
//! Times count from the start of the trial.
//!
//! No threads: a trial is a value.

use std::fmt;
use std::sync::Arc;

use hdrhistogram::Histogram;
use port::{Nanos, PortId};
use serde::Serialize;
use thiserror::Error;

use crate::measure::{LatencyMeter, LoopbackBias};

/// Bit times between frames that Ethernet asks for at least (IEEE 802.3 §4.4.2).
pub const GAP_BITS: u32 = 96;
/// The gap that RFC 2889 §5.6.3 sends with to provoke forward pressure.
pub const SHORT_GAP_BITS: u32 = 88;

/// A port of the tester, joined to a port of the device under test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TestPort {
    /// As the device calls it.
    pub name: String,
    /// Rate of its line, bits a second, the same in both directions.
    pub line_bps: u64,
}

/// Test frames that are counted together: from one port, due at the same ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// The port they are sent into.
    pub from: PortId,
    /// The ports each of them should come out of, once; none if no port should forward them.
    pub due: Vec<PortId>,
    /// Index of the latency histogram they are counted in.
    pub group: usize,
    /// Each port that is due has a histogram of its own: that of the first is `group`, and those of the others follow.
    pub by_port: bool,
}

/// A frame to be sent.
#[derive(Clone, Debug)]
pub struct TestFrame {
    /// Its bytes without FCS. Equal ones share them.
    pub bytes: Arc<[u8]>,
    /// Index of its stream, whose stamp it then carries; `None`: it is sent as it is and not followed (learning frames, frames with
    /// errors).
    pub stream: Option<u16>,
}

/// How much a phase sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// So many frames.
    Frames(u64),
    /// What begins within this span.
    Span(Nanos),
}

/// Frames that a port sends in turn, over and over, at one rate.
#[derive(Clone, Debug)]
pub struct Phase {
    /// When its first frame begins.
    pub start: Nanos,
    /// The frames. None: nothing is sent.
    pub frames: Vec<TestFrame>,
    /// Intended load (RFC 2285 §3.5.1) in bits a second on the wire, each frame with its gap of `gap_bits`; 1 to the line's rate.
    pub rate_bps: u64,
    /// So many frames follow one another at the smallest gap (RFC 2285 §3.4.2, burst size); the pause between bursts makes up the
    /// intended load. At least 1: evenly.
    pub burst: u32,
    /// Smallest gap between frames in bit times: [`GAP_BITS`], or less to see whether the device passes it on.
    pub gap_bits: u32,
    /// How much.
    pub amount: Amount,
}

/// What one port does in a trial.
#[derive(Clone, Debug, Default)]
pub struct PortTrial {
    /// Frames that teach the device where stations are. Sent before the trial, one port after the other and slowly: see
    /// [`Trial::learning_gap`].
    pub learning: Vec<Arc<[u8]>>,
    /// Frames of the trial itself. Phases of a port must not overlap.
    pub phases: Vec<Phase>,
}

/// One trial (RFC 1242 calls the whole a test; RFC 9971 §4.4 a trial).
#[derive(Clone, Debug)]
pub struct Trial {
    /// By port of the testbed.
    pub ports: Vec<PortTrial>,
    /// The streams that frames name.
    pub streams: Vec<Stream>,
    /// Names of the latency groups that streams name.
    pub groups: Vec<String>,
    /// Time from one learning frame to the next.
    pub learning_gap: Nanos,
    /// Quiet time between the last learning frame and the start.
    pub learning_settle: Nanos,
    /// Time to wait for frames after the last one was sent: 2 s in RFC 2544 §23.
    pub wait: Nanos,
    /// Time for the device to settle after that, before another trial: at least 5 s in RFC 2544 §23.
    pub rest: Nanos,
    /// When to reset the device (RFC 6201), if at all.
    pub reset_at: Option<Nanos>,
}

impl Trial {
    /// A trial of nothing on so many ports, with the waiting times of RFC 2544 §23.
    pub fn new(ports: usize) -> Trial {
        Trial {
            ports: vec![PortTrial::default(); ports],
            streams: Vec::new(),
            groups: vec!["all".to_owned()],
            learning_gap: Nanos(20_000),
            learning_settle: Nanos::from_millis(100),
            wait: Nanos::from_secs(2),
            rest: Nanos::from_secs(5),
            reset_at: None,
        }
    }

    /// Adds a stream; its index for [`TestFrame::stream`].
    ///
    /// # Panics
    /// Above 65,535 streams: a stamp counts them in 16 bits.
    pub fn add_stream(&mut self, stream: Stream) -> u16 {
        let index = u16::try_from(self.streams.len()).ok().filter(|&index| index < u16::MAX).expect("at most 65,535 streams");
        self.streams.push(stream);
        index
    }

    /// When the last phase that has an end in time ends, and `wait` and `rest` after it: for progress and estimates. Phases that
    /// count frames are worked out at their rate.
    pub fn length(&self) -> Nanos {
        let end = self.ports.iter().flat_map(|port| &port.phases).map(Phase::end).max().unwrap_or_default();
        let learning: usize = self.ports.iter().map(|port| port.learning.len()).sum();
        let learning = Nanos(self.learning_gap.0.saturating_mul(learning as u64)) + self.learning_settle;
        end + self.wait + self.rest + learning
    }
}

impl Phase {
    /// Frames at one rate, evenly, at the gap Ethernet asks for.
    pub fn even(frames: Vec<TestFrame>, rate_bps: u64, amount: Amount) -> Phase {
        Phase { start: Nanos::ZERO, frames, rate_bps, burst: 1, gap_bits: GAP_BITS, amount }
    }

    /// When the last frame has been sent, as planned.
    pub fn end(&self) -> Nanos {
        match self.amount {
            Amount::Span(span) => self.start + span,
            Amount::Frames(count) => {
                let bits: u128 = self.frames.iter().map(|frame| wire_bits(frame.bytes.len()) as u128).sum();
                let per_frame = bits * 1_000_000_000 / (self.frames.len().max(1) as u128);
                let span = per_frame * u128::from(count) / u128::from(self.rate_bps.max(1));
                self.start + Nanos(u64::try_from(span).unwrap_or(u64::MAX / 4))
            }
        }
    }
}

/// Bit times that a frame of `len` bytes without FCS takes of the wire, gap included.
pub fn wire_bits(len: usize) -> u64 {
    (len as u64 + port::wrap::link::OVERHEAD_LEN) * 8
}

/// Frames a second that a line of `line_bps` carries at most, frames of `size` bytes with FCS (RFC 2544 appendix B).
pub fn frames_per_second(line_bps: u64, size: usize) -> f64 {
    line_bps as f64 / wire_bits(size.saturating_sub(4)) as f64
}

/// What happened on one port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct PortResult {
    /// Test frames that the intended load comes to.
    pub intended: u64,
    /// Test frames that were sent: the offered load.
    pub sent: u64,
    /// Bit times of the wire these took, gaps of 96 bit times included.
    pub sent_bits: u64,
    /// Frames without stamp that were sent in the trial.
    pub sent_unmarked: u64,
    /// Test frames that should have come out here.
    pub expected: u64,
    /// Test frames that came out here, second copies and those of other ports included.
    pub received: u64,
    /// Bit times of the wire that all frames that came out here took, gaps of 96 bit times included.
    pub received_bits: u64,
    /// Of these, the most that lay between two arrivals, and the time between them: for rates. Bit times.
    pub span_bits: u64,
    /// Time from the first to the last arrival.
    pub span: Nanos,
    /// Test frames that came out here and were for other ports only: the flood count (RFC 2285 §3.8.3) and misdelivery.
    pub stray: u64,
    /// Test frames that came out changed.
    pub corrupted: u64,
    /// Frames without stamp that came out here.
    pub unmarked: u64,
    /// Of these, frames that the trial sent with an error.
    pub errored: u64,
    /// The shortest gap in front of a frame, in ns; negative if frames overlap. Known to 1 ns.
    pub gap_min_ns: Option<i64>,
    /// PAUSE frames (IEEE 802.3 annex 31B) that came out here, and were obeyed.
    pub pauses: u64,
}

/// What became of a stream, at all ports where it was due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StreamResult {
    /// Frames sent.
    pub sent: u64,
    /// Copies that should have come out: frames sent times ports they are due at.
    pub expected: u64,
    /// Of these, those that came, second copies not counted.
    pub received: u64,
    /// Of these, those that did not come.
    pub lost: u64,
    /// Second and further copies.
    pub duplicated: u64,
    /// Frames that others had overtaken (RFC 4737 §3.3).
    pub reordered: u64,
    /// Frames that came out of a wrong port and not of the right one.
    pub misdelivered: u64,
    /// Copies that came out of wrong ports besides.
    pub flooded: u64,
    /// When the first lost frame was to be sent.
    pub first_lost: Option<Nanos>,
    /// When the last lost frame was to be sent.
    pub last_lost: Option<Nanos>,
    /// The longest time without an arrival during which frames were lost: last arrival before, first arrival after it.
    pub outage: Option<(Nanos, Nanos)>,
}

impl StreamResult {
    /// Adds another stream: counts are summed, extremes kept.
    pub fn merge(&mut self, other: &StreamResult) {
        self.sent += other.sent;
        self.expected += other.expected;
        self.received += other.received;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.misdelivered += other.misdelivered;
        self.flooded += other.flooded;
        self.first_lost = self.first_lost.into_iter().chain(other.first_lost).min();
        self.last_lost = self.last_lost.max(other.last_lost);
        let length = |outage: &(Nanos, Nanos)| outage.1.since(outage.0);
        self.outage = self.outage.into_iter().chain(other.outage).max_by_key(length);
    }

    /// Lost share of the copies that were due, 0 to 1; 0 if none was.
    pub fn loss_ratio(&self) -> f64 {
        if self.expected == 0 { 0.0 } else { self.lost as f64 / self.expected as f64 }
    }
}

/// Why a trial says less than was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Invalid {
    /// The tester did not send what the intended load comes to.
    NotOffered {
        /// The port.
        port: String,
        /// Frames intended.
        intended: u64,
        /// Frames sent.
        sent: u64,
    },
    /// The tester's own port lost frames before the device could have them.
    NotTaken {
        /// The port.
        port: String,
        /// Frames.
        frames: u64,
    },
    /// Departures were later than a trial may bear.
    Late {
        /// The latest, in ns.
        worst_ns: u64,
    },
    /// The device under test ended or broke the rules of the connection.
    Device {
        /// What it did.
        what: String,
    },
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Invalid::NotOffered { port, intended, sent } => {
                write!(f, "port {port} sent {sent} of {intended} frames: the tester did not keep up; offer less")
            }
            Invalid::NotTaken { port, frames } => {
                write!(f, "port {port}: {frames} frames were lost on the tester's side of the port; offer less or lengthen its queue")
            }
            Invalid::Late { worst_ns } => write!(f, "frames left up to {worst_ns} ns late: use an idle, isolated core"),
            Invalid::Device { what } => write!(f, "the device under test {what}"),
        }
    }
}

/// What a trial measured.
#[derive(Clone, Debug, Default)]
pub struct TrialResult {
    /// By port.
    pub ports: Vec<PortResult>,
    /// By stream.
    pub streams: Vec<StreamResult>,
    /// Latency in ns by group, from the last bit into the device to the last bit out of it, first copies only.
    pub latency: Vec<Histogram<u64>>,
    /// What those were taken from, and what they leave out: latency since the planned time, and variation. By group.
    pub meters: Vec<LatencyMeter>,
    /// Interarrival jitter at the end (RFC 3550), of the stream in which it was largest; `None`: no stream was due anywhere.
    pub jitter: Option<Nanos>,
    /// Latency of the frame that was marked: of each stream the first one sent at or after half the trial (RFC 2544 §26.2 "after 60
    /// seconds"), if it came. By stream.
    pub marked_latency: Vec<Option<Nanos>>,
    /// Length of the sending part.
    pub duration: Nanos,
    /// Why it does not count; empty if it does.
    pub invalid: Vec<Invalid>,
}

impl TrialResult {
    /// All streams together.
    pub fn total(&self) -> StreamResult {
        let mut total = StreamResult::default();
        self.streams.iter().for_each(|stream| total.merge(stream));
        total
    }

    /// Test frames intended, sent and received, all ports.
    pub fn counts(&self) -> (u64, u64, u64) {
        self.ports
            .iter()
            .fold((0, 0, 0), |(intended, sent, received), port| (intended + port.intended, sent + port.sent, received + port.received))
    }

    /// Does it count?
    pub fn is_valid(&self) -> bool {
        self.invalid.is_empty()
    }

    /// Rightly delivered copies a second: the forwarding rate (RFC 2285 §3.6.1), of all ports together.
    pub fn forwarding_rate_fps(&self) -> f64 {
        rate(self.total().received, self.duration)
    }

    /// Offered load (RFC 2285 §3.5.2) in frames a second, of all ports together.
    pub fn offered_fps(&self) -> f64 {
        rate(self.counts().1, self.duration)
    }
}

/// Events a second.
pub fn rate(count: u64, span: Nanos) -> f64 {
    if span == Nanos::ZERO { 0.0 } else { count as f64 * 1e9 / span.0 as f64 }
}

/// How far a trial is.
#[derive(Clone, Copy, Debug, Default)]
pub struct TrialProgress {
    /// Time of the trial that has passed.
    pub elapsed: Nanos,
    /// Of so much, learning and waiting included.
    pub length: Nanos,
}

/// Why no trial could be run.
#[derive(Debug, Error)]
pub enum TestbedError {
    /// The testbed's description cannot be used.
    #[error("{0}")]
    Setup(String),
    /// The trial asks for what this testbed cannot do.
    #[error("this testbed cannot do that: {0}")]
    Unsupported(String),
    /// Files, memory, processes.
    #[error("{what}: {source}")]
    System {
        /// What was being done.
        what: String,
        /// What went wrong.
        source: std::io::Error,
    },
    /// Whoever watches has ended it.
    #[error("interrupted")]
    Interrupted,
}

/// Ports joined to a device under test, and a clock.
pub trait Testbed {
    /// The ports, in the order in which trials name them.
    fn ports(&self) -> &[TestPort];

    /// The device and the clock, for reports: one line.
    fn describe(&self) -> String;

    /// Does time pass only as fast as it can be computed?
    fn is_virtual(&self) -> bool;

    /// Can it reset the device in the midst of a trial?
    fn can_reset(&self) -> bool {
        false
    }

    /// Does the way to the device lengthen short frames to 60 bytes, as a card does? Then it cannot be tested with them.
    fn pads(&self) -> bool {
        false
    }

    /// The tester's own part of every latency, measured by looping frames back past the device. `None`: there is none to measure, as on the
    /// virtual clock.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    fn loopback_bias(&mut self) -> Result<Option<LoopbackBias>, TestbedError> {
        Ok(None)
    }

    /// Runs a trial. `watch` is told now and then how far it is, and ends it by returning `false`.
    ///
    /// # Errors
    /// If it could not be run. What the device does wrong is a result.
    fn run(&mut self, trial: &Trial, watch: &mut dyn FnMut(TrialProgress) -> bool) -> Result<TrialResult, TestbedError>;
}

/// A kind of device under test that `--dut KIND:REST` names. A program that embeds the tester adds its own.
pub trait DutFactory: Sync {
    /// The part before the colon.
    fn kind(&self) -> &'static str;

    /// What may follow it, for help texts: one line.
    fn usage(&self) -> &'static str;

    /// Makes the testbed of `--dut KIND:rest`.
    ///
    /// # Errors
    /// If the description is wrong: what was expected and what to do.
    fn open(&self, rest: &str) -> Result<Box<dyn Testbed>, TestbedError>;
}
