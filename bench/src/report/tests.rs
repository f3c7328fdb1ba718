//! The report as a whole: what it says is what the model holds, and no model makes it fail.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use base64::Engine as _;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use serde_json::Value;

use traffic_gen::output::Summary;
use traffic_gen::output::numbers::{count, micros};

use super::*;

fn tables(report: &ChassisReport, width: u16) -> String {
    let mut bytes = Vec::new();
    print_tables(report, &mut bytes, width).unwrap();
    String::from_utf8(bytes).unwrap()
}

fn files(report: &ChassisReport) -> BTreeMap<String, String> {
    let dir = tempfile::tempdir().unwrap();
    let written = write_all(report, &dir.path().join("not/yet/there")).unwrap();
    written.iter().map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(path).unwrap())).collect()
}

fn decoded(direction: &Value) -> Histogram<u64> {
    let bytes = base64::engine::general_purpose::STANDARD.decode(direction["histogram_v2_deflate_base64"].as_str().unwrap()).unwrap();
    Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap()
}

#[test]
fn tables_hold_every_number() {
    let report = fixture::report(16);
    for width in [0, 80, 100, 120, 200] {
        let text = tables(&report, width);
        for port in &report.ports {
            let row = text.lines().find(|line| line.starts_with(&format!("{} ", port.name))).unwrap();
            for number in [port.offered, port.sent, port.received, port.lost] {
                assert!(row.contains(&count(number)), "{number} of {} in {row:?}", port.name);
            }
            for (reason, n) in port.drops.iter().filter(|(_, n)| **n > 0) {
                assert!(text.contains(&format!("{reason} {}", count(*n))), "{reason} of {} at {width} columns", port.name);
            }
        }
        for direction in &report.directions {
            let row = text.lines().find(|line| line.starts_with(&direction.name)).unwrap();
            assert!(row.contains(&micros(direction.histogram.value_at_quantile(0.9999) as f64)), "{row:?}");
            assert!(row.contains(&micros(direction.histogram.max() as f64)), "{row:?}");
        }
        assert!(text.contains("ledger: balanced  rx 42,591,885 + copies 1,234 + injected 0"), "{text}");
        let columns = text.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(columns <= usize::from(width.max(80)), "{columns} columns where {width} were asked for:\n{text}");
        for word in ["generator: MISSED ITS RATE", "warning: no hugepages", "tx_full 36,540"] {
            assert!(text.contains(word), "{word} at {width} columns");
        }
    }
}

#[test]
fn the_ledger_line_is_the_documented_one() {
    let mut ledger = LedgerLine { rx: 123, copies: 4, injected: 0, tx: 120, dropped: 7, punted: 0, held: 0 };
    assert_eq!(ledger.to_string(), "balanced  rx 123 + copies 4 + injected 0 = tx 120 + dropped 7 + punted 0 + held 0");
    let report = ChassisReport { ledger, ..ChassisReport::default() };
    assert!(tables(&report, 100).contains("\nledger: balanced  rx 123 + copies 4 + injected 0 = tx 120 + dropped 7 + punted 0 + held 0\n"));
    ledger.held = 2;
    assert_eq!(ledger.verdict(), "NOT BALANCED (2 too many)");
    ledger.held = 0;
    ledger.tx = u64::MAX;
    assert!(!ledger.is_balanced());
    ledger = LedgerLine { rx: u64::MAX, copies: u64::MAX, ..LedgerLine::default() };
    assert_eq!(ledger.verdict(), "NOT BALANCED (36893488147419103230 vanished)");
}

#[test]
fn the_page_is_whole_and_stands_alone() {
    let report = fixture::report(16);
    let page = files(&report).remove("chassis.html").unwrap();
    for text in
        ["blade→uplink", "1,671,870", "tx_full 12,180", "12,181 (0.73 %)", "balanced", "36,102", "0123abcd", "IMIX 64:7, 570:4, 1518:1"]
    {
        assert!(page.contains(text), "{text}");
    }
    assert_eq!(page.matches("<svg ").count(), 2 + 3 + report.directions.len());
    assert_eq!(page.matches("<svg ").count(), page.matches("</svg>").count());
    for word in ["<script", "@import", "url(", "src=", "NaN", "inf\"", "href=\"http"] {
        assert!(!page.contains(word), "{word}");
    }
    // The name space of SVG is the only address, and is not loaded.
    assert_eq!(page.matches("http").count(), page.matches("http://www.w3.org/2000/svg").count());
}

