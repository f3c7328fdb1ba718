//! What differs between what came out and what was to come out.
//!
//! First every frame finds its like: the same bytes out of the same port, at the same time where there are several. Then what is left
//! is told apart: the same packet out of the same port with other bytes has changed; the same bytes (or the same packet) out of another
//! port have gone the wrong way; the rest is missing or too many. Frames that found their like may still be in the wrong order or
//! come at the wrong time.
//!
//! The work is bounded: sorting, and a look at [`WINDOW`] candidates for each frame without its like.

use std::collections::{BTreeMap, HashMap, VecDeque};

use serde::Serialize;

use super::case::{Counters, Frame, Run};
use super::masks::Masks;

/// Differences that are kept. All are counted.
pub const DIFFERENCES_MAX: usize = 1000;

/// Candidates that are looked at for a frame that came out changed, when the captures do not say which packet it is.
pub const WINDOW: usize = 64;

/// What must be equal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Bytes, port, order and time of each frame, and the counters
    #[default]
    Exact,
    /// Bytes and their order at each port, and the counters
    Order,
    /// Bytes, as often at each port, and the counters
    Multiset,
}

/// A difference. Frames are indices into [`Run::sent`] of what was expected and of what came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Difference {
    /// The packet came out of its port with other bytes.
    Changed {
        /// What was expected.
        expected: usize,
        /// What came.
        got: usize,
    },
    /// It came out of another port.
    WrongPort {
        /// What was expected.
        expected: usize,
        /// What came.
        got: usize,
    },
    /// It did not come out.
    Missing {
        /// What was expected.
        expected: usize,
    },
    /// It came out and should not have.
    Extra {
        /// What came.
        got: usize,
    },
    /// It came out before or after others of its port, not as expected.
    Reordered {
        /// What was expected.
        expected: usize,
        /// What came.
        got: usize,
        /// Places behind (or, if negative, before) the one it should have among the frames of its port.
        places: i64,
    },
    /// It came at another time.
    Time {
        /// What was expected.
        expected: usize,
        /// What came.
        got: usize,
        /// Nanoseconds late, or early if negative.
        late_ns: i64,
    },
    /// A port counted something else.
    Counter {
        /// The port.
        port: String,
        /// The counter: `rx`, `tx`, `drops hairpin`.
        counter: String,
        /// What it was to count.
        expected: u64,
        /// What it counted.
        got: u64,
    },
}

impl Difference {
    /// In one word, as in JSON.
    pub fn kind(&self) -> &'static str {
        match self {
            Difference::Changed { .. } => "changed",
            Difference::WrongPort { .. } => "wrong-port",
            Difference::Missing { .. } => "missing",
            Difference::Extra { .. } => "extra",
            Difference::Reordered { .. } => "reordered",
            Difference::Time { .. } => "time",
            Difference::Counter { .. } => "counter",
        }
    }

    /// The frames it is about: expected, and come.
    pub fn frames(&self) -> (Option<usize>, Option<usize>) {
        match *self {
            Difference::Changed { expected, got }
            | Difference::WrongPort { expected, got }
            | Difference::Reordered { expected, got, .. }
            | Difference::Time { expected, got, .. } => (Some(expected), Some(got)),
            Difference::Missing { expected } => (Some(expected), None),
            Difference::Extra { got } => (None, Some(got)),
            Difference::Counter { .. } => (None, None),
        }
    }
}

/// All that differs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Differences {
    /// The first ones, in the order of time; counters last.
    pub list: Vec<Difference>,
    /// How many there are of each kind.
    pub counts: BTreeMap<&'static str, u64>,
}

impl Differences {
    /// Is everything as expected?
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// How many there are.
    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }
}

