//! Deterministic replay: captures into the switch, what comes out into a capture, on the virtual clock.
//!
//! The frames of all inputs are brought into one order by their times; each goes in at its time, the switch settles, and the next
//! follows. What leaves goes through links of the configured speed and comes out with its last bit. The same inputs,
//! configuration and seed give the same bytes, on one worker or on several.
//!
//! Frames shorter than 60 bytes are padded, as a card would have. Times are kept: the first frame of all inputs is the switch's
//! time 0, and the output has the input's dates. Times that go back within an input count as no time passed.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use control::config::Config;
use dataplane::{DropReason, Ledger};
use port::backend::pcap;
use port::capture::{CaptureError, CaptureFile, CaptureWriter, Direction, FrameNotes};
use port::mempool::FRAME_MAX;
use port::wrap::link::LinkTx;
use port::{Burst, Device, LinkState, Nanos, PoolCache, Port, PortId, RxDrops, RxQueue, TxQueue};
use serde::Serialize;
use thiserror::Error;

use crate::assembly::{self, Switch};

/// Name of the capture that is written.
pub const OUT_FILE: &str = "out.pcapng";
/// Name of the counters that are written.
pub const COUNTERS_FILE: &str = "counters.toml";

/// What to replay.
#[derive(Clone, Debug)]
pub struct Options {
    /// The switch.
    pub config: Config,
    /// Captures and the ports they go into. Several may go into one port.
    pub inputs: Vec<(PortId, PathBuf)>,
    /// Where to write [`OUT_FILE`] and [`COUNTERS_FILE`].
    pub out: Option<PathBuf>,
    /// Where such files are that they must equal.
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
    /// The packet pool.
    #[error("{0}")]
    Pool(io::Error),
    /// Frames are not accounted for: a defect of the switch.
    #[error("the switch has lost count of frames: {0}")]
    Ledger(String),
}

struct Arrival {
    time: Nanos,
    port: PortId,
    bytes: Vec<u8>,
}

/// Replays and, if asked, writes and compares.
///
/// # Errors
/// If an input is no capture of Ethernet frames, or a file cannot be read or written. A damaged input is not an error here:
/// what was whole was used, see [`Outcome::damaged`].
pub fn run(options: &Options) -> Result<Outcome, ReplayError> {
    let (arrivals, first_ns, snapped, damaged) = read_inputs(&options.inputs)?;
    let frames_in = arrivals.len() as u64;
    let mut stage = Stage::new(&options.config, options.seed).map_err(ReplayError::Pool)?;
    let sent = stage.play(arrivals);
    let ledger = stage.switch.check_ledger().map_err(ReplayError::Ledger)?;
    let counters = stage.counters();
    let capture = write_capture(&options.config, first_ns, &sent).map_err(ReplayError::Pool)?;
    let text = toml::to_string(&counters).unwrap_or_default();

    let mut written = Vec::new();
    if let Some(dir) = &options.out {
        fs::create_dir_all(dir).map_err(|source| ReplayError::File { path: dir.clone(), source })?;
        for (name, content) in [(OUT_FILE, &capture[..]), (COUNTERS_FILE, text.as_bytes())] {
            let path = dir.join(name);
            fs::write(&path, content).map_err(|source| ReplayError::File { path: path.clone(), source })?;
            written.push(path);
        }
    }
    let differences = match &options.expect {
        Some(dir) => compare(dir, &options.config, &capture, &counters)?,
        None => Vec::new(),
    };
    Ok(Outcome { frames_in, frames_out: sent.len() as u64, snapped, ledger, counters, damaged, differences, written })
}

fn read_inputs(inputs: &[(PortId, PathBuf)]) -> Result<(Vec<Arrival>, u64, u64, Vec<String>), ReplayError> {
    let mut damaged = Vec::new();
    let mut snapped = 0;
    let mut all: Vec<(u64, PortId, Vec<u8>)> = Vec::new();
    for (port, path) in inputs {
        let file = CaptureFile::open(path)?;
        let mut last = 0;
        for frame in file.frames() {
            match frame {
                Ok(frame) => {
                    last = frame.time_ns.max(last);
                    snapped += u64::from(frame.original_len as usize > frame.bytes.len());
                    all.push((last, *port, frame.bytes.to_vec()));
                }
                Err(error) => damaged.push(error.to_string()),
            }
        }
    }
    // Stable: frames of one time stay in the order of ports, and within a port in that of its files.
    all.sort_by_key(|(time, port, _)| (*time, *port));
    let first = all.first().map_or(0, |(time, ..)| *time);
    let arrivals = all.into_iter().map(|(time, port, bytes)| Arrival { time: Nanos(time - first), port, bytes }).collect();
    Ok((arrivals, first, snapped, damaged))
}

/// A frame that came out.
#[derive(Debug)]
pub struct Departure {
    /// When its last bit was out.
    pub time: Nanos,
    /// Of which port.
    pub port: PortId,
    /// The frame.
    pub bytes: Vec<u8>,
}

