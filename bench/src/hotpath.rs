//! `bench hotpath`: what a packet costs in the whole pipeline, receive queue to transmit queue, on one core.
//!
//! One thread plays source, switch and sink: it fills the receive rings of all ports, times one turn of the worker (all
//! ports, a burst each), and empties the transmit rings. Only the turn is timed, in ticks of the time stamp counter; the frames are warm in the
//! cache, as they are not when another core wrote them (`bench chassis` shows that). Addresses are drawn at random over all stations, so that
//! table look-ups miss the caches as they would.
//!
//! Instructions are counted by valgrind's callgrind, where it is installed: this program runs itself under it and collects
//! only inside the timed turn. They do not depend on the machine's load.

use std::time::Duration;

use bladeswitch::Switch;
use bladeswitch::assembly;
use control::config::{Config, NeighborConfig, PortConfig, Speed, VlanConfig, VlanMode};
use dataplane::fdb;
use dataplane::pipeline::CycleObserver;
use dataplane::worker::Worker;
use dataplane::{Observer, Phase};
use port::clock::TscClock;
use port::{BURST_MAX, Burst, Hugepages, Mempool, Nanos, PoolCache, Port, PortId};
use serde::Serialize;
use wire::ethernet::{self, EtherType, Tag};
use wire::message::{Final, Header, MessageType};
use wire::{MacAddr, Tci, Vid};

use crate::callgrind;

/// What kind of frames, through which lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Case {
    /// Untagged frames between access ports: learn the source, look up the destination.
    LearnForward,
    /// Tagged frames between trunks of 16 VLANs.
    VlanTrunk,
    /// Chassis messages to the switch, final destination a MAC.
    Message,
    /// IPv4 packets to the switch, resolved by the neighbor table.
    Ip,
}

impl Case {
    /// The name in results.
    pub fn name(self) -> &'static str {
        match self {
            Case::LearnForward => "learn_forward",
            Case::VlanTrunk => "vlan_trunk",
            Case::Message => "message",
            Case::Ip => "ip",
        }
    }
}

/// One result.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// The case.
    pub case: Case,
    /// Stations in the tables.
    pub addresses: u32,
    /// Packets taken from a queue at once.
    pub burst: usize,
    /// Median of the windows, in ticks of the time stamp counter.
    pub cycles_per_packet: f64,
    /// Fastest window.
    pub cycles_per_packet_min: f64,
    /// Instructions, where callgrind is there to count them.
    pub instructions_per_packet: Option<f64>,
    /// Packets timed.
    pub packets: u64,
}

/// What a case may cost: the part of [`Measured`] that does not depend on the machine's load.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, serde::Deserialize)]
pub struct Baseline {
    /// The case.
    pub case: Case,
    /// Stations in the tables.
    pub addresses: u32,
    /// Packets taken from a queue at once.
    pub burst: usize,
    /// Instructions.
    pub instructions_per_packet: f64,
}

/// Instructions above the baseline that pass.
const GUARD_SLACK: f64 = 1.02;

/// Compares instructions with a baseline.
///
/// # Errors
/// A case of the baseline that takes over 2 % more, or was not measured.
pub fn guard(baseline: &[Baseline], measured: &[Measured]) -> Result<(), String> {
    for want in baseline {
        let same = |got: &&Measured| (got.case, got.addresses, got.burst) == (want.case, want.addresses, want.burst);
        let name = format!("{} with {} stations in bursts of {}", want.case.name(), want.addresses, want.burst);
        let Some(count) = measured.iter().find(same).and_then(|got| got.instructions_per_packet) else {
            return Err(format!("{name} is in the baseline and was not counted: it needs valgrind, and the same --addresses and --burst"));
        };
        if count > want.instructions_per_packet * GUARD_SLACK {
            return Err(format!(
                "{name} takes {count:.1} instructions a packet, {:.1} in the baseline: find out why, or write the new figure and the reason in \
                 the same commit",
                want.instructions_per_packet
            ));
        }
    }
    Ok(())
}

const SWITCH_MAC: MacAddr = MacAddr([0x02, 0, 0, 0, 0, 0xfe]);
/// Stations of a learning storm are numbered from here.
const NEW_STATIONS: u32 = 1 << 24;

/// MAC address of a station.
fn station_mac(station: u32) -> MacAddr {
    let [a, b, c, d] = station.to_be_bytes();
    MacAddr([0x06, 0x10, a, b, c, d])
}

