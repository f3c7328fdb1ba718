//! Reports as a whole: what is written is what the model holds, and no model makes it fail.

use std::collections::BTreeMap;

use base64::Engine as _;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use serde_json::Value;

use super::plots::{BoxRow, Boxes, Curve, LatencyStrip, LatencyTick, LossCurve, PortBar, SizeBar, Spacing, Strip, Throughput, Unit};
use super::*;
use crate::measure::empty_histogram;

fn printed(report: &Report, width: u16) -> String {
    let mut bytes = Vec::new();
    print_report(report, &mut bytes, width).unwrap();
    String::from_utf8(bytes).unwrap()
}

fn files(report: &Report) -> BTreeMap<String, String> {
    let dir = tempfile::tempdir().unwrap();
    let written = write_all(report, &dir.path().join("not/yet/there")).unwrap();
    written.iter().map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(path).unwrap())).collect()
}

fn figures(report: &Report) -> impl Iterator<Item = &Figure> {
    report.sections.iter().flat_map(|section| &section.items).filter_map(|item| match item {
        Item::Figure(figure) => Some(figure),
        Item::Note(_) | Item::Table(_) => None,
    })
}

#[test]
fn every_file_is_there_and_linked() {
    let files = files(&fixture::report());
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "fixture-10-pdr-to.hgrm",
            "fixture-50-pdr-to.hgrm",
            "fixture-90-pdr-to.hgrm",
            "fixture-latency-in-us.csv",
            "fixture-no-load-to.hgrm",
            "fixture-throughput.csv",
            "fixture.hlog",
            "fixture.html",
            "fixture.json",
        ]
    );
    for name in names.iter().filter(|name| **name != "fixture.html") {
        assert!(files["fixture.html"].contains(&format!("href=\"{name}\"")), "{name} is linked");
    }
    assert_eq!(files["fixture-throughput.csv"].lines().next(), Some("\"frame size, B\",throughput Mpps,Gb/s L1,% line"));
    assert_eq!(files["fixture.hlog"].lines().filter(|line| line.starts_with("Tag=")).count(), 3 + 3);
}

#[test]
fn the_page_is_whole_and_stands_alone() {
    let report = fixture::report();
    let page = files(&report).remove("fixture.html").unwrap();
    for text in ["INVALID", "RFC 2544, section 26.1", "seed 42", "the generator missed 12.4 µs", "<code>--quick</code>", "2,614.0 MHz"] {
        assert!(page.contains(text), "{text}");
    }
    assert_eq!(page.matches("<svg ").count(), figures(&report).count());
    assert_eq!(page.matches("<svg ").count(), page.matches("</svg>").count());
    for word in ["<script", "@import", "url(", "src=", "NaN", "inf\"", "href=\"http"] {
        assert!(!page.contains(word), "{word}");
    }
    // The name space of SVG is the only address, and is not loaded.
    assert_eq!(page.matches("http").count(), page.matches("http://www.w3.org/2000/svg").count());
}

#[test]
fn terminals_get_every_table_in_their_width() {
    let report = fixture::report();
    for width in [0, 80, 100, 120, 200] {
        let text = printed(&report, width);
        let columns = text.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(columns <= usize::from(width.max(80)), "{columns} columns where {width} were asked for:\n{text}");
        for word in
            ["7.300 Mpps", "90 % PDR, →", "60,000", "warning: 185 frames of the plan were not sent", "INVALID: the generator missed"]
        {
            assert!(text.contains(word), "{word} at {width} columns:\n{text}");
        }
    }
}

