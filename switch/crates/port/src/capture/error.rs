//! What can be wrong with a capture file, said so that its owner can repair it.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::interface::LinkType;

/// Why a capture file, or the rest of it, cannot be read.
#[derive(Debug, Error)]
pub enum CaptureError {
    /// The system would not give us the file.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is refused as a whole: nothing was read from it.
    #[error("{}: at byte {offset}: {problem}", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// Where the trouble is, in bytes from the start of the file.
        offset: u64,
        /// What it is.
        problem: Problem,
    },
    /// A record or block is wrong; what comes after it cannot be trusted.
    #[error("{}: at byte {offset}: {problem} ({})", path.display(), read_before(*frames))]
    Record {
        /// The file.
        path: PathBuf,
        /// Start of the record or block, in bytes from the start of the file.
        offset: u64,
        /// What is wrong with it.
        problem: Problem,
        /// Frames this reader got before it.
        frames: u64,
    },
}

impl CaptureError {
    /// The file it is about.
    pub fn path(&self) -> &Path {
        match self {
            CaptureError::Io { path, .. } | CaptureError::Refused { path, .. } | CaptureError::Record { path, .. } => path,
        }
    }

    /// Where in the file, in bytes from its start; `None` if the file could not be read at all.
    pub fn offset(&self) -> Option<u64> {
        match self {
            CaptureError::Io { .. } => None,
            CaptureError::Refused { offset, .. } | CaptureError::Record { offset, .. } => Some(*offset),
        }
    }

    /// What is wrong with the content; `None` if the file could not be read at all.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            CaptureError::Io { .. } => None,
            CaptureError::Refused { problem, .. } | CaptureError::Record { problem, .. } => Some(problem),
        }
    }
}

/// What is wrong with the content of a capture file.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Problem {
    /// Something ends before it should.
    #[error("{what} cut short: expected {expected} bytes, found {found}")]
    Short {
        /// The thing that is too short.
        what: &'static str,
        /// Bytes it needs.
        expected: u64,
        /// Bytes there are.
        found: u64,
    },
    /// A field has a value that cannot be.
    #[error("{what}: expected {expected}, found {found}")]
    Wrong {
        /// The field.
        what: &'static str,
        /// What it may be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// A capture inside a compressed file.
    #[error("compressed with {with}: run `{unpack}` first and give the unpacked file")]
    Compressed {
        /// The program that made it.
        with: &'static str,
        /// The command that undoes it.
        unpack: &'static str,
    },
    /// Frames that are not Ethernet frames.
    #[error("link type {0}: only ETHERNET (1) frames can be switched; record on an Ethernet interface (not on `any`)")]
    LinkType(LinkType),
}

impl Problem {
    pub(super) fn wrong(what: &'static str, expected: impl ToString, found: impl ToString) -> Problem {
        Problem::Wrong { what, expected: expected.to_string(), found: found.to_string() }
    }

    pub(super) fn short(what: &'static str, expected: usize, found: usize) -> Problem {
        Problem::Short { what, expected: expected as u64, found: found as u64 }
    }
}

/// A problem and where it is, before it is known which file and how many frames.
#[derive(Debug)]
pub(super) struct Fault {
    pub offset: u64,
    pub problem: Problem,
}

impl Fault {
    pub fn new(offset: usize, problem: Problem) -> Fault {
        Fault { offset: offset as u64, problem }
    }
}

fn read_before(frames: u64) -> String {
    match frames {
        0 => "no frame before it was read".to_string(),
        1 => "the 1 frame before it was read".to_string(),
        n => format!("the {n} frames before it were read"),
    }
}
