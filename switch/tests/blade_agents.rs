//! Blade agents and the real switch on one virtual clock: hellos, identities, commands of paragraph 55, and IP packets of hosts that
//! travel in the messages of FIG. 6 and 7.

mod blades;

use std::collections::BTreeSet;

use blades::*;
use bladeswitch::blade::{Action, Agent, AgentConfig};
use bladeswitch::replay::Stage;
use control::agents::{Progress, Target};
use control::identity::Source;
use control::rates::By;
use control::seal::Sealer;
use port::{Nanos, PortId};
use wire::arp::{Arp, Operation};
use wire::ethernet::{EtherType, Frame};
use wire::message::{Control, ControlMessage, Final, Hello, Message, MessageType, Name};
use wire::{MacAddr, Vid};

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn names(texts: &[&str]) -> BTreeSet<Name> {
    texts.iter().map(|text| name(text)).collect()
}

fn config(n: u8) -> AgentConfig {
    AgentConfig {
        mac: blade(n),
        ips: vec![ip(n).into(), ip6(n).into()],
        slot: u16::from(n),
        rate_bps: 1_000_000_000,
        hello_ms: 1000,
        functions: names(&["web"]),
        modes: names(&["maintenance"]),
        provision: true,
        switch: None,
        session: 0x1000 + u32::from(n),
    }
}

/// A switch whose slots are configured without any address, and an agent on each of them.
struct Chassis {
    stage: Stage,
    agents: Vec<Agent>,
    /// Frames the switch has sent, by port, while the agents talked.
    wire: Vec<(PortId, Vec<u8>)>,
    /// Of the frames to this blade so many are lost.
    lose: (usize, usize),
}

impl Chassis {
    fn new(count: u8, head: &str, sealer: impl Fn(u8) -> Option<Sealer>) -> Chassis {
        let blades: String = (1..=count).map(|n| format!("[[blade]]\nslot = {n}\n")).collect();
        let mut stage = stage(&format!("{head}\n{blades}[[uplink]]\n"));
        stage.switch.control.begin_agents(77, sealer(0));
        let agents = (1..=count).map(|n| Agent::new(config(n), sealer(n))).collect();
        Chassis { stage, agents, wire: Vec::new(), lose: (0, 0) }
    }

    /// Everybody talks until `ms` after the start, a millisecond a step.
    fn run_until(&mut self, ms: u64) {
        while self.stage.now() < Nanos::from_millis(ms) {
            let now = self.stage.now() + Nanos::from_millis(1);
            self.stage.advance(now);
            self.step();
        }
    }

    fn step(&mut self) {
        let now = self.stage.now();
        for departure in self.stage.take_sent() {
            self.wire.push((departure.port, departure.bytes.clone()));
            let index = departure.port.index();
            if self.lose.0 == index && self.lose.1 > 0 {
                self.lose.1 -= 1;
                continue;
            }
            if let Some(agent) = self.agents.get_mut(index) {
                agent.handle_frame(now, &departure.bytes);
            }
        }
        for (index, agent) in self.agents.iter_mut().enumerate() {
            agent.handle_timeout(now);
            let frames: Vec<Vec<u8>> = std::iter::from_fn(|| agent.poll_transmit()).collect();
            self.stage.feed(PortId(index as u8), frames);
        }
    }

    fn command(&mut self, target: &Target, control: Control) -> u32 {
        self.stage.switch.control.command_blades(target, control).unwrap()
    }

    fn progress(&self, number: u32, slot: u16) -> Progress {
        self.stage.switch.control.agents().command_of(number).unwrap().blades[&slot].progress.clone()
    }

    fn identity(&self, slot: u16) -> Option<(MacAddr, Source)> {
        let (_, identity) = self.stage.switch.control.identities().iter().find(|(found, _)| *found == slot)?;
        identity.macs.iter().next().map(|(&mac, &source)| (mac, source))
    }

    fn end(mut self) {
        self.stage.take_sent();
        end(self.stage);
    }
}

fn open(count: u8) -> Chassis {
    let mut chassis = Chassis::new(count, "", |_| None);
    chassis.run_until(50);
    chassis
}

fn answered(status: &str, text: &str) -> Progress {
    Progress::Answered { status: status.to_owned(), text: text.to_owned() }
}

