//! Standing by: of several processes with the same `standby.lock` one forwards, the others wait for its end.
//!
//! Who holds the lock of the file is active. The system gives it back when a process ends, however it ends, after its last thread: so there
//! are never two, and a successor opens its ports when nobody else has them. What came in before is not its business; nothing is sent twice.
//! One that hangs holds the lock; after `silent_ms` without an answer it is killed.
//!
//! Meanwhile what the active one has learned is copied over its API, every `copy_ms`.

use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use control::config::StandbyConfig;
use control::show;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::run::Signals;
use super::{Failure, client, complain, print};

/// How long an answer may take if nobody is killed for it.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(10);

/// This process is active, as long as this lives.
pub struct Active {
    _lock: File,
    /// What the one before had learned.
    pub copy: Option<Copy>,
}

/// What the active switch had learned when it was last asked.
pub struct Copy {
    /// Its FDB.
    pub fdb: show::Fdb,
    /// Its neighbours.
    pub neighbors: show::Neighbors,
}

/// Waits until this process is active; `None` if it is told to end before. `socket` is that of the API.
///
/// # Errors
/// The lock cannot be had, and not because somebody else has it.
pub async fn wait(standby: &StandbyConfig, socket: &Path, signals: &mut Signals) -> Result<Option<Active>, Failure> {
    let failed = |error: std::io::Error| Failure::input(format!("standby.lock {}: {error}", standby.lock.display()));
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&standby.lock).map_err(failed)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => return Ok(Some(Active { _lock: file, copy: None })),
        Err(Errno::WOULDBLOCK) => {}
        Err(error) => return Err(failed(error.into())),
    }
    print(&format!("standing by: another process has {}\n", standby.lock.display()))?;
    let mut taken = lock_in_thread(file.try_clone().map_err(failed)?).map_err(failed)?;
    let copy = RefCell::new(None);
    let result = tokio::select! {
        // The lock first: a copy under way is not waited for.
        biased;
        result = &mut taken => result.unwrap_or(Err(Errno::INTR)),
        () = signals.any() => return Ok(None),
        () = keep_copying(standby, socket, &copy) => unreachable!("it copies without end"),
    };
    result.map_err(|error| failed(error.into()))?;
    print("taking over\n")?;
    Ok(Some(Active { _lock: file, copy: copy.into_inner() }))
}

/// Waits for the lock where waiting stops nobody. The thread lasts as long as that, or the process.
fn lock_in_thread(file: File) -> std::io::Result<oneshot::Receiver<Result<(), Errno>>> {
    let (sender, receiver) = oneshot::channel();
    let wait = move || {
        let result = loop {
            match flock(&file, FlockOperation::LockExclusive) {
                Err(Errno::INTR) => {}
                result => break result,
            }
        };
        // Nobody listens any more: the process ends.
        let _ = sender.send(result);
    };
    std::thread::Builder::new().name("standby-lock".to_owned()).spawn(wait)?;
    Ok(receiver)
}

async fn keep_copying(standby: &StandbyConfig, socket: &Path, copy: &RefCell<Option<Copy>>) {
    let silent = (standby.silent_ms > 0).then(|| Duration::from_millis(standby.silent_ms));
    let mut period = interval(Duration::from_millis(standby.copy_ms));
    period.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard = Instant::now();
    loop {
        period.tick().await;
        match timeout(silent.unwrap_or(ANSWER_WAIT_MAX), ask(socket)).await {
            Ok(Ok(new)) => {
                heard = Instant::now();
                if copy.borrow().is_none() {
                    // What nobody reads is no reason not to stand by.
                    let _ =
                        print(&format!("copied {} addresses and {} neighbours\n", new.fdb.entries.len(), new.neighbors.neighbors.len()));
                }
                *copy.borrow_mut() = Some(new);
            }
            Ok(Err(error)) => tracing::debug!(%error, "the active switch does not answer"),
            Err(_) => tracing::warn!("the active switch gives no answer"),
        }
        if silent.is_some_and(|silent| heard.elapsed() > silent) {
            kill_active(socket).await;
        }
    }
}

async fn ask(socket: &Path) -> Result<Copy, String> {
    let get = async |path| client::exchange(socket, hyper::Method::GET, path, String::new()).await.map_err(|failure| failure.message);
    let fdb = serde_json::from_str(&get("/v1/fdb").await?).map_err(|error| error.to_string())?;
    let neighbors = serde_json::from_str(&get("/v1/neighbors").await?).map_err(|error| error.to_string())?;
    Ok(Copy { fdb, neighbors })
}

/// Ends who listens at the socket: it holds the lock and does nothing with it. Who does not listen yet is only starting.
async fn kill_active(socket: &Path) {
    let peer = UnixStream::connect(socket).await.and_then(|stream| stream.peer_cred());
    let Some(process) = peer.ok().and_then(|peer| Pid::from_raw(peer.pid()?)) else { return };
    complain("warning", format!("the active switch, process {process:?}, has been silent for too long: it is killed"));
    if let Err(error) = kill_process(process, Signal::KILL) {
        complain("warning", format!("it cannot be killed: {error}"));
    }
}
