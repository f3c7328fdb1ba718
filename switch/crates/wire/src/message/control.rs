//! The bodies of control messages (paragraph 55): Hello, SetMode, Execute, Listen, Provision, Ack and Rate.
//!
//! All of them begin alike, whatever the type:
//!
//! | octets | field |
//! |---|---|
//! | 0 | version of the control messages, 1 |
//! | 1 | flags: bit 0, the body ends with a [`Seal`]; the others are sent as 0 and ignored on receipt |
//! | 2..4 | reserved: sent as 0, ignored on receipt |
//! | 4..8 | session: a number the sender takes at its start |
//! | 8..12 | transaction: a number of the sender's, one for each message; a repetition has the same |
//! | 12.. | what the type says |
//! | last 40 | with flag bit 0: the seal, 8 octets of counter and 32 of HMAC-SHA-256 |
//!
//! Session and transaction together name a message of a source: whoever has carried it out acknowledges a repetition and does nothing
//! else. An Ack has the session and transaction of what it acknowledges. Octets behind the fields of a type (and before the seal) are
//! left for later versions and ignored.
//!
//! This module knows where the seal is; making and checking it is the matter of those who have a key.

use std::fmt;
use std::net::IpAddr;

use super::{Final, Header, MessageError, MessageType};
use crate::MacAddr;

/// The version of control messages this code speaks.
pub const CONTROL_VERSION: u8 = 1;
/// Octets before what the type says.
pub const CONTROL_HEAD_LEN: usize = 12;
/// Octets of a seal: counter and code.
pub const SEAL_LEN: usize = 40;
/// Octets of the code in a seal: HMAC-SHA-256 (RFC 2104, FIPS 180-4).
pub const CODE_LEN: usize = 32;
/// The longest [`Name`], in octets.
pub const NAME_LEN_MAX: usize = 32;
/// The longest text of a parameter or an Ack, in octets.
pub const TEXT_LEN_MAX: usize = 255;

const SEALED: u8 = 1;

/// A word: of a mode, a function or a parameter. 1 to [`NAME_LEN_MAX`] visible ASCII characters without spaces.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    /// The name, if `text` is one.
    pub fn new(text: &str) -> Option<Name> {
        let fits = (1..=NAME_LEN_MAX).contains(&text.len()) && text.bytes().all(|octet| octet.is_ascii_graphic());
        fits.then(|| Name(text.to_owned()))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What a blade says of itself (16).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// The bay it believes to sit in; 0: it does not know. The switch goes by its port.
    pub slot: u16,
    /// Milliseconds until its next hello; 0: it does not say.
    pub interval_ms: u32,
    /// The rate it can take, in bit/s; 0: it does not say.
    pub rate_bps: u64,
    /// Its MAC addresses; 255 at most are sent.
    pub macs: Vec<MacAddr>,
    /// Its IP addresses; 255 at most are sent.
    pub ips: Vec<IpAddr>,
    /// What it is for; 255 at most are sent.
    pub functions: Vec<Name>,
}

/// How a message was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AckStatus {
    /// It has been carried out (0).
    Done,
    /// It is being carried out; another Ack follows (1).
    Accepted,
    /// The blade has no such mode, function or parameter (2).
    Unsupported,
    /// It was tried and failed (3).
    Failed,
    /// The sender may not ask for that, or its seal is wrong (4).
    Refused,
    /// A status that this version does not know.
    Unknown(u8),
}

impl From<u8> for AckStatus {
    fn from(number: u8) -> AckStatus {
        match number {
            0 => AckStatus::Done,
            1 => AckStatus::Accepted,
            2 => AckStatus::Unsupported,
            3 => AckStatus::Failed,
            4 => AckStatus::Refused,
            unknown => AckStatus::Unknown(unknown),
        }
    }
}

