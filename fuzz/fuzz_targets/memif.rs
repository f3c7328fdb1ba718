//! Any peer of a memif port: what it says, and what it writes into shared memory. The port says why it ends the connection, passes on frames that
//! are frames, and leaks no buffer.
//!
//! The input is a script. The first octet is the beginning: bit 0, the port is the client; bit 1, the peers have come to terms as they should; bit 2, it has
//! two queues. Then each step is an octet, of which the last three bits count, and what it takes (numbers have the low octet first; `ring` is an octet,
//! of which the last two bits choose one of the rings):
//!
//! - 0 `type file n` and n octets: a message of this type with those behind it, padded with zeros; `file` chooses what comes with it, its bit 7
//!   leaves the padding away;
//! - 1 `ring place flags region`, 4 octets of length, 4 of offset: a descriptor;
//! - 2 `ring word`, 2 octets: head (0), tail (1) or flags (2) of a ring;
//! - 3 `ring n`: n further ones at the end of the ring that is the peer's;
//! - 4 `n`, 2 octets: the port takes what there is and sends n frames of this length;
//! - 5: the port's worker goes to sleep;
//! - 6, 2 octets: so many times 16 octets of the shared memory stay;
//! - 7, 2 octets, `n` and n octets: written at so many times 8 octets from the beginning.
#![no_main]

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use port::backend::memif::message::{AddRing, Hello, Init, Message, VERSION};
use port::backend::memif::trial::Trial;
use port::backend::memif::{Options, Role};
use port::{Burst, Hugepages, Mempool, Nanos, PoolCache};

static POOL: LazyLock<Mempool> = LazyLock::new(|| Mempool::new(1024, Hugepages::Never).expect("memory for a small pool"));

/// Octets of the region that a client has to begin with.
const REGION: u64 = 64 << 10;
/// Descriptors of its rings as a power of two, and octets of its buffers.
const LOG2: u8 = 3;
const BUFFER: u32 = 1024;
/// From one of its rings to the next.
const RING: u32 = 512;
/// What a ring begins with, and where its parts are.
const COOKIE: u32 = 0x03e3_1f20;
const WORDS: [u32; 3] = [6, 64, 4];
const DESCRIPTORS: u32 = 128;

/// The peer.
struct Peer {
    memory: File,
    /// Where its rings are: to the server and to the client.
    to_server: Vec<u32>,
    to_client: Vec<u32>,
    is_server: bool,
}

impl Peer {
    fn write(&self, at: u32, bytes: &[u8]) {
        // A file that grew by itself would not be what a client shared.
        let len = self.memory.metadata().map_or(0, |found| found.len());
        if u64::from(at) + bytes.len() as u64 <= len {
            let _ = self.memory.write_all_at(bytes, at.into());
        }
    }

    fn rings(&self) -> Vec<u32> {
        self.to_server.iter().chain(&self.to_client).copied().collect()
    }

    fn descriptor(&self, ring: u32, place: u8, flags: u16, region: u16, len: u32, offset: u32) {
        let mut bytes = [0; 16];
        bytes[..2].copy_from_slice(&flags.to_le_bytes());
        bytes[2..4].copy_from_slice(&region.to_le_bytes());
        bytes[4..8].copy_from_slice(&len.to_le_bytes());
        bytes[8..12].copy_from_slice(&offset.to_le_bytes());
        self.write(ring + DESCRIPTORS + 16 * u32::from(place), &bytes);
    }

