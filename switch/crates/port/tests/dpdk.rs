//! Ports on DPDK's virtual devices, with the real EAL.
#![cfg(feature = "dpdk")]

mod dpdk_process;
mod world;

use std::path::Path;
use std::process::Command;

use dpdk_process::{CHILD, close, in_its_own_process, plain};
use port::backend::dpdk::{self, EalSettings};
use port::capture::{CaptureFile, CaptureWriter, FrameNotes};
use port::{Burst, Hugepages, LinkState, Mempool, Nanos, Refusal};
use world::{Opened, Raw, alone, frame, ip, veth};

/// Frames of all lengths and tags, the longest in several buffers.
fn frames() -> Vec<Vec<u8>> {
    let (vlan, service) = ([0x81, 0, 0, 10], [0x88, 0xa8, 0, 20]);
    let lens = [60, 64, 1514, 1518, 1919, 1920, 1921, 2047, 2048, 2049, 3840, 3841, 4096, 9018];
    let mut frames: Vec<Vec<u8>> = lens.iter().map(|len| frame(*len, &[], 1)).collect();
    frames.extend([60, 1518, 5000].map(|len| frame(len, &[vlan], 2)));
    frames.extend([64, 1522].map(|len| frame(len, &[service, vlan], 3)));
    frames
}

fn write_capture(path: &Path, frames: &[Vec<u8>]) {
    let mut writer = CaptureWriter::new(std::fs::File::create(path).unwrap()).unwrap();
    writer.add_interface("in", None).unwrap();
    for (frame, at) in frames.iter().zip(0..) {
        writer.write_frame(0, at * 1000, frame, frame.len() as u32, &FrameNotes::default()).unwrap();
    }
    writer.finish().unwrap();
}

fn read_capture(path: &Path) -> Vec<Vec<u8>> {
    CaptureFile::open(path).unwrap().frames().map(|frame| frame.unwrap().bytes.to_vec()).collect()
}

#[test]
fn captures_in_and_out_octet_for_octet() {
    in_its_own_process("captures_in_and_out_octet_for_octet", || {
        plain(64);
        let folder = tempfile::tempdir().unwrap();
        let (input, output) = (folder.path().join("in.pcap"), folder.path().join("out.pcap"));
        write_capture(&input, &frames());
        let all = 2 * frames().len() as u64;
        for (buffers, mode, copied) in [("auto", "zero-copy", 0), ("switch", "zero-copy", 0), ("dpdk", "copied", all)] {
            let spec = format!("dpdk:net_pcap0,rx_pcap={},tx_pcap={},mtu=9000,buffers={buffers}", input.display(), output.display());
            let mut opened = Opened::open(&spec);
            assert_eq!(
                (opened.port.device.kind(), opened.port.device.link(), opened.port.device.mtu()),
                ("dpdk", LinkState::Up, Some(9000))
            );
            assert_eq!(opened.port.device.mode().as_deref(), Some(mode));
            let mut received = Vec::new();
            opened.until("all frames of the capture", |opened| {
                received.extend(opened.receive());
                received.len() >= frames().len()
            });
            assert_eq!(received, frames());
            for frame in frames() {
                assert!(opened.send(&frame), "{} bytes", frame.len());
            }
            assert_eq!(opened.port.device.statistics().copied, Some(copied), "{buffers}");
            close(opened);
            assert_eq!(read_capture(&output), frames());
        }
    });
}

