//! The messages of the memif protocol 2.0 as bytes: what two peers tell each other over the socket before they share memory.
//!
//! Each message is [`MESSAGE_LEN`] bytes in one datagram of a SEQPACKET socket: a type (16 bits), then fields without padding, the rest
//! zero. Numbers are in the byte order of the machine: both peers run on it. File descriptors travel beside a message, not in it. The layout
//! is that of VPP's memif plugin and DPDK's `net_memif`, which call a client "slave" and a server "master" in older texts.
//!
//! Parsing proves the length and the type and nothing else: whether a number makes sense is for `session` to say.
//! Texts of the peer are cut at the first zero byte, and what is not printable in them is escaped.

/// Bytes of every message.
pub const MESSAGE_LEN: usize = 128;
/// The one version there is: 2.0.
pub const VERSION: u16 = 0x200;
/// Bytes of a name, the terminating zero included.
pub const NAME_LEN: usize = 32;
/// Bytes of a secret.
pub const SECRET_LEN: usize = 24;
/// Bytes of the reason in a DISCONNECT, the terminating zero included.
pub const REASON_LEN: usize = 96;

const ACK: u16 = 1;
const HELLO: u16 = 2;
const INIT: u16 = 3;
const ADD_REGION: u16 = 4;
const ADD_RING: u16 = 5;
const CONNECT: u16 = 6;
const CONNECTED: u16 = 7;
const DISCONNECT: u16 = 8;
/// In the flags of ADD_RING: the client sends by this ring.
const FLAG_TO_SERVER: u16 = 1;

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// The server has taken the last message of the client.
    Ack,
    /// The server's first word: what it can do.
    Hello(Hello),
    /// The client's first word: which interface it wants.
    Init(Init),
    /// A region of the client's memory; its file comes beside the message.
    AddRegion {
        /// Number of the region, from 0.
        index: u16,
        /// Its bytes.
        size: u64,
    },
    /// A ring in a region; its eventfd comes beside the message.
    AddRing(AddRing),
    /// The client has said everything.
    Connect {
        /// What it calls the interface.
        name: String,
    },
    /// The server has mapped everything: frames may flow.
    Connected {
        /// What it calls the interface.
        name: String,
    },
    /// The end, with its reason. Either may send it at any time.
    Disconnect {
        /// A number the peers may agree on; 0 usually.
        code: u32,
        /// For people.
        reason: String,
    },
}

/// What the server can do. Rings and regions are counted by their largest index, that is one less than there may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The program.
    pub name: String,
    /// Oldest version it speaks.
    pub version_min: u16,
    /// Newest version it speaks.
    pub version_max: u16,
    /// Largest index of a region.
    pub region_max: u16,
    /// Largest index of a ring that the server sends by.
    pub to_client_max: u16,
    /// Largest index of a ring that the client sends by.
    pub to_server_max: u16,
    /// Descriptors of a ring at most, as a power of two.
    pub ring_log2_max: u8,
}

/// Which interface the client wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Init {
    /// Version it speaks.
    pub version: u16,
    /// Number of the interface on this socket.
    pub id: u32,
    /// What the interface carries: 0 is Ethernet.
    pub mode: u8,
    /// Password, filled up with zeros; all zero: none.
    pub secret: [u8; SECRET_LEN],
    /// The program.
    pub name: String,
}

/// Where a ring lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddRing {
    /// The client sends by it.
    pub to_server: bool,
    /// Number of the ring in its direction, from 0.
    pub index: u16,
    /// The region it lies in.
    pub region: u16,
    /// Where it begins in the region, in bytes.
    pub offset: u32,
    /// Its descriptors as a power of two.
    pub ring_log2: u8,
    /// Bytes of private data in front of each frame.
    pub private_header: u16,
}

/// Why some bytes are not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Too short or too long.
    #[error("a message of {0} bytes: expected 128")]
    Len(usize),
    /// No such type.
    #[error("a message of type {0}: expected 1 to 8")]
    Type(u16),
}

