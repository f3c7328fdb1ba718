//! Standby blades for identities, paragraphs [57] and [58]: the addresses of a blade that is lost are those of another until it is back.

use bladeswitch::replay::Stage;
use control::plane::Cause;
use control::show;
use port::{LinkState, Nanos, PortId};
use wire::MacAddr;
use wire::ethernet::{EtherType, Frame};
use wire::message::{Control, ControlMessage, Final, Hello, Identity, Message, MessageType, decode_advertise};

use super::UPLINK;
use super::blades::*;
use super::chance::Chance;

/// Where each of some frames came out.
type Frames = Vec<(PortId, Vec<u8>)>;

/// Four blades that have been heard; blade 4 stands by for the identity of blade 1.
fn stands_by(head: &str) -> Stage {
    let text = chassis(head, 4).replacen("slot = 1\n", "slot = 1\nstandby = \"blade4\"\n", 1);
    let mut stage = stage(&text);
    let stations = [(slot(1), blade(1)), (slot(2), blade(2)), (slot(3), blade(3)), (slot(4), blade(4)), (UPLINK, OUTSIDE)];
    for (port, mac) in stations {
        stage.feed(port, [plain(MacAddr::BROADCAST, mac, 60, 0)]);
        stage.advance(stage.now() + Nanos::from_millis(1));
    }
    stage.advance(stage.now() + Nanos::from_millis(20)); // What there was to advertise has been.
    stage.take_sent();
    stage
}

/// What came out within a millisecond; the switch's own messages are apart.
fn came(stage: &mut Stage) -> (Frames, Frames) {
    stage.advance(stage.now() + Nanos::from_millis(1));
    let sent = stage.take_sent().into_iter().map(|departure| (departure.port, departure.bytes));
    let own = |bytes: &[u8]| bytes[6..12] == SWITCH.0;
    sent.partition(|(_, bytes)| !own(bytes))
}

/// All that the identity of blade 1 is: frames for its MAC address, messages for its MAC and IP addresses, and packets for these.
/// Each must arrive once, at the blade in this slot and nowhere else.
fn check_identity(stage: &mut Stage, at: u8) {
    for from in [slot(2), UPLINK] {
        let src = if from == UPLINK { OUTSIDE } else { blade(2) };
        stage.feed(from, [plain(blade(1), src, 60, 7)]);
        for to in [Final::Mac(blade(1)), Final::Ipv4(ip(1)), Final::Ipv6(ip6(1))] {
            stage.feed(from, [message(SWITCH, src, to, b"whoever has it")]);
        }
        let (ethertype, packet) = ip_packet(ip(50).into(), ip(1).into());
        stage.feed(from, [frame(SWITCH, src, ethertype, &packet)]);
        let (got, _) = came(stage);
        assert_eq!(got.len(), 5, "{got:?}");
        for (port, bytes) in got {
            assert_eq!((port, &bytes[..6]), (slot(at), &blade(1).0[..]));
        }
    }
}

/// What the switch has advertised: each blade is told the same.
fn advertised(stage: &mut Stage) -> Vec<Identity> {
    stage.advance(stage.now() + Nanos::from_millis(10));
    let (_, own) = came(stage);
    let told = |n: u8| -> Vec<Identity> {
        let bodies = own.iter().filter(|(port, _)| *port == slot(n)).flat_map(|(_, bytes)| {
            let message = Message::parse(&Frame::new_checked(bytes).unwrap()).unwrap();
            assert_eq!(message.message_type, MessageType::Advertise);
            decode_advertise(message.body).unwrap()
        });
        bodies.collect()
    };
    assert_eq!(told(2), told(3));
    told(2)
}

fn causes(stage: &Stage) -> Vec<(String, Cause)> {
    show::identities(&stage.switch.control).handovers.into_iter().map(|event| (event.event, event.cause)).collect()
}

fn hello(n: u8, transaction: u32) -> Vec<u8> {
    let hello = Hello { slot: u16::from(n), interval_ms: 100, rate_bps: 0, macs: vec![blade(n)], ips: Vec::new(), functions: Vec::new() };
    let body = ControlMessage { session: 1, transaction, control: Control::Hello(hello) }.encode(None);
    typed(SWITCH, blade(n), Final::Mac(SWITCH), MessageType::Hello, &body)
}

