//! When each frame of a port goes.
//!
//! Every frame has a planned time that follows from its number alone: the bits of all frames before it, divided by the rate, in whole
//! picoseconds rounded up. Nothing is accumulated, so nothing drifts; two roundings never meet, so the time a frame has arrived
//! (in ns, rounded up) is that of exact arithmetic, as in `port::wrap::link`.
//!
//! A frame begins when it is planned to, or when the wire is free again after a pause the device asked for (IEEE 802.3 annex 31B).
//! It is then late; the plan does not move. Frames that have not begun when their phase ends are not sent: the offered load
//! falls short of the intended load, which is what back pressure does.
//!
//! Times handed out are those of the last bit: a store-and-forward device has a frame then.

use port::Nanos;
use port::wrap::link::{FCS_LEN, GAP_LEN, PREAMBLE_LEN};

use crate::trial::{Amount, Phase, PortTrial, TestFrame};

const PS_PER_SECOND: u128 = 1_000_000_000_000;

/// Picoseconds from the start of the trial: 213 days fit.
type Picos = u64;

fn nanos(ps: Picos) -> Nanos {
    Nanos(ps.div_ceil(1000))
}

/// One phase, worked out.
#[derive(Debug)]
struct Timeline {
    start_ps: Picos,
    frames: Vec<TestFrame>,
    /// Bits before each frame of the list, and all of them at the end; gaps included.
    before: Vec<u64>,
    rate_bps: u64,
    burst: u64,
    gap_bits: u64,
    /// Frames to send.
    count: u64,
    /// Where each stream's frames are in the list: `(stream, places)`, sorted by stream.
    places: Vec<(u16, Vec<u32>)>,
    /// Sequence number of each of these streams when the phase began, in the same order.
    first: Vec<u32>,
}

/// Bits from the first of the preamble to the last of the FCS.
fn frame_bits(len: usize) -> u64 {
    (PREAMBLE_LEN + len as u64 + FCS_LEN) * 8
}

impl Timeline {
    fn new(phase: &Phase) -> Timeline {
        let gap_bits = u64::from(phase.gap_bits);
        let mut before = vec![0];
        let mut places: Vec<(u16, Vec<u32>)> = Vec::new();
        for (place, frame) in phase.frames.iter().enumerate() {
            before.push(before[place] + frame_bits(frame.bytes.len()) + gap_bits);
            if let Some(stream) = frame.stream {
                match places.binary_search_by_key(&stream, |entry| entry.0) {
                    Ok(at) => places[at].1.push(place as u32),
                    Err(at) => places.insert(at, (stream, vec![place as u32])),
                }
            }
        }
        let mut timeline = Timeline {
            start_ps: phase.start.0 * 1000,
            frames: phase.frames.clone(),
            before,
            rate_bps: phase.rate_bps.max(1),
            burst: u64::from(phase.burst.max(1)),
            gap_bits,
            count: 0,
            first: vec![0; places.len()],
            places,
        };
        timeline.count = match phase.amount {
            _ if timeline.frames.is_empty() => 0,
            Amount::Frames(count) => count,
            Amount::Span(span) => timeline.complete_within(span),
        };
        timeline
    }

    /// Frames whose share of the rate, gap included, is over within `span`: RFC 2544 appendix B counts line rates so.
    fn complete_within(&self, span: Nanos) -> u64 {
        let bits = u128::from(span.0) * u128::from(self.rate_bps) / 1_000_000_000;
        let cycle = u128::from(self.before[self.frames.len()]);
        let (cycles, rest) = (bits / cycle, (bits % cycle) as u64);
        let more = self.before[1..].partition_point(|&bits| bits <= rest) as u64;
        cycles as u64 * self.frames.len() as u64 + more
    }

    /// Bits of all frames before number `index`.
    fn bits_before(&self, index: u64) -> u128 {
        let len = self.frames.len() as u64;
        u128::from(index / len) * u128::from(self.before[self.frames.len()]) + u128::from(self.before[(index % len) as usize])
    }

    /// When frame `index` has been planned to have gone by `bits_more` bits of the line, exactly, rounded up.
    fn planned_ps(&self, index: u64, bits_more: u64, line_bps: u64) -> Picos {
        // The frame that begins the burst follows the rate; those behind it the line.
        let head = index - index % self.burst;
        let at_rate = self.bits_before(head);
        let at_line = self.bits_before(index) - at_rate + u128::from(bits_more);
        let ps = if self.rate_bps == line_bps {
            ((at_rate + at_line) * PS_PER_SECOND).div_ceil(u128::from(line_bps))
        } else {
            let (rate, line) = (u128::from(self.rate_bps), u128::from(line_bps));
            // Whole seconds first, so that the products fit into 128 bits.
            let seconds = at_rate / rate + at_line / line;
            let rest = at_rate % rate * line + at_line % line * rate;
            seconds * PS_PER_SECOND + (rest * PS_PER_SECOND).div_ceil(rate * line)
        };
        self.start_ps + ps as u64
    }

