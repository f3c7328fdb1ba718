//! What switch blades tell each other over trunks: a frame to [`GROUP`] of type [`EtherType::CHASSIS`](wire::ethernet::EtherType::CHASSIS), which no bridge forwards.
//!
//! | octets | what |
//! |---|---|
//! | 0 | version, 1 |
//! | 1 | 1: the sender hangs on the receiver; 0: it does not |
//! | 2–3 | number of the sender's chassis |
//! | 4 | its port |
//! | 5–8, 9–12 | session and number of the hello in it |
//! | 13–20 | label of what the sender has decided |
//! | 21–28 | label of the receiver, as last heard; 0: nothing was heard |
//! | 29 | *n*, then *n* chassis of two octets: the way from the root to the sender |
//! | then | *m*, then *m* times two octets chassis and four octets how often the tree has changed there |

use wire::MacAddr;

/// Bridges do not forward it (IEEE 802.1Q table 8-1): it goes no further than the trunk.
pub const GROUP: MacAddr = MacAddr([0x01, 0x80, 0xc2, 0, 0, 0x0e]);
/// Chassis on the way from the root at most.
pub const PATH_MAX: usize = 32;
/// Chassis that are joined at most.
pub const CHASSIS_MAX: usize = 64;

/// The first octet of a hello; [`roster`](super::roster) has the others.
pub(super) const VERSION: u8 = 1;
const FIXED_LEN: usize = 29;

/// Which end of a trunk the sender is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It hangs on the receiver.
    Lower,
    /// It does not.
    Upper,
}

/// What a switch blade tells at one end of a trunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Number of the sender's chassis.
    pub chassis: u16,
    /// Its port.
    pub port: u8,
    /// Which end it is.
    pub role: Role,
    /// Another one at each start.
    pub session: u32,
    /// Number of the hello in the session, ascending.
    pub sequence: u32,
    /// Label of what the sender has decided.
    pub label: u64,
    /// The receiver's label as last heard; 0: none.
    pub heard: u64,
    /// From the root to the sender: 1 to [`PATH_MAX`] chassis.
    pub path: Vec<u16>,
    /// How often the tree has changed at each chassis, [`CHASSIS_MAX`] at most.
    pub changes: Vec<(u16, u32)>,
}

impl Hello {
    /// Reads what follows the EtherType; `None` if it is no hello of this version.
    pub fn parse(payload: &[u8]) -> Option<Hello> {
        let (fixed, rest) = payload.split_first_chunk::<FIXED_LEN>()?;
        let (&path_count, rest) = rest.split_first()?;
        let (path, rest) = rest.split_at_checked(usize::from(path_count) * 2)?;
        let (&change_count, rest) = rest.split_first()?;
        let changes = rest.get(..usize::from(change_count) * 6)?;
        let u32_at = |at: usize| fixed[at..].first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
        let u64_at = |at: usize| fixed[at..].first_chunk().map(|bytes| u64::from_be_bytes(*bytes));
        let hello = Hello {
            chassis: u16::from_be_bytes([fixed[2], fixed[3]]),
            port: fixed[4],
            role: match fixed[1] {
                0 => Role::Upper,
                1 => Role::Lower,
                _ => return None,
            },
            session: u32_at(5)?,
            sequence: u32_at(9)?,
            label: u64_at(13)?,
            heard: u64_at(21)?,
            path: path.chunks_exact(2).map(|id| u16::from_be_bytes([id[0], id[1]])).collect(),
            changes: changes
                .chunks_exact(6)
                .map(|entry| (u16::from_be_bytes([entry[0], entry[1]]), u32::from_be_bytes([entry[2], entry[3], entry[4], entry[5]])))
                .collect(),
        };
        let sound = fixed[0] == VERSION
            && hello.path.len() <= PATH_MAX
            && hello.path.last() == Some(&hello.chassis)
            && hello.changes.len() <= CHASSIS_MAX
            && hello.label != 0;
        sound.then_some(hello)
    }

    /// As it follows the EtherType.
    pub fn emit(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION, u8::from(self.role == Role::Lower)];
        bytes.extend(self.chassis.to_be_bytes());
        bytes.push(self.port);
        bytes.extend(self.session.to_be_bytes());
        bytes.extend(self.sequence.to_be_bytes());
        bytes.extend(self.label.to_be_bytes());
        bytes.extend(self.heard.to_be_bytes());
        bytes.push(self.path.len() as u8);
        self.path.iter().for_each(|id| bytes.extend(id.to_be_bytes()));
        bytes.push(self.changes.len() as u8);
        for (chassis, count) in &self.changes {
            bytes.extend(chassis.to_be_bytes());
            bytes.extend(count.to_be_bytes());
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello() -> Hello {
        Hello {
            chassis: 3,
            port: 7,
            role: Role::Lower,
            session: 0x0102_0304,
            sequence: 9,
            label: 0x0102_0304_0000_0005,
            heard: 77,
            path: vec![1, 2, 3],
            changes: vec![(1, 4), (3, 70_000)],
        }
    }

    #[test]
    fn a_hello_is_read_as_it_was_written() {
        let bytes = hello().emit();
        assert_eq!(bytes.len(), 29 + 1 + 6 + 1 + 12);
        assert_eq!(Hello::parse(&bytes), Some(hello()));
        assert_eq!(Hello::parse(&[&bytes[..], &[0; 20]].concat()), Some(hello()), "a frame is padded");
        for len in 0..bytes.len() {
            assert_eq!(Hello::parse(&bytes[..len]), None, "{len} bytes of it");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let edit = |at: usize, value: u8| {
            let mut bytes = hello().emit();
            bytes[at] = value;
            Hello::parse(&bytes)
        };
        assert_eq!(edit(0, 2), None, "version");
        assert_eq!(edit(1, 2), None, "role");
        assert_eq!(edit(3, 4), None, "the way does not lead to the sender");
        assert_eq!(edit(29, 0), None, "no way at all");
        assert_eq!(edit(29, 200), None, "beyond the frame");
        let long = Hello { path: (0..40).chain([3]).collect(), ..hello() };
        assert_eq!(Hello::parse(&long.emit()), None);
    }
}
