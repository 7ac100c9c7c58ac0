//! What comes back after faults: each fault between good pages that differ, so that both what it
//! ends and what begins again are seen.

use std::time::Duration;

use testkit::Reply;

use super::case::{Case, page};
use super::check;

/// Two good pages, a fault, and two good pages with another series less and one more.
fn around(name: &'static str, fault: Reply) -> Case {
    page(name, "a 1\nb 1\nc 1\n")
        .then("a 2\nb 2\nc 2\n")
        .then_reply(fault)
        .then("b 4\nc 4\nd 4\n")
        .then("b 5\nc 5\nd 5\n")
}

fn text(body: &str) -> Reply {
    Reply::page(body.to_owned())
}

#[tokio::test]
async fn every_fault_ends_what_it_must_and_no_more() {
    let open_metrics = "application/openmetrics-text; version=1.0.0";
    check(vec![
        around("back after an error", Reply::status(500)),
        around("back after a missing page", Reply::status(404).body("a 3\nb 3\n")),
        around("back after a redirect to nowhere", Reply::status(302)),
        around("back after a closed connection", Reply::closed()),
        around("back after no HTTP", Reply::raw("what\r\n\r\n")),
        around("back after half a page", text("a 3\nb 3\nc 3\n").torn(5)),
        around("back after chunks without an end", text("a 3\nb 3\nc 3\n").unfinished()),
        around("back after no gzip", text("a 3\nb 3\n").header("Content-Encoding", "gzip")),
        around("back after half a gzip", text(&"a 3\n".repeat(50)).gzip().torn(20)),
        around("back after an empty page", text("")),
        around("back after comments", text("# a\n# b\n")),
        around("back after a broken first line", text("!\na 3\nb 3\nc 3\n")),
        around("back after a broken second line", text("a 3\n!\nb 3\nc 3\n")),
        around("back after a broken third line", text("a 3\nb 3\n!\nc 3\n")),
        around("back after a broken last line", text("a 3\nb 3\nc 3\n!\n")),
        around("back after a broken line in another order", text("c 3\nb 3\n!\na 3\n")),
        around("back after a broken line without an end", text("a 3\nb 3\nc")),
        around("back after a bad value", text("a 3\nb three\nc 3\n")),
        around("back after a repeated label", text("a 3\nb{x=\"1\",x=\"2\"} 3\nc 3\n")),
        around("back after a zero byte", text("a 3\nb\u{0} 3\nc 3\n")),
        around("back after one line of the old ones", text("b 3\n")),
        around("back after other lines", text("x 3\ny 3\n")),
        around("back after another spelling", text("a{} 3\nb{} 3\nc{} 3\n")),
        around("back after lines that are there twice", text("a 3\na 4\nb 3\nb 4\nc 3\n")),
        around("back after OpenMetrics", text("a 3\nb 3\nc 3\n# EOF\n").typed(open_metrics)),
        around(
            "back after OpenMetrics without an end",
            text("a 3\nb 3\nc 3\n").typed(open_metrics),
        ),
        around("back after a late page", text("a 3\n").after(Duration::from_millis(900)))
            .job("scrape_timeout: 400ms"),
        around(
            "back after a late body",
            text("a 3\nb 3\n").trickling(2, Duration::from_millis(300)),
        )
        .job("scrape_timeout: 400ms"),
        around("back after a large page", text(&"a 3\n".repeat(40))).job("body_size_limit: 100B"),
        around("back after a long label", text("a 3\nb{x=\"0123456789\"} 3\n"))
            .job("label_value_length_limit: 30")
            .then_reply(text("b{x=\"012345678901234567890123456789\"} 6\n")),
    ])
    .await;
}

#[tokio::test]
async fn faults_in_a_row_end_nothing_twice() {
    let faults = |name, first: Reply, second: Reply| {
        page(name, "a 1\nb 1\n")
            .then_reply(first)
            .then_reply(second)
            .then("a 4\nb 4\n")
            .then("a 5\n")
    };
    let down = || Reply::status(503);
    check(vec![
        faults("an error, then an error", down(), down()),
        faults("an error, then a broken line", down(), text("a 3\n!\n")),
        faults("a broken line, then an error", text("a 2\n!\n"), down()),
        faults("a broken line, then the same again", text("a 2\n!\n"), text("a 3\n!\n")),
        faults("a broken line, then one before it", text("a 2\nb 2\n!\n"), text("a 3\n!\n")),
        faults("a broken line, then one behind it", text("a 2\n!\n"), text("a 3\nb 3\n!\n")),
        faults("an error, then an empty page", down(), text("")),
        faults("an empty page, then an error", text(""), down()),
        faults("an empty page, then an empty page", text(""), text("")),
    ])
    .await;
}
