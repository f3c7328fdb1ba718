//! The receive ring of a packet socket: TPACKET_V2, memory that the kernel writes frames into and we read them from
//! (Linux Documentation/networking/packet_mmap.rst).
//!
//! Version 3 was measured as well: its blocks are handed over when full or after a timeout, which adds half a millisecond.
//!
//! Each slot belongs to the kernel or to us, as its status word says. Whoever is done with it writes the word last (release) and
//! looks at it first (acquire). What the kernel writes into a slot's header is checked before it is used as an offset.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use libc::c_int;

use crate::sys;

/// Bytes in front of the frame in its slot, at most: header, address, alignment.
const SLOT_HEAD: usize = 128;
/// Bytes of a ring. More slots ride out longer pauses; fewer stay in the cache.
const RING_LEN: usize = 4 << 20;
const BLOCK_LEN: usize = 128 << 10;
/// The longest payload a ring is made for.
const MTU_MAX: u32 = 65_535 - 22;

const TP_STATUS_COPY: u32 = 1 << 1;
const TP_STATUS_LOSING: u32 = 1 << 2;
const TP_STATUS_CSUMNOTREADY: u32 = 1 << 3;
const TP_STATUS_VLAN_VALID: u32 = 1 << 4;
const TP_STATUS_VLAN_TPID_VALID: u32 = 1 << 6;
const PACKET_FANOUT_FLAG_UNIQUEID: c_int = 0x2000;
const PACKET_FANOUT_FLAG_IGNORE_OUTGOING: c_int = 0x4000;
const PACKET_IGNORE_OUTGOING: c_int = 23;
/// EtherType of an IEEE 802.1Q tag, where the kernel does not say which.
const TPID_8021Q: u16 = 0x8100;
const TAG_LEN: usize = 4;
/// Both addresses of an Ethernet frame: the tag goes behind them.
const ADDRESSES_LEN: usize = 12;

/// Who shares the frames of an interface with this socket.
#[derive(Clone, Copy, Debug)]
pub enum Fanout {
    /// Nobody.
    Alone,
    /// Further sockets will join.
    Found,
    /// Those of the group of this number.
    Join(u16),
}

/// A packet socket that receives all frames of one interface into a ring.
#[derive(Debug)]
pub struct RxRing {
    fd: OwnedFd,
    map: NonNull<u8>,
    map_len: usize,
    slot_len: usize,
    slots: usize,
    next: usize,
    mtu_max: u32,
}

// SAFETY: the mapping belongs to this value alone; the kernel's side of it is governed by the status words.
unsafe impl Send for RxRing {}

/// A frame in its slot.
pub enum Received<'a> {
    /// The whole frame, tag in its place, and whether its checksum may be left to be completed.
    Frame(&'a mut [u8], bool),
    /// It was longer than the slot: so many bytes.
    Oversize(usize),
}

impl RxRing {
    /// Opens a ring on the interface of this index for payloads of up to `mtu` bytes.
    pub fn open(index: u32, mtu: u32, fanout: Fanout) -> io::Result<RxRing> {
        RxRing::open_with(index, mtu, fanout, RING_LEN)
    }

