//! Learning: the source of each admitted frame into the FDB.
//!
//! In the steady state this is one look-up and no write. Frames in a row from one station are looked up once.

use arrayvec::ArrayVec;
use port::{BURST_MAX, PortId};
use wire::MacAddr;

use crate::event::{Event, FdbUpdate};
use crate::fdb::{Key, Kind, Learned};
use crate::pipeline::{Context, Notes, bits};
use crate::verdict::{DropReason, Verdict};

/// What was learned in one burst and the other workers should know.
pub type Updates = ArrayVec<FdbUpdate, BURST_MAX>;

/// Learns the sources of the packets that may enter.
#[inline]
pub fn learn(ingress: PortId, notes: &mut Notes, context: &mut Context<'_>) {
    if !context.tables.ports[ingress.index()].learning {
        return refuse_blackholes(notes, context);
    }
    // What is known is told from what is not in one short loop, and nearly everything is known.
    let fdb = &*context.fdb;
    let mut known = fdb.known(ingress, 0, context.tick);
    let (mut last, mut unknown) = (0, 0u64); // No key is 0: VLANs begin at 1.
    for i in bits(notes.admitted_mask) {
        let note = &notes.packets[i];
        if note.src == last {
            continue;
        }
        if (note.src ^ last) >> 48 != 0 {
            known = fdb.known(ingress, note.src, context.tick);
        }
        last = note.src;
        if !fdb.is_known(note.places.0, known) {
            fdb.prefetch_beside(note.places.0);
            unknown |= 1 << i;
            last = 0; // The next frame of this station may be dropped as well.
        }
    }
    if unknown != 0 {
        learn_unknown(unknown, ingress, notes, context);
    }
}

#[inline(never)]
fn learn_unknown(unknown: u64, ingress: PortId, notes: &mut Notes, context: &mut Context<'_>) {
    for i in bits(unknown) {
        let key = notes.packets[i].src;
        let learned = context.fdb.learn(key, ingress, context.tick);
        if learned != Learned::Known {
            news(learned, i, key, ingress, notes, context);
        }
    }
}

/// Where nothing is learned, frames from a blackhole are dropped all the same.
#[inline(never)]
fn refuse_blackholes(notes: &mut Notes, context: &Context<'_>) {
    for i in bits(notes.admitted_mask) {
        if context.fdb.lookup(notes.packets[i].src, context.tick).is_some_and(|found| found.kind == Kind::Blackhole) {
            notes.packets[i].verdict = Some(Verdict::Drop(DropReason::Blackhole));
            notes.admitted_mask &= !(1 << i);
        }
    }
}

fn news(learned: Learned, i: usize, key: Key, ingress: PortId, notes: &mut Notes, context: &mut Context<'_>) {
    match learned {
        Learned::Known | Learned::Refused | Learned::Fixed => {}
        Learned::New | Learned::Refreshed => context.updates.push(FdbUpdate { key, port: ingress, tick: context.tick }),
        Learned::Moved { from } => {
            context.updates.push(FdbUpdate { key, port: ingress, tick: context.tick });
            let vid = context.tables.vlans[notes.packets[i].admitted.vlan as usize].vid;
            context.control.tell(Event::Moved { vid, mac: MacAddr::from_raw(key), from, to: ingress });
        }
        Learned::Blackhole => {
            notes.packets[i].verdict = Some(Verdict::Drop(DropReason::Blackhole));
            notes.admitted_mask &= !(1 << i);
        }
    }
}
