//! Opening a capture file and walking its frames, whichever format it has.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use pcap_file::pcap::PcapParser;

use super::error::{CaptureError, Fault, Problem};
use super::interface::{Interface, LinkType};
use super::{FILE_LEN_MAX, FrameNotes, pcap, pcapng};

/// A capture file in memory, its interfaces known and its first damage, if any, found.
pub struct CaptureFile {
    path: PathBuf,
    bytes: Vec<u8>,
    format: Format,
    interfaces: Vec<Interface>,
    frame_count: u64,
}

enum Format {
    Pcap(PcapParser),
    Pcapng,
}

/// A frame of a capture file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapturedFrame<'a> {
    /// Its interface: an index into [`CaptureFile::interfaces`].
    pub interface: u32,
    /// When it was recorded, in nanoseconds since 1970-01-01 UTC. A simple packet block has no time: that of the frame
    /// before it in the file, 0 if there is none.
    pub time_ns: u64,
    /// What was kept of it, from the destination address on, without FCS. May be empty, may be longer than the snap length.
    pub bytes: &'a [u8],
    /// Bytes it had on the wire, without FCS; never less than `bytes.len()`.
    pub original_len: u32,
    /// Where its record or block begins, in bytes from the start of the file.
    pub offset: u64,
    /// What the file says about it beside that.
    pub notes: FrameNotes<'a>,
}

/// A place in a capture file, between two frames; belongs to the file that made it. It borrows nothing, so that a port can
/// keep it beside the file; a clone remembers the place.
#[derive(Clone, Debug)]
pub struct Cursor {
    /// Byte the next record begins at.
    pub(super) at: usize,
    /// Byte order of the section (pcapng).
    pub(super) order: pcapng::Order,
    /// Number in the file of the section's first interface.
    pub(super) section_start: u32,
    /// Interfaces passed so far, in all sections.
    pub(super) interface_count: u32,
    /// Time of the latest frame, for those that have none.
    pub(super) last_time_ns: u64,
    only: Option<u32>,
    frames: u64,
    ended: bool,
}

impl Cursor {
    pub(super) fn at_start(only: Option<u32>) -> Cursor {
        Cursor {
            at: 0,
            order: pcapng::Order::default(),
            section_start: 0,
            interface_count: 0,
            last_time_ns: 0,
            only,
            frames: 0,
            ended: false,
        }
    }
}

/// What a walk over a file meets.
pub(super) enum Item<'a> {
    Interface(Interface),
    Frame(CapturedFrame<'a>),
}

impl CaptureFile {
    /// Reads a capture file whole.
    ///
    /// # Errors
    /// If it cannot be read, is no capture or a compressed one, has more than [`FILE_LEN_MAX`] bytes, is damaged in its very
    /// first header, or is a pcap file of another link type than Ethernet. Later damage is told when a walk gets there.
    pub fn open(path: impl AsRef<Path>) -> Result<CaptureFile, CaptureError> {
        let path = path.as_ref();
        let bytes = read_whole(path, FILE_LEN_MAX)?;
        CaptureFile::from_bytes(path, bytes)
    }

    /// Takes the content of a capture file; `path` is the name used in errors.
    ///
    /// # Errors
    /// As [`CaptureFile::open`], of what concerns the content.
    pub fn from_bytes(path: impl Into<PathBuf>, bytes: Vec<u8>) -> Result<CaptureFile, CaptureError> {
        let path = path.into();
        let (format, interfaces) = match recognize(&bytes) {
            Ok(found) => found,
            Err(Fault { offset, problem }) => return Err(CaptureError::Refused { path, offset, problem }),
        };
        let mut file = CaptureFile { path, bytes, format, interfaces, frame_count: 0 };
        match file.survey() {
            // Not even the first section could be read.
            Err(Fault { offset: 0, problem }) => Err(CaptureError::Refused { path: file.path, offset: 0, problem }),
            _ => Ok(file),
        }
    }

    /// The file's name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All interfaces described before the end of the file or its first damage, over all sections.
    pub fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    /// Frames before the end of the file or its first damage, of all interfaces and link types.
    pub fn frame_count(&self) -> u64 {
        self.frame_count
    }

