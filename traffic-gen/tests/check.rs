//! `traffic-gen check` as a program, against the switch as a program: every kind of difference is found and told in words, and every
//! kind of mistake gets a sentence.
//!
//! The switch is the one beside `traffic-gen`; `cargo test --workspace` builds it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use port::capture::{CaptureFile, CaptureWriter, Direction, FrameNotes};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_traffic-gen");

/// Is there a switch? Without one there is nothing to check.
fn has_switch() -> bool {
    let switch = Path::new(PROGRAM).with_file_name("bladeswitch");
    if !switch.is_file() {
        println!("skipped: no bladeswitch beside traffic-gen (cargo build -p bladeswitch)");
    }
    switch.is_file()
}

fn check(args: &[&str]) -> Output {
    Command::new(PROGRAM).arg("check").args(args).env_remove("CI").output().unwrap()
}

fn told(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned())
}

/// A copy of a case of `pcaps/`.
fn case(name: &str) -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../pcaps").join(name)).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    let path = folder.path().display().to_string();
    (folder, path)
}

/// A frame that came out, as it is in a capture.
#[derive(Clone)]
struct Sent {
    interface: u32,
    time_ns: u64,
    bytes: Vec<u8>,
    notes: FrameNotes<'static>,
}

/// Rewrites what a case expects: `edit` gets the frames that come out.
fn expect(folder: &str, edit: impl FnOnce(&mut Vec<Sent>)) {
    let path = PathBuf::from(folder).join("out.pcapng");
    let file = CaptureFile::open(&path).unwrap();
    let (mut came_out, mut rest) = (Vec::new(), Vec::new());
    for frame in file.frames().map(Result::unwrap) {
        let notes = FrameNotes {
            direction: frame.notes.direction,
            comment: frame.notes.comment.map(|text| text.into_owned().into()),
            packet_id: frame.notes.packet_id,
            verdict: frame.notes.verdict.map(|text| text.into_owned().into()),
        };
        let is_sent = notes.direction == Some(Direction::Outbound);
        let frame = Sent { interface: frame.interface, time_ns: frame.time_ns, bytes: frame.bytes.to_vec(), notes };
        if is_sent { came_out.push(frame) } else { rest.push(frame) }
    }
    edit(&mut came_out);
    let mut writer = CaptureWriter::new(Vec::new()).unwrap();
    for interface in file.interfaces() {
        writer.add_interface(&interface.name, interface.speed_bps).unwrap();
    }
    for frame in rest.iter().chain(&came_out) {
        writer.write_frame(frame.interface, frame.time_ns, &frame.bytes, frame.bytes.len() as u32, &frame.notes).unwrap();
    }
    fs::write(path, writer.finish().unwrap()).unwrap();
}

/// The index of a frame of IPv4 that came out of interface 1, the `n`th.
fn ipv4(sent: &[Sent], n: usize) -> usize {
    let is_it = |(_, frame): &(usize, &Sent)| frame.interface == 1 && frame.bytes[12..14] == [8, 0];
    sent.iter().enumerate().filter(is_it).nth(n).unwrap().0
}

#[test]
fn one_changed_byte_is_found_and_explained() {
    if !has_switch() {
        return;
    }
    let (_dir, folder) = case("ping");
    assert_eq!(told(&check(&[&folder])).0, Some(0));
    expect(&folder, |sent| {
        let at = ipv4(sent, 2);
        sent[at].bytes[33] ^= 1; // The last octet of the destination.
    });
    let (code, text) = told(&check(&[&folder]));
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("out of blade2 at 0."), "{text}");
    assert!(text.contains("one byte differs, at offset 33: ipv4.dst is 198.18.0.2, expected 198.18.0.3"), "{text}");
    assert!(text.contains("\n   ≠ ipv4.dst       198.18.0.3 ") && text.contains("\n     ipv4.src       198.18.0.1 "), "{text}");
    assert_eq!(text.matches('≠').count(), 1, "{text}");
    assert!(text.contains("the switch says: packet") && text.contains("into blade1: forward: out of blade2"), "{text}");

    // The diff shows both, with what is wrong, also to others.
    let diff = PathBuf::from(&folder).join("diff.pcapng");
    let file = CaptureFile::open(&diff).unwrap();
    let names: Vec<&str> = file.interfaces().iter().map(|interface| interface.name.as_str()).collect();
    assert_eq!(names, ["blade2 expected", "blade2 got"]);
    assert_eq!(file.frame_count(), 2);
    match Command::new("tshark").arg("-r").arg(&diff).args(["-T", "fields", "-e", "frame.interface_name", "-e", "frame.comment"]).output() {
        Err(_) => println!("skipped: no tshark (apt-get install tshark)"),
        Ok(read) => {
            let lines = String::from_utf8_lossy(&read.stdout).into_owned();
            assert!(read.status.success() && lines.lines().count() == 2, "{lines}");
            assert!(lines.contains("blade2 got\tgot: packet ") && lines.contains("ipv4.dst is 198.18.0.2, expected 198.18.0.3"), "{lines}");
        }
    }
    // What does not matter is no difference, and no old diff stays.
    fs::write(PathBuf::from(&folder).join("masks.toml"), "[[mask]]\nfield = \"ipv4.dst\"\n").unwrap();
    assert_eq!(told(&check(&[&folder])).0, Some(0));
    assert!(!diff.exists());
}

