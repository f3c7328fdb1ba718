//! What passes between a worker and control, and between workers: all over bounded rings; full means drop and count.

use port::{Nanos, Packet, PortId};
use wire::message::{Header, MAX_OFFENDING_LEN};
use wire::{MacAddr, Vid};

use crate::bus::Sender;
use crate::fdb::{Key, Kind, Limits, Record};
use crate::verdict::PuntReason;

/// A frame for control.
#[derive(Debug)]
pub struct Punted {
    /// The frame, as it came in. Control frees it.
    pub packet: Packet,
    /// The port it came in by.
    pub port: PortId,
    /// Its VLAN.
    pub vid: Vid,
    /// Why.
    pub reason: PuntReason,
}

/// Something control should know.
#[derive(Debug)]
pub enum Event {
    /// A station moved.
    Moved {
        /// VLAN.
        vid: Vid,
        /// Address.
        mac: MacAddr,
        /// Where it was.
        from: PortId,
        /// Where it is.
        to: PortId,
    },
    /// A message was dropped because its final destination is not known.
    FinalUnknown {
        /// The port it came in by.
        port: PortId,
        /// Its VLAN.
        vid: Vid,
        /// Who sent it.
        source: MacAddr,
        /// Its header.
        header: Header,
        /// The message's first bytes, header first; zeros where it is shorter.
        start: [u8; MAX_OFFENDING_LEN],
    },
    /// Part of the FDB, as asked for.
    FdbPart {
        /// The number of the request.
        request: u64,
        /// Some entries.
        records: Vec<Record>,
        /// There are no more.
        last: bool,
    },
}

/// What control tells a worker.
#[derive(Debug)]
pub enum Command {
    /// Send this frame, tags and all, out of this port.
    Inject {
        /// The port.
        port: PortId,
        /// The frame.
        packet: Packet,
    },
    /// Forget what was learned behind a port.
    FlushPort(PortId),
    /// Forget what was learned in a VLAN.
    FlushVlan(Vid),
    /// Forget all that was learned.
    FlushAll,
    /// Set an entry by hand.
    SetEntry {
        /// VLAN and address.
        key: Key,
        /// The port.
        port: PortId,
        /// Static or blackhole.
        kind: Kind,
    },
    /// Remove an entry, learned or set by hand.
    RemoveEntry(Key),
    /// Learn this address behind this port, as if it had just been seen there; not if it is known behind another.
    Remember {
        /// VLAN and address.
        key: Key,
        /// The port.
        port: PortId,
    },
    /// Forget this address if it was learned behind this port.
    Forget {
        /// VLAN and address.
        key: Key,
        /// The port.
        port: PortId,
    },
    /// Another ageing time and other limits.
    Tune {
        /// The ageing time; 0 never ages.
        ageing: Nanos,
        /// As for [`Fdb::set_limits`](crate::fdb::Fdb::set_limits).
        limits: Box<Limits>,
    },
    /// Send the FDB as [`Event::FdbPart`]s with this number.
    DumpFdb(u64),
}

/// A frame for a transmit queue that another worker owns.
#[derive(Debug)]
pub struct Crossing {
    /// The frame, ready to be sent.
    pub packet: Packet,
    /// The port it leaves by.
    pub port: PortId,
    /// Who puts it on the bus, if the port is on one.
    pub sender: Sender,
}

/// What one worker learned, for the tables of the others.
#[derive(Clone, Copy, Debug)]
pub struct FdbUpdate {
    /// VLAN and address.
    pub key: Key,
    /// The port it was seen behind.
    pub port: PortId,
    /// The tick it was seen in.
    pub tick: u32,
}
