//! Transmitting: frames into the ports' bursts, copies for flooding and for control, and the bursts into the queues.
//!
//! A flooded frame is shared by all ports that send it alike; for those that want another tag there is one copy, shared as well.
//! A queue that is full refuses, and what it refuses is dropped and counted here: latency is worse than loss inside a switch.
//!
//! Frames for the ports of a backplane whose bus has an arbiter wait for it first (see [`crate::bus`]), at the worker that owns the bus;
//! others hand them over to it. Without such a bus all of that is one question for each burst.

use arrayvec::ArrayVec;
use port::{BURST_MAX, Burst, Nanos, Packet, PoolCache, PortId, Refusal, TxQueue};
use sync::ring::Producer;

use crate::admit::TagState;
use crate::bus::{Bus, Sender};
use crate::counters::PortCounters;
use crate::event::{Crossing, Event, Punted};
use crate::pipeline::{Context, Notes};
use crate::rewrite::retag;
use crate::verdict::{DropReason, PuntReason, Verdict};

/// The rings to control.
pub struct ToControl {
    /// Frames.
    pub punts: Producer<Punted>,
    /// News.
    pub events: Producer<Event>,
    /// Events that found the ring full.
    pub events_lost: u64,
}

/// How frames for a port leave this worker.
pub enum Route {
    /// By a transmit queue of its own.
    Queue(Box<dyn TxQueue>),
    /// By the worker that owns the port's transmit queue: index into [`Output::crossings`].
    Worker(usize),
}

/// A port's burst.
#[derive(Debug, Default)]
pub struct TxBurst {
    /// What waits for the end of the turn.
    packets: Burst,
    /// Packets the pipeline has ever put here.
    pub queued: u64,
}

/// The ports' bursts, and where they go.
pub struct Output {
    /// By port id; as long as a port id can be large, so that no push needs a bounds check.
    bursts: Box<[TxBurst; 256]>,
    /// By port id.
    pub routes: Vec<Route>,
    /// Rings to the other workers.
    pub crossings: Vec<Producer<Crossing>>,
    /// Frames given to other workers.
    pub crossed_out: u64,
    /// The buses with an arbiter, if there are any.
    buses: Option<Box<Buses>>,
}

/// The buses with an arbiter, as a worker sees them.
struct Buses {
    /// By port id.
    ways: [BusWay; 256],
    /// Those this worker owns.
    own: Vec<Bus>,
}

/// What is before a port's transmit queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BusWay {
    /// Nothing.
    None,
    /// A bus of this worker: index into [`Buses::own`].
    Own(usize),
    /// A bus of another worker: index into [`Output::crossings`].
    Worker(usize),
}

impl Output {
    /// Empty bursts for the ports of these routes.
    pub fn new(routes: Vec<Route>, crossings: Vec<Producer<Crossing>>) -> Output {
        let bursts: Vec<TxBurst> = (0..256).map(|_| TxBurst::default()).collect();
        let Ok(bursts) = Box::<[TxBurst; 256]>::try_from(bursts.into_boxed_slice()) else { unreachable!("there are 256") };
        Output { bursts, routes, crossings, crossed_out: 0, buses: None }
    }

    /// Frames for `ports` go to the worker that owns their bus, from now on: index into [`Output::crossings`].
    pub fn set_bus_elsewhere(&mut self, ports: &[PortId], worker: usize) {
        let buses = self.buses_mut();
        ports.iter().for_each(|port| buses.ways[port.index()] = BusWay::Worker(worker));
    }

    /// Frames for `ports` wait for this bus, from now on.
    pub fn add_bus(&mut self, ports: &[PortId], bus: Bus) {
        let buses = self.buses_mut();
        ports.iter().for_each(|port| buses.ways[port.index()] = BusWay::Own(buses.own.len()));
        buses.own.push(bus);
    }

    fn buses_mut(&mut self) -> &mut Buses {
        self.buses.get_or_insert_with(|| Box::new(Buses { ways: [BusWay::None; 256], own: Vec::new() }))
    }

    /// The buses this worker owns.
    pub fn buses(&self) -> &[Bus] {
        self.buses.as_ref().map_or(&[], |buses| &buses.own)
    }

    /// Packets the pipeline has put in the burst of `port` since the start.
    pub fn queued(&self, port: PortId) -> u64 {
        self.bursts[port.index()].queued
    }

