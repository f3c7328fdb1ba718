//! FIG. 3 in a lab: who speaks to whom, and whether the switch blade has done to each header what paragraphs 46 to 54 say.
//!
//! Every ping is two flows, the requests and the replies. A frame is looked at twice: on its link into the switch ([`Seen`] with the place it
//! comes from) and on its link out of it. [`judge`] pairs them by the ICMP identifier and sequence number that the packet in the body has, and compares:
//!
//! - into the switch: initial destination the switch blade, final destination the receiver, source the sender (FIG. 6a and 7a);
//! - out of it, once and on the receiver's link only: initial destination the receiver, **and no other octet changed** (FIG. 6b and 7b).
//!
//! Frames of the external network are no messages: they must come out as they went in.
//!
//! Paragraph 39 has the third blade answer the second packet, which it has sent itself, with a fourth to the second blade: the fourth transfer is
//! from blade 3 to blade 2. Blade 4 and blade 2 answer as pings are answered; the figure does not draw that.

use std::net::{IpAddr, Ipv4Addr};

use serde::Serialize;
use wire::MacAddr;
use wire::ethernet::{EtherType, Frame};
use wire::ip::{Ipv4, Protocol};
use wire::message::{Final, Message, MessageType};

use super::Place;

const ONE: Place = Place::Blade(1);
const TWO: Place = Place::Blade(2);
const THREE: Place = Place::Blade(3);
const FOUR: Place = Place::Blade(4);

/// Who pings whom, all at once.
pub const PINGS: [(Place, Place); 4] = [(ONE, TWO), (THREE, FOUR), (THREE, TWO), (Place::Uplink, FOUR)];

/// Frames one way.
#[derive(Clone, Copy, Debug)]
struct Flow {
    step: &'static str,
    from: Place,
    to: Place,
    kind: Kind,
    what: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Request,
    Reply,
}

const FLOWS: [Flow; 8] = [
    Flow { step: "301", from: ONE, to: TWO, kind: Kind::Request, what: "a first blade sends a packet to a second" },
    Flow { step: "302", from: THREE, to: FOUR, kind: Kind::Request, what: "a third blade sends one to a fourth" },
    Flow { step: "303", from: TWO, to: ONE, kind: Kind::Reply, what: "the second blade responds to the first" },
    Flow { step: "304", from: THREE, to: TWO, kind: Kind::Request, what: "the third blade sends one to the second" },
    Flow { step: "302'", from: FOUR, to: THREE, kind: Kind::Reply, what: "the reply a ping gets, not in the figure" },
    Flow { step: "304'", from: TWO, to: THREE, kind: Kind::Reply, what: "the reply a ping gets, not in the figure" },
    Flow { step: "ext", from: Place::Uplink, to: FOUR, kind: Kind::Request, what: "the external network, meanwhile" },
    Flow { step: "ext'", from: FOUR, to: Place::Uplink, kind: Kind::Reply, what: "the reply to it" },
];

/// A frame on a link.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Whose link.
    pub place: Place,
    /// When, in ns of any clock that all have in common.
    pub time_ns: u64,
    /// Its octets.
    pub bytes: Vec<u8>,
}

/// What was seen, and what is wrong with it.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The switch blade's address.
    pub switch: String,
    /// Every flow.
    pub flows: Vec<FlowReport>,
    /// Every frame that came into the switch, by flow.
    pub frames: Vec<FrameReport>,
    /// Everything that is not as it should be; empty: all is well.
    pub faults: Vec<String>,
}

/// A flow.
#[derive(Clone, Debug, Serialize)]
pub struct FlowReport {
    /// The step of FIG. 3, such as `301`; `302'` is the reply to 302, `ext` the external network.
    pub step: &'static str,
    /// Where it comes from.
    pub from: String,
    /// Where it goes.
    pub to: String,
    /// What it stands for, in words.
    pub what: &'static str,
    /// Frames into the switch.
    pub rx: usize,
    /// Of them, those that came out as they should.
    pub passed: usize,
    /// When the first came in, in ms since the first of all.
    pub first_ms: f64,
    /// When the last came in.
    pub last_ms: f64,
}

