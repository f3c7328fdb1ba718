//! The table alone, and against an oracle with time.

use super::*;
use proptest::prelude::*;
use std::collections::HashMap as StdMap;

const A: PortId = PortId(0);
const B: PortId = PortId(1);

fn at(vid: u16, station: u32) -> Key {
    let o = station.to_be_bytes();
    key(Vid::new(vid).unwrap(), MacAddr([2, 0, o[0], o[1], o[2], o[3]]))
}

fn found(port: PortId) -> Option<Found> {
    Some(Found { port, kind: Kind::Dynamic })
}

fn small(total: u32) -> Fdb {
    Fdb::new(Limits::total(total), TICKS_PER_AGE, 7)
}

#[test]
fn an_entry_lives_its_ageing_time_and_not_more_than_a_tick_longer() {
    let mut fdb = small(16);
    assert_eq!(fdb.learn(at(1, 1), A, 100), Learned::New);
    assert_eq!(fdb.learn(at(1, 1), A, 100), Learned::Known);
    assert_eq!(fdb.lookup(at(1, 1), 100 + TICKS_PER_AGE), found(A));
    assert_eq!(fdb.lookup(at(1, 1), 101 + TICKS_PER_AGE), None);
    assert_eq!(fdb.learn(at(1, 1), A, 110), Learned::Refreshed);
    assert_eq!(fdb.lookup(at(1, 1), 110 + TICKS_PER_AGE), found(A));
    fdb.sweep(111 + TICKS_PER_AGE, fdb.buckets());
    assert_eq!((fdb.len(), fdb.counters().aged), (0, 1));
}

#[test]
fn time_wraps_without_ageing_anything() {
    let mut fdb = small(16);
    fdb.learn(at(1, 1), A, u32::MAX);
    assert_eq!(fdb.lookup(at(1, 1), 10), found(A));
}

#[test]
fn stations_move() {
    let mut fdb = small(16);
    fdb.learn(at(1, 1), A, 0);
    assert_eq!(fdb.learn(at(1, 1), B, 0), Learned::Moved { from: A });
    assert_eq!(fdb.lookup(at(1, 1), 0), found(B));
    assert_eq!((fdb.len_port(A), fdb.len_port(B), fdb.counters().moved), (0, 1, 1));
}

#[test]
fn the_same_address_in_two_vlans_is_two_stations() {
    let mut fdb = small(16);
    fdb.learn(at(1, 1), A, 0);
    fdb.learn(at(2, 1), B, 0);
    assert_eq!((fdb.lookup(at(1, 1), 0), fdb.lookup(at(2, 1), 0)), (found(A), found(B)));
}

#[test]
fn entries_set_by_hand_stay() {
    let mut fdb = small(4);
    assert!(fdb.set(at(1, 1), A, Kind::Static, 0));
    assert!(fdb.set(at(1, 2), A, Kind::Blackhole, 0));
    assert_eq!(fdb.learn(at(1, 1), B, 0), Learned::Fixed);
    assert_eq!(fdb.learn(at(1, 1), A, 0), Learned::Known);
    assert_eq!(fdb.learn(at(1, 2), B, 0), Learned::Blackhole);
    fdb.flush_all();
    fdb.sweep(1000, fdb.buckets());
    assert_eq!(fdb.lookup(at(1, 1), 1000), Some(Found { port: A, kind: Kind::Static }));
    assert!(fdb.remove(at(1, 1)) && !fdb.remove(at(1, 1)));
    assert_eq!(fdb.len(), 1);
    for station in 3..10 {
        fdb.set(at(1, station), A, Kind::Static, 0);
    }
    assert_eq!(fdb.len(), 4, "the limit holds for them as well");
}

#[test]
fn flushing_is_by_port_by_vlan_or_everything() {
    let mut fdb = small(16);
    for (vid, station, port) in [(1, 1, A), (1, 2, B), (2, 3, A), (2, 4, B)] {
        fdb.learn(at(vid, station), port, 0);
    }
    fdb.flush_port(A);
    assert_eq!([1, 2, 3, 4].map(|s| fdb.lookup(at(1 + (s > 2) as u16, s), 0)), [None, found(B), None, found(B)]);
    assert_eq!(fdb.len(), 2);
    fdb.flush_vlan(Vid::new(2).unwrap());
    assert_eq!((fdb.len(), fdb.lookup(at(2, 4), 0)), (1, None));
    assert_eq!(fdb.learn(at(2, 4), B, 0), Learned::New);
    fdb.flush_all();
    assert_eq!(fdb.len(), 0);
    fdb.sweep(0, fdb.buckets());
    assert_eq!(fdb.table.len(), 0, "the sweep removes what was flushed");
}