impl Message {
    /// Reads a message.
    ///
    /// # Errors
    /// It is not [`MESSAGE_LEN`] bytes long, or its type is unknown.
    pub fn parse(bytes: &[u8]) -> Result<Message, MessageError> {
        let bytes: &[u8; MESSAGE_LEN] = bytes.try_into().map_err(|_| MessageError::Len(bytes.len()))?;
        let u16_at = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        let u32_at = |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        Ok(match u16_at(0) {
            ACK => Message::Ack,
            HELLO => Message::Hello(Hello {
                name: text(&bytes[2..2 + NAME_LEN]),
                version_min: u16_at(34),
                version_max: u16_at(36),
                region_max: u16_at(38),
                to_client_max: u16_at(40),
                to_server_max: u16_at(42),
                ring_log2_max: bytes[44],
            }),
            INIT => {
                let mut secret = [0; SECRET_LEN];
                secret.copy_from_slice(&bytes[9..9 + SECRET_LEN]);
                Message::Init(Init { version: u16_at(2), id: u32_at(4), mode: bytes[8], secret, name: text(&bytes[33..33 + NAME_LEN]) })
            }
            ADD_REGION => Message::AddRegion { index: u16_at(2), size: u64::from(u32_at(4)) | u64::from(u32_at(8)) << 32 },
            ADD_RING => Message::AddRing(AddRing {
                to_server: u16_at(2) & FLAG_TO_SERVER != 0,
                index: u16_at(4),
                region: u16_at(6),
                offset: u32_at(8),
                ring_log2: bytes[12],
                private_header: u16_at(13),
            }),
            CONNECT => Message::Connect { name: text(&bytes[2..2 + NAME_LEN]) },
            CONNECTED => Message::Connected { name: text(&bytes[2..2 + NAME_LEN]) },
            DISCONNECT => Message::Disconnect { code: u32_at(2), reason: text(&bytes[6..6 + REASON_LEN]) },
            other => return Err(MessageError::Type(other)),
        })
    }

    /// The message as bytes. Texts that are too long are cut.
    pub fn encode(&self) -> [u8; MESSAGE_LEN] {
        let mut bytes = [0; MESSAGE_LEN];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(0, &self.kind().to_ne_bytes());
        match self {
            Message::Ack => {}
            Message::Hello(hello) => {
                put(2, cut(&hello.name, NAME_LEN));
                for (at, number) in [hello.version_min, hello.version_max, hello.region_max, hello.to_client_max, hello.to_server_max]
                    .into_iter()
                    .enumerate()
                {
                    put(34 + 2 * at, &number.to_ne_bytes());
                }
                put(44, &[hello.ring_log2_max]);
            }
            Message::Init(init) => {
                put(2, &init.version.to_ne_bytes());
                put(4, &init.id.to_ne_bytes());
                put(8, &[init.mode]);
                put(9, &init.secret);
                put(33, cut(&init.name, NAME_LEN));
            }
            Message::AddRegion { index, size } => {
                put(2, &index.to_ne_bytes());
                put(4, &(*size as u32).to_ne_bytes());
                put(8, &((*size >> 32) as u32).to_ne_bytes());
            }
            Message::AddRing(ring) => {
                put(2, &(if ring.to_server { FLAG_TO_SERVER } else { 0 }).to_ne_bytes());
                put(4, &ring.index.to_ne_bytes());
                put(6, &ring.region.to_ne_bytes());
                put(8, &ring.offset.to_ne_bytes());
                put(12, &[ring.ring_log2]);
                put(13, &ring.private_header.to_ne_bytes());
            }
            Message::Connect { name } | Message::Connected { name } => put(2, cut(name, NAME_LEN)),
            Message::Disconnect { code, reason } => {
                put(2, &code.to_ne_bytes());
                put(6, cut(reason, REASON_LEN));
            }
        }
        bytes
    }

    /// What it is called in the protocol.
    pub fn word(&self) -> &'static str {
        match self {
            Message::Ack => "ACK",
            Message::Hello(_) => "HELLO",
            Message::Init(_) => "INIT",
            Message::AddRegion { .. } => "ADD_REGION",
            Message::AddRing(_) => "ADD_RING",
            Message::Connect { .. } => "CONNECT",
            Message::Connected { .. } => "CONNECTED",
            Message::Disconnect { .. } => "DISCONNECT",
        }
    }

    fn kind(&self) -> u16 {
        match self {
            Message::Ack => ACK,
            Message::Hello(_) => HELLO,
            Message::Init(_) => INIT,
            Message::AddRegion { .. } => ADD_REGION,
            Message::AddRing(_) => ADD_RING,
            Message::Connect { .. } => CONNECT,
            Message::Connected { .. } => CONNECTED,
            Message::Disconnect { .. } => DISCONNECT,
        }
    }
}

