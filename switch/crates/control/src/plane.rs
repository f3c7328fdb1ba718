//! Control: what is not per packet. It publishes tables, hears what workers punt and tell, answers ARP and neighbour
//! discovery for addresses it knows, keeps the identities of the blades and advertises them, and sends notices.
//!
//! It has no thread and no clock of its own: [`Control::poll`] does what there is to do at `now`. In real time a thread
//! calls it when a worker has told it something and from time to time, on the virtual clock the simulation does, after each step.
//!
//! Everything it sends goes through [`Control::inject`], so that the ledger knows of it.

use std::sync::Arc;

use dataplane::bus::PublishedBus;
use dataplane::counters::{Ledger, PortCounters, PublishedPhases, WorkerCounters};
use dataplane::event::{Command, Event, Punted};
use dataplane::fdb::{self, Kind, Record};
use dataplane::tables::Tables;
use dataplane::verdict::PuntReason;
use dataplane::worker::WorkerEnds;
use port::{Device, LinkState, Mempool, Nanos, PoolCache, PortId};
use sync::snapshot::{Publisher, Reader};
use wire::arp::{Arp, Operation};
use wire::dhcp::{self, Dhcp};
use wire::ethernet::{self, EtherType, Frame, Tag};
use wire::ip::Ipv6;
use wire::message::{self, Final, Message, MessageType, Notice, NoticeReason};
use wire::nd::{NdMessage, NeighborDiscovery};
use wire::{MacAddr, Tci, Vid};

use crate::agents::Agents;
use crate::config::{Config, FdbTarget, Role};
use crate::identity::Identities;
use crate::joined::Joined;
use crate::neighbor::{Heard, NeighborTable};
use crate::probe::Probes;
use crate::rate::RateLimit;
use crate::rates::Rates;
use crate::steering::Functions;
use crate::tables;

use standins::Standins;
pub use standins::{Cause, Handover};

mod across;
mod blades;
mod joined;
mod probes;
mod rates;
mod reload;
mod slots;
pub mod standby;
mod standins;
mod steering;

pub use reload::{Loaded, ReloadError};

/// After a change of identities: how long to wait for further ones before they are advertised.
const ADVERTISE_DELAY: Nanos = Nanos::from_millis(10);
/// Moves of addresses kept for `show`.
const MOVES_KEPT: usize = 64;

/// What control itself counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ControlCounters {
    /// ARP requests answered.
    pub arp_answered: u64,
    /// Neighbour solicitations answered.
    pub nd_answered: u64,
    /// Notices sent to sources of messages without a known final destination.
    pub notices: u64,
    /// Notices not sent because there were too many.
    pub notices_limited: u64,
    /// Advertise messages sent.
    pub advertised: u64,
    /// Frames that could not be handed to a worker: its ring was full, or there was no buffer.
    pub inject_lost: u64,
    /// Neighbours not learned because the table was full.
    pub neighbors_refused: u64,
    /// Address moves seen.
    pub moves: u64,
    /// Identities that a standby blade has taken.
    pub identities_taken: u64,
    /// Identities that a standby blade has given back.
    pub identities_returned: u64,
    /// Questions of probes sent.
    pub probes: u64,
    /// Tables published.
    pub published: u64,
    /// Configurations loaded while the switch ran.
    pub reloads: u64,
    /// Of these, rolled back because nobody confirmed them.
    pub unconfirmed: u64,
}

/// An address that moved.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Move {
    /// When, in nanoseconds since the start.
    pub time_ns: u64,
    /// VLAN.
    pub vlan: Vid,
    /// Address.
    pub mac: MacAddr,
    /// Name of the port it was behind.
    pub from: String,
    /// Name of the port it is behind.
    pub to: String,
}

/// A request to see the FDB, under way.
#[derive(Debug)]
struct FdbShow {
    request: u64,
    records: Vec<Record>,
    done: bool,
}

