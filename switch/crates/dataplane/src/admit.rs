//! Parsing and admission: may this frame enter, and in which VLAN?
//!
//! Admission runs before learning, so that a frame we refuse teaches us nothing. The order of the checks is that of IEEE
//! 802.1Q's forwarding process (§8.6): the frame itself, the port, the VLAN.
//!
//! An 802.1ad tag outside counts as payload: this is a customer bridge (IEEE 802.1Q §5.9); such frames travel in the port's own VLAN.
//! Left out on purpose: protocol VLANs, and anything that needs state between frames.

use port::{BURST_MAX, Burst, PoolCache, PortId};
use wire::ethernet::EtherType;
use wire::headers::Headers;

use crate::pipeline::{Notes, bits};
use crate::tables::{Egress, NO_VLAN, PortTable, Tables, TagMode, VlanIndex};
use crate::verdict::{DropReason, PuntReason, Verdict};

/// Packets ahead whose first line is asked for while one is parsed.
const PREFETCH_AHEAD: usize = 8;

/// The tag of a frame, as its VLAN sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum TagState {
    /// None, or one that is payload to this port.
    #[default]
    Untagged = Egress::Untagged as u8,
    /// The VLAN's own.
    Tagged = Egress::Tagged as u8,
    /// VID 0: a priority without a VLAN.
    Priority = 16,
}

/// What admission found out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Admitted {
    /// The frame's VLAN; of no meaning if it was refused.
    pub vlan: VlanIndex,
    /// Its tag.
    pub tag: TagState,
}

/// Reads the headers of each packet; runts are dropped.
#[inline]
pub fn parse(burst: &Burst, pool: &PoolCache, notes: &mut Notes) {
    let packets = &burst[..burst.len().min(BURST_MAX)];
    for packet in packets.iter().take(PREFETCH_AHEAD) {
        pool.prefetch(packet);
    }
    for (i, (packet, note)) in packets.iter().zip(&mut notes.packets).enumerate() {
        if let Some(ahead) = packets.get(i + PREFETCH_AHEAD) {
            pool.prefetch(ahead);
        }
        note.len = packet.len() as u16;
        // A runt's source is no address, so admission looks at it once more.
        let sound = note.headers.parse_into(pool.head(packet));
        note.verdict = if sound { None } else { Some(Verdict::Drop(DropReason::Runt)) };
    }
}

/// Decides for each packet whether it may enter, and in which VLAN. Packets that have a verdict keep it.
///
/// First what raises no question, which is nearly everything, in a short loop with its few values in registers; then what does.
#[inline]
pub fn admit(count: usize, ingress: PortId, tables: &Tables, notes: &mut Notes) {
    let all = if count < BURST_MAX { (1 << count) - 1 } else { u64::MAX };
    let (unsure, plain) = admit_untagged(count, &tables.ports[ingress.index()], tables, notes);
    notes.admitted_mask = all & !unsure;
    notes.plain = plain & !unsure;
    if unsure != 0 {
        admit_others(unsure, ingress, tables, notes);
    }
}

/// Untagged frames with sound addresses, by a port that takes them. Returns those that are not like that, and those for one station's
/// MAC and nothing else.
#[inline(always)]
fn admit_untagged(count: usize, port: &PortTable, tables: &Tables, notes: &mut Notes) -> (u64, u64) {
    let own = tables.own_mac.raw();
    let own_vlan = tables.vlans.get(port.pvid as usize).filter(|_| port.forwarding);
    let vid = own_vlan.map_or(0, |vlan| (vlan.vid.get() as u64) << 48);
    // A port that has no VLAN for untagged frames takes none without a question.
    let len_max = own_vlan.map_or(0, |_| port.frame_len_max);
    let (mut unsure, mut plain, mut bit) = (0u64, 0u64, 1u64);
    for note in notes.packets.iter_mut().take(count) {
        let Headers { src, dst, ethertype, tagged, .. } = note.headers;
        note.src = src | vid;
        note.dst = dst | vid;
        note.admitted = Admitted { vlan: port.pvid, tag: TagState::Untagged };
        if src & 1 != 0 || src == 0 || src == own || is_link_local(dst) || note.len > len_max || tagged {
            unsure |= bit;
        }
        plain |= if is_plain(dst, ethertype, own) { bit } else { 0 };
        bit <<= 1;
    }
    (unsure, plain)
}

