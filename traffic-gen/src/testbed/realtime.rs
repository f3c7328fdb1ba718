//! Ports in real time, all played by the thread that runs the trial.
//!
//! The plan is that of [`schedule`](super::schedule): a frame is sent at the first turn of the loop after its time has come, and its stamp says when it
//! really was. One that would be later than [`LATE_MAX`] (or what [`RealtimeTestbed::with_late_max`] says) is not sent, because sending it would be a
//! burst that the wire could not carry: the trial is then invalid. It counts as neither sent nor lost: the device never had it. Invalid is also a trial
//! with a port of the machine that did not take what was offered, or whose link went down.
//!
//! *Interfaces* have wires of their own: a frame has arrived when it is seen. Between *memory ports* the tester plays the wires
//! ([`LinkRx`]): the device's transmit ring is the port's queue, and what its full receive ring refuses is the device's loss.
//!
//! Limits: a departure and an arrival are each known to within a turn of the loop, which is the tester's part of every latency. How much that is,
//! [`loopback_bias`] measures: as many ports as the device has, joined in pairs by cables past the device, played by the same loop. Nothing is told of gaps
//! on the wire. PAUSE frames are obeyed where the port hands them over; cards obey and keep them.

use hdrhistogram::Histogram;
use port::backend::memory::{Cable, pair};
use port::clock::TscClock;
use port::wrap::link::LinkRx;
use port::{Burst, Device, DeviceStatistics, Hugepages, Mempool, Nanos, PoolCache, Port, PortId, RxQueue, TxQueue};

use super::judge::Judge;
use super::schedule::Sender;
use crate::measure::{LoopbackBias, empty_histogram};
use crate::method::{Pattern, Settings};
use crate::stamp::Stamp;
use crate::trial::{Amount, Invalid, TestPort, Testbed, TestbedError, Trial, TrialProgress, TrialResult};

/// A frame later than this is not sent, if nothing else is said.
pub const LATE_MAX: Nanos = Nanos(200_000);
/// Frames sent and fetched at once.
const BURST: usize = 32;
/// Time between two looks at whoever watches.
const WATCH_EVERY: Nanos = Nanos::from_millis(50);
/// Time from the decision to begin to the first frame.
const LEAD: Nanos = Nanos::from_millis(1);

/// Load, size and time of the frames that measure the bias: a tenth of the line, so that the loop is neither idle nor late.
const BIAS: (f64, usize, Nanos) = (0.1, 64, Nanos::from_millis(100));
/// Buffers for each port of that measurement.
const BIAS_BUFFERS: u32 = 2048;

/// Who plays the wires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wires {
    /// The ports have their own.
    Own,
    /// Nobody else: these are far ends of memory ports.
    Played,
}

struct Lane {
    tx: Vec<Box<dyn TxQueue>>,
    rx: Vec<Box<dyn RxQueue>>,
    /// It must live as long as its queues: without it an interface gives back what was set on it.
    device: Box<dyn Device>,
    refused: u64,
    missed: u64,
    /// What the device had counted when the trial began.
    before: DeviceStatistics,
}

/// Ports and a clock that nobody can stop.
pub struct RealtimeTestbed {
    ports: Vec<TestPort>,
    lanes: Vec<Lane>,
    wires: Wires,
    pool: PoolCache,
    clock: TscClock,
    description: String,
    late_max: Nanos,
    /// By stream, frames of the trial that were not sent.
    missed: Vec<u64>,
    scratch: Vec<u8>,
    /// What must live as long as the ports do: the device's threads.
    _keep: Box<dyn std::any::Any>,
}

impl RealtimeTestbed {
    /// A testbed of these ports, whose packets are of `pool`. `keep` lives as long as it does.
    pub fn new(
        ports: Vec<(TestPort, Port)>,
        wires: Wires,
        pool: &Mempool,
        clock: TscClock,
        description: impl Into<String>,
        keep: Box<dyn std::any::Any>,
    ) -> RealtimeTestbed {
        let (mut lines, mut lanes) = (Vec::new(), Vec::new());
        for (line, port) in ports {
            let play = |rx: Box<dyn RxQueue>| -> Box<dyn RxQueue> {
                match wires {
                    Wires::Own => rx,
                    Wires::Played => Box::new(LinkRx::new(rx, line.line_bps, Nanos::ZERO)),
                }
            };
            let rx = port.rx.into_iter().map(play).collect();
            lanes.push(Lane { tx: port.tx, rx, device: port.device, refused: 0, missed: 0, before: DeviceStatistics::default() });
            lines.push(line);
        }
        let pool = pool.cache_of(pool.buffers() as usize / 2);
        RealtimeTestbed {
            ports: lines,
            lanes,
            wires,
            pool,
            clock,
            description: description.into(),
            late_max: LATE_MAX,
            missed: Vec::new(),
            scratch: Vec::new(),
            _keep: keep,
        }
    }

