//! The bus of a backplane: who may put a frame on it, and when?
//!
//! A backplane is a number of ports that share one bus of a fixed rate. Every frame that leaves by one of these ports crosses the bus
//! first, once, however many of the ports it is for: a bus is heard by all. Who puts it there is its *station*: the port of the
//! backplane it came in by, the *switch* for frames from anywhere else (the external network, another backplane), or
//! *maintenance* for frames of control's. Each station has a finite queue; what finds it full is dropped as `bus-full`.
//!
//! A frame of `len` bytes (without FCS) takes `len + 24` bytes of the bus: what it takes on a link. It is handed to its ports when its last bit
//! has crossed. Three arbiters decide: [`tdm`] (timeslots, reserved or shared), [`drr`] (byte-fair turns) and [`fdm`] (fixed shares
//! side by side). Without an arbiter there is no bus, and none of this runs.
//!
//! **Time.** Starts and ends are counted in units of 1/rate nanoseconds and are exact: nothing drifts. A decision for an instant sees
//! the frames that had come by then, also if it is made late: a worker that looks every few microseconds gives each slot
//! what it would have had. Later than [`CATCH_UP`] it does not go back: time nobody looked at is lost.
//!
//! Limits: [`STATIONS_MAX`] stations, `queue` frames for each. Nothing is allocated after the start.
//!
//! Threads: a bus belongs to one worker, which owns the transmit queues of its ports; control reads [`PublishedBus`].

use std::collections::VecDeque;
use std::sync::Arc;

use port::wrap::link::OVERHEAD_LEN;
use port::{Nanos, Packet, PoolCache, PortId};
use sync::counter::Counter;

use crate::verdict::DropReason;

pub mod drr;
pub mod fdm;
pub mod tdm;
#[cfg(test)]
mod tests;

use drr::Drr;
use fdm::Fdm;
use tdm::Tdm;

/// Stations of a bus at most: one for each port, the switch, and maintenance.
pub const STATIONS_MAX: usize = 128;
/// How far back decisions are made up for, when a worker looks late.
pub const CATCH_UP: Nanos = Nanos(1_000_000);

/// Who puts a frame on the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// It came in by this port.
    Port(PortId),
    /// Control made it.
    Control,
}

/// A bus with an arbiter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusSpec {
    /// The ports on it; the index is the number of the port's station. At most [`STATIONS_MAX`] - 2.
    pub ports: Vec<PortId>,
    /// Bits a second, not 0.
    pub rate_bps: u64,
    /// Frames that wait at each station at most, not 0.
    pub queue: usize,
    /// Who decides.
    pub arbiter: ArbiterSpec,
}

/// Who decides, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArbiterSpec {
    /// Timeslots.
    Tdm(tdm::Frame),
    /// Fixed shares of the bandwidth, in bits a second, one for each station; none is 0.
    Fdm(Vec<u64>),
    /// Bytes of the bus a station may take each time it is its turn, one for each station; none is 0.
    Drr(Vec<u32>),
}

impl BusSpec {
    /// How many stations there are.
    pub fn stations(&self) -> usize {
        self.ports.len() + 2
    }

    /// The station of frames that came in elsewhere.
    pub fn switch(&self) -> usize {
        self.ports.len()
    }

    /// The station of frames that control made.
    pub fn maintenance(&self) -> usize {
        self.ports.len() + 1
    }

    /// The longest frame that can ever cross, in bytes without FCS.
    pub fn len_max(&self) -> usize {
        let bytes = match &self.arbiter {
            ArbiterSpec::Tdm(frame) => frame.usable_bytes(self.rate_bps),
            ArbiterSpec::Fdm(_) | ArbiterSpec::Drr(_) => return usize::MAX,
        };
        usize::try_from(bytes.saturating_sub(OVERHEAD_LEN)).unwrap_or(usize::MAX)
    }
}

/// An instant on a bus, in units of 1/rate nanoseconds.
pub(crate) type Instant = u128;

