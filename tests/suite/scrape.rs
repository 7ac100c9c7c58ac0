//! Targets: a real exporter read whole, discovery as files and services change, limits of a pool.

mod http2; // the protocol that TLS agrees on

use std::collections::BTreeSet;
use std::path::Path;

use testkit::{
    DEADLINE, FakeReceiver, FakeTarget, Metrics, NodeExporter, Prometheus, Reply, config, is_stale,
    job, wait_until,
};

use crate::rollcall;

#[tokio::test]
async fn a_real_node_exporter_arrives_whole_in_a_real_prometheus() {
    let exporter = NodeExporter::start().await;
    let prometheus = Prometheus::receiving().await;
    let config = config()
        .global("scrape_interval: 1s\nexternal_labels: { cluster: c1 }")
        .job(job("node").target(&exporter.address()))
        .remote_write(&format!(
            "url: {}\nqueue_config: {{ batch_send_deadline: 100ms }}",
            prometheus.write_url()
        ));
    let app = rollcall().config(&config).start().await;

    prometheus
        .wait_for(r#"up{job="node",cluster="c1"}"#, |found| {
            found.len() == 1 && found[0].1 == 1.0 && found[0].0["instance"] == exporter.address()
        })
        .await;
    prometheus.wait_for("count_over_time(up[1m])", |found| found[0].1 >= 2.0).await;

    let page = reqwest::get(format!("http://{}/metrics", exporter.address())).await;
    let page = Metrics::parse(&page.unwrap().text().await.unwrap());
    let printed: BTreeSet<&str> = page.names().collect();
    assert!(printed.len() > 150, "a node exporter says more than {printed:?}");
    let found = prometheus.query(r#"{job="node"}"#).await;
    let arrived: BTreeSet<&str> = found.iter().map(|(labels, _)| &*labels["__name__"]).collect();
    let missing: Vec<_> = printed.difference(&arrived).collect();
    assert!(missing.is_empty(), "{missing:?}");
    for (name, wanted) in [("node_cpu_seconds_total", "counter"), ("node_uname_info", "gauge")] {
        let series = page.series(name);
        let count = prometheus.query(&format!("count({name})")).await;
        assert_eq!(count[0].1, series.len() as f64, "{name}, a {wanted}");
    }
    app.stop().await;
}

#[tokio::test]
async fn a_targets_file_is_followed_as_it_changes() {
    let first = FakeTarget::serving("a 1\n").await;
    let second = FakeTarget::serving("a 2\n").await;
    let receiver = FakeReceiver::accepting().await;
    let launch = rollcall();
    let file = launch.folder().join("hosts.json");
    write_targets(&file, &[(&first.address(), "one")]);
    let files = "file_sd_configs: [{ files: ['hosts.json'], refresh_interval: 1h }]";
    let config = config().job(job("hosts").with(files)).forward_to(&receiver);
    let app = launch.config(&config).start().await;

    receiver.wait_for_samples(&[("__name__", "a"), ("host", "one")], 2).await;

    write_targets(&file, &[(&first.address(), "one"), (&second.address(), "two")]);
    receiver.wait_for_samples(&[("__name__", "a"), ("host", "two")], 2).await;

    std::fs::write(&file, "[{").unwrap();
    receiver
        .wait_for_samples(
            &[("__name__", "a"), ("host", "two")],
            receiver.samples(&[("__name__", "a"), ("host", "two")]).len() + 3,
        )
        .await;

    write_targets(&file, &[(&second.address(), "two")]);
    for name in ["a", "up", "scrape_duration_seconds"] {
        let of_the_first = [("__name__", name), ("host", "one")];
        receiver.wait_for_sample(&of_the_first, |sample| is_stale(sample.value)).await;
    }
    let asked = first.n_requests();
    second.wait_for_more_requests(3).await;
    assert_eq!(first.n_requests(), asked, "a target that is gone is still scraped");
    app.stop_expecting(&["hosts.json"]).await;
}

