//! One turn of one contestant: started, measured with every number of stations and every size, asked what it has learned, and ended.

use std::path::Path;
use std::time::{Duration, Instant};

use bladeswitch::lab::namespace;
use core_affinity::CoreId;
use pcap_file::DataLink;
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};
use port::Nanos;

use super::ovs::{self, Ovs};
use super::process::{PATIENCE, Process, rest, tool, typed};
use super::vpp::{self, Vpp};
use super::{Site, Who, testpmd};
use crate::hotpath::{Case, Load, Rig};
use crate::ports::device::{Job, Running};
use crate::ports::site::Veths;
use crate::ports::traffic::{Ends, Offer, Run, capture_frame};

/// What was measured with a number of stations on each side and a size of frames.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// Stations on each side.
    pub addresses: u32,
    /// Bytes of a frame without FCS.
    pub len: u16,
    /// Frames a second, all directions together; `None` where only cycles are known.
    pub pps: Option<f64>,
    /// TSC cycles per frame; on two cores those that pass from frame to frame.
    pub cycles: Option<f64>,
    /// The same without source and sink, where that can be told.
    pub own_cycles: Option<f64>,
    /// Frames in and out.
    pub sent: u64,
    /// See above.
    pub received: u64,
    /// Frames that were not as they were sent.
    pub damaged: u64,
    /// Frames that others had overtaken, or that came twice.
    pub out_of_order: u64,
    /// Share of bursts that the generator's port did not take as a whole, 0 to 1.
    pub refused: f64,
}

/// What was measured at a share of our throughput.
#[derive(Clone, Debug)]
pub struct Quiet {
    /// Per cent of our throughput.
    pub share: u32,
    /// The run.
    pub run: Run,
}

/// A turn.
#[derive(Clone, Debug, Default)]
pub struct Visit {
    /// Under overload.
    pub samples: Vec<Sample>,
    /// At shares of our throughput.
    pub quiet: Vec<Quiet>,
    /// Addresses it said it had learned, and how many there were; `None`: it does not learn.
    pub learned: Option<(u64, u64)>,
    /// What was typed.
    pub commands: Vec<String>,
}

/// What a turn is for.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    /// All numbers of stations and sizes, as fast as it goes.
    Overload,
    /// Latency at 10, 50 and 90 % of this many frames a second, all directions together.
    Latency(f64),
}

/// The shares of our throughput at which latency is taken, in per cent.
pub const SHARES: [u32; 3] = [10, 50, 90];
/// Turns of the pipeline that are timed together.
const WINDOW: u32 = 16;
/// Part of the duration for which a path inside a process is left alone before it is measured.
const WARM_UP: u32 = 4;

/// Has a contestant take its turn.
///
/// # Errors
/// It cannot be started or does not forward: what it says.
pub fn visit(site: &Site<'_>, who: Who, work: Work) -> Result<Visit, String> {
    // A server that has ended may have left its socket behind.
    let _ = std::fs::remove_file(socket(site));
    let visit = of(site, who, work)?;
    // What was typed, with the folder of this run by a name.
    let folder = site.folder.file("");
    let shown = |command: String| command.replace(folder.as_str(), "$RUN/");
    Ok(Visit { commands: visit.commands.into_iter().map(shown).collect(), ..visit })
}

