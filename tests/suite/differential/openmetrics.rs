//! OpenMetrics: stricter than the text format, and laxer than its own specification.

use testkit::Reply;

use super::case::{Case, reply};
use super::check;

const PARSER: &str = "model/textparse/openmetricsparse.go";
const SCRAPE: &str = "scrape/scrape.go";

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A page in OpenMetrics, as it stands.
fn whole(name: &'static str, text: &str) -> Case {
    reply(name, Reply::page(text.to_owned()).typed(CONTENT_TYPE))
}

/// Lines between two good ones, with the end that every page needs.
fn line(name: &'static str, line: &str) -> Case {
    whole(name, &format!("before 1\n{line}\nafter 2\n# EOF\n"))
}

/// A page of three samples that 3.14 reads and 2.42 does not.
fn reads(name: &'static str, line_of_a: &str, a: &str) -> Case {
    let scrape = |nth, added| {
        let mut series = ["before 1", a, "after 2"];
        series.sort_unstable();
        let [one, two, three] = series;
        format!(
            "scrape {nth}\n  report up=1 scraped=3 kept=3 added={added}\n  {one}\n  {two}\n  {three}\n"
        )
    };
    line(name, line_of_a).differs(PARSER, &(scrape(1, 3) + &scrape(2, 0)))
}

