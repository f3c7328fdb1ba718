//! The forwarding database: behind which port is `(VLAN, MAC)`?
//!
//! One hashbrown table of 16-byte entries, keyed by VID and MAC in one `u64`, and in front of it an array of cache lines
//! with four entries each, found by the hash alone: a look-up touches one line, and that line can be prefetched for a whole burst
//! before it is needed ([`Fdb::slot`]). The front holds copies of the table's entries, all but the few whose
//! line is full; what it does not hold is looked for in the table. Each worker has a whole one of its own: reads
//! take no lock and write no shared line, and there is one writer. What one worker learns it tells the others (see `worker.rs`).
//!
//! - **Ageing.** Time is counted in ticks, a 64th of the ageing time. An entry seen in tick `t` is valid through tick
//!   `t + 64`, so it lives at least the ageing time and at most a 64th longer. Validity is judged at look-up; when the sweep comes by
//!   later does not matter. The stamp is written at most once a tick.
//! - **Flush.** Each port and each VLAN has a generation. An entry carries the sum of both from when it was written; flushing
//!   raises one and walks nothing. (Generations only grow, so sums of different pairs are equal only after 65,536 flushes
//!   within one life of an entry, and the sweep removes stale entries long before.)
//! - **Limits.** A port or VLAN at its limit learns no further address. When the whole table is full the newcomer takes the place of
//!   an entry of the port that has most, so that a port can never push out the addresses of one that has fewer. Entries that
//!   were set by hand take room in the whole, count for no port or VLAN, are never pushed out and survive a flush. Room for all
//!   entries is allocated at the start: growing would stall.
//! - **Sweep.** A hand goes round the buckets and removes what has aged or was flushed, some buckets a call.
//!
//! Threads: one worker owns it. Deterministic: the same calls give the same table, whichever worker makes them.

use hashbrown::{HashMap, HashTable};
use port::{PORTS_MAX, PortId};
use wire::{MacAddr, Vid};

/// VID in bits 48 to 59, the MAC's raw form below.
pub type Key = u64;

/// The key of `(vid, mac)`.
#[inline(always)]
pub fn key(vid: Vid, mac: MacAddr) -> Key {
    mac.raw() | (vid.get() as u64) << 48
}

/// Ticks an ageing time is divided into.
pub const TICKS_PER_AGE: u32 = 64;

/// Buckets looked at for an entry to push out, before the newcomer is refused: many more than needed to meet an entry of the
/// port that has most, few enough not to be felt.
const EVICT_SCAN_MAX: usize = 2048;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Learned; ages.
    Dynamic,
    /// Set by hand; does not age and does not move.
    Static,
    /// Set by hand: frames from and to this address are dropped.
    Blackhole,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    key: Key,
    /// Tick in which the address was last seen.
    stamp: u32,
    generation: u16,
    port: PortId,
    kind: Kind,
}

const _: () = assert!(size_of::<Entry>() == 16);

/// Where a key is looked up first.
#[derive(Clone, Copy, Debug, Default)]
pub struct Slot(u32);

/// What the front keeps of an entry beside its key.
#[derive(Clone, Copy, Debug)]
struct Value {
    stamp: u32,
    generation: u16,
    port: PortId,
    kind: Kind,
}

/// A cache line of the front. A key of 0 is an empty place: VLANs begin at 1.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Line {
    keys: [Key; WAYS],
    values: [Value; WAYS],
}

const WAYS: usize = 4;
const _: () = assert!(size_of::<Line>() == 64);

impl Line {
    const EMPTY: Line = Line { keys: [0; WAYS], values: [Value { stamp: 0, generation: 0, port: PortId(0), kind: Kind::Dynamic }; WAYS] };

    /// The place of `key`. No branch on the way: which of the four matches cannot be predicted.
    #[inline(always)]
    fn find(&self, key: Key) -> Option<usize> {
        let matches = (0..WAYS).fold(0u32, |matches, way| matches | u32::from(self.keys[way] == key) << way);
        if matches == 0 { None } else { Some(matches.trailing_zeros() as usize % WAYS) }
    }
}

/// What a look-up found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Behind this port.
    pub port: PortId,
    /// What the entry is.
    pub kind: Kind,
}

/// What came of learning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learned {
    /// It was known, and has been seen in this tick before.
    Known,
    /// It was known; its age starts anew.
    Refreshed,
    /// It is new.
    New,
    /// It was known behind another port, and has moved.
    Moved {
        /// Where it was.
        from: PortId,
    },
    /// It is set by hand behind another port, and stays there.
    Fixed,
    /// Its entry is a blackhole.
    Blackhole,
    /// A limit is reached.
    Refused,
}

