//! All wires of a chassis, played in real time by one thread: sends each port's plan, takes what comes out, measures.
//!
//! **Sending.** Every frame has a planned time, the sum of the wire times before it; nothing else moves it. A frame whose time
//! has come is sent at the next turn of the loop; how late that is, is recorded. A frame that is later than [`LATE_MAX`] is not sent
//! at all but counted as missed: sending it would be a burst the wire could not carry. A run with missed frames did not offer what
//! was asked, and says so.
//!
//! **Receiving.** The wire takes the next frame out of the switch's transmit ring when it is free; a frame has arrived when its
//! last bit has. The switch's ring is thus the port's queue. Frames that wait when we look began when the wire became free;
//! for one that came since, the wire begins now.
//!
//! **Latency** is from the moment a frame is handed to the switch (its last bit has arrived there) to the moment its last bit has left
//! on the wire. The loop looks at each port once a turn, so a latency is known to within a turn's time, which is reported.

use hdrhistogram::Histogram;
use port::wrap::link::{FCS_LEN, GAP_LEN, OVERHEAD_LEN, PREAMBLE_LEN};
use port::{Burst, Nanos, PoolCache, Port, PortId, RxQueue, TxQueue};

use crate::plan::{Plan, Target};
use crate::stamp::Stamp;

mod stock;

pub use stock::CHECKED;
use stock::Stock;

/// A frame later than this is missed.
pub const LATE_MAX: Nanos = Nanos(200_000);
/// Frames sent or fetched at once.
const BURST: usize = 32;
/// Longest latency that is told apart, ns.
const LATENCY_MAX_NS: u64 = 10_000_000_000;
/// Longest latency of the timeline, ns, in two digits: it is copied at each report of progress.
const RECENT_MAX_NS: u64 = 100_000_000;
/// Frames of the plan ahead that are asked for while one is sent.
const AHEAD: usize = 4;

/// What happened on one port.
#[derive(Clone, Copy, Debug, Default)]
pub struct PortResult {
    /// Frames the plan asked for.
    pub offered: u64,
    /// Their bytes without FCS.
    pub offered_bytes: u64,
    /// Frames handed to the switch.
    pub sent: u64,
    /// Their bytes without FCS.
    pub sent_bytes: u64,
    /// Frames the switch had no room for: its receive ring was full.
    pub not_taken: u64,
    /// Frames not sent because they were too late, or no buffer was free.
    pub missed: u64,
    /// Frames that came out of the switch.
    pub received: u64,
    /// Their bytes without FCS.
    pub received_bytes: u64,
    /// Frames sent that should come out here.
    pub expected: u64,
    /// Frames that should have come out elsewhere.
    pub misdelivered: u64,
    /// Frames whose sequence number was behind one seen before.
    pub reordered: u64,
    /// Frames that came out changed: of one in so many ([`CHECKED`]) all bytes are compared.
    pub corrupted: u64,
}

/// Progress at some moment.
#[derive(Clone, Debug)]
pub struct Progress {
    /// Since the start.
    pub elapsed: Nanos,
    /// Frames that came out, all ports.
    pub received: u64,
    /// Their bytes without FCS.
    pub received_bytes: u64,
    /// Frames not sent, not taken or not come out by now, as far as it is known to be lost.
    pub not_taken: u64,
    /// Latency of each direction since the last progress.
    pub latency: Vec<Histogram<u64>>,
}

/// What a run measured.
#[derive(Debug)]
pub struct RunResult {
    /// By port.
    pub ports: Vec<PortResult>,
    /// Latency in ns, by direction.
    pub latency: Vec<Histogram<u64>>,
    /// Actual less planned time of departure in ns.
    pub lateness: Histogram<u64>,
    /// Time of a turn of the loop in ns.
    pub turn: Histogram<u64>,
    /// Length of the sending part.
    pub duration: Nanos,
    /// One frame in so many has its latency recorded.
    pub sampling: u64,
}

