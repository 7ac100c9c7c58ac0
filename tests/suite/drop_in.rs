//! One and the same prometheus.yml through Debian's Prometheus (agent mode) and through rollcall,
//! on what a real node exporter printed: the series, labels and values that each sends.

use std::collections::BTreeMap;

use testkit::wait_until;
use testkit::{DEADLINE, FakeReceiver, FakeTarget, NodeExporter, Prometheus, Push, Reply, show};

use crate::rollcall;

/// What a receiver keeps of the first scrapes: series, and its values in order.
type Sent = BTreeMap<String, Vec<String>>;

/// Scrapes that are compared.
const N_SCRAPES: usize = 3;

#[tokio::test]
async fn both_send_the_same_series_labels_and_values() {
    let exporter = NodeExporter::start().await;
    let url = format!("http://{}/metrics", exporter.address());
    let page = reqwest::get(&url).await.unwrap().text().await.unwrap();
    // What the exporter printed once, so that both see the same values.
    let target = FakeTarget::serving(Reply::page(page)).await;
    let receiver = FakeReceiver::accepting().await;
    let yaml = format!(
        "
global:
  scrape_interval: 2s
  external_labels: {{ cluster: c1, replica: '0' }}
scrape_configs:
  - job_name: node
    static_configs:
      - targets: ['{target}']
        labels: {{ rack: r1, __drop_me: x }}
    relabel_configs:
      - {{ source_labels: [rack], regex: 'r(.*)', target_label: rack_number }}
    metric_relabel_configs:
      - {{ source_labels: [__name__], regex: 'go_memstats_.+', action: drop }}
      - {{ source_labels: [device], regex: 'lo', target_label: loopback, replacement: 'yes' }}
  - job_name: itself
    honor_labels: true
    static_configs: [{{ targets: ['{target}'] }}]
remote_write:
  - url: '{receiver}'
    write_relabel_configs:
      - {{ source_labels: [__name__], regex: 'scrape_duration_seconds', action: drop }}
    queue_config: {{ batch_send_deadline: 200ms }}
",
        target = target.address(),
        receiver = receiver.url(),
    );
    let prometheus = Prometheus::agent(&yaml).await;
    let app = rollcall().yaml(&yaml).start().await;
    let (theirs, ours) = wait_until("both have sent enough scrapes", DEADLINE, || async {
        let pushes = receiver.pushes();
        let (theirs, ours): (Vec<_>, Vec<_>) = pushes.into_iter().partition(is_from_prometheus);
        let enough = |pushes: &[Push]| n_scrapes(pushes, "node").min(n_scrapes(pushes, "itself"));
        let (n_theirs, n_ours) = (enough(&theirs), enough(&ours));
        if n_theirs > N_SCRAPES && n_ours > N_SCRAPES {
            Ok((theirs, ours))
        } else {
            Err(format!("{n_theirs} and {n_ours} scrapes\n{}\n{}", prometheus.log(), app.log()))
        }
    })
    .await;
    app.stop().await;

    let (theirs, ours) = (sent(&theirs, true), sent(&ours, false));
    assert!(theirs.len() > 500, "{} series", theirs.len());
    let only = |one: &Sent, other: &Sent| -> Vec<String> {
        one.keys().filter(|series| !other.contains_key(*series)).cloned().collect()
    };
    assert_eq!(only(&theirs, &ours), Vec::<String>::new(), "only Prometheus sends");
    assert_eq!(only(&ours, &theirs), Vec::<String>::new(), "only rollcall sends");
    let differ: Vec<_> =
        theirs.iter().filter(|(series, values)| ours[*series] != **values).collect();
    assert!(differ.is_empty(), "{differ:#?}");
}

fn is_from_prometheus(push: &Push) -> bool {
    let version = "2.42.0";
    push.request.header("user-agent").is_some_and(|agent| agent.contains(version))
}

fn n_scrapes(pushes: &[Push], job: &str) -> usize {
    let series = pushes.iter().flat_map(|push| &push.series);
    let ups = series.filter(|series| {
        series.labels.get("__name__").is_some_and(|name| name == "up")
            && series.labels.get("job").is_some_and(|found| found == job)
    });
    ups.map(|series| series.samples.len()).sum()
}

