//! Chassis joined by trunks as a chain, a ring, a star or anything else, without loops.
//!
//! The switch blades agree on one tree of trunks and close the rest (`docs/decisions/joined.md` has the reasons and the proof). Each
//! tells its neighbours in hellos the way from the root to itself: the chassis with the lowest number is the root, and everybody hangs on
//! the neighbour with the shortest way. Since the whole way is told, nobody hangs on who hangs on him.
//!
//! **Why there is no loop at any instant.** All that a chassis has decided has a *label*, a new number whenever it decides otherwise: other
//! way, other trunk towards the root, or another label of the chassis it hangs on. A trunk is open at the lower end only if the upper
//! end has heard the label that holds now, and at the upper end only if the lower end hangs on the label that holds now. So of a trunk that is open at
//! both ends one end is the upper and its way is shorter by one: a ring of those cannot be. When a decision changes, the trunk is closed
//! before anybody is told.
//!
//! **Frames on their way.** A trunk opens only `hold` after both ends agree; what was sent along an earlier tree has arrived by then or is lost, so
//! nothing arrives twice. That holds as long as no frame waits longer than `hold` inside the joined chassis.
//!
//! A state machine without I/O: call [`Joined::set_link`], `Joined::handle_hello` and [`Joined::handle_timeout`]; after each of them
//! first do what [`Joined::take_outcome`] says, and then send what [`Joined::poll_transmit`] gives.
//!
//! Over the trunks that are open the chassis tell each other who is in them and what for: [`exchange`].
//!
//! Limits: [`CHASSIS_MAX`] chassis; a way of [`PATH_MAX`] chassis. Trunks are trusted as far as the tree goes: whoever can send on one can
//! disturb it. What is told over it can be sealed.

pub mod exchange;
pub mod hello;
pub mod roster;

use std::collections::{BTreeMap, VecDeque};

use port::{Nanos, PortId};
use wire::MacAddr;

use crate::config::JoinedConfig;
use crate::seal::Sealer;
use exchange::Exchange;
use hello::{CHASSIS_MAX, Hello, PATH_MAX, Role};

/// What has to be done before anything is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Trunks have been opened or closed: the tables must say so.
    pub trunks: bool,
    /// Stations may be behind other trunks than before: what was learned behind trunks is to be forgotten.
    pub flush: bool,
    /// Other chassis have come, gone, or tell something else of their blades.
    pub rosters: bool,
}

/// How a trunk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrunkState {
    /// The link is down, or the port is switched off.
    Down,
    /// Nobody answers at the other end, or somebody with the same number as we.
    Waiting,
    /// Closed: there is another way, or the ends do not agree yet.
    Blocked,
    /// Frames pass.
    Open,
}

/// A trunk as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrunkView {
    /// Its port.
    pub port: PortId,
    /// How it is.
    pub state: TrunkState,
    /// The chassis at the other end.
    pub neighbor: Option<u16>,
    /// It leads towards the root.
    pub towards_root: bool,
    /// Why it is not open, in words.
    pub reason: Option<&'static str>,
}

#[derive(Debug)]
struct Trunk {
    port: PortId,
    up: bool,
    /// What was last heard from the other end, and when.
    peer: Option<(Nanos, Hello)>,
    sequence: u32,
    next_hello: Nanos,
    /// Something is new: the other end is to hear of it at once.
    tell: bool,
    /// Since when both ends agree.
    agreed: Option<Nanos>,
    open: bool,
    /// When a hello with our own number was last heard.
    twin: Option<Nanos>,
}

/// One chassis among those that are joined.
#[derive(Debug)]
pub struct Joined {
    chassis: u16,
    session: u32,
    hello: Nanos,
    silent: Nanos,
    hold: Nanos,
    trunks: Vec<Trunk>,
    /// From the root to this chassis.
    path: Vec<u16>,
    /// The trunk towards the root, and the label of the chassis there that this one hangs on.
    root: Option<(usize, u64)>,
    label: u64,
    /// How often the tree has changed at each chassis, as far as heard.
    changes: BTreeMap<u16, u32>,
    outcome: Outcome,
    outgoing: VecDeque<(PortId, Vec<u8>)>,
    exchange: Exchange,
}

impl Joined {
    /// A chassis that has heard of nobody. `session` is another at each start.
    pub fn new(config: &JoinedConfig, session: u32) -> Joined {
        let trunk = |&port: &PortId| Trunk {
            port,
            up: false,
            peer: None,
            sequence: 0,
            next_hello: Nanos::ZERO,
            tell: false,
            agreed: None,
            open: false,
            twin: None,
        };
        Joined {
            chassis: config.chassis,
            session,
            hello: Nanos::from_millis(config.hello_ms),
            silent: Nanos::from_millis(config.silent_ms),
            hold: Nanos::from_millis(config.hold_ms),
            trunks: config.trunks.iter().map(trunk).collect(),
            path: vec![config.chassis],
            root: None,
            label: u64::from(session) << 32 | 1,
            changes: BTreeMap::new(),
            outcome: Outcome::default(),
            outgoing: VecDeque::new(),
            exchange: Exchange::new(config.chassis, session, Nanos::from_millis(config.hello_ms), config.trunks.len()),
        }
    }

