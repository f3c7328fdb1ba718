//! The server's thread: one for each socket that this process listens on, with all interfaces on it.
//!
//! It sleeps until a client comes, says something or goes, and looks from time to time whether a queue has found nonsense. A client that does
//! not come to terms within [`HANDSHAKE`] is sent away, and so is one beyond [`STRANGERS_MAX`] of them.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::bell::{bell, ring_own, silence};
use super::control::{Queues, port, waiting};
use super::message::{Init, Message};
use super::session::{ServerSession, ServerStep, connected, farewell, hello, secret};
use super::socket::{Listener, Received, receive, send};
use super::{Options, Role};
use crate::device::Port;
use crate::privilege;

/// So long a client may take until it is connected.
pub const HANDSHAKE: Duration = Duration::from_secs(5);
/// Clients that have not yet said which interface they want, at once.
const STRANGERS_MAX: usize = 32;
/// Sleep at most, in milliseconds; and while queues are to give something back.
pub const TICK: (i64, i64) = (100, 2);

/// The sockets that this process listens on.
static HUBS: Mutex<Vec<(String, Weak<Hub>)>> = Mutex::new(Vec::new());

fn hubs() -> MutexGuard<'static, Vec<(String, Weak<Hub>)>> {
    HUBS.lock().unwrap_or_else(PoisonError::into_inner)
}

enum Command {
    Add(Box<Queues>),
    Remove(u32),
}

/// A socket that is listened on. The last interface on it takes it away.
#[derive(Debug)]
struct Hub {
    /// Dropped first, so that the thread ends.
    commands: Option<Sender<Command>>,
    bell: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
    ids: Mutex<Vec<u32>>,
}

impl Hub {
    fn open(place: &str) -> io::Result<Hub> {
        let listener = Listener::open(place)?;
        let (commands, orders) = channel();
        let bell = Arc::new(bell(0)?);
        let server = Server { listener, orders, bell: Arc::clone(&bell), ports: Vec::new(), guests: Vec::new(), deaf: false };
        let thread = std::thread::Builder::new().name("memif-server".to_owned()).spawn(move || {
            privilege::give_up_all();
            server.run();
        })?;
        Ok(Hub { commands: Some(commands), bell, thread: Some(thread), ids: Mutex::default() })
    }

    fn order(&self, command: Command) {
        if let Some(commands) = &self.commands {
            let _ = commands.send(command); // The thread lives as long as this.
        }
        ring_own(&self.bell);
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        drop(self.commands.take());
        ring_own(&self.bell);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// An interface on a hub.
struct Membership {
    hub: Option<Arc<Hub>>,
    id: u32,
}

impl Drop for Membership {
    fn drop(&mut self) {
        // Under the lock: whoever opens the same socket next waits until this one is closed.
        let _hubs = hubs();
        if let Some(hub) = self.hub.take() {
            hub.ids.lock().unwrap_or_else(PoisonError::into_inner).retain(|id| *id != self.id);
            hub.order(Command::Remove(self.id));
        }
    }
}

/// Opens a port in the role of a server.
pub fn open(options: &Options) -> io::Result<Port> {
    let mut hubs = hubs();
    hubs.retain(|(_, hub)| hub.strong_count() > 0);
    let hub = match hubs.iter().find(|(place, _)| *place == options.socket).and_then(|(_, hub)| hub.upgrade()) {
        Some(hub) => hub,
        None => {
            let hub = Arc::new(Hub::open(&options.socket)?);
            hubs.push((options.socket.clone(), Arc::downgrade(&hub)));
            hub
        }
    };
    {
        let mut ids = hub.ids.lock().unwrap_or_else(PoisonError::into_inner);
        if ids.contains(&options.id) {
            drop(ids);
            drop(hubs);
            return Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                format!("there is a port with id {} on it already: give another id", options.id),
            ));
        }
        ids.push(options.id);
    }
    let membership = Membership { hub: Some(Arc::clone(&hub)), id: options.id };
    let (port, queues) = port(options, membership);
    queues.state(waiting(Role::Server));
    hub.order(Command::Add(Box::new(queues)));
    Ok(port)
}

