//! Sending what the schedule says, when it says; and counting what comes back.
//!
//! One loop for all ports, on one thread; time is a [`Time`], real or virtual. A frame is never sent before its time. In real time a
//! frame can be late: then it is sent as soon as possible, but what the line could not have carried meanwhile is not sent
//! either, but for [`AHEAD`] that lies in the port's queue. How late each frame left is measured; nothing is skipped. In real time the next
//! frame of each port is made while its time has not come, and the last [`SPIN`] are spent looking at the clock and nothing else: when its time
//! comes it only has to be handed over.
//!
//! Frames that come back are known by their content ([`matching`](super::matching)): nothing is written into them. Their latency is
//! from before a burst is handed over to after one was taken: a turn of this loop is part of it.

use arrayvec::ArrayVec;
use port::clock::TscClock;
use port::wrap::link::Wire;
use port::{BURST_MAX, Burst, DeviceStatistics, Nanos, Packet, PoolCache, Port, Refusal};

use super::Frame;
use super::make::Maker;
use super::matching::{Matcher, Matching, Sent};
use super::schedule::{Departure, Lane, Schedule};
use super::summary::{PortSummary, Replayed};
use super::suspects::{Lost, suspects};
use super::timeline::Timeline;
use super::unique::Unique;
use crate::measure::pacing::PacingMeter;
use crate::stamp::Stamp;

/// Time of the line that may wait in a port's queue while frames are late.
pub const AHEAD: Nanos = Nanos(10_000);
/// A port that takes nothing for this long is given up.
pub const GIVE_UP: Nanos = Nanos::from_secs(1);

/// Devices are looked after so often in real time: links come and go.
const MAINTAIN_EVERY: Nanos = Nanos::from_millis(100);

/// In real time the core is not left to others so long after a frame was sent or received: what is on its way is seen when it comes. The
/// latency of a device that holds frames for longer is known to [`RealTime`]'s sleep, a 40th of it.
const AWAKE: Nanos = Nanos::from_millis(10);

/// With less than this to wait, nothing else is begun: receiving a burst takes about as long.
pub const SPIN: Nanos = Nanos(400);

/// What the loop asks for the time.
pub trait Time {
    /// Time since the start.
    fn now(&self) -> Nanos;
    /// Nothing is to be done before `until`. May return at once.
    fn wait(&mut self, until: Nanos);
    /// Does it stand still unless it is told to wait?
    fn is_virtual(&self) -> bool;
}

/// The processor's clock.
#[derive(Clone, Debug, Default)]
pub struct RealTime(pub TscClock);

impl Time for RealTime {
    fn now(&self) -> Nanos {
        self.0.now()
    }
    fn wait(&mut self, until: Nanos) {
        // Far from the next departure the core is left to others, in steps short enough to see what arrives.
        let left = until.since(self.now());
        if left > Nanos::from_millis(2) {
            std::thread::sleep(std::time::Duration::from_micros(200));
        } else if left <= SPIN {
            while self.now() < until {
                std::hint::spin_loop();
            }
        }
    }
    fn is_virtual(&self) -> bool {
        false
    }
}

/// A clock that goes to whatever is next.
#[derive(Clone, Debug, Default)]
pub struct VirtualTime(Nanos);

impl Time for VirtualTime {
    fn now(&self) -> Nanos {
        self.0
    }
    fn wait(&mut self, until: Nanos) {
        self.0 = self.0.max(until);
    }
    fn is_virtual(&self) -> bool {
        true
    }
}

/// What is to be sent, and where.
pub struct Setup<'a> {
    /// The frames.
    pub frames: &'a [Frame],
    /// When they leave.
    pub schedule: Schedule,
    /// By port: name, port, rate of its line.
    pub ports: Vec<(String, Port, u64)>,
    /// Frames that are sent first, one every 20 µs, by port: so that a switch learns where stations are. They are not counted.
    pub learning: Vec<(usize, Vec<u8>)>,
    /// Buffers for frames in both directions.
    pub pool: PoolCache,
    /// What changes from loop to loop.
    pub unique: Unique,
    /// Wait for a word after so many frames; lateness then means nothing.
    pub step: Option<u64>,
    /// Time to listen after the last frame has been sent.
    pub listen: Nanos,
    /// Find out what became of each frame, and how. `None`: frames that come are counted and not looked at.
    pub matching: Option<Matching>,
    /// Write a [stamp](crate::stamp) into every frame that has room for one, so that no two are alike.
    pub stamped: bool,
}

/// What whoever watches is told.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Time since the start.
    pub now: Nanos,
    /// Frames sent.
    pub sent: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// So many frames have been sent since the last word: may it go on?
    pub step: bool,
}

