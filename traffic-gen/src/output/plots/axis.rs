//! Axes: round numbers for the ticks, and where a value lies between the ends.
//!
//! One type serves linear, logarithmic and percentile scales as a coordinate of `plotters`, so that charts are drawn over
//! plain values in the unit of their title. What lies beyond an end is drawn at the end.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

use crate::output::numbers::fixed;

/// One axis of a plot.
#[derive(Debug, Clone)]
pub(super) struct Axis {
    scale: Scale,
    range: Range<f64>,
    ticks: Vec<f64>,
    /// Decimals that tell the ticks of a linear scale apart.
    decimals: usize,
    title: String,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Scale {
    Linear,
    Log,
    /// Quantiles, each further nine as wide as the one before.
    Nines,
}

impl Axis {
    /// From `start` to `end` with about `ticks` round steps.
    pub(super) fn linear(start: f64, end: f64, ticks: f64, title: &str) -> Self {
        let start = if start.is_finite() { start } else { 0.0 };
        let end = if end.is_finite() && end > start { end } else { start + 1.0 };
        let step = round_step((end - start) / ticks.max(1.0));
        // A hair of room, so that a step that ends at the end is not lost to rounding.
        let (first, last) = ((start / step - 1e-9).ceil() as i64, (end / step + 1e-9).floor() as i64);
        // Counted, not accumulated, so that labels stay round.
        let ticks = (first..=last.min(first.saturating_add(100))).map(|i| i as f64 * step).collect();
        let decimals = (-step.log10().floor()).clamp(0.0, 9.0) as usize;
        Self { scale: Scale::Linear, range: start..end, ticks, decimals, title: title.to_owned() }
    }

    /// From zero to a round number at or above `max`.
    pub(super) fn from_zero(max: f64, title: &str) -> Self {
        let max = if max.is_finite() && max > 0.0 { max } else { 1.0 };
        let step = round_step(max / 4.0);
        let steps = (max / step - 1e-9).ceil();
        Self::linear(0.0, steps * step, steps, title)
    }

    /// For latency in µs, with at most `ticks_max` ticks: logarithmic where the values span more than a factor of 20,
    /// else from zero.
    pub(super) fn latency(min_us: f64, max_us: f64, ticks_max: usize, title: &str) -> Self {
        // Below 10 ns there is nothing to see, and zero has no logarithm; above, 64 bits of ns end.
        let (min_us, max_us) = (min_us.max(0.01), max_us.min(2e16));
        if !max_us.is_finite() || max_us / min_us <= 20.0 {
            return Self::from_zero(max_us, title);
        }
        Self::log(min_us, max_us, ticks_max, title)
    }

    /// Logarithmic from `min` to `max`, both above zero, with at most `ticks_max` ticks.
    pub(super) fn log(min: f64, max: f64, ticks_max: usize, title: &str) -> Self {
        let decades = min.log10().floor() as i32..=max.log10().ceil() as i32;
        let steps = |digits: &[f64]| -> Vec<f64> {
            decades.clone().flat_map(|decade| digits.iter().map(move |digit| digit * 10_f64.powi(decade))).collect()
        };
        // The ends are the steps of 1, 2 or 5 next to the values, so that little paper stays empty.
        let fine = steps(&[1.0, 2.0, 5.0]);
        let start = fine.iter().copied().filter(|v| *v <= min).fold(fine[0], f64::max);
        let end = fine.iter().copied().filter(|v| *v >= max).fold(f64::INFINITY, f64::min).min(fine[fine.len() - 1]);
        let shown = |steps: Vec<f64>| -> Vec<f64> { steps.into_iter().filter(|v| (start..=end).contains(v)).collect() };
        let mut ticks = shown(fine);
        if ticks.len() > ticks_max {
            ticks = shown(steps(&[1.0]));
            ticks = ticks.iter().copied().step_by(ticks.len().div_ceil(ticks_max.max(1)).max(1)).collect();
        }
        Self { scale: Scale::Log, range: start..end, ticks, decimals: 6, title: title.to_owned() }
    }

    /// Quantiles up to the last that `samples` can tell, at most seven nines: 0, 50, 90, 99, 99.9 …
    pub(super) fn percentiles(samples: u64, title: &str) -> Self {
        let end = 1.0 - 1.0 / (samples.clamp(10, 10_000_000) as f64);
        let mut ticks = vec![0.0, 0.5, 0.9];
        ticks.extend((2..=7).map(|nines| 1.0 - 10_f64.powi(-nines)));
        ticks.retain(|quantile| *quantile <= end);
        Self { scale: Scale::Nines, range: 0.0..end, ticks, decimals: 0, title: title.to_owned() }
    }

    /// From a round number at or below `min` to one at or above `max`, with about `ticks` steps: for values close to each other.
    pub(super) fn around(min: f64, max: f64, ticks: f64, title: &str) -> Self {
        let min = if min.is_finite() { min.clamp(-1e15, 1e15) } else { 0.0 };
        let max = if max.is_finite() { max.clamp(min, 2e15) } else { min };
        // Values that are all alike get a hundredth of them on either side, zero one.
        let room = ((max - min) * 0.1).max(if max == min { (max.abs() * 0.01).max(0.5) } else { 0.0 });
        let step = round_step((max - min + 2.0 * room) / ticks.max(1.0));
        Self::linear(((min - room) / step).floor() * step, ((max + room) / step).ceil() * step, ticks * 1.2, title)
    }

    /// The axis without ticks and labels, for a panel that has nothing to measure.
    pub(super) fn without_ticks(mut self) -> Self {
        self.ticks.clear();
        self
    }

    /// An axis that shows nothing, for rows that have names instead.
    pub(super) fn blank() -> Self {
        Self::from_zero(1.0, "").without_ticks()
    }

