//! Messages written down byte by byte, and what is read of them.

use super::*;

/// A series as tests write it: `name{label=value,…}`, and its samples.
pub(crate) type Written<'t> = (&'t str, &'t [(i64, f64)]);

/// A message of remote write.
pub(crate) fn message(version: Version, series: &[Written<'_>]) -> Vec<u8> {
    match version {
        Version::One => message_1(series),
        Version::Two => message_2(series),
    }
}

fn message_1(series: &[Written<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for (text, samples) in series {
        let mut one = Vec::new();
        for (name, value) in labels(text) {
            let mut label = Vec::new();
            bytes(&mut label, 1, name.as_bytes());
            bytes(&mut label, 2, value.as_bytes());
            bytes(&mut one, 1, &label);
        }
        samples.iter().for_each(|it| bytes(&mut one, 2, &sample(*it)));
        bytes(&mut out, 1, &one);
    }
    out
}

fn message_2(series: &[Written<'_>]) -> Vec<u8> {
    let mut symbols = vec![String::new()];
    let mut written = Vec::new();
    for (text, samples) in series {
        let mut refs = Vec::new();
        for word in labels(text).into_iter().flat_map(|(name, value)| [name, value]) {
            let known = symbols.iter().position(|known| *known == word);
            let at = known.unwrap_or_else(|| {
                symbols.push(word);
                symbols.len() - 1
            });
            number(&mut refs, at as u64);
        }
        let mut one = Vec::new();
        bytes(&mut one, 1, &refs);
        samples.iter().for_each(|it| bytes(&mut one, 2, &sample(*it)));
        bytes(&mut written, 5, &one);
    }
    let mut out = Vec::new();
    symbols.iter().for_each(|symbol| bytes(&mut out, 4, symbol.as_bytes()));
    [out, written].concat()
}

fn sample((timestamp_ms, value): (i64, f64)) -> Vec<u8> {
    let mut out = vec![0x09];
    out.extend_from_slice(&value.to_le_bytes());
    out.push(0x10);
    number(&mut out, timestamp_ms as u64);
    out
}

fn labels(text: &str) -> Vec<(String, String)> {
    let (name, rest) = text.split_once('{').expect("a series is written name{…}");
    let mut labels = vec![("__name__".to_owned(), name.to_owned())];
    for pair in rest.trim_end_matches('}').split(',').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').expect("a label is written name=value");
        labels.push((name.to_owned(), value.to_owned()));
    }
    labels.retain(|(name, value)| !(name == "__name__" && value.is_empty()));
    labels
}

fn bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(field << 3 | 2);
    number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn number(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// What is read, a series a word; or why it cannot be.
fn show(version: Version, bytes: &[u8]) -> String {
    let message = match Message::read(version, bytes) {
        Ok(message) => message,
        Err(error) => return format!("error: {error}"),
    };
    let mut words: Vec<String> = message
        .series()
        .map(|series| {
            let labels: Vec<String> =
                series.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let samples: Vec<String> = series
                .samples
                .iter()
                .map(|it| format!("{}@{}", it.value, it.timestamp_ms))
                .collect();
            format!("{{{}}} {}", labels.join(","), samples.join(" "))
        })
        .collect();
    words.extend(message.invalid.map(|(n, why)| format!("{n} invalid: {why}")));
    words.join("; ")
}

#[track_caller]
fn check(series: &[Written<'_>], want: &str) {
    for version in [Version::One, Version::Two] {
        assert_eq!(show(version, &message(version, series)), want, "{version:?}");
    }
}

#[test]
fn both_versions_say_the_same() {
    check(&[], "");
    check(&[("up{job=a}", &[(7, 1.0)])], "{__name__=up,job=a} 1@7");
    check(
        &[("b{x=1}", &[(1, 0.5), (2, -3.0)]), ("a{}", &[(-5, 2.0)])],
        "{__name__=b,x=1} 0.5@1 -3@2; {__name__=a} 2@-5",
    );
}

#[test]
fn labels_are_brought_in_order_and_empty_ones_left_out() {
    check(&[("up{z=1,a=2,Z=3}", &[(7, 1.0)])], "{Z=3,__name__=up,a=2,z=1} 1@7");
    check(&[("up{a=,b=1}", &[(7, 1.0)])], "{__name__=up,b=1} 1@7");
}

#[test]
fn a_series_that_cannot_be_is_left_out_and_the_others_stay() {
    let good: Written<'_> = ("up{}", &[(7, 1.0)]);
    let with = |bad: &str, why: &str| {
        let want = format!("{{__name__=up}} 1@7; 2 invalid: {why}");
        check(&[(bad, &[(1, 1.0), (2, 1.0)]), good], &want);
    };
    with("up{a=1,a=2}", "a label name is there twice");
    with("{a=1}", "a series has no metric name");
    with("up{=1}", "a label has no name");
    let many: String = (0..300).map(|n| format!("l{n}=1,")).collect();
    with(&format!("up{{{many}}}"), "more than 256 labels");
}

#[test]
fn a_message_that_cannot_be_read_is_an_error() {
    let bad = |version, bytes: &[u8], want: &str| {
        assert_eq!(show(version, bytes), format!("error: {want}"), "{bytes:02x?}");
    };
    let cut = "a field ends behind the end of the message";
    for version in [Version::One, Version::Two] {
        bad(version, &[0x0A], cut);
        bad(version, &[0x80; 11], "a number of more than ten bytes");
        bad(version, &[0x0B], "field 1 has wire type 3");
    }
    bad(Version::One, b"\x0A\x05\x0A", cut);
    bad(Version::One, b"\x08\x01", "field 1 has wire type 0");
    bad(Version::One, b"\x0A\x04\x12\x02\x08\x01", "field 1 has wire type 0");
    bad(Version::One, b"\x0A\x07\x0A\x05\x0A\x01\xFF\x12\x00", "a label is not UTF-8");
    bad(Version::Two, b"\x22\x00\x2A\x04\x0A\x02\x00\x09", "label reference 9 of 1 symbols");
    bad(Version::Two, b"\x22\x00\x2A\x03\x0A\x01\x00", "an odd number of label references");
}

#[test]
fn no_cut_of_a_message_panics() {
    let series: &[Written<'_>] =
        &[("up{job=a,instance=b}", &[(7, 1.0), (8, 0.0)]), ("x{y=z}", &[(9, f64::NAN)])];
    for version in [Version::One, Version::Two] {
        let whole = message(version, series);
        for at in 0..whole.len() {
            let _either = Message::read(version, &whole[..at]);
            let mut bent = whole.clone();
            bent[at] ^= 0xFF;
            let _either = Message::read(version, &bent);
        }
    }
}
