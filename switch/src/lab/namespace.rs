//! Network namespaces: what `ip` does for us, and being inside one.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::LabError;

/// Where `ip netns` keeps them.
const FOLDER: &str = "/run/netns";

/// Runs `ip` with these arguments and returns what it prints.
///
/// # Errors
/// It is missing, or says no.
pub fn ip(args: &[&str]) -> Result<String, LabError> {
    said(args.join(" "), command("ip").args(args).stdin(Stdio::null()).output())
}

/// Has `ip` do `lines`, one command each, in the machine's own namespace or in that of a name; it stops at the first that fails.
///
/// # Errors
/// It is missing, or says no.
pub fn ip_batch(namespace: Option<&str>, lines: &[String]) -> Result<(), LabError> {
    let mut ip = command("ip");
    if let Some(namespace) = namespace {
        ip.args(["-netns", namespace]);
    }
    ip.args(["-batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = ip.spawn().and_then(|mut child| {
        // What it prints meanwhile fits into a pipe. If it ends early, that is said by its status.
        let input = child.stdin.take();
        if let Some(mut input) = input
            && let Err(error) = input.write_all((lines.join("\n") + "\n").as_bytes())
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            return Err(error);
        }
        child.wait_with_output()
    });
    said(lines.join("; "), output).map(drop)
}

/// A command that finds what root has also where only a user's programs are looked for.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into(), "/usr/bin".into(), "/bin".into()]);
    if let Ok(path) = std::env::join_paths(folders) {
        command.env("PATH", path);
    }
    command
}

fn said(command: String, output: io::Result<Output>) -> Result<String, LabError> {
    match output {
        Ok(output) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        Ok(output) => Err(LabError::Ip { command, says: String::from_utf8_lossy(&output.stderr).trim().to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(LabError::NoProgram("ip")),
        Err(error) => Err(LabError::io("ip")(error)),
    }
}

/// The names of all namespaces.
///
/// # Errors
/// The folder of `ip netns` cannot be read.
pub fn all() -> Result<Vec<String>, LabError> {
    names(FOLDER)
}

/// The names of what is in a folder; none if there is no such folder.
pub(super) fn names(folder: &str) -> Result<Vec<String>, LabError> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(LabError::io(folder))?,
    };
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect::<io::Result<Vec<_>>>();
    names.map_err(LabError::io(folder))
}

/// A command that runs inside a namespace, with its `/etc/netns` in place.
pub fn exec(namespace: &str, program: &str) -> Command {
    let mut command = command("ip");
    command.args(["netns", "exec", namespace, program]);
    command
}

/// Calls `what` in a thread of its own that is in a namespace, and waits for it.
///
/// # Errors
/// There is no such namespace, or it cannot be entered.
///
/// # Panics
/// If `what` does.
pub fn inside<T: Send>(namespace: &str, what: impl FnOnce() -> T + Send) -> Result<T, LabError> {
    let path = Path::new(FOLDER).join(namespace);
    let file = File::open(&path).map_err(LabError::io(path.display()))?;
    let enter_and_do = || {
        // The thread ends afterwards: it need not find its way back.
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
        Ok(what())
    };
    let done = std::thread::scope(|scope| scope.spawn(enter_and_do).join());
    match done {
        Ok(done) => done.map_err(LabError::io(format!("entering namespace {namespace}"))),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Sets values below `/proc/sys/net` in a namespace. Those the kernel does not have are left out: without IPv6, nothing of it
/// needs to be kept quiet.
///
/// # Errors
/// As [`inside`], or a value is refused.
pub fn set(namespace: &str, values: &[(&str, &str)]) -> Result<(), LabError> {
    inside(namespace, || {
        for (key, value) in values {
            let path = Path::new("/proc/sys/net").join(key);
            match std::fs::write(&path, value) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(LabError::io(path.display())(error)),
                _ => {}
            }
        }
        Ok(())
    })?
}
