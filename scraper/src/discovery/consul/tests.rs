//! A catalog on loopback, watched as long as the test runs.

use tokio::sync::Notify;

use super::*;
use crate::fixtures::{FakeTarget, Reply, job, wait_until};
use crate::metrics::{MechanismLabel, Metrics};

const INSTANCE: &str = r#"[{"Node": {"Node": "n1", "Address": "10.0.0.1", "Meta": {"a-b": "c"},
    "TaggedAddresses": {"lan": "10.0.0.1"}},
  "Service": {"ID": "web-1", "Service": "web", "Address": "", "Port": 80, "Tags": ["x", "y"],
    "Meta": {"version": "2"}},
  "Checks": [{"CheckID": "c", "Status": "passing"}, {"CheckID": "d", "Status": "warning"}]}]"#;

fn reply(index: u64, body: &str) -> Reply {
    let index = format!("X-Consul-Index: {index}");
    Reply::with(&["Content-Type: application/json", &index], body)
}

struct Running {
    server: FakeTarget,
    found: Arc<Found>,
    _task: AbortOnDropHandle<()>,
}

async fn start(keys: &str) -> Running {
    let server = FakeTarget::routing(&[
        ("/v1/agent/self", reply(1, r#"{"Config": {"Datacenter": "dc1"}}"#)),
        ("/v1/catalog/services", reply(5, r#"{"web": ["x", "y"], "db": []}"#)),
        ("/v1/health/service/web", reply(7, INSTANCE)),
        ("/v1/health/service/db", reply(8, "[]")),
    ])
    .await;
    let job = job(&format!(
        "{{job_name: j, consul_sd_configs: [{{server: '{}', refresh_interval: 10ms{keys}}}]}}",
        server.address
    ));
    let found = Found::new(Arc::new(Notify::new()));
    let tools = Tools {
        clock: kit::SystemClock::shared(),
        metrics: Metrics::register(&kit::metrics::SelfMetrics::new()).discovery,
        label: MechanismLabel { mechanism: "consul", config: "j".into() },
    };
    let provider = Arc::new(job.consul_sd()[0].clone());
    let task = tokio::spawn(Provider::run(provider, Arc::clone(&found), tools));
    Running { server, found, _task: AbortOnDropHandle::new(task) }
}

impl Running {
    async fn finds(&self, want: &[&str]) {
        let look = || {
            let groups = self.found.take().groups;
            let targets = groups.iter().flat_map(|group| {
                group.targets.iter().map(|target| format!("{} {target}", group.labels))
            });
            let targets: Vec<String> = targets.collect();
            if targets == want { Ok(()) } else { Err(targets) }
        };
        wait_until(&format!("targets {want:?}"), look).await;
    }
}

const WEB: &str = concat!(
    r#"{__meta_consul_dc="dc1", __meta_consul_service="web"} "#,
    r#"{__address__="10.0.0.1:80", __meta_consul_address="10.0.0.1", "#,
    r#"__meta_consul_health="warning", __meta_consul_metadata_a_b="c", "#,
    r#"__meta_consul_node="n1", __meta_consul_service_id="web-1", "#,
    r#"__meta_consul_service_metadata_version="2", __meta_consul_service_port="80", "#,
    r#"__meta_consul_tagged_address_lan="10.0.0.1", __meta_consul_tags=",x,y,"}"#
);

#[tokio::test]
async fn instances_are_found_and_go_with_their_service() {
    let running = start("").await;
    running.finds(&[WEB]).await;
    running.server.route("/v1/catalog/services", reply(6, r#"{"db": []}"#));
    running.finds(&[]).await;
}

#[tokio::test]
async fn only_wanted_services_and_tags_are_watched() {
    let running = start(", tags: [x]").await;
    running.finds(&[WEB]).await;
    let requests = running.server.requests().join("");
    assert!(!requests.contains("/health/service/db"), "{requests}");
    assert!(requests.contains("GET /v1/health/service/web?tag=x&stale=&wait=120000ms"));
    let running = start(", services: [web], datacenter: dc1, token: secret").await;
    running.finds(&[WEB]).await;
    let requests = running.server.requests().join("");
    assert!(!requests.contains("/catalog/services"), "{requests}");
    assert!(requests.to_ascii_lowercase().contains("x-consul-token: secret"), "{requests}");
}

#[tokio::test]
async fn a_held_question_names_the_index_of_the_last_answer() {
    let running = start("").await;
    let look = || {
        let requests = running.server.requests();
        let held = requests.iter().any(|request| request.contains("&index=7&wait=120000ms"));
        if held { Ok(()) } else { Err(requests) }
    };
    wait_until("a held question", look).await;
}

#[test]
fn the_worst_check_decides() {
    let check = |statuses: &[(&str, &str)], want: &str| {
        let checks = statuses
            .iter()
            .map(|(id, status)| Check { id: (*id).to_owned(), status: (*status).to_owned() });
        let instance = Instance { checks: Some(checks.collect()), ..Instance::default() };
        assert_eq!(instance.health(), want);
    };
    check(&[], "passing");
    check(&[("a", "passing"), ("b", "critical"), ("c", "warning")], "critical");
    check(&[("_node_maintenance", "critical")], "maintenance");
    check(&[("_service_maintenance:web", "critical"), ("b", "passing")], "maintenance");
    check(&[("a", "odd")], "");
}
