//! What a single written value means: the rules of YAML 1.1 as go-yaml v2 applies them.

use super::Problem;
use super::node::{Node, NodeKind, Scalar};

/// What a scalar is when nobody says what it should be.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Meaning {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text,
    Binary,
}

// === impl Scalar ===

impl Scalar {
    /// Resolves the scalar, by its tag or by how it looks.
    pub(super) fn meaning(&self) -> Meaning {
        match self.tag.as_deref() {
            Some("null") => return Meaning::Null,
            Some("binary") => return Meaning::Binary,
            Some("str") => return Meaning::Text,
            Some("float") => {
                let integer = integer(&self.text).map(|value| value as f64);
                return integer.or_else(|| float(&self.text)).map_or(Meaning::Text, Meaning::Float);
            }
            Some("int" | "bool") => {}
            _ if !self.plain => return Meaning::Text,
            _ => {}
        }
        if self.is_null() {
            return Meaning::Null;
        }
        match boolean(&self.text) {
            Some(value) => Meaning::Bool(value),
            None => match (integer(&self.text), float(&self.text)) {
                (Some(value), _) => Meaning::Int(value),
                (None, Some(value)) => Meaning::Float(value),
                (None, None) => Meaning::Text,
            },
        }
    }

    /// The text of a scalar that is wanted as text; `!!binary` decoded.
    pub(super) fn bytes(&self) -> Result<Vec<u8>, &'static str> {
        use base64::Engine;
        if self.tag.as_deref() != Some("binary") {
            return Ok(self.text.as_bytes().to_vec());
        }
        let compact: String = self.text.split_ascii_whitespace().collect();
        let decoded = base64::engine::general_purpose::STANDARD.decode(compact);
        decoded.map_err(|_| "!!binary value contains invalid base64 data")
    }
}

/// `cannot unmarshal !!str `x` into …`: what go-yaml says when a value has another type.
pub(super) fn mismatch(node: &Node, wanted: &str) -> Problem {
    let found = match &node.kind {
        NodeKind::Sequence(_) => "!!seq".to_owned(),
        NodeKind::Mapping(_) => "!!map".to_owned(),
        NodeKind::Scalar(scalar) => {
            let tag = match scalar.meaning() {
                Meaning::Null => "!!null",
                Meaning::Bool(_) => "!!bool",
                Meaning::Int(_) => "!!int",
                Meaning::Float(_) => "!!float",
                Meaning::Text => "!!str",
                Meaning::Binary => "!!binary",
            };
            let short: String = scalar.text.chars().take(10).collect();
            let more = if short.len() < scalar.text.len() { "..." } else { "" };
            format!("{tag} `{short}{more}`")
        }
    };
    Problem::new(format!("yaml: unmarshal errors: cannot unmarshal {found} into {wanted}")).at(node)
}

pub(super) fn boolean(text: &str) -> Option<bool> {
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Some(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Some(false)
        }
        _ => None,
    }
}

/// Decimal, `0x`, `0b`, `0o` and old octal `017`; `_` between digits.
pub(super) fn integer(text: &str) -> Option<i128> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let digits = digits.replace('_', "");
    let value = match digits.get(..2) {
        Some("0x" | "0X") => i128::from_str_radix(&digits[2..], 16),
        Some("0b" | "0B") => i128::from_str_radix(&digits[2..], 2),
        Some("0o" | "0O") => i128::from_str_radix(&digits[2..], 8),
        Some(_) if digits.starts_with('0') => i128::from_str_radix(&digits[1..], 8),
        _ => digits.parse(),
    };
    let value = value.ok()?;
    Some(if negative { -value } else { value })
}

pub(super) fn float(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let value = match unsigned {
        ".inf" | ".Inf" | ".INF" => f64::INFINITY,
        ".nan" | ".NaN" | ".NAN" if unsigned.len() == text.len() => return Some(f64::NAN),
        _ if unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
            && unsigned.contains(|c: char| c.is_ascii_digit()) =>
        {
            unsigned.replace('_', "").parse().ok()?
        }
        _ => return None,
    };
    Some(if text.starts_with('-') { -value } else { value })
}
