//! Standby blades, paragraphs [57] and [58]: "fault tolerance" and "redundancy", one blade ready to take the place of another.

use std::collections::BTreeMap;

use bladeswitch::replay::Stage;
use control::show;
use control::steering::{BladeState, Duty};
use port::{LinkState, Nanos, PortId};
use wire::MacAddr;

use super::UPLINK as UPLINK_OF_FOUR;
use super::blades::*;
use super::chance::Chance;

const RULE: &str = "[[steer]]\nfunction = \"web\"\nethertype = 0x88b6\n";

/// A chassis of `count` blades that have been heard, with this function and a rule that leads to it.
fn with_function(count: u8, function: &str) -> Stage {
    let mut stage = stage(&format!("{}[[function]]\nname = \"web\"\n{function}\n{RULE}", chassis(SILENT, count)));
    let stations: Vec<_> = (1..=count).map(|n| (slot(n), blade(n))).chain([(PortId(count), OUTSIDE)]).collect();
    teach(&mut stage, &stations);
    stage
}

/// One frame of each of these clients comes in by the uplink behind `count` blades; where each arrives.
fn clients(stage: &mut Stage, count: u8, numbers: impl IntoIterator<Item = u8>) -> BTreeMap<u8, PortId> {
    for n in numbers {
        stage.feed(PortId(count), [plain(blade(99), MacAddr([2, 0, 0, 0, 8, n]), 60, n)]);
        stage.advance(stage.now() + Nanos(2_000));
    }
    let mut at = BTreeMap::new();
    for (port, frame) in sent(stage) {
        assert_eq!(frame[..6], blade(port.0 + 1).0, "the destination is the blade's own address");
        assert_eq!(at.insert(frame[14], port), None, "a frame arrives once");
    }
    at
}

fn shown(stage: &Stage) -> Vec<show::FunctionBlade> {
    show::functions(&stage.switch.control).functions.remove(0).blades
}

#[test]
fn p57_a_standby_blade_takes_the_place_of_a_lost_one_and_nobody_else_notices() {
    let mut stage =
        with_function(6, "blades = [\"blade1\", \"blade2\", \"blade3\"]\nweights = { blade2 = 2 }\nstandby = [\"blade5\", \"blade4\"]");
    let states = |stage: &Stage| shown(stage).iter().map(|blade| blade.state).collect::<Vec<_>>();
    let before = clients(&mut stage, 6, 0..120);
    assert_eq!(before.len(), 120);
    assert!(before.values().all(|port| port.0 < 3), "standby blades have nothing to do");
    let parts: Vec<f64> = shown(&stage).iter().map(|blade| blade.part).collect();
    assert_eq!(states(&stage), [BladeState::Up, BladeState::Up, BladeState::Up, BladeState::Ready, BladeState::Ready]);

    // Blade 2 is lost: the first in the list takes its place, its weight, its flows and its part of new ones, and nothing else changes.
    stage.plug(slot(2), LinkState::Down);
    let after = clients(&mut stage, 6, 0..120);
    for (n, port) in &before {
        assert_eq!(after[n], if *port == slot(2) { slot(5) } else { *port }, "client {n}");
    }
    let blades = shown(&stage);
    assert_eq!(states(&stage), [BladeState::Up, BladeState::Down, BladeState::Up, BladeState::Up, BladeState::Ready]);
    let five = &blades[3];
    assert_eq!((five.blade.as_str(), five.duty, five.stands_for.as_deref(), five.weight), ("blade5", Duty::Standby, Some("blade2"), 2));
    assert_eq!(blades.iter().map(|blade| blade.part).collect::<Vec<_>>(), [parts[0], 0.0, parts[2], parts[1], 0.0]);
    assert_eq!(five.moved, before.values().filter(|port| **port == slot(2)).count() as u64);

    // It comes back: flows that live stay, new ones are its own again.
    stage.plug(slot(2), LinkState::Up);
    assert_eq!(clients(&mut stage, 6, 0..120), after);
    let new = clients(&mut stage, 6, 120..240);
    assert!(new.values().all(|port| port.0 < 3) && new.values().any(|port| *port == slot(2)));
    assert_eq!(states(&stage)[3], BladeState::Ready);
    assert_eq!(dropped(&stage), 0);
    end(stage);
}

#[test]
fn p57_a_standby_blade_gives_back_at_once_where_a_function_wants_it() {
    let mut stage = with_function(4, "blades = [\"blade1\", \"blade2\"]\nstandby = \"blade3\"\npreempt = true");
    let before = clients(&mut stage, 4, 0..60);
    stage.plug(slot(1), LinkState::Down);
    let during = clients(&mut stage, 4, 0..60);
    assert!(during.values().any(|port| *port == slot(3)) && during.values().all(|port| *port != slot(1)));
    stage.plug(slot(1), LinkState::Up);
    assert_eq!(clients(&mut stage, 4, 0..60), before);
    end(stage);
}