    /// The same, but frames are sent until they are this late.
    pub fn with_late_max(self, late_max: Nanos) -> RealtimeTestbed {
        RealtimeTestbed { late_max, ..self }
    }

    /// Looks after the devices: links come and go.
    fn maintain(&mut self, now: Nanos) {
        self.lanes.iter_mut().for_each(|lane| lane.device.maintain(now));
    }

    /// Takes what comes out until `until`; nobody's.
    fn drain(&mut self, until: Nanos, watch: &mut dyn FnMut() -> bool) -> Result<(), TestbedError> {
        let mut look = self.clock.now() + WATCH_EVERY;
        loop {
            let now = self.clock.now();
            if now >= until {
                return Ok(());
            }
            if now >= look {
                look = now + WATCH_EVERY;
                self.maintain(now);
                if !watch() {
                    return Err(TestbedError::Interrupted);
                }
            }
            for lane in &mut self.lanes {
                let mut burst = Burst::new();
                for rx in &mut lane.rx {
                    rx.rx_burst(now, &mut self.pool, &mut burst, BURST);
                }
                self.pool.free_all(&mut burst);
                lane.tx.iter_mut().for_each(|tx| tx.flush(now, &mut self.pool));
            }
        }
    }

    fn learn(&mut self, trial: &Trial, watch: &mut dyn FnMut() -> bool) -> Result<(), TestbedError> {
        for (index, port) in trial.ports.iter().enumerate() {
            for frame in &port.learning {
                let now = self.clock.now();
                let mut burst = Burst::new();
                burst.extend(self.pool.alloc_copy(frame));
                if let Some(tx) = self.lanes[index].tx.first_mut() {
                    tx.tx_burst(now, &mut self.pool, &mut burst);
                    tx.flush(now, &mut self.pool);
                }
                self.pool.free_all(&mut burst);
                self.drain(now + trial.learning_gap, watch)?;
            }
        }
        let now = self.clock.now();
        self.drain(now + trial.learning_settle, watch)
    }

    /// Sends what of a port's plan is due.
    fn send(&mut self, index: usize, now: Nanos, start: Nanos, sender: &mut Sender, judge: &mut Judge, late: &mut u64) {
        let (lane, pool) = (&mut self.lanes[index], &mut self.pool);
        let mut burst = Burst::new();
        while burst.len() < BURST && sender.next_departure().is_some_and(|at| start + at <= now) {
            let Some(departure) = sender.depart() else { continue };
            let intended = start + departure.intended;
            let behind = now.since(intended);
            *late = (*late).max(behind.0);
            let stream = departure.frame.stream;
            let mut miss = || {
                lane.missed += 1;
                let missed = stream.and_then(|stream| self.missed.get_mut(usize::from(stream)));
                missed.into_iter().for_each(|missed| *missed += 1);
            };
            if behind > self.late_max {
                miss();
                continue;
            }
            self.scratch.clear();
            self.scratch.extend_from_slice(&departure.frame.bytes);
            if let Some(stream) = departure.frame.stream {
                Stamp { stream, sequence: departure.sequence, intended, sent: now }.write(&mut self.scratch);
                judge.sent(stream, departure.sequence, now);
            }
            match pool.alloc_copy(&self.scratch) {
                Some(packet) => burst.push(packet),
                None => miss(),
            }
        }
        if let Some(tx) = lane.tx.first_mut() {
            if !burst.is_empty() {
                tx.tx_burst(now, pool, &mut burst);
                lane.refused += burst.len() as u64;
            }
            tx.flush(now, pool);
        }
        pool.free_all(&mut burst);
    }

    /// What was never sent was not lost by the device.
    fn forget_missed(&self, trial: &Trial, result: &mut TrialResult) {
        for ((stream, spec), &missed) in result.streams.iter_mut().zip(&trial.streams).zip(&self.missed) {
            let copies = missed * spec.due.len() as u64;
            stream.sent = stream.sent.saturating_sub(missed);
            stream.expected = stream.expected.saturating_sub(copies);
            stream.lost = stream.lost.saturating_sub(copies);
            for port in &spec.due {
                let counted = &mut result.ports[port.index()];
                counted.expected = counted.expected.saturating_sub(missed);
            }
        }
    }

    fn receive(&mut self, now: Nanos, start: Nanos, senders: &mut [Sender], judge: &mut Judge) {
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            let mut burst = Burst::new();
            for rx in &mut lane.rx {
                rx.rx_burst(now, &mut self.pool, &mut burst, BURST);
            }
            for packet in burst.drain(..) {
                let quanta = if packet.is_chained() {
                    self.scratch.clear();
                    self.pool.copy_to(&packet, &mut self.scratch);
                    judge.received(PortId(index as u8), now, &self.scratch, senders)
                } else {
                    judge.received(PortId(index as u8), now, self.pool.head(&packet), senders)
                };
                if let Some(quanta) = quanta {
                    senders[index].pause(now.since(start), quanta);
                }
                self.pool.free(packet);
            }
        }
    }
}

