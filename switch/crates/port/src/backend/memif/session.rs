//! Coming to terms: the state of a memif connection while its peers exchange messages, for each role. No socket is touched here.
//!
//! The server says HELLO. The client answers with INIT, its regions, its rings and CONNECT, each when the server has acknowledged the one
//! before; the server maps what it is told of and says CONNECTED. Either says DISCONNECT when it has had enough.
//!
//! Every number of the peer's is checked here, once: regions against their files, rings against regions, indices against what was agreed.
//! An error is a sentence for the peer (in DISCONNECT) and for people. What peers write into shared memory later is for
//! [`queue`](super::queue) to check.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use super::bell::{Ringer, bell};
use super::message::{AddRing, Hello, Init, Message, SECRET_LEN, VERSION};
use super::queue::{Buffers, Connection, End, RxEnd};
use super::region::{Region, Regions, is_eventfd};
use super::ring::{RING_LOG2, Ring, ring_len};
use super::transmit::TxEnd;
use super::{Options, QUEUES_MAX};

/// Largest index of a region that a client may send.
const REGION_INDEX_MAX: u16 = 255;
/// Ethernet frames: the only mode a switch has a use for.
const MODE_ETHERNET: u8 = 0;
/// What we call ourselves.
const NAME: &str = concat!("bladeswitch ", env!("CARGO_PKG_VERSION"));

/// Two peers agree: what the queues work with.
#[derive(Debug)]
pub struct Agreement {
    /// Receiving ends, by queue.
    pub rx: Vec<RxEnd>,
    /// Transmitting ends, by queue.
    pub tx: Vec<TxEnd>,
    /// What the queues tell us.
    pub connection: Arc<Connection>,
    /// To look whether the peer took any away.
    pub regions: Arc<Regions>,
    /// Rings what the transmitting ends ask for.
    pub ringer: Ringer,
    /// The peer's program and its name for the interface.
    pub peer: String,
}

/// Ends of rings with the eventfds of their doorbells.
type Ends = Vec<(End, OwnedFd)>;

/// What the queues work with, of rings that have been checked.
fn agreement(rx: Ends, tx: Ends, connection: Arc<Connection>, regions: Arc<Regions>, peer: String) -> io::Result<Agreement> {
    let rx = rx.into_iter().map(|(end, bell)| RxEnd::new(end, bell)).collect::<io::Result<_>>()?;
    let (tx, bells): (Vec<End>, Vec<OwnedFd>) = tx.into_iter().unzip();
    let (ringer, doorbells) = Ringer::start(bells)?;
    let tx = tx.into_iter().zip(doorbells).map(|(end, doorbell)| TxEnd::new(end, doorbell)).collect();
    Ok(Agreement { rx, tx, connection, regions, ringer, peer })
}

/// Our first word to a client.
pub fn hello() -> Message {
    Message::Hello(Hello {
        name: NAME.to_owned(),
        version_min: VERSION,
        version_max: VERSION,
        region_max: REGION_INDEX_MAX,
        to_client_max: QUEUES_MAX as u16 - 1,
        to_server_max: QUEUES_MAX as u16 - 1,
        ring_log2_max: *RING_LOG2.end(),
    })
}

/// The farewell that names a reason.
pub fn farewell(reason: &str) -> Message {
    Message::Disconnect { code: 0, reason: reason.to_owned() }
}

/// The secret as it is sent.
pub fn secret(text: Option<&str>) -> [u8; SECRET_LEN] {
    let mut secret = [0; SECRET_LEN];
    for (place, byte) in secret.iter_mut().zip(text.unwrap_or("").bytes()) {
        *place = byte;
    }
    secret
}

/// A ring that a client told of.
#[derive(Debug)]
struct Told {
    ring: AddRing,
    bell: OwnedFd,
}

/// What a server does next.
#[derive(Debug)]
pub enum ServerStep {
    /// A client wants an interface: look whether it may have it, and then [accept](ServerSession::accept) it.
    Wants(Init),
    /// Send this.
    Answer(Message),
    /// Give this to the queues, and send [`connected`].
    Agreed(Box<Agreement>),
    /// The client is leaving.
    Left(String),
}

/// The answer to CONNECT.
pub fn connected(name: &str) -> Message {
    Message::Connected { name: name.to_owned() }
}

#[derive(Debug, PartialEq, Eq)]
enum ServerState {
    /// HELLO is out.
    Greeted,
    /// INIT has come and waits to be accepted.
    Asked,
    /// Regions and rings come.
    Told,
    /// CONNECT has come.
    Agreed,
}

/// The server's side.
#[derive(Debug)]
pub struct ServerSession {
    state: ServerState,
    queues: usize,
    program: String,
    regions: Vec<Region>,
    to_server: Vec<Told>,
    to_client: Vec<Told>,
}

