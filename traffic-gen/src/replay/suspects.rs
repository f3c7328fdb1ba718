//! What came back and was not sent like that, compared with what was sent and did not come back.
//!
//! Of both, the first thousand or so are looked at after the run. A frame that differs from a lost one in a few octets was damaged on the way;
//! one that differs by a VLAN tag was tagged by the device; one that is the beginning of another was cut or padded. What is like no lost
//! frame is somebody else's: interfaces carry frames of their own hosts, too.
//!
//! Limits: [`FOREIGN_KEPT`] frames against [`LOST_KEPT`]; a frame of which more than [`OCTETS_MAX`] octets differ is not known again.

use port::Nanos;
use serde::Serialize;

/// Frames that were not sent of which the bytes are kept: 64 MB if all are as long as a frame can be.
pub const FOREIGN_KEPT: usize = 1_024;
/// Lost frames that they are compared with.
pub const LOST_KEPT: usize = 4_096;
/// So many octets may differ.
pub const OCTETS_MAX: usize = 8;

/// A frame that came and was not sent.
#[derive(Clone, Debug)]
pub struct Foreign {
    /// The port it came out of.
    pub port: usize,
    /// When.
    pub at: Nanos,
    /// Its bytes.
    pub bytes: Box<[u8]>,
}

/// A frame that was sent and did not come out where it was due.
#[derive(Clone, Copy, Debug)]
pub struct Lost {
    /// Its place among the frames of a loop.
    pub frame: usize,
    /// The loop.
    pub round: u64,
    /// The port that sent it.
    pub port: usize,
}

/// What happened to a frame on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Change {
    /// Some octets are others.
    Corrupted {
        /// How many.
        octets: usize,
        /// Where the first of them is.
        offset: usize,
        /// What was sent there.
        sent: u8,
        /// What came.
        got: u8,
    },
    /// Another VLAN tag, or one more, or one less.
    Retagged,
    /// The rest is missing, or there is more of it.
    Resized {
        /// Bytes sent, without FCS.
        sent: usize,
        /// Bytes that came.
        got: usize,
    },
}

/// A frame that seems to be a changed one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Suspect {
    /// The port that sent it: an index.
    pub sent_by: usize,
    /// The port it came out of: an index.
    pub came_out_of: usize,
    /// When it came, ns after the start.
    pub at_ns: u64,
    /// Its number in its capture, from 1.
    pub packet: u64,
    /// The loop, from 0.
    pub round: u64,
    /// What is different.
    pub change: Change,
}

/// Those of `foreign` that seem to be changed frames of `lost`; `sent` gives the number of a packet in its capture and the bytes that were
/// sent. Each lost frame is found once.
pub fn suspects(foreign: &[Foreign], lost: &[Lost], sent: &mut dyn FnMut(&Lost) -> (u64, Vec<u8>)) -> Vec<Suspect> {
    if foreign.is_empty() {
        return Vec::new();
    }
    let mut candidates: Vec<Option<(Lost, u64, Vec<u8>)>> = Vec::with_capacity(lost.len());
    candidates.extend(lost.iter().map(|lost| {
        let (packet, bytes) = sent(lost);
        Some((*lost, packet, bytes))
    }));
    let mut suspects = Vec::new();
    for got in foreign {
        let found = candidates.iter_mut().find_map(|candidate| {
            let (lost, packet, sent) = candidate.as_ref().filter(|(lost, ..)| lost.port != got.port)?;
            let change = change(sent, &got.bytes)?;
            let suspect =
                Suspect { sent_by: lost.port, came_out_of: got.port, at_ns: got.at.0, packet: *packet, round: lost.round, change };
            *candidate = None;
            Some(suspect)
        });
        suspects.extend(found);
    }
    suspects
}