/// Compares what came with what was expected.
pub fn compare(expected: &Run, got: &Run, level: Level, masks: &Masks) -> Differences {
    let [want, have] = [expected, got].map(|run| run.sent.iter().map(|frame| masks.apply(&frame.port, &frame.bytes)).collect::<Vec<_>>());
    let mut sides = Sides { expected: &expected.sent, got: &got.sent, want: &want, have: &have };
    let mut found = Vec::new();
    let (pairs, left_expected, left_got) = sides.pair_equal();
    sides.tell_apart(left_expected, left_got, &mut found);
    let reordered = if level == Level::Multiset { Vec::new() } else { sides.out_of_order(&pairs) };
    let mut is_reordered = vec![false; expected.sent.len()];
    for &(expected, got, places) in &reordered {
        is_reordered[expected] = true;
        found.push(Difference::Reordered { expected, got, places });
    }
    if level == Level::Exact {
        for &(want, have) in pairs.iter().filter(|(want, _)| !is_reordered[*want]) {
            let late = i128::from(got.sent[have].time_ns) - i128::from(expected.sent[want].time_ns);
            if late.unsigned_abs() > u128::from(masks.time_tolerance_ns) {
                let late_ns = i64::try_from(late).unwrap_or(if late > 0 { i64::MAX } else { i64::MIN });
                found.push(Difference::Time { expected: want, got: have, late_ns });
            }
        }
    }
    let time = |difference: &Difference| match difference.frames() {
        (Some(index), _) => expected.sent[index].time_ns,
        (None, Some(index)) => got.sent[index].time_ns,
        (None, None) => u64::MAX,
    };
    found.sort_by_key(time);
    found.extend(counters(expected.counters.as_ref(), got.counters.as_ref()));
    let mut counts = BTreeMap::new();
    for difference in &found {
        *counts.entry(difference.kind()).or_default() += 1;
    }
    found.truncate(DIFFERENCES_MAX);
    Differences { list: found, counts }
}

fn counters(expected: Option<&Counters>, got: Option<&Counters>) -> Vec<Difference> {
    let (Some(expected), Some(got)) = (expected, got) else { return Vec::new() };
    let mut found = Vec::new();
    let mut ports: Vec<&String> = expected.port.keys().chain(got.port.keys()).collect();
    ports.sort();
    ports.dedup();
    for port in ports {
        let (want, have) = (expected.numbers(port), got.numbers(port));
        let mut names: Vec<&String> = want.keys().chain(have.keys()).collect();
        names.sort();
        names.dedup();
        for name in names {
            let count = |numbers: &BTreeMap<String, u64>| numbers.get(name).copied().unwrap_or(0);
            let (expected, got) = (count(&want), count(&have));
            if expected != got {
                found.push(Difference::Counter { port: port.clone(), counter: name.clone(), expected, got });
            }
        }
    }
    found
}

/// Both sides, with their frames masked.
struct Sides<'a> {
    expected: &'a [Frame],
    got: &'a [Frame],
    want: &'a [Vec<u8>],
    have: &'a [Vec<u8>],
}

