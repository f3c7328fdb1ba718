//! The same figure over several runs: a box from the lower to the upper quartile, the median in it, whiskers to the furthest run within
//! one and a half boxes, and a disc for each run beyond them (Tukey). A row per name, so that many need more paper and not smaller
//! letters.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::axis::Axis;
use super::{BELOW, Drawn, RIGHT, SENT_INK, TEXT_INK, TOP, WIDTH, chart, cut, plot_error, svg, text_style};

/// Room for the names.
const NAMES: u32 = 290;
const ROW: i32 = 30;

/// Boxes over one axis.
#[derive(Debug, Clone, Default)]
pub struct Boxes {
    /// What is measured, with its unit.
    pub unit: String,
    /// A row each.
    pub rows: Vec<BoxRow>,
}

/// One box: a figure of every run.
#[derive(Debug, Clone, Default)]
pub struct BoxRow {
    /// What varied: a frame size, a version.
    pub name: String,
    /// The figure of each run, in any order.
    pub values: Vec<f64>,
}

/// A row in five figures, and what lies beyond them.
#[derive(Debug, PartialEq)]
struct Five {
    whiskers: (f64, f64),
    quartiles: (f64, f64),
    median: f64,
    outliers: Vec<f64>,
}

pub(super) fn draw(boxes: &Boxes, label: &str) -> Drawn {
    let values = || boxes.rows.iter().flat_map(|row| row.values.iter().copied()).filter(|value| value.is_finite());
    if values().next().is_none() {
        return Ok(None);
    }
    let (min, max) = (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
    let x = Axis::around(min, max, 8.0, &boxes.unit);
    let at = |value: f64| NAMES as i32 + (x.share(value) * f64::from(WIDTH - NAMES - RIGHT - 16)).round() as i32;
    let rows = ROW * i32::try_from(boxes.rows.len()).map_err(plot_error)?;
    svg(rows as u32 + TOP + BELOW, label, |area| {
        chart(area, &x, &Axis::blank(), NAMES, RIGHT + 16)?;
        for (row, top) in boxes.rows.iter().zip((TOP as i32..).step_by(ROW as usize)) {
            let middle = top + ROW / 2;
            area.draw(&Text::new(cut(&row.name, 32), (NAMES as i32 - 10, middle), text_style(TEXT_INK, HPos::Right, VPos::Center)))
                .map_err(plot_error)?;
            let Some(five) = five(&row.values) else { continue };
            let line = |from: (i32, i32), to: (i32, i32), width| PathElement::new([from, to], TEXT_INK.rgb().stroke_width(width));
            let (low, high) = (at(five.whiskers.0), at(five.whiskers.1));
            area.draw(&line((low, middle), (high, middle), 1)).map_err(plot_error)?;
            for end in [low, high] {
                area.draw(&line((end, middle - 5), (end, middle + 5), 1)).map_err(plot_error)?;
            }
            let (left, right) = (at(five.quartiles.0), at(five.quartiles.1));
            let corners = [(left, middle - 9), (right.max(left + 1), middle + 9)];
            area.draw(&Rectangle::new(corners, SENT_INK.rgb().filled())).map_err(plot_error)?;
            area.draw(&Rectangle::new(corners, TEXT_INK.rgb().stroke_width(1))).map_err(plot_error)?;
            let median = at(five.median);
            area.draw(&line((median, middle - 9), (median, middle + 9), 3)).map_err(plot_error)?;
            for outlier in five.outliers {
                area.draw(&Circle::new((at(outlier), middle), 3, TEXT_INK.rgb().stroke_width(1))).map_err(plot_error)?;
            }
        }
        Ok(())
    })
}

/// Quartiles by linear interpolation; `None` without a finite value.
fn five(values: &[f64]) -> Option<Five> {
    let mut values: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    values.sort_by(f64::total_cmp);
    let quantile = |share: f64| {
        let place = share * (values.len() as f64 - 1.0);
        let (below, above) = (values.get(place.floor() as usize)?, values.get(place.ceil() as usize)?);
        Some(below + (above - below) * place.fract())
    };
    let (lower, median, upper) = (quantile(0.25)?, quantile(0.5)?, quantile(0.75)?);
    let (low, high) = (lower - 1.5 * (upper - lower), upper + 1.5 * (upper - lower));
    let inside = || values.iter().copied().filter(|value| (low..=high).contains(value));
    Some(Five {
        whiskers: (inside().next().unwrap_or(lower).min(lower), inside().next_back().unwrap_or(upper).max(upper)),
        quartiles: (lower, upper),
        median,
        outliers: values.iter().copied().filter(|value| !(low..=high).contains(value)).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_figures_of_eleven_runs() {
        let five = five(&[9.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, f64::NAN, 10.0, 40.0]).unwrap();
        let expected = Five { whiskers: (1.0, 10.0), quartiles: (3.5, 8.5), median: 6.0, outliers: vec![40.0] };
        assert_eq!(five, expected);
        assert_eq!(super::five(&[7.0]).unwrap(), Five { whiskers: (7.0, 7.0), quartiles: (7.0, 7.0), median: 7.0, outliers: vec![] });
        assert_eq!(super::five(&[f64::NAN]), None);
    }
}
