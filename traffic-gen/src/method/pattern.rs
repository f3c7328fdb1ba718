//! Traffic patterns: who sends to whom (RFC 2285 §3.3, RFC 2889 §5), and trials made of them.
//!
//! Each port sends to its destinations in turn, frames of one size. The load of 100 % is the line rate of each sending port; a pattern that
//! is *fitted* is first scaled down so that no output is asked for more than its line, which leaves any loss to the device.

use std::sync::Arc;

use port::PortId;

use super::Settings;
use crate::plan::{Station, udp_frame};
use crate::trial::{Amount, Phase, PortTrial, Stream, TestFrame, TestPort, Trial, frames_per_second};

/// Frames of one port's list at most: beyond it destinations and addresses are repeated from the front.
const LIST_MAX: usize = 65_536;

/// Who sends to whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pattern {
    /// Its name, for reports.
    pub name: String,
    /// For each port the ports it sends to, in turn; none if it does not send.
    pub to: Vec<Vec<usize>>,
    /// Each frame goes to all of them at once (broadcast) instead of in turn.
    pub broadcast: bool,
    /// 100 % is what no output is asked too much by.
    pub fitted: bool,
}

impl Pattern {
    fn new(name: &str, to: Vec<Vec<usize>>) -> Pattern {
        Pattern { name: name.to_owned(), to, broadcast: false, fitted: true }
    }

    /// Ports 1 and 2, 3 and 4 … send to each other (RFC 2285: non-meshed), or only the first to the second.
    pub fn pairs(ports: usize, bidirectional: bool) -> Pattern {
        let to = |port: usize| match port ^ 1 {
            other if other >= ports => Vec::new(),
            other if bidirectional || port < other => vec![other],
            _ => Vec::new(),
        };
        let name = if bidirectional { "non-meshed, bidirectional" } else { "non-meshed, unidirectional" };
        Pattern::new(name, (0..ports).map(to).collect())
    }

    /// Every port sends to all others in turn, beginning with the next one (RFC 2889 §5.1.3).
    pub fn full_mesh(ports: usize) -> Pattern {
        let to = |port: usize| (1..ports).map(|step| (port + step) % ports).collect();
        Pattern::new("fully meshed", (0..ports).map(to).collect())
    }

    /// One port sends to all others in turn (RFC 2889 §5.2).
    pub fn one_to_many(ports: usize, one: usize) -> Pattern {
        let many: Vec<usize> = (0..ports).filter(|&port| port != one).collect();
        Pattern::new("one-to-many", (0..ports).map(|port| if port == one { many.clone() } else { Vec::new() }).collect())
    }

    /// All others send to one port (RFC 2889 §5.2).
    pub fn many_to_one(ports: usize, one: usize) -> Pattern {
        Pattern::new("many-to-one", (0..ports).map(|port| if port == one { Vec::new() } else { vec![one] }).collect())
    }

    /// Each port of one group sends to all of the other (RFC 2889 §5.3, two devices and the backbone between them).
    pub fn between(ports: usize, group: &[usize]) -> Pattern {
        let to = |port: usize| (0..ports).filter(|other| group.contains(other) != group.contains(&port)).collect();
        Pattern::new("partially meshed, multiple devices", (0..ports).map(to).collect())
    }

    /// The first half sends to the second, which only listens (RFC 2889 §5.4).
    pub fn unidirectional(ports: usize) -> Pattern {
        let half = ports / 2;
        let to = |port: usize| {
            if port < half { (0..ports - half).map(|step| half + (port + step) % (ports - half)).collect() } else { Vec::new() }
        };
        Pattern::new("partially meshed, unidirectional", (0..ports).map(to).collect())
    }

    /// One port sends to all at once (RFC 2889 §5.10).
    pub fn broadcast(ports: usize, one: usize) -> Pattern {
        Pattern { name: "broadcast".to_owned(), broadcast: true, ..Pattern::one_to_many(ports, one) }
    }

    /// The same pattern, in which 100 % is the line rate of each sender whatever becomes of the outputs.
    pub fn unfitted(self) -> Pattern {
        Pattern { fitted: false, ..self }
    }