    /// All frames in the order of the file, then at most one error: damage, or a frame that is not Ethernet.
    pub fn frames(&self) -> Frames<'_> {
        Frames { file: self, cursor: self.cursor(None) }
    }

    /// As [`CaptureFile::frames`], of one interface; the others are passed over, whatever their link type.
    pub fn frames_of(&self, interface: u32) -> Frames<'_> {
        Frames { file: self, cursor: self.cursor(Some(interface)) }
    }

    /// A cursor before the first frame, for all interfaces or for one.
    pub fn cursor(&self, only: Option<u32>) -> Cursor {
        Cursor::at_start(only)
    }

    /// The frame behind the cursor, which moves on; `None` at the end and after an error.
    ///
    /// # Errors
    /// At the first record that is cut short or wrong, and at a frame of an interface that is not Ethernet.
    pub fn next_frame(&self, cursor: &mut Cursor) -> Option<Result<CapturedFrame<'_>, CaptureError>> {
        while !cursor.ended {
            let offset = cursor.at;
            match self.step(cursor) {
                Some(Ok(Item::Interface(_))) => {}
                Some(Ok(Item::Frame(frame))) if cursor.only.is_some_and(|only| only != frame.interface) => {}
                Some(Ok(Item::Frame(frame))) => match self.interfaces.get(frame.interface as usize) {
                    Some(interface) if interface.link_type != LinkType::ETHERNET => {
                        let fault = Fault { offset: frame.offset, problem: Problem::LinkType(interface.link_type) };
                        return Some(Err(self.end_with(fault, cursor)));
                    }
                    _ => {
                        cursor.frames += 1;
                        return Some(Ok(frame));
                    }
                },
                Some(Err(fault)) => return Some(Err(self.end_with(fault, cursor))),
                None => cursor.ended = true,
            }
            debug_assert!(cursor.ended || cursor.at > offset, "a walk that does not move never ends");
        }
        None
    }

    fn end_with(&self, fault: Fault, cursor: &mut Cursor) -> CaptureError {
        cursor.ended = true;
        let Fault { offset, problem } = fault;
        CaptureError::Record { path: self.path.clone(), offset, problem, frames: cursor.frames }
    }

    /// Walks the file once for what must be known before the first frame.
    fn survey(&mut self) -> Result<(), Fault> {
        let mut cursor = self.cursor(None);
        loop {
            match self.step(&mut cursor) {
                Some(Ok(Item::Interface(interface))) => self.interfaces.push(interface),
                Some(Ok(Item::Frame(_))) => self.frame_count += 1,
                Some(Err(fault)) => return Err(fault),
                None => return Ok(()),
            }
        }
    }

    fn step<'a>(&'a self, cursor: &mut Cursor) -> Option<Result<Item<'a>, Fault>> {
        match (&self.format, self.interfaces.first()) {
            (Format::Pcap(parser), Some(interface)) => pcap::next(&self.bytes, parser, interface, cursor),
            (Format::Pcap(_), None) => None,
            (Format::Pcapng, _) => pcapng::next(&self.bytes, &self.interfaces, cursor),
        }
    }
}

impl fmt::Debug for CaptureFile {
    /// Without the up to 1 GiB of content.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CaptureFile { path, bytes, format: _, interfaces, frame_count } = self;
        f.debug_struct("CaptureFile")
            .field("path", path)
            .field("len", &bytes.len())
            .field("interfaces", interfaces)
            .field("frame_count", frame_count)
            .finish()
    }
}

impl<'a> CapturedFrame<'a> {
    /// A frame of which the file kept `stored`, the last `fcs_len` bytes of which on the wire are FCS.
    ///
    /// Original lengths below the captured length exist (old AIX captures); the bytes are there, so they count.
    pub(super) fn new(
        interface: u32,
        time_ns: u64,
        stored: &'a [u8],
        original_len: u32,
        fcs_len: u8,
        offset: usize,
        notes: FrameNotes<'a>,
    ) -> CapturedFrame<'a> {
        // A stored frame is no longer than FRAME_LEN_MAX: it fits.
        let original_len = original_len.max(stored.len() as u32).saturating_sub(u32::from(fcs_len));
        let bytes = &stored[..stored.len().min(original_len as usize)];
        CapturedFrame { interface, time_ns, bytes, original_len, offset: offset as u64, notes }
    }
}

/// Iterator over the frames of a file; see [`CaptureFile::frames`].
#[derive(Clone, Debug)]
pub struct Frames<'a> {
    file: &'a CaptureFile,
    cursor: Cursor,
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<CapturedFrame<'a>, CaptureError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.file.next_frame(&mut self.cursor)
    }
}

impl std::iter::FusedIterator for Frames<'_> {}

/// Reads at most `limit` bytes; what is longer is refused, if possible before reading it.
fn read_whole(path: &Path, limit: u64) -> Result<Vec<u8>, CaptureError> {
    let failed = |source| CaptureError::Io { path: path.to_path_buf(), source };
    let too_long = |found| {
        let problem = Problem::wrong("length of the file", format!("at most {limit} bytes"), found);
        CaptureError::Refused { path: path.to_path_buf(), offset: limit, problem }
    };
    let file = File::open(path).map_err(failed)?;
    let about = file.metadata().map_err(failed)?;
    if about.is_dir() {
        return Err(failed(io::Error::from(io::ErrorKind::IsADirectory)));
    }
    if about.len() > limit {
        return Err(too_long(about.len().to_string()));
    }
    let mut bytes = Vec::with_capacity(about.len() as usize);
    // Devices and pipes do not tell their length.
    file.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    match bytes.len() as u64 > limit {
        true => Err(too_long("more".to_string())),
        false => Ok(bytes),
    }
}

/// Tells the format by its first bytes, and reads what the file header says.
fn recognize(bytes: &[u8]) -> Result<(Format, Vec<Interface>), Fault> {
    let refuse = |problem| Err(Fault::new(0, problem));
    let compressed = |with, unpack| refuse(Problem::Compressed { with, unpack });
    match bytes {
        [0x0a, 0x0d, 0x0d, 0x0a, ..] => Ok((Format::Pcapng, Vec::new())),
        [0xa1, 0xb2, 0xc3, 0xd4, ..] | [0xd4, 0xc3, 0xb2, 0xa1, ..] | [0xa1, 0xb2, 0x3c, 0x4d, ..] | [0x4d, 0x3c, 0xb2, 0xa1, ..] => {
            let (parser, interface) = pcap::header(bytes)?;
            Ok((Format::Pcap(parser), vec![interface]))
        }
        [0x1f, 0x8b, ..] => compressed("gzip", "gunzip"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => compressed("zstd", "zstd -d"),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => compressed("xz", "unxz"),
        [b'B', b'Z', b'h', ..] => compressed("bzip2", "bunzip2"),
        [0x04, 0x22, 0x4d, 0x18, ..] => compressed("lz4", "lz4 -d"),
        [a, b, c, d, ..] => {
            refuse(Problem::wrong("magic number", "that of a pcap or pcapng file", format!("{a:02x} {b:02x} {c:02x} {d:02x}")))
        }
        short => refuse(Problem::short("capture file", 24, short.len())),
    }
}
