//! A naive switch: what the real one must do, written from IEEE 802.1Q, `docs/message-format.md` and `docs/configuration.md`.
//!
//! Maps with times, byte strings that are put together anew for each port, no bursts but for their order: a burst is
//! learned from as a whole before any of it is forwarded. It shares no code with the data plane. Where the switch may take its
//! time (an aged entry goes within a 64th of the ageing time), [`Reference::is_between`] says so, and the run steps over it.

use std::collections::HashMap;
use std::net::IpAddr;

use super::protocols::{self, Address};
use super::site::{Mac, Mode, OWN, Site};
use super::traffic::{Discovery, Sent};

/// The tag of a frame, as its VLAN sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TagState {
    Untagged,
    Tagged,
    Priority,
}

/// What becomes of a frame.
#[derive(Debug, Default)]
pub struct Fate {
    /// The reason, if it goes nowhere.
    pub drop: Option<&'static str>,
    /// What leaves by which port.
    pub out: Vec<(usize, Vec<u8>)>,
    /// Control gets it, or a copy.
    pub punt: Option<Punt>,
    /// A notice to its source.
    pub notice: Option<Vec<u8>>,
}

/// What control gets.
#[derive(Debug)]
pub struct Punt {
    /// It is a copy, and the frame goes on.
    pub copy: bool,
    vid: u16,
    src: Mac,
    says: Punted,
}

#[derive(Debug)]
enum Punted {
    Arp { answer: bool, sender_mac: Mac, sender_ip: IpAddr, target_ip: IpAddr },
    Discovery { answer: bool, says: Discovery },
    Message,
}

#[derive(Clone, Copy, Debug)]
struct Neighbor {
    mac: Mac,
    port: usize,
    /// `None`: set by hand.
    seen: Option<u64>,
}

/// The naive switch.
pub struct Reference {
    site: Site,
    /// Learned: behind which port, and when last seen.
    fdb: HashMap<(u16, Mac), (usize, u64)>,
    /// As control knows them, and as the data plane does.
    neighbors: HashMap<(u16, IpAddr), Neighbor>,
    published: HashMap<(u16, IpAddr), Mac>,
    pub up: Vec<bool>,
    /// Addresses that moved.
    pub moves: u64,
    /// How often an address was not learned because of a limit.
    pub refused: u64,
}

impl Reference {
    pub fn new(site: &Site) -> Reference {
        let set = |&(vid, ip, mac): &(u16, IpAddr, Mac)| ((vid, ip), Neighbor { mac, port: usize::MAX, seen: None });
        let mut reference = Reference {
            fdb: HashMap::new(),
            neighbors: site.neighbors.iter().map(set).collect(),
            published: HashMap::new(),
            up: vec![true; site.ports.len()],
            moves: 0,
            refused: 0,
            site: site.clone(),
        };
        reference.publish();
        reference
    }

    /// The time up to which some entry may be there or not; `None`: everything is clear.
    pub fn is_between(&self, now: u64) -> Option<u64> {
        let (a, b) = (self.site.ageing_ms * 1_000_000, self.site.neighbor_ageing_ms * 1_000_000);
        let fdb = self.fdb.values().map(|&(_, seen)| (seen + a, seen + a + 2 * (a / 64)));
        let neighbors = self.neighbors.values().filter_map(|neighbor| neighbor.seen).map(|seen| (seen + b, seen + b + b / 16 + 1));
        fdb.chain(neighbors).filter(|(from, to)| (*from..=*to).contains(&now)).map(|(_, to)| to + 1).max()
    }

    /// Forgets what is too old at `now`.
    pub fn age(&mut self, now: u64) {
        let (a, b) = (self.site.ageing_ms * 1_000_000, self.site.neighbor_ageing_ms * 1_000_000);
        self.fdb.retain(|_, (_, seen)| now - *seen <= a);
        self.neighbors.retain(|_, neighbor| neighbor.seen.is_none_or(|seen| now - seen <= b));
        self.publish();
    }

    pub fn flush(&mut self, port: Option<usize>, vid: Option<u16>) {
        self.fdb.retain(|(at, _), (behind, _)| match (port, vid) {
            (Some(port), _) => *behind != port,
            (None, Some(vid)) => *at != vid,
            (None, None) => false,
        });
    }

