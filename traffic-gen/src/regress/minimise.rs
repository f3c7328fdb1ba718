//! The smallest input that still fails: delta debugging over the frames of a capture (Zeller and Hildebrandt, 2002).
//!
//! What is expected of a part of the input is the part of what was expected that came from it, by packet id; times and counters are
//! left out, since they depend on all frames. But without the frames that taught the switch its addresses, others are flooded, and that
//! would be a failure as well, though not the one that is looked for. So a part **fails as the whole does** if it shows the same
//! first difference: the same kind, port and bytes, and the same verdict of the switch on the packet. A switch that crashes, crashes.
//!
//! It needs an annotated expectation, as `--bless` and `bladeswitch replay --annotate` write it.

use std::collections::HashMap;
use std::fs::File;
use std::path::PathBuf;

use port::capture::{CaptureFile, CaptureWriter, FrameNotes};
use serde::Serialize;

use super::RegressError;
use super::case::{Case, IN_FILE, MINIMAL_FILE, Run};
use super::compare::{Difference, Level, compare};
use super::program::Program;

/// Captures that are tried at most. What is smallest by then is the result.
pub const TRIALS_MAX: u64 = 2000;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Minimal {
    /// Frames of the whole input.
    pub of_frames: u64,
    /// Numbers of the frames that are left, from 1.
    pub frames: Vec<u64>,
    /// Captures tried.
    pub trials: u64,
    /// There was no need to stop early: no frame can be left out.
    pub complete: bool,
    /// Where they are.
    pub path: PathBuf,
    /// What fails.
    pub failure: String,
}

/// What it is to fail in the same way.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Failure {
    Crash,
    Differs { kind: &'static str, ports: [Option<String>; 2], bytes: [Option<Vec<u8>>; 2], verdict: Option<String> },
}

/// Shrinks the input of a case that fails, and writes what is left beside it; `None` if the case does not fail in its frames.
/// `progress` is told trials done and frames left.
///
/// # Errors
/// The case or the switch is not as it must be, or nobody noted which packet each expected frame came from.
pub fn minimise(
    case: &Case,
    program: &Program,
    level: Level,
    mut progress: impl FnMut(u64, usize),
) -> Result<Option<Minimal>, RegressError> {
    // Times depend on the frames that are left out.
    let level = if level == Level::Exact { Level::Order } else { level };
    let lab = Lab::open(case, program, level)?;
    let all: Vec<usize> = (0..lab.frames).collect();
    let Some(failure) = lab.try_frames(&all, None)? else { return Ok(None) };
    let mut trials = 1;
    let mut fails = |frames: &[usize], left: usize| -> Result<bool, RegressError> {
        trials += 1;
        progress(trials, left);
        Ok(lab.try_frames(frames, Some(&failure.0))?.is_some())
    };
    let mut left = all;
    // What comes after the packet that shows it hardly ever matters: one trial saves many.
    if let Some(packet) = failure.1.filter(|&packet| packet < left.len())
        && fails(&left[..packet], left.len())?
    {
        left.truncate(packet);
    }
    let mut parts = 2;
    let mut complete = true;
    let mut budget = TRIALS_MAX;
    'shrinking: while left.len() > 1 {
        let size = left.len().div_ceil(parts);
        let mut shrunk = false;
        for part in 0..left.len().div_ceil(size) {
            let (from, to) = (part * size, ((part + 1) * size).min(left.len()));
            // First the part alone, then all but the part.
            let candidates = [left[from..to].to_vec(), [&left[..from], &left[to..]].concat()];
            for (alone, candidate) in candidates.into_iter().enumerate() {
                // With two parts, all but the one is the other alone.
                if candidate.is_empty() || candidate.len() == left.len() || (alone == 1 && parts == 2) {
                    continue;
                }
                if budget == 0 {
                    complete = false;
                    break 'shrinking;
                }
                budget -= 1;
                if fails(&candidate, left.len())? {
                    parts = if alone == 0 { 2 } else { (parts - 1).max(2) };
                    left = candidate;
                    shrunk = true;
                    break;
                }
            }
            if shrunk {
                break;
            }
        }
        if !shrunk {
            if size == 1 {
                break;
            }
            parts = (parts * 2).min(left.len());
        }
    }
    let path = case.file(MINIMAL_FILE);
    lab.write(&left, &path)?;
    let failure = match failure.0 {
        Failure::Crash => "the switch fails".to_owned(),
        Failure::Differs { kind, ports, verdict, .. } => {
            let port = ports.into_iter().flatten().next().unwrap_or_default();
            let verdict = verdict.map_or_else(String::new, |verdict| format!(", verdict {verdict}"));
            format!("{kind} at {port}{verdict}")
        }
    };
    let frames = left.iter().map(|&index| index as u64 + 1).collect();
    Ok(Some(Minimal { of_frames: lab.frames as u64, frames, trials, complete, path, failure }))
}

