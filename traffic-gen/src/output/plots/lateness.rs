//! How late frames left: a histogram with ten bars to a decade.
//!
//! Both axes are logarithmic: most frames are on time, and what matters are the few that were not. Frames less than 10 ns late stand
//! in the first bar.

use hdrhistogram::Histogram;
use plotters::prelude::*;

use super::axis::Axis;
use super::{BELOW, Drawn, LEFT, RECEIVED_INK, RIGHT, TOP, WIDTH, chart, plot_error, svg};

const HEIGHT: u32 = 260;
/// Bars to a decade.
const BARS: f64 = 10.0;
/// The end of the first bar in µs.
const FIRST_US: f64 = 0.01;

/// The bars; `None` if no frame was late, or none was sent.
pub(super) fn draw(lateness: &Histogram<u64>, label: &str) -> Drawn {
    if lateness.is_empty() || lateness.max() == 0 {
        return Ok(None);
    }
    let mut bars: Vec<u64> = Vec::new();
    for recorded in lateness.iter_recorded() {
        let us = (recorded.value_iterated_to() as f64 / 1e3).max(FIRST_US);
        let bar = ((us / FIRST_US).log10() * BARS).floor() as usize;
        bars.resize(bars.len().max(bar + 1), 0);
        bars[bar] += recorded.count_at_value();
    }
    let share = |count: u64| 100.0 * count as f64 / lateness.len() as f64;
    let least = bars.iter().filter(|&&count| count > 0).map(|&count| share(count)).fold(100.0, f64::min);
    let edge = |bar: usize| FIRST_US * 10_f64.powf(bar as f64 / BARS);
    let x = Axis::log(FIRST_US, edge(bars.len()).max(10.0 * FIRST_US), 12, "departure, actual less planned, µs");
    let y = Axis::log((least / 2.0).max(1e-9), 100.0, 6, "departures, %");
    let column = |us: f64| LEFT as i32 + (x.share(us) * f64::from(WIDTH - LEFT - RIGHT)).round() as i32;
    let (top, floor) = (TOP as i32, (HEIGHT - BELOW) as i32);
    let at = |percent: f64| floor - (y.share(percent) * f64::from(floor - top)).round() as i32;
    svg(HEIGHT, label, |area| {
        chart(area, &x, &y, LEFT, RIGHT)?;
        for (bar, &count) in bars.iter().enumerate().filter(|&(_, &count)| count > 0) {
            let (left, right) = (column(edge(bar)), column(edge(bar + 1)));
            let corners = [(left, at(share(count)).min(floor - 1)), ((right - 1).max(left + 2), floor)];
            area.draw(&Rectangle::new(corners, RECEIVED_INK.rgb().filled())).map_err(plot_error)?;
        }
        Ok(())
    })
}
