//! Watches over real sockets.

use super::*;

const TWO: [(&str, &str, &str, f64); 2] =
    [("vm-1", "running", "h1", 0.1), ("vm-2", "stopped", "h2", 0.1)];

const STREAMING: &str =
    "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";

#[tokio::test]
async fn a_watch_after_a_version_tells_every_change_once() {
    let center = Center::with(&TWO).await;
    let mut watch = center.watch(&format!("resourceVersion={}", center.version().await)).await;
    center.set_state("vm-1", "stopped").await;
    center.create(vm("vm-3", "new", "h1", 0.0)).await;
    center.set_state("vm-1", "stopped").await;
    let deleted = center.delete(&format!("{VMS}/vm-1")).await;
    assert_eq!(deleted.code, 200);
    watch.all_told(["MODIFIED vm-1 stopped", "ADDED vm-3 new"]).await;
    let event = watch.next().await.unwrap();
    assert_eq!(event["type"], "DELETED");
    assert_eq!(event["object"]["metadata"]["resourceVersion"], *center.version().await);
    assert_eq!(event["object"]["status"]["state"], "stopped");
}

#[tokio::test]
async fn a_watch_without_a_version_begins_with_everything() {
    let center = Center::with(&TWO).await;
    let mut watch = center.watch("").await;
    watch.all_told(["ADDED vm-1 running", "ADDED vm-2 stopped"]).await;
    center.set_state("vm-2", "running").await;
    watch.all_told(["MODIFIED vm-2 running"]).await;
}

#[tokio::test]
async fn a_streaming_list_ends_with_the_marked_bookmark() {
    let center = Center::with(&TWO).await;
    for query in [STREAMING.to_owned(), format!("{STREAMING}&resourceVersion=0")] {
        let mut watch = center.watch(&query).await;
        watch.all_told(["ADDED vm-1 running", "ADDED vm-2 stopped"]).await;
        let bookmark = watch.next().await.unwrap();
        let want = json!({
            "type": "BOOKMARK",
            "object": {
                "kind": "VirtualMachine",
                "apiVersion": "status.rollcall/v1",
                "metadata": {
                    "resourceVersion": center.version().await,
                    "creationTimestamp": null,
                    "annotations": { "k8s.io/initial-events-end": "true" },
                },
            },
        });
        assert_eq!(bookmark, want);
    }
    let refused = center.get(&format!("{VMS}?watch=true&sendInitialEvents=true")).await;
    refused.refused(422, "Invalid", "NotOlderThan");
}

#[tokio::test]
async fn edges_are_additions_and_deletions() {
    let center = Center::with(&TWO).await;
    let version = center.version().await;
    let select = |selector: &str| format!("resourceVersion={version}&fieldSelector={selector}");
    let mut running = center.watch(&select("status.state%3Drunning")).await;
    let mut named = center.watch(&select("metadata.name%3Dvm-2")).await;
    let mut on_host = center.watch(&select("status.host%3Dh1@on(status.host)")).await;
    center.set_state("vm-2", "running").await;
    center.set_state("vm-1", "crashed").await;
    center.merge(&format!("{VMS}/vm-1"), json!({ "status": { "host": "h9" } })).await;
    running.all_told(["ADDED vm-2 running", "DELETED vm-1 running"]).await;
    named.all_told(["MODIFIED vm-2 running"]).await;
    on_host.all_told(["DELETED vm-1 crashed"]).await;
}

#[tokio::test]
async fn cel_sees_the_change_itself() {
    let center = Center::with(&TWO).await;
    let crash = "cel:old.status.state=='running'%26%26object.status.state=='crashed'";
    let mut watch = center.watch(&format!("fieldSelector={crash}")).await;
    center.set_state("vm-2", "crashed").await;
    center.set_state("vm-1", "crashed").await;
    center.set_state("vm-1", "crashed").await;
    center.set_state("vm-2", "running").await;
    center.set_state("vm-2", "crashed").await;
    watch.all_told(["MODIFIED vm-1 crashed", "MODIFIED vm-2 crashed"]).await;
}

