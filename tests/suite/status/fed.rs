//! A status center alone, fed by who scrapes elsewhere: Prometheus, vmagent, and rollcall in both
//! versions.

use serde_json::Value;
use tempfile::TempDir;
use testkit::{FakeTarget, Process, Prometheus, Reply, Rollcall, config};
use tokio::process::Command;

use super::{fresh, vm, wait_for};
use crate::kinds::{VMS, VMS_PATH, vms};
use crate::rollcall;

const HOSTS: &str = "/apis/status.rollcall/v1/hosts";

/// The kinds alone: nothing is scraped here, and nobody waits for senders.
async fn center() -> Rollcall {
    let kinds = VMS.split_once("status:").unwrap().1;
    let kinds = kinds.replace("stale_after: 600ms", "stale_after: 1s");
    let yaml = format!("status:\n  warm_up: 0s{kinds}");
    rollcall().config(&config().section(&yaml)).start().await
}

/// Somebody who scrapes a target and writes to a status center.
enum Sender {
    Prometheus(Box<Prometheus>),
    Vmagent(Box<(Process, TempDir)>),
    Rollcall(Box<Rollcall>),
}

impl Sender {
    async fn prometheus(target: &FakeTarget, center: &Rollcall) -> Sender {
        let yaml = format!(
            "global: {{ scrape_interval: 200ms }}\n\
             scrape_configs:\n  - job_name: test\n    static_configs: [{{ targets: ['{}'] }}]\n\
             remote_write:\n  - url: {}\n    queue_config: {{ batch_send_deadline: 50ms }}\n",
            target.address(),
            center.url("/api/v1/write"),
        );
        Sender::Prometheus(Box::new(Prometheus::agent(&yaml).await))
    }

    fn vmagent(target: &FakeTarget, center: &Rollcall) -> Sender {
        let folder = tempfile::tempdir().unwrap();
        let yaml = format!(
            "global: {{ scrape_interval: 1s }}\n\
             scrape_configs:\n  - job_name: test\n    static_configs: [{{ targets: ['{}'] }}]\n",
            target.address(),
        );
        std::fs::write(folder.path().join("scrape.yml"), yaml).unwrap();
        let mut command = Command::new("vmagent");
        command.current_dir(folder.path()).args([
            "-promscrape.config=scrape.yml",
            "-httpListenAddr=127.0.0.1:0",
            "-remoteWrite.tmpDataPath=data",
            "-remoteWrite.flushInterval=100ms",
            &format!("-remoteWrite.url={}", center.url("/api/v1/write")),
        ]);
        let process = Process::start("vmagent", command, &folder.path().join("log"));
        Sender::Vmagent(Box::new((process, folder)))
    }

    async fn rollcall(target: &FakeTarget, center: &Rollcall, message: &str) -> Sender {
        let remote_write = format!(
            "name: center\nurl: {}\nprotobuf_message: {message}\n\
             queue_config: {{ batch_send_deadline: 50ms, min_backoff: 30ms, max_backoff: 200ms }}\n",
            center.url("/api/v1/write"),
        );
        let config = config().scrape(target).remote_write(&remote_write);
        Sender::Rollcall(Box::new(rollcall().config(&config).start().await))
    }

    async fn stop(self) {
        match self {
            Sender::Prometheus(prometheus) => drop(prometheus),
            Sender::Vmagent(vmagent) => drop(vmagent),
            Sender::Rollcall(app) => drop(app.terminate().await),
        }
    }
}

