//! Synthetic streams: what a TOML profile, or the flags of `send`, says, and the frames it means.
//!
//! A profile has one speed and one or more streams. Field `f` of a stream's frame `n` is its first value plus `n` modulo its count;
//! sizes come in turn. The frames are made once, as many as it takes until all fields begin anew, and sent over and over by the
//! same schedule as captures. Streams of one port take turns.
//!
//! Sizes count the FCS, as the standards do. `imix` is 7 frames of 64 bytes, 4 of 570 and 1 of 1518, mixed; `genome:…` is the
//! notation of RFC 6985: a 64, b 128, c 256, d 512, e 1024, f 1280, g 1518, h 2112, and z, whose size follows as `z=BYTES`.
//!
//! Limits: [`FRAMES_MAX`] frames until the fields repeat.

use std::net::Ipv4Addr;
use std::path::Path;
use std::str::FromStr;

use serde::Deserialize;
use thiserror::Error;
use wire::MacAddr;

use crate::plan::Sizes;
use crate::replay::Frame;
use crate::replay::ratio::Ratio;
use crate::replay::speed::Speed;

/// Frames of all streams until their fields begin anew, at most.
pub const FRAMES_MAX: usize = 1 << 20;
/// Bytes of these, at most: 1 GiB.
pub const BYTES_MAX: u64 = 1 << 30;
/// EtherType of the chassis message.
const MESSAGE: u16 = 0x88b5;

/// A number as it is written in TOML: `10`, `0.5` or `"0.5"`.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Number {
    Whole(u64),
    Float(f64),
    Text(String),
}

impl Number {
    fn ratio(&self) -> Result<Ratio, String> {
        let text = match self {
            Number::Whole(number) => number.to_string(),
            // The shortest decimal that means this number: what was typed.
            Number::Float(number) => number.to_string(),
            Number::Text(text) => text.clone(),
        };
        text.parse().map_err(|error| format!("{text}: {error}"))
    }
}

/// Frame sizes: a list, or one word.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum SizeList {
    One(usize),
    List(Vec<usize>),
    Word(String),
}

/// A profile as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    percent: Option<Number>,
    pps: Option<Number>,
    burst: Option<u64>,
    mbps: Option<Number>,
    mbps_l1: Option<Number>,
    #[serde(default)]
    stream: Vec<WrittenStream>,
}

/// A stream as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenStream {
    port: Option<usize>,
    sizes: Option<SizeList>,
    dst_mac: Option<String>,
    dst_mac_count: Option<u32>,
    src_mac: Option<String>,
    src_mac_count: Option<u32>,
    vlan: Option<u16>,
    vlan_count: Option<u16>,
    pcp: Option<u8>,
    dst_ip: Option<Ipv4Addr>,
    dst_ip_count: Option<u32>,
    src_ip: Option<Ipv4Addr>,
    src_ip_count: Option<u32>,
    dst_port: Option<u16>,
    dst_port_count: Option<u16>,
    src_port: Option<u16>,
    src_port_count: Option<u16>,
    message_to: Option<String>,
    learning: Option<bool>,
}

/// Consecutive values, in turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Values<T> {
    /// The first.
    pub first: T,
    /// How many; at least 1.
    pub count: u32,
}

impl<T> Values<T> {
    fn offset(&self, n: usize) -> u32 {
        (n % self.count as usize) as u32
    }
}

/// One stream.
#[derive(Clone, Debug)]
pub struct Stream {
    /// The port that sends it, from 0.
    pub port: usize,
    /// Frame sizes.
    pub sizes: Sizes,
    /// Destination addresses.
    pub dst_mac: Values<MacAddr>,
    /// Source addresses.
    pub src_mac: Values<MacAddr>,
    /// VIDs of an 802.1Q tag, and its priority.
    pub vlan: Option<(Values<u16>, u8)>,
    /// IPv4 destinations.
    pub dst_ip: Values<Ipv4Addr>,
    /// IPv4 sources.
    pub src_ip: Values<Ipv4Addr>,
    /// UDP destination ports.
    pub dst_port: Values<u16>,
    /// UDP source ports.
    pub src_port: Values<u16>,
    /// Chassis messages (docs/message-format.md) to this final destination, instead of UDP.
    pub message_to: Option<MacAddr>,
    /// Each source and each VID is announced to the switch first.
    pub learning: bool,
}