#[test]
fn p57_a_standby_blade_has_the_identity_of_a_lost_one_until_it_is_back() {
    let mut stage = stands_by("");
    check_identity(&mut stage, 1);
    type Act = fn(&mut Stage);
    let ways: [(Cause, Act, Act); 2] = [
        (Cause::LinkDown, |stage| stage.plug(slot(1), LinkState::Down), |stage| stage.plug(slot(1), LinkState::Up)),
        (
            Cause::Detached,
            |stage| assert!(stage.switch.control.set_enabled(slot(1), false)),
            |stage| assert!(stage.switch.control.set_enabled(slot(1), true)),
        ),
    ];
    for (cause, pull, put_back) in ways {
        pull(&mut stage);
        stage.advance(stage.now() + Nanos(1)); // The link is looked at, and the workers are told.
        check_identity(&mut stage, 4);
        // Everybody is told: who was in slot 1 is in slot 4.
        let told = advertised(&mut stage);
        assert!(told[0].slot == 1 && told[0].macs.is_empty() && told[0].ips.is_empty(), "{told:?}");
        let four = told.iter().find(|identity| identity.slot == 4 && !identity.macs.is_empty()).unwrap();
        assert_eq!(four.macs, [blade(1), blade(4)]);
        assert_eq!(four.ips, [ip(1).into(), ip(4).into(), ip6(1).into(), ip6(4).into()] as [std::net::IpAddr; 4]);
        assert!(told[1..].iter().all(|identity| identity.slot != 1), "{told:?}");
        assert_eq!(causes(&stage).last().unwrap(), &("identity-taken".to_owned(), cause));
        let shown = show::identities(&stage.switch.control).standbys;
        assert_eq!((shown.len(), shown[0].blade.as_str(), shown[0].holder.as_str()), (1, "blade1", "blade4"));
        // Its own frames still arrive, and so do everybody else's.
        stage.feed(slot(2), [plain(blade(4), blade(2), 60, 1), plain(blade(3), blade(2), 60, 2)]);
        let (got, _) = came(&mut stage);
        assert_eq!(got, [(slot(3), plain(blade(3), blade(2), 60, 2)), (slot(4), plain(blade(4), blade(2), 60, 1))]);

        put_back(&mut stage);
        stage.advance(stage.now() + Nanos(1));
        check_identity(&mut stage, 1);
        let told = advertised(&mut stage);
        let of = |n: u16| {
            told.iter().filter(move |identity| identity.slot == n && !identity.macs.is_empty()).map(|identity| identity.macs.clone())
        };
        assert_eq!((of(1).collect::<Vec<_>>(), of(4).collect::<Vec<_>>()), (vec![vec![blade(1)]], vec![vec![blade(4)]]));
        assert_eq!(causes(&stage).last().unwrap(), &("identity-returned".to_owned(), Cause::Returned));
    }
    let counters = stage.switch.control.counters();
    assert_eq!((counters.identities_taken, counters.identities_returned, counters.moves), (2, 2, 0));
    assert_eq!(dropped(&stage), 0);
    end(stage);
}

/// A blade that has fallen silent is lost with its link up; with its next hello it is back.
#[test]
fn p57_the_identity_of_a_silent_blade_is_taken() {
    let mut stage = stands_by(SILENT);
    stage.feed(slot(1), [hello(1, 1)]);
    came(&mut stage);
    check_identity(&mut stage, 1);
    let heard = stage.now();
    stage.advance(heard + Nanos::from_millis(295));
    check_identity(&mut stage, 1);
    stage.advance(heard + Nanos::from_millis(301));
    check_identity(&mut stage, 4);
    assert_eq!(causes(&stage), [("identity-taken".to_owned(), Cause::Silent)]);
    // It still says something, but no hello: the identity stays where it is, and nothing moves.
    stage.feed(slot(1), [plain(blade(2), blade(1), 60, 9)]);
    assert_eq!(came(&mut stage).0, [(slot(2), plain(blade(2), blade(1), 60, 9))]);
    check_identity(&mut stage, 4);
    stage.feed(slot(1), [hello(1, 2)]);
    came(&mut stage);
    check_identity(&mut stage, 1);
    assert_eq!(stage.switch.control.counters().moves, 0);
    stage.take_sent();
    stage.switch.check_ledger().unwrap();
}

