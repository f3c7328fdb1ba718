//! Frames known again: by themselves, and through the loop that sends them, by way of a device that does what it is told.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use port::{Burst, Device, Hugepages, LinkState, Mempool, Nanos, PoolCache, Port, RxQueue, TxQueue};

use super::matching::{Account, Matcher, Matching, Sent, WINDOW};
use super::run::{self, Setup, VirtualTime};
use super::schedule::{Bounds, Schedule};
use super::speed::Speed;
use super::summary::{Input, Replayed, Summary};
use super::suspects::Change;
use super::unique::Unique;
use super::*;

const G1: u64 = 1_000_000_000;
const PATIENCE: Nanos = Nanos(1_000_000);
const MATCHING: Matching = Matching { patience: PATIENCE, tag_blind: false, stamped: false };

/// A frame of station `src` (at the port of that number) to station `dst`, or to all.
fn frame(number: u64, src: u8, dst: Option<u8>, content: u8) -> Frame {
    let dst = dst.map_or([0xff; 6], |dst| [2, 0, 0, 0, 0, dst]);
    let bytes: Vec<u8> = dst.into_iter().chain([2, 0, 0, 0, 0, src, 0x88, 0xb5]).chain([content; 50]).collect();
    let time = (number - 1) * 10_000;
    Frame { port: src.into(), time, original_len: bytes.len() as u32, bytes: bytes.into(), number, file: 0, interface: 0 }
}

/// What a matcher makes of these events: a frame leaves, or its bytes come out of a port, 1 µs later each.
fn account(frames: &[Frame], ports: usize, events: &[Event]) -> Account {
    let mut matcher = Matcher::new(frames, ports, MATCHING);
    let mut now = Nanos::ZERO;
    for event in events {
        now = now + Nanos(1_000);
        match *event {
            Event::Leaves(frame) => {
                let key = matcher.key(&frames[frame].bytes);
                matcher.sent(Sent { key, frame, round: 0, port: frames[frame].port, planned: now, at: now });
            }
            Event::Comes(frame, port) => drop(matcher.arrived(port, &frames[frame].bytes, now)),
            Event::Pause(time) => now = now + time,
        }
    }
    matcher.finish()
}

#[derive(Clone, Copy)]
enum Event {
    Leaves(usize),
    Comes(usize, usize),
    Pause(Nanos),
}
use Event::{Comes, Leaves, Pause};

#[test]
fn loss_duplicates_order_and_wrong_ports() {
    let frames = [frame(1, 0, Some(1), 1), frame(2, 0, Some(1), 2), frame(3, 1, Some(0), 3), frame(4, 2, None, 4), frame(5, 0, Some(1), 5)];
    let stranger = [frames.to_vec(), vec![frame(6, 9, Some(1), 6)]].concat();
    let found = account(
        &stranger,
        3,
        &[
            Leaves(0),
            Leaves(1),
            Comes(1, 1),
            Comes(0, 1), // Overtaken.
            Comes(0, 1), // Again.
            Comes(1, 2), // Flooded.
            Leaves(2),
            Comes(2, 2), // To the wrong port, and not to the right one.
            Leaves(3),
            Comes(3, 0),
            Comes(3, 2), // Back out of where it came from.
            Leaves(4),   // Lost.
            Comes(5, 1), // Nobody's.
        ],
    );
    let [zero, one, two] = &found.ports[..] else { panic!("three ports") };
    assert_eq!((one.due, one.arrived, one.lost(), one.reordered, one.duplicates, one.foreign), (3, 2, 1, 1, 1, 1));
    assert_eq!((two.elsewhere, two.misdelivered, two.reflected, two.due), (2, 1, 1, 0));
    assert_eq!((zero.due, zero.lost(), zero.flood_due, zero.flood_missing(), one.flood_missing(), two.flood_due), (1, 1, 1, 0, 1, 0));
    assert_eq!((found.lost_first, found.lost_last, found.vanished), (Some(Nanos(7_000)), Some(Nanos(12_000)), 0));
    assert_eq!(found.total().ambiguous, 0);
    assert_eq!(found.total().recognized() + found.total().foreign, 8, "every frame that came is something");
    let latency = one.latency.as_ref().unwrap();
    assert_eq!((latency.sent.len(), latency.sent.min(), latency.sent.highest_equivalent(3_000)), (2, 1_000, latency.sent.max()));
}

