//! A new configuration while everything runs: what changes, and what does not notice.

use testkit::{Config, FakeReceiver, FakeTarget, config, is_stale, job};

use crate::kinds::{VMS, VMS_PATH, vms};
use crate::rollcall;

async fn reload_metric(app: &testkit::Rollcall) -> f64 {
    app.metrics().await.sum("prometheus_config_last_reload_successful", &[])
}

#[tokio::test]
async fn a_bad_file_changes_nothing_and_says_so() {
    let target = FakeTarget::serving("a 1\n").await;
    let receiver = FakeReceiver::accepting().await;
    let good = config().scrape(&target).forward_to(&receiver);
    let app = rollcall().config(&good).start().await;
    receiver.wait_for_samples(&[("__name__", "a")], 1).await;
    assert_eq!(reload_metric(&app).await, 1.0);

    let bad: Config = good.clone().section("scrape_confgs: []");
    let (status, body) = app.reload(&bad).await;
    assert_eq!(status, 500, "{body}");
    assert!(body.contains("scrape_confgs"), "{body}");
    assert_eq!(reload_metric(&app).await, 0.0);
    target.wait_for_more_requests(3).await;
    let seen = receiver.samples(&[("__name__", "a")]).len();
    receiver.wait_for_samples(&[("__name__", "a")], seen + 2).await;

    let (status, body) = app.reload(&good).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(reload_metric(&app).await, 1.0);
    app.stop_expecting(&["scrape_confgs"]).await;
}

#[tokio::test]
async fn an_unchanged_job_does_not_notice() {
    let kept = FakeTarget::serving("a 1\n").await;
    let new = FakeTarget::serving("b 1\n").await;
    let receiver = FakeReceiver::accepting().await;
    let before = config().job(job("kept").target(&kept.address())).forward_to(&receiver);
    let app = rollcall().config(&before).start().await;
    receiver.wait_for_samples(&[("__name__", "a")], 2).await;
    let after = before.clone().job(job("new").target(&new.address()));
    let (status, body) = app.reload(&after).await;
    assert_eq!(status, 200, "{body}");
    receiver.wait_for_samples(&[("__name__", "b")], 2).await;

    let added = receiver.samples(&[("__name__", "scrape_series_added"), ("job", "kept")]);
    assert!(added[1..].iter().all(|sample| sample.value == 0.0), "{added:?}");
    let (status, _) = app.reload(&before).await;
    assert_eq!(status, 200);
    receiver.wait_for_sample(&[("__name__", "b")], |sample| is_stale(sample.value)).await;
    let of_the_kept = receiver.samples(&[("job", "kept")]);
    assert!(!of_the_kept.iter().any(|sample| is_stale(sample.value)), "it was ended");
    app.stop().await;
}

#[tokio::test]
async fn a_changed_interval_keeps_the_series_going() {
    let target = FakeTarget::serving("a 1\n").await;
    let receiver = FakeReceiver::accepting().await;
    let with = |interval: &str| {
        let times = format!("scrape_interval: {interval}\nscrape_timeout: {interval}");
        config().job(job("j").target(&target.address()).with(&times)).forward_to(&receiver)
    };
    let app = rollcall().config(&with("200ms")).start().await;
    receiver.wait_for_samples(&[("__name__", "a")], 2).await;
    assert_eq!(app.reload(&with("300ms")).await.0, 200);
    let seen = receiver.samples(&[("__name__", "a")]).len();
    receiver.wait_for_samples(&[("__name__", "a")], seen + 3).await;
    let values = receiver.samples(&[("__name__", "a")]);
    assert!(!values.iter().any(|sample| is_stale(sample.value)), "{values:?}");
    let added = receiver.samples(&[("__name__", "scrape_series_added")]);
    assert!(added[1..].iter().all(|sample| sample.value == 0.0), "{added:?}");
    app.stop().await;
}

#[tokio::test]
async fn routes_change_without_a_scrape_missing() {
    let target = FakeTarget::answering(|_, nth| format!("n {nth}\n").into()).await;
    let (first, second) = (FakeReceiver::accepting().await, FakeReceiver::accepting().await);
    let to = |destination: &str| {
        config().scrape(&target).forward_to(&first).forward_to(&second).section(&format!(
            "
            data_types: [{{ name: n, match: ['n'] }}]
            routes: [{{ data_types: [n], to: [{destination}] }}]
            "
        ))
    };
    let app = rollcall().config(&to("receiver")).start().await;
    first.wait_for_samples(&[("__name__", "n")], 3).await;
    assert!(second.samples(&[("__name__", "n")]).is_empty());
    assert_eq!(app.reload(&to("receiver2")).await.0, 200);
    second.wait_for_samples(&[("__name__", "n")], 3).await;
    app.stop().await;
    let values = |receiver: &FakeReceiver| -> Vec<f64> {
        receiver.samples(&[("__name__", "n")]).iter().map(|sample| sample.value).collect()
    };
    let all = [values(&first), values(&second)].concat();
    let want: Vec<f64> = (0..all.len()).map(|nth| nth as f64).collect();
    assert_eq!(all, want, "each scrape went to exactly one of the two");
}

#[tokio::test]
async fn kinds_that_do_not_change_keep_objects_and_listeners() {
    let target = FakeTarget::serving(vms(&[("1", "running")])).await;
    let before = config().scrape(&target).section(VMS);
    let app = rollcall().config(&before).start().await;
    let watch = app.watch(&format!("{VMS_PATH}?watch=1")).await;
    watch.wait_for_event("ADDED", "1").await;
    let more = "
    - kind: Rack
      name: \"{instance}\"
      fields: { up: { metric: up, type: bool } }
";
    let after = config().scrape(&target).section(&(VMS.trim_end().to_owned() + more));
    let (status, body) = app.reload(&after).await;
    assert_eq!(status, 200, "{body}");
    let racks = "/apis/status.rollcall/v1/racks";
    testkit::wait_until("the new kind has its object", testkit::DEADLINE, || async {
        let (status, body) = app.get(racks).await;
        if status == 200 && body.contains(&target.address()) { Ok(()) } else { Err(body) }
    })
    .await;
    target.serve(vms(&[("1", "stopped")]));
    watch.wait_for_event("MODIFIED", "1").await;
    assert_eq!(watch.kinds_of("1"), ["ADDED", "MODIFIED"]);

    assert_eq!(app.reload(&before).await.0, 200);
    assert_eq!(app.get(racks).await.0, 404);
    app.stop().await;
}

#[tokio::test]
async fn a_hangup_signal_reloads_too() {
    let target = FakeTarget::serving("a 1\n").await;
    let receiver = FakeReceiver::accepting().await;
    let app = rollcall().config(&config().scrape(&target)).start().await;
    app.write_config(&config().scrape(&target).forward_to(&receiver).yaml());
    app.process().signal("HUP").await;
    receiver.wait_for_samples(&[("__name__", "a")], 2).await;
    app.stop().await;
}
