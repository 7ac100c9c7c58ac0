//! Reads the metrics of a running program, for a test's questions about them.
//!
//! A reader of well-formed text; the fakes do not need more.

use std::collections::BTreeMap;

use crate::samples::{LabelSet, has};

/// Metrics as they were at one moment.
#[derive(Debug, Clone, Default)]
pub struct Metrics(BTreeMap<String, Vec<(LabelSet, f64)>>);

// === impl Metrics ===

impl Metrics {
    /// Reads an exposition in the text format, or in OpenMetrics.
    pub fn parse(text: &str) -> Metrics {
        let mut metrics = Metrics::default();
        for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            let (name, labels, rest) = split(line);
            let value = rest.split_whitespace().next().and_then(|value| value.parse().ok());
            let value = value.unwrap_or_else(|| panic!("a metric without a value: {line:?}"));
            metrics.0.entry(name.to_owned()).or_default().push((labels, value));
        }
        metrics
    }

    /// The sum over the series of this name that have these labels; 0 if there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let series = self.0.get(name).into_iter().flatten();
        series.filter(|(found, _)| has(found, labels)).map(|(_, value)| value).sum()
    }

    /// Whether there is any series of this name.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Every name, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The series of a name.
    pub fn series(&self, name: &str) -> &[(LabelSet, f64)] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    /// What is not zero, for the report of a wait that failed.
    pub fn report(&self) -> String {
        let mut out = String::new();
        for (name, series) in &self.0 {
            for (labels, value) in series.iter().filter(|(_, value)| *value != 0.0) {
                if !name.ends_with("_bucket") {
                    out.push_str(&format!("{name}{labels:?} {value}\n"));
                }
            }
        }
        out
    }
}

/// Name, labels, and what follows.
fn split(line: &str) -> (&str, LabelSet, &str) {
    let name_end = line.find(['{', ' ']).unwrap_or(line.len());
    let (name, mut rest) = line.split_at(name_end);
    let mut labels = LabelSet::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while let Some((label, after)) = rest.split_once("=\"") {
            if rest.starts_with('}') {
                break;
            }
            let end = closing_quote(after);
            let value = after[..end].replace("\\\"", "\"").replace("\\n", "\n");
            labels.insert(label.trim_start_matches(',').to_owned(), value.replace("\\\\", "\\"));
            rest = &after[end + 1..];
        }
        rest = rest.strip_prefix('}').unwrap_or(rest);
    }
    (name, labels, rest)
}

fn closing_quote(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'"' if !escaped => return at,
            b'\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    panic!("a label value without an end: {text:?}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_found_by_name_and_labels() {
        let text =
            "# HELP a b\na{x=\"1\",y=\"p \\\" q\"} 2\na{x=\"2\"} 3 # {id=\"7\"} 1\nb 4\n# EOF\n";
        let metrics = Metrics::parse(text);
        assert_eq!(metrics.sum("a", &[]), 5.0);
        assert_eq!(metrics.sum("a", &[("y", "p \" q")]), 2.0);
        assert_eq!(metrics.sum("b", &[]), 4.0);
        assert_eq!(metrics.sum("c", &[]), 0.0);
    }
}
