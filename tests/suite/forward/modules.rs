//! Each module against the real thing, or a fake of its protocol where there is none: what is
//! scraped is read back from there, every scrape once and in order.

use std::collections::BTreeSet;

use testkit::{Config, DEADLINE, FakeTarget, Reply, Rollcall, config, wait_until};

use super::counting_target;
use super::otlp::{numbers_of_points, traces_of_exemplars};
use super::servers::{Nats, Redis};
use super::stores::{ClickHouse, Collector, Influx, Victoria};
use crate::rollcall;

/// Sends everything of the target to one destination named `there`.
pub(super) fn sending(target: &FakeTarget, module: &str, keys: &str) -> Config {
    // A scrape that takes longer than this is one that failed: servers start meanwhile.
    config().global("scrape_interval: 500ms").scrape(target).section(&format!(
        "
        forwarders:
          - name: there
            module: {module}
            queue_config: {{ batch_send_deadline: 20ms, min_backoff: 30ms, max_backoff: 100ms }}
            {keys}
        data_types: [{{ name: all, match: ['{{__name__!=\"\"}}'] }}]
        routes: [{{ data_types: [all], to: [there] }}]
        "
    ))
}

pub(super) async fn start(target: &FakeTarget, module: &str, keys: &str) -> Rollcall {
    rollcall().config(&sending(target, module, keys)).start().await
}

/// Sends to a child that runs this script of the shell, and acknowledges.
pub(super) async fn start_child(target: &FakeTarget, script: &str) -> Rollcall {
    let keys = "command: [sh, take.sh]\n            acknowledge: true";
    let launch = rollcall().config(&sending(target, "exec", keys));
    std::fs::write(launch.folder().join("take.sh"), script).unwrap();
    launch.start().await
}

/// The values of `n` in lines of JSON.
pub(super) fn numbers(lines: &[u8]) -> Vec<f64> {
    let lines = std::str::from_utf8(lines).unwrap().lines();
    let lines = lines.map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines
        .filter(|line| line["labels"]["__name__"] == "n")
        .map(|line| {
            assert_eq!(line["labels"]["job"], "test");
            assert!(line["timestamp"].as_i64().unwrap() > 1_600_000_000_000);
            line["value"].as_f64().unwrap()
        })
        .collect()
}

/// They are those of the first scrapes, each once, in order.
#[track_caller]
pub(super) fn check(numbers: &[f64], at_least: usize) {
    let want: Vec<f64> = (0..numbers.len()).map(|n| n as f64).collect();
    assert_eq!(numbers, want);
    assert!(numbers.len() >= at_least, "{numbers:?}");
}

#[tokio::test]
async fn nats_keeps_every_message_in_its_stream() {
    let (target, nats) = (counting_target().await, Nats::start().await);
    let keys = format!("url: {}\n            subject: metrics.hosts", nats.url);
    let app = start(&target, "nats", &keys).await;
    target.wait_for_requests(4).await;
    app.stop().await;
    check(&numbers(&nats.messages().await), 3);
}

#[tokio::test]
async fn nats_can_be_reached_over_tls() {
    let (target, (nats, authority)) = (counting_target().await, Nats::secure().await);
    let keys = "url_file: server\n            subject: metrics.hosts";
    let launch = rollcall().config(&sending(&target, "nats", keys));
    std::fs::write(launch.folder().join("server"), &nats.url).unwrap();
    let app = launch.variable("SSL_CERT_FILE", &authority.display().to_string()).start().await;
    target.wait_for_requests(4).await;
    app.stop().await;
    assert!(nats.url.starts_with("tls://"), "{}", nats.url);
    check(&numbers(&nats.messages().await), 3);
}