fn write_targets(file: &Path, targets: &[(&str, &str)]) {
    let groups: Vec<String> = targets
        .iter()
        .map(|(address, host)| {
            format!(r#"{{"targets": ["{address}"], "labels": {{"host": "{host}"}}}}"#)
        })
        .collect();
    let draft = file.with_extension("draft");
    std::fs::write(&draft, format!("[{}]", groups.join(","))).unwrap();
    std::fs::rename(&draft, file).unwrap();
}

#[tokio::test]
async fn targets_from_a_service_are_kept_when_it_fails() {
    let target = FakeTarget::serving("a 1\n").await;
    let other = FakeTarget::serving("b 1\n").await;
    let groups = |address: &str| {
        let body = format!(r#"[{{"targets": ["{address}"], "labels": {{"from": "service"}}}}]"#);
        Reply::status(200).body(body).typed("application/json")
    };
    let service = FakeTarget::serving(groups(&target.address())).await;
    let receiver = FakeReceiver::accepting().await;
    let discovery = format!(
        "http_sd_configs: [{{ url: 'http://{}/targets', refresh_interval: 200ms }}]",
        service.address()
    );
    let config = config().job(job("found").with(&discovery)).forward_to(&receiver);
    let app = rollcall().config(&config).start().await;
    receiver.wait_for_samples(&[("__name__", "a"), ("from", "service")], 1).await;

    service.serve(Reply::status(500));
    service.wait_for_more_requests(2).await;
    target.wait_for_more_requests(3).await;

    service.serve(groups(&other.address()));
    receiver.wait_for_samples(&[("__name__", "b")], 1).await;
    receiver.wait_for_sample(&[("__name__", "a")], |sample| is_stale(sample.value)).await;
    app.stop_expecting(&["500"]).await;
}

#[tokio::test]
async fn a_pool_with_too_many_targets_asks_none_of_them() {
    let target = FakeTarget::serving("a 1\n").await;
    let other = FakeTarget::serving("a 1\n").await;
    let receiver = FakeReceiver::accepting().await;
    let addresses = [target.address(), other.address()];
    let both = job("both").targets(&addresses.each_ref().map(String::as_str));
    let config = config().job(both.with("target_limit: 1")).forward_to(&receiver);
    let app = rollcall().config(&config).start().await;

    for address in &addresses {
        let up = [("__name__", "up"), ("instance", address.as_str())];
        let samples = receiver.wait_for_samples(&up, 2).await;
        assert!(samples.iter().all(|sample| sample.value == 0.0), "{samples:?}");
    }
    assert_eq!((target.n_requests(), other.n_requests()), (0, 0));
    app.terminate().await;
}

#[tokio::test]
async fn what_is_known_of_targets_is_shown() {
    let good = FakeTarget::serving("a 1\n").await;
    let bad = FakeTarget::serving(Reply::status(503)).await;
    let config = config()
        .job(job("good").target(&good.address()))
        .job(job("bad").target(&bad.address()))
        .job(
            job("dropped")
                .target("127.0.0.1:1")
                .with("relabel_configs: [{ action: drop, source_labels: [job], regex: dropped }]"),
        );
    let app = rollcall().config(&config).start().await;
    bad.wait_for_requests(1).await;

    let shown = wait_until("the health of both is known", DEADLINE, || async {
        let shown = app.json("/api/v1/targets").await;
        let active = shown["data"]["activeTargets"].as_array().cloned().unwrap_or_default();
        let known = active.iter().all(|target| target["health"] != "unknown");
        if known && active.len() == 2 { Ok(shown) } else { Err(shown.to_string()) }
    })
    .await;
    let active = shown["data"]["activeTargets"].as_array().unwrap();
    let of = |pool: &str| active.iter().find(|target| target["scrapePool"] == pool).unwrap();
    assert_eq!(of("good")["health"], "up");
    assert_eq!(of("good")["lastError"], "");
    assert_eq!(of("good")["labels"]["instance"], good.address());
    assert_eq!(of("good")["discoveredLabels"]["__address__"], good.address());
    let url = format!("http://{}/metrics", good.address());
    assert_eq!(of("good")["scrapeUrl"], url);
    let error = of("bad")["lastError"].as_str().unwrap();
    assert!(error.contains("503"), "{error}");
    let dropped = shown["data"]["droppedTargets"].as_array().unwrap();
    assert_eq!(dropped[0]["discoveredLabels"]["job"], "dropped");
    app.terminate().await;
}
