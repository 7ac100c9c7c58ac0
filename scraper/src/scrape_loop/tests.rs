//! One target scraped again and again, in good times and bad.

use std::time::Duration;

use model::Outcome;

use super::*;
use crate::fixtures::{FakeTarget, Reply, Run, Seen, Value, wait_until};

const UP: Value = Value::Number(1.0);
const DOWN: Value = Value::Number(0.0);

/// A job that scrapes `target` every 100 ms.
fn job(target: &FakeTarget, keys: &str) -> String {
    paced(target, "100ms", keys)
}

fn paced(target: &FakeTarget, interval: &str, keys: &str) -> String {
    format!(
        "{{job_name: j, scrape_interval: {interval}, scrape_timeout: {interval}, \
         static_configs: [{{targets: ['{}'], labels: {{instance: i}}}}]{keys}}}",
        target.address
    )
}

fn ends_page(seen: &Seen) -> bool {
    !seen.page.is_empty() && seen.page.iter().all(|(_, value)| *value == Value::Stale)
}

fn is_good(seen: &Seen) -> bool {
    seen.outcome == Outcome::Complete
}

#[tokio::test]
async fn a_good_page_comes_with_its_report() {
    let target = FakeTarget::start(Reply::page("a 1\nb{x=\"y\"} 2.5\n")).await;
    let run = Run::start(&[&job(&target, ", extra_scrape_metrics: true, sample_limit: 10")]);
    let first = run.sink.batch("a good page", is_good).await;
    assert_eq!(
        first.text(),
        concat!(
            r#"{__name__="a", instance="i", job="j"} 1"#,
            "\n",
            r#"{__name__="b", instance="i", job="j", x="y"} 2.5"#,
            "\n"
        )
    );
    let says = |name, value| assert_eq!(first.says(name), Some(Value::Number(value)), "{name}");
    says("up", 1.0);
    says("scrape_samples_scraped", 2.0);
    says("scrape_samples_post_metric_relabeling", 2.0);
    says("scrape_series_added", 2.0);
    says("scrape_timeout_seconds", 0.1);
    says("scrape_sample_limit", 10.0);
    says("scrape_body_size_bytes", 17.0);
    let second = run.sink.batch("another page", |seen| is_good(seen) && seen.n_before == 1).await;
    assert_eq!(second.says("scrape_series_added"), Some(Value::Number(0.0)));
    assert_eq!(second.source, first.source);
    assert!(second.sent > first.sent && second.timestamp_ms > first.timestamp_ms);
    run.scraper.stop().await;
}

#[tokio::test]
async fn the_report_is_short_unless_asked_for_more() {
    let target = FakeTarget::start(Reply::page("a 1\n")).await;
    let run = Run::start(&[&job(&target, "")]);
    let first = run.sink.batch("a good page", is_good).await;
    let names: Vec<&str> = first.report.iter().map(|(name, _)| name.as_str()).collect();
    let want = [
        "up",
        "scrape_duration_seconds",
        "scrape_samples_scraped",
        "scrape_samples_post_metric_relabeling",
        "scrape_series_added",
    ];
    assert_eq!(names, want);
    run.scraper.stop().await;
}

#[tokio::test]
async fn a_failure_ends_the_page_once_and_recovery_begins_it_again() {
    let target = FakeTarget::start(Reply::page("a 1\nb 2\n")).await;
    let run = Run::start(&[&job(&target, "")]);
    run.sink.batch("a good page", is_good).await;
    target.reply(Reply::status("500 Internal Server Error", &[], ""));
    let failed = run.sink.batch("the failure", |seen| !is_good(seen)).await;
    let reason = "server returned HTTP status 500 Internal Server Error";
    assert_eq!(failed.outcome, Outcome::Failed(reason.into()));
    assert!(ends_page(&failed) && failed.page.len() == 2, "{failed:#?}");
    assert_eq!(failed.says("up"), Some(DOWN));
    let next = failed.n_before + 1;
    let again = run.sink.batch("the next failure", |seen| seen.n_before == next).await;
    assert!(again.page.is_empty() && again.says("up") == Some(DOWN), "{again:#?}");
    target.reply(Reply::page("a 3\nb 4\n"));
    let back = run.sink.batch("recovery", |seen| is_good(seen) && seen.n_before > next).await;
    assert_eq!(back.page.len(), 2);
    assert_eq!(back.says("up"), Some(UP));
    run.scraper.stop().await;
}

