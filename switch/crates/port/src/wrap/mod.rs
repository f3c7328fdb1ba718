//! Devices around devices, so that each works on every backend.

pub mod link;
pub mod prepared;
