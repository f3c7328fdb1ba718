//! Writing a capture file: pcapng, little-endian, nanoseconds.
//!
//! The bytes depend on the arguments and on nothing else: no time of day, no host name, the same byte order on every
//! machine. Two runs on a virtual clock give identical files.
//!
//! Blocks of frames are laid out here: `pcap-file` 2.0 has no way to write a packet id or a verdict. The others are laid out by that
//! crate, with two defects worked around: it writes the time of an interface statistics block
//! as one 64-bit number, where the format wants the high half first also in little-endian files; and it writes the
//! length of an option modulo 2^16, which is why long names and comments are refused here.

use std::borrow::Cow;
use std::io::{self, BufWriter, Write};

use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption};
use pcap_file::pcapng::blocks::interface_statistics::{InterfaceStatisticsBlock, InterfaceStatisticsOption};
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::{DataLink, Endianness, PcapError};

use super::pcapng::{ENHANCED_PACKET, VERDICT_HARDWARE};
use super::{Direction, FRAME_LEN_MAX, FrameNotes, INTERFACES_MAX};

/// `shb_userappl` of every file: the program, and no version, so that files stay comparable.
const USER_APPLICATION: &str = "bladeswitch";

/// Writes a capture file, buffered. Call [`CaptureWriter::finish`] at the end: dropping the writer hides write errors.
pub struct CaptureWriter<W: Write> {
    out: PcapNgWriter<BufWriter<W>>,
    interface_count: u32,
    /// Where the block of a frame is put together.
    block: Vec<u8>,
}