/// Limits of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Entries in all.
    pub total: u32,
    /// Entries of one VLAN.
    pub per_vlan: u32,
    /// Entries of each port.
    pub per_port: [u32; PORTS_MAX],
}

impl Limits {
    /// Only the total is limited.
    pub fn total(total: u32) -> Limits {
        Limits { total, per_vlan: u32::MAX, per_port: [u32::MAX; PORTS_MAX] }
    }
}

/// An entry as shown to people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Record {
    /// VLAN.
    pub vid: Vid,
    /// Address.
    pub mac: MacAddr,
    /// Port it is behind; of no meaning for a blackhole.
    pub port: PortId,
    /// `dynamic`, `static` or `blackhole`.
    pub kind: &'static str,
    /// Ticks since it was last seen.
    pub age_ticks: u32,
}

/// Counts of what happened, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct FdbCounters {
    /// Addresses learned.
    pub learned: u64,
    /// Addresses that moved from one port to another.
    pub moved: u64,
    /// Addresses aged out.
    pub aged: u64,
    /// Addresses pushed out by others when the table was full.
    pub evicted: u64,
    /// Addresses not learned because of a limit.
    pub refused: u64,
}

/// The table.
#[derive(Debug)]
pub struct Fdb {
    table: HashTable<Entry>,
    /// Copies of the table's entries; a power of two of lines.
    front: Box<[Line]>,
    seed: u64,
    age_ticks: u32,
    limits: Limits,
    /// As long as a port id can be large, so that no look-up needs a bounds check.
    port_generation: [u16; 256],
    vlan_generation: Box<[u16; 4096]>,
    /// Learned entries that are not flushed, by `(port, vid)`: aged ones that the sweep has not met count.
    counts: HashMap<(PortId, u16), u32>,
    count_port: [u32; PORTS_MAX],
    count_vlan: Box<[u32; 4096]>,
    count: u32,
    /// Entries set by hand.
    fixed: u32,
    /// Where the sweep goes on.
    hand: usize,
    counters: FdbCounters,
}

impl Fdb {
    /// An empty table. `seed` goes into the hash, so that nobody outside can choose addresses that collide.
    pub fn new(limits: Limits, age_ticks: u32, seed: u64) -> Fdb {
        // Two places for each entry there may be: of a full table some four in a hundred do not find one.
        let lines = (limits.total as usize).next_power_of_two().max(32) * 2 / WAYS;
        let front = vec![Line::EMPTY; lines].into_boxed_slice();
        port::mempool::advise_hugepages(&front);
        Fdb {
            front,
            // At half load removed entries leave hardly any tombstones, so that a rehash, which would stall, is not met in practice.
            table: HashTable::with_capacity(limits.total as usize + limits.total as usize / 2),
            seed: seed | 1,
            age_ticks,
            limits,
            port_generation: [0; 256],
            vlan_generation: Box::new([0; 4096]),
            counts: HashMap::new(),
            count_port: [0; PORTS_MAX],
            count_vlan: Box::new([0; 4096]),
            count: 0,
            fixed: 0,
            hand: 0,
            counters: FdbCounters::default(),
        }
    }

    /// Where `key` is looked up, for later; what that will read is asked for now.
    #[inline(always)]
    pub fn slot(&self, key: Key) -> Slot {
        let slot = hash(self.seed, key) as usize & (self.front.len() - 1);
        port::mempool::prefetch(&self.front[slot]);
        Slot(slot as u32)
    }

    /// Where is `key`, in tick `now`?
    #[inline]
    pub fn lookup(&self, key: Key, now: u32) -> Option<Found> {
        let line = self.line(key);
        let Some(way) = line.find(key) else {
            return self.lookup_table(key, now);
        };
        let Value { stamp, generation, port, kind } = line.values[way];
        self.is_valid(&Entry { key, stamp, generation, port, kind }, now).then_some(Found { port, kind })
    }

    /// The port of `key`, if it is learned, valid and in the front; `None` says nothing.
    #[inline(always)]
    pub(crate) fn lookup_learned(&self, slot: Slot, key: Key, now: u32) -> Option<PortId> {
        let line = &self.front[slot.0 as usize];
        let Value { stamp, generation, port, kind } = line.values[line.find(key)?];
        let fresh = now.wrapping_sub(stamp) <= self.age_ticks;
        (fresh & (generation == self.generation(port, key)) & (kind == Kind::Dynamic)).then_some(port)
    }