/// [10], [25], [60]: identifiers are acquired from the blades and transferred to the switch blade and the other blades.
#[test]
fn hellos_become_identities_that_all_blades_know() {
    let mut chassis = open(3);
    for n in 1..=3 {
        assert_eq!(chassis.identity(n.into()), Some((blade(n), Source::Hello)));
        assert_eq!(chassis.stage.switch.control.neighbors().get(Vid::DEFAULT, ip(n).into()).unwrap().mac, blade(n));
        let agent = &chassis.agents[usize::from(n) - 1];
        assert_eq!(agent.switch(), Some(SWITCH));
        let others: Vec<_> = (1..=3).filter(|&other| other != n).collect();
        assert_eq!(agent.owners().len(), 4, "two addresses of each other blade");
        assert!(others.iter().all(|&other| agent.owners()[&ip(other).into()] == blade(other)));
    }
    // Blade 2 falls silent: after three intervals it counts as such.
    let mut gone = chassis.agents.remove(1);
    chassis.agents.insert(1, Agent::new(AgentConfig { mac: blade(99), hello_ms: u32::MAX, ..config(99) }, None));
    chassis.agents[1].handle_timeout(Nanos::ZERO);
    while chassis.agents[1].poll_transmit().is_some() {} // It never gets to speak.
    chassis.run_until(2900);
    assert!(!chassis.stage.switch.control.agents().blade(2).unwrap().silent);
    chassis.run_until(3100);
    assert!(chassis.stage.switch.control.agents().blade(2).unwrap().silent);
    gone.handle_timeout(chassis.stage.now());
    chassis.agents[1] = gone;
    chassis.run_until(3200);
    assert!(!chassis.stage.switch.control.agents().blade(2).unwrap().silent, "it is back");
    chassis.end();
}

/// FIG. 6 and 7 by hosts that know nothing of messages: an IP packet leaves as a message to the switch blade with the peer as its final
/// destination, and arrives as the packet it was.
#[test]
fn ip_packets_travel_as_messages() {
    let mut chassis = open(2);
    for (src, dst) in [(ip(1).into(), ip(2).into()), (ip6(1).into(), ip6(2).into())] {
        let (ethertype, packet) = ip_packet(src, dst);
        let host_frame = frame(blade(2), blade(1), ethertype, &packet);
        chassis.agents[0].handle_host(&host_frame);
        chassis.wire.clear();
        chassis.run_until(chassis.stage.now().0 / 1_000_000 + 5);
        let (_, switched) = chassis.wire.iter().find(|(port, _)| *port == slot(2)).expect("a message for blade 2");
        let message = Message::parse(&Frame::new_checked(switched).unwrap()).unwrap();
        assert_eq!((message.initial_destination, message.source), (blade(2), blade(1)), "FIG. 6b");
        assert_eq!((message.final_destination, message.inner, message.body), (Final::from(dst), ethertype, &packet[..]));
        assert_eq!(chassis.agents[1].poll_deliver(), Some(host_frame), "as it was");
    }
    assert_eq!((chassis.agents[0].counters().wrapped, chassis.agents[1].counters().unwrapped), (2, 2));

    // The same with a MAC as final destination: then both are equal behind the switch blade.
    chassis.agents[0].name_blades_by_mac();
    let (ethertype, packet) = ip_packet(ip(1).into(), ip(2).into());
    chassis.agents[0].handle_host(&frame(blade(2), blade(1), ethertype, &packet));
    chassis.wire.clear();
    chassis.run_until(chassis.stage.now().0 / 1_000_000 + 5);
    let (_, switched) = chassis.wire.iter().find(|(port, _)| *port == slot(2)).expect("a message for blade 2");
    let message = Message::parse(&Frame::new_checked(switched).unwrap()).unwrap();
    assert_eq!((message.initial_destination, message.final_destination), (blade(2), Final::Mac(blade(2))));
    assert_eq!(chassis.agents[1].poll_deliver(), Some(frame(blade(2), blade(1), ethertype, &packet)));

    // Who has the address is answered from the identities; nothing of it leaves the blade.
    let arp = Arp { operation: Operation::Request, sender_mac: blade(1), sender_ip: ip(1), target_mac: MacAddr::ZERO, target_ip: ip(2) };
    chassis.agents[0].handle_host(&frame(MacAddr::BROADCAST, blade(1), EtherType::ARP, &arp.emit()));
    let reply = chassis.agents[0].poll_deliver().unwrap();
    assert_eq!(Arp::parse(&reply[14..]).unwrap(), arp.reply(blade(2)));
    assert_eq!(chassis.agents[0].poll_transmit(), None);

    // Somebody outside is no blade: the frame stays a frame.
    let (ethertype, packet) = ip_packet(ip(1).into(), ip(99).into());
    let outside = frame(OUTSIDE, blade(1), ethertype, &packet);
    chassis.agents[0].handle_host(&outside);
    assert_eq!(chassis.agents[0].poll_transmit(), Some(outside));

    // An opaque body, and one for nobody.
    assert!(chassis.agents[0].send(Final::Mac(blade(2)), b"hello") && chassis.agents[0].send(Final::Mac(blade(98)), b"?"));
    chassis.run_until(chassis.stage.now().0 / 1_000_000 + 5);
    let received = chassis.agents[1].poll_receive().unwrap();
    assert_eq!((received.source, &received.body[..]), (blade(1), &b"hello"[..]));
    assert_eq!(chassis.agents[0].counters().notices, 1);
    chassis.end();
}

