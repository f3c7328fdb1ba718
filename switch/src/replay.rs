//! Deterministic replay: captures into the switch, what comes out into a capture, on the virtual clock.
//!
//! The frames of all inputs are brought into one order by their times; each goes in at its time, the switch settles, and the next
//! follows. What leaves goes through links of the configured speed and comes out with its last bit. The same inputs,
//! configuration and seed give the same bytes, on one worker or on several.
//!
//! Frames shorter than 60 bytes are padded, as a card would have. Times are kept: the first frame of all inputs is the switch's
//! time 0, and the output has the input's dates. Times that go back within an input count as no time passed.
//!
//! [`run`] plays files and may compare; [`stream`] plays a pipe into a pipe, endlessly and in bounded memory. Both do the same with
//! each frame (`Player`).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::PathBuf;

use control::config::Config;
use control::show;
use dataplane::Ledger;
use port::capture::{CaptureError, Direction, FrameNotes};
use port::{Nanos, PortId};
use serde::Serialize;
use thiserror::Error;

mod arrivals;
mod compare;
mod output;
mod stage;

use arrivals::{Arrival, Arrivals, Files, Stream};
use compare::Comparison;
pub use output::DROPS;
use output::{Annotator, Found, Output};
pub use stage::{Cause, Departure, Stage};

/// Name of the configuration in the folder of a case.
pub const CONFIG_FILE: &str = "switch.toml";
/// Name of the capture that goes in, in the folder of a case; its interfaces have the names of ports.
pub const IN_FILE: &str = "in.pcapng";
/// Name of the capture that is written.
pub const OUT_FILE: &str = "out.pcapng";
/// Name of the counters that are written.
pub const COUNTERS_FILE: &str = "counters.toml";

/// What to replay.
#[derive(Clone, Debug)]
pub struct Options {
    /// The switch.
    pub config: Config,
    /// Captures and the ports they go into; without a port, each interface's frames go into the port of its name. Several may
    /// go into one port.
    pub inputs: Vec<(Option<PortId>, PathBuf)>,
    /// Where to write what comes out: a capture if it ends in `.pcapng`, else a folder that gets [`OUT_FILE`] and [`COUNTERS_FILE`].
    pub out: Option<PathBuf>,
    /// Say in the capture what becomes of each frame, and show those that are dropped.
    pub annotate: bool,
    /// Folder with such files that they must equal.
    pub expect: Option<PathBuf>,
    /// Goes into the FDB's hash.
    pub seed: u64,
}

/// What came of it.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// Frames that went in.
    pub frames_in: u64,
    /// Frames that came out.
    pub frames_out: u64,
    /// Frames of which the capture had kept only a part.
    pub snapped: u64,
    /// The ledger.
    pub ledger: Ledger,
    /// What each port counted.
    pub counters: Counters,
    /// What was steered to which blade; nothing without functions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub functions: Option<show::Functions>,
    /// Inputs that were damaged: played up to the damage.
    pub damaged: Vec<String>,
    /// What differs from what was expected; empty if nothing does, or nothing was expected.
    pub differences: Vec<String>,
    /// Files written.
    pub written: Vec<PathBuf>,
}

/// What each port counted, by its name: as written to [`COUNTERS_FILE`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Counters {
    /// By the port's name.
    pub port: BTreeMap<String, PortSummary>,
}

/// What one port counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct PortSummary {
    /// Frames received.
    pub rx: u64,
    /// Frames sent.
    pub tx: u64,
    /// Frames dropped, by reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub drops: BTreeMap<String, u64>,
}

/// Why nothing could be replayed.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// An input.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// A file or folder.
    #[error("{path}: {source}", path = .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Frames of an interface that is none of the ports.
    #[error("{path}: frames of interface {number}, called \"{name}\": no port is called that: expected one of {ports}, or a port for the file (PORT=FILE)", path = .path.display())]
    Interface {
        /// The capture.
        path: PathBuf,
        /// The interface's number in it, from 0.
        number: u32,
        /// Its name, empty if it has none.
        name: String,
        /// The ports there are.
        ports: String,
    },
    /// What comes out cannot be written.
    #[error("stdout: {0}")]
    Output(io::Error),
    /// The packet pool.
    #[error("{0}")]
    Pool(io::Error),
    /// Frames are not accounted for: a defect of the switch.
    #[error("the switch has lost count of frames: {0}")]
    Ledger(String),
}

/// Replays files and, if asked, writes and compares.
///
/// # Errors
/// If an input is no capture of Ethernet frames, or a file cannot be read or written. A damaged input is not an error here:
/// what was whole was used, see [`Outcome::damaged`].
pub fn run(options: &Options) -> Result<Outcome, ReplayError> {
    let Options { config, inputs, out, annotate, expect, seed } = options;
    let arrivals = Files::open(config, inputs)?;
    let mut comparison = expect.as_ref().map(|dir| Comparison::open(dir, config)).transpose()?;
    let is_file = out.as_ref().is_some_and(|out| out.extension().is_some_and(|extension| extension == "pcapng"));
    let mut written = Vec::new();
    let capture: Box<dyn Write> = match out {
        None => Box::new(io::sink()),
        Some(out) => {
            let path = if is_file { out.clone() } else { out.join(OUT_FILE) };
            let failed = |source| ReplayError::File { path: path.clone(), source };
            if !is_file {
                fs::create_dir_all(out).map_err(failed)?;
            }
            let file = File::create(&path).map_err(failed)?;
            written.push(path);
            Box::new(file)
        }
    };
    let name_output = |error| match (error, written.first()) {
        (ReplayError::Output(source), Some(path)) => ReplayError::File { path: path.clone(), source },
        (error, _) => error,
    };
    let player = Player::new(config, *seed, *annotate, capture)?;
    let (mut outcome, _) = player
        .play(arrivals, |port, time_ns, bytes| {
            if let Some(comparison) = &mut comparison {
                comparison.sent(port, time_ns, bytes);
            }
        })
        .map_err(name_output)?;
    if let Some(dir) = out.as_ref().filter(|_| !is_file) {
        let path = dir.join(COUNTERS_FILE);
        let text = toml::to_string(&outcome.counters).unwrap_or_default();
        fs::write(&path, text).map_err(|source| ReplayError::File { path: path.clone(), source })?;
        written.push(path);
    }
    if let Some(comparison) = comparison {
        outcome.differences = comparison.end(&outcome.counters)?;
    }
    outcome.written = written;
    Ok(outcome)
}