/// Bytes of the bus that a frame takes.
pub(crate) fn bus_bytes(len: usize) -> u64 {
    len as u64 + OVERHEAD_LEN
}

/// Time that bytes take, in units of 1/rate nanoseconds.
pub(crate) fn bus_time(bytes: u64) -> Instant {
    u128::from(bytes) * 8_000_000_000
}

/// A frame at a station.
#[derive(Debug)]
struct Waiting {
    packet: Packet,
    /// The ports it is for.
    ports: u128,
    since: Nanos,
}

/// What a station has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StationCounters {
    /// Frames that crossed the bus.
    pub frames: u64,
    /// Their bytes, with what they take of the bus beyond their own.
    pub bytes: u64,
    /// Frames that found the queue full.
    pub dropped: u64,
    /// Frames that wait.
    pub waiting: u64,
    /// The most that ever waited.
    pub waiting_max: u64,
    /// The longest that a frame took from its arrival until its last bit had crossed, in nanoseconds.
    pub latency_max_ns: u64,
}

/// What a timeslot has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotCounters {
    /// Times it came round and was used.
    pub used: u64,
    /// Frames in it.
    pub frames: u64,
    /// Their bytes, with what they take of the bus beyond their own.
    pub bytes: u64,
    /// Of these frames, those of a station it was lent to.
    pub lent: u64,
}

/// Where frames wait.
#[derive(Debug)]
struct Station {
    queue: VecDeque<Waiting>,
    counters: StationCounters,
}

/// The stations of a bus, as an arbiter sees them.
#[derive(Debug)]
pub(crate) struct Stations {
    list: Vec<Station>,
    /// A bit for each with a frame.
    waiting: u128,
    rate_bps: u64,
}

impl Stations {
    /// Stations with a frame, as bits.
    pub(crate) fn waiting(&self) -> u128 {
        self.waiting
    }

    /// The first frame of a station: when it came, and the bytes of the bus it takes.
    #[inline]
    pub(crate) fn head(&self, station: usize) -> Option<(Instant, u64)> {
        let head = self.list[station].queue.front()?;
        Some((self.scaled(head.since), bus_bytes(head.packet.len())))
    }

    /// Stations whose first frame had come by `at` and takes at most `room` bytes.
    pub(crate) fn ready(&self, at: Instant, room: u64) -> u128 {
        let fits = |station: &usize| self.head(*station).is_some_and(|(since, bytes)| since <= at && bytes <= room);
        bits(self.waiting).filter(fits).fold(0, |mask, station| mask | 1 << station)
    }

    /// When the first of the frames at the heads of the queues came.
    pub(crate) fn earliest(&self) -> Option<Instant> {
        bits(self.waiting).filter_map(|station| Some(self.head(station)?.0)).min()
    }

    pub(crate) fn scaled(&self, time: Nanos) -> Instant {
        u128::from(time.0) * u128::from(self.rate_bps)
    }

    /// The first whole nanosecond at or after an instant.
    pub(crate) fn unscaled(&self, at: Instant) -> Nanos {
        Nanos(u64::try_from(at.div_ceil(u128::from(self.rate_bps))).unwrap_or(u64::MAX))
    }
}

/// The bits that are set, lowest first.
pub(crate) fn bits(mut mask: u128) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        if mask == 0 {
            return None;
        }
        let bit = mask.trailing_zeros() as usize;
        mask &= mask - 1;
        Some(bit)
    })
}

/// The first bit that is set from `from` on, round the end.
pub(crate) fn next_bit(mask: u128, from: usize) -> Option<usize> {
    let above = mask.checked_shr(from as u32).unwrap_or(0);
    match (mask, above) {
        (0, _) => None,
        (_, 0) => Some(mask.trailing_zeros() as usize),
        _ => Some(from + above.trailing_zeros() as usize),
    }
}

/// Arbiters that let one station send at a time.
#[derive(Debug)]
enum Turns {
    Tdm(Tdm),
    Drr(Drr),
}

/// A frame that one of these lets start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) start: Instant,
    pub(crate) station: usize,
    /// The timeslot, if there are any.
    pub(crate) slot: Option<Used>,
}