/// Called with the index of a worker that has got a command: it may be asleep.
pub type WakeWorker = Box<dyn Fn(usize) + Send>;

/// The control plane of one switch.
pub struct Control {
    config: Config,
    tables: Publisher<Tables>,
    workers: Vec<WorkerEnds>,
    phases: Vec<Arc<PublishedPhases>>,
    /// Of each worker: its thread has told that its system calls are filtered.
    confined: Vec<bool>,
    /// Those with an arbiter, in the order of their backplanes.
    buses: Vec<Arc<PublishedBus>>,
    devices: Vec<Box<dyn Device>>,
    links: Vec<LinkState>,
    mempool: Mempool,
    pool: PoolCache,
    neighbors: NeighborTable,
    identities: Identities,
    agents: Agents,
    joined: Option<Joined>,
    across: across::Across,
    functions: Functions,
    rates: Rates,
    standins: Standins,
    probes: Probes,
    advertise_at: Option<Nanos>,
    notice_limit: RateLimit,
    move_limit: RateLimit,
    moves: std::collections::VecDeque<Move>,
    fdb_show: Option<FdbShow>,
    loaded: Loaded,
    orders: reload::Orders,
    requests: u64,
    counters: ControlCounters,
    wake_worker: Option<WakeWorker>,
    /// Neighbours or links have changed since the tables were published.
    stale: bool,
    now: Nanos,
}

impl Control {
    /// The tables to begin with: the workers are built around a reader of them.
    pub fn first_tables(config: &Config, devices_up: &[LinkState]) -> Publisher<Tables> {
        let neighbors = static_neighbors(config);
        let mut tables = tables::build(config, devices_up, closed_at_first(config), neighbors.publish());
        tables.steering = Functions::new(Vec::new()).build(config, devices_up, None, None);
        tables.rates = Rates::default().build(config);
        Publisher::new(tables)
    }

    /// Control over `workers`, which read `tables`. `links` are those the first tables were made with: what has changed since is seen, and
    /// published, at the first look.
    pub fn new(
        config: Config,
        tables: Publisher<Tables>,
        links: Vec<LinkState>,
        workers: Vec<WorkerEnds>,
        devices: Vec<Box<dyn Device>>,
        mempool: Mempool,
    ) -> Control {
        let mut buses: Vec<_> = workers.iter().flat_map(|worker| worker.buses.iter().cloned()).collect();
        buses.sort_by_key(|(index, _)| *index);
        let neighbors = static_neighbors(&config);
        let identities = Identities::from_config(&config);
        let mut functions = Functions::new(workers.iter().map(|worker| Arc::clone(&worker.steering)).collect());
        // The same as in the first tables: who has which number depends on the configuration alone.
        let mut rates = Rates::new(workers.iter().map(|worker| Arc::clone(&worker.pairs)).collect());
        rates.build(&config);
        functions.build(&config, &links, None, None);
        let mut control = Control {
            notice_limit: RateLimit::new(config.lanes.notices_per_s),
            move_limit: RateLimit::new(config.fdb.move_events_per_s),
            buses: buses.into_iter().map(|(_, bus)| bus).collect(),
            confined: vec![false; workers.len()],
            phases: workers.iter().map(|_| Arc::new(PublishedPhases::new())).collect(),
            links,
            functions,
            rates,
            standins: Standins::default(),
            probes: Probes::default(),
            pool: mempool.cache(),
            joined: config.joined.as_ref().map(|joined| Joined::new(joined, 0)),
            across: across::Across::default(),
            agents: Agents::new(config.agents.clone(), config.switch.mac),
            advertise_at: (config.identity.advertise && !identities.is_empty()).then_some(Nanos::ZERO),
            config,
            tables,
            workers,
            devices,
            mempool,
            neighbors,
            identities,
            moves: std::collections::VecDeque::new(),
            fdb_show: None,
            loaded: Loaded::default(),
            orders: reload::Orders::new(),
            requests: 0,
            counters: ControlCounters::default(),
            wake_worker: None,
            stale: false,
            now: Nanos::ZERO,
        };
        control.probes.follow(probes::wanted(&control.config, &control.agents));
        control.follow_standins();
        control.send_orders();
        for entry in control.config.fdb_entries.clone() {
            let (port, kind) = match entry.target {
                FdbTarget::Port(port) => (port, Kind::Static),
                FdbTarget::Blackhole => (PortId(0), Kind::Blackhole),
            };
            control.command_all(|| Command::SetEntry { key: fdb::key(entry.vid, entry.mac), port, kind });
        }
        control
    }

