//! The plots of the page, as SVG text drawn by `plotters`.
//!
//! Legends and titles are the page's business (HTML wraps and needs no text metrics); the SVG holds axes and data.
//! Colours come from the Okabe-Ito palette, which colour-blind readers can tell apart; the page's style sheet replaces each of
//! them for dark screens by its value, so every colour has one meaning per plot and none is written anywhere but here.
//!
//! `plotters` runs with its SVG backend only. Without a font library it guesses text widths, so nothing here depends on
//! them: margins are fixed, text is anchored, and long names are cut.

mod axis;
mod boxes;
mod lateness;
mod loss;
mod percentiles;
mod ports;
mod spacing;
mod throughput;
mod timeline;

use std::fmt::Display;
use std::io;

use hdrhistogram::Histogram;
use plotters::backend::SVGBackend;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use axis::Axis;
pub use boxes::{BoxRow, Boxes};
pub use loss::LossCurve;
pub use percentiles::Curve;
pub use ports::PortBar;
pub use spacing::Spacing;
pub use throughput::{SizeBar, Throughput, Unit};
pub use timeline::{LatencyStrip, LatencyTick, Strip};

/// A plot as data: what is drawn, not how.
#[derive(Debug, Clone)]
pub enum Plot {
    /// Latency by percentile.
    Percentiles(Vec<Curve>),
    /// Throughput by frame size, with the line rate and the rates that a search found.
    Throughput(Throughput),
    /// Loss by load (RFC 2544, section 26.3).
    LossByLoad(Vec<LossCurve>),
    /// Latency over time.
    LatencyOverTime(LatencyStrip),
    /// A rate or a loss over time.
    OverTime(Strip),
    /// How regularly the generator sent.
    Spacing(Spacing),
    /// How late the generator sent, in ns.
    Lateness(Histogram<u64>),
    /// The same figure over several runs, as boxes and whiskers.
    Boxes(Boxes),
    /// Load and loss by port.
    Ports(Vec<PortBar>),
}

impl Plot {
    /// The plot as SVG, described by `label`; `None` when there is nothing to draw.
    ///
    /// # Errors
    ///
    /// What the drawing library says, in words.
    pub fn draw(&self, label: &str) -> io::Result<Option<String>> {
        match self {
            Plot::Percentiles(curves) => percentiles::draw(curves, label),
            Plot::Throughput(bars) => throughput::draw(bars, label),
            Plot::LossByLoad(curves) => loss::draw(curves, label),
            Plot::LatencyOverTime(strip) => timeline::latency(strip, label),
            Plot::OverTime(strip) => timeline::over_time(strip, label),
            Plot::Spacing(spacing) => spacing::draw(spacing, label),
            Plot::Lateness(lateness) => lateness::draw(lateness, label),
            Plot::Boxes(boxes) => boxes::draw(boxes, label),
            Plot::Ports(ports) => ports::draw(ports, label),
        }
    }

    /// What its colours stand for.
    pub(super) fn legend(&self) -> Vec<(Ink, String)> {
        let keys = |keys: &[(Ink, &str)]| keys.iter().map(|(ink, name)| (*ink, (*name).to_owned())).collect();
        match self {
            Plot::Percentiles(curves) => curves.iter().enumerate().map(|(i, curve)| (series_ink(i), curve.name.clone())).collect(),
            Plot::LossByLoad(curves) => curves.iter().enumerate().map(|(i, curve)| (series_ink(i), curve.name.clone())).collect(),
            Plot::Throughput(bars) => throughput::legend(bars),
            Plot::LatencyOverTime(strip) => vec![(series_ink(strip.index), strip.name.clone())],
            Plot::OverTime(_) | Plot::Spacing(_) | Plot::Lateness(_) | Plot::Boxes(_) => Vec::new(),
            Plot::Ports(_) => keys(&[
                (OFFERED_INK, "offered, not sent"),
                (SENT_INK, "sent into the switch (RX)"),
                (RECEIVED_INK, "received from the switch (TX)"),
                (LOST_INK, "lost"),
            ]),
        }
    }
}

/// A drawn plot, or `None` when there is nothing to draw.
type Drawn = io::Result<Option<String>>;

