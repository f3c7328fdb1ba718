//! A switch on the virtual clock whose ports are fed by hand, and whose links are timed.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use control::config::Config;
use dataplane::{DropReason, Observer};
use port::backend::pcap;
use port::mempool::FRAME_MAX;
use port::wrap::link::LinkTx;
use port::{Burst, Device, LinkState, Nanos, PoolCache, Port, PortId, RxDrops, RxQueue, TxQueue};

use super::{Counters, PortSummary};
use crate::assembly::{self, Switch};

/// Frames between two sweeps of the tables while a capture is played: it is their number that counts, not that of turns or
/// workers, since what has been swept shows in who is learned next at a limit.
const SWEEP_FRAMES: u64 = 64;

/// Who caused a frame: of which frame that came in it is a copy, or what control sent when that frame came in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cause {
    /// Number of the frame that came in, from 1; 0 if control sent this one by itself.
    pub frame: u64,
    /// Control sent it.
    pub by_control: bool,
}

impl Cause {
    fn raw(self) -> u64 {
        self.frame << 1 | u64::from(self.by_control)
    }

    fn from_raw(raw: u64) -> Cause {
        Cause { frame: raw >> 1, by_control: raw & 1 != 0 }
    }

    const CONTROL: Cause = Cause { frame: 0, by_control: true };
}

/// A frame that came out.
#[derive(Debug)]
pub struct Departure {
    /// When its last bit was out.
    pub time: Nanos,
    /// Of which port.
    pub port: PortId,
    /// The frame.
    pub bytes: Vec<u8>,
    /// What it came from. Known of frames that were fed with a number.
    pub cause: Cause,
}

/// A switch on the virtual clock whose ports are fed by hand, and whose links are timed.
///
/// What goes in at one time and port goes in together; everything is then wherever it goes before the clock moves on.
pub struct Stage {
    /// The switch.
    pub switch: Switch,
    feeds: Vec<Arc<Feed>>,
    plugs: Vec<Arc<Mutex<LinkState>>>,
    record: Arc<Mutex<Record>>,
    cause: Arc<AtomicU64>,
    now: Nanos,
    /// Frames fed one by one.
    fed: u64,
}

#[derive(Default)]
struct Feed {
    /// A look at this one is enough where nothing waits, which is nearly everywhere at nearly all times.
    waiting: AtomicBool,
    queue: Mutex<FeedQueue>,
}

#[derive(Default)]
struct FeedQueue {
    frames: VecDeque<Vec<u8>>,
    drops: RxDrops,
}

/// What has come out, or was refused by a queue.
#[derive(Default)]
struct Record {
    sent: Vec<Departure>,
    refused: Vec<Departure>,
    keeps_refused: bool,
}

struct FeedRx(Arc<Feed>);

/// Writes down what has arrived at the far end of a link. `causes` are those of the frames on the link, in order.
struct RecordTx {
    port: PortId,
    record: Arc<Mutex<Record>>,
    causes: Arc<Mutex<VecDeque<u64>>>,
}

/// Notes at the near end of a link who caused each frame, and what the link refuses.
struct CauseTx {
    link: LinkTx<RecordTx>,
    port: PortId,
    record: Arc<Mutex<Record>>,
    cause: Arc<AtomicU64>,
    causes: Arc<Mutex<VecDeque<u64>>>,
}

