//! Latencies against plain measurements that share nothing with the tester: a Python program with packet sockets and the kernel's time stamps.
//!
//! How long a frame takes depends on the machine and on what else it does. What does not: a frame is away for longer than the device
//! kept it, and the fastest of many frames takes about as long whoever measures it.

use serde_json::Value;

use super::site::{Site, number, until, write};

/// Sends frames from `va` one by one, and prints for each the ns from before the call to the kernel's stamp at `vb`.
const PLAIN: &str = r#"
import json, socket, struct, sys, time
SO_TIMESTAMPNS = 35
tx, rx = (socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) for _ in range(2))
tx.bind(("va", 0))
rx.bind(("vb", 3))
rx.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
rx.settimeout(60)
took = []
for n in range(int(sys.argv[1])):
    frame = bytes.fromhex("020000000002" "020000000001" "88b6") + struct.pack(">Q", n) + bytes(78)
    before = time.clock_gettime_ns(time.CLOCK_REALTIME)
    tx.send(frame)
    got = b""
    while got != frame:
        got, ancillary, _, _ = rx.recvmsg(2048, 64)
    seconds, ns = struct.unpack("qq", ancillary[0][2])
    took.append(seconds * 10**9 + ns - before)
print(json.dumps(took))
"#;

/// Passes frames on from `vb` to `vc`, each 50 ms after it came, and prints for each how long it was kept: from the kernel's stamp to just before
/// the call that sent it.
const HOLDS: &str = r#"
import collections, json, socket, struct, sys, time
SO_TIMESTAMPNS, HOLD_NS = 35, 50_000_000
tx, rx = (socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) for _ in range(2))
tx.bind(("vc", 0))
rx.bind(("vb", 3))
rx.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
now = lambda: time.clock_gettime_ns(time.CLOCK_REALTIME)
print("ready", flush=True)
held, kept = collections.deque(), []
while len(kept) < int(sys.argv[1]):
    rx.settimeout(60 if not held else max((held[0][0] + HOLD_NS - now()) / 1e9, 1e-6))
    try:
        frame, ancillary, _, _ = rx.recvmsg(2048, 64)
        seconds, ns = struct.unpack("qq", ancillary[0][2])
        held.append((seconds * 10**9 + ns, frame))
    except TimeoutError:
        assert held, "no frame came for a minute"
    while held and now() >= held[0][0] + HOLD_NS:
        came, frame = held.popleft()
        kept.append(now() - came)
        tx.send(frame)
print(json.dumps(kept))
"#;

/// Frames of a run; few enough that all of them fit into any queue on the way.
const COUNT: usize = 40;

/// Frames from one station to another that never sends, each with a content of its own, in a capture of the site.
fn capture(site: &Site) -> String {
    let frame = |n: usize| {
        let head = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb6];
        [&head[..], &(n as u64).to_be_bytes(), &[0; 78]].concat()
    };
    write(&site.path("in.pcapng"), &(0..COUNT).map(frame).collect::<Vec<_>>(), 500_000);
    "in.pcapng".to_owned()
}

/// The latencies that the tester finds from one port to another: smallest, median, largest, in ns.
fn latencies(site: &Site, from: &str, to: &str, listen: &str) -> [u64; 3] {
    let file = capture(site);
    let args = ["replay", &file, "-i", from, "-i", to, "--split", "first-seen-mac", "--late-max", "1h", "--listen", listen];
    let report = site.report(0, &args);
    let account = &report["ports"][1]["account"];
    assert_eq!((number(&account["flood_due"]), number(&account["flood_missing"])), (COUNT as u64, 0), "{report}");
    [0, 1, 4].map(|place| number(&account["latency_ns"][place]))
}

fn has_python() -> bool {
    let has = std::process::Command::new("python3").arg("--version").output().is_ok_and(|output| output.status.success());
    if !has {
        println!("skipped: no python3 to measure with (apt-get install python3)");
    }
    has
}

fn numbers(json: &str) -> Vec<u64> {
    let value: Value = serde_json::from_str(json.trim()).unwrap_or_else(|error| panic!("{error}: {json}"));
    let mut numbers: Vec<u64> = value.as_array().unwrap().iter().map(number).collect();
    numbers.sort_unstable();
    numbers
}

/// The fastest frame of a bare pair takes about as long by both. They take turns, and are compared by their minima, which what else
/// the machine does can only spoil for a while: so long, more turns are taken.
#[test]
fn the_latency_of_a_bare_pair_is_that_of_a_plain_measurement() {
    let Some(site) = Site::with_veth().filter(|_| has_python()) else { return };
    for kind in ["af_packet", "af_xdp"] {
        let (from, to) = (format!("{kind}:va"), format!("{kind}:vb"));
        let (mut plain, mut ours) = (u64::MAX, u64::MAX);
        // Of one order of magnitude, and what scheduling may take.
        let agree = |plain: u64, ours: u64| ours <= 10 * plain + 1_000_000 && plain <= 10 * ours + 100_000;
        for _ in 0..10 {
            plain = plain.min(numbers(&site.ok("python3", &["-c", PLAIN, &COUNT.to_string()]))[0]);
            ours = ours.min(latencies(&site, &from, &to, "1s")[0]);
            if agree(plain, ours) {
                break;
            }
        }
        assert!(agree(plain, ours), "{kind}: {ours} ns by the tester, {plain} ns by a plain measurement");
    }
}

/// A device that keeps each frame and knows for how long. No latency may be less, in order of size; and the least of them is not twice that.
#[test]
fn the_latency_of_a_device_that_holds_frames_is_what_it_held_them() {
    let Some(site) = Site::with_veth().filter(|_| has_python()) else { return };
    site.veth("vc", "vd");
    for kind in ["af_packet", "af_xdp"] {
        let device = site.background("python3", &["-u", "-c", HOLDS, &COUNT.to_string()]);
        let said = || std::fs::read_to_string(site.path("background.out")).unwrap();
        until("the device is ready", || said().contains("ready"));
        let [least, median, most] = latencies(&site, &format!("{kind}:va"), &format!("{kind}:vd"), "5s");
        device.finish();
        let kept = numbers(said().lines().last().unwrap());
        assert_eq!(kept.len(), COUNT);
        assert!(kept[0] >= 50_000_000);
        // Three digits; and two clocks that may differ by what NTP corrects.
        let at_least = |ours: u64, kept: u64| ours + ours / 100 >= kept;
        assert!(at_least(least, kept[0]) && at_least(median, kept[COUNT / 2 - 1]) && at_least(most, kept[COUNT - 1]), "{kind}: {kept:?}");
        assert!(least <= 2 * kept[0], "{kind}: {least} ns, of which the device took {}", kept[0]);
    }
}
