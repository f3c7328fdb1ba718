//! The front of the forwarding database: cache lines of six entries of ten bytes each, found by a scrambled key alone.
//!
//! A look-up touches one line, which can be asked for a whole burst before it is needed. An entry whose line is full lies in one of the
//! three beside it, first the other one of a pair, which many processors fetch together. At two entries for three places, four in a hundred
//! do not lie in their own line, and hardly any is not here, but in the table only. For those four the lines beside are asked for at
//! once and looked at later: waiting for them would cost as much as all the others.
//!
//! **Why ten bytes.** At a million stations every look-up is a line from memory or the last cache, and what it costs depends on how many lines
//! there are. So nothing is kept that follows from elsewhere: the key is scrambled one to one, its highest bits are the line, and only
//! the other 48 are kept; and of time and generations only the lowest twelve bits, which are enough as long as what is stale for long is not
//! here any more: the database sees to that ([`STAMPS`], [`GENERATIONS`]).
//!
//! The scrambling begins with a multiplication by a secret odd number, so that nobody outside can choose addresses that crowd one
//! line. One alone would do for keys at random; addresses in a row it lays out like a lattice, too dense in places: hence the second.

use port::PortId;

use super::Key;

/// Entries of a line.
const WAYS: usize = 6;
/// Lines at least, as a power of two: a line's number and what an entry keeps of the key together are the whole key, also in the lines beside.
const LINE_BITS_MIN: u32 = 14;
/// Lines that an entry may lie in: they differ in the lowest bits of their numbers.
const NEIGHBOURS: usize = 4;
/// 2^64 divided by the golden ratio, odd: every bit of what is multiplied by it reaches the highest ones.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Ticks before a stamp comes again.
pub(super) const STAMPS: u32 = 1 << 12;
/// Flushes before a generation comes again.
pub(super) const GENERATIONS: u32 = 1 << 12;

/// A key scrambled one to one: 60 bits, highest first. The highest ones say where it is looked up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place(u64);

impl Place {
    /// What an entry keeps of the key besides its tag.
    #[inline(always)]
    fn low(self) -> u32 {
        (self.0 >> 4) as u32
    }

    /// What is looked at first.
    #[inline(always)]
    fn tag(self) -> u16 {
        (self.0 >> 36) as u16
    }
}

/// What is known of a key, in one word: tick last seen (12 bits), generation (12), port (8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Value(u32);

impl Value {
    /// No entry: of port 255, which there is not.
    const NONE: Value = Value(u32::MAX);

    #[inline(always)]
    pub fn new(stamp: u32, generation: u32, port: PortId) -> Value {
        Value(stamp << 20 | (generation % GENERATIONS) << 8 | u32::from(port.0))
    }

    #[inline(always)]
    pub fn port(self) -> PortId {
        PortId(self.0 as u8)
    }

    /// Was it written in a tick of `ages`, and is its generation this one?
    #[inline(always)]
    pub fn is_valid(self, ages: Ages, generation: u32) -> bool {
        (ages.now.wrapping_sub(self.0) <= ages.limit) & ((generation << 8 ^ self.0) & ((GENERATIONS - 1) << 8) == 0)
    }
}

/// The stamps that are valid now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ages {
    /// The highest value of this tick: subtracting one that was written before borrows nothing.
    now: u32,
    limit: u32,
}

impl Ages {
    /// Those of the last `age_ticks` ticks and of tick `now`; all, if these are more than stamps can tell.
    #[inline(always)]
    pub fn new(now: u32, age_ticks: u32) -> Ages {
        Ages { now: now << 20 | 0xf_ffff, limit: if age_ticks < STAMPS { age_ticks << 20 | 0xf_ffff } else { u32::MAX } }
    }
}

/// A line. Where there is no entry, the value is [`Value::NONE`].
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Line {
    /// Eight lanes of 16 bits, six of them in use, as two words: the processor compares all of them at once.
    tags: [u64; 2],
    lows: [u32; WAYS],
    values: [Value; WAYS],
}

const _: () = assert!(size_of::<Line>() == 64);

impl Line {
    const EMPTY: Line = Line { tags: [0; 2], lows: [0; WAYS], values: [Value::NONE; WAYS] };

