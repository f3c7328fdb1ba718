//! A device of DPDK from probing to removal, with the mbufs it uses.
//!
//! The queues and the control side of a port hold an [`Ethdev`] together; whoever lets go of it last closes the device. So nobody closes a
//! device whose queues are being polled, and a port that fails half-way through its set-up leaves nothing behind.
//!
//! Offloads are off but for frames in several buffers: checksums and VLAN tags are part of the frames a switch carries.
#![allow(unsafe_code)]

use std::ffi::{CString, c_int};
use std::fs;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use capsule_ffi as ffi;

use super::mbufs::{CACHE, Mbufs, why_not_over};
use super::{AROUND_MTU, Buffers, DpdkError, Options, eal, is_pci};
use crate::device::RxDrops;
use crate::mempool::{Mempool, SEGMENT_MAX};
use crate::packet::BURST_MAX;
use wire::MacAddr;

/// Bytes of a frame in one mbuf with room of its own, where frames may lie in several.
const SEGMENT: u32 = 2048;
/// The same over a buffer of the switch.
const SEGMENT_SHARED: u32 = SEGMENT_MAX as u32;
/// Devices come and go one at a time: DPDK asks for that.
fn one_at_a_time() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A device that has been started.
pub struct Ethdev {
    /// DPDK's number of it.
    pub port: u16,
    /// Its name.
    pub name: String,
    /// What messages call it.
    pub title: String,
    /// Of the driver.
    pub driver: String,
    /// In each direction.
    pub queues: u16,
    /// Of a queue, as obtained.
    pub descriptors: (u16, u16),
    /// In bytes.
    pub mtu: u32,
    /// Its address.
    pub mac: Option<MacAddr>,
    /// Bytes of a frame in one mbuf.
    pub segment: u32,
    /// It is the back-end of virtual machines: frames come from a peer that may have been left to finish them by others.
    pub vhost: bool,
    /// Frames may be sent from several mbufs.
    pub multi_segments: bool,
    /// What it would not do.
    pub notes: Vec<String>,
    /// The link carries frames. Written by control, read by workers.
    pub up: AtomicBool,
    /// Frames that were received and lost in the device. Written by control, read by the worker of queue 0.
    pub missed: AtomicU64,
    /// Frames the device called damaged. As `missed`.
    pub damaged: AtomicU64,
    /// Frames copied between mbufs and the switch's own buffers. Written by workers, read by control.
    pub copied: AtomicU64,
    mbufs: Mbufs,
    /// Written by DPDK's interrupt thread; boxed, so that it stays where it is.
    gone: Box<AtomicBool>,
    device: *mut ffi::rte_device,
    started: bool,
}

// SAFETY: DPDK's functions on a port may be called from any thread; those that change it are called by one owner at a time (set-up, and `Drop`). The
// raw pointers are DPDK's and live until the device is removed, in `Drop`.
unsafe impl Send for Ethdev {}
// SAFETY: as above; what is shared beside that is atomic.
unsafe impl Sync for Ethdev {}

impl Ethdev {
    /// Probes, configures and starts a device.
    ///
    /// # Errors
    /// The first step that the device or DPDK refuses, with what DPDK says about it; the device is gone again then.
    pub fn open(options: &Options, mempool: &Mempool) -> Result<Ethdev, DpdkError> {
        // Declared before the lock, so that one that fails half-way is closed after it: closing takes the lock, too.
        let mut ethdev;
        let _one = one_at_a_time();
        ethdev = probe(options)?;
        let info = info(ethdev.port).map_err(|error| failed(&options.title, "rte_eth_dev_info_get", error))?;
        ethdev.device = info.device;
        ethdev.configure(options, &info, mempool)?;
        Ok(ethdev)
    }

