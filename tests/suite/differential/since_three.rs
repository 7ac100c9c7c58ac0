//! What Prometheus 3.14 does and 2.42 does not: written down, with the file of 3.14 that says so.

use testkit::Reply;

use super::case::{Case, page, reply};
use super::check;

const PARSER: &str = "model/textparse/promparse.go";
const INTERFACE: &str = "model/textparse/interface.go";
const CONFIG: &str = "config/config.go";
const RELABEL: &str = "model/relabel/relabel.go";
const SCRAPE: &str = "scrape/scrape.go";

/// A page that 3.14 reads: its series, sorted, as they come out of each of two scrapes.
fn reads(name: &'static str, text: &str, series: &[&str]) -> Case {
    let n = series.len();
    let list: String = series.iter().map(|series| format!("  {series}\n")).collect();
    let scrape = |nth, added| {
        format!("scrape {nth}\n  report up=1 scraped={n} kept={n} added={added}\n{list}")
    };
    page(name, text).differs(PARSER, &(scrape(1, n) + &scrape(2, 0)))
}

const FAILS: &str = "
    scrape 1
      report up=0 scraped=0 kept=0 added=0
    scrape 2
      report up=0 scraped=0 kept=0 added=0
";

#[tokio::test]
async fn names_may_be_any_text_in_quotes() {
    check(vec![
        reads("a quoted name", "{\"a\"} 1\n", &["a 1"]),
        reads("a quoted name with a dot", "{\"a.b\"} 1\n", &["a.b 1"]),
        reads("a quoted name and a label", "{\"a.b\",x=\"y\"} 1\n", &["a.b{x=\"y\"} 1"]),
        reads("a quoted name behind a label", "{x=\"y\",\"a.b\"} 1\n", &["a.b{x=\"y\"} 1"]),
        reads("a quoted name and a comma", "{\"a.b\",} 1\n", &["a.b 1"]),
        reads("a quoted name with a space", "{\"a b\"} 1\n", &["a b 1"]),
        reads("a quoted name with a quote", "{\"a\\\"b\"} 1\n", &["a\"b 1"]),
        reads("a quoted name with a backslash", "{\"a\\\\b\"} 1\n", &["a\\b 1"]),
        reads("a quoted name of another script", "{\"\u{540d}\"} 1\n", &["\u{540d} 1"]),
        reads("a quoted label", "a{\"x.y\"=\"1\"} 1\n", &["a{x.y=\"1\"} 1"]),
        reads("a quoted label that needs no quotes", "a{\"x\"=\"1\"} 1\n", &["a{x=\"1\"} 1"]),
        reads("quotes all over", "{\"a b\",\"x y\"=\"1\"} 1\n", &["a b{x y=\"1\"} 1"]),
        reads("help for a quoted name", "# HELP \"a.b\" text\n{\"a.b\"} 1\n", &["a.b 1"]),
        reads("a type for a quoted name", "# TYPE \"a.b\" gauge\n{\"a.b\"} 1\n", &["a.b 1"]),
        reads("a space before the name belongs to it", " a 1\n", &[" a 1"]),
        reads("a tab before the name belongs to it", "\ta 1\n", &["\ta 1"]),
    ])
    .await;
}

#[tokio::test]
async fn bounds_are_written_as_open_metrics_writes_them() {
    let histogram = |name, given: &str, want: &str| {
        let text = format!("# TYPE h histogram\nh_bucket{{le=\"{given}\"}} 1\n");
        reads(name, &text, &[&format!("h_bucket{{le=\"{want}\"}} 1")])
    };
    let summary = |name, given: &str, want: &str| {
        let text = format!("# TYPE s summary\ns{{quantile=\"{given}\"}} 1\n");
        reads(name, &text, &[&format!("s{{quantile=\"{want}\"}} 1")])
    };
    check(vec![
        histogram("a bound of one", "1", "1.0"),
        histogram("a bound of zero", "0", "0.0"),
        histogram("a negative bound", "-1", "-1.0"),
        histogram("a bound with an exponent", "1e3", "1000.0"),
        histogram("a large bound", "1e21", "1e+21"),
        histogram("a small bound", "0.00001", "1e-05"),
        histogram("a bound with a zero too many", "0.10", "0.1"),
        histogram("an infinite bound without a sign", "Inf", "+Inf"),
        summary("a quantile of one", "1", "1.0"),
        summary("a quantile of zero", "0", "0.0"),
        summary("a quantile with a zero too many", "0.50", "0.5"),
        reads(
            "a bound of another family behind the type",
            "# TYPE h histogram\nother{le=\"1\"} 1\n",
            &["other{le=\"1.0\"} 1"],
        ),
    ])
    .await;
}