    /// Ports that send.
    pub fn senders(&self) -> usize {
        self.to.iter().filter(|to| !to.is_empty()).count()
    }

    /// Bits a second on the wire that each port sends at 100 %.
    pub fn full_rates(&self, ports: &[TestPort]) -> Vec<u64> {
        let mut asked = vec![0.0; ports.len()];
        for (port, destinations) in ports.iter().zip(&self.to) {
            let copies = if self.broadcast { 1.0 } else { destinations.len() as f64 };
            destinations.iter().for_each(|&to| asked[to] += port.line_bps as f64 / copies);
        }
        let busiest = asked.iter().zip(ports).map(|(asked, port)| asked / port.line_bps as f64).fold(1.0, f64::max);
        let scale = if self.fitted { busiest } else { 1.0 };
        ports.iter().zip(&self.to).map(|(port, to)| if to.is_empty() { 0 } else { (port.line_bps as f64 / scale).floor() as u64 }).collect()
    }

    /// Frames a second all ports together send at 100 %, frames of `size` bytes with FCS.
    pub fn full_fps(&self, ports: &[TestPort], size: usize) -> f64 {
        self.full_rates(ports).into_iter().map(|bps| frames_per_second(bps, size)).sum()
    }

    /// Copies that are due for each frame sent: 1, or the ports it is broadcast to.
    pub fn copies(&self) -> usize {
        if self.broadcast { self.to.iter().map(Vec::len).max().unwrap_or(1) } else { 1 }
    }

    /// A trial of this pattern: `load` is the share of 100 %, 0 to 1.
    pub fn trial(&self, ports: &[TestPort], size: usize, load: f64, amount: Amount, settings: &Settings) -> Trial {
        let rates: Vec<u64> = self.full_rates(ports).into_iter().map(|bps| ((bps as f64 * load).round() as u64).min(bps)).collect();
        self.trial_at(ports, size, &rates, amount, settings)
    }

    /// A trial of this pattern in which each port sends at its rate of `rates`, bits a second on the wire.
    pub fn trial_at(&self, ports: &[TestPort], size: usize, rates: &[u64], amount: Amount, settings: &Settings) -> Trial {
        let mut trial = settings.empty_trial(ports.len());
        for (from, &rate_bps) in rates.iter().enumerate().take(ports.len()) {
            let frames = if rate_bps == 0 { Vec::new() } else { self.frames(&mut trial, from, size, settings.addresses) };
            let mut phase = Phase::even(frames, rate_bps.max(1), amount);
            phase.burst = settings.burst;
            trial.ports[from] = PortTrial { learning: Vec::new(), phases: vec![phase] };
        }
        if settings.learning {
            learn(&mut trial, ports.len(), settings.addresses);
        }
        trial
    }

    /// The list of frames of one port, and its streams.
    pub fn frames(&self, trial: &mut Trial, from: usize, size: usize, addresses: u16) -> Vec<TestFrame> {
        let to = &self.to[from];
        let len = size.saturating_sub(4);
        let from_id = PortId(from as u8);
        if to.is_empty() {
            return Vec::new();
        }
        if self.broadcast {
            let due = to.iter().map(|&to| PortId(to as u8)).collect();
            let stream = trial.add_stream(Stream { from: from_id, due, group: 0 });
            let all = Station { mac: [0xff; 6], ip: [255; 4] };
            return vec![TestFrame { bytes: udp_frame(station(from, 0), all, len).into(), stream: Some(stream) }];
        }
        let streams: Vec<u16> =
            to.iter().map(|&to| trial.add_stream(Stream { from: from_id, due: vec![PortId(to as u8)], group: 0 })).collect();
        let frame = |number: usize| {
            let (turn, nth) = (number % to.len(), (number / to.len()) as u16);
            let bytes: Arc<[u8]> = udp_frame(station(from, nth), station(to[turn], nth), len).into();
            TestFrame { bytes, stream: Some(streams[turn]) }
        };
        (0..(to.len() * usize::from(addresses)).min(LIST_MAX)).map(frame).collect()
    }
}