    /// The first way with this tag.
    #[inline(always)]
    fn first(&self, tag: u16) -> Option<usize> {
        let equal = port::lanes::equal(self.tags, tag) & ((1 << (2 * WAYS)) - 1);
        (equal != 0).then(|| equal.trailing_zeros() as usize / 2)
    }

    /// What is known of `place`, if it is the first with its tag here: nearly always there is but one.
    #[inline(always)]
    fn get(&self, place: Place) -> Option<Value> {
        let way = self.first(place.tag())?;
        (*self.lows.get(way)? == place.low()).then(|| self.values[way])
    }

    /// Where `place` is in this line.
    fn find(&self, place: Place) -> Option<usize> {
        (0..WAYS).find(|&way| self.tag(way) == place.tag() && self.lows[way] == place.low() && self.values[way] != Value::NONE)
    }

    /// A way without an entry.
    fn free(&self) -> Option<usize> {
        self.values.iter().position(|&value| value == Value::NONE)
    }

    fn tag(&self, way: usize) -> u16 {
        (self.tags[way / 4] >> (way % 4 * 16)) as u16
    }

    fn set(&mut self, way: usize, place: Place, value: Value) {
        let shift = way % 4 * 16;
        self.tags[way / 4] = self.tags[way / 4] & !(0xffff << shift) | u64::from(place.tag()) << shift;
        self.lows[way] = place.low();
        self.values[way] = value;
    }
}

/// All lines; a power of two.
#[derive(Debug)]
pub(super) struct Front {
    lines: Box<[Line]>,
    multiplier: u64,
    shift: u32,
}

impl Front {
    /// Room for `entries`, with four places for three of them at least.
    pub fn new(entries: usize, seed: u64) -> Front {
        let count = (entries * 4 / 3).div_ceil(WAYS).next_power_of_two().max(1 << LINE_BITS_MIN);
        let lines = vec![Line::EMPTY; count].into_boxed_slice();
        port::mempool::advise_hugepages(&lines);
        // Any odd number with many bits will do: this spreads those of small seeds (the finalizer of SplitMix64).
        let mixed = seed.wrapping_add(SPREAD);
        let mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        Front { lines, multiplier: (mixed ^ mixed >> 27) | 1, shift: 64 - count.trailing_zeros() }
    }

    /// Where `key` is looked up, for later; the line is asked for now.
    #[inline(always)]
    pub fn place(&self, key: Key) -> Place {
        // Of the 60 bits of a key, in the highest ones: multiplications by odd numbers are one to one, and so is what is between.
        let product = (key << 4).wrapping_mul(self.multiplier);
        let place = Place((product ^ (product >> 32) & !0xf).wrapping_mul(SPREAD));
        if let Some(line) = self.lines.get((place.0 >> self.shift) as usize) {
            port::mempool::prefetch(line);
        }
        place
    }

    /// What is known of a key, if it is in its own line. (`None` also if another entry is mistaken for it at first sight.)
    #[inline(always)]
    pub fn get(&self, place: Place) -> Option<Value> {
        self.lines.get((place.0 >> self.shift) as usize)?.get(place)
    }

    /// Asks for the lines that a key may be in besides its own.
    #[inline(always)]
    pub fn prefetch_beside(&self, place: Place) {
        for line in self.lines_of(place).skip(1).filter_map(|line| self.lines.get(line)) {
            port::mempool::prefetch(line);
        }
    }

    /// What is known of a key, wherever it is here.
    pub fn get_anywhere(&self, place: Place) -> Option<Value> {
        let (line, way) = self.find(place)?;
        Some(self.lines[line].values[way])
    }

    /// Adds or replaces a key, if there is a place for it.
    pub fn set(&mut self, key: Key, value: Value) {
        let place = self.place(key);
        let free = || self.lines_of(place).find_map(|line| Some((line, self.lines[line].free()?)));
        if let Some((line, way)) = self.find(place).or_else(free) {
            self.lines[line].set(way, place, value);
        }
    }

    /// Removes a key.
    pub fn remove(&mut self, key: Key) {
        if let Some((line, way)) = self.find(self.place(key)) {
            self.lines[line].values[way] = Value::NONE;
        }
    }

    /// Removes all.
    pub fn clear(&mut self) {
        self.lines.fill(Line::EMPTY);
    }

