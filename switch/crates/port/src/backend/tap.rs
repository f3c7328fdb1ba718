//! A port to this machine's own stack: a TAP interface, made here and gone with the port.
//!
//! What the host sends into the interface is received here, and the other way round. Frames are whole: the kernel completes checksums,
//! cuts segments and puts tags in before it hands a frame over (no IFF_VNET_HDR). One system call per frame in each direction.
//!
//! The interface lives as long as its descriptor; also a process that is killed leaves none behind. One that exists already and is
//! persistent (`ip tuntap add`) is used and stays. If it is deleted while the port is open, it is made again.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use wire::MacAddr;

use crate::clock::Nanos;
use crate::device::{Device, DeviceStatistics, LinkState, Port, Refusal, RxDrops, RxQueue, TxQueue};
use crate::handover::{Keeper, Slot, slot};
use crate::mempool::{FRAME_MAX, PoolCache};
use crate::netdev::link::Link;
use crate::netdev::{Netdev, OpenInterfaceError};
use crate::packet::Burst;
use crate::sys;

/// The shortest frame a card sends, without FCS.
const FRAME_LEN_MIN: usize = 60;
/// MTUs that may be asked for: the least of IPv4 (RFC 791), and the most that Linux gives a TAP.
pub const MTU_MIN: u32 = 68;
/// See [`MTU_MIN`].
pub const MTU_MAX: u32 = 65_521;
/// The state of the interface is asked for so often even if nobody tells of a change.
const LOOK_PERIOD: Nanos = Nanos::from_millis(1000);
/// So often it is tried to make the interface again.
const RETRY_PERIOD: Nanos = Nanos::from_millis(100);
/// Errors that are kept.
const ERRORS_MAX: usize = 100;

/// Makes the interface, and a port of it.
///
/// # Errors
/// The name is no interface name or is taken by another kind of interface or program, or the process may not.
pub fn open(name: &str, mtu: Option<u32>) -> Result<Port, OpenInterfaceError> {
    let failed = |source: io::Error| match source.raw_os_error() {
        // There is nothing that could be missing: the name is at fault.
        Some(libc::ENODEV) => OpenInterfaceError::System {
            interface: name.to_owned(),
            source: io::Error::new(io::ErrorKind::InvalidInput, "expected a name of 1 to 15 bytes"),
        },
        Some(libc::EBUSY) => system(name, "another program has it open: stop that program, or choose another name"),
        Some(libc::EINVAL) => system(name, "an interface of that name exists and is no TAP: choose another name"),
        Some(libc::ENOENT) => system(name, "/dev/net/tun does not exist: `modprobe tun`"),
        _ => OpenInterfaceError::of(name, source),
    };
    let netdev = Netdev::new(name).map_err(failed)?;
    let (file, link) = make(&netdev, mtu).map_err(failed)?;
    let up = Arc::new(AtomicBool::new(link.state() == LinkState::Up));
    let (rx, rx_slot) = slot(Some(Arc::clone(&file)));
    let (tx, tx_slot) = slot(Some(file));
    let rx_queue = TapRx { slot: rx_slot, up: Arc::clone(&up), frame: vec![0; FRAME_MAX + 1], drops: RxDrops::default() };
    let tx_queue = TapTx { slot: tx_slot, up: Arc::clone(&up), frame: Vec::with_capacity(FRAME_MAX), refusal: Refusal::Full };
    let device = TapDevice {
        netdev,
        mtu,
        rx,
        tx,
        up,
        link: Some(link),
        next_look: Nanos::ZERO,
        why: String::new(),
        errors: Vec::new(),
        statistics: DeviceStatistics::default(),
    };
    Ok(Port { rx: vec![Box::new(rx_queue)], tx: vec![Box::new(tx_queue)], device: Box::new(device) })
}

fn system(name: &str, text: &str) -> OpenInterfaceError {
    OpenInterfaceError::System { interface: name.to_owned(), source: io::Error::other(text.to_owned()) }
}

fn make(netdev: &Netdev, mtu: Option<u32>) -> io::Result<(Arc<File>, Link)> {
    let file = std::fs::OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
    sys::make_tap(&file, netdev.name())?;
    if let Some(mtu) = mtu {
        sys::set_mtu(&netdev.asker.inet, netdev.name(), mtu)?;
    }
    sys::set_up(&netdev.asker.inet, netdev.name())?;
    let link = netdev.state()?;
    Ok((Arc::new(file), link))
}

struct TapRx {
    slot: Slot<Arc<File>>,
    up: Arc<AtomicBool>,
    frame: Vec<u8>,
    drops: RxDrops,
}

impl RxQueue for TapRx {
    fn rx_burst(&mut self, _now: Nanos, pool: &mut PoolCache, burst: &mut Burst, max: usize) -> usize {
        let Some(file) = self.slot.get() else { return 0 };
        let before = burst.len();
        while burst.len() - before < max && !burst.is_full() {
            // Nothing there (EAGAIN), switched off (EIO) or deleted (EBADFD): control finds out which.
            let Ok(len) = file.as_ref().read(&mut self.frame) else { break };
            match self.frame.get(..len).filter(|frame| frame.len() <= FRAME_MAX && !frame.is_empty()) {
                None => {
                    self.drops.oversize += 1;
                    self.drops.bytes += len as u64;
                }
                Some(frame) => match pool.alloc_copy(frame) {
                    Some(mut packet) => {
                        // A buffer of its own and short: there is always room.
                        pool.pad_to(&mut packet, FRAME_LEN_MIN);
                        burst.push(packet);
                    }
                    None => {
                        self.drops.no_buffer += 1;
                        self.drops.bytes += len as u64;
                    }
                },
            }
        }
        burst.len() - before
    }

