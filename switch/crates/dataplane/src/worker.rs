//! A worker: one thread's share of the switch. It owns queues, runs bursts to completion, and waits for nobody.
//!
//! A turn ([`Worker::poll_once`]) reads the snapshot of tables once, takes a burst from each of its receive queues through
//! the pipeline, sends what other workers and control have for its transmit queues, and hands the ports' bursts to the queues.
//! Every [`HOUSEKEEPING_TURNS`] turns it sweeps a little of the FDB and publishes its counters.
//!
//! **Several workers.** A receive queue belongs to one worker, and so does a transmit queue; frames for a queue that another
//! worker owns cross over a ring. Each worker has an FDB of its own; what it learns it tells the others over rings, once a tick
//! per address at most, so that a lost message heals. Calls in the same order give the same tables on every worker.
//!
//! `now` is an argument: the thread loop asks the clock, once a turn; a simulation makes it up.

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use port::{BURST_MAX, Burst, Nanos, Port, PortId, RxDrops, RxQueue};
use port::{Mempool, PoolCache};
use sync::ring::{Consumer, Producer, ring};
use sync::snapshot::Reader;

use crate::bus::{Bus, BusSpec, PublishedBus, Sender};
use crate::counters::{PortCounters, PublishedCounters, WorkerCounters};
use crate::event::{Command, Crossing, Event, FdbUpdate, Punted};
use crate::fdb::{Fdb, Found, Key, Kind, Limits, Ticks};
use crate::learn::Updates;
use crate::pipeline::{self, Context, Notes, Observer, Phase};
use crate::police::{Policer, PublishedPairs};
use crate::steer::{PublishedSteering, Steerer};
use crate::tables::Tables;
use crate::transmit::{Output, Route, ToControl};
use crate::verdict::DropReason;

/// Turns between housekeeping.
pub const HOUSEKEEPING_TURNS: u64 = 256;
/// Buckets of the FDB swept at each housekeeping: few enough not to be felt.
const SWEEP_BUCKETS: usize = 256;
/// Entries sent to control at once while the FDB is shown.
const DUMP_BUCKETS: usize = 1024;
/// Frames and commands taken from each other worker or control in a turn.
const FROM_OTHERS_MAX: usize = 256;

/// Sizes of the data plane.
#[derive(Clone, Debug)]
pub struct Sizes {
    /// Workers, at least 1.
    pub workers: usize,
    /// Packets taken from a receive queue at once, 1 to [`BURST_MAX`].
    pub burst: usize,
    /// Limits of the FDB.
    pub fdb: Limits,
    /// Ageing time; 0 never ages.
    pub ageing: Nanos,
    /// Goes into the FDB's hash.
    pub seed: u64,
    /// Frames that wait for control, per worker.
    pub punt_ring: usize,
    /// Frames that wait to cross from one worker to another.
    pub cross_ring: usize,
    /// The buses that have an arbiter. No port is on two of them.
    pub buses: Vec<BusSpec>,
}

/// Control's ends of the rings of one worker.
#[derive(Debug)]
pub struct WorkerEnds {
    /// Frames for control.
    pub punts: Consumer<Punted>,
    /// News for control.
    pub events: Consumer<Event>,
    /// Commands to the worker.
    pub commands: Producer<Command>,
    /// What it counts.
    pub counters: Arc<PublishedCounters>,
    /// Ports whose transmit queue it owns.
    pub tx_ports: Vec<PortId>,
    /// What its steering counts.
    pub steering: Arc<PublishedSteering>,
    /// What it counts of rates between ports.
    pub pairs: Arc<PublishedPairs>,
    /// What the buses it owns count, each with its index in [`Sizes::buses`].
    pub buses: Vec<(usize, Arc<PublishedBus>)>,
}

struct RxSlot {
    port: PortId,
    queue: Box<dyn RxQueue>,
    /// What of the queue's own drops is in our counters.
    counted: RxDrops,
}

