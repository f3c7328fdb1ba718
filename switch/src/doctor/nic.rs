//! Interfaces: what they are, who needs them, and what stands between one and vfio-pci (for DPDK).

use control::config::PortKind;
use port::netdev::route;
use serde::Serialize;

use super::machine::{Machine, is_pci_address, pci_address};
use super::{Finding, Look};

/// Drivers that DPDK works beside, without taking the device from the kernel.
const SHARED_DRIVERS: [&str; 3] = ["mlx4_core", "mlx5_core", "mana"];
/// Drivers through which a user program has a device to itself.
const USER_DRIVERS: [&str; 3] = ["vfio-pci", "igb_uio", "uio_pci_generic"];

/// A network device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Nic {
    /// Its interface; `None` if it has none in this namespace.
    pub interface: Option<String>,
    /// Its PCI address, if it is on that bus.
    pub pci: Option<String>,
    /// Its driver. Of a virtio device that of the interface, not that of the bus.
    pub driver: Option<String>,
    /// Rate of its link in Mbit/s, if it is up and says so.
    pub speed_mbps: Option<u32>,
    /// The NUMA node it is attached to.
    pub numa_node: Option<usize>,
    /// Its IOMMU group.
    pub iommu_group: Option<String>,
    /// Receive queues of its interface.
    pub rx_queues: usize,
    /// Is its link up?
    pub up: bool,
    /// Does the machine's default route go over it?
    pub default_route: bool,
    /// Does any route go over it?
    pub routes: bool,
}

impl Nic {
    fn name(&self) -> &str {
        self.interface.as_deref().or(self.pci.as_deref()).unwrap_or_default()
    }
}

/// All network devices: the interfaces that are more than software, then PCI devices without an interface.
pub(super) fn nics(machine: &Machine) -> Vec<Nic> {
    let v4 = machine.text("proc/net/route").unwrap_or_default();
    let v6 = machine.text("proc/net/ipv6_route").unwrap_or_default();
    let defaults = route::with_lower(&machine.path("sys/class/net"), route::parse(&v4, &v6));
    let routed: Vec<&str> = v4.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    let mut nics: Vec<Nic> = Vec::new();
    for name in machine.names("sys/class/net") {
        let file = |file: &str| format!("sys/class/net/{name}/{file}");
        let Some(device) = machine.target(&file("device")) else { continue };
        let mut nic = Nic {
            pci: pci_address(&device),
            driver: machine.link_name(&file("device/driver")),
            speed_mbps: machine
                .number::<i64>(&file("speed"))
                .and_then(|speed| u32::try_from(speed).ok())
                .filter(|&speed| speed > 0 && speed < u32::MAX),
            numa_node: None,
            iommu_group: None,
            rx_queues: machine.names(&file("queues")).iter().filter(|queue| queue.starts_with("rx-")).count(),
            up: machine.text(&file("operstate")).as_deref() == Some("up"),
            default_route: defaults.contains(&name),
            routes: routed.contains(&name.as_str()),
            interface: Some(name),
        };
        place(machine, &mut nic);
        nics.push(nic);
    }
    for pci in machine.names("sys/bus/pci/devices") {
        let class = machine.text(&format!("sys/bus/pci/devices/{pci}/class")).unwrap_or_default();
        // Class 2 is network controllers (PCI Code and ID Assignment Specification).
        if class.starts_with("0x02") && nics.iter().all(|nic| nic.pci.as_ref() != Some(&pci)) {
            let driver = machine.link_name(&format!("sys/bus/pci/devices/{pci}/driver"));
            let mut nic = Nic {
                interface: None,
                pci: Some(pci),
                driver,
                speed_mbps: None,
                numa_node: None,
                iommu_group: None,
                rx_queues: 0,
                up: false,
                default_route: false,
                routes: false,
            };
            place(machine, &mut nic);
            nics.push(nic);
        }
    }
    nics
}

