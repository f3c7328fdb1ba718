//! Latency by percentile: one step line per direction over an axis that gives each nine the same room.
//!
//! Steps, not smooth lines: between two samples nothing was measured. A line ends where its last sample is, at 1/n from 100 %.

use hdrhistogram::Histogram;
use plotters::prelude::*;

use super::axis::Axis;
use super::{LEFT, Plot, RIGHT, chart, direction_ink, plot_error, svg, thinned};
use crate::report::model::Direction;

const HEIGHT: u32 = 400;

/// The curve of every direction that has samples; `None` if none has.
pub(in crate::report) fn percentile_curves(directions: &[Direction]) -> Plot {
    let filled = || directions.iter().enumerate().filter(|(_, direction)| direction.samples() > 0);
    let Some(samples) = filled().map(|(_, d)| d.samples()).max() else { return Ok(None) };
    let min_us = filled().map(|(_, d)| d.histogram.min()).min().unwrap_or(0) as f64 / 1e3;
    let max_us = filled().map(|(_, d)| d.histogram.max()).max().unwrap_or(0) as f64 / 1e3;
    let x = Axis::percentiles(samples, "percentile");
    let y = Axis::latency(min_us, max_us, 14, "latency, µs");

    svg(HEIGHT, "Latency by percentile, one line per direction", |area| {
        let mut chart = chart(area, &x, &y, LEFT, RIGHT)?;
        for (drawn, (index, direction)) in filled().enumerate() {
            // Later lines are thinner, so that a line that hides another leaves its edges to be seen.
            let width = 4_u32.saturating_sub(drawn as u32).max(2);
            let line = thinned(steps(&direction.histogram), &x);
            chart.draw_series(LineSeries::new(line, direction_ink(index).rgb().stroke_width(width))).map_err(plot_error)?;
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
