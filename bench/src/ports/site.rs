//! Where devices are compared: two veth pairs in a network namespace, or a folder with a memif socket.
//!
//! ```text
//! generator: near0 ═ in0 [device] in1 ═ near1 :receiver
//! ```
//!
//! Both are removed at the end, also after a failure or Ctrl-C; what a benchmark that was killed has left is removed by the next one.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use bladeswitch::lab::{check_root, namespace};

/// How the names of all namespaces and folders begin; the number of the process follows.
const PREFIX: &str = "bench-ports-";

/// A name that nobody else has.
fn fresh_name() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("{PREFIX}{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// Was this made by a benchmark that is not there any more?
fn is_left_over(name: &str) -> bool {
    let process = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()).filter(|process| process.parse::<u32>().is_ok());
    process.is_some_and(|process| !Path::new("/proc").join(process).exists())
}

/// Two veth pairs in a namespace.
#[derive(Debug)]
pub struct Veths {
    namespace: String,
}

impl Veths {
    /// Makes them.
    ///
    /// # Errors
    /// Not root, no `ip`, or the system refuses.
    pub fn new() -> Result<Veths, String> {
        let failed = |error: &dyn std::fmt::Display| format!("no veth pairs: {error}");
        check_root().map_err(|_| "no veth pairs: it takes root to make a network namespace".to_owned())?;
        for name in namespace::all().map_err(|error| failed(&error))?.iter().filter(|name| is_left_over(name)) {
            namespace::ip(&["netns", "del", name]).map_err(|error| failed(&error))?;
        }
        // From here on it cleans up after itself.
        let veths = Veths { namespace: fresh_name() };
        namespace::ip(&["netns", "add", &veths.namespace]).map_err(|error| failed(&error))?;
        // Neighbour discovery of the kernel would be among the frames.
        veths.set("ipv6/conf/default/disable_ipv6", "1")?;
        let lines = (0..2).flat_map(|side| {
            let [near, inner] = [veths.near(side), veths.inner(side)];
            [
                format!("link add name {near} numtxqueues 1 numrxqueues 1 type veth peer name {inner} numtxqueues 1 numrxqueues 1"),
                format!("link set {near} up"),
                format!("link set {inner} up"),
            ]
        });
        veths.ip(&lines.collect::<Vec<_>>())?;
        Ok(veths)
    }

    /// Its namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The outer end of a side, where the generator is.
    pub fn near(&self, side: usize) -> String {
        format!("near{side}")
    }

    /// The end where the device is.
    pub fn inner(&self, side: usize) -> String {
        format!("in{side}")
    }

    /// Has `ip` do this inside.
    ///
    /// # Errors
    /// What it says.
    pub fn ip(&self, lines: &[String]) -> Result<(), String> {
        namespace::ip_batch(Some(&self.namespace), lines).map_err(|error| error.to_string())
    }

    /// Sets a value below `/proc/sys/net`, if the kernel has it.
    ///
    /// # Errors
    /// If it is refused.
    pub fn set(&self, key: &str, value: &str) -> Result<(), String> {
        namespace::set(&self.namespace, &[(key, value)]).map_err(|error| error.to_string())
    }

    /// The kernel's bridge over both inner ends, for as long as the result lives. With `core` the frames of both are received on this core
    /// (receive packet steering), not on that of the sender.
    ///
    /// # Errors
    /// If the kernel has none, or cannot steer.
    pub fn bridge(&self, core: Option<usize>) -> Result<Bridge<'_>, String> {
        let bridge = Bridge { veths: self, steered: core.is_some() };
        // No spanning tree, so forwarding at once. Netfilter would look at every frame, which is not a bridge's work.
        let mut lines = vec!["link add name br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0".to_owned()];
        lines.extend((0..2).map(|side| format!("link set {} master br0", self.inner(side))));
        lines.push("link set br0 up".to_owned());
        self.ip(&lines)?;
        for table in ["iptables", "ip6tables", "arptables"] {
            self.set(&format!("bridge/bridge-nf-call-{table}"), "0")?;
        }
        if let Some(core) = core {
            bridge.steer(&format!("{:x}", 1u64.checked_shl(core as u32).unwrap_or(0)))?;
        }
        Ok(bridge)
    }
}

impl Drop for Veths {
    fn drop(&mut self) {
        // Nothing can be done if this fails; the next benchmark tries again.
        let _ = namespace::ip(&["netns", "del", &self.namespace]);
    }
}

/// The kernel's bridge.
#[derive(Debug)]
pub struct Bridge<'a> {
    veths: &'a Veths,
    steered: bool,
}

impl Bridge<'_> {
    fn steer(&self, mask: &str) -> Result<(), String> {
        for side in 0..2 {
            // /sys shows the interfaces of the namespace it was mounted in: `ip netns exec` mounts it anew.
            let script = format!("echo {mask} > /sys/class/net/{}/queues/rx-0/rps_cpus", self.veths.inner(side));
            let done =
                namespace::exec(&self.veths.namespace, "sh").args(["-c", &script]).output().map_err(|error| format!("sh: {error}"))?;
            if !done.status.success() {
                let says = String::from_utf8_lossy(&done.stderr).trim().to_owned();
                return Err(format!("the kernel does not steer received packets to a core: {says}"));
            }
        }
        Ok(())
    }
}

impl Drop for Bridge<'_> {
    fn drop(&mut self) {
        // As above: the namespace goes at the end, and this with it.
        let _ = self.veths.ip(&["link del br0".to_owned()]);
        if self.steered {
            let _ = self.steer("0");
        }
    }
}

/// A folder for sockets.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Makes one.
    ///
    /// # Errors
    /// If the system does not let us.
    pub fn new() -> Result<Folder, String> {
        let all = std::env::temp_dir();
        let failed = |error: std::io::Error| format!("{}: {error}", all.display());
        for entry in std::fs::read_dir(&all).map_err(failed)?.flatten() {
            if is_left_over(&entry.file_name().to_string_lossy()) {
                // It may belong to somebody else, who will remove it.
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
        let path = all.join(fresh_name());
        std::fs::create_dir(&path).map_err(failed)?;
        Ok(Folder(path))
    }

    /// The path of a file in it.
    pub fn file(&self, name: &str) -> String {
        self.0.join(name).to_string_lossy().into_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_owns_is_left_over() {
        assert!(!is_left_over(&fresh_name()));
        assert!(is_left_over(&format!("{PREFIX}4294967295-0")));
        assert!(!is_left_over("bench-ports-x-0") && !is_left_over("bs-lab-switch") && !is_left_over(PREFIX));
    }

    #[test]
    fn nothing_is_left_behind() {
        let veths = match Veths::new() {
            Ok(veths) => veths,
            Err(why) => return eprintln!("skipped: {why}"),
        };
        let name = veths.namespace.clone();
        assert!(namespace::all().unwrap().contains(&name));
        drop(veths.bridge(None).unwrap());
        // It can be made again: the first has gone.
        drop(veths.bridge(None).unwrap());
        drop(veths);
        assert!(!namespace::all().unwrap().contains(&name));
    }
}
