//! Several chassis, paragraph [57] and the application on scaling over chassis: joined by trunks as a chain, a ring, a star or at
//! random, on one virtual clock. Cables are cut and mended by chance; a seed replays a run.
//!
//! Whatever happens, no blade receives a frame twice and no frame crosses a cable twice; when it has been quiet for [`HEALED`], who is
//! connected by cables reaches each other.

use std::collections::{HashMap, HashSet, VecDeque};

use bladeswitch::{Switch, assembly};
use control::config::Config;
use control::joined::TrunkState;
use control::seal::Sealer;
use port::backend::memory::Plug;
use port::{Burst, Hugepages, LinkState, Mempool, Nanos, PoolCache, Port, PortId};
use wire::MacAddr;
use wire::ethernet::EtherType;

use super::blades::frame;
use super::chance::Chance;

mod across;

/// How soon all is well again after the last cut or repair: a silent neighbour (350 ms), the hold (50 ms), and a lost hello's repetition (100 ms).
const HEALED: Nanos = Nanos::from_millis(500);
/// A frame of ours: nobody else sends this EtherType.
const OURS: EtherType = EtherType(0x9000);

/// A cable between two trunks, and what is on it.
struct Cable {
    ends: [(usize, PortId); 2],
    whole: bool,
    /// By direction, towards end 0 and 1: when it arrives.
    transit: [VecDeque<(Nanos, Vec<u8>)>; 2],
}

/// Joined chassis, each with one blade in slot 1.
struct Fabric {
    now: Nanos,
    chance: Chance,
    mempool: Mempool,
    pool: PoolCache,
    switches: Vec<Switch>,
    far: Vec<Vec<Port>>,
    plugs: Vec<Vec<Plug>>,
    cables: Vec<Cable>,
    frames: u32,
    /// What a blade received: chassis and number of the frame.
    received: HashSet<(usize, u32)>,
    /// How often a frame crossed a cable.
    crossed: HashMap<(u32, usize), u32>,
    /// Blades may receive other frames than [`OURS`], too: these, by chassis. Those that switches tell each other are not among them.
    inbox: Option<Vec<(usize, Vec<u8>)>>,
    /// The same frames, where they were put onto a cable.
    carried: Vec<(usize, Vec<u8>)>,
}

const BLADE: PortId = PortId(0);

fn blade(chassis: usize) -> MacAddr {
    MacAddr([2, 0, 0, 0, 1, chassis as u8])
}

impl Fabric {
    /// `count` chassis, and a cable for each pair.
    fn new(count: usize, pairs: &[(usize, usize)], seed: u64) -> Fabric {
        Fabric::with(count, pairs, seed, |_| ("slot = 1\n".to_owned(), String::new()), |_| None)
    }

    /// The same; for each chassis what stands in its `[[blade]]` and behind all else, and its key.
    fn with(
        count: usize,
        pairs: &[(usize, usize)],
        seed: u64,
        config: impl Fn(usize) -> (String, String),
        key: impl Fn(usize) -> Option<Sealer>,
    ) -> Fabric {
        let mempool = Mempool::new(count as u32 * 24_576, Hugepages::Never).expect("memory for a packet pool");
        let mut trunks = vec![0u8; count];
        let mut end = |chassis: usize| {
            trunks[chassis] += 1;
            (chassis, PortId(trunks[chassis]))
        };
        let cables: Vec<Cable> =
            pairs.iter().map(|&(a, b)| Cable { ends: [end(a), end(b)], whole: true, transit: Default::default() }).collect();
        let (mut switches, mut far, mut plugs) = (Vec::new(), Vec::new(), Vec::new());
        for (chassis, &trunks) in trunks.iter().enumerate() {
            let names: Vec<String> = (1..=trunks).map(|n| format!("trunk{n}")).collect();
            let uplinks: String = names.iter().map(|name| format!("[[uplink]]\nname = \"{name}\"\n")).collect();
            let (blade, more) = config(chassis);
            let text = format!(
                "identity = {{ advertise = false }}\n[switch]\nmac = \"02:00:00:00:02:{chassis:02x}\"\n[joined]\nchassis = {}\n\
                 trunks = {names:?}\n[[blade]]\n{blade}{uplinks}{more}",
                chassis + 1
            );
            let config = Config::parse(&text, "chassis.toml").unwrap_or_else(|errors| panic!("{errors}\n{text}"));
            let (near, others, own) = assembly::memory_ports(&config, 512);
            let mut switch = assembly::build(&config, near, &mempool, seed);
            switch.control.begin_joined(seed as u32 + chassis as u32, key(chassis));
            switches.push(switch);
            far.push(others);
            plugs.push(own);
        }
        let (pool, chance) = (mempool.cache(), Chance::new(seed));
        let mut fabric = Fabric {
            now: Nanos::ZERO,
            chance,
            mempool,
            pool,
            switches,
            far,
            plugs,
            cables,
            frames: 0,
            received: HashSet::new(),
            crossed: HashMap::new(),
            inbox: None,
            carried: Vec::new(),
        };
        fabric.settle();
        fabric
    }