impl From<AckStatus> for u8 {
    fn from(status: AckStatus) -> u8 {
        match status {
            AckStatus::Done => 0,
            AckStatus::Accepted => 1,
            AckStatus::Unsupported => 2,
            AckStatus::Failed => 3,
            AckStatus::Refused => 4,
            AckStatus::Unknown(number) => number,
        }
    }
}

impl fmt::Display for AckStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AckStatus::Done => f.pad("done"),
            AckStatus::Accepted => f.pad("accepted"),
            AckStatus::Unsupported => f.pad("unsupported"),
            AckStatus::Failed => f.pad("failed"),
            AckStatus::Refused => f.pad("refused"),
            AckStatus::Unknown(number) => write!(f, "status {number}"),
        }
    }
}

/// That a message has arrived, and what came of it (21).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The type of the message that is acknowledged.
    pub acked: MessageType,
    /// How it was taken.
    pub status: AckStatus,
    /// More about it, for people; [`TEXT_LEN_MAX`] octets at most are sent.
    pub text: String,
}

/// What a control message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// A blade announces itself.
    Hello(Hello),
    /// Enter this mode of operation (17).
    SetMode(Name),
    /// Execute this function (18).
    Execute(Name),
    /// Listen to this timeslot of the bus (19).
    Listen(u16),
    /// Work with these parameters (20); 255 at most are sent, with at most [`TEXT_LEN_MAX`] octets of value each.
    Provision(Vec<(Name, String)>),
    /// An answer to any of the others. To a Rate its text is the rate that holds from now on, in bit/s.
    Ack(Ack),
    /// A blade wants to send to the port of this name at so many bit/s (22); 0: it asks what it may.
    Rate {
        /// The name of the port, as in the configuration of the switch.
        to: Name,
        /// Bits a second.
        rate_bps: u64,
    },
}

impl Control {
    /// The type of its message.
    pub fn message_type(&self) -> MessageType {
        match self {
            Control::Hello(_) => MessageType::Hello,
            Control::SetMode(_) => MessageType::SetMode,
            Control::Execute(_) => MessageType::Execute,
            Control::Listen(_) => MessageType::Listen,
            Control::Provision(_) => MessageType::Provision,
            Control::Ack(_) => MessageType::Ack,
            Control::Rate { .. } => MessageType::Rate,
        }
    }
}

impl fmt::Display for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Control::Hello(hello) => {
                write!(f, "hello from slot {}, {} MACs, {} IPs", hello.slot, hello.macs.len(), hello.ips.len())?;
                hello.functions.iter().try_for_each(|function| write!(f, ", {function}"))
            }
            Control::SetMode(mode) => write!(f, "set-mode {mode}"),
            Control::Execute(function) => write!(f, "execute {function}"),
            Control::Listen(timeslot) => write!(f, "listen {timeslot}"),
            Control::Provision(parameters) => {
                f.write_str("provision")?;
                parameters.iter().try_for_each(|(name, value)| write!(f, " {name}={}", value.escape_debug()))
            }
            Control::Rate { to, rate_bps } => write!(f, "rate {rate_bps} bit/s to {to}"),
            Control::Ack(ack) => {
                write!(f, "ack of {}: {}", ack.acked, ack.status)?;
                if ack.text.is_empty() { Ok(()) } else { write!(f, " ({})", ack.text.escape_debug()) }
            }
        }
    }
}

/// A control message, its seal left aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlMessage {
    /// The number its sender has taken at its start.
    pub session: u32,
    /// The number of this message.
    pub transaction: u32,
    /// What it says.
    pub control: Control,
}

