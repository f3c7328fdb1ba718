//! A veth pair in a network namespace of its own: generator or tcpreplay on one end, the kernel's stamps on the other.
//!
//! All senders run on the same core, one after the other, into the same interface; all are stamped by the same socket on the other end (see
//! `port::backend::af_packet::monitor`). The namespace is removed at the end, also after a failure.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bladeswitch::lab::{check_root, namespace};
use port::backend::af_packet::monitor::Monitor;
use port::clock::TscClock;
use port::{Hugepages, LinkState, Mempool};
use traffic_gen::replay::ports::{LineRate, open};

use super::Sender;
use super::course::{Course, number};
use super::judge::{Run, judge};
use super::memory::{pin, send};

/// The end that is sent into, and the one that is watched.
const ENDS: [&str; 2] = ["pace0", "pace1"];
/// Nothing more comes after this long without a frame.
const QUIET: Duration = Duration::from_millis(50);
/// A link that is not up after so long does not come up.
const PATIENCE: Duration = Duration::from_secs(10);
/// How to get tcpreplay.
const INSTALL: &str = "tcpreplay is not installed, so there is nothing to compare with: apt-get install tcpreplay";

/// A veth pair.
#[derive(Debug)]
pub struct Veth {
    namespace: String,
    /// Captures for tcpreplay are written here.
    folder: PathBuf,
}

impl Veth {
    /// Makes one.
    ///
    /// # Errors
    /// Not root, no `ip`, or the system refuses: what was left out, and why.
    pub fn new() -> Result<Veth, String> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let failed = |error: &dyn std::fmt::Display| format!("no veth pair: {error}");
        check_root().map_err(|_| "no veth pair: it takes root to make a network namespace".to_owned())?;
        let name = format!("bench-pacing-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(&name);
        std::fs::create_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        // From here on it cleans up after itself.
        let veth = Veth { namespace: name, folder };
        namespace::ip(&["netns", "add", &veth.namespace]).map_err(|error| failed(&error))?;
        // Neighbour discovery of the kernel would be among the frames.
        namespace::set(&veth.namespace, &[("ipv6/conf/default/disable_ipv6", "1")]).map_err(|error| failed(&error))?;
        let [near, far] = ENDS;
        let lines = [
            format!("link add name {near} numtxqueues 1 numrxqueues 1 type veth peer name {far} numtxqueues 1 numrxqueues 1"),
            format!("link set {near} up"),
            format!("link set {far} up"),
        ];
        namespace::ip_batch(Some(&veth.namespace), &lines).map_err(|error| failed(&error))?;
        Ok(veth)
    }

    /// Who can send here, and who cannot and why.
    pub fn senders(&self) -> (Vec<Sender>, Vec<String>) {
        let mut senders = vec![Sender::AfPacket, Sender::AfXdp];
        let tcpreplay = namespace::command("tcpreplay").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if tcpreplay.is_ok_and(|status| status.success()) {
            senders.extend([Sender::TcpreplayCapture, Sender::TcpreplayPps]);
            (senders, Vec::new())
        } else {
            (senders, vec![INSTALL.to_owned()])
        }
    }

    /// One run of a sender.
    ///
    /// # Errors
    /// If it could not send all.
    pub fn run(&self, sender: Sender, course: &Course, clock: &TscClock, cores: Option<(usize, usize)>) -> Result<Run, String> {
        let inside = || -> Result<Run, String> {
            let mut monitor = Monitor::open(ENDS[1]).map_err(|error| error.to_string())?;
            let (ready, done) = (AtomicBool::new(false), AtomicBool::new(false));
            let seen = std::thread::scope(|scope| {
                let receiver = scope.spawn(|| {
                    pin(cores.map(|(_, receiver)| receiver));
                    receive(&mut monitor, course.frames.len(), &ready, &done)
                });
                let sent = scope.spawn(|| {
                    pin(cores.map(|(sender, _)| sender));
                    while !ready.load(Ordering::Acquire) {
                        std::thread::yield_now();
                    }
                    let sent = self.send(sender, course, clock);
                    done.store(true, Ordering::Release);
                    sent
                });
                let sent = sent.join().map_err(|_| "the sender panicked".to_owned())?;
                let seen = receiver.join().map_err(|_| "the receiver panicked".to_owned())?;
                sent.map(|()| seen)
            })?;
            Ok(judge(&course.plan, &seen))
        };
        namespace::inside(&self.namespace, inside).map_err(|error| error.to_string())?
    }