fn station_ip(station: u32) -> std::net::Ipv4Addr {
    // 10.0.0.0/8: 16 million stations, never on any wire.
    std::net::Ipv4Addr::from_bits(0x0a00_0000 + station)
}

/// What goes through which switch.
#[derive(Clone, Debug, PartialEq)]
pub struct Load {
    /// What kind of frames.
    pub case: Case,
    /// Ports of the switch, 2 to 128; never more than stations.
    pub ports: u16,
    /// Stations, all of them known before anything is timed.
    pub addresses: u32,
    /// The most the FDB holds, beyond `addresses`.
    pub fdb_limit: u32,
    /// Packets taken from a queue at once.
    pub burst: usize,
    /// VLANs of [`Case::VlanTrunk`], 1 to 4094.
    pub vlans: u16,
    /// Lengths of frames without FCS, in the order in which they come; each at least as long as the case's headers and 60 bytes.
    pub lengths: Vec<usize>,
    /// Of how many frames in a thousand the source shows up behind another port than its own.
    pub moving: u32,
    /// No source is seen twice: all of them are to be learned.
    pub storm: bool,
}

impl Load {
    /// Frames of 64 bytes between stations that stay where they are.
    pub fn new(case: Case, ports: u16, addresses: u32, burst: usize) -> Load {
        Load { case, ports, addresses, fdb_limit: 0, burst, vlans: 16, lengths: vec![60], moving: 0, storm: false }
    }

    /// Must every frame come out once? One for a station that is just behind the port it comes from does not.
    fn is_lossless(&self) -> bool {
        self.moving == 0 && !self.storm
    }
}

/// The switch and what is at its ports, in one thread.
pub struct Rig {
    pub(crate) switch: Switch,
    pub(crate) ends: Ends,
}

/// Source and sink at some of the switch's ports.
pub(crate) struct Ends {
    far: Vec<(u32, Port)>,
    /// Ports of the switch.
    ports: u32,
    pool: PoolCache,
    load: Load,
    template: Vec<u8>,
    /// Where in `load.lengths` the next frame is.
    next_length: usize,
    /// New stations so far.
    storm: u32,
    random: u64,
    /// Packets put in.
    pub offered: u64,
    /// Packets that came out.
    pub received: u64,
}

/// The switch's clock stands still: no station ages.
pub(crate) const NOW: Nanos = Nanos(1);

impl Rig {
    /// A chassis whose stations are all known already.
    ///
    /// # Errors
    /// If there is no memory for the packet pool.
    pub fn new(load: Load) -> std::io::Result<Rig> {
        let (switch, ends) = assemble(&load, 1)?;
        let mut rig = Rig { switch, ends: ends.into_iter().next().expect("one for the one worker") };
        rig.introduce();
        Ok(rig)
    }

    /// Every station sends a frame, so that all are known.
    pub(crate) fn introduce(&mut self) {
        let mut next = 0;
        while next < self.ends.load.addresses {
            next = self.ends.introduce(next);
            self.switch.settle(NOW);
            self.ends.drain();
        }
    }

    /// Fills, times one turn, empties. Returns packets and ticks.
    pub fn turn<O: Observer>(&mut self, clock: &TscClock, observer: &mut O) -> (u64, u64) {
        self.ends.fill();
        let before = clock.ticks();
        let handled = timed_turn(&mut self.switch.workers[0], NOW, observer);
        let ticks = clock.ticks() - before;
        self.ends.drain();
        (handled as u64, ticks)
    }

    /// Has every packet come out, and does the ledger balance?
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&mut self) -> Result<(), String> {
        self.switch.settle(NOW);
        self.ends.drain();
        if self.ends.load.is_lossless() && self.ends.offered != self.ends.received {
            return Err(format!("{} packets went in and {} came out: {:?}", self.ends.offered, self.ends.received, drops(&self.switch)));
        }
        self.switch.check_ledger().map(|_| ())
    }
}

/// What the switch has dropped: reasons and numbers.
pub(crate) fn drops(switch: &Switch) -> Vec<String> {
    let ports = 0..switch.control.config().ports.len();
    let sum = |reason| ports.clone().map(|p| switch.control.port_counters(PortId(p as u8)).dropped(reason)).sum::<u64>();
    dataplane::DropReason::ALL.iter().filter(|&&reason| sum(reason) > 0).map(|&reason| format!("{reason}: {}", sum(reason))).collect()
}

