//! One case: through the switch, compared, explained, and, if asked, accepted.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::case::{Case, DIFF_FILE, IN_FILE, OUT_FILE, Run};
use super::compare::{Differences, Level, compare};
use super::explain::{Explanation, explain};
use super::program::Program;
use super::{RegressError, diff};

/// Differences that are explained. The rest is counted.
pub const EXPLAINED_MAX: usize = 100;

/// How a case ended.
#[derive(Clone, Debug, Serialize)]
pub struct Checked {
    /// The case.
    pub case: String,
    /// Its folder.
    pub folder: PathBuf,
    /// What had to be equal.
    pub level: Level,
    /// Frames expected to come out.
    pub expected_frames: u64,
    /// Frames that came out.
    pub got_frames: u64,
    /// How many differences there are, by kind.
    pub differences: Differences,
    /// The first ones in words.
    pub explanations: Vec<Explanation>,
    /// Where the differing frames are.
    pub diff: Option<PathBuf>,
    /// What came out was accepted as what is expected from now on.
    pub blessed: bool,
    /// How long it took.
    #[serde(serialize_with = "seconds")]
    pub duration: Duration,
}

fn seconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

impl Checked {
    /// Is everything as expected?
    pub fn passed(&self) -> bool {
        self.differences.is_empty() || self.blessed
    }
}

/// Checks a case. With `bless`, what comes out becomes what is expected; the differences are told nonetheless.
///
/// # Errors
/// The case, the switch or a file is not as it must be. Differences are no error.
pub fn check(case: &Case, program: &Program, level: Level, bless: bool) -> Result<Checked, RegressError> {
    let start = Instant::now();
    let is_new = bless && !case.file(OUT_FILE).is_file();
    let expected = if is_new { Run::default() } else { case.expected()? };
    let scratch = tempfile::tempdir().map_err(RegressError::file(std::env::temp_dir()))?;
    let got = program.replay(case, &case.file(IN_FILE), scratch.path())?;
    let differences = if is_new { Differences::default() } else { compare(&expected, &got, level, &case.masks) };
    let explanations: Vec<Explanation> =
        differences.list.iter().take(EXPLAINED_MAX).map(|difference| explain(difference, &expected, &got)).collect();
    let path = case.file(DIFF_FILE);
    let has_frames = differences.list.iter().take(EXPLAINED_MAX).any(|difference| difference.frames() != (None, None));
    let diff = if has_frames && !bless {
        diff::write(&path, &differences, &explanations, &expected, &got)?;
        Some(path)
    } else {
        // That of an earlier run would be taken for one of this.
        match fs::remove_file(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => return Err(RegressError::File { path, source }),
            _ => None,
        }
    };
    // The same octets again need not be written; what only notes differ in is, so that they stay true.
    if bless {
        Program::accept(case, scratch.path())?;
    }
    Ok(Checked {
        case: case.name(),
        folder: case.folder.clone(),
        level,
        expected_frames: expected.sent.len() as u64,
        got_frames: got.sent.len() as u64,
        differences,
        explanations,
        diff,
        blessed: bless,
        duration: start.elapsed(),
    })
}
