//! What control does with what it hears: ARP and neighbour discovery answered and learned from, identities advertised, links
//! watched, tables set by hand, flushed and shown.

mod blades;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use blades::*;
use bladeswitch::replay::Stage;
use dataplane::fdb::Record;
use port::{LinkState, Nanos, PortId};
use wire::arp::{Arp, Operation};
use wire::ethernet::{EtherType, Frame};
use wire::message::{Final, Identity, Message, MessageType, decode_advertise};
use wire::nd::{self, Advertisement};
use wire::{MacAddr, Vid};

const NOBODY: MacAddr = MacAddr([0; 6]);

fn arp(operation: Operation, sender: (MacAddr, Ipv4Addr), target: (MacAddr, Ipv4Addr)) -> Vec<u8> {
    let (sender_mac, sender_ip) = sender;
    let (target_mac, target_ip) = target;
    Arp { operation, sender_mac, sender_ip, target_mac, target_ip }.emit().to_vec()
}

/// `sender` asks everybody who has `target`.
fn arp_request(sender: (MacAddr, Ipv4Addr), target: Ipv4Addr) -> Vec<u8> {
    frame(MacAddr::BROADCAST, sender.0, EtherType::ARP, &arp(Operation::Request, sender, (NOBODY, target)))
}

/// `sender` says that it has its address.
fn announcement(sender: (MacAddr, Ipv4Addr)) -> Vec<u8> {
    arp_request(sender, sender.1)
}

/// `asker` at `mac` asks the group of `target` for its MAC.
fn solicitation(asker: Ipv6Addr, mac: MacAddr, target: Ipv6Addr) -> Vec<u8> {
    frame(nd::multicast_mac(nd::solicited_node(target)), mac, EtherType::IPV6, &nd::solicit(asker, mac, target))
}

fn three_blades(head: &str) -> Stage {
    let mut stage = stage(&chassis(head, 3));
    sent(&mut stage);
    stage
}

fn ports(sent: &[(PortId, Vec<u8>)]) -> Vec<u8> {
    sent.iter().map(|(port, _)| port.0).collect()
}

/// The MAC control knows for an address of VLAN 1.
fn neighbor(stage: &Stage, ip: impl Into<IpAddr>) -> Option<MacAddr> {
    stage.switch.control.neighbors().get(Vid::DEFAULT, ip.into()).map(|neighbor| neighbor.mac)
}

fn fdb(stage: &mut Stage) -> Vec<Record> {
    let request = stage.switch.control.request_fdb();
    for _ in 0..1000 {
        stage.advance(stage.now());
        if let Some(records) = stage.switch.control.fdb_records(request) {
            return records;
        }
    }
    panic!("the table is not shown");
}