/// What the peer calls something: up to the first zero byte, escaped where it is not printable.
fn text(field: &[u8]) -> String {
    let len = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    let printable = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    String::from_utf8_lossy(&field[..len]).chars().map(printable).collect()
}

/// As many bytes of a text as fit a field of `size` bytes with its terminating zero.
fn cut(text: &str, size: usize) -> &[u8] {
    let mut len = text.len().min(size - 1);
    while !text.is_char_boundary(len) {
        len -= 1;
    }
    &text.as_bytes()[..len]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn examples() -> Vec<Message> {
        let name = || "bladeswitch".to_owned();
        vec![
            Message::Ack,
            Message::Hello(Hello {
                name: name(),
                version_min: VERSION,
                version_max: VERSION,
                region_max: 255,
                to_client_max: 3,
                to_server_max: 4,
                ring_log2_max: 14,
            }),
            Message::Init(Init { version: VERSION, id: 0x0102_0304, mode: 0, secret: [7; SECRET_LEN], name: name() }),
            Message::AddRegion { index: 1, size: 0x1_2345_6789 },
            Message::AddRing(AddRing { to_server: true, index: 2, region: 1, offset: 0x8000, ring_log2: 9, private_header: 5 }),
            Message::Connect { name: name() },
            Message::Connected { name: name() },
            Message::Disconnect { code: 9, reason: "enough".to_owned() },
        ]
    }

    #[test]
    fn every_message_round_trips() {
        for message in examples() {
            assert_eq!(Message::parse(&message.encode()), Ok(message));
        }
    }

    /// Byte for byte what the structures of VPP and DPDK lay down, on a little-endian machine.
    #[test]
    #[cfg(target_endian = "little")]
    fn the_layout_of_the_fields() {
        let [_, hello, init, region, ring, _, _, disconnect] = <[Message; 8]>::try_from(examples()).unwrap().map(|m| m.encode());
        assert_eq!(hello[..2], [2, 0]);
        assert_eq!(&hello[2..13], b"bladeswitch");
        assert_eq!(hello[34..46], [0, 2, 0, 2, 255, 0, 3, 0, 4, 0, 14, 0]);
        assert_eq!(init[..10], [3, 0, 0, 2, 4, 3, 2, 1, 0, 7]);
        assert_eq!(&init[32..44], b"\x07bladeswitch");
        assert_eq!(region[..12], [4, 0, 1, 0, 0x89, 0x67, 0x45, 0x23, 1, 0, 0, 0]);
        assert_eq!(ring[..15], [5, 0, 1, 0, 2, 0, 1, 0, 0, 0x80, 0, 0, 9, 5, 0]);
        assert_eq!(&disconnect[..13], b"\x08\0\x09\0\0\0enough\0");
    }

    #[test]
    fn what_is_no_message() {
        assert_eq!(Message::parse(&[]), Err(MessageError::Len(0)));
        assert_eq!(Message::parse(&[1; 127]), Err(MessageError::Len(127)));
        assert_eq!(Message::parse(&[1; 129]), Err(MessageError::Len(129)));
        assert_eq!(Message::parse(&[0; 128]), Err(MessageError::Type(0)));
        assert_eq!(Message::parse(&[9; 128]), Err(MessageError::Type(0x0909)));
    }

    #[test]
    fn texts_of_the_peer_do_no_harm() {
        let mut bytes = Message::Connect { name: String::new() }.encode();
        bytes[2..2 + NAME_LEN].fill(b'\x1b');
        let Ok(Message::Connect { name }) = Message::parse(&bytes) else { panic!("it is a CONNECT") };
        assert_eq!(name, "\\u{1b}".repeat(NAME_LEN));
        let long = Message::Disconnect { code: 0, reason: "ü".repeat(100) };
        let Ok(Message::Disconnect { reason, .. }) = Message::parse(&long.encode()) else { panic!("it is a DISCONNECT") };
        assert_eq!(reason, "ü".repeat(47));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0u8..10) {
            if bytes.len() >= 2 {
                bytes[..2].copy_from_slice(&[kind, 0]);
            }
            if let Ok(message) = Message::parse(&bytes) {
                prop_assert_eq!(u16::from_ne_bytes([bytes[0], bytes[1]]), message.kind());
                prop_assert!(Message::parse(&message.encode()).is_ok());
            }
        }
    }
}
