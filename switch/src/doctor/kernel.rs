//! What the kernel can do, and what it lets this process do.

use control::config::{PortConfig, PortKind};
use port::privilege::NEEDED;

use super::{Finding, Look, memory};

const AF_XDP: &[PortKind] = &[PortKind::AfXdp, PortKind::Auto];
const SOCKETS: &[PortKind] = &[PortKind::AfXdp, PortKind::Auto, PortKind::AfPacket];
const INTERFACES: &[PortKind] = &[PortKind::AfXdp, PortKind::Auto, PortKind::AfPacket, PortKind::Tap];

pub(super) fn check(look: &Look) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(af_packet(look));
    findings.extend(af_xdp(look));
    findings.push(jit(look));
    findings.extend(unprivileged_bpf(look));
    findings.push(veth(look));
    findings.extend(tun(look));
    findings.push(vhost(look));
    findings.extend(capabilities(look));
    findings.extend(locked_memory(look));
    findings.extend(bridge_netfilter(look));
    findings
}

/// Does the kernel have a family of sockets? What is built in stands in `/proc/net/protocols`, a module only once it is loaded.
fn family(look: &Look, option: &str, name: &str) -> bool {
    let protocols = look.machine.text("proc/net/protocols").unwrap_or_default();
    look.kernel.has(option).unwrap_or(false) || protocols.lines().any(|line| line.split_whitespace().next() == Some(name))
}

fn af_packet(look: &Look) -> Option<Finding> {
    look.uses(SOCKETS).then(|| match family(look, "PACKET", "PACKET") {
        true => Finding::ok("af-packet", "available", "Any interface can be a port."),
        false => Finding::problem("af-packet", "not in this kernel (CONFIG_PACKET)", "No interface can be a port by `af_packet:`."),
    })
}

fn af_xdp(look: &Look) -> Option<Finding> {
    if !look.uses(AF_XDP) {
        return None;
    }
    let release = &look.kernel.release;
    // `af_xdp:` needs it; `auto:` and a machine that nobody has configured can do without.
    let needed = look.ports().iter().any(|port| port.spec.kind == PortKind::AfXdp);
    let without = |found: String, meaning: &str| {
        if needed { Finding::problem("af-xdp", found, meaning) } else { Finding::hint("af-xdp", found, meaning) }
    };
    Some(if !family(look, "XDP_SOCKETS", "XDP") {
        without(format!("not in kernel {release} (CONFIG_XDP_SOCKETS)"), "Ports are AF_PACKET sockets, at about half the speed.")
    } else if look.kernel.version < (5, 9) {
        without(format!("kernel {release} is too old: 5.9 is needed"), "Ports are AF_PACKET sockets, at about half the speed.")
    } else if look.kernel.version < (6, 6) {
        Finding::hint("af-xdp", format!("available, kernel {release}"), "Frames longer than a page need 6.6; jumbo ports take AF_PACKET.")
    } else {
        Finding::ok("af-xdp", format!("available, kernel {release}"), "Interfaces share the packet pool with the switch.")
    })
}

fn jit(look: &Look) -> Finding {
    match look.machine.text("proc/sys/net/core/bpf_jit_enable").as_deref() {
        Some("0") => Finding::hint("bpf-jit", "off", "The kernel interprets the program that hands frames to AF_XDP.")
            .fix("sudo sysctl -w net.core.bpf_jit_enable=1"),
        Some(_) => Finding::ok("bpf-jit", "on", "The program that hands frames to AF_XDP is machine code."),
        None if look.kernel.has("BPF_JIT") == Some(false) => {
            Finding::hint("bpf-jit", "not in this kernel", "The kernel interprets the program that hands frames to AF_XDP.")
        }
        None => Finding::ok("bpf-jit", "not readable", "Only root may read net.core.bpf_jit_enable; run as root to have it checked."),
    }
}

