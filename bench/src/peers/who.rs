//! Who is compared, on which ground, and what has to be installed for it.

use super::ovs;
use super::process::{is_installed, tool};

/// Where peers are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Ground {
    /// Source and sink inside the process, one core: cycles of the path alone
    Inside,
    /// Shared memory between processes: generator on one core, peer on the other
    Memif,
    /// Two veth pairs of the kernel
    Veth,
    /// Generators into a veth pair: what they can send
    Send,
}

impl Ground {
    /// All of them.
    pub const ALL: [Ground; 4] = [Ground::Inside, Ground::Memif, Ground::Veth, Ground::Send];

    /// For results.
    pub const fn name(self) -> &'static str {
        match self {
            Ground::Inside => "inside",
            Ground::Memif => "memif",
            Ground::Veth => "veth",
            Ground::Send => "send",
        }
    }

    /// For headings.
    pub const fn title(self) -> &'static str {
        match self {
            Ground::Inside => "Inside the process, one core",
            Ground::Memif => "On memif, two cores",
            Ground::Veth => "On veth pairs",
            Ground::Send => "Generators into a veth pair",
        }
    }

    /// Is the figure to compare cycles per frame, of which fewer are better? Otherwise it is frames a second.
    pub const fn is_in_cycles(self) -> bool {
        matches!(self, Ground::Inside)
    }
}

/// Whose program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Peer {
    /// This switch and its traffic generator
    Bladeswitch,
    /// The bridge of the Linux kernel
    Bridge,
    /// Open vSwitch
    Ovs,
    /// dpdk-testpmd: forwards without a look at frames
    Testpmd,
    /// VPP
    Vpp,
    /// tcpreplay: sends only
    Tcpreplay,
}

/// What stands between the ports, or sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The switch's whole pipeline between memory ports.
    Path,
    /// testpmd between devices that make frames of zeros and throw away what they get.
    TestpmdNull,
    /// testpmd between devices that repeat a capture: what source and sink cost in the row of OVS.
    TestpmdCapture,
    /// OVS with DPDK between devices that repeat a capture.
    OvsCapture,
    /// VPP between its packet generators.
    VppGenerator,
    /// The switch on memif.
    SwitchMemif,
    /// A process of ours that throws away what it receives: what the generator can do.
    Sink,
    /// testpmd on memif.
    TestpmdMemif,
    /// OVS with DPDK on memif.
    OvsMemif,
    /// VPP on memif.
    VppMemif,
    /// The switch as memif client: the shared memory is its own.
    SwitchClient,
    /// The sink as memif client.
    SinkClient,
    /// testpmd as memif client, copying.
    TestpmdClient,
    /// OVS as memif client, copying.
    OvsClient,
    /// VPP as memif client whose packet buffers are the shared memory.
    VppClient,
    /// The kernel's bridge.
    Bridge,
    /// The switch on AF_XDP.
    SwitchXdp,
    /// The switch on packet sockets.
    SwitchPacket,
    /// OVS with DPDK's driver for packet sockets.
    OvsPacket,
    /// OVS polling packet sockets itself.
    OvsUserspace,
    /// OVS with the kernel's module.
    OvsKernel,
    /// testpmd with DPDK's driver for packet sockets.
    TestpmdPacket,
    /// testpmd with DPDK's driver for AF_XDP.
    TestpmdXdp,
    /// VPP with its driver for packet sockets.
    VppPacket,
    /// tcpreplay as fast as it can.
    Tcpreplay,
    /// Our generator on AF_XDP.
    SendXdp,
    /// Our generator on packet sockets.
    SendPacket,
}

impl Who {
    /// Everybody: on each ground ours first.
    pub const ALL: [Who; 27] = [
        Who::Path,
        Who::VppGenerator,
        Who::OvsCapture,
        Who::TestpmdCapture,
        Who::TestpmdNull,
        Who::SwitchMemif,
        Who::VppMemif,
        Who::OvsMemif,
        Who::TestpmdMemif,
        Who::Sink,
        Who::SwitchClient,
        Who::VppClient,
        Who::OvsClient,
        Who::TestpmdClient,
        Who::SinkClient,
        Who::SwitchXdp,
        Who::SwitchPacket,
        Who::Bridge,
        Who::OvsKernel,
        Who::OvsUserspace,
        Who::OvsPacket,
        Who::TestpmdPacket,
        Who::TestpmdXdp,
        Who::VppPacket,
        Who::SendXdp,
        Who::SendPacket,
        Who::Tcpreplay,
    ];

