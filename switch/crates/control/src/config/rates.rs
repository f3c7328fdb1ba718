//! `[[rate]]`: how much one port may send to another.

use dataplane::police::PAIRS_MAX;
use port::PortId;
use serde::Serialize;
use toml::Spanned;

use super::error::{Findings, Span, suggestion};
use super::model::{Config, PortConfig};
use super::section::{Section, SectionSchema};
use super::speed::Speed;
use super::value;

/// The keys of the section.
pub(super) const RATE: SectionSchema = SectionSchema { name: "rate", repeated: true, keys: &["from", "to", "rate", "max", "burst"] };

/// Rates at most: as many may have been taken away while the switch runs and still be counted.
pub const RATES_MAX: usize = PAIRS_MAX / 2;
/// Bytes that may come at once.
const BURST: std::ops::RangeInclusive<u64> = 64..=1 << 30;
/// Unless the file says otherwise, what comes in a millisecond at the highest rate may come at once.
const BURST_MS: u64 = 1;

/// How much one port may send to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateConfig {
    /// Frames that come in by this port
    pub from: PortId,
    /// and leave by this one.
    pub to: PortId,
    /// The rate until another is agreed on.
    pub rate: Speed,
    /// The most that may be agreed on.
    pub max: Speed,
    /// Bytes that may come at once, FCS included.
    pub burst: u32,
}

/// As it stands in the file.
pub(super) struct RateDraft {
    header: Span,
    from: Option<Spanned<String>>,
    to: Option<Spanned<String>>,
    rate: Option<Speed>,
    max: Option<Spanned<Speed>>,
    burst: Option<Spanned<u64>>,
}

/// Reads a section.
pub(super) fn read(section: &Section<'_, '_>, out: &mut Findings<'_>) -> RateDraft {
    for (key, expected) in [
        ("from", "the name of the port that sends, such as \"blade1\""),
        ("to", "the name of the port that is sent to, such as \"blade2\""),
        ("rate", "bits a second, such as \"500M\""),
    ] {
        if !section.has(key) {
            section.missing(out, key, expected);
        }
    }
    RateDraft {
        header: section.span.clone(),
        from: section.read(out, "from", value::reference),
        to: section.read(out, "to", value::reference),
        rate: section.read(out, "rate", value::speed).map(Spanned::into_inner),
        max: section.read(out, "max", value::speed),
        burst: section.read(out, "burst", value::integer("bytes", BURST)),
    }
}

/// Notes what does not agree with the ports, with itself and with the others.
pub(super) fn check(drafts: &[RateDraft], ports: &[&PortConfig], max_frame: u16, out: &mut Findings<'_>) {
    if let Some(draft) = drafts.get(RATES_MAX) {
        out.at(&draft.header, "rate", format!("there are {}: expected at most {RATES_MAX}", drafts.len()));
    }
    let mut known: Vec<(&str, &str, &Span)> = Vec::new();
    for draft in drafts {
        for (key, name) in [("rate.from", &draft.from), ("rate.to", &draft.to)] {
            if let Some(name) = name.as_ref().filter(|name| ports.iter().all(|port| port.name != *name.get_ref())) {
                let names = ports.iter().map(|port| port.name.as_str());
                out.value(&name.span(), key, format!("no port has this name{}", suggestion(name.get_ref(), names)));
            }
        }
        if let (Some(from), Some(to)) = (&draft.from, &draft.to) {
            let (from, to_name) = (from.get_ref().as_str(), to.get_ref().as_str());
            if from == to_name {
                out.value(&to.span(), "rate.to", "expected another port than rate.from: no frame goes back where it came from");
            } else if let Some((.., first)) = known.iter().find(|(a, b, _)| (*a, *b) == (from, to_name)) {
                out.twice(&draft.header, "rate", first, "each pair of ports once");
            }
            known.push((from, to_name, &draft.header));
        }
        if let (Some(rate), Some(max)) = (draft.rate, &draft.max)
            && *max.get_ref() < rate
        {
            out.value(&max.span(), "rate.max", format!("expected at least rate.rate, which is {rate}"));
        }
        let longest = shortest_burst(max_frame);
        if let Some(burst) = draft.burst.as_ref().filter(|burst| *burst.get_ref() < longest) {
            let message =
                format!("expected at least {longest}, the longest frame (switch.max_frame) with a tag and FCS: it would never pass");
            out.value(&burst.span(), "rate.burst", message);
        }
    }
}

/// The longest frame, with a tag and FCS.
fn shortest_burst(max_frame: u16) -> u64 {
    u64::from(max_frame) + wire::vlan::TAG_LEN as u64 + 4
}

/// The section of a draft in which nothing is wrong.
pub(super) fn resolve(draft: RateDraft, config: &Config) -> Option<RateConfig> {
    let port = |name: Option<Spanned<String>>| config.port_named(name?.get_ref());
    let (from, to, rate) = (port(draft.from)?, port(draft.to)?, draft.rate?);
    let max = draft.max.map_or(rate, Spanned::into_inner);
    let at_once = max.bits_per_second() / 8 * BURST_MS / 1_000;
    let usual = at_once.clamp(2 * shortest_burst(config.switch.max_frame), *BURST.end());
    Some(RateConfig { from, to, rate, max, burst: draft.burst.map_or(usual, Spanned::into_inner) as u32 })
}

/// In the shape of the file.
#[derive(Serialize)]
pub(super) struct RateTable<'a> {
    from: &'a str,
    to: &'a str,
    rate: Speed,
    max: Speed,
    burst: u32,
}

/// The section as it is written.
pub(super) fn table<'a>(config: &'a Config, rate: &RateConfig) -> RateTable<'a> {
    let name = |port: PortId| config.port(port).map_or("", |port| port.name.as_str());
    RateTable { from: name(rate.from), to: name(rate.to), rate: rate.rate, max: rate.max, burst: rate.burst }
}
