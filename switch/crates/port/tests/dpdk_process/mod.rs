//! DPDK can be started once in a process, so each test of ports on it runs in one of its own.

use std::process::Command;

use port::Hugepages;
use port::backend::dpdk::{self, EalSettings};

use crate::world::Opened;

/// Names the test that this process is to run.
pub const CHILD: &str = "DPDK_TEST";

/// Runs `test`, the body of the test `name`, in a process of its own: this program again with only that to run.
pub fn in_its_own_process(name: &str, test: impl FnOnce()) {
    if std::env::var(CHILD).is_ok_and(|child| child == name) {
        return test();
    }
    let program = std::env::current_exe().unwrap();
    let output = Command::new(program).args(["--exact", name, "--nocapture"]).env(CHILD, name).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    eprintln!("{err}");
    out.lines().filter(|line| line.starts_with("skipped: ")).for_each(|line| println!("{line}"));
    assert!(output.status.success() && out.contains("1 passed"), "{}\n{out}\n{err}", output.status);
}

/// Plain pages and no PCI, as on any machine.
pub fn plain(memory_mib: u32) {
    dpdk::configure(EalSettings { memory_mib: Some(memory_mib), hugepages: Hugepages::Never, pci: false, arguments: Vec::new() });
}

/// Closes a port and looks whether everything came home, ours and DPDK's.
pub fn close(opened: Opened) {
    opened.close();
    assert_eq!(dpdk::mbufs_lost(), 0, "mbufs leaked");
}