#[test]
fn missing_extra_moved_reordered_and_late_frames_are_told_apart() {
    if !has_switch() {
        return;
    }
    type Edit = fn(&mut Vec<Sent>);
    let edits: [(Edit, &[&str]); 5] = [
        (
            |sent| {
                let mut more = sent[ipv4(sent, 1)].clone();
                more.notes.packet_id = Some(3);
                more.bytes[40] ^= 0xff;
                sent.push(more);
            },
            &["1 missing", "is missing: it was to come out of blade2 at 0.", "198.18.0.1 → 198.18.0.2"],
        ),
        (|sent| drop(sent.remove(ipv4(sent, 1))), &["1 extra", "is too many: it came out of blade2 at 0."]),
        (
            |sent| {
                let at = ipv4(sent, 1);
                sent[at].interface = 2;
            },
            &[
                "1 wrong-port",
                "came out of blade2 instead of blade3",
                "the table: packet",
                "learned 02:00:00:00:01:02 in VLAN 1 behind blade2",
            ],
        ),
        (
            |sent| {
                let (a, b) = (ipv4(sent, 1), ipv4(sent, 2));
                let time = sent[b].time_ns;
                sent[a].time_ns = time + 1;
                sent[a..=b].rotate_left(1);
            },
            &["1 reordered", "came out of blade2 in another order, 1 frame "],
        ),
        (
            |sent| {
                let at = ipv4(sent, 1);
                sent[at].time_ns -= 1_234;
            },
            &["1 time", "came out of blade2 1,234 ns late, at 0."],
        ),
    ];
    for (edit, words) in edits {
        let (_dir, folder) = case("ping");
        expect(&folder, edit);
        let (code, text) = told(&check(&[&folder]));
        assert_eq!(code, Some(1), "{text}");
        for word in words {
            assert!(text.contains(word), "{word}: {text}");
        }
    }
    // Later is no difference where only the order matters, and another order none where that does not matter.
    let (_dir, folder) = case("ping");
    expect(&folder, |sent| sent.iter_mut().for_each(|frame| frame.time_ns += 5));
    assert_eq!([&[&folder, "--compare", "order"][..], &[&folder]].map(|args| told(&check(args)).0), [Some(0), Some(1)]);
    expect(&folder, |sent| sent.reverse());
    assert_eq!(["order", "multiset"].map(|level| told(&check(&[&folder, "--compare", level])).0), [Some(1), Some(0)]);
}

#[test]
fn blessing_shows_accepts_and_is_refused_in_ci() {
    if !has_switch() {
        return;
    }
    let (_dir, folder) = case("ping");
    let right = fs::read(PathBuf::from(&folder).join("out.pcapng")).unwrap();
    expect(&folder, |sent| drop(sent.remove(3)));
    let wrong = fs::read(PathBuf::from(&folder).join("out.pcapng")).unwrap();
    let refused = Command::new(PROGRAM).args(["check", "--bless", &folder]).env("CI", "1").output().unwrap();
    let (code, text) = told(&refused);
    assert!(code == Some(2) && text.contains("--bless makes whatever comes out right"), "{text}");
    assert!(fs::read(PathBuf::from(&folder).join("out.pcapng")).unwrap() == wrong, "nothing was accepted");
    let (code, text) = told(&check(&["--bless", &folder]));
    assert!(code == Some(0) && text.contains("1 extra") && text.contains("is too many"), "the difference is shown: {text}");
    assert!(fs::read(PathBuf::from(&folder).join("out.pcapng")).unwrap() == right);
}

