//! One stream at the port where it should come out: what was lost, doubled, overtaken or sent elsewhere.
//!
//! Frames carry a sequence number. A window of bits behind the highest number seen says which of them have arrived, so that a
//! late frame is told from a second copy. The words are those of RFC 4737 and RFC 5236:
//!
//! - *reordered*: a frame whose number is below the highest seen so far (RFC 4737, section 3.3, `s < NextExp`), first copy only.
//! - *extent* of a reordered frame: how many frames arrived since the first one that should have come after it
//!   (RFC 4737, section 4.2.1); *late time*: how long ago that was (section 4.2.2).
//! - *duplicate*: a number that has arrived before.
//! - *too late*: more than [`WINDOW`] numbers behind, the displacement threshold of RFC 5236. Such a frame counts as lost, and
//!   whether it is a second copy cannot be told.
//! - *lost*: sent, less arrived at the right port within the window.
//! - *elsewhere*: copies that came out of a port that the stream is not for: the flood count of RFC 2889, section 5.8.
//!   *Misdelivered* is the part of it that did not come out of the right port as well.
//!
//! A frame in its turn costs a comparison, a bit and three stores. Everything else is out of line.
//!
//! Limits: a stream may be silent for 2,147,483,647 frames before a number ahead is taken for one behind. When lost frames should
//! have been sent is interpolated between their neighbours: exact for streams of one rate.
//!
//! Threads: one owner, the receiving loop.

use port::Nanos;
use serde::Serialize;

/// Frames this far behind the highest number are still told apart.
pub const WINDOW: u64 = SLOTS - 64;

const SLOTS: u64 = 4_096;
const WORDS: usize = (SLOTS / 64) as usize;

/// How a frame came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The number expected next.
    Next,
    /// A number above that one: those between are missing for now.
    Ahead,
    /// Overtaken by others.
    Reordered,
    /// Its number has arrived before.
    Duplicate,
    /// Too far behind to tell.
    TooLate,
}

impl Order {
    /// Whether this is the first copy: the one whose latency counts.
    #[inline]
    pub fn is_first_copy(self) -> bool {
        matches!(self, Order::Next | Order::Ahead | Order::Reordered)
    }
}

/// A run of numbers that was skipped. Some of them may have come later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// How many.
    pub frames: u64,
    /// Planned time of the frame before it.
    pub intended_before: Nanos,
    /// Planned time of the frame after it.
    pub intended_after: Nanos,
    /// Arrival of the frame before it. RFC 6201 measures an outage from here …
    pub arrived_before: Nanos,
    /// … to the arrival of the frame after it.
    pub arrived_after: Nanos,
}

/// What became of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StreamResult {
    /// Frames sent that should have come out here.
    pub sent: u64,
    /// Frames that did, second copies not counted.
    pub received: u64,
    /// Frames that did not.
    pub lost: u64,
    /// Second and further copies.
    pub duplicates: u64,
    /// Frames that others had overtaken.
    pub reordered: u64,
    /// Largest reordering extent, in frames.
    pub extent_max: u64,
    /// Longest late time of a reordered frame.
    pub late_time_max: Nanos,
    /// Frames beyond the window; they are among the lost.
    pub too_late: u64,
    /// Copies that came out of ports they were not for.
    pub elsewhere: u64,
    /// Frames that came out of such a port and not of the right one; they are among the lost.
    pub misdelivered: u64,
    /// When the first lost frame should have been sent.
    pub lost_first: Option<Nanos>,
    /// When the last lost frame should have been sent.
    pub lost_last: Option<Nanos>,
    /// The longest run of numbers that was skipped.
    pub largest_gap: Option<Gap>,
}

impl StreamResult {
    /// Adds another stream: counts are summed, extremes kept.
    pub fn merge(&mut self, other: &StreamResult) {
        let earlier = |a: Option<Nanos>, b: Option<Nanos>| a.into_iter().chain(b).min();
        self.sent += other.sent;
        self.received += other.received;
        self.lost += other.lost;
        self.duplicates += other.duplicates;
        self.reordered += other.reordered;
        self.extent_max = self.extent_max.max(other.extent_max);
        self.late_time_max = self.late_time_max.max(other.late_time_max);
        self.too_late += other.too_late;
        self.elsewhere += other.elsewhere;
        self.misdelivered += other.misdelivered;
        self.lost_first = earlier(self.lost_first, other.lost_first);
        self.lost_last = self.lost_last.max(other.lost_last);
        self.largest_gap = self.largest_gap.into_iter().chain(other.largest_gap).max_by_key(|gap| gap.frames);
    }

    /// Copies of flooded frames: those elsewhere whose frame came out of the right port as well.
    pub fn flooded(&self) -> u64 {
        self.elsewhere.saturating_sub(self.misdelivered)
    }

    /// Lost share of the frames sent (RFC 2544, section 26.3), 0.0 when none was.
    pub fn loss_ratio(&self) -> f64 {
        if self.sent == 0 { 0.0 } else { self.lost as f64 / self.sent as f64 }
    }

