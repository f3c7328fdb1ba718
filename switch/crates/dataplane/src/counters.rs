//! What each worker counts, and the ledger that must balance.
//!
//! Every frame that comes in ends in exactly one place per copy:
//! `rx + copies + injected = tx + Σ drop(reason) + punted + held`, in total, and in two halves per port:
//!
//! - coming in: `rx + copies = queued_in + punted + Σ drop(reasons before a queue)`;
//! - going out: `queued_out + injected = tx + Σ drop(reasons at the queue) + held`.
//!
//! The terms are counted where they happen, independently of one another, so that a lost frame shows.
//!
//! Threads: a worker adds to plain numbers of its own and publishes them between turns; readers sum over the workers.

use port::PortId;
use serde::Serialize;
use sync::counter::Counter;

use crate::pipeline::Phase;
use crate::verdict::DropReason;

/// The counters of one port, as one worker (or the sum of all) sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortCounters {
    /// Frames received.
    pub rx: u64,
    /// Their bytes, without FCS.
    pub rx_bytes: u64,
    /// Handles made beyond the one that came in, for flooding and for control.
    pub copies: u64,
    /// Frames and copies that came in here and were put in a transmit queue.
    pub queued_in: u64,
    /// Frames and copies that came in here and went to control.
    pub punted: u64,
    /// Frames put in this port's transmit queue by the pipeline.
    pub queued_out: u64,
    /// Frames put in this port's transmit queue by control.
    pub injected: u64,
    /// Frames sent.
    pub tx: u64,
    /// Their bytes, without FCS.
    pub tx_bytes: u64,
    /// Frames for this port that wait for its bus. (The one number here that goes down as well.)
    pub held: u64,
    /// Frames dropped, by reason: at the port they came in by, or, if [`DropReason::is_at_queue`], at the one they would have left by.
    pub drops: [u64; DropReason::COUNT],
}

const PLAIN: usize = 10;
const WORDS: usize = PLAIN + DropReason::COUNT;

impl PortCounters {
    fn words(&self) -> [u64; WORDS] {
        let mut words = [0; WORDS];
        words[..PLAIN].copy_from_slice(&[
            self.rx,
            self.rx_bytes,
            self.copies,
            self.queued_in,
            self.punted,
            self.queued_out,
            self.injected,
            self.tx,
            self.tx_bytes,
            self.held,
        ]);
        words[PLAIN..].copy_from_slice(&self.drops);
        words
    }

    fn from_words(words: [u64; WORDS]) -> PortCounters {
        let mut drops = [0; DropReason::COUNT];
        drops.copy_from_slice(&words[PLAIN..]);
        let [rx, rx_bytes, copies, queued_in, punted, queued_out, injected, tx, tx_bytes, held, ..] = words;
        PortCounters { rx, rx_bytes, copies, queued_in, punted, queued_out, injected, tx, tx_bytes, held, drops }
    }

    /// Adds another worker's share.
    pub fn add(&mut self, other: &PortCounters) {
        let mut words = self.words();
        for (word, more) in words.iter_mut().zip(other.words()) {
            *word += more;
        }
        *self = PortCounters::from_words(words);
    }

    /// Frames dropped for this reason.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize]
    }

    /// Frames dropped in all.
    pub fn dropped_total(&self) -> u64 {
        self.drops.iter().sum()
    }

    /// The two halves of the port's ledger, see the module text. `held_out` is what waits in rings for this port's queue, beside what
    /// waits for its bus.
    pub fn is_balanced(&self, held_out: u64) -> bool {
        let at_queue: u64 = DropReason::ALL.iter().filter(|reason| reason.is_at_queue()).map(|&reason| self.dropped(reason)).sum();
        let before = self.dropped_total() - at_queue;
        self.rx + self.copies == self.queued_in + self.punted + before
            && self.queued_out + self.injected == self.tx + at_queue + self.held + held_out
    }
}

