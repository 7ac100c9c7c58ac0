//! What a target answers: the formats, which of them a response is in, and how each is read.
//!
//! A grammar ([`text`], [`openmetrics`]) takes a page apart line by line; what a line means is
//! decided once and remembered (`cache.rs`), so a grammar has three steps that can be taken at any
//! place of a page: the comments before a series, the series, and what follows it.

pub(crate) mod by_line;
pub(crate) mod classic;
pub(crate) mod native;
pub(crate) mod number;
pub(crate) mod openmetrics;
pub(crate) mod protobuf;
pub(crate) mod protocol;
pub(crate) mod text;

use std::borrow::Cow;
use std::ops::Range;

use model::{Labels, MetricType};

use crate::sample_rules::Exposed;
use native::AnyNative;

/// A format that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Format {
    /// `text/plain`, versions 0.0.4 and 1.0.0: the same grammar reads both.
    Text,
    /// `application/openmetrics-text`, versions 0.0.1 and 1.0.0.
    OpenMetrics,
    /// `application/vnd.google.protobuf`, delimited `io.prometheus.client.MetricFamily`.
    Protobuf,
}

/// Takes pages of one format apart.
pub(crate) trait Grammar {
    /// Whether `\"` is an escape in help texts.
    const HELP_HAS_QUOTES: bool;

    /// Reads comments and blank lines from `at` (the start of a line) to the next series or the
    /// end, and tells `found` about each `HELP`, `TYPE` and `UNIT`.
    ///
    /// # Errors
    /// When one of them is malformed.
    fn comments<'b>(
        page: &'b [u8],
        at: usize,
        found: &mut dyn FnMut(Metadata<'b>),
    ) -> Result<Next, SyntaxError>;

    /// Reads name and labels of the series that starts at `at` (the start of a line), and says
    /// where they end.
    ///
    /// # Errors
    /// When it is malformed.
    fn series(page: &[u8], at: usize, parts: &mut SeriesParts) -> Result<usize, SyntaxError>;

    /// Whether the series whose bytes end at `end` can end there: a bare name must not go on, and
    /// no labels may follow.
    fn ends_series(page: &[u8], end: usize) -> bool;

    /// Reads what follows a series that ends at `end`: value, timestamp, exemplar, line break.
    /// `start` is where the line started.
    ///
    /// # Errors
    /// When it is malformed.
    fn sample(page: &[u8], start: usize, end: usize) -> Result<Sample, SyntaxError>;
}

/// Takes the samples of a page whose format is not read line by line.
pub(crate) trait Entries {
    /// Why the page cannot be taken.
    type Fault: From<SyntaxError>;

    /// Hears what is said about the family of the samples that follow.
    fn metadata(&mut self, metadata: &[Metadata<'_>]);

    /// Takes one sample.
    ///
    /// # Errors
    /// When the whole page must be refused because of it.
    fn entry(&mut self, entry: Entry<'_>) -> Result<(), Self::Fault>;
}

/// One sample of such a page.
#[derive(Debug)]
pub(crate) struct Entry<'e> {
    /// Tells the series of the page apart.
    pub(crate) key: &'e [u8],
    /// The series; labels in canonical form.
    pub(crate) exposed: Exposed<'e>,
    /// The value.
    pub(crate) value: EntryValue,
    /// Milliseconds since the epoch, if the target says.
    pub(crate) timestamp_ms: Option<i64>,
    /// Exemplars.
    pub(crate) exemplars: Vec<RawExemplar>,
    /// Since when the series counts, in milliseconds since the epoch.
    pub(crate) created_ms: Option<i64>,
}

/// The value of such a sample.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum EntryValue {
    /// A number; every NaN is the same one.
    Float(f64),
    /// A native histogram.
    Histogram(Box<AnyNative>),
}

/// What stands after some comments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// A line that is a series, if it is anything.
    Series(usize),
    /// Nothing: the page ends here.
    End(usize),
}

/// A metadata line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Metadata<'b> {
    /// The family it speaks of, as it is written.
    pub(crate) family: &'b [u8],
    /// What it says.
    pub(crate) says: Says<'b>,
}

/// What a metadata line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Says<'b> {
    /// `# HELP`, still escaped; valid UTF-8.
    Help(&'b [u8]),
    /// `# TYPE`
    Type(MetricType),
    /// `# UNIT`
    Unit(&'b [u8]),
}

/// Where name and labels of one series are in its page.
#[derive(Debug, Clone, Default)]
pub(crate) struct SeriesParts {
    /// The metric name, without quotes.
    pub(crate) name: Range<usize>,
    /// Each label's name and value, without quotes, in the order of the page.
    pub(crate) labels: Vec<(Range<usize>, Range<usize>)>,
}

/// What follows a series.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    /// The value; every NaN is the same one.
    pub(crate) value: f64,
    /// Milliseconds since the epoch, if the target says.
    pub(crate) timestamp_ms: Option<i64>,
    /// OpenMetrics only.
    pub(crate) exemplar: Option<Box<RawExemplar>>,
    /// Where the next line starts.
    pub(crate) next: usize,
}

