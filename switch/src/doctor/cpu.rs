//! Cores, and what else runs on those of the workers: siblings, interrupts, ticks; frequency; clock.

use std::collections::BTreeSet;

use control::config::{Config, Idle};

use super::machine::{self, Machine, core_list};
use super::{Core, Finding, Look, cores_text};

/// The cores that are online.
pub(super) fn cores(machine: &Machine, config: Option<&Config>) -> Vec<Core> {
    const CPU: &str = "sys/devices/system/cpu";
    let isolated = machine.cores(&format!("{CPU}/isolated"));
    let nohz_full = machine.cores(&format!("{CPU}/nohz_full"));
    let workers: &[usize] = config.map_or(&[], |config| &config.switch.cores);
    let nodes: Vec<(usize, BTreeSet<usize>)> = nodes(machine);
    let core = |id: usize| {
        let mut siblings = machine.cores(&format!("{CPU}/cpu{id}/topology/thread_siblings_list"));
        siblings.remove(&id);
        Core {
            id,
            numa_node: nodes.iter().find(|(_, cores)| cores.contains(&id)).map(|(node, _)| *node),
            siblings: core_list(&siblings),
            isolated: isolated.contains(&id),
            nohz_full: nohz_full.contains(&id),
            governor: machine.text(&format!("{CPU}/cpu{id}/cpufreq/scaling_governor")),
            worker: workers.contains(&id),
        }
    };
    machine.cores(&format!("{CPU}/online")).into_iter().map(core).collect()
}

/// The NUMA nodes, with their cores.
pub(super) fn nodes(machine: &Machine) -> Vec<(usize, BTreeSet<usize>)> {
    let names = machine.names("sys/devices/system/node");
    let number = |name: &String| name.strip_prefix("node")?.parse::<usize>().ok();
    let mut nodes: Vec<usize> = names.iter().filter_map(number).collect();
    nodes.sort_unstable();
    nodes.into_iter().map(|node| (node, machine.cores(&format!("sys/devices/system/node/node{node}/cpulist")))).collect()
}

pub(super) fn check(look: &Look) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(worker_cores(look));
    findings.push(isolation(look));
    findings.extend(siblings(look));
    findings.extend(interrupts(look));
    findings.push(governor(look));
    findings.extend(clock(look));
    findings
}

/// Do the workers of the configuration have cores, and are these there?
fn worker_cores(look: &Look) -> Option<Finding> {
    let switch = &look.config?.switch;
    let missing: BTreeSet<usize> = switch.cores.iter().copied().filter(|id| look.cores.iter().all(|core| core.id != *id)).collect();
    let online = core_list(&look.cores.iter().map(|core| core.id).collect());
    Some(if !missing.is_empty() {
        let found = format!("switch.cores names {}: not online", cores_text(&missing));
        Finding::hint("worker-cores", found, format!("Such a worker runs where the system puts it; online are {online}."))
    } else if switch.workers > look.cores.len() {
        let found = format!("{} workers, {} cores", switch.workers, look.cores.len());
        Finding::hint("worker-cores", found, "Workers that share a core wait for each other for milliseconds.")
    } else if switch.idle == Idle::Spin && switch.cores.is_empty() {
        let found = "the workers spin, and switch.cores does not say where";
        Finding::hint("worker-cores", found, format!("The system moves them about; name cores of {online} in switch.cores."))
    } else {
        Finding::ok("worker-cores", format!("{} workers, {} cores", switch.workers, look.cores.len()), "There is a core for each worker.")
    })
}

/// The cores to isolate: those of the workers, or a suggestion.
fn to_isolate(look: &Look) -> BTreeSet<usize> {
    let workers = look.workers();
    if !workers.is_empty() || look.config.is_some() || look.cores.len() < 2 {
        return workers;
    }
    let fastest = look.nics.iter().filter(|nic| !nic.default_route).max_by_key(|nic| nic.speed_mbps.unwrap_or(0));
    let node = fastest.and_then(|nic| nic.numa_node);
    // The last core of that node: the first ones are where the system does its own work.
    look.cores.iter().rev().find(|core| node.is_none() || core.numa_node == node).map(|core| core.id).into_iter().collect()
}