/// [55]: a broadcast that has all blades enter a mode, execute a function, listen to a timeslot, take parameters.
#[test]
fn broadcast_commands_are_obeyed_once_and_acknowledged() {
    let mut chassis = open(3);
    let number = chassis.command(&Target::All, Control::SetMode(name("maintenance")));
    chassis.run_until(60);
    for (index, agent) in chassis.agents.iter_mut().enumerate() {
        let action = agent.poll_action().unwrap();
        assert_eq!(action, Action { id: 1, control: Control::SetMode(name("maintenance")) });
        assert_eq!((agent.poll_action(), agent.mode()), (None, None));
        agent.finish(action.id, if index == 2 { Err("it would not".to_owned()) } else { Ok(String::new()) });
    }
    assert_eq!(chassis.progress(number, 1), Progress::Accepted);
    chassis.run_until(70);
    assert_eq!((chassis.progress(number, 1), chassis.progress(number, 3)), (answered("done", ""), answered("failed", "it would not")));
    assert_eq!((chassis.agents[0].mode(), chassis.agents[2].mode()), (Some(&name("maintenance")), None));

    let number = chassis.command(&Target::All, Control::Listen(5));
    let unknown = chassis.command(&Target::Slots(vec![2]), Control::Execute(name("mail")));
    let parameters = chassis.command(&Target::Slots(vec![3]), Control::Provision(vec![(name("mtu"), "9000".to_owned())]));
    chassis.run_until(80);
    assert!((1..=3).all(|slot| chassis.progress(number, slot) == answered("done", "")));
    assert!(chassis.agents.iter().all(|agent| agent.timeslots().contains(&5)));
    assert_eq!(chassis.progress(unknown, 2), answered("unsupported", "there is no function mail here"));
    assert_eq!((chassis.agents[1].poll_action(), chassis.progress(parameters, 3)), (None, Progress::Accepted));
    assert!(chassis.agents[2].poll_action().is_some());
    chassis.end();
}

/// A message that is lost is repeated; one whose acknowledgement was lost is not carried out twice.
#[test]
fn lost_commands_are_repeated_and_done_once() {
    let mut chassis = open(1);
    chassis.lose = (0, 2);
    let number = chassis.command(&Target::All, Control::Execute(name("web")));
    chassis.run_until(600);
    assert_eq!(chassis.progress(number, 1), Progress::Waiting { sent: 2 });
    chassis.run_until(700);
    assert_eq!(chassis.progress(number, 1), Progress::Accepted, "the third one arrived");
    // It is heard twice: while it is being done, and afterwards.
    let repetition = |chassis: &Chassis| {
        let sent = chassis.wire.iter().rev().find(|(_, bytes)| bytes[15] == 18);
        sent.expect("an Execute").1.clone()
    };
    let bytes = repetition(&chassis);
    chassis.agents[0].handle_frame(Nanos::from_millis(700), &bytes);
    let action = chassis.agents[0].poll_action().unwrap();
    chassis.agents[0].finish(action.id, Ok("served".to_owned()));
    chassis.agents[0].handle_frame(Nanos::from_millis(701), &bytes);
    chassis.run_until(710);
    assert_eq!(chassis.progress(number, 1), answered("done", "served"));
    assert_eq!((chassis.agents[0].poll_action(), chassis.agents[0].counters().repeated), (None, 2));
    chassis.end();
}