/// All streams, and how fast.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Never one of capture times.
    pub speed: Speed,
    /// In order.
    pub streams: Vec<Stream>,
}

/// Why a text is no profile.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}{what}", place(*line))]
pub struct ProfileError {
    /// The line, from 1, if it is about one.
    pub line: Option<usize>,
    /// What is wrong, and what was expected.
    pub what: String,
}

fn place(line: Option<usize>) -> String {
    line.map_or(String::new(), |line| format!("line {line}: "))
}

fn wrong(what: impl Into<String>) -> ProfileError {
    ProfileError { line: None, what: what.into() }
}

impl FromStr for Profile {
    type Err = ProfileError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let written: Written = toml::from_str(text).map_err(|error: toml::de::Error| {
            let line =
                error.span().map(|span| text.as_bytes()[..span.start.min(text.len())].iter().filter(|byte| **byte == b'\n').count() + 1);
            let message = error.message().to_owned();
            let names: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
            let nearest = match names.split_first() {
                Some((typed, known)) if message.starts_with("unknown field") => known
                    .iter()
                    .filter(|name| strsim::damerau_levenshtein(typed, name) <= 3)
                    .min_by_key(|name| strsim::damerau_levenshtein(typed, name)),
                _ => None,
            };
            let nearest = nearest.map_or(String::new(), |name| format!(" (did you mean `{name}`?)"));
            ProfileError { line, what: message.replace('\n', " ") + &nearest }
        })?;
        written.profile()
    }
}

impl Profile {
    /// Reads a profile from a file.
    ///
    /// # Errors
    /// If it cannot be read or is wrong: names the file and the line.
    pub fn load(path: &Path) -> Result<Profile, String> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        text.parse().map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Ports it needs.
    pub fn ports(&self) -> usize {
        self.streams.iter().map(|stream| stream.port + 1).max().unwrap_or(1)
    }

    /// Frames of each stream until all fields begin anew; more than [`FRAMES_MAX`] may be any number above it.
    pub fn period(&self) -> u64 {
        let counts = self.streams.iter().flat_map(Stream::counts);
        counts.fold(1, |all, count| if all > FRAMES_MAX as u64 { all } else { all / gcd(all, count) * count })
    }

    /// The frames until all fields repeat, streams in turn.
    ///
    /// # Errors
    /// If there would be more than [`FRAMES_MAX`], or of more than [`BYTES_MAX`].
    pub fn frames(&self) -> Result<Vec<Frame>, ProfileError> {
        let period = self.period();
        let longest = self.streams.iter().flat_map(|stream| stream.sizes.lens()).max().copied().unwrap_or(0) as u64;
        let count = period.saturating_mul(self.streams.len() as u64);
        if count > FRAMES_MAX as u64 || count * longest > BYTES_MAX {
            return Err(wrong(format!(
                "the fields begin anew only after {period} frames: expected at most {FRAMES_MAX} in all, of at most {BYTES_MAX} bytes: choose \
                 counts that divide one another"
            )));
        }
        let turns = (0..period as usize).flat_map(|n| (0..).zip(&self.streams).map(move |(number, stream)| (n, number, stream)));
        Ok(turns
            .enumerate()
            .map(|(index, (n, interface, stream))| {
                let bytes = stream.frame(n);
                let original_len = bytes.len() as u32;
                Frame { port: stream.port, time: 0, bytes: bytes.into(), original_len, number: index as u64 + 1, file: 0, interface }
            })
            .collect())
    }

    /// Broadcast frames that show each source of the streams that want it, on its port and in its VLANs.
    pub fn learning(&self) -> Vec<(usize, Vec<u8>)> {
        let mut frames = Vec::new();
        for stream in self.streams.iter().filter(|stream| stream.learning) {
            for n in 0..stream.src_mac.count.max(stream.vlan.map_or(1, |(vids, _)| vids.count)) as usize {
                let mut frame = stream.frame(n);
                frame[..6].fill(0xff);
                frame.truncate(crate::replay::FRAME_LEN_MIN);
                frames.push((stream.port, frame));
            }
        }
        frames
    }
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}

