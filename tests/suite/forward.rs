//! Destinations: what is scraped arrives, or is counted with the reason why it did not.

mod faults; // kills, receivers and disks that misbehave
mod kafka; // module kafka and brokers
mod modules; // each module against the real thing
mod otlp; // OTLP as a receiver reads it
mod page; // docs/forwarders.md
mod servers; // NATS, Redis
mod stores; // InfluxDB, VictoriaMetrics, ClickHouse, an OpenTelemetry collector
mod trouble; // modules whose receivers refuse, stall or are not what they seem

use testkit::{
    Config, FakeReceiver, FakeTarget, Metrics, Prometheus, Reply, Rollcall, Version, config, job,
};

use crate::kinds::VMS;
use crate::rollcall;

/// The account of a destination: what it was given is delivered, waiting, or dropped.
fn balanced(metrics: &Metrics, destination: &str) -> (f64, f64, f64) {
    let of = |name: &str| metrics.sum(name, &[("destination", destination)]);
    let accepted = of("rollcall_forward_accepted_samples_total");
    let delivered = of("rollcall_forward_delivered_samples_total");
    let queued = of("rollcall_forward_queued_samples");
    let dropped = of("rollcall_forward_dropped_samples_total");
    let report = metrics.report();
    assert_eq!(accepted, delivered + queued + dropped, "{destination}: {report}");
    (delivered, queued, dropped)
}

/// Waits until the queue of a destination is empty; what it delivered and dropped.
async fn drained(app: &Rollcall, destination: &str) -> (f64, f64) {
    let of = [("destination", destination)];
    app.wait_for_metrics("the queue is empty", |metrics| {
        metrics.sum("rollcall_forward_accepted_samples_total", &of) > 0.0
            && metrics.sum("rollcall_forward_queued_samples", &of) == 0.0
    })
    .await;
    let (delivered, _, dropped) = balanced(&app.metrics().await, destination);
    (delivered, dropped)
}

/// A page whose one value says which scrape it was.
async fn counting_target() -> FakeTarget {
    FakeTarget::answering(|_, nth| Reply::from(format!("n {nth}\nother 1\n"))).await
}

/// The values of `n` arrived without a gap and in order.
fn check_all_arrived(receiver: &FakeReceiver, n_scrapes: usize) {
    let values: Vec<f64> =
        receiver.samples(&[("__name__", "n")]).iter().map(|sample| sample.value).collect();
    let want: Vec<f64> = (0..values.len()).map(|nth| nth as f64).collect();
    assert_eq!(values, want, "values of scrapes that are missing, twice or out of order");
    assert!(values.len() >= n_scrapes, "{} of {n_scrapes} scrapes", values.len());
}

#[tokio::test]
async fn a_receiver_that_is_down_for_a_while_loses_nothing() {
    let target = counting_target().await;
    let mut receiver = FakeReceiver::accepting().await;
    receiver.go_down();
    let config = config().scrape(&target).forward_to(&receiver);
    let app = rollcall().config(&config).start().await;
    target.wait_for_requests(8).await;
    let (_, queued, dropped) = balanced(&app.metrics().await, "receiver");
    assert!(queued > 0.0 && dropped == 0.0);

    receiver.come_back().await;
    receiver.wait_for_samples(&[("__name__", "n")], 8).await;
    target.wait_for_more_requests(3).await;
    let n_scrapes = target.n_requests() - 1;
    app.stop_expecting(&["receiver"]).await;
    check_all_arrived(&receiver, n_scrapes);
}

#[tokio::test]
async fn a_receiver_that_answers_with_errors_is_asked_again() {
    for status in [500, 502, 503] {
        let target = counting_target().await;
        let receiver = FakeReceiver::refusing(Reply::status(status)).await;
        let config = config().scrape(&target).forward_to(&receiver);
        let app = rollcall().config(&config).start().await;
        target.wait_for_requests(4).await;
        receiver.wait_for_pushes(2).await;
        assert_eq!(receiver.pushes().len(), 0);

        receiver.accept();
        receiver.wait_for_samples(&[("__name__", "n")], 4).await;
        app.stop_expecting(&["receiver"]).await;
        check_all_arrived(&receiver, 4);
    }
}

#[tokio::test]
async fn what_a_receiver_refuses_for_good_is_dropped_and_counted() {
    for status in [400, 404, 409, 413, 429] {
        let target = counting_target().await;
        let receiver = FakeReceiver::refusing(Reply::status(status).body("no")).await;
        let config = config().scrape(&target).forward_to(&receiver);
        let app = rollcall().config(&config).start().await;
        receiver.wait_for_pushes(3).await;
        app.wait_for_metrics("what was refused is counted", |metrics| {
            let refused = [("destination", "receiver"), ("reason", "refused")];
            metrics.sum("rollcall_forward_dropped_samples_total", &refused) > 0.0
        })
        .await;
        balanced(&app.metrics().await, "receiver");
        let refused = receiver.refused();
        let first = refused[0].series[0].samples[0];
        let again = refused[1..].iter().any(|push| push.series[0].samples[0] == first);
        assert!(!again, "{status}: a push that was refused for good was sent again");
        app.stop_expecting(&["receiver"]).await;
    }
}

