//! Ports to replay on: what `--port` and `-w` name, and how fast their lines are.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use port::capture::{CaptureWriter, Direction, FrameNotes};
use port::clock::TscClock;
use port::open::OpenOptions;
use port::spec::{PortKind, PortSpec};
use port::{Burst, Device, LinkState, Mempool, Nanos, PoolCache, Port, RxQueue, TxQueue};
use thiserror::Error;

use super::ratio::Ratio;
use crate::link;

/// Rate of a line in bit/s, as typed: `1G`, `2.5G`, `100M`, `1000000`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineRate(pub u64);

impl FromStr for LineRate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("`{text}`: expected a rate in bit/s from 1 to 800G, such as 100M, 2.5G or 10G");
        let (number, unit) = match text.strip_suffix(['k', 'K', 'M', 'G']) {
            None => (text, 1),
            Some(number) if text.ends_with('G') => (number, 1_000_000_000),
            Some(number) if text.ends_with('M') => (number, 1_000_000),
            Some(number) => (number, 1_000),
        };
        let ratio: Ratio = number.parse().map_err(|_| wrong())?;
        let bps = u128::from(ratio.num) * unit / u128::from(ratio.den);
        let whole = (u128::from(ratio.num) * unit).is_multiple_of(u128::from(ratio.den));
        let bps = u64::try_from(bps).ok().filter(|bps| whole && (1..=800_000_000_000).contains(bps)).ok_or_else(wrong)?;
        Ok(LineRate(bps))
    }
}

/// Why a port cannot be had.
#[derive(Debug, Error)]
pub enum PortError {
    /// The spec cannot be read.
    #[error("--port {spec}: {what}")]
    Spec {
        /// As typed.
        spec: String,
        /// What is wrong, and what was expected.
        what: String,
    },
    /// Its file or device cannot be opened.
    #[error("--port {spec}: {source}")]
    Open {
        /// As typed.
        spec: String,
        /// What the system said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The file of `-w` cannot be made.
    #[error("{}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A port that is ready, and what it is called.
#[derive(Debug)]
pub struct Opened {
    /// As typed, or `port0` and so on.
    pub name: String,
    /// The port.
    pub port: Port,
    /// Time on it is only what it is told: it may be run on a virtual clock.
    pub timeless: bool,
    /// Nothing ever comes out of it.
    pub silent: bool,
}

/// Waits until all links are up; `asked` tells whether to give up before.
///
/// # Errors
/// The first port whose link is not up after `patience`.
pub fn wait_for_links(opened: &mut [Opened], patience: Nanos, clock: &TscClock, asked: &dyn Fn() -> bool) -> Result<(), String> {
    let mut devices: Vec<(&str, &mut dyn Device)> =
        opened.iter_mut().map(|opened| (opened.name.as_str(), &mut *opened.port.device as &mut dyn Device)).collect();
    link::wait(&mut devices, patience, clock, asked)
}

/// Opens ports by their specs: those of [`port::spec`], `null:`, which takes everything, and `pcap:out=FILE`, which only writes.
///
/// # Errors
/// The first that cannot be had, or that has a file or interface in common with one before.
pub fn open(specs: &[String], lines: &[LineRate], mempool: &Mempool, force: bool) -> Result<Vec<Opened>, PortError> {
    let mut claimed: HashSet<String> = HashSet::new();
    let opened = specs.iter().zip(lines).map(|(spec, line)| open_one(spec, *line, mempool, force, &mut claimed));
    opened.collect()
}

fn open_one(text: &str, line: LineRate, mempool: &Mempool, force: bool, claimed: &mut HashSet<String>) -> Result<Opened, PortError> {
    let wrong = |what: String| PortError::Spec { spec: text.to_owned(), what };
    let name = text.to_owned();
    if text == "null:" || text == "null" {
        return Ok(Opened { name, port: null(), timeless: true, silent: true });
    }
    let mut claim = |claim: String| match claimed.insert(claim.clone()) {
        true => Ok(()),
        false => Err(wrong(format!("{claim} is taken by a port before: give each port its own"))),
    };
    if let Some(file) = text.strip_prefix("pcap:out=").filter(|file| !file.is_empty() && !file.contains(',')) {
        claim(format!("file {file}"))?;
        return Ok(Opened {
            port: writers(Path::new(file), std::slice::from_ref(&name), &[line])?.remove(0).port,
            name,
            timeless: true,
            silent: true,
        });
    }
    let spec: PortSpec = text.parse().map_err(|error: port::spec::PortSpecError| {
        wrong(format!("{error}; or `null:`, which takes everything, or `pcap:out=FILE`, which only writes"))
    })?;
    spec.claims().into_iter().try_for_each(&mut claim)?;
    let options = OpenOptions {
        name: &name,
        speed_bps: line.0,
        queue: QUEUE_LEN,
        frame_len_max: super::load::FRAME_LEN_MAX,
        mempool,
        force_default_route: force,
    };
    let port = port::open::open(&spec, &options).map_err(|error| PortError::Open { spec: text.to_owned(), source: error.into() })?;
    Ok(Opened { name, port, timeless: spec.kind == PortKind::Pcap, silent: false })
}

/// Frames that wait in a port, where that can be chosen: what is in there is not on time any more.
const QUEUE_LEN: usize = 256;

/// One capture file with an interface for each port: what would be sent, with exact times (`-w`).
///
/// # Errors
/// If it cannot be made.
pub fn writers(path: &Path, names: &[String], lines: &[LineRate]) -> Result<Vec<Opened>, PortError> {
    let failed = |source| PortError::Write { path: path.to_owned(), source };
    let mut writer = CaptureWriter::new(File::create(path).map_err(failed)?).map_err(failed)?;
    for (name, line) in names.iter().zip(lines) {
        writer.add_interface(name, Some(line.0)).map_err(failed)?;
    }
    let shared = Arc::new(Mutex::new(Shared { writer: Some(writer), problem: None, path: path.to_owned() }));
    Ok((0u32..)
        .zip(names)
        .map(|(interface, name)| {
            let tx = WriterTx { shared: Arc::clone(&shared), interface, frame: Vec::new() };
            let device = WriterDevice { shared: Arc::clone(&shared) };
            let port = Port { rx: vec![Box::new(Silent)], tx: vec![Box::new(tx)], device: Box::new(device) };
            Opened { name: name.clone(), port, timeless: true, silent: true }
        })
        .collect())
}

/// A port that takes everything and gives nothing: what is left is the tester's own time.
fn null() -> Port {
    Port { rx: vec![Box::new(Silent)], tx: vec![Box::new(NullTx)], device: Box::new(NullDevice) }
}

struct Silent;

impl RxQueue for Silent {
    fn rx_burst(&mut self, _now: Nanos, _pool: &mut PoolCache, _burst: &mut Burst, _max: usize) -> usize {
        0
    }
}

struct NullTx;

impl TxQueue for NullTx {
    fn tx_burst(&mut self, _now: Nanos, pool: &mut PoolCache, burst: &mut Burst) -> usize {
        let count = burst.len();
        pool.free_all(burst);
        count
    }
}

struct NullDevice;

impl Device for NullDevice {
    fn kind(&self) -> &'static str {
        "null"
    }
    fn describe(&self) -> String {
        "null: takes everything".to_owned()
    }
    fn link(&self) -> LinkState {
        LinkState::Up
    }
}

/// The file behind several ports. The last of them ends it.
struct Shared {
    writer: Option<CaptureWriter<File>>,
    problem: Option<String>,
    path: PathBuf,
}

struct WriterTx {
    shared: Arc<Mutex<Shared>>,
    interface: u32,
    frame: Vec<u8>,
}

impl TxQueue for WriterTx {
    fn tx_burst(&mut self, now: Nanos, pool: &mut PoolCache, burst: &mut Burst) -> usize {
        let count = burst.len();
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        for packet in burst.drain(..) {
            self.frame.clear();
            pool.copy_to(&packet, &mut self.frame);
            pool.free(packet);
            let notes = FrameNotes { direction: Some(Direction::Outbound), ..FrameNotes::default() };
            let len = self.frame.len() as u32;
            let written = shared.writer.as_mut().map(|writer| writer.write_frame(self.interface, now.0, &self.frame, len, &notes));
            if let Some(Err(error)) = written {
                // Once is enough to be told; the frames still count as sent.
                shared.problem = Some(format!("{}: {error}", shared.path.display()));
                shared.writer = None;
            }
        }
        count
    }