#[test]
fn arp_is_answered_for_known_addresses_and_not_flooded() {
    let mut stage = three_blades(SILENT);
    stage.feed(slot(1), [arp_request((blade(1), ip(1)), ip(2))]);
    #[rustfmt::skip]
    let reply = vec![
        0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2, 0x08, 0x06, // to blade 1, as if from blade 2
        0, 1, 8, 0, 6, 4, 0, 2,
        0x02, 0, 0, 0, 0, 2, 198, 18, 0, 2, 0x02, 0, 0, 0, 0, 1, 198, 18, 0, 1,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    assert_eq!(sent(&mut stage), [(slot(1), reply)]);
    assert_eq!(stage.switch.control.counters().arp_answered, 1);
    // A probe is answered as well (RFC 5227 §2.1.1): whoever wants the address must find out that it is taken.
    stage.feed(slot(1), [arp_request((blade(1), Ipv4Addr::UNSPECIFIED), ip(2))]);
    assert_eq!(ports(&sent(&mut stage)), [0]);
    end(stage);
}

#[test]
fn arp_that_control_does_not_answer_goes_on() {
    let mut stage = three_blades(SILENT);
    let everybody_else = [1, 2, 3];
    for (what, frame) in [
        ("an address nobody has", arp_request((blade(1), ip(1)), ip(99))),
        ("a probe for it", arp_request((blade(1), Ipv4Addr::UNSPECIFIED), ip(99))),
        ("an announcement", announcement((blade(1), ip(1)))),
        ("an announcement by somebody else", announcement((blade(1), ip(2)))),
        ("the owner's own probe", arp_request((blade(1), Ipv4Addr::UNSPECIFIED), ip(1))),
        ("a reply", frame(MacAddr::BROADCAST, blade(1), EtherType::ARP, &arp(Operation::Reply, (blade(1), ip(1)), (blade(2), ip(2))))),
    ] {
        stage.feed(slot(1), [frame.clone()]);
        let sent = sent(&mut stage);
        assert_eq!(ports(&sent), everybody_else, "{what}");
        assert!(sent.iter().all(|(_, bytes)| *bytes == frame), "{what}");
    }
    // To one station: whether it is still there is for it to say (RFC 1122 §2.3.2.1).
    teach(&mut stage, &[(slot(2), blade(2))]);
    let poll = frame(blade(2), blade(1), EtherType::ARP, &arp(Operation::Request, (blade(1), ip(1)), (NOBODY, ip(2))));
    stage.feed(slot(1), [poll.clone()]);
    assert_eq!(sent(&mut stage), [(slot(2), poll)]);
    assert_eq!(stage.switch.control.counters().arp_answered, 0);
    end(stage);
}

#[test]
fn neighbor_solicitations_are_answered_for_known_addresses() {
    let mut stage = three_blades(SILENT);
    stage.feed(slot(1), [solicitation(ip6(1), blade(1), ip6(2))]);
    // Solicited, and it does not override what the asker has cached (RFC 4861 §7.2.8).
    let answer = Advertisement { router: false, solicited: true, override_cached: false, target: ip6(2), mac: Some(blade(2)) };
    let expected = frame(blade(1), blade(2), EtherType::IPV6, &nd::advertise(ip6(2), ip6(1), &answer));
    assert_eq!(sent(&mut stage), [(slot(1), expected)]);
    assert_eq!(stage.switch.control.counters().nd_answered, 1);

    let unsolicited = Advertisement { router: false, solicited: false, override_cached: true, target: ip6(1), mac: Some(blade(1)) };
    let all_nodes: Ipv6Addr = "ff02::1".parse().unwrap();
    for (what, bytes) in [
        ("an address nobody has", solicitation(ip6(1), blade(1), ip6(99))),
        ("the check for duplicates", solicitation(Ipv6Addr::UNSPECIFIED, blade(1), ip6(2))),
        ("the owner's own", solicitation(ip6(9), blade(2), ip6(2))),
        (
            "an advertisement",
            frame(nd::multicast_mac(all_nodes), blade(1), EtherType::IPV6, &nd::advertise(ip6(1), all_nodes, &unsolicited)),
        ),
    ] {
        stage.feed(slot(1), [bytes]);
        assert_eq!(ports(&sent(&mut stage)), [1, 2, 3], "{what}");
    }
    // To one station: it is asked whether it is still there (RFC 4861 §7.3.3).
    teach(&mut stage, &[(slot(2), blade(2))]);
    stage.feed(slot(1), [frame(blade(2), blade(1), EtherType::IPV6, &nd::solicit(ip6(1), blade(1), ip6(2)))]);
    assert_eq!(ports(&sent(&mut stage)), [1]);
    assert_eq!(stage.switch.control.counters().nd_answered, 1);
    end(stage);
}

#[test]
fn answers_can_be_switched_off() {
    let mut stage = three_blades("identity = { advertise = false, answer_arp = false, answer_nd = false }");
    stage.feed(slot(1), [arp_request((blade(1), ip(1)), ip(2)), solicitation(ip6(1), blade(1), ip6(2))]);
    assert_eq!(ports(&sent(&mut stage)), [1, 1, 2, 2, 3, 3]);
    end(stage);
}

/// A tag that is payload hides what is behind it: the address in the tunnel is not the blade's.
#[test]
fn arp_in_a_tunnel_is_the_customers() {
    let text = format!(
        "{SILENT}[[blade]]\nslot = 1\ntransparent = 1\n[[blade]]\nslot = 2\nmac = \"{}\"\nip = \"{}\"\n[[uplink]]\n",
        blade(2),
        ip(2)
    );
    let mut stage = stage(&text);
    let request = arp(Operation::Request, (blade(1), ip(1)), (NOBODY, ip(2)));
    for tags in [&[(0x8100, 7)][..], &[(0x88a8, 7)], &[(0x88a8, 7), (0x8100, 1)]] {
        let bytes = tagged(MacAddr::BROADCAST, blade(1), tags, EtherType::ARP, &request);
        stage.feed(slot(1), [bytes.clone()]);
        assert_eq!(sent(&mut stage), [(slot(2), bytes.clone()), (PortId(2), bytes)]);
    }
    assert_eq!(neighbor(&stage, ip(1)), None, "nothing is learned from it either");
    end(stage);
}

#[test]
fn neighbors_are_learned_and_age() {
    let mut stage = three_blades("identity = { advertise = false, ageing_ms = 10_000 }");
    let (guest, guest_ip, guest_ip6) = (blade(77), ip(77), ip6(77));
    let packet = |to: IpAddr| {
        let (ethertype, packet) = ip_packet(if to.is_ipv4() { ip(1).into() } else { ip6(1).into() }, to);
        frame(SWITCH, blade(1), ethertype, &packet)
    };
    // A virtual machine on blade 2 asks for something, and is known.
    stage.feed(slot(2), [arp_request((guest, guest_ip), ip(98)), solicitation(guest_ip6, guest, ip6(98))]);
    sent(&mut stage);
    assert_eq!((neighbor(&stage, guest_ip), neighbor(&stage, guest_ip6)), (Some(guest), Some(guest)));
    stage.feed(slot(1), [packet(guest_ip.into()), packet(guest_ip6.into())]);
    assert_eq!(ports(&sent(&mut stage)), [1, 1]);
    // It moves to another MAC, as when an address is taken over.
    stage.feed(slot(3), [announcement((blade(78), guest_ip))]);
    assert_eq!(neighbor(&stage, guest_ip), Some(blade(78)));
    // Ten seconds of silence, and it is forgotten; what is configured stays.
    stage.advance(stage.now() + Nanos::from_millis(9_900));
    assert_eq!(neighbor(&stage, guest_ip6), Some(guest));
    stage.advance(stage.now() + Nanos::from_millis(1_000));
    sent(&mut stage);
    assert_eq!((neighbor(&stage, guest_ip), neighbor(&stage, guest_ip6), neighbor(&stage, ip(2))), (None, None, Some(blade(2))));
    stage.feed(slot(1), [packet(guest_ip.into()), packet(guest_ip6.into())]);
    assert_eq!((sent(&mut stage), drops(&stage, slot(1), "neighbor-unknown")), (vec![], 2));
    end(stage);
}

#[test]
fn what_teaches_nothing() {
    let mut stage = three_blades(SILENT);
    let lies = Arp { operation: Operation::Request, sender_mac: blade(5), sender_ip: ip(50), target_mac: NOBODY, target_ip: ip(60) };
    let mut short = announcement((blade(1), ip(51)));
    short[14] = 9; // No Ethernet.
    let mut cut = solicitation(ip6(50), blade(1), ip6(60));
    cut[14 + 40 + 2] ^= 1; // The checksum is wrong.
    for bytes in [
        frame(MacAddr::BROADCAST, blade(1), EtherType::ARP, &lies.emit()), // Speaks for somebody else.
        arp_request((blade(1), Ipv4Addr::UNSPECIFIED), ip(61)),
        announcement((blade(1), ip(2))), // Configured to be blade 2.
        short,
        cut,
    ] {
        stage.feed(slot(1), [bytes]);
        sent(&mut stage);
    }
    assert_eq!(stage.switch.control.neighbors().len(), 6, "two for each blade, as configured");
    assert_eq!(neighbor(&stage, ip(2)), Some(blade(2)));
    end(stage);

    let mut deaf = three_blades("identity = { advertise = false, learn = false }");
    deaf.feed(slot(1), [announcement((blade(1), ip(51)))]);
    sent(&mut deaf);
    assert_eq!(deaf.switch.control.neighbors().len(), 6);
    end(deaf);
}

/// A DHCP message to everybody: from `client`, or from a server about it.
fn dhcp(from: MacAddr, client: MacAddr, kind: u8, requested: Ipv4Addr) -> Vec<u8> {
    let from_client = from == client;
    let mut message = vec![0; 236];
    message[..3].copy_from_slice(&[if from_client { 1 } else { 2 }, 1, 6]);
    message[28..34].copy_from_slice(&client.0);
    message.extend([99, 130, 83, 99, 53, 1, kind, 50, 4]);
    message.extend(requested.octets());
    message.push(255);
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 0, 68, 0, 67, 0, 0, 0, 0];
    if !from_client {
        packet.swap(21, 23);
    }
    let (ip_len, udp_len) = (28 + message.len() as u16, 8 + message.len() as u16);
    packet[2..4].copy_from_slice(&ip_len.to_be_bytes());
    packet[24..26].copy_from_slice(&udp_len.to_be_bytes());
    packet.extend(message);
    frame(MacAddr::BROADCAST, from, EtherType::IPV4, &packet)
}