fn of(site: &Site<'_>, who: Who, work: Work) -> Result<Visit, String> {
    match who {
        Who::Path => path(site),
        Who::TestpmdNull => by_stations(site, who, |site, n| testpmd_inside(site, n, ["net_null0".to_owned(), "net_null1".to_owned()])),
        Who::TestpmdCapture => by_stations(site, who, |site, n| {
            let vdevs = captures(site, n)?;
            testpmd_inside(site, n, vdevs)
        }),
        Who::OvsCapture => by_stations(site, who, ovs_inside),
        Who::VppGenerator => by_stations(site, who, vpp_inside),
        Who::SwitchMemif => ours(site, Job::Switch, memif(site, "server"), memif(site, "client"), work),
        Who::Sink => ours(site, Job::Sink, memif(site, "server"), memif(site, "client"), work),
        Who::SwitchClient => ours(site, Job::Switch, memif(site, "client"), memif(site, "server"), work),
        Who::SinkClient => ours(site, Job::Sink, memif(site, "client"), memif(site, "server"), work),
        Who::TestpmdMemif | Who::TestpmdClient => {
            let ends = memif(site, generator_role(who));
            testpmd_between(site, [0, 1].map(|id| memif_vdev(site, who, id)), ends, work, None)
        }
        Who::OvsMemif | Who::OvsClient => {
            let port = |id| format!("type=dpdk options:dpdk-devargs={} options:n_rxq=2", memif_vdev(site, who, id));
            let ports = [0, 1].map(|id| (format!("p{id}"), port(id)));
            // It sends on its second queue: the first is its main thread's.
            let ends = memif(site, generator_role(who)).map(|spec| format!("{spec},queues=2"));
            ovs_between(site, ovs::Path::Dpdk, &ports, ends, work)
        }
        Who::VppMemif | Who::VppClient => {
            vpp_between(site, &vpp::memif(&socket(site), who.is_client()), memif(site, generator_role(who)), work)
        }
        Who::Bridge => {
            let veths = site.veths()?;
            let _bridge = veths.bridge(None)?;
            let learned = || {
                let says = tool("bridge", ["fdb", "show", "br", "br0"], Some(veths.namespace()))?;
                Ok(Some(bridge_learned(&says)))
            };
            let commands =
                ["ip link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0", "sysctl net.bridge.bridge-nf-call-iptables=0"];
            drive(site, Outer::new(site, generator(veths))?, None, work, learned)
                .map(|visit| Visit { commands: commands.map(str::to_owned).to_vec(), ..visit })
        }
        Who::SwitchXdp => ours(site, Job::Switch, inner(site.veths()?, "af_xdp", ",mode=native"), generator(site.veths()?), work),
        Who::SwitchPacket => ours(site, Job::Switch, inner(site.veths()?, "af_packet", ""), generator(site.veths()?), work),
        Who::OvsPacket => {
            let veths = site.veths()?;
            let ports = [0, 1].map(|side| {
                (format!("p{side}"), format!("type=dpdk options:dpdk-devargs=net_af_packet{side},iface={}", veths.inner(side)))
            });
            ovs_between(site, ovs::Path::Dpdk, &ports, generator(veths), work)
        }
        Who::OvsUserspace | Who::OvsKernel => {
            let path = if who == Who::OvsKernel { ovs::Path::Kernel } else { ovs::Path::Userspace };
            let veths = site.veths()?;
            let ports = [0, 1].map(|side| (veths.inner(side), "type=system".to_owned()));
            ovs_between(site, path, &ports, generator(veths), work)
        }
        Who::TestpmdPacket | Who::TestpmdXdp => {
            let veths = site.veths()?;
            let driver = if who == Who::TestpmdXdp { "net_af_xdp" } else { "net_af_packet" };
            let vdevs = [0, 1].map(|side| format!("{driver}{side},iface={}", veths.inner(side)));
            testpmd_between(site, vdevs, generator(veths), work, Some(veths.namespace()))
        }
        Who::VppPacket => {
            let veths = site.veths()?;
            let names = [0, 1].map(|side| format!("host-{}", veths.inner(side)));
            let mut lines: Vec<String> = (0..2).map(|side| format!("create host-interface name {}", veths.inner(side))).collect();
            lines.extend(vpp::bridge(&[names[0].as_str(), names[1].as_str()], true));
            vpp_between(site, &lines, generator(veths), work)
        }
        Who::Tcpreplay => tcpreplay(site),
        Who::SendXdp => send(site, generator(site.veths()?)),
        Who::SendPacket => {
            let veths = site.veths()?;
            send(site, [0, 1].map(|side| format!("af_packet:{}", veths.near(side))))
        }
    }
}

fn socket(site: &Site<'_>) -> String {
    site.folder.file("memif.sock")
}

fn memif(site: &Site<'_>, role: &str) -> [String; 2] {
    [0, 1].map(|id| format!("memif:{},id={id},role={role}", socket(site)))
}

/// The role that is left for the generator.
fn generator_role(who: Who) -> &'static str {
    if who.is_client() { "server" } else { "client" }
}

