//! Machines made of files, for `doctor` to look at: a server with two nodes and a small virtual machine.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// Folders `proc`, `sys`, `etc` and `boot` of a machine, removed at the end.
pub struct Made {
    dir: TempDir,
}

impl Made {
    pub fn empty() -> Made {
        Made { dir: tempfile::tempdir().unwrap() }
    }

    pub fn root(&self) -> &Path {
        self.dir.path()
    }

    pub fn write(&self, path: &str, text: &str) {
        let path = self.root().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.root().join(path)).unwrap()
    }

    /// A symbolic link, in place of what was there.
    pub fn link(&self, path: &str, target: &str) {
        let path = self.root().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let _ = std::fs::remove_file(&path);
        symlink(target, path).unwrap();
    }

    pub fn remove(&self, path: &str) {
        let path = self.root().join(path);
        if path.is_symlink() { std::fs::remove_file(path).unwrap() } else { std::fs::remove_dir_all(path).unwrap() }
    }

    /// All files, links not followed.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut folders = vec![self.root().to_owned()];
        let mut files = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap().flatten() {
                let kind = entry.file_type().unwrap();
                if kind.is_dir() {
                    folders.push(entry.path());
                } else if kind.is_file() {
                    files.push(entry.path());
                }
            }
        }
        files.sort();
        files
    }

    fn files_of(&self, files: &[(&str, &str)]) {
        for (path, text) in files {
            self.write(path, text);
        }
    }

    /// A network device on PCI, and its driver.
    fn device(&self, pci: &str, driver: &str, node: &str) {
        let device = format!("sys/devices/pci0000:00/{pci}");
        self.write(&format!("{device}/class"), "0x020000\n");
        self.write(&format!("{device}/numa_node"), node);
        self.link(&format!("sys/bus/pci/devices/{pci}"), &format!("../../../devices/pci0000:00/{pci}"));
        std::fs::create_dir_all(self.root().join(format!("sys/bus/pci/drivers/{driver}"))).unwrap();
        self.link(&format!("{device}/driver"), &format!("../../../bus/pci/drivers/{driver}"));
    }

    /// The interface of a device.
    fn interface(&self, name: &str, device: &str, speed: &str, queues: usize) {
        let folder = format!("sys/devices/{device}/net/{name}");
        self.write(&format!("{folder}/operstate"), "up\n");
        self.write(&format!("{folder}/speed"), speed);
        for queue in 0..queues {
            self.write(&format!("{folder}/queues/rx-{queue}/rps_cpus"), "0\n");
        }
        self.write(&format!("{folder}/queues/tx-0/xps_cpus"), "0\n");
        self.link(&format!("{folder}/device"), "../..");
        self.link(&format!("sys/class/net/{name}"), &format!("../../devices/{device}/net/{name}"));
    }

    /// Puts a device into an IOMMU group.
    pub fn group(&self, pci: &str, group: u32) {
        self.link(&format!("sys/bus/pci/devices/{pci}/iommu_group"), &format!("../../../kernel/iommu_groups/{group}"));
        self.link(&format!("sys/kernel/iommu_groups/{group}/devices/{pci}"), &format!("../../../../devices/pci0000:00/{pci}"));
    }

    /// Takes a device out of its IOMMU group.
    pub fn ungroup(&self, pci: &str) {
        let link = self.root().join(format!("sys/bus/pci/devices/{pci}/iommu_group"));
        let group = std::fs::read_link(&link).unwrap().file_name().unwrap().to_str().unwrap().to_owned();
        std::fs::remove_file(link).unwrap();
        self.remove(&format!("sys/kernel/iommu_groups/{group}/devices/{pci}"));
    }

    fn hugepages(&self, node: usize, kib: u64, pages: &str) {
        for file in ["nr_hugepages", "free_hugepages"] {
            self.write(&format!("sys/devices/system/node/node{node}/hugepages/hugepages-{kib}kB/{file}"), pages);
        }
    }
}