/// A timeslot that is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Used {
    /// Its index in the table.
    pub(crate) index: usize,
    /// Its number since time 0.
    pub(crate) number: u64,
    /// It is the turn of whoever waits.
    pub(crate) in_turn: bool,
    /// It belongs to another station.
    pub(crate) lent: bool,
}

#[derive(Debug)]
enum Arbiter {
    Turns {
        policy: Turns,
        /// When the gap after the last frame is over.
        free_at: Instant,
        /// The station that sends, and when its last bit has crossed.
        sending: Option<(usize, Nanos)>,
        /// Who is next as far as is known, while nobody sends.
        planned: Option<Grant>,
    },
    Fdm(Fdm),
}

/// The bus of a backplane.
#[derive(Debug)]
pub struct Bus {
    stations: Stations,
    arbiter: Arbiter,
    /// By port id: the station of frames that came in there.
    station_of: [u8; 256],
    maintenance: usize,
    queue: usize,
    len_max: usize,
    slots: Vec<SlotCounters>,
    /// The last number of each slot that was used.
    slots_used: Vec<Option<u64>>,
    published: Arc<PublishedBus>,
}

impl Bus {
    /// A bus that nobody has used yet.
    ///
    /// # Panics
    /// If the specification is not as its fields say: the configuration is checked before.
    pub fn new(spec: &BusSpec) -> Bus {
        assert!(spec.stations() <= STATIONS_MAX && spec.rate_bps > 0 && spec.queue > 0);
        let mut station_of = [spec.switch() as u8; 256];
        for (station, port) in spec.ports.iter().enumerate() {
            station_of[port.index()] = station as u8;
        }
        let turns = |policy| Arbiter::Turns { policy, free_at: 0, sending: None, planned: None };
        let (arbiter, slots) = match &spec.arbiter {
            ArbiterSpec::Tdm(frame) => (turns(Turns::Tdm(Tdm::new(frame.clone(), spec.rate_bps))), frame.slots.len()),
            ArbiterSpec::Drr(quanta) => {
                assert_eq!(quanta.len(), spec.stations());
                (turns(Turns::Drr(Drr::new(quanta))), 0)
            }
            ArbiterSpec::Fdm(shares) => {
                assert_eq!(shares.len(), spec.stations());
                (Arbiter::Fdm(Fdm::new(shares)), 0)
            }
        };
        let station = || Station { queue: VecDeque::with_capacity(spec.queue), counters: StationCounters::default() };
        Bus {
            stations: Stations { list: (0..spec.stations()).map(|_| station()).collect(), waiting: 0, rate_bps: spec.rate_bps },
            arbiter,
            station_of,
            maintenance: spec.maintenance(),
            queue: spec.queue,
            len_max: spec.len_max(),
            slots: vec![SlotCounters::default(); slots],
            slots_used: vec![None; slots],
            published: Arc::new(PublishedBus::new(spec.stations(), slots)),
        }
    }

    /// Where it publishes what it counts.
    pub fn published(&self) -> Arc<PublishedBus> {
        Arc::clone(&self.published)
    }

