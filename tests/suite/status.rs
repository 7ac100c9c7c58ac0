//! The status center: what objects are made of, and whose word counts.

mod crowd; // of bad clients
mod fed; // by who scrapes elsewhere
mod kube_rs; // a real client
mod properties; // what must hold in random histories
mod python; // a real client
mod races; // many at once
mod refused; // bad input: a 4xx, and nothing has changed
mod sdk; // our client for Rust
mod storm; // all clients, through everything that can happen

use serde_json::{Value, json};
use testkit::{DEADLINE, FakeReceiver, FakeTarget, Reply, Rollcall, config, wait_until};

use crate::kinds::{VMS, VMS_PATH, vms};
use crate::rollcall;

const MERGE_PATCH: &str = "application/merge-patch+json";

async fn start(target: &FakeTarget) -> Rollcall {
    rollcall().config(&config().scrape(target).section(VMS)).start().await
}

fn vm(name: &str) -> String {
    format!("{VMS_PATH}/{name}")
}

/// Waits until the object has these fields.
async fn wait_for(app: &Rollcall, path: &str, want: Value) -> Value {
    wait_until(&format!("{path} has {want}"), DEADLINE, || async {
        let (status, body) = app.get(path).await;
        let object: Value = serde_json::from_str(&body).unwrap_or(Value::Null);
        let fields = want.as_object().unwrap();
        let has = fields.iter().all(|(name, value)| object["status"][name] == *value);
        if status == 200 && has { Ok(object) } else { Err(format!("{status} {body}")) }
    })
    .await
}

fn fresh(object: &Value) -> Option<&str> {
    let conditions = object["status"]["conditions"].as_array()?;
    conditions.iter().find(|condition| condition["type"] == "Fresh")?["status"].as_str()
}

#[tokio::test]
async fn objects_are_made_from_series_and_status_series_go_nowhere_else() {
    let page = vms(&[("1", "running"), ("2", "stopped")]) + "vm_cpu{vmid=\"1\"} 0.25\nload 3\n";
    let target = FakeTarget::serving(page).await;
    let receiver = FakeReceiver::accepting().await;
    let config = config().scrape(&target).forward_to(&receiver).section(VMS);
    let app = rollcall().config(&config).start().await;

    let object = app.json(&vm("1")).await;
    assert_eq!(object["kind"], "VirtualMachine");
    assert_eq!(object["apiVersion"], "status.rollcall/v1");
    assert_eq!(object["metadata"]["labels"]["instance"], target.address());
    assert_eq!(object["status"]["state"], "running");
    assert_eq!(object["status"]["cpu"], 0.25);
    assert_eq!(object["status"]["host"], target.address());
    assert_eq!(app.names(VMS_PATH).await, ["1", "2"]);
    assert_eq!(app.json("/apis/status.rollcall/v1/hosts").await["items"][0]["status"]["up"], true);

    receiver.wait_for_samples(&[("__name__", "load")], 3).await;
    let names: Vec<String> =
        receiver.series(&[]).iter().map(|labels| labels["__name__"].clone()).collect();
    assert!(!names.iter().any(|name| name.starts_with("vm_") || name == "up"), "{names:?}");
    app.stop().await;
}

#[tokio::test]
async fn readers_wait_until_every_target_was_asked_once() {
    let target = FakeTarget::serving(vms(&[("1", "running")])).await;
    let slow = FakeTarget::serving("vm_state{vmid=\"2\",state=\"running\"} 1\n").await;
    slow.hold();
    let config = config().global("scrape_interval: 10s").scrape(&target).scrape(&slow);
    let config = config.section(VMS);
    let app = rollcall().config(&config).not_waiting_until_ready().start().await;
    // The first pull runs at once, whatever the interval.
    target.wait_for_requests(1).await;
    slow.wait_for_requests(1).await;

    let response = app.client().get(app.url(VMS_PATH)).send().await.unwrap();
    assert_eq!(response.status(), 429);
    assert!(response.headers().contains_key("retry-after"));
    let status: Value = response.json().await.unwrap();
    assert_eq!((&status["kind"], &status["reason"]), (&json!("Status"), &json!("TooManyRequests")));
    assert_eq!(app.get("/-/ready").await.0, 503);

    slow.release();
    wait_until("the list is whole", DEADLINE, || async {
        let (status, body) = app.get(VMS_PATH).await;
        if status == 200 { Ok(()) } else { Err(format!("{status} {body}")) }
    })
    .await;
    assert_eq!(app.names(VMS_PATH).await, ["1", "2"]);
    app.stop().await;
}

