//! Steering as control knows it: which blade of a function is well, who takes which part of the flows, and whose counters are whose.
//!
//! The flows of a function fall into [`SLOTS`] parts. Each part goes to the blade with the highest hash of part and blade (rendezvous
//! hashing), drawn as often as the blade's weight says: a blade that goes gives away its own parts and no other, one that comes takes its share
//! of everybody's. So two switches with the same configuration agree, and nothing has to be remembered for it.
//!
//! A standby blade takes the place of one active blade that takes no new flows, with its weight: that blade's parts are the standby's then, and
//! nobody else's part changes. See `seats`.
//!
//! Blades of other chassis are told of by their switch blades ([`Functions::set_elsewhere`]). Whether they take flows that come in here is the function's
//! matter ([`Across`]). What comes in by a trunk goes to blades of this chassis alone, and to the one it is addressed to if that is a
//! blade of the function: another chassis has steered it. So no frame goes back and forth.
//!
//! A function and a blade keep their counters as long as a configuration has them; what is new begins at zero.

use std::collections::BTreeMap;
use std::sync::Arc;

use dataplane::steer::look::Conditions;
use dataplane::steer::{
    Function, MEMBERS_MAX, Member, MemberCounters, NOBODY, PublishedSteering, RULES_MAX, Rule, RuleCounters, SLOTS, Steering,
};
use port::{LinkState, PORTS_MAX, PortId};

use crate::agents::Agents;
use crate::config::steering::{Across, FUNCTIONS_MAX};
use crate::config::{Config, FunctionConfig, Health, Otherwise, Role};
use crate::probe::Probes;

mod seats;

pub use seats::Duty;
use seats::Seats;

/// How a blade of a function is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BladeState {
    /// It takes new flows.
    Up,
    /// It is well and stands by: it keeps the flows it has, if it may, and takes no new ones.
    Ready,
    /// It keeps the flows it has and takes no new ones.
    Drain,
    /// Its link is down, or its port is switched off.
    Down,
    /// It has not said hello, or has fallen silent.
    Silent,
    /// It has not answered its probe as it should.
    Failing,
}

impl BladeState {
    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            BladeState::Up => "up",
            BladeState::Ready => "ready",
            BladeState::Drain => "drain",
            BladeState::Down => "down",
            BladeState::Silent => "silent",
            BladeState::Failing => "failing",
        }
    }
}

/// A blade of a function and how it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blade {
    /// Its port.
    pub port: PortId,
    /// Its part of new flows, relative to that of others; of a standby blade that of whom it stands for.
    pub weight: u32,
    /// How it is.
    pub state: BladeState,
    /// Active or standby.
    pub duty: Duty,
    /// The port of the active blade whose place a standby blade has taken.
    pub stands_for: Option<PortId>,
    /// Chassis and slot, if it is in another chassis; then `port` is the trunk that leads there.
    pub elsewhere: Option<(u16, u16)>,
    /// What flows know it by.
    pub id: PortId,
    /// The address its frames get, in raw form; 0: they keep theirs.
    pub mac: u64,
    /// Index of its counters.
    pub counter: usize,
}

/// A blade of another chassis, as that tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elsewhere {
    /// The function.
    pub function: String,
    /// The chassis.
    pub chassis: u16,
    /// The bay there.
    pub slot: u16,
    /// The trunk that leads there.
    pub trunk: PortId,
    /// Its address.
    pub mac: wire::MacAddr,
    /// Its part of new flows.
    pub weight: u32,
    /// It takes new flows, not only those it has.
    pub takes_new: bool,
}

/// Blades of other chassis that a function knows at most: flows know a blade by one octet.
const ELSEWHERE_MAX: usize = 127;

/// Where a blade is: its port, or chassis and slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Here(PortId),
    Elsewhere(u16, u16),
}

impl Place {
    /// What its draws are made with: the same for a blade wherever it is asked.
    fn ticket(self) -> u64 {
        match self {
            Place::Here(port) => u64::from(port.0) << 48,
            Place::Elsewhere(chassis, slot) => scatter(1 << 32 | u64::from(chassis) << 16 | u64::from(slot)) & !0 << 32,
        }
    }
}

/// Who takes which part of the flows, and for whom that was worked out.
#[derive(Debug)]
struct Shares {
    /// Who draws, his weight, and the place of whom he draws for among the function's blades.
    takers: Vec<(Place, u32, u8)>,
    slots: Arc<[u8; SLOTS]>,
}