/// A device of DPDK. As client it copies: with `zero-copy=yes` the second of two ports in a process of DPDK 22.11 at times hands over a file that is not
/// its memory, and no server can take it.
fn memif_vdev(site: &Site<'_>, who: Who, id: usize) -> String {
    let role = if who.is_client() { "client" } else { "server" };
    format!("net_memif{id},role={role},id={id},socket={},socket-abstract=no,rsize=9,bsize=2048", socket(site))
}

/// The generator's ends of what is between them.
struct Outer {
    specs: [String; 2],
    /// Servers, which are there before their clients: DPDK's try once.
    open: Option<Ends>,
}

impl Outer {
    fn new(site: &Site<'_>, specs: [String; 2]) -> Result<Outer, String> {
        let first = site.addresses.first().copied().unwrap_or(1);
        let is_server = specs[0].contains("role=server");
        let open = is_server.then(|| Ends::listen(&specs, first, site.clock)).transpose()?;
        Ok(Outer { specs, open })
    }

    /// The ends with their links up. In the thread that is to generate.
    fn up(self, site: &Site<'_>) -> Result<Ends, String> {
        let mut ends = match self.open {
            Some(ends) => ends,
            None => Ends::listen(&self.specs, site.addresses.first().copied().unwrap_or(1), site.clock)?,
        };
        ends.wait(site.stop)?;
        Ok(ends)
    }
}

/// The generator's ends of the veth pairs: the same for all.
fn generator(veths: &Veths) -> [String; 2] {
    [0, 1].map(|side| format!("af_xdp:{},mode=skb", veths.near(side)))
}

fn inner(veths: &Veths, kind: &str, mode: &str) -> [String; 2] {
    [0, 1].map(|side| format!("{kind}:{}{mode}", veths.inner(side)))
}

/// A turn that is started anew for each number of stations.
fn by_stations(site: &Site<'_>, who: Who, one: impl Fn(&Site<'_>, u32) -> Result<Visit, String>) -> Result<Visit, String> {
    let mut all = Visit::default();
    for &addresses in site.addresses.iter().filter(|&&addresses| addresses <= who.stations_max()) {
        let visit = one(site, addresses)?;
        all.samples.extend(visit.samples);
        all.learned = visit.learned;
        all.commands = visit.commands;
    }
    if all.samples.is_empty() { Err(format!("it takes at most {} stations a side", who.stations_max())) } else { Ok(all) }
}

/// The whole pipeline on the device's core: the turn of the worker, and the same with source and sink.
fn path(site: &Site<'_>) -> Result<Visit, String> {
    let measure = || -> Result<Visit, String> {
        pin(site.cores.map(|(_, device)| device));
        let mut visit = Visit { commands: vec!["the pipeline of bench hotpath, 2 ports, bursts of 32".to_owned()], ..Visit::default() };
        for &addresses in &site.addresses {
            let mut rig = Rig::new(Load::new(Case::LearnForward, 2, addresses * 2, 32)).map_err(|error| error.to_string())?;
            let (mut turns, mut wholes, mut frames) = (Vec::new(), Vec::new(), 0);
            let end = Instant::now() + site.duration;
            for window in 0u64.. {
                let (mut count, mut ticks, before) = (0, 0, site.clock.ticks());
                for _ in 0..WINDOW {
                    let (handled, spent) = rig.turn(site.clock, &mut ());
                    count += handled;
                    ticks += spent;
                }
                let whole = site.clock.ticks() - before;
                site.check_stop()?;
                // The first finds everything cold.
                if window > 0 {
                    frames += count;
                    turns.push(ticks as f64 / count.max(1) as f64);
                    wholes.push(whole as f64 / count.max(1) as f64);
                    if Instant::now() >= end {
                        break;
                    }
                }
            }
            rig.check()?;
            let median = |mut values: Vec<f64>| {
                values.sort_by(f64::total_cmp);
                values.get(values.len() / 2).copied()
            };
            visit.samples.push(Sample {
                addresses,
                len: 60,
                cycles: median(wholes),
                own_cycles: median(turns),
                sent: frames,
                received: frames,
                ..Sample::default()
            });
            // Every station has its place: frames that found none would have been flooded, and the check above would have failed.
            visit.learned = Some((u64::from(addresses) * 2, u64::from(addresses) * 2));
        }
        Ok(visit)
    };
    std::thread::scope(|scope| scope.spawn(measure).join()).map_err(|_| "the measurement panicked".to_owned())?
}

