//! What the sender makes of answers: one destination for each, all at once.

use testkit::{
    DEADLINE, FakeReceiver, FakeTarget, Push, Reply, Rollcall, Version, config, wait_until,
};

use crate::rollcall;

/// An answer, and what the sender must do with a request that got it.
struct Row {
    name: &'static str,
    answer: Reply,
    wanted: Wanted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// Sends it again, until it is taken.
    Retry,
    /// Gives it up, counts it as refused, and goes on with the next.
    Drop,
}

fn row(name: &'static str, answer: Reply, wanted: Wanted) -> Row {
    Row { name, answer, wanted }
}

fn rows() -> Vec<Row> {
    let status = Reply::status;
    vec![
        row("no_retry_on_400", status(400).body("bad"), Wanted::Drop),
        row("no_retry_on_401", status(401), Wanted::Drop),
        row("no_retry_on_403", status(403), Wanted::Drop),
        row("no_retry_on_404", status(404), Wanted::Drop),
        row("no_retry_on_409", status(409), Wanted::Drop),
        row("no_retry_on_413", status(413), Wanted::Drop),
        row("no_retry_on_422", status(422), Wanted::Drop),
        row("no_retry_on_429_by_default", status(429), Wanted::Drop),
        row("retry_on_500", status(500), Wanted::Retry),
        row("retry_on_502", status(502), Wanted::Retry),
        row("retry_on_503", status(503), Wanted::Retry),
        row("retry_on_504", status(504), Wanted::Retry),
        row("retry_on_599", status(599), Wanted::Retry),
        row("handle_large_error_body", status(400).body("detail ".repeat(20_000)), Wanted::Drop),
        row("an_error_body_that_is_no_text", status(400).body(vec![0xff, 0, 0xfe]), Wanted::Drop),
        row("a_closed_connection", Reply::closed(), Wanted::Retry),
        row("a_malformed_response", Reply::raw("hello\r\n\r\n"), Wanted::Retry),
        row("half_a_response", Reply::raw("HTTP/1.1 20"), Wanted::Retry),
        row("a_redirect_to_nowhere", status(302), Wanted::Drop),
    ]
}

async fn target() -> FakeTarget {
    FakeTarget::answering(|_, nth| Reply::from(format!("n {nth}\n"))).await
}

fn destination(name: &str, receiver: &FakeReceiver, version: Version, more: &str) -> String {
    let message = match version {
        Version::One => "prometheus.WriteRequest",
        Version::Two => "io.prometheus.write.v2.Request",
    };
    format!(
        "name: {name}\nurl: {}\nprotobuf_message: {message}\nremote_timeout: 2s\n\
         queue_config: {{ batch_send_deadline: 50ms, min_backoff: 30ms, max_backoff: 100ms, \
         max_shards: 1{more} }}\n",
        receiver.url()
    )
}

/// Which scrape a push is about.
fn scrape_of(push: &Push) -> Option<i64> {
    push.series.iter().flat_map(|series| series.samples.first()).map(|(at_ms, _)| *at_ms).next()
}