#[inline(never)]
fn admit_others(unsure: u64, ingress: PortId, tables: &Tables, notes: &mut Notes) {
    let port = &tables.ports[ingress.index()];
    let own = tables.own_mac.raw();
    for i in bits(unsure) {
        let note = &mut notes.packets[i];
        if note.verdict.is_some() {
            continue;
        }
        match classify(port, ingress, own, &note.headers, note.len, tables) {
            Ok(found) => {
                let Headers { src, dst, ethertype, .. } = note.headers;
                let vid = (tables.vlans[found.vlan as usize].vid.get() as u64) << 48;
                note.admitted = found;
                note.src = src | vid;
                note.dst = dst | vid;
                notes.admitted_mask |= 1 << i;
                notes.plain |= u64::from(is_plain(dst, ethertype, own)) << i;
            }
            Err(DropReason::LinkLocal) if port.chassis && is_chassis(&note.headers) => {
                // It has no VLAN; any will do.
                note.admitted = Admitted::default();
                note.verdict = Some(Verdict::Punt(PuntReason::Chassis));
            }
            Err(reason) => note.verdict = Some(Verdict::Drop(reason)),
        }
    }
}

/// For one station's MAC and nothing else? Whom frames to the switch itself are for is found out later.
#[inline(always)]
fn is_plain(dst: u64, ethertype: u16, own: u64) -> bool {
    (dst & 1 == 0) & (dst != own) & (ethertype != EtherType::ARP.0) & (ethertype != EtherType::IPV6.0)
}

/// The whole decision for one frame, or the first reason to keep it out.
#[inline]
fn classify(port: &PortTable, ingress: PortId, own: u64, headers: &Headers, len: u16, tables: &Tables) -> Result<Admitted, DropReason> {
    if len > port.frame_len_max {
        return Err(DropReason::Oversize);
    }
    if is_link_local(headers.dst) {
        return Err(DropReason::LinkLocal);
    }
    if headers.src & 1 != 0 || headers.src == 0 {
        return Err(DropReason::SourceInvalid);
    }
    if headers.src == own {
        return Err(DropReason::SourceOwn);
    }
    if !port.forwarding {
        return Err(DropReason::PortBlocked);
    }
    let own_vlan = |tag| if port.pvid == NO_VLAN { Err(DropReason::VlanIngress) } else { Ok(Admitted { vlan: port.pvid, tag }) };
    if !headers.tagged || port.mode == TagMode::Transparent {
        return own_vlan(TagState::Untagged);
    }
    if headers.tci.vid_field() == 0 {
        return own_vlan(TagState::Priority);
    }
    let vlan = tables.vlan_index[headers.tci.vid_field() as usize];
    if vlan == NO_VLAN {
        return Err(DropReason::VlanUnknown);
    }
    let admitted = match port.mode {
        TagMode::Access => vlan == port.pvid,
        TagMode::Trunk | TagMode::Transparent => {
            !port.ingress_filter || tables.vlans[vlan as usize].egress[ingress.index()] != Egress::NotMember
        }
    };
    if admitted { Ok(Admitted { vlan, tag: TagState::Tagged }) } else { Err(DropReason::VlanIngress) }
}

/// From the switch blade of another chassis? Its hellos go to 01:80:C2:00:00:0E.
#[inline]
fn is_chassis(headers: &Headers) -> bool {
    headers.dst == 0x0e00_00c2_8001 && headers.ethertype == EtherType::CHASSIS.0 && !headers.tagged
}

/// 01:80:C2:00:00:00 to 0F in raw form: the last octet is the highest byte.
#[inline(always)]
fn is_link_local(dst: u64) -> bool {
    dst & 0xf0ff_ffff_ffff == 0x0000_00c2_8001
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::MacAddr;

    #[test]
    fn link_local_in_raw_form_is_what_the_address_type_says() {
        for octets in
            [[0x01, 0x80, 0xc2, 0, 0, 0], [0x01, 0x80, 0xc2, 0, 0, 0x0f], [0x01, 0x80, 0xc2, 0, 0, 0x10], [0x01, 0x80, 0xc2, 0, 1, 0]]
        {
            let mac = MacAddr(octets);
            assert_eq!(is_link_local(mac.raw()), mac.is_link_local(), "{mac}");
        }
    }
}
