//! The chassis message: an Ethernet frame that names its final destination.
//!
//! A blade sends it to the switch blade (the *initial destination*, the Ethernet destination) and says inside where it
//! is to go (the *final destination*, a MAC or IP address). The switch blade resolves the final destination, overwrites
//! the initial destination with it and sends the frame on; nothing else in the frame changes. The source is the
//! Ethernet source. Offsets are from the octet after EtherType [`EtherType::MESSAGE`], all numbers big-endian:
//!
//! | octets | field |
//! |---|---|
//! | 0 | version, 1 |
//! | 1 | type ([`MessageType`]) |
//! | 2 | kind of the final destination: 1 MAC, 2 IPv4, 3 IPv6 |
//! | 3 | flags: sent as 0, ignored on receipt |
//! | 4..6 | inner EtherType: what the body is; 0 means opaque |
//! | 6..8 | body length in bytes, which tells the body from the padding of short frames |
//! | 8..24 | final destination, left aligned; the octets it does not use are sent as 0 and ignored on receipt |
//! | 24.. | body |
//!
//! `docs/message-format.md` has the whole of it with examples. [`Header::parse`] runs for every message the switch
//! forwards: one length check, fixed offsets, no allocation. The rest of the module is for control, tools and tests.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::MacAddr;
use crate::ethernet::{self, EtherType, Frame, MAX_FRAME_LEN, Tag};

mod advertise;
mod control;
mod notice;

pub use advertise::{Identity, decode_advertise, decode_advertise_across, encode_advertise, encode_advertise_across};
pub use control::{
    Ack, AckStatus, CODE_LEN, CONTROL_HEAD_LEN, CONTROL_VERSION, Control, ControlMessage, Hello, NAME_LEN_MAX, Name, SEAL_LEN, Seal,
    TEXT_LEN_MAX,
};
pub use notice::{MAX_OFFENDING_LEN, Notice, NoticeReason};

/// The version this code speaks; messages of another one are malformed.
pub const VERSION: u8 = 1;
/// Bytes of the message header; the body follows.
pub const HEADER_LEN: usize = 24;
/// Bytes of the longest body: what an untagged frame of [`MAX_FRAME_LEN`] has room for.
pub const MAX_BODY_LEN: usize = MAX_FRAME_LEN - ethernet::HEADER_LEN - HEADER_LEN;

// The quick look at a header tells control messages by their high bits.
const _: () = assert!(FIRST_CONTROL_TYPE.is_power_of_two());
const _: () = assert!(MAX_BODY_LEN <= u16::MAX as usize && field::FINAL.end == HEADER_LEN);

/// Where the fields are, from the octet after the EtherType.
pub mod field {
    use std::ops::Range;

    /// Version.
    pub const VERSION: usize = 0;
    /// Message type.
    pub const TYPE: usize = 1;
    /// Kind of the final destination.
    pub const KIND: usize = 2;
    /// Flags.
    pub const FLAGS: usize = 3;
    /// Inner EtherType.
    pub const INNER: Range<usize> = 4..6;
    /// Body length.
    pub const BODY_LEN: Range<usize> = 6..8;
    /// Final destination.
    pub const FINAL: Range<usize> = 8..24;
}

/// What a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageType {
    /// Information for the final destination (0).
    Data,
    /// The switch blade tells a source why its message went nowhere (1); the body is a [`Notice`].
    Notice,
    /// Identities of blades (2); the body is read by [`decode_advertise`].
    Advertise,
    /// Asks the switch blade for an Advertise (3); no body.
    IdentityRequest,
    /// A blade announces itself (16); the body is a [`ControlMessage`], as in all that follow.
    Hello,
    /// Enter a mode of operation (17).
    SetMode,
    /// Execute a function (18).
    Execute,
    /// Listen to a timeslot (19).
    Listen,
    /// Work with other parameters (20).
    Provision,
    /// A control message has arrived (21).
    Ack,
    /// A blade asks the switch blade for a rate to another port (22).
    Rate,
    /// A type that this version does not know. Below [`FIRST_CONTROL_TYPE`] it is forwarded as if it were data.
    Unknown(u8),
}