impl<W: Write> CaptureWriter<W> {
    /// Begins a capture file in `out`.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn new(out: W) -> io::Result<CaptureWriter<W>> {
        let section = SectionHeaderBlock {
            endianness: Endianness::Little,
            options: vec![SectionHeaderOption::UserApplication(Cow::Borrowed(USER_APPLICATION))],
            ..SectionHeaderBlock::default()
        };
        let out = PcapNgWriter::with_section_header(BufWriter::new(out), section).map_err(io_error)?;
        Ok(CaptureWriter { out, interface_count: 0, block: Vec::new() })
    }

    /// Describes the next Ethernet interface, one for each port; returns its number, from 0. May be called between frames.
    ///
    /// # Errors
    /// Those of the output; `InvalidInput` for a name over 65,535 bytes and beyond [`INTERFACES_MAX`] interfaces.
    pub fn add_interface(&mut self, name: &str, speed_bps: Option<u64>) -> io::Result<u32> {
        if self.interface_count as usize == INTERFACES_MAX {
            return Err(invalid(format!("a capture file has at most {INTERFACES_MAX} interfaces")));
        }
        let mut options = vec![InterfaceDescriptionOption::IfName(option_text(Cow::Owned(name.to_string()))?)];
        options.extend(speed_bps.map(InterfaceDescriptionOption::IfSpeed));
        options.push(InterfaceDescriptionOption::IfTsResol(9));
        let block = InterfaceDescriptionBlock { linktype: DataLink::ETHERNET, snaplen: FRAME_LEN_MAX, options };
        self.out.write_pcapng_block(block).map_err(io_error)?;
        let number = self.interface_count;
        self.interface_count += 1;
        Ok(number)
    }

    /// Writes a frame of interface `interface`, recorded `time_ns` nanoseconds after 1970-01-01 UTC. `bytes` are those kept,
    /// from the destination address on, without FCS; `original_len` those on the wire, taken as `bytes.len()` if it is less.
    ///
    /// # Errors
    /// Those of the output; `InvalidInput` for an unknown interface, more than [`FRAME_LEN_MAX`] bytes, or a comment or
    /// verdict over 65,534 bytes. After `InvalidInput` nothing was written and the file goes on.
    pub fn write_frame(&mut self, interface: u32, time_ns: u64, bytes: &[u8], original_len: u32, notes: &FrameNotes<'_>) -> io::Result<()> {
        self.check_interface(interface)?;
        if bytes.len() > FRAME_LEN_MAX as usize {
            return Err(invalid(format!("a frame in a capture file has at most {FRAME_LEN_MAX} bytes, this one has {}", bytes.len())));
        }
        let verdict: Option<Vec<u8>> = notes.verdict.as_ref().map(|verdict| [&[VERDICT_HARDWARE], verdict.as_bytes()].concat());
        let direction = notes.direction.map(|direction| match direction {
            Direction::Inbound => 1u32.to_le_bytes(),
            Direction::Outbound => 2u32.to_le_bytes(),
        });
        let packet_id = notes.packet_id.map(u64::to_le_bytes);
        let options: [(u16, Option<&[u8]>); 4] = [
            (1, notes.comment.as_ref().map(|comment| comment.as_bytes())),
            (2, direction.as_ref().map(|bytes| &bytes[..])),
            (5, packet_id.as_ref().map(|bytes| &bytes[..])),
            (7, verdict.as_deref()),
        ];
        let block = &mut self.block;
        block.clear();
        let words = [
            ENHANCED_PACKET,
            0, // The length of the block, once it is known.
            interface,
            (time_ns >> 32) as u32,
            time_ns as u32,
            bytes.len() as u32,
            original_len.max(bytes.len() as u32),
        ];
        words.iter().for_each(|word| block.extend_from_slice(&word.to_le_bytes()));
        block.extend_from_slice(bytes);
        pad(block);
        let mut has_options = false;
        for (code, value) in options {
            let Some(value) = value else { continue };
            has_options = true;
            let len = u16::try_from(value.len()).map_err(|_| {
                invalid(format!("a comment or verdict in a capture file has at most 65534 bytes, this one has {}", value.len()))
            })?;
            block.extend_from_slice(&code.to_le_bytes());
            block.extend_from_slice(&len.to_le_bytes());
            block.extend_from_slice(value);
            pad(block);
        }
        if has_options {
            block.extend_from_slice(&[0; 4]);
        }
        let len = (block.len() as u32 + 4).to_le_bytes();
        block[4..8].copy_from_slice(&len);
        block.extend_from_slice(&len);
        self.out.get_mut().write_all(block)
    }

    /// Writes what an interface counted until `time_ns`: frames received, and frames of these it dropped, as far as known.
    /// Belongs at the end of the file, once for each interface.
    ///
    /// # Errors
    /// Those of the output; `InvalidInput` for an unknown interface.
    pub fn write_statistics(&mut self, interface: u32, time_ns: u64, received: Option<u64>, dropped: Option<u64>) -> io::Result<()> {
        self.check_interface(interface)?;
        let mut options = Vec::new();
        options.extend(received.map(InterfaceStatisticsOption::IsbIfRecv));
        options.extend(dropped.map(InterfaceStatisticsOption::IsbIfDrop));
        // The crate writes the low half first; see the head of this file.
        let timestamp = time_ns.rotate_left(32);
        let block = InterfaceStatisticsBlock { interface_id: interface, timestamp, options };
        self.out.write_pcapng_block(block).map_err(io_error).map(drop)
    }

    /// Passes all that is buffered to the output.
    ///
    /// # Errors
    /// Those of the output.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.get_mut().flush()
    }

    /// Ends the file: flushes and gives the output back.
    ///
    /// # Errors
    /// Those of the output.
    pub fn finish(self) -> io::Result<W> {
        self.out.into_inner().into_inner().map_err(io::IntoInnerError::into_error)
    }

    fn check_interface(&self, interface: u32) -> io::Result<()> {
        match interface < self.interface_count {
            true => Ok(()),
            false => Err(invalid(format!("interface {interface} was not added: there are {}", self.interface_count))),
        }
    }
}

/// Zeros up to the next multiple of 4 bytes.
fn pad(block: &mut Vec<u8>) {
    block.resize(block.len().next_multiple_of(4), 0);
}

/// A text that fits into an option.
fn option_text(text: Cow<'_, str>) -> io::Result<Cow<'_, str>> {
    match text.len() <= usize::from(u16::MAX) {
        true => Ok(text),
        false => Err(invalid(format!("a name or comment in a capture file has at most 65535 bytes, this one has {}", text.len()))),
    }
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

fn io_error(error: PcapError) -> io::Error {
    match error {
        PcapError::IoError(error) => error,
        other => invalid(other.to_string()),
    }
}
