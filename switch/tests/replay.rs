//! `bladeswitch replay` as a program: streams, annotated captures, folders of cases.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use port::capture::{CaptureFile, CaptureWriter, Direction, FrameNotes};

fn bladeswitch(args: &[&str], stdin: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_bladeswitch"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut pipe, stdin) = (child.stdin.take().unwrap(), stdin.to_vec());
    // The program may stop reading, after an error.
    let writer = std::thread::spawn(move || drop(pipe.write_all(&stdin)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const THREE: &str = "pool = { hugepages = \"never\" }\n[[blade]]\nslot = 1\n[[blade]]\nslot = 2\n[[blade]]\nslot = 3\nvlan = 2\n";

/// Frames of 60 bytes: time, port, last octet of the destination and of the source.
fn capture(frames: &[(u64, u32, u8, u8)]) -> Vec<u8> {
    let mut writer = CaptureWriter::new(Vec::new()).unwrap();
    for name in ["blade1", "blade2", "blade3"] {
        writer.add_interface(name, None).unwrap();
    }
    for &(time, port, dst, src) in frames {
        let mut frame = vec![2, 0, 0, 0, 0, dst, 2, 0, 0, 0, 0, src, 0x90, 0];
        frame.resize(60, 0);
        writer.write_frame(port, time, &frame, 60, &FrameNotes::default()).unwrap();
    }
    writer.finish().unwrap()
}

fn config(dir: &tempfile::TempDir) -> String {
    let path = dir.path().join("switch.toml");
    std::fs::write(&path, THREE).unwrap();
    path.display().to_string()
}

/// Many frames, some at one time, some after long pauses.
fn traffic() -> Vec<u8> {
    let frame = |n: u64| (1_000_000 + n / 3 * 700 + n / 500 * 400_000_000_000, (n % 2) as u32, (n * 7 % 11) as u8, (n % 5) as u8 + 1);
    capture(&(0..4000).map(frame).collect::<Vec<_>>())
}

#[test]
fn a_stream_gives_the_bytes_of_a_file_annotated_or_not_on_any_number_of_workers() {
    let dir = tempfile::tempdir().unwrap();
    let (config, input) = (config(&dir), dir.path().join("in.pcapng"));
    std::fs::write(&input, traffic()).unwrap();
    for more in [&[][..], &["--annotate"]] {
        let file = dir.path().join("out.pcapng");
        let args = [&["replay", &config, "--in", input.to_str().unwrap(), "--out", file.to_str().unwrap()], more].concat();
        let output = bladeswitch(&args, b"");
        assert!(output.status.success(), "{}", said(&output));
        let expected = std::fs::read(&file).unwrap();
        for workers in ["1", "3"] {
            let output = bladeswitch(&[&["replay", &config, "--stream", "--workers", workers], more].concat(), &traffic());
            assert!(output.status.success(), "{}", said(&output));
            assert!(output.stdout == expected, "{workers} workers: {} and {} bytes", output.stdout.len(), expected.len());
        }
    }
}

#[test]
fn what_came_out_is_written_before_the_next_frame_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir);
    let mut child = Command::new(env!("CARGO_BIN_EXE_bladeswitch"))
        .args(["replay", &config, "--stream"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    // The first frame has left when the second comes in; the second stays within.
    input.write_all(&capture(&[(0, 0, 9, 1), (1_000_000, 0, 9, 1)])).unwrap();
    input.flush().unwrap();
    let mut stream = port::capture::CaptureStream::new(output, "stdout");
    let frame = stream.next_frame().unwrap().unwrap();
    assert_eq!((frame.interface, frame.time_ns, frame.bytes[11]), (1, 576, 1));
    drop(input);
    assert_eq!(stream.next_frame().unwrap().unwrap().time_ns, 1_000_576);
    assert!(stream.next_frame().is_none());
    assert!(child.wait().unwrap().success());
}

#[test]
fn an_annotated_capture_is_the_ledger_frame_by_frame() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir);
    // Flooded, answered, back to where it came from (hairpin), moved, and one that nobody else is there for.
    let frames = capture(&[(0, 0, 2, 1), (10_000, 1, 1, 2), (20_000, 1, 2, 3), (30_000, 1, 9, 1), (40_000, 2, 9, 4)]);
    let output = bladeswitch(&["replay", &config, "--stream", "--annotate", "--json"], &frames);
    assert!(output.status.success(), "{}", said(&output));
    let told: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    let file = CaptureFile::from_bytes("out", output.stdout.clone()).unwrap();
    let names: Vec<&str> = file.interfaces().iter().map(|interface| interface.name.as_str()).collect();
    assert_eq!(names, ["blade1", "blade2", "blade3", "drops"]);
    let frames: Vec<_> = file.frames().map(Result::unwrap).collect();
    let line = |frame: &port::capture::CapturedFrame<'_>| {
        let (notes, name) = (&frame.notes, names[frame.interface as usize]);
        let verdict = notes.verdict.as_deref().unwrap_or("-");
        format!(
            "{} {name} {:?} {:?} {verdict}: {}",
            frame.time_ns,
            notes.direction,
            notes.packet_id,
            notes.comment.as_deref().unwrap_or("")
        )
    };
    let lines: Vec<String> = frames.iter().map(line).collect();
    let wanted = [
        "0 blade1 Some(Inbound) Some(1) flood: packet 1 into blade1: flood in VLAN 1: the FDB does not know 02:00:00:00:00:02 in VLAN 1; \
         learned 02:00:00:00:00:01 in VLAN 1 behind blade1",
        "576 blade2 Some(Outbound) Some(1) -: packet 1 from blade1, 576 ns after it came in",
        "10000 blade2 Some(Inbound) Some(2) forward: packet 2 into blade2: forward: out of blade1 in VLAN 1; learned 02:00:00:00:00:02 in \
         VLAN 1 behind blade2",
        "10576 blade1 Some(Outbound) Some(2) -: packet 2 from blade2, 576 ns after it came in",
    ];
    assert_eq!(lines[..4], wanted, "{lines:#?}");
    assert!(lines[4].starts_with("20000 blade2 Some(Inbound) Some(3) drop:hairpin: packet 3 into blade2: drop: hairpin: "), "{lines:#?}");
    assert!(lines[5].starts_with("20000 drops None Some(3) drop:hairpin: drop: hairpin at blade2: "), "{lines:#?}");
    assert!(lines[6].contains("02:00:00:00:00:01 moved in VLAN 1 from blade1 to blade2"), "{lines:#?}");
    assert!(lines[9].contains("drops None Some(5) drop:no-member"), "{lines:#?}");
    let count = |direction| frames.iter().filter(|frame| frame.notes.direction == direction).count();
    let ledger = &told["ledger"];
    assert_eq!([Some(Direction::Inbound), Some(Direction::Outbound), None].map(count), [5, 3, 2]);
    assert_eq!([&ledger["rx"], &ledger["tx"], &ledger["dropped"]], [5, 3, 2]);

    // What went in can be taken out of it again, and gives the same.
    let again = bladeswitch(&["replay", &config, "--stream", "--annotate"], &output.stdout);
    assert!(again.stdout == output.stdout, "{}", said(&again));
    if Command::new("tshark").arg("--version").output().is_err() {
        return println!("skipped: no tshark (apt-get install tshark)");
    }
    let path = dir.path().join("annotated.pcapng");
    std::fs::write(&path, &output.stdout).unwrap();
    let fields = ["frame.interface_name", "frame.packet_id", "frame.comment"].map(|field| ["-e", field]).concat();
    let read = Command::new("tshark").arg("-r").arg(&path).args(["-T", "fields"]).args(fields).output().unwrap();
    let text = String::from_utf8_lossy(&read.stdout);
    assert!(read.status.success() && text.lines().count() == frames.len(), "{text}");
    assert!(text.lines().nth(5).unwrap().starts_with("drops\t3\tdrop: hairpin at blade2: "), "{text}");
    // tshark warns root about being root, and says nothing else.
    let complaints = said(&read).lines().filter(|line| !line.starts_with("Running as user")).count();
    assert_eq!(complaints, 0, "{}", said(&read));
}

