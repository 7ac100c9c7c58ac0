//! Modules in trouble: what can never arrive is dropped and counted, once; what may arrive another
//! time is tried again until it does.

use testkit::{DEADLINE, FakeTarget, Reply, Rollcall, wait_until};

use super::modules::{check, numbers, sending, start, start_child};
use super::servers::{Nats, Redis};
use super::{balanced, counting_target};
use crate::rollcall;

/// Waits until samples were dropped for this reason; how many.
pub(super) async fn dropped(app: &Rollcall, reason: &str) -> f64 {
    let name = "rollcall_forward_dropped_samples_total";
    let of = [("destination", "there"), ("reason", reason)];
    app.wait_for_metrics(reason, |metrics| metrics.sum(name, &of) > 0.0).await;
    let metrics = app.metrics().await;
    balanced(&metrics, "there");
    metrics.sum(name, &of)
}

#[tokio::test]
async fn a_guarded_nats_lets_in_who_its_url_names() {
    let (target, nats) = (counting_target().await, Nats::guarded().await);
    let keys = format!("url: '{}'\n            subject: metrics.hosts", nats.url);
    let app = start(&target, "nats", &keys).await;
    target.wait_for_requests(4).await;
    let stopped = app.stop().await;
    assert!(!stopped.log().contains("p%40ss"), "{}", stopped.log());
    check(&numbers(&nats.messages().await), 3);
}

/// Who is not there is named, and found again.
#[tokio::test]
async fn a_nats_that_was_gone_for_a_while_has_everything_once() {
    let (target, mut nats) = (counting_target().await, Nats::start().await);
    let keys = format!("url: {}\n            subject: metrics.hosts", nats.url);
    let app = start(&target, "nats", &keys).await;
    target.wait_for_requests(3).await;
    nats.kill().await;
    wait_until("the cause is shown", DEADLINE, || async {
        let view = app.json("/api/v1/forwarders").await["data"]["destinations"][0].clone();
        let said = view["lastError"]["message"].as_str().unwrap_or_default().to_owned();
        if said.contains("Connection refused") { Ok(()) } else { Err(view.to_string()) }
    })
    .await;
    nats.come_back();
    target.wait_for_more_requests(3).await;
    app.wait_for_metrics("all but the last have arrived", |metrics| {
        metrics.sum("rollcall_forward_queued_samples", &[]) <= 7.0
    })
    .await;
    let stopped = app.stop_expecting(&["there"]).await;
    assert!(!stopped.log().contains("async_nats"), "{}", stopped.log());
    check(&numbers(&nats.messages().await), 6);
}

#[tokio::test]
async fn a_message_too_large_for_its_stream_is_refused() {
    let (target, nats) = (counting_target().await, Nats::start().await);
    let mut config = nats.stream.get_info().await.unwrap().config;
    config.max_message_size = 100;
    let client = async_nats::connect(&nats.url).await.unwrap();
    async_nats::jetstream::new(client).update_stream(config).await.unwrap();
    let keys = format!("url: {}\n            subject: metrics.hosts", nats.url);
    let app = start(&target, "nats", &keys).await;
    assert!(dropped(&app, "refused").await > 0.0);
    app.stop_expecting(&["there"]).await;
}

#[tokio::test]
async fn a_redis_key_that_is_no_stream_is_refused() {
    let (target, redis) = (counting_target().await, Redis::start().await);
    let mut connection = redis.client.get_multiplexed_async_connection().await.unwrap();
    let set = redis::cmd("SET").arg("samples").arg("text").to_owned();
    set.exec_async(&mut connection).await.unwrap();
    let keys = format!("url: {}\n            stream: samples", redis.url);
    let app = start(&target, "redis", &keys).await;
    assert!(dropped(&app, "refused").await > 0.0);
    let stopped = app.stop_expecting(&["there"]).await;
    // Of as many errors as there are samples, one.
    assert!(stopped.log().contains("(and 6 more)"), "{}", stopped.log());
}

/// A stalled Redis is waited for: it does what it was asked in the end, and would do it twice.
#[tokio::test]
async fn a_redis_that_stalls_is_not_asked_twice() {
    let (target, redis) = (counting_target().await, Redis::start().await);
    let keys = format!("url: {}\n            stream: samples", redis.url);
    let app = start(&target, "redis", &keys).await;
    target.wait_for_requests(2).await;
    let patient = redis::AsyncConnectionConfig::new().set_response_timeout(None);
    let connection = redis.client.get_multiplexed_async_connection_with_config(&patient).await;
    let mut connection = connection.unwrap();
    let stall = redis::cmd("DEBUG").arg("SLEEP").arg(2).to_owned();
    stall.exec_async(&mut connection).await.unwrap();
    target.wait_for_more_requests(2).await;
    app.stop().await;
    check(&numbers(&redis.entries("samples").await), 4);
}