#[tokio::test]
async fn a_series_that_vanishes_ends_in_the_scrape_that_lacks_it() {
    let target = FakeTarget::start(Reply::page("a 1\nb 2\n")).await;
    let run = Run::start(&[&job(&target, "")]);
    run.sink.batch("a good page", is_good).await;
    target.reply(Reply::page("a 1\n"));
    let less = run.sink.batch("the shorter page", |seen| {
        seen.says("scrape_samples_scraped") == Some(Value::Number(1.0))
    });
    let less = less.await;
    assert_eq!(
        less.text(),
        concat!(
            r#"{__name__="b", instance="i", job="j"} stale"#,
            "\n",
            r#"{__name__="a", instance="i", job="j"} 1"#,
            "\n"
        )
    );
    run.scraper.stop().await;
}

#[tokio::test]
async fn an_empty_page_is_good_whatever_its_type() {
    let target = FakeTarget::start(Reply::page("a 1\n")).await;
    let run = Run::start(&[&job(&target, "")]);
    run.sink.batch("a good page", is_good).await;
    target.reply(Reply::with(&[], ""));
    let empty = run.sink.batch("the empty page", ends_page).await;
    assert_eq!(empty.outcome, Outcome::Complete);
    assert_eq!(empty.says("up"), Some(UP));
    run.scraper.stop().await;
}

#[tokio::test]
async fn a_page_of_an_unknown_type_is_a_failure() {
    let target = FakeTarget::start(Reply::with(&["Content-Type: text/html"], "a 1\n")).await;
    let run = Run::start(&[&job(&target, "")]);
    let failed = run.sink.batch("the failure", |seen| !is_good(seen)).await;
    assert_eq!(failed.says("up"), Some(DOWN));
    run.scraper.stop().await;
    let run = Run::start(&[&job(&target, ", fallback_scrape_protocol: PrometheusText0.0.4")]);
    run.sink.batch("a page by fallback", is_good).await;
    run.scraper.stop().await;
}

#[tokio::test]
async fn limits_and_broken_lines_refuse_the_whole_page() {
    let target = FakeTarget::start(Reply::page("a 1\nb 2\n")).await;
    let run = Run::start(&[&job(&target, ", sample_limit: 1, extra_scrape_metrics: true")]);
    let failed = run.sink.batch("the failure", |seen| !is_good(seen)).await;
    assert_eq!(failed.outcome, Outcome::Failed("sample limit exceeded".into()));
    assert_eq!(failed.says("scrape_samples_scraped"), Some(Value::Number(2.0)));
    assert!(failed.page.is_empty());
    let counted = "prometheus_target_scrapes_exceeded_sample_limit_total";
    assert!(run.metric(counted) >= 1.0);
    run.scraper.stop().await;
    let run = Run::start(&[&job(&target, ", body_size_limit: 8B, extra_scrape_metrics: true")]);
    let failed = run.sink.batch("the failure", |seen| !is_good(seen)).await;
    assert_eq!(failed.outcome, Outcome::Failed("body size limit exceeded".into()));
    assert_eq!(failed.says("scrape_body_size_bytes"), Some(Value::Number(-1.0)));
    run.scraper.stop().await;
    target.reply(Reply::page("a 1\nb\n"));
    let run = Run::start(&[&job(&target, "")]);
    let failed = run.sink.batch("the failure", |seen| !is_good(seen)).await;
    assert!(failed.page.is_empty() && failed.says("up") == Some(DOWN), "{failed:#?}");
    run.scraper.stop().await;
}