/// Of a thousand frames one came out other than expected: it alone is left. (It is flooded, so that nobody had to be learned before.)
#[test]
fn the_one_frame_that_fails_is_found_among_a_thousand() {
    if !has_switch() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().display().to_string();
    fs::write(dir.path().join("switch.toml"), "[[blade]]\nslot = 1\n[[blade]]\nslot = 2\n").unwrap();
    let mut writer = CaptureWriter::new(Vec::new()).unwrap();
    for name in ["blade1", "blade2"] {
        writer.add_interface(name, None).unwrap();
    }
    for n in 0..1000u64 {
        let mut frame = vec![0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, n as u8 % 7, 0x90, 0, (n >> 8) as u8, n as u8];
        frame.resize(60, 0);
        writer.write_frame((n % 2) as u32, n * 2000, &frame, 60, &FrameNotes::default()).unwrap();
    }
    fs::write(dir.path().join("in.pcapng"), writer.finish().unwrap()).unwrap();
    assert_eq!(told(&check(&["--bless", &folder])).0, Some(0));
    expect(&folder, |sent| {
        let culprit = sent.iter_mut().find(|frame| frame.notes.packet_id == Some(637)).unwrap();
        culprit.bytes[50] = 1;
    });
    let output = check(&["--minimise", "--json", &folder]);
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let minimal = &told[0]["minimal"];
    assert_eq!((&minimal["frames"], &minimal["of_frames"], &minimal["complete"]), (&serde_json::json!([637]), &1000.into(), &true.into()));
    assert!(minimal["trials"].as_u64().is_some_and(|trials| trials < 100), "{minimal}");
    let file = CaptureFile::open(dir.path().join("minimal.pcapng")).unwrap();
    let left: Vec<Vec<u8>> = file.frames().map(|frame| frame.unwrap().bytes[14..16].to_vec()).collect();
    assert_eq!(left, [vec![2, 124]], "the 637th is number 636 from 0");
}

/// What is recorded is a case: accepted once, it passes, on one worker and on several; and what goes in is what was there.
#[test]
fn what_is_recorded_is_a_case_that_passes() {
    if !has_switch() {
        return;
    }
    let (_dir, ping) = case("ping");
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    // What came in by each port, as a capture of its own.
    let input = CaptureFile::open(PathBuf::from(&ping).join("in.pcapng")).unwrap();
    let (record, config) = (path("recorded"), PathBuf::from(&ping).join("switch.toml").display().to_string());
    let mut args = vec!["record".to_owned(), "--out".to_owned(), record.clone(), "--config".to_owned(), config];
    for (index, interface) in input.interfaces().iter().enumerate() {
        let file = path(&format!("{index}.pcapng"));
        let mut writer = CaptureWriter::new(Vec::new()).unwrap();
        writer.add_interface(&interface.name, None).unwrap();
        // One clock for all of them: a frame at time 0 that no port forwards (IEEE 802.1Q, table 8-1).
        let mut mark = vec![1, 0x80, 0xc2, 0, 0, 0x0f, 2, 0, 0, 0, 9, index as u8, 0x90, 0];
        mark.resize(60, 0);
        let first = input.frames().map(Result::unwrap).map(|frame| frame.time_ns).min().unwrap();
        writer.write_frame(0, first, &mark, 60, &FrameNotes::default()).unwrap();
        for frame in input.frames().map(Result::unwrap).filter(|frame| frame.interface as usize == index) {
            writer.write_frame(0, frame.time_ns + 1_000, frame.bytes, frame.original_len, &FrameNotes::default()).unwrap();
        }
        fs::write(&file, writer.finish().unwrap()).unwrap();
        args.extend(["--port".to_owned(), format!("{}=pcap:{file}", interface.name)]);
    }
    let recorded = Command::new(PROGRAM).args(&args).output().unwrap();
    let (code, text) = told(&recorded);
    assert!(code == Some(0) && text.contains("stopped by the end of the captures") && text.contains("check --bless"), "{text}");
    let (code, text) = told(&check(&[&record]));
    assert!(code == Some(2) && text.contains("there is no out.pcapng"), "nothing is expected yet: {text}");
    assert_eq!(told(&check(&["--bless", &record])).0, Some(0));
    for workers in ["1", "2"] {
        let (code, text) = told(&check(&["--workers", workers, &record]));
        assert!(code == Some(0) && text.contains("ok: recorded"), "{text}");
    }
    let file = CaptureFile::open(PathBuf::from(&record).join("in.pcapng")).unwrap();
    let names = |file: &CaptureFile| file.interfaces().iter().map(|interface| interface.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&file), names(&input));
    let frames = |file: &CaptureFile| {
        let mut frames: Vec<(u32, Vec<u8>)> =
            file.frames().map(Result::unwrap).map(|frame| (frame.interface, frame.bytes.to_vec())).collect();
        frames.retain(|(_, bytes)| bytes[0] != 1);
        frames.sort();
        frames
    };
    assert_eq!(frames(&file), frames(&input));
}