    /// The frame with this sequence number of a stream, and its number in the phase.
    fn find(&self, stream: u16, sequence: u32) -> Option<u64> {
        let entry = self.places.binary_search_by_key(&stream, |entry| entry.0).ok()?;
        let places = &self.places[entry].1;
        let nth = u64::from(sequence.wrapping_sub(self.first[entry]));
        let len = places.len() as u64;
        let index = nth / len * self.frames.len() as u64 + u64::from(places[(nth % len) as usize]);
        (index < self.count).then_some(index)
    }
}

/// Where port `index` comes among those whose frames arrive in the same ns: drawn anew for each instant, and the same in each run. In a fixed
/// order the last ones would always find a full queue, whatever the device does; real wires are never in step for long.
pub fn turn(at: Nanos, index: usize) -> u64 {
    // SplitMix64.
    let mut z = (at.0 ^ (index as u64) << 48).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A frame on its way into the device.
#[derive(Debug)]
pub struct Departure<'a> {
    /// Its bytes.
    pub frame: &'a TestFrame,
    /// Its number in its stream; 0 without one.
    pub sequence: u32,
    /// When its last bit was to have gone.
    pub intended: Nanos,
    /// When its last bit has gone.
    pub sent: Nanos,
}

/// What a port has sent of one stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SentStream {
    /// Frames.
    pub frames: u64,
    /// When the last bit of the last one was to have gone.
    pub last_intended: Nanos,
}

/// The next frame.
#[derive(Clone, Copy, Debug)]
struct Next {
    /// When its last bit is planned to have gone.
    planned: Picos,
    /// When it will have.
    end: Picos,
    /// It is late, and will not be sent if its phase is over before it has gone: then.
    over: Option<Picos>,
}

/// Sends the phases of one port.
#[derive(Debug)]
pub struct Sender {
    timelines: Vec<Timeline>,
    line_bps: u64,
    /// The phase under way and the next frame of it.
    phase: usize,
    index: u64,
    next: Option<Next>,
    /// After a pause: when the line is free.
    free_ps: Picos,
    behind: bool,
    paused_until: Picos,
    streams: Vec<SentStream>,
    sent_bits: u64,
    sent_unmarked: u64,
}

impl Sender {
    /// A port's part of a trial with so many streams, on a line of `line_bps`.
    pub fn new(port: &PortTrial, streams: usize, line_bps: u64) -> Sender {
        let timelines = port.phases.iter().map(Timeline::new).collect();
        let mut sender = Sender {
            timelines,
            line_bps,
            phase: 0,
            index: 0,
            next: None,
            free_ps: 0,
            behind: false,
            paused_until: 0,
            streams: vec![SentStream::default(); streams],
            sent_bits: 0,
            sent_unmarked: 0,
        };
        sender.plan_next();
        sender
    }

    /// When [`depart`](Self::depart) is due: the last bit of the next frame has gone. `None` when all have.
    #[inline]
    pub fn next_departure(&self) -> Option<Nanos> {
        self.next.map(|next| nanos(next.over.unwrap_or(next.end)))
    }

