//! How regularly the generator sent: a histogram of the time between departures less what was planned.
//!
//! Zero is where every frame should be. The axis of shares is logarithmic: what matters are the rare ones. Dashed lines stand at the
//! ±64, ±128 and ±256 ns by which generators are compared.

use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::axis::Axis;
use super::{BELOW, Drawn, LEFT, RECEIVED_INK, RIGHT, TEXT_INK, WIDTH, chart, plot_error, svg, text_style};
use crate::measure::pacing::SPACINGS_NS;
use crate::measure::{Pacing, SignedBuckets};
use crate::output::numbers::{count, percent};

const HEIGHT: u32 = 300;
/// Bars in the plot.
const BARS: i64 = 160;
/// Room above for the names of the dashed lines.
const NAMES: u32 = 18;

/// Departures by their distance from the planned spacing.
#[derive(Debug, Clone, Default)]
pub struct Spacing {
    /// Distance in ns, count; in order.
    pub errors: Vec<(i64, u64)>,
    /// How far to each side is drawn, in ns. `None`: to all but one in a thousand.
    pub reach_ns: Option<i64>,
}

impl Spacing {
    /// What a generator's meter has seen.
    pub fn of(pacing: &Pacing) -> Spacing {
        Spacing::from(&pacing.spacing)
    }
}

impl From<&SignedBuckets> for Spacing {
    fn from(spacing: &SignedBuckets) -> Spacing {
        Spacing { errors: spacing.iter().collect(), reach_ns: None }
    }
}

pub(super) fn draw(spacing: &Spacing, label: &str) -> Drawn {
    let all: u64 = spacing.errors.iter().fold(0, |sum, (_, count)| sum.saturating_add(*count));
    if all == 0 {
        return Ok(None);
    }
    let reach = spacing.reach_ns.unwrap_or_else(|| reach(&spacing.errors, all)).max(1);
    let width = ((2 * reach + BARS - 1) / BARS).max(1);
    let (mut bars, mut outside) = (vec![0_u64; BARS as usize + 1], 0_u64);
    for &(error, count) in &spacing.errors {
        if error.saturating_abs() > reach {
            outside = outside.saturating_add(count);
            continue;
        }
        // Zero lies in the middle of a bar.
        let bar = &mut bars[((error + reach + width / 2) / width) as usize];
        *bar = bar.saturating_add(count);
    }
    let share = |count: u64| 100.0 * count as f64 / all as f64;
    let least = bars.iter().filter(|&&count| count > 0).map(|&count| share(count)).fold(100.0, f64::min);
    let x = Axis::linear(-reach as f64, reach as f64, 10.0, "time since the frame before, actual less planned, ns");
    let y = Axis::log((least / 2.0).max(1e-9), 100.0, 8, "departures, %");
    let plot = f64::from(WIDTH - LEFT - RIGHT);
    let column = |ns: f64| LEFT as i32 + (x.share(ns) * plot).round() as i32;
    let floor = (HEIGHT - BELOW) as i32;

    svg(HEIGHT, label, |area| {
        let (names, below) = area.split_vertically(NAMES);
        chart(&below, &x, &y, LEFT, RIGHT)?;
        let top = (NAMES + super::TOP) as i32;
        let at = |percent: f64| floor - (y.share(percent) * f64::from(floor - top)).round() as i32;
        for (index, &count) in bars.iter().enumerate().filter(|&(_, &count)| count > 0) {
            let middle = (index as i64 * width - reach) as f64;
            let (left, right) = (column(middle - width as f64 / 2.0), column(middle + width as f64 / 2.0));
            let corners = [(left, at(share(count)).min(floor - 1)), (right.max(left + 2), floor)];
            area.draw(&Rectangle::new(corners, RECEIVED_INK.rgb().filled())).map_err(plot_error)?;
        }
        let far_apart = plot * SPACINGS_NS[0] as f64 / (2 * reach) as f64;
        for ns in SPACINGS_NS.into_iter().filter(|&ns| ns as i64 <= reach && far_apart >= 6.0) {
            for signed in [-(ns as f64), ns as f64] {
                let at = column(signed);
                let path = [(at, top), (at, floor)];
                area.draw(&DashedPathElement::new(path, 5, 4, TEXT_INK.rgb().stroke_width(1))).map_err(plot_error)?;
                // Names of the first two would meet before their lines do.
                if far_apart >= 40.0 {
                    let sign = if signed < 0.0 { "−" } else { "+" };
                    names
                        .draw(&Text::new(format!("{sign}{ns} ns"), (at, 4), text_style(TEXT_INK, HPos::Center, VPos::Top)))
                        .map_err(plot_error)?;
                }
            }
        }
        if outside > 0 {
            let text = format!("beyond: {} ({} %)", count(outside), percent(outside as f64 / all as f64));
            let place = ((WIDTH - RIGHT) as i32, 4);
            names.draw(&Text::new(text, place, text_style(TEXT_INK, HPos::Right, VPos::Top))).map_err(plot_error)?;
        }
        Ok(())
    })
}

/// How far to each side the plot reaches: to all but one in a thousand, rounded up to 4, 8, 16 … times 64 ns and no more than 16 ms.
fn reach(errors: &[(i64, u64)], all: u64) -> i64 {
    let mut reach = 4 * 64;
    let beyond = |reach: i64| -> u64 {
        errors.iter().filter(|(error, _)| error.saturating_abs() > reach).fold(0, |sum, (_, count)| sum.saturating_add(*count))
    };
    while reach < 1 << 24 && beyond(reach) > all / 1_000 {
        reach *= 2;
    }
    if reach == 256 { 512 } else { reach }
}