#[test]
fn names_cannot_break_the_page() {
    let mut report = fixture::report(1);
    let evil = "</title><script>alert(1)</script>\"'&\u{0}";
    report.title = evil.to_owned();
    report.command = evil.to_owned();
    report.ports[0].name = evil.to_owned();
    report.ports[0].drops.insert(evil.to_owned(), 1);
    report.directions[0].name = evil.to_owned();
    report.config.push(Setting::new(evil, evil));
    report.warnings.push(Warning::Other { text: evil.to_owned() });
    let page = files(&report).remove("chassis.html").unwrap();
    assert!(!page.contains("<script"));
    assert!(page.contains("&lt;script&gt;"));
}

#[test]
fn json_holds_the_model_and_whole_histograms() {
    let report = fixture::report(16);
    let json: Value = serde_json::from_str(&files(&report)["chassis.json"]).unwrap();
    assert_eq!(json["schema"], "bladeswitch/chassis-report/1");
    assert_eq!(json["seed"], 42);
    assert_eq!(json["ports"].as_array().unwrap().len(), 17);
    assert_eq!(json["ports"][2]["drops"]["tx_full"], 2_436);
    assert_eq!(json["ledger_balanced"], true);
    assert_eq!(json["totals"]["lost"], 36_548);
    assert_eq!(json["timeline"].as_array().unwrap().len(), report.timeline.len());
    assert_eq!(json["timeline"][0]["latency"][1]["p50_ns"], report.timeline[0].latency[1].unwrap().p50_ns);
    assert_eq!(json["warnings"].as_array().unwrap().len(), json["warning_texts"].as_array().unwrap().len());
    assert_eq!(json["warnings"][0]["kind"], "generator_below_rate");
    for (direction, json) in report.directions.iter().zip(json["directions"].as_array().unwrap()) {
        assert_eq!(json["samples"], direction.samples());
        assert_eq!(json["latency_ns"]["p99.99"], direction.histogram.value_at_quantile(0.9999));
        assert_eq!(decoded(json), direction.histogram);
    }
}

#[test]
fn each_direction_has_its_own_distribution() {
    let mut report = fixture::report(2);
    let twin = report.directions[1].clone();
    report.directions.push(Direction::new("Blade -> uplink!", twin.histogram.clone(), 1));
    report.directions.push(Direction::new("→", twin.histogram, 1));
    let files = files(&report);
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "chassis-blade-to-blade.hgrm",
            "chassis-blade-to-uplink-2.hgrm",
            "chassis-blade-to-uplink.hgrm",
            "chassis-to.hgrm",
            "chassis-uplink-to-blade.hgrm",
            "chassis.hgrm",
            "chassis.html",
            "chassis.json",
        ]
    );
    assert_eq!(files["chassis-blade-to-uplink.hgrm"], files["chassis-blade-to-uplink-2.hgrm"]);
    assert!(files["chassis-blade-to-blade.hgrm"].contains("Total count    =       400000]"));
    for name in names.iter().filter(|name| name.ends_with(".hgrm")) {
        assert!(files["chassis.html"].contains(&format!("href=\"{name}\"")), "{name} is linked");
    }
}

#[test]
fn merging_weighs_samples_by_what_they_stand_for() {
    let filled = |ns: u64, samples: u64| {
        let mut histogram = Histogram::new_with_bounds(1, 1_000_000_000, 3).unwrap();
        histogram.record_n(ns, samples).unwrap();
        histogram
    };
    let mut report = ChassisReport {
        directions: vec![Direction::new("a", filled(1_000, 30), 1), Direction::new("b", filled(900_000, 10), 1)],
        ..ChassisReport::default()
    };
    assert_eq!(report.merged_histogram().len(), 40);
    assert_eq!(report.merged_histogram().value_at_quantile(0.5), 1_000);
    report.directions[1].sampling = 16;
    assert_eq!(report.merged_histogram().len(), 30 + 160);
    assert!(report.merged_histogram().value_at_quantile(0.5) >= 900_000);
    assert_eq!(ChassisReport::default().merged_histogram().len(), 0);
}

#[test]
fn nothing_measured_is_a_report_too() {
    let histogram = Histogram::new_with_bounds(1, 10_000_000_000, 3).unwrap();
    let bare = ChassisReport::default();
    let silent = ChassisReport {
        title: "silence".to_owned(),
        ports: vec![PortRow { name: "blade1".to_owned(), ..PortRow::default() }],
        directions: vec![Direction::new("blade→blade", histogram, 0)],
        timeline: vec![Tick::default(), Tick { latency: vec![None], ..Tick::default() }],
        ..ChassisReport::default()
    };
    for mut report in [bare, silent] {
        report.add_derived_warnings();
        let text = tables(&report, 100);
        assert!(text.contains("ledger: balanced  rx 0 + copies 0 + injected 0 = tx 0 + dropped 0 + punted 0 + held 0"));
        assert!(text.lines().any(|line| line.starts_with("total")));
        let files = files(&report);
        assert_eq!(files.len(), 3 + report.directions.len());
        let page = &files["chassis.html"];
        assert!(page.contains("No latency sample was taken.") || page.contains("No latency was measured."));
        assert!(!page.contains("NaN"));
        let json: Value = serde_json::from_str(&files["chassis.json"]).unwrap();
        assert_eq!(json["totals"]["loss_ratio"], 0.0);
        assert!(json["rate_error_ppm"].is_null());
        for direction in json["directions"].as_array().unwrap() {
            assert!(direction["latency_ns"]["p50"].is_null());
            assert!(decoded(direction).is_empty());
        }
    }
}