struct Lane {
    id: PortId,
    tx: Box<dyn TxQueue>,
    rx: Box<dyn RxQueue>,
    /// Numbers of the frames in the stock, in the order they are sent.
    frames: Vec<u32>,
    next: usize,
    /// Bytes of the wire that the frames before the next one take: it is due when the plan's rate has carried so many.
    before: u64,
    /// Bytes of the wire a nanosecond carries at the plan's rate.
    plan_rate: f64,
    /// ps a byte takes on the wire.
    byte_ps: u64,
    /// When the wire out of the switch is free, in ps.
    free_ps: u64,
    /// What has been fetched and has not left yet.
    fetched: Burst,
    /// Nothing waited when we last looked.
    idle: bool,
    burst: Burst,
    /// Next sequence number, by destination.
    sequence: Vec<u32>,
    /// Sequence number expected, by source.
    expect: Vec<u32>,
    result: PortResult,
}

/// One chassis' worth of wires.
pub struct Engine {
    lanes: Vec<Lane>,
    stock: Stock,
    pool: PoolCache,
    /// `directions[from][to]`: index of the histogram.
    directions: Vec<Vec<usize>>,
    /// Frames sent that should come out of each port.
    expected: Vec<u64>,
    latency: Vec<Histogram<u64>>,
    recent: Vec<Histogram<u64>>,
    lateness: Histogram<u64>,
    turn: Histogram<u64>,
    sampling: u64,
    countdown: u64,
    measuring: bool,
}

fn histogram(max_ns: u64, digits: u8) -> Histogram<u64> {
    Histogram::new_with_bounds(1, max_ns, digits).expect("1 ns to some seconds in a few digits")
}

/// The stream of a pair of ports.
#[inline(always)]
fn stream(from: PortId, to: PortId) -> u16 {
    u16::from(from.0) << 8 | u16::from(to.0)
}

impl Engine {
    /// Wires to the far ends `ports` of a switch's memory ports. Latency goes into histogram `direction(from, to)` of `directions`.
    ///
    /// # Panics
    /// If `ports` and `plan` differ in number.
    pub fn new(
        ports: Vec<Port>,
        plan: Plan,
        pool: PoolCache,
        directions: usize,
        direction: impl Fn(PortId, PortId) -> usize,
        sampling: u64,
    ) -> Engine {
        assert_eq!(ports.len(), plan.ports.len(), "a plan for each port");
        let count = ports.len();
        let ids = || (0..count).map(|id| PortId(id as u8));
        let mut stock = Stock::new();
        let lanes = ports
            .into_iter()
            .zip(plan.ports)
            .zip(ids())
            .map(|((mut port, plan), id)| Lane {
                id,
                tx: port.tx.remove(0),
                rx: port.rx.remove(0),
                frames: plan.frames.iter().map(|frame| stock.add(frame)).collect(),
                next: 0,
                before: 0,
                plan_rate: plan.rate_bps / 8e9,
                byte_ps: 8_000_000_000_000 / plan.line_bps,
                free_ps: 0,
                fetched: Burst::new(),
                idle: true,
                burst: Burst::new(),
                sequence: vec![0; count],
                expect: vec![0; count],
                result: PortResult::default(),
            })
            .collect();
        Engine {
            lanes,
            stock,
            pool,
            expected: vec![0; count],
            directions: ids().map(|from| ids().map(|to| direction(from, to)).collect()).collect(),
            latency: (0..directions).map(|_| histogram(LATENCY_MAX_NS, 3)).collect(),
            recent: (0..directions).map(|_| histogram(RECENT_MAX_NS, 2)).collect(),
            lateness: histogram(LATENCY_MAX_NS, 3),
            turn: histogram(LATENCY_MAX_NS, 3),
            sampling: sampling.max(1),
            countdown: 1,
            measuring: false,
        }
    }

    /// Sends each port's `frames` once, slowly, so that the switch learns where the stations are; then waits until it is quiet.
    pub fn introduce(&mut self, frames: &[Vec<Box<[u8]>>], clock: impl Fn() -> Nanos) {
        for (index, frames) in frames.iter().enumerate() {
            for frame in frames {
                if let Some(packet) = self.pool.alloc_copy(frame) {
                    let mut burst = Burst::new();
                    burst.push(packet);
                    self.lanes[index].tx.tx_burst(clock(), &mut self.pool, &mut burst);
                    self.pool.free_all(&mut burst);
                }
                // A frame every 20 µs: introductions are flooded, and must not fill queues.
                let until = clock() + Nanos(20_000);
                while clock() < until {
                    self.receive_all(clock());
                }
            }
        }
        self.drain(&clock);
        for (lane, expected) in self.lanes.iter_mut().zip(&mut self.expected) {
            lane.result = PortResult::default();
            *expected = 0;
        }
    }

