//! Targets from discovered labels: Prometheus' `TestPopulateLabels`, in our words.

use std::sync::Arc;

use super::*;
use crate::fixtures::job;

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().copied().collect()
}

fn group(target: &[(&str, &str)], common: &[(&str, &str)]) -> Group {
    Group { source: Arc::from("test:0"), targets: vec![labels(target)], labels: labels(common) }
}

/// What becomes of one target: its labels and URL, `dropped`, or why it cannot be scraped.
#[track_caller]
fn check(yaml: &str, target: &[(&str, &str)], common: &[(&str, &str)], want: &str) {
    let got = match Target::new(&job(yaml), &group(target, common), 0) {
        Ok(Some(target)) => format!("{} {}", target.labels, target.url),
        Ok(None) => "dropped".to_owned(),
        Err(error) => kit::Chain(&error).to_string(),
    };
    assert_eq!(got, want);
}

const JOB: &str = "job_name: node";

#[test]
fn a_target_gets_its_address_as_instance_and_the_jobs_name() {
    check(
        JOB,
        &[("__address__", "1.2.3.4:1000"), ("custom", "value")],
        &[],
        r#"{custom="value", instance="1.2.3.4:1000", job="node"} http://1.2.3.4:1000/metrics"#,
    );
}

#[test]
fn no_port_is_added_or_removed() {
    check(
        JOB,
        &[("__address__", "host")],
        &[],
        r#"{instance="host", job="node"} http://host/metrics"#,
    );
    check(
        "{job_name: node, scheme: https}",
        &[("__address__", "host:443")],
        &[],
        r#"{instance="host:443", job="node"} https://host:443/metrics"#,
    );
}

#[test]
fn labels_of_the_target_win_over_those_of_the_group_and_the_job() {
    check(
        JOB,
        &[("__address__", "h:1"), ("env", "own"), ("instance", "mine")],
        &[("env", "group"), ("job", "other"), ("__metrics_path__", "/probe")],
        r#"{env="own", instance="mine", job="other"} http://h:1/probe"#,
    );
}

#[test]
fn parameters_are_labels_until_the_url_is_made() {
    let yaml = concat!(
        "{job_name: node, params: {module: [icmp, tcp], debug: ['1']}, relabel_configs: [",
        "{source_labels: [__address__], target_label: __param_target},",
        "{source_labels: [__param_module], target_label: module},",
        "{replacement: 'prober:9115', target_label: __address__}]}"
    );
    check(
        yaml,
        &[("__address__", "10.0.0.1"), ("__param_module", "http")],
        &[],
        concat!(
            r#"{instance="prober:9115", job="node", module="http"} "#,
            "http://prober:9115/metrics?debug=1&module=http&module=tcp&target=10.0.0.1"
        ),
    );
}

#[test]
fn hidden_labels_are_not_public_and_meta_labels_go() {
    let yaml = concat!(
        "{job_name: node, relabel_configs: [",
        "{source_labels: [__meta_x], target_label: x},",
        "{source_labels: [__meta_x], target_label: __hidden}]}"
    );
    let target = [("__address__", "h:1"), ("__meta_x", "1")];
    check(yaml, &target, &[], r#"{instance="h:1", job="node", x="1"} http://h:1/metrics"#);
    let with = Target::new(&job(yaml), &group(&target, &[]), 0).unwrap().unwrap();
    let other = [("__address__", "h:1"), ("__meta_x", "1"), ("__meta_y", "2")];
    let same = Target::new(&job(yaml), &group(&other, &[]), 0).unwrap().unwrap();
    assert_eq!(with.identity, same.identity, "meta labels are no part of the identity");
    let hidden = Target::new(&job(JOB), &group(&target, &[("x", "1")]), 0).unwrap().unwrap();
    assert_eq!(with.labels, hidden.labels);
    assert_ne!(with.identity, hidden.identity, "hidden labels are part of the identity");
}

#[test]
fn relabelling_can_drop_a_target() {
    let yaml = concat!(
        "{job_name: node, relabel_configs: [",
        "{source_labels: [__address__], regex: 'h:1', action: drop}]}"
    );
    check(yaml, &[("__address__", "h:1")], &[], "dropped");
}

#[test]
fn what_cannot_be_scraped_says_why() {
    check(JOB, &[("custom", "value")], &[], "no address");
    check(JOB, &[("__address__", "h:1/path")], &[], r#""h:1/path" is not a valid hostname"#);
    let with = |name, value| [("__address__", "h:1"), (name, value)];
    check(
        JOB,
        &with("__scrape_interval__", "abc"),
        &[],
        r#"error parsing scrape interval: not a valid duration string: "abc""#,
    );
    check(JOB, &with("__scrape_interval__", "0s"), &[], "scrape interval cannot be 0");
    check(JOB, &with("__scrape_timeout__", "0s"), &[], "scrape timeout cannot be 0");
    check(
        JOB,
        &[("__address__", "h:1"), ("__scrape_interval__", "1s"), ("__scrape_timeout__", "2s")],
        &[],
        r#"scrape timeout cannot be greater than scrape interval ("2s" > "1s")"#,
    );
    check(
        JOB,
        &with("__scrape_native_histograms__", "perhaps"),
        &[],
        r#"error parsing scrape native histograms: invalid syntax "perhaps""#,
    );
}

#[test]
fn a_target_can_have_its_own_pace_and_switches() {
    let own = [
        ("__address__", "h:1"),
        ("__scrape_interval__", "2s"),
        ("__scrape_timeout__", "1s"),
        ("__scrape_native_histograms__", "T"),
    ];
    let target = Target::new(&job(JOB), &group(&own, &[]), 0).unwrap().unwrap();
    assert_eq!(target.interval, Duration::from_secs(2));
    assert_eq!(target.timeout, Duration::from_secs(1));
    assert!(target.histograms.native && !target.histograms.always_classic);
}

#[test]
fn a_socket_replaces_the_address_only_as_the_way_there() {
    let own = [("__address__", "h:1"), ("__unix_socket__", "/run/exporter.sock")];
    let target = Target::new(&job(JOB), &group(&own, &[]), 0).unwrap().unwrap();
    assert_eq!(target.unix_socket.as_deref(), Some("/run/exporter.sock"));
    assert_eq!(target.url, "http://h:1/metrics");
}
