//! Writing a capture file: pcapng, little-endian, nanoseconds.
//!
//! The bytes depend on the arguments and on nothing else: no time of day, no host name, the same byte order on every
//! machine. Two runs on a virtual clock give identical files.
//!
//! The blocks are laid out by `pcap-file`, with two defects worked around: it writes the time of an interface statistics block
//! as one 64-bit number, where the format wants the high half first also in little-endian files; and it writes the
//! length of an option modulo 2^16, which is why long names and comments are refused here.

use std::borrow::Cow;
use std::io::{self, BufWriter, Write};
use std::time::Duration;

use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption};
use pcap_file::pcapng::blocks::interface_statistics::{InterfaceStatisticsBlock, InterfaceStatisticsOption};
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::{DataLink, Endianness, PcapError};

use super::{Direction, FRAME_LEN_MAX, FrameNotes, INTERFACES_MAX};

/// `shb_userappl` of every file: the program, and no version, so that files stay comparable.
const USER_APPLICATION: &str = "bladeswitch";

/// Writes a capture file, buffered. Call [`CaptureWriter::finish`] at the end: dropping the writer hides write errors.
pub struct CaptureWriter<W: Write> {
    out: PcapNgWriter<BufWriter<W>>,
    interface_count: u32,
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
        Ok(CaptureWriter { out, interface_count: 0 })
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
    /// Those of the output; `InvalidInput` for an unknown interface, more than [`FRAME_LEN_MAX`] bytes, or a comment over
    /// 65,535 bytes. After `InvalidInput` nothing was written and the file goes on.
    pub fn write_frame(&mut self, interface: u32, time_ns: u64, bytes: &[u8], original_len: u32, notes: &FrameNotes<'_>) -> io::Result<()> {
        self.check_interface(interface)?;
        if bytes.len() > FRAME_LEN_MAX as usize {
            return Err(invalid(format!("a frame in a capture file has at most {FRAME_LEN_MAX} bytes, this one has {}", bytes.len())));
        }
        let mut options = Vec::new();
        if let Some(comment) = &notes.comment {
            options.push(EnhancedPacketOption::Comment(option_text(Cow::Borrowed(comment.as_ref()))?));
        }
        options.extend(notes.direction.map(|direction| {
            EnhancedPacketOption::Flags(match direction {
                Direction::Inbound => 1,
                Direction::Outbound => 2,
            })
        }));
        let block = EnhancedPacketBlock {
            interface_id: interface,
            timestamp: Duration::from_nanos(time_ns),
            original_len: original_len.max(bytes.len() as u32),
            data: Cow::Borrowed(bytes),
            options,
        };
        self.out.write_pcapng_block(block).map_err(io_error).map(drop)
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