/// From this number on types are control messages, those included that this version does not know.
pub const FIRST_CONTROL_TYPE: u8 = 16;

impl MessageType {
    /// Is it a control message, which not everybody may send?
    #[inline]
    pub fn is_control(self) -> bool {
        u8::from(self) >= FIRST_CONTROL_TYPE
    }
}

impl From<u8> for MessageType {
    #[inline]
    fn from(number: u8) -> MessageType {
        match number {
            0 => MessageType::Data,
            1 => MessageType::Notice,
            2 => MessageType::Advertise,
            3 => MessageType::IdentityRequest,
            16 => MessageType::Hello,
            17 => MessageType::SetMode,
            18 => MessageType::Execute,
            19 => MessageType::Listen,
            20 => MessageType::Provision,
            21 => MessageType::Ack,
            22 => MessageType::Rate,
            unknown => MessageType::Unknown(unknown),
        }
    }
}

impl From<MessageType> for u8 {
    #[inline]
    fn from(message_type: MessageType) -> u8 {
        match message_type {
            MessageType::Data => 0,
            MessageType::Notice => 1,
            MessageType::Advertise => 2,
            MessageType::IdentityRequest => 3,
            MessageType::Hello => 16,
            MessageType::SetMode => 17,
            MessageType::Execute => 18,
            MessageType::Listen => 19,
            MessageType::Provision => 20,
            MessageType::Ack => 21,
            MessageType::Rate => 22,
            MessageType::Unknown(number) => number,
        }
    }
}

impl fmt::Display for MessageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MessageType::Data => f.pad("data"),
            MessageType::Notice => f.pad("notice"),
            MessageType::Advertise => f.pad("advertise"),
            MessageType::IdentityRequest => f.pad("identity request"),
            MessageType::Hello => f.pad("hello"),
            MessageType::SetMode => f.pad("set-mode"),
            MessageType::Execute => f.pad("execute"),
            MessageType::Listen => f.pad("listen"),
            MessageType::Provision => f.pad("provision"),
            MessageType::Ack => f.pad("ack"),
            MessageType::Rate => f.pad("rate"),
            MessageType::Unknown(number) => write!(f, "type {number}"),
        }
    }
}

/// The final destination of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Final {
    /// Found through the FDB.
    Mac(MacAddr),
    /// Found through the neighbor table.
    Ipv4(Ipv4Addr),
    /// Found through the neighbor table.
    Ipv6(Ipv6Addr),
}

impl Final {
    const MAC: u8 = 1;
    const IPV4: u8 = 2;
    const IPV6: u8 = 3;

    /// The MAC that frames to a group of stations carry, if the address is one: a group MAC itself, the broadcast MAC for
    /// 255.255.255.255, or the MAC that belongs to a multicast IP (RFC 1112 §6.4, RFC 2464 §7). No table knows these.
    pub fn group_mac(self) -> Option<MacAddr> {
        match self {
            Final::Mac(mac) => mac.is_group().then_some(mac),
            Final::Ipv4(Ipv4Addr::BROADCAST) => Some(MacAddr::BROADCAST),
            Final::Ipv4(ip) => {
                let [_, b, c, d] = ip.octets();
                ip.is_multicast().then_some(MacAddr([0x01, 0x00, 0x5e, b & 0x7f, c, d]))
            }
            Final::Ipv6(ip) => ip.is_multicast().then(|| crate::nd::multicast_mac(ip)),
        }
    }

    /// The kind as it stands in a message.
    #[inline]
    const fn kind(self) -> u8 {
        match self {
            Final::Mac(_) => Self::MAC,
            Final::Ipv4(_) => Self::IPV4,
            Final::Ipv6(_) => Self::IPV6,
        }
    }