    /// Does what there is to do at `now`; returns how much that was.
    pub fn poll(&mut self, now: Nanos) -> usize {
        self.now = now;
        let mut done = 0;
        for worker in 0..self.workers.len() {
            while let Some(punted) = self.workers[worker].punts.pop() {
                self.take(&punted);
                self.pool.free(punted.packet);
                done += 1;
            }
            while let Some(event) = self.workers[worker].events.pop() {
                self.hear(event);
                done += 1;
            }
        }
        self.watch_links();
        if self.neighbors.age(now) {
            self.stale = true;
            self.identities_changed();
        }
        done += self.poll_agents();
        done += self.poll_joined() + self.poll_probes();
        done += self.poll_reload() + self.follow_standins() + self.send_orders();
        if self.stale {
            self.publish();
            done += 1;
        }
        if self.advertise_at.is_some_and(|at| at <= now) {
            self.advertise_at = None;
            self.advertise();
            done += 1;
        }
        self.counters.neighbors_refused = self.neighbors.refused;
        self.tables.collect();
        done
    }

    /// Whom to tell that a worker has got a command. Without, the workers find out by themselves at their next turn.
    pub fn on_command(&mut self, wake_worker: WakeWorker) {
        self.wake_worker = Some(wake_worker);
    }

    /// Gives a worker a command, or gives it back if the ring is full.
    fn command(&mut self, worker: usize, command: Command) -> Result<(), Command> {
        self.workers[worker].commands.push(command)?;
        if let Some(wake_worker) = &self.wake_worker {
            wake_worker(worker);
        }
        Ok(())
    }

    /// When, on a virtual clock, there is something to do that nobody asks for.
    pub fn next_event(&self) -> Option<Nanos> {
        let joined = self.joined.as_ref().and_then(Joined::poll_timeout);
        self.advertise_at
            .into_iter()
            .chain(self.agents.poll_timeout())
            .chain(joined)
            .chain(self.across_timeout())
            .chain(self.loaded.confirm_by)
            .chain(self.probes.poll_timeout())
            .min()
    }

    /// Another reading end of the tables.
    pub fn reader(&self) -> Reader<Tables> {
        self.tables.reader()
    }

    fn publish(&mut self) {
        self.stale = false;
        self.across.roster_stale = true;
        self.counters.published += 1;
        let neighbors = self.neighbors_with_others();
        self.probes.follow(probes::wanted(&self.config, &self.agents));
        let mut tables = tables::build(&self.config, &self.links, self.joined.as_ref().map_or(0, Joined::closed), neighbors);
        tables.steering = self.functions.build(&self.config, &self.links, Some(&self.agents), Some(&self.probes));
        tables.rates = self.rates.build(&self.config);
        self.tables.publish(tables);
    }

    fn watch_links(&mut self) {
        for index in 0..self.devices.len() {
            self.devices[index].maintain(self.now);
            let link = self.devices[index].link();
            if link == self.links[index] {
                continue;
            }
            self.links[index] = link;
            self.stale = true;
            let port = PortId(index as u8);
            tracing::info!(port = self.config.ports[index].name, ?link, "link changed");
            if link == LinkState::Down {
                self.forget_behind(port);
            }
        }
    }

