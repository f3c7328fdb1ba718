//! Rates between ports, paragraph [56]: any standard or non-standard rate, between two blades or a blade and the network.

use bladeswitch::replay::Stage;
use control::config::Config;
use control::show;
use port::{Nanos, PortId};

use super::blades::*;
use super::{UPLINK, four_blades_of};

const LEN: usize = 1_000;
/// Bits of a frame that count: with FCS.
const BITS: u64 = (LEN as u64 + 4) * 8;

const RATES: &str = r#"
identity = { advertise = false }
switch = { max_frame = 1518 }
[[rate]]
from = "blade1"
to = "blade2"
rate = "100M"
max = "400M"
burst = 4016
[[rate]]
from = "blade1"
to = "uplink1"
rate = "333.333K"
burst = 2008
"#;

/// For so long, frames of 1,000 bytes every 10 µs: blade 1 to 2 and outside, blade 2 to 1, blade 3 to 2. What came to each port from each blade.
fn for_a_while(stage: &mut Stage, span: Nanos) -> Vec<(PortId, u8, u64)> {
    let end = stage.now() + span;
    while stage.now() < end {
        stage.feed(slot(1), [plain(blade(2), blade(1), LEN, 1), plain(OUTSIDE, blade(1), LEN, 1)]);
        stage.feed(slot(2), [plain(blade(1), blade(2), LEN, 2)]);
        stage.feed(slot(3), [plain(blade(2), blade(3), LEN, 3)]);
        stage.advance(stage.now() + Nanos(20_000));
    }
    let mut counts: Vec<(PortId, u8, u64)> = Vec::new();
    for (port, frame) in sent(stage) {
        match counts.iter_mut().find(|(to, from, _)| (*to, *from) == (port, frame[14])) {
            Some((.., count)) => *count += 1,
            None => counts.push((port, frame[14], 1)),
        }
    }
    counts.sort_unstable();
    counts
}

fn of(counts: &[(PortId, u8, u64)], to: PortId, from: u8) -> u64 {
    counts.iter().find(|(port, blade, _)| (*port, *blade) == (to, from)).map_or(0, |(.., count)| *count)
}

/// Each pair is held to its own rate, to the frame; all others have what the lines carry.
#[test]
fn p56_a_rate_between_two_blades_and_between_a_blade_and_the_network() {
    let mut stage = four_blades_of(RATES);
    let span = Nanos::from_millis(200);
    let counts = for_a_while(&mut stage, span);
    let rounds = span.0 / 20_000;
    assert_eq!((of(&counts, slot(1), 2), of(&counts, slot(2), 3)), (rounds, rounds), "without a rate nothing is too much");
    let within = |rate: u64, burst: u64| (burst * 8 + rate * span.0 / 1_000_000_000) / BITS;
    // What the last frame before the end has not used up may be missing.
    for (to, rate, burst) in [(slot(2), 100_000_000, 4_016), (UPLINK, 333_333, 2_008)] {
        let (came, most) = (of(&counts, to, 1), within(rate, burst));
        assert!((most - 1..=most).contains(&came), "{came} frames, not {most}");
    }
    let shown = show::rates(&stage.switch.control).rates;
    assert_eq!(shown.iter().map(|rate| rate.frames).collect::<Vec<_>>(), [of(&counts, slot(2), 1), of(&counts, UPLINK, 1)]);
    assert_eq!(shown.iter().map(|rate| rate.frames + rate.exceeded).collect::<Vec<_>>(), [rounds, rounds]);
    let exceeded: u64 = shown.iter().map(|rate| rate.exceeded).sum();
    assert_eq!((drops(&stage, slot(1), "rate-exceeded"), dropped(&stage)), (exceeded, exceeded));
    // What is flooded is of no pair.
    let before = shown;
    stage.feed(slot(1), (0..50).map(|_| plain(wire::MacAddr::BROADCAST, blade(1), LEN, 1)));
    assert_eq!(sent(&mut stage).len(), 200);
    assert_eq!(show::rates(&stage.switch.control).rates, before);
    end(stage);
}