    /// With a key, rosters are sealed with it, and those that are not are dropped. `own_mac` is the address of this switch.
    pub fn begin(&mut self, own_mac: MacAddr, sealer: Option<Sealer>) {
        self.exchange.begin(own_mac, sealer);
    }

    /// What the chassis tell each other of their blades.
    pub fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    /// What this chassis tells of its blades from now on.
    pub fn set_own(&mut self, now: Nanos, roster: roster::Roster) {
        self.exchange.set_own(roster);
        self.update(now);
    }

    /// The link of a trunk is up and its port switched on, or not.
    pub fn set_link(&mut self, now: Nanos, port: PortId, up: bool) {
        let Some(trunk) = self.trunks.iter_mut().find(|trunk| trunk.port == port && trunk.up != up) else { return };
        trunk.up = up;
        (trunk.peer, trunk.twin) = (None, None);
        trunk.tell = up;
        self.update(now);
    }

    /// A frame of a switch blade, from `source`, came in by a trunk; `payload` is what follows the EtherType. One that cannot be read is counted.
    pub fn handle_frame(&mut self, now: Nanos, port: PortId, source: MacAddr, payload: &[u8]) {
        let Some(index) = self.trunks.iter().position(|trunk| trunk.port == port) else { return };
        if payload.first() != Some(&hello::VERSION) {
            self.exchange.handle(now, index, source, payload);
            self.update(now);
            return;
        }
        match Hello::parse(payload) {
            Some(hello) => self.handle_hello(now, index, hello),
            None => self.exchange.counters.malformed += 1,
        }
    }

    fn handle_hello(&mut self, now: Nanos, index: usize, hello: Hello) {
        // Our own number is a cable from us to us, or a mistake in somebody's configuration: nothing opens there.
        let trunk = &mut self.trunks[index];
        if trunk.up && hello.chassis == self.chassis {
            trunk.twin = Some(now);
        }
        if !trunk.up || hello.chassis == self.chassis {
            return;
        }
        let before = trunk.peer.as_ref().map(|(_, before)| before);
        if before.is_some_and(|before| before.session == hello.session && hello.sequence <= before.sequence) {
            return; // Overtaken by a later one.
        }
        trunk.tell |= before.is_none_or(|before| before.label != hello.label);
        self.hear_changes(&hello);
        self.trunks[index].peer = Some((now, hello));
        self.update(now);
    }

    fn hear_changes(&mut self, hello: &Hello) {
        let mut news = false;
        for &(chassis, heard) in &hello.changes {
            let full = self.changes.len() >= CHASSIS_MAX && !self.changes.contains_key(&chassis);
            let known = self.changes.get(&chassis).copied().unwrap_or(0);
            if heard > known && !full {
                // Our own from before a restart is continued.
                self.changes.insert(chassis, heard);
                news |= chassis != self.chassis;
            }
        }
        if news {
            self.outcome.flush = true;
            self.tell_all();
        }
    }

    /// What is due.
    pub fn handle_timeout(&mut self, now: Nanos) {
        self.update(now);
    }

    /// When [`handle_timeout`](Self::handle_timeout) has to be called next.
    pub fn poll_timeout(&self) -> Option<Nanos> {
        let up = self.trunks.iter().filter(|trunk| trunk.up);
        up.flat_map(|trunk| {
            let opens = trunk.agreed.filter(|_| !trunk.open).map(|since| since + self.hold);
            let silent = trunk.peer.as_ref().map(|(heard, _)| *heard + self.silent);
            [Some(trunk.next_hello), opens, silent].into_iter().flatten()
        })
        .chain(self.exchange.poll_timeout())
        .min()
    }

    /// What has to be done before anything is sent; asked once.
    pub fn take_outcome(&mut self) -> Outcome {
        let rosters = self.exchange.take_changed();
        Outcome { rosters, ..std::mem::take(&mut self.outcome) }
    }

    /// The payload of the next frame, and the trunk it leaves by.
    pub fn poll_transmit(&mut self) -> Option<(PortId, Vec<u8>)> {
        self.outgoing.pop_front()
    }

    /// Trunks that are not open, a bit for each port.
    pub fn closed(&self) -> u128 {
        self.trunks.iter().filter(|trunk| !trunk.open).fold(0, |mask, trunk| mask | 1 << trunk.port.index())
    }

    /// The ports of the trunks.
    pub fn ports(&self) -> Vec<PortId> {
        self.trunks.iter().map(|trunk| trunk.port).collect()
    }

    /// This chassis' own number.
    pub fn chassis(&self) -> u16 {
        self.chassis
    }

    /// From the root to this chassis.
    pub fn path(&self) -> &[u16] {
        &self.path
    }

