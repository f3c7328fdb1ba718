//! What happened to a frame, in sentences.

use std::collections::BTreeMap;

use control::config::{Config, VlanMode};
use control::show::{self, PortDrop};
use dataplane::admit::TagState;
use dataplane::fdb::Record;
use dataplane::{DropReason, Phase, PuntReason, Verdict};
use port::PortId;
use wire::ethernet::EtherType;
use wire::ip::Ipv4;
use wire::message::{Final, Header};
use wire::vlan::{TAG_LEN, TPID_8021Q};
use wire::{MacAddr, Tci, Vid};

use super::{Found, Look, Sent, Step, Trace, name};

/// All that is known of what happened.
pub(super) struct Story<'a> {
    pub config: &'a Config,
    pub port: PortId,
    pub frame: &'a [u8],
    pub trace: &'a Trace,
    pub before: &'a Look,
    pub after: &'a Look,
    pub sent: &'a [Sent],
    pub drops: &'a [PortDrop],
}

impl Story<'_> {
    /// Each phase in a few lines, up to the one that decided that the frame goes nowhere.
    pub fn steps(&self) -> Vec<Step> {
        let mut steps = vec![self.step(Phase::Receive, vec![format!("{} bytes from {}", self.frame.len(), self.name(self.port))])];
        type Tell<'s> = fn(&Story<'s>, &Found) -> Vec<String>;
        let told: [(Phase, Tell<'_>); 6] = [
            (Phase::Parse, Story::parse),
            (Phase::Admit, Story::admit),
            (Phase::Learn, Story::learn),
            (Phase::Steer, Story::steer),
            (Phase::Resolve, Story::resolve),
            (Phase::Rewrite, Story::rewrite),
        ];
        for (phase, tell) in told {
            let Some(found) = self.trace.of(phase) else { continue };
            if phase == Phase::Resolve && self.is_steered() {
                continue; // It has its verdict: nothing is left to be resolved.
            }
            steps.push(self.step(phase, tell(self, found)));
            if let Some(Verdict::Drop(_) | Verdict::Punt(_)) = found.verdict {
                return steps;
            }
        }
        steps.push(self.step(Phase::Transmit, self.transmit()));
        steps
    }

    /// The verdict, its reason, and both in words.
    pub fn verdict(&self) -> (&'static str, Option<&'static str>, String) {
        match self.trace.verdict() {
            Some(Verdict::Forward(port)) if !self.sent.is_empty() => ("forward", None, format!("forward: out of {}", self.name(port))),
            Some(Verdict::Flood) if !self.sent.is_empty() => {
                let vlan = self.vid().map_or(String::new(), |vid| format!(" in VLAN {vid}"));
                ("flood", None, format!("flood: out of {}{vlan}", count(self.sent.len(), "port")))
            }
            Some(Verdict::Punt(reason)) => ("punt", Some(reason.name()), format!("punt: {reason}: {}", punted(reason))),
            Some(Verdict::Drop(reason)) => dropped(reason),
            Some(Verdict::Forward(_) | Verdict::Flood) | None => {
                // It was to go out and did not: the counters know why.
                match self.drops.first().and_then(|drop| DropReason::from_name(&drop.reason)) {
                    Some(reason) => dropped(reason),
                    None => ("drop", None, "drop: it did not reach the pipeline".to_owned()),
                }
            }
        }
    }

    /// What control did about it.
    pub fn control(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for neighbor in self.after.neighbors.iter().filter(|neighbor| !self.before.neighbors.contains(neighbor)) {
            let behind = neighbor.port.as_ref().map_or(String::new(), |port| format!(" behind {port}"));
            lines.push(format!("the neighbor table learns that {} is at {}{behind}", neighbor.ip, neighbor.mac));
        }
        let (before, after) = (&self.before.control, &self.after.control);
        let done = [
            (after.arp_answered - before.arp_answered, "answers for the owner of the address (ARP)"),
            (after.nd_answered - before.nd_answered, "answers for the owner of the address (neighbour discovery)"),
            (after.notices - before.notices, "sends the source a notice that the final destination is not known"),
            (after.advertised - before.advertised, "sends the identities of the blades"),
        ];
        lines.extend(done.iter().filter(|(times, _)| *times > 0).map(|(_, what)| (*what).to_owned()));
        if self.before.next_event.is_none()
            && let Some(at) = self.after.next_event
        {
            lines.push(format!("the identities of the blades have changed: they are advertised {} ms later", at.0 / 1_000_000));
        }
        lines
    }

    fn step(&self, phase: Phase, lines: Vec<String>) -> Step {
        Step { phase: phase.name(), lines }
    }

    fn name(&self, port: PortId) -> String {
        name(self.config, port)
    }

    fn parse(&self, found: &Found) -> Vec<String> {
        if let Some(Verdict::Drop(reason)) = found.verdict {
            return vec![why(reason)];
        }
        let headers = &found.headers;
        let tag = match headers.tagged {
            false => "no 802.1Q tag".to_owned(),
            true => format!("802.1Q tag with VID {}", headers.tci.vid_field()),
        };
        let [src, dst] = [headers.src, headers.dst].map(MacAddr::from_raw);
        vec![format!("{src} to {dst}, {tag}, {}", EtherType(headers.ethertype))]
    }

    fn admit(&self, found: &Found) -> Vec<String> {
        if let Some(Verdict::Drop(reason)) = found.verdict {
            return vec![why(reason)];
        }
        let Some(vid) = self.vid() else { return Vec::new() };
        let mode = &self.config.ports[self.port.index()].vlan;
        let because = match (mode, found.admitted.tag) {
            (VlanMode::Transparent(_), _) => "a transparent port: every frame is in it, tags are payload",
            (VlanMode::Access(_), TagState::Untagged) => "an access port: frames without tag are in its VLAN",
            (VlanMode::Trunk { .. }, TagState::Untagged) => "a trunk: frames without tag are in its native VLAN",
            (_, TagState::Priority) => "the tag has no VLAN, only a priority: it counts as none",
            (VlanMode::Access(_), TagState::Tagged) => "an access port: it takes its own VLAN's tag as well",
            (VlanMode::Trunk { allowed, .. }, TagState::Tagged) if allowed.contains(vid) => "by its tag, and the trunk carries it",
            (VlanMode::Trunk { .. }, TagState::Tagged) => "by its tag; the trunk does not carry it, but ingress_filter is off",
        };
        vec![format!("VLAN {vid} ({because})")]
    }

    fn learn(&self, found: &Found) -> Vec<String> {
        let (Some(vid), src) = (self.vid(), MacAddr::from_raw(found.headers.src)) else { return Vec::new() };
        if !self.config.ports[self.port.index()].learning {
            return vec![format!("{} does not learn (learning = false)", self.name(self.port))];
        }
        let here = self.name(self.port);
        let entries = (self.before.entry(vid, src), self.after.entry(vid, src));
        vec![match entries {
            (_, Some(Record { kind: "blackhole", .. })) => format!("{src} is a blackhole entry: {}", why(DropReason::Blackhole)),
            (_, Some(entry)) if entry.kind == "static" && entry.port == self.port => format!("{src} is set by hand behind {here}"),
            (_, Some(entry)) if entry.kind == "static" => {
                format!("{src} is set by hand behind {}: it stays there", self.name(entry.port))
            }
            (None, Some(_)) => format!("{src} is new: it is now known behind {here}"),
            (Some(before), Some(after)) if before.port != after.port => {
                format!("{src} has moved from {} to {here}", self.name(before.port))
            }
            (Some(_), Some(after)) if after.port == self.port => format!("{src} is known behind {here}"),
            (_, Some(after)) => format!("{src} stays behind {}: {here} has as many addresses as it may have", self.name(after.port)),
            (_, None) => format!("{src} is not learned: a limit is reached"),
        }]
    }

    /// A rule has decided where it goes.
    fn is_steered(&self) -> bool {
        let admitted = |phase| self.trace.of(phase).is_some_and(|found| found.is_admitted);
        admitted(Phase::Learn) && self.trace.of(Phase::Steer).is_some_and(|found| !found.is_admitted)
    }

    fn steer(&self, found: &Found) -> Vec<String> {
        let counted = self.after.rules.iter().filter(|rule| {
            self.before.rules.iter().find(|before| before.rule == rule.rule).is_none_or(|before| before.frames < rule.frames)
        });
        let mut lines: Vec<String> = counted.map(|rule| format!("rule {}: it is for the function {}", rule.rule, rule.function)).collect();
        match found.verdict {
            _ if !self.is_steered() && lines.is_empty() => lines.push("no rule is about it".to_owned()),
            _ if !self.is_steered() => lines.push("no blade can take it: it goes on (otherwise = \"pass\")".to_owned()),
            Some(Verdict::Forward(port)) => lines.push(format!("{} takes it", self.name(port))),
            Some(Verdict::Drop(reason)) => lines.push(why(reason)),
            Some(Verdict::Flood | Verdict::Punt(_)) | None => {}
        }
        lines
    }

    fn resolve(&self, found: &Found) -> Vec<String> {
        let (Some(vid), Some(parsed)) = (self.vid(), self.trace.of(Phase::Parse)) else { return Vec::new() };
        let asked = MacAddr::from_raw(parsed.headers.dst);
        let ethertype = EtherType(parsed.headers.ethertype);
        let is_for_us = asked == self.config.switch.mac;
        let mut lines = Vec::new();
        if is_for_us && !matches!(found.verdict, Some(Verdict::Punt(_))) {
            let payload = self.frame.get(usize::from(parsed.headers.payload)..).unwrap_or_default();
            lines.push(match ethertype {
                EtherType::MESSAGE => message(payload),
                EtherType::IPV4 | EtherType::IPV6 => ip(ethertype, payload),
                _ => "it is for the switch itself".to_owned(),
            });
        }
        let dst = MacAddr::from_raw(found.headers.dst);
        // A message that names a MAC has said it already.
        if found.is_readdressed && dst != asked && !lines.iter().any(|line| line.ends_with(&dst.to_string())) {
            lines.push(format!("that is {dst}"));
        }
        lines.push(match found.verdict {
            Some(Verdict::Drop(reason)) => why(reason),
            Some(Verdict::Punt(reason)) => format!("{reason}: {}", punted(reason)),
            Some(Verdict::Flood) if dst.is_broadcast() => format!("broadcast: to every other port of VLAN {vid}"),
            Some(Verdict::Flood) if dst.is_group() => format!("a group address: to every other port of VLAN {vid}"),
            Some(Verdict::Flood) => format!("the FDB does not know {dst} in VLAN {vid}: to every other port that takes unknown addresses"),
            Some(Verdict::Forward(port)) => {
                let kind = self.after.entry(vid, dst).map_or("dynamic", |entry| entry.kind);
                format!("the FDB knows {dst} in VLAN {vid}: behind {} ({kind})", self.name(port))
            }
            None => "nothing".to_owned(),
        });
        lines.extend(found.control_copies.iter().map(|&reason| format!("control gets a copy: {reason}: {}", punted(reason))));
        lines
    }

    fn rewrite(&self, found: &Found) -> Vec<String> {
        if let Some(Verdict::Drop(reason)) = found.verdict {
            return vec![why(reason)];
        }
        let mut by_change: BTreeMap<&[String], Vec<&str>> = BTreeMap::new();
        for sent in self.sent {
            by_change.entry(&sent.changes).or_default().push(&sent.port);
        }
        let line = |(changes, ports): (&&[String], &Vec<&str>)| match (changes.is_empty(), by_change.len()) {
            (true, 1) => "nothing: it leaves as it came".to_owned(),
            (true, _) => format!("for {}: nothing", ports.join(", ")),
            (false, 1) => changes.join("; "),
            (false, _) => format!("for {}: {}", ports.join(", "), changes.join("; ")),
        };
        by_change.iter().map(line).collect()
    }

    fn transmit(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if !self.sent.is_empty() {
            let ports: Vec<&str> = self.sent.iter().map(|sent| sent.port.as_str()).collect();
            lines.push(format!("into the queue of {}", ports.join(", ")));
        }
        for drop in self.drops {
            let meaning = DropReason::from_name(&drop.reason).map_or("", show::meaning);
            lines.push(format!("{} dropped at {}: {}: {meaning}", count(drop.count as usize, "frame"), drop.port, drop.reason));
        }
        if let (Some(Verdict::Flood), Some(vid)) = (self.trace.verdict(), self.vid()) {
            let others =
                self.config.ports.iter().enumerate().filter(|(index, port)| *index != self.port.index() && port.vlan.contains(vid));
            let left_out = others.filter(|(_, port)| self.sent.iter().all(|sent| sent.port != port.name));
            lines.extend(left_out.map(|(_, port)| match (port.enabled, port.flood) {
                (false, _) => format!("not to {}: it is switched off (enabled = false)", port.name),
                (true, false) => format!("not to {}: it takes no unknown addresses (flood = false)", port.name),
                (true, true) => format!("not to {}", port.name),
            }));
        }
        lines
    }

    /// The VLAN it was admitted in.
    fn vid(&self) -> Option<Vid> {
        let admitted = self.trace.of(Phase::Admit).filter(|found| found.is_admitted)?.admitted;
        // The tables have the VLANs in the order of the configuration.
        self.config.vlans.get(usize::from(admitted.vlan)).map(|vlan| vlan.vid)
    }
}

