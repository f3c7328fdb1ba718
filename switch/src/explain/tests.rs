//! Words for the ways a frame can go, and no bytes that break them.

use proptest::prelude::*;
use wire::message::{Final, Message, MessageType};

use super::*;

const OWN: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xfe]);
const A: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const B: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

fn config(text: &str) -> Config {
    Config::parse(text, "test.toml").unwrap_or_else(|errors| panic!("{errors}"))
}

fn chassis() -> Config {
    config(
        r#"
        [[blade]]
        slot = 1
        [[blade]]
        slot = 2
        [[blade]]
        slot = 3
        vlan = 10
        [[uplink]]
        trunk = [10]
        native = 1
        [fdb]
        limit = 64
        [[neighbor]]
        ip = "198.18.0.2"
        mac = "02:00:00:00:00:02"
        "#,
    )
}

fn ask(config: Config, port: u8, frame: Vec<u8>, learn: &[(u8, MacAddr)]) -> Explanation {
    let learn = learn.iter().map(|&(port, mac)| (PortId(port), mac, None)).collect();
    explain(&Request { config, port: PortId(port), frame, learn, after: Vec::new() }).unwrap()
}

fn frame(dst: MacAddr, src: MacAddr) -> Vec<u8> {
    ethernet::emit(dst, src, &[], EtherType(0x9000), &[7; 46])
}

fn lines(explanation: &Explanation, phase: &str) -> String {
    explanation.steps.iter().find(|step| step.phase == phase).map_or(String::new(), |step| step.lines.join("\n"))
}

fn ports(sent: &[Sent]) -> Vec<&str> {
    sent.iter().map(|sent| sent.port.as_str()).collect()
}

#[test]
fn unknown_unicast_floods_and_known_goes_one_way() {
    let flooded = ask(chassis(), 0, frame(B, A), &[]);
    assert_eq!((flooded.verdict, ports(&flooded.sent)), ("flood", vec!["blade2", "uplink1"]));
    assert_eq!(lines(&flooded, "learn"), format!("{A} is new: it is now known behind blade1"));
    assert_eq!(lines(&flooded, "rewrite"), "nothing: it leaves as it came");
    let known = ask(chassis(), 0, frame(B, A), &[(1, B), (0, A)]);
    assert_eq!((known.verdict, ports(&known.sent)), ("forward", vec!["blade2"]));
    assert_eq!(lines(&known, "learn"), format!("{A} is known behind blade1"));
    assert_eq!(lines(&known, "resolve"), format!("the FDB knows {B} in VLAN 1: behind blade2 (dynamic)"));
    let moved = ask(chassis(), 0, frame(B, A), &[(1, A)]);
    assert_eq!(lines(&moved, "learn"), format!("{A} has moved from blade2 to blade1"));
    let back = ask(chassis(), 0, frame(B, A), &[(0, B)]);
    assert_eq!((back.verdict, back.reason), ("drop", Some("hairpin")));
}

#[test]
fn tags_are_pushed_and_popped_in_words() {
    let pushed = ask(chassis(), 2, frame(B, A), &[]);
    assert_eq!(ports(&pushed.sent), ["uplink1"]);
    assert_eq!(lines(&pushed, "rewrite"), "tag of VLAN 10 pushed");
    let tagged = ethernet::emit(B, A, &[Tag { tpid: EtherType::VLAN, tci: Tci(10) }], EtherType(0x9000), &[7; 42]);
    let popped = ask(chassis(), 3, tagged.clone(), &[]);
    assert_eq!(ports(&popped.sent), ["blade3"]);
    assert_eq!(lines(&popped, "rewrite"), "tag of VLAN 10 popped; 4 bytes of padding added, since a frame has at least 60");
    let refused = ask(chassis(), 0, tagged, &[]);
    assert_eq!(refused.reason, Some("vlan-ingress"));
    assert_eq!(refused.steps.last().unwrap().phase, "admit");
    let priority = ask(chassis(), 0, [&frame(MacAddr::BROADCAST, A)[..12], &[0x81, 0, 0x60, 0], &[7; 44]].concat(), &[]);
    assert_eq!(lines(&priority, "rewrite"), "priority tag popped; 4 bytes of padding added, since a frame has at least 60");
}

#[test]
fn messages_and_what_is_wrong_with_them() {
    let message = |final_destination| {
        let message = Message {
            initial_destination: OWN,
            source: A,
            message_type: MessageType::Data,
            final_destination,
            inner: EtherType(0),
            body: &[1, 2, 3],
        };
        message.emit(&[]).unwrap()
    };
    let sent = ask(chassis(), 0, message(Final::Ipv4([198, 18, 0, 2].into())), &[(1, B)]);
    assert_eq!((sent.verdict, ports(&sent.sent)), ("forward", vec!["blade2"]));
    assert_eq!(lines(&sent, "rewrite"), format!("destination {OWN} overwritten with {B}"));
    let unknown = ask(chassis(), 0, message(Final::Mac(B)), &[]);
    assert_eq!(unknown.reason, Some("final-unknown"));
    assert_eq!(ports(&unknown.replies), ["blade1"]);
    assert!(unknown.control[0].contains("notice"), "{:?}", unknown.control);
    let mut beyond = message(Final::Mac(B));
    beyond[14 + 6] = 0xff; // The high octet of the body's length.
    let beyond = ask(chassis(), 0, beyond, &[(1, B)]);
    assert_eq!(beyond.reason, Some("message-malformed"));
    assert!(lines(&beyond, "resolve").contains("the message claims a body of 65283 bytes"), "{:?}", beyond.steps);
}

