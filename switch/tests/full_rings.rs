//! The rings between threads when the other side does not keep up: what finds no room is a drop with a name and a counter, the rest arrives,
//! no buffer is lost, and once the other side is back all is as before.
//!
//! One thread polls the workers by hand, on a clock that is told, and leaves out the one that is behind.

mod blades;

use blades::{SILENT, SWITCH, blade, frame, message, plain};
use bladeswitch::assembly::{self, Switch};
use control::config::Config;
use dataplane::{DropReason, PortCounters};
use port::{BURST_MAX, Burst, Hugepages, Mempool, Nanos, PoolCache, Port, PortId};
use wire::MacAddr;
use wire::ethernet::EtherType;

/// Frames beyond what the ring holds.
const BEYOND: usize = 100;
/// Frames that the queues of the ports hold: all of a test.
const QUEUE: usize = 4096;

/// A switch, and the far ends of its ports.
struct Bench {
    switch: Switch,
    far: Vec<Port>,
    mempool: Mempool,
    pool: PoolCache,
    now: Nanos,
    /// Frames that crossing rings and the ring to control hold.
    cross_ring: usize,
    punt_ring: usize,
}

impl Bench {
    /// Three blades on two workers, whose ports hold all frames of a test.
    fn new(head: &str) -> Bench {
        let blades: String = (1..=3).map(|slot| format!("[[blade]]\nslot = {slot}\nspeed = \"10G\"\nqueue = {QUEUE}\n")).collect();
        let text = format!("{head}{blades}");
        let config = Config::parse(&text, "test.toml").unwrap_or_else(|errors| panic!("{errors}\n{text}"));
        let mempool = Mempool::new(16_384, Hugepages::Never).unwrap();
        let (near, far, _plugs) = assembly::memory_ports(&config, QUEUE);
        let sizes = assembly::sizes(&config, 1);
        let (cross_ring, punt_ring) = (sizes.cross_ring, sizes.punt_ring);
        let switch = assembly::build(&config, near, &mempool, 1);
        Bench { switch, far, pool: mempool.cache(), mempool, now: Nanos::ZERO, cross_ring, punt_ring }
    }

    fn send(&mut self, port: usize, count: usize, bytes: &[u8]) {
        let mut left = count;
        while left > 0 {
            let mut burst = Burst::new();
            (0..left.min(BURST_MAX)).for_each(|_| burst.push(self.pool.alloc_copy(bytes).expect("there are buffers")));
            let taken = self.far[port].tx[0].tx_burst(self.now, &mut self.pool, &mut burst);
            assert!(taken > 0 && burst.is_empty(), "the queue into the switch holds all frames of a test");
            left -= taken;
        }
    }

    /// One worker turns until it has nothing to do, the others and control stand still; then all count.
    fn only(&mut self, worker: usize) {
        while self.switch.workers[worker].turn(self.now, &mut ()) > 0 {}
        let now = self.now;
        self.switch.workers.iter_mut().for_each(|worker| worker.housekeep(now));
    }

    /// All turn, as long as anything is on its way.
    fn all(&mut self) {
        loop {
            self.switch.settle(self.now);
            match self.switch.next_bus_event() {
                Some(next) => self.now = Nanos(next.0.max(self.now.0 + 1)),
                None => break,
            }
        }
        let ledger = self.switch.check_ledger().unwrap();
        assert_eq!(ledger.held, 0, "{ledger}");
    }

    fn counters(&self, port: usize) -> PortCounters {
        self.switch.control.port_counters(PortId(port as u8))
    }

    /// How often any port has dropped anything, by name.
    fn drops(&self) -> Vec<(usize, &'static str, u64)> {
        let of = |port: usize| DropReason::ALL.iter().map(move |&reason| (port, reason));
        let all = (0..self.far.len()).flat_map(of).map(|(port, reason)| (port, reason.name(), self.counters(port).dropped(reason)));
        all.filter(|(.., count)| *count > 0).collect()
    }

    /// Takes what has come out of a port; how many frames.
    fn take(&mut self, port: usize) -> usize {
        let (mut count, mut burst) = (0, Burst::new());
        while self.far[port].rx[0].rx_burst(self.now, &mut self.pool, &mut burst, BURST_MAX) > 0 {
            count += burst.len();
            self.pool.free_all(&mut burst);
        }
        count
    }

    /// Both blades are heard, so that nothing floods.
    fn teach(&mut self) {
        for port in 0..self.far.len() {
            self.send(port, 1, &plain(MacAddr::BROADCAST, blade(port as u8 + 1), 60, 0));
            self.all();
        }
        (0..self.far.len()).for_each(|port| {
            self.take(port);
        });
    }

    /// Nothing is left anywhere.
    fn end(mut self) {
        self.all();
        assert_eq!((0..self.far.len()).map(|port| self.take(port)).sum::<usize>(), 0, "frames that nobody expected");
        self.switch.flush_pools();
        self.pool.flush();
        assert_eq!(self.mempool.in_use(), 0, "buffers are lost");
    }
}

