//! The cases of `pcaps/` through real interfaces: each place receives what a replay on the virtual clock sends there, tags and
//! answers of the switch included. What replays send is held by `switch/tests/golden.rs`.
//!
//! Frames go in one conversation's turn at a time: the next sender starts when the switch has what the last one sent, so that it
//! knows of each address what it knew in the replay.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use bladeswitch::lab::{Place, namespace};
use bladeswitch::replay::{self, CONFIG_FILE, IN_FILE, Options};
use control::config::Config;
use port::capture::CaptureFile;

use crate::site::{KINDS, Site, can, silence, until};

/// Long enough for every frame of `pcaps/`.
const MTU: u16 = 9000;
const BLADES: u16 = 3;

/// A program that sends each line of hexadecimal digits as a frame, at once.
struct Sender(Child);

impl Sender {
    fn at(site: &Site, place: Place) -> Sender {
        let script = "import socket, sys\n\
                      s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)\n\
                      s.bind(('eth0', 0))\n\
                      for line in sys.stdin: s.send(bytes.fromhex(line))";
        let mut command = namespace::exec(&site.chassis.name.namespace(place), "python3");
        Sender(command.args(["-u", "-c", script]).stdin(Stdio::piped()).spawn().unwrap())
    }

    fn send(&mut self, frame: &[u8]) {
        let line: String = frame.iter().map(|byte| format!("{byte:02x}")).chain(["\n".to_owned()]).collect();
        self.0.stdin.as_mut().unwrap().write_all(line.as_bytes()).unwrap();
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Case {
    name: String,
    /// Without `[switch]` and without the specs of its ports.
    config: String,
    /// Where each port is, by its number.
    places: Vec<Place>,
    /// What goes in: the port's number and the frame.
    sent: Vec<(usize, Vec<u8>)>,
    /// What comes out of each place, and how often.
    expected: BTreeMap<Place, BTreeMap<Vec<u8>, usize>>,
}

impl Case {
    fn load(folder: &Path) -> Case {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(folder.join(CONFIG_FILE)).unwrap();
        assert!(!text.contains("[switch]"), "{name}: the test gives it a [switch] of its own");
        // A slow line with a short queue loses frames on the virtual clock, and its loss is none of a real interface's. What control
        // learns and advertises in its own time would be in the one or not in the other.
        let mut config: String =
            text.lines().filter(|line| !line.starts_with("speed") && !line.starts_with("queue")).map(|line| format!("{line}\n")).collect();
        if !config.contains("[identity]") {
            config += "[identity]\nadvertise = false\nlearn = false\n";
        }
        let parsed = Config::parse(&config, &name).unwrap();
        let numbers = |port: &str| parsed.ports.iter().position(|known| known.name == port).unwrap();
        let places: Vec<Place> = parsed.ports.iter().map(|port| port.name.parse().unwrap_or(Place::Uplink)).collect();
        let frames = |path: PathBuf| {
            let file = CaptureFile::open(path).unwrap();
            let port: Vec<usize> = file.interfaces().iter().map(|interface| numbers(&interface.name)).collect();
            let frames: Vec<_> =
                file.frames().map(Result::unwrap).map(|frame| (port[frame.interface as usize], frame.bytes.to_vec())).collect();
            frames
        };
        let out = tempfile::tempdir().unwrap();
        let inputs = vec![(None, folder.join(IN_FILE))];
        let options = Options { config: parsed.clone(), inputs, out: Some(out.path().to_owned()), annotate: false, expect: None, seed: 1 };
        replay::run(&options).unwrap();
        let mut expected: BTreeMap<Place, BTreeMap<Vec<u8>, usize>> = places.iter().map(|&place| (place, BTreeMap::new())).collect();
        for (port, frame) in frames(out.path().join(replay::OUT_FILE)) {
            *expected.get_mut(&places[port]).unwrap().entry(frame).or_default() += 1;
        }
        Case { sent: frames(folder.join(IN_FILE)), name, config, places, expected }
    }

    /// The configuration with interfaces for ports.
    fn config(&self, site: &Site) -> String {
        let mut text = format!("[switch]\napi = \"{}\"\n", site.chassis.name.socket().display());
        let mut ports = self.places.iter().enumerate();
        for line in self.config.lines() {
            text += &format!("{line}\n");
            if line == "[[blade]]" || line == "[[uplink]]" {
                let (index, place) = ports.next().unwrap();
                let kinds = &site.chassis.kinds;
                let (kind, options) = kinds[index % kinds.len()].split_once(',').unwrap_or((&kinds[index % kinds.len()], ""));
                let comma = if options.is_empty() { "" } else { "," };
                text += &format!("port = \"{kind}:{place}{comma}{options}\"\n");
            }
        }
        text
    }
}

fn cases() -> Vec<Case> {
    let pcaps = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pcaps");
    let mut folders: Vec<PathBuf> = fs::read_dir(pcaps).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    folders.iter().filter(|folder| folder.join(CONFIG_FILE).is_file()).map(|folder| Case::load(folder)).collect()
}

fn count(frames: &[Vec<u8>]) -> BTreeMap<Vec<u8>, usize> {
    frames.iter().fold(BTreeMap::new(), |mut counts, frame| {
        *counts.entry(frame.clone()).or_default() += 1;
        counts
    })
}

#[test]
fn real_interfaces_send_what_a_replay_says() {
    if !can(&["tcpdump", "python3"]) {
        return;
    }
    let cases = cases();
    assert!(cases.len() >= 9, "pcaps/ has {} cases", cases.len());
    let expected: usize = cases.iter().flat_map(|case| case.expected.values()).flat_map(BTreeMap::values).sum();
    assert!(expected > 300, "{expected} frames come out of all cases");
    for kinds in KINDS {
        let mut site = Site::bare(kinds, BLADES, MTU);
        silence(&site);
        let all: Vec<Place> = site.chassis.ends().collect();
        let file = |place: Place| format!("{place}.pcap");
        let _recordings: Vec<_> = all.iter().map(|&place| site.record(place, &file(place))).collect();
        let mut senders: BTreeMap<Place, Sender> = all.iter().map(|&place| (place, Sender::at(&site, place))).collect();
        let mut before: BTreeMap<Place, usize> = all.iter().map(|&place| (place, 0)).collect();
        for case in &cases {
            let config = case.config(&site);
            site.start(&config);
            let mut received = vec![0; case.places.len()];
            for turn in case.sent.chunk_by(|a, b| a.0 == b.0) {
                let port = turn[0].0;
                turn.iter().for_each(|(_, frame)| senders.get_mut(&case.places[port]).unwrap().send(frame));
                received[port] += turn.len() as u64;
                until(&format!("{kinds:?}: {}: the switch has {received:?} frames", case.name), || {
                    site.show("ports").is_some_and(|ports| ports["ports"][port]["rx_frames"] == received[port])
                });
            }
            for (place, expected) in &case.expected {
                let total: usize = expected.values().sum();
                let captured = || site.captured(&file(*place)).split_off(before[place]);
                until(&format!("{kinds:?}: {}: {total} frames come out at {place}", case.name), || captured().len() >= total);
                let received = count(&captured());
                for frame in expected.keys().chain(received.keys()) {
                    let [theirs, ours] = [expected, &received].map(|frames| frames.get(frame).copied().unwrap_or_default());
                    assert_eq!(
                        ours, theirs,
                        "{kinds:?}: {}: {place} gets this frame {ours} times, in the replay {theirs} times: {frame:02x?}",
                        case.name
                    );
                }
                *before.get_mut(place).unwrap() += total;
            }
            // What comes late after all would be too much in the next case.
            site.stop();
        }
    }
}
