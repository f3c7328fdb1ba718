//! One section of the file: which keys it has, and reading their values one by one.
//!
//! Derived deserialisation would stop at the first error; here every key is read for itself and every error noted, with its
//! place. What a value means is a function from `value`; a section finds the value, calls it, and notes the problem.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{Findings, Span, suggestion};

/// The name of a section, how often it stands in a file, and its keys.
pub(super) struct SectionSchema {
    pub(super) name: &'static str,
    /// `[[name]]`, any number of times; otherwise `[name]`, at most once.
    pub(super) repeated: bool,
    pub(super) keys: &'static [&'static str],
}

impl SectionSchema {
    /// As it stands in a file.
    pub(super) fn title(&self) -> String {
        if self.repeated { format!("[[{}]]", self.name) } else { format!("[{}]", self.name) }
    }
}

/// A section of the file; one that is left out has no keys.
pub(super) struct Section<'a, 'i> {
    schema: &'static SectionSchema,
    table: Option<&'a DeTable<'i>>,
    /// Its header.
    pub(super) span: Span,
}

impl<'a, 'i> Section<'a, 'i> {
    /// Does this key stand in the section, right or wrong?
    pub(super) fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// How many values `key` has, right or wrong.
    pub(super) fn count(&self, key: &str) -> usize {
        self.get(key).map_or(0, |value| value.get_ref().as_array().map_or(1, |values| values.len()))
    }

    /// Its name, without brackets.
    pub(super) fn name(&self) -> &'static str {
        self.schema.name
    }

    /// Its name, with brackets.
    pub(super) fn title(&self) -> String {
        self.schema.title()
    }

    /// The full name of a key.
    pub(super) fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.schema.name)
    }

    /// The place of the key's value; of the section when the key is left out.
    pub(super) fn span_of(&self, key: &str) -> Span {
        self.get(key).map_or_else(|| self.span.clone(), Spanned::span)
    }

    /// The value of `key`, if it is there and right.
    pub(super) fn read<T>(
        &self,
        out: &mut Findings<'_>,
        key: &str,
        read: impl Fn(&DeValue<'_>) -> Result<T, String>,
    ) -> Option<Spanned<T>> {
        self.read_one(out, key, self.get(key)?, &read)
    }

    /// The values of `key` that are right. A single value may stand without brackets.
    pub(super) fn read_list<T>(
        &self,
        out: &mut Findings<'_>,
        key: &str,
        read: impl Fn(&DeValue<'_>) -> Result<T, String>,
    ) -> Vec<Spanned<T>> {
        match self.get(key) {
            None => Vec::new(),
            Some(value) => match value.get_ref() {
                DeValue::Array(values) => values.iter().filter_map(|value| self.read_one(out, key, value, &read)).collect(),
                _ => self.read_one(out, key, value, &read).into_iter().collect(),
            },
        }
    }

    /// The table at `key`, if it is there and is one.
    pub(super) fn inner(
        &self,
        out: &mut Findings<'_>,
        key: &str,
        schema: &'static SectionSchema,
        schemas: Schemas,
    ) -> Option<Section<'a, 'i>> {
        open(self.get(key)?, schema, schemas, out)
    }

    /// Notes that a key is missing that has no default.
    pub(super) fn missing(&self, out: &mut Findings<'_>, key: &str, expected: &str) {
        let name = self.key(key);
        out.at(&self.span, name.clone(), format!("{name} is missing: expected {expected}"));
    }

    fn get(&self, key: &str) -> Option<&'a Spanned<DeValue<'i>>> {
        debug_assert!(self.schema.keys.contains(&key), "{key} is not among the keys of {}", self.schema.title());
        self.table?.get(key)
    }

    fn read_one<T>(
        &self,
        out: &mut Findings<'_>,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        read: impl Fn(&DeValue<'_>) -> Result<T, String>,
    ) -> Option<Spanned<T>> {
        let span = value.span();
        match read(value.get_ref()) {
            Ok(read) => Some(Spanned::new(span, read)),
            Err(problem) => {
                out.value(&span, &self.key(key), problem);
                None
            }
        }
    }
}

/// The section of a schema that stands at most once.
pub(super) fn single<'a, 'i>(
    root: &'a DeTable<'i>,
    schema: &'static SectionSchema,
    schemas: Schemas,
    out: &mut Findings<'_>,
) -> Section<'a, 'i> {
    let nothing = Section { schema, table: None, span: 0..0 };
    match root.get(schema.name) {
        None => nothing,
        Some(value) => open(value, schema, schemas, out).unwrap_or(nothing),
    }
}

/// The sections of a schema that stands any number of times.
pub(super) fn repeated<'a, 'i>(
    root: &'a DeTable<'i>,
    schema: &'static SectionSchema,
    schemas: Schemas,
    out: &mut Findings<'_>,
) -> Vec<Section<'a, 'i>> {
    match root.get(schema.name).map(|value| (value, value.get_ref())) {
        None => Vec::new(),
        Some((_, DeValue::Array(values))) => values.iter().filter_map(|value| open(value, schema, schemas, out)).collect(),
        Some((value, _)) => {
            let (title, name) = (schema.title(), schema.name);
            out.value(&value.span(), name, format!("expected {title}, with two pairs of brackets, once for each {name}"));
            Vec::new()
        }
    }
}

/// All sections there are.
pub(super) type Schemas = &'static [&'static SectionSchema];

/// Notes the keys at the top of the file that are no sections.
pub(super) fn refuse_unknown_sections(root: &DeTable<'_>, schemas: Schemas, out: &mut Findings<'_>) {
    let known: Vec<&str> = schemas.iter().map(|schema| schema.name).collect();
    refuse_unknown(root, "at the top of the file", "", &known, schemas, out);
}

fn open<'a, 'i>(
    value: &'a Spanned<DeValue<'i>>,
    schema: &'static SectionSchema,
    schemas: Schemas,
    out: &mut Findings<'_>,
) -> Option<Section<'a, 'i>> {
    let DeValue::Table(table) = value.get_ref() else {
        out.value(&value.span(), schema.name, format!("expected a section {}", schema.title()));
        return None;
    };
    refuse_unknown(table, &format!("in {}", schema.title()), &format!("{}.", schema.name), schema.keys, schemas, out);
    Some(Section { schema, table: Some(table), span: value.span() })
}

fn refuse_unknown(table: &DeTable<'_>, place: &str, prefix: &str, known: &[&str], schemas: Schemas, out: &mut Findings<'_>) {
    for key in table.keys() {
        let word: &str = key.get_ref();
        if known.contains(&word) {
            continue;
        }
        let shown = out.excerpt(&key.span());
        let elsewhere: Vec<String> = schemas.iter().filter(|schema| schema.keys.contains(&word)).map(|schema| schema.title()).collect();
        let hint = match elsewhere.as_slice() {
            [] => suggestion(word, known.iter().copied()),
            titles => format!(": it is a key of {}", titles.join(", ")),
        };
        let message = format!("unknown key `{shown}` {place}{hint} (known keys: {})", known.join(", "));
        out.at(&key.span(), format!("{prefix}{shown}"), message);
    }
}
