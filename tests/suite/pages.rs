//! Pages of `docs/` that say what the program says: written by `make golden`, compared otherwise.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::Path;

use serde_json::Value;
use testkit::{FakeReceiver, FakeTarget, config, job};

use crate::kinds::FLEET;
use crate::rollcall;

const BEGIN: &str = "<!-- begin: metrics -->\n";
const END: &str = "<!-- end: metrics -->\n";
/// Families that are there once somebody has asked for something.
const ASKED_FOR: &str = "prometheus_http_requests_total";
/// And of those that are there once something was scraped, or found, the last ones.
const OF_A_JOB: &str = "prometheus_target_interval_length_histogram_seconds_count";
const OF_A_REFRESH: &str = "prometheus_sd_refresh_duration_histogram_seconds_count";
const OF_A_FILE: &str = "prometheus_sd_file_mtime_seconds";

#[tokio::test]
async fn every_metric_is_explained() {
    let receiver = FakeReceiver::accepting().await;
    let target = FakeTarget::serving("a 1\n").await;
    // A family with labels shows when it has counted something.
    let service = FakeTarget::serving("no targets").await;
    let found = format!(
        "file_sd_configs: [{{ files: [targets.json] }}]\nhttp_sd_configs: [{{ url: 'http://{}/' }}]",
        service.address()
    );
    let config = config().scrape(&target).job(job("found").with(&found));
    let launch = rollcall().config(&config.forward_to(&receiver).section(FLEET));
    std::fs::write(launch.folder().join("targets.json"), "[]").unwrap();
    let app = launch.start().await;
    let (refused, _) = app.send("POST", "/api/v1/write", "text/plain", &Value::Null).await;
    assert_eq!(refused, 415);
    app.names("/apis/status.rollcall/v1/hosts").await;
    app.wait_for_metrics("requests and refreshes are counted", |metrics| {
        [ASKED_FOR, OF_A_JOB, OF_A_REFRESH, OF_A_FILE].iter().all(|name| metrics.has(name))
    })
    .await;
    let (_, text) = app.get("/metrics").await;
    app.stop_expecting(&["found"]).await;

    let page_file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    let page = fs::read_to_string(&page_file).unwrap();
    let (head, rest) = page.split_once(BEGIN).unwrap();
    let (written, tail) = rest.split_once(END).unwrap();
    let table = table(&text);
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&page_file, format!("{head}{BEGIN}{table}{END}{tail}")).unwrap();
        return;
    }
    assert!(written == table, "docs/metrics.md is out of date: `make golden`, then read it");
}

/// One line a family, by name. What a summary is made of is one family.
fn table(metrics: &str) -> String {
    let mut families: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
    for line in metrics.lines() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words[..] {
            ["#", "HELP", name, help] => families.entry(name).or_default().0 = help,
            ["#", "TYPE", name, kind] => families.entry(name).or_default().1 = kind,
            _ => {}
        }
    }
    let is_part = |name: &str| {
        let base = name.strip_suffix("_sum").or_else(|| name.strip_suffix("_count"));
        base.is_some_and(|base| families.contains_key(base))
    };
    let lines = families.iter().filter(|(name, _)| !is_part(name)).map(|(name, (help, kind))| {
        assert!(!help.is_empty() && !kind.is_empty(), "{name} is not explained");
        format!("| `{name}` | {kind} | {} |\n", help.trim_end_matches('.'))
    });
    format!("| name | type | |\n|---|---|---|\n{}", lines.collect::<String>())
}