/// Replays what arrives on a pipe, pcapng with the ports' names as interfaces, and writes what comes out as soon as nothing earlier
/// can come out any more: when the next frame is known, or the input ends.
///
/// # Errors
/// As [`run`].
pub fn stream(config: &Config, seed: u64, annotate: bool, input: impl Read, output: impl Write) -> Result<Outcome, ReplayError> {
    let mut arrivals = Stream::new(config, input);
    let (outcome, output) = Player::new(config, seed, annotate, output)?.play(&mut arrivals, |_, _, _| {})?;
    drop(output);
    match arrivals.wrong {
        Some(error) => Err(error),
        None => Ok(outcome),
    }
}

impl<A: Arrivals> Arrivals for &mut A {
    fn next(&mut self) -> Option<Result<Arrival, CaptureError>> {
        (**self).next()
    }

    fn must_wait(&self) -> bool {
        (**self).must_wait()
    }
}

/// Plays arrivals into a switch, and writes what comes out.
struct Player<W: Write> {
    stage: Stage,
    output: Output<W>,
    annotator: Option<Annotator>,
    frames_in: u64,
    frames_out: u64,
    snapped: u64,
}

impl<W: Write> Player<W> {
    fn new(config: &Config, seed: u64, annotate: bool, out: W) -> Result<Player<W>, ReplayError> {
        let mut stage = Stage::new(config, seed).map_err(ReplayError::Pool)?;
        let output = Output::new(config, annotate, out).map_err(ReplayError::Output)?;
        let annotator = annotate.then(|| Annotator::new(&mut stage));
        Ok(Player { stage, output, annotator, frames_in: 0, frames_out: 0, snapped: 0 })
    }

    /// Each frame that comes out is shown to `each`: port, nanoseconds since 1970, bytes.
    fn play(mut self, mut arrivals: impl Arrivals, mut each: impl FnMut(PortId, u64, &[u8])) -> Result<(Outcome, W), ReplayError> {
        let mut damaged = Vec::new();
        loop {
            if arrivals.must_wait() {
                self.output.flush().map_err(ReplayError::Output)?;
            }
            match arrivals.next() {
                None => break,
                Some(Err(error)) => damaged.push(error.to_string()),
                Some(Ok(arrival)) => self.arrive(arrival, &mut each).map_err(ReplayError::Output)?,
            }
        }
        self.stage.finish();
        self.stage.publish();
        self.collect();
        self.output.write_before(Nanos(u64::MAX), &mut each).map_err(ReplayError::Output)?;
        let ledger = self.stage.switch.check_ledger().map_err(ReplayError::Ledger)?;
        let counters = self.stage.counters();
        let functions = Some(show::functions(&self.stage.switch.control)).filter(|shown| !shown.functions.is_empty());
        let control = self.annotator.is_some().then_some(&self.stage.switch.control);
        let out = self.output.finish(self.stage.now(), control).map_err(ReplayError::Output)?;
        let Player { frames_in, frames_out, snapped, .. } = self;
        let (differences, written) = (Vec::new(), Vec::new());
        Ok((Outcome { frames_in, frames_out, snapped, ledger, counters, functions, damaged, differences, written }, out))
    }

    fn arrive(&mut self, arrival: Arrival, each: &mut impl FnMut(PortId, u64, &[u8])) -> io::Result<()> {
        let Arrival { time_ns, port, bytes, snapped } = arrival;
        if self.frames_in == 0 {
            self.output.first_ns = time_ns;
        }
        self.frames_in += 1;
        self.snapped += u64::from(snapped);
        let now = Nanos(time_ns - self.output.first_ns);
        if now > self.stage.now() {
            self.stage.skip_to(now);
            self.collect();
            self.output.write_before(now, each)?;
        }
        match &mut self.annotator {
            None => self.stage.feed_one(port, bytes, self.frames_in, &mut ()),
            Some(annotator) => {
                let mut found = Found::default();
                self.stage.feed_one(port, bytes.clone(), self.frames_in, &mut found);
                annotator.received(&mut self.stage, (self.frames_in, port, bytes), &found, &mut self.output);
            }
        }
        Ok(())
    }

    /// Takes what has come out.
    fn collect(&mut self) {
        let Player { stage, output, annotator, frames_out, .. } = self;
        if let Some(annotator) = annotator {
            annotator.refused(stage, output);
        }
        let mut sent = Vec::new();
        stage.drain_sent(|departure| sent.push(departure));
        for departure in sent {
            *frames_out += 1;
            let notes = match annotator {
                Some(annotator) => annotator.sent(&stage.switch.control, &departure),
                None => FrameNotes { direction: Some(Direction::Outbound), ..FrameNotes::default() },
            };
            output.sent(departure, notes);
        }
        if let Some(annotator) = annotator {
            annotator.forget(stage.now());
        }
    }
}
