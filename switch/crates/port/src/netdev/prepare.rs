//! Offloads that a switch port must not have: switched off when it opens, and back on when it closes.
//!
//! On our interface: GRO and LRO join frames into ones nobody has sent; VLAN stripping takes the tag out of the frame; TSO and GSO are off so
//! that nothing longer than the MTU is made on our side. On the other end of a veth, where a local stack sits: checksums left to a card that
//! does not exist, segments left to be cut, tags left to be put in. If that end cannot be reached, checksums are completed in software
//! (see [`checksum`](crate::checksum)), and a warning names it: frames longer than its MTU will be dropped.
//!
//! Only what was on is changed, and only that is put back. A process that is killed (SIGKILL) puts nothing back; a veth that is
//! deleted takes its settings with it.

use std::io;

use super::link::Link;
use super::peer::Peer;
use super::{Asker, Netdev};
use crate::sys;

/// Commands of `linux/ethtool.h`: what it is called, how it is read and how it is set.
struct Switch {
    name: &'static str,
    get: u32,
    set: u32,
    /// The bit of the number that means it; the others stay as they are.
    bit: u32,
}

const fn switch(name: &'static str, get: u32, set: u32, bit: u32) -> Switch {
    Switch { name, get, set, bit }
}

const ETHTOOL_GFLAGS: u32 = 0x25;
const ETHTOOL_SFLAGS: u32 = 0x26;
/// Off on our interface.
const OURS: &[Switch] = &[
    switch("gro", 0x2b, 0x2c, 1),
    switch("lro", ETHTOOL_GFLAGS, ETHTOOL_SFLAGS, 1 << 15),
    switch("rxvlan", ETHTOOL_GFLAGS, ETHTOOL_SFLAGS, 1 << 8),
    switch("tso", 0x1e, 0x1f, 1),
    switch("gso", 0x23, 0x24, 1),
];
/// Off on the other end of a veth. Without checksums there is neither TSO nor UDP segmentation; TSO is named for older kernels.
const PEERS: &[Switch] =
    &[switch("tso", 0x1e, 0x1f, 1), switch("tx", 0x16, 0x17, 1), switch("txvlan", ETHTOOL_GFLAGS, ETHTOOL_SFLAGS, 1 << 7)];

#[derive(Debug)]
struct Change {
    get: u32,
    set: u32,
    bit: u32,
}

#[derive(Debug, Default)]
struct Changed {
    changes: Vec<Change>,
    names: Vec<&'static str>,
    refused: Vec<String>,
}

fn switch_off(asker: &Asker, interface: &str, switches: &[Switch]) -> Changed {
    let mut changed = Changed::default();
    for Switch { name, get, set, bit } in switches {
        // What cannot be read the interface does not have.
        let Ok(value) = sys::ethtool(&asker.inet, interface, *get, 0) else { continue };
        if value & bit == 0 {
            continue;
        }
        match sys::ethtool(&asker.inet, interface, *set, value & !bit) {
            Ok(_) => {
                changed.changes.push(Change { get: *get, set: *set, bit: *bit });
                changed.names.push(name);
            }
            Err(error) => changed.refused.push(format!("{name} of {interface} stays on ({error})")),
        }
    }
    changed
}

fn switch_on(asker: &Asker, interface: &str, changes: &[Change]) {
    // In the opposite order: some depend on others. An interface that is gone has nothing to be put back.
    for Change { get, set, bit } in changes.iter().rev() {
        if let Ok(value) = sys::ethtool(&asker.inet, interface, *get, 0) {
            let _ = sys::ethtool(&asker.inet, interface, *set, value | bit);
        }
    }
}

/// An interface made fit to be a port. Dropping it puts things back.
#[derive(Debug)]
pub struct Preparation {
    netdev: Netdev,
    ours: Vec<Change>,
    peer: Option<(Peer, Vec<Change>)>,
    reasons: Vec<String>,
    local: bool,
    abroad: bool,
}

impl Preparation {
    /// Prepares the interface of this name, and the other end of it if it is a veth.
    ///
    /// # Errors
    /// There is no such interface, or the system refuses the sockets. That a setting cannot be changed is no error but a [reason](Self::reasons).
    pub fn new(name: &str) -> io::Result<Preparation> {
        let netdev = Netdev::new(name)?;
        let link = netdev.state()?;
        let mut reasons = Vec::new();
        let ours = switch_off(&netdev.asker, name, OURS);
        note(&mut reasons, name, &ours);
        let veth = link.kind == "veth";
        let mut peer = None;
        if veth {
            match Peer::of(&netdev, &link).and_then(|peer| {
                let changed = peer.with(&netdev, |asker| Ok(switch_off(asker, &peer.name, PEERS)))?;
                Ok((peer, changed))
            }) {
                Ok((other, changed)) => {
                    note(&mut reasons, &other.to_string(), &changed);
                    peer = Some((other, changed.changes));
                }
                Err(error) => reasons.push(format!("warning: {}", unreachable(name, &link, &error))),
            }
        }
        let abroad = veth && link.peer_namespace.is_some();
        // The far end of a TUN or TAP interface is a program; what its stack leaves undone the kernel completes.
        Ok(Preparation { netdev, ours: ours.changes, peer, reasons, local: veth, abroad })
    }

    /// The interface has gone: there is nothing to put back, and another one of its name is none of ours.
    pub fn abandon(mut self) {
        self.ours.clear();
        self.peer = None;
    }

    /// What was changed, and what could not be.
    pub fn reasons(&self) -> &[String] {
        &self.reasons
    }

    /// A stack of this machine is at the other end: its frames may need their checksums completed.
    pub fn is_local(&self) -> bool {
        self.local
    }

    /// The other end is in another network namespace.
    pub fn is_abroad(&self) -> bool {
        self.abroad
    }
}

fn note(reasons: &mut Vec<String>, interface: &str, changed: &Changed) {
    if !changed.names.is_empty() {
        reasons.push(format!("switched off on {interface}: {}; back on at the end", changed.names.join(", ")));
    }
    reasons.extend(changed.refused.iter().map(|refused| format!("warning: {refused}")));
}

fn unreachable(name: &str, link: &Link, error: &io::Error) -> String {
    format!(
        "the other end of {name} (interface {} of {}) cannot be set: {error}; checksums are completed in software, but frames longer \
         than the MTU are dropped: run `ethtool -K INTERFACE tx off tso off txvlan off` there",
        link.peer.map_or_else(|| "?".to_owned(), |index| index.to_string()),
        link.peer_namespace.map_or_else(|| "this namespace".to_owned(), |number| format!("namespace nsid {number}")),
    )
}

impl Drop for Preparation {
    fn drop(&mut self) {
        switch_on(&self.netdev.asker, self.netdev.name(), &self.ours);
        if let Some((peer, changes)) = &self.peer {
            // If its namespace is gone, so is the interface.
            let _ = peer.with(&self.netdev, |asker| {
                switch_on(asker, &peer.name, changes);
                Ok(())
            });
        }
    }
}