/// Writes a capture of the frames of each side and names a device that repeats it.
fn captures(site: &Site<'_>, addresses: u32) -> Result<[String; 2], String> {
    let mut vdevs = [String::new(), String::new()];
    for (side, vdev) in vdevs.iter_mut().enumerate() {
        let path = site.folder.file(&format!("side{side}.pcap"));
        write_capture(path.as_ref(), (0..addresses).map(|n| capture_frame(side, n, 60)))?;
        *vdev = format!("net_pcap{side},rx_pcap={path},infinite_rx=1");
    }
    Ok(vdevs)
}

fn write_capture(path: &Path, frames: impl Iterator<Item = Box<[u8]>>) -> Result<(), String> {
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let file = std::fs::File::create(path).map_err(|error| failed(&error))?;
    let header = PcapHeader { datalink: DataLink::ETHERNET, ..PcapHeader::default() };
    let mut writer = PcapWriter::with_header(std::io::BufWriter::new(file), header).map_err(|error| failed(&error))?;
    for frame in frames {
        writer.write_packet(&PcapPacket::new(Duration::ZERO, frame.len() as u32, &frame)).map_err(|error| failed(&error))?;
    }
    Ok(())
}

fn testpmd_inside(site: &Site<'_>, addresses: u32, vdevs: [String; 2]) -> Result<Visit, String> {
    let (process, typed) = testpmd::start(site, &vdevs, 16_384 + 3 * addresses, None)?;
    rest(site.duration, site.stop)?;
    let counted = testpmd::finish(process)?;
    if counted.tx == 0 {
        return Err("it forwarded nothing".to_owned());
    }
    let sample = Sample { addresses, len: 60, cycles: counted.cycles, sent: counted.rx, received: counted.tx, ..Sample::default() };
    Ok(Visit { samples: vec![sample], commands: vec![typed], ..Visit::default() })
}

fn ovs_inside(site: &Site<'_>, addresses: u32) -> Result<Visit, String> {
    let vdevs = captures(site, addresses)?;
    let ports = [0, 1].map(|id| (format!("p{id}"), format!("type=dpdk options:dpdk-devargs={}", vdevs[id])));
    let expected = u64::from(addresses) * 2;
    let ovs = Ovs::start(site, ovs::Path::Dpdk, &ports, expected, site.veths()?.namespace())?;
    let learned = until(site, expected, || ovs.learned())?;
    rest(site.duration / WARM_UP, site.stop)?;
    ovs.clear()?;
    rest(site.duration, site.stop)?;
    let counted = ovs.statistics()?;
    if counted.packets == 0 {
        return Err("its polling threads received nothing".to_owned());
    }
    let cycles = (counted.busy + counted.idle) as f64 / counted.packets as f64;
    let sample = Sample { addresses, len: 60, cycles: Some(cycles), sent: counted.packets, received: counted.packets, ..Sample::default() };
    Ok(Visit { samples: vec![sample], learned: Some((learned, expected)), commands: ovs.commands, ..Visit::default() })
}

fn vpp_inside(site: &Site<'_>, addresses: u32) -> Result<Visit, String> {
    let expected = u64::from(addresses) * 2;
    let vpp = Vpp::start(site, &vpp::streams(addresses), None)?;
    let learned = until(site, expected, || vpp.learned())?;
    rest(site.duration / WARM_UP, site.stop)?;
    vpp.clear()?;
    rest(site.duration, site.stop)?;
    let counted = vpp.runtime()?;
    let sample = Sample {
        addresses,
        len: 60,
        cycles: Some(counted.whole),
        own_cycles: Some(counted.own),
        sent: counted.packets,
        received: counted.packets,
        ..Sample::default()
    };
    Ok(Visit { samples: vec![sample], learned: Some((learned, expected)), commands: vpp.commands, ..Visit::default() })
}

/// Asks until so many addresses are known, or it is clear that they will not be: then what is known.
fn until(site: &Site<'_>, expected: u64, ask: impl Fn() -> Result<u64, String>) -> Result<u64, String> {
    let began = Instant::now();
    loop {
        let known = ask()?;
        if known >= expected || began.elapsed() > PATIENCE {
            return Ok(known);
        }
        rest(Duration::from_millis(50), site.stop)?;
    }
}

