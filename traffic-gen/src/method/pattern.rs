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
    /// What is broadcast goes to these groups instead of to all stations.
    pub multicast: Option<Multicast>,
}

/// The most groups of [`Multicast`].
pub const GROUPS_MAX: u16 = 4096;

/// Frames to groups, which all ports that are sent to have joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Multicast {
    /// Groups, in turn: 1 to [`GROUPS_MAX`].
    pub groups: u16,
    /// Of a hundred frames, those that go to stations instead, port by port: below 100.
    pub unicast_percent: u8,
}

impl Pattern {
    fn new(name: &str, to: Vec<Vec<usize>>) -> Pattern {
        Pattern { name: name.to_owned(), to, broadcast: false, fitted: true, multicast: None }
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

    /// One port sends to groups that all others have joined, and perhaps to their stations as well (RFC 3918 §4).
    pub fn multicast(ports: usize, one: usize, multicast: Multicast) -> Pattern {
        let name = format!("one to {} groups", multicast.groups);
        Pattern { name, multicast: Some(multicast), ..Pattern::broadcast(ports, one) }
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
            let in_turn = 1.0 / destinations.len().max(1) as f64;
            let share = match self.multicast.map(|multicast| f64::from(multicast.unicast_percent) / 100.0) {
                Some(unicast) => 1.0 - unicast + unicast * in_turn,
                None if self.broadcast => 1.0,
                None => in_turn,
            };
            destinations.iter().for_each(|&to| asked[to] += port.line_bps as f64 * share);
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
        if let Some(multicast) = self.multicast {
            for to in self.to.iter().flatten() {
                trial.ports[*to].learning.extend((0..multicast.groups).map(|group| join(*to, group)));
            }
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
        if let Some(multicast) = self.multicast {
            return self.multicast_frames(trial, from, len, multicast);
        }
        if self.broadcast {
            let due = to.iter().map(|&to| PortId(to as u8)).collect();
            let stream = trial.add_stream(Stream { from: from_id, due, group: 0, by_port: false });
            let all = Station { mac: [0xff; 6], ip: [255; 4] };
            return vec![TestFrame { bytes: udp_frame(station(from, 0), all, len).into(), stream: Some(stream) }];
        }
        let streams: Vec<u16> = to
            .iter()
            .map(|&to| trial.add_stream(Stream { from: from_id, due: vec![PortId(to as u8)], group: 0, by_port: false }))
            .collect();
        let frame = |number: usize| {
            let (turn, nth) = (number % to.len(), (number / to.len()) as u16);
            let bytes: Arc<[u8]> = udp_frame(station(from, nth), station(to[turn], nth), len).into();
            TestFrame { bytes, stream: Some(streams[turn]) }
        };
        (0..(to.len() * usize::from(addresses)).min(LIST_MAX)).map(frame).collect()
    }
}

impl Pattern {
    /// Streams of groups come first. Each port that is due has a latency histogram, and all frames to stations one more.
    fn multicast_frames(&self, trial: &mut Trial, from: usize, len: usize, multicast: Multicast) -> Vec<TestFrame> {
        let (to, from_id) = (&self.to[from], PortId(from as u8));
        let due: Vec<PortId> = to.iter().map(|&to| PortId(to as u8)).collect();
        trial.groups = due.iter().map(|port| format!("to port {}", port.index())).chain(["unicast".to_owned()]).collect();
        let mut stream = |due, group, by_port| trial.add_stream(Stream { from: from_id, due, group, by_port });
        let to_groups: Vec<TestFrame> = (0..multicast.groups)
            .map(|group| TestFrame {
                bytes: udp_frame(station(from, 0), group_of(group), len).into(),
                stream: Some(stream(due.clone(), 0, true)),
            })
            .collect();
        let unicast = usize::from(multicast.unicast_percent.min(99));
        if unicast == 0 {
            return to_groups;
        }
        let to_station = |&to: &usize| TestFrame {
            bytes: udp_frame(station(from, 0), station(to, 0), len).into(),
            stream: Some(stream(vec![PortId(to as u8)], due.len(), false)),
        };
        let to_stations: Vec<TestFrame> = to.iter().map(to_station).collect();
        // Spread evenly, and so many that each group and station has its turns.
        let (mut groups, mut stations) = (to_groups.iter().cycle(), to_stations.iter().cycle());
        let mixed = (0..(100 * to_groups.len() * to_stations.len()).min(LIST_MAX / 100 * 100)).filter_map(|number| {
            let is_unicast = (number + 1) * unicast / 100 > number * unicast / 100;
            if is_unicast { stations.next() } else { groups.next() }.cloned()
        });
        mixed.collect()
    }
}

/// Group number `n`: 239.255.0.0 plus `n` (RFC 2365: of the local scope), and the MAC address that belongs to it (RFC 1112 §6.4).
fn group_of(group: u16) -> Station {
    let [high, low] = group.min(GROUPS_MAX).to_be_bytes();
    Station { mac: [0x01, 0x00, 0x5e, 0x7f, high, low], ip: [239, 255, high, low] }
}

/// The station of a port joins a group: an IGMPv2 report (RFC 2236 §2, §3: to the group, TTL 1, router alert of RFC 2113).
fn join(port: usize, group: u16) -> Arc<[u8]> {
    const IGMP_AT: usize = 14 + 24;
    let (from, group) = (station(port, 0), group_of(group));
    let mut frame = vec![0u8; 60];
    frame[..6].copy_from_slice(&group.mac);
    frame[6..12].copy_from_slice(&from.mac);
    frame[12..14].copy_from_slice(&[0x08, 0x00]);
    frame[14..24].copy_from_slice(&[0x46, 0xc0, 0, 32, 0, 0, 0, 0, 1, 2]);
    frame[26..30].copy_from_slice(&from.ip);
    frame[30..34].copy_from_slice(&group.ip);
    frame[34..38].copy_from_slice(&[0x94, 0x04, 0, 0]);
    frame[IGMP_AT] = 0x16;
    frame[IGMP_AT + 4..IGMP_AT + 8].copy_from_slice(&group.ip);
    let sum = internet(&frame[IGMP_AT..IGMP_AT + 8]);
    frame[IGMP_AT + 2..IGMP_AT + 4].copy_from_slice(&sum);
    let sum = internet(&frame[14..IGMP_AT]);
    frame[24..26].copy_from_slice(&sum);
    frame.into()
}

/// The checksum of RFC 1071 over an even number of bytes.
fn internet(bytes: &[u8]) -> [u8; 2] {
    let sum: u32 = bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    (!((sum & 0xffff) + (sum >> 16)) as u16).to_be_bytes()
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

    /// Byte by byte as RFC 2236 and RFC 2113 have it; the checksums were worked out by hand.
    #[test]
    fn a_join_is_an_igmp_report() {
        let frame = join(3, 258);
        assert_eq!(frame[..14], [0x01, 0x00, 0x5e, 0x7f, 1, 2, 0x02, 0xbd, 3, 0, 0, 0, 0x08, 0x00]);
        let header = [0x46, 0xc0, 0, 32, 0, 0, 0, 0, 1, 2, 0x6c, 0x03, 198, 19, 1, 0, 239, 255, 1, 2, 0x94, 0x04, 0, 0];
        assert_eq!(frame[14..38], header);
        assert_eq!(frame[38..46], [0x16, 0, 0xf8, 0xfd, 239, 255, 1, 2]);
        assert!(frame.len() == 60 && frame[46..].iter().all(|&byte| byte == 0));
    }

    #[test]
    fn frames_to_groups_and_stations_are_mixed() {
        let settings = Settings::default();
        let all = ports(&[1_000_000_000; 4]);
        let pattern = Pattern::multicast(4, 1, Multicast { groups: 3, unicast_percent: 25 });
        let trial = pattern.trial(&all, 64, 1.0, Amount::Frames(1), &settings);
        let frames = &trial.ports[1].phases[0].frames;
        let of = |stream: usize| frames.iter().filter(|frame| frame.stream == Some(stream as u16)).count();
        assert_eq!((0..6).map(of).collect::<Vec<_>>(), [225, 225, 225, 75, 75, 75]);
        // In any eight in a row, two go to stations.
        let unicast = |frames: &[TestFrame]| frames.iter().filter(|frame| frame.stream >= Some(3)).count();
        assert!(frames.windows(8).all(|eight| unicast(eight) == 2));
        assert_eq!((trial.streams[0].due.len(), trial.streams[3].due.clone(), trial.groups.len()), (3, vec![PortId(0)], 4));
        // All others have joined all groups.
        assert_eq!(trial.ports.iter().map(|port| port.learning.len()).collect::<Vec<_>>(), [4, 1, 4, 4]);
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
