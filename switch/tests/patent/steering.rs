//! Steering, paragraph [43]: "messages received from the network 170 may be steered by the switch blade 408 to one or more of the blade
//! servers 406 based on a message type and a function provided by one or more of the blade servers".
//!
//! The traffic is that of real programs (`pcaps/`): mail, web, voice, video and storage, multiplied by giving each client another
//! address. Blades answer, and the answers leave by the uplink.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;

use bladeswitch::replay::Stage;
use control::show;
use control::steering::BladeState;
use port::capture::CaptureFile;
use port::{LinkState, Nanos, PortId};
use wire::MacAddr;
use wire::ethernet::EtherType;
use wire::message::{Control, ControlMessage, Final, Hello, MessageType, Name};

use super::blades::*;

/// Blades 1 to 9, and the uplink.
const UPLINK: PortId = PortId(9);
/// Host 1 of the captures, behind the uplink; host 2 is whom it talks to.
const CLIENT: MacAddr = MacAddr([2, 0, 0, 0, 1, 1]);
const SERVER: MacAddr = MacAddr([2, 0, 0, 0, 1, 2]);

/// Mail at blades 1 to 3, web at 1 to 3 as well, voice at 4 and 5, video at 6, storage at 7 to 9.
const FUNCTIONS: &str = r#"
[[function]]
name = "mail"
blades = ["blade1", "blade2", "blade3"]

[[function]]
name = "web"
blades = ["blade1", "blade2", "blade3"]

[[function]]
name = "voice"
blades = ["blade4", "blade5"]
affinity = "source"

[[function]]
name = "video"
blades = ["blade6"]
affinity = "source"

[[function]]
name = "storage"
blades = ["blade7", "blade8", "blade9"]

[[steer]]
name = "smtp"
function = "mail"
protocol = "tcp"
dst_port = [25, 465, 587]

[[steer]]
name = "http"
function = "web"
protocol = "tcp"
dst_port = [80, 443]

# RTP with G.711 (RFC 3551: payload type 0 or 8, the version before it), and the RTCP beside it.
[[steer]]
name = "g711"
function = "voice"
protocol = "udp"
dst_port = ["40000-40001"]
dscp = 46

[[steer]]
name = "rtp"
function = "video"
protocol = "udp"
dst_port = ["40000-40001"]

[[steer]]
name = "disks"
function = "storage"
protocol = "tcp"
dst_port = [3260, 2049]
"#;

/// Frames of a capture that go from its client to its server, in order: those of IP.
fn to_server(case: &str) -> Vec<Vec<u8>> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../pcaps").join(case);
    let path = ["in.pcap", "in.pcapng"].map(|name| root.join(name)).into_iter().find(|path| path.exists()).expect("a capture");
    let file = CaptureFile::open(&path).unwrap();
    let frames: Vec<Vec<u8>> = file.frames().map(|frame| frame.unwrap().bytes.to_vec()).collect();
    let is_ip = |frame: &[u8]| frame[12..14] == [0x08, 0x00] || frame[12..14] == [0x86, 0xdd] && !(frame[20] == 58 && frame[54] >= 133);
    // The video was sent the other way: who sends in it is the client.
    let (client, server) = if case == "rtp-video" { (SERVER, CLIENT) } else { (CLIENT, SERVER) };
    frames.into_iter().filter(|frame| frame[..6] == server.0 && frame[6..12] == client.0 && is_ip(frame)).collect()
}

/// Client `n` instead of the one in the capture. (Checksums become wrong, which is for the receiver to find.)
fn of_client(frame: &[u8], n: u8) -> Vec<u8> {
    let mut frame = frame.to_vec();
    frame[..6].copy_from_slice(&SERVER.0);
    frame[6..12].copy_from_slice(&[2, 0, 0, 0, 7, n]);
    let last_of_source = if frame[12] == 0x08 { 29 } else { 37 };
    frame[last_of_source] = n;
    frame
}

/// Addresses, protocol and ports: the bytes that make a flow.
fn flow(frame: &[u8]) -> Vec<u8> {
    let upper = if frame[12] == 0x08 { 14 + usize::from(frame[14] & 15) * 4 } else { 54 };
    [&frame[12..14], &frame[if frame[12] == 0x08 { 26..34 } else { 22..54 }], &frame[upper..upper + 4]].concat()
}

