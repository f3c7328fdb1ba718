//! `show bus` as tables.

use std::fmt::Write as _;

use control::config::Speed;
use control::show;

use super::table::{count, or_dash, table};

/// The backplanes, their slot tables and their stations.
pub fn text(shown: &show::Buses) -> String {
    if shown.backplanes.is_empty() {
        return "no [[backplane]] is configured: every port is a link of its own\n".to_owned();
    }
    let backplanes: Vec<String> = shown.backplanes.iter().map(backplane).collect();
    backplanes.join("\n")
}

fn backplane(shown: &show::Backplane) -> String {
    let mut text = format!("{}: ", shown.name);
    // Writing to a string cannot fail, here and below.
    let _ = match shown.bus.as_str() {
        "none" => writeln!(text, "no bus, every port is a link of its own"),
        bus => writeln!(text, "{bus} bus of {}", rate(shown.rate_bps)),
    };
    let _ = writeln!(text, "ports: {}", shown.ports.join(", "));
    if let (Some(slot_ns), Some(guard_ns), Some(lend)) = (shown.slot_ns, shown.guard_ns, shown.lend) {
        let frame_ns = slot_ns * shown.slots.len() as u64;
        let lent = if lend { "are lent" } else { "stay idle" };
        let _ = writeln!(
            text,
            "{} slots of {} ns, {guard_ns} ns of that guard time, come round every {} ns; idle reserved slots {lent}\n",
            shown.slots.len(),
            count(slot_ns),
            count(frame_ns)
        );
        let row = |slot: &show::Slot| {
            let [rounds, used, frames, lent] = [slot.rounds, slot.used, slot.frames, slot.lent].map(count);
            vec![slot.slot.to_string(), slot.owner.clone(), rounds, used, frames, lent, percent(slot.use_ratio)]
        };
        text += &table(&[">slot", "reserved for", ">rounds", ">used", ">frames", ">of these lent", ">use %"], shown.slots.iter().map(row));
    }
    if !shown.stations.is_empty() {
        let row = |station: &show::Station| {
            vec![
                station.station.clone(),
                count(station.frames),
                percent(station.use_ratio),
                count(station.waiting),
                count(station.waiting_max),
                count(station.dropped),
                micros(station.latency_max_ns),
                or_dash(station.guaranteed_latency_ns.map(micros)),
                or_dash(station.guaranteed_bps.map(rate)),
            ]
        };
        let heads = ["station", ">frames", ">bus %", ">waiting", ">most", ">dropped", ">longest µs", ">bound µs", ">sure bit/s"];
        text += "\n";
        text += &table(&heads, shown.stations.iter().map(row));
        text += "Longest: from arrival until the last bit has crossed. The bound is that of a frame that finds no other of its station waiting.\n";
    }
    text
}

fn rate(bps: u64) -> String {
    // Three digits are enough for people; the API has all of them.
    let rounded = bps.checked_ilog10().map_or(0, |digits| bps - bps % 10u64.pow(digits.saturating_sub(2)));
    Speed::from_bits_per_second(rounded).map_or_else(|| bps.to_string(), |speed| speed.to_string())
}

fn percent(ratio: f64) -> String {
    format!("{:.1}", ratio * 100.0)
}

fn micros(ns: u64) -> String {
    format!("{:.3}", ns as f64 / 1000.0)
}
