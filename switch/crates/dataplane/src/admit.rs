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

use crate::fdb::Fdb;
use crate::pipeline::Notes;
use crate::tables::{Egress, NO_VLAN, PortTable, Tables, TagMode, VlanIndex};
use crate::verdict::{DropReason, Verdict};

/// Packets ahead whose first line is asked for while one is parsed.
const PREFETCH_AHEAD: usize = 8;

/// The tag of a frame, as its VLAN sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TagState {
    /// None, or one that is payload to this port.
    #[default]
    Untagged,
    /// The VLAN's own.
    Tagged,
    /// VID 0: a priority without a VLAN.
    Priority,
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
    for (i, ((packet, headers), verdict)) in packets.iter().zip(&mut notes.headers).zip(&mut notes.verdicts).enumerate() {
        if let Some(ahead) = packets.get(i + PREFETCH_AHEAD) {
            pool.prefetch(ahead);
        }
        match Headers::parse(pool.head(packet)) {
            Some(parsed) => {
                *headers = parsed;
                *verdict = None;
            }
            None => {
                *headers = Headers::default();
                *verdict = Some(Verdict::Drop(DropReason::Runt));
            }
        }
    }
}

/// Decides for each packet whether it may enter, and in which VLAN. Packets that have a verdict keep it.
///
/// The lines of the FDB that learning and resolving will read are asked for here, a burst ahead of their use.
#[inline]
pub fn admit(burst: &Burst, ingress: PortId, tables: &Tables, fdb: &Fdb, notes: &mut Notes) {
    let port = &tables.ports[ingress.index()];
    let own = tables.own_mac.raw();
    let own_vlan = tables.vlans.get(port.pvid as usize).filter(|_| port.forwarding);
    let own_vid = own_vlan.map_or(0, |vlan| (vlan.vid.get() as u64) << 48);
    let len_max = port.frame_len_max as usize;
    let (mut admitted_mask, mut plain) = (0u64, 0u64);
    let Notes { headers, admitted, src, dst, slots, verdicts, .. } = notes;
    let found = admitted.iter_mut().zip(src.iter_mut()).zip(dst.iter_mut()).zip(slots.iter_mut());
    for (i, (((packet, headers), verdict), (((admitted, src), dst), slots))) in
        burst.iter().zip(headers.iter()).zip(verdicts.iter_mut()).zip(found).enumerate()
    {
        let sound = (headers.src & 1 == 0)
            & (headers.src != 0)
            & (headers.src != own)
            & !is_link_local(headers.dst)
            & (packet.len() <= len_max)
            & !headers.tagged
            & (own_vid != 0);
        let vid = if sound {
            *admitted = Admitted { vlan: port.pvid, tag: TagState::Untagged };
            own_vid
        } else {
            if verdict.is_some() {
                continue;
            }
            match classify(port, ingress, own, headers, packet.len(), tables) {
                Ok(found) => {
                    *admitted = found;
                    (tables.vlans[found.vlan as usize].vid.get() as u64) << 48
                }
                Err(reason) => {
                    *verdict = Some(Verdict::Drop(reason));
                    continue;
                }
            }
        };
        *src = headers.src | vid;
        *dst = headers.dst | vid;
        *slots = (fdb.slot(*src), fdb.slot(*dst));
        admitted_mask |= 1 << i;
        let is_plain = (headers.dst & 1 == 0)
            & (headers.dst != own)
            & (headers.ethertype != EtherType::ARP.0)
            & (headers.ethertype != EtherType::IPV6.0);
        plain |= (is_plain as u64) << i;
    }
    notes.admitted_mask = admitted_mask;
    notes.plain = plain;
}

/// The whole decision for one frame, or the first reason to keep it out.
#[inline(never)]
fn classify(port: &PortTable, ingress: PortId, own: u64, headers: &Headers, len: usize, tables: &Tables) -> Result<Admitted, DropReason> {
    if len > port.frame_len_max as usize {
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