#[test]
fn leases_are_learned_as_they_are_asked_for() {
    const REQUEST: u8 = 3;
    const DECLINE: u8 = 4;
    const NAK: u8 = 6;
    let mut stage = three_blades(SILENT);
    let (guest, server) = (blade(77), blade(3));
    let source = |stage: &Stage, slot: u16, ip: u8| {
        let address = IpAddr::V4(self::ip(ip));
        let identities = stage.switch.control.identities();
        let blade = identities.iter().find(|(at, _)| *at == slot).expect("it is configured").1;
        blade.ips.get(&address).map(|source| source.name())
    };
    // It reaches everybody, and is learned.
    stage.feed(slot(2), [dhcp(guest, guest, REQUEST, ip(77))]);
    assert_eq!(ports(&sent(&mut stage)), [0, 2, 3]);
    assert_eq!((neighbor(&stage, ip(77)), source(&stage, 2, 77)), (Some(guest), Some("DHCP")));
    // The first word of its owner says more.
    stage.feed(slot(2), [announcement((guest, ip(77)))]);
    sent(&mut stage);
    assert_eq!(source(&stage, 2, 77), Some("ARP"));
    // From then on a refusal is no longer about that.
    stage.feed(slot(3), [dhcp(server, guest, NAK, Ipv4Addr::UNSPECIFIED)]);
    sent(&mut stage);
    assert_eq!(neighbor(&stage, ip(77)), Some(guest));

    // Refused, and declined by the client itself.
    let refusals = [(slot(3), dhcp(server, blade(78), NAK, Ipv4Addr::UNSPECIFIED)), (slot(1), dhcp(blade(78), blade(78), DECLINE, ip(78)))];
    for (port, refusal) in refusals {
        stage.feed(slot(1), [dhcp(blade(78), blade(78), REQUEST, ip(78))]);
        sent(&mut stage);
        assert_eq!(neighbor(&stage, ip(78)), Some(blade(78)));
        stage.feed(port, [refusal]);
        sent(&mut stage);
        assert_eq!(neighbor(&stage, ip(78)), None);
    }

    // Nobody gets what another has, asks in the name of another, or for what is no address.
    stage.feed(slot(1), [dhcp(blade(79), blade(79), REQUEST, ip(77)), dhcp(blade(79), blade(79), REQUEST, ip(2))]);
    let mut for_another = dhcp(blade(80), blade(80), REQUEST, ip(80));
    for_another[11] ^= 1;
    stage.feed(slot(1), [for_another, dhcp(blade(80), blade(80), REQUEST, Ipv4Addr::BROADCAST)]);
    sent(&mut stage);
    assert_eq!((neighbor(&stage, ip(77)), neighbor(&stage, ip(2)), neighbor(&stage, ip(80))), (Some(guest), Some(blade(2)), None));
    assert_eq!(stage.switch.control.neighbors().len(), 7);
    end(stage);
}

