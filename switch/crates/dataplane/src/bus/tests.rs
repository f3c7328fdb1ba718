//! Each arbiter by hand, to the nanosecond, and what all of them have in common.

use port::{Hugepages, Mempool};
use proptest::prelude::*;

use super::tdm::{Frame, Slot};
use super::*;

/// A bus of 1 Gb/s, 8 ns a byte, with ports 0, 1, 2; its stations are these, the switch (3) and maintenance (4).
fn spec(arbiter: ArbiterSpec) -> BusSpec {
    BusSpec { ports: vec![PortId(0), PortId(1), PortId(2)], rate_bps: 1_000_000_000, queue: 64, arbiter }
}

/// A slot of 2 µs holds two short frames (of 84 bytes, 672 ns) or one of up to 225 bytes, and 200 ns are left.
fn frame(slots: &[Slot], lend: bool) -> ArbiterSpec {
    ArbiterSpec::Tdm(Frame { slot_ns: 2000, guard_ns: 200, lend, slots: slots.to_vec() })
}

/// A bus, and what has come out of it: when, by which port, and the frame's mark.
struct Rig {
    bus: Bus,
    pool: Mempool,
    cache: PoolCache,
    now: Nanos,
    out: Vec<(u64, u8, u8)>,
}

impl Rig {
    fn new(arbiter: ArbiterSpec) -> Rig {
        let pool = Mempool::new(4096, Hugepages::Never).unwrap();
        Rig { bus: Bus::new(&spec(arbiter)), cache: pool.cache(), pool, now: Nanos::ZERO, out: Vec::new() }
    }

    fn put(&mut self, sender: Sender, to: u8, mark: u8, len: usize) -> Result<(), DropReason> {
        let packet = self.cache.alloc_copy(&vec![mark; len]).unwrap();
        let put = self.bus.enqueue(sender, PortId(to), packet, self.now, &mut self.cache);
        put.map_err(|(reason, packet)| {
            self.cache.free(packet);
            reason
        })
    }

    fn look(&mut self, now: u64) {
        let Rig { bus, cache, out, .. } = self;
        self.now = Nanos(now);
        bus.run(Nanos(now), cache, &mut |port, packet, cache| {
            let mut bytes = Vec::new();
            cache.copy_to(&packet, &mut bytes);
            cache.free(packet);
            out.push((now, port.0, bytes[0]));
        });
    }

    /// Looks whenever there is something to see, until `until`.
    fn play(&mut self, until: u64) {
        self.look(self.now.0);
        while let Some(next) = self.bus.next_event().filter(|next| next.0 <= until) {
            assert!(next >= self.now, "time goes on");
            self.look(next.0);
        }
        self.look(until);
    }

    fn end(mut self) -> Vec<(u64, u8, u8)> {
        let Rig { bus, cache, .. } = &mut self;
        bus.release(cache, &mut |_, packet, cache| cache.free(packet));
        assert_eq!((bus.held(), bus.next_event()), (0, None));
        cache.flush();
        assert_eq!(self.pool.in_use(), 0, "buffers are lost");
        self.out
    }
}

const P0: Sender = Sender::Port(PortId(0));
const P1: Sender = Sender::Port(PortId(1));
const P2: Sender = Sender::Port(PortId(2));
const ELSEWHERE: Sender = Sender::Port(PortId(9));

#[test]
fn a_reserved_slot_is_its_stations_alone() {
    let mut rig = Rig::new(frame(&[Slot::Reserved(0), Slot::Reserved(1)], false));
    for mark in 0..3 {
        rig.put(P0, 2, mark, 60).unwrap();
        rig.put(P1, 2, 10 + mark, 60).unwrap();
    }
    rig.play(20_000);
    // The last bit is out 12 bytes before the gap is over. The third does not fit before the guard time.
    assert_eq!(rig.end(), [(576, 2, 0), (1248, 2, 1), (2576, 2, 10), (3248, 2, 11), (4576, 2, 2), (6576, 2, 12)]);
}

#[test]
fn a_frame_that_comes_in_its_slot_starts_at_once_if_it_fits() {
    let mut rig = Rig::new(frame(&[Slot::Reserved(0), Slot::Reserved(1)], false));
    rig.look(100);
    rig.put(P0, 2, 1, 201).unwrap(); // 225 bytes are 1800 ns: only a whole slot has room.
    rig.play(2000);
    assert_eq!(rig.out, []);
    rig.play(4000);
    rig.put(P0, 1, 2, 60).unwrap();
    rig.play(10_000);
    assert_eq!(rig.end(), [(4000 + 1800 - 96, 2, 1), (8576, 1, 2)]);
}