/// The first values of each series. 3.14 writes the bounds of summaries and histograms as
/// OpenMetrics does (model/textparse/promparse.go), 2.42 as the target printed them.
fn sent(pushes: &[Push], normalize: bool) -> Sent {
    let mut sent = Sent::new();
    for series in pushes.iter().flat_map(|push| &push.series) {
        let mut labels = (*series.labels).clone();
        for bound in ["le", "quantile"] {
            if let Some(value) = labels.get_mut(bound).filter(|_| normalize)
                && value.parse::<i64>().is_ok()
            {
                value.push_str(".0");
            }
        }
        let values = sent.entry(format!("{labels:?}")).or_default();
        values.extend(series.samples.iter().map(|(_, value)| show(*value)));
        values.truncate(N_SCRAPES);
    }
    sent
}

/// A file with every mechanism in it, and a secret wherever there may be one.
const EVERYTHING: &str = "
global:
  scrape_interval: 30s
  external_labels: { cluster: c1 }
scrape_configs:
  - job_name: everything
    honor_labels: true
    params: { 'collect[]': [cpu, disk] }
    scrape_timeout: 7s
    body_size_limit: 16MB
    sample_limit: 50000
    fallback_scrape_protocol: PrometheusText0.0.4
    scrape_native_histograms: true
    basic_auth: { username: me, password: TOP-SECRET }
    tls_config: { server_name: x, insecure_skip_verify: true, min_version: TLS12 }
    proxy_url: http://user:TOP-SECRET@127.0.0.1:1
    proxy_connect_header: { X-Key: [TOP-SECRET] }
    http_headers: { X-Scope: { values: [fleet], secrets: [TOP-SECRET] } }
    relabel_configs:
      - { source_labels: [__address__], regex: '([^:]+):.*', target_label: host, replacement: $1 }
      - { source_labels: [__address__], modulus: 4, target_label: __shard, action: hashmod }
      - { regex: tmp_.+, action: labeldrop }
    metric_relabel_configs: [{ source_labels: [__name__], regex: go_.+, action: drop }]
    static_configs: [{ targets: ['127.0.0.1:1'], labels: { rack: r1 } }]
  - job_name: files
    authorization: { type: Token, credentials: TOP-SECRET }
    file_sd_configs: [{ files: ['targets/*.json'], refresh_interval: 1m }]
  - job_name: http
    oauth2:
      client_id: me
      client_secret: TOP-SECRET
      token_url: http://127.0.0.1:1/token
      scopes: [a, b]
      endpoint_params: { audience: hosts }
    http_sd_configs: [{ url: 'http://127.0.0.1:1/targets', refresh_interval: 1h }]
  - job_name: dns
    oauth2:
      client_id: me
      grant_type: urn:ietf:params:oauth:grant-type:jwt-bearer
      client_certificate_key: TOP-SECRET
      signature_algorithm: RS384
      claims: { tenant: x }
      token_url: http://127.0.0.1:1/token
    dns_sd_configs: [{ names: [a.invalid], type: A, port: 80, refresh_interval: 1h }]
  - job_name: consul
    consul_sd_configs: [{ server: '127.0.0.1:1', token: TOP-SECRET, services: [web] }]
  - job_name: kubernetes
    kubernetes_sd_configs:
      - role: endpointslice
        api_server: http://127.0.0.1:1
        bearer_token: TOP-SECRET
        namespaces: { names: [shop] }
        selectors: [{ role: endpointslice, label: app=web }]
        attach_metadata: { node: true }
  - job_name: docker
    docker_sd_configs: [{ host: 'http://127.0.0.1:1', filters: [{ name: label, values: [a] }] }]
  - job_name: nomad
    nomad_sd_configs: [{ server: 'http://127.0.0.1:1', region: r, namespace: n }]
