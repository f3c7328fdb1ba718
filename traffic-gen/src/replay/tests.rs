//! The traps of replaying: drift, tiny and huge multipliers, gaps of years, equal times, the wire.

use port::wrap::link::Wire;
use port::{Hugepages, Mempool, Nanos};
use proptest::prelude::*;

use super::ports::{LineRate, Opened};
use super::ratio::Ratio;
use super::run::{self, Setup, VirtualTime};
use super::schedule::{Bounds, Departure, Schedule, ScheduleError};
use super::speed::Speed;
use super::summary::{Input, Replayed, Summary};
use super::unique::Unique;
use super::*;

const G1: u64 = 1_000_000_000;
const G10: u64 = 10_000_000_000;

/// Frames of one port with these times and lengths.
fn frames(times: &[(u64, usize)]) -> Vec<Frame> {
    let frame = |(index, &(time, len)): (usize, &(u64, usize))| {
        let bytes = vec![index as u8; len].into();
        Frame { port: 0, time, bytes, original_len: len as u32, number: index as u64 + 1, file: 0, interface: 0 }
    };
    times.iter().enumerate().map(frame).collect()
}

fn schedule(frames: &[Frame], line: u64, speed: Speed, bounds: &Bounds) -> Vec<Departure> {
    Schedule::new(frames, &[line], speed, bounds).unwrap().map(|(_, departure)| departure).collect()
}

/// In real time the next frame is made before its time: it is neither sent early nor leaked when the run is ended before.
#[test]
fn a_frame_made_ahead_waits_for_its_time() {
    let frames = frames(&[(0, 60), (1_000, 60), (3_600 * G1, 60)]);
    let mempool = Mempool::new(512, Hugepages::Never).unwrap();
    let opened = ports::open(&["null:".to_owned()], &[LineRate(G1)], &mempool, false).unwrap();
    let setup = Setup {
        frames: &frames,
        schedule: Schedule::new(&frames, &[G1], Speed::ORIGINAL, &loops(1)).unwrap(),
        ports: opened.into_iter().map(|Opened { name, port, .. }| (name, port, G1)).collect(),
        learning: Vec::new(),
        pool: mempool.cache(),
        unique: Unique::new(&frames, None, false),
        step: None,
        listen: Nanos::ZERO,
        matching: None,
        stamped: false,
    };
    let replayed = run::run(setup, &mut run::RealTime::default(), &mut |progress| progress.sent < 2);
    assert_eq!((replayed.ports[0].sent, replayed.ports[0].due, replayed.interrupted), (2, 2, true));
    assert!(replayed.ports[0].last >= Some(Nanos(1_000)));
    assert_eq!(mempool.in_use(), 0, "no buffer leaks");
}

fn times(departures: &[Departure]) -> Vec<u64> {
    departures.iter().map(|departure| departure.planned.0).collect()
}

fn multiplier(text: &str) -> Speed {
    Speed::Multiplier(text.parse().unwrap())
}

fn loops(count: u64) -> Bounds {
    Bounds { loops: Some(count), ..Bounds::default() }
}

/// Sends through the real path on the virtual clock, to nowhere.
fn replay(frames: &[Frame], line: u64, speed: Speed, bounds: &Bounds) -> Replayed {
    let mempool = Mempool::new(512, Hugepages::Never).unwrap();
    let opened = ports::open(&["null:".to_owned()], &[LineRate(line)], &mempool, false).unwrap();
    let setup = Setup {
        frames,
        schedule: Schedule::new(frames, &[line], speed, bounds).unwrap(),
        ports: opened.into_iter().map(|Opened { name, port, .. }| (name, port, line)).collect(),
        learning: Vec::new(),
        pool: mempool.cache(),
        unique: Unique::new(frames, None, false),
        step: None,
        listen: Nanos::ZERO,
        matching: None,
        stamped: false,
    };
    let replayed = run::run(setup, &mut VirtualTime::default(), &mut |_| true);
    assert_eq!(mempool.in_use(), 0, "no buffer leaks");
    replayed
}

