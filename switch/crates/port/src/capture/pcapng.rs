//! The new format: a chain of blocks, in sections of their own byte order (draft-ietf-opsawg-pcapng).
//!
//! Parsed here and not by `pcap-file` 2.0, because that crate refuses files that follow the standard or misreads them:
//! it fails on every `if_tzone` option, on option lists without an end mark, on comments and names that are not UTF-8, and on
//! an interface block whose reserved field is not 0 (each of them ends the whole file); it swaps the halves of the time in
//! obsolete packet blocks of little-endian files, leaves padding on the frames of simple packet blocks, does not
//! check interface numbers, and reports an option that is too short as an incomplete file. Its errors carry no numbers.
//!
//! The section length is not used: blocks are walked anyway, and it is wrong in real files.
//! Interfaces count on over sections, so that a number means one interface in the whole file.

use super::error::{Fault, Problem};
use super::interface::{Interface, LinkType, TimeResolution};
use super::read::{CapturedFrame, Cursor, Item};
use super::{Direction, FRAME_LEN_MAX, FrameNotes, INTERFACES_MAX};

/// Type of the section header block; it reads the same in both byte orders.
pub(super) const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
const INTERFACE_DESCRIPTION: u32 = 1;
const OBSOLETE_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
pub(super) const ENHANCED_PACKET: u32 = 6;

/// Type, length, and length again.
const BLOCK_OVERHEAD: usize = 12;

/// First octet of an `epb_verdict` whose content is whatever the recording device wants to say.
pub(super) const VERDICT_HARDWARE: u8 = 0;

/// Byte order of a section.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Order {
    #[default]
    Little,
    Big,
}

/// The next interface or frame at or after the cursor, which moves behind it; `None` at the end of the file.
/// `interfaces` are those found so far, by this walk or an earlier one.
pub(super) fn next<'a>(bytes: &'a [u8], interfaces: &[Interface], cursor: &mut Cursor) -> Option<Result<Item<'a>, Fault>> {
    loop {
        let rest = bytes.get(cursor.at..).filter(|rest| !rest.is_empty())?;
        match next_block(rest, interfaces, cursor) {
            Ok(None) => {}
            Ok(Some(item)) => return Some(Ok(item)),
            Err(fault) => return Some(Err(fault)),
        }
    }
}

/// Bytes of the block at the front of `rest`, of which at least 12 are there; `None` if its length cannot be right.
pub(super) fn block_len(rest: &[u8], cursor: &Cursor) -> Option<usize> {
    let [kind, len] = words::<2>(rest, cursor.order)?;
    let len = match (kind, words::<1>(rest.get(8..)?, Order::Little)?) {
        (SECTION_HEADER, [BYTE_ORDER_MAGIC]) => words::<2>(rest, Order::Little)?[1],
        (SECTION_HEADER, _) => words::<2>(rest, Order::Big)?[1],
        _ => len,
    };
    (len as usize >= BLOCK_OVERHEAD && len.is_multiple_of(4)).then_some(len as usize)
}

/// What the block at the front of `rest` means, which begins at byte `cursor.at` of the input; the cursor moves behind it.
pub(super) fn next_block<'a>(rest: &'a [u8], interfaces: &[Interface], cursor: &mut Cursor) -> Result<Option<Item<'a>>, Fault> {
    let offset = cursor.at;
    let item = block(rest, cursor).and_then(|block| {
        cursor.at = offset + block.body.len() + BLOCK_OVERHEAD;
        content(&block, interfaces, cursor, offset)
    });
    item.map_err(|problem| Fault::new(offset, problem))
}

struct Block<'a> {
    kind: u32,
    body: &'a [u8],
    order: Order,
}