/// One thread's share of the switch.
pub struct Worker {
    tables: Reader<Tables>,
    pool: PoolCache,
    fdb: Fdb,
    ticks: Ticks,
    rx: Vec<RxSlot>,
    /// The first prime from the number of these on.
    rx_places: usize,
    output: Output,
    control: ToControl,
    commands: Consumer<Command>,
    crossings: Vec<Consumer<Crossing>>,
    updates_to: Vec<Producer<FdbUpdate>>,
    updates_from: Vec<Consumer<FdbUpdate>>,
    counters: Vec<PortCounters>,
    totals: WorkerCounters,
    published: Arc<PublishedCounters>,
    burst_size: usize,
    burst: Burst,
    notes: Notes,
    updates: Updates,
    steerer: Steerer,
    policer: Policer,
    /// The request under way and the next bucket to show.
    dump: Option<(u64, usize)>,
}

/// Workers for `ports`, and control's ends of their rings. Returns the ports' devices as well, in order.
///
/// Queue `q` of port `p` is received by worker `(p + q) mod workers`. A port with a transmit queue for each worker gives each
/// its own; otherwise worker `p mod workers` owns the first and the others cross over to it. The ports of bus `b` all belong to
/// worker `b mod workers`, since one has to decide for all of them.
///
/// # Panics
/// If there is no worker, no port, or the burst is out of range: the configuration is checked before.
pub fn build(
    sizes: &Sizes,
    ports: Vec<Port>,
    tables: &Reader<Tables>,
    pool: &Mempool,
) -> (Vec<Worker>, Vec<WorkerEnds>, Vec<Box<dyn port::Device>>) {
    assert!(sizes.workers > 0 && !ports.is_empty() && (1..=BURST_MAX).contains(&sizes.burst));
    let (count, port_count) = (sizes.workers, ports.len());
    // Ring from worker `a` to worker `b`, for each pair; with one worker there are none.
    let mut crossing_in: Vec<Vec<Consumer<Crossing>>> = (0..count).map(|_| Vec::new()).collect();
    let mut update_in: Vec<Vec<Consumer<FdbUpdate>>> = (0..count).map(|_| Vec::new()).collect();
    let bus_of = |port: usize| sizes.buses.iter().position(|bus| bus.ports.iter().any(|on_it| on_it.index() == port));
    let owner_of = |port: usize| bus_of(port).unwrap_or(port) % count;
    let (mut workers, mut ends) = (Vec::new(), Vec::new());
    for id in 0..count {
        let mut crossings = Vec::new();
        let mut updates_to = Vec::new();
        for to in (0..count).filter(|&to| to != id) {
            let (tx, rx) = ring(sizes.cross_ring);
            crossings.push(tx);
            crossing_in[to].push(rx);
            let (tx, rx) = ring(sizes.cross_ring * 4);
            updates_to.push(tx);
            update_in[to].push(rx);
        }
        let (punt_tx, punts) = ring(sizes.punt_ring);
        let (event_tx, events) = ring(sizes.punt_ring);
        let (commands_tx, commands) = ring(sizes.punt_ring);
        let published = Arc::new(PublishedCounters::new(port_count));
        let steerer = Steerer::new(sizes.seed);
        let steering = steerer.counters();
        let policer = Policer::new();
        let pairs = policer.counters();
        // Until a queue is its own, a port's frames go to the owner: its index among the others.
        let routes = (0..port_count).map(|port| Route::Worker(other_index(owner_of(port), id))).collect();
        workers.push(Worker {
            tables: tables.clone(),
            pool: pool.cache(),
            fdb: Fdb::new(sizes.fdb.clone(), Ticks::per_age(sizes.ageing), sizes.seed),
            ticks: Ticks::new(sizes.ageing),
            rx: Vec::new(),
            rx_places: 2,
            output: Output::new(routes, crossings),
            control: ToControl { punts: punt_tx, events: event_tx, events_lost: 0 },
            commands,
            crossings: Vec::new(),
            updates_to,
            updates_from: Vec::new(),
            counters: vec![PortCounters::default(); port_count],
            totals: WorkerCounters::default(),
            published: Arc::clone(&published),
            burst_size: sizes.burst,
            burst: Burst::new(),
            notes: Notes::new(),
            updates: Updates::new(),
            steerer,
            policer,
            dump: None,
        });
        ends.push(WorkerEnds {
            punts,
            events,
            commands: commands_tx,
            counters: published,
            tx_ports: Vec::new(),
            steering,
            pairs,
            buses: Vec::new(),
        });
    }
    for (worker, (crossings, updates)) in workers.iter_mut().zip(crossing_in.into_iter().zip(update_in)) {
        worker.crossings = crossings;
        worker.updates_from = updates;
    }
    let mut devices = Vec::new();
    for (index, port) in ports.into_iter().enumerate() {
        let id = PortId(index as u8);
        for (q, queue) in port.rx.into_iter().enumerate() {
            workers[(index + q) % count].rx.push(RxSlot { port: id, queue, counted: RxDrops::default() });
        }
        let each_its_own = port.tx.len() >= count && bus_of(index).is_none();
        for (q, queue) in port.tx.into_iter().enumerate() {
            let owner = if each_its_own { q } else { owner_of(index) };
            if owner < count && (each_its_own || q == 0) {
                workers[owner].output.routes[index] = Route::Queue(queue);
                ends[owner].tx_ports.push(id);
            }
        }
        devices.push(port.device);
    }
    for (index, spec) in sizes.buses.iter().enumerate() {
        let owner = index % count;
        for (id, worker) in workers.iter_mut().enumerate().filter(|(id, _)| *id != owner) {
            worker.output.set_bus_elsewhere(&spec.ports, other_index(owner, id));
        }
        let bus = Bus::new(spec);
        ends[owner].buses.push((index, bus.published()));
        workers[owner].output.add_bus(&spec.ports, bus);
    }
    for worker in &mut workers {
        worker.rx_places = first_prime_from(worker.rx.len());
    }
    (workers, ends, devices)
}

