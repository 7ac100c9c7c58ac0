//! A cluster on loopback: its objects become targets, and change with it.

use super::*;
use crate::fixtures::{FakeTarget, Reply, job, wait_until};
use crate::metrics::{MechanismLabel, Metrics};

const JSON: &[&str] = &["Content-Type: application/json"];

const POD: &str = r#"{"metadata": {"name": "web-1", "namespace": "shop", "uid": "u1",
    "labels": {"app": "web"}, "ownerReferences": [{"kind": "ReplicaSet", "name": "web-rs",
    "controller": true}]},
  "spec": {"nodeName": "n1", "containers": [{"name": "main", "image": "web:1",
    "ports": [{"name": "http", "containerPort": 80, "protocol": "TCP"},
              {"name": "metrics", "containerPort": 9100, "protocol": "TCP"}]}]},
  "status": {"podIP": "10.0.0.1", "hostIP": "192.168.0.1", "phase": "Running",
    "conditions": [{"type": "Ready", "status": "True"}],
    "containerStatuses": [{"name": "main", "containerID": "c1"}]}}"#;

fn list(items: &str) -> Reply {
    Reply::with(JSON, format!(r#"{{"metadata": {{"resourceVersion": "5"}}, "items": [{items}]}}"#))
}

struct Running {
    server: FakeTarget,
    found: Arc<Found>,
    _task: AbortOnDropHandle<()>,
}

/// Watches a cluster that has these lists.
async fn start(keys: &str, lists: &[(&str, Reply)]) -> Running {
    let server = FakeTarget::routing(lists).await;
    let address = server.address;
    start_at(server, &format!("api_server: 'http://{address}', {keys}"))
}

fn start_at(server: FakeTarget, keys: &str) -> Running {
    let job = job(&format!("{{job_name: j, kubernetes_sd_configs: [{{{keys}}}]}}"));
    let found = Found::new(Arc::new(Notify::new()));
    let provider = Arc::new(job.kubernetes_sd()[0].clone());
    let task = tokio::spawn(Provider::run(provider, Arc::clone(&found), tools()));
    Running { server, found, _task: AbortOnDropHandle::new(task) }
}

impl Running {
    /// Waits until the targets are these: address, and the meta labels that `shown` names.
    async fn finds(&self, shown: &[&str], want: &[&str]) {
        let look = || {
            let mut targets = Vec::new();
            for group in self.found.take().groups {
                for target in &group.targets {
                    let value = |name: &&str| {
                        let name = format!("__meta_kubernetes_{name}");
                        target.get(&name).or(group.labels.get(&name)).unwrap_or("-").to_owned()
                    };
                    let mut words = vec![target.get("__address__").unwrap_or("-").to_owned()];
                    words.extend(shown.iter().map(value));
                    targets.push(words.join(" "));
                }
            }
            if targets == want { Ok(()) } else { Err((targets, self.server.requests())) }
        };
        wait_until(&format!("targets {want:?}"), look).await;
    }
}

#[tokio::test]
async fn each_port_of_a_pod_is_a_target() {
    let running = start("role: pod", &[("/api/v1/pods", list(POD))]).await;
    let shown = [
        "namespace",
        "pod_name",
        "pod_ready",
        "pod_label_app",
        "pod_controller_name",
        "pod_container_port_name",
        "pod_container_id",
        "pod_container_init",
    ];
    let common = "shop web-1 true web web-rs";
    let want = [
        format!("10.0.0.1:80 {common} http c1 false"),
        format!("10.0.0.1:9100 {common} metrics c1 false"),
    ];
    running.finds(&shown, &want.each_ref().map(String::as_str)).await;
}

#[tokio::test]
async fn a_service_and_an_ingress_are_found_by_their_names() {
    let service = r#"{"metadata": {"name": "web", "namespace": "shop"}, "spec": {"type":
        "ClusterIP", "clusterIP": "10.1.0.1", "ports": [{"name": "http", "port": 80,
        "protocol": "TCP"}]}}"#;
    let running = start("role: service", &[("/api/v1/services", list(service))]).await;
    running
        .finds(&["service_cluster_ip", "service_type"], &["web.shop.svc:80 10.1.0.1 ClusterIP"])
        .await;
    let ingress = r#"{"metadata": {"name": "i", "namespace": "shop"}, "spec": {"tls": [{"hosts":
        ["*.example.org"]}], "rules": [{"host": "a.example.org", "http": {"paths": [{"path": ""},
        {"path": "/x"}]}}, {"host": "other"}]}}"#;
    let place = "/apis/networking.k8s.io/v1/ingresses";
    let running = start("role: ingress", &[(place, list(ingress))]).await;
    let want = ["a.example.org https /", "a.example.org https /x", "other http /"];
    running.finds(&["ingress_scheme", "ingress_path"], &want).await;
}