/// Takes one block off the front of `rest`, whatever its type. A section header sets the byte order.
fn block<'a>(rest: &'a [u8], cursor: &mut Cursor) -> Result<Block<'a>, Problem> {
    let header = |order| words::<2>(rest, order).ok_or_else(|| Problem::short("block header", 8, rest.len()));
    let [kind, _] = header(cursor.order)?;
    if kind == SECTION_HEADER {
        let magic = rest.get(8..).and_then(|body| words::<1>(body, Order::Little));
        cursor.order = match magic {
            Some([BYTE_ORDER_MAGIC]) => Order::Little,
            Some([other]) if other == BYTE_ORDER_MAGIC.swap_bytes() => Order::Big,
            Some([other]) => return Err(Problem::wrong("byte-order magic", "1a2b3c4d in either order", format!("{other:08x}"))),
            None => return Err(Problem::short("section header block", 28, rest.len())),
        };
    }
    let order = cursor.order;
    let [_, len] = header(order)?;
    let total = len as usize;
    if total < BLOCK_OVERHEAD || !total.is_multiple_of(4) {
        return Err(Problem::wrong("block length", "a multiple of 4, 12 or more", len));
    }
    let Some(block) = rest.get(..total) else {
        return Err(Problem::short(block_name(kind), total, rest.len()));
    };
    let (body, trailer) = block[8..].split_at(total - BLOCK_OVERHEAD);
    match words::<1>(trailer, order) {
        Some([again]) if again == len => Ok(Block { kind, body, order }),
        Some([again]) => Err(Problem::wrong("block length at the end of the block", len, again)),
        None => Err(Problem::short(block_name(kind), total, rest.len())),
    }
}

/// What the block means; `None` if it brings neither an interface nor a frame.
fn content<'a>(block: &Block<'a>, interfaces: &[Interface], cursor: &mut Cursor, offset: usize) -> Result<Option<Item<'a>>, Problem> {
    match block.kind {
        SECTION_HEADER => {
            section(block)?;
            cursor.section_start = cursor.interface_count;
            Ok(None)
        }
        INTERFACE_DESCRIPTION => {
            if cursor.interface_count as usize == INTERFACES_MAX {
                return Err(Problem::wrong("interfaces of the file", format!("at most {INTERFACES_MAX}"), "one more"));
            }
            let interface = interface(block)?;
            cursor.interface_count += 1;
            Ok(Some(Item::Interface(interface)))
        }
        ENHANCED_PACKET | OBSOLETE_PACKET => timed_packet(block, interfaces, cursor, offset).map(Item::Frame).map(Some),
        SIMPLE_PACKET => simple_packet(block, interfaces, cursor, offset).map(Item::Frame).map(Some),
        _ => Ok(None),
    }
}

fn section(block: &Block<'_>) -> Result<(), Problem> {
    let Some([_, version, _, _]) = words::<4>(block.body, block.order) else {
        return Err(Problem::short("section header block", 28, block.body.len() + BLOCK_OVERHEAD));
    };
    match halves(version, block.order) {
        // Minor versions only add what may be skipped.
        (1, _) => Ok(()),
        (major, minor) => Err(Problem::wrong("pcapng version", "1.x", format!("{major}.{minor}"))),
    }
}

fn interface(block: &Block<'_>) -> Result<Interface, Problem> {
    let Some([link, snaplen]) = words::<2>(block.body, block.order) else {
        return Err(Problem::short("interface description block", 20, block.body.len() + BLOCK_OVERHEAD));
    };
    let (link_type, _reserved) = halves(link, block.order);
    let mut interface = Interface::new(LinkType(u32::from(link_type)), snaplen);
    for option in Options::of(block, 8) {
        let (code, value) = option?;
        match code {
            2 => interface.name = String::from_utf8_lossy(value).into_owned(),
            8 => interface.speed_bps = Some(u64_of(exactly("if_speed option", value)?, block.order)),
            9 => {
                let [octet] = exactly("if_tsresol option", value)?;
                interface.resolution = TimeResolution::from_octet(octet);
            }
            13 => {
                // Bits by the text of the standard, bytes by its example and by Wireshark: an Ethernet FCS is one of these.
                let [len] = exactly("if_fcslen option", value)?;
                interface.fcs_len = if len == 4 || len == 32 { 4 } else { 0 };
            }
            14 => interface.time_offset_s = u64_of(exactly("if_tsoffset option", value)?, block.order).cast_signed(),
            _ => {}
        }
    }
    Ok(interface)
}

