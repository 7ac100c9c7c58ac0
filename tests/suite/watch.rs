//! Watches: edges by selector, versions that grow, resuming, bookmarks, and what is gone.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use testkit::{Event, FakeTarget, Rollcall, config};

use crate::kinds::{VMS, VMS_PATH, vms};
use crate::rollcall;

async fn start(target: &FakeTarget) -> Rollcall {
    rollcall().config(&config().scrape(target).section(VMS)).start().await
}

/// The version of a list.
async fn version(app: &Rollcall) -> String {
    let list = app.json(VMS_PATH).await;
    list["metadata"]["resourceVersion"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_selector_turns_changes_into_edges() {
    let target = FakeTarget::serving(vms(&[("1", "running"), ("2", "stopped")])).await;
    let app = start(&target).await;
    let running =
        app.watch(&format!("{VMS_PATH}?watch=1&fieldSelector=status.state%3Drunning")).await;
    let crashed =
        app.watch(&format!("{VMS_PATH}?watch=1&fieldSelector=status.state%3Dcrashed")).await;
    let all = app.watch(&format!("{VMS_PATH}?watch=1")).await;
    running.wait_for_event("ADDED", "1").await;
    all.wait_for_events(2).await;

    target.serve(vms(&[("1", "crashed"), ("2", "stopped")]));
    let left = running.wait_for_event("DELETED", "1").await;
    assert_eq!(*left.field("state"), "running", "what leaves is shown as it was");
    let entered = crashed.wait_for_event("ADDED", "1").await;
    assert_eq!(*entered.field("state"), "crashed");
    all.wait_for_event("MODIFIED", "1").await;

    target.serve(vms(&[("1", "crashed"), ("2", "running")]));
    running.wait_for_event("ADDED", "2").await;
    target.wait_for_more_requests(2).await;
    assert_eq!(running.kinds_of("1"), ["ADDED", "DELETED"]);
    assert_eq!(running.kinds_of("2"), ["ADDED"]);
    assert_eq!(crashed.kinds_of("1"), ["ADDED"]);
    assert_eq!(crashed.kinds_of("2"), Vec::<String>::new());
    assert_eq!(all.kinds_of("1"), ["ADDED", "MODIFIED"]);
    app.stop().await;
}

#[tokio::test]
async fn the_full_set_comes_first_and_versions_only_grow() {
    let state = |round: usize, vm: usize| {
        if (round + vm).is_multiple_of(3) { "running" } else { "stopped" }
    };
    let page = move |round: usize| -> String {
        let vms = (0..40).filter(|vm| !(round + vm).is_multiple_of(5));
        vms.map(|vm| format!("vm_state{{vmid=\"{vm}\",state=\"{}\"}} 1\n", state(round, vm)))
            .collect()
    };
    let target = FakeTarget::answering(move |_, nth| page(nth).into()).await;
    let app = start(&target).await;
    let from_nothing = app.watch(&format!("{VMS_PATH}?watch=1")).await;
    let list = app.json(VMS_PATH).await;
    let from = list["metadata"]["resourceVersion"].as_str().unwrap();
    let from_list = app.watch(&format!("{VMS_PATH}?watch=1&resourceVersion={from}")).await;
    target.wait_for_more_requests(5).await;
    target.serve(page(1));
    target.wait_for_more_requests(3).await;

    let now = app.json(VMS_PATH).await;
    for (watch, start) in [(&from_nothing, BTreeMap::new()), (&from_list, objects(&list))] {
        let events = watch.events();
        let versions: Vec<u64> = events.iter().map(Event::version).collect();
        let initial = events.iter().take_while(|event| event.kind == "ADDED").count();
        let changes = if start.is_empty() { &versions[initial..] } else { &versions[..] };
        assert!(changes.windows(2).all(|two| two[0] < two[1]), "{changes:?}");
        assert_eq!(folded(start, &events), objects(&now), "the watch and the list disagree");
    }
    app.stop().await;
}

/// Name and state of every object of a list.
fn objects(list: &Value) -> BTreeMap<String, Value> {
    let items = list["items"].as_array().unwrap().iter();
    items
        .map(|object| {
            let name = object["metadata"]["name"].as_str().unwrap().to_owned();
            (name, object["status"]["state"].clone())
        })
        .collect()
}

/// What somebody knows who applied these events in order.
fn folded(mut known: BTreeMap<String, Value>, events: &[Event]) -> BTreeMap<String, Value> {
    for event in events {
        let name = event.name().to_owned();
        match event.kind.as_str() {
            "ADDED" => {
                assert_eq!(known.insert(name, event.field("state").clone()), None, "{event:?}")
            }
            "MODIFIED" => assert!(known.insert(name, event.field("state").clone()).is_some()),
            "DELETED" => assert!(known.remove(&name).is_some(), "{event:?}"),
            _ => panic!("{event:?}"),
        }
    }
    known
}

#[tokio::test]
async fn a_watch_goes_on_where_another_ended() {
    let target = FakeTarget::serving(vms(&[("1", "a"), ("2", "a")])).await;
    let app = start(&target).await;
    let whole = app.watch(&format!("{VMS_PATH}?watch=1")).await;
    let cut = app.watch(&format!("{VMS_PATH}?watch=1")).await;
    cut.wait_for_events(2).await;
    target.serve(vms(&[("1", "b"), ("2", "a")]));
    let seen = cut.wait_for_event("MODIFIED", "1").await.version();
    drop(cut);
    target.serve(vms(&[("1", "b"), ("2", "b"), ("3", "b")]));
    whole.wait_for_events(5).await;
    let resumed = app.watch(&format!("{VMS_PATH}?watch=1&resourceVersion={seen}")).await;
    let events = resumed.wait_for_events(2).await;
    assert_eq!(events, whole.events()[3..], "what the other saw after it");
    app.stop().await;
}

#[tokio::test]
async fn what_cannot_be_resumed_is_gone_and_said_in_the_stream() {
    let target = FakeTarget::serving(vms(&[("1", "a")])).await;
    let app = start(&target).await;
    let now: u64 = version(&app).await.parse().unwrap();
    for foreign in [1, now + (1 << 40)] {
        let watch = app.watch(&format!("{VMS_PATH}?watch=1&resourceVersion={foreign}")).await;
        watch.wait_for_end().await;
        let events = watch.events();
        assert_eq!(events.len(), 1, "{events:?}");
        assert_eq!(events[0].kind, "ERROR");
        assert_eq!(events[0].object["code"], 410);
        assert_eq!(events[0].object["reason"], "Expired");
    }
    let (status, body) = app.get(&format!("{VMS_PATH}?watch=1&resourceVersion=soon")).await;
    assert_eq!(status, 400, "{body}");
    app.stop().await;
}

#[tokio::test]
async fn versions_grow_over_a_restart() {
    let target = FakeTarget::serving(vms(&[("1", "a")])).await;
    let app = start(&target).await;
    let before: u64 = version(&app).await.parse().unwrap();
    app.kill().await;
    let app = start(&target).await;
    let after: u64 = version(&app).await.parse().unwrap();
    assert!(after > before, "{before} then {after}");
    let watch = app.watch(&format!("{VMS_PATH}?watch=1&resourceVersion={before}")).await;
    watch.wait_for("that the version is gone", |event| event.object["code"] == 410).await;
    app.stop().await;
}

#[tokio::test]
async fn a_streaming_list_marks_where_the_set_is_whole() {
    let target = FakeTarget::serving(vms(&[("1", "a"), ("2", "a"), ("3", "a")])).await;
    let app = start(&target).await;
    let watch = app
        .watch(&format!(
            "{VMS_PATH}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan\
             &allowWatchBookmarks=true"
        ))
        .await;
    let events = watch.wait_for_events(4).await;
    let kinds: Vec<&str> = events.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(kinds, ["ADDED", "ADDED", "ADDED", "BOOKMARK"]);
    let mark = &events[3].object["metadata"];
    assert_eq!(mark["annotations"]["k8s.io/initial-events-end"], "true");
    let whole = events[3].version();
    target.serve(vms(&[("1", "b"), ("2", "a"), ("3", "a")]));
    let next = watch.wait_for_event("MODIFIED", "1").await;
    assert!(next.version() > whole);
    app.stop().await;
}

#[tokio::test]
async fn a_watch_ends_cleanly_at_its_deadline_however_much_happens() {
    let page = |round: usize| -> String {
        (0..50).map(|vm| format!("vm_state{{vmid=\"{vm}\",state=\"{round}\"}} 1\n")).collect()
    };
    let target = FakeTarget::answering(move |_, nth| page(nth).into()).await;
    let app = start(&target).await;
    let from = version(&app).await;
    for query in ["", "&allowWatchBookmarks=true", "&fieldSelector=status.state%3Dnone"] {
        let query = format!("watch=1&timeoutSeconds=1&resourceVersion={from}{query}");
        let watch = app.watch(&format!("{VMS_PATH}?{query}")).await;
        assert_eq!(watch.wait_for_end().await, "", "{query}");
    }
    app.stop().await;
}

#[tokio::test]
async fn a_selector_that_makes_no_sense_is_refused() {
    let target = FakeTarget::serving(vms(&[("1", "a")])).await;
    let app = start(&target).await;
    for query in [
        "fieldSelector=status.nope%3D1",
        "fieldSelector=%3D%3D",
        "labelSelector=a%20in%20(",
        "limit=many",
    ] {
        for path in [format!("{VMS_PATH}?{query}"), format!("{VMS_PATH}?watch=1&{query}")] {
            if path.contains("watch=1") && !query.contains("Selector") {
                continue; // a watch has no pages
            }
            let (status, body) = app.get(&path).await;
            assert_eq!(status, 400, "{path}: {body}");
            let answer: Value = serde_json::from_str(&body).unwrap();
            assert_eq!(
                (&answer["kind"], &answer["reason"]),
                (&json!("Status"), &json!("BadRequest"))
            );
        }
    }
    app.stop().await;
}

#[tokio::test]
async fn a_watch_that_is_not_read_costs_the_others_nothing() {
    let page = |round: usize| -> String {
        (0..300).map(|vm| format!("vm_state{{vmid=\"{vm}\",state=\"{round}\"}} 1\n")).collect()
    };
    let target = FakeTarget::answering(move |_, nth| page(nth).into()).await;
    let app = start(&target).await;
    // Connected, asked, and never read from.
    let address = app.url("").trim_start_matches("http://").to_owned();
    let mut idle = tokio::net::TcpStream::connect(&address).await.unwrap();
    let request = format!("GET {VMS_PATH}?watch=1 HTTP/1.1\r\nHost: x\r\n\r\n");
    tokio::io::AsyncWriteExt::write_all(&mut idle, request.as_bytes()).await.unwrap();

    let watch = app.watch(&format!("{VMS_PATH}?watch=1")).await;
    watch.wait_for_events(300).await;
    for _ in 0..5 {
        let seen = watch.events().len();
        target.wait_for_more_requests(1).await;
        watch.wait_for_events(seen + 200).await;
    }
    let versions: Vec<u64> = watch.events().iter().skip(300).map(Event::version).collect();
    assert!(versions.windows(2).all(|two| two[0] < two[1]));
    drop(idle);
    app.stop().await;
}
