//! Who is in a chassis and what for, as switch blades tell each other over trunks: identities of blades, and functions.
//!
//! Frames as those of [`hello`](super::hello), told from them by the first octet. Numbers are big-endian.
//!
//! | octets | what |
//! |---|---|
//! | 0 | 2: a summary; 3: a part of a roster. Another format takes another number |
//! | 1 | flags: bit 0, the frame ends with a seal, as control messages do |
//! | 2–3 | length of all this, seal included |
//! | 4–5 | number of the sender's chassis |
//! | 6–9, 10–13 | session of the sender, and number of the frame in it, ascending |
//!
//! A **summary** says which rosters the sender has for the receiver, and which of the receiver's it holds:
//!
//! | octets | what |
//! |---|---|
//! | 14 | *n*, then *n* times: chassis (2), trunks between it and the sender (1), its session (4), version of its roster (4) |
//! | then | *m*, then *m* times: chassis (2), session (4), version (4) |
//!
//! A **part** is a piece of one roster: chassis (2), its session (4), version (4), index of the part (1), number of parts (1), and octets. The
//! parts of a roster one after the other are records, each with an octet of kind and one of length before it; kinds that are not known are skipped:
//!
//! | kind | what |
//! |---|---|
//! | 1 | a MAC address: slot (2), source (1), VLAN (2), address (6) |
//! | 2 | an IP address: slot (2), source (1), VLAN (2), MAC (6), kind (1; 2: IPv4, 3: IPv6), address (16, left aligned) |
//! | 3 | a blade of a function: slot (2), flags (1; bit 0: it takes new flows), weight (1), MAC (6), name |

use std::net::IpAddr;

use wire::message::{Name, SEAL_LEN};
use wire::{MacAddr, Vid};

use super::hello::CHASSIS_MAX;
use crate::identity::Source;

/// Records of one chassis at most; who has more leaves the rest out and counts that.
pub const RECORDS_MAX: usize = 1024;
/// Octets of a roster in one part.
pub const PART_LEN: usize = 1280;
/// Parts of a roster at most: [`RECORDS_MAX`] of the longest kind fit.
pub const PARTS_MAX: usize = 48;

const SUMMARY: u8 = 2;
const PART: u8 = 3;
const SEALED: u8 = 1;
const HEAD_LEN: usize = 14;

// The longest frames fit behind an Ethernet header: 64 offers and as many that are held.
const _: () = assert!(HEAD_LEN + 2 + CHASSIS_MAX * (11 + 10) + SEAL_LEN <= 1500);
const _: () = assert!(HEAD_LEN + 12 + PART_LEN + SEAL_LEN <= 1500);
const _: () = assert!(RECORDS_MAX * (2 + 10 + 32) <= PARTS_MAX * PART_LEN);

/// A MAC address of a blade.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MacRecord {
    /// The bay.
    pub slot: u16,
    /// Where it is known from.
    pub source: Source,
    /// The VLAN it speaks in.
    pub vid: Vid,
    /// The address.
    pub mac: MacAddr,
}

/// An IP address of a blade.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct IpRecord {
    /// The bay.
    pub slot: u16,
    /// Where it is known from.
    pub source: Source,
    /// The VLAN it is known in.
    pub vid: Vid,
    /// The MAC address that has it.
    pub mac: MacAddr,
    /// The address.
    pub ip: IpAddr,
}

/// A blade of a function that can take frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionRecord {
    /// The bay.
    pub slot: u16,
    /// It takes new flows, not only those it has.
    pub takes_new: bool,
    /// Its part of new flows, relative to that of others.
    pub weight: u8,
    /// Where its frames go.
    pub mac: MacAddr,
    /// The function.
    pub function: Name,
}

/// All that a chassis tells of its blades.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roster {
    /// Functions.
    pub functions: Vec<FunctionRecord>,
    /// MAC addresses.
    pub macs: Vec<MacRecord>,
    /// IP addresses.
    pub ips: Vec<IpRecord>,
}

const SOURCES: [Source; 5] = [Source::Config, Source::Hello, Source::Arp, Source::Nd, Source::Dhcp];

fn push_record(bytes: &mut Vec<u8>, kind: u8, fields: &[&[u8]]) {
    bytes.extend([kind, fields.iter().map(|field| field.len()).sum::<usize>() as u8]);
    fields.iter().for_each(|field| bytes.extend_from_slice(field));
}

fn number_of(source: Source) -> u8 {
    SOURCES.iter().position(|known| *known == source).unwrap_or(0) as u8
}

