//! Learning: the source of each admitted frame into the FDB.
//!
//! In the steady state this is one look-up and no write. Frames in a row from one station are looked up once.

use arrayvec::ArrayVec;
use port::{BURST_MAX, PortId};
use wire::MacAddr;

use crate::event::{Event, FdbUpdate};
use crate::fdb::Learned;
use crate::pipeline::{Context, Notes};
use crate::verdict::{DropReason, Verdict};

/// What was learned in one burst and the other workers should know.
pub type Updates = ArrayVec<FdbUpdate, BURST_MAX>;

/// Learns the sources of the first `count` packets that have no verdict.
#[inline]
pub fn learn(count: usize, ingress: PortId, notes: &mut Notes, context: &mut Context<'_>) {
    if !context.tables.ports[ingress.index()].learning {
        return;
    }
    let vlans = &context.tables.vlans;
    let mut last = 0; // No key is 0: VLANs begin at 1.
    for i in 0..count {
        if notes.verdicts[i].is_some() {
            continue;
        }
        let vid = vlans[notes.admitted[i].vlan as usize].vid;
        let key = notes.headers[i].src | (vid.get() as u64) << 48;
        if key == last {
            continue;
        }
        last = key;
        match context.fdb.learn(key, ingress, context.tick) {
            Learned::Known | Learned::Refused | Learned::Fixed => {}
            Learned::New | Learned::Refreshed => context.updates.push(FdbUpdate { key, port: ingress, tick: context.tick }),
            Learned::Moved { from } => {
                context.updates.push(FdbUpdate { key, port: ingress, tick: context.tick });
                context.control.tell(Event::Moved { vid, mac: MacAddr::from_raw(key), from, to: ingress });
            }
            Learned::Blackhole => {
                notes.verdicts[i] = Some(Verdict::Drop(DropReason::Blackhole));
                last = 0; // The next frame of this station is dropped as well.
            }
        }
    }
}
