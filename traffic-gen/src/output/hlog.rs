//! Interval logs as HdrHistogram's tools write and read them: `.hlog`, log format version 1.2, V2 compressed histograms.
//!
//! Each line is one interval of one distribution, which is named by its tag. Histograms hold ns; the column `Interval_Max` is in
//! ms, which is what Java's `HistogramLogWriter` makes of ns. Times count from `BaseTime`, the start of the run.

use std::io;
use std::time::{Duration, SystemTime};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use super::model::{Distribution, Interval};

/// ns in a ms: the unit of `Interval_Max`.
const MAX_DIVISOR: f64 = 1e6;

const LEGEND: &[u8] = b"\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n";

/// The log of these distributions as bytes; `started_unix_s` is the start of the run in seconds since 1970.
///
/// A distribution without intervals has one that is as long as the run, `duration_s`.
///
/// # Errors
///
/// A histogram that cannot be encoded.
pub fn document(distributions: &[Distribution], started_unix_s: f64, duration_s: f64) -> io::Result<Vec<u8>> {
    let start = SystemTime::UNIX_EPOCH + seconds(started_unix_s);
    let mut bytes = Vec::new();
    IntervalLogWriterBuilder::new()
        .add_comment("[Histogram log format version 1.2]")
        .with_start_time(start)
        .with_base_time(start)
        .begin_log_with(&mut bytes, &mut V2DeflateSerializer::new())?;
    // The legend is not a comment, and the writer does not write one.
    bytes.extend_from_slice(LEGEND);

    let mut serializer = V2DeflateSerializer::new();
    let mut builder = IntervalLogWriterBuilder::new();
    builder.with_max_value_divisor(MAX_DIVISOR);
    let mut writer = builder.begin_log_with(&mut bytes, &mut serializer)?;
    let mut lines: Vec<(String, Interval)> = Vec::new();
    for distribution in distributions {
        let whole = Interval { start_s: 0.0, length_s: duration_s, histogram: distribution.histogram.clone() };
        let intervals = if distribution.intervals.is_empty() { vec![whole] } else { distribution.intervals.clone() };
        lines.extend(intervals.into_iter().map(|interval| (tag(&distribution.name), interval)));
    }
    // Readers expect them in the order of time.
    lines.sort_by(|a, b| a.1.start_s.total_cmp(&b.1.start_s));
    for (name, interval) in &lines {
        writer
            .write_histogram(&interval.histogram, seconds(interval.start_s), seconds(interval.length_s), Tag::new(name))
            .map_err(|error| io::Error::other(format!("interval log, {name}: {error:?}")))?;
    }
    Ok(bytes)
}

/// A name without what separates fields: ` `, `,`, ends of lines.
fn tag(name: &str) -> String {
    name.chars().map(|c| if c == ',' || c.is_whitespace() || c.is_control() { '_' } else { c }).collect()
}

/// A span; what is no span is none.
fn seconds(s: f64) -> Duration {
    Duration::try_from_secs_f64(s).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::empty_histogram;
    use hdrhistogram::Histogram;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    fn filled(values: std::ops::Range<u64>) -> Histogram<u64> {
        let mut histogram = empty_histogram();
        values.for_each(|value| histogram.saturating_record(value * 1_000));
        histogram
    }

    /// Two directions, one cut into two intervals of a second.
    fn log() -> (Vec<Distribution>, String) {
        let mut up = Distribution::new("blade→uplink, all", filled(1..201));
        up.intervals = vec![
            Interval { start_s: 1.0, length_s: 1.0, histogram: filled(101..201) },
            Interval { start_s: 0.0, length_s: 1.0, histogram: filled(1..101) },
        ];
        let distributions = vec![up, Distribution::new("down", filled(5..6))];
        let text = String::from_utf8(document(&distributions, 1_767_323_045.25, 2.0).unwrap()).unwrap();
        (distributions, text)
    }

    #[test]
    fn the_head_is_that_of_version_1_2() {
        let (_, text) = log();
        let head: Vec<&str> = text.lines().take(5).collect();
        assert_eq!(
            head,
            [
                "#[Histogram log format version 1.2]",
                "#[StartTime: 1767323045.250 (seconds since epoch)]",
                "#[BaseTime: 1767323045.250 (seconds since epoch)]",
                "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"",
                "#[MaxValueDivisor: 1000000.000]",
            ]
        );
        assert!(text.lines().nth(5).unwrap().starts_with("Tag=blade→uplink__all,0.000,1.000,0.100,HISTFAAAA"), "{text}");
    }

    /// Tag, start in seconds and histogram of each line.
    fn read(text: &str) -> Vec<(String, u64, Histogram<u64>)> {
        let mut read = Vec::new();
        for entry in IntervalLogIterator::new(text.as_bytes()) {
            if let LogEntry::Interval(interval) = entry.unwrap() {
                let bytes = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, interval.encoded_histogram()).unwrap();
                let histogram: Histogram<u64> = Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
                read.push((interval.tag().unwrap().as_str().to_owned(), interval.start_timestamp().as_secs(), histogram));
            }
        }
        read
    }

    /// `golden.hlog` was read by HdrHistogram for Python 0.10.3, which found the same counts.
    #[test]
    fn the_golden_log_is_still_what_is_written() {
        let (_, text) = log();
        let golden = include_str!("golden.hlog");
        // How well zlib compresses is its own business: the columns before the histogram, and what it decodes to.
        let columns =
            |text: &str| -> Vec<String> { text.lines().map(|line| line.split("HISTF").next().unwrap_or_default().to_owned()).collect() };
        assert_eq!(columns(golden), columns(&text));
        assert!(read(golden) == read(&text));
    }

    #[test]
    fn the_crate_reads_it_back() {
        let (distributions, text) = log();
        let read = read(&text);
        let expected = [("blade→uplink__all", 0, 1), ("down", 0, 0), ("blade→uplink__all", 1, 0)];
        assert_eq!(read.len(), expected.len());
        for ((tag, start, histogram), (name, second, interval)) in read.iter().zip(expected) {
            assert_eq!((tag.as_str(), *start), (name, second));
            let source = if name == "down" { &distributions[1].histogram } else { &distributions[0].intervals[interval].histogram };
            assert!(histogram == source);
        }
    }

    #[test]
    fn hostile_times_are_none() {
        let distribution = Distribution::new("\n", empty_histogram());
        let text = String::from_utf8(document(&[distribution], f64::NAN, f64::INFINITY).unwrap()).unwrap();
        assert!(text.contains("\nTag=_,0.000,0.000,0.000,"), "{text}");
    }
}
