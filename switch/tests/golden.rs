//! Golden captures: what was recorded from real programs goes in, and exactly the expected frames come out, at the expected times.
//!
//! A case is a folder of `pcaps/` with a `switch.toml`: `in.pcapng` goes in by the ports its interfaces are named after, and
//! `out.pcapng` and `counters.toml` are what `bladeswitch replay --annotate` makes of it.
//!
//! `in.pcapng` is made from the recording. One with several interfaces goes in by as many ports; one with a single interface, which
//! shows both directions of a link, goes in by the port of who sent each frame: host *n* (02:00:00:00:01:*n*) by port *n* - 1,
//! anybody else by port 0.
//!
//! `BLESS=1 cargo test -p bladeswitch --test golden` makes these files anew; read what changes before you commit it.
//! `traffic-gen check pcaps` says the same as this test, and explains what differs.

use std::fs;
use std::path::{Path, PathBuf};

use bladeswitch::replay::{self, CONFIG_FILE, COUNTERS_FILE, IN_FILE, OUT_FILE, Options, Outcome};
use control::config::Config;
use port::capture::{CaptureFile, CaptureWriter, Direction, FrameNotes};
use sha2::{Digest, Sha256};

struct Case {
    name: String,
    folder: PathBuf,
    config: Config,
}

