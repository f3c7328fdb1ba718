//! Load and loss by port: a row per port, its name in front, so that 65 ports need more paper and not smaller letters.
//!
//! Left, in % of the port's own line rate (so that blades and uplink compare): what the generator sent in over what it was
//! asked to, and below it what came out. Right, the share of its frames that was lost, with their count.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::axis::Axis;
use super::{
    Area, BELOW, Drawn, LOST_INK, OFFERED_INK, RECEIVED_INK, RIGHT, SENT_INK, TEXT_INK, TOP, WIDTH, chart, cut, plot_error, svg, text_style,
};
use crate::output::numbers::{count, percent, ratio, speed};

/// One port: what went in and came out, in bits a second on the wire, and what was lost.
#[derive(Debug, Clone, Default)]
pub struct PortBar {
    /// Its name.
    pub name: String,
    /// Line rate in bits a second.
    pub speed_bps: u64,
    /// Rate that the plan asked for.
    pub offered_bps: f64,
    /// Rate into the switch.
    pub rx_bps: f64,
    /// Rate out of the switch.
    pub tx_bps: f64,
    /// Frames due on this port that did not come out.
    pub lost: u64,
    /// Frames due on this port.
    pub due: u64,
}

/// Room for the names.
const NAMES: u32 = 150;
/// Where the panel of loss begins.
const LOSS_START: u32 = 740;
/// Room on the right of the loss bars for the count.
const LOSS_TEXT: u32 = 150;
/// Room between the panels, so that the labels under them do not meet.
const BETWEEN: u32 = RIGHT + 16;

/// The rows of all ports; `None` without ports.
pub(super) fn draw(ports: &[PortBar], label: &str) -> Drawn {
    if ports.is_empty() {
        return Ok(None);
    }
    // Two bars and a gap; many ports get thinner bars.
    let bar = if ports.len() <= 24 { 8 } else { 6 };
    let row = 2 * bar + 6;
    let rows = row * i32::try_from(ports.len()).map_err(plot_error)?;
    svg(rows as u32 + TOP + BELOW, label, |area| {
        let (load, loss) = area.split_horizontally(LOSS_START);
        draw_load(&load, ports, row, bar)?;
        draw_loss(&loss, ports, row, bar)
    })
}

fn draw_load(area: &Area<'_>, ports: &[PortBar], row: i32, bar: i32) -> std::io::Result<()> {
    let share = |bps: f64, port: &PortBar| if port.speed_bps == 0 { 0.0 } else { 100.0 * bps / port.speed_bps as f64 };
    let highest = ports
        .iter()
        .flat_map(|port| [port.offered_bps, port.rx_bps, port.tx_bps].map(|bps| share(bps, port)))
        .filter(|share| share.is_finite())
        .fold(0.0, f64::max);
    // Line rate is the natural end, unless little was sent. Rates over short times can exceed it a little.
    let title = "% of line rate, L1";
    let x = if highest > 0.0 && highest < 40.0 {
        Axis::from_zero(highest, title)
    } else {
        Axis::linear(0.0, highest.max(100.0), highest.max(100.0) / 20.0, title)
    };
    chart(area, &x, &Axis::blank(), NAMES, BETWEEN)?;
    let at = |percent: f64| NAMES as i32 + (x.share(percent) * f64::from(LOSS_START - NAMES - BETWEEN)).round() as i32;

    for (port, top) in ports.iter().zip((TOP as i32..).step_by(row as usize)) {
        let name = format!("{} {}", cut(&port.name, 14), speed(port.speed_bps));
        area.draw(&Text::new(name, (NAMES as i32 - 10, top + row / 2), text_style(TEXT_INK, HPos::Right, VPos::Center)))
            .map_err(plot_error)?;
        let top = top + 3;
        let bars = [(port.offered_bps, OFFERED_INK, top), (port.rx_bps, SENT_INK, top), (port.tx_bps, RECEIVED_INK, top + bar)];
        for (bps, ink, top) in bars {
            let percent = share(bps, port);
            if percent.is_finite() && percent > 0.0 {
                let corners = [(at(0.0), top), (at(percent).max(at(0.0) + 1), top + bar - 1)];
                area.draw(&Rectangle::new(corners, ink.rgb().filled())).map_err(plot_error)?;
            }
        }
    }
    Ok(())
}

fn draw_loss(area: &Area<'_>, ports: &[PortBar], row: i32, bar: i32) -> std::io::Result<()> {
    let highest = ports.iter().map(|port| ratio(port.lost, port.due)).fold(0.0, f64::max) * 100.0;
    let lossless = highest == 0.0;
    let x = Axis::from_zero(highest.max(0.001), if lossless { "no loss" } else { "lost, % of frames due" });
    let x = if lossless { x.without_ticks() } else { x };
    chart(area, &x, &Axis::blank(), 0, LOSS_TEXT)?;
    let at = |percent: f64| (x.share(percent) * f64::from(WIDTH - LOSS_START - LOSS_TEXT)).round() as i32;

    for (port, top) in ports.iter().zip((TOP as i32..).step_by(row as usize)) {
        let ratio = ratio(port.lost, port.due);
        let end = if port.lost > 0 { at(ratio * 100.0).max(at(0.0) + 1) } else { at(0.0) };
        if port.lost > 0 {
            let corners = [(at(0.0), top + 3), (end, top + 2 + 2 * bar)];
            area.draw(&Rectangle::new(corners, LOST_INK.rgb().filled())).map_err(plot_error)?;
        }
        let text = if port.lost > 0 { format!("{} ({} %)", count(port.lost), percent(ratio)) } else { "0".to_owned() };
        area.draw(&Text::new(text, (end + 6, top + row / 2), text_style(TEXT_INK, HPos::Left, VPos::Center))).map_err(plot_error)?;
    }
    Ok(())
}