    /// Sends for `duration`, then waits until nothing comes any more. `progress` is called every `every`, and may end the run by returning
    /// `false`.
    pub fn run(
        &mut self,
        duration: Nanos,
        every: Nanos,
        clock: impl Fn() -> Nanos,
        mut progress: impl FnMut(Progress) -> bool,
    ) -> RunResult {
        self.measuring = true;
        let start = clock();
        self.lanes.iter_mut().for_each(|lane| lane.before = 0);
        let (mut now, mut next_progress) = (start, start + every);
        while now < start + duration {
            self.turn(start, now);
            let after = clock();
            self.turn.saturating_record(after.since(now).0.max(1));
            now = after;
            if now >= next_progress {
                next_progress = now + every;
                if !progress(self.progress(now.since(start))) {
                    break;
                }
            }
        }
        let duration = now.since(start);
        self.drain(&clock);
        self.measuring = false;
        progress(self.progress(duration));
        self.stock.clear(&mut self.pool);
        RunResult {
            ports: self.lanes.iter().zip(&self.expected).map(|(lane, &expected)| PortResult { expected, ..lane.result }).collect(),
            latency: self.latency.clone(),
            lateness: self.lateness.clone(),
            turn: self.turn.clone(),
            duration,
            sampling: self.sampling,
        }
    }

    /// Sends what is due on every port and takes what has come.
    #[inline]
    fn turn(&mut self, start: Nanos, now: Nanos) {
        // What the far sides have written since lies in their caches: it is fetched for all ports at once, not one after the other.
        for lane in &self.lanes {
            lane.rx.prefetch();
        }
        for lane in &mut self.lanes {
            send(lane, start, now, &mut self.stock, &mut self.pool, &mut self.lateness, &mut self.expected);
        }
        self.receive_all(now);
    }

    fn progress(&mut self, elapsed: Nanos) -> Progress {
        let latency = self.recent.clone();
        self.recent.iter_mut().for_each(Histogram::reset);
        let sum = |value: fn(&PortResult) -> u64| self.lanes.iter().map(|lane| value(&lane.result)).sum();
        Progress {
            elapsed,
            received: sum(|result| result.received),
            received_bytes: sum(|result| result.received_bytes),
            not_taken: sum(|result| result.not_taken),
            latency,
        }
    }

    /// Receives until nothing has come for 20 ms.
    fn drain(&mut self, clock: &impl Fn() -> Nanos) {
        const QUIET: Nanos = Nanos::from_millis(20);
        let mut last = clock();
        loop {
            let now = clock();
            if self.receive_all(now) > 0 || self.lanes.iter().any(|lane| !lane.fetched.is_empty()) {
                last = now;
            }
            if now.since(last) > QUIET {
                break;
            }
        }
    }

    fn receive_all(&mut self, now: Nanos) -> usize {
        let mut count = 0;
        for index in 0..self.lanes.len() {
            count += self.receive(index, now);
        }
        count
    }

