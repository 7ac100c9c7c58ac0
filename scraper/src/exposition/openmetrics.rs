//! OpenMetrics text, 0.0.1 and 1.0.0, as laxly and as strictly as Prometheus 3.14 reads it.
//!
//! Stricter than the text format: single spaces, no blank lines, no comments but metadata, and
//! `# EOF` last. Laxer than the specification: families may come in any order, suffixes are not
//! checked, and any sample may have an exemplar.
//! Timestamps are seconds with a fraction; milliseconds are cut off, not rounded.

use std::ops::Range;

use model::MetricType;

use super::number::{self, NumberError, quoted};
use super::text::{is_label_start, is_name_byte, is_name_start, string_end};
use super::{
    Grammar, Metadata, Next, RawExemplar, Sample, Says, SeriesParts, SyntaxError, exemplar_labels,
};

/// The grammar of OpenMetrics text.
#[derive(Debug)]
pub(crate) struct OpenMetrics;

/// A place in a page, and where the line started, for messages.
struct Cursor<'b> {
    page: &'b [u8],
    start: usize,
    at: usize,
}

const NO_EOF: &str = "data does not end with # EOF";

impl Grammar for OpenMetrics {
    const HELP_HAS_QUOTES: bool = true;

    fn comments<'b>(
        page: &'b [u8],
        at: usize,
        found: &mut dyn FnMut(Metadata<'b>),
    ) -> Result<Next, SyntaxError> {
        let mut start = at;
        loop {
            let mut cursor = Cursor { page, start, at: start };
            match cursor.peek() {
                None => return Err(SyntaxError(NO_EOF.to_owned())),
                Some(b'#') => match cursor.comment(found)? {
                    Next::Series(next) => start = next,
                    end => return Ok(end),
                },
                Some(_) => return Ok(Next::Series(start)),
            }
        }
    }

    fn series(page: &[u8], at: usize, parts: &mut SeriesParts) -> Result<usize, SyntaxError> {
        let mut cursor = Cursor { page, start: at, at };
        parts.labels.clear();
        match cursor.peek() {
            Some(b'{') => cursor.series_labels(None, parts),
            Some(byte) if is_name_start(byte) => {
                cursor.skip_while(is_name_byte);
                parts.name = at..cursor.at;
                if cursor.peek() == Some(b'{') {
                    return cursor.series_labels(Some(at..cursor.at), parts);
                }
                Ok(cursor.at)
            }
            _ => Err(cursor.unexpected("expected a valid start token")),
        }
    }

    fn ends_series(page: &[u8], end: usize) -> bool {
        let closed = end.checked_sub(1).and_then(|last| page.get(last)) == Some(&b'}');
        closed || !page.get(end).is_some_and(|byte| is_name_byte(*byte) || *byte == b'{')
    }

    fn sample(page: &[u8], start: usize, end: usize) -> Result<Sample, SyntaxError> {
        let mut cursor = Cursor { page, start, at: end };
        let value = cursor.float("expected value after metric")?;
        let timestamp_ms = cursor.timestamp("invalid timestamp")?;
        let exemplar = if cursor.rest().starts_with(b" # {") {
            cursor.at += 4;
            cursor.exemplar()?.map(Box::new)
        } else {
            None
        };
        match cursor.peek() {
            Some(b'\n') => Ok(Sample { value, timestamp_ms, exemplar, next: cursor.at + 1 }),
            None => Err(SyntaxError(NO_EOF.to_owned())),
            Some(_) if timestamp_ms.is_some() => {
                Err(cursor.unexpected("expected next entry after timestamp"))
            }
            Some(_) => Err(cursor.unexpected("expected timestamp or comment")),
        }
    }
}

// === impl Cursor ===

impl<'b> Cursor<'b> {
    fn peek(&self) -> Option<u8> {
        self.page.get(self.at).copied()
    }