    /// Everything that happens up to `to`, in its order.
    fn advance(&mut self, to: Nanos) {
        self.settle();
        loop {
            let arrivals = self.cables.iter().flat_map(|cable| cable.transit.iter().filter_map(|transit| Some(transit.front()?.0)));
            let next = arrivals.chain(self.switches.iter().filter_map(Switch::next_event)).min().unwrap_or(to).max(self.now);
            if next > to {
                break;
            }
            self.now = next;
            for cable in 0..self.cables.len() {
                for end in 0..2 {
                    while self.cables[cable].transit[end].front().is_some_and(|(at, _)| *at <= next) {
                        let (chassis, port) = self.cables[cable].ends[end];
                        let Some((_, bytes)) = self.cables[cable].transit[end].pop_front() else { break };
                        self.give(chassis, port, &bytes);
                    }
                }
            }
            self.settle();
            if self.now == to && self.cables.iter().all(|cable| cable.transit.iter().all(VecDeque::is_empty)) {
                break;
            }
        }
        self.now = to;
        self.settle();
    }

    fn give(&mut self, chassis: usize, port: PortId, bytes: &[u8]) {
        let mut burst = Burst::new();
        burst.push(self.pool.alloc_copy(bytes).expect("a buffer"));
        let taken = self.far[chassis][port.index()].tx[0].tx_burst(self.now, &mut self.pool, &mut burst);
        assert_eq!(taken, 1, "the queues are long enough");
    }

    /// All switches do what there is to do now; what they send goes onto the cables or to the blades.
    fn settle(&mut self) {
        for chassis in 0..self.switches.len() {
            self.switches[chassis].settle(self.now);
            for port in 0..self.far[chassis].len() {
                let mut burst = Burst::new();
                while self.far[chassis][port].rx[0].rx_burst(self.now, &mut self.pool, &mut burst, 64) > 0 {
                    for packet in burst.drain(..) {
                        let mut bytes = Vec::new();
                        self.pool.copy_to(&packet, &mut bytes);
                        self.pool.free(packet);
                        self.sent(chassis, PortId(port as u8), bytes);
                    }
                }
            }
        }
    }

