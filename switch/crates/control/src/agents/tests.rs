//! The switch's side of control messages by itself: hellos, commands, repetitions, silence, on a clock that is told.

use super::*;
use wire::ethernet::EtherType;

const SWITCH: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xfe]);

fn mac(n: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, n])
}

fn at(n: u8) -> (PortId, Vid, Option<u16>) {
    (PortId(n - 1), Vid::DEFAULT, Some(u16::from(n)))
}

fn agents() -> Agents {
    Agents::new(AgentsConfig::default(), SWITCH)
}

fn take(agents: &mut Agents, now: Nanos, n: u8, message: &ControlMessage) -> bool {
    let body = message.encode(None);
    let header = Header {
        message_type: message.control.message_type(),
        final_destination: Final::Mac(SWITCH),
        inner: EtherType(0),
        body_len: body.len() as u16,
    };
    agents.handle_message(now, at(n), mac(n), &header, &body)
}

fn hello(n: u8, transaction: u32) -> ControlMessage {
    let hello = Hello { slot: u16::from(n), interval_ms: 100, macs: vec![mac(n)], ..Hello::default() };
    ControlMessage { session: 7, transaction, control: Control::Hello(hello) }
}

fn sent(agents: &mut Agents) -> Vec<(MacAddr, ControlMessage)> {
    std::iter::from_fn(|| agents.poll_transmit())
        .map(|outgoing| (outgoing.to, ControlMessage::decode(outgoing.message_type, &outgoing.body).unwrap()))
        .collect()
}

fn ack(transaction: u32, acked: MessageType, status: AckStatus) -> ControlMessage {
    ControlMessage { session: 1, transaction, control: Control::Ack(Ack { acked, status, text: String::new() }) }
}

/// Blades 1 to `count` have said hello, and the answers are out of the way.
fn greeted(count: u8) -> Agents {
    let mut agents = agents();
    for n in 1..=count {
        assert!(take(&mut agents, Nanos::ZERO, n, &hello(n, 1)));
    }
    sent(&mut agents);
    agents
}

fn mode() -> Control {
    Control::SetMode(Name::new("maintenance").unwrap())
}

fn progress(agents: &Agents, transaction: u32, slot: u16) -> Progress {
    agents.command_of(transaction).unwrap().blades[&slot].progress.clone()
}

#[test]
fn hellos_are_acknowledged_and_silence_is_noticed() {
    let mut agents = agents();
    assert!(take(&mut agents, Nanos::ZERO, 1, &hello(1, 1)));
    let done = Ack { acked: MessageType::Hello, status: AckStatus::Done, text: String::new() };
    let answer = ControlMessage { session: 7, transaction: 1, control: Control::Ack(done) };
    assert_eq!(sent(&mut agents), [(mac(1), answer.clone())]);
    // A repetition is acknowledged again and changes nothing; one from before is too late to.
    assert!(!take(&mut agents, Nanos::ZERO, 1, &hello(1, 1)));
    assert_eq!(sent(&mut agents), [(mac(1), answer)]);
    let mut late = hello(1, 0);
    if let Control::Hello(hello) = &mut late.control {
        hello.rate_bps = 5;
    }
    assert!(!take(&mut agents, Nanos::ZERO, 1, &late));
    assert_eq!(agents.blade(1).unwrap().hello.rate_bps, 0);

    // Three intervals of the 100 ms that it promised.
    assert_eq!(agents.poll_timeout(), Some(Nanos::from_millis(300)));
    assert!(!agents.handle_timeout(Nanos(299_999_999)));
    assert!(agents.handle_timeout(Nanos::from_millis(300)));
    assert!(agents.blade(1).unwrap().silent && agents.poll_timeout().is_none());
    assert_eq!(agents.command(Nanos::from_millis(300), &Target::All, mode()), Err(CommandError::Nobody));
    assert!(take(&mut agents, Nanos::from_millis(400), 1, &hello(1, 2)), "it is back");
    assert!(!agents.blade(1).unwrap().silent);
    assert!(agents.flush_port(PortId(0)) && agents.blade(1).is_none());
}

#[test]
fn a_hello_from_nowhere_is_refused() {
    let mut agents = agents();
    let body = hello(1, 1).encode(None);
    let message_type = MessageType::Hello;
    let header = Header { message_type, final_destination: Final::Mac(SWITCH), inner: EtherType(0), body_len: body.len() as u16 };
    assert!(!agents.handle_message(Nanos::ZERO, (PortId(4), Vid::DEFAULT, None), mac(9), &header, &body));
    let Control::Ack(ack) = sent(&mut agents).swap_remove(0).1.control else { panic!("an ack") };
    assert_eq!(ack.status, AckStatus::Refused);
    assert!(!agents.handle_message(Nanos::ZERO, at(1), mac(1), &header, &body[..20]));
    assert_eq!(agents.counters.malformed, 1);
}

