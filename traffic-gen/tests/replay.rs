//! The program as a person starts it: `replay` and `send`, right and wrong inputs, read back and judged by tshark.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use port::capture::{CaptureFile, CaptureWriter, FrameNotes};

fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_traffic-gen")).args(args).output().unwrap()
}

/// Runs, expects this exit code; stdout and stderr.
fn expect(code: i32, args: &[&str]) -> (String, String) {
    let Output { status, stdout, stderr } = run(args);
    let (stdout, stderr) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
    assert_eq!(status.code(), Some(code), "{args:?}\n{stdout}\n{stderr}");
    (stdout, stderr)
}

fn pcaps() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../pcaps")
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Time, interface, bytes of every frame.
fn frames(path: &Path) -> Vec<(u64, u32, Vec<u8>)> {
    let file = CaptureFile::open(path).unwrap();
    let frames: Vec<_> = file.frames().map(|frame| frame.map(|f| (f.time_ns, f.interface, f.bytes.to_vec())).unwrap()).collect();
    frames
}

/// A pcap file of one frame of the given bytes and kept length, in either byte order and resolution.
fn pcap(big: bool, nanos: bool, link: u32, frames: &[(u32, u32, usize, u32)]) -> Vec<u8> {
    let word = |value: u32| if big { value.to_be_bytes() } else { value.to_le_bytes() };
    let half = |value: u16| if big { value.to_be_bytes() } else { value.to_le_bytes() };
    let mut bytes = word(if nanos { 0xa1b2_3c4d } else { 0xa1b2_c3d4 }).to_vec();
    bytes.extend(half(2));
    bytes.extend(half(4));
    for value in [0, 0, 262_144, link] {
        bytes.extend(word(value));
    }
    for &(seconds, part, kept, original) in frames {
        for value in [seconds, part, kept as u32, original] {
            bytes.extend(word(value));
        }
        bytes.extend(vec![0x42; kept]);
    }
    bytes
}

#[test]
fn original_timing_to_the_nanosecond_and_files_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let (input, out) = (pcaps().join("http/in.pcap"), dir.path().join("out.pcapng"));
    let bytes = fs::read(&input).unwrap();
    let (gz, zst) = (dir.path().join("in.gz"), dir.path().join("in.zst"));
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&bytes).unwrap();
    fs::write(&gz, encoder.finish().unwrap()).unwrap();
    fs::write(&zst, ruzstd::encoding::compress_to_vec(&bytes[..], ruzstd::encoding::CompressionLevel::Fastest)).unwrap();
    let original = frames(&input);
    for file in [&input, &gz, &zst] {
        let (stdout, _) = expect(0, &["replay", text(file), "-w", text(&out)]);
        assert!(stdout.contains("Actual: 103 packets") && stdout.contains("The run is valid."), "{stdout}");
        let sent = frames(&out);
        assert_eq!(sent.len(), original.len());
        for ((time, _, bytes), (then, _, was)) in sent.iter().zip(&original) {
            // Frames that follow more closely than 10 Gb/s carries wait for the line.
            assert!((*time as i128 - (then - original[0].0) as i128).unsigned_abs() < 2_000, "{time} {then}");
            assert_eq!(bytes[..was.len()], was[..]);
        }
    }
    for (name, cut) in [("cut.gz", &gz), ("cut.zst", &zst)] {
        let (bytes, cut) = (fs::read(cut).unwrap(), dir.path().join(name));
        fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
        let (_, stderr) = expect(2, &["replay", text(&cut), "-w", text(&out)]);
        assert!(stderr.contains(name) && stderr.lines().count() == 1, "{stderr}");
    }
}

