//! A histogram in a few figures, and the table that shows several.

use hdrhistogram::Histogram;

use super::model::{Cell, Column, Table};

/// A percentile that is shown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Percentile {
    /// Name in tables and JSON.
    pub name: &'static str,
    /// Share of samples at or below it.
    pub quantile: f64,
    /// It says something only with at least so many samples: fewer, and it is the maximum by another name.
    pub samples_min: u64,
}

/// The percentiles that tables and JSON show.
pub const PERCENTILES: [Percentile; 5] = [
    Percentile { name: "p50", quantile: 0.5, samples_min: 2 },
    Percentile { name: "p90", quantile: 0.9, samples_min: 10 },
    Percentile { name: "p99", quantile: 0.99, samples_min: 100 },
    Percentile { name: "p99.9", quantile: 0.999, samples_min: 1_000 },
    Percentile { name: "p99.99", quantile: 0.9999, samples_min: 10_000 },
];

/// A histogram in a few figures, all in ns. `None` where the samples do not tell.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// Count of samples.
    pub samples: u64,
    /// Smallest sample.
    pub min_ns: Option<u64>,
    /// The values of [`PERCENTILES`], in their order.
    pub percentiles_ns: [Option<u64>; PERCENTILES.len()],
    /// Largest sample.
    pub max_ns: Option<u64>,
    /// Arithmetic mean.
    pub mean_ns: Option<f64>,
    /// Standard deviation.
    pub stdev_ns: Option<f64>,
}

impl Summary {
    /// The figures of a histogram of ns.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let samples = histogram.len();
        let some = samples > 0;
        Self {
            samples,
            min_ns: some.then(|| histogram.min()),
            percentiles_ns: PERCENTILES.map(|p| (samples >= p.samples_min).then(|| histogram.value_at_quantile(p.quantile))),
            max_ns: some.then(|| histogram.max()),
            mean_ns: some.then(|| histogram.mean()),
            stdev_ns: some.then(|| histogram.stdev()),
        }
    }

    /// One percentile by its name in [`PERCENTILES`].
    pub fn percentile_ns(&self, name: &str) -> Option<u64> {
        PERCENTILES.iter().position(|p| p.name == name).and_then(|i| self.percentiles_ns[i])
    }

    /// The columns of a table of summaries in µs, after those that say what is summed up.
    pub fn columns() -> Vec<Column> {
        let mut columns = vec![Column::number("samples"), Column::number("min")];
        columns.extend(PERCENTILES.iter().map(|p| Column::number(p.name)));
        columns.extend([Column::number("max"), Column::number("mean").on_page(), Column::number("st. dev.").on_page()]);
        columns
    }

    /// The cells under [`Summary::columns`].
    pub fn cells(&self) -> Vec<Cell> {
        let mut cells = vec![Cell::Count(self.samples), Cell::micros(self.min_ns)];
        cells.extend(self.percentiles_ns.map(Cell::micros));
        cells.push(Cell::micros(self.max_ns));
        cells.extend([self.mean_ns, self.stdev_ns].map(|ns| ns.map_or(Cell::Unknown, Cell::Micros)));
        cells
    }
}

/// A table of histograms of ns in µs, a row each.
pub fn latency_table<'a>(title: impl Into<String>, rows: impl IntoIterator<Item = (&'a str, &'a Histogram<u64>)>) -> Table {
    let mut columns = vec![Column::text("µs")];
    columns.extend(Summary::columns());
    let mut table = Table::new(title, columns);
    for (name, histogram) in rows {
        let mut row = vec![Cell::text(name)];
        row.extend(Summary::of(histogram).cells());
        table.push(row);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_few_samples_tell_nothing() {
        let mut histogram = Histogram::new_with_bounds(1, 1_000_000, 3).unwrap();
        histogram.record_n(1_000, 999).unwrap();
        let summary = Summary::of(&histogram);
        assert_eq!(summary.percentiles_ns, [Some(1_000), Some(1_000), Some(1_000), None, None]);
        let table = latency_table("t", [("a", &histogram)]);
        assert_eq!(table.rows[0][..4], [Cell::text("a"), Cell::Count(999), Cell::Micros(1_000.0), Cell::Micros(1_000.0)]);
        assert_eq!(table.rows[0][6..9], [Cell::Unknown, Cell::Unknown, Cell::Micros(1_000.0)]);
        assert_eq!(Summary::of(&Histogram::new(3).unwrap()).max_ns, None);
    }
}
