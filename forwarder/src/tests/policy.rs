//! What answers mean by configuration: retry budgets, dead letters, pace, thinning, shedding,
//! several receivers.

use testkit::{FakeReceiver, Push, Reply};

use super::*;

fn entry(receiver: &FakeReceiver, more: &str) -> String {
    format!(
        "remote_write:\n\
         - name: r\n  url: {:?}\n  \
         queue_config: {{ max_samples_per_send: 100, batch_send_deadline: 5ms, min_backoff: 5ms, \
         max_backoff: 20ms, max_shards: 1 }}\n  {more}\n",
        receiver.url()
    )
}

fn has(push: &Push, core: &str) -> bool {
    push.series.iter().any(|series| series.labels.get("core").is_some_and(|c| c == core))
}

#[tokio::test]
async fn refused_samples_are_searched_for_and_put_into_the_dead_letter_file() {
    for message in ["prometheus.WriteRequest", "io.prometheus.write.v2.Request"] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dead.ndjson");
        let receiver = FakeReceiver::answering(|push, _| {
            let poisoned = has(push, "13") || has(push, "77");
            Reply::status(if poisoned { 400 } else { 204 }).body("bad core")
        })
        .await;
        let delivery = format!(
            "protobuf_message: {message}\n  \
             delivery: {{ answers: {{ 4xx: dead_letter }}, dead_letter: {{ path: {path:?} }} }}"
        );
        let world = World::start(&entry(&receiver, &delivery));
        let mut target = world.target("a", 100);
        world.scrape(&mut target, 1);
        let account = world.settled("r").await;
        assert_eq!((account.delivered.samples, dropped(&account, Reason::DeadLetter)), (98, 2));
        assert_eq!(receiver.samples(&[]).len(), 98);
        let lines = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<serde_json::Value> =
            lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let cores: Vec<_> = lines.iter().map(|line| &line["sample"]["labels"]["core"]).collect();
        assert_eq!(cores, ["13", "77"]);
        assert_eq!(lines[0]["destination"], "r");
        assert_eq!(lines[0]["sample"]["value"], 1.0);
        assert_eq!(lines[0]["sample"]["timestamp"], NOW_MS + 1000);
        let error = lines[0]["error"].as_str().unwrap();
        assert_eq!(error, "server returned HTTP status 400 Bad Request: bad core");
        world.stop().await;
    }
}

#[tokio::test]
async fn a_receiver_that_refuses_everything_is_not_asked_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dead.ndjson");
    let receiver = FakeReceiver::refusing(Reply::status(401)).await;
    let delivery = format!(
        "delivery: {{ answers: {{ 4xx: dead_letter }}, dead_letter: {{ path: {path:?} }} }}"
    );
    let world = World::start(&entry(&receiver, &delivery));
    let mut target = world.target("a", 100);
    for round in 1..=10 {
        world.scrape(&mut target, round);
        let account = world.settled("r").await;
        assert_eq!(dropped(&account, Reason::DeadLetter), u64::from(round) * 100);
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1000);
    assert!(receiver.n_pushes() < 500, "{} requests", receiver.n_pushes());
    world.stop().await;
}

#[tokio::test]
async fn a_status_means_what_the_file_says() {
    let receiver = FakeReceiver::refusing(Reply::status(404)).await;
    let answers = "delivery: { answers: { '404': retry, 5xx: drop }, retry_for: 1h }";
    let world = World::start(&entry(&receiver, answers));
    let mut target = world.target("a", 10);
    world.scrape(&mut target, 1);
    receiver.wait_for_pushes(3).await;
    assert_eq!(world.balanced("r").queued.samples, 10);
    receiver.answer(Reply::status(503));
    let account = world.settled("r").await;
    assert_eq!(dropped(&account, Reason::Refused), 10);
    world.stop().await;
}

#[tokio::test]
async fn a_block_is_not_tried_for_longer_than_its_budget() {
    let receiver = FakeReceiver::refusing(Reply::status(503)).await;
    let world = World::start(&entry(&receiver, "delivery: { retry_for: 50ms }"));
    let mut target = world.target("a", 10);
    world.scrape(&mut target, 1);
    let account = world.settled("r").await;
    assert_eq!(dropped(&account, Reason::RetriesExhausted), 10);
    assert!(receiver.n_pushes() >= 2);
    world.stop().await;
}

#[tokio::test]
async fn another_receiver_takes_over_while_the_first_fails() {
    let (mut first, second) = (FakeReceiver::accepting().await, FakeReceiver::accepting().await);
    first.go_down();
    let world = World::start(&entry(&first, &format!("failover_urls: [{:?}]", second.url())));
    let mut target = world.target("a", 10);
    world.scrape(&mut target, 1);
    assert_eq!(second.wait_for_samples(&[], 10).await.len(), 10);
    first.come_back().await;
    world.scrape(&mut target, 2);
    assert_eq!(second.wait_for_samples(&[], 20).await.len(), 20);
    world.clock.advance(Duration::from_secs(31));
    world.scrape(&mut target, 3);
    assert_eq!(first.wait_for_samples(&[], 10).await.len(), 10);
    world.stop().await;
}