    pub fn set_link(&mut self, port: usize, up: bool) {
        if self.up[port] && !up {
            self.flush(Some(port), None);
            self.neighbors.retain(|_, neighbor| neighbor.seen.is_none() || neighbor.port != port);
            self.publish();
        }
        self.up[port] = up;
    }

    fn publish(&mut self) {
        self.published = self.neighbors.iter().map(|(&key, neighbor)| (key, neighbor.mac)).collect();
    }

    /// Frames of one burst come in by `port`.
    pub fn burst(&mut self, now: u64, port: usize, frames: &[Sent]) -> Vec<Fate> {
        // A card pads what is too short.
        let padded = |frame: &Sent| [&frame.bytes[..], &vec![0; 60usize.saturating_sub(frame.bytes.len())]].concat();
        let frames: Vec<(Vec<u8>, Option<Discovery>)> = frames.iter().map(|frame| (padded(frame), frame.says)).collect();
        let mut admitted: Vec<_> = frames.iter().map(|(bytes, _)| self.admit(port, bytes)).collect();
        for ((bytes, _), admitted) in frames.iter().zip(&mut admitted) {
            if let Ok((vid, _)) = *admitted
                && self.learn(now, port, vid, address(bytes, 6))
            {
                *admitted = Err("blackhole");
            }
        }
        let fates = frames.iter().zip(admitted).map(|((bytes, says), admitted)| match admitted {
            Err(reason) => Fate { drop: Some(reason), ..Fate::default() },
            Ok((vid, tag)) => self.resolve(port, bytes, vid, tag, *says),
        });
        fates.collect()
    }