/// The same bytes a thousand times, with the 500th lost: as many are lost, and it is said that it is not known which.
#[test]
fn equal_frames_are_matched_in_order() {
    let frames = [frame(1, 0, Some(1), 1), frame(2, 1, Some(0), 2)];
    let mut events = vec![Leaves(1), Comes(1, 0)];
    for number in 0..1_000 {
        events.push(Leaves(0));
        events.extend((number != 500).then_some(Comes(0, 1)));
    }
    let found = account(&frames, 2, &events);
    let one = &found.ports[1];
    assert_eq!((one.due, one.arrived, one.lost(), one.duplicates, one.reordered), (1_000, 999, 1, 0, 0));
    assert_eq!(one.ambiguous, 499, "after the loss each copy could be of two frames");
    // With a pause longer than the patience it is known again which is which.
    events.insert(1_200, Pause(PATIENCE));
    let found = account(&frames, 2, &events);
    assert_eq!((found.ports[1].lost(), found.ports[1].arrived), (1, 999));
    assert!(found.ports[1].ambiguous < 150, "{}", found.ports[1].ambiguous);
}

#[test]
fn equal_bytes_from_both_sides_are_told_apart_by_the_port() {
    // The same broadcast from ports 0 and 1, as ARP probes of one station that moved.
    let mut frames = [frame(1, 0, None, 1), frame(2, 0, None, 1)];
    frames[1].port = 1;
    let found = account(&frames, 2, &[Leaves(0), Leaves(1), Comes(0, 0), Comes(0, 1), Comes(0, 0)]);
    assert_eq!(
        [&found.ports[0], &found.ports[1]].map(|port| (port.flood_due, port.flood_missing(), port.duplicates)),
        [(1, 0, 1), (1, 0, 0)]
    );
    assert_eq!(found.total().reflected, 0);
    // From one side only, what comes back there was reflected, however often, and came out nowhere else.
    let found = account(&frames[..1], 2, &[Leaves(0), Comes(0, 0), Comes(0, 0)]);
    assert_eq!((found.ports[0].reflected, found.vanished, found.ports[0].duplicates), (2, 1, 0));
}

/// A card lengthens a frame of 42 bytes to 60, and it is the same frame.
#[test]
fn padding_makes_no_other_frame() {
    let mut frames = [frame(1, 0, Some(1), 1), frame(2, 1, Some(0), 2), frame(3, 9, None, 0)];
    frames[0].bytes = frames[0].bytes[..42].into();
    frames[2].bytes = [&frames[0].bytes[..], &[0; 18]].concat().into();
    let found = account(&frames, 2, &[Leaves(0), Leaves(1), Comes(1, 0), Comes(2, 1)]);
    assert_eq!((found.ports[1].arrived, found.total().foreign, found.total().lost()), (1, 0, 0));
    // One that is longer still is another.
    frames[2].bytes = [&frames[0].bytes[..], &[0; 19]].concat().into();
    let found = account(&frames, 2, &[Leaves(0), Leaves(1), Comes(1, 0), Comes(2, 1)]);
    assert_eq!((found.ports[1].arrived, found.total().foreign), (0, 1));
}