/// Numbers that stay with a name as long as it is in use.
#[derive(Debug)]
struct Numbers<K> {
    taken: BTreeMap<K, usize>,
    most: usize,
}

impl<K: Ord> Numbers<K> {
    fn new(most: usize) -> Numbers<K> {
        Numbers { taken: BTreeMap::new(), most }
    }

    /// The number of `name`, and whether it is new. If all are in use it shares the last one: the configuration has a limit that prevents it.
    fn of(&mut self, name: K) -> (usize, bool) {
        if let Some(number) = self.taken.get(&name) {
            return (*number, false);
        }
        let free = (0..self.most).find(|number| !self.taken.values().any(|taken| taken == number)).unwrap_or(self.most - 1);
        self.taken.insert(name, free);
        (free, true)
    }
}

/// The functions of one switch.
#[derive(Debug)]
pub struct Functions {
    counters: Vec<Arc<PublishedSteering>>,
    ids: Numbers<String>,
    rules: Numbers<String>,
    members: Numbers<(String, Place)>,
    /// What counters showed when their number was taken.
    rules_before: Vec<RuleCounters>,
    members_before: Vec<MemberCounters>,
    shares: BTreeMap<String, Shares>,
    seats: Seats,
    /// By function, in the order of the configuration: as last worked out.
    blades: Vec<Vec<Blade>>,
    /// Blades of other chassis.
    elsewhere: Vec<Elsewhere>,
    /// What flows know them by, also of those that are gone: they may come back.
    ids_elsewhere: BTreeMap<(String, u16, u16), PortId>,
}

impl Functions {
    /// Nothing is known yet. `counters` are those of the workers.
    pub fn new(counters: Vec<Arc<PublishedSteering>>) -> Functions {
        Functions {
            counters,
            ids: Numbers::new(FUNCTIONS_MAX),
            rules: Numbers::new(RULES_MAX),
            members: Numbers::new(MEMBERS_MAX),
            rules_before: vec![RuleCounters::default(); RULES_MAX],
            members_before: vec![MemberCounters::default(); MEMBERS_MAX],
            shares: BTreeMap::new(),
            seats: Seats::default(),
            blades: Vec::new(),
            elsewhere: Vec::new(),
            ids_elsewhere: BTreeMap::new(),
        }
    }

    /// The blades of other chassis from now on; [`build`](Self::build) takes them up.
    pub fn set_elsewhere(&mut self, elsewhere: Vec<Elsewhere>) {
        self.elsewhere = elsewhere;
    }

    /// What the workers are told, with links and agents as they are; `None` without rules.
    pub fn build(
        &mut self,
        config: &Config,
        links: &[LinkState],
        agents: Option<&Agents>,
        probes: Option<&Probes>,
    ) -> Option<Arc<Steering>> {
        self.forget(config, agents);
        self.blades = config.functions.iter().map(|function| self.blades_of(function, config, links, agents, probes)).collect();
        if config.rules.is_empty() {
            return None;
        }
        let built = config.functions.iter().enumerate().map(|(index, function)| Function {
            id: self.ids.of(function.name.clone()).0 as u16,
            members: self.blades[index]
                .iter()
                .map(|blade| Member {
                    port: blade.port,
                    id: blade.id,
                    mac: blade.mac,
                    alive: match blade.state {
                        BladeState::Up | BladeState::Drain => true,
                        BladeState::Ready => !function.preempt,
                        BladeState::Down | BladeState::Silent | BladeState::Failing => false,
                    },
                    counter: blade.counter,
                })
                .collect(),
            slots: shared(&mut self.shares, &function.name, &function.name, &self.blades[index], function.across),
            affinity: function.affinity,
            // A tick is 2^30 ns, somewhat more than a second.
            idle_ticks: ((u64::from(function.idle_s) * 1_000_000_000) >> 30) as u32 + 1,
            pass_without: function.otherwise == Otherwise::Pass,
            settled: Vec::new(),
        });
        let mut functions: Vec<Function> = built.collect();
        let trunks = config.joined.iter().flat_map(|joined| &joined.trunks).fold(0, |mask, trunk| mask | 1 << trunk.index());
        if trunks != 0 {
            let behind_trunks: Vec<Function> = config
                .functions
                .iter()
                .enumerate()
                .map(|(index, function)| self.behind_trunks(function, index, &functions[index]))
                .collect();
            functions.extend(behind_trunks);
        }
        let mut rules: Vec<Rule> = Vec::new();
        for rule in &config.rules {
            let Some(function) = config.functions.iter().position(|function| function.name == rule.function) else { continue };
            let counter = self.rule_counter(&rule.name);
            for (ports, function) in [(trunks, function + config.functions.len()), (!trunks, function)] {
                let conditions = Conditions { ingress: rule.conditions.ingress & ports, ..rule.conditions.clone() };
                if conditions.ingress != 0 {
                    rules.push(Rule { conditions, function, counter });
                }
            }
        }
        let ingress = rules.iter().fold(0, |mask, rule| mask | rule.conditions.ingress);
        Some(Arc::new(Steering { ingress, rules, functions }))
    }

