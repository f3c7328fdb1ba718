//! Network interfaces as the kernel tells of them: what state one is in, when that changes, and what must be set on it.
//!
//! - [`Netdev`]: one interface by name, watched over rtnetlink; it may go away and come back under another index;
//! - [`link`]: what the kernel's answers mean;
//! - [`prepare`]: offloads that a switch port must not have, off, and on again at the end;
//! - [`route`]: does the machine's default route go this way?
//! - [`hide`]: keeps frames from the host's own stack;
//! - `peer`: the other end of a veth, wherever it is.
//!
//! Sockets belong to the network namespace of the thread that made them: a port is opened and maintained in one namespace.

pub mod hide;
pub mod link;
mod peer;
pub mod prepare;
pub mod route;

use std::io;
use std::os::fd::OwnedFd;

use crate::{privilege, sys};
use link::Link;

/// Why a port on an interface could not be opened. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenInterfaceError {
    /// There is none of this name.
    #[error("there is no interface `{0}` in this network namespace: `ip link` lists them")]
    Missing(String),
    /// The process may not.
    #[error("{interface}: the system does not permit it: {}", privilege::advice())]
    Privilege {
        /// The interface.
        interface: String,
    },
    /// What the system says.
    #[error("{interface}: {source}")]
    System {
        /// The interface.
        interface: String,
        /// Its error.
        source: io::Error,
    },
}

impl OpenInterfaceError {
    pub(crate) fn of(interface: &str, source: io::Error) -> OpenInterfaceError {
        let interface = interface.to_owned();
        match source.raw_os_error() {
            Some(libc::ENODEV) => OpenInterfaceError::Missing(interface),
            Some(libc::EPERM | libc::EACCES) => OpenInterfaceError::Privilege { interface },
            _ => OpenInterfaceError::System { interface, source },
        }
    }
}

const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
const IFLA_IFNAME: u16 = 3;
/// The longest answer about one interface: attributes and statistics fill some 3 KiB.
const ANSWER_MAX: usize = 32 << 10;

/// Sockets for asking about interfaces.
#[derive(Debug)]
pub(crate) struct Asker {
    netlink: OwnedFd,
    /// For ioctls.
    pub inet: OwnedFd,
}

impl Asker {
    /// In the network namespace of the calling thread.
    pub fn new() -> io::Result<Asker> {
        let netlink = sys::socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE)?;
        // The kernel answers within the call that asks; this is for a kernel that does not.
        sys::set_option(&netlink, libc::SOL_SOCKET, libc::SO_RCVTIMEO, &libc::timeval { tv_sec: 1, tv_usec: 0 })?;
        Ok(Asker { netlink, inet: sys::socket(libc::AF_INET, libc::SOCK_DGRAM, 0)? })
    }

    /// The interface of this name. Error ENODEV: there is none.
    pub fn by_name(&self, name: &str) -> io::Result<Link> {
        if name.is_empty() || name.len() >= libc::IFNAMSIZ || name.bytes().any(|byte| byte == 0) {
            return Err(io::Error::from_raw_os_error(libc::ENODEV));
        }
        let mut attribute = Vec::new();
        attribute.extend((4 + name.len() as u16 + 1).to_ne_bytes());
        attribute.extend(IFLA_IFNAME.to_ne_bytes());
        attribute.extend(name.as_bytes());
        attribute.push(0);
        attribute.resize(attribute.len().next_multiple_of(4), 0);
        self.get(0, &attribute)
    }

    /// The interface of this index. Error ENODEV: there is none.
    pub fn by_index(&self, index: u32) -> io::Result<Link> {
        self.get(index, &[])
    }

    fn get(&self, index: u32, attributes: &[u8]) -> io::Result<Link> {
        let mut body = [0u8; 16]; // struct ifinfomsg
        body[4..8].copy_from_slice(&index.to_ne_bytes());
        let answer = self.ask(RTM_GETLINK, &[&body, attributes].concat(), RTM_NEWLINK)?;
        Link::parse(&answer).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer about a link cannot be read"))
    }

    /// Sends a request; returns the body of the answer of the kind wanted.
    fn ask(&self, kind: u16, body: &[u8], wanted: u16) -> io::Result<Vec<u8>> {
        let mut request = Vec::with_capacity(16 + body.len());
        request.extend((16 + body.len() as u32).to_ne_bytes());
        request.extend(kind.to_ne_bytes());
        request.extend(NLM_F_REQUEST.to_ne_bytes());
        request.extend([0; 8]); // Sequence number and sender: one request is under way at a time, and the kernel knows who asks.
        request.extend(body);
        sys::send(&self.netlink, &request)?;
        let mut answer = vec![0; ANSWER_MAX];
        let len = sys::recv(&self.netlink, &mut answer, 0)?;
        answer.truncate(len);
        let header = answer.first_chunk::<16>().ok_or(io::ErrorKind::InvalidData)?;
        let len = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let kind = u16::from_ne_bytes([header[4], header[5]]);
        let body = answer.get(16..len).ok_or(io::ErrorKind::InvalidData)?;
        match (kind, body.first_chunk::<4>()) {
            (NLMSG_ERROR, Some(errno)) => Err(io::Error::from_raw_os_error(-i32::from_ne_bytes(*errno))),
            (kind, _) if kind == wanted => Ok(body.to_vec()),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// An interface by name, and a bell that rings when any interface of the namespace has changed.
#[derive(Debug)]
pub struct Netdev {
    name: String,
    pub(crate) asker: Asker,
    bell: OwnedFd,
}

impl Netdev {
    /// Watches the interface called `name` in the network namespace of the calling thread. It need not be there.
    ///
    /// # Errors
    /// If the system refuses the sockets.
    pub fn new(name: &str) -> io::Result<Netdev> {
        let bell = sys::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_NONBLOCK, libc::NETLINK_ROUTE)?;
        let mut address = <libc::sockaddr_nl as sys::Plain>::zeroed();
        address.nl_family = libc::AF_NETLINK as u16;
        address.nl_groups = libc::RTMGRP_LINK as u32;
        sys::bind(&bell, &address)?;
        Ok(Netdev { name: name.to_owned(), asker: Asker::new()?, bell })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Has anything happened to any interface since the last call? Does not block.
    ///
    /// What has happened is not read from the news: they may be lost, and several may be of one change. Whoever hears the bell
    /// asks for the state.
    pub fn rang(&self) -> bool {
        let mut buffer = [0u8; 4096];
        let mut rang = false;
        loop {
            match sys::recv(&self.bell, &mut buffer, libc::MSG_TRUNC) {
                Ok(_) => rang = true,
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => rang = true, // Some were lost.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return rang,
            }
        }
    }

    /// Its state now.
    ///
    /// # Errors
    /// ENODEV if there is no interface of this name.
    pub fn state(&self) -> io::Result<Link> {
        self.asker.by_name(&self.name)
    }
}