/// What others share is copied, and stays theirs; so is what comes to a worker with another pool.
#[test]
fn what_cannot_be_exchanged_is_copied_and_counted() {
    in_its_own_process("what_cannot_be_exchanged_is_copied_and_counted", || {
        plain(64);
        let mut opened = Opened::open("dpdk:net_ring0,mtu=9000,buffers=switch");
        for len in [60, 5000] {
            let before = opened.port.device.statistics().copied.unwrap();
            let mut packet = opened.pool.alloc_copy(&frame(len, &[], 3)).unwrap();
            let other = opened.pool.share(&mut packet);
            let mut burst: Burst = [packet].into_iter().collect();
            assert_eq!(opened.port.tx[0].tx_burst(Nanos::ZERO, &mut opened.pool, &mut burst), 1);
            assert_eq!(opened.port.device.statistics().copied, Some(before + 1));
            // The last handle is as good as an only one.
            let mut burst: Burst = [other].into_iter().collect();
            assert_eq!(opened.port.tx[0].tx_burst(Nanos::ZERO, &mut opened.pool, &mut burst), 1);
            assert_eq!(opened.port.device.statistics().copied, Some(before + 1));
            assert_eq!(opened.receive(), [frame(len, &[], 3), frame(len, &[], 3)]);
            assert_eq!(opened.port.device.statistics().copied, Some(before + 1));
        }
        // A full burst of the longest frames takes several calls, and all of it is exchanged.
        let before = opened.port.device.statistics().copied;
        let mut burst: Burst = (0..64).map(|mark| opened.pool.alloc_copy(&frame(9014, &[], mark)).unwrap()).collect();
        assert_eq!(opened.port.tx[0].tx_burst(Nanos::ZERO, &mut opened.pool, &mut burst), 64);
        let received: Vec<_> = opened.receive_ours(64);
        assert_eq!(received, (0..64).map(|mark| frame(9014, &[], mark)).collect::<Vec<_>>());
        assert_eq!(opened.port.device.statistics().copied, before);

        let foreign = Mempool::new(64, Hugepages::Never).unwrap();
        let mut pool = foreign.cache();
        let mut burst: Burst = [pool.alloc_copy(&frame(100, &[], 4)).unwrap()].into_iter().collect();
        assert_eq!(opened.port.tx[0].tx_burst(Nanos::ZERO, &mut pool, &mut burst), 1);
        assert_eq!(opened.port.rx[0].rx_burst(Nanos::ZERO, &mut pool, &mut burst, 32), 1);
        assert_eq!(pool.head(&burst[0]), frame(100, &[], 4));
        assert_eq!(opened.port.device.statistics().copied, before.map(|before| before + 2));
        pool.free_all(&mut burst);
        pool.flush();
        assert_eq!(foreign.in_use(), 0);
        close(opened);
    });
}

/// net_null says of a frame that it is as long as it was told, whatever the buffer is.
#[test]
fn a_frame_that_ends_beyond_its_buffer_is_dropped() {
    in_its_own_process("a_frame_that_ends_beyond_its_buffer_is_dropped", || {
        plain(64);
        for buffers in ["switch", "dpdk"] {
            let mut opened = Opened::open(&format!("dpdk:net_null0,size=4000,buffers={buffers}"));
            assert_eq!(opened.receive(), Vec::<Vec<u8>>::new());
            let drops = opened.port.rx[0].drops();
            assert!(drops.malformed > 0 && drops.bytes == drops.malformed * 4000, "{drops:?}");
            close(opened);
        }
    });
}

#[test]
fn whose_buffers_cannot_be_the_switchs_is_said() {
    in_its_own_process("whose_buffers_cannot_be_the_switchs_is_said", || {
        plain(128);
        let opened = Opened::open("dpdk:net_null0,rxd=4096,txd=4096");
        let reasons = opened.port.device.reasons().join("\n");
        assert_eq!(opened.port.device.mode().as_deref(), Some("copied"));
        assert!(reasons.contains("it would hold ") && reasons.contains("raise pool.buffers"), "{reasons}");
        close(opened);
        for (spec, why) in [
            ("dpdk:net_null0,rxd=4096,txd=4096,buffers=switch", "raise pool.buffers"),
            ("dpdk:net_memif0,socket-abstract=yes,socket=none,buffers=switch", "net_memif copies by itself"),
        ] {
            let error = Opened::try_open(spec).err().unwrap_or_else(|| panic!("{spec} was opened")).to_string();
            assert!(error.starts_with("`buffers=switch`: expected buffers=auto or dpdk") && error.contains(why), "{error}");
        }
    });
}

#[test]
fn frames_to_and_from_the_kernel_through_a_tap() {
    in_its_own_process("frames_to_and_from_the_kernel_through_a_tap", || {
        alone(|| {
            plain(64);
            let mut opened = Opened::open("dpdk:net_tap0,iface=dtap");
            ip("link set dtap up");
            exchange(&mut opened, "dtap");
            close(opened);
        });
    });
}

#[test]
fn frames_over_a_veth_through_the_packet_driver() {
    in_its_own_process("frames_over_a_veth_through_the_packet_driver", || {
        alone(|| {
            plain(128);
            veth("near", "far");
            let mut opened = Opened::open("dpdk:net_af_packet0,iface=near");
            exchange(&mut opened, "far");
            close(opened);
        });
    });
}

