//! Decimal numbers as ratios of whole numbers, so that nothing is lost to binary fractions: 0.1 is 1/10.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A number greater than 0: `num / den`, in lowest terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ratio {
    /// Above the line.
    pub num: u64,
    /// Below the line.
    pub den: u64,
}

/// Digits a number may have after the point.
const DECIMALS_MAX: usize = 12;
/// The largest whole part.
const WHOLE_MAX: u64 = 1_000_000_000_000;

/// Why a text is not a ratio.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RatioError {
    /// Not digits with at most one point.
    #[error("expected a number such as 2, 0.5 or 1488095.238")]
    NotANumber,
    /// Nothing ever moves at 0.
    #[error("expected a number greater than 0")]
    Zero,
    /// More than can be counted exactly.
    #[error("expected at most {WHOLE_MAX}, with at most {DECIMALS_MAX} digits after the point")]
    TooFine,
}

impl Ratio {
    /// 1.
    pub const ONE: Ratio = Ratio { num: 1, den: 1 };

    /// `num / den`, in lowest terms.
    ///
    /// # Panics
    /// If either is 0.
    pub fn new(num: u64, den: u64) -> Ratio {
        assert!(num > 0 && den > 0, "a ratio of {num} to {den}");
        let (mut a, mut b) = (num, den);
        while b > 0 {
            (a, b) = (b, a % b);
        }
        Ratio { num: num / a, den: den / a }
    }

    /// For people and JSON; not for arithmetic.
    pub fn as_f64(self) -> f64 {
        self.num as f64 / self.den as f64
    }
}

impl FromStr for Ratio {
    type Err = RatioError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if (whole.is_empty() && decimals.is_empty()) || !digits(whole) || !digits(decimals) {
            return Err(RatioError::NotANumber);
        }
        let decimals = decimals.trim_end_matches('0');
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| RatioError::TooFine)? };
        if whole > WHOLE_MAX || decimals.len() > DECIMALS_MAX {
            return Err(RatioError::TooFine);
        }
        let den = 10u128.pow(decimals.len() as u32);
        let part: u128 = if decimals.is_empty() { 0 } else { decimals.parse().map_err(|_| RatioError::NotANumber)? };
        let mut num = u128::from(whole) * den + part;
        if num == 0 {
            return Err(RatioError::Zero);
        }
        let (mut a, mut b) = (num, den);
        while b > 0 {
            (a, b) = (b, a % b);
        }
        num /= a;
        let (num, den) = (u64::try_from(num).map_err(|_| RatioError::TooFine)?, (den / a) as u64);
        Ok(Ratio { num, den })
    }
}

impl fmt::Display for Ratio {
    /// As a decimal number; exact for what was parsed from one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (num, den) = (u128::from(self.num), u128::from(self.den));
        let decimals = format!("{:012}", num % den * 1_000_000_000_000 / den);
        match decimals.trim_end_matches('0') {
            "" => write!(f, "{}", num / den),
            decimals => write!(f, "{}.{decimals}", num / den),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_exact() {
        for (text, num, den) in [
            ("1", 1, 1),
            ("0.1", 1, 10),
            ("2.50", 5, 2),
            (".25", 1, 4),
            ("0.0000002", 1, 5_000_000),
            ("1000000", 1_000_000, 1),
            ("1488095.238", 744_047_619, 500),
            ("0.000000000001", 1, 1_000_000_000_000),
        ] {
            let ratio: Ratio = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!((ratio.num, ratio.den), (num, den), "{text}");
            assert_eq!(ratio.to_string().parse(), Ok(ratio), "{text}");
        }
    }

    #[test]
    fn what_is_no_ratio() {
        for text in ["", ".", "-1", "+1", "1e6", "1.2.3", "1,5", "NaN", "inf", " 1", "٣"] {
            assert_eq!(text.parse::<Ratio>(), Err(RatioError::NotANumber), "{text}");
        }
        for text in ["0", "0.0", "0000"] {
            assert_eq!(text.parse::<Ratio>(), Err(RatioError::Zero), "{text}");
        }
        for text in ["1000000000001", "99999999999999999999999", "0.0000000000001", "999999999999.999999999999"] {
            assert_eq!(text.parse::<Ratio>(), Err(RatioError::TooFine), "{text}");
        }
    }
}
