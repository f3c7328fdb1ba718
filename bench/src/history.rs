//! `bench history`: instructions per packet of every case of the hot path over time, and their plot.
//!
//! The guard of the hot path knows only its last figures (`bench/instructions.json`). Whenever these change, `bench history --add REASON` appends them,
//! with the day and the reason, to `docs/performance/history.json`, and draws `docs/performance/history.svg` anew. Tests hold the last entry to the guard's
//! figures and the plot to the entries.

use std::fmt;
use std::path::{Path, PathBuf};

use plotters::prelude::*;
use serde::{Deserialize, Serialize};

use crate::hotpath::{Baseline, Case};

/// Width and height of the plot in pixels.
const SIZE: (u32, u32) = (760, 320);
/// Pixels between the names of lines.
const NAME_HEIGHT: i32 = 14;
/// Every case has its own ink.
const INKS: [RGBColor; 4] = [RGBColor(31, 119, 180), RGBColor(214, 100, 10), RGBColor(44, 140, 44), RGBColor(150, 70, 180)];
/// Text and axes, to be read on white and on black.
const GREY: RGBColor = RGBColor(128, 128, 128);

/// The command line.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Append the guard's figures of today, with this reason
    #[arg(long, value_name = "REASON")]
    pub add: Option<String>,
    /// The guard's figures
    #[arg(long, value_name = "FILE", default_value = "bench/instructions.json")]
    pub baseline: PathBuf,
    /// The history
    #[arg(long, value_name = "FILE", default_value = "docs/performance/history.json")]
    pub file: PathBuf,
    /// Where the plot goes
    #[arg(long, value_name = "FILE", default_value = "docs/performance/history.svg")]
    pub plot: PathBuf,
}

/// The figures from a day on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The day, as `2026-11-23`.
    pub date: String,
    /// The commit with these figures; empty: the one that added the entry.
    pub commit: String,
    /// Why they are what they are.
    pub why: String,
    /// The guard's figures.
    pub cases: Vec<Baseline>,
}

/// Reads the history, appends to it if that is asked for, draws it, and returns it.
///
/// # Errors
/// A file cannot be read, is not what it should be, or cannot be written: which, and why.
pub fn run(args: &Args) -> Result<Vec<Entry>, String> {
    let mut entries = read(&args.file)?;
    if let Some(why) = &args.add {
        let cases: Vec<Baseline> = parse(&args.baseline)?;
        let now = humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string();
        let date = now.split('T').next().unwrap_or_default().to_owned();
        entries.push(Entry { date, commit: String::new(), why: why.clone(), cases });
        check(&entries).map_err(|why| format!("{}: {why}", args.file.display()))?;
        write(&args.file, &json(&entries)?)?;
    }
    write(&args.plot, &svg(&entries)?)?;
    Ok(entries)
}

/// Reads a history.
///
/// # Errors
/// The file cannot be read, or an entry is wrong.
pub fn read(path: &Path) -> Result<Vec<Entry>, String> {
    let entries: Vec<Entry> = parse(path)?;
    check(&entries).map_err(|why| format!("{}: {why}", path.display()))?;
    Ok(entries)
}

fn parse<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

/// As the file has them: one line for each case, so that a change is one that can be read.
fn json(entries: &[Entry]) -> Result<String, String> {
    let failed = |error: serde_json::Error| error.to_string();
    let mut text = "[".to_owned();
    for (number, entry) in entries.iter().enumerate() {
        let words = [&entry.date, &entry.commit, &entry.why].map(serde_json::to_string);
        let [date, commit, why] = words.map(|word| word.map_err(failed));
        let cases = entry.cases.iter().map(|case| serde_json::to_string(case).map_err(failed)).collect::<Result<Vec<_>, _>>()?;
        text += if number == 0 { "\n" } else { ",\n" };
        text += &format!("  {{\n    \"date\": {}, \"commit\": {},\n    \"why\": {},\n    \"cases\": [\n      ", date?, commit?, why?);
        text += &cases.join(",\n      ");
        text += "\n    ]\n  }";
    }
    Ok(text + "\n]\n")
}

