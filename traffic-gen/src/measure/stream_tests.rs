use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// What can happen to a frame.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Arrives,
    Lost,
    /// Arrives after so many others.
    Delayed(u16),
    /// Arrives, and once more so much later.
    Doubled(u16),
    Elsewhere,
    Flooded,
    /// It and so many after it are lost.
    Outage(u16),
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let fate = prop_oneof![
        300 => Just(Fate::Arrives),
        5 => Just(Fate::Lost),
        5 => (1_u16..400).prop_map(Fate::Delayed),
        1 => (4_000_u16..4_200).prop_map(Fate::Delayed),
        5 => (1_u16..400).prop_map(Fate::Doubled),
        3 => Just(Fate::Elsewhere),
        3 => Just(Fate::Flooded),
        1 => (1_u16..10_000).prop_map(Fate::Outage),
    ];
    proptest::collection::vec(fate, 1..600)
}

/// An arrival: when it comes in the order of all, number, at the right port.
type Arrival = (usize, u64, bool);

/// The arrivals that the fates lead to, in order, and how many frames were sent. Between two fates come `plain` frames.
fn arrivals(fates: &[Fate], plain: u64) -> (Vec<Arrival>, u64) {
    let (mut list, mut number) = (Vec::new(), 0);
    for fate in fates {
        let place = number as usize * 2;
        match *fate {
            Fate::Arrives => list.push((place, number, true)),
            Fate::Lost => {}
            Fate::Delayed(by) => list.push((place + 1 + 2 * usize::from(by), number, true)),
            Fate::Doubled(by) => list.extend([(place, number, true), (place + 1 + 2 * usize::from(by), number, true)]),
            Fate::Elsewhere => list.push((place, number, false)),
            Fate::Flooded => list.extend([(place, number, true), (place, number, false)]),
            Fate::Outage(frames) => number += u64::from(frames),
        }
        for _ in 0..plain {
            number += 1;
            list.push((number as usize * 2, number, true));
        }
        number += 1;
    }
    list.sort_by_key(|&(place, ..)| place);
    (list, number)
}

/// Planned times a prime apart, so that interpolation can be checked to the ns.
const PERIOD: u64 = 67;

fn intended(number: u64) -> Nanos {
    Nanos(1_000 + number * PERIOD)
}

/// The same account with sets, without a window but for its threshold.
fn oracle(list: &[Arrival], sent: u64) -> StreamResult {
    let mut result = StreamResult { sent, ..StreamResult::default() };
    let (mut next, mut received, mut elsewhere) = (0, BTreeSet::new(), BTreeSet::new());
    // Who skipped a number: count of arrivals with that one, time.
    let mut skipped = BTreeMap::new();
    for (time, &(_, number, here)) in list.iter().enumerate() {
        let at = Nanos(time as u64);
        if !here {
            result.elsewhere += 1;
            if number + WINDOW >= next {
                elsewhere.insert(number);
            }
        } else if number + WINDOW < next {
            result.too_late += 1;
        } else if !received.insert(number) {
            result.duplicates += 1;
        } else if number < next {
            let (arrival, since): (u64, Nanos) = skipped[&number];
            result.reordered += 1;
            result.extent_max = result.extent_max.max(received.len() as u64 - arrival);
            result.late_time_max = result.late_time_max.max(at - since);
        } else {
            skipped.extend((next..number).map(|missing| (missing, (received.len() as u64, at))));
            next = number + 1;
        }
    }
    result.received = received.len() as u64;
    result.lost = sent - result.received;
    result.misdelivered = elsewhere.difference(&received).count() as u64;
    let mut lost = (0..sent).filter(|number| !received.contains(number));
    result.lost_first = lost.clone().next().map(intended);
    result.lost_last = lost.next_back().map(intended);
    result
}

