//! What `doctor` says about machines: two that are made of files here, an empty one, and the one this runs on.
//!
//! Commands that write files of `/proc` and `/sys` are run against the made machines, and must make the finding go away.

#[path = "doctor/machines.rs"]
mod machines;

use std::process::Command;

use bladeswitch::doctor::{Finding, Machine, Report, Severity, examine};
use control::config::Config;
use machines::{Made, server, virtual_machine};
use serde_json::Value;

fn config(text: &str) -> Config {
    Config::parse(text, "test.toml").unwrap_or_else(|errors| panic!("{errors}"))
}

fn look(made: &Made, config: Option<&Config>) -> Report {
    examine(&Machine::at(made.root()), config)
}

fn find<'a>(report: &'a Report, id: &str, subject: &str) -> &'a Finding {
    let mut findings = report.findings.iter().filter(|finding| finding.id == id && finding.subject == subject);
    let Some(finding) = findings.next() else { panic!("no {id} of `{subject}` in {:#?}", report.findings) };
    assert_eq!(findings.next(), None, "{id} of `{subject}` is there twice");
    finding
}

/// A finding: how much it matters, and words that what is found has.
fn expect<'a>(report: &'a Report, id: &str, subject: &str, severity: Severity, found: &str) -> &'a Finding {
    let finding = find(report, id, subject);
    assert!(finding.severity == severity && finding.found.contains(found), "{finding:#?}, expected {severity:?} and `{found}`");
    finding
}

fn fix(finding: &Finding) -> &str {
    finding.fix.as_deref().unwrap_or_else(|| panic!("{finding:#?} has no fix"))
}

/// A switch on the server's cores 2 and 4, with a port on each of its fast interfaces.
const SERVER: &str = "
[switch]
workers = 2
cores = [2, 4]
idle = \"spin\"
[[blade]]
slot = 1
port = \"af_xdp:ens1f0\"
[[blade]]
slot = 2
port = \"af_packet:ens1f1\"
";

