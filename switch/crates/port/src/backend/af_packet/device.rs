//! The life of a port on packet sockets: its interface goes down, goes away, comes back under another index, changes its MTU.
//!
//! Control calls [`Device::maintain`], which hears of changes over rtnetlink. When the interface is gone, the queues are given nothing
//! ([`handover`](crate::handover)), and refuse what they are to send by that reason; when one of the same name is there, they are given new
//! sockets. No worker waits for any of it, and other ports do not notice.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use wire::MacAddr;

use super::ring::{Fanout, RxRing};
use super::send::TxSocket;
use super::{Options, PacketRx, PacketTx};
use crate::clock::Nanos;
use crate::device::{Device, DeviceStatistics, LinkState, Port, Refusal, RxDrops, RxQueue, TxQueue};
use crate::handover::{Keeper, slot};
use crate::netdev::hide::{Hidden, hide};
use crate::netdev::link::Link;
use crate::netdev::prepare::Preparation;
use crate::netdev::{Netdev, OpenInterfaceError};
use crate::sys;

/// The state of the interface is asked for so often even if nobody tells of a change: news of links may be lost.
const LOOK_PERIOD: Nanos = Nanos::from_millis(1000);
/// So often it is tried to open an interface that is there and cannot be opened.
const RETRY_PERIOD: Nanos = Nanos::from_millis(100);
/// Errors that are kept.
const ERRORS_MAX: usize = 100;
/// ARPHRD_ETHER.
const ETHERNET: u16 = 1;

/// What is open on an interface that is there.
struct Opened {
    link: Link,
    mtu_max: u32,
    preparation: Preparation,
    /// Promiscuous for as long as this is open.
    _membership: OwnedFd,
    hidden: Option<Hidden>,
    why_not_hidden: Option<String>,
    /// Second descriptors of the queues' sockets, for clearing errors that control has heard of otherwise.
    sockets: Vec<OwnedFd>,
}

type Queues = (Vec<RxRing>, Vec<TxSocket>);

pub(super) struct PacketDevice {
    options: Options,
    netdev: Netdev,
    rx: Vec<Keeper<RxRing>>,
    tx: Vec<Keeper<TxSocket>>,
    up: Arc<AtomicBool>,
    opened: Option<Opened>,
    /// Sockets that the queues still have and are to give back.
    coming_back: usize,
    /// The link was down meanwhile, and nobody has been told yet.
    flapped: bool,
    /// Why it is closed.
    closed: String,
    next_look: Nanos,
    errors: Vec<String>,
    statistics: DeviceStatistics,
}

pub(super) fn open(options: &Options) -> Result<Port, OpenInterfaceError> {
    let failed = |source| OpenInterfaceError::of(&options.interface, source);
    let netdev = Netdev::new(&options.interface).map_err(failed)?;
    let (opened, (rings, senders)) = open_sockets(&netdev, options).map_err(failed)?;
    // An MTU that is too small for what may come is no error: the ports of a switch need not be alike. But it is said (`reasons`).
    let up = Arc::new(AtomicBool::new(opened.link.state() == LinkState::Up));
    let (mut rx_queues, mut tx_queues) = (Vec::<Box<dyn RxQueue>>::new(), Vec::<Box<dyn TxQueue>>::new());
    let (mut rx, mut tx) = (Vec::new(), Vec::new());
    for ring in rings {
        let (keeper, slot) = slot(Some(ring));
        rx.push(keeper);
        rx_queues.push(Box::new(PacketRx { slot, up: Arc::clone(&up), drops: RxDrops::default() }));
    }
    for sender in senders {
        let (keeper, slot) = slot(Some(sender));
        tx.push(keeper);
        tx_queues.push(Box::new(PacketTx { slot, up: Arc::clone(&up), refusal: Refusal::Full }));
    }
    let device = PacketDevice {
        options: options.clone(),
        netdev,
        rx,
        tx,
        up,
        opened: Some(opened),
        coming_back: 0,
        flapped: false,
        closed: String::new(),
        next_look: Nanos::ZERO,
        errors: Vec::new(),
        statistics: DeviceStatistics::default(),
    };
    Ok(Port { rx: rx_queues, tx: tx_queues, device: Box::new(device) })
}