/// A TCP segment with SYN and without ACK.
fn opens(frame: &[u8]) -> bool {
    let upper = if frame[12] == 0x08 { 34 } else { 54 };
    frame[upper + 13] & 0x12 == 0x02
}

fn nine_blades(functions: &str) -> Stage {
    let mut stage = stage(&format!("{}{functions}", chassis(SILENT, 9)));
    let stations: Vec<_> = (1..=9).map(|n| (slot(n), blade(n))).chain([(UPLINK, CLIENT)]).collect();
    teach(&mut stage, &stations);
    stage
}

/// Feeds frames by the uplink, a little apart, and gives what came out.
fn feed(stage: &mut Stage, frames: impl IntoIterator<Item = Vec<u8>>) -> Vec<(PortId, Vec<u8>)> {
    for frame in frames {
        let now = stage.now();
        stage.feed(UPLINK, [frame]);
        stage.advance(now + Nanos(20_000));
    }
    sent(stage)
}

/// Capture, function, and the slots of its blades.
const CASES: [(&str, &str, std::ops::RangeInclusive<u8>); 7] = [
    ("smtp", "mail", 1..=3),
    ("http", "web", 1..=3),
    ("https", "web", 1..=3),
    ("rtp-voice", "voice", 4..=5),
    ("rtp-video", "video", 6..=6),
    ("iscsi", "storage", 7..=9),
    ("nfs", "storage", 7..=9),
];

/// Voice is marked as such by whoever sends it (RFC 4594: expedited forwarding); the recorded programs do not.
fn marked(case: &str, mut frame: Vec<u8>) -> Vec<u8> {
    if case == "rtp-voice" {
        frame[15] = 46 << 2;
    }
    frame
}

fn frames_of(stage: &Stage, function: &str) -> u64 {
    let shown = show::functions(&stage.switch.control);
    let function = shown.functions.iter().find(|shown| shown.function == function).unwrap();
    function.blades.iter().map(|blade| blade.frames).sum()
}

#[test]
fn p43_each_kind_of_traffic_reaches_the_blades_of_its_function() {
    let mut stage = nine_blades(FUNCTIONS);
    let mut expected: BTreeMap<&str, u64> = BTreeMap::new();
    for (case, function, slots) in CASES {
        let frames = to_server(case);
        assert!(frames.len() >= 20, "{case} has {} frames", frames.len());
        let clients = 1..=20u8;
        let all: Vec<Vec<u8>> = frames.iter().flat_map(|frame| clients.clone().map(|n| marked(case, of_client(frame, n)))).collect();
        *expected.entry(function).or_default() += all.len() as u64;
        let got = feed(&mut stage, all.clone());
        assert_eq!(got.len(), all.len(), "{case}: every frame arrives once");
        let mut flows: HashMap<Vec<u8>, PortId> = HashMap::new();
        for (port, bytes) in &got {
            let n = port.0 + 1;
            assert!(slots.contains(&n), "{case} at blade {n}");
            assert_eq!(bytes[..6], blade(n).0, "the destination is the blade's own address");
            assert_eq!(*flows.entry(flow(bytes)).or_insert(*port), *port, "{case}: a flow stays on its blade");
        }
        let used: BTreeSet<PortId> = flows.values().copied().collect();
        assert_eq!(used.len(), slots.count(), "{case}: every blade has a part of {} flows", flows.len());
        // Nothing but the destination was changed.
        let mut before: Vec<_> = all.iter().map(|frame| frame[6..].to_vec()).collect();
        let mut after: Vec<_> = got.iter().map(|(_, frame)| frame[6..].to_vec()).collect();
        before.sort();
        after.sort();
        assert_eq!(before, after);
    }
    for (function, frames) in expected {
        assert_eq!(frames_of(&stage, function), frames, "{function}");
    }
    let rules = show::steer(&stage.switch.control).rules;
    assert!(rules.iter().all(|rule| rule.frames > 0 && rule.without_blade == 0), "{rules:?}");
    assert_eq!(dropped(&stage), 0);
    end(stage);
}