impl ControlMessage {
    /// Reads the body of a message of `message_type`. Whether its seal is right is not looked at: see [`Seal::of`].
    ///
    /// [`MessageError::Type`] if the type is none of these, [`MessageError::ControlVersion`] for another version,
    /// [`MessageError::TooShort`] if the body ends within a field, [`MessageError::Kind`] if an IP is neither IPv4 nor IPv6, and
    /// [`MessageError::Text`] if a name is no [`Name`] or a text is not UTF-8.
    pub fn decode(message_type: MessageType, body: &[u8]) -> Result<ControlMessage, MessageError> {
        if !message_type.is_control() {
            return Err(MessageError::Type(message_type.into()));
        }
        let (&[version, flags, _, _, s0, s1, s2, s3, t0, t1, t2, t3], content) =
            body.split_first_chunk::<CONTROL_HEAD_LEN>().ok_or(MessageError::TooShort)?;
        if version != CONTROL_VERSION {
            return Err(MessageError::ControlVersion(version));
        }
        let seal_len = if flags & SEALED == 0 { 0 } else { SEAL_LEN };
        let content = content.get(..content.len().wrapping_sub(seal_len)).ok_or(MessageError::TooShort)?;
        let mut rest = Rest(content);
        let control = match message_type {
            MessageType::Hello => Control::Hello(rest.hello()?),
            MessageType::SetMode => Control::SetMode(rest.name()?),
            MessageType::Execute => Control::Execute(rest.name()?),
            MessageType::Listen => Control::Listen(u16::from_be_bytes(rest.take()?)),
            MessageType::Provision => Control::Provision(rest.parameters()?),
            MessageType::Ack => {
                let [acked, status] = rest.take()?;
                Control::Ack(Ack { acked: acked.into(), status: status.into(), text: rest.text()? })
            }
            MessageType::Rate => Control::Rate { rate_bps: u64::from_be_bytes(rest.take()?), to: rest.name()? },
            MessageType::Data | MessageType::Notice | MessageType::Advertise | MessageType::IdentityRequest | MessageType::Unknown(_) => {
                return Err(MessageError::Type(message_type.into()));
            }
        };
        Ok(ControlMessage { session: u32::from_be_bytes([s0, s1, s2, s3]), transaction: u32::from_be_bytes([t0, t1, t2, t3]), control })
    }

    /// The body as bytes. With a `counter` it ends with a seal whose code is still zeros: [`Seal::signed`] says what it is over.
    pub fn encode(&self, counter: Option<u64>) -> Vec<u8> {
        let mut body = vec![CONTROL_VERSION, if counter.is_some() { SEALED } else { 0 }, 0, 0];
        body.extend_from_slice(&self.session.to_be_bytes());
        body.extend_from_slice(&self.transaction.to_be_bytes());
        match &self.control {
            Control::Hello(hello) => push_hello(&mut body, hello),
            Control::SetMode(name) | Control::Execute(name) => push_text(&mut body, name.as_str()),
            Control::Listen(timeslot) => body.extend_from_slice(&timeslot.to_be_bytes()),
            Control::Provision(parameters) => {
                body.push(listed(parameters).len() as u8);
                for (name, value) in listed(parameters) {
                    push_text(&mut body, name.as_str());
                    push_text(&mut body, value);
                }
            }
            Control::Rate { to, rate_bps } => {
                body.extend_from_slice(&rate_bps.to_be_bytes());
                push_text(&mut body, to.as_str());
            }
            Control::Ack(ack) => {
                body.extend_from_slice(&[ack.acked.into(), ack.status.into()]);
                push_text(&mut body, &ack.text);
            }
        }
        if let Some(counter) = counter {
            body.extend_from_slice(&counter.to_be_bytes());
            body.extend_from_slice(&[0; CODE_LEN]);
        }
        body
    }
}

/// The end of a sealed control message: who knows the key has written it, and not before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seal {
    /// Grows with every message of a sender, also over its restarts: a message that has been heard is not believed again.
    pub counter: u64,
    /// HMAC-SHA-256 over [`Seal::signed`].
    pub code: [u8; CODE_LEN],
}

