//! How rosters spread over the tree of open trunks, so that each chassis knows who is in all others.
//!
//! Over each open trunk a chassis offers its own roster and those it has by its other open trunks. Open trunks are a tree, so that a roster comes by
//! one way, and nobody offers to anybody what it has from him. What was heard by a trunk is believed while that trunk is open and
//! the other end goes on offering it: a chassis that is cut off is gone at once, with all behind it.
//!
//! Frames may be lost. A summary goes out with each hello and when something is new; it says what the sender offers and what it holds, and what is
//! offered and not held is sent. So both ends agree in the end, whatever was lost, and nothing is sent that is known.
//!
//! Limits: [`CHASSIS_MAX`] chassis; [`RECORDS_MAX`](super::roster::RECORDS_MAX) records of each; [`FRAMES_PER_S`] frames a second by each trunk,
//! in and out; what is beyond is left out or dropped, and counted. With a key, what is not sealed with it is dropped.
//!
//! A state machine without I/O, as [`Joined`](super::Joined), which owns it.

use std::collections::{BTreeMap, VecDeque};

use port::Nanos;
use serde::{Deserialize, Serialize};
use wire::MacAddr;
use wire::ethernet::EtherType;
use wire::message::{Final, Header, MessageType};

use super::hello::{CHASSIS_MAX, GROUP, PATH_MAX};
use super::roster::{Content, Edition, Fault, News, PART_LEN, PARTS_MAX, Roster};
use crate::rate::RateLimit;
use crate::seal::{SealError, Sealer};

/// Frames about rosters that a trunk takes and gives in a second.
pub const FRAMES_PER_S: u32 = 1000;

/// What is counted of frames between switch blades; all but the first two are drops.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExchangeCounters {
    /// Frames about rosters sent.
    pub sent: u64,
    /// Frames about rosters that were believed.
    pub heard: u64,
    /// Frames that could not be read, or said what cannot be.
    pub malformed: u64,
    /// Frames of a version that is not known.
    pub unknown_version: u64,
    /// Frames without a seal, although there is a key.
    pub unsealed: u64,
    /// Frames whose seal was wrong.
    pub wrong_seal: u64,
    /// Frames that were heard before, or overtaken by later ones.
    pub late: u64,
    /// Frames by a trunk that is not open.
    pub not_open: u64,
    /// Frames of a chassis with the number of this one.
    pub own_number: u64,
    /// Frames beyond what a trunk takes in a second.
    pub too_many: u64,
    /// Parts of rosters that nobody had offered, or that did not fit together.
    pub unexpected: u64,
    /// Records of this chassis that were left out because it has too many.
    pub left_out: u64,
}

impl ExchangeCounters {
    /// What was dropped, by name.
    pub fn drops(&self) -> [(&'static str, u64); 9] {
        [
            ("malformed", self.malformed),
            ("unknown-version", self.unknown_version),
            ("unsealed", self.unsealed),
            ("wrong-seal", self.wrong_seal),
            ("late", self.late),
            ("not-open", self.not_open),
            ("own-number", self.own_number),
            ("too-many", self.too_many),
            ("unexpected", self.unexpected),
        ]
    }
}

/// A roster and where it comes from.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// Whose.
    pub chassis: u16,
    /// Place of the trunk it is known by.
    pub trunk: usize,
    /// Trunks in between, 1 or more.
    pub hops: u8,
    /// What it says.
    pub roster: &'a Roster,
}

#[derive(Debug)]
struct Held {
    edition: Edition,
    octets: Vec<u8>,
    roster: Roster,
}

/// What the other end of a trunk offers of one chassis.
#[derive(Debug)]
struct Offered {
    edition: Edition,
    hops: u8,
    held: Option<Held>,
    /// Parts of `edition` that are there, if it is another than what is held.
    parts: Vec<Option<Vec<u8>>>,
}

