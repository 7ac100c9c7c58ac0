//! Label names and values as they are written: texts that are checked while they are read.

use std::fmt;

use model::NameScheme;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// A label name: UTF-8, not empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
#[serde(transparent)]
pub struct LabelName(String);

/// A label value: UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
#[serde(transparent)]
pub struct LabelValue(String);

/// Reads a text of which bytes that are not UTF-8 are refused with Prometheus' words.
struct Text {
    what: &'static str,
    may_be_empty: bool,
}

// === impl LabelName ===

impl LabelName {
    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name itself.
    pub fn into_inner(self) -> String {
        self.0
    }
}

impl<'de> Deserialize<'de> for LabelName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<LabelName, D::Error> {
        let text = Text { what: "label name", may_be_empty: false };
        deserializer.deserialize_string(text).map(LabelName)
    }
}

// === impl LabelValue ===

impl LabelValue {
    /// The value itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The value itself.
    pub fn into_inner(self) -> String {
        self.0
    }
}

impl From<String> for LabelValue {
    fn from(text: String) -> LabelValue {
        LabelValue(text)
    }
}

impl<'de> Deserialize<'de> for LabelValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<LabelValue, D::Error> {
        let text = Text { what: "label value", may_be_empty: true };
        deserializer.deserialize_string(text).map(LabelValue)
    }
}

// === impl Text ===

impl Visitor<'_> for Text {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a {}", self.what)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
        if !self.may_be_empty && !NameScheme::Utf8.is_label_name(text) {
            return Err(E::custom(format!("{text:?} is not a valid {}", self.what)));
        }
        Ok(text.to_owned())
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<String, E> {
        let quoted = format!("\"{}\"", bytes.escape_ascii());
        Err(E::custom(format!("{quoted} is not a valid {}", self.what)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::yaml;

    #[test]
    fn bytes_that_are_not_utf8_are_refused_with_their_escapes() {
        let refused = |text: &str| {
            yaml::from_str::<BTreeMap<LabelName, LabelValue>>("f", text).unwrap_err().message
        };
        assert_eq!(refused("!!binary '/w==': a"), r#""\xff" is not a valid label name"#);
        assert_eq!(refused("a: !!binary '/w=='"), r#""\xff" is not a valid label value"#);
        assert_eq!(refused("'': a"), r#""" is not a valid label name"#);
    }
}
