//! vhost-user ports against `net_virtio_user` of DPDK: dpdk-testpmd has the virtio card that a guest would have, and sends back what it receives,
//! unchanged.
//!
//! Both sides work on plain memory (`--no-huge`), so no privileges and no hugepages are needed. What is under way is never more than a ring
//! holds, so that all of it must come back.
#![cfg(feature = "dpdk")]

mod dpdk_process;
mod world;

use std::path::Path;
use std::process::{Child, Command, Stdio};

use dpdk_process::{close, in_its_own_process, plain};
use port::{LinkState, Refusal};
use world::{Opened, frame};

/// A testpmd; killed at the end.
struct Testpmd(Child);

impl Testpmd {
    /// With a virtio card of these options. `None` where there is no testpmd, after saying so.
    fn start(place: &Path, card: &str, own: &[&str]) -> Option<Testpmd> {
        if Command::new("dpdk-testpmd").arg("--version").output().is_err() {
            println!("skipped: no dpdk-testpmd");
            return None;
        }
        let vdev = format!("net_virtio_user0,path={},queue_size=256,{card}", place.join("v.sock").display());
        // One name for each process: it names files, for which two would quarrel.
        let prefix = format!("bladeswitch-{}-{}", std::process::id(), place.file_name().unwrap().to_string_lossy());
        // It writes lines as they come: one of them says that it is ready.
        let child = Command::new("stdbuf")
            .args(["-oL", "dpdk-testpmd"])
            .env("RUNTIME_DIRECTORY", place)
            .args(["--lcores", "0@0,1@0", "--no-pci", "--no-huge", "-m", "128", "--no-telemetry", "--file-prefix", &prefix])
            .args(["--vdev", &vdev])
            .args(["--", "--forward-mode=io", "--port-topology=loop", "--no-flush-rx", "--disable-link-check", "--no-lsc-interrupt"])
            .args(["--total-num-mbufs=4096", "--nb-cores=1"])
            .args(own)
            .stdin(Stdio::piped()) // It ends with its standard input.
            .stdout(std::fs::File::create(place.join("log")).unwrap())
            .stderr(std::fs::File::create(place.join("errors")).unwrap())
            .spawn();
        match child {
            Ok(child) => Some(Testpmd(child)),
            Err(error) => panic!("stdbuf: {error}"),
        }
    }