#[test]
fn a_server_that_nobody_has_prepared() {
    let made = server();
    let config = config(SERVER);
    let report = look(&made, Some(&config));

    let names: Vec<_> = report.interfaces.iter().map(|nic| nic.interface.as_deref().unwrap_or("-")).collect();
    assert_eq!(names, ["eno1", "ens1f0", "ens1f1", "-"]);
    let fast = &report.interfaces[1];
    assert_eq!((fast.pci.as_deref(), fast.driver.as_deref(), fast.speed_mbps), (Some("0000:3b:00.0"), Some("i40e"), Some(10_000)));
    assert_eq!((fast.numa_node, fast.iommu_group.as_deref(), fast.rx_queues, fast.up), (Some(1), None, 4, true));
    let defaults: Vec<bool> = report.interfaces.iter().map(|nic| nic.default_route).collect();
    assert_eq!(defaults, [true, false, false, false]);
    assert_eq!(
        (report.kernel.as_str(), report.virtual_machine, report.memory_mib, report.cores.len()),
        ("6.1.0-18-amd64", false, 64_000, 8)
    );
    assert_eq!((report.cores[2].siblings.as_str(), report.cores[2].numa_node, report.cores[2].worker), ("6", Some(0), true));

    use Severity::{Hint, Ok, Problem};
    // AF_XDP's locked memory: the server's shell has no capabilities.
    expect(&report, "capabilities", "", Problem, "lacks CAP_NET_RAW");
    assert!(fix(find(&report, "capabilities", "")).starts_with("sudo setcap cap_net_raw,cap_net_admin,cap_bpf,cap_ipc_lock=ep"));
    expect(&report, "locked-memory", "", Problem, "limit 8388608 bytes");
    expect(&report, "af-xdp", "", Hint, "available, kernel 6.1.0");
    expect(&report, "port-interface", "blade1 (af_xdp:ens1f0)", Ok, "ens1f0 is there");
    let isolation = expect(&report, "isolation", "", Hint, "cores 2,4 of the workers");
    assert!(fix(isolation).contains("isolcpus=managed_irq,domain,2,4 nohz_full=2,4 rcu_nocbs=2,4") && fix(isolation).ends_with("reboot"));
    assert!(isolation.meaning.contains("restarts the machine"), "{isolation:?}");
    let smt = expect(&report, "smt", "", Hint, "core 6: siblings");
    assert_eq!(fix(smt), "echo 0 | sudo tee /sys/devices/system/cpu/cpu6/online");
    expect(&report, "governor", "", Hint, "powersave on cores 2,4");
    let interrupts = expect(&report, "interrupts", "", Hint, "40 i40e-ens1f0-TxRx-0, 42 eno1");
    assert!(!interrupts.found.contains("41") && !interrupts.found.contains("43"), "{interrupts:?}");
    assert!(interrupts.meaning.contains("IRQBALANCE_BANNED_CPULIST"), "{interrupts:?}");
    expect(&report, "numa", "ens1f0", Hint, "node 1, the worker on core 2 is not");
    expect(&report, "hugepages", "node 0, 2 MiB", Hint, "0 of 2 MiB reserved");
    expect(&report, "hugepages", "node 1, 2 MiB", Ok, "16 of 2 MiB reserved, 16 free");
    expect(&report, "hugepages", "node 0, 1 GiB", Ok, "1 of 1 GiB reserved");
    expect(&report, "transparent-hugepages", "", Hint, "never");
    expect(&report, "numa-balancing", "", Hint, "on");
    expect(&report, "clock-source", "", Hint, "hpet, and tsc is available");
    expect(&report, "tsc", "", Ok, "constant_tsc");

    // Nothing is bound that the configuration does not give to DPDK, but what it would take is said.
    let binding = expect(&report, "binding", "ens1f1", Hint, "no IOMMU group");
    assert!(fix(binding).contains("intel_iommu=on iommu=pt") && fix(binding).ends_with("reboot"), "{binding:?}");
    let default = expect(&report, "binding", "eno1", Ok, "blocked: it carries the default route");
    assert_eq!(default.fix, None);
    expect(&report, "default-route", "eno1", Ok, "default route");
    expect(&report, "binding", "0000:5e:00.0", Ok, "bound to vfio-pci");

    let severities: Vec<_> = report.findings.iter().map(|finding| finding.severity).collect();
    assert!(severities.is_sorted_by(|a, b| a >= b), "the worst are not first");
    for severity in [Ok, Hint, Problem] {
        assert_eq!(report.count(severity), severities.iter().filter(|&&s| s == severity).count());
    }
}

