//! MAC addresses (IEEE 802, 48 bits).
//!
//! Beside the six octets an address has a `raw` form: the octets as a little-endian number, so that the first octet
//! on the wire is in the low bits. One load from a frame gives it, the group bit is bit 0, and 16 bits remain free
//! above it: the FDB key puts the VID there.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A MAC address. Ordered as its octets are on the wire.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// ff:ff:ff:ff:ff:ff.
    pub const BROADCAST: MacAddr = MacAddr([0xff; 6]);
    /// 00:00:00:00:00:00, which no station has.
    pub const ZERO: MacAddr = MacAddr([0; 6]);

    /// The octets as a little-endian number; the upper 16 bits are zero.
    #[inline]
    pub const fn raw(self) -> u64 {
        let o = self.0;
        u64::from_le_bytes([o[0], o[1], o[2], o[3], o[4], o[5], 0, 0])
    }

    /// The address whose [`raw`](Self::raw) form is in the low 48 bits of `raw`; the upper 16 bits are ignored.
    #[inline]
    pub const fn from_raw(raw: u64) -> MacAddr {
        let o = raw.to_le_bytes();
        MacAddr([o[0], o[1], o[2], o[3], o[4], o[5]])
    }

    /// Group address: multicast or broadcast (the I/G bit, IEEE 802-2014 §8.2.2).
    #[inline]
    pub const fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// ff:ff:ff:ff:ff:ff.
    pub fn is_broadcast(self) -> bool {
        self == Self::BROADCAST
    }

    /// 00:00:00:00:00:00.
    pub fn is_zero(self) -> bool {
        self == Self::ZERO
    }

    /// 01:80:C2:00:00:00 to 0F: addresses no bridge may forward (IEEE 802.1Q-2018 table 8-1).
    pub const fn is_link_local(self) -> bool {
        matches!(self.0, [0x01, 0x80, 0xc2, 0x00, 0x00, 0x00..=0x0f])
    }
}

impl From<[u8; 6]> for MacAddr {
    fn from(octets: [u8; 6]) -> Self {
        MacAddr(octets)
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let o = self.0;
        write!(f, "{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", o[0], o[1], o[2], o[3], o[4], o[5])
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text was not a MAC address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MacAddrParseError(String);

impl fmt::Display for MacAddrParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not a MAC address: expected six hexadecimal octets such as 02:00:00:00:00:01", self.0)
    }
}

impl std::error::Error for MacAddrParseError {}

impl FromStr for MacAddr {
    type Err = MacAddrParseError;

    /// Six octets of one or two hexadecimal digits, separated by `:` or `-` (one kind throughout).
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || MacAddrParseError(text.to_owned());
        let separator = if text.contains('-') { '-' } else { ':' };
        let mut octets = [0; 6];
        let mut parts = text.split(separator);
        for octet in &mut octets {
            let part = parts.next().ok_or_else(error)?;
            if part.is_empty() || part.len() > 2 || !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(error());
            }
            *octet = u8::from_str_radix(part, 16).map_err(|_| error())?;
        }
        if parts.next().is_some() {
            return Err(error());
        }
        Ok(MacAddr(octets))
    }
}

impl Serialize for MacAddr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MacAddr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn raw_has_the_first_octet_in_the_low_bits() {
        let mac = MacAddr([0x01, 0x02, 0x03, 0x04, 0x05, 0x06]);
        assert_eq!(mac.raw(), 0x0605_0403_0201);
        assert_eq!(MacAddr::from_raw(0xabcd_0605_0403_0201), mac);
    }

    #[test]
    fn kinds_of_addresses() {
        let mac = |text: &str| text.parse::<MacAddr>().unwrap();
        assert!(mac("ff:ff:ff:ff:ff:ff").is_broadcast() && MacAddr::BROADCAST.is_group());
        assert!(mac("01:80:c2:00:00:00").is_link_local());
        assert!(mac("01:80:c2:00:00:0f").is_link_local());
        assert!(!mac("01:80:c2:00:00:10").is_link_local());
        assert!(!mac("01:80:c2:00:01:00").is_link_local());
        assert!(mac("01-00-5e-00-00-01").is_group());
        assert!(!mac("2:0:0:0:0:1").is_group());
        assert!(mac("00:00:00:00:00:00").is_zero());
    }

    #[test]
    fn bad_text_is_refused() {
        for text in
            ["", "1", "02:00:00:00:00", "02:00:00:00:00:01:02", "02:00:00:00:00:0g", "002:0:0:0:0:1", "+2:0:0:0:0:1", "02:00-00:00:00:01"]
        {
            assert!(text.parse::<MacAddr>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn text_round_trips(octets: [u8; 6]) {
            let mac = MacAddr(octets);
            prop_assert_eq!(mac.to_string().parse::<MacAddr>().unwrap(), mac);
            prop_assert_eq!(MacAddr::from_raw(mac.raw()), mac);
        }
    }
}
