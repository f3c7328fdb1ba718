//! `probe` of a `[[function]]` or a `[[blade]]`: asking a blade again and again whether it is well.

use serde::Serialize;
use toml::Spanned;

use super::error::{Findings, Span};
use super::section::{Schemas, Section, SectionSchema};
use super::value;

const KEYS: &[&str] = &["kind", "interval_ms", "timeout_ms", "fall", "rise", "run"];
/// The keys of the table in a function.
pub(super) const OF_FUNCTION: SectionSchema = SectionSchema { name: "function.probe", repeated: false, keys: KEYS };
/// The keys of the table in a blade.
pub(super) const OF_BLADE: SectionSchema = SectionSchema { name: "blade.probe", repeated: false, keys: KEYS };

/// How a blade is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ProbeKind {
    /// Whether its IPv4 address is there: an ARP probe (RFC 5227 §1.1), which needs no address to ask from.
    Arp,
    /// To execute a function: a control message (paragraph 55), which its agent acknowledges when that is done.
    Execute,
}

/// How a blade is asked, how often, and what follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProbeConfig {
    /// How.
    pub kind: ProbeKind,
    /// Milliseconds from one question to the next.
    pub interval_ms: u64,
    /// Milliseconds that an answer may take, at most [`interval_ms`](Self::interval_ms).
    pub timeout_ms: u64,
    /// A blade is failing after so many questions in a row without a right answer, from 1.
    pub fall: u32,
    /// A blade that was failing, or was away, is well after so many right answers in a row, from 1.
    pub rise: u32,
    /// What is executed; `None`: what has the name of the function.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
}

/// Reads the table `probe` of `section`; `None` if it is not there, or an error was noted.
pub(super) fn read(
    section: &Section<'_, '_>,
    schema: &'static SectionSchema,
    schemas: Schemas,
    out: &mut Findings<'_>,
) -> Option<ProbeConfig> {
    const KIND: &[(&str, ProbeKind)] = &[("arp", ProbeKind::Arp), ("execute", ProbeKind::Execute)];
    let table = section.inner(out, "probe", schema, schemas)?;
    let kind = table.read(out, "kind", value::choice(KIND));
    if !table.has("kind") {
        table.missing(out, "kind", "how the blade is asked, \"arp\" or \"execute\"");
    }
    let mut number = |key, unit, range, default| table.read(out, key, value::integer(unit, range)).map_or(default, Spanned::into_inner);
    let interval_ms = number("interval_ms", "milliseconds", 10..=3_600_000, 1000);
    let timeout_ms = number("timeout_ms", "milliseconds", 1..=3_600_000, interval_ms.min(200));
    let (fall, rise) = (number("fall", "questions", 1..=1000, 3) as u32, number("rise", "answers", 1..=1000, 2) as u32);
    let run = table.read(out, "run", value::name).map(Spanned::into_inner);
    if timeout_ms > interval_ms {
        let problem = format!("an answer must be there before the next question: expected at most interval_ms = {interval_ms}");
        out.value(&table.span_of("timeout_ms"), &table.key("timeout_ms"), problem);
    }
    let kind = kind?.into_inner();
    if kind != ProbeKind::Execute && table.has("run") {
        let problem = "is a key of kind = \"execute\": expected that, or no `run`";
        out.value(&table.span_of("run"), &table.key("run"), problem);
    }
    if kind == ProbeKind::Execute && schema.name == OF_BLADE.name && !table.has("run") {
        table.missing(out, "run", "what the blade is to execute, as in `run = \"health\"`");
    }
    Some(ProbeConfig { kind, interval_ms, timeout_ms, fall, rise, run })
}

/// Notes an ARP probe, at `span`, where nothing is learned from ARP.
pub(super) fn check_learn(key: &str, probe: Option<&ProbeConfig>, span: Option<&Span>, learn: bool, out: &mut Findings<'_>) {
    if let Some(span) = span.filter(|_| !learn && probe.is_some_and(|probe| probe.kind == ProbeKind::Arp)) {
        out.at(span, key, format!("{key}: kind = \"arp\" hears answers where neighbours are learned from: expected identity.learn = true"));
    }
}
