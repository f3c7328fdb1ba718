//! Sending by `sendmmsg`: a burst in one call, straight from the pool's buffers.
//!
//! A transmit ring (PACKET_TX_RING) saves no copy here: frames would first have to be put into the ring, and the kernel copies
//! them out of it again before they enter a veth. Without a ring the kernel's answer comes with the call: what it does not take is
//! refused by its reason, no frame waits in a queue of a dead interface, and none is sent stale when it returns.
//!
//! Left out: joining the segments of a TCP stream into one super-frame that the kernel cuts again (PACKET_VNET_HDR). Of frames of 1,514 bytes into a
//! veth whose far end receives on another core, 16 joined took 0.8 to 1.1 µs of CPU each, in one burst 2.1 to 3.6; where the far end receives on the
//! sender's core, there was no difference. It would take a check of every checksum, since cutting writes new ones, and the queueing discipline:
//! past it the kernel refuses (ENOBUFS) what it would have to cut.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use arrayvec::ArrayVec;

use super::ring::address;
use crate::device::Refusal;
use crate::mempool::PoolCache;
use crate::packet::{BURST_MAX, Burst};
use crate::sys;

/// Bytes of frames the kernel may hold for us.
const SEND_BUFFER: libc::c_int = 4 << 20;
/// Pieces of frames in one call; the longest chain has 35.
const PIECES_MAX: usize = 256;
const PACKET_QDISC_BYPASS: libc::c_int = 20;

/// A packet socket that sends on one interface and receives nothing.
#[derive(Debug)]
pub struct TxSocket(OwnedFd);

impl TxSocket {
    /// Opens one on the interface of this index.
    pub fn open(index: u32) -> io::Result<TxSocket> {
        let fd = sys::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_NONBLOCK, 0)?;
        // Past the queueing discipline: its queue would add delay, and what it drops it does not tell. Into a veth without one a frame
        // still costs a fifth more of kernel time by that way.
        sys::set_option(&fd, libc::SOL_PACKET, PACKET_QDISC_BYPASS, &1)?;
        // More than net.core.wmem_max needs CAP_NET_ADMIN; less holds fewer frames, and that is all.
        if sys::set_option(&fd, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, &SEND_BUFFER).is_err() {
            sys::set_option(&fd, libc::SOL_SOCKET, libc::SO_SNDBUF, &SEND_BUFFER)?;
        }
        sys::bind(&fd, &address(index, 0))?; // Protocol 0: nothing is received.
        Ok(TxSocket(fd))
    }

    /// Another descriptor of the same socket.
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        self.0.try_clone()
    }

    /// Sends packets from the front of the burst and frees them. Stops at the first that is refused and says why.
    pub fn send(&self, pool: &mut PoolCache, burst: &mut Burst) -> Result<(), Refusal> {
        while !burst.is_empty() {
            match self.send_some(pool, burst) {
                Ok(sent) => burst.drain(..sent).for_each(|packet| pool.free(packet)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(match error.raw_os_error() {
                        Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => Refusal::Full,
                        Some(libc::EMSGSIZE) => Refusal::Oversize,
                        // ENETDOWN: switched off; ENXIO, ENODEV: deleted. Anything else is not known to happen, and the port is no good.
                        _ => Refusal::Down,
                    });
                }
            }
        }
        Ok(())
    }

    /// One call. Returns how many packets it has sent, at least one.
    fn send_some(&self, pool: &PoolCache, burst: &Burst) -> io::Result<usize> {
        let mut pieces: ArrayVec<libc::iovec, PIECES_MAX> = ArrayVec::new();
        let mut lens: ArrayVec<usize, BURST_MAX> = ArrayVec::new();
        for packet in burst {
            let before = pieces.len();
            for segment in pool.segments(packet) {
                let piece = libc::iovec { iov_base: segment.as_ptr().cast_mut().cast(), iov_len: segment.len() };
                if pieces.try_push(piece).is_err() {
                    break;
                }
            }
            // The last one may not have found room for all of its pieces.
            if pieces.is_full() && !lens.is_empty() {
                pieces.truncate(before);
                break;
            }
            lens.push(pieces.len() - before);
        }
        let mut messages: ArrayVec<libc::mmsghdr, BURST_MAX> = ArrayVec::new();
        let mut start = 0;
        for &len in &lens {
            // SAFETY: a `mmsghdr` is made of integers and addresses, for all of which zero is a value.
            let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
            message.msg_hdr.msg_iov = pieces[start..].as_mut_ptr();
            message.msg_hdr.msg_iovlen = len as _;
            messages.push(message);
            start += len;
        }
        // SAFETY: each message points to its part of `pieces`, each piece to bytes of a packet that `burst` holds; the kernel reads them and is done
        // with them when the call returns.
        let sent = unsafe { libc::sendmmsg(self.0.as_raw_fd(), messages.as_mut_ptr(), messages.len() as u32, libc::MSG_DONTWAIT) };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}
