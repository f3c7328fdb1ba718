//! The program on real interfaces, in real time: every kind of port that needs no hardware, replays, streams, methods, and latencies
//! against a plain measurement.
//!
//! How fast the machine is does not matter: a run that was late says so, and is right otherwise. Interfaces are those of a network
//! namespace that each test makes.

mod devices {
    mod latency;
    pub mod site;
}

use devices::site::{Site, frames, number, pcap};
use serde_json::Value;

/// `http`: 103 frames of two stations, with ARP and IPv6.
const FRAMES: u64 = 103;

/// A sum over all ports of a replay's report.
fn sum(report: &Value, pick: impl Fn(&Value) -> &Value) -> u64 {
    report["ports"].as_array().unwrap().iter().map(|port| number(pick(port))).sum()
}

/// The code with which a replay must end, by what it says of itself: it is valid if no frame was later than `late_max_ns`, and only
/// lateness may be wrong.
fn is_honest(report: &Value, late_max_ns: u64) {
    let late = report["ports"].as_array().unwrap().iter().any(|port| number(&port["late_ns"][2]) > late_max_ns);
    assert_eq!(report["valid"], !late, "{report}");
    let reasons = report["invalid"].as_array().unwrap();
    assert!(reasons.iter().all(|reason| reason.as_str().unwrap().contains(" late, the worst ")), "{report}");
    assert_eq!(reasons.is_empty(), !late, "{report}");
}

/// Everything that was sent came back, once, where it was due, and unchanged.
fn all_is_back(report: &Value) {
    assert_eq!((number(&report["packets"]), report["clock"].as_str()), (FRAMES, Some("real")), "{report}");
    assert_eq!((sum(report, |port| &port["successful"]), sum(report, |port| &port["failed"])), (FRAMES, 0), "{report}");
    assert_eq!(sum(report, |port| &port["recognized"]), FRAMES, "{report}");
    assert!(sum(report, |port| &port["account"]["due"]) >= 100, "{report}");
    for what in ["lost", "flood_missing", "duplicates", "elsewhere", "reflected", "corrupted"] {
        assert_eq!(sum(report, |port| &port["account"][what]), 0, "{what}: {report}");
    }
    for port in report["ports"].as_array().unwrap() {
        let latency = &port["account"]["latency_ns"];
        assert!(0 < number(&latency[0]) && number(&latency[0]) <= number(&latency[4]), "{report}");
    }
}

/// Every way to an interface, joined by a cable: a pair of veth.
#[test]
fn every_kind_of_interface_brings_back_what_was_sent() {
    let Some(site) = Site::with_veth() else { return };
    for kind in ["af_packet:V", "af_packet:V,fanout=2", "af_xdp:V,mode=skb", "af_xdp:V,mode=native", "auto:V"] {
        let [one, other] = ["va", "vb"].map(|name| kind.replace('V', name));
        let replay = |more: &[&str]| {
            let http = pcap("http/in.pcap");
            let ports = ["-i", &one, "-i", &other, "--split", "first-seen-mac", "--line", "1G", "--listen", "3s"];
            [&["replay", &http], &ports[..], more].concat().into_iter().map(str::to_owned).collect::<Vec<_>>()
        };
        let run = |code: i32, more: &[&str]| {
            let args = replay(more);
            site.report(code, &args.iter().map(String::as_str).collect::<Vec<_>>())
        };
        let report = run(0, &["--late-max", "1h"]);
        all_is_back(&report);
        is_honest(&report, 3_600_000_000_000);
        if !kind.contains("fanout") {
            // Of several queues each is in order, but not all together.
            assert_eq!(sum(&report, |port| &port["account"]["reordered"]), 0, "{kind}: {report}");
        }
        // Some frame is late, and be it by a nanosecond: that is said, and everything came all the same.
        let report = run(1, &["--late-max", "0ns"]);
        all_is_back(&report);
        is_honest(&report, 0);
    }
}

/// A report as files, of a replay in real time.
#[test]
fn a_replay_between_interfaces_is_reported_as_files() {
    let Some(site) = Site::with_veth() else { return };
    let http = pcap("http/in.pcap");
    let args = ["replay", &http, "-i", "af_packet:va", "-i", "af_packet:vb", "--split", "first-seen-mac", "--late-max", "1h"];
    let (code, out, err) = site.tester(&[&args[..], &["--report", "report", "--listen", "3s"]].concat());
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("Actual: 103 packets") && out.contains("The run is valid.") && out.contains("Latency in µs"), "{out}");
    let report: Value = serde_json::from_slice(&std::fs::read(site.path("report/replay.json")).unwrap()).unwrap();
    assert_eq!((report["valid"].as_bool(), number(&report["result"]["packets"])), (Some(true), FRAMES));
    let samples: u64 = report["distributions"].as_array().unwrap().iter().map(|one| number(&one["samples"])).sum();
    assert_eq!(samples, 2 * FRAMES, "a latency and a lateness of each frame");
    assert!(std::fs::read_to_string(site.path("report/replay.html")).unwrap().contains("Latency by percentile"));
}