#[test]
fn a_port_cannot_push_out_anothers_addresses() {
    let mut fdb = small(100);
    for station in 0..10 {
        fdb.learn(at(1, station), B, 0);
    }
    // A storm of new addresses behind A.
    for station in 1000..21_000 {
        fdb.learn(at(1, station), A, 0);
    }
    assert!((0..10).all(|station| fdb.lookup(at(1, station), 0) == found(B)));
    assert_eq!((fdb.len(), fdb.len_port(A), fdb.len_port(B)), (100, 90, 10));
    // B may still learn: A, which has most, makes room.
    assert_eq!(fdb.learn(at(1, 10), B, 0), Learned::New);
    assert_eq!((fdb.len_port(A), fdb.len_port(B)), (89, 11));
    assert_eq!(fdb.counters().evicted, 20_000 - 90 + 1);
}

#[test]
fn limits_of_ports_and_vlans() {
    let mut limits = Limits::total(100);
    limits.per_port[0] = 3;
    limits.per_vlan = 5;
    let mut fdb = Fdb::new(limits, TICKS_PER_AGE, 7);
    let learned = |fdb: &mut Fdb, vid, port, stations: std::ops::Range<u32>| {
        stations.filter(|&station| fdb.learn(at(vid, station), port, 0) == Learned::New).count()
    };
    assert_eq!(learned(&mut fdb, 1, A, 0..10), 3);
    assert_eq!(learned(&mut fdb, 1, B, 10..20), 2, "five of the VLAN in all");
    assert_eq!(learned(&mut fdb, 2, B, 20..30), 5);
    assert_eq!(fdb.learn(at(2, 20), A, 0), Learned::Refused, "moving to a full port");
    assert_eq!(fdb.lookup(at(2, 20), 0), found(B));
}

/// Addresses as vendors, hypervisors and test tools give them out: counted up in one octet or another.
#[test]
fn addresses_in_a_row_spread_over_the_front() {
    type Numbering = fn(u32) -> MacAddr;
    let numberings: [Numbering; 3] = [
        |n| {
            let o = n.to_be_bytes();
            MacAddr([2, 0, o[0], o[1], o[2], o[3]])
        },
        |n| {
            let o = n.to_le_bytes();
            MacAddr([2, 0, o[0], o[1], o[2], o[3]])
        },
        |n| {
            let o = n.to_be_bytes();
            MacAddr([2, o[3], 0x5e, o[2], 0, o[1]])
        },
    ];
    for (which, numbering) in numberings.into_iter().enumerate() {
        for seed in [0, 1, 0xdead_beef] {
            let mut fdb = Fdb::new(Limits::total(1 << 16), TICKS_PER_AGE, seed);
            for n in 0..1 << 16 {
                fdb.learn(key(Vid::DEFAULT, numbering(n)), A, 0);
            }
            let keys = || (0..1 << 16).map(|n| key(Vid::DEFAULT, numbering(n)));
            let own = keys().filter(|&key| fdb.front.get(fdb.place(key)).is_some()).count();
            let all = keys().filter(|&key| fdb.front.get_anywhere(fdb.place(key)).is_some()).count();
            assert!(own > (1 << 16) * 93 / 100, "numbering {which}, seed {seed}: {own} of 65536 in their own line");
            assert!(all > (1 << 16) * 995 / 1000, "numbering {which}, seed {seed}: {all} of 65536 in the front");
        }
    }
}

#[test]
fn a_million_addresses() {
    let mut fdb = small(1 << 20);
    let buckets = fdb.buckets();
    for station in 0..1 << 20 {
        assert_eq!(fdb.learn(at(1, station), PortId((station % 17) as u8), 0), Learned::New);
    }
    assert_eq!(fdb.buckets(), buckets, "the table never grows");
    assert!((0..1 << 20).all(|station| fdb.lookup(at(1, station), 0) == found(PortId((station % 17) as u8))));
}

#[derive(Clone, Debug)]
enum Op {
    Learn { station: u32, vid: u16, port: u8 },
    Wait(u32),
    FlushPort(u8),
    FlushVlan(u16),
    FlushAll,
    FlushMuch(u32),
    Sweep(usize),
    Remove { station: u32, vid: u16 },
}

