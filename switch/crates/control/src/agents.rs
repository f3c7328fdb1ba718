//! The agents on the blades, as the switch sees them: who has said hello, and what blades were told to do (paragraph 55).
//!
//! A state machine without I/O. [`Agents::handle_message`] takes what came in, [`Agents::command`] what operators want;
//! [`Agents::handle_timeout`] does what is due at `now`. After each of them [`Agents::poll_transmit`] gives what is to be sent, and
//! [`Agents::poll_timeout`] says when there is something to do again.
//!
//! A command goes to all blades by one broadcast, or to some by a message each. Who does not acknowledge gets it again, with the same
//! transaction, after twice the time as before, and in the end is given up. A blade does it once, however often it hears of it.
//!
//! Limits: 64 commands are remembered, one for each slot of what was said hello from; a blade is a slot, so that a hello from
//! a port without one is refused.

use std::collections::{BTreeMap, VecDeque};

use port::{Nanos, PortId};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use wire::message::{Ack, AckStatus, Control, ControlMessage, Final, Header, Hello, MessageType, Name};
use wire::{MacAddr, Vid};

use crate::config::AgentsConfig;
use crate::seal::Sealer;

/// Commands that are remembered.
pub const COMMANDS_MAX: usize = 64;
/// A blade that is at something is asked again after so many times `retry_ms`.
const ASK_AGAIN: u64 = 8;
/// Intervals without a hello after which a blade is silent.
pub const SILENT_AFTER: u64 = 3;

/// A blade that has said hello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blade {
    /// The port it is on.
    pub port: PortId,
    /// The VLAN it spoke in.
    pub vid: Vid,
    /// The address it spoke from.
    pub mac: MacAddr,
    /// The number of its start, and that of its last hello.
    pub last: (u32, u32),
    /// What it said last.
    pub hello: Hello,
    /// When.
    pub heard: Nanos,
    /// No hello came for [`SILENT_AFTER`] intervals.
    pub silent: bool,
    /// The mode it was told to enter and has acknowledged.
    pub mode: Option<Name>,
    /// The timeslot it was told to listen to and has acknowledged.
    pub timeslot: Option<u16>,
}

/// Whom a command is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Every blade that has said hello and is not silent: one broadcast.
    All,
    /// The blades in these slots: a message each.
    Slots(Vec<u16>),
}

/// How far a command is with a blade.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum Progress {
    /// Nothing has come back yet.
    Waiting {
        /// Times it was sent.
        sent: u32,
    },
    /// The blade is at it.
    Accepted,
    /// It is over.
    Answered {
        /// `done`, `unsupported`, `failed`, `refused` or a number.
        status: String,
        /// What the blade says about it.
        text: String,
    },
    /// It was sent as often as the configuration allows, or was accepted and not finished in time.
    Abandoned,
}

impl Progress {
    /// Nothing more will come.
    pub fn is_over(&self) -> bool {
        matches!(self, Progress::Answered { .. } | Progress::Abandoned)
    }
}

/// A command and how far it is.
#[derive(Clone, Debug)]
pub struct Command {
    /// Its number.
    pub transaction: u32,
    /// What was asked for.
    pub control: Control,
    /// By slot.
    pub blades: BTreeMap<u16, Errand>,
}

/// A command and one blade.
#[derive(Clone, Debug)]
pub struct Errand {
    /// How far it is.
    pub progress: Progress,
    /// When it is asked again.
    next: Option<Nanos>,
    /// When it must be over, once it was accepted.
    deadline: Nanos,
}

impl Command {
    /// Nothing more will come from any blade.
    pub fn is_over(&self) -> bool {
        self.blades.values().all(|errand| errand.progress.is_over())
    }
}

/// Why a command was not sent to anybody.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CommandError {
    /// Nobody has said hello.
    #[error("no blade has said hello, or all are silent: is `bladeswitch blade` running on them?")]
    Nobody,
    /// One of those that are meant has not.
    #[error("the blade in slot {0} has not said hello: is `bladeswitch blade` running on it?")]
    Unknown(u16),
    /// Everything that is remembered is still under way.
    #[error("{COMMANDS_MAX} commands are under way: wait for some of them")]
    Full,
}