/// The Advertise messages among what was sent: by port, with what they say.
fn advertised(sent: &[(PortId, Vec<u8>)]) -> Vec<(PortId, MacAddr, Vec<Identity>)> {
    sent.iter()
        .filter_map(|(port, bytes)| {
            let frame = Frame::new_checked(bytes).filter(|frame| frame.ethertype() == EtherType::MESSAGE)?;
            let message = Message::parse(&frame).unwrap();
            if message.message_type != MessageType::Advertise {
                return None;
            }
            assert_eq!((message.source, message.final_destination), (SWITCH, Final::Mac(frame.dst())));
            Some((*port, frame.dst(), decode_advertise(message.body).unwrap()))
        })
        .collect()
}

fn identity(n: u8, more: &[Ipv4Addr]) -> Identity {
    let v4 = [ip(n)].iter().chain(more).map(|&ip| IpAddr::V4(ip)).collect::<std::collections::BTreeSet<_>>();
    Identity { slot: u16::from(n), macs: vec![blade(n)], ips: v4.into_iter().chain([ip6(n).into()]).collect() }
}

/// Paragraphs [10], [25] and [60] of the patent document: identities are acquired and transferred to the other blades.
#[test]
fn identities_are_advertised_when_they_change_and_on_request() {
    let mut stage = stage(&chassis("", 3));
    let all: Vec<Identity> = (1..=3).map(|n| identity(n, &[])).collect();
    let to_all = |says: &[Identity]| -> Vec<_> { (1..=3).map(|n| (slot(n), MacAddr::BROADCAST, says.to_vec())).collect() };
    assert_eq!(advertised(&sent(&mut stage)), to_all(&all), "at the start, to blades and not to the uplink");

    // Three changes in a row: one message to each, ten milliseconds after the first.
    let changed = stage.now();
    for n in [40, 41, 42] {
        stage.feed(slot(2), [announcement((blade(2), ip(n)))]);
        stage.advance(stage.now() + Nanos::from_millis(2));
    }
    stage.finish();
    let departures = stage.take_sent();
    let (times, frames): (Vec<_>, Vec<_>) =
        departures.into_iter().map(|departure| (departure.time, (departure.port, departure.bytes))).unzip();
    let says = advertised(&frames);
    let known = [identity(1, &[]), identity(2, &[ip(40), ip(41), ip(42)]), identity(3, &[])];
    assert_eq!(says, to_all(&known));
    assert!(*times.last().unwrap() >= changed + Nanos::from_millis(10) && *times.last().unwrap() < changed + Nanos::from_millis(11));
    // What is heard again is no change.
    stage.feed(slot(2), [announcement((blade(2), ip(40)))]);
    assert_eq!(advertised(&sent(&mut stage)), []);

    // A blade asks, and is answered alone.
    stage.feed(slot(3), [typed(SWITCH, blade(3), SWITCH, MessageType::IdentityRequest, &[])]);
    let got = sent(&mut stage);
    assert_eq!(advertised(&got), [(slot(3), blade(3), known.to_vec())]);
    assert_eq!(got.len(), 1);
    // It asks everybody: the request goes on as well.
    stage.feed(slot(3), [typed(MacAddr::BROADCAST, blade(3), MacAddr::BROADCAST, MessageType::IdentityRequest, &[])]);
    let got = sent(&mut stage);
    assert_eq!((ports(&got), advertised(&got).len()), (vec![0, 1, 2, 3], 1));

    // Blade 2 loses addresses with its link: the others forget all of slot 2, then hear what is left of it.
    stage.plug(slot(2), LinkState::Down);
    let forget = Identity { slot: 2, ..Identity::default() };
    let says = advertised(&sent(&mut stage));
    let expected: Vec<_> = [&[forget][..], &all].concat();
    assert_eq!(says, [(slot(1), MacAddr::BROADCAST, expected.clone()), (slot(3), MacAddr::BROADCAST, expected)]);
    end(stage);
}