/// A queue of four at 1 Gb/s, ten frames at once: six are refused, and shown as they would have left.
#[test]
fn frames_refused_by_a_full_queue_are_shown() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("switch.toml");
    std::fs::write(&path, "[[blade]]\nslot = 1\n[[blade]]\nslot = 2\nqueue = 4\n[[blade]]\nslot = 3\n").unwrap();
    let frames: Vec<_> = std::iter::once((0, 1, 1, 2)).chain((0..10).map(|n| (1000 + n, 0, 2, 1))).collect();
    let output = bladeswitch(&["replay", path.to_str().unwrap(), "--stream", "--annotate"], &capture(&frames));
    let file = CaptureFile::from_bytes("out", output.stdout).unwrap();
    let drops: Vec<_> = file.frames().map(Result::unwrap).filter(|frame| frame.interface == 3).collect();
    let ids: Vec<_> = drops.iter().map(|frame| frame.notes.packet_id.unwrap()).collect();
    assert_eq!(ids, [6, 7, 8, 9, 10, 11]);
    assert!(drops.iter().all(|frame| frame.notes.verdict.as_deref() == Some("drop:tx-full")));
    assert!(drops[0].notes.comment.as_ref().unwrap().contains("drop: tx-full at blade2: "), "{:?}", drops[0].notes.comment);
}

#[test]
fn what_cannot_be_replayed_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(&dir);
    let mut writer = CaptureWriter::new(Vec::new()).unwrap();
    writer.add_interface("eth0", None).unwrap();
    writer.write_frame(0, 0, &[0; 60], 60, &FrameNotes::default()).unwrap();
    let other = writer.finish().unwrap();
    let input = dir.path().join("other.pcapng");
    std::fs::write(&input, &other).unwrap();
    let input = input.to_str().unwrap();
    let wrong_name = "frames of interface 0, called \"eth0\": no port is called that: expected one of blade1, blade2, blade3";
    for (args, stdin, expected) in [
        (&["--stream"][..], &other[..], wrong_name),
        (&["--in", input, "--out", "/tmp/never.pcapng"], b"", wrong_name),
        (&["--stream"], b"not a capture", "stdin: at byte 0: magic number: expected that of a pcapng file"),
        (&["--stream"], &traffic()[..1001], "cut short"),
        (&[], b"", "nothing to replay: expected --in FILE"),
        (&["--in", input], b"", "nothing to do with what comes out: expected --out DIR"),
        (&["--stream", "--out", "x"], b"", "cannot be used with"),
    ] {
        let output = bladeswitch(&[&["replay", &config], args].concat(), stdin);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(said(&output).contains(expected), "{args:?}: {}", said(&output));
    }
    assert!(!Path::new("/tmp/never.pcapng").exists());
    let no_case = bladeswitch(&["replay", dir.path().to_str().unwrap()], b"");
    assert!(said(&no_case).contains("in.pcapng: No such file"), "{}", said(&no_case));
}