/// Enhanced packet block, and the obsolete packet block: the same but for the first word.
fn timed_packet<'a>(block: &Block<'a>, interfaces: &[Interface], cursor: &mut Cursor, offset: usize) -> Result<CapturedFrame<'a>, Problem> {
    const FIXED_LEN: usize = 20;
    let Some([first, time_high, time_low, captured_len, original_len]) = words::<5>(block.body, block.order) else {
        return Err(Problem::short(block_name(block.kind), FIXED_LEN + BLOCK_OVERHEAD, block.body.len() + BLOCK_OVERHEAD));
    };
    let id = if block.kind == OBSOLETE_PACKET { u32::from(halves(first, block.order).0) } else { first };
    let (number, interface) = interface_of(id, interfaces, cursor)?;
    let data = captured(block, FIXED_LEN, captured_len)?;
    let ticks = u64::from(time_high) << 32 | u64::from(time_low);
    let Some(time_ns) = interface.time_ns(ticks) else {
        let found = format!("{ticks} units of {} and {} s", interface.resolution, interface.time_offset_s);
        return Err(Problem::wrong("time of the frame", "a time from 1970 to 2554", found));
    };
    let mut notes = FrameNotes::default();
    let mut fcs_len = interface.fcs_len;
    for option in Options::of(block, FIXED_LEN + data.len().next_multiple_of(4)) {
        let (code, value) = option?;
        match code {
            1 if notes.comment.is_none() => notes.comment = Some(String::from_utf8_lossy(value)),
            2 => {
                let [flags] = words::<1>(&exactly::<4>("flags option of the frame", value)?, block.order).unwrap_or_default();
                notes.direction = match flags & 3 {
                    1 => Some(Direction::Inbound),
                    2 => Some(Direction::Outbound),
                    _ => None,
                };
                // Bits 5 to 8: bytes of FCS, 0 if not said.
                let said = (flags >> 5 & 15) as u8;
                fcs_len = if said == 0 { fcs_len } else { said };
            }
            5 => notes.packet_id = Some(u64_of(exactly("packet id option of the frame", value)?, block.order)),
            7 => {
                if let [VERDICT_HARDWARE, text @ ..] = value {
                    notes.verdict = Some(String::from_utf8_lossy(text));
                }
            }
            _ => {}
        }
    }
    cursor.last_time_ns = time_ns;
    Ok(CapturedFrame::new(number, time_ns, data, original_len, fcs_len, offset, notes))
}

/// Simple packet block: always of the section's first interface, cut to its snap length, without a time of its own.
fn simple_packet<'a>(block: &Block<'a>, interfaces: &[Interface], cursor: &Cursor, offset: usize) -> Result<CapturedFrame<'a>, Problem> {
    let Some([original_len]) = words::<1>(block.body, block.order) else {
        return Err(Problem::short(block_name(block.kind), 4 + BLOCK_OVERHEAD, block.body.len() + BLOCK_OVERHEAD));
    };
    let (number, interface) = interface_of(0, interfaces, cursor)?;
    let captured_len = match interface.snaplen {
        0 => original_len,
        snaplen => original_len.min(snaplen),
    };
    let data = captured(block, 4, captured_len)?;
    let fcs_len = interface.fcs_len;
    Ok(CapturedFrame::new(number, cursor.last_time_ns, data, original_len, fcs_len, offset, FrameNotes::default()))
}