/// A switch with `workers` workers, and for each of them the far ends of the ports it receives from.
pub(crate) fn assemble(load: &Load, workers: usize) -> std::io::Result<(Switch, Vec<Ends>)> {
    let Load { case, addresses, burst, .. } = *load;
    let ports = u16::try_from(addresses).map_or(load.ports, |addresses| load.ports.min(addresses)).max(2);
    let mut config = Config::chassis(ports - 1, Speed::G1, Speed::G10);
    config.switch.mac = SWITCH_MAC;
    config.switch.burst = burst;
    config.switch.workers = workers;
    config.fdb.limit = addresses.max(1024).next_power_of_two().max(load.fdb_limit);
    config.fdb.ageing_ms = 0;
    config.identity.advertise = false;
    for port in &mut config.ports {
        port.queue = 1024;
    }
    let vid = |n: u16| Vid::new(n).expect("a VLAN of the benchmark");
    if case == Case::VlanTrunk {
        let vids: Vec<Vid> = (1..=load.vlans).map(vid).collect();
        config.vlans = vids.iter().map(|&vid| VlanConfig::unnamed(vid)).collect();
        for port in &mut config.ports {
            *port = PortConfig { vlan: VlanMode::Trunk { allowed: vids.iter().copied().collect(), native: None }, ..port.clone() };
        }
    }
    if case == Case::Ip {
        config.identity.limit = addresses;
        config.neighbors = (0..addresses)
            .map(|station| NeighborConfig { ip: station_ip(station).into(), mac: station_mac(station), vid: Vid::DEFAULT })
            .collect();
    }
    let mempool = Mempool::new(1 << 16, Hugepages::Auto)?;
    let (near, far, _) = assembly::memory_ports(&config, 1024);
    let switch = assembly::build(&config, near, &mempool, 1);
    let mut template = template(case);
    template.resize(load.lengths.iter().copied().max().unwrap_or(0).max(template.len()), 0);
    let mut ends: Vec<Ends> = (0..workers)
        .map(|worker| Ends {
            far: Vec::new(),
            ports: u32::from(ports),
            pool: mempool.cache(),
            load: load.clone(),
            template: template.clone(),
            next_length: 0,
            storm: worker as u32 * (NEW_STATIONS / 16),
            random: 0x9e37_79b9_7f4a_7c15 ^ worker as u64,
            offered: 0,
            received: 0,
        })
        .collect();
    for (port, end) in (0..).zip(far) {
        ends[port as usize % workers].far.push((port, end));
    }
    Ok((switch, ends))
}

impl Ends {
    /// A burst at each port: the stations from number `next` on send a frame each to themselves, which are learned and dropped as
    /// hairpin, so that a million introductions do not flood. Returns the number of the first that has not.
    pub(crate) fn introduce(&mut self, next: u32) -> u32 {
        let Load { case, addresses, burst: burst_len, .. } = self.load;
        for at in 0..self.far.len() {
            let mut burst = Burst::new();
            while burst.len() < burst_len {
                let who = next + self.far[at].0 + burst.len() as u32 * self.ports;
                if who >= addresses {
                    break;
                }
                let Some(mut packet) = self.pool.alloc(60) else { break };
                let vid = self.vid(who);
                if let Some(bytes) = self.pool.bytes_mut(&mut packet) {
                    bytes.fill(0);
                    bytes[0..6].copy_from_slice(&station_mac(who).0);
                    bytes[6..12].copy_from_slice(&station_mac(who).0);
                    bytes[12..14].copy_from_slice(&[0x08, 0x00]);
                    if case == Case::VlanTrunk {
                        bytes[12..18].copy_from_slice(&[0x81, 0x00, (vid >> 8) as u8, vid as u8, 0x08, 0x00]);
                    }
                }
                burst.push(packet);
            }
            self.far[at].1.tx[0].tx_burst(NOW, &mut self.pool, &mut burst);
            self.pool.free_all(&mut burst);
        }
        next + self.ports * burst_len as u32
    }

    fn vid(&self, station: u32) -> u16 {
        // All ports are in all VLANs, and all stations of a VLAN must meet: the VLAN goes by the round of the ports.
        (station / self.ports % u32::from(self.load.vlans)) as u16 + 1
    }

    fn draw(&mut self, below: u32) -> u32 {
        // xorshift64*: a number that costs less than a memory access and repeats after 2^64.
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        (((self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) * below as u64) >> 32) as u32
    }

