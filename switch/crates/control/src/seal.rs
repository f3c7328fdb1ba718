//! Seals of control messages: HMAC-SHA-256 with a key that both ends have, and a counter against messages that are played again.
//!
//! Whoever has the key can speak for everybody who has it: it keeps strangers out, it does not tell blades apart. Nothing is
//! secret that is sealed.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

use hmac::{Hmac, Mac};
use sha2::Sha256;
use thiserror::Error;
use wire::MacAddr;
use wire::message::{CODE_LEN, Header, Seal};

/// Bytes of a key.
pub const KEY_LEN: std::ops::RangeInclusive<usize> = 16..=4096;
/// Sources whose counters are remembered.
const SOURCES_MAX: usize = 4096;

/// Why there is no key.
#[derive(Debug, Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("key file {path}: {source}; expected a file of 16 to 4096 bytes", path = .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is too short or too long.
    #[error(
        "key file {path} has {len} bytes or more: expected 16 to 4096, such as those of `head -c 32 /dev/urandom > {path}`",
        path = .path.display()
    )]
    Length {
        /// The file.
        path: PathBuf,
        /// Bytes that were read.
        len: usize,
    },
}

/// Why a seal is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SealError {
    /// There is none.
    #[error("the message is not sealed")]
    Missing,
    /// Another key, or the message was changed.
    #[error("the seal is wrong")]
    Wrong,
    /// The counter has been seen, or a later one.
    #[error("the message was heard before")]
    Replayed,
    /// Too many sources: this one cannot be remembered.
    #[error("there are too many sources")]
    Full,
}

/// A key, the counter of this end and those of the others.
///
/// The counters of others are remembered while this program runs: after a restart, a sealed message of before could be believed once.
pub struct Sealer {
    key: Vec<u8>,
    counter: u64,
    heard: HashMap<MacAddr, u64>,
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealer(counter {}, {} sources)", self.counter, self.heard.len())
    }
}

impl Sealer {
    /// A sealer with this key. `counter` has to be above all it has ever used: the time of day in nanoseconds is.
    pub fn new(key: &[u8], counter: u64) -> Sealer {
        Sealer { key: key.to_vec(), counter, heard: HashMap::new() }
    }

    /// A sealer with the key in a file.
    ///
    /// # Errors
    /// The file cannot be read, or its length is not in [`KEY_LEN`].
    pub fn load(path: &Path, counter: u64) -> Result<Sealer, KeyError> {
        let mut key = Vec::new();
        let read = fs::File::open(path).and_then(|file| file.take(*KEY_LEN.end() as u64 + 1).read_to_end(&mut key));
        read.map_err(|source| KeyError::Io { path: path.to_owned(), source })?;
        if !KEY_LEN.contains(&key.len()) {
            return Err(KeyError::Length { path: path.to_owned(), len: key.len() });
        }
        Ok(Sealer::new(&key, counter))
    }

    /// The next counter.
    pub fn next_counter(&mut self) -> u64 {
        self.counter = self.counter.wrapping_add(1);
        self.counter
    }

    /// Writes the code at the end of `body`, which was encoded with a counter.
    pub fn seal(&self, source: MacAddr, header: &Header, body: &mut [u8]) {
        let code = self.hmac(&Seal::signed(source, header, body)).finalize().into_bytes();
        if let Some(place) = body.last_chunk_mut::<CODE_LEN>() {
            place.copy_from_slice(&code);
        }
    }

    /// Is the message of somebody who has the key, and new?
    ///
    /// # Errors
    /// It is not, and why.
    pub fn check(&mut self, source: MacAddr, header: &Header, body: &[u8]) -> Result<(), SealError> {
        let seal = Seal::of(body).ok_or(SealError::Missing)?;
        // In constant time: how much of a code was right is nobody's business.
        self.hmac(&Seal::signed(source, header, body)).verify_slice(&seal.code).map_err(|_| SealError::Wrong)?;
        let full = self.heard.len() >= SOURCES_MAX;
        match self.heard.get_mut(&source) {
            Some(last) if seal.counter <= *last => Err(SealError::Replayed),
            Some(last) => {
                *last = seal.counter;
                Ok(())
            }
            None if full => Err(SealError::Full),
            None => {
                self.heard.insert(source, seal.counter);
                Ok(())
            }
        }
    }

