//! What a capture is: format, interfaces, times, rate, sizes, addresses, VLANs, protocols, and what is odd about it.
//!
//! Limits: [`DISTINCT_MAX`] addresses are told apart; further ones are not counted.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use port::capture::CaptureFile;
use serde::Serialize;

use super::RegressError;
use super::{fields, oddities};
use crate::replay::load;

/// Addresses told apart.
pub const DISTINCT_MAX: usize = 1 << 20;
/// A pause that hardly belongs to one conversation, in nanoseconds: a year of 365 days.
const YEAR_NS: u64 = 365 * 24 * 3600 * 1_000_000_000;
/// No wire carries more, jumbo frames included: what is longer was put together by offloads of the recording host (GSO, GRO).
const WIRE_LEN_MAX: u32 = 9_216;
/// The shortest frame on a wire, without FCS (IEEE 802.3 §3.2.7).
const WIRE_LEN_MIN: u32 = 60;

/// What a capture is.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Info {
    /// The file.
    pub path: PathBuf,
    /// `pcap` or `pcapng`, and how it is compressed.
    pub format: String,
    /// Frames before the end, or before damage.
    pub frames: u64,
    /// Bytes of the frames on the wire, without FCS.
    pub bytes: u64,
    /// Nanoseconds since 1970 of the earliest frame.
    pub first_ns: Option<u64>,
    /// And of the latest.
    pub last_ns: Option<u64>,
    /// Frames a second between them; nothing if no time passes.
    pub frames_per_second: Option<f64>,
    /// Bits a second of the frames themselves.
    pub bits_per_second: Option<f64>,
    /// Shortest and longest frame on the wire.
    pub len_min: Option<u32>,
    /// In bytes, without FCS.
    pub len_max: Option<u32>,
    /// Frames by size.
    pub sizes: BTreeMap<&'static str, u64>,
    /// Its interfaces.
    pub interfaces: Vec<InterfaceInfo>,
    /// Addresses that send.
    pub sources: u64,
    /// Addresses that are sent to.
    pub destinations: u64,
    /// Frames by VLAN of their outermost tag; 0 is a priority tag.
    pub vlans: BTreeMap<u16, u64>,
    /// Frames by innermost known protocol.
    pub protocols: BTreeMap<String, u64>,
    /// What is odd: how often, by what.
    pub oddities: BTreeMap<&'static str, u64>,
    /// Where it ends before its end, and why.
    pub damage: Option<String>,
}

/// An interface of a capture.
#[derive(Clone, Debug, Serialize)]
pub struct InterfaceInfo {
    /// Its name, empty if it has none.
    pub name: String,
    /// What frames begin with, such as `ETHERNET (1)`.
    pub link_type: String,
    /// Unit of times.
    pub resolution: String,
    /// Bytes kept of each frame, 0 for all.
    pub snaplen: u32,
    /// Bits a second, if said.
    pub speed_bps: Option<u64>,
    /// Frames.
    pub frames: u64,
}

/// Looks at a capture, compressed or not.
///
/// # Errors
/// It cannot be read, or is no capture of Ethernet frames from its first byte. Later damage is part of the answer.
pub fn info(path: &Path) -> Result<Info, RegressError> {
    let wrong = |error: load::LoadError| RegressError::Wrong { path: path.to_owned(), what: error.to_string() };
    let file = load::open(path).map_err(|error| match error {
        load::LoadError::Capture(error) => RegressError::Capture(error),
        other => wrong(other),
    })?;
    let mut magic = [0; 4];
    let found = File::open(file.path()).and_then(|mut file| file.read(&mut magic)).map_err(RegressError::file(path))?;
    let mut info = look(&file);
    info.format = format(&magic[..found], &file);
    Ok(info)
}

fn format(magic: &[u8], file: &CaptureFile) -> String {
    let pcapng = "pcapng";
    match magic {
        [0x0a, 0x0d, 0x0d, 0x0a] => pcapng.to_owned(),
        [0xd4, 0xc3, 0xb2, 0xa1] => "pcap, microseconds, little-endian".to_owned(),
        [0xa1, 0xb2, 0xc3, 0xd4] => "pcap, microseconds, big-endian".to_owned(),
        [0x4d, 0x3c, 0xb2, 0xa1] => "pcap, nanoseconds, little-endian".to_owned(),
        [0xa1, 0xb2, 0x3c, 0x4d] => "pcap, nanoseconds, big-endian".to_owned(),
        // Compressed: which of them is within shows in whether interfaces could be named.
        [0x1f, 0x8b, ..] => format!("compressed with gzip, {} interfaces", file.interfaces().len()),
        _ => format!("compressed with zstd, {} interfaces", file.interfaces().len()),
    }
}