fn op() -> impl Strategy<Value = Op> {
    let (station, vid, port) = (0..12u32, 1..4u16, 0..3u8);
    prop_oneof![
        8 => (station.clone(), vid.clone(), port.clone()).prop_map(|(station, vid, port)| Op::Learn { station, vid, port }),
        3 => (0..50u32).prop_map(Op::Wait),
        1 => port.prop_map(Op::FlushPort),
        1 => vid.clone().prop_map(Op::FlushVlan),
        1 => Just(Op::FlushAll),
        2 => (0..40usize).prop_map(Op::Sweep),
        1 => (station, vid).prop_map(|(station, vid)| Op::Remove { station, vid }),
        // Times and numbers of flushes after which stamps and generations of the front come again.
        1 => (4090..4200u32).prop_map(Op::Wait),
        1 => (4090..4100u32).prop_map(Op::FlushMuch),
    ]
}

proptest! {
    /// Against a map of when each address was last seen where.
    #[test]
    fn behaves_like_a_map_with_time(ops in prop::collection::vec(op(), 0..300), start: u32) {
        let mut fdb = small(64);
        let mut model: StdMap<Key, (PortId, u32)> = StdMap::new();
        let mut now = start;
        for op in ops {
            match op {
                Op::Learn { station, vid, port } => {
                    let key = at(vid, station);
                    let before = model.get(&key).copied().filter(|(_, seen)| now.wrapping_sub(*seen) <= TICKS_PER_AGE);
                    let expected = match before {
                        None => Learned::New,
                        Some((at, _)) if at != PortId(port) => Learned::Moved { from: at },
                        Some((_, seen)) if seen == now => Learned::Known,
                        Some(_) => Learned::Refreshed,
                    };
                    prop_assert_eq!(fdb.learn(key, PortId(port), now), expected);
                    model.insert(key, (PortId(port), now));
                }
                Op::Wait(ticks) => {
                    now = now.wrapping_add(ticks);
                    fdb.advance(now);
                }
                Op::FlushPort(port) => { fdb.flush_port(PortId(port)); model.retain(|_, (at, _)| *at != PortId(port)); }
                Op::FlushVlan(vid) => { fdb.flush_vlan(Vid::new(vid).unwrap()); model.retain(|key, _| vid_of(*key) as u16 != vid); }
                Op::FlushMuch(times) => {
                    (0..times).for_each(|_| fdb.flush_port(PortId(0)));
                    model.retain(|_, (at, _)| *at != PortId(0));
                }
                Op::FlushAll => { fdb.flush_all(); model.clear(); }
                Op::Sweep(buckets) => fdb.sweep(now, buckets),
                Op::Remove { station, vid } => { fdb.remove(at(vid, station)); model.remove(&at(vid, station)); }
            }
            for (vid, station) in (1..4).flat_map(|vid| (0..12).map(move |station| (vid, station))) {
                let expected = model.get(&at(vid, station)).filter(|(_, seen)| now.wrapping_sub(*seen) <= TICKS_PER_AGE);
                prop_assert_eq!(fdb.lookup(at(vid, station), now).map(|found| found.port), expected.map(|(port, _)| *port));
                let (key, vid) = (at(vid, station), Vid::new(vid).unwrap());
                let in_front = fdb.port_of(fdb.place(key), fdb.vlan_generation(vid), fdb.ages(now));
                prop_assert!(in_front.is_none() || in_front == expected.map(|(port, _)| *port), "the front says {:?}", in_front);
                prop_assert_eq!(fdb.port_from_anywhere(fdb.place(key), key, now), expected.map(|(port, _)| *port));
            }
        }
        fdb.sweep(now, fdb.buckets());
        model.retain(|_, (_, seen)| now.wrapping_sub(*seen) <= TICKS_PER_AGE);
        prop_assert_eq!(fdb.len(), model.len());
        let mut shown: Vec<(Key, PortId)> = fdb.records(0..fdb.buckets(), now).map(|r| (key(r.vid, r.mac), r.port)).collect();
        let mut all: Vec<(Key, PortId)> = model.iter().map(|(key, (port, _))| (*key, *port)).collect();
        shown.sort();
        all.sort();
        prop_assert_eq!(shown, all);
    }
}
