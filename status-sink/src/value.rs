//! The value of a field: nothing, a truth, a number or a text, in 16 bytes.
//!
//! Invariant: a number is finite and never −0, so that equal values are the same JSON.
//! Texts that occur often are shared ([`Texts`]): a million objects know a handful of states.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use hashbrown::HashTable;

/// Largest integer up to which every integer is a `f64` of its own.
const EXACT_INTEGER_MAX: f64 = 9_007_199_254_740_992.0;

/// Fewest shared texts at which it is worth looking for unused ones.
const TEXTS_SWEEP_MIN: usize = 1024;

/// A shared text; as wide as a pointer.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Text(Arc<Box<str>>);

/// What a field says. Ordered: nothing, then truths, numbers, texts.
#[derive(Debug, Clone, Default)]
pub(crate) enum Value {
    /// Not known; the field is absent from the JSON.
    #[default]
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// Finite, not −0.
    Number(f64),
    /// Any text.
    Text(Text),
}

/// The type that a field declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ValueType {
    /// [`Value::Bool`]
    Bool,
    /// [`Value::Number`]
    Number,
    /// [`Value::Text`]
    Text,
}

/// The texts that are in use, each once. Forgets those that nobody else holds.
#[derive(Debug)]
pub(crate) struct Texts {
    table: HashTable<Text>,
    sweep_at: usize,
}

// === impl Text ===

impl Text {
    /// The text itself.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Text {
        Text(Arc::new(text.into()))
    }
}

impl Borrow<str> for Text {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

// === impl Value ===

impl Value {
    /// A number; [`Value::Null`] if JSON cannot say it (NaN, infinite).
    pub(crate) fn number(n: f64) -> Value {
        if n.is_finite() { Value::Number(n + 0.0) } else { Value::Null }
    }

    /// A text of its own.
    pub(crate) fn text(text: &str) -> Value {
        Value::Text(Text::from(text))
    }

    /// Whether nothing is known.
    pub(crate) fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// The type, if something is known.
    pub(crate) fn type_of(&self) -> Option<ValueType> {
        match self {
            Value::Null => None,
            Value::Bool(_) => Some(ValueType::Bool),
            Value::Number(_) => Some(ValueType::Number),
            Value::Text(_) => Some(ValueType::Text),
        }
    }

    /// As a table cell and a template print it: texts without quotes, nothing as nothing.
    pub(crate) fn plain(&self) -> String {
        match self {
            Value::Text(text) => text.as_str().to_owned(),
            Value::Null => String::new(),
            _ => {
                let mut out = Vec::new();
                self.write_json(&mut out);
                String::from_utf8(out).expect("JSON is UTF-8")
            }
        }
    }

    /// Appends the value as JSON (`null` for nothing).
    pub(crate) fn write_json(&self, out: &mut Vec<u8>) {
        match self {
            Value::Null => out.extend_from_slice(b"null"),
            Value::Bool(true) => out.extend_from_slice(b"true"),
            Value::Bool(false) => out.extend_from_slice(b"false"),
            Value::Number(n) => write_number(*n, out),
            Value::Text(text) => write_json_text(text.as_str(), out),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Value::Null => 0,
            Value::Bool(_) => 1,
            Value::Number(_) => 2,
            Value::Text(_) => 3,
        }
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Text(a), Value::Text(b)) => Arc::ptr_eq(&a.0, &b.0) || a == b,
            _ => self.cmp(other) == Ordering::Equal,
        }
    }
}

