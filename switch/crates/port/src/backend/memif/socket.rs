//! The socket of a memif connection: SEQPACKET, one message a datagram, files beside it.
//!
//! Nothing here blocks. Files that the peer sends without being asked are closed.

use std::fs;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::linux::fs::MetadataExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    SocketAddrUnix, SocketFlags, SocketType,
};

use super::message::{MESSAGE_LEN, Message};

/// Clients that may wait to be accepted.
const BACKLOG: i32 = 32;
/// Files taken beside a message. One is expected; the rest must fit to be closed in an orderly way.
const FILES_MAX: usize = 4;

/// Where the two peers meet: a path, or with `@` in front a name in the abstract namespace.
pub fn address(place: &str) -> io::Result<SocketAddrUnix> {
    Ok(match place.strip_prefix('@') {
        Some(name) => SocketAddrUnix::new_abstract_name(name.as_bytes())?,
        None => SocketAddrUnix::new(place)?,
    })
}

fn seqpacket() -> io::Result<OwnedFd> {
    Ok(rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?)
}

/// Connects to whoever listens at `place`.
pub fn connect(place: &str) -> io::Result<OwnedFd> {
    let socket = seqpacket()?;
    rustix::net::connect(&socket, &address(place)?)?;
    Ok(socket)
}

/// A listening socket. Its path goes when it goes.
#[derive(Debug)]
pub struct Listener {
    fd: OwnedFd,
    /// The path and what lies there: device and inode.
    file: Option<(PathBuf, u64, u64)>,
}

impl Listener {
    /// Listens at `place`. A socket that a dead process left there is taken away; one that somebody listens on is not, nor is any other file.
    ///
    /// # Errors
    /// What stands against it, as a sentence.
    pub fn open(place: &str) -> io::Result<Listener> {
        let (fd, address) = (seqpacket()?, address(place)?);
        match rustix::net::bind(&fd, &address) {
            Err(Errno::ADDRINUSE) if !place.starts_with('@') => {
                take_away_stale(place)?;
                rustix::net::bind(&fd, &address)?;
            }
            result => result?,
        }
        let file = match place.starts_with('@') {
            true => None,
            false => fs::symlink_metadata(place).ok().map(|found| (PathBuf::from(place), found.st_dev(), found.st_ino())),
        };
        let listener = Listener { fd, file };
        rustix::net::listen(&listener.fd, BACKLOG)?;
        Ok(listener)
    }

    /// The next client, if one waits.
    pub fn accept(&self) -> io::Result<Option<OwnedFd>> {
        match rustix::net::accept_with(&self.fd, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            Ok(socket) => Ok(Some(socket)),
            Err(Errno::AGAIN | Errno::CONNABORTED | Errno::INTR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let Some((path, device, inode)) = &self.file else { return };
        // Only if it is still ours: somebody may have put another one there.
        if fs::symlink_metadata(path).is_ok_and(|found| (found.st_dev(), found.st_ino()) == (*device, *inode)) {
            let _ = fs::remove_file(path);
        }
    }
}

/// Removes the socket at `path` if nobody listens on it.
fn take_away_stale(path: &str) -> io::Result<()> {
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return Err(io::Error::new(ErrorKind::AlreadyExists, "there is a file that is no socket: remove it, or name another path"));
    }
    match connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(Path::new(path)),
        Err(error) if error.raw_os_error() == Some(libc::EPROTOTYPE) => {
            Err(io::Error::new(ErrorKind::AddrInUse, "there is a socket of another kind: name another path"))
        }
        Ok(_) | Err(_) => {
            Err(io::Error::new(ErrorKind::AddrInUse, "another process listens there: stop it, name another path, or take role=client"))
        }
    }
}

/// Sends a message, and a file beside it.
pub fn send(socket: &OwnedFd, message: &Message, file: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let bytes = message.encode();
    let files = file.map(|file| [file]);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if let Some(files) = &files {
        beside.push(SendAncillaryMessage::ScmRights(files));
    }
    // The socket's buffer holds many more messages than may be under way: one that does not fit means a peer that does not read.
    rustix::net::sendmsg(socket, &[IoSlice::new(&bytes)], &mut beside, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)?;
    Ok(())
}

