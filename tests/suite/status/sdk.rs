//! Our client for Rust against the real program: a restart, and one control node after another.

use std::time::Duration;

use rollcall_client::{Client, Condition, Event, Subscription};
use serde::Deserialize;
use testkit::{DEADLINE, FakeTarget, Launch, config};

use crate::kinds::{VMS, vms};
use crate::rollcall;

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Vm {
    state: Option<String>,
}

fn launch(target: &FakeTarget) -> Launch {
    rollcall().config(&config().scrape(target).section(VMS))
}

/// The next event as words: `= 1:running 2:stopped`, `1:crashed`, `-1`.
async fn next(subscription: &mut Subscription<Vm>) -> String {
    let event = tokio::time::timeout(DEADLINE, subscription.next()).await;
    let word = |vm: &rollcall_client::Object<Vm>| {
        format!("{}:{}", vm.name(), vm.status.state.as_deref().unwrap_or("-"))
    };
    match event.expect("an event comes in time").unwrap() {
        Event::Reset(all) => {
            let mut words: Vec<String> = all.iter().map(word).collect();
            words.sort();
            format!("= {}", words.join(" ")).trim_end().to_owned()
        }
        Event::Applied(vm) => word(&vm),
        Event::Left(vm) => format!("-{}", vm.name()),
    }
}

/// The first event for which `wanted` holds; none before it may say that an object left.
async fn next_like(subscription: &mut Subscription<Vm>, wanted: &str) {
    loop {
        let event = next(subscription).await;
        if event == wanted {
            return;
        }
        assert!(!event.starts_with('-'), "{event} on the way to {wanted}");
    }
}

#[tokio::test]
async fn reading_and_changing() {
    let target = FakeTarget::serving(vms(&[("1", "running"), ("2", "stopped")])).await;
    let app = launch(&target).start().await;
    target.hold();
    let vms = Client::new([app.url("")]).unwrap().resource::<Vm>("virtualmachines");
    let stopped = vms.list(&Condition::fields("status.state=stopped")).await.unwrap();
    assert_eq!(stopped.items.iter().map(|vm| vm.name()).collect::<Vec<_>>(), ["2"]);
    let change = serde_json::json!({ "status": { "state": "starting" } });
    let patched = vms.patch("2", &change).await.unwrap();
    assert_eq!(patched.status.state.as_deref(), Some("starting"));
    assert!(vms.get("9").await.unwrap_err().is_not_found());
    let old = serde_json::json!({ "metadata": { "resourceVersion": "1" }, "status": {} });
    assert!(vms.patch("2", &old).await.unwrap_err().is_conflict());
    let nonsense = vms.subscribe(Condition::fields("status.nope=1")).next().await;
    assert!(nonsense.unwrap_err().to_string().contains("400"));
    target.release();
    app.stop_expecting(&["scrape failed"]).await;
}

#[tokio::test]
async fn a_subscription_survives_a_restart() {
    let target = FakeTarget::serving(vms(&[("1", "running"), ("2", "crashed")])).await;
    let app = launch(&target).start().await;
    let address = app.address();
    let vms_of = Client::new([app.url("")]).unwrap().resource::<Vm>("virtualmachines");
    let mut crashed = vms_of.subscribe(Condition::fields("status.state=crashed"));
    assert_eq!(next(&mut crashed).await, "= 2:crashed");
    target.serve(vms(&[("1", "crashed"), ("2", "crashed")]));
    assert_eq!(next(&mut crashed).await, "1:crashed");
    target.serve(vms(&[("1", "crashed"), ("2", "running")]));
    assert_eq!(next(&mut crashed).await, "-2");
    assert_eq!(crashed.len(), 1);

    app.kill().await;
    target.serve(vms(&[("1", "running"), ("3", "crashed")]));
    let app = launch(&target).at(address).start().await;
    assert_eq!(next(&mut crashed).await, "= 3:crashed");
    target.serve(vms(&[("1", "crashed"), ("3", "crashed")]));
    assert_eq!(next(&mut crashed).await, "1:crashed");
    app.stop_expecting(&["scrape failed"]).await;
}

#[tokio::test]
async fn another_control_node_takes_over_and_nothing_is_told_gone_that_is_not() {
    let target = FakeTarget::serving(vms(&[("1", "running"), ("2", "stopped")])).await;
    let (first, second) = (launch(&target).start().await, launch(&target).start().await);
    let endpoints = [first.url(""), second.url("")];
    let vms_of = Client::new(endpoints).unwrap().resource::<Vm>("virtualmachines");
    let mut all = vms_of.subscribe(Condition::default());
    assert_eq!(next(&mut all).await, "= 1:running 2:stopped");
    first.kill().await;
    target.serve(vms(&[("1", "crashed"), ("2", "stopped")]));
    tokio::time::timeout(Duration::from_secs(20), async {
        // The other node's versions are others: everything again, and never a removal.
        loop {
            let event = next(&mut all).await;
            assert!(!event.starts_with('-'), "{event}");
            if event.contains("1:crashed") {
                return;
            }
        }
    })
    .await
    .expect("the second node is asked");
    target.serve(vms(&[("1", "crashed"), ("2", "running")]));
    next_like(&mut all, "2:running").await;
    second.stop_expecting(&["scrape failed"]).await;
}
