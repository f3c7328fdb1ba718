//! `[[profile]]`: what many bays have in common, whichever blade is in them (paragraphs 57 and 58 of the patent document).
//!
//! A profile is what the keys of its bays' `[[blade]]` sections default to. It is read as such a section is; a blade's own keys count
//! before it. Once a file is read the profile is gone: every port has what it says.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use toml::Spanned;
use toml::de::DeValue;

use super::error::{Findings, Span, suggestion};
use super::model::{PortConfig, Role};
use super::schema::{Draft, Link, ProfileDraft, read_link};
use super::section::{Section, SectionSchema};
use super::value;

/// The keys of the section.
pub(super) const PROFILE: SectionSchema = SectionSchema {
    name: "profile",
    repeated: true,
    keys: &[
        "name",
        "slots",
        "prefix",
        "functions",
        "speed",
        "vlan",
        "transparent",
        "trunk",
        "native",
        "ingress_filter",
        "queue",
        "fdb_limit",
        "learning",
        "flood",
        "enabled",
        "control",
    ],
};

/// Most bytes of the prefix of names: with the five digits of a slot it is a name.
const PREFIX_MAX: usize = 27;

/// Reads a section.
pub(super) fn read(section: &Section<'_, '_>, out: &mut Findings<'_>) -> ProfileDraft {
    for (key, expected) in
        [("name", "what the profile is called, as in `name = \"web\"`"), ("slots", "the bays it is for, as in `slots = [1, \"3-6\"]`")]
    {
        if !section.has(key) {
            section.missing(out, key, expected);
        }
    }
    let Link { config, vlan_is_right, fdb_limit } = read_link(section, PortConfig::blade(0), true, out);
    ProfileDraft {
        name: section.read(out, "name", value::name),
        slots: section.read_list(out, "slots", slots),
        prefix: section.read(out, "prefix", prefix).map(Spanned::into_inner),
        functions: section.read_list(out, "functions", value::reference),
        config,
        vlan_is_right,
        fdb_limit,
    }
}

/// What a blade in this slot has unless it says otherwise.
pub(super) fn defaults(profiles: &[ProfileDraft], slot: u16) -> (PortConfig, Option<&ProfileDraft>) {
    let plain = PortConfig::blade(slot);
    let Some(profile) = profiles.iter().find(|profile| profile.is_for(slot)) else { return (plain, None) };
    let name = profile.prefix.as_ref().map_or(plain.name, |prefix| format!("{prefix}{slot}"));
    (PortConfig { name, role: plain.role, ..profile.config.clone() }, Some(profile))
}

impl ProfileDraft {
    fn is_for(&self, slot: u16) -> bool {
        self.slots.iter().any(|slots| slots.get_ref().contains(&slot))
    }
}

/// Do profiles agree with each other, with bays and with functions?
pub(super) fn check(draft: &Draft, out: &mut Findings<'_>) {
    let mut names: HashMap<&str, Span> = HashMap::new();
    let mut taken: Vec<(RangeInclusive<u16>, Span)> = Vec::new();
    let slot = |port: &PortConfig| match port.role {
        Role::Blade { slot, .. } => Some(slot),
        Role::Uplink => None,
    };
    for profile in &draft.profiles {
        if let Some(name) = &profile.name
            && let Some(first) = names.insert(name.get_ref(), name.span())
        {
            out.twice(&name.span(), "profile.name", &first, "expected a name of its own for each profile");
        }
        for slots in &profile.slots {
            let (range, span) = (slots.get_ref(), slots.span());
            let overlaps = |(other, _): &&(RangeInclusive<u16>, Span)| range.start() <= other.end() && other.start() <= range.end();
            if let Some((other, first)) = taken.iter().find(overlaps) {
                let both = range.start().max(other.start());
                let problem = format!("slot {both} is in a profile already, at line {}: expected each bay in one", out.line(first));
                out.value(&span, "profile.slots", problem);
            } else if let Some(empty) = range.clone().find(|wanted| !draft.ports.iter().any(|port| slot(&port.config) == Some(*wanted))) {
                out.value(&span, "profile.slots", format!("no [[blade]] has slot {empty}: expected slots that there are"));
            }
            taken.push((range.clone(), span));
        }
    }
    let functions: Vec<&str> = draft.steering.functions.iter().filter_map(|function| function.name()).collect();
    let of_profiles = draft.profiles.iter().flat_map(|profile| &profile.functions).map(|name| ("profile.functions", name));
    let of_blades = draft.ports.iter().flat_map(|port| &port.functions).map(|name| ("blade.functions", name));
    for (key, name) in of_profiles.chain(of_blades).filter(|(_, name)| !functions.contains(&name.get_ref().as_str())) {
        let likely = suggestion(name.get_ref(), functions.iter().copied());
        out.value(&name.span(), key, format!("no [[function]] has this name{likely}: expected the names of some"));
    }
}

/// A slot, or a range of them.
fn slots(value: &DeValue<'_>) -> Result<RangeInclusive<u16>, String> {
    const EXPECTED: &str = "expected a slot from 1 to 65535, or a range such as \"3-6\" with the lower slot first";
    let slot = |text: &str| text.parse::<u16>().ok().filter(|slot| *slot > 0);
    let range = match value {
        DeValue::Integer(_) => value::integer("", 1..=65_535)(value).ok().and_then(|slot| u16::try_from(slot).ok()).map(|slot| slot..=slot),
        DeValue::String(text) => match text.split_once('-') {
            Some((first, last)) => slot(first).zip(slot(last)).map(|(first, last)| first..=last),
            None => slot(text).map(|slot| slot..=slot),
        },
        _ => None,
    };
    range.filter(|range| !range.is_empty()).ok_or_else(|| EXPECTED.to_owned())
}

/// The beginning of a name.
fn prefix(value: &DeValue<'_>) -> Result<String, String> {
    let fits = |prefix: &String| prefix.len() <= PREFIX_MAX;
    value::name(value).ok().filter(fits).ok_or_else(|| {
        format!(
            "expected the beginning of a name, at most {PREFIX_MAX} letters, digits, `.`, `_` and `-`, the first a letter, such as \"web\""
        )
    })
}
