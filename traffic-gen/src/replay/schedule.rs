//! When each frame leaves: the plan, and what the wire makes of it.
//!
//! Frame `i` of loop `l` is planned for `(l * period + at[i]) / per_ns` nanoseconds after the start, whatever the speed: only the
//! three numbers differ. They are whole numbers of a unit so small that nothing is rounded before the division; each time comes
//! from the start, so no error can grow. A loop at the original timing is as long as its capture and one mean gap, so that loops
//! follow one another as its frames do. The division is made once a frame and once a loop, before their turns; what is left over is kept,
//! and added when the turn comes.
//!
//! Each port has a wire ([`port::wrap::link::Wire`]): a frame that is planned for a time at which the one before is still on it
//! follows at the smallest gap. The wire counts in parts of a nanosecond too; times that are told are rounded up.
//!
//! A [`Lane`] is one port's part and stands on its own: lanes may run on threads of their own. [`Schedule`] merges them.

use port::Nanos;
use port::wrap::link::{FCS_LEN, OVERHEAD_LEN, PREAMBLE_LEN, Wire};
use thiserror::Error;

use super::Frame;
use super::ratio::Ratio;
use super::speed::Speed;

/// What bounds a replay.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Times the frames are sent; `None`: for ever.
    pub loops: Option<u64>,
    /// Time between loops.
    pub loop_delay: Nanos,
    /// Frames in all, all ports (`--limit`).
    pub limit: Option<u64>,
    /// Only frames whose last bit leaves within this time (`--duration`).
    pub duration: Option<Nanos>,
    /// The longest pause between two frames as they are sent, if they are sent by their capture times (`--max-gap`).
    pub max_gap: Option<Nanos>,
}

impl Default for Bounds {
    /// Once, without bounds.
    fn default() -> Bounds {
        Bounds { loops: Some(1), loop_delay: Nanos::ZERO, limit: None, duration: None, max_gap: None }
    }
}

/// Why there is no schedule.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ScheduleError {
    /// Nothing to send.
    #[error("no frames are left to send")]
    Empty,
    /// Time would run out.
    #[error(
        "the last frame would leave after more than 292 years: raise the speed, or cut long pauses with --max-gap, or bound the run \
         with --limit or --duration"
    )]
    TooLong,
    /// More than can be counted exactly.
    #[error("{0} % of a line of {1} bit/s cannot be counted exactly: give the share with fewer digits")]
    TooFine(Ratio, u64),
}

/// The last moment of any schedule: 2^63 ns.
const LATEST: u64 = i64::MAX as u64;

/// A frame's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Departure {
    /// The frame: an index into the list that was scheduled.
    pub frame: usize,
    /// Its place among all frames of the run, all ports, from 0.
    pub position: u64,
    /// The loop, from 0.
    pub round: u64,
    /// When the plan wants its first bit to leave.
    pub planned: Nanos,
    /// When it does, since the wire was busy until then, perhaps.
    pub begin: Nanos,
    /// When its last bit is out.
    pub end: Nanos,
}

/// A frame of a lane.
#[derive(Clone, Copy, Debug)]
struct Item {
    /// Index among all frames.
    frame: usize,
    wire_len: usize,
    /// After the beginning of its loop; see the head of this file.
    at: Divided,
}

/// Nanoseconds and what is left over, in units of which `per_ns` are one.
#[derive(Clone, Copy, Debug)]
struct Divided {
    ns: u64,
    rest: u64,
}

impl Divided {
    /// What does not fit is later than any frame can be.
    fn of(units: u128, per_ns: u64) -> Divided {
        let per_ns = u128::from(per_ns);
        Divided { ns: u64::try_from(units / per_ns).unwrap_or(u64::MAX), rest: (units % per_ns) as u64 }
    }

    /// The nanoseconds of the sum; `None` after the end of time.
    #[inline]
    fn plus(self, other: Divided, per_ns: u64) -> Option<Nanos> {
        // Neither rest is as much as `per_ns`.
        let carry = u64::from(self.rest >= per_ns - other.rest);
        let ns = self.ns.checked_add(other.ns)?.checked_add(carry)?;
        (ns <= LATEST).then_some(Nanos(ns))
    }
}

/// One port's part of the schedule: an iterator over its departures.
#[derive(Clone, Debug)]
pub struct Lane {
    items: Vec<Item>,
    per_ns: u64,
    period: u128,
    /// At a frame rate, frames of one burst share the time of its first: units from frame to frame, frames a burst, units of
    /// pause from loop to loop.
    bursts: Option<(u128, u64, u128)>,
    /// Frames of a loop, all ports.
    frames_per_loop: u64,
    bounds: Bounds,
    wire: Wire,
    round: u64,
    /// When this loop begins; `None`: after the end of time.
    begin: Option<Divided>,
    next: usize,
    /// The next departure, if it was looked at.
    peeked: Option<Departure>,
}

impl Lane {
    /// When the plan wants frame `index` of this lane in loop `round` to leave, in ns; `None` after the end of time.
    pub fn planned(&self, round: u64, index: usize) -> Option<Nanos> {
        let item = self.items.get(index)?;
        self.planned_in(round, self.begin_of(round)?, item)
    }