/// A switch on the virtual clock whose ports are fed by hand, and whose links are timed.
///
/// What goes in at one time and port goes in together; everything is then wherever it goes before the clock moves on.
pub struct Stage {
    /// The switch.
    pub switch: Switch,
    feeds: Vec<Arc<Mutex<Feed>>>,
    plugs: Vec<Arc<Mutex<LinkState>>>,
    sent: Arc<Mutex<Vec<Departure>>>,
    now: Nanos,
}

#[derive(Default)]
struct Feed {
    frames: VecDeque<Vec<u8>>,
    drops: RxDrops,
}

struct FeedRx(Arc<Mutex<Feed>>);
struct RecordTx(PortId, Arc<Mutex<Vec<Departure>>>);
struct StageDevice(Arc<Mutex<LinkState>>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl RxQueue for FeedRx {
    fn rx_burst(&mut self, _now: Nanos, pool: &mut PoolCache, burst: &mut Burst, max: usize) -> usize {
        let mut feed = lock(&self.0);
        let mut count = 0;
        while count < max && !burst.is_full() {
            let Some(frame) = feed.frames.pop_front() else { break };
            match pcap::alloc(pool, &frame) {
                Some(packet) => {
                    burst.push(packet);
                    count += 1;
                }
                None => {
                    feed.drops.bytes += frame.len() as u64;
                    if frame.len() > FRAME_MAX { feed.drops.oversize += 1 } else { feed.drops.no_buffer += 1 }
                }
            }
        }
        count
    }

    fn drops(&self) -> RxDrops {
        lock(&self.0).drops
    }
}

impl TxQueue for RecordTx {
    fn tx_burst(&mut self, now: Nanos, pool: &mut PoolCache, burst: &mut Burst) -> usize {
        let mut sent = lock(&self.1);
        let count = burst.len();
        for packet in burst.drain(..) {
            let mut bytes = Vec::with_capacity(packet.len());
            pool.copy_to(&packet, &mut bytes);
            pool.free(packet);
            sent.push(Departure { time: now, port: self.0, bytes });
        }
        count
    }
}

impl Device for StageDevice {
    fn kind(&self) -> &'static str {
        "replay"
    }

    fn describe(&self) -> String {
        "a capture on the virtual clock".to_owned()
    }

    fn link(&self) -> LinkState {
        *lock(&self.0)
    }
}

impl Stage {
    /// A switch of this configuration; the kinds of its ports do not matter.
    ///
    /// # Errors
    /// If there is no memory for the packet pool.
    pub fn new(config: &Config, seed: u64) -> io::Result<Stage> {
        let mempool = assembly::mempool(config)?;
        let sent: Arc<Mutex<Vec<Departure>>> = Arc::default();
        let mut stage_ports = Vec::new();
        let (mut feeds, mut plugs) = (Vec::new(), Vec::new());
        for (index, port) in config.ports.iter().enumerate() {
            let feed: Arc<Mutex<Feed>> = Arc::default();
            let plug = Arc::new(Mutex::new(LinkState::Up));
            let record = RecordTx(PortId(index as u8), Arc::clone(&sent));
            stage_ports.push(Port {
                rx: vec![Box::new(FeedRx(Arc::clone(&feed)))],
                tx: vec![Box::new(LinkTx::new(record, port.speed.bits_per_second(), port.queue, Nanos::ZERO))],
                device: Box::new(StageDevice(Arc::clone(&plug))),
            });
            feeds.push(feed);
            plugs.push(plug);
        }
        let switch = assembly::build(config, stage_ports, &mempool, seed);
        let mut stage = Stage { switch, feeds, plugs, sent, now: Nanos::ZERO };
        stage.switch.settle(Nanos::ZERO);
        Ok(stage)
    }

    /// The time.
    pub fn now(&self) -> Nanos {
        self.now
    }

    /// Frames go in by `port`, now.
    pub fn feed(&mut self, port: PortId, frames: impl IntoIterator<Item = Vec<u8>>) {
        lock(&self.feeds[port.index()]).frames.extend(frames);
        self.switch.settle(self.now);
    }

    /// Pulls the cable of a port, or puts it back.
    pub fn plug(&mut self, port: PortId, state: LinkState) {
        *lock(&self.plugs[port.index()]) = state;
        self.switch.settle(self.now);
    }

    /// Lets time pass until `until`: what is due on the way happens when it is due.
    pub fn advance(&mut self, until: Nanos) {
        while let Some(next) = self.switch.next_event().filter(|&next| next <= until) {
            // An event that is due but finds its queue blocked must not stop the clock.
            self.now = next.max(self.now);
            self.switch.settle(self.now);
            if self.switch.next_event() == Some(next) {
                break;
            }
        }
        self.now = until.max(self.now);
        self.switch.settle(self.now);
    }

    /// Lets time pass until nothing is on its way any more.
    pub fn finish(&mut self) {
        while let Some(next) = self.switch.next_event() {
            self.advance(next);
        }
    }