/// A blade cannot give orders: not through the switch blade, not by broadcast, and straight to another blade it is not obeyed.
#[test]
fn blades_obey_the_switch_blade_alone() {
    let mut chassis = open(2);
    let order = ControlMessage { session: 1, transaction: 1, control: Control::Execute(name("web")) }.encode(None);
    let send = |to, last| typed(to, blade(1), last, MessageType::Execute, &order);
    chassis.stage.feed(slot(1), [send(SWITCH, blade(2)), send(MacAddr::BROADCAST, MacAddr::BROADCAST), send(SWITCH, MacAddr::BROADCAST)]);
    chassis.run_until(60);
    assert_eq!(drops(&chassis.stage, slot(1), "control-refused"), 3);
    assert_eq!(chassis.agents[1].counters().refused, 0);
    chassis.stage.feed(slot(1), [send(blade(2), blade(2))]);
    chassis.run_until(70);
    assert_eq!((chassis.agents[1].counters().refused, chassis.agents[1].poll_action()), (1, None));
    // The network may not even say hello.
    let hello = ControlMessage { session: 1, transaction: 1, control: Control::Hello(Hello::default()) }.encode(None);
    chassis.stage.feed(PortId(2), [typed(SWITCH, OUTSIDE, SWITCH, MessageType::Hello, &hello)]);
    chassis.run_until(80);
    assert_eq!(drops(&chassis.stage, PortId(2), "control-refused"), 1);
    chassis.end();
}

/// With a key, blades that have it and the switch talk; one with another key is nobody.
#[test]
fn a_blade_without_the_key_is_nobody() {
    let key = |n: u8| if n == 2 { b"some other key.." } else { b"sixteen bytes..." };
    let mut chassis = Chassis::new(2, "", |n| Some(Sealer::new(key(n), 1_000_000)));
    chassis.run_until(50);
    assert_eq!((chassis.agents[0].switch(), chassis.agents[1].switch()), (Some(SWITCH), None));
    let control = &chassis.stage.switch.control;
    assert!(control.agents().blade(1).is_some() && control.agents().blade(2).is_none());
    assert!(control.agents().counters.unsealed > 0);
    let number = chassis.command(&Target::All, Control::Listen(1));
    chassis.run_until(60);
    assert_eq!(chassis.progress(number, 1), answered("done", ""));
    chassis.end();
}

/// No bytes from the port or the host stop an agent.
#[test]
fn agents_survive_any_frame() {
    let mut agent = Agent::new(config(1), None);
    let base = message(blade(1), SWITCH, blade(1), &[1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 3, b'w', b'e', b'b', 0, 0]);
    for at in 12..base.len() {
        for value in [0, 1, 2, 15, 16, 17, 18, 19, 20, 21, 22, 0x7f, 0xff] {
            let mut bytes = base.clone();
            bytes[at] = value;
            agent.handle_frame(Nanos::ZERO, &bytes);
            agent.handle_host(&bytes);
            for number in 14..24 {
                bytes[15] = number;
                agent.handle_frame(Nanos::ZERO, &bytes[..bytes.len() - at % 7]);
            }
        }
    }
    agent.handle_frame(Nanos::ZERO, &[]);
    agent.handle_host(&[0; 13]);
    assert!(agent.counters().refused > 0 && agent.counters().malformed > 0 && agent.counters().overrun > 0);
    assert_eq!(agent.poll_action(), None, "nobody it obeys has spoken");
}

