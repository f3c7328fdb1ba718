//! Steering as control knows it: which blade of a function is well, who takes which part of the flows, and whose counters are whose.
//!
//! The flows of a function fall into [`SLOTS`] parts. Each part goes to the blade with the highest hash of part and blade (rendezvous
//! hashing), drawn as often as the blade's weight says: a blade that goes gives away its own parts and no other, one that comes takes its share
//! of everybody's. So two switches with the same configuration agree, and nothing has to be remembered for it.
//!
//! A standby blade takes the place of one active blade that takes no new flows, with its weight: that blade's parts are the standby's then, and
//! nobody else's part changes. See `seats`.
//!
//! A function and a blade keep their counters as long as a configuration has them; what is new begins at zero.

use std::collections::BTreeMap;
use std::sync::Arc;

use dataplane::steer::{
    Function, MEMBERS_MAX, Member, MemberCounters, NOBODY, PublishedSteering, RULES_MAX, Rule, RuleCounters, SLOTS, Steering,
};
use port::{LinkState, PortId};

use crate::agents::Agents;
use crate::config::steering::FUNCTIONS_MAX;
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
    /// The address its frames get, in raw form; 0: they keep theirs.
    pub mac: u64,
    /// Index of its counters.
    pub counter: usize,
}

/// Who takes which part of the flows, and for whom that was worked out.
#[derive(Debug)]
struct Shares {
    /// The port that draws, its weight, and the place of whom it draws for among the function's blades.
    takers: Vec<(PortId, u32, u8)>,
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
    members: Numbers<(String, PortId)>,
    /// What counters showed when their number was taken.
    rules_before: Vec<RuleCounters>,
    members_before: Vec<MemberCounters>,
    shares: BTreeMap<String, Shares>,
    seats: Seats,
    /// By function, in the order of the configuration: as last worked out.
    blades: Vec<Vec<Blade>>,
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
        }
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
        let functions = config.functions.iter().enumerate().map(|(index, function)| Function {
            id: self.ids.of(function.name.clone()).0 as u16,
            members: self.blades[index]
                .iter()
                .map(|blade| Member {
                    port: blade.port,
                    mac: blade.mac,
                    alive: match blade.state {
                        BladeState::Up | BladeState::Drain => true,
                        BladeState::Ready => !function.preempt,
                        BladeState::Down | BladeState::Silent | BladeState::Failing => false,
                    },
                    counter: blade.counter,
                })
                .collect(),
            slots: shared(&mut self.shares, &function.name, &self.blades[index]),
            affinity: function.affinity,
            // A tick is 2^30 ns, somewhat more than a second.
            idle_ticks: ((u64::from(function.idle_s) * 1_000_000_000) >> 30) as u32 + 1,
            pass_without: function.otherwise == Otherwise::Pass,
        });
        let functions: Vec<Function> = functions.collect();
        let rules = config.rules.iter().filter_map(|rule| {
            let function = config.functions.iter().position(|function| function.name == rule.function)?;
            Some(Rule { conditions: rule.conditions.clone(), function, counter: self.rule_counter(&rule.name) })
        });
        let rules: Vec<Rule> = rules.collect();
        let ingress = rules.iter().fold(0, |mask, rule| mask | rule.conditions.ingress);
        Some(Arc::new(Steering { ingress, rules, functions }))
    }

    /// Numbers of what is not in the configuration any more are free again.
    fn forget(&mut self, config: &Config, agents: Option<&Agents>) {
        let functions = &config.functions;
        self.ids.taken.retain(|name, _| functions.iter().any(|function| function.name == *name));
        self.shares.retain(|name, _| functions.iter().any(|function| function.name == *name));
        self.seats.retain(|name| functions.iter().any(|function| function.name == *name));
        self.rules.taken.retain(|name, _| config.rules.iter().any(|rule| rule.name == *name));
        self.members.taken.retain(|(name, port), _| {
            let function = functions.iter().find(|function| function.name == *name);
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
            let counter = self.member_counter(&function.name, port);
            let mac = mac.map_or(0, |mac| mac.raw());
            Some(Blade { port, weight: function.weight(port), state, duty, stands_for: None, mac, counter })
        };
        let mut blades: Vec<Blade> = ports.filter_map(blade).collect();
        self.seats.take(&function.name, &mut blades);
        blades
    }

    fn rule_counter(&mut self, name: &str) -> usize {
        let (number, new) = self.rules.of(name.to_owned());
        if new {
            self.rules_before[number] = self.rule_sum(number);
        }
        number
    }

    fn member_counter(&mut self, function: &str, port: PortId) -> usize {
        let (number, new) = self.members.of((function.to_owned(), port));
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

/// Who takes which part of the flows: as before if nothing has changed.
fn shared(shares: &mut BTreeMap<String, Shares>, name: &str, blades: &[Blade]) -> Arc<[u8; SLOTS]> {
    let place_of =
        |port: PortId| blades.iter().position(|blade| blade.state == BladeState::Up && blade.stands_for.unwrap_or(blade.port) == port);
    // The active ones draw, each for itself or for whoever has its place.
    let active = blades.iter().filter(|blade| blade.duty == Duty::Active);
    let takers = active.map(|blade| match place_of(blade.port) {
        Some(place) => (blade.port, blade.weight, place as u8),
        None => (blade.port, 0, NOBODY),
    });
    let takers: Vec<(PortId, u32, u8)> = takers.collect();
    if let Some(known) = shares.get(name).filter(|known| known.takers == takers) {
        return Arc::clone(&known.slots);
    }
    let slots = Arc::new(draw(name, &takers));
    shares.insert(name.to_owned(), Shares { takers, slots: Arc::clone(&slots) });
    slots
}

/// For each part the place that the highest draw was made for, or [`NOBODY`].
fn draw(name: &str, takers: &[(PortId, u32, u8)]) -> [u8; SLOTS] {
    // FNV-1a: the same everywhere and always.
    let start = name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    std::array::from_fn(|slot| {
        let draws = takers.iter().flat_map(|&(port, weight, place)| {
            let ticket = move |number: u32| start ^ (u64::from(port.0) << 48 | u64::from(number) << 32 | slot as u64);
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
        let takers: Vec<(PortId, u32, u8)> = (0..5).map(|port| (PortId(port), 1, port)).collect();
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
        let mut takers: Vec<(PortId, u32, u8)> = (0..5).map(|port| (PortId(port), 1 + u32::from(port), port)).collect();
        let before = draw("web", &takers);
        takers[2].2 = 7;
        for (before, after) in before.iter().zip(&draw("web", &takers)) {
            assert_eq!(*after, if *before == 2 { 7 } else { *before });
        }
    }

    #[test]
    fn parts_follow_weights() {
        let slots = draw("mail", &[(PortId(0), 1, 0), (PortId(7), 3, 1), (PortId(9), 0, 2)]);
        assert!((900..1150).contains(&parts(&slots, 0)), "{}", parts(&slots, 0));
        assert_eq!(parts(&slots, 0) + parts(&slots, 1), SLOTS);
        assert_eq!(parts(&draw("mail", &[(PortId(9), 0, 0)]), NOBODY), SLOTS);
        assert_eq!(parts(&draw("mail", &[]), NOBODY), SLOTS);
    }

    #[test]
    fn functions_of_the_same_blades_share_differently() {
        let takers = [(PortId(0), 1, 0), (PortId(1), 1, 1)];
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