    fn sent(&mut self, chassis: usize, port: PortId, bytes: Vec<u8>) {
        let ours = bytes[12..14] == OURS.0.to_be_bytes();
        let number = u32::from_be_bytes([bytes[14], bytes[15], bytes[16], bytes[17]]);
        let told = bytes[12..14] == EtherType::CHASSIS.0.to_be_bytes();
        if let Some(inbox) = self.inbox.as_mut().filter(|_| port == BLADE && !ours && !told) {
            inbox.push((chassis, bytes));
            return;
        }
        if port == BLADE {
            assert!(ours, "nothing of what switches tell each other gets to blades");
            assert!(usize::from(bytes[11]) != chassis, "frame {number} came back to where it came from");
            assert!(self.received.insert((chassis, number)), "chassis {} received frame {number} twice", chassis + 1);
            return;
        }
        let index = self.cables.iter().position(|cable| cable.ends.contains(&(chassis, port))).expect("each trunk has a cable");
        if ours {
            let crossed = self.crossed.entry((number, index)).or_default();
            *crossed += 1;
            assert_eq!(*crossed, 1, "frame {number} crosses a cable again");
        }
        if self.inbox.is_some() && !ours && !told {
            self.carried.push((index, bytes.clone()));
        }
        let delay = Nanos(1_000 + self.chance.below(2_000_000));
        let cable = &mut self.cables[index];
        let towards = usize::from(cable.ends[0] == (chassis, port));
        if cable.whole {
            let last = cable.transit[towards].back().map_or(Nanos::ZERO, |(at, _)| *at);
            cable.transit[towards].push_back((last.max(self.now + delay), bytes));
        }
    }

    /// A blade sends a frame; its number.
    fn send(&mut self, from: usize, to: MacAddr) -> u32 {
        self.frames += 1;
        let bytes = frame(to, blade(from), OURS, &self.frames.to_be_bytes());
        self.give(from, BLADE, &bytes);
        self.frames
    }

    /// Cuts a cable, or mends it. If the ends do not `notice`, their links stay up and nothing comes through.
    fn set_cable(&mut self, cable: usize, whole: bool, notice: bool) {
        let Cable { ends, whole: state, transit } = &mut self.cables[cable];
        *state = whole;
        *transit = Default::default();
        let link = if whole || !notice { LinkState::Up } else { LinkState::Down };
        for (chassis, port) in *ends {
            self.plugs[chassis][port.index()].set(link);
        }
    }

    /// For each chassis the lowest one that cables connect it with.
    fn islands(&self) -> Vec<usize> {
        let mut island: Vec<usize> = (0..self.switches.len()).collect();
        for _ in 0..island.len() {
            for cable in self.cables.iter().filter(|cable| cable.whole) {
                let [(a, _), (b, _)] = cable.ends;
                let lowest = island[a].min(island[b]);
                (island[a], island[b]) = (lowest, lowest);
            }
        }
        island
    }

    /// Everybody reaches whom he is connected with, and nobody else; frames for one station get there by the only way.
    fn check_all_reach_each_other(&mut self) {
        let islands = self.islands();
        for to in [None, Some(0), Some(self.switches.len() - 1)] {
            for from in 0..self.switches.len() {
                let number = self.send(from, to.map_or(MacAddr::BROADCAST, blade));
                self.advance(self.now + Nanos::from_millis(200));
                for other in (0..self.switches.len()).filter(|&other| other != from && to.is_none_or(|to| to == other)) {
                    let reached = self.received.contains(&(other, number));
                    assert_eq!(reached, islands[other] == islands[from], "frame {number} from chassis {} to {}", from + 1, other + 1);
                }
            }
        }
        // As many trunks are open as a tree of each island has branches.
        let open = |switch: &Switch| switch.control.joined().unwrap().trunks().filter(|trunk| trunk.state == TrunkState::Open).count();
        let ends: usize = self.switches.iter().map(open).sum();
        let roots = islands.iter().enumerate().filter(|(chassis, island)| chassis == *island).count();
        assert_eq!(ends, 2 * (self.switches.len() - roots));
    }

    /// Every frame is accounted for, and every buffer is back.
    fn end(mut self) {
        for switch in &mut self.switches {
            switch.settle(self.now);
            switch.check_ledger().unwrap();
            switch.flush_pools();
        }
        self.pool.flush();
        assert_eq!(self.mempool.in_use(), 0);
    }
}

