//! Captures as regression tests: a case goes through the switch, and what comes out is compared with what is expected.
//!
//! A **case** is a folder: the switch's configuration, what goes in, what must come out, what must be counted, and what of it does
//! not matter ([`Case`]). The switch is another program ([`Program`]): nothing of it is in this one, so the two cannot share
//! a mistake. What came out is compared ([`compare`]) and each difference is put into words ([`explain`]): which packet, when, at which
//! port, which fields, and why, by the notes that the switch leaves in its annotated captures.
//!
//! Limits: captures of up to [`port::capture::FILE_LEN_MAX`] bytes each; [`compare::DIFFERENCES_MAX`] differences are kept, all are
//! counted; a minimisation tries [`minimise::TRIALS_MAX`] captures.

pub mod case;
pub mod check;
pub mod compare;
pub mod diff;
pub mod explain;
pub mod fields;
pub mod info;
pub mod masks;
pub mod minimise;
pub mod oddities;
pub mod program;
pub mod report;

pub use case::Case;
pub use check::{Checked, check};
pub use compare::Level;
pub use program::Program;

use std::path::PathBuf;

use port::capture::CaptureError;
use thiserror::Error;

/// Why a case could not be checked at all.
#[derive(Debug, Error)]
pub enum RegressError {
    /// A capture.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// A file or folder.
    #[error("{path}: {source}", path = .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The folder is no case.
    #[error("{path}: not a case: {what}", path = .path.display())]
    NoCase {
        /// The folder.
        path: PathBuf,
        /// What is missing, and what to do.
        what: String,
    },
    /// A file of the case says something that cannot be.
    #[error("{path}: {what}", path = .path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what is expected.
        what: String,
    },
    /// The switch cannot be started.
    #[error("the switch cannot be started: {0}")]
    Program(String),
    /// The switch ended with an error.
    #[error("the switch failed ({status}): {said}")]
    Switch {
        /// How it ended.
        status: String,
        /// What it said last.
        said: String,
    },
}

impl RegressError {
    /// With the file it is about.
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> RegressError {
        let path = path.into();
        move |source| RegressError::File { path, source }
    }
}