/// A message to be sent, from the switch's own address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// By this port.
    pub port: PortId,
    /// In this VLAN.
    pub vid: Vid,
    /// To this address: initial and final destination.
    pub to: MacAddr,
    /// Its type.
    pub message_type: MessageType,
    /// Its body, sealed if there is a key.
    pub body: Vec<u8>,
}

/// What a blade has asked for: a rate. It is to be [answered](Agents::answer).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The port it came by.
    pub port: PortId,
    /// The name of the port that it wants to send to.
    pub to: Name,
    /// Bits a second; 0: it asks what it may.
    pub rate_bps: u64,
    vid: Vid,
    source: MacAddr,
    session: u32,
    transaction: u32,
}

/// What is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentCounters {
    /// Hellos that were believed.
    pub hellos: u64,
    /// Acks that belonged to something.
    pub acks: u64,
    /// Control messages that could not be read, or that a switch has no use for.
    pub malformed: u64,
    /// Control messages whose seal was missing, wrong or old.
    pub unsealed: u64,
    /// Messages sent, repetitions included.
    pub sent: u64,
    /// Of these, repetitions.
    pub repeated: u64,
    /// Commands a blade never acknowledged, or never finished.
    pub abandoned: u64,
}

/// The agents of one switch.
#[derive(Debug)]
pub struct Agents {
    config: AgentsConfig,
    own: MacAddr,
    session: u32,
    transaction: u32,
    sealer: Option<Sealer>,
    blades: BTreeMap<u16, Blade>,
    commands: VecDeque<Command>,
    /// Questions that are not among the commands: transaction and slot.
    probes: BTreeMap<u32, u16>,
    probed: VecDeque<(PortId, u32, AckStatus)>,
    asked: VecDeque<Asked>,
    outbox: VecDeque<Outgoing>,
    /// What is counted.
    pub counters: AgentCounters,
}

impl Agents {
    /// Nobody has said hello yet. `own` is the switch's address.
    pub fn new(config: AgentsConfig, own: MacAddr) -> Agents {
        Agents {
            config,
            own,
            session: 1,
            transaction: 0,
            sealer: None,
            blades: BTreeMap::new(),
            commands: VecDeque::new(),
            probes: BTreeMap::new(),
            probed: VecDeque::new(),
            asked: VecDeque::new(),
            outbox: VecDeque::new(),
            counters: AgentCounters::default(),
        }
    }

    /// A start of its own: a `session` that is another each time, so that blades take nothing for a repetition of what an earlier
    /// start has sent, and the key, if there is one.
    pub fn begin(&mut self, session: u32, sealer: Option<Sealer>) {
        (self.session, self.sealer) = (session, sealer);
    }

    /// Other times from now on; the key stays as it was begun with.
    pub fn set_config(&mut self, config: AgentsConfig) {
        self.config = config;
    }

