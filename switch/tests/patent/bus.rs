//! The bus of a backplane, paragraphs [41] to [47] and [55]: TDM, FDM and another suitable type, access and arbitration by the switch
//! blade, timeslots reserved for a blade. What a blade can rely on is computed from the configuration and held against what happens.

use bladeswitch::assembly;
use bladeswitch::replay::{Departure, Stage};
use control::bus::{Guarantee, Load, guarantee};
use control::config::{BackplaneConfig, Config, Idle, Station};
use port::clock::TscClock;
use port::{Burst, Nanos, PortId};
use wire::MacAddr;
use wire::ethernet::EtherType;

use super::blades::*;
use super::{UPLINK, four_blades_of};

/// xorshift64*: the same numbers for the same seed, everywhere.
struct Chance(u64);

impl Chance {
    fn new(seed: u64) -> Chance {
        Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((u128::from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)) * u128::from(limit)) >> 64) as u64
    }
}

/// The longest frame in these tests, as switch.max_frame.
const LONGEST: usize = 1514;

/// A backplane of four blades with a bus of 1 Gb/s, 8 ns a byte, as fast as their links.
fn head(bus: &str) -> String {
    format!("{SILENT}switch = {{ max_frame = {LONGEST} }}\n[[backplane]]\nrate = \"1G\"\n{bus}\n")
}

/// Frames that crossed a bus at 1 Gb/s and then went out by a link of 1 Gb/s: when the bus let them go.
fn crossed(departure: &Departure) -> u64 {
    departure.time.0 - on_the_wire(departure.bytes.len(), 1000).0
}

/// [47]: "the message 602 may be placed in, for example, a particular time slot on the bus 411 that may be reserved for blade server
/// No. 1".
#[test]
fn p47_a_message_goes_out_in_the_slot_reserved_for_its_blade() {
    let slots = "bus = \"tdm\"\nslot_ns = 20000\nguard_ns = 1000\nlend = false\nslots = [\"blade1\", \"blade2\", \"blade3\", \"blade4\", \"switch\", \"maintenance\"]";
    let mut stage = four_blades_of(&head(slots));
    let round = 120_000;
    let start = Nanos((stage.now().0 / round + 10) * round);
    stage.advance(start);
    // All at once, in the order opposite to that of the slots.
    stage.feed(UPLINK, [plain(blade(1), OUTSIDE, 60, 5)]);
    for n in (1..=4).rev() {
        let to = if n == 4 { 1 } else { n + 1 };
        stage.feed(slot(n), [message(SWITCH, blade(n), blade(to), b"in my slot")]);
    }
    stage.finish();
    let got: Vec<_> = stage.take_sent().iter().map(|frame| (crossed(frame) - start.0, frame.port, frame.bytes[6..12].to_vec())).collect();
    // The last bit of 60 bytes has crossed 576 ns after the slot began.
    let expected = [(0, slot(2), blade(1)), (1, slot(3), blade(2)), (2, slot(4), blade(3)), (3, slot(1), blade(4)), (4, slot(1), OUTSIDE)];
    let expected: Vec<_> = expected.map(|(n, port, source)| (n * 20_000 + 576, port, source.0.to_vec())).into();
    assert_eq!(got, expected);
    end(stage);
}

/// [42], [55]: the switch blade has a transceiver of its own, and its maintenance messages a timeslot of their own.
#[test]
fn p55_what_control_sends_goes_out_in_the_maintenance_slot() {
    let slots = "bus = \"tdm\"\nslot_ns = 20000\nlend = false\nslots = [\"maintenance\", \"switch\", \"blade1\", \"blade2\", \"blade3\", \"blade4\"]";
    let mut stage = four_blades_of(&head(slots));
    let round = 120_000;
    let start = (stage.now().0 / round + 10) * round;
    stage.advance(Nanos(start + 30_000));
    // Nobody has this address: the source gets a notice, from control.
    stage.feed(slot(1), [message(SWITCH, blade(1), blade(99), b"anybody?")]);
    stage.finish();
    let got = stage.take_sent();
    assert_eq!(got.len(), 1);
    let late = crossed(&got[0]) - start;
    assert!((round..round + 20_000).contains(&late), "{late} ns is not in the next maintenance slot");
    let shown = control::show::buses(&stage.switch.control);
    let slot = &shown.backplanes[0].slots[0];
    assert_eq!((slot.owner.as_str(), slot.used, slot.frames, slot.lent), ("maintenance", 1, 1, 0));
    end(stage);
}

