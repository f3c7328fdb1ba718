//! The message lane: FIG. 5 to 7 of the patent document.
//!
//! A message whose initial destination is the switch's own address is acquired [48]; its final destination is resolved, a MAC
//! through the FDB, an IP address through the neighbor table; the initial destination is overwritten with it [48], so that afterwards both
//! are the same [49]; and it goes out. Messages that are not for the switch are bridged like any frame.

use port::PortId;
use wire::message::{Final, Header, MessageType};

use crate::fdb::Fdb;
use crate::resolve::by_mac;
use crate::tables::{Tables, VlanTable};
use crate::verdict::{DropReason, PuntReason, Verdict};

/// Where a message to the switch goes, and the initial destination it gets.
///
/// `payload` is what follows the EtherType as far as it lies in the first buffer, `len` its length in all.
pub fn resolve(
    payload: &[u8],
    len: usize,
    vlan: &VlanTable,
    ingress: PortId,
    fdb: &Fdb,
    tables: &Tables,
    tick: u32,
) -> (Verdict, Option<u64>) {
    let Ok(header) = Header::parse_prefix(payload, len) else {
        return (Verdict::Drop(DropReason::MessageMalformed), None);
    };
    // Broadcast and multicast finals [55]: everybody gets it.
    if let Some(group) = header.final_destination.group_mac() {
        return (Verdict::Flood, Some(group.raw()));
    }
    let mac = match header.final_destination {
        Final::Mac(mac) => Some(mac),
        Final::Ipv4(ip) => tables.neighbors.v4(vlan.vid, ip),
        Final::Ipv6(ip) => tables.neighbors.v6(vlan.vid, ip),
    };
    let Some(mac) = mac else {
        return (Verdict::Drop(DropReason::FinalUnknown), None);
    };
    if mac == tables.own_mac {
        return (Verdict::Punt(PuntReason::Message), None);
    }
    match by_mac(fdb, tick, vlan, mac.raw(), ingress) {
        // Nobody has heard this MAC. One the sender named is not known; one the neighbor table vouches for is there, only
        // silent, and is looked for as any bridge would.
        Verdict::Flood if matches!(header.final_destination, Final::Mac(_)) => (Verdict::Drop(DropReason::FinalUnknown), None),
        verdict => (verdict, Some(mac.raw())),
    }
}

/// A broadcast message that the switch itself must see as well.
pub fn is_for_switch(payload: &[u8], len: usize) -> bool {
    Header::parse_prefix(payload, len).is_ok_and(|header| header.message_type == MessageType::IdentityRequest)
}