    fn begin_of(&self, round: u64) -> Option<Divided> {
        Some(Divided::of(self.period.checked_mul(u128::from(round))?, self.per_ns))
    }

    #[inline]
    fn planned_in(&self, round: u64, begin: Divided, item: &Item) -> Option<Nanos> {
        let Some((unit, burst, pause)) = self.bursts else {
            return begin.plus(item.at, self.per_ns);
        };
        let position = round.checked_mul(self.frames_per_loop)?.checked_add(item.frame as u64)?;
        let first = u128::from(position - position % burst);
        let units = first.checked_mul(unit)?.checked_add(pause.checked_mul(u128::from(round))?)?;
        Divided::of(units, self.per_ns).plus(Divided { ns: 0, rest: 0 }, self.per_ns)
    }

    /// Continues at loop `round`; what came before does not hold the wire any more.
    pub fn skip_to_loop(&mut self, round: u64) {
        (self.round, self.begin, self.next, self.peeked) = (round, self.begin_of(round), 0, None);
        self.wire = Wire::new(self.wire.rate_bps());
    }

    /// Frames of one loop.
    pub fn frames(&self) -> usize {
        self.items.len()
    }

    /// Rate of its line.
    pub fn line_bps(&self) -> u64 {
        self.wire.rate_bps()
    }

    /// What [`next`](Iterator::next) will give.
    pub fn peek(&mut self) -> Option<&Departure> {
        if self.peeked.is_none() {
            self.peeked = self.advance();
        }
        self.peeked.as_ref()
    }

    /// The next departure, if its time has come by `now`.
    pub fn next_due(&mut self, now: Nanos) -> Option<Departure> {
        self.peek().filter(|departure| departure.begin <= now)?;
        self.peeked.take()
    }

    fn advance(&mut self) -> Option<Departure> {
        if self.bounds.loops.is_some_and(|loops| self.round >= loops) {
            return None;
        }
        let item = self.items.get(self.next)?;
        let position = self.round.checked_mul(self.frames_per_loop)?.checked_add(item.frame as u64)?;
        if self.bounds.limit.is_some_and(|limit| position >= limit) {
            return None;
        }
        let planned = self.planned_in(self.round, self.begin?, item)?;
        // Asked this way round, a free wire costs no division.
        let begin = if self.wire.is_free(planned) { planned } else { self.wire.free_at() };
        if begin.0 > LATEST {
            return None;
        }
        let end = self.wire.send(planned, item.wire_len);
        if self.bounds.duration.is_some_and(|duration| end > duration) {
            self.next = self.items.len(); // And so is every later one.
            return None;
        }
        let departure = Departure { frame: item.frame, position, round: self.round, planned, begin, end };
        self.next += 1;
        if self.next == self.items.len() {
            (self.round, self.next) = (self.round + 1, 0);
            self.begin = self.begin_of(self.round);
        }
        Some(departure)
    }
}

impl Iterator for Lane {
    type Item = Departure;

    fn next(&mut self) -> Option<Departure> {
        self.peeked.take().or_else(|| self.advance())
    }
}

/// All lanes, in the order of time: of departures at one time, the one that comes first in the captures.
#[derive(Clone, Debug)]
pub struct Schedule {
    lanes: Vec<Lane>,
    total: Option<u64>,
}

impl Schedule {
    /// Plans `frames`, in order of their times, out of ports with these lines in bit/s.
    ///
    /// # Errors
    /// If there is nothing to send, or the end would be too late.
    ///
    /// # Panics
    /// If a frame names a port without a line, or a line has no speed.
    pub fn new(frames: &[Frame], lines_bps: &[u64], speed: Speed, bounds: &Bounds) -> Result<Schedule, ScheduleError> {
        if frames.is_empty() || bounds.loops == Some(0) || bounds.limit == Some(0) {
            return Err(ScheduleError::Empty);
        }
        if let Speed::Percent(share) = speed
            && let Some(line) = lines_bps.iter().find(|line| share_of(**line, share).is_none())
        {
            return Err(ScheduleError::TooFine(share, *line));
        }
        let lanes: Vec<Lane> = (0..lines_bps.len())
            .map(|port| lane(frames, port, lines_bps[port], speed, bounds))
            .collect::<Option<_>>()
            .ok_or(ScheduleError::TooLong)?;
        // With a bound in time or number it ends before the end of time, or it is checked here.
        let in_time = |lane: &Lane| {
            let (Some(loops), Some(last)) = (bounds.loops, lane.items.len().checked_sub(1)) else { return true };
            lane.planned(loops - 1, last).is_some()
        };
        let bounded = bounds.duration.is_some() || bounds.limit.is_some();
        if !bounded && !lanes.iter().all(in_time) {
            return Err(ScheduleError::TooLong);
        }
        let total = bounds.loops.and_then(|loops| loops.checked_mul(frames.len() as u64));
        let total = total.into_iter().chain(bounds.limit).min();
        Ok(Schedule { lanes, total })
    }

