//! The real kubectl against the status center.

mod transcript; // every command, as it prints

use std::time::Duration;

use serde_json::{Value, json};
use testkit::{DEADLINE, FakeTarget, Kubectl, Rollcall, config, wait_until};

use crate::kinds::{VMS, vms};
use crate::rollcall;

/// An informer waits up to 30 s between two tries.
const PATIENCE: Duration = Duration::from_secs(90);

fn kubectl(app: &Rollcall) -> Kubectl {
    at(&app.url(""))
}

/// A kubectl that speaks to who listens at `url`.
pub(crate) fn at(url: &str) -> Kubectl {
    Kubectl::new(&crate::tool("kubectl"), url.trim_end_matches('/'))
}

async fn start(page: String) -> (FakeTarget, Rollcall, Kubectl) {
    let target = FakeTarget::serving(page).await;
    let app = rollcall().config(&config().scrape(&target).section(VMS)).start().await;
    let kubectl = kubectl(&app);
    (target, app, kubectl)
}

#[tokio::test]
async fn get_prints_a_table_with_the_columns_of_the_kind() {
    let page = vms(&[("1", "running"), ("2", "stopped")]) + "vm_cpu{vmid=\"1\"} 0.25\n";
    let (target, app, kubectl) = start(page).await;
    let table = kubectl.prints(&["get", "vm"]).await;
    let rows: Vec<Vec<&str>> =
        table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0][..4], ["NAME", "STATE", "HOST", "CPU"], "{table}");
    assert_eq!(rows[1][..4], ["1", "running", &target.address(), "0.25"], "{table}");
    assert_eq!(rows[2][..3], ["2", "stopped", &target.address()], "{table}");
    assert_eq!(rows.len(), 3, "{table}");

    assert_eq!(kubectl.prints(&["get", "vm", "-o", "name"]).await.lines().count(), 2);
    let state = kubectl.prints(&["get", "vm", "1", "-o", "jsonpath={.status.state}"]).await;
    assert_eq!(state, "running");
    let list: Value =
        serde_json::from_str(&kubectl.prints(&["get", "vm", "-o", "json"]).await).unwrap();
    assert_eq!(list["items"].as_array().unwrap().len(), 2);
    for name in ["virtualmachine", "virtualmachines", "virtualmachines.status.rollcall"] {
        assert_eq!(kubectl.prints(&["get", name]).await.lines().count(), 3, "{name}");
    }
    let missing = kubectl.run(&["get", "vm", "nope"]).await;
    assert_eq!(missing.code, Some(1));
    assert!(missing.err.contains("NotFound"), "{missing:?}");
    app.stop().await;
}

#[tokio::test]
async fn selectors_choose() {
    let page = vms(&[("1", "running"), ("2", "stopped"), ("3", "running")]);
    let (target, app, kubectl) = start(page).await;
    let names = async |arguments: &[&str]| -> Vec<String> {
        let printed = kubectl.prints(&[&["get", "vm", "-o", "name"], arguments].concat()).await;
        printed.lines().map(|line| line.rsplit('/').next().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&["--field-selector", "status.state=running"]).await, ["1", "3"]);
    assert_eq!(names(&["--field-selector", "status.state!=running"]).await, ["2"]);
    assert_eq!(names(&["--field-selector", "metadata.name=2"]).await, ["2"]);
    let label = format!("instance={}", target.address());
    assert!(target.address().contains(':'));
    // A label value with a colon is none that Kubernetes takes: kubectl does not even send it.
    let odd = kubectl.run(&["get", "vm", "-l", &label]).await;
    assert_ne!(odd.code, None);
    let none = kubectl.prints(&["get", "vm", "--field-selector", "status.state=nope"]).await;
    assert_eq!(none, "");
    app.stop().await;
}

#[tokio::test]
async fn a_watch_prints_what_changes() {
    let (target, app, kubectl) = start(vms(&[("1", "running"), ("2", "running")])).await;
    let watch = kubectl.start(&["get", "vm", "-w", "--output-watch-events"]);
    let lines = async |n: usize| -> Vec<Vec<String>> {
        wait_until(&format!("kubectl printed {n} lines"), DEADLINE, || async {
            let log = watch.log();
            let words = |line: &str| line.split_whitespace().take(3).map(str::to_owned).collect();
            let lines: Vec<Vec<String>> = log.lines().map(words).collect();
            if lines.len() >= n { Ok(lines) } else { Err(log) }
        })
        .await
    };
    assert_eq!(lines(3).await[1], ["ADDED", "1", "running"]);
    target.serve(vms(&[("1", "crashed"), ("2", "running")]));
    assert_eq!(lines(4).await[3], ["MODIFIED", "1", "crashed"]);
    target.serve(vms(&[("1", "crashed")]));
    assert_eq!(lines(5).await[4], ["DELETED", "2", "running"]);
    drop(watch);

    let chosen = kubectl.start(&["get", "vm", "-w", "--field-selector", "status.state=crashed"]);
    wait_until("kubectl prints the crashed one", DEADLINE, || async {
        let log = chosen.log();
        if log.lines().count() == 2 { Ok(()) } else { Err(log) }
    })
    .await;
    app.stop().await;
}