/// The `nth` station behind a port: a locally administered MAC address of its own; IPv4 addresses (RFC 2544 appendix C.2) come again after
/// 256 of them, which no bridge looks at.
pub fn station(port: usize, nth: u16) -> Station {
    let [high, low] = nth.to_be_bytes();
    Station { mac: [0x02, 0xbd, port as u8, 0, high, low], ip: [198, 18 + (port as u8 & 1), port as u8 >> 1, low] }
}

/// Each station announces itself once to a group nobody listens to, so that the device learns where it is (RFC 2889 §5.1.2: learning frames).
pub fn learn(trial: &mut Trial, ports: usize, addresses: u16) {
    let group = Station { mac: [0x01, 0x00, 0x5e, 0x7f, 0xff, 0x01], ip: [239, 255, 255, 1] };
    for port in 0..ports {
        trial.ports[port].learning = (0..addresses).map(|nth| udp_frame(station(port, nth), group, 60).into()).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(lines: &[u64]) -> Vec<TestPort> {
        lines.iter().enumerate().map(|(index, &line_bps)| TestPort { name: format!("p{index}"), line_bps }).collect()
    }

    #[test]
    fn patterns_are_those_of_the_standard() {
        assert_eq!(Pattern::pairs(5, true).to, [vec![1], vec![0], vec![3], vec![2], vec![]]);
        assert_eq!(Pattern::pairs(4, false).to, [vec![1], vec![], vec![3], vec![]]);
        assert_eq!(Pattern::full_mesh(4).to, [vec![1, 2, 3], vec![2, 3, 0], vec![3, 0, 1], vec![0, 1, 2]]);
        assert_eq!(Pattern::one_to_many(3, 1).to, [vec![], vec![0, 2], vec![]]);
        assert_eq!(Pattern::many_to_one(3, 2).to, [vec![2], vec![2], vec![]]);
        assert_eq!(Pattern::between(4, &[0, 2]).to, [vec![1, 3], vec![0, 2], vec![1, 3], vec![0, 2]]);
        assert_eq!(Pattern::unidirectional(4).to, [vec![2, 3], vec![3, 2], vec![], vec![]]);
    }

    #[test]
    fn a_fitted_pattern_asks_no_output_for_too_much() {
        let giga = 1_000_000_000;
        let chassis: Vec<TestPort> = ports(&[[giga; 16].as_slice(), &[10 * giga]].concat());
        let many = Pattern::many_to_one(17, 16);
        assert_eq!(many.full_rates(&chassis)[0], 625_000_000, "16 blades share 10G");
        assert_eq!(many.unfitted().full_rates(&chassis)[0], giga);
        assert_eq!(Pattern::full_mesh(4).full_rates(&ports(&[giga; 4])), [giga; 4]);
        assert_eq!(Pattern::broadcast(4, 0).full_rates(&ports(&[giga; 4])), [giga, 0, 0, 0]);
        // 10G into 1G: a tenth.
        assert_eq!(Pattern::pairs(2, true).full_rates(&ports(&[giga, 10 * giga])), [giga / 10, giga]);
        assert!((Pattern::full_mesh(4).full_fps(&ports(&[giga; 4]), 64) - 4.0 * 1_488_095.238).abs() < 1.0);
    }

    #[test]
    fn every_station_announces_itself_and_frames_go_round() {
        let ports = ports(&[1_000_000_000; 3]);
        let settings = Settings { addresses: 2, ..Settings::default() };
        let trial = Pattern::full_mesh(3).trial(&ports, 64, 0.5, Amount::Frames(10), &settings);
        assert_eq!(trial.ports[0].learning.len(), 2);
        assert_eq!(trial.streams.len(), 6);
        let phase = &trial.ports[0].phases[0];
        assert_eq!((phase.rate_bps, phase.frames.len()), (500_000_000, 4));
        let to: Vec<[u8; 2]> = phase.frames.iter().map(|frame| [frame.bytes[2], frame.bytes[5]]).collect();
        assert_eq!(to, [[1, 0], [2, 0], [1, 1], [2, 1]]);
    }
}
