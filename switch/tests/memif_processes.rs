//! The switch and two testers as processes of their own, joined by memif ports in both roles: whoever starts first, and whoever is killed in mid-traffic.
//!
//! ```text
//!   traffic-gen replay ═ client/server ═ blade1   blade3 ═ client/server ═ traffic-gen send
//!   (killed and      )                    bladeswitch                       (goes on all
//!   (started again   ) ═ server/client ═ blade2   blade4 ═ server/client ═  the time)
//! ```
//!
//! Nothing here sleeps for a time: what has to come about is asked for until it has, or a deadline passes.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long anything may take before the test fails; generous, since the machine may be busy.
const DEADLINE: Duration = Duration::from_secs(60);
/// Frames that say that a way is open.
const SOME: u64 = 100;

/// A process, which ends with the test, however that ends.
struct Process(Child);

impl Process {
    fn start(program: &Path, args: &[&str]) -> Process {
        Process(Command::new(program).args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap())
    }

    /// Threads that hold any capability, and which (capabilities(7)).
    fn capabilities(&self) -> Vec<(String, u64)> {
        let mut held = Vec::new();
        for task in std::fs::read_dir(format!("/proc/{}/task", self.0.id())).unwrap() {
            // One that has ended meanwhile has none.
            let Ok(status) = std::fs::read_to_string(task.unwrap().path().join("status")) else { continue };
            let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
            let mask = |name: &str| u64::from_str_radix(&field(name), 16).unwrap();
            held.push((field("Name:"), mask("CapInh:") | mask("CapPrm:") | mask("CapEff:")));
        }
        held.retain(|(_, held)| *held != 0);
        held
    }

    fn signal(&self, signal: i32) {
        // SAFETY: a signal to a child of ours that has not been waited for.
        assert_eq!(unsafe { libc::kill(self.0.id() as i32, signal) }, 0);
    }

    /// Sends a signal and waits for the end; with what was said on stdout.
    fn end_by(mut self, signal: i32) -> (ExitStatus, String) {
        self.signal(signal);
        let mut said = String::new();
        self.0.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        (self.0.wait().unwrap(), said)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill(); // It may have ended by itself.
        let _ = self.0.wait();
    }
}

/// What the four ports have counted.
#[derive(Debug)]
struct Ports(Vec<Value>);

impl Ports {
    fn number(&self, blade: usize, name: &str) -> u64 {
        self.0[blade - 1][name].as_u64().unwrap()
    }

    fn is_up(&self, blade: usize) -> bool {
        self.0[blade - 1]["link"] == "up"
    }
}

struct Site {
    folder: tempfile::TempDir,
    tester: PathBuf,
}

impl Site {
    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn switch(&self) -> Process {
        let blades: String = [(1, "server"), (2, "client"), (3, "server"), (4, "client")]
            .map(|(slot, role)| format!("[[blade]]\nslot = {slot}\nport = \"memif:{},role={role}\"\n", self.path(&format!("{slot}.sock"))))
            .concat();
        let config = self.path("switch.toml");
        std::fs::write(&config, format!("[switch]\nworkers = 2\napi = \"{}\"\n{blades}", self.path("api.sock"))).unwrap();
        Process::start(Path::new(env!("CARGO_BIN_EXE_bladeswitch")), &["run", &config])
    }

    /// A tester at two blades: what it is to do, and with which frames.
    fn tester(&self, what: &[&str], blades: [u8; 2]) -> Process {
        let [client, server] = [(blades[0], "client"), (blades[1], "server")]
            .map(|(slot, role)| format!("memif:{},role={role}", self.path(&format!("{slot}.sock"))));
        Process::start(&self.tester, &[what, &["-i", &client, "-i", &server, "--link-wait", "60s", "--late-max", "1h"]].concat())
    }

    fn replay(&self) -> Process {
        let capture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pcaps/http/in.pcap").display().to_string();
        self.tester(&["replay", &capture, "--split", "first-seen-mac", "--loop", "0", "--pps", "5000"], [1, 2])
    }

    fn send(&self) -> Process {
        self.tester(&["send", "-s", "pps=5000", "-s", "sizes=64", "-s", "src_mac=02:00:00:00:00:33"], [3, 4])
    }

    /// Asks the switch until it says so. Returns what it said.
    fn until(&self, what: &str, done: impl Fn(&Ports) -> bool) -> Ports {
        let begun = Instant::now();
        let mut said = String::new();
        loop {
            let output = Command::new(env!("CARGO_BIN_EXE_bladeswitch"))
                .args(["show", "ports", "--json", "--socket", &self.path("api.sock")])
                .output();
            let output = output.unwrap();
            if output.status.success() {
                said = String::from_utf8(output.stdout).unwrap();
                let value: Value = serde_json::from_str(&said).unwrap();
                let ports = Ports(value["ports"].as_array().unwrap().clone());
                if done(&ports) {
                    return ports;
                }
            }
            assert!(begun.elapsed() < DEADLINE, "waiting for {what}: {said}");
            std::thread::yield_now();
        }
    }

    /// Frames come through between all four blades, more than `before`.
    fn serves_all(&self, before: &[u64; 4]) {
        self.until("frames by all ports", |ports| {
            let received = [1, 2, 3].iter().all(|&blade| ports.number(blade, "rx_frames") > before[blade - 1] + SOME);
            received && [1, 2, 4].iter().all(|&blade| ports.is_up(blade) && ports.number(blade, "tx_frames") > SOME)
        });
    }
}

#[test]
fn a_tester_killed_in_mid_traffic_comes_back_and_the_others_are_served() {
    let tester = Path::new(env!("CARGO_BIN_EXE_bladeswitch")).with_file_name("traffic-gen");
    if !tester.is_file() {
        println!("skipped: no traffic-gen beside bladeswitch (cargo build -p traffic-gen)");
        return;
    }
    for switch_first in [true, false] {
        let site = Site { folder: tempfile::tempdir().unwrap(), tester: tester.clone() };
        let (switch, mut replay, send);
        if switch_first {
            switch = site.switch();
            site.until("an answer", |_| true);
            (replay, send) = (site.replay(), site.send());
        } else {
            (replay, send) = (site.replay(), site.send());
            let begun = Instant::now();
            while !["2.sock", "4.sock"].iter().all(|name| Path::new(&site.path(name)).exists()) {
                assert!(begun.elapsed() < DEADLINE, "the testers do not listen");
                std::thread::yield_now();
            }
            switch = site.switch();
        }
        site.serves_all(&[0; 4]);
        assert_eq!(switch.capabilities(), [], "without interfaces no thread needs any");
        for _ in 0..3 {
            replay.end_by(libc::SIGKILL);
            let down = site.until("the links to be down", |ports| !ports.is_up(1) && !ports.is_up(2));
            let sent = down.number(4, "tx_frames");
            let later = site.until("the other ports to be served", |ports| ports.number(4, "tx_frames") > sent + SOME);
            assert!(later.is_up(3) && later.is_up(4));
            replay = site.replay();
            site.serves_all(&[1, 2, 3, 4].map(|blade| later.number(blade, "rx_frames")));
        }
        // Ends that say goodbye, and one that leaves the other with a switch that is gone.
        replay.end_by(libc::SIGTERM);
        site.until("the links to be down", |ports| !ports.is_up(1) && !ports.is_up(2));
        let (status, said) = switch.end_by(libc::SIGTERM);
        assert!(status.success(), "frames are not accounted for: {said}");
        assert!(said.contains("stopped: SIGTERM"), "{said}");
        drop(send);
    }
}