#[tokio::test]
async fn too_many_requests_is_asked_again_if_the_file_says_so() {
    let target = counting_target().await;
    let receiver = FakeReceiver::refusing(Reply::status(429).header("Retry-After", "1")).await;
    let config = config().scrape(&target).remote_write(&format!(
        "name: receiver\nurl: {}\nqueue_config: {{ batch_send_deadline: 50ms, min_backoff: 30ms, \
         retry_on_http_429: true }}",
        receiver.url()
    ));
    let app = rollcall().config(&config).start().await;
    target.wait_for_requests(4).await;
    receiver.wait_for_pushes(1).await;
    receiver.accept();
    receiver.wait_for_samples(&[("__name__", "n")], 4).await;
    app.stop_expecting(&["receiver"]).await;
    check_all_arrived(&receiver, 4);
}

#[tokio::test]
async fn what_the_queue_cannot_hold_is_counted_sample_by_sample() {
    let target = counting_target().await;
    let mut receiver = FakeReceiver::accepting().await;
    receiver.go_down();
    // Seven samples a scrape: room for a few scrapes only.
    let config = config().scrape(&target).remote_write(&format!(
        "name: receiver\nurl: {}\nqueue_config: {{ batch_send_deadline: 50ms, \
         max_samples_per_send: 7, max_queued_samples: 35, capacity: 7, max_shards: 1, \
         min_backoff: 30ms, max_backoff: 100ms }}",
        receiver.url()
    ));
    let app = rollcall().config(&config).start().await;
    let full = [("destination", "receiver"), ("reason", "queue_full")];
    app.wait_for_metrics("the queue was full", |metrics| {
        metrics.sum("rollcall_forward_dropped_samples_total", &full) >= 20.0
    })
    .await;
    balanced(&app.metrics().await, "receiver");

    receiver.come_back().await;
    receiver.wait_for_samples(&[("__name__", "n")], 6).await;
    // The queue is empty now and then: look until delivered and dropped make up everything.
    let (delivered, dropped) = drained(&app, "receiver").await;
    assert!(dropped >= 20.0, "{dropped}");
    let arrived: usize = receiver.pushes().iter().map(testkit::Push::n_samples).sum();
    assert!(arrived as f64 >= delivered, "{arrived} arrived, {delivered} delivered");
    app.stop_expecting(&["receiver"]).await;
}

#[tokio::test]
async fn a_destination_that_hangs_does_not_disturb_another() {
    let target = counting_target().await;
    let hanging = FakeReceiver::refusing(Reply::never()).await;
    let good = FakeReceiver::accepting().await;
    let config = config().scrape(&target).forward_to(&hanging).forward_to(&good);
    let launch = rollcall().config(&config).argument("--storage.remote.flush-deadline=1s");
    let app = launch.start().await;
    good.wait_for_samples(&[("__name__", "n")], 6).await;
    check_all_arrived(&good, 6);
    balanced(&app.metrics().await, "receiver");
    app.stop_expecting(&["receiver"]).await;
}

#[tokio::test]
async fn requests_are_those_of_remote_write_1() {
    let target = counting_target().await;
    let receiver = FakeReceiver::accepting().await;
    let config = config()
        .global("scrape_interval: 200ms\nexternal_labels: { cluster: c1, job: never }")
        .scrape(&target)
        .remote_write(&format!(
            "url: {}\nqueue_config: {{ batch_send_deadline: 50ms }}\n\
             headers: {{ X-Scope: tenant }}\nbasic_auth: {{ username: me, password: pw }}\n\
             write_relabel_configs: [{{ action: drop, source_labels: [__name__], regex: other }}, \
             {{ source_labels: [cluster], target_label: copied }}]",
            receiver.url()
        ));
    let app = rollcall().config(&config).start().await;
    receiver.wait_for_samples(&[("__name__", "n")], 2).await;
    app.stop().await;

    let push = receiver.pushes().remove(0);
    assert_eq!(push.version, Version::One);
    assert_eq!((push.request.method.as_str(), push.request.path()), ("POST", "/api/v1/write"));
    for (name, want) in [
        ("content-encoding", "snappy"),
        ("content-type", "application/x-protobuf"),
        ("x-prometheus-remote-write-version", "0.1.0"),
        ("x-scope", "tenant"),
        ("authorization", "Basic bWU6cHc="),
    ] {
        assert_eq!(push.request.header(name), Some(want), "{name}");
    }
    assert!(push.request.header("user-agent").is_some());
    let series = receiver.series(&[("__name__", "n")]);
    assert_eq!(series.len(), 1);
    let want = [
        ("__name__", "n"),
        ("cluster", "c1"),
        ("copied", "c1"),
        ("instance", &target.address()),
        ("job", "test"),
    ];
    assert_eq!(*series[0], testkit::label_set(&want));
    assert!(receiver.samples(&[("__name__", "other")]).is_empty());
}

