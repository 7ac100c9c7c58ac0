//! A line of JSON as modules that send every sample alone read it.

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::block::Counts;

/// What kind of sample a line is. See `encode/json_lines.rs`.
#[derive(Debug, Deserialize)]
pub(super) struct LineKind {
    histogram: Option<IgnoredAny>,
    exemplar: Option<IgnoredAny>,
}

// === impl LineKind ===

impl LineKind {
    /// One of its kind.
    pub(super) fn counts(&self) -> Counts {
        match (&self.histogram, &self.exemplar) {
            (None, None) => Counts { samples: 1, ..Counts::NONE },
            (Some(_), _) => Counts { histograms: 1, ..Counts::NONE },
            (None, Some(_)) => Counts { exemplars: 1, ..Counts::NONE },
        }
    }
}

/// What a line counts. One that is none of ours counts as a number.
pub(super) fn counts_of(line: &[u8]) -> Counts {
    let number = LineKind { histogram: None, exemplar: None };
    serde_json::from_slice(line).unwrap_or(number).counts()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_by_their_kind() {
        let check = |what: &str, samples, histograms, exemplars| {
            let line = format!(r#"{{"labels":{{"exemplar":"x"}},{what},"timestamp":1}}"#);
            assert_eq!(counts_of(line.as_bytes()), Counts { samples, histograms, exemplars });
        };
        check(r#""value":1.5"#, 1, 0, 0);
        check(r#""value":null"#, 1, 0, 0);
        check(r#""histogram":{"schema":1}"#, 0, 1, 0);
        check(r#""exemplar":{"labels":{},"value":1.0}"#, 0, 0, 1);
    }
}