/// Opens everything on the interface as it is now.
fn open_sockets(netdev: &Netdev, options: &Options) -> io::Result<(Opened, Queues)> {
    let link = netdev.state()?;
    if link.hardware != ETHERNET {
        return Err(io::Error::other("it does not carry Ethernet frames: expected an Ethernet interface"));
    }
    let preparation = Preparation::new(netdev.name())?;
    let membership = promiscuous(link.index)?;
    let (mut rings, mut senders, mut sockets) = (Vec::new(), Vec::new(), Vec::new());
    let mut fanout = if options.fanout > 1 { Fanout::Found } else { Fanout::Alone };
    for _ in 0..options.fanout {
        let ring = RxRing::open(link.index, link.mtu, fanout)?;
        if let Fanout::Found = fanout {
            fanout = Fanout::Join(ring.group()?);
        }
        let sender = TxSocket::open(link.index)?;
        sockets.extend([ring.duplicate()?, sender.duplicate()?]);
        rings.push(ring);
        senders.push(sender);
    }
    let (hidden, why_not_hidden) = match hide(link.index) {
        Ok(hidden) => (Some(hidden), None),
        Err(error) => (None, Some(format!("warning: the host's own stack sees the frames as well: {error}"))),
    };
    let mtu_max = rings.first().map_or(link.mtu, RxRing::mtu_max);
    Ok((Opened { link, mtu_max, preparation, _membership: membership, hidden, why_not_hidden, sockets }, (rings, senders)))
}

/// Frames for all addresses are received for as long as the socket is open; several may ask for it, and the last one that goes ends it.
fn promiscuous(index: u32) -> io::Result<OwnedFd> {
    let socket = sys::socket(libc::AF_PACKET, libc::SOCK_RAW, 0)?; // Protocol 0: it receives nothing.
    let mut request = <libc::packet_mreq as sys::Plain>::zeroed();
    request.mr_ifindex = index as libc::c_int;
    request.mr_type = libc::PACKET_MR_PROMISC as libc::c_ushort;
    sys::set_option(&socket, libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &request)?;
    Ok(socket)
}

impl PacketDevice {
    /// Takes everything down. `gone`: the interface is not the one we have prepared any more.
    fn close(&mut self, why: String, gone: bool) {
        let Some(opened) = self.opened.take() else { return };
        self.up.store(false, Ordering::Release);
        self.coming_back = 0;
        for keeper in &mut self.rx {
            self.coming_back += usize::from(keeper.give(None).is_ok());
        }
        for keeper in &mut self.tx {
            self.coming_back += usize::from(keeper.give(None).is_ok());
        }
        if gone {
            opened.preparation.abandon();
        }
        self.closed = why;
    }

    /// The interface is there, and the queues have given everything back: opens it again.
    fn reopen(&mut self) {
        match open_sockets(&self.netdev, &self.options) {
            Ok((opened, (rings, senders))) => {
                let rx = self.rx.iter_mut().zip(rings).all(|(keeper, ring)| keeper.give(Some(ring)).is_ok());
                let tx = self.tx.iter_mut().zip(senders).all(|(keeper, sender)| keeper.give(Some(sender)).is_ok());
                self.up.store(opened.link.state() == LinkState::Up, Ordering::Release);
                self.opened = Some(opened);
                self.statistics.returns += 1;
                self.closed.clear();
                if !(rx && tx) {
                    self.close("the workers do not take new sockets".to_owned(), false);
                }
            }
            Err(error) => self.fail(format!("{} cannot be opened again: {error}", self.netdev.name())),
        }
    }

    fn fail(&mut self, text: String) {
        if self.closed != text && self.errors.len() < ERRORS_MAX {
            self.errors.push(text.clone());
        }
        self.closed = text;
    }