#[derive(Debug)]
struct Link {
    open: bool,
    /// Session and sequence of the last frame.
    peer: Option<(u32, u32)>,
    offered: BTreeMap<u16, Offered>,
    /// What the other end holds.
    held: BTreeMap<u16, Edition>,
    /// It has said what it holds since the trunk was opened.
    met: bool,
    /// What was sent last, and when.
    sent: BTreeMap<u16, (Edition, Nanos)>,
    next_summary: Nanos,
    tell: bool,
    sequence: u32,
    taken: RateLimit,
    given: RateLimit,
}

/// The rosters of one switch.
#[derive(Debug)]
pub struct Exchange {
    chassis: u16,
    session: u32,
    interval: Nanos,
    own_mac: MacAddr,
    sealer: Option<Sealer>,
    own: Held,
    links: Vec<Link>,
    changed: bool,
    outgoing: VecDeque<(usize, Vec<u8>)>,
    /// What is counted.
    pub counters: ExchangeCounters,
}

impl Exchange {
    /// Nothing is known, and nothing is told of the own chassis. `interval` is that of hellos, `trunks` the number of trunks.
    pub fn new(chassis: u16, session: u32, interval: Nanos, trunks: usize) -> Exchange {
        let link = || Link {
            open: false,
            peer: None,
            offered: BTreeMap::new(),
            held: BTreeMap::new(),
            met: false,
            sent: BTreeMap::new(),
            next_summary: Nanos::ZERO,
            tell: false,
            sequence: 0,
            taken: RateLimit::new(FRAMES_PER_S),
            given: RateLimit::new(FRAMES_PER_S),
        };
        let edition = Edition { chassis, session, version: 1 };
        Exchange {
            chassis,
            session,
            interval,
            own_mac: MacAddr::ZERO,
            sealer: None,
            own: Held { edition, octets: Vec::new(), roster: Roster::default() },
            links: (0..trunks).map(|_| link()).collect(),
            changed: false,
            outgoing: VecDeque::new(),
            counters: ExchangeCounters::default(),
        }
    }

    /// With a key, what is sent is sealed with it, and what is not is dropped. `own_mac` is the address of this switch.
    pub fn begin(&mut self, own_mac: MacAddr, sealer: Option<Sealer>) {
        (self.own_mac, self.sealer) = (own_mac, sealer);
    }

    /// What this chassis tells of its blades from now on.
    pub fn set_own(&mut self, mut roster: Roster) {
        let left_out = roster.limit();
        if roster != self.own.roster {
            self.counters.left_out += left_out as u64;
            let edition = Edition { version: self.own.edition.version.wrapping_add(1), ..self.own.edition };
            self.own = Held { edition, octets: roster.encode(), roster };
            self.tell_all();
        }
    }

    /// A trunk has been opened or closed.
    pub(super) fn set_open(&mut self, index: usize, open: bool) {
        let Some(link) = self.links.get_mut(index).filter(|link| link.open != open) else { return };
        link.open = open;
        link.tell = open;
        (link.peer, link.met) = (None, false);
        link.held.clear();
        link.sent.clear();
        if !std::mem::take(&mut link.offered).is_empty() {
            self.changed = true;
            self.tell_all();
        }
    }

    /// A frame about rosters came in by a trunk. One that is not believed is counted.
    pub(super) fn handle(&mut self, now: Nanos, index: usize, source: MacAddr, payload: &[u8]) {
        match self.read(now, index, source, payload) {
            Ok(news) => {
                self.counters.heard += 1;
                match news.content {
                    Content::Summary { offers, held } => self.hear_summary(index, &offers, held),
                    Content::Part { edition, index: part, count, octets } => self.hear_part(index, edition, (part, count), octets),
                }
            }
            Err(counter) => *counter(&mut self.counters) += 1,
        }
    }