/// A frame, before and after.
#[derive(Clone, Debug, Serialize)]
pub struct FrameReport {
    /// The step it belongs to.
    pub step: &'static str,
    /// Its sender and its receiver.
    pub transfer: String,
    /// Its number.
    pub sequence: u16,
    /// As it came into the switch.
    pub rx: Header,
    /// As it came out; nothing if it did not.
    pub tx: Option<Header>,
    /// What the switch blade has done to it, or what is wrong.
    pub outcome: String,
}

/// A header on a link.
#[derive(Clone, Debug, Serialize)]
pub struct Header {
    /// Whose link.
    pub link: String,
    /// When, in ms since the first frame of all.
    pub time_ms: f64,
    /// The Ethernet destination.
    pub initial_destination: String,
    /// Nothing: the frame is no message.
    pub final_destination: Option<String>,
    /// The Ethernet source.
    pub source: String,
}

/// The packet of a ping, told from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Echo {
    src: Ipv4Addr,
    dst: Ipv4Addr,
    kind: Kind,
    identifier: u16,
    sequence: u16,
}

/// What a frame says of a ping.
struct Read {
    initial: MacAddr,
    to: Option<Final>,
    source: MacAddr,
    echo: Echo,
}

fn read(bytes: &[u8]) -> Option<Read> {
    let frame = Frame::new_checked(bytes)?;
    let (to, packet) = match frame.ethertype() {
        EtherType::MESSAGE => {
            let message = Message::parse(&frame).ok()?;
            let packet = message.message_type == MessageType::Data && message.inner == EtherType::IPV4;
            (Some(message.final_destination), packet.then_some(message.body)?)
        }
        EtherType::IPV4 => (None, frame.payload()),
        _ => return None,
    };
    let packet = Ipv4::new_checked(packet).filter(|packet| packet.protocol() == Protocol::ICMP)?;
    // RFC 792: type, code, checksum, identifier, sequence number.
    let &[kind, _, _, _, id0, id1, seq0, seq1] = packet.payload().first_chunk()?;
    let kind = match kind {
        8 => Kind::Request,
        0 => Kind::Reply,
        _ => return None,
    };
    let (identifier, sequence) = (u16::from_be_bytes([id0, id1]), u16::from_be_bytes([seq0, seq1]));
    let echo = Echo { src: packet.src(), dst: packet.dst(), kind, identifier, sequence };
    Some(Read { initial: frame.dst(), to, source: frame.src(), echo })
}

/// Compares what went into the switch with what came out: `count` frames are expected of every flow.
pub fn judge(rx: &[Seen], tx: &[Seen], switch: MacAddr, count: usize) -> Report {
    let read_all = |seen: &'_ [Seen]| -> Vec<(usize, Read)> {
        seen.iter().enumerate().filter_map(|(index, seen)| Some((index, read(&seen.bytes)?))).collect()
    };
    let (came, left) = (read_all(rx), read_all(tx));
    let start = came.iter().map(|(index, _)| rx[*index].time_ns).min().unwrap_or_default();
    let ms = |time_ns: u64| time_ns.saturating_sub(start) as f64 / 1e6;
    let header = |seen: &Seen, read: &Read| Header {
        link: seen.place.to_string(),
        time_ms: ms(seen.time_ns),
        initial_destination: read.initial.to_string(),
        final_destination: read.to.map(|to| to.to_string()),
        source: read.source.to_string(),
    };
    let mut report = Report { switch: switch.to_string(), flows: Vec::new(), frames: Vec::new(), faults: Vec::new() };
    for flow in FLOWS {
        let of_flow = |(index, read): &&(usize, Read)| {
            let ends = (Some(read.echo.src), Some(read.echo.dst)) == (flow.from.ipv4(), flow.to.ipv4());
            ends && read.echo.kind == flow.kind && rx[*index].place == flow.from
        };
        let mut passed = 0;
        let mut times = Vec::new();
        let transfer = format!("{} → {}", flow.from, flow.to);
        for (index, before) in came.iter().filter(of_flow) {
            let copies: Vec<(&Seen, &Read)> =
                left.iter().filter(|(_, after)| after.echo == before.echo).map(|(index, after)| (&tx[*index], after)).collect();
            let outcome = verdict(flow, switch, (&rx[*index], before), &copies);
            passed += usize::from(outcome.is_ok());
            times.push(ms(rx[*index].time_ns));
            let number = before.echo.sequence;
            if let Err(fault) = &outcome {
                report.faults.push(format!("step {}, {transfer}, frame {number}: {fault}", flow.step));
            }
            report.frames.push(FrameReport {
                step: flow.step,
                transfer: transfer.clone(),
                sequence: number,
                rx: header(&rx[*index], before),
                tx: copies.first().map(|(seen, read)| header(seen, read)),
                outcome: outcome.unwrap_or_else(|fault| fault).to_owned(),
            });
        }
        if times.len() != count {
            report.faults.push(format!("step {}, {transfer}: {count} frames were expected, {} came to the switch", flow.step, times.len()));
        }
        report.flows.push(FlowReport {
            step: flow.step,
            from: flow.from.to_string(),
            to: flow.to.to_string(),
            what: flow.what,
            rx: times.len(),
            passed,
            first_ms: times.iter().copied().fold(f64::INFINITY, f64::min).min(f64::MAX),
            last_ms: times.iter().copied().fold(0.0, f64::max),
        });
    }
    report
}

