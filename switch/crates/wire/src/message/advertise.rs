//! The body of an Advertise: identities of blades.
//!
//! | octets | field |
//! |---|---|
//! | 0..2 | number of entries |
//! | per entry: 2 | slot |
//! | 1 | number of MACs, m |
//! | 1 | number of IPs, i |
//! | 6 × m | MACs |
//! | 17 × i | IPs: kind (2 or 3), then 16 octets, left aligned |
//!
//! An entry adds to what the receiver knows of its slot; an entry without addresses makes it forget the slot. So an
//! identity of any size can be spread over entries and messages, and a changed one is sent as forget, then anew.
//!
//! After the last entry there may be a section on the blades of other chassis: one octet 1, two octets of number of entries, and entries
//! as above, each with two octets of the number of the chassis before it. Who does not know of it ignores it, as all octets
//! after the last entry that this version does not know.

use std::net::IpAddr;

use super::{Final, MAX_BODY_LEN, MessageError};
use crate::MacAddr;

const COUNT_LEN: usize = 2;
/// No entries of this chassis, and then the section on others.
const ACROSS_HEAD: [u8; 3] = [0, 0, ACROSS];
const ACROSS: u8 = 1;
const CHASSIS_LEN: usize = 2;
const ENTRY_LEN: usize = 4;
const MAC_LEN: usize = 6;
const IP_LEN: usize = 17;
/// The most addresses of a sort in one entry: their number is one octet.
const MAX_LISTED: usize = u8::MAX as usize;

/// What is known of the blade in a slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The slot.
    pub slot: u16,
    /// MAC addresses of the blade.
    pub macs: Vec<MacAddr>,
    /// IP addresses of the blade.
    pub ips: Vec<IpAddr>,
}

/// Bodies of at most `body_len_max` bytes that together say `identities`, in order; none for none.
///
/// # Panics
/// If `body_len_max` has no room for one address: it must be 23 or more.
pub fn encode_advertise(identities: &[Identity], body_len_max: usize) -> Vec<Vec<u8>> {
    spread(identities.iter().map(|identity| (None, identity)), &[], body_len_max)
}

/// The same for blades of other chassis, each with the number of its chassis.
///
/// # Panics
/// If `body_len_max` has no room for one address: it must be 28 or more.
pub fn encode_advertise_across(identities: &[(u16, Identity)], body_len_max: usize) -> Vec<Vec<u8>> {
    spread(identities.iter().map(|(chassis, identity)| (Some(*chassis), identity)), &ACROSS_HEAD, body_len_max)
}

fn spread<'a>(identities: impl Iterator<Item = (Option<u16>, &'a Identity)>, head: &'static [u8], body_len_max: usize) -> Vec<Vec<u8>> {
    let entry_len = if head.is_empty() { ENTRY_LEN } else { CHASSIS_LEN + ENTRY_LEN };
    assert!(body_len_max >= head.len() + COUNT_LEN + entry_len + IP_LEN, "no room for an address in {body_len_max} bytes");
    let body_len_max = body_len_max.min(MAX_BODY_LEN);
    let mut bodies = Vec::new();
    let mut body = Body::new(head);
    for (chassis, identity) in identities {
        let (mut macs, mut ips) = (&identity.macs[..], &identity.ips[..]);
        loop {
            let first = if !macs.is_empty() {
                MAC_LEN
            } else if !ips.is_empty() {
                IP_LEN
            } else {
                0
            };
            if body.bytes.len() + entry_len + first > body_len_max {
                bodies.push(std::mem::replace(&mut body, Body::new(head)).finish());
            }
            let room = body_len_max - body.bytes.len() - entry_len;
            let (macs_now, macs_later) = macs.split_at(macs.len().min(MAX_LISTED).min(room / MAC_LEN));
            let room = room - macs_now.len() * MAC_LEN;
            let (ips_now, ips_later) = ips.split_at(ips.len().min(MAX_LISTED).min(room / IP_LEN));
            body.push(chassis, identity.slot, macs_now, ips_now);
            (macs, ips) = (macs_later, ips_later);
            if macs.is_empty() && ips.is_empty() {
                break;
            }
        }
    }
    if body.entries > 0 {
        bodies.push(body.finish());
    }
    bodies
}

/// The entries of a body, in order; a slot may occur more than once.
///
/// [`MessageError::TooShort`] if the body ends within an entry, [`MessageError::Kind`] if an IP is neither IPv4 nor IPv6.
pub fn decode_advertise(body: &[u8]) -> Result<Vec<Identity>, MessageError> {
    read_own(&mut &*body)
}