impl Default for ServerSession {
    fn default() -> Self {
        ServerSession {
            state: ServerState::Greeted,
            queues: 0,
            program: String::new(),
            regions: Vec::new(),
            to_server: Vec::new(),
            to_client: Vec::new(),
        }
    }
}

impl ServerSession {
    /// The client may have an interface of so many queues. Returns what to send.
    pub fn accept(&mut self, queues: usize) -> Message {
        self.queues = queues;
        self.state = ServerState::Told;
        Message::Ack
    }

    /// A message has come, with a file beside it or without.
    ///
    /// # Errors
    /// The connection cannot go on, because of this.
    pub fn handle(&mut self, message: Message, file: Option<OwnedFd>) -> Result<ServerStep, String> {
        match (&self.state, message) {
            (_, Message::Disconnect { reason, .. }) => Ok(ServerStep::Left(reason)),
            (ServerState::Greeted, Message::Init(init)) => {
                if init.version != VERSION {
                    return Err(format!("version {:#x}: expected {VERSION:#x}", init.version));
                }
                if init.mode != MODE_ETHERNET {
                    return Err("only Ethernet mode is supported".to_owned());
                }
                self.program.clone_from(&init.name);
                self.state = ServerState::Asked;
                Ok(ServerStep::Wants(init))
            }
            (ServerState::Told, Message::AddRegion { index, size }) => {
                if usize::from(index) != self.regions.len() || index > REGION_INDEX_MAX {
                    return Err(format!("region {index}: expected {}, and at most {REGION_INDEX_MAX}", self.regions.len()));
                }
                let file = file.ok_or("region: no file came with it")?;
                self.regions.push(Region::of_peer(&file, size)?);
                Ok(ServerStep::Answer(Message::Ack))
            }
            (ServerState::Told, Message::AddRing(ring)) => {
                self.add_ring(ring, file)?;
                Ok(ServerStep::Answer(Message::Ack))
            }
            (ServerState::Told, Message::Connect { name }) => {
                self.state = ServerState::Agreed;
                Ok(ServerStep::Agreed(Box::new(self.agree(&name)?)))
            }
            (_, message) => Err(format!("{} is out of order", message.word())),
        }
    }

    fn add_ring(&mut self, ring: AddRing, file: Option<OwnedFd>) -> Result<(), String> {
        let told = if ring.to_server { &mut self.to_server } else { &mut self.to_client };
        if usize::from(ring.index) != told.len() {
            return Err(format!("ring {}: expected {}", ring.index, told.len()));
        }
        if told.len() >= self.queues {
            return Err(format!("ring {}: this interface has {} queue(s) each way", ring.index, self.queues));
        }
        if ring.private_header != 0 {
            return Err("ring: private headers are not supported".to_owned());
        }
        let bell = file.filter(|file| is_eventfd(file.as_fd())).ok_or("ring: no eventfd came with it")?;
        rustix::fs::fcntl_setfl(&bell, rustix::fs::OFlags::NONBLOCK).map_err(|error| format!("ring: eventfd: {error}"))?;
        told.push(Told { ring, bell });
        Ok(())
    }

    fn agree(&mut self, name: &str) -> Result<Agreement, String> {
        let regions = Arc::new(Regions(std::mem::take(&mut self.regions)));
        let connection = Arc::new(Connection::default());
        let end = |told: Told| {
            let AddRing { index, region, offset, ring_log2, .. } = told.ring;
            let ring = Ring::new(&regions, region, offset, ring_log2).ok_or_else(|| {
                format!("ring {index}: 2^{ring_log2} descriptors at {offset} of region {region} are not inside, not aligned or too many")
            })?;
            if !ring.has_cookie() {
                return Err(format!("ring {index}: there is no ring where it is said to be"));
            }
            Ok((End { ring, buffers: Buffers::Peer, connection: Arc::clone(&connection) }, told.bell))
        };
        let rx = std::mem::take(&mut self.to_server).into_iter().map(end).collect::<Result<Ends, String>>()?;
        let tx = std::mem::take(&mut self.to_client).into_iter().map(end).collect::<Result<Ends, String>>()?;
        let peer = format!("{} ({name})", self.program);
        agreement(rx, tx, connection, Arc::clone(&regions), peer).map_err(|error| format!("doorbells: {error}"))
    }
}

/// What a client does next.
#[derive(Debug)]
pub enum ClientStep {
    /// Send this, and the file beside it.
    Send(Message, Option<OwnedFd>),
    /// Give this to the queues.
    Agreed(Box<Agreement>),
    /// The server is leaving.
    Left(String),
}

/// The client's side.
#[derive(Debug)]
pub struct ClientSession {
    options: Options,
    /// HELLO has come.
    greeted: bool,
    program: String,
    /// To be sent, each when the one before is acknowledged.
    to_send: VecDeque<(Message, Option<OwnedFd>)>,
    to_server: Ends,
    to_client: Ends,
    regions: Arc<Regions>,
}

