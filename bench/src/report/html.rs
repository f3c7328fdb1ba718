//! `chassis.html`: the report as one page that loads nothing, runs nothing and prints.
//!
//! The order is that of the questions a reader has: how fast and how sure (head), what to beware of (warnings), how late
//! (latency), which port (load, loss, drops), when (over time), is every frame accounted for (ledger), and how to repeat it
//! (set-up, machine, files). Plots sit above the table with the same numbers.
//!
//! Plots carry fixed colours; the style sheet swaps them on dark screens by matching the attribute. On paper the page is light.

use std::io;

use super::model::{ChassisReport, PERCENTILES, PortRow, Rate, Summary, Totals};
use super::numbers::{count, fixed, gbps, micros, micros_or_dash, percent, speed};
use super::plots::{self, Ink};

/// The page as text. `hgrm_names` are the files of the directions, in their order.
pub(super) fn page(report: &ChassisReport, hgrm_names: &[String]) -> io::Result<String> {
    let totals = report.totals();
    let title = if report.title.is_empty() { "Chassis" } else { &report.title };
    let sections = [
        head(report, &totals, title),
        warnings(report),
        latency(report)?,
        ports(report, &totals)?,
        timeline(report)?,
        ledger(report),
        generator(report),
        set_up(report),
        files(hgrm_names),
    ];
    Ok(format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{}</title>\n\
         <style>\n{}{}</style>\n</head>\n<body>\n<main>\n{}</main>\n</body>\n</html>\n",
        escaped(title),
        include_str!("page.css"),
        plot_colours(),
        sections.concat(),
    ))
}

/// Text made safe for HTML and for attributes in double quotes.
pub(super) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            // Control characters are not allowed in HTML, and would only come from a broken name.
            c if c.is_control() && c != '\n' => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

/// On dark screens, every colour of the plots by its dark twin.
fn plot_colours() -> String {
    let rules: Vec<String> = plots::inks()
        .map(|ink| {
            let (light, dark) = (ink.hex(), ink.dark);
            format!("  svg [stroke=\"{light}\"] {{ stroke: {dark} }}\n  svg [fill=\"{light}\"] {{ fill: {dark} }}\n  .key[data-ink=\"{light}\"] {{ background: {dark}; border-color: {dark} }}\n")
        })
        .collect();
    format!("@media screen and (prefers-color-scheme: dark) {{\n{}}}\n", rules.concat())
}

fn head(report: &ChassisReport, totals: &Totals, title: &str) -> String {
    let all = Summary::of(&report.merged_histogram());
    let speed_sum = report.ports.iter().fold(0_u64, |sum, port| sum.saturating_add(port.speed_bps));
    let line = totals.tx.share_of(speed_sum).map_or_else(String::new, |share| format!(", {} % of line", fixed(share * 100.0, 1)));
    let quality = &report.generator;
    let cards = [
        card(&format!("{} Mpps", fixed(totals.tx.mpps(), 3)), "throughput out of the switch", Mood::Plain),
        card(
            &format!("{} Gb/s", fixed(totals.tx.bps_l1 / 1e9, 2)),
            &format!("L1 (L2 {}){line}", fixed(totals.tx.bps_l2 / 1e9, 2)),
            Mood::Plain,
        ),
        card(
            &format!("{} % lost", percent(totals.loss_ratio)),
            &format!("{} of {} frames", count(totals.lost), count(totals.received.saturating_add(totals.lost))),
            match (totals.lost, totals.sent) {
                (0, 0) => Mood::Plain,
                (0, _) => Mood::Good,
                _ => Mood::Bad,
            },
        ),
        card(
            &all.percentile_ns("p99").map_or_else(|| "no latency".to_owned(), |ns| format!("{} µs", micros(ns as f64))),
            &format!("p99 latency, all directions (p50 {}, max {})", micros_or_dash(all.percentile_ns("p50")), micros_or_dash(all.max_ns)),
            Mood::Plain,
        ),
        card(
            if report.ledger.is_balanced() { "balanced" } else { "NOT BALANCED" },
            "ledger",
            if report.ledger.is_balanced() { Mood::Good } else { Mood::Bad },
        ),
        card(
            if quality.valid { "on rate" } else { "below rate" },
            &format!("generator, {} ppm off", rate_error(report)),
            if quality.valid { Mood::Good } else { Mood::Bad },
        ),
    ];
    format!(
        "<header>\n<h1>{}</h1>\n<p class=\"sub\"><code>{}</code></p>\n<p class=\"sub\">{}{} s · seed {}</p>\n\
         <div class=\"cards\">\n{}</div>\n</header>\n",
        escaped(title),
        escaped(&report.command),
        if report.started.is_empty() { String::new() } else { format!("{} · ", escaped(&report.started)) },
        fixed(report.duration_s, 1),
        report.seed,
        cards.concat(),
    )
}