/// The entries of a body on blades of other chassis, in order, each with the number of its chassis.
///
/// Errors as of [`decode_advertise`]; a body without such a section has none.
pub fn decode_advertise_across(body: &[u8]) -> Result<Vec<(u16, Identity)>, MessageError> {
    let mut rest = body;
    read_own(&mut rest)?;
    if rest.first() != Some(&ACROSS) {
        return Ok(Vec::new());
    }
    let [_] = take(&mut rest)?;
    let entries = u16::from_be_bytes(take(&mut rest)?);
    let mut identities = Vec::new();
    for _ in 0..entries {
        let chassis = u16::from_be_bytes(take(&mut rest)?);
        identities.push((chassis, read_entry(&mut rest)?));
    }
    Ok(identities)
}

fn read_own(rest: &mut &[u8]) -> Result<Vec<Identity>, MessageError> {
    let entries = u16::from_be_bytes(take(rest)?);
    // The number is the sender's claim: the list grows with what is there, four bytes an entry or more.
    let mut identities = Vec::new();
    for _ in 0..entries {
        identities.push(read_entry(rest)?);
    }
    Ok(identities)
}

fn read_entry(rest: &mut &[u8]) -> Result<Identity, MessageError> {
    let [s0, s1, macs_count, ips_count] = take(rest)?;
    let mut identity = Identity { slot: u16::from_be_bytes([s0, s1]), macs: Vec::new(), ips: Vec::new() };
    for _ in 0..macs_count {
        identity.macs.push(MacAddr(take(rest)?));
    }
    for _ in 0..ips_count {
        let [kind] = take(rest)?;
        identity.ips.push(match Final::read(kind, &take(rest)?)? {
            Final::Ipv4(ip) => IpAddr::V4(ip),
            Final::Ipv6(ip) => IpAddr::V6(ip),
            Final::Mac(_) => return Err(MessageError::Kind(kind)),
        });
    }
    Ok(identity)
}

/// A body in the making.
struct Body {
    head: &'static [u8],
    entries: u16,
    bytes: Vec<u8>,
}

impl Body {
    fn new(head: &'static [u8]) -> Body {
        Body { head, entries: 0, bytes: [head, &[0; COUNT_LEN]].concat() }
    }

    /// The lists have at most [`MAX_LISTED`] addresses each.
    fn push(&mut self, chassis: Option<u16>, slot: u16, macs: &[MacAddr], ips: &[IpAddr]) {
        self.entries += 1;
        if let Some(chassis) = chassis {
            self.bytes.extend_from_slice(&chassis.to_be_bytes());
        }
        self.bytes.extend_from_slice(&slot.to_be_bytes());
        self.bytes.extend_from_slice(&[macs.len() as u8, ips.len() as u8]);
        for mac in macs {
            self.bytes.extend_from_slice(&mac.0);
        }
        for ip in ips {
            let ip = Final::from(*ip);
            self.bytes.push(ip.kind());
            self.bytes.extend_from_slice(&ip.octets());
        }
    }

    fn finish(mut self) -> Vec<u8> {
        self.bytes[self.head.len()..self.head.len() + COUNT_LEN].copy_from_slice(&self.entries.to_be_bytes());
        self.bytes
    }
}

