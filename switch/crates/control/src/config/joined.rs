//! `[joined]`: trunks to other chassis.

use port::PortId;
use serde::Serialize;
use toml::Spanned;

use super::error::{Findings, Span, suggestion};
use super::model::{Config, PortConfig, Role};
use super::section::{Section, SectionSchema};
use super::value;

/// The keys of the section.
pub(super) const JOINED: SectionSchema =
    SectionSchema { name: "joined", repeated: false, keys: &["chassis", "trunks", "hello_ms", "silent_ms", "hold_ms"] };

/// Milliseconds of any of the times.
const TIME_MS: std::ops::RangeInclusive<u64> = 1..=60_000;

/// This chassis is joined to others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedConfig {
    /// Its number, 1 to 65535, another for each chassis. The lowest is the root of the tree.
    pub chassis: u16,
    /// Uplinks that lead to other chassis, ascending.
    pub trunks: Vec<PortId>,
    /// Milliseconds between hellos when nothing is new.
    pub hello_ms: u64,
    /// After so many milliseconds without a hello the other end of a trunk is taken for dead. More than twice `hello_ms`.
    pub silent_ms: u64,
    /// So many milliseconds both ends of a trunk agree before it is opened: longer than any frame is under way.
    pub hold_ms: u64,
}

impl JoinedConfig {
    /// A chassis with these trunks and all defaults.
    pub fn new(chassis: u16, trunks: Vec<PortId>) -> JoinedConfig {
        JoinedConfig { chassis, trunks, hello_ms: 100, silent_ms: 350, hold_ms: 50 }
    }
}

/// As it stands in the file.
pub(super) struct JoinedDraft {
    config: JoinedConfig,
    silent: Span,
    trunks: Vec<Spanned<String>>,
}

/// Reads the section; `None` if it is not there.
pub(super) fn read(section: &Section<'_, '_>, stands: bool, out: &mut Findings<'_>) -> Option<JoinedDraft> {
    if !stands {
        return None;
    }
    let chassis = section.read(out, "chassis", value::integer("", 1..=65_535));
    if !section.has("chassis") {
        section.missing(out, "chassis", "the number of this chassis, 1 to 65535, another for each");
    }
    let trunks = section.read_list(out, "trunks", value::reference);
    if section.count("trunks") == 0 {
        section.missing(out, "trunks", "the names of the uplinks that lead to other chassis, such as [\"trunk1\"]");
    }
    let defaults = JoinedConfig::new(1, Vec::new());
    let mut time = |key, default| {
        let read = section.read(out, key, value::integer("milliseconds", TIME_MS));
        read.map_or(default, Spanned::into_inner)
    };
    let config = JoinedConfig {
        chassis: chassis.map_or(1, |chassis| *chassis.get_ref() as u16),
        hello_ms: time("hello_ms", defaults.hello_ms),
        silent_ms: time("silent_ms", defaults.silent_ms),
        hold_ms: time("hold_ms", defaults.hold_ms),
        trunks: Vec::new(),
    };
    Some(JoinedDraft { config, silent: section.span_of("silent_ms"), trunks })
}

/// Notes what does not agree with the ports.
pub(super) fn check(draft: Option<&JoinedDraft>, ports: &[&PortConfig], out: &mut Findings<'_>) {
    let Some(draft) = draft else { return };
    let mut first: Vec<&Spanned<String>> = Vec::new();
    for trunk in &draft.trunks {
        let name = trunk.get_ref();
        if let Some(before) = first.iter().find(|before| before.get_ref() == name) {
            out.twice(&trunk.span(), "joined.trunks", &before.span(), "each trunk once");
            continue;
        }
        first.push(trunk);
        match ports.iter().find(|port| port.name == *name) {
            Some(port) if port.role == Role::Uplink => {}
            Some(_) => out.value(&trunk.span(), "joined.trunks", "expected uplinks: a blade is no chassis"),
            None => {
                let uplinks = ports.iter().filter(|port| port.role == Role::Uplink).map(|port| port.name.as_str());
                out.value(&trunk.span(), "joined.trunks", format!("no [[uplink]] has this name{}", suggestion(name, uplinks)));
            }
        }
    }
    if draft.config.silent_ms <= 2 * draft.config.hello_ms {
        let (silent, hello) = (draft.config.silent_ms, draft.config.hello_ms);
        let message =
            format!("expected more than twice joined.hello_ms, which is {hello}, found {silent}: one lost hello would part the chassis");
        out.at(&draft.silent, "joined.silent_ms", message);
    }
}

/// The section of a draft in which nothing is wrong.
pub(super) fn resolve(draft: JoinedDraft, config: &Config) -> JoinedConfig {
    let mut trunks: Vec<PortId> = draft.trunks.iter().filter_map(|name| config.port_named(name.get_ref())).collect();
    trunks.sort_unstable();
    JoinedConfig { trunks, ..draft.config }
}

/// In the shape of the file.
#[derive(Serialize)]
pub(super) struct JoinedTable<'a> {
    chassis: u16,
    trunks: Vec<&'a str>,
    hello_ms: u64,
    silent_ms: u64,
    hold_ms: u64,
}

/// The section as it is written.
pub(super) fn table<'a>(config: &'a Config, joined: &JoinedConfig) -> JoinedTable<'a> {
    let name = |&port: &PortId| config.port(port).map_or("", |port| port.name.as_str());
    JoinedTable {
        chassis: joined.chassis,
        trunks: joined.trunks.iter().map(name).collect(),
        hello_ms: joined.hello_ms,
        silent_ms: joined.silent_ms,
        hold_ms: joined.hold_ms,
    }
}