impl Written {
    fn profile(&self) -> Result<Profile, ProfileError> {
        let ratio = |number: &Number| number.ratio().map_err(wrong);
        let burst = self.burst.unwrap_or(1);
        let speed = match (&self.percent, &self.pps, &self.mbps, &self.mbps_l1) {
            (None, None, None, None) => Speed::Topspeed,
            (Some(share), None, None, None) => {
                let share = ratio(share)?;
                if share.num > share.den * 100 {
                    return Err(wrong("percent: a line carries no more than 100 %"));
                }
                Speed::Percent(share)
            }
            (None, Some(rate), None, None) => Speed::Pps { rate: ratio(rate)?, burst },
            (None, None, Some(rate), None) => Speed::Mbps(ratio(rate)?),
            (None, None, None, Some(rate)) => Speed::MbpsL1(ratio(rate)?),
            _ => return Err(wrong("expected one speed only: percent, pps, mbps or mbps_l1")),
        };
        if burst == 0 || (burst > 1 && self.pps.is_none()) {
            return Err(wrong("burst: expected at least 1, and together with pps"));
        }
        if self.stream.is_empty() {
            return Err(wrong("expected at least one [[stream]]"));
        }
        let streams =
            (1..).zip(&self.stream).map(|(number, stream)| stream.stream().map_err(|what| wrong(format!("stream {number}: {what}"))));
        Ok(Profile { speed, streams: streams.collect::<Result<_, _>>()? })
    }
}

/// `imix`, `genome:abcz,z=9018`, or sizes with commas.
pub fn sizes(text: &str) -> Result<Sizes, String> {
    let in_turn = |sizes: &[usize]| Sizes::in_turn(sizes).map_err(|size| format!("a frame of {size} bytes: expected 64 to 9220, with FCS"));
    if text == "imix" {
        return Ok(Sizes::imix());
    }
    let Some(genome) = text.strip_prefix("genome:") else {
        let list = text.split(',').map(str::parse).collect::<Result<Vec<usize>, _>>();
        return in_turn(&list.map_err(|_| format!("`{text}`: expected sizes such as 64,1518, or imix, or genome:LETTERS[,z=BYTES]"))?);
    };
    let (letters, own) = genome.split_once(",z=").map_or((genome, None), |(letters, own)| (letters, own.parse::<usize>().ok()));
    let size = |letter: char| {
        let known = [('a', 64), ('b', 128), ('c', 256), ('d', 512), ('e', 1024), ('f', 1280), ('g', 1518), ('h', 2112)];
        let found = known.iter().find(|(name, _)| *name == letter).map(|(_, size)| *size);
        found
            .or(own.filter(|_| letter == 'z'))
            .ok_or_else(|| format!("genome: `{letter}`: expected the letters a to h of RFC 6985, and z with z=BYTES"))
    };
    let list = letters.chars().map(size).collect::<Result<Vec<_>, _>>()?;
    if list.is_empty() { Err("genome: expected at least one letter".to_owned()) } else { in_turn(&list) }
}

