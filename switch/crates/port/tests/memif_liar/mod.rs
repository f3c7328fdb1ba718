//! A peer of memif ports that knows the protocol and need not keep to it, for the tests that let it break the rules.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use port::backend::memif::message::{AddRing, Hello, Init, Message, VERSION};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    SocketAddrUnix, SocketFlags, SocketType,
};

use crate::world::{self, Opened};

/// Bytes of the region a lying client makes.
pub const REGION: usize = 64 << 10;
/// Descriptors of its rings.
pub const LOG2: u8 = 4;
/// Where its rings lie, and its buffers.
pub const TO_SERVER: u32 = 0;
pub const TO_CLIENT: u32 = 1024;
pub const BUFFERS: u32 = 4096;
pub const BUFFER: u32 = 512;

/// A peer that knows the protocol and need not keep to it.
pub struct Liar {
    pub socket: OwnedFd,
    pub region: Option<Mapping>,
    pub to_server: u32,
    pub to_client: u32,
    /// The eventfds of its rings: to the server, to the client.
    pub bells: Vec<OwnedFd>,
}

/// The shared memory of a liar.
pub struct Mapping {
    pub base: *mut u8,
    pub len: usize,
    pub file: OwnedFd,
}

impl Mapping {
    pub fn new(file: OwnedFd, len: usize) -> Mapping {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, libc::MAP_SHARED, file.as_raw_fd(), 0) };
        assert_ne!(base, libc::MAP_FAILED);
        Mapping { base: base.cast(), len, file }
    }

    pub fn write(&self, at: u32, bytes: &[u8]) {
        let at = at as usize;
        assert!(at + bytes.len() <= self.len);
        for (index, byte) in bytes.iter().enumerate() {
            // SAFETY: inside the mapping.
            unsafe { self.base.add(at + index).write_volatile(*byte) };
        }
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
    }

    pub fn read16(&self, at: u32) -> u16 {
        // SAFETY: inside the mapping, and even.
        unsafe { self.base.add(at as usize).cast::<u16>().read_volatile() }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: our own mapping.
        unsafe { libc::munmap(self.base.cast(), self.len) };
    }
}

pub fn memfd(len: usize) -> OwnedFd {
    let file = rustix::fs::memfd_create("liar", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    rustix::fs::ftruncate(&file, len as u64).unwrap();
    file
}

pub fn eventfd() -> OwnedFd {
    rustix::event::eventfd(0, rustix::event::EventfdFlags::NONBLOCK).unwrap()
}

pub fn seqpacket() -> OwnedFd {
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    rustix::net::sockopt::set_socket_timeout(&socket, rustix::net::sockopt::Timeout::Recv, Some(world::PATIENCE)).unwrap();
    socket
}

pub fn send(socket: &OwnedFd, bytes: &[u8], file: Option<BorrowedFd<'_>>) -> bool {
    let files = file.map(|file| [file]);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if let Some(files) = &files {
        beside.push(SendAncillaryMessage::ScmRights(files));
    }
    rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut beside, SendFlags::NOSIGNAL).is_ok()
}

/// The next message; `None` when the port has closed the connection.
pub fn receive(socket: &OwnedFd) -> Option<(Message, Option<OwnedFd>)> {
    let mut bytes = [0; 128];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut beside, RecvFlags::CMSG_CLOEXEC).ok()?;
    let file = beside.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut files) => files.next(),
        _ => None,
    });
    (received.bytes > 0).then(|| (Message::parse(&bytes).unwrap(), file))
}

pub fn init() -> Message {
    Message::Init(Init { version: VERSION, id: 0, mode: 0, secret: [0; 24], name: "liar".to_owned() })
}

pub fn ring(to_server: bool) -> AddRing {
    let offset = if to_server { TO_SERVER } else { TO_CLIENT };
    AddRing { to_server, index: 0, region: 0, offset, ring_log2: LOG2, private_header: 0 }
}

impl Liar {
    /// A client that has heard HELLO.
    pub fn call(path: &str) -> Liar {
        let socket = seqpacket();
        rustix::net::connect(&socket, &SocketAddrUnix::new(path).unwrap()).unwrap();
        let Some((Message::Hello(_), None)) = receive(&socket) else { panic!("no HELLO") };
        Liar { socket, region: None, to_server: TO_SERVER, to_client: TO_CLIENT, bells: Vec::new() }
    }

    pub fn say(&self, message: &Message, file: Option<&OwnedFd>) -> bool {
        send(&self.socket, &message.encode(), file.map(AsFd::as_fd))
    }

    /// Says something and hears the answer; `Err` is the reason for the end.
    pub fn ask(&self, message: &Message, file: Option<&OwnedFd>) -> Result<Message, String> {
        self.say(message, file);
        match receive(&self.socket) {
            Some((Message::Disconnect { reason, .. }, _)) => Err(reason),
            Some((message, _)) => Ok(message),
            None => Err("closed without a word".to_owned()),
        }
    }

