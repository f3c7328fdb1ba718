//! The figures of the patent application *System and Method for Communicating Between Servers Using a Multi-Server
//! Platform*, one after the other. Numbers in brackets are its paragraphs.

#[path = "patent/backplanes.rs"]
mod backplanes;
#[path = "patent/bays.rs"]
mod bays;
mod blades;
#[path = "patent/bus.rs"]
mod bus;
#[allow(dead_code)]
#[path = "simulation/chance.rs"]
mod chance;
#[path = "patent/hotswap.rs"]
mod hotswap;
#[path = "patent/identity.rs"]
mod identity;
#[path = "patent/joined.rs"]
mod joined;
#[path = "patent/probe.rs"]
mod probe;
#[path = "patent/rates.rs"]
mod rates;
#[path = "patent/reload.rs"]
mod reload;
#[path = "patent/standby.rs"]
mod standby;
#[path = "patent/steering.rs"]
mod steering;

use blades::*;
use port::{Nanos, PortId};
use wire::MacAddr;
use wire::ethernet::{EtherType, Frame};
use wire::message::{Final, Header, Message, MessageError, MessageType, Notice, NoticeReason};

/// The uplink of a chassis of four.
const UPLINK: PortId = PortId(4);

fn four_blades() -> bladeswitch::replay::Stage {
    four_blades_of(SILENT)
}

/// Four blades that have been heard, behind a switch whose configuration begins with `head`.
fn four_blades_of(head: &str) -> bladeswitch::replay::Stage {
    let mut stage = stage(&chassis(head, 4));
    teach(&mut stage, &[(slot(1), blade(1)), (slot(2), blade(2)), (slot(3), blade(3)), (slot(4), blade(4)), (UPLINK, OUTSIDE)]);
    stage
}

/// FIG. 3, [38] and [39]: blade 1 transfers to 2, 3 to 4, 2 to 1 and 3 to 2, all at the same time, while the external network
/// exchanges traffic with blades over the uplink.
#[test]
fn fig_3() {
    const LEN: usize = 1514;
    const ROUNDS: u64 = 50;
    // A frame with preamble, FCS and gap at 1 Gb/s: the ports of the blades are fed at line rate.
    let round = Nanos((LEN as u64 + 24) * 8);
    let mut stage = four_blades();
    let start = stage.now() + Nanos::from_millis(1);
    let mut expected = Vec::new();
    for k in 0..ROUNDS {
        let now = Nanos(start.0 + k * round.0);
        stage.advance(now);
        let even = k % 2 == 0;
        // No port is sent more than it can carry; all of them receive, and all of them send.
        let mut transfers = vec![
            (slot(1), if even { (slot(2), blade(2)) } else { (UPLINK, OUTSIDE) }, blade(1)),
            (slot(3), if even { (slot(4), blade(4)) } else { (slot(2), blade(2)) }, blade(3)),
            (slot(2), (slot(1), blade(1)), blade(2)),
            (slot(4), (UPLINK, OUTSIDE), blade(4)),
        ];
        if !even {
            transfers.push((UPLINK, (slot(4), blade(4)), OUTSIDE));
        }
        let mut ahead = 0; // Frames that the uplink has been given in this round.
        for (from, (to, dst), src) in transfers {
            let bytes = plain(dst, src, LEN, k as u8);
            stage.feed(from, [bytes.clone()]);
            // Two blades may have a frame for the uplink at the same time: the second follows the first and its gap.
            let (bit_ps, before) = if to == UPLINK { (100, ahead) } else { (1000, 0) };
            ahead += if to == UPLINK { LEN + 24 } else { 0 };
            expected.push((now + on_the_wire(before + LEN, bit_ps), to, bytes));
        }
    }
    stage.finish();
    let mut got: Vec<_> = stage.take_sent().into_iter().map(|departure| (departure.time, departure.port, departure.bytes)).collect();
    expected.sort();
    got.sort();
    for (expected, got) in expected.iter().zip(&got) {
        assert_eq!((expected.0, expected.1, &expected.2[..15]), (got.0, got.1, &got.2[..15]));
        assert_eq!(expected.2, got.2);
    }
    assert_eq!(got.len(), expected.len());
    assert_eq!(dropped(&stage), 0, "simultaneous transfers take nothing from each other");
    end(stage);
}

