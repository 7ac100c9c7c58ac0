//! Each odd line alone, valid and invalid.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;

/// Reads a page and writes down what was found, one line each.
fn read(page: &[u8]) -> String {
    let mut out = String::new();
    let mut parts = SeriesParts::default();
    let mut at = 0;
    loop {
        let mut metadata = Vec::new();
        let next = OpenMetrics::comments(page, at, &mut |found| metadata.push(found));
        for Metadata { family, says } in metadata {
            let family = String::from_utf8_lossy(family);
            let text = |text: &[u8]| String::from_utf8_lossy(text).into_owned();
            match says {
                Says::Help(help) => writeln!(out, "help {family}: {}", text(help)).unwrap(),
                Says::Type(kind) => writeln!(out, "type {family}: {kind}").unwrap(),
                Says::Unit(unit) => writeln!(out, "unit {family}: {}", text(unit)).unwrap(),
            }
        }
        let start = match next {
            Ok(Next::End(end)) => {
                assert_eq!(end, page.len());
                return out;
            }
            Ok(Next::Series(start)) => start,
            Err(error) => return out + &error.to_string(),
        };
        let end = match OpenMetrics::series(page, start, &mut parts) {
            Ok(end) => end,
            Err(error) => return out + &error.to_string(),
        };
        let sample = match OpenMetrics::sample(page, start, end) {
            Ok(sample) => sample,
            Err(error) => return out + &error.to_string(),
        };
        assert!(OpenMetrics::ends_series(page, end));
        let text = |range: &Range<usize>| String::from_utf8_lossy(&page[range.clone()]);
        write!(out, "[{}]", text(&parts.name)).unwrap();
        for (name, value) in &parts.labels {
            write!(out, " {}=[{}]", text(name), text(value)).unwrap();
        }
        write!(out, " = {}", sample.value).unwrap();
        if let Some(timestamp_ms) = sample.timestamp_ms {
            write!(out, " @{timestamp_ms}").unwrap();
        }
        if let Some(exemplar) = sample.exemplar {
            let RawExemplar { labels, value, timestamp_ms } = *exemplar;
            write!(out, " # {labels} {value}").unwrap();
            if let Some(timestamp_ms) = timestamp_ms {
                write!(out, " @{timestamp_ms}").unwrap();
            }
        }
        out.push('\n');
        at = sample.next;
    }
}

/// A page that ends well.
#[track_caller]
fn check(page: &str, want: &[&str]) {
    let got = read(format!("{page}# EOF\n").as_bytes());
    assert_eq!(got.lines().collect::<Vec<_>>(), want, "{page:?}");
}