    /// A control message that came in by `port`, whose blade is in `slot`. Tells whether what is known of any blade has changed.
    pub fn handle_message(
        &mut self,
        now: Nanos,
        (port, vid, slot): (PortId, Vid, Option<u16>),
        source: MacAddr,
        header: &Header,
        body: &[u8],
    ) -> bool {
        if let Some(sealer) = &mut self.sealer
            && let Err(error) = sealer.check(source, header, body)
        {
            self.counters.unsealed += 1;
            tracing::debug!(%source, %error, "control message refused");
            return false;
        }
        let message = match ControlMessage::decode(header.message_type, body) {
            Ok(message) => message,
            Err(error) => {
                self.counters.malformed += 1;
                tracing::debug!(%source, %error, "control message ignored");
                return false;
            }
        };
        match message.control {
            Control::Hello(hello) => {
                let answer = |status, text: &str| Ack { acked: MessageType::Hello, status, text: text.to_owned() };
                let (ack, changed) = match slot {
                    Some(slot) => {
                        self.counters.hellos += 1;
                        let last = (message.session, message.transaction);
                        (answer(AckStatus::Done, ""), self.hear(now, (port, vid, slot), source, last, hello))
                    }
                    None => (answer(AckStatus::Refused, "no blade is configured on this port"), false),
                };
                let reply = ControlMessage { session: message.session, transaction: message.transaction, control: Control::Ack(ack) };
                self.send(port, vid, source, &reply);
                changed
            }
            Control::Ack(ack) => {
                if message.session == self.session
                    && let Some(slot) = slot
                {
                    self.hear_ack(now, slot, source, message.transaction, &ack);
                }
                false
            }
            // To be told the same twice changes nothing: a repetition needs no remembering.
            Control::Rate { to, rate_bps } => {
                let (session, transaction) = (message.session, message.transaction);
                self.asked.push_back(Asked { port, to, rate_bps, vid, source, session, transaction });
                false
            }
            Control::SetMode(_) | Control::Execute(_) | Control::Listen(_) | Control::Provision(_) => {
                let text = "the switch blade has no modes, functions or parameters to be set by messages".to_owned();
                let ack = Ack { acked: header.message_type, status: AckStatus::Unsupported, text };
                let reply = ControlMessage { session: message.session, transaction: message.transaction, control: Control::Ack(ack) };
                self.send(port, vid, source, &reply);
                false
            }
        }
    }

    /// The next blade that waits for an answer.
    pub fn poll_asked(&mut self) -> Option<Asked> {
        self.asked.pop_front()
    }

    /// Answers it.
    pub fn answer(&mut self, asked: &Asked, ack: Ack) {
        let reply = ControlMessage { session: asked.session, transaction: asked.transaction, control: Control::Ack(ack) };
        self.send(asked.port, asked.vid, asked.source, &reply);
    }

    fn hear(&mut self, now: Nanos, (port, vid, slot): (PortId, Vid, u16), mac: MacAddr, last: (u32, u32), hello: Hello) -> bool {
        if let Some(blade) = self.blades.get_mut(&slot) {
            // Of two hellos of one start the later one counts, in whichever order they come.
            let age = last.1.wrapping_sub(blade.last.1);
            if blade.last.0 == last.0 && blade.mac == mac && age > u32::MAX / 2 {
                return false;
            }
            let restarted = blade.last.0 != last.0;
            let changed = blade.silent || blade.hello != hello || (blade.port, blade.vid, blade.mac) != (port, vid, mac);
            let (mode, timeslot) = if restarted { (None, None) } else { (blade.mode.take(), blade.timeslot) };
            *blade = Blade { port, vid, mac, last, hello, heard: now, silent: false, mode, timeslot };
            return changed;
        }
        tracing::info!(slot, %mac, "a blade has said hello");
        self.blades.insert(slot, Blade { port, vid, mac, last, hello, heard: now, silent: false, mode: None, timeslot: None });
        true
    }

    /// Asks the blade at a port to execute a function, once, whatever becomes of it: [`poll_probed`](Self::poll_probed) tells. The number of the
    /// question; `None` if no blade there has said hello.
    pub fn probe(&mut self, port: PortId, function: Name) -> Option<u32> {
        let (&slot, blade) = self.blades.iter().find(|(_, blade)| blade.port == port)?;
        let (vid, to) = (blade.vid, blade.mac);
        self.transaction = self.transaction.wrapping_add(1);
        self.probes.insert(self.transaction, slot);
        let control = Control::Execute(function);
        self.send(port, vid, to, &ControlMessage { session: self.session, transaction: self.transaction, control });
        Some(self.transaction)
    }

    /// Nobody waits for the answer to this question any more.
    pub fn forget_probe(&mut self, transaction: u32) {
        self.probes.remove(&transaction);
    }

    /// The next answer to a question: by which port it came, its number and what it says.
    pub fn poll_probed(&mut self) -> Option<(PortId, u32, AckStatus)> {
        self.probed.pop_front()
    }