    /// Waits until it forwards, connected with a port. Before that it takes its card into service more than once.
    fn join(&mut self, end: &mut Opened, place: &Path) {
        let log = |name: &str| std::fs::read_to_string(place.join(name)).unwrap_or_default();
        end.until("testpmd to connect", |end| {
            if let Ok(Some(status)) = self.0.try_wait() {
                panic!("testpmd ended with {status}:\n{}\n{}", log("log"), log("errors"));
            }
            log("log").contains("Press enter to exit") && end.port.device.link() == LinkState::Up
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
        for received in end.receive() {
            assert!(received == frames[back], "frame {back}: {} bytes came as {}", frames[back].len(), received.len());
            back += 1;
        }
        back == frames.len()
    });
    assert!(end.receive().is_empty());
}

/// Of all lengths, every third with a tag, every sixth with two.
fn frames(count: usize) -> Vec<Vec<u8>> {
    let (vlan, service) = ([0x81, 0, 0x60, 10], [0x88, 0xa8, 0, 20]);
    let tags: [&[[u8; 4]]; 6] = [&[], &[], &[vlan], &[], &[], &[service, vlan]];
    (0..count).map(|n| frame(60 + n * 37 % 1455, tags[n % 6], n as u8)).collect()
}

/// A peer comes later than the port, dies by SIGKILL in mid-traffic, and comes back.
fn trip(name: &str, ours: &str, theirs: &str) {
    in_its_own_process(name, || {
        plain(64);
        let place = tempfile::tempdir().unwrap();
        let spec = format!("vhost-user:{}/v.sock,role={ours}", place.path().display());
        let mut end = Opened::open(&spec);
        assert_eq!((end.port.device.kind(), end.port.device.link()), ("vhost-user", LinkState::Down));
        assert!(end.port.device.describe().ends_with(", no peer"), "{}", end.port.device.describe());
        assert!(!end.send(&frame(60, &[], 1)));
        assert_eq!(end.port.tx[0].refusal(), Refusal::Down);

        let Some(mut testpmd) = Testpmd::start(place.path(), theirs, &[]) else { return };
        testpmd.join(&mut end, place.path());
        assert!(end.port.device.describe().ends_with(", connected"), "{}", end.port.device.describe());
        echo(&mut end, &frames(5000));
        let before = end.port.device.statistics();
        // Its death, in mid-traffic.
        for mark in 0..100 {
            end.send(&frame(60, &[], mark));
        }
        drop(testpmd);
        end.until("the death to be noticed", |end| {
            end.send(&frame(60, &[], 1));
            end.receive();
            end.port.device.link() == LinkState::Down
        });
        // It comes back. A dead server leaves its path, over which DPDK does not get.
        if theirs.contains("server=1") {
            std::fs::remove_file(place.path().join("v.sock")).unwrap();
        }
        let mut testpmd = Testpmd::start(place.path(), theirs, &[]).unwrap();
        testpmd.join(&mut end, place.path());
        echo(&mut end, &frames(1000));
        let after = end.port.device.statistics();
        assert!(after.link_downs > before.link_downs && after.returns > before.returns, "{before:?}, then {after:?}");
        close(end);
        // Closed while the peer lives, which is none of its business: the port can be had again.
        close(Opened::open(&spec));
    });
}

#[test]
fn we_listen() {
    trip("we_listen", "server", "server=0");
}

#[test]
fn the_peer_listens() {
    trip("the_peer_listens", "client", "server=1");
}

#[test]
fn packed_rings() {
    trip("packed_rings", "server", "server=0,packed_vq=1");
}

/// Frames of 9,000 bytes and more, in buffers of 2 KiB, and short ones between them.
#[test]
fn long_frames() {
    in_its_own_process("long_frames", || {
        plain(64);
        let place = tempfile::tempdir().unwrap();
        let mut end = Opened::open(&format!("vhost-user:{}/v.sock", place.path().display()));
        assert_eq!(end.port.device.mtu(), Some(9216 - 22));
        let own = ["--mbuf-size=2176", "--tx-offloads=0x8000", "--enable-scatter", "--max-pkt-len=9216"];
        let Some(mut testpmd) = Testpmd::start(place.path(), "mrg_rxbuf=1,in_order=1", &own) else { return };
        testpmd.join(&mut end, place.path());
        let lens = [60, 9000, 2048, 60, 2049, 4096, 1514, 4097, 9014, 60, 9018];
        let vlan = [0x81, 0, 0, 7];
        let long: Vec<Vec<u8>> = lens.iter().cycle().take(1100).map(|len| frame(*len, &[vlan], *len as u8)).collect();
        echo(&mut end, &long);
        // Longer than the port's frames may be.
        assert!(!end.send(&frame(9217, &[], 0)));
        assert_eq!(end.port.tx[0].refusal(), Refusal::Oversize);
        close(end);
    });
}

#[test]
fn several_queues() {
    in_its_own_process("several_queues", || {
        plain(64);
        let place = tempfile::tempdir().unwrap();
        let mut end = Opened::open(&format!("vhost-user:{}/v.sock,queues=2", place.path().display()));
        let Some(mut testpmd) = Testpmd::start(place.path(), "queues=2", &["--rxq=2", "--txq=2"]) else { return };
        testpmd.join(&mut end, place.path());
        for queue in 0..2 {
            for mark in 0..50 {
                let sent = frame(300, &[], mark);
                let mut burst = port::Burst::new();
                burst.push(end.pool.alloc_copy(&sent).unwrap());
                // The peer opens its queues one after the other.
                end.until("room in the ring", |end| end.port.tx[queue].tx_burst(Default::default(), &mut end.pool, &mut burst) == 1);
                // It sends what it received on a queue by the same one.
                end.until("the frame to come back", |end| {
                    end.port.rx[queue].rx_burst(Default::default(), &mut end.pool, &mut burst, 64) > 0
                });
                assert_eq!((burst.len(), end.pool.head(&burst[0])), (1, &sent[..]));
                end.pool.free_all(&mut burst);
            }
        }
        close(end);
    });
}

#[test]
fn two_ports_and_what_is_in_the_way() {
    in_its_own_process("two_ports_and_what_is_in_the_way", || {
        plain(64);
        let place = tempfile::tempdir().unwrap();
        let spec = |name: &str| format!("vhost-user:{}/{name}", place.path().display());
        // Left by a process that was killed.
        drop(std::os::unix::net::UnixListener::bind(place.path().join("stale")).unwrap());
        let (first, second) = (Opened::open(&spec("stale")), Opened::open(&spec("v")));
        std::fs::write(place.path().join("file"), "mine").unwrap();
        for (spec, message) in [
            (spec("v"), "another process listens there"),
            (spec("file"), "there is a file that is no socket"),
            (spec("no-folder/v"), "No such file or directory"),
        ] {
            let error = Opened::try_open(&spec).err().unwrap_or_else(|| panic!("{spec} was opened")).to_string();
            assert!(error.contains(message) && error.contains(&spec["vhost-user:".len()..]) && !error.contains('\n'), "{spec}: {error}");
        }
        close(first);
        close(second);
        assert!(!place.path().join("v").exists(), "a socket is left");
    });
}
