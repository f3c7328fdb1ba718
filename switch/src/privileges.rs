//! Giving up what the switch is allowed to do beyond what its ports need while they run.
//!
//! After the ports are open the calling thread, and every thread it starts afterwards, keeps only the capabilities that opening a port again
//! takes: an interface that goes away and comes back must find its port. They are given up for good (permitted and ambient too, and no program
//! started from here can gain any). A switch without interfaces keeps none.
//!
//! Limit: capabilities belong to threads. Threads that backends have started while they opened do the same by themselves: those that look
//! after AF_XDP and memif ports do.

use caps::{Capability, CapsHashSet};
use port::{Device, Port, privilege};

/// Gives up all capabilities but those the ports need. Returns the names of what is kept.
///
/// # Errors
/// What the system says; then nothing is certain, and the switch should not start.
pub fn drop_all_but_needed(ports: &[Port]) -> Result<Vec<String>, String> {
    let needed = needed(ports.iter().map(|port| port.device.as_ref()));
    let kept = privilege::keep_only(&needed).map_err(|error| format!("capabilities cannot be given up: {error}"))?;
    rustix::thread::set_no_new_privs(true).map_err(|error| format!("no_new_privs: {error}"))?;
    let mut names: Vec<String> = kept.iter().map(ToString::to_string).collect();
    names.sort();
    Ok(names)
}

fn needed<'a>(devices: impl Iterator<Item = &'a dyn Device>) -> CapsHashSet {
    let mut kept = CapsHashSet::new();
    for device in devices {
        if matches!(device.kind(), "af_packet" | "af_xdp" | "tap") {
            kept.extend(privilege::TO_OPEN);
        }
        if device.enters_namespaces() {
            kept.insert(Capability::CAP_SYS_ADMIN);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use caps::CapSet;
    use port::backend::memory::{Cable, pair};

    #[test]
    fn a_switch_of_memory_ports_keeps_nothing_for_good() {
        // Of a thread of its own: the others of this test keep theirs.
        let thread = std::thread::spawn(|| {
            let (a, b, _) = pair(Cable::default());
            let kept = drop_all_but_needed(&[a, b]).unwrap();
            assert!(kept.is_empty(), "{kept:?}");
            for set in [CapSet::Effective, CapSet::Permitted, CapSet::Inheritable] {
                assert!(caps::read(None, set).unwrap().is_empty(), "{set:?}");
            }
            assert!(caps::raise(None, CapSet::Effective, Capability::CAP_NET_RAW).is_err());
        });
        thread.join().unwrap();
    }
}
