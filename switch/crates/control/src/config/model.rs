//! A configuration as the rest of the program sees it: checked, complete, in numbers, without places in a file.
//!
//! Ports are in the order of their ids: blades by slot, then uplinks as in the file. Every VLAN that any port carries is in
//! `vlans`. References are resolved: an FDB entry holds the id of its port.
//!
//! The fields are public, since a program (a benchmark, a test) may build a configuration as well; what a file may not say is
//! checked where files are read, in `schema` and `check`.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use dataplane::tables::ControlRights;
use port::{Hugepages, PortId};
use serde::Serialize;
use wire::{MacAddr, Vid};

use super::backplane::BackplaneConfig;
use super::joined::JoinedConfig;
use super::probe::ProbeConfig;
use super::rates::RateConfig;
use super::speed::Speed;
use super::standby::StandbyConfig;
use super::steering::{FunctionConfig, SteerConfig};
use super::vids::VidSet;
use port::spec::PortSpec;

/// A whole configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// The switch itself.
    pub switch: SwitchConfig,
    /// Its packet buffers.
    pub pool: PoolConfig,
    /// The environment of ports on DPDK devices.
    pub dpdk: DpdkConfig,
    /// Address learning.
    pub fdb: FdbConfig,
    /// What frames to the switch's own address are resolved.
    pub lanes: LanesConfig,
    /// Who is in which slot, and telling others.
    pub identity: IdentityConfig,
    /// Talking with blade agents.
    pub agents: AgentsConfig,
    /// Trunks to other chassis, if there are any.
    pub joined: Option<JoinedConfig>,
    /// Several processes stand by for each other, if they do.
    pub standby: Option<StandbyConfig>,
    /// Every VLAN there is, by VID, those included that only a port names.
    pub vlans: Vec<VlanConfig>,
    /// The ports; the index is the [`PortId`]. Blades by slot, then uplinks.
    pub ports: Vec<PortConfig>,
    /// The backplanes; no port is on two of them.
    pub backplanes: Vec<BackplaneConfig>,
    /// What blades are for.
    pub functions: Vec<FunctionConfig>,
    /// Which frames go there; the first rule that matches decides.
    pub rules: Vec<SteerConfig>,
    /// How much ports may send to one another; each pair once.
    pub rates: Vec<RateConfig>,
    /// FDB entries that do not age.
    pub fdb_entries: Vec<FdbEntryConfig>,
    /// Neighbor entries that do not age.
    pub neighbors: Vec<NeighborConfig>,
}

/// `[switch]`: the switch blade itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SwitchConfig {
    /// What operators call it.
    pub name: String,
    /// Its own address: initial destination of messages, source of what it sends itself. Unicast.
    pub mac: MacAddr,
    /// Threads that forward, 1 to 64.
    pub workers: usize,
    /// The core of each worker; empty: the system chooses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cores: Vec<usize>,
    /// Packets a worker takes from a queue at once, 1 to [`port::BURST_MAX`].
    pub burst: usize,
    /// What a worker does when there is nothing to do.
    pub idle: Idle,
    /// The threads of workers may only make the system calls that forwarding takes.
    pub seccomp: bool,
    /// Unix socket of the HTTP API; `None`: there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api: Option<PathBuf>,
    /// The longest frame that is admitted, in bytes without FCS, 60 to 9216.
    pub max_frame: u16,
}

/// What a worker does when there is nothing to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Idle {
    /// Polls without pause: the lowest latency, a whole core.
    Spin,
    /// Sleeps when it has been quiet for a while; waking costs latency.
    #[default]
    Adaptive,
}

/// `[pool]`: packet buffers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PoolConfig {
    /// Buffers of [`port::mempool::BUFFER_SIZE`] bytes; `None`: as many as ports and queues need.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub buffers: Option<u32>,
    /// Which pages to ask for.
    #[serde(serialize_with = "hugepages")]
    pub hugepages: Hugepages,
}

