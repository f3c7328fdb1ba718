//! How numbers are written for people: thousands separators, units chosen once, nothing that is not a number.

/// `1234567` as `1,234,567`.
pub fn count(n: u64) -> String {
    group(&n.to_string())
}

/// A fixed count of decimals with thousands separators; `-` for what is not a number.
pub fn fixed(value: f64, decimals: usize) -> String {
    if !value.is_finite() {
        return "-".to_owned();
    }
    let text = format!("{:.decimals$}", value.abs());
    let (whole, fraction) = text.split_once('.').map_or((text.as_str(), None), |(whole, fraction)| (whole, Some(fraction)));
    // A value that rounds to zero has no sign.
    let sign = if value < 0.0 && text.bytes().any(|digit| (b'1'..=b'9').contains(&digit)) { "-" } else { "" };
    match fraction {
        Some(fraction) => format!("{sign}{}.{fraction}", group(whole)),
        None => format!("{sign}{}", group(whole)),
    }
}

/// Nanoseconds as µs with about four significant digits, which is what a histogram of three digits holds.
pub fn micros(ns: f64) -> String {
    let us = ns / 1e3;
    let decimals = match us.abs() {
        us if us < 10.0 => 3,
        us if us < 100.0 => 2,
        us if us < 1000.0 => 1,
        _ => 0,
    };
    fixed(us, decimals)
}

/// The same for a value that may be missing.
pub fn micros_or_dash(ns: Option<u64>) -> String {
    ns.map_or_else(|| "-".to_owned(), |ns| micros(ns as f64))
}

/// Bits a second as Gb/s with three decimals.
pub fn gbps(bps: f64) -> String {
    fixed(bps / 1e9, 3)
}

/// A line rate as a network engineer writes it: `100M`, `1G`, `2.5G`.
pub fn speed(bps: u64) -> String {
    let (unit, letter) = match bps {
        0 => return "-".to_owned(),
        1_000_000_000_000.. => (1e12, "T"),
        1_000_000_000.. => (1e9, "G"),
        1_000_000.. => (1e6, "M"),
        1_000.. => (1e3, "k"),
        _ => (1.0, ""),
    };
    let text = format!("{:.3}", bps as f64 / unit);
    format!("{}{letter}", text.trim_end_matches('0').trim_end_matches('.'))
}

/// A share as per cent without the sign: exact zero is `0`, and a small share never looks like zero.
pub fn percent(share: f64) -> String {
    let percent = share * 100.0;
    match percent {
        0.0 => "0".to_owned(),
        p if p > 0.0 && p < 0.0001 => "<0.0001".to_owned(),
        p if p > 0.0 && p < 0.1 => fixed(p, 4),
        p if p > 0.0 && p < 10.0 => fixed(p, 2),
        p => fixed(p, 1),
    }
}

/// `part / whole`, 0.0 when there is no whole.
pub fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn group(digits: &str) -> String {
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_separated() {
        assert_eq!([0, 999, 1_000, 1_234_567, u64::MAX].map(count), ["0", "999", "1,000", "1,234,567", "18,446,744,073,709,551,615"]);
        assert_eq!(fixed(-1234.5, 2), "-1,234.50");
        assert_eq!(fixed(-0.0001, 2), "0.00");
        assert_eq!(fixed(38_690_476.0, 0), "38,690,476");
        assert_eq!(fixed(f64::NAN, 2), "-");
        assert_eq!(fixed(f64::INFINITY, 2), "-");
    }

    #[test]
    fn latency_keeps_four_digits() {
        assert_eq!([0.0, 412.0, 12_345.0, 123_456.0, 36_102_000.0].map(micros), ["0.000", "0.412", "12.35", "123.5", "36,102"]);
        assert_eq!(micros_or_dash(None), "-");
    }

    #[test]
    fn speeds_read_as_on_the_label() {
        assert_eq!([0, 100_000_000, 1_000_000_000, 2_500_000_000, 10_000_000_000].map(speed), ["-", "100M", "1G", "2.5G", "10G"]);
        assert_eq!([64_000, 300].map(speed), ["64k", "300"]);
    }

    #[test]
    fn a_little_loss_is_not_none() {
        assert_eq!([0.0, 1e-9, 0.000_123, 0.0123, 0.375, 1.0].map(percent), ["0", "<0.0001", "0.0123", "1.23", "37.5", "100.0"]);
    }
}