    fn configure(&mut self, options: &Options, info: &ffi::rte_eth_dev_info, mempool: &Mempool) -> Result<(), DpdkError> {
        let port = self.port;
        let fail = |step: &'static str, error: c_int| failed(&options.title, step, error);
        // SAFETY (of the calls below): `port` is ours until `Drop`, it is not started, and the structures live during each call.
        let done = |step: &'static str, result: c_int| if result < 0 { Err(fail(step, result)) } else { Ok(()) };
        self.check(options, info)?;
        // It takes chains, and makes them, without saying so.
        let chains_unasked = self.driver == "net_pcap";
        self.multi_segments = info.tx_offload_capa & ffi::SHIM_TX_OFFLOAD_MULTI_SEGS != 0 || chains_unasked;
        let scatter = info.rx_offload_capa & ffi::SHIM_RX_OFFLOAD_SCATTER != 0;
        let wanted = u32::from(options.mtu.unwrap_or(0)) + AROUND_MTU;
        // A device that cannot chain needs buffers as long as its frames. Of a peer's frames net_vhost makes chains without being asked.
        let chains = (scatter || self.vhost || chains_unasked) && self.multi_segments;

        let mut conf = ffi::rte_eth_conf::default();
        conf.rxmode.mtu = u32::from(options.mtu.unwrap_or(0));
        conf.rxmode.offloads = if scatter && wanted > SEGMENT_SHARED { ffi::SHIM_RX_OFFLOAD_SCATTER } else { 0 };
        conf.txmode.offloads = info.tx_offload_capa & ffi::SHIM_TX_OFFLOAD_MULTI_SEGS;
        let hash = info.flow_type_rss_offloads & ffi::SHIM_RSS_IP_TCP_UDP;
        if options.queues > 1 && hash != 0 {
            conf.rxmode.mq_mode = ffi::SHIM_MQ_RX_RSS;
            conf.rx_adv_conf.rss_conf.rss_hf = hash;
        } else if options.queues > 1 {
            self.notes.push("the driver has no receive-side scaling: which queue a frame comes in by is its own choice".to_owned());
        }
        // SAFETY: see `done`.
        done("rte_eth_dev_configure", unsafe { ffi::rte_eth_dev_configure(port, self.queues, self.queues, &conf) })?;
        if let Some(socket) = &options.vhost {
            let socket = CString::new(socket.as_str()).map_err(|_| fail("iface", -libc::EINVAL))?;
            // The call before has opened the socket. A peer that came to terms with the driver before this call hands over frames that the driver
            // finishes, or that are refused at the edge (`queue`).
            // SAFETY: the string lives during the call.
            done("rte_vhost_driver_disable_features", unsafe { ffi::shim_vhost_whole_frames(socket.as_ptr()) })?;
        }
        if let Some(mtu) = options.mtu {
            // SAFETY: see `done`.
            let result = unsafe { ffi::rte_eth_dev_set_mtu(port, mtu) };
            // A driver that cannot set it may still carry such frames (capture files do); one that minds has said so above.
            if result != -libc::ENOTSUP {
                done("rte_eth_dev_set_mtu", result)?;
            }
        }
        let (rx, tx) = (&mut self.descriptors.0, &mut self.descriptors.1);
        // SAFETY: see `done`.
        done("rte_eth_dev_adjust_nb_rx_tx_desc", unsafe { ffi::rte_eth_dev_adjust_nb_rx_tx_desc(port, rx, tx) })?;

        // SAFETY: see `done`.
        let socket = unsafe { ffi::rte_eth_dev_socket_id(port) };
        let count = self.mbufs_needed();
        let why_not = why_not_over(options, &self.driver, count, chains || wanted <= SEGMENT_SHARED, mempool);
        self.mbufs = match why_not {
            None => {
                self.segment = SEGMENT_SHARED;
                let device = if is_pci(&options.device) { self.device } else { std::ptr::null_mut() };
                Mbufs::over(&options.title, count, mempool, device, socket)?
            }
            Some(why) if options.buffers == Buffers::Switch => {
                let expected = format!("buffers=auto or dpdk, since {} cannot use the switch's buffers: {why}", options.title);
                return Err(DpdkError::Option { text: "buffers=switch".to_owned(), expected });
            }
            Some(why) => {
                self.notes.push(format!("frames are copied between DPDK's buffers and the switch's: {why}"));
                self.segment = if chains { SEGMENT } else { wanted.max(SEGMENT).next_multiple_of(64) };
                Mbufs::new(&options.title, count, self.segment, socket)?
            }
        };
        let pool = self.mbufs.pool();
        for queue in 0..self.queues {
            let rx_conf = ffi::rte_eth_rxconf { offloads: conf.rxmode.offloads, ..info.default_rxconf };
            let tx_conf = ffi::rte_eth_txconf { offloads: conf.txmode.offloads, ..info.default_txconf };
            // SAFETY: see `done`; the pool lives until the device is closed (`Drop`).
            let set_up = unsafe { ffi::rte_eth_rx_queue_setup(port, queue, self.descriptors.0, socket as u32, &rx_conf, pool) };
            done("rte_eth_rx_queue_setup", set_up)?;
            // SAFETY: see `done`.
            let set_up = unsafe { ffi::rte_eth_tx_queue_setup(port, queue, self.descriptors.1, socket as u32, &tx_conf) };
            done("rte_eth_tx_queue_setup", set_up)?;
        }
        // SAFETY: see `done`.
        done("rte_eth_dev_start", unsafe { ffi::rte_eth_dev_start(port) })?;
        self.started = true;
        self.after_start(options.promiscuous);
        Ok(())
    }