enum Mood {
    Plain,
    Good,
    Bad,
}

fn card(value: &str, what: &str, mood: Mood) -> String {
    let class = match mood {
        Mood::Plain => "card",
        Mood::Good => "card good",
        Mood::Bad => "card bad",
    };
    format!("<div class=\"{class}\"><b>{}</b><span>{}</span></div>\n", escaped(value), escaped(what))
}

fn warnings(report: &ChassisReport) -> String {
    if report.warnings.is_empty() {
        return String::new();
    }
    let items: String = report.warnings.iter().map(|warning| format!("<li>{}</li>\n", with_code(&warning.to_string()))).collect();
    format!("<section class=\"warnings\">\n<h2>Before you quote these numbers</h2>\n<ul>\n{items}</ul>\n</section>\n")
}

/// Escaped, with what stands between backticks as code.
fn with_code(text: &str) -> String {
    let parts: Vec<String> = escaped(text).split('`').map(str::to_owned).collect();
    // An odd backtick opens nothing that is closed: leave such a text as it is.
    if parts.len().is_multiple_of(2) {
        return parts.join("`");
    }
    parts.iter().enumerate().map(|(i, part)| if i % 2 == 1 { format!("<code>{part}</code>") } else { part.clone() }).collect()
}

fn latency(report: &ChassisReport) -> io::Result<String> {
    if report.directions.is_empty() {
        return Ok(section("Latency", &paragraph("No latency was measured.")));
    }
    let legend = legend(report.directions.iter().enumerate().map(|(i, d)| (plots::direction_ink(i), d.name.as_str())));
    let figure = figure("Latency by percentile", &legend, plots::percentile_curves(&report.directions)?, "No latency sample was taken.");

    let mut heads = vec!["direction", "sampled", "samples", "min"];
    heads.extend(PERCENTILES.iter().map(|p| p.name));
    heads.extend(["max", "mean", "st. dev."]);
    let mut rows: Vec<Vec<String>> = report.directions.iter().map(|d| latency_row(&d.name, &one_in(d.sampling), &d.summary())).collect();
    if report.directions.len() > 1 {
        rows.push(latency_row("all", "", &Summary::of(&report.merged_histogram())));
    }
    let method = if report.latency_method.is_empty() { String::new() } else { format!(" Measured {}.", report.latency_method) };
    let note = format!("Values in µs.{method} A dash stands where the samples are too few to tell.");
    Ok(section("Latency", &[figure, table(&heads, &rows, 2, report.directions.len() > 1), paragraph(&note)].concat()))
}

fn latency_row(name: &str, sampled: &str, summary: &Summary) -> Vec<String> {
    let mut row = vec![name.to_owned(), sampled.to_owned(), count(summary.samples), micros_or_dash(summary.min_ns)];
    row.extend(summary.percentiles_ns.map(micros_or_dash));
    row.push(micros_or_dash(summary.max_ns));
    row.extend([summary.mean_ns, summary.stdev_ns].map(|ns| ns.map_or_else(|| "-".to_owned(), micros)));
    row
}

fn one_in(sampling: u64) -> String {
    if sampling <= 1 { "every frame".to_owned() } else { format!("1 in {}", count(sampling)) }
}