/// Traffic between all, while cables are cut and mended by chance.
fn storm(count: usize, pairs: &[(usize, usize)], seed: u64) {
    let mut fabric = Fabric::new(count, pairs, seed);
    fabric.advance(HEALED);
    fabric.check_all_reach_each_other();
    for _ in 0..12 {
        let cable = fabric.chance.below(pairs.len() as u64) as usize;
        let (whole, notice) = (!fabric.cables[cable].whole, fabric.chance.one_in(2));
        fabric.set_cable(cable, whole, notice);
        // Some changes come while the last one is still being digested.
        let until = fabric.now + Nanos::from_millis(1 + fabric.chance.below(600));
        while fabric.now < until {
            let from = fabric.chance.below(count as u64) as usize;
            let to = fabric.chance.below(2 * count as u64) as usize;
            fabric.send(from, if to < count && to != from { blade(to) } else { MacAddr::BROADCAST });
            let next = fabric.now + Nanos(1 + fabric.chance.below(20_000_000));
            fabric.advance(next);
        }
    }
    fabric.advance(fabric.now + HEALED);
    fabric.check_all_reach_each_other();
    for cable in 0..pairs.len() {
        fabric.set_cable(cable, true, true);
    }
    fabric.advance(fabric.now + HEALED);
    fabric.check_all_reach_each_other();
    fabric.end();
}

const SEEDS: std::ops::Range<u64> = 1..9;

#[test]
fn p57_a_chain_of_chassis() {
    SEEDS.for_each(|seed| storm(4, &[(0, 1), (1, 2), (2, 3)], seed));
}

#[test]
fn p57_a_ring_of_chassis() {
    SEEDS.for_each(|seed| storm(5, &[(0, 1), (1, 2), (2, 3), (3, 4), (4, 0)], seed));
}

#[test]
fn p57_a_star_of_chassis() {
    // The one in the middle is not the root.
    SEEDS.for_each(|seed| storm(5, &[(2, 0), (2, 1), (2, 3), (2, 4)], seed));
}

#[test]
fn p57_chassis_joined_at_random() {
    for seed in SEEDS {
        let mut chance = Chance::new(seed + 1000);
        let count = 3 + chance.below(4) as usize;
        // A tree, so that each has a trunk, and some more.
        let mut pairs: Vec<_> = (1..count).map(|chassis| (chassis, chance.below(chassis as u64) as usize)).collect();
        for _ in 0..4 {
            let one = chance.below(count as u64) as usize;
            pairs.push((one, (one + 1 + chance.below(count as u64 - 1) as usize) % count));
        }
        storm(count, &pairs, seed);
    }
}

/// A ring of three: one trunk is closed; when another is cut it takes over, within a hold of the cut.
#[test]
fn p57_a_ring_heals_within_the_hold_when_a_link_goes_down() {
    let mut fabric = Fabric::new(3, &[(0, 1), (1, 2), (2, 0)], 1);
    fabric.advance(HEALED);
    let before = fabric.send(1, blade(2));
    fabric.advance(fabric.now + Nanos::from_millis(20));
    assert!(fabric.received.contains(&(2, before)) && fabric.crossed.contains_key(&(before, 0)), "by way of chassis 1");
    assert!(!fabric.crossed.contains_key(&(before, 1)), "the third side of the ring is closed");
    fabric.set_cable(0, false, true);
    fabric.advance(fabric.now + Nanos::from_millis(50 + 20));
    let after = fabric.send(1, blade(2));
    fabric.advance(fabric.now + Nanos::from_millis(20));
    assert!(fabric.received.contains(&(2, after)) && fabric.crossed.contains_key(&(after, 1)), "directly");
    fabric.end();
}

/// Two chassis with the same number, a cable from a chassis to itself, and a neighbour that says nothing: such trunks stay closed.
#[test]
fn p57_a_trunk_to_nobody_stays_closed() {
    let mut fabric = Fabric::new(2, &[(0, 1), (0, 0)], 1);
    fabric.advance(HEALED);
    let states: Vec<_> = fabric.switches[0].control.joined().unwrap().trunks().map(|trunk| trunk.state).collect();
    assert_eq!(states, [TrunkState::Open, TrunkState::Waiting, TrunkState::Waiting]);
    fabric.check_all_reach_each_other();
    fabric.end();
}