/// Frames with and without tag, both ways, between a port and an interface.
fn exchange(opened: &mut Opened, interface: &str) {
    let raw = Raw::new(interface);
    opened.until("the link", |opened| opened.port.device.link() == LinkState::Up);
    for len in [60, 333, 1514] {
        let sent = frame(len, &[], 7);
        raw.send(&sent);
        assert_eq!(opened.receive_ours(1), [sent]);
        let sent = frame(len, &[], 9);
        assert!(opened.send(&sent));
        assert_eq!(raw.receive_ours(), sent);
    }
}

#[test]
fn a_full_ring_refuses_and_nothing_leaks() {
    in_its_own_process("a_full_ring_refuses_and_nothing_leaks", || {
        plain(64);
        let mut opened = Opened::open("dpdk:net_ring0,mtu=9000");
        // Nothing to send is nothing, not an error.
        assert_eq!(opened.port.tx[0].tx_burst(Nanos::ZERO, &mut opened.pool, &mut Burst::new()), 0);
        let mut sent = Vec::new();
        while opened.send(&frame(60 + sent.len() % 7, &[], sent.len() as u8)) {
            sent.push(frame(60 + sent.len() % 7, &[], sent.len() as u8));
            assert!(sent.len() < 100_000, "the ring is never full");
        }
        assert_eq!(opened.port.tx[0].refusal(), Refusal::Full);
        // The rest of a refused burst stays, in order.
        let mut burst: Burst = (0..3u8).map(|mark| opened.pool.alloc_copy(&frame(100, &[], mark)).unwrap()).collect();
        assert_eq!(opened.port.tx[0].tx_burst(Nanos::ZERO, &mut opened.pool, &mut burst), 0);
        assert_eq!(
            burst.iter().map(|packet| opened.pool.head(packet)[99]).collect::<Vec<_>>(),
            (0..3u8).map(|mark| frame(100, &[], mark)[99]).collect::<Vec<_>>()
        );
        opened.pool.free_all(&mut burst);
        // Too long for the MTU, and it says so.
        assert!(!opened.send(&frame(9023, &[], 0)));
        assert_eq!(opened.port.tx[0].refusal(), Refusal::Oversize);
        let mut received = opened.receive();
        assert_eq!(received, sent[..received.len()]);
        assert!(!received.is_empty() && received.len() < sent.len());
        // One that is longer than an mbuf, behind the others.
        assert!(opened.send(&frame(9014, &[], 5)));
        sent.push(frame(9014, &[], 5));
        opened.until("all that was sent", |opened| {
            received.extend(opened.receive());
            received.len() == sent.len()
        });
        assert_eq!(received, sent);
        // What is still in the ring when the port is closed is nobody's loss.
        assert!(opened.send(&frame(60, &[], 1)));
        close(opened);
    });
}

#[test]
fn without_buffers_frames_are_dropped_and_counted() {
    in_its_own_process("without_buffers_frames_are_dropped_and_counted", || {
        plain(64);
        let mut opened = Opened::open("dpdk:net_null0,size=1000");
        let mut held = Vec::new();
        while let Some(packet) = opened.pool.alloc(60) {
            held.push(packet);
        }
        assert_eq!(opened.receive(), Vec::<Vec<u8>>::new());
        let drops = opened.port.rx[0].drops();
        assert!(drops.no_buffer > 0);
        assert_eq!(drops.bytes, drops.no_buffer * 1000);
        held.into_iter().for_each(|packet| opened.pool.free(packet));
        assert!(opened.receive().iter().all(|frame| frame.len() == 1000));
        close(opened);
    });
}

#[test]
fn queues_are_polled_by_threads_of_ours_and_one_may_panic() {
    in_its_own_process("queues_are_polled_by_threads_of_ours_and_one_may_panic", || {
        plain(128);
        let Opened { mut port, mempool, .. } = Opened::open("dpdk:net_null0,queues=4,size=200");
        assert_eq!((port.rx.len(), port.tx.len(), port.device.queues()), (4, 4, 4));
        let threads: Vec<_> = port
            .rx
            .drain(..)
            .zip(port.tx.drain(..))
            .enumerate()
            .map(|(index, (mut rx, mut tx))| {
                let mut pool = mempool.cache();
                std::thread::spawn(move || {
                    let (mut burst, mut forwarded) = (Burst::new(), 0);
                    while forwarded < 10_000 {
                        rx.rx_burst(Nanos::ZERO, &mut pool, &mut burst, 32);
                        forwarded += tx.tx_burst(Nanos::ZERO, &mut pool, &mut burst);
                        pool.free_all(&mut burst);
                        assert!(index > 0 || forwarded < 5_000, "meant to");
                    }
                    forwarded
                })
            })
            .collect();
        let results: Vec<_> = threads.into_iter().map(|thread| thread.join().map_err(|_| "panicked")).collect();
        assert!(results[0].is_err() && results[1..].iter().all(|result| result.is_ok_and(|forwarded| forwarded >= 10_000)), "{results:?}");
        assert_eq!(port.device.link(), LinkState::Up);
        drop(port);
        assert_eq!((mempool.in_use(), dpdk::mbufs_lost()), (0, 0));
    });
}