impl Seal {
    /// The seal of a control message's body; `None` if it has none or is too short.
    pub fn of(body: &[u8]) -> Option<Seal> {
        let (head, rest) = body.split_first_chunk::<CONTROL_HEAD_LEN>()?;
        if head[1] & SEALED == 0 {
            return None;
        }
        let (rest, code) = rest.split_last_chunk::<CODE_LEN>()?;
        let (_, counter) = rest.split_last_chunk::<8>()?;
        Some(Seal { counter: u64::from_be_bytes(*counter), code: *code })
    }

    /// What the code is over: the source, the message header and the body up to the code. The initial destination is not in it: the
    /// switch blade overwrites it.
    pub fn signed(source: MacAddr, header: &Header, body: &[u8]) -> Vec<u8> {
        let without_code = &body[..body.len().saturating_sub(CODE_LEN)];
        [&source.0[..], &header.emit()[..], without_code].concat()
    }
}

/// What has not been read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], MessageError> {
        super::advertise::take(&mut self.0)
    }

    fn octets(&mut self, len: u8) -> Result<&'a [u8], MessageError> {
        let (octets, rest) = self.0.split_at_checked(usize::from(len)).ok_or(MessageError::TooShort)?;
        self.0 = rest;
        Ok(octets)
    }

    fn text(&mut self) -> Result<String, MessageError> {
        let [len] = self.take()?;
        std::str::from_utf8(self.octets(len)?).map(str::to_owned).map_err(|_| MessageError::Text)
    }

    fn name(&mut self) -> Result<Name, MessageError> {
        Name::new(&self.text()?).ok_or(MessageError::Text)
    }

    fn parameters(&mut self) -> Result<Vec<(Name, String)>, MessageError> {
        let [count] = self.take()?;
        (0..count).map(|_| Ok((self.name()?, self.text()?))).collect()
    }

    fn hello(&mut self) -> Result<Hello, MessageError> {
        let slot = u16::from_be_bytes(self.take()?);
        let interval_ms = u32::from_be_bytes(self.take()?);
        let rate_bps = u64::from_be_bytes(self.take()?);
        let [macs, ips, functions] = self.take()?;
        let macs = (0..macs).map(|_| Ok(MacAddr(self.take()?))).collect::<Result<_, MessageError>>()?;
        let ips = (0..ips).map(|_| self.ip()).collect::<Result<_, MessageError>>()?;
        let functions = (0..functions).map(|_| self.name()).collect::<Result<_, MessageError>>()?;
        Ok(Hello { slot, interval_ms, rate_bps, macs, ips, functions })
    }

    fn ip(&mut self) -> Result<IpAddr, MessageError> {
        let [kind] = self.take()?;
        match Final::read(kind, &self.take()?)? {
            Final::Ipv4(ip) => Ok(IpAddr::V4(ip)),
            Final::Ipv6(ip) => Ok(IpAddr::V6(ip)),
            Final::Mac(_) => Err(MessageError::Kind(kind)),
        }
    }
}

/// As many as an octet can count.
fn listed<T>(things: &[T]) -> &[T] {
    &things[..things.len().min(usize::from(u8::MAX))]
}

/// Length and text, cut to what an octet can count, between two characters.
fn push_text(body: &mut Vec<u8>, text: &str) {
    let end = (0..=text.len().min(TEXT_LEN_MAX)).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    let text = &text[..end];
    body.push(text.len() as u8);
    body.extend_from_slice(text.as_bytes());
}

