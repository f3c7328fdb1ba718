//! Keeping a port's frames from the host's own stack.
//!
//! A packet socket gets copies: the host would answer ARP, route and reset connections that are none of its business. A
//! classifier of two instructions at the ingress (tcx, Linux 6.6) drops every frame after the sockets have had their copy. It is attached by
//! a link: when the process ends, however it ends, it is gone.

use std::io;
use std::os::fd::OwnedFd;

use crate::sys;

/// Frames of one interface are hidden from the host for as long as this lives.
#[derive(Debug)]
pub struct Hidden(#[allow(dead_code)] OwnedFd); // Held, not used.

/// Hides what comes in by the interface of this index.
///
/// # Errors
/// EPERM without CAP_BPF and CAP_NET_ADMIN; EINVAL before Linux 6.6.
pub fn hide(index: u32) -> io::Result<Hidden> {
    const TC_ACT_SHOT: u64 = 2;
    const MOV_R0: u64 = 0xb7; // BPF_ALU64 | BPF_MOV | BPF_K, register 0; the immediate is the upper half.
    const EXIT: u64 = 0x95;
    let instruction =
        |code: u64, immediate: u64| if cfg!(target_endian = "little") { code | immediate << 32 } else { code << 56 | immediate };
    let program = sys::load_classifier(&[instruction(MOV_R0, TC_ACT_SHOT), instruction(EXIT, 0)])?;
    Ok(Hidden(sys::attach_ingress(&program, index)?))
}