#[tokio::test]
async fn a_subject_that_no_stream_takes_is_tried_until_one_does() {
    let (target, nats) = (counting_target().await, Nats::start().await);
    let keys = format!("url: {}\n            subject: other.hosts", nats.url);
    let app = start(&target, "nats", &keys).await;
    target.wait_for_requests(3).await;
    app.wait_for_metrics("it was tried", |metrics| {
        metrics.sum("rollcall_forward_retried_samples_total", &[]) > 0.0
    })
    .await;
    let mut config = nats.stream.get_info().await.unwrap().config;
    config.subjects.push("other.>".to_owned());
    let client = async_nats::connect(&nats.url).await.unwrap();
    async_nats::jetstream::new(client).update_stream(config).await.unwrap();
    target.wait_for_more_requests(3).await;
    app.stop_expecting(&["there"]).await;
    check(&numbers(&nats.messages().await), 3);
}

#[tokio::test]
async fn redis_has_an_entry_for_every_sample() {
    let (target, redis) = (counting_target().await, Redis::start().await);
    let keys = format!("url: {}\n            stream: samples", redis.url);
    let app = start(&target, "redis", &keys).await;
    target.wait_for_requests(4).await;
    app.stop().await;
    check(&numbers(&redis.entries("samples").await), 3);
}

#[tokio::test]
async fn redis_can_be_reached_over_tls() {
    let (target, (redis, url, authority)) = (counting_target().await, Redis::secure().await);
    let keys = format!("url: '{url}'\n            stream: samples");
    let launch = rollcall().config(&sending(&target, "redis", &keys));
    let app = launch.variable("SSL_CERT_FILE", &authority.display().to_string()).start().await;
    target.wait_for_requests(4).await;
    app.stop().await;
    check(&numbers(&redis.entries("samples").await), 3);
}

/// An endpoint that keeps what is posted to it; the second request is refused for a while.
async fn endpoint() -> FakeTarget {
    FakeTarget::answering(|_, nth| Reply::status(if nth == 1 { 503 } else { 200 })).await
}

/// The bodies that the endpoint took.
fn taken(endpoint: &FakeTarget) -> Vec<(testkit::Request, Vec<u8>)> {
    let requests = endpoint.requests().into_iter().enumerate();
    let taken = requests.filter(|(nth, _)| *nth != 1);
    taken.map(|(_, request)| (request.clone(), request.body.to_vec())).collect()
}

#[tokio::test]
async fn any_http_endpoint_is_sent_lines_of_json() {
    let (target, endpoint) = (counting_target().await, endpoint().await);
    let keys = format!(
        "url: 'http://{}/insert?table=samples'\n            method: PUT\n            \
         headers: {{ X-Tenant: a }}",
        endpoint.address()
    );
    let app = start(&target, "http", &keys).await;
    target.wait_for_requests(4).await;
    app.stop_expecting(&["there"]).await;
    let taken = taken(&endpoint);
    let (first, _) = &taken[0];
    assert_eq!((first.method.as_str(), first.target.as_str()), ("PUT", "/insert?table=samples"));
    assert_eq!(first.header("content-type"), Some("application/x-ndjson"));
    assert_eq!(first.header("x-tenant"), Some("a"));
    let lines: Vec<u8> = taken.into_iter().flat_map(|(_, body)| body).collect();
    check(&numbers(&lines), 3);
}

#[tokio::test]
async fn an_array_of_json_and_line_protocol_say_the_same() {
    for (format, content_type) in
        [("json", "application/json"), ("influx", "text/plain; charset=utf-8")]
    {
        let (target, endpoint) = (counting_target().await, endpoint().await);
        let address = endpoint.address();
        let keys = format!("url: 'http://{address}/'\n            format: {format}");
        let app = start(&target, "http", &keys).await;
        target.wait_for_requests(4).await;
        app.stop_expecting(&["there"]).await;
        let mut found = Vec::new();
        for (request, body) in taken(&endpoint) {
            assert_eq!(request.header("content-type"), Some(content_type));
            let body = String::from_utf8(body).unwrap();
            if format == "json" {
                let array: Vec<serde_json::Value> = serde_json::from_str(&body).unwrap();
                let lines: String = array.iter().map(|line| format!("{line}\n")).collect();
                found.extend(numbers(lines.as_bytes()));
            } else {
                let points = body.lines().filter(|line| line.starts_with("n,"));
                found.extend(points.map(|line| {
                    let value = line.split(" value=").nth(1).unwrap();
                    value.split(' ').next().unwrap().parse::<f64>().unwrap()
                }));
            }
        }
        check(&found, 3);
    }
}

