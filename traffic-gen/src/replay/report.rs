//! A replay as a report with files: page, JSON, CSV, histograms (docs/results.md).

use std::time::SystemTime;

use port::wrap::link::OVERHEAD_LEN;

use super::summary::{AccountLine, PortSummary, Replayed, Summary};
use crate::measure::{Latencies, Pacing};
use crate::output::numbers::{count, fixed};
use crate::output::plots::{Curve, LatencyStrip, PortBar, Strip};
use crate::output::sections::{generator_section, variation_table};
use crate::output::{
    Cell, Column, Distribution, Figure, Headline, Item, Mood, Plot, Report, Section, Setting, Table, Validity, Warning, latency_table,
};

/// What came out of each port and what should have; `None` if that was not looked at, or nothing could come.
pub fn account_table(summary: &Summary) -> Option<Table> {
    let lines: Vec<(&str, &AccountLine)> =
        summary.ports.iter().filter_map(|port| Some((port.port.as_str(), port.account.as_ref()?))).collect();
    let could_come = |line: &AccountLine| line.due + line.flood_due + line.foreign + line.elsewhere + line.reflected > 0;
    if !lines.iter().any(|(_, line)| could_come(line)) {
        return None;
    }
    let mut columns = vec![Column::text("out of port")];
    columns.extend(["due", "lost"].map(Column::number));
    columns.push(Column::number("lost %"));
    columns.push(Column::number("flooded, due").when_wide());
    columns.push(Column::number("missing").when_wide());
    columns.extend(["duplicates", "reordered", "elsewhere"].map(Column::number));
    columns.extend(["misdelivered", "reflected"].map(|name| Column::number(name).on_page()));
    columns.push(Column::number("foreign"));
    columns.extend(["corrupted?", "ambiguous"].map(|name| Column::number(name).on_page()));
    let mut table = Table::new("What became of the frames", columns);
    let mut total = AccountLine::default();
    for (name, line) in &lines {
        table.push(row(name, line));
        add(&mut total, line);
    }
    if lines.len() > 1 {
        table.push(row("all", &total));
        table.total = true;
    }
    Some(table)
}

fn row(name: &str, line: &AccountLine) -> Vec<Cell> {
    let share = if line.due == 0 { Cell::Unknown } else { Cell::Share(line.lost as f64 / line.due as f64) };
    let counts = [
        line.flood_due,
        line.flood_missing,
        line.duplicates,
        line.reordered,
        line.elsewhere,
        line.misdelivered,
        line.reflected,
        line.foreign,
        line.corrupted,
        line.ambiguous,
    ];
    let mut row = vec![Cell::text(name), Cell::Count(line.due), Cell::Count(line.lost), share];
    row.extend(counts.map(Cell::Count));
    row
}

fn add(total: &mut AccountLine, line: &AccountLine) {
    total.due += line.due;
    total.arrived += line.arrived;
    total.lost += line.lost;
    total.flood_due += line.flood_due;
    total.flood_missing += line.flood_missing;
    total.duplicates += line.duplicates;
    total.reordered += line.reordered;
    total.elsewhere += line.elsewhere;
    total.misdelivered += line.misdelivered;
    total.reflected += line.reflected;
    total.foreign += line.foreign;
    total.corrupted += line.corrupted;
    total.ambiguous += line.ambiguous;
}

/// Latencies of the frames that came out of each port.
pub fn latencies(replayed: &Replayed) -> Vec<(String, &Latencies)> {
    let accounts = replayed.account.iter().flat_map(|account| &account.ports);
    let named = replayed.ports.iter().zip(accounts);
    named.filter_map(|(port, account)| Some((format!("to {}", port.name), account.latency.as_ref()?))).collect()
}

/// The report. `command` is its name: `replay`, `send`.
pub fn report(command: &str, started: SystemTime, summary: &Summary, replayed: &Replayed) -> Report {
    let mut report = Report::new(command, format!("{} packets: {}", count(summary.packets), summary.speed), "");
    report.set_started(started);
    report.duration_s = summary.seconds;
    report.validity = Validity { reasons: summary.invalid.clone() };
    report.warnings = warnings(summary);
    report.headlines = headlines(summary);
    report.sections = vec![frames(summary, replayed), over_time(replayed)];
    let latencies = latencies(replayed);
    if !latencies.is_empty() {
        report.sections.push(latency(&latencies, replayed));
    }
    let pacing = replayed.ports.iter().fold(Pacing::default(), |mut all, port| {
        all.merge(&port.pacing);
        all
    });
    let mut generator = generator_section(&pacing, None);
    let on_time = "Every frame left when it should have, to the nanosecond.";
    generator.items.insert(0, Figure::item("How late frames left", Plot::Lateness(pacing.lateness.clone()), on_time));
    report.sections.push(generator);
    report.settings = settings(summary);
    report.distributions = latencies.iter().map(|(name, latencies)| Distribution::new(name.as_str(), latencies.sent.clone())).collect();
    report.distributions.push(Distribution::new("lateness", pacing.lateness));
    report.result = serde_json::to_value(summary).unwrap_or_default();
    report
}

