//! The only ways two threads of the switch talk: [`ring`]s, [`snapshot`]s and [`counter`]s.
//!
//! This crate is one of the two rooms where unsafe code may live; it is denied here and opened in `ring` alone. Rings are
//! checked against a model by property tests, and for every interleaving of small cases by loom (`RUSTFLAGS="--cfg loom"
//! cargo test -p sync --release`). Loom does not cover: more than a few operations an end, and what the compiler makes of
//! the plain copies of slots (miri does, where it is installed).
#![deny(unsafe_code)]

pub mod counter;
pub mod ring;
pub mod snapshot;