impl WrittenStream {
    fn stream(&self) -> Result<Stream, String> {
        let mac = |name: &str, text: &Option<String>, default: [u8; 6]| {
            text.as_ref().map_or(Ok(MacAddr(default)), |text| text.parse().map_err(|error| format!("{name}: {error}")))
        };
        let count = |name: &str, count: Option<u32>, most: u32| match count.unwrap_or(1) {
            count if (1..=most).contains(&count) => Ok(count),
            count => Err(format!("{name}: {count}: expected 1 to {most}")),
        };
        let ports = |name: &str, first: Option<u16>, number: Option<u16>, default: u16| {
            let first = first.unwrap_or(default);
            count(name, number.map(u32::from), 65_536 - u32::from(first)).map(|count| Values { first, count })
        };
        let port = self.port.unwrap_or(0);
        if port >= 128 {
            return Err(format!("port: {port}: expected 0 to 127"));
        }
        let last = port as u8;
        let most = FRAMES_MAX as u32;
        let list = match &self.sizes {
            None => "64".to_owned(),
            Some(SizeList::One(size)) => size.to_string(),
            Some(SizeList::List(list)) => list.iter().map(usize::to_string).collect::<Vec<_>>().join(","),
            Some(SizeList::Word(word)) => word.clone(),
        };
        let pcp = self.pcp.unwrap_or(0);
        if pcp > 7 || self.vlan.is_some_and(|vid| vid > 4094) {
            return Err("vlan: expected a VID from 0 to 4094 and a pcp from 0 to 7".to_owned());
        }
        let vlan = match self.vlan {
            Some(first) => {
                Some((Values { first, count: count("vlan_count", self.vlan_count.map(u32::from), 4095 - u32::from(first))? }, pcp))
            }
            None if self.vlan_count.is_some() || self.pcp.is_some() => {
                return Err("vlan_count and pcp: expected together with vlan".to_owned());
            }
            None => None,
        };
        let stream = Stream {
            port,
            sizes: sizes(&list).map_err(|what| format!("sizes: {what}"))?,
            dst_mac: Values {
                first: mac("dst_mac", &self.dst_mac, [2, 0, 0, 1, 0, last])?,
                count: count("dst_mac_count", self.dst_mac_count, most)?,
            },
            src_mac: Values {
                first: mac("src_mac", &self.src_mac, [2, 0, 0, 0, 0, last])?,
                count: count("src_mac_count", self.src_mac_count, most)?,
            },
            vlan,
            // RFC 2544 appendix C.2.2 reserves 198.18.0.0/15 for this.
            dst_ip: Values {
                first: self.dst_ip.unwrap_or(Ipv4Addr::new(198, 19, last, 1)),
                count: count("dst_ip_count", self.dst_ip_count, most)?,
            },
            src_ip: Values {
                first: self.src_ip.unwrap_or(Ipv4Addr::new(198, 18, last, 1)),
                count: count("src_ip_count", self.src_ip_count, most)?,
            },
            dst_port: ports("dst_port_count", self.dst_port, self.dst_port_count, 7)?,
            src_port: ports("src_port_count", self.src_port, self.src_port_count, 4096)?,
            message_to: self.message_to.as_ref().map(|text| text.parse().map_err(|error| format!("message_to: {error}"))).transpose()?,
            learning: self.learning.unwrap_or(false),
        };
        Ok(stream)
    }
}

impl Stream {
    /// After how many frames each field begins anew.
    fn counts(&self) -> impl Iterator<Item = u64> {
        let vids = self.vlan.map_or(1, |(vids, _)| vids.count);
        let fields =
            [self.dst_mac.count, self.src_mac.count, vids, self.dst_ip.count, self.src_ip.count, self.dst_port.count, self.src_port.count];
        fields.into_iter().map(u64::from).chain([self.sizes.lens().len() as u64])
    }

