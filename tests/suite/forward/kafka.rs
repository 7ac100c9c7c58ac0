//! Module kafka against a broker of that protocol, and against simulated brokers where that one
//! has not what the story needs.

mod brokers;

use testkit::{DEADLINE, FakeTarget, Reply, wait_until};

use self::brokers::{Cluster, Kafka, Message, Options};
use super::modules::{check, numbers, start};
use super::trouble::dropped;
use super::{balanced, counting_target};

/// The keys of a destination at the topic `samples` of these brokers.
fn keys(servers: &str, options: &[(&str, String)]) -> String {
    let compressed = ("compression.type", "zstd".to_owned());
    let options =
        options.iter().chain([&compressed]).map(|(name, value)| format!("{name}: '{value}'"));
    let options = options.collect::<Vec<_>>().join(", ");
    let servers: Vec<&str> = servers.split(',').collect();
    let indent = " ".repeat(12);
    format!("brokers: {servers:?}\n{indent}topic: samples\n{indent}options: {{ {options} }}")
}

/// Sends to the topic `samples` of these brokers until some scrapes have arrived.
async fn send_some(servers: &str, options: &Options) {
    let target = counting_target().await;
    let app = start(&target, "kafka", &keys(servers, options)).await;
    target.wait_for_requests(5).await;
    app.wait_for_metrics("some arrived", |metrics| {
        metrics.sum("rollcall_forward_delivered_samples_total", &[]) >= 28.0
    })
    .await;
    app.stop().await;
}

/// Every message is a sample, and its key the sample's series.
fn check_messages(messages: &[Message]) {
    for Message { key, line } in messages {
        assert_eq!(*key, line["labels"]);
    }
    check(&numbers(&lines(messages)), 4);
}

fn lines(messages: &[Message]) -> Vec<u8> {
    messages.iter().flat_map(|message| format!("{}\n", message.line).into_bytes()).collect()
}

#[tokio::test]
async fn a_message_for_every_sample_has_its_series_as_the_key() {
    let broker = Kafka::start().await;
    send_some(&broker.address, &broker.options).await;
    check_messages(&broker.messages().await);
}

#[tokio::test]
async fn over_tls_scram_lets_in() {
    let broker = Kafka::guarded().await;
    send_some(&broker.address, &broker.options).await;
    check_messages(&broker.messages().await);
}

#[tokio::test]
async fn a_cluster_acknowledges_with_all_its_replicas() {
    let cluster = Cluster::start().await;
    send_some(&cluster.addresses, &Options::new()).await;
    check_messages(&cluster.messages().await);
}

#[tokio::test]
async fn one_message_too_large_takes_no_other_with_it() {
    let broker = Kafka::start().await;
    let long = "x".repeat(1500);
    let target = FakeTarget::answering(move |_, nth| {
        Reply::from(format!("n {nth}\nlarge{{text=\"{long}\"}} 1\n"))
    })
    .await;
    let small = [("message.max.bytes", "1000".to_owned())];
    let app = start(&target, "kafka", &keys(&broker.address, &small)).await;
    target.wait_for_requests(4).await;
    app.wait_for_metrics("some arrived", |metrics| {
        metrics.sum("rollcall_forward_delivered_samples_total", &[]) >= 18.0
    })
    .await;
    // Of each page the large one, and no other.
    dropped(&app, "not_written").await;
    let metrics = app.metrics().await;
    let of = [("destination", "there"), ("reason", "not_written")];
    let n_large = metrics.sum("rollcall_forward_dropped_samples_total", &of);
    let (delivered, _, all_dropped) = balanced(&metrics, "there");
    assert_eq!(all_dropped, n_large);
    assert!((6.0 * n_large - delivered).abs() <= 6.0, "{delivered} delivered, {n_large} large");
    app.stop_expecting(&["there"]).await;
    check(&numbers(&lines(&broker.messages().await)), 3);
}

/// Without the right to be idempotent a producer is lost for ever; the next one may have it.
#[tokio::test]
async fn a_producer_that_can_not_go_on_is_replaced() {
    // Before anything is produced, and while messages wait for it.
    for n_scrapes in [0, 3] {
        let (broker, refusal) = Kafka::refusing().await;
        let target = counting_target().await;
        let app = start(&target, "kafka", &keys(&broker.address, &broker.options)).await;
        target.wait_for_requests(n_scrapes).await;
        refusal.release();
        app.wait_for_metrics("some arrived", |metrics| {
            metrics.sum("rollcall_forward_delivered_samples_total", &[]) >= 18.0
        })
        .await;
        let stopped = app.stop_expecting(&["there", "librdkafka", "Kafka producer"]).await;
        assert!(stopped.log().contains("another one begins"), "{}", stopped.log());
        check(&numbers(&lines(&broker.messages().await)), 2);
    }
}

/// While nothing is let in several scrapes gather in one block, of which the library has room for a
/// few messages.
#[tokio::test]
async fn a_full_queue_of_the_library_breaks_no_order() {
    let (broker, refusal) = Kafka::refusing().await;
    let target = FakeTarget::answering(|_, nth| {
        let others: String = (0..30).map(|at| format!("other{{at=\"{at}\"}} 1\n")).collect();
        Reply::from(format!("n {nth}\n{others}"))
    })
    .await;
    let small = [("queue.buffering.max.messages", "10".to_owned())];
    let app = start(&target, "kafka", &keys(&broker.address, &small)).await;
    target.wait_for_requests(6).await;
    refusal.release();
    app.wait_for_metrics("what had gathered has arrived", |metrics| {
        metrics.sum("rollcall_forward_delivered_samples_total", &[]) >= 180.0
    })
    .await;
    app.stop_expecting(&["there", "librdkafka", "Kafka producer"]).await;
    check(&numbers(&lines(&broker.messages().await)), 5);
}

#[tokio::test]
async fn who_is_not_let_in_is_told_why() {
    let (target, broker) = (counting_target().await, Kafka::guarded().await);
    let mut options = broker.options.clone();
    let password = options.iter_mut().find(|(name, _)| *name == "sasl.password").unwrap();
    password.1 = "wrong".to_owned();
    options.push(("message.timeout.ms", "1000".to_owned()));
    let app = start(&target, "kafka", &keys(&broker.address, &options)).await;
    wait_until("the broker's reason is shown", DEADLINE, || async {
        let view = app.json("/api/v1/forwarders").await["data"]["destinations"][0].clone();
        let said = view["lastError"]["message"].as_str().unwrap_or_default().to_owned();
        if said.contains("SASL authentication error") { Ok(()) } else { Err(view.to_string()) }
    })
    .await;
    let killed = app.kill().await;
    assert!(!killed.log().contains("wrong"), "{}", killed.log());
}
