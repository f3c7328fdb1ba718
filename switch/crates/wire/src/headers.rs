//! What the switch needs to know of every frame, read in one go.
//!
//! [`Headers::parse`] proves the length once (60 bytes, the shortest frame without FCS) and reads the addresses with two
//! loads; only tagged frames are looked at further. It runs for every packet: measured, it is a few cycles.
//!
//! Not here: the meaning of what lies behind the EtherType. The lanes read that for the few frames that are theirs.

use crate::vlan::{TAG_LEN, TPID_8021AD, TPID_8021Q, Tci};

/// The shortest Ethernet frame, without FCS (IEEE 802.3 §3.2.7: minFrameSize 64 with it).
pub const FRAME_LEN_MIN: usize = 60;
/// The longest frame the switch handles, without FCS: jumbo.
pub const FRAME_LEN_MAX: usize = 9216;
/// Stacked tags that are looked through for the EtherType; deeper ones count as payload.
pub const TAGS_MAX: usize = 4;

const MAC_MASK: u64 = 0xffff_ffff_ffff;

/// Addresses, outer tag and EtherType of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    /// Destination in [raw](crate::MacAddr::raw) form.
    pub dst: u64,
    /// Source in raw form.
    pub src: u64,
    /// Tag control information of the outer 802.1Q tag, if [`tagged`](Self::tagged).
    pub tci: Tci,
    /// EtherType (or 802.3 length) behind all tags.
    pub ethertype: u16,
    /// Where the bytes behind that EtherType begin.
    pub payload: u8,
    /// The outer tag is an 802.1Q tag. A frame whose outer tag is 802.1ad counts as untagged: to a customer bridge that is payload.
    pub tagged: bool,
}

impl Headers {
    /// The headers of `frame`; `None` if it is a runt (fewer than [`FRAME_LEN_MIN`] bytes).
    ///
    /// `frame` may be the first part of the frame if that has at least 60 bytes.
    #[inline(always)]
    pub fn parse(frame: &[u8]) -> Option<Headers> {
        let mut headers = Headers::default();
        headers.parse_into(frame).then_some(headers)
    }

    /// [`parse`](Self::parse) to where the headers are to be; `false` for a runt, whose headers are then the default ones.
    #[inline(always)]
    pub fn parse_into(&mut self, frame: &[u8]) -> bool {
        let Some(start) = frame.first_chunk::<FRAME_LEN_MIN>() else {
            *self = Headers::default();
            return false;
        };
        let word = |at: usize| {
            u64::from_le_bytes([
                start[at],
                start[at + 1],
                start[at + 2],
                start[at + 3],
                start[at + 4],
                start[at + 5],
                start[at + 6],
                start[at + 7],
            ])
        };
        let (first, second) = (word(0), word(8));
        let ethertype = ((second >> 32) as u16).swap_bytes();
        *self = Headers {
            dst: first & MAC_MASK,
            src: first >> 48 | (second & 0xffff_ffff) << 16,
            tci: Tci(0),
            ethertype,
            payload: 14,
            tagged: false,
        };
        if ethertype == TPID_8021Q || ethertype == TPID_8021AD {
            self.look_through_tags(start);
        }
        true
    }

    #[inline(never)]
    fn look_through_tags(&mut self, start: &[u8; FRAME_LEN_MIN]) {
        let at = |offset: usize| u16::from_be_bytes([start[offset], start[offset + 1]]);
        self.tagged = self.ethertype == TPID_8021Q;
        self.tci = Tci(at(14));
        for _ in 0..TAGS_MAX {
            if self.ethertype != TPID_8021Q && self.ethertype != TPID_8021AD {
                break;
            }
            self.ethertype = at(self.payload as usize + 2);
            self.payload += TAG_LEN as u8;
        }
    }
}

// Four tags and the EtherType behind them lie within the bytes that are proved.
const _: () = assert!(14 + TAGS_MAX * TAG_LEN <= FRAME_LEN_MIN);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MacAddr;
    use proptest::prelude::*;

    fn frame(head: &[u8]) -> Vec<u8> {
        let mut frame = head.to_vec();
        frame.resize(60, 0);
        frame
    }

    const MACS: [u8; 12] = [0x02, 0, 0, 0, 0, 0xfe, 0x02, 0, 0, 0, 0, 0x01];

    #[test]
    fn untagged() {
        let headers = Headers::parse(&frame(&[&MACS[..], &[0x08, 0x00]].concat())).unwrap();
        assert_eq!(MacAddr::from_raw(headers.dst), MacAddr([2, 0, 0, 0, 0, 0xfe]));
        assert_eq!(MacAddr::from_raw(headers.src), MacAddr([2, 0, 0, 0, 0, 1]));
        assert_eq!((headers.ethertype, headers.payload, headers.tagged), (0x0800, 14, false));
    }

    #[test]
    fn tags_are_looked_through() {
        let one = Headers::parse(&frame(&[&MACS[..], &[0x81, 0x00, 0x60, 0x0a, 0x86, 0xdd]].concat())).unwrap();
        assert_eq!((one.tci, one.ethertype, one.payload, one.tagged), (Tci(0x600a), 0x86dd, 18, true));
        let two = [&MACS[..], &[0x88, 0xa8, 0x00, 0x64, 0x81, 0x00, 0x00, 0x0a, 0x08, 0x06]].concat();
        let two = Headers::parse(&frame(&two)).unwrap();
        assert_eq!((two.ethertype, two.payload, two.tagged), (0x0806, 22, false), "an outer S-tag is payload to us");
        let five = [&MACS[..], &[0x81, 0, 0, 1].repeat(5)].concat();
        let five = Headers::parse(&frame(&five)).unwrap();
        assert_eq!((five.ethertype, five.payload, five.tagged), (0x8100, 30, true), "the fifth tag is not looked through");
    }

    #[test]
    fn runts_are_refused() {
        assert!(Headers::parse(&[0; 59]).is_none());
        assert!(Headers::parse(&[0; 60]).is_some());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some(headers) = Headers::parse(&bytes) {
                prop_assert_eq!(MacAddr::from_raw(headers.dst).0, &bytes[..6]);
                prop_assert_eq!(MacAddr::from_raw(headers.src).0, &bytes[6..12]);
                prop_assert!((headers.payload as usize) < bytes.len());
            }
        }
    }
}