/// FIG. 3 where two transfers are for one blade at the same instant: the second waits for the first and nothing else does.
#[test]
fn fig_3_two_for_one() {
    let mut stage = four_blades();
    let now = stage.now() + Nanos::from_millis(1);
    stage.advance(now);
    stage.feed(slot(1), [plain(blade(2), blade(1), 60, 1)]);
    stage.feed(slot(3), [plain(blade(2), blade(3), 1514, 2), plain(blade(4), blade(3), 60, 3)]);
    stage.feed(UPLINK, [plain(blade(2), OUTSIDE, 60, 4)]);
    stage.finish();
    let got: Vec<_> = stage.take_sent().iter().map(|frame| (frame.time.0 - now.0, frame.port, frame.bytes[14])).collect();
    let first = (8 + 60 + 4) * 8;
    let second = (60 + 24) * 8 + (8 + 1514 + 4) * 8;
    let third = (60 + 24) * 8 + (1514 + 24) * 8 + (8 + 60 + 4) * 8;
    assert_eq!(got, [(first, slot(2), 1), (first, slot(4), 3), (second, slot(2), 2), (third, slot(2), 4)]);
    end(stage);
}

/// FIG. 5, [45]: a message has an initial destination, a final destination and a source, each an address, and a body.
#[test]
fn fig_5() {
    let body = b"actual data";
    for (to, kind, octets) in [
        (Final::Mac(blade(2)), 1, blade(2).0.to_vec()), // "a medium access control (MAC) address ..."
        (Final::Ipv4(ip(2)), 2, ip(2).octets().to_vec()), // "... and/or an Internet protocol (IP) address"
        (Final::Ipv6(ip6(2)), 3, ip6(2).octets().to_vec()),
    ] {
        let bytes = message(SWITCH, blade(1), to, body);
        assert_eq!(bytes[..6], SWITCH.0, "initial destination 508");
        assert_eq!(bytes[6..12], blade(1).0, "source 512");
        assert_eq!(bytes[12..14], [0x88, 0xb5]);
        assert_eq!(bytes[14..18], [1, 0, kind, 0], "version, type, kind, flags");
        assert_eq!(bytes[18..20], [0, 0], "an opaque body");
        assert_eq!(bytes[20..22], (body.len() as u16).to_be_bytes());
        assert_eq!(bytes[22..38], [&octets[..], &[0; 16][octets.len()..]].concat(), "final destination 510");
        assert_eq!(&bytes[38..38 + body.len()], body, "body 506");
        let read = Message::parse(&Frame::new_checked(&bytes).unwrap()).unwrap();
        assert_eq!((read.initial_destination, read.final_destination, read.source), (SWITCH, to, blade(1)));
        assert_eq!((read.message_type, read.body), (MessageType::Data, &body[..]));
    }
}

