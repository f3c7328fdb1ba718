//! From frames of the plan to packets, and what each will be known by when it comes back.
//!
//! A frame that is the same in every loop is copied once, into its packet, and known by what was worked out before the run. Only what
//! changes from loop to loop, and what carries a stamp, is made anew.
//!
//! Threads: one owner, the loop that sends.

use port::{Nanos, Packet, PoolCache};

use super::matching::{Matcher, Sent};
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

    /// The packet of a departure out of `port`, in a run that began at `start`; `None` if no buffer is free: it may be asked for again.
    pub fn make(
        &mut self,
        port: usize,
        departure: &Departure,
        start: Nanos,
        matcher: Option<&mut Matcher>,
        pool: &mut PoolCache,
    ) -> Option<(Packet, Sent)> {
        let Departure { frame, round, begin, .. } = *departure;
        let sent = |key| Sent { key, frame, round, port, planned: begin, at: begin };
        let changes = round > 0 && self.unique.changes();
        if !changes && self.stamps.is_none() {
            let mut packet = pool.alloc_copy(&self.frames[frame].bytes)?;
            // A buffer of its own, and short: there is room.
            pool.pad_to(&mut packet, FRAME_LEN_MIN);
            return Some((packet, sent(self.keys.get(frame).copied().unwrap_or(0))));
        }
        self.write(frame, round);
        let stream = self.frames[frame].interface as usize;
        let number = self.stamps.as_mut().and_then(|stamps| stamps.get_mut(stream));
        if let Some(number) = &number {
            let intended = start + begin;
            Stamp { stream: stream as u16, sequence: **number, intended, sent: intended }.write(&mut self.bytes);
        }
        let packet = pool.alloc_copy(&self.bytes)?;
        if let Some(number) = number {
            *number = number.wrapping_add(1);
        }
        Some((packet, sent(matcher.map_or(0, |matcher| matcher.key(&self.bytes)))))
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
        if round > 0 && self.unique.changes() {
            self.unique.apply(frame, round, bytes);
        }
    }
}
