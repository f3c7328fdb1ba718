//! Hot swap, paragraphs [57] and [58]: blades are "readily added and removed" while the others go on.

use control::show;
use control::steering::BladeState;
use port::{Nanos, PortId};
use wire::MacAddr;

use super::blades::*;
use super::{UPLINK, four_blades_of};

/// Frames of 60 bytes from blade 1 to 2, 2 to the network, and from there to 1, each of 200 rounds; what came to each of these ports.
pub fn others(
    stage: &mut bladeswitch::replay::Stage,
    mut each: impl FnMut(&mut bladeswitch::replay::Stage, u64),
) -> Vec<(PortId, Vec<u8>)> {
    for round in 0..200u64 {
        each(stage, round);
        let mark = round as u8;
        stage.feed(slot(1), [plain(blade(2), blade(1), 60, mark)]);
        stage.feed(slot(2), [plain(OUTSIDE, blade(2), 60, mark)]);
        stage.feed(UPLINK, [plain(blade(1), OUTSIDE, 60, mark)]);
        stage.advance(stage.now() + Nanos(2_000));
    }
    sent(stage)
}

#[test]
fn p57_a_blade_is_pulled_and_put_back_and_the_others_lose_nothing() {
    let mut stage = four_blades_of(SILENT);
    let got = others(&mut stage, |stage, round| match round {
        50 => assert!(stage.switch.control.set_enabled(slot(4), false)),
        51 => assert!(!stage.switch.control.set_enabled(slot(4), false), "it is out already"),
        // What it says now is refused, by name, and teaches nothing.
        60..80 => stage.feed(slot(4), [plain(blade(3), blade(4), 60, 0)]),
        150 => assert!(stage.switch.control.set_enabled(slot(4), true)),
        _ => {}
    });
    for (port, from, to) in [(slot(2), blade(1), blade(2)), (UPLINK, blade(2), OUTSIDE), (slot(1), OUTSIDE, blade(1))] {
        let here: Vec<_> = got.iter().filter(|(at, _)| *at == port).map(|(_, frame)| frame.clone()).collect();
        let expected: Vec<_> = (0..200u64).map(|round| plain(to, from, 60, round as u8)).collect();
        assert_eq!(here, expected, "every frame, once, in order");
    }
    assert_eq!(got.len(), 600);
    assert_eq!((drops(&stage, slot(4), "port-blocked"), dropped(&stage)), (20, 20));
    end(stage);
}

#[test]
fn p57_addresses_of_a_pulled_blade_are_forgotten_and_found_in_another_bay() {
    let mut stage = four_blades_of(SILENT);
    let to_four = || plain(blade(4), blade(1), 60, 1);
    stage.feed(slot(1), [to_four()]);
    assert_eq!(sent(&mut stage), [(slot(4), to_four())]);
    stage.switch.control.set_enabled(slot(4), false);
    stage.advance(stage.now()); // The workers have been told.
    // Nobody knows where it is: it may turn up anywhere but in its bay.
    stage.feed(slot(1), [to_four()]);
    assert_eq!(sent(&mut stage).iter().map(|(port, _)| *port).collect::<Vec<_>>(), [slot(2), slot(3), UPLINK]);
    // It is put into bay 3, in place of another, and known by its first frame.
    stage.switch.control.set_enabled(slot(3), false);
    stage.switch.control.set_enabled(slot(3), true);
    stage.advance(stage.now());
    stage.feed(slot(3), [plain(MacAddr::BROADCAST, blade(4), 60, 2)]);
    sent(&mut stage);
    stage.feed(slot(1), [to_four()]);
    assert_eq!(sent(&mut stage), [(slot(3), to_four())]);
    // A message finds it as well.
    stage.feed(slot(1), [message(SWITCH, blade(1), blade(4), b"there you are")]);
    assert_eq!(sent(&mut stage), [(slot(3), message(blade(4), blade(1), blade(4), b"there you are"))]);
    end(stage);
}

#[test]
fn p58_the_functions_of_a_pulled_blade_go_to_the_others() {
    let rules =
        "[[function]]\nname = \"web\"\nblades = [\"blade1\", \"blade2\", \"blade3\"]\n[[steer]]\nfunction = \"web\"\nethertype = 0x88b6\n";
    let mut stage = stage(&format!("{}{rules}", chassis(SILENT, 4)));
    teach(&mut stage, &[(slot(1), blade(1)), (slot(2), blade(2)), (slot(3), blade(3)), (slot(4), blade(4)), (UPLINK, OUTSIDE)]);
    let clients = |stage: &mut bladeswitch::replay::Stage| {
        for n in 0..60 {
            stage.feed(UPLINK, [plain(blade(4), MacAddr([2, 0, 0, 0, 8, n]), 60, n)]);
            stage.advance(stage.now() + Nanos(2_000));
        }
        let mut got: Vec<(u8, PortId)> = sent(stage).into_iter().map(|(port, frame)| (frame[14], port)).collect();
        got.sort_unstable();
        got
    };
    let before = clients(&mut stage);
    assert_eq!(before.len(), 60);
    stage.switch.control.set_enabled(slot(2), false);
    let after = clients(&mut stage);
    for (before, after) in before.iter().zip(&after) {
        assert!(after.1 != slot(2) && (before.1 == slot(2) || before == after), "{before:?} became {after:?}");
    }
    assert!(before.iter().any(|(_, port)| *port == slot(2)));
    let blades = &show::functions(&stage.switch.control).functions[0].blades;
    assert_eq!(blades[1].state, BladeState::Down);
    stage.switch.control.set_enabled(slot(2), true);
    assert_eq!(clients(&mut stage), after, "flows stay where they are");
    assert_eq!(dropped(&stage), 0);
    end(stage);
}