/// A client.
#[derive(Debug)]
struct Guest {
    socket: OwnedFd,
    session: ServerSession,
    since: Instant,
    /// Number of its interface, once it has one.
    id: Option<u32>,
    /// It wants an interface whose queues still have to give back the last client's memory.
    wants: Option<Init>,
    connected: bool,
}

/// Why a guest goes.
enum Leave {
    /// It went by itself, with these words.
    Left(String),
    /// We send it away, and say why.
    Dismissed(String),
}

struct Server {
    listener: Listener,
    orders: Receiver<Command>,
    bell: Arc<OwnedFd>,
    ports: Vec<Queues>,
    guests: Vec<Guest>,
    /// Nobody can be let in at the moment.
    deaf: bool,
}

impl Server {
    fn run(mut self) {
        // Nobody is let in before the first interface is there.
        if let Ok(Command::Add(first)) = self.orders.recv() {
            self.ports.push(*first);
        }
        loop {
            let busy = self.ports.iter_mut().fold(false, |busy, port| port.collect() | busy);
            self.look_after();
            self.sleep(if busy { TICK.1 } else { TICK.0 });
            silence(&self.bell);
            // Before any client is heard: it may want what was added just before it came.
            if !self.take_orders() {
                break;
            }
            self.receive_guests();
            let mut index = 0;
            while index < self.guests.len() {
                match self.serve(index) {
                    Ok(()) => index += 1,
                    Err(leave) => self.dismiss(index, leave),
                }
            }
        }
        while !self.guests.is_empty() {
            self.dismiss(0, Leave::Dismissed("closed".to_owned()));
        }
    }