/// [47]: "the message 602 may be broadcasted on the bus 411": everybody hears it at the same instant, and it takes the bus once.
#[test]
fn p47_a_broadcast_crosses_the_bus_once() {
    for bus in ["bus = \"tdm\"\nslot_ns = 20000", "bus = \"drr\"", "bus = \"fdm\""] {
        let mut stage = four_blades_of(&head(bus));
        let before = stage.switch.control.buses()[0].stations()[0].frames;
        stage.feed(slot(1), [message(MacAddr::BROADCAST, blade(1), MacAddr::BROADCAST, b"everybody")]);
        stage.finish();
        let got = stage.take_sent();
        let on_bus: Vec<u64> = got.iter().filter(|frame| frame.port != UPLINK).map(crossed).collect();
        assert_eq!(on_bus.len(), 3, "{bus}");
        assert!(on_bus.iter().all(|time| *time == on_bus[0]), "{bus}: {on_bus:?}");
        assert_eq!(stage.switch.control.buses()[0].stations()[0].frames - before, 1, "{bus}");
        end(stage);
    }
}

/// [43], [44]: the switch blade does bus access and arbitration. Who has no slot of its own is served in turn, and so are idle slots if they
/// are lent.
#[test]
fn p43_shared_slots_are_arbitrated_and_idle_ones_lent() {
    for (lend, last_round) in [(true, 3), (false, 12)] {
        let slots = format!("bus = \"tdm\"\nslot_ns = 13000\nlend = {lend}\nslots = [\"shared\", \"blade1\", \"blade1\", \"blade1\"]");
        let mut stage = four_blades_of(&head(&slots));
        let round = 4 * 13_000;
        let start = Nanos((stage.now().0 / round + 10) * round);
        stage.advance(start);
        // Twelve frames of a slot each, four of each blade.
        for n in [2, 3, 4] {
            stage.feed(slot(n), (0..4).map(|_| plain(blade(1), blade(n), LONGEST, n)));
        }
        stage.finish();
        let got = stage.take_sent();
        let sources: Vec<u8> = got.iter().map(|frame| frame.bytes[11]).collect();
        assert_eq!(sources, [2, 3, 4, 2, 3, 4, 2, 3, 4, 2, 3, 4]);
        let rounds = (crossed(got.last().unwrap()) - start.0) / round + 1;
        assert_eq!(rounds, last_round, "lend = {lend}");
        end(stage);
    }
}

/// [41]: "a frequency division multiplexed (FDM) bus": blades send side by side, each at its own share of the rate.
#[test]
fn p41_fdm_shares_run_side_by_side() {
    let mut stage = four_blades_of(&head("bus = \"fdm\"\nshares = { blade1 = \"100M\", blade2 = \"400M\" }"));
    let start = stage.now() + Nanos::from_millis(1);
    stage.advance(start);
    stage.feed(slot(1), [plain(blade(3), blade(1), 60, 1)]);
    stage.feed(slot(2), [plain(blade(4), blade(2), LONGEST, 2)]);
    stage.finish();
    let got: Vec<_> = stage.take_sent().iter().map(|frame| (frame.port, crossed(frame) - start.0)).collect();
    assert_eq!(got, [(slot(3), 72 * 80), (slot(4), 1526 * 20)]);
    end(stage);
}

/// A bus with chance's parameters, on which blade 1 has something of its own.
fn any_bus(chance: &mut Chance) -> String {
    match chance.below(4) {
        0 => {
            let share = 50 + chance.below(400);
            format!("bus = \"fdm\"\nshares = {{ blade1 = \"{share}M\" }}")
        }
        1 => {
            let quantum = |chance: &mut Chance| 64 + chance.below(4000);
            let (own, other) = (quantum(chance), quantum(chance));
            format!("bus = \"drr\"\nquanta = {{ blade1 = {own}, blade2 = {other}, switch = {} }}", quantum(chance))
        }
        _ => {
            let guard = chance.below(2000);
            let slot_ns = 1542 * 8 + guard + chance.below(40_000);
            let mut slots = vec!["\"blade1\"", "\"shared\""];
            let others = ["\"blade1\"", "\"blade2\"", "\"blade3\"", "\"blade4\"", "\"switch\"", "\"shared\"", "\"maintenance\""];
            slots.extend((0..chance.below(8)).map(|_| others[chance.below(7) as usize]));
            for i in (1..slots.len()).rev() {
                slots.swap(i, chance.below(i as u64 + 1) as usize);
            }
            let (lend, slots) = (chance.below(2) == 0, slots.join(", "));
            format!("bus = \"tdm\"\nslot_ns = {slot_ns}\nguard_ns = {guard}\nlend = {lend}\nslots = [{slots}]")
        }
    }
}

