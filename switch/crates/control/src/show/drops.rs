//! Frames that went nowhere: how many, where, why, and what the reason means.

use dataplane::verdict::DropReason;
use port::PortId;
use serde::{Deserialize, Serialize};

use crate::plane::Control;

/// `show drops`: what is not zero.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drops {
    /// Frames dropped in all.
    pub total: u64,
    /// By reason, in the order of the reasons.
    pub by_reason: Vec<ReasonDrop>,
    /// By port and reason.
    pub by_port: Vec<PortDrop>,
}

/// Frames dropped for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReasonDrop {
    /// [`DropReason::name`].
    pub reason: String,
    /// What it means.
    pub meaning: String,
    /// How many.
    pub count: u64,
}

/// Frames dropped at one port for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortDrop {
    /// Name of the port they came in by; for `tx-full`, `tx-down`, `tx-oversize`, `bus-full` and `cross-full`, of the one they would have
    /// left by.
    pub port: String,
    /// [`DropReason::name`].
    pub reason: String,
    /// How many.
    pub count: u64,
}

/// The frames that were dropped.
pub fn drops(control: &Control) -> Drops {
    let mut sums = [0u64; DropReason::COUNT];
    let mut by_port = Vec::new();
    for (index, port) in control.config().ports.iter().enumerate() {
        let counters = control.port_counters(PortId(index as u8));
        for (sum, &reason) in sums.iter_mut().zip(DropReason::ALL) {
            let count = counters.dropped(reason);
            *sum += count;
            if count > 0 {
                by_port.push(PortDrop { port: port.name.clone(), reason: reason.name().to_owned(), count });
            }
        }
    }
    let by_reason = DropReason::ALL.iter().zip(sums).filter(|(_, count)| *count > 0).map(|(&reason, count)| ReasonDrop {
        reason: reason.name().to_owned(),
        meaning: meaning(reason).to_owned(),
        count,
    });
    Drops { total: sums.iter().sum(), by_reason: by_reason.collect(), by_port }
}

/// What a reason means, in one sentence for an operator.
pub const fn meaning(reason: DropReason) -> &'static str {
    match reason {
        DropReason::Runt => "the frame is shorter than 60 bytes without FCS, the least Ethernet allows (IEEE 802.3 §3.2.7)",
        DropReason::Oversize => "the frame is longer than switch.max_frame, or than a chain of buffers holds",
        DropReason::Malformed => "what came in is not an Ethernet frame, or was damaged on the way",
        DropReason::SourceInvalid => "the source is a group address or zero, which no station has (IEEE 802.3 §3.2.3)",
        DropReason::SourceOwn => "the source is the switch's own address: there is a loop, or somebody pretends to be the switch",
        DropReason::LinkLocal => "the destination is one of 01:80:c2:00:00:00 to 0f, which no bridge forwards (IEEE 802.1Q table 8-1)",
        DropReason::PortBlocked => "the port it came in by does not forward: it is switched off or its link is down",
        DropReason::VlanUnknown => "it is tagged with a VLAN that is not configured, or with the reserved VID 4095",
        DropReason::VlanIngress => "the port it came in by does not carry its VLAN (ingress filtering), or takes no frames without tag",
        DropReason::VlanEgress => "the port its destination is behind does not carry its VLAN",
        DropReason::Hairpin => "its destination is behind the port it came in by: it has been delivered without the switch",
        DropReason::Blackhole => "its source or destination is a blackhole entry of the FDB",
        DropReason::EgressBlocked => "the port its destination is behind does not forward",
        DropReason::LinkDown => "the link its destination is behind is down",
        DropReason::NoMember => "it would be flooded, but its VLAN has no other port that takes it",
        DropReason::MessageMalformed => {
            "it is a message for the switch whose header is wrong: version, kind of address, or a length beyond the frame"
        }
        DropReason::FinalUnknown => "it is a message whose final destination is not known; its source gets a notice, if notices are on",
        DropReason::ControlRefused => "it is a control message, and the port it came in by may not send it (control of the port)",
        DropReason::NeighborUnknown => "it is an IP packet for the switch's address, and no neighbour is known to have its IP destination",
        DropReason::NotForUs => "it is for the switch's own address, but nothing the switch does",
        DropReason::NoBlade => "a rule steers it to a function of which no blade can take it (show functions)",
        DropReason::RateExceeded => "it is above the rate between the port it came in by and the one it would leave by (show rates)",
        DropReason::NoBuffer => "no packet buffer was free for it or for a copy of it: see pool.buffers",
        DropReason::TxFull => "the transmit queue of the port was full: more came than the link carries",
        DropReason::TxDown => "the interface of the port was gone, switched off or without link when its turn came",
        DropReason::TxOversize => "it is longer than the interface of the port sends (its MTU)",
        DropReason::BusFull => "the queue of its sender for the bus of the backplane was full: it sends more than its part of the bus",
        DropReason::CrossFull => "the ring to the worker that owns the transmit queue was full: that worker is behind",
        DropReason::PuntFull => "the ring to control was full: more ARP, neighbour discovery or messages than control handles",
        DropReason::LaneOff => "it is for the switch's own address, and the lane that would handle it is switched off ([lanes])",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_meaning_of_its_own() {
        let meanings: std::collections::HashSet<&str> = DropReason::ALL.iter().map(|&reason| meaning(reason)).collect();
        assert_eq!(meanings.len(), DropReason::COUNT);
    }
}
