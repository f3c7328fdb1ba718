//! VPP: one worker, its own folder, started by hand and asked with `vppctl`.
//!
//! Not in Debian; it is measured where `vpp` and `vppctl` are on the PATH.

use super::Site;
use super::process::{Process, Program, tool, typed};

/// Buckets of its table of addresses, above its default, as its manual advises for many of them.
const BUCKETS: u32 = 524_288;

/// A running VPP.
#[derive(Debug)]
pub struct Vpp {
    process: Process,
    socket: String,
    /// What was typed, a command each, its configuration and its own command line included.
    pub commands: Vec<String>,
}

/// What its nodes have cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Runtime {
    /// Frames that its source made or its ports received: the most that any node handled.
    pub packets: u64,
    /// TSC cycles of all nodes per frame.
    pub whole: f64,
    /// The same without the packet generator and what takes frames out.
    pub own: f64,
}

impl Vpp {
    /// Starts it and has it do `lines`, which are of its command line.
    ///
    /// # Errors
    /// What it says.
    pub fn start(site: &Site<'_>, lines: &[String], inside: Option<&str>) -> Result<Vpp, String> {
        let home = site.folder.file("vpp");
        let _ = std::fs::remove_dir_all(&home);
        std::fs::create_dir(&home).map_err(|error| format!("{home}: {error}"))?;
        let socket = format!("{home}/cli.sock");
        let (main, worker) = site.cores.unwrap_or((0, 0));
        let cpu = if main == worker { format!("main-core {main}") } else { format!("main-core {main} corelist-workers {worker}") };
        // Pages of the default size where none are huge.
        let pages = if site.has_hugepages(1024) { "" } else { "page-size default " };
        let args = [
            "unix".to_owned(),
            format!("{{ nodaemon nobanner runtime-dir {home} cli-listen {socket} log {home}/vpp.log }}"),
            "cpu".to_owned(),
            format!("{{ {cpu} }}"),
            "memory".to_owned(),
            "{ main-heap-size 4G }".to_owned(),
            "buffers".to_owned(),
            format!("{{ buffers-per-numa 32768 {pages}}}"),
            "statseg".to_owned(),
            format!("{{ socket-name {home}/stats.sock }}"),
            "api-segment".to_owned(),
            format!("{{ prefix bench{} }}", std::process::id()),
            "plugins".to_owned(),
            "{ plugin dpdk_plugin.so { disable } }".to_owned(),
            "l2fib".to_owned(),
            format!("{{ num-buckets {BUCKETS} }}"),
        ];
        let typed = typed("vpp", &args);
        // It takes its configuration word by word.
        let args = args.iter().flat_map(|part| part.split_whitespace().map(str::to_owned)).collect();
        let program = Program { name: "vpp", args, environment: vec![("RUNTIME_DIRECTORY", home.clone())], inside };
        let mut process = Process::start(&program, format!("{home}/out.log").as_ref())?;
        process.wait_for(|_| std::path::Path::new(&socket).exists(), site.stop)?;
        let mut vpp = Vpp { process, socket, commands: vec![typed] };
        for line in lines {
            vpp.commands.push(format!("vppctl '{line}'"));
            let says = vpp.ask(line)?;
            // It prints what is wrong and ends well.
            if ["unknown input", "error", "failed", "not found"].iter().any(|wrong| says.contains(wrong)) {
                return Err(format!("vppctl {line}: {}", says.trim()));
            }
        }
        Ok(vpp)
    }

    /// Number of its process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    fn ask(&self, line: &str) -> Result<String, String> {
        tool("vppctl", ["-s", &self.socket].into_iter().chain(line.split_whitespace()), None)
    }

    /// Addresses that it has learned.
    ///
    /// # Errors
    /// It does not say.
    pub fn learned(&self) -> Result<u64, String> {
        let says = self.ask("show l2fib")?;
        learned(&says).ok_or_else(|| format!("vppctl show l2fib says {says}"))
    }

    /// Has its nodes count from 0.
    ///
    /// # Errors
    /// It refuses.
    pub fn clear(&self) -> Result<(), String> {
        self.ask("clear runtime").map(drop)
    }

    /// What its nodes have counted.
    ///
    /// # Errors
    /// It does not say.
    pub fn runtime(&self) -> Result<Runtime, String> {
        let says = self.ask("show runtime")?;
        runtime(&says).ok_or_else(|| format!("vppctl show runtime says {says}"))
    }
}

/// A bridge domain with these interfaces, whose drivers are polled if `polled`.
pub fn bridge(interfaces: &[&str], polled: bool) -> Vec<String> {
    let mut lines = vec!["create bridge-domain 1 learn 1 forward 1 uu-flood 1 flood 1 arp-term 0".to_owned()];
    for interface in interfaces {
        lines.push(format!("set interface l2 bridge {interface} 1"));
        lines.push(format!("set interface state {interface} up"));
        lines.extend(polled.then(|| format!("set interface rx-mode {interface} polling")));
    }
    lines
}

