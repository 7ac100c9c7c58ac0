//! Targets behind TLS: HTTP/2 where both sides want it, with everything that holds for HTTP/1.1.

use http::Version;
use testkit::{
    Config, DEADLINE, FakeReceiver, Prometheus, Rollcall, SecureTarget, config, job, wait_until,
};

use crate::rollcall;

const BOTH: &[&str] = &["h2", "http/1.1"];

fn scraping(target: &SecureTarget, trust: &str, keys: &str) -> Config {
    let secure = format!("scheme: https\ntls_config: {{ {trust} }}\n{keys}");
    config().job(job("secure").target(&target.address()).with(&secure))
}

/// Scrapes `target`, whose certificate is trusted, with further keys of the job.
async fn start(target: &SecureTarget, receiver: &FakeReceiver, keys: &str) -> Rollcall {
    let trust = format!("ca: {:?}", target.certificate());
    rollcall().config(&scraping(target, &trust, keys).forward_to(receiver)).start().await
}

/// A scrape may be late while the machine is busy, and nothing else may go wrong.
const LATE: &[&str] = &["context deadline exceeded"];

#[tokio::test]
async fn one_http2_connection_serves_all_scrapes_as_it_does_for_prometheus() {
    // More than the windows of a stream and of a connection hold.
    let page: String = (0..20_000).map(|n| format!("long{{n=\"{n:0300}\"}} {n}\n")).collect();
    let target = SecureTarget::serving(&page, BOTH).await;
    let receiver = FakeReceiver::accepting().await;
    let app = start(&target, &receiver, "scrape_interval: 5s\nscrape_timeout: 5s").await;
    receiver.wait_for_samples(&[("__name__", "long")], 20_000).await;
    target.serve("a 1\n");
    receiver.wait_for_samples(&[("__name__", "a")], 1).await;
    let asked = target.asked();
    for one in &asked {
        assert_eq!((one.version, one.connection), (Version::HTTP_2, 0), "{asked:?}");
        let url = format!("https://{}/metrics", target.address());
        assert_eq!((one.target.as_str(), &one.host), (url.as_str(), &None), "{asked:?}");
    }
    app.stop().await;

    let _prometheus =
        Prometheus::agent(&scraping(&target, "insecure_skip_verify: true", "").yaml()).await;
    let theirs = wait_until("Prometheus asked", DEADLINE, || async {
        let all = target.asked();
        all.get(asked.len()).cloned().ok_or_else(|| format!("{all:?}"))
    })
    .await;
    assert_eq!((theirs.version, &theirs.target), (asked[0].version, &asked[0].target));
}

#[tokio::test]
async fn http1_is_spoken_where_one_side_wants_no_other() {
    let receiver = FakeReceiver::accepting().await;
    for (protocols, keys) in [(BOTH, "enable_http2: false"), (&["http/1.1"][..], "")] {
        let target = SecureTarget::serving("a 1\n", protocols).await;
        let app = start(&target, &receiver, keys).await;
        let address = target.address();
        let own = [("__name__", "a"), ("instance", &*address)];
        receiver.wait_for_samples(&own, 3).await;
        let asked = target.asked();
        for one in &asked {
            assert_eq!(one.version, Version::HTTP_11, "{asked:?}");
            assert_eq!(one.host.as_deref(), Some(target.address().as_str()), "{asked:?}");
        }
        app.stop_expecting(LATE).await;
    }
}

#[tokio::test]
async fn limits_and_deadlines_hold_over_http2() {
    let target = SecureTarget::serving("a 1\n", BOTH).await;
    let receiver = FakeReceiver::accepting().await;
    let keys = "body_size_limit: 20B\nscrape_timeout: 150ms";
    let app = start(&target, &receiver, keys).await;
    receiver.wait_for_samples(&[("__name__", "a")], 2).await;

    let fails_with = async |what: &str| {
        wait_until(&format!("a scrape fails: {what}"), DEADLINE, || async {
            let shown = app.json("/api/v1/targets").await;
            let error = shown["data"]["activeTargets"][0]["lastError"].to_string();
            if error.contains(what) { Ok(()) } else { Err(error) }
        })
        .await;
    };
    target.serve("a 1\nb 2\nc 3\nd 4\ne 5\n");
    fails_with("body size limit exceeded").await;
    target.serve_without_end("a 1\n");
    fails_with("context deadline exceeded").await;

    target.serve("a 2\n");
    receiver.wait_for_sample(&[("__name__", "a")], |sample| sample.value == 2.0).await;
    assert!(target.asked().iter().all(|one| one.version == Version::HTTP_2));
    app.stop_expecting(&["body size limit exceeded", "context deadline exceeded"]).await;
}

#[tokio::test]
async fn a_server_that_says_goodbye_costs_no_scrape() {
    let target = SecureTarget::serving("a 1\n", BOTH).await;
    let receiver = FakeReceiver::accepting().await;
    let app = start(&target, &receiver, "").await;
    let own = [("__name__", "a")];
    for nth in 1..=5 {
        receiver.wait_for_samples(&own, 2 * nth).await;
        target.say_goodbye();
    }
    wait_until("the sixth connection is used", DEADLINE, || async {
        let asked = target.asked();
        let last = asked.last().map(|one| one.connection);
        if last >= Some(5) { Ok(()) } else { Err(format!("{asked:?}")) }
    })
    .await;
    app.stop_expecting(LATE).await;
}
