//! VLAN identifiers and tags (IEEE 802.1Q-2018 §9.6; stacked tags, formerly 802.1ad).

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Tag protocol identifier of a C-VLAN tag.
pub const TPID_8021Q: u16 = 0x8100;
/// Tag protocol identifier of an S-VLAN tag (802.1ad).
pub const TPID_8021AD: u16 = 0x88a8;
/// Bytes of one tag, TPID included.
pub const TAG_LEN: usize = 4;

/// A VLAN, 1 to 4094.
///
/// VID 0 on the wire is a *priority tag*, not a VLAN, and 4095 is reserved (IEEE 802.1Q-2018 table 9-2): neither can be a `Vid`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vid(u16);

impl Vid {
    /// The default port VLAN of 802.1Q.
    pub const DEFAULT: Vid = Vid(1);
    /// The highest VLAN, 4094.
    pub const MAX: Vid = Vid(4094);

    /// `None` for 0 (priority tag), 4095 (reserved) and anything above.
    #[inline]
    pub const fn new(vid: u16) -> Option<Vid> {
        if vid >= 1 && vid <= 4094 { Some(Vid(vid)) } else { None }
    }

    /// The number, 1 to 4094.
    #[inline]
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Vid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Vid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Vid({})", self.0)
    }
}

impl Serialize for Vid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u16(self.0)
    }
}

impl<'de> Deserialize<'de> for Vid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = i64::deserialize(deserializer)?;
        u16::try_from(number).ok().and_then(Vid::new).ok_or_else(|| {
            serde::de::Error::custom(format!(
                "VLAN {number} does not exist: expected 1 to 4094 (0 is a priority tag, 4095 is reserved, IEEE 802.1Q)"
            ))
        })
    }
}

/// Tag control information: priority, drop eligible, VID.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tci(pub u16);

impl Tci {
    /// Priority code point, 0 to 7.
    pub const fn pcp(self) -> u8 {
        (self.0 >> 13) as u8
    }

    /// Drop eligible indicator.
    pub const fn dei(self) -> bool {
        self.0 & 0x1000 != 0
    }

    /// The 12-bit VID field as it is, 0 and 4095 included.
    pub const fn vid_field(self) -> u16 {
        self.0 & 0x0fff
    }

    /// The VLAN, if the VID field names one.
    pub const fn vid(self) -> Option<Vid> {
        Vid::new(self.vid_field())
    }

    /// The same priority and drop eligibility with another VLAN.
    #[must_use]
    pub const fn with_vid(self, vid: Vid) -> Tci {
        Tci(self.0 & 0xf000 | vid.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_vlan_and_no_other_number_is_a_vid() {
        let count = (0..=u16::MAX).filter(|&n| Vid::new(n).is_some()).count();
        assert_eq!(count, 4094);
        assert_eq!((Vid::new(0), Vid::new(4095), Vid::new(4096)), (None, None, None));
        assert_eq!(Vid::new(4094), Some(Vid::MAX));
    }

    #[test]
    fn tci_fields() {
        let tci = Tci(0xb064); // pcp 5, dei 1, vid 100
        assert_eq!((tci.pcp(), tci.dei(), tci.vid()), (5, true, Vid::new(100)));
        assert_eq!(tci.with_vid(Vid::MAX), Tci(0xbffe));
        assert_eq!(Tci(0xe000).vid(), None);
    }
}
