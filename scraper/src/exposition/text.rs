//! The text format, 0.0.4 and 1.0.0, as laxly and as strictly as Prometheus 3.14 reads it.
//!
//! What surprises: blanks before a bare name belong to the name; a quoted string may hold line
//! breaks; the character after the name of a `HELP` or `TYPE` is dropped whatever it is; a NUL at
//! the start of a line ends the page; `\r` is part of the value, which then is no number.
//! A page that does not end with a line break is read as if it did.

use model::MetricType;

use super::number::{self, NumberError, quoted};
use super::{Grammar, Metadata, Next, Sample, Says, SeriesParts, SyntaxError};

/// The grammar of the text format.
#[derive(Debug)]
pub(crate) struct Text;

/// A place in a page, and where the line started, for messages.
struct Cursor<'b> {
    page: &'b [u8],
    start: usize,
    at: usize,
}

impl Grammar for Text {
    const HELP_HAS_QUOTES: bool = false;

    fn comments<'b>(
        page: &'b [u8],
        at: usize,
        found: &mut dyn FnMut(Metadata<'b>),
    ) -> Result<Next, SyntaxError> {
        let mut start = at;
        loop {
            let mut cursor = Cursor { page, start, at: start };
            cursor.skip_blanks();
            match cursor.peek() {
                None | Some(0) => return Ok(Next::End(start)),
                Some(b'\n') => start = cursor.at + 1,
                Some(b'#') => match cursor.comment(found)? {
                    Some(next) => start = next,
                    None => return Ok(Next::End(start)),
                },
                Some(_) => return Ok(Next::Series(start)),
            }
        }
    }

    fn series(page: &[u8], at: usize, parts: &mut SeriesParts) -> Result<usize, SyntaxError> {
        let mut cursor = Cursor { page, start: at, at };
        parts.labels.clear();
        cursor.skip_blanks();
        match cursor.peek() {
            Some(b'{') => cursor.labels(None, parts),
            Some(byte) if is_name_start(byte) => {
                cursor.skip_while(is_name_byte);
                let name = at..cursor.at;
                let after_name = cursor.at;
                cursor.skip_blanks();
                if cursor.peek() == Some(b'{') {
                    return cursor.labels(Some(name), parts);
                }
                parts.name = name;
                Ok(after_name)
            }
            _ => Err(cursor.unexpected("expected a valid start token")),
        }
    }

    fn ends_series(page: &[u8], end: usize) -> bool {
        if end.checked_sub(1).and_then(|last| page.get(last)) == Some(&b'}') {
            return true;
        }
        let mut cursor = Cursor { page, start: end, at: end };
        if cursor.peek().is_some_and(is_name_byte) {
            return false;
        }
        cursor.skip_blanks();
        cursor.peek() != Some(b'{')
    }

    #[inline]
    fn sample(page: &[u8], start: usize, end: usize) -> Result<Sample, SyntaxError> {
        let mut cursor = Cursor { page, start, at: end };
        cursor.skip_blanks();
        let from = cursor.at;
        cursor.skip_while(|byte| !matches!(byte, b'{' | b' ' | b'\t' | b'\n' | 0));
        let token = &page[from..cursor.at];
        if token.is_empty() {
            return Err(cursor.unexpected("expected value after metric"));
        }
        let value = number::parse_float(token).map_err(|error| cursor.bad_number(&error))?;
        let timestamp_ms = cursor.timestamp()?;
        let next = (cursor.at + 1).min(page.len());
        Ok(Sample { value, timestamp_ms, exemplar: None, next })
    }
}

// === impl Cursor ===

impl<'b> Cursor<'b> {
    #[inline]
    fn peek(&self) -> Option<u8> {
        self.page.get(self.at).copied()
    }

    #[inline]
    fn skip_while(&mut self, wanted: impl Fn(u8) -> bool) {
        while self.peek().is_some_and(&wanted) {
            self.at += 1;
        }
    }

    #[inline]
    fn skip_blanks(&mut self) {
        self.skip_while(is_blank);
    }

    /// From a `#` to the start of the next line; none if a NUL ends the page.
    fn comment(
        &mut self,
        found: &mut dyn FnMut(Metadata<'b>),
    ) -> Result<Option<usize>, SyntaxError> {
        let page = self.page;
        self.at += 1;
        let hash_end = self.at;
        self.skip_blanks();
        let line_end = memchr::memchr(b'\n', &page[self.at..]).map_or(page.len(), |n| self.at + n);
        if self.at == hash_end {
            let ends_page = memchr::memchr(0, &page[self.at..line_end]).is_some();
            return Ok((!ends_page).then_some((line_end + 1).min(page.len())));
        }
        if self.peek() == Some(0) {
            return Ok(None);
        }
        let word = &page[self.at..line_end];
        let is_help = word.starts_with(b"HELP");
        let blank_after = word.get(4).copied().is_some_and(is_blank);
        if !blank_after || !(is_help || word.starts_with(b"TYPE")) {
            return Ok(Some((line_end + 1).min(page.len())));
        }
        self.at += 4;
        self.skip_blanks();
        let family = self.family(if is_help { "HELP" } else { "TYPE" })?;
        // A quoted name may hold line breaks.
        let line_end = memchr::memchr(b'\n', &page[self.at..]).map_or(page.len(), |n| self.at + n);
        let text = self.metadata_text(line_end)?;
        let says = if is_help { help(text)? } else { Says::Type(metric_type(text)?) };
        found(Metadata { family, says });
        Ok(Some((line_end + 1).min(page.len())))
    }

    /// The family's name in a metadata line, without quotes.
    fn family(&mut self, word: &str) -> Result<&'b [u8], SyntaxError> {
        let from = self.at;
        let page = self.page;
        match self.peek() {
            Some(b'"') => {
                let end = string_end(page, from, false);
                self.at = end.ok_or_else(|| self.unexpected_name(word))?;
                Ok(&page[from + 1..self.at - 1])
            }
            Some(byte) if is_name_start(byte) => {
                self.skip_while(is_name_byte);
                Ok(&page[from..self.at])
            }
            _ => Err(self.unexpected_name(word)),
        }
    }