/// Another rate while frames flow: from then on, and nothing else is disturbed.
#[test]
fn p56_a_rate_changes_while_frames_flow() {
    let mut stage = four_blades_of(RATES);
    let span = Nanos::from_millis(50);
    let mut came = Vec::new();
    for rate in [100_000_000, 400_000_000, 20_000_000] {
        if rate != 100_000_000 {
            assert_eq!(stage.switch.control.set_rate("blade1", "blade2", rate), Ok(rate));
        }
        let counts = for_a_while(&mut stage, span);
        assert_eq!((of(&counts, slot(1), 2), of(&counts, slot(2), 3)), (2_500, 2_500));
        came.push((of(&counts, slot(2), 1), rate * span.0 / 1_000_000_000 / BITS));
    }
    for (came, rate) in came {
        assert!((rate..=rate + 5).contains(&came), "{came} frames, not {rate} and a burst");
    }
    let refused = |from, to, rate| stage.switch.control.set_rate(from, to, rate).unwrap_err();
    let mut refused = refused;
    assert!(refused("blade1", "blade2", 400_000_001).contains("at most 400M"));
    assert!(refused("blade2", "blade1", 1).contains("no [[rate]] from blade2 to blade1"));
    assert!(refused("blade1", "nobody", 1).contains("no port is called `nobody`"));
    // Another configuration with the same rate keeps what was agreed on; one with another does not.
    let config = |text: &str| Config::parse(&chassis(text, 4), "test.toml").unwrap();
    let rate = |stage: &Stage| show::rates(&stage.switch.control).rates[0].rate_bps;
    stage.switch.control.reload(config(&RATES.replace("333.333K", "1M")), None, None).unwrap();
    assert_eq!(rate(&stage), 20_000_000);
    stage.switch.control.reload(config(&RATES.replace("\"100M\"", "\"300M\"")), None, None).unwrap();
    assert_eq!(rate(&stage), 300_000_000);
    stage.switch.control.reload(config("identity = { advertise = false }\nswitch = { max_frame = 1518 }\n"), None, None).unwrap();
    let counts = for_a_while(&mut stage, span);
    assert_eq!((of(&counts, slot(2), 1), of(&counts, UPLINK, 1)), (2_500, 2_500), "no rate any more");
    end(stage);
}

/// Messages are frames as well, once it is known whom they are for.
#[test]
fn p56_messages_are_within_the_rate() {
    let mut stage = four_blades_of(RATES);
    let body = vec![7; 1_000 - 14 - 24];
    stage.feed(slot(1), (0..10).map(|_| message(SWITCH, blade(1), blade(2), &body)));
    let got = sent(&mut stage);
    assert_eq!(got, vec![(slot(2), message(blade(2), blade(1), blade(2), &body)); 4], "the burst");
    assert_eq!(drops(&stage, slot(1), "rate-exceeded"), 6);
    end(stage);
}

#[test]
fn what_is_wrong_with_a_rate_is_said() {
    for (rate, says) in [
        ("to = \"blade2\"\nrate = \"1M\"", "rate.from"),
        ("from = \"blade1\"\nto = \"blade2\"", "rate.rate"),
        ("from = \"blade9\"\nto = \"blade2\"\nrate = \"1M\"", "no port has this name"),
        ("from = \"blade1\"\nto = \"blade1\"\nrate = \"1M\"", "another port than rate.from"),
        ("from = \"blade1\"\nto = \"blade2\"\nrate = \"1M\"\nmax = \"500K\"", "at least rate.rate, which is 1M"),
        ("from = \"blade1\"\nto = \"blade2\"\nrate = \"1M\"\nburst = 1000", "it would never pass"),
        ("from = \"blade1\"\nto = \"blade2\"\nrate = \"1\"\nbusrt = 1000", "busrt"),
        (
            "from = \"blade1\"\nto = \"blade2\"\nrate = \"1M\"\n[[rate]]\nfrom = \"blade1\"\nto = \"blade2\"\nrate = \"2M\"",
            "each pair of ports once",
        ),
    ] {
        let text = chassis(&format!("[[rate]]\n{rate}\n"), 4);
        let errors = Config::parse(&text, "test.toml").unwrap_err().to_string();
        assert!(errors.contains(says) && errors.contains("test.toml:"), "{rate}: {errors}");
    }
    // What is written out can be loaded again and is the same.
    let config = Config::parse(&chassis(RATES, 4), "test.toml").unwrap();
    assert_eq!(Config::parse(&config.to_toml().unwrap(), "again.toml").unwrap(), config);
    let burst =
        Config::parse(&chassis("[[rate]]\nfrom = \"blade1\"\nto = \"blade2\"\nrate = \"800M\"\n", 4), "test.toml").unwrap().rates[0].burst;
    assert_eq!(burst, 100_000, "a millisecond");
}