    /// What the device could never do, said with the numbers.
    fn check(&self, options: &Options, info: &ffi::rte_eth_dev_info) -> Result<(), DpdkError> {
        let queues_max = info.max_rx_queues.min(info.max_tx_queues);
        if self.queues > queues_max {
            let expected = format!("queues=1 to {queues_max}: so many has {}", self.title);
            return Err(DpdkError::Option { text: format!("queues={}", self.queues), expected });
        }
        if let Some(mtu) = options.mtu.filter(|mtu| !(info.min_mtu..=info.max_mtu).contains(mtu)) {
            let expected = format!("mtu={} to {}: so much takes {}", info.min_mtu, info.max_mtu, self.title);
            return Err(DpdkError::Option { text: format!("mtu={mtu}"), expected });
        }
        Ok(())
    }

    /// A line for each holder of mbufs.
    fn mbufs_needed(&self) -> u32 {
        let queues = u32::from(self.queues);
        let in_rings = queues * (u32::from(self.descriptors.0) + u32::from(self.descriptors.1));
        let in_hand = 2 * queues * BURST_MAX as u32;
        // A worker for each direction of each queue, and whoever empties the queues at the end.
        let in_caches = (2 * queues + 1) * (CACHE + CACHE / 2);
        // It fills and sends by rings of this length, whatever was asked for. One mbuf too few, and it never receives again.
        let in_own_rings = if self.driver == "net_af_xdp" { queues * 2 * 2048 } else { 0 };
        in_rings + in_own_rings + in_hand + in_caches
    }