fn lines(cases: &[(&'static str, &str)]) -> Vec<Case> {
    cases.iter().map(|(name, text)| line(name, text)).collect()
}

#[tokio::test]
async fn lines_are_read_as_prometheus_reads_them() {
    let mut cases = lines(&[
        ("om: a sample", "a 1"),
        ("om: a sample with a label", "a{x=\"1\"} 2"),
        ("om: two spaces", "a  1"),
        ("om: a tab", "a\t1"),
        ("om: a space at the end", "a 1 "),
        ("om: a space before the name", " a 1"),
        ("om: a space before the brace", "a {x=\"1\"} 2"),
        ("om: spaces in the label set", "a{ x=\"1\" } 2"),
        ("om: no space after the brace", "a{x=\"1\"}2"),
        ("om: no comma between labels", "a{x=\"1\"y=\"2\"} 3"),
        ("om: an empty label set", "a{} 1"),
        ("om: an empty line", ""),
        ("om: a carriage return", "a 1\r"),
        ("om: a comment", "# comment"),
        ("om: a hash", "#"),
        ("om: a help text", "# HELP a good"),
        ("om: a help text of nothing", "# HELP a "),
        ("om: a help text without a space", "# HELP a"),
        ("om: a help text with two spaces", "# HELP  a good"),
        ("om: a help text with escapes", "# HELP a \\n \\\\ \\\" \\q"),
        ("om: a type", "# TYPE a gauge"),
        ("om: an unknown type", "# TYPE a sparse"),
        ("om: the unknown type", "# TYPE a unknown"),
        ("om: the untyped type", "# TYPE a untyped"),
        ("om: the info type", "# TYPE a info"),
        ("om: the state set type", "# TYPE a stateset"),
        ("om: the gauge histogram type", "# TYPE a gaugehistogram"),
        ("om: a unit", "# TYPE a_seconds gauge\n# UNIT a_seconds seconds\na_seconds 1"),
        ("om: a unit that the name lacks", "# UNIT a seconds\na 1"),
        ("om: a unit that is the name", "# UNIT seconds seconds\nseconds 1"),
        ("om: an empty unit", "# UNIT a \na 1"),
        ("om: a type behind its samples", "a 1\n# TYPE a counter"),
        ("om: a type twice", "# TYPE a gauge\n# TYPE a gauge\na 1"),
        ("om: a counter", "# TYPE a counter\na_total 1"),
        ("om: a counter without its suffix", "# TYPE a counter\na 1"),
        ("om: a counter that is negative", "# TYPE a counter\na_total -1"),
        ("om: a state set", "# TYPE s stateset\ns{s=\"on\"} 1\ns{s=\"off\"} 0"),
        ("om: an info", "# TYPE i info\ni_info{v=\"1\"} 1"),
        ("om: a summary", "# TYPE s summary\ns{quantile=\"0.5\"} 1\ns_sum 1\ns_count 1"),
        ("om: a histogram", "# TYPE h histogram\nh_bucket{le=\"+Inf\"} 1\nh_count 1\nh_sum 1"),
        ("om: infinity", "a +Inf"),
        ("om: infinity in small letters", "a inf"),
        ("om: not a number", "a NaN"),
        ("om: a hexadecimal number", "a 0x1p2"),
        ("om: an underscore in a number", "a 1_0"),
        ("om: an escaped line end", "a{x=\"\\n\"} 1"),
        ("om: an escaped letter", "a{x=\"\\q\"} 1"),
        ("om: a line end in a label value", "a{x=\"1\n2\"} 1"),
        ("om: the same label twice", "a{x=\"1\",x=\"2\"} 1"),
        ("om: the same series twice", "a 1\na 2"),
        ("om: families that are mixed", "# TYPE a gauge\n# TYPE b gauge\na 1\nb 1\na{x=\"1\"} 1"),
    ]);
    cases.push(reads("om: a comma after the last label", "a{x=\"1\",} 2", "a{x=\"1\"} 2"));
    check(cases).await;
}

#[tokio::test]
async fn timestamps_are_seconds_and_exemplars_follow_a_hash() {
    let mut cases = lines(&[
        ("om: a timestamp", "a 1 {S1}"),
        ("om: a timestamp of whole seconds", "a 1 1600000000"),
        ("om: a timestamp with many digits", "a 1 {S1}99999"),
        ("om: a timestamp that is not a number", "a 1 NaN"),
        ("om: an infinite timestamp", "a 1 +Inf"),
        ("om: a timestamp with an exponent", "a 1 1.6e9"),
        ("om: a word for a timestamp", "a 1 now"),
        ("om: two timestamps", "a 1 {S1} {S2}"),
        ("om: a series with two timestamps", "a 1 {S1}\na 2 {S2}"),
        ("om: an exemplar", "a_total 1 # {id=\"7\"} 0.5"),
        ("om: an exemplar with a timestamp", "a_total 1 # {id=\"7\"} 0.5 {S1}"),
        ("om: an exemplar behind a timestamp", "a_total 1 {S1} # {id=\"7\"} 0.5"),
        ("om: an exemplar without labels", "a_total 1 # {} 0.5"),
        ("om: an exemplar without a value", "a_total 1 # {id=\"7\"}"),
        ("om: an exemplar with a bad value", "a_total 1 # {id=\"7\"} x"),
        ("om: an exemplar with a bad timestamp", "a_total 1 # {id=\"7\"} 1 x"),
        ("om: an exemplar that is open", "a_total 1 # {id=\"7"),
        ("om: a zero byte in an exemplar", "a_total 1 # {id=\"\0\"} 0.5"),
        ("om: two spaces before an exemplar", "a_total 1  # {id=\"7\"} 0.5"),
    ]);
    let gauge = "# TYPE a gauge\na 1 # {id=\"7\"} 0.5";
    cases.push(reads("om: an exemplar of a gauge", gauge, "a 1"));
    check(cases).await;
}

#[tokio::test]
async fn a_page_ends_with_its_end() {
    check(vec![
        whole("om: an end", "a 1\n# EOF\n"),
        whole("om: an end without a line end", "a 1\n# EOF"),
        whole("om: no end", "a 1\n"),
        whole("om: no end and no line end", "a 1"),
        whole("om: an end and then a sample", "a 1\n# EOF\nb 2\n"),
        whole("om: an end and then a line end", "a 1\n# EOF\n\n"),
        whole("om: an end and then a space", "a 1\n# EOF \n"),
        whole("om: two ends", "a 1\n# EOF\n# EOF\n"),
        whole("om: an end in small letters", "a 1\n# eof\n"),
        whole("om: an end with two spaces", "a 1\n#  EOF\n"),
        whole("om: an end and then zero bytes", "a 1\n# EOF\n\0\0"),
        whole("om: an end alone", "# EOF\n"),
        whole("om: a line end alone", "\n"),
        whole("om: nothing", "").differs(
            SCRAPE,
            "
            scrape 1
              report up=1 scraped=0 kept=0 added=0
            scrape 2
              report up=1 scraped=0 kept=0 added=0
            ",
        ),
        reply(
            "om: the older version",
            Reply::page("a 1\n# EOF\n").typed("application/openmetrics-text; version=0.0.1"),
        ),
        reply("om: no version", Reply::page("a 1\n# EOF\n").typed("application/openmetrics-text")),
    ])
    .await;
}