    /// The frame, or the counter of why it is dropped.
    fn read(&mut self, now: Nanos, index: usize, source: MacAddr, payload: &[u8]) -> Result<News, Counter> {
        let link = self.links.get_mut(index).filter(|link| link.open).ok_or::<Counter>(|counters| &mut counters.not_open)?;
        if !link.taken.allow(now) {
            return Err(|counters| &mut counters.too_many);
        }
        let fault = |fault: Fault| -> Counter {
            match fault {
                Fault::UnknownVersion => |counters| &mut counters.unknown_version,
                Fault::Malformed => |counters| &mut counters.malformed,
            }
        };
        let whole = News::whole(payload).map_err(fault)?;
        if let Some(sealer) = &mut self.sealer {
            sealer.check(source, &header(whole), whole).map_err(|error| -> Counter {
                match error {
                    SealError::Missing => |counters| &mut counters.unsealed,
                    SealError::Wrong | SealError::Full => |counters| &mut counters.wrong_seal,
                    SealError::Replayed => |counters| &mut counters.late,
                }
            })?;
        }
        let news = News::parse(whole).map_err(fault)?;
        if news.chassis == self.chassis {
            return Err(|counters| &mut counters.own_number);
        }
        if link.peer.is_some_and(|(session, sequence)| session == news.session && news.sequence <= sequence) {
            return Err(|counters| &mut counters.late);
        }
        link.peer = Some((news.session, news.sequence));
        Ok(news)
    }

    fn hear_summary(&mut self, index: usize, offers: &[(Edition, u8)], held: Vec<Edition>) {
        let link = &mut self.links[index];
        link.met = true;
        link.held = held.into_iter().map(|edition| (edition.chassis, edition)).collect();
        let usable = |&&(edition, hops): &&(Edition, u8)| edition.chassis != self.chassis && usize::from(hops) < PATH_MAX;
        let offers: BTreeMap<u16, (Edition, u8)> =
            offers.iter().filter(usable).map(|&(edition, hops)| (edition.chassis, (edition, hops))).collect();
        let before = link.offered.len();
        link.offered.retain(|chassis, _| offers.contains_key(chassis));
        let mut news = link.offered.len() != before;
        for (chassis, (edition, hops)) in offers {
            let hops = hops + 1;
            let offered = link.offered.entry(chassis).or_insert_with(|| Offered { edition, hops, held: None, parts: Vec::new() });
            news |= offered.hops != hops && offered.held.is_some();
            offered.hops = hops;
            if offered.edition != edition {
                offered.edition = edition;
                offered.parts.clear();
            }
            // So that the other end learns that it is missing.
            link.tell |= offered.held.as_ref().is_none_or(|held| held.edition != edition);
        }
        if news {
            self.changed = true;
            self.tell_all();
        }
    }

    fn hear_part(&mut self, index: usize, edition: Edition, (part, count): (u8, u8), octets: Vec<u8>) {
        let link = &mut self.links[index];
        let wanted = link.offered.get_mut(&edition.chassis).filter(|offered| {
            let new = offered.held.as_ref().is_none_or(|held| held.edition != edition);
            offered.edition == edition && new && (offered.parts.is_empty() || offered.parts.len() == usize::from(count))
        });
        let Some(offered) = wanted else {
            self.counters.unexpected += 1;
            return;
        };
        offered.parts.resize(usize::from(count), None);
        if let Some(place) = offered.parts.get_mut(usize::from(part)) {
            *place = Some(octets);
        }
        if offered.parts.iter().any(Option::is_none) {
            return;
        }
        let octets = std::mem::take(&mut offered.parts).into_iter().flatten().flatten().collect::<Vec<u8>>();
        match Roster::decode(&octets) {
            Some(roster) => {
                offered.held = Some(Held { edition, octets, roster });
                self.changed = true;
                self.tell_all();
            }
            None => self.counters.malformed += 1,
        }
    }

    /// What is known by which trunk: of each chassis what comes by the shortest way.
    fn best(&self, but: Option<usize>) -> BTreeMap<u16, (u8, usize, &Held)> {
        let mut best: BTreeMap<u16, (u8, usize, &Held)> = BTreeMap::new();
        for (index, link) in self.links.iter().enumerate().filter(|(index, link)| link.open && Some(*index) != but) {
            for (&chassis, offered) in &link.offered {
                if let Some(held) = &offered.held
                    && best.get(&chassis).is_none_or(|(hops, ..)| offered.hops < *hops)
                {
                    best.insert(chassis, (offered.hops, index, held));
                }
            }
        }
        best
    }