#[test]
fn every_byte_order_and_resolution() {
    let dir = tempfile::tempdir().unwrap();
    let (input, out) = (dir.path().join("in.pcap"), dir.path().join("out.pcapng"));
    for (big, nanos) in [(false, false), (false, true), (true, false), (true, true)] {
        // The second is snapped, the third longer than any frame, the fourth ten years later.
        let content = [(1, 999_999, 60, 60), (2, 1, 100, 1500), (2, 2, 80_066, 80_066), (315_360_002, 2, 60, 60)];
        fs::write(&input, pcap(big, nanos, 1, &content)).unwrap();
        let (stdout, _) = expect(0, &["replay", text(&input), "-w", text(&out), "--json"]);
        let unit = if nanos { 1 } else { 1_000 };
        let second = 1_000_000_000 - 999_999 * unit + unit;
        let sent: Vec<_> = frames(&out).into_iter().map(|(time, _, bytes)| (time, bytes.len())).collect();
        assert_eq!(sent, [(0, 60), (second, 100), (second + unit + 315_360_000_000_000_000, 60)]);
        assert!(stdout.contains("\"oversize\": 1") && stdout.contains("\"truncated\": 1"), "{stdout}");
        expect(0, &["replay", text(&input), "-w", text(&out), "--fixlen", "pad", "--max-gap", "5ms"]);
        let sent: Vec<_> = frames(&out).into_iter().map(|(time, _, bytes)| (time, bytes.len())).collect();
        let gap = second.min(5_000_000);
        assert_eq!(sent, [(0, 60), (gap, 1500), (gap + 5_000_000, 60)]);
    }
    fs::write(&input, pcap(false, false, 113, &[(0, 0, 60, 60)])).unwrap();
    let (_, stderr) = expect(2, &["replay", text(&input), "-w", text(&out)]);
    assert!(stderr.contains("link type LINUX_SLL (113)"), "{stderr}");
    // Damaged in the second record: what came before is sent, and it is said.
    let mut bytes = pcap(false, false, 1, &[(0, 0, 60, 60), (1, 0, 60, 60)]);
    bytes.truncate(bytes.len() - 1);
    fs::write(&input, bytes).unwrap();
    let (stdout, stderr) = expect(2, &["replay", text(&input), "-w", text(&out)]);
    assert!(stdout.contains("Actual: 1 packets") && stderr.contains("cut short"), "{stdout}{stderr}");
}

#[test]
fn interfaces_files_and_caches_become_ports() {
    let dir = tempfile::tempdir().unwrap();
    // The folder of a case is what goes into its switch.
    let (folder, case) = (pcaps().join("three-ports"), dir.path().join("case.pcapng"));
    expect(0, &["replay", text(&folder), "-w", text(&case)]);
    assert_eq!(frames(&case).len(), frames(&folder.join("in.pcapng")).len());
    let (_, stderr) = expect(2, &["replay", text(dir.path()), "-w", "/dev/null"]);
    assert!(stderr.contains("a folder without in.pcapng or in.pcap"), "{stderr}");
    let out = dir.path().join("out.pcapng");
    let ports = |args: &[&str]| {
        let all = [&["replay", "-w", text(&out)], args].concat();
        expect(0, &all);
        frames(&out).into_iter().map(|(_, interface, _)| interface).collect::<Vec<_>>()
    };
    let three = pcaps().join("three-ports/in.pcapng");
    let interfaces: Vec<_> = frames(&three).into_iter().map(|(_, interface, _)| interface).collect();
    assert_eq!(ports(&[text(&three)]), interfaces);
    let http = pcaps().join("http/in.pcap");
    let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/http.cache");
    // As `tcpprep -I` prints them: secondary, secondary, primary …
    let split = ports(&[text(&http), "-c", text(&cache)]);
    assert_eq!(split[..8], [1, 1, 0, 1, 0, 0, 1, 1]);
    let both = ports(&[text(&http), text(&http)]);
    assert_eq!((both.len(), &both[..4]), (206, &[0, 1, 0, 1][..]), "merged on one clock");
    assert_eq!(ports(&[text(&http), text(&http), "--ports-written", "1", "--include", "1-2"]), [0; 4]);
    let (_, stderr) = expect(2, &["replay", text(&http), "-i", "null:", "-i", "null:"]);
    assert!(stderr.contains("2 ports for 1 file(s) with 1 interface(s)") && stderr.contains("--split"), "{stderr}");
}