/// `[dpdk]`: the environment of ports on DPDK devices. Without such ports nothing of it is used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DpdkConfig {
    /// DPDK's own memory in MiB, [`port::backend::dpdk::MEMORY_MIB`]; `None`: as much as the ports take on hugepages,
    /// [`port::backend::dpdk::NO_HUGE_MIB`] on plain pages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_mib: Option<u32>,
    /// Which pages it lies on.
    #[serde(serialize_with = "hugepages")]
    pub hugepages: Hugepages,
    /// Further arguments for EAL, after those that the switch gives.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<String>,
}

/// `[fdb]`: address learning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FdbConfig {
    /// After how many milliseconds of silence an address is forgotten.
    pub ageing_ms: u64,
    /// Entries in all.
    pub limit: u32,
    /// Entries in any one VLAN; `None`: only the total is limited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_per_vlan: Option<u32>,
    /// Entries on any one port, unless the port has its own limit; `None`: only the total is limited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_per_port: Option<u32>,
    /// How many moves of addresses between ports are reported a second; all are counted.
    pub move_events_per_s: u32,
}

/// `[lanes]`: what becomes of frames to the switch's own address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LanesConfig {
    /// Resolve chassis messages by their final destination.
    pub message: bool,
    /// Resolve IP packets by their destination address.
    pub ip: bool,
    /// Send the source a notice when its final destination is not known.
    pub notice: bool,
    /// Notices a second at most.
    pub notices_per_s: u32,
}

/// `[identity]`: who is in which slot, and telling others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IdentityConfig {
    /// Advertise identities to the other blades.
    pub advertise: bool,
    /// Answer ARP requests for known addresses.
    pub answer_arp: bool,
    /// Answer neighbour solicitations for known addresses.
    pub answer_nd: bool,
    /// Learn neighbours from ARP and neighbour discovery.
    pub learn: bool,
    /// Learned and configured neighbor entries in all.
    pub limit: u32,
    /// After how many milliseconds of silence a learned neighbour is forgotten.
    pub ageing_ms: u64,
}

/// `[agents]`: talking with the agents on the blades, by control messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AgentsConfig {
    /// Milliseconds between the hellos of a blade that does not say how often it sends them. After three of them it is silent.
    pub hello_ms: u64,
    /// Milliseconds until a message that is not acknowledged is repeated; twice as long each time after.
    pub retry_ms: u64,
    /// How often it is repeated before the switch gives up.
    pub retries: u32,
    /// Milliseconds a blade has to finish what it has accepted.
    pub finish_ms: u64,
    /// File with the key that seals control messages; `None`: they are not sealed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
}

/// `[[vlan]]`: a VLAN.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VlanConfig {
    /// Its number.
    pub vid: Vid,
    /// Its name, `vlan` and the number unless the file says otherwise.
    pub name: String,
}

/// `[[blade]]` or `[[uplink]]`: a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortConfig {
    /// Its name, unique in the switch.
    pub name: String,
    /// What is at the other end.
    pub role: Role,
    /// What it is made of.
    pub spec: PortSpec,
    /// The rate of its link.
    pub speed: Speed,
    /// The VLANs it carries.
    pub vlan: VlanMode,
    /// Refuse frames of VLANs the port does not carry (IEEE 802.1Q-2018 §8.6.2). Off, they are admitted if the VLAN exists.
    pub ingress_filter: bool,
    /// Frames its transmit queue holds.
    pub queue: usize,
    /// FDB entries on this port; `None`: [`FdbConfig::limit_per_port`].
    pub fdb_limit: Option<u32>,
    /// Learn source addresses.
    pub learning: bool,
    /// Take part in the flooding of unknown unicast.
    pub flood: bool,
    /// Does it forward at all?
    pub enabled: bool,
    /// Control messages that may come in by it.
    pub control: ControlRights,
    /// Functions that the bay has, whichever blade is in it, sorted: the port is among the blades of each of them.
    pub functions: Vec<String>,
    /// How the blade is asked whether it is well, for the sake of `standby`.
    pub probe: Option<ProbeConfig>,
    /// The blade that has the addresses of this one while it is lost; `None`: nobody. Never a port that has a standby itself.
    pub standby: Option<PortId>,
}

