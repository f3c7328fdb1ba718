//! The switch on real interfaces, with real programs as blades: each test builds a chassis of network namespaces of its own and
//! removes it, also when it fails.
//!
//! Nothing sleeps: what has to come about is waited for, with a deadline. Frames go only between interfaces that the test has
//! made. Without root, or without a program a test is about, it prints `skipped: why`.

#[path = "netns/bridge.rs"]
mod bridge;
#[cfg(feature = "dpdk")]
#[path = "netns/dpdk.rs"]
mod dpdk;
#[path = "netns/fig3.rs"]
mod fig3;
#[path = "netns/golden.rs"]
mod golden;
#[path = "netns/life.rs"]
mod life;
#[path = "netns/message.rs"]
mod message;
#[path = "netns/programs.rs"]
mod programs;
#[path = "netns/site.rs"]
mod site;
