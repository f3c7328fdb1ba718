//! Captures into memory: decompressed, merged on one clock, selected and split.
//!
//! Several files are merged by time, equal times in the order of the files; within a file the order is that of the file. A time
//! that goes back counts as no time passed (as in tcpreplay).

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use port::capture::{CaptureError, CaptureFile, FILE_LEN_MAX};
use thiserror::Error;

use super::Frame;
use super::select::Selection;
use super::split::{Origin, Split, Splitter};

/// The longest frame that can be sent, in bytes without FCS.
pub const FRAME_LEN_MAX: usize = 65_535;

/// What goes into the switch of a case, and the capture that it was made of.
const IN_FILES: [&str; 2] = ["in.pcapng", "in.pcap"];

/// Why captures cannot be replayed at all.
#[derive(Debug, Error)]
pub enum LoadError {
    /// A capture cannot be read.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// A compressed one is damaged, or too long.
    #[error("{}: {what}", path.display())]
    Compressed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A folder is none of a case.
    #[error("{}: a folder without {} or {}: expected a capture, or the folder of a case", path.display(), IN_FILES[0], IN_FILES[1])]
    Folder {
        /// The folder.
        path: PathBuf,
    },
    /// A packet has no port.
    #[error("{}: packet {number}: {what}", path.display())]
    Split {
        /// The file.
        path: PathBuf,
        /// The packet, from 1.
        number: u64,
        /// What is wrong.
        what: String,
    },
}

/// What was in captures.
#[derive(Debug, Default)]
pub struct Loaded {
    /// What is to be sent, in order of time.
    pub frames: Vec<Frame>,
    /// Time of the first frame in ns since 1970.
    pub first_time: u64,
    /// Packets read.
    pub read: u64,
    /// Of these, packets that were deselected.
    pub deselected: u64,
    /// Packets that are longer than any frame that can be sent.
    pub oversize: u64,
    /// Packets without a byte.
    pub empty: u64,
    /// Packets of which the capture kept less than there was, among those to be sent.
    pub snapped: u64,
    /// Damage: what came before it is there.
    pub damaged: Vec<String>,
}

/// Reads a capture, decompressing gzip and zstd; of the folder of a case (docs/regression.md), what goes in.
///
/// # Errors
/// If it cannot be read, is damaged as a compressed file, or is no capture.
pub fn open(path: &Path) -> Result<CaptureFile, LoadError> {
    let within;
    let path = match path.is_dir() {
        false => path,
        true => {
            let found = IN_FILES.iter().map(|name| path.join(name)).find(|file| file.is_file());
            within = found.ok_or_else(|| LoadError::Folder { path: path.to_owned() })?;
            &within
        }
    };
    let failed = |source| CaptureError::Io { path: path.to_path_buf(), source };
    let mut magic = [0; 4];
    let mut file = File::open(path).map_err(failed)?;
    let is_file = file.metadata().map_err(failed)?.is_file();
    // What cannot be read twice is not looked into.
    let found = if is_file { file.read(&mut magic).map_err(failed)? } else { 0 };
    let reopened = || File::open(path).map(std::io::BufReader::new).map_err(failed);
    let bytes = match &magic[..found] {
        [0x1f, 0x8b, ..] => unpack(path, "gzip", flate2::bufread::MultiGzDecoder::new(reopened()?))?,
        [0x28, 0xb5, 0x2f, 0xfd] => {
            let decoder = ruzstd::decoding::StreamingDecoder::new(reopened()?)
                .map_err(|error| LoadError::Compressed { path: path.to_owned(), what: format!("zstd: {error}") })?;
            unpack(path, "zstd", decoder)?
        }
        _ => return Ok(CaptureFile::open(path)?),
    };
    Ok(CaptureFile::from_bytes(path, bytes)?)
}

fn unpack(path: &Path, with: &str, mut decoder: impl Read) -> Result<Vec<u8>, LoadError> {
    let wrong = |what: String| LoadError::Compressed { path: path.to_owned(), what };
    let mut bytes = Vec::new();
    let read = decoder.by_ref().take(FILE_LEN_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|error| wrong(format!("{with}: damaged after {} bytes of its content: {error}", bytes.len())))?;
    match bytes.len() as u64 > FILE_LEN_MAX {
        true => Err(wrong(format!("{with}: its content is longer than {FILE_LEN_MAX} bytes: expected at most that many"))),
        false => Ok(bytes),
    }
}

/// Loads captures for so many ports.
///
/// # Errors
/// If one cannot be read at all, or a packet has no port.
pub fn load(paths: &[PathBuf], ports: usize, split: Split, selection: &Selection) -> Result<Loaded, LoadError> {
    let files = paths.iter().map(|path| open(path)).collect::<Result<Vec<_>, _>>()?;
    from_files(&files, ports, split, selection)
}

/// As [`load`], of files that are open already.
///
/// # Errors
/// As [`load`].
pub fn from_files(files: &[CaptureFile], ports: usize, split: Split, selection: &Selection) -> Result<Loaded, LoadError> {
    let mut loaded = Loaded::default();
    let mut packets = Vec::new();
    for (index, file) in files.iter().enumerate() {
        let mut latest = 0;
        for (number, frame) in (1..).zip(file.frames()) {
            match frame {
                Ok(frame) => {
                    latest = frame.time_ns.max(latest);
                    packets.push((latest, index, number, frame));
                }
                Err(error) => loaded.damaged.push(error.to_string()),
            }
        }
    }
    // Stable: equal times stay in the order of the files, and each file in its own.
    packets.sort_by_key(|(time, ..)| *time);
    loaded.first_time = packets.first().map_or(0, |(time, ..)| *time);
    loaded.read = packets.len() as u64;
    let first_interface: Vec<usize> = files
        .iter()
        .scan(0, |count, file| {
            let first = *count;
            *count += file.interfaces().len();
            Some(first)
        })
        .collect();
    let mut splitter = Splitter::new(split, ports);
    for (time, file, number, frame) in packets {
        if !selection.takes(number, frame.bytes) {
            loaded.deselected += 1;
            continue;
        }
        let origin = Origin { file, interface: first_interface[file] + frame.interface as usize, number };
        let wrong = |what| LoadError::Split { path: files[file].path().to_owned(), number, what };
        let Some(port) = splitter.port(origin, frame.bytes).map_err(wrong)? else {
            loaded.deselected += 1;
            continue;
        };
        if frame.bytes.is_empty() {
            loaded.empty += 1;
            continue;
        }
        if frame.bytes.len() > FRAME_LEN_MAX {
            loaded.oversize += 1;
            continue;
        }
        let frame = Frame {
            port,
            time: time - loaded.first_time,
            bytes: frame.bytes.into(),
            original_len: frame.original_len,
            number,
            file,
            interface: frame.interface,
        };
        loaded.snapped += u64::from(frame.is_snapped());
        loaded.frames.push(frame);
    }
    Ok(loaded)
}
