//! The switch as another program: `bladeswitch replay`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::RegressError;
use super::case::{CONFIG_FILE, COUNTERS_FILE, Case, Counters, OUT_FILE, Run};

/// Name of the program.
const NAME: &str = "bladeswitch";

/// Bytes of what the switch said that an error repeats.
const SAID_MAX: usize = 2000;

/// The program that is tested.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    workers: Option<u8>,
}

impl Program {
    /// The switch at `path`, or, without one, beside this program, or else in `PATH`.
    ///
    /// # Errors
    /// It is nowhere.
    pub fn find(path: Option<&Path>) -> Result<Program, RegressError> {
        let found = |path: PathBuf| Ok(Program { path, workers: None });
        if let Some(path) = path {
            return match path.is_file() {
                true => found(path.to_owned()),
                false => Err(RegressError::Program(format!("{}: there is no such program: expected that of bladeswitch", path.display()))),
            };
        }
        let beside = std::env::current_exe().ok().and_then(|own| own.parent().map(|folder| folder.join(NAME)));
        let listed = std::env::var_os("PATH").unwrap_or_default();
        let in_path = std::env::split_paths(&listed).map(|folder| folder.join(NAME));
        match beside.into_iter().chain(in_path).find(|candidate| candidate.is_file()) {
            Some(path) => found(path),
            None => Err(RegressError::Program(
                "there is no bladeswitch beside this program or in PATH: name it with --switch PATH, or build it (cargo build -p bladeswitch)"
                    .to_owned(),
            )),
        }
    }

    /// On so many workers, instead of what the configuration says.
    pub fn with_workers(mut self, workers: Option<u8>) -> Program {
        self.workers = workers;
        self
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Replays a capture into the switch of a case, and writes what comes out to `folder`.
    ///
    /// # Errors
    /// The switch cannot be started or fails, or what it wrote cannot be read.
    pub fn replay(&self, case: &Case, input: &Path, folder: &Path) -> Result<Run, RegressError> {
        let mut command = Command::new(&self.path);
        command.arg("replay").arg(case.file(CONFIG_FILE)).arg("--in").arg(input).arg("--out").arg(folder).arg("--annotate");
        if let Some(workers) = self.workers {
            command.arg("--workers").arg(workers.to_string());
        }
        let output = command.output().map_err(|error| RegressError::Program(format!("{}: {error}", self.path.display())))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let said = said.trim();
            let from = said.len().saturating_sub(SAID_MAX);
            let from = (from..said.len()).find(|&at| said.is_char_boundary(at)).unwrap_or(said.len());
            return Err(RegressError::Switch { status: output.status.to_string(), said: said[from..].to_owned() });
        }
        let counters = Counters::load(&folder.join(COUNTERS_FILE))?;
        Run::load(&folder.join(OUT_FILE), counters)
    }

    /// Takes what [`replay`](Self::replay) wrote to `folder` as what the case expects from now on.
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn accept(case: &Case, folder: &Path) -> Result<(), RegressError> {
        for name in [OUT_FILE, COUNTERS_FILE] {
            fs::copy(folder.join(name), case.file(name)).map_err(RegressError::file(case.file(name)))?;
        }
        Ok(())
    }
}
