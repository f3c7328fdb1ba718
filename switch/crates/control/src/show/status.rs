//! `show status`: which configuration is in use, where it is from, and whether it is here to stay.

use serde::{Deserialize, Serialize};

use crate::plane::Control;

/// The state of the switch as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Name of the switch.
    pub switch: String,
    /// Milliseconds since its start.
    pub uptime_ms: u64,
    /// The file of the running configuration; `None`: it was built by a program.
    pub file: Option<String>,
    /// The file of the start, which `reload` and SIGHUP read again and a restart uses.
    pub start_file: Option<String>,
    /// Milliseconds since the running configuration was loaded, at the start or later.
    pub loaded_ms_ago: u64,
    /// Reloads since the start.
    pub reloads: u64,
    /// Of these, rolled back because nobody confirmed them.
    pub unconfirmed: u64,
    /// The file of the configuration that `rollback` goes back to; `None`: there is none, or it was built by a program.
    pub before: Option<String>,
    /// Milliseconds until the running configuration is rolled back; `None`: it stays.
    pub confirm_within_ms: Option<u64>,
}

/// How the switch as a whole is.
pub fn status(control: &Control) -> Status {
    let (loaded, now) = (control.loaded(), control.now());
    let ms = |time: port::Nanos| time.0 / 1_000_000;
    Status {
        switch: control.config().switch.name.clone(),
        uptime_ms: ms(now),
        file: loaded.file.clone(),
        start_file: control.start_file().map(|path| path.display().to_string()),
        loaded_ms_ago: ms(now.since(loaded.since)),
        reloads: control.counters().reloads,
        unconfirmed: control.counters().unconfirmed,
        before: loaded.before.as_ref().and_then(|before| before.file.clone()),
        confirm_within_ms: loaded.confirm_by.map(|by| ms(by.since(now))),
    }
}
