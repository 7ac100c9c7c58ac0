//! Target labels and exposed labels, and what happens when both want the same name.

use testkit::Reply;

use super::case::{Case, page};
use super::check;

/// Series of a scrape that is rolled back are written down all the same; 2.42 forgets them, and
/// what they say later gets lost.
const AGENT: &str = "tsdb/agent/db.go";
const SCRAPE: &str = "scrape/scrape.go";

fn honored(name: &'static str, text: &str) -> Case {
    page(name, text).job("honor_labels: true")
}

#[tokio::test]
async fn a_conflict_is_resolved_as_the_job_says() {
    check(vec![
        page("a job is exposed", "a{job=\"mine\"} 1\n"),
        page("a job and its export are exposed", "a{job=\"mine\",exported_job=\"b\"} 1\n"),
        page("two exports are exposed", "a{job=\"a\",exported_job=\"b\",exported_exported_job=\"c\"} 1\n"),
        page("an instance is exposed", "a{instance=\"mine\"} 1\n"),
        page("both are exposed", "a{instance=\"i\",job=\"j\"} 1\n"),
        page("an empty job is exposed", "a{job=\"\"} 1\n"),
        page("an empty job and an export are exposed", "a{job=\"\",exported_job=\"b\"} 1\n"),
        page("an exported job alone", "a{exported_job=\"b\"} 1\n"),
        page("a label of the target is exposed", "a{zone=\"mine\"} 1\n").labels("zone: theirs"),
        page("an export is a label of the target", "a{job=\"mine\"} 1\n").labels("exported_job: x"),
        page("an export of a label of the target", "a{zone=\"m\",exported_zone=\"n\"} 1\n")
            .labels("zone: t, exported_zone: u"),
        page("an empty label of the target is exposed", "a{zone=\"mine\"} 1\n").labels("zone: ''"),
        page("the same value is exposed", "a{zone=\"same\"} 1\n").labels("zone: same"),
        honored("an honored job", "a{job=\"mine\"} 1\n"),
        honored("an honored instance", "a{instance=\"mine\"} 1\n"),
        honored("an honored empty job", "a{job=\"\"} 1\n"),
        honored("an honored empty instance", "a{instance=\"\",x=\"1\"} 1\n"),
        honored("an honored label of the target", "a{zone=\"mine\"} 1\n").labels("zone: theirs"),
        honored("an honored empty label of the target", "a{zone=\"\"} 1\n").labels("zone: theirs"),
        honored("nothing to honor", "a{x=\"1\"} 1\n"),
        honored("honored reports", "up{job=\"mine\"} 7\n"),
        page("a report with labels", "up{x=\"1\"} 7\nscrape_samples_scraped{x=\"2\"} 8\n"),
        page("labels of the target", "a 1\n").labels("zone: z1, __private: p, rack: ''"),
        page("a target label with a colon", "a 1\n").labels("zone: 'a:b c'"),
        page("a conflict and a rule", "a{job=\"mine\"} 1\n")
            .job("metric_relabel_configs: [{source_labels: [exported_job], target_label: job}, {action: labeldrop, regex: exported_job}]"),
        page("an honored conflict and a rule", "a{job=\"mine\"} 1\n")
            .job("honor_labels: true\nmetric_relabel_configs: [{source_labels: [job], target_label: was}]"),
    ])
    .await;
}