fn isolation(look: &Look) -> Finding {
    let isolated: BTreeSet<usize> = look.cores.iter().filter(|core| core.isolated).map(|core| core.id).collect();
    let wanted = to_isolate(look);
    // A kernel without the option heeds no `nohz_full`.
    let tickless = look.kernel.has("NO_HZ_FULL") != Some(false);
    let is_left_alone = |core: &Core| core.isolated && (core.nohz_full || !tickless);
    let open: BTreeSet<usize> =
        wanted.iter().copied().filter(|id| !look.cores.iter().any(|core| core.id == *id && is_left_alone(core))).collect();
    let none_named = look.config.is_some() && wanted.is_empty();
    if none_named || look.cores.len() < 2 || open.is_empty() || (look.config.is_none() && !isolated.is_empty()) {
        let found = if isolated.is_empty() { "no core is isolated".to_owned() } else { format!("isolated: {}", cores_text(&isolated)) };
        return Finding::ok("isolation", found, "Workers that sleep (idle = \"adaptive\") need no core of their own.");
    }
    let list = core_list(&wanted);
    let nohz_full = if tickless { format!(" nohz_full={list}") } else { String::new() };
    let parameters = format!("isolcpus=managed_irq,domain,{list}{nohz_full} rcu_nocbs={list}");
    let found = match look.config {
        Some(_) if tickless => format!("{} of the workers: not isolated, or with a timer tick", cores_text(&open)),
        Some(_) => format!("{} of the workers: not isolated", cores_text(&open)),
        None => "no core is isolated".to_owned(),
    };
    let meaning = format!("Whatever else runs on a worker's core delays frames by milliseconds.{}", look.boot_note(&parameters));
    Finding::hint("isolation", found, meaning).fix_if(look.boot_with(&parameters))
}

fn siblings(look: &Look) -> Option<Finding> {
    let workers = look.workers();
    let shared: BTreeSet<usize> = look.cores.iter().filter(|core| core.worker).flat_map(|core| machine::cores(&core.siblings)).collect();
    let any = look.cores.iter().any(|core| !core.siblings.is_empty());
    if !any {
        return Some(Finding::ok("smt", "no SMT siblings", "Each core has its execution units to itself."));
    }
    if workers.is_empty() {
        let meaning = "A worker should not share its physical core; with --config this is checked for its cores.";
        return Some(Finding::ok("smt", "cores have SMT siblings", meaning));
    }
    let both: BTreeSet<usize> = shared.intersection(&workers).copied().collect();
    if !both.is_empty() {
        let found = format!("workers on {} are siblings", cores_text(&both));
        return Some(Finding::hint(
            "smt",
            found,
            "Two workers on one physical core have about the speed of one; choose other switch.cores.",
        ));
    }
    if shared.is_empty() {
        return Some(Finding::ok("smt", "the workers' cores have no siblings online", "Nobody shares their execution units."));
    }
    let files: Vec<String> = shared.iter().map(|id| format!("/sys/devices/system/cpu/cpu{id}/online")).collect();
    let found = format!("{}: siblings of workers' cores", cores_text(&shared));
    let meaning = "What runs there takes up to half of the worker's speed; leave them idle, or switch them off.";
    Some(Finding::hint("smt", found, meaning).fix(format!("echo 0 | sudo tee {}", files.join(" "))))
}

/// Interrupts that are served on cores of workers (of the configuration, else on isolated ones).
fn interrupts(look: &Look) -> Option<Finding> {
    let mut cores = look.workers();
    if cores.is_empty() {
        cores = look.cores.iter().filter(|core| core.isolated).map(|core| core.id).collect();
    }
    if cores.is_empty() {
        return None;
    }
    let elsewhere: BTreeSet<usize> = look.cores.iter().map(|core| core.id).filter(|id| !cores.contains(id)).collect();
    let table = look.machine.text("proc/interrupts").unwrap_or_default();
    let columns: Vec<usize> =
        table.lines().next().unwrap_or("").split_whitespace().filter_map(|cpu| cpu.strip_prefix("CPU")?.parse().ok()).collect();
    let mut landing: Vec<(u32, String)> = Vec::new();
    for line in table.lines().skip(1) {
        let mut words = line.split_whitespace();
        let Some(irq) = words.next().and_then(|word| word.strip_suffix(':')?.parse::<u32>().ok()) else { continue };
        let counts: Vec<u64> = words.by_ref().take(columns.len()).filter_map(|word| word.parse().ok()).collect();
        let happens = counts.iter().any(|&count| count > 0);
        // Where it may be served, and where it is: after a change it moves only when it happens again.
        let allowed = look.machine.cores(&format!("proc/irq/{irq}/smp_affinity_list"));
        let effective = look.machine.cores(&format!("proc/irq/{irq}/effective_affinity_list"));
        let lands = !allowed.is_disjoint(&cores) && (effective.is_empty() || !effective.is_disjoint(&cores));
        if happens && lands {
            landing.push((irq, words.last().unwrap_or_default().to_owned()));
        }
    }
    if landing.is_empty() {
        let found = format!("no interrupt is served on {}", cores_text(&cores));
        return Some(Finding::ok("interrupts", found, "Nothing interrupts the workers but the kernel itself."));
    }
    let named: Vec<String> = landing.iter().map(|(irq, name)| format!("{irq} {name}")).collect();
    let numbers: Vec<String> = landing.iter().map(|(irq, _)| irq.to_string()).collect();
    let mut meaning =
        "Each one stops a worker for some microseconds. The kernel refuses to move those that it manages: they stay, unless it is started with isolcpus=managed_irq."
            .to_owned();
    if balanced(look.machine) {
        meaning += " irqbalance runs and moves them again: set IRQBALANCE_BANNED_CPULIST in /etc/default/irqbalance.";
    }
    let fix = (!elsewhere.is_empty()).then(|| {
        let list = core_list(&elsewhere);
        format!("for irq in {}; do echo {list} | sudo tee /proc/irq/$irq/smp_affinity_list; done", numbers.join(" "))
    });
    Some(Finding::hint("interrupts", format!("on {}: {}", cores_text(&cores), named.join(", ")), meaning).fix_if(fix))
}

