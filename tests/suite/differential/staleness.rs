//! Series that vanish and come back, targets that fail and recover.

use std::time::Duration;

use testkit::Reply;

use super::case::{Case, page, reply};
use super::check;

/// A target that serves these pages in turn.
fn pages(name: &'static str, texts: &[&str]) -> Case {
    texts[1..].iter().fold(page(name, texts[0]), |case, text| case.then(text))
}

/// Series of a scrape that is rolled back are written down all the same; 2.42 forgets them, and
/// what they say later gets lost.
const AGENT: &str = "tsdb/agent/db.go";

/// A scrape of `a`, one that fails after so many samples, one of `a` and another series.
fn without_a_gap(n_samples: usize, other: &str) -> String {
    format!(
        "scrape 1
  report up=1 scraped=1 kept=1 added=1
  a 1
scrape 2
  report up=0 scraped={n_samples} kept={n_samples} added=1
scrape 3
  report up=1 scraped=2 kept=2 added=0
  a 3
  {other}
"
    )
}

#[tokio::test]
async fn what_is_no_longer_said_ends_with_a_marker() {
    let down = || Reply::status(500);
    let many = |from: usize, to: usize| -> String {
        (from..to).map(|n| format!("many{{n=\"{n}\"}} {n}\n")).collect()
    };
    check(vec![
        pages("a series vanishes", &["a 1\nb 1\n", "a 2\n", "a 3\n"]),
        pages("the only series vanishes", &["a 1\n", "", ""]),
        pages("a series comes back", &["a 1\nb 1\n", "a 2\n", "a 3\nb 3\n", "a 4\nb 4\n"]),
        pages("a series comes and goes", &["a 1\n", "b 1\n", "a 1\n", "b 1\n", "a 1\n"]),
        pages("a series is new", &["a 1\n", "a 2\nb 1\n", "a 3\nb 2\n"]),
        pages("lines change places", &["a 1\nb 2\nc 3\n", "c 3\na 1\nb 2\n", "b 2\nc 3\na 1\n"]),
        pages("a label changes", &["a{x=\"1\"} 1\n", "a{x=\"2\"} 1\n", "a{x=\"1\"} 1\n"]),
        pages("a state moves between labels", &["s{state=\"on\"} 1\n", "s{state=\"off\"} 1\n", "s{state=\"on\"} 1\n"]),
        pages("a comment moves", &["# one\na 1\n", "a 1\n# one\n", "# TYPE a gauge\na 1\n"]),
        pages("a value changes its width", &["a 9\nb 1\n", "a 10\nb 1\n", "a 1e300\nb 1\n", "a 1\nb 100000\n"]),
        pages("a spelling changes", &["a{x=\"1\"} 1\n", "a{x=\"1\",} 1\n", "a { x = \"1\" } 1\n"]),
        pages("the first line vanishes", &["a 1\nb 1\nc 1\n", "b 1\nc 1\n", "b 2\nc 2\n"]),
        pages("the last line vanishes", &["a 1\nb 1\nc 1\n", "a 1\nb 1\n", "a 1\nb 1\n"]),
        pages("a line in the middle is new", &["a 1\nc 1\n", "a 1\nb 1\nc 1\n", "a 1\nb 1\nc 1\n"]),
        pages("not a number is not a marker", &["a 1\n", "a NaN\n", "a 2\n"]),
        pages("a value does not change", &["a 1\n", "a 1\n", "a 1\n"]),
        pages("many series vanish", &[&many(0, 300), &many(0, 10), &many(0, 300)]),
        pages("many series move on", &[&many(0, 200), &many(100, 300), &many(200, 400)]),
        page("a target fails once", "a 1\nb 1\n").then_reply(down()).then("a 3\nb 3\n").then("a 4\n"),
        page("a target fails twice", "a 1\n").then_reply(down()).then_reply(down()).then("a 4\n"),
        reply("a target fails at first", down()).then("a 2\n").then("a 3\n"),
        reply("a target that always fails", down()),
        page("a target hangs up", "a 1\n").then_reply(Reply::closed()).then("a 3\n"),
        page("a target is late once", "a 1\n")
            .job("scrape_timeout: 500ms")
            .then_reply(Reply::page("a 2\n").after(Duration::from_millis(1000)))
            .then("a 3\n"),
        pages("a line breaks", &["a 1\nb 1\n", "a 2\nb x\n", "a 3\nb 3\n"]),
        pages("the first line breaks", &["a 1\nb 1\n", "a\nb 2\n", "a 3\nb 3\n"]),
        pages("a new series before a broken line", &["a 1\n", "a 2\nn 1\nb x\n", "a 3\nn 2\n"])
            .differs(AGENT, &without_a_gap(2, "n 2")),
        pages("a page gets shorter and breaks", &["a 1\nb 1\nc 1\n", "a 2\n!\n", "a 3\nb 3\nc 3\n"]),
        page("a series vanishes while the target fails", "a 1\nb 1\n").then_reply(down()).then("a 3\n").then("a 4\n"),
        page("another series after the failure", "a 1\n").then_reply(down()).then("b 3\n").then("a 4\n"),
        page("empty after the failure", "a 1\n").then_reply(down()).then("").then("a 4\n"),
        pages("a duplicate vanishes", &["a 1\na 2\nb 1\n", "b 1\n", "a 3\nb 1\n"]),
        pages("a duplicate in two spellings vanishes by half", &["a{x=\"1\"} 1\na{x=\"1\",} 2\n", "a{x=\"1\",} 3\n", "c 1\n"]),
        pages("a dropped series vanishes", &["a 1\nb 1\n", "a 2\n", "a 3\nb 3\n"])
            .job("metric_relabel_configs: [{action: drop, source_labels: [__name__], regex: b}]"),
        pages("a renamed series vanishes", &["a 1\nb 1\n", "a 2\n", "a 3\nb 3\n"])
            .job("metric_relabel_configs: [{source_labels: [__name__], regex: b, target_label: __name__, replacement: c}]"),
        pages("two that became one lose one", &["a{x=\"1\"} 1\na{x=\"2\"} 2\n", "a{x=\"2\"} 3\n", "a{x=\"1\"} 4\n", "c 1\n"])
            .job("metric_relabel_configs: [{action: labeldrop, regex: x}]"),
        pages("a stamped series is not marked", &["a 1 {T1}\nb 1\n", "b 2\n", "b 3\n"]),
        pages("an ignored timestamp is marked", &["a 1 {T1}\nb 1\n", "b 2\n", "b 3\n"])
            .job("honor_timestamps: false"),
        pages("a series gets a timestamp", &["a 1\n", "a 2 {T1}\n", "a 3 {T2}\n", "b 1\n"]),
        page("the content is compressed the second time", "a 1\nb 1\n")
            .then_reply(Reply::page("a 2\nb 2\n").gzip())
            .then("a 3\n"),
        page("a limit bites once", "a 1\n")
            .job("sample_limit: 2")
            .then("a 2\nb 2\nc 2\n")
            .then("a 3\nb 3\n")
            .differs(AGENT, &without_a_gap(3, "b 3")),
        page("a label limit bites once", "a 1\n").job("label_limit: 5").then("a{x=\"1\",y=\"2\",z=\"3\"} 2\n").then("a 3\n"),
        pages("a type changes", &["# TYPE a gauge\na 1\n", "# TYPE a counter\na 2\n", "a 3\n"]),
    ])
    .await;
}
