//! What a capture says about the interface its frames were recorded on.

use std::fmt;

use pcap_file::DataLink;

/// What the bytes of a frame begin with: a number of the LINKTYPE registry of tcpdump.org.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LinkType(pub u32);

impl LinkType {
    /// Ethernet II and IEEE 802.3 frames, from the destination address on.
    pub const ETHERNET: LinkType = LinkType(1);
}

impl fmt::Display for LinkType {
    /// Name and number, as in `LINUX_SLL (113)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match DataLink::from(self.0) {
            DataLink::Unknown(number) => write!(f, "unknown ({number})"),
            known => write!(f, "{known:?} ({})", self.0),
        }
    }
}

/// The unit of an interface's timestamps (pcapng `if_tsresol`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeResolution {
    /// 10 to the power of minus so many seconds; 6 is microseconds. From 0 to 127.
    Decimal(u8),
    /// 2 to the power of minus so many seconds. From 0 to 127.
    Binary(u8),
}

impl TimeResolution {
    /// Reads the octet of the `if_tsresol` option: the highest bit chooses the base.
    pub(super) fn from_octet(octet: u8) -> TimeResolution {
        match octet & 0x80 {
            0 => TimeResolution::Decimal(octet),
            _ => TimeResolution::Binary(octet & 0x7f),
        }
    }

    /// `ticks` of this unit in whole nanoseconds, rounded down. Cannot overflow: 2^64 * 10^9 is less than 2^94.
    pub(super) fn to_ns(self, ticks: u64) -> u128 {
        const NS_PER_S: u128 = 1_000_000_000;
        let ticks = u128::from(ticks);
        match self {
            TimeResolution::Decimal(power) => match power.checked_sub(9) {
                None => ticks * 10u128.pow(9 - u32::from(power)),
                // A unit so short that even 2^64 of it are less than a nanosecond.
                Some(power) if power > 38 => 0,
                Some(power) => ticks / 10u128.pow(u32::from(power)),
            },
            TimeResolution::Binary(power) => (ticks * NS_PER_S) >> (power & 0x7f),
        }
    }
}

impl fmt::Display for TimeResolution {
    /// As in `10^-9 s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TimeResolution::Decimal(power) => write!(f, "10^-{power} s"),
            TimeResolution::Binary(power) => write!(f, "2^-{power} s"),
        }
    }
}

/// An interface that a capture file describes. A pcap file has exactly one, without a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// `if_name`, empty if the file does not say.
    pub name: String,
    /// What its frames begin with.
    pub link_type: LinkType,
    /// Bytes of each frame that were kept at most; 0: all. Only told, not enforced: files break their own word.
    pub snaplen: u32,
    /// Unit of its timestamps.
    pub resolution: TimeResolution,
    /// Seconds to add to its timestamps (`if_tsoffset`).
    pub time_offset_s: i64,
    /// `if_speed` in bit/s, if the file says.
    pub speed_bps: Option<u64>,
    /// Bytes of frame check sequence at the end of its frames in the file; they are taken off the frames that are read.
    pub fcs_len: u8,
}

impl Interface {
    /// An interface that says nothing but what its frames are. Microseconds are the default of pcapng.
    pub(super) fn new(link_type: LinkType, snaplen: u32) -> Interface {
        Interface {
            name: String::new(),
            link_type,
            snaplen,
            resolution: TimeResolution::Decimal(6),
            time_offset_s: 0,
            speed_bps: None,
            fcs_len: 0,
        }
    }

    /// Nanoseconds since 1970 of a timestamp of this interface; `None` before 1970 and after 2554.
    pub(super) fn time_ns(&self, ticks: u64) -> Option<u64> {
        let since_offset = i128::try_from(self.resolution.to_ns(ticks)).ok()?;
        u64::try_from(since_offset + i128::from(self.time_offset_s) * 1_000_000_000).ok()
    }
}