    /// Puts a frame from the pipeline into a port's burst.
    #[inline(always)]
    fn push(&mut self, port: PortId, packet: Packet, now: Nanos, pool: &mut PoolCache, counters: &mut [PortCounters]) {
        let burst = &mut self.bursts[port.index()];
        burst.queued += 1;
        if let Err(full) = burst.packets.try_push(packet) {
            self.push_full(port, full.element(), now, pool, counters);
        }
    }

    /// A burst that is full goes first.
    #[inline(never)]
    fn push_full(&mut self, port: PortId, packet: Packet, now: Nanos, pool: &mut PoolCache, counters: &mut [PortCounters]) {
        self.send_port(port, now, pool, counters);
        // `send_port` has emptied it. (A push without room panics; it never loses a packet.)
        self.bursts[port.index()].packets.push(packet);
    }

    /// Puts a frame from the pipeline that came in by `ingress` where it waits for its turn: the port's bus, or its burst.
    fn place(&mut self, ingress: PortId, port: PortId, packet: Packet, now: Nanos, pool: &mut PoolCache, counters: &mut [PortCounters]) {
        if self.buses.is_none() {
            return self.push(port, packet, now, pool, counters);
        }
        self.bursts[port.index()].queued += 1;
        self.send_ready(Sender::Port(ingress), port, packet, now, pool, counters);
    }

    /// Hands a port's burst to its queue. What the queue refuses is dropped.
    #[inline]
    pub fn send_port(&mut self, port: PortId, now: Nanos, pool: &mut PoolCache, counters: &mut [PortCounters]) {
        let pending = &mut self.bursts[port.index()].packets;
        if pending.is_empty() {
            return;
        }
        match &mut self.routes[port.index()] {
            Route::Queue(queue) => {
                let bytes: u64 = pending.iter().map(|packet| packet.len() as u64).sum();
                let taken = queue.tx_burst(now, pool, pending);
                let counters = &mut counters[port.index()];
                counters.tx += taken as u64;
                counters.tx_bytes += bytes;
                if !pending.is_empty() {
                    refused(queue.as_mut(), now, pool, pending, counters);
                }
            }
            Route::Worker(worker) => {
                let mut crossing: ArrayVec<Crossing, BURST_MAX> =
                    pending.drain(..).map(|packet| Crossing { packet, port, sender: Sender::Control }).collect(); // No bus asks who sent it.
                self.crossed_out += self.crossings[*worker].push_bulk(&mut crossing) as u64;
                counters[port.index()].drops[DropReason::CrossFull as usize] += crossing.len() as u64;
                for Crossing { packet, .. } in crossing {
                    pool.free(packet);
                }
            }
        }
    }

    /// Hands every burst to its queue and lets the queues do what they do at the end of a turn.
    #[inline]
    pub fn send_all(&mut self, now: Nanos, pool: &mut PoolCache, counters: &mut [PortCounters]) {
        if self.buses.is_some() {
            self.run_buses(now, pool, counters);
        }
        for port in 0..self.routes.len() {
            self.send_port(PortId(port as u8), now, pool, counters);
            if let Route::Queue(queue) = &mut self.routes[port] {
                queue.flush(now, pool);
            }
        }
    }

    /// A frame that is ready to be sent: from control, from another worker, or for a bus.
    pub fn send_ready(
        &mut self,
        sender: Sender,
        port: PortId,
        packet: Packet,
        now: Nanos,
        pool: &mut PoolCache,
        counters: &mut [PortCounters],
    ) {
        let way = self.buses.as_ref().map_or(BusWay::None, |buses| buses.ways[port.index()]);
        let counters_of_port = &mut counters[port.index()];
        match (way, &mut self.buses) {
            (BusWay::Own(bus), Some(buses)) => match buses.own[bus].enqueue(sender, port, packet, now, pool) {
                Ok(()) => counters_of_port.held += 1,
                Err((reason, packet)) => {
                    counters_of_port.drops[reason as usize] += 1;
                    pool.free(packet);
                }
            },
            (BusWay::Worker(worker), _) => match self.crossings[worker].push(Crossing { packet, port, sender }) {
                Ok(()) => self.crossed_out += 1,
                Err(Crossing { packet, .. }) => {
                    counters_of_port.drops[DropReason::CrossFull as usize] += 1;
                    pool.free(packet);
                }
            },
            (BusWay::None | BusWay::Own(_), _) => {
                if let Err(full) = self.bursts[port.index()].packets.try_push(packet) {
                    self.push_full(port, full.element(), now, pool, counters);
                }
            }
        }
    }

