//! `check`: cases through the switch, and what differs, explained.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;

use super::progress::Progress;
use super::{Common, Done, Failure, complain, print, print_json};
use crate::regress::case::CONFIG_FILE;
use crate::regress::minimise::{self, Minimal, minimise};
use crate::regress::report::{self, Ended};
use crate::regress::{Case, Checked, Level, Program, RegressError, check};

/// What was typed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folders of cases (switch.toml, in.pcapng, out.pcapng, counters.toml, masks.toml), or folders with such folders in them
    #[arg(required = true, value_name = "CASE")]
    cases: Vec<PathBuf>,
    /// What must be equal
    #[arg(long, value_enum, default_value_t)]
    compare: Level,
    /// Show the differences, then accept what came out as what is expected; refused where CI is set
    #[arg(long)]
    bless: bool,
    /// Shrink the input of a case that fails to the smallest that fails in the same way: minimal.pcapng
    #[arg(long, conflicts_with = "bless")]
    minimise: bool,
    /// The switch [default: bladeswitch beside this program, or in PATH]
    #[arg(long, value_name = "PATH")]
    switch: Option<PathBuf>,
    /// Workers of the switch, instead of the configuration's: the output must not depend on it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    workers: Option<u8>,
    /// Write the results as JUnit XML as well
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

/// A case in JSON.
#[derive(Serialize)]
struct Told<'a> {
    case: &'a str,
    passed: bool,
    #[serde(flatten)]
    checked: Option<&'a Checked>,
    error: Option<&'a str>,
    minimal: Option<&'a Minimal>,
}

/// Checks: 0 if all are as expected, 1 if some differ, 2 if some could not be checked.
pub fn run(args: &Args, common: &Common) -> Done {
    if args.bless && std::env::var_os("CI").is_some() {
        return Err(Failure::input("--bless makes whatever comes out right: not where it is to be checked (CI is set in the environment)"));
    }
    let program = Program::find(args.switch.as_deref()).map_err(Failure::input)?.with_workers(args.workers);
    let folders = folders(&args.cases)?;
    let progress = Progress::new(Some(folders.len() as u64), "cases");
    let mut ended: Vec<(Ended, Option<Minimal>)> = Vec::new();
    let mut unable = false;
    for (done, folder) in folders.iter().enumerate() {
        progress.set(done as u64);
        progress.say(folder.display().to_string());
        let (name, result) = one(folder, &program, args);
        let mut minimal = None;
        match &result {
            Ok(checked) => {
                if !common.json {
                    print(&report::text(checked))?;
                }
                if args.minimise && !checked.passed() {
                    match shrink(folder, &program, args, common) {
                        Ok(found) => minimal = found,
                        Err(error) => {
                            unable = true;
                            complain("error", format!("{name}: {error}"));
                        }
                    }
                }
            }
            Err(error) => complain("error", error),
        }
        ended.push(((name, result.map_err(|error| error.to_string())), minimal));
    }
    drop(progress);
    if common.json {
        let told = |((case, result), minimal): &'_ (Ended, Option<Minimal>)| {
            serde_json::to_value(Told {
                case,
                passed: result.as_ref().is_ok_and(Checked::passed),
                checked: result.as_ref().ok(),
                error: result.as_ref().err().map(String::as_str),
                minimal: minimal.as_ref(),
            })
        };
        let told: Vec<serde_json::Value> = ended.iter().map(told).collect::<Result<_, _>>().map_err(Failure::other)?;
        print_json(&told)?;
    }
    let ended: Vec<Ended> = ended.into_iter().map(|(ended, _)| ended).collect();
    if let Some(path) = &args.junit {
        let failed = |error| Failure::input(format!("{}: {error}", path.display()));
        std::fs::write(path, report::junit(&ended).map_err(failed)?).map_err(failed)?;
    }
    let failed = ended.iter().filter(|(_, result)| result.as_ref().is_ok_and(|checked| !checked.passed())).count();
    let errors = ended.iter().filter(|(_, result)| result.is_err()).count();
    if !common.json && ended.len() > 1 {
        print(&format!(
            "{} cases: {} as expected, {failed} differ, {errors} could not be checked\n",
            ended.len(),
            ended.len() - failed - errors
        ))?;
    }
    Ok(match (errors > 0 || unable, failed) {
        (true, _) => ExitCode::from(2),
        (false, 0) => ExitCode::SUCCESS,
        (false, _) => ExitCode::from(1),
    })
}

fn one(folder: &Path, program: &Program, args: &Args) -> (String, Result<Checked, RegressError>) {
    match Case::open(folder) {
        Ok(case) => (case.name(), check(&case, program, args.compare, args.bless)),
        Err(error) => (folder.display().to_string(), Err(error)),
    }
}

fn shrink(folder: &Path, program: &Program, args: &Args, common: &Common) -> Result<Option<Minimal>, RegressError> {
    let progress = Progress::new(Some(minimise::TRIALS_MAX), "captures tried");
    let case = Case::open(folder)?;
    let found = minimise(&case, program, args.compare, |trials, left| {
        progress.set(trials);
        progress.say(format!("{left} frames left"));
    })?;
    drop(progress);
    let words = match &found {
        None => "nothing to shrink: the frames that came out are as expected but for their times, or only counters differ\n".to_owned(),
        Some(Minimal { of_frames, frames, trials, complete, path, failure }) => {
            let numbers: Vec<String> = frames.iter().take(20).map(u64::to_string).collect();
            let more = if frames.len() > 20 { ", …" } else { "" };
            let end = if *complete { "none of them can be left out" } else { "stopped early: fewer may do" };
            format!(
                "\nsmallest input that fails in the same way ({failure}): {} of {of_frames} frames ({end}), after {trials} trials\n  packets {}{more}: {}\n",
                frames.len(),
                numbers.join(", "),
                path.display()
            )
        }
    };
    if !common.json {
        // A reader that has gone away does not make the case any different.
        let _ = print(&words);
    }
    Ok(found)
}

/// The folders of cases that were meant: themselves, or those in them.
fn folders(typed: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut folders = Vec::new();
    for path in typed {
        let is_case = |path: &Path| path.join(CONFIG_FILE).is_file();
        if is_case(path) || !path.is_dir() {
            folders.push(path.clone());
            continue;
        }
        let entries = std::fs::read_dir(path).map_err(|error| Failure::input(format!("{}: {error}", path.display())))?;
        let mut found: Vec<PathBuf> = entries.filter_map(Result::ok).map(|entry| entry.path()).filter(|path| is_case(path)).collect();
        if found.is_empty() {
            let what = "no case: expected a folder with switch.toml, in.pcapng and out.pcapng, or one with such folders in it";
            return Err(Failure::input(format!("{}: {what}", path.display())));
        }
        found.sort();
        folders.extend(found);
    }
    Ok(folders)
}
