//! What control publishes and workers read: ports, VLANs, neighbours, what is switched on.
//!
//! Everything a worker would otherwise work out per packet is worked out here, once: which VLAN an untagged frame of a
//! port is in, what leaving a port in a VLAN means, who a flood reaches.
//!
//! Threads: made and published whole by control; read-only in the data plane.

use std::sync::Arc;

use port::PortId;
use wire::message::MessageType;
use wire::{MacAddr, Vid};

use crate::neighbor::Neighbors;
use crate::police::Rates;
use crate::steer::Steering;

/// Index of a VLAN in [`Tables::vlans`].
pub type VlanIndex = u16;

/// The VLAN of a frame that has none: nobody has configured its VID.
pub const NO_VLAN: VlanIndex = VlanIndex::MAX;

/// How a port treats the tags of frames that come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagMode {
    /// Tags are payload: every frame belongs to the port's VLAN (a bridge that knows no VLANs, or a Q-in-Q tunnel port).
    Transparent,
    /// Untagged and priority-tagged frames, and frames tagged with the port's own VLAN.
    Access,
    /// Tagged frames of the VLANs the port is a member of; untagged ones in the native VLAN, if there is one.
    Trunk,
}

/// Which control messages may come in by a port (paragraph 55 of the patent document): to the switch, and broadcast.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ControlRights {
    /// None.
    #[default]
    None,
    /// Those of a blade: Hello and Ack.
    Hello,
    /// All, those included that this version does not know.
    All,
}

impl ControlRights {
    /// May a message of this type come in? Those that are no control messages always may.
    pub fn allow(self, message_type: MessageType) -> bool {
        match self {
            ControlRights::All => true,
            ControlRights::Hello => {
                !message_type.is_control() || matches!(message_type, MessageType::Hello | MessageType::Ack | MessageType::Rate)
            }
            ControlRights::None => !message_type.is_control(),
        }
    }
}

/// A port as frames that come in by it see it.
#[derive(Clone, Debug)]
pub struct PortTable {
    /// Does it forward?
    pub forwarding: bool,
    /// How tags are treated.
    pub mode: TagMode,
    /// VLAN of frames without one; [`NO_VLAN`]: they are refused.
    pub pvid: VlanIndex,
    /// Refuse frames of VLANs the port is not a member of (IEEE 802.1Q §8.6.2).
    pub ingress_filter: bool,
    /// Learn source addresses.
    pub learning: bool,
    /// The longest frame admitted, without FCS.
    pub frame_len_max: u16,
    /// Control messages it may send.
    pub control: ControlRights,
    /// It leads to another chassis: what the switch blade there says to this one is for control.
    pub chassis: bool,
}

/// What leaving by a port means for a frame of a VLAN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Egress {
    /// The port is not a member.
    #[default]
    NotMember,
    /// It leaves without tag.
    Untagged,
    /// It leaves with the VLAN's tag.
    Tagged,
    /// The port does not forward.
    Blocked,
    /// The link is down.
    Down,
}

/// A VLAN and its ports.
#[derive(Clone, Debug)]
pub struct VlanTable {
    /// Its number.
    pub vid: Vid,
    /// Per port, what leaving by it means. As long as a port id can be large, so that no look-up needs a bounds check.
    pub egress: [Egress; 256],
    /// Ports that a flood leaves by untagged.
    pub flood_untagged: Vec<PortId>,
    /// Ports that a flood leaves by tagged.
    pub flood_tagged: Vec<PortId>,
    /// Ports that unknown unicast is not flooded to.
    pub no_unknown_unicast: u128,
}

/// Features that can be switched off; off costs nothing that could be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lanes {
    /// Resolve messages sent to the switch's own address.
    pub message: bool,
    /// Resolve IP packets sent to the switch's own address.
    pub ip: bool,
    /// Give control copies of ARP and neighbour discovery, to learn from.
    pub learn_neighbors: bool,
    /// Answer ARP requests for known addresses.
    pub answer_arp: bool,
    /// Answer neighbour solicitations for known addresses.
    pub answer_nd: bool,
}

/// All that a worker needs to know.
#[derive(Clone, Debug)]
pub struct Tables {
    /// The switch's own address: initial destination of messages.
    pub own_mac: MacAddr,
    /// By port id. (`Arc`s, so that publishing a new neighbour does not copy the rest.)
    pub ports: Arc<[PortTable]>,
    /// The VLANs that are configured.
    pub vlans: Arc<[VlanTable]>,
    /// From VID (0 to 4095) to the index in `vlans`, or [`NO_VLAN`].
    pub vlan_index: Arc<[VlanIndex; 4096]>,
    /// Who has which IP address.
    pub neighbors: Neighbors,
    /// What is switched on.
    pub lanes: Lanes,
    /// Rules that steer frames to functions; `None`: there are none.
    pub steering: Option<Arc<Steering>>,
    /// How much ports may send to one another; `None`: as much as they can.
    pub rates: Option<Arc<Rates>>,
}

/// Membership of one port in one VLAN, as control knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// The port.
    pub port: PortId,
    /// It sends frames of the VLAN with a tag.
    pub tagged: bool,
    /// Its state.
    pub state: PortState,
    /// It takes part in the flooding of unknown unicast.
    pub unknown_unicast: bool,
}

/// State of a port, for egress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortState {
    /// Frames pass.
    Forwarding,
    /// Switched off or blocked by a protocol.
    Blocked,
    /// No link.
    Down,
}

impl VlanTable {
    /// The table of VLAN `vid` with these members.
    pub fn new(vid: Vid, members: impl IntoIterator<Item = Member>) -> VlanTable {
        let mut table = VlanTable {
            vid,
            egress: [Egress::NotMember; 256],
            flood_untagged: Vec::new(),
            flood_tagged: Vec::new(),
            no_unknown_unicast: 0,
        };
        for member in members {
            table.egress[member.port.index()] = match (member.state, member.tagged) {
                (PortState::Forwarding, false) => {
                    table.flood_untagged.push(member.port);
                    Egress::Untagged
                }
                (PortState::Forwarding, true) => {
                    table.flood_tagged.push(member.port);
                    Egress::Tagged
                }
                (PortState::Blocked, _) => Egress::Blocked,
                (PortState::Down, _) => Egress::Down,
            };
            if !member.unknown_unicast {
                table.no_unknown_unicast |= 1 << member.port.index();
            }
        }
        table
    }
}

impl Tables {
    /// The VLAN with this number, if it is configured.
    pub fn vlan(&self, vid: Vid) -> Option<&VlanTable> {
        self.vlans.get(self.vlan_index[vid.get() as usize] as usize)
    }

    /// Index from VID to position for these VLANs.
    pub fn index_vlans(vlans: &[VlanTable]) -> Arc<[VlanIndex; 4096]> {
        let mut index = [NO_VLAN; 4096];
        for (position, vlan) in vlans.iter().enumerate() {
            index[vlan.vid.get() as usize] = position as VlanIndex;
        }
        Arc::new(index)
    }
}
