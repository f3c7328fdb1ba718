//! memif ports against `net_memif` of DPDK: dpdk-testpmd receives on its memif and sends back what came, unchanged.
//!
//! It works on plain memory (`--no-huge`), so no privileges and no hugepages are needed. What is sent is never more than its rings hold, so
//! that all of it must come back.

mod world;

use std::path::Path;
use std::process::{Child, Command, Stdio};

use port::LinkState;
use world::{Opened, frame};

/// A testpmd; killed at the end.
struct Testpmd(Child);

impl Testpmd {
    /// With one memif of these options, and these ones of testpmd itself. `None` where there is no testpmd, after saying so.
    fn start(place: &Path, memif: &str, eal: &[&str], own: &[&str]) -> Option<Testpmd> {
        let socket = place.join("m.sock");
        let vdev = format!("net_memif0,socket={},socket-abstract=no,{memif}", socket.display());
        // One name for each process: it names files, for which two would quarrel.
        let prefix = format!("bladeswitch-{}-{}", std::process::id(), place.file_name().unwrap().to_string_lossy());
        let child = Command::new("dpdk-testpmd")
            .env("RUNTIME_DIRECTORY", place)
            .args(["--lcores", "0@0,1@0", "--no-pci", "--no-huge", "-m", "128", "--no-telemetry", "--file-prefix", &prefix])
            .args(["--vdev", &vdev])
            .args(eal)
            .args(["--", "--forward-mode=io", "--port-topology=loop", "--no-flush-rx", "--disable-link-check", "--no-lsc-interrupt"])
            .args(["--total-num-mbufs=4096", "--nb-cores=1"])
            .args(own)
            .stdin(Stdio::piped()) // It ends with its standard input.
            .stdout(std::fs::File::create(place.join("log")).unwrap())
            .stderr(std::fs::File::create(place.join("errors")).unwrap())
            .spawn();
        match child {
            Ok(child) => Some(Testpmd(child)),
            Err(error) => {
                eprintln!("skipped: no dpdk-testpmd: {error}");
                None
            }
        }
    }

    /// Waits until a port is connected with it.
    fn join(&mut self, end: &mut Opened, place: &Path) {
        end.until("testpmd to connect", |end| {
            if let Ok(Some(status)) = self.0.try_wait() {
                let log = |name: &str| std::fs::read_to_string(place.join(name)).unwrap_or_default();
                panic!("testpmd ended with {status}:\n{}\n{}", log("log"), log("errors"));
            }
            end.turn();
            end.port.device.link() == LinkState::Up
        });
    }
}

impl Drop for Testpmd {
    fn drop(&mut self) {
        self.0.kill().unwrap(); // SIGKILL.
        self.0.wait().unwrap();
    }
}

/// Sends frames and checks that all come back, in order and unchanged.
fn echo(end: &mut Opened, frames: &[Vec<u8>]) {
    let (mut sent, mut back) = (0, 0);
    end.until("frames to come back", |end| {
        while sent < frames.len() && sent - back < 16 && end.send(&frames[sent]) {
            sent += 1;
        }
        for received in end.turn() {
            assert!(received == frames[back], "frame {back}: {} bytes came as {}", frames[back].len(), received.len());
            back += 1;
        }
        back == frames.len()
    });
    assert!(end.receive().is_empty());
}

fn frames(count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|n| frame(60 + n * 37 % 1455, &[], n as u8)).collect()
}

