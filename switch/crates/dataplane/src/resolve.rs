//! Resolving: where does each frame go?
//!
//! Nearly every frame is to one station's MAC and is looked up in the FDB; messages and packets to the switch are by then as well, where
//! it was plain whom they are for (see [`address`](crate::address)). The others are told apart here: group addresses flood; the switch's own
//! address opens the message and the IP lane; ARP and IPv6 may interest control.

use arrayvec::ArrayVec;
use port::{BURST_MAX, Burst, PortId};
use wire::arp::{Arp, Operation};
use wire::dhcp;
use wire::ethernet::EtherType;
use wire::headers::Headers;
use wire::ip::{IPV4_HEADER_LEN, Ipv6, Protocol};
use wire::message::{Header, MAX_OFFENDING_LEN, MessageType};
use wire::nd::{NdMessage, NeighborDiscovery};
use wire::{MacAddr, Vid};

use crate::address::{has_payload_tags, neighbor};
use crate::admit::TagState;
use crate::event::Event;
use crate::fdb::{Ages, Fdb, Key, Kind};
use crate::message;
use crate::pipeline::{Context, Note, Notes, bits};
use crate::tables::{Egress, NO_VLAN, Tables, VlanIndex, VlanTable};
use crate::verdict::{DropReason, PuntReason, Verdict};

/// Gives a verdict to each packet that may enter.
#[inline]
pub fn resolve(burst: &Burst, ingress: PortId, notes: &mut Notes, context: &mut Context<'_>) {
    let plain = notes.plain & notes.admitted_mask;
    let known = resolve_known(plain, ingress, notes, context);
    notes.readdressed |= known & notes.addressed;
    let unknown = plain & !known;
    if unknown != 0 {
        resolve_unknown(unknown, ingress, notes, context);
    }
    let others = notes.admitted_mask & !notes.plain | unknown & notes.addressed;
    if others != 0 {
        resolve_others(others, burst, ingress, notes, context);
    }
}

/// Gives a verdict to packets of which there is nothing to be said but the port they leave by; returns which they were.
#[inline(always)]
fn resolve_known(packets: u64, ingress: PortId, notes: &mut Notes, context: &mut Context<'_>) -> u64 {
    let mut lookup = Lookup::new(ingress, context);
    let mut unknown = 0u64;
    for i in bits(packets) {
        let note = &mut notes.packets[i];
        match lookup.known(note, context.fdb) {
            Some(port) => note.verdict = Some(Verdict::Forward(port)),
            None => {
                context.fdb.prefetch_beside(note.places.1);
                unknown |= 1 << i;
            }
        }
    }
    if unknown != 0 {
        unknown = resolve_elsewhere(unknown, ingress, notes, context);
    }
    packets & !unknown
}

/// The same for packets whose destination is not in its own line of the front: it may be elsewhere in the FDB. Returns the packets that are left.
#[inline(never)]
fn resolve_elsewhere(packets: u64, ingress: PortId, notes: &mut Notes, context: &mut Context<'_>) -> u64 {
    let mut unknown = packets;
    for i in bits(packets) {
        let note = &mut notes.packets[i];
        let vlan = &context.tables.vlans[note.admitted.vlan as usize];
        if let Some(port) = context.fdb.port_from_anywhere(note.places.1, note.dst, context.tick)
            && vlan.egress[port.index()] as u8 == note.admitted.tag as u8
            && port != ingress
        {
            note.verdict = Some(Verdict::Forward(port));
            unknown &= !(1 << i);
        }
    }
    unknown
}

