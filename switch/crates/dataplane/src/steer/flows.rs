//! Which flow is on which blade.
//!
//! A table of fixed size, four entries to a cache line. What is silent for too long is over. If a line is full, the flow in it that is
//! silent longest is forgotten: when it speaks again it goes where its hash says, which is where it was unless blades have come or
//! been drained since.
//!
//! Limits: [`FLOWS_MAX`] flows for each worker (a flow comes in by one port and queue, hence at one worker). A flow is known by 64 bits of
//! a seeded hash: two of them share an entry once in 2^64 / flows, and then a blade. Memory is taken when the first frame is steered, once.

use port::{Nanos, PortId};

use super::look::Look;
use super::{Affinity, SLOTS};

/// Flows of a worker at most.
pub const FLOWS_MAX: usize = 65_536;
/// Entries that a flow may be in.
const WAYS: usize = 4;
const LINES: usize = FLOWS_MAX / WAYS;
/// Ticks for the rest of a fragmented packet to come (RFC 791 §3.2 and RFC 8200 §4.5: at most a minute).
const FRAGMENT_TICKS: u32 = 60;

/// The tick of a time: about a second, 2^30 ns. Beginning at 1: 0 is an empty entry's.
#[inline]
pub fn tick(now: Nanos) -> u32 {
    (now.0 >> 30) as u32 + 1
}

#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
struct Entry {
    key: u64,
    /// 0: empty.
    seen: u32,
    function: u16,
    port: u8,
}

#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Line([Entry; WAYS]);

/// The flows of a worker.
#[derive(Debug)]
pub(super) struct Flows {
    lines: Vec<Line>,
    seed: u64,
}

impl Flows {
    pub(super) fn new(seed: u64) -> Flows {
        Flows { lines: Vec::new(), seed: seed ^ 0x9e37_79b9_7f4a_7c15 }
    }

    /// The key of a frame's flow, and the part of the flows it falls into.
    pub(super) fn key(&self, look: &Look<'_>, function: u16, affinity: Affinity) -> (u64, usize) {
        let start = mix(self.seed, u64::from(function) << 16 | u64::from(look.vid));
        let key = match (look.ip, affinity) {
            (Some(ip), Affinity::Source) => mix_ip(start, ip.src),
            (None, Affinity::Source) => mix(start, look.src_mac),
            (Some(ip), Affinity::Flow) => {
                let (src, dst) = look.ports.unwrap_or_default();
                let start = mix(start, u64::from(ip.protocol) << 32 | u64::from(src) << 16 | u64::from(dst));
                mix_ip(mix_ip(start, ip.src), ip.dst)
            }
            (None, Affinity::Flow) => mix(mix(mix(start, look.src_mac), look.dst_mac), u64::from(look.ethertype)),
        };
        (key, (key >> 32) as usize % SLOTS)
    }

    fn fragment_key(&self, look: &Look<'_>) -> Option<u64> {
        let (ip, fragment) = (look.ip?, look.fragment?);
        let start = mix(mix(self.seed, u64::MAX), u64::from(fragment.id) << 32 | u64::from(ip.protocol) << 16 | u64::from(look.vid));
        Some(mix_ip(mix_ip(start, ip.src), ip.dst))
    }

    /// The port of the blade the flow was last on, if that is not too long ago.
    pub(super) fn find(&self, key: u64, tick: u32, idle_ticks: u32) -> Option<PortId> {
        self.entry(key).filter(|entry| tick.saturating_sub(entry.seen) <= idle_ticks).map(|entry| PortId(entry.port))
    }

    /// Function and port of the packet that this is a later fragment of.
    pub(super) fn fragment(&self, look: &Look<'_>, tick: u32) -> Option<(u16, PortId)> {
        let entry = self.entry(self.fragment_key(look)?)?;
        (tick.saturating_sub(entry.seen) <= FRAGMENT_TICKS).then_some((entry.function, PortId(entry.port)))
    }

    fn entry(&self, key: u64) -> Option<&Entry> {
        self.lines.get(line(key))?.0.iter().find(|entry| entry.key == key && entry.seen != 0)
    }

    /// The flow is on the blade at this port.
    pub(super) fn keep(&mut self, key: u64, port: PortId, function: u16, tick: u32) {
        if self.lines.is_empty() {
            self.lines = vec![Line::default(); LINES];
        }
        let entries = &mut self.lines[line(key)].0;
        let own = entries.iter().position(|entry| entry.key == key);
        let oldest = || (0..WAYS).min_by_key(|&way| entries[way].seen).unwrap_or(0);
        let way = own.unwrap_or_else(oldest);
        entries[way] = Entry { key, seen: tick, function, port: port.0 };
    }

    /// Later fragments of this packet go to the blade at this port.
    pub(super) fn keep_fragment(&mut self, look: &Look<'_>, port: PortId, function: u16, tick: u32) {
        if let Some(key) = self.fragment_key(look) {
            self.keep(key, port, function, tick);
        }
    }
}

fn line(key: u64) -> usize {
    key as usize % LINES
}

/// One wide multiplication, folded, as in the FDB; the state goes in again, so that no word can undo an earlier one.
#[inline]
fn mix(state: u64, word: u64) -> u64 {
    let fold = |a: u64, b: u64| {
        let product = u128::from(a) * u128::from(b);
        (product as u64) ^ (product >> 64) as u64
    };
    let once = (state ^ word).rotate_left(23).wrapping_add(0x2545_f491_4f6c_dd1d);
    fold(once ^ once >> 32, 0x9e37_79b9_7f4a_7c15) ^ state.rotate_left(32)
}

fn mix_ip(state: u64, ip: u128) -> u64 {
    mix(mix(state, (ip >> 64) as u64), ip as u64)
}