struct StageDevice(Arc<Mutex<LinkState>>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl RxQueue for FeedRx {
    fn rx_burst(&mut self, _now: Nanos, pool: &mut PoolCache, burst: &mut Burst, max: usize) -> usize {
        // One thread feeds and polls: nothing has to be ordered.
        if !self.0.waiting.load(Ordering::Relaxed) {
            return 0;
        }
        let mut feed = lock(&self.0.queue);
        let mut count = 0;
        while count < max && !burst.is_full() {
            let Some(frame) = feed.frames.pop_front() else { break };
            match pcap::alloc(pool, &frame) {
                Some(packet) => {
                    burst.push(packet);
                    count += 1;
                }
                None => {
                    feed.drops.bytes += frame.len() as u64;
                    if frame.len() > FRAME_MAX { feed.drops.oversize += 1 } else { feed.drops.no_buffer += 1 }
                }
            }
        }
        self.0.waiting.store(!feed.frames.is_empty(), Ordering::Relaxed);
        count
    }

    fn drops(&self) -> RxDrops {
        lock(&self.0.queue).drops
    }
}

impl TxQueue for RecordTx {
    fn tx_burst(&mut self, now: Nanos, pool: &mut PoolCache, burst: &mut Burst) -> usize {
        let (mut record, mut causes) = (lock(&self.record), lock(&self.causes));
        let count = burst.len();
        for packet in burst.drain(..) {
            let mut bytes = Vec::with_capacity(packet.len());
            pool.copy_to(&packet, &mut bytes);
            pool.free(packet);
            let cause = Cause::from_raw(causes.pop_front().unwrap_or_default());
            record.sent.push(Departure { time: now, port: self.port, bytes, cause });
        }
        count
    }
}

impl TxQueue for CauseTx {
    fn tx_burst(&mut self, now: Nanos, pool: &mut PoolCache, burst: &mut Burst) -> usize {
        let taken = self.link.tx_burst(now, pool, burst);
        let cause = self.cause.load(Ordering::Relaxed);
        lock(&self.causes).extend(std::iter::repeat_n(cause, taken));
        if !burst.is_empty() {
            let mut record = lock(&self.record);
            if record.keeps_refused {
                for packet in burst.iter() {
                    let mut bytes = Vec::with_capacity(packet.len());
                    pool.copy_to(packet, &mut bytes);
                    record.refused.push(Departure { time: now, port: self.port, bytes, cause: Cause::from_raw(cause) });
                }
            }
        }
        taken
    }

    fn flush(&mut self, now: Nanos, pool: &mut PoolCache) {
        self.link.flush(now, pool);
    }

    fn held(&self) -> usize {
        self.link.held()
    }

    fn next_event(&self) -> Option<Nanos> {
        self.link.next_event()
    }
}

impl Device for StageDevice {
    fn kind(&self) -> &'static str {
        "replay"
    }

    fn describe(&self) -> String {
        "a capture on the virtual clock".to_owned()
    }

    fn link(&self) -> LinkState {
        *lock(&self.0)
    }
}

impl Stage {
    /// A switch of this configuration; the kinds of its ports do not matter.
    ///
    /// # Errors
    /// If there is no memory for the packet pool.
    pub fn new(config: &Config, seed: u64) -> io::Result<Stage> {
        let mempool = assembly::mempool(config)?;
        let record: Arc<Mutex<Record>> = Arc::default();
        let cause: Arc<AtomicU64> = Arc::default();
        let mut stage_ports = Vec::new();
        let (mut feeds, mut plugs) = (Vec::new(), Vec::new());
        for (index, port) in config.ports.iter().enumerate() {
            let feed: Arc<Feed> = Arc::default();
            let plug = Arc::new(Mutex::new(LinkState::Up));
            let causes: Arc<Mutex<VecDeque<u64>>> = Arc::default();
            let id = PortId(index as u8);
            let far = RecordTx { port: id, record: Arc::clone(&record), causes: Arc::clone(&causes) };
            let link = LinkTx::new(far, port.speed.bits_per_second(), port.queue, Nanos::ZERO);
            stage_ports.push(Port {
                rx: vec![Box::new(FeedRx(Arc::clone(&feed)))],
                tx: vec![Box::new(CauseTx { link, port: id, record: Arc::clone(&record), cause: Arc::clone(&cause), causes })],
                device: Box::new(StageDevice(Arc::clone(&plug))),
            });
            feeds.push(feed);
            plugs.push(plug);
        }
        let switch = assembly::build(config, stage_ports, &mempool, seed);
        let mut stage = Stage { switch, feeds, plugs, record, cause, now: Nanos::ZERO, fed: 0 };
        stage.settle_as(Cause::CONTROL);
        Ok(stage)
    }

    /// The time.
    pub fn now(&self) -> Nanos {
        self.now
    }

    /// Frames go in by `port`, now.
    pub fn feed(&mut self, port: PortId, frames: impl IntoIterator<Item = Vec<u8>>) {
        lock(&self.feeds[port.index()].queue).frames.extend(frames);
        self.feeds[port.index()].waiting.store(true, Ordering::Relaxed);
        self.switch.settle(self.now);
    }

    /// Pulls the cable of a port, or puts it back.
    pub fn plug(&mut self, port: PortId, state: LinkState) {
        *lock(&self.plugs[port.index()]) = state;
        self.switch.settle(self.now);
    }