    fn admit(&self, port: usize, bytes: &[u8]) -> Result<(u16, TagState), &'static str> {
        let (dst, src, at) = (address(bytes, 0), address(bytes, 6), &self.site.ports[port]);
        let tagged = bytes[12..14] == [0x81, 0];
        let vid = u16::from_be_bytes([bytes[14], bytes[15]]) & 0xfff;
        match () {
            () if bytes.len() > self.site.frame_len_max => Err("oversize"),
            () if is_link_local(dst) => Err("link-local"),
            () if is_group(src) || src == [0; 6] => Err("source-invalid"),
            () if src == OWN => Err("source-own"),
            () if !at.enabled || !self.up[port] => Err("port-blocked"),
            () if matches!(at.mode, Mode::Transparent(_)) || !tagged => {
                at.mode.untagged().map(|vid| (vid, TagState::Untagged)).ok_or("vlan-ingress")
            }
            () if vid == 0 => at.mode.untagged().map(|vid| (vid, TagState::Priority)).ok_or("vlan-ingress"),
            () if !self.site.ports.iter().any(|port| port.mode.is_member(vid)) => Err("vlan-unknown"),
            // An access port takes its own VLAN only; a trunk without ingress filter takes any.
            () if at.mode.is_member(vid) || (matches!(at.mode, Mode::Trunk { .. }) && !at.ingress_filter) => Ok((vid, TagState::Tagged)),
            () => Err("vlan-ingress"),
        }
    }

    /// `true` if the address is a blackhole.
    fn learn(&mut self, now: u64, port: usize, vid: u16, src: Mac) -> bool {
        if let Some(entry) = self.entry(vid, src) {
            return entry.is_none();
        }
        if !self.site.ports[port].learning {
            return false;
        }
        let of_port = self.fdb.values().filter(|(at, _)| *at == port).count();
        let of_vlan = self.fdb.keys().filter(|(at, _)| *at == vid).count();
        let port_is_full = self.site.limit_per_port.is_some_and(|limit| of_port >= limit);
        let vlan_is_full = self.site.limit_per_vlan.is_some_and(|limit| of_vlan >= limit);
        // Who is known stays known; who moves stays in his VLAN, and must find room at the port.
        let is_refused = match self.fdb.get(&(vid, src)) {
            Some((before, _)) if *before == port => false,
            Some(_) => port_is_full,
            None => port_is_full || vlan_is_full,
        };
        if is_refused {
            self.refused += 1;
        } else if self.fdb.insert((vid, src), (port, now)).is_some_and(|(before, _)| before != port) {
            self.moves += 1;
        }
        false
    }

    /// The entry set by hand: a port, or none for a blackhole.
    fn entry(&self, vid: u16, mac: Mac) -> Option<Option<usize>> {
        self.site.entries.iter().find(|entry| (entry.0, entry.1) == (vid, mac)).map(|entry| entry.2)
    }

    fn resolve(&self, port: usize, bytes: &[u8], vid: u16, tag: TagState, says: Option<Discovery>) -> Fate {
        let (dst, src) = (address(bytes, 0), address(bytes, 6));
        let behind_tag = if tag == TagState::Untagged { 12 } else { 16 };
        let ethertype = u16::from_be_bytes([bytes[behind_tag], bytes[behind_tag + 1]]);
        let payload = &bytes[behind_tag + 2..];
        let mut punt = None;
        if let Some((takes_all, says)) = self.interest(ethertype, payload, dst, src, vid, says) {
            punt = Some(Punt { copy: !takes_all, vid, src, says });
            if takes_all {
                return Fate { punt, ..Fate::default() };
            }
        }
        let bridged = |dst: Mac| [&dst[..], &bytes[6..]].concat();
        let mut fate = match (dst == OWN, ethertype) {
            (false, 0x88b5) if is_group(dst) && self.site.message && read_message(payload).is_ok_and(|(_, kind)| is_refused(kind)) => {
                drop("control-refused")
            }
            (false, 0x88b5) if is_group(dst) && self.site.message && read_message(payload).is_ok_and(|(_, kind)| kind == 3) => {
                punt = Some(Punt { copy: true, vid, src, says: Punted::Message });
                self.deliver(port, bridged(dst), vid, tag)
            }
            (false, _) => self.deliver(port, bridged(dst), vid, tag),
            (true, 0x88b5) if !self.site.message => drop("lane-off"),
            (true, 0x88b5) => match read_message(payload) {
                Err(reason) => drop(reason),
                Ok((_, kind)) if is_refused(kind) => drop("control-refused"),
                Ok((to, kind)) => match self.whom(to, vid) {
                    Some(mac) if is_link_local(mac) => drop("link-local"),
                    Some(OWN) => Fate { punt: Some(Punt { copy: false, vid, src, says: Punted::Message }), ..Fate::default() },
                    Some(mac) if is_group(mac) || self.is_known(vid, mac) || matches!(to, Address::Ip(_)) => {
                        self.deliver(port, bridged(mac), vid, tag)
                    }
                    _ => {
                        let notice = (kind != 1 && self.site.notice).then(|| self.notice(port, vid, src, to, payload));
                        Fate { notice, ..drop("final-unknown") }
                    }
                },
            },
            (true, 0x0800 | 0x86dd) if !self.site.ip => drop("lane-off"),
            (true, 0x0800 | 0x86dd) => match self.published.get(&(vid, ip_destination(ethertype, payload))) {
                None => drop("neighbor-unknown"),
                Some(&mac) => self.deliver(port, bridged(mac), vid, tag),
            },
            (true, _) => drop("not-for-us"),
        };
        fate.punt = fate.punt.or(punt);
        fate
    }

    /// What control wants of ARP and neighbour discovery, and whether it wants the frame itself.
    fn interest(&self, ethertype: u16, payload: &[u8], dst: Mac, src: Mac, vid: u16, says: Option<Discovery>) -> Option<(bool, Punted)> {
        let Site { learn, answer_arp, answer_nd, .. } = self.site;
        if ethertype == 0x0806 && payload[..6] == [0, 1, 8, 0, 6, 4] {
            let ip = |at: usize| IpAddr::from(<[u8; 4]>::try_from(&payload[at..at + 4]).expect("four octets"));
            let (sender_mac, sender_ip, target_ip) = (address(payload, 8), ip(14), ip(24));
            let known = self.published.get(&(vid, target_ip)).is_some_and(|&mac| mac != sender_mac);
            // A request to one station is that one's to answer: it asks whether that station is still there (RFC 1122 §2.3.2.1).
            let answer = answer_arp && payload[6..8] == [0, 1] && known && sender_ip != target_ip && is_group(dst);
            // What is answered to the switch itself is for control, which has asked.
            let takes_all = answer || payload[6..8] == [0, 2] && dst == OWN;
            return (answer || learn).then_some((takes_all, Punted::Arp { answer, sender_mac, sender_ip, target_ip }));
        }
        if ethertype == 0x86dd
            && let Some(says) = says
        {
            let (answer, tells) = match says {
                Discovery::Solicit { asker, mac, target } => {
                    let asks = is_group(dst) && asker != IpAddr::from([0u16; 8]);
                    (answer_nd && asks && self.published.get(&(vid, target)).is_some_and(|&known| known != src), mac.is_some())
                }
                Discovery::Advertise { .. } => (false, true),
            };
            return (answer || (learn && tells)).then_some((answer, Punted::Discovery { answer, says }));
        }
        None
    }

    /// The MAC a final destination stands for.
    fn whom(&self, to: Address, vid: u16) -> Option<Mac> {
        match to {
            Address::Mac(mac) => Some(mac),
            Address::Ip(IpAddr::V4(ip)) if ip.octets() == [255; 4] => Some([0xff; 6]),
            Address::Ip(IpAddr::V4(ip)) if ip.octets()[0] >> 4 == 14 => {
                let [_, b, c, d] = ip.octets();
                Some([1, 0, 0x5e, b & 0x7f, c, d])
            }
            Address::Ip(IpAddr::V6(ip)) if ip.octets()[0] == 0xff => {
                let o = ip.octets();
                Some([0x33, 0x33, o[12], o[13], o[14], o[15]])
            }
            Address::Ip(ip) => self.published.get(&(vid, ip)).copied(),
        }
    }

    fn is_known(&self, vid: u16, mac: Mac) -> bool {
        self.entry(vid, mac).is_some() || self.fdb.contains_key(&(vid, mac))
    }

    /// The frame, whose destination is final now, to where that is.
    fn deliver(&self, ingress: usize, bytes: Vec<u8>, vid: u16, tag: TagState) -> Fate {
        let dst = address(&bytes, 0);
        let site = &self.site;
        let learned = self.fdb.get(&(vid, dst)).map(|(port, _)| Some(*port));
        let ports: Vec<usize> = match self.entry(vid, dst).or(learned).filter(|_| !is_group(dst)) {
            Some(None) => return drop("blackhole"),
            Some(Some(port)) if port == ingress => return drop("hairpin"),
            Some(Some(port)) if !site.ports[port].mode.is_member(vid) => return drop("vlan-egress"),
            Some(Some(port)) if !site.ports[port].enabled => return drop("egress-blocked"),
            Some(Some(port)) if !self.up[port] => return drop("link-down"),
            Some(Some(port)) => vec![port],
            None => (0..site.ports.len())
                .filter(|&port| port != ingress && site.ports[port].mode.is_member(vid) && site.ports[port].enabled && self.up[port])
                .filter(|&port| is_group(dst) || site.ports[port].flood)
                .collect(),
        };
        if ports.is_empty() {
            return drop("no-member");
        }
        Fate { out: ports.into_iter().map(|port| (port, self.as_it_leaves(port, &bytes, vid, tag))).collect(), ..Fate::default() }
    }

    /// The frame with the tag that `port` sends it with.
    fn as_it_leaves(&self, port: usize, bytes: &[u8], vid: u16, tag: TagState) -> Vec<u8> {
        let (macs, rest) = bytes.split_at(12);
        let (priority, rest) = if tag == TagState::Untagged { (0, rest) } else { (rest[2] & 0xf0, &rest[4..]) };
        let mut out = macs.to_vec();
        if self.site.ports[port].mode.untagged() != Some(vid) {
            out.extend([0x81, 0, priority | (vid >> 8) as u8, vid as u8]);
        }
        out.extend(rest);
        out.resize(out.len().max(60), 0);
        out
    }

    /// What control does with what it has got; returns what it sends out of `port`.
    pub fn control(&mut self, now: u64, port: usize, punts: Vec<Punt>) -> Vec<Vec<u8>> {
        let mut sent = Vec::new();
        for Punt { vid, src, says, .. } in punts {
            match says {
                Punted::Message => {}
                Punted::Arp { answer, sender_mac, sender_ip, target_ip } => {
                    if sender_ip != IpAddr::from([0; 4]) && sender_mac == src {
                        self.hear(now, port, vid, sender_ip, sender_mac);
                    }
                    if let Some(target) = self.neighbors.get(&(vid, target_ip)).filter(|_| answer) {
                        let reply = protocols::arp(2, target.mac, target_ip, sender_mac, sender_ip);
                        sent.push(self.own_frame(port, vid, sender_mac, target.mac, 0x0806, &reply));
                    }
                }
                Punted::Discovery { answer, says } => {
                    let told = match says {
                        Discovery::Solicit { asker, mac, .. } => mac.map(|mac| (asker, mac)),
                        Discovery::Advertise { target, mac } => Some((target, mac)),
                    };
                    if let Some((ip, mac)) = told.filter(|(_, mac)| *mac == src) {
                        self.hear(now, port, vid, ip, mac);
                    }
                    if let Discovery::Solicit { asker, target, .. } = says
                        && let Some(neighbor) = self.neighbors.get(&(vid, target)).filter(|_| answer)
                    {
                        let packet = protocols::advertise(target, asker, neighbor.mac, true);
                        sent.push(self.own_frame(port, vid, src, neighbor.mac, 0x86dd, &packet));
                    }
                }
            }
        }
        self.publish();
        sent
    }

    fn hear(&mut self, now: u64, port: usize, vid: u16, ip: IpAddr, mac: Mac) {
        let by_hand = self.neighbors.get(&(vid, ip)).is_some_and(|neighbor| neighbor.seen.is_none());
        if self.site.learn && !by_hand {
            self.neighbors.insert((vid, ip), Neighbor { mac, port, seen: Some(now) });
        }
    }

    fn notice(&self, port: usize, vid: u16, source: Mac, to: Address, message: &[u8]) -> Vec<u8> {
        let len = (24 + usize::from(u16::from_be_bytes([message[6], message[7]]))).min(64);
        let body = [&[1][..], &to.octets(), &message[..len]].concat();
        self.own_frame(port, vid, source, OWN, 0x88b5, &protocols::message(1, Address::Mac(source), &body))
    }

    fn own_frame(&self, port: usize, vid: u16, dst: Mac, src: Mac, ethertype: u16, payload: &[u8]) -> Vec<u8> {
        let bytes = [&dst[..], &src, &ethertype.to_be_bytes(), payload].concat();
        self.as_it_leaves(port, &bytes, vid, TagState::Untagged)
    }
}