    /// What has crossed a bus by `now` goes into the ports' bursts.
    #[inline(never)]
    fn run_buses(&mut self, now: Nanos, pool: &mut PoolCache, counters: &mut [PortCounters]) {
        self.with_buses(|output, bus| bus.run(now, pool, &mut |port, packet, pool| output.crossed_bus(port, packet, now, pool, counters)));
    }

    /// All that waits for a bus goes into the ports' bursts at once, and these to their queues: the switch ends.
    pub fn release_buses(&mut self, now: Nanos, pool: &mut PoolCache, counters: &mut [PortCounters]) {
        self.with_buses(|output, bus| bus.release(pool, &mut |port, packet, pool| output.crossed_bus(port, packet, now, pool, counters)));
        self.send_all(now, pool, counters);
    }

    fn crossed_bus(&mut self, port: PortId, packet: Packet, now: Nanos, pool: &mut PoolCache, counters: &mut [PortCounters]) {
        counters[port.index()].held -= 1;
        if let Err(full) = self.bursts[port.index()].packets.try_push(packet) {
            self.push_full(port, full.element(), now, pool, counters);
        }
    }

    fn with_buses(&mut self, mut each: impl FnMut(&mut Output, &mut Bus)) {
        if let Some(mut buses) = self.buses.take() {
            buses.own.iter_mut().for_each(|bus| each(self, bus));
            self.buses = Some(buses);
        }
    }

    /// When one of this worker's buses has something to do.
    pub fn next_bus_event(&self) -> Option<Nanos> {
        self.buses().iter().filter_map(Bus::next_event).min()
    }

    /// Frames that wait for this worker's buses.
    pub fn held_by_buses(&self) -> usize {
        self.buses().iter().map(Bus::held).sum()
    }
}

/// Drops what a queue has refused, for the reason it gives. Of packets that are too long each is dropped alone, and the queue is
/// asked again for those behind it.
#[cold]
fn refused(queue: &mut dyn TxQueue, now: Nanos, pool: &mut PoolCache, pending: &mut Burst, counters: &mut PortCounters) {
    while !pending.is_empty() {
        let (reason, count) = match queue.refusal() {
            Refusal::Full => (DropReason::TxFull, pending.len()),
            Refusal::Down => (DropReason::TxDown, pending.len()),
            Refusal::Oversize => (DropReason::TxOversize, 1),
        };
        counters.drops[reason as usize] += count as u64;
        for packet in pending.drain(..count) {
            counters.tx_bytes -= packet.len() as u64;
            pool.free(packet);
        }
        if !pending.is_empty() {
            counters.tx += queue.tx_burst(now, pool, pending) as u64;
        }
    }
}

/// Moves every packet of `burst` to where its verdict says.
#[inline]
pub fn transmit(burst: &mut Burst, ingress: PortId, notes: &mut Notes, context: &mut Context<'_>) {
    if !notes.control_copies.is_empty() {
        copy_to_control(burst, ingress, notes, context);
    }
    if context.output.buses.is_none() {
        distribute::<false>(burst, ingress, notes, context);
    } else {
        distribute_by_bus(burst, ingress, notes, context);
    }
}

/// With a bus before some of the ports: not inlined, so that it is not in the way of who has none.
#[inline(never)]
fn distribute_by_bus(burst: &mut Burst, ingress: PortId, notes: &mut Notes, context: &mut Context<'_>) {
    distribute::<true>(burst, ingress, notes, context);
}

#[inline(always)]
fn distribute<const BUS: bool>(burst: &mut Burst, ingress: PortId, notes: &mut Notes, context: &mut Context<'_>) {
    let mut queued = 0;
    for (i, packet) in burst.drain(..).enumerate() {
        match notes.packets[i].verdict {
            Some(Verdict::Forward(port)) => {
                queued += 1;
                if BUS {
                    context.output.place(ingress, port, packet, context.now, context.pool, context.counters);
                } else {
                    context.output.push(port, packet, context.now, context.pool, context.counters);
                }
            }
            Some(Verdict::Flood) => flood(packet, i, ingress, notes, context),
            Some(Verdict::Punt(reason)) => punt(packet, i, ingress, reason, notes, context),
            Some(Verdict::Drop(reason)) => {
                context.counters[ingress.index()].drops[reason as usize] += 1;
                context.pool.free(packet);
            }
            None => unreachable!("resolve gives every packet a verdict"),
        }
    }
    context.counters[ingress.index()].queued_in += queued;
}