    /// The function as it is for frames that come in by trunks: its blades in this chassis, and nothing for what another has steered.
    fn behind_trunks(&mut self, config: &FunctionConfig, index: usize, function: &Function) -> Function {
        let (members, blades): (Vec<Member>, Vec<Blade>) =
            function.members.iter().zip(&self.blades[index]).filter(|(_, blade)| blade.elsewhere.is_none()).unzip();
        let elsewhere = self.elsewhere.iter().filter(|blade| blade.function == config.name).map(|blade| blade.mac.raw());
        let settled = members.iter().map(|member| member.mac).filter(|mac| *mac != 0).chain(elsewhere).collect();
        // No name of a function has a space at its end.
        let slots = shared(&mut self.shares, &config.name, &format!("{} ", config.name), &blades, Across::No);
        Function { members, slots, settled, ..function.clone() }
    }

    /// Numbers of what is not in the configuration any more are free again.
    fn forget(&mut self, config: &Config, agents: Option<&Agents>) {
        let functions = &config.functions;
        self.ids.taken.retain(|name, _| functions.iter().any(|function| function.name == *name));
        self.shares.retain(|name, _| functions.iter().any(|function| function.name == name.trim_end()));
        self.ids_elsewhere.retain(|(name, ..), _| functions.iter().any(|function| function.name == *name));
        self.seats.retain(|name| functions.iter().any(|function| function.name == *name));
        self.rules.taken.retain(|name, _| config.rules.iter().any(|rule| rule.name == *name));
        let elsewhere = &self.elsewhere;
        self.members.taken.retain(|(name, place), _| {
            let function = functions.iter().find(|function| function.name == *name);
            let port = match place {
                Place::Here(port) => port,
                Place::Elsewhere(..) => {
                    let is_it = |blade: &Elsewhere| blade.function == *name && *place == Place::Elsewhere(blade.chassis, blade.slot);
                    return function.is_some() && elsewhere.iter().any(is_it);
                }
            };
            function.is_some_and(|function| match &function.blades {
                Some(blades) => blades.contains(port) || function.standby.contains(port),
                // One that has fallen silent and comes back goes on counting.
                None => agents.is_some(),
            })
        });
    }

    fn blades_of(
        &mut self,
        function: &FunctionConfig,
        config: &Config,
        links: &[LinkState],
        agents: Option<&Agents>,
        probes: Option<&Probes>,
    ) -> Vec<Blade> {
        let active: Vec<PortId> = match &function.blades {
            Some(blades) => blades.clone(),
            None => announced(function, config, agents),
        };
        let ports = active.into_iter().map(|port| (port, Duty::Active));
        let ports = ports.chain(function.standby.iter().map(|&port| (port, Duty::Standby)));
        let blade = |(port, duty): (PortId, Duty)| {
            let config_port = config.port(port)?;
            let Role::Blade { slot, macs, .. } = &config_port.role else { return None };
            let agent = agents.and_then(|agents| agents.blade(*slot)).filter(|agent| agent.port == port);
            let silent = agent.map_or(function.health == Health::Hello, |agent| agent.silent);
            let state = match links.get(port.index()) {
                Some(LinkState::Up) if !config_port.enabled => BladeState::Down,
                Some(LinkState::Up) if silent => BladeState::Silent,
                Some(LinkState::Up) if probes.is_some_and(|probes| !probes.is_well(Some(&function.name), port)) => BladeState::Failing,
                Some(LinkState::Up) if function.drain.contains(&port) => BladeState::Drain,
                Some(LinkState::Up) => BladeState::Up,
                Some(LinkState::Down) | None => BladeState::Down,
            };
            let mac = macs.first().copied().or_else(|| agent.map(|agent| agent.mac)).filter(|_| function.readdress);
            let counter = self.member_counter(&function.name, Place::Here(port));
            let mac = mac.map_or(0, |mac| mac.raw());
            let weight = function.weight(port);
            Some(Blade { port, weight, state, duty, stands_for: None, elsewhere: None, id: port, mac, counter })
        };
        let mut blades: Vec<Blade> = ports.filter_map(blade).collect();
        self.seats.take(&function.name, &mut blades);
        // A frame that keeps its destination does not find the way to another chassis.
        if function.across != Across::No && function.readdress {
            self.add_elsewhere(&function.name, &mut blades);
        }
        blades
    }