#[test]
fn p43_the_flows_of_one_client_stay_together_where_a_function_wants_it() {
    let mut stage = nine_blades(FUNCTIONS);
    // RTP and RTCP have different ports: the call is on one blade all the same.
    let frames = to_server("rtp-voice");
    assert!(frames.iter().map(|frame| flow(frame)).collect::<BTreeSet<_>>().len() >= 2);
    for n in 1..=20 {
        let got = feed(&mut stage, frames.iter().map(|frame| marked("rtp-voice", of_client(frame, n))).collect::<Vec<_>>());
        let ports: BTreeSet<PortId> = got.iter().map(|(port, _)| *port).collect();
        assert_eq!(ports.len(), 1, "client {n}");
    }
    end(stage);
}

#[test]
fn p43_the_answer_leaves_as_the_question_came() {
    let mut stage = nine_blades(FUNCTIONS);
    let question = of_client(&to_server("http")[0], 1);
    let got = feed(&mut stage, [question.clone()]);
    let (port, _) = got[0];
    let mut answer = question.clone();
    answer[..6].copy_from_slice(&question[6..12]);
    answer[6..12].copy_from_slice(&blade(port.0 + 1).0);
    stage.feed(port, [answer.clone()]);
    assert_eq!(sent(&mut stage), [(UPLINK, answer)], "unchanged, and nowhere else");
    end(stage);
}

/// "readily added and removed" [57], and what a loss costs: the flows of the blade that is lost, and no other.
#[test]
fn p43_when_one_of_three_blades_is_lost_only_its_flows_move() {
    let mut stage = nine_blades(FUNCTIONS);
    for (case, function, slots) in CASES.into_iter().filter(|(_, _, slots)| slots.clone().count() == 3) {
        let frames = to_server(case);
        let (first, second) = frames.split_at(frames.len() / 2);
        let all = |frames: &[Vec<u8>]| frames.iter().flat_map(|frame| (1..=100).map(|n| of_client(frame, n))).collect::<Vec<_>>();
        let on = |got: &[(PortId, Vec<u8>)]| got.iter().map(|(port, frame)| (flow(frame), *port)).collect::<HashMap<_, _>>();
        let before = on(&feed(&mut stage, all(first)));
        let lost = slot(*slots.start() + 1);
        stage.plug(lost, LinkState::Down);
        let again = all(second);
        let got = feed(&mut stage, again.clone());
        assert_eq!(got.len(), again.len(), "{case}: nothing is lost with the blade but what it had");
        let after = on(&got);
        let (mut moved, mut stayed) = (0, 0);
        for (flow, port) in &after {
            assert_ne!(*port, lost);
            match before.get(flow) {
                Some(was) if *was == lost => moved += 1,
                Some(was) => {
                    assert_eq!(port, was, "{case}: a flow moved that was not on the lost blade");
                    stayed += 1;
                }
                None => {}
            }
        }
        println!("{case}: one blade of three was lost: its {moved} flows that went on moved, {stayed} of the others all stayed");
        assert!(moved > 0 && stayed > moved, "{case}: {moved} moved, {stayed} stayed");
        let shown = show::functions(&stage.switch.control);
        let blades = &shown.functions.iter().find(|shown| shown.function == function).unwrap().blades;
        assert_eq!(blades.iter().map(|blade| blade.state).collect::<Vec<_>>(), [BladeState::Up, BladeState::Down, BladeState::Up]);
        assert!(blades.iter().map(|blade| blade.moved).sum::<u64>() >= moved);

        // The blade comes back: flows stay where they are now, new ones go there as well.
        stage.plug(lost, LinkState::Up);
        stage.feed(lost, [plain(MacAddr::BROADCAST, blade(lost.0 + 1), 60, 0)]);
        sent(&mut stage);
        // (A segment that opens a connection would be a new flow: the second halves have a few.)
        let later: Vec<_> = again.into_iter().filter(|frame| !opens(frame)).collect();
        let last = on(&feed(&mut stage, later));
        assert!(last.iter().all(|(flow, port)| after[flow] == *port), "{case}: no flow moves because a blade comes");
        let new = feed(&mut stage, (101..=200).map(|n| of_client(&first[0], n)));
        assert!(new.iter().any(|(port, _)| *port == lost), "{case}");
    }
    end(stage);
}