/// Width of every plot in SVG units; the page scales it to its own.
const WIDTH: u32 = 1080;
/// Room left of the plot for labels and the axis title.
const LEFT: u32 = 76;
/// Room on the right, so that the last label under the axis is whole.
const RIGHT: u32 = 24;
/// Room above, so that the highest label is whole.
const TOP: u32 = 10;
/// Room below for labels and the axis title.
const BELOW: u32 = 44;
/// Text size; `plotters` writes 1/1.24 of it into the SVG.
const TEXT: f64 = 15.5;

/// A colour on light paper and what the page makes of it on a dark screen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ink {
    /// As drawn, red, green, blue.
    pub(super) light: (u8, u8, u8),
    /// On a dark screen.
    pub(super) dark: &'static str,
}

impl Ink {
    const fn new(light: (u8, u8, u8), dark: &'static str) -> Self {
        Self { light, dark }
    }

    /// The colour as `plotters` writes it, `#0072B2`.
    pub(super) fn hex(self) -> String {
        let (r, g, b) = self.light;
        format!("#{r:02X}{g:02X}{b:02X}")
    }

    fn rgb(self) -> RGBColor {
        let (r, g, b) = self.light;
        RGBColor(r, g, b)
    }
}

/// Text and axes.
pub(super) const TEXT_INK: Ink = Ink::new((0x3A, 0x41, 0x4A), "#B7C0CA");
/// Grid lines.
pub(super) const GRID_INK: Ink = Ink::new((0xE2, 0xE6, 0xEA), "#2C333B");
/// What was offered to a port: a pale ground for what was sent.
pub(super) const OFFERED_INK: Ink = Ink::new((0xC9, 0xD1, 0xDA), "#4A535E");
/// What was sent into the switch.
pub(super) const SENT_INK: Ink = Ink::new((0x56, 0xB4, 0xE9), "#56B4E9");
/// What came out of the switch.
pub(super) const RECEIVED_INK: Ink = Ink::new((0xC5, 0x7F, 0x00), "#E69F00");
/// Loss.
pub(super) const LOST_INK: Ink = Ink::new((0xA6, 0x3D, 0x7A), "#D884B4");
/// Directions, loads or frame sizes in their order; from the seventh on they repeat.
const SERIES_INKS: [Ink; 6] = [
    Ink::new((0x00, 0x72, 0xB2), "#4AA8E0"),
    Ink::new((0xD5, 0x5E, 0x00), "#F28A3C"),
    Ink::new((0x00, 0x9E, 0x73), "#2FCB9C"),
    Ink::new((0xCC, 0x79, 0xA7), "#E59BC4"),
    Ink::new((0x8A, 0x6D, 0x00), "#F0E442"),
    Ink::new((0x4B, 0x4F, 0x57), "#DDE3EA"),
];

/// The colour of the direction, load or frame size at `index`.
pub(super) fn series_ink(index: usize) -> Ink {
    SERIES_INKS[index % SERIES_INKS.len()]
}

/// Every colour used, for the style sheet.
pub(super) fn inks() -> impl Iterator<Item = Ink> {
    [TEXT_INK, GRID_INK, OFFERED_INK, SENT_INK, RECEIVED_INK, LOST_INK].into_iter().chain(SERIES_INKS)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<Axis, Axis>>;

/// Draws into a new SVG of the given height and returns its text.
fn svg(height: u32, label: &str, draw: impl FnOnce(&Area<'_>) -> io::Result<()>) -> Drawn {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, (WIDTH, height)).into_drawing_area();
        draw(&area)?;
        area.present().map_err(plot_error)?;
    }
    // The page sets the size; screen readers get a sentence.
    let head = format!("<svg width=\"{WIDTH}\" height=\"{height}\" ");
    let labelled = format!("<svg role=\"img\" aria-label=\"{}\" ", super::html::escaped(label));
    Ok(Some(text.replacen(&head, &labelled, 1)))
}

fn plot_error(error: impl Display) -> io::Error {
    io::Error::other(format!("plot: {error}"))
}

/// A chart over two axes that fills `area`, grid and labels drawn. `left` is the room for the labels of y, and without
/// a title y has none.
fn chart<'a, 'b>(area: &'a Area<'b>, x: &Axis, y: &Axis, left: u32, right: u32) -> io::Result<Chart<'a, 'b>> {
    let mut chart = ChartBuilder::on(area)
        .margin_top(TOP)
        .margin_right(right)
        .x_label_area_size(BELOW)
        .y_label_area_size(left)
        .build_cartesian_2d(x.clone(), y.clone())
        .map_err(plot_error)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID_INK.rgb())
        .axis_style(GRID_INK.rgb())
        .label_style(("sans-serif", TEXT, &TEXT_INK.rgb()))
        .axis_desc_style(("sans-serif", TEXT, &TEXT_INK.rgb()))
        .x_desc(x.title())
        .y_desc(y.title())
        .draw()
        .map_err(plot_error)?;
    Ok(chart)
}