/// Beyond the window frames are forgotten: memory is bounded, counts stay right.
#[test]
fn the_window_moves() {
    let frames = [frame(1, 0, Some(1), 1), frame(2, 1, Some(0), 2)];
    let mut matcher = Matcher::new(&frames, 2, MATCHING);
    let key = matcher.key(&frames[0].bytes);
    let sent = |number: u64| Sent { key, frame: 0, round: 0, port: 0, planned: Nanos(number), at: Nanos(number) };
    let odd = Sent { key: 1, ..sent(0) };
    matcher.sent(odd);
    let all = WINDOW as u64 + 1_000;
    for number in 1..all {
        matcher.sent(sent(number));
        if number % 2 == 0 {
            matcher.arrived(1, &frames[0].bytes, Nanos(number));
        }
    }
    let found = matcher.finish();
    assert_eq!((found.ports[1].due, found.ports[1].arrived), (all, (all - 1) / 2));
    assert_eq!(found.lost_first, Some(Nanos(0)), "the odd one was settled when it left the window");
    assert!(found.lost.len() <= super::suspects::LOST_KEPT);
}

type Fate = fn(usize, &[u8]) -> Vec<(usize, u64, Vec<u8>)>;

/// A device of three ports: what comes in comes out as its fate says (port, after how many ns, bytes).
struct Shared {
    fate: Fate,
    out: [VecDeque<(Nanos, Vec<u8>)>; 3],
}

struct End {
    port: usize,
    shared: Arc<Mutex<Shared>>,
}

impl TxQueue for End {
    fn tx_burst(&mut self, now: Nanos, pool: &mut PoolCache, burst: &mut Burst) -> usize {
        let count = burst.len();
        let mut shared = self.shared.lock().unwrap();
        for packet in burst.drain(..) {
            let mut bytes = Vec::new();
            pool.copy_to(&packet, &mut bytes);
            pool.free(packet);
            for (port, after, bytes) in (shared.fate)(self.port, &bytes) {
                shared.out[port].push_back((now + Nanos(after), bytes));
            }
        }
        count
    }
}

impl RxQueue for End {
    fn rx_burst(&mut self, now: Nanos, pool: &mut PoolCache, burst: &mut Burst, max: usize) -> usize {
        let out = &mut self.shared.lock().unwrap().out[self.port];
        let mut count = 0;
        while count < max && out.front().is_some_and(|(at, _)| *at <= now) {
            burst.extend(out.pop_front().and_then(|(_, bytes)| pool.alloc_copy(&bytes)));
            count += 1;
        }
        count
    }

    fn next_event(&self) -> Option<Nanos> {
        self.shared.lock().unwrap().out[self.port].front().map(|(at, _)| *at)
    }
}

struct Plain;

impl Device for Plain {
    fn kind(&self) -> &'static str {
        "model"
    }
    fn describe(&self) -> String {
        "a device that does what it is told".to_owned()
    }
    fn link(&self) -> LinkState {
        LinkState::Up
    }
}

/// Replays through such a device on the virtual clock.
fn replay(frames: &[Frame], count: u64, unique: bool, fate: Fate) -> (Replayed, Summary) {
    run_through(frames, count, unique, MATCHING, fate)
}

fn replay_with(frames: &[Frame], count: u64, matching: Matching, fate: Fate) -> (Replayed, Summary) {
    run_through(frames, count, false, matching, fate)
}

fn run_through(frames: &[Frame], count: u64, unique: bool, matching: Matching, fate: Fate) -> (Replayed, Summary) {
    let mempool = Mempool::new(512, Hugepages::Never).unwrap();
    let shared = Arc::new(Mutex::new(Shared { fate, out: Default::default() }));
    let end = |port| -> Box<End> { Box::new(End { port, shared: Arc::clone(&shared) }) };
    let port = |port| Port { rx: vec![end(port)], tx: vec![end(port)], device: Box::new(Plain) };
    let bounds = Bounds { loops: Some(count), ..Bounds::default() };
    let setup = Setup {
        frames,
        schedule: Schedule::new(frames, &[G1; 3], Speed::ORIGINAL, &bounds).unwrap(),
        ports: ["a", "b", "c"].into_iter().enumerate().map(|(index, name)| (name.to_owned(), port(index), G1)).collect(),
        learning: Vec::new(),
        pool: mempool.cache(),
        unique: Unique::new(frames, None, unique),
        step: None,
        listen: Nanos::from_millis(1),
        matching: Some(matching),
        stamped: matching.stamped,
    };
    let replayed = run::run(setup, &mut VirtualTime::default(), &mut |_| true);
    assert_eq!(mempool.in_use(), 0, "no buffer leaks");
    let summary = Summary::new(&replayed, Input::default(), Speed::ORIGINAL, true, Nanos::from_millis(1));
    assert!(summary.valid, "{:?}", summary.invalid);
    (replayed, summary)
}