fn check(entries: &[Entry]) -> Result<(), String> {
    let is_day = |text: &str| text.len() == 10 && humantime::parse_rfc3339(&format!("{text}T00:00:00Z")).is_ok();
    let mut last = "";
    for (number, entry) in entries.iter().enumerate() {
        let wrong = |what: &str| Err(format!("entry {}: {what}", number + 1));
        if !is_day(&entry.date) {
            return wrong(&format!("date {:?}: expected a day as 2026-11-23", entry.date));
        }
        if entry.date.as_str() < last {
            return wrong(&format!("date {}: it is before that of the entry above", entry.date));
        }
        if entry.why.trim().is_empty() {
            return wrong("why: expected the reason for these figures");
        }
        if let Some(case) = entry.cases.iter().find(|case| !(case.instructions_per_packet > 0.0 && case.instructions_per_packet < 1e6)) {
            return wrong(&format!("instructions_per_packet of {}: expected more than 0 and less than a million", case.case.name()));
        }
        if entry.cases.is_empty() {
            return wrong("cases: expected at least one");
        }
        last = &entry.date;
    }
    Ok(())
}

/// The plot: entries from left to right, a line for each case, the last figure at its end.
///
/// # Errors
/// There is nothing to draw.
pub fn svg(entries: &[Entry]) -> Result<String, String> {
    let figure = |entry: &Entry, case: Case| entry.cases.iter().find(|one| one.case == case).map(|one| one.instructions_per_packet);
    let most = entries.iter().flat_map(|entry| &entry.cases).map(|case| case.instructions_per_packet).fold(0.0, f64::max);
    let last = entries.len().checked_sub(1).ok_or("there is no entry to draw")?;
    let mut text = String::new();
    let draw = |text: &mut String| -> Result<(), Box<dyn std::error::Error>> {
        let root = SVGBackend::with_string(text, SIZE).into_drawing_area();
        let words = |size: u32| TextStyle::from(("sans-serif", size).into_font()).color(&GREY);
        root.draw_text("Instructions per packet, by callgrind: 1,000 stations, bursts of 32", &words(14), (60, 8))?;
        // Room on the right for the names.
        let (plot, _) = root.margin(32, 0, 0, 0).split_horizontally(SIZE.0 - 150);
        let mut chart = ChartBuilder::on(&plot)
            .x_label_area_size(34)
            .y_label_area_size(50)
            .build_cartesian_2d(0.0..last.max(1) as f64, 0.0..most * 1.1)?;
        let name = |at: &f64| entries.get(at.round() as usize).map_or_else(String::new, |entry| entry.date.clone());
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GREY.mix(0.3))
            .axis_style(GREY)
            .x_labels(entries.len().min(8))
            .x_label_formatter(&name)
            .y_label_formatter(&|instructions| format!("{instructions:.0}"))
            .x_label_style(words(11))
            .y_label_style(words(11))
            .draw()?;
        let mut names = Vec::new();
        for (case, ink) in <Case as clap::ValueEnum>::value_variants().iter().zip(INKS) {
            let points: Vec<(f64, f64)> =
                entries.iter().enumerate().filter_map(|(at, entry)| Some((at as f64, figure(entry, *case)?))).collect();
            chart.draw_series(LineSeries::new(points.iter().copied(), ink.stroke_width(2)))?;
            chart.draw_series(points.iter().map(|&point| Circle::new(point, 3, ink.filled())))?;
            names.extend(points.last().map(|&(_, figure)| (chart.backend_coord(&(last as f64, figure)).1, *case, figure, ink)));
        }
        // From the lowest up, none over another.
        names.sort_by_key(|(y, ..)| -y);
        let mut below = i32::MAX;
        for (y, case, figure, ink) in names {
            below = y.min(below - NAME_HEIGHT);
            let style = TextStyle::from(("sans-serif", 14).into_font()).color(&ink);
            root.draw_text(&format!("{} {figure:.1}", case.name()), &style, (SIZE.0 as i32 - 142, below - NAME_HEIGHT / 2))?;
        }
        root.present()?;
        Ok(())
    };
    draw(&mut text).map_err(|error| format!("the plot: {error}"))?;
    Ok(text)
}