    fn send(&self, sender: Sender, course: &Course, clock: &TscClock) -> Result<(), String> {
        let spec = match sender {
            Sender::AfPacket => format!("af_packet:{}", ENDS[0]),
            Sender::AfXdp => format!("af_xdp:{}", ENDS[0]),
            Sender::TcpreplayCapture => return self.tcpreplay(course, None),
            Sender::TcpreplayPps => return self.tcpreplay(course, Some(1e9 / course.period_ns())),
            Sender::Memory => return Err("memory ports are not on a veth pair".to_owned()),
        };
        let mempool = Mempool::new(16_384, Hugepages::Auto).map_err(|error| format!("no memory for packets: {error}"))?;
        let mut opened = open(&[spec], &[LineRate(course.load.line_bps)], &mempool, false).map_err(|error| error.to_string())?;
        let mut port = opened.remove(0).port;
        let give_up = Instant::now() + PATIENCE;
        while port.device.link() != LinkState::Up {
            if Instant::now() > give_up {
                return Err("the veth pair does not come up".to_owned());
            }
            port.device.maintain(clock.now());
        }
        send(course, port, mempool.cache(), clock)
    }

    /// Runs `tcpreplay`, by the times of the capture or at a rate.
    fn tcpreplay(&self, course: &Course, pps: Option<f64>) -> Result<(), String> {
        let file = self.folder.join(format!("{}-{}.pcap", course.load.line_bps, course.load.size));
        if !file.exists() {
            course.write_capture(&file)?;
        }
        let mut command: Command = namespace::command("tcpreplay");
        command.args(["--quiet", "--preload-pcap", "--intf1", ENDS[0]]);
        command.args(pps.map(|pps| format!("--pps={pps:.3}")));
        // The namespace and the core of this thread are those of what it starts.
        let output = command.arg(&file).stdin(Stdio::null()).output().map_err(|error| format!("tcpreplay: {error}"))?;
        if output.status.success() {
            return Ok(());
        }
        let says = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(format!("tcpreplay ended with {}: {says}", output.status))
    }
}

impl Drop for Veth {
    fn drop(&mut self) {
        // Nothing can be done if these fail; what is left carries the number of this process.
        let _ = namespace::ip(&["netns", "del", &self.namespace]);
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Reads stamps until the sender is done and nothing comes any more.
fn receive(monitor: &mut Monitor, expected: usize, ready: &AtomicBool, done: &AtomicBool) -> Vec<(u32, u64)> {
    let mut seen = vec![(0, 0); expected];
    seen.clear();
    ready.store(true, Ordering::Release);
    let mut quiet_since = None;
    loop {
        let came = monitor.next(|frame, at| seen.extend(number(frame).map(|number| (number, at))));
        if came.is_some() {
            quiet_since = None;
        } else if done.load(Ordering::Acquire) && (seen.len() >= expected || quiet_since.get_or_insert_with(Instant::now).elapsed() > QUIET)
        {
            return seen;
        } else {
            std::hint::spin_loop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use traffic_gen::replay::ratio::Ratio;

    /// Every sender that is there: all its frames are seen, whatever the machine does meanwhile.
    #[test]
    fn every_sender_is_seen() {
        let veth = match Veth::new() {
            Ok(veth) => veth,
            Err(why) => return eprintln!("skipped: {why}"),
        };
        let (senders, missing) = veth.senders();
        missing.iter().for_each(|why| eprintln!("skipped: {why}"));
        let course = Course::new("1G:512".parse().unwrap(), Ratio::new(1, 1), 200).unwrap();
        for sender in senders {
            let run = veth.run(sender, &course, &TscClock::new(), None).unwrap();
            assert_eq!((run.received, run.lost(), run.out_of_order), (200, 0, 0), "{sender:?}");
        }
        let name = veth.namespace.clone();
        assert!(namespace::all().unwrap().contains(&name));
        drop(veth);
        assert!(!namespace::all().unwrap().contains(&name), "it is removed");
    }
}
