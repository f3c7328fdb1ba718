//! Is what comes out what was expected? Frame by frame: bytes, port and time; then the counters.
//!
//! This is the plain comparison that needs nothing but the switch. `traffic-gen check` explains differences.

use std::fs;
use std::io;
use std::path::Path;

use control::config::Config;
use port::PortId;
use port::capture::{CaptureFile, CapturedFrame, Cursor, Direction};

use super::{COUNTERS_FILE, Counters, DROPS, OUT_FILE, ReplayError};

/// Differences told before the comparison stops.
const SHOWN_MAX: usize = 10;

/// A comparison under way.
pub(super) struct Comparison<'a> {
    config: &'a Config,
    file: CaptureFile,
    cursor: Cursor,
    counters: Option<Counters>,
    number: u64,
    differences: Vec<String>,
    stopped: bool,
    error: Option<ReplayError>,
}

impl<'a> Comparison<'a> {
    /// Reads what is expected: [`OUT_FILE`] and, if it is there, [`COUNTERS_FILE`] in `dir`.
    pub fn open(dir: &Path, config: &'a Config) -> Result<Comparison<'a>, ReplayError> {
        let file = CaptureFile::open(dir.join(OUT_FILE))?;
        let path = dir.join(COUNTERS_FILE);
        let counters = match fs::read_to_string(&path) {
            Ok(text) => Some(toml::from_str(&text).map_err(|error| ReplayError::File {
                path,
                source: io::Error::new(io::ErrorKind::InvalidData, error.to_string().trim_end().to_owned()),
            })?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None, // Counters are not expected.
            Err(source) => return Err(ReplayError::File { path, source }),
        };
        let cursor = file.cursor(None);
        Ok(Comparison { config, file, cursor, counters, number: 0, differences: Vec::new(), stopped: false, error: None })
    }

    /// The next frame that came out.
    pub fn sent(&mut self, port: PortId, time_ns: u64, bytes: &[u8]) {
        if self.stopped || self.error.is_some() {
            return;
        }
        self.number += 1;
        let number = self.number;
        let want = match next_expected(&self.file, &mut self.cursor) {
            None => None,
            Some(Ok(want)) => Some(want),
            Some(Err(error)) => {
                self.error = Some(error);
                return;
            }
        };
        let name = self.config.port(port).map_or("?", |port| port.name.as_str());
        let Some(want) = want else {
            return self.differ(format!("frame {number} is too many: {} bytes out of {name}", bytes.len()));
        };
        let want_name = self.file.interfaces()[want.interface as usize].name.as_str();
        let difference = if want_name != name {
            format!("frame {number} came out of {name} instead of {want_name}")
        } else if want.bytes != bytes {
            let at = want.bytes.iter().zip(bytes).position(|(a, b)| a != b).unwrap_or(want.bytes.len().min(bytes.len()));
            let show = |frame: &[u8]| wire::display::describe(frame).join(" / ");
            format!("frame {number} out of {name} differs from byte {at} on:\n  expected {}\n  got      {}", show(want.bytes), show(bytes))
        } else if want.time_ns != time_ns {
            let late = if time_ns > want.time_ns { "late" } else { "early" };
            format!("frame {number} out of {name} came {} ns {late}", time_ns.abs_diff(want.time_ns))
        } else {
            return;
        };
        self.differ(difference);
    }

    fn differ(&mut self, difference: String) {
        self.differences.push(difference);
        if self.differences.len() == SHOWN_MAX {
            self.differences.push("there may be more: comparison stopped here".to_owned());
            self.stopped = true;
        }
    }

    /// What differs, now that nothing more comes.
    pub fn end(mut self, counters: &Counters) -> Result<Vec<String>, ReplayError> {
        while !self.stopped && self.error.is_none() {
            let missing = match next_expected(&self.file, &mut self.cursor) {
                None => break,
                Some(Err(error)) => return Err(error),
                Some(Ok(want)) => {
                    self.number += 1;
                    let name = &self.file.interfaces()[want.interface as usize].name;
                    format!("frame {} is missing: {} bytes out of {name}", self.number, want.bytes.len())
                }
            };
            self.differ(missing);
        }
        if let Some(error) = self.error {
            return Err(error);
        }
        for (port, want) in self.counters.iter().flat_map(|counters| &counters.port) {
            let have = counters.port.get(port).cloned().unwrap_or_default();
            if *want != have {
                self.differences.push(format!("port {port} counts {have:?}, expected {want:?}"));
            }
        }
        Ok(self.differences)
    }
}

/// The next frame that is to come out: not what an annotated capture says went in or was dropped.
fn next_expected<'f>(file: &'f CaptureFile, cursor: &mut Cursor) -> Option<Result<CapturedFrame<'f>, ReplayError>> {
    loop {
        match file.next_frame(cursor)? {
            Err(error) => return Some(Err(error.into())),
            Ok(frame) => {
                let came_in = frame.notes.direction == Some(Direction::Inbound);
                let is_drop = file.interfaces().get(frame.interface as usize).is_some_and(|interface| interface.name == DROPS);
                if !came_in && !is_drop {
                    return Some(Ok(frame));
                }
            }
        }
    }
}