/// The first prime from `number` on, at least 2.
fn first_prime_from(number: usize) -> usize {
    (number.max(2)..).find(|&n| (2..n).all(|divisor| n % divisor != 0)).unwrap_or(number)
}

/// Where worker `owner` stands in a list of all workers but `id`.
fn other_index(owner: usize, id: usize) -> usize {
    if owner > id { owner - 1 } else { owner }
}

impl Worker {
    /// One turn at time `now`, and housekeeping when it is due. Returns how many frames came in or crossed over: 0 is an idle turn.
    #[inline]
    pub fn poll_once<O: Observer>(&mut self, now: Nanos, observer: &mut O) -> usize {
        let handled = self.turn(now, observer);
        if self.totals.turns.is_multiple_of(HOUSEKEEPING_TURNS) {
            self.housekeep(now);
        }
        handled
    }

    /// A turn without housekeeping, for who calls [`housekeep`](Self::housekeep) at times of its own. On the virtual clock that must
    /// not depend on the number of turns, which depends on the number of workers: when an aged entry is swept shows
    /// in who is learned next at a limit.
    #[inline]
    pub fn turn<O: Observer>(&mut self, now: Nanos, observer: &mut O) -> usize {
        let tick = self.ticks.at(now);
        self.fdb.advance(tick);
        let mut handled = self.receive(now, tick, observer);
        if !self.updates_from.is_empty() {
            handled += self.hear_others(now, tick);
        }
        if self.commands.available(1) > 0 {
            handled += self.obey(now, tick);
        }
        observer.begin();
        self.output.send_all(now, &mut self.pool, &mut self.counters);
        observer.end(Phase::Send, handled, &self.notes);
        self.totals.turns += 1;
        self.totals.idle_turns += (handled == 0) as u64;
        handled
    }