    fn flush(&mut self, _now: Nanos, _pool: &mut PoolCache) {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Err(error)) = shared.writer.as_mut().map(CaptureWriter::flush) {
            shared.problem = Some(format!("{}: {error}", shared.path.display()));
            shared.writer = None;
        }
    }
}

struct WriterDevice {
    shared: Arc<Mutex<Shared>>,
}

impl Device for WriterDevice {
    fn kind(&self) -> &'static str {
        "pcap"
    }
    fn describe(&self) -> String {
        format!("writes {}", self.shared.lock().unwrap_or_else(PoisonError::into_inner).path.display())
    }
    fn link(&self) -> LinkState {
        LinkState::Up
    }
    fn errors(&self) -> Vec<String> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).problem.clone().into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_rates() {
        for (text, bps) in [("1G", 1_000_000_000), ("2.5G", 2_500_000_000), ("100M", 100_000_000), ("64k", 64_000), ("1", 1)] {
            assert_eq!(text.parse(), Ok(LineRate(bps)), "{text}");
        }
        for wrong in ["", "0", "G", "-1G", "1T", "801G", "0.5", "1e9"] {
            assert!(wrong.parse::<LineRate>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_no_port() {
        let line = LineRate(1_000_000_000);
        let mempool = Mempool::new(64, port::Hugepages::Never).unwrap();
        let fails = |specs: &[&str]| {
            let specs: Vec<String> = specs.iter().map(|spec| (*spec).to_owned()).collect();
            open(&specs, &vec![line; specs.len()], &mempool, false).unwrap_err().to_string()
        };
        for (spec, says) in [
            ("", "expected a port spec"),
            ("eth0", "unknown kind of port"),
            ("null:x", "unknown kind of port"),
            ("pcap:", "needs to know which"),
            ("pcap:a,b", "`b` is not an option"),
            ("pcap:a,uot=b", "perhaps `out`"),
            ("memory:", "both their ends belong to the program"),
            ("pcap:/nowhere/at/all", "No such file"),
        ] {
            assert!(fails(&[spec]).contains(says), "{spec}: {}", fails(&[spec]));
        }
        assert!(fails(&["pcap:out=/dev/null", "pcap:out=/dev/null"]).contains("file /dev/null is taken"));
        assert_eq!(open(&["null:".to_owned(), "null:".to_owned()], &[line; 2], &mempool, false).unwrap().len(), 2);
    }
}