/// The MAC lane of the packets whose destination is unknown, here, blocked, or wants another tag. Those to the switch are so again: the
/// long way tells them apart and begins anew.
#[inline(never)]
fn resolve_unknown(packets: u64, ingress: PortId, notes: &mut Notes, context: &Context<'_>) {
    for i in bits(packets & notes.addressed) {
        notes.packets[i].headers.dst = context.tables.own_mac.raw();
    }
    for i in bits(packets & !notes.addressed) {
        let vlan = &context.tables.vlans[notes.packets[i].admitted.vlan as usize];
        notes.packets[i].verdict = Some(by_mac(context.fdb, context.tick, vlan, notes.packets[i].dst, ingress));
        note_tag(i, vlan, notes);
    }
}

/// What look-ups of one burst have in common, as long as its frames are of one VLAN.
struct Lookup<'a> {
    ingress: PortId,
    tables: &'a Tables,
    ages: Ages,
    /// That of `vlan`.
    index: VlanIndex,
    vlan: Option<(&'a VlanTable, u16)>,
}

impl<'a> Lookup<'a> {
    #[inline(always)]
    fn new(ingress: PortId, context: &Context<'a>) -> Lookup<'a> {
        Lookup { ingress, tables: context.tables, ages: context.fdb.ages(context.tick), index: NO_VLAN, vlan: None }
    }

    /// The one case that matters: the destination is known, elsewhere, and the port it is behind sends the frame as it is. `None` says nothing.
    #[inline(always)]
    fn known(&mut self, note: &Note, fdb: &Fdb) -> Option<PortId> {
        if note.admitted.vlan != self.index {
            self.index = note.admitted.vlan;
            self.vlan = self.tables.vlans.get(self.index as usize).map(|vlan| (vlan, fdb.vlan_generation(vlan.vid)));
        }
        let (vlan, generation) = self.vlan?;
        let port = fdb.port_of(note.places.1, generation, self.ages)?;
        (vlan.egress[port.index()] as u8 == note.admitted.tag as u8 && port != self.ingress).then_some(port)
    }
}

/// Notes whether a packet that leaves by one port needs another tag.
#[inline(always)]
pub(crate) fn note_tag(i: usize, vlan: &VlanTable, notes: &mut Notes) {
    if let Some(Verdict::Forward(port)) = notes.packets[i].verdict {
        let tagged = vlan.egress[port.index()] == Egress::Tagged;
        let tag = notes.packets[i].admitted.tag;
        // A priority tag stays on nowhere: it becomes the VLAN's, or goes (IEEE 802.1Q §6.9).
        let differs = (tagged != (tag == TagState::Tagged)) | (tag == TagState::Priority);
        notes.retagged |= (differs as u64) << i;
    }
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
            notes.packets[i].places.1 = context.fdb.place(notes.packets[i].dst);
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

    if ethertype == EtherType::ARP
        || ethertype == EtherType::IPV6
        || (ethertype == EtherType::IPV4 && headers.dst == MacAddr::BROADCAST.raw())
    {
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

enum Interest {
    /// Control gets the frame, nobody else.
    Punt(PuntReason),
    /// Control gets a copy.
    Copy(PuntReason),
}

/// What control wants of ARP, neighbour discovery and DHCP.
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
            // An answer to the switch itself is for control alone: it has asked.
            let to_us = arp.operation == Operation::Reply && headers.dst == tables.own_mac.raw();
            let interest = if to_us { Interest::Punt(PuntReason::ArpLearn) } else { Interest::Copy(PuntReason::ArpLearn) };
            lanes.learn_neighbors.then_some(interest)
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
        EtherType::IPV4 if lanes.learn_neighbors => {
            // What clients and servers of DHCP send to everybody; what it says is for control to read.
            let header = payload.first_chunk::<IPV4_HEADER_LEN>()?;
            let ports = payload.get(usize::from(header[0] & 0x0f) * 4..)?.first_chunk::<4>()?;
            let to = u16::from_be_bytes([ports[2], ports[3]]);
            let dhcp = header[9] == Protocol::UDP.0 && (to == dhcp::SERVER_PORT || to == dhcp::CLIENT_PORT);
            dhcp.then_some(Interest::Copy(PuntReason::DhcpLearn))
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
