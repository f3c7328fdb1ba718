//! The kinds of ports.

pub mod memory;