    /// As [`open`](Self::open), with so many bytes of ring: a power of two, at least [`BLOCK_LEN`].
    pub fn open_with(index: u32, mtu: u32, fanout: Fanout, ring_len: usize) -> io::Result<RxRing> {
        // Protocol 0 until it is bound: it would receive from all interfaces meanwhile.
        let fd = sys::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_NONBLOCK, 0)?;
        sys::set_option(&fd, libc::SOL_PACKET, libc::PACKET_VERSION, &(libc::tpacket_versions::TPACKET_V2 as c_int))?;
        sys::set_option(&fd, libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, &1)?;
        // Payload, Ethernet header, two tags.
        let slot_len = (mtu.min(MTU_MAX) as usize + 14 + 2 * TAG_LEN + SLOT_HEAD).next_power_of_two().max(2048);
        let block_len = BLOCK_LEN.max(slot_len);
        let request = libc::tpacket_req {
            tp_block_size: block_len as u32,
            tp_block_nr: (ring_len / block_len) as u32,
            tp_frame_size: slot_len as u32,
            tp_frame_nr: (ring_len / slot_len) as u32,
        };
        sys::set_option(&fd, libc::SOL_PACKET, libc::PACKET_RX_RING, &request)?;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a shared mapping of the socket's ring, as long as was asked for, at an address of the kernel's choice.
        let map =
            unsafe { libc::mmap(std::ptr::null_mut(), ring_len, protection, libc::MAP_SHARED | libc::MAP_POPULATE, fd.as_raw_fd(), 0) };
        if map == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let map = NonNull::new(map.cast()).ok_or_else(|| io::Error::other("mmap returned address zero"))?;
        let ring = RxRing {
            fd,
            map,
            map_len: ring_len,
            slot_len,
            slots: ring_len / slot_len,
            next: 0,
            mtu_max: (slot_len - SLOT_HEAD - 22) as u32,
        };
        sys::bind(&ring.fd, &address(index, libc::ETH_P_ALL as u16))?;
        let mode = libc::PACKET_FANOUT_HASH as c_int | PACKET_FANOUT_FLAG_IGNORE_OUTGOING;
        match fanout {
            Fanout::Alone => {}
            Fanout::Found => {
                sys::set_option(&ring.fd, libc::SOL_PACKET, libc::PACKET_FANOUT, &((mode | PACKET_FANOUT_FLAG_UNIQUEID) << 16))?
            }
            Fanout::Join(group) => sys::set_option(&ring.fd, libc::SOL_PACKET, libc::PACKET_FANOUT, &(mode << 16 | c_int::from(group)))?,
        }
        Ok(ring)
    }

    /// Number of its fanout group.
    pub fn group(&self) -> io::Result<u16> {
        sys::option::<c_int>(&self.fd, libc::SOL_PACKET, libc::PACKET_FANOUT).map(|value| value as u16)
    }

    /// The longest payload that fits its slots.
    pub fn mtu_max(&self) -> u32 {
        self.mtu_max
    }

    /// The descriptor, for sleeping on.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Another descriptor of the same socket.
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        self.fd.try_clone()
    }

    /// Frames the kernel had no slot for since the last call.
    fn lost(&self) -> u64 {
        sys::option::<libc::tpacket_stats>(&self.fd, libc::SOL_PACKET, libc::PACKET_STATISTICS).map_or(0, |stats| u64::from(stats.tp_drops))
    }

    /// The status word of the next slot.
    #[inline]
    fn status(&self) -> &AtomicU32 {
        // SAFETY: `next` is below `slots`, so the slot is inside the mapping, which lives as long as `self`; slots begin at multiples of
        // `slot_len`, aligned for a u32; both sides use the word atomically.
        unsafe { AtomicU32::from_ptr(self.map.as_ptr().add(self.next * self.slot_len).cast()) }
    }

    /// Hands the next frame to `take`, if there is one, and its slot back to the kernel. `lost` gets the frames the kernel had no slot for.
    #[inline]
    pub fn receive<T>(&mut self, lost: &mut u64, take: impl FnOnce(Received<'_>) -> T) -> Option<T> {
        self.next_slot(lost, |slot, status| take(received(slot, status)))
    }

    /// As [`receive`](Self::receive), with the kernel's time stamp: nanoseconds of its wall clock.
    #[inline]
    pub fn receive_stamped<T>(&mut self, lost: &mut u64, take: impl FnOnce(Received<'_>, u64) -> T) -> Option<T> {
        self.next_slot(lost, |slot, status| {
            let at = stamp(slot);
            take(received(slot, status), at)
        })
    }

    #[inline]
    fn next_slot<T>(&mut self, lost: &mut u64, take: impl FnOnce(&mut [u8], u32) -> T) -> Option<T> {
        // Acquire: pairs with the kernel's writing the status after the frame.
        let status = self.status().load(Ordering::Acquire);
        if status & libc::TP_STATUS_USER == 0 {
            return None;
        }
        if status & TP_STATUS_LOSING != 0 {
            *lost += self.lost();
        }
        // SAFETY: the slot is inside the mapping (`status`), and ours until we write its status; `&mut self` makes us the only one on our side.
        let slot = unsafe { std::slice::from_raw_parts_mut(self.map.as_ptr().add(self.next * self.slot_len), self.slot_len) };
        let taken = take(slot, status);
        // Release: our reads and writes of the slot come before the kernel's.
        self.status().store(libc::TP_STATUS_KERNEL, Ordering::Release);
        self.next = (self.next + 1) % self.slots;
        Some(taken)
    }
}

/// When the kernel received the frame of a slot, in ns of its wall clock: seconds and nanoseconds behind the offsets.
fn stamp(slot: &[u8]) -> u64 {
    let u32_at = |at: usize| u64::from(u32::from_ne_bytes([slot[at], slot[at + 1], slot[at + 2], slot[at + 3]]));
    u32_at(16) * 1_000_000_000 + u32_at(20)
}

/// The frame in a slot (`struct tpacket2_hdr`): status, length, captured length, offset of the frame (u16) and of the network header,
/// seconds, nanoseconds, then tag and TPID (u16 each).
fn received(slot: &mut [u8], status: u32) -> Received<'_> {
    let u32_at = |at: usize| u32::from_ne_bytes([slot[at], slot[at + 1], slot[at + 2], slot[at + 3]]);
    let u16_at = |at: usize| u16::from_ne_bytes([slot[at], slot[at + 1]]);
    let (len, captured, start) = (u32_at(4) as usize, u32_at(8) as usize, usize::from(u16_at(12)));
    let (tci, tpid) = (u16_at(24), u16_at(26));
    // Header and address are 52 bytes; the tag is put in front of the frame's first byte.
    if len != captured || status & TP_STATUS_COPY != 0 || start < 52 + TAG_LEN || start + captured > slot.len() || captured < ADDRESSES_LEN
    {
        return Received::Oversize(len);
    }
    let mut begin = start;
    if status & TP_STATUS_VLAN_VALID != 0 {
        begin -= TAG_LEN;
        slot.copy_within(start..start + ADDRESSES_LEN, begin);
        let tpid = if status & TP_STATUS_VLAN_TPID_VALID != 0 { tpid } else { TPID_8021Q };
        slot[begin + ADDRESSES_LEN..][..2].copy_from_slice(&tpid.to_be_bytes());
        slot[begin + ADDRESSES_LEN + 2..][..2].copy_from_slice(&tci.to_be_bytes());
    }
    Received::Frame(&mut slot[begin..start + captured], status & TP_STATUS_CSUMNOTREADY != 0)
}