/// Everybody else in the VLAN gets the frame.
#[inline(never)]
fn flood(packet: Packet, i: usize, ingress: PortId, notes: &Notes, context: &mut Context<'_>) {
    let admitted = notes.packets[i].admitted;
    let vlan = &context.tables.vlans[admitted.vlan as usize];
    let unknown_unicast = notes.packets[i].headers.dst & 1 == 0;
    let spared = if unknown_unicast { vlan.no_unknown_unicast } else { 0 } | 1 << ingress.index();
    let reaches = |ports: &[PortId]| ports.iter().filter(|port| spared & 1 << port.index() == 0).count();
    let (untagged, tagged) = (reaches(&vlan.flood_untagged), reaches(&vlan.flood_tagged));
    let counters = &mut context.counters[ingress.index()];
    if untagged + tagged == 0 {
        counters.drops[DropReason::NoMember as usize] += 1;
        context.pool.free(packet);
        return;
    }
    counters.copies += (untagged + tagged) as u64 - 1;

    // Ports that send the frame as it came (but for a priority tag) share it; the others share a copy.
    let as_it_came = admitted.tag == TagState::Tagged;
    let (same, other) = if as_it_came { (tagged, untagged) } else { (untagged, tagged) };
    let copy = match (same, other) {
        (_, 0) => None,
        (0, _) => Some(None), // The original itself is changed.
        _ => Some(context.pool.copy(&packet)),
    };
    let (original, changed) = match copy {
        None => (Some(packet), None),
        Some(None) if same == 0 => (None, Some(packet)),
        Some(copy) => (Some(packet), copy),
    };
    if let Some(mut packet) = original {
        // A priority tag goes: nobody else holds the original, so there is nothing to be copied for that.
        if retag(context.pool, &mut packet, admitted.tag, as_it_came, vlan.vid) {
            spread(packet, as_it_came, same, spared, ingress, admitted.vlan as usize, context);
        } else {
            context.pool.free(packet);
            context.counters[ingress.index()].drops[DropReason::NoBuffer as usize] += same as u64;
        }
    }
    if other > 0 {
        let ready = changed.and_then(|mut packet| {
            if retag(context.pool, &mut packet, admitted.tag, !as_it_came, vlan.vid) {
                Some(packet)
            } else {
                context.pool.free(packet);
                None
            }
        });
        match ready {
            Some(packet) => spread(packet, !as_it_came, other, spared, ingress, admitted.vlan as usize, context),
            None => context.counters[ingress.index()].drops[DropReason::NoBuffer as usize] += other as u64,
        }
    }
}

/// One frame to `count` ports of the VLAN, those that send it tagged or those that do not.
fn spread(packet: Packet, tagged: bool, count: usize, spared: u128, ingress: PortId, vlan: usize, context: &mut Context<'_>) {
    let vlan = &context.tables.vlans[vlan];
    let ports = if tagged { &vlan.flood_tagged } else { &vlan.flood_untagged };
    let mut left = count;
    let mut packet = Some(packet);
    for &port in ports.iter().filter(|port| spared & 1 << port.index() == 0) {
        left -= 1;
        let handle = match &mut packet {
            Some(packet) if left > 0 => context.pool.share(packet),
            _ => match packet.take() {
                Some(packet) => packet,
                None => unreachable!("count is the number of ports that are not spared"),
            },
        };
        context.output.place(ingress, port, handle, context.now, context.pool, context.counters);
    }
    context.counters[ingress.index()].queued_in += count as u64;
}

/// Control gets the frame.
fn punt(packet: Packet, i: usize, ingress: PortId, reason: PuntReason, notes: &Notes, context: &mut Context<'_>) {
    let vid = context.tables.vlans[notes.packets[i].admitted.vlan as usize].vid;
    let counters = &mut context.counters[ingress.index()];
    match context.control.punts.push(Punted { packet, port: ingress, vid, reason }) {
        Ok(()) => counters.punted += 1,
        Err(refused) => {
            counters.drops[DropReason::PuntFull as usize] += 1;
            context.pool.free(refused.packet);
        }
    }
}

/// Control gets copies of the frames it wants to learn from; they go on as well.
#[inline(never)]
fn copy_to_control(burst: &Burst, ingress: PortId, notes: &mut Notes, context: &mut Context<'_>) {
    for (i, reason) in std::mem::take(&mut notes.control_copies) {
        context.counters[ingress.index()].copies += 1;
        match context.pool.copy(&burst[i as usize]) {
            Some(copy) => punt(copy, i as usize, ingress, reason, notes, context),
            None => context.counters[ingress.index()].drops[DropReason::NoBuffer as usize] += 1,
        }
    }
}