    #[inline]
    fn receive<O: Observer>(&mut self, now: Nanos, tick: u32, observer: &mut O) -> usize {
        let Worker {
            tables,
            pool,
            fdb,
            rx,
            rx_places,
            output,
            control,
            updates_to,
            counters,
            totals,
            burst_size,
            burst,
            notes,
            updates,
            steerer,
            policer,
            ..
        } = self;
        let tables: &Tables = tables.read();
        let mut handled = 0;
        // The queue that is first gets the last room of a port that is nearly full, and so does one behind an idle one; so where it begins and
        // in which steps it goes is drawn anew. From the time alone: the number of turns depends on the number of workers. Of a prime
        // number of places any step meets each once; those beyond the queues are empty.
        let places = *rx_places as u64;
        let drawn = now.0.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let step = 1 + (((drawn >> 32) * (places - 1)) >> 32) as usize;
        let mut next = (((drawn & 0xffff_ffff) * places) >> 32) as usize;
        for _ in 0..*rx_places {
            let place = next;
            next += step;
            next -= if next < *rx_places { 0 } else { *rx_places };
            let Some(slot) = rx.get_mut(place) else { continue };
            observer.begin();
            let count = slot.queue.rx_burst(now, pool, burst, *burst_size);
            observer.end(Phase::Receive, count, notes);
            if count == 0 {
                continue;
            }
            handled += count;
            let mut context = Context { tables, fdb, pool, output, control, counters, steerer, policer, updates, now, tick };
            pipeline::process(burst, slot.port, notes, &mut context, observer);
            if !updates.is_empty() {
                for to in updates_to.iter_mut() {
                    let mut updates = updates.clone();
                    to.push_bulk(&mut updates);
                    totals.updates_lost += updates.len() as u64;
                }
                updates.clear();
            }
        }
        handled
    }

    /// What the other workers learned, and frames they have for our queues.
    fn hear_others(&mut self, now: Nanos, tick: u32) -> usize {
        let mut handled = 0;
        for from in &mut self.updates_from {
            for _ in 0..FROM_OTHERS_MAX {
                let Some(update) = from.pop() else { break };
                // An older tick than the last is an old message; ours is the better guess. One ahead of ours is of a worker that
                // has read the clock later.
                self.fdb.learn(update.key, update.port, update.tick.max(tick.saturating_sub(1)).min(tick));
                handled += 1;
            }
        }
        for from in &mut self.crossings {
            for _ in 0..FROM_OTHERS_MAX {
                let Some(Crossing { packet, port, sender }) = from.pop() else { break };
                self.totals.crossed_in += 1;
                handled += 1;
                self.output.send_ready(sender, port, packet, now, &mut self.pool, &mut self.counters);
            }
        }
        handled
    }

    fn obey(&mut self, now: Nanos, tick: u32) -> usize {
        let mut handled = 0;
        for _ in 0..FROM_OTHERS_MAX {
            let Some(command) = self.commands.pop() else { break };
            handled += 1;
            match command {
                Command::Inject { port, packet } => {
                    self.counters[port.index()].injected += 1;
                    self.output.send_ready(Sender::Control, port, packet, now, &mut self.pool, &mut self.counters);
                }
                Command::FlushPort(port) => self.fdb.flush_port(port),
                Command::FlushVlan(vid) => self.fdb.flush_vlan(vid),
                Command::FlushAll => self.fdb.flush_all(),
                Command::SetEntry { key, port, kind } => {
                    self.fdb.set(key, port, kind, tick);
                }
                Command::RemoveEntry(key) => {
                    self.fdb.remove(key);
                }
                Command::Remember { key, port } => {
                    if self.fdb.lookup(key, tick).is_none_or(|found| found.port == port) {
                        self.fdb.learn(key, port, tick);
                    }
                }
                Command::Forget { key, port } => {
                    if self.fdb.lookup(key, tick) == Some(Found { port, kind: Kind::Dynamic }) {
                        self.fdb.remove(key);
                    }
                }
                Command::Tune { ageing, limits } => {
                    self.ticks.change(now, ageing);
                    self.fdb.set_age(Ticks::per_age(ageing));
                    self.fdb.set_limits(*limits);
                }
                Command::DumpFdb(request) => self.dump = Some((request, 0)),
            }
        }
        handled
    }

    /// Sweeps, shows, counts. Called every [`HOUSEKEEPING_TURNS`] turns; a simulation, and a thread before it sleeps or ends,
    /// call it themselves.
    pub fn housekeep(&mut self, now: Nanos) {
        let tick = self.ticks.at(now);
        self.fdb.sweep(tick, SWEEP_BUCKETS);
        if let Some((request, from)) = self.dump {
            let to = (from + DUMP_BUCKETS).min(self.fdb.buckets());
            let records = self.fdb.records(from..to, tick).collect();
            let last = to == self.fdb.buckets();
            match self.control.events.push(Event::FdbPart { request, records, last }) {
                Ok(()) => self.dump = (!last).then_some((request, to)),
                Err(_) => self.dump = Some((request, from)), // Control is behind: the same part again next time.
            }
        }
        self.publish();
    }

