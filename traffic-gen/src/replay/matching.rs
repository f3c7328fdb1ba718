//! Which replayed frame is it that came back? Known by its content alone: nothing is written into replayed frames.
//!
//! Each frame sent is kept as a hash of its bytes, in a chain of those with the same content. A copy that comes out of a port is
//! matched with the first frame of its chain that this port has not given back yet: the n-th copy with the n-th frame, *in order*.
//! From that follow loss, duplicates, reordering, frames out of wrong ports, and the latency of every frame matched.
//!
//! Where identical frames were under way together it cannot be told which of them was lost, or which a second copy is of. Counts
//! of frames lost are right all the same; which one, its latency, and duplicate or not are the guess that order makes. Such matches are
//! counted as *ambiguous*. A frame that is not back within [`Matcher`]'s patience gives its place to the next with its content, so
//! that the loss of one does not shift all that come after it.
//!
//! Words as in [`measure::stream`](crate::measure::stream), with *due* from [`Due`]. What was changed on the way (a VLAN tag, a bit)
//! is foreign: [`suspects`](super::suspects) compares some of that with what was lost. [`Matching`] says what is no change: VLAN tags, if they are the
//! device's business, and of frames with a [stamp](crate::stamp) the time that is written into them when they leave.
//!
//! Limits: the last [`WINDOW`] frames are known, whatever the length of the run; a copy of an older one is foreign, and what an older
//! one has not done by then is counted as it is. About 150 bytes each: 80 MB at most. At most [`PORTS_MAX`] ports. Two contents are taken
//! for one with a chance of 2^-64 for each pair.
//!
//! Threads: one owner, the loop that sends and receives.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};

use port::Nanos;

use super::Frame;
use super::due::Due;
use super::suspects::{FOREIGN_KEPT, Foreign, LOST_KEPT, Lost};
use crate::edit::layers::TAG_TYPES;
use crate::measure::{Latencies, LatencyMeter, Variation};
use crate::stamp::Stamp;

/// Frames that are known, counted back from the last one sent.
pub const WINDOW: usize = 1 << 19;
/// Ports there can be.
pub const PORTS_MAX: usize = 128;

/// EtherType of the chassis message (docs/message-format.md).
const MESSAGE_TYPE: u16 = 0x88b5;

/// The shortest frame on a wire, without FCS (IEEE 802.3, section 3.2.7).
const FRAME_LEN_MIN: usize = 60;

/// How frames are known again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Matching {
    /// A frame not back after this time is taken for lost if there is another one that a copy can be of.
    pub patience: Nanos,
    /// VLAN tags do not count: the device may push, pop and change them. Frames that differ in nothing else are then equal.
    pub tag_blind: bool,
    /// Frames carry stamps. When they really left does not count, since it is written last; nor does the initial destination of chassis messages,
    /// which the switch overwrites.
    pub stamped: bool,
}

impl Matching {
    /// The bytes that make a frame the same.
    fn write_what_counts(&self, bytes: &[u8], out: &mut Vec<u8>) {
        out.clear();
        let mut tail = 12.min(bytes.len());
        out.extend_from_slice(&bytes[..tail]);
        if self.tag_blind {
            let type_at = |at: usize| bytes.get(at..at + 2).map(|two| u16::from_be_bytes([two[0], two[1]]));
            while type_at(tail).is_some_and(|ethertype| TAG_TYPES.contains(&ethertype)) {
                tail = (tail + 4).min(bytes.len());
            }
        }
        out.extend_from_slice(&bytes[tail..]);
        if self.stamped {
            if let Some(stamp) = Stamp::read(out, Nanos::ZERO) {
                Stamp { sent: stamp.intended, ..stamp }.write(out);
            }
            if out.get(12..14) == Some(&MESSAGE_TYPE.to_be_bytes()) {
                out[..6].fill(0);
            }
        }
    }
}

/// A frame that was sent.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// The hash of its bytes.
    pub key: u64,
    /// Its place among the frames of a loop.
    pub frame: usize,
    /// The loop.
    pub round: u64,
    /// The port that sent it.
    pub port: usize,
    /// When it should have left.
    pub planned: Nanos,
    /// When it was handed over.
    pub at: Nanos,
}