#[tokio::test]
async fn a_target_that_goes_is_ended_after_two_intervals_and_a_shutdown_ends_nothing() {
    let target = FakeTarget::start(Reply::page("a 1\n")).await;
    let run = Run::start(&[&job(&target, "")]);
    run.sink.batch("a good page", is_good).await;
    run.apply(&[]);
    let ended = run.sink.batch("the end", |seen| seen.outcome == Outcome::Ended).await;
    assert!(ends_page(&ended), "{ended:#?}");
    assert!(ended.report.iter().all(|(_, value)| *value == Value::Stale));
    let before = run.sink.seen().into_iter().rev().find(is_good).unwrap();
    let gap = ended.timestamp_ms - before.timestamp_ms;
    assert!((50..=150).contains(&gap), "the marker stands at the next turn, not {gap} ms later");
    run.scraper.stop().await;

    let run = Run::start(&[&job(&target, "")]);
    run.sink.batch("a good page", is_good).await;
    run.scraper.stop().await;
    let n_batches = run.sink.seen().len();
    assert!(run.sink.seen().iter().all(|seen| is_good(seen) && !ends_page(seen)));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(run.sink.seen().len(), n_batches, "nothing is sent after a stop");
}

#[tokio::test]
async fn a_target_that_comes_back_is_not_ended() {
    let target = FakeTarget::start(Reply::page("a 1\nb 2\n")).await;
    let run = Run::start(&[&job(&target, "")]);
    let first = run.sink.batch("a good page", is_good).await;
    run.apply(&[]);
    let look = || match run.scraper.pools() {
        pools if pools.is_empty() => Ok(()),
        pools => Err(pools.len()),
    };
    wait_until("no pools", look).await;
    target.reply(Reply::page("a 1\n"));
    run.apply(&[&job(&target, "")]);
    let ended = run.sink.batch("the old loop's end", |seen| seen.outcome == Outcome::Ended).await;
    assert_eq!(ended.source, first.source);
    let want = concat!(r#"{__name__="b", instance="i", job="j"} stale"#, "\n");
    assert_eq!(ended.text(), want, "only what the new loop lacks ends");
    assert!(ended.report.is_empty());
    run.scraper.stop().await;
}

#[tokio::test]
async fn failures_are_written_to_the_failure_log() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("failures.json");
    let target = FakeTarget::start(Reply::status("503 Service Unavailable", &[], "")).await;
    let keys = format!(", scrape_failure_log_file: '{}'", path.display());
    let run = Run::start(&[&job(&target, &keys)]);
    let look = || {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let found = text.contains("503 Service Unavailable") && text.contains("/metrics");
        if found { Ok(()) } else { Err(text) }
    };
    wait_until("a line in the failure log", look).await;
    run.scraper.stop().await;
}

#[tokio::test]
async fn turns_keep_their_distance() {
    let target = FakeTarget::start(Reply::page("a 1\n")).await;
    let run = Run::start(&[&paced(&target, "50ms", "")]);
    run.sink.batch("twenty pages", |seen| seen.n_before == 20).await;
    run.scraper.stop().await;
    let seen = run.sink.seen();
    let first = seen[0].timestamp_ms;
    for (turn, seen) in seen.iter().enumerate() {
        let late = seen.timestamp_ms - first;
        assert!(late >= 50 * turn as i64 - 2, "turn {turn} came {late} ms after the first");
    }
}

#[tokio::test]
async fn the_first_round_asks_everyone_at_once_if_it_shall() {
    let good = FakeTarget::start(Reply::page("a 1\n")).await;
    let bad = FakeTarget::start(Reply::status("500 Oops", &[], "")).await;
    let jobs =
        [paced(&good, "1h", ""), paced(&bad, "1h", "").replace("job_name: j", "job_name: k")];
    let config = crate::fixtures::config(&[&jobs[0], &jobs[1]]);
    let mut config = Arc::unwrap_or_clone(config);
    config.immediate_first_round = true;
    let run = Run::with(Arc::new(config));
    tokio::time::timeout(Duration::from_secs(20), run.scraper.first_round()).await.unwrap();
    let seen = run.sink.seen();
    assert_eq!(seen.len(), 2, "{seen:#?}");
    assert_eq!(seen.iter().filter(|seen| is_good(seen)).count(), 1);
    run.scraper.stop().await;
}

#[test]
fn an_idle_loop_is_small() {
    fn bytes_of<A, F>(_: impl FnOnce(A) -> F) -> usize {
        size_of::<F>()
    }
    let bytes = bytes_of(ScrapeLoop::run_to_end);
    // What is rarely used is in boxes of its own.
    assert!(bytes <= 6 * 1024, "{bytes}");
}