    /// The next frame goes; `None` if it came too late for its phase.
    pub fn depart(&mut self) -> Option<Departure<'_>> {
        let Next { planned, end, over } = self.next?;
        if over.is_some() {
            self.next_phase();
            self.plan_next();
            return None;
        }
        let timeline = &self.timelines[self.phase];
        let place = (self.index % timeline.frames.len() as u64) as usize;
        let len = timeline.frames[place].bytes.len();
        self.free_ps = end + self.line_ps(timeline.gap_bits);
        self.sent_bits += frame_bits(len) + GAP_LEN * 8;
        let phase = self.phase;
        self.index += 1;
        self.plan_next();
        let frame = &self.timelines[phase].frames[place];
        let mut sequence = 0;
        match frame.stream.and_then(|stream| self.streams.get_mut(usize::from(stream))) {
            Some(sent) => {
                sequence = sent.frames as u32;
                sent.frames += 1;
                sent.last_intended = nanos(planned);
            }
            None => self.sent_unmarked += 1,
        }
        Some(Departure { frame, sequence, intended: nanos(planned), sent: nanos(end) })
    }

    /// The device asks for silence of `quanta` times 512 bit times from `now` on (0: for none any more). What is on the wire goes out.
    pub fn pause(&mut self, now: Nanos, quanta: u16) {
        let now_ps = now.0 * 1000;
        self.paused_until = now_ps + self.line_ps(u64::from(quanta) * 512);
        self.behind = true;
        if let Some(Next { planned, end, .. }) = self.next {
            let length = self.line_ps(frame_bits(self.len_of_next()));
            // A frame that has begun is finished.
            if end.saturating_sub(length) >= now_ps {
                let begin = planned.saturating_sub(length).max(self.free_ps).max(self.paused_until).max(now_ps);
                self.set_next(planned, begin + length);
            }
        }
    }

    /// Frames the plan comes to, those without a stream not counted, and those with one that were sent.
    pub fn intended_and_sent(&self) -> (u64, u64) {
        let marked = |timeline: &Timeline| -> u64 {
            let len = timeline.frames.len() as u64;
            let places = || timeline.places.iter().flat_map(|(_, places)| places);
            let rest = if len == 0 { 0 } else { timeline.count % len };
            timeline.count.checked_div(len).unwrap_or(0) * places().count() as u64
                + places().filter(|&&place| u64::from(place) < rest).count() as u64
        };
        (self.timelines.iter().map(marked).sum(), self.streams.iter().map(|stream| stream.frames).sum())
    }

    /// What was sent of a stream.
    pub fn stream(&self, stream: u16) -> SentStream {
        self.streams.get(usize::from(stream)).copied().unwrap_or_default()
    }

    /// Bit times of the wire that was sent, and frames without a stream.
    pub fn bits_and_unmarked(&self) -> (u64, u64) {
        (self.sent_bits, self.sent_unmarked)
    }

    /// The bytes of a frame that was sent, before its stamp was written.
    pub fn frame_of(&self, stream: u16, sequence: u32) -> Option<&[u8]> {
        let sent = self.timelines[..self.timelines.len().min(self.phase + 1)].iter().rev();
        sent.filter_map(|timeline| {
            let index = timeline.find(stream, sequence)?;
            Some(&*timeline.frames[(index % timeline.frames.len() as u64) as usize].bytes)
        })
        .next()
    }

    fn line_ps(&self, bits: u64) -> Picos {
        (u128::from(bits) * PS_PER_SECOND).div_ceil(u128::from(self.line_bps)) as u64
    }

    fn len_of_next(&self) -> usize {
        let timeline = &self.timelines[self.phase];
        timeline.frames[(self.index % timeline.frames.len() as u64) as usize].bytes.len()
    }

    fn plan_next(&mut self) {
        self.next = None;
        while let Some(timeline) = self.timelines.get(self.phase) {
            if self.index < timeline.count {
                let bits = frame_bits(self.len_of_next());
                let planned = timeline.planned_ps(self.index, bits, self.line_bps);
                let mut end = planned;
                if self.behind {
                    let free = self.free_ps.max(self.paused_until);
                    end = planned.max(free + self.line_ps(bits));
                    self.behind = end > planned || self.paused_until > planned;
                }
                self.set_next(planned, end);
                return;
            }
            self.next_phase();
        }
    }

    fn next_phase(&mut self) {
        self.phase += 1;
        self.index = 0;
        if let Some(timeline) = self.timelines.get_mut(self.phase) {
            for ((stream, _), first) in timeline.places.iter().zip(&mut timeline.first) {
                *first = self.streams.get(usize::from(*stream)).map_or(0, |sent| sent.frames as u32);
            }
        }
    }

    fn set_next(&mut self, planned: Picos, end: Picos) {
        let mut over = None;
        if end > planned {
            let timeline = &self.timelines[self.phase];
            let last = timeline.planned_ps(timeline.count, 0, self.line_bps);
            over = (end > last).then_some(last);
        }
        self.next = Some(Next { planned, end, over });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::GAP_BITS;
    use port::wrap::link::Wire;

    fn frames(lens: &[usize]) -> Vec<TestFrame> {
        lens.iter().map(|&len| TestFrame { bytes: vec![0; len].into(), stream: Some(0) }).collect()
    }

    fn sender(phases: Vec<Phase>, line_bps: u64) -> Sender {
        Sender::new(&PortTrial { learning: Vec::new(), phases }, 1, line_bps)
    }

    fn departures(mut sender: Sender) -> Vec<u64> {
        std::iter::from_fn(|| sender.depart().map(|departure| departure.sent.0)).collect()
    }

    /// RFC 2544 appendix B.
    #[test]
    fn a_second_holds_what_the_standard_says() {
        for (line, count) in [(1_000_000_000, 1_488_095), (10_000_000_000, 14_880_952), (100_000_000, 148_809)] {
            let phase = Phase::even(frames(&[60]), line, Amount::Span(Nanos::from_secs(1)));
            assert_eq!(sender(vec![phase], line).intended_and_sent().0, count);
        }
    }

    #[test]
    fn full_rate_is_that_of_the_wire_to_the_nanosecond() {
        for line in [1_000_000_000, 10_000_000_000, 3_000_000_007] {
            let phase = Phase::even(frames(&[60, 1514, 566, 61]), line, Amount::Frames(10_000));
            let mut wire = Wire::new(line);
            let wire: Vec<u64> = (0..10_000).map(|n| wire.send_next([60, 1514, 566, 61][n % 4]).0).collect();
            assert_eq!(departures(sender(vec![phase], line)), wire, "{line} bit/s");
        }
    }

    #[test]
    fn nothing_drifts_at_odd_rates() {
        // 123,456,789 bit/s on a 1G line: frame n begins at n * 672 bits / rate.
        let rate = 123_456_789;
        let phase = Phase::even(frames(&[60]), rate, Amount::Frames(1_000_001));
        let last = *departures(sender(vec![phase], 1_000_000_000)).last().unwrap();
        let exact = (1_000_000u128 * 672 * 1_000_000_000 + 576 * u128::from(rate)).div_ceil(u128::from(rate));
        assert_eq!(u128::from(last), exact);
    }

    #[test]
    fn bursts_are_at_the_smallest_gap_and_keep_the_rate() {
        let phase = Phase { burst: 3, ..Phase::even(frames(&[60]), 500_000_000, Amount::Frames(7)) };
        assert_eq!(departures(sender(vec![phase], 1_000_000_000)), [576, 1248, 1920, 4608, 5280, 5952, 8640]);
    }

    #[test]
    fn a_short_gap_is_faster_than_the_line_rate() {
        let phase = Phase { gap_bits: 88, ..Phase::even(frames(&[60]), 1_000_000_000, Amount::Frames(3)) };
        assert_eq!(departures(sender(vec![phase], 1_000_000_000)), [576, 576 + 664, 576 + 2 * 664]);
        assert_eq!(GAP_BITS, 96);
    }

    #[test]
    fn a_pause_delays_and_what_does_not_fit_any_more_is_not_sent() {
        let phase = Phase::even(frames(&[60]), 500_000_000, Amount::Frames(10)); // 13,440 ns
        let mut sender = sender(vec![phase], 1_000_000_000);
        assert_eq!(sender.depart().unwrap().sent, Nanos(576));
        sender.pause(Nanos(600), 20); // 10,240 ns
        let sent: Vec<(u64, u64)> = std::iter::from_fn(|| sender.depart().map(|d| (d.intended.0, d.sent.0))).collect();
        // The line carries them one after the other from 10,840 ns on, as long as the phase lasts.
        assert_eq!(sent, [(1920, 11_416), (3264, 12_088), (4608, 12_760), (5952, 13_432)]);
        assert_eq!(sender.intended_and_sent(), (10, 5));
    }

    #[test]
    fn a_pause_of_nothing_ends_a_pause() {
        let phase = Phase::even(frames(&[60]), 500_000_000, Amount::Frames(4));
        let mut sender = sender(vec![phase], 1_000_000_000);
        sender.depart();
        sender.pause(Nanos(600), 0xffff);
        assert_eq!(sender.next_departure(), Some(Nanos(5376)), "the phase is over before the pause is");
        sender.pause(Nanos(3000), 0);
        assert_eq!(sender.next_departure(), Some(Nanos(3576)));
        assert_eq!(sender.depart().unwrap().intended, Nanos(1920));
        sender.pause(Nanos(3600), 0xffff);
        assert!(sender.depart().is_none() && sender.next_departure().is_none(), "too late for its phase");
    }

    #[test]
    fn a_frame_is_found_by_its_number() {
        let mut list = frames(&[60, 61, 62]);
        list[1].stream = None;
        let phase = Phase::even(list.clone(), 1_000_000_000, Amount::Frames(8));
        let second = Phase { start: Nanos::from_secs(1), ..Phase::even(frames(&[70, 71]), 1_000_000_000, Amount::Frames(3)) };
        let mut sender = sender(vec![phase, second], 1_000_000_000);
        while sender.depart().is_some() {}
        let lens: Vec<Option<usize>> = (0..10).map(|n| sender.frame_of(0, n).map(<[u8]>::len)).collect();
        // 60 (61) 62 60 (61) 62 60 (61), then 70 71 70.
        assert_eq!(lens, [60, 62, 60, 62, 60, 70, 71, 70].map(Some).into_iter().chain([None, None]).collect::<Vec<_>>());
        assert_eq!(sender.stream(0).frames, 8);
        assert_eq!(sender.intended_and_sent(), (8, 8));
        assert_eq!(sender.bits_and_unmarked().1, 3);
    }
}
