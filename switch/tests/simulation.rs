//! The whole switch in one thread, on a clock that is told, with a naive reference switch as judge.
//!
//! Each seed makes a site (ports, VLANs, rates, queues, pool, workers), and then traffic and faults for ten thousand steps: frames
//! that are right and frames that are not, address moves, cables pulled, tables flushed, queues that are too short, links that are
//! too slow, a pool that runs out, time that passes a microsecond or several ageing times at once. After every step:
//!
//! - what came out is what the reference says, octet by octet and nanosecond by nanosecond, on the right ports, in order;
//! - every drop has the name the reference gives it; what it cannot foresee is a buffer that was not there: that must be
//!   counted as `no-buffer`, as often as something is missing;
//! - the ledger balances, in total and for each port;
//! - nothing is sent to an address that no bridge forwards, nothing back where it came from, nothing twice.
//!
//! Addresses that a limit of a port or a VLAN keeps out flood as unknown ones do, and are counted. In the end every buffer is back. `SEED=n` replays one seed.

#[path = "simulation/chance.rs"]
mod chance;
#[path = "simulation/protocols.rs"]
mod protocols;
#[path = "simulation/reference.rs"]
mod reference;
#[path = "simulation/site.rs"]
mod site;
#[path = "simulation/traffic.rs"]
mod traffic;
#[path = "simulation/wires.rs"]
mod wires;

use std::cell::RefCell;

use bladeswitch::replay::Stage;
use chance::Chance;
use control::config::Config;
use dataplane::{DropReason, PortCounters};
use port::{LinkState, Nanos, PortId};
use reference::{Fate, Reference};
use site::{Site, VIDS};
use traffic::Sent;
use wire::Vid;
use wires::Wire;

const SEEDS: u64 = 100;
const STEPS: u64 = 10_000;

struct Run {
    site: Site,
    chance: Chance,
    stage: Stage,
    reference: Reference,
    wires: Vec<Wire>,
    /// What each port must have counted so far, by reason.
    drops: Vec<[u64; DropReason::COUNT]>,
    /// Frames that control must have failed to send.
    inject_lost: u64,
}

impl Run {
    fn new(seed: u64) -> Run {
        let mut chance = Chance::new(seed);
        let site = Site::new(seed, &mut chance);
        let config = Config::parse(&site.to_toml(), "site.toml").unwrap_or_else(|errors| panic!("{errors}\n{}", site.to_toml()));
        let stage = Stage::new(&config, seed).expect("memory for a packet pool");
        let wires: Vec<Wire> = site.ports.iter().map(Wire::new).collect();
        let drops = vec![[0; DropReason::COUNT]; site.ports.len()];
        Run { reference: Reference::new(&site), wires, drops, inject_lost: 0, site, chance, stage }
    }

    fn now(&self) -> u64 {
        self.stage.now().0
    }

    fn step(&mut self) {
        let port = self.chance.below(self.site.ports.len() as u64) as usize;
        match self.chance.below(1000) {
            0..700 => self.feed(port),
            700..950 => {
                let until = self.now() + self.chance.below(20_000);
                self.advance(until);
            }
            950..970 => {
                let until = self.now() + self.chance.below(self.site.ageing_ms * 1_500_000);
                self.advance(until);
            }
            970..985 => {
                let up = !self.reference.up[port];
                self.reference.set_link(port, up);
                self.stage.plug(PortId(port as u8), if up { LinkState::Up } else { LinkState::Down });
            }
            985..995 => {
                let (at, vid) = (self.chance.one_in(2).then_some(port), self.chance.one_in(2).then(|| self.chance.pick(&VIDS)));
                self.reference.flush(at, vid);
                self.stage.switch.control.flush(at.map(|at| PortId(at as u8)), vid.and_then(Vid::new));
                self.advance(self.now());
            }
            _ => {
                // The links become idle: queues are empty for once.
                let last = self.wires.iter().filter_map(|wire| wire.due.back()).map(|(time, _)| *time).max();
                self.advance(last.unwrap_or(0).max(self.now()));
            }
        }
        self.stage.switch.check_ledger().unwrap();
        for (index, drops) in self.drops.iter().enumerate() {
            let counted = self.counters(index).drops;
            let differ = DropReason::ALL.iter().filter(|reason| counted[**reason as usize] != drops[**reason as usize]);
            let differ: Vec<_> = differ.map(|reason| (reason.name(), counted[*reason as usize], drops[*reason as usize])).collect();
            assert!(differ.is_empty(), "port {index} counts (reason, counted, expected): {differ:?}");
        }
        assert_eq!(self.stage.switch.control.counters().inject_lost, self.inject_lost);
    }

