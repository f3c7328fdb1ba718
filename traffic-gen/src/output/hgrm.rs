//! The percentile distribution as text, exactly as HdrHistogram's `outputPercentileDistribution` prints it.
//!
//! Plotters read it by its shape (`plotFiles.html` takes columns one and four, `hdr-plot` wants four numbers in a line and
//! the lines `#[Mean` and `#[Max`), so nothing is added, not even the unit: the page and the JSON beside it state it.
//! Format: `AbstractHistogram.java` of HdrHistogram 2.1, five ticks per half distance, the default of its tools.

use std::io::{self, Write};

use hdrhistogram::Histogram;

/// What a histogram of ns is divided by in the files of a report: they are in µs.
pub const HGRM_NS_PER_UNIT: f64 = 1_000.0;

/// Steps for each halving of the distance to 100 %.
const TICKS_PER_HALF_DISTANCE: u32 = 5;

/// Writes the distribution of `histogram`, its values divided by `scale` (1,000 prints ns as µs).
///
/// # Errors
///
/// Those of `out`.
pub fn write_hgrm(histogram: &Histogram<u64>, scale: f64, out: &mut dyn Write) -> io::Result<()> {
    let digits = usize::from(histogram.sigfig());
    write!(out, "{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)")?;

    let total = histogram.len();
    let (mut count, mut level) = (0_u64, 0.0);
    for recorded in histogram.iter_recorded() {
        count = count.saturating_add(recorded.count_at_value());
        let value = recorded.value_iterated_to() as f64 / scale;
        let reached = 100.0 * count as f64 / total as f64;
        // One value can be the answer to several levels.
        while reached >= level {
            let quantile = level / 100.0;
            let row = [rounded(value, digits), rounded(quantile, 12), rounded(1.0 / (1.0 - quantile), 2)];
            writeln!(out, "{:>12} {} {count:10} {:>14}", row[0], row[1], row[2])?;
            let next = level + step(level);
            // Everything beyond the last value is 100 %, and so is a level that a float cannot come closer to it with.
            if count >= total || next == level || next >= 100.0 {
                break;
            }
            level = next;
        }
    }
    if total > 0 {
        let value = histogram.max() as f64 / scale;
        writeln!(out, "{:>12} {:.12} {total:10}", rounded(value, digits), 1.0)?;
    }

    let [mean, deviation, max] = [histogram.mean(), histogram.stdev(), histogram.max() as f64].map(|ns| rounded(ns / scale, digits));
    writeln!(out, "#[Mean    = {mean:>12}, StdDeviation   = {deviation:>12}]")?;
    writeln!(out, "#[Max     = {max:>12}, Total count    = {total:12}]")?;
    writeln!(out, "#[Buckets = {:12}, SubBuckets     = {:12}]", histogram.buckets(), sub_buckets(histogram.sigfig()))
}

/// The distance to the next level: a fifth of half the distance to 100 %, as that stood at the last halving.
///
/// In per cent and with these operations, as Java does it: the crate's own iterator works on quantiles, and where a level
/// falls exactly on a count the two round to different lines.
fn step(level: f64) -> f64 {
    let halvings = ((100.0 / (100.0 - level)).ln() / 2.0_f64.ln()) as i32;
    100.0 / (f64::from(TICKS_PER_HALF_DISTANCE) * 2.0_f64.powi(halvings + 1))
}

/// A number that is not negative with fixed decimals, halves rounded up as Java does; Rust and C round them to even.
fn rounded(value: f64, decimals: usize) -> String {
    let plain = format!("{value:.decimals$}");
    let shortest = value.to_string();
    let Some((whole, fraction)) = shortest.split_once('.') else { return plain };
    if fraction.len() <= decimals {
        return plain;
    }
    let (kept, rest) = fraction.split_at(decimals);
    let Ok(digits) = format!("{whole}{kept}").parse::<u128>() else { return plain };
    let digits = digits + u128::from(rest.starts_with(['5', '6', '7', '8', '9']));
    let mut text = format!("{digits:0width$}", width = decimals + 1);
    if decimals > 0 {
        text.insert(text.len() - decimals, '.');
    }
    text
}

/// Counters per bucket: the power of two that holds `2 * 10^digits` values of single-unit resolution.
fn sub_buckets(digits: u8) -> u64 {
    (2 * 10_u64.pow(u32::from(digits))).next_power_of_two()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(histogram: &Histogram<u64>) -> String {
        let mut bytes = Vec::new();
        write_hgrm(histogram, HGRM_NS_PER_UNIT, &mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn an_empty_histogram_has_a_head_and_a_foot() {
        let expected = "       Value     Percentile TotalCount 1/(1-Percentile)\n\n\
                        #[Mean    =        0.000, StdDeviation   =        0.000]\n\
                        #[Max     =        0.000, Total count    =            0]\n\
                        #[Buckets =           27, SubBuckets     =         2048]\n";
        assert_eq!(text(&Histogram::new_with_bounds(1, 100_000_000_000, 3).unwrap()), expected);
    }

    /// `golden.hgrm` was printed by HdrHistogram 2.1.11 (Java) for these same values.
    #[test]
    fn the_same_as_java() {
        let mut histogram = Histogram::new_with_bounds(1, 10_000_000_000, 3).unwrap();
        for i in 1..=1_000_u64 {
            histogram.record(i * i * 7 % 100_000 + 500).unwrap();
        }
        histogram.record_n(36_102_000, 2).unwrap();
        assert_eq!(text(&histogram), include_str!("golden.hgrm"));
    }

    #[test]
    fn one_value_has_two_lines() {
        let mut histogram = Histogram::new_with_bounds(1, 1_000_000, 3).unwrap();
        histogram.record_n(1_500, 7).unwrap();
        let text = text(&histogram);
        let rows: Vec<&str> = text.lines().skip(2).take_while(|line| !line.starts_with('#')).collect();
        assert_eq!(rows, ["       1.500 0.000000000000          7           1.00", "       1.500 1.000000000000          7"]);
    }

    #[test]
    fn counts_near_the_limit_end() {
        let mut histogram = Histogram::new_with_bounds(1, 1_000_000, 3).unwrap();
        histogram.record_n(10, u64::MAX - 1).unwrap();
        histogram.record_n(1_000, 1).unwrap();
        assert!(text(&histogram).lines().count() < 400);
    }

    #[test]
    fn halves_are_rounded_up() {
        assert_eq!(rounded(0.999_780_273_437_5, 12), "0.999780273438");
        assert_eq!(rounded(0.125, 2), "0.13");
        assert_eq!(rounded(9.995, 2), "10.00");
        assert_eq!(rounded(2.5, 0), "3");
        assert_eq!(rounded(0.0, 3), "0.000");
        assert_eq!(rounded(36_110.335, 3), "36110.335");
        assert_eq!(rounded(f64::INFINITY, 3), "inf");
    }

    #[test]
    fn sub_buckets_as_in_java() {
        assert_eq!([0, 1, 2, 3, 4, 5].map(sub_buckets), [2, 32, 256, 2_048, 32_768, 262_144]);
    }
}