    /// Lets time pass until `until`: what is due on the way happens when it is due.
    pub fn advance(&mut self, until: Nanos) {
        while let Some(next) = self.switch.next_event().filter(|&next| next <= until) {
            // An event that is due but finds its queue blocked must not stop the clock.
            self.now = next.max(self.now);
            self.settle_as(Cause::CONTROL);
            if self.switch.next_event() == Some(next) {
                break;
            }
        }
        self.now = until.max(self.now);
        self.settle_as(Cause::CONTROL);
    }

    /// Lets time pass until nothing is on its way any more.
    pub fn finish(&mut self) {
        while let Some(next) = self.switch.next_event() {
            self.advance(next);
        }
    }

    /// What has come out since the last call, in the order of time and ports.
    pub fn take_sent(&mut self) -> Vec<Departure> {
        let mut sent = std::mem::take(&mut lock(&self.record).sent);
        sent.sort_by_key(|departure| (departure.time, departure.port));
        sent
    }

    fn settle_as(&mut self, cause: Cause) {
        self.cause.store(cause.raw(), Ordering::Relaxed);
        self.switch.settle(self.now);
    }

    /// As [`advance`](Self::advance), without a stop at the end of each frame on a wire: links know by themselves when a frame's last
    /// bit is out, and nobody else asks. What is due of control or a bus happens when it is due.
    pub(super) fn skip_to(&mut self, until: Nanos) {
        if until <= self.now {
            return;
        }
        self.cause.store(Cause::CONTROL.raw(), Ordering::Relaxed);
        // Nor does a bus let frames go by itself.
        let due = |switch: &Switch| switch.control.next_event().into_iter().chain(switch.next_bus_event()).min();
        while let Some(next) = due(&self.switch).filter(|&next| next <= until) {
            self.now = next.max(self.now);
            self.turn_until_quiet(&mut ());
            if due(&self.switch) == Some(next) {
                break;
            }
        }
        self.now = until;
        self.turn_until_quiet(&mut ());
    }

    /// One frame goes in by `port`, now; it is the `number`th, from 1.
    pub(super) fn feed_one<O: Observer>(&mut self, port: PortId, frame: Vec<u8>, number: u64, observer: &mut O) {
        lock(&self.feeds[port.index()].queue).frames.push_back(frame);
        self.feeds[port.index()].waiting.store(true, Ordering::Relaxed);
        self.cause.store(Cause { frame: number, by_control: false }.raw(), Ordering::Relaxed);
        self.turn_until_quiet(observer);
        self.fed += 1;
        if self.fed.is_multiple_of(SWEEP_FRAMES) {
            let now = self.now;
            self.switch.workers.iter_mut().for_each(|worker| worker.housekeep(now));
        }
    }

    /// Polls workers until they have nothing to do, then control, and so on until that has nothing to do either. What is sent
    /// once control has done something is control's.
    fn turn_until_quiet<O: Observer>(&mut self, observer: &mut O) {
        let Stage { switch: Switch { workers, control }, now, cause, .. } = self;
        loop {
            while workers.iter_mut().map(|worker| worker.turn(*now, observer)).sum::<usize>() > 0 {}
            if control.poll(*now) == 0 {
                break;
            }
            cause.fetch_or(1, Ordering::Relaxed);
        }
    }

    /// Has the workers publish what they have counted.
    pub(super) fn publish(&mut self) {
        self.switch.workers.iter_mut().for_each(dataplane::Worker::publish);
    }

    /// Keeps what queues refuse from now on.
    pub(super) fn keep_refused(&mut self) {
        lock(&self.record).keeps_refused = true;
    }

    /// What queues have refused since the last call.
    pub(super) fn take_refused(&mut self) -> Vec<Departure> {
        std::mem::take(&mut lock(&self.record).refused)
    }

    /// What has come out since the last call, each port's in its order.
    pub(super) fn drain_sent(&mut self, mut each: impl FnMut(Departure)) {
        lock(&self.record).sent.drain(..).for_each(&mut each);
    }

    /// What each port has counted.
    pub fn counters(&self) -> Counters {
        let control = &self.switch.control;
        let summary = |(index, port): (usize, &control::config::PortConfig)| {
            let counters = control.port_counters(PortId(index as u8));
            let drops = DropReason::ALL.iter().map(|&reason| (reason.name().to_owned(), counters.dropped(reason)));
            let drops = drops.filter(|(_, count)| *count > 0).collect();
            (port.name.clone(), PortSummary { rx: counters.rx, tx: counters.tx, drops })
        };
        Counters { port: control.config().ports.iter().enumerate().map(summary).collect() }
    }
}
