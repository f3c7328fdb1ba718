//! The run over time: rate, loss and latency, each in a strip of its own over the same time axis, so that what happened at
//! the same moment stands in one vertical line.

use plotters::element::DashedPathElement;
use plotters::prelude::*;

use super::axis::Axis;
use super::{Ink, LEFT, LOST_INK, Plot, RECEIVED_INK, RIGHT, chart, direction_ink, plot_error, svg, thinned};
use crate::report::model::{LatencyTick, Tick};

const HEIGHT: u32 = 170;

/// One line of a strip.
struct Line {
    ink: Ink,
    width: u32,
    kind: Kind,
    points: Vec<(f64, f64)>,
}

#[derive(PartialEq)]
enum Kind {
    Solid,
    Dashed,
    /// Filled down to the axis.
    Ground,
}

/// Rate out of the switch, in the unit that `value` gives and `title` names.
pub(in crate::report) fn rate_over_time(timeline: &[Tick], title: &str, value: impl Fn(&Tick) -> f64) -> Plot {
    let points: Vec<(f64, f64)> = timeline.iter().map(|tick| (tick.t_s, value(tick))).collect();
    let max = points.iter().map(|(_, v)| *v).filter(|v| v.is_finite()).fold(0.0, f64::max);
    let y = Axis::from_zero(max, title);
    strip(timeline, &y, title, vec![Line { ink: RECEIVED_INK, width: 2, kind: Kind::Solid, points }])
}

/// Frames lost in each interval.
pub(in crate::report) fn loss_over_time(timeline: &[Tick]) -> Plot {
    let points: Vec<(f64, f64)> = timeline.iter().map(|tick| (tick.t_s, tick.lost as f64)).collect();
    let max = points.iter().map(|(_, v)| *v).fold(0.0, f64::max);
    let y = Axis::from_zero(max, "lost, frames");
    strip(
        timeline,
        &y,
        "Frames lost over time",
        vec![
            Line { ink: LOST_INK, width: 1, kind: Kind::Ground, points: points.clone() },
            Line { ink: LOST_INK, width: 2, kind: Kind::Solid, points },
        ],
    )
}

/// Median, 99th percentile and maximum of the direction at `index`, on the axis that all directions share.
/// `None` when it has no sample in any interval.
pub(in crate::report) fn latency_over_time(timeline: &[Tick], index: usize) -> Plot {
    let all = || timeline.iter().flat_map(|tick| tick.latency.iter().flatten());
    let min_us = all().map(|latency| latency.p50_ns).min().unwrap_or(0) as f64 / 1e3;
    let max_us = all().map(|latency| latency.max_ns).max().unwrap_or(0) as f64 / 1e3;
    let y = Axis::latency(min_us, max_us, 6, "latency, µs");

    let ink = direction_ink(index);
    let points = |of: fn(&LatencyTick) -> u64| -> Vec<(f64, f64)> {
        let present = timeline.iter().filter_map(|tick| Some((tick.t_s, tick.latency.get(index)?.as_ref()?)));
        present.map(|(t_s, latency)| (t_s, of(latency) as f64 / 1e3)).collect()
    };
    let max = points(|latency| latency.max_ns);
    if max.is_empty() {
        return Ok(None);
    }
    strip(
        timeline,
        &y,
        "Latency over time",
        vec![
            Line { ink, width: 1, kind: Kind::Ground, points: max.clone() },
            Line { ink, width: 1, kind: Kind::Solid, points: max },
            Line { ink, width: 2, kind: Kind::Dashed, points: points(|latency| latency.p99_ns) },
            Line { ink, width: 3, kind: Kind::Solid, points: points(|latency| latency.p50_ns) },
        ],
    )
}

/// Lines over the time of the whole run.
fn strip(timeline: &[Tick], y: &Axis, label: &str, lines: Vec<Line>) -> Plot {
    let end = timeline.iter().map(|tick| tick.t_s).filter(|t_s| t_s.is_finite()).fold(0.0, f64::max);
    if timeline.is_empty() || end <= 0.0 {
        return Ok(None);
    }
    let x = Axis::linear(0.0, end, 10.0, "time, s");
    svg(HEIGHT, label, |area| {
        let mut chart = chart(area, &x, y, LEFT, RIGHT)?;
        for line in lines {
            let points = thinned(line.points, &x);
            let style = line.ink.rgb().stroke_width(line.width);
            let drawn = match line.kind {
                Kind::Solid => chart.draw_series(LineSeries::new(points, style)).map(drop),
                Kind::Dashed => chart.draw_series([DashedPathElement::new(points, 7, 4, style)]).map(drop),
                Kind::Ground => chart.draw_series([Polygon::new(down_to(points, y.start()), line.ink.rgb().mix(0.18))]).map(drop),
            };
            drawn.map_err(plot_error)?;
        }
        Ok(())
    })
}

/// Closes a line along the bottom of the strip.
fn down_to(mut points: Vec<(f64, f64)>, bottom: f64) -> Vec<(f64, f64)> {
    if let (Some(first), Some(last)) = (points.first().copied(), points.last().copied()) {
        points.push((last.0, bottom));
        points.push((first.0, bottom));
    }
    points
}
