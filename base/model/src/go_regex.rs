//! Regular expressions as Prometheus means them: Go's syntax, anchored at both ends, `.` matches
//! newlines.
//!
//! Go's and Rust's syntaxes look alike and differ: `\Q…\E`, `[a&&b]`, `\d`, `{,3}`, repetition
//! limits. So patterns are parsed here by Go's rules (`parse.rs`) into `regex_syntax`'s tree, and
//! refused with Go's words. What most patterns are (a few literals, a prefix) never reaches a
//! regex engine.

mod class;
mod parse;
mod template;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use regex::Regex;
use regex_syntax::hir::literal::Extractor;
use regex_syntax::hir::{Class, Hir, HirKind, Look};

pub(crate) use template::Template;

/// A compiled pattern. Cheap to clone; equal if the patterns are.
#[derive(Clone)]
pub struct GoRegex {
    pattern: Arc<str>,
    compiled: Arc<Compiled>,
}

/// Why a pattern is refused, in the words of Go's `regexp/syntax`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("error parsing regexp: {code}: `{part}`")]
pub struct GoRegexError {
    pub(crate) code: &'static str,
    pub(crate) part: String,
}

/// Strings in a pattern that is nothing but a list of strings, at most.
const LITERALS_MAX: usize = 4_096;

/// Bytes of a compiled pattern, at most. Go's own limit is on the syntax tree, which is checked
/// while parsing; this one is only for what passes there.
const COMPILED_BYTES_MAX: usize = 64 << 20;

#[derive(Debug)]
struct Compiled {
    quick: Quick,
    regex: Regex,
}

/// What can be said about a text without the engine.
#[derive(Debug)]
enum Quick {
    /// `.*`
    Anything,
    /// `.+`
    NotEmpty,
    /// `a`
    One(Box<str>),
    /// `a|b|c`
    Few(Box<[Box<str>]>),
    /// The same with many.
    Many(HashSet<Box<str>>),
    /// `a.*`
    Prefix(Box<str>),
    /// `.*a`
    Suffix(Box<str>),
    /// `.*a.*`
    Contains(Box<str>),
    /// Anything else.
    Engine,
}

/// From so many strings on they are hashed instead of compared one by one.
const FEW_MAX: usize = 8;

// === impl GoRegex ===

impl GoRegex {
    /// Compiles `^(?s:pattern)$`.
    ///
    /// # Errors
    /// When Go refuses the pattern.
    pub fn new(pattern: &str) -> Result<GoRegex, GoRegexError> {
        let anchored = format!("^(?s:{pattern})$");
        let tree = parse::parse(&anchored)?;
        let quick = Quick::of(&tree);
        let mut printed = String::with_capacity(anchored.len());
        let too_large = || GoRegexError { code: "expression too large", part: anchored.clone() };
        regex_syntax::hir::print::Printer::new()
            .print(&tree, &mut printed)
            .map_err(|_| too_large())?;
        let built = regex::RegexBuilder::new(&printed)
            .size_limit(COMPILED_BYTES_MAX)
            .nest_limit(u32::MAX)
            .build();
        let regex = built.map_err(|_| too_large())?;
        Ok(GoRegex { pattern: pattern.into(), compiled: Arc::new(Compiled { quick, regex }) })
    }

    /// The pattern as it was given.
    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    /// Whether all of `text` matches.
    pub fn is_match(&self, text: &str) -> bool {
        match &self.compiled.quick {
            Quick::Anything => true,
            Quick::NotEmpty => !text.is_empty(),
            Quick::One(literal) => **literal == *text,
            Quick::Few(literals) => literals.iter().any(|literal| **literal == *text),
            Quick::Many(literals) => literals.contains(text),
            Quick::Prefix(prefix) => text.starts_with(&**prefix),
            Quick::Suffix(suffix) => text.ends_with(&**suffix),
            Quick::Contains(part) => text.contains(&**part),
            Quick::Engine => self.compiled.regex.is_match(text),
        }
    }

    /// The strings that match, if they are few enough to list: not for patterns like `a.*`.
    pub fn literals(&self) -> Option<Vec<&str>> {
        match &self.compiled.quick {
            Quick::One(literal) => Some(vec![literal]),
            Quick::Few(literals) => Some(literals.iter().map(|literal| &**literal).collect()),
            Quick::Many(literals) => Some(literals.iter().map(|literal| &**literal).collect()),
            _ => None,
        }
    }