    #[inline]
    fn receive(&mut self, index: usize, now: Nanos) -> usize {
        let lane = &mut self.lanes[index];
        let now_ps = now.0 * 1000;
        let mut count = 0;
        loop {
            if lane.fetched.is_empty() {
                if lane.free_ps > now_ps {
                    break;
                }
                // How many can have left by now, at the least a frame can take.
                let room = ((now_ps - lane.free_ps) / (lane.byte_ps * (60 + OVERHEAD_LEN)) + 1).min(BURST as u64) as usize;
                if lane.rx.rx_burst(now, &mut self.pool, &mut lane.fetched, room) == 0 {
                    lane.idle = true;
                    break;
                }
                for packet in &lane.fetched {
                    self.pool.prefetch(packet);
                }
                // What came while the wire was idle begins when we see it.
                if std::mem::take(&mut lane.idle) {
                    lane.free_ps = lane.free_ps.max(now_ps);
                }
            }
            let mut left = 0;
            for packet in &lane.fetched {
                let stamp = if self.measuring { Stamp::read(self.pool.head(packet), now) } else { None };
                // Nothing leaves before it was sent, whenever we look.
                let begin = stamp.map_or(lane.free_ps, |stamp| lane.free_ps.max(stamp.sent.0 * 1000));
                let end = begin + lane.byte_ps * (PREAMBLE_LEN + packet.len() as u64 + FCS_LEN);
                if end > now_ps {
                    break;
                }
                lane.free_ps = end + lane.byte_ps * GAP_LEN;
                left += 1;
                lane.result.received_bytes += packet.len() as u64;
                let Some(stamp) = stamp else { continue };
                let (from, to) = (PortId((stamp.stream >> 8) as u8), PortId(stamp.stream as u8));
                let Some(expect) = lane.expect.get_mut(from.index()) else { continue };
                lane.result.misdelivered += u64::from(to != lane.id);
                if stamp.sequence.wrapping_sub(*expect) < u32::MAX / 2 {
                    *expect = stamp.sequence.wrapping_add(1);
                } else {
                    lane.result.reordered += 1;
                }
                self.countdown -= 1;
                if self.countdown == 0 {
                    self.countdown = self.sampling;
                    let latency = (end / 1000).saturating_sub(stamp.sent.0).max(1);
                    let direction = self.directions[from.index()][lane.id.index()];
                    self.latency[direction].saturating_record(latency);
                    self.recent[direction].saturating_record(latency);
                }
            }
            let waits = left < lane.fetched.len();
            count += left;
            lane.result.received += left as u64;
            let corrupted = self.stock.corrupted;
            for packet in lane.fetched.drain(..left) {
                if self.measuring {
                    self.stock.take_back(packet, &mut self.pool);
                } else {
                    self.pool.free(packet);
                }
            }
            lane.result.corrupted += self.stock.corrupted - corrupted;
            if waits {
                break;
            }
        }
        count
    }
}

/// Sends what of a port's plan is due.
#[inline]
fn send(
    lane: &mut Lane,
    start: Nanos,
    now: Nanos,
    stock: &mut Stock,
    pool: &mut PoolCache,
    lateness: &mut Histogram<u64>,
    expected: &mut [u64],
) {
    // Bytes of the wire that the plan's rate has carried by now: counted from the start each time, so that nothing adds up.
    let due = (now.since(start).0 as f64 * lane.plan_rate) as u64;
    if lane.before > due || lane.frames.is_empty() {
        return;
    }
    lateness.saturating_record((((due - lane.before) as f64 / lane.plan_rate) as u64).max(1));
    let late_max = (LATE_MAX.0 as f64 * lane.plan_rate) as u64;
    let byte_ns = 1.0 / lane.plan_rate;
    let mut sent_bytes = 0;
    while lane.before <= due && lane.burst.len() < BURST {
        let index = lane.frames[lane.next];
        if let Some(&ahead) = lane.frames.get(lane.next + AHEAD) {
            stock.prefetch(ahead);
        }
        let before = lane.before;
        let (len, target, stamped) = {
            let template = stock.template(index);
            (template.len, template.target, template.stamped)
        };
        lane.before += u64::from(len) + OVERHEAD_LEN;
        lane.next = if lane.next + 1 == lane.frames.len() { 0 } else { lane.next + 1 };
        lane.result.offered += 1;
        lane.result.offered_bytes += u64::from(len);
        if due - before > late_max {
            lane.result.missed += 1;
            continue;
        }
        let Some(mut packet) = stock.packet(index, pool) else {
            lane.result.missed += 1;
            continue;
        };
        match target {
            Target::Port(to) => {
                expected[to.index()] += 1;
                if stamped {
                    let sequence = &mut lane.sequence[to.index()];
                    let intended = start + Nanos((before as f64 * byte_ns) as u64);
                    let stamp = Stamp { stream: stream(lane.id, to), sequence: *sequence, intended, sent: now };
                    *sequence = sequence.wrapping_add(1);
                    if let Some(bytes) = pool.bytes_mut(&mut packet) {
                        stamp.write(bytes);
                    }
                }
            }
            Target::Others => (0..expected.len()).filter(|&to| to != lane.id.index()).for_each(|to| expected[to] += 1),
            Target::Nobody => {}
        }
        sent_bytes += u64::from(len);
        lane.burst.push(packet);
    }
    lane.result.sent += lane.burst.len() as u64;
    lane.result.sent_bytes += sent_bytes;
    lane.tx.tx_burst(now, pool, &mut lane.burst);
    lane.result.not_taken += lane.burst.len() as u64;
    pool.free_all(&mut lane.burst);
}