    /// The address as it stands in a message: left aligned, zeros after it.
    fn octets(self) -> [u8; 16] {
        let mut octets = [0; 16];
        match self {
            Final::Mac(mac) => octets[..6].copy_from_slice(&mac.0),
            Final::Ipv4(ip) => octets[..4].copy_from_slice(&ip.octets()),
            Final::Ipv6(ip) => octets = ip.octets(),
        }
        octets
    }

    #[inline]
    fn read(kind: u8, a: &[u8; 16]) -> Result<Final, MessageError> {
        match kind {
            Self::MAC => Ok(Final::Mac(MacAddr([a[0], a[1], a[2], a[3], a[4], a[5]]))),
            Self::IPV4 => Ok(Final::Ipv4(Ipv4Addr::new(a[0], a[1], a[2], a[3]))),
            Self::IPV6 => Ok(Final::Ipv6(Ipv6Addr::from(*a))),
            unknown => Err(MessageError::Kind(unknown)),
        }
    }
}

impl From<MacAddr> for Final {
    fn from(mac: MacAddr) -> Final {
        Final::Mac(mac)
    }
}

impl From<IpAddr> for Final {
    fn from(ip: IpAddr) -> Final {
        match ip {
            IpAddr::V4(ip) => Final::Ipv4(ip),
            IpAddr::V6(ip) => Final::Ipv6(ip),
        }
    }
}

impl fmt::Display for Final {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Final::Mac(mac) => mac.fmt(f),
            Final::Ipv4(ip) => ip.fmt(f),
            Final::Ipv6(ip) => ip.fmt(f),
        }
    }
}

/// Why bytes are no message, or no body of one. A header that cannot be read the switch drops as `message-malformed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageError {
    /// The bytes end within the header, or within a list or field of the body.
    TooShort,
    /// Another version than [`VERSION`].
    Version(u8),
    /// No kind of address.
    Kind(u8),
    /// The body would end beyond the frame.
    BodyLength {
        /// Bytes of body that the header claims.
        claimed: u16,
        /// Bytes after the header.
        available: u16,
    },
    /// In a body: not the type of a control message.
    Type(u8),
    /// In a body: another version of control messages than [`CONTROL_VERSION`].
    ControlVersion(u8),
    /// In a body: a name that is no [`Name`], or a text that is not UTF-8.
    Text,
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MessageError::TooShort => f.write_str("the message ends within a field"),
            MessageError::Version(version) => write!(f, "the message has version {version}, known is {VERSION}"),
            MessageError::Kind(kind) => write!(f, "the message has an address of kind {kind}, known are 1 (MAC), 2 (IPv4) and 3 (IPv6)"),
            MessageError::BodyLength { claimed, available } => {
                write!(f, "the message claims a body of {claimed} bytes, the frame has {available}")
            }
            MessageError::Type(number) => write!(f, "type {number} is none of the control messages that are known, 16 to 21"),
            MessageError::ControlVersion(version) => {
                write!(f, "the control message has version {version}, known is {CONTROL_VERSION}")
            }
            MessageError::Text => write!(f, "a name is not 1 to {NAME_LEN_MAX} visible ASCII characters, or a text is not UTF-8"),
        }
    }
}

impl std::error::Error for MessageError {}

/// What a message header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the message is for.
    pub message_type: MessageType,
    /// Where it is to go.
    pub final_destination: Final,
    /// What the body is; 0 means opaque.
    pub inner: EtherType,
    /// Bytes of body.
    pub body_len: u16,
}