#[tokio::test]
async fn too_many_samples_fail_the_scrape_and_count_on() {
    let three = "a{x=\"1\"} 1\na{x=\"2\"} 2\na{x=\"3\"} 3\n";
    check(vec![
        page("as many samples as allowed", three).job("sample_limit: 3"),
        page("one sample too many", three).job("sample_limit: 2"),
        page("far too many samples", three).job("sample_limit: 1"),
        page("samples are counted after relabelling", three)
            .job("sample_limit: 2\nmetric_relabel_configs: [{action: drop, source_labels: [x], regex: '3'}]"),
        page("too many samples, then fewer", three)
            .job("sample_limit: 2")
            .then("a{x=\"1\"} 4\n")
            .differs(
                AGENT,
                "
                scrape 1
                  report up=0 scraped=3 kept=3 added=2
                scrape 2
                  report up=1 scraped=1 kept=1 added=0
                  a{x=\"1\"} 4
                  a{x=\"2\"} stale
                ",
            ),
        page("few samples, then too many", "a{x=\"1\"} 1\nb 1\n")
            .job("sample_limit: 2")
            .then(three)
            .then("a{x=\"1\"} 5\n")
            .differs(
                AGENT,
                "
                scrape 1
                  report up=1 scraped=2 kept=2 added=2
                  a{x=\"1\"} 1
                  b 1
                scrape 2
                  report up=0 scraped=3 kept=3 added=1
                  b stale
                scrape 3
                  report up=1 scraped=1 kept=1 added=0
                  a{x=\"1\"} 5
                  a{x=\"2\"} stale
                ",
            ),
        page("too many samples and a broken line", "a 1\nb 2\nc 3\nd\n").job("sample_limit: 2"),
        // A line that was in the page before is a duplicate before it counts for the limit.
        page("a series too many that is there twice", "a 1\na 2\nb 1\n")
            .job("sample_limit: 2")
            .differs(
                SCRAPE,
                "
                scrape 1
                  report up=1 scraped=3 kept=3 added=2
                  a 1
                  b 1
                scrape 2
                  report up=1 scraped=3 kept=3 added=0
                  a 1
                  b 1
                ",
            ),
        page("stamped samples count too", "a 1 {T1}\nb 1 {T1}\nc 1 {T1}\n").job("sample_limit: 2"),
    ])
    .await;
}

#[tokio::test]
async fn long_labels_and_pages_fail_the_scrape() {
    let bytes = "a 1\n".len();
    check(vec![
        page("as many labels as allowed", "a{x=\"1\"} 1\n").job("label_limit: 5"),
        page("one label too many", "a{x=\"1\",y=\"2\"} 1\n").job("label_limit: 5"),
        page("a label too many is relabelled away", "a{x=\"1\",y=\"2\"} 1\n")
            .job("label_limit: 5\nmetric_relabel_configs: [{action: labeldrop, regex: y}]"),
        page("a label too many of a dropped series", "a{x=\"1\",y=\"2\"} 1\nb 1\n")
            .job("label_limit: 5\nmetric_relabel_configs: [{action: drop, source_labels: [y], regex: '2'}]"),
        page("no room for the labels of the target", "a 1\n").job("label_limit: 3"),
        page("a label name as long as allowed", "a{abcdefgh=\"1\"} 1\n").job("label_name_length_limit: 8"),
        page("a label name too long", "a{abcdefghi=\"1\"} 1\n").job("label_name_length_limit: 8"),
        page("the name of the name is too long", "a 1\n").job("label_name_length_limit: 7"),
        page("a label value as long as allowed", "a{x=\"0123456789012345678901234567890123456789\"} 1\n")
            .job("label_value_length_limit: 40"),
        page("a label value too long", "a{x=\"01234567890123456789012345678901234567890\"} 1\n")
            .job("label_value_length_limit: 40"),
        page("a label value too long in bytes", "a{x=\"\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\"} 1\n")
            .job("label_value_length_limit: 41"),
        page("a good line before a bad label", "a 1\nb{abcdefghi=\"1\"} 1\nc 1\n").job("label_name_length_limit: 8"),
        page("a body below the limit", "a 1\n").job(&format!("body_size_limit: {}B", bytes + 1)),
        page("a body of exactly the limit", "a 1\n").job(&format!("body_size_limit: {bytes}B")),
        page("a body over the limit", "a 1\nb 2\n").job(&format!("body_size_limit: {bytes}B")),
        page("a body of a kilobyte", &"a 1\n".repeat(257)).job("body_size_limit: 1KB"),
        page("a good body, then a large one", "a 1\n").job("body_size_limit: 5B").then("a 1\nb 2\n").then("a 3\n"),
        Case {
            replies: vec![Reply::page("a 1\n".repeat(400)).gzip()],
            ..page("a body that is large when inflated", "").job("body_size_limit: 1KB")
        },
        Case {
            replies: vec![Reply::page("a 1\n".repeat(20)).gzip()],
            ..page("a body that is small when inflated", "").job("body_size_limit: 1KB")
        },
    ])
    .await;
}