#[tokio::test]
async fn one_sample_is_kept_in_each_interval_and_the_others_are_counted() {
    let receiver = FakeReceiver::accepting().await;
    let world = World::start(&entry(&receiver, "delivery: { min_interval: 1m }"));
    let mut target = world.target("a", 10);
    (0..24).for_each(|nth| world.scrape(&mut target, nth * 5));
    // The target is gone: its series end at once.
    let ends = vec![model::STALE_MARKER; 10];
    let ends = Samples::plain(Role::Page, Arc::clone(&target.layout), ends);
    world.send(&mut target, vec![ends], NOW_MS + 116_000);
    let account = world.settled("r").await;
    assert_eq!(account.delivered.samples, 30);
    assert_eq!(dropped(&account, Reason::MinInterval), 220);
    let series = receiver.samples(&[("core", "3")]);
    let seconds: Vec<i64> = series.iter().map(|s| (s.timestamp_ms - NOW_MS) / 1000).collect();
    assert_eq!(seconds, [0, 60, 116]);
    world.stop().await;
}

#[tokio::test]
async fn a_value_that_stays_is_sent_once_in_each_interval_and_changes_at_once() {
    let receiver = FakeReceiver::accepting().await;
    let rules = "write_relabel_configs: [{ action: drop, source_labels: [core], regex: '9' }]";
    let more = format!("delivery: {{ max_interval: 1m }}\n  {rules}");
    let world = World::start(&entry(&receiver, &more));
    let mut target = world.target("a", 10);
    for nth in 0..24_i64 {
        let mut values = vec![7.0; 10];
        values[3] = if nth < 5 { 1.0 } else { 2.0 };
        let samples = Samples::plain(Role::Page, Arc::clone(&target.layout), values);
        world.send(&mut target, vec![samples], NOW_MS + nth * 5000);
    }
    let account = world.settled("r").await;
    let seconds = |core: &str| -> Vec<i64> {
        let samples = receiver.samples(&[("core", core)]);
        samples.iter().map(|sample| (sample.timestamp_ms - NOW_MS) / 1000).collect()
    };
    assert_eq!((seconds("0"), seconds("3")), (vec![0, 60], vec![0, 25, 60]));
    assert_eq!(account.delivered.samples, 19);
    assert_eq!(dropped(&account, Reason::DroppedSeries), 24);
    assert_eq!(dropped(&account, Reason::Unchanged), 240 - 24 - 19);
    world.stop().await;
}

#[tokio::test]
async fn series_of_best_effort_are_shed_first() {
    let receiver = FakeReceiver::refusing(Reply::status(503)).await;
    let more = "delivery: { best_effort: ['cpu{core=~\"[5-9]\"}'] }";
    let text = entry(&receiver, more).replace("max_shards: 1", "max_queued_samples: 60");
    let text = text.replace("max_samples_per_send: 100", "max_samples_per_send: 10");
    let world = World::start(&text);
    let mut target = world.target("a", 10);
    (1..=8).for_each(|round| world.scrape(&mut target, round));
    receiver.accept();
    let account = world.settled("r").await;
    let shed = dropped(&account, Reason::Shed);
    assert!(shed > 0 && account.dropped_in_all().samples == shed, "{account:?}");
    assert_eq!(account.delivered.samples + shed, 80);
    assert_eq!(receiver.samples(&[("core", "0")]).len(), 8);
    assert_eq!(receiver.samples(&[("core", "9")]).len() as u64, 8 - shed / 5);
    world.stop().await;
}

#[tokio::test]
async fn a_change_that_was_shed_is_sent_as_soon_as_there_is_room() {
    let receiver = FakeReceiver::refusing(Reply::status(503)).await;
    let more = "delivery: { max_interval: 1h, best_effort: ['cpu{core=~\"[5-9]\"}'] }";
    let text = entry(&receiver, more).replace("max_shards: 1", "max_queued_samples: 60");
    let text = text.replace("max_samples_per_send: 100", "max_samples_per_send: 10");
    let world = World::start(&text);
    let mut target = world.target("a", 10);
    let mut other = world.target("b", 5);
    world.scrape(&mut target, 1);
    (1..=8).for_each(|round| world.scrape(&mut other, round));
    world.scrape(&mut target, 2);
    receiver.accept();
    assert_eq!(dropped(&world.settled("r").await, Reason::Shed), 5);
    let still = Samples::plain(Role::Page, Arc::clone(&target.layout), vec![2.0; 10]);
    world.send(&mut target, vec![still], NOW_MS + 9000);
    let account = world.settled("r").await;
    assert_eq!(dropped(&account, Reason::Unchanged), 5);
    let values = |core: &str| -> Vec<f64> {
        let samples = receiver.samples(&[("instance", "a"), ("core", core)]);
        samples.iter().map(|sample| sample.value).collect()
    };
    assert_eq!((values("0"), values("9")), (vec![1.0, 2.0], vec![1.0, 2.0]));
    world.stop().await;
}

#[tokio::test]
async fn no_more_samples_a_second_are_sent_than_the_file_says() {
    let receiver = FakeReceiver::accepting().await;
    let world = World::start(&entry(&receiver, "delivery: { max_samples_per_second: 1000 }"));
    let mut target = world.target("a", 100);
    (1..=5).for_each(|round| world.scrape(&mut target, round));
    receiver.wait_for_samples(&[], 500).await;
    let pushes = receiver.pushes();
    let took = pushes[4].at - pushes[0].at;
    assert!(took >= Duration::from_millis(390), "{took:?}");
    world.stop().await;
}