#[test]
fn p43_a_drained_blade_keeps_its_flows_and_gets_no_new_ones() {
    let mut stage = nine_blades(FUNCTIONS);
    let frames = to_server("http");
    let (syn, data) = (&frames[0], &frames[2]);
    assert_eq!((syn[47] & 0x12, data[47] & 0x12), (0x02, 0x10), "SYN, ACK");
    let before: HashMap<_, _> =
        feed(&mut stage, (1..=40).map(|n| of_client(syn, n))).into_iter().map(|(port, frame)| (flow(&frame), port)).collect();
    assert!(before.values().any(|port| *port == slot(2)));
    stage.switch.control.set_blade("web", "blade2", None, Some(true)).unwrap();
    for (port, frame) in feed(&mut stage, (1..=40).map(|n| of_client(data, n))) {
        assert_eq!(before[&flow(&frame)], port);
    }
    for (port, _) in feed(&mut stage, (41..=120).map(|n| of_client(syn, n))) {
        assert_ne!(port, slot(2), "a new flow at a drained blade");
    }
    stage.switch.control.set_blade("web", "blade2", Some(10), Some(false)).unwrap();
    let new = feed(&mut stage, (121..=220).map(|n| of_client(syn, n)));
    let at_blade2 = new.iter().filter(|(port, _)| *port == slot(2)).count();
    assert!(at_blade2 > 60, "{at_blade2} of 100 where 83 are its part");
    assert_eq!(stage.switch.control.set_blade("web", "blade9", None, Some(true)), Err("blade9 is no blade of web".to_owned()));
    end(stage);
}

#[test]
fn p43_rules_change_while_frames_flow_and_none_is_lost() {
    let mut stage = nine_blades(FUNCTIONS);
    let frames = to_server("http");
    let mut before: HashMap<Vec<u8>, PortId> = HashMap::new();
    for (round, chunk) in frames.chunks(5).enumerate() {
        let all: Vec<_> = chunk.iter().flat_map(|frame| (1..=20).map(|n| of_client(frame, n))).collect();
        let count = all.len();
        let got = feed(&mut stage, all);
        assert_eq!(got.len(), count, "round {round}");
        for (port, frame) in got {
            assert_eq!(*before.entry(flow(&frame)).or_insert(port), port, "rules for others move nobody");
        }
        // Another rule before the one that matters, and gone again.
        let more = "[[steer]]\nname = \"ssh\"\nfunction = \"mail\"\nprotocol = \"tcp\"\ndst_port = 22\n";
        let (head, rules) = FUNCTIONS.split_once("[[steer]]").unwrap();
        let text = if round % 2 == 0 { format!("{head}{more}[[steer]]{rules}") } else { FUNCTIONS.to_owned() };
        stage.switch.control.set_steering(&text, "rules").unwrap();
    }
    let total = show::steer(&stage.switch.control).rules.iter().find(|rule| rule.rule == "http").unwrap().frames;
    assert_eq!(total, frames.len() as u64 * 20, "a rule that stays goes on counting");
    assert_eq!(dropped(&stage), 0);

    // What is wrong changes nothing.
    let wrong = stage.switch.control.set_steering("[[steer]]\nfunction = \"wbe\"\n", "rules").unwrap_err().to_string();
    assert!(wrong.starts_with("rules:2:12: steer.function = \"wbe\": no [[function]] has this name"), "{wrong}");
    assert_eq!(stage.switch.control.config().rules.len(), show::steer(&stage.switch.control).rules.len());
    assert_eq!(show::functions(&stage.switch.control).functions.len(), 5);

    // Without rules it is a bridge again.
    stage.switch.control.set_steering("", "rules").unwrap();
    let got = feed(&mut stage, [of_client(&frames[0], 1)]);
    assert_eq!(got.len(), 9, "the address in the frame is nobody's: flooded");
    end(stage);
}

