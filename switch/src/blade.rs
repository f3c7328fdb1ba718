//! The agent on a blade: its side of the chassis messages, for any host that has Ethernet.
//!
//! [`Agent`] is a state machine without I/O and without a clock. [`Agent::handle_frame`] takes what came in by the blade's port,
//! [`Agent::handle_host`] what the host wants to send, both as whole Ethernet frames; [`Agent::handle_timeout`] does what is due. After
//! each of them there may be frames for the port ([`Agent::poll_transmit`]), frames for the host ([`Agent::poll_deliver`]), opaque bodies
//! for whoever reads them ([`Agent::poll_receive`]) and things to be done ([`Agent::poll_action`]), and [`Agent::poll_timeout`] says when there
//! is something to do again.
//!
//! **Data.** An IP packet of the host to an address that the switch has advertised travels as a message (FIG. 6a): initial destination the
//! switch blade, final destination the IP address, or the MAC of who has it ([`Agent::name_blades_by_mac`]). A message that arrives is
//! unpacked into the frame it stands for (paragraph 50). All other frames pass as they are. ARP requests and neighbour solicitations for
//! advertised addresses are answered here, so that programs that know nothing of messages talk through them. What the switch advertises as
//! addresses of this blade beside its own, since it stands by for another that is lost, is taken and delivered as its own.
//!
//! **Control.** It says hello at its interval, by broadcast until the switch blade has acknowledged one. It obeys the switch blade's address,
//! which no other can send from through the switch; with a key, whoever has the key, and nobody else. Which address is the switch blade's it
//! takes from the configuration or, without one, from the first acknowledgement: on a segment that is not trusted, configure it or use a key.
//!
//! Limits: 64 transactions are remembered for repetitions, 1,024 slots of identities, 256 frames in each queue; what is beyond is dropped and
//! counted.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

use control::agents::encode;
use control::seal::Sealer;
use port::Nanos;
use wire::MacAddr;
use wire::arp::{Arp, Operation};
use wire::ethernet::{self, EtherType, Frame};
use wire::ip::{Ipv4, Ipv6};
use wire::message::{
    Ack, AckStatus, Control, ControlMessage, Final, Header, Hello, Message, MessageType, Name, Notice, decode_advertise,
    decode_advertise_across,
};
use wire::nd::{NdMessage, NeighborDiscovery};

/// Transactions that are remembered.
const REMEMBERED_MAX: usize = 64;
/// Frames in a queue.
const QUEUE_MAX: usize = 256;
/// Slots whose identity is kept.
const SLOTS_MAX: usize = 1024;
/// Hellos without an answer after which the switch blade counts as gone.
const UNANSWERED_MAX: u32 = 3;

/// What an agent is told at its start.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// The blade's own address.
    pub mac: MacAddr,
    /// Its IP addresses.
    pub ips: Vec<IpAddr>,
    /// The slot it believes to sit in; 0: it does not know.
    pub slot: u16,
    /// The rate it can take in bit/s; 0: it does not say.
    pub rate_bps: u64,
    /// Milliseconds between two hellos.
    pub hello_ms: u32,
    /// What it is for, and can be told to execute.
    pub functions: BTreeSet<Name>,
    /// The modes it can be told to enter.
    pub modes: BTreeSet<Name>,
    /// It takes parameters.
    pub provision: bool,
    /// The switch blade's address; `None`: that of the first acknowledgement.
    pub switch: Option<MacAddr>,
    /// A number that is another at each start.
    pub session: u32,
}

/// What is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counters {
    /// Packets of the host that left in messages.
    pub wrapped: u64,
    /// Frames of the host that left as they were.
    pub plain_out: u64,
    /// Messages that were unpacked for the host.
    pub unwrapped: u64,
    /// Plain frames that came for the host.
    pub plain_in: u64,
    /// ARP requests and neighbour solicitations of the host that were answered here.
    pub answered: u64,
    /// Frames that were not for this blade.
    pub not_for_us: u64,
    /// Messages that could not be read.
    pub malformed: u64,
    /// Control messages from somebody who is not the switch blade, or without a right seal.
    pub refused: u64,
    /// Commands that were repetitions.
    pub repeated: u64,
    /// Notices: messages of ours that went nowhere.
    pub notices: u64,
    /// Hellos sent.
    pub hellos: u64,
    /// What found a queue full.
    pub overrun: u64,
}

