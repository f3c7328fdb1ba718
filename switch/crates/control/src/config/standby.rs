//! `[standby]`: a second switch blade that takes over.

use std::path::PathBuf;

use serde::Serialize;
use toml::Spanned;

use super::error::Findings;
use super::section::{Section, SectionSchema};
use super::value;

/// The keys of the section.
pub(super) const STANDBY: SectionSchema = SectionSchema { name: "standby", repeated: false, keys: &["lock", "copy_ms", "silent_ms"] };

/// Of several processes with the same lock one is active, and the others stand by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StandbyConfig {
    /// The file whose lock the active one holds.
    pub lock: PathBuf,
    /// Milliseconds between copies of what the active one has learned.
    pub copy_ms: u64,
    /// An active one that gives no answer for so many milliseconds is killed; 0: never.
    pub silent_ms: u64,
}

/// Reads the section; `None` if it is not there, or an error was noted.
pub(super) fn read(section: &Section<'_, '_>, stands: bool, api: bool, out: &mut Findings<'_>) -> Option<StandbyConfig> {
    if !stands {
        return None;
    }
    let lock = section.read(out, "lock", value::file_path);
    if !section.has("lock") {
        section.missing(
            out,
            "lock",
            "the path of a file, the same for all that stand by for each other, such as \"/run/bladeswitch.lock\"",
        );
    }
    if !api {
        let message = "[standby] needs switch.api: what the active switch has learned is asked for there".to_owned();
        out.at(&section.span, "switch.api", message);
    }
    let mut time = |key, range, default| {
        let read = section.read(out, key, value::integer("milliseconds", range));
        read.map_or(default, Spanned::into_inner)
    };
    Some(StandbyConfig {
        copy_ms: time("copy_ms", 10..=60_000, 1000),
        silent_ms: time("silent_ms", 0..=60_000, 3000),
        lock: lock?.into_inner(),
    })
}