/// The input, what is expected of its parts, and the switch.
struct Lab<'a> {
    case: &'a Case,
    program: &'a Program,
    level: Level,
    input: CaptureFile,
    frames: usize,
    expected: Run,
    scratch: tempfile::TempDir,
}

impl<'a> Lab<'a> {
    fn open(case: &'a Case, program: &'a Program, level: Level) -> Result<Lab<'a>, RegressError> {
        let input = CaptureFile::open(case.file(IN_FILE))?;
        let frames = input.frame_count() as usize;
        let mut expected = case.expected()?;
        expected.counters = None;
        if expected.sent.iter().all(|frame| frame.packet.is_none()) && !expected.sent.is_empty() {
            let what = "the expected frames do not say which packet they came from: expected an annotated capture, as \
                        `traffic-gen check --bless` writes it";
            return Err(RegressError::Wrong { path: case.file(super::case::OUT_FILE), what: what.to_owned() });
        }
        // What control sends depends on all frames.
        expected.sent.retain(|frame| frame.packet.is_some());
        let scratch = tempfile::tempdir().map_err(RegressError::file(std::env::temp_dir()))?;
        Ok(Lab { case, program, level, input, frames, expected, scratch })
    }

    /// Writes some of the frames, in their order.
    fn write(&self, frames: &[usize], path: &std::path::Path) -> Result<(), RegressError> {
        let failed = |source| RegressError::File { path: path.to_owned(), source };
        let mut writer = CaptureWriter::new(File::create(path).map_err(failed)?).map_err(failed)?;
        for interface in self.input.interfaces() {
            writer.add_interface(&interface.name, interface.speed_bps).map_err(failed)?;
        }
        let mut wanted = frames.iter().copied().peekable();
        for (index, frame) in self.input.frames().enumerate() {
            let frame = frame?;
            if wanted.next_if_eq(&index).is_some() {
                writer
                    .write_frame(frame.interface, frame.time_ns, frame.bytes, frame.original_len, &FrameNotes::default())
                    .map_err(failed)?;
            }
        }
        writer.finish().map_err(failed)?;
        Ok(())
    }

    /// How these frames alone fail, and the number of the packet that shows it; `None` if they do not (in the `same` way).
    fn try_frames(&self, frames: &[usize], same: Option<&Failure>) -> Result<Option<(Failure, Option<usize>)>, RegressError> {
        let path = self.scratch.path().join(IN_FILE);
        self.write(frames, &path)?;
        let got = match self.program.replay(self.case, &path, &self.scratch.path().join("out")) {
            Ok(got) => got,
            Err(RegressError::Switch { .. }) => {
                let crash = (Failure::Crash, None);
                return Ok(Some(crash).filter(|(crash, _)| same.is_none_or(|same| same == crash)));
            }
            Err(error) => return Err(error),
        };
        // Packets of the part, by their number in the whole.
        let numbers: HashMap<u64, u64> = frames.iter().enumerate().map(|(part, &whole)| (whole as u64 + 1, part as u64 + 1)).collect();
        let mut expected = Run::default();
        for frame in &self.expected.sent {
            if let Some(packet) = frame.packet.and_then(|packet| numbers.get(&packet)) {
                let mut frame = frame.clone();
                frame.packet = Some(*packet);
                expected.sent.push(frame);
            }
        }
        let mut got = got;
        got.counters = None;
        got.sent.retain(|frame| frame.packet.is_some());
        let differences = compare(&expected, &got, self.level, &self.case.masks).list;
        let failure = |difference: &Difference| {
            let (want, have) = difference.frames();
            let (want, have) = (want.map(|index| &expected.sent[index]), have.map(|index| &got.sent[index]));
            let packet = want.or(have).and_then(|frame| frame.packet);
            let failure = Failure::Differs {
                kind: difference.kind(),
                ports: [want, have].map(|frame| frame.map(|frame| frame.port.clone())),
                bytes: [want, have].map(|frame| frame.map(|frame| frame.bytes.clone())),
                verdict: packet.and_then(|packet| got.packet(packet)).and_then(|frame| frame.verdict.clone()),
            };
            (failure, packet.and_then(|packet| usize::try_from(packet).ok()))
        };
        let mut failures = differences.iter().map(failure);
        Ok(match same {
            None => failures.next(),
            Some(same) => failures.find(|(failure, _)| failure == same),
        })
    }
}