fn ours(site: &Site<'_>, job: Job, ports: [String; 2], ends: [String; 2], work: Work) -> Result<Visit, String> {
    let ends = Outer::new(site, ends)?;
    let expected = 2 * u64::from(site.addresses_max());
    let on_veths = !ports[0].starts_with("memif");
    let inside = on_veths.then(|| site.veths().map(Veths::namespace)).transpose()?;
    let core = site.cores.map(|(_, device)| device);
    let mut device = Running::start_with_room(job, &ports, core.is_none(), core, inside, u32::try_from(expected * 2).ok())?;
    let process = device.id();
    let mut visit = match job {
        Job::Sink => sink(site, ends)?,
        _ => drive(site, ends, Some(process), work, || device.stations().map(Some))?,
    };
    visit.commands = vec![format!("bladeswitch between {} and {}", ports[0], ports[1])];
    let account = device.finish()?;
    if !account.balanced {
        return Err(format!("the device does not account for every frame: {account:?}"));
    }
    Ok(visit)
}

fn testpmd_between(site: &Site<'_>, vdevs: [String; 2], ends: [String; 2], work: Work, inside: Option<&str>) -> Result<Visit, String> {
    let ends = Outer::new(site, ends)?;
    let (process, typed) = testpmd::start(site, &vdevs, 16_384, inside)?;
    let (id, mut process) = (process.id(), Some(process));
    // While the generator is still there: a net_memif server of DPDK 22.11 may crash when its clients leave, and its statistics with it.
    let finish = || process.take().map_or(Ok(()), |process| testpmd::finish(process).map(drop));
    let done = drive_then(site, ends, Some(id), work, || Ok(None), finish);
    let visit = match done {
        Err(_) if process.as_mut().is_some_and(Process::has_ended) => return Err(format!("it has ended by itself: {typed}")),
        done => done?,
    };
    Ok(Visit { commands: vec![typed], ..visit })
}

fn ovs_between(site: &Site<'_>, path: ovs::Path, ports: &[(String, String); 2], ends: [String; 2], work: Work) -> Result<Visit, String> {
    let ends = Outer::new(site, ends)?;
    let ovs = Ovs::start(site, path, ports, 2 * u64::from(site.addresses_max()), site.veths()?.namespace())?;
    let visit = drive(site, ends, Some(ovs.id()), work, || ovs.learned().map(Some))?;
    Ok(Visit { commands: ovs.commands, ..visit })
}

fn vpp_between(site: &Site<'_>, lines: &[String], ends: [String; 2], work: Work) -> Result<Visit, String> {
    let on_veths = !ends[0].starts_with("memif");
    let ends = Outer::new(site, ends)?;
    let inside = on_veths.then(|| site.veths().map(Veths::namespace)).transpose()?;
    let vpp = Vpp::start(site, lines, inside)?;
    let visit = drive(site, ends, Some(vpp.id()), work, || vpp.learned().map(Some))?;
    Ok(Visit { commands: vpp.commands, ..visit })
}

/// Drives what is between the ends: generator and receiver in a thread on their core, in the namespace if the ends are interfaces.
fn drive(
    site: &Site<'_>,
    ends: Outer,
    process: Option<u32>,
    work: Work,
    learned: impl FnMut() -> Result<Option<u64>, String> + Send,
) -> Result<Visit, String> {
    drive_then(site, ends, process, work, learned, || Ok(()))
}