fn look(file: &CaptureFile) -> Info {
    let mut info = Info { path: file.path().to_owned(), ..Info::default() };
    info.interfaces = file
        .interfaces()
        .iter()
        .map(|interface| InterfaceInfo {
            name: interface.name.clone(),
            link_type: interface.link_type.to_string(),
            resolution: interface.resolution.to_string(),
            snaplen: interface.snaplen,
            speed_bps: interface.speed_bps,
            frames: 0,
        })
        .collect();
    let (mut sources, mut destinations) = (HashSet::new(), HashSet::new());
    let (mut before, mut bytes_before) = (None, None);
    let mut stations: HashMap<[u8; 6], u32> = HashMap::new();
    for frame in file.frames() {
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => {
                info.damage = Some(error.to_string());
                break;
            }
        };
        let len = frame.original_len;
        info.frames += 1;
        info.bytes += u64::from(len);
        info.len_min = Some(info.len_min.map_or(len, |min| min.min(len)));
        info.len_max = Some(info.len_max.map_or(len, |max| max.max(len)));
        info.first_ns = Some(info.first_ns.map_or(frame.time_ns, |first| first.min(frame.time_ns)));
        info.last_ns = Some(info.last_ns.map_or(frame.time_ns, |last| last.max(frame.time_ns)));
        *info.sizes.entry(size_class(len)).or_default() += 1;
        if let Some(interface) = info.interfaces.get_mut(frame.interface as usize) {
            interface.frames += 1;
        }
        let mut odd = |what: &'static str, is_so: bool| {
            if is_so {
                *info.oddities.entry(what).or_default() += 1;
            }
        };
        let snapped = len as usize > frame.bytes.len();
        odd("cut short when they were captured (snap length)", snapped);
        odd("shorter than 60 bytes: captured before the card padded them, or runts", len < WIRE_LEN_MIN);
        odd("longer than 9,216 bytes: put together by offloads (GSO, GRO), no wire carries them", len > WIRE_LEN_MAX);
        odd("earlier than the frame before", before.is_some_and(|before| frame.time_ns < before));
        odd("at the same time as the frame before", before == Some(frame.time_ns));
        odd("a year or more after the frame before", before.is_some_and(|before| frame.time_ns.saturating_sub(before) >= YEAR_NS));
        odd("at time 0: the capture does not say when", frame.time_ns == 0);
        before = Some(frame.time_ns);
        if let Some((addresses, _)) = frame.bytes.split_first_chunk::<12>() {
            let (dst, src) = addresses.split_at(6);
            if sources.len() < DISTINCT_MAX {
                sources.insert(<[u8; 6]>::try_from(src).unwrap_or_default());
            }
            if destinations.len() < DISTINCT_MAX {
                destinations.insert(<[u8; 6]>::try_from(dst).unwrap_or_default());
            }
            if let [a, b, c, d, e, f] = *src
                && stations.len() < DISTINCT_MAX
            {
                let first = *stations.entry([a, b, c, d, e, f]).or_insert(frame.interface);
                odd("from a station that another interface has seen as well: it moved, or both saw one wire", first != frame.interface);
            }
        }
        odd("with the bytes of the frame before: seen twice, or sent twice", bytes_before == Some(frame.bytes));
        bytes_before = Some(frame.bytes);
        for what in oddities::of_frame(frame.bytes, snapped) {
            odd(what, true);
        }
        let decoded = fields::decode(frame.bytes);
        let bytes = |name: &str| decoded.iter().find(|field| field.name == name).and_then(|field| frame.bytes.get(field.range.clone()));
        if let Some([a, b]) = bytes("vlan.tci") {
            *info.vlans.entry(u16::from_be_bytes([*a, *b]) & 0xfff).or_default() += 1;
        }
        *info.protocols.entry(protocol(&decoded)).or_default() += 1;
    }
    (info.sources, info.destinations) = (sources.len() as u64, destinations.len() as u64);
    if let (Some(first), Some(last)) = (info.first_ns, info.last_ns)
        && last > first
    {
        let seconds = (last - first) as f64 / 1e9;
        // The first frame begins the time that is counted.
        info.frames_per_second = Some(info.frames.saturating_sub(1) as f64 / seconds);
        info.bits_per_second = Some(info.bytes as f64 * 8.0 / seconds);
    }
    info
}