    /// For tables.
    pub const fn name(self) -> &'static str {
        match self {
            Who::Path => "bladeswitch, learn + forward",
            Who::TestpmdNull => "testpmd io, net_null",
            Who::TestpmdCapture => "testpmd io, capture repeated",
            Who::OvsCapture => "ovs-dpdk NORMAL, capture repeated",
            Who::VppGenerator => "vpp bridge, packet generator",
            Who::SwitchMemif => "bladeswitch, memif",
            Who::Sink => "sink (the generator's limit)",
            Who::TestpmdMemif => "testpmd io, memif",
            Who::OvsMemif => "ovs-dpdk NORMAL, memif",
            Who::VppMemif => "vpp bridge, memif",
            Who::SwitchClient => "bladeswitch, memif client",
            Who::SinkClient => "sink, memif client (the generator's limit as server)",
            Who::TestpmdClient => "testpmd io, memif client",
            Who::OvsClient => "ovs-dpdk NORMAL, memif client",
            Who::VppClient => "vpp bridge, memif client, zero-copy",
            Who::Bridge => "linux bridge",
            Who::SwitchXdp => "bladeswitch, af_xdp",
            Who::SwitchPacket => "bladeswitch, af_packet",
            Who::OvsPacket => "ovs-dpdk NORMAL, net_af_packet",
            Who::OvsUserspace => "ovs userspace NORMAL",
            Who::OvsKernel => "ovs kernel NORMAL",
            Who::TestpmdPacket => "testpmd io, net_af_packet",
            Who::TestpmdXdp => "testpmd io, net_af_xdp",
            Who::VppPacket => "vpp bridge, af-packet",
            Who::Tcpreplay => "tcpreplay --topspeed",
            Who::SendXdp => "traffic-gen's ports, af_xdp",
            Who::SendPacket => "traffic-gen's ports, af_packet",
        }
    }

    /// Where.
    pub const fn ground(self) -> Ground {
        match self {
            Who::Path | Who::TestpmdNull | Who::TestpmdCapture | Who::OvsCapture | Who::VppGenerator => Ground::Inside,
            Who::SwitchMemif | Who::Sink | Who::TestpmdMemif | Who::OvsMemif | Who::VppMemif => Ground::Memif,
            _ if self.is_client() => Ground::Memif,
            Who::Tcpreplay | Who::SendXdp | Who::SendPacket => Ground::Send,
            _ => Ground::Veth,
        }
    }

    /// Whose.
    pub const fn peer(self) -> Peer {
        match self {
            Who::Path | Who::SwitchMemif | Who::Sink | Who::SwitchXdp | Who::SwitchPacket | Who::SendXdp | Who::SendPacket => {
                Peer::Bladeswitch
            }
            Who::SwitchClient | Who::SinkClient => Peer::Bladeswitch,
            Who::TestpmdNull | Who::TestpmdCapture | Who::TestpmdMemif | Who::TestpmdPacket | Who::TestpmdXdp => Peer::Testpmd,
            Who::TestpmdClient => Peer::Testpmd,
            Who::OvsCapture | Who::OvsMemif | Who::OvsPacket | Who::OvsUserspace | Who::OvsKernel | Who::OvsClient => Peer::Ovs,
            Who::VppGenerator | Who::VppMemif | Who::VppPacket | Who::VppClient => Peer::Vpp,
            Who::Bridge => Peer::Bridge,
            Who::Tcpreplay => Peer::Tcpreplay,
        }
    }

    /// The one of ours that it is compared with: on the same ground, and on memif in the same role.
    pub const fn reference(self) -> Who {
        match self.ground() {
            Ground::Inside => Who::Path,
            Ground::Memif if self.is_client() => Who::SwitchClient,
            Ground::Memif => Who::SwitchMemif,
            Ground::Veth => Who::SwitchXdp,
            Ground::Send => Who::SendXdp,
        }
    }

    /// Is it a memif client? Then the generator is the server and does the copying; otherwise it is the other way round.
    pub const fn is_client(self) -> bool {
        matches!(self, Who::SwitchClient | Who::SinkClient | Who::TestpmdClient | Who::OvsClient | Who::VppClient)
    }

    /// Does it throw away what it receives?
    pub const fn is_sink(self) -> bool {
        matches!(self, Who::Sink | Who::SinkClient)
    }

    /// Does it learn where stations are?
    pub const fn learns(self) -> bool {
        !matches!(self.peer(), Peer::Testpmd | Peer::Tcpreplay) && !matches!(self, Who::SendXdp | Who::SendPacket) && !self.is_sink()
    }

    /// Does what goes in come out? Of a source into nothing only the rate is known.
    pub const fn forwards(self) -> bool {
        !matches!(self.ground(), Ground::Inside | Ground::Send) && !self.is_sink()
    }

    /// Is it known that it cannot take so many stations on each side?
    pub const fn stations_max(self) -> u32 {
        match self {
            // The capture is held in packet buffers, of which OVS makes 16,384 for a port.
            Who::OvsCapture => 4_000,
            Who::TestpmdCapture => 100_000,
            _ => 1_000_000,
        }
    }

    /// What is missing for it, and how to get it; `None`: it can be measured.
    pub fn missing(self) -> Option<String> {
        let program =
            |name: &str, package: &str| (!is_installed(name)).then(|| format!("{name} is not installed: apt-get install {package}"));
        let dpdk =
            || program("dpdk-testpmd", "dpdk dpdk-dev librte-net-memif23 librte-net-pcap23 librte-net-af-packet23 librte-net-af-xdp23");
        let ovs = |path| {
            let why = || "Open vSwitch is not installed: apt-get install openvswitch-switch openvswitch-switch-dpdk".to_owned();
            ovs::daemon(path).is_none().then(why).or_else(|| program("ovs-vsctl", "openvswitch-switch openvswitch-common"))
        };
        match self {
            _ if self.peer() == Peer::Testpmd => dpdk(),
            Who::OvsKernel => ovs(ovs::Path::Kernel).or_else(|| {
                let why = || "this kernel has no module openvswitch, so Open vSwitch has no kernel datapath: boot a kernel that has it".to_owned();
                tool("ovs-dpctl", ["dump-dps"], None).is_err().then(why)
            }),
            Who::OvsUserspace => ovs(ovs::Path::Userspace),
            _ if self.peer() == Peer::Ovs => ovs(ovs::Path::Dpdk),
            _ if self.peer() == Peer::Vpp => (!is_installed("vpp") || !is_installed("vppctl")).then(|| {
                "vpp is not installed: not in Debian; build FD.io's VPP from source or install its packages, so that vpp and vppctl are on the PATH"
                    .to_owned()
            }),
            Who::Tcpreplay => program("tcpreplay", "tcpreplay"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_is_there_once_and_ours_is_first_on_each_ground() {
        let mut names: Vec<&str> = Who::ALL.iter().map(|who| who.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Who::ALL.len());
        for ground in Ground::ALL {
            let first = Who::ALL.into_iter().find(|who| who.ground() == ground).unwrap();
            assert_eq!(first.reference(), first);
        }
        for who in Who::ALL {
            let reference = who.reference();
            assert_eq!((reference.ground(), reference.peer(), reference.is_client()), (who.ground(), Peer::Bladeswitch, who.is_client()));
        }
        assert_eq!(Who::ALL.iter().filter(|who| who.reference() == **who).count(), Ground::ALL.len() + 1, "memif has two roles");
    }

    #[test]
    fn what_is_missing_comes_with_how_to_get_it() {
        for who in Who::ALL {
            if let Some(why) = who.missing() {
                assert!(["apt-get install", "on the PATH", "boot a kernel"].iter().any(|what_to_do| why.contains(what_to_do)), "{why}");
            }
        }
        assert_eq!(Who::Path.missing(), None);
    }
}