/// How one frame became the other, if it seems so.
fn change(sent: &[u8], got: &[u8]) -> Option<Change> {
    let (tags, other_tags) = (tags_len(sent), tags_len(got));
    if sent[..sent.len().min(12)] == got[..got.len().min(12)]
        && (tags > 0 || other_tags > 0)
        && untagged_tail(sent, tags) == untagged_tail(got, other_tags)
    {
        return Some(Change::Retagged);
    }
    if sent.len() != got.len() {
        let common = sent.len().min(got.len());
        return (common >= 14 && sent[..common] == got[..common]).then_some(Change::Resized { sent: sent.len(), got: got.len() });
    }
    let mut differ = sent.iter().zip(got).enumerate().filter(|(_, (a, b))| a != b);
    let (offset, (a, b)) = differ.next()?;
    let octets = 1 + differ.take(OCTETS_MAX).count();
    (octets <= OCTETS_MAX).then_some(Change::Corrupted { octets, offset, sent: *a, got: *b })
}

/// Bytes of VLAN tags after the addresses (IEEE 802.1Q, section 9.5), at most two.
fn tags_len(bytes: &[u8]) -> usize {
    let is_tag = |at: usize| matches!(bytes.get(at..at + 4), Some([0x81, 0x00, ..] | [0x88, 0xa8, ..]));
    if !is_tag(12) {
        0
    } else if !is_tag(16) {
        4
    } else {
        8
    }
}

/// What follows addresses and tags, without the zeros that pad it.
fn untagged_tail(bytes: &[u8], tags: usize) -> &[u8] {
    let tail = bytes.get(12 + tags..).unwrap_or_default();
    let end = tail.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    &tail[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(fill: u8) -> Vec<u8> {
        [vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0], vec![fill; 46]].concat()
    }

    #[test]
    fn what_became_of_a_frame() {
        let sent = frame(7);
        let mut bit = sent.clone();
        bit[33] ^= 0x10;
        assert_eq!(change(&sent, &bit), Some(Change::Corrupted { octets: 1, offset: 33, sent: 7, got: 0x17 }));
        bit[40..48].iter_mut().for_each(|octet| *octet ^= 1);
        assert_eq!(change(&sent, &bit), None, "nine octets are another frame");
        let mut tagged = sent.clone();
        tagged.splice(12..12, [0x81, 0, 0, 5]);
        assert_eq!(change(&sent, &tagged), Some(Change::Retagged));
        assert_eq!(change(&tagged, &sent), Some(Change::Retagged));
        let mut other = tagged.clone();
        other[15] = 6;
        assert_eq!(change(&tagged, &other), Some(Change::Retagged));
        // A short frame that lost its tag was padded again.
        let (mut short, mut popped) = (tagged[..30].to_vec(), sent[..26].to_vec());
        short.resize(60, 0);
        popped.resize(60, 0);
        assert_eq!(change(&short, &popped), Some(Change::Retagged));
        assert_eq!(change(&sent, &sent[..50]), Some(Change::Resized { sent: 60, got: 50 }));
        assert_eq!(change(&sent, &frame(8)), None);
        for (a, b) in [(&[][..], &[][..]), (&[1], &[]), (&sent[..13], &sent), (&sent, &sent)] {
            assert_eq!(change(a, b), None);
        }
    }

    #[test]
    fn each_lost_frame_is_found_once_and_not_by_its_own_port() {
        let lost = [Lost { frame: 0, round: 3, port: 0 }];
        let mut bytes = frame(7);
        bytes[20] = 8;
        let foreign = |port| Foreign { port, at: Nanos(5), bytes: bytes.clone().into() };
        let found = suspects(&[foreign(0), foreign(1), foreign(1)], &lost, &mut |_| (9, frame(7)));
        let change = Change::Corrupted { octets: 1, offset: 20, sent: 7, got: 8 };
        assert_eq!(found, [Suspect { sent_by: 0, came_out_of: 1, at_ns: 5, packet: 9, round: 3, change }]);
    }
}