    #[inline(never)]
    fn lookup_table(&self, key: Key, now: u32) -> Option<Found> {
        let entry = self.table.find(hash(self.seed, key), |entry| entry.key == key)?;
        self.is_valid(entry, now).then_some(Found { port: entry.port, kind: entry.kind })
    }

    /// `key` was seen as a source behind `port` in tick `now`.
    pub fn learn(&mut self, key: Key, port: PortId, now: u32) -> Learned {
        self.learn_at(self.slot(key), key, port, now)
    }

    /// [`learn`](Self::learn) where the slot of the key is known.
    #[inline(always)]
    pub(crate) fn learn_at(&mut self, slot: Slot, key: Key, port: PortId, now: u32) -> Learned {
        let line = &self.front[slot.0 as usize];
        // The one case that matters: known, here, and seen in this tick already.
        if let Some(way) = line.find(key) {
            let value = line.values[way];
            let same = (value.stamp == now) & (value.port == port) & (value.kind == Kind::Dynamic);
            if same & (value.generation == self.generation(port, key)) {
                return Learned::Known;
            }
        }
        self.learn_again(key, port, now)
    }

    #[inline(never)]
    fn learn_again(&mut self, key: Key, port: PortId, now: u32) -> Learned {
        let generation = self.generation(port, key);
        let Some(entry) = self.table.find_mut(hash(self.seed, key), |entry| entry.key == key) else {
            return self.learn_new(key, port, now);
        };
        match entry.kind {
            Kind::Static => return if entry.port == port { Learned::Known } else { Learned::Fixed },
            Kind::Blackhole => return Learned::Blackhole,
            Kind::Dynamic => {}
        }
        let before = *entry;
        let flushed = before.generation != self.port_generation[before.port.index()].wrapping_add(self.vlan_generation[vid_of(key)]);
        let aged = now.wrapping_sub(before.stamp) > self.age_ticks;
        if before.port == port && !flushed && !aged {
            let known = entry.stamp == now;
            entry.stamp = now;
            let entry = *entry;
            self.write_front(&entry);
            return if known { Learned::Known } else { Learned::Refreshed };
        }
        if flushed || aged {
            // As good as gone: whatever limits hold for a newcomer hold for it.
            self.remove(key);
            if aged && !flushed {
                self.counters.aged += 1;
            }
            return self.learn_new(key, port, now);
        }
        if self.count_port[port.index()] >= self.limits.per_port[port.index()] {
            self.counters.refused += 1;
            return Learned::Refused;
        }
        let moved = Entry { key, stamp: now, generation, port, kind: Kind::Dynamic };
        *entry = moved;
        self.write_front(&moved);
        self.uncount(before.port, key);
        self.recount(port, key);
        self.counters.moved += 1;
        Learned::Moved { from: before.port }
    }

    #[cold]
    fn learn_new(&mut self, key: Key, port: PortId, now: u32) -> Learned {
        let full =
            self.count_port[port.index()] >= self.limits.per_port[port.index()] || self.count_vlan[vid_of(key)] >= self.limits.per_vlan;
        if full || !self.make_room(key, port, now) {
            self.counters.refused += 1;
            return Learned::Refused;
        }
        let generation = self.generation(port, key);
        self.insert(Entry { key, stamp: now, generation, port, kind: Kind::Dynamic });
        self.counters.learned += 1;
        Learned::New
    }

    /// Room for one more entry, of `newcomer`: if need be one entry of the port that has most goes.
    fn make_room(&mut self, key: Key, newcomer: PortId, now: u32) -> bool {
        if self.has_room() {
            return true;
        }
        // The newcomer itself is among those with most if it has as many: then it takes the place of one of its own.
        let most = self.count_port.iter().copied().max().unwrap_or(0);
        let fullest = if self.count_port[newcomer.index()] == most {
            newcomer
        } else {
            PortId(self.count_port.iter().position(|&count| count == most).unwrap_or(0) as u8)
        };
        // The search begins where the newcomer will go. (A hand going round would leave the table dense ahead of it, and
        // dense tables collect tombstones.)
        let buckets = self.table.num_buckets();
        let start = hash(self.seed, key) as usize;
        for step in 0..EVICT_SCAN_MAX.min(buckets) {
            let Some(&entry) = self.table.get_bucket(start.wrapping_add(step) % buckets) else { continue };
            let stale = !self.is_valid(&entry, now);
            if stale || (entry.kind == Kind::Dynamic && entry.port == fullest) {
                self.remove(entry.key);
                if stale {
                    self.counters.aged += 1
                } else {
                    self.counters.evicted += 1
                }
                if self.has_room() {
                    return true;
                }
            }
        }
        false
    }