#[test]
fn json_holds_tables_and_whole_histograms() {
    let report = fixture::report();
    let json: Value = serde_json::from_str(&files(&report)["fixture.json"]).unwrap();
    assert_eq!(json["schema"], "traffic-gen/report/1");
    assert_eq!((&json["valid"], &json["seed"]), (&Value::Bool(false), &Value::from(42)));
    assert_eq!(json["invalid_because"][0], "the generator missed 12.4 µs of wire on port 3");
    assert_eq!(json["warnings"][0]["kind"], "slots_missed");
    assert_eq!(json["warnings"].as_array().unwrap().len(), json["warning_texts"].as_array().unwrap().len());
    let table = &json["sections"][0]["tables"][0];
    assert_eq!((&table["columns"][0], &table["rows"][0][0]), (&Value::from("frame size, B"), &Value::from(64)));
    assert_eq!(json["result"]["throughput"][0]["pps"], 7_300_000.0);
    for (distribution, json) in report.distributions.iter().zip(json["distributions"].as_array().unwrap()) {
        assert_eq!(json["ns"]["p99.9"], distribution.histogram.value_at_quantile(0.999));
        let base64 = json["histogram_v2_deflate_base64"].as_str().unwrap();
        let bytes = base64::engine::general_purpose::STANDARD.decode(base64).unwrap();
        let histogram: Histogram<u64> = Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
        assert!(histogram == distribution.histogram);
    }
}

#[test]
fn names_cannot_break_the_page() {
    let evil = "</title><script>alert(1)</script>\"'&\u{0}".to_owned();
    let mut report = fixture::report();
    report.title.clone_from(&evil);
    report.standard.clone_from(&evil);
    report.command.clone_from(&evil);
    report.started.clone_from(&evil);
    report.validity = Validity::invalid(&evil);
    report.headlines.push(Headline::new(&evil, &evil, Mood::Bad));
    report.settings.push(Setting::new(&evil, &evil));
    report.machine.cpu.clone_from(&evil);
    report.warnings.push(Warning::Other { text: evil.clone() });
    report.distributions[0].name.clone_from(&evil);
    let mut table = Table::new(&evil, vec![Column::text(&evil), Column::text(&evil)]);
    table.push(vec![Cell::text(&evil), Cell::List(vec![evil.clone()])]);
    let bars = vec![SizeBar { size: evil.clone(), measured: Some(Rate::of(1e6, 64.0)), ..SizeBar::default() }];
    let strip = LatencyStrip { name: evil.clone(), index: 0, ticks: vec![(1.0, LatencyTick::default())], end_s: 1.0, range_ns: (1, 2) };
    let plots = [
        Plot::Throughput(Throughput { unit: Unit::Mpps, what: evil.clone(), bars }),
        Plot::LossByLoad(vec![LossCurve { name: evil.clone(), points: vec![(0.1, 0.2)] }]),
        Plot::Boxes(Boxes { unit: evil.clone(), rows: vec![BoxRow { name: evil.clone(), values: vec![1.0] }] }),
        Plot::Ports(vec![PortBar { name: evil.clone(), ..PortBar::default() }]),
        Plot::OverTime(Strip { unit: evil.clone(), loss: false, points: vec![(1.0, 1.0)] }),
        Plot::LatencyOverTime(strip),
    ];
    let mut items = vec![Item::Note(evil.clone()), Item::Table(table)];
    items.extend(plots.map(|plot| Figure::item(&evil, plot, &evil)));
    report.sections.push(Section::new(&evil, items));
    let page = files(&report).remove("fixture.html").unwrap();
    assert!(!page.contains("<script"));
    assert!(page.contains("&lt;script&gt;"));
}

#[test]
fn nothing_measured_is_a_report_too() {
    let report = Report { name: "nothing".to_owned(), ..Report::default() };
    assert!(printed(&report, 80).contains("VALID"));
    let files = files(&report);
    assert_eq!(files.keys().collect::<Vec<_>>(), ["nothing.html", "nothing.json"]);
    let empty = [
        Plot::Percentiles(vec![Curve { name: String::new(), histogram: empty_histogram() }]),
        Plot::Throughput(Throughput { unit: Unit::Mpps, what: String::new(), bars: vec![SizeBar::default()] }),
        Plot::LossByLoad(vec![LossCurve { name: String::new(), points: Vec::new() }]),
        Plot::LatencyOverTime(LatencyStrip { name: String::new(), index: 0, ticks: Vec::new(), end_s: 0.0, range_ns: (0, 0) }),
        Plot::OverTime(Strip { unit: String::new(), loss: false, points: Vec::new() }),
        Plot::Spacing(Spacing::default()),
        Plot::Boxes(Boxes::default()),
        Plot::Ports(Vec::new()),
    ];
    for plot in empty {
        assert_eq!(plot.draw("").unwrap(), None, "{plot:?}");
    }
}