    /// Reordered share of the frames received (RFC 4737, section 3.4), 0.0 when none was.
    pub fn reordered_ratio(&self) -> f64 {
        if self.received == 0 { 0.0 } else { self.reordered as f64 / self.received as f64 }
    }
}

/// What was noted when a number was skipped.
#[derive(Clone, Copy, Debug, Default)]
struct Skipped {
    /// Count of arrivals with the one that skipped it.
    arrival: u64,
    at: Nanos,
    intended: Nanos,
}

/// A word of numbers that came out elsewhere.
#[derive(Clone, Copy, Debug, Default)]
struct Stray {
    word: u64,
    bits: u64,
}

/// Follows one stream at the port it is for.
#[derive(Clone, Debug)]
pub struct StreamMeter {
    /// One above the highest number seen: `NextExp` of RFC 4737, in 64 bits.
    next: u64,
    first: u64,
    received: u64,
    /// Of the frame with the highest number.
    last_intended: Nanos,
    last_at: Nanos,
    /// A bit for each number of the last [`SLOTS`]; a number never due counts as arrived.
    arrived: Box<[u64; WORDS]>,
    /// For each of them, if it was skipped. Pages of it are touched only then.
    skipped: Vec<Skipped>,
    /// What came out elsewhere; empty until something does.
    strays: Vec<Stray>,
    result: StreamResult,
}

impl StreamMeter {
    /// A stream whose first frame has this number and is planned for `start`.
    pub fn new(first_sequence: u32, start: Nanos) -> StreamMeter {
        // A bit above the 32 of the wire, so that a number behind the first is one, too.
        let first = (1 << 32) + u64::from(first_sequence);
        let mut meter = StreamMeter {
            next: first,
            first,
            received: 0,
            last_intended: start,
            last_at: start,
            arrived: Box::new([u64::MAX; WORDS]),
            skipped: vec![Skipped::default(); SLOTS as usize],
            strays: Vec::new(),
            result: StreamResult::default(),
        };
        // Numbers before the first are not missing; those after it, in the same word, are.
        if !first.is_multiple_of(64) {
            meter.arrived[word_slot(first)] = (1 << (first % 64)) - 1;
        }
        meter
    }

    /// A frame of the stream came out of the right port.
    #[inline]
    pub fn arrived(&mut self, sequence: u32, intended: Nanos, at: Nanos) -> Order {
        let mut order = Order::Next;
        if sequence != self.next as u32 {
            order = self.out_of_turn(sequence, intended, at);
            if order != Order::Ahead {
                return order;
            }
        }
        if self.next.is_multiple_of(64) {
            self.open_word();
        }
        self.arrived[word_slot(self.next)] |= 1 << (self.next % 64);
        self.next += 1;
        self.received += 1;
        self.last_intended = intended;
        self.last_at = at;
        order
    }

    /// A copy came out of a port that the stream is not for.
    #[cold]
    pub fn arrived_elsewhere(&mut self, sequence: u32) {
        self.result.elsewhere += 1;
        let number = self.absolute(sequence);
        if number < self.first || number + WINDOW < self.next {
            return; // Too late to tell whether it arrived here, too.
        }
        if self.strays.is_empty() {
            self.strays = vec![Stray::default(); WORDS];
        }
        let word = number / 64;
        let slot = word_slot(number);
        if self.strays[slot].word > word {
            return; // Its place is taken by one far ahead.
        }
        if self.strays[slot].word != word {
            self.settle_strays(slot);
            self.strays[slot] = Stray { word, bits: 0 };
        }
        self.strays[slot].bits |= 1 << (number % 64);
    }

    /// The account of the stream, of which `sent` frames were sent, the last one planned for `last_intended`.
    pub fn finish(mut self, sent: u64, last_intended: Nanos) -> StreamResult {
        for number in self.first.max(self.next - SLOTS)..self.next {
            // A word that is gone was settled; what of it is still here is newer than the start of the window.
            if number / 64 + WORDS as u64 > (self.next - 1) / 64 && self.arrived[word_slot(number)] >> (number % 64) & 1 == 0 {
                let intended = self.skipped[slot(number)].intended;
                self.note_lost(intended, intended);
            }
        }
        let end = self.first + sent;
        if end > self.next {
            let (first, last) = (self.interpolated(self.next, end - 1, last_intended), last_intended);
            self.note_lost(first, last);
        }
        for slot in 0..self.strays.len() {
            self.settle_strays(slot);
        }
        StreamResult { sent, received: self.received, lost: sent.saturating_sub(self.received), ..self.result }
    }

    /// Frames that have come out of the right port so far, second copies not counted.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Frames known to be missing so far: numbers below the highest seen that have not come.
    pub fn missing(&self) -> u64 {
        (self.next - self.first).saturating_sub(self.received)
    }

    /// The number in 64 bits that is nearest to what is expected.
    fn absolute(&self, sequence: u32) -> u64 {
        let ahead = sequence.wrapping_sub(self.next as u32) as i32;
        self.next.saturating_add_signed(i64::from(ahead))
    }