fn unprivileged_bpf(look: &Look) -> Option<Finding> {
    let meaning = "The switch loads its program with CAP_BPF in either case.";
    Some(match look.machine.text("proc/sys/kernel/unprivileged_bpf_disabled")?.as_str() {
        "0" => Finding::hint("unprivileged-bpf", "allowed", format!("Any user may load BPF programs. {meaning}"))
            .fix("sudo sysctl -w kernel.unprivileged_bpf_disabled=2"),
        value => Finding::ok("unprivileged-bpf", format!("disabled ({value})"), meaning),
    })
}

fn veth(look: &Look) -> Finding {
    match (look.kernel.has("VETH"), look.kernel.version >= (4, 19)) {
        (Some(false), _) => Finding::hint("veth", "not in this kernel (CONFIG_VETH)", "`bladeswitch lab` and containers need it."),
        (_, false) => Finding::hint("veth", "without native XDP", "AF_XDP on a veth runs in skb mode before kernel 4.19."),
        (Some(true), true) => Finding::ok("veth", "available, with native XDP", "`bladeswitch lab` works, and containers can be blades."),
        (None, true) => Finding::ok("veth", "the kernel's options are not readable", "`bladeswitch lab` needs it."),
    }
}

fn tun(look: &Look) -> Option<Finding> {
    look.uses(&[PortKind::Tap]).then(|| {
        if look.machine.exists("dev/net/tun") {
            return Finding::ok("tap", "/dev/net/tun is there", "`tap:` ports can be made.");
        }
        let severity_of = |found: &str, meaning: &str| match look.config {
            Some(_) => Finding::problem("tap", found, meaning),
            None => Finding::hint("tap", found, meaning),
        };
        match look.kernel.has("TUN") {
            Some(false) => severity_of("not in this kernel (CONFIG_TUN)", "`tap:` ports do not open."),
            _ => severity_of("/dev/net/tun is not there", "`tap:` ports do not open.").fix("sudo modprobe tun"),
        }
    })
}

fn vhost(look: &Look) -> Finding {
    match look.kernel.has("VHOST_NET") {
        _ if look.machine.exists("dev/vhost-net") => {
            Finding::ok("vhost-net", "/dev/vhost-net is there", "Virtual machines of this host can have fast TAPs.")
        }
        Some(false) => Finding::ok(
            "vhost-net",
            "not in this kernel (CONFIG_VHOST_NET)",
            "Only the TAPs of virtual machines on this host would use it.",
        ),
        _ => Finding::ok(
            "vhost-net",
            "not loaded",
            "Only the TAPs of virtual machines on this host would use it: `sudo modprobe vhost_net`.",
        ),
    }
}

/// The effective capabilities of this process, and whether they could be read.
fn effective(look: &Look) -> Option<u64> {
    let status = look.machine.text("proc/self/status")?;
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}

/// Can this kind of port not open without it? The others get on with less.
fn must_have(capability: &str, port: &PortConfig) -> bool {
    match port.spec.kind {
        PortKind::AfPacket | PortKind::Auto => capability == "CAP_NET_RAW",
        PortKind::AfXdp => matches!(capability, "CAP_NET_RAW" | "CAP_NET_ADMIN" | "CAP_BPF"),
        PortKind::Tap => capability == "CAP_NET_ADMIN",
        PortKind::Memory | PortKind::Pcap | PortKind::Dpdk | PortKind::Memif | PortKind::VhostUser => false,
    }
}