/// FIG. 6, [46] to [49]: blade 1 writes to blade 2 by way of the switch blade, which overwrites the initial destination with the
/// final one and changes nothing else.
#[test]
fn fig_6() {
    let mut stage = four_blades();
    // [46] FIG. 6a: initial destination is the switch blade, final destination blade 2, source blade 1.
    #[rustfmt::skip]
    let fig_6a = vec![
        0x02, 0, 0, 0, 0, 0xfe, 0x02, 0, 0, 0, 0, 0x01, 0x88, 0xb5,
        1, 0, 1, 0, 0, 0, 0, 5,
        0x02, 0, 0, 0, 0, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        b'h', b'e', b'l', b'l', b'o',
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    stage.feed(slot(1), [fig_6a.clone()]);
    // [48], [49] FIG. 6b: initial and final destination are the same; source and body are what they were.
    let mut fig_6b = fig_6a;
    fig_6b[..6].copy_from_slice(&[0x02, 0, 0, 0, 0, 0x02]);
    assert_eq!(fig_6b[..6], fig_6b[22..28]);
    // [50] Blade 2 gets it, and nobody else.
    assert_eq!(sent(&mut stage), [(slot(2), fig_6b)]);
    end(stage);
}

/// FIG. 7, [51] to [54]: blade 2 answers the source it finds in the message.
///
/// [53] says that both destinations of FIG. 7b "contain the address of blade server No. 2". By [52] they contain that of blade
/// server No. 1, for which the response is, and by [54] that is who listens for it: the switch follows [52].
#[test]
fn fig_7() {
    let mut stage = four_blades();
    stage.feed(slot(1), [message(SWITCH, blade(1), blade(2), b"hello")]);
    let received = sent(&mut stage);
    // [51] "the source of the received message may be determined from the source address 628 portion".
    let request = Message::parse(&Frame::new_checked(&received[0].1).unwrap()).unwrap();
    assert_eq!(request.source, blade(1));
    let fig_7a = message(SWITCH, blade(2), request.source, b"hello, 1");
    stage.feed(slot(2), [fig_7a.clone()]);
    // [52] FIG. 7b: both destinations are blade 1. [53] Source and body are those of FIG. 7a.
    let fig_7b = [&blade(1).0[..], &fig_7a[6..]].concat();
    assert_eq!(sent(&mut stage), [(slot(1), fig_7b)]);
    end(stage);
}

/// [45]: the final destination is a MAC or an IP address; either way the initial destination becomes the MAC of who has it.
#[test]
fn final_destination_as_mac_ipv4_and_ipv6() {
    let mut stage = four_blades();
    for to in [Final::Mac(blade(3)), Final::Ipv4(ip(3)), Final::Ipv6(ip6(3))] {
        let bytes = message(SWITCH, blade(1), to, b"to blade 3");
        stage.feed(slot(1), [bytes.clone()]);
        assert_eq!(sent(&mut stage), [(slot(3), [&blade(3).0[..], &bytes[6..]].concat())], "{to}");
    }
    end(stage);
}

/// A message of any length keeps every octet but the six of its initial destination, in buffers and chains of buffers.
#[test]
fn messages_of_every_length_arrive_whole() {
    let mut stage = four_blades();
    for len in [0, 1, 21, 22, 23, 1000, 1476, 1882, 1883, 4000, 9178] {
        let body: Vec<u8> = (0..len).map(|i| (i * 7 + len) as u8).collect();
        let bytes = message(SWITCH, blade(1), blade(2), &body);
        stage.feed(slot(1), [bytes.clone()]);
        let got = sent(&mut stage);
        assert_eq!(got, [(slot(2), [&blade(2).0[..], &bytes[6..]].concat())], "{len} bytes of body");
        assert_eq!(Message::parse(&Frame::new_checked(&got[0].1).unwrap()).unwrap().body, body);
    }
    end(stage);
}

/// [55]: "a broadcast address, for example, may be placed in at least the initial destination address 508 portion or the final
/// address 510 portion".
#[test]
fn broadcast_as_initial_and_final_destination() {
    let all_but = |port: PortId| (0..5).map(PortId).filter(move |&other| other != port);
    let mut stage = four_blades();
    let mut check = |initial: MacAddr, to: Final, arrives_at: MacAddr| {
        let bytes = message(initial, blade(2), to, b"everybody");
        stage.feed(slot(2), [bytes.clone()]);
        let copy = [&arrives_at.0[..], &bytes[6..]].concat();
        let expected: Vec<_> = all_but(slot(2)).map(|port| (port, copy.clone())).collect();
        assert_eq!(sent(&mut stage), expected, "initial {initial}, final {to}");
    };
    let everybody = MacAddr::BROADCAST;
    check(everybody, Final::Mac(everybody), everybody); // in both
    check(everybody, Final::Mac(blade(1)), everybody); // in the initial destination: bridged as any broadcast, unread
    check(SWITCH, Final::Mac(everybody), everybody); // in the final destination
    check(SWITCH, Final::Ipv4([255, 255, 255, 255].into()), everybody);
    // Some of them: the group's MAC is known without a table (RFC 1112 §6.4, RFC 2464 §7).
    check(SWITCH, Final::Mac(MacAddr([3, 0, 0, 0, 0, 1])), MacAddr([3, 0, 0, 0, 0, 1]));
    check(SWITCH, Final::Ipv4([239, 129, 2, 3].into()), MacAddr([1, 0, 0x5e, 1, 2, 3]));
    check(SWITCH, Final::Ipv6("ff02::1:2".parse().unwrap()), MacAddr([0x33, 0x33, 0, 1, 0, 2]));
    end(stage);
}

/// [55] and IEEE 802.1Q table 8-1: a final destination is no way around the addresses that no bridge forwards.
#[test]
fn a_link_local_final_destination_goes_nowhere() {
    let mut stage = four_blades();
    for last in 0..=15 {
        stage.feed(slot(1), [message(SWITCH, blade(1), MacAddr([1, 0x80, 0xc2, 0, 0, last]), b"spanning tree?")]);
    }
    assert_eq!(sent(&mut stage), []);
    assert_eq!(drops(&stage, slot(1), "link-local"), 16);
    stage.feed(slot(1), [message(SWITCH, blade(1), MacAddr([1, 0x80, 0xc2, 0, 0, 16]), b"an ordinary group")]);
    assert_eq!(sent(&mut stage).len(), 4);
    end(stage);
}

/// [48] read the other way: who cannot be found gets nothing, under a name; and who wrote to him is told.
#[test]
fn an_unknown_final_destination_is_dropped_and_its_source_told() {
    let mut stage = four_blades();
    let unknown = [Final::Mac(blade(99)), Final::Ipv4(ip(99)), Final::Ipv6(ip6(99))];
    for to in unknown {
        let lost = message(SWITCH, blade(1), to, b"anybody there?");
        stage.feed(slot(1), [lost.clone()]);
        let got = sent(&mut stage);
        let [(port, bytes)] = &got[..] else { panic!("one notice, not {got:?}") };
        assert_eq!(*port, slot(1));
        let notice = Message::parse(&Frame::new_checked(bytes).unwrap()).unwrap();
        assert_eq!((notice.initial_destination, notice.source, notice.message_type), (blade(1), SWITCH, MessageType::Notice));
        assert_eq!(notice.final_destination, Final::Mac(blade(1)));
        let told = Notice::decode(notice.body).unwrap();
        assert_eq!((told.reason, told.final_destination), (NoticeReason::FinalUnknown, to));
        assert_eq!(told.offending, &lost[14..14 + 24 + 14], "the start of the message that went nowhere, and nothing that was not in it");
    }
    // About a Notice there is none: two switches would never stop.
    stage.feed(slot(1), [typed(SWITCH, blade(1), blade(99), MessageType::Notice, &[1, 1])]);
    assert_eq!(sent(&mut stage), []);
    assert_eq!(drops(&stage, slot(1), "final-unknown"), 4);
    end(stage);
}

/// So many notices a second as the configuration allows, and one for every message while there are fewer.
#[test]
fn notices_are_limited() {
    let mut stage = stage(&chassis("lanes = { notices_per_s = 10 }\nidentity = { advertise = false }\n", 2));
    let lost = || message(SWITCH, blade(1), blade(99), b"again");
    stage.feed(slot(1), (0..100).map(|_| lost()));
    assert_eq!(sent(&mut stage).len(), 10, "what has been saved up");
    for _ in 0..1000 {
        stage.advance(stage.now() + Nanos::from_millis(2));
        stage.feed(slot(1), [lost()]);
    }
    let later = sent(&mut stage).len();
    assert!((19..=20).contains(&later), "two seconds at ten a second, not {later}");
    let counters = stage.switch.control.counters();
    assert_eq!((counters.notices, counters.notices_limited), (10 + later as u64, 1100 - 10 - later as u64));
    assert_eq!(drops(&stage, slot(1), "final-unknown"), 1100, "each of them is counted");
    end(stage);

    let mut silent = blades::stage(&chassis("lanes = { notice = false }\nidentity = { advertise = false }\n", 2));
    silent.feed(slot(1), [lost()]);
    assert_eq!((sent(&mut silent), drops(&silent, slot(1), "final-unknown")), (vec![], 1));
    end(silent);
}

/// [47], [48]: the switch acquires messages that contain its address. Others it bridges, unread.
#[test]
fn a_message_for_somebody_else_is_bridged_unread() {
    let mut stage = four_blades();
    // [50] "or within the initial destination address 624 portion": the final destination is not looked at, nor is the rest.
    let mut bytes = message(blade(4), blade(1), blade(2), b"direct");
    stage.feed(slot(1), [bytes.clone()]);
    assert_eq!(sent(&mut stage), [(slot(4), bytes.clone())]);
    bytes[14] = 77; // A version nobody knows.
    stage.feed(slot(1), [bytes.clone()]);
    assert_eq!(sent(&mut stage), [(slot(4), bytes)]);
    end(stage);
}

/// A message that cannot be read is dropped under a name: its destination was not understood, so it is not overwritten.
#[test]
fn malformed_messages_are_dropped() {
    let good = message(SWITCH, blade(1), blade(2), b"hello");
    let edit = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        bytes
    };
    let cases = [
        (edit(14, 0), MessageError::Version(0)),
        (edit(14, 2), MessageError::Version(2)),
        (edit(16, 0), MessageError::Kind(0)),
        (edit(16, 4), MessageError::Kind(4)),
        (edit(21, 23), MessageError::BodyLength { claimed: 23, available: 22 }), // One byte more than the frame has.
        (edit(20, 0xff), MessageError::BodyLength { claimed: 0xff05, available: 22 }),
    ];
    let mut stage = four_blades();
    for (count, (bytes, error)) in cases.into_iter().enumerate() {
        assert_eq!(Header::parse(&bytes[14..]), Err(error));
        stage.feed(slot(1), [bytes]);
        assert_eq!(sent(&mut stage), []);
        assert_eq!(drops(&stage, slot(1), "message-malformed"), count as u64 + 1);
    }
    // The longest body there can be in this frame, flags, and a type that nobody knows are no reason.
    for good in [edit(21, 22), edit(17, 0xff), edit(15, 9)] {
        stage.feed(slot(1), [good.clone()]);
        assert_eq!(sent(&mut stage), [(slot(2), [&blade(2).0[..], &good[6..]].concat())]);
    }
    end(stage);
}

