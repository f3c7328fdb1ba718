//! Errors of a configuration, each with its place in the file.
//!
//! A configuration is read to its end: one run shows every error there is, in the order of the file. The text of an
//! error names the key, what stands there and what was expected, so that it can be mended without the manual.
//!
//! Limits: [`ERRORS_MAX`] errors are kept, the rest is counted.

use std::fmt;
use std::ops::Range;

use serde::Serialize;

pub(super) use port::spec::suggestion;

/// Errors that are kept and shown; further ones are only counted.
pub const ERRORS_MAX: usize = 100;

/// Most characters of the file that an error quotes.
const EXCERPT_MAX: usize = 48;

/// One error of a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConfigError {
    /// The file, as it was named by whoever asked for it.
    pub file: String,
    /// Line, from 1; 0 when the file as a whole is at fault (it is missing, it has no port).
    pub line: u32,
    /// Column in characters, from 1; 0 when the file as a whole is at fault.
    pub column: u32,
    /// The key, such as `blade.speed`; where the text is not TOML, what stands before `=`.
    pub key: String,
    /// What is wrong and what was expected, in one line that names the key.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.message),
            line => write!(f, "{}:{line}:{}: {}", self.file, self.column, self.message),
        }
    }
}

impl std::error::Error for ConfigError {}

/// All errors of a configuration, in the order of the file; never empty. Displayed one per line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConfigErrors {
    /// The first [`ERRORS_MAX`] errors.
    pub errors: Vec<ConfigError>,
    /// How many more there were.
    pub left_off: usize,
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{error}")?;
        }
        if self.left_off > 0 {
            write!(f, "\nand {} more errors", self.left_off)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// Bytes of the configuration text.
pub(super) type Span = Range<usize>;

/// The text of a configuration and what has been found wrong with it so far.
pub(super) struct Findings<'a> {
    file: &'a str,
    text: &'a str,
    /// Where each line begins.
    line_starts: Vec<usize>,
    found: Vec<Finding>,
    /// Errors beyond [`FINDINGS_MAX`].
    not_kept: usize,
}

/// An error before its place is worked out.
struct Finding {
    /// `None`: the file as a whole.
    offset: Option<usize>,
    key: String,
    message: String,
}

/// Errors kept while reading, from which the first [`ERRORS_MAX`] are shown: sections are not read in the order of the file.
const FINDINGS_MAX: usize = 10 * ERRORS_MAX;

impl<'a> Findings<'a> {
    pub(super) fn new(file: &'a str, text: &'a str) -> Self {
        let line_starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Findings { file, text, line_starts, found: Vec::new(), not_kept: 0 }
    }

    /// Notes an error at `span`.
    pub(super) fn at(&mut self, span: &Span, key: impl Into<String>, message: impl Into<String>) {
        self.note(Finding { offset: Some(span.start), key: key.into(), message: message.into() });
    }

    /// Notes an error about the value at `span`: `key = value: problem`.
    pub(super) fn value(&mut self, span: &Span, key: &str, problem: impl fmt::Display) {
        let message = format!("{key} = {}: {problem}", self.excerpt(span));
        self.at(span, key, message);
    }

    /// Notes that the value at `span` was given before, at `first`.
    pub(super) fn twice(&mut self, span: &Span, key: &str, first: &Span, expected: &str) {
        let message = format!("{key} = {} is used twice: first at line {}; {expected}", self.excerpt(span), self.line(first));
        self.at(span, key, message);
    }

    /// Notes an error of the file as a whole.
    pub(super) fn whole(&mut self, key: &str, message: impl Into<String>) {
        self.note(Finding { offset: None, key: key.to_owned(), message: message.into() });
    }

    /// The line of `span`, from 1.
    pub(super) fn line(&self, span: &Span) -> u32 {
        u32::try_from(self.line_index(span.start) + 1).unwrap_or(u32::MAX)
    }

    /// What stands at `span`: one line, shortened, as it is in the file.
    pub(super) fn excerpt(&self, span: &Span) -> String {
        let text = self.text.get(span.clone()).unwrap_or("");
        let line = text.split(['\n', '\r']).next().unwrap_or("");
        match line.char_indices().nth(EXCERPT_MAX) {
            Some((end, _)) => format!("{}…", &line[..end]),
            None if line.len() < text.len() => format!("{line}…"),
            None => line.to_owned(),
        }
    }

    /// The whole line that `span` begins in, shortened.
    pub(super) fn line_text(&self, span: &Span) -> String {
        let start = self.line_starts[self.line_index(span.start)];
        let line = self.text[start..].lines().next().unwrap_or("");
        let indent = line.len() - line.trim_start().len();
        self.excerpt(&(start + indent..start + line.len()))
    }

    /// Nothing was found wrong.
    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// What was found, in the order of the file; what concerns all of it comes first.
    pub(super) fn into_errors(mut self) -> ConfigErrors {
        self.found.sort_by_key(|finding| finding.offset);
        let left_off = self.found.len().saturating_sub(ERRORS_MAX) + self.not_kept;
        let found = std::mem::take(&mut self.found);
        let placed = |finding: Finding| {
            let (line, column) = finding.offset.map_or((0, 0), |offset| (self.line(&(offset..offset)), self.column(offset)));
            ConfigError { file: self.file.to_owned(), line, column, key: finding.key, message: finding.message }
        };
        ConfigErrors { errors: found.into_iter().take(ERRORS_MAX).map(placed).collect(), left_off }
    }

    fn note(&mut self, finding: Finding) {
        if self.found.len() < FINDINGS_MAX {
            self.found.push(finding);
        } else {
            self.not_kept += 1;
        }
    }

    /// The line of a byte, from 0. Bytes beyond the text are in the last one.
    fn line_index(&self, offset: usize) -> usize {
        // The first line starts at 0, which is not beyond any offset.
        self.line_starts.partition_point(|&start| start <= offset) - 1
    }

    /// The column of a byte, in characters from 1.
    fn column(&self, offset: usize) -> u32 {
        let start = self.line_starts[self.line_index(offset)];
        let count = self.text[start..].char_indices().take_while(|(at, _)| start + at < offset).count();
        u32::try_from(count + 1).unwrap_or(u32::MAX)
    }
}