#[tokio::test]
async fn a_page_needs_a_content_type_that_is_known() {
    let typed = |name, content_type: &str| reply(name, Reply::page("a 1\n").typed(content_type));
    let failing = |name, content_type| typed(name, content_type).differs(INTERFACE, FAILS);
    let read = "
        scrape 1
          report up=1 scraped=1 kept=1 added=1
          a 1
        scrape 2
          report up=1 scraped=1 kept=1 added=0
          a 1
    ";
    check(vec![
        failing("no content type", ""),
        failing("a page for people", "text/html"),
        failing("JSON", "application/json"),
        failing("a content type that is none", "words"),
        failing("a text of another kind", "text/csv"),
        typed("no content type, with a fallback", "")
            .job("fallback_scrape_protocol: PrometheusText0.0.4")
            .new_in_3(INTERFACE, read),
        typed("an unknown content type, with a fallback", "text/html")
            .job("fallback_scrape_protocol: PrometheusText1.0.0")
            .new_in_3(INTERFACE, read),
        typed("a broken content type, with a fallback", ";;;")
            .job("fallback_scrape_protocol: PrometheusText0.0.4")
            .new_in_3(INTERFACE, read),
    ])
    .await;
}

#[tokio::test]
async fn relabelling_takes_lines_and_any_names() {
    let rules = |name, rule: &str, series: &str| {
        let want = |nth, added| {
            format!("scrape {nth}\n  report up=1 scraped=1 kept=1 added={added}\n  {series}\n")
        };
        page(name, "a{x=\"1\\n2\"} 1\n")
            .job(&format!("metric_relabel_configs: [{rule}]"))
            .differs(RELABEL, &(want(1, 1) + &want(2, 0)))
    };
    check(vec![
        rules(
            "a dot matches a line end",
            "{source_labels: [x], regex: '1.2', target_label: z, replacement: k}",
            "a{x=\"1\\n2\",z=\"k\"} 1",
        ),
        rules(
            "by default a line end matches",
            "{source_labels: [x], target_label: z}",
            "a{x=\"1\\n2\",z=\"1\\n2\"} 1",
        ),
    ])
    .await;
}

#[tokio::test]
async fn keys_about_requests_that_2_42_does_not_know() {
    check(vec![
        page("no compression asked for", "a 1\n").job("enable_compression: false").new_in_3(
            SCRAPE,
            "
            scrape 1 asked GET / accept-encoding=identity scrape-timeout-seconds=2
              report up=1 scraped=1 kept=1 added=1
              a 1
            scrape 2 asked GET / accept-encoding=identity scrape-timeout-seconds=2
              report up=1 scraped=1 kept=1 added=0
              a 1
            ",
        ),
        reply("compressed all the same", Reply::page("a 1\n").gzip())
            .job("enable_compression: false")
            .new_in_3(
                SCRAPE,
                "
                scrape 1 asked GET / accept-encoding=identity scrape-timeout-seconds=2
                  report up=1 scraped=1 kept=1 added=1
                  a 1
                scrape 2 asked GET / accept-encoding=identity scrape-timeout-seconds=2
                  report up=1 scraped=1 kept=1 added=0
                  a 1
                ",
            ),
        page("a header of one's own", "a 1\n")
            .job("http_headers: { X-Test: { values: [one] } }")
            .new_in_3(
                CONFIG,
                "
                scrape 1 asked GET / accept-encoding=gzip scrape-timeout-seconds=2 x-test=one
                  report up=1 scraped=1 kept=1 added=1
                  a 1
                scrape 2 asked GET / accept-encoding=gzip scrape-timeout-seconds=2 x-test=one
                  report up=1 scraped=1 kept=1 added=0
                  a 1
                ",
            ),
    ])
    .await;
}

#[tokio::test]
async fn keys_about_series_that_2_42_does_not_know() {
    check(vec![
        page("stamped series are tracked", "a 1 {T1}\n")
            .then("b 1\n")
            .then("b 1\n")
            .job("track_timestamps_staleness: true")
            .new_in_3(
                SCRAPE,
                "
                scrape 1
                  report up=1 scraped=1 kept=1 added=1
                scrape 2
                  report up=1 scraped=1 kept=1 added=1
                  b 1
                scrape 3
                  report up=1 scraped=1 kept=1 added=0
                  b 1
                stamped: a 1 @1000ms
                ",
            ),
        page("a target label from a capture may be any text", "a 1\n")
            .job(
                "metric_relabel_configs: [{source_labels: [__name__], regex: '(.*)', \
                 target_label: 'l-$1', replacement: k}]",
            )
            .new_in_3(
                RELABEL,
                "
                scrape 1
                  report up=1 scraped=1 kept=1 added=1
                  a{l-a=\"k\"} 1
                scrape 2
                  report up=1 scraped=1 kept=1 added=0
                  a{l-a=\"k\"} 1
                ",
            ),
        page("names as they used to be", "a 1\n{\"a.b\"} 2\n")
            .job("metric_name_validation_scheme: legacy\nmetric_name_escaping_scheme: underscores")
            .new_in_3(
                CONFIG,
                "
                scrape 1
                  report up=0 scraped=2 kept=1 added=1
                scrape 2
                  report up=0 scraped=2 kept=1 added=0
                ",
            ),
        page("more about the scrape", "a 1\n")
            .job("extra_scrape_metrics: true\nsample_limit: 7")
            .new_in_3(
                SCRAPE,
                "
                scrape 1
                  report up=1 scraped=1 kept=1 added=1
                  a 1
                  scrape_body_size_bytes 4
                  scrape_sample_limit 7
                  scrape_timeout_seconds 2
                scrape 2
                  report up=1 scraped=1 kept=1 added=0
                  a 1
                  scrape_body_size_bytes 4
                  scrape_sample_limit 7
                  scrape_timeout_seconds 2
                ",
            ),
    ])
    .await;
}
