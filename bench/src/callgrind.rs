//! Instructions counted by valgrind's callgrind: the machine's own counters are missing in most virtual machines.

use std::process::Command;

/// Runs this program again with `args` under callgrind, collecting only inside functions whose name contains `function`, and
/// divides what was collected by the number it prints. `None` if valgrind is not installed or fails.
pub fn instructions_per_unit(function: &str, args: &[String]) -> Option<f64> {
    let program = std::env::current_exe().ok()?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--collect-atstart=no"])
        .arg(format!("--toggle-collect=*{function}*"))
        .arg(program)
        .args(args)
        .output()
        .ok()?;
    if !output.status.success() {
        return None;
    }
    let units: f64 = String::from_utf8_lossy(&output.stdout).trim().parse().ok()?;
    let log = String::from_utf8_lossy(&output.stderr);
    let collected = log.lines().find_map(|line| line.split_once("Collected : "))?.1;
    Some(collected.trim().parse::<f64>().ok()? / units)
}