/// [57]: the agent of a standby blade takes what is for the blade it stands in for, once the switch has told it so, and no longer.
#[test]
fn a_standby_agent_takes_the_identity_of_a_lost_blade() {
    let text = format!("[[blade]]\nslot = 1\nmac = \"{}\"\nstandby = \"blade3\"\n[[blade]]\nslot = 2\n[[blade]]\nslot = 3\n", blade(1));
    let mut stage = stage(&text);
    stage.switch.control.begin_agents(77, None);
    let agents = (1..=3).map(|n| Agent::new(config(n), None)).collect();
    let mut chassis = Chassis { stage, agents, wire: Vec::new(), lose: (0, 0) };
    chassis.run_until(50);
    let arrives = |chassis: &mut Chassis, ms: u64| {
        chassis.run_until(ms);
        while chassis.agents.iter_mut().any(|agent| agent.poll_deliver().is_some()) {}
        // A host behind blade 2 sends a packet to blade 1's address, and a frame that is no packet.
        let (ethertype, packet) = ip_packet(ip(2).into(), ip(1).into());
        chassis.agents[1].handle_host(&frame(blade(1), blade(2), ethertype, &packet));
        chassis.agents[1].handle_host(&plain(blade(1), blade(2), 60, 5));
        chassis.run_until(ms + 10);
        let of = |agent: &mut Agent| std::iter::from_fn(|| agent.poll_deliver()).map(|frame| frame[..6].to_vec()).collect::<Vec<_>>();
        (of(&mut chassis.agents[0]), of(&mut chassis.agents[2]))
    };
    let to = |n: u8| vec![blade(n).0.to_vec(); 2];
    assert_eq!(arrives(&mut chassis, 60), (to(1), vec![]));
    chassis.stage.switch.control.set_enabled(PortId(0), false);
    assert_eq!(arrives(&mut chassis, 100), (vec![], to(3)), "delivered under the standby blade's own address");
    chassis.stage.switch.control.set_enabled(PortId(0), true);
    assert_eq!(arrives(&mut chassis, 1200), (to(1), vec![]));
}

/// [56] and its sibling: a blade and the switch agree on a rate by message, and on another later.
#[test]
fn a_rate_is_agreed_on_by_message() {
    let rates = "[[rate]]\nfrom = \"blade1\"\nto = \"blade2\"\nrate = \"10M\"\nmax = \"2G\"\n";
    let mut chassis = Chassis::new(3, rates, |_| None);
    let (to, holds) = (name("blade2"), |chassis: &Chassis| {
        let shown = control::show::rates(&chassis.stage.switch.control).rates.remove(0);
        (shown.rate_bps, shown.by)
    });
    chassis.agents[0].ask_rate(to.clone(), 0);
    chassis.run_until(50);
    assert_eq!(chassis.agents[0].rate(&to), Some(&Ok(10_000_000)), "0 asks what holds");
    assert_eq!(holds(&chassis), (10_000_000, By::Config));
    // Both have said 1G in their hellos: no more is granted, whatever the configuration allows.
    for (asked, granted) in [(500_000_000, 500_000_000), (1_500_000_000, 1_000_000_000), (123, 123)] {
        chassis.agents[0].ask_rate(to.clone(), asked);
        assert_eq!(chassis.agents[0].rate(&to), None);
        chassis.run_until(chassis.stage.now().0 / 1_000_000 + 5);
        assert_eq!((chassis.agents[0].rate(&to), holds(&chassis)), (Some(&Ok(granted)), (granted, By::Blade)));
    }
    // The answer is lost twice: it is asked again with each hello, and answered as before.
    chassis.lose = (0, 2);
    chassis.agents[0].ask_rate(to.clone(), 5_000_000);
    chassis.run_until(900);
    assert_eq!((chassis.agents[0].rate(&to), holds(&chassis).0), (None, 5_000_000), "it holds, and blade 1 does not know");
    chassis.run_until(3_100);
    assert_eq!(chassis.agents[0].rate(&to), Some(&Ok(5_000_000)));
    // Nothing is configured from 3 to 2, and nobody is called so.
    for (to, says) in [("blade2", "no [[rate]] from blade3 to blade2"), ("nobody", "no port is called nobody")] {
        chassis.agents[2].ask_rate(name(to), 1);
        chassis.run_until(chassis.stage.now().0 / 1_000_000 + 5);
        let refused = chassis.agents[2].rate(&name(to)).unwrap().as_ref().unwrap_err();
        assert!(refused.contains(says), "{refused}");
    }
    // An operator has the last word, until the blade asks again.
    chassis.stage.switch.control.set_rate("blade1", "blade2", 2_000_000_000).unwrap();
    chassis.run_until(chassis.stage.now().0 / 1_000_000 + 2_000);
    assert_eq!(holds(&chassis), (2_000_000_000, By::Operator));
    chassis.end();
}
