//! A difference in words: what, when, where, in which fields, and why.
//!
//! The why comes from what the switch noted in its annotated captures: the verdict on the packet that went in, drops with their
//! reasons, and when it learned or moved the addresses of the frame. Where the expected capture is annotated too, the two stories
//! are told side by side.

use serde::Serialize;

use super::case::{Frame, Run};
use super::compare::Difference;
use super::fields::{self, Field};

/// A difference, explained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// In one word.
    pub kind: &'static str,
    /// What happened, in one sentence.
    pub headline: String,
    /// The packet: number of the frame that went in, if known.
    pub packet: Option<u64>,
    /// Number of the frame in the expected capture.
    pub expected_frame: Option<u64>,
    /// Number of the frame in what came out.
    pub got_frame: Option<u64>,
    /// Fields side by side: of a frame that changed all of them, of others nothing.
    pub fields: Vec<Pair>,
    /// Why, as far as the switch says.
    pub causes: Vec<String>,
}

/// A field on both sides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pair {
    /// Its name.
    pub name: &'static str,
    /// What was expected; empty if the frame was not to have it.
    pub expected: String,
    /// What came; empty if the frame does not have it.
    pub got: String,
    /// Do they differ?
    pub differs: bool,
}

/// Bytes of a payload that are shown around the first that differs.
const AROUND: usize = 8;

/// Explains a difference between two runs.
pub fn explain(difference: &Difference, expected: &Run, got: &Run) -> Explanation {
    let (want, have) = difference.frames();
    let (want, have) = (want.map(|index| &expected.sent[index]), have.map(|index| &got.sent[index]));
    let story = Story { expected, got, want, have };
    let mut pairs = Vec::new();
    let headline = match difference {
        Difference::Changed { .. } => {
            pairs = story.pairs();
            story.changed(&pairs)
        }
        Difference::WrongPort { .. } => {
            if want.map(|frame| &frame.bytes) != have.map(|frame| &frame.bytes) {
                pairs = story.pairs();
            }
            let [expected_port, got_port] = [want, have].map(|frame| frame.map_or("?", |frame| frame.port.as_str()));
            format!("{} came out of {got_port} instead of {expected_port}: {}", story.what(), story.summary())
        }
        Difference::Missing { .. } => {
            format!("{} is missing: it was to come out of {} {}: {}", story.what(), story.port(), story.at(), story.summary())
        }
        Difference::Extra { .. } => {
            format!("{} is too many: it came out of {} {}: {}", story.what(), story.port(), story.at(), story.summary())
        }
        Difference::Reordered { places, .. } => {
            let direction = if *places > 0 { "later" } else { "earlier" };
            let count = places.unsigned_abs();
            let others = if count == 1 { "1 frame".to_owned() } else { format!("{count} frames") };
            let [before, after] = [want, have].map(|frame| frame.map_or(0, |frame| frame.time_ns));
            let start = story.start_ns();
            format!(
                "{} came out of {} in another order, {others} {direction}: {} instead of {}: {}",
                story.what(),
                story.port(),
                seconds(after, start),
                seconds(before, start),
                story.summary()
            )
        }
        Difference::Time { late_ns, .. } => {
            let direction = if *late_ns > 0 { "late" } else { "early" };
            let ns = grouped(late_ns.unsigned_abs());
            format!("{} came out of {} {ns} ns {direction}, {}: {}", story.what(), story.port(), story.at(), story.summary())
        }
        Difference::Counter { port, counter, expected, got } => {
            format!("{port} counted {counter} {}, expected {}", grouped(*got), grouped(*expected))
        }
    };
    Explanation {
        kind: difference.kind(),
        headline,
        packet: story.packet(),
        expected_frame: want.map(|frame| frame.number),
        got_frame: have.map(|frame| frame.number),
        fields: pairs,
        causes: story.causes(difference),
    }
}

/// A frame on both sides, and all that happened around it.
struct Story<'a> {
    expected: &'a Run,
    got: &'a Run,
    want: Option<&'a Frame>,
    have: Option<&'a Frame>,
}

