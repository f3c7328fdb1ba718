//! What a replay did: by port and in all, in the words of tcpreplay, and whether it kept its plan.

use std::fmt::Write as _;

use port::Nanos;
use port::wrap::link::GAP_LEN;
use serde::Serialize;

use super::matching::{Account, PortAccount};
use super::schedule::Departure;
use super::speed::Speed;
use super::suspects::{Change, Suspect};
use super::timeline::Timeline;
use crate::measure::pacing::Pacing;

/// Suspects that are told one by one in JSON.
const SUSPECTS_TOLD: usize = 100;
/// Suspects that are told one by one to people.
const SUSPECTS_NOTED: usize = 3;

/// A line that is behind a promised rate by more than this at the end could not carry it.
pub const BEHIND_MAX: Nanos = Nanos(10_000);

/// What one port did.
#[derive(Clone, Debug)]
pub struct PortSummary {
    /// As typed.
    pub name: String,
    /// Rate of its line, bit/s.
    pub line_bps: u64,
    /// Frames whose time came.
    pub due: u64,
    /// Frames the port took.
    pub sent: u64,
    /// Bytes of these, padding included, FCS not.
    pub sent_bytes: u64,
    /// Times the port took less than it was given.
    pub retried: u64,
    /// Frames it did not take in a second.
    pub not_taken: u64,
    /// One of them because its link was down.
    pub was_down: bool,
    /// Frames longer than the interface sends.
    pub too_long: u64,
    /// Frames for which no buffer was free.
    pub no_buffer: u64,
    /// Frames that it took and then lost.
    pub tx_lost: u64,
    /// Times its link went down.
    pub link_downs: u64,
    /// When the first frame was sent.
    pub first: Option<Nanos>,
    /// When the last one was.
    pub last: Option<Nanos>,
    /// When the last bit of the last frame was out, by the schedule.
    pub end: Nanos,
    /// Frames that the schedule held back because the line was still busy.
    pub held_back: u64,
    /// The longest of these waits.
    pub held_back_max: Nanos,
    /// That of the last frame.
    pub behind: Nanos,
    /// How exactly frames left.
    pub pacing: Pacing,
    /// Frames that came in.
    pub received: u64,
    /// Bytes of these.
    pub received_bytes: u64,
    /// Frames that came and were lost in the tester's port.
    pub rx_drops: u64,
    /// What the port says went wrong.
    pub errors: Vec<String>,
    /// What went wrong when all was sent, as the port says: the peer may have left.
    pub afterwards: Vec<String>,
}

impl PortSummary {
    /// Of a port that has done nothing.
    pub fn new(name: String, line_bps: u64) -> PortSummary {
        PortSummary {
            name,
            line_bps,
            due: 0,
            sent: 0,
            sent_bytes: 0,
            retried: 0,
            not_taken: 0,
            was_down: false,
            too_long: 0,
            no_buffer: 0,
            tx_lost: 0,
            link_downs: 0,
            first: None,
            last: None,
            end: Nanos::ZERO,
            held_back: 0,
            held_back_max: Nanos::ZERO,
            behind: Nanos::ZERO,
            pacing: Pacing::default(),
            received: 0,
            received_bytes: 0,
            rx_drops: 0,
            errors: Vec::new(),
            afterwards: Vec::new(),
        }
    }

    /// A frame's time came.
    pub fn planned(&mut self, departure: &Departure) {
        self.due += 1;
        self.behind = departure.begin.since(departure.planned);
        self.held_back += u64::from(self.behind > Nanos::ZERO);
        self.held_back_max = self.held_back_max.max(self.behind);
        self.end = departure.end;
    }

    /// The port took a frame of so many bytes.
    pub fn sent(&mut self, now: Nanos, len: usize) {
        self.sent += 1;
        self.sent_bytes += len as u64;
        self.first.get_or_insert(now);
        self.last = Some(now);
    }

    /// When the line was free again after the last frame, by the schedule. Rates are counted up to here: a rate up to the last
    /// bit would be above the line's.
    pub fn free_again(&self) -> Nanos {
        let gap = Nanos((GAP_LEN * 8 * 1_000_000_000).div_ceil(self.line_bps));
        if self.due > 0 { self.end + gap } else { Nanos::ZERO }
    }

