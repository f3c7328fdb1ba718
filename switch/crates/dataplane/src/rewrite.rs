//! Rewriting: the initial destination, and tags.
//!
//! Plain frames pass through here untouched: a frame is written only if its destination was resolved anew or its tag is not what the port it
//! leaves by wants. A buffer that others share is copied first.

use port::{Burst, Packet, PoolCache};
use wire::headers::FRAME_LEN_MIN;
use wire::vlan::{TAG_LEN, TPID_8021Q};
use wire::{Tci, Vid};

use crate::admit::TagState;
use crate::pipeline::{Context, Notes, bits};
use crate::tables::Egress;
use crate::verdict::{DropReason, Verdict};

/// Rewrites what has to be. Flooded frames get their tags when they are copied (see [`crate::transmit`]).
#[inline]
pub fn rewrite(burst: &mut Burst, notes: &mut Notes, context: &mut Context<'_>) {
    for i in bits(notes.readdressed) {
        if !set_destination(context.pool, &mut burst[i], notes.packets[i].headers.dst) {
            notes.packets[i].verdict = Some(Verdict::Drop(DropReason::NoBuffer));
        }
    }
    for i in bits(notes.retagged) {
        if let Some(Verdict::Forward(port)) = notes.packets[i].verdict {
            let admitted = notes.packets[i].admitted;
            let vlan = &context.tables.vlans[admitted.vlan as usize];
            let tagged = vlan.egress[port.index()] == Egress::Tagged;
            if !retag(context.pool, &mut burst[i], admitted.tag, tagged, vlan.vid) {
                notes.packets[i].verdict = Some(Verdict::Drop(DropReason::NoBuffer));
            }
        }
    }
}

/// Overwrites the destination address; `false` if the buffer is shared and there is none for a copy.
#[inline(always)]
fn set_destination(pool: &mut PoolCache, packet: &mut Packet, dst: u64) -> bool {
    match pool.start_mut(packet) {
        Some(start) => {
            set_destination_in(start, dst);
            true
        }
        None => set_destination_of_any(pool, packet, dst),
    }
}

#[inline(never)]
fn set_destination_of_any(pool: &mut PoolCache, packet: &mut Packet, dst: u64) -> bool {
    if !own(pool, packet) {
        return false;
    }
    if let Some(start) = pool.bytes_mut(packet).and_then(|bytes| bytes.first_chunk_mut()) {
        set_destination_in(start, dst);
    }
    true
}

/// Destination and the first two octets of the source in one word.
#[inline(always)]
fn set_destination_in(start: &mut [u8; 8], dst: u64) {
    *start = (u64::from_le_bytes(*start) & 0xffff_0000_0000_0000 | dst).to_le_bytes();
}

/// Gives the frame the tag it is to leave with; `false` if the buffer is shared and there is none for a copy.
pub(crate) fn retag(pool: &mut PoolCache, packet: &mut Packet, tag: TagState, tagged: bool, vid: Vid) -> bool {
    match (tag, tagged) {
        (TagState::Tagged, true) | (TagState::Untagged, false) => return true,
        _ => {}
    }
    if !own(pool, packet) {
        return false;
    }
    match (tag, tagged) {
        (TagState::Untagged, true) => push_tag(pool, packet, vid),
        (TagState::Priority, true) => {
            if let Some(tci) = pool.bytes_mut(packet).and_then(|bytes| bytes.get_mut(14..16)?.first_chunk_mut::<2>()) {
                *tci = Tci(u16::from_be_bytes(*tci)).with_vid(vid).0.to_be_bytes();
            }
            true
        }
        (TagState::Tagged | TagState::Priority, false) => pop_tag(pool, packet),
        (TagState::Tagged, true) | (TagState::Untagged, false) => true,
    }
}