    fn rest(&self) -> &'b [u8] {
        &self.page[self.at..]
    }

    fn skip_while(&mut self, wanted: impl Fn(u8) -> bool) {
        while self.peek().is_some_and(&wanted) {
            self.at += 1;
        }
    }

    /// From a `#`: to the next line, or to the end of the page.
    fn comment(&mut self, found: &mut dyn FnMut(Metadata<'b>)) -> Result<Next, SyntaxError> {
        let line = self.rest();
        if let Some(rest) = line.strip_prefix(b"# EOF") {
            let rest = rest.strip_prefix(b"\n").unwrap_or(rest);
            // Prometheus' lexer passes over NULs here.
            if rest.iter().any(|byte| *byte != 0) {
                return Err(SyntaxError("unexpected data after # EOF".to_owned()));
            }
            return Ok(Next::End(self.page.len()));
        }
        let word = match line {
            _ if line.starts_with(b"# HELP ") => "HELP",
            _ if line.starts_with(b"# TYPE ") => "TYPE",
            _ if line.starts_with(b"# UNIT ") => "UNIT",
            _ => return Err(self.unexpected("expected a valid start token")),
        };
        self.at += 7;
        let family = self.family(word)?;
        let length = memchr::memchr(b'\n', self.rest());
        let (Some(b' '), Some(length)) = (self.peek(), length) else {
            return Err(SyntaxError(format!("expected text in {word}")));
        };
        let text = &self.page[self.at + 1..self.at + length];
        let says = match word {
            "HELP" => help(text)?,
            "TYPE" => Says::Type(metric_type(text)?),
            _ => unit(family, text)?,
        };
        found(Metadata { family, says });
        Ok(Next::Series(self.at + length + 1))
    }

    /// The family's name in a metadata line, without quotes.
    fn family(&mut self, word: &str) -> Result<&'b [u8], SyntaxError> {
        let (from, page) = (self.at, self.page);
        let expected = || format!("expected metric name after {word}");
        match self.peek() {
            Some(b'"') => {
                let end = string_end(page, from, false);
                self.at = end.ok_or_else(|| self.unexpected(&expected()))?;
                Ok(&page[from + 1..self.at - 1])
            }
            Some(byte) if is_name_start(byte) => {
                self.skip_while(is_name_byte);
                Ok(&page[from..self.at])
            }
            _ => Err(self.unexpected(&expected())),
        }
    }

    /// Labels of a series from the opening brace on; says where the series ends.
    fn series_labels(
        &mut self,
        bare_name: Option<Range<usize>>,
        parts: &mut SeriesParts,
    ) -> Result<usize, SyntaxError> {
        self.at += 1;
        let mut name = bare_name;
        self.labels(&mut parts.labels, Some(&mut name))?;
        parts.name = name.ok_or_else(|| self.wrong("metric name not set"))?;
        Ok(self.at)
    }

    /// Labels up to the closing brace. A quoted string alone is the metric name, if there may be
    /// one; if not, these are labels of an exemplar, whose values hold no NUL.
    fn labels(
        &mut self,
        labels: &mut Vec<(Range<usize>, Range<usize>)>,
        mut name: Option<&mut Option<Range<usize>>>,
    ) -> Result<(), SyntaxError> {
        loop {
            let from = self.at;
            let quote = match self.peek() {
                Some(b'}') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'"') => {
                    let end = string_end(self.page, from, false);
                    self.at = end.ok_or_else(|| self.unexpected("expected label name"))?;
                    1
                }
                Some(byte) if is_label_start(byte) => {
                    self.skip_while(|byte| is_label_start(byte) || byte.is_ascii_digit());
                    0
                }
                _ => return Err(self.unexpected("expected label name")),
            };
            let written = from + quote..self.at - quote;
            match (self.peek(), &mut name) {
                (Some(b'='), _) => self.at += 1,
                (Some(end @ (b',' | b'}')), Some(name)) if quote == 1 => {
                    self.at += 1;
                    if name.is_some() {
                        return Err(self.wrong("metric name already set"));
                    }
                    **name = Some(written);
                    if end == b'}' {
                        return Ok(());
                    }
                    continue;
                }
                (Some(b',' | b'}'), None) if quote == 1 => {
                    return Err(self.unexpected("expected label name"));
                }
                _ => return Err(self.unexpected("expected equal")),
            }
            labels.push((written, self.label_value(name.is_some())?));
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {}
                _ => return Err(self.unexpected("expected comma or brace close")),
            }
        }
    }

    fn label_value(&mut self, may_hold_nul: bool) -> Result<Range<usize>, SyntaxError> {
        let from = self.at;
        let end = match self.peek() {
            Some(b'"') => string_end(self.page, from, may_hold_nul),
            _ => None,
        };
        let whole = |end: &usize| memchr::memchr(b'\n', &self.page[from..*end]).is_none();
        let end = end.filter(whole);
        self.at = end.ok_or_else(|| self.unexpected("expected label value"))?;
        let value = from + 1..self.at - 1;
        if std::str::from_utf8(&self.page[value.clone()]).is_err() {
            let text = quoted(&self.page[from..self.at]);
            return Err(SyntaxError(format!("invalid UTF-8 label value: {text}")));
        }
        Ok(value)
    }

    /// A space and what follows it up to the next one.
    fn word(&mut self) -> Option<&'b [u8]> {
        if self.peek() != Some(b' ') {
            return None;
        }
        let from = self.at + 1;
        let length = self.page[from..].iter().take_while(|byte| !matches!(byte, b' ' | b'\n' | 0));
        let end = from + length.count();
        if end == from {
            return None;
        }
        self.at = end;
        Some(&self.page[from..end])
    }

    fn float(&mut self, expected: &str) -> Result<f64, SyntaxError> {
        let token = self.word().ok_or_else(|| self.unexpected(expected))?;
        number::parse_float(token).map_err(|error| self.bad_number(&error))
    }

    /// An optional timestamp in seconds, in milliseconds.
    fn timestamp(&mut self, invalid: &str) -> Result<Option<i64>, SyntaxError> {
        if self.peek() != Some(b' ') || self.rest().starts_with(b" # {") {
            return Ok(None);
        }
        let Some(token) = self.word() else { return Ok(None) };
        let seconds = number::parse_float(token).map_err(|error| self.bad_number(&error))?;
        if !seconds.is_finite() {
            let shown = number::format_float(seconds);
            return Err(SyntaxError(format!("{invalid} {shown}")));
        }
        Ok(Some((seconds * 1000.0) as i64))
    }

    /// From after the opening brace to before the line break. None if the exemplar is one that
    /// Prometheus drops: a label twice, or too many characters.
    fn exemplar(&mut self) -> Result<Option<RawExemplar>, SyntaxError> {
        let mut parts = Vec::new();
        self.labels(&mut parts, None)?;
        let value = self.float("expected value after exemplar labels")?;
        let timestamp_ms = self.timestamp("invalid exemplar timestamp")?;
        let text = |range: &Range<usize>| String::from_utf8_lossy(&self.page[range.clone()]);
        let labels = exemplar_labels(parts.iter().map(|(name, value)| (text(name), text(value))));
        Ok(labels.map(|labels| RawExemplar { labels, value, timestamp_ms }))
    }

    #[cold]
    fn unexpected(&self, expected: &str) -> SyntaxError {
        super::unexpected(self.page, self.start, self.at, expected)
    }

    #[cold]
    fn wrong(&self, what: &str) -> SyntaxError {
        let line = quoted(&self.page[self.start..self.at]);
        SyntaxError(format!("{what} while parsing: {line}"))
    }

    #[cold]
    fn bad_number(&self, error: &NumberError) -> SyntaxError {
        self.wrong(&error.to_string())
    }
}

fn help(text: &[u8]) -> Result<Says<'_>, SyntaxError> {
    match std::str::from_utf8(text) {
        Ok(_) => Ok(Says::Help(text)),
        Err(_) => {
            Err(SyntaxError(format!("help text {} is not a valid utf8 string", quoted(text))))
        }
    }
}

fn metric_type(word: &[u8]) -> Result<MetricType, SyntaxError> {
    let known = std::str::from_utf8(word).ok().and_then(MetricType::from_name);
    known.ok_or_else(|| SyntaxError(format!("invalid metric type {}", quoted(word))))
}

/// The unit, which must be the last word of the family's name.
fn unit<'b>(family: &'b [u8], unit: &'b [u8]) -> Result<Says<'b>, SyntaxError> {
    let stem = family.strip_suffix(unit);
    if unit.is_empty() || stem.is_some_and(|stem| stem.ends_with(b"_")) {
        return Ok(Says::Unit(unit));
    }
    let (unit, family) = (quoted(unit), quoted(family));
    Err(SyntaxError(format!("unit {unit} not a suffix of metric {family}")))
}

#[cfg(test)]
mod tests;