/// What the socket has.
#[derive(Debug)]
pub enum Received {
    /// A datagram of so many bytes (the first of them), and the file beside it.
    Datagram(Vec<u8>, Option<OwnedFd>),
    /// Nothing at the moment.
    Nothing,
    /// The peer has closed it.
    Closed,
}

/// Receives a datagram.
pub fn receive(socket: &OwnedFd) -> io::Result<Received> {
    let mut bytes = [0; MESSAGE_LEN + 1];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES_MAX))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let len = match rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut beside, flags) {
        Ok(received) => received.bytes,
        Err(Errno::AGAIN | Errno::INTR) => return Ok(Received::Nothing),
        Err(Errno::CONNRESET | Errno::PIPE) => return Ok(Received::Closed),
        Err(error) => return Err(error.into()),
    };
    let mut files = Vec::new();
    for message in beside.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            files.extend(received);
        }
    }
    // A peer may send an empty datagram, which looks like the end of the connection: for a memif it is.
    if len == 0 {
        return Ok(Received::Closed);
    }
    files.truncate(1);
    Ok(Received::Datagram(bytes[..len.min(bytes.len())].to_vec(), files.pop()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn messages_and_files_cross() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("m.sock").to_str().unwrap().to_owned();
        let listener = Listener::open(&path).unwrap();
        assert!(listener.accept().unwrap().is_none());
        let client = connect(&path).unwrap();
        let server = listener.accept().unwrap().unwrap();
        assert!(matches!(receive(&server).unwrap(), Received::Nothing));
        send(&client, &Message::AddRegion { index: 0, size: 9 }, Some(client.as_fd())).unwrap();
        send(&client, &Message::Ack, None).unwrap();
        let Received::Datagram(bytes, Some(file)) = receive(&server).unwrap() else { panic!("a message with a file") };
        assert_eq!(Message::parse(&bytes), Ok(Message::AddRegion { index: 0, size: 9 }));
        assert_ne!(file.as_raw_fd(), client.as_raw_fd());
        let Received::Datagram(bytes, None) = receive(&server).unwrap() else { panic!("a message without a file") };
        assert_eq!(Message::parse(&bytes), Ok(Message::Ack));
        rustix::net::send(&client, &[1; 300], SendFlags::empty()).unwrap();
        let Received::Datagram(bytes, None) = receive(&server).unwrap() else { panic!("a message that is too long") };
        assert!(Message::parse(&bytes).is_err());
        drop((client, file));
        assert!(matches!(receive(&server).unwrap(), Received::Closed));
    }

    #[test]
    fn what_is_not_ours_to_take_away_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("m.sock").to_str().unwrap().to_owned();
        let _listener = Listener::open(&path).unwrap();
        assert!(Listener::open(&path).unwrap_err().to_string().contains("another process listens there"));
        std::fs::write(directory.path().join("file"), "x").unwrap();
        let file = directory.path().join("file").to_str().unwrap().to_owned();
        assert!(Listener::open(&file).unwrap_err().to_string().contains("no socket"));
        assert_eq!(std::fs::read(&file).unwrap(), b"x");
        assert!(Listener::open(&format!("{}/{}", directory.path().display(), "x".repeat(200))).is_err());
    }

    #[test]
    fn a_path_that_is_not_ours_any_more_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("m.sock").to_str().unwrap().to_owned();
        let first = Listener::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let second = Listener::open(&path).unwrap();
        drop(first);
        assert!(connect(&path).is_ok(), "the second one's path is still there");
        drop(second);
        assert!(!Path::new(&path).exists());
        assert!(connect(&path).is_err());
    }

    #[test]
    fn what_a_dead_process_left_is_taken_away() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("m.sock").to_str().unwrap().to_owned();
        let mut dead = Listener::open(&path).unwrap();
        dead.file = None;
        drop(dead);
        assert!(Path::new(&path).exists());
        assert!(Listener::open(&path).is_ok());
    }
}
