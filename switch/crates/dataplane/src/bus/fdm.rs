//! Frequency division: each station has a share of the bandwidth to itself, and all send at the same time.
//!
//! A share is a wire of its own rate. It is never lent: an idle share is idle bandwidth, and a busy one notices nothing of the others.

use port::Nanos;
use port::wrap::link::{OVERHEAD_LEN, Wire};

use super::{Stations, bits};

/// The arbiter.
#[derive(Debug)]
pub(super) struct Fdm {
    wires: Vec<Wire>,
    /// When the last bit of each station's first frame has crossed.
    ends: Vec<Nanos>,
}

impl Fdm {
    pub(super) fn new(shares: &[u64]) -> Fdm {
        Fdm { wires: shares.iter().map(|&share| Wire::new(share)).collect(), ends: vec![Nanos::ZERO; shares.len()] }
    }

    /// A station has a new first frame, or none: it starts when it came, or when the one before is over.
    pub(super) fn head(&mut self, stations: &Stations, station: usize) {
        if let Some(head) = stations.list[station].queue.front() {
            let len = (super::bus_bytes(head.packet.len()) - OVERHEAD_LEN) as usize;
            self.ends[station] = self.wires[station].send(head.since, len);
        }
    }

    /// The station whose frame has crossed next, and when.
    pub(super) fn next_end(&self, stations: &Stations) -> Option<(usize, Nanos)> {
        bits(stations.waiting()).map(|station| (station, self.ends[station])).min_by_key(|&(station, ends)| (ends, station))
    }

    /// Nothing is on the bus.
    pub(super) fn clear(&mut self) {
        self.ends.fill(Nanos::ZERO);
    }
}