#[test]
fn too_little_memory_is_an_error_with_the_amount() {
    in_its_own_process("too_little_memory_is_an_error_with_the_amount", || {
        plain(16);
        let error = Opened::try_open("dpdk:net_null0,rxd=16384,txd=16384").err().unwrap().to_string();
        assert!(
            error.starts_with("net_null0: ") && error.contains(" packet buffers (mbufs) need ") && error.contains("of 16 MiB are free"),
            "{error}"
        );
        assert!(error.contains("raise dpdk.memory_mib"), "{error}");
        // The device has been let go of: a smaller port of it opens.
        close(Opened::open("dpdk:net_null0"));
    });
}

/// Hugepages beyond those the machine has reserved; given back at the end. A machine may refuse, or have no room.
struct Reserved(Option<u32>);

impl Reserved {
    const FILE: &str = "/proc/sys/vm/nr_hugepages";

    fn mib(mib: u32) -> Reserved {
        let before = std::fs::read_to_string(Reserved::FILE).ok().and_then(|text| text.trim().parse::<u32>().ok());
        let reserved = before.filter(|before| std::fs::write(Reserved::FILE, (before + mib / 2).to_string()).is_ok());
        Reserved(reserved)
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if let Some(before) = self.0 {
            std::fs::write(Reserved::FILE, before.to_string()).unwrap();
        }
    }
}

#[test]
fn more_hugepages_than_there_are_is_an_error_with_the_amount() {
    in_its_own_process("more_hugepages_than_there_are_is_an_error_with_the_amount", || {
        let settings = EalSettings { memory_mib: Some(1_048_576), hugepages: Hugepages::Require, pci: false, arguments: Vec::new() };
        dpdk::configure(settings);
        let error = Opened::try_open("dpdk:net_null0").err().unwrap().to_string();
        assert!(error.contains("1048576 MiB on hugepages") && error.contains("sysctl vm.nr_hugepages="), "{error}");
    });
}

/// A device that comes or goes leaves the others alone.
#[test]
fn devices_come_and_go_beside_one_that_is_busy() {
    in_its_own_process("devices_come_and_go_beside_one_that_is_busy", || {
        plain(64);
        let Opened { mut port, mempool, .. } = Opened::open("dpdk:net_null0,size=200");
        let (mut rx, mut tx, mut pool) = (port.rx.remove(0), port.tx.remove(0), mempool.cache());
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let stopped = std::sync::Arc::clone(&stop);
        let worker = std::thread::spawn(move || {
            let (mut burst, mut forwarded) = (Burst::new(), 0_u64);
            while !stopped.load(std::sync::atomic::Ordering::Acquire) {
                rx.rx_burst(Nanos::ZERO, &mut pool, &mut burst, 32);
                forwarded += tx.tx_burst(Nanos::ZERO, &mut pool, &mut burst) as u64;
                pool.free_all(&mut burst);
            }
            forwarded
        });
        for turn in 0..20 {
            let mut opened = Opened::open("dpdk:net_ring0");
            assert!(opened.send(&frame(60, &[], turn)));
            assert_eq!(opened.receive(), [frame(60, &[], turn)]);
            close(opened);
        }
        stop.store(true, std::sync::atomic::Ordering::Release);
        assert!(worker.join().unwrap() > 0);
        drop(port);
        assert_eq!((mempool.in_use(), dpdk::mbufs_lost()), (0, 0));
    });
}

#[test]
fn hugepages_are_used_or_the_error_has_the_amount() {
    // The child opens ports, the parent keeps the pages for it.
    let _reserved = std::env::var_os(CHILD).is_none().then(|| Reserved::mib(96));
    in_its_own_process("hugepages_are_used_or_the_error_has_the_amount", || {
        let settings = EalSettings { memory_mib: Some(64), hugepages: Hugepages::Require, pci: false, arguments: Vec::new() };
        dpdk::configure(settings);
        match Opened::try_open("dpdk:net_null0") {
            Ok(opened) => {
                assert!(opened.port.device.reasons()[0].contains(" on hugepages: "), "{:?}", opened.port.device.reasons());
                close(opened);
            }
            Err(error) => {
                let error = error.to_string();
                assert!(error.contains("64 MiB on hugepages") && error.contains("sysctl vm.nr_hugepages="), "{error}");
            }
        }
    });
}

