//! The kinds of ports.

pub mod af_xdp;
pub mod memory;
pub mod pcap;
