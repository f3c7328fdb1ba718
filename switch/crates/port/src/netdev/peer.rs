//! The other end of a veth, which may be in another network namespace.
//!
//! The kernel knows a foreign namespace by a number of its own. To enter it one needs a file that stands for it: those of `ip netns` lie in
//! `/run/netns`, those of containers are found through their processes. Nothing of it is kept open: a descriptor into a namespace would keep
//! it alive after everybody else has left, and its veth, whose disappearance we want to hear of, with it.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::link::{Link, attributes};
use super::{Asker, Netdev};
use crate::sys;

const RTM_NEWNSID: u16 = 88;
const RTM_GETNSID: u16 = 90;
const NETNSA_NSID: u16 = 1;
const NETNSA_FD: u16 = 3;

/// Where a veth's other end is.
#[derive(Debug)]
pub(super) struct Peer {
    /// Its name there.
    pub name: String,
    /// The file of its namespace; `None`: in ours.
    pub namespace: Option<PathBuf>,
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.name)?;
        self.namespace.as_ref().map_or(Ok(()), |file| write!(f, " in namespace {}", file.display()))
    }
}

impl Peer {
    /// The other end of `link`, which is a veth.
    ///
    /// # Errors
    /// It is in a namespace that we do not find or may not enter; the text says so.
    pub fn of(netdev: &Netdev, link: &Link) -> io::Result<Peer> {
        let index = link.peer.ok_or_else(|| io::Error::other("the kernel does not say where it is"))?;
        let Some(number) = link.peer_namespace else {
            return Ok(Peer { name: netdev.asker.by_index(index)?.name, namespace: None });
        };
        let path = find(&netdev.asker, number)
            .ok_or_else(|| io::Error::other(format!("no file of /run/netns and no process is known for its namespace (nsid {number})")))?;
        let name = inside(&path, |asker| asker.by_index(index))?.name;
        Ok(Peer { name, namespace: Some(path) })
    }

    /// Does something with the sockets of its namespace.
    pub fn with<T: Send>(&self, netdev: &Netdev, work: impl FnOnce(&Asker) -> io::Result<T> + Send) -> io::Result<T> {
        match &self.namespace {
            None => work(&netdev.asker),
            Some(path) => inside(path, work),
        }
    }
}

/// Does something in the namespace of a file, on a thread that enters it and ends.
fn inside<T: Send>(path: &PathBuf, work: impl FnOnce(&Asker) -> io::Result<T> + Send) -> io::Result<T> {
    let namespace = OwnedFd::from(File::open(path)?);
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            sys::enter_namespace(&namespace)?;
            work(&Asker::new()?)
        });
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread inside the namespace has panicked")))
    })
}

/// A file of the namespace that the kernel calls `number` from here.
fn find(asker: &Asker, number: i32) -> Option<PathBuf> {
    let list = |directory: &str| std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    let named = list("/run/netns");
    let processes =
        list("/proc").filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().bytes().all(|b| b.is_ascii_digit())));
    let mut seen = Vec::new();
    named.chain(processes.map(|path| path.join("ns/net"))).find(|path| {
        let Ok(metadata) = std::fs::metadata(path) else { return false };
        let identity = (metadata.dev(), metadata.ino());
        if seen.contains(&identity) {
            return false;
        }
        seen.push(identity);
        number_of(asker, path).is_ok_and(|found| found == number)
    })
}

fn number_of(asker: &Asker, path: &PathBuf) -> io::Result<i32> {
    use std::os::fd::AsRawFd;
    let file = File::open(path)?;
    let mut body = vec![0u8; 4]; // struct rtgenmsg, padded.
    body.extend(8u16.to_ne_bytes());
    body.extend(NETNSA_FD.to_ne_bytes());
    body.extend((file.as_raw_fd() as u32).to_ne_bytes());
    let answer = asker.ask(RTM_GETNSID, &body, RTM_NEWNSID)?;
    let found = attributes(answer.get(4..).unwrap_or(&[])).find(|(kind, _)| *kind == NETNSA_NSID);
    let number = found.and_then(|(_, value)| value.first_chunk::<4>().map(|bytes| i32::from_ne_bytes(*bytes)));
    number.ok_or_else(|| io::ErrorKind::InvalidData.into())
}
