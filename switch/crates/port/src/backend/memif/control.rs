//! What both roles share of looking after a port: its queues, its state, and what control may ask.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::bell::Ringer;
use super::queue::{Connection, MemifRx, RxEnd};
use super::region::Regions;
use super::session::Agreement;
use super::transmit::{MemifTx, TxEnd};
use super::{Options, Role};
use crate::device::{Device, DeviceStatistics, LinkState, Port, RxQueue, TxQueue};
use crate::handover::{Keeper, slot};

/// Errors that are kept.
const ERRORS_MAX: usize = 100;

/// What the port's thread tells control.
#[derive(Debug, Default)]
struct Report {
    state: String,
    /// The sizes that were agreed on.
    mode: Option<String>,
    errors: Vec<String>,
}

/// Written by the port's thread, read by control.
#[derive(Debug, Default)]
struct Shared {
    up: AtomicBool,
    report: Mutex<Report>,
    link_downs: AtomicU64,
    returns: AtomicU64,
    lost: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The queues of a port, and what is known of it: the side of the thread that looks after it.
#[derive(Debug)]
pub struct Queues {
    pub options: Options,
    rx: Vec<Keeper<RxEnd>>,
    tx: Vec<Keeper<TxEnd>>,
    live: Option<(Arc<Connection>, Arc<Regions>, Ringer)>,
    /// Of the last connection, until its thread has ended.
    ringer: Option<Ringer>,
    /// Queues that have ends, receiving and transmitting: the peer may have fewer than we.
    given: (usize, usize),
    /// Ends that the queues still have and are to give back.
    coming_back: usize,
    /// What they told us of after it ended: frames may still be found lost.
    ended: Vec<(Arc<Connection>, u64)>,
    was_up: bool,
    shared: Arc<Shared>,
}

/// A port's queues, and both sides of looking after it. `guard` goes with the device: the thread ends with it.
pub fn port(options: &Options, guard: impl Send + 'static) -> (Port, Queues) {
    let shared = Arc::new(Shared::default());
    let (mut rx_queues, mut tx_queues) = (Vec::<Box<dyn RxQueue>>::new(), Vec::<Box<dyn TxQueue>>::new());
    let (mut rx, mut tx) = (Vec::new(), Vec::new());
    for _ in 0..options.queues {
        let (keeper, slot_rx) = slot(None);
        rx.push(keeper);
        rx_queues.push(Box::new(MemifRx::new(slot_rx)));
        let (keeper, slot_tx) = slot(None);
        tx.push(keeper);
        tx_queues.push(Box::new(MemifTx::new(slot_tx)));
    }
    let queues = Queues {
        options: options.clone(),
        rx,
        tx,
        live: None,
        ringer: None,
        given: (0, 0),
        coming_back: 0,
        ended: Vec::new(),
        was_up: false,
        shared: Arc::clone(&shared),
    };
    let device = MemifDevice { options: options.clone(), shared, _guard: Box::new(guard) };
    (Port { rx: rx_queues, tx: tx_queues, device: Box::new(device) }, queues)
}

impl Queues {
    /// The queues can be given ends: they have none, and no thread is left of the last ones.
    pub fn is_ready(&self) -> bool {
        self.live.is_none() && self.coming_back == 0 && self.ringer.is_none()
    }

    /// Gives the queues what they work with from now on.
    pub fn connect(&mut self, agreement: Agreement) {
        let Agreement { rx, tx, connection, regions, ringer, peer } = agreement;
        let options = &self.options;
        let mode = format!("{}, {} rx and {} tx ring(s)", options.role, rx.len(), tx.len());
        let give = |given: Result<(), _>| debug_assert!(given.is_ok(), "the queues were ready");
        self.given = (rx.len().min(self.rx.len()), tx.len().min(self.tx.len()));
        self.coming_back = self.given.0 + self.given.1;
        self.rx.iter_mut().zip(rx).for_each(|(keeper, end)| give(keeper.give(Some(end)).map_err(drop)));
        self.tx.iter_mut().zip(tx).for_each(|(keeper, end)| give(keeper.give(Some(end)).map_err(drop)));
        self.live = Some((connection, regions, ringer));
        self.shared.returns.fetch_add(u64::from(self.was_up), Ordering::Relaxed);
        self.was_up = true;
        {
            let mut report = lock(&self.shared.report);
            report.state = format!("connected to {peer}");
            report.mode = Some(mode);
        }
        self.shared.up.store(true, Ordering::Release);
    }

