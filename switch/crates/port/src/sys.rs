//! System calls on sockets and interfaces, as safe functions.
//!
//! Thin on purpose: each does one call, and returns what the system says as an [`io::Error`]. The structures that go through are
//! [`Plain`]: made of integers, so that any bytes the kernel writes are a value.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use libc::c_int;

/// Made of integers and nothing else (no padding that is read, no addresses): any bytes are a value.
///
/// # Safety
/// Whoever implements it vouches for that.
pub(crate) unsafe trait Plain: Copy {
    /// All zero.
    fn zeroed() -> Self {
        // SAFETY: any bytes are a value of the type, zeros too.
        unsafe { std::mem::zeroed() }
    }
}

macro_rules! plain {
    ($($name:ty),*) => { $(
        // SAFETY: the type is made of integers.
        unsafe impl Plain for $name {}
    )* };
}
plain!(c_int, u32, libc::sockaddr_ll, libc::sockaddr_nl, libc::packet_mreq, libc::tpacket_req, libc::tpacket_stats, libc::timeval);

fn done(result: c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A new socket, closed on exec. It belongs to the network namespace of the calling thread.
pub(crate) fn socket(domain: c_int, kind: c_int, protocol: c_int) -> io::Result<OwnedFd> {
    // SAFETY: makes a new descriptor and touches no memory.
    let fd = unsafe { libc::socket(domain, kind | libc::SOCK_CLOEXEC, protocol) };
    done(fd)?;
    // SAFETY: the descriptor is new, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sets a socket option.
pub(crate) fn set_option<T: Plain>(fd: &OwnedFd, level: c_int, option: c_int, value: &T) -> io::Result<()> {
    // SAFETY: the kernel reads `size_of::<T>()` bytes of a live value.
    done(unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, std::ptr::from_ref(value).cast(), size_of::<T>() as libc::socklen_t) })
}

/// Reads a socket option.
pub(crate) fn option<T: Plain>(fd: &OwnedFd, level: c_int, option: c_int) -> io::Result<T> {
    let mut value = T::zeroed();
    let mut len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes into a live value, any bytes of which are a value.
    done(unsafe { libc::getsockopt(fd.as_raw_fd(), level, option, std::ptr::from_mut(&mut value).cast(), &mut len) })?;
    Ok(value)
}

/// Binds a socket to an address of its family.
pub(crate) fn bind<T: Plain>(fd: &OwnedFd, address: &T) -> io::Result<()> {
    // SAFETY: the kernel reads `size_of::<T>()` bytes of a live value.
    done(unsafe { libc::bind(fd.as_raw_fd(), std::ptr::from_ref(address).cast(), size_of::<T>() as libc::socklen_t) })
}

/// The address a socket is bound to.
pub(crate) fn bound_to<T: Plain>(fd: &OwnedFd) -> io::Result<T> {
    let mut address = T::zeroed();
    let mut len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes into a live value, any bytes of which are a value.
    done(unsafe { libc::getsockname(fd.as_raw_fd(), std::ptr::from_mut(&mut address).cast(), &mut len) })?;
    Ok(address)
}

/// Receives into `buffer`.
pub(crate) fn recv(fd: &OwnedFd, buffer: &mut [u8], flags: c_int) -> io::Result<usize> {
    // SAFETY: the kernel writes at most the buffer's length into it.
    let len = unsafe { libc::recv(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), flags) };
    usize::try_from(len).map_err(|_| io::Error::last_os_error())
}

/// Sends `bytes` as one message.
pub(crate) fn send(fd: &OwnedFd, bytes: &[u8]) -> io::Result<()> {
    // SAFETY: the kernel reads the bytes given.
    let len = unsafe { libc::send(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) };
    if len < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// An `ifreq` of this interface.
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

const SIOCETHTOOL: u32 = 0x8946;

/// An ethtool command that takes or gives one number (`struct ethtool_value`); `socket` says in which namespace.
pub(crate) fn ethtool(socket: &OwnedFd, interface: &str, command: u32, value: u32) -> io::Result<u32> {
    let mut data = [command, value];
    let mut request = named(interface)?;
    request.ifr_ifru.ifru_data = data.as_mut_ptr().cast();
    // SAFETY: the commands this crate uses (`netdev::prepare`) read and write an `ethtool_value`, two 32-bit words, which `data` is; it lives.
    done(unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL as _, std::ptr::from_mut(&mut request)) })?;
    Ok(data[1])
}