#[test]
fn advertising_can_be_switched_off() {
    let mut stage = stage(&chassis(SILENT, 3));
    stage.feed(slot(1), [announcement((blade(1), ip(40)))]);
    stage.feed(slot(1), [typed(SWITCH, blade(1), SWITCH, MessageType::IdentityRequest, &[])]);
    assert_eq!(advertised(&sent(&mut stage)), []);
    end(stage);
}

#[test]
fn a_link_that_goes_down_takes_what_was_learned_with_it() {
    let head = format!("{SILENT}[[fdb_entry]]\nmac = \"{}\"\nport = \"blade2\"\n", blade(66));
    let mut stage = three_blades(&head);
    teach(&mut stage, &[(slot(1), blade(1)), (slot(2), blade(2))]);
    stage.feed(slot(2), [announcement((blade(2), ip(40)))]);
    sent(&mut stage);
    stage.plug(slot(2), LinkState::Down);
    assert_eq!(
        fdb(&mut stage).iter().map(|record| (record.mac, record.kind)).collect::<Vec<_>>(),
        [(blade(1), "dynamic"), (blade(66), "static")]
    );
    assert_eq!((neighbor(&stage, ip(40)), neighbor(&stage, ip(2))), (None, Some(blade(2))), "what is configured stays");
    // Nobody is behind it any more, what is set by hand is unreachable, and what comes in from it is refused.
    stage.feed(slot(1), [plain(blade(2), blade(1), 60, 1), plain(blade(66), blade(1), 60, 2)]);
    assert_eq!(ports(&sent(&mut stage)), [2, 3]);
    stage.feed(slot(2), [plain(blade(1), blade(2), 60, 3)]);
    assert_eq!(sent(&mut stage), []);
    assert_eq!((drops(&stage, slot(1), "link-down"), drops(&stage, slot(2), "port-blocked")), (1, 1));
    // And up again: as at the start.
    stage.plug(slot(2), LinkState::Up);
    stage.feed(slot(1), [plain(blade(2), blade(1), 60, 1), plain(blade(66), blade(1), 60, 2)]);
    assert_eq!(ports(&sent(&mut stage)), [1, 1, 2, 3]);
    end(stage);
}