    /// What a server says and a client answers until they agree, as it should be.
    fn come_to_terms(&mut self, port: &mut Trial, queues: u16) {
        if self.is_server {
            let (name, ring_log2_max) = ("peer".to_owned(), LOG2);
            let (to_client_max, to_server_max) = (queues - 1, queues - 1);
            let hello =
                Hello { name, version_min: VERSION, version_max: VERSION, region_max: 255, to_client_max, to_server_max, ring_log2_max };
            let mut word = Message::Hello(hello);
            loop {
                let answer = port.hear(&word.encode(), None).expect("an honest peer");
                match answer.expect("it is the client's turn") {
                    (Message::AddRegion { .. }, Some(file)) => self.memory = file.into(),
                    (Message::AddRing(ring), Some(_)) if ring.to_server => self.to_server.push(ring.offset),
                    (Message::AddRing(ring), Some(_)) => self.to_client.push(ring.offset),
                    (Message::Connect { .. }, None) => break,
                    _ => {}
                }
                word = Message::Ack;
            }
            assert!(port.hear(&Message::Connected { name: "peer0".to_owned() }.encode(), None).expect("an honest peer").is_none());
            return;
        }
        let init = Init { version: VERSION, id: 0, mode: 0, secret: [0; 24], name: "peer".to_owned() };
        let region: OwnedFd = self.memory.try_clone().expect("a descriptor").into();
        let mut words = vec![(Message::Init(init), None), (Message::AddRegion { index: 0, size: REGION }, Some(region))];
        for number in 0..2 * queues {
            let (to_server, index, offset) = (number < queues, number % queues, u32::from(number) * RING);
            words.push((
                Message::AddRing(AddRing { to_server, index, region: 0, offset, ring_log2: LOG2, private_header: 0 }),
                Some(eventfd()),
            ));
            if to_server { &mut self.to_server } else { &mut self.to_client }.push(offset);
            self.write(offset, &COOKIE.to_le_bytes());
            for place in 0..1 << LOG2 {
                let buffer = (u32::from(number) << LOG2) + u32::from(place);
                self.descriptor(offset, place, 0, 0, BUFFER, 8192 + buffer * BUFFER);
            }
        }
        words.push((Message::Connect { name: "peer0".to_owned() }, None));
        for (word, file) in words {
            assert!(port.hear(&word.encode(), file).expect("an honest peer").is_some());
        }
        self.to_client.iter().for_each(|ring| self.write(ring + WORDS[0], &(1u16 << LOG2).to_le_bytes()));
    }

    /// What comes beside a message.
    fn file(&self, which: u8) -> Option<OwnedFd> {
        match which % 8 {
            1 | 5 => self.memory.try_clone().ok().map(OwnedFd::from),
            2 | 6 => Some(eventfd()),
            3 => File::open("/dev/null").ok().map(OwnedFd::from),
            _ => None,
        }
    }
}

fn eventfd() -> OwnedFd {
    rustix::event::eventfd(0, rustix::event::EventfdFlags::NONBLOCK | rustix::event::EventfdFlags::CLOEXEC).expect("a descriptor")
}

/// The first `N` octets of the script.
fn take<const N: usize>(script: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = script.split_first_chunk()?;
    *script = rest;
    Some(*first)
}

fn bytes<'a>(script: &mut &'a [u8], count: u8) -> &'a [u8] {
    let (first, rest) = script.split_at(usize::from(count).min(script.len()));
    *script = rest;
    first
}

fuzz_target!(|script: &[u8]| {
    let mut pool = POOL.cache();
    play(script, &mut pool);
    pool.flush();
    assert_eq!(POOL.in_use(), 0, "a buffer leaked");
});

