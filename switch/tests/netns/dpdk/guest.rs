//! A blade that is a virtual machine: QEMU, in software emulation, with a guest of a kernel, busybox and the modules of its virtio card.
//!
//! Kernel and busybox are Debian's (`linux-image-cloud-amd64`, `busybox-static`), unpacked in `target/ci/guest` by `.ci/run`, or installed.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bladeswitch::lab::Place;

use crate::site::{Site, can};

/// How long a guest may take: it takes some seconds, but emulation on a busy machine has no bounds.
const PATIENCE: Duration = Duration::from_secs(300);
/// What its virtio card needs, in the order of loading.
const MODULES: [&str; 8] =
    ["failover", "net_failover", "virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "virtio_net"];
const ONE: Place = Place::Blade(1);
const GUEST: Place = Place::Blade(2);
/// Bytes that the guest serves.
const BLOB: usize = 1_000_003;

fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// What a guest is made of.
struct Parts {
    kernel: PathBuf,
    modules: Vec<PathBuf>,
    busybox: PathBuf,
}

impl Parts {
    /// Those of the first place that has all.
    fn find() -> Option<Parts> {
        let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/ci/guest");
        [unpacked, PathBuf::from("/")].into_iter().find_map(|root| {
            let busybox = root.join("bin/busybox");
            let kernels = fs::read_dir(root.join("boot")).ok()?.flatten().map(|entry| entry.path());
            let parts = kernels.filter_map(|kernel| {
                let version = kernel.file_name()?.to_str()?.strip_prefix("vmlinuz-")?.to_owned();
                let tree = root.join("lib/modules").join(version).join("kernel");
                let modules = MODULES.map(|module| find(&tree, &format!("{module}.ko"))).into_iter().collect::<Option<Vec<_>>>()?;
                Some(Parts { kernel, modules, busybox: busybox.clone() })
            });
            parts.filter(|parts| parts.busybox.exists()).max_by(|a, b| a.kernel.cmp(&b.kernel))
        })
    }

    /// The guest's root: an archive of the kernel's own kind (`Documentation/driver-api/early-userspace/buffer-format.rst`).
    fn archive(&self, init: &str) -> Vec<u8> {
        let mut archive = Vec::new();
        for folder in ["bin", "proc", "sys", "dev", "modules", "www"] {
            entry(&mut archive, folder, 0o040_755, &[]);
        }
        entry(&mut archive, "bin/busybox", 0o100_755, &fs::read(&self.busybox).unwrap());
        entry(&mut archive, "init", 0o100_755, init.as_bytes());
        entry(&mut archive, "www/blob", 0o100_644, &blob());
        for module in &self.modules {
            let name = module.file_name().unwrap().to_string_lossy();
            entry(&mut archive, &format!("modules/{name}"), 0o100_644, &fs::read(module).unwrap());
        }
        entry(&mut archive, "TRAILER!!!", 0, &[]);
        archive
    }
}

fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    let entries: Vec<PathBuf> = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()).collect();
    entries
        .iter()
        .find(|path| path.ends_with(name))
        .cloned()
        .or_else(|| entries.iter().filter(|path| path.is_dir()).find_map(|path| find(path, name)))
}

fn entry(archive: &mut Vec<u8>, name: &str, mode: u32, content: &[u8]) {
    // inode, mode, user, group, links, time, size, device (4 numbers), length of the name with its end, no check.
    let numbers = [archive.len() as u32 + 1, mode, 0, 0, 1, 0, content.len() as u32, 0, 0, 0, 0, name.len() as u32 + 1, 0];
    archive.extend(b"070701");
    numbers.iter().for_each(|number| write!(archive, "{number:08x}").unwrap());
    archive.extend(name.as_bytes());
    archive.push(0);
    archive.resize(archive.len().next_multiple_of(4), 0);
    archive.extend(content);
    archive.resize(archive.len().next_multiple_of(4), 0);
}