#[tokio::test]
async fn an_update_is_in_list_and_watch_before_its_answer_is_read() {
    let target = FakeTarget::serving(vms(&[("1", "stopped"), ("2", "stopped")])).await;
    let app = start(&target).await;
    // From here on no scrape corrects anything.
    target.hold();
    target.wait_for_more_requests(1).await;
    let watch = app.watch(&format!("{VMS_PATH}?watch=true")).await;
    watch.wait_for_events(2).await;
    for nth in 0..20 {
        let state = if nth % 2 == 0 { "starting" } else { "running" };
        let body = json!({ "status": { "state": state } });
        let url = app.url(&format!("{}/status", vm("1")));
        let patch = app.client().patch(url).header("Content-Type", MERGE_PATCH);
        // The answer's head is there; its body has not been read.
        let response = patch.body(body.to_string()).send().await.unwrap();
        assert_eq!(response.status(), 200);

        let listed = app.json(&format!("{VMS_PATH}?fieldSelector=status.state%3D{state}")).await;
        assert_eq!(listed["items"][0]["metadata"]["name"], "1", "{listed}");
        let answer: Value = response.json().await.unwrap();
        assert_eq!(answer["status"]["state"], state);
        let version = answer["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
        watch
            .wait_for("the update", |event| {
                event.object["metadata"]["resourceVersion"] == version.as_str()
                    && event.kind == "MODIFIED"
                    && event.field("state") == state
            })
            .await;
    }
    assert_eq!(watch.events().len(), 22, "{:#?}", watch.events());
    app.terminate().await;
}

#[tokio::test]
async fn a_scrape_that_was_under_way_does_not_undo_an_update() {
    let target = FakeTarget::serving(vms(&[("1", "stopped")])).await;
    let app = start(&target).await;
    let watch = app.watch(&format!("{VMS_PATH}?watch=true")).await;
    watch.wait_for_event("ADDED", "1").await;
    target.hold();
    target.wait_for_more_requests(1).await;
    // The scrape under way will say `stopped`; meanwhile somebody starts the machine.
    let body = json!({ "status": { "state": "running" } });
    let (status, answer) =
        app.send("PATCH", &format!("{}/status", vm("1")), MERGE_PATCH, &body).await;
    assert_eq!(status, 200, "{answer}");
    target.serve(vms(&[("1", "running")]));
    let held = target.n_requests();
    target.release();
    target.wait_for_requests(held + 3).await;

    assert_eq!(app.json(&vm("1")).await["status"]["state"], "running");
    let states: Vec<Value> =
        watch.events_of("1").iter().map(|event| event.field("state").clone()).collect();
    assert_eq!(states, ["stopped", "running"], "it flapped");

    // The next word of the target that differs corrects it.
    target.serve(vms(&[("1", "crashed")]));
    wait_for(&app, &vm("1"), json!({ "state": "crashed" })).await;
    app.stop().await;
}

#[tokio::test]
async fn what_does_not_change_makes_no_event() {
    let page = |cpu: &str| vms(&[("1", "running")]) + &format!("vm_cpu{{vmid=\"1\"}} {cpu}\n");
    let target = FakeTarget::serving(page("0.50")).await;
    let app = start(&target).await;
    let watch = app.watch(&format!("{VMS_PATH}?watch=true")).await;
    watch.wait_for_event("ADDED", "1").await;
    for cpu in ["0.51", "0.53", "0.49", "0.50"] {
        target.serve(page(cpu));
        target.wait_for_more_requests(2).await;
    }
    assert_eq!(watch.kinds_of("1"), ["ADDED"]);
    target.serve(page("0.60"));
    let event = watch.wait_for_event("MODIFIED", "1").await;
    assert_eq!(*event.field("cpu"), json!(0.6));
    target.wait_for_more_requests(3).await;
    assert_eq!(watch.kinds_of("1"), ["ADDED", "MODIFIED"]);
    app.stop().await;
}

#[tokio::test]
async fn an_object_goes_when_a_good_scrape_lacks_it() {
    let target = FakeTarget::serving(vms(&[("1", "running"), ("2", "running")])).await;
    let app = start(&target).await;
    let watch = app.watch(&format!("{VMS_PATH}?watch=true")).await;
    watch.wait_for_events(2).await;
    target.serve(vms(&[("1", "running")]));
    let gone = watch.wait_for_event("DELETED", "2").await;
    assert_eq!(*gone.field("state"), "running");
    assert_eq!(app.names(VMS_PATH).await, ["1"]);
    assert_eq!(app.get(&vm("2")).await.0, 404);
    target.serve(vms(&[("1", "running"), ("2", "stopped")]));
    wait_for(&app, &vm("2"), json!({ "state": "stopped" })).await;
    watch.wait_for_events(4).await;
    assert_eq!(watch.kinds_of("2"), ["ADDED", "DELETED", "ADDED"]);
    assert_eq!(watch.kinds_of("1"), ["ADDED"]);
    app.stop().await;
}

#[tokio::test]
async fn a_failed_scrape_deletes_nothing_and_is_told_once() {
    let target = FakeTarget::serving(vms(&[("1", "running"), ("2", "stopped")])).await;
    let app = start(&target).await;
    let watch = app.watch(&format!("{VMS_PATH}?watch=true")).await;
    let hosts = app.watch("/apis/status.rollcall/v1/hosts?watch=true").await;
    watch.wait_for_events(2).await;

    target.serve(Reply::status(500));
    // The host's death is the edge of a field, at the first failed scrape.
    let name = target.address();
    let down = hosts.wait_for("that the host is down", |e| *e.field("up") == false).await;
    assert_eq!((down.kind.as_str(), down.name()), ("MODIFIED", name.as_str()));
    for vm in ["1", "2"] {
        let event = watch.wait_for_event("MODIFIED", vm).await;
        assert_eq!(fresh(&event.object), Some("False"), "{:#}", event.object);
    }
    target.wait_for_more_requests(4).await;
    assert_eq!(watch.kinds_of("1"), ["ADDED", "MODIFIED"]);
    assert_eq!(app.json(&vm("1")).await["status"]["state"], "running");
    assert_eq!(app.names(VMS_PATH).await, ["1", "2"]);

    target.serve(vms(&[("1", "running"), ("2", "stopped")]));
    hosts
        .wait_for("that the host is back", |e| e.kind == "MODIFIED" && *e.field("up") == true)
        .await;
    watch
        .wait_for("that VM 1 is fresh", |event| {
            event.name() == "1" && event.kind == "MODIFIED" && fresh(&event.object) == Some("True")
        })
        .await;
    target.wait_for_more_requests(2).await;
    assert_eq!(watch.kinds_of("1"), ["ADDED", "MODIFIED", "MODIFIED"]);
    app.stop_expecting(&["scrape"]).await;
}

#[tokio::test]
async fn of_two_reporters_the_newest_claim_wins() {
    let first = FakeTarget::serving(vms(&[("1", "running")])).await;
    let second = FakeTarget::serving(vms(&[])).await;
    let config = config().scrape(&first).scrape(&second).section(VMS);
    let app = rollcall().config(&config).start().await;
    let watch = app.watch(&format!("{VMS_PATH}?watch=true")).await;
    watch.wait_for_event("ADDED", "1").await;
    // The machine moves: both have it for a moment, then only the second.
    second.serve(vms(&[("1", "running")]));
    second.wait_for_more_requests(2).await;
    first.serve(vms(&[]));
    first.wait_for_more_requests(3).await;
    second.wait_for_more_requests(2).await;

    let object = app.json(&vm("1")).await;
    assert_eq!(object["status"]["host"], second.address());
    assert!(!watch.kinds_of("1").contains(&"DELETED".to_owned()), "{:?}", watch.kinds_of("1"));
    app.stop().await;
}

#[tokio::test]
async fn objects_of_the_api_stay_until_the_api_deletes_them() {
    let target = FakeTarget::serving(vms(&[("1", "running")])).await;
    let app = start(&target).await;
    let object = json!({
        "apiVersion": "status.rollcall/v1",
        "kind": "VirtualMachine",
        "metadata": { "name": "mine" },
        "status": { "state": "planned" },
    });
    let (status, answer) = app.send("POST", VMS_PATH, "application/json", &object).await;
    assert_eq!(status, 201, "{answer}");
    let (status, answer) = app.send("POST", VMS_PATH, "application/json", &object).await;
    assert_eq!((status, &answer["reason"]), (409, &json!("AlreadyExists")));
    target.wait_for_more_requests(3).await;
    assert_eq!(app.names(VMS_PATH).await, ["1", "mine"]);
    let (status, _) = app.send("DELETE", &vm("mine"), "application/json", &json!({})).await;
    assert_eq!(status, 200);
    assert_eq!(app.names(VMS_PATH).await, ["1"]);
    let (status, answer) = app.send("DELETE", &vm("mine"), "application/json", &json!({})).await;
    assert_eq!((status, &answer["reason"]), (404, &json!("NotFound")));
    app.stop().await;
}

#[tokio::test]
async fn a_write_that_is_out_of_date_is_refused() {
    let target = FakeTarget::serving(vms(&[("1", "running")])).await;
    let app = start(&target).await;
    let mut object = app.json(&vm("1")).await;
    object["status"]["state"] = json!("stopping");
    let (status, updated) = app.send("PUT", &vm("1"), "application/json", &object).await;
    assert_eq!(status, 200, "{updated}");
    // Its version is now the one before.
    object["status"]["state"] = json!("starting");
    let (status, answer) = app.send("PUT", &vm("1"), "application/json", &object).await;
    assert_eq!((status, &answer["reason"]), (409, &json!("Conflict")), "{answer}");
    app.stop().await;
}
