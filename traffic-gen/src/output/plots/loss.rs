//! Loss by load: one line per frame size, both axes from 0 to 100 %, as RFC 2544, section 26.3, asks for.

use plotters::prelude::*;

use super::axis::Axis;
use super::{Drawn, LEFT, RIGHT, chart, plot_error, series_ink, svg};

const HEIGHT: u32 = 360;

/// One line: a frame size, a device.
#[derive(Debug, Clone)]
pub struct LossCurve {
    /// What it stands for.
    pub name: String,
    /// Load as a share of the line rate, and the share of frames lost at it; both 0.0 to 1.0. In any order.
    pub points: Vec<(f64, f64)>,
}

pub(super) fn draw(curves: &[LossCurve], label: &str) -> Drawn {
    let points = |curve: &LossCurve| -> Vec<(f64, f64)> {
        let mut points: Vec<_> =
            curve.points.iter().filter(|(x, y)| x.is_finite() && y.is_finite()).map(|(x, y)| (x * 100.0, y * 100.0)).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        points
    };
    if curves.iter().all(|curve| points(curve).is_empty()) {
        return Ok(None);
    }
    let x = Axis::linear(0.0, 100.0, 10.0, "load, % of the line rate");
    let y = Axis::linear(0.0, 100.0, 10.0, "frames lost, %");
    svg(HEIGHT, label, |area| {
        let mut chart = chart(area, &x, &y, LEFT, RIGHT)?;
        for (index, curve) in curves.iter().enumerate() {
            let (points, ink) = (points(curve), series_ink(index).rgb());
            // Later lines are thinner, and their marks smaller: a line that hides another leaves its edges to be seen.
            let (width, size) = (4_u32.saturating_sub(index as u32).max(2), 6_i32.saturating_sub(index as i32).max(3));
            chart.draw_series(LineSeries::new(points.clone(), ink.stroke_width(width))).map_err(plot_error)?;
            chart.draw_series(points.into_iter().map(|point| Circle::new(point, size, ink.filled()))).map_err(plot_error)?;
        }
        Ok(())
    })
}