    /// A client that `end` has connected as it should, with empty rings and buffers for the server.
    pub fn connected(path: &str, end: &mut Opened) -> Liar {
        let mut liar = Liar::call(path);
        let file = memfd(REGION);
        assert!(liar.say(&init(), None));
        // It is let in when the queues have given back everything of the last client, so they must go on.
        end.until("an answer", |end| {
            end.turn();
            let mut fds = [PollFd::new(&liar.socket, PollFlags::IN)];
            poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
        });
        assert!(matches!(receive(&liar.socket), Some((Message::Ack, None))));
        assert_eq!(liar.ask(&Message::AddRegion { index: 0, size: REGION as u64 }, Some(&file)), Ok(Message::Ack));
        for to_server in [true, false] {
            let bell = eventfd();
            assert_eq!(liar.ask(&Message::AddRing(ring(to_server)), Some(&bell)), Ok(Message::Ack));
            liar.bells.push(bell);
        }
        let mapping = Mapping::new(file, REGION);
        for (number, at) in [TO_SERVER, TO_CLIENT].into_iter().enumerate() {
            mapping.write(at, &0x03e3_1f20u32.to_ne_bytes());
            for slot in 0..1u32 << LOG2 {
                let buffer = BUFFERS + (((number as u32) << LOG2) + slot) * BUFFER;
                mapping.write(at + 128 + 16 * slot, &descriptor(0, 0, BUFFER, buffer));
            }
        }
        assert_eq!(liar.ask(&Message::Connect { name: "liar0".to_owned() }, None), Ok(Message::Connected { name: "memif0".to_owned() }));
        mapping.write(TO_CLIENT + 6, &(1u16 << LOG2).to_ne_bytes());
        liar.region = Some(mapping);
        liar
    }

    pub fn memory(&self) -> &Mapping {
        self.region.as_ref().unwrap()
    }

    /// `count` descriptors more by the ring at `ring`, if the head is where they count.
    pub fn advance(&self, ring: u32, word: u32, count: u16) {
        let at = self.memory().read16(ring + word);
        self.memory().write(ring + word, &at.wrapping_add(count).to_ne_bytes());
    }
}

pub const FLAGS: u32 = 4;
pub const HEAD: u32 = 6;
pub const TAIL: u32 = 64;

pub fn descriptor(flags: u16, region: u16, len: u32, offset: u32) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..2].copy_from_slice(&flags.to_ne_bytes());
    bytes[2..4].copy_from_slice(&region.to_ne_bytes());
    bytes[4..8].copy_from_slice(&len.to_ne_bytes());
    bytes[8..12].copy_from_slice(&offset.to_ne_bytes());
    bytes
}

/// A lying server: it listens where our client calls.
pub struct Den {
    pub listener: OwnedFd,
}

impl Den {
    pub fn open(path: &str) -> Den {
        let listener = seqpacket();
        rustix::net::bind(&listener, &SocketAddrUnix::new(path).unwrap()).unwrap();
        rustix::net::listen(&listener, 8).unwrap();
        rustix::io::ioctl_fionbio(&listener, true).unwrap();
        Den { listener }
    }

    /// The next call of `end`, which calls again when its queues have given everything back.
    pub fn accept(&self, end: &mut Opened) -> OwnedFd {
        let mut socket = None;
        end.until("a call", |end| {
            end.turn();
            socket = rustix::net::accept(&self.listener).ok();
            socket.is_some()
        });
        let socket = socket.unwrap();
        rustix::net::sockopt::set_socket_timeout(&socket, rustix::net::sockopt::Timeout::Recv, Some(world::PATIENCE)).unwrap();
        socket
    }

    pub fn hello() -> Message {
        let (version_min, version_max, ring_log2_max) = (VERSION, VERSION, 14);
        let name = "liar".to_owned();
        Message::Hello(Hello { name, version_min, version_max, region_max: 255, to_client_max: 0, to_server_max: 0, ring_log2_max })
    }

    /// Connects the next client as it should be.
    pub fn connect(&self, end: &mut Opened) -> Liar {
        let mut liar = Liar { socket: self.accept(end), region: None, to_server: 0, to_client: 0, bells: Vec::new() };
        assert!(liar.say(&Den::hello(), None));
        loop {
            match receive(&liar.socket).expect("a message") {
                (Message::Init(_), None) => {}
                (Message::AddRegion { size, .. }, Some(file)) => liar.region = Some(Mapping::new(file, size as usize)),
                (Message::AddRing(ring), Some(bell)) => {
                    *if ring.to_server { &mut liar.to_server } else { &mut liar.to_client } = ring.offset;
                    liar.bells.push(bell);
                }
                (Message::Connect { .. }, None) => break,
                (message, _) => panic!("{message:?}"),
            }
            assert!(liar.say(&Message::Ack, None));
        }
        assert!(liar.say(&Message::Connected { name: "liar0".to_owned() }, None));
        liar
    }
}