/// Two nodes of two cores with two threads each; Intel; Debian 12. eno1 is the way to the machine, ens1f0 and ens1f1 are two ports of a fast
/// card on node 1, a third card is with vfio-pci. Nothing is prepared, and a user asks.
pub fn server() -> Made {
    let made = Made::empty();
    made.files_of(&[
        ("proc/sys/kernel/osrelease", "6.1.0-18-amd64\n"),
        ("boot/config-6.1.0-18-amd64", "CONFIG_PACKET=y\nCONFIG_XDP_SOCKETS=y\nCONFIG_VETH=m\nCONFIG_VFIO_PCI=m\nCONFIG_TUN=m\nCONFIG_NO_HZ_FULL=y\n"),
        ("proc/sys/kernel/unprivileged_bpf_disabled", "2\n"),
        ("proc/sys/kernel/numa_balancing", "1\n"),
        ("proc/self/status", "Name:\tbladeswitch\nUid:\t1000\t1000\t1000\t1000\nCapEff:\t0000000000000000\n"),
        ("proc/self/limits", "Limit  Soft Limit  Hard Limit  Units\nMax locked memory         8388608              8388608              bytes     \n"),
        ("proc/meminfo", "MemTotal:       65536000 kB\nMemAvailable:   60000000 kB\n"),
        ("proc/mounts", "proc /proc proc rw 0 0\nhugetlbfs /dev/hugepages hugetlbfs rw,pagesize=2M 0 0\n"),
        ("proc/cpuinfo", "processor : 0\nvendor_id : GenuineIntel\nflags : fpu tsc constant_tsc nonstop_tsc\n\nprocessor : 1\nflags : fpu\n"),
        ("proc/net/route", "Iface Destination Gateway Flags RefCnt Use Metric Mask\neno1 00000000 0102A8C0 0003 0 0 0 00000000\nens1f0 000AA8C0 00000000 0001 0 0 0 00FFFFFF\n"),
        ("proc/net/protocols", "protocol  size\nPACKET  1536\nXDP  1088\n"),
        ("proc/811/comm", "irqbalance\n"),
        // 40 and 42 are served on cores 2 and 4; 41 never happened; 43 is served elsewhere.
        ("proc/interrupts", "      CPU0 CPU1 CPU2 CPU3 CPU4 CPU5 CPU6 CPU7\n  40: 0 0 9 0 0 0 0 0 IR-PCI-MSI 1-edge i40e-ens1f0-TxRx-0\n  41: 0 0 0 0 0 0 0 0 IR-PCI-MSI 2-edge i40e-ens1f0-TxRx-1\n  42: 0 0 0 0 77 0 0 0 IR-PCI-MSI 3-edge eno1\n  43: 5 0 0 0 0 0 0 0 IR-PCI-MSI 4-edge ahci\n NMI: 0 0 0 0 0 0 0 0 Non-maskable interrupts\n"),
        ("proc/irq/40/smp_affinity_list", "2\n"),
        ("proc/irq/41/smp_affinity_list", "2\n"),
        ("proc/irq/42/smp_affinity_list", "0-7\n"),
        ("proc/irq/42/effective_affinity_list", "4\n"),
        ("proc/irq/43/smp_affinity_list", "0-7\n"),
        ("proc/irq/43/effective_affinity_list", "0\n"),
        ("etc/default/grub", "GRUB_TIMEOUT=5\nGRUB_CMDLINE_LINUX=\"quiet\"\n"),
        ("sys/devices/system/cpu/online", "0-7\n"),
        ("sys/devices/system/cpu/isolated", "\n"),
        ("sys/devices/system/cpu/nohz_full", "(null)\n"),
        ("sys/devices/system/node/node0/cpulist", "0-2,6\n"),
        ("sys/devices/system/node/node1/cpulist", "3-5,7\n"),
        ("sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet\n"),
        ("sys/devices/system/clocksource/clocksource0/available_clocksource", "tsc hpet acpi_pm \n"),
        ("sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]\n"),
    ]);
    for (core, siblings) in ["0", "1", "2,6", "3,7", "4", "5", "2,6", "3,7"].into_iter().enumerate() {
        made.write(&format!("sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list"), siblings);
        made.write(&format!("sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor"), "powersave\n");
    }
    made.device("0000:19:00.0", "igb", "0\n");
    made.interface("eno1", "pci0000:00/0000:19:00.0", "1000\n", 1);
    made.device("0000:3b:00.0", "i40e", "1\n");
    made.interface("ens1f0", "pci0000:00/0000:3b:00.0", "10000\n", 4);
    made.device("0000:3b:00.1", "i40e", "1\n");
    made.interface("ens1f1", "pci0000:00/0000:3b:00.1", "-1\n", 4);
    made.device("0000:5e:00.0", "vfio-pci", "1\n");
    // That driver is shown by its device; the folder of the module is not there until a test loads it.
    made.remove("sys/bus/pci/drivers/vfio-pci");
    made.hugepages(0, 2048, "0\n");
    made.hugepages(0, 1 << 20, "1\n");
    made.hugepages(1, 2048, "16\n");
    made
}

/// Two cores, one virtio interface, a kernel without modules, no GRUB; root asks.
pub fn virtual_machine() -> Made {
    let made = Made::empty();
    made.files_of(&[
        ("proc/sys/kernel/osrelease", "6.18.1\n"),
        ("lib/modules/6.18.1/config", "CONFIG_PACKET=y\nCONFIG_XDP_SOCKETS=y\nCONFIG_VETH=y\n# CONFIG_TUN is not set\n"),
        ("proc/sys/net/core/bpf_jit_enable", "1\n"),
        ("proc/self/status", "Uid:\t0\t0\t0\t0\nCapEff:\t000001ffffffffff\n"),
        ("proc/self/limits", "Max locked memory         8388608              8388608              bytes     \n"),
        ("proc/meminfo", "MemTotal:       2048000 kB\nMemAvailable:   1536000 kB\n"),
        ("proc/cpuinfo", "processor : 0\nvendor_id : AuthenticAMD\nflags : tsc constant_tsc nonstop_tsc hypervisor\n"),
        ("proc/net/route", "Iface Destination Gateway Flags RefCnt Use Metric Mask\neth0 00000000 0102A8C0 0003 0 0 0 00000000\n"),
        ("sys/devices/system/cpu/online", "0-1\n"),
        ("sys/devices/system/cpu/isolated", "\n"),
        ("sys/devices/system/cpu/cpu0/topology/thread_siblings_list", "0\n"),
        ("sys/devices/system/cpu/cpu1/topology/thread_siblings_list", "1\n"),
        ("sys/devices/system/node/node0/cpulist", "0-1\n"),
        ("sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n"),
        ("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n"),
    ]);
    made.device("0000:00:03.0", "virtio-pci", "-1\n");
    made.interface("eth0", "pci0000:00/0000:00:03.0/virtio2", "-1\n", 1);
    made.link("sys/devices/pci0000:00/0000:00:03.0/virtio2/driver", "../../../../bus/virtio/drivers/virtio_net");
    made.hugepages(0, 2048, "0\n");
    made
}