fn push_hello(body: &mut Vec<u8>, hello: &Hello) {
    body.extend_from_slice(&hello.slot.to_be_bytes());
    body.extend_from_slice(&hello.interval_ms.to_be_bytes());
    body.extend_from_slice(&hello.rate_bps.to_be_bytes());
    body.extend_from_slice(&[listed(&hello.macs).len() as u8, listed(&hello.ips).len() as u8, listed(&hello.functions).len() as u8]);
    for mac in listed(&hello.macs) {
        body.extend_from_slice(&mac.0);
    }
    for ip in listed(&hello.ips) {
        let ip = Final::from(*ip);
        body.push(ip.kind());
        body.extend_from_slice(&ip.octets());
    }
    for function in listed(&hello.functions) {
        push_text(body, function.as_str());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn message(control: Control) -> ControlMessage {
        ControlMessage { session: 0x0102_0304, transaction: 5, control }
    }

    /// Bytes and the fields they must yield, for every type.
    #[test]
    fn literal_bytes() {
        let head = [1, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 5];
        let hello = Hello {
            slot: 3,
            interval_ms: 1000,
            rate_bps: 1_000_000_000,
            macs: vec![MacAddr([2, 0, 0, 0, 0, 3])],
            ips: vec!["198.18.0.3".parse().unwrap()],
            functions: vec![name("web")],
        };
        #[rustfmt::skip]
        let hello_bytes = vec![
            0, 3, 0, 0, 3, 0xe8, 0, 0, 0, 0, 0x3b, 0x9a, 0xca, 0, 1, 1, 1,
            2, 0, 0, 0, 0, 3,
            2, 198, 18, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            3, b'w', b'e', b'b',
        ];
        let ack = Ack { acked: MessageType::Execute, status: AckStatus::Failed, text: "no".to_owned() };
        let cases = [
            (Control::Hello(hello), hello_bytes),
            (Control::SetMode(name("drain")), b"\x05drain".to_vec()),
            (Control::Execute(name("fsck")), b"\x04fsck".to_vec()),
            (Control::Listen(258), vec![1, 2]),
            (Control::Provision(vec![(name("mtu"), "9000".to_owned())]), b"\x01\x03mtu\x049000".to_vec()),
            (Control::Rate { to: name("blade2"), rate_bps: 500_000_000 }, b"\x00\x00\x00\x00\x1d\xcd\x65\x00\x06blade2".to_vec()),
            (Control::Ack(ack), vec![18, 3, 2, b'n', b'o']),
        ];
        for (control, content) in cases {
            let message_type = control.message_type();
            let message = message(control);
            let body = [&head[..], &content].concat();
            assert_eq!(message.encode(None), body, "{message:?}");
            assert_eq!(ControlMessage::decode(message_type, &body).as_ref(), Ok(&message));
            for len in 0..body.len() {
                assert_eq!(ControlMessage::decode(message_type, &body[..len]), Err(MessageError::TooShort), "{message_type} {len}");
            }
            // Octets of a later version, flags and reserved octets are no matter.
            let mut later = [&body[..], &[9, 9]].concat();
            later[1..4].copy_from_slice(&[0xfe, 1, 2]);
            assert_eq!(ControlMessage::decode(message_type, &later).as_ref(), Ok(&message));
            later[0] = 2;
            assert_eq!(ControlMessage::decode(message_type, &later), Err(MessageError::ControlVersion(2)));
        }
    }

    #[test]
    fn what_is_no_control_message() {
        let body = message(Control::Listen(1)).encode(None);
        assert_eq!(ControlMessage::decode(MessageType::Data, &body), Err(MessageError::Type(0)));
        assert_eq!(ControlMessage::decode(MessageType::Unknown(200), &body), Err(MessageError::Type(200)));
        let mode = |octets: &[u8]| {
            let body = [&[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, octets.len() as u8], octets].concat();
            ControlMessage::decode(MessageType::SetMode, &body).map(|message| message.control)
        };
        assert_eq!(mode(b"on"), Ok(Control::SetMode(name("on"))));
        for bad in [&b""[..], b"two words", b"\xff", "ä".as_bytes(), &[b'x'; 33]] {
            assert_eq!(mode(bad), Err(MessageError::Text), "{bad:?}");
        }
    }

    #[test]
    fn the_seal_is_the_end_and_not_part_of_the_content() {
        let hello = message(Control::Execute(name("f")));
        let body = hello.encode(Some(0x0a0b));
        assert_eq!(body.len(), CONTROL_HEAD_LEN + 2 + SEAL_LEN);
        assert_eq!(Seal::of(&body), Some(Seal { counter: 0x0a0b, code: [0; 32] }));
        assert_eq!(ControlMessage::decode(MessageType::Execute, &body), Ok(hello.clone()));
        assert_eq!(ControlMessage::decode(MessageType::Execute, &body[..13 + SEAL_LEN]), Err(MessageError::TooShort));
        assert_eq!((Seal::of(&body[..CONTROL_HEAD_LEN + 39]), Seal::of(&hello.encode(None))), (None, None));
        let header = Header {
            message_type: MessageType::Execute,
            final_destination: Final::Mac(MacAddr::BROADCAST),
            inner: crate::ethernet::EtherType(0),
            body_len: body.len() as u16,
        };
        let signed = Seal::signed(MacAddr([2, 0, 0, 0, 0, 1]), &header, &body);
        assert_eq!(signed.len(), 6 + 24 + body.len() - CODE_LEN);
        assert_eq!((&signed[..6], &signed[30..]), (&[2, 0, 0, 0, 0, 1][..], &body[..body.len() - CODE_LEN]));
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let text = format!("{}ä", "x".repeat(254));
        let body = message(Control::Ack(Ack { acked: MessageType::Listen, status: AckStatus::Unknown(77), text })).encode(None);
        let Control::Ack(ack) = ControlMessage::decode(MessageType::Ack, &body).unwrap().control else { panic!("an ack") };
        assert_eq!((ack.text.len(), ack.status), (254, AckStatus::Unknown(77)));
    }

    fn any_name() -> impl Strategy<Value = Name> {
        "[!-~]{1,32}".prop_map(|text| Name::new(&text).expect("visible ASCII"))
    }

    fn any_control() -> impl Strategy<Value = Control> {
        let ip = prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), any::<[u8; 16]>().prop_map(IpAddr::from)];
        let macs = prop::collection::vec(any::<[u8; 6]>().prop_map(MacAddr), 0..9);
        let lists = (macs, prop::collection::vec(ip, 0..9), prop::collection::vec(any_name(), 0..9));
        let hello = (any::<u16>(), any::<u32>(), any::<u64>(), lists).prop_map(|(slot, interval_ms, rate_bps, (macs, ips, functions))| {
            Control::Hello(Hello { slot, interval_ms, rate_bps, macs, ips, functions })
        });
        let text = || "\\PC{0,60}";
        prop_oneof![
            hello,
            any_name().prop_map(Control::SetMode),
            any_name().prop_map(Control::Execute),
            any::<u16>().prop_map(Control::Listen),
            (any_name(), any::<u64>()).prop_map(|(to, rate_bps)| Control::Rate { to, rate_bps }),
            prop::collection::vec((any_name(), text()), 0..9).prop_map(Control::Provision),
            (any::<u8>(), any::<u8>(), text()).prop_map(|(acked, status, text)| Control::Ack(Ack {
                acked: acked.into(),
                status: status.into(),
                text
            })),
        ]
    }

    proptest! {
        #[test]
        fn control_messages_round_trip(session: u32, transaction: u32, control in any_control(), counter: Option<u64>) {
            let message = ControlMessage { session, transaction, control };
            let body = message.encode(counter);
            prop_assert_eq!(ControlMessage::decode(message.control.message_type(), &body), Ok(message));
            prop_assert_eq!(Seal::of(&body).map(|seal| seal.counter), counter);
        }

        #[test]
        fn no_bytes_panic(number in 14u8..24, mut body in prop::collection::vec(prop_oneof![0u8..4, any::<u8>()], 0..120)) {
            if let Some(version) = body.first_mut() {
                *version = 1;
            }
            let _ = Seal::of(&body);
            if let Ok(message) = ControlMessage::decode(number.into(), &body) {
                prop_assert!(!message.control.to_string().is_empty());
                let again = message.encode(None);
                prop_assert_eq!(ControlMessage::decode(number.into(), &again), Ok(message));
            }
        }
    }
}
