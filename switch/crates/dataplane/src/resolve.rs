//! Resolving: where does each frame go?
//!
//! Nearly every frame is to one station's MAC and is looked up in the FDB. The others are told apart by one test: group
//! addresses flood; the switch's own address opens the message and the IP lane; ARP and IPv6 may interest control.

use arrayvec::ArrayVec;
use port::{BURST_MAX, Burst, PortId};
use wire::arp::{Arp, Operation};
use wire::ethernet::{EtherType, HEADER_LEN};
use wire::headers::Headers;
use wire::ip::{Ipv6, Protocol};
use wire::message::{Header, MAX_OFFENDING_LEN, MessageType};
use wire::nd::{NdMessage, NeighborDiscovery};
use wire::vlan::TAG_LEN;
use wire::{MacAddr, Vid};

use crate::admit::TagState;
use crate::event::Event;
use crate::fdb::{Fdb, Found, Key, Kind};
use crate::message;
use crate::pipeline::{Context, Note, Notes, bits};
use crate::tables::{Egress, NO_VLAN, Tables, VlanIndex, VlanTable};
use crate::verdict::{DropReason, PuntReason, Verdict};

/// Gives a verdict to each packet that may enter.
#[inline]
pub fn resolve(burst: &Burst, ingress: PortId, notes: &mut Notes, context: &mut Context<'_>) {
    let plain = notes.plain & notes.admitted_mask;
    let known = resolve_known(plain, ingress, notes, context);
    if plain & !known != 0 {
        resolve_unknown(plain & !known, ingress, notes, context);
    }
    let others = notes.admitted_mask & !notes.plain;
    if others != 0 {
        let rest = resolve_lanes(others, burst, ingress, notes, context);
        if rest != 0 {
            resolve_others(rest, burst, ingress, notes, context);
        }
    }
}

/// Gives a verdict to packets of which there is nothing to be said but the port they leave by; returns which they were.
#[inline(always)]
fn resolve_known(packets: u64, ingress: PortId, notes: &mut Notes, context: &Context<'_>) -> u64 {
    let mut lookup = Lookup::new(ingress, context.tables);
    let mut unknown = 0u64;
    for i in bits(packets) {
        let note = &mut notes.packets[i];
        match lookup.known(note, context) {
            Some(port) => note.verdict = Some(Verdict::Forward(port)),
            None => unknown |= 1 << i,
        }
    }
    if unknown != 0 {
        unknown = resolve_elsewhere(unknown, ingress, notes, context);
    }
    packets & !unknown
}

/// The same for packets whose destination is not in its own line of the front: it may be elsewhere in the FDB. Returns the packets that are left.
#[inline(never)]
fn resolve_elsewhere(packets: u64, ingress: PortId, notes: &mut Notes, context: &Context<'_>) -> u64 {
    let mut unknown = packets;
    for i in bits(packets) {
        let note = &mut notes.packets[i];
        let vlan = &context.tables.vlans[note.admitted.vlan as usize];
        if let Some(Found { port, kind: Kind::Dynamic | Kind::Static }) = context.fdb.lookup(note.dst, context.tick)
            && vlan.egress[port.index()] as u8 == note.admitted.tag as u8
            && port != ingress
        {
            note.verdict = Some(Verdict::Forward(port));
            unknown &= !(1 << i);
        }
    }
    unknown
}

/// The MAC lane of the packets whose destination is unknown, here, blocked, or wants another tag.
#[inline(never)]
fn resolve_unknown(packets: u64, ingress: PortId, notes: &mut Notes, context: &Context<'_>) {
    for i in bits(packets) {
        let vlan = &context.tables.vlans[notes.packets[i].admitted.vlan as usize];
        notes.packets[i].verdict = Some(by_mac(context.fdb, context.tick, vlan, notes.packets[i].dst, ingress));
        note_tag(i, vlan, notes);
    }
}