/// What a blade has said of itself by ARP goes with its identity; what others behind its port have said does not.
#[test]
fn p57_learned_ip_addresses_go_with_the_identity() {
    let mut stage = stands_by(SILENT);
    let said = |mac: MacAddr, n: u8| {
        let arp = [&[0, 1, 8, 0, 6, 4, 0, 1][..], &mac.0, &ip(n).octets(), &[0; 6], &ip(n).octets()].concat();
        frame(MacAddr::BROADCAST, mac, EtherType::ARP, &arp)
    };
    let guest = MacAddr([2, 0, 0, 0, 1, 1]);
    stage.feed(slot(1), [said(blade(1), 77), said(guest, 78)]);
    came(&mut stage);
    let mut find = |n: u8| {
        stage.feed(slot(2), [message(SWITCH, blade(2), Final::Ipv4(ip(n)), b"?")]);
        came(&mut stage).0.first().map(|(port, bytes)| (*port, bytes[..6].to_vec()))
    };
    assert_eq!((find(77), find(78)), (Some((slot(1), blade(1).0.to_vec())), Some((slot(1), guest.0.to_vec()))));
    stage.plug(slot(1), LinkState::Down);
    let mut find = |n: u8| {
        stage.feed(slot(2), [message(SWITCH, blade(2), Final::Ipv4(ip(n)), b"?")]);
        came(&mut stage).0.first().map(|(port, bytes)| (*port, bytes[..6].to_vec()))
    };
    assert_eq!((find(77), find(78)), (Some((slot(4), blade(1).0.to_vec())), None));
    stage.switch.check_ledger().unwrap();
}

/// Both blades come and go as a seed says: the identity is at the standby while the owner is lost and the standby is not, else at the owner.
/// Every frame arrives there once, or is dropped because nobody is there.
#[test]
fn p57_identities_whatever_is_lost() {
    for seed in 0..6 {
        let mut stage = stands_by(SILENT);
        let mut chance = Chance::new(seed);
        let (mut link, mut enabled) = ([true; 5], [true; 5]);
        let (mut lost, mut changes, mut before) = (0, 0, 1);
        for step in 0..200 {
            let n = chance.pick(&[1u8, 4]);
            let up = !chance.one_in(3);
            if chance.one_in(2) {
                link[usize::from(n)] = up;
                stage.plug(slot(n), if up { LinkState::Up } else { LinkState::Down });
            } else {
                enabled[usize::from(n)] = up;
                stage.switch.control.set_enabled(slot(n), up);
            }
            stage.advance(stage.now() + Nanos::from_millis(1));
            let well = |n: usize| link[n] && enabled[n];
            let at = if !well(1) && well(4) { 4 } else { 1 };
            changes += u64::from(at != before);
            before = at;
            stage.feed(slot(2), [plain(blade(1), blade(2), 60, step as u8)]);
            stage.feed(slot(3), [message(SWITCH, blade(3), Final::Ipv4(ip(1)), b"there?")]);
            let got: Vec<PortId> = came(&mut stage).0.into_iter().map(|(port, _)| port).collect();
            match well(usize::from(at)) {
                true => assert_eq!(got, [slot(at), slot(at)], "seed {seed}, step {step}"),
                false => {
                    lost += 2;
                    assert_eq!(got, [], "seed {seed}, step {step}");
                }
            }
        }
        let counters = stage.switch.control.counters();
        assert_eq!(counters.identities_taken + counters.identities_returned, changes, "seed {seed}");
        assert!(changes > 20 && lost > 20, "seed {seed}: {changes} changes, {lost} frames for nobody");
        assert_eq!(dropped(&stage), lost, "seed {seed}");
        end(stage);
    }
}