impl Header {
    /// Reads the bytes after the EtherType, body and padding included.
    ///
    /// Checked in the order of [`MessageError`]; afterwards the body is known to be in `bytes`.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<Header, MessageError> {
        Header::parse_prefix(bytes, bytes.len())
    }

    /// As [`parse`](Self::parse) where only the first part of the `len` bytes after the EtherType is at hand (the first
    /// buffer of a jumbo frame): the body is known to be within the frame, not within `bytes`.
    #[inline]
    pub fn parse_prefix(bytes: &[u8], len: usize) -> Result<Header, MessageError> {
        let Some(header) = bytes.first_chunk::<HEADER_LEN>() else { return Err(MessageError::TooShort) };
        let available = len.saturating_sub(HEADER_LEN);
        let [version, message_type, kind, _flags, i0, i1, l0, l1, address @ ..] = header;
        if *version != VERSION {
            return Err(MessageError::Version(*version));
        }
        let final_destination = Final::read(*kind, address)?;
        let body_len = u16::from_be_bytes([*l0, *l1]);
        if usize::from(body_len) > available {
            return Err(MessageError::BodyLength { claimed: body_len, available: available.min(usize::from(u16::MAX)) as u16 });
        }
        Ok(Header {
            message_type: MessageType::from(*message_type),
            final_destination,
            inner: EtherType(u16::from_be_bytes([*i0, *i1])),
            body_len,
        })
    }

    /// The final destination, in [raw](MacAddr::raw) form, of a sound message to a MAC that is no control message; `None` for all
    /// others, which [`parse_prefix`](Self::parse_prefix) tells apart. For the hot path: most messages are like that.
    #[inline(always)]
    pub fn final_mac(bytes: &[u8], len: usize) -> Option<u64> {
        let header = bytes.first_chunk::<HEADER_LEN>()?;
        let [version, message_type, kind, flags, _, _, high, low, rest @ ..] = header;
        let body_len = usize::from(u16::from_be_bytes([*high, *low]));
        // Version, type and kind in one comparison: the type is below the first of the control messages, the flags are ignored.
        let start = u32::from_le_bytes([*version, *message_type, *kind, *flags]);
        let mask = u32::from_le_bytes([0xff, !(FIRST_CONTROL_TYPE - 1), 0xff, 0]);
        let sound = (start & mask == u32::from_le_bytes([VERSION, 0, Final::MAC, 0])) & (HEADER_LEN + body_len <= len);
        let [m0, m1, m2, m3, m4, m5, m6, m7, ..] = *rest;
        sound.then_some(u64::from_le_bytes([m0, m1, m2, m3, m4, m5, m6, m7]) & 0xffff_ffff_ffff)
    }

    /// The header as bytes.
    pub fn emit(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[field::VERSION] = VERSION;
        bytes[field::TYPE] = self.message_type.into();
        bytes[field::KIND] = self.final_destination.kind();
        bytes[field::INNER].copy_from_slice(&self.inner.0.to_be_bytes());
        bytes[field::BODY_LEN].copy_from_slice(&self.body_len.to_be_bytes());
        bytes[field::FINAL].copy_from_slice(&self.final_destination.octets());
        bytes
    }

    /// The body without the padding of the frame. `bytes` are those the header was read from; of shorter ones, nothing.
    #[inline]
    pub fn body<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        bytes.get(HEADER_LEN..HEADER_LEN + usize::from(self.body_len)).unwrap_or_default()
    }
}

/// A message with all that FIG. 5 of the patent application names, for code that is not per packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Who gets the frame now: the switch blade before it is switched, the final destination afterwards.
    pub initial_destination: MacAddr,
    /// Who sent it.
    pub source: MacAddr,
    /// What it is for.
    pub message_type: MessageType,
    /// Where it is to go.
    pub final_destination: Final,
    /// What the body is; 0 means opaque.
    pub inner: EtherType,
    /// What it carries.
    pub body: &'a [u8],
}

/// The message does not fit into a frame of [`MAX_FRAME_LEN`] bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyTooLong {
    /// Bytes of the body.
    pub len: usize,
    /// Bytes there would have been room for.
    pub len_max: usize,
}

impl fmt::Display for BodyTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a body of {} bytes does not fit into a message frame: at most {}", self.len, self.len_max)
    }
}

impl std::error::Error for BodyTooLong {}