impl Roster {
    /// Leaves out what is beyond [`RECORDS_MAX`]; how many records that were.
    pub fn limit(&mut self) -> usize {
        let before = self.len();
        self.functions.truncate(RECORDS_MAX);
        self.macs.truncate(RECORDS_MAX - self.functions.len());
        self.ips.truncate(RECORDS_MAX - self.functions.len() - self.macs.len());
        before - self.len()
    }

    /// Records.
    pub fn len(&self) -> usize {
        self.functions.len() + self.macs.len() + self.ips.len()
    }

    /// Nothing is told.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// As it is spread over parts.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for mac in &self.macs {
            let fields: [&[u8]; 4] = [&mac.slot.to_be_bytes(), &[number_of(mac.source)], &mac.vid.get().to_be_bytes(), &mac.mac.0];
            push_record(&mut bytes, 1, &fields);
        }
        for ip in &self.ips {
            let mut octets = [0; 16];
            let kind = match ip.ip {
                IpAddr::V4(v4) => {
                    octets[..4].copy_from_slice(&v4.octets());
                    2
                }
                IpAddr::V6(v6) => {
                    octets = v6.octets();
                    3
                }
            };
            let vid = ip.vid.get().to_be_bytes();
            push_record(&mut bytes, 2, &[&ip.slot.to_be_bytes(), &[number_of(ip.source)], &vid, &ip.mac.0, &[kind], &octets]);
        }
        for function in &self.functions {
            let flags = [u8::from(function.takes_new), function.weight];
            let name = function.function.as_str().as_bytes();
            push_record(&mut bytes, 3, &[&function.slot.to_be_bytes(), &flags, &function.mac.0, name]);
        }
        bytes
    }

    /// Reads the parts of a roster, put together; `None` if a record cannot be read or there are too many.
    pub fn decode(bytes: &[u8]) -> Option<Roster> {
        let mut roster = Roster::default();
        let mut rest = bytes;
        while let Some((&[kind, len], after)) = rest.split_first_chunk::<2>() {
            let (record, after) = after.split_at_checked(usize::from(len))?;
            rest = after;
            match kind {
                1 => roster.macs.push(read_mac(record)?),
                2 => roster.ips.push(read_ip(record)?),
                3 => roster.functions.push(read_function(record)?),
                _ => {}
            }
            if roster.len() > RECORDS_MAX {
                return None;
            }
        }
        rest.is_empty().then_some(roster)
    }
}

/// A station's own address.
fn station(mac: [u8; 6]) -> Option<MacAddr> {
    Some(MacAddr(mac)).filter(|mac| !mac.is_group() && !mac.is_zero())
}

fn read_mac(record: &[u8]) -> Option<MacRecord> {
    let (&[s0, s1, source, v0, v1, m0, m1, m2, m3, m4, m5], _) = record.split_first_chunk::<11>()?;
    Some(MacRecord {
        slot: u16::from_be_bytes([s0, s1]),
        source: *SOURCES.get(usize::from(source))?,
        vid: Vid::new(u16::from_be_bytes([v0, v1]))?,
        mac: station([m0, m1, m2, m3, m4, m5])?,
    })
}

fn read_ip(record: &[u8]) -> Option<IpRecord> {
    let MacRecord { slot, source, vid, mac } = read_mac(record)?;
    let (&kind, octets) = record.get(11..)?.split_first()?;
    let octets = octets.first_chunk::<16>()?;
    let ip = match kind {
        2 => IpAddr::from([octets[0], octets[1], octets[2], octets[3]]),
        3 => IpAddr::from(*octets),
        _ => return None,
    };
    crate::identity::is_host(ip).then_some(IpRecord { slot, source, vid, mac, ip })
}

fn read_function(record: &[u8]) -> Option<FunctionRecord> {
    let (&[s0, s1, flags, weight, m0, m1, m2, m3, m4, m5], name) = record.split_first_chunk::<10>()?;
    Some(FunctionRecord {
        slot: u16::from_be_bytes([s0, s1]),
        takes_new: flags & 1 != 0,
        weight: weight.clamp(1, crate::config::steering::WEIGHT_MAX as u8),
        mac: station([m0, m1, m2, m3, m4, m5])?,
        function: Name::new(std::str::from_utf8(name).ok()?)?,
    })
}

/// Which state of whose roster: a chassis, its session, and the version within.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edition {
    /// The chassis.
    pub chassis: u16,
    /// Another at each of its starts.
    pub session: u32,
    /// Another whenever its roster changes.
    pub version: u32,
}