#[test]
fn two_processes_side_by_side_and_no_files_left() {
    in_its_own_process("two_processes_side_by_side_and_no_files_left", || {
        plain(64);
        let mut opened = Opened::open("dpdk:net_ring0");
        let name = "captures_in_and_out_octet_for_octet";
        let other = Command::new(std::env::current_exe().unwrap()).args(["--exact", name]).env(CHILD, name).output().unwrap();
        assert!(other.status.success(), "{}", String::from_utf8_lossy(&other.stderr));
        assert!(opened.send(&frame(60, &[], 1)));
        assert_eq!(opened.receive(), [frame(60, &[], 1)]);
        close(opened);
        let mut names = std::fs::read_dir("/var/run/dpdk").into_iter().flatten().flatten().map(|entry| entry.file_name());
        assert!(!names.any(|name| name.to_string_lossy() == format!("bladeswitch-{}", std::process::id())));
    });
}

/// `nobody` runs this program again; it and what it writes lie where everybody may look.
#[test]
fn without_root_and_without_capabilities() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;

    const NOBODY: u32 = 65_534;
    let name = "without_root_and_without_capabilities";
    if std::env::var(CHILD).is_ok_and(|child| child == name) {
        plain(64);
        let mut opened = Opened::open("dpdk:net_ring0");
        assert!(opened.send(&frame(60, &[], 1)));
        assert_eq!(opened.receive(), [frame(60, &[], 1)]);
        close(opened);
        let error = Opened::try_open("dpdk:net_af_packet0,iface=lo").err().expect("packet sockets take a capability").to_string();
        assert!(error.starts_with("net_af_packet0: rte_dev_probe: "), "{error}");
        return;
    }
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can become nobody");
        return;
    }
    let folder = tempfile::Builder::new().permissions(std::fs::Permissions::from_mode(0o777)).tempdir().unwrap();
    let program = folder.path().join("test");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(&program);
    command.args(["--exact", name, "--nocapture"]).env(CHILD, name).current_dir(folder.path());
    let output = command.env("XDG_RUNTIME_DIR", folder.path()).env("TMPDIR", folder.path()).uid(NOBODY).gid(NOBODY).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.contains("1 passed"), "{}\n{out}\n{err}", output.status);
}

#[test]
fn what_cannot_be_is_said() {
    in_its_own_process("what_cannot_be_is_said", || {
        dpdk::configure(EalSettings { memory_mib: Some(64), hugepages: Hugepages::Never, pci: true, arguments: Vec::new() });
        let first = Opened::open("dpdk:net_null0");
        for (spec, message) in [
            ("dpdk:net_null0", "net_null0: rte_dev_probe: it is there already: another port has it"),
            ("dpdk:net_nosuch0", "net_nosuch0: rte_dev_probe: "),
            ("dpdk:0000:ff:1f.7", "0000:ff:1f.7: rte_dev_probe: "),
            ("dpdk:net_pcap0,rx_pcap=/nonexistent/in.pcap", "net_pcap0: rte_dev_probe: "),
            ("dpdk:net_null1,queues=99", "`queues=99`: expected queues=1 to 64"),
            ("dpdk:net_ring1,queues=64", "`queues=64`: expected queues=1 to "),
        ] {
            let error = Opened::try_open(spec).err().unwrap_or_else(|| panic!("{spec} was opened")).to_string();
            assert!(error.contains(message) && !error.contains('\n'), "{spec}: {error}");
        }
        close(first);
        // Gone and there again.
        close(Opened::open("dpdk:net_null0"));
    });
}

#[test]
fn wrong_arguments_of_dpdk_are_shown() {
    in_its_own_process("wrong_arguments_of_dpdk_are_shown", || {
        let arguments = vec!["--no-such-argument".to_owned()];
        dpdk::configure(EalSettings { memory_mib: None, hugepages: Hugepages::Never, pci: false, arguments });
        for _ in 0..2 {
            let error = Opened::try_open("dpdk:net_null0").err().unwrap().to_string();
            assert!(error.starts_with("DPDK does not start with `bladeswitch ") && error.contains("--no-such-argument"), "{error}");
        }
    });
}