fn capabilities(look: &Look) -> Option<Finding> {
    if !look.uses(INTERFACES) {
        return None;
    }
    let held = effective(look)?;
    let missing: Vec<_> = NEEDED.iter().filter(|(_, number, _)| held >> number & 1 == 0).collect();
    if missing.is_empty() {
        let names: Vec<&str> = NEEDED.iter().map(|(name, ..)| *name).collect();
        return Some(Finding::ok("capabilities", format!("this process has {}", names.join(", ")), "Ports on interfaces can be opened."));
    }
    let names: Vec<&str> = missing.iter().map(|(name, ..)| *name).collect();
    let reasons: Vec<&str> = missing.iter().map(|(.., why)| *why).collect();
    let stops = missing.iter().any(|(name, ..)| look.ports().iter().any(|port| must_have(name, port)));
    let (found, meaning) = (format!("this process lacks {}", names.join(", ")), format!("They are for: {}.", reasons.join("; ")));
    let finding = if stops { Finding::problem("capabilities", found, meaning) } else { Finding::hint("capabilities", found, meaning) };
    let all: Vec<String> = NEEDED.iter().map(|(name, ..)| name.to_lowercase()).collect();
    Some(finding.fix(format!("sudo setcap {}=ep \"$(readlink -f \"$(command -v bladeswitch)\")\"", all.join(","))))
}

/// May the packet pool be locked, once for each AF_XDP socket?
fn locked_memory(look: &Look) -> Option<Finding> {
    const CAP_IPC_LOCK: u64 = 1 << 14;
    if !look.uses(AF_XDP) {
        return None;
    }
    let limits = look.machine.text("proc/self/limits")?;
    let words: Vec<&str> = limits.lines().find_map(|line| line.strip_prefix("Max locked memory"))?.split_whitespace().collect();
    let limit = *words.first()?;
    if effective(look).is_some_and(|held| held & CAP_IPC_LOCK != 0) || limit == "unlimited" {
        return Some(Finding::ok("locked-memory", format!("limit {limit}"), "CAP_IPC_LOCK, or no limit: AF_XDP can lock the packet pool."));
    }
    let limit_kib = limit.parse::<u64>().ok()? / 1024;
    let queues = |port: &PortConfig| {
        look.nics.iter().find(|nic| nic.interface.as_ref() == Some(&port.spec.arg)).map_or(1, |nic| nic.rx_queues.max(1))
    };
    let sockets: usize = look.ports().iter().filter(|port| AF_XDP.contains(&port.spec.kind)).map(queues).sum();
    let pool = memory::pool_kib(look);
    let needed = pool.unwrap_or(0) * sockets as u64;
    if pool.is_some() && needed <= limit_kib {
        return Some(Finding::ok("locked-memory", format!("limit {limit} bytes"), "Enough for the packet pool in every AF_XDP socket."));
    }
    let found = match pool {
        Some(_) => format!("limit {limit} bytes, {} needed (the pool in {sockets} AF_XDP sockets)", needed * 1024),
        None => format!("limit {limit} bytes, without CAP_IPC_LOCK"),
    };
    let meaning = "AF_XDP cannot lock the packet pool; CAP_IPC_LOCK or LimitMEMLOCK=infinity in a unit does as well.";
    let needed_by_spec = look.ports().iter().any(|port| port.spec.kind == PortKind::AfXdp);
    let finding =
        if needed_by_spec { Finding::problem("locked-memory", found, meaning) } else { Finding::hint("locked-memory", found, meaning) };
    Some(finding.fix("sudo prlimit --pid $$ --memlock=unlimited:unlimited"))
}

fn bridge_netfilter(look: &Look) -> Option<Finding> {
    let on: Vec<String> = ["arptables", "ip6tables", "iptables"]
        .iter()
        .map(|table| format!("net.bridge.bridge-nf-call-{table}"))
        .filter(|key| look.machine.text(&format!("proc/sys/{}", key.replacen('.', "/", 2))).as_deref() == Some("1"))
        .collect();
    (!on.is_empty()).then(|| {
        let settings: Vec<String> = on.iter().map(|key| format!("{key}=0")).collect();
        let meaning = "The machine's firewall also sees what Linux bridges forward, which slows and may drop it; ports of this switch are not concerned.";
        Finding::ok("bridge-netfilter", format!("on: {}", on.join(", ")), meaning).fix(format!("sudo sysctl -w {}", settings.join(" ")))
    })
}