fn of_blade_1(config: &Config, load: Load) -> (BackplaneConfig, Guarantee) {
    let backplane = config.backplanes[0].clone();
    let sure = guarantee(&backplane, Station::Port(slot(1)), load, config.switch.max_frame).expect("blade 1 has something of its own");
    (backplane, sure)
}

/// The others send as much as their links carry: any sizes, to any blade, to all of them, to blade 1's own destinations.
fn disturb(stage: &mut Stage, chance: &mut Chance, until: Nanos, free: &mut [u64; 5]) {
    for n in [2, 3, 4, 5] {
        while free[n as usize - 1] <= until.0 {
            let len = if chance.below(2) == 0 { 60 } else { 60 + chance.below((LONGEST - 59) as u64) as usize };
            let dst = match chance.below(6) {
                0 => MacAddr::BROADCAST,
                to => blade(1 + to as u8 % 4),
            };
            let (port, src) = if n == 5 { (UPLINK, OUTSIDE) } else { (slot(n), blade(n)) };
            stage.feed(port, [plain(dst, src, len, 0xff)]);
            free[n as usize - 1] = until.0.max(free[n as usize - 1]) + (len as u64 + 24) * 8;
        }
    }
}

/// The guarantee of a reserved slot, a share or a quantum: whatever all the others do, no frame of blade 1 takes longer than the bound that
/// is computed from the configuration. Over many seeds, each with another bus, other traffic, and other numbers of frames at a time.
#[test]
fn p47_a_blade_keeps_its_latency_whatever_the_others_do() {
    let mut worst = 0.0_f64;
    for seed in 0..60 {
        let mut chance = Chance::new(seed);
        let bus = any_bus(&mut chance);
        let longest = 60 + chance.below((LONGEST - 59) as u64) as usize;
        let load = Load { frames: 1 + chance.below(4), longest };
        let mut stage = four_blades_of(&head(&bus));
        let (_, sure) = of_blade_1(stage.switch.control.config(), load);
        // Behind the bus each frame passes a link, on which frames of the other shares may be before it: one of each at most.
        let shares = if bus.contains("fdm") { 6 } else { 1 };
        let bound = sure.latency.0 + shares * (LONGEST as u64 + 28) * 8 + on_the_wire(LONGEST, 1000).0;
        let mut free = [stage.now().0 + 1; 5];
        let (mut fed, mut number) = (Vec::new(), 0u32);
        let mut now = stage.now() + Nanos(1);
        for _ in 0..30 {
            // As many as the bound is for, then nothing until they must be gone; and not at the same place of a round each time.
            let quiet = now + Nanos(sure.latency.0 + chance.below(2 * sure.period_ns.min(1_000_000)));
            let frames: Vec<Vec<u8>> = (0..load.frames)
                .map(|_| {
                    let len = if chance.below(2) == 0 { longest } else { 60 + chance.below((longest - 59) as u64) as usize };
                    let mut payload = vec![0; len - 14];
                    payload[..4].copy_from_slice(&number.to_be_bytes());
                    number += 1;
                    fed.push(now);
                    frame(blade(2 + chance.below(3) as u8), blade(1), EtherType(0x88b7), &payload)
                })
                .collect();
            stage.feed(slot(1), frames);
            while now < quiet {
                disturb(&mut stage, &mut chance, now, &mut free);
                now = (now + Nanos(1 + chance.below(4000))).min(quiet);
                stage.advance(now);
                stage.switch.check_ledger().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            }
        }
        stage.finish();
        let mut got = 0;
        for departure in stage.take_sent().iter().filter(|departure| departure.bytes[12..14] == [0x88, 0xb7]) {
            let number = u32::from_be_bytes(departure.bytes[14..18].try_into().unwrap());
            let latency = departure.time.since(fed[number as usize]).0;
            assert!(latency <= bound, "seed {seed}, {bus}: frame {number} took {latency} ns, {bound} at most were computed");
            got += 1;
        }
        assert_eq!(got, fed.len(), "seed {seed}, {bus}: every frame of blade 1 arrives");
        let shown = control::show::buses(&stage.switch.control);
        let on_bus = shown.backplanes[0].stations[0].latency_max_ns;
        assert!(on_bus <= sure.latency.0, "seed {seed}, {bus}: {on_bus} ns until the last bit had crossed, computed {}", sure.latency.0);
        worst = worst.max(on_bus as f64 / sure.latency.0 as f64);
        end(stage);
    }
    // The bound is no number out of the air: some seed comes near it.
    assert!(worst > 0.9, "the worst of all seeds took {worst:.3} of its bound");
}