/// Where the last octet of the destination says; flooded, if it is a group.
fn forwards(port: usize, bytes: &[u8]) -> Vec<(usize, u64, Vec<u8>)> {
    let out = |to: usize| (to, 5_000, bytes.to_vec());
    if bytes[0] & 1 == 1 { (0..3).filter(|to| *to != port).map(out).collect() } else { vec![out(bytes[5].into())] }
}

fn talk() -> Vec<Frame> {
    let mut frames = vec![frame(1, 0, None, 0)];
    for number in 1..10 {
        frames.push(frame(2 * u64::from(number), 0, Some(1), number));
        frames.push(frame(2 * u64::from(number) + 1, 1, Some(0), number));
    }
    frames
}

#[test]
fn a_device_that_forwards_loses_nothing() {
    for unique in [false, true] {
        // Stations have other addresses in each loop; a device that learns would still find them. This one goes by the number of the port.
        let fate: Fate = if unique { |port, bytes| vec![(usize::from(port == 0), 5_000, bytes.to_vec())] } else { forwards };
        let (replayed, summary) = replay(&talk(), 3, unique, fate);
        let account = replayed.account.unwrap();
        assert_eq!((summary.packets, account.total().due, account.total().lost()), (57, 54, 0));
        assert_eq!((account.total().duplicates, account.total().foreign, account.total().reordered), (0, 0, 0));
        let latency = account.ports[1].latency.as_ref().unwrap();
        assert_eq!(
            (latency.sent.min(), latency.sent.max()),
            (latency.sent.lowest_equivalent(5_000), latency.sent.highest_equivalent(5_000))
        );
        assert_eq!((latency.ipdv.len(), latency.ipdv.quantile(0.5), latency.ipdv.quantile(1.0)), (29, Some(0), Some(0)));
        // Two digits.
        let largest = replayed.timeline.ticks().iter().map(|(_, tick)| tick.max_ns).max();
        assert!(largest.is_some_and(|ns| (5_000..5_050).contains(&ns)), "{largest:?}");
        assert_eq!(account.ports[2].flood_due, 3);
        assert_eq!(replayed.timeline.intervals().iter().map(|interval| interval.sent).sum::<u64>(), 57);
    }
}