/// What look-ups of one burst have in common, as long as its frames are of one VLAN.
struct Lookup<'a> {
    ingress: PortId,
    tables: &'a Tables,
    /// That of `vlan`.
    index: VlanIndex,
    vlan: Option<(&'a VlanTable, u16)>,
}

impl<'a> Lookup<'a> {
    #[inline(always)]
    fn new(ingress: PortId, tables: &'a Tables) -> Lookup<'a> {
        Lookup { ingress, tables, index: NO_VLAN, vlan: None }
    }

    /// The one case that matters: the destination is known, elsewhere, and the port it is behind sends the frame as it is. `None` says nothing.
    #[inline(always)]
    fn known(&mut self, note: &Note, context: &Context<'_>) -> Option<PortId> {
        if note.admitted.vlan != self.index {
            self.index = note.admitted.vlan;
            self.vlan = self.tables.vlans.get(self.index as usize).map(|vlan| (vlan, context.fdb.vlan_generation(vlan.vid)));
        }
        let (vlan, generation) = self.vlan?;
        let port = context.fdb.lookup_learned(note.slots.1, note.dst, generation, context.tick)?;
        (vlan.egress[port.index()] as u8 == note.admitted.tag as u8 && port != self.ingress).then_some(port)
    }
}

/// The message and the IP lane where all is as it should be: a message to a known MAC, an IPv4 packet to a known neighbour.
/// First whom each frame is for, then where that is: the lines of the FDB come in meanwhile. Returns the packets that are not like that.
#[inline(never)]
fn resolve_lanes(others: u64, burst: &Burst, ingress: PortId, notes: &mut Notes, context: &Context<'_>) -> u64 {
    let messages = if context.tables.lanes.message { address_messages(others, burst, notes, context) } else { 0 };
    let rest = others & !messages;
    let packets = if context.tables.lanes.ip && rest != 0 { address_packets(rest, burst, notes, context) } else { 0 };
    let addressed = messages | packets;
    let found = resolve_known(addressed, ingress, notes, context);
    // What is unknown, here, blocked, or wants another tag goes the long way, which tells them apart and begins anew.
    for i in bits(addressed & !found) {
        notes.packets[i].headers.dst = context.tables.own_mac.raw();
    }
    notes.readdressed |= found;
    others & !found
}

/// A frame to us, without tags beside the one of its VLAN.
#[inline(always)]
fn is_for_lane(note: &Note, ethertype: EtherType, own: u64) -> bool {
    note.headers.ethertype == ethertype.0 && note.headers.dst == own && !has_payload_tags(note.headers.payload, note.admitted.tag)
}

/// Gives a packet another destination, and asks for its line of the FDB.
#[inline(always)]
fn address(note: &mut Note, mac: u64, fdb: &Fdb) {
    note.headers.dst = mac;
    note.dst = note.dst & 0xffff << 48 | mac;
    note.slots.1 = fdb.slot(note.dst);
}

/// Gives messages to us their final destination, if it is a MAC; returns which they were.
#[inline(always)]
fn address_messages(others: u64, burst: &Burst, notes: &mut Notes, context: &Context<'_>) -> u64 {
    let own = context.tables.own_mac.raw();
    let mut addressed = 0u64;
    for i in bits(others) {
        let (note, Some(packet)) = (&mut notes.packets[i], burst.get(i)) else { continue };
        if !is_for_lane(note, EtherType::MESSAGE, own) {
            continue;
        }
        let payload = note.headers.payload as usize;
        let Some(bytes) = context.pool.head(packet).get(payload..) else { continue };
        if let Some(mac) = Header::final_mac(bytes, note.len as usize - payload) {
            address(note, mac, context.fdb);
            addressed |= 1 << i;
        }
    }
    addressed
}

/// Gives IPv4 packets to us the MAC of the neighbour they are for; returns which they were.
#[inline(never)]
fn address_packets(others: u64, burst: &Burst, notes: &mut Notes, context: &Context<'_>) -> u64 {
    let own = context.tables.own_mac.raw();
    let mut addressed = 0u64;
    for i in bits(others) {
        let (note, Some(packet)) = (&mut notes.packets[i], burst.get(i)) else { continue };
        if !is_for_lane(note, EtherType::IPV4, own) {
            continue;
        }
        let bytes = context.pool.head(packet).get(note.headers.payload as usize..).unwrap_or_default();
        let vid = Vid::new((note.dst >> 48) as u16);
        if let Some(mac) = vid.and_then(|vid| neighbor(context.tables, vid, EtherType::IPV4, bytes)) {
            address(note, mac.raw(), context.fdb);
            addressed |= 1 << i;
        }
    }
    addressed
}

/// Notes whether a packet that leaves by one port needs another tag.
#[inline(always)]
fn note_tag(i: usize, vlan: &VlanTable, notes: &mut Notes) {
    if let Some(Verdict::Forward(port)) = notes.packets[i].verdict {
        let tagged = vlan.egress[port.index()] == Egress::Tagged;
        let tag = notes.packets[i].admitted.tag;
        // A priority tag stays on nowhere: it becomes the VLAN's, or goes (IEEE 802.1Q §6.9).
        let differs = (tagged != (tag == TagState::Tagged)) | (tag == TagState::Priority);
        notes.retagged |= (differs as u64) << i;
    }
}

/// Has the frame, whose payload begins at `payload`, tags beside the one of its VLAN? They are payload, and so is what is behind
/// them: a customer's addresses in a tunnel are not those of the tunnel's VLAN.
#[inline(always)]
fn has_payload_tags(payload: u8, tag: TagState) -> bool {
    payload as usize != HEADER_LEN + if tag == TagState::Untagged { 0 } else { TAG_LEN }
}

/// What is left to do for a frame once it is known whom it is for.
enum Step {
    /// Nothing.
    Done(Verdict),
    /// Find this address in the FDB.
    Mac(u64),
    /// Overwrite the destination with this address and find it in the FDB.
    Readdress {
        mac: u64,
        /// The sender knows the address from nobody but itself: if the FDB does not know it, it is not looked for.
        named_by_sender: bool,
    },
}

/// Groups, what interests control, and whatever is not plain in the lanes. First whom each frame is for, then where that is: the
/// lines of the FDB come in meanwhile.
#[inline(never)]
fn resolve_others(others: u64, burst: &Burst, ingress: PortId, notes: &mut Notes, context: &mut Context<'_>) {
    let mut steps: ArrayVec<(usize, Step), BURST_MAX> = ArrayVec::new();
    for i in bits(others) {
        let step = whom(i, burst, ingress, notes, context);
        if let Step::Mac(mac) | Step::Readdress { mac, .. } = step {
            let vlan = &context.tables.vlans[notes.packets[i].admitted.vlan as usize];
            notes.packets[i].dst = mac | (vlan.vid.get() as u64) << 48;
            notes.packets[i].slots.1 = context.fdb.slot(notes.packets[i].dst);
        }
        steps.push((i, step));
    }
    for (i, step) in steps {
        let vlan = &context.tables.vlans[notes.packets[i].admitted.vlan as usize];
        notes.packets[i].verdict = Some(match step {
            Step::Done(verdict) => verdict,
            Step::Mac(mac) => by_mac(context.fdb, context.tick, vlan, mac | (vlan.vid.get() as u64) << 48, ingress),
            Step::Readdress { mac, named_by_sender } => {
                match by_mac(context.fdb, context.tick, vlan, mac | (vlan.vid.get() as u64) << 48, ingress) {
                    Verdict::Flood if named_by_sender => Verdict::Drop(DropReason::FinalUnknown),
                    verdict => {
                        readdress(notes, i, mac);
                        verdict
                    }
                }
            }
        });
        note_tag(i, vlan, notes);
        if notes.packets[i].verdict == Some(Verdict::Drop(DropReason::FinalUnknown)) {
            tell_final_unknown(i, burst, vlan.vid, ingress, notes, context);
        }
    }
}

/// The MAC lane: through the FDB.
fn by_mac(fdb: &Fdb, tick: u32, vlan: &VlanTable, dst: Key, ingress: PortId) -> Verdict {
    let Some(found) = fdb.lookup(dst, tick) else {
        return Verdict::Flood;
    };
    if found.kind == Kind::Blackhole {
        return Verdict::Drop(DropReason::Blackhole);
    }
    if found.port == ingress {
        return Verdict::Drop(DropReason::Hairpin);
    }
    match vlan.egress[found.port.index()] {
        Egress::Untagged | Egress::Tagged => Verdict::Forward(found.port),
        Egress::NotMember => Verdict::Drop(DropReason::VlanEgress),
        Egress::Blocked => Verdict::Drop(DropReason::EgressBlocked),
        Egress::Down => Verdict::Drop(DropReason::LinkDown),
    }
}

/// Whom is frame `i` for?
#[inline]
fn whom(i: usize, burst: &Burst, ingress: PortId, notes: &mut Notes, context: &Context<'_>) -> Step {
    let tables = context.tables;
    let headers = notes.packets[i].headers;
    let vlan = &tables.vlans[notes.packets[i].admitted.vlan as usize];
    let frame = context.pool.head(&burst[i]);
    let payload = frame.get(headers.payload as usize..).unwrap_or_default();
    let payload_len = burst[i].len() - headers.payload as usize;
    let to_us = headers.dst == tables.own_mac.raw();
    let payload_tags = has_payload_tags(headers.payload, notes.packets[i].admitted.tag);
    let ethertype = if payload_tags { EtherType::QINQ } else { EtherType(headers.ethertype) };

    if ethertype == EtherType::ARP || ethertype == EtherType::IPV6 {
        match interest(tables, vlan.vid, ethertype, &headers, payload) {
            Some(Interest::Punt(reason)) => return Step::Done(Verdict::Punt(reason)),
            Some(Interest::Copy(reason)) => notes.control_copies.push((i as u8, reason)),
            None => {}
        }
    }
    if !to_us {
        if headers.dst & 1 == 0 {
            return Step::Mac(headers.dst);
        }
        if ethertype == EtherType::MESSAGE && tables.lanes.message {
            match message::broadcast(payload, payload_len, tables.ports[ingress.index()].control) {
                message::Broadcast::Flood => {}
                message::Broadcast::FloodAndCopy => notes.control_copies.push((i as u8, PuntReason::Message)),
                message::Broadcast::Refuse => return Step::Done(Verdict::Drop(DropReason::ControlRefused)),
            }
        }
        return Step::Done(Verdict::Flood);
    }
    match ethertype {
        EtherType::MESSAGE if !tables.lanes.message => Step::Done(Verdict::Drop(DropReason::LaneOff)),
        EtherType::MESSAGE => match message::whom(payload, payload_len, vlan.vid, tables.ports[ingress.index()].control, tables) {
            message::Whom::Mac { mac, named_by_sender } => Step::Readdress { mac: mac.raw(), named_by_sender },
            message::Whom::Group(mac) => {
                readdress(notes, i, mac.raw());
                Step::Done(Verdict::Flood)
            }
            message::Whom::Switch => Step::Done(Verdict::Punt(PuntReason::Message)),
            message::Whom::Nobody(reason) => Step::Done(Verdict::Drop(reason)),
        },
        EtherType::IPV4 | EtherType::IPV6 if !tables.lanes.ip => Step::Done(Verdict::Drop(DropReason::LaneOff)),
        EtherType::IPV4 | EtherType::IPV6 => match neighbor(tables, vlan.vid, ethertype, payload) {
            None => Step::Done(Verdict::Drop(DropReason::NeighborUnknown)),
            Some(mac) if mac == tables.own_mac => Step::Done(Verdict::Drop(DropReason::NotForUs)),
            Some(mac) => Step::Readdress { mac: mac.raw(), named_by_sender: false },
        },
        _ => Step::Done(Verdict::Drop(DropReason::NotForUs)),
    }
}

/// Notes that the destination address is to be overwritten.
fn readdress(notes: &mut Notes, i: usize, dst: u64) {
    notes.packets[i].headers.dst = dst;
    notes.readdressed |= 1 << i;
}

/// The IP lane: who has the packet's destination?
fn neighbor(tables: &Tables, vid: Vid, ethertype: EtherType, payload: &[u8]) -> Option<MacAddr> {
    // The addresses are at fixed places of the fixed headers (RFC 791 §3.1, RFC 8200 §3). Whether the packet is whole is for its receiver to judge:
    // in the first buffer of a jumbo frame it is not.
    if ethertype == EtherType::IPV4 {
        let bytes: [u8; 4] = *payload.get(16..20)?.first_chunk()?;
        (payload[0] >> 4 == 4).then(|| tables.neighbors.v4(vid, bytes.into()))?
    } else {
        let bytes: [u8; 16] = *payload.get(24..40)?.first_chunk()?;
        (payload[0] >> 4 == 6).then(|| tables.neighbors.v6(vid, bytes.into()))?
    }
}

enum Interest {
    /// Control gets the frame, nobody else.
    Punt(PuntReason),
    /// Control gets a copy.
    Copy(PuntReason),
}

/// What control wants of ARP and neighbour discovery.
fn interest(tables: &Tables, vid: Vid, ethertype: EtherType, headers: &Headers, payload: &[u8]) -> Option<Interest> {
    let lanes = &tables.lanes;
    match ethertype {
        EtherType::ARP if lanes.learn_neighbors || lanes.answer_arp => {
            let arp = Arp::parse(payload)?;
            // A request for an address we know is answered for its owner and goes no further; unless the owner itself asks
            // (an announcement), which everybody should hear, or only the owner is asked: whether it is still there is
            // for it to say (RFC 1122 §2.3.2.1).
            let known = tables.neighbors.v4(vid, arp.target_ip).filter(|&mac| mac != arp.sender_mac);
            let asks_all = arp.operation == Operation::Request && headers.dst & 1 != 0;
            if lanes.answer_arp && asks_all && known.is_some() && arp.sender_ip != arp.target_ip {
                return Some(Interest::Punt(PuntReason::ArpAnswer));
            }
            lanes.learn_neighbors.then_some(Interest::Copy(PuntReason::ArpLearn))
        }
        EtherType::IPV6 if lanes.learn_neighbors || lanes.answer_nd => {
            // One byte tells nearly all IPv6 apart; hop limit 255 and the rest are checked by the parser (RFC 4861 §7.1).
            if payload.get(6) != Some(&Protocol::ICMPV6.0) {
                return None;
            }
            let discovery = NeighborDiscovery::parse(&Ipv6::new_checked(payload)?)?;
            if let NdMessage::NeighborSolicitation { target, .. } = discovery.message
                && lanes.answer_nd
                && headers.dst & 1 != 0
                && !discovery.src.is_unspecified()
                && tables.neighbors.v6(vid, target).is_some_and(|mac| mac.raw() != headers.src)
            {
                return Some(Interest::Punt(PuntReason::NdAnswer));
            }
            (lanes.learn_neighbors && discovery.binding().is_some()).then_some(Interest::Copy(PuntReason::NdLearn))
        }
        _ => None,
    }
}

#[inline(never)]
fn tell_final_unknown(i: usize, burst: &Burst, vid: Vid, port: PortId, notes: &Notes, context: &mut Context<'_>) {
    let headers = &notes.packets[i].headers;
    let payload = context.pool.head(&burst[i]).get(headers.payload as usize..).unwrap_or_default();
    let Ok(header) = Header::parse_prefix(payload, burst[i].len() - headers.payload as usize) else { return };
    // Never a notice about a notice: two switches could send them for ever.
    if header.message_type == MessageType::Notice {
        return;
    }
    let mut start = [0; MAX_OFFENDING_LEN];
    for (to, from) in start.iter_mut().zip(payload) {
        *to = *from;
    }
    context.control.tell(Event::FinalUnknown { port, vid, source: MacAddr::from_raw(headers.src), header, start });
}