/// Text anchored at a point, which is all the metrics a plot without fonts can rely on.
fn text_style(ink: Ink, h: HPos, v: VPos) -> TextStyle<'static> {
    let mut style = TextStyle::from(("sans-serif", TEXT));
    style.color = ink.rgb().to_backend_color();
    style.pos = Pos::new(h, v);
    style
}

/// The points of a line with no more than four in a pixel column: first, lowest, highest, last.
/// The picture is the same, and a long run makes no long page.
fn thinned(points: impl IntoIterator<Item = (f64, f64)>, x: &Axis) -> Vec<(f64, f64)> {
    let pixels = f64::from(WIDTH - LEFT - RIGHT);
    let mut kept: Vec<(f64, f64)> = Vec::new();
    let mut column: Vec<(f64, f64)> = Vec::new();
    let mut current = f64::NAN;
    for point in points.into_iter().filter(|(x, y)| x.is_finite() && y.is_finite()) {
        let pixel = (x.share(point.0) * pixels).floor();
        if pixel != current {
            flush(&mut column, &mut kept);
            current = pixel;
        }
        column.push(point);
    }
    flush(&mut column, &mut kept);
    kept
}

fn flush(column: &mut Vec<(f64, f64)>, kept: &mut Vec<(f64, f64)>) {
    if column.len() <= 4 {
        kept.append(column);
        return;
    }
    let extreme = |better: fn(&f64, &f64) -> bool| {
        column.iter().enumerate().fold(0, |best, (i, point)| if better(&point.1, &column[best].1) { i } else { best })
    };
    let mut picks = [0, extreme(f64::lt), extreme(f64::gt), column.len() - 1];
    picks.sort_unstable();
    for (i, pick) in picks.iter().enumerate() {
        if i == 0 || picks[i - 1] != *pick {
            kept.push(column[*pick]);
        }
    }
    column.clear();
}

/// A name no longer than `max` characters.
fn cut(name: &str, max: usize) -> String {
    if name.chars().count() <= max {
        return name.to_owned();
    }
    name.chars().take(max.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_keeps_ends_and_extremes() {
        let line: Vec<(f64, f64)> = (0..1000).map(|i| (f64::from(i) / 1000.0, if i == 700 { 99.0 } else { f64::from(i % 7) })).collect();
        // All of it in the first hundredth of the axis: ten columns.
        let kept = thinned(line.clone(), &Axis::linear(0.0, 98.0, 10.0, ""));
        assert!(kept.len() <= 44, "{} points in eleven columns", kept.len());
        assert!(kept.contains(&(0.7, 99.0)));
        assert_eq!((kept.first(), kept.last()), (line.first(), line.last()));
        assert!(kept.windows(2).all(|pair| pair[0].0 < pair[1].0), "in order");
        assert_eq!(thinned([(0.0, f64::NAN), (1.0, 2.0)], &Axis::from_zero(1.0, "")), [(1.0, 2.0)]);
    }

    #[test]
    fn colours_differ() {
        let mut hexes: Vec<String> = inks().map(Ink::hex).collect();
        let all = hexes.len();
        hexes.sort();
        hexes.dedup();
        assert_eq!(hexes.len(), all, "the style sheet finds colours by value");
    }

    #[test]
    fn names_are_cut_at_characters() {
        assert_eq!(cut("blade→uplink", 12), "blade→uplink");
        assert_eq!(cut("blade→uplink", 7), "blade→…");
        assert_eq!(cut("", 5), "");
    }
}
