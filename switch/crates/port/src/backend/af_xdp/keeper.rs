//! The life of an AF_XDP port: its interface goes away and comes back, and the port with it.
//!
//! A thread of its own, the keeper, sleeps until the kernel tells of a change of some link (or a tenth of a second is over), and then looks
//! at the interface. If it is gone, or another one of the same name, or has other queues, the sockets are retired: the generation is raised, the
//! queue ends give their halves back (see [`queue`](super::queue)), and the keeper closes them, which returns their buffers to the pool. As
//! soon as an interface of the name is there, it opens sockets on it and hands the halves out. Workers never wait for any of this.
//!
//! Limit: a port has as many queues as it was opened with. If the interface comes back with more, the rest would be lost; then the port
//! stays down and says so.
//!
//! The keeper's thread stays in the network namespace of the thread that opened the port.

use std::io;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;

use wire::MacAddr;

use super::interface::{Asker, Interface, LinkNews};
use super::queue::{Exchange, Shared};
use super::socket::Socket;
use super::{Obtained, Opened, Options, open_sockets};
use crate::device::{Device, DeviceStatistics, LinkState};
use crate::mempool::Mempool;
use crate::privilege;

/// How long the keeper sleeps at most, in milliseconds: news of links may be lost, and old halves want to be closed.
const TICK_MS: libc::c_int = 100;
/// While there is something to be closed it looks more often.
const BUSY_MS: libc::c_int = 5;
/// Errors that are kept.
const ERRORS_MAX: usize = 1000;

/// What the keeper tells control.
#[derive(Debug, Default)]
struct Report {
    /// Mode and queues, or why there are none.
    state: String,
    errors: Vec<String>,
    /// The last of all, also when no more are kept.
    last: String,
    obtained: Option<Obtained>,
    interface: Option<Interface>,
    link_downs: u64,
    returns: u64,
}

impl Report {
    fn error(&mut self, text: String) {
        if self.errors.len() < ERRORS_MAX && self.last != text {
            self.errors.push(text.clone());
        }
        self.last = text;
    }
}

/// The port as control sees it. Dropping it stops the keeper and takes the program off the interface.
pub struct XdpDevice {
    name: String,
    up: Arc<AtomicBool>,
    report: Arc<Mutex<Report>>,
    shared: Arc<Shared>,
    /// Its end wakes the keeper.
    stop: UnixStream,
    thread: Option<JoinHandle<()>>,
}

impl Device for XdpDevice {
    fn kind(&self) -> &'static str {
        "af_xdp"
    }

    fn describe(&self) -> String {
        let failed = &self.shared.failed;
        let mut text = format!("af_xdp {} {}", self.name, lock(&self.report).state);
        let counts = [
            (&failed.gone, "the interface went away with them"),
            (&failed.refused, "the device dropped them"),
            (&failed.runt, "they are no frames"),
        ];
        for (count, why) in counts {
            let count = count.load(Ordering::Relaxed);
            if count > 0 {
                text += &format!("; {count} not sent: {why}");
            }
        }
        let stranded = self.shared.stranded.load(Ordering::Relaxed);
        if stranded > 0 {
            text += &format!("; {stranded} buffers lost to a driver that did not give them back");
        }
        text
    }

    fn link(&self) -> LinkState {
        if self.up.load(Ordering::Acquire) { LinkState::Up } else { LinkState::Down }
    }

    fn mode(&self) -> Option<String> {
        let report = lock(&self.report);
        report.obtained.as_ref().map(|obtained| obtained.mode().to_owned())
    }

    fn reasons(&self) -> Vec<String> {
        lock(&self.report).obtained.as_ref().map_or_else(Vec::new, |obtained| obtained.reasons.clone())
    }

    fn mac(&self) -> Option<MacAddr> {
        lock(&self.report).interface.as_ref().map(|interface| interface.mac)
    }

    fn mtu(&self) -> Option<u32> {
        lock(&self.report).interface.as_ref().map(|interface| interface.mtu)
    }

    fn queues(&self) -> usize {
        self.shared.rx.len()
    }

    fn statistics(&self) -> DeviceStatistics {
        let failed = &self.shared.failed;
        let lost = [&failed.gone, &failed.refused, &failed.runt].into_iter().map(|count| count.load(Ordering::Relaxed)).sum();
        let report = lock(&self.report);
        DeviceStatistics { tx_lost: lost, link_downs: report.link_downs, returns: report.returns, copied: None }
    }

    fn errors(&self) -> Vec<String> {
        lock(&self.report).errors.clone()
    }
}

