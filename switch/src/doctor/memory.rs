//! Hugepages per node and size, and room for the packet pool.

use port::{Hugepages, mempool::BUFFER_SIZE};

use super::machine::Machine;
use super::{Finding, Look, cpu};
use crate::assembly;

/// The size of hugepages that the pool uses, in KiB.
const PAGE_KIB: u64 = 2048;
/// Hugepages that are suggested when no configuration says how many: 128 MiB.
const SUGGESTED: u64 = 64;

/// A line of `/proc/meminfo`, in KiB.
pub(super) fn kib(machine: &Machine, key: &str) -> Option<u64> {
    let text = machine.text("proc/meminfo")?;
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    value.trim().trim_end_matches(" kB").trim().parse().ok()
}

/// The packet pool of the configuration, in KiB.
pub(super) fn pool_kib(look: &Look) -> Option<u64> {
    let config = look.config?;
    let buffers = config.pool.buffers.unwrap_or_else(|| assembly::buffers_needed(config));
    Some(u64::from(buffers) * BUFFER_SIZE as u64 / 1024)
}

pub(super) fn check(look: &Look) -> Vec<Finding> {
    let mut findings = hugepages(look);
    findings.extend(room(look));
    findings.extend(transparent(look));
    findings.extend(balancing(look));
    findings
}

fn hugepages(look: &Look) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut free_in_all = 0;
    let nodes = cpu::nodes(look.machine);
    let workers_node = look.cores.iter().find(|core| core.worker).and_then(|core| core.numa_node);
    // Where pages should be: with the workers, else with the first node.
    let home = workers_node.or(nodes.first().map(|(node, _)| *node)).unwrap_or(0);
    let file = |node: usize, kib: u64, file: &str| format!("sys/devices/system/node/node{node}/hugepages/hugepages-{kib}kB/{file}");
    let needed = pool_kib(look).map(|kib| kib.div_ceil(PAGE_KIB));
    let policy = look.config.map_or(Hugepages::Auto, |config| config.pool.hugepages);
    for (node, _) in &nodes {
        for name in look.machine.names(&format!("sys/devices/system/node/node{node}/hugepages")) {
            let Some(kib) = name.strip_prefix("hugepages-").and_then(|name| name.strip_suffix("kB")?.parse::<u64>().ok()) else { continue };
            let number = |what: &str| look.machine.number::<u64>(&file(*node, kib, what)).unwrap_or(0);
            let (reserved, free) = (number("nr_hugepages"), number("free_hugepages"));
            let size = if kib >= 1 << 20 { format!("{} GiB", kib >> 20) } else { format!("{} MiB", kib >> 10) };
            let found = format!("{reserved} of {size} reserved, {free} free");
            if kib != PAGE_KIB {
                findings.push(Finding::ok("hugepages", found, "Only DPDK can use pages of this size.").of(format!("node {node}, {size}")));
                continue;
            }
            free_in_all += free;
            let short = needed.unwrap_or(if reserved == 0 { SUGGESTED } else { 0 }).saturating_sub(free);
            let finding = if *node != home || short == 0 || policy == Hugepages::Never {
                Finding::ok(
                    "hugepages",
                    found,
                    if *node == home { "Enough for the packet pool." } else { "The workers are on another node." },
                )
            } else {
                let needs = needed.map_or(String::new(), |needed| format!(", {needed} needed for the packet pool"));
                Finding::hint("hugepages", found + &needs, "Without them the pool has plain pages, and more misses of the TLB.")
                    .fix(format!("echo {} | sudo tee /{}", reserved + short, file(*node, kib, "nr_hugepages")))
            };
            findings.push(finding.of(format!("node {node}, {size}")));
        }
    }
    if policy == Hugepages::Require
        && let Some(needed) = needed.filter(|&needed| needed > free_in_all)
    {
        // The kernel takes pages of any node that has some.
        let reserved = look.machine.number::<u64>("proc/sys/vm/nr_hugepages").unwrap_or(0);
        let found = format!("{free_in_all} of 2 MiB free, {needed} needed, and pool.hugepages = \"require\"");
        let finding = Finding::problem("hugepages-required", found, "The switch does not start.");
        findings.push(finding.fix(format!("sudo sysctl -w vm.nr_hugepages={}", reserved + needed - free_in_all)));
    }
    let mounts = look.machine.text("proc/mounts").unwrap_or_default();
    let mounted: Vec<&str> = mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .filter(|mount| mount.get(2) == Some(&"hugetlbfs"))
        .filter_map(|mount| mount.get(1).copied())
        .collect();
    findings.push(match &mounted[..] {
        [] => Finding::ok("hugetlbfs", "not mounted", "The packet pool needs no mount; DPDK does, unless it is started with --in-memory."),
        mounted => Finding::ok(
            "hugetlbfs",
            format!("mounted on {}", mounted.join(", ")),
            "DPDK finds its pages there; the packet pool needs no mount.",
        ),
    });
    findings
}

fn room(look: &Look) -> Option<Finding> {
    let available = kib(look.machine, "MemAvailable")?;
    let Some(pool) = pool_kib(look) else {
        return Some(Finding::ok(
            "memory",
            format!("{} MiB available", available / 1024),
            "With --config this is compared with the packet pool.",
        ));
    };
    let found = format!("{} MiB available, {} MiB for the packet pool", available / 1024, pool.div_ceil(1024));
    Some(match pool > available {
        true => {
            Finding::problem("memory", found, "The system ends the switch when the pool is used; lower pool.buffers or the ports' queues.")
        }
        false => Finding::ok("memory", found, "The pool fits."),
    })
}

fn transparent(look: &Look) -> Option<Finding> {
    let file = "sys/kernel/mm/transparent_hugepage/enabled";
    let text = look.machine.text(file)?;
    let chosen = text.split(['[', ']']).nth(1).unwrap_or("").to_owned();
    Some(match chosen.as_str() {
        "never" => Finding::hint("transparent-hugepages", chosen, "A pool on plain pages cannot be joined into large ones.")
            .fix(format!("echo madvise | sudo tee /{file}")),
        _ => Finding::ok("transparent-hugepages", chosen, "A pool on plain pages is joined into large ones where the kernel can."),
    })
}

fn balancing(look: &Look) -> Option<Finding> {
    let on = look.machine.number::<u32>("proc/sys/kernel/numa_balancing")? > 0;
    (on && cpu::nodes(look.machine).len() > 1).then(|| {
        Finding::hint("numa-balancing", "on", "The kernel unmaps pages to see who uses them, which stops workers now and then.")
            .fix("sudo sysctl -w kernel.numa_balancing=0")
    })
}
