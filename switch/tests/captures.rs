//! Every capture there is, into a port: the third-party collection beside the workspace, if it is there, and the project's own.
//!
//! Nothing panics, every frame is accounted for in total and on each port, nothing comes out for an address that no bridge
//! forwards, every buffer comes back, and what comes out is the same octet for octet on one, two and four workers, and when it is
//! done again.

use std::fs;
use std::path::{Path, PathBuf};

use bladeswitch::replay::{self, OUT_FILE, Options, Stage};
use control::config::Config;
use port::capture::{CaptureFile, CaptureWriter, FrameNotes};
use port::{Nanos, PortId};

/// Four blades and nothing special: one VLAN, everything that control does switched on.
const PLAIN: &str = r#"
fdb = { limit = 1024 }
pool = { hugepages = "never" }
[[blade]]
slot = 1
ip = "10.0.0.1"
mac = "02:00:00:00:00:01"
[[blade]]
slot = 2
[[blade]]
slot = 3
[[blade]]
slot = 4
"#;

/// Each kind of port, short queues, addresses that age while the capture is played, and not many of them.
const MIXED: &str = r#"
fdb = { limit = 64, limit_per_port = 20, ageing_ms = 640 }
pool = { hugepages = "never" }
identity = { ageing_ms = 800, limit = 16 }
[[blade]]
slot = 1
trunk = [1, 2, "5-120", 200, 4094]
native = 1
queue = 16
[[blade]]
slot = 2
trunk = [1, 2, "5-120", 200, 4094]
ingress_filter = false
speed = "100M"
[[blade]]
slot = 3
vlan = 10
[[blade]]
slot = 4
transparent = 1
"#;

const PORTS: usize = 4;

fn captures_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            captures_below(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "pcap" || extension == "pcapng") {
            found.push(path);
        }
    }
}

/// The captures below a folder, in order.
fn captures(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    captures_below(folder, &mut found);
    found.sort();
    found
}

fn collection() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/captures");
    if !folder.is_dir() {
        println!("skipped: no ../shared/captures");
        return None;
    }
    Some(folder)
}

fn config(text: &str, workers: usize) -> Config {
    let mut config = Config::parse(text, "test.toml").unwrap_or_else(|errors| panic!("{errors}"));
    config.switch.workers = workers;
    config
}

/// The link type in the header of a pcap file; `None` of anything else.
fn pcap_link_type(bytes: &[u8]) -> Option<u32> {
    let word = <[u8; 4]>::try_from(bytes.get(20..24)?).ok()?;
    let word = match bytes[..4] {
        [0xd4, 0xc3, 0xb2, 0xa1] | [0x4d, 0x3c, 0xb2, 0xa1] => u32::from_le_bytes(word),
        [0xa1, 0xb2, 0xc3, 0xd4] | [0xa1, 0xb2, 0x3c, 0x4d] => u32::from_be_bytes(word),
        _ => return None,
    };
    Some(word & 0x03ff_ffff) // The rest is about the FCS.
}

/// What goes in by `port` from `path` and comes out, on `workers` workers: the bytes of the capture that is written.
fn replayed(text: &str, workers: usize, port: PortId, path: &Path) -> Vec<u8> {
    let out = tempfile::tempdir().unwrap();
    let inputs = vec![(Some(port), path.to_owned())];
    let options =
        Options { config: config(text, workers), inputs, out: Some(out.path().to_owned()), annotate: false, expect: None, seed: 7 };
    let outcome = replay::run(&options).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(outcome.ledger.is_balanced() && outcome.ledger.held == 0, "{}: {}", path.display(), outcome.ledger);
    fs::read(out.path().join(OUT_FILE)).unwrap()
}

/// The frames of `file` into a port, as they were recorded; then the books are closed.
fn fed(text: &str, workers: usize, port: PortId, file: &CaptureFile) {
    let name = file.path().display();
    let mut stage = Stage::new(&config(text, workers), 7).unwrap();
    let (mut first, mut sent) = (None, 0);
    for frame in file.frames().map_while(Result::ok) {
        let first = *first.get_or_insert(frame.time_ns);
        stage.advance(Nanos(frame.time_ns.saturating_sub(first)));
        stage.feed(port, [frame.bytes.to_vec()]);
        stage.switch.check_ledger().unwrap_or_else(|error| panic!("{name}: {error}"));
        sent += 1;
    }
    stage.finish();
    let ledger = stage.switch.check_ledger().unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!((ledger.rx, ledger.held), (sent, 0), "{name}");
    for departure in stage.take_sent() {
        let link_local = departure.bytes[..5] == [1, 0x80, 0xc2, 0, 0] && departure.bytes[5] < 16;
        assert!(!link_local, "{name}: {:x?} came out of port {}", &departure.bytes[..14], departure.port);
        assert!((60..=9220).contains(&departure.bytes.len()), "{name}: a frame of {} bytes", departure.bytes.len());
    }
    stage.switch.flush_pools();
    assert_eq!(stage.switch.control.mempool().in_use(), 0, "{name}: buffers are lost");
}