/// As [`drive`], and does `last` before the ends are given up.
fn drive_then(
    site: &Site<'_>,
    ends: Outer,
    process: Option<u32>,
    work: Work,
    mut learned: impl FnMut() -> Result<Option<u64>, String> + Send,
    last: impl FnOnce() -> Result<(), String> + Send,
) -> Result<Visit, String> {
    let specs = ends.specs.clone();
    let both_ways = specs[0].starts_with("memif");
    elsewhere(site, &specs, || {
        pin(site.cores.map(|(generator, _)| generator));
        let mut open = ends.up(site)?;
        let mut visit = Visit::default();
        let offer = |len: u16, rate_pps| Offer { len: len.into(), rate_pps, duration: nanos(site.duration), both_ways, to_sink: false };
        if let Work::Latency(pps) = work {
            open.introduce(site.stop)?;
            for share in SHARES {
                let rate = pps * f64::from(share) / 100.0 / if both_ways { 2.0 } else { 1.0 };
                let run = open.run(&offer(site.smallest(), Some((rate as u64).max(1))), process, site.stop)?;
                visit.quiet.push(Quiet { share, run });
            }
            last()?;
            return Ok(visit);
        }
        for &addresses in &site.addresses {
            open.set_stations(addresses);
            open.introduce(site.stop)?;
            visit.learned = learned()?.map(|learned| (learned, 2 * u64::from(addresses)));
            for &len in &site.sizes {
                let run = open.run(&offer(len, None), process, site.stop)?;
                visit.samples.push(sample(site, addresses, len, &run));
            }
        }
        last()?;
        Ok(visit)
    })
}

/// What the generator can do: with every number of stations and size, into a process that throws all away.
fn sink(site: &Site<'_>, ends: Outer) -> Result<Visit, String> {
    let specs = ends.specs.clone();
    elsewhere(site, &specs, || {
        pin(site.cores.map(|(generator, _)| generator));
        let mut open = ends.up(site)?;
        let mut visit = Visit::default();
        for &addresses in &site.addresses {
            open.set_stations(addresses);
            for &len in &site.sizes {
                let offer = Offer { len: len.into(), rate_pps: None, duration: nanos(site.duration), both_ways: true, to_sink: true };
                visit.samples.push(sample(site, addresses, len, &open.run(&offer, None, site.stop)?));
            }
        }
        Ok(visit)
    })
}

/// Our generator into one veth pair at whose other end nobody listens.
fn send(site: &Site<'_>, ends: [String; 2]) -> Result<Visit, String> {
    let mut visit = elsewhere(site, &ends, || {
        pin(site.cores.map(|(generator, _)| generator));
        let mut open = Ends::open(&ends, site.addresses_max(), site.clock, site.stop)?;
        let mut visit = Visit::default();
        for &len in &site.sizes {
            let before = arrived(site)?;
            let offer = Offer { len: len.into(), rate_pps: None, duration: nanos(site.duration), both_ways: false, to_sink: true };
            let run = open.run(&offer, None, site.stop)?;
            // Of those that were handed over, the last ones may be under way.
            let arrived = arrived_at_last(site)?.saturating_sub(before);
            visit.samples.push(Sample { received: arrived, ..sample(site, site.addresses_max(), len, &run) });
        }
        Ok(visit)
    })?;
    visit.commands = vec![format!("the generator of this program on {}", ends[0])];
    Ok(visit)
}

/// tcpreplay into the same pair, with the same frames.
fn tcpreplay(site: &Site<'_>) -> Result<Visit, String> {
    let veths = site.veths()?;
    let (addresses, near) = (site.addresses_max(), veths.near(0));
    let mut visit = Visit::default();
    for &len in &site.sizes {
        let path = site.folder.file("replay.pcap");
        // As often as it takes for a loop to be worth its while.
        write_capture(path.as_ref(), (0..addresses.max(10_000)).map(|n| capture_frame(0, n % addresses, len.into())))?;
        let before = arrived(site)?;
        let duration = site.duration.as_secs().max(1).to_string();
        let core = site.cores.map_or(0, |(generator, _)| generator).to_string();
        let args = ["-c", &core, "tcpreplay", "--topspeed", "--preload-pcap", "--loop=0", "--duration", &duration, "--intf1", &near, &path];
        let says = tool("taskset", args, Some(veths.namespace()))?;
        let (sent, pps) = replayed(&says).ok_or_else(|| format!("tcpreplay says {says}"))?;
        let arrived = arrived_at_last(site)?.saturating_sub(before);
        visit.samples.push(Sample { addresses, len, pps: Some(pps), sent, received: arrived, ..Sample::default() });
        visit.commands = vec![typed("taskset", &args)];
    }
    Ok(visit)
}

