//! The way of a burst through the switch: this page is the order.
//!
//! [`process`] takes a burst that came in by one port through the phases, each over the whole burst, results in arrays
//! beside it:
//!
//! 1. **parse**: lengths proved once, addresses and tags read;
//! 2. **admit**: port state, size, source address, VLAN: may the frame enter, and in which VLAN?
//! 3. **address**: whom is a message or packet to the switch itself for (final destination, neighbor table)? and the lines of the FDB that
//!    the next two will read are asked for;
//! 4. **learn**: the source into the FDB, written rarely; a frame that was refused teaches nothing;
//! 5. **steer**: to the blade whose function the frame is for. Without rules it is not called;
//! 6. **resolve**: what is left, by group address, or by MAC (FDB);
//! 7. **police**: is it too much for the rate between the two ports? Without rates it is not called;
//! 8. **rewrite**: initial ← final destination; tags as the egress port wants them;
//! 9. **transmit**: into the ports' bursts; what a queue refuses later is `tx-full`.
//!
//! Nothing here allocates, locks, logs, asks the time or calls the kernel.

use arrayvec::ArrayVec;
use port::{BURST_MAX, Burst, Nanos, PoolCache, PortId};
use wire::headers::Headers;

use crate::address;
use crate::admit::{self, Admitted};
use crate::counters::{PhaseCost, PortCounters};
use crate::event::Event;
use crate::fdb::{Fdb, Key, Place};
use crate::learn::{self, Updates};
use crate::police::{self, Policer};
use crate::resolve;
use crate::rewrite;
use crate::steer::{self, Steerer};
use crate::tables::Tables;
use crate::transmit::{self, Output, ToControl};
use crate::verdict::{PuntReason, Verdict};

/// The phases, in order. `Receive` and `Send` are the queues' own work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Taking frames from the receive queue.
    Receive,
    /// Lengths, addresses, tags.
    Parse,
    /// May it enter, and in which VLAN?
    Admit,
    /// Whom is it for, if it is to the switch? And where would the FDB know it?
    Address,
    /// The source into the FDB.
    Learn,
    /// Which blade has the function it is for? (Only with rules.)
    Steer,
    /// Where to?
    Resolve,
    /// Is it too much for the rate between the two ports? (Only with rates.)
    Police,
    /// Addresses and tags.
    Rewrite,
    /// Into the ports' bursts.
    Transmit,
    /// The ports' bursts into their queues.
    Send,
}

impl Phase {
    /// All of them, in order.
    pub const ALL: [Phase; 11] = [
        Phase::Receive,
        Phase::Parse,
        Phase::Admit,
        Phase::Address,
        Phase::Learn,
        Phase::Steer,
        Phase::Resolve,
        Phase::Police,
        Phase::Rewrite,
        Phase::Transmit,
        Phase::Send,
    ];

    /// The name in tables and traces.
    pub const fn name(self) -> &'static str {
        match self {
            Phase::Receive => "receive",
            Phase::Parse => "parse",
            Phase::Admit => "admit",
            Phase::Address => "address",
            Phase::Learn => "learn",
            Phase::Steer => "steer",
            Phase::Resolve => "resolve",
            Phase::Police => "police",
            Phase::Rewrite => "rewrite",
            Phase::Transmit => "transmit",
            Phase::Send => "send",
        }
    }
}

/// Watches the phases go by: counts cycles, tells a frame's way in words. The switch's usual observer is `()`, which
/// costs nothing.
pub trait Observer {
    /// A turn, or the part of it that handles one queue, begins.
    #[inline(always)]
    fn begin(&mut self) {}

    /// A phase is over for `packets` packets; `notes` hold its results.
    #[inline(always)]
    fn end(&mut self, phase: Phase, packets: usize, notes: &Notes) {
        let _ = (phase, packets, notes);
    }
}

impl Observer for () {}

/// Counts what each phase costs, in ticks of whatever clock it is given.
#[derive(Clone, Debug)]
pub struct CycleObserver<F> {
    ticks: F,
    last: u64,
    /// In the order of [`Phase::ALL`].
    pub costs: [PhaseCost; Phase::ALL.len()],
}

impl<F: Fn() -> u64> CycleObserver<F> {
    /// An observer that reads `ticks` at the end of each phase.
    pub fn new(ticks: F) -> Self {
        CycleObserver { ticks, last: 0, costs: Default::default() }
    }
}

impl<F: Fn() -> u64> Observer for CycleObserver<F> {
    #[inline]
    fn begin(&mut self) {
        self.last = (self.ticks)();
    }

    #[inline]
    fn end(&mut self, phase: Phase, packets: usize, _notes: &Notes) {
        let now = (self.ticks)();
        if packets > 0 {
            let cost = &mut self.costs[phase as usize];
            cost.calls += 1;
            cost.packets += packets as u64;
            cost.ticks += now.wrapping_sub(self.last);
        }
        self.last = now;
    }
}