/// A frame that waits to be handed over: the fields of [`Sent`] that differ.
struct Due {
    key: u64,
    frame: usize,
    round: u64,
    planned: Nanos,
}

/// A port while it runs.
struct Active {
    index: usize,
    port: Port,
    lane: Lane,
    /// When the run began, by the clock that ports are told.
    start: Nanos,
    wire: Wire,
    /// Packets that are due, and what they are.
    waiting: Burst,
    due: ArrayVec<Due, BURST_MAX>,
    /// The next frame of the lane, made before its time, and the key of its bytes.
    made: Option<(Packet, u64)>,
    /// Since when the port has taken nothing.
    stuck_since: Option<Nanos>,
    pacing: PacingMeter,
    /// What the device had counted before.
    before: DeviceStatistics,
    /// What it had counted, and how many errors it had told, when all was sent.
    at_end: Option<(DeviceStatistics, usize)>,
    result: PortSummary,
}

/// Replays; `watch` is called now and then, and ends the run by returning `false`.
pub fn run(setup: Setup<'_>, time: &mut impl Time, watch: &mut dyn FnMut(Progress) -> bool) -> Replayed {
    let Setup { frames, schedule, ports, learning, mut pool, unique, step, listen, matching, stamped } = setup;
    let planned = schedule.total();
    let lanes = schedule.into_lanes().into_iter().zip(ports).enumerate();
    let mut ports: Vec<Active> =
        lanes.map(|(index, (lane, (name, port, line_bps)))| Active::new(index, lane, name, port, line_bps)).collect();
    let mut matcher = matching.map(|matching| Matcher::new(frames, ports.len(), matching));
    let mut maker = Maker::new(frames, unique, stamped, matcher.as_mut());
    let mut timeline = Timeline::default();
    let (mut sent, mut sent_bytes, mut stepped, mut turns) = (0, 0, 0, 0u64);
    let mut stopped = false;
    let mut quiet_from = None;
    for (port, frame) in &learning {
        teach(&mut ports[*port].port, frame, &mut pool, time);
    }
    // What it took to get here, clocks and memory, is no lateness.
    let start = time.now();
    ports.iter_mut().for_each(|active| active.start = start);
    let (mut maintain_at, mut awake_until) = (MAINTAIN_EVERY, Nanos::ZERO);
    loop {
        let now = time.now().since(start);
        if now >= maintain_at && !time.is_virtual() {
            maintain_at = now + MAINTAIN_EVERY;
            ports.iter_mut().for_each(|active| active.port.device.maintain(start + now));
        }
        let (mut sent_now, mut received_now) = (false, false);
        for active in &mut ports {
            let room = step.map_or(u64::MAX, |step| step - stepped);
            active.make_due(now, room, &mut pool, |departure, pool| maker.make(departure, start, matcher.as_mut(), pool));
            // Making frames takes time; the first turn of a port would be charged with it.
            let handed_over = if time.is_virtual() || active.waiting.is_empty() { now } else { time.now().since(start) };
            if stamped {
                active.stamp(handed_over, &mut pool);
            }
            let (count, len) = active.send(handed_over, step.is_none(), &mut pool, matcher.as_mut());
            if count > 0 {
                timeline.sent(handed_over, count, len);
            }
            sent += count;
            sent_bytes += len;
            stepped += count;
            sent_now |= count > 0;
            let mut received = active.take(now, &mut pool);
            if !received.is_empty() {
                received_now = true;
                let at = time.now().since(start);
                timeline.received(at, received.len() as u64);
                active.look_at(at, &mut received, &mut pool, matcher.as_mut(), &mut timeline);
            }
        }
        turns += 1;
        let must_step = step.is_some_and(|step| stepped >= step) && ports.iter_mut().any(|active| active.lane.peek().is_some());
        if (turns.is_multiple_of(256) || must_step) && !stopped {
            stopped = !watch(Progress { now, sent, bytes: sent_bytes, step: must_step });
            stepped = if must_step { 0 } else { stepped };
        }
        if stopped {
            break;
        }
        if !time.is_virtual() {
            for active in &mut ports {
                active.make_ahead(&mut pool, |departure, pool| maker.make(departure, start, matcher.as_mut(), pool));
                // What a port has sent comes back through it, also when nothing new is due.
                if sent_now || turns.is_multiple_of(64) {
                    active.port.tx[0].flush(start + now, &mut pool);
                }
            }
        }
        if sent_now || received_now {
            awake_until = now + AWAKE;
        }
        // In real time: while something may be on its way back, its arrival is not to be slept through.
        let awake = !time.is_virtual() && matcher.is_some() && now < awake_until;
        match next_time(&mut ports, now) {
            Some(next) if awake && next.since(now) > SPIN => {}
            Some(next) => time.wait(start + next),
            None => {
                // All is sent. What is on its way back is waited for.
                let end = *quiet_from.get_or_insert_with(|| {
                    ports.iter_mut().for_each(Active::all_sent);
                    now
                }) + listen;
                if now >= end {
                    break;
                }
                if !awake {
                    let event = ports.iter().filter_map(|active| active.rx_event(now)).min();
                    time.wait(start + event.unwrap_or(end).min(end));
                }
            }
        }
    }
    let now = time.now().since(start);
    let ports = ports.into_iter().map(|active| active.finish(now, &mut pool)).collect();
    pool.flush();
    watch(Progress { now, sent, bytes: sent_bytes, step: false });
    let account = matcher.map(Matcher::finish);
    let found = account.as_ref().map(|account| {
        let bytes_of = &mut |lost: &Lost| (frames[lost.frame].number, maker.bytes_of(lost.frame, lost.round).to_vec());
        suspects(&account.foreign, &account.lost, bytes_of)
    });
    let suspects = found.unwrap_or_default();
    Replayed { planned, ports, interrupted: stopped, stepped: step.is_some(), account, suspects, timeline }
}

