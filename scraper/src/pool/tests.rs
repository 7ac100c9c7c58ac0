//! Pools over reloads and changes of what was discovered.

use std::time::Duration;

use model::Outcome;

use crate::fixtures::{FakeTarget, Reply, Run, Seen, Value, wait_until};
use crate::scrape_loop::Health;

fn job(target: &FakeTarget, interval: &str, keys: &str) -> String {
    format!(
        "{{job_name: j, scrape_interval: {interval}, scrape_timeout: {interval}, \
         static_configs: [{{targets: ['{}'], labels: {{instance: i}}}}]{keys}}}",
        target.address
    )
}

fn is_good(seen: &Seen) -> bool {
    seen.outcome == Outcome::Complete
}

#[tokio::test]
async fn an_unchanged_job_goes_on_and_another_pace_keeps_what_is_known() {
    let target = FakeTarget::start(Reply::page("a 1\n")).await;
    let run = Run::start(&[&job(&target, "100ms", "")]);
    let first = run.sink.batch("a good page", is_good).await;
    run.apply(&[&job(&target, "100ms", "")]);
    run.apply(&[&job(&target, "50ms", ", sample_limit: 7")]);
    let look = || {
        let paces: Vec<_> =
            run.scraper.pools()[0].active.iter().map(|t| t.scrape_interval).collect();
        if paces == [kit::config::Duration::from_ms(50)] { Ok(()) } else { Err(paces) }
    };
    wait_until("the other pace", look).await;
    let n_seen = run.sink.seen().len();
    run.sink.batch("ten more pages", |seen| seen.n_before == n_seen + 10).await;
    run.scraper.stop().await;
    let seen = run.sink.seen();
    assert!(seen.iter().all(|seen| seen.source == first.source && is_good(seen)), "{seen:#?}");
    let added = seen.iter().filter(|s| s.says("scrape_series_added") == Some(Value::Number(1.0)));
    assert_eq!(added.count(), 1, "series are added once");
    assert_eq!(target.n_connections(), 2, "one for each way of scraping");
}

#[tokio::test]
async fn other_rules_start_afresh_and_end_what_was() {
    let target = FakeTarget::start(Reply::page("a 1\n")).await;
    let run = Run::start(&[&job(&target, "100ms", "")]);
    let first = run.sink.batch("a good page", is_good).await;
    let rules = ", metric_relabel_configs: [{target_label: x, replacement: y}]";
    run.apply(&[&job(&target, "100ms", rules)]);
    let ended = run.sink.batch("the end", |seen| seen.outcome == Outcome::Ended).await;
    assert_eq!(ended.source, first.source);
    assert_eq!(ended.text(), concat!(r#"{__name__="a", instance="i", job="j"} stale"#, "\n"));
    assert!(ended.report.is_empty(), "the report goes on: {ended:#?}");
    let next = run.sink.seen().into_iter().find(|seen| seen.source != first.source).unwrap();
    assert_eq!(next.text(), concat!(r#"{__name__="a", instance="i", job="j", x="y"} 1"#, "\n"));
    run.scraper.stop().await;
}

#[tokio::test]
async fn a_target_found_twice_is_scraped_once() {
    let target = FakeTarget::start(Reply::page("a 1\n")).await;
    let address = target.address;
    let run = Run::start(&[&format!(
        "{{job_name: j, scrape_interval: 50ms, scrape_timeout: 50ms, static_configs: \
         [{{targets: ['{address}', '{address}']}}, {{targets: ['{address}']}}]}}"
    )]);
    run.sink.batch("five pages", |seen| seen.n_before == 5).await;
    assert_eq!(run.scraper.pools()[0].active.len(), 1);
    let sources: std::collections::BTreeSet<_> =
        run.sink.seen().iter().map(|seen| seen.source).collect();
    assert_eq!(sources.len(), 1);
    run.scraper.stop().await;
}

#[tokio::test]
async fn too_many_targets_fail_without_being_asked() {
    let target = FakeTarget::start(Reply::page("a 1\n")).await;
    let address = target.address;
    let run = Run::start(&[&format!(
        "{{job_name: j, scrape_interval: 50ms, scrape_timeout: 50ms, target_limit: 1, \
         static_configs: [{{targets: ['{address}']}}, {{targets: ['{address}'], labels: {{a: b}}}}]}}"
    )]);
    let failed = run.sink.batch("a failure", |seen| !is_good(seen)).await;
    let reason = "target_limit exceeded (number of targets: 2, limit: 1)";
    assert_eq!(failed.outcome, Outcome::Failed(reason.into()));
    assert_eq!(failed.says("up"), Some(Value::Number(0.0)));
    assert!(target.requests().is_empty());
    run.scraper.stop().await;
}

#[tokio::test]
async fn pools_show_their_targets() {
    let target = FakeTarget::start(Reply::page("# TYPE a counter\n# HELP a Help.\na 1\n")).await;
    let run = Run::start(&[&format!(
        "{{job_name: j, scrape_interval: 50ms, scrape_timeout: 40ms, relabel_configs: \
         [{{source_labels: [drop], regex: me, action: drop}}], static_configs: \
         [{{targets: ['{}'], labels: {{env: e}}}}, {{targets: [x, y], labels: {{drop: me}}}}]}}",
        target.address
    )]);
    run.sink.batch("a good page", is_good).await;
    let look = || {
        let healths: Vec<_> =
            run.scraper.pools().iter().flat_map(|p| p.active.iter().map(|t| t.health)).collect();
        if healths == [Health::Up] { Ok(()) } else { Err(healths) }
    };
    wait_until("the target's health", look).await;
    let pools = run.scraper.pools();
    let pool = &pools[0];
    let shown = &pool.active[0];
    assert_eq!(&*pool.name, "j");
    assert_eq!(shown.url, format!("http://{}/metrics", target.address));
    assert_eq!(shown.labels.get("env"), Some("e"));
    assert_eq!(shown.discovered_labels.get("__scrape_timeout__"), Some("40ms"));
    assert_eq!(shown.scrape_interval.to_string(), "50ms");
    assert!(shown.last_scrape_ms.is_some() && shown.last_error.is_none());
    assert!(shown.last_scrape_duration > Duration::ZERO);
    let families: Vec<&str> = shown.families().map(|family| &*family.name).collect();
    assert_eq!(families, ["a"]);
    assert_eq!((pool.dropped.len(), pool.n_dropped), (2, 2));
    let steps = pool.relabel_steps(&pool.dropped[0]);
    assert_eq!((steps.len(), steps[0].keep), (1, false));
    run.scraper.stop().await;
}