    /// Frames that should have been sent and were not.
    pub fn failed(&self) -> u64 {
        self.not_taken + self.too_long + self.no_buffer
    }
}

/// What was done.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// Frames the plan holds, if it has an end by itself.
    pub planned: Option<u64>,
    /// By port.
    pub ports: Vec<PortSummary>,
    /// It was ended from outside.
    pub interrupted: bool,
    /// It waited for words in between: its times mean nothing.
    pub stepped: bool,
    /// What became of each frame, if that was asked for.
    pub account: Option<Account>,
    /// Frames that seem to have been changed on the way.
    pub suspects: Vec<Suspect>,
    /// What was sent and received when.
    pub timeline: Timeline,
}

/// What of the captures the plan does not hold, and how it was made.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Input {
    /// Packets in the captures.
    pub read: u64,
    /// Of these, deselected.
    pub deselected: u64,
    /// Longer than any frame.
    pub oversize: u64,
    /// Without a byte.
    pub empty: u64,
    /// Of the frames of one loop, those of which the capture kept less than there was.
    pub truncated: u64,
    /// Frames of a loop.
    pub frames: u64,
    /// Damage in the captures.
    pub damaged: Vec<String>,
}

/// All of it, for people and as JSON.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// The run did what the plan said.
    pub valid: bool,
    /// Why not.
    pub invalid: Vec<String>,
    /// What is worth knowing although the run is valid.
    pub notes: Vec<String>,
    /// Ended by a signal.
    pub interrupted: bool,
    /// Frames out in all.
    pub packets: u64,
    /// Bytes of these, without FCS.
    pub bytes: u64,
    /// From the first bit of the first frame to the end of the gap after the last, seconds.
    pub seconds: f64,
    /// `virtual` or `real`.
    pub clock: &'static str,
    /// The speed asked for, in words.
    pub speed: String,
    /// Frames a second.
    pub pps: f64,
    /// Megabits a second of frames, without FCS.
    pub mbps: f64,
    /// Of the captures.
    pub input: Input,
    /// By port.
    pub ports: Vec<PortLine>,
    /// Flooded frames that came out of no port; `None` if what came was not looked at.
    pub vanished: Option<u64>,
    /// Frames that seem to have been changed on the way: the first of them.
    pub suspects: Vec<Suspect>,
}

/// A port, for people and as JSON.
#[derive(Clone, Debug, Serialize)]
pub struct PortLine {
    /// As typed.
    pub port: String,
    /// Rate of its line, bit/s.
    pub line_bps: u64,
    /// Frames sent.
    pub successful: u64,
    /// Bytes of these, without FCS.
    pub bytes: u64,
    /// Frames due and not sent.
    pub failed: u64,
    /// Times the port was full.
    pub retried: u64,
    /// Frames that had to wait for the one before to leave the line.
    pub held_back: u64,
    /// The longest such wait, ns.
    pub held_back_max_ns: u64,
    /// First departure, seconds after the start.
    pub first_s: Option<f64>,
    /// Last departure.
    pub last_s: Option<f64>,
    /// Lateness of departures in ns: median, 99.9th percentile, worst.
    pub late_ns: [u64; 3],
    /// Shares of departures within 64, 128 and 256 ns of the planned spacing.
    pub within: Option<[f64; 3]>,
    /// Frames that came in.
    pub received: u64,
    /// Of these, frames that this run had sent.
    pub recognized: u64,
    /// Lost in the tester's port on the way in.
    pub rx_drops: u64,
    /// What came out of it and what should have, if that was looked at.
    pub account: Option<AccountLine>,
}