/// RFC 2544 appendix B, to the frame: complete on the wire in one second.
#[test]
fn one_second_of_the_wire() {
    let frame = frames(&[(0, 60)]);
    let second = Bounds { loops: None, duration: Some(Nanos::from_secs(1)), ..Bounds::default() };
    for (line, expected) in [(G1, 1_488_095), (G10, 14_880_952)] {
        for speed in [Speed::Topspeed, Speed::Percent("100".parse().unwrap()), Speed::Ipg { ns: 0 }, Speed::ORIGINAL] {
            if line == G10 && speed != Speed::Topspeed {
                continue; // Once is enough of the long one.
            }
            let replayed = replay(&frame, line, speed, &second);
            assert_eq!(replayed.ports[0].sent, expected, "{speed} at {line}");
            assert_eq!(replayed.ports[0].pacing.lateness.max(), 0, "{speed} at {line}");
        }
    }
}

/// Half the line is half the frames; a rate of frames is that many; both to the frame.
#[test]
fn rates_are_exact() {
    let second = Bounds { loops: None, duration: Some(Nanos::from_secs(1)), ..Bounds::default() };
    let ratio = |text: &str| text.parse::<Ratio>().unwrap();
    for (speed, expected) in [
        // A frame begins every 1344 ns and takes 576 to its last bit.
        (Speed::Percent(ratio("50")), 744_048),
        (Speed::Pps { rate: ratio("1000"), burst: 1 }, 1_000),
        (Speed::Pps { rate: ratio("1000"), burst: 10 }, 1_000),
        (Speed::Pps { rate: ratio("0.25"), burst: 1 }, 1),
        // 60 bytes are 480 bits.
        (Speed::Mbps(ratio("0.48")), 1_000),
        (Speed::MbpsL1(ratio("0.672")), 1_000),
        // 576 ns of frame and 424 of gap.
        (Speed::Ipg { ns: 424 }, 1_000_000),
        (Speed::Topspeed, 1_488_095),
    ] {
        let replayed = replay(&frames(&[(0, 60)]), G1, speed, &second);
        assert_eq!(replayed.ports[0].sent, expected, "{speed}");
    }
}

/// tcpreplay #630, #210: after a billion frames the plan is still exact. All of them would take a minute; each time follows from its
/// number alone, so millions at the start and the last ones are looked at.
#[test]
fn a_billion_frames_without_drift() {
    // Three frames, 1 s and 1/3 of it apart: a mean gap of 666,666,666.5 ns; times 3/7 of the original speed.
    let frames = frames(&[(0, 60), (1_000_000_000, 60), (1_333_333_333, 1514)]);
    let speed = Speed::Multiplier(Ratio::new(3, 7));
    let rounds: u64 = 333_333_334;
    let all = Schedule::new(&frames, &[G1], speed, &loops(rounds)).unwrap();
    let mut lane = all.lane(0);
    let mut first = Vec::new();
    for _ in 0..3_000_000 {
        first.push(lane.next().unwrap());
    }
    // In thirds of a nanosecond, by other arithmetic: loop * period + time, of 7/3.
    let period = (1_333_333_333u128 * 7) + (1_333_333_333u128 * 7) / 2;
    let exact = |position: u128, frame: &Frame| ((position / 3) * period + u128::from(frame.time) * 7) / 3;
    for departure in &first {
        assert_eq!(u128::from(departure.planned.0), exact(departure.position.into(), &frames[departure.frame]));
        assert_eq!(departure.begin, departure.planned);
    }
    let mut late = all.lane(0);
    late.skip_to_loop(rounds - 2);
    let last: Vec<Departure> = late.collect();
    assert_eq!(last.len(), 6);
    assert_eq!(last[5].position, 1_000_000_001);
    for departure in last {
        assert_eq!(u128::from(departure.planned.0), exact(departure.position.into(), &frames[departure.frame]));
    }
}