#[tokio::test]
async fn an_envelope_carries_what_was_asked_for() {
    let center = Center::with(&TWO).await;
    let query = format!(
        "resourceVersion={}&envelope=prev,cause,current,ts&fieldSelector=status.state%3Drunning",
        center.version().await
    );
    let mut watch = center.watch(&query).await;
    center.set_state("vm-1", "crashed").await;
    let event = watch.next().await.unwrap();
    assert_eq!(event["type"], "DELETED");
    assert_eq!(event["object"]["status"]["state"], "running");
    assert_eq!(event["prev"]["status"]["state"], "running");
    assert_eq!(event["current"]["status"]["state"], "crashed");
    assert_eq!(event["cause"], "api");
    assert_eq!(event["ts"], 1_795_460_431_000_i64);
    let keys: Vec<&String> = event.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["type", "object", "prev", "cause", "ts", "current"]);
}

#[tokio::test]
async fn a_version_that_is_gone_is_told_inside_the_stream() {
    let center = Center::with(&TWO).await;
    let oldest = center.version().await;
    for n in 0..70 {
        center.set_state("vm-1", &format!("s{n}")).await;
    }
    let foreign = u64::MAX >> 1;
    for version in [oldest, "5".to_owned(), foreign.to_string(), "99999999999999999999".to_owned()]
    {
        let mut watch = center.watch(&format!("resourceVersion={version}")).await;
        watch.all_told(["ERROR 410", "END"]).await;
    }
    let mut watch = center.watch(&format!("{STREAMING}&resourceVersion={foreign}")).await;
    watch.all_told(["ERROR 410", "END"]).await;
    let garbage = center.get(&format!("{VMS}?watch=true&resourceVersion=abc")).await;
    garbage.refused(400, "BadRequest", "not a version");
}

#[tokio::test]
async fn a_watch_ends_when_the_client_said_and_marks_the_place() {
    let center = Center::with(&TWO).await;
    let version = center.version().await;
    let query = format!("resourceVersion={version}&timeoutSeconds=3&allowWatchBookmarks=true");
    let mut watch = center.watch(&query).await;
    center.set_state("vm-1", "crashed").await;
    watch.all_told(["MODIFIED vm-1 crashed"]).await;
    let bookmark = watch.next().await.unwrap();
    assert_eq!(bookmark["object"]["metadata"]["resourceVersion"], *center.version().await);
    assert_eq!(bookmark["object"]["metadata"].get("annotations"), None);
    watch.all_told(["END"]).await;
}

#[tokio::test]
async fn a_watch_can_be_of_rows() {
    let center = Center::with(&TWO).await;
    let path = format!("{VMS}?watch=true&resourceVersion={}", center.version().await);
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let mut watch = center.stream(&path, table).await;
    center.set_state("vm-1", "crashed").await;
    let event = watch.next().await.unwrap();
    assert_eq!(event["object"]["kind"], "Table");
    assert_eq!(event["object"]["rows"][0]["cells"][1], "crashed");
    assert_eq!(event["object"]["rows"][0]["object"]["metadata"]["name"], "vm-1");
}

#[tokio::test]
async fn everything_is_streamed_in_order_however_much_it_is() {
    let center = Center::new();
    for n in 0..1000 {
        center.create(vm(&format!("vm-{n:04}"), "running", "h1", 0.0)).await;
    }
    let mut watch = center.watch(STREAMING).await;
    for n in 0..1000 {
        assert_eq!(watch.told().await, format!("ADDED vm-{n:04} running"));
    }
    watch.all_told(["BOOKMARK"]).await;
}

#[tokio::test]
async fn more_listeners_than_allowed_are_told_to_come_back() {
    let center = Center::of(&format!("listeners_max: 2\n{KINDS}"));
    center.sink.warmed_up();
    let first = center.watch("").await;
    let _second = center.watch("").await;
    let refused = center.get(&format!("{VMS}?watch=true")).await;
    refused.refused(429, "TooManyRequests", "2 listeners already");
    assert_eq!(refused.headers["retry-after"], "1");
    assert_eq!(center.sink.api.metrics.refused_watches.get(), 1);
    drop(first);
}

#[tokio::test]
async fn the_end_of_the_center_is_a_clean_end() {
    let center = Center::with(&TWO).await;
    let mut watch = center.watch(&format!("resourceVersion={}", center.version().await)).await;
    center.set_state("vm-1", "crashed").await;
    let Center { sink, .. } = center;
    sink.stop().await;
    watch.all_told(["MODIFIED vm-1 crashed", "END"]).await;
}