#[test]
fn lending_serves_others_in_turn_and_the_owner_first() {
    for (lend, expected) in
        [(true, vec![(576, 2, 10), (1248, 2, 20), (2576, 2, 11), (3248, 2, 21), (4576, 2, 0), (5248, 2, 12)]), (false, vec![(4576, 2, 0)])]
    {
        let mut rig = Rig::new(frame(&[Slot::Reserved(0)], lend));
        for mark in 0..3 {
            rig.put(P1, 2, 10 + mark, 60).unwrap();
            rig.put(ELSEWHERE, 2, 20 + mark, 60).unwrap();
        }
        rig.play(3999);
        rig.put(P0, 2, 0, 60).unwrap();
        rig.play(5999);
        assert_eq!(rig.end(), expected);
    }
}

#[test]
fn shared_slots_go_round_and_maintenance_has_its_own() {
    let mut rig = Rig::new(frame(&[Slot::Shared, Slot::Reserved(4)], false));
    for mark in 0..2 {
        rig.put(Sender::Control, 0, 40 + mark, 60).unwrap();
        rig.put(P2, 0, 20 + mark, 60).unwrap();
        rig.put(P1, 0, 10 + mark, 60).unwrap();
    }
    rig.play(6000);
    // Control may use the shared slot as well, when it is its turn.
    assert_eq!(rig.out, [(576, 0, 10), (1248, 0, 20), (2576, 0, 40), (3248, 0, 41), (4576, 0, 11), (5248, 0, 21)]);
    let slots = rig.bus.slots.clone();
    assert_eq!(slots[0], SlotCounters { used: 2, frames: 4, bytes: 4 * 84, lent: 0 });
    assert_eq!(slots[1], SlotCounters { used: 1, frames: 2, bytes: 2 * 84, lent: 0 });
    rig.end();
}

#[test]
fn slots_do_not_drift() {
    // 3 Gb/s: a byte takes 8/3 ns. After an hour a slot still begins where it is said to.
    let mut spec = spec(frame(&[Slot::Reserved(1), Slot::Reserved(0)], false));
    spec.rate_bps = 3_000_000_000;
    let mut rig = Rig { bus: Bus::new(&spec), ..Rig::new(frame(&[Slot::Shared], false)) };
    let hour = 3_600_000_000_000;
    for far in [0, 8001, 4000 * 7, hour] {
        rig.play(far);
        rig.put(P0, 1, 1, 60).unwrap();
        rig.put(P0, 1, 2, 60).unwrap();
        rig.play(far + 8000);
        let begin = far / 4000 * 4000 + 2000;
        assert_eq!(std::mem::take(&mut rig.out), [(begin + 192, 1, 1), (begin + 416, 1, 2)], "72 bytes; 84 and 72 bytes");
    }
    rig.end();
}

#[test]
fn shares_run_side_by_side() {
    let mut rig = Rig::new(ArbiterSpec::Fdm(vec![500_000_000, 100_000_000, 1, 300_000_000, 99_999_999]));
    rig.put(P0, 2, 0, 60).unwrap();
    rig.put(P0, 2, 1, 60).unwrap();
    rig.put(P1, 2, 10, 60).unwrap();
    rig.put(ELSEWHERE, 2, 30, 60).unwrap();
    rig.play(100_000);
    // 16 ns a byte; 80 ns; 26⅔ ns.
    assert_eq!(rig.end(), [(1152, 2, 0), (1920, 2, 30), (2496, 2, 1), (5760, 2, 10)]);
}

#[test]
fn turns_are_fair_in_bytes() {
    let mut rig = Rig::new(ArbiterSpec::Drr(vec![1538; 5]));
    for _ in 0..64 {
        rig.put(P0, 2, 0, 60).unwrap();
        rig.put(P1, 2, 10, 1514).unwrap();
    }
    rig.play(6 * 1538 * 8);
    // In six times a long frame's time each has half of the bytes: three long frames, and 18 short ones a turn.
    let count = |mark| rig.out.iter().filter(|(_, _, got)| *got == mark).count();
    assert_eq!((count(0), count(10)), (55, 3), "a fourth turn has begun");
    rig.end();
}

/// A quantum that is smaller than a frame is saved up, over as many turns as it takes.
#[test]
fn small_quanta_add_up() {
    let mut rig = Rig::new(ArbiterSpec::Drr(vec![100, 300, 100, 100, 100]));
    for _ in 0..32 {
        rig.put(P0, 2, 0, 1514).unwrap();
        rig.put(P1, 2, 10, 1514).unwrap();
    }
    rig.play(20 * 1538 * 8);
    let count = |mark| rig.out.iter().filter(|(_, _, got)| *got == mark).count();
    assert_eq!((count(0), count(10)), (5, 15));
    rig.end();
}