    /// Publishes the counters: the part of [`housekeep`](Self::housekeep) that changes nothing.
    pub fn publish(&mut self) {
        for slot in &mut self.rx {
            let drops = slot.queue.drops();
            if drops != slot.counted {
                let counters = &mut self.counters[slot.port.index()];
                counters.rx += drops.frames() - slot.counted.frames();
                counters.rx_bytes += drops.bytes - slot.counted.bytes;
                counters.drops[DropReason::Oversize as usize] += drops.oversize - slot.counted.oversize;
                counters.drops[DropReason::NoBuffer as usize] += drops.no_buffer - slot.counted.no_buffer;
                counters.drops[DropReason::Malformed as usize] += drops.malformed - slot.counted.malformed;
                slot.counted = drops;
            }
        }
        for (index, counters) in self.counters.iter_mut().enumerate() {
            counters.queued_out = self.output.queued(PortId(index as u8));
        }
        let fdb = self.fdb.counters();
        self.totals.crossed_out = self.output.crossed_out;
        self.totals.events_lost = self.control.events_lost;
        self.totals.fdb_entries = self.fdb.len() as u64;
        self.totals.fdb_learned = fdb.learned;
        self.totals.fdb_moved = fdb.moved;
        self.totals.fdb_aged = fdb.aged;
        self.totals.fdb_evicted = fdb.evicted;
        self.totals.fdb_refused = fdb.refused;
        self.output.buses().iter().for_each(Bus::publish);
        self.published.store(&self.counters, &self.totals);
    }

    /// Learns these addresses before the first turn: what another switch had learned, as if it had just been seen.
    pub fn remember(&mut self, entries: &[(Key, PortId)]) {
        for &(key, port) in entries {
            self.fdb.learn(key, port, 0);
        }
    }

    /// The FDB is being shown to control, a part at each housekeeping.
    pub fn is_showing(&self) -> bool {
        self.dump.is_some()
    }

    /// When, on a virtual clock, a queue of this worker has something to do.
    pub fn next_event(&self) -> Option<Nanos> {
        let rx = self.rx.iter().filter_map(|slot| slot.queue.next_event());
        let tx = self.output.routes.iter().filter_map(|route| match route {
            Route::Queue(queue) => queue.next_event(),
            Route::Worker(_) => None,
        });
        rx.chain(tx).chain(self.next_bus_event()).min()
    }

    /// When a bus of this worker lets the next frame go: whoever lets the worker sleep has to wake it before.
    pub fn next_bus_event(&self) -> Option<Nanos> {
        self.output.next_bus_event()
    }

    /// Hands over all frames that wait for a bus, at once. For the end: nobody will turn when their time has come.
    pub fn release_buses(&mut self, now: Nanos) {
        self.output.release_buses(now, &mut self.pool, &mut self.counters);
    }

    /// Frames and news this worker has ever given to control, wrapping: a thread loop compares, and wakes control.
    pub fn told_control(&self) -> usize {
        self.control.punts.pushed().wrapping_add(self.control.events.pushed())
    }

    /// Frames this worker has ever given to others: a thread loop compares, and wakes them.
    pub fn crossed_out(&self) -> u64 {
        self.output.crossed_out
    }

    /// Packets its transmit queues have accepted and not yet sent, and those that wait for its buses: the worker must turn for them
    /// to go.
    pub fn held(&self) -> usize {
        let queues = self.output.routes.iter().map(|route| match route {
            Route::Queue(queue) => queue.held(),
            Route::Worker(_) => 0,
        });
        queues.sum::<usize>() + self.output.held_by_buses()
    }

    /// For each of its receive queues the descriptor to sleep on, if it has one.
    pub fn poll_fds(&self) -> impl Iterator<Item = Option<BorrowedFd<'_>>> {
        self.rx.iter().map(|slot| slot.queue.poll_fd())
    }

    /// Gives unused buffers back to the pool, so that it can be counted.
    pub fn flush_pool(&mut self) {
        self.pool.flush();
    }
}