    /// `text` with every match replaced. There is one match and it is all of the text, but for
    /// patterns that break out of their anchors: `a)|(b`.
    pub(crate) fn replace_all(&self, text: &str, replacement: &Template) -> String {
        let (mut replaced, mut end) = (String::new(), 0);
        for groups in self.compiled.regex.captures_iter(text) {
            let Some(whole) = groups.get(0) else { continue };
            replaced.push_str(&text[end..whole.start()]);
            replacement.expand(&groups, &mut replaced);
            end = whole.end();
        }
        replaced + &text[end..]
    }

    /// The matching groups of `text`, for [`Template::expand`]; `None` if it does not match.
    pub(crate) fn captures<'t>(&self, text: &'t str) -> Option<regex::Captures<'t>> {
        match &self.compiled.quick {
            Quick::Anything | Quick::Engine => self.compiled.regex.captures(text),
            _ if !self.is_match(text) => None,
            _ => self.compiled.regex.captures(text),
        }
    }
}

impl PartialEq for GoRegex {
    fn eq(&self, other: &GoRegex) -> bool {
        self.pattern == other.pattern
    }
}

impl Eq for GoRegex {}

impl fmt::Debug for GoRegex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}/", self.pattern)
    }
}

impl fmt::Display for GoRegex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.pattern)
    }
}

// === impl Quick ===

impl Quick {
    /// Looks between the anchors that [`GoRegex::new`] puts around every pattern.
    fn of(tree: &Hir) -> Quick {
        let HirKind::Concat(parts) = tree.kind() else { return Quick::Engine };
        let [start, inner @ .., end] = parts.as_slice() else { return Quick::Engine };
        let anchored = matches!(start.kind(), HirKind::Look(Look::Start))
            && matches!(end.kind(), HirKind::Look(Look::End));
        let looks_inside = inner.iter().any(|part| !part.properties().look_set().is_empty());
        if !anchored || looks_inside {
            return Quick::Engine;
        }
        let inner = match inner {
            [one] => match one.kind() {
                HirKind::Capture(group) => std::slice::from_ref(&*group.sub),
                _ => inner,
            },
            _ => inner,
        };
        let inner = match inner {
            [one] => match one.kind() {
                HirKind::Concat(parts) => parts.as_slice(),
                _ => inner,
            },
            _ => inner,
        };
        let found = match inner {
            [any] if is_any(any, 0) => Some(Quick::Anything),
            [any] if is_any(any, 1) => Some(Quick::NotEmpty),
            [prefix, any] if is_any(any, 0) => literal(prefix).map(Quick::Prefix),
            [any, suffix] if is_any(any, 0) => literal(suffix).map(Quick::Suffix),
            [any, part, more] if is_any(any, 0) && is_any(more, 0) => {
                literal(part).map(Quick::Contains)
            }
            _ => None,
        };
        found.or_else(|| Quick::of_literals(inner)).unwrap_or(Quick::Engine)
    }

    /// When the pattern only stands for a list of strings.
    fn of_literals(inner: &[Hir]) -> Option<Quick> {
        let whole = Hir::concat(inner.to_vec());
        let mut extractor = Extractor::new();
        extractor.limit_total(LITERALS_MAX).limit_literal_len(1_000);
        let strings = extractor.extract(&whole);
        if !strings.is_exact() {
            return None;
        }
        let texts = strings
            .literals()?
            .iter()
            .map(|literal| std::str::from_utf8(literal.as_bytes()).map(Box::<str>::from).ok());
        let texts: Vec<Box<str>> = texts.collect::<Option<_>>()?;
        Some(match texts.len() {
            1 => texts.into_iter().map(Quick::One).next()?,
            2..=FEW_MAX => Quick::Few(texts.into()),
            _ => Quick::Many(texts.into_iter().collect()),
        })
    }
}

/// Whether it is `.` repeated at least `min` times, newlines included.
fn is_any(part: &Hir, min: u32) -> bool {
    let part = match part.kind() {
        HirKind::Capture(group) => &group.sub,
        _ => part,
    };
    let HirKind::Repetition(repetition) = part.kind() else { return false };
    let HirKind::Class(Class::Unicode(class)) = repetition.sub.kind() else { return false };
    let everything = class.ranges().first().is_some_and(|range| {
        class.ranges().len() == 1 && range.start() == '\0' && range.end() == char::MAX
    });
    everything && repetition.min == min && repetition.max.is_none()
}

fn literal(part: &Hir) -> Option<Box<str>> {
    let part = match part.kind() {
        HirKind::Capture(group) => &group.sub,
        _ => part,
    };
    match part.kind() {
        HirKind::Literal(literal) => std::str::from_utf8(&literal.0).ok().map(Box::from),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