/// Reads tcpreplay's account: frames, and frames a second.
pub fn replayed(says: &str) -> Option<(u64, f64)> {
    let sent = says.split_once("Actual:")?.1.split_whitespace().next()?.parse().ok()?;
    let rated = says.split_once("Rated:")?.1.lines().next()?;
    let pps = rated.strip_suffix(" pps")?.rsplit(' ').next()?.parse().ok()?;
    Some((sent, pps))
}

/// Frames that have come to the inner end of the first pair.
fn arrived(site: &Site<'_>) -> Result<u64, String> {
    let veths = site.veths()?;
    let says = tool("ip", ["-json", "-stats", "link", "show", &veths.inner(0)], Some(veths.namespace()))?;
    let json: serde_json::Value = serde_json::from_str(&says).map_err(|error| format!("ip -json: {error}"))?;
    json[0]["stats64"]["rx"]["packets"].as_u64().ok_or_else(|| format!("ip -json says {says}"))
}

/// The same when no more come.
fn arrived_at_last(site: &Site<'_>) -> Result<u64, String> {
    let mut count = arrived(site)?;
    loop {
        rest(Duration::from_millis(100), site.stop)?;
        let now = arrived(site)?;
        if now == count {
            return Ok(count);
        }
        count = now;
    }
}

/// Reads `bridge fdb show`: addresses that were learned, not those of its own ports.
pub fn bridge_learned(says: &str) -> u64 {
    says.lines().filter(|line| line.contains(" dev ") && !line.contains("permanent") && !line.contains("self")).count() as u64
}

/// Runs in a thread of its own, which is bound to a core: in the namespace of the veths if the ends are there.
fn elsewhere<T: Send>(site: &Site<'_>, ends: &[String; 2], what: impl FnOnce() -> Result<T, String> + Send) -> Result<T, String> {
    if ends[0].starts_with("memif") {
        return std::thread::scope(|scope| scope.spawn(what).join()).map_err(|_| "the generator panicked".to_owned())?;
    }
    namespace::inside(site.veths()?.namespace(), what).map_err(|error| error.to_string())?
}

fn sample(site: &Site<'_>, addresses: u32, len: u16, run: &Run) -> Sample {
    Sample {
        addresses,
        len,
        pps: Some(run.pps()),
        cycles: Some(site.clock.ticks_per_second() / run.pps()).filter(|cycles| cycles.is_finite()),
        own_cycles: None,
        sent: run.sent,
        received: run.received,
        damaged: run.damaged,
        out_of_order: run.out_of_order,
        refused: run.refused,
    }
}

fn pin(core: Option<usize>) {
    if let Some(id) = core {
        core_affinity::set_for_current(CoreId { id });
    }
}

fn nanos(duration: Duration) -> Nanos {
    Nanos(duration.as_nanos() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_tools_are_read() {
        let says = "Actual: 1000000 packets (60000000 bytes) sent in 0.620000 seconds\nRated: 96774193.5 Bps, 774.19 Mbps, 1612903.22 pps\nFlows: 1\n";
        assert_eq!(replayed(says), Some((1_000_000, 1_612_903.22)));
        assert_eq!(replayed("Fatal Error: no such interface"), None);
        let says = "02:00:b0:00:00:00 dev in0 master br0 \n02:00:b1:00:00:00 dev in1 master br0 \nee:e8:c3:3f:2c:b4 dev in0 vlan 1 master br0 permanent\n\
                    33:33:00:00:00:01 dev in0 self permanent\n";
        assert_eq!(bridge_learned(says), 2);
        assert_eq!(bridge_learned(""), 0);
    }

    #[test]
    fn captures_have_our_frames() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.pcap");
        write_capture(&path, (0..3).map(|n| capture_frame(0, n, 60))).unwrap();
        let mut reader = pcap_file::pcap::PcapReader::new(std::fs::File::open(&path).unwrap()).unwrap();
        let mut sources = Vec::new();
        while let Some(packet) = reader.next_packet() {
            let packet = packet.unwrap();
            assert_eq!(packet.data.len(), 60);
            sources.push(packet.data[6..12].to_vec());
        }
        assert_eq!(sources, [[2, 0, 0xb0, 0, 0, 0], [2, 0, 0xb0, 0, 0, 1], [2, 0, 0xb0, 0, 0, 2]]);
    }
}
