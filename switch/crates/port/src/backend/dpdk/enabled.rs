//! The port: queues for workers, and the device for control.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::eal::{self, Eal};
use super::ethdev::{Ethdev, interfaces_of};
use super::queue::{DpdkRx, DpdkTx};
use super::{Options, is_pci};
use crate::clock::Nanos;
use crate::device::{Device, DeviceStatistics, LinkState, Port, RxQueue, TxQueue};
use crate::mempool::Mempool;
use crate::netdev::OpenInterfaceError;
use crate::netdev::route;
use crate::open::{OpenError, OpenOptions};
use crate::spec::{PortKind, PortSpec};
use wire::MacAddr;

/// Link and statistics are asked for so often.
const LOOK_PERIOD: Nanos = Nanos::from_millis(50);

/// Opens the device that `spec` names; starts DPDK with the first one.
///
/// # Errors
/// DPDK does not start or has too little memory, there is no such device, it refuses what the options ask for, or it carries the machine's default route.
pub fn open(spec: &PortSpec, options: &OpenOptions<'_>) -> Result<Port, OpenError> {
    let parsed = Options::parse(spec, options.queue)?;
    if is_pci(&parsed.device) && !options.force_default_route {
        refuse_default_route(&parsed.device)?;
    }
    open_device(&parsed, spec.kind, options.mempool)
}

/// Opens a device as a port of a kind; starts DPDK with the first one.
///
/// # Errors
/// As for [`open`].
pub fn open_device(options: &Options, kind: PortKind, mempool: &Mempool) -> Result<Port, OpenError> {
    let eal = eal::start()?;
    let ethdev = Arc::new(Ethdev::open(options, mempool)?);
    let rx = (0..ethdev.queues).map(|queue| -> Box<dyn RxQueue> { Box::new(DpdkRx::new(Arc::clone(&ethdev), queue)) }).collect();
    let tx = (0..ethdev.queues).map(|queue| -> Box<dyn TxQueue> { Box::new(DpdkTx::new(Arc::clone(&ethdev), queue)) }).collect();
    let device = DpdkDevice {
        kind,
        ethdev,
        eal,
        speed_mbps: 0,
        next_look: Nanos::ZERO,
        statistics: DeviceStatistics::default(),
        errors: Vec::new(),
    };
    Ok(Port { rx, tx, device: Box::new(device) })
}

fn refuse_default_route(device: &str) -> Result<(), OpenError> {
    let carriers = route::default_interfaces().map_err(|source| OpenInterfaceError::System { interface: device.to_owned(), source })?;
    match interfaces_of(device).into_iter().find(|interface| carriers.contains(interface)) {
        Some(interface) => Err(OpenError::DefaultRoute(interface)),
        None => Ok(()),
    }
}

struct DpdkDevice {
    kind: PortKind,
    ethdev: Arc<Ethdev>,
    eal: &'static Eal,
    speed_mbps: u32,
    next_look: Nanos,
    statistics: DeviceStatistics,
    errors: Vec<String>,
}

impl Device for DpdkDevice {
    fn kind(&self) -> &'static str {
        self.kind.as_str()
    }

    fn describe(&self) -> String {
        let ethdev = &self.ethdev;
        let link = match (self.link(), self.speed_mbps) {
            (LinkState::Down, _) if ethdev.is_gone() => ", unplugged".to_owned(),
            (LinkState::Down, _) => ", no link".to_owned(),
            (LinkState::Up, 0) => String::new(),
            (LinkState::Up, mbps) => format!(", {mbps} Mbit/s"),
        };
        if self.kind == PortKind::VhostUser {
            let peer = if self.link() == LinkState::Up { "connected" } else { "no peer" };
            return format!("{}, {} queue(s), MTU {}, {peer}", ethdev.title, ethdev.queues, ethdev.mtu);
        }
        let (rx, tx) = ethdev.descriptors;
        format!("dpdk {} ({}), {} queue(s) of {rx}/{tx} descriptors, MTU {}{link}", ethdev.name, ethdev.driver, ethdev.queues, ethdev.mtu)
    }

    fn link(&self) -> LinkState {
        if self.ethdev.up.load(Ordering::Acquire) { LinkState::Up } else { LinkState::Down }
    }

    fn maintain(&mut self, now: Nanos) {
        if now < self.next_look {
            return;
        }
        self.next_look = now + LOOK_PERIOD;
        let was = self.link();
        let (speed_mbps, lost) = self.ethdev.look();
        self.speed_mbps = speed_mbps;
        self.statistics.tx_lost = lost;
        let is = self.link();
        self.statistics.link_downs += u64::from(was == LinkState::Up && is == LinkState::Down);
        // A peer that has gone comes back; a cable that is plugged in again is no interface that went away.
        let came_back = self.ethdev.vhost && was == LinkState::Down && is == LinkState::Up;
        self.statistics.returns += u64::from(came_back && self.statistics.returns < self.statistics.link_downs);
        if self.ethdev.is_gone() && self.errors.is_empty() {
            self.errors.push(format!("{} was unplugged: the port stays down until the switch is started again", self.ethdev.name));
        }
    }

    fn mode(&self) -> Option<String> {
        Some(if self.ethdev.mempool().is_some() { "zero-copy" } else { "copied" }.to_owned())
    }

    fn reasons(&self) -> Vec<String> {
        let ethdev = &self.ethdev;
        let pages = if self.eal.hugepages { "hugepages" } else { "plain pages" };
        let mut reasons = vec![format!("{} on {pages}: {}", eal::version(), self.eal.arguments)];
        reasons.extend(ethdev.notes.iter().cloned());
        reasons
    }

    fn mac(&self) -> Option<MacAddr> {
        self.ethdev.mac
    }

    fn mtu(&self) -> Option<u32> {
        Some(self.ethdev.mtu)
    }

    fn queues(&self) -> usize {
        usize::from(self.ethdev.queues)
    }

    fn statistics(&self) -> DeviceStatistics {
        DeviceStatistics { copied: Some(self.ethdev.copied.load(Ordering::Relaxed)), ..self.statistics }
    }

    fn errors(&self) -> Vec<String> {
        self.errors.clone()
    }
}