/// What is at the other end of a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// A blade server.
    Blade {
        /// The bay it sits in, from 1.
        slot: u16,
        /// Its MAC addresses, as far as they are configured. The first one has the IP addresses.
        macs: Vec<MacAddr>,
        /// Its IP addresses, in the port's untagged VLAN ([`VlanMode::untagged`]).
        ips: Vec<IpAddr>,
    },
    /// The external network.
    Uplink,
}

/// The VLANs a port carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VlanMode {
    /// One; tags are payload: every frame belongs to it, whatever it carries (a Q-in-Q tunnel, or a switch without VLANs).
    Transparent(Vid),
    /// One, untagged. Frames tagged with another VLAN are not of it.
    Access(Vid),
    /// Several, tagged.
    Trunk {
        /// Every VLAN of the trunk, the native one included.
        allowed: VidSet,
        /// The VLAN of untagged frames, which also leaves untagged; `None`: untagged frames are refused.
        native: Option<Vid>,
    },
}

impl VlanMode {
    /// The VLAN of frames without tag, in both directions.
    pub fn untagged(&self) -> Option<Vid> {
        match self {
            VlanMode::Transparent(vid) | VlanMode::Access(vid) => Some(*vid),
            VlanMode::Trunk { native, .. } => *native,
        }
    }

    /// Does the port carry `vid`?
    pub fn contains(&self, vid: Vid) -> bool {
        match self {
            VlanMode::Transparent(own) | VlanMode::Access(own) => *own == vid,
            VlanMode::Trunk { allowed, .. } => allowed.contains(vid),
        }
    }

    /// Every VLAN the port carries, ascending.
    pub fn vids(&self) -> VidSet {
        self.ranges().collect()
    }

    /// Every VLAN the port carries, as runs.
    pub(super) fn ranges(&self) -> impl Iterator<Item = RangeInclusive<Vid>> {
        let (access, trunk) = match self {
            VlanMode::Transparent(vid) | VlanMode::Access(vid) => (Some(*vid..=*vid), None),
            VlanMode::Trunk { allowed, .. } => (None, Some(allowed.ranges())),
        };
        access.into_iter().chain(trunk.into_iter().flatten())
    }
}

/// `[[fdb_entry]]`: an address that does not age.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FdbEntryConfig {
    /// The address.
    pub mac: MacAddr,
    /// Its VLAN.
    pub vid: Vid,
    /// What happens to frames for it.
    pub target: FdbTarget,
}

/// What happens to frames for a configured address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FdbTarget {
    /// They leave by this port.
    Port(PortId),
    /// They are dropped.
    Blackhole,
}

/// `[[neighbor]]`: who has an IP address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NeighborConfig {
    /// The IP address.
    pub ip: IpAddr,
    /// Who has it.
    pub mac: MacAddr,
    /// In which VLAN.
    #[serde(rename = "vlan")]
    pub vid: Vid,
}

impl Default for SwitchConfig {
    fn default() -> Self {
        SwitchConfig {
            name: "chassis".to_owned(),
            mac: MacAddr([0x02, 0, 0, 0, 0, 0xfe]),
            workers: 1,
            cores: Vec::new(),
            burst: 32,
            idle: Idle::default(),
            seccomp: true,
            api: None,
            max_frame: super::FRAME_LEN_MAX,
        }
    }
}

impl Default for FdbConfig {
    fn default() -> Self {
        // 300 s is the ageing time of IEEE 802.1Q-2018 table 8-6.
        FdbConfig { ageing_ms: 300_000, limit: 65_536, limit_per_vlan: None, limit_per_port: None, move_events_per_s: 10 }
    }
}

