//! Ports on shared memory of the memif protocol: the way to VPP, OVS, DPDK programs and containers, without DPDK and without the kernel in
//! between.
//!
//! Two processes meet at a unix socket. The **client** makes memory (a memfd with rings and buffers) and sends its file; the **server** listens,
//! maps it, and copies frames in and out. Several interfaces, told apart by their number, may share a server's socket within one process.
//! From then on frames pass through memory; the socket tells when the peer dies.
//!
//! `message` is what they say as bytes, `session` the order in which they say it, `socket` how it is carried; `region` and `ring` are the shared
//! memory, `guard` what happens when it is taken away; `queue` and `transmit` are what workers call, `copy` how frames are copied; `server` and `client` are the threads that look after it all:
//! one for each socket that is listened on, one for each client. `bell` has one more for each connection: it wakes a peer that sleeps. Workers never
//! wait for any of them. `trial` is all this without socket and threads, for fuzzing.
//!
//! The peer is not trusted: whatever it says or writes, the port at most loses its connection, with the reason in
//! [`Device::describe`](crate::Device::describe) and [`Device::errors`](crate::Device::errors), and the client tries again. What a peer can still do
//! is spoil the frames it exchanges, refuse to exchange any, and keep the port for itself as long as it lives.
//!
//! Limits: [`QUEUES_MAX`] queues; Ethernet mode only; a frame lies in at most [`CHAIN_MAX`] buffers.
//!
//! Unsafe code: mapping memory and reaching what others write to. `region`, `ring`, `queue`, `transmit`, `copy` and `guard` say what they rely on.

mod bell;
mod client;
mod control;
mod copy;
mod guard;
pub mod message;
mod queue;
mod region;
mod ring;
mod server;
mod session;
mod socket;
mod transmit;
pub mod trial;

use std::collections::BTreeMap;
use std::io;
use std::ops::RangeInclusive;

use crate::device::Port;
use message::SECRET_LEN;
pub use queue::CHAIN_MAX;
use session::Layout;

/// Queues in each direction, at most.
pub const QUEUES_MAX: usize = 64;
/// Descriptors of a ring as a power of two.
pub const RING_LOG2: RangeInclusive<usize> = 3..=14;
/// Bytes of a buffer.
pub const BUFFER_SIZE: RangeInclusive<usize> = 256..=65536;

/// Which side of the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Listens, and maps what clients send.
    Server,
    /// Connects, and makes the memory.
    Client,
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Role::Server => "server",
            Role::Client => "client",
        })
    }
}

/// What a memif port is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Where the peers meet: a path, or with `@` in front a name in the abstract namespace.
    pub socket: String,
    /// Number of the interface on this socket.
    pub id: u32,
    /// Which side.
    pub role: Role,
    /// Queues in each direction. A server takes clients with as many or fewer; a client with fewer takes what the server has.
    pub queues: usize,
    /// Descriptors of a ring as a power of two. The client's counts.
    pub ring_log2: u8,
    /// Bytes of a buffer. The client's counts.
    pub buffer_size: u32,
    /// The word that the client must know.
    pub secret: Option<String>,
}

/// An option that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadOption {
    /// Which.
    pub key: &'static str,
    /// What would do.
    pub expected: String,
}

impl Options {
    /// The options of a port spec.
    ///
    /// # Errors
    /// The first that makes no sense.
    pub fn parse(socket: &str, options: &BTreeMap<String, String>) -> Result<Options, BadOption> {
        let number = |key: &'static str, range: RangeInclusive<usize>, default: usize| match options.get(key).map(|value| value.parse()) {
            None => Ok(default),
            Some(Ok(number)) if range.contains(&number) => Ok(number),
            Some(_) => Err(BadOption { key, expected: format!("{} to {}", range.start(), range.end()) }),
        };
        let role = match options.get("role").map(String::as_str) {
            None | Some("server") => Role::Server,
            Some("client") => Role::Client,
            Some(_) => return Err(BadOption { key: "role", expected: "server or client".to_owned() }),
        };
        let secret = options.get("secret").cloned();
        if secret.as_ref().is_some_and(|secret| secret.len() >= SECRET_LEN) {
            return Err(BadOption { key: "secret", expected: format!("at most {} bytes", SECRET_LEN - 1) });
        }
        let options = Options {
            socket: socket.to_owned(),
            id: number("id", 0..=u32::MAX as usize, 0)? as u32,
            role,
            queues: number("queues", 1..=QUEUES_MAX, 1)?,
            ring_log2: number("ring-size", RING_LOG2, 9)? as u8,
            buffer_size: number("buffer-size", BUFFER_SIZE, 2048)? as u32,
            secret,
        };
        // Offsets have 32 bits.
        let layout = Layout { rings: 2 * options.queues, log2: options.ring_log2, buffer_size: options.buffer_size };
        if role == Role::Client && layout.region_len() > u32::MAX as usize {
            let expected = format!("queues x ring x buffers of less than 4 GiB in all, not {} MiB", layout.region_len() >> 20);
            return Err(BadOption { key: "ring-size", expected });
        }
        Ok(options)
    }
}

/// Opens a port. It waits for its peer in the background: the link is down until there is one.
///
/// # Errors
/// A server cannot listen at its socket, two servers of one process have the same number on it, or there is no thread to be had.
pub fn open(options: &Options) -> io::Result<Port> {
    match options.role {
        Role::Server => server::open(options),
        Role::Client => client::open(options),
    }
}