    /// Takes the ends back from the queues. `why` is a sentence for people.
    pub fn disconnect(&mut self, why: &str) {
        let Some((connection, _, ringer)) = self.live.take() else { return };
        ringer.end();
        self.ringer = Some(ringer);
        lock(&self.shared.report).mode = None;
        self.error(why); // Before the link is seen to be down.
        self.shared.up.store(false, Ordering::Release);
        self.shared.link_downs.fetch_add(1, Ordering::Relaxed);
        for keeper in self.rx.iter_mut().take(self.given.0) {
            let _ = keeper.give(None); // There is room: they have been given one thing since they gave everything back.
        }
        for keeper in self.tx.iter_mut().take(self.given.1) {
            let _ = keeper.give(None);
        }
        self.ended.push((connection, 0));
    }

    /// What stands against a connection at present; not an error if it is only that nobody is there.
    pub fn state(&self, text: &str) {
        let mut report = lock(&self.shared.report);
        if report.state != text {
            text.clone_into(&mut report.state);
        }
    }

    /// Something of interest while there is no connection; it does not hide why the last one ended.
    pub fn note(&self, text: &str) {
        if self.live.is_none() && lock(&self.shared.report).errors.is_empty() {
            self.state(text);
        }
    }

    /// Something went wrong.
    pub fn error(&self, text: &str) {
        let mut report = lock(&self.shared.report);
        text.clone_into(&mut report.state);
        if report.errors.len() < ERRORS_MAX && report.errors.last().is_none_or(|last| last != text) {
            report.errors.push(text.to_owned());
        }
    }

    /// What is wrong with the connection, if anything is: something a queue has found, or memory that is gone.
    pub fn trouble(&self) -> Option<String> {
        let (connection, regions, _) = self.live.as_ref()?;
        if regions.is_gone() {
            return Some("the peer took its shared memory away".to_owned());
        }
        connection.broken().map(|nonsense| nonsense.text().to_owned())
    }

    /// Closes what the queues have given back, and forgets a thread that has ended. Returns whether more is to come.
    pub fn collect(&mut self) -> bool {
        let returned = self.rx.iter_mut().map(Keeper::collect).sum::<usize>() + self.tx.iter_mut().map(Keeper::collect).sum::<usize>();
        self.coming_back = self.coming_back.saturating_sub(returned);
        for (connection, seen) in &mut self.ended {
            let lost = connection.lost.load(Ordering::Relaxed);
            self.shared.lost.fetch_add(lost - *seen, Ordering::Relaxed);
            *seen = lost;
        }
        if self.coming_back == 0 {
            self.ended.clear();
        }
        self.ringer.take_if(|ringer| ringer.has_ended());
        self.live.is_none() && (self.coming_back > 0 || self.ringer.is_some())
    }
}

impl Drop for Queues {
    fn drop(&mut self) {
        self.disconnect("closed");
    }
}

/// The port as control sees it.
struct MemifDevice {
    options: Options,
    shared: Arc<Shared>,
    /// Ends the thread, or its part of it.
    _guard: Box<dyn Send>,
}

impl Device for MemifDevice {
    fn kind(&self) -> &'static str {
        "memif"
    }

    fn describe(&self) -> String {
        let Options { socket, id, role, .. } = &self.options;
        format!("memif {socket} id {id} {role}: {}", lock(&self.shared.report).state)
    }

    fn link(&self) -> LinkState {
        if self.shared.up.load(Ordering::Acquire) { LinkState::Up } else { LinkState::Down }
    }

    fn mode(&self) -> Option<String> {
        lock(&self.shared.report).mode.clone()
    }

    fn reasons(&self) -> Vec<String> {
        let report = lock(&self.shared.report);
        if report.mode.is_some() { Vec::new() } else { vec![report.state.clone()] }
    }

    fn queues(&self) -> usize {
        self.options.queues
    }

    fn statistics(&self) -> DeviceStatistics {
        DeviceStatistics {
            tx_lost: self.shared.lost.load(Ordering::Relaxed),
            link_downs: self.shared.link_downs.load(Ordering::Relaxed),
            returns: self.shared.returns.load(Ordering::Relaxed),
            copied: None,
        }
    }

    fn errors(&self) -> Vec<String> {
        lock(&self.shared.report).errors.clone()
    }
}

/// What a port waits for, in its state.
pub fn waiting(role: Role) -> &'static str {
    match role {
        Role::Server => "waiting for a client",
        Role::Client => "waiting for a server",
    }
}
