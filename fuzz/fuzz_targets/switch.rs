//! Any frames into the whole switch, on one worker and on two: the ledger balances, no buffer leaks, nothing link-local is
//! forwarded, and both give the same frames.
//!
//! The input is a script. An octet says what happens to port `octet & 3` (access in VLAN 10, trunk, tunnel, uplink), the next
//! one, n, how much: `00xx....` a frame of the next n octets, padded to the minimum; `01xx....` the same as it is, a runt;
//! `10xx....` the same, made jumbo; `110x....` 2^(n % 32) ns pass; `111x....` the link goes down (n even) or up.
#![no_main]

use std::sync::LazyLock;

use bladeswitch::replay::{Departure, Stage};
use control::config::Config;
use libfuzzer_sys::fuzz_target;
use port::{LinkState, Nanos, PortId};
use wire::ethernet::Frame;

static CONFIG: LazyLock<Config> = LazyLock::new(|| Config::parse(include_str!("switch.toml"), "switch.toml").expect("a right file"));

fuzz_target!(|script: &[u8]| {
    let one = play(script, 1);
    let two = play(script, 2);
    assert_eq!(one.len(), two.len());
    for (a, b) in one.iter().zip(&two) {
        assert_eq!((a.time, a.port, &a.bytes), (b.time, b.port, &b.bytes));
        let frame = Frame::new_checked(&a.bytes).expect("no runt leaves the switch");
        assert!(!frame.dst().is_link_local());
    }
});

fn play(mut script: &[u8], workers: usize) -> Vec<Departure> {
    let mut config = CONFIG.clone();
    config.switch.workers = workers;
    let mut stage = Stage::new(&config, 1).expect("memory for a small pool");
    while let [op, n, rest @ ..] = script {
        let port = PortId(op & 3);
        script = rest;
        match op >> 5 {
            6 => stage.advance(Nanos(stage.now().0 + (1 << (n % 32)))),
            7 => stage.plug(port, if n % 2 == 0 { LinkState::Down } else { LinkState::Up }),
            size => {
                let (frame, rest) = script.split_at(usize::from(*n).min(script.len()));
                script = rest;
                let mut frame = frame.to_vec();
                let len_min = [60, 0, 4000][usize::from(size >> 1)];
                frame.resize(frame.len().max(len_min), 0);
                stage.feed(port, [frame]);
            }
        }
        stage.switch.check_ledger().expect("balanced");
    }
    stage.finish();
    assert_eq!(stage.switch.check_ledger().expect("balanced").held, 0);
    let sent = stage.take_sent();
    stage.switch.flush_pools();
    assert_eq!(stage.switch.control.mempool().in_use(), 0, "a buffer leaked");
    sent
}