fn push_tag(pool: &mut PoolCache, packet: &mut Packet, vid: Vid) -> bool {
    if !pool.push_front(packet, TAG_LEN) {
        return false;
    }
    if let Some(bytes) = pool.bytes_mut(packet) {
        bytes.copy_within(TAG_LEN..TAG_LEN + 12, 0);
        bytes[12..14].copy_from_slice(&TPID_8021Q.to_be_bytes());
        bytes[14..16].copy_from_slice(&vid.get().to_be_bytes());
    }
    true
}

fn pop_tag(pool: &mut PoolCache, packet: &mut Packet) -> bool {
    if let Some(bytes) = pool.bytes_mut(packet) {
        bytes.copy_within(0..12, TAG_LEN);
    }
    // What is left may be shorter than a frame may be: the MAC pads it (IEEE 802.1Q §6.1.1 with 802.3 §4.2.8).
    pool.pop_front(packet, TAG_LEN) && pool.pad_to(packet, FRAME_LEN_MIN)
}

/// Makes sure that nobody shares the buffer: a copy if need be.
fn own(pool: &mut PoolCache, packet: &mut Packet) -> bool {
    if !packet.is_shared() || pool.bytes_mut(packet).is_some() {
        return true;
    }
    let Some(copy) = pool.copy(packet) else { return false };
    let shared = std::mem::replace(packet, copy);
    pool.free(shared);
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use port::{Hugepages, Mempool};

    fn bytes(pool: &PoolCache, packet: &Packet) -> Vec<u8> {
        let mut bytes = Vec::new();
        pool.copy_to(packet, &mut bytes);
        bytes
    }

    #[test]
    fn every_change_of_tag() {
        let mempool = Mempool::new(64, Hugepages::Never).unwrap();
        let mut pool = mempool.cache();
        let vid = Vid::new(10).unwrap();
        for body in [46usize, 3000] {
            let macs: Vec<u8> = (1..=12).collect();
            let rest: Vec<u8> = [0x08, 0x00].into_iter().chain((0..body).map(|i| i as u8)).collect();
            let untagged = [&macs[..], &rest].concat();
            let tagged = [&macs[..], &[0x81, 0, 0, 10], &rest].concat();
            let priority = [&macs[..], &[0x81, 0, 0xa0, 0], &rest].concat();
            let cases = [
                (&untagged, TagState::Untagged, false, untagged.clone()),
                (&untagged, TagState::Untagged, true, tagged.clone()),
                (&tagged, TagState::Tagged, true, tagged.clone()),
                (&tagged, TagState::Tagged, false, untagged.clone()),
                (&priority, TagState::Priority, false, untagged.clone()),
                (&priority, TagState::Priority, true, [&macs[..], &[0x81, 0, 0xa0, 10], &rest].concat()),
            ];
            for (frame, tag, out, expected) in cases {
                let mut packet = pool.alloc_copy(frame).unwrap();
                let other = pool.share(&mut packet);
                assert!(retag(&mut pool, &mut packet, tag, out, vid));
                assert_eq!(bytes(&pool, &packet), expected, "{tag:?} to {out}");
                assert_eq!(&bytes(&pool, &other), frame, "who shares the buffer sees no change");
                pool.free(packet);
                pool.free(other);
            }
        }
        pool.flush();
        assert_eq!(mempool.in_use(), 0);
    }

    #[test]
    fn a_minimum_frame_that_loses_its_tag_is_padded() {
        let mempool = Mempool::new(4, Hugepages::Never).unwrap();
        let mut pool = mempool.cache();
        let mut frame = vec![0xee; 60];
        frame[12..16].copy_from_slice(&[0x81, 0, 0, 10]);
        let mut packet = pool.alloc_copy(&frame).unwrap();
        assert!(retag(&mut pool, &mut packet, TagState::Tagged, false, Vid::new(10).unwrap()));
        assert_eq!(bytes(&pool, &packet), [&[0xee; 56][..], &[0; 4]].concat());
        pool.free(packet);
    }
}
