//! Latency by percentile: one step line per direction or load over an axis that gives each nine the same room.
//!
//! Steps, not smooth lines: between two samples nothing was measured. A line ends where its last sample is, at 1/n from 100 %.

use hdrhistogram::Histogram;
use plotters::prelude::*;

use super::axis::Axis;
use super::{Drawn, LEFT, RIGHT, chart, plot_error, series_ink, svg, thinned};

const HEIGHT: u32 = 400;

/// One line: a direction, a load, a view.
#[derive(Debug, Clone)]
pub struct Curve {
    /// What it stands for.
    pub name: String,
    /// Values in ns.
    pub histogram: Histogram<u64>,
}

/// Every curve that has samples; `None` if none has.
pub(super) fn draw(curves: &[Curve], label: &str) -> Drawn {
    let filled = || curves.iter().enumerate().filter(|(_, curve)| !curve.histogram.is_empty());
    let Some(samples) = filled().map(|(_, curve)| curve.histogram.len()).max() else { return Ok(None) };
    let min_us = filled().map(|(_, curve)| curve.histogram.min()).min().unwrap_or(0) as f64 / 1e3;
    let max_us = filled().map(|(_, curve)| curve.histogram.max()).max().unwrap_or(0) as f64 / 1e3;
    let x = Axis::percentiles(samples, "percentile");
    let y = Axis::latency(min_us, max_us, 14, "µs");

    svg(HEIGHT, label, |area| {
        let mut chart = chart(area, &x, &y, LEFT, RIGHT)?;
        for (drawn, (index, curve)) in filled().enumerate() {
            // Later lines are thinner, so that a line that hides another leaves its edges to be seen.
            let width = 4_u32.saturating_sub(drawn as u32).max(2);
            let line = thinned(steps(&curve.histogram), &x);
            chart.draw_series(LineSeries::new(line, series_ink(index).rgb().stroke_width(width))).map_err(plot_error)?;
        }
        Ok(())
    })
}

/// Two points for each recorded value: it holds from the share of samples below it to the share at or below it.
fn steps(histogram: &Histogram<u64>) -> Vec<(f64, f64)> {
    let samples = histogram.len() as f64;
    let last = 1.0 - 1.0 / samples;
    let mut below = 0_u64;
    let mut points = Vec::new();
    for recorded in histogram.iter_recorded() {
        let from = (below as f64 / samples).min(last);
        below = below.saturating_add(recorded.count_at_value());
        let to = (below as f64 / samples).min(last);
        let us = recorded.value_iterated_to() as f64 / 1e3;
        points.extend([(from, us), (to, us)]);
    }
    points
}