    /// A burst of frames from random stations of each port to random stations of other ports.
    pub(crate) fn fill(&mut self) {
        let Load { case, addresses, burst: burst_len, moving, storm, .. } = self.load;
        let vlans = u32::from(self.load.vlans);
        let ports = self.ports;
        let rounds = (addresses / ports).max(1);
        for at in 0..self.far.len() {
            let port = self.far[at].0;
            let mut burst = Burst::new();
            while burst.len() < burst_len {
                let home = if moving > 0 && self.draw(1000) < moving { self.draw(ports) } else { port };
                let src = self.draw(rounds) * ports + home;
                let other = (port + 1 + self.draw(ports - 1)) % ports;
                // In a trunk the destination must be in the source's VLAN.
                let round = if case == Case::VlanTrunk {
                    let same = rounds.div_ceil(vlans).max(1);
                    let vlan = src / ports % vlans;
                    let round = self.draw(same) * vlans + vlan;
                    if round < rounds { round } else { src / ports }
                } else {
                    self.draw(rounds)
                };
                let dst = round * ports + other;
                let length = self.load.lengths[self.next_length];
                self.next_length = (self.next_length + 1) % self.load.lengths.len();
                let Some(mut packet) = self.pool.alloc(length) else { break };
                let vid = self.vid(src);
                let from = if storm {
                    self.storm += 1;
                    station_mac(NEW_STATIONS + self.storm)
                } else {
                    station_mac(src)
                };
                if let Some(bytes) = self.pool.bytes_mut(&mut packet) {
                    bytes.copy_from_slice(&self.template[..length]);
                    bytes[6..12].copy_from_slice(&from.0);
                    match case {
                        Case::LearnForward => bytes[0..6].copy_from_slice(&station_mac(dst).0),
                        Case::VlanTrunk => {
                            bytes[0..6].copy_from_slice(&station_mac(dst).0);
                            bytes[14..16].copy_from_slice(&vid.to_be_bytes());
                        }
                        Case::Message => bytes[22..28].copy_from_slice(&station_mac(dst).0),
                        Case::Ip => bytes[30..34].copy_from_slice(&station_ip(dst).octets()),
                    }
                }
                burst.push(packet);
            }
            self.offered += self.far[at].1.tx[0].tx_burst(NOW, &mut self.pool, &mut burst) as u64;
            self.pool.free_all(&mut burst);
        }
    }

    /// Takes what the switch has sent.
    pub(crate) fn drain(&mut self) -> u64 {
        let mut count = 0;
        for (_, port) in &mut self.far {
            let mut burst = Burst::new();
            while port.rx[0].rx_burst(NOW, &mut self.pool, &mut burst, BURST_MAX) > 0 {
                count += burst.len() as u64;
                self.pool.free_all(&mut burst);
            }
        }
        self.received += count;
        count
    }

    /// Gives what it holds in store back to the pool.
    pub(crate) fn flush_pool(&mut self) {
        self.pool.flush();
    }
}

/// The turn that is timed, and that callgrind collects: not inlined, so that it has a name.
#[inline(never)]
pub(crate) fn timed_turn<O: Observer>(worker: &mut Worker, now: Nanos, observer: &mut O) -> usize {
    worker.poll_once(now, observer)
}

fn template(case: Case) -> Vec<u8> {
    let any = MacAddr::ZERO;
    match case {
        Case::LearnForward => ethernet::emit(any, any, &[], EtherType::IPV4, &[]),
        Case::VlanTrunk => ethernet::emit(any, any, &[Tag { tpid: EtherType::VLAN, tci: Tci(0) }], EtherType::IPV4, &[]),
        Case::Message => {
            let header = Header { message_type: MessageType::Data, final_destination: Final::Mac(any), inner: EtherType(0), body_len: 22 };
            ethernet::emit(SWITCH_MAC, any, &[], EtherType::MESSAGE, &header.emit())
        }
        Case::Ip => {
            let mut packet = [0; 46];
            packet[0] = 0x45;
            packet[3] = 46;
            packet[8] = 64;
            packet[9] = 17;
            ethernet::emit(SWITCH_MAC, any, &[], EtherType::IPV4, &packet)
        }
    }
}