impl DropReason {
    /// Counted at the port the frame would have left by.
    pub fn is_at_queue(self) -> bool {
        matches!(self, DropReason::TxFull | DropReason::TxDown | DropReason::TxOversize | DropReason::BusFull | DropReason::CrossFull)
    }
}

/// The line that must balance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ledger {
    /// Frames received.
    pub rx: u64,
    /// Handles made beyond those received.
    pub copies: u64,
    /// Frames made by control.
    pub injected: u64,
    /// Frames sent.
    pub tx: u64,
    /// Frames dropped, for all reasons.
    pub dropped: u64,
    /// Frames that went to control.
    pub punted: u64,
    /// Frames on their way between workers, and those that wait for a bus.
    pub held: u64,
}

impl Ledger {
    /// The sum over `ports`, with `between` frames between workers.
    pub fn of<'a>(ports: impl IntoIterator<Item = &'a PortCounters>, between: u64) -> Ledger {
        ports.into_iter().fold(Ledger { held: between, ..Ledger::default() }, |sum, port| Ledger {
            rx: sum.rx + port.rx,
            copies: sum.copies + port.copies,
            injected: sum.injected + port.injected,
            tx: sum.tx + port.tx,
            dropped: sum.dropped + port.dropped_total(),
            punted: sum.punted + port.punted,
            held: sum.held + port.held,
        })
    }

    /// Every frame is accounted for.
    pub fn is_balanced(&self) -> bool {
        self.rx + self.copies + self.injected == self.tx + self.dropped + self.punted + self.held
    }
}

impl std::fmt::Display for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Ledger { rx, copies, injected, tx, dropped, punted, held } = self;
        let state = if self.is_balanced() { "balanced" } else { "NOT BALANCED" };
        write!(
            f,
            "ledger: {state}  rx {rx} + copies {copies} + injected {injected} = tx {tx} + dropped {dropped} + punted {punted} + held {held}"
        )
    }
}

/// Counters that are not of a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct WorkerCounters {
    /// Turns of the worker's loop.
    pub turns: u64,
    /// Turns in which nothing was received.
    pub idle_turns: u64,
    /// Frames given to other workers.
    pub crossed_out: u64,
    /// Frames taken from other workers.
    pub crossed_in: u64,
    /// What other workers learned and this one could not be told: their ring was full. It heals with the next refresh.
    pub updates_lost: u64,
    /// Events control could not be told: the ring was full.
    pub events_lost: u64,
    /// Entries in the FDB.
    pub fdb_entries: u64,
    /// Addresses learned.
    pub fdb_learned: u64,
    /// Addresses that moved.
    pub fdb_moved: u64,
    /// Addresses aged out.
    pub fdb_aged: u64,
    /// Addresses pushed out by others.
    pub fdb_evicted: u64,
    /// Addresses not learned because of a limit.
    pub fdb_refused: u64,
}

impl WorkerCounters {
    const WORDS: usize = 12;

    fn words(&self) -> [u64; Self::WORDS] {
        [
            self.turns,
            self.idle_turns,
            self.crossed_out,
            self.crossed_in,
            self.updates_lost,
            self.events_lost,
            self.fdb_entries,
            self.fdb_learned,
            self.fdb_moved,
            self.fdb_aged,
            self.fdb_evicted,
            self.fdb_refused,
        ]
    }

    fn from_words(words: [u64; Self::WORDS]) -> WorkerCounters {
        let [
            turns,
            idle_turns,
            crossed_out,
            crossed_in,
            updates_lost,
            events_lost,
            fdb_entries,
            fdb_learned,
            fdb_moved,
            fdb_aged,
            fdb_evicted,
            fdb_refused,
        ] = words;
        WorkerCounters {
            turns,
            idle_turns,
            crossed_out,
            crossed_in,
            updates_lost,
            events_lost,
            fdb_entries,
            fdb_learned,
            fdb_moved,
            fdb_aged,
            fdb_evicted,
            fdb_refused,
        }
    }
}

/// Where one worker publishes its counters.
#[derive(Debug)]
pub struct PublishedCounters {
    ports: Box<[[Counter; WORDS]]>,
    worker: [Counter; WorkerCounters::WORDS],
}

