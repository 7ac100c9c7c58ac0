//! A line of JSON as modules that send every sample alone read it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::block::Counts;

/// A sample, a histogram or an exemplar. See `encode/json_lines.rs`.
#[derive(Debug, Deserialize)]
pub(super) struct Line<'l> {
    #[serde(borrow)]
    pub(super) labels: BTreeMap<Cow<'l, str>, Cow<'l, str>>,
    /// As it is written: a number that is read and written again may be another one.
    #[serde(borrow)]
    value: Option<&'l RawValue>,
    histogram: Option<IgnoredAny>,
    exemplar: Option<IgnoredAny>,
    /// Milliseconds since the epoch.
    pub(super) timestamp: i64,
}

/// What says which kind of sample a line is. See `encode/json_lines.rs`.
#[derive(Debug, Default, Deserialize)]
struct Kind {
    histogram: Option<IgnoredAny>,
    exemplar: Option<IgnoredAny>,
}

// === impl Line ===

impl<'l> Line<'l> {
    /// # Errors
    /// It is none of our lines.
    pub(super) fn read(line: &'l [u8]) -> Result<Line<'l>, serde_json::Error> {
        serde_json::from_slice(line)
    }

    /// The value as it is written, if it is a number; not one are NaN, the infinities, a stale
    /// marker, a histogram and an exemplar.
    pub(super) fn number(&self) -> Option<&'l str> {
        // Others are words in quotes, and `null`.
        let is_number =
            |text: &&str| text.starts_with(|start: char| start == '-' || start.is_ascii_digit());
        self.value.map(RawValue::get).filter(is_number)
    }

    /// What it counts.
    pub(super) fn counts(&self) -> Counts {
        one_of(self.histogram.is_some(), self.exemplar.is_some())
    }
}

/// One of its kind.
fn one_of(is_histogram: bool, is_exemplar: bool) -> Counts {
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
