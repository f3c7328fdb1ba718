//! Time division: a frame of timeslots of one length that comes round for ever.
//!
//! Slot `n` since time 0 begins at `n × slot_ns` and is number `n mod slots` of the table. In a slot that is reserved for a station its
//! frames go first; in a shared one, and in a reserved one that is lent, whoever waits is served in turn, frame by frame. A frame starts
//! only if it ends, with its gap, before the slot's guard time: no slot begins with another's frame on the bus. That is what makes
//! the bandwidth and the latency of a reserved slot independent of all others.

use super::{Grant, Instant, Stations, Used, bus_time, next_bit};

/// The table of timeslots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Length of a slot in nanoseconds, guard time included; not 0.
    pub slot_ns: u64,
    /// At the end of each slot nothing is sent for so long.
    pub guard_ns: u64,
    /// A reserved slot serves others while its station has nothing that fits.
    pub lend: bool,
    /// The slots in order; at least one.
    pub slots: Vec<Slot>,
}

/// Who may send in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// This station.
    Reserved(usize),
    /// Everybody in turn.
    Shared,
}

impl Frame {
    /// Bytes of the bus that fit into a slot at this rate.
    pub fn usable_bytes(&self, rate_bps: u64) -> u64 {
        let bits_of_ns = u128::from(self.slot_ns.saturating_sub(self.guard_ns)) * u128::from(rate_bps);
        u64::try_from(bits_of_ns / 8_000_000_000).unwrap_or(u64::MAX)
    }
}

/// The arbiter.
#[derive(Debug)]
pub(super) struct Tdm {
    frame: Frame,
    /// A slot, and what of it is not guard time.
    slot: Instant,
    usable: Instant,
    /// Where the turn of those that wait begins.
    turn: usize,
}

impl Tdm {
    pub(super) fn new(frame: Frame, rate_bps: u64) -> Tdm {
        assert!(frame.slot_ns > 0 && !frame.slots.is_empty());
        let scaled = |ns: u64| u128::from(ns) * u128::from(rate_bps);
        Tdm { slot: scaled(frame.slot_ns), usable: scaled(frame.slot_ns.saturating_sub(frame.guard_ns)), frame, turn: 0 }
    }

    /// Who may start next, if the bus is free from `free_at` on.
    pub(super) fn plan(&self, stations: &Stations, free_at: Instant) -> Option<Grant> {
        let mut at = free_at.max(stations.earliest()?);
        let mut number = at / self.slot;
        // Once every head has come, a whole frame passes each station's slot. Before that each arrival is another moment to look.
        for _ in 0..2 * self.frame.slots.len() + super::STATIONS_MAX {
            let start = number * self.slot;
            let index = (number % self.frame.slots.len() as u128) as usize;
            let room = (start + self.usable).saturating_sub(at) / bus_time(1);
            if let Some((station, in_turn)) = self.choose(stations, index, at, room as u64) {
                let lent = in_turn && self.frame.slots[index] != Slot::Shared;
                let used = Used { index, number: number as u64, in_turn, lent };
                return Some(Grant { start: at, station, slot: Some(used) });
            }
            let end = start + self.slot;
            let coming = super::bits(stations.waiting()).filter_map(|station| Some(stations.head(station)?.0));
            match coming.filter(|since| *since > at && *since < end).min() {
                Some(arrival) => at = arrival,
                None => (at, number) = (end, number + 1),
            }
        }
        None
    }

    /// Who starts in slot `index` at `at`, with `room` bytes left in it, and whether that is in turn.
    fn choose(&self, stations: &Stations, index: usize, at: Instant, room: u64) -> Option<(usize, bool)> {
        let ready = stations.ready(at, room);
        let in_turn = || next_bit(ready, self.turn).map(|station| (station, true));
        match self.frame.slots[index] {
            Slot::Reserved(owner) if ready & 1 << owner != 0 => Some((owner, false)),
            Slot::Reserved(_) if !self.frame.lend => None,
            Slot::Reserved(_) | Slot::Shared => in_turn(),
        }
    }

    /// The grant comes true.
    pub(super) fn start(&mut self, grant: Grant) -> Grant {
        if grant.slot.is_some_and(|used| used.in_turn) {
            self.turn = grant.station + 1;
        }
        grant
    }
}