/// Plays the script; it ends where the connection does, or where an octet is missing.
fn play(mut script: &[u8], pool: &mut PoolCache) -> Option<()> {
    let [beginning] = take(&mut script)?;
    let is_server = beginning & 1 != 0;
    let queues = 1 + u16::from(beginning >> 2 & 1);
    let options = BTreeMap::from([("queues".to_owned(), queues.to_string()), ("buffer-size".to_owned(), BUFFER.to_string())]);
    let mut options = Options::parse("", &options).expect("right options");
    (options.role, options.ring_log2) = (if is_server { Role::Client } else { Role::Server }, LOG2);
    let memory = rustix::fs::memfd_create("peer", rustix::fs::MemfdFlags::CLOEXEC).expect("a descriptor");
    rustix::fs::ftruncate(&memory, REGION).expect("memory");
    let mut peer = Peer { memory: memory.into(), to_server: Vec::new(), to_client: Vec::new(), is_server };
    let mut port = Trial::new(&options);
    if beginning & 2 != 0 {
        peer.come_to_terms(&mut port, queues);
    } else {
        (peer.to_server, peer.to_client) = (vec![0], vec![RING]);
    }
    while let Some([step]) = take(&mut script) {
        let rings = peer.rings();
        let ring = |which: u8| rings[usize::from(which & 3) % rings.len()];
        match step % 8 {
            0 => {
                let [kind, file, n] = take(&mut script)?;
                let mut message = vec![kind, 0];
                message.extend(bytes(&mut script, n.min(126)));
                if file & 0x80 == 0 {
                    message.resize(128, 0);
                }
                match port.hear(&message, peer.file(file)) {
                    Ok(Some((answer, _))) => assert_eq!(Message::parse(&answer.encode()).as_ref(), Ok(&answer)),
                    Ok(None) => {}
                    Err(_) => {
                        assert!(port.agreed.is_none());
                        return None;
                    }
                }
            }
            1 => {
                let [which, place, flags, region, l0, l1, l2, l3, o0, o1, o2, o3] = take(&mut script)?;
                let (len, offset) = (u32::from_le_bytes([l0, l1, l2, l3]), u32::from_le_bytes([o0, o1, o2, o3]));
                peer.descriptor(ring(which), place % (1 << LOG2), flags.into(), region.into(), len, offset);
            }
            2 => {
                let [which, word, low, high] = take(&mut script)?;
                peer.write(ring(which) + WORDS[usize::from(word) % 3], &[low, high]);
            }
            3 => {
                let [which, n] = take(&mut script)?;
                let at = ring(which) + if peer.is_server { WORDS[1] } else { WORDS[0] };
                let mut count = [0; 2];
                if peer.memory.read_exact_at(&mut count, at.into()).is_ok() {
                    peer.write(at, &u16::from_le_bytes(count).wrapping_add(n.into()).to_le_bytes());
                }
            }
            4 => {
                let [n, low, high] = take(&mut script)?;
                turn(&mut port, pool, n, u16::from_le_bytes([low, high]));
            }
            5 => port.agreed.iter().flat_map(|queues| &queues.rx).for_each(|rx| drop(rx.poll_fd())),
            6 => {
                let [low, high] = take(&mut script)?;
                // Ours is sealed: that fails.
                let _ = rustix::fs::ftruncate(&peer.memory, u64::from(u16::from_le_bytes([low, high])) << 4);
            }
            _ => {
                let [low, high, n] = take(&mut script)?;
                peer.write(u32::from(u16::from_le_bytes([low, high])) << 3, bytes(&mut script, n));
            }
        }
    }
    Some(())
}

/// A worker's turn: by each queue all that there is comes in, and `count` frames of `len` octets go out.
fn turn(port: &mut Trial, pool: &mut PoolCache, count: u8, len: u16) {
    let Some(queues) = &mut port.agreed else { return };
    let mut burst = Burst::new();
    for rx in &mut queues.rx {
        rx.rx_burst(Nanos::ZERO, pool, &mut burst, 64);
        let mut frame = Vec::new();
        for packet in &burst {
            frame.clear();
            pool.copy_to(packet, &mut frame);
            assert!((14..=65_535).contains(&packet.len()) && frame.len() == packet.len(), "{} octets", packet.len());
        }
        pool.free_all(&mut burst);
    }
    let frame = vec![0xa5; usize::from(len).max(14)];
    for tx in &mut queues.tx {
        burst.extend((0..count % 16).map_while(|_| pool.alloc_copy(&frame)));
        let before = burst.len();
        let sent = tx.tx_burst(Nanos::ZERO, pool, &mut burst);
        assert_eq!(sent + burst.len(), before);
        pool.free_all(&mut burst);
    }
    if let Some(trouble) = queues.trouble() {
        assert!(!trouble.is_empty());
    }
}
