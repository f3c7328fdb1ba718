//! A chassis of network namespaces with the switch on it, and what tests do there.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bladeswitch::lab::{self, Chassis, Place, namespace};
use port::capture::{CaptureFile, CaptureWriter, FrameNotes};
use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take before the test fails; generous, since the machine may be busy.
pub const DEADLINE: Duration = Duration::from_secs(60);
/// The kinds of ports every test of traffic is made with. The last one mixes them.
pub const KINDS: [&[&str]; 4] =
    [&["af_packet"], &["af_xdp,mode=native"], &["af_xdp,mode=skb"], &["af_packet", "af_xdp,mode=native", "af_xdp,mode=skb"]];

/// A frame that ends a test's own: nobody else sends this EtherType.
pub const MARKER: u16 = 0x88b6;

/// A chassis; removed when dropped.
pub struct Site {
    pub chassis: Chassis,
    pub switch: Option<Child>,
    pub folder: TempDir,
}

/// Can this machine do it? Says why not.
pub fn can(programs: &[&str]) -> bool {
    if let Err(error) = lab::check_root() {
        println!("skipped: {error}");
        return false;
    }
    for program in ["ip", "timeout"].iter().chain(programs) {
        let found = namespace::command("sh").args(["-c", &format!("command -v {program}")]).output().unwrap().status.success();
        if !found {
            println!("skipped: no program `{program}`");
            return false;
        }
    }
    true
}

impl Site {
    /// Namespaces and interfaces without a switch.
    pub fn bare(kinds: &[&str], blades: u16, mtu: u16) -> Site {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("t{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed)).parse().unwrap();
        let chassis = Chassis { name, blades, kinds: kinds.iter().map(|&kind| kind.to_owned()).collect(), mtu };
        let site = Site { chassis, switch: None, folder: tempfile::tempdir().unwrap() };
        site.chassis.build().unwrap();
        site
    }

    /// A chassis with its switch running, all links up.
    pub fn up(kinds: &[&str], blades: u16, mtu: u16) -> Site {
        let mut site = Site::bare(kinds, blades, mtu);
        site.start(&site.chassis.config());
        site
    }

    /// Starts the switch on a configuration, and waits until all its links are up.
    pub fn start(&mut self, config: &str) {
        let program = Path::new(env!("CARGO_BIN_EXE_bladeswitch"));
        self.switch = Some(self.chassis.start(program, config).unwrap());
        until("the switch answers with all links up", || {
            let ended = self.switch.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "the switch has ended: {}", self.log());
            self.show("ports").is_some_and(|ports| ports["ports"].as_array().unwrap().iter().all(|port| port["link"] == "up"))
        });
    }

    /// Kills the switch as nothing else would.
    pub fn kill(&mut self) {
        let mut switch = self.switch.take().unwrap();
        switch.kill().unwrap();
        switch.wait().unwrap();
    }