    /// A frame that a worker sent us.
    fn take(&mut self, punted: &Punted) {
        let mut bytes = Vec::with_capacity(punted.packet.len());
        self.pool.copy_to(&punted.packet, &mut bytes);
        let Some(frame) = Frame::new_checked(&bytes) else { return };
        match punted.reason {
            PuntReason::ArpLearn | PuntReason::ArpAnswer => self.take_arp(punted, &frame),
            PuntReason::NdLearn | PuntReason::NdAnswer => self.take_nd(punted, &frame),
            PuntReason::DhcpLearn => self.take_dhcp(punted, &frame),
            PuntReason::Message => self.take_message(punted, &frame),
            PuntReason::Chassis => self.take_chassis(punted.port, frame.src(), frame.payload()),
        }
    }

    fn take_arp(&mut self, punted: &Punted, frame: &Frame<'_>) {
        let Some(arp) = Arp::parse(frame.payload()) else { return };
        self.hear_probed(punted.port, &arp, frame);
        // The sender is believed if it speaks for itself; 0.0.0.0 is a probe (RFC 5227 §1.1) and tells nothing.
        if !arp.sender_ip.is_unspecified() && arp.sender_mac == frame.src() {
            self.learn_neighbor(punted, arp.sender_ip.into(), arp.sender_mac, false);
        }
        if punted.reason == PuntReason::ArpAnswer && arp.operation == Operation::Request {
            let Some((mac, _)) = self.neighbor_anywhere(punted.vid, arp.target_ip.into()) else { return };
            self.send(punted.port, punted.vid, arp.sender_mac, mac, EtherType::ARP, &arp.reply(mac).emit());
            self.counters.arp_answered += 1;
        }
    }

    fn take_nd(&mut self, punted: &Punted, frame: &Frame<'_>) {
        let Some(discovery) = Ipv6::new_checked(frame.payload()).and_then(|packet| NeighborDiscovery::parse(&packet)) else { return };
        if let Some((ip, mac)) = discovery.binding()
            && !ip.is_unspecified()
            && !ip.is_multicast()
            && mac == frame.src()
        {
            let router = match discovery.message {
                NdMessage::RouterAdvertisement { .. } => true,
                NdMessage::NeighborAdvertisement(advertisement) => advertisement.router,
                NdMessage::RouterSolicitation { .. } | NdMessage::NeighborSolicitation { .. } => false,
            };
            self.learn_neighbor(punted, ip.into(), mac, router);
        }
        if punted.reason == PuntReason::NdAnswer
            && let NdMessage::NeighborSolicitation { target, .. } = discovery.message
            && let Some((mac, router)) = self.neighbor_anywhere(punted.vid, target.into())
            && let Some(answer) = discovery.answer(mac, router)
        {
            self.send(punted.port, punted.vid, frame.src(), mac, EtherType::IPV6, &answer);
            self.counters.nd_answered += 1;
        }
    }

    /// A client asks everybody for the address that a server has offered it, so that the other servers hear it, too; the answer may go to the
    /// client alone, unless it is a refusal (RFC 2131 §4.1, §4.3.2). So a request is believed until it is refused or the client declines.
    fn take_dhcp(&mut self, punted: &Punted, frame: &Frame<'_>) {
        let Some(dhcp) = Dhcp::of_packet(frame.payload()) else { return };
        let client = dhcp.client_mac;
        let address = if dhcp.client_ip.is_unspecified() { dhcp.requested_ip } else { Some(dhcp.client_ip) };
        let changed = match (dhcp.message_type, address) {
            // What a relay passes on says nothing of the port the client is on.
            (dhcp::MessageType::Request, Some(ip)) if dhcp.from_client && dhcp.relay_ip.is_unspecified() && client == frame.src() => {
                let host = !(ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast() || ip.is_loopback());
                let station = !(client.is_group() || client.is_zero() || client == self.config.switch.mac);
                host && station
                    && self.config.identity.learn
                    && self.neighbors.hear_lease(punted.vid, ip.into(), client, punted.port, self.now)
            }
            (dhcp::MessageType::Decline, Some(ip)) if dhcp.from_client && client == frame.src() => {
                self.neighbors.forget(punted.vid, ip.into(), client)
            }
            (dhcp::MessageType::Nak, _) if !dhcp.from_client => self.neighbors.refuse_lease(punted.vid, client),
            _ => false,
        };
        if changed {
            self.neighbors_changed();
        }
    }