    /// The lines a key may be in, its own first.
    #[inline(always)]
    fn lines_of(&self, place: Place) -> impl Iterator<Item = usize> + use<> {
        let own = (place.0 >> self.shift) as usize;
        (0..NEIGHBOURS).map(move |beside| own ^ beside)
    }

    /// Line and way of a key.
    fn find(&self, place: Place) -> Option<(usize, usize)> {
        self.lines_of(place).find_map(|line| Some((line, self.lines[line].find(place)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value(n: u32) -> Value {
        Value::new(n, 7, PortId(100))
    }

    /// Stations in a row, as a vendor numbers them: the last octet is the highest byte of a key.
    fn station(n: u64) -> Key {
        1 << 48 | (n & 0xff) << 40 | (n >> 8 & 0xff) << 32 | (n >> 16 & 0xff) << 24 | 2
    }

    #[test]
    fn nearly_all_entries_of_a_full_table_find_a_place_and_all_can_be_removed() {
        const ENTRIES: u64 = 1 << 20;
        let mut front = Front::new(ENTRIES as usize, 42);
        (0..ENTRIES).for_each(|n| front.set(station(n), value(n as u32)));
        let own = (0..ENTRIES).filter(|&n| front.get(front.place(station(n))) == Some(value(n as u32))).count();
        let all = (0..ENTRIES).filter(|&n| front.get_anywhere(front.place(station(n))) == Some(value(n as u32))).count();
        assert!(own as u64 > ENTRIES * 93 / 100, "{own} in their own line");
        assert!(all as u64 > ENTRIES * 995 / 1000, "{all} of {ENTRIES}");
        (0..ENTRIES).for_each(|n| front.remove(station(n)));
        assert!(front.lines.iter().all(|line| line.values == [Value::NONE; WAYS]));
    }

    #[test]
    fn replacing_leaves_one() {
        let mut front = Front::new(16, 1);
        for n in 0..10 {
            front.set(station(1), value(n));
        }
        let all = front.lines.iter().flat_map(|line| line.values).filter(|&value| value != Value::NONE).count();
        assert_eq!(all, 1);
    }

    #[test]
    fn an_empty_line_knows_nothing() {
        let front = Front::new(16, 1);
        let known = Value::new(0, 0, PortId(0));
        // A place whose bits are all zero looks like what is in an empty line.
        assert_ne!(front.get(Place(0)), Some(known));
        assert_eq!(front.get_anywhere(Place(0)), None);
    }

    #[test]
    fn of_two_with_one_tag_both_are_found() {
        let mut line = Line::EMPTY;
        let (a, b) = (Place(0x1234 << 36 | 1 << 4), Place(0x1234 << 36 | 2 << 4));
        line.set(0, a, value(1));
        line.set(5, b, value(2));
        assert_eq!((line.first(0x1234), line.find(a), line.find(b)), (Some(0), Some(0), Some(5)));
        assert_eq!((line.get(a), line.get(b)), (Some(value(1)), None), "the second takes the long way");
    }

    proptest! {
        #[test]
        fn scrambling_is_one_to_one(a in 0..1u64 << 60, b in 0..1u64 << 60, seed: u64) {
            let front = Front::new(16, seed);
            let (first, second) = (front.place(a), front.place(b));
            prop_assert_eq!(a == b, first.0 == second.0);
            prop_assert_eq!(first.0 & 0xf, 0, "nothing below the 60 bits");
            // Line, or the one beside it, and what an entry keeps tell every bit.
            let kept = u64::from(first.low()) | u64::from(first.tag()) << 32;
            for line in front.lines_of(first) {
                prop_assert_eq!((line as u64 >> 2 << 48 | kept) << 4, first.0, "the lowest bits of the line are kept as well");
            }
        }

        #[test]
        fn a_stamp_is_valid_for_its_age(now: u32, age in 0..STAMPS - 2, ago in 0..STAMPS, generation in 0..GENERATIONS, port in 0..128u8) {
            let value = Value::new(now.wrapping_sub(ago), generation, PortId(port));
            prop_assert_eq!(value.port(), PortId(port));
            prop_assert_eq!(value.is_valid(Ages::new(now, age), generation), ago <= age);
            prop_assert!(!value.is_valid(Ages::new(now, age), generation ^ 1));
            prop_assert!(value.is_valid(Ages::new(now, u32::MAX), generation + GENERATIONS));
        }
    }
}