impl PublishedCounters {
    /// Zeros for `ports` ports.
    pub fn new(ports: usize) -> PublishedCounters {
        PublishedCounters {
            ports: (0..ports).map(|_| [const { Counter::new() }; WORDS]).collect(),
            worker: [const { Counter::new() }; WorkerCounters::WORDS],
        }
    }

    /// Called by the worker alone.
    pub fn store(&self, ports: &[PortCounters], worker: &WorkerCounters) {
        for (published, port) in self.ports.iter().zip(ports) {
            for (counter, word) in published.iter().zip(port.words()) {
                counter.store(word);
            }
        }
        for (counter, word) in self.worker.iter().zip(worker.words()) {
            counter.store(word);
        }
    }

    /// The counters of `port`, as last published.
    pub fn port(&self, port: PortId) -> PortCounters {
        PortCounters::from_words(std::array::from_fn(|word| self.ports[port.index()][word].load()))
    }

    /// The worker's own counters, as last published.
    pub fn worker(&self) -> WorkerCounters {
        WorkerCounters::from_words(std::array::from_fn(|word| self.worker[word].load()))
    }
}

/// What a worker's phases cost, sampled: written by the worker's thread, read by control.
#[derive(Debug)]
pub struct PublishedPhases([[Counter; 3]; Phase::ALL.len()]);

/// What one phase cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PhaseCost {
    /// Times it ran with packets.
    pub calls: u64,
    /// Packets it handled.
    pub packets: u64,
    /// Ticks of the time stamp counter it took.
    pub ticks: u64,
}

impl PublishedPhases {
    /// Zeros.
    pub fn new() -> PublishedPhases {
        PublishedPhases([const { [const { Counter::new() }; 3] }; Phase::ALL.len()])
    }

    /// Called by the worker's thread alone.
    pub fn store(&self, costs: &[PhaseCost; Phase::ALL.len()]) {
        for (published, cost) in self.0.iter().zip(costs) {
            for (counter, word) in published.iter().zip([cost.calls, cost.packets, cost.ticks]) {
                counter.store(word);
            }
        }
    }

    /// As last published, in the order of [`Phase::ALL`].
    pub fn load(&self) -> [PhaseCost; Phase::ALL.len()] {
        std::array::from_fn(|phase| {
            let [calls, packets, ticks] = &self.0[phase];
            PhaseCost { calls: calls.load(), packets: packets.load(), ticks: ticks.load() }
        })
    }
}

impl Default for PublishedPhases {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_loaded() {
        let mut port = PortCounters {
            rx: 1,
            rx_bytes: 2,
            copies: 3,
            queued_in: 4,
            punted: 5,
            queued_out: 6,
            injected: 7,
            tx: 8,
            tx_bytes: 9,
            held: 10,
            ..Default::default()
        };
        port.drops.iter_mut().enumerate().for_each(|(i, drop)| *drop = 10 + i as u64);
        let worker = WorkerCounters::from_words(std::array::from_fn(|i| 100 + i as u64));
        let published = PublishedCounters::new(2);
        published.store(&[PortCounters::default(), port], &worker);
        assert_eq!((published.port(PortId(0)), published.port(PortId(1))), (PortCounters::default(), port));
        assert_eq!(published.worker(), worker);
    }

    #[test]
    fn the_ledger_notices_a_lost_frame() {
        let mut port = PortCounters { rx: 10, copies: 2, queued_in: 8, punted: 1, queued_out: 8, tx: 7, ..Default::default() };
        port.drops[DropReason::Hairpin as usize] = 3;
        port.drops[DropReason::TxFull as usize] = 1;
        assert!(port.is_balanced(0) && Ledger::of([&port], 0).is_balanced());
        port.tx -= 1;
        assert!(!port.is_balanced(0) && !Ledger::of([&port], 0).is_balanced());
        assert!(port.is_balanced(1) && Ledger::of([&port], 1).is_balanced());
    }
}
