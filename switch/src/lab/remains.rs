//! What there is of a lab, and removing it.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::namespace::{self, ip, ip_batch, names};
use super::{ETC_NETNS, LabError, Name, Place, RUN_FOLDER};

/// How long a process has to end by itself.
const GOODBYE_MAX: Duration = Duration::from_secs(5);
/// How long the system has to end one that is killed.
const KILL_MAX: Duration = Duration::from_secs(10);

/// What is there of a lab.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remains {
    /// Its namespaces by place, and the processes in each.
    pub namespaces: Vec<(Place, Vec<i32>)>,
    /// Is its folder in `/run/bladeswitch` there?
    pub folder: bool,
    /// Its folders in `/etc/netns`.
    pub etc: Vec<String>,
}

impl Remains {
    /// Looks for everything that bears the name.
    ///
    /// # Errors
    /// A folder cannot be read, or `ip` says no.
    pub fn find(name: &Name) -> Result<Remains, LabError> {
        let mut namespaces = Vec::new();
        for namespace in namespace::all()? {
            if let Some(place) = name.place(&namespace) {
                namespaces.push((place, processes(&namespace)?));
            }
        }
        namespaces.sort();
        let etc = names(ETC_NETNS)?.into_iter().filter(|namespace| name.place(namespace).is_some()).collect();
        Ok(Remains { namespaces, folder: name.folder().exists(), etc })
    }

    /// There is nothing.
    pub fn is_empty(&self) -> bool {
        *self == Remains::default()
    }

    /// How many blades there are.
    pub fn blades(&self) -> usize {
        self.namespaces.iter().filter(|(place, _)| matches!(place, Place::Blade(_))).count()
    }

    /// The processes in the switch's namespace.
    pub fn switch(&self) -> &[i32] {
        self.namespaces.iter().find(|(place, _)| *place == Place::Switch).map_or(&[], |(_, processes)| processes)
    }

    /// How many processes run in it.
    pub fn processes(&self) -> usize {
        self.namespaces.iter().map(|(_, processes)| processes.len()).sum()
    }
}

impl fmt::Display for Remains {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "namespaces: {}, processes in them: {}", self.namespaces.len(), self.processes())?;
        if self.folder { f.write_str(", files") } else { Ok(()) }
    }
}

fn processes(namespace: &str) -> Result<Vec<i32>, LabError> {
    match ip(&["netns", "pids", namespace]) {
        Ok(text) => Ok(text.lines().filter_map(|line| line.trim().parse().ok()).collect()),
        // A file that is no namespace: `ip netns add` was interrupted between making the one and the other. Nobody is in it.
        Err(LabError::Ip { says, .. }) => {
            tracing::debug!(namespace, says, "no processes can be listed");
            Ok(Vec::new())
        }
        Err(error) => Err(error),
    }
}

/// Removes all there is of a lab, processes in its namespaces first, and tells what that was. Nothing there is no error.
///
/// # Errors
/// The system refuses; what could be removed is.
pub fn remove(name: &Name) -> Result<Remains, LabError> {
    super::check_root()?;
    let found = Remains::find(name)?;
    // The switch last, so that blades say goodbye over a network that is there; a process may be in several lists.
    let mut result = Ok(());
    for (place, processes) in found.namespaces.iter().rev() {
        for &process in processes {
            result = result.and(end(process));
        }
        result = result.and(ip_batch(None, &[format!("netns del {}", name.namespace(*place))]));
    }
    for namespace in &found.etc {
        result = result.and(remove_folder(&Path::new(ETC_NETNS).join(namespace)));
    }
    if found.folder {
        result = result.and(remove_folder(&name.folder()));
    }
    if !found.is_empty() {
        // Empty, they were ours, or might as well have been; otherwise this fails, and shall.
        let _ = fs::remove_dir(ETC_NETNS);
        let _ = fs::remove_dir(RUN_FOLDER);
    }
    result.map(|()| found)
}

fn remove_folder(folder: &Path) -> Result<(), LabError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(LabError::io(folder.display())(error)),
        _ => Ok(()),
    }
}

/// Asks a process to end, kills it if it does not, and waits until it has ended.
fn end(process: i32) -> Result<(), LabError> {
    let Some(pid) = Pid::from_raw(process) else { return Ok(()) };
    // A descriptor means this very process, also when its number is given to another meanwhile.
    let fd = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(fd) => fd,
        Err(rustix::io::Errno::SRCH) => return Ok(()), // It has ended by itself.
        Err(error) => return Err(LabError::io(format!("process {process}"))(error.into())),
    };
    for (signal, longest) in [(Signal::TERM, GOODBYE_MAX), (Signal::KILL, KILL_MAX)] {
        match pidfd_send_signal(&fd, signal) {
            Ok(()) => {}
            Err(rustix::io::Errno::SRCH) => return Ok(()),
            Err(error) => return Err(LabError::io(format!("process {process}"))(error.into())),
        }
        let mut fds = [PollFd::new(&fd, PollFlags::IN)];
        let timeout = Timespec { tv_sec: longest.as_secs() as i64, tv_nsec: 0 };
        if poll(&mut fds, Some(&timeout)).is_ok_and(|ready| ready > 0) {
            return Ok(());
        }
    }
    Err(LabError::Undead(process))
}