#[test]
fn entries_set_by_hand_neither_age_nor_move_nor_flush() {
    let head = format!(
        "{SILENT}fdb = {{ ageing_ms = 1000 }}\n[[fdb_entry]]\nmac = \"{}\"\nport = \"blade2\"\n[[fdb_entry]]\nmac = \"{}\"\nblackhole = true\n",
        blade(66),
        blade(67)
    );
    let mut stage = three_blades(&head);
    stage.feed(slot(3), [plain(MacAddr::BROADCAST, blade(66), 60, 1)]); // Seen elsewhere.
    assert_eq!(ports(&sent(&mut stage)), [0, 1, 3], "its frames are forwarded all the same");
    stage.switch.control.flush(None, None);
    stage.advance(stage.now() + Nanos::from_secs(5));
    stage.feed(slot(1), [plain(blade(66), blade(1), 60, 2), plain(blade(67), blade(1), 60, 3)]);
    assert_eq!(ports(&sent(&mut stage)), [1]);
    assert_eq!(drops(&stage, slot(1), "blackhole"), 1, "to it");
    stage.feed(slot(1), (0..3).map(|mark| plain(blade(66), blade(67), 60, mark)));
    assert_eq!(sent(&mut stage), []);
    assert_eq!(drops(&stage, slot(1), "blackhole"), 4, "from it");
    assert_eq!(stage.switch.control.counters().moves, 0);
    end(stage);
}