#[tokio::test]
async fn each_sample_goes_where_its_data_type_belongs() {
    let page = "vm_state{vmid=\"1\",state=\"on\"} 1\nvm_cpu{vmid=\"1\"} 0.5\nload 3\naudit 4\n";
    let target = FakeTarget::serving(page).await;
    let (first, second) = (FakeReceiver::accepting().await, FakeReceiver::accepting().await);
    let prometheus = Prometheus::receiving().await;
    let routes = "
        forwarders: [{ name: audit_file, module: file, path: audit.ndjson }]
        data_types:
          - { name: vms, match: ['{__name__=~\"vm_.+\"}'] }
          - { name: audits, match: ['audit'] }
          - { name: loads, match: ['{__name__=\"load\",job=\"test\"}'] }
        routes:
          - { data_types: [vms], to: [status] }
          - { data_types: [audits], to: [audit_file], continue: true }
          - { data_types: [audits], to: [receiver2] }
          - { data_types: [loads], to: [receiver, real] }
    ";
    let kinds = VMS.split("status:\n").nth(1).unwrap();
    let config = config()
        .scrape(&target)
        .forward_to(&first)
        .forward_to(&second)
        .remote_write(&format!(
            "name: real\nurl: {}\nqueue_config: {{ batch_send_deadline: 50ms }}",
            prometheus.write_url()
        ))
        .section(routes)
        .section(&format!("status:\n{kinds}"));
    let app = rollcall().config(&config).start().await;
    first.wait_for_samples(&[("__name__", "load")], 2).await;
    second.wait_for_samples(&[("__name__", "audit")], 2).await;
    prometheus.wait_for("load", |found| found.len() == 1 && found[0].1 == 3.0).await;

    let names = |receiver: &FakeReceiver| {
        let series = receiver.series(&[]);
        let mut names: Vec<String> =
            series.iter().map(|labels| labels["__name__"].clone()).collect();
        names.sort();
        names
    };
    let reports = [
        "scrape_duration_seconds",
        "scrape_samples_post_metric_relabeling",
        "scrape_samples_scraped",
        "scrape_series_added",
        "up",
    ];
    assert_eq!(names(&first), [&["load"], &reports[..]].concat());
    assert_eq!(names(&second), [&["audit"], &reports[..]].concat());
    let in_prometheus = prometheus.query(r#"{__name__=~"vm_.+|audit"}"#).await;
    assert!(in_prometheus.is_empty(), "{in_prometheus:?}");
    assert_eq!(app.names(crate::kinds::VMS_PATH).await, ["1"]);
    let stopped = app.stop().await;
    let lines = std::fs::read_to_string(stopped.folder().join("audit.ndjson")).unwrap();
    assert!(lines.lines().count() >= 2, "{lines}");
    for line in lines.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line.to_string().contains("audit"), "{line}");
    }
}

#[tokio::test]
async fn the_queue_is_emptied_when_the_process_stops() {
    let target = counting_target().await;
    let receiver = FakeReceiver::refusing(Reply::status(503)).await;
    let config = config().scrape(&target).forward_to(&receiver);
    let app = rollcall().config(&config).start().await;
    target.wait_for_requests(6).await;
    receiver.wait_for_pushes(1).await;
    app.process().signal("TERM").await;
    app.wait_for_log("stopping").await;
    receiver.accept();
    app.ended_expecting(&["receiver"]).await;
    // A scrape that was under way may have been given up.
    check_all_arrived(&receiver, target.n_requests() - 1);
}

#[tokio::test]
async fn a_job_without_our_sections_is_sent_as_prometheus_would() {
    let target = counting_target().await;
    let receiver = FakeReceiver::accepting().await;
    let config: Config = config()
        .job(job("plain").target(&target.address()).with("honor_labels: true"))
        .forward_to(&receiver);
    let app = rollcall().config(&config).start().await;
    let series = receiver.wait_for_series(&[("job", "plain")], 7).await;
    assert_eq!(series.len(), 7, "{series:?}");
    let (delivered, dropped) = drained(&app, "receiver").await;
    assert!(delivered >= 7.0 && dropped == 0.0);
    app.stop().await;
}