    fn has_room(&self) -> bool {
        self.count + self.fixed < self.limits.total
    }

    /// Adds or replaces an entry that is set by hand. `false` if the table is full of such.
    pub fn set(&mut self, key: Key, port: PortId, kind: Kind, now: u32) -> bool {
        self.remove(key);
        if !self.make_room(key, port, now) {
            return false;
        }
        let generation = self.generation(port, key);
        self.insert(Entry { key, stamp: now, generation, port, kind });
        true
    }

    /// Removes the entry of `key`, of whatever kind; `true` if there was one.
    pub fn remove(&mut self, key: Key) -> bool {
        let Ok(occupied) = self.table.find_entry(hash(self.seed, key), |entry| entry.key == key) else {
            return false;
        };
        let (entry, _) = occupied.remove();
        let line = self.line_mut(key);
        if let Some(way) = line.find(key) {
            line.keys[way] = 0;
        }
        if entry.kind != Kind::Dynamic {
            self.fixed -= 1;
        } else if entry.generation == self.generation(entry.port, key) {
            self.uncount(entry.port, key);
        } // Else a flush has taken it out of the counts already.
        true
    }

    /// Forgets what was learned behind `port`.
    pub fn flush_port(&mut self, port: PortId) {
        self.port_generation[port.index()] = self.port_generation[port.index()].wrapping_add(1);
        self.forget_counts(|at, _| at == port);
    }

    /// Forgets what was learned in `vid`.
    pub fn flush_vlan(&mut self, vid: Vid) {
        let generation = &mut self.vlan_generation[vid.get() as usize];
        *generation = generation.wrapping_add(1);
        self.forget_counts(|_, at| at == vid.get());
    }

    /// Forgets all that was learned.
    pub fn flush_all(&mut self) {
        for port in 0..PORTS_MAX {
            self.port_generation[port] = self.port_generation[port].wrapping_add(1);
        }
        self.forget_counts(|_, _| true);
    }

    /// Takes flushed entries out of the counts.
    fn forget_counts(&mut self, hit: impl Fn(PortId, u16) -> bool) {
        let dropped: Vec<((PortId, u16), u32)> = self.counts.extract_if(|&(port, vid), _| hit(port, vid)).collect();
        for ((port, vid), count) in dropped {
            self.count_port[port.index()] -= count;
            self.count_vlan[vid as usize] -= count;
            self.count -= count;
        }
    }

    /// Removes aged and flushed entries in the next `buckets` buckets.
    pub fn sweep(&mut self, now: u32, buckets: usize) {
        let size = self.table.num_buckets();
        for _ in 0..buckets.min(size) {
            self.hand = (self.hand + 1) % size;
            let Some(&entry) = self.table.get_bucket(self.hand) else { continue };
            if !self.is_valid(&entry, now) {
                let flushed = entry.generation != self.generation(entry.port, entry.key);
                self.remove(entry.key);
                if !flushed {
                    self.counters.aged += 1;
                }
            }
        }
    }

    /// The ageing time in ticks: [`TICKS_PER_AGE`], or `u32::MAX` for never.
    pub fn set_age(&mut self, age_ticks: u32) {
        self.age_ticks = age_ticks;
    }

    /// Buckets of the table, for [`records`](Self::records) and [`sweep`](Self::sweep).
    pub fn buckets(&self) -> usize {
        self.table.num_buckets()
    }

    /// The valid entries in these buckets.
    pub fn records(&self, buckets: std::ops::Range<usize>, now: u32) -> impl Iterator<Item = Record> {
        buckets.filter_map(|bucket| self.table.get_bucket(bucket)).filter(move |entry| self.is_valid(entry, now)).filter_map(move |entry| {
            Some(Record {
                vid: Vid::new(vid_of(entry.key) as u16)?,
                mac: MacAddr::from_raw(entry.key),
                port: entry.port,
                kind: match entry.kind {
                    Kind::Dynamic => "dynamic",
                    Kind::Static => "static",
                    Kind::Blackhole => "blackhole",
                },
                age_ticks: now.wrapping_sub(entry.stamp),
            })
        })
    }

    /// Entries, aged ones that the sweep has not met among them.
    pub fn len(&self) -> usize {
        (self.count + self.fixed) as usize
    }

