//! Stopping: in the order of the data, within a deadline, and at once when asked twice.

use testkit::{FakeReceiver, FakeTarget, Reply, config, is_stale};

use crate::kinds::{VMS, VMS_PATH, vms};
use crate::rollcall;

#[tokio::test]
async fn listeners_hear_the_end_and_no_series_is_ended() {
    let target = FakeTarget::serving(vms(&[("1", "running")]) + "a 1\n").await;
    let receiver = FakeReceiver::accepting().await;
    let config = config().scrape(&target).forward_to(&receiver).section(VMS);
    let app = rollcall().config(&config).start().await;
    let watch = app.watch(&format!("{VMS_PATH}?watch=1")).await;
    watch.wait_for_event("ADDED", "1").await;
    receiver.wait_for_samples(&[("__name__", "a")], 2).await;
    app.stop().await;
    assert_eq!(watch.wait_for_end().await, "", "the stream did not end cleanly");
    assert_eq!(watch.kinds_of("1"), ["ADDED"], "the end of the process is no news of the VM");
    let stale = receiver.samples(&[]).into_iter().find(|sample| is_stale(sample.value));
    assert_eq!(stale, None, "a shutdown ends no series");
}

#[tokio::test]
async fn a_queue_that_does_not_empty_is_left_after_the_deadline() {
    let target = FakeTarget::serving("a 1\n").await;
    let receiver = FakeReceiver::refusing(Reply::status(503)).await;
    let config = config().scrape(&target).forward_to(&receiver);
    let launch = rollcall().config(&config).argument("--storage.remote.flush-deadline=1s");
    let app = launch.start().await;
    receiver.wait_for_pushes(1).await;
    let stopped = app.stop_expecting(&["receiver"]).await;
    assert!(stopped.log().contains("receiver"), "what is lost is said:\n{}", stopped.log());
}

#[tokio::test]
async fn a_second_signal_aborts() {
    let target = FakeTarget::serving("a 1\n").await;
    let receiver = FakeReceiver::refusing(Reply::status(503)).await;
    let config = config().scrape(&target).forward_to(&receiver);
    let launch = rollcall().config(&config).argument("--storage.remote.flush-deadline=10m");
    let app = launch.start().await;
    receiver.wait_for_pushes(1).await;
    app.process().signal("TERM").await;
    app.wait_for_log("stopping").await;
    let stopped = app.terminate().await;
    assert_ne!(stopped.code(), Some(0), "{}", stopped.log());
}

#[tokio::test]
async fn quitting_over_http_is_a_clean_stop() {
    let target = FakeTarget::serving("a 1\n").await;
    let app = rollcall().config(&config().scrape(&target)).start().await;
    let answer = app.client().post(app.url("/-/quit")).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    app.ended_expecting(&[]).await;
}
