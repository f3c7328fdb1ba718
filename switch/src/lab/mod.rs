//! A chassis on one machine: blades as network namespaces, the switch between them.
//!
//! Each blade, the uplink and the switch itself is a network namespace; each blade and the uplink is joined to the switch's by
//! a pair of veth interfaces, `eth0` on its side and `blade1`, …, `uplink` on the switch's. Nothing is put into the machine's
//! own network: neither its interfaces nor its addresses, routes or settings change.
//!
//! ```text
//!  blade1 [eth0] ──── [blade1]                    blade2 [eth0] ──── [blade2]
//!                               bladeswitch run                                 all in the namespace `switch`
//!  uplink [eth0] ──── [uplink]                    blade3 [eth0] ──── [blade3]
//! ```
//!
//! **What belongs to a lab is found by its name alone**: namespaces `bs-NAME-…`, the folder `/run/bladeswitch/NAME`, the folders
//! `/etc/netns/bs-NAME-…`, and whatever process runs in one of these namespaces. So [`remove`] needs no record of what was made,
//! and clears after a crash, or a half-made lab, or an interrupted removal, alike.
//!
//! It uses the program `ip` of iproute2: that knows every way to make a veth, and what it does can be read and repeated by hand.
//!
//! Limits: Linux, root, 1 to [`BLADES_MAX`] blades. `/run/netns`, which `ip netns` mounts when it is used the first time, stays.
//!
//! Threads: nothing here is shared; [`namespace::inside`] starts a thread for as long as it lasts.

mod chassis;
mod cores;
pub mod fig3;
pub mod namespace;
mod remains;

use std::io;
use std::path::PathBuf;

pub use chassis::{BLADES_MAX, Chassis, Place, PlaceParseError};
pub use cores::Cores;
pub use remains::{Remains, remove};

/// Where labs keep their files, each in a folder of its name.
const RUN_FOLDER: &str = "/run/bladeswitch";
/// Where `ip netns exec` finds the files of a namespace that replace those in `/etc`.
const ETC_NETNS: &str = "/etc/netns";
/// What every namespace of a lab is called begins with this, its name, and a hyphen.
const NAMESPACE_PREFIX: &str = "bs-";

/// The name of a lab: 1 to 12 letters, digits and underscores.
///
/// It goes into the names of files and namespaces. A hyphen would make it the beginning of another's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(String);

impl Name {
    /// The folder of its files: configuration, log, API socket.
    pub fn folder(&self) -> PathBuf {
        PathBuf::from(RUN_FOLDER).join(&self.0)
    }

    /// The socket on which its switch answers.
    pub fn socket(&self) -> PathBuf {
        self.folder().join("api.sock")
    }

    /// What its switch has logged and printed.
    pub fn log(&self) -> PathBuf {
        self.folder().join("switch.log")
    }

    /// The namespace of one of its places.
    pub fn namespace(&self, place: Place) -> String {
        format!("{}{place}", self.prefix())
    }

    /// The place of a namespace, if it is one of this lab.
    fn place(&self, namespace: &str) -> Option<Place> {
        namespace.strip_prefix(&self.prefix())?.parse().ok()
    }

    fn prefix(&self) -> String {
        format!("{NAMESPACE_PREFIX}{}-", self.0)
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.0)
    }
}

impl std::str::FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = (1..=12).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if fits { Ok(Name(text.to_owned())) } else { Err("expected 1 to 12 letters, digits and underscores".to_owned()) }
    }
}

/// Why a lab could not be made or removed.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// Namespaces are for root.
    #[error("a lab makes network namespaces, which takes root: try `sudo bladeswitch lab …`")]
    NotRoot,
    /// iproute2 is missing.
    #[error("the program `{0}` is missing: install the package iproute2")]
    NoProgram(&'static str),
    /// `ip` says no.
    #[error("`ip {command}` failed: {says}")]
    Ip {
        /// What was asked.
        command: String,
        /// What it said.
        says: String,
    },
    /// Something of this name is there.
    #[error("lab {name} is there already, or what is left of it ({found}): `bladeswitch lab down --name {name}` removes it")]
    InTheWay {
        /// Its name.
        name: Name,
        /// What was found.
        found: Remains,
    },
    /// A file or a descriptor.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system says.
        source: io::Error,
    },
    /// A process does not end.
    #[error("process {0} in the lab does not end, not even when it is killed: its namespace stays until it does")]
    Undead(i32),
}

impl LabError {
    fn io(what: impl std::fmt::Display) -> impl FnOnce(io::Error) -> LabError {
        move |source| LabError::Io { what: what.to_string(), source }
    }
}

/// Is this process allowed to do what a lab needs?
///
/// # Errors
/// [`LabError::NotRoot`].
pub fn check_root() -> Result<(), LabError> {
    if rustix::process::geteuid().is_root() { Ok(()) } else { Err(LabError::NotRoot) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_beginning_of_another() {
        let (lab, lab2): (Name, Name) = ("lab".parse().unwrap(), "lab2".parse().unwrap());
        assert_eq!(lab.namespace(Place::Blade(3)), "bs-lab-blade3");
        assert_eq!(lab.place("bs-lab-blade3"), Some(Place::Blade(3)));
        assert_eq!(lab.place("bs-lab-switch"), Some(Place::Switch));
        assert_eq!(lab.place(&lab2.namespace(Place::Uplink)), None);
        for other in ["bs-lab-blade", "bs-lab-blade0", "bs-lab-blade01", "bs-lab-", "bs-lab-x", "lab-blade1", "bs-labblade1"] {
            assert_eq!(lab.place(other), None, "{other}");
        }
        for wrong in ["", "a-b", "..", "a/b", "thirteen_long", "ä"] {
            assert!(wrong.parse::<Name>().is_err(), "{wrong}");
        }
    }
}