/// Sends a learning frame and gives it time to be flooded.
fn teach(port: &mut Port, frame: &[u8], pool: &mut PoolCache, time: &mut impl Time) {
    let mut burst = Burst::new();
    burst.extend(pool.alloc_copy(frame));
    port.tx[0].tx_burst(time.now(), pool, &mut burst);
    pool.free_all(&mut burst);
    port.tx[0].flush(time.now(), pool);
    let until = time.now() + Nanos(20_000);
    while time.now() < until {
        time.wait(until);
    }
}

/// When the loop has something to do again; `None`: nothing is left to send.
fn next_time(ports: &mut [Active], now: Nanos) -> Option<Nanos> {
    let mut next: Option<Nanos> = None;
    for active in ports.iter_mut() {
        let due = match (active.waiting.is_empty(), active.lane.peek()) {
            // It is asked again soon.
            (false, _) => Some(now + Nanos(1_000)),
            (true, Some(departure)) => Some(departure.begin),
            (true, None) => None,
        };
        next = next.into_iter().chain(due).min();
    }
    // Only what is to be sent keeps the run alive; meanwhile, what arrives is taken when it arrives.
    let due = next?;
    ports.iter().filter_map(|active| active.rx_event(now)).chain([due]).min()
}

impl Active {
    fn new(index: usize, lane: Lane, name: String, port: Port, line_bps: u64) -> Active {
        Active {
            index,
            before: port.device.statistics(),
            at_end: None,
            port,
            lane,
            start: Nanos::ZERO,
            wire: Wire::new(line_bps),
            waiting: Burst::new(),
            due: ArrayVec::new(),
            made: None,
            stuck_since: None,
            pacing: PacingMeter::default(),
            result: PortSummary::new(name, line_bps),
        }
    }

    /// When something may come in by itself (capture files), if that is later than `now`.
    fn rx_event(&self, now: Nanos) -> Option<Nanos> {
        let next = self.port.rx.iter().filter_map(|queue| queue.next_event()).min();
        next.map(|event| event.since(self.start)).filter(|event| *event > now)
    }

    /// Makes packets of the frames whose time has come.
    fn make_due(
        &mut self,
        now: Nanos,
        room: u64,
        pool: &mut PoolCache,
        mut make: impl FnMut(&Departure, &mut PoolCache) -> Option<(Packet, u64)>,
    ) {
        let mut made = 0;
        while self.waiting.len() < BURST_MAX && made < room && self.wire.is_free(now + AHEAD) {
            let Some(departure) = self.lane.next_due(now) else { break };
            self.result.planned(&departure);
            match self.made.take().or_else(|| make(&departure, pool)) {
                Some((packet, key)) => {
                    self.wire.send(now, packet.len());
                    self.waiting.push(packet);
                    self.due.push(Due { key, frame: departure.frame, round: departure.round, planned: departure.begin });
                    made += 1;
                }
                None => self.result.no_buffer += 1,
            }
        }
    }

    /// Makes the next frame of the lane, whose time has not come; without a buffer it is tried again when it has.
    fn make_ahead(&mut self, pool: &mut PoolCache, make: impl FnOnce(&Departure, &mut PoolCache) -> Option<(Packet, u64)>) {
        if self.made.is_none()
            && self.waiting.is_empty()
            && let Some(departure) = self.lane.peek()
        {
            self.made = make(departure, pool);
        }
    }

