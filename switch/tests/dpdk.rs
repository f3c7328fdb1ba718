//! The switch on DPDK's capture devices gives out what it gives out on memory ports, byte for byte.
//!
//! DPDK starts once in a process: the only test of this file is the only one of its process.
#![cfg(feature = "dpdk")]

use std::collections::VecDeque;
use std::fs::File;
use std::path::Path;

use bladeswitch::{Switch, assembly};
use control::config::Config;
use port::capture::{CaptureFile, CaptureWriter, FrameNotes};
use port::{Burst, Hugepages, Mempool, Nanos, Port};

/// Folders of `pcaps/`: tags, stacked tags and jumbo frames among them.
const CASES: [&str; 7] = ["arp", "dhcp", "jumbo", "ping6-nd", "qinq", "three-ports", "vlan"];
/// Frames that a port holds, more than any case has.
const QUEUE: usize = 16_384;

/// For each port, frames.
type Frames = Vec<Vec<Vec<u8>>>;

#[test]
fn the_same_comes_out_as_of_memory_ports() {
    for case in CASES {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pcaps").join(case);
        let mut config = Config::load(folder.join("switch.toml")).unwrap_or_else(|errors| panic!("{errors}"));
        for port in &mut config.ports {
            port.queue = QUEUE;
        }
        config.dpdk.memory_mib = Some(512);
        config.dpdk.hugepages = Hugepages::Never;
        let frames = entering(&folder.join("in.pcapng"), &config);
        let expected = through_memory(&config, &frames);
        assert!(expected.iter().flatten().count() > 0, "{case}: nothing comes out");
        assert!(through_dpdk(config, case, &frames) == expected, "{case}: something else comes out");
        assert_eq!(port::backend::dpdk::mbufs_lost(), 0, "{case}");
    }
}

/// What enters by each port: the capture has an interface for each.
fn entering(path: &Path, config: &Config) -> Frames {
    let mut frames = vec![Vec::new(); config.ports.len()];
    for frame in CaptureFile::open(path).unwrap().frames() {
        let frame = frame.unwrap();
        frames[frame.interface as usize].push(frame.bytes.to_vec());
    }
    frames
}

fn through_memory(config: &Config, frames: &Frames) -> Frames {
    let mempool = assembly::mempool(config).unwrap();
    let (near, mut far, _plugs) = assembly::memory_ports(config, QUEUE);
    let mut pool = mempool.cache();
    for (port, frames) in far.iter_mut().zip(frames) {
        let mut waiting: VecDeque<_> = frames.iter().map(|frame| pool.alloc_copy(frame).unwrap()).collect();
        while !waiting.is_empty() {
            let mut burst: Burst = waiting.drain(..waiting.len().min(32)).collect();
            port.tx[0].tx_burst(Nanos::ZERO, &mut pool, &mut burst);
            assert!(burst.is_empty(), "a full queue");
        }
    }
    run(config, near, &mempool);
    let mut received = vec![Vec::new(); far.len()];
    for (port, received) in far.iter_mut().zip(&mut received) {
        let mut burst = Burst::new();
        while port.rx[0].rx_burst(Nanos::ZERO, &mut pool, &mut burst, 32) > 0 {
            received.extend(burst.iter().map(|packet| pool.segments(packet).collect::<Vec<_>>().concat()));
            pool.free_all(&mut burst);
        }
    }
    received
}

fn through_dpdk(mut config: Config, case: &str, frames: &Frames) -> Frames {
    let folder = tempfile::tempdir().unwrap();
    let out = |index: usize| folder.path().join(format!("out{index}.pcap"));
    for (index, (port, frames)) in config.ports.iter_mut().zip(frames).enumerate() {
        let input = folder.path().join(format!("in{index}.pcapng"));
        let mut writer = CaptureWriter::new(File::create(&input).unwrap()).unwrap();
        writer.add_interface("in", None).unwrap();
        for frame in frames {
            writer.write_frame(0, 0, frame, frame.len() as u32, &FrameNotes::default()).unwrap();
        }
        writer.finish().unwrap();
        let spec = format!("dpdk:net_pcap_{case}_{index},rx_pcap={},tx_pcap={},mtu=9216,txd=512", input.display(), out(index).display());
        port.spec = spec.parse().unwrap();
    }
    let mempool = assembly::mempool(&config).unwrap();
    let (ports, _) = assembly::open_ports(&config, &mempool, false).unwrap_or_else(|error| panic!("{error}"));
    run(&config, ports, &mempool);
    assert_eq!(mempool.in_use(), 0, "buffers leaked");
    (0..frames.len())
        .map(|index| CaptureFile::open(out(index)).unwrap().frames().map(|frame| frame.unwrap().bytes.to_vec()).collect())
        .collect()
}

/// Polls until nothing more comes, checks the ledger, and closes the ports.
fn run(config: &Config, ports: Vec<Port>, mempool: &Mempool) {
    let mut switch: Switch = assembly::build(config, ports, mempool, 1);
    switch.settle(Nanos::ZERO);
    switch.check_ledger().unwrap();
    switch.flush_pools();
}