#[test]
fn what_a_device_does_to_frames_is_told() {
    let (replayed, summary) = replay(&talk(), 1, false, |port, bytes| {
        let mut out = forwards(port, bytes);
        match (port, bytes[20]) {
            (0, 1) => out.clear(),
            (0, 2) => out.push(out[0].clone()),
            // The queue of a wire: those behind it wait, too.
            (0, 3) => out[0].1 = 45_000,
            (0, 4) => out[0].0 = 2,
            (0, 5) => out[0].2[33] ^= 0x40,
            (0, 6) => drop(out[0].2.splice(12..12, [0x81, 0, 0, 7])),
            (0, 7) => out[0].2.truncate(40),
            (0, 8) => out.push((2, 1, bytes.to_vec())),
            _ => {}
        }
        out
    });
    let account = replayed.account.unwrap();
    let one = &account.ports[1];
    assert_eq!((one.due, one.lost(), one.duplicates, one.foreign), (9, 5, 1, 3));
    assert_eq!((account.ports[2].elsewhere, account.ports[2].misdelivered), (2, 1));
    assert_eq!((account.ports[0].due, account.ports[0].lost()), (9, 0));
    let changes: Vec<Change> = replayed.suspects.iter().map(|suspect| suspect.change).collect();
    let corrupted = Change::Corrupted { octets: 1, offset: 33, sent: 5, got: 5 ^ 0x40 };
    assert_eq!(changes, [corrupted, Change::Retagged, Change::Resized { sent: 64, got: 40 }]);
    assert_eq!((replayed.suspects[0].packet, replayed.suspects[0].came_out_of), (10, 1));
    let notes = summary.notes.join("\n");
    for says in [
        "3 frames came that were not sent like that: among those looked at are 1 frames with a few other octets (corrupted), 1 frames with",
        "packet 10 from a seems to have come out of b with 1 other octet(s), the first at offset 33: 0x45 instead of 0x05",
        "packet 12 from a seems to have come out of b with another VLAN tag",
        "with 40 bytes instead of 64",
    ] {
        assert!(notes.contains(says), "{notes}");
    }
    assert_eq!(summary.ports[1].account.as_ref().unwrap().corrupted, 1);
    let table = super::report::account_table(&summary).unwrap();
    assert_eq!(table.rows.len(), 4);
    let mut text = Vec::new();
    crate::output::print_table(&table, &mut text, 100).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("out of port") && text.lines().any(|line| line.starts_with('b')), "{text}");
}

/// A device that tags: whether that makes another frame is for whoever replays to say.
#[test]
fn tags_may_be_the_devices_business() {
    let fate: Fate = |port, bytes| {
        let mut out = forwards(port, bytes);
        for (_, _, bytes) in &mut out {
            match (port, bytes[20]) {
                (0, 2) => drop(bytes.splice(12..12, [0x88, 0xa8, 0, 5, 0x81, 0, 0, 6])),
                (0, _) => drop(bytes.splice(12..12, [0x81, 0, 0xa0, 7])),
                _ => {}
            }
        }
        out
    };
    let (exact, _) = replay(&talk(), 1, false, fate);
    let total = exact.account.unwrap().total();
    assert_eq!((total.lost(), total.foreign, total.flood_missing()), (9, 11, 2));
    let blind = Matching { tag_blind: true, ..MATCHING };
    let (told, _) = replay_with(&talk(), 2, blind, fate);
    let account = told.account.unwrap();
    let total = account.total();
    assert_eq!((total.due, total.lost(), total.foreign, total.flood_missing(), total.ambiguous), (36, 0, 0, 0, 0));
    assert_eq!(account.ports[1].latency.as_ref().unwrap().jitter, Some(Nanos(0)), "all took as long");
}