/// The interface with this number in the current section, and its number in the file.
fn interface_of<'i>(id: u32, interfaces: &'i [Interface], cursor: &Cursor) -> Result<(u32, &'i Interface), Problem> {
    let described = cursor.interface_count - cursor.section_start;
    let number = cursor.section_start.saturating_add(id);
    match interfaces.get(number as usize) {
        Some(interface) if id < described => Ok((number, interface)),
        _ => Err(Problem::wrong("interface of the frame", format!("one of the {described} described so far in its section"), id)),
    }
}

/// The frame of a packet block whose other fields take `fixed_len` bytes of the body.
fn captured<'a>(block: &Block<'a>, fixed_len: usize, captured_len: u32) -> Result<&'a [u8], Problem> {
    if captured_len > FRAME_LEN_MAX {
        return Err(Problem::wrong("captured length of the block", format!("at most {FRAME_LEN_MAX} bytes"), captured_len));
    }
    let room = block.body.get(fixed_len..).unwrap_or_default();
    room.get(..captured_len as usize).ok_or_else(|| Problem::short("frame in its block", captured_len as usize, room.len()))
}

/// The options of a block: code and value, padded to 4 bytes. The end mark may be missing. An error is the last item.
struct Options<'a> {
    rest: &'a [u8],
    order: Order,
}

impl<'a> Options<'a> {
    /// The options that begin at byte `at` of the body.
    fn of(block: &Block<'a>, at: usize) -> Options<'a> {
        Options { rest: block.body.get(at..).unwrap_or_default(), order: block.order }
    }
}

impl<'a> Iterator for Options<'a> {
    type Item = Result<(u16, &'a [u8]), Problem>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = std::mem::take(&mut self.rest);
        if rest.is_empty() {
            return None;
        }
        let Some([head]) = words::<1>(rest, self.order) else {
            return Some(Err(Problem::short("option header", 4, rest.len())));
        };
        let (code, len) = halves(head, self.order);
        if code == 0 {
            return None;
        }
        let (len, value) = (usize::from(len), &rest[4..]);
        let Some(value) = value.get(..len) else {
            return Some(Err(Problem::short("option", len, value.len())));
        };
        self.rest = rest.get(4 + len.next_multiple_of(4)..).unwrap_or_default();
        Some(Ok((code, value)))
    }
}

/// The first `N` 32-bit words of `bytes`, if there are so many.
fn words<const N: usize>(bytes: &[u8], order: Order) -> Option<[u32; N]> {
    let (chunks, _) = bytes.get(..N * 4)?.as_chunks::<4>();
    let mut words = [0; N];
    for (word, chunk) in words.iter_mut().zip(chunks) {
        *word = match order {
            Order::Little => u32::from_le_bytes(*chunk),
            Order::Big => u32::from_be_bytes(*chunk),
        };
    }
    Some(words)
}

/// The two 16-bit fields that were read as one word: the earlier one first.
fn halves(word: u32, order: Order) -> (u16, u16) {
    match order {
        Order::Little => (word as u16, (word >> 16) as u16),
        Order::Big => ((word >> 16) as u16, word as u16),
    }
}

fn u64_of(bytes: [u8; 8], order: Order) -> u64 {
    match order {
        Order::Little => u64::from_le_bytes(bytes),
        Order::Big => u64::from_be_bytes(bytes),
    }
}

/// An option value that must have one length.
fn exactly<const N: usize>(what: &'static str, value: &[u8]) -> Result<[u8; N], Problem> {
    value.try_into().map_err(|_| Problem::wrong(what, format!("{N} bytes"), format!("{} bytes", value.len())))
}

fn block_name(kind: u32) -> &'static str {
    match kind {
        SECTION_HEADER => "section header block",
        INTERFACE_DESCRIPTION => "interface description block",
        OBSOLETE_PACKET => "obsolete packet block",
        SIMPLE_PACKET => "simple packet block",
        ENHANCED_PACKET => "enhanced packet block",
        _ => "block",
    }
}