    /// Compares the interface with what is open.
    fn look(&mut self) {
        let link = match self.netdev.state() {
            Ok(link) => link,
            Err(error) => {
                let missing = error.raw_os_error() == Some(libc::ENODEV);
                let why = if missing { "the interface is gone; waiting for it to come back".to_owned() } else { error.to_string() };
                if self.opened.is_some() {
                    self.statistics.link_downs += u64::from(self.up.load(Ordering::Acquire));
                    self.close(why, true);
                }
                return;
            }
        };
        let Some(opened) = &mut self.opened else { return };
        if link.index != opened.link.index {
            self.statistics.link_downs += u64::from(self.up.load(Ordering::Acquire));
            return self.close("the interface is another one of its name".to_owned(), true);
        }
        // In another namespace and back between two looks: the same interface, but no socket is on it any more.
        let unbound = |socket: &OwnedFd| {
            sys::bound_to::<libc::sockaddr_ll>(socket).is_ok_and(|address| address.sll_ifindex != link.index as libc::c_int)
        };
        if opened.sockets.iter().any(unbound) {
            self.statistics.link_downs += u64::from(self.up.load(Ordering::Acquire));
            return self.close("opening it again: it has been in another namespace".to_owned(), false);
        }
        if link.mtu > opened.mtu_max {
            return self.close(format!("opening it again for an MTU of {}", link.mtu), false);
        }
        let (was, is) = (self.up.load(Ordering::Acquire), link.state() == LinkState::Up);
        // Two changes within a second are told as one; the counter of the kernel knows.
        let flapped = was && is && link.carrier_downs != opened.link.carrier_downs;
        self.flapped |= flapped;
        self.statistics.link_downs += u64::from(was && !is) + u64::from(flapped);
        opened.link = link;
        if was != is {
            for socket in &opened.sockets {
                // Reading the error takes it away: left in place it would make the socket look readable.
                let _ = sys::option::<libc::c_int>(socket, libc::SOL_SOCKET, libc::SO_ERROR);
            }
            self.up.store(is, Ordering::Release);
        }
    }
}

impl Device for PacketDevice {
    fn kind(&self) -> &'static str {
        "af_packet"
    }

    fn describe(&self) -> String {
        let name = self.netdev.name();
        match &self.opened {
            None => format!("af_packet {name}: {}", self.closed),
            Some(opened) => {
                let down = if opened.link.state() == LinkState::Up { String::new() } else { format!(", {}", opened.link.why_down()) };
                format!("af_packet {name}, MTU {}{down}", opened.link.mtu)
            }
        }
    }

    fn link(&self) -> LinkState {
        if self.up.load(Ordering::Acquire) && !self.flapped { LinkState::Up } else { LinkState::Down }
    }

    fn maintain(&mut self, now: Nanos) {
        self.flapped = false; // It has been told by now.
        let returned: usize =
            self.rx.iter_mut().map(Keeper::collect).sum::<usize>() + self.tx.iter_mut().map(Keeper::collect).sum::<usize>();
        self.coming_back = self.coming_back.saturating_sub(returned);
        let rang = self.netdev.rang();
        if !rang && now < self.next_look {
            return;
        }
        self.next_look = now + if self.opened.is_some() { LOOK_PERIOD } else { RETRY_PERIOD };
        self.look();
        if self.opened.is_none() {
            self.next_look = now + RETRY_PERIOD;
            // Not before the old sockets are closed: both would receive for a while, and a frame would come in twice.
            if self.coming_back == 0 && self.netdev.state().is_ok() {
                self.reopen();
            } else if self.coming_back > 0 {
                self.next_look = now;
            }
        }
    }

    fn mode(&self) -> Option<String> {
        let queues = self.options.fanout;
        Some(if queues > 1 { format!("TPACKET_V2, fanout of {queues}") } else { "TPACKET_V2".to_owned() })
    }

    fn reasons(&self) -> Vec<String> {
        let Some(opened) = &self.opened else { return vec![self.closed.clone()] };
        let mut reasons = self.options.notes.clone();
        reasons.extend_from_slice(opened.preparation.reasons());
        if opened.hidden.is_some() {
            reasons.push("what comes in is hidden from the host's own stack".to_owned());
        }
        reasons.extend(opened.why_not_hidden.clone());
        // Payload, Ethernet header, one tag: what Linux lets through.
        if (opened.link.mtu as usize) + 18 < self.options.frame_len_max {
            let (mtu, max) = (opened.link.mtu, self.options.frame_len_max);
            reasons.push(format!("its MTU of {mtu} is less than max_frame = {max} allows: longer frames to it are dropped (tx-oversize)"));
        }
        reasons
    }

    fn mac(&self) -> Option<MacAddr> {
        self.opened.as_ref().and_then(|opened| opened.link.mac)
    }

    fn mtu(&self) -> Option<u32> {
        self.opened.as_ref().map(|opened| opened.link.mtu)
    }

    fn queues(&self) -> usize {
        self.options.fanout
    }

    fn statistics(&self) -> DeviceStatistics {
        self.statistics
    }

    fn enters_namespaces(&self) -> bool {
        self.opened.as_ref().is_some_and(|opened| opened.preparation.is_abroad())
    }

    fn errors(&self) -> Vec<String> {
        self.errors.clone()
    }
}