/// Frames that are all alike are told from one another by their stamps, and what becomes of each is known.
#[test]
fn stamps_tell_equal_frames_apart() {
    let station = |n| crate::plan::Station { mac: [2, 0, 0, 0, 0, n], ip: [198, 18, 0, n] };
    let udp = |number: u64, from: u8, to: u8| {
        let bytes: std::sync::Arc<[u8]> = crate::plan::udp_frame(station(from), station(to), 96).into();
        let time = (number - 1) * 10_000;
        Frame { port: from.into(), time, original_len: 96, bytes, number, file: 0, interface: from.into() }
    };
    // A station that only hears, at port 1, so that frames to it are due there.
    let frames: Vec<Frame> = [udp(1, 1, 0)].into_iter().chain((2..42).map(|number| udp(number, 0, 1))).collect();
    let fate: Fate = |port, bytes| {
        let stamp = crate::stamp::Stamp::read(bytes, Nanos::ZERO).unwrap();
        assert_eq!((stamp.stream, stamp.sent), (port as u16, stamp.intended), "on the virtual clock none is late");
        let mut out = forwards(port, bytes);
        match (port, stamp.sequence) {
            (0, 3) => out.clear(),
            (0, 5) => out.push(out[0].clone()),
            (0, 7) => out[0].2[80] ^= 1,
            (0, 9) => drop(out[0].2.splice(12..12, [0x81, 0, 0, 7])),
            (0, 11..) => out[0].1 = 8_000,
            _ => {}
        }
        out
    };
    let (replayed, summary) = replay_with(&frames, 1, Matching { tag_blind: true, stamped: true, ..MATCHING }, fate);
    let account = replayed.account.unwrap();
    let one = &account.ports[1];
    assert_eq!((one.due, one.lost(), one.duplicates, one.foreign, one.reordered), (40, 2, 1, 1, 0));
    assert_eq!(account.total().ambiguous, 0);
    let lost: Vec<usize> = account.lost.iter().map(|lost| lost.frame).collect();
    assert_eq!(lost, [4, 8], "frames 3 and 7 of stream 0 are the fifth and the ninth of all");
    let changes: Vec<Change> = replayed.suspects.iter().map(|suspect| suspect.change).collect();
    assert_eq!(changes, [Change::Corrupted { octets: 1, offset: 80, sent: 0, got: 1 }]);
    let latency = one.latency.as_ref().unwrap();
    // Also what comes out of a port that has nothing more to send is seen when it comes.
    let took: Vec<u64> = latency.sent.iter_recorded().map(|recorded| recorded.count_at_value()).collect();
    assert_eq!((took, latency.sent.max()), (vec![9, 29], latency.sent.highest_equivalent(8_000)));
    // One step of 3 µs, and 28 frames without after it: RFC 3550, section 6.4.1.
    let jitter = 3_000.0 / 16.0 * (15.0_f64 / 16.0).powi(28);
    let [pdv, found] = summary.ports[1].account.as_ref().unwrap().variation_ns.unwrap();
    assert!((found as f64 - jitter).abs() <= 1.5, "{found}, not {jitter}");
    assert!(pdv.abs_diff(3_000) <= 8, "{pdv}");
}

/// A device that turns two frames around.
#[test]
fn frames_that_were_overtaken() {
    static HELD: Mutex<Option<Vec<u8>>> = Mutex::new(None);
    let (replayed, _) = replay(&talk(), 1, false, |port, bytes| {
        let mut out = forwards(port, bytes);
        if port == 0 && bytes[20] == 3 {
            *HELD.lock().unwrap() = Some(out.remove(0).2);
        } else if port == 0 && bytes[20] == 4 {
            out.extend(HELD.lock().unwrap().take().map(|held| (1, 5_000, held)));
        }
        out
    });
    let account = replayed.account.unwrap();
    assert_eq!((account.ports[1].reordered, account.ports[1].lost(), account.ports[1].duplicates), (1, 0, 0));
}

#[test]
fn a_report_has_every_part() {
    let (replayed, summary) = replay(&talk(), 50, false, |port, bytes| if bytes[20] == 1 { Vec::new() } else { forwards(port, bytes) });
    let dir = tempfile::tempdir().unwrap();
    let page = super::report::report("replay", std::time::SystemTime::UNIX_EPOCH, &summary, &replayed);
    let files = crate::output::write_all(&page, dir.path()).unwrap();
    let names: Vec<String> = files.iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect();
    for name in
        ["replay.html", "replay.json", "replay.hlog", "replay-to-b.hgrm", "replay-lateness.hgrm", "replay-what-became-of-the-frames.csv"]
    {
        assert!(names.iter().any(|found| found == name), "{name} in {names:?}");
    }
    let html = std::fs::read_to_string(&files[0]).unwrap();
    for part in [
        "Load and loss by port",
        "Sent over time",
        "Latency by percentile",
        "Latency over time",
        "Variation in µs",
        "left when it should have",
        "<svg",
    ] {
        assert!(html.contains(part), "{part}");
    }
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(dir.path().join("replay.json")).unwrap()).unwrap();
    let b = &json["result"]["ports"][1]["account"];
    assert_eq!((&b["due"], &b["lost"], &b["latency_ns"][0]), (&450.into(), &50.into(), &5_000.into()));
    assert_eq!(json["schema"], "traffic-gen/report/1");
}
