//! When did a figure change? The history of one figure, cut into stretches in which nothing did.
//!
//! The idea is that of minimum description length: each stretch is told as a mean, a spread and its samples, in bits; a new stretch pays
//! for itself only if what comes is told in fewer bits with it than without. So a jump of 5 % in quiet figures is found from
//! few runs, one in noisy figures from many, and no threshold has to be chosen. The formula of the bits is that of the package
//! `jumpavg` 0.4.2, with which FD.io CSIT looks for regressions, so that the two find the same (`tests/trend.rs`).
//!
//! Limits: values are 0 or more; the work grows with the square of the number of runs, so [`RUNS_MAX`] are taken.

use std::f64::consts::PI;

/// Runs that are looked at.
pub const RUNS_MAX: usize = 4_096;
/// Digits of the largest value, in bits, that count as measured; below is noise.
const SIGNIFICANT_BITS: f64 = 12.0;

/// A stretch in which a figure did not change.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Stretch {
    /// Its first run, from 0.
    pub start: usize,
    /// Its runs.
    pub runs: usize,
    /// Their samples.
    pub samples: usize,
    /// Mean of these.
    pub mean: f64,
    /// Their standard deviation, as of a population.
    pub stdev: f64,
}

/// Size, mean and sum of squares about it.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Sum {
    fn of(samples: &[f64]) -> Sum {
        samples.iter().fold(Sum::default(), |sum, &sample| sum.and(Sum { count: 1.0, mean: sample, squares: 0.0 }))
    }

    /// Both together (Chan, Golub and LeVeque, 1979).
    fn and(self, other: Sum) -> Sum {
        let count = self.count + other.count;
        if count == 0.0 {
            return self;
        }
        let apart = other.mean - self.mean;
        Sum {
            count,
            mean: self.mean + apart * other.count / count,
            squares: self.squares + other.squares + apart * apart * self.count * other.count / count,
        }
    }

    fn stdev(self) -> f64 {
        (self.squares / self.count.max(1.0)).max(0.0).sqrt()
    }
}

/// Cuts a history of runs, oldest first, each of one or more samples, into stretches. A run is never cut. Empty runs are passed over.
///
/// Values that are not finite or below 0 count as 0; of more than [`RUNS_MAX`] runs the last ones are taken.
pub fn stretches(history: &[Vec<f64>]) -> Vec<Stretch> {
    let first = history.len().saturating_sub(RUNS_MAX);
    let runs: Vec<(usize, Sum)> = (first..history.len())
        .filter(|&run| !history[run].is_empty())
        .map(|run| {
            (run, Sum::of(&history[run].iter().map(|value| if value.is_finite() { value.max(0.0) } else { 0.0 }).collect::<Vec<_>>()))
        })
        .collect();
    let largest = history[first..].iter().flatten().copied().filter(|value| value.is_finite()).fold(0.0, f64::max);
    if runs.is_empty() {
        return Vec::new();
    }
    // All of them 0: one stretch, whatever the unit.
    let largest = if largest > 0.0 { largest } else { 1.0 };
    let unit = largest / (2f64.powf(SIGNIFICANT_BITS + 1.0) - 1.0);
    // Of the best way to tell the runs before each: bits, where its last stretch begins, and the mean of that.
    let mut best: Vec<(f64, usize, Option<f64>)> = vec![(0.0, 0, None)];
    for end in 1..=runs.len() {
        let mut sum = Sum::default();
        // Of two ways as short, the one whose last stretch began first; but any has to be shorter than a run by itself.
        let mut found: Option<(f64, usize, f64)> = None;
        let mut alone = (f64::INFINITY, end - 1, 0.0);
        for start in (0..end).rev() {
            sum = runs[start].1.and(sum);
            let (before, _, mean_before) = best[start];
            let way = (before + bits(sum, largest / unit, unit, mean_before), start, sum.mean);
            if start + 1 == end {
                alone = way;
            } else if way.0 < alone.0 && found.is_none_or(|found| way.0 <= found.0) {
                found = Some(way);
            }
        }
        let (bits, start, mean) = found.unwrap_or(alone);
        best.push((bits, start, Some(mean)));
    }
    let mut stretches = Vec::new();
    let mut end = runs.len();
    while end > 0 {
        let start = best[end].1;
        let sum = runs[start..end].iter().fold(Sum::default(), |sum, (_, run)| sum.and(*run));
        stretches.push(Stretch {
            start: runs[start].0,
            runs: end - start,
            samples: sum.count as usize,
            mean: sum.mean,
            stdev: sum.stdev(),
        });
        end = start;
    }
    stretches.reverse();
    stretches
}