    fn drops(&self) -> RxDrops {
        self.drops
    }

    fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        self.slot.peek().filter(|_| self.up.load(Ordering::Acquire)).map(|file| file.as_fd())
    }
}

struct TapTx {
    slot: Slot<Arc<File>>,
    up: Arc<AtomicBool>,
    frame: Vec<u8>,
    refusal: Refusal,
}

impl TxQueue for TapTx {
    fn tx_burst(&mut self, _now: Nanos, pool: &mut PoolCache, burst: &mut Burst) -> usize {
        let up = self.up.load(Ordering::Acquire);
        let Some(file) = self.slot.get().filter(|_| up) else {
            self.refusal = Refusal::Down;
            return 0;
        };
        let mut sent = 0;
        for packet in burst.iter() {
            let written = if packet.is_chained() {
                self.frame.clear();
                pool.copy_to(packet, &mut self.frame);
                file.as_ref().write(&self.frame)
            } else {
                file.as_ref().write(pool.head(packet))
            };
            if let Err(error) = written {
                self.refusal = match error.raw_os_error() {
                    Some(libc::EAGAIN | libc::ENOMEM | libc::ENOBUFS) => Refusal::Full,
                    Some(libc::EMSGSIZE | libc::EINVAL) => Refusal::Oversize,
                    _ => Refusal::Down, // EIO: switched off; EBADFD: deleted.
                };
                break;
            }
            sent += 1;
        }
        burst.drain(..sent).for_each(|packet| pool.free(packet));
        sent
    }

    fn refusal(&self) -> Refusal {
        self.refusal
    }

    fn flush(&mut self, _now: Nanos, _pool: &mut PoolCache) {
        self.slot.get(); // Nothing is sent by a port that is down, and yet it gives back what is called back.
    }
}

struct TapDevice {
    netdev: Netdev,
    mtu: Option<u32>,
    rx: Keeper<Arc<File>>,
    tx: Keeper<Arc<File>>,
    up: Arc<AtomicBool>,
    link: Option<Link>,
    next_look: Nanos,
    /// Why there is no interface.
    why: String,
    errors: Vec<String>,
    statistics: DeviceStatistics,
}

impl Device for TapDevice {
    fn kind(&self) -> &'static str {
        "tap"
    }

    fn describe(&self) -> String {
        let name = self.netdev.name();
        match &self.link {
            None => format!("tap {name}: {}", self.why),
            Some(link) if link.state() == LinkState::Up => format!("tap {name}, MTU {}", link.mtu),
            Some(link) => format!("tap {name}, MTU {}, {}", link.mtu, link.why_down()),
        }
    }

    fn link(&self) -> LinkState {
        if self.up.load(Ordering::Acquire) { LinkState::Up } else { LinkState::Down }
    }

    fn maintain(&mut self, now: Nanos) {
        self.rx.collect();
        self.tx.collect();
        if !self.netdev.rang() && now < self.next_look {
            return;
        }
        self.next_look = now + LOOK_PERIOD;
        let index = self.link.as_ref().map(|link| link.index);
        match self.netdev.state() {
            Ok(link) if Some(link.index) == index => {
                let up = link.state() == LinkState::Up;
                self.statistics.link_downs += u64::from(self.up.swap(up, Ordering::AcqRel) && !up);
                self.link = Some(link);
            }
            _ => self.make_again(now),
        }
    }

    fn mac(&self) -> Option<MacAddr> {
        self.link.as_ref().and_then(|link| link.mac)
    }

    fn mtu(&self) -> Option<u32> {
        self.link.as_ref().map(|link| link.mtu)
    }

    fn statistics(&self) -> DeviceStatistics {
        self.statistics
    }

    fn errors(&self) -> Vec<String> {
        self.errors.clone()
    }
}

impl TapDevice {
    /// Ours has been deleted. Down first, so that control sees it; made again the next time.
    fn make_again(&mut self, now: Nanos) {
        self.next_look = now + RETRY_PERIOD;
        if self.link.take().is_some() {
            self.statistics.link_downs += u64::from(self.up.swap(false, Ordering::AcqRel));
            self.why = "the interface was deleted".to_owned();
            return;
        }
        match make(&self.netdev, self.mtu) {
            Ok((file, link)) => {
                if self.rx.give(Some(Arc::clone(&file))).is_err() || self.tx.give(Some(file)).is_err() {
                    return; // The workers have not taken the last one yet: again the next time.
                }
                self.up.store(link.state() == LinkState::Up, Ordering::Release);
                self.statistics.returns += 1;
                self.link = Some(link);
            }
            Err(error) => {
                let text = format!("{} cannot be made again: {error}", self.netdev.name());
                if self.why != text && self.errors.len() < ERRORS_MAX {
                    self.errors.push(text.clone());
                }
                self.why = text;
            }
        }
    }
}
