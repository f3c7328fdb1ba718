//! Probes, paragraphs [43], [55] and [58]: a blade whose link is up and that does not do what it is there for.

use bladeswitch::replay::Stage;
use control::plane::Cause;
use control::show;
use control::steering::BladeState;
use port::{LinkState, Nanos, PortId};
use wire::MacAddr;
use wire::arp::Arp;
use wire::ethernet::{EtherType, Frame};
use wire::message::{Ack, AckStatus, Control, ControlMessage, Final, Hello, Message, MessageType, Name};

use super::UPLINK;
use super::blades::*;
use super::chance::Chance;

const RULE: &str = "[[steer]]\nfunction = \"web\"\nethertype = 0x88b6\n";

/// Four blades that answer what they are asked, or do not.
struct Bays {
    stage: Stage,
    /// By slot: who answers ARP.
    answers: [bool; 5],
    /// What whoever is told to execute something says.
    status: AckStatus,
    /// Where the questions of the switch came, and when the last of their bits had left.
    asked: Vec<(Nanos, PortId)>,
    /// All else that came out.
    sent: Vec<(PortId, Vec<u8>)>,
}

impl Bays {
    fn new(text: &str) -> Bays {
        Bays { stage: stage(text), answers: [true; 5], status: AckStatus::Done, asked: Vec::new(), sent: Vec::new() }
    }

    /// A function with a probe, at the blades 1 to 3.
    fn with_probe(probe: &str) -> Bays {
        let function = "[[function]]\nname = \"web\"\nblades = [\"blade1\", \"blade2\", \"blade3\"]\n";
        Bays::new(&format!("{}{function}probe = {probe}\n{RULE}", chassis(SILENT, 4)))
    }

    /// Time passes; blades answer within a millisecond.
    fn run_until(&mut self, until: Nanos) {
        while self.stage.now() < until {
            let next = Nanos((self.stage.now().0 / 1_000_000 + 1) * 1_000_000).min(until);
            self.stage.advance(next);
            self.answer();
        }
    }

    fn answer(&mut self) {
        for departure in self.stage.take_sent() {
            let (port, bytes) = (departure.port, departure.bytes);
            let n = port.0 + 1;
            let frame = Frame::new_checked(&bytes).unwrap();
            if frame.ethertype() == EtherType::ARP {
                let arp = Arp::parse(frame.payload()).unwrap();
                assert!(arp.is_probe() && arp.target_ip == ip(n) && arp.sender_mac == SWITCH && frame.dst() == blade(n), "{arp:?}");
                self.asked.push((departure.time, port));
                if self.answers[usize::from(n)] {
                    let reply = ethernet_reply(&arp, n);
                    self.stage.feed(port, [reply]);
                }
            } else if let Some(ack) = executed(&bytes, self.status) {
                self.asked.push((departure.time, port));
                if self.answers[usize::from(n)] {
                    self.stage.feed(port, [typed(SWITCH, blade(n), Final::Mac(SWITCH), MessageType::Ack, &ack)]);
                }
            } else {
                self.sent.push((port, bytes));
            }
        }
    }

    fn states(&self) -> Vec<BladeState> {
        self.shown().iter().map(|blade| blade.state).collect()
    }

    fn shown(&self) -> Vec<show::FunctionBlade> {
        show::functions(&self.stage.switch.control).functions.remove(0).blades
    }

    /// One frame of each of these clients, and where it came.
    fn clients(&mut self, numbers: std::ops::Range<u8>) -> Vec<(u8, PortId)> {
        self.sent.clear();
        for n in numbers {
            self.stage.feed(UPLINK, [plain(blade(99), MacAddr([2, 0, 0, 0, 8, n]), 60, n)]);
        }
        self.run_until(self.stage.now() + Nanos::from_millis(1));
        let steered = self.sent.iter().filter(|(port, _)| *port != UPLINK);
        let mut at: Vec<(u8, PortId)> = steered.map(|(port, bytes)| (bytes[14], *port)).collect();
        at.sort_unstable();
        at
    }

    fn end(self) {
        self.stage.switch.check_ledger().unwrap();
        assert_eq!(dropped(&self.stage), 0, "answers to the switch are not dropped, they are for control");
    }
}

fn ethernet_reply(question: &Arp, n: u8) -> Vec<u8> {
    frame(SWITCH, blade(n), EtherType::ARP, &question.reply(blade(n)).emit())
}

/// The acknowledgement of what the switch has told a blade to execute.
fn executed(bytes: &[u8], status: AckStatus) -> Option<Vec<u8>> {
    let message = Message::parse(&Frame::new_checked(bytes)?).ok().filter(|message| message.message_type == MessageType::Execute)?;
    let said = ControlMessage::decode(MessageType::Execute, message.body).unwrap();
    assert_eq!(said.control, Control::Execute(Name::new("health").unwrap()));
    let ack = Ack { acked: MessageType::Execute, status, text: String::new() };
    Some(ControlMessage { session: said.session, transaction: said.transaction, control: Control::Ack(ack) }.encode(None))
}