/// What a frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// What the sender has for the receiver, with the trunks in between, and what it holds of the receiver's.
    Summary {
        /// What it has.
        offers: Vec<(Edition, u8)>,
        /// What it holds.
        held: Vec<Edition>,
    },
    /// A piece of a roster.
    Part {
        /// Whose.
        edition: Edition,
        /// Which, below `count`.
        index: u8,
        /// Of how many.
        count: u8,
        /// The octets.
        octets: Vec<u8>,
    },
}

/// A frame about rosters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// The sender's chassis.
    pub chassis: u16,
    /// The sender's session.
    pub session: u32,
    /// Ascending in the session.
    pub sequence: u32,
    /// The rest.
    pub content: Content,
}

/// Why a frame of a switch blade was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Its first octet says something that this version does not know.
    UnknownVersion,
    /// It ends within a field, or says what cannot be.
    Malformed,
}

fn push_edition(bytes: &mut Vec<u8>, edition: &Edition, hops: Option<u8>) {
    bytes.extend(edition.chassis.to_be_bytes());
    bytes.extend(hops);
    bytes.extend(edition.session.to_be_bytes());
    bytes.extend(edition.version.to_be_bytes());
}

impl News {
    /// As it follows the EtherType. With a `counter` it ends with a seal whose code is still zeros.
    pub fn emit(&self, counter: Option<u64>) -> Vec<u8> {
        let mut bytes = vec![0, if counter.is_some() { SEALED } else { 0 }, 0, 0];
        bytes.extend(self.chassis.to_be_bytes());
        bytes.extend(self.session.to_be_bytes());
        bytes.extend(self.sequence.to_be_bytes());
        match &self.content {
            Content::Summary { offers, held } => {
                bytes[0] = SUMMARY;
                bytes.push(offers.len().min(CHASSIS_MAX) as u8);
                offers.iter().take(CHASSIS_MAX).for_each(|(edition, hops)| push_edition(&mut bytes, edition, Some(*hops)));
                bytes.push(held.len().min(CHASSIS_MAX) as u8);
                held.iter().take(CHASSIS_MAX).for_each(|edition| push_edition(&mut bytes, edition, None));
            }
            Content::Part { edition, index, count, octets } => {
                bytes[0] = PART;
                push_edition(&mut bytes, edition, None);
                bytes.extend([*index, *count]);
                bytes.extend_from_slice(octets);
            }
        }
        if let Some(counter) = counter {
            bytes.extend(counter.to_be_bytes());
            bytes.extend([0; SEAL_LEN - 8]);
        }
        let len = bytes.len() as u16;
        bytes[2..4].copy_from_slice(&len.to_be_bytes());
        bytes
    }

    /// The frame without padding: as long as it says it is.
    ///
    /// # Errors
    /// It is of a version that is not known, or shorter than it says.
    pub fn whole(payload: &[u8]) -> Result<&[u8], Fault> {
        let (&[what, _, l0, l1], _) = payload.split_first_chunk::<4>().ok_or(Fault::Malformed)?;
        if what != SUMMARY && what != PART {
            return Err(Fault::UnknownVersion);
        }
        payload.get(..usize::from(u16::from_be_bytes([l0, l1]))).filter(|whole| whole.len() >= HEAD_LEN).ok_or(Fault::Malformed)
    }

    /// Reads what [`whole`](Self::whole) gives. Whether its seal is right is not looked at.
    ///
    /// # Errors
    /// As of [`whole`](Self::whole), and if it says what cannot be.
    pub fn parse(whole: &[u8]) -> Result<News, Fault> {
        let whole = News::whole(whole)?;
        let sealed = whole[1] & SEALED != 0;
        let content_end = whole.len().checked_sub(if sealed { SEAL_LEN } else { 0 }).ok_or(Fault::Malformed)?;
        let mut rest = Rest(whole.get(4..content_end).ok_or(Fault::Malformed)?);
        rest.news(whole[0]).ok_or(Fault::Malformed)
    }
}