    /// What may be refused, and what can be known only now.
    fn after_start(&mut self, promiscuous: bool) {
        let port = self.port;
        if promiscuous {
            // SAFETY: the port is ours and started.
            let result = unsafe { ffi::rte_eth_promiscuous_enable(port) };
            if result < 0 {
                let why = eal::error_text(result);
                self.notes.push(format!("not promiscuous ({why}): the device decides which frames it hands over"));
            }
        }
        // SAFETY: as above.
        let vlan = unsafe { ffi::rte_eth_dev_get_vlan_offload(port) };
        if vlan > 0 && vlan & ffi::SHIM_VLAN_STRIP != 0 {
            // SAFETY: as above.
            let result = unsafe { ffi::rte_eth_dev_set_vlan_offload(port, vlan & !ffi::SHIM_VLAN_STRIP) };
            if result < 0 {
                self.notes.push(format!("the device takes VLAN tags off ({}): tagged frames come in without", eal::error_text(result)));
            }
        }
        let mut mtu = 0;
        // SAFETY: as above; the number is written by the call.
        if unsafe { ffi::rte_eth_dev_get_mtu(port, &mut mtu) } == 0 {
            self.mtu = u32::from(mtu);
        }
        let mut octets = [0; 6];
        // SAFETY: as above; the call writes six octets.
        if unsafe { ffi::shim_mac(port, octets.as_mut_ptr()) } == 0 {
            self.mac = Some(MacAddr(octets));
        }
        // Not every driver tells; then the link goes down, or nothing.
        // SAFETY: the flag lives in a box of its own until `Drop`, which withdraws it first.
        unsafe { ffi::shim_watch_removal(port, self.gone.as_ptr()) };
        self.look();
    }

    /// The mempool's address, for those who take mbufs from it.
    pub fn pool(&self) -> *mut ffi::rte_mempool {
        self.mbufs.pool()
    }

    /// The pool of the switch whose buffers the mbufs have, if they have such.
    pub fn mempool(&self) -> Option<&Mempool> {
        self.mbufs.mempool()
    }

    /// Has the device been unplugged?
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// Asks for link and statistics. Returns the link's rate in Mbit/s (0: not known) and the frames that were lost in sending.
    pub fn look(&self) -> (u32, u64) {
        let mut speed_mbps = 0;
        // SAFETY: the port is ours and started; the number is written by the call.
        let link = unsafe { ffi::shim_link(self.port, &mut speed_mbps) };
        self.up.store(link == 1 && !self.is_gone(), Ordering::Release);
        let mut statistics = ffi::rte_eth_stats::default();
        // SAFETY: as above.
        if unsafe { ffi::rte_eth_stats_get(self.port, &mut statistics) } != 0 {
            return (speed_mbps, 0);
        }
        self.missed.store(statistics.imissed + statistics.rx_nombuf, Ordering::Relaxed);
        self.damaged.store(statistics.ierrors, Ordering::Relaxed);
        (speed_mbps, statistics.oerrors)
    }

    /// What the device has lost of what it received. DPDK does not say how long these frames were.
    pub fn drops(&self) -> RxDrops {
        RxDrops { no_buffer: self.missed.load(Ordering::Relaxed), malformed: self.damaged.load(Ordering::Relaxed), ..RxDrops::default() }
    }

    /// Takes out what waits in the receive queues: some drivers (net_ring) would lose it.
    fn drain(&self) {
        let mut mbufs = [std::ptr::null_mut(); BURST_MAX];
        for queue in 0..self.queues {
            for _ in 0..usize::from(self.descriptors.0) {
                // SAFETY: the port is started, and nobody else polls: we are its last owner. At most `BURST_MAX` pointers are written.
                let count = unsafe { ffi::shim_rx_burst(self.port, queue, mbufs.as_mut_ptr(), BURST_MAX as u16) };
                if count == 0 {
                    break;
                }
                // SAFETY: received just now and nobody else's.
                unsafe { ffi::shim_free_bulk(mbufs.as_mut_ptr(), u32::from(count)) };
            }
        }
    }
}

impl Drop for Ethdev {
    fn drop(&mut self) {
        let _one = one_at_a_time();
        // SAFETY: the port is ours, and we are its last owner: nobody polls its queues. The order is the one DPDK asks for; mbufs are freed last, by
        // the field's own `Drop`, when no queue has any.
        unsafe {
            ffi::shim_forget_removal(self.port, self.gone.as_ptr());
            if self.started {
                self.drain();
                ffi::rte_eth_dev_stop(self.port);
            }
            ffi::rte_eth_dev_close(self.port);
            self.mbufs.unmap();
            if !self.device.is_null() {
                ffi::rte_dev_remove(self.device);
            }
        }
    }
}