fn hello(n: u8) -> Vec<u8> {
    let hello =
        Hello { slot: u16::from(n), interval_ms: 60_000, rate_bps: 0, macs: vec![blade(n)], ips: Vec::new(), functions: Vec::new() };
    let body = ControlMessage { session: 1, transaction: 1, control: Control::Hello(hello) }.encode(None);
    typed(SWITCH, blade(n), Final::Mac(SWITCH), MessageType::Hello, &body)
}

#[test]
fn p43_a_blade_that_does_not_answer_loses_its_flows_with_its_link_up() {
    let ms = Nanos::from_millis;
    let mut bays = Bays::with_probe("{ kind = \"arp\", interval_ms = 100, timeout_ms = 20, fall = 3, rise = 2 }");
    bays.run_until(ms(50));
    let before = bays.clients(0..90);
    assert_eq!(before.len(), 90);
    bays.run_until(ms(250));
    bays.answers[2] = false;
    // The questions of 300, 400 and 500 ms are not answered: at 520 ms, and no nanosecond before, the blade is not well.
    bays.run_until(Nanos(520_000_000 - 1));
    assert_eq!(bays.states(), [BladeState::Up; 3]);
    assert_eq!(bays.shown()[1].probe.as_ref().unwrap().against, 2);
    bays.run_until(ms(520));
    assert_eq!(bays.states(), [BladeState::Up, BladeState::Failing, BladeState::Up]);
    assert_eq!(bays.stage.switch.control.links()[1], LinkState::Up);
    let during = bays.clients(0..90);
    for (before, during) in before.iter().zip(&during) {
        assert!(during.1 != slot(2) && (before.1 == slot(2) || before == during), "{before:?} became {during:?}");
    }
    assert!(before.iter().any(|(_, port)| *port == slot(2)));
    // It answers again, at 600 and 700 ms: flows stay, new ones go there.
    bays.run_until(ms(550));
    bays.answers[2] = true;
    bays.run_until(ms(699));
    assert_eq!(bays.states()[1], BladeState::Failing, "one answer is not enough");
    bays.run_until(ms(705));
    assert_eq!(bays.states()[1], BladeState::Up);
    assert_eq!(bays.clients(0..90), during);
    assert!(bays.clients(90..180).iter().any(|(_, port)| *port == slot(2)));
    // Questions leave every 100 ms, to the nanosecond, and answers are timed.
    for n in 1..=3 {
        let at: Vec<u64> = bays.asked.iter().filter(|(_, port)| *port == slot(n)).map(|(at, _)| at.0).collect();
        assert_eq!(at.len(), 8);
        assert!(at.windows(2).all(|pair| pair[1] - pair[0] == 100_000_000), "{at:?}");
    }
    let probe = bays.shown()[1].probe.clone().unwrap();
    assert_eq!((probe.well, probe.asked, probe.answered), (true, 8, 5));
    let last = probe.last.unwrap();
    assert!(last.said == "ok" && last.round_trip_ns.is_some_and(|ns| ns > 0 && ns <= 1_100_000), "{last:?}");
    assert_eq!(bays.stage.switch.control.counters().probes, 24);
    bays.end();
}

#[test]
fn p55_a_blade_is_probed_by_having_it_execute_a_function() {
    let ms = Nanos::from_millis;
    let mut bays = Bays::with_probe("{ kind = \"execute\", run = \"health\", interval_ms = 100, fall = 2, rise = 1 }");
    // Who has not said hello cannot be asked.
    for n in [1, 2] {
        bays.stage.feed(slot(n), [hello(n)]);
    }
    bays.run_until(ms(350));
    assert_eq!(bays.states(), [BladeState::Up, BladeState::Up, BladeState::Failing]);
    let last = |bays: &Bays, n: usize| bays.shown()[n - 1].probe.clone().unwrap().last.unwrap().said;
    assert_eq!((last(&bays, 1), last(&bays, 3)), ("ok".to_owned(), "no-hello".to_owned()));
    bays.status = AckStatus::Failed;
    bays.run_until(ms(550));
    assert_eq!((bays.states()[0], last(&bays, 1)), (BladeState::Failing, "failed".to_owned()));
    bays.status = AckStatus::Done;
    bays.answers[2] = false;
    bays.stage.feed(slot(3), [hello(3)]);
    bays.run_until(ms(950));
    assert_eq!(bays.states(), [BladeState::Up, BladeState::Failing, BladeState::Up]);
    assert_eq!(last(&bays, 2), "timeout");
    bays.end();
}