/// One of the last frames.
struct Entry {
    sent: Sent,
    /// The next with the same content; 0: there is none.
    next: u64,
    /// Ports it came out of, a bit each.
    seen: u128,
}

/// Frames with the same content, oldest first. Numbers begin with 1.
struct Chain {
    head: u64,
    tail: u64,
    /// Ports that have a cursor.
    cursors: u128,
    /// Ports that gave one back that another port had sent.
    matched: u128,
}

/// Knows frames again.
pub struct Matcher {
    hasher: RandomState,
    due: Vec<Due>,
    matching: Matching,
    scratch: Vec<u8>,
    /// Number of the oldest entry.
    base: u64,
    entries: VecDeque<Entry>,
    chains: HashMap<u64, Chain>,
    /// By content and port: the frame that the last copy was matched with.
    cursors: HashMap<(u64, usize), u64>,
    /// By sending and receiving port: the highest number that came out.
    highest: Vec<u64>,
    /// By sending and receiving port: latency of the last frame in order.
    variations: Vec<Variation>,
    ports: Vec<Counts>,
    result: Account,
}

/// What is counted of a port while it runs.
#[derive(Default)]
struct Counts {
    account: PortAccount,
    flooded_by_it: u64,
    latency: LatencyMeter,
}

/// What became of all frames.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// By receiving port.
    pub ports: Vec<PortAccount>,
    /// Frames that were flooded and came out of no port at all.
    pub vanished: u64,
    /// When the first lost frame should have left.
    pub lost_first: Option<Nanos>,
    /// When the last one should have.
    pub lost_last: Option<Nanos>,
    /// Some of the frames that did not come out where they were due, for [`suspects`](super::suspects).
    pub lost: Vec<Lost>,
    /// Some of those that came and were not sent.
    pub foreign: Vec<Foreign>,
}

/// What came out of a port, and what should have.
#[derive(Clone, Debug, Default)]
pub struct PortAccount {
    /// Frames to stations behind it.
    pub due: u64,
    /// Those of them that came, second copies not counted.
    pub arrived: u64,
    /// Copies of flooded frames that could come out of it.
    pub flood_due: u64,
    /// Those that came.
    pub flood_arrived: u64,
    /// Second and further copies.
    pub duplicates: u64,
    /// Frames that came after one that the same port had sent later (RFC 4737, section 3.3).
    pub reordered: u64,
    /// First copies of frames that were due elsewhere, or nowhere.
    pub elsewhere: u64,
    /// Of these, frames that did not come out where they were due.
    pub misdelivered: u64,
    /// Copies that came out of the port that had sent them.
    pub reflected: u64,
    /// Frames that the run did not send, or not like that.
    pub foreign: u64,
    /// Copies that could have been of another frame with the same content.
    pub ambiguous: u64,
    /// Of first copies that were due here; `None`: none came.
    pub latency: Option<Latencies>,
}

impl PortAccount {
    /// Frames to stations behind it that did not come.
    pub fn lost(&self) -> u64 {
        self.due.saturating_sub(self.arrived)
    }

    /// Copies of flooded frames that did not come. VLANs may be the reason.
    pub fn flood_missing(&self) -> u64 {
        self.flood_due.saturating_sub(self.flood_arrived)
    }

    /// Copies of frames of this run.
    pub fn recognized(&self) -> u64 {
        self.arrived + self.flood_arrived + self.duplicates + self.elsewhere + self.reflected
    }

    /// Adds another port's counts; latencies stay apart.
    pub fn add(&mut self, other: &PortAccount) {
        self.due += other.due;
        self.arrived += other.arrived;
        self.flood_due += other.flood_due;
        self.flood_arrived += other.flood_arrived;
        self.duplicates += other.duplicates;
        self.reordered += other.reordered;
        self.elsewhere += other.elsewhere;
        self.misdelivered += other.misdelivered;
        self.reflected += other.reflected;
        self.foreign += other.foreign;
        self.ambiguous += other.ambiguous;
    }
}

