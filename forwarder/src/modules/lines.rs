//! A line of JSON as modules that send every sample alone read it.

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::block::Counts;

/// What says which kind of sample a line is. See `encode/json_lines.rs`.
#[derive(Debug, Default, Deserialize)]
struct Kind {
    histogram: Option<IgnoredAny>,
    exemplar: Option<IgnoredAny>,
}

/// One of its kind.
pub(super) fn one_of(is_histogram: bool, is_exemplar: bool) -> Counts {
    match (is_histogram, is_exemplar) {
        (false, false) => Counts { samples: 1, ..Counts::NONE },
        (true, _) => Counts { histograms: 1, ..Counts::NONE },
        (false, true) => Counts { exemplars: 1, ..Counts::NONE },
    }
}

/// What a line counts. One that is none of ours counts as a number.
pub(super) fn counts_of(line: &[u8]) -> Counts {
    let Kind { histogram, exemplar } = serde_json::from_slice(line).unwrap_or_default();
    one_of(histogram.is_some(), exemplar.is_some())
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