/// Where a PCI device sits.
fn place(machine: &Machine, nic: &mut Nic) {
    if let Some(pci) = &nic.pci {
        // -1 is a machine with one node.
        nic.numa_node = machine.number::<i64>(&format!("sys/bus/pci/devices/{pci}/numa_node")).and_then(|node| usize::try_from(node).ok());
        nic.iommu_group = machine.link_name(&format!("sys/bus/pci/devices/{pci}/iommu_group"));
    }
}

pub(super) fn check(look: &Look) -> Vec<Finding> {
    let mut findings: Vec<Finding> = look.ports().iter().filter_map(|port| claim(look, port)).collect();
    for nic in &look.nics {
        if nic.default_route {
            findings.push(
                Finding::ok(
                    "default-route",
                    "carries the machine's default route",
                    "`run` leaves it alone unless told otherwise by --force-default-route.",
                )
                .of(nic.name()),
            );
        }
        findings.extend(binding(look, nic));
        findings.extend(far_from_workers(look, nic));
    }
    findings
}

/// Can this port of the configuration have its interface?
fn claim(look: &Look, port: &control::config::PortConfig) -> Option<Finding> {
    if !matches!(port.spec.kind, PortKind::AfXdp | PortKind::AfPacket | PortKind::Auto) {
        return None;
    }
    let interface = &port.spec.arg;
    let of = |finding: Finding| Some(finding.of(format!("{} ({})", port.name, port.spec)));
    if !look.machine.exists(&format!("sys/class/net/{interface}")) {
        return of(Finding::problem(
            "port-interface",
            format!("there is no interface {interface}"),
            "The port does not open; `ip -br link` lists the interfaces of this network namespace.",
        ));
    }
    if look.nics.iter().any(|nic| nic.default_route && nic.interface.as_ref() == Some(interface)) {
        return of(Finding::problem(
            "port-interface",
            format!("{interface} carries the machine's default route"),
            "`run` refuses it, since the machine may lose its network; `run --force-default-route` takes it.",
        ));
    }
    of(Finding::ok("port-interface", format!("{interface} is there"), "The port can open it."))
}