impl Drop for XdpDevice {
    fn drop(&mut self) {
        let _ = self.stop.write_all(&[1]); // It cannot be full, and if the thread is gone there is nothing to wake.
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // Had it panicked, the port would be down; dropping goes on.
        }
    }
}

fn lock(report: &Mutex<Report>) -> MutexGuard<'_, Report> {
    report.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Keeper {
    name: String,
    options: Options,
    mempool: Mempool,
    shared: Arc<Shared>,
    up: Arc<AtomicBool>,
    report: Arc<Mutex<Report>>,
    asker: Asker,
    news: LinkNews,
    stop: UnixStream,
    /// What is open, and on which interface; `None` while there is none.
    open: Option<(Opened, Interface)>,
    /// Sockets that were retired and may not be closed yet.
    retired: Vec<Weak<Socket>>,
}

/// Starts the keeper of a port whose halves are in its queue ends already.
pub fn start(
    name: &str,
    interface: Interface,
    options: Options,
    mempool: Mempool,
    shared: Arc<Shared>,
    opened: Opened,
) -> io::Result<XdpDevice> {
    let (stop, stopped) = UnixStream::pair()?;
    stop.set_nonblocking(true)?;
    let up = Arc::new(AtomicBool::new(interface.running));
    let report = Arc::new(Mutex::new(Report::default()));
    let mut keeper = Keeper {
        name: name.to_owned(),
        options,
        mempool,
        shared: Arc::clone(&shared),
        up: Arc::clone(&up),
        report: Arc::clone(&report),
        asker: Asker::new()?,
        news: LinkNews::new()?,
        stop: stopped,
        open: Some((opened, interface)),
        retired: Vec::new(),
    };
    keeper.tell();
    let thread = std::thread::Builder::new().name(format!("xdp-{name}")).spawn(move || keeper.run())?;
    Ok(XdpDevice { name: name.to_owned(), up, report, shared, stop, thread: Some(thread) })
}

impl Keeper {
    fn run(&mut self) {
        // Of what the process may do, this thread needs no more than to open the port again. If it cannot give up the rest, the port
        // works all the same, and says so.
        if let Err(error) = privilege::keep_only(&privilege::TO_OPEN.into_iter().collect()) {
            lock(&self.report).error(format!("the thread that looks after {} keeps all capabilities: {error}", self.name));
        }
        let mut wait = TICK_MS;
        while !self.sleep(wait) {
            let interface = self.asker.interface(&self.name).ok();
            self.look(interface);
            wait = if self.retired.is_empty() { TICK_MS } else { BUSY_MS };
        }
    }

    /// Waits for news; `true` when it is time to end.
    fn sleep(&self, timeout_ms: libc::c_int) -> bool {
        let entry = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        let mut entries = [entry(self.stop.as_raw_fd()), entry(self.news.raw_fd())];
        // SAFETY: the kernel writes to as many entries as we say there are.
        let ready = unsafe { libc::poll(entries.as_mut_ptr(), entries.len() as libc::nfds_t, timeout_ms) };
        if ready > 0 && entries[1].revents != 0 {
            self.news.drain();
        }
        ready > 0 && entries[0].revents != 0
    }

    fn look(&mut self, interface: Option<Interface>) {
        let same = |ours: &Interface, theirs: &Interface| {
            (ours.index, ours.rx_queues, ours.tx_queues) == (theirs.index, theirs.rx_queues, theirs.tx_queues)
        };
        let what = self.open.as_ref().and_then(|(opened, ours)| match &interface {
            None => Some("is gone"),
            Some(theirs) if !same(ours, theirs) => Some("was made anew or has other queues"),
            // The same interface, but not seen while it was away.
            Some(_) if opened.sockets.iter().filter_map(Weak::upgrade).any(|socket| socket.is_unbound()) => {
                Some("has been in another namespace")
            }
            Some(_) => None,
        });
        if let Some(what) = what {
            self.retire(what);
        }
        for exchange in &self.shared.rx {
            collect(exchange);
        }
        for exchange in &self.shared.tx {
            collect(exchange);
        }
        self.retired.retain(|socket| socket.strong_count() > 0);
        match interface {
            None => {}
            Some(interface) => {
                // Old sockets on the same interface would keep its queues busy.
                if self.open.is_none() && self.retired.is_empty() {
                    self.reopen(interface);
                } else if let Some((_, ours)) = &mut self.open
                    && *ours != interface
                {
                    *ours = interface;
                    self.tell();
                }
            }
        }
    }