/// What has not been read yet.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (octets, after) = self.0.split_first_chunk::<N>()?;
        self.0 = after;
        Some(*octets)
    }

    fn edition(&mut self, chassis: u16) -> Option<Edition> {
        let edition = Edition { chassis, session: u32::from_be_bytes(self.take()?), version: u32::from_be_bytes(self.take()?) };
        (chassis != 0).then_some(edition)
    }

    fn news(&mut self, what: u8) -> Option<News> {
        let chassis = u16::from_be_bytes(self.take()?);
        let (session, sequence) = (u32::from_be_bytes(self.take()?), u32::from_be_bytes(self.take()?));
        let content = match what {
            SUMMARY => {
                let [offered] = self.take()?;
                let offer = |rest: &mut Self| {
                    let chassis = u16::from_be_bytes(rest.take()?);
                    let [hops] = rest.take()?;
                    Some((rest.edition(chassis)?, hops))
                };
                let offers: Vec<_> = (0..offered).map(|_| offer(self)).collect::<Option<_>>()?;
                let [holds] = self.take()?;
                let hold = |rest: &mut Self| {
                    let chassis = u16::from_be_bytes(rest.take()?);
                    rest.edition(chassis)
                };
                let held: Vec<_> = (0..holds).map(|_| hold(self)).collect::<Option<_>>()?;
                (offers.len() <= CHASSIS_MAX && held.len() <= CHASSIS_MAX).then_some(Content::Summary { offers, held })?
            }
            _ => {
                let chassis = u16::from_be_bytes(self.take()?);
                let edition = self.edition(chassis)?;
                let [index, count] = self.take()?;
                let fits = index < count && usize::from(count) <= PARTS_MAX && self.0.len() <= PART_LEN;
                fits.then(|| Content::Part { edition, index, count, octets: self.0.to_vec() })?
            }
        };
        (chassis != 0).then_some(News { chassis, session, sequence, content })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLADE: MacAddr = MacAddr([2, 0, 0, 0, 1, 3]);

    fn roster() -> Roster {
        Roster {
            functions: vec![FunctionRecord { slot: 3, takes_new: true, weight: 2, mac: BLADE, function: Name::new("web").unwrap() }],
            macs: vec![MacRecord { slot: 3, source: Source::Hello, vid: Vid::DEFAULT, mac: BLADE }],
            ips: ["198.18.0.3", "2001:db8::3"]
                .map(|ip| IpRecord { slot: 3, source: Source::Arp, vid: Vid::DEFAULT, mac: BLADE, ip: ip.parse().unwrap() })
                .to_vec(),
        }
    }

    #[test]
    fn a_roster_is_read_as_it_was_written() {
        let bytes = roster().encode();
        assert_eq!(bytes[..13], [1, 11, 0, 3, 1, 0, 1, 2, 0, 0, 0, 1, 3]);
        assert_eq!(Roster::decode(&bytes), Some(roster()));
        assert_eq!(Roster::decode(&[&bytes[..], &[200, 1, 7]].concat()), Some(roster()), "a kind of a later version");
        for (at, value, why) in [(4, 9, "source"), (7, 3, "a group"), (5, 0xff, "VLAN"), (1, 3, "length")] {
            let mut edited = bytes.clone();
            edited[at] = value;
            assert_eq!(Roster::decode(&edited), None, "{why}");
        }
        let ends: Vec<usize> = (0..bytes.len()).filter(|&len| Roster::decode(&bytes[..len]).is_some()).collect();
        assert_eq!(ends, [0, 13, 43, 73], "between records only");
    }

    #[test]
    fn what_is_beyond_the_limit_is_left_out() {
        let mut roster = roster();
        roster.ips = vec![roster.ips[0]; RECORDS_MAX];
        assert_eq!(Roster::decode(&roster.encode()), None);
        assert_eq!((roster.limit(), roster.len(), roster.macs.len()), (2, RECORDS_MAX, 1));
        assert!(roster.encode().len() <= PARTS_MAX * PART_LEN && Roster::decode(&roster.encode()) == Some(roster));
    }

    #[test]
    fn frames_are_read_as_they_were_written() {
        let edition = Edition { chassis: 3, session: 7, version: 1 };
        let contents = [
            Content::Summary { offers: vec![(edition, 2)], held: vec![edition, Edition { chassis: 1, ..edition }] },
            Content::Part { edition, index: 0, count: 2, octets: roster().encode() },
        ];
        for content in contents {
            let news = News { chassis: 2, session: 5, sequence: 9, content };
            for counter in [None, Some(77)] {
                let bytes = news.emit(counter);
                let padded = [&bytes[..], &[0; 30]].concat();
                assert_eq!(News::whole(&padded), Ok(&bytes[..]));
                assert_eq!(News::parse(&bytes), Ok(news.clone()));
                for len in 0..bytes.len() {
                    assert!(News::parse(&bytes[..len]).is_err(), "{len} octets");
                }
            }
        }
        assert_eq!(News::parse(&[9; 60]), Err(Fault::UnknownVersion));
    }
}