    /// Frames in all, if that is bounded by more than time.
    pub fn total(&self) -> Option<u64> {
        self.total
    }

    /// The port whose turn is next, and when.
    pub fn peek(&mut self) -> Option<(usize, Departure)> {
        let turns = self.lanes.iter_mut().enumerate();
        turns.filter_map(|(port, lane)| lane.peek().map(|departure| (port, *departure))).min_by_key(|(_, turn)| (turn.begin, turn.position))
    }

    /// One port's part, from the start.
    pub fn lane(&self, port: usize) -> Lane {
        self.lanes[port].clone()
    }

    /// Takes apart into lanes, by port.
    pub fn into_lanes(self) -> Vec<Lane> {
        self.lanes
    }
}

impl Iterator for Schedule {
    type Item = (usize, Departure);

    fn next(&mut self) -> Option<(usize, Departure)> {
        let (port, _) = self.peek()?;
        self.lanes[port].next().map(|departure| (port, departure))
    }
}

/// Bit times, in ns / line rate, of so many bytes.
fn wire_units(bytes: u64) -> u128 {
    u128::from(bytes) * 8_000_000_000
}

/// A share, in per cent, of a line: units of which a nanosecond has a whole number, and how many of them a byte takes.
fn share_of(line_bps: u64, share: Ratio) -> Option<(u64, u128)> {
    let (per_ns, byte) = (u128::from(line_bps) * u128::from(share.num), wire_units(1) * 100 * u128::from(share.den));
    let common = gcd(per_ns, byte);
    Some((u64::try_from(per_ns / common).ok()?, byte / common))
}

fn gcd(a: u128, b: u128) -> u128 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The lane of one port; `None` if numbers run out.
fn lane(frames: &[Frame], port: usize, line_bps: u64, speed: Speed, bounds: &Bounds) -> Option<Lane> {
    let line = line_bps;
    // Adds up what `cost` says of each frame: all frames, or this port's only.
    let prefix = |own: bool, cost: &dyn Fn(&Frame) -> u128| {
        let mut sum = 0u128;
        let mut at = Vec::new();
        for frame in frames {
            if frame.port == port {
                at.push(sum);
            }
            if frame.port == port || !own {
                sum = sum.checked_add(cost(frame))?;
            }
        }
        Some((at, sum))
    };
    let len = |frame: &Frame| frame.wire_len() as u64;
    let mut bursts = None;
    let (per_ns, (at, mut period)) = match speed {
        Speed::Multiplier(times) => {
            let (num, den) = (times.num, u128::from(times.den));
            let cap = bounds.max_gap.map(|gap| u128::from(gap.0) * u128::from(num));
            let (mut at, mut now, mut before) = (Vec::new(), 0u128, 0u64);
            for frame in frames {
                let gap = u128::from(frame.time.saturating_sub(before)).checked_mul(den)?;
                now = now.checked_add(cap.map_or(gap, |cap| gap.min(cap)))?;
                before = before.max(frame.time);
                if frame.port == port {
                    at.push(now);
                }
            }
            let mean_gap = now / (frames.len() as u128 - 1).max(1);
            (num, (at, now.checked_add(mean_gap)?))
        }
        Speed::Pps { rate, burst } => {
            let (num, unit) = (rate.num, u128::from(rate.den) * 1_000_000_000);
            bursts = (burst > 1).then_some((unit, burst, u128::from(bounds.loop_delay.0) * u128::from(num)));
            (num, prefix(false, &|_| unit)?)
        }
        Speed::Mbps(rate) => (rate.num, prefix(false, &|frame| u128::from(len(frame)) * 8_000 * u128::from(rate.den))?),
        Speed::MbpsL1(rate) => (rate.num, prefix(false, &|frame| u128::from(len(frame) + OVERHEAD_LEN) * 8_000 * u128::from(rate.den))?),
        Speed::Percent(share) => {
            let (per_ns, byte) = share_of(line, share)?;
            (per_ns, prefix(true, &|frame| u128::from(len(frame) + OVERHEAD_LEN) * byte)?)
        }
        Speed::Topspeed => (1, prefix(true, &|_| 0)?),
        Speed::Ipg { ns } => {
            (line, prefix(true, &|frame| wire_units(PREAMBLE_LEN + len(frame) + FCS_LEN) + u128::from(ns) * u128::from(line))?)
        }
    };
    period = period.checked_add(u128::from(bounds.loop_delay.0).checked_mul(u128::from(per_ns))?)?;
    let own = frames.iter().enumerate().filter(|(_, frame)| frame.port == port);
    let item =
        |((index, frame), at): ((usize, &Frame), u128)| Item { frame: index, wire_len: frame.wire_len(), at: Divided::of(at, per_ns) };
    let items = own.zip(at).map(item).collect();
    Some(Lane {
        items,
        per_ns,
        period,
        bursts,
        frames_per_loop: frames.len() as u64,
        bounds: bounds.clone(),
        wire: Wire::new(line_bps),
        round: 0,
        begin: Some(Divided { ns: 0, rest: 0 }),
        next: 0,
        peeked: None,
    })
}
