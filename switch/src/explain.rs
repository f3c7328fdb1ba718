//! The way of one frame through the switch, phase by phase, in words.
//!
//! A whole switch of the given configuration is put together on memory ports, with one worker, at time 0. It first learns what it
//! is told to (an empty FDB would flood every frame); then the frame goes in, an observer notes what each phase finds, and the
//! words are made from these notes and from what really came out. Nothing is worked out a second time: where the words and the
//! switch could disagree, the bytes that left are compared with those that came in.
//!
//! All links are up, all queues are empty, and nothing ages. The frame goes in as it is, a runt unpadded.
//!
//! Limits: frames of up to [`FRAME_MAX`] bytes.

use std::path::PathBuf;

use bladeswitch::{Switch, assembly};
use control::config::Config;
use control::show::{self, PortDrop};
use dataplane::admit::Admitted;
use dataplane::fdb::Record;
use dataplane::pipeline::Notes;
use dataplane::{DropReason, Observer, Phase, PuntReason, Verdict};
use port::capture::CaptureFile;
use port::mempool::FRAME_MAX;
use port::{Burst, Hugepages, Mempool, Nanos, PoolCache, Port, PortId};
use serde::Serialize;
use wire::display::describe;
use wire::ethernet::{self, EtherType, Tag};
use wire::headers::Headers;
use wire::{MacAddr, Tci, Vid};

mod words;

/// Frames each queue holds: more than one frame can cause.
const QUEUE: usize = 256;

/// What to explain.
#[derive(Clone, Debug)]
pub struct Request {
    /// The switch.
    pub config: Config,
    /// Where the frame comes in.
    pub port: PortId,
    /// The frame, without FCS.
    pub frame: Vec<u8>,
    /// Stations the switch has heard before: behind which port, in which VLAN (else the port's untagged one).
    pub learn: Vec<(PortId, MacAddr, Option<Vid>)>,
    /// Captures that went in before, one after the other.
    pub after: Vec<(PortId, PathBuf)>,
}

/// The way of the frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// Name of the port it came in by.
    pub port: String,
    /// The frame.
    pub frame: FrameShown,
    /// What each phase found and did, in order.
    pub steps: Vec<Step>,
    /// The verdict: `forward`, `flood`, `punt` or `drop`.
    pub verdict: &'static str,
    /// Why, if it is `punt` or `drop`.
    pub reason: Option<&'static str>,
    /// The verdict in words.
    pub summary: String,
    /// Where it left, by port.
    pub sent: Vec<Sent>,
    /// What was dropped, where and why: the frame, or copies of it.
    pub drops: Vec<PortDrop>,
    /// What control did about it.
    pub control: Vec<String>,
    /// What control sent.
    pub replies: Vec<Sent>,
}

/// A frame as shown to people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FrameShown {
    /// Bytes, without FCS.
    pub len: usize,
    /// A line for each layer.
    pub layers: Vec<String>,
    /// All of it, in hexadecimal digits.
    pub hex: String,
}

/// A phase of the pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Its name.
    pub phase: &'static str,
    /// What it found and did.
    pub lines: Vec<String>,
}

/// A frame that left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sent {
    /// Name of the port.
    pub port: String,
    /// The frame.
    pub frame: FrameShown,
    /// In what it differs from the one that came in; of replies of control's nothing is said.
    pub changes: Vec<String>,
}

/// Tells the way of the frame.
///
/// # Errors
/// The frame is too long for any buffer, a station cannot be learned where it should be, a capture cannot be read, or there is
/// no memory: in one line.
pub fn explain(request: &Request) -> Result<Explanation, String> {
    let Request { port, frame, .. } = request;
    if frame.len() > FRAME_MAX {
        return Err(format!("the frame has {} bytes: expected at most {FRAME_MAX}", frame.len()));
    }
    let mut bench = Bench::new(&request.config)?;
    for (port, path) in &request.after {
        bench.play(*port, path)?;
    }
    for &(port, mac, vid) in &request.learn {
        bench.learn(port, mac, vid)?;
    }

    let before = bench.look();
    let trace = bench.step(*port, frame)?;
    let sent = bench.take_sent();
    bench.settle();
    let replies = bench.take_sent();
    let after = bench.look();
    bench.switch.check_ledger().map_err(|ledger| format!("the switch has lost count of frames, which is a defect of it: {ledger}"))?;

    let config = &bench.config;
    let shown = |changes: &dyn Fn(&[u8]) -> Vec<String>, frames: &[(PortId, Vec<u8>)]| -> Vec<Sent> {
        let sent =
            |(port, bytes): &(PortId, Vec<u8>)| Sent { port: name(config, *port), frame: show_frame(bytes), changes: changes(bytes) };
        frames.iter().map(sent).collect()
    };
    let sent = shown(&|bytes| words::changes(frame, bytes), &sent);
    let replies = shown(&|_| Vec::new(), &replies);
    let drops = after.drops_since(&before, config);
    let story = words::Story { config, port: *port, frame, trace: &trace, before: &before, after: &after, sent: &sent, drops: &drops };
    let (verdict, reason, summary) = story.verdict();
    Ok(Explanation {
        port: name(config, *port),
        frame: show_frame(frame),
        steps: story.steps(),
        verdict,
        reason,
        summary,
        control: story.control(),
        sent,
        drops,
        replies,
    })
}

