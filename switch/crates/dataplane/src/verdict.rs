//! What becomes of a frame, and why.
//!
//! A frame never causes an error value: it gets a verdict. Each reason is a counter with one name, the same in the CLI,
//! the metrics and the captures.

use port::PortId;
use serde::Serialize;

/// What the pipeline decided for a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Out of this one port.
    Forward(PortId),
    /// Out of every other port of its VLAN.
    Flood,
    /// To control, and nowhere else.
    Punt(PuntReason),
    /// Nowhere.
    Drop(DropReason),
}

macro_rules! reasons {
    ($(#[$doc:meta])* $name:ident { $($(#[$reason_doc:meta])* $reason:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum $name { $($(#[$reason_doc])* $reason,)* }

        impl $name {
            /// Every reason, in the order of their counters.
            pub const ALL: &[$name] = &[$($name::$reason,)*];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The name in CLI, metrics and captures.
            pub const fn name(self) -> &'static str {
                match self { $($name::$reason => $text,)* }
            }

            /// The reason of this name.
            pub fn from_name(name: &str) -> Option<$name> {
                Self::ALL.iter().copied().find(|reason| reason.name() == name)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

reasons! {
    /// Why a frame went nowhere.
    DropReason {
        /// Shorter than 60 bytes without FCS (IEEE 802.3 §3.2.7).
        Runt = "runt",
        /// Longer than the switch's `max_frame`, or than a buffer chain holds.
        Oversize = "oversize",
        /// Not an Ethernet frame, or damaged on the way in.
        Malformed = "malformed",
        /// The source is a group address or zero (IEEE 802.3 §3.2.3: a source is individual).
        SourceInvalid = "source-invalid",
        /// The source is the switch's own address: a loop or a spoofer.
        SourceOwn = "source-own",
        /// To 01:80:C2:00:00:00 to 0F, which no bridge forwards (IEEE 802.1Q table 8-1).
        LinkLocal = "link-local",
        /// The port it came in by does not forward.
        PortBlocked = "port-blocked",
        /// Tagged with a VLAN nobody has configured, or with the reserved VID 4095.
        VlanUnknown = "vlan-unknown",
        /// The port it came in by is not a member of its VLAN (ingress filtering), or does not admit it.
        VlanIngress = "vlan-ingress",
        /// The port it would leave by is not a member of its VLAN.
        VlanEgress = "vlan-egress",
        /// Its way out is the port it came in by.
        Hairpin = "hairpin",
        /// Source or destination is a blackhole entry of the FDB.
        Blackhole = "blackhole",
        /// The port it would leave by does not forward.
        EgressBlocked = "egress-blocked",
        /// The link it would leave by is down.
        LinkDown = "link-down",
        /// To be flooded, but its VLAN has no other port that forwards.
        NoMember = "no-member",
        /// A message whose header is wrong: version, kind of address, or a length beyond the frame.
        MessageMalformed = "message-malformed",
        /// A message whose final destination is not known.
        FinalUnknown = "final-unknown",
        /// A control message from a port that may not send it.
        ControlRefused = "control-refused",
        /// An IP packet for the switch's address whose IP destination no neighbour has.
        NeighborUnknown = "neighbor-unknown",
        /// To the switch's own address, but nothing the switch does.
        NotForUs = "not-for-us",
        /// A rule steers it to a function, and no blade of that can take it.
        NoBlade = "no-blade",
        /// More than the rate between the port it came in by and the one it would leave by.
        RateExceeded = "rate-exceeded",
        /// No free buffer for the copy that was needed.
        NoBuffer = "no-buffer",
        /// The transmit queue is full.
        TxFull = "tx-full",
        /// The interface of the transmit queue is gone, switched off or without link.
        TxDown = "tx-down",
        /// Longer than the interface of the transmit queue sends.
        TxOversize = "tx-oversize",
        /// The sender's queue for the bus of the port's backplane is full.
        BusFull = "bus-full",
        /// The ring to the worker that owns the transmit queue is full.
        CrossFull = "cross-full",
        /// The ring to control is full.
        PuntFull = "punt-full",
        /// The feature that would handle it is switched off.
        LaneOff = "lane-off",
    }
}

reasons! {
    /// Why a frame (or a copy of it) went to control.
    PuntReason {
        /// ARP, a copy to learn the sender from.
        ArpLearn = "arp-learn",
        /// An ARP request that control answers.
        ArpAnswer = "arp-answer",
        /// Neighbour discovery, a copy to learn from.
        NdLearn = "nd-learn",
        /// A neighbour solicitation that control answers.
        NdAnswer = "nd-answer",
        /// A client or server of DHCP to everybody, a copy to learn from.
        DhcpLearn = "dhcp-learn",
        /// A message for the switch itself.
        Message = "message",
        /// What the switch blade of another chassis says over a trunk.
        Chassis = "chassis",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_lead_back() {
        for reason in DropReason::ALL {
            assert_eq!(DropReason::from_name(reason.name()), Some(*reason));
        }
        for reason in PuntReason::ALL {
            assert_eq!(PuntReason::from_name(reason.name()), Some(*reason));
        }
    }

    #[test]
    fn a_verdict_is_two_bytes() {
        assert_eq!(size_of::<Option<Verdict>>(), 2);
    }
}