/// Runs the part of a fix that writes files, on the files of the made machine.
fn apply(made: &Made, finding: &Finding) {
    let command = fix(finding).split(" && sudo update-grub").next().unwrap_or_default().replace("sudo ", "");
    let root = made.root().display();
    let command =
        ["/sys/", "/proc/", "/etc/"].iter().fold(command, |text, folder| text.replace(&format!(" {folder}"), &format!(" {root}{folder}")));
    assert!(command.contains(&root.to_string()) && !command.contains("sysctl"), "{command}");
    let output = Command::new("sh").args(["-ec", &command]).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn what_a_fix_writes_is_what_was_missing() {
    let made = server();
    let config = config(SERVER);
    for id in ["governor", "transparent-hugepages", "clock-source", "interrupts"] {
        let finding = find(&look(&made, Some(&config)), id, "").clone();
        assert_eq!(finding.severity, Severity::Hint, "{finding:?}");
        apply(&made, &finding);
        if id == "transparent-hugepages" {
            // The kernel shows all choices, the one in use in brackets.
            made.write("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never");
        }
        expect(&look(&made, Some(&config)), id, "", Severity::Ok, "");
    }
    // The first command reserves pages; what is free then is what the kernel says.
    let hugepages = find(&look(&made, Some(&config)), "hugepages", "node 0, 2 MiB").clone();
    apply(&made, &hugepages);
    let pages = "sys/devices/system/node/node0/hugepages/hugepages-2048kB";
    made.write(&format!("{pages}/free_hugepages"), &made.read(&format!("{pages}/nr_hugepages")));
    expect(&look(&made, Some(&config)), "hugepages", "node 0, 2 MiB", Severity::Ok, "reserved");

    let isolation = find(&look(&made, Some(&config)), "isolation", "").clone();
    apply(&made, &isolation);
    let grub = made.read("etc/default/grub");
    assert_eq!(grub, "GRUB_TIMEOUT=5\nGRUB_CMDLINE_LINUX=\"isolcpus=managed_irq,domain,2,4 nohz_full=2,4 rcu_nocbs=2,4 quiet\"\n");
    // After the restart:
    made.write("sys/devices/system/cpu/isolated", "2,4");
    made.write("sys/devices/system/cpu/nohz_full", "2,4");
    expect(&look(&made, Some(&config)), "isolation", "", Severity::Ok, "isolated: cores 2,4");
}

#[test]
fn a_device_for_dpdk_step_by_step() {
    let made = server();
    let config = config("[[blade]]\nslot = 1\nport = \"dpdk:0000:3b:00.1\"\n[[blade]]\nslot = 2\nport = \"dpdk:0000:19:00.0\"\n");
    // First the IOMMU, which takes a restart.
    let report = look(&made, Some(&config));
    expect(&report, "binding", "ens1f1", Severity::Problem, "the module vfio-pci is not loaded; no IOMMU group");
    // The way to the machine is never given away.
    assert_eq!(expect(&report, "binding", "eno1", Severity::Problem, "default route").fix, None);

    made.group("0000:3b:00.0", 7);
    made.group("0000:3b:00.1", 7);
    let report = look(&made, Some(&config));
    let shared =
        expect(&report, "binding", "ens1f1", Severity::Problem, "its IOMMU group has others with drivers of the kernel: 0000:3b:00.0");
    assert_eq!(shared.fix, None);

    made.ungroup("0000:3b:00.0");
    let report = look(&made, Some(&config));
    let binding = expect(&report, "binding", "ens1f1", Severity::Problem, "the module vfio-pci is not loaded");
    let device = "/sys/bus/pci/devices/0000:3b:00.1";
    assert_eq!(
        fix(binding),
        format!(
            "sudo modprobe vfio-pci && sudo ip link set dev ens1f1 down && echo vfio-pci | sudo tee {device}/driver_override && \
             echo 0000:3b:00.1 | sudo tee {device}/driver/unbind && echo 0000:3b:00.1 | sudo tee /sys/bus/pci/drivers_probe"
        )
    );
    made.write("sys/bus/pci/drivers/vfio-pci/new_id", "");
    let report = look(&made, Some(&config));
    expect(&report, "binding", "ens1f1", Severity::Problem, "can be bound to vfio-pci (now i40e)");

    // The commands have run: the interface is gone and the driver another one.
    made.remove("sys/class/net/ens1f1");
    made.link("sys/bus/pci/devices/0000:3b:00.1/driver", "../../drivers/vfio-pci");
    expect(&look(&made, Some(&config)), "binding", "0000:3b:00.1", Severity::Ok, "bound to vfio-pci");
}

#[test]
fn the_default_route_is_seen_through_a_bridge() {
    let made = server();
    made.write("proc/net/route", "Iface Destination Gateway Flags RefCnt Use Metric Mask\nbr0 00000000 0102A8C0 0003 0 0 0 00000000\n");
    made.link("sys/class/net/br0/lower_ens1f0", "../ens1f0");
    let config = config(SERVER);
    let report = look(&made, Some(&config));
    let defaults: Vec<_> = report.interfaces.iter().filter(|nic| nic.default_route).map(|nic| nic.interface.as_deref()).collect();
    assert_eq!(defaults, [Some("ens1f0")]);
    expect(&report, "port-interface", "blade1 (af_xdp:ens1f0)", Severity::Problem, "carries the machine's default route");
}

#[test]
fn a_virtual_machine_with_root() {
    let made = virtual_machine();
    let report = look(&made, None);
    assert!(report.virtual_machine);
    assert_eq!(report.count(Severity::Problem), 0, "{:#?}", report.findings);
    let nic = &report.interfaces[0];
    assert_eq!((nic.driver.as_deref(), nic.speed_mbps, nic.numa_node), (Some("virtio_net"), None, None));
    expect(&report, "capabilities", "", Severity::Ok, "CAP_NET_RAW, CAP_NET_ADMIN, CAP_BPF, CAP_IPC_LOCK");
    expect(&report, "governor", "", Severity::Ok, "none");
    expect(&report, "smt", "", Severity::Ok, "no SMT siblings");
    // Root needs no sudo, and the kernel here has no nohz_full.
    let hugepages = expect(&report, "hugepages", "node 0, 2 MiB", Severity::Hint, "0 of 2 MiB");
    assert_eq!(fix(hugepages), "echo 64 | tee /sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages");
    let isolation = expect(&report, "isolation", "", Severity::Hint, "no core is isolated");
    assert!(isolation.fix.is_none() && isolation.meaning.contains("`isolcpus=managed_irq,domain,1 rcu_nocbs=1`"), "{isolation:?}");
}

#[test]
fn a_configuration_that_asks_too_much() {
    let made = virtual_machine();
    let config = config(
        "[switch]\nworkers = 3\ncores = [0, 1, 9]\n[pool]\nbuffers = 4_000_000\nhugepages = \"require\"\n[[blade]]\nslot = 1\nport = \"af_packet:eth7\"\n\
         [[blade]]\nslot = 2\nport = \"tap:tap9\"\n",
    );
    let report = look(&made, Some(&config));
    expect(&report, "worker-cores", "", Severity::Hint, "core 9: not online");
    expect(&report, "port-interface", "blade1 (af_packet:eth7)", Severity::Problem, "there is no interface eth7");
    expect(&report, "memory", "", Severity::Problem, "1500 MiB available, 7813 MiB for the packet pool");
    let required = expect(&report, "hugepages-required", "", Severity::Problem, "0 of 2 MiB free, 3907 needed");
    assert_eq!(fix(required), "sysctl -w vm.nr_hugepages=3907");
    expect(&report, "tap", "", Severity::Problem, "not in this kernel");
}

#[test]
fn a_machine_that_shows_nothing() {
    let empty = Made::empty();
    for config in [None, Some(&config(SERVER))] {
        let report = look(&empty, config);
        assert!(report.interfaces.is_empty() && report.cores.is_empty() && !report.findings.is_empty());
        assert!(report.findings.iter().all(|finding| !finding.found.is_empty() && !finding.meaning.is_empty()));
    }
}

#[test]
fn files_full_of_nonsense() {
    let made = server();
    for (number, file) in made.files().into_iter().enumerate() {
        let nonsense: &[u8] = [&b"\xff\xfe\0"[..], b"-1\n", b"99999999999999999999", b"0-,-,,\n:\n=", b"CPU0 CPU1\n 40: x y\n"][number % 5];
        std::fs::write(file, nonsense).unwrap();
    }
    for config in [None, Some(&config(SERVER))] {
        assert!(!look(&made, config).findings.is_empty());
    }
}

#[test]
fn the_machine_this_runs_on() {
    let output = assert_cmd::Command::new(env!("CARGO_BIN_EXE_bladeswitch")).args(["doctor", "--json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["ok"], true);
    assert_eq!(report["kernel"], std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap().trim());
    let carriers = port::netdev::route::default_interfaces().unwrap();
    for nic in report["interfaces"].as_array().unwrap() {
        let carries = nic["interface"].as_str().is_some_and(|name| carriers.iter().any(|carrier| carrier == name));
        assert_eq!(nic["default_route"], carries, "{nic}");
    }
    let online = std::thread::available_parallelism().unwrap().get();
    assert!(report["cores"].as_array().unwrap().len() >= online, "{report}");
    for finding in report["findings"].as_array().unwrap() {
        assert!(["ok", "hint", "problem"].contains(&finding["severity"].as_str().unwrap()), "{finding}");
        // No command takes the machine's network away.
        let fix = finding["fix"].as_str().unwrap_or_default();
        assert!(carriers.iter().all(|carrier| !fix.contains(&format!("ip link set dev {carrier}"))), "{finding}");
        // What a shell cannot read is no command.
        let read = Command::new("sh").args(["-nc", fix]).status().unwrap();
        assert!(read.success(), "{finding}");
    }
}

#[test]
fn a_configuration_that_cannot_run_here_is_exit_code_1() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("chassis.toml");
    std::fs::write(&file, "[[blade]]\nslot = 1\nport = \"af_packet:no-such-if\"\n").unwrap();
    let output = assert_cmd::Command::new(env!("CARGO_BIN_EXE_bladeswitch")).arg("doctor").arg("--config").arg(&file).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("there is no interface no-such-if"), "{text}");
}