fn blob() -> Vec<u8> {
    (0..BLOB as u64).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

/// What the guest does: brings up its card as blade 2, says which virtio features it has, serves a file and pings blade 1.
fn init() -> String {
    let (ipv4, ipv6, one) = (GUEST.ipv4().unwrap(), GUEST.ipv6().unwrap(), ONE.ipv4().unwrap());
    let modules = MODULES.join(" ");
    format!(
        "#!/bin/busybox sh
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in {modules}; do insmod /modules/$module.ko; done
echo 0 > /proc/sys/net/ipv6/conf/eth0/accept_dad
ip link set eth0 mtu 9000 up
ip addr add {ipv4}/15 dev eth0
ip addr add {ipv6}/64 dev eth0
ip link set lo up
echo \"features: $(cat /sys/class/net/eth0/device/features)\"
httpd -h /www
until ping -c 1 -W 1 {one}; do :; done
echo 'guest: ready'
while :; do sleep 1000; done
"
    )
}

/// A running QEMU; killed at the end.
struct Guest {
    qemu: Child,
    console: PathBuf,
}

impl Guest {
    fn boot(site: &Site, parts: &Parts, socket: &Path) -> Guest {
        let (root, console, errors) = (site.path("root.cpio"), site.path("console"), site.path("qemu.err"));
        fs::write(&root, parts.archive(&init())).unwrap();
        fs::write(&console, "").unwrap(); // What one before it said does not count.
        let qemu = Command::new("qemu-system-x86_64")
            .args("-M q35 -accel tcg -cpu max -m 128 -nodefaults -display none -monitor none -no-reboot".split(' '))
            .args(["-object", "memory-backend-memfd,id=memory,size=128M,share=on", "-numa", "node,memdev=memory"])
            .args(["-chardev", &format!("socket,id=wire,path={},reconnect=1", socket.display())])
            .args(["-netdev", "vhost-user,id=net,chardev=wire"])
            // QEMU 7.2 crashes on the control queue of a vhost-user card when it emulates the processor. The switch does not need that queue.
            .args(["-device", &format!("virtio-net-pci,netdev=net,romfile=,vectors=0,mac={}", GUEST.mac().unwrap())])
            .args(["-serial", &format!("file:{}", console.display())])
            .args(["-append", "console=ttyS0 quiet panic=-1"])
            .arg("-kernel")
            .arg(&parts.kernel)
            .arg("-initrd")
            .arg(&root)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(errors).unwrap())
            .spawn()
            .unwrap();
        Guest { qemu, console }
    }

    fn said(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.console).unwrap_or_default()).into_owned()
    }

    /// Waits until it has come up, with blade 1 in sight.
    fn ready(&mut self, site: &Site) {
        wait("the guest is ready", || {
            if let Some(status) = self.qemu.try_wait().unwrap() {
                panic!("QEMU has ended with {status}: {}\n{}", fs::read_to_string(site.path("qemu.err")).unwrap(), self.said());
            }
            self.said().contains("guest: ready")
        });
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("the guest said: {}", self.said());
        }
        self.qemu.kill().unwrap(); // SIGKILL.
        self.qemu.wait().unwrap();
    }
}

fn link(site: &Site, index: usize) -> Option<String> {
    site.show("ports")?["ports"][index]["link"].as_str().map(str::to_owned)
}

/// No frame may be lost between two places.
fn ping(site: &Site, to: &str, len: &str) {
    for version in ["-4", "-6"] {
        let said = site.ok(ONE, &["ping", version, "-c", "5", "-i", "0.05", "-W", "20", "-M", "do", "-s", len, to]);
        assert!(said.contains(" 0% packet loss"), "{said}");
    }
}

#[test]
fn a_virtual_machine_is_a_blade() {
    if !can(&["ping", "curl", "qemu-system-x86_64"]) {
        return;
    }
    let Some(parts) = Parts::find() else {
        println!("skipped: no kernel with modules, or no busybox, for a guest: see `.ci/run`");
        return;
    };
    let mut site = Site::bare(&["af_packet"], 2, 9000);
    let socket = site.path("blade2.sock");
    let ports = site.chassis.config().replace("\"af_packet:blade2\"", &format!("\"vhost-user:{}\"", socket.display()));
    assert!(ports.contains("vhost-user:"), "{ports}");
    let config = format!("{ports}\n[dpdk]\nmemory_mib = 128\nhugepages = \"never\"\n");
    site.switch = Some(site.chassis.start(Path::new(env!("CARGO_BIN_EXE_bladeswitch")), &config).unwrap());
    wait("the switch answers, without a machine", || link(&site, 1).as_deref() == Some("down"));

    let mut guest = Guest::boot(&site, &parts, &socket);
    guest.ready(&site);
    wait("the link is up", || link(&site, 1).as_deref() == Some("up"));
    // VIRTIO 1.1, 5.1.3: checksums and all kinds of segmentation are the guest's; merged receive buffers are there.
    let said = guest.said();
    let features = said.lines().find_map(|line| line.trim_end().strip_prefix("features: ")).expect(&said).as_bytes().to_vec();
    assert!([0, 6, 11, 12, 13, 14].iter().all(|&bit: &usize| features[bit] == b'0') && features[15] == b'1', "{said}");
    ping(&site, "blade2", "56");
    ping(&site, "blade2", "8900");
    // Blade 1 does not take a segment whose checksum is not right.
    site.ok(ONE, &["curl", "-4", "--silent", "--fail", "--max-time", "50", "-o", "blob", "http://blade2/blob"]);
    assert!(fs::read(site.path("blob")).unwrap() == blob(), "the guest serves something else");

    // The machine dies in mid-traffic. The others do not notice.
    let flood = site.background(ONE, &["ping", "-4", "-i", "0.002", "-s", "1400", "blade2"], "bytes from");
    drop(guest);
    wait("the death is noticed", || link(&site, 1).as_deref() == Some("down"));
    ping(&site, "uplink", "56");
    drop(flood);
    let mut guest = Guest::boot(&site, &parts, &socket);
    guest.ready(&site);
    ping(&site, "blade2", "56");
    drop(guest);
    site.stop();
}
