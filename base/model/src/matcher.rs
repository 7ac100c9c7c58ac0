//! Series selectors as in Prometheus' `match[]`: `{__name__=~"a|b",job!="x"}`, `up{…}`.
//!
//! A label that is missing is the empty text: `{job=""}` selects series without a job.

use std::fmt;

use crate::{GoRegex, GoRegexError};

/// Chooses series by their labels: all matchers must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeriesSelector {
    matchers: Vec<Matcher>,
}

/// One condition on one label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matcher {
    name: Box<str>,
    test: Test,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    Equal(Box<str>),
    NotEqual(Box<str>),
    Match(GoRegex),
    NotMatch(GoRegex),
}

/// Why a text is no selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// Something else should stand at `at` (bytes from the start).
    #[error("parse error at {at}: expected {expected}, found {found}")]
    Syntax {
        /// Bytes from the start.
        at: usize,
        /// What should stand there.
        expected: &'static str,
        /// What does.
        found: String,
    },
    /// A pattern that Go refuses.
    #[error("{0}")]
    Regex(GoRegexError),
    /// The metric's name is given twice.
    #[error("metric name must not be set twice: {0:?} or {1:?}")]
    TwoNames(String, String),
    /// Every matcher matches a label that is missing.
    #[error("match[] must contain at least one non-empty matcher")]
    MatchesAnything,
}

const NAME: &str = "__name__";

// === impl SeriesSelector ===

impl SeriesSelector {
    /// Reads a selector.
    ///
    /// # Errors
    /// When it is not one, or when it would select everything.
    pub fn parse(text: &str) -> Result<SeriesSelector, SelectorError> {
        let mut parser = Parser { text, at: 0 };
        let matchers = parser.selector()?;
        if matchers.iter().all(|matcher| matcher.is_match("")) {
            return Err(SelectorError::MatchesAnything);
        }
        Ok(SeriesSelector { matchers })
    }

    /// Whether a series is chosen; `label` gives the value of one of its labels.
    pub fn is_match<'v>(&self, label: impl Fn(&str) -> Option<&'v str>) -> bool {
        self.matchers.iter().all(|matcher| matcher.is_match(label(&matcher.name).unwrap_or("")))
    }

    /// All its conditions.
    pub fn matchers(&self) -> &[Matcher] {
        &self.matchers
    }
}

impl fmt::Display for SeriesSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (at, matcher) in self.matchers.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma}{matcher}")?;
        }
        f.write_str("}")
    }
}

// === impl Matcher ===

impl Matcher {
    /// The label's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether `value` passes.
    pub fn is_match(&self, value: &str) -> bool {
        match &self.test {
            Test::Equal(wanted) => **wanted == *value,
            Test::NotEqual(unwanted) => **unwanted != *value,
            Test::Match(regex) => regex.is_match(value),
            Test::NotMatch(regex) => !regex.is_match(value),
        }
    }

    /// The values that pass, if they can be listed.
    pub fn values(&self) -> Option<Vec<&str>> {
        match &self.test {
            Test::Equal(wanted) => Some(vec![wanted]),
            Test::Match(regex) => regex.literals(),
            Test::NotEqual(_) | Test::NotMatch(_) => None,
        }
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, value) = match &self.test {
            Test::Equal(value) => ("=", &**value),
            Test::NotEqual(value) => ("!=", &**value),
            Test::Match(regex) => ("=~", regex.pattern()),
            Test::NotMatch(regex) => ("!~", regex.pattern()),
        };
        write!(f, "{}{sign}{value:?}", self.name)
    }
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
}

// === impl Parser ===

impl<'t> Parser<'t> {
    fn selector(&mut self) -> Result<Vec<Matcher>, SelectorError> {
        let mut matchers = Vec::new();
        let name = self.word(|byte| byte == b'_' || byte == b':');
        if !name.is_empty() {
            matchers.push(Matcher { name: NAME.into(), test: Test::Equal(name.into()) });
        }
        if self.take("{") {
            while !self.take("}") {
                let matcher = self.matcher()?;
                let names = |matcher: &Matcher| match &matcher.test {
                    Test::Equal(value) if &*matcher.name == NAME => Some(value.to_string()),
                    _ => None,
                };
                if let (Some(first), Some(second)) =
                    (matchers.first().and_then(names), names(&matcher))
                {
                    return Err(SelectorError::TwoNames(first, second));
                }
                matchers.push(matcher);
                if !self.take(",") && !self.rest().starts_with('}') {
                    return Err(self.expected("\",\" or \"}\""));
                }
            }
        } else if matchers.is_empty() {
            return Err(self.expected("a metric name or \"{\""));
        }
        self.blanks();
        if self.rest().is_empty() { Ok(matchers) } else { Err(self.expected("the end")) }
    }

    fn matcher(&mut self) -> Result<Matcher, SelectorError> {
        self.blanks();
        let quoted = self.rest().starts_with(['"', '\'', '`']);
        let name: Box<str> = match quoted {
            true => self.quoted()?.into(),
            false => self.word(|byte| byte == b'_').into(),
        };
        if name.is_empty() {
            return Err(self.expected("a label name"));
        }
        // A metric name in quotes: `{"a.b", job="x"}`.
        self.blanks();
        if quoted && self.rest().starts_with([',', '}']) {
            return Ok(Matcher { name: NAME.into(), test: Test::Equal(name) });
        }
        let signs = ["=~", "!~", "!=", "="];
        let Some(sign) = signs.into_iter().find(|sign| self.take(sign)) else {
            return Err(self.expected("\"=\", \"!=\", \"=~\" or \"!~\""));
        };
        self.blanks();
        let value = self.quoted()?;
        let regex = || GoRegex::new(&value).map_err(SelectorError::Regex);
        let test = match sign {
            "=~" => Test::Match(regex()?),
            "!~" => Test::NotMatch(regex()?),
            "!=" => Test::NotEqual(value.into()),
            _ => Test::Equal(value.into()),
        };
        Ok(Matcher { name, test })
    }