/// What the switch blade has done to a frame, or what is wrong.
fn verdict(flow: Flow, switch: MacAddr, before: (&Seen, &Read), after: &[(&Seen, &Read)]) -> Result<&'static str, &'static str> {
    let (before_seen, before) = before;
    let [(after_seen, after)] = after else {
        return Err(if after.is_empty() { "it did not come out of the switch" } else { "it came out more than once" });
    };
    if after_seen.place != flow.to {
        return Err("it came out of another link");
    }
    if flow.from == Place::Uplink || flow.to == Place::Uplink {
        return match before.to {
            Some(_) => Err("it went in as a message"),
            None if before_seen.bytes != after_seen.bytes => Err("it was changed"),
            None => Ok("as it was"),
        };
    }
    let receiver = flow.to.mac();
    match before.to {
        None => return Err("it went in as a plain frame, not as a message"),
        _ if before.initial != switch => return Err("the initial destination was not the switch blade"),
        _ if Some(before.source) != flow.from.mac() => return Err("the source was not the sender"),
        Some(Final::Mac(mac)) if Some(mac) == receiver => {}
        Some(Final::Ipv4(ip)) if Some(ip) == flow.to.ipv4() => {}
        Some(_) => return Err("the final destination was not the receiver"),
    }
    if Some(after.initial) != receiver {
        return Err("the initial destination was not overwritten with the receiver's");
    }
    // The initial destination is the first six octets.
    if before_seen.bytes.get(6..) != after_seen.bytes.get(6..) {
        return Err("more than the initial destination was changed");
    }
    Ok("initial overwritten")
}

/// What a blade's agent has been told: whether it can send messages to the others yet.
#[derive(Clone, Debug, Default)]
pub struct Introduction {
    acknowledged: bool,
    slots: std::collections::BTreeMap<u16, Vec<IpAddr>>,
}

impl Introduction {
    /// A frame that goes to the blade.
    pub fn hear(&mut self, bytes: &[u8], switch: MacAddr) {
        let Some(frame) = Frame::new_checked(bytes).filter(|frame| frame.ethertype() == EtherType::MESSAGE) else { return };
        let Ok(message) = Message::parse(&frame) else { return };
        if message.source != switch {
            return;
        }
        match message.message_type {
            MessageType::Ack => self.acknowledged = true,
            // What came before the acknowledgement the agent has not believed.
            MessageType::Advertise if self.acknowledged => {
                for entry in wire::message::decode_advertise(message.body).unwrap_or_default() {
                    if entry.macs.is_empty() && entry.ips.is_empty() {
                        self.slots.remove(&entry.slot);
                    } else {
                        self.slots.entry(entry.slot).or_default().extend(entry.ips);
                    }
                }
            }
            _ => {}
        }
    }

