//! What is sent: frames of one size at one rate, each with its number, and when each is to leave.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};
use pcap_file::{DataLink, TsResolution};
use port::Nanos;
use traffic_gen::plan::{Station, udp_frame};
use traffic_gen::replay::Frame;
use traffic_gen::replay::ports::LineRate;
use traffic_gen::replay::ratio::Ratio;
use traffic_gen::replay::schedule::{Bounds, Schedule};
use traffic_gen::replay::speed::Speed;

/// Where the payload of a UDP frame begins: a word by which the frame is known, then its number.
const MARK_AT: usize = 42;
const MARK: [u8; 4] = *b"pace";

/// A line and a size of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Rate of the line in bits a second.
    pub line_bps: u64,
    /// Bytes with FCS.
    pub size: usize,
}

impl FromStr for Load {
    type Err = String;

    fn from_str(text: &str) -> Result<Load, String> {
        let wrong = || format!("`{text}`: expected RATE:SIZE, as 1G:64 or 10G:1518, with 64 to 1518 bytes");
        let (rate, size) = text.split_once(':').ok_or_else(wrong)?;
        let line: LineRate = rate.parse()?;
        let size = size.parse().ok().filter(|size| (64..=1518).contains(size)).ok_or_else(wrong)?;
        Ok(Load { line_bps: line.0, size })
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} B", traffic_gen::output::numbers::speed(self.line_bps), self.size)
    }
}

/// Frames and their plan.
#[derive(Debug)]
pub struct Course {
    /// The load.
    pub load: Load,
    /// The frames, their times those of the plan.
    pub frames: Vec<Frame>,
    /// When each leaves, in ns after the start of the run.
    pub plan: Vec<u64>,
    /// Share of the line, in percent.
    pub percent: Ratio,
}

impl Course {
    /// So many frames at this load.
    ///
    /// # Errors
    /// If there is no such schedule.
    pub fn new(load: Load, percent: Ratio, count: u32) -> Result<Course, String> {
        let station = |n| Station { mac: [2, 0, 0, 0, 0, n], ip: [198, 18, 0, n] };
        let template = udp_frame(station(1), station(2), load.size - 4);
        let frame = |number: u32| {
            let mut bytes = template.clone();
            bytes[MARK_AT..MARK_AT + 4].copy_from_slice(&MARK);
            bytes[MARK_AT + 4..MARK_AT + 8].copy_from_slice(&number.to_be_bytes());
            let original_len = bytes.len() as u32;
            Frame { port: 0, time: 0, bytes: Arc::from(bytes), original_len, number: u64::from(number) + 1, file: 0, interface: 0 }
        };
        let mut course = Course { load, frames: (0..count).map(frame).collect(), plan: Vec::new(), percent };
        course.plan = course.schedule()?.map(|(_, departure)| departure.begin.0).collect();
        for (frame, &at) in course.frames.iter_mut().zip(&course.plan) {
            frame.time = at;
        }
        Ok(course)
    }

    /// The schedule, as `traffic-gen replay --percent` makes it.
    ///
    /// # Errors
    /// If there is none.
    pub fn schedule(&self) -> Result<Schedule, String> {
        let speed = Speed::Percent(self.percent);
        Schedule::new(&self.frames, &[self.load.line_bps], speed, &Bounds::default()).map_err(|error| error.to_string())
    }

    /// Time from frame to frame, in ns: mean over the plan.
    pub fn period_ns(&self) -> f64 {
        let span = self.plan.last().copied().unwrap_or_default() - self.plan.first().copied().unwrap_or_default();
        span as f64 / (self.plan.len().max(2) - 1) as f64
    }

    /// Time from the first to the last frame.
    pub fn span(&self) -> Nanos {
        Nanos((self.period_ns() * (self.plan.len().max(1) - 1) as f64) as u64)
    }

    /// The frames with their times as a capture: what tcpreplay reads.
    ///
    /// # Errors
    /// Those of the file.
    pub fn write_capture(&self, path: &Path) -> Result<(), String> {
        let failed = |error: &dyn fmt::Display| format!("{}: {error}", path.display());
        let file = std::fs::File::create(path).map_err(|error| failed(&error))?;
        let header = PcapHeader { ts_resolution: TsResolution::NanoSecond, datalink: DataLink::ETHERNET, ..PcapHeader::default() };
        let mut writer = PcapWriter::with_header(std::io::BufWriter::new(file), header).map_err(|error| failed(&error))?;
        for (frame, &at) in self.frames.iter().zip(&self.plan) {
            let packet = PcapPacket::new(Duration::from_nanos(at), frame.original_len, &frame.bytes);
            writer.write_packet(&packet).map_err(|error| failed(&error))?;
        }
        Ok(())
    }
}

/// The number of a frame of a course.
#[inline]
pub fn number(frame: &[u8]) -> Option<u32> {
    let place = frame.get(MARK_AT..MARK_AT + 8)?;
    (place[..4] == MARK).then(|| u32::from_be_bytes([place[4], place[5], place[6], place[7]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_are_read_or_refused() {
        assert_eq!("10G:64".parse(), Ok(Load { line_bps: 10_000_000_000, size: 64 }));
        for wrong in ["", "10G", "10G:", "10G:63", "10G:1519", "x:64", "0:64", "1G:64:64"] {
            assert!(wrong.parse::<Load>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_plan_is_the_lines_and_the_capture_has_it() {
        let course = Course::new("1G:64".parse().unwrap(), Ratio::new(100, 1), 1000).unwrap();
        assert_eq!(course.plan, (0..1000).map(|n| n * 672).collect::<Vec<u64>>());
        assert_eq!((course.period_ns(), course.span()), (672.0, Nanos(999 * 672)));
        assert_eq!(course.frames.iter().filter_map(|frame| number(&frame.bytes)).collect::<Vec<_>>(), (0..1000).collect::<Vec<_>>());
        assert_eq!(number(&[0; 60]), None);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("course.pcap");
        course.write_capture(&path).unwrap();
        let file = port::capture::CaptureFile::open(&path).unwrap();
        let times: Vec<u64> = file.frames().map(|frame| frame.unwrap().time_ns).collect();
        assert_eq!(times, course.plan);
    }
}