    /// What has come out since the last call, in the order of time and ports.
    pub fn take_sent(&mut self) -> Vec<Departure> {
        let mut sent = std::mem::take(&mut *lock(&self.sent));
        sent.sort_by_key(|departure| (departure.time, departure.port));
        sent
    }

    fn play(&mut self, arrivals: Vec<Arrival>) -> Vec<Departure> {
        let mut arrivals = arrivals.into_iter().peekable();
        while let Some(first) = arrivals.next() {
            self.advance(first.time);
            let (time, port) = (first.time, first.port);
            let mut frames = vec![first.bytes];
            while let Some(more) = arrivals.next_if(|next| next.time == time && next.port == port) {
                frames.push(more.bytes);
            }
            self.feed(port, frames);
        }
        self.finish();
        self.take_sent()
    }

    /// What each port has counted.
    pub fn counters(&self) -> Counters {
        let control = &self.switch.control;
        let summary = |(index, port): (usize, &control::config::PortConfig)| {
            let counters = control.port_counters(PortId(index as u8));
            let drops = DropReason::ALL.iter().map(|&reason| (reason.name().to_owned(), counters.dropped(reason)));
            let drops = drops.filter(|(_, count)| *count > 0).collect();
            (port.name.clone(), PortSummary { rx: counters.rx, tx: counters.tx, drops })
        };
        Counters { port: control.config().ports.iter().enumerate().map(summary).collect() }
    }
}

fn write_capture(config: &Config, first_ns: u64, sent: &[Departure]) -> io::Result<Vec<u8>> {
    let mut writer = CaptureWriter::new(Vec::new())?;
    for port in &config.ports {
        writer.add_interface(&port.name, Some(port.speed.bits_per_second()))?;
    }
    for Departure { time, port, bytes } in sent {
        let notes = FrameNotes { direction: Some(Direction::Outbound), comment: None };
        writer.write_frame(u32::from(port.0), first_ns + time.0, bytes, bytes.len() as u32, &notes)?;
    }
    writer.finish()
}

/// What differs between what came out and the files in `dir`.
fn compare(dir: &Path, config: &Config, capture: &[u8], counters: &Counters) -> Result<Vec<String>, ReplayError> {
    const SHOWN_MAX: usize = 10;
    let mut differences = Vec::new();
    let expected = CaptureFile::open(dir.join(OUT_FILE))?;
    let got = CaptureFile::from_bytes(OUT_FILE, capture.to_vec())?;
    let name = |interface: u32| config.ports.get(interface as usize).map_or("?", |port| port.name.as_str());
    let (mut expected_frames, mut got_frames) = (expected.frames(), got.frames());
    let mut number = 0u64;
    loop {
        number += 1;
        let (want, have) = (expected_frames.next().transpose()?, got_frames.next().transpose()?);
        let difference = match (want, have) {
            (None, None) => break,
            (Some(want), None) => format!("frame {number} is missing: {} bytes out of {}", want.bytes.len(), name(want.interface)),
            (None, Some(have)) => format!("frame {number} is too many: {} bytes out of {}", have.bytes.len(), name(have.interface)),
            (Some(want), Some(have)) if want.interface != have.interface => {
                format!("frame {number} came out of {} instead of {}", name(have.interface), name(want.interface))
            }
            (Some(want), Some(have)) if want.bytes != have.bytes => {
                let at = want.bytes.iter().zip(have.bytes).position(|(a, b)| a != b).unwrap_or(want.bytes.len().min(have.bytes.len()));
                let show = |frame: &[u8]| wire::display::describe(frame).join(" / ");
                format!(
                    "frame {number} out of {} differs from byte {at} on:\n  expected {}\n  got      {}",
                    name(want.interface),
                    show(want.bytes),
                    show(have.bytes)
                )
            }
            (Some(want), Some(have)) if want.time_ns != have.time_ns => {
                let (from, to) = (want.time_ns as i128, have.time_ns as i128);
                format!(
                    "frame {number} out of {} came {} ns {}",
                    name(want.interface),
                    (to - from).abs(),
                    if to > from { "late" } else { "early" }
                )
            }
            _ => continue,
        };
        differences.push(difference);
        if differences.len() == SHOWN_MAX {
            differences.push("there may be more: comparison stopped here".to_owned());
            break;
        }
    }
    let path = dir.join(COUNTERS_FILE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(differences), // Counters are not expected.
        Err(source) => return Err(ReplayError::File { path, source }),
    };
    let want: Counters = toml::from_str(&text)
        .map_err(|error| ReplayError::File { path, source: io::Error::new(io::ErrorKind::InvalidData, error.to_string()) })?;
    for (port, want) in &want.port {
        let have = counters.port.get(port).cloned().unwrap_or_default();
        if *want != have {
            differences.push(format!("port {port} counts {have:?}, expected {want:?}"));
        }
    }
    Ok(differences)
}
