//! Devices of ours whose ports are DPDK devices.
//!
//! They are of the driver `net_memif`, as testpmd's are in the same run, and the generator is the one of all memif ports: what differs between testpmd's figure
//! and the bare loop's is our way to DPDK's bursts with its copies, and what differs between the bare loop's and the switch's is switching.

/// The ports of a device that serves both memif interfaces on `socket`, with rings and buffers of the same sizes as testpmd's.
pub fn ports(socket: &str) -> [String; 2] {
    [0, 1].map(|id| format!("dpdk:net_memif{id},role=server,id={id},socket={socket},socket-abstract=no,rsize=9,bsize=2048"))
}

/// Why there are none in this build; `None`: there are.
pub fn missing() -> Option<String> {
    let why = "DPDK ports are not in this build, so testpmd is compared with memif ports alone: build with --features dpdk";
    (!cfg!(feature = "dpdk")).then(|| why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use port::{PortKind, PortSpec};

    #[test]
    fn the_ports_can_be_had_together() {
        let [a, b] = ports("/tmp/m.sock").map(|spec| spec.parse::<PortSpec>().unwrap());
        assert!(a.kind == PortKind::Dpdk && a.option("id") == Some("0") && b.option("id") == Some("1"));
        assert!(a.claims().iter().all(|claim| !b.claims().contains(claim)));
    }
}
