//! The client's thread: one for each port in that role. It connects, comes to terms, sleeps until the server goes, and tries again.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::bell::{bell, ring_own};
use super::control::{Queues, port, waiting};
use super::message::Message;
use super::server::{HANDSHAKE, TICK};
use super::session::{ClientSession, ClientStep, farewell};
use super::socket::{Received, connect, receive, send};
use super::{Options, Role};
use crate::device::Port;
use crate::privilege;

/// From one try to the next.
const RETRY: Duration = Duration::from_millis(100);

/// Ends the thread.
struct Stop {
    stop: Arc<(AtomicBool, OwnedFd)>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Stop {
    fn drop(&mut self) {
        self.stop.0.store(true, Ordering::Release);
        ring_own(&self.stop.1);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Opens a port in the role of a client.
pub fn open(options: &Options) -> io::Result<Port> {
    super::socket::address(&options.socket)?; // A path that is too long never gets shorter.
    let stop = Arc::new((AtomicBool::new(false), bell(0)?));
    let (to, from) = std::sync::mpsc::channel::<Queues>();
    let theirs = Arc::clone(&stop);
    let thread = std::thread::Builder::new().name("memif-client".to_owned()).spawn(move || {
        privilege::give_up_all();
        if let Ok(queues) = from.recv() {
            Client { queues, talk: None, retry: Instant::now(), stop: theirs }.run();
        }
    })?;
    let (port, queues) = port(options, Stop { stop, thread: Some(thread) });
    queues.state(waiting(Role::Client));
    let _ = to.send(queues); // It waits for that.
    Ok(port)
}

/// A connection.
struct Talk {
    socket: OwnedFd,
    session: ClientSession,
    since: Instant,
    connected: bool,
}

struct Client {
    queues: Queues,
    talk: Option<Talk>,
    /// Not before that.
    retry: Instant,
    stop: Arc<(AtomicBool, OwnedFd)>,
}

impl Client {
    fn run(mut self) {
        while !self.stop.0.load(Ordering::Acquire) {
            let busy = self.queues.collect();
            if self.talk.is_none() && self.queues.is_ready() && Instant::now() >= self.retry {
                self.call();
            }
            self.sleep(if busy { TICK.1 } else { TICK.0 });
            if let Err((reason, tell)) = self.listen() {
                self.leave(&reason, tell);
            }
        }
        self.leave("closed", true);
    }

    fn sleep(&self, at_most_ms: i64) {
        let mut fds = vec![PollFd::new(&self.stop.1, PollFlags::IN)];
        fds.extend(self.talk.as_ref().map(|talk| PollFd::new(&talk.socket, PollFlags::IN)));
        let timeout = Timespec { tv_sec: 0, tv_nsec: at_most_ms * 1_000_000 };
        let _ = poll(&mut fds, Some(&timeout)); // An error is a signal, or too little memory: then it was a short sleep.
    }

    /// Tries to connect.
    fn call(&mut self) {
        self.retry = Instant::now() + RETRY;
        match connect(&self.queues.options.socket) {
            Ok(socket) => {
                let session = ClientSession::new(&self.queues.options);
                self.talk = Some(Talk { socket, session, since: Instant::now(), connected: false });
            }
            Err(error) => {
                // The first words stay if the last server said why it went.
                self.queues.note(&format!("{}: {error}", waiting(Role::Client)));
            }
        }
    }

    /// Takes what the server has sent. An error says why it is over, and whether the server is to be told.
    fn listen(&mut self) -> Result<(), (String, bool)> {
        let Some(talk) = &mut self.talk else { return Ok(()) };
        loop {
            match receive(&talk.socket).map_err(|error| (error.to_string(), false))? {
                Received::Nothing => break,
                Received::Closed => return Err(("the peer is gone".to_owned(), false)),
                Received::Datagram(bytes, _) => {
                    let message = Message::parse(&bytes).map_err(|error| (error.to_string(), true))?;
                    match talk.session.handle(message).map_err(|reason| (reason, true))? {
                        ClientStep::Send(message, file) => {
                            let file = file.as_ref().map(std::os::fd::AsFd::as_fd);
                            send(&talk.socket, &message, file).map_err(|error| (format!("the peer does not listen: {error}"), false))?;
                        }
                        ClientStep::Agreed(agreement) => {
                            self.queues.connect(*agreement);
                            talk.connected = true;
                        }
                        ClientStep::Left(reason) => return Err((format!("the peer left: {reason}"), false)),
                    }
                }
            }
        }
        if !talk.connected && talk.since.elapsed() > HANDSHAKE {
            return Err(("the server took too long to connect".to_owned(), true));
        }
        match self.queues.trouble() {
            Some(trouble) => Err((trouble, true)),
            None => Ok(()),
        }
    }

    fn leave(&mut self, reason: &str, tell: bool) {
        let Some(talk) = self.talk.take() else { return };
        if tell {
            let _ = send(&talk.socket, &farewell(reason), None); // If it does not listen, it is gone anyway.
        }
        let text = format!("{}: {reason}; {}", if talk.connected { "disconnected" } else { "not connected" }, waiting(Role::Client));
        match talk.connected {
            true => self.queues.disconnect(&text),
            false => self.queues.error(&text),
        }
        self.retry = Instant::now() + RETRY;
    }
}