    /// The trunks as they are.
    pub fn trunks(&self) -> impl Iterator<Item = TrunkView> {
        self.trunks.iter().enumerate().map(|(index, trunk)| TrunkView {
            port: trunk.port,
            state: match (trunk.up, &trunk.peer, trunk.open) {
                (false, ..) => TrunkState::Down,
                (true, _, true) => TrunkState::Open,
                (true, None, false) => TrunkState::Waiting,
                (true, Some(_), false) => TrunkState::Blocked,
            },
            neighbor: trunk.peer.as_ref().map(|(_, hello)| hello.chassis),
            towards_root: self.root.is_some_and(|(root, _)| root == index),
            reason: self.reason(index, trunk),
        })
    }

    /// Why a trunk is not open.
    fn reason(&self, index: usize, trunk: &Trunk) -> Option<&'static str> {
        let upward = self.root.is_some_and(|(root, _)| root == index);
        match (&trunk.peer, trunk.twin) {
            _ if trunk.open => None,
            _ if !trunk.up => Some("the link is down, or the port is switched off"),
            (None, Some(_)) => Some("the other end has the number of this chassis"),
            (None, None) => Some("nobody says hello at the other end"),
            _ if trunk.agreed.is_some() => Some("both ends agree: it opens after hold_ms"),
            (Some((_, hello)), _) if upward || hello.role == Role::Lower => Some("the ends do not agree yet"),
            (Some(_), _) => Some("there is another way: open, it would close a ring"),
        }
    }

    fn update(&mut self, now: Nanos) {
        for trunk in &mut self.trunks {
            trunk.peer.take_if(|(heard, _)| *heard + self.silent <= now);
        }
        self.decide();
        self.open_and_close(now);
        self.send_hellos(now);
        self.exchange.send(now);
        while let Some((index, payload)) = self.exchange.poll_transmit() {
            self.outgoing.push_back((self.trunks[index].port, payload));
        }
    }

    /// On whom does this chassis hang? A change of anything that follows from it gets a new label.
    fn decide(&mut self) {
        let offers = self.trunks.iter().enumerate().filter_map(|(index, trunk)| {
            let (_, hello) = trunk.peer.as_ref()?;
            let root = *hello.path.first()?;
            let usable = root < self.chassis && hello.path.len() < PATH_MAX && !hello.path.contains(&self.chassis);
            usable.then_some(((root, hello.path.len(), hello.chassis, hello.port), index))
        });
        let best = offers.min().map(|(_, index)| index);
        let (path, root) = match best.and_then(|index| Some((index, &self.trunks[index].peer.as_ref()?.1))) {
            None => (vec![self.chassis], None),
            Some((index, hello)) => (hello.path.iter().copied().chain([self.chassis]).collect(), Some((index, hello.label))),
        };
        if (&path, root) != (&self.path, self.root) {
            (self.path, self.root) = (path, root);
            self.label += 1;
            self.tell_all();
        }
    }

    fn open_and_close(&mut self, now: Nanos) {
        let mut changed = false;
        for (index, trunk) in self.trunks.iter_mut().enumerate() {
            let upward = self.root.is_some_and(|(root, _)| root == index);
            let agrees = trunk.peer.as_ref().is_some_and(|(_, hello)| {
                let other_end = if upward { Role::Upper } else { Role::Lower };
                hello.role == other_end && hello.heard == self.label
            });
            trunk.agreed = if agrees { trunk.agreed.or(Some(now)) } else { None };
            let open = trunk.agreed.is_some_and(|since| since + self.hold <= now);
            changed |= open != trunk.open;
            trunk.open = open;
            self.exchange.set_open(index, open);
        }
        if changed {
            self.outcome = Outcome { trunks: true, flush: true, rosters: false };
            *self.changes.entry(self.chassis).or_default() += 1;
            self.tell_all();
        }
    }

    fn tell_all(&mut self) {
        self.trunks.iter_mut().for_each(|trunk| trunk.tell = true);
    }

    fn send_hellos(&mut self, now: Nanos) {
        for (index, trunk) in self.trunks.iter_mut().enumerate().filter(|(_, trunk)| trunk.up) {
            if !trunk.tell && trunk.next_hello > now {
                continue;
            }
            trunk.tell = false;
            trunk.next_hello = now + self.hello;
            trunk.sequence += 1;
            let hello = Hello {
                chassis: self.chassis,
                port: trunk.port.0,
                role: if self.root.is_some_and(|(root, _)| root == index) { Role::Lower } else { Role::Upper },
                session: self.session,
                sequence: trunk.sequence,
                label: self.label,
                heard: trunk.peer.as_ref().map_or(0, |(_, hello)| hello.label),
                path: self.path.clone(),
                changes: self.changes.iter().map(|(&chassis, &count)| (chassis, count)).collect(),
            };
            self.outgoing.push_back((trunk.port, hello.emit()));
        }
    }
}