/// Plays these captures; returns how many had frames of Ethernet.
fn play(paths: &[PathBuf]) -> usize {
    let mut played = 0;
    for (number, path) in paths.iter().enumerate() {
        let bytes = fs::read(path).unwrap();
        let link_type = pcap_link_type(&bytes);
        let file = match CaptureFile::open(path) {
            Ok(file) => {
                assert!(link_type.is_none_or(|link_type| link_type == 1), "{}: link type {link_type:?}", path.display());
                file
            }
            Err(error) => {
                let message = error.to_string();
                if let Some(link_type) = link_type.filter(|link_type| *link_type != 1) {
                    assert!(message.contains("link type") && message.contains(&link_type.to_string()), "{message}");
                }
                let options = Options {
                    config: config(PLAIN, 1),
                    inputs: vec![(Some(PortId(0)), path.clone())],
                    out: None,
                    annotate: false,
                    expect: None,
                    seed: 7,
                };
                assert_eq!(replay::run(&options).unwrap_err().to_string(), message);
                continue;
            }
        };
        played += 1;
        let port = PortId((number % PORTS) as u8);
        for text in [PLAIN, MIXED] {
            fed(text, [1, 2, 4][number % 3], port, &file);
            let one = replayed(text, 1, port, path);
            assert!(one == replayed(text, 1, port, path), "{}: not the same again", path.display());
            for workers in [2, 4] {
                assert!(one == replayed(text, workers, port, path), "{}: not the same on {workers} workers", path.display());
            }
        }
    }
    played
}

#[test]
fn every_capture_of_the_project() {
    let paths = captures(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../pcaps"));
    let paths: Vec<_> = paths.into_iter().filter(|path| path.file_stem().is_some_and(|stem| stem == "in")).collect();
    assert!(paths.len() >= 21, "pcaps/ has {} captures", paths.len());
    assert_eq!(play(&paths), paths.len(), "all of them are of Ethernet");
}

/// Every `of`th capture of the collection from `first`: parts that can run side by side.
fn play_collection(first: usize, of: usize) {
    let Some(folder) = collection() else { return };
    let paths: Vec<_> = captures(&folder).into_iter().skip(first).step_by(of).collect();
    let played = play(&paths);
    println!("{} captures, {played} of Ethernet", paths.len());
    assert!(played > paths.len() / 3, "{played} of {}", paths.len());
}

#[test]
fn every_capture_of_the_collection_even() {
    play_collection(0, 2);
}

#[test]
fn every_capture_of_the_collection_odd() {
    play_collection(1, 2);
}

/// Several captures into several ports at once, on any number of workers.
#[test]
fn captures_into_all_ports_at_once() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pcaps");
    let inputs: Vec<_> = ["three-ports/in.pcapng", "http/in.pcap", "vlan/in.pcap", "ping6-nd/in.pcap", "jumbo/in.pcap", "stp/in.pcapng"]
        .iter()
        .enumerate()
        .map(|(number, name)| (Some(PortId((number % PORTS) as u8)), folder.join(name)))
        .collect();
    for text in [PLAIN, MIXED] {
        let outputs: Vec<Vec<u8>> = [1, 1, 2, 3, 4]
            .iter()
            .map(|&workers| {
                let out = tempfile::tempdir().unwrap();
                let options = Options {
                    config: config(text, workers),
                    inputs: inputs.clone(),
                    out: Some(out.path().to_owned()),
                    annotate: false,
                    expect: None,
                    seed: 7,
                };
                let outcome = replay::run(&options).unwrap();
                assert!(outcome.frames_out > 100, "{outcome:?}");
                fs::read(out.path().join(OUT_FILE)).unwrap()
            })
            .collect();
        assert!(outputs.iter().all(|output| *output == outputs[0]));
    }
}

/// More addresses than a port may have, which age while others come: who is known and who is not must not depend on how many
/// workers sweep their tables, or how often.
#[test]
fn full_tables_are_the_same_on_any_number_of_workers() {
    const TEXT: &str = r#"
fdb = { limit = 4096, limit_per_port = 20, ageing_ms = 64 }
pool = { hugepages = "never" }
[[blade]]
slot = 1
[[blade]]
slot = 2
[[blade]]
slot = 3
[[blade]]
slot = 4
"#;
    let folder = tempfile::tempdir().unwrap();
    let inputs: Vec<_> = (0..PORTS as u8)
        .map(|port| {
            let mut writer = CaptureWriter::new(Vec::new()).unwrap();
            writer.add_interface("in", None).unwrap();
            for n in 0..4000u64 {
                // After a pause longer than the ageing time come other addresses, while the table still holds the old.
                let (time, phase) = (n * 50_000 + n / 100 * 80_000_000 + u64::from(port) * 11_000, (n / 100) as u8);
                let station = |port: u8, n: u64| [2, 0, 0, phase, port, (n * 7 % 31) as u8];
                let mut frame = [station((port + 1 + (n % 3) as u8) % 4, n + 5), station(port, n)].concat();
                frame.resize(60, n as u8);
                writer.write_frame(0, time, &frame, 60, &FrameNotes::default()).unwrap();
            }
            let path = folder.path().join(format!("{port}.pcapng"));
            fs::write(&path, writer.finish().unwrap()).unwrap();
            (Some(PortId(port)), path)
        })
        .collect();
    let run = |workers| {
        let out = folder.path().join(format!("out-{workers}"));
        let options = Options {
            config: config(TEXT, workers),
            inputs: inputs.clone(),
            out: Some(out.clone()),
            annotate: false,
            expect: None,
            seed: 7,
        };
        let outcome = replay::run(&options).unwrap();
        assert!(outcome.frames_out > 16_000, "some are known, some are flooded: {}", outcome.frames_out);
        fs::read(out.join(OUT_FILE)).unwrap()
    };
    let one = run(1);
    for workers in [2, 4] {
        assert!(one == run(workers), "not the same on {workers} workers");
    }
}