    /// Does it know these addresses?
    pub fn knows(&self, mut addresses: impl Iterator<Item = Ipv4Addr>) -> bool {
        addresses.all(|ip| self.slots.values().flatten().any(|known| *known == IpAddr::V4(ip)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::ethernet;

    const SWITCH: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xfe]);

    fn packet(flow: Flow, sequence: u16) -> Vec<u8> {
        let kind = if flow.kind == Kind::Request { 8 } else { 0 };
        let head = [0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1, 0, 0];
        let [high, low] = sequence.to_be_bytes();
        let icmp = [kind, 0, 0, 0, 0, 7, high, low];
        [&head[..], &flow.from.ipv4().unwrap().octets(), &flow.to.ipv4().unwrap().octets(), &icmp].concat()
    }

    fn frame(flow: Flow, initial: MacAddr, by_mac: bool) -> Vec<u8> {
        let source = flow.from.mac().unwrap();
        if flow.from == Place::Uplink || flow.to == Place::Uplink {
            return ethernet::emit(flow.to.mac().unwrap(), source, &[], EtherType::IPV4, &packet(flow, 1));
        }
        let to = if by_mac { Final::Mac(flow.to.mac().unwrap()) } else { Final::Ipv4(flow.to.ipv4().unwrap()) };
        let body = packet(flow, 1);
        let message = Message {
            initial_destination: initial,
            source,
            message_type: MessageType::Data,
            final_destination: to,
            inner: EtherType::IPV4,
            body: &body,
        };
        message.emit(&[]).unwrap()
    }

    /// One frame of every flow, before and after, as a right switch would have it.
    fn right(by_mac: bool) -> (Vec<Seen>, Vec<Seen>) {
        let seen = |place, time_ns, bytes| Seen { place, time_ns, bytes };
        let rx = (1..).zip(FLOWS).map(|(at, flow)| seen(flow.from, at * 1_000_000, frame(flow, SWITCH, by_mac))).collect();
        let tx = FLOWS.map(|flow| seen(flow.to, 9_000_000, frame(flow, flow.to.mac().unwrap(), by_mac))).to_vec();
        (rx, tx)
    }

    #[test]
    fn what_is_right_has_no_faults() {
        for by_mac in [true, false] {
            let (rx, tx) = right(by_mac);
            let report = judge(&rx, &tx, SWITCH, 1);
            assert!(report.faults.is_empty(), "{:?}", report.faults);
            assert_eq!(report.frames.iter().filter(|frame| frame.outcome == "initial overwritten").count(), 6);
            assert_eq!(report.frames.iter().filter(|frame| frame.outcome == "as it was").count(), 2);
            assert_eq!((report.flows[7].first_ms, report.flows[7].last_ms), (7.0, 7.0));
            let after = report.frames[0].tx.as_ref().unwrap();
            assert_eq!(after.final_destination.as_ref() == Some(&after.initial_destination), by_mac, "FIG. 6b");
        }
    }

    #[test]
    fn whatever_is_wrong_is_said() {
        type Spoil = fn(&mut Vec<Seen>, &mut Vec<Seen>);
        let spoils: [(Spoil, &str); 10] = [
            (|_, tx| tx[0].bytes[..6].copy_from_slice(&SWITCH.0), "not overwritten"),
            (|_, tx| tx[0].bytes[11] = 9, "more than the initial"),
            (|_, tx| drop(tx.remove(0)), "did not come out"),
            (|_, tx| tx.push(tx[0].clone()), "more than once"),
            (|_, tx| tx[0].place = THREE, "another link"),
            (|rx, _| rx[0].bytes[5] = 9, "was not the switch blade"),
            (|rx, _| rx[0].bytes[11] = 9, "was not the sender"),
            (|rx, _| rx[0].bytes[27] = 9, "was not the receiver"),
            (|_, tx| tx[6].bytes[5] = 9, "it was changed"),
            (|rx, _| drop(rx.remove(0)), "1 frames were expected, 0 came"),
        ];
        for (spoil, expected) in spoils {
            let (mut rx, mut tx) = right(true);
            spoil(&mut rx, &mut tx);
            let report = judge(&rx, &tx, SWITCH, 1);
            assert!(report.faults.len() == 1 && report.faults[0].contains(expected), "{expected}: {:?}", report.faults);
        }
        assert_eq!(judge(&[], &[], SWITCH, 3).faults.len(), FLOWS.len());
    }

    #[test]
    fn any_octets_can_be_read() {
        let (rx, _) = right(true);
        for seen in &rx {
            for len in 0..seen.bytes.len() {
                let _ = read(&seen.bytes[..len]);
                Introduction { acknowledged: true, ..Introduction::default() }.hear(&seen.bytes[..len], SWITCH);
            }
        }
    }
}