impl Default for LanesConfig {
    fn default() -> Self {
        LanesConfig { message: true, ip: true, notice: true, notices_per_s: 100 }
    }
}

impl Default for IdentityConfig {
    fn default() -> Self {
        IdentityConfig { advertise: true, answer_arp: true, answer_nd: true, learn: true, limit: 4096, ageing_ms: 300_000 }
    }
}

impl Default for AgentsConfig {
    fn default() -> Self {
        AgentsConfig { hello_ms: 1000, retry_ms: 200, retries: 5, finish_ms: 60_000, key_file: None }
    }
}

impl VlanConfig {
    /// A VLAN with the default name.
    pub fn unnamed(vid: Vid) -> VlanConfig {
        VlanConfig { vid, name: format!("vlan{vid}") }
    }
}

impl PortConfig {
    /// A blade with all defaults: a memory port at 1 Gb/s, access to VLAN 1.
    pub fn blade(slot: u16) -> PortConfig {
        let role = Role::Blade { slot, macs: Vec::new(), ips: Vec::new() };
        PortConfig::new(format!("blade{slot}"), role, Speed::G1)
    }

    /// The `number`th uplink (from 1) with all defaults: a memory port at 10 Gb/s, access to VLAN 1.
    pub fn uplink(number: usize) -> PortConfig {
        PortConfig::new(format!("uplink{number}"), Role::Uplink, Speed::G10)
    }

    fn new(name: String, role: Role, speed: Speed) -> PortConfig {
        let control = if role == Role::Uplink { ControlRights::None } else { ControlRights::Hello };
        PortConfig {
            name,
            role,
            spec: PortSpec::memory(),
            speed,
            vlan: VlanMode::Access(Vid::DEFAULT),
            ingress_filter: true,
            queue: 512,
            fdb_limit: None,
            learning: true,
            flood: true,
            enabled: true,
            control,
            standby: None,
            probe: None,
            functions: Vec::new(),
        }
    }
}

impl Config {
    /// The chassis of the patent document: `blades` blade servers and one uplink, on memory ports in VLAN 1.
    ///
    /// Blade `n` is in slot `n` and has the MAC address 02:00:00:00:00:*n* and the IP address 198.18.0.*n* (of the block for
    /// benchmarks, RFC 2544); from 256 on the number takes two octets.
    ///
    /// A switch has at most [`port::PORTS_MAX`] ports: whoever takes `blades` from outside limits it to one less.
    pub fn chassis(blades: u16, blade_speed: Speed, uplink_speed: Speed) -> Config {
        let blade = |slot: u16| {
            let [high, low] = slot.to_be_bytes();
            let macs = vec![MacAddr([0x02, 0, 0, 0, high, low])];
            let ips = vec![IpAddr::from([198, 18, high, low])];
            PortConfig { role: Role::Blade { slot, macs, ips }, speed: blade_speed, ..PortConfig::blade(slot) }
        };
        let uplink = PortConfig { speed: uplink_speed, ..PortConfig::uplink(1) };
        Config {
            vlans: vec![VlanConfig::unnamed(Vid::DEFAULT)],
            ports: (1..=blades).map(blade).chain([uplink]).collect(),
            ..Config::default()
        }
    }

    /// The port of this name.
    pub fn port_named(&self, name: &str) -> Option<PortId> {
        let index = self.ports.iter().position(|port| port.name == name)?;
        u8::try_from(index).ok().map(PortId)
    }

    /// The port of an id.
    pub fn port(&self, id: PortId) -> Option<&PortConfig> {
        self.ports.get(id.index())
    }
}

fn hugepages<S: serde::Serializer>(hugepages: &Hugepages, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(match hugepages {
        Hugepages::Auto => "auto",
        Hugepages::Require => "require",
        Hugepages::Never => "never",
    })
}
