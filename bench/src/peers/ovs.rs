//! Open vSwitch: its database and daemon in a folder and a namespace of their own, with the action NORMAL (a learning switch).
//!
//! The daemon makes an interface for every bridge, which is why it must not run in the machine's namespace.

use super::Site;
use super::process::{Process, Program, tool, typed};

/// Where Debian has the daemon with DPDK, and where the one without.
const DAEMON_DPDK: &str = "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk";
const DAEMON: &str = "ovs-vswitchd";
/// Where the schema of the database is.
const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";
/// MB for packets of OVS with DPDK.
const MEMORY: u64 = 1024;

/// Which way frames take through it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// Poll-mode drivers of DPDK.
    Dpdk,
    /// Packet sockets, polled by the daemon.
    Userspace,
    /// The module of the kernel.
    Kernel,
}

/// A running switch.
#[derive(Debug)]
pub struct Ovs {
    control: String,
    switch: Process,
    // After the switch: it is told to end first.
    _database: Process,
    /// What was typed, a command each.
    pub commands: Vec<String>,
}

/// What the threads that poll have counted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PmdStatistics {
    /// Frames received.
    pub packets: u64,
    /// TSC cycles in which a thread had frames, and in which it had none.
    pub busy: u64,
    /// See above.
    pub idle: u64,
}

/// The daemon for a way, if it is installed.
pub fn daemon(path: Path) -> Option<&'static str> {
    match path {
        Path::Dpdk => std::path::Path::new(DAEMON_DPDK).is_file().then_some(DAEMON_DPDK),
        Path::Userspace | Path::Kernel => super::process::is_installed(DAEMON).then_some(DAEMON),
    }
}

impl Ovs {
    /// Starts it with a bridge of these ports: the name, and what is set for its interface.
    ///
    /// # Errors
    /// What its programs say.
    pub fn start(site: &Site<'_>, path: Path, ports: &[(String, String)], stations: u64, inside: &str) -> Result<Ovs, String> {
        let daemon = daemon(path).ok_or("ovs-vswitchd is not installed")?;
        let (main, worker) = site.cores.unwrap_or((0, 0));
        let home = site.folder.file("ovs");
        let _ = std::fs::remove_dir_all(&home);
        std::fs::create_dir(&home).map_err(|error| format!("{home}: {error}"))?;
        let environment =
            || ["OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR", "RUNTIME_DIRECTORY"].map(|key| (key, home.clone())).to_vec();
        let mut commands = Vec::new();
        let mut do_it = |name: &str, args: Vec<String>| {
            commands.push(typed(name, &args));
            tool(name, &args, None)
        };
        do_it("ovsdb-tool", vec!["create".to_owned(), format!("{home}/conf.db"), SCHEMA.to_owned()])?;
        let socket = format!("unix:{home}/db.sock");
        let args =
            vec![format!("{home}/conf.db"), format!("--remote=p{socket}"), format!("--unixctl={home}/db.ctl"), "--no-chdir".to_owned()];
        commands.push(typed("ovsdb-server", &args));
        let program = Program { name: "ovsdb-server", args, environment: environment(), inside: Some(inside) };
        let mut database = Process::start(&program, format!("{home}/db.log").as_ref())?;
        let there = format!("{home}/db.sock");
        database.wait_for(|_| std::path::Path::new(&there).exists(), site.stop)?;
        let mut set = |words: &[String], waits: bool| {
            let mut args = vec!["--timeout=15".to_owned(), format!("--db={socket}")];
            args.extend((!waits).then(|| "--no-wait".to_owned()));
            args.extend_from_slice(words);
            commands.push(typed("ovs-vsctl", &args));
            tool("ovs-vsctl", &args, None).map(drop)
        };
        set(&["init".to_owned()], false)?;
        if path == Path::Dpdk {
            let huge = if site.has_hugepages(MEMORY) { "" } else { "--no-huge --legacy-mem " };
            let words = [
                "dpdk-init=true".to_owned(),
                format!("dpdk-extra={huge}--no-pci --no-telemetry -m {MEMORY}"),
                "per-port-memory=true".to_owned(),
                format!("dpdk-lcore-mask={:#x}", 1u128 << main.min(127)),
                format!("pmd-cpu-mask={:#x}", 1u128 << worker.min(127)),
            ];
            let words: Vec<String> = ["set", "Open_vSwitch", "."]
                .map(str::to_owned)
                .into_iter()
                .chain(words.map(|word| format!("other_config:{word}")))
                .collect();
            set(&words, false)?;
        }
        let control = format!("{home}/switch.ctl");
        let mut args =
            vec![socket.clone(), format!("--unixctl={control}"), "--no-chdir".to_owned(), format!("--pidfile={home}/switch.pid")];
        commands.push(typed(daemon, &args));
        // Its own thread forwards what is not polled by DPDK: it belongs on the device's core.
        let name = if path == Path::Userspace { "taskset" } else { daemon };
        if path == Path::Userspace {
            args.splice(0..0, ["-c".to_owned(), worker.to_string(), daemon.to_owned()]);
        }
        let program = Program { name, args, environment: environment(), inside: Some(inside) };
        let mut switch = Process::start(&program, format!("{home}/switch.log").as_ref())?;
        switch.wait_for(|_| std::path::Path::new(&control).exists(), site.stop)?;
        let mut set = |words: &[String]| {
            let args: Vec<String> = ["--timeout=15".to_owned(), format!("--db={socket}")].iter().chain(words).cloned().collect();
            commands.push(typed("ovs-vsctl", &args));
            tool("ovs-vsctl", &args, None).map(drop)
        };
        let kind = if path == Path::Kernel { "system" } else { "netdev" };
        let words = ["add-br", "peer0", "--", "set", "bridge", "peer0", &format!("datapath_type={kind}"), "fail-mode=standalone"]
            .map(str::to_owned);
        let table = format!("other-config:mac-table-size={}", stations.max(8192) * 2);
        set(&words.into_iter().chain([table]).collect::<Vec<_>>())?;
        for (port, settings) in ports {
            let words = ["add-port", "peer0", port, "--", "set", "Interface", port].map(str::to_owned);
            set(&words.into_iter().chain(settings.split_whitespace().map(str::to_owned)).collect::<Vec<_>>())?;
        }
        let ovs = Ovs { control, switch, _database: database, commands };
        match ovs.errors(&socket)? {
            none if none.is_empty() => Ok(ovs),
            errors => Err(errors),
        }
    }