/// The identity of a blade that does not answer is its standby's, though its link is up.
#[test]
fn p57_the_identity_of_a_blade_that_does_not_answer_is_taken() {
    let ms = Nanos::from_millis;
    let probe = "slot = 1\nstandby = \"blade4\"\nprobe = { kind = \"arp\", interval_ms = 50, timeout_ms = 50, fall = 2, rise = 3 }\n";
    let mut bays = Bays::new(&chassis(SILENT, 4).replacen("slot = 1\n", probe, 1));
    let find = |bays: &mut Bays, until: u64| {
        bays.run_until(ms(until));
        bays.sent.clear();
        bays.stage.feed(slot(2), [plain(blade(1), blade(2), 60, 3)]);
        bays.run_until(ms(until + 1));
        bays.sent.iter().map(|(port, _)| *port).collect::<Vec<_>>()
    };
    assert_eq!(find(&mut bays, 120), [slot(1)]);
    bays.answers[1] = false;
    assert_eq!(find(&mut bays, 248), [slot(1)]);
    assert_eq!(find(&mut bays, 251), [slot(4)], "questions of 150 and 200 ms were not answered");
    bays.answers[1] = true;
    assert_eq!(find(&mut bays, 395), [slot(4)]);
    assert_eq!(find(&mut bays, 405), [slot(1)], "those of 300, 350 and 400 ms were");
    let events = show::identities(&bays.stage.switch.control).handovers;
    assert_eq!(events.iter().map(|event| event.cause).collect::<Vec<_>>(), [Cause::Probe, Cause::Returned]);
    assert_eq!(events[0].time_ns, 250_000_000);
    // Pulled and put back it proves itself first.
    bays.stage.plug(slot(1), LinkState::Down);
    assert_eq!(find(&mut bays, 430), [slot(4)]);
    bays.stage.plug(slot(1), LinkState::Up);
    assert_eq!(find(&mut bays, 435), [slot(4)]);
    assert_eq!(find(&mut bays, 600), [slot(1)]);
    bays.end();
}

/// Blades answer and do not as a seed says: who is well is what counting by hand gives.
#[test]
fn p43_probes_whoever_answers() {
    for seed in 0..5 {
        let mut chance = Chance::new(seed);
        let (fall, rise) = (1 + chance.below(4), 1 + chance.below(4));
        let mut bays = Bays::with_probe(&format!("{{ kind = \"arp\", interval_ms = 20, timeout_ms = 10, fall = {fall}, rise = {rise} }}"));
        let (mut well, mut against, mut changes) = ([true; 4], [0; 4], 0);
        for round in 0..200u64 {
            for n in 1..=3 {
                if chance.one_in(3) {
                    bays.answers[n] = !bays.answers[n];
                }
                against[n] = if bays.answers[n] == well[n] { 0 } else { against[n] + 1 };
                if against[n] == if well[n] { fall } else { rise } {
                    (well[n], against[n]) = (!well[n], 0);
                    changes += 1;
                }
            }
            // The question of this round, and its answer or the end of waiting for it.
            bays.run_until(Nanos::from_millis(20 * round + 15));
            let expected: Vec<_> = (1..=3).map(|n| if well[n] { BladeState::Up } else { BladeState::Failing }).collect();
            assert_eq!(bays.states(), expected, "seed {seed}, round {round}");
        }
        assert!(changes > 10, "seed {seed}: {changes}");
        bays.end();
    }
}

/// Rules that come at run time have probes as well; what is wrong with them is told by line and field.
#[test]
fn p43_probes_at_run_time() {
    let mut stage = super::four_blades();
    let control = &mut stage.switch.control;
    let text = |probe: &str| format!("[[function]]\nname = \"web\"\nblades = \"blade1\"\nprobe = {probe}\n");
    for (probe, expected) in [
        ("{ kind = \"icmp\" }", "rules:4:18: function.probe.kind = \"icmp\": expected \"arp\" or \"execute\""),
        (
            "{ kind = \"arp\", timeout_ms = 2000 }",
            "rules:4:38: function.probe.timeout_ms = 2000: an answer must be there before the next question",
        ),
        ("{}", "rules:4:9: function.probe.kind is missing: expected how the blade is asked"),
    ] {
        let error = control.set_steering(&text(probe), "rules").unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
    control.set_steering(&text("{ kind = \"arp\", fall = 7 }"), "rules").unwrap();
    let written = control.config().to_toml().unwrap();
    assert!(written.contains("[function.probe]\nkind = \"arp\"\ninterval_ms = 1000\ntimeout_ms = 200\nfall = 7\nrise = 2\n"), "{written}");
    assert_eq!(&control::config::Config::parse(&written, "again.toml").unwrap(), control.config());
}
