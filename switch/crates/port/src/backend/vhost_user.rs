//! Ports to virtual machines: `vhost-user:SOCKET[,role=server|client][,queues=N]`.
//!
//! QEMU, Cloud Hypervisor and others give a guest a virtio network card whose rings lie in the guest's memory, and hand that memory over a unix socket to a
//! process that is the other end of the card: the back-end, here the switch. DPDK's driver `net_vhost` speaks the protocol (`docs/decisions/vhost-user.md`),
//! so this kind of port is in programs with the feature `dpdk` alone.
//!
//! **Roles** say who makes the socket, as in the configuration of the virtual machine: a `server` listens and the machine connects, a `client` connects,
//! again and again, to a machine that listens. Either way the link is down without a machine, and comes up when it is there again.
//!
//! **Whole frames only.** A virtio card may leave checksums, and the division of long data into packets, to its other end. Machines are not offered that:
//! what they send must be fit for any port. Nor is anything of it sent to them.
//!
//! Threads: DPDK's own negotiate with the peers; workers take and give frames.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::backend::dpdk;
use crate::device::Port;
use crate::mempool::FRAME_MAX;
use crate::open::{OpenError, OpenOptions};
use crate::spec::{PortKind, PortSpec};

/// Bytes of a path that fit into the address of a unix socket, unix(7).
const PATH_LEN_MAX: usize = 107;
/// Queue pairs, at most.
pub const QUEUES_MAX: u16 = dpdk::QUEUES_MAX;

/// Opens the port that `spec` names.
///
/// # Errors
/// An option that makes no sense, a socket that cannot be had, or what stands against DPDK; always without the feature `dpdk`.
pub fn open(spec: &PortSpec, options: &OpenOptions<'_>) -> Result<Port, OpenError> {
    let device = device(spec, options)?;
    if cfg!(feature = "dpdk") && !is_client(spec)? {
        take_away_stale(Path::new(&spec.arg)).map_err(|source| OpenError::VhostUser { socket: spec.arg.clone(), source })?;
    }
    dpdk::open_device(&device, PortKind::VhostUser, options.mempool)
}

/// Buffers of the switch that such a port's rings may hold; `tx_queue` is how many frames a transmit queue is to hold.
pub fn buffers_needed(spec: &PortSpec, tx_queue: usize) -> usize {
    let queues = spec.option("queues").and_then(|text| text.parse().ok()).unwrap_or(1);
    let inner = PortSpec { kind: PortKind::Dpdk, arg: "net_vhost".to_owned(), options: Default::default() };
    // A spec that cannot be holds nothing: opening it will say what is wrong.
    dpdk::Options::parse(&inner, tx_queue).map_or(0, |options| dpdk::buffers_needed(&dpdk::Options { queues, ..options }))
}