/// A body length beyond a frame that lies in several buffers is found as well.
#[test]
fn a_long_message_that_claims_too_much_is_malformed() {
    let mut stage = four_blades();
    let mut bytes = message(SWITCH, blade(1), blade(2), &[7; 5000]);
    bytes[20..22].copy_from_slice(&5001u16.to_be_bytes());
    stage.feed(slot(1), [bytes]);
    assert_eq!((sent(&mut stage), drops(&stage, slot(1), "message-malformed")), (vec![], 1));
    end(stage);
}

/// The lane can be switched off; the frames it would have taken have a name of their own.
#[test]
fn lanes_can_be_switched_off() {
    let mut stage = stage(&chassis("lanes = { message = false, ip = false }\nidentity = { advertise = false }\n", 2));
    let (ethertype, packet) = ip_packet(ip(1).into(), ip(2).into());
    stage.feed(slot(1), [message(SWITCH, blade(1), blade(2), b"hello"), frame(SWITCH, blade(1), ethertype, &packet)]);
    assert_eq!((sent(&mut stage), drops(&stage, slot(1), "lane-off")), (vec![], 2));
    end(stage);
}

/// The same promise to hosts that know nothing of messages, [10] and [25]: an IP packet sent to the switch blade goes to who has
/// its destination address, by the identities that the switch blade has acquired.
#[test]
fn ip_lane() {
    let mut stage = four_blades();
    for (src, dst) in [(ip(1).into(), ip(3).into()), (ip6(1).into(), ip6(3).into())] {
        let (ethertype, packet) = ip_packet(src, dst);
        let bytes = frame(SWITCH, blade(1), ethertype, &packet);
        stage.feed(slot(1), [bytes.clone()]);
        assert_eq!(sent(&mut stage), [(slot(3), [&blade(3).0[..], &bytes[6..]].concat())], "{dst}");
    }
    for (src, dst) in [(ip(1).into(), ip(99).into()), (ip6(1).into(), ip6(99).into())] {
        let (ethertype, packet) = ip_packet(src, dst);
        stage.feed(slot(1), [frame(SWITCH, blade(1), ethertype, &packet)]);
        assert_eq!(sent(&mut stage), [], "{dst}");
    }
    assert_eq!(drops(&stage, slot(1), "neighbor-unknown"), 2);
    // Something else for the switch's address is nothing the switch does.
    stage.feed(slot(1), [frame(SWITCH, blade(1), EtherType(0x88b6), b"?")]);
    assert_eq!((sent(&mut stage), drops(&stage, slot(1), "not-for-us")), (vec![], 1));
    end(stage);
}

/// A neighbour that has not been heard behind any port is looked for as any bridge would: its IP address vouches for it.
#[test]
fn a_known_address_behind_an_unknown_port_is_flooded() {
    let mut stage = stage(&chassis(SILENT, 3));
    let bytes = message(SWITCH, blade(1), Final::Ipv4(ip(3)), b"hello");
    stage.feed(slot(1), [bytes.clone()]);
    let copy = [&blade(3).0[..], &bytes[6..]].concat();
    assert_eq!(sent(&mut stage), [(slot(2), copy.clone()), (slot(3), copy.clone()), (PortId(3), copy)]);
    end(stage);
}
