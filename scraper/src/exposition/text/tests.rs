//! Each odd line alone, valid and invalid, and whole pages against an independent parser.

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
        let next = Text::comments(page, at, &mut |found| metadata.push(found));
        for Metadata { family, says } in metadata {
            let family = String::from_utf8_lossy(family);
            match says {
                Says::Help(text) => {
                    writeln!(out, "help {family}: {}", String::from_utf8_lossy(text)).unwrap();
                }
                Says::Type(kind) => writeln!(out, "type {family}: {kind}").unwrap(),
                Says::Unit(unit) => writeln!(out, "unit {family}: {unit:?}").unwrap(),
            }
        }
        let start = match next {
            Ok(Next::End(_)) => return out,
            Ok(Next::Series(start)) => start,
            Err(error) => return out + &error.to_string(),
        };
        let end = match Text::series(page, start, &mut parts) {
            Ok(end) => end,
            Err(error) => return out + &error.to_string(),
        };
        let sample = match Text::sample(page, start, end) {
            Ok(sample) => sample,
            Err(error) => return out + &error.to_string(),
        };
        assert!(Text::ends_series(page, end));
        let text = |range: &std::ops::Range<usize>| String::from_utf8_lossy(&page[range.clone()]);
        write!(out, "[{}]", text(&parts.name)).unwrap();
        for (name, value) in &parts.labels {
            write!(out, " {}=[{}]", text(name), text(value)).unwrap();
        }
        write!(out, " = {}", sample.value).unwrap();
        if let Some(timestamp_ms) = sample.timestamp_ms {
            write!(out, " @{timestamp_ms}").unwrap();
        }
        out.push('\n');
        at = sample.next;
    }
}

#[track_caller]
fn check(page: &str, want: &[&str]) {
    check_bytes(page.as_bytes(), want);
}

#[track_caller]
fn check_bytes(page: &[u8], want: &[&str]) {
    let got = read(page);
    assert_eq!(got.lines().collect::<Vec<_>>(), want, "{:?}", String::from_utf8_lossy(page));
}

#[test]
fn samples_are_name_labels_value_and_timestamp() {
    check("a 1", &["[a] = 1"]);
    check("a 1\n", &["[a] = 1"]);
    check("a{x=\"1\"} 2\n", &["[a] x=[1] = 2"]);
    check("a{x=\"1\",} 2\n", &["[a] x=[1] = 2"]);
    check("a{} 2 1395066363000\n", &["[a] = 2 @1395066363000"]);
    check("go { q = \"2.0\" a = \"b\" , } \t8.5 \t12  \n", &["[go] q=[2.0] a=[b] = 8.5 @12"]);
    check("a{x=\"1\"y=\"2\"} 3\n", &["[a] x=[1] y=[2] = 3"]);
    check("a{x=\"1\"}3\n", &["[a] x=[1] = 3"]);
    check("a+3\n", &["[a] = 3"]);
    check("a:b:c\t1\n", &["[a:b:c] = 1"]);
    check("a NaN\nb +Inf\nc -inf\n", &["[a] = NaN", "[b] = inf", "[c] = -inf"]);
    check("a{x=\"\\\"q\\\" \\\\ \\n\"} 1\n", &["[a] x=[\\\"q\\\" \\\\ \\n] = 1"]);
    check("a{x=\"}, {\"} 1\n", &["[a] x=[}, {] = 1"]);
}

#[test]
fn quoted_names_are_utf8() {
    check("{\"a.b\"} 1\n", &["[a.b] = 1"]);
    check("{\"a.b\",x=\"1\"} 1\n", &["[a.b] x=[1] = 1"]);
    check("{x=\"1\",\"a.b\"} 1\n", &["[a.b] x=[1] = 1"]);
    check(" { \"a b\" , \"l m\" = \"1\" } 1\n", &["[a b] l m=[1] = 1"]);
    check("{\"ü\"} 1\n", &["[ü] = 1"]);
    check(
        "{\"a\",\"b\"} 1\n",
        &["metric name already set while parsing: \"{\\\"a\\\",\\\"b\\\"}\""],
    );
    check("a{\"b\"} 1\n", &["metric name already set while parsing: \"a{\\\"b\\\"}\""]);
    check("{x=\"1\"} 1\n", &["metric name not set while parsing: \"{x=\\\"1\\\"}\""]);
}