/// The part of the loop in every latency: memory ports with lines like these, joined in pairs by cables without a device, as many as there are
/// (one more if they are odd).
///
/// # Errors
/// As [`Testbed::run`].
pub fn loopback_bias(ports: &[TestPort], clock: &TscClock) -> Result<Option<LoopbackBias>, TestbedError> {
    let system = |source| TestbedError::System { what: "packet pool".to_owned(), source };
    let pool = Mempool::new(BIAS_BUFFERS.saturating_mul(ports.len().max(2) as u32), Hugepages::Auto).map_err(system)?;
    let mut looped = Vec::new();
    for two in ports.chunks(2) {
        let (one, other, _) = pair(Cable { queues: 1, forth: 512, back: 512 });
        looped.push((two[0].clone(), one));
        looped.push((two[two.len() - 1].clone(), other));
    }
    bias_of(&mut RealtimeTestbed::new(looped, Wires::Own, &pool, clock.clone(), "cables", Box::new(())))
}

/// The latencies between ports 1 and 2, 3 and 4 … of a testbed that are joined by cables.
///
/// # Errors
/// As [`Testbed::run`].
pub fn bias_of(cables: &mut dyn Testbed) -> Result<Option<LoopbackBias>, TestbedError> {
    let lines = cables.ports().to_vec();
    let (load, size, span) = BIAS;
    let settings = Settings { learning: false, wait: Nanos::from_millis(20), rest: Nanos::ZERO, ..Settings::default() };
    let trial = Pattern::pairs(lines.len(), true).trial(&lines, size, load, Amount::Span(span), &settings);
    let result = cables.run(&trial, &mut |_| true)?;
    let mut all: Histogram<u64> = empty_histogram();
    for latencies in &result.latency {
        for recorded in latencies.iter_recorded() {
            all.saturating_record_n(recorded.value_iterated_to(), recorded.count_at_value());
        }
    }
    Ok(LoopbackBias::of(&all))
}

impl Testbed for RealtimeTestbed {
    fn ports(&self) -> &[TestPort] {
        &self.ports
    }

    fn describe(&self) -> String {
        format!("{}, in real time", self.description)
    }

    fn is_virtual(&self) -> bool {
        false
    }

    fn pads(&self) -> bool {
        self.wires == Wires::Own
    }

    fn loopback_bias(&mut self) -> Result<Option<LoopbackBias>, TestbedError> {
        loopback_bias(&self.ports, &self.clock)
    }