/// Bits that tell a stretch, after one of that mean.
fn bits(sum: Sum, largest: f64, unit: f64, mean_before: Option<f64>) -> f64 {
    let (count, mean, stdev) = (sum.count, sum.mean / unit, sum.stdev() / unit);
    // How many samples there are: k with a chance of 1/k - 1/(k + 1).
    let mut bits = (count * (count + 1.0)).log2();
    // The mean: anything up to the largest value; after another stretch, the likelier the further from its mean.
    bits += match mean_before {
        None => (largest + 1.0).log2(),
        Some(before) => {
            let before = before / unit;
            let norm = before * before - (before - 1.0) * largest + largest * largest / 2.0;
            -(((mean - before).abs() + 1.0) / norm).log2()
        }
    };
    if count < 2.0 {
        return bits;
    }
    bits += ((stdev + 1.0) * (stdev + 2.0)).log2() + (1.0 - 1.0 / (largest + 2.0)).log2();
    // The samples lie on a sphere of count - 1 dimensions around the mean.
    let area = 2f64.ln() + PI.ln() * ((count - 1.0) / 2.0) - ln_gamma_half(count as u64 - 1)
        + (stdev + 1.0).ln() * (count - 2.0)
        + count.ln() * ((count - 2.0) / 2.0);
    bits + area / 2f64.ln()
}

/// ln Γ(n / 2) for n from 1 on, by Γ(x + 1) = x Γ(x); by Stirling's series where that is long.
fn ln_gamma_half(n: u64) -> f64 {
    if n > 64 {
        let x = n as f64 / 2.0;
        return (x - 0.5) * x.ln() - x + (2.0 * PI).ln() / 2.0 + 1.0 / (12.0 * x) - 1.0 / (360.0 * x.powi(3)) + 1.0 / (1260.0 * x.powi(5));
    }
    let first = if n.is_multiple_of(2) { 2 } else { 1 };
    let start = if first == 1 { PI.ln() / 2.0 } else { 0.0 };
    (first..n).step_by(2).fold(start, |sum, half| sum + (half as f64 / 2.0).ln())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gamma() {
        // Γ(1/2) = √π, Γ(1) = Γ(2) = 1, Γ(5/2) = 3√π/4, Γ(5) = 24.
        for (n, value) in [(1, PI.sqrt()), (2, 1.0), (4, 1.0), (5, 0.75 * PI.sqrt()), (10, 24.0)] {
            assert!((ln_gamma_half(n) - value.ln()).abs() < 1e-12, "{n}");
        }
        let by_steps = (2..66).step_by(2).fold(0.0, |sum, half| sum + f64::from(half / 2).ln());
        assert!((ln_gamma_half(66) - by_steps).abs() < 1e-9, "both ways meet");
    }

    #[test]
    fn odd_histories_are_told_too() {
        assert_eq!(stretches(&[]), []);
        assert_eq!(stretches(&[vec![]]), []);
        let one = stretches(&[vec![], vec![5.0, 7.0]]);
        assert_eq!((one.len(), one[0].start, one[0].samples, one[0].mean, one[0].stdev), (1, 1, 2, 6.0, 1.0));
        assert_eq!(stretches(&vec![vec![0.0]; 20]).len(), 1);
        assert_eq!(stretches(&[vec![f64::NAN], vec![-1.0], vec![f64::INFINITY]]).iter().map(|stretch| stretch.runs).sum::<usize>(), 3);
        let many = stretches(&vec![vec![1.0]; RUNS_MAX / 8]);
        assert_eq!((many.len(), many[0].runs), (1, RUNS_MAX / 8));
    }
}
