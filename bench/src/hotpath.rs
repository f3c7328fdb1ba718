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
#[derive(Clone, Copy, Debug, serde::Deserialize)]
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
const VLANS: u16 = 16;

/// MAC address of a station.
fn station_mac(station: u32) -> MacAddr {
    let [a, b, c, d] = station.to_be_bytes();
    MacAddr([0x06, 0x10, a, b, c, d])
}

fn station_ip(station: u32) -> std::net::Ipv4Addr {
    // 10.0.0.0/8: 16 million stations, never on any wire.
    std::net::Ipv4Addr::from_bits(0x0a00_0000 + station)
}

/// Source, switch and sink in one thread.
pub struct Rig {
    switch: Switch,
    far: Vec<Port>,
    pool: PoolCache,
    case: Case,
    addresses: u32,
    burst: usize,
    template: Vec<u8>,
    /// Where the final destination or IP destination lies in the frame.
    random: u64,
    now: Nanos,
    /// Packets put in and taken out.
    pub offered: u64,
    /// Packets that came out.
    pub received: u64,
}

impl Rig {
    /// A chassis of `ports` ports with `addresses` stations, all of them known already.
    ///
    /// # Errors
    /// If there is no memory for the packet pool.
    pub fn new(case: Case, ports: u16, addresses: u32, burst: usize) -> std::io::Result<Rig> {
        let ports = u16::try_from(addresses).map_or(ports, |addresses| ports.min(addresses)).max(2);
        let mut config = Config::chassis(ports - 1, Speed::G1, Speed::G10);
        config.switch.mac = SWITCH_MAC;
        config.switch.burst = burst;
        config.fdb.limit = addresses.max(1024).next_power_of_two();
        config.fdb.ageing_ms = 0;
        config.identity.advertise = false;
        for port in &mut config.ports {
            port.queue = 1024;
        }
        let vid = |n: u16| Vid::new(n).expect("a VLAN of the benchmark");
        if case == Case::VlanTrunk {
            let vids: Vec<Vid> = (1..=VLANS).map(vid).collect();
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
        let template = template(case);
        let mut rig = Rig {
            switch,
            far,
            pool: mempool.cache(),
            case,
            addresses,
            burst,
            template,
            random: 0x9e37_79b9_7f4a_7c15,
            now: Nanos(1),
            offered: 0,
            received: 0,
        };
        rig.introduce();
        Ok(rig)
    }

    /// Every station sends a frame, so that all are known.
    fn introduce(&mut self) {
        let ports = self.far.len() as u32;
        let mut station = 0;
        while station < self.addresses {
            for port in 0..ports {
                let mut burst = Burst::new();
                while burst.len() < self.burst && station + port < self.addresses + ports {
                    let who = station + port + burst.len() as u32 * ports;
                    if who >= self.addresses {
                        break;
                    }
                    let Some(mut packet) = self.pool.alloc(60) else { break };
                    // To the port itself: learned, and dropped as hairpin, so that a million introductions do not flood.
                    let vid = if self.case == Case::VlanTrunk { Some(self.vid(who)) } else { None };
                    if let Some(bytes) = self.pool.bytes_mut(&mut packet) {
                        bytes.fill(0);
                        bytes[0..6].copy_from_slice(&station_mac(who).0);
                        bytes[6..12].copy_from_slice(&station_mac(who).0);
                        bytes[12..14].copy_from_slice(&[0x08, 0x00]);
                        if let Some(vid) = vid {
                            bytes[12..18].copy_from_slice(&[0x81, 0x00, 0, vid as u8, 0x08, 0x00]);
                        }
                    }
                    burst.push(packet);
                }
                self.far[port as usize].tx[0].tx_burst(self.now, &mut self.pool, &mut burst);
                self.pool.free_all(&mut burst);
            }
            self.switch.settle(self.now);
            self.drain();
            station += ports * self.burst as u32;
        }
    }

    fn vid(&self, station: u32) -> u16 {
        // All ports are in all VLANs, and all stations of a VLAN must meet: the VLAN goes by the round of the ports.
        (station / self.far.len() as u32 % VLANS as u32) as u16 + 1
    }

    fn draw(&mut self, below: u32) -> u32 {
        // xorshift64*: a number that costs less than a memory access and repeats after 2^64.
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        (((self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) * below as u64) >> 32) as u32
    }

    /// A burst of frames from random stations of each port to random stations of other ports.
    fn fill(&mut self) {
        let ports = self.far.len() as u32;
        let rounds = (self.addresses / ports).max(1);
        for port in 0..ports {
            let mut burst = Burst::new();
            while burst.len() < self.burst {
                let src = self.draw(rounds) * ports + port;
                let other = (port + 1 + self.draw(ports - 1)) % ports;
                // In a trunk the destination must be in the source's VLAN.
                let round = if self.case == Case::VlanTrunk {
                    let same = rounds.div_ceil(VLANS as u32).max(1);
                    let vlan = src / ports % VLANS as u32;
                    let round = self.draw(same) * VLANS as u32 + vlan;
                    if round < rounds { round } else { src / ports }
                } else {
                    self.draw(rounds)
                };
                let dst = round * ports + other;
                let Some(mut packet) = self.pool.alloc(self.template.len()) else { break };
                let vid = self.vid(src);
                if let Some(bytes) = self.pool.bytes_mut(&mut packet) {
                    bytes.copy_from_slice(&self.template);
                    bytes[6..12].copy_from_slice(&station_mac(src).0);
                    match self.case {
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
            self.offered += self.far[port as usize].tx[0].tx_burst(self.now, &mut self.pool, &mut burst) as u64;
            self.pool.free_all(&mut burst);
        }
    }

    /// Takes what the switch has sent.
    fn drain(&mut self) -> u64 {
        let mut count = 0;
        for port in &mut self.far {
            let mut burst = Burst::new();
            while port.rx[0].rx_burst(self.now, &mut self.pool, &mut burst, BURST_MAX) > 0 {
                count += burst.len() as u64;
                self.pool.free_all(&mut burst);
            }
        }
        count
    }

    /// Fills, times one turn, empties. Returns packets and ticks.
    pub fn turn<O: Observer>(&mut self, clock: &TscClock, observer: &mut O) -> (u64, u64) {
        self.fill();
        let before = clock.ticks();
        let handled = timed_turn(&mut self.switch, self.now, observer);
        let ticks = clock.ticks() - before;
        self.received += self.drain();
        (handled as u64, ticks)
    }

    /// Has every packet come out, and does the ledger balance?
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&mut self) -> Result<(), String> {
        self.switch.settle(self.now);
        self.drain();
        if self.offered != self.received {
            return Err(format!("{} packets went in and {} came out: {:?}", self.offered, self.received, self.drops()));
        }
        self.switch.check_ledger().map(|_| ())
    }

    fn drops(&self) -> Vec<String> {
        let ports = 0..self.far.len();
        let sum = |reason| ports.clone().map(|p| self.switch.control.port_counters(PortId(p as u8)).dropped(reason)).sum::<u64>();
        dataplane::DropReason::ALL.iter().filter(|&&reason| sum(reason) > 0).map(|&reason| format!("{reason}: {}", sum(reason))).collect()
    }
}

/// The turn that is timed, and that callgrind collects: not inlined, so that it has a name.
#[inline(never)]
fn timed_turn<O: Observer>(switch: &mut Switch, now: Nanos, observer: &mut O) -> usize {
    switch.workers[0].poll_once(now, observer)
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
    let mut rig = Rig::new(case, ports, addresses, burst).map_err(|error| error.to_string())?;
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
    let mut rig = Rig::new(case, ports, addresses, burst).map_err(|error| error.to_string())?;
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
    let mut rig = Rig::new(case, ports, addresses, burst).map_err(|error| error.to_string())?;
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