/// Measures one case: windows of some thousand packets for `duration`, median and minimum.
///
/// # Errors
/// If packets were lost: then nothing was measured.
pub fn measure(case: Case, ports: u16, addresses: u32, burst: usize, duration: Duration) -> Result<Measured, String> {
    let clock = TscClock::new();
    let mut rig = Rig::new(Load::new(case, ports, addresses, burst)).map_err(|error| error.to_string())?;
    for _ in 0..50 {
        rig.turn(&clock, &mut ());
    }
    let mut windows = Vec::new();
    let mut packets = 0;
    let end = clock.now() + Nanos(duration.as_nanos() as u64);
    while clock.now() < end {
        let (mut count, mut ticks) = (0, 0);
        for _ in 0..16 {
            let (c, t) = rig.turn(&clock, &mut ());
            count += c;
            ticks += t;
        }
        packets += count;
        windows.push(ticks as f64 / count as f64);
    }
    rig.check()?;
    windows.sort_by(f64::total_cmp);
    Ok(Measured {
        case,
        addresses,
        burst,
        cycles_per_packet: windows[windows.len() / 2],
        cycles_per_packet_min: windows[0],
        instructions_per_packet: None,
        packets,
    })
}

/// Where the cycles go: per phase, ticks per packet. Reading the counter at each phase costs a little itself.
///
/// # Errors
/// As [`measure`].
pub fn phases(case: Case, ports: u16, addresses: u32, burst: usize, duration: Duration) -> Result<Vec<(Phase, f64)>, String> {
    let clock = TscClock::new();
    let mut rig = Rig::new(Load::new(case, ports, addresses, burst)).map_err(|error| error.to_string())?;
    let mut observer = CycleObserver::new(|| clock.ticks());
    for _ in 0..50 {
        rig.turn(&clock, &mut ());
    }
    let end = clock.now() + Nanos(duration.as_nanos() as u64);
    while clock.now() < end {
        rig.turn(&clock, &mut observer);
    }
    rig.check()?;
    Ok(Phase::ALL.iter().zip(&observer.costs).map(|(&phase, cost)| (phase, cost.ticks as f64 / cost.packets.max(1) as f64)).collect())
}

/// Runs `turns` turns and no clock: what callgrind watches.
///
/// # Errors
/// As [`measure`].
pub fn count_turns(case: Case, ports: u16, addresses: u32, burst: usize, turns: u32) -> Result<u64, String> {
    let clock = TscClock::new();
    let mut rig = Rig::new(Load::new(case, ports, addresses, burst)).map_err(|error| error.to_string())?;
    let mut packets = 0;
    for _ in 0..turns {
        packets += rig.turn(&clock, &mut ()).0;
    }
    rig.check()?;
    Ok(packets)
}

/// Instructions per packet, counted by callgrind; `None` if valgrind is not installed or fails.
pub fn instructions(case: Case, ports: u16, addresses: u32, burst: usize) -> Option<f64> {
    const TURNS: u32 = 40;
    let numbers = [&ports as &dyn std::fmt::Display, &addresses, &burst, &TURNS].map(|number| number.to_string());
    let names = ["--ports", "--addresses", "--burst", "--turns"].map(str::to_owned);
    let mut args = ["hotpath-count", "--case", case.name()].map(str::to_owned).to_vec();
    args.extend(names.into_iter().zip(numbers).flat_map(|(name, number)| [name, number]));
    callgrind::instructions_per_unit("timed_turn", &args)
}

/// Key of a station in VLAN 1, for tests.
pub fn station_key(station: u32) -> fdb::Key {
    fdb::key(Vid::DEFAULT, station_mac(station))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guard_lets_two_percent_pass_and_no_more() {
        let baseline = [Baseline { case: Case::Message, addresses: 1000, burst: 32, instructions_per_packet: 400.0 }];
        let measured = |instructions_per_packet| Measured {
            case: Case::Message,
            addresses: 1000,
            burst: 32,
            cycles_per_packet: 50.0,
            cycles_per_packet_min: 50.0,
            instructions_per_packet,
            packets: 1,
        };
        assert_eq!(guard(&baseline, &[measured(Some(408.0))]), Ok(()));
        assert!(guard(&baseline, &[measured(Some(408.1))]).unwrap_err().contains("408.1 instructions a packet, 400.0 in the baseline"));
        assert!(guard(&baseline, &[measured(None)]).unwrap_err().contains("was not counted"));
        assert!(guard(&baseline, &[]).unwrap_err().contains("was not counted"));
    }
}