    /// What follows the name in a metadata line, without the first character.
    fn metadata_text(&mut self, line_end: usize) -> Result<&'b [u8], SyntaxError> {
        let text = &self.page[self.at..line_end];
        if text.first() == Some(&0) {
            return Err(self.unexpected("linebreak expected after metadata"));
        }
        let only_blanks = text.iter().all(|byte| is_blank(*byte));
        Ok(if only_blanks { b"" } else { &text[1..] })
    }

    /// Labels from the opening brace on; says where the series ends.
    fn labels(
        &mut self,
        bare_name: Option<std::ops::Range<usize>>,
        parts: &mut SeriesParts,
    ) -> Result<usize, SyntaxError> {
        let mut name = bare_name;
        self.at += 1;
        loop {
            self.skip_blanks();
            let from = self.at;
            let quoted_name = match self.peek() {
                Some(b'}') => {
                    self.at += 1;
                    break;
                }
                Some(b'"') => {
                    let end = string_end(self.page, from, false);
                    self.at = end.ok_or_else(|| self.unexpected("expected label name"))?;
                    true
                }
                Some(byte) if is_label_start(byte) => {
                    self.skip_while(|byte| is_label_start(byte) || byte.is_ascii_digit());
                    false
                }
                _ => return Err(self.unexpected("expected label name")),
            };
            let quote = usize::from(quoted_name);
            let written = from + quote..self.at - quote;
            self.skip_blanks();
            match self.peek() {
                Some(end @ (b',' | b'}')) if quoted_name => {
                    self.at += 1;
                    if name.is_some() {
                        return Err(self.wrong("metric name already set"));
                    }
                    name = Some(written);
                    if end == b'}' {
                        break;
                    }
                    continue;
                }
                Some(b'=') => self.at += 1,
                _ => return Err(self.unexpected("expected equal")),
            }
            parts.labels.push((written, self.label_value()?));
            self.skip_blanks();
            if self.peek() == Some(b',') {
                self.at += 1;
            }
        }
        parts.name = name.ok_or_else(|| self.wrong("metric name not set"))?;
        Ok(self.at)
    }

    fn label_value(&mut self) -> Result<std::ops::Range<usize>, SyntaxError> {
        self.skip_blanks();
        let from = self.at;
        let end = match self.peek() {
            Some(b'"') => string_end(self.page, from, true),
            _ => None,
        };
        self.at = end.ok_or_else(|| self.unexpected("expected label value"))?;
        let value = from + 1..self.at - 1;
        if std::str::from_utf8(&self.page[value.clone()]).is_err() {
            let text = quoted(&self.page[from..self.at]);
            return Err(SyntaxError(format!("invalid UTF-8 label value: {text}")));
        }
        Ok(value)
    }

    /// An optional timestamp, and the end of the line.
    #[inline]
    fn timestamp(&mut self) -> Result<Option<i64>, SyntaxError> {
        self.skip_blanks();
        let from = self.at;
        self.skip_while(|byte| byte.is_ascii_digit());
        let token = &self.page[from..self.at];
        if token.is_empty() {
            return match self.peek() {
                None | Some(b'\n') => Ok(None),
                Some(_) => Err(self.unexpected("expected timestamp or new record")),
            };
        }
        let timestamp_ms = number::parse_digits(token).map_err(|error| self.bad_number(&error))?;
        self.skip_blanks();
        match self.peek() {
            None | Some(b'\n') => Ok(Some(timestamp_ms)),
            Some(_) => Err(self.unexpected("expected next entry after timestamp")),
        }
    }

    #[cold]
    fn unexpected_name(&self, word: &str) -> SyntaxError {
        self.unexpected(&format!("expected metric name after {word}"))
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
    match word {
        b"counter" => Ok(MetricType::Counter),
        b"gauge" => Ok(MetricType::Gauge),
        b"histogram" => Ok(MetricType::Histogram),
        b"summary" => Ok(MetricType::Summary),
        b"untyped" => Ok(MetricType::Unknown),
        _ => Err(SyntaxError(format!("invalid metric type {}", quoted(word)))),
    }
}

/// Where the quoted string that starts at `from` ends, after its closing quote. A backslash takes
/// the next character with it, which must not be a line break.
pub(super) fn string_end(page: &[u8], from: usize, may_hold_nul: bool) -> Option<usize> {
    let mut at = from + 1;
    loop {
        let found = memchr::memchr3(b'"', b'\\', 0, page.get(at..)?)?;
        at += found;
        match page[at] {
            b'"' => return Some(at + 1),
            b'\\' => match page.get(at + 1)? {
                b'\n' => return None,
                0 if !may_hold_nul => return None,
                _ => at += 2,
            },
            _ if may_hold_nul => at += 1,
            _ => return None,
        }
    }
}

#[inline]
pub(super) fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

#[inline]
pub(super) fn is_name_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte == b':'
}

#[inline]
pub(super) fn is_name_byte(byte: u8) -> bool {
    is_name_start(byte) || byte.is_ascii_digit()
}

#[inline]
pub(super) fn is_label_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_'
}

#[cfg(test)]
mod tests;