    /// A frame for `port` waits from now on.
    ///
    /// Handles of one flooded frame that come one after the other become one frame on the bus: `packet` is freed if the frame is
    /// there already, and made anew for each port when it has crossed.
    ///
    /// # Errors
    /// The packet, if the queue is full or the frame fits into no timeslot.
    pub fn enqueue(
        &mut self,
        sender: Sender,
        port: PortId,
        packet: Packet,
        now: Nanos,
        pool: &mut PoolCache,
    ) -> Result<(), (DropReason, Packet)> {
        let index = match sender {
            Sender::Port(port) => usize::from(self.station_of[port.index()]),
            Sender::Control => self.maintenance,
        };
        let station = &mut self.stations.list[index];
        // A handle keeps its buffer: the same buffer is the same frame.
        let same = |last: &&mut Waiting| last.packet.buffer() == packet.buffer() && last.ports & 1 << port.index() == 0;
        if let Some(last) = station.queue.back_mut().filter(same) {
            last.ports |= 1 << port.index();
            pool.free(packet);
            return Ok(());
        }
        if packet.len() > self.len_max {
            return Err((DropReason::TxOversize, packet));
        }
        if station.queue.len() >= self.queue {
            station.counters.dropped += 1;
            return Err((DropReason::BusFull, packet));
        }
        station.queue.push_back(Waiting { packet, ports: 1 << port.index(), since: now });
        station.counters.waiting += 1;
        station.counters.waiting_max = station.counters.waiting_max.max(station.counters.waiting);
        if station.queue.len() == 1 {
            self.stations.waiting |= 1 << index;
            match &mut self.arbiter {
                Arbiter::Turns { planned, .. } => *planned = None, // A new head may be let first.
                Arbiter::Fdm(fdm) => fdm.head(&self.stations, index),
            }
        }
        Ok(())
    }

    /// Lets everything happen that is due by `now`: `deliver` gets each frame that has crossed, for each of its ports.
    pub fn run(&mut self, now: Nanos, pool: &mut PoolCache, deliver: &mut impl FnMut(PortId, Packet, &mut PoolCache)) {
        while let Some((station, ends)) = self.next_end(now).filter(|(_, ends)| *ends <= now) {
            self.crossed(station, ends, pool, deliver);
        }
    }

    /// The station whose frame has crossed next, and when; starts what starts by `now`.
    fn next_end(&mut self, now: Nanos) -> Option<(usize, Nanos)> {
        match &mut self.arbiter {
            Arbiter::Fdm(fdm) => fdm.next_end(&self.stations),
            Arbiter::Turns { policy, free_at, sending, planned } => {
                if sending.is_none() && self.stations.waiting != 0 {
                    *free_at = (*free_at).max(self.stations.scaled(Nanos(now.0.saturating_sub(CATCH_UP.0))));
                    if planned.is_none_or(|grant| grant.start < *free_at) {
                        *planned = match policy {
                            Turns::Tdm(tdm) => tdm.plan(&self.stations, *free_at),
                            Turns::Drr(drr) => drr.plan(&self.stations, *free_at),
                        };
                    }
                    if let Some(grant) = planned.take_if(|grant| grant.start <= u128::from(now.0) * u128::from(self.stations.rate_bps)) {
                        let grant = match policy {
                            Turns::Tdm(tdm) => tdm.start(grant),
                            Turns::Drr(drr) => drr.start(&self.stations, grant),
                        };
                        let bytes = self.stations.head(grant.station).map_or(0, |(_, bytes)| bytes);
                        *free_at = grant.start + bus_time(bytes);
                        let last_bit = *free_at - bus_time(port::wrap::link::GAP_LEN);
                        *sending = Some((grant.station, self.stations.unscaled(last_bit)));
                        if let Some(used) = grant.slot {
                            let slot = &mut self.slots[used.index];
                            slot.used += u64::from(self.slots_used[used.index].replace(used.number) != Some(used.number));
                            slot.frames += 1;
                            slot.bytes += bytes;
                            slot.lent += u64::from(used.lent);
                        }
                    }
                }
                *sending
            }
        }
    }

    /// The first frame of a station has crossed.
    fn crossed(&mut self, index: usize, ends: Nanos, pool: &mut PoolCache, deliver: &mut impl FnMut(PortId, Packet, &mut PoolCache)) {
        if let Arbiter::Turns { sending, .. } = &mut self.arbiter {
            *sending = None;
        }
        let station = &mut self.stations.list[index];
        let Some(Waiting { packet, ports, since }) = station.queue.pop_front() else { return };
        station.counters.frames += 1;
        station.counters.bytes += bus_bytes(packet.len());
        station.counters.waiting -= 1;
        station.counters.latency_max_ns = station.counters.latency_max_ns.max(ends.since(since).0);
        if station.queue.is_empty() {
            self.stations.waiting &= !(1 << index);
        }
        if let Arbiter::Fdm(fdm) = &mut self.arbiter {
            fdm.head(&self.stations, index);
        }
        hand_out(packet, ports, pool, deliver);
    }

