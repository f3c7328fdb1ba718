//! The plan: which frames each port sends, in which order, and how fast.
//!
//! A port's frames are a list that is sent over and over. The rate of all ports together is chosen so that no port is asked to
//! deliver more than its link carries, floods included: then a loss is the switch's.
//!
//! In a chassis at full rate every link is busy in both directions: each blade sends the uplink its share of the uplink's
//! capacity and the rest to the other blades in turn, and the uplink sends to all blades in turn.

use std::collections::HashMap;
use std::sync::Arc;

use port::PortId;
use port::wrap::link::OVERHEAD_LEN;

use crate::stamp::STAMP_LEN;

/// Who should receive a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// One port.
    Port(PortId),
    /// Every port but the one it is sent into.
    Others,
    /// Nobody: no bridge forwards it.
    Nobody,
}

/// A frame of the plan.
#[derive(Clone, Debug)]
pub struct PlannedFrame {
    /// The frame, without FCS. Frames that are alike share it, so that a long list stays out of the way of the caches.
    pub bytes: Arc<[u8]>,
    /// Who should receive it.
    pub target: Target,
    /// It is ours to write a stamp into; frames of captures are sent as they are.
    pub stamped: bool,
}

/// What one port sends.
#[derive(Clone, Debug, Default)]
pub struct PortPlan {
    /// The frames, sent over and over.
    pub frames: Vec<PlannedFrame>,
    /// Rate of the port's link in bits a second, both directions.
    pub line_bps: u64,
    /// Rate to send at in bits a second on the wire, overhead included: at most `line_bps`.
    pub rate_bps: f64,
}

/// What all ports send.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// By port.
    pub ports: Vec<PortPlan>,
}

/// Bytes a frame takes on the wire.
fn wire_len(frame: &PlannedFrame) -> u64 {
    frame.bytes.len() as u64 + OVERHEAD_LEN
}

impl Plan {
    /// Sets the rate of each port to the share `load` (0 to 1) of its line, less as much as it takes for no port to have to
    /// deliver more than `load` of its own. Returns the share of the line that is then sent.
    pub fn set_load(&mut self, load: f64) -> f64 {
        let ports = self.ports.len();
        let mut delivered = vec![0.0; ports];
        for (from, port) in self.ports.iter().enumerate() {
            let cycle: u64 = port.frames.iter().map(wire_len).sum();
            for frame in &port.frames {
                let share = port.line_bps as f64 * wire_len(frame) as f64 / cycle as f64;
                match frame.target {
                    Target::Port(to) => delivered[to.index()] += share,
                    Target::Others => (0..ports).filter(|&to| to != from).for_each(|to| delivered[to] += share),
                    Target::Nobody => {}
                }
            }
        }
        let busiest = self.ports.iter().zip(&delivered).map(|(port, bps)| bps / port.line_bps as f64).fold(1.0, f64::max);
        let share = load / busiest;
        for port in &mut self.ports {
            port.rate_bps = if port.frames.is_empty() { 0.0 } else { port.line_bps as f64 * share };
        }
        share
    }

    /// Frames a second the plan asks for, all ports.
    pub fn frames_per_second(&self) -> f64 {
        self.ports.iter().map(PortPlan::frames_per_second).sum()
    }
}

impl PortPlan {
    /// Frames a second the plan asks for.
    pub fn frames_per_second(&self) -> f64 {
        let bits: u64 = self.frames.iter().map(wire_len).sum::<u64>() * 8;
        if bits == 0 { 0.0 } else { self.rate_bps * self.frames.len() as f64 / bits as f64 }
    }
}

/// Frame sizes and how many of each, in the order in which they are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sizes(Vec<usize>);

impl Sizes {
    /// Simple IMIX: 7 frames of 64, 4 of 570 and 1 of 1518 bytes, FCS included, mixed.
    pub fn imix() -> Sizes {
        Sizes([64, 570, 64, 64, 570, 64, 1518, 64, 570, 64, 570, 64].map(|size| size - 4).to_vec())
    }