impl<'a> Message<'a> {
    /// Reads the payload of `frame`, whose EtherType is [`EtherType::MESSAGE`]: the caller has looked.
    pub fn parse(frame: &Frame<'a>) -> Result<Message<'a>, MessageError> {
        let header = Header::parse(frame.payload())?;
        Ok(Message {
            initial_destination: frame.dst(),
            source: frame.src(),
            message_type: header.message_type,
            final_destination: header.final_destination,
            inner: header.inner,
            body: header.body(frame.payload()),
        })
    }

    /// The frame, padded to the minimum, with `tags` outermost first.
    pub fn emit(&self, tags: &[Tag]) -> Result<Vec<u8>, BodyTooLong> {
        let len_max = MAX_BODY_LEN.saturating_sub(tags.len() * crate::vlan::TAG_LEN);
        let too_long = BodyTooLong { len: self.body.len(), len_max };
        let body_len = u16::try_from(self.body.len()).map_err(|_| too_long)?;
        if self.body.len() > len_max {
            return Err(too_long);
        }
        let header = Header { message_type: self.message_type, final_destination: self.final_destination, inner: self.inner, body_len };
        let payload = [&header.emit()[..], self.body].concat();
        Ok(ethernet::emit(self.initial_destination, self.source, tags, EtherType::MESSAGE, &payload))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vlan::Tci;
    use proptest::prelude::*;

    const BLADE_1: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const BLADE_2: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
    const SWITCH: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xfe]);

    fn data(initial: MacAddr, source: MacAddr, final_destination: MacAddr, body: &[u8]) -> Vec<u8> {
        let message = Message {
            initial_destination: initial,
            source,
            message_type: MessageType::Data,
            final_destination: final_destination.into(),
            inner: EtherType(0),
            body,
        };
        message.emit(&[]).unwrap()
    }

    /// The document's example of FIG. 6a, octet by octet.
    #[rustfmt::skip]
    const FIG_6A: [u8; 60] = [
        0x02, 0x00, 0x00, 0x00, 0x00, 0xfe, 0x02, 0x00, 0x00, 0x00, 0x00, 0x01, 0x88, 0xb5,
        0x01, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x05, 0x02, 0x00, 0x00, 0x00, 0x00, 0x02,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, b'h', b'e', b'l', b'l', b'o',
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];

    #[test]
    fn fig_6a_is_read_and_written() {
        let frame = Frame::new_checked(&FIG_6A).unwrap();
        assert_eq!(frame.ethertype(), EtherType::MESSAGE);
        let message = Message::parse(&frame).unwrap();
        assert_eq!((message.initial_destination, message.source), (SWITCH, BLADE_1));
        assert_eq!((message.message_type, message.final_destination), (MessageType::Data, Final::Mac(BLADE_2)));
        assert_eq!((message.inner, message.body), (EtherType(0), &b"hello"[..]));
        assert_eq!(data(SWITCH, BLADE_1, BLADE_2, b"hello"), FIG_6A);
    }

    /// `docs/message-format.md` shows the four frames of FIG. 6 and 7 as hex: they must be what this code emits.
    #[test]
    fn the_documented_frames_are_the_emitted_ones() {
        let document = include_str!("../../../../docs/message-format.md");
        let blocks = document.split("```hex\n").skip(1).map(|rest| rest.split("```").next().unwrap());
        let documented: Vec<Vec<u8>> =
            blocks.map(|block| block.split_whitespace().map(|octet| u8::from_str_radix(octet, 16).unwrap()).collect()).collect();
        let figures = [
            data(SWITCH, BLADE_1, BLADE_2, b"hello"),
            data(BLADE_2, BLADE_1, BLADE_2, b"hello"),
            data(SWITCH, BLADE_2, BLADE_1, b"hello, 1"),
            data(BLADE_1, BLADE_2, BLADE_1, b"hello, 1"),
        ];
        assert_eq!(documented, figures);
    }