fn total(summary: &Summary) -> AccountLine {
    summary.ports.iter().filter_map(|port| port.account.as_ref()).fold(AccountLine::default(), |mut sum, line| {
        add(&mut sum, line);
        sum
    })
}

fn headlines(summary: &Summary) -> Vec<Headline> {
    let mut headlines = vec![
        Headline::new(count(summary.packets), "frames sent", Mood::Plain),
        Headline::new(format!("{} Mpps", fixed(summary.pps / 1e6, 3)), "all ports together", Mood::Plain),
    ];
    let total = total(summary);
    if total.due > 0 {
        let mood = if total.lost == 0 { Mood::Good } else { Mood::Bad };
        headlines.push(Headline::new(count(total.lost), format!("lost of {} to known stations", count(total.due)), mood));
    }
    headlines
}

fn warnings(summary: &Summary) -> Vec<Warning> {
    let total = total(summary);
    let mut warnings = Vec::new();
    if summary.interrupted {
        warnings.push(Warning::Interrupted);
    }
    if summary.packets == 0 {
        warnings.push(Warning::NothingSent);
    }
    if summary.clock == "virtual" {
        warnings.push(Warning::VirtualClock);
    }
    if total.lost > 0 {
        warnings.push(Warning::FramesLost { lost: total.lost, due: total.due });
    }
    if total.reordered > 0 {
        warnings.push(Warning::Reordered { frames: total.reordered });
    }
    if total.duplicates > 0 {
        warnings.push(Warning::Duplicated { frames: total.duplicates });
    }
    if total.elsewhere > 0 {
        warnings.push(Warning::Flooded { copies: total.elsewhere });
    }
    if total.corrupted > 0 {
        warnings.push(Warning::Corrupted { frames: total.corrupted });
    }
    warnings.extend(summary.notes.iter().map(|text| Warning::Other { text: text.clone() }));
    warnings
}

fn frames(summary: &Summary, replayed: &Replayed) -> Section {
    let mut items = Vec::new();
    if replayed.account.is_some() {
        let bars = replayed.ports.iter().zip(&summary.ports).map(|(port, line)| bar(port, line.account.as_ref(), summary.seconds));
        items.push(Figure::item("Load and loss by port", Plot::Ports(bars.collect()), ""));
    }
    items.extend(account_table(summary).map(Item::Table));
    items.push(Item::Table(ports_table(summary)));
    if replayed.account.is_some() {
        items.push(Item::Note(
            "Due: frames to stations that have sent from that port. Flooded: frames to groups and to stations that send nothing, due at all other \
             ports; where VLANs part the ports, copies are missing that cannot come. Elsewhere: out of a port they were not for. Reflected: back \
             out of the port that sent them. Foreign: not sent like that; corrupted?: of these, frames like a lost one but for a few octets. \
             Ambiguous: equal frames were under way together, and matched in order."
                .to_owned(),
        ));
    }
    Section::new("Frames", items)
}

/// A port's rates on the wire, and its loss.
fn bar(port: &PortSummary, account: Option<&AccountLine>, seconds: f64) -> PortBar {
    let bps = |bytes: u64, frames: u64| if seconds > 0.0 { (bytes + OVERHEAD_LEN * frames) as f64 * 8.0 / seconds } else { 0.0 };
    let rx_bps = bps(port.sent_bytes, port.sent);
    let unsent = if port.sent == 0 { 1.0 } else { 1.0 + port.failed() as f64 / port.sent as f64 };
    PortBar {
        name: port.name.clone(),
        speed_bps: port.line_bps,
        offered_bps: rx_bps * unsent,
        rx_bps,
        tx_bps: bps(port.received_bytes, port.received),
        lost: account.map_or(0, |account| account.lost),
        due: account.map_or(0, |account| account.due),
    }
}