/// Something the blade is to do; [`Agent::finish`] says what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// Its number.
    pub id: u64,
    /// SetMode, Execute or Provision.
    pub control: Control,
}

/// A message with a body that is no packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Who sent it.
    pub source: MacAddr,
    /// Where it was to go.
    pub final_destination: Final,
    /// What it carries.
    pub body: Vec<u8>,
}

/// Who sent a command, and its numbers.
type Transaction = (MacAddr, u32, u32);

/// The agent.
#[derive(Debug)]
pub struct Agent {
    config: AgentConfig,
    sealer: Option<Sealer>,
    switch: Option<MacAddr>,
    transaction: u32,
    /// The hello that is under way: its number.
    hello: Option<u32>,
    next_hello: Nanos,
    unanswered: u32,
    /// By slot, as advertised.
    /// By chassis and slot; 0 is the own chassis.
    identities: BTreeMap<(u16, u16), (BTreeSet<MacAddr>, BTreeSet<IpAddr>)>,
    /// Who has an address, as advertised.
    owners: BTreeMap<IpAddr, MacAddr>,
    /// What was heard of lately, and how it was acknowledged.
    remembered: VecDeque<(Transaction, MessageType, AckStatus, String)>,
    pending: BTreeMap<u64, (Transaction, Control)>,
    actions: u64,
    mode: Option<Name>,
    timeslots: BTreeSet<u16>,
    /// Finals are MACs, not IP addresses.
    by_mac: bool,
    to_port: VecDeque<Vec<u8>>,
    to_host: VecDeque<Vec<u8>>,
    to_read: VecDeque<Received>,
    to_do: VecDeque<Action>,
    /// By name of the port that is sent to.
    rates: BTreeMap<Name, Wanted>,
    counters: Counters,
}

/// A rate that is asked for.
#[derive(Debug)]
struct Wanted {
    /// Bits a second.
    bps: u64,
    /// The number of the last question.
    question: Option<u32>,
    /// What holds, in bit/s, or why not.
    answer: Option<Result<u64, String>>,
}

impl Agent {
    /// An agent that says hello at the first [`handle_timeout`](Self::handle_timeout).
    pub fn new(config: AgentConfig, sealer: Option<Sealer>) -> Agent {
        Agent {
            switch: config.switch,
            config,
            sealer,
            transaction: 0,
            hello: None,
            next_hello: Nanos::ZERO,
            unanswered: 0,
            identities: BTreeMap::new(),
            owners: BTreeMap::new(),
            remembered: VecDeque::new(),
            pending: BTreeMap::new(),
            actions: 0,
            mode: None,
            timeslots: BTreeSet::new(),
            by_mac: false,
            to_port: VecDeque::new(),
            to_host: VecDeque::new(),
            to_read: VecDeque::new(),
            to_do: VecDeque::new(),
            rates: BTreeMap::new(),
            counters: Counters::default(),
        }
    }

    /// A frame that came in by the blade's port.
    pub fn handle_frame(&mut self, now: Nanos, bytes: &[u8]) {
        let Some(frame) = Frame::new_checked(bytes) else {
            self.counters.malformed += 1;
            return;
        };
        // [50]: a blade listens for its address in the initial destination. Groups are for everybody; what we sent is not for us.
        if frame.src() == self.config.mac || !(self.is_ours(frame.dst()) || frame.dst().is_group()) {
            self.counters.not_for_us += 1;
            return;
        }
        if frame.ethertype() != EtherType::MESSAGE {
            self.counters.plain_in += 1;
            let mut bytes = bytes.to_vec();
            if !frame.dst().is_group() {
                bytes[..6].copy_from_slice(&self.config.mac.0);
            }
            self.deliver(bytes);
            return;
        }
        let Ok(message) = Message::parse(&frame) else {
            self.counters.malformed += 1;
            return;
        };
        match message.message_type {
            MessageType::Data => self.take_data(&message),
            MessageType::Notice => match Notice::decode(message.body) {
                Ok(_) => self.counters.notices += 1,
                Err(_) => self.counters.malformed += 1,
            },
            MessageType::Advertise => self.take_advertise(&message),
            MessageType::IdentityRequest | MessageType::Unknown(_) => self.counters.not_for_us += 1,
            MessageType::Hello
            | MessageType::SetMode
            | MessageType::Execute
            | MessageType::Listen
            | MessageType::Provision
            | MessageType::Rate
            | MessageType::Ack => self.take_control(now, &message),
        }
    }

