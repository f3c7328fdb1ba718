//! The buses of the backplanes as control knows them: what the data plane is told, and what a station can rely on.
//!
//! The formulas of [`Guarantee`] hold whatever all other stations do. `docs/bus.md` says why; tests compute them from the
//! configuration and hold the switch to them.

use std::sync::Arc;

use dataplane::bus::tdm::{Frame, Slot};
use dataplane::bus::{ArbiterSpec, BusSpec, PublishedBus};
use port::Nanos;
use port::wrap::link::OVERHEAD_LEN;
use wire::vlan;

use crate::config::{BackplaneConfig, BusConfig, Config, SlotConfig, Station};
use crate::plane::Control;

/// The buses with an arbiter, in the order of their backplanes.
pub fn specs(config: &Config) -> Vec<BusSpec> {
    config.backplanes.iter().filter_map(spec).collect()
}

/// The bus of a backplane, if it has an arbiter.
pub fn spec(backplane: &BackplaneConfig) -> Option<BusSpec> {
    let arbiter = match &backplane.bus {
        BusConfig::None => return None,
        BusConfig::Tdm { slot_ns, guard_ns, lend, slots } => {
            let slots = slots.iter().map(|slot| match slot {
                SlotConfig::Reserved(station) => Slot::Reserved(index(backplane, *station)),
                SlotConfig::Shared => Slot::Shared,
            });
            ArbiterSpec::Tdm(Frame { slot_ns: *slot_ns, guard_ns: *guard_ns, lend: *lend, slots: slots.collect() })
        }
        BusConfig::Fdm(shares) => ArbiterSpec::Fdm(shares.iter().map(|share| share.bits_per_second()).collect()),
        BusConfig::Drr(quanta) => ArbiterSpec::Drr(quanta.clone()),
    };
    let rate_bps = backplane.rate.bits_per_second();
    Some(BusSpec { ports: backplane.ports.clone(), rate_bps, queue: backplane.queue, arbiter })
}

/// Frames that wait for buses at most: buffers the pool must have.
pub fn frames_waiting_max(config: &Config) -> usize {
    specs(config).iter().map(|bus| bus.stations() * bus.queue).sum()
}

/// The number of a station on the bus of its backplane; beyond all of them if it is not on it.
pub fn index(backplane: &BackplaneConfig, station: Station) -> usize {
    backplane.stations().position(|own| own == station).unwrap_or(backplane.ports.len() + 2)
}

/// What a station can rely on, whatever all others do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guarantee {
    /// Bytes of the bus (frames with the 24 bytes each takes beyond its own) that it can send ...
    pub bytes: u64,
    /// ... in each period of so many nanoseconds in which it always has a frame waiting.
    pub period_ns: u64,
    /// The longest time from a frame's arrival until its last bit has crossed.
    pub latency: Nanos,
}

/// Frames of one's own that a frame finds waiting, itself included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// How many, at least 1.
    pub frames: u64,
    /// The longest of all frames the station ever sends, in bytes without FCS.
    pub longest: usize,
}

impl Load {
    fn bytes(self) -> u64 {
        self.frames * self.longest()
    }

    /// The longest frame in bytes of the bus.
    fn longest(self) -> u64 {
        self.longest as u64 + OVERHEAD_LEN
    }
}

/// What `station` can rely on if it never has more waiting than `load`. `None`: nothing: its bus has no arbiter, or it has no timeslot of its
/// own. `frame_len_max` is that of the switch.
pub fn guarantee(backplane: &BackplaneConfig, station: Station, load: Load, frame_len_max: u16) -> Option<Guarantee> {
    let rate = backplane.rate.bits_per_second();
    let own = index(backplane, station);
    let time =
        |bytes: u64, rate: u64| Nanos(u64::try_from((u128::from(bytes) * 8_000_000_000).div_ceil(u128::from(rate))).unwrap_or(u64::MAX));
    match (&backplane.bus, spec(backplane)?.arbiter) {
        (BusConfig::Tdm { slot_ns, guard_ns, .. }, ArbiterSpec::Tdm(frame)) => {
            let count = frame.slots.len();
            let starts: Vec<usize> = (0..count).filter(|&slot| frame.slots[slot] == Slot::Reserved(own)).collect();
            // A slot carries what fits; of a frame that does not all bytes but one would have.
            let in_a_slot = frame.usable_bytes(rate).saturating_sub(load.longest() - 1).max(1);
            let needed = load.bytes().div_ceil(in_a_slot).min(load.frames);
            // The slot it arrives in may be as good as over: so many whole ones after that.
            let wait = |&from: &usize| {
                let at = starts.iter().position(|&slot| slot == from)? + needed as usize;
                Some((at / starts.len() * count + starts[at % starts.len()] - from) as u64)
            };
            let slots = starts.iter().filter_map(wait).max()?;
            let latency = Nanos(slots * slot_ns + (slot_ns - guard_ns));
            Some(Guarantee { bytes: in_a_slot * starts.len() as u64, period_ns: slot_ns * count as u64, latency })
        }
        (_, ArbiterSpec::Fdm(shares)) => {
            let share = *shares.get(own)?;
            Some(Guarantee { bytes: share / 8, period_ns: 1_000_000_000, latency: time(load.bytes(), share) })
        }
        (_, ArbiterSpec::Drr(quanta)) => {
            let quantum = u64::from(*quanta.get(own)?);
            let turns = load.bytes().div_ceil(quantum);
            let longest = u64::from(frame_len_max) + vlan::TAG_LEN as u64 + OVERHEAD_LEN;
            // Before its last turn everybody else has as many, and what was left over for less than a frame.
            let others = quanta.iter().enumerate().filter(|(station, _)| *station != own).map(|(_, &q)| turns * u64::from(q) + longest - 1);
            let latency = time(load.bytes() + others.sum::<u64>(), rate);
            let round: u64 = quanta.iter().map(|&quantum| u64::from(quantum)).sum();
            Some(Guarantee { bytes: quantum, period_ns: time(round, rate).0, latency })
        }
        (_, ArbiterSpec::Tdm(_)) => None,
    }
}