/// What must be seen behind the hop: changes, removals, the death of the target, its return.
async fn story(target: &FakeTarget, center: &Rollcall) {
    let object = wait_for(center, &vm("1"), serde_json::json!({ "state": "running" })).await;
    assert_eq!(object["status"]["host"], target.address());
    wait_for(center, &vm("2"), serde_json::json!({ "state": "stopped" })).await;
    let watch = center.watch(&format!("{VMS_PATH}?watch=true")).await;
    let hosts = center.watch(&format!("{HOSTS}?watch=true")).await;
    watch.wait_for_events(2).await;

    target.serve(vms(&[("1", "crashed"), ("2", "stopped")]));
    let event = watch.wait_for_event("MODIFIED", "1").await;
    assert_eq!(*event.field("state"), "crashed");
    target.serve(vms(&[("1", "crashed")]));
    watch.wait_for_event("DELETED", "2").await;

    // The target dies: an edge at once; what it said stays, and is stale after a while.
    watch.forget();
    target.serve(Reply::status(500));
    hosts.wait_for("that the host is down", |e| *e.field("up") == false).await;
    let stale = |e: &testkit::Event| fresh(&e.object) == Some("False");
    let event = watch.wait_for("that VM 1 is stale", stale).await;
    assert_eq!(*event.field("state"), "crashed");
    target.wait_for_more_requests(5).await;
    assert_eq!(watch.kinds_of("1"), ["MODIFIED"], "{:#?}", watch.events());

    target.serve(vms(&[("1", "running")]));
    wait_for(center, &vm("1"), serde_json::json!({ "state": "running" })).await;
    let back = |e: &testkit::Event| e.kind == "MODIFIED" && *e.field("up") == true;
    hosts.wait_for("that the host is back", back).await;
    let kinds: Vec<String> = watch.events().into_iter().map(|event| event.kind).collect();
    assert!(!kinds.contains(&"DELETED".to_owned()), "{kinds:?}");
}

/// What must be seen when the sender itself is gone.
async fn silence(center: &Rollcall) {
    let watch = center.watch(&format!("{VMS_PATH}?watch=true")).await;
    let stale = |e: &testkit::Event| fresh(&e.object) == Some("False");
    watch.wait_for("that nobody speaks for VM 1", stale).await;
    let object: Value = center.json(&vm("1")).await;
    assert_eq!(object["status"]["state"], "running");
}

async fn target() -> FakeTarget {
    FakeTarget::serving(vms(&[("1", "running"), ("2", "stopped")])).await
}

#[tokio::test]
async fn prometheus_feeds_it() {
    let (target, center) = (target().await, center().await);
    let sender = Sender::prometheus(&target, &center).await;
    story(&target, &center).await;
    sender.stop().await;
    silence(&center).await;
    center.stop().await;
}

#[tokio::test]
async fn vmagent_feeds_it() {
    let (target, center) = (target().await, center().await);
    let sender = Sender::vmagent(&target, &center);
    story(&target, &center).await;
    sender.stop().await;
    silence(&center).await;
    center.stop().await;
}

#[tokio::test]
async fn another_rollcall_feeds_it_by_remote_write_1() {
    let (target, center) = (target().await, center().await);
    let sender = Sender::rollcall(&target, &center, "prometheus.WriteRequest").await;
    story(&target, &center).await;
    sender.stop().await;
    silence(&center).await;
    center.stop().await;
}

#[tokio::test]
async fn another_rollcall_feeds_it_by_remote_write_2() {
    let (target, center) = (target().await, center().await);
    let sender = Sender::rollcall(&target, &center, "io.prometheus.write.v2.Request").await;
    story(&target, &center).await;
    sender.stop().await;
    silence(&center).await;
    center.stop().await;
}

#[tokio::test]
async fn readers_wait_until_senders_have_had_time() {
    let kinds = VMS.split_once("status:").unwrap().1;
    let yaml = format!("status:\n  warm_up: 3s{kinds}");
    let center = rollcall().config(&config().section(&yaml)).not_waiting_until_ready();
    let center = center.start().await;
    assert_eq!(center.get(VMS_PATH).await.0, 429);
    assert_eq!(center.get("/-/ready").await.0, 503);
    let target = target().await;
    let sender = Sender::rollcall(&target, &center, "prometheus.WriteRequest").await;
    testkit::wait_until("the list is whole", testkit::DEADLINE, || async {
        match center.get(VMS_PATH).await {
            (200, body) => Ok(body),
            (status, body) => Err(format!("{status} {body}")),
        }
    })
    .await;
    assert_eq!(center.names(VMS_PATH).await, ["1", "2"]);
    sender.stop().await;
    center.stop().await;
}