    /// The rosters of the other chassis, by chassis.
    pub fn known(&self) -> Vec<Known<'_>> {
        let best = self.best(None).into_iter();
        best.map(|(chassis, (hops, trunk, held))| Known { chassis, trunk, hops, roster: &held.roster }).collect()
    }

    /// What this chassis tells of itself.
    pub fn own(&self) -> &Roster {
        &self.own.roster
    }

    /// Whether what [`known`](Self::known) gives has changed since this was asked.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    fn tell_all(&mut self) {
        self.links.iter_mut().for_each(|link| link.tell |= link.open);
    }

    pub(super) fn poll_timeout(&self) -> Option<Nanos> {
        self.links.iter().filter(|link| link.open).map(|link| if link.tell { Nanos::ZERO } else { link.next_summary }).min()
    }

    pub(super) fn poll_transmit(&mut self) -> Option<(usize, Vec<u8>)> {
        self.outgoing.pop_front()
    }

    /// Sends what is due.
    pub(super) fn send(&mut self, now: Nanos) {
        for index in 0..self.links.len() {
            let link = &self.links[index];
            if !link.open {
                continue;
            }
            let due = link.tell || link.next_summary <= now;
            let own = std::iter::once((self.own.edition, 0));
            let others = self.best(Some(index)).into_values().map(|(hops, _, held)| (held.edition, hops));
            let offers: Vec<(Edition, u8)> = own.chain(others).take(CHASSIS_MAX).collect();
            let missing: Vec<Edition> = if link.met {
                let is_missing = |edition: &Edition| {
                    let waits = link.sent.get(&edition.chassis).is_some_and(|(sent, at)| sent == edition && now < *at + self.interval);
                    link.held.get(&edition.chassis) != Some(edition) && !waits
                };
                offers.iter().map(|(edition, _)| *edition).filter(is_missing).collect()
            } else {
                Vec::new()
            };
            if due {
                let held = link.offered.values().filter_map(|offered| Some(offered.held.as_ref()?.edition)).take(CHASSIS_MAX).collect();
                self.give(now, index, Content::Summary { offers, held });
                let link = &mut self.links[index];
                (link.tell, link.next_summary) = (false, now + self.interval);
            }
            for edition in missing {
                self.links[index].sent.insert(edition.chassis, (edition, now));
                let best = self.best(Some(index));
                let others = best.get(&edition.chassis).map(|(_, _, held)| *held);
                let Some(held) = others.or((edition.chassis == self.chassis).then_some(&self.own)) else { continue };
                let count = held.octets.len().div_ceil(PART_LEN).clamp(1, PARTS_MAX);
                let parts: Vec<Content> = (0..count)
                    .map(|part| {
                        let octets = held.octets.iter().copied().skip(part * PART_LEN).take(PART_LEN).collect();
                        Content::Part { edition, index: part as u8, count: count as u8, octets }
                    })
                    .collect();
                parts.into_iter().for_each(|part| self.give(now, index, part));
            }
        }
    }

    fn give(&mut self, now: Nanos, index: usize, content: Content) {
        let link = &mut self.links[index];
        if !link.given.allow(now) {
            return; // The other end goes on missing it, and gets it later.
        }
        link.sequence = link.sequence.wrapping_add(1);
        let news = News { chassis: self.chassis, session: self.session, sequence: link.sequence, content };
        let bytes = match &mut self.sealer {
            Some(sealer) => {
                let mut bytes = news.emit(Some(sealer.next_counter()));
                let header = header(&bytes);
                sealer.seal(self.own_mac, &header, &mut bytes);
                bytes
            }
            None => news.emit(None),
        };
        self.counters.sent += 1;
        self.outgoing.push_back((index, bytes));
    }
}

type Counter = fn(&mut ExchangeCounters) -> &mut u64;

/// What a seal is over besides the frame: nothing that a message of a blade could have.
fn header(whole: &[u8]) -> Header {
    Header {
        message_type: MessageType::Unknown(u8::MAX),
        final_destination: Final::Mac(GROUP),
        inner: EtherType::CHASSIS,
        body_len: whole.len() as u16,
    }
}