/// What came out of a port and what should have. The words are those of [`PortAccount`].
#[derive(Clone, Debug, Default, Serialize)]
pub struct AccountLine {
    /// Frames to stations behind the port.
    pub due: u64,
    /// Those of them that came.
    pub arrived: u64,
    /// Those that did not.
    pub lost: u64,
    /// Copies of flooded frames that could come out of it.
    pub flood_due: u64,
    /// Those that did not come.
    pub flood_missing: u64,
    /// Second and further copies.
    pub duplicates: u64,
    /// Frames overtaken by later ones of the same port.
    pub reordered: u64,
    /// Frames that were due elsewhere.
    pub elsewhere: u64,
    /// Of these, frames that did not come out where they were due.
    pub misdelivered: u64,
    /// Copies that came back out of the port that had sent them.
    pub reflected: u64,
    /// Frames that were not sent, or not like that.
    pub foreign: u64,
    /// Of these, frames that seem to be lost ones with a few other octets.
    pub corrupted: u64,
    /// Copies that could have been of another frame with the same bytes.
    pub ambiguous: u64,
    /// Latency in ns: smallest, median, 99th and 99.9th percentile, largest; `None`: nothing came.
    pub latency_ns: Option<[u64; 5]>,
    /// PDV p99.9 (RFC 5481) and interarrival jitter at the end (RFC 3550), ns; `None`: fewer than two frames came.
    pub variation_ns: Option<[u64; 2]>,
}

impl AccountLine {
    /// Of a port, with the frames out of it that seem to be corrupted.
    pub fn of(account: &PortAccount, corrupted: u64) -> AccountLine {
        let latency_ns = account.latency.as_ref().map(|latency| {
            let at = |quantile| latency.sent.value_at_quantile(quantile);
            [latency.sent.min(), at(0.5), at(0.99), at(0.999), latency.sent.max()]
        });
        let PortAccount { due, arrived, flood_due, duplicates, reordered, elsewhere, misdelivered, reflected, foreign, ambiguous, .. } =
            *account;
        AccountLine {
            due,
            arrived,
            lost: account.lost(),
            flood_due,
            flood_missing: account.flood_missing(),
            duplicates,
            reordered,
            elsewhere,
            misdelivered,
            reflected,
            foreign,
            corrupted,
            ambiguous,
            latency_ns,
            variation_ns: account.latency.as_ref().and_then(|latency| Some([latency.pdv_p999()?.0, latency.jitter?.0])),
        }
    }
}