/// The device of DPDK that such a port is.
fn device(spec: &PortSpec, options: &OpenOptions<'_>) -> Result<dpdk::Options, OpenError> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let refuse = |key: &'static str, value: &str, expected: String| OpenError::Option { key, value: value.to_owned(), expected };
    let (path, client) = (&spec.arg, is_client(spec)?);
    // The driver's own syntax has a meaning for these; others are as good as any.
    if !path.starts_with('/') || path.len() > PATH_LEN_MAX || path.contains(['=', '[', ']']) {
        let expected = format!("an absolute path of up to {PATH_LEN_MAX} bytes, without any of `=[]`");
        return Err(refuse("SOCKET", path, expected));
    }
    let queues = match spec.option("queues") {
        None => 1,
        Some(text) => {
            let number = text.parse().ok().filter(|number| (1..=QUEUES_MAX).contains(number));
            number.ok_or_else(|| refuse("queues", text, format!("1 to {QUEUES_MAX}")))?
        }
    };
    let name = format!("net_vhost_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let longest = options.frame_len_max.clamp(1518, FRAME_MAX) - dpdk::AROUND_MTU as usize;
    let (role, client) = if client { ("client", 1) } else { ("server", 0) };
    let inner = PortSpec { kind: PortKind::Dpdk, arg: name.clone(), options: Default::default() };
    Ok(dpdk::Options {
        devargs: format!("{name},iface={path},client={client},queues={queues}"),
        title: format!("vhost-user {path} as {role}"),
        queues,
        mtu: Some(u16::try_from(longest).unwrap_or(u16::MAX)),
        vhost: Some(path.clone()),
        ..dpdk::Options::parse(&inner, options.queue)?
    })
}

fn is_client(spec: &PortSpec) -> Result<bool, OpenError> {
    match spec.option("role") {
        None | Some("server") => Ok(false),
        Some("client") => Ok(true),
        Some(other) => Err(OpenError::Option { key: "role", value: other.to_owned(), expected: "server or client".to_owned() }),
    }
}

/// Removes the socket that a dead process has left at `path`: the driver does not get over it.
fn take_away_stale(path: &Path) -> std::io::Result<()> {
    use std::io::{Error, ErrorKind};
    use std::os::unix::fs::FileTypeExt;

    let found = match std::fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !found.file_type().is_socket() {
        return Err(Error::new(ErrorKind::AlreadyExists, "there is a file that is no socket: remove it, or name another path"));
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(error),
        Ok(_) | Err(_) => {
            Err(Error::new(ErrorKind::AddrInUse, "another process listens there: stop it, name another path, or take role=client"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mempool::{Hugepages, Mempool};

    fn made_of(spec: &str, frame_len_max: usize) -> Result<dpdk::Options, String> {
        let mempool = Mempool::new(64, Hugepages::Never).unwrap();
        let options = OpenOptions { name: "p", speed_bps: 1, queue: 512, frame_len_max, mempool: &mempool, force_default_route: false };
        device(&spec.parse().unwrap(), &options).map_err(|error| error.to_string())
    }

    #[test]
    fn the_device_of_a_spec() {
        let options = made_of("vhost-user:/run/b1,queues=4,role=client", 9216).unwrap();
        assert_eq!(options.devargs, format!("{},iface=/run/b1,client=1,queues=4", options.device));
        assert_eq!((options.title.as_str(), options.vhost.as_deref()), ("vhost-user /run/b1 as client", Some("/run/b1")));
        assert_eq!((options.queues, options.mtu, options.promiscuous), (4, Some(9194), true));
        let other = made_of("vhost-user:/run/b2", 64).unwrap();
        assert!(other.device != options.device && other.devargs.ends_with(",client=0,queues=1"), "{}", other.devargs);
        assert_eq!(other.mtu, Some(1496));
    }

    #[test]
    fn what_cannot_be() {
        let long = format!("vhost-user:/{}", "x".repeat(107));
        for (spec, message) in [
            ("vhost-user:b1", "option `SOCKET=b1`: expected an absolute path of up to 107 bytes, without any of `=[]`"),
            ("vhost-user:/run/[1]", "option `SOCKET=/run/[1]`: expected an absolute path"),
            (&long, "expected an absolute path of up to 107 bytes"),
            ("vhost-user:/run/b1,role=master", "option `role=master`: expected server or client"),
            ("vhost-user:/run/b1,queues=0", "option `queues=0`: expected 1 to 64"),
            ("vhost-user:/run/b1,queues=two", "option `queues=two`: expected 1 to 64"),
        ] {
            let error = made_of(spec, 9216).expect_err(spec);
            assert!(error.contains(message), "{spec}: {error}");
        }
    }

    #[test]
    fn a_socket_that_was_left_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("v");
        take_away_stale(&path).unwrap();
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(take_away_stale(&path).unwrap_err().to_string().contains("another process listens there"));
        drop(listener);
        take_away_stale(&path).unwrap();
        assert!(!path.exists());
        std::fs::write(&path, "mine").unwrap();
        assert!(take_away_stale(&path).unwrap_err().to_string().contains("no socket"));
        assert!(path.exists());
    }
}
