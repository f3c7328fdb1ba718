//! What there is to know of a network interface, asked by ioctl, and a descriptor that tells when something has changed.

use std::io;

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use wire::MacAddr;

/// `SIOCETHTOOL` and its commands (`linux/sockios.h`, `linux/ethtool.h`).
const SIOCETHTOOL: libc::c_ulong = 0x8946;
const ETHTOOL_GDRVINFO: u32 = 0x03;
const ETHTOOL_GCHANNELS: u32 = 0x3c;

/// An interface as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its number; another one when it was deleted and made again.
    pub index: u32,
    /// The longest payload of a frame.
    pub mtu: u32,
    /// Switched on, and frames pass.
    pub running: bool,
    /// Name of its driver.
    pub driver: String,
    /// Receive queues in use.
    pub rx_queues: u32,
    /// Transmit queues in use.
    pub tx_queues: u32,
    /// Its hardware address.
    pub mac: MacAddr,
}

impl Interface {
    /// The longest frame it sends, in bytes without FCS: Linux grants a VLAN tag beyond the MTU.
    pub fn frame_max(&self) -> u32 {
        self.mtu.saturating_add(14 + 4)
    }
}

/// A socket for asking. It belongs to the network namespace of the thread that makes it.
#[derive(Debug)]
pub struct Asker(OwnedFd);

impl Asker {
    /// A new one.
    ///
    /// # Errors
    /// If there are no descriptors left.
    pub fn new() -> io::Result<Asker> {
        // SAFETY: makes a new descriptor and touches no memory.
        let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: new, and nobody else owns it.
        Ok(Asker(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// The interface of this name.
    ///
    /// # Errors
    /// ENODEV if there is none.
    pub fn interface(&self, name: &str) -> io::Result<Interface> {
        let mut request = named(name)?;
        self.ioctl(libc::SIOCGIFINDEX, &mut request)?;
        // SAFETY: SIOCGIFINDEX has written this member.
        let index = unsafe { request.ifr_ifru.ifru_ifindex } as u32;
        self.ioctl(libc::SIOCGIFMTU, &mut request)?;
        // SAFETY: SIOCGIFMTU has written this member.
        let mtu = unsafe { request.ifr_ifru.ifru_mtu } as u32;
        self.ioctl(libc::SIOCGIFFLAGS, &mut request)?;
        // SAFETY: SIOCGIFFLAGS has written this member.
        let flags = unsafe { request.ifr_ifru.ifru_flags } as libc::c_int;
        self.ioctl(libc::SIOCGIFHWADDR, &mut request)?;
        // SAFETY: SIOCGIFHWADDR has written this member.
        let address = unsafe { request.ifr_ifru.ifru_hwaddr }.sa_data;
        let mac = MacAddr(std::array::from_fn(|i| address[i] as u8));
        let both = libc::IFF_UP | libc::IFF_RUNNING;
        let (rx_queues, tx_queues) = self.channels(name)?;
        Ok(Interface { index, mtu, running: flags & both == both, driver: self.driver(name), rx_queues, tx_queues, mac })
    }

    fn driver(&self, name: &str) -> String {
        #[repr(C)]
        struct DriverInfo {
            command: u32,
            driver: [u8; 32],
            rest: [u8; 160],
        }
        let mut info = DriverInfo { command: ETHTOOL_GDRVINFO, driver: [0; 32], rest: [0; 160] };
        match self.ethtool(name, &mut info) {
            Ok(()) => String::from_utf8_lossy(info.driver.split(|&byte| byte == 0).next().unwrap_or(&[])).into_owned(),
            Err(_) => "its driver".to_owned(),
        }
    }

    /// Queues in use. A driver that does not tell has one in each direction.
    fn channels(&self, name: &str) -> io::Result<(u32, u32)> {
        #[repr(C)]
        #[derive(Default)]
        struct Channels {
            command: u32,
            max: [u32; 4],
            rx: u32,
            tx: u32,
            other: u32,
            combined: u32,
        }
        let mut channels = Channels { command: ETHTOOL_GCHANNELS, ..Channels::default() };
        match self.ethtool(name, &mut channels) {
            Ok(()) => Ok(((channels.rx + channels.combined).max(1), (channels.tx + channels.combined).max(1))),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Err(error),
            Err(_) => Ok((1, 1)),
        }
    }

    /// `T` is the `repr(C)` structure of the command in its first field.
    fn ethtool<T>(&self, name: &str, command: &mut T) -> io::Result<()> {
        let mut request = named(name)?;
        request.ifr_ifru.ifru_data = std::ptr::from_mut(command).cast();
        self.ioctl(SIOCETHTOOL, &mut request)
    }

    fn ioctl(&self, command: libc::c_ulong, request: &mut libc::ifreq) -> io::Result<()> {
        // SAFETY: all commands used here read and write an `ifreq`; where it points to a structure of ours (`ethtool`), that is alive and
        // as long as the command says.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), command as _, std::ptr::from_mut(request)) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

fn named(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: an `ifreq` is made of integers and addresses, for all of which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.is_empty() || name.len() >= request.ifr_name.len() {
        return Err(io::Error::from_raw_os_error(libc::ENODEV)); // 1 to 15 bytes: there is no other interface.
    }
    for (place, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *place = byte as libc::c_char;
    }
    Ok(request)
}

/// A netlink socket that hears of every change of a link in this network namespace.
#[derive(Debug)]
pub struct LinkNews(OwnedFd);

impl LinkNews {
    /// Subscribes.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn new() -> io::Result<LinkNews> {
        const RTMGRP_LINK: u32 = 1;
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: makes a new descriptor and touches no memory.
        let fd = unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: new, and nobody else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: a `sockaddr_nl` is made of integers.
        let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
        address.nl_family = libc::AF_NETLINK as u16;
        address.nl_groups = RTMGRP_LINK;
        let len = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
        // SAFETY: the kernel reads the address of the size given.
        if unsafe { libc::bind(fd.as_raw_fd(), std::ptr::from_ref(&address).cast(), len) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(LinkNews(fd))
    }

    /// For polling.
    pub fn raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Throws away what has come: that something has is all we want to know.
    pub fn drain(&self) {
        let mut buffer = [0u8; 8192];
        // SAFETY: the kernel writes at most the length given into a live buffer.
        while unsafe { libc::recv(self.0.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) } > 0 {}
    }
}
