//! Rates of links: whole bits per second, written with a unit.
//!
//! "Any standard or non-standard rate" can be said, and nothing is rounded: `2.5G` is 2,500,000,000 bit/s, and a text that
//! is not a whole number of bits per second is refused. Prefixes are powers of ten, as everywhere in Ethernet.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The rate of a link in bit/s, 1 to 800,000,000,000.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Speed(u64);

impl Speed {
    /// 1 Gb/s: the backplane.
    pub const G1: Speed = Speed(1_000_000_000);
    /// 10 Gb/s: the uplink.
    pub const G10: Speed = Speed(10_000_000_000);
    /// The highest rate, 800 Gb/s (IEEE 802.3df-2024).
    pub const MAX: Speed = Speed(800_000_000_000);

    /// The rate of `bps` bits per second; `None` for 0 and above [`MAX`](Self::MAX).
    pub const fn from_bits_per_second(bps: u64) -> Option<Speed> {
        if bps >= 1 && bps <= Self::MAX.0 { Some(Speed(bps)) } else { None }
    }

    /// Bits per second, never 0.
    pub const fn bits_per_second(self) -> u64 {
        self.0
    }
}

/// Prefixes and what they stand for, the largest first.
const UNITS: [(char, u64); 4] = [('T', 1_000_000_000_000), ('G', 1_000_000_000), ('M', 1_000_000), ('K', 1_000)];

/// With the largest prefix that needs at most three decimals; else in plain bits per second.
impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (prefix, scale) in UNITS {
            let (whole, rest) = (self.0 / scale, self.0 % scale);
            if whole > 0 && rest.is_multiple_of(scale / 1000) {
                let decimals = format!("{:03}", rest / (scale / 1000));
                let decimals = decimals.trim_end_matches('0');
                let point = if decimals.is_empty() { "" } else { "." };
                return f.pad(&format!("{whole}{point}{decimals}{prefix}"));
            }
        }
        f.pad(&self.0.to_string())
    }
}

impl fmt::Debug for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Speed({self})")
    }
}

/// Why a text is not a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpeedParseError {
    /// Not a number with a unit, or zero.
    #[error("expected a rate above zero with a unit, such as \"1G\", \"2.5G\", \"100M\"")]
    NotARate,
    /// Decimals beyond one bit per second.
    #[error("is not a whole number of bits per second: expected a rate such as \"1G\", \"2.5G\", \"100M\"")]
    Fraction,
    /// Above [`Speed::MAX`].
    #[error("is too fast: expected a rate of at most 800G")]
    TooFast,
}

impl FromStr for Speed {
    type Err = SpeedParseError;

    /// A decimal number, one of the prefixes `K M G T` (either case) or none, and `bit/s`, `bps` or nothing.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let text = text.strip_suffix("bit/s").or_else(|| text.strip_suffix("bps")).unwrap_or(text).trim_end();
        let prefixed = UNITS
            .iter()
            .find_map(|&(prefix, scale)| text.strip_suffix([prefix, prefix.to_ascii_lowercase()]).map(|number| (number.trim_end(), scale)));
        let (number, scale) = prefixed.unwrap_or((text, 1));

        let (whole, decimals) = match number.split_once('.') {
            Some((_, "")) => return Err(SpeedParseError::NotARate),
            Some((whole, decimals)) => (whole, decimals),
            None => (number, ""),
        };
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !digits(whole) || !digits(decimals) {
            return Err(SpeedParseError::NotARate);
        }
        let whole = whole.trim_start_matches('0');
        let decimals = decimals.trim_end_matches('0');
        if whole.is_empty() && decimals.is_empty() {
            return Err(SpeedParseError::NotARate);
        }
        if whole.len() > 12 {
            return Err(SpeedParseError::TooFast); // At least 10^12 bit/s, whatever the unit.
        }
        if decimals.len() > 12 {
            return Err(SpeedParseError::Fraction); // The largest unit has twelve zeros.
        }
        // Both parts have at most twelve digits and the scale has 13: products stay below 10^25.
        let part = |digits: &str| digits.parse::<u128>().unwrap_or(0);
        let fraction = part(decimals) * u128::from(scale);
        let divisor = 10u128.pow(decimals.len() as u32);
        if !fraction.is_multiple_of(divisor) {
            return Err(SpeedParseError::Fraction);
        }
        let bps = part(whole) * u128::from(scale) + fraction / divisor;
        u64::try_from(bps).ok().and_then(Speed::from_bits_per_second).ok_or(SpeedParseError::TooFast)
    }
}

impl Serialize for Speed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Speed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rates_with_units() {
        for (text, bps, shown) in [
            ("1G", 1_000_000_000, "1G"),
            ("10G", 10_000_000_000, "10G"),
            ("2.5G", 2_500_000_000, "2.5G"),
            ("0.1g", 100_000_000, "100M"),
            ("100M", 100_000_000, "100M"),
            ("1000000000", 1_000_000_000, "1G"),
            ("1 Gbit/s", 1_000_000_000, "1G"),
            ("25Gbps", 25_000_000_000, "25G"),
            ("64 kbit/s", 64_000, "64K"),
            ("1bps", 1, "1"),
            ("1.234567891G", 1_234_567_891, "1234567.891K"),
            ("1000000001", 1_000_000_001, "1000000.001K"),
            ("0.8T", 800_000_000_000, "800G"),
            ("0800.000G", 800_000_000_000, "800G"),
            ("0.000000000001T", 1, "1"),
        ] {
            let speed: Speed = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!((speed.bits_per_second(), speed.to_string().as_str()), (bps, shown), "{text}");
        }
    }

    #[test]
    fn what_is_no_rate() {
        use SpeedParseError::*;
        for (text, error) in [
            ("0", NotARate),
            ("0.0G", NotARate),
            ("", NotARate),
            ("G", NotARate),
            ("fast", NotARate),
            ("-1G", NotARate),
            ("+1G", NotARate),
            ("1.G", NotARate),
            (".5G", NotARate),
            ("1.2.3G", NotARate),
            ("1e9", NotARate),
            ("1GB/s", NotARate),
            ("1 G G", NotARate),
            ("٣G", NotARate),
            ("1.5", Fraction),
            ("1.0000000001G", Fraction),
            ("1.00000000000000000000000001T", Fraction),
            ("800.000000001G", TooFast),
            ("1T", TooFast),
            ("99999999999999999999999999999999999999999G", TooFast),
        ] {
            assert_eq!(text.parse::<Speed>(), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_rate_round_trips(bps in 1..=Speed::MAX.bits_per_second()) {
            let speed = Speed::from_bits_per_second(bps).unwrap();
            prop_assert_eq!(speed.to_string().parse::<Speed>(), Ok(speed));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,20}|[0-9.KMGTbits/ ]{0,30}") {
            let _ = text.parse::<Speed>();
        }
    }
}