/// Sets the MTU of an interface.
pub(crate) fn set_mtu(socket: &OwnedFd, interface: &str, mtu: u32) -> io::Result<()> {
    let mut request = named(interface)?;
    request.ifr_ifru.ifru_mtu = mtu as c_int;
    // SAFETY: SIOCSIFMTU reads an `ifreq` with the member `ifru_mtu`.
    done(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFMTU as _, std::ptr::from_mut(&mut request)) })
}

/// Switches an interface on.
pub(crate) fn set_up(socket: &OwnedFd, interface: &str) -> io::Result<()> {
    let mut request = named(interface)?;
    // SAFETY: SIOCGIFFLAGS writes, and SIOCSIFFLAGS reads, the member `ifru_flags` of an `ifreq`.
    unsafe {
        done(libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS as _, std::ptr::from_mut(&mut request)))?;
        request.ifr_ifru.ifru_flags |= libc::IFF_UP as libc::c_short;
        done(libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, std::ptr::from_mut(&mut request)))
    }
}

/// Makes a TAP interface of an open `/dev/net/tun`. It lives as long as the descriptor.
pub(crate) fn make_tap(tun: &impl AsRawFd, name: &str) -> io::Result<()> {
    let mut request = named(name)?;
    // Not IFF_TUN_EXCL: it refuses persistent interfaces as well, which an administrator may have made for us.
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes an `ifreq`.
    done(unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETIFF as _, std::ptr::from_mut(&mut request)) })
}

/// Moves the calling thread into a network namespace.
pub(crate) fn enter_namespace(namespace: &OwnedFd) -> io::Result<()> {
    // SAFETY: touches no memory; the caller's thread, and no other, changes its namespace.
    done(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) })
}

/// `bpf(2)` with `attributes`.
fn bpf(command: c_int, attributes: &mut [u8]) -> io::Result<OwnedFd> {
    // SAFETY: the kernel reads and writes the attributes given, and no more; addresses in them are those of `load_program`.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_mut_ptr(), attributes.len()) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: both commands used here return a new descriptor, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as c_int) })
}

/// Loads a classifier program (BPF_PROG_TYPE_SCHED_CLS).
pub(crate) fn load_classifier(instructions: &[u64]) -> io::Result<OwnedFd> {
    const BPF_PROG_LOAD: c_int = 5;
    const BPF_PROG_TYPE_SCHED_CLS: u32 = 3;
    let licence = c"Dual MIT/GPL";
    let mut attributes = [0u8; 48];
    attributes[0..4].copy_from_slice(&BPF_PROG_TYPE_SCHED_CLS.to_ne_bytes());
    attributes[4..8].copy_from_slice(&(instructions.len() as u32).to_ne_bytes());
    attributes[8..16].copy_from_slice(&(instructions.as_ptr() as u64).to_ne_bytes());
    attributes[16..24].copy_from_slice(&(licence.as_ptr() as u64).to_ne_bytes());
    bpf(BPF_PROG_LOAD, &mut attributes)
}

/// Attaches a classifier to the ingress of an interface (tcx, Linux 6.6) for as long as the descriptor is open.
pub(crate) fn attach_ingress(program: &OwnedFd, interface: u32) -> io::Result<OwnedFd> {
    const BPF_LINK_CREATE: c_int = 28;
    const BPF_TCX_INGRESS: u32 = 46;
    let mut attributes = [0u8; 16];
    attributes[0..4].copy_from_slice(&(program.as_raw_fd() as u32).to_ne_bytes());
    attributes[4..8].copy_from_slice(&interface.to_ne_bytes());
    attributes[8..12].copy_from_slice(&BPF_TCX_INGRESS.to_ne_bytes());
    bpf(BPF_LINK_CREATE, &mut attributes)
}
