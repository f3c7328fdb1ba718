//! From frames of the plan to packets, and what each will be known by when it comes back.
//!
//! A frame that is the same in every loop is copied once, into its packet, and known by what was worked out before the run. Only what
//! changes from loop to loop, and what carries a stamp, is made anew.
//!
//! Threads: one owner, the loop that sends.

use port::mempool::SEGMENT_MAX;
use port::{Nanos, Packet, PoolCache};

use super::matching::Matcher;
use super::schedule::Departure;
use super::unique::Unique;
use super::{FRAME_LEN_MIN, Frame};
use crate::stamp::Stamp;

/// Makes packets.
pub(super) struct Maker<'a> {
    frames: &'a [Frame],
    unique: Unique,
    /// By stream, the number of its next frame; `None`: no stamps are written.
    stamps: Option<Vec<u32>>,
    /// By frame, what it is known by; empty if nobody asks or no two are alike.
    keys: Vec<u64>,
    bytes: Vec<u8>,
}

impl<'a> Maker<'a> {
    /// For these frames, changed as `unique` says, and known to `matcher`.
    pub fn new(frames: &'a [Frame], unique: Unique, stamped: bool, matcher: Option<&mut Matcher>) -> Maker<'a> {
        let streams = frames.iter().map(|frame| frame.interface as usize + 1).max().unwrap_or(0);
        let keys = match matcher {
            Some(matcher) if !stamped => frames.iter().map(|frame| matcher.key(&frame.bytes)).collect(),
            _ => Vec::new(),
        };
        Maker { frames, unique, stamps: stamped.then(|| vec![0; streams]), keys, bytes: Vec::new() }
    }

    /// The packet of a departure, in a run that began at `start`, and the key of its bytes for the matcher (0 if nobody asks); `None` if no
    /// buffer is free: it may be asked for again.
    #[inline]
    pub fn make(
        &mut self,
        departure: &Departure,
        start: Nanos,
        matcher: Option<&mut Matcher>,
        pool: &mut PoolCache,
    ) -> Option<(Packet, u64)> {
        let Departure { frame, round, begin, .. } = *departure;
        if self.stamps.is_some() || (round > 0 && self.unique.changes()) {
            return self.make_anew(frame, round, start + begin, matcher, pool);
        }
        let mut packet = pool.alloc_copy(&self.frames[frame].bytes)?;
        if packet.len() < FRAME_LEN_MIN {
            // A buffer of its own, and short: there is room.
            pool.pad_to(&mut packet, FRAME_LEN_MIN);
        }
        Some((packet, self.keys.get(frame).copied().unwrap_or(0)))
    }

    /// In its buffer, if one is long enough: then nothing is copied twice.
    fn make_anew(
        &mut self,
        frame: usize,
        round: u64,
        intended: Nanos,
        matcher: Option<&mut Matcher>,
        pool: &mut PoolCache,
    ) -> Option<(Packet, u64)> {
        let original = &self.frames[frame];
        let stream = original.interface as usize;
        let number = self.stamps.as_mut().and_then(|stamps| stamps.get_mut(stream));
        let stamp = number.as_ref().map(|number| Stamp { stream: stream as u16, sequence: **number, intended, sent: intended });
        let finish = |bytes: &mut [u8], unique: &Unique| {
            unique.apply(frame, round, bytes);
            if let Some(stamp) = stamp {
                stamp.write(bytes);
            }
            matcher.map_or(0, |matcher| matcher.key(bytes))
        };
        let made = if original.bytes.len() <= SEGMENT_MAX {
            let mut packet = pool.alloc_copy(&original.bytes)?;
            pool.pad_to(&mut packet, FRAME_LEN_MIN);
            let Some(bytes) = pool.bytes_mut(&mut packet) else { unreachable!("a new packet is not shared") };
            let key = finish(bytes, &self.unique);
            (packet, key)
        } else {
            self.bytes.clear();
            self.bytes.extend_from_slice(&original.bytes);
            let key = finish(&mut self.bytes, &self.unique);
            (pool.alloc_copy(&self.bytes)?, key)
        };
        if let Some(number) = number {
            *number = number.wrapping_add(1);
        }
        Some(made)
    }

    /// The bytes of a frame as loop `round` has them, without stamp.
    pub fn bytes_of(&mut self, frame: usize, round: u64) -> &[u8] {
        self.write(frame, round);
        &self.bytes
    }

    fn write(&mut self, frame: usize, round: u64) {
        let (original, bytes) = (&self.frames[frame], &mut self.bytes);
        bytes.clear();
        bytes.extend_from_slice(&original.bytes);
        bytes.resize(original.wire_len(), 0);
        self.unique.apply(frame, round, bytes);
    }
}