fn show_frame(bytes: &[u8]) -> FrameShown {
    FrameShown { len: bytes.len(), layers: describe(bytes), hex: bytes.iter().map(|byte| format!("{byte:02x}")).collect() }
}

fn name(config: &Config, port: PortId) -> String {
    config.port(port).map_or_else(|| port.to_string(), |port| port.name.clone())
}

/// What a phase found out about the frame.
#[derive(Clone, Debug)]
struct Found {
    phase: Phase,
    headers: Headers,
    admitted: Admitted,
    is_admitted: bool,
    verdict: Option<Verdict>,
    is_readdressed: bool,
    control_copies: Vec<PuntReason>,
}

/// Notes what each phase found out about the first packet of the burst.
#[derive(Default)]
struct Trace(Vec<Found>);

impl Observer for Trace {
    fn end(&mut self, phase: Phase, packets: usize, notes: &Notes) {
        if packets > 0 {
            self.0.push(Found {
                phase,
                headers: notes.packets[0].headers,
                admitted: notes.packets[0].admitted,
                is_admitted: notes.admitted_mask & 1 != 0,
                verdict: notes.packets[0].verdict,
                is_readdressed: notes.readdressed & 1 != 0,
                control_copies: notes.control_copies.iter().map(|&(_, reason)| reason).collect(),
            });
        }
    }
}

impl Trace {
    /// What `phase` found; `None` if it did not run.
    fn of(&self, phase: Phase) -> Option<&Found> {
        self.0.iter().find(|found| found.phase == phase)
    }

    /// The verdict at the end.
    fn verdict(&self) -> Option<Verdict> {
        self.of(Phase::Transmit)?.verdict
    }
}

/// The state of the switch at one point.
struct Look {
    fdb: Vec<Record>,
    neighbors: Vec<show::Neighbor>,
    counters: Vec<dataplane::PortCounters>,
    rules: Vec<show::SteerRule>,
    control: control::plane::ControlCounters,
    next_event: Option<Nanos>,
}

impl Look {
    /// The FDB's entry for an address.
    fn entry(&self, vid: Vid, mac: MacAddr) -> Option<&Record> {
        self.fdb.iter().find(|record| (record.vid, record.mac) == (vid, mac))
    }

    fn drops_since(&self, before: &Look, config: &Config) -> Vec<PortDrop> {
        let of_port = |(index, (now, before)): (usize, (&dataplane::PortCounters, &dataplane::PortCounters))| {
            let port = name(config, PortId(index as u8));
            let drops = DropReason::ALL.iter().map(|&reason| (reason, now.dropped(reason) - before.dropped(reason)));
            let shown = drops.filter(|(_, count)| *count > 0).map(|(reason, count)| PortDrop {
                port: port.clone(),
                reason: reason.name().to_owned(),
                count,
            });
            shown.collect::<Vec<_>>()
        };
        self.counters.iter().zip(&before.counters).enumerate().flat_map(of_port).collect()
    }
}

/// A switch on memory ports whose far ends are at hand.
struct Bench {
    config: Config,
    switch: Switch,
    far: Vec<Port>,
    pool: PoolCache,
}

impl Bench {
    fn new(config: &Config) -> Result<Bench, String> {
        let mut config = config.clone();
        // What comes out depends on none of this, but it could ask for more than this machine has.
        config.switch.workers = 1;
        config.switch.cores.clear();
        config.pool.hugepages = Hugepages::Never;
        config.pool.buffers = None;
        config.ports.iter_mut().for_each(|port| port.queue = QUEUE);
        let mempool: Mempool = assembly::mempool(&config).map_err(|error| format!("packet pool: {error}"))?;
        let (near, far, _) = assembly::memory_ports(&config, QUEUE);
        let switch = assembly::build(&config, near, &mempool, 1);
        let mut bench = Bench { config, switch, far, pool: mempool.cache() };
        bench.settle();
        bench.take_sent(); // The first advertisements.
        Ok(bench)
    }

