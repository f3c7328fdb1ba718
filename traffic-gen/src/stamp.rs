//! What a test frame carries: which stream it belongs to, which of its frames it is, when it was to be sent and when it was.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 2 | check: the rest folded to 16 bits, and a constant |
//! | 2 | 2 | stream |
//! | 4 | 4 | sequence number in the stream; wraps |
//! | 8 | 6 | when the plan had it leave, in nanoseconds of the generator's clock; wraps after 78 hours |
//! | 14 | 4 | how much later it really left, in nanoseconds |
//!
//! Numbers are little-endian: stamps are read where they are written. 18 bytes are what Ethernet, IPv4 and UDP headers leave of a
//! frame of 60 bytes. In UDP over IPv4, tagged once or not, the stamp is the beginning of the payload: it shares the first cache line with
//! the headers, and in a jumbo frame the first buffer. In any other frame it is the last 18 bytes.

use port::Nanos;

/// Bytes of a stamp.
pub const STAMP_LEN: usize = 18;
const MAGIC: u64 = 0xb1ad;
const INTENDED_BITS: u32 = 48;

/// A stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The stream.
    pub stream: u16,
    /// Number of the frame in it; wraps.
    pub sequence: u32,
    /// When the plan had it leave.
    pub intended: Nanos,
    /// When it left: at most 4.29 s after that, or that is what it says.
    pub sent: Nanos,
}

/// Where the stamp of `frame` is, whose first bytes are given.
#[inline]
fn place(frame: &[u8]) -> Option<usize> {
    const UDP_PAYLOAD: usize = 14 + 20 + 8;
    let is_udp = |ip: usize| matches!(frame.get(ip..ip + 10), Some([0x45, .., 17]));
    let at = match frame.get(12..14)? {
        [0x08, 0x00] if is_udp(14) => UDP_PAYLOAD,
        [0x81, 0x00] | [0x88, 0xa8] if frame.get(16..18) == Some(&[0x08, 0x00]) && is_udp(18) => UDP_PAYLOAD + 4,
        _ => frame.len().checked_sub(STAMP_LEN)?,
    };
    (at + STAMP_LEN <= frame.len()).then_some(at)
}

#[inline]
fn check(first: u64, second: u64) -> u16 {
    let all = first ^ second.rotate_left(23);
    let all = all ^ all >> 32;
    (all ^ all >> 16 ^ MAGIC) as u16
}

impl Stamp {
    /// Writes the stamp into a frame; `false` if it is too short for one.
    #[inline]
    pub fn write(&self, frame: &mut [u8]) -> bool {
        let Some(place) = place(frame).and_then(|at| frame[at..].first_chunk_mut::<STAMP_LEN>()) else { return false };
        let late = u32::try_from(self.sent.since(self.intended).0).unwrap_or(u32::MAX);
        let first = u64::from(self.stream) | u64::from(self.sequence) << 16 | (self.intended.0 & 0xffff) << 48;
        let second = (self.intended.0 >> 16 & 0xffff_ffff) | u64::from(late) << 32;
        place[..2].copy_from_slice(&check(first, second).to_le_bytes());
        place[2..10].copy_from_slice(&first.to_le_bytes());
        place[10..].copy_from_slice(&second.to_le_bytes());
        true
    }

    /// Overwrites the stamp in a frame, if there is one, with zeros.
    pub fn erase(frame: &mut [u8]) {
        if Stamp::read(frame, Nanos::ZERO).is_some()
            && let Some(at) = place(frame)
        {
            frame[at..at + STAMP_LEN].fill(0);
        }
    }

    /// The stamp in a frame, if there is one and none of its bits has changed. `now` is any time within 39 hours of when it was sent.
    #[inline]
    pub fn read(frame: &[u8], now: Nanos) -> Option<Stamp> {
        let place = frame[place(frame)?..].first_chunk::<STAMP_LEN>()?;
        let &[c0, c1, a0, a1, a2, a3, a4, a5, a6, a7, second @ ..] = place;
        let (first, second) = (u64::from_le_bytes([a0, a1, a2, a3, a4, a5, a6, a7]), u64::from_le_bytes(second));
        if check(first, second) != u16::from_le_bytes([c0, c1]) {
            return None;
        }
        // The bits that were not sent are those of now, or one more or less.
        let intended = first >> 48 | (second & 0xffff_ffff) << 16;
        let behind = now.0.wrapping_sub(intended) << (64 - INTENDED_BITS) >> (64 - INTENDED_BITS);
        let half = 1 << (INTENDED_BITS - 1);
        let intended = Nanos(if behind < half { now.0.wrapping_sub(behind) } else { now.0 + ((1 << INTENDED_BITS) - behind) });
        Some(Stamp { stream: first as u16, sequence: (first >> 16) as u32, intended, sent: Nanos(intended.0.wrapping_add(second >> 32)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Station, udp_frame};
    use proptest::prelude::*;

    fn udp(len: usize) -> Box<[u8]> {
        let station = |n| Station { mac: [2, 0, 0, 0, 0, n], ip: [198, 18, 0, n] };
        udp_frame(station(1), station(2), len)
    }

    #[test]
    fn the_bytes_are_those_of_the_table() {
        let stamp = Stamp { stream: 0x0310, sequence: 0xdead_beef, intended: Nanos(0x0102_0304_0506), sent: Nanos(0x0102_0304_0507) };
        let mut frame = udp(60);
        assert!(stamp.write(&mut frame));
        assert_eq!(frame[44..], [0x10, 0x03, 0xef, 0xbe, 0xad, 0xde, 6, 5, 4, 3, 2, 1, 1, 0, 0, 0]);
        assert_eq!(Stamp::read(&frame, Nanos(0x0102_0304_0600)), Some(stamp));
        Stamp::erase(&mut frame);
        assert_eq!(frame[42..], [0; 18]);
        assert_eq!(Stamp::read(&udp(60), Nanos(0)), None);
        assert!(!stamp.write(&mut [0; 17]) && Stamp::read(&[0; 17], Nanos(0)).is_none());
    }

    #[test]
    fn it_is_found_behind_a_tag_and_at_the_end_of_what_is_not_udp() {
        let stamp = Stamp { stream: 1, sequence: 2, intended: Nanos(3), sent: Nanos(4) };
        let mut frame = udp(1514).to_vec();
        stamp.write(&mut frame);
        frame.splice(12..12, [0x81, 0, 0, 10]);
        assert_eq!(Stamp::read(&frame, Nanos(5)), Some(stamp), "a tag was pushed");
        assert_eq!(Stamp::read(&frame[..200], Nanos(5)), Some(stamp), "the first part of the frame is enough");
        let mut other = vec![0; 100];
        stamp.write(&mut other);
        assert_ne!(other[82..], [0; 18]);
        assert_eq!(Stamp::read(&other, Nanos(5)), Some(stamp));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_and_a_changed_bit_is_noticed(
            stream: u16, sequence: u32, intended in 0u64..1 << 60, late: u32, now in -(1i64 << 46)..1 << 46, bit in 0usize..18 * 8,
        ) {
            let intended = Nanos(intended + (1 << 47));
            let stamp = Stamp { stream, sequence, intended, sent: Nanos(intended.0 + u64::from(late)) };
            let mut frame = udp(60);
            stamp.write(&mut frame);
            let now = Nanos(intended.0.wrapping_add_signed(now));
            prop_assert_eq!(Stamp::read(&frame, now), Some(stamp));
            frame[42 + bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(Stamp::read(&frame, now), None);
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..80), now: u32) {
            Stamp::read(&bytes, Nanos(u64::from(now)));
        }
    }
}
