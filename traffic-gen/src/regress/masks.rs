//! What of a frame does not matter: bytes by their place or fields by their name, at one port or at all.
//!
//! ```toml
//! time_tolerance_ns = 100     # so much earlier or later is not a difference
//!
//! [[mask]]
//! field = "ipv4.id"           # by name, as differences are told
//!
//! [[mask]]
//! port = "uplink1"            # at this port only
//! offset = 38                 # from the destination address on
//! len = 4                     # 1 if not said
//! ```

use std::fs;
use std::path::Path;

use serde::Deserialize;

use super::RegressError;
use super::fields;

/// What does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Masks {
    /// Nanoseconds a frame may be early or late.
    #[serde(default)]
    pub time_tolerance_ns: u64,
    /// Parts of frames.
    #[serde(default)]
    pub mask: Vec<Mask>,
}

/// A part of frames that does not matter.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mask {
    /// At this port; at all if not said.
    pub port: Option<String>,
    /// A field's name.
    pub field: Option<String>,
    /// Or the first byte,
    pub offset: Option<usize>,
    /// and how many.
    pub len: Option<usize>,
}

impl Masks {
    /// Reads them; none if there is no such file.
    ///
    /// # Errors
    /// It cannot be read, or a mask says neither or both of field and offset, or names a field there is not.
    pub fn load(path: &Path) -> Result<Masks, RegressError> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Masks::default()),
            Err(source) => return Err(RegressError::File { path: path.to_owned(), source }),
        };
        let wrong = |what: String| RegressError::Wrong { path: path.to_owned(), what };
        let masks: Masks = toml::from_str(&text).map_err(|error| wrong(error.to_string().trim_end().to_owned()))?;
        for (index, mask) in masks.mask.iter().enumerate() {
            let number = index + 1;
            match mask {
                Mask { field: Some(field), offset: None, len: None, .. } if fields::is_known(field) => {}
                Mask { field: Some(field), offset: None, len: None, .. } => {
                    let known = fields::NAMES.join(", ");
                    return Err(wrong(format!("mask {number}: there is no field \"{field}\": expected one of {known}")));
                }
                Mask { field: None, offset: Some(_), .. } => {}
                _ => return Err(wrong(format!("mask {number}: expected either `field`, or `offset` and perhaps `len`"))),
            }
        }
        Ok(masks)
    }

    /// The frame with what does not matter at this port set to zero.
    pub fn apply(&self, port: &str, bytes: &[u8]) -> Vec<u8> {
        let mut masked = bytes.to_vec();
        let here = self.mask.iter().filter(|mask| mask.port.as_ref().is_none_or(|name| name == port));
        let mut decoded = None;
        for mask in here {
            match (&mask.field, mask.offset) {
                (Some(name), _) => {
                    let decoded = decoded.get_or_insert_with(|| fields::decode(bytes));
                    for field in decoded.iter().filter(|field| field.name == name) {
                        masked[field.range.clone()].fill(0);
                    }
                }
                (None, Some(offset)) => {
                    let end = offset.saturating_add(mask.len.unwrap_or(1)).min(masked.len());
                    masked[offset.min(end)..end].fill(0);
                }
                (None, None) => {}
            }
        }
        masked
    }
}
