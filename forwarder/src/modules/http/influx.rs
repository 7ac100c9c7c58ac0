//! Lines of JSON as Influx line protocol: `name,label=value value=1.5 1700000000000000000`.
//!
//! The metric's name is the measurement, labels are tags, the only field is `value`. NaN, the
//! infinities, stale markers, histograms and exemplars have no place there.

use std::collections::BTreeMap;
use std::io;

use serde::Deserialize;
use serde_json::Value;

use crate::block::Counts;
use crate::modules::lines::LineKind;

/// One of our lines, as far as it matters.
#[derive(Debug, Deserialize)]
struct Line {
    labels: BTreeMap<String, String>,
    #[serde(default)]
    value: Value,
    #[serde(flatten)]
    kind: LineKind,
    timestamp: i64,
}

/// The lines, and what has no place in them.
pub(super) fn lines(json: &[u8]) -> io::Result<(Vec<u8>, Counts)> {
    let (mut out, mut not_sent) = (String::with_capacity(json.len()), Counts::NONE);
    for line in json.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let line: Line = serde_json::from_slice(line)?;
        if !put(&mut out, &line) {
            not_sent += line.kind.counts();
        }
    }
    Ok((out.into_bytes(), not_sent))
}

fn put(out: &mut String, line: &Line) -> bool {
    let Some(value) = line.value.as_f64() else { return false };
    let name = line.labels.get("__name__").map_or("", String::as_str);
    put_escaped(out, if name.is_empty() { "unnamed" } else { name }, &[',', ' ']);
    let labels =
        line.labels.iter().filter(|(name, value)| *name != "__name__" && !value.is_empty());
    for (name, value) in labels {
        out.push(',');
        put_escaped(out, name, &[',', '=', ' ']);
        out.push('=');
        put_escaped(out, value, &[',', '=', ' ']);
    }
    out.push_str(" value=");
    out.push_str(zmij::Buffer::new().format_finite(value));
    out.push(' ');
    out.push_str(&line.timestamp.saturating_mul(1_000_000).to_string());
    out.push('\n');
    true
}

/// The protocol has no way to write a line break, nor a backslash at the end of a text.
fn put_escaped(out: &mut String, text: &str, special: &[char]) {
    let (text, end) = match text.strip_suffix('\\') {
        Some(text) => (text, "/"),
        None => (text, ""),
    };
    for letter in text.chars() {
        match letter {
            '\n' | '\r' => out.push_str("\\ "),
            letter if special.contains(&letter) => out.extend(['\\', letter]),
            letter => out.push(letter),
        }
    }
    out.push_str(end);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(json: &str, want: &str, want_not_sent: [u64; 3]) {
        let (lines, not_sent) = lines(json.as_bytes()).unwrap();
        let [samples, histograms, exemplars] = want_not_sent;
        let want_not_sent = Counts { samples, histograms, exemplars };
        assert_eq!((String::from_utf8(lines).unwrap().as_str(), not_sent), (want, want_not_sent));
    }

    #[test]
    fn samples_become_points() {
        check(
            r#"{"labels":{"__name__":"cpu","core":"0"},"value":1.5,"timestamp":1700000000000}"#,
            "cpu,core=0 value=1.5 1700000000000000000\n",
            [0, 0, 0],
        );
        check(
            r#"{"labels":{"__name__":"a b","x y":"1,2=3 4\nc\\"},"value":2,"timestamp":-5}"#,
            "a\\ b,x\\ y=1\\,2\\=3\\ 4\\ c/ value=2.0 -5000000\n",
            [0, 0, 0],
        );
    }

    #[test]
    fn what_has_no_place_is_counted_by_its_kind() {
        let of = |what: &str| format!(r#"{{"labels":{{"__name__":"m"}},{what},"timestamp":1}}"#);
        check(&of(r#""value":"NaN""#), "", [1, 0, 0]);
        check(&of(r#""value":null"#), "", [1, 0, 0]);
        check(&of(r#""histogram":{"schema":1}"#), "", [0, 1, 0]);
        check(&of(r#""exemplar":{"labels":{},"value":1.0}"#), "", [0, 0, 1]);
    }
}