fn cases() -> Vec<Case> {
    let pcaps = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pcaps");
    let mut cases = Vec::new();
    for entry in fs::read_dir(pcaps).unwrap() {
        let folder = entry.unwrap().path();
        let file = folder.join(CONFIG_FILE);
        if file.is_file() {
            let config = Config::load(&file).unwrap_or_else(|errors| panic!("{errors}"));
            let name = folder.file_name().unwrap().to_string_lossy().into_owned();
            cases.push(Case { name, folder, config });
        }
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases
}

impl Case {
    fn named(name: &str) -> Case {
        cases().into_iter().find(|case| case.name == name).expect("a case of this name")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The recording with each frame on the interface of the port it goes in by.
    fn entered(&self) -> Vec<u8> {
        let path = ["in.pcap", IN_FILE].map(|name| self.file(name)).into_iter().find(|path| path.is_file());
        let recording = CaptureFile::open(path.expect("a recording")).unwrap();
        let ports = &self.config.ports;
        let mut writer = CaptureWriter::new(Vec::new()).unwrap();
        for port in ports {
            writer.add_interface(&port.name, Some(port.speed.bits_per_second())).unwrap();
        }
        for frame in recording.frames() {
            let frame = frame.unwrap();
            let port = match (recording.interfaces().len(), &frame.bytes[6..12]) {
                (1, [2, 0, 0, 0, 1, host]) if (1..=ports.len()).contains(&usize::from(*host)) => u32::from(*host) - 1,
                (1, _) => 0,
                _ => frame.interface,
            };
            writer.write_frame(port, frame.time_ns, frame.bytes, frame.original_len, &FrameNotes::default()).unwrap();
        }
        writer.finish().unwrap()
    }

    fn replay(&self, workers: usize, out: Option<PathBuf>, expect: Option<PathBuf>) -> Outcome {
        let mut config = self.config.clone();
        config.switch.workers = workers;
        let options = Options { config, inputs: vec![(None, self.file(IN_FILE))], out, annotate: true, expect, seed: 1 };
        replay::run(&options).unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }
}

/// Are expected files to be made anew?
fn bless() -> bool {
    let bless = std::env::var_os("BLESS").is_some_and(|value| value != "0");
    assert!(!bless || std::env::var_os("CI").is_none(), "BLESS makes whatever comes out right: not where it is to be checked");
    bless
}

#[test]
fn what_comes_out_is_what_is_expected() {
    let cases = cases();
    assert!(cases.len() >= 9, "pcaps/ has {} cases", cases.len());
    for case in cases {
        if bless() {
            fs::write(case.file(IN_FILE), case.entered()).unwrap();
            case.replay(1, Some(case.folder.clone()), None);
        }
        assert!(case.entered() == fs::read(case.file(IN_FILE)).unwrap(), "{}: {IN_FILE} is not that of the recording", case.name);
        for workers in [1, 4] {
            let outcome = case.replay(workers, None, Some(case.folder.clone()));
            assert!(outcome.differences.is_empty(), "{} on {workers} workers:\n{}", case.name, outcome.differences.join("\n"));
            assert!(outcome.damaged.is_empty() && outcome.frames_in > 0, "{}: {outcome:?}", case.name);
        }
    }
}

/// All of the file, notes included, is the same a hundred times, whoever does the work.
#[test]
fn a_hundred_replays_have_one_sha_256() {
    let case = Case::named("vlan");
    let expected = Sha256::digest(fs::read(case.file(OUT_FILE)).unwrap());
    let folder = tempfile::tempdir().unwrap();
    for round in 0..100 {
        let out = folder.path().join("again.pcapng");
        case.replay([1, 4][round % 2], Some(out.clone()), None);
        assert_eq!(Sha256::digest(fs::read(&out).unwrap()), expected, "round {round}");
    }
}

/// Frames that come out of each port, by its number.
fn sent(case: &Case) -> Vec<(u32, Vec<u8>)> {
    let file = CaptureFile::open(case.file(OUT_FILE)).unwrap();
    let sent = file.frames().map(Result::unwrap).filter(|frame| frame.notes.direction == Some(Direction::Outbound));
    sent.map(|frame| (frame.interface, frame.bytes.to_vec())).collect()
}

/// The expected files say what the case is there to show.
#[test]
fn the_cases_show_what_they_should() {
    let out = |name: &str| {
        let case = Case::named(name);
        (sent(&case), fs::read_to_string(case.file(COUNTERS_FILE)).unwrap())
    };
    let (stp, counters) = out("stp");
    assert!(stp.is_empty() && counters.contains("link-local"), "{counters}");
    let (arp, _) = out("arp");
    // Replies for host 2 that leave by the port of who asked.
    assert!(arp.iter().any(|(port, bytes)| *port == 0 && bytes[12..14] == [8, 6] && bytes[21] == 2 && bytes[6..12] == [2, 0, 0, 0, 1, 2]));
    let (vlan, _) = out("vlan");
    let tagged = |port: u32| vlan.iter().filter(|(at, _)| *at == port).map(|(_, bytes)| bytes[12..14] == [0x81, 0]).collect::<Vec<_>>();
    assert!(tagged(0).iter().all(|tagged| *tagged) && tagged(0).len() > 20);
    assert!(!tagged(1).contains(&true) && tagged(1).len() > 20 && !tagged(2).contains(&true) && !tagged(2).is_empty());
    let (qinq, _) = out("qinq");
    assert!(qinq.iter().any(|(port, bytes)| *port == 2 && bytes[12..18] == [0x81, 0, 0x01, 0xf4, 0x88, 0xa8]), "a third tag in front");
    let (jumbo, _) = out("jumbo");
    assert!(jumbo.iter().any(|(_, bytes)| bytes.len() == 9014));
}

/// Writes the frames that come out of `case` to `folder`, without notes, with `edit` at work on each frame: its number, time and bytes.
fn edited(case: &Case, folder: &Path, edit: impl Fn(usize, &mut u64, &mut Vec<u8>) -> bool) {
    let expected = CaptureFile::open(case.file(OUT_FILE)).unwrap();
    let mut writer = CaptureWriter::new(Vec::new()).unwrap();
    for interface in expected.interfaces() {
        writer.add_interface(&interface.name, interface.speed_bps).unwrap();
    }
    let sent = expected.frames().map(Result::unwrap).filter(|frame| frame.notes.direction == Some(Direction::Outbound));
    for (number, frame) in sent.enumerate() {
        let (mut time, mut bytes) = (frame.time_ns, frame.bytes.to_vec());
        if edit(number, &mut time, &mut bytes) {
            writer.write_frame(frame.interface, time, &bytes, bytes.len() as u32, &FrameNotes::default()).unwrap();
        }
    }
    fs::write(folder.join(OUT_FILE), writer.finish().unwrap()).unwrap();
    fs::copy(case.file(COUNTERS_FILE), folder.join(COUNTERS_FILE)).unwrap();
}

/// The comparison can fail: one byte, one nanosecond, one frame, one count.
#[test]
fn every_difference_is_found() {
    let case = Case::named("ping");
    let folder = tempfile::tempdir().unwrap();
    let differences = || case.replay(1, None, Some(folder.path().to_owned())).differences;

    edited(&case, folder.path(), |_, _, _| true);
    assert_eq!(differences(), Vec::<String>::new(), "a copy does not differ");
    edited(&case, folder.path(), |number, _, bytes| {
        bytes[33] ^= u8::from(number == 4);
        true
    });
    let [difference] = &differences()[..] else { panic!("one difference") };
    assert!(difference.starts_with("frame 5 out of ") && difference.contains("differs from byte 33 on"), "{difference}");
    edited(&case, folder.path(), |number, time, _| {
        *time += u64::from(number == 4);
        true
    });
    let [difference] = &differences()[..] else { panic!("one difference") };
    assert!(difference.starts_with("frame 5 out of ") && difference.ends_with("came 1 ns early"), "{difference}");
    let last = sent(&case).len() - 1;
    edited(&case, folder.path(), |number, _, _| number != last);
    let [difference] = &differences()[..] else { panic!("one difference") };
    assert!(difference.contains("is too many"), "{difference}");
    edited(&case, folder.path(), |_, _, _| true);
    let counters = fs::read_to_string(folder.path().join(COUNTERS_FILE)).unwrap();
    let changed = counters.replacen("rx = 0", "rx = 1", 1);
    assert_ne!(changed, counters, "a port has received nothing");
    fs::write(folder.path().join(COUNTERS_FILE), changed).unwrap();
    let [difference] = &differences()[..] else { panic!("one difference") };
    assert!(difference.contains("rx: 0") && difference.contains("expected"), "{difference}");
}