/// The other half: while blade 1 has something to send it gets the bandwidth that is its own.
#[test]
fn p47_a_blade_keeps_its_bandwidth_whatever_the_others_do() {
    for seed in 100..140 {
        let mut chance = Chance::new(seed);
        let bus = any_bus(&mut chance);
        let longest = 60 + chance.below((LONGEST - 59) as u64) as usize;
        let mut stage = four_blades_of(&head(&bus));
        let (backplane, sure) = of_blade_1(stage.switch.control.config(), Load { frames: 1, longest });
        let periods = 8.max(2_000_000 / sure.period_ns);
        let period = sure.period_ns.min(1_000_000); // A share promises so much a second: look at a part of that.
        let start = Nanos((stage.now().0 / sure.period_ns + 1) * sure.period_ns);
        let mut free = [start.0; 5];
        let (mut now, end_at) = (start, start + Nanos(periods * period));
        stage.advance(start);
        let before = stage.switch.control.buses()[0].stations()[0].bytes;
        while now < end_at {
            while stage.switch.control.buses()[0].stations()[0].waiting < backplane.queue as u64 / 2 {
                stage.feed(slot(1), (0..8).map(|_| plain(blade(2), blade(1), longest, 1)));
            }
            disturb(&mut stage, &mut chance, now, &mut free);
            now = (now + Nanos(5_000)).min(end_at);
            stage.advance(now);
        }
        let got = stage.switch.control.buses()[0].stations()[0].bytes - before;
        // Where a round of turns begins is not said, nor that it is whole at the end.
        let due = u128::from(sure.bytes) * u128::from((periods - 3) * period) / u128::from(sure.period_ns);
        assert!(u128::from(got) >= due.saturating_sub(longest as u128 + 24), "seed {seed}, {bus}: {got} bytes, {due} were due");
        stage.switch.check_ledger().unwrap();
        end(stage);
    }
}

/// The same seed gives the same frames at the same times, byte for byte, on one worker and on several.
#[test]
fn p44_arbitration_is_the_same_on_one_worker_and_on_four() {
    for seed in 200..212 {
        let run = |workers: u32| {
            let mut chance = Chance::new(seed);
            let head = head(&any_bus(&mut chance)).replacen("max_frame", &format!("workers = {workers}, max_frame"), 1);
            let mut stage = four_blades_of(&head);
            let mut free = [stage.now().0; 5];
            for _ in 0..200 {
                let now = stage.now() + Nanos(1 + chance.below(20_000));
                stage.advance(now);
                stage.feed(
                    slot(1),
                    [plain(blade(3), blade(1), 60 + chance.below(900) as usize, 1), message(SWITCH, blade(1), blade(4), b"x")],
                );
                disturb(&mut stage, &mut chance, now, &mut free);
            }
            stage.finish();
            let sent: Vec<_> = stage.take_sent().into_iter().map(|frame| (frame.time, frame.port, frame.bytes)).collect();
            let shown = control::show::buses(&stage.switch.control);
            let counters = stage.counters();
            end(stage);
            (sent, shown, counters)
        };
        let one = run(1);
        assert!(one.0.len() > 400);
        assert!(run(1) == one, "seed {seed}: a second run differs");
        assert!(run(4) == one, "seed {seed}: four workers differ from one");
    }
}

/// A blade that sends more than its part loses its own frames, by name, and nobody else's. What waits is held, to the frame.
#[test]
fn p44_queues_for_the_bus_are_finite() {
    let slots = "bus = \"tdm\"\nslot_ns = 13000\nqueue = 16\nlend = false\nslots = [\"blade1\", \"blade2\", \"shared\"]";
    let mut stage = four_blades_of(&head(slots));
    stage.feed(slot(1), (0..40).map(|_| plain(blade(3), blade(1), LONGEST, 1)));
    stage.feed(slot(2), (0..4).map(|_| plain(blade(3), blade(2), LONGEST, 2)));
    let ledger = stage.switch.check_ledger().unwrap();
    assert_eq!(ledger.held, 16 + 4);
    assert_eq!(drops(&stage, slot(3), "bus-full"), 24, "at the port they would have left by");
    let text = control::metrics::encode(control::metrics::Scrape::of(&stage.switch.control)).unwrap();
    assert!(text.contains("bladeswitch_bus_dropped_total{backplane=\"backplane1\",station=\"blade1\"} 24"), "{text}");
    assert!(text.contains("bladeswitch_bus_waiting{backplane=\"backplane1\",station=\"blade2\"} 4"), "{text}");
    assert_eq!(sent(&mut stage).len(), 20);
    end(stage);
}