/// An exemplar as it was read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RawExemplar {
    /// Its labels; not yet checked.
    pub(crate) labels: Labels,
    /// Its value.
    pub(crate) value: f64,
    /// Milliseconds since the epoch, if the target says.
    pub(crate) timestamp_ms: Option<i64>,
}

/// What is wrong with a page, in Prometheus' words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct SyntaxError(pub(crate) String);

/// Most characters of names and values that the labels of one exemplar have.
const EXEMPLAR_CHARS_MAX: usize = 128;

/// The labels of an exemplar; none if Prometheus drops it: a label twice, or too many characters.
pub(crate) fn exemplar_labels<T: AsRef<str>>(
    pairs: impl Iterator<Item = (T, T)>,
) -> Option<Labels> {
    let pairs: Vec<(T, T)> = pairs.filter(|(_, value)| !value.as_ref().is_empty()).collect();
    let length = |text: &T| text.as_ref().chars().count();
    let chars: usize = pairs.iter().map(|(name, value)| length(name) + length(value)).sum();
    let labels: Labels =
        pairs.iter().map(|(name, value)| (name.as_ref(), value.as_ref())).collect();
    (chars <= EXEMPLAR_CHARS_MAX && labels.len() == pairs.len()).then_some(labels)
}

impl Sample {
    /// A value without anything beside it.
    #[inline]
    pub(crate) fn plain(value: f64, next: usize) -> Sample {
        Sample { value, timestamp_ms: None, exemplar: None, next }
    }
}

/// `expected …, got "x" ("KIND") while parsing: "the line so far"`, for what stands at `at` of a
/// line that starts at `start`. The next character is shown too, as Prometheus does.
#[cold]
pub(crate) fn unexpected(page: &[u8], start: usize, at: usize, expected: &str) -> SyntaxError {
    let word = || page[at..].iter().take_while(|byte| text::is_name_byte(**byte)).count();
    let among_labels = matches!(expected, "expected equal" | "expected comma or brace close");
    let (kind, bytes) = match page.get(at) {
        None => ("EOF", 0),
        Some(b'{') => ("BOPEN", 1),
        Some(b'}') => ("BCLOSE", 1),
        Some(b',') => ("COMMA", 1),
        Some(b'=') => ("EQUAL", 1),
        Some(byte) if among_labels && text::is_label_start(*byte) => ("LNAME", word()),
        Some(_) => ("INVALID", 0),
    };
    let end = (at + bytes + 1).min(page.len());
    let (got, line) = (number::quoted(&page[at..end]), number::quoted(&page[start..end]));
    SyntaxError(format!("{expected}, got {got} (\"{kind}\") while parsing: {line}"))
}

/// Undoes the escapes of a name or label value: `\"`, `\\` and `\n`; others stay as they are.
pub(crate) fn unescape(text: &str) -> Cow<'_, str> {
    unescape_some(text, b"\"\\n")
}

/// Undoes the escapes of a help text of the text format: `\\` and `\n`.
pub(crate) fn unescape_help(text: &str) -> Cow<'_, str> {
    unescape_some(text, b"\\n")
}

fn unescape_some<'t>(text: &'t str, known: &[u8]) -> Cow<'t, str> {
    let Some(first) = memchr::memchr(b'\\', text.as_bytes()) else {
        return Cow::Borrowed(text);
    };
    let mut out = String::with_capacity(text.len());
    out.push_str(&text[..first]);
    let mut rest = &text[first..];
    while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
        out.push_str(&rest[..at]);
        let escaped = rest.as_bytes().get(at + 1).copied().filter(|byte| known.contains(byte));
        match escaped {
            Some(b'n') => out.push('\n'),
            Some(byte) => out.push(char::from(byte)),
            None => out.push('\\'),
        }
        rest = &rest[at + 1 + usize::from(escaped.is_some())..];
    }
    out.push_str(rest);
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_escapes_are_undone_and_others_stay() {
        assert_eq!(unescape("plain"), "plain");
        assert_eq!(unescape(r#"a\"b\\n\nc\x\"#), "a\"b\\n\nc\\x\\");
        assert_eq!(unescape_help(r#"a\"b\\\n"#), "a\\\"b\\\n");
    }
}