    #[test]
    fn every_kind_of_final_destination() {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&[1, 0, 2, 0xff, 0x08, 0x00, 0, 0]); // Flags are ignored,
        bytes[8..].copy_from_slice(&[10, 1, 2, 3, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9]); // unused octets too.
        let header = Header::parse(&bytes).unwrap();
        assert_eq!((header.final_destination, header.inner), (Final::Ipv4(Ipv4Addr::new(10, 1, 2, 3)), EtherType::IPV4));
        assert_eq!(header.emit()[3], 0);
        assert_eq!(header.emit()[8..], [10, 1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);

        bytes[2] = 3;
        let ip = "a01:203:909:909:909:909:909:909".parse().unwrap();
        assert_eq!(Header::parse(&bytes).unwrap().final_destination, Final::Ipv6(ip));
        bytes[2] = 1;
        assert_eq!(Header::parse(&bytes).unwrap().final_destination, Final::Mac(MacAddr([10, 1, 2, 3, 9, 9])));
        for kind in [0, 4, 255] {
            bytes[2] = kind;
            assert_eq!(Header::parse(&bytes), Err(MessageError::Kind(kind)));
        }
    }

    #[test]
    fn malformed_headers_say_why() {
        let good = &FIG_6A[14..];
        assert_eq!(Header::parse(&good[..23]), Err(MessageError::TooShort));
        assert_eq!(Header::parse(&[]), Err(MessageError::TooShort));
        assert_eq!(Header::parse(&good[..28]), Err(MessageError::BodyLength { claimed: 5, available: 4 }));
        assert!(Header::parse(&good[..29]).is_ok());
        for version in [0, 2, 255] {
            let mut bytes = good.to_vec();
            bytes[0] = version;
            assert_eq!(Header::parse(&bytes), Err(MessageError::Version(version)));
        }
        let mut bytes = good.to_vec();
        bytes[6..8].copy_from_slice(&[0xff, 0xff]);
        let error = Header::parse(&bytes).unwrap_err();
        assert_eq!(error.to_string(), "the message claims a body of 65535 bytes, the frame has 22");
    }

    #[test]
    fn unknown_types_survive() {
        for number in 0..=255u8 {
            assert_eq!(u8::from(MessageType::from(number)), number);
        }
        assert_eq!((MessageType::from(16), MessageType::from(23)), (MessageType::Hello, MessageType::Unknown(23)));
        assert!(MessageType::Hello.is_control() && MessageType::Unknown(255).is_control() && !MessageType::Unknown(15).is_control());
        assert_eq!(MessageType::from(4), MessageType::Unknown(4));
    }

    #[test]
    fn the_longest_body_and_one_more() {
        let body = vec![7; MAX_BODY_LEN + 1];
        let mut message = Message {
            initial_destination: SWITCH,
            source: BLADE_1,
            message_type: MessageType::Data,
            final_destination: Final::Mac(BLADE_2),
            inner: EtherType::IPV4,
            body: &body[1..],
        };
        assert_eq!(message.emit(&[]).unwrap().len(), MAX_FRAME_LEN);
        let tag = Tag { tpid: EtherType::VLAN, tci: Tci(5) };
        assert_eq!(message.emit(&[tag]), Err(BodyTooLong { len: MAX_BODY_LEN, len_max: MAX_BODY_LEN - 4 }));
        message.body = &body;
        assert_eq!(message.emit(&[]), Err(BodyTooLong { len: MAX_BODY_LEN + 1, len_max: MAX_BODY_LEN }));
    }

    #[test]
    fn groups_have_a_mac_of_their_own() {
        let group = |address: &str| Final::from(address.parse::<IpAddr>().unwrap()).group_mac().map(|mac| mac.to_string());
        assert_eq!(group("255.255.255.255").as_deref(), Some("ff:ff:ff:ff:ff:ff"));
        assert_eq!(group("239.129.2.3").as_deref(), Some("01:00:5e:01:02:03")); // The 24th bit from the right is lost.
        assert_eq!(group("ff02::1:ff00:2").as_deref(), Some("33:33:ff:00:00:02"));
        assert_eq!((group("10.0.0.255"), group("fe80::1"), group("223.255.255.255"), group("240.0.0.1")), (None, None, None, None));
        assert_eq!(Final::Mac(MacAddr::BROADCAST).group_mac(), Some(MacAddr::BROADCAST));
        assert_eq!(Final::Mac(BLADE_1).group_mac(), None);
    }