/// The classes of RFC 2819 (RMON), in bytes with FCS.
fn size_class(len: u32) -> &'static str {
    match len.saturating_add(4) {
        ..64 => "under 64",
        64 => "64",
        65..=127 => "65-127",
        128..=255 => "128-255",
        256..=511 => "256-511",
        512..=1023 => "512-1023",
        1024..=1518 => "1024-1518",
        _ => "over 1518",
    }
}

fn protocol(decoded: &[fields::Field]) -> String {
    let has = |name: &str| decoded.iter().any(|field| field.name == name);
    let value = |name: &str| decoded.iter().find(|field| field.name == name).map(|field| field.value.clone());
    let ip = if has("ipv4.src") { "IPv4" } else { "IPv6" };
    let known = [("tcp.src_port", "TCP"), ("udp.src_port", "UDP"), ("icmp.type", "ICMP")];
    if let Some((_, name)) = known.iter().find(|(field, _)| has(field)) {
        return format!("{ip}/{name}");
    }
    if let Some(number) = value("ipv4.protocol").or_else(|| value("ipv6.next_header")) {
        return format!("{ip}, protocol {number}");
    }
    match value("eth.type") {
        Some(kind) if kind.ends_with("(length)") => "802.3 with LLC".to_owned(),
        Some(kind) if kind.ends_with("(ARP)") => "ARP".to_owned(),
        Some(kind) => format!("EtherType {kind}"),
        None => "not even an Ethernet header".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use port::capture::{CaptureWriter, FrameNotes};

    use super::*;

    #[test]
    fn what_is_odd_is_said() {
        let mut writer = CaptureWriter::new(Vec::new()).unwrap();
        writer.add_interface("eth0", Some(1_000_000_000)).unwrap();
        let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x90, 0];
        frame.resize(60, 0);
        let second = 1_000_000_000;
        for (time, len) in [(second, 60), (second, 60), (second / 2, 100), (YEAR_NS * 2, 60)] {
            writer.write_frame(0, time, &frame, len, &FrameNotes::default()).unwrap();
        }
        frame.resize(40_000, 0);
        writer.write_frame(0, YEAR_NS * 2 + second, &frame, 0, &FrameNotes::default()).unwrap();
        let mut bytes = writer.finish().unwrap();
        bytes.truncate(bytes.len() - 1);
        let damaged = look(&CaptureFile::from_bytes("x.pcapng", bytes.clone()).unwrap());
        assert_eq!(damaged.frames, 4);
        assert!(damaged.damage.unwrap().contains("x.pcapng: at byte "));
        bytes.push(0);
        // The length at the end of the last block was cut; its highest byte is 0.
        let info = look(&CaptureFile::from_bytes("x.pcapng", bytes).unwrap());
        assert_eq!((info.frames, info.damage, info.len_max, info.sources), (5, None, Some(40_000), 1));
        let counts: Vec<u64> = info.oddities.values().copied().collect();
        let keys: Vec<&str> = info.oddities.keys().map(|what| &what[..10]).collect();
        assert_eq!(keys, ["a year or ", "at the sam", "cut short ", "earlier th", "longer tha", "with the b"]);
        assert_eq!(counts, [1, 1, 1, 1, 1, 3]);
        assert_eq!(info.protocols, BTreeMap::from([("EtherType 0x9000".to_owned(), 5)]));
    }

    #[test]
    fn real_captures_have_right_checksums() {
        let captures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pcaps");
        for name in ["http", "dns", "vlan", "ping6-nd"] {
            let info = info(&captures.join(name)).unwrap();
            assert!(info.oddities.keys().all(|what| !what.contains("checksum")), "{name}: {:?}", info.oddities);
        }
        let three = info(&captures.join("three-ports")).unwrap();
        assert!(three.interfaces.len() == 3 && three.path.ends_with("three-ports/in.pcapng"), "{three:?}");
    }
}
