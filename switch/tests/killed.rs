//! How the switch ends. SIGKILL, again and again: nothing of it stays on its interfaces, and the next one starts at once. SIGTERM in
//! a flood: it ends all the same.
//!
//! ```text
//!   a0 (ours) ─── a1 ┐
//!                    bladeswitch, killed and started anew, in the network namespace of the test's own thread
//!   b0 (ours) ─── b1 ┘
//! ```

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use port::backend::af_xdp::{self, Mode, Options};
use port::{Burst, Hugepages, Mempool, Nanos, PoolCache, Port};

const ROUNDS: u32 = 200;
/// Longer than anything here takes, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(30);

fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split(' ')).output().expect("ip(8) is installed");
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Ends with the test, however that ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill(); // SIGKILL. It may have ended by itself.
        let _ = self.0.wait();
    }
}

/// Starts the switch and waits until it says that it runs.
fn start(config: &str) -> Running {
    let mut child = Command::new(env!("CARGO_BIN_EXE_bladeswitch")).args(["run", config]).stdout(Stdio::piped()).spawn().unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let running = Running(child);
    let said: Vec<String> = stdout.lines().map_while(Result::ok).take_while(|line| !line.starts_with("running;")).collect();
    let said = said.join("\n");
    assert!(said.contains("native, copy: zero-copy refused by veth: EOPNOTSUPP"), "{said}");
    running
}

/// Sends frames of this number from one end until one arrives at the other.
fn passes(from: &mut Port, to: &mut Port, pool: &mut PoolCache, round: u32) {
    let mut frame = [0u8; 60];
    frame[..14].copy_from_slice(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0x90, 0x00]);
    frame[14..18].copy_from_slice(&round.to_be_bytes());
    let (start, mut arrived) = (Instant::now(), false);
    while !arrived {
        assert!(start.elapsed() < PATIENCE, "round {round}: no frame goes through");
        let now = Nanos(start.elapsed().as_nanos() as u64);
        let mut burst = Burst::new();
        burst.push(pool.alloc_copy(&frame).expect("a buffer"));
        from.tx[0].tx_burst(now, pool, &mut burst);
        from.tx[0].flush(now, pool);
        pool.free_all(&mut burst);
        std::thread::yield_now();
        to.rx[0].rx_burst(now, pool, &mut burst, 64);
        arrived = burst.iter().any(|packet| pool.head(packet) == frame);
        pool.free_all(&mut burst);
    }
}

/// Two veth pairs in a network namespace of the calling thread, which ends with it; `false` if this machine does not let us.
fn own_world() -> bool {
    // SAFETY: changes which network namespace this thread is in, nothing in memory.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } < 0 {
        println!("skipped: no network namespaces here ({})", std::io::Error::last_os_error());
        return false;
    }
    let _ = std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
    for name in ["a", "b"] {
        ip(&format!("link add {name}0 numrxqueues 1 numtxqueues 1 type veth peer name {name}1 numrxqueues 1 numtxqueues 1"));
        ip(&format!("link set {name}0 up"));
        ip(&format!("link set {name}1 up"));
    }
    true
}

const CONFIG: &str = "[[blade]]\nslot = 1\nport = \"af_xdp:a1\"\n[[blade]]\nslot = 2\nport = \"af_xdp:b1\"\n";

/// Frames that come faster than they can be switched must not keep the switch from ending.
#[test]
fn a_flood_does_not_keep_the_switch_from_stopping() {
    if !own_world() {
        return;
    }
    let pool = Mempool::new(8192, Hugepages::Never).unwrap();
    let mut cache = pool.cache();
    let mut left = af_xdp::open("a0", &Options { mode: Mode::Skb, ..Options::default() }, &pool).unwrap();
    let mut right = af_xdp::open("b0", &Options { mode: Mode::Skb, ..Options::default() }, &pool).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("switch.toml");
    std::fs::write(&config, CONFIG).unwrap();
    let mut running = start(config.to_str().unwrap());
    passes(&mut left, &mut right, &mut cache, 0);
    let begun = Instant::now();
    let mut told = false;
    let status = loop {
        let now = Nanos(begun.elapsed().as_nanos() as u64);
        let mut burst: Burst = (0..64).map_while(|_| cache.alloc_copy(&[0xff; 60])).collect();
        left.tx[0].tx_burst(now, &mut cache, &mut burst);
        left.tx[0].flush(now, &mut cache);
        cache.free_all(&mut burst);
        if begun.elapsed() > Duration::from_millis(200) && !told {
            told = true;
            // SAFETY: a signal to a child of ours that has not been waited for.
            assert_eq!(unsafe { libc::kill(running.0.id() as i32, libc::SIGTERM) }, 0);
        }
        if let Some(status) = running.0.try_wait().unwrap() {
            break status;
        }
        assert!(begun.elapsed() < PATIENCE, "it does not end");
    };
    assert!(status.success() && told, "{status}");
    drop((left, right));
    cache.flush();
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn nothing_stays_behind_and_the_next_one_starts_at_once() {
    if !own_world() {
        return;
    }
    let pool = Mempool::new(8192, Hugepages::Never).unwrap();
    let mut cache = pool.cache();
    let ours = Options { mode: Mode::Skb, ..Options::default() };
    let mut left = af_xdp::open("a0", &ours, &pool).unwrap();
    let mut right = af_xdp::open("b0", &ours, &pool).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("switch.toml");
    std::fs::write(&config, CONFIG).unwrap();
    for round in 0..ROUNDS {
        let running = start(config.to_str().unwrap());
        passes(&mut left, &mut right, &mut cache, round);
        assert!(ip("link show a1").contains("prog/xdp"), "the program is seen while it is there");
        drop(running);
        for name in ["a1", "b1"] {
            let shown = ip(&format!("-details link show {name}"));
            assert!(!shown.contains("xdp") && shown.contains("promiscuity 0"), "round {round}: {shown}");
        }
    }
    drop((left, right));
    cache.flush();
    assert_eq!(pool.in_use(), 0);
}