impl ClientSession {
    /// Waits for HELLO.
    pub fn new(options: &Options) -> ClientSession {
        ClientSession {
            options: options.clone(),
            greeted: false,
            program: String::new(),
            to_send: VecDeque::new(),
            to_server: Vec::new(),
            to_client: Vec::new(),
            regions: Arc::default(),
        }
    }

    /// A message has come.
    ///
    /// # Errors
    /// The connection cannot go on, because of this.
    pub fn handle(&mut self, message: Message) -> Result<ClientStep, String> {
        match message {
            Message::Disconnect { reason, .. } => Ok(ClientStep::Left(reason)),
            Message::Hello(hello) if !self.greeted => {
                self.greeted = true;
                if hello.version_min > VERSION || hello.version_max < VERSION {
                    return Err(format!("versions {:#x} to {:#x}: expected {VERSION:#x}", hello.version_min, hello.version_max));
                }
                self.program.clone_from(&hello.name);
                self.prepare(&hello).map_err(|error| format!("shared memory: {error}"))?;
                self.next()
            }
            Message::Ack if self.greeted => self.next(),
            Message::Connected { name } if self.greeted && self.to_send.is_empty() && !self.to_server.is_empty() => {
                let (to_server, to_client) = (std::mem::take(&mut self.to_server), std::mem::take(&mut self.to_client));
                let connection = Arc::clone(&to_server[0].0.connection);
                let peer = format!("{} ({name})", self.program);
                agreement(to_client, to_server, connection, Arc::clone(&self.regions), peer)
                    .map(|agreement| ClientStep::Agreed(Box::new(agreement)))
                    .map_err(|error| format!("doorbells: {error}"))
            }
            message => Err(format!("{} is out of order", message.word())),
        }
    }

    fn next(&mut self) -> Result<ClientStep, String> {
        let (message, file) = self.to_send.pop_front().ok_or("ACK is out of order")?;
        Ok(ClientStep::Send(message, file))
    }

    /// Makes regions and rings, and the messages that tell of them.
    fn prepare(&mut self, hello: &Hello) -> io::Result<()> {
        let options = &self.options;
        let queues = |max: u16| options.queues.min(usize::from(max) + 1);
        let (to_server, to_client) = (queues(hello.to_server_max), queues(hello.to_client_max));
        let log2 = options.ring_log2.min(hello.ring_log2_max).max(*RING_LOG2.start());
        let layout = Layout { rings: to_server + to_client, log2, buffer_size: options.buffer_size };
        let (region, file) = Region::create(layout.region_len())?;
        let init = Init {
            version: VERSION,
            id: options.id,
            mode: MODE_ETHERNET,
            secret: secret(options.secret.as_deref()),
            name: NAME.to_owned(),
        };
        self.to_send.push_back((Message::Init(init), None));
        self.to_send.push_back((Message::AddRegion { index: 0, size: region.len() as u64 }, Some(file)));
        self.regions = Arc::new(Regions(vec![region]));
        let connection = Arc::new(Connection::default());
        for ring_index in 0..layout.rings {
            let is_to_server = ring_index < to_server;
            let index = if is_to_server { ring_index } else { ring_index - to_server } as u16;
            let offset = layout.ring_at(ring_index);
            let ring = Ring::new(&self.regions, 0, offset, log2).ok_or_else(|| io::Error::other("a ring does not fit its region"))?;
            ring.initialise();
            let bell = bell(0)?;
            let add = AddRing { to_server: is_to_server, index, region: 0, offset, ring_log2: log2, private_header: 0 };
            self.to_send.push_back((Message::AddRing(add), Some(bell.try_clone()?)));
            let buffers = Buffers::Ours { offset: layout.buffers_at(ring_index), stride: layout.stride(), size: layout.buffer_size };
            let end = (End { ring, buffers, connection: Arc::clone(&connection) }, bell);
            if is_to_server { &mut self.to_server } else { &mut self.to_client }.push(end);
        }
        self.to_send.push_back((Message::Connect { name: format!("memif{}", options.id) }, None));
        Ok(())
    }
}

/// Where everything lies in a client's region: rings, then the buffers of each ring.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Rings, both ways.
    pub rings: usize,
    /// Descriptors of each as a power of two.
    pub log2: u8,
    /// Bytes of a buffer.
    pub buffer_size: u32,
}

impl Layout {
    fn ring_at(self, index: usize) -> u32 {
        (index * ring_len(self.log2)) as u32
    }

    /// From one buffer to the next: whole cache lines.
    fn stride(self) -> u32 {
        self.buffer_size.next_multiple_of(64)
    }

    fn buffers_at(self, index: usize) -> u32 {
        ((self.rings * ring_len(self.log2)).next_multiple_of(4096) + index * ((self.stride() as usize) << self.log2)) as u32
    }

    /// Bytes of the region.
    pub fn region_len(self) -> usize {
        (self.rings * ring_len(self.log2)).next_multiple_of(4096) + self.rings * ((self.stride() as usize) << self.log2)
    }
}
