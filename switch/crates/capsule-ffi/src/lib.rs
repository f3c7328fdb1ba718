//! Bindings to the DPDK that is installed: what ports on DPDK devices call, and no more.
//!
//! The build script finds DPDK by pkg-config and generates the bindings from its headers, so the layouts are always those of the library that is
//! linked; no environment variable is needed. Functions that the headers have inline go through `shim.c`, which the C compiler builds with the same
//! headers. The data path sees an mbuf as `shim_mbuf`, and both compilers assert its offsets. Drivers are loaded by EAL when it starts.
//!
//! Everything here is as unsafe as DPDK is: the port crate's `backend::dpdk` is the only user, and says what it relies on.

// The names are DPDK's, and the code is the generator's.
#![allow(missing_docs, non_camel_case_types, non_snake_case, non_upper_case_globals, unsafe_op_in_unsafe_fn, unused_imports)]
#![allow(clippy::all, clippy::undocumented_unsafe_blocks)]

include!(concat!(env!("OUT_DIR"), "/bindings.rs"));

/// What `shim.c` asserts of the C compiler's `rte_mbuf`, of what this compiler makes of `shim_mbuf`.
const _: () = {
    use std::mem::{offset_of, size_of};
    assert!(size_of::<shim_mbuf>() == 128);
    assert!(offset_of!(shim_mbuf, buf_addr) == 0);
    assert!(offset_of!(shim_mbuf, data_off) == 16);
    assert!(offset_of!(shim_mbuf, refcnt) == 18);
    assert!(offset_of!(shim_mbuf, nb_segs) == 20);
    assert!(offset_of!(shim_mbuf, ol_flags) == 24);
    assert!(offset_of!(shim_mbuf, pkt_len) == 36);
    assert!(offset_of!(shim_mbuf, data_len) == 40);
    assert!(offset_of!(shim_mbuf, buf_len) == 54);
    assert!(offset_of!(shim_mbuf, pool) == 56);
    assert!(offset_of!(shim_mbuf, next) == 64);
};