    /// Frames of these sizes in turn, in bytes with FCS, as the standards count (64 to 9220).
    ///
    /// # Errors
    /// The size that is out of range.
    pub fn in_turn(sizes: &[usize]) -> Result<Sizes, usize> {
        match sizes.iter().find(|&&size| !(64..=9220).contains(&size)) {
            Some(&wrong) => Err(wrong),
            None => Ok(Sizes(sizes.iter().map(|size| size - 4).collect())),
        }
    }

    /// Lengths without FCS.
    pub fn lens(&self) -> &[usize] {
        &self.0
    }
}

/// A station behind a port.
#[derive(Clone, Copy, Debug)]
pub struct Station {
    /// Its MAC address.
    pub mac: [u8; 6],
    /// Its IPv4 address.
    pub ip: [u8; 4],
}

/// A UDP frame of `len` bytes (at least 60) from one station to another, with room for a stamp at its end.
pub fn udp_frame(from: Station, to: Station, len: usize) -> Box<[u8]> {
    const HEADERS: usize = 14 + 20 + 8;
    let len = len.max(HEADERS + STAMP_LEN);
    let mut frame = vec![0u8; len];
    frame[0..6].copy_from_slice(&to.mac);
    frame[6..12].copy_from_slice(&from.mac);
    frame[12..14].copy_from_slice(&[0x08, 0x00]);
    let total = (len - 14) as u16;
    let ip = &mut frame[14..34];
    ip[0] = 0x45;
    ip[2..4].copy_from_slice(&total.to_be_bytes());
    ip[8] = 64;
    ip[9] = 17;
    ip[12..16].copy_from_slice(&from.ip);
    ip[16..20].copy_from_slice(&to.ip);
    let mut sum: u32 = ip.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    ip[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    let udp = &mut frame[34..42];
    udp[0..2].copy_from_slice(&4096u16.to_be_bytes());
    udp[2..4].copy_from_slice(&7u16.to_be_bytes()); // echo, as RFC 2544 appendix C.2.6.4 has it
    udp[4..6].copy_from_slice(&(total - 20).to_be_bytes());
    frame.into_boxed_slice() // UDP checksum 0: none (RFC 768); the stamp changes with every frame.
}

/// The chassis at full rate: `count` frames for each port of `ports` (line rates), the last `uplinks` of which are uplinks.
///
/// `station(port, n)` is the `n`th station behind a port; the uplink has `uplink_stations`, a blade one.
pub fn chassis(
    line_bps: &[u64],
    uplinks: usize,
    sizes: &Sizes,
    count: usize,
    uplink_stations: usize,
    station: impl Fn(usize, usize) -> Station,
) -> Plan {
    let blades = line_bps.len() - uplinks;
    let up: f64 = line_bps[blades..].iter().map(|&bps| bps as f64).sum();
    let down: f64 = line_bps[..blades].iter().map(|&bps| bps as f64).sum();
    // What of a blade's traffic goes up; with one blade there is nobody else.
    let share_up = if blades < 2 { 1.0 } else { (up / down).min(1.0) };
    let ports = (0..line_bps.len()).map(|from| {
        let is_blade = from < blades;
        // Bytes each destination is still owed; the one that is owed most is next.
        let mut owed = vec![0.0; line_bps.len()];
        let weight: Vec<f64> = (0..line_bps.len())
            .map(|to| match (is_blade, to < blades) {
                _ if to == from => 0.0,
                (true, true) => (1.0 - share_up) / (blades - 1).max(1) as f64,
                (true, false) => share_up * line_bps[to] as f64 / up,
                (false, true) => line_bps[to] as f64 / down,
                (false, false) => 0.0,
            })
            .collect();
        let mut alike: HashMap<(usize, usize, usize, usize), Arc<[u8]>> = HashMap::new();
        let frames = (0..if weight.iter().any(|&w| w > 0.0) { count } else { 0 })
            .map(|n| {
                // Ports begin at different places of the mix, so that they do not send their large frames at once.
                let len = sizes.lens()[(n + from) % sizes.lens().len()];
                let wire = (len as u64 + OVERHEAD_LEN) as f64;
                owed.iter_mut().zip(&weight).for_each(|(owed, weight)| *owed += wire * weight);
                // Among equals the next one after `from`: at each step the blades then send to different blades.
                let ports = owed.len();
                let to = (1..ports)
                    .map(|step| (from + step) % ports)
                    .filter(|&to| weight[to] > 0.0)
                    .max_by(|&a, &b| {
                        owed[a].total_cmp(&owed[b]).then((b + ports - from).rem_euclid(ports).cmp(&((a + ports - from) % ports)))
                    })
                    .unwrap_or(from);
                owed[to] -= wire;
                let behind = |port: usize| if port < blades { 0 } else { n % uplink_stations.max(1) };
                let bytes = alike
                    .entry((behind(from), to, behind(to), len))
                    .or_insert_with(|| udp_frame(station(from, behind(from)), station(to, behind(to)), len).into())
                    .clone();
                PlannedFrame { bytes, target: Target::Port(PortId(to as u8)), stamped: true }
            })
            .collect();
        PortPlan { frames, line_bps: line_bps[from], rate_bps: 0.0 }
    });
    Plan { ports: ports.collect() }
}

/// Spreads the frames of captures evenly over a port's list.
pub fn mix_in(port: &mut PortPlan, more: Vec<PlannedFrame>) {
    if more.is_empty() {
        return;
    }
    let (own, extra) = (port.frames.len(), more.len());
    let mut frames = Vec::with_capacity(own + extra);
    let mut more = more.into_iter();
    let mut mixed = 0;
    for (n, frame) in std::mem::take(&mut port.frames).into_iter().enumerate() {
        frames.push(frame);
        while mixed < (n + 1) * extra / own.max(1) {
            frames.extend(more.next());
            mixed += 1;
        }
    }
    frames.extend(more);
    port.frames = frames;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn station(port: usize, n: usize) -> Station {
        Station { mac: [2, 0, 0, 0, n as u8, port as u8], ip: [198, 18, n as u8, port as u8] }
    }

    #[test]
    fn a_full_chassis_keeps_every_link_busy_and_none_too_busy() {
        let mut line = vec![1_000_000_000; 16];
        line.push(10_000_000_000);
        let mut plan = chassis(&line, 1, &Sizes::imix(), 12_000, 4, station);
        let share = plan.set_load(1.0);
        assert!((0.99..=1.0).contains(&share), "{share}");
        assert!((8.0e6..9.0e6).contains(&plan.frames_per_second()), "{}", plan.frames_per_second());
        for (from, port) in plan.ports.iter().enumerate() {
            assert_eq!(port.frames.len(), 12_000);
            assert!(port.frames.iter().all(|frame| frame.target != Target::Port(PortId(from as u8))));
        }
    }

    #[test]
    fn floods_slow_the_plan_down() {
        let mut plan = chassis(&[1_000_000_000; 4], 0, &Sizes::in_turn(&[64]).unwrap(), 100, 1, station);
        let before = plan.set_load(1.0);
        let flood = PlannedFrame { bytes: vec![0xff; 60].into(), target: Target::Others, stamped: false };
        mix_in(&mut plan.ports[0], vec![flood; 100]);
        assert_eq!(plan.ports[0].frames.len(), 200);
        assert!(plan.ports[0].frames.windows(2).all(|pair| pair[0].stamped != pair[1].stamped), "spread evenly");
        let after = plan.set_load(1.0);
        assert!(after < before * 0.8, "{before} {after}");
    }

    #[test]
    fn headers_are_right() {
        let frame = udp_frame(station(1, 0), station(2, 0), 566);
        assert_eq!(frame.len(), 566);
        assert_eq!(wire::checksum::checksum(&frame[14..34]), 0, "IPv4 header checksum");
        assert_eq!(u16::from_be_bytes([frame[38], frame[39]]), 566 - 34);
        assert_eq!(Sizes::in_turn(&[64, 63]), Err(63));
    }
}