impl Story<'_> {
    fn frame(&self) -> Option<&Frame> {
        self.want.or(self.have)
    }

    fn packet(&self) -> Option<u64> {
        self.want.and_then(|frame| frame.packet).or_else(|| self.have.and_then(|frame| frame.packet)).or_else(|| self.packet_by_content())
    }

    /// The packet that looks like an expected frame of which nobody noted where it came from: the last one before it.
    fn packet_by_content(&self) -> Option<u64> {
        let want = self.want?;
        let like = |frame: &&Frame| frame.time_ns <= want.time_ns && frame.bytes == want.bytes;
        self.got.received.iter().rev().find(like).and_then(|frame| frame.packet)
    }

    fn start_ns(&self) -> u64 {
        [self.expected, self.got].iter().map(|run| run.start_ns()).filter(|&start| start > 0).min().unwrap_or(0)
    }

    /// Which frame it is: `packet 5 (frame 12 of out.pcapng)`.
    fn what(&self) -> String {
        let frame = match (self.want, self.have) {
            (Some(want), _) => format!("frame {} of out.pcapng", want.number),
            (None, Some(_)) => "a frame that is not in out.pcapng".to_owned(),
            (None, None) => String::new(),
        };
        match self.packet() {
            Some(packet) => format!("packet {packet} ({frame})"),
            None => frame,
        }
    }

    fn port(&self) -> &str {
        self.frame().map_or("?", |frame| &frame.port)
    }

    fn at(&self) -> String {
        let frame = self.have.filter(|_| self.want.is_some()).or(self.frame());
        format!("at {}", frame.map_or_else(String::new, |frame| seconds(frame.time_ns, self.start_ns())))
    }

    fn summary(&self) -> String {
        self.frame().map_or_else(String::new, |frame| fields::summary(&frame.bytes))
    }

    fn changed(&self, pairs: &[Pair]) -> String {
        let (Some(want), Some(have)) = (self.want, self.have) else { return String::new() };
        let differ: Vec<usize> = want.bytes.iter().zip(&have.bytes).enumerate().filter(|(_, (a, b))| a != b).map(|(at, _)| at).collect();
        let bytes = match (&differ[..], want.bytes.len() == have.bytes.len()) {
            ([at], true) => format!("one byte differs, at offset {at}"),
            ([first, .., last], true) => format!("{} bytes differ, between offsets {first} and {last}", differ.len()),
            ([first, ..], false) => format!("it has {} bytes instead of {}, from offset {first} on", have.bytes.len(), want.bytes.len()),
            ([], _) => format!("it has {} bytes instead of {}", have.bytes.len(), want.bytes.len()),
        };
        let names: Vec<String> = pairs
            .iter()
            .filter(|pair| pair.differs)
            .map(|pair| match (pair.expected.is_empty(), pair.got.is_empty()) {
                (true, _) => format!("{} {} is too many", pair.name, pair.got),
                (_, true) => format!("{} {} is missing", pair.name, pair.expected),
                _ => format!("{} is {}, expected {}", pair.name, pair.got, pair.expected),
            })
            .collect();
        format!("{} out of {} {}: {bytes}: {}", self.what(), self.port(), self.at(), names.join("; "))
    }

    /// All fields of both frames, in the order of the one that was expected.
    fn pairs(&self) -> Vec<Pair> {
        let (Some(want), Some(have)) = (self.want, self.have) else { return Vec::new() };
        let (wanted, had) = (fields::decode(&want.bytes), fields::decode(&have.bytes));
        let mut pairs = Vec::new();
        for field in &wanted {
            let other = had.iter().find(|other| other.name == field.name);
            let bytes = |frame: &Frame, field: &Field| frame.bytes.get(field.range.clone()).unwrap_or_default().to_vec();
            let differs = other.is_none_or(|other| bytes(want, field) != bytes(have, other));
            let (mut expected, mut got) = (field.value.clone(), other.map_or_else(String::new, |other| other.value.clone()));
            if let Some(other) = other.filter(|_| differs && (expected == got || field.name == "payload")) {
                (expected, got) = around(&bytes(want, field), &bytes(have, other), field.range.start);
            }
            pairs.push(Pair { name: field.name, expected, got, differs });
        }
        let new = had.iter().filter(|field| wanted.iter().all(|other| other.name != field.name));
        pairs.extend(new.map(|field| Pair { name: field.name, expected: String::new(), got: field.value.clone(), differs: true }));
        pairs
    }

    /// Why, as far as the switch says.
    fn causes(&self, difference: &Difference) -> Vec<String> {
        let mut causes = Vec::new();
        let Some(packet) = self.packet() else { return causes };
        let (now, then) = (self.got.packet(packet), self.expected.packet(packet));
        let start = self.start_ns();
        match (now.and_then(|frame| frame.comment.as_deref()), then.and_then(|frame| frame.comment.as_deref())) {
            (Some(now), Some(then)) if now != then => {
                causes.push(format!("expected: {then}"));
                causes.push(format!("now:      {now}"));
            }
            (Some(now), _) => causes.push(format!("the switch says: {now}")),
            (None, _) => {}
        }
        let drops = |run: &Run| -> Vec<String> {
            let of_packet = run.drops.iter().filter(|drop| drop.packet == Some(packet));
            of_packet.filter_map(|drop| drop.comment.clone()).collect()
        };
        let expected_drops = drops(self.expected);
        for drop in drops(self.got) {
            // What the verdict has said already, and what was expected.
            let is_verdict = now.and_then(|frame| frame.verdict.as_deref()).is_some_and(|verdict| verdict.starts_with("drop:"));
            if !is_verdict && !expected_drops.contains(&drop) {
                causes.push(format!("a copy of it was dropped: {drop}"));
            }
        }
        let where_it_goes = matches!(difference, Difference::Missing { .. } | Difference::Extra { .. } | Difference::WrongPort { .. });
        if let Some(went_in) = now.filter(|_| where_it_goes) {
            let (table_now, table_then) = (table_change(self.got, went_in), table_change(self.expected, went_in));
            let tell = |change: &(u64, u64, String)| format!("packet {} at {}: {}", change.0, seconds(change.1, start), change.2);
            match (table_now, table_then) {
                (Some(now), Some(then)) if now.0 != then.0 || now.2 != then.2 => {
                    causes.push(format!("the table as expected: {}", tell(&then)));
                    causes.push(format!("the table now:         {}", tell(&now)));
                }
                (Some(now), None) if !self.expected.received.is_empty() => {
                    causes.push(format!("the table now: {} (which was not expected)", tell(&now)));
                }
                (Some(now), _) => causes.push(format!("the table: {}", tell(&now))),
                (None, Some(then)) => causes.push(format!("the table as expected: {}; now it is not learned", tell(&then))),
                (None, None) => {}
            }
        }
        causes
    }
}