/// Blades are lost, drained and come back as a seed says: after each change as many standby blades are in service as active ones are missing
/// and standby ones are there, and no flow moves but those of a blade that is lost.
#[test]
fn p57_standby_blades_whatever_is_lost() {
    for seed in 0..6 {
        let preempt = seed % 2 == 1;
        let function =
            format!("blades = [\"blade1\", \"blade2\", \"blade3\", \"blade4\"]\nstandby = [\"blade6\", \"blade5\"]\npreempt = {preempt}");
        let mut stage = with_function(6, &function);
        let mut chance = Chance::new(seed);
        let mut at = clients(&mut stage, 6, 0..80);
        for step in 0..60 {
            let n = 1 + chance.below(6) as u8;
            let name = format!("blade{n}");
            match chance.below(6) {
                0 => stage.plug(slot(n), LinkState::Down),
                1 => drop(stage.switch.control.set_enabled(slot(n), false)),
                2 => stage.switch.control.set_blade("web", &name, None, Some(true)).unwrap(),
                3 => stage.switch.control.set_blade("web", &name, None, Some(false)).unwrap(),
                4 => drop(stage.switch.control.set_enabled(slot(n), true)),
                _ => stage.plug(slot(n), LinkState::Up),
            }
            stage.advance(stage.now() + Nanos::from_millis(1));
            let blades = shown(&stage);
            let state = |port: PortId| blades.iter().find(|shown| shown.blade == format!("blade{}", port.0 + 1)).unwrap().state;
            let count = |duty: Duty, states: &[BladeState]| {
                blades.iter().filter(|blade| blade.duty == duty && states.contains(&blade.state)).count()
            };
            let missing = 4 - count(Duty::Active, &[BladeState::Up]);
            let well = count(Duty::Standby, &[BladeState::Up, BladeState::Ready]);
            assert_eq!(count(Duty::Standby, &[BladeState::Up]), missing.min(well), "seed {seed}, step {step}: {blades:?}");
            // Those that are known, and one that begins.
            let newcomer = 80 + step;
            let now = clients(&mut stage, 6, (0..80).chain([newcomer]));
            let nobody = blades.iter().all(|blade| blade.state != BladeState::Up);
            for (n, port) in &now {
                assert!(matches!(state(*port), BladeState::Up | BladeState::Drain | BladeState::Ready));
                match at.get(n) {
                    Some(was)
                        if matches!(state(*was), BladeState::Up | BladeState::Drain) || state(*was) == BladeState::Ready && !preempt =>
                    {
                        assert_eq!(port, was, "seed {seed}, step {step}: client {n} moved from a blade that is well");
                    }
                    _ => assert_eq!(state(*port), BladeState::Up, "seed {seed}, step {step}: client {n}"),
                }
            }
            assert!(nobody || now.len() == 81, "seed {seed}, step {step}: {} of 81 arrive", now.len());
            // Whoever nobody took this time is where he was as far as the switch remembers.
            at.extend(now.into_iter().filter(|(n, _)| *n < 80));
        }
        end(stage);
    }
}

/// "readily added": rules that come at run time have standby blades as well, and their errors name the line.
#[test]
fn p57_standby_blades_at_run_time() {
    let mut stage = super::four_blades();
    let text = |standby: &str| format!("[[function]]\nname = \"web\"\nblades = [\"blade1\"]\nstandby = {standby}\n{RULE}");
    let control = &mut stage.switch.control;
    for (standby, expected) in [
        ("[\"blade1\"]", "rules:4:12: function.standby = \"blade1\" is used twice: first at line 3; expected each blade once"),
        ("\"uplink1\"", "rules:4:11: function.standby = \"uplink1\": no blade has this name"),
    ] {
        let error = control.set_steering(&text(standby), "rules").unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
    control.set_steering(&text("[\"blade2\"]"), "rules").unwrap();
    let error = control.set_blade("web", "blade2", Some(3), None).unwrap_err();
    assert_eq!(error, "blade2 is a standby blade of web: it has the weight of the blade it stands for");
    let written = control.config().to_toml().unwrap();
    assert!(written.contains("standby = [\"blade2\"]"), "{written}");
    stage.switch.control.set_enabled(slot(1), false);
    stage.feed(UPLINK_OF_FOUR, [plain(blade(1), OUTSIDE, 60, 1)]);
    assert_eq!(sent(&mut stage), [(slot(2), plain(blade(2), OUTSIDE, 60, 1))]);
    end(stage);
}