#[tokio::test]
async fn influxdb_has_a_point_for_every_sample() {
    let (target, influx) = (counting_target().await, Influx::start().await);
    let keys = format!("url: '{}'\n            format: influx", influx.write_url());
    let app = start(&target, "http", &keys).await;
    target.wait_for_requests(4).await;
    app.stop().await;
    check(&influx.values("n").await, 3);
}

#[tokio::test]
async fn victoria_metrics_has_a_point_for_every_sample() {
    let (target, victoria) = (counting_target().await, Victoria::start().await);
    let keys = format!(
        "url: '{}'\n            format: influx\n            compression: gzip",
        victoria.write_url()
    );
    let app = start(&target, "http", &keys).await;
    target.wait_for_requests(4).await;
    app.stop().await;
    let values = wait_until("what was written can be asked for", DEADLINE, || async {
        let values = victoria.values("n_value").await;
        if values.len() >= 3 { Ok(values) } else { Err(format!("{values:?}")) }
    })
    .await;
    check(&values, 3);
}

#[tokio::test]
async fn clickhouse_has_a_row_for_every_sample() {
    let (target, clickhouse) = (counting_target().await, ClickHouse::start().await);
    let keys = format!(
        "url: '{}'\n            compression: gzip\n            \
         write_relabel_configs: [{{ source_labels: [__name__], regex: n, action: keep }}]",
        clickhouse.insert_url()
    );
    let app = start(&target, "http", &keys).await;
    target.wait_for_requests(4).await;
    app.stop().await;
    check(&clickhouse.values().await, 3);
}

/// A page whose counter has an exemplar.
async fn target_with_exemplars() -> FakeTarget {
    FakeTarget::answering(|_, nth| {
        let page = format!("# TYPE n counter\nn_total {nth} # {{trace=\"{nth}\"}} 1.0\n# EOF\n");
        Reply::page(page).typed("application/openmetrics-text; version=1.0.0; charset=utf-8")
    })
    .await
}

#[tokio::test]
async fn an_opentelemetry_collector_passes_on_what_it_is_sent() {
    for protocol in ["http", "grpc"] {
        let target = target_with_exemplars().await;
        let endpoint = FakeTarget::serving(Reply::status(200)).await;
        let collector = Collector::start(&endpoint.address()).await;
        let url = match protocol {
            "http" => format!("http://{}/v1/metrics", collector.http),
            _ => format!("http://{}", collector.grpc),
        };
        let keys = format!(
            "url: '{url}'\n            protocol: {protocol}\n            compression: gzip"
        );
        let app = start(&target, "otlp", &keys).await;
        target.wait_for_requests(4).await;
        app.stop().await;
        let found = wait_until("it has passed on three scrapes", DEADLINE, || async {
            let bodies: Vec<Vec<u8>> =
                endpoint.requests().iter().map(testkit::Request::plain_body).collect();
            let of = |body: &Vec<u8>| numbers_of_points(body, "n_total");
            let numbers: Vec<f64> = bodies.iter().flat_map(of).collect();
            let traces = bodies.iter().flat_map(|body| traces_of_exemplars(body)).collect();
            if numbers.len() >= 3 { Ok((numbers, traces)) } else { Err(format!("{numbers:?}")) }
        })
        .await;
        let (numbers, traces): (Vec<f64>, Vec<String>) = found;
        check(&numbers, 3);
        let want: Vec<String> = numbers.iter().map(ToString::to_string).collect();
        assert_eq!(traces, want, "exemplars over {protocol}");
    }
}