    fn add_elsewhere(&mut self, function: &str, blades: &mut Vec<Blade>) {
        let elsewhere: Vec<Elsewhere> = self.elsewhere.iter().filter(|blade| blade.function == function).cloned().collect();
        for blade in elsewhere {
            let place = Place::Elsewhere(blade.chassis, blade.slot);
            let known = self.members.taken.contains_key(&(function.to_owned(), place));
            // Half of the counters are for blades of this chassis, whatever others tell.
            if blades.len() >= usize::from(NOBODY) || (!known && self.members.taken.len() >= MEMBERS_MAX / 2) {
                continue;
            }
            let Some(id) = self.id_elsewhere(function, blade.chassis, blade.slot) else { continue };
            blades.push(Blade {
                port: blade.trunk,
                weight: blade.weight,
                state: if blade.takes_new { BladeState::Up } else { BladeState::Drain },
                duty: Duty::Active,
                stands_for: None,
                elsewhere: Some((blade.chassis, blade.slot)),
                id,
                mac: blade.mac.raw(),
                counter: self.member_counter(function, place),
            });
        }
    }

    /// What flows know a blade of another chassis by; `None`: all numbers are taken.
    fn id_elsewhere(&mut self, function: &str, chassis: u16, slot: u16) -> Option<PortId> {
        let key = (function.to_owned(), chassis, slot);
        if let Some(id) = self.ids_elsewhere.get(&key) {
            return Some(*id);
        }
        let own = |name: &String| name == function;
        if self.ids_elsewhere.keys().filter(|(name, ..)| own(name)).count() >= ELSEWHERE_MAX {
            let elsewhere = &self.elsewhere;
            let is_there = |chassis: u16, slot: u16| {
                elsewhere.iter().any(|blade| blade.function == function && (blade.chassis, blade.slot) == (chassis, slot))
            };
            self.ids_elsewhere.retain(|(name, chassis, slot), _| !own(name) || is_there(*chassis, *slot));
        }
        let taken: Vec<PortId> = self.ids_elsewhere.iter().filter(|((name, ..), _)| own(name)).map(|(_, id)| *id).collect();
        let numbers = (0..ELSEWHERE_MAX).map(|number| PortId((PORTS_MAX + number) as u8));
        let free = numbers.into_iter().find(|id| !taken.contains(id))?;
        self.ids_elsewhere.insert(key, free);
        Some(free)
    }

    fn rule_counter(&mut self, name: &str) -> usize {
        let (number, new) = self.rules.of(name.to_owned());
        if new {
            self.rules_before[number] = self.rule_sum(number);
        }
        number
    }

    fn member_counter(&mut self, function: &str, place: Place) -> usize {
        let (number, new) = self.members.of((function.to_owned(), place));
        if new {
            self.members_before[number] = self.member_sum(number);
        }
        number
    }

    fn rule_sum(&self, number: usize) -> RuleCounters {
        self.counters.iter().map(|worker| worker.rule(number)).fold(RuleCounters::default(), |sum, more| RuleCounters {
            frames: sum.frames + more.frames,
            bytes: sum.bytes + more.bytes,
            without_blade: sum.without_blade + more.without_blade,
        })
    }

    fn member_sum(&self, number: usize) -> MemberCounters {
        self.counters.iter().map(|worker| worker.member(number)).fold(MemberCounters::default(), |sum, more| MemberCounters {
            frames: sum.frames + more.frames,
            bytes: sum.bytes + more.bytes,
            flows: sum.flows + more.flows,
            moved: sum.moved + more.moved,
        })
    }