/// What the phases find out about one packet: a cache line.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
pub struct Note {
    /// Parse.
    pub headers: Headers,
    /// Parse: bytes of the frame without FCS.
    pub len: u16,
    /// Admit: source and VLAN, as the FDB's key.
    pub src: Key,
    /// Admit: destination and VLAN, as the FDB's key; address, resolve: that of whom a message or a packet to the switch is for.
    pub dst: Key,
    /// Address, resolve: where these are in the FDB.
    pub places: (Place, Place),
    /// Admit: the VLAN and the state of the tag.
    pub admitted: Admitted,
    /// Parse, admit, steer, resolve, police: what becomes of it.
    pub verdict: Option<Verdict>,
}

const _: () = assert!(size_of::<Note>() == 64);

/// What the phases find out about the packets of the burst: each at its index, and at its bit in the masks.
#[derive(Debug)]
pub struct Notes {
    /// Each packet's own.
    pub packets: [Note; BURST_MAX],
    /// Admit: packets that may enter.
    pub admitted_mask: u64,
    /// Admit, address: those among them that are for one station's MAC and nothing else.
    pub plain: u64,
    /// Address: those among them that were to the switch and are for that station.
    pub addressed: u64,
    /// Steer, resolve: packets whose destination address is to be overwritten with `headers.dst`.
    pub readdressed: u64,
    /// Steer, resolve: packets that leave by one port, with another tag than they came with.
    pub retagged: u64,
    /// Resolve: packets that control gets a copy of.
    pub control_copies: ArrayVec<(u8, PuntReason), BURST_MAX>,
}

const _: () = assert!(BURST_MAX == 64, "masks have a bit for each packet, and every bit is one");

impl Notes {
    /// Notes on nothing yet.
    pub fn new() -> Notes {
        Notes {
            packets: [Note::default(); BURST_MAX],
            admitted_mask: 0,
            plain: 0,
            addressed: 0,
            readdressed: 0,
            retagged: 0,
            control_copies: ArrayVec::new(),
        }
    }
}

impl Default for Notes {
    fn default() -> Self {
        Self::new()
    }
}

/// The bits that are set, lowest first.
#[inline(always)]
pub(crate) fn bits(mut mask: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        if mask == 0 {
            return None;
        }
        let bit = mask.trailing_zeros() as usize;
        mask &= mask - 1;
        Some(bit & (BURST_MAX - 1)) // It is below 64 as it is; said like this, arrays of 64 need no bounds check.
    })
}

/// All that the phases work with, lent by the worker for one burst.
pub struct Context<'a> {
    /// What control has published.
    pub tables: &'a Tables,
    /// This worker's forwarding database.
    pub fdb: &'a mut Fdb,
    /// Access to the bytes of packets.
    pub pool: &'a mut PoolCache,
    /// The ports' bursts.
    pub output: &'a mut Output,
    /// The rings to control.
    pub control: &'a mut ToControl,
    /// By port id.
    pub counters: &'a mut [PortCounters],
    /// What steering remembers and counts.
    pub steerer: &'a mut Steerer,
    /// What rates between ports have let pass.
    pub policer: &'a mut Policer,
    /// What was learned in this burst and other workers should know.
    pub updates: &'a mut Updates,
    /// Time of this turn.
    pub now: Nanos,
    /// The same in ticks of the FDB.
    pub tick: u32,
}

/// Takes the packets of `burst`, which came in by `ingress`, to where they belong; `burst` is empty afterwards.
#[inline]
pub fn process<O: Observer>(burst: &mut Burst, ingress: PortId, notes: &mut Notes, context: &mut Context<'_>, observer: &mut O) {
    let count = burst.len();
    let counters = &mut context.counters[ingress.index()];
    counters.rx += count as u64;
    counters.rx_bytes += burst.iter().map(|packet| packet.len() as u64).sum::<u64>();
    notes.readdressed = 0;
    notes.retagged = 0;

    admit::parse(burst, context.pool, notes);
    observer.end(Phase::Parse, count, notes);

    admit::admit(count, ingress, context.tables, notes);
    observer.end(Phase::Admit, count, notes);

    address::address(burst, notes, context);
    observer.end(Phase::Address, count, notes);

    learn::learn(ingress, notes, context);
    observer.end(Phase::Learn, count, notes);

    if let Some(steering) = &context.tables.steering {
        steer::steer(burst, ingress, steering, notes, context);
        observer.end(Phase::Steer, count, notes);
    }

    resolve::resolve(burst, ingress, notes, context);
    observer.end(Phase::Resolve, count, notes);

    if let Some(rates) = &context.tables.rates {
        police::police(count, ingress, rates, notes, context);
        observer.end(Phase::Police, count, notes);
    }

    rewrite::rewrite(burst, notes, context);
    observer.end(Phase::Rewrite, count, notes);

    transmit::transmit(burst, ingress, notes, context);
    observer.end(Phase::Transmit, count, notes);
}

impl ToControl {
    /// Tells control, or counts that it could not.
    #[inline]
    pub fn tell(&mut self, event: Event) {
        if self.events.push(event).is_err() {
            self.events_lost += 1;
        }
    }
}
