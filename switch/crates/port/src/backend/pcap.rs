//! A port made of capture files: plays one, records what is sent into another.
//!
//! The first frame is received at time 0 of the switch's clock, the others as far apart as they were recorded (times that go
//! back count as no time passed). Frames shorter than 60 bytes are padded with zeros, as the sending card would have
//! (IEEE 802.3 §4.2.8): captures taken where frames leave a host do not have the padding yet.
//!
//! A damaged file is played up to the damage; then the port receives nothing more and [`Device::errors`] says why. For a run on the virtual
//! clock from several files see the program's `replay`, which orders all ports' frames by time.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::capture::{CaptureError, CaptureFile, CaptureWriter, Cursor, FrameNotes};
use crate::clock::Nanos;
use crate::device::{Device, LinkState, Port, RxDrops, RxQueue, TxQueue};
use crate::mempool::{FRAME_MAX, PoolCache};
use crate::packet::Burst;

/// The shortest frame a card sends, without FCS.
const FRAME_LEN_MIN: usize = 60;

type Problems = Arc<Mutex<Vec<String>>>;

/// A file being written.
pub type SharedWriter = Arc<Mutex<CaptureWriter<BufWriter<File>>>>;

struct PcapRx {
    file: CaptureFile,
    cursor: Cursor,
    /// Time of the first frame.
    first_ns: Option<u64>,
    /// When the frame that was handed out last was due.
    last: Nanos,
    /// Where the next frame is, and when it is due.
    next: Option<(Cursor, Nanos)>,
    drops: RxDrops,
    problems: Problems,
}

impl PcapRx {
    fn new(file: CaptureFile, problems: Problems) -> PcapRx {
        let cursor = file.cursor(None);
        let mut rx = PcapRx { file, cursor, first_ns: None, last: Nanos::ZERO, next: None, drops: RxDrops::default(), problems };
        rx.look_ahead();
        rx
    }

    fn look_ahead(&mut self) {
        let mut cursor = self.cursor.clone();
        self.next = match self.file.next_frame(&mut cursor) {
            None => None,
            Some(Err(error)) => {
                note(&self.problems, &error);
                None
            }
            Some(Ok(frame)) => {
                let first = *self.first_ns.get_or_insert(frame.time_ns);
                Some((cursor, Nanos(frame.time_ns.saturating_sub(first)).max(self.last)))
            }
        };
    }
}

fn note(problems: &Problems, problem: &dyn std::fmt::Display) {
    problems.lock().unwrap_or_else(PoisonError::into_inner).push(problem.to_string());
}

impl RxQueue for PcapRx {
    fn rx_burst(&mut self, now: Nanos, pool: &mut PoolCache, burst: &mut Burst, max: usize) -> usize {
        let before = burst.len();
        while burst.len() - before < max && !burst.is_full() {
            let Some((next, due)) = self.next.clone().filter(|(_, due)| *due <= now) else { break };
            if let Some(Ok(frame)) = self.file.next_frame(&mut self.cursor) {
                match alloc(pool, frame.bytes) {
                    Some(packet) => burst.push(packet),
                    None => {
                        self.drops.bytes += frame.bytes.len() as u64;
                        *(if frame.bytes.len() > FRAME_MAX { &mut self.drops.oversize } else { &mut self.drops.no_buffer }) += 1;
                    }
                }
            }
            self.cursor = next;
            self.last = due;
            self.look_ahead();
        }
        burst.len() - before
    }

    fn drops(&self) -> RxDrops {
        self.drops
    }

    fn next_event(&self) -> Option<Nanos> {
        self.next.as_ref().map(|(_, due)| *due)
    }
}

/// A packet with a frame of a capture, padded to what a card would have sent; `None` if it is too long or no buffer is free.
pub fn alloc(pool: &mut PoolCache, frame: &[u8]) -> Option<crate::packet::Packet> {
    let mut packet = pool.alloc_copy(frame)?;
    if pool.pad_to(&mut packet, FRAME_LEN_MIN) {
        return Some(packet);
    }
    pool.free(packet);
    None
}

struct PcapTx {
    out: Option<(SharedWriter, u32)>,
    problems: Problems,
}

impl TxQueue for PcapTx {
    fn tx_burst(&mut self, now: Nanos, pool: &mut PoolCache, burst: &mut Burst) -> usize {
        let count = burst.len();
        for packet in burst.drain(..) {
            let mut failed = false;
            if let Some((writer, interface)) = &self.out {
                let mut frame = Vec::with_capacity(packet.len());
                pool.copy_to(&packet, &mut frame);
                let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
                if let Err(error) = writer.write_frame(*interface, now.0, &frame, frame.len() as u32, &FrameNotes::default()) {
                    note(&self.problems, &error);
                    failed = true;
                }
            }
            if failed {
                self.out = None; // Once is enough to be told; the frames still count as sent.
            }
            pool.free(packet);
        }
        count
    }
}

impl Drop for PcapTx {
    fn drop(&mut self) {
        if let Some((writer, _)) = &self.out
            && let Err(error) = writer.lock().unwrap_or_else(PoisonError::into_inner).flush()
        {
            note(&self.problems, &error);
        }
    }
}