    /// Frame `n`, without FCS.
    fn frame(&self, n: usize) -> Vec<u8> {
        let len = self.sizes.lens()[n % self.sizes.lens().len()];
        let mac = |values: &Values<MacAddr>| {
            let [a, b, c, d, e, f] = values.first.0;
            let number = u64::from_be_bytes([0, 0, a, b, c, d, e, f]).wrapping_add(u64::from(values.offset(n))).to_be_bytes();
            [number[2], number[3], number[4], number[5], number[6], number[7]]
        };
        let ip = |values: &Values<Ipv4Addr>| Ipv4Addr::from_bits(values.first.to_bits().wrapping_add(values.offset(n)));
        let number = |values: &Values<u16>| values.first.wrapping_add(values.offset(n) as u16);
        let mut frame = Vec::with_capacity(len);
        frame.extend(mac(&self.dst_mac));
        frame.extend(mac(&self.src_mac));
        if let Some((vids, pcp)) = &self.vlan {
            frame.extend(0x8100u16.to_be_bytes());
            frame.extend((u16::from(*pcp) << 13 | number(vids)).to_be_bytes());
        }
        let room = len - frame.len() - 2;
        if let Some(to) = self.message_to {
            frame.extend(MESSAGE.to_be_bytes());
            let body = (room - 24) as u16;
            // Version 1, type 0 (data), kind 1 (MAC), no flags, opaque.
            frame.extend([1, 0, 1, 0, 0, 0]);
            frame.extend(body.to_be_bytes());
            frame.extend(to.0);
            frame.extend([0; 10]);
            frame.resize(len, 0);
            return frame;
        }
        frame.extend(0x0800u16.to_be_bytes());
        frame.extend([0x45, 0]);
        frame.extend((room as u16).to_be_bytes());
        frame.extend([0, 0, 0, 0, 64, 17, 0, 0]);
        frame.extend(ip(&self.src_ip).octets());
        frame.extend(ip(&self.dst_ip).octets());
        frame.extend(number(&self.src_port).to_be_bytes());
        frame.extend(number(&self.dst_port).to_be_bytes());
        frame.extend((room as u16 - 20).to_be_bytes());
        frame.extend([0, 0]);
        frame.resize(len, 0);
        crate::edit::checksum::repair(&mut frame);
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn profile(text: &str) -> Result<Profile, String> {
        text.parse().map_err(|error: ProfileError| error.to_string())
    }

    #[test]
    fn fields_go_in_turn() {
        let text = "pps = 0.5\n[[stream]]\nsizes = [64, 128]\nsrc_mac = \"02:00:00:00:00:fe\"\nsrc_mac_count = 4\nvlan = 10\nvlan_count = 2\npcp = 5\n\
                    [[stream]]\nport = 1\nsizes = \"genome:az,z=9018\"\nmessage_to = \"02:00:00:00:00:09\"\nlearning = true\n";
        let profile = profile(text).unwrap();
        assert_eq!(profile.speed, Speed::Pps { rate: Ratio::new(1, 2), burst: 1 });
        let frames = profile.frames().unwrap();
        assert_eq!((frames.len(), profile.ports()), (8, 2));
        let lens: Vec<_> = frames.iter().map(|frame| (frame.port, frame.bytes.len())).collect();
        assert_eq!(lens[..4], [(0, 60), (1, 60), (0, 124), (1, 9014)]);
        let sources: Vec<_> =
            frames.iter().step_by(2).map(|frame| (frame.bytes[10], frame.bytes[11], frame.bytes[14], frame.bytes[15])).collect();
        assert_eq!(sources, [(0, 0xfe, 0xa0, 10), (0, 0xff, 0xa0, 11), (1, 0, 0xa0, 10), (1, 1, 0xa0, 11)]);
        assert!(frames.iter().step_by(2).all(|frame| wire::checksum::checksum(&frame.bytes[18..38]) == 0));
        let message = wire::message::Header::parse(&frames[3].bytes[14..]).unwrap();
        assert_eq!((message.final_destination, message.body_len), (MacAddr([2, 0, 0, 0, 0, 9]).into(), 8976));
        assert_eq!(profile.learning().len(), 1);
    }

    #[test]
    fn what_is_no_profile() {
        for (text, says) in [
            ("", "expected at least one [[stream]]"),
            ("pps = 1\nprecent = 5\n", "line 2: unknown field `precent`"),
            ("pps = 1\nprecent = 5\n", "(did you mean `percent`?)"),
            ("[[stream]]\nsizes = 63\n", "stream 1: sizes: a frame of 63 bytes"),
            ("[[stream]]\nsizes = \"genome:ax\"\n", "`x`: expected the letters"),
            ("[[stream]]\nvlan = 4094\nvlan_count = 2\n", "vlan_count: 2: expected 1 to 1"),
            ("[[stream]]\nsrc_mac = \"zz\"\n", "src_mac"),
            ("pps = 1\nmbps = 1\n[[stream]]\n", "expected one speed only"),
            ("percent = 101\n[[stream]]\n", "no more than 100 %"),
            ("pps = -1\n[[stream]]\n", "-1: expected a number such as"),
            ("burst = 3\n[[stream]]\n", "together with pps"),
            ("[[stream]\n", "line 1"),
        ] {
            let error = profile(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
        let error = profile("[[stream]]\nsrc_mac_count = 1000003\ndst_mac_count = 1000\n").unwrap().frames().unwrap_err();
        assert!(error.to_string().contains("begin anew only after"), "{error}");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(pps|mbps|percent|burst)? ?=? ?[0-9.\"]{0,5}\n?(\\[\\[stream\\]\\]\n)?((port|sizes|vlan|src_ip_count|dst_port) = [0-9]{1,5}\n){0,3}") {
            if let Ok(profile) = text.parse::<Profile>() {
                let _ = profile.frames();
            }
        }
    }
}
