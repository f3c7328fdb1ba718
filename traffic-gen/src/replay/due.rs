//! Where a replayed frame should come out, as far as the captures tell.
//!
//! A station belongs to the port that sends its frames. A frame to a station is due at that port; a frame to a group, or to a
//! station of which the captures hold no frame, at all other ports, as a bridge floods it. Group addresses that bridges keep
//! to themselves (IEEE 802.1Q, table 8-1) are due nowhere, and so is a frame to a station behind its own port.
//!
//! Limits: VLANs are not known here. Where they part the ports, copies of flooded frames are due that cannot come: these are
//! counted apart from frames to stations.

use std::collections::HashMap;

use super::Frame;

/// Where a frame should come out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Of this port.
    At(usize),
    /// Of all other ports: its destination is a group or a station that sends nothing.
    Everywhere,
    /// Of none: its destination lies behind its own port, or is kept by bridges.
    Nowhere,
}

impl Due {
    /// For each of these frames. A station that moves is due where it sent from last; one not yet seen, where it will be.
    pub fn of(frames: &[Frame]) -> Vec<Due> {
        let mut first: HashMap<[u8; 6], usize> = HashMap::new();
        for frame in frames {
            first.entry(mac(frame, 6)).or_insert(frame.port);
        }
        let mut latest: HashMap<[u8; 6], usize> = HashMap::new();
        let due = |frame: &Frame| {
            latest.insert(mac(frame, 6), frame.port);
            let dst = mac(frame, 0);
            if dst[..5] == [0x01, 0x80, 0xc2, 0x00, 0x00] && dst[5] < 0x10 {
                return Due::Nowhere;
            }
            match latest.get(&dst).or(first.get(&dst)) {
                _ if dst[0] & 1 == 1 => Due::Everywhere,
                Some(port) if *port == frame.port => Due::Nowhere,
                Some(port) => Due::At(*port),
                None => Due::Everywhere,
            }
        };
        frames.iter().map(due).collect()
    }
}

/// The address at an offset; what a short frame lacks is sent as zeros.
fn mac(frame: &Frame, at: usize) -> [u8; 6] {
    std::array::from_fn(|place| frame.bytes.get(at + place).copied().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stations_groups_and_strangers() {
        let frame = |port, dst: [u8; 6], src: u8| {
            let bytes: Vec<u8> = dst.into_iter().chain([2, 0, 0, 0, 0, src]).chain([8, 0]).collect();
            Frame { port, time: 0, bytes: bytes.into(), original_len: 14, number: 1, file: 0, interface: 0 }
        };
        let station = |n| [2, 0, 0, 0, 0, n];
        let frames = [
            frame(0, station(2), 1), // Not yet seen, but it will be.
            frame(1, station(1), 2),
            frame(0, [0xff; 6], 1),
            frame(0, station(9), 1), // Never sends.
            frame(0, station(1), 3), // Both behind port 0.
            frame(2, station(1), 2), // Moves.
            frame(0, station(2), 1),
            frame(0, [1, 0x80, 0xc2, 0, 0, 0x0e], 1), // LLDP.
            frame(0, [1, 0x80, 0xc2, 0, 0, 0x10], 1), // One beyond those that bridges keep.
        ];
        use Due::{At, Everywhere, Nowhere};
        let due = [At(1), At(0), Everywhere, Everywhere, Nowhere, At(0), At(2), Nowhere, Everywhere];
        assert_eq!(Due::of(&frames), due);
        // Cut to nothing: zeros that nobody else has.
        let runt = Frame { bytes: vec![2].into(), ..frames[0].clone() };
        assert_eq!(Due::of(&[runt]), [Everywhere]);
    }
}