    /// Addresses of all three kinds.
    pub(super) fn any_final() -> impl Strategy<Value = Final> {
        prop_oneof![
            any::<[u8; 6]>().prop_map(|octets| Final::Mac(MacAddr(octets))),
            any::<[u8; 4]>().prop_map(|octets| Final::Ipv4(octets.into())),
            any::<[u8; 16]>().prop_map(|octets| Final::Ipv6(octets.into())),
        ]
    }

    #[test]
    fn the_quick_look_says_what_the_parser_says() {
        let finals = [Final::Mac(MacAddr([2, 0, 0, 0, 0, 7])), Final::Ipv4([198, 18, 0, 1].into())];
        for final_destination in finals {
            for (body_len, len) in [(0, 24), (22, 46), (22, 45), (1, 24), (9000, 9024), (0, 23)] {
                let header = Header { message_type: MessageType::Data, final_destination, inner: EtherType(0), body_len };
                let mut bytes = header.emit().to_vec();
                bytes.truncate(len);
                let expected = Header::parse_prefix(&bytes, len).ok().and_then(|header| match header.final_destination {
                    Final::Mac(mac) => Some(mac.raw()),
                    _ => None,
                });
                assert_eq!(Header::final_mac(&bytes, len), expected, "{final_destination:?} {body_len} {len}");
                if len > field::FLAGS {
                    for number in 0..=u8::MAX {
                        (bytes[field::TYPE], bytes[field::FLAGS]) = (number, number);
                        let expected = expected.filter(|_| !MessageType::from(number).is_control());
                        assert_eq!(Header::final_mac(&bytes, len), expected, "type {number}");
                    }
                    bytes[field::TYPE] = 0;
                }
                if let Some(version) = bytes.first_mut() {
                    *version = 2;
                }
                assert_eq!(Header::final_mac(&bytes, len), None);
            }
        }
    }

    proptest! {
        #[test]
        fn messages_round_trip(initial: [u8; 6], source: [u8; 6], message_type: u8, final_destination in any_final(), inner: u16,
                               body in prop::collection::vec(any::<u8>(), 0..100), tags in prop::collection::vec(any::<u16>(), 0..4)) {
            let message = Message {
                initial_destination: MacAddr(initial), source: MacAddr(source), message_type: message_type.into(),
                final_destination, inner: EtherType(inner), body: &body,
            };
            let tags: Vec<Tag> = tags.into_iter().map(|tci| Tag { tpid: EtherType::VLAN, tci: Tci(tci) }).collect();
            let bytes = message.emit(&tags).unwrap();
            prop_assert_eq!(Message::parse(&Frame::new_checked(&bytes).unwrap()), Ok(message));
        }

        #[test]
        fn no_bytes_panic(version in prop_oneof![4 => Just(VERSION), 1 => any::<u8>()], kind in 0u8..5,
                          mut bytes in prop::collection::vec(any::<u8>(), 3..120), body_len in 0u16..120) {
            bytes[0] = version;
            bytes[2] = kind;
            if bytes.len() > 7 {
                bytes[6..8].copy_from_slice(&body_len.to_be_bytes());
            }
            match Header::parse(&bytes) {
                Ok(header) => {
                    prop_assert_eq!(header.body(&bytes).len(), usize::from(header.body_len));
                    prop_assert_eq!(header.body(&bytes[..HEADER_LEN]).is_empty(), true);
                    let again = Header::parse(&[&header.emit()[..], header.body(&bytes)].concat());
                    prop_assert_eq!(again, Ok(header));
                }
                Err(error) => prop_assert!(!error.to_string().is_empty()),
            }
        }
    }
}