    fn hmac(&self, signed: &[u8]) -> Hmac<Sha256> {
        let Ok(hmac) = Hmac::<Sha256>::new_from_slice(&self.key) else { unreachable!("HMAC takes keys of any length (RFC 2104 §3)") };
        hmac.chain_update(signed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::ethernet::EtherType;
    use wire::message::{Control, ControlMessage, Final, MessageType};

    const BLADE: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

    fn sealed(sealer: &mut Sealer) -> (Header, Vec<u8>) {
        let message = ControlMessage { session: 1, transaction: 2, control: Control::Listen(3) };
        let mut body = message.encode(Some(sealer.next_counter()));
        let header = Header {
            message_type: MessageType::Listen,
            final_destination: Final::Mac(MacAddr::BROADCAST),
            inner: EtherType(0),
            body_len: body.len() as u16,
        };
        sealer.seal(BLADE, &header, &mut body);
        (header, body)
    }

    /// RFC 4231, test case 2: the code is the one of the standard.
    #[test]
    fn the_code_is_hmac_sha_256() {
        let code = Sealer::new(b"Jefe", 0).hmac(b"what do ya want for nothing?").finalize().into_bytes();
        assert_eq!((code[..4].to_vec(), code[28..].to_vec()), (vec![0x5b, 0xdc, 0xc1, 0x46], vec![0x64, 0xec, 0x38, 0x43]));
    }

    #[test]
    fn every_octet_and_the_source_are_sealed() {
        let mut sender = Sealer::new(b"sixteen bytes...", 41);
        let (header, body) = sealed(&mut sender);
        let check = |key: &[u8], source: MacAddr, header: &Header, body: &[u8]| Sealer::new(key, 0).check(source, header, body);
        let key = b"sixteen bytes...";
        assert_eq!(check(key, BLADE, &header, &body), Ok(()));
        for at in 0..body.len() {
            let mut other = body.clone();
            other[at] ^= 2;
            assert_eq!(check(key, BLADE, &header, &other), Err(SealError::Wrong), "octet {at}");
        }
        assert_eq!(check(b"another key.....", BLADE, &header, &body), Err(SealError::Wrong));
        assert_eq!(check(key, MacAddr([2, 0, 0, 0, 0, 9]), &header, &body), Err(SealError::Wrong));
        let to_other = Header { final_destination: Final::Mac(BLADE), ..header };
        assert_eq!(check(key, BLADE, &to_other, &body), Err(SealError::Wrong));
        let mut unsealed = body;
        unsealed[1] = 0;
        assert_eq!(check(key, BLADE, &header, &unsealed), Err(SealError::Missing));
    }

    #[test]
    fn what_was_heard_is_not_believed_again() {
        let (mut sender, mut receiver) = (Sealer::new(b"sixteen bytes...", 41), Sealer::new(b"sixteen bytes...", 0));
        let (first, second) = (sealed(&mut sender), sealed(&mut sender));
        assert_eq!(receiver.check(BLADE, &second.0, &second.1), Ok(()));
        for (header, body) in [&first, &second] {
            assert_eq!(receiver.check(BLADE, header, body), Err(SealError::Replayed));
        }
        let third = sealed(&mut sender);
        assert_eq!(receiver.check(BLADE, &third.0, &third.1), Ok(()));
    }

    #[test]
    fn keys_in_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let error = |path: &Path| Sealer::load(path, 0).unwrap_err().to_string();
        assert!(error(&path).contains("expected a file of 16 to 4096 bytes"));
        for (len, works) in [(15, false), (16, true), (4096, true), (4097, false)] {
            fs::write(&path, vec![7; len]).unwrap();
            assert_eq!(Sealer::load(&path, 0).is_ok(), works, "{len}");
        }
        assert!(error(&path).contains("expected 16 to 4096"));
    }
}
