//! Processes of peers: started with a folder of their own, read by their log files, and ended whatever happens.
//!
//! A process goes when its [`Process`] is dropped, and by a signal of the kernel when this program dies (`setpriv --pdeathsig`): nothing is
//! left that polls. For that, processes are started by the main thread; into a namespace they get by `ip netns exec`.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bladeswitch::lab::namespace;
use rustix::process::{Pid, Signal, kill_process};

/// How long a process has to end by itself, and to say what is waited for.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// How long a process has to end when it is asked to.
const GOODBYE_MAX: Duration = Duration::from_secs(10);
/// Lines of a log in an error.
const LINES_SHOWN: usize = 4;
/// Between looks at a file or a process.
const LOOK: Duration = Duration::from_millis(5);

/// A program to be started: what is typed, and where.
#[derive(Debug)]
pub struct Program<'a> {
    /// Its name or path.
    pub name: &'a str,
    /// Its arguments.
    pub args: Vec<String>,
    /// What is set for it alone.
    pub environment: Vec<(&'static str, String)>,
    /// The network namespace, if not ours.
    pub inside: Option<&'a str>,
}

/// A process of a peer.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Process {
    /// Starts a program whose output goes to the file `log`.
    ///
    /// # Errors
    /// If there is no such program or file.
    pub fn start(program: &Program<'_>, log: &Path) -> Result<Process, String> {
        let failed = |error: std::io::Error| format!("{}: {error}", program.name);
        let file = File::create(log).map_err(|error| format!("{}: {error}", log.display()))?;
        let mut command = match program.inside {
            Some(name) => namespace::exec(name, "setpriv"),
            None => namespace::command("setpriv"),
        };
        // Lines are to be seen when they are written, not when a buffer is full.
        command.args(["--pdeathsig", "KILL", "stdbuf", "-oL", program.name]).args(&program.args);
        command.envs(program.environment.iter().map(|(key, value)| (*key, value)));
        // Ctrl-C is for us: we end it.
        command.process_group(0).stdin(Stdio::piped()).stdout(file.try_clone().map_err(failed)?).stderr(file);
        let child = command.spawn().map_err(failed)?;
        Ok(Process { child, name: program.name.to_owned(), log: log.to_owned() })
    }

    /// Number of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the log has what `is_there` looks for.
    ///
    /// # Errors
    /// The process has ended, nothing has come for a minute, or we are to stop.
    pub fn wait_for(&mut self, is_there: impl Fn(&str) -> bool, stop: &AtomicBool) -> Result<(), String> {
        let began = Instant::now();
        loop {
            let ended = self.has_ended();
            if is_there(&self.log()) {
                return Ok(());
            }
            if ended {
                return Err(format!("it has ended by itself: {}", self.last_words()));
            }
            if began.elapsed() > PATIENCE {
                return Err(format!("it was not ready after {} s: {}", PATIENCE.as_secs(), self.last_words()));
            }
            rest(LOOK, stop)?;
        }
    }

    /// Has it ended?
    pub fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// Writes a line to it and waits for its end. Returns all that it has said.
    ///
    /// # Errors
    /// It did not end.
    pub fn finish(mut self, line: &str) -> Result<String, String> {
        if let Some(mut stdin) = self.child.stdin.take() {
            // One that has ended does not read; its log says why.
            let _ = stdin.write_all(line.as_bytes());
        }
        if !self.has_gone(GOODBYE_MAX) {
            return Err(format!("{} did not end when it was asked to: {}", self.name, self.last_words()));
        }
        Ok(self.log())
    }

    /// All that it has said.
    pub fn log(&self) -> String {
        std::fs::read(&self.log).map_or_else(|error| error.to_string(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    fn last_words(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        lines[lines.len().saturating_sub(LINES_SHOWN)..].join("; ")
    }

    fn has_gone(&mut self, within: Duration) -> bool {
        let began = Instant::now();
        while !self.has_ended() {
            if began.elapsed() > within {
                return false;
            }
            std::thread::park_timeout(LOOK);
        }
        true
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.has_ended() {
            return;
        }
        drop(self.child.stdin.take());
        // Asked first: it then takes off what it has put on interfaces.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        if !self.has_gone(GOODBYE_MAX) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Runs a tool to its end, for 20 s at most, and returns what it prints.
///
/// # Errors
/// It is missing, or says no.
pub fn tool<S: AsRef<OsStr>>(name: &str, args: impl IntoIterator<Item = S>, inside: Option<&str>) -> Result<String, String> {
    let mut command = match inside {
        Some(namespace) => namespace::exec(namespace, "timeout"),
        None => namespace::command("timeout"),
    };
    command.args(["20", name]).args(args).stdin(Stdio::null()).process_group(0);
    let output = command.output().map_err(|error| format!("{name}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let says = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
    Err(if says.is_empty() { format!("{name}: {}", output.status) } else { says })
}

/// Is there such a program?
pub fn is_installed(name: &str) -> bool {
    let path = namespace::command(name);
    let folders = path.get_envs().find(|(key, _)| *key == "PATH").and_then(|(_, value)| value);
    folders.is_some_and(|folders| std::env::split_paths(folders).any(|folder| folder.join(name).is_file()))
}

/// A command as it is typed: words with blanks or braces in quotes.
pub fn typed<S: AsRef<str>>(name: &str, args: &[S]) -> String {
    let quoted = |word: &str| if word.contains([' ', '{', '}', ';', '*']) { format!("'{word}'") } else { word.to_owned() };
    std::iter::once(name.to_owned()).chain(args.iter().map(|word| quoted(word.as_ref()))).collect::<Vec<_>>().join(" ")
}

/// Lets time pass.
///
/// # Errors
/// If we are to stop.
pub fn rest(duration: Duration, stop: &AtomicBool) -> Result<(), String> {
    let began = Instant::now();
    while let Some(left) = duration.checked_sub(began.elapsed()).filter(|left| !left.is_zero()) {
        if stop.load(Ordering::Relaxed) {
            return Err("interrupted".to_owned());
        }
        std::thread::park_timeout(left.min(Duration::from_millis(50)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell<'a>(script: &str) -> Program<'a> {
        Program { name: "sh", args: vec!["-c".to_owned(), script.to_owned()], environment: vec![("PEER", "7".to_owned())], inside: None }
    }

    #[test]
    fn a_process_is_heard_and_ends() {
        let (folder, stop) = (tempfile::tempdir().unwrap(), AtomicBool::new(false));
        let log = folder.path().join("log");
        let mut process = Process::start(&shell("echo ready $PEER; read line; echo got $line"), &log).unwrap();
        process.wait_for(|log| log.contains("ready 7"), &stop).unwrap();
        assert!(process.finish("now\n").unwrap().contains("got now"));
        let mut process = Process::start(&shell("echo no memory; exit 3"), &log).unwrap();
        let why = process.wait_for(|log| log.contains("ready"), &stop).unwrap_err();
        assert!(why.contains("ended by itself") && why.contains("no memory"), "{why}");
    }

    #[test]
    fn a_process_that_is_dropped_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let process = Process::start(&shell("exec sleep 600"), &folder.path().join("log")).unwrap();
        let place = Path::new("/proc").join(process.id().to_string());
        assert!(place.exists());
        drop(process);
        assert!(!place.exists());
    }

    #[test]
    fn tools_say_what_is_wrong() {
        assert_eq!(tool("echo", ["a", "b"], None).unwrap(), "a b\n");
        assert!(tool("ls", ["/no/such/folder"], None).unwrap_err().contains("/no/such/folder"));
        assert_eq!(typed("set", &["a=b c", "d"]), "set 'a=b c' d");
        assert!(is_installed("sh") && !is_installed("no-such-program-at-all"));
    }
}