    /// What the rule of this name has counted.
    pub fn rule_counters(&self, name: &str) -> RuleCounters {
        let Some(&number) = self.rules.taken.get(name) else { return RuleCounters::default() };
        let (sum, before) = (self.rule_sum(number), self.rules_before[number]);
        RuleCounters {
            frames: sum.frames - before.frames,
            bytes: sum.bytes - before.bytes,
            without_blade: sum.without_blade - before.without_blade,
        }
    }

    /// What a blade of a function has counted.
    pub fn blade_counters(&self, blade: &Blade) -> MemberCounters {
        let (sum, before) = (self.member_sum(blade.counter), self.members_before[blade.counter]);
        MemberCounters {
            frames: sum.frames - before.frames,
            bytes: sum.bytes - before.bytes,
            flows: sum.flows - before.flows,
            moved: sum.moved - before.moved,
        }
    }

    /// The blades of the function at this place of the configuration.
    pub fn blades(&self, function: usize) -> &[Blade] {
        self.blades.get(function).map_or(&[], |blades| blades)
    }

    /// The part of all new flows that each blade of a function takes, 0 to 1, in the order of [`blades`](Self::blades).
    pub fn parts(&self, name: &str, count: usize) -> Vec<f64> {
        let slots = self.shares.get(name).map(|shares| &shares.slots);
        let of = |member: usize| slots.map_or(0, |slots| slots.iter().filter(|&&slot| usize::from(slot) == member).count());
        (0..count).map(|member| of(member) as f64 / SLOTS as f64).collect()
    }
}

/// The ports of blades whose hellos name the function.
pub(crate) fn announced(function: &FunctionConfig, config: &Config, agents: Option<&Agents>) -> Vec<PortId> {
    let says = |slot: u16| {
        let agent = agents.and_then(|agents| agents.blade(slot));
        agent.is_some_and(|agent| agent.hello.functions.iter().any(|name| name.to_string() == function.name))
    };
    let ports = config.ports.iter().enumerate().filter(|(_, port)| matches!(port.role, Role::Blade { slot, .. } if says(slot)));
    ports.filter_map(|(index, _)| u8::try_from(index).ok().map(PortId)).collect()
}

/// Who takes which part of the flows: as before if nothing has changed. `key` is where that is remembered.
fn shared(shares: &mut BTreeMap<String, Shares>, name: &str, key: &str, blades: &[Blade], across: Across) -> Arc<[u8; SLOTS]> {
    let takes_place_of = |blade: &Blade, port: PortId| blade.elsewhere.is_none() && blade.stands_for.unwrap_or(blade.port) == port;
    let place_of = |port: PortId| blades.iter().position(|blade| blade.state == BladeState::Up && takes_place_of(blade, port));
    // The active ones draw, each for itself or for whoever has its place.
    let active = blades.iter().filter(|blade| blade.duty == Duty::Active && blade.elsewhere.is_none());
    let here = active.map(|blade| match place_of(blade.port) {
        Some(place) => (Place::Here(blade.port), blade.weight, place as u8),
        None => (Place::Here(blade.port), 0, NOBODY),
    });
    let mut takers: Vec<(Place, u32, u8)> = here.collect();
    let called = match across {
        Across::No => false,
        Across::LocalFirst => takers.iter().all(|(_, weight, _)| *weight == 0),
        Across::Anywhere => true,
    };
    let others = blades.iter().enumerate().filter_map(|(place, blade)| {
        let (chassis, slot) = blade.elsewhere.filter(|_| called && blade.state == BladeState::Up)?;
        Some((Place::Elsewhere(chassis, slot), blade.weight, place as u8))
    });
    takers.extend(others);
    if let Some(known) = shares.get(key).filter(|known| known.takers == takers) {
        return Arc::clone(&known.slots);
    }
    let slots = Arc::new(draw(name, &takers));
    shares.insert(key.to_owned(), Shares { takers, slots: Arc::clone(&slots) });
    slots
}

/// For each part the place that the highest draw was made for, or [`NOBODY`].
fn draw(name: &str, takers: &[(Place, u32, u8)]) -> [u8; SLOTS] {
    // FNV-1a: the same everywhere and always.
    let start = name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    std::array::from_fn(|slot| {
        let draws = takers.iter().flat_map(|&(who, weight, place)| {
            let ticket = move |number: u32| start ^ who.ticket() ^ (u64::from(number) << 32 | slot as u64);
            (0..weight).map(move |number| (scatter(ticket(number)), place))
        });
        draws.max().map_or(NOBODY, |(_, place)| place)
    })
}