    fn counters(&self, port: usize) -> PortCounters {
        self.stage.switch.control.port_counters(PortId(port as u8))
    }

    /// Time passes, and what has arrived meanwhile is judged.
    fn advance(&mut self, until: u64) {
        self.stage.advance(Nanos(until));
        for departure in self.stage.take_sent() {
            let port = departure.port.index();
            let dst: [u8; 6] = departure.bytes[..6].try_into().expect("a frame has a destination");
            assert!(!reference::is_link_local(dst), "no bridge forwards {dst:x?}");
            let expected = self.wires[port].due.pop_front().unwrap_or_else(|| panic!("out of port {port}: {:x?}", departure.bytes));
            assert_eq!((expected.0, &expected.1), (departure.time.0, &departure.bytes), "out of port {port}");
        }
        for (port, wire) in self.wires.iter().enumerate() {
            assert!(wire.due.front().is_none_or(|(time, _)| *time > until), "missing out of port {port}: {:x?}", wire.due.front());
        }
    }

    /// Some frames come in by a port.
    fn feed(&mut self, port: usize) {
        while let Some(clear) = self.reference.is_between(self.now()) {
            self.advance(clear);
        }
        self.advance(self.now());
        self.reference.age(self.now());
        let count = match self.site.buffers {
            Some(_) => 1, // What was lost can be told from the counters only of one frame at a time.
            None if self.chance.one_in(40) => 1 + self.chance.below(80),
            None => 1 + self.chance.below(3),
        };
        let frames: Vec<Sent> = (0..count).map(|_| traffic::frame(&self.site, port, &mut self.chance)).collect();
        LAST_FED.set((port, frames.iter().map(|frame| frame.bytes.clone()).collect()));
        let before: Vec<PortCounters> = (0..self.wires.len()).map(|index| self.counters(index)).collect();
        let inject_lost = self.stage.switch.control.counters().inject_lost;
        self.stage.feed(PortId(port as u8), frames.iter().map(|frame| frame.bytes.clone()));
        let after: Vec<PortCounters> = (0..self.wires.len()).map(|index| self.counters(index)).collect();

        // What a card cannot hold is not for the reference to judge.
        let (frames, giants): (Vec<Sent>, Vec<Sent>) = frames.into_iter().partition(|frame| frame.bytes.len() <= 65_535);
        self.drops[port][DropReason::Oversize as usize] += giants.len() as u64;
        let no_buffer = after[port].dropped(DropReason::NoBuffer) - before[port].dropped(DropReason::NoBuffer);
        let went_on = |counters: &PortCounters| counters.copies + counters.queued_in + counters.punted;
        if no_buffer == 1 && went_on(&before[port]) == went_on(&after[port]) {
            assert!(self.site.buffers.is_some(), "there are enough buffers");
            self.drops[port][DropReason::NoBuffer as usize] += 1; // Lost before the switch had it.
            return;
        }

        let mut missing = 0;
        for burst in frames.chunks(self.site.burst) {
            let fates = self.reference.burst(self.now(), port, burst);
            missing += self.judge(port, fates, &before, &after, inject_lost);
        }
        assert_eq!(no_buffer, missing, "frames that are missing for want of a buffer");
        assert!(missing == 0 || self.site.buffers.is_some(), "there are enough buffers");
    }

