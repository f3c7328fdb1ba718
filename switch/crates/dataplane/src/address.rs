//! Addressing: whom are packets to the switch itself for? Then the lines of the FDB are asked for, a burst ahead of their use.
//!
//! What is plain to see is found out here: a message to a MAC, an IPv4 packet to a known neighbour. From then on such a packet is like any
//! other, with another destination. The rest waits for [`resolve`](crate::resolve).

use port::{Burst, PoolCache};
use wire::ethernet::{EtherType, HEADER_LEN};
use wire::message::Header;
use wire::vlan::TAG_LEN;
use wire::{MacAddr, Vid};

use crate::admit::TagState;
use crate::pipeline::{Context, Note, Notes, bits};
use crate::tables::Tables;

/// Finds out the destination of packets to the switch where that is plain, and asks for the lines of sources and destinations.
#[inline]
pub fn address(burst: &Burst, notes: &mut Notes, context: &Context<'_>) {
    notes.addressed = 0;
    let others = notes.admitted_mask & !notes.plain;
    if others != 0 {
        address_others(others, burst, notes, context.tables, context.pool);
    }
    for note in notes.packets.iter_mut().take(burst.len()) {
        note.places = (context.fdb.place(note.src), context.fdb.place(note.dst));
    }
}

#[inline(never)]
fn address_others(others: u64, burst: &Burst, notes: &mut Notes, tables: &Tables, pool: &PoolCache) {
    if tables.lanes.message {
        notes.addressed = address_messages(others, burst, notes, tables, pool);
    }
    let rest = others & !notes.addressed;
    if tables.lanes.ip && rest != 0 {
        notes.addressed |= address_packets(rest, burst, notes, tables, pool);
    }
    notes.plain |= notes.addressed;
}

/// Gives messages to us their final destination, if it is a MAC; returns which they were.
#[inline(always)]
fn address_messages(others: u64, burst: &Burst, notes: &mut Notes, tables: &Tables, pool: &PoolCache) -> u64 {
    let own = tables.own_mac.raw();
    let mut addressed = 0u64;
    for i in bits(others) {
        let (note, Some(packet)) = (&mut notes.packets[i], burst.get(i)) else { continue };
        if !is_for_lane(note, EtherType::MESSAGE, own) {
            continue;
        }
        let payload = note.headers.payload as usize;
        let Some(bytes) = pool.head(packet).get(payload..) else { continue };
        if let Some(mac) = Header::final_mac(bytes, note.len as usize - payload) {
            readdress(note, mac);
            addressed |= 1 << i;
        }
    }
    addressed
}

/// Gives IPv4 packets to us the MAC of the neighbour they are for; returns which they were.
#[inline(never)]
fn address_packets(others: u64, burst: &Burst, notes: &mut Notes, tables: &Tables, pool: &PoolCache) -> u64 {
    let own = tables.own_mac.raw();
    let mut addressed = 0u64;
    for i in bits(others) {
        let (note, Some(packet)) = (&mut notes.packets[i], burst.get(i)) else { continue };
        if !is_for_lane(note, EtherType::IPV4, own) {
            continue;
        }
        let bytes = pool.head(packet).get(note.headers.payload as usize..).unwrap_or_default();
        let vid = Vid::new((note.dst >> 48) as u16);
        if let Some(mac) = vid.and_then(|vid| neighbor(tables, vid, EtherType::IPV4, bytes)) {
            readdress(note, mac.raw());
            addressed |= 1 << i;
        }
    }
    addressed
}

/// A frame to us, without tags beside the one of its VLAN.
#[inline(always)]
fn is_for_lane(note: &Note, ethertype: EtherType, own: u64) -> bool {
    note.headers.ethertype == ethertype.0 && note.headers.dst == own && !has_payload_tags(note.headers.payload, note.admitted.tag)
}

/// Gives a packet another destination.
#[inline(always)]
fn readdress(note: &mut Note, mac: u64) {
    note.headers.dst = mac;
    note.dst = note.dst & 0xffff << 48 | mac;
}

/// Has the frame, whose payload begins at `payload`, tags beside the one of its VLAN? They are payload, and so is what is behind
/// them: a customer's addresses in a tunnel are not those of the tunnel's VLAN.
#[inline(always)]
pub(crate) fn has_payload_tags(payload: u8, tag: TagState) -> bool {
    payload as usize != HEADER_LEN + if tag == TagState::Untagged { 0 } else { TAG_LEN }
}

/// The IP lane: who has the packet's destination?
pub(crate) fn neighbor(tables: &Tables, vid: Vid, ethertype: EtherType, payload: &[u8]) -> Option<MacAddr> {
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