struct PcapDevice {
    input: Option<PathBuf>,
    output: Option<PathBuf>,
    problems: Problems,
}

impl Device for PcapDevice {
    fn kind(&self) -> &'static str {
        "pcap"
    }

    fn describe(&self) -> String {
        let show = |path: &Option<PathBuf>| path.as_ref().map_or("nothing".to_owned(), |path| path.display().to_string());
        format!("pcap, plays {}, records {}", show(&self.input), show(&self.output))
    }

    fn link(&self) -> LinkState {
        LinkState::Up
    }

    fn errors(&self) -> Vec<String> {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Why a port of capture files could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum PcapError {
    /// The file to play.
    #[error(transparent)]
    Input(#[from] CaptureError),
    /// The file to record into.
    #[error("{path}: cannot be written: {source}", path = .path.display())]
    Output {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// A port that plays `input` and records into `output` (pcapng, one interface called `name`). Without an output what is sent
/// is only counted.
///
/// # Errors
/// If the input is no capture of Ethernet frames, or the output cannot be made.
pub fn open(input: &Path, output: Option<&Path>, name: &str, speed_bps: u64) -> Result<Port, PcapError> {
    let problems = Problems::default();
    let rx = PcapRx::new(CaptureFile::open(input)?, Arc::clone(&problems));
    let out = output
        .map(|path| {
            let failed = |source| PcapError::Output { path: path.to_owned(), source };
            let file = File::create(path).map_err(failed)?;
            let mut writer = CaptureWriter::new(BufWriter::new(file)).map_err(failed)?;
            let interface = writer.add_interface(name, Some(speed_bps)).map_err(failed)?;
            Ok::<_, PcapError>((Arc::new(Mutex::new(writer)), interface))
        })
        .transpose()?;
    Ok(Port {
        rx: vec![Box::new(rx)],
        tx: vec![Box::new(PcapTx { out, problems: Arc::clone(&problems) })],
        device: Box::new(PcapDevice { input: Some(input.to_owned()), output: output.map(Path::to_owned), problems }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mempool::{Hugepages, Mempool};

    fn record(path: &Path, frames: &[(u64, usize)]) {
        let mut writer = CaptureWriter::new(BufWriter::new(File::create(path).unwrap())).unwrap();
        writer.add_interface("x", None).unwrap();
        for &(time, len) in frames {
            writer.write_frame(0, time, &vec![len as u8; len], len as u32, &FrameNotes::default()).unwrap();
        }
        writer.finish().unwrap();
    }

    #[test]
    fn plays_at_the_recorded_pace_and_records_what_is_sent() {
        let dir = tempfile::tempdir().unwrap();
        let (input, output) = (dir.path().join("in.pcapng"), dir.path().join("out.pcapng"));
        // The third goes back in time, the fourth is too long for any packet.
        record(&input, &[(1000, 42), (3000, 60), (2500, 1514), (4000, 70_000), (5000, 9000)]);
        let mempool = Mempool::new(64, Hugepages::Never).unwrap();
        let mut pool = mempool.cache();
        let mut port = open(&input, Some(&output), "p", 1_000_000_000).unwrap();
        let mut got = Vec::new();
        for now in [0, 1999, 2000, 3000, 10_000] {
            let mut burst = Burst::new();
            port.rx[0].rx_burst(Nanos(now), &mut pool, &mut burst, 64);
            got.push((now, burst.iter().map(crate::Packet::len).collect::<Vec<_>>()));
            port.tx[0].tx_burst(Nanos(now), &mut pool, &mut burst);
        }
        assert_eq!(got, [(0, vec![60]), (1999, vec![]), (2000, vec![60, 1514]), (3000, vec![]), (10_000, vec![9000])]);
        assert_eq!(port.rx[0].drops(), RxDrops { oversize: 1, bytes: 70_000, ..RxDrops::default() });
        drop(port);
        let recorded = CaptureFile::open(&output).unwrap();
        let frames: Vec<(u64, usize)> = recorded.frames().map(|frame| frame.map(|f| (f.time_ns, f.bytes.len())).unwrap()).collect();
        assert_eq!(frames, [(0, 60), (2000, 60), (2000, 1514), (10_000, 9000)]);
        pool.flush();
        assert_eq!(mempool.in_use(), 0);
    }

    #[test]
    fn a_damaged_file_is_played_up_to_the_damage() {
        let dir = tempfile::tempdir().unwrap();
        let input = dir.path().join("cut.pcapng");
        record(&input, &[(0, 60), (1, 60)]);
        let bytes = std::fs::read(&input).unwrap();
        std::fs::write(&input, &bytes[..bytes.len() - 7]).unwrap();
        let mut pool = Mempool::new(8, Hugepages::Never).unwrap().cache();
        let mut port = open(&input, None, "p", 1).unwrap();
        let mut burst = Burst::new();
        assert_eq!(port.rx[0].rx_burst(Nanos::from_secs(1), &mut pool, &mut burst, 64), 1);
        pool.free_all(&mut burst);
        assert_eq!(port.device.errors().len(), 1);
        assert!(port.device.errors()[0].contains("cut.pcapng"), "{:?}", port.device.errors());
        assert!(open(&dir.path().join("none"), None, "p", 1).is_err());
    }
}
