//! Steering, paragraph 43 of the patent document: frames from the network go to the blade whose function they are for.
//!
//! A rule names characteristics of a frame ([`Conditions`]) and a function; the first rule that matches decides. A function has one or several
//! blades. A flow goes to the blade that [`Function::slots`] gives for its hash, and stays there ([`flows`]): blades that come later
//! take new flows alone, and those of a blade that is lost are the only ones that move. The frame's destination address becomes the blade's,
//! as in FIG. 6b, unless the function says otherwise.
//!
//! Steering stands before resolving: what is steered has its verdict, and resolving does not see it. Never steered are frames to a group,
//! neighbour discovery (it is about who has an address, not for who has a function), and frames from a blade of the function itself: it
//! has the flow already. The answer is an ordinary frame and leaves as such.
//!
//! Without rules none of this is called.
//!
//! Limits: [`RULES_MAX`] rules, looked through one by one; [`MEMBERS_MAX`] blades of all functions together; only what lies in the first
//! buffer of a frame is looked at. Threads: control publishes [`Steering`]; the worker owns the flows and adds to its
//! counters, which control reads.

use std::sync::Arc;

use port::{Burst, PortId};
use sync::counter::Counter;

use crate::pipeline::{Context, Notes, bits};
use crate::resolve::note_tag;
use crate::tables::Egress;
use crate::verdict::{DropReason, Verdict};

pub mod flows;
pub mod look;

use flows::Flows;
use look::{Conditions, Look};

/// Rules at most.
pub const RULES_MAX: usize = 256;
/// Blades of functions at most, a blade counted once for each function it has.
pub const MEMBERS_MAX: usize = 1024;
/// Parts that the flows of a function fall into.
pub const SLOTS: usize = 4096;
/// In [`Function::slots`]: no blade takes new flows.
pub const NOBODY: u8 = u8::MAX;

/// What control publishes.
#[derive(Clone, Debug)]
pub struct Steering {
    /// Ports whose frames some rule is about, a bit for each.
    pub ingress: u128,
    /// In the order in which they are asked.
    pub rules: Vec<Rule>,
    /// What rules lead to.
    pub functions: Vec<Function>,
}

/// Frames of this kind are for this function.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The kind.
    pub conditions: Conditions,
    /// Index into [`Steering::functions`].
    pub function: usize,
    /// Index of its counters.
    pub counter: usize,
}

/// What some blades are for.
#[derive(Clone, Debug)]
pub struct Function {
    /// Its number, which it keeps while it has its name.
    pub id: u16,
    /// Its blades, fewer than [`NOBODY`].
    pub members: Vec<Member>,
    /// For each part of the flows the blade that takes new ones: index into `members`, or [`NOBODY`].
    pub slots: Arc<[u8; SLOTS]>,
    /// What is one flow.
    pub affinity: Affinity,
    /// Ticks of [`flows`] after which a silent flow is over.
    pub idle_ticks: u32,
    /// Frames nobody takes go on as if there were no rule, instead of being dropped.
    pub pass_without: bool,
    /// Frames to these addresses, in raw form, are left alone: they come from another chassis, which has steered them.
    pub settled: Vec<u64>,
}

/// A blade of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its port; of one in another chassis that of the trunk that leads there.
    pub port: PortId,
    /// What its flows know it by: its port, or another number above [`port::PORTS_MAX`] for each in another chassis.
    pub id: PortId,
    /// The address that becomes the frame's destination, in raw form; 0: it stays as it is.
    pub mac: u64,
    /// It can take frames. (Whether it takes new flows, `slots` tells.)
    pub alive: bool,
    /// Index of its counters.
    pub counter: usize,
}

/// What stays on one blade.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Affinity {
    /// Packets with the same addresses, protocol and ports.
    #[default]
    Flow,
    /// All that comes from one address: protocols of several flows, as RTP with RTCP.
    Source,
}

/// What was counted of a blade of a function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct MemberCounters {
    /// Frames steered to it.
    pub frames: u64,
    /// Their bytes, without FCS.
    pub bytes: u64,
    /// Flows that began at it.
    pub flows: u64,
    /// Of these, flows whose blade was lost.
    pub moved: u64,
}

/// What was counted of a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct RuleCounters {
    /// Frames it decided about.
    pub frames: u64,
    /// Their bytes, without FCS.
    pub bytes: u64,
    /// Of these frames, those no blade could take.
    pub without_blade: u64,
}

/// Counters of one worker: written by it, read by control.
#[derive(Debug)]
pub struct PublishedSteering {
    rules: Box<[[Counter; 3]]>,
    members: Box<[[Counter; 4]]>,
}

impl PublishedSteering {
    fn new() -> PublishedSteering {
        PublishedSteering {
            rules: (0..RULES_MAX).map(|_| [const { Counter::new() }; 3]).collect(),
            members: (0..MEMBERS_MAX).map(|_| [const { Counter::new() }; 4]).collect(),
        }
    }

    /// Of the rule with these counters.
    pub fn rule(&self, counter: usize) -> RuleCounters {
        let [frames, bytes, without_blade] = self.rules[counter].each_ref().map(Counter::load);
        RuleCounters { frames, bytes, without_blade }
    }

    /// Of the blade with these counters.
    pub fn member(&self, counter: usize) -> MemberCounters {
        let [frames, bytes, flows, moved] = self.members[counter].each_ref().map(Counter::load);
        MemberCounters { frames, bytes, flows, moved }
    }
}

