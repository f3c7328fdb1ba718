//! Replay: captures out of N ports, at the time the plan says.
//!
//! [`load`] reads captures (compressed ones too) into one list of frames on one clock, [`select`] keeps some of them, [`split`] says
//! which port each leaves by ([`tcpprep`] reads the caches of tcpprep), [`speed`] how fast; [`unique`] makes every loop look like new
//! stations. From all that [`schedule`] says when each frame leaves, to the nanosecond and without an error that grows, and
//! [`run`] sends it: in real time, or on a virtual clock, by the same loop ([`through`]: with a program as the device). [`matching`] knows frames again that come back, by their
//! content ([`due`] says where they should come out, [`suspects`] what seems to have been changed on the way); [`summary`] and
//! [`report`] tell the rest.
//!
//! Every time is worked out from the start of the run and the frame's number, in whole numbers; no time is ever added to the one
//! before. What tcpreplay calls by a name is called so here.
//!
//! Limits: captures are held in memory; times reach 292 years.

pub mod addresses;
pub mod due;
pub mod load;
mod make;
pub mod matching;
pub mod ports;
pub mod ratio;
pub mod report;
pub mod run;
pub mod schedule;
pub mod select;
pub mod speed;
pub mod split;
pub mod summary;
pub mod suspects;
pub mod tcpprep;
pub mod through;
pub mod timeline;
pub mod unique;

#[cfg(test)]
mod matching_tests;
#[cfg(test)]
mod tests;

use std::sync::Arc;

/// A frame to be replayed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The port it leaves by: an index.
    pub port: usize,
    /// When it was captured, in ns after the first frame of all. Never less than that of the frame before.
    pub time: u64,
    /// Its bytes without FCS, as they are sent but for padding to 60 bytes, which is the card's (IEEE 802.3 §4.2.8).
    pub bytes: Arc<[u8]>,
    /// Bytes it had on the wire when it was captured.
    pub original_len: u32,
    /// Its number in its capture, from 1.
    pub number: u64,
    /// The capture: an index.
    pub file: usize,
    /// The interface of that capture: an index. Of a synthetic frame, its stream.
    pub interface: u32,
}

impl Frame {
    /// Bytes it takes between preamble and FCS: at least 60.
    pub fn wire_len(&self) -> usize {
        self.bytes.len().max(FRAME_LEN_MIN)
    }

    /// The capture kept less of it than there was.
    pub fn is_snapped(&self) -> bool {
        self.bytes.len() < self.original_len as usize
    }
}

/// The shortest frame on a wire, without FCS.
pub const FRAME_LEN_MIN: usize = 60;