/// A hundred times the same, also with other hashes and on several workers.
#[test]
fn a_hundred_replays_are_one() {
    if !has_switch() {
        return;
    }
    let (_dir, folder) = case("three-ports");
    let expected = fs::read(PathBuf::from(&folder).join("out.pcapng")).unwrap();
    let out = PathBuf::from(&folder).join("again.pcapng");
    for n in 0..100 {
        let replayed = Command::new(Path::new(PROGRAM).with_file_name("bladeswitch"))
            .args(["replay", &folder, "--annotate", "--out"])
            .arg(&out)
            .args(["--seed", &n.to_string(), "--workers", &(1 + n % 4).to_string()])
            .output()
            .unwrap();
        assert!(replayed.status.success(), "{}", String::from_utf8_lossy(&replayed.stderr));
        assert!(fs::read(&out).unwrap() == expected, "replay {n} is another");
    }
}

#[test]
fn machines_are_told_as_well() {
    if !has_switch() {
        return;
    }
    let (_dir, folder) = case("ping");
    expect(&folder, |sent| drop(sent.remove(3)));
    let junit = PathBuf::from(&folder).join("junit.xml");
    let output = check(&[&folder, "--json", "--junit", junit.to_str().unwrap()]);
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &told[0]["passed"], &told[0]["differences"]["counts"]["extra"]), (Some(1), &false.into(), &1.into()));
    assert_eq!(told[0]["explanations"][0]["kind"], "extra");
    let xml = fs::read_to_string(junit).unwrap();
    assert!(xml.contains("<testsuite name=\"traffic-gen check\" tests=\"1\" failures=\"1\" errors=\"0\""), "{xml}");
    assert!(xml.contains("<failure message=\"") && xml.contains("is too many") && xml.ends_with("</testsuite>\n"), "{xml}");
}

#[test]
fn what_cannot_be_checked_gets_a_sentence() {
    let (_dir, folder) = case("ping");
    let refused = |args: &[&str], expected: &str| {
        let (code, text) = told(&check(args));
        assert!(code == Some(2) && text.contains(expected), "{args:?}: {code:?}: {text}");
    };
    refused(&["--switch", "/nowhere/bladeswitch", &folder], "/nowhere/bladeswitch: there is no such program");
    refused(&["--switch", "/bin/false", &folder], "the switch failed (exit status: 1)");
    if !has_switch() {
        return;
    }
    refused(&["/nowhere"], "/nowhere: not a case: expected a folder with switch.toml");
    refused(&["/proc/self/fd"], "no case: expected a folder with switch.toml");
    let file = |name: &str| PathBuf::from(&folder).join(name);
    fs::write(file("masks.toml"), "[[mask]]\nfield = \"ipv4.color\"\n").unwrap();
    refused(&[&folder], "masks.toml: mask 1: there is no field \"ipv4.color\": expected one of eth.dst");
    fs::write(file("masks.toml"), "[[mask]]\nlen = 3\n").unwrap();
    refused(&[&folder], "mask 1: expected either `field`, or `offset` and perhaps `len`");
    fs::remove_file(file("masks.toml")).unwrap();
    let whole = fs::read(file("out.pcapng")).unwrap();
    fs::write(file("out.pcapng"), &whole[..whole.len() - 100]).unwrap();
    refused(&[&folder], "out.pcapng: at byte ");
    fs::remove_file(file("out.pcapng")).unwrap();
    refused(&[&folder], "there is no out.pcapng: `traffic-gen check --bless` makes it");
    fs::write(file("switch.toml"), "[[blad]]\n").unwrap();
    fs::write(file("out.pcapng"), whole).unwrap();
    refused(&[&folder], "the switch failed (exit status: 2)");
    fs::remove_file(file("in.pcapng")).unwrap();
    refused(&[&folder], "not a case: there is no in.pcapng");
}