#[tokio::test]
async fn a_child_that_does_not_end_is_not_left_behind() {
    let target = counting_target().await;
    let keys = "command: [sh, -c, 'echo $$ > pid; exec sleep 1000']\n            acknowledge: true";
    let launch = rollcall().config(&sending(&target, "exec", keys));
    let pid = launch.folder().join("pid");
    let app = launch.argument("--storage.remote.flush-deadline=100ms").start().await;
    let pid = wait_until("the child runs", DEADLINE, || async {
        let text = std::fs::read_to_string(&pid).unwrap_or_default();
        text.trim().parse::<u32>().map_err(|error| error.to_string())
    })
    .await;
    let child = std::path::PathBuf::from(format!("/proc/{pid}"));
    assert!(child.exists());
    app.stop_expecting(&["there"]).await;
    wait_until("the child is gone", DEADLINE, || async {
        if child.exists() { Err("it is there".to_owned()) } else { Ok(()) }
    })
    .await;
}

#[tokio::test]
async fn nobody_is_asked_about_what_a_format_has_no_place_for() {
    let endpoint = FakeTarget::serving(Reply::status(400)).await;
    let target = FakeTarget::serving("nan NaN\n").await;
    let keys = format!(
        "url: 'http://{}/write'\n            format: influx\n            \
         write_relabel_configs: [{{ source_labels: [__name__], regex: nan, action: keep }}]",
        endpoint.address()
    );
    let app = start(&target, "http", &keys).await;
    assert!(dropped(&app, "not_written").await > 0.0);
    app.stop().await;
    assert_eq!(endpoint.n_requests(), 0);
}

#[tokio::test]
async fn a_redirect_that_leaves_the_body_behind_is_no_delivery() {
    let elsewhere = FakeTarget::serving("welcome").await;
    let login = format!("http://{}/login", elsewhere.address());
    for module in ["http", "otlp"] {
        let login = login.clone();
        let endpoint =
            FakeTarget::answering(move |_, _| Reply::status(302).header("Location", &login)).await;
        let target = counting_target().await;
        let keys = format!("url: 'http://{}/v1/metrics'", endpoint.address());
        let app = start(&target, module, &keys).await;
        assert!(dropped(&app, "refused").await > 0.0);
        let (delivered, ..) = balanced(&app.metrics().await, "there");
        assert_eq!(delivered, 0.0, "{module}");
        app.stop_expecting(&["there"]).await;
    }
    assert_eq!(elsewhere.n_requests(), 0);
}

/// What a child said before it was asked anything must not count as its answer to a block.
#[tokio::test]
async fn a_child_that_is_out_of_step_is_replaced() {
    let target = counting_target().await;
    let script = r#"
[ -e began ] || { : > began; echo "ready when you are"; }
while read -r line; do
  if [ -n "$line" ]; then printf "%s\n" "$line" >> block.$$; continue; fi
  cat block.$$ >> lines.ndjson; : > block.$$; echo ok
done
"#;
    let app = start_child(&target, script).await;
    target.wait_for_requests(5).await;
    let stopped = app.stop_expecting(&["there"]).await;
    assert!(stopped.log().contains("ready when you are"), "{}", stopped.log());
    let text = std::fs::read(stopped.folder().join("lines.ndjson")).unwrap();
    let mut found = numbers(&text);
    found.dedup(); // the first child may have taken its block too
    check(&found, 4);
}

/// A second word to one block must not count as the answer to the next one.
#[tokio::test]
async fn a_child_that_answers_twice_is_replaced() {
    let target = counting_target().await;
    let script = r#"
while read -r line; do
  if [ -n "$line" ]; then printf "%s\n" "$line" >> block.$$; continue; fi
  cat block.$$ >> lines.ndjson; : > block.$$; echo ok
  [ -e twice ] || { : > twice; echo ok; }
done
"#;
    let app = start_child(&target, script).await;
    target.wait_for_requests(5).await;
    let stopped = app.stop_expecting(&["there"]).await;
    assert!(stopped.log().contains("child talks unasked"), "{}", stopped.log());
    check(&numbers(&std::fs::read(stopped.folder().join("lines.ndjson")).unwrap()), 4);
}

/// What a child's pipe has taken is delivered: the child may read it to its end.
#[tokio::test]
async fn a_child_may_finish_what_is_in_its_pipe() {
    let target = counting_target().await;
    let command = r#"command: [sh, -c, 'while read -r line; do
              sleep 0.1; printf "%s\n" "$line" >> lines.ndjson; done']"#;
    let app = start(&target, "exec", command).await;
    target.wait_for_requests(4).await;
    let stopped = app.stop().await;
    check(&numbers(&std::fs::read(stopped.folder().join("lines.ndjson")).unwrap()), 3);
}
