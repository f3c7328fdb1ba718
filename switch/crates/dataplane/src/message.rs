//! The message lane: FIG. 5 to 7 of the patent document.
//!
//! A message whose initial destination is the switch's own address is acquired (paragraph 48); its final destination is resolved, a MAC
//! through the FDB, an IP address through the neighbor table; the initial destination is overwritten with it (48), so that afterwards both
//! are the same (49); and it goes out. Messages that are not for the switch are bridged like any frame.

use wire::message::{Final, Header, MessageType};
use wire::{MacAddr, Vid};

use crate::tables::{ControlRights, Tables};
use crate::verdict::DropReason;

/// Whom a message to the switch is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    /// The station with this address: its initial destination is overwritten with it.
    Mac {
        /// The address.
        mac: MacAddr,
        /// The final destination is a MAC. One that the FDB does not know is not known at all, whereas one that the neighbor
        /// table vouches for is there, only silent, and is looked for as any bridge would.
        named_by_sender: bool,
    },
    /// Everybody who listens to this group address (paragraph 55).
    Group(MacAddr),
    /// The switch itself.
    Switch,
    /// Nobody.
    Nobody(DropReason),
}

/// Whom a message to the switch is for. `payload` is what follows the EtherType as far as it lies in the first buffer, `len`
/// its length in all; `rights` are those of the port it came in by.
#[inline]
pub fn whom(payload: &[u8], len: usize, vid: Vid, rights: ControlRights, tables: &Tables) -> Whom {
    let Ok(header) = Header::parse_prefix(payload, len) else {
        return Whom::Nobody(DropReason::MessageMalformed);
    };
    if !rights.allow(header.message_type) {
        return Whom::Nobody(DropReason::ControlRefused);
    }
    match header.final_destination.group_mac() {
        // The switch must not send what it would not forward (IEEE 802.1Q table 8-1).
        Some(group) if group.is_link_local() => return Whom::Nobody(DropReason::LinkLocal),
        Some(group) => return Whom::Group(group),
        None => {}
    }
    let (mac, named_by_sender) = match header.final_destination {
        Final::Mac(mac) => (Some(mac), true),
        Final::Ipv4(ip) => (tables.neighbors.v4(vid, ip), false),
        Final::Ipv6(ip) => (tables.neighbors.v6(vid, ip), false),
    };
    match mac {
        None => Whom::Nobody(DropReason::FinalUnknown),
        Some(mac) if mac == tables.own_mac => Whom::Switch,
        Some(mac) => Whom::Mac { mac, named_by_sender },
    }
}

/// What becomes of a message to a group address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broadcast {
    /// It is flooded, as any frame.
    Flood,
    /// It is flooded, and the switch itself must see it as well.
    FloodAndCopy,
    /// It is a control message that the port it came in by may not send.
    Refuse,
}

/// What becomes of a message to a group address; arguments as of [`whom`].
pub fn broadcast(payload: &[u8], len: usize, rights: ControlRights) -> Broadcast {
    match Header::parse_prefix(payload, len).map(|header| header.message_type) {
        Ok(refused) if !rights.allow(refused) => Broadcast::Refuse,
        Ok(MessageType::IdentityRequest | MessageType::Hello | MessageType::Ack) => Broadcast::FloodAndCopy,
        Ok(_) | Err(_) => Broadcast::Flood,
    }
}
