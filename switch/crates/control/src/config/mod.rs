//! The configuration: a TOML file, read to its end, checked, and turned into what the rest of the program works with.
//!
//! - [`model`]: the configuration as the program sees it;
//! - `schema`: which sections and keys a file has, their ranges and defaults; `section` and `value` read them;
//! - `check`: what has to agree with what;
//! - [`backplane`]: backplanes and their buses, all of it; [`steering`], `conditions`: functions and the rules that lead to them;
//! - [`bays`]: what belongs to a bay, whichever blade is in it;
//! - `profile`: what many bays have in common;
//! - [`probe`]: how blades are asked whether they are well;
//! - [`rates`]: how much ports may send to one another; [`joined`]: trunks to other chassis; [`standby`]: a second switch blade that takes over;
//! - [`error`]: errors with their places; `text`: a configuration as text again;
//! - [`speed`], [`port::spec`], [`vids`]: rates, ports and sets of VLANs as they are written.
//!
//! The file is taken from the parser as a tree with places, not through derived deserialisation: that stops at the first
//! error, and an operator with four mistakes in a file wants to hear of all four. If the text is not TOML, only that is
//! reported, since what the rest means is then a guess.
//!
//! Limits: [`FILE_LEN_MAX`] bytes, [`port::PORTS_MAX`] ports, and those of each key in `docs/configuration.md`. Files are not
//! included in each other, and no key is taken from the environment.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use toml::de::DeTable;

pub mod backplane;
pub mod bays;
mod check;
pub(crate) mod conditions;
pub mod error;
pub mod joined;
pub mod model;
pub mod probe;
mod profile;
pub mod rates;
mod schema;
mod section;
pub mod speed;
pub mod standby;
pub mod steering;
mod text;
mod value;
pub mod vids;

#[cfg(test)]
mod tests;

pub use backplane::{BackplaneConfig, BusConfig, BusKind, SlotConfig, Station};
pub use error::{ConfigError, ConfigErrors};
pub use joined::JoinedConfig;
pub use model::{
    AgentsConfig, Config, DpdkConfig, FdbConfig, FdbEntryConfig, FdbTarget, IdentityConfig, Idle, LanesConfig, NeighborConfig, PoolConfig,
    PortConfig, Role, SwitchConfig, VlanConfig, VlanMode,
};
pub use port::spec::{PortKind, PortSpec, PortSpecError};
pub use probe::{ProbeConfig, ProbeKind};
pub use rates::RateConfig;
pub use speed::{Speed, SpeedParseError};
pub use standby::StandbyConfig;
pub use steering::{FunctionConfig, Health, Otherwise, SteerConfig};
pub use vids::VidSet;

use error::Findings;

/// The longest file that is read, in bytes.
pub const FILE_LEN_MAX: u64 = 8 << 20;
/// The shortest frame there is, without FCS (IEEE 802.3 §4A.4.2: 64 bytes with it).
pub const FRAME_LEN_MIN: u16 = 60;
/// The longest frame a switch admits, without FCS.
pub const FRAME_LEN_MAX: u16 = 9216;

impl Config {
    /// Loads the configuration at `path`.
    ///
    /// # Errors
    /// The file cannot be read, or all that [`parse`](Self::parse) finds.
    pub fn load(path: impl AsRef<Path>) -> Result<Config, ConfigErrors> {
        let path = path.as_ref();
        let name = path.display().to_string();
        let whole = |message: String| {
            let mut out = Findings::new(&name, "");
            out.whole("", message);
            out.into_errors()
        };
        let bytes = read(path).map_err(|error| whole(format!("cannot be read: {error}; expected a configuration file in TOML")))?;
        if bytes.len() as u64 > FILE_LEN_MAX {
            return Err(whole(format!("is too long: expected at most {FILE_LEN_MAX} bytes")));
        }
        match std::str::from_utf8(&bytes) {
            Ok(text) => Config::parse(text, &name),
            Err(error) => {
                let valid = error.valid_up_to();
                let before = String::from_utf8_lossy(&bytes[..valid]);
                let mut out = Findings::new(&name, &before);
                out.at(&(valid..valid), "", format!("byte {valid} of the file is not UTF-8: expected a text file in TOML"));
                Err(out.into_errors())
            }
        }
    }

    /// Reads a configuration from text. `name` is what errors call the file.
    ///
    /// # Errors
    /// Everything that is wrong, in the order of the text: not TOML, unknown keys, values of another type or out of range,
    /// values that do not agree with each other.
    pub fn parse(text: &str, name: &str) -> Result<Config, ConfigErrors> {
        let mut out = Findings::new(name, text);
        let (root, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            let span = error.span().unwrap_or(0..0);
            let line = out.line_text(&span);
            let key = line.split_once('=').map_or("", |(key, _)| key.trim_end());
            let expected = if error.message() == "duplicate key" { ", expected each key once" } else { "" };
            out.at(&span, key, format!("{}{expected}: {line}", error.message()));
        }
        if !out.is_empty() {
            return Err(out.into_errors());
        }
        let draft = schema::read(root.get_ref(), &mut out);
        check::check(&draft, &mut out);
        if !out.is_empty() {
            return Err(out.into_errors());
        }
        Ok(check::resolve(draft))
    }
}

/// The bytes of a file, one more than allowed at most.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_LEN_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