/// Both roles, with `--single-file-segments` where testpmd's memory itself is shared.
fn trip(ours: &str, theirs: &str, eal: &[&str]) {
    let place = tempfile::tempdir().unwrap();
    let mut end = Opened::open(&format!("memif:{}/m.sock,id=7,{ours}", place.path().display()));
    let Some(mut testpmd) = Testpmd::start(place.path(), &format!("id=7,{theirs}"), eal, &[]) else { return };
    testpmd.join(&mut end, place.path());
    assert!(end.port.device.describe().contains("connected to DPDK"), "{}", end.port.device.describe());
    echo(&mut end, &frames(5000));
    // Its death, in mid-traffic.
    drop(testpmd);
    end.until("the death to be noticed", |end| {
        end.send(&frame(60, &[], 1));
        end.turn();
        end.port.device.link() == LinkState::Down
    });
    assert!(end.port.device.describe().contains("the peer is gone"), "{}", end.port.device.describe());
    // It comes back. A dead server leaves its path, over which DPDK does not get.
    if theirs.contains("role=server") {
        std::fs::remove_file(place.path().join("m.sock")).unwrap();
    }
    let mut testpmd = Testpmd::start(place.path(), &format!("id=7,{theirs}"), eal, &[]).unwrap();
    testpmd.join(&mut end, place.path());
    echo(&mut end, &frames(1000));
    assert_eq!((end.port.device.statistics().link_downs, end.port.device.statistics().returns), (1, 1));
    end.close();
}

#[test]
fn we_serve_and_dpdk_copies() {
    trip("role=server", "role=client,rsize=9,bsize=2048", &[]);
}

#[test]
fn we_serve_and_dpdk_shares_its_memory() {
    trip("role=server", "role=client,rsize=9,bsize=2048,zero-copy=yes", &["--single-file-segments"]);
}

#[test]
fn dpdk_serves() {
    trip("role=client", "role=server,rsize=10,bsize=2048", &[]);
}

#[test]
fn a_secret_is_shared() {
    trip("role=server,secret=abc", "role=client,secret=abc", &[]);
}

/// Frames that lie in several buffers, and short ones between them.
fn jumbo(ours: &str, theirs: &str, eal: &[&str]) {
    let place = tempfile::tempdir().unwrap();
    let mut end = Opened::open(&format!("memif:{}/m.sock,{ours}", place.path().display()));
    // Chains of buffers of 2,048 bytes (2,176 with headroom). Of longer frames than 1,518 bytes it does not know, but passes them on.
    let own = ["--mbuf-size=2176", "--tx-offloads=0x8000"];
    let Some(mut testpmd) = Testpmd::start(place.path(), theirs, eal, &own) else { return };
    testpmd.join(&mut end, place.path());
    let lens = [60, 9216, 2048, 60, 2049, 4096, 1514, 4097, 9018, 60, 60];
    let long: Vec<Vec<u8>> = lens.iter().cycle().take(1100).map(|len| frame(*len, &[], *len as u8)).collect();
    echo(&mut end, &long);
    end.close();
}

#[test]
fn long_frames_when_we_serve() {
    jumbo("role=server", "role=client,rsize=9,bsize=2048", &[]);
}

#[test]
fn long_frames_when_we_serve_and_dpdk_shares_its_memory() {
    jumbo("role=server", "role=client,rsize=9,bsize=2048,zero-copy=yes", &["--single-file-segments"]);
}

#[test]
fn long_frames_when_dpdk_serves() {
    jumbo("role=client", "role=server,rsize=9,bsize=2048", &[]);
}

#[test]
fn several_queues() {
    for (ours, theirs) in [("role=server", "role=client"), ("role=client", "role=server")] {
        let place = tempfile::tempdir().unwrap();
        let mut end = Opened::open(&format!("memif:{}/m.sock,{ours},queues=3", place.path().display()));
        let Some(mut testpmd) = Testpmd::start(place.path(), &format!("{theirs},rsize=9"), &[], &["--rxq=3", "--txq=3"]) else { return };
        testpmd.join(&mut end, place.path());
        for queue in 0..3 {
            for mark in 0..50 {
                let sent = frame(300, &[], mark);
                let mut burst = port::Burst::new();
                burst.push(end.pool.alloc_copy(&sent).unwrap());
                // As a server we cannot send before it has given buffers to this queue.
                end.until("room in the ring", |end| end.port.tx[queue].tx_burst(Default::default(), &mut end.pool, &mut burst) == 1);
                // It sends what it received on a queue by the same one.
                end.until("the frame to come back", |end| {
                    end.port.rx[queue].rx_burst(Default::default(), &mut end.pool, &mut burst, 64) > 0
                });
                assert_eq!((burst.len(), end.pool.head(&burst[0])), (1, &sent[..]));
                end.pool.free_all(&mut burst);
            }
        }
        end.close();
    }
}