#[test]
fn blanks_before_a_bare_name_belong_to_it() {
    check("  a 1\n", &["[  a] = 1"]);
    check("\t{\"a\"} 1\n", &["[a] = 1"]);
}

#[test]
fn comments_and_blank_lines_mean_nothing() {
    check("\n \t\n#\n#comment\n# comment HELP\n# HELPx\n#HELP a b\n# H\na 1\n", &["[a] = 1"]);
    check("  # TYPE a counter\n", &["type a: counter"]);
    check("# HELP\n# TYPE\n", &[]);
}

#[test]
fn metadata_is_name_and_the_rest_of_the_line() {
    check("# HELP a b c\n", &["help a: b c"]);
    check("#  \tHELP  a  b \n", &["help a:  b "]);
    check("# HELP a\n# HELP b \n", &["help a: ", "help b: "]);
    check("# HELP a{b\n", &["help a: b"]);
    check("# HELP \"a b\" text\n", &["help a b: text"]);
    check("# TYPE a counter\n# TYPE b gauge\n", &["type a: counter", "type b: gauge"]);
    check("# TYPE a histogram\n# TYPE a summary", &["type a: histogram", "type a: summary"]);
    check("# TYPE a untyped\n", &["type a: unknown"]);
    check("# TYPE a unknown\n", &["invalid metric type \"unknown\""]);
    check("# TYPE a  counter\n", &["invalid metric type \" counter\""]);
    check("# TYPE a counter \n", &["invalid metric type \"counter \""]);
    check("# TYPE a\n", &["invalid metric type \"\""]);
    check(
        "# TYPE 1 counter\n",
        &["expected metric name after TYPE, got \"1\" (\"INVALID\") while parsing: \"# TYPE 1\""],
    );
    check_bytes(b"# HELP a \xff\n", &["help text \"\\xff\" is not a valid utf8 string"]);
    check_bytes(b"# HELP a \x00b\na 1\n", &["help a: \0b", "[a] = 1"]);
}

#[test]
fn a_nul_at_the_start_of_a_line_ends_the_page() {
    check_bytes(b"a 1\n\x00 anything \xff", &["[a] = 1"]);
    check_bytes(b"a 1\n# \x00\nb 1\n", &["[a] = 1"]);
    check_bytes(b"a{x=\"1\x002\"} 1\n", &["[a] x=[1\u{0}2] = 1"]);
}

#[test]
fn a_line_break_may_stand_in_a_quoted_string() {
    check("a{x=\"1\n2\"} 1\n", &["[a] x=[1", "2] = 1"]);
    check(
        "a{x=\"1\\\n2\"} 1\n",
        &["expected label value, got \"\\\"\" (\"INVALID\") while parsing: \"a{x=\\\"\""],
    );
}

