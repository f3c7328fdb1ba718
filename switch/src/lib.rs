//! bladeswitch, assembled: a configuration, ports and a clock become a running switch.
//!
//! [`blade`] is what runs on the blades. [`assembly`] puts the switch together; [`single`] runs it in one thread on a virtual clock, [`threads`] in real time;
//! [`lab`] builds a chassis of network namespaces for it; [`replay`] sends captures through it; [`privileges`] are given up before it runs;
//! [`doctor`] looks at the machine beforehand.
#![forbid(unsafe_code)]

pub mod assembly;
pub mod blade;
pub mod doctor;
pub mod lab;
pub mod privileges;
pub mod replay;
pub mod single;
pub mod threads;

pub use assembly::{OpenError, Switch};
pub use threads::{Fall, Running};