impl Eq for Value {}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Value) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Value {
    fn cmp(&self, other: &Value) -> Ordering {
        match (self, other) {
            (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
            (Value::Number(a), Value::Number(b)) => a.total_cmp(b),
            (Value::Text(a), Value::Text(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl Hash for Value {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.rank().hash(state);
        match self {
            Value::Null => {}
            Value::Bool(b) => b.hash(state),
            Value::Number(n) => n.to_bits().hash(state),
            Value::Text(text) => text.hash(state),
        }
    }
}

// === impl ValueType ===

impl ValueType {
    /// The word for it in configuration, OpenAPI and messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            ValueType::Bool => "boolean",
            ValueType::Number => "number",
            ValueType::Text => "string",
        }
    }
}

// === impl Texts ===

impl Default for Texts {
    fn default() -> Texts {
        Texts { table: HashTable::new(), sweep_at: TEXTS_SWEEP_MIN }
    }
}

impl Texts {
    /// The shared form of `text`.
    pub(crate) fn share(&mut self, text: &str) -> Text {
        let hash = hash(text);
        if let Some(known) = self.table.find(hash, |known| known.as_str() == text) {
            return known.clone();
        }
        if self.table.len() >= self.sweep_at {
            self.table.retain(|known| Arc::strong_count(&known.0) > 1);
            self.sweep_at = (self.table.len() * 2).max(TEXTS_SWEEP_MIN);
        }
        let new = Text::from(text);
        self.table.insert_unique(hash, new.clone(), |known| self::hash(known.as_str()));
        new
    }
}

fn hash(text: &str) -> u64 {
    rapidhash::v3::rapidhash_v3(text.as_bytes())
}

fn write_number(n: f64, out: &mut Vec<u8>) {
    if n.fract() == 0.0 && n.abs() <= EXACT_INTEGER_MAX {
        out.extend_from_slice(itoa::Buffer::new().format(n as i64).as_bytes());
    } else {
        out.extend_from_slice(zmij::Buffer::new().format_finite(n).as_bytes());
    }
}

/// Appends `text` as a JSON string.
pub(crate) fn write_json_text(text: &str, out: &mut Vec<u8>) {
    // Without an early end: so it is done many bytes at a time.
    let odd = |byte: u8| u8::from(byte < 0x20) | u8::from(byte == b'"') | u8::from(byte == b'\\');
    if text.bytes().fold(0, |found, byte| found | odd(byte)) == 0 {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        serde_json::to_writer(out, text).expect("a text is JSON, and a Vec takes it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: Value, want: &str) {
        let mut out = Vec::new();
        value.write_json(&mut out);
        assert_eq!(String::from_utf8(out).unwrap(), want);
    }

    #[test]
    fn values_are_written_as_the_shortest_json() {
        check(Value::Null, "null");
        check(Value::Bool(true), "true");
        check(Value::number(3.0), "3");
        check(Value::number(-0.0), "0");
        check(Value::number(0.25), "0.25");
        check(Value::number(1e300), "1e+300");
        check(Value::number(9_007_199_254_740_991.0), "9007199254740991");
        check(Value::number(f64::NAN), "null");
        check(Value::text("plain"), r#""plain""#);
        check(Value::text("a \"b\"\n\u{1}"), r#""a \"b\"\n\u0001""#);
    }

    #[test]
    fn a_value_takes_16_bytes() {
        assert_eq!(size_of::<Value>(), 16);
    }

    #[test]
    fn nothing_comes_before_truths_numbers_and_texts() {
        let mut values = [Value::text("a"), Value::number(-1.0), Value::Bool(false), Value::Null];
        values.sort();
        let order: Vec<u8> = values.iter().map(Value::rank).collect();
        assert_eq!(order, [0, 1, 2, 3]);
    }

    #[test]
    fn texts_are_shared_and_forgotten_when_unused() {
        let mut texts = Texts::default();
        let kept = texts.share("running");
        assert!(Arc::ptr_eq(&kept.0, &texts.share("running").0));
        for n in 0..10 * TEXTS_SWEEP_MIN {
            texts.share(&format!("text {n}"));
        }
        assert!(texts.table.len() <= TEXTS_SWEEP_MIN, "{}", texts.table.len());
        assert!(Arc::ptr_eq(&kept.0, &texts.share("running").0));
    }
}
