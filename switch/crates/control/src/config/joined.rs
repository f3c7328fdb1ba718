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
        let message = format!(
            "joined.silent_ms = {silent}: expected more than twice joined.hello_ms, which is {hello}: one lost hello would part the chassis"
        );
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

#[cfg(test)]
mod tests {
    use super::Config;

    const PORTS: &str = "[[blade]]\nslot = 1\n[[uplink]]\nname = \"t1\"\n";

    /// Each row: the section, the line of its one error behind the ports, the field, and what stands in the error.
    const REFUSED: &[(&str, usize, &str, &str)] = &[
        ("[joined]\ntrunks = [\"t1\"]\n", 5, "chassis", "the number of this chassis, 1 to 65535"),
        ("[joined]\nchassis = \"1\"\ntrunks = [\"t1\"]\n", 6, "joined.chassis", "expected"),
        ("[joined]\nchassis = 0\ntrunks = [\"t1\"]\n", 6, "joined.chassis", "expected a whole number from 1 to 65535"),
        ("[joined]\nchassis = 65536\ntrunks = [\"t1\"]\n", 6, "joined.chassis", "expected"),
        ("[joined]\nchassis = 1\n", 5, "trunks", "the names of the uplinks that lead to other chassis"),
        ("[joined]\nchassis = 1\ntrunks = 7\n", 7, "joined.trunks", "expected"),
        ("[joined]\nchassis = 1\ntrunks = [\"t2\"]\n", 7, "joined.trunks", "no [[uplink]] has this name: did you mean `t1`?"),
        ("[joined]\nchassis = 1\ntrunks = [\"blade1\"]\n", 7, "joined.trunks", "expected uplinks: a blade is no chassis"),
        ("[joined]\nchassis = 1\ntrunks = [\"t1\", \"t1\"]\n", 7, "joined.trunks", "each trunk once"),
        ("[joined]\nchassis = 1\ntrunks = [\"t1\"]\nhello_ms = \"soon\"\n", 8, "joined.hello_ms", "expected"),
        ("[joined]\nchassis = 1\ntrunks = [\"t1\"]\nhello_ms = 0\n", 8, "joined.hello_ms", "expected"),
        ("[joined]\nchassis = 1\ntrunks = [\"t1\"]\nhold_ms = 60001\n", 8, "joined.hold_ms", "expected"),
        ("[joined]\nchassis = 1\ntrunks = [\"t1\"]\nsilent_ms = 1.5\n", 8, "joined.silent_ms", "expected"),
        (
            "[joined]\nchassis = 1\ntrunks = [\"t1\"]\nsilent_ms = 200\n",
            8,
            "joined.silent_ms",
            "more than twice joined.hello_ms, which is 100",
        ),
        ("[joined]\nchassis = 1\ntrunks = [\"t1\"]\nholds_ms = 1\n", 8, "holds_ms", "did you mean `hold_ms`?"),
        ("[standby]\nlock = \"/run/l\"\n", 5, "switch.api", "[standby] needs switch.api"),
        ("[switch]\napi = \"/run/s\"\n[standby]\n", 7, "lock", "the path of a file, the same for all that stand by for each other"),
        ("[switch]\napi = \"/run/s\"\n[standby]\nlock = 7\n", 8, "standby.lock", "expected"),
        ("[switch]\napi = \"/run/s\"\n[standby]\nlock = \"/run/l\"\ncopy_ms = 9\n", 9, "standby.copy_ms", "expected"),
        ("[switch]\napi = \"/run/s\"\n[standby]\nlock = \"/run/l\"\ncopy_ms = \"1s\"\n", 9, "standby.copy_ms", "expected"),
        ("[switch]\napi = \"/run/s\"\n[standby]\nlock = \"/run/l\"\nsilent_ms = 60001\n", 9, "standby.silent_ms", "expected"),
        ("[switch]\napi = \"/run/s\"\n[standby]\nlock = \"/run/l\"\nsilent = 1\n", 9, "silent", "did you mean `silent_ms`?"),
        ("[[function]]\nname = \"web\"\nacross = \"yes\"\n", 7, "function.across", "expected"),
        ("[[function]]\nname = \"web\"\nreaddress = false\nacross = \"anywhere\"\n", 8, "function.across", "readdress = true"),
    ];

    #[test]
    fn bad_input_is_refused_with_file_line_and_field() {
        for (section, line, field, words) in REFUSED {
            let text = format!("{PORTS}{section}");
            let errors = Config::parse(&text, "c.toml").expect_err(section).to_string();
            let begins = format!("c.toml:{line}:");
            assert!(errors.starts_with(&begins) && errors.contains(field) && errors.contains(words), "{section}\n{errors}");
        }
    }
}