impl Account {
    /// All ports together.
    pub fn total(&self) -> PortAccount {
        self.ports.iter().fold(PortAccount::default(), |mut sum, port| {
            sum.add(port);
            sum
        })
    }
}

impl Matcher {
    /// For a replay of these frames on so many ports.
    ///
    /// # Panics
    /// With more than [`PORTS_MAX`] ports.
    pub fn new(frames: &[Frame], ports: usize, matching: Matching) -> Matcher {
        assert!(ports <= PORTS_MAX, "at most {PORTS_MAX} ports");
        Matcher {
            hasher: RandomState::new(),
            due: Due::of(frames),
            matching,
            scratch: Vec::new(),
            base: 1,
            entries: VecDeque::new(),
            chains: HashMap::new(),
            cursors: HashMap::new(),
            highest: vec![0; ports * ports],
            variations: vec![Variation::default(); ports * ports],
            ports: (0..ports).map(|_| Counts::default()).collect(),
            result: Account::default(),
        }
    }

    /// What a frame is known by. Cards lengthen short frames: zeros up to the shortest frame on a wire make no other frame.
    pub fn key(&mut self, bytes: &[u8]) -> u64 {
        if !self.matching.tag_blind && !self.matching.stamped {
            return self.hash(bytes);
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        self.matching.write_what_counts(bytes, &mut scratch);
        let key = self.hash(&scratch);
        self.scratch = scratch;
        key
    }

    fn hash(&self, bytes: &[u8]) -> u64 {
        let mut padded = [0; FRAME_LEN_MIN];
        match padded.get_mut(..bytes.len()) {
            Some(place) => {
                place.copy_from_slice(bytes);
                self.hasher.hash_one(&padded[..])
            }
            None => self.hasher.hash_one(bytes),
        }
    }

    /// A port took a frame. Frames are told in the order in which they are sent.
    pub fn sent(&mut self, sent: Sent) {
        if self.entries.len() == WINDOW {
            self.forget_oldest();
        }
        match self.due[sent.frame] {
            Due::At(port) => self.ports[port].account.due += 1,
            Due::Everywhere => self.ports[sent.port].flooded_by_it += 1,
            Due::Nowhere => {}
        }
        let number = self.base + self.entries.len() as u64;
        let chain = self.chains.entry(sent.key).or_insert(Chain { head: number, tail: 0, cursors: 0, matched: 0 });
        let before = std::mem::replace(&mut chain.tail, number);
        if before > 0 {
            self.entries[(before - self.base) as usize].next = number;
        }
        self.entries.push_back(Entry { sent, next: 0, seen: 0 });
    }

    /// A frame came out of a port of the device. Returns its latency, if it is a first copy where it was due.
    pub fn arrived(&mut self, port: usize, bytes: &[u8], at: Nanos) -> Option<Nanos> {
        let key = self.key(bytes);
        let Some((number, others)) = self.pick(key, port, at) else {
            let account = &mut self.ports[port].account;
            match self.chains.get(&key) {
                None => {
                    account.foreign += 1;
                    if self.result.foreign.len() < FOREIGN_KEPT {
                        let mut bytes: Box<[u8]> = bytes.into();
                        if self.matching.stamped {
                            // What was lost is compared without stamp.
                            Stamp::erase(&mut bytes);
                        }
                        self.result.foreign.push(Foreign { port, at, bytes });
                    }
                }
                Some(chain) if chain.matched >> port & 1 == 1 => account.duplicates += 1,
                Some(_) => account.reflected += 1,
            }
            return None;
        };
        let ports = self.ports.len();
        let counts = &mut self.ports[port];
        let entry = &mut self.entries[(number - self.base) as usize];
        entry.seen |= 1 << port;
        counts.account.ambiguous += u64::from(others);
        let pair = entry.sent.port * ports + port;
        let highest = &mut self.highest[pair];
        let overtaken = number < *highest;
        counts.account.reordered += u64::from(overtaken);
        *highest = number.max(*highest);
        match self.due[entry.sent.frame] {
            Due::At(due) if due == port => counts.account.arrived += 1,
            Due::Everywhere => counts.account.flood_arrived += 1,
            Due::At(_) | Due::Nowhere => {
                counts.account.elsewhere += 1;
                return None;
            }
        }
        let latency = at.since(entry.sent.at);
        counts.latency.record(latency, at.since(entry.sent.planned));
        // Of frames in order only (RFC 5481): one that was overtaken says nothing of the one before it.
        if !overtaken && let Some(change) = self.variations[pair].step(latency) {
            counts.latency.record_ipdv(change);
        }
        Some(latency)
    }

    /// The frame that a copy out of `port` is of, and whether it might have been another one.
    fn pick(&mut self, key: u64, port: usize, at: Nanos) -> Option<(u64, bool)> {
        let chain = self.chains.get_mut(&key)?;
        let entry = |number: u64| &self.entries[(number - self.base) as usize];
        // The first from here on that another port has sent.
        let eligible = |mut number: u64| {
            while number > 0 && entry(number).sent.port == port {
                number = entry(number).next;
            }
            number
        };
        let start = match self.cursors.get(&(key, port)) {
            Some(last) if *last >= self.base => entry(*last).next,
            _ => chain.head,
        };
        chain.cursors |= 1 << port;
        let mut found = eligible(start);
        if found == 0 {
            // All up to here are done with, and need not be looked at for the next copy.
            self.cursors.insert((key, port), chain.tail);
            return None;
        }
        let mut next = eligible(entry(found).next);
        while next > 0 && at.since(entry(found).sent.at) > self.matching.patience {
            found = next;
            next = eligible(entry(found).next);
        }
        chain.matched |= 1 << port;
        self.cursors.insert((key, port), found);
        Some((found, next > 0))
    }

    fn forget_oldest(&mut self) {
        let Some(entry) = self.entries.pop_front() else { return };
        self.base += 1;
        if let Some(chain) = self.chains.get_mut(&entry.sent.key) {
            chain.head = entry.next;
            if entry.next == 0 {
                let mut cursors = chain.cursors;
                while cursors > 0 {
                    self.cursors.remove(&(entry.sent.key, cursors.trailing_zeros() as usize));
                    cursors &= cursors - 1;
                }
                self.chains.remove(&entry.sent.key);
            }
        }
        self.settle(&entry);
    }

    /// What has not come of this frame will not.
    fn settle(&mut self, entry: &Entry) {
        let lost = match self.due[entry.sent.frame] {
            Due::At(port) => entry.seen >> port & 1 == 0,
            Due::Everywhere => entry.seen == 0 && self.ports.len() > 1,
            Due::Nowhere => false,
        };
        if !lost {
            return;
        }
        if entry.seen > 0 {
            self.ports[entry.seen.trailing_zeros() as usize].account.misdelivered += 1;
        } else if self.due[entry.sent.frame] == Due::Everywhere {
            self.result.vanished += 1;
        }
        let planned = entry.sent.planned;
        self.result.lost_first = self.result.lost_first.into_iter().chain([planned]).min();
        self.result.lost_last = self.result.lost_last.max(Some(planned));
        if self.result.lost.len() < LOST_KEPT {
            let Sent { frame, round, port, .. } = entry.sent;
            self.result.lost.push(Lost { frame, round, port });
        }
    }

    /// The account. What has not come by now is lost.
    pub fn finish(mut self) -> Account {
        for entry in std::mem::take(&mut self.entries) {
            self.settle(&entry);
        }
        let flooded: u64 = self.ports.iter().map(|counts| counts.flooded_by_it).sum();
        // What each port sends to this one is a stream.
        let (ports, variations) = (self.ports.len(), self.variations);
        let jitter = |to: usize| variations.iter().skip(to).step_by(ports).map(Variation::jitter).max();
        let account = |(to, counts): (usize, Counts)| {
            let mut latency = counts.latency.finish();
            latency.jitter = jitter(to).filter(|_| !latency.ipdv.is_empty());
            PortAccount {
                flood_due: flooded - counts.flooded_by_it,
                latency: (!latency.sent.is_empty()).then_some(latency),
                ..counts.account
            }
        };
        Account { ports: self.ports.into_iter().enumerate().map(account).collect(), ..self.result }
    }
}