    /// Says in what waits when it really leaves.
    fn stamp(&mut self, now: Nanos, pool: &mut PoolCache) {
        let now = self.start + now;
        for packet in &mut self.waiting {
            if let Some(bytes) = pool.bytes_mut(packet)
                && let Some(stamp) = Stamp::read(bytes, now)
            {
                Stamp { sent: now, ..stamp }.write(bytes);
            }
        }
    }

    /// Gives the port what waits; frames and bytes it took.
    fn send(&mut self, now: Nanos, timed: bool, pool: &mut PoolCache, mut matcher: Option<&mut Matcher>) -> (u64, u64) {
        if self.waiting.is_empty() {
            return (0, 0);
        }
        let mut lens = [0; BURST_MAX];
        lens.iter_mut().zip(&self.waiting).for_each(|(len, packet)| *len = packet.len());
        let mut lens = &lens[..self.waiting.len()];
        let (mut frames, mut bytes) = (0, 0);
        while !self.waiting.is_empty() {
            let count = self.port.tx[0].tx_burst(self.start + now, pool, &mut self.waiting);
            for (due, len) in self.due.drain(..count).zip(lens) {
                if timed {
                    self.pacing.departed(due.planned, now);
                }
                if let Some(matcher) = &mut matcher {
                    let Due { key, frame, round, planned } = due;
                    matcher.sent(Sent { key, frame, round, port: self.index, planned, at: now });
                }
                self.result.sent(now, *len);
                bytes += *len as u64;
            }
            frames += count as u64;
            lens = &lens[count..];
            if self.waiting.is_empty() {
                break;
            }
            let refusal = self.port.tx[0].refusal();
            if refusal != Refusal::Oversize {
                self.is_stuck(now, count > 0, refusal, pool);
                return (frames, bytes);
            }
            // It will never be taken; the one behind it may be.
            pool.free(self.waiting.remove(0));
            self.due.remove(0);
            self.result.too_long += 1;
            lens = &lens[1..];
        }
        self.stuck_since = None;
        (frames, bytes)
    }

    /// The port has not taken all; `some` of it just now. What waits too long is given up.
    fn is_stuck(&mut self, now: Nanos, some: bool, refusal: Refusal, pool: &mut PoolCache) {
        self.result.retried += 1;
        let since = if some { now } else { self.stuck_since.unwrap_or(now) };
        self.stuck_since = Some(since);
        if now.since(since) >= GIVE_UP {
            self.result.not_taken += self.waiting.len() as u64;
            self.result.was_down |= refusal == Refusal::Down;
            pool.free_all(&mut self.waiting);
            self.due.clear();
            self.stuck_since = None;
        }
    }

    /// What has come in by all of its queues. Each turn another one comes first, so that none waits for ever.
    fn take(&mut self, now: Nanos, pool: &mut PoolCache) -> Burst {
        let mut burst = Burst::new();
        for queue in &mut self.port.rx {
            let room = BURST_MAX - burst.len();
            queue.rx_burst(self.start + now, pool, &mut burst, room);
        }
        self.port.rx.rotate_left(1);
        burst
    }

    /// Counts what came in at `at`, and finds out what it is.
    fn look_at(&mut self, at: Nanos, burst: &mut Burst, pool: &mut PoolCache, mut matcher: Option<&mut Matcher>, timeline: &mut Timeline) {
        let mut whole = Vec::new();
        for packet in burst.drain(..) {
            whole.clear();
            pool.copy_to(&packet, &mut whole);
            pool.free(packet);
            self.result.received += 1;
            self.result.received_bytes += whole.len() as u64;
            if let Some(latency) = matcher.as_mut().and_then(|matcher| matcher.arrived(self.index, &whole, at)) {
                timeline.took(at, latency);
            }
        }
    }

    /// Nothing is left to send: what happens to the device from now on cannot have spoilt the plan.
    fn all_sent(&mut self) {
        self.at_end = Some((self.port.device.statistics(), self.port.device.errors().len()));
    }

    fn finish(mut self, now: Nanos, pool: &mut PoolCache) -> PortSummary {
        // Some wait still only if the run was ended from outside.
        pool.free_all(&mut self.waiting);
        if let Some((packet, _)) = self.made.take() {
            pool.free(packet);
        }
        self.port.tx[0].flush(self.start + now, pool);
        self.result.pacing = self.pacing.finish();
        self.result.rx_drops = self.port.rx.iter().map(|queue| queue.drops().frames()).sum();
        let mut errors = self.port.device.errors();
        let after = self.port.device.statistics();
        let (then, told) = self.at_end.unwrap_or((after, errors.len()));
        self.result.afterwards = errors.split_off(told.min(errors.len()));
        self.result.errors = errors;
        self.result.tx_lost = after.tx_lost.saturating_sub(self.before.tx_lost);
        self.result.link_downs = then.link_downs.saturating_sub(self.before.link_downs);
        self.result
    }
}