    /// A frame that the host sends.
    pub fn handle_host(&mut self, bytes: &[u8]) {
        let Some(frame) = Frame::new_checked(bytes) else {
            self.counters.malformed += 1;
            return;
        };
        if let Some(answer) = self.answer(&frame) {
            self.counters.answered += 1;
            return self.deliver(answer);
        }
        let packet = match frame.ethertype() {
            EtherType::IPV4 => Ipv4::new_checked(frame.payload()).map(|packet| (IpAddr::V4(packet.dst()), packet.total_len())),
            EtherType::IPV6 => Ipv6::new_checked(frame.payload()).map(|packet| (IpAddr::V6(packet.dst()), packet.total_len())),
            _ => None,
        };
        // Only what the host itself sends, without tags, to whom the switch blade can find.
        if let (Some(switch), Some((ip, len))) = (self.switch, packet)
            && frame.src() == self.config.mac
            && frame.tags().len() == 0
            && let Some(&owner) = self.owners.get(&ip)
            && let to = if self.by_mac { Final::Mac(owner) } else { ip.into() }
            && self.send_data(switch, to, frame.ethertype(), frame.payload().get(..len).unwrap_or(frame.payload()))
        {
            self.counters.wrapped += 1;
            return;
        }
        self.counters.plain_out += 1;
        self.transmit(bytes.to_vec());
    }

    /// Sends an opaque body to another blade; `false` if the switch blade is not known yet or the body is too long.
    pub fn send(&mut self, to: Final, body: &[u8]) -> bool {
        self.switch.is_some_and(|switch| self.send_data(switch, to, EtherType(0), body))
    }

    /// Says hello when it is time to.
    pub fn handle_timeout(&mut self, now: Nanos) {
        if now < self.next_hello {
            return;
        }
        if self.hello.is_some() {
            self.unanswered += 1;
        }
        // Who has not answered for so long may be another by now: it is looked for by broadcast.
        if self.unanswered >= UNANSWERED_MAX && self.config.switch.is_none() {
            self.switch = None;
            // Another switch blade knows nothing of what was agreed on.
            self.rates.values_mut().for_each(|wanted| wanted.answer = None);
        }
        self.next_hello = now + Nanos::from_millis(u64::from(self.config.hello_ms.max(1)));
        let hello = Hello {
            slot: self.config.slot,
            interval_ms: self.config.hello_ms,
            rate_bps: self.config.rate_bps,
            macs: vec![self.config.mac],
            ips: self.config.ips.clone(),
            functions: self.config.functions.iter().cloned().collect(),
        };
        self.transaction = self.transaction.wrapping_add(1);
        self.hello = Some(self.transaction);
        self.counters.hellos += 1;
        let message = ControlMessage { session: self.config.session, transaction: self.transaction, control: Control::Hello(hello) };
        self.send_control(self.switch.unwrap_or(MacAddr::BROADCAST), &message);
        self.ask_rates();
    }

    /// Wants to send at so many bit/s to the port of this name (0: asks what it may), instead of what was asked for before. The switch blade is
    /// asked at once if it is known, and again with each hello until it has answered.
    pub fn ask_rate(&mut self, to: Name, bps: u64) {
        self.rates.insert(to, Wanted { bps, question: None, answer: None });
        self.ask_rates();
    }

    /// What the switch blade has answered: the rate that holds from then on in bit/s, or why not. `None`: nothing yet.
    pub fn rate(&self, to: &Name) -> Option<&Result<u64, String>> {
        self.rates.get(to)?.answer.as_ref()
    }

