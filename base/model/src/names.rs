//! Which metric and label names are valid (prometheus/common `model.ValidationScheme`).

use std::fmt;

/// A rule for names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum NameScheme {
    /// Any UTF-8 that is not empty.
    #[default]
    Utf8,
    /// `[a-zA-Z_:][a-zA-Z0-9_:]*` for metrics, the same without colons for labels.
    Legacy,
}

// === impl NameScheme ===

impl NameScheme {
    /// As it is written in a configuration.
    pub fn name(self) -> &'static str {
        match self {
            NameScheme::Utf8 => "utf8",
            NameScheme::Legacy => "legacy",
        }
    }

    /// Whether `name` may be the name of a label.
    pub fn is_label_name(self, name: &str) -> bool {
        match self {
            NameScheme::Utf8 => !name.is_empty(),
            NameScheme::Legacy => is_legacy(name.as_bytes(), |byte| byte == b'_'),
        }
    }

    /// Whether `name` may be the name of a metric.
    pub fn is_metric_name(self, name: &str) -> bool {
        match self {
            NameScheme::Utf8 => !name.is_empty(),
            NameScheme::Legacy => is_legacy(name.as_bytes(), |byte| byte == b'_' || byte == b':'),
        }
    }
}

impl fmt::Display for NameScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

fn is_legacy(name: &[u8], is_sign: impl Fn(u8) -> bool) -> bool {
    let Some(first) = name.first() else { return false };
    !first.is_ascii_digit()
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || is_sign(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legacy_names_are_words_and_utf8_names_are_anything() {
        let check = |name: &str, label: bool, metric: bool| {
            assert_eq!(NameScheme::Legacy.is_label_name(name), label, "{name}");
            assert_eq!(NameScheme::Legacy.is_metric_name(name), metric, "{name}");
            assert_eq!(NameScheme::Utf8.is_metric_name(name), !name.is_empty());
        };
        check("up", true, true);
        check("_a1", true, true);
        check("a:b", false, true);
        check("1a", false, false);
        check("a.b", false, false);
        check("", false, false);
    }
}