async fn check(version: Version) {
    let target = target().await;
    let mut receivers = Vec::new();
    let mut config = config().scrape(&target);
    for row in rows() {
        let receiver = FakeReceiver::refusing(row.answer).await;
        config = config.remote_write(&destination(row.name, &receiver, version, ""));
        receivers.push(receiver);
    }
    let app = rollcall().config(&config).start().await;
    for (row, receiver) in rows().iter().zip(&receivers) {
        receiver.wait_for_pushes(3).await;
        let refused = receiver.refused();
        let scrapes: Vec<_> = refused.iter().map(scrape_of).collect();
        match row.wanted {
            Wanted::Retry => {
                assert_eq!(scrapes[0], scrapes[1], "{}: it was not sent again", row.name);
                let attempts: Vec<_> = refused
                    .iter()
                    .take(3)
                    .map(|push| push.request.header("retry-attempt"))
                    .collect();
                assert_eq!(attempts, [None, Some("1"), Some("2")], "{}", row.name);
            }
            Wanted::Drop => {
                assert_ne!(scrapes[0], scrapes[1], "{}: it was sent again", row.name);
                assert_eq!(refused[0].request.header("retry-attempt"), None, "{}", row.name);
            }
        }
        receiver.accept();
    }
    for (row, receiver) in rows().iter().zip(&receivers) {
        receiver.wait_for_samples(&[("__name__", "n")], 2).await;
        let refused = refused_samples(&app, row.name).await;
        match row.wanted {
            Wanted::Retry => {
                assert_eq!(refused, 0.0, "{}", row.name);
                assert_eq!(receiver.samples(&[("__name__", "n")])[0].value, 0.0, "{}", row.name);
            }
            Wanted::Drop => assert!(refused > 0.0, "{}", row.name),
        }
    }
    let names: Vec<&str> = rows().iter().map(|row| row.name).collect();
    app.stop_expecting(&names).await;
}

async fn refused_samples(app: &Rollcall, destination: &str) -> f64 {
    let labels = [("destination", destination), ("reason", "refused")];
    app.metrics().await.sum("rollcall_forward_dropped_samples_total", &labels)
}

#[tokio::test]
async fn each_answer_is_retried_or_given_up_in_1() {
    check(Version::One).await;
}

#[tokio::test]
async fn each_answer_is_retried_or_given_up_in_2() {
    check(Version::Two).await;
}

#[tokio::test]
async fn any_2xx_is_a_success_and_its_body_is_ignored() {
    let target = target().await;
    for version in [Version::One, Version::Two] {
        for status in [200, 201, 202, 204, 299] {
            let body = if status == 204 { "" } else { "this is ignored" };
            let receiver = FakeReceiver::refusing(Reply::status(status).body(body)).await;
            let sending = destination("receiver", &receiver, version, "");
            let app =
                rollcall().config(&config().scrape(&target).remote_write(&sending)).start().await;
            receiver.wait_for_samples(&[("__name__", "n")], 2).await;
            assert_eq!(refused_samples(&app, "receiver").await, 0.0, "{status}");
            app.stop().await;
        }
    }
}

#[tokio::test]
async fn headers_name_the_version_of_2() {
    let target = target().await;
    let receiver = FakeReceiver::accepting().await;
    let sending = destination("receiver", &receiver, Version::Two, "");
    let app = rollcall().config(&config().scrape(&target).remote_write(&sending)).start().await;
    receiver.wait_for_pushes(1).await;
    let request = receiver.pushes().remove(0).request;
    for (name, want) in [
        ("content-type", "application/x-protobuf;proto=io.prometheus.write.v2.Request"),
        ("content-encoding", "snappy"),
        ("x-prometheus-remote-write-version", "2.0.0"),
    ] {
        assert_eq!(request.header(name), Some(want), "{name}");
    }
    assert!(request.header("user-agent").is_some());
    assert_eq!(request.method, "POST");
    app.stop().await;
}

#[tokio::test]
async fn a_receiver_that_does_not_know_2_is_sent_1_from_then_on() {
    let target = target().await;
    let receiver = FakeReceiver::answering(|push, _| {
        Reply::status(if push.version == Version::Two { 415 } else { 204 })
    })
    .await;
    let sending = destination("receiver", &receiver, Version::Two, "");
    let app = rollcall().config(&config().scrape(&target).remote_write(&sending)).start().await;
    receiver.wait_for_samples(&[("__name__", "n")], 4).await;
    app.stop_expecting(&["receiver"]).await;
    let values: Vec<f64> =
        receiver.samples(&[("__name__", "n")]).iter().map(|sample| sample.value).collect();
    let want: Vec<f64> = (0..values.len()).map(|nth| nth as f64).collect();
    assert_eq!(values, want, "the change of version lost something");
    assert!(receiver.refused().len() <= 2, "it went back to 2.0: {}", receiver.refused().len());
    let first = receiver.pushes().remove(0).request;
    assert_eq!(first.header("x-prometheus-remote-write-version"), Some("0.1.0"));
    assert_eq!(first.header("content-type"), Some("application/x-protobuf"));
}