/// TAP interfaces on a bridge of Linux: what one is given comes out of the other.
#[test]
fn tap_ports_through_a_bridge() {
    let Some(site) = Site::new() else { return };
    site.ok("ip", &["link", "add", "bridge", "type", "bridge", "mcast_snooping", "0"]);
    site.ok("ip", &["link", "set", "bridge", "up"]);
    for tap in ["ta", "tb"] {
        site.ok("ip", &["tuntap", "add", "dev", tap, "mode", "tap"]);
        site.ok("ip", &["link", "set", tap, "master", "bridge", "up"]);
    }
    let http = pcap("http/in.pcap");
    let args = ["replay", &http, "-i", "tap:ta", "-i", "tap:tb", "--split", "first-seen-mac", "--listen", "3s", "--late-max", "1h"];
    let report = site.report(0, &args);
    all_is_back(&report);
    assert!(site.ok("ip", &["tuntap", "show"]).contains("ta: tap"), "an interface that was there before stays");
}

/// Two processes with memory in common: one replays, the other records.
#[test]
fn memif_between_two_processes() {
    let Some(site) = Site::new() else { return };
    let http = pcap("http/in.pcap");
    for [replays, records] in [["server", "client"], ["client", "server"]] {
        let [replaying, recording] = [replays, records].map(|role| format!("memif:memif.sock,role={role}"));
        let case = format!("case-{records}");
        let recorder = site.background(
            env!("CARGO_BIN_EXE_traffic-gen"),
            &["record", "--port", &format!("blade1={recording}"), "--out", &case, "--count", "103"],
        );
        let report = site.report(0, &["replay", &http, "-i", &replaying, "--late-max", "1h", "--link-wait", "60s"]);
        assert_eq!((number(&report["packets"]), report["valid"].as_bool()), (FRAMES, Some(true)), "{report}");
        recorder.finish();
        let padded = |mut frame: Vec<u8>| {
            frame.resize(frame.len().max(60), 0);
            frame
        };
        let sent: Vec<_> = frames(pcap("http/in.pcap").as_ref()).into_iter().map(padded).collect();
        let came: Vec<_> = frames(&site.path(&case).join("in.pcapng")).into_iter().map(padded).collect();
        assert!(sent == came, "{} of {} frames came, or in another order", came.len(), sent.len());
    }
}

/// `send`: every frame of a profile arrives and is told from all others, although those of one size are alike.
#[test]
fn a_synthetic_stream_arrives() {
    let Some(site) = Site::with_veth() else { return };
    for (kind, more, ambiguous) in [("af_packet", &[][..], false), ("af_xdp", &[], false), ("af_packet", &["--no-stamps"], true)] {
        let (one, other) = (format!("{kind}:va"), format!("{kind}:vb"));
        let args = ["send", "-i", &one, "-i", &other, "--limit", "200", "-s", "sizes=imix", "-s", "pps=2000"];
        let report = site.report(0, &[&args[..], &["--late-max", "1h", "--line", "1G", "--listen", "3s"], more].concat());
        is_honest(&report, 3_600_000_000_000);
        let [sent, back] = [&report["ports"][0], &report["ports"][1]];
        assert_eq!((number(&sent["successful"]), number(&back["received"]), number(&back["rx_drops"])), (200, 200, 0), "{report}");
        let account = &back["account"];
        assert_eq!(
            (number(&account["flood_due"]), number(&account["flood_missing"]), number(&account["foreign"])),
            (200, 0, 0),
            "{report}"
        );
        // Without stamps a copy could be of any frame of its size that was under way.
        assert!(ambiguous || number(&account["ambiguous"]) == 0, "{report}");
        assert!(number(&account["latency_ns"][0]) > 0, "{report}");
    }
}

/// What cannot work is said in words, and the rest works.
#[test]
fn frames_too_long_and_links_that_are_down() {
    let Some(site) = Site::with_veth() else { return };
    let jumbo = pcap("jumbo/in.pcap");
    let long = frames(jumbo.as_ref()).iter().filter(|frame| frame.len() > 1514).count() as u64;
    assert!(long > 4, "{long} frames of the case are longer than an MTU of 1500 allows");
    for kind in ["af_packet", "af_xdp"] {
        let (one, other) = (format!("{kind}:va"), format!("{kind}:vb"));
        let args = ["replay", &jumbo, "-i", &one, "-i", &other, "--split", "first-seen-mac", "--late-max", "1h", "--listen", "3s"];
        let report = site.report(1, &args);
        let reasons = report["invalid"].to_string();
        assert!(reasons.contains("longer than the interface sends") && reasons.contains("raise its MTU"), "{reasons}");
        assert_eq!((sum(&report, |port| &port["failed"]), sum(&report, |port| &port["account"]["lost"])), (long, 0), "{report}");
        assert_eq!(number(&report["packets"]), 24 - long);
    }
    site.ok("ip", &["link", "set", "vb", "down"]);
    let http = pcap("http/in.pcap");
    for (port, says) in [
        ("af_packet:va", "port af_packet:va: its link is down"),
        ("af_xdp:va", "port af_xdp:va: its link is down"),
        ("memif:nobody.sock", "port memif:nobody.sock: its link is down"),
        ("af_packet:vc", "vc"),
    ] {
        let (code, out, err) = site.tester(&["replay", &http, "-i", port, "--link-wait", "100ms"]);
        assert!(code == 2 && out.is_empty() && err.lines().count() == 1 && err.contains(says), "{port}: {code} {out}{err}");
    }
    // It comes up while it is waited for.
    let run = site
        .background(env!("CARGO_BIN_EXE_traffic-gen"), &["replay", &http, "-i", "af_packet:va", "--late-max", "1h", "--link-wait", "60s"]);
    site.ok("ip", &["link", "set", "vb", "up"]);
    run.finish();
}