#[test]
fn p43_a_message_is_steered_by_its_type_and_by_the_packet_in_it() {
    let rules = r#"
[[function]]
name = "log"
blades = ["blade2"]
[[function]]
name = "web"
blades = ["blade3"]
[[steer]]
function = "web"
in = ["blade1", "uplink1"]
protocol = "tcp"
dst_port = 80
[[steer]]
function = "log"
in = "blade1"
ethertype = "message"
message_type = "data"
payload = "log:"
"#;
    let mut stage = nine_blades(rules);
    // The address it names is nobody's: by its type and its first bytes it is for the blade that writes logs.
    stage.feed(slot(1), [message(SWITCH, blade(1), Final::Ipv4(ip(200)), b"log: one line")]);
    assert_eq!(sent(&mut stage), [(slot(2), message(blade(2), blade(1), Final::Ipv4(ip(200)), b"log: one line"))]);
    let http = to_server("http")[0].clone();
    let carried = wire::message::Message {
        initial_destination: SWITCH,
        source: blade(1),
        message_type: MessageType::Data,
        final_destination: Final::Ipv4(ip(200)),
        inner: EtherType::IPV4,
        body: &http[14..],
    };
    stage.feed(slot(1), [carried.emit(&[]).unwrap()]);
    let got = sent(&mut stage);
    assert_eq!(got.iter().map(|(port, frame)| (*port, &frame[..6])).collect::<Vec<_>>(), [(slot(3), &blade(3).0[..])]);
    // What no rule is about goes the usual way.
    stage.feed(slot(1), [message(SWITCH, blade(1), blade(5), b"not a log")]);
    assert_eq!(sent(&mut stage), [(slot(5), message(blade(5), blade(1), blade(5), b"not a log"))]);
    end(stage);
}

#[test]
fn p43_without_a_blade_frames_are_dropped_by_name_or_pass() {
    for (otherwise, drops_expected) in [("drop", 20), ("pass", 0)] {
        let rules = format!(
            "[[function]]\nname = \"web\"\nblades = \"blade1\"\notherwise = \"{otherwise}\"\n[[steer]]\nname = \"http\"\nfunction = \"web\"\nprotocol = \"tcp\"\n"
        );
        let mut stage = nine_blades(&rules);
        stage.plug(slot(1), LinkState::Down);
        let got = feed(&mut stage, (1..=20).map(|n| of_client(&to_server("http")[0], n)));
        assert_eq!(drops(&stage, UPLINK, "no-blade"), drops_expected);
        assert_eq!(got.is_empty(), otherwise == "drop");
        let rule = &show::steer(&stage.switch.control).rules[0];
        assert_eq!((rule.frames, rule.without_blade), (20, 20));
        end(stage);
    }
}

/// A blade says what it is for, and falls silent.
#[test]
fn p43_blades_announce_their_functions() {
    let rules = "[[function]]\nname = \"web\"\nhealth = \"hello\"\n[[steer]]\nfunction = \"web\"\nprotocol = \"tcp\"\n";
    let mut stage = nine_blades(rules);
    let hello = |n: u8, transaction: u32, functions: &[&str]| {
        let functions = functions.iter().map(|name| Name::new(name).unwrap()).collect();
        let hello = Hello { slot: u16::from(n), interval_ms: 100, rate_bps: 0, macs: vec![blade(n)], ips: Vec::new(), functions };
        let body = ControlMessage { session: 1, transaction, control: Control::Hello(hello) }.encode(None);
        typed(SWITCH, blade(n), Final::Mac(SWITCH), MessageType::Hello, &body)
    };
    let syn = to_server("http")[0].clone();
    let clients = |stage: &mut Stage, from: u8| {
        let got = feed(stage, (from..from + 30).map(|n| of_client(&syn, n)));
        got.into_iter().map(|(port, _)| port).filter(|port| *port != UPLINK).collect::<BTreeSet<_>>()
    };
    assert!(clients(&mut stage, 1).is_empty(), "nobody has the function");
    assert_eq!(drops(&stage, UPLINK, "no-blade"), 30);
    stage.feed(slot(4), [hello(4, 1, &["web"])]);
    stage.feed(slot(5), [hello(5, 1, &["web", "mail"])]);
    stage.feed(slot(6), [hello(6, 1, &["mail"])]);
    let acks = stage.take_sent();
    assert!(acks.iter().all(|ack| ack.bytes[12..14] == [0x88, 0xb5]));
    stage.advance(stage.now() + Nanos::from_millis(1));
    stage.take_sent();
    assert_eq!(clients(&mut stage, 31), BTreeSet::from([slot(4), slot(5)]));
    // Blade 4 goes on; blade 5 is not heard any more.
    for n in 2..=6 {
        stage.advance(stage.now() + Nanos::from_millis(100));
        stage.feed(slot(4), [hello(4, n, &["web"])]);
    }
    stage.advance(stage.now() + Nanos::from_millis(1));
    stage.take_sent();
    let shown = show::functions(&stage.switch.control);
    let states: Vec<_> = shown.functions[0].blades.iter().map(|blade| (blade.blade.as_str(), blade.state)).collect();
    assert_eq!(states, [("blade4", BladeState::Up), ("blade5", BladeState::Silent)]);
    // (Until nothing happens any more: then blade 4 is silent as well.)
    assert_eq!(clients(&mut stage, 61), BTreeSet::from([slot(4)]));
    stage.switch.check_ledger().unwrap();
}