/// Pktgen #372: a rate of bits is that of the frames as long as they are, in whatever order they come.
#[test]
fn rates_count_every_frame_as_long_as_it_is() {
    let second = Bounds { loops: None, duration: Some(Nanos::from_secs(1)), ..Bounds::default() };
    let mixed = frames(&[(0, 60), (1, 1514), (2, 60), (3, 60), (4, 566)]);
    let speed = Speed::Mbps("100".parse().unwrap());
    let replayed = replay(&mixed, G1, speed, &second);
    let bits = replayed.ports[0].sent_bytes * 8;
    // A second ends somewhere in a frame, the longest at most.
    assert!(bits.abs_diff(100_000_000) <= 1514 * 8, "{bits}");
    for departure in schedule(&mixed, G10, speed, &loops(50)) {
        // 2,260 bytes a loop, and those before this frame, of 10 ns a bit.
        let before: u64 = (0..departure.position % 5).map(|place| mixed[place as usize].bytes.len() as u64).sum();
        assert_eq!(departure.planned.0, (departure.position / 5 * 2_260 + before) * 80);
    }
}

/// tcpreplay #235, #679: the rate after days is that of the first second. 14,880,952 frames a second for 100 days are 2^46.9 frames.
#[test]
fn rates_hold_for_days() {
    let capture = frames(&[(0, 60)]);
    let days: u64 = 100 * 86_400;
    let ratio = |text: &str| text.parse::<Ratio>().unwrap();
    for (speed, rate) in [
        (Speed::Pps { rate: ratio("14880952"), burst: 1 }, 14_880_952),
        (Speed::Pps { rate: ratio("0.25"), burst: 1 }, 0),
        (Speed::Mbps(ratio("480")), 1_000_000),
    ] {
        let mut lane = Schedule::new(&capture, &[G10], speed, &Bounds { loops: None, ..Bounds::default() }).unwrap().lane(0);
        let frame = if rate == 0 { days / 4 } else { rate * days };
        lane.skip_to_loop(frame);
        assert_eq!(lane.next().unwrap().planned, Nanos::from_secs(days), "{speed}");
    }
}

/// tcpreplay #674, #85, #472: tiny multipliers are not 0, small ones not 1, and loops go on at the same rate.
#[test]
fn multipliers() {
    let capture = frames(&[(0, 60), (1_000_000, 60), (3_000_000, 60)]);
    for (text, expected) in [
        ("1", [0, 1_000_000, 3_000_000, 4_500_000, 5_500_000, 7_500_000]),
        ("0.5", [0, 2_000_000, 6_000_000, 9_000_000, 11_000_000, 15_000_000]),
        ("3", [0, 333_333, 1_000_000, 1_500_000, 1_833_333, 2_500_000]),
        ("0.0000002", [0, 5_000_000_000_000, 15_000_000_000_000, 22_500_000_000_000, 27_500_000_000_000, 37_500_000_000_000]),
        ("1000000", [0, 1, 3, 4, 5, 7]),
    ] {
        assert_eq!(times(&schedule(&capture, G10, multiplier(text), &loops(2))), expected, "{text}");
    }
    // At a million times the speed the wire decides: 672 ns a frame.
    let fast = schedule(&capture, G1, multiplier("1000000"), &loops(2));
    assert_eq!(fast.iter().map(|d| d.begin.0).collect::<Vec<_>>(), [0, 672, 1344, 2016, 2688, 3360]);
}

#[test]
fn years_between_frames() {
    let ten_years = 326_491_455 * G1;
    let capture = frames(&[(0, 60), (ten_years, 60)]);
    assert_eq!(times(&schedule(&capture, G1, Speed::ORIGINAL, &loops(1))), [0, ten_years]);
    let capped = Bounds { max_gap: Some(Nanos::from_millis(5)), ..loops(1) };
    assert_eq!(times(&schedule(&capture, G1, Speed::ORIGINAL, &capped)), [0, 5_000_000]);
    assert_eq!(times(&schedule(&capture, G1, multiplier("0.0000002"), &capped)), [0, 5_000_000], "as it is sent, whatever the speed");
    // Five million times ten years are too many.
    let error = Schedule::new(&capture, &[G1], multiplier("0.0000002"), &loops(1)).unwrap_err();
    assert_eq!(error, ScheduleError::TooLong);
    assert!(error.to_string().contains("--max-gap"), "{error}");
    // With a bound it ends by itself.
    let bounded = Bounds { duration: Some(Nanos::from_secs(9)), ..loops(1) };
    assert_eq!(times(&schedule(&capture, G1, multiplier("0.0000002"), &bounded)), [0]);
}

