//! Capture files: pcap and pcapng in, pcapng out.
//!
//! The module deals in files, interfaces, nanoseconds and bytes; it knows nothing of mempools or ports.
//! A file is read whole ([`CaptureFile`]) and walked record by record, so that every complaint names the byte it is about.
//! [`CaptureStream`] reads pcapng from a pipe instead, a block at a time.
//! All good frames come first; the first wrong or cut record then yields one [`CaptureError`] and ends the walk.
//!
//! Read: pcap 2.4 (micro- and nanoseconds, both byte orders), pcapng 1.x with several sections of either byte order,
//! several interfaces with a clock resolution and offset each, and enhanced, simple and obsolete packet blocks. Blocks
//! and options not named here are skipped. Written: pcapng, see [`CaptureWriter`].
//!
//! The formats are those of draft-ietf-opsawg-pcap and draft-ietf-opsawg-pcapng. How much of them the crate `pcap-file` 2.0
//! can be trusted with, and why the pcapng reader is ours, is said in `pcap.rs`, `pcapng.rs` and `write.rs`.
//!
//! Limits: [`FILE_LEN_MAX`] a file, [`FRAME_LEN_MAX`] a frame, [`INTERFACES_MAX`] interfaces a file; compressed files are refused.
//! Threads: an open file is immutable and may be shared; each reader has its own [`Cursor`].

mod error;
mod interface;
mod pcap;
mod pcapng;
mod read;
mod stream;
mod write;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

pub use error::{CaptureError, Problem};
pub use interface::{Interface, LinkType, TimeResolution};
pub use read::{CaptureFile, CapturedFrame, Cursor, Frames};
pub use stream::CaptureStream;
pub use write::CaptureWriter;

/// The longest capture file that is read, in bytes: 1 GiB.
pub const FILE_LEN_MAX: u64 = 1 << 30;

/// The longest frame in a capture file, in bytes. It is the limit of libpcap and Wireshark for Ethernet, and the guard
/// against a wrong length: what claims to be longer is not a frame.
pub const FRAME_LEN_MAX: u32 = 262_144;

/// Interfaces one file may describe.
pub const INTERFACES_MAX: usize = 65_536;

/// Which way a captured frame went, as seen from the switch: the low two bits of `epb_flags`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Received: into the switch.
    Inbound,
    /// Sent: out of the switch.
    Outbound,
}

/// What a capture says about a frame beside its bytes and time. pcap files and simple packet blocks say nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FrameNotes<'a> {
    /// The way it went, if known.
    pub direction: Option<Direction>,
    /// A remark for people; the first one where a frame has several.
    pub comment: Option<Cow<'a, str>>,
    /// The same number on each copy of one packet, on whatever interface (`epb_packetid`).
    pub packet_id: Option<u64>,
    /// What became of it, as the switch names it, such as `drop:hairpin` (`epb_verdict` of type 0, whose content is the
    /// recorder's own). Verdicts of eBPF programs (types 1 and 2) are not read.
    pub verdict: Option<Cow<'a, str>>,
}
