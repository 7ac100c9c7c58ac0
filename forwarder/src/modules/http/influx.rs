//! Lines of JSON as Influx line protocol: `name,label=value value=1.5 1700000000000000000`.
//!
//! The metric's name is the measurement, labels are tags, the only field is `value`. NaN, the
//! infinities, stale markers, histograms and exemplars have no place there.

use std::io;

use crate::block::Counts;
use crate::modules::lines::Line;

/// The lines, and what has no place in them.
pub(super) fn lines(json: &[u8]) -> io::Result<(Vec<u8>, Counts)> {
    let (mut out, mut not_sent) = (String::with_capacity(json.len()), Counts::NONE);
    for line in json.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let line = Line::read(line)?;
        if !put(&mut out, &line) {
            not_sent += line.counts();
        }
    }
    Ok((out.into_bytes(), not_sent))
}

fn put(out: &mut String, line: &Line<'_>) -> bool {
    let Some(value) = line.number() else { return false };
    let name = line.labels.get("__name__").map_or("", |name| name);
    put_escaped(out, if name.is_empty() { "unnamed" } else { name }, &[',', ' ']);
    let labels =
        line.labels.iter().filter(|(name, value)| **name != *"__name__" && !value.is_empty());
    for (name, value) in labels {
        out.push(',');
        put_escaped(out, name, &[',', '=', ' ']);
        out.push('=');
        put_escaped(out, value, &[',', '=', ' ']);
    }
    out.push_str(" value=");
    out.push_str(value);
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
            r#"{"labels":{"__name__":"cpu","core":"0"},"value":9007199254740993.0,"timestamp":1700000000000}"#,
            "cpu,core=0 value=9007199254740993.0 1700000000000000000\n",
            [0, 0, 0],
        );
        check(
            r#"{"labels":{"__name__":"a b","x y":"1,2=3 4\nc\\"},"value":2,"timestamp":-5}"#,
            "a\\ b,x\\ y=1\\,2\\=3\\ 4\\ c/ value=2 -5000000\n",
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
