//! A port is unplugged and plugged in again a thousand times, in each way that it takes frames: it is back each time, and holds no
//! more than at first.
//!
//! Most of a round is waiting for the kernel, so many ports live through theirs side by side, each in a namespace of its own.
//!
//! A file, and so a process, of its own: it counts the descriptors of the process.

mod world;

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use port::{LinkState, Refusal};
use world::{Opened, PATIENCE, Raw, alone, frame};

const SPECS: [&str; 3] = ["af_packet:p0", "af_xdp:p0,mode=native", "af_xdp:p0,mode=skb"];
/// Ports of each kind, and rounds of each: a thousand in all.
const PORTS: usize = 4;
const ROUNDS: u32 = 84;
const LAST: u32 = ROUNDS - 1;
/// The round after which everything has come into being that stays.
const SETTLED: u32 = 10;
/// One `ip` for all rounds: it does each line as it comes.
struct Ip(Child);

impl Ip {
    fn new() -> Ip {
        Ip(Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().unwrap())
    }

    fn tell(&mut self, lines: &str) {
        self.0.stdin.as_mut().unwrap().write_all(lines.as_bytes()).unwrap();
    }

    fn end(mut self) {
        drop(self.0.stdin.take());
        assert!(self.0.wait().unwrap().success(), "every line has done what it says");
    }
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Rings of sockets that are mapped.
fn rings() -> usize {
    std::fs::read_to_string("/proc/self/maps").unwrap().lines().filter(|line| line.contains("socket:")).count()
}

fn up(opened: &mut Opened) {
    opened.until("the link", |opened| {
        opened.turn();
        opened.port.device.link() == LinkState::Up
    });
    // The port may have been opened between that turn and the look: only now are there certainly buffers to receive into.
    opened.turn();
}

/// Where all ports wait for each other.
#[derive(Default)]
struct Meeting(AtomicUsize);

impl Meeting {
    /// Waits until everybody has come so often. (A barrier would wait for ever for one that has failed.)
    fn come(&self, times: usize) {
        self.0.fetch_add(1, Ordering::AcqRel);
        let deadline = Instant::now() + 4 * PATIENCE;
        while self.0.load(Ordering::Acquire) < times * SPECS.len() * PORTS {
            assert!(Instant::now() < deadline, "a port does not come");
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }

    /// What the process holds when all are here, for the first or second time: descriptors and rings. One of them counts.
    fn holds(&self, time: usize, counts: bool) -> (usize, usize) {
        self.come(2 * time - 1);
        let holds = if counts { (descriptors(), rings()) } else { (0, 0) };
        self.come(2 * time);
        holds
    }
}

fn unplug(spec: &str, all: &Meeting, counts: bool) {
    const PLUG: &str = "link add name p0 numrxqueues 1 numtxqueues 1 type veth peer name p1 numrxqueues 1 numtxqueues 1\n\
                        link set p0 up\nlink set p1 up\n";
    let mut ip = Ip::new();
    ip.tell(PLUG);
    while std::fs::read_to_string("/proc/thread-self/net/dev").is_ok_and(|known| !known.contains("p1:")) {
        std::thread::yield_now();
    }
    let mut opened = Opened::open(spec);
    up(&mut opened);
    // What an open port holds for reception, once it has had a frame.
    let mut idle = None;
    let mut before = (0, 0);
    for round in 0..ROUNDS {
        ip.tell("link del p0\n");
        opened.until("the interface to go", |opened| {
            opened.turn();
            opened.port.device.link() == LinkState::Down && !opened.send(&frame(60, &[], 0))
        });
        assert_eq!(opened.port.tx[0].refusal(), Refusal::Down, "{spec}, round {round}");
        ip.tell(PLUG);
        up(&mut opened);
        let raw = Raw::new("p1");
        let ours = frame(60, &[[0x81, 0, 0x60, 7]], round as u8);
        raw.send(&ours);
        assert_eq!(opened.receive_ours(1), [ours], "{spec}, round {round}");
        opened.turn();
        opened.pool.flush();
        let held = opened.mempool.in_use();
        assert_eq!(*idle.get_or_insert(held), held, "{spec}, round {round}: as many buffers as in the first");
        match round {
            SETTLED => before = all.holds(1, counts),
            LAST => assert_eq!(all.holds(2, counts), before, "{spec}: descriptors and rings"),
            _ => {}
        }
    }
    assert_eq!(opened.port.device.statistics().returns, ROUNDS.into(), "{spec}");
    opened.close();
    ip.tell("link del p0\n");
    ip.end();
}

#[test]
fn a_thousand_times() {
    assert!(SPECS.len() * PORTS * ROUNDS as usize >= 1000);
    let all = Meeting::default();
    std::thread::scope(|scope| {
        for port in 0..SPECS.len() * PORTS {
            let all = &all;
            scope.spawn(move || alone(|| unplug(SPECS[port % SPECS.len()], all, port == 0)));
        }
    });
}