    fn neighbors_changed(&mut self) {
        self.stale = true;
        self.identities_changed();
    }

    fn learn_neighbor(&mut self, punted: &Punted, ip: std::net::IpAddr, mac: MacAddr, router: bool) {
        if !self.config.identity.learn || mac.is_group() || mac.is_zero() || mac == self.config.switch.mac {
            return;
        }
        match self.neighbors.hear(punted.vid, ip, mac, punted.port, router, self.now) {
            Heard::Changed => self.neighbors_changed(),
            Heard::Known | Heard::Ignored => {}
        }
    }

    /// A message to the switch itself: the request for identities, and control messages.
    fn take_message(&mut self, punted: &Punted, frame: &Frame<'_>) {
        let Ok(message) = Message::parse(frame) else { return };
        if message.message_type.is_control() {
            return self.take_control(punted, &message);
        }
        if message.message_type == MessageType::IdentityRequest && self.config.identity.advertise {
            for body in self.identities.encode(self.body_len_max()) {
                self.send_message(punted.port, punted.vid, message.source, MessageType::Advertise, &body);
                self.counters.advertised += 1;
            }
        }
    }

    fn hear(&mut self, event: Event) {
        match event {
            Event::Moved { vid, mac, from, to } => {
                self.counters.moves += 1;
                if self.move_limit.allow(self.now) {
                    let name = |port: PortId| self.config.ports[port.index()].name.clone();
                    let moved = Move { time_ns: self.now.0, vlan: vid, mac, from: name(from), to: name(to) };
                    tracing::info!(vlan = vid.get(), %mac, from = moved.from, to = moved.to, "address moved");
                    if self.moves.len() == MOVES_KEPT {
                        self.moves.pop_front();
                    }
                    self.moves.push_back(moved);
                }
            }
            Event::FinalUnknown { port, vid, source, header, start } => {
                if !self.config.lanes.notice {
                    return;
                }
                if !self.notice_limit.allow(self.now) {
                    self.counters.notices_limited += 1;
                    return;
                }
                // What the message is, and nothing of the padding behind it.
                let len = (message::HEADER_LEN + usize::from(header.body_len)).min(start.len());
                let final_destination = header.final_destination;
                let notice = Notice { reason: NoticeReason::FinalUnknown, final_destination, offending: &start[..len] };
                self.send_message(port, vid, source, MessageType::Notice, &notice.encode());
                self.counters.notices += 1;
            }
            Event::FdbPart { request, records, last } => {
                if let Some(show) = &mut self.fdb_show
                    && show.request == request
                {
                    show.records.extend(records);
                    show.done |= last;
                }
            }
        }
    }

    fn identities_changed(&mut self) {
        // A blade that has come, fallen silent or says something else may have, lose or get a function.
        self.stale |= !self.config.functions.is_empty();
        self.across.roster_stale = true;
        let changed = self.identities.update(&self.config, &self.agents, &self.neighbors, &self.moved_slots());
        if changed && self.config.identity.advertise && self.advertise_at.is_none() {
            self.advertise_at = Some(self.now + ADVERTISE_DELAY);
        }
    }