    /// Nothing is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Learned entries behind `port`, counted like [`len`](Self::len).
    pub fn len_port(&self, port: PortId) -> usize {
        self.count_port[port.index()] as usize
    }

    /// What happened since the start.
    pub fn counters(&self) -> FdbCounters {
        self.counters
    }

    #[inline(always)]
    fn generation(&self, port: PortId, key: Key) -> u16 {
        self.port_generation[port.index()].wrapping_add(self.vlan_generation[vid_of(key)])
    }

    #[inline(always)]
    fn is_valid(&self, entry: &Entry, now: u32) -> bool {
        let fresh = now.wrapping_sub(entry.stamp) <= self.age_ticks;
        (fresh && entry.generation == self.generation(entry.port, entry.key)) || entry.kind != Kind::Dynamic
    }

    fn insert(&mut self, entry: Entry) {
        if entry.kind == Kind::Dynamic {
            self.recount(entry.port, entry.key);
        } else {
            self.fixed += 1;
        }
        let seed = self.seed;
        self.table.insert_unique(hash(seed, entry.key), entry, |entry| hash(seed, entry.key));
        self.write_front(&entry);
    }

    #[inline(always)]
    fn line(&self, key: Key) -> &Line {
        &self.front[hash(self.seed, key) as usize & (self.front.len() - 1)]
    }

    #[inline(always)]
    fn line_mut(&mut self, key: Key) -> &mut Line {
        let mask = self.front.len() - 1;
        &mut self.front[hash(self.seed, key) as usize & mask]
    }

    /// Copies an entry of the table to the front, if its line has a place.
    fn write_front(&mut self, entry: &Entry) {
        let &Entry { key, stamp, generation, port, kind } = entry;
        let line = self.line_mut(key);
        if let Some(way) = line.find(key).or_else(|| line.find(0)) {
            line.keys[way] = key;
            line.values[way] = Value { stamp, generation, port, kind };
        }
    }

    fn recount(&mut self, port: PortId, key: Key) {
        *self.counts.entry((port, vid_of(key) as u16)).or_insert(0) += 1;
        self.count_port[port.index()] += 1;
        self.count_vlan[vid_of(key)] += 1;
        self.count += 1;
    }

    fn uncount(&mut self, port: PortId, key: Key) {
        if let Some(count) = self.counts.get_mut(&(port, vid_of(key) as u16)) {
            *count -= 1;
        }
        self.count_port[port.index()] -= 1;
        self.count_vlan[vid_of(key)] -= 1;
        self.count -= 1;
    }
}

#[inline(always)]
fn vid_of(key: Key) -> usize {
    (key >> 48) as usize & 0xfff
}

/// One wide multiplication, folded: every bit of the key reaches the low bits (the line, the bucket) and the top seven
/// (hashbrown's tag). The shift before it keeps addresses in a row from landing in a lattice.
#[inline(always)]
fn hash(seed: u64, key: Key) -> u64 {
    let mixed = key ^ seed;
    let product = (mixed ^ mixed >> 32) as u128 * 0x9e37_79b9_7f4a_7c15_u128;
    (product as u64) ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
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
                let placed: usize = fdb.front.iter().map(|line| line.keys.iter().filter(|&&key| key != 0).count()).sum();
                assert!(placed > (1 << 16) * 93 / 100, "numbering {which}, seed {seed}: {placed} of 65536 in the front");
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
                    Op::Wait(ticks) => now = now.wrapping_add(ticks),
                    Op::FlushPort(port) => { fdb.flush_port(PortId(port)); model.retain(|_, (at, _)| *at != PortId(port)); }
                    Op::FlushVlan(vid) => { fdb.flush_vlan(Vid::new(vid).unwrap()); model.retain(|key, _| vid_of(*key) as u16 != vid); }
                    Op::FlushAll => { fdb.flush_all(); model.clear(); }
                    Op::Sweep(buckets) => fdb.sweep(now, buckets),
                    Op::Remove { station, vid } => { fdb.remove(at(vid, station)); model.remove(&at(vid, station)); }
                }
                for (vid, station) in (1..4).flat_map(|vid| (0..12).map(move |station| (vid, station))) {
                    let expected = model.get(&at(vid, station)).filter(|(_, seen)| now.wrapping_sub(*seen) <= TICKS_PER_AGE);
                    prop_assert_eq!(fdb.lookup(at(vid, station), now).map(|found| found.port), expected.map(|(port, _)| *port));
                    prop_assert_eq!(fdb.lookup(at(vid, station), now), fdb.lookup_table(at(vid, station), now), "the front says what the table says");
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
}
