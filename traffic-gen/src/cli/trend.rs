//! `trend`: when a figure changed, in a history of it; fails if the last change was for the worse.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;

use super::{Common, Done, Failure, print, print_json};
use crate::measure::trend::{RUNS_MAX, Stretch, stretches};

/// Samples of one history.
const SAMPLES_MAX: usize = 1 << 22;

/// What was typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A history: a run on each line, oldest first, one or more numbers of 0 or more; what follows a # is a remark
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Less is better: cycles, instructions, latencies. Otherwise more is, as of rates
    #[arg(long)]
    lower_is_better: bool,
}

/// What became of one figure.
#[derive(Debug, Serialize)]
struct Told {
    history: PathBuf,
    runs: usize,
    stretches: Vec<Stretch>,
    /// Of the last change: the new mean less the one before, as a share of that. Nothing if there was none.
    change: Option<f64>,
    worse: bool,
}

/// Tells; 1 if a figure is worse in its last stretch than in the one before.
pub fn run(args: &Args, common: &Common) -> Done {
    let told = args.files.iter().map(|file| tell(file, args.lower_is_better)).collect::<Result<Vec<_>, _>>()?;
    if common.json {
        print_json(&told)?;
    } else {
        print(&told.iter().map(text).collect::<String>())?;
    }
    Ok(ExitCode::from(u8::from(told.iter().any(|told| told.worse))))
}

fn tell(file: &PathBuf, lower_is_better: bool) -> Result<Told, Failure> {
    let wrong = |what: String| Failure::input(format!("{}: {what}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    let history = parse(&text).map_err(wrong)?;
    let stretches = stretches(&history);
    let change = match &stretches[..] {
        [.., before, last] if before.mean > 0.0 => Some(last.mean / before.mean - 1.0),
        // From nothing to something is no share of it.
        [.., _, last] => Some(if last.mean > 0.0 { f64::MAX } else { 0.0 }),
        _ => None,
    };
    let worse = change.is_some_and(|change| if lower_is_better { change > 0.0 } else { change < 0.0 });
    Ok(Told { history: file.clone(), runs: history.len(), stretches, change, worse })
}

/// Runs and their samples; or what is wrong in which line.
fn parse(text: &str) -> Result<Vec<Vec<f64>>, String> {
    let (mut history, mut samples) = (Vec::new(), 0);
    for (number, line) in (1..).zip(text.lines()) {
        let values = line.split('#').next().unwrap_or_default();
        let mut run = Vec::new();
        for value in values.split([' ', '\t', ',', ';']).filter(|value| !value.is_empty()) {
            let parsed = value.parse::<f64>().ok().filter(|value| value.is_finite() && *value >= 0.0);
            run.push(parsed.ok_or_else(|| format!("line {number}: `{value}`: expected a number of 0 or more"))?);
        }
        samples += run.len();
        if !run.is_empty() {
            history.push(run);
        }
        if samples > SAMPLES_MAX || history.len() > RUNS_MAX {
            return Err(format!("line {number}: expected at most {RUNS_MAX} runs with {SAMPLES_MAX} samples: leave out the oldest"));
        }
    }
    if history.is_empty() { Err("no numbers: expected a run on each line".to_owned()) } else { Ok(history) }
}

fn text(told: &Told) -> String {
    let mut text = format!("{}: {} runs\n", told.history.display(), told.runs);
    let mut before: Option<f64> = None;
    for stretch in &told.stretches {
        let Stretch { start, runs, mean, stdev, .. } = stretch;
        let change = match before {
            Some(before) if before > 0.0 => format!(", {:+.2} %", (mean / before - 1.0) * 100.0),
            _ => String::new(),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  runs {:>4} to {:>4}: {mean:.4} ± {stdev:.4}{change}", start + 1, start + runs);
        before = Some(*mean);
    }
    if let [.., last] = &told.stretches[..]
        && told.worse
    {
        let _ = writeln!(text, "WORSE since run {}", last.start + 1);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histories_are_read() {
        assert_eq!(parse("1 2,3\n\n# a remark\n4.5 # another\n"), Ok(vec![vec![1.0, 2.0, 3.0], vec![4.5]]));
        for wrong in ["1\n-2\n", "1\n1e999\n", "1\nx\n", "1\nnan\n"] {
            assert!(parse(wrong).unwrap_err().starts_with("line 2: `"), "{wrong}");
        }
        assert!(parse("# nothing\n").unwrap_err().contains("no numbers"));
        assert!(parse(&"1\n".repeat(RUNS_MAX + 1)).unwrap_err().contains("line 4097"));
    }
}