#[test]
fn ten_thousand_equal_times_go_back_to_back() {
    let capture = frames(&vec![(0, 60); 10_000]);
    let departures = schedule(&capture, G1, Speed::ORIGINAL, &loops(1));
    for (index, departure) in departures.iter().enumerate() {
        assert_eq!((departure.begin.0, departure.planned.0), (index as u64 * 672, 0));
    }
    let summary = summary(&replay(&capture, G1, Speed::ORIGINAL, &loops(1)), Speed::ORIGINAL);
    assert!(summary.valid, "the capture asks for no rate: {:?}", summary.invalid);
    assert!(summary.notes[0].contains("9999 frames waited"), "{:?}", summary.notes);
}

fn summary(replayed: &Replayed, speed: Speed) -> Summary {
    Summary::new(replayed, Input::default(), speed, true, Nanos::from_millis(1))
}

/// Pktgen #62: never more than the line.
#[test]
fn a_rate_that_the_line_cannot_carry_is_invalid() {
    let speed = Speed::Pps { rate: "2000000".parse().unwrap(), burst: 1 };
    let replayed = replay(&frames(&[(0, 60)]), G1, speed, &loops(1000));
    let summary = summary(&replayed, speed);
    assert!(!summary.valid && summary.invalid[0].contains("cannot carry 2000000 frames/s"), "{:?}", summary.invalid);
    assert!(summary.pps < 1_488_096.0, "{}", summary.pps);
}

#[test]
fn bounds() {
    let capture = frames(&[(0, 60), (1_000, 60)]);
    let pause = Bounds { loop_delay: Nanos(10_000), limit: Some(5), ..loops(9) };
    assert_eq!(times(&schedule(&capture, G10, Speed::ORIGINAL, &pause)), [0, 1_000, 12_000, 13_000, 24_000]);
    let pps = Speed::Pps { rate: "1000000".parse().unwrap(), burst: 2 };
    assert_eq!(times(&schedule(&capture, G10, pps, &pause)), [0, 0, 12_000, 12_000, 24_000]);
    let pps = Speed::Pps { rate: "1000000".parse().unwrap(), burst: 1 };
    assert_eq!(times(&schedule(&capture, G10, pps, &pause)), [0, 1_000, 12_000, 13_000, 24_000]);
    assert_eq!(Schedule::new(&[], &[G1], Speed::ORIGINAL, &loops(1)).unwrap_err(), ScheduleError::Empty);
}

#[test]
fn ports_keep_their_own_wires_and_one_clock() {
    let mut capture = frames(&[(0, 1514), (0, 60), (100, 60), (200, 60)]);
    capture[1].port = 1;
    capture[2].port = 1;
    let order: Vec<_> =
        Schedule::new(&capture, &[G1, G10], Speed::ORIGINAL, &loops(1)).unwrap().map(|(port, d)| (port, d.begin.0)).collect();
    // The last waits for the first, 1538 bytes at 1G; the others do not.
    assert_eq!(order, [(0, 0), (1, 0), (1, 100), (0, 12_304)]);
}

#[test]
fn every_loop_has_other_stations() {
    let plan = |a: u8, b: u8| {
        let station = |n: u8| crate::plan::Station { mac: [2, 0, 0, 0, 0, n], ip: [10, 0, 0, n] };
        Frame { bytes: crate::plan::udp_frame(station(a), station(b), 60).into(), ..frames(&[(0, 60)]).remove(0) }
    };
    let capture = [plan(1, 2), plan(2, 1)];
    let unique = Unique::new(&capture, Some(2), true);
    let mut macs = std::collections::HashSet::new();
    for round in 0..1_000 {
        let frame = |index: usize| {
            let mut bytes = capture[index].bytes.to_vec();
            unique.apply(index, round, &mut bytes);
            assert_eq!(wire::checksum::checksum(&bytes[14..34]), 0);
            bytes
        };
        let (there, back) = (frame(0), frame(1));
        assert_eq!((&there[..6], &there[6..12]), (&back[6..12], &back[..6]), "an answer goes back to who asked");
        assert_eq!((&there[26..30], &there[30..34]), (&back[30..34], &back[26..30]));
        let step = (round / 2) as u32;
        assert_eq!(there[30..34], (0x0a00_0002 + step).to_be_bytes());
        assert!(macs.insert(there[..6].to_vec()) && macs.insert(there[6..12].to_vec()), "loop {round}");
    }
}

