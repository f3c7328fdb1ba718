//! What a method's report draws, beside its tables: throughput, loss, latency, repeats.

use hdrhistogram::Histogram;

use super::Report;
use crate::output::plots::{BoxRow, Boxes, Curve, LossCurve, SizeBar, Throughput, Unit};
use crate::output::{Distribution, Figure, Plot, Rate};

impl Report {
    /// Draws rates by frame size in Mpps, Gb/s on the wire and Gb/s of frames. `what` says what the bars stand for.
    pub fn draw_rates(&mut self, what: &str, bars: &[SizeBar]) {
        for unit in [Unit::Mpps, Unit::GbpsL1, Unit::GbpsL2] {
            let plot = Plot::Throughput(Throughput { unit, what: what.to_owned(), bars: bars.to_vec() });
            self.draw(format!("{what} by frame size, {}", unit.name()), plot);
        }
    }

    /// Draws loss by load.
    pub fn draw_loss(&mut self, curves: Vec<LossCurve>) {
        self.draw("Frame loss rate by load", Plot::LossByLoad(curves));
    }

    /// Draws latencies by percentile, and keeps them for files of their own.
    pub fn draw_latency(&mut self, latencies: Vec<Distribution>) {
        let curves = latencies.iter().map(|latency| Curve { name: latency.name.clone(), histogram: latency.histogram.clone() });
        self.draw("Latency by percentile", Plot::Percentiles(curves.collect()));
        self.distributions.extend(latencies);
    }

    /// Draws a figure of several runs.
    pub fn draw_repeats(&mut self, title: &str, unit: &str, rows: Vec<BoxRow>) {
        self.draw(title, Plot::Boxes(Boxes { unit: unit.to_owned(), rows }));
    }

    fn draw(&mut self, title: impl Into<String>, plot: Plot) {
        self.figures.push(Figure { title: title.into(), plot, otherwise: String::new() });
    }
}

/// The rates of one frame size: what was measured of what the lines carry, frames a second of all ports.
pub fn size_bar(size: usize, measured_fps: f64, max_fps: f64) -> SizeBar {
    let rate = |fps: f64| Some(Rate::of(fps, size as f64));
    SizeBar { size: size.to_string(), measured: rate(measured_fps), line: rate(max_fps), ..SizeBar::default() }
}

/// All groups of a trial in one histogram.
pub fn all_latencies(groups: &[Histogram<u64>]) -> Histogram<u64> {
    let mut all = crate::measure::empty_histogram();
    for group in groups {
        for recorded in group.iter_recorded() {
            all.saturating_record_n(recorded.value_iterated_to(), recorded.count_at_value());
        }
    }
    all
}