    fn hear_ack(&mut self, now: Nanos, slot: u16, source: MacAddr, transaction: u32, ack: &Ack) {
        if let Some(blade) = self.blades.get(&slot).filter(|blade| blade.mac == source && self.probes.get(&transaction) == Some(&slot)) {
            if ack.acked == MessageType::Execute && ack.status != AckStatus::Accepted {
                self.probes.remove(&transaction);
                self.probed.push_back((blade.port, transaction, ack.status));
                self.counters.acks += 1;
            }
            return;
        }
        let Some(command) = self.commands.iter_mut().find(|command| command.transaction == transaction) else { return };
        let Some(blade) = self.blades.get_mut(&slot).filter(|blade| blade.mac == source) else { return };
        let Some(errand) = command.blades.get_mut(&slot).filter(|errand| !errand.progress.is_over()) else { return };
        if command.control.message_type() != ack.acked {
            return;
        }
        self.counters.acks += 1;
        if ack.status == AckStatus::Accepted {
            if errand.progress != Progress::Accepted {
                errand.progress = Progress::Accepted;
                errand.deadline = now + Nanos::from_millis(self.config.finish_ms);
                errand.next = Some(errand.deadline.min(now + Nanos::from_millis(self.config.retry_ms * ASK_AGAIN)));
            }
            return;
        }
        if ack.status == AckStatus::Done {
            match &command.control {
                Control::SetMode(mode) => blade.mode = Some(mode.clone()),
                Control::Listen(timeslot) => blade.timeslot = Some(*timeslot),
                Control::Hello(_) | Control::Execute(_) | Control::Provision(_) | Control::Ack(_) | Control::Rate { .. } => {}
            }
        }
        errand.progress = Progress::Answered { status: ack.status.to_string(), text: ack.text.clone() };
        errand.next = None;
    }

    /// Has blades do something; the number under which [`command_of`](Self::command_of) finds it.
    ///
    /// # Errors
    /// A blade that is meant has not said hello, or too much is under way.
    pub fn command(&mut self, now: Nanos, target: &Target, control: Control) -> Result<u32, CommandError> {
        let slots: Vec<u16> = match target {
            Target::All => self.blades.iter().filter(|(_, blade)| !blade.silent).map(|(&slot, _)| slot).collect(),
            Target::Slots(slots) => slots.clone(),
        };
        if slots.is_empty() {
            return Err(CommandError::Nobody);
        }
        if let Some(&unknown) = slots.iter().find(|slot| !self.blades.contains_key(slot)) {
            return Err(CommandError::Unknown(unknown));
        }
        if self.commands.len() == COMMANDS_MAX {
            let over = self.commands.iter().position(Command::is_over).ok_or(CommandError::Full)?;
            self.commands.remove(over);
        }
        self.transaction = self.transaction.wrapping_add(1);
        let next = Some(now + Nanos::from_millis(self.config.retry_ms));
        let errand = Errand { progress: Progress::Waiting { sent: 1 }, next, deadline: Nanos::ZERO };
        let blades = slots.iter().map(|&slot| (slot, errand.clone())).collect();
        let message = ControlMessage { session: self.session, transaction: self.transaction, control };
        for slot in slots {
            let Some(blade) = self.blades.get(&slot) else { continue };
            let to = if *target == Target::All { MacAddr::BROADCAST } else { blade.mac };
            self.send(blade.port, blade.vid, to, &message);
        }
        self.commands.push_back(Command { transaction: message.transaction, control: message.control, blades });
        Ok(self.transaction)
    }