#[test]
fn a_command_is_repeated_with_growing_waits_and_given_up() {
    let mut agents = greeted(2);
    let number = agents.command(Nanos::ZERO, &Target::All, mode()).unwrap();
    let message = ControlMessage { session: 1, transaction: number, control: mode() };
    let everybody = MacAddr::BROADCAST;
    assert_eq!(sent(&mut agents), [(everybody, message.clone()), (everybody, message.clone())], "a copy on each port");
    take(&mut agents, Nanos::ZERO, 2, &ack(number, MessageType::SetMode, AckStatus::Done));
    assert_eq!(agents.blade(2).unwrap().mode.as_ref().map(Name::as_str), Some("maintenance"));

    // Blade 1 does not answer: 200 ms, then 400, 800, 1600, 3200, 6400 ms. It alone is asked again.
    let (mut now, mut wait) = (0, 200);
    for repetition in 1..=5 {
        now += wait;
        wait *= 2;
        agents.handle_timeout(Nanos(now * 1_000_000 - 1));
        assert_eq!(sent(&mut agents), [], "repetition {repetition} is early");
        agents.handle_timeout(Nanos::from_millis(now));
        assert_eq!(sent(&mut agents), [(mac(1), message.clone())], "repetition {repetition}");
    }
    assert_eq!(progress(&agents, number, 1), Progress::Waiting { sent: 6 });
    agents.handle_timeout(Nanos::from_millis(now + wait));
    assert_eq!((progress(&agents, number, 1), sent(&mut agents)), (Progress::Abandoned, vec![]));
    assert!(agents.command_of(number).unwrap().is_over());
    assert_eq!((agents.counters.repeated, agents.counters.abandoned), (5, 1));
    // Too late.
    take(&mut agents, Nanos::from_millis(now + wait), 1, &ack(number, MessageType::SetMode, AckStatus::Done));
    assert_eq!(progress(&agents, number, 1), Progress::Abandoned);
}

#[test]
fn accepted_is_not_done() {
    let mut agents = greeted(1);
    let number = agents.command(Nanos::ZERO, &Target::Slots(vec![1]), Control::Listen(4)).unwrap();
    assert_eq!(sent(&mut agents)[0].0, mac(1));
    // Somebody else's ack, one of another session, and one of another type say nothing.
    take(&mut agents, Nanos::ZERO, 2, &ack(number, MessageType::Listen, AckStatus::Done));
    take(&mut agents, Nanos::ZERO, 1, &ControlMessage { session: 2, ..ack(number, MessageType::Listen, AckStatus::Done) });
    take(&mut agents, Nanos::ZERO, 1, &ack(number, MessageType::SetMode, AckStatus::Done));
    assert_eq!(progress(&agents, number, 1), Progress::Waiting { sent: 1 });
    take(&mut agents, Nanos::ZERO, 1, &ack(number, MessageType::Listen, AckStatus::Accepted));
    assert_eq!(progress(&agents, number, 1), Progress::Accepted);
    // Who is at it is asked again now and then: its last word may have been lost.
    agents.handle_timeout(Nanos(1_599_999_999));
    assert_eq!(sent(&mut agents), []);
    agents.handle_timeout(Nanos::from_millis(1600));
    assert_eq!(sent(&mut agents).len(), 1);
    take(&mut agents, Nanos::from_secs(59), 1, &ack(number, MessageType::Listen, AckStatus::Done));
    assert!(agents.command_of(number).unwrap().is_over());
    assert_eq!(agents.blade(1).unwrap().timeslot, Some(4));

    let number = agents.command(Nanos::ZERO, &Target::Slots(vec![1]), mode()).unwrap();
    take(&mut agents, Nanos::ZERO, 1, &ack(number, MessageType::SetMode, AckStatus::Accepted));
    agents.handle_timeout(Nanos::from_secs(59));
    assert_eq!(progress(&agents, number, 1), Progress::Accepted);
    agents.handle_timeout(Nanos::from_secs(60));
    assert_eq!(progress(&agents, number, 1), Progress::Abandoned, "it never finished");
    assert_eq!(agents.command(Nanos::ZERO, &Target::Slots(vec![1, 9]), mode()), Err(CommandError::Unknown(9)));
}

#[test]
fn commands_are_limited() {
    let mut agents = greeted(1);
    for _ in 0..COMMANDS_MAX {
        agents.command(Nanos::ZERO, &Target::All, mode()).unwrap();
    }
    assert_eq!(agents.command(Nanos::ZERO, &Target::All, mode()), Err(CommandError::Full));
    take(&mut agents, Nanos::ZERO, 1, &ack(5, MessageType::SetMode, AckStatus::Unsupported));
    let number = agents.command(Nanos::ZERO, &Target::All, mode()).unwrap();
    assert!(agents.command_of(5).is_none() && agents.command_of(number).is_some(), "the one that is over makes room");
}

#[test]
fn with_a_key_only_sealed_messages_count() {
    let key = b"sixteen bytes...";
    let mut agents = agents();
    agents.begin(9, Some(Sealer::new(key, 100)));
    assert!(!take(&mut agents, Nanos::ZERO, 1, &hello(1, 1)));
    assert_eq!((agents.counters.unsealed, sent(&mut agents).len()), (1, 0));

    let mut blade = Sealer::new(key, 50);
    let body = encode(Some(&mut blade), mac(1), Final::Mac(SWITCH), &hello(1, 2));
    let header = Header {
        message_type: MessageType::Hello,
        final_destination: Final::Mac(SWITCH),
        inner: EtherType(0),
        body_len: body.len() as u16,
    };
    assert!(agents.handle_message(Nanos::ZERO, at(1), mac(1), &header, &body));
    assert!(!agents.handle_message(Nanos::ZERO, at(1), mac(1), &header, &body), "played again");
    assert_eq!((agents.counters.unsealed, agents.counters.hellos), (2, 1));
    // The answer is sealed as well.
    let answer = agents.poll_transmit().unwrap();
    let header = Header {
        message_type: MessageType::Ack,
        final_destination: Final::Mac(answer.to),
        inner: EtherType(0),
        body_len: answer.body.len() as u16,
    };
    assert_eq!(blade.check(SWITCH, &header, &answer.body), Ok(()));
}