/// A table for people.
#[derive(Debug)]
pub struct Shown<'a>(pub &'a [Entry]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cases = <Case as clap::ValueEnum>::value_variants();
        let mut table = comfy_table::Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        let names = cases.iter().map(|case| case.name());
        table.set_header(["date", "commit"].into_iter().chain(names).chain(["why"]));
        for entry in self.0 {
            let figure = |case: &Case| {
                let figure = entry.cases.iter().find(|one| one.case == *case);
                figure.map_or("-".to_owned(), |one| format!("{:.1}", one.instructions_per_packet))
            };
            let words = [entry.date.clone(), entry.commit.clone()];
            table.add_row(words.into_iter().chain(cases.iter().map(figure)).chain([entry.why.clone()]));
        }
        writeln!(f, "{table}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here(path: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
    }

    #[test]
    fn the_last_entry_is_what_the_guard_demands() {
        let entries = read(&here("docs/performance/history.json")).unwrap();
        let guard: Vec<Baseline> = parse(&here("bench/instructions.json")).unwrap();
        let last = entries.last().unwrap();
        assert_eq!(last.cases, guard, "bench/instructions.json has changed: run `bench history --add REASON` and commit what it writes");
    }

    #[test]
    fn the_committed_plot_is_that_of_the_entries() {
        let entries = read(&here("docs/performance/history.json")).unwrap();
        let plot = std::fs::read_to_string(here("docs/performance/history.svg")).unwrap();
        assert!(plot == svg(&entries).unwrap(), "run `bench history` and commit docs/performance/history.svg");
        assert_eq!(json(&entries).unwrap(), std::fs::read_to_string(here("docs/performance/history.json")).unwrap());
    }

    #[test]
    fn an_entry_is_appended_and_drawn() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("history.json"), "[]").unwrap();
        std::fs::copy(here("bench/instructions.json"), path("baseline.json")).unwrap();
        let add = |why: &str| {
            run(&Args { add: Some(why.to_owned()), baseline: path("baseline.json"), file: path("history.json"), plot: path("plot.svg") })
        };
        assert_eq!(add("the first").unwrap().len(), 1);
        let entries = add("the second").unwrap();
        assert_eq!(read(&path("history.json")).unwrap(), entries);
        assert!(Shown(&entries).to_string().contains("the second"));
        let plot = std::fs::read_to_string(path("plot.svg")).unwrap();
        assert!(plot.contains("<polyline") && plot.contains("learn_forward"), "{plot}");
        assert!(add(" ").unwrap_err().contains("entry 3: why"));
    }

    #[test]
    fn wrong_entries_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history.json");
        let case = r#"[{"case": "message", "addresses": 1000, "burst": 32, "instructions_per_packet": 400.0}]"#;
        let entry = |date: &str, cases: &str| format!(r#"{{"date": "{date}", "commit": "", "why": "so", "cases": {cases}}}"#);
        let wrong = [
            ("[{}]".to_owned(), "missing field `date`"),
            (format!("[{}]", entry("yesterday", case)), "entry 1: date \"yesterday\""),
            (format!("[{}, {}]", entry("2026-11-23", case), entry("2026-11-22", case)), "entry 2: date 2026-11-22"),
            (format!("[{}]", entry("2026-11-23", "[]")), "entry 1: cases"),
            (format!("[{}]", entry("2026-11-23", &case.replace("400.0", "-1"))), "instructions_per_packet of message"),
        ];
        for (text, expected) in wrong {
            std::fs::write(&path, &text).unwrap();
            let why = read(&path).unwrap_err();
            assert!(why.contains(expected) && why.contains("history.json"), "{why}");
        }
        assert!(svg(&[]).is_err());
    }
}