#[tokio::test]
async fn what_a_receiver_says_it_did_not_write_is_counted() {
    let target = target().await;
    let receiver = FakeReceiver::answering(|push, _| {
        let written = (push.n_samples() - 1).to_string();
        Reply::status(204).header("X-Prometheus-Remote-Write-Samples-Written", &written)
    })
    .await;
    let sending = destination("receiver", &receiver, Version::Two, "");
    let app = rollcall().config(&config().scrape(&target).remote_write(&sending)).start().await;
    receiver.wait_for_pushes(3).await;
    let labels = [("destination", "receiver"), ("reason", "not_written")];
    app.wait_for_metrics("what was not written is counted", |metrics| {
        metrics.sum("rollcall_forward_dropped_samples_total", &labels) >= 2.0
    })
    .await;
    app.stop_expecting(&["receiver"]).await;
}

#[tokio::test]
async fn a_wait_that_the_receiver_asks_for_is_kept() {
    let target = target().await;
    let receiver = FakeReceiver::refusing(Reply::status(503).header("Retry-After", "2")).await;
    let sending = destination("receiver", &receiver, Version::One, "");
    let app = rollcall().config(&config().scrape(&target).remote_write(&sending)).start().await;
    receiver.wait_for_pushes(2).await;
    let refused = receiver.refused();
    // Backoff alone would be 30 ms.
    let waited = refused[1].at - refused[0].at;
    assert!(waited.as_millis() >= 1900, "{waited:?}");
    receiver.accept();
    receiver.wait_for_samples(&[("__name__", "n")], 3).await;
    app.stop_expecting(&["receiver"]).await;
}

#[tokio::test]
async fn waits_between_tries_grow() {
    let target = target().await;
    let receiver = FakeReceiver::refusing(Reply::status(503)).await;
    let sending = format!(
        "name: receiver\nurl: {}\nqueue_config: {{ batch_send_deadline: 50ms, min_backoff: 100ms, \
         max_backoff: 5s, max_shards: 1 }}",
        receiver.url()
    );
    let app = rollcall().config(&config().scrape(&target).remote_write(&sending)).start().await;
    receiver.wait_for_pushes(5).await;
    let tries = receiver.refused();
    let waits: Vec<u128> =
        tries.windows(2).map(|two| (two[1].at - two[0].at).as_millis()).collect();
    // Doubling from 100 ms, halved at most by chance: 50, 100, 200, 400 at least.
    for (wait_ms, least_ms) in waits.iter().zip([50, 100, 200, 400]) {
        assert!(*wait_ms >= least_ms, "{waits:?}");
    }
    receiver.accept();
    receiver.wait_for_samples(&[("__name__", "n")], 3).await;
    app.stop_expecting(&["receiver"]).await;
}

#[tokio::test]
async fn a_message_is_as_large_as_the_file_says_and_no_larger() {
    let many: String = (0..995).map(|n| format!("many{{n=\"{n}\"}} {n}\n")).collect();
    let target = FakeTarget::serving(many).await;
    let receiver = FakeReceiver::accepting().await;
    let sending = destination("receiver", &receiver, Version::One, ", max_samples_per_send: 100");
    let app = rollcall().config(&config().scrape(&target).remote_write(&sending)).start().await;
    wait_until("two scrapes arrived", DEADLINE, || async {
        let n = receiver.samples(&[("__name__", "many")]).len();
        if n >= 1990 { Ok(()) } else { Err(format!("{n}")) }
    })
    .await;
    let sizes: Vec<usize> = receiver.pushes().iter().map(Push::n_samples).collect();
    assert!(sizes.iter().all(|size| *size <= 100), "{sizes:?}");
    let full = sizes.iter().filter(|size| **size == 100).count();
    assert!(full * 3 > sizes.len() * 2, "most are full: {sizes:?}");
    app.stop().await;
}