#[test]
fn everybody_hears_a_flooded_frame_at_once() {
    let mut rig = Rig::new(frame(&[Slot::Shared], false));
    let mut packet = rig.cache.alloc_copy(&[7; 60]).unwrap();
    let copy = rig.cache.share(&mut packet);
    assert!(rig.bus.enqueue(P0, PortId(1), copy, Nanos::ZERO, &mut rig.cache).is_ok());
    assert!(rig.bus.enqueue(P0, PortId(2), packet, Nanos::ZERO, &mut rig.cache).is_ok());
    assert_eq!(rig.bus.held(), 1);
    rig.play(2000);
    assert_eq!(rig.end(), [(576, 1, 7), (576, 2, 7)]);
}

#[test]
fn queues_are_finite_and_slots_as_well() {
    let mut rig = Rig::new(frame(&[Slot::Reserved(0)], false));
    for _ in 0..64 {
        rig.put(P0, 1, 0, 60).unwrap();
    }
    assert_eq!(rig.put(P0, 1, 0, 60), Err(DropReason::BusFull));
    assert_eq!(rig.put(P1, 1, 0, 60), Ok(()), "each has its own");
    assert_eq!(rig.put(P1, 1, 0, 201), Ok(()));
    assert_eq!(rig.put(P1, 1, 0, 202), Err(DropReason::TxOversize));
    assert_eq!(rig.bus.stations.list[0].counters, StationCounters { dropped: 1, waiting: 64, waiting_max: 64, ..Default::default() });
    rig.end();
}

fn arbiters() -> impl Strategy<Value = ArbiterSpec> {
    let slot = prop_oneof![Just(Slot::Shared), (0..5usize).prop_map(Slot::Reserved)];
    let slots = prop::collection::vec(slot, 1..6).prop_map(|mut slots| {
        slots.push(Slot::Shared); // So that nobody is without.
        slots
    });
    prop_oneof![
        (slots, any::<bool>()).prop_map(|(slots, lend)| frame(&slots, lend)),
        prop::collection::vec(50u32..400, 5).prop_map(ArbiterSpec::Drr),
        prop::collection::vec(1_000_000u64..200_000_000, 5).prop_map(ArbiterSpec::Fdm),
    ]
}

proptest! {
    /// A worker that looks late lets the same frames go in the same order as one that looks at every event, and they count
    /// the same latencies; nothing is lost, and each station's frames stay in their order.
    #[test]
    fn looking_late_changes_nothing(
        arbiter in arbiters(),
        frames in prop::collection::vec((1u64..3000, 0u8..4, 60usize..=201), 1..60),
        step in 1u64..100_000,
    ) {
        let mut exact = Rig::new(arbiter.clone());
        let mut late = Rig::new(arbiter);
        let (mut now, mut sent) = (0, Vec::new());
        for (mark, (pause, station, len)) in frames.into_iter().enumerate() {
            now += pause;
            exact.play(now - 1);
            (exact.now, late.now) = (Nanos(now), Nanos(now)); // Frames come in a turn that looks only at its end.
            let sender = [P0, P1, P2, ELSEWHERE][usize::from(station)];
            let taken = exact.put(sender, station % 3, mark as u8, len);
            prop_assert_eq!(late.put(sender, station % 3, mark as u8, len), taken);
            if mark % 3 == 0 {
                late.look(now);
            }
            exact.look(now);
            sent.push((station, mark as u8));
        }
        exact.play(now + 100_000_000);
        while late.bus.held() > 0 {
            now += step;
            late.look(now);
        }
        let order = |rig: &Rig| rig.out.iter().map(|(_, port, mark)| (*port, *mark)).collect::<Vec<_>>();
        prop_assert_eq!(order(&exact), order(&late));
        // How many wait at the same time is another matter: what has crossed stays until somebody looks.
        let counters = |rig: &Rig| -> Vec<StationCounters> {
            rig.bus.stations.list.iter().map(|station| StationCounters { waiting_max: 0, ..station.counters }).collect()
        };
        prop_assert_eq!(counters(&exact), counters(&late));
        prop_assert_eq!(exact.bus.slots.clone(), late.bus.slots.clone());
        prop_assert_eq!(exact.out.len(), sent.len());
        for station in 0..4 {
            let of_it: Vec<u8> = sent.iter().filter(|(from, _)| *from == station).map(|(_, mark)| *mark).collect();
            let got: Vec<u8> = exact.out.iter().map(|(_, _, mark)| *mark).filter(|mark| of_it.contains(mark)).collect();
            prop_assert_eq!(got, of_it);
        }
        exact.end();
        late.end();
    }
}