/// Methods on a pair of interfaces: nothing lies between them, so nothing may be lost, and the throughput is that of the line. No frame is too
/// late to be sent, so that this holds on any machine.
#[test]
fn methods_in_real_time_between_two_interfaces() {
    let Some(site) = Site::with_veth() else { return };
    for kind in ["af_packet:V@10M", "af_packet:V,fanout=2@10M", "af_xdp:V,mode=skb@10M", "af_xdp:V,mode=native@10M"] {
        let [one, other] = ["va", "vb"].map(|name| kind.replace('V', name));
        let run = |code: i32, method: &[&str], late_max: &str| {
            let ports = ["-i", &one, "-i", &other, "--sizes", "512", "--quick", "--rest", "0", "--late-max", late_max];
            site.report(code, &[method, &ports].concat())
        };
        let trials_add_up = |report: &Value, what: &str| {
            let trials = report["trials"].as_array().unwrap();
            assert!(!trials.is_empty(), "{kind}: {report}");
            for trial in trials {
                assert_eq!((number(&trial["lost"]), &trial["expected"]), (0, &trial["sent"]), "{kind}: {what}: {trial}");
                for name in ["duplicated", "misdelivered", "flooded", "corrupted"] {
                    assert_eq!(number(&trial[name]), 0, "{kind}: {what}: {name}: {trial}");
                }
            }
        };
        let throughput = run(0, &["rfc2544", "throughput", "--trial", "0.05"], "1h");
        trials_add_up(&throughput, "throughput");
        let result = &throughput["results"][0];
        // 10 Mb/s carry 2,349.6 frames of 512 bytes a second: 117 are complete after 0.05 s, both ways.
        assert_eq!((result["load"].as_f64(), result["fps"].as_f64()), (Some(1.0), Some(4680.0)), "{throughput}");
        assert_eq!(number(&throughput["trials"][0]["sent"]), 234);
        assert!(throughput["bias"]["p50_ns"].is_u64() && number(&throughput["trials"][0]["latency_ns"][0]) > 0, "{throughput}");
        let search = run(0, &["search", "--trial", "0.05", "--goal", "name=any:final=1:sum=2:initial=1:width=10"], "1h");
        trials_add_up(&search, "search");
        let found = &search["results"][0];
        assert!(found["upper_bound_fps"].is_null() && found["lower_bound_fps"] == found["max_fps"], "{found}");
        let soak = run(0, &["soak", "--interval", "0.05", "--intervals", "2", "--load", "50"], "1h");
        trials_add_up(&soak, "soak");
        assert_eq!((soak["results"][0]["worst_n"].as_f64(), number(&soak["trials"][1]["sent"])), (Some(0.0), 116));
    }
}

/// Frames that the tester did not send are not the device's loss, and the trial does not count.
#[test]
fn a_trial_that_was_not_offered_is_invalid_and_nothing_is_lost() {
    let Some(site) = Site::with_veth() else { return };
    let ports = ["-i", "af_packet:va@10M", "-i", "af_packet:vb@10M", "--sizes", "512", "--quick", "--rest", "0", "--late-max", "0ns"];
    let report = site.report(1, &[&["soak", "--interval", "0.05", "--intervals", "1"], &ports[..]].concat());
    let trial = &report["trials"][0];
    assert!(number(&trial["sent"]) < 234 && number(&trial["lost"]) == 0, "{trial}");
    let reasons = trial["invalid"].to_string();
    assert!(reasons.contains("of 117 frames: the tester did not keep up") && reasons.contains("ns late"), "{reasons}");
    // A search that goes down for that alone has found the tester's limit.
    let report = site.report(1, &[&["rfc2544", "throughput", "--trial", "0.05", "--resolution", "25"], &ports[..]].concat());
    let result = &report["results"][0];
    assert_eq!((result["load"].as_f64(), result["testers_limit"].as_bool()), (Some(0.0), Some(true)), "{report}");
    assert!(report["notes"].to_string().contains("512 bytes: this is the tester's limit"), "{report}");
}