#[test]
fn absurd_numbers_are_drawn() {
    let mut report = fixture::report(3);
    for rate in [f64::NAN, f64::INFINITY, -1.0, 1e300] {
        report.ports[0].rx = Rate { pps: rate, bps_l1: rate, bps_l2: rate };
        report.ports[0].lost = u64::MAX;
        report.ports[1].speed_bps = 0;
        report.duration_s = rate;
        report.timeline[3] = Tick { t_s: rate, mpps: rate, gbps_l1: rate, lost: u64::MAX, latency: Vec::new() };
        report.timeline[4].latency = vec![Some(LatencyTick { p50_ns: 0, p99_ns: 0, max_ns: u64::MAX }); 9];
        report.generator.asked_pps = rate;
        report.line_transfer_ns = Some(rate);
        report.warnings.push(Warning::GeneratorBelowRate { asked_pps: rate, achieved_pps: rate });
        let mut extreme = Histogram::new_with_bounds(1, u64::MAX, 3).unwrap();
        extreme.record_n(u64::MAX, 1_000_000_000_000).unwrap();
        extreme.record(0).unwrap();
        report.directions[0].histogram = extreme;
        report.directions[1].sampling = 1_000_000;
        assert!(!tables(&report, u16::MAX).is_empty());
        let page = files(&report).remove("chassis.html").unwrap();
        assert!(!page.contains("NaN") && !page.contains("\"inf"), "{rate}");
    }
}

#[test]
fn too_few_samples_are_a_dash() {
    let mut histogram = Histogram::new_with_bounds(1, 1_000_000, 3).unwrap();
    histogram.record_n(1_000, 999).unwrap();
    let summary = Summary::of(&histogram);
    assert_eq!(summary.percentiles_ns, [Some(1_000), Some(1_000), Some(1_000), None, None]);
    let report = ChassisReport { directions: vec![Direction::new("a", histogram, 1)], ..ChassisReport::default() };
    let text = tables(&report, 80);
    let row = text.lines().find(|line| line.starts_with("a ")).unwrap();
    assert_eq!(row.split_whitespace().collect::<Vec<_>>(), ["a", "999", "1.000", "1.000", "1.000", "1.000", "-", "-", "1.000"]);
    assert!(text.contains("too few to tell"));
}

#[test]
fn derived_warnings_follow_the_numbers() {
    let histogram = |samples| {
        let mut histogram = Histogram::new_with_bounds(1, 1_000_000, 3).unwrap();
        histogram.record_n(1_000, samples).unwrap();
        histogram
    };
    let mut good = ChassisReport {
        ports: vec![PortRow { sent: 10, received: 10, ..PortRow::default() }],
        directions: vec![Direction::new("a", histogram(10), 1)],
        ..ChassisReport::default()
    };
    good.generator.valid = true;
    good.machine.governor = Some("performance".to_owned());
    let mut bad = good.clone();
    good.add_derived_warnings();
    assert_eq!(good.warnings, []);

    bad.generator = GeneratorQuality { asked_pps: 4e6, achieved_pps: 3e6, ..GeneratorQuality::default() };
    bad.machine.governor = Some("powersave".to_owned());
    bad.ledger.rx = 3;
    // Ten were due here: five came, five did not.
    bad.ports[0].received = 5;
    bad.ports[0].lost = 5;
    bad.directions = vec![Direction::new("a", histogram(10), 64), Direction::new("b", histogram(0), 1)];
    bad.warnings.push(Warning::NoHugepages);
    bad.add_derived_warnings();
    let texts: Vec<String> = bad.warnings.iter().map(ToString::to_string).collect();
    for (text, part) in texts.iter().zip([
        "3.000 Mpps where 4.000 were asked for (75.0 %)",
        "off by 3 frames",
        "5 of 10 frames were lost (50.0 %)",
        "`powersave`",
        "one frame in 64",
        "no latency sample for b",
        "no hugepages",
    ]) {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert_eq!(texts.len(), 7);
}

#[test]
fn errors_name_the_path() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("occupied");
    fs::write(&file, "").unwrap();
    let error = write_all(&ChassisReport::default(), Path::new(&file)).unwrap_err();
    assert!(error.to_string().contains("occupied"), "{error}");
}