    /// What is measured, with its unit.
    pub(super) fn title(&self) -> &str {
        &self.title
    }

    /// The lowest value that is shown.
    pub(super) fn start(&self) -> f64 {
        self.range.start
    }

    /// Where a value lies, 0.0 at the start and 1.0 at the end.
    pub(super) fn share(&self, value: f64) -> f64 {
        let (start, end) = (self.position(self.range.start), self.position(self.range.end));
        let share = (self.position(value) - start) / (end - start);
        if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) }
    }

    /// A value on the scale on which equal distances look equal.
    fn position(&self, value: f64) -> f64 {
        match self.scale {
            Scale::Linear => value,
            Scale::Log => value.max(1e-9).log10(),
            Scale::Nines => -(1.0 - value).max(1e-12).log10(),
        }
    }

    /// What stands at a tick.
    fn label(&self, value: f64) -> String {
        match self.scale {
            Scale::Linear => short(value, self.decimals),
            Scale::Log => short(value, if value.abs() >= 10.0 { 1 } else { self.decimals }),
            Scale::Nines if value == 0.0 => "min".to_owned(),
            // As many decimals as there are nines beyond two.
            Scale::Nines => {
                let decimals = (self.position(value).round() as usize).saturating_sub(2);
                format!("{:.decimals$}", 100.0 * value)
            }
        }
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        limit.0 + (f64::from(limit.1 - limit.0) * self.share(*value)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        // No light lines: every line on the grid has its number.
        if hint.weight().allow_light_points() { Vec::new() } else { self.ticks.clone() }
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, value: &f64) -> String {
        self.label(*value)
    }
}

/// The smallest of 1, 2, 5 times a power of ten that is at least `step`.
fn round_step(step: f64) -> f64 {
    let decade = 10_f64.powf(step.max(1e-12).log10().floor());
    [1.0, 2.0, 5.0, 10.0].map(|digit| digit * decade).into_iter().find(|v| *v >= step * 0.999_999).unwrap_or(decade * 10.0)
}

/// A tick label without needless decimals.
fn short(value: f64, decimals: usize) -> String {
    let mut text = fixed(value, decimals);
    if text.contains('.') {
        text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<String> {
        axis.ticks.iter().map(|tick| axis.label(*tick)).collect()
    }

    #[test]
    fn linear_ticks_are_round() {
        assert_eq!(labels(&Axis::from_zero(38.69, "Mpps")), ["0", "10", "20", "30", "40"]);
        assert_eq!(labels(&Axis::from_zero(0.3, "")), ["0", "0.1", "0.2", "0.3"]);
        assert_eq!(labels(&Axis::linear(0.0, 5.0, 10.0, "s")), ["0", "0.5", "1", "1.5", "2", "2.5", "3", "3.5", "4", "4.5", "5"]);
        assert_eq!(labels(&Axis::from_zero(1_500_000.0, "")), ["0", "500,000", "1,000,000", "1,500,000"]);
    }

    #[test]
    fn latency_is_logarithmic_where_it_spans() {
        assert_eq!(labels(&Axis::latency(3.0, 9.0, 10, "")), ["0", "5", "10"]);
        assert_eq!(labels(&Axis::latency(1.2, 90.0, 10, "")), ["1", "2", "5", "10", "20", "50", "100"]);
        let long = Axis::latency(0.9, 36_000.0, 10, "");
        assert_eq!(labels(&long), ["1", "10", "100", "1,000", "10,000"]);
        assert_eq!(long.range, 0.5..50_000.0);
        assert!((long.share(158.0) - 0.5).abs() < 0.01, "halfway in decades");
    }

    #[test]
    fn low_plots_have_fewer_ticks() {
        assert_eq!(labels(&Axis::latency(1.2, 900.0, 7, "")), ["1", "10", "100", "1,000"]);
        assert_eq!(labels(&Axis::latency(0.01, 1e9, 4, "")).len(), 4);
    }

    #[test]
    fn every_nine_has_the_same_room() {
        let axis = Axis::percentiles(100_000, "");
        assert_eq!(labels(&axis), ["min", "50", "90", "99", "99.9", "99.99", "99.999"]);
        for (quantile, share) in [(0.9, 0.2), (0.99, 0.4), (0.999, 0.6), (0.9999, 0.8), (1.0, 1.0)] {
            assert!((axis.share(quantile) - share).abs() < 1e-6, "{quantile} lies at {}", axis.share(quantile));
        }
    }

    #[test]
    fn close_values_are_told_apart() {
        assert_eq!(labels(&Axis::around(14.8802, 14.8808, 4.0, "")), ["14.88", "14.8805", "14.881"]);
        let axis = Axis::around(7.0, 7.0, 4.0, "");
        assert!(axis.range.start < 7.0 && axis.range.end > 7.0 && axis.ticks.len() > 2, "{axis:?}");
    }

    #[test]
    fn hostile_numbers_make_an_axis() {
        for max in [f64::NAN, f64::INFINITY, -1.0, 0.0, 1e-300, 1e300, u64::MAX as f64] {
            for axis in [
                Axis::from_zero(max, ""),
                Axis::latency(0.0, max, 7, ""),
                Axis::linear(0.0, max, 10.0, ""),
                Axis::around(0.0, max, 5.0, ""),
                Axis::around(max, max, 5.0, ""),
            ] {
                assert!(axis.range.start < axis.range.end, "{max}: {:?}", axis.range);
                assert!(axis.ticks.len() <= 101, "{max}: {} ticks", axis.ticks.len());
                assert!((0.0..=1.0).contains(&axis.share(f64::NAN)));
            }
        }
    }
}