    fn ask_rates(&mut self) {
        let Some(switch) = self.switch else { return };
        let mut questions = Vec::new();
        for (to, wanted) in self.rates.iter_mut().filter(|(_, wanted)| wanted.answer.is_none()) {
            // A repetition has the number of the first.
            let transaction = *wanted.question.get_or_insert_with(|| {
                self.transaction = self.transaction.wrapping_add(1);
                self.transaction
            });
            let control = Control::Rate { to: to.clone(), rate_bps: wanted.bps };
            questions.push(ControlMessage { session: self.config.session, transaction, control });
        }
        for question in questions {
            self.send_control(switch, &question);
        }
    }

    /// When there is something to do without being asked.
    pub fn poll_timeout(&self) -> Nanos {
        self.next_hello
    }

    /// From now on messages with the host's packets have the MAC of the blade as their final destination, as in FIG. 6, and not the IP
    /// address; paragraph 45 allows for both.
    pub fn name_blades_by_mac(&mut self) {
        self.by_mac = true;
    }

    /// The next frame for the port.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.to_port.pop_front()
    }

    /// The next frame for the host.
    pub fn poll_deliver(&mut self) -> Option<Vec<u8>> {
        self.to_host.pop_front()
    }

    /// The next message whose body is no packet.
    pub fn poll_receive(&mut self) -> Option<Received> {
        self.to_read.pop_front()
    }

    /// The next thing to be done.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.to_do.pop_front()
    }

    /// What came of an action: its outcome, in words that the switch shows. An action that is not under way says nothing.
    pub fn finish(&mut self, id: u64, outcome: Result<String, String>) {
        let Some((transaction, control)) = self.pending.remove(&id) else { return };
        let (status, text) = match outcome {
            Ok(text) => (AckStatus::Done, text),
            Err(text) => (AckStatus::Failed, text),
        };
        if status == AckStatus::Done
            && let Control::SetMode(mode) = &control
        {
            self.mode = Some(mode.clone());
        }
        self.acknowledge(transaction, control.message_type(), status, text);
    }

    /// The switch blade's address, once it is known.
    pub fn switch(&self) -> Option<MacAddr> {
        self.switch
    }

    /// The mode it is in; `None`: it was not told.
    pub fn mode(&self) -> Option<&Name> {
        self.mode.as_ref()
    }

    /// The timeslots it listens to.
    pub fn timeslots(&self) -> &BTreeSet<u16> {
        &self.timeslots
    }

    /// Who has which IP address, as the switch blade advertises.
    pub fn owners(&self) -> &BTreeMap<IpAddr, MacAddr> {
        &self.owners
    }

    /// What is counted.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Is this the blade's own address, or that of a blade it stands in for?
    fn is_ours(&self, mac: MacAddr) -> bool {
        let own = self.config.mac;
        mac == own || self.identities.values().any(|(macs, _)| macs.contains(&own) && macs.contains(&mac))
    }

    fn take_data(&mut self, message: &Message<'_>) {
        self.counters.unwrapped += 1;
        if message.inner == EtherType(0) {
            let Message { source, final_destination, body, .. } = *message;
            if self.to_read.len() >= QUEUE_MAX {
                self.counters.overrun += 1;
                return;
            }
            self.to_read.push_back(Received { source, final_destination, body: body.to_vec() });
            return;
        }
        let to = message.initial_destination;
        let to = if to.is_group() { to } else { self.config.mac };
        let frame = ethernet::emit(to, message.source, &[], message.inner, message.body);
        self.deliver(frame);
    }

    fn take_advertise(&mut self, message: &Message<'_>) {
        if self.switch != Some(message.source) {
            self.counters.refused += 1;
            return;
        }
        let (Ok(own), Ok(others)) = (decode_advertise(message.body), decode_advertise_across(message.body)) else {
            self.counters.malformed += 1;
            return;
        };
        for (chassis, entry) in own.into_iter().map(|entry| (0, entry)).chain(others) {
            let place = (chassis, entry.slot);
            if entry.macs.is_empty() && entry.ips.is_empty() {
                self.identities.remove(&place);
                continue;
            }
            if self.identities.len() >= SLOTS_MAX && !self.identities.contains_key(&place) {
                self.counters.overrun += 1;
                continue;
            }
            let slot = self.identities.entry(place).or_default();
            slot.0.extend(entry.macs);
            slot.1.extend(entry.ips);
        }
        let own = self.config.mac;
        self.owners = BTreeMap::new();
        for (macs, ips) in self.identities.values() {
            if let Some(&mac) = macs.first()
                && !macs.contains(&own)
            {
                self.owners.extend(ips.iter().filter(|ip| !self.config.ips.contains(ip)).map(|&ip| (ip, mac)));
            }
        }
    }

    fn take_control(&mut self, now: Nanos, message: &Message<'_>) {
        let header = Header {
            message_type: message.message_type,
            final_destination: message.final_destination,
            inner: message.inner,
            body_len: u16::try_from(message.body.len()).unwrap_or(u16::MAX),
        };
        let sealed = match &mut self.sealer {
            Some(sealer) => {
                if sealer.check(message.source, &header, message.body).is_err() {
                    self.counters.refused += 1;
                    return;
                }
                true
            }
            None => false,
        };
        let Ok(said) = ControlMessage::decode(message.message_type, message.body) else {
            self.counters.malformed += 1;
            return;
        };
        if let Control::Ack(ack) = &said.control {
            return self.take_ack(now, message.source, &said, ack);
        }
        if let Control::Hello(_) = said.control {
            self.counters.not_for_us += 1; // Another blade's, by broadcast.
            return;
        }
        if !sealed && self.switch != Some(message.source) {
            self.counters.refused += 1;
            return;
        }
        let transaction = (message.source, said.session, said.transaction);
        if self.pending.values().any(|(pending, _)| *pending == transaction) {
            self.counters.repeated += 1;
            return self.send_ack(transaction, message.message_type, AckStatus::Accepted, String::new());
        }
        if let Some((_, acked, status, text)) = self.remembered.iter().find(|(remembered, ..)| *remembered == transaction).cloned() {
            self.counters.repeated += 1;
            return self.send_ack(transaction, acked, status, text);
        }
        self.obey(transaction, said.control);
    }

    /// Does what a command says, or has it done.
    fn obey(&mut self, transaction: Transaction, control: Control) {
        let message_type = control.message_type();
        let unsupported = match &control {
            Control::SetMode(mode) if !self.config.modes.contains(mode) => Some(format!("there is no mode {mode} here")),
            Control::Execute(function) if !self.config.functions.contains(function) => {
                Some(format!("there is no function {function} here"))
            }
            Control::Provision(_) if !self.config.provision => Some("no parameters are taken here".to_owned()),
            Control::Listen(timeslot) => {
                self.timeslots.insert(*timeslot);
                return self.acknowledge(transaction, message_type, AckStatus::Done, String::new());
            }
            Control::Rate { .. } => Some("rates are the switch blade's matter".to_owned()),
            Control::SetMode(_) | Control::Execute(_) | Control::Provision(_) | Control::Hello(_) | Control::Ack(_) => None,
        };
        if let Some(text) = unsupported {
            return self.acknowledge(transaction, message_type, AckStatus::Unsupported, text);
        }
        if self.to_do.len() >= QUEUE_MAX || self.pending.len() >= QUEUE_MAX {
            self.counters.overrun += 1;
            return; // It is repeated, and by then there may be room.
        }
        self.actions += 1;
        self.to_do.push_back(Action { id: self.actions, control: control.clone() });
        self.pending.insert(self.actions, (transaction, control));
        self.send_ack(transaction, message_type, AckStatus::Accepted, String::new());
    }

    fn take_ack(&mut self, now: Nanos, source: MacAddr, said: &ControlMessage, ack: &Ack) {
        if ack.acked == MessageType::Rate && said.session == self.config.session && self.switch == Some(source) {
            let asked = self.rates.iter_mut().find(|(_, wanted)| wanted.answer.is_none() && wanted.question == Some(said.transaction));
            let Some((to, wanted)) = asked else { return self.counters.refused += 1 };
            let bps = ack.text.parse().ok().filter(|_| ack.status == AckStatus::Done);
            tracing::info!(%to, answer = ack.text, status = %ack.status, "the switch blade has answered about a rate");
            wanted.answer = Some(bps.ok_or_else(|| ack.text.clone()));
            return;
        }
        let ours = said.session == self.config.session && Some(said.transaction) == self.hello && ack.acked == MessageType::Hello;
        if !ours || self.switch.is_some_and(|switch| switch != source) {
            self.counters.refused += 1;
            return;
        }
        (self.hello, self.unanswered) = (None, 0);
        if self.switch.is_none() || self.owners.is_empty() {
            self.switch = Some(source);
            self.ask_rates();
            tracing::info!(switch = %source, time_ns = now.0, "the switch blade has answered");
            let message = Message {
                initial_destination: source,
                source: self.config.mac,
                message_type: MessageType::IdentityRequest,
                final_destination: Final::Mac(source),
                inner: EtherType(0),
                body: &[],
            };
            if let Ok(frame) = message.emit(&[]) {
                self.transmit(frame);
            }
        }
    }

    /// The answer to a question of the host that the switch's identities answer.
    fn answer(&self, frame: &Frame<'_>) -> Option<Vec<u8>> {
        if frame.tags().len() > 0 {
            return None;
        }
        match frame.ethertype() {
            EtherType::ARP => {
                let arp = Arp::parse(frame.payload())?;
                let mac = *self.owners.get(&arp.target_ip.into())?;
                let asks = arp.operation == Operation::Request && arp.sender_ip != arp.target_ip;
                asks.then(|| ethernet::emit(frame.src(), mac, &[], EtherType::ARP, &arp.reply(mac).emit()))
            }
            EtherType::IPV6 => {
                let discovery = NeighborDiscovery::parse(&Ipv6::new_checked(frame.payload())?)?;
                let NdMessage::NeighborSolicitation { target, .. } = discovery.message else { return None };
                let mac = *self.owners.get(&target.into())?;
                let answer = discovery.answer(mac, false)?;
                Some(ethernet::emit(frame.src(), mac, &[], EtherType::IPV6, &answer))
            }
            _ => None,
        }
    }

    fn send_data(&mut self, switch: MacAddr, final_destination: Final, inner: EtherType, body: &[u8]) -> bool {
        let message = Message {
            initial_destination: switch,
            source: self.config.mac,
            message_type: MessageType::Data,
            final_destination,
            inner,
            body,
        };
        message.emit(&[]).map(|frame| self.transmit(frame)).is_ok()
    }

    /// Remembers how a command was taken, and says so.
    fn acknowledge(&mut self, transaction: Transaction, acked: MessageType, status: AckStatus, text: String) {
        if self.remembered.len() == REMEMBERED_MAX {
            self.remembered.pop_front();
        }
        self.remembered.push_back((transaction, acked, status, text.clone()));
        self.send_ack(transaction, acked, status, text);
    }

    fn send_ack(&mut self, (to, session, transaction): Transaction, acked: MessageType, status: AckStatus, text: String) {
        self.send_control(to, &ControlMessage { session, transaction, control: Control::Ack(Ack { acked, status, text }) });
    }

    fn send_control(&mut self, to: MacAddr, said: &ControlMessage) {
        let body = encode(self.sealer.as_mut(), self.config.mac, Final::Mac(to), said);
        let message = Message {
            initial_destination: to,
            source: self.config.mac,
            message_type: said.control.message_type(),
            final_destination: Final::Mac(to),
            inner: EtherType(0),
            body: &body,
        };
        match message.emit(&[]) {
            Ok(frame) => self.transmit(frame),
            Err(_) => self.counters.overrun += 1,
        }
    }

    fn transmit(&mut self, frame: Vec<u8>) {
        if self.to_port.len() >= QUEUE_MAX {
            self.counters.overrun += 1;
            return;
        }
        self.to_port.push_back(frame);
    }

    fn deliver(&mut self, frame: Vec<u8>) {
        if self.to_host.len() >= QUEUE_MAX {
            self.counters.overrun += 1;
            return;
        }
        self.to_host.push_back(frame);
    }
}