#[tokio::test]
async fn what_kubectl_writes_is_there() {
    let (target, app, kubectl) = start(vms(&[("1", "running")])).await;
    target.hold();
    let patch = json!({ "status": { "state": "stopping" } }).to_string();
    kubectl
        .prints(&["patch", "vm", "1", "--type", "merge", "--subresource", "status", "-p", &patch])
        .await;
    let state = kubectl.prints(&["get", "vm", "1", "-o", "jsonpath={.status.state}"]).await;
    assert_eq!(state, "stopping");
    kubectl.prints(&["delete", "vm", "1", "--wait=false"]).await;
    assert_eq!(kubectl.run(&["get", "vm", "1"]).await.code, Some(1));
    target.release();
    app.stop_expecting(&["scrape failed"]).await;
}

#[tokio::test]
async fn kubectl_finds_its_way_around() {
    let (_target, app, kubectl) = start(vms(&[("1", "running")])).await;
    let resources = kubectl.prints(&["api-resources", "--no-headers"]).await;
    assert!(resources.contains("virtualmachines") && resources.contains("vm"), "{resources}");
    let versions = kubectl.prints(&["api-versions"]).await;
    assert!(versions.contains("status.rollcall/v1"), "{versions}");
    kubectl.prints(&["version"]).await;
    kubectl
        .prints(&["wait", "vm/1", "--for=jsonpath={.status.state}=running", "--timeout=20s"])
        .await;
    app.stop().await;
}

#[tokio::test]
async fn its_informer_goes_on_after_a_restart_in_both_of_its_ways_to_list() {
    for is_streaming in ["true", "false"] {
        let (target, app, kubectl) = start(vms(&[("1", "starting")])).await;
        let address = app.address();
        let kubectl = kubectl
            .variable("KUBE_WATCHLIST_INCONSISTENCY_DETECTOR", "true")
            .variable("KUBE_FEATURE_WatchListClient", is_streaming);
        let wanted = "--for=jsonpath={.status.state}=running";
        let waiting = kubectl.start(&["wait", "vm/1", wanted, "--timeout=3m"]);
        let listens = async |app: &Rollcall| {
            let open = app.metrics().await.sum("rollcall_status_watches", &[]);
            if open == 1.0 { Ok(()) } else { Err(waiting.log()) }
        };
        wait_until("kubectl listens", DEADLINE, || listens(&app)).await;
        app.kill().await;
        let app = rollcall().config(&config().scrape(&target).section(VMS)).at(address);
        let app = app.start().await;
        // It goes on from a version of before, is told that this is gone, and lists again.
        wait_until("kubectl listens again", PATIENCE, || listens(&app)).await;
        target.serve(vms(&[("1", "running")]));
        wait_until("the waiting ends", DEADLINE, || async {
            let log = waiting.log();
            if log.contains("condition met") { Ok(()) } else { Err(log) }
        })
        .await;
        app.stop().await;
    }
}

#[tokio::test]
async fn its_own_check_finds_no_difference_between_a_streaming_list_and_a_list() {
    let (target, app, kubectl) = start(vms(&[("1", "starting"), ("2", "running")])).await;
    // With this, kubectl lists again at the version of its streaming list, and panics if it got
    // something else.
    let kubectl = kubectl.variable("KUBE_WATCHLIST_INCONSISTENCY_DETECTOR", "true");
    for wanted in ["--for=jsonpath={.status.state}=running", "--for=condition=Fresh"] {
        let waited = kubectl.run(&["wait", "vm/2", wanted, "--timeout=20s"]).await;
        assert_eq!(waited.code, Some(0), "{waited:?}");
    }
    let waiting =
        kubectl.start(&["wait", "vm/1", "--for=jsonpath={.status.state}=running", "--timeout=60s"]);
    target.wait_for_more_requests(2).await;
    target.serve(vms(&[("1", "running"), ("2", "running")]));
    wait_until("the waiting ends", DEADLINE, || async {
        let log = waiting.log();
        if log.contains("condition met") { Ok(()) } else { Err(log) }
    })
    .await;
    app.stop().await;
}