fn ports_table(summary: &Summary) -> Table {
    let mut columns = vec![Column::text("port")];
    columns.extend(["sent", "bytes", "failed", "first s", "last s", "late p50 µs", "late p99.9 µs", "late max µs"].map(Column::number));
    columns.extend(["received", "lost in the tester"].map(Column::number));
    let mut table = Table::new("Sent and received by port", columns);
    for port in &summary.ports {
        let seconds = |at: Option<f64>| at.map_or(Cell::Empty, |at| Cell::Number(at, 9));
        let mut row = vec![Cell::text(&port.port)];
        row.extend([port.successful, port.bytes, port.failed].map(Cell::Count));
        row.extend([seconds(port.first_s), seconds(port.last_s)]);
        row.extend(port.late_ns.map(|ns| Cell::Micros(ns as f64)));
        row.extend([port.received, port.rx_drops].map(Cell::Count));
        table.push(row);
    }
    table
}

fn over_time(replayed: &Replayed) -> Section {
    let timeline = &replayed.timeline;
    let length_s = timeline.length().as_secs_f64();
    let intervals = || (1..).zip(timeline.intervals()).map(|(number, interval)| (f64::from(number) * length_s, interval));
    let strip = |points: Vec<(f64, f64)>, unit: &str| Plot::OverTime(Strip { unit: unit.to_owned(), loss: false, points });
    let nothing = "Nothing was sent.";
    let sent = intervals().map(|(end, interval)| (end, interval.sent as f64 / length_s / 1e6)).collect();
    let bits = |bytes: u64, frames: u64| (bytes + OVERHEAD_LEN * frames) as f64 * 8.0;
    let wire = intervals().map(|(end, interval)| (end, bits(interval.sent_bytes, interval.sent) / length_s / 1e9)).collect();
    let mut items = vec![
        Figure::item("Sent over time, all ports, Mpps", strip(sent, "Mpps"), nothing),
        Figure::item("Sent over time, all ports, Gb/s on the wire", strip(wire, "Gb/s L1"), ""),
    ];
    if timeline.intervals().iter().any(|interval| interval.received > 0) {
        let received = intervals().map(|(end, interval)| (end, interval.received as f64 / length_s / 1e6)).collect();
        items.push(Figure::item("Received over time, all ports, Mpps", strip(received, "Mpps"), ""));
    }
    items.push(Item::Note(format!("Intervals of {} ms. The last is cut short by the end of the run.", fixed(length_s * 1e3, 3))));
    Section::new("Over time", items)
}

fn latency(latencies: &[(String, &Latencies)], replayed: &Replayed) -> Section {
    let views = |latency: &Latencies| [("since sent", latency.sent.clone()), ("since planned", latency.intended.clone())];
    let mut curves = Vec::new();
    let mut rows = Vec::new();
    // Of many ports one line each is enough to look at.
    let drawn = if latencies.len() > 4 { 1 } else { 2 };
    for (name, latency) in latencies {
        curves.extend(views(latency).into_iter().take(drawn).map(|(view, histogram)| Curve { name: format!("{name}, {view}"), histogram }));
        rows.extend(views(latency).map(|(view, histogram)| (format!("{name}, {view}"), histogram)));
        rows.push((format!("{name}, PDV"), latency.pdv.clone()));
    }
    let note = "Every frame that came out where it was due, first copies. Since sent: from the moment the frame was handed over. Since planned: from \
                the moment it should have been. Both hold a turn of the tester's own loop. PDV: since sent, less the smallest (RFC 5481).";
    let timeline = &replayed.timeline;
    let end_s = timeline.intervals().len() as f64 * timeline.length().as_secs_f64();
    let mut items = vec![Figure::item("Latency by percentile", Plot::Percentiles(curves), "")];
    items.extend(
        LatencyStrip::all([("all ports".to_owned(), timeline.ticks())], end_s)
            .into_iter()
            .map(|strip| Figure::item("Latency over time, since sent", Plot::LatencyOverTime(strip), "")),
    );
    items.push(Item::Table(latency_table("Latency in µs", rows.iter().map(|(name, histogram)| (name.as_str(), histogram)))));
    items.push(Item::Table(variation_table(latencies.iter().map(|(name, latency)| (name.as_str(), *latency)))));
    items.push(Item::Note(note.to_owned()));
    Section::new("Latency", items)
}

fn settings(summary: &Summary) -> Vec<Setting> {
    let input = &summary.input;
    let mut settings = vec![
        Setting::new("speed", &summary.speed),
        Setting::new("clock", summary.clock),
        Setting::new("frames of a loop", count(input.frames)),
        Setting::new("packets in the captures", count(input.read)),
        Setting::new("of these deselected", count(input.deselected)),
        Setting::new("of these cut short by the capture", count(input.truncated)),
    ];
    settings.extend(summary.ports.iter().map(|port| Setting::new(&port.port, format!("line of {} Mb/s", port.line_bps / 1_000_000))));
    settings
}