    fn run(&mut self, trial: &Trial, watch: &mut dyn FnMut(TrialProgress) -> bool) -> Result<TrialResult, TestbedError> {
        if trial.ports.len() != self.ports.len() {
            return Err(TestbedError::Setup(format!("the trial is for {} ports, there are {}", trial.ports.len(), self.ports.len())));
        }
        if trial.reset_at.is_some() {
            return Err(TestbedError::Unsupported("reset the device in the midst of a trial".to_owned()));
        }
        let length = trial.length();
        let begin = self.clock.now();
        let clock = self.clock.clone();
        let mut look_on = || watch(TrialProgress { elapsed: clock.now().since(begin).min(length), length });
        self.learn(trial, &mut look_on)?;
        for lane in &mut self.lanes {
            (lane.refused, lane.missed, lane.before) = (0, 0, lane.device.statistics());
        }
        self.missed = vec![0; trial.streams.len()];
        let mut senders: Vec<Sender> =
            trial.ports.iter().zip(&self.ports).map(|(port, line)| Sender::new(port, trial.streams.len(), line.line_bps)).collect();
        let start = self.clock.now() + LEAD;
        let mut judge = Judge::new(trial, &self.ports, start);
        let (mut late, mut until, mut look) = (0, None, start + WATCH_EVERY);
        loop {
            let now = self.clock.now();
            let mut sending = false;
            for (index, sender) in senders.iter_mut().enumerate() {
                self.send(index, now, start, sender, &mut judge, &mut late);
                sending |= sender.next_departure().is_some();
            }
            self.receive(self.clock.now(), start, &mut senders, &mut judge);
            if !sending && now >= *until.get_or_insert(now + trial.wait) {
                break;
            }
            if now >= look {
                look = now + WATCH_EVERY;
                self.maintain(now);
                if !look_on() {
                    return Err(TestbedError::Interrupted);
                }
            }
        }
        let now = self.clock.now();
        self.drain(now + trial.rest, &mut look_on)?;
        let mut result = judge.finish(trial, &self.ports, &senders);
        self.forget_missed(trial, &mut result);
        for (index, lane) in self.lanes.iter().enumerate() {
            let (port, counted) = (&self.ports[index].name, &mut result.ports[index]);
            // The times of arrival are those at which we looked.
            counted.gap_min_ns = None;
            if lane.missed > 0 {
                counted.sent -= lane.missed.min(counted.sent);
                result.invalid.push(Invalid::NotOffered { port: port.clone(), intended: counted.intended, sent: counted.sent });
            }
            let after = lane.device.statistics();
            let lost = lane.refused + after.tx_lost.saturating_sub(lane.before.tx_lost);
            if lost > 0 && self.wires == Wires::Own {
                result.invalid.push(Invalid::NotTaken { port: port.clone(), frames: lost });
            }
            let downs = after.link_downs.saturating_sub(lane.before.link_downs);
            if downs > 0 {
                result.invalid.push(Invalid::Device { what: format!("let the link of port {port} go down {downs} time(s)") });
            }
        }
        if result.ports.iter().any(|port| port.sent < port.intended) {
            result.invalid.push(Invalid::Late { worst_ns: late });
        }
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cable between two ports loses nothing, however busy the machine is: what was not sent in time makes the trial invalid, and
    /// everything else arrives, each frame once.
    #[test]
    fn what_is_sent_arrives_and_what_is_missed_is_told() {
        let pool = Mempool::new(4096, Hugepages::Never).unwrap();
        let (one, other, _) = pair(Cable { queues: 1, forth: 1024, back: 1024 });
        let port = |name: &str| TestPort { name: name.to_owned(), line_bps: 100_000_000 };
        let ports = vec![(port("a"), one), (port("b"), other)];
        let mut testbed = RealtimeTestbed::new(ports, Wires::Played, &pool, TscClock::new(), "a cable", Box::new(()));
        let settings = Settings { wait: Nanos::from_millis(20), rest: Nanos::ZERO, ..Settings::default() };
        let lines = testbed.ports().to_vec();
        let trial = Pattern::pairs(2, true).trial(&lines, 128, 0.1, Amount::Span(Nanos::from_millis(20)), &settings);
        let result = testbed.run(&trial, &mut |_| true).unwrap();
        let (intended, sent, received) = result.counts();
        // 100 Mb/s carries 84,459 frames of 128 bytes a second: a tenth of that for 20 ms, both ways.
        assert_eq!(intended, 2 * 168);
        assert_eq!((received, result.total().received), (sent, sent), "{result:?}");
        assert_eq!(result.is_valid(), sent == intended, "{:?}", result.invalid);
        assert_eq!(result.ports.iter().map(|port| port.corrupted + port.stray + port.unmarked).sum::<u64>(), 0);
        // Preamble, frame and FCS take 10.88 µs at 100 Mb/s: the first of a direction does not arrive sooner. One behind it may seem to, if the
        // loop stood still: then the wire is taken to have carried it meanwhile.
        assert!(result.latency[0].is_empty() || result.latency[0].max() >= 10_870, "{}", result.latency[0].max());
    }

    /// Three ports are measured as two pairs; every frame comes back, in some time.
    #[test]
    fn the_bias_is_that_of_frames_looped_back() {
        let lines = ["a", "b", "c"].map(|name| TestPort { name: name.to_owned(), line_bps: 10_000_000 });
        let bias = loopback_bias(&lines, &TscClock::new()).unwrap().unwrap();
        // 14,880 frames a second at 10 Mb/s, a tenth of that for 0.1 s, four ports; on a busy machine some are missed.
        assert!((1..=4 * 149).contains(&bias.frames), "{bias:?}");
        assert!(bias.min_ns <= bias.p50_ns && bias.p50_ns <= bias.p999_ns && bias.p999_ns <= bias.max_ns, "{bias:?}");
    }

    #[test]
    fn whoever_watches_can_end_it() {
        let pool = Mempool::new(1024, Hugepages::Never).unwrap();
        let (one, other, _) = pair(Cable::default());
        let port = |name: &str| TestPort { name: name.to_owned(), line_bps: 100_000_000 };
        let ports = vec![(port("a"), one), (port("b"), other)];
        let mut testbed = RealtimeTestbed::new(ports, Wires::Played, &pool, TscClock::new(), "a cable", Box::new(()));
        let lines = testbed.ports().to_vec();
        let trial = Pattern::pairs(2, true).trial(&lines, 128, 0.01, Amount::Span(Nanos::from_secs(3600)), &Settings::default());
        assert!(matches!(testbed.run(&trial, &mut |_| false), Err(TestbedError::Interrupted)));
    }
}