/// Where frames of `protocol` on the interface of this index are.
pub(super) fn address(index: u32, protocol: u16) -> libc::sockaddr_ll {
    let mut address = <libc::sockaddr_ll as sys::Plain>::zeroed();
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = protocol.to_be();
    address.sll_ifindex = index as c_int;
    address
}

impl Drop for RxRing {
    fn drop(&mut self) {
        // SAFETY: our own mapping; nobody borrows from it any more. Before the socket is closed: a mapping keeps it open.
        unsafe { libc::munmap(self.map.as_ptr().cast(), self.map_len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn slot(len: u32, captured: u32, start: u16, tci: u16, tpid: u16) -> Vec<u8> {
        let mut slot = vec![0u8; 2048];
        slot[4..8].copy_from_slice(&len.to_ne_bytes());
        slot[8..12].copy_from_slice(&captured.to_ne_bytes());
        slot[12..14].copy_from_slice(&start.to_ne_bytes());
        slot[24..26].copy_from_slice(&tci.to_ne_bytes());
        slot[26..28].copy_from_slice(&tpid.to_ne_bytes());
        for (place, byte) in slot[66..].iter_mut().zip((0..=255u8).cycle()) {
            *place = byte;
        }
        slot
    }

    #[test]
    fn a_tag_beside_the_frame_goes_into_it() {
        let mut bytes = slot(60, 60, 66, 0x6007, 0x88a8);
        let Received::Frame(frame, partial) =
            received(&mut bytes, TP_STATUS_VLAN_VALID | TP_STATUS_VLAN_TPID_VALID | TP_STATUS_CSUMNOTREADY)
        else {
            panic!("it fits")
        };
        let mut expected: Vec<u8> = (0..12).collect();
        expected.extend([0x88, 0xa8, 0x60, 0x07]);
        expected.extend(12..60);
        assert_eq!((&frame[..], partial), (&expected[..], true));
    }

    #[test]
    fn without_tag_it_stays() {
        let mut bytes = slot(60, 60, 66, 7, 0);
        let Received::Frame(frame, partial) = received(&mut bytes, 0) else { panic!("it fits") };
        assert_eq!((&frame[..], partial), (&(0..60).collect::<Vec<u8>>()[..], false));
    }

    #[test]
    fn the_time_stamp_is_behind_the_offsets() {
        let mut bytes = slot(60, 60, 66, 0, 0);
        bytes[16..20].copy_from_slice(&1_800_000_000u32.to_ne_bytes());
        bytes[20..24].copy_from_slice(&999_999_999u32.to_ne_bytes());
        assert_eq!(stamp(&bytes), 1_800_000_000_999_999_999);
    }

    proptest! {
        #[test]
        fn whatever_the_header_says_nothing_panics(len in 0u32..5000, captured in 0u32..5000, start: u16, status: u32) {
            let mut bytes = slot(len, captured, start, 1, 0x8100);
            match received(&mut bytes, status) {
                Received::Frame(frame, _) => prop_assert!(frame.len() <= 2048 && frame.len() >= len as usize),
                Received::Oversize(bytes) => prop_assert_eq!(bytes, len as usize),
            }
        }
    }
}
