//! What a process must be allowed to do to have ports on network interfaces: Linux capabilities (capabilities(7)).

use caps::errors::CapsError;
use caps::{CapSet, Capability, CapsHashSet};

/// What opening a port on an interface takes, and opening it again: [`NEEDED`] as the library names them.
pub const TO_OPEN: [Capability; 4] = [Capability::CAP_NET_RAW, Capability::CAP_NET_ADMIN, Capability::CAP_BPF, Capability::CAP_IPC_LOCK];

/// The capabilities that ports use, and for what: name, number, why.
pub const NEEDED: &[(&str, u32, &str)] = &[
    ("CAP_NET_RAW", 13, "packet sockets and AF_XDP sockets"),
    ("CAP_NET_ADMIN", 12, "TAP interfaces, offload settings, attaching programs"),
    ("CAP_BPF", 39, "loading programs"),
    ("CAP_IPC_LOCK", 14, "locking the packet pool for AF_XDP"),
];

/// Those of [`NEEDED`] that the calling thread does not have.
pub fn missing() -> Vec<&'static str> {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    let effective = effective.unwrap_or(0);
    NEEDED.iter().filter(|(_, number, _)| effective >> number & 1 == 0).map(|(name, ..)| *name).collect()
}

/// Gives up the capabilities of the calling thread, and of every thread it starts afterwards, but `these`; for good, unless a program is
/// started that is given some. Returns what is left of `these`: it cannot be more than there was.
///
/// # Errors
/// What the system says; then nothing is certain.
pub fn keep_only(these: &CapsHashSet) -> Result<CapsHashSet, CapsError> {
    let held = caps::read(None, CapSet::Permitted)?;
    let kept: CapsHashSet = held.intersection(these).copied().collect();
    // Ambient ones go by themselves with what is not inheritable; on a kernel without them there is nothing to clear.
    let _ = caps::clear(None, CapSet::Ambient);
    caps::clear(None, CapSet::Inheritable)?;
    caps::set(None, CapSet::Effective, &kept)?;
    caps::set(None, CapSet::Permitted, &kept)?;
    Ok(kept)
}

/// Gives up all capabilities of the calling thread, which works without any. If the system does not let it, it works all the same.
pub(crate) fn give_up_all() {
    let _ = keep_only(&CapsHashSet::new());
}

/// What to do about those that are missing.
pub fn advice() -> String {
    let missing = missing();
    if missing.is_empty() {
        return "this process has the capabilities it needs in its own user namespace; the interface may belong to another one".to_owned();
    }
    let lower = NEEDED.iter().map(|(name, ..)| name.to_lowercase()).collect::<Vec<_>>().join(",");
    let upper = NEEDED.iter().map(|(name, ..)| *name).collect::<Vec<_>>().join(" ");
    let program = std::env::current_exe().map_or_else(|_| "PROGRAM".to_owned(), |path| path.display().to_string());
    format!(
        "missing {}. Run it as root, or once `sudo setcap {lower}=ep {program}`, or in a systemd unit `AmbientCapabilities={upper}`",
        missing.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_lists_agree() {
        let ours = TO_OPEN.map(|capability| (capability.to_string(), u32::from(capability.index())));
        assert_eq!(ours.to_vec(), NEEDED.iter().map(|&(name, number, _)| (name.to_owned(), number)).collect::<Vec<_>>());
    }

    #[test]
    fn advice_names_what_is_missing() {
        let text = advice();
        for name in missing() {
            assert!(
                text.contains(name) && text.contains("setcap cap_net_raw,") && text.contains("AmbientCapabilities=CAP_NET_RAW "),
                "{text}"
            );
        }
        assert_eq!(missing().is_empty(), text.contains("another one"));
    }
}
