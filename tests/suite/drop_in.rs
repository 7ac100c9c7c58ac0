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