    /// Stops the switch and checks that it has accounted for every frame.
    pub fn stop(&mut self) {
        let mut switch = self.switch.take().unwrap();
        let process = rustix::process::Pid::from_child(&switch);
        rustix::process::kill_process(process, rustix::process::Signal::TERM).unwrap();
        let status = switch.wait().unwrap();
        let log = self.log();
        assert!(status.success() && log.contains("ledger: balanced"), "{status}: {log}");
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.chassis.name.log()).unwrap_or_default()
    }

    /// `bladeswitch show WHAT --json`; `None` while it does not answer.
    pub fn show(&self, what: &str) -> Option<Value> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bladeswitch"));
        let output = command.args(["show", what, "--json", "--socket"]).arg(self.chassis.name.socket()).output().unwrap();
        output.status.success().then(|| serde_json::from_slice(&output.stdout).unwrap())
    }

    /// A program in a namespace, ended after a minute.
    pub fn command(&self, place: Place, args: &[&str]) -> Command {
        let mut command = namespace::exec(&self.chassis.name.namespace(place), "timeout");
        command.arg(DEADLINE.as_secs().to_string()).args(args).stdin(Stdio::null()).current_dir(self.folder.path());
        command
    }

    /// Runs a program to its end.
    pub fn run(&self, place: Place, args: &[&str]) -> Output {
        self.command(place, args).output().unwrap()
    }

    /// Runs a program that must succeed; what it printed.
    pub fn ok(&self, place: Place, args: &[&str]) -> String {
        let output = self.run(place, args);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(
            output.status.success(),
            "{args:?} on {place}: {}\n{out}\n{err}\ndrops: {:?}\n{}",
            output.status,
            self.show("drops"),
            self.log()
        );
        out.into_owned()
    }

    /// Starts a program in the background and waits until it has said `ready` on stdout or stderr.
    pub fn background(&self, place: Place, args: &[&str], ready: &str) -> Background {
        // Both outputs into one pipe: which of them a program uses for what differs.
        let line = format!("exec {} 2>&1", args.iter().map(|arg| format!("'{arg}'")).collect::<Vec<_>>().join(" "));
        let mut child = self.command(place, &["sh", "-c", &line]).stdout(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut said = String::new();
        while !said.contains(ready) {
            let len = out.read_line(&mut said).unwrap();
            assert!(len > 0, "{args:?} on {place} has ended without saying `{ready}`: {said}");
        }
        Background { child, out }
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// Records what a place receives, into a file that [`recorded`] reads.
    pub fn record(&self, place: Place, file: &str) -> Background {
        // Its buffer has a place of the longest length for each frame: those of the default are eight.
        let args = ["tcpdump", "-i", "eth0", "-Q", "in", "-p", "-U", "--immediate-mode", "-s", "9100", "-B", "16384", "-w", file];
        let background = self.background(place, &args, "listening on");
        until("the capture has begun", || fs::metadata(self.path(file)).is_ok_and(|file| file.len() >= 24));
        background
    }

    /// Sends frames from a place, in order.
    pub fn send(&self, place: Place, frames: &[Vec<u8>]) {
        let file = self.path("to-send.pcapng");
        let mut writer = CaptureWriter::new(fs::File::create(&file).unwrap()).unwrap();
        let interface = writer.add_interface("eth0", None).unwrap();
        for (index, frame) in frames.iter().enumerate() {
            writer.write_frame(interface, index as u64 * 1000, frame, frame.len() as u32, &FrameNotes::default()).unwrap();
        }
        writer.finish().unwrap();
        self.ok(place, &["tcpreplay", "-q", "-i", "eth0", "--topspeed", file.to_str().unwrap()]);
    }

    /// The frames in a capture so far.
    pub fn captured(&self, file: &str) -> Vec<Vec<u8>> {
        match CaptureFile::open(self.path(file)) {
            // A frame that is being written is cut off: next time.
            Ok(capture) => capture.frames().map_while(Result::ok).map(|frame| frame.bytes.to_vec()).collect(),
            Err(_) => Vec::new(),
        }
    }

    /// The frames in a capture before its marker, once that is there.
    pub fn recorded(&self, file: &str) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        until("the marker arrives", || {
            frames = self.captured(file);
            // Hosts say things of their own, also behind it.
            let marker = frames.iter().position(|frame: &Vec<u8>| frame.get(12..14) == Some(&MARKER.to_be_bytes()));
            frames.truncate(marker.unwrap_or(frames.len()));
            marker.is_some()
        });
        frames
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("the switch said: {}", self.log());
        }
        let removed = lab::remove(&self.chassis.name);
        if let Some(mut switch) = self.switch.take() {
            let _ = switch.wait(); // It was ended with the namespaces.
        }
        if let Err(error) = removed
            && !std::thread::panicking()
        {
            panic!("{error}");
        }
    }
}

/// What is behind the interfaces says nothing by itself: no stack answers what is played to somebody else.
pub fn silence(site: &Site) {
    for place in site.chassis.ends() {
        let namespace = site.chassis.name.namespace(place);
        namespace::set(&namespace, &[("ipv6/conf/eth0/disable_ipv6", "1")]).unwrap();
        namespace::ip_batch(Some(&namespace), &["address flush dev eth0".to_owned()]).unwrap();
    }
}

/// A program in the background; ended when dropped.
pub struct Background {
    child: Child,
    out: BufReader<std::process::ChildStdout>,
}

impl Background {
    /// Waits for its end; what else it said.
    pub fn finish(mut self) -> String {
        let mut said = String::new();
        self.out.read_to_string(&mut said).unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}: {said}");
        said
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // TERM: `timeout` passes it on, as it cannot with KILL.
        let process = rustix::process::Pid::from_child(&self.child);
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = rustix::process::kill_process(process, rustix::process::Signal::TERM);
        }
        let _ = self.child.wait();
    }
}

/// Waits until something is so.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// An Ethernet frame with this EtherType and payload.
pub fn frame(dst: [u8; 6], src: [u8; 6], ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = [&dst[..], &src, &ethertype.to_be_bytes(), payload].concat();
    frame.resize(frame.len().max(60), 0);
    frame
}

/// The frame that says that everything before it has been sent.
pub fn marker(src: [u8; 6]) -> Vec<u8> {
    frame([0xff; 6], src, MARKER, b"that was all")
}