/// The switch as the device, on the virtual clock: every frame is accounted for, and so is one that it loses.
#[test]
fn through_the_switch_without_ports() {
    if !Path::new(env!("CARGO_BIN_EXE_traffic-gen")).with_file_name("bladeswitch").is_file() {
        println!("skipped: no bladeswitch beside traffic-gen (cargo build -p bladeswitch)");
        return;
    }
    let case = pcaps().join("three-ports");
    let dut = format!("switch:{}", text(&case));
    let told = |args: &[&str]| -> (String, serde_json::Value) {
        let (stdout, _) = expect(0, &[&["replay", text(&case), "--json", "--dut"], args].concat());
        let value = serde_json::from_str(&stdout).unwrap();
        (stdout, value)
    };
    let (first, value) = told(&[&dut]);
    let sum = |value: &serde_json::Value, name: &str| {
        let ports = value["ports"].as_array().unwrap();
        ports.iter().map(|port| port["account"][name].as_u64().unwrap()).sum::<u64>()
    };
    assert_eq!((value["packets"].as_u64(), value["clock"].as_str()), (Some(frames(&case.join("in.pcapng")).len() as u64), Some("virtual")));
    assert!(sum(&value, "due") > 40, "{value}");
    for name in ["lost", "duplicates", "reordered", "elsewhere", "corrupted", "reflected"] {
        assert_eq!(sum(&value, name), 0, "{name}: {value}");
    }
    assert_eq!(told(&[&dut]).0, first, "the same every time");
    // A switch that takes tags off and puts them on: to whom tags are part of a frame, all of these are lost.
    let vlan = pcaps().join("vlan");
    let through = |more: &[&str]| -> serde_json::Value {
        let dut = format!("switch:{}", text(&vlan));
        let (stdout, _) = expect(0, &[&["replay", text(&vlan), "--json", "--dut", &dut], more].concat());
        serde_json::from_str(&stdout).unwrap()
    };
    let (exact, blind) = (through(&[]), through(&["--ignore-tags"]));
    assert_eq!((sum(&exact, "due"), sum(&exact, "lost"), sum(&blind, "due"), sum(&blind, "lost")), (71, 34, 71, 0), "{blind}");
    // A hub that sends everything back where it came from: of frames to known stations, all are lost, and all are reflected.
    let names: Vec<String> =
        value["ports"].as_array().unwrap().iter().map(|port| format!("{}=1G", port["port"].as_str().unwrap())).collect();
    let (_, echoed) = told(&[&format!("exec:[{}]cat", names.join(","))]);
    assert_eq!((sum(&echoed, "lost"), sum(&echoed, "due")), (sum(&value, "due"), sum(&value, "due")));
    assert_eq!(sum(&echoed, "reflected"), echoed["packets"].as_u64().unwrap());
    for (dut, says) in [
        ("model:ideal", "expected switch:CONFIG.toml, switch:CASE or exec:COMMAND"),
        ("exec:[p1=1G,p2=1G]cat", "2 ports for 1 file(s)"),
        ("exec:[blade1=1G,blade2=1G,blade3=1G]exit 3", "exit status: 3"),
    ] {
        let (_, stderr) = expect(2, &["replay", text(&case), "--dut", dut]);
        assert!(stderr.contains(says) && stderr.lines().count() == 1, "{dut}: {stderr}");
    }
}

#[test]
fn wrong_inputs_get_one_clear_error() {
    let http = pcaps().join("http/in.pcap");
    let http = text(&http);
    for (args, says) in [
        (&["replay", http, "-w", "/dev/null", "-x", "2", "-p", "5"][..], "cannot be used with"),
        (&["replay", http, "-w", "/dev/null", "-t", "-o"], "cannot be used with"),
        (&["replay", http], "required arguments were not provided"),
        (&["replay", "/nowhere", "-w", "/dev/null"], "/nowhere: No such file"),
        (&["replay", http, "-w", "/dev/null", "-x", "0"], "greater than 0"),
        (&["replay", http, "-w", "/dev/null", "-x", "1e3"], "expected a number such as"),
        (&["replay", http, "-w", "/dev/null", "--percent", "101"], "no more than 100 %"),
        (&["replay", http, "-w", "/dev/null", "--exclude", "1-"], "no frames are left to send"),
        (&["replay", http, "-w", "/dev/null", "-c", http], "no cache file of tcpprep"),
        (&["replay", http, "-i", "ethernet:0"], "unknown kind of port"),
        (&["replay", http, "-i", "null:", "--vlan", "push=4096"], "VIDs from 0 to 4095"),
        (&["send", "-w", "/dev/null"], "expected --limit or --duration"),
        (&["send", "-i", "null:", "-L", "1", "-s", "szie=64"], "did you mean `sizes`?"),
    ] {
        let (stdout, stderr) = expect(2, args);
        assert!(stderr.contains(says) && stdout.is_empty(), "{args:?}: {stderr}");
    }
}