/// A function has an address of its own: the switch answers for it, and packets to it are steered.
#[test]
fn p43_a_function_has_an_address() {
    let rules = "[[function]]\nname = \"web\"\nblades = [\"blade1\", \"blade2\"]\nip = \"198.18.0.100\"\n\
                 [[steer]]\nfunction = \"web\"\ndst = \"198.18.0.100\"\n";
    let mut stage = nine_blades(rules);
    let arp = [&[0, 1, 8, 0, 6, 4, 0, 1][..], &CLIENT.0, &ip(150).octets(), &[0; 6], &ip(100).octets()].concat();
    stage.feed(UPLINK, [frame(MacAddr::BROADCAST, CLIENT, EtherType::ARP, &arp)]);
    let got = sent(&mut stage);
    assert_eq!(got.len(), 1, "nobody else is asked");
    assert_eq!((got[0].0, &got[0].1[6..12], &got[0].1[22..28]), (UPLINK, &blade_of_answer(&got[0].1)[..], &SWITCH.0[..]));
    let (ethertype, packet) = ip_packet(ip(150).into(), ip(100).into());
    stage.feed(UPLINK, [frame(SWITCH, CLIENT, ethertype, &packet)]);
    let got = sent(&mut stage);
    assert_eq!(got.len(), 1);
    assert!([slot(1), slot(2)].contains(&got[0].0));
    assert_eq!(got[0].1[..6], blade(got[0].0.0 + 1).0);
    // Without the function the address is nobody's again.
    stage.switch.control.set_steering("", "rules").unwrap();
    stage.feed(UPLINK, [frame(MacAddr::BROADCAST, CLIENT, EtherType::ARP, &arp)]);
    assert_eq!(sent(&mut stage).len(), 9, "flooded: the switch does not answer any more");
    end(stage);
}

/// Who answers, as the sender in the ARP reply says.
fn blade_of_answer(frame: &[u8]) -> [u8; 6] {
    frame[22..28].try_into().unwrap()
}

/// Fragments follow the first of their packet, which has the ports.
#[test]
fn p43_fragments_stay_together() {
    let rules = "[[function]]\nname = \"web\"\nblades = [\"blade1\", \"blade2\", \"blade3\"]\n\
                 [[steer]]\nfunction = \"web\"\nprotocol = \"udp\"\ndst_port = 53\n";
    let mut stage = nine_blades(rules);
    let fragment = |n: u8, id: u8, word: u16| {
        let mut packet = vec![0x45, 0, 0, 60, 0, id];
        packet.extend_from_slice(&word.to_be_bytes());
        packet.extend_from_slice(&[64, 17, 0, 0, 198, 18, 1, n, 198, 18, 0, 100]);
        packet.extend_from_slice(&[0x9c, n, 0, if word & 0x1fff == 0 { 53 } else { 7 }, 0, 40, 0, 0]);
        packet.resize(60, 0);
        frame(SERVER, CLIENT, EtherType::IPV4, &packet)
    };
    for n in 1..=30 {
        let got = feed(&mut stage, [fragment(n, n, 0x2000), fragment(n, n, 0x2001), fragment(n, n, 2)]);
        let ports: BTreeSet<PortId> = got.iter().map(|(port, _)| *port).collect();
        assert_eq!((got.len(), ports.len()), (3, 1));
    }
    end(stage);
}

/// Several workers steer as one does.
#[test]
fn p43_four_workers_steer_as_one() {
    let run = |workers: u8| {
        let mut stage = stage(&format!("switch = {{ workers = {workers} }}\n{}{FUNCTIONS}", chassis(SILENT, 9)));
        let mut got = Vec::new();
        for (case, _, _) in CASES {
            let all: Vec<_> = to_server(case).iter().flat_map(|frame| (1..=5).map(|n| marked(case, of_client(frame, n)))).collect();
            got.extend(feed(&mut stage, all));
        }
        end(stage);
        got
    };
    assert_eq!(run(1), run(4));
}
