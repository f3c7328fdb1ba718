//! The kinds of ports.

pub mod af_packet;
pub mod af_xdp;
pub mod dpdk;
pub mod memif;
pub mod memory;
pub mod pcap;
pub mod tap;
pub mod vhost_user;
