//! Containers as the daemon's API lists them.

use super::*;
use crate::fixtures::{FakeTarget, Reply, job};

const NETWORKS: &str = r#"[
  {"Name": "bridge", "Id": "n1", "Scope": "local", "Internal": false, "Ingress": false,
   "Labels": {"com.x/y": "z"}},
  {"Name": "back", "Id": "n2", "Scope": "local", "Internal": true, "Ingress": false}
]"#;

#[track_caller]
fn check(keys: &str, containers: &str, want: &[&str]) {
    let job = job(&format!(
        "{{job_name: j, docker_sd_configs: [{{host: 'unix:///run/docker.sock'{keys}}}]}}"
    ));
    let containers: Vec<Container> = serde_json::from_str(containers).unwrap();
    let networks: Vec<Network> = serde_json::from_str(NETWORKS).unwrap();
    let targets = targets(job.docker_sd()[0].spec(), &containers, &networks);
    let shown = targets.iter().map(|labels| {
        let short = ["container_id", "network_id", "network_scope", "network_ingress"];
        let mut labels = LabelsBuilder::new(labels);
        labels.retain(|name, _| !short.iter().any(|end| name.ends_with(end)));
        labels.build().to_string().replace("__meta_docker_", "")
    });
    assert_eq!(shown.collect::<Vec<_>>(), want);
}

#[test]
fn each_tcp_port_of_a_network_is_a_target() {
    let containers = r#"[{"Id": "c1", "Names": ["/web"], "Image": "nginx", "ImageID": "sha256:1",
        "Labels": {"app.kubernetes.io/name": "web"},
        "Ports": [{"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
                  {"PrivatePort": 53, "Type": "udp"}, {"PrivatePort": 443, "Type": "tcp"}],
        "HostConfig": {"NetworkMode": "bridge"},
        "NetworkSettings": {"Networks": {"bridge": {"NetworkID": "n1", "IPAddress": "172.17.0.2"}}}}]"#;
    let common = concat!(
        r#"container_image="nginx", container_image_id="sha256:1", "#,
        r#"container_label_app_kubernetes_io_name="web", container_name="/web", "#,
        r#"container_network_mode="bridge", network_internal="false", "#,
        r#"network_ip="172.17.0.2", network_label_com_x_y="z", network_name="bridge""#
    );
    let http = format!(
        r#"{{__address__="172.17.0.2:80", {common}, port_private="80", port_public="8080", port_public_ip="0.0.0.0"}}"#
    );
    let https = format!(r#"{{__address__="172.17.0.2:443", {common}, port_private="443"}}"#);
    check("", containers, &[&http, &https]);
}

#[test]
fn containers_without_ports_get_the_default_port_or_the_host() {
    let containers = r#"[
      {"Id": "c1", "Names": ["/a"], "HostConfig": {"NetworkMode": "back"},
       "NetworkSettings": {"Networks": {"back": {"NetworkID": "n2", "IPAddress": "10.0.0.2"}}}},
      {"Id": "c2", "Names": ["/b"], "HostConfig": {"NetworkMode": "host"},
       "NetworkSettings": {"Networks": {"host": {"NetworkID": "n3"}}}},
      {"Id": "c3", "Names": [], "HostConfig": {"NetworkMode": "host"}}]"#;
    check(
        ", port: 9100, host_networking_host: me",
        containers,
        &[
            concat!(
                r#"{__address__="10.0.0.2:9100", container_name="/a", "#,
                r#"container_network_mode="back", network_internal="true", "#,
                r#"network_ip="10.0.0.2", network_name="back"}"#
            ),
            r#"{__address__="me", container_name="/b", container_network_mode="host"}"#,
        ],
    );
}

#[test]
fn one_network_counts_or_all_and_a_shared_one_is_followed() {
    let containers = r#"[
      {"Id": "c1", "Names": ["/a"], "HostConfig": {"NetworkMode": "x"}, "NetworkSettings":
       {"Networks": {"b": {"NetworkID": "", "IPAddress": "10.0.0.2"}, "a": {"IPAddress": "10.0.0.1"}}}},
      {"Id": "c2", "Names": ["/b"], "HostConfig": {"NetworkMode": "container:c1"},
       "NetworkSettings": {"Networks": {}}}]"#;
    let target = |name: &str, mode: &str, ip: &str| {
        format!(
            r#"{{__address__="{ip}:80", container_name="/{name}", container_network_mode="{mode}", network_ip="{ip}"}}"#
        )
    };
    let first = [target("a", "x", "10.0.0.1"), target("b", "container:c1", "10.0.0.1")];
    check("", containers, &first.each_ref().map(String::as_str));
    let all = [
        target("a", "x", "10.0.0.1"),
        target("a", "x", "10.0.0.2"),
        target("b", "container:c1", "10.0.0.1"),
        target("b", "container:c1", "10.0.0.2"),
    ];
    check(", match_first_network: false", containers, &all.each_ref().map(String::as_str));
}

#[tokio::test]
async fn the_daemon_is_asked_over_http_with_filters() {
    let json = &["Content-Type: application/json"];
    let server = FakeTarget::routing(&[
        ("/containers/json", Reply::with(json, "[]")),
        ("/networks", Reply::with(json, "[]")),
    ])
    .await;
    let job = job(&format!(
        "{{job_name: j, docker_sd_configs: [{{host: 'tcp://{}', filters: [{{name: label, values: [a]}}]}}]}}",
        server.address
    ));
    let mut daemon = Daemon::new(Arc::new(job.docker_sd()[0].clone()));
    assert!(daemon.refresh().await.unwrap()[0].targets.is_empty());
    let request = &server.requests()[0];
    let path = "GET /containers/json?filters=%7B%22label%22%3A%7B%22a%22%3Atrue%7D%7D HTTP/1.1";
    assert!(request.starts_with(path), "{request}");
}