#[tokio::test]
async fn a_node_is_scraped_at_its_best_address() {
    let node = r#"{"metadata": {"name": "n1", "labels": {"zone": "z"}}, "status": {"addresses":
        [{"type": "Hostname", "address": "n1"}, {"type": "InternalIP", "address": "10.2.0.1"}],
        "conditions": [{"type": "Ready", "status": "True"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}}}}"#;
    let running = start("role: node", &[("/api/v1/nodes", list(node))]).await;
    let shown = ["node_name", "node_label_zone", "node_condition_ready", "node_address_Hostname"];
    running.finds(&shown, &["10.2.0.1:10250 n1 z true n1"]).await;
}

#[tokio::test]
async fn a_slice_names_addresses_and_the_further_ports_of_their_pods() {
    let slice = r#"{"metadata": {"name": "web-x", "namespace": "shop", "labels":
        {"kubernetes.io/service-name": "web"}}, "addressType": "IPv4", "endpoints": [{"addresses":
        ["10.0.0.1"], "conditions": {"ready": true}, "targetRef": {"kind": "Pod", "name": "web-1",
        "namespace": "shop"}}], "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}"#;
    let service = r#"{"metadata": {"name": "web", "namespace": "shop"}, "spec": {}}"#;
    let lists = [
        ("/apis/discovery.k8s.io/v1/endpointslices", list(slice)),
        ("/api/v1/services", list(service)),
        ("/api/v1/pods", list(POD)),
    ];
    let running = start("role: endpointslice", &lists).await;
    let shown = ["service_name", "endpointslice_port_name", "pod_name", "pod_container_port_name"];
    let want = ["10.0.0.1:80 web http web-1 http", "10.0.0.1:9100 web - web-1 metrics"];
    running.finds(&shown, &want).await;
    let endpoints = r#"{"metadata": {"name": "web", "namespace": "shop"}, "subsets": [{"addresses":
        [{"ip": "10.0.0.1", "nodeName": "n1"}], "notReadyAddresses": [{"ip": "10.0.0.2"}],
        "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}]}"#;
    let lists = [
        ("/api/v1/endpoints", list(endpoints)),
        ("/api/v1/services", list(service)),
        ("/api/v1/pods", list("")),
    ];
    let running = start("role: endpoints", &lists).await;
    let want = ["10.0.0.1:80 web true n1", "10.0.0.2:80 web false -"];
    running.finds(&["service_name", "endpoint_ready", "endpoint_node_name"], &want).await;
}

#[tokio::test]
async fn scopes_and_selectors_are_asked_for() {
    let keys = "role: pod, namespaces: {names: [a, b]}, selectors: [{role: pod, label: 'x=y'}]";
    let lists = [("/api/v1/namespaces/a/pods", list(POD)), ("/api/v1/namespaces/b/pods", list(""))];
    let running = start(keys, &lists).await;
    running.finds(&[], &["10.0.0.1:80", "10.0.0.1:9100"]).await;
    let requests = running.server.requests().join("");
    assert!(requests.contains("GET /api/v1/namespaces/b/pods?limit=500&labelSelector=x%3Dy "));
}

/// Events in one stream.
fn events(events: &[(&str, &str)]) -> Reply {
    let line = |(kind, object): &(&str, &str)| {
        format!("{{\"type\": \"{kind}\", \"object\": {}}}\n", object.replace('\n', " "))
    };
    Reply::with(JSON, events.iter().map(line).collect::<String>())
}

const WATCH: &str = "/api/v1/pods?watch=true";

#[tokio::test]
async fn targets_come_and_go_as_events_say() {
    let lists = [("/api/v1/pods", list("")), (WATCH, events(&[("ADDED", POD)]))];
    let running = start("role: pod", &lists).await;
    running.finds(&[], &["10.0.0.1:80", "10.0.0.1:9100"]).await;
    let elsewhere = POD.replace("10.0.0.1", "10.0.0.9");
    running.server.route(WATCH, events(&[("MODIFIED", &elsewhere)]));
    running.finds(&[], &["10.0.0.9:80", "10.0.0.9:9100"]).await;
    let bookmark = r#"{"metadata": {"resourceVersion": "77"}}"#;
    running.server.route(WATCH, events(&[("DELETED", POD), ("BOOKMARK", bookmark)]));
    running.finds(&[], &[]).await;
    let after_bookmark = || {
        let requests = running.server.requests();
        let asked = requests.iter().any(|request| request.contains("resourceVersion=77"));
        if asked { Ok(()) } else { Err(requests) }
    };
    wait_until("a stream that starts at the bookmark", after_bookmark).await;
}