    #[cold]
    fn out_of_turn(&mut self, sequence: u32, intended: Nanos, at: Nanos) -> Order {
        let number = self.absolute(sequence);
        if number > self.next {
            self.skip_to(number, intended, at);
            return Order::Ahead;
        }
        if number < self.first || number + WINDOW < self.next {
            self.result.too_late += 1;
            return Order::TooLate;
        }
        let (word, bit) = (&mut self.arrived[word_slot(number)], 1 << (number % 64));
        if *word & bit != 0 {
            self.result.duplicates += 1;
            return Order::Duplicate;
        }
        *word |= bit;
        self.received += 1;
        self.result.reordered += 1;
        let skipped = self.skipped[slot(number)];
        self.result.extent_max = self.result.extent_max.max(self.received - skipped.arrival);
        self.result.late_time_max = self.result.late_time_max.max(at.since(skipped.at));
        Order::Reordered
    }

    /// The frame `number` has come, and none of those from the one expected up to it.
    fn skip_to(&mut self, number: u64, intended: Nanos, at: Nanos) {
        let gap = Gap {
            frames: number - self.next,
            intended_before: self.last_intended,
            intended_after: intended,
            arrived_before: self.last_at,
            arrived_after: at,
        };
        if self.result.largest_gap.is_none_or(|largest| gap.frames > largest.frames) {
            self.result.largest_gap = Some(gap);
        }
        let begin = self.next;
        if number - begin > SLOTS {
            // Only the last of them can still be told apart: the window starts anew, at a word of its own.
            let anew = (number - SLOTS).next_multiple_of(64);
            self.close_word();
            for _ in 0..WORDS {
                self.next = self.next.next_multiple_of(64);
                self.open_word();
                self.arrived[word_slot(self.next)] = u64::MAX;
                self.next += 64;
            }
            self.next = begin;
            let lost = [begin, anew - 1].map(|lost| self.interpolated(lost, number, intended));
            self.note_lost(lost[0], lost[1]);
            self.next = anew;
        }
        for missing in self.next..number {
            if missing.is_multiple_of(64) {
                self.next = missing;
                self.open_word();
            }
            self.next = begin;
            let skipped = Skipped { arrival: self.received + 1, at, intended: self.interpolated(missing, number, intended) };
            self.skipped[slot(missing)] = skipped;
        }
        self.next = number;
    }

    /// Makes room for the word that begins with the number expected next: what was in its place is settled.
    #[cold]
    fn open_word(&mut self) {
        let slot_of_word = word_slot(self.next);
        let missing = !self.arrived[slot_of_word];
        let begin = self.next - SLOTS;
        for bit in (0..64).filter(|bit| missing >> bit & 1 == 1) {
            let intended = self.skipped[slot(begin + bit)].intended;
            self.note_lost(intended, intended);
        }
        if self.strays.get(slot_of_word).is_some_and(|stray| stray.word == begin / 64) {
            self.settle_strays(slot_of_word);
        }
        self.arrived[slot_of_word] = 0;
    }

    /// The rest of the word that the number expected next lies in will not come: nothing more of it is missing.
    fn close_word(&mut self) {
        if self.next.is_multiple_of(64) {
            return;
        }
        let slot = word_slot(self.next);
        if self.strays.get(slot).is_some_and(|stray| stray.word == self.next / 64) {
            self.settle_strays(slot);
        }
        self.arrived[slot] |= u64::MAX << (self.next % 64);
    }

    /// Of a word of strays, those that did not come out here as well are misdelivered.
    fn settle_strays(&mut self, slot: usize) {
        let stray = std::mem::take(&mut self.strays[slot].bits);
        let word = self.strays[slot].word;
        // A word behind the window was settled when it left it, unless it was jumped over; one ahead has not come: nothing of either is here.
        let newest = (self.next - 1) / 64;
        let here = word <= newest && word + WORDS as u64 > newest;
        let arrived = if here { self.arrived[slot] } else { 0 };
        self.result.misdelivered += u64::from((stray & !arrived).count_ones());
    }

    fn note_lost(&mut self, first: Nanos, last: Nanos) {
        // In the order of numbers but for the end of the window: the earliest is not always noted first.
        self.result.lost_first = Some(self.result.lost_first.map_or(first, |noted| noted.min(first)));
        self.result.lost_last = Some(self.result.lost_last.map_or(last, |noted| noted.max(last)));
    }

    /// When a missing frame was planned, between the last one that came and `number`, planned for `intended`.
    fn interpolated(&self, missing: u64, number: u64, intended: Nanos) -> Nanos {
        // Before anything has come, the first number stands at the start.
        let from = (self.next - 1).max(self.first);
        let span = intended.since(self.last_intended).0;
        let (part, whole) = (missing - from, (number - from).max(1));
        Nanos(self.last_intended.0 + (u128::from(span) * u128::from(part) / u128::from(whole)) as u64)
    }
}

fn slot(number: u64) -> usize {
    (number % SLOTS) as usize
}

#[inline]
fn word_slot(number: u64) -> usize {
    (number / 64) as usize % WORDS
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