impl Sides<'_> {
    /// Frames and their like, in the order of what was expected; and those of either side that have none.
    fn pair_equal(&self) -> (Vec<(usize, usize)>, Vec<usize>, Vec<usize>) {
        let mut by_content: HashMap<(&str, &[u8]), VecDeque<usize>> = HashMap::new();
        for (index, frame) in self.got.iter().enumerate() {
            by_content.entry((&frame.port, &self.have[index])).or_default().push_back(index);
        }
        let mut partner = vec![None; self.expected.len()];
        // Where several are alike, those of the same time belong together, or else one that is missing would make all others late.
        for same_time in [true, false] {
            for (index, frame) in self.expected.iter().enumerate().filter(|(index, _)| partner[*index].is_none()).collect::<Vec<_>>() {
                let Some(like) = by_content.get_mut(&(frame.port.as_str(), &self.want[index][..])) else { continue };
                if !same_time {
                    partner[index] = like.pop_front();
                } else if let Ok(at) = like.binary_search_by_key(&frame.time_ns, |&got| self.got[got].time_ns) {
                    partner[index] = like.remove(at);
                }
            }
        }
        let pairs: Vec<(usize, usize)> = partner.iter().enumerate().filter_map(|(index, got)| Some((index, (*got)?))).collect();
        let left_expected = partner.iter().enumerate().filter(|(_, got)| got.is_none()).map(|(index, _)| index).collect();
        let mut left_got: Vec<usize> = by_content.into_values().flatten().collect();
        left_got.sort_unstable();
        (pairs, left_expected, left_got)
    }

    /// What became of frames without their like.
    fn tell_apart(&mut self, mut expected: Vec<usize>, mut got: Vec<usize>, found: &mut Vec<Difference>) {
        // The same packet out of the same port, if both captures know packets.
        match_up(
            &mut expected,
            &mut got,
            |i| self.key_of_packet(&self.expected[i]),
            |j| self.key_of_packet(&self.got[j]),
            |expected, got| {
                found.push(Difference::Changed { expected, got });
            },
        );
        // The same bytes, or else the same packet, out of another port.
        let wrong_port = |expected, got| Difference::WrongPort { expected, got };
        match_up(
            &mut expected,
            &mut got,
            |i| Some(&self.want[i][..]),
            |j| Some(&self.have[j][..]),
            |expected, got| {
                found.push(wrong_port(expected, got));
            },
        );
        match_up(
            &mut expected,
            &mut got,
            |i| self.expected[i].packet,
            |j| self.got[j].packet,
            |expected, got| {
                found.push(wrong_port(expected, got));
            },
        );
        // Similar bytes out of the same port, where nobody knows packets.
        expected.retain(|&i| {
            let candidates = got.iter().enumerate().filter(|&(_, &j)| {
                let unknown = self.expected[i].packet.is_none() || self.got[j].packet.is_none();
                unknown && self.expected[i].port == self.got[j].port
            });
            let similar = candidates.take(WINDOW).find(|&(_, &j)| is_similar(&self.want[i], &self.have[j])).map(|(at, _)| at);
            match similar {
                Some(at) => {
                    found.push(Difference::Changed { expected: i, got: got.remove(at) });
                    false
                }
                None => true,
            }
        });
        found.extend(expected.into_iter().map(|expected| Difference::Missing { expected }));
        found.extend(got.into_iter().map(|got| Difference::Extra { got }));
    }

    fn key_of_packet<'f>(&self, frame: &'f Frame) -> Option<(&'f str, u64)> {
        Some((frame.port.as_str(), frame.packet?))
    }

    /// The fewest frames that would have to change their place, at each port.
    fn out_of_order(&self, pairs: &[(usize, usize)]) -> Vec<(usize, usize, i64)> {
        let mut by_port: BTreeMap<&str, Vec<(usize, usize)>> = BTreeMap::new();
        for &(expected, got) in pairs {
            by_port.entry(&self.expected[expected].port).or_default().push((expected, got));
        }
        let mut reordered = Vec::new();
        for pairs in by_port.values() {
            let mut ranks: Vec<usize> = pairs.iter().map(|(_, got)| *got).collect();
            ranks.sort_unstable();
            let in_order = longest_increasing(&pairs.iter().map(|(_, got)| *got).collect::<Vec<_>>());
            for (place, &(expected, got)) in pairs.iter().enumerate() {
                if !in_order[place] {
                    let rank = ranks.binary_search(&got).unwrap_or(place);
                    reordered.push((expected, got, rank as i64 - place as i64));
                }
            }
        }
        reordered
    }
}