    /// Tells every blade who is where.
    fn advertise(&mut self) {
        let bodies = self.identities.encode(self.body_len_max());
        for index in 0..self.config.ports.len() {
            let port = &self.config.ports[index];
            let vid = port.vlan.untagged().or_else(|| port.vlan.vids().iter().next());
            let (Role::Blade { .. }, Some(vid), LinkState::Up, true) = (&port.role, vid, self.links[index], port.enabled) else { continue };
            for body in &bodies {
                self.send_message(PortId(index as u8), vid, MacAddr::BROADCAST, MessageType::Advertise, body);
                self.counters.advertised += 1;
            }
        }
    }

    /// The longest body that fits an ordinary frame (1500 bytes behind the EtherType), or the switch's own limit if that is less.
    fn body_len_max(&self) -> usize {
        let frame_len_max = usize::from(self.config.switch.max_frame).min(ethernet::HEADER_LEN + 1500);
        frame_len_max.saturating_sub(ethernet::HEADER_LEN + 4 + wire::message::HEADER_LEN).max(28)
    }

    fn send_message(&mut self, port: PortId, vid: Vid, to: MacAddr, message_type: MessageType, body: &[u8]) {
        let message = Message {
            initial_destination: to,
            source: self.config.switch.mac,
            message_type,
            final_destination: Final::Mac(to),
            inner: EtherType(0),
            body,
        };
        let tags = self.tags(port, vid);
        match message.emit(&tags) {
            Ok(frame) => self.inject(port, &frame),
            Err(_) => self.counters.inject_lost += 1,
        }
    }

    fn send(&mut self, port: PortId, vid: Vid, dst: MacAddr, src: MacAddr, ethertype: EtherType, payload: &[u8]) {
        let frame = ethernet::emit(dst, src, &self.tags(port, vid), ethertype, payload);
        self.inject(port, &frame);
    }

    /// The tag a frame of `vid` leaves `port` with.
    fn tags(&self, port: PortId, vid: Vid) -> Vec<Tag> {
        let tagged = tables::is_tagged(&self.config.ports[port.index()].vlan, vid);
        if tagged { vec![Tag { tpid: EtherType::VLAN, tci: Tci(0).with_vid(vid) }] } else { Vec::new() }
    }

    /// Sends a frame out of a port.
    pub fn inject(&mut self, port: PortId, frame: &[u8]) {
        let Some(worker) = self.workers.iter().position(|worker| worker.tx_ports.contains(&port)) else {
            self.counters.inject_lost += 1;
            return;
        };
        let Some(packet) = self.pool.alloc_copy(frame) else {
            self.counters.inject_lost += 1;
            return;
        };
        if let Err(Command::Inject { packet, .. }) = self.command(worker, Command::Inject { port, packet }) {
            self.counters.inject_lost += 1;
            self.pool.free(packet);
        }
    }

    fn command_all(&mut self, command: impl Fn() -> Command) {
        for worker in 0..self.workers.len() {
            if self.command(worker, command()).is_err() {
                tracing::warn!("a worker does not take commands: its ring is full");
            }
        }
    }

    /// Forgets learned addresses: of one port, one VLAN, or all.
    pub fn flush(&mut self, port: Option<PortId>, vid: Option<Vid>) {
        match (port, vid) {
            (Some(port), _) => self.command_all(|| Command::FlushPort(port)),
            (None, Some(vid)) => self.command_all(|| Command::FlushVlan(vid)),
            (None, None) => self.command_all(|| Command::FlushAll),
        }
    }

    /// Asks the first worker for its FDB. The answer comes in parts; see [`fdb_records`](Self::fdb_records).
    pub fn request_fdb(&mut self) -> u64 {
        self.requests += 1;
        let request = self.requests;
        self.fdb_show = Some(FdbShow { request, records: Vec::new(), done: false });
        if self.command(0, Command::DumpFdb(request)).is_err() {
            tracing::warn!("the worker does not take commands: its ring is full");
        }
        request
    }