    /// Hands over all that waits, at once: the switch ends.
    pub fn release(&mut self, pool: &mut PoolCache, deliver: &mut impl FnMut(PortId, Packet, &mut PoolCache)) {
        for station in &mut self.stations.list {
            for Waiting { packet, ports, .. } in station.queue.drain(..) {
                hand_out(packet, ports, pool, deliver);
            }
            station.counters.waiting = 0;
        }
        self.stations.waiting = 0;
        match &mut self.arbiter {
            Arbiter::Turns { sending, planned, .. } => (*sending, *planned) = (None, None),
            Arbiter::Fdm(fdm) => fdm.clear(),
        }
    }

    /// Frames that wait or are crossing.
    pub fn held(&self) -> usize {
        self.stations.list.iter().map(|station| station.queue.len()).sum()
    }

    /// When [`run`](Self::run) has something to do, as it was known when it ran last.
    pub fn next_event(&self) -> Option<Nanos> {
        match &self.arbiter {
            Arbiter::Turns { sending: Some((_, ends)), .. } => Some(*ends),
            Arbiter::Turns { planned, .. } => planned.map(|grant| self.stations.unscaled(grant.start)),
            Arbiter::Fdm(fdm) => fdm.next_end(&self.stations).map(|(_, ends)| ends),
        }
    }

    /// Publishes the counters.
    pub fn publish(&self) {
        let stations = self.stations.list.iter().map(|station| station.counters);
        for (published, counters) in self.published.stations.iter().zip(stations) {
            let StationCounters { frames, bytes, dropped, waiting, waiting_max, latency_max_ns } = counters;
            let words = [frames, bytes, dropped, waiting, waiting_max, latency_max_ns];
            published.iter().zip(words).for_each(|(counter, word)| counter.store(word));
        }
        for (published, SlotCounters { used, frames, bytes, lent }) in self.published.slots.iter().zip(&self.slots) {
            published.iter().zip([used, frames, bytes, lent]).for_each(|(counter, word)| counter.store(*word));
        }
    }
}

/// A handle for each port, the one that is there for the last.
fn hand_out(mut packet: Packet, ports: u128, pool: &mut PoolCache, deliver: &mut impl FnMut(PortId, Packet, &mut PoolCache)) {
    let mut left = ports;
    while left & (left - 1) != 0 {
        let copy = pool.share(&mut packet);
        deliver(PortId(left.trailing_zeros() as u8), copy, pool);
        left &= left - 1;
    }
    deliver(PortId(left.trailing_zeros() as u8), packet, pool);
}

/// Where a bus publishes what it counts: written by its worker, read by control.
#[derive(Debug)]
pub struct PublishedBus {
    stations: Box<[[Counter; 6]]>,
    slots: Box<[[Counter; 4]]>,
}

impl PublishedBus {
    fn new(stations: usize, slots: usize) -> PublishedBus {
        PublishedBus {
            stations: (0..stations).map(|_| [const { Counter::new() }; 6]).collect(),
            slots: (0..slots).map(|_| [const { Counter::new() }; 4]).collect(),
        }
    }

    /// What each station has counted: those of the ports, the switch, maintenance.
    pub fn stations(&self) -> Vec<StationCounters> {
        let load = |counters: &[Counter; 6]| {
            let [frames, bytes, dropped, waiting, waiting_max, latency_max_ns] = counters.each_ref().map(Counter::load);
            StationCounters { frames, bytes, dropped, waiting, waiting_max, latency_max_ns }
        };
        self.stations.iter().map(load).collect()
    }

    /// What each timeslot has counted; empty without timeslots.
    pub fn slots(&self) -> Vec<SlotCounters> {
        let load = |counters: &[Counter; 4]| {
            let [used, frames, bytes, lent] = counters.each_ref().map(Counter::load);
            SlotCounters { used, frames, bytes, lent }
        };
        self.slots.iter().map(load).collect()
    }
}
