//! `dpdk-testpmd`: what it is started with, and what its statistics say.
//!
//! It is not interactive: it forwards at once and prints its statistics when it gets a line, so that there is no terminal to imitate.

use super::Site;
use super::process::{Process, Program, typed};

/// What it has counted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Statistics {
    /// Frames received by all ports.
    pub rx: u64,
    /// Frames sent by all ports.
    pub tx: u64,
    /// TSC cycles of the forwarding loop per frame received or sent, whichever are more; `None` if it did not count them.
    pub cycles: Option<f64>,
}

/// Starts it between two virtual devices and waits until it forwards.
///
/// # Errors
/// What it says.
pub fn start(site: &Site<'_>, vdevs: &[String], buffers: u32, inside: Option<&str>) -> Result<(Process, String), String> {
    let (main, worker) = site.cores.unwrap_or((0, 0));
    let memory = 96 + u64::from(buffers) * 2_560 / (1 << 20);
    let mut args: Vec<String> = vec!["--lcores".to_owned(), format!("0@{main},1@{worker}")];
    args.extend(["--no-pci", "--no-telemetry", "--force-max-simd-bitwidth=512", "-m"].map(str::to_owned));
    args.push(memory.to_string());
    // Without huge pages DPDK cannot keep everything in memory of its own.
    let pages: &[&str] = if site.has_hugepages(memory) { &["--in-memory"] } else { &["--no-huge", "--no-shconf"] };
    args.extend(pages.iter().map(|&page| page.to_owned()));
    args.extend(["--file-prefix".to_owned(), format!("bench{}", std::process::id())]);
    args.extend(vdevs.iter().flat_map(|vdev| ["--vdev".to_owned(), vdev.clone()]));
    let forward = ["--", "--nb-cores=1", "--forward-mode=io", "--port-topology=paired", "--record-core-cycles", "--auto-start"];
    args.extend(forward.map(str::to_owned));
    args.push(format!("--total-num-mbufs={buffers}"));
    let typed = typed("dpdk-testpmd", &args);
    // DPDK's own files go into our folder, not the system's.
    let environment = vec![("RUNTIME_DIRECTORY", site.folder.file(""))];
    let program = Program { name: "dpdk-testpmd", args, environment, inside };
    let mut process = Process::start(&program, site.folder.file("testpmd.log").as_ref())?;
    process.wait_for(|log| log.contains("Press enter to exit"), site.stop)?;
    Ok((process, typed))
}

/// Ends it and reads what it has counted.
///
/// # Errors
/// It has not ended well.
pub fn finish(process: Process) -> Result<Statistics, String> {
    let log = process.finish("\n")?;
    statistics(&log).ok_or_else(|| "testpmd printed no statistics of all ports".to_owned())
}

/// Reads the statistics of all ports, which stand last.
pub fn statistics(log: &str) -> Option<Statistics> {
    let all = &log[log.rfind("Accumulated forward statistics for all ports")?..];
    let count = |name: &str| all.split_once(name)?.1.split_whitespace().next()?.parse().ok();
    let cycles = all.split_once("CPU cycles/packet=").and_then(|(_, rest)| rest.split_whitespace().next()?.parse().ok());
    Some(Statistics { rx: count("RX-packets:")?, tx: count("TX-packets:")?, cycles })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_statistics_are_read() {
        let log = "  ---------------------- Forward statistics for port 1  ----------------------
  RX-packets: 5        RX-dropped: 0             RX-total: 5

  +++++++++++++++ Accumulated forward statistics for all ports+++++++++++++++
  RX-packets: 53439168       RX-dropped: 0             RX-total: 53439168
  TX-packets: 53439160       TX-dropped: 8             TX-total: 53439168
  ++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++

  CPU cycles/packet=132.46 (total cycles=7078523733 / total io packets=53439168) at 2600 MHz Clock
";
        assert_eq!(statistics(log), Some(Statistics { rx: 53_439_168, tx: 53_439_160, cycles: Some(132.46) }));
        let without = log.split("  CPU").next().unwrap();
        assert_eq!(statistics(without), Some(Statistics { rx: 53_439_168, tx: 53_439_160, cycles: None }));
        assert_eq!(statistics("EAL: Cannot init memory"), None);
        assert_eq!(statistics("Accumulated forward statistics for all ports RX-packets: x"), None);
    }
}
