//! The old format: a header of 24 bytes, then records of 16 bytes and the frame (draft-ietf-opsawg-pcap).
//!
//! The bytes are parsed by `pcap-file`, by its `next_raw_packet`. Its `next_packet` is of no use: it refuses frames that were
//! cut to the snap length, which is what a snap length is for. What the crate cannot say (which byte, how many
//! expected) is found out here once it has refused a record. Checked here because it does not: version, link type bits.
//!
//! The header's time zone and accuracy fields are not used by anyone and are ignored, as the draft says.

use pcap_file::pcap::PcapParser;
use pcap_file::{Endianness, TsResolution};

use super::error::{Fault, Problem};
use super::interface::{Interface, LinkType, TimeResolution};
use super::read::{CapturedFrame, Cursor, Item};
use super::{FRAME_LEN_MAX, FrameNotes};

const HEADER_LEN: usize = 24;
const RECORD_LEN: usize = 16;

/// Bits of the header's last word: the FCS length is given.
const FCS_PRESENT: u32 = 1 << 26;
/// The link type and the reserved bits: with one of those set it is not a link type anyone knows.
const LINK_TYPE_MASK: u32 = 0x03ff_ffff;

/// Reads the file header: the parser for its records, and the one interface.
pub(super) fn header(bytes: &[u8]) -> Result<(PcapParser, Interface), Fault> {
    let Ok((_, parser)) = PcapParser::new(bytes) else {
        return Err(Fault::new(0, Problem::short("pcap file header", HEADER_LEN, bytes.len())));
    };
    let header = parser.header();
    if (header.version_major, header.version_minor) != (2, 4) {
        let found = format!("{}.{}", header.version_major, header.version_minor);
        return Err(Fault::new(4, Problem::wrong("pcap version", "2.4", found)));
    }
    let word = u32::from(header.datalink);
    let link_type = LinkType(word & LINK_TYPE_MASK);
    if link_type != LinkType::ETHERNET {
        return Err(Fault::new(20, Problem::LinkType(link_type)));
    }
    let mut interface = Interface::new(link_type, header.snaplen);
    interface.resolution = match header.ts_resolution {
        TsResolution::MicroSecond => TimeResolution::Decimal(6),
        TsResolution::NanoSecond => TimeResolution::Decimal(9),
    };
    if word & FCS_PRESENT != 0 {
        // Counted in units of 16 bits.
        interface.fcs_len = (word >> 28) as u8 * 2;
    }
    Ok((parser, interface))
}

/// The record at the cursor, which moves behind it; `None` at the end of the file.
pub(super) fn next<'a>(
    bytes: &'a [u8],
    parser: &PcapParser,
    interface: &Interface,
    cursor: &mut Cursor,
) -> Option<Result<Item<'a>, Fault>> {
    let offset = cursor.at.max(HEADER_LEN);
    let rest = bytes.get(offset..).filter(|rest| !rest.is_empty())?;
    match record(rest, parser, interface, offset) {
        Ok((frame, record_len)) => {
            cursor.at = offset + record_len;
            Some(Ok(Item::Frame(frame)))
        }
        Err(problem) => Some(Err(Fault::new(offset, problem))),
    }
}

/// The frame at the front of `rest`, and the bytes its record takes.
fn record<'a>(rest: &'a [u8], parser: &PcapParser, interface: &Interface, offset: usize) -> Result<(CapturedFrame<'a>, usize), Problem> {
    let Ok((_, raw)) = parser.next_raw_packet(rest) else {
        return Err(why_refused(rest, parser.header().endianness));
    };
    if raw.incl_len > FRAME_LEN_MAX {
        return Err(absurd(raw.incl_len));
    }
    // The crate gives the bytes as `Cow`, borrowed from itself; the same bytes of ours live as long as the file.
    let record_len = RECORD_LEN + raw.incl_len as usize;
    let data = rest.get(RECORD_LEN..record_len).unwrap_or_default();
    // A fraction of a second or more is carried over instead of refused, as libpcap does. Neither product can overflow.
    let unit_ns = match parser.header().ts_resolution {
        TsResolution::MicroSecond => 1_000,
        TsResolution::NanoSecond => 1,
    };
    let time_ns = u64::from(raw.ts_sec) * 1_000_000_000 + u64::from(raw.ts_frac) * unit_ns;
    let notes = FrameNotes::default();
    Ok((CapturedFrame::new(0, time_ns, data, raw.orig_len, interface.fcs_len, offset, notes), record_len))
}

/// The crate says only "incomplete".
fn why_refused(rest: &[u8], order: Endianness) -> Problem {
    let Some(field) = rest.get(8..RECORD_LEN).and_then(|fields| fields.first_chunk::<4>()) else {
        return Problem::short("record header", RECORD_LEN, rest.len());
    };
    let captured_len = match order {
        Endianness::Big => u32::from_be_bytes(*field),
        Endianness::Little => u32::from_le_bytes(*field),
    };
    match captured_len > FRAME_LEN_MAX {
        true => absurd(captured_len),
        false => Problem::short("frame", captured_len as usize, rest.len() - RECORD_LEN),
    }
}

fn absurd(captured_len: u32) -> Problem {
    Problem::wrong("captured length of the record", format!("at most {FRAME_LEN_MAX} bytes"), captured_len)
}