fn ports(report: &ChassisReport, totals: &Totals) -> io::Result<String> {
    let keys = [
        (plots::OFFERED_INK, "offered, not sent"),
        (plots::SENT_INK, "sent into the switch (RX)"),
        (plots::RECEIVED_INK, "received from the switch (TX)"),
        (plots::LOST_INK, "lost"),
    ];
    let figure = figure("Load and loss by port", &legend(keys.into_iter()), plots::port_bars(&report.ports)?, "The run had no ports.");

    let frames = ["port", "role", "speed", "offered", "sent", "received", "lost", "lost %", "drops by reason"];
    let mut rows: Vec<Vec<String>> = report.ports.iter().map(frames_row).collect();
    let total = PortRow {
        name: "total".to_owned(),
        offered: totals.offered,
        sent: totals.sent,
        received: totals.received,
        lost: totals.lost,
        drops: totals.drops.clone(),
        ..PortRow::default()
    };
    rows.push(frames_row(&total));
    let frames = [caption("Frames"), table(&frames, &rows, 2, true)].concat();

    let heads = ["port", "RX Mpps", "RX Gb/s L1", "RX Gb/s L2", "RX % line", "TX Mpps", "TX Gb/s L1", "TX Gb/s L2", "TX % line"];
    let speed_sum = report.ports.iter().fold(0_u64, |sum, port| sum.saturating_add(port.speed_bps));
    let mut rows: Vec<Vec<String>> = report.ports.iter().map(|p| rate_row(&p.name, &p.rx, &p.tx, p.speed_bps)).collect();
    rows.push(rate_row("total", &totals.rx, &totals.tx, speed_sum));
    let rates = [caption("Rates, RX into the switch and TX out of it"), table(&heads, &rows, 1, true)].concat();

    let note = "Sent is into the switch, received out of it on the same port; lost are frames that should have come out of the port and did not. \
                L1 counts preamble, delimiter and gap (20 B a frame), L2 the frame with its FCS.";
    Ok(section("Ports", &[figure, frames, rates, paragraph(note)].concat()))
}

fn frames_row(port: &PortRow) -> Vec<String> {
    vec![
        port.name.clone(),
        port.role.clone(),
        if port.speed_bps == 0 { String::new() } else { speed(port.speed_bps) },
        count(port.offered),
        count(port.sent),
        count(port.received),
        count(port.lost),
        percent(port.loss_ratio()),
        port.drops_text(", "),
    ]
}

fn rate_row(name: &str, rx: &Rate, tx: &Rate, speed_bps: u64) -> Vec<String> {
    let mut row = vec![name.to_owned()];
    for rate in [rx, tx] {
        let share = rate.share_of(speed_bps).map_or_else(|| "-".to_owned(), |share| fixed(share * 100.0, 1));
        row.extend([fixed(rate.mpps(), 3), gbps(rate.bps_l1), gbps(rate.bps_l2), share]);
    }
    row
}

fn timeline(report: &ChassisReport) -> io::Result<String> {
    let ticks = &report.timeline;
    if ticks.is_empty() {
        return Ok(String::new());
    }
    let mut figures = vec![
        figure("Throughput out of the switch, Mpps", "", plots::rate_over_time(ticks, "Mpps", |tick| tick.mpps)?, ""),
        figure("Throughput out of the switch, Gb/s L1", "", plots::rate_over_time(ticks, "Gb/s L1", |tick| tick.gbps_l1)?, ""),
    ];
    if ticks.iter().any(|tick| tick.lost > 0) {
        figures.push(figure("Frames lost in each interval", "", plots::loss_over_time(ticks)?, ""));
    }
    for (i, direction) in report.directions.iter().enumerate() {
        let title = format!("Latency {}: p50 thick, p99 dashed, maximum shaded", direction.name);
        let key = legend([(plots::direction_ink(i), direction.name.as_str())].into_iter());
        figures.push(figure(&title, &key, plots::latency_over_time(ticks, i)?, "No latency sample in any interval."));
    }
    Ok(section("Over time", &figures.concat()))
}

fn ledger(report: &ChassisReport) -> String {
    let ledger = &report.ledger;
    let heads = ["rx", "+ copies", "+ injected", "= tx", "+ dropped", "+ punted", "+ held"];
    let row = [ledger.rx, ledger.copies, ledger.injected, ledger.tx, ledger.dropped, ledger.punted, ledger.held].map(count).to_vec();
    let note = format!("Ledger: {}. Every frame that entered the switch, by where it ended.", ledger.verdict());
    section("Ledger", &[table(&heads, &[row], 0, false), paragraph(&note)].concat())
}

fn generator(report: &ChassisReport) -> String {
    let quality = &report.generator;
    let heads = ["asked Mpps", "sent Mpps", "rate error ppm", "late p50 µs", "late p99 µs", "late max µs", "verdict"];
    let row = vec![
        fixed(quality.asked_pps / 1e6, 3),
        fixed(quality.achieved_pps / 1e6, 3),
        rate_error(report),
        micros(quality.lateness_p50_ns as f64),
        micros(quality.lateness_p99_ns as f64),
        micros(quality.lateness_max_ns as f64),
        if quality.valid { "kept its rate" } else { "missed its rate" }.to_owned(),
    ];
    section("Generator", &[table(&heads, &[row], 0, false), paragraph("Late: actual less planned departure.")].concat())
}