/// What it takes to give a device to DPDK.
fn binding(look: &Look, nic: &Nic) -> Option<Finding> {
    let pci = nic.pci.as_deref()?;
    let bus_driver = look.machine.link_name(&format!("sys/bus/pci/devices/{pci}/driver"));
    let driver = bus_driver.as_deref().or(nic.driver.as_deref()).unwrap_or("none");
    let wanted = look.ports().iter().any(|port| port.spec.kind == PortKind::Dpdk && port.spec.arg == pci);
    if USER_DRIVERS.contains(&driver) {
        return Some(Finding::ok("binding", format!("bound to {driver}"), "DPDK can take it.").of(nic.name()));
    }
    if SHARED_DRIVERS.contains(&driver) {
        return Some(Finding::ok("binding", format!("driver {driver}"), "DPDK works beside this driver; nothing is bound.").of(nic.name()));
    }
    if nic.default_route {
        let (found, meaning) =
            ("blocked: it carries the default route", "Bound to vfio-pci, it would cut the machine off; give DPDK another one.");
        let finding = if wanted { Finding::problem("binding", found, meaning) } else { Finding::ok("binding", found, meaning) };
        return Some(finding.of(nic.name()));
    }
    let mut blockers: Vec<String> = Vec::new();
    let mut commands: Vec<String> = Vec::new();
    let mut can = true;
    if !look.machine.exists("sys/bus/pci/drivers/vfio-pci") {
        if look.kernel.has("VFIO_PCI") == Some(false) {
            blockers.push("this kernel has no vfio-pci".to_owned());
            can = false;
        } else {
            blockers.push("the module vfio-pci is not loaded".to_owned());
            commands.push("sudo modprobe vfio-pci".to_owned());
        }
    }
    let mut note = String::new();
    let without_iommu = look.machine.text("sys/module/vfio/parameters/enable_unsafe_noiommu_mode").is_some_and(|mode| mode == "Y");
    if nic.iommu_group.is_none() && !without_iommu {
        blockers.push("no IOMMU group (the IOMMU is off)".to_owned());
        if look.virtual_machine {
            note = " The IOMMU of a virtual machine is a matter of its host.".to_owned();
            can = false;
        } else {
            let parameters = if look.intel { "intel_iommu=on iommu=pt" } else { "iommu=pt" };
            note = format!(" The firmware must have VT-d or AMD-Vi on as well.{}", look.boot_note(parameters));
            can &= look.machine.exists("etc/default/grub");
            // After the restart there is more to do, and this program says it then.
            commands = look.boot_with(parameters).into_iter().collect();
        }
    } else {
        let others = group_mates(look.machine, nic);
        if !others.is_empty() {
            blockers.push(format!("its IOMMU group has others with drivers of the kernel: {}", others.join(", ")));
            note = " All of a group are bound together, or it goes into another slot.".to_owned();
            can = false;
        }
        if let Some(interface) = &nic.interface {
            if nic.routes {
                blockers.push("routes go over it".to_owned());
            }
            commands.push(format!("sudo ip link set dev {interface} down"));
        }
        // What driverctl does, without its package: the override stays with the device, and the kernel's own search binds it.
        let device = format!("/sys/bus/pci/devices/{pci}");
        commands.push(format!("echo vfio-pci | sudo tee {device}/driver_override"));
        if bus_driver.is_some() {
            commands.push(format!("echo {pci} | sudo tee {device}/driver/unbind"));
        }
        commands.push(format!("echo {pci} | sudo tee /sys/bus/pci/drivers_probe"));
    }
    let found = match &blockers[..] {
        [] => format!("can be bound to vfio-pci (now {driver})"),
        blockers => format!("not ready for vfio-pci: {}", blockers.join("; ")),
    };
    let meaning = format!("Only DPDK ports need this; AF_XDP keeps the kernel's driver.{note}");
    let finding = match (wanted, blockers.is_empty()) {
        (true, _) => Finding::problem("binding", found, format!("The configuration gives this device to DPDK.{note}")),
        (false, true) => Finding::ok("binding", found, meaning),
        (false, false) => Finding::hint("binding", found, meaning),
    };
    Some(finding.of(nic.name()).fix_if((can && !commands.is_empty()).then(|| commands.join(" && "))))
}

/// Other devices of the group that the kernel drives; bridges may be among them (vfio.rst).
fn group_mates(machine: &Machine, nic: &Nic) -> Vec<String> {
    let (Some(pci), Some(group)) = (&nic.pci, &nic.iommu_group) else { return Vec::new() };
    let mates = machine.names(&format!("sys/kernel/iommu_groups/{group}/devices"));
    let is_in_the_way = |mate: &String| {
        let class = machine.text(&format!("sys/bus/pci/devices/{mate}/class")).unwrap_or_default();
        let driver = machine.link_name(&format!("sys/bus/pci/devices/{mate}/driver"));
        is_pci_address(mate)
            && mate != pci
            && !class.starts_with("0x06")
            && driver.is_some_and(|driver| driver != "vfio-pci" && driver != "pci-stub")
    };
    mates.into_iter().filter(is_in_the_way).collect()
}

/// Workers on another node than the interface they serve.
fn far_from_workers(look: &Look, nic: &Nic) -> Option<Finding> {
    let node = nic.numa_node?;
    let used = look.ports().iter().any(|port| Some(&port.spec.arg) == nic.interface.as_ref() || Some(&port.spec.arg) == nic.pci.as_ref());
    let far = look.cores.iter().filter(|core| core.worker && core.numa_node.is_some_and(|of| of != node));
    let far = far.map(|core| core.id).collect();
    if !used || std::collections::BTreeSet::is_empty(&far) {
        return None;
    }
    let near = look.machine.text(&format!("sys/devices/system/node/node{node}/cpulist")).unwrap_or_default();
    Some(
        Finding::hint(
            "numa",
            format!("is on node {node}, the worker on {} is not", super::cores_text(&far)),
            format!("Each frame crosses between the nodes; choose switch.cores of {near}."),
        )
        .of(nic.name()),
    )
}
