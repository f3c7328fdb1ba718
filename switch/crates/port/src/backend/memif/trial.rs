//! The port's side of a connection step by step, in the caller's thread: no socket, nobody who looks after it. Whoever calls plays the peer.
//!
//! For fuzzing and for tests: what a peer says and writes has the same consequences each time. What is left out is what threads do: who may have which
//! interface, how long it may take, and when a connection that is broken is taken from the queues.
//!
//! Threads: one has all of it; what rings the peer has one of its own, as always.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::bell::Ringer;
use super::message::Message;
use super::queue::{Connection, MemifRx};
use super::region::Regions;
use super::session::{Agreement, ClientSession, ClientStep, ServerSession, ServerStep, connected, hello};
use super::transmit::MemifTx;
use super::{Options, Role};
use crate::device::{RxQueue, TxQueue};
use crate::handover::slot;

/// A message and the file beside it.
pub type Said = (Message, Option<OwnedFd>);

/// One side of a connection.
#[derive(Debug)]
enum Side {
    Server(ServerSession),
    Client(Box<ClientSession>),
}

/// A port's queues once it has come to terms with its peer.
pub struct Queues {
    /// Receiving.
    pub rx: Vec<Box<dyn RxQueue>>,
    /// Transmitting.
    pub tx: Vec<Box<dyn TxQueue>>,
    connection: Arc<Connection>,
    regions: Arc<Regions>,
    _ringer: Ringer,
}

impl Queues {
    fn new(agreement: Agreement) -> Queues {
        let Agreement { rx, tx, connection, regions, ringer, .. } = agreement;
        // Nobody takes the ends back: they go with the queues.
        let rx = rx.into_iter().map(|end| Box::new(MemifRx::new(slot(Some(end)).1)) as Box<dyn RxQueue>).collect();
        let tx = tx.into_iter().map(|end| Box::new(MemifTx::new(slot(Some(end)).1)) as Box<dyn TxQueue>).collect();
        Queues { rx, tx, connection, regions, _ringer: ringer }
    }

    /// What the peer did to shared memory that ends the connection.
    pub fn trouble(&self) -> Option<&'static str> {
        if self.regions.is_gone() {
            return Some("the peer took its shared memory away");
        }
        self.connection.broken().map(|nonsense| nonsense.text())
    }
}

/// A port that talks to whoever calls.
pub struct Trial {
    side: Side,
    queues: usize,
    /// Once the peers agree.
    pub agreed: Option<Queues>,
}

impl Trial {
    /// A port that nobody has talked to. Of the options, socket, number and secret do not matter.
    pub fn new(options: &Options) -> Trial {
        let side = match options.role {
            Role::Server => Side::Server(ServerSession::default()),
            Role::Client => Side::Client(Box::new(ClientSession::new(options))),
        };
        Trial { side, queues: options.queues, agreed: None }
    }

    /// The first word, which is the server's.
    pub fn greeting(&self) -> Option<Message> {
        matches!(self.side, Side::Server(_)).then(hello)
    }

    /// The peer says this. Returns the answer, if there is one.
    ///
    /// # Errors
    /// The connection is over, because of this.
    pub fn hear(&mut self, bytes: &[u8], file: Option<OwnedFd>) -> Result<Option<Said>, String> {
        let answer = self.answer(bytes, file);
        if answer.is_err() {
            self.agreed = None;
        }
        answer
    }

    fn answer(&mut self, bytes: &[u8], file: Option<OwnedFd>) -> Result<Option<Said>, String> {
        let message = Message::parse(bytes).map_err(|error| error.to_string())?;
        match &mut self.side {
            Side::Server(session) => match session.handle(message, file)? {
                ServerStep::Wants(_) => Ok(Some((session.accept(self.queues), None))),
                ServerStep::Answer(answer) => Ok(Some((answer, None))),
                ServerStep::Agreed(agreement) => {
                    self.agreed = Some(Queues::new(*agreement));
                    Ok(Some((connected("memif0"), None)))
                }
                ServerStep::Left(reason) => Err(reason),
            },
            Side::Client(session) => match session.handle(message)? {
                ClientStep::Send(answer, file) => Ok(Some((answer, file))),
                ClientStep::Agreed(agreement) => {
                    self.agreed = Some(Queues::new(*agreement));
                    Ok(None)
                }
                ClientStep::Left(reason) => Err(reason),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Nanos;
    use crate::mempool::{Hugepages, Mempool};
    use crate::packet::Burst;
    use std::collections::BTreeMap;

    #[test]
    fn two_sides_come_to_terms_and_frames_cross() {
        let options = |role: &str| Options::parse("", &BTreeMap::from([("role".to_owned(), role.to_owned())])).unwrap();
        let (mut server, mut client) = (Trial::new(&options("server")), Trial::new(&options("client")));
        assert!(client.greeting().is_none());
        let mut word = server.greeting().map(|hello| (hello, None));
        let mut words = 0;
        while let Some((message, file)) = word.take() {
            let listener = if words % 2 == 0 { &mut client } else { &mut server };
            word = listener.hear(&message.encode(), file).unwrap();
            words += 1;
        }
        // HELLO, INIT, ADD_REGION, two ADD_RINGs and CONNECT, four times ACK, CONNECTED.
        assert_eq!(words, 11);
        let pool = Mempool::new(64, Hugepages::Never).unwrap();
        let mut cache = pool.cache();
        for (from, to) in [(0, 1), (1, 0)] {
            let sides = [server.agreed.as_mut().unwrap(), client.agreed.as_mut().unwrap()];
            let mut burst = Burst::new();
            sides[1].rx[0].rx_burst(Nanos::ZERO, &mut cache, &mut burst, 64);
            burst.push(cache.alloc_copy(&[7; 100]).unwrap());
            assert_eq!(sides[from].tx[0].tx_burst(Nanos::ZERO, &mut cache, &mut burst), 1);
            assert_eq!(sides[to].rx[0].rx_burst(Nanos::ZERO, &mut cache, &mut burst, 64), 1);
            assert_eq!(cache.head(&burst[0]), [7; 100]);
            cache.free_all(&mut burst);
            assert_eq!((sides[0].trouble(), sides[1].trouble()), (None, None));
        }
        assert!(server.hear(&[0; 128], None).is_err() && server.agreed.is_none());
        drop((server, client));
        cache.flush();
        assert_eq!(pool.in_use(), 0);
    }
}