/// A bridge of two memif interfaces: its own buffers are the shared memory if it is the client (its default in that role), which VPP calls slave.
pub fn memif(socket: &str, is_client: bool) -> Vec<String> {
    let role = if is_client { "slave" } else { "master" };
    let mut lines = vec![format!("create memif socket id 1 filename {socket}")];
    lines.extend((0..2).map(|id| format!("create interface memif id {id} socket-id 1 {role} ring-size 512 buffer-size 2048")));
    lines.extend(bridge(&["memif1/0", "memif1/1"], true));
    lines
}

/// Two streams of its packet generator between `stations` on each side, with the addresses of our frames.
pub fn streams(stations: u32) -> Vec<String> {
    let mut lines: Vec<String> = (0..2).map(|side| format!("create packet-generator interface pg{side}")).collect();
    lines.extend(bridge(&["pg0", "pg1"], false));
    let mac = |side: usize, n: u32| {
        let [_, high, middle, low] = n.to_be_bytes();
        format!("02:00:{:02x}:{high:02x}:{middle:02x}:{low:02x}", 0xb0 + side)
    };
    let range = |side: usize| format!("{}-{}", mac(side, 0), mac(side, stations.max(1) - 1));
    for side in 0..2 {
        lines.push(format!(
            "packet-generator new {{ name s{side} limit 0 size 60-60 interface pg{side} worker 0 node ethernet-input data {{ IP4: {} -> {} \
             UDP: 198.18.{side}.1 -> 198.18.{}.1 UDP: 1000 -> 2000 incrementing 18 }} }}",
            range(side),
            range(1 - side),
            1 - side
        ));
    }
    lines.push("packet-generator enable".to_owned());
    lines
}

/// Reads `show l2fib`.
pub fn learned(says: &str) -> Option<u64> {
    let (_, rest) = says.split_once("total/learned entries:")?;
    rest.split_whitespace().next()?.split('/').nth(1)?.parse().ok()
}

/// Reads `show runtime`: for each node its name, state, calls, vectors (frames), suspends, clocks per vector and vectors per call.
pub fn runtime(says: &str) -> Option<Runtime> {
    let (mut packets, mut whole, mut own) = (0.0f64, 0.0, 0.0);
    for line in says.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [name, .., calls, vectors, suspends, clocks, per_call] = words[..] else { continue };
        let number = |word: &str| word.parse::<f64>().ok();
        let (Some(_), Some(vectors), Some(_), Some(clocks), Some(_)) =
            (number(calls), number(vectors), number(suspends), number(clocks), number(per_call))
        else {
            continue;
        };
        packets = packets.max(vectors);
        whole += vectors * clocks;
        let is_end = name.starts_with("pg") || name.ends_with("-drop") || name == "interface-output";
        own += if is_end { 0.0 } else { vectors * clocks };
    }
    (packets > 0.0).then(|| Runtime { packets: packets as u64, whole: whole / packets, own: own / packets })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_nodes_are_read() {
        let says = "Thread 1 vpp_wk_0 (lcore 1)
Time 1.0, 10 sec internal node vector rate 256.00 loops/sec 100.00
  vector rates in 1.0e7, out 0.0e0, drop 0.0e0, punt 0.0e0
             Name                 State         Calls          Vectors        Suspends         Clocks       Vectors/Call
error-drop                       active                 10            2560               0          4.00e0          256.00
ethernet-input                   active                 20            5120               0          8.00e0          256.00
l2-learn                         active                 20            5120               0          1.20e1          256.00
pg-input                        polling                 20            5120               0          3.00e1          256.00
unix-epoll-input              interrupt wa               1               0               0          9.00e2            0.00
";
        let read = runtime(says).unwrap();
        assert_eq!((read.packets, read.whole, read.own), (5120, 52.0, 20.0));
        assert_eq!(runtime("Thread 0 vpp_main\n"), None);
    }

    #[test]
    fn its_table_is_read() {
        assert_eq!(learned("L2FIB total/learned entries: 202/200  Last scan time: 0.0000e0sec  Learn limit: 16777216 \n"), Some(200));
        assert_eq!(learned("nothing"), None);
    }

    #[test]
    fn a_bridge_on_memif_is_made_in_either_role() {
        for (is_client, role) in [(false, " master "), (true, " slave ")] {
            let lines = memif("/s", is_client);
            assert_eq!(lines[0], "create memif socket id 1 filename /s");
            assert!(lines[1..3].iter().all(|line| line.contains(role) && !line.contains("no-zero-copy")), "{lines:?}");
            assert!(lines.contains(&"set interface l2 bridge memif1/1 1".to_owned()), "{lines:?}");
        }
    }

    #[test]
    fn streams_have_our_addresses() {
        let lines = streams(1000);
        let stream = lines.iter().find(|line| line.contains("name s1")).unwrap();
        assert!(stream.contains("IP4: 02:00:b1:00:00:00-02:00:b1:00:03:e7 -> 02:00:b0:00:00:00-02:00:b0:00:03:e7"), "{stream}");
    }
}