#[test]
fn absurd_numbers_are_drawn() {
    let mut extreme = Histogram::new_with_bounds(1, u64::MAX, 3).unwrap();
    extreme.record_n(u64::MAX, 1_000_000_000_000).unwrap();
    extreme.record(0).unwrap();
    for x in [f64::NAN, f64::INFINITY, -1.0, 0.0, 1e-300, 1e300] {
        let rate = Some(Rate::of(x, 64.0));
        let bar = SizeBar { size: "64".to_owned(), measured: rate, line: Some(Rate::line(1, 64.0)), ndr: rate, pdr: rate };
        let tick = LatencyTick { p50_ns: 0, p99_ns: 0, max_ns: u64::MAX };
        let plots = [
            Plot::Percentiles(vec![Curve { name: String::new(), histogram: extreme.clone() }]),
            Plot::Throughput(Throughput { unit: Unit::Mpps, what: String::new(), bars: vec![bar; 300] }),
            Plot::LossByLoad(vec![LossCurve { name: String::new(), points: vec![(x, x), (0.5, 0.5)] }]),
            Plot::LatencyOverTime(LatencyStrip {
                name: String::new(),
                index: 99,
                ticks: vec![(x, tick)],
                end_s: x,
                range_ns: (0, u64::MAX),
            }),
            Plot::OverTime(Strip { unit: String::new(), loss: true, points: vec![(x, x), (1.0, 2.0)] }),
            Plot::Spacing(Spacing { errors: vec![(i64::MIN, u64::MAX), (0, 1), (i64::MAX, 3)], reach_ns: None }),
            Plot::Spacing(Spacing { errors: vec![(i64::MIN, 2), (0, 1), (i64::MAX, 3)], reach_ns: Some(0) }),
            Plot::Boxes(Boxes { unit: String::new(), rows: vec![BoxRow { name: String::new(), values: vec![x, 1.0, x, 1e9] }] }),
            Plot::Ports(vec![PortBar { offered_bps: x, rx_bps: x, tx_bps: x, lost: u64::MAX, due: 1, ..PortBar::default() }]),
        ];
        for plot in plots {
            let svg = plot.draw("absurd").unwrap().unwrap_or_default();
            assert!(!svg.contains("NaN") && !svg.contains("\"inf"), "{x}: {plot:?}");
        }
    }
}

#[test]
fn many_ports_get_rows_of_their_own() {
    let section = fixture::ports(64);
    let Item::Figure(figure) = &section.items[0] else { panic!("a figure") };
    let plot = figure.plot.draw("ports").unwrap().unwrap();
    let mut rows: Vec<i32> = Vec::new();
    for (name, y) in texts(&plot).filter(|(text, _)| text.ends_with("1G") || text.ends_with("10G")) {
        assert!(rows.last().is_none_or(|last| y - last >= 14), "{name} overlaps the row above");
        rows.push(y);
    }
    assert_eq!(rows.len(), 65);
}

/// The texts of an SVG with their y.
fn texts(svg: &str) -> impl Iterator<Item = (&str, i32)> {
    svg.split("<text ").skip(1).map(|element| {
        let y = element.split(" y=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
        (element.split('>').nth(1).unwrap().split('<').next().unwrap().trim(), y.parse().unwrap())
    })
}

#[test]
fn errors_name_the_path() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("occupied");
    fs::write(&file, "").unwrap();
    let error = write_all(&fixture::report(), Path::new(&file)).unwrap_err();
    assert!(error.to_string().contains("occupied"), "{error}");
}
