//! Every metric that stock dashboards and alerts ask of an agent is there, with the labels that
//! they select and join by: the dashboards "Prometheus / Overview" and "Prometheus / Remote Write"
//! and the alerts of the prometheus-mixin.
//!
//! Left out is what no agent has: its own samples (`prometheus_tsdb_head_*`, `prometheus_engine_*`),
//! rules, and alerts on their way (`prometheus_notifications_sent_total`, `…_errors_total`).

use testkit::{FakeReceiver, FakeTarget, Metrics, Reply, config, job};

use crate::rollcall;

/// Labels that tell the senders apart.
const SENDER: &[&str] = &["remote_name", "url"];

/// A metric, and the labels that each of its series must have.
const ASKED_FOR: &[(&str, &[&str])] = &[
    ("process_start_time_seconds", &[]),
    ("prometheus_build_info", &["version", "revision", "branch", "goversion"]),
    ("prometheus_config_last_reload_successful", &[]),
    ("prometheus_notifications_alertmanagers_discovered", &[]),
    ("prometheus_notifications_queue_capacity", &[]),
    ("prometheus_notifications_queue_length", &[]),
    ("prometheus_remote_storage_enqueue_retries_total", SENDER),
    ("prometheus_remote_storage_highest_timestamp_in_seconds", &[]),
    ("prometheus_remote_storage_queue_highest_sent_timestamp_seconds", SENDER),
    ("prometheus_remote_storage_queue_highest_timestamp_seconds", SENDER),
    ("prometheus_remote_storage_samples_dropped_total", &["remote_name", "url", "reason"]),
    ("prometheus_remote_storage_samples_failed_total", SENDER),
    ("prometheus_remote_storage_samples_in_total", &[]),
    ("prometheus_remote_storage_samples_pending", SENDER),
    ("prometheus_remote_storage_samples_retried_total", SENDER),
    ("prometheus_remote_storage_samples_total", SENDER),
    ("prometheus_remote_storage_shard_capacity", SENDER),
    ("prometheus_remote_storage_shards", SENDER),
    ("prometheus_remote_storage_shards_desired", SENDER),
    ("prometheus_remote_storage_shards_max", SENDER),
    ("prometheus_remote_storage_shards_min", SENDER),
    ("prometheus_sd_discovered_targets", &["name", "config"]),
    ("prometheus_sd_kubernetes_failures_total", &[]),
    ("prometheus_sd_refresh_failures_total", &["mechanism", "config"]),
    ("prometheus_target_interval_length_seconds", &["interval", "quantile"]),
    ("prometheus_target_interval_length_seconds_count", &["interval"]),
    ("prometheus_target_interval_length_seconds_sum", &["interval"]),
    ("prometheus_target_metadata_cache_entries", &["scrape_job"]),
    ("prometheus_target_scrape_pool_exceeded_label_limits_total", &[]),
    ("prometheus_target_scrape_pool_exceeded_target_limit_total", &[]),
    ("prometheus_target_scrapes_exceeded_body_size_limit_total", &[]),
    ("prometheus_target_scrapes_exceeded_sample_limit_total", &[]),
    ("prometheus_target_scrapes_sample_duplicate_timestamp_total", &[]),
    ("prometheus_target_scrapes_sample_out_of_bounds_total", &[]),
    ("prometheus_target_scrapes_sample_out_of_order_total", &[]),
    ("prometheus_target_sync_failed_total", &["scrape_job"]),
    ("prometheus_target_sync_length_seconds_sum", &["scrape_job"]),
    ("prometheus_tsdb_wal_segment_current", &[]),
    ("prometheus_wal_watcher_current_segment", &["consumer"]),
];

#[tokio::test]
async fn stock_dashboards_and_alerts_find_what_they_ask_for() {
    let target = FakeTarget::serving("a 1\n").await;
    let service = FakeTarget::serving(
        Reply::status(200)
            .body(format!(r#"[{{"targets": ["{}"]}}]"#, target.address()))
            .typed("application/json"),
    )
    .await;
    let found = format!("http_sd_configs: [{{ url: 'http://{}/' }}]", service.address());
    let (memory, disk) = (FakeReceiver::accepting().await, FakeReceiver::accepting().await);
    let durable = format!(
        "name: durable\nurl: {}\nqueue_config: {{ batch_send_deadline: 50ms }}\n\
         delivery: {{ durability: disk, disk: {{ write_interval: 0s }} }}",
        disk.url()
    );
    let config = config().job(job("found").with(&found)).forward_to(&memory).remote_write(&durable);
    let app = rollcall().config(&config).start().await;
    memory.wait_for_samples(&[("__name__", "a")], 3).await;
    app.wait_for_metrics("blocks of the log were written and sent", |metrics| {
        let of_durable = [("consumer", "durable")];
        metrics.sum("prometheus_tsdb_wal_segment_current", &[]) > 1.0
            && metrics.sum("prometheus_wal_watcher_current_segment", &of_durable) > 1.0
    })
    .await;

    let metrics = app.metrics().await;
    let mut wrong = String::new();
    for (name, labels) in ASKED_FOR {
        let series = metrics.series(name);
        let has_all = |found: &testkit::LabelSet| labels.iter().all(|l| found.contains_key(*l));
        if series.is_empty() || !series.iter().all(|(found, _)| has_all(found)) {
            wrong.push_str(&format!("{name} by {labels:?}: {series:?}\n"));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    check_joins(&metrics);
    app.stop().await;
}

/// Dashboards join what came in, which has no labels of its own, with what each sender sent.
fn check_joins(metrics: &Metrics) {
    for (name, n_series) in [
        ("prometheus_remote_storage_samples_in_total", 1),
        ("prometheus_remote_storage_highest_timestamp_in_seconds", 1),
        ("prometheus_tsdb_wal_segment_current", 1),
        ("prometheus_remote_storage_samples_total", 2),
        ("prometheus_wal_watcher_current_segment", 2),
    ] {
        assert_eq!(metrics.series(name).len(), n_series, "{name}");
    }
    let came = metrics.sum("prometheus_remote_storage_samples_in_total", &[]);
    let sent = metrics.series("prometheus_remote_storage_samples_total");
    let pending = metrics.sum("prometheus_remote_storage_samples_pending", &[]);
    assert!(came > 0.0 && sent.iter().all(|(_, sent)| *sent <= came), "{came} {sent:?} {pending}");
}