/// What a station says of itself is what its frames come from, in ARP and, under a checksum, in DHCP.
#[test]
fn packets_that_tell_addresses_tell_those_of_their_loop() {
    let station = |n: u8| crate::plan::Station { mac: [2, 0, 0, 0, 0, n], ip: [10, 0, 0, n] };
    let mut request = [&[0xff; 6], &station(1).mac[..], &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &station(1).mac, &[10, 0, 0, 1]].concat();
    request.extend([0, 0, 0, 0, 0, 0, 10, 0, 0, 2]);
    let mut dhcp = crate::plan::udp_frame(station(1), station(2), 64 + 250);
    dhcp[34..38].copy_from_slice(&[0, 68, 0, 67]);
    dhcp[42..].fill(0);
    dhcp[42..45].copy_from_slice(&[1, 1, 6]);
    dhcp[70..76].copy_from_slice(&station(1).mac);
    dhcp[278..289].copy_from_slice(&[99, 130, 83, 99, 61, 7, 1, 2, 0, 0, 0]);
    dhcp[289..292].copy_from_slice(&[0, 1, 255]);
    assert!(crate::edit::checksum::repair(&mut dhcp));
    let frame = |bytes: &[u8]| Frame { bytes: bytes.into(), ..frames(&[(0, 60)]).remove(0) };
    let capture = [frame(&request), frame(&dhcp)];
    let unique = Unique::new(&capture, None, true);
    for round in [1, 2, 77_777] {
        let sent = |index: usize| {
            let mut bytes = capture[index].bytes.to_vec();
            unique.apply(index, round, &mut bytes);
            bytes
        };
        let (request, dhcp) = (sent(0), sent(1));
        assert_eq!(request[22..28], request[6..12]);
        assert_eq!((&request[..6], &request[32..38]), (&[0xff; 6][..], &[0; 6][..]), "nobody's address stays");
        assert_eq!((&dhcp[70..76], &dhcp[285..291]), (&dhcp[6..12], &dhcp[6..12]));
        assert_eq!(dhcp[6..12], request[6..12], "the same station");
        assert_ne!(dhcp[6..12], station(1).mac);
        let mut repaired = dhcp.clone();
        assert!(crate::edit::checksum::repair(&mut repaired));
        assert_eq!(repaired, dhcp, "checksums are right");
    }
}

proptest! {
    /// Whatever the capture, speed and line: frames leave in order, never before their time, never into one another.
    #[test]
    fn never_early_and_never_faster_than_the_wire(
        gaps in proptest::collection::vec((0u64..2_000, 14usize..2_000), 1..50), which in 0usize..7, count in 1u64..4,
    ) {
        let mut now = 0;
        let capture: Vec<_> = gaps.iter().map(|(gap, len)| { now += gap; (now, *len) }).collect();
        let capture = frames(&capture);
        let ratio = |text: &str| text.parse::<Ratio>().unwrap();
        let speed = [
            Speed::ORIGINAL, multiplier("0.3"), Speed::Pps { rate: ratio("700000.7"), burst: 3 }, Speed::Mbps(ratio("900")),
            Speed::Percent(ratio("33.3")), Speed::Topspeed, Speed::Ipg { ns: 5 },
        ][which];
        let mut wire = Wire::new(G1);
        let mut last = None;
        for departure in schedule(&capture, G1, speed, &loops(count)) {
            prop_assert!(departure.begin >= departure.planned && departure.begin >= wire.free_at());
            prop_assert!(last.is_none_or(|last| last <= departure.planned));
            prop_assert_eq!(wire.send(departure.planned, capture[departure.frame].wire_len()), departure.end);
            last = Some(departure.planned);
        }
    }
}