/// SplitMix64's last step: each bit of the number reaches every bit.
fn scatter(number: u64) -> u64 {
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(slots: &[u8; SLOTS], place: u8) -> usize {
        slots.iter().filter(|&&slot| slot == place).count()
    }

    #[test]
    fn a_blade_that_goes_gives_away_its_own_parts_and_no_other() {
        let takers: Vec<(Place, u32, u8)> = (0..5).map(|port| (Place::Here(PortId(port)), 1, port)).collect();
        let before = draw("web", &takers);
        for gone in 0..5 {
            let mut less = takers.clone();
            less[gone].1 = 0;
            let after = draw("web", &less);
            for (before, after) in before.iter().zip(&after) {
                assert_eq!(before != after, usize::from(*before) == gone);
            }
        }
    }

    #[test]
    fn who_takes_a_place_takes_its_parts_and_no_other() {
        let mut takers: Vec<(Place, u32, u8)> = (0..5).map(|port| (Place::Here(PortId(port)), 1 + u32::from(port), port)).collect();
        let before = draw("web", &takers);
        takers[2].2 = 7;
        for (before, after) in before.iter().zip(&draw("web", &takers)) {
            assert_eq!(*after, if *before == 2 { 7 } else { *before });
        }
    }

    /// Blades of other chassis are called as `across` says.
    #[test]
    fn blades_of_other_chassis_take_flows_as_the_function_says() {
        let blade = |port: u8, elsewhere: Option<(u16, u16)>, state: BladeState| {
            let (port, id) = (PortId(port), PortId(if elsewhere.is_some() { 128 } else { port }));
            Blade { port, weight: 1, state, duty: Duty::Active, stands_for: None, elsewhere, id, mac: 1, counter: 0 }
        };
        let of = |across: Across, here: BladeState, there: BladeState| {
            // The one elsewhere is reached by the port that has the number of the blade here.
            let blades = [blade(1, None, here), blade(1, Some((3, 1)), there)];
            let slots = shared(&mut BTreeMap::new(), "web", "web", &blades, across);
            [parts(&slots, 0) > 0, parts(&slots, 1) > 0]
        };
        use BladeState::{Down, Drain, Up};
        assert_eq!([Up, Down].map(|here| of(Across::No, here, Up)), [[true, false], [false, false]]);
        assert_eq!([Up, Down, Drain].map(|here| of(Across::LocalFirst, here, Up)), [[true, false], [false, true], [false, true]]);
        assert_eq!([Up, Down].map(|here| of(Across::Anywhere, here, Up)), [[true, true], [false, true]]);
        assert_eq!(of(Across::Anywhere, Up, Drain), [true, false]);
    }

    #[test]
    fn parts_follow_weights() {
        let here = |port: u8| Place::Here(PortId(port));
        let slots = draw("mail", &[(here(0), 1, 0), (here(7), 3, 1), (here(9), 0, 2)]);
        assert!((900..1150).contains(&parts(&slots, 0)), "{}", parts(&slots, 0));
        assert_eq!(parts(&slots, 0) + parts(&slots, 1), SLOTS);
        assert_eq!(parts(&draw("mail", &[(here(9), 0, 0)]), NOBODY), SLOTS);
        assert_eq!(parts(&draw("mail", &[]), NOBODY), SLOTS);
    }

    #[test]
    fn functions_of_the_same_blades_share_differently() {
        let takers = [(Place::Here(PortId(0)), 1, 0), (Place::Elsewhere(3, 1), 1, 1)];
        let (web, mail) = (draw("web", &takers), draw("mail", &takers));
        let alike = web.iter().zip(&mail).filter(|(web, mail)| web == mail).count();
        assert!((SLOTS / 2 - 250..SLOTS / 2 + 250).contains(&alike), "{alike}");
    }

    #[test]
    fn numbers_stay_and_are_used_again() {
        let mut numbers: Numbers<&str> = Numbers::new(3);
        assert_eq!([numbers.of("a"), numbers.of("b"), numbers.of("a")], [(0, true), (1, true), (0, false)]);
        numbers.taken.retain(|name, _| *name != "a");
        assert_eq!([numbers.of("c"), numbers.of("b"), numbers.of("d")], [(0, true), (1, false), (2, true)]);
    }
}