remote_write:
  - url: http://user:TOP-SECRET@127.0.0.1:1/api/v1/write
    name: central
    remote_timeout: 5s
    headers: { X-Scope-OrgID: tenant }
    protobuf_message: io.prometheus.write.v2.Request
    send_exemplars: true
    send_native_histograms: true
    basic_auth: { username: me, password: TOP-SECRET }
    write_relabel_configs: [{ regex: secret_.+, action: labeldrop }]
    queue_config: { capacity: 5000, max_shards: 4, retry_on_http_429: true }
    metadata_config: { send: true, send_interval: 2m }
";

/// The configuration as the API shows it.
async fn dumped(yaml: &str) -> String {
    let app = rollcall().yaml(yaml).start().await;
    let shown = app.json("/api/v1/status/config").await;
    app.terminate().await;
    shown["data"]["yaml"].as_str().expect("the configuration as text").to_owned()
}

#[tokio::test]
async fn a_dumped_configuration_is_the_same_configuration_without_its_secrets() {
    let first = dumped(EVERYTHING).await;
    assert!(!first.contains("TOP-SECRET"), "{first}");
    let n_secrets = EVERYTHING.matches("TOP-SECRET").count();
    let n_hidden = first.matches("<secret>").count() + first.matches("user:xxxxx@").count();
    assert_eq!(n_hidden, n_secrets, "{first}");
    for key in ["modulus: 4", "signature_algorithm: RS384", "role: endpointslice", "filters:"] {
        assert!(first.contains(key), "{key} is not in\n{first}");
    }
    assert_eq!(dumped(&first).await, first);
}

/// What a service manager gives, and Go programs raise: each target's connection is an open file. A
/// child of module `exec` is not told of it.
#[tokio::test]
async fn it_has_as_many_open_files_as_it_may_have() {
    let folder = tempfile::tempdir().unwrap();
    let wrapper = folder.path().join("limited");
    let script = format!("#!/bin/sh\nulimit -Sn 256\nexec {} \"$@\"\n", crate::BINARY);
    std::fs::write(&wrapper, script).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&wrapper, mode).unwrap();
    let target = FakeTarget::serving("a 1\n").await;
    let child =
        "until [ $(ulimit -Sn) = 256 ]; do sleep 0.05; done; : > as-before; cat > /dev/null";
    let config = testkit::config().scrape(&target).section(&format!(
        "
        forwarders: [{{ name: child, module: exec, command: [sh, -c, '{child}'] }}]
        data_types: [{{ name: all, match: ['{{__name__!=\"\"}}'] }}]
        routes: [{{ data_types: [all], to: [child] }}]
        "
    ));
    let launch = testkit::Launch::new(&wrapper).config(&config);
    let as_before = launch.folder().join("as-before");
    let app = launch.start().await;
    wait_until("the child has the limit that there was", DEADLINE, || async {
        if as_before.exists() { Ok(()) } else { Err(app.log()) }
    })
    .await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", app.process().id())).unwrap();
    app.stop().await;
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    assert!(words[3] == words[4] && words[3] != "256", "{line}");
}

#[tokio::test]
async fn a_feature_that_changes_nothing_here_is_named() {
    let features = "--enable-feature=auto-reload-config,extra-scrape-metrics,bogus";
    let app = rollcall().argument(features).start().await;
    let about = app.json("/api/v1/features").await.to_string();
    let log = app.log();
    app.stop_expecting(&["features have no effect"]).await;
    assert!(about.contains("\"auto_reload_config\":true"), "{about}");
    assert!(log.contains("feature=bogus") && log.contains("set extra_scrape_metrics"), "{log}");
    assert!(!log.contains("feature=auto-reload-config"), "{log}");
}

#[tokio::test]
async fn who_reads_the_log_as_json_reads_why_it_ends_as_json() {
    let ended = rollcall().yaml("nonsense: 1").argument("--log.format=json").start_and_fail().await;
    let last = ended.log().lines().last().unwrap_or_default().to_owned();
    let line: serde_json::Value = serde_json::from_str(&last).unwrap();
    assert!(line["error"].as_str().is_some_and(|error| error.contains("nonsense")), "{last}");
}