/// What the bus of each backplane has counted; `None` without an arbiter.
pub(crate) fn published(control: &Control) -> Vec<(&BackplaneConfig, Option<Arc<PublishedBus>>)> {
    let mut buses = control.buses().iter();
    let backplanes = control.config().backplanes.iter();
    backplanes.map(|backplane| (backplane, if backplane.bus == BusConfig::None { None } else { buses.next().cloned() })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use port::PortId;

    fn backplane(bus: &str) -> (Config, BackplaneConfig) {
        let text = format!("[[blade]]\nslot = 1\n[[blade]]\nslot = 2\n[switch]\nmax_frame = 1514\n[[backplane]]\nrate = \"1G\"\n{bus}\n");
        let config = Config::parse(&text, "c.toml").unwrap_or_else(|errors| panic!("{errors}"));
        (config.clone(), config.backplanes[0].clone())
    }

    const BLADE: Station = Station::Port(PortId(0));

    #[test]
    fn a_slot_in_four_waits_for_the_next_one_at_most() {
        let bus = "bus = \"tdm\"\nslot_ns = 13000\nguard_ns = 500\nslots = [\"blade1\", \"shared\", \"blade1\", \"shared\", \"shared\"]";
        let (_, backplane) = backplane(bus);
        let one = guarantee(&backplane, BLADE, Load { frames: 1, longest: 1514 }, 1514).unwrap();
        // Just missed the one at 2: three slots until the one at 5, and that one to its guard time.
        assert_eq!(one.latency, Nanos(3 * 13_000 + 12_500));
        assert_eq!((one.bytes, one.period_ns), (2 * (1562 - 1537), 65_000));
        let short = guarantee(&backplane, BLADE, Load { frames: 1, longest: 60 }, 1514).unwrap();
        assert_eq!((short.bytes, short.latency), (2 * (1562 - 83), one.latency));
        // Two long frames take two slots, whichever was missed: a whole round.
        let two = guarantee(&backplane, BLADE, Load { frames: 2, longest: 1514 }, 1514).unwrap();
        assert_eq!(two.latency, Nanos(5 * 13_000 + 12_500));
        assert_eq!(guarantee(&backplane, Station::Switch, Load { frames: 1, longest: 60 }, 1514), None);
    }

    #[test]
    fn shares_and_turns() {
        let (_, fdm) = backplane("bus = \"fdm\"\nshares = { blade1 = \"100M\" }");
        let got = guarantee(&fdm, BLADE, Load { frames: 2, longest: 1514 }, 1514).unwrap();
        assert_eq!((got.bytes, got.period_ns, got.latency), (12_500_000, 1_000_000_000, Nanos(2 * 1538 * 80)));
        let (_, drr) = backplane("bus = \"drr\"\nquanta = { blade1 = 3076 }");
        let got = guarantee(&drr, BLADE, Load { frames: 1, longest: 1514 }, 1514).unwrap();
        assert_eq!((got.bytes, got.period_ns), (3076, (3076 + 3 * 1538) * 8));
        assert_eq!(got.latency, Nanos((1538 + 3 * (1538 + 1541)) * 8));
        let (config, none) = backplane("bus = \"none\"");
        assert_eq!(guarantee(&none, BLADE, Load { frames: 1, longest: 60 }, 1514), None);
        assert!(specs(&config).is_empty());
    }
}
