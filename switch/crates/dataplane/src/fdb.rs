//! The forwarding database: behind which port is `(VLAN, MAC)`?
//!
//! One hashbrown table of 16-byte entries, keyed by VID and MAC in one `u64`, and in front of it an array of cache lines
//! with six short entries each (`front`): a look-up touches one line, and that line can be prefetched for a whole burst
//! before it is needed ([`Fdb::place`]). The front says which port an address is behind, of all but the few that found no
//! place; what it does not hold is looked for in the table. Each worker has a whole one of its own: reads
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

mod front;
mod ticks;

pub(crate) use front::Ages;
pub use front::Place;
use front::{Front, GENERATIONS, STAMPS, Value};
pub(crate) use ticks::Ticks;

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

/// What the front holds of an address that there is nothing to be learned of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known(Value);

/// The beginning of a round of the sweep.
#[derive(Clone, Copy, Debug, Default)]
struct Round {
    tick: u32,
    /// Flushes until then.
    flushes: u32,
}

/// The table.
#[derive(Debug)]
pub struct Fdb {
    table: HashTable<Entry>,
    /// Where the table's entries are.
    front: Front,
    /// When rounds of the sweep began: the one before this, and this. What the front holds is not older than the former.
    rounds: [Round; 2],
    flushes: u32,
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
        Fdb {
            front: Front::new(limits.total as usize, seed),
            rounds: [Round::default(); 2],
            flushes: 0,
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
    pub fn place(&self, key: Key) -> Place {
        self.front.place(key)
    }

    /// Where is `key`, in tick `now`? What a look-up in the table alone says.
    pub fn lookup(&self, key: Key, now: u32) -> Option<Found> {
        let entry = self.table.find(hash(self.seed, key), |entry| entry.key == key)?;
        self.is_valid(entry, now).then_some(Found { port: entry.port, kind: entry.kind })
    }

    /// The port of a key, if it is valid and in its own line of the front; `None` says nothing. `of_vlan` is the
    /// [generation](Self::vlan_generation) of its VLAN.
    #[inline(always)]
    pub(crate) fn port_of(&self, place: Place, of_vlan: u16, ages: Ages) -> Option<PortId> {
        self.valid_port(self.front.get(place)?, of_vlan, ages)
    }

    /// Asks for whatever else of the front [`port_from_anywhere`](Self::port_from_anywhere) and [`learn`](Self::learn) may read.
    #[inline(always)]
    pub(crate) fn prefetch_beside(&self, place: Place) {
        self.front.prefetch_beside(place);
    }

    /// The port of `key`, unless it is a blackhole, in tick `now`. From wherever it is known, and remembered in front.
    pub(crate) fn port_from_anywhere(&mut self, place: Place, key: Key, now: u32) -> Option<PortId> {
        let of_vlan = self.vlan_generation[vid_of(key)];
        let value = self.front.get_anywhere(place).and_then(|value| self.valid_port(value, of_vlan, self.ages(now)));
        value.or_else(|| match self.lookup(key, now)? {
            Found { port, kind: Kind::Dynamic } => Some(port),
            Found { port, kind: Kind::Static } => {
                self.write_front(key, now, port);
                Some(port)
            }
            Found { kind: Kind::Blackhole, .. } => None,
        })
    }

    #[inline(always)]
    fn valid_port(&self, value: Value, of_vlan: u16, ages: Ages) -> Option<PortId> {
        let port = value.port();
        let generation = self.port_generation[port.index()].wrapping_add(of_vlan);
        value.is_valid(ages, u32::from(generation)).then_some(port)
    }

    /// The stamps that are valid in tick `now`, for [`port_of`](Self::port_of).
    #[inline(always)]
    pub(crate) fn ages(&self, now: u32) -> Ages {
        Ages::new(now, self.age_ticks)
    }

    /// The generation of a VLAN, for [`port_of`](Self::port_of): it stays as it is for a burst.
    #[inline(always)]
    pub(crate) fn vlan_generation(&self, vid: Vid) -> u16 {
        self.vlan_generation[vid.get() as usize]
    }

    /// What the front holds of an address in the VLAN of `key` that is known behind `port` and has been seen in tick `now`.
    #[inline(always)]
    pub(crate) fn known(&self, port: PortId, key: Key, now: u32) -> Known {
        Known(Value::new(now, u32::from(self.generation(port, key)), port))
    }

    /// Is there nothing to be learned of a key? `false` says nothing: an entry may not be in its own line of the front.
    #[inline(always)]
    pub(crate) fn is_known(&self, place: Place, known: Known) -> bool {
        self.front.get(place) == Some(known.0)
    }

    /// Lets time pass: to be called before anything else is asked for tick `now`.
    ///
    /// Nothing in the front may be stale for so long that its stamp or its generation looks new. The sweep removes it within two rounds; if
    /// it has not come round for that long, having slept, all of the front goes, and comes back as it is used.
    #[inline(always)]
    pub fn advance(&mut self, now: u32) {
        if now.wrapping_sub(self.rounds[0].tick) > STAMPS - 3 * TICKS_PER_AGE {
            self.front.clear();
            self.rounds = [Round { tick: now, flushes: self.flushes }; 2];
        }
    }

    /// The same for generations.
    fn count_flush(&mut self) {
        self.flushes = self.flushes.wrapping_add(1);
        if self.flushes.wrapping_sub(self.rounds[0].flushes) > GENERATIONS - 2 {
            self.front.clear();
            self.rounds.iter_mut().for_each(|round| round.flushes = self.flushes);
        }
    }

    /// `key` was seen as a source behind `port` in tick `now`.
    pub fn learn(&mut self, key: Key, port: PortId, now: u32) -> Learned {
        if self.front.get_anywhere(self.front.place(key)) == Some(self.known(port, key, now).0) {
            return Learned::Known;
        }
        let generation = self.generation(port, key);
        let Some(entry) = self.table.find_mut(hash(self.seed, key), |entry| entry.key == key) else {
            return self.learn_new(key, port, now);
        };
        match entry.kind {
            Kind::Static if entry.port == port => {
                self.write_front(key, now, port);
                return Learned::Known;
            }
            Kind::Static => return Learned::Fixed,
            Kind::Blackhole => return Learned::Blackhole,
            Kind::Dynamic => {}
        }
        let before = *entry;
        let flushed = before.generation != self.port_generation[before.port.index()].wrapping_add(self.vlan_generation[vid_of(key)]);
        let aged = now.wrapping_sub(before.stamp) > self.age_ticks;
        if before.port == port && !flushed && !aged {
            let known = entry.stamp == now;
            entry.stamp = now;
            self.write_front(key, now, port);
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
        self.write_front(key, now, port);
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
        self.front.remove(key);
        if entry.kind != Kind::Dynamic {
            self.fixed -= 1;
        } else if entry.generation == self.generation(entry.port, key) {
            self.uncount(entry.port, key);
        } // Else a flush has taken it out of the counts already.
        true
    }

    /// Forgets what was learned behind `port`.
    pub fn flush_port(&mut self, port: PortId) {
        self.count_flush();
        self.port_generation[port.index()] = self.port_generation[port.index()].wrapping_add(1);
        self.forget_counts(|at, _| at == port);
    }

    /// Forgets what was learned in `vid`.
    pub fn flush_vlan(&mut self, vid: Vid) {
        self.count_flush();
        let generation = &mut self.vlan_generation[vid.get() as usize];
        *generation = generation.wrapping_add(1);
        self.forget_counts(|_, at| at == vid.get());
    }

    /// Forgets all that was learned.
    pub fn flush_all(&mut self) {
        self.count_flush();
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
            if self.hand == 0 {
                self.rounds = [self.rounds[1], Round { tick: now, flushes: self.flushes }];
            }
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

    /// Other limits for VLANs and ports. The total stays: it is what room was made for. Where there are more entries than a lower limit
    /// allows, none is forgotten, and none learned until it allows one more.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = Limits { total: self.limits.total, ..limits };
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
        if entry.kind != Kind::Blackhole {
            self.write_front(entry.key, entry.stamp, entry.port);
        }
    }

    /// Says in front that `key` is known behind `port` in tick `now`, if there is a place.
    fn write_front(&mut self, key: Key, now: u32, port: PortId) {
        let Known(value) = self.known(port, key, now);
        self.front.set(key, value);
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

/// For the table. One wide multiplication, folded: every bit of the key reaches the low bits (the bucket) and the top seven
/// (hashbrown's tag). The shift before it keeps addresses in a row from landing in a lattice.
#[inline(always)]
fn hash(seed: u64, key: Key) -> u64 {
    let mixed = key ^ seed;
    let product = (mixed ^ mixed >> 32) as u128 * 0x9e37_79b9_7f4a_7c15_u128;
    (product as u64) ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests;
