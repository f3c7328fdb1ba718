//! Sets of VLANs, as a trunk carries them, and numbers and ranges that become one.

use std::fmt;
use std::ops::RangeInclusive;

use serde::ser::SerializeSeq;
use serde::{Serialize, Serializer};
use wire::Vid;

/// A set of VLANs in ascending order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VidSet(Vec<Vid>);

impl VidSet {
    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// None.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Is `vid` one of them?
    pub fn contains(&self, vid: Vid) -> bool {
        self.0.binary_search(&vid).is_ok()
    }

    /// Each of them, ascending.
    pub fn iter(&self) -> impl Iterator<Item = Vid> + '_ {
        self.0.iter().copied()
    }

    /// Runs of consecutive VLANs, ascending.
    pub fn ranges(&self) -> impl Iterator<Item = RangeInclusive<Vid>> + '_ {
        self.0.chunk_by(|a, b| a.get() + 1 == b.get()).filter_map(|run| Some(*run.first()?..=*run.last()?))
    }
}

impl FromIterator<Vid> for VidSet {
    fn from_iter<I: IntoIterator<Item = Vid>>(vids: I) -> Self {
        vids.into_iter().map(|vid| vid..=vid).collect()
    }
}

/// Ranges may overlap, and be as many as there may: the memory it takes does not depend on how many.
impl FromIterator<RangeInclusive<Vid>> for VidSet {
    fn from_iter<I: IntoIterator<Item = RangeInclusive<Vid>>>(ranges: I) -> Self {
        let mut present = [false; Vid::MAX.get() as usize + 1];
        for range in ranges {
            present[range.start().get() as usize..=range.end().get() as usize].fill(true);
        }
        VidSet((0..).zip(present).filter(|(_, present)| *present).filter_map(|(vid, _)| Vid::new(vid)).collect())
    }
}

/// As in a trunk of the configuration: `10, 30-40`.
impl fmt::Display for VidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.ranges().enumerate() {
            let (first, last) = range.into_inner();
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{first}")?;
            if last != first {
                write!(f, "-{last}")?;
            }
        }
        Ok(())
    }
}

/// As in a trunk of the configuration: a list of numbers and of ranges as text.
impl Serialize for VidSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        for (first, last) in self.ranges().map(RangeInclusive::into_inner) {
            if first == last {
                list.serialize_element(&first)?;
            } else {
                list.serialize_element(&format!("{first}-{last}"))?;
            }
        }
        list.end()
    }
}

/// Why a number is not a VLAN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum VidError {
    #[error("VID 0 is a priority tag, not a VLAN (IEEE 802.1Q): expected a VLAN from 1 to 4094")]
    PriorityTag,
    #[error("VID 4095 is reserved (IEEE 802.1Q): expected a VLAN from 1 to 4094")]
    Reserved,
    #[error("a VID has 12 bits (IEEE 802.1Q): expected a VLAN from 1 to 4094")]
    TooLarge,
    #[error("expected a VLAN from 1 to 4094")]
    NotANumber,
    #[error("expected a VLAN from 1 to 4094, or a range such as \"30-40\" with the lower VLAN first")]
    NotARange,
}

/// The VLAN of a number.
pub(super) fn vid(number: u64) -> Result<Vid, VidError> {
    let vid = u16::try_from(number).ok().and_then(Vid::new);
    vid.ok_or(match number {
        0 => VidError::PriorityTag,
        4095 => VidError::Reserved,
        _ => VidError::TooLarge,
    })
}

/// The VLANs of `30-40` or `30`.
pub(super) fn range(text: &str) -> Result<RangeInclusive<Vid>, VidError> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let end = |text: &str| {
        let text = text.trim();
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // Digits that are too many for a number are too many for a VID.
        if digits { vid(text.parse().unwrap_or(u64::MAX)) } else { Err(VidError::NotARange) }
    };
    let (first, last) = (end(first)?, end(last)?);
    if first > last {
        return Err(VidError::NotARange);
    }
    Ok(first..=last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_ranges() {
        let set = |text| VidSet::from_iter([range(text).unwrap()]);
        assert_eq!(set("30-33").iter().map(|vid| vid.get()).collect::<Vec<_>>(), [30, 31, 32, 33]);
        assert_eq!(set(" 7 ").iter().collect::<Vec<_>>(), [vid(7).unwrap()]);
        assert_eq!((set("1-4094").len(), set("5-5").len()), (4094, 1));
        for (text, error) in [
            ("0-3", VidError::PriorityTag),
            ("1-4095", VidError::Reserved),
            ("4096", VidError::TooLarge),
            ("99999999999999999999999", VidError::TooLarge),
            ("9-8", VidError::NotARange),
            ("", VidError::NotARange),
            ("-", VidError::NotARange),
            ("1-2-3", VidError::NotARange),
            ("+1", VidError::NotARange),
            ("all", VidError::NotARange),
        ] {
            assert_eq!(range(text), Err(error), "{text}");
        }
    }

    #[test]
    fn sets_are_sorted_and_shown_as_ranges() {
        let set: VidSet = [40, 10, 12, 11, 10, 4094].into_iter().filter_map(Vid::new).collect();
        let ranges: VidSet = ["11-12", "10-11", "40", "4094-4094"].into_iter().map(|text| range(text).unwrap()).collect();
        assert_eq!(ranges, set);
        assert_eq!(set.to_string(), "10-12, 40, 4094");
        assert_eq!(serde_json::to_string(&set).unwrap(), r#"["10-12",40,4094]"#);
        assert_eq!((set.len(), set.contains(Vid::MAX), set.contains(Vid::DEFAULT)), (5, true, false));
        assert_eq!((VidSet::default().to_string(), VidSet::default().is_empty()), (String::new(), true));
    }
}