    /// A text in `"…"`, `'…'` with Go's escapes, or raw in backticks.
    fn quoted(&mut self) -> Result<String, SelectorError> {
        let Some(quote @ ('"' | '\'' | '`')) = self.rest().chars().next() else {
            return Err(self.expected("a text in quotes"));
        };
        self.at += 1;
        let mut text = String::new();
        loop {
            let Some(letter) = self.next() else { return Err(self.expected("a closing quote")) };
            match letter {
                _ if letter == quote => return Ok(text),
                '\\' if quote != '`' => text.push(self.escape()?),
                '\n' if quote != '`' => return Err(self.expected("a closing quote")),
                _ => text.push(letter),
            }
        }
    }

    fn escape(&mut self) -> Result<char, SelectorError> {
        let found = match self.next() {
            Some('a') => Some('\x07'),
            Some('b') => Some('\x08'),
            Some('f') => Some('\x0c'),
            Some('n') => Some('\n'),
            Some('r') => Some('\r'),
            Some('t') => Some('\t'),
            Some('v') => Some('\x0b'),
            Some(sign @ ('\\' | '"' | '\'')) => Some(sign),
            Some('x') => self.code(2, 16),
            Some('u') => self.code(4, 16),
            Some('U') => self.code(8, 16),
            Some('0'..='7') => {
                self.at -= 1;
                self.code(3, 8)
            }
            _ => None,
        };
        found.ok_or_else(|| self.expected("an escape sequence"))
    }

    fn code(&mut self, digits: usize, radix: u32) -> Option<char> {
        let text = self.rest().get(..digits)?;
        self.at += digits;
        char::from_u32(u32::from_str_radix(text, radix).ok()?)
    }

    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn next(&mut self) -> Option<char> {
        let letter = self.rest().chars().next()?;
        self.at += letter.len_utf8();
        Some(letter)
    }

    fn blanks(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn take(&mut self, sign: &str) -> bool {
        self.blanks();
        let found = self.rest().starts_with(sign);
        self.at += if found { sign.len() } else { 0 };
        found
    }

    fn word(&mut self, is_sign: impl Fn(u8) -> bool) -> &'t str {
        self.blanks();
        let rest = self.rest();
        let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || is_sign(*byte);
        let len = match rest.as_bytes().first() {
            Some(b'0'..=b'9') | None => 0,
            Some(_) => rest.bytes().take_while(is_word).count(),
        };
        self.at += len;
        &rest[..len]
    }

    fn expected(&self, expected: &'static str) -> SelectorError {
        let found = match self.rest().chars().next() {
            Some(letter) => format!("{letter:?}"),
            None => "the end".to_owned(),
        };
        SelectorError::Syntax { at: self.at, expected, found }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(selector: &str, matching: &[&str], other: &[&str]) {
        let selector = SeriesSelector::parse(selector).unwrap();
        let is_match = |series: &str| {
            let labels: crate::Labels =
                series.split_whitespace().map(|pair| pair.split_once('=').unwrap()).collect();
            selector.is_match(|name| labels.get(name))
        };
        for series in matching {
            assert!(is_match(series), "{selector} should match {series}");
        }
        for series in other {
            assert!(!is_match(series), "{selector} should not match {series}");
        }
    }

    #[track_caller]
    fn refused(selector: &str, want: &str) {
        assert_eq!(SeriesSelector::parse(selector).expect_err(selector).to_string(), want);
    }

    #[test]
    fn selectors_choose_series_by_labels() {
        check("up", &["__name__=up", "__name__=up job=x"], &["__name__=down", "job=x"]);
        check("up{}", &["__name__=up"], &["job=x"]);
        check(r#"{__name__=~"a|b.*"}"#, &["__name__=a", "__name__=bc"], &["__name__=ab"]);
        check(r#"up{job!="x"}"#, &["__name__=up", "__name__=up job=y"], &["__name__=up job=x"]);
        check(r#"{a!~"x.*",b="1",}"#, &["b=1", "a=y b=1"], &["a=xy b=1", "b=2"]);
        check(r#"{job=~".+"}"#, &["job=x"], &["a=1"]);
        check(r#" up { job = 'x' , a != `y` } "#, &["__name__=up job=x"], &["__name__=up"]);
        check(r#"{"a.b", "c d"="1"}"#, &[], &["__name__=a.b"]);
        check(r#"{a="\x41\u00e9\""}"#, &["a=Aé\""], &["a=A"]);
    }

    #[test]
    fn other_texts_are_refused() {
        refused("", "parse error at 0: expected a metric name or \"{\", found the end");
        refused("{}", "match[] must contain at least one non-empty matcher");
        refused(r#"{a=~".*"}"#, "match[] must contain at least one non-empty matcher");
        refused("up{", "parse error at 3: expected a label name, found the end");
        refused("up{a}", "parse error at 4: expected \"=\", \"!=\", \"=~\" or \"!~\", found '}'");
        refused("up{a=b}", "parse error at 5: expected a text in quotes, found 'b'");
        refused(r#"up{a="b"} x"#, "parse error at 10: expected the end, found 'x'");
        refused(r#"up{a="b}"#, "parse error at 8: expected a closing quote, found the end");
        refused(r#"up{a=~"("}"#, "error parsing regexp: missing closing ): `^(?s:()$`");
        refused(r#"up{__name__="x"}"#, r#"metric name must not be set twice: "up" or "x""#);
    }
}