#[test]
fn addresses_age() {
    let mut stage = three_blades("fdb = { ageing_ms = 64_000 }\nidentity = { advertise = false }");
    teach(&mut stage, &[(slot(1), blade(1)), (slot(2), blade(2))]);
    // At least the ageing time, at most a 64th longer, counted from when it was heard last.
    for (wait_s, expected) in [(64, vec![1]), (64, vec![1]), (66, vec![1, 2, 3])] {
        stage.feed(slot(2), [plain(blade(1), blade(2), 60, 0)].into_iter().take(usize::from(wait_s == 64)));
        sent(&mut stage);
        stage.advance(stage.now() + Nanos::from_secs(wait_s));
        stage.feed(slot(1), [plain(blade(2), blade(1), 60, 0)]);
        assert_eq!(ports(&sent(&mut stage)), expected, "after {wait_s} s");
    }
    end(stage);
}

#[test]
fn moves_are_counted_and_a_few_are_told() {
    let mut stage = three_blades("fdb = { move_events_per_s = 2 }\nidentity = { advertise = false }");
    for n in 0..10 {
        stage.feed(slot(1 + n % 2), [plain(MacAddr::BROADCAST, blade(9), 60, n)]);
    }
    sent(&mut stage);
    let control = &stage.switch.control;
    assert_eq!((control.counters().moves, control.moves().count()), (9, 2));
    let first = control.moves().next().unwrap();
    assert_eq!((first.mac, first.vlan.get(), &first.from[..], &first.to[..]), (blade(9), 1, "blade1", "blade2"));
    stage.feed(slot(3), [plain(blade(9), blade(3), 60, 0)]);
    assert_eq!(ports(&sent(&mut stage)), [1], "it is where it was heard last");
    end(stage);
}

#[test]
fn learned_addresses_are_flushed_by_port_by_vlan_and_all() {
    let text =
        format!("{SILENT}[[blade]]\nslot = 1\ntrunk = [10, 20]\n[[blade]]\nslot = 2\ntrunk = [10, 20]\n[[uplink]]\ntrunk = [10, 20]\n");
    let hello = |n: u8, vid: u16| tagged(MacAddr::BROADCAST, blade(n), &[(0x8100, vid)], EtherType(0x88b6), &[]);
    let known = |stage: &mut Stage| -> Vec<(u16, u8)> { fdb(stage).iter().map(|record| (record.vid.get(), record.mac.0[5])).collect() };
    let mut stage = stage(&text);
    let learn = |stage: &mut Stage| {
        for (n, vid) in [(1, 10), (1, 20), (2, 10), (2, 20)] {
            stage.feed(slot(n), [hello(n, vid)]);
        }
        sent(stage);
    };
    learn(&mut stage);
    assert_eq!(known(&mut stage), [(10, 1), (10, 2), (20, 1), (20, 2)]);
    stage.switch.control.flush(Some(slot(1)), None);
    assert_eq!(known(&mut stage), [(10, 2), (20, 2)]);
    learn(&mut stage);
    stage.switch.control.flush(None, Vid::new(10));
    assert_eq!(known(&mut stage), [(20, 1), (20, 2)]);
    learn(&mut stage);
    stage.switch.control.flush(None, None);
    assert_eq!(known(&mut stage), []);
    end(stage);
}
