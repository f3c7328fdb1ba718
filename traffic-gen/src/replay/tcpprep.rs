//! Cache files of tcpprep: for each packet of a capture, whether it is sent, and by the first or the second interface.
//!
//! Layout, version 04, numbers big-endian: `tcpprep\0`, the version as text in 4 bytes, packets (8 bytes), packets a byte (2, always
//! 4), length of a comment (2), the comment, then two bits a packet, the first packet in the lowest: the higher bit says *send*,
//! the lower one *primary interface*.

use thiserror::Error;

/// Why a file is not a cache.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CacheError {
    /// It begins with something else.
    #[error("at byte 0: expected `tcpprep`: this is no cache file of tcpprep")]
    Magic,
    /// An older format.
    #[error("at byte 8: version {0:?}: expected \"04\": make it again with tcpprep 3.0 or later")]
    Version(String),
    /// A count that cannot be.
    #[error("at byte 20: {0} packets a byte: expected 4")]
    PacketsPerByte(u16),
    /// It ends too soon.
    #[error("at byte {offset}: cut short: expected {expected} bytes in all, found {found}")]
    Short {
        /// Where the missing part begins.
        offset: u64,
        /// Bytes the file should have.
        expected: u64,
        /// Bytes it has.
        found: u64,
    },
}

/// What a cache says of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Do not send it.
    Skip,
    /// By the first interface: from the client.
    Primary,
    /// By the second interface: from the server.
    Secondary,
}

/// A cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    /// What its maker wrote: the command line of tcpprep, and a remark.
    pub comment: String,
    packets: u64,
    bits: Vec<u8>,
}

const HEADER_LEN: usize = 24;

impl Cache {
    /// Reads the content of a cache file.
    ///
    /// # Errors
    /// Where it is no cache, and what was expected.
    pub fn parse(bytes: &[u8]) -> Result<Cache, CacheError> {
        if !bytes.starts_with(b"tcpprep\0") {
            return Err(CacheError::Magic);
        }
        let short = |offset: usize, expected: u64| CacheError::Short { offset: offset as u64, expected, found: bytes.len() as u64 };
        let header: &[u8; HEADER_LEN] = bytes.first_chunk().ok_or_else(|| short(bytes.len(), HEADER_LEN as u64))?;
        let version = header[8..12].split(|&byte| byte == 0).next().unwrap_or_default();
        if version != b"04" {
            return Err(CacheError::Version(String::from_utf8_lossy(version).into_owned()));
        }
        let half = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        let packets = header[12..20].iter().fold(0u64, |sum, &byte| sum << 8 | u64::from(byte));
        if half(20) != 4 {
            return Err(CacheError::PacketsPerByte(half(20)));
        }
        let start = HEADER_LEN + usize::from(half(22));
        let expected = (start as u64).saturating_add(packets.div_ceil(4));
        let comment = bytes.get(HEADER_LEN..start).ok_or_else(|| short(HEADER_LEN, expected))?;
        if (bytes.len() as u64) < expected {
            return Err(short(start, expected));
        }
        // It is no longer than the file, so it fits.
        let bits = bytes[start..expected as usize].to_vec();
        Ok(Cache { comment: String::from_utf8_lossy(comment).into_owned(), packets, bits })
    }

    /// Packets it speaks of.
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// What it says of packet `number`, from 1; `None` beyond its last.
    pub fn side(&self, number: u64) -> Option<Side> {
        let index = number.checked_sub(1).filter(|&index| index < self.packets)?;
        let byte = self.bits.get(usize::try_from(index / 4).ok()?)?;
        Some(match byte >> (index % 4 * 2) & 3 {
            0 | 1 => Side::Skip,
            2 => Side::Secondary,
            _ => Side::Primary,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Made by `tcpprep -a client -i in.pcap -o http.cache` (4.4.3) of pcaps/http.
    const HTTP: &[u8] = include_bytes!("../../tests/data/http.cache");

    #[test]
    fn a_cache_of_tcpprep() {
        let cache = Cache::parse(HTTP).unwrap();
        assert!(cache.comment.starts_with("-a client -i in.pcap"), "{}", cache.comment);
        assert_eq!(cache.packets(), 103);
        // As `tcpprep -I` prints them.
        let sides: Vec<_> = (1..=10).map(|number| cache.side(number).unwrap()).collect();
        let (p, s) = (Side::Primary, Side::Secondary);
        assert_eq!(sides, [s, s, p, s, p, p, s, s, p, p]);
        assert_eq!((cache.side(0), cache.side(103), cache.side(104)), (None, Some(p), None));
    }

    #[test]
    fn what_is_no_cache() {
        let cut = |len: usize| Cache::parse(&HTTP[..len]).unwrap_err();
        assert_eq!(cut(7), CacheError::Magic);
        assert_eq!(cut(23), CacheError::Short { offset: 23, expected: 24, found: 23 });
        assert!(matches!(cut(HTTP.len() - 1), CacheError::Short { .. }));
        let with = |at: usize, value: u8| {
            let mut bytes = HTTP.to_vec();
            bytes[at] = value;
            Cache::parse(&bytes).unwrap_err().to_string()
        };
        assert_eq!(with(9, b'3'), "at byte 8: version \"03\": expected \"04\": make it again with tcpprep 3.0 or later");
        assert_eq!(with(21, 0), "at byte 20: 0 packets a byte: expected 4");
        assert!(with(12, 0xff).contains("cut short"));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(tail in proptest::collection::vec(any::<u8>(), 0..64), number: u64) {
            let bytes = [b"tcpprep\x0004\0\0".as_slice(), &tail].concat();
            if let Ok(cache) = Cache::parse(&bytes) {
                let _ = cache.side(number);
                prop_assert!(cache.packets() == 0 || cache.side(cache.packets()).is_some());
            }
        }
    }
}
