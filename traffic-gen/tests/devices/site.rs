//! A network namespace with pairs of veth interfaces, and the program in it. Gone at the end, also after a failure.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use port::capture::{CaptureFile, CaptureWriter, FrameNotes};
use serde_json::Value;
use tempfile::TempDir;

/// Whatever is waited for comes within this time, or never.
const PATIENCE: Duration = Duration::from_secs(60);

/// A namespace, and a folder for files.
pub struct Site {
    namespace: String,
    pub folder: TempDir,
}

impl Site {
    /// Makes one; says why it was skipped where that is not possible.
    pub fn new() -> Option<Site> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let namespace = format!("traffic-gen-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let made = Command::new("ip").args(["netns", "add", &namespace]).output();
        if !made.as_ref().is_ok_and(|output| output.status.success()) {
            let why = made.map_or_else(|error| error.to_string(), |output| String::from_utf8_lossy(&output.stderr).trim().to_owned());
            println!("skipped: no network namespace (it takes root and iproute2): {why}");
            return None;
        }
        let site = Site { namespace, folder: tempfile::tempdir().unwrap() };
        // Neighbour discovery of the kernel would be among the frames.
        site.ok("sh", &["-c", "echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6"]);
        Some(site)
    }

    /// A site with `va` and `vb`, joined and switched on.
    pub fn with_veth() -> Option<Site> {
        let site = Site::new()?;
        site.veth("va", "vb");
        Some(site)
    }

    /// Two joined interfaces, switched on.
    pub fn veth(&self, one: &str, other: &str) {
        self.ok("ip", &["link", "add", one, "type", "veth", "peer", "name", other]);
        self.ok("ip", &["link", "set", one, "up"]);
        self.ok("ip", &["link", "set", other, "up"]);
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A program inside, ended if it takes for ever.
    pub fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new("timeout");
        command.args(["240", "ip", "netns", "exec", &self.namespace, program]).args(args).stdin(Stdio::null());
        command.current_dir(self.folder.path());
        command
    }

    /// Runs a program that must succeed; what it printed.
    pub fn ok(&self, program: &str, args: &[&str]) -> String {
        let output = self.command(program, args).output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{program} {args:?}: {}\n{out}\n{err}", output.status);
        out.into_owned()
    }

    /// `traffic-gen` inside: exit code, stdout, stderr.
    pub fn tester(&self, args: &[&str]) -> (i32, String, String) {
        let Output { status, stdout, stderr } = self.command(env!("CARGO_BIN_EXE_traffic-gen"), args).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (status.code().unwrap_or(-1), text(stdout), text(stderr))
    }

    /// `traffic-gen … --json` inside, which must end with this code and print a report.
    pub fn report(&self, code: i32, args: &[&str]) -> Value {
        let (found, out, err) = self.tester(&[args, &["--json"]].concat());
        assert_eq!(found, code, "{args:?}\n{out}\n{err}");
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{args:?}: {error}\n{out}\n{err}"))
    }

    /// A program in the background, ended when dropped; its output goes to files.
    pub fn background(&self, program: &str, args: &[&str]) -> Background {
        let file = |name: &str| std::fs::File::create(self.path(name)).unwrap();
        let mut command = self.command(program, args);
        Background { child: command.stdout(file("background.out")).stderr(file("background.err")).spawn().unwrap() }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.namespace]).status();
    }
}

pub struct Background {
    child: Child,
}

impl Background {
    /// Waits for its end, which must be a good one.
    pub fn finish(mut self) {
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}");
    }

    fn signal(&self, name: &str) {
        // `timeout` passes it on, as it cannot with KILL.
        let _ = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal("TERM");
            let _ = self.child.wait();
        }
    }
}

/// Waits until something is so.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// A case of `pcaps/`.
pub fn pcap(file: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../pcaps").join(file).canonicalize().unwrap().display().to_string()
}

/// The frames of a capture, as far as they are whole.
pub fn frames(path: &Path) -> Vec<Vec<u8>> {
    match CaptureFile::open(path) {
        Ok(capture) => capture.frames().map_while(Result::ok).map(|frame| frame.bytes.to_vec()).collect(),
        Err(_) => Vec::new(),
    }
}

/// Writes a capture of frames that are so many ns apart.
pub fn write(path: &Path, frames: &[Vec<u8>], apart_ns: u64) {
    let mut writer = CaptureWriter::new(std::fs::File::create(path).unwrap()).unwrap();
    let interface = writer.add_interface("in", None).unwrap();
    for (index, frame) in (0..).zip(frames) {
        writer.write_frame(interface, index * apart_ns, frame, frame.len() as u32, &FrameNotes::default()).unwrap();
    }
    writer.finish().unwrap();
}

/// A number in a report.
pub fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("a number, not {value}"))
}