fn why(reason: DropReason) -> String {
    format!("{reason}: {}", show::meaning(reason))
}

fn dropped(reason: DropReason) -> (&'static str, Option<&'static str>, String) {
    ("drop", Some(reason.name()), format!("drop: {}", why(reason)))
}

fn count(count: usize, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

fn punted(reason: PuntReason) -> &'static str {
    match reason {
        PuntReason::ArpLearn => "to learn who has the sender's IP address",
        PuntReason::ArpAnswer => "the switch knows who has the address and answers; nobody else gets the request",
        PuntReason::DhcpLearn => "to learn which address is leased to whom",
        PuntReason::NdLearn => "to learn who has the sender's IPv6 address",
        PuntReason::NdAnswer => "the switch knows who has the address and answers; nobody else gets the solicitation",
        PuntReason::Message => "a message for the switch itself",
        PuntReason::Chassis => "the switch blade of another chassis speaks to this one",
    }
}

fn message(payload: &[u8]) -> String {
    match Header::parse(payload) {
        Err(error) => format!("it is for the switch itself, message lane: {error}"),
        Ok(header) => match header.final_destination {
            Final::Mac(mac) => format!("it is for the switch itself, message lane: the final destination is {mac}"),
            ip => format!("it is for the switch itself, message lane: the final destination is {ip}, by the neighbor table"),
        },
    }
}