/// Takes pairs with equal keys out of both lists, in order.
fn match_up<K: std::hash::Hash + Eq>(
    expected: &mut Vec<usize>,
    got: &mut Vec<usize>,
    expected_key: impl Fn(usize) -> Option<K>,
    got_key: impl Fn(usize) -> Option<K>,
    mut pair: impl FnMut(usize, usize),
) {
    let mut by_key: HashMap<K, VecDeque<usize>> = HashMap::new();
    for &index in got.iter() {
        if let Some(key) = got_key(index) {
            by_key.entry(key).or_default().push_back(index);
        }
    }
    let mut taken = std::collections::HashSet::new();
    expected.retain(|&index| {
        let partner = expected_key(index).and_then(|key| by_key.get_mut(&key)).and_then(VecDeque::pop_front);
        match partner {
            Some(partner) => {
                taken.insert(partner);
                pair(index, partner);
                false
            }
            None => true,
        }
    });
    got.retain(|index| !taken.contains(index));
}

/// Could the one have become the other? Of one length, or a tag apart, and three quarters of the bytes are alike.
fn is_similar(a: &[u8], b: &[u8]) -> bool {
    let alike = a.iter().zip(b).filter(|(a, b)| a == b).count();
    let (long, short) = (a.len().max(b.len()), a.len().min(b.len()));
    long - short <= 4 && alike * 4 >= long * 3
}

/// Which members of the list belong to a longest increasing part of it (patience sorting). All numbers differ.
fn longest_increasing(list: &[usize]) -> Vec<bool> {
    let mut tails: Vec<usize> = Vec::new(); // Places in the list; their numbers increase.
    let mut before = vec![None; list.len()];
    for (place, number) in list.iter().enumerate() {
        let length = tails.partition_point(|&tail| list[tail] < *number);
        before[place] = length.checked_sub(1).map(|length| tails[length]);
        if length == tails.len() { tails.push(place) } else { tails[length] = place }
    }
    let mut belongs = vec![false; list.len()];
    let mut place = tails.last().copied();
    while let Some(at) = place {
        belongs[at] = true;
        place = before[at];
    }
    belongs
}

#[cfg(test)]
mod tests {
    use super::super::case::PortCounters;
    use super::super::masks::Mask;
    use super::*;