/// Makes the device known to DPDK, or has it plugged in.
fn probe(options: &Options) -> Result<Ethdev, DpdkError> {
    let text = |text: &str| CString::new(text).map_err(|_| failed(&options.title, "name", -libc::EINVAL));
    let (name, devargs) = (text(&options.device)?, text(&options.devargs)?);
    let mut port = 0;
    // SAFETY: EAL runs; string and number live during the call.
    if unsafe { ffi::rte_eth_dev_get_port_by_name(name.as_ptr(), &mut port) } == 0 {
        return Err(failed(&options.title, "rte_dev_probe", -libc::EEXIST));
    }
    eal::forget_log();
    // SAFETY: as above.
    let probed = unsafe { ffi::rte_dev_probe(devargs.as_ptr()) };
    if probed < 0 {
        return Err(failed(&options.title, "rte_dev_probe", probed));
    }
    // SAFETY: as above.
    let found = unsafe { ffi::rte_eth_dev_get_port_by_name(name.as_ptr(), &mut port) };
    if found < 0 {
        return Err(failed(&options.title, "rte_eth_dev_get_port_by_name", found));
    }
    Ok(Ethdev {
        port,
        name: options.device.clone(),
        title: options.title.clone(),
        driver: info(port).map_or(String::new(), |info| driver(&info)),
        queues: options.queues,
        descriptors: (options.rx_descriptors, options.tx_descriptors),
        mtu: 1500,
        mac: None,
        segment: SEGMENT,
        vhost: options.vhost.is_some(),
        multi_segments: false,
        notes: Vec::new(),
        up: AtomicBool::new(false),
        missed: AtomicU64::new(0),
        damaged: AtomicU64::new(0),
        copied: AtomicU64::new(0),
        mbufs: Mbufs::NONE,
        gone: Box::new(AtomicBool::new(false)),
        device: std::ptr::null_mut(),
        started: false,
    })
}

fn info(port: u16) -> Result<ffi::rte_eth_dev_info, c_int> {
    let mut info = MaybeUninit::zeroed();
    // SAFETY: EAL runs; the call writes the structure. All zeros are a value of it, too: numbers and pointers.
    match unsafe { ffi::rte_eth_dev_info_get(port, info.as_mut_ptr()) } {
        // SAFETY: as above.
        0 => Ok(unsafe { info.assume_init() }),
        error => Err(error),
    }
}

fn driver(info: &ffi::rte_eth_dev_info) -> String {
    if info.driver_name.is_null() {
        return String::new();
    }
    // SAFETY: DPDK's driver names are C strings that live as long as the driver is loaded.
    unsafe { std::ffi::CStr::from_ptr(info.driver_name) }.to_string_lossy().into_owned()
}

fn failed(device: &str, step: &'static str, error: c_int) -> DpdkError {
    let error = match -error {
        libc::EEXIST => "it is there already: another port has it",
        libc::ENODEV if step == "rte_dev_probe" => {
            "there is no such device, or no driver for it: expected a PCI address that is bound to vfio-pci (`dpdk-devbind.py --status` lists them), or a \
             virtual device such as net_tap0"
        }
        _ => return DpdkError::Device { device: device.to_owned(), step, reason: eal::explain(&eal::error_text(error)) },
    };
    DpdkError::Device { device: device.to_owned(), step, reason: eal::explain(error) }
}

/// The kernel's interfaces of a PCI device: a driver that leaves them in place (mlx5) takes their frames.
pub fn interfaces_of(device: &str) -> Vec<String> {
    let address = if device.matches(':').count() == 1 { format!("0000:{device}") } else { device.to_owned() };
    let entries = fs::read_dir(format!("/sys/bus/pci/devices/{address}/net")).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}