fn ip(ethertype: EtherType, payload: &[u8]) -> String {
    let dst = match ethertype {
        EtherType::IPV4 => Ipv4::new_checked(payload).map(|packet| packet.dst().to_string()),
        _ => wire::ip::Ipv6::new_checked(payload).map(|packet| packet.dst().to_string()),
    };
    match dst {
        Some(dst) => format!("it is for the switch itself, IP lane: the packet is for {dst}, by the neighbor table"),
        None => "it is for the switch itself, IP lane".to_owned(),
    }
}

/// In what a frame that left differs from the one that came in.
pub(super) fn changes(came: &[u8], left: &[u8]) -> Vec<String> {
    let mut changes = Vec::new();
    if let (Some(came), Some(left)) = (came.first_chunk::<6>(), left.first_chunk::<6>())
        && came != left
    {
        changes.push(format!("destination {} overwritten with {}", MacAddr(*came), MacAddr(*left)));
    }
    let (Some(came), Some(left)) = (came.get(12..), left.get(12..)) else { return changes };
    let tag = |bytes: &[u8]| {
        let [a, b, c, d, ..] = *bytes else { return None };
        (u16::from_be_bytes([a, b]) == TPID_8021Q).then(|| Tci(u16::from_be_bytes([c, d])))
    };
    match (tag(came), tag(left)) {
        (_, Some(pushed)) if left.get(TAG_LEN..) == Some(came) => changes.push(format!("tag of VLAN {} pushed", pushed.vid_field())),
        (Some(popped), _) if came.get(TAG_LEN..).is_some_and(|rest| left.starts_with(rest)) && left != came => {
            let what = if popped.vid_field() == 0 { "priority tag".to_owned() } else { format!("tag of VLAN {}", popped.vid_field()) };
            changes.push(format!("{what} popped"));
            let padding = left.len() + TAG_LEN - came.len();
            if padding > 0 {
                changes.push(format!("{padding} bytes of padding added, since a frame has at least 60"));
            }
        }
        (Some(before), Some(after)) if before != after => {
            changes.push(format!("VID {} in the tag became {}", before.vid_field(), after.vid_field()));
        }
        _ => {}
    }
    changes
}