    fn settle(&mut self) {
        self.switch.settle(Nanos::ZERO);
    }

    fn put(&mut self, port: PortId, frame: &[u8]) -> Result<(), String> {
        let mut burst = Burst::new();
        burst.push(self.pool.alloc_copy(frame).ok_or("no packet buffer is free")?);
        self.far[port.index()].tx[0].tx_burst(Nanos::ZERO, &mut self.pool, &mut burst);
        Ok(())
    }

    /// One frame, one turn of the worker. Control does not see it yet.
    fn step(&mut self, port: PortId, frame: &[u8]) -> Result<Trace, String> {
        self.put(port, frame)?;
        let mut trace = Trace::default();
        self.switch.workers[0].poll_once(Nanos::ZERO, &mut trace);
        Ok(trace)
    }

    /// What has come out, in the order of ports.
    fn take_sent(&mut self) -> Vec<(PortId, Vec<u8>)> {
        let mut sent = Vec::new();
        let mut burst = Burst::new();
        for (index, far) in self.far.iter_mut().enumerate() {
            while far.rx[0].rx_burst(Nanos::ZERO, &mut self.pool, &mut burst, port::BURST_MAX) > 0 {
                for packet in burst.drain(..) {
                    let mut bytes = Vec::with_capacity(packet.len());
                    self.pool.copy_to(&packet, &mut bytes);
                    self.pool.free(packet);
                    sent.push((PortId(index as u8), bytes));
                }
            }
        }
        sent
    }

    /// Has the switch hear a station: a broadcast of its own goes in.
    fn learn(&mut self, port: PortId, mac: MacAddr, vid: Option<Vid>) -> Result<(), String> {
        let untagged = self.config.ports[port.index()].vlan.untagged();
        let tag = vid.filter(|&vid| untagged != Some(vid)).map(|vid| Tag { tpid: EtherType::VLAN, tci: Tci(0).with_vid(vid) });
        // Ethernet's own test type (loopback, formerly configuration test): no lane wants it.
        let frame = ethernet::emit(MacAddr::BROADCAST, mac, tag.as_slice(), EtherType(0x9000), &[]);
        let trace = self.step(port, &frame)?;
        let admitted = trace.of(Phase::Learn).filter(|found| found.is_admitted);
        let drop = trace.verdict().and_then(|verdict| match verdict {
            Verdict::Drop(reason) => Some(reason),
            Verdict::Forward(_) | Verdict::Flood | Verdict::Punt(_) => None,
        });
        self.settle();
        self.take_sent();
        let what = format!("{} cannot learn {mac}", name(&self.config, port));
        if admitted.is_none() {
            let why = drop.map_or("the frame was lost", show::meaning);
            return Err(format!("{}: its frames are refused: {why}", what));
        }
        let vid = vid.or(untagged).unwrap_or(Vid::DEFAULT);
        match self.look().entry(vid, mac) {
            Some(entry) if entry.port == port => Ok(()),
            Some(entry) => Err(format!("{}: it is a {} entry behind {}", what, entry.kind, name(&self.config, entry.port))),
            None => Err(format!("{} in VLAN {vid}: the port does not learn, or a limit is reached", what)),
        }
    }

    /// Plays a capture into a port, without its times.
    fn play(&mut self, port: PortId, path: &std::path::Path) -> Result<(), String> {
        let file = CaptureFile::open(path).map_err(|error| error.to_string())?;
        for frame in file.frames() {
            let frame = frame.map_err(|error| error.to_string())?;
            if frame.bytes.len() <= FRAME_MAX {
                let mut bytes = frame.bytes.to_vec();
                bytes.resize(bytes.len().max(ethernet::MIN_FRAME_LEN), 0); // As the sending card would have.
                self.put(port, &bytes)?;
                self.settle();
                self.take_sent();
            }
        }
        Ok(())
    }

    fn look(&mut self) -> Look {
        let request = self.switch.control.request_fdb();
        let fdb = loop {
            self.settle();
            if let Some(records) = self.switch.control.fdb_records(request) {
                break records;
            }
        };
        let control = &self.switch.control;
        Look {
            fdb,
            neighbors: show::neighbors(control).neighbors,
            counters: (0..self.config.ports.len()).map(|index| control.port_counters(PortId(index as u8))).collect(),
            rules: show::steer(control).rules,
            control: control.counters(),
            next_event: self.switch.next_event(),
        }
    }
}

#[cfg(test)]
mod tests;