    /// Returns whether there will be further ones.
    fn take_orders(&mut self) -> bool {
        loop {
            match self.orders.try_recv() {
                Ok(Command::Add(queues)) => self.ports.push(*queues),
                Ok(Command::Remove(id)) => {
                    while let Some(index) = self.guests.iter().position(|guest| guest.id == Some(id)) {
                        self.dismiss(index, Leave::Dismissed("closed".to_owned()));
                    }
                    self.ports.retain(|port| port.options.id != id);
                }
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn sleep(&self, at_most_ms: i64) {
        let mut fds = vec![PollFd::new(&self.bell, PollFlags::IN)];
        if !self.deaf {
            fds.push(PollFd::new(&self.listener, PollFlags::IN));
        }
        fds.extend(self.guests.iter().map(|guest| PollFd::from_borrowed_fd(guest.socket.as_fd(), PollFlags::IN)));
        let timeout = Timespec { tv_sec: 0, tv_nsec: at_most_ms * 1_000_000 };
        let _ = poll(&mut fds, Some(&timeout)); // An error is a signal, or too little memory: then it was a short sleep.
    }

    /// Lets in who waits, unless there are too many strangers, or no descriptors left: then not before the next turn.
    fn receive_guests(&mut self) {
        loop {
            self.deaf = self.guests.iter().filter(|guest| guest.id.is_none()).count() >= STRANGERS_MAX;
            if self.deaf {
                return;
            }
            match self.listener.accept() {
                Ok(Some(socket)) => self.welcome(socket),
                Ok(None) => return,
                Err(_) => {
                    self.deaf = true;
                    return;
                }
            }
        }
    }

    fn welcome(&mut self, socket: OwnedFd) {
        if send(&socket, &hello(), None).is_ok() {
            let session = ServerSession::default();
            self.guests.push(Guest { socket, session, since: Instant::now(), id: None, wants: None, connected: false });
        }
    }

    /// Whoever takes too long, or has broken the rules in shared memory, goes.
    fn look_after(&mut self) {
        let mut index = 0;
        while index < self.guests.len() {
            let guest = &self.guests[index];
            let trouble = match self.ports.iter().find(|port| Some(port.options.id) == guest.id).filter(|_| guest.connected) {
                Some(port) => port.trouble(),
                None if guest.since.elapsed() > HANDSHAKE => Some("it took too long to connect".to_owned()),
                None => None,
            };
            match trouble {
                Some(trouble) => self.dismiss(index, Leave::Dismissed(trouble)),
                None => index += 1,
            }
        }
    }

    /// Takes what the guest has sent.
    fn serve(&mut self, index: usize) -> Result<(), Leave> {
        loop {
            let guest = &mut self.guests[index];
            let step = match guest.wants.take() {
                Some(init) => ServerStep::Wants(init),
                None => match receive(&guest.socket).map_err(|error| Leave::Left(error.to_string()))? {
                    Received::Nothing => return Ok(()),
                    Received::Closed => return Err(Leave::Left("the peer is gone".to_owned())),
                    Received::Datagram(bytes, file) => {
                        let message = Message::parse(&bytes).map_err(|error| Leave::Dismissed(error.to_string()))?;
                        guest.session.handle(message, file).map_err(Leave::Dismissed)?
                    }
                },
            };
            let gone = |error: io::Error| Leave::Left(format!("the peer does not listen: {error}"));
            match step {
                ServerStep::Wants(init) => match self.admit(index, &init).map_err(Leave::Dismissed)? {
                    Some(queues) => {
                        let guest = &mut self.guests[index];
                        guest.id = Some(init.id);
                        let answer = guest.session.accept(queues);
                        send(&guest.socket, &answer, None).map_err(gone)?;
                    }
                    None => {
                        self.guests[index].wants = Some(init);
                        return Ok(());
                    }
                },
                ServerStep::Answer(message) => send(&guest.socket, &message, None).map_err(gone)?,
                ServerStep::Agreed(agreement) => {
                    let id = guest.id.unwrap_or_default();
                    let Some(port) = self.ports.iter_mut().find(|port| port.options.id == id) else {
                        return Err(Leave::Dismissed("closed".to_owned()));
                    };
                    port.connect(*agreement);
                    guest.connected = true;
                    send(&guest.socket, &connected(&format!("memif{id}")), None).map_err(gone)?;
                }
                ServerStep::Left(reason) => {
                    return Err(Leave::Left(if reason.is_empty() {
                        "the peer left".to_owned()
                    } else {
                        format!("the peer left: {reason}")
                    }));
                }
            }
        }
    }

    /// May this guest have the interface it wants? Returns how many queues that has; `None`: not yet.
    fn admit(&self, index: usize, init: &Init) -> Result<Option<usize>, String> {
        let Some(port) = self.ports.iter().find(|port| port.options.id == init.id) else {
            return Err(format!("there is no interface {} here", init.id));
        };
        let wanted = secret(port.options.secret.as_deref());
        // Every byte is compared: the time it takes tells nothing.
        if port.options.secret.is_some() && wanted.iter().zip(&init.secret).fold(0, |differ, (a, b)| differ | (a ^ b)) != 0 {
            return Err("wrong secret".to_owned());
        }
        if self.guests.iter().enumerate().any(|(other, guest)| other != index && guest.id == Some(init.id)) {
            return Err(format!("interface {} has a client already", init.id));
        }
        Ok(port.is_ready().then_some(port.options.queues))
    }

    fn dismiss(&mut self, index: usize, leave: Leave) {
        let guest = self.guests.swap_remove(index);
        let reason = match leave {
            Leave::Left(reason) => reason,
            Leave::Dismissed(reason) => {
                let _ = send(&guest.socket, &farewell(&reason), None); // If it does not listen, it is gone anyway.
                reason
            }
        };
        let port = guest.id.and_then(|id| self.ports.iter_mut().find(|port| port.options.id == id));
        match port {
            Some(port) if guest.connected => port.disconnect(&format!("disconnected: {reason}; {}", waiting(Role::Server))),
            Some(port) => port.error(&format!("a client was not connected: {reason}; {}", waiting(Role::Server))),
            // Nobody's: all the socket's interfaces hear of it, unless it said nothing at all.
            None => {
                if reason != "the peer is gone" {
                    self.ports.iter().for_each(|port| port.note(&format!("a client was sent away: {reason}")));
                }
            }
        }
    }
}