/// The last time before a frame that the switch learned or moved its destination: packet, time, words.
fn table_change(run: &Run, frame: &Frame) -> Option<(u64, u64, String)> {
    let dst = fields::decode(&frame.bytes).into_iter().find(|field| field.name == "eth.dst")?.value;
    let before = run.received.iter().rev().filter(|other| other.packet < frame.packet);
    before
        .filter_map(|other| {
            let notes = other.comment.as_deref()?.split("; ").skip(1);
            let change = notes
                .into_iter()
                .find(|note| note.starts_with(&format!("learned {dst} ")) || note.starts_with(&format!("{dst} moved ")))?;
            Some((other.packet?, other.time_ns, change.to_owned()))
        })
        .next()
}

/// Two long values around the first byte that differs; `offset` is that of the field in the frame.
fn around(want: &[u8], have: &[u8], offset: usize) -> (String, String) {
    let at = want.iter().zip(have).position(|(a, b)| a != b).unwrap_or(want.len().min(have.len()));
    let from = at.saturating_sub(AROUND / 2);
    let show = |bytes: &[u8]| {
        let part = bytes.get(from..).unwrap_or_default();
        let digits: Vec<String> = part.iter().take(AROUND).map(|byte| format!("{byte:02x}")).collect();
        let (before, behind) = (if from > 0 { "… " } else { "" }, if part.len() > AROUND { " …" } else { "" });
        format!("{} bytes: {before}{}{behind} (offset {})", bytes.len(), digits.join(" "), offset + from)
    };
    (show(want), show(have))
}

/// `0.000012345 s`, counted from the start.
fn seconds(time_ns: u64, start_ns: u64) -> String {
    let ns = time_ns.saturating_sub(start_ns);
    format!("{}.{:09} s", ns / 1_000_000_000, ns % 1_000_000_000)
}

/// Digits in groups of three.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
