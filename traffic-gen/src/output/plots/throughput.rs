//! Throughput by frame size: a bar for each size, the line rate above it, and the rates that a search found as marks.
//!
//! RFC 2544, section 26.1, asks for both lines, the measured and the theoretical one, over the frame sizes. Sizes are not to
//! scale: the small ones would share a pixel.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::axis::Axis;
use super::{Drawn, Ink, LEFT, LOST_INK, RECEIVED_INK, RIGHT, TEXT_INK, TOP, WIDTH, chart, plot_error, series_ink, svg, text_style};
use crate::output::model::Rate;
use crate::output::numbers::fixed;

const HEIGHT: u32 = 330;
/// Room below: sizes, and rates under them.
const BELOW_BARS: i32 = 44;
/// The rate that lost nothing.
const NDR_INK: usize = 2;

/// What is drawn of a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Million frames a second.
    Mpps,
    /// Gb/s on the wire.
    GbpsL1,
    /// Gb/s of frames with FCS.
    GbpsL2,
}

impl Unit {
    /// As it stands at an axis.
    pub fn name(self) -> &'static str {
        match self {
            Unit::Mpps => "Mpps",
            Unit::GbpsL1 => "Gb/s L1",
            Unit::GbpsL2 => "Gb/s L2",
        }
    }

    /// The rate in this unit.
    pub fn of(self, rate: &Rate) -> f64 {
        match self {
            Unit::Mpps => rate.mpps(),
            Unit::GbpsL1 => rate.bps_l1 / 1e9,
            Unit::GbpsL2 => rate.bps_l2 / 1e9,
        }
    }
}

/// Throughput by frame size.
#[derive(Debug, Clone)]
pub struct Throughput {
    /// What is drawn.
    pub unit: Unit,
    /// What the bars stand for, for example `throughput, zero loss`.
    pub what: String,
    /// A bar for each frame size, in the order to be shown.
    pub bars: Vec<SizeBar>,
}

/// The rates of one frame size.
#[derive(Debug, Clone, Default)]
pub struct SizeBar {
    /// The size: `64`, `IMIX`.
    pub size: String,
    /// What was measured; `None` if nothing could be.
    pub measured: Option<Rate>,
    /// The line rate.
    pub line: Option<Rate>,
    /// Non-drop rate, where a search found one.
    pub ndr: Option<Rate>,
    /// Partial-drop rate, where a search found one.
    pub pdr: Option<Rate>,
}

/// What the colours stand for: only what is there.
pub(super) fn legend(plot: &Throughput) -> Vec<(Ink, String)> {
    let any = |of: fn(&SizeBar) -> Option<Rate>| plot.bars.iter().any(|bar| of(bar).is_some());
    let mut keys = Vec::new();
    if any(|bar| bar.measured) {
        keys.push((RECEIVED_INK, plot.what.clone()));
    }
    if any(|bar| bar.line) {
        keys.push((TEXT_INK, "theoretical maximum (line)".to_owned()));
    }
    if any(|bar| bar.ndr) {
        keys.push((series_ink(NDR_INK), "NDR (disc)".to_owned()));
    }
    if any(|bar| bar.pdr) {
        keys.push((LOST_INK, "PDR (triangle)".to_owned()));
    }
    keys
}

pub(super) fn draw(plot: &Throughput, label: &str) -> Drawn {
    let value = |rate: Option<Rate>| rate.map(|rate| plot.unit.of(&rate)).filter(|value| value.is_finite() && *value >= 0.0);
    let highest = plot.bars.iter().flat_map(|bar| [bar.measured, bar.line, bar.ndr, bar.pdr].map(value)).flatten().fold(0.0, f64::max);
    if highest == 0.0 {
        return Ok(None);
    }
    let y = Axis::from_zero(highest * 1.04, plot.unit.name());
    let (top, bottom) = (TOP as i32, HEIGHT as i32 - BELOW_BARS);
    let at = |value: f64| bottom - (y.share(value) * f64::from(bottom - top)).round() as i32;
    let room = f64::from(WIDTH - LEFT - RIGHT) / plot.bars.len() as f64;
    let half = ((room * 0.28) as i32).clamp(1, 44);

    svg(HEIGHT, label, |area| {
        chart(area, &Axis::blank(), &y, LEFT, RIGHT)?;
        let line_style = TEXT_INK.rgb().stroke_width(2);
        for (index, bar) in plot.bars.iter().enumerate() {
            let middle = LEFT as i32 + (room * (index as f64 + 0.5)) as i32;
            if let Some(measured) = value(bar.measured) {
                let corners = [(middle - half, at(measured).min(bottom - 1)), (middle + half, bottom)];
                area.draw(&Rectangle::new(corners, RECEIVED_INK.rgb().filled())).map_err(plot_error)?;
            }
            if let Some(line) = value(bar.line) {
                let reach = (room * 0.42) as i32;
                area.draw(&PathElement::new([(middle - reach, at(line)), (middle + reach, at(line))], line_style)).map_err(plot_error)?;
            }
            // Beside each other, so that equal rates do not hide one another; on a ground that parts them from the bar.
            if let Some(ndr) = value(bar.ndr) {
                area.draw(&Circle::new((middle - half / 2, at(ndr)), 7, TEXT_INK.rgb().filled())).map_err(plot_error)?;
                area.draw(&Circle::new((middle - half / 2, at(ndr)), 5, series_ink(NDR_INK).rgb().filled())).map_err(plot_error)?;
            }
            if let Some(pdr) = value(bar.pdr) {
                area.draw(&TriangleMarker::new((middle + half / 2, at(pdr)), 9, TEXT_INK.rgb().filled())).map_err(plot_error)?;
                area.draw(&TriangleMarker::new((middle + half / 2, at(pdr)), 6, LOST_INK.rgb().filled())).map_err(plot_error)?;
            }
            let below = |text: String, down: i32| Text::new(text, (middle, bottom + down), text_style(TEXT_INK, HPos::Center, VPos::Top));
            // Where many sizes leave no room, every second or third is named.
            let every = (46.0 / room).ceil().max(1.0) as usize;
            if index.is_multiple_of(every) {
                area.draw(&below(bar.size.clone(), 6)).map_err(plot_error)?;
            }
            if let (Some(measured), true) = (value(bar.measured), room >= 64.0) {
                area.draw(&below(fixed(measured, 3), 24)).map_err(plot_error)?;
            }
        }
        Ok(())
    })
}