/// Does irqbalance run?
fn balanced(machine: &Machine) -> bool {
    let processes = machine.names("proc");
    let mut processes = processes.iter().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
    processes.any(|process| machine.text(&format!("proc/{process}/comm")).as_deref() == Some("irqbalance"))
}

fn governor(look: &Look) -> Finding {
    let of_interest: Vec<&Core> = look.cores.iter().filter(|core| core.worker || look.workers().is_empty()).collect();
    let slow: BTreeSet<usize> = of_interest
        .iter()
        .filter(|core| core.governor.as_deref().is_some_and(|governor| governor != "performance"))
        .map(|core| core.id)
        .collect();
    let Some(&first) = slow.first() else {
        return match of_interest.iter().any(|core| core.governor.is_some()) {
            true => Finding::ok("governor", "performance", "The cores stay at their full frequency."),
            false => Finding::ok(
                "governor",
                "none",
                "The frequency is not the system's choice here (firmware, or the host of a virtual machine).",
            ),
        };
    };
    let files = match slow.len() == look.cores.len() {
        true => "/sys/devices/system/cpu/cpu*/cpufreq/scaling_governor".to_owned(),
        false => slow.iter().map(|id| format!("/sys/devices/system/cpu/cpu{id}/cpufreq/scaling_governor")).collect::<Vec<_>>().join(" "),
    };
    let name = look.cores.iter().find(|core| core.id == first).and_then(|core| core.governor.clone()).unwrap_or_default();
    Finding::hint("governor", format!("{name} on {}", cores_text(&slow)), "Cores that slow down when idle answer the first frames late.")
        .fix(format!("echo performance | sudo tee {files}"))
}

fn clock(look: &Look) -> Vec<Finding> {
    const CLOCK: &str = "sys/devices/system/clocksource/clocksource0";
    let mut findings = Vec::new();
    let current = look.machine.text(&format!("{CLOCK}/current_clocksource")).unwrap_or_default();
    let available = look.machine.text(&format!("{CLOCK}/available_clocksource")).unwrap_or_default();
    findings.push(if current == "tsc" || current.starts_with("arch_") {
        Finding::ok("clock-source", current, "The time costs some 20 ns.")
    } else if available.split_whitespace().any(|source| source == "tsc") {
        Finding::hint("clock-source", format!("{current}, and tsc is available"), "Each look at the time costs more than with tsc.")
            .fix(format!("echo tsc | sudo tee /{CLOCK}/current_clocksource"))
    } else {
        Finding::hint(
            "clock-source",
            format!("{current}; tsc is not available"),
            "Each look at the time costs more, and the kernel may have found the TSC unsteady.",
        )
    });
    if !look.flags.is_empty() {
        let missing: Vec<&str> = ["constant_tsc", "nonstop_tsc"].into_iter().filter(|flag| !look.flags.contains(*flag)).collect();
        findings.push(match &missing[..] {
            [] => Finding::ok("tsc", "constant_tsc nonstop_tsc", "The time stamp counter measures time, whatever the cores do."),
            missing => Finding::hint(
                "tsc",
                format!("without {}", missing.join(" ")),
                "Costs per phase and latencies may be wrong: the counter changes with the frequency, or stops.",
            ),
        });
    }
    findings
}