/// Frames from `from`, served by `worker`, to `to`, which the other worker serves while it stands still.
fn crossing(head: &str, from: usize, to: usize, worker: usize) {
    let mut bench = Bench::new(&format!("{SILENT}switch = {{ workers = 2 }}\n{head}"));
    bench.teach();
    let (room, tx) = (bench.cross_ring, bench.counters(to).tx);
    let unicast = plain(blade(to as u8 + 1), blade(from as u8 + 1), 60, 1);

    bench.send(from, room + BEYOND, &unicast);
    bench.only(worker);
    assert_eq!(bench.drops(), [(to, "cross-full", BEYOND as u64)], "at the port they would have left by");
    let ledger = bench.switch.check_ledger().unwrap();
    assert_eq!(ledger.held, room as u64, "{ledger}");
    assert_eq!(bench.counters(to).tx, tx, "nobody has sent them yet");

    // The other worker is back: what is in the ring is sent, and there is room again.
    bench.all();
    assert_eq!((bench.take(to), bench.counters(to).tx), (room, tx + room as u64));
    bench.send(from, BEYOND, &unicast);
    bench.only(worker);
    bench.all();
    assert_eq!(bench.take(to), BEYOND);
    assert_eq!(bench.drops(), [(to, "cross-full", BEYOND as u64)], "no others");
    bench.end();
}

#[test]
fn a_worker_that_is_behind_costs_frames_of_its_ports() {
    crossing("", 0, 1, 0);
}

#[test]
fn a_worker_that_is_behind_with_a_bus_costs_frames_of_its_stations() {
    // The bus of the first backplane is with the first worker, and blade 2 with the second.
    crossing("[[backplane]]\nbus = \"drr\"\nrate = \"40G\"\nqueue = 4096\n", 1, 0, 1);
}

#[test]
fn copies_of_a_flood_are_dropped_one_by_one() {
    let mut bench = Bench::new(&format!("{SILENT}switch = {{ workers = 2 }}\n"));
    bench.teach();
    let room = bench.cross_ring;
    // Blade 1 and blade 3 are served by the first worker, which turns; blade 2 by the one that does not.
    bench.send(0, room + BEYOND, &plain(MacAddr::BROADCAST, blade(1), 60, 1));
    bench.only(0);
    assert_eq!(bench.drops(), [(1, "cross-full", BEYOND as u64)]);
    assert_eq!(bench.switch.check_ledger().unwrap().held, room as u64);
    assert_eq!(bench.take(2), room + BEYOND, "who is served gets them all");
    bench.all();
    assert_eq!(bench.take(1), room);
    bench.end();
}

#[test]
fn control_that_is_behind_costs_frames_for_control() {
    let mut bench = Bench::new(SILENT);
    bench.teach();
    let (room, punted) = (bench.punt_ring, bench.counters(0).punted);
    let for_the_switch = message(SWITCH, blade(1), SWITCH, b"hello");
    bench.send(0, room + BEYOND, &for_the_switch);
    bench.only(0);
    assert_eq!(bench.drops(), [(0, "punt-full", BEYOND as u64)], "at the port they came in by");
    assert_eq!(bench.counters(0).punted, punted + room as u64);
    bench.switch.check_ledger().unwrap();

    // Frames between blades need nobody else.
    bench.send(0, BEYOND, &plain(blade(2), blade(1), 60, 1));
    bench.only(0);
    assert_eq!(bench.take(1), BEYOND);

    // Control is back.
    bench.all();
    bench.send(0, BEYOND, &for_the_switch);
    bench.only(0);
    assert_eq!(bench.counters(0).punted, punted + (room + BEYOND) as u64);
    assert_eq!(bench.drops(), [(0, "punt-full", BEYOND as u64)], "no others");
    bench.end();
}

#[test]
fn copies_for_control_are_dropped_and_their_frames_go_on() {
    let mut bench = Bench::new(SILENT);
    bench.teach();
    let before = bench.counters(0);
    let room = bench.punt_ring;
    // An announcement: control learns from a copy.
    let announcement = [&[0, 1, 8, 0, 6, 4, 0, 1][..], &blade(1).0, &[198, 18, 0, 1], &[0; 6], &[198, 18, 0, 1]].concat();
    bench.send(0, room + BEYOND, &frame(MacAddr::BROADCAST, blade(1), EtherType(0x0806), &announcement));
    bench.only(0);
    assert_eq!(bench.drops(), [(0, "punt-full", BEYOND as u64)]);
    let after = bench.counters(0);
    assert_eq!(after.punted - before.punted, room as u64);
    // Of each frame one copy for control and one for the second of two other blades.
    assert_eq!(after.copies - before.copies, 2 * (room + BEYOND) as u64);
    bench.switch.check_ledger().unwrap();
    assert_eq!((bench.take(1), bench.take(2)), (room + BEYOND, room + BEYOND), "the frames themselves");
    bench.end();
}