    fn frame(time_ns: u64, port: &str, content: u8, packet: Option<u64>) -> Frame {
        let mut bytes = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x90, 0];
        bytes.resize(60, content);
        Frame { number: 0, time_ns, port: port.to_owned(), bytes, packet, comment: None, verdict: None }
    }

    /// Five frames out of two ports, each another packet.
    fn run() -> Run {
        let sent = (0..5).map(|n| frame(1000 * n, if n == 2 { "b" } else { "a" }, n as u8, Some(n + 1))).collect();
        Run { sent, ..Run::default() }
    }

    fn differences(edit: impl FnOnce(&mut Vec<Frame>)) -> Vec<Difference> {
        let (expected, mut got) = (run(), run());
        edit(&mut got.sent);
        compare(&expected, &got, Level::Exact, &Masks::default()).list
    }

    #[test]
    fn each_kind_is_told_from_the_others() {
        assert_eq!(differences(|_| {}), []);
        assert_eq!(differences(|sent| sent[3].bytes[33] ^= 1), [Difference::Changed { expected: 3, got: 3 }]);
        assert_eq!(differences(|sent| drop(sent.remove(3))), [Difference::Missing { expected: 3 }]);
        assert_eq!(differences(|sent| sent.push(frame(9000, "a", 9, Some(9)))), [Difference::Extra { got: 5 }]);
        assert_eq!(differences(|sent| sent[3].port = "b".to_owned()), [Difference::WrongPort { expected: 3, got: 3 }]);
        assert_eq!(differences(|sent| sent[3].time_ns += 7), [Difference::Time { expected: 3, got: 3, late_ns: 7 }]);
        assert_eq!(differences(|sent| sent[3].time_ns -= 7), [Difference::Time { expected: 3, got: 3, late_ns: -7 }]);
        // The first of port a comes as its third.
        let moved = |sent: &mut Vec<Frame>| {
            let mut first = sent.remove(0);
            first.time_ns = 3500;
            sent.insert(3, first);
        };
        assert_eq!(differences(moved), [Difference::Reordered { expected: 0, got: 3, places: 2 }]);
        // Another port and another tag: the packet is the same.
        let retagged = |sent: &mut Vec<Frame>| (sent[3].port, sent[3].bytes[20]) = ("b".to_owned(), 77);
        assert_eq!(differences(retagged), [Difference::WrongPort { expected: 3, got: 3 }]);
    }

    #[test]
    fn frames_that_are_alike_are_not_confused() {
        let expected = Run { sent: (0..100).map(|n| frame(n * 10, "a", 1, None)).collect(), ..Run::default() };
        let mut got = expected.clone();
        got.sent.remove(40);
        let found = compare(&expected, &got, Level::Exact, &Masks::default());
        assert_eq!((found.list, found.counts), (vec![Difference::Missing { expected: 40 }], BTreeMap::from([("missing", 1)])));
    }

    #[test]
    fn levels_and_masks_say_what_matters() {
        let expected = run();
        let mut got = run();
        got.sent.swap(0, 1);
        let (first, second) = (got.sent[0].time_ns, got.sent[1].time_ns);
        (got.sent[0].time_ns, got.sent[1].time_ns) = (second, first);
        got.sent[4].time_ns += 50;
        let kinds = |level, masks: &Masks| compare(&expected, &got, level, masks).list.iter().map(Difference::kind).collect::<Vec<_>>();
        // Of two that change places one is moved, and the other comes at another time.
        assert_eq!(kinds(Level::Exact, &Masks::default()), ["reordered", "time", "time"]);
        assert_eq!(kinds(Level::Exact, &Masks { time_tolerance_ns: 50, mask: vec![] }), ["reordered", "time"]);
        assert_eq!(kinds(Level::Order, &Masks::default()), ["reordered"]);
        assert_eq!(kinds(Level::Multiset, &Masks::default()), Vec::<&str>::new());

        got = run();
        got.sent[3].bytes[33] ^= 1;
        let masked = |port: Option<&str>, field: Option<&str>, offset: Option<usize>| {
            let mask = Mask { port: port.map(str::to_owned), field: field.map(str::to_owned), offset, len: None };
            compare(&expected, &got, Level::Exact, &Masks { time_tolerance_ns: 0, mask: vec![mask] }).list.len()
        };
        assert_eq!([masked(None, None, Some(33)), masked(Some("a"), None, Some(33)), masked(Some("b"), None, Some(33))], [0, 0, 1]);
        assert_eq!([masked(None, None, Some(32)), masked(None, Some("payload"), None), masked(None, Some("eth.dst"), None)], [1, 0, 1]);
    }

    #[test]
    fn without_packet_ids_similar_frames_have_changed() {
        let (mut expected, mut got) = (run(), run());
        expected.sent.iter_mut().for_each(|frame| frame.packet = None);
        got.sent[3].bytes[33] ^= 1;
        assert_eq!(compare(&expected, &got, Level::Exact, &Masks::default()).list, [Difference::Changed { expected: 3, got: 3 }]);
    }

    #[test]
    fn counters_are_compared_one_by_one() {
        let counters = |rx, hairpin| {
            let drops = BTreeMap::from([("hairpin".to_owned(), hairpin)]);
            Some(Counters { port: BTreeMap::from([("a".to_owned(), PortCounters { rx, tx: 1, drops })]) })
        };
        let expected = Run { counters: counters(5, 0), ..Run::default() };
        let got = Run { counters: counters(5, 2), ..Run::default() };
        let found = compare(&expected, &got, Level::Multiset, &Masks::default());
        let wanted = Difference::Counter { port: "a".to_owned(), counter: "drops hairpin".to_owned(), expected: 0, got: 2 };
        assert_eq!(found.list, [wanted]);
    }
}
