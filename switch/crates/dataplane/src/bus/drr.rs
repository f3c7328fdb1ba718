//! Deficit round robin (Shreedhar and Varghese, SIGCOMM 1995): turns of so many bytes, whatever the frames' sizes.
//!
//! Each time it is a station's turn it may take its quantum of bytes, and what it had to leave of the last one because the next frame
//! was longer. A station that has nothing to send loses what it has left: nobody saves up.
//!
//! Stations have a fixed order, so that who is next does not depend on who came first within one instant.

use super::{Grant, Instant, Stations};

/// The arbiter.
#[derive(Debug)]
pub(super) struct Drr {
    quanta: Vec<u64>,
    deficits: Vec<u64>,
    /// Whose turn it is.
    current: usize,
    /// It has got its quantum for this turn.
    credited: bool,
}

impl Drr {
    pub(super) fn new(quanta: &[u32]) -> Drr {
        assert!(!quanta.contains(&0));
        let quanta: Vec<u64> = quanta.iter().map(|&quantum| u64::from(quantum)).collect();
        Drr { deficits: vec![0; quanta.len()], quanta, current: 0, credited: false }
    }

    /// When somebody may start next, if the bus is free from `free_at` on. Who that is shows when it starts.
    pub(super) fn plan(&self, stations: &Stations, free_at: Instant) -> Option<Grant> {
        let start = free_at.max(stations.earliest()?);
        Some(Grant { start, station: self.current, slot: None })
    }

    /// Somebody starts: whose turn it is, and who has as many bytes to take as its frame needs.
    pub(super) fn start(&mut self, stations: &Stations, grant: Grant) -> Grant {
        let ready = stations.ready(grant.start, u64::MAX);
        let idle = self.deficits.iter_mut().enumerate().filter(|(station, _)| ready & 1 << station == 0);
        idle.for_each(|(_, deficit)| *deficit = 0);
        loop {
            let station = self.current;
            if ready & 1 << station != 0 {
                if !self.credited {
                    self.deficits[station] += self.quanta[station];
                    self.credited = true;
                }
                let bytes = stations.head(station).map_or(0, |(_, bytes)| bytes);
                if bytes <= self.deficits[station] {
                    self.deficits[station] -= bytes;
                    return Grant { station, ..grant };
                }
            }
            self.current = (station + 1) % self.quanta.len();
            self.credited = false;
        }
    }
}