fn drop(reason: &'static str) -> Fate {
    Fate { drop: Some(reason), ..Fate::default() }
}

fn address(bytes: &[u8], at: usize) -> Mac {
    bytes[at..at + 6].try_into().expect("a frame has its addresses")
}

fn is_group(mac: Mac) -> bool {
    mac[0] & 1 == 1
}

/// IEEE 802.1Q table 8-1.
pub fn is_link_local(mac: Mac) -> bool {
    mac[..5] == [1, 0x80, 0xc2, 0, 0] && mac[5] < 16
}

/// Final destination and type of a message.
fn read_message(payload: &[u8]) -> Result<(Address, u8), &'static str> {
    let body_len = usize::from(u16::from_be_bytes([payload[6], payload[7]]));
    let to = Address::read(payload[2], &payload[8..24]);
    if payload[0] != 1 || body_len > payload.len() - 24 {
        Err("message-malformed")
    } else {
        Ok((to.ok_or("message-malformed")?, payload[1]))
    }
}

/// Is this type a control message that a blade may not send? It may say hello (16) and acknowledge (21).
fn is_refused(kind: u8) -> bool {
    kind > 16 && kind != 21
}

/// The destination of an IP packet; the unspecified address, which nobody has, if it is none.
fn ip_destination(ethertype: u16, payload: &[u8]) -> IpAddr {
    match (ethertype, payload[0] >> 4) {
        (0x0800, 4) => <[u8; 4]>::try_from(&payload[16..20]).expect("four octets").into(),
        (0x86dd, 6) => <[u8; 16]>::try_from(&payload[24..40]).expect("sixteen octets").into(),
        _ => [0; 4].into(),
    }
}