#[tokio::test]
async fn an_otlp_receiver_gets_points_of_every_scrape() {
    let (target, endpoint) = (counting_target().await, endpoint().await);
    let keys = format!("url: 'http://{}/v1/metrics'", endpoint.address());
    let app = start(&target, "otlp", &keys).await;
    target.wait_for_requests(4).await;
    app.stop_expecting(&["there"]).await;
    let mut found = Vec::new();
    for (request, body) in taken(&endpoint) {
        assert_eq!(request.path(), "/v1/metrics");
        assert_eq!(request.header("content-type"), Some("application/x-protobuf"));
        found.extend(numbers_of_points(&body, "n"));
    }
    check(&found, 3);
}

#[tokio::test]
async fn a_child_process_reads_lines_and_is_started_again_when_it_ends() {
    let target = counting_target().await;
    // Each child takes some lines and ends; what it had not taken comes to the next one.
    let command = r#"command: [sh, -c, 'i=0; while [ $i -lt 15 ] && read -r line; do
              printf "%s\n" "$line" >> lines.ndjson; i=$((i+1)); done']"#;
    let app = start(&target, "exec", command).await;
    let lines = app.folder().join("lines.ndjson");
    wait_until("several children have read lines", DEADLINE, || async {
        let n = std::fs::read(&lines).map_or(0, |text| numbers(&text).len());
        if n >= 6 { Ok(()) } else { Err(format!("{n} scrapes\n{}", app.log())) }
    })
    .await;
    assert!(app.log().contains("starting it again"));
    let stopped = app.stop_expecting(&["there"]).await;
    // A child that ends takes lines with it that it has not read: they are in its pipe.
    let found = numbers(&std::fs::read(stopped.folder().join("lines.ndjson")).unwrap());
    let found: BTreeSet<u64> = found.iter().map(|n| *n as u64).collect();
    assert!(found.len() >= 6 && found.contains(&0), "{found:?}");
}

#[tokio::test]
async fn a_child_that_acknowledges_loses_nothing_however_often_it_ends() {
    let target = counting_target().await;
    // Keeps one block; ends in the middle of the second, which comes to the next child.
    let script = r#"
blocks=0; : > block.tmp
while read -r line; do
  if [ -n "$line" ]; then printf "%s\n" "$line" >> block.tmp; continue; fi
  blocks=$((blocks+1))
  if [ $blocks = 2 ]; then exit 1; fi
  cat block.tmp >> lines.ndjson; : > block.tmp; echo ok
done
"#;
    let app = start_child(&target, script).await;
    target.wait_for_requests(6).await;
    app.wait_for_metrics("some were tried again", |metrics| {
        metrics.sum("rollcall_forward_retried_samples_total", &[]) > 0.0
    })
    .await;
    let stopped = app.stop_expecting(&["there"]).await;
    check(&numbers(&std::fs::read(stopped.folder().join("lines.ndjson")).unwrap()), 5);
}

#[tokio::test]
async fn lines_stand_on_the_standard_output() {
    let target = counting_target().await;
    let app = start(&target, "stdout", "").await;
    target.wait_for_requests(4).await;
    let stopped = app.stop().await;
    let lines = stopped.log().lines().filter(|line| line.starts_with("{\"labels\""));
    let lines: String = lines.map(|line| format!("{line}\n")).collect();
    check(&numbers(lines.as_bytes()), 3);
}

#[tokio::test]
async fn a_full_file_is_set_aside_and_nothing_of_it_is_lost() {
    let target = counting_target().await;
    let keys = "path: out.ndjson\n            max_size: 3KB\n            max_files: 50";
    let app = start(&target, "file", keys).await;
    target.wait_for_requests(9).await;
    let stopped = app.stop().await;
    let mut lines = Vec::new();
    let mut n_files = 0;
    for number in (1..50).rev() {
        if let Ok(file) = std::fs::read(stopped.folder().join(format!("out.ndjson.{number}"))) {
            assert!(file.len() <= 3072, "{} bytes", file.len());
            lines.extend_from_slice(&file);
            n_files += 1;
        }
    }
    lines.extend_from_slice(&std::fs::read(stopped.folder().join("out.ndjson")).unwrap());
    assert!(n_files >= 2, "{n_files} files");
    check(&numbers(&lines), 8);
}