#[test]
fn samples_are_name_labels_value_timestamp_and_exemplar() {
    check("a 1\n", &["[a] = 1"]);
    check("a{x=\"1\",y=\"2\",} 1.5\n", &["[a] x=[1] y=[2] = 1.5"]);
    check("a{} 1\n", &["[a] = 1"]);
    check("{\"a.b\",\"l m\"=\"1\"} NaN\n", &["[a.b] l m=[1] = NaN"]);
    check("a 1 1520879607.789\n", &["[a] = 1 @1520879607789"]);
    check("a 1 -0.0019\n", &["[a] = 1 @-1"]);
    check("a 1 # {t=\"x\"} 0.5\n", &[r#"[a] = 1 # {t="x"} 0.5"#]);
    check("a 1 2 # {t=\"x\",} 0.5 3.25\n", &[r#"[a] = 1 @2000 # {t="x"} 0.5 @3250"#]);
    check("a 1 # {} 0.5\n", &["[a] = 1 # {} 0.5"]);
    check("a 1 # {t=\"x\",t=\"y\"} 0.5\n", &["[a] = 1"]);
    let long = "x".repeat(127);
    check(&format!("a 1 # {{t=\"{long}\"}} 1\n"), &[&format!("[a] = 1 # {{t={long:?}}} 1")]);
    check(&format!("a 1 # {{t=\"{long}x\"}} 1\n"), &["[a] = 1"]);
}

#[test]
fn metadata_is_type_help_and_unit() {
    check(
        "# TYPE a stateset\n# TYPE b info\n# TYPE c gaugehistogram\n# TYPE d unknown\n",
        &["type a: stateset", "type b: info", "type c: gaugehistogram", "type d: unknown"],
    );
    check("# HELP a  b\\\"c \n# HELP b \n", &["help a:  b\\\"c ", "help b: "]);
    check("# UNIT a_seconds seconds\n# UNIT b \n", &["unit a_seconds: seconds", "unit b: "]);
}

/// Malformed pages, and how the words of their refusal begin.
const MALFORMED: &[(&str, &str)] = &[
    ("", "data does not end with # EOF"),
    ("\n", "expected a valid start token, got \"\\n\" (\"INVALID\") while parsing: \"\\n\""),
    ("metric 1", "data does not end with # EOF"),
    ("metric 1\n", "data does not end with # EOF"),
    ("m_total 1 # {aa=\"bb\"} 4", "data does not end with # EOF"),
    ("a\n#EOF\n", "expected value after metric, got \"\\n\" (\"INVALID\") while parsing: \"a\\n\""),
    (" a 1\n", "expected a valid start token, got \" \" (\"INVALID\") while parsing: \" \""),
    ("# TYPE u untyped\n", "invalid metric type \"untyped\""),
    ("# TYPE c counter \n", "invalid metric type \"counter \""),
    ("# TYPE c  counter\n", "invalid metric type \" counter\""),
    ("#  TYPE c counter\n", "expected a valid start token, got \"#"),
    ("# comment\n", "expected a valid start token, got \"#"),
    (
        "# TYPE \n",
        "expected metric name after TYPE, got \"\\n\" (\"INVALID\") while parsing: \"# TYPE \\n\"",
    ),
    ("# TYPE m\n", "expected text in TYPE"),
    ("# UNIT metric suffix\n", "unit \"suffix\" not a suffix of metric \"metric\""),
    ("# UNIT metricsuffix suffix\n", "unit \"suffix\" not a suffix of metric \"metricsuffix\""),
    ("# UNIT suffix suffix\n", "unit \"suffix\" not a suffix of metric \"suffix\""),
    ("# HELP m\n", "expected text in HELP"),
    ("# HELP m x", "expected text in HELP"),
    ("a\t1\n", "expected value after metric, got \"\\t\" (\"INVALID\") while parsing: \"a\\t\""),
    ("a  1\n", "expected value after metric"),
    (
        "a 1\t2\n",
        "strconv.ParseFloat: parsing \"1\\t2\": invalid syntax while parsing: \"a 1\\t2\"",
    ),
    ("a 1 2 \n", "expected next entry after timestamp"),
    ("a 1 2 #\n", "expected next entry after timestamp"),
    ("a 1 1z\n", "strconv.ParseFloat: parsing \"1z\": invalid syntax while parsing: \"a 1 1z\""),
    ("a 1 1 1\n", "expected next entry after timestamp"),
    ("a 1 NaN\n", "invalid timestamp NaN"),
    ("a 1 Inf\n", "invalid timestamp +Inf"),
    ("a 1 # {a=\"b\"} 4 -Inf\n", "invalid exemplar timestamp -Inf"),
    ("# EOF\na 1", "unexpected data after # EOF"),
    ("# EOF\n\n", "unexpected data after # EOF"),
    ("# EOFa 1", "unexpected data after # EOF"),
    ("a{b='c'} 1\n", "expected label value, got \"'\" (\"INVALID\") while parsing: \"a{b='\""),
    ("a{,b=\"c\"} 1\n", "expected label name, got \",b\" (\"COMMA\") while parsing: \"a{,b\""),
    (
        "a{b=\"c\"d=\"e\"} 1\n",
        "expected comma or brace close, got \"d=\" (\"LNAME\") while parsing: \"a{b=\\\"c\\\"d=\"",
    ),
    ("a{b=\"c\", d=\"e\"} 1\n", "expected label name, got \" \" (\"INVALID\")"),
    ("a{b=\n", "expected label value, got \"\\n\" (\"INVALID\") while parsing: \"a{b=\\n\""),
    ("a{b=\"x\ny\"} 1\n", "expected label value"),
    ("{A}0\n", "expected equal, got \"}0\" (\"BCLOSE\") while parsing: \"{A}0\""),
    ("{b=\"c\",} 1\n", "metric name not set while parsing: \"{b=\\\"c\\\",}"),
    ("foo 0x1p-3\n", "unsupported character in float while parsing: \"foo 0x1p-3\""),
    ("a{b=\"c\"}1\n", "expected value after metric, got \"1\" (\"INVALID\")"),
    (
        "a 1 # {aa=bb}\n",
        "expected label value, got \"b\" (\"INVALID\") while parsing: \"a 1 # {aa=b\"",
    ),
    ("a 1 # {aa=\"bb\"}\n", "expected value after exemplar labels, got \"\\n\" (\"INVALID\")"),
    ("a 1 # {bb}", "expected equal, got \"}\" (\"BCLOSE\") while parsing: \"a 1 # {bb}\""),
    ("a 1 # {\"bb\"} 1\n", "expected label name, got \"} \" (\"BCLOSE\")"),
];

#[test]
fn malformed_pages_are_refused_in_the_words_of_prometheus() {
    for (page, want) in MALFORMED {
        let got = read(page.as_bytes());
        assert!(got.lines().last().unwrap_or_default().starts_with(want), "{page:?}: {got}");
    }
}

#[test]
fn the_end_may_lack_its_line_break() {
    assert_eq!(read(b"a 1\n# EOF"), "[a] = 1\n");
    assert_eq!(read(b"# EOF"), "");
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(page in prop::collection::vec(any::<u8>(), 0..200)) {
        read(&page);
    }

    #[test]
    fn no_odd_text_makes_the_reader_panic(page in "[a#{}\"= ,\\\\\n\x000-9TYPEHLUNIOF]{0,60}") {
        read(page.as_bytes());
    }
}
