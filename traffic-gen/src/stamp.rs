//! What a test frame carries in its last 16 bytes: who sent it to whom, which of them it is, and when.
//!
//! | offset from the end | size | field |
//! |---|---|---|
//! | 16 | 2 | magic `0xb1ad` |
//! | 14 | 1 | port it was sent into |
//! | 13 | 1 | port it should come out of |
//! | 12 | 4 | sequence number of this pair of ports |
//! | 8 | 8 | when it was sent, in nanoseconds of the generator's clock |
//!
//! Numbers are big-endian. 16 bytes fit behind Ethernet, IPv4 and UDP headers in a frame of 60 bytes.

use port::{Nanos, PortId};

/// Bytes of a stamp.
pub const STAMP_LEN: usize = 16;
const MAGIC: [u8; 2] = [0xb1, 0xad];

/// A stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The port it was sent into.
    pub from: PortId,
    /// The port it should come out of.
    pub to: PortId,
    /// Number among the frames of this pair of ports; wraps.
    pub sequence: u32,
    /// When it was sent.
    pub sent: Nanos,
}

impl Stamp {
    /// Writes the stamp to the end of a frame; `false` if the frame is too short for one.
    #[inline]
    pub fn write(&self, frame: &mut [u8]) -> bool {
        let Some(end) = frame.last_chunk_mut::<STAMP_LEN>() else { return false };
        end[0..2].copy_from_slice(&MAGIC);
        end[2] = self.from.0;
        end[3] = self.to.0;
        end[4..8].copy_from_slice(&self.sequence.to_be_bytes());
        end[8..16].copy_from_slice(&self.sent.0.to_be_bytes());
        true
    }

    /// The stamp at the end of a frame, if there is one.
    #[inline]
    pub fn read(frame: &[u8]) -> Option<Stamp> {
        let &[m0, m1, from, to, s0, s1, s2, s3, sent @ ..] = frame.last_chunk::<STAMP_LEN>()?;
        ([m0, m1] == MAGIC).then_some(Stamp {
            from: PortId(from),
            to: PortId(to),
            sequence: u32::from_be_bytes([s0, s1, s2, s3]),
            sent: Nanos(u64::from_be_bytes(sent)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let stamp = Stamp { from: PortId(3), to: PortId(16), sequence: 0xdead_beef, sent: Nanos(123_456_789_012) };
        let mut frame = [0xff; 60];
        assert!(stamp.write(&mut frame));
        assert_eq!(&frame[44..52], [0xb1, 0xad, 3, 16, 0xde, 0xad, 0xbe, 0xef]);
        assert_eq!(Stamp::read(&frame), Some(stamp));
        assert_eq!(Stamp::read(&[0; 60]), None);
        assert!(!stamp.write(&mut [0; 15]) && Stamp::read(&[0; 15]).is_none());
    }
}