/// A port outside the backplane, and a bus of type none, are links of their own.
#[test]
fn p41_without_a_bus_every_port_is_a_link() {
    let run = |backplane: &str| {
        let mut stage = four_blades_of(&format!("{SILENT}{backplane}"));
        let start = Nanos::from_millis(1);
        stage.advance(start);
        for n in 1..=4 {
            stage.feed(slot(n), [plain(blade(n % 4 + 1), blade(n), 1000, n), plain(OUTSIDE, blade(n), 500, n)]);
        }
        stage.finish();
        let sent: Vec<_> = stage.take_sent().into_iter().map(|frame| (frame.time, frame.port, frame.bytes)).collect();
        end(stage);
        sent
    };
    let links = run("");
    assert_eq!(run("[[backplane]]\nbus = \"none\"\n"), links);
    let of_uplink = |sent: Vec<(Nanos, PortId, Vec<u8>)>| sent.into_iter().filter(|(_, port, _)| *port == UPLINK).collect::<Vec<_>>();
    assert_eq!(of_uplink(run("[[backplane]]\nbus = \"tdm\"\n")), of_uplink(links), "the uplink is not on the backplane");
}

/// In real time: the switch sleeps when it may, frames arrive in their slots whoever sleeps, and at the end every buffer is back, also of frames
/// that still waited.
#[test]
fn p41_in_real_time_frames_cross_and_buffers_come_home() {
    // A second a round: blade 2's frames wait for long, blade 1's slots are most of the time.
    let slots = "bus = \"tdm\"\nslot_ns = 1000000000\nlend = false\nslots = [\"blade1\", \"blade1\", \"shared\"]";
    let config = Config::parse(&chassis(&head(slots), 4), "test.toml").unwrap();
    let mempool = assembly::mempool(&config).unwrap();
    let (near, mut far, _plugs) = assembly::memory_ports(&config, 64);
    let mut running = assembly::build(&config, near, &mempool, 1).start(&[], Idle::Adaptive, TscClock::new()).unwrap();
    let mut pool = mempool.cache();
    let mut put = |port: PortId, frame: &[u8]| {
        let mut burst: Burst = [pool.alloc_copy(frame).unwrap()].into_iter().collect();
        assert_eq!(far[port.index()].tx[0].tx_burst(Nanos::ZERO, &mut pool, &mut burst), 1);
    };
    for n in 0..8 {
        put(slot(1), &plain(blade(3), blade(1), 60, n));
    }
    let (mut got, patience) = (Vec::new(), std::time::Instant::now());
    while got.len() < 8 {
        assert!(patience.elapsed().as_secs() < 60, "blade 1 has two seconds of three, and yet only {got:?} came");
        let mut burst = Burst::new();
        far[2].rx[0].rx_burst(Nanos::ZERO, &mut pool, &mut burst, 64);
        for packet in burst.drain(..) {
            let mut bytes = Vec::new();
            pool.copy_to(&packet, &mut bytes);
            pool.free(packet);
            got.push(bytes[14]);
        }
        std::thread::yield_now();
    }
    assert_eq!(got, [0, 1, 2, 3, 4, 5, 6, 7], "in their order");
    // These may wait for a slot when the switch ends: then they go out at once.
    for n in 0..8 {
        let mut burst: Burst = [pool.alloc_copy(&plain(blade(1), blade(2), 60, n)).unwrap()].into_iter().collect();
        assert_eq!(far[1].tx[0].tx_burst(Nanos::ZERO, &mut pool, &mut burst), 1);
    }
    running.stop();
    let ledger = running.control().ledger();
    assert!(ledger.is_balanced() && ledger.held == 0, "{ledger}");
    for port in &mut far {
        let mut burst = Burst::new();
        while port.rx[0].rx_burst(Nanos::ZERO, &mut pool, &mut burst, 64) > 0 {
            pool.free_all(&mut burst);
        }
    }
    pool.flush();
    running.control().flush_pool();
    assert_eq!(mempool.in_use(), 0, "buffers are lost");
}