#[test]
fn malformed_samples_are_refused() {
    let refused = [
        ("a\n", "expected value after metric, got \"\\n\" (\"INVALID\") while parsing: \"a\\n\""),
        ("a", "expected value after metric, got \"\" (\"EOF\")"),
        ("a{x=\"1\"} {} 1\n", "expected value after metric, got \"{}\" (\"BOPEN\")"),
        (
            "a 1\r\n",
            "strconv.ParseFloat: parsing \"1\\r\": invalid syntax while parsing: \"a 1\\r\"",
        ),
        ("a 0x1p3\n", "unsupported character in float while parsing: \"a 0x1p3\""),
        ("a 1_0\n", "unsupported character in float"),
        ("a 1 2 3\n", "expected next entry after timestamp, got \"3\" (\"INVALID\")"),
        ("a 1 -2\n", "expected timestamp or new record, got \"-\" (\"INVALID\")"),
        ("a 1 2.5\n", "expected next entry after timestamp, got \".\""),
        ("a 1 99999999999999999999\n", "strconv.ParseInt: parsing \"99999999999999999999\": value"),
        ("a 1 # {x=\"1\"} 2\n", "expected timestamp or new record, got \"#\""),
        ("a{x=\"1} 2\n", "expected label value"),
        ("a{x=1} 2\n", "expected label value, got \"1\""),
        ("a{x} 2\n", "expected equal, got \"} \" (\"BCLOSE\")"),
        ("a{,} 2\n", "expected label name, got \",}\" (\"COMMA\")"),
        ("a{x=\"1\",,} 2\n", "expected label name, got \",}\" (\"COMMA\")"),
        ("a{1x=\"1\"} 2\n", "expected label name, got \"1\""),
        ("a{x:y=\"1\"} 2\n", "expected equal, got \":\""),
        ("1a 2\n", "expected a valid start token, got \"1\" (\"INVALID\") while parsing: \"1\""),
        ("a-b 1\n", "strconv.ParseFloat: parsing \"-b\": invalid syntax while parsing: \"a-b\""),
        ("a{x=\"\u{0}", "expected label value"),
    ];
    for (page, want) in refused {
        let got = read(page.as_bytes());
        assert!(got.starts_with(want), "{page:?}: {got}");
    }
    check_bytes(b"a{x=\"\xff\"} 1\n", &["invalid UTF-8 label value: \"\\\"\\xff\\\"\""]);
}

/// A sample as the independent parser and ours both say it.
fn written(name: &str, labels: &[(String, String)], value: f64) -> String {
    let mut labels = labels.to_vec();
    labels.sort();
    format!("{name} {labels:?} {value}")
}

proptest! {
    #[test]
    fn pages_read_as_an_independent_parser_reads_them(
        samples in prop::collection::vec(
            (
                "[a-zA-Z_][a-zA-Z0-9_]{0,12}",
                prop::collection::btree_map("[a-z][a-z0-9_]{0,6}", "[a-zA-Z0-9 /.:-]{1,9}", 1..4),
                prop_oneof![(-1e12..1e12_f64), any::<i32>().prop_map(f64::from)],
                prop::option::of(1_000_000_000_000..2_000_000_000_000_i64),
            ),
            0..20,
        ),
    ) {
        let mut page = String::new();
        for (name, labels, value, timestamp) in &samples {
            let labels: Vec<_> = labels.iter().map(|(n, v)| format!("{n}=\"{v}\"")).collect();
            let stamp = timestamp.map(|ms| format!(" {ms}")).unwrap_or_default();
            writeln!(page, "{name}{{{}}} {value}{stamp}", labels.join(",")).unwrap();
        }
        let lines = page.lines().map(|line| Ok(line.to_owned()));
        let theirs = prometheus_parse::Scrape::parse(lines).unwrap();
        let theirs: Vec<String> = theirs
            .samples
            .iter()
            .map(|sample| {
                let prometheus_parse::Value::Untyped(value) = sample.value else { panic!() };
                let labels: Vec<_> =
                    sample.labels.iter().map(|(n, v)| (n.clone(), v.clone())).collect();
                written(&sample.metric, &labels, value)
            })
            .collect();
        let ours: Vec<String> = read(page.as_bytes())
            .lines()
            .map(|line| {
                let (series, value) = line.rsplit_once(" = ").unwrap();
                let (name, labels) = series.split_once(']').unwrap();
                let labels: Vec<_> = labels
                    .split_terminator(']')
                    .map(|label| label.trim_start().split_once("=[").unwrap())
                    .map(|(n, v)| (n.to_owned(), v.to_owned()))
                    .collect();
                let value = value.split(" @").next().unwrap().parse().unwrap();
                written(&name[1..], &labels, value)
            })
            .collect();
        prop_assert_eq!(ours, theirs);
    }

    #[test]
    fn no_bytes_make_the_reader_panic(page in prop::collection::vec(any::<u8>(), 0..200)) {
        read(&page);
    }

    #[test]
    fn no_odd_text_makes_the_reader_panic(page in "[a#{}\"= ,\\\\\n\x000-9TYPEHL]{0,60}") {
        read(page.as_bytes());
    }
}