/// Adds to counters that nobody else writes.
#[inline]
fn add<const N: usize>(counters: &[Counter; N], more: [u64; N]) {
    for (counter, more) in counters.iter().zip(more) {
        counter.store(counter.load() + more);
    }
}

/// What a worker remembers and counts.
#[derive(Debug)]
pub struct Steerer {
    flows: Flows,
    counters: Arc<PublishedSteering>,
}

impl Steerer {
    /// Remembers nothing. `seed` goes into the hash of flows.
    pub fn new(seed: u64) -> Steerer {
        Steerer { flows: Flows::new(seed), counters: Arc::new(PublishedSteering::new()) }
    }

    /// What control reads.
    pub fn counters(&self) -> Arc<PublishedSteering> {
        Arc::clone(&self.counters)
    }
}

/// Gives a verdict to the admitted packets that a rule is about.
#[inline(never)]
pub fn steer(burst: &Burst, ingress: PortId, steering: &Steering, notes: &mut Notes, context: &mut Context<'_>) {
    if steering.ingress & 1 << ingress.index() == 0 {
        return;
    }
    let tick = flows::tick(context.now);
    let mut steered = 0u64;
    for i in bits(notes.admitted_mask) {
        let Some(packet) = burst.get(i) else { continue };
        let note = &mut notes.packets[i];
        let vlan = &context.tables.vlans[note.admitted.vlan as usize];
        let Some(look) = Look::at(context.pool.head(packet), packet.len(), &note.headers, note.admitted.tag, vlan.vid) else { continue };
        let (verdict, mac) = match choose(&look, ingress, steering, context.steerer, tick, u64::from(note.len)) {
            Choice::None => continue,
            Choice::Nobody => (Verdict::Drop(DropReason::NoBlade), 0),
            Choice::Blade(member) => {
                let verdict = match vlan.egress[member.port.index()] {
                    Egress::Untagged | Egress::Tagged => Verdict::Forward(member.port),
                    Egress::NotMember => Verdict::Drop(DropReason::VlanEgress),
                    Egress::Blocked => Verdict::Drop(DropReason::EgressBlocked),
                    Egress::Down => Verdict::Drop(DropReason::LinkDown),
                };
                (verdict, member.mac)
            }
        };
        steered |= 1 << i;
        note.verdict = Some(verdict);
        note.headers.dst = look.dst_mac; // As in the frame, whatever it was taken for before.
        if mac != 0 && mac != look.dst_mac {
            note.headers.dst = mac;
            notes.readdressed |= 1 << i;
        }
        note_tag(i, vlan, notes);
    }
    notes.admitted_mask &= !steered;
    notes.plain &= !steered;
    notes.addressed &= !steered;
}

enum Choice {
    /// No rule is about the frame.
    None,
    /// A rule is, and nobody can take it.
    Nobody,
    /// This blade.
    Blade(Member),
}

fn choose(look: &Look<'_>, ingress: PortId, steering: &Steering, steerer: &mut Steerer, tick: u32, len: u64) -> Choice {
    let is_member = |function: &Function| function.members.iter().any(|member| member.port == ingress);
    if look.is_later_fragment() {
        // Its ports are in the first fragment: it goes where that went.
        let Some((id, blade)) = steerer.flows.fragment(look, tick) else { return Choice::None };
        let function = steering.functions.iter().find(|function| function.id == id);
        let member = function.and_then(|function| function.members.iter().find(|member| member.id == blade && member.alive));
        return member.map_or(Choice::None, |member| {
            add(&steerer.counters.members[member.counter], [1, len, 0, 0]);
            Choice::Blade(*member)
        });
    }
    let matching = steering.rules.iter().find(|rule| {
        rule.conditions.ingress & 1 << ingress.index() != 0
            && rule.conditions.matches(look)
            && steering
                .functions
                .get(rule.function)
                .is_some_and(|function| !is_member(function) && !function.settled.contains(&look.dst_mac))
    });
    let Some(rule) = matching else { return Choice::None };
    let function = &steering.functions[rule.function];
    let (key, slot) = steerer.flows.key(look, function.id, function.affinity);
    let known = steerer.flows.find(key, tick, function.idle_ticks);
    let of_id = |id: PortId| function.members.iter().find(|member| member.id == id && member.alive).copied();
    // A connection that begins anew may go elsewhere: that is how a blade is drained.
    let stays = known.filter(|_| !look.opens_connection() || function.affinity == Affinity::Source).and_then(of_id);
    let member = stays.or_else(|| function.members.get(usize::from(function.slots[slot])).copied());
    let rule_counters = &steerer.counters.rules[rule.counter];
    let Some(member) = member else {
        add(rule_counters, [1, len, 1]);
        return if function.pass_without { Choice::None } else { Choice::Nobody };
    };
    add(rule_counters, [1, len, 0]);
    let moved = known.is_some_and(|id| of_id(id).is_none());
    let begins = stays.is_none() && known != Some(member.id);
    add(&steerer.counters.members[member.counter], [1, len, u64::from(begins), u64::from(moved)]);
    steerer.flows.keep(key, member.id, function.id, tick);
    if look.is_first_fragment() {
        steerer.flows.keep_fragment(look, member.id, function.id, tick);
    }
    Choice::Blade(member)
}

#[cfg(test)]
mod tests;