fn rate_error(report: &ChassisReport) -> String {
    report.generator.rate_error_ppm().map_or_else(|| "-".to_owned(), |ppm| fixed(ppm, 0))
}

fn set_up(report: &ChassisReport) -> String {
    let machine = &report.machine;
    let text = |value: &str| if value.is_empty() { "unknown".to_owned() } else { value.to_owned() };
    let mut rows: Vec<(String, String)> = report.config.iter().map(|s| (s.key.clone(), s.value.clone())).collect();
    rows.extend(
        [
            ("CPU", text(&machine.cpu)),
            ("cores", machine.cores.to_string()),
            ("TSC", if machine.tsc_hz == 0 { text("") } else { format!("{} MHz", fixed(machine.tsc_hz as f64 / 1e6, 1)) }),
            (
                "cache line between cores",
                report.line_transfer_ns.map_or_else(|| "not measured".to_owned(), |ns| format!("{} ns", fixed(ns, 0))),
            ),
            ("kernel", text(&machine.kernel)),
            ("hugepages", text(&machine.hugepages)),
            ("frequency governor", machine.governor.clone().unwrap_or_else(|| "not shown by this machine".to_owned())),
            ("version", text(&machine.version)),
            ("commit", machine.commit.clone().unwrap_or_else(|| text(""))),
        ]
        .map(|(key, value)| (key.to_owned(), value)),
    );
    let rows: String = rows.iter().map(|(key, value)| format!("<tr><th>{}</th><td>{}</td></tr>\n", escaped(key), escaped(value))).collect();
    section("Set-up", &format!("<table class=\"pairs\">\n{rows}</table>\n"))
}

fn files(hgrm_names: &[String]) -> String {
    let item = |name: &str, what: &str| format!("<li><a href=\"{0}\">{0}</a> {1}</li>\n", escaped(name), escaped(what));
    let mut items = item("chassis.json", "everything above for programs; latency in ns, histograms as HdrHistogram V2 (base64)");
    items.push_str(&item("chassis.hgrm", "percentile distribution of all directions, in µs, for HdrHistogram's plotters"));
    for name in hgrm_names {
        items.push_str(&item(name, "of one direction, in µs"));
    }
    section("Files", &format!("<ul>\n{items}</ul>\n"))
}

fn section(title: &str, content: &str) -> String {
    format!("<section>\n<h2>{}</h2>\n{content}</section>\n", escaped(title))
}

fn caption(text: &str) -> String {
    format!("<h3>{}</h3>\n", escaped(text))
}

fn paragraph(text: &str) -> String {
    format!("<p class=\"note\">{}</p>\n", escaped(text))
}

/// A plot with its title and legend, or a sentence where there is none.
fn figure(title: &str, legend: &str, plot: Option<String>, otherwise: &str) -> String {
    let Some(plot) = plot else { return paragraph(otherwise) };
    format!("<figure>\n<figcaption>{} {legend}</figcaption>\n{plot}</figure>\n", escaped(title))
}

fn legend<'a>(keys: impl Iterator<Item = (Ink, &'a str)>) -> String {
    let keys: String = keys
        .map(|(ink, name)| {
            let hex = ink.hex();
            format!("<span class=\"entry\"><i class=\"key\" data-ink=\"{hex}\" style=\"--ink:{hex}\"></i>{}</span>", escaped(name))
        })
        .collect();
    format!("<span class=\"legend\">{keys}</span>")
}

/// A table whose columns from `texts` on are numbers; `total` sets off the last row.
fn table(heads: &[&str], rows: &[Vec<String>], texts: usize, total: bool) -> String {
    let class = |column: usize, name: &str| if column < texts || name == "drops by reason" { "" } else { " class=\"n\"" };
    let head: String = heads.iter().enumerate().map(|(i, name)| format!("<th{}>{}</th>", class(i, name), escaped(name))).collect();
    let body: String = rows
        .iter()
        .enumerate()
        .map(|(i, row)| {
            let cells: String = row
                .iter()
                .enumerate()
                .map(|(c, cell)| format!("<td{}>{}</td>", class(c, heads.get(c).unwrap_or(&"")), escaped(cell)))
                .collect();
            let set_off = if total && i + 1 == rows.len() { " class=\"total\"" } else { "" };
            format!("<tr{set_off}>{cells}</tr>\n")
        })
        .collect();
    format!("<div class=\"wide\"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table></div>\n")
}
