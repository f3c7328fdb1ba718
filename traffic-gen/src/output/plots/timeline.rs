//! The run over time: rate, loss and latency, each in a strip of its own over the same time axis, so that what happened at
//! the same moment stands in one vertical line.

use plotters::element::DashedPathElement;
use plotters::prelude::*;
use serde::Serialize;

use super::axis::Axis;
use super::{Drawn, Ink, LEFT, LOST_INK, RECEIVED_INK, RIGHT, chart, plot_error, series_ink, svg, thinned};

const HEIGHT: u32 = 170;

/// Something that was counted in each interval of a run.
#[derive(Debug, Clone)]
pub struct Strip {
    /// Its unit.
    pub unit: String,
    /// It is a loss, which is better the lower it is.
    pub loss: bool,
    /// End of an interval in seconds after the start, value.
    pub points: Vec<(f64, f64)>,
}

/// Latency of one direction in one interval.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct LatencyTick {
    /// Median, ns.
    pub p50_ns: u64,
    /// 99th percentile, ns.
    pub p99_ns: u64,
    /// Largest, ns.
    pub max_ns: u64,
}

/// Latency of one direction in each interval of a run.
#[derive(Debug, Clone)]
pub struct LatencyStrip {
    /// The direction.
    pub name: String,
    /// Its place among the directions, which gives its colour.
    pub index: usize,
    /// End of an interval in seconds after the start, latency in it. Intervals without samples are left out.
    pub ticks: Vec<(f64, LatencyTick)>,
    /// End of the run in seconds.
    pub end_s: f64,
    /// Smallest median and largest maximum of all directions in ns: strips above each other have one axis.
    pub range_ns: (u64, u64),
}

impl LatencyStrip {
    /// A strip for each direction, from its name and ticks, over one pair of axes.
    pub fn all(directions: impl IntoIterator<Item = (String, Vec<(f64, LatencyTick)>)>, end_s: f64) -> Vec<LatencyStrip> {
        let mut strips: Vec<LatencyStrip> = directions
            .into_iter()
            .enumerate()
            .map(|(index, (name, ticks))| LatencyStrip { name, index, ticks, end_s, range_ns: (0, 0) })
            .collect();
        let ticks = || strips.iter().flat_map(|strip| strip.ticks.iter().map(|(_, tick)| tick));
        let range_ns = (ticks().map(|tick| tick.p50_ns).min().unwrap_or(0), ticks().map(|tick| tick.max_ns).max().unwrap_or(0));
        strips.iter_mut().for_each(|strip| strip.range_ns = range_ns);
        strips
    }
}

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

/// A value over time.
pub(super) fn over_time(strip: &Strip, label: &str) -> Drawn {
    let points = &strip.points;
    let max = points.iter().map(|(_, v)| *v).filter(|v| v.is_finite()).fold(0.0, f64::max);
    let end_s = points.iter().map(|(t_s, _)| *t_s).filter(|t_s| t_s.is_finite()).fold(0.0, f64::max);
    let y = Axis::from_zero(max, &strip.unit);
    let ink = if strip.loss { LOST_INK } else { RECEIVED_INK };
    let mut lines = vec![Line { ink, width: 2, kind: Kind::Solid, points: points.clone() }];
    if strip.loss {
        lines.insert(0, Line { ink, width: 1, kind: Kind::Ground, points: points.clone() });
    }
    draw(end_s, &y, label, lines)
}

/// Median, 99th percentile and maximum over time; `None` when there is no sample in any interval.
pub(super) fn latency(strip: &LatencyStrip, label: &str) -> Drawn {
    if strip.ticks.is_empty() {
        return Ok(None);
    }
    let (min_us, max_us) = (strip.range_ns.0 as f64 / 1e3, strip.range_ns.1 as f64 / 1e3);
    let y = Axis::latency(min_us, max_us, 6, "µs");
    let ink = series_ink(strip.index);
    let points = |of: fn(&LatencyTick) -> u64| -> Vec<(f64, f64)> {
        strip.ticks.iter().map(|(t_s, latency)| (*t_s, of(latency) as f64 / 1e3)).collect()
    };
    let max = points(|latency| latency.max_ns);
    let lines = vec![
        Line { ink, width: 1, kind: Kind::Ground, points: max.clone() },
        Line { ink, width: 1, kind: Kind::Solid, points: max },
        Line { ink, width: 2, kind: Kind::Dashed, points: points(|latency| latency.p99_ns) },
        Line { ink, width: 3, kind: Kind::Solid, points: points(|latency| latency.p50_ns) },
    ];
    draw(strip.end_s, &y, label, lines)
}

/// Lines over the time of the whole run.
fn draw(end_s: f64, y: &Axis, label: &str, lines: Vec<Line>) -> Drawn {
    if !end_s.is_finite() || end_s <= 0.0 {
        return Ok(None);
    }
    let x = Axis::linear(0.0, end_s, 10.0, "time, s");
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