    /// The sockets are no use any more: their halves are called back.
    fn retire(&mut self, what: &str) {
        let Some((opened, _)) = self.open.take() else { return };
        self.retired.extend(opened.sockets);
        drop(opened.link);
        // What was handed out and not yet taken.
        self.shared.rx.iter().for_each(|exchange| drop(exchange.fresh.pop()));
        self.shared.tx.iter().for_each(|exchange| drop(exchange.fresh.pop()));
        // Release: an end that sees the new generation finds no stale half.
        self.shared.generation.fetch_add(1, Ordering::Release);
        lock(&self.report).error(format!("interface {} {what}: the port waits for it to come back", self.name));
        self.tell();
    }

    fn reopen(&mut self, interface: Interface) {
        let (rx, tx) = (self.shared.rx.len(), self.shared.tx.len());
        if interface.rx_queues as usize > rx {
            let found = interface.rx_queues;
            lock(&self.report).error(format!(
                "interface {0} has {found} receive queues now and the port was opened with {rx}: start the switch anew, or `ethtool -L {0}`",
                self.name
            ));
            return self.tell();
        }
        let opened = open_sockets(&self.name, &interface, &self.options, &self.mempool, &self.shared.stranded);
        let mut opened = match opened {
            Ok(opened) => opened,
            Err(error) => {
                lock(&self.report).error(error.to_string());
                return self.tell();
            }
        };
        for (exchange, half) in self.shared.rx.iter().zip(opened.rx.drain(..)) {
            hand_out(exchange, half);
        }
        opened.tx.truncate(tx);
        for (exchange, half) in self.shared.tx.iter().zip(opened.tx.drain(..)) {
            hand_out(exchange, half);
        }
        // Release: the halves are in place before the generation says so.
        self.shared.generation.fetch_add(1, Ordering::Release);
        {
            let mut report = lock(&self.report);
            report.error(format!("interface {} is back (index {})", self.name, interface.index));
            report.returns += 1;
        }
        self.open = Some((opened, interface));
        self.tell();
    }

    /// Says what there is: mode, queues, link.
    fn tell(&self) {
        let state = match &self.open {
            Some((opened, interface)) => {
                let queues = opened.sockets.len();
                let plural = if queues == 1 { "queue" } else { "queues" };
                format!("({}), {queues} {plural}, {}", interface.driver, opened.obtained)
            }
            None => format!("closed: {}", lock(&self.report).last),
        };
        let up = self.open.as_ref().is_some_and(|(_, interface)| interface.running);
        if let Some((_, interface)) = &self.open {
            self.shared.frame_max.store(interface.frame_max(), Ordering::Relaxed);
        }
        let mut report = lock(&self.report);
        if self.up.swap(up, Ordering::AcqRel) && !up {
            report.link_downs += 1;
        }
        report.state = state;
        report.obtained = self.open.as_ref().map(|(opened, _)| opened.obtained.clone());
        report.interface = self.open.as_ref().map(|(_, interface)| interface.clone());
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // Halves nobody will take or give back any more are closed here.
        self.shared.rx.iter().for_each(|exchange| drop((exchange.fresh.pop(), exchange.spent.pop())));
        self.shared.tx.iter().for_each(|exchange| drop((exchange.fresh.pop(), exchange.spent.pop())));
    }
}

/// Closes what a queue end has given back, and what was meant for one that is gone.
fn collect<H>(exchange: &Exchange<H>) {
    while exchange.spent.pop().is_some() {}
    if exchange.abandoned.load(Ordering::Acquire) {
        drop(exchange.fresh.pop());
    }
}

fn hand_out<H>(exchange: &Exchange<H>, half: H) {
    // Nobody there: it ends here. A full place cannot be (`retire` has emptied it), and would mean the same.
    if !exchange.abandoned.load(Ordering::Acquire) {
        let _ = exchange.fresh.push(half);
    }
}