    /// Repeats what was not acknowledged, gives up what was repeated often enough, and notes who has fallen silent: `true` if
    /// anybody has.
    pub fn handle_timeout(&mut self, now: Nanos) -> bool {
        let (mut due, mut abandoned) = (Vec::new(), 0);
        let (retries, retry_ms) = (self.config.retries, self.config.retry_ms);
        for (index, command) in self.commands.iter_mut().enumerate() {
            for (&slot, errand) in &mut command.blades {
                if errand.next.is_none_or(|next| next > now) {
                    continue;
                }
                match &mut errand.progress {
                    Progress::Waiting { sent } if *sent <= retries => {
                        // 1, 2, 4 … times the first wait; the shift is at most that of 17 messages.
                        errand.next = Some(now + Nanos::from_millis(retry_ms << (*sent).min(32)));
                        *sent += 1;
                        due.push((index, slot));
                    }
                    // What it says at the end may have been lost: it says so again when it hears the command again.
                    Progress::Accepted if now < errand.deadline => {
                        errand.next = Some(errand.deadline.min(now + Nanos::from_millis(retry_ms * ASK_AGAIN)));
                        due.push((index, slot));
                    }
                    Progress::Waiting { .. } | Progress::Accepted => {
                        (errand.progress, errand.next) = (Progress::Abandoned, None);
                        abandoned += 1;
                    }
                    Progress::Answered { .. } | Progress::Abandoned => errand.next = None,
                }
            }
        }
        self.counters.abandoned += abandoned;
        for (index, slot) in due {
            let Some(blade) = self.blades.get(&slot) else { continue };
            let (port, vid, mac) = (blade.port, blade.vid, blade.mac);
            let command = &self.commands[index];
            let message = ControlMessage { session: self.session, transaction: command.transaction, control: command.control.clone() };
            self.counters.repeated += 1;
            self.send(port, vid, mac, &message);
        }
        let mut changed = false;
        for (slot, blade) in &mut self.blades {
            if !blade.silent && silent_at(&self.config, blade) <= now {
                blade.silent = true;
                changed = true;
                tracing::warn!(slot, "a blade has fallen silent");
            }
        }
        changed
    }

    /// When there is something to do without being asked.
    pub fn poll_timeout(&self) -> Option<Nanos> {
        let repetitions = self.commands.iter().flat_map(|command| command.blades.values()).filter_map(|errand| errand.next);
        let silences = self.blades.values().filter(|blade| !blade.silent).map(|blade| silent_at(&self.config, blade));
        repetitions.chain(silences).min()
    }

    /// The next message to be sent.
    pub fn poll_transmit(&mut self) -> Option<Outgoing> {
        self.outbox.pop_front()
    }

    /// The link of a port is down: who was there has to say hello again. `true` if anybody was.
    pub fn flush_port(&mut self, port: PortId) -> bool {
        let before = self.blades.len();
        self.blades.retain(|_, blade| blade.port != port);
        self.blades.len() != before
    }

    /// Who has said hello, by slot.
    pub fn blades(&self) -> impl Iterator<Item = (u16, &Blade)> {
        self.blades.iter().map(|(&slot, blade)| (slot, blade))
    }

    /// The blade in a slot, if it has said hello.
    pub fn blade(&self, slot: u16) -> Option<&Blade> {
        self.blades.get(&slot)
    }

    /// A command by its number, if it is remembered.
    pub fn command_of(&self, transaction: u32) -> Option<&Command> {
        self.commands.iter().find(|command| command.transaction == transaction)
    }

    fn send(&mut self, port: PortId, vid: Vid, to: MacAddr, message: &ControlMessage) {
        let message_type = message.control.message_type();
        let body = encode(self.sealer.as_mut(), self.own, Final::Mac(to), message);
        self.counters.sent += 1;
        self.outbox.push_back(Outgoing { port, vid, to, message_type, body });
    }
}

/// The body of a message from `source`, sealed if there is a key.
pub fn encode(sealer: Option<&mut Sealer>, source: MacAddr, to: Final, message: &ControlMessage) -> Vec<u8> {
    let Some(sealer) = sealer else { return message.encode(None) };
    let mut body = message.encode(Some(sealer.next_counter()));
    let header = Header {
        message_type: message.control.message_type(),
        final_destination: to,
        inner: wire::ethernet::EtherType(0),
        body_len: u16::try_from(body.len()).unwrap_or(u16::MAX),
    };
    sealer.seal(source, &header, &mut body);
    body
}

fn silent_at(config: &AgentsConfig, blade: &Blade) -> Nanos {
    let interval_ms = if blade.hello.interval_ms == 0 { config.hello_ms } else { u64::from(blade.hello.interval_ms) };
    blade.heard + Nanos::from_millis(SILENT_AFTER * interval_ms)
}

#[cfg(test)]
mod tests;
