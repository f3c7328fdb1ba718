//! The folder of a case, and the captures in it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use port::capture::{CaptureFile, Direction};
use serde::{Deserialize, Serialize};

use super::RegressError;
use super::masks::Masks;

/// The switch's configuration.
pub const CONFIG_FILE: &str = "switch.toml";
/// What goes in: an interface for each port, called like it.
pub const IN_FILE: &str = "in.pcapng";
/// What must come out.
pub const OUT_FILE: &str = "out.pcapng";
/// What each port must have counted. May be missing: then it does not matter.
pub const COUNTERS_FILE: &str = "counters.toml";
/// What of the frames does not matter. May be missing.
pub const MASKS_FILE: &str = "masks.toml";
/// What differed when the case was checked last.
pub const DIFF_FILE: &str = "diff.pcapng";
/// The smallest input that still fails.
pub const MINIMAL_FILE: &str = "minimal.pcapng";

/// Name of the interface of dropped frames in an annotated capture.
pub const DROPS: &str = "drops";

/// A folder with what goes into a switch and what must come out.
#[derive(Clone, Debug)]
pub struct Case {
    /// The folder.
    pub folder: PathBuf,
    /// What does not matter.
    pub masks: Masks,
}

impl Case {
    /// Looks at a folder.
    ///
    /// # Errors
    /// It has no [`CONFIG_FILE`] or [`IN_FILE`], or its masks are wrong.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Case, RegressError> {
        let folder = folder.into();
        let no_case = |what: String| RegressError::NoCase { path: folder.clone(), what };
        if !folder.is_dir() {
            return Err(no_case("expected a folder with switch.toml, in.pcapng and out.pcapng".to_owned()));
        }
        for (name, what) in [(CONFIG_FILE, "the configuration of the switch"), (IN_FILE, "what goes in, an interface for each port")] {
            if !folder.join(name).is_file() {
                return Err(no_case(format!("there is no {name}: expected {what}")));
            }
        }
        let masks = Masks::load(&folder.join(MASKS_FILE))?;
        Ok(Case { folder, masks })
    }

    /// Name of the case: of its folder.
    pub fn name(&self) -> String {
        let full = self.folder.canonicalize().unwrap_or_else(|_| self.folder.clone());
        full.file_name().map_or_else(|| full.display().to_string(), |name| name.to_string_lossy().into_owned())
    }

    /// A file of the case.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// What is expected to come out.
    ///
    /// # Errors
    /// There is no [`OUT_FILE`], or it cannot be read.
    pub fn expected(&self) -> Result<Run, RegressError> {
        let path = self.file(OUT_FILE);
        if !path.is_file() {
            let what = format!("there is no {OUT_FILE}: `traffic-gen check --bless` makes it");
            return Err(RegressError::NoCase { path: self.folder.clone(), what });
        }
        let counters = Counters::load(&self.file(COUNTERS_FILE))?;
        Run::load(&path, counters)
    }
}

/// A frame in a capture of what a switch did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its number in the capture, from 1, as Wireshark counts.
    pub number: u64,
    /// Nanoseconds since 1970.
    pub time_ns: u64,
    /// Name of the port: that it came in by or went out of.
    pub port: String,
    /// The frame, without FCS.
    pub bytes: Vec<u8>,
    /// The packet it is a copy of: the number of the frame that went in, from 1. Only annotated captures know.
    pub packet: Option<u64>,
    /// What the switch says about it.
    pub comment: Option<String>,
    /// What became of it, such as `drop:hairpin`.
    pub verdict: Option<String>,
}

/// What a switch did with a case.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// What went in. Empty if the capture is not annotated.
    pub received: Vec<Frame>,
    /// What came out.
    pub sent: Vec<Frame>,
    /// What was dropped. Empty if the capture is not annotated.
    pub drops: Vec<Frame>,
    /// What the ports counted, if known.
    pub counters: Option<Counters>,
}

impl Run {
    /// Reads a capture, annotated or not: of one that is not, all frames came out.
    ///
    /// # Errors
    /// It cannot be read, or is damaged anywhere: an expectation that is cut short is none.
    pub fn load(path: &Path, counters: Option<Counters>) -> Result<Run, RegressError> {
        let file = CaptureFile::open(path)?;
        let mut run = Run { counters, ..Run::default() };
        for (index, frame) in file.frames().enumerate() {
            let frame = frame?;
            let name = file.interfaces().get(frame.interface as usize).map_or("", |interface| interface.name.as_str());
            let seen = Frame {
                number: index as u64 + 1,
                time_ns: frame.time_ns,
                port: name.to_owned(),
                bytes: frame.bytes.to_vec(),
                packet: frame.notes.packet_id,
                comment: frame.notes.comment.map(std::borrow::Cow::into_owned),
                verdict: frame.notes.verdict.map(std::borrow::Cow::into_owned),
            };
            match frame.notes.direction {
                Some(Direction::Inbound) => run.received.push(seen),
                _ if name == DROPS => run.drops.push(seen),
                _ => run.sent.push(seen),
            }
        }
        Ok(run)
    }

    /// The frame that went in as packet `number`.
    pub fn packet(&self, number: u64) -> Option<&Frame> {
        let at = self.received.binary_search_by_key(&Some(number), |frame| frame.packet);
        // Annotated captures have them in order; others may not.
        at.ok().map(|at| &self.received[at]).or_else(|| self.received.iter().find(|frame| frame.packet == Some(number)))
    }

    /// When the first frame was seen: what times are counted from.
    pub fn start_ns(&self) -> u64 {
        [&self.received, &self.sent, &self.drops].iter().filter_map(|frames| frames.first()).map(|frame| frame.time_ns).min().unwrap_or(0)
    }
}

/// What each port counted, by its name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// By the port's name.
    #[serde(default)]
    pub port: BTreeMap<String, PortCounters>,
}

/// What one port counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortCounters {
    /// Frames received.
    pub rx: u64,
    /// Frames sent.
    pub tx: u64,
    /// Frames dropped, by reason.
    #[serde(default)]
    pub drops: BTreeMap<String, u64>,
}

impl Counters {
    /// Reads them; `None` if there is no such file.
    ///
    /// # Errors
    /// It cannot be read, or says something else.
    pub fn load(path: &Path) -> Result<Option<Counters>, RegressError> {
        match fs::read_to_string(path) {
            Ok(text) => match toml::from_str(&text) {
                Ok(counters) => Ok(Some(counters)),
                Err(error) => Err(RegressError::Wrong { path: path.to_owned(), what: error.to_string().trim_end().to_owned() }),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(RegressError::File { path: path.to_owned(), source }),
        }
    }

    /// All numbers by name: `rx`, `tx`, `drops hairpin`.
    pub fn numbers(&self, port: &str) -> BTreeMap<String, u64> {
        let Some(counters) = self.port.get(port) else { return BTreeMap::new() };
        let drops = counters.drops.iter().map(|(reason, count)| (format!("drops {reason}"), *count));
        [("rx".to_owned(), counters.rx), ("tx".to_owned(), counters.tx)].into_iter().chain(drops).collect()
    }
}