impl Summary {
    /// Judges a run: a departure later than `late_max` makes it invalid.
    pub fn new(replayed: &Replayed, input: Input, speed: Speed, is_virtual: bool, late_max: Nanos) -> Summary {
        let ports = &replayed.ports;
        let (mut invalid, mut notes) = (Vec::new(), Vec::new());
        for port in ports {
            let PortSummary { name, pacing, .. } = port;
            let worst = if pacing.lateness.is_empty() { 0 } else { pacing.lateness.max() };
            if worst > late_max.0 && !replayed.stepped {
                let late = pacing.lateness.len() - pacing.lateness.count_between(0, late_max.0);
                invalid.push(format!(
                    "{name}: {late} of {} frames left more than {} µs late, the worst {} µs: use an idle, isolated core, or allow it with --late-max",
                    port.sent,
                    late_max.0 / 1_000,
                    worst / 1_000
                ));
            }
            if port.not_taken > 0 {
                let why = if port.was_down { "its link is down" } else { "its queue stayed full" };
                invalid.push(format!("{name}: {} frames were not taken by the port for a second: {why}", port.not_taken));
            }
            if port.too_long > 0 {
                invalid.push(format!(
                    "{name}: {} frames are longer than the interface sends and were left out: raise its MTU, or cut them with --truncate",
                    port.too_long
                ));
            }
            if port.tx_lost > 0 {
                invalid.push(format!("{name}: {} frames were taken by the port and then lost by its interface", port.tx_lost));
            }
            if port.link_downs > 0 {
                invalid.push(format!("{name}: its link went down {} time(s) during the run", port.link_downs));
            }
            if port.no_buffer > 0 {
                invalid.push(format!("{name}: {} frames found no free buffer: raise --buffers", port.no_buffer));
            }
            if speed.promises_a_rate() && port.behind > BEHIND_MAX {
                invalid.push(format!(
                    "{name}: its line of {} Mb/s cannot carry {speed}: the last frame left {} µs after the plan",
                    port.line_bps / 1_000_000,
                    port.behind.0 / 1_000
                ));
            } else if port.held_back > 0 && !matches!(speed, Speed::Topspeed) && port.held_back_max > BEHIND_MAX {
                notes.push(format!(
                    "{name}: {} frames waited for the one before to leave the line, at most {} µs",
                    port.held_back,
                    port.held_back_max.0 / 1_000
                ));
            }
            invalid.extend(port.errors.iter().cloned());
            notes.extend(port.afterwards.iter().map(|what| format!("{name}: after the last frame was sent: {what}")));
        }
        let sum = |value: fn(&PortSummary) -> u64| ports.iter().map(value).sum::<u64>();
        let (packets, bytes) = (sum(|port| port.sent), sum(|port| port.sent_bytes));
        if let Some(planned) = replayed.planned.filter(|planned| packets < *planned && invalid.is_empty() && !replayed.interrupted) {
            notes.push(format!("{packets} of {planned} frames fitted into the duration"));
        }
        if replayed.interrupted {
            notes.push("interrupted: what is reported is what was done until then".to_owned());
        }
        if input.oversize > 0 {
            notes.push(format!(
                "{} packets of the captures are longer than a frame can be (65,535 bytes) and were left out",
                input.oversize
            ));
        }
        if input.empty > 0 {
            notes.push(format!("{} packets of the captures have no byte and were left out", input.empty));
        }
        if input.truncated > 0 {
            notes.push(format!(
                "{} packets were cut short by the capture and are sent as they are; --fixlen pad sends their full length",
                input.truncated
            ));
        }
        if let Some(account) = &replayed.account {
            notes.extend(account_notes(account, &replayed.suspects, ports));
        }
        let first = ports.iter().filter_map(|port| port.first).min().unwrap_or_default();
        let last = ports.iter().filter(|port| port.sent > 0).map(|port| port.free_again().max(port.last.unwrap_or_default())).max();
        let seconds = last.unwrap_or_default().since(first).as_secs_f64();
        let rate = |count: f64| if seconds > 0.0 { count / seconds } else { 0.0 };
        Summary {
            valid: invalid.is_empty(),
            invalid,
            notes,
            interrupted: replayed.interrupted,
            packets,
            bytes,
            seconds,
            clock: if is_virtual { "virtual" } else { "real" },
            speed: speed.to_string(),
            pps: rate(packets as f64),
            mbps: rate(bytes as f64 * 8.0) / 1e6,
            input,
            ports: ports.iter().enumerate().map(|(index, port)| PortLine::of(index, port, replayed)).collect(),
            vanished: replayed.account.as_ref().map(|account| account.vanished),
            suspects: replayed.suspects.iter().take(SUSPECTS_TOLD).cloned().collect(),
        }
    }

    /// For people: the lines that users of tcpreplay look for, and ours.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let verdict = if self.valid { "valid" } else { "INVALID" };
        let _ = writeln!(out, "Actual: {} packets ({} bytes) sent in {:.9} seconds", self.packets, self.bytes, self.seconds);
        let _ = writeln!(out, "Rated: {:.1} Bps, {:.3} Mbps, {:.2} pps", self.mbps * 125_000.0, self.mbps, self.pps);
        let _ = writeln!(out, "Speed: {}, {} clock", self.speed, self.clock);
        for port in &self.ports {
            let _ = writeln!(out, "Statistics for network device: {}", port.port);
            let mut line = |name: &str, value: String| {
                let _ = writeln!(out, "        {name:<27} {value}");
            };
            line("Successful packets:", port.successful.to_string());
            line("Failed packets:", port.failed.to_string());
            line("Retried (port full):", port.retried.to_string());
            if let (Some(first), Some(last)) = (port.first_s, port.last_s) {
                line("First and last packet:", format!("{first:.9} s, {last:.9} s"));
            }
            if self.clock == "real" && port.successful > 0 {
                let [median, most, worst] = port.late_ns;
                line("Late (median/99.9 %/worst):", format!("{median} / {most} / {worst} ns"));
            }
            if port.received > 0 {
                let ours = if port.account.is_some() { port.recognized.to_string() } else { "not looked at".to_owned() };
                line("Received, of these ours:", format!("{}, {ours}", port.received));
            }
            if port.rx_drops > 0 {
                line("Lost on the way in:", port.rx_drops.to_string());
            }
        }
        let _ = writeln!(out, "Truncated packets: {}", self.input.truncated);
        for note in &self.notes {
            let _ = writeln!(out, "note: {note}");
        }
        let _ = writeln!(out, "The run is {verdict}.");
        for reason in &self.invalid {
            let _ = writeln!(out, "INVALID: {reason}");
        }
        out
    }
}

