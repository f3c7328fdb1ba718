//! Files of a report, read by programs of others: `.hgrm` by hdr-plot, `.hlog` by HdrHistogram for Python (both from PyPI).
//!
//! `TEST_PYTHON` names a Python that has them; `.ci/run` makes one. Without it, the `python3` in the path may have them.

use std::path::Path;
use std::process::Command;

use hdrhistogram::Histogram;
use serde_json::Value;
use tempfile::TempDir;
use traffic_gen::measure::empty_histogram;
use traffic_gen::output::{Distribution, Interval, Report, write_all};

/// Three seconds of latencies with a long tail, one of them quiet.
fn report() -> Report {
    let second = |n: u64| {
        let mut histogram = empty_histogram();
        if n != 1 {
            (0..5_000_u64)
                .for_each(|i| histogram.saturating_record(800 + (i * 7_919 + n) % 1_500 + if i % 500 == 0 { i * 1_000 } else { 0 }));
        }
        histogram
    };
    let intervals: Vec<Interval> = (0..3).map(|n| Interval { start_s: n as f64, length_s: 1.0, histogram: second(n) }).collect();
    let mut whole = empty_histogram();
    intervals.iter().for_each(|interval| whole.add(&interval.histogram).unwrap());
    let up = Distribution { name: "blade→uplink".to_owned(), histogram: whole, intervals };
    let down = Distribution::new("uplink, blade 7", second(0));
    Report {
        name: "interop".to_owned(),
        started_unix_s: 1_767_323_045.25,
        duration_s: 3.0,
        distributions: vec![up, down],
        ..Report::default()
    }
}

fn written() -> (TempDir, Report) {
    let dir = tempfile::tempdir().unwrap();
    let report = report();
    write_all(&report, dir.path()).unwrap();
    (dir, report)
}

/// What a Python program prints as JSON, or `None` and why it was skipped.
fn python(program: &str, needs: &str, arguments: &[&Path]) -> Option<Value> {
    let python = std::env::var_os("TEST_PYTHON").unwrap_or_else(|| "python3".into());
    let has = Command::new(&python).args(["-W", "ignore", "-c", needs]).output();
    if !has.as_ref().is_ok_and(|output| output.status.success()) {
        println!("skipped: {} cannot `{needs}` (TEST_PYTHON names a Python that can)", python.to_string_lossy());
        return None;
    }
    let mut command = Command::new(&python);
    command.args(["-W", "ignore", "-c", program]).args(arguments).env("MPLBACKEND", "Agg");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stdout))))
}

#[test]
fn hdr_plot_reads_percentile_distributions() {
    let (dir, report) = written();
    let (file, png) = (dir.path().join("interop-blade-to-uplink.hgrm"), dir.path().join("latency.png"));
    let program = "
import json, sys
from hdr_plot.hdr_plot import main, parse_metadata, parse_percentiles
rows = parse_percentiles(sys.argv[1])
print(json.dumps({'rows': rows.values.tolist(), 'meta': parse_metadata(sys.argv[1])}))
sys.stdout = sys.stderr
sys.argv = ['hdr-plot', '--units', 'us', '--output', sys.argv[2], sys.argv[1]]
main()
";
    let Some(read) = python(program, "import hdr_plot.hdr_plot", &[&file, &png]) else { return };
    let histogram = &report.distributions[0].histogram;
    let rows = read["rows"].as_array().unwrap();
    assert!(rows.len() > 20, "{} rows", rows.len());
    for row in rows {
        let (us, quantile, count) = (row[0].as_f64().unwrap(), row[1].as_f64().unwrap(), row[2].as_f64().unwrap());
        // Columns are rounded: to the ns here, to twelve decimals there.
        let around = [quantile - 1e-9, quantile, quantile + 1e-9].map(|quantile| histogram.value_at_quantile(quantile) as f64 / 1e3);
        assert!(around.iter().any(|value| (value - us).abs() < 1e-9), "{us} µs at {quantile}, not {around:?}");
        assert_eq!(count as u64, histogram.count_between(0, (us * 1e3).round() as u64));
    }
    assert_eq!(read["meta"]["Total count"], "10000");
    assert_eq!(read["meta"]["Max"], format!("{:.3}", histogram.max() as f64 / 1e3));
    assert_eq!(std::fs::read(&png).unwrap()[1..4], *b"PNG", "hdr-plot has drawn it");
}

#[test]
fn python_reads_interval_logs() {
    let (dir, report) = written();
    let program = "
import json, sys
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader
log = HistogramLogReader(sys.argv[1], HdrHistogram(1, 10_000_000_000, 3))
lines = []
while (h := log.get_next_interval_histogram()) is not None:
    counts = [[item.value_iterated_to, item.count_at_value_iterated_to] for item in h.get_recorded_iterator()]
    lines.append([h.get_tag(), h.get_start_time_stamp(), h.get_end_time_stamp(), counts])
print(json.dumps(lines))
";
    let Some(read) = python(program, "import hdrh.log", &[&dir.path().join("interop.hlog")]) else { return };
    let [up, down] = &report.distributions[..] else { panic!("two distributions") };
    let expected: [(&str, f64, f64, &Histogram<u64>); 4] = [
        ("blade→uplink", 0.0, 1.0, &up.intervals[0].histogram),
        ("uplink__blade_7", 0.0, 3.0, &down.histogram),
        ("blade→uplink", 1.0, 1.0, &up.intervals[1].histogram),
        ("blade→uplink", 2.0, 1.0, &up.intervals[2].histogram),
    ];
    let lines = read.as_array().unwrap();
    assert_eq!(lines.len(), expected.len());
    for (line, (tag, start_s, length_s, histogram)) in lines.iter().zip(expected) {
        assert_eq!(line[0], tag);
        let (start, end) = (line[1].as_f64().unwrap(), line[2].as_f64().unwrap());
        assert_eq!((start, end - start), (1_767_323_045_250.0 + start_s * 1e3, length_s * 1e3), "in ms since 1970");
        let counts: Vec<(u64, u64)> =
            histogram.iter_recorded().map(|recorded| (recorded.value_iterated_to(), recorded.count_at_value())).collect();
        let read: Vec<(u64, u64)> = serde_json::from_value(line[3].clone()).unwrap();
        assert_eq!(read, counts, "{tag} at {start_s} s");
    }
}