#[tokio::test]
async fn a_version_that_is_gone_lists_again() {
    let gone = events(&[("ERROR", r#"{"code": 410, "reason": "Expired"}"#)]);
    let running = start("role: pod", &[("/api/v1/pods", list("")), (WATCH, gone)]).await;
    let watched = || {
        let requests = running.server.requests();
        if requests.iter().any(|it| it.contains(WATCH)) { Ok(()) } else { Err(requests) }
    };
    wait_until("the list is watched", watched).await;
    running.server.route("/api/v1/pods", list(POD));
    running.finds(&[], &["10.0.0.1:80", "10.0.0.1:9100"]).await;
}

#[tokio::test]
async fn a_list_comes_in_pages() {
    let page = format!(
        r#"{{"metadata": {{"resourceVersion": "5", "continue": "2nd"}}, "items": [{POD}]}}"#
    );
    let other = POD.replace("web-1", "web-2").replace("10.0.0.1", "10.0.0.2");
    let lists = [
        ("/api/v1/pods", Reply::with(JSON, page)),
        ("/api/v1/pods?limit=500&continue=2nd", list(&other)),
    ];
    let running = start("role: pod", &lists).await;
    let want = ["10.0.0.1:80", "10.0.0.1:9100", "10.0.0.2:80", "10.0.0.2:9100"];
    running.finds(&[], &want).await;
}

#[tokio::test]
async fn related_objects_add_their_labels_where_asked() {
    let owned = |name: &str, owner: &str, kind: &str| {
        list(&format!(
            r#"{{"metadata": {{"name": "{name}", "namespace": "shop", "ownerReferences":
            [{{"kind": "{kind}", "name": "{owner}", "controller": true}}]}}}}"#
        ))
    };
    let of_job = POD.replace("ReplicaSet", "Job").replace("web-rs", "tidy-1").replace("web-1", "b");
    let node = r#"{"metadata": {"name": "n1", "labels": {"zone": "z"}}}"#;
    let namespace = r#"{"metadata": {"name": "shop", "annotations": {"team": "t"}}}"#;
    let lists = [
        ("/api/v1/pods", list(&format!("{POD}, {of_job}"))),
        ("/api/v1/nodes", list(node)),
        ("/api/v1/namespaces", list(namespace)),
        ("/apis/apps/v1/replicasets", owned("web-rs", "web", "Deployment")),
        ("/apis/batch/v1/jobs", owned("tidy-1", "tidy", "CronJob")),
    ];
    let keys = "role: pod, attach_metadata: \
                {node: true, namespace: true, deployment: true, job: true, cronjob: true}";
    let running = start(keys, &lists).await;
    let shown = [
        "pod_name",
        "node_label_zone",
        "namespace_annotation_team",
        "pod_deployment_name",
        "pod_job_name",
        "pod_cronjob_name",
        "pod_container_port_name",
    ];
    let want = [
        "10.0.0.1:80 b z t - tidy-1 tidy http",
        "10.0.0.1:9100 b z t - tidy-1 tidy metrics",
        "10.0.0.1:80 web-1 z t web - - http",
        "10.0.0.1:9100 web-1 z t web - - metrics",
    ];
    running.finds(&shown, &want).await;
}

#[tokio::test]
async fn a_kubeconfig_file_says_where_and_who() {
    let folder = tempfile::tempdir().unwrap();
    let server = FakeTarget::routing(&[("/api/v1/pods", list(POD))]).await;
    std::fs::write(folder.path().join("token"), "secret\n").unwrap();
    let path = folder.path().join("config");
    let config = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: here\n\
         clusters: [{{name: c, cluster: {{server: 'http://{}/'}}}}]\n\
         contexts: [{{name: here, context: {{cluster: c, user: u, namespace: n}}}}]\n\
         users: [{{name: u, user: {{tokenFile: token}}}}]\n",
        server.address
    );
    std::fs::write(&path, config).unwrap();
    let keys = format!("role: pod, kubeconfig_file: '{}'", path.display());
    let section = job(&format!("{{job_name: j, kubernetes_sd_configs: [{{{keys}}}]}}"));
    let access = Access::new(&section.kubernetes_sd()[0]);
    assert!(access.is_ok(), "{}", Chain(&access.err().unwrap()));
    let running = start_at(server, &keys);
    running.finds(&[], &["10.0.0.1:80", "10.0.0.1:9100"]).await;
    let requests = running.server.requests().join("").to_ascii_lowercase();
    assert!(requests.contains("authorization: bearer secret\r\n"), "{requests}");
}

#[tokio::test]
async fn nobody_waits_for_a_server_that_is_silent() {
    let silent = list(POD).after(Duration::from_secs(3600));
    let server = FakeTarget::routing(&[("/api/v1/pods", silent)]).await;
    let job = job(&format!(
        "{{job_name: j, kubernetes_sd_configs: [{{api_server: 'http://{}', role: pod}}]}}",
        server.address
    ));
    let found = Found::new(Arc::new(Notify::new()));
    let watches = Watches::start(&job.kubernetes_sd()[0], &tools()).unwrap();
    let following = watches.follow(&found, Duration::from_millis(20));
    let gave_up = wait_until("the provider gives up for now", || {
        if found.is_answered() { Ok(()) } else { Err(server.requests()) }
    });
    tokio::select! {
        () = following => unreachable!("it follows for ever"),
        () = gave_up => {}
    }
    assert!(found.take().groups.is_empty());
}

fn tools() -> Tools {
    Tools {
        clock: kit::SystemClock::shared(),
        metrics: Metrics::register(&kit::metrics::SelfMetrics::new()).discovery,
        label: MechanismLabel { mechanism: "kubernetes", config: "j".into() },
    }
}