    /// What it says against its interfaces.
    fn errors(&self, socket: &str) -> Result<String, String> {
        let args = ["--timeout=15", &format!("--db={socket}"), "--bare", "--columns=error", "list", "Interface"].map(str::to_owned);
        Ok(tool("ovs-vsctl", &args, None)?.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    /// Number of its process.
    pub fn id(&self) -> u32 {
        self.switch.id()
    }

    fn ask(&self, words: &[&str]) -> Result<String, String> {
        let target = format!("--target={}", self.control);
        tool("ovs-appctl", ["--timeout=15", &target].iter().chain(words), None)
    }

    /// Addresses that it has learned.
    ///
    /// # Errors
    /// It does not say.
    pub fn learned(&self) -> Result<u64, String> {
        let says = self.ask(&["fdb/stats-show", "peer0"])?;
        learned(&says).ok_or_else(|| format!("ovs-appctl fdb/stats-show says {says}"))
    }

    /// Has its polling threads count from 0.
    ///
    /// # Errors
    /// It refuses.
    pub fn clear(&self) -> Result<(), String> {
        self.ask(&["dpif-netdev/pmd-stats-clear"]).map(drop)
    }

    /// What its polling threads have counted.
    ///
    /// # Errors
    /// It does not say.
    pub fn statistics(&self) -> Result<PmdStatistics, String> {
        let says = self.ask(&["dpif-netdev/pmd-stats-show"])?;
        statistics(&says).ok_or_else(|| format!("ovs-appctl dpif-netdev/pmd-stats-show says {says}"))
    }
}

/// Reads `fdb/stats-show`.
pub fn learned(says: &str) -> Option<u64> {
    let (_, rest) = says.split_once("MAC entries in the table:")?;
    rest.trim().split('/').next()?.trim().parse().ok()
}

/// Reads `dpif-netdev/pmd-stats-show`: the polling threads, without the main thread.
pub fn statistics(says: &str) -> Option<PmdStatistics> {
    let (mut sum, mut polls, mut seen) = (PmdStatistics::default(), false, false);
    for line in says.lines() {
        if !line.starts_with(' ') {
            polls = line.starts_with("pmd thread");
            seen |= polls;
            continue;
        }
        let Some((name, value)) = line.trim().split_once(':') else { continue };
        let Some(value) = value.split_whitespace().next().and_then(|value| value.parse::<u64>().ok()).filter(|_| polls) else { continue };
        match name {
            "packets received" => sum.packets += value,
            "processing cycles" => sum.busy += value,
            "idle cycles" => sum.idle += value,
            _ => {}
        }
    }
    seen.then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_tables_are_read() {
        let says = "Statistics for bridge \"peer0\":\n  Current/maximum MAC entries in the table: 2000/200000\n  Current static MAC entries in the table : 0\n";
        assert_eq!(learned(says), Some(2000));
        assert_eq!(learned("no such bridge"), None);
    }

    #[test]
    fn its_polling_threads_are_read() {
        let says = "pmd thread numa_id 0 core_id 1:
  packets received: 1000
  avg. datapath passes per packet: 1.00
  idle cycles: 338066820 (70.00%)
  processing cycles: 150000 (30.00%)
  avg cycles per packet: 338.20 (338216820/1000)
  avg processing cycles per packet: 150.00 (150000/1000)
main thread:
  packets received: 7
  processing cycles: 9 (0.00%)
";
        assert_eq!(statistics(says), Some(PmdStatistics { packets: 1000, busy: 150_000, idle: 338_066_820 }));
        assert_eq!(statistics("main thread:\n  packets received: 7\n"), None);
        assert_eq!(statistics(""), None);
    }
}