#[test]
fn arp_is_answered_and_learned_from() {
    let arp = wire::arp::Arp {
        operation: wire::arp::Operation::Request,
        sender_mac: A,
        sender_ip: [198, 18, 0, 1].into(),
        target_mac: MacAddr::ZERO,
        target_ip: [198, 18, 0, 2].into(),
    };
    let answered = ask(chassis(), 0, ethernet::emit(MacAddr::BROADCAST, A, &[], EtherType::ARP, &arp.emit()), &[]);
    assert_eq!((answered.verdict, answered.reason), ("punt", Some("arp-answer")));
    assert_eq!((ports(&answered.sent).len(), ports(&answered.replies)), (0, vec!["blade1"]));
    assert_eq!(answered.control[0], format!("the neighbor table learns that 198.18.0.1 is at {A} behind blade1"));
}

#[test]
fn what_cannot_be_learned_is_said() {
    let request = |port, mac, vid| Request {
        config: chassis(),
        port: PortId(0),
        frame: frame(B, A),
        learn: vec![(PortId(port), mac, Vid::new(vid))],
        after: Vec::new(),
    };
    assert!(explain(&request(0, A, 10)).unwrap_err().contains("its frames are refused: the port it came in by does not carry"));
    assert!(explain(&request(0, OWN, 1)).unwrap_err().contains("the source is the switch's own address"));
    assert!(explain(&request(3, A, 10)).is_ok());
    let missing = Request { learn: Vec::new(), after: vec![(PortId(0), "missing.pcap".into())], ..request(0, A, 1) };
    assert!(explain(&missing).unwrap_err().starts_with("missing.pcap: "));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn any_bytes_have_a_way(dst in prop_oneof![Just(OWN.0), Just(B.0), Just([0xff; 6]), Just([1, 0x80, 0xc2, 0, 0, 2]), any::<[u8; 6]>()],
                            src in prop_oneof![Just(A.0), any::<[u8; 6]>()],
                            ethertype in prop_oneof![Just([8, 0]), Just([8, 6]), Just([0x86, 0xdd]), Just([0x88, 0xb5]), Just([0x81, 0]), any::<[u8; 2]>()],
                            rest in prop::collection::vec(any::<u8>(), 0..200), cut in 0usize..400, port in 0u8..4) {
        let mut bytes = [&dst[..], &src, &ethertype, &rest].concat();
        bytes.truncate(cut);
        let explanation = ask(chassis(), port, bytes, &[(1, B)]);
        prop_assert!(!explanation.steps.is_empty() && !explanation.summary.is_empty());
        prop_assert_eq!(explanation.sent.is_empty(), matches!(explanation.verdict, "drop" | "punt"));
        prop_assert!(explanation.sent.iter().all(|sent| sent.port != explanation.port), "never back where it came from");
    }
}

#[test]
fn steered_frames_tell_the_rule_and_the_blade() {
    let rules = "[[blade]]\nslot = 1\nmac = \"02:00:00:00:00:01\"\n[[uplink]]\n[[function]]\nname = \"test\"\nblades = \"blade1\"\n\
                 [[steer]]\nname = \"loops\"\nfunction = \"test\"\nethertype = 0x9000\n";
    let steered = ask(config(rules), 1, frame(B, MacAddr([2, 0, 0, 0, 0, 9])), &[]);
    assert_eq!((steered.verdict, ports(&steered.sent)), ("forward", vec!["blade1"]));
    assert_eq!(lines(&steered, "steer"), "rule loops: it is for the function test\nblade1 takes it");
    assert_eq!(lines(&steered, "resolve"), "");
    assert_eq!(lines(&steered, "rewrite"), format!("destination {B} overwritten with {A}"));
    let other = ask(config(&rules.replace("0x9000", "0x9001")), 1, frame(B, MacAddr([2, 0, 0, 0, 0, 9])), &[]);
    assert_eq!((other.verdict, lines(&other, "steer").as_str()), ("flood", "no rule is about it"));
    let down = ask(config(&rules.replace("slot = 1\n", "slot = 1\nenabled = false\n")), 1, frame(B, MacAddr([2, 0, 0, 0, 0, 9])), &[]);
    assert_eq!((down.verdict, down.reason), ("drop", Some("no-blade")));
}