    /// One burst's frames to where the reference says; returns how many the switch had no buffer for.
    fn judge(&mut self, port: usize, fates: Vec<Fate>, before: &[PortCounters], after: &[PortCounters], inject_lost: u64) -> u64 {
        let scarce = self.site.buffers.is_some();
        let now = self.now();
        let (mut missing, mut punts, mut own) = (0, Vec::new(), Vec::new());
        for fate in fates {
            if let Some(reason) = fate.drop {
                let reason = DropReason::from_name(reason).expect("a reason of the switch");
                self.drops[port][reason as usize] += 1;
            }
            let mut ports: Vec<usize> = fate.out.iter().map(|(to, _)| *to).collect();
            ports.dedup();
            assert!(ports.len() == fate.out.len() && !ports.contains(&port), "the reference itself forwards twice, or back");
            for (to, bytes) in fate.out {
                if scarce && after[to].queued_out == before[to].queued_out {
                    missing += 1;
                } else if !self.wires[to].send(now, bytes) {
                    self.drops[to][DropReason::TxFull as usize] += 1;
                }
            }
            if let Some(punt) = fate.punt {
                if scarce && after[port].punted == before[port].punted { missing += 1 } else { punts.push(punt) }
            }
            own.extend(fate.notice);
        }
        // Of a burst, control gets copies before frames, and both before events.
        punts.sort_by_key(|punt| !punt.copy);
        let answers = self.reference.control(now, port, punts);
        for bytes in answers.into_iter().chain(own) {
            if scarce && self.stage.switch.control.counters().inject_lost > inject_lost {
                self.inject_lost += 1;
            } else if !self.wires[port].send(now, bytes) {
                self.drops[port][DropReason::TxFull as usize] += 1;
            }
        }
        self.drops[port][DropReason::NoBuffer as usize] += missing;
        missing
    }

    /// Everything comes to rest.
    fn end(mut self) {
        let last = self.wires.iter().filter_map(|wire| wire.due.back()).map(|(time, _)| *time).max();
        self.advance(last.unwrap_or(0).max(self.now()));
        assert_eq!(self.stage.switch.next_event(), None);
        let ledger = self.stage.switch.check_ledger().unwrap();
        assert!(ledger.rx > 0 && ledger.held == 0, "{ledger}");
        assert_eq!(self.stage.switch.control.counters().moves, self.reference.moves, "addresses that moved");
        let refused: u64 = self.stage.switch.control.worker_counters().iter().map(|worker| worker.fdb_refused).sum();
        assert_eq!(refused, self.reference.refused, "addresses that a limit kept out");
        self.stage.switch.flush_pools();
        assert_eq!(self.stage.switch.control.mempool().in_use(), 0, "buffers are lost");
    }
}

thread_local! {
    /// What went in last, to be shown when a run panics.
    static LAST_FED: RefCell<(usize, Vec<Vec<u8>>)> = const { RefCell::new((0, Vec::new())) };
}

/// Says which seed and step it was when a run panics, wherever that is.
struct Which {
    seed: u64,
    step: u64,
}

impl Drop for Which {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("in step {} of seed {}: SEED={} cargo test -p bladeswitch --test simulation", self.step, self.seed, self.seed);
            LAST_FED.with_borrow(|(port, frames)| {
                eprintln!("the last frames, eight at most, went in by port {port}:");
                frames.iter().take(8).for_each(|frame| eprintln!("  {:02x?} … {} bytes", &frame[..frame.len().min(80)], frame.len()));
            });
        }
    }
}

fn run(seed: u64) {
    let mut which = Which { seed, step: 0 };
    let mut run = Run::new(seed);
    for step in 0..STEPS {
        which.step = step;
        run.step();
    }
    run.end();
}

/// Every `of`th seed from `first`, or the one in `SEED`.
fn seeds(first: u64, of: u64) {
    match std::env::var("SEED") {
        Ok(seed) if first == 0 => run(seed.parse().expect("SEED is a number")),
        Ok(_) => {}
        Err(_) => (first..SEEDS).step_by(of as usize).for_each(run),
    }
}

// Four parts, so that they can run side by side.

#[test]
fn seeds_0_4_8() {
    seeds(0, 4);
}

#[test]
fn seeds_1_5_9() {
    seeds(1, 4);
}

#[test]
fn seeds_2_6_10() {
    seeds(2, 4);
}

#[test]
fn seeds_3_7_11() {
    seeds(3, 4);
}