fn measured(list: &[Arrival], sent: u64, first: u32) -> StreamResult {
    let mut meter = StreamMeter::new(first, intended(0));
    for (time, &(_, number, here)) in list.iter().enumerate() {
        let sequence = first.wrapping_add(number as u32);
        if here {
            meter.arrived(sequence, intended(number), Nanos(time as u64));
        } else {
            meter.arrived_elsewhere(sequence);
        }
    }
    meter.finish(sent, intended(sent - 1))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn the_same_as_with_sets(fates in fates(), plain in 0_u64..40, first in prop_oneof![Just(0), Just(u32::MAX - 77), any::<u32>()]) {
        let (list, sent) = arrivals(&fates, plain);
        let mut result = measured(&list, sent, first);
        let expected = oracle(&list, sent);
        if let Some(gap) = result.largest_gap {
            prop_assert!(gap.frames <= expected.lost + expected.reordered);
        }
        result.largest_gap = None;
        prop_assert_eq!(result, expected);
    }

    #[test]
    fn no_numbers_break_it(numbers in proptest::collection::vec((any::<u32>(), any::<bool>(), any::<u64>()), 0..200), sent in any::<u32>()) {
        let mut meter = StreamMeter::new(7, Nanos(0));
        for &(sequence, here, time) in &numbers {
            if here {
                meter.arrived(sequence, Nanos(time), Nanos(time));
            } else {
                meter.arrived_elsewhere(sequence);
            }
        }
        let result = meter.finish(u64::from(sent), Nanos(5));
        prop_assert!(result.received <= numbers.len() as u64);
        prop_assert!(result.misdelivered <= result.elsewhere);
        prop_assert_eq!(result.lost, u64::from(sent).saturating_sub(result.received));
    }
}

#[test]
fn a_frame_overtaken_by_one_is_reordered_by_one() {
    let mut meter = StreamMeter::new(0, Nanos(0));
    let orders = [0, 2, 1, 3, 3, 9, 0].map(|number| meter.arrived(number, intended(u64::from(number)), Nanos(100 + u64::from(number))));
    assert_eq!(orders, [Order::Next, Order::Ahead, Order::Reordered, Order::Next, Order::Duplicate, Order::Ahead, Order::Duplicate]);
    assert_eq!((meter.received(), meter.missing()), (5, 5));
    let result = meter.finish(12, intended(11));
    assert_eq!((result.sent, result.received, result.lost, result.duplicates, result.reordered), (12, 5, 7, 2, 1));
    assert_eq!(result.extent_max, 1, "RFC 4737, section 4.2.1");
    assert_eq!((result.lost_first, result.lost_last), (Some(intended(4)), Some(intended(11))));
    let gap = result.largest_gap.unwrap();
    assert_eq!((gap.frames, gap.intended_before, gap.arrived_after), (5, intended(3), Nanos(109)));
    assert_eq!((result.loss_ratio(), result.reordered_ratio()), (7.0 / 12.0, 0.2));
}

#[test]
fn a_stream_that_never_came_is_lost_from_start_to_end() {
    let result = StreamMeter::new(5, Nanos(1_000)).finish(1_000, Nanos(2_000));
    assert_eq!((result.lost, result.lost_first, result.lost_last), (1_000, Some(Nanos(1_000)), Some(Nanos(2_000))));
    assert_eq!(StreamMeter::new(5, Nanos(1_000)).finish(0, Nanos(0)), StreamResult::default());
}

#[test]
fn a_frame_of_an_earlier_trial_is_too_late() {
    let mut meter = StreamMeter::new(1_000, Nanos(0));
    assert_eq!(meter.arrived(999, Nanos(0), Nanos(0)), Order::TooLate);
    assert_eq!(meter.arrived(1_000, Nanos(0), Nanos(0)), Order::Next);
    assert_eq!(meter.arrived(999, Nanos(0), Nanos(0)), Order::TooLate);
    assert_eq!(meter.finish(1, Nanos(0)).too_late, 2);
}

#[test]
fn streams_add_up() {
    let lossy = StreamMeter::new(0, Nanos(50)).finish(10, Nanos(90));
    let mut meter = StreamMeter::new(0, Nanos(10));
    for number in [1, 0] {
        meter.arrived(number, Nanos(10), Nanos(20));
    }
    let mut sum = meter.finish(2, Nanos(20));
    sum.merge(&lossy);
    assert_eq!((sum.sent, sum.received, sum.lost, sum.reordered), (12, 2, 10, 1));
    assert_eq!((sum.lost_first, sum.lost_last), (Some(Nanos(50)), Some(Nanos(90))));
    assert_eq!(sum.largest_gap.map(|gap| gap.frames), Some(1));
}
