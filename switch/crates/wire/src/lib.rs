//! What the bytes of a frame mean.
//!
//! Each protocol is a module with the names of its standard. Received bytes are proved long enough once; after that no
//! accessor panics. Nothing here knows of buffers, ports or time.
#![forbid(unsafe_code)]

pub mod arp;
pub mod checksum;
pub mod dhcp;
pub mod display;
pub mod ethernet;
pub mod headers;
pub mod ip;
pub mod l4;
pub mod mac;
pub mod message;
pub mod nd;
pub mod vlan;

pub use mac::MacAddr;
pub use vlan::{Tci, Vid};