#[test]
fn a_run_that_misses_its_plan_says_so() {
    let http = pcaps().join("http/in.pcap");
    let (stdout, _) = expect(1, &["replay", text(&http), "-i", "null:", "--line", "1M", "-M", "50"]);
    assert!(stdout.contains("The run is INVALID.") && stdout.contains("its line of 1 Mb/s cannot carry 50 Mb/s"), "{stdout}");
}

/// The same case is the same file, always.
#[test]
fn virtual_time_is_deterministic() {
    let dir = tempfile::tempdir().unwrap();
    let http = pcaps().join("http/in.pcap");
    let file = |name: &str| {
        let out = dir.path().join(name);
        let args = ["replay", text(&http), "-w", text(&out), "-l", "5", "--unique-mac", "--unique-ip", "-s", "7", "-x", "3.7"];
        expect(0, &args);
        fs::read(out).unwrap()
    };
    assert_eq!(file("a"), file("b"));
}

#[test]
fn a_profile_is_sent_exactly() {
    let dir = tempfile::tempdir().unwrap();
    let (profile, out) = (dir.path().join("p.toml"), dir.path().join("out.pcapng"));
    fs::write(&profile, "percent = 50\n[[stream]]\nsizes = 64\nsrc_mac_count = 3\n").unwrap();
    expect(0, &["send", text(&profile), "-w", text(&out), "-L", "4", "--line", "1G"]);
    let sent: Vec<_> = frames(&out).into_iter().map(|(time, _, bytes)| (time, bytes.len(), bytes[11])).collect();
    assert_eq!(sent, [(0, 60, 0), (1344, 60, 1), (2688, 60, 2), (4032, 60, 0)]);
    let (stdout, _) = expect(0, &["send", "-i", "null:", "--line", "1G", "--duration", "1s"]);
    assert!(stdout.contains("Actual: 1488095 packets"), "{stdout}");
}

/// tshark's arithmetic is another's: no edit may leave a checksum wrong that was right.
#[test]
fn tshark_finds_no_wrong_checksum() {
    if Command::new("tshark").arg("--version").output().is_err() {
        println!("skipped: tshark is not installed");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.pcapng");
    let wrong = |file: &Path| {
        let filter = "ip.checksum.status==0 || tcp.checksum.status==0 || udp.checksum.status==0 || icmpv6.checksum.status==0";
        let checks =
            ["ip.check_checksum", "tcp.check_checksum", "udp.check_checksum"].map(|name| ["-o".to_owned(), format!("{name}:TRUE")]);
        let output = Command::new("tshark").args(["-r", text(file), "-Y", filter]).args(checks.concat()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().lines().count()
    };
    for case in ["http", "dns", "ping6-nd", "dhcp", "vlan"] {
        let folder = pcaps().join(case);
        let input = [folder.join("in.pcap"), folder.join("in.pcapng")].into_iter().find(|file| file.exists()).unwrap();
        let edits = ["--pnat", "0.0.0.0/0=11.0.0.0/8", "-s", "5", "-r", "80:8080,53:5353", "--ttl", "-1", "--tos", "8", "--vlan", "push=9"];
        let more = ["-l", "3", "--unique-ip", "--unique-mac"];
        let args = [&["replay", text(&input), "-w", text(&out)][..], &edits, &more].concat();
        expect(0, &args);
        // Wrong ones of the capture itself (a card fills them in) stay wrong in each of the three loops, and no others are.
        assert_eq!(wrong(&out), 3 * wrong(&input), "{case}");
        expect(0, &[&args[..], &["-C"]].concat());
    }
    // A checksum that is wrong is seen: the judge is awake.
    let bad = dir.path().join("bad.pcapng");
    let mut writer = CaptureWriter::new(fs::File::create(&bad).unwrap()).unwrap();
    writer.add_interface("x", None).unwrap();
    let (_, _, mut frame) = frames(&pcaps().join("dns/in.pcap")).into_iter().find(|(_, _, frame)| frame[12..14] == [8, 0]).unwrap();
    frame[24] ^= 1;
    writer.write_frame(0, 0, &frame, frame.len() as u32, &FrameNotes::default()).unwrap();
    writer.finish().unwrap();
    assert_eq!(wrong(&bad), 1);
}
