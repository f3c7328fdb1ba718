//! The XDP program that hands frames to the sockets, and what carries it: a map of sockets and a link to the interface.
//!
//! The program is five instructions, given here as they go to the kernel; nothing is compiled and no library is needed. It is
//! attached by a BPF link, which lives as long as its file descriptor: when the process dies, however it dies, the kernel takes the
//! program off the interface.
//!
//! A frame of a queue without a socket is dropped by the program. It must not reach the system's own network stack: that would
//! answer it, or route it, beside the switch.
//!
//! Layouts and numbers are those of `linux/bpf.h`; the kernel ignores what it does not know as long as it is zero.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

const BPF_MAP_CREATE: libc::c_int = 0;
const BPF_MAP_UPDATE_ELEM: libc::c_int = 2;
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_MAP_TYPE_XSKMAP: u32 = 17;
const BPF_PROG_TYPE_XDP: u32 = 6;
/// The attach type "XDP".
const BPF_XDP: u32 = 37;
/// The program understands frames in several buffers.
const BPF_F_XDP_HAS_FRAGS: u32 = 1 << 5;

/// How the program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attach {
    /// In the driver (`XDP_FLAGS_DRV_MODE`).
    Native,
    /// In the network stack, behind any driver (`XDP_FLAGS_SKB_MODE`).
    Skb,
}

impl Attach {
    fn flags(self) -> u32 {
        match self {
            Attach::Native => 1 << 2,
            Attach::Skb => 1 << 1,
        }
    }
}

/// `struct bpf_insn`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Insn {
    code: u8,
    /// Destination register in the low half, source in the high one.
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// The program, for a map with this file descriptor.
fn program(map: i32) -> [Insn; 6] {
    const XDP_DROP: i32 = 1;
    const REDIRECT_MAP: i32 = 51;
    /// `struct xdp_md`, `rx_queue_index`.
    const RX_QUEUE_INDEX: i16 = 16;
    let insn = |code, registers, offset, immediate| Insn { code, registers, offset, immediate };
    [
        insn(0x61, 0x12, RX_QUEUE_INDEX, 0), // r2 = ctx->rx_queue_index
        insn(0x18, 0x11, 0, map),            // r1 = the map (BPF_PSEUDO_MAP_FD; the constant takes two places)
        insn(0, 0, 0, 0),
        insn(0xb7, 0x03, 0, XDP_DROP),     // r3 = what to do if the map has no socket for the queue
        insn(0x85, 0x00, 0, REDIRECT_MAP), // r0 = bpf_redirect_map(r1, r2, r3)
        insn(0x95, 0x00, 0, 0),            // return r0
    ]
}

/// Calls bpf(2) with one of the structures below as its attributes.
fn bpf<T>(command: libc::c_int, attributes: &T) -> io::Result<libc::c_long> {
    // SAFETY: `attributes` is a `repr(C)` structure without padding, and what it points to is alive during the call (each caller's
    // variables). The kernel reads as many bytes as we say.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn bpf_fd<T>(command: libc::c_int, attributes: &T) -> io::Result<OwnedFd> {
    let fd = bpf(command, attributes)?;
    // SAFETY: the commands that end up here return a new file descriptor (all with close-on-exec), which nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) })
}

/// A map from receive queue to socket (`BPF_MAP_TYPE_XSKMAP`).
#[derive(Debug)]
pub struct SocketMap(OwnedFd);

impl SocketMap {
    /// A map for queues 0 to `queues` - 1.
    ///
    /// # Errors
    /// If the kernel refuses: it needs CAP_BPF (or CAP_SYS_ADMIN) and CAP_NET_ADMIN.
    pub fn new(queues: u32) -> io::Result<SocketMap> {
        #[repr(C)]
        struct Create {
            map_type: u32,
            key_size: u32,
            value_size: u32,
            max_entries: u32,
        }
        let attributes = Create { map_type: BPF_MAP_TYPE_XSKMAP, key_size: 4, value_size: 4, max_entries: queues };
        bpf_fd(BPF_MAP_CREATE, &attributes).map(SocketMap)
    }

    /// From now on frames of `queue` go to `socket`.
    ///
    /// # Errors
    /// If the queue is not in the map or the socket is not bound.
    pub fn insert(&self, queue: u32, socket: BorrowedFd<'_>) -> io::Result<()> {
        #[repr(C)]
        struct Update {
            map_fd: u32,
            zero: u32,
            key: u64,
            value: u64,
            flags: u64,
        }
        let value = socket.as_raw_fd();
        let (key, value) = (std::ptr::from_ref(&queue) as u64, std::ptr::from_ref(&value) as u64);
        bpf(BPF_MAP_UPDATE_ELEM, &Update { map_fd: self.0.as_raw_fd() as u32, zero: 0, key, value, flags: 0 })?;
        Ok(())
    }
}

/// The program on an interface; dropping it takes it off.
#[derive(Debug)]
pub struct Link {
    _link: OwnedFd,
}

impl Link {
    /// Loads the program for `map` and attaches it to the interface. With `fragments` it takes frames of several buffers.
    ///
    /// # Errors
    /// Of loading (rights, see [`SocketMap::new`]) and attaching: EBUSY if another program is there, EOPNOTSUPP if the driver has no
    /// XDP, and what the driver has against its present settings.
    pub fn attach(map: &SocketMap, ifindex: u32, attach: Attach, fragments: bool) -> io::Result<Link> {
        #[repr(C)]
        struct Load {
            prog_type: u32,
            insn_cnt: u32,
            insns: u64,
            license: u64,
            log_level: u32,
            log_size: u32,
            log_buf: u64,
            kern_version: u32,
            prog_flags: u32,
            prog_name: [u8; 16],
            prog_ifindex: u32,
            expected_attach_type: u32,
        }
        #[repr(C)]
        struct Create {
            prog_fd: u32,
            target_ifindex: u32,
            attach_type: u32,
            flags: u32,
        }
        let program = program(map.0.as_raw_fd());
        let license = c"MIT OR Apache-2.0";
        let program = bpf_fd(
            BPF_PROG_LOAD,
            &Load {
                prog_type: BPF_PROG_TYPE_XDP,
                insn_cnt: program.len() as u32,
                insns: program.as_ptr() as u64,
                license: license.as_ptr() as u64,
                log_level: 0,
                log_size: 0,
                log_buf: 0,
                kern_version: 0,
                prog_flags: if fragments { BPF_F_XDP_HAS_FRAGS } else { 0 },
                prog_name: *b"bladeswitch\0\0\0\0\0",
                prog_ifindex: 0,
                expected_attach_type: BPF_XDP,
            },
        )?;
        let attributes =
            Create { prog_fd: program.as_raw_fd() as u32, target_ifindex: ifindex, attach_type: BPF_XDP, flags: attach.flags() };
        // The link holds the program, and the program the map: neither needs its descriptor any more.
        Ok(Link { _link: bpf_fd(BPF_LINK_CREATE, &attributes)? })
    }
}