/// The next `N` octets, which leave `rest`.
pub(super) fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], MessageError> {
    let (octets, after) = rest.split_first_chunk::<N>().ok_or(MessageError::TooShort)?;
    *rest = after;
    Ok(*octets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[rustfmt::skip]
    const BODY: [u8; 52] = [
        0, 2, // two entries
        0, 1, 1, 2, // slot 1: one MAC, two IPs
        2, 0, 0, 0, 0, 1,
        2, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        3, 0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
        1, 2, 0, 0, // slot 258: forget it
        0xee, 0xee, // of a later version
    ];

    fn expected() -> Vec<Identity> {
        let first = Identity {
            slot: 1,
            macs: vec![MacAddr([2, 0, 0, 0, 0, 1])],
            ips: vec!["10.0.0.1".parse().unwrap(), "fe80::1".parse().unwrap()],
        };
        vec![first, Identity { slot: 258, ..Identity::default() }]
    }

    #[test]
    fn literal_bytes() {
        assert_eq!(decode_advertise(&BODY), Ok(expected()));
        assert_eq!(encode_advertise(&expected(), MAX_BODY_LEN), [&BODY[..50]]);
        for len in 0..50 {
            assert_eq!(decode_advertise(&BODY[..len]), Err(MessageError::TooShort), "{len}");
        }
        let mut mac_for_ip = BODY;
        mac_for_ip[12] = 1;
        assert_eq!(decode_advertise(&mac_for_ip), Err(MessageError::Kind(1)));
        mac_for_ip[12] = 9;
        assert_eq!(decode_advertise(&mac_for_ip), Err(MessageError::Kind(9)));
    }

    #[test]
    fn blades_of_other_chassis_come_after_the_last_entry() {
        let identities: Vec<(u16, Identity)> = expected().into_iter().map(|identity| (3, identity)).collect();
        let body = [&[0, 0, 1, 0, 2, 0, 3], &BODY[2..46], &[0, 3], &BODY[46..50]].concat();
        assert_eq!(encode_advertise_across(&identities, MAX_BODY_LEN), [&body[..]]);
        assert_eq!(decode_advertise_across(&body), Ok(identities.clone()));
        assert_eq!(decode_advertise(&body), Ok(vec![]), "who does not know of it reads nothing");
        for len in 3..body.len() {
            assert_eq!(decode_advertise_across(&body[..len]), Err(MessageError::TooShort), "{len}");
        }
        assert_eq!(decode_advertise_across(&BODY), Ok(vec![]), "of a later version");
        let bodies = encode_advertise_across(&identities, 28);
        assert!(bodies.len() > 1 && bodies.iter().all(|body| body.len() <= 28));
        let read = bodies.iter().flat_map(|body| decode_advertise_across(body).unwrap());
        assert_eq!(read.map(|(_, entry)| entry.macs.len() + entry.ips.len()).sum::<usize>(), 3);
    }

    #[test]
    fn nothing_to_say_takes_no_message() {
        assert!(encode_advertise(&[], 100).is_empty());
        assert_eq!(decode_advertise(&[0, 0]), Ok(vec![]));
    }

    #[test]
    fn more_than_255_addresses_take_another_entry() {
        let identity = Identity { slot: 3, macs: vec![MacAddr::ZERO; 256], ips: vec![IpAddr::from([10, 0, 0, 1]); 256] };
        let bodies = encode_advertise(&[identity], MAX_BODY_LEN);
        let sizes: Vec<(usize, usize)> =
            decode_advertise(&bodies[0]).unwrap().iter().map(|entry| (entry.macs.len(), entry.ips.len())).collect();
        assert_eq!((bodies.len(), sizes), (1, vec![(255, 255), (1, 1)]));
    }

    #[test]
    fn the_smallest_bodies_hold_an_address_each() {
        let mut identity = expected().swap_remove(0);
        identity.macs.clear();
        let bodies = encode_advertise(&[identity], 23);
        assert_eq!(bodies.iter().map(Vec::len).collect::<Vec<_>>(), [23, 23]);
    }

    /// What a receiver knows after all bodies.
    fn known(bodies: &[Vec<u8>]) -> BTreeMap<u16, (Vec<MacAddr>, Vec<IpAddr>)> {
        let mut known: BTreeMap<u16, (Vec<MacAddr>, Vec<IpAddr>)> = BTreeMap::new();
        for entry in bodies.iter().flat_map(|body| decode_advertise(body).unwrap()) {
            if entry.macs.is_empty() && entry.ips.is_empty() {
                known.remove(&entry.slot);
            } else {
                let slot = known.entry(entry.slot).or_default();
                slot.0.extend(entry.macs);
                slot.1.extend(entry.ips);
            }
        }
        known
    }

    fn any_identity() -> impl Strategy<Value = Identity> {
        let macs = prop::collection::vec(any::<[u8; 6]>().prop_map(MacAddr), 0..300);
        let ip = prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), any::<[u8; 16]>().prop_map(IpAddr::from)];
        (any::<u16>(), macs, prop::collection::vec(ip, 0..20)).prop_map(|(slot, macs, ips)| Identity { slot, macs, ips })
    }

    proptest! {
        #[test]
        fn identities_survive_any_split(identities in prop::collection::vec(any_identity(), 0..6), body_len_max in 23usize..3000) {
            let bodies = encode_advertise(&identities, body_len_max);
            prop_assert!(bodies.iter().all(|body| body.len() <= body_len_max));
            let whole = encode_advertise(&identities, MAX_BODY_LEN);
            prop_assert_eq!(known(&bodies), known(&whole));
            let wanted: usize = identities.iter().map(|identity| identity.macs.len() + identity.ips.len()).sum();
            let got = bodies.iter().flat_map(|body| decode_advertise(body).unwrap());
            prop_assert_eq!(got.map(|entry| entry.macs.len() + entry.ips.len()).sum::<usize>(), wanted);
        }

        #[test]
        fn entries_round_trip_when_they_fit(identities in prop::collection::vec(any_identity(), 1..4)) {
            prop_assume!(identities.iter().all(|identity| identity.macs.len() <= 255));
            prop_assert_eq!(decode_advertise(&encode_advertise(&identities, MAX_BODY_LEN)[0]), Ok(identities));
        }

        #[test]
        fn no_bytes_panic(body in prop::collection::vec(prop_oneof![0u8..4, any::<u8>()], 0..200)) {
            let _ = decode_advertise(&body);
        }
    }
}
