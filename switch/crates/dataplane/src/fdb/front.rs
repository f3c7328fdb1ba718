//! The front of the forwarding database: cache lines of four entries, found by a product of the key alone.
//!
//! A look-up touches one line, which can be asked for a whole burst before it is needed. An entry whose line is full lies in the line
//! beside it (the other one of a pair of lines, which many processors fetch together), one that finds no place there either is in the table
//! only. At one entry for two places, four entries in a hundred do not lie in their own line, and one is not here.
//!
//! The line is picked by two multiplications, the first with a secret odd number, so that nobody outside can choose addresses that crowd one
//! line. One alone would do for keys at random; addresses in a row it lays out like a lattice, too dense in places.

use port::PortId;

use super::{Key, Kind};

/// Entries of a line.
const WAYS: usize = 4;
/// 2^64 divided by the golden ratio, odd: every bit of what is multiplied by it reaches the highest ones.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Where a key is looked up first.
#[derive(Clone, Copy, Debug, Default)]
pub struct Slot(u32);

/// What is known of a key, in one word: tick last seen (32 bits), generation (16), port (8), kind (8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Value(u64);

impl Value {
    #[inline(always)]
    pub fn new(stamp: u32, generation: u16, port: PortId, kind: Kind) -> Value {
        Value(u64::from(stamp) | u64::from(generation) << 32 | u64::from(port.0) << 48 | (kind as u64) << 56)
    }

    #[inline(always)]
    pub fn stamp(self) -> u32 {
        self.0 as u32
    }

    #[inline(always)]
    pub fn generation(self) -> u16 {
        (self.0 >> 32) as u16
    }

    #[inline(always)]
    pub fn port(self) -> PortId {
        PortId((self.0 >> 48) as u8)
    }

    #[inline(always)]
    pub fn is_dynamic(self) -> bool {
        self.0 >> 56 == Kind::Dynamic as u64
    }

    pub fn kind(self) -> Kind {
        match (self.0 >> 56) as u8 {
            0 => Kind::Dynamic,
            1 => Kind::Static,
            _ => Kind::Blackhole,
        }
    }
}

/// A line. A key of 0 is an empty place: VLANs begin at 1.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Line {
    keys: [Key; WAYS],
    values: [Value; WAYS],
}

const _: () = assert!(size_of::<Line>() == 64);

impl Line {
    const EMPTY: Line = Line { keys: [0; WAYS], values: [Value(0); WAYS] };

    /// Where `key` is in this line. Without branches: which place it is cannot be foreseen.
    #[inline(always)]
    fn find(&self, key: Key) -> Option<usize> {
        let [_, second, third, fourth] = self.keys;
        let way = usize::from(second == key) + 2 * usize::from(third == key) + 3 * usize::from(fourth == key);
        let way = way % WAYS; // No key is there twice, so it is below four; said like this there is no bounds check.
        (self.keys[way] == key).then_some(way)
    }

    /// An empty place.
    fn free(&self) -> Option<usize> {
        self.keys.iter().position(|&key| key == 0)
    }
}

/// All lines; a power of two, at least two.
#[derive(Debug)]
pub(super) struct Front {
    lines: Box<[Line]>,
    multiplier: u64,
    shift: u32,
}

impl Front {
    /// Room for `entries`, two places for each.
    pub fn new(entries: usize, seed: u64) -> Front {
        let count = entries.next_power_of_two().max(32) * 2 / WAYS;
        let lines = vec![Line::EMPTY; count].into_boxed_slice();
        port::mempool::advise_hugepages(&lines);
        // Any odd number with many bits will do: this spreads those of small seeds (the finalizer of SplitMix64).
        let mixed = seed.wrapping_add(SPREAD);
        let mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        Front { lines, multiplier: (mixed ^ mixed >> 27) | 1, shift: 64 - count.trailing_zeros() }
    }

    /// Where `key` is looked up, for later; the line is asked for now.
    #[inline(always)]
    pub fn slot(&self, key: Key) -> Slot {
        let product = key.wrapping_mul(self.multiplier);
        let slot = ((product ^ product >> 32).wrapping_mul(SPREAD) >> self.shift) as usize;
        if let Some(line) = self.lines.get(slot) {
            port::mempool::prefetch(line);
        }
        Slot(slot as u32)
    }

    /// What is known of `key`, if it is in its own line.
    #[inline(always)]
    pub fn get(&self, slot: Slot, key: Key) -> Option<Value> {
        let line = self.lines.get(slot.0 as usize)?;
        Some(line.values[line.find(key)?])
    }

    /// What is known of `key`, if it is in the line beside its own.
    #[inline]
    pub fn get_beside(&self, slot: Slot, key: Key) -> Option<Value> {
        self.get(Slot(slot.0 ^ 1), key)
    }

    /// Adds or replaces `key`, if there is a place for it.
    pub fn set(&mut self, key: Key, value: Value) {
        let own = self.slot(key).0 as usize;
        let known = || [own, own ^ 1].into_iter().find_map(|line| Some((line, self.lines[line].find(key)?)));
        let free = || [own, own ^ 1].into_iter().find_map(|line| Some((line, self.lines[line].free()?)));
        if let Some((line, way)) = known().or_else(free) {
            self.lines[line].keys[way] = key;
            self.lines[line].values[way] = value;
        }
    }

    /// Removes `key`.
    pub fn remove(&mut self, key: Key) {
        let own = self.slot(key).0 as usize;
        for line in [own, own ^ 1] {
            if let Some(way) = self.lines[line].find(key) {
                self.lines[line].keys[way] = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(n: u32) -> Value {
        Value::new(n, 7, PortId(200), Kind::Static)
    }

    #[test]
    fn a_value_is_what_went_into_it() {
        let value = Value::new(0xdead_beef, 0xcafe, PortId(127), Kind::Blackhole);
        assert_eq!((value.stamp(), value.generation(), value.port(), value.kind()), (0xdead_beef, 0xcafe, PortId(127), Kind::Blackhole));
        assert!(!value.is_dynamic() && Value::new(1, 2, PortId(3), Kind::Dynamic).is_dynamic());
    }

    #[test]
    fn nearly_all_entries_of_a_full_table_find_a_place_and_all_can_be_removed() {
        const ENTRIES: u64 = 1 << 16;
        // Stations in a row, as a vendor numbers them: the last octet is the highest byte of a key.
        let key = |n: u64| 1 << 48 | (n & 0xff) << 40 | (n >> 8 & 0xff) << 32 | 2;
        let mut front = Front::new(ENTRIES as usize, 42);
        (0..ENTRIES).for_each(|n| front.set(key(n), value(n as u32)));
        let own = (0..ENTRIES).filter(|&n| front.get(front.slot(key(n)), key(n)) == Some(value(n as u32))).count();
        let beside = (0..ENTRIES).filter(|&n| front.get_beside(front.slot(key(n)), key(n)) == Some(value(n as u32))).count();
        assert!(own as u64 > ENTRIES * 95 / 100, "{own} in their own line");
        assert!((own + beside) as u64 > ENTRIES * 985 / 1000, "{own} + {beside} of {ENTRIES}");
        (0..ENTRIES).for_each(|n| front.remove(key(n)));
        assert!(front.lines.iter().all(|line| line.keys == [0; WAYS]));
    }

    #[test]
    fn replacing_leaves_one() {
        let mut front = Front::new(16, 1);
        for n in 0..10 {
            front.set(0x1_0000_0000_0002, value(n));
        }
        let all: usize = front.lines.iter().flat_map(|line| line.keys).filter(|&key| key != 0).count();
        assert_eq!(all, 1);
    }
}