impl PortLine {
    fn of(index: usize, port: &PortSummary, replayed: &Replayed) -> PortLine {
        let account = replayed.account.as_ref().and_then(|account| account.ports.get(index));
        let is_corrupted = |suspect: &&Suspect| suspect.came_out_of == index && matches!(suspect.change, Change::Corrupted { .. });
        let corrupted = replayed.suspects.iter().filter(is_corrupted).count() as u64;
        let lateness = &port.pacing.lateness;
        let late = |quantile| if lateness.is_empty() { 0 } else { lateness.value_at_quantile(quantile) };
        PortLine {
            port: port.name.clone(),
            line_bps: port.line_bps,
            successful: port.sent,
            bytes: port.sent_bytes,
            failed: port.failed(),
            retried: port.retried,
            held_back: port.held_back,
            held_back_max_ns: port.held_back_max.0,
            first_s: port.first.map(Nanos::as_secs_f64),
            last_s: port.last.map(Nanos::as_secs_f64),
            late_ns: [late(0.5), late(0.999), if lateness.is_empty() { 0 } else { lateness.max() }],
            within: port.pacing.shares_within(),
            received: port.received,
            recognized: account.map_or(0, PortAccount::recognized),
            rx_drops: port.rx_drops,
            account: account.map(|account| AccountLine::of(account, corrupted)),
        }
    }
}

/// What is worth knowing of the frames that came back.
fn account_notes(account: &Account, suspects: &[Suspect], ports: &[PortSummary]) -> Vec<String> {
    let mut notes = Vec::new();
    let total = account.total();
    if total.flood_missing() > 0 {
        notes.push(format!(
            "{} of {} copies of flooded frames did not come ({} frames came out nowhere): VLANs part the ports, or they were lost",
            total.flood_missing(),
            total.flood_due,
            account.vanished
        ));
    }
    if total.ambiguous > 0 {
        notes.push(format!(
            "{} copies could be of several frames with the same bytes and were taken in order: counts of lost frames are right, which of \
             them was lost, and its latency, is a guess",
            total.ambiguous
        ));
    }
    if total.foreign > 0 {
        let of = |is: fn(&Change) -> bool| suspects.iter().filter(|suspect| is(&suspect.change)).count();
        let changes = [
            (of(|change| matches!(change, Change::Corrupted { .. })), "frames with a few other octets (corrupted)"),
            (of(|change| *change == Change::Retagged), "frames with another VLAN tag"),
            (of(|change| matches!(change, Change::Resized { .. })), "frames of another length"),
        ];
        let told: Vec<String> = changes.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
        let seem = match told.is_empty() {
            true => "none of those looked at is like a lost one".to_owned(),
            false => format!("among those looked at are {}, which count as lost as well", told.join(", ")),
        };
        notes.push(format!("{} frames came that were not sent like that: {seem}", total.foreign));
    }
    let name = |port: usize| ports.get(port).map_or("?", |port| port.name.as_str());
    for suspect in suspects.iter().take(SUSPECTS_NOTED) {
        let (from, to, packet) = (name(suspect.sent_by), name(suspect.came_out_of), suspect.packet);
        let what = match suspect.change {
            Change::Corrupted { octets, offset, sent, got } => {
                format!("with {octets} other octet(s), the first at offset {offset}: {got:#04x} instead of {sent:#04x}")
            }
            Change::Retagged => "with another VLAN tag".to_owned(),
            Change::Resized { sent, got } => format!("with {got} bytes instead of {sent}"),
        };
        notes.push(format!("packet {packet} from {from} seems to have come out of {to} {what}"));
    }
    notes
}