    /// The answer to `request`, sorted by VLAN and address, once it is there; `None` while it is not.
    ///
    /// A later request replaces an earlier one, which then gets no answer.
    pub fn fdb_records(&mut self, request: u64) -> Option<Vec<Record>> {
        let show = self.fdb_show.take_if(|show| show.request == request && show.done)?;
        let mut records = show.records;
        records.sort();
        Some(records)
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The ports' devices, by port id.
    pub fn devices(&self) -> &[Box<dyn Device>] {
        &self.devices
    }

    /// The links, by port id.
    pub fn links(&self) -> &[LinkState] {
        &self.links
    }

    /// The neighbor table.
    pub fn neighbors(&self) -> &NeighborTable {
        &self.neighbors
    }

    /// Who is in which slot.
    pub fn identities(&self) -> &Identities {
        &self.identities
    }

    /// The last moves of addresses, oldest first.
    pub fn moves(&self) -> impl Iterator<Item = &Move> {
        self.moves.iter()
    }

    /// What control counts.
    pub fn counters(&self) -> ControlCounters {
        self.counters
    }

    /// The packet pool.
    pub fn mempool(&self) -> &Mempool {
        &self.mempool
    }

    /// The time of the last poll.
    pub fn now(&self) -> Nanos {
        self.now
    }

    /// Counters of a port, summed over the workers.
    pub fn port_counters(&self, port: PortId) -> PortCounters {
        self.workers.iter().fold(PortCounters::default(), |mut sum, worker| {
            sum.add(&worker.counters.port(port));
            sum
        })
    }

    /// Counters of each worker.
    pub fn worker_counters(&self) -> Vec<WorkerCounters> {
        self.workers.iter().map(|worker| worker.counters.worker()).collect()
    }

    /// What the phases of each worker cost, as sampled by its thread; the thread stores there.
    pub fn phases(&self) -> &[Arc<PublishedPhases>] {
        &self.phases
    }

    /// From now on the thread of this worker may make few system calls.
    pub fn is_confined_now(&mut self, worker: usize) {
        self.confined[worker] = true;
    }

    /// Of each worker: are the system calls of its thread filtered?
    pub fn confined(&self) -> &[bool] {
        &self.confined
    }

    /// What the buses count, those with an arbiter, in the order of their backplanes.
    pub fn buses(&self) -> &[Arc<PublishedBus>] {
        &self.buses
    }

    /// The ledger, as last published by the workers. While they run the sides may differ by what is in their hands.
    pub fn ledger(&self) -> Ledger {
        let ports: Vec<PortCounters> = (0..self.config.ports.len()).map(|index| self.port_counters(PortId(index as u8))).collect();
        let workers = self.worker_counters();
        let (out, r#in) = workers.iter().fold((0, 0), |(out, r#in), worker| (out + worker.crossed_out, r#in + worker.crossed_in));
        Ledger::of(&ports, out.saturating_sub(r#in))
    }

    /// Gives unused buffers back to the pool, so that it can be counted.
    pub fn flush_pool(&mut self) {
        self.pool.flush();
    }
}

/// Trunks to other chassis are closed until both ends agree.
fn closed_at_first(config: &Config) -> u128 {
    let trunks = config.joined.iter().flat_map(|joined| &joined.trunks);
    trunks.fold(0, |mask, port| mask | 1 << port.index())
}

fn static_neighbors(config: &Config) -> NeighborTable {
    let mut table = NeighborTable::new(config.identity.limit, Nanos::from_millis(config.identity.ageing_ms));
    for neighbor in &config.neighbors {
        table.set(neighbor.vid, neighbor.ip, neighbor.mac, None);
    }
    for (vid, ip) in steering::addresses(&config.functions) {
        table.set(vid, ip, config.switch.mac, None);
    }
    for (index, port) in config.ports.iter().enumerate() {
        if let (Role::Blade { macs, ips, .. }, Some(vid)) = (&port.role, port.vlan.untagged())
            && let Some(&mac) = macs.first()
        {
            for &ip in ips {
                table.set(vid, ip, mac, Some(PortId(index as u8)));
            }
        }
    }
    table
}
