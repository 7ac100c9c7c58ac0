//! Queue, shards and senders: order, limits, retries, the end.

use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use futures::future::BoxFuture;
use testkit::{FakeReceiver, Reply, Sample};

use super::*;
use crate::block::Block;
use crate::module::{Parcel, SendError, Verdict};
use crate::queue::Number;

/// Checks that the samples of each series came in the order of time, none twice.
#[track_caller]
fn check_order(samples: &[Sample]) {
    let mut last = std::collections::BTreeMap::new();
    for sample in samples {
        let before = last.insert(sample.labels.clone(), sample.timestamp_ms);
        assert!(before < Some(sample.timestamp_ms), "{before:?} came before {sample:?}");
    }
}

fn one(receiver: &FakeReceiver, queue_config: &str) -> String {
    format!(
        "remote_write: [{{ name: r, url: {:?}, queue_config: {{ {queue_config} }} }}]",
        receiver.url()
    )
}

#[tokio::test]
async fn a_receiver_that_is_down_for_a_while_loses_nothing_within_the_limit() {
    let mut receiver = FakeReceiver::accepting().await;
    receiver.go_down();
    let queue =
        "max_samples_per_send: 10, batch_send_deadline: 10ms, capacity: 30, max_backoff: 50ms";
    let world = World::start(&one(&receiver, queue));
    let mut target = world.target("a", 25);
    for round in 1..=20 {
        world.scrape(&mut target, round);
    }
    wait_until("the receiver was found down", DEADLINE, || async {
        let view = world.view("r");
        if view.alert && view.last_error.is_some() { Ok(()) } else { Err(format!("{view:?}")) }
    })
    .await;
    assert_eq!(world.balanced("r").queued.samples, 500);
    receiver.come_back().await;
    let samples = receiver.wait_for_samples(&[], 500).await;
    check_order(&samples);
    assert_eq!(samples.len(), 500);
    let account = world.settled("r").await;
    assert_eq!((account.delivered.samples, account.dropped_in_all().total()), (500, 0));
    assert!(!world.view("r").alert);
    world.stop().await;
}

#[tokio::test]
async fn what_the_limit_does_not_cover_is_dropped_oldest_first_and_counted_exactly() {
    let receiver = FakeReceiver::refusing(Reply::status(503)).await;
    let queue = "max_samples_per_send: 10, max_queued_samples: 100, max_backoff: 50ms";
    let world = World::start(&one(&receiver, queue));
    let mut target = world.target("a", 10);
    world.scrape(&mut target, 1);
    receiver.wait_for_pushes(1).await; // the first block is being sent, and stays
    for round in 2..=50 {
        world.scrape(&mut target, round);
        world.balanced("r");
    }
    let account = world.balanced("r");
    assert_eq!((account.accepted.samples, account.queued.samples), (500, 100));
    assert_eq!(dropped(&account, Reason::QueueFull), 400);
    receiver.accept();
    world.settled("r").await;
    let rounds: Vec<i64> = receiver
        .samples(&[("core", "0")])
        .iter()
        .map(|sample| (sample.timestamp_ms - NOW_MS) / 1000)
        .collect();
    assert_eq!(rounds, [1, 42, 43, 44, 45, 46, 47, 48, 49, 50]);
    world.stop().await;
}

#[tokio::test]
async fn the_queue_and_the_books_agree_sample_by_sample() {
    let receiver = FakeReceiver::refusing(Reply::status(500)).await;
    let world = World::start(&one(&receiver, "max_samples_per_send: 10"));
    let mut target = world.target("a", 7);
    for round in 1..=5 {
        world.scrape(&mut target, round);
        let destination = world.destination("r");
        let held = destination.queue.load().samples + world.feed("r").open_counts().total();
        assert_eq!(world.balanced("r").queued.samples, held);
    }
    world.forwarder.drained(Duration::from_millis(20)).await;
    assert_eq!(dropped(&world.balanced("r"), Reason::Stopped), 35);
    assert_eq!(world.destination("r").queue.load().samples, 0);
}

#[tokio::test]
async fn series_keep_their_order_while_shards_come_and_go() {
    let receiver = FakeReceiver::answering(|_, before| match before % 7 {
        3 => Reply::status(500),
        _ => Reply::status(204).after(Duration::from_millis(before as u64 % 4)),
    })
    .await;
    let queue =
        "max_samples_per_send: 50, batch_send_deadline: 5ms, min_backoff: 1ms, max_backoff: 2ms";
    let world = World::start(&one(&receiver, queue));
    let mut large = world.target("large", 10_001);
    let mut small: Vec<Target> =
        (0..5).map(|at| world.target(&format!("small-{at}"), 10)).collect();
    let feed = world.feed("r");
    for round in 1..=12 {
        if round == 4 {
            world.scrape(&mut large, round);
        }
        small.iter_mut().for_each(|target| world.scrape(target, round));
        feed.reshard([1, 4, 2, 7][round as usize % 4]);
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    world.scrape(&mut large, 13);
    let account = world.settled("r").await;
    assert_eq!(account.delivered.samples, 12 * 50 + 2 * 10_001);
    check_order(&receiver.samples(&[]));
    world.stop().await;
}

#[tokio::test]
async fn a_large_source_is_spread_over_shards_and_a_small_one_is_not() {
    let receiver = FakeReceiver::accepting().await;
    let queue = "min_shards: 4, max_samples_per_send: 5000, batch_send_deadline: 10ms";
    let world = World::start(&one(&receiver, queue));
    let (mut small, mut large) = (world.target("small", 100), world.target("large", 12_000));
    world.scrape(&mut small, 1);
    receiver.wait_for_samples(&[], 100).await;
    assert_eq!(receiver.n_pushes(), 1);
    world.scrape(&mut large, 1);
    receiver.wait_for_samples(&[("instance", "large")], 12_000).await;
    assert_eq!(receiver.n_pushes(), 5);
    assert_eq!(receiver.series(&[]).len(), 12_100);
    world.stop().await;
}

#[tokio::test]
async fn a_large_source_is_spread_also_if_its_first_scrape_failed() {
    let receiver = FakeReceiver::accepting().await;
    let queue = "min_shards: 4, max_samples_per_send: 5000, batch_send_deadline: 10ms";
    let world = World::start(&one(&receiver, queue));
    let mut large = world.target("large", 12_000);
    let report = world.target("large", 5).layout;
    let report = Samples::plain(Role::Report, report, vec![0.0; 5]);
    world.send(&mut large, vec![report], NOW_MS);
    let empty = LayoutBuilder::new(&world.symbols).build();
    let empty = Samples::plain(Role::Page, empty, Vec::new());
    world.send(&mut large, vec![empty], NOW_MS + 1);
    world.scrape(&mut large, 1);
    receiver.wait_for_samples(&[], 12_005).await;
    let largest = receiver.pushes().iter().map(|push| push.series.len()).max();
    assert!(largest < Some(4000), "{largest:?} samples of one shard");
    world.stop().await;
}

#[tokio::test]
async fn a_clock_that_is_set_back_raises_no_alert() {
    let receiver = FakeReceiver::refusing(Reply::status(503)).await;
    let world = World::start(&one(&receiver, "batch_send_deadline: 5ms, max_backoff: 30ms"));
    let mut target = world.target("a", 10);
    world.scrape(&mut target, 1);
    wait_until("the failure is known", DEADLINE, || async {
        world.view("r").last_error.ok_or_else(|| "no error".to_owned())
    })
    .await;
    assert!(world.view("r").alert);
    world.clock.set_wall(NOW_MS - 86_400_000);
    receiver.accept();
    world.settled("r").await;
    let view = world.view("r");
    assert!(view.last_delivery_ms < view.last_error.map(|error| error.unix_ms));
    assert!(!view.alert);
    world.stop().await;
}

#[tokio::test]
async fn an_open_block_is_sent_at_its_deadline_or_at_the_end() {
    let receiver = FakeReceiver::accepting().await;
    let world = World::start(&one(&receiver, "batch_send_deadline: 50ms"));
    let mut target = world.target("a", 3);
    world.scrape(&mut target, 1);
    receiver.wait_for_samples(&[], 3).await;
    world.stop().await;

    let world = World::start(&one(&receiver, "batch_send_deadline: 1h"));
    let mut target = world.target("b", 3);
    world.scrape(&mut target, 2);
    world.forwarder.drained(DEADLINE).await;
    assert_eq!(receiver.samples(&[("instance", "b")]).len(), 3);
    assert_eq!(world.balanced("r").delivered.samples, 3);
    world.scrape(&mut target, 3);
    assert_eq!(dropped(&world.balanced("r"), Reason::Stopped), 3);
}

#[tokio::test]
async fn a_destination_that_hangs_disturbs_no_other() {
    let (hanging, good) =
        (FakeReceiver::refusing(Reply::never()).await, FakeReceiver::accepting().await);
    let world = World::start(&format!(
        "remote_write:\n\
         - {{ name: hanging, url: {:?}, queue_config: {{ batch_send_deadline: 5ms }} }}\n\
         - {{ name: good, url: {:?}, queue_config: {{ batch_send_deadline: 5ms }} }}",
        hanging.url(),
        good.url()
    ));
    let mut target = world.target("a", 10);
    for round in 1..=5 {
        world.scrape(&mut target, round);
    }
    good.wait_for_samples(&[], 50).await;
    assert_eq!(world.balanced("hanging").queued.samples, 50);
    world.forwarder.drained(Duration::from_millis(20)).await;
    assert_eq!(dropped(&world.balanced("hanging"), Reason::Stopped), 50);
}

#[tokio::test]
async fn samples_go_to_a_file_as_lines_once_it_can_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("later/audit.ndjson");
    let world = World::start(&format!(
        "external_labels: {{ cluster: c1 }}\n\
         forwarders: [{{ name: audit, module: file, path: {path:?}, \
         queue_config: {{ batch_send_deadline: 5ms, max_backoff: 30ms }} }}]\n\
         data_types: [{{ name: cpu, match: [cpu] }}]\n\
         routes: [{{ data_types: [cpu], to: [audit] }}]"
    ));
    let mut target = world.target("a", 2);
    world.scrape(&mut target, 1);
    wait_until("the file cannot be written", DEADLINE, || async {
        world.view("audit").last_error.ok_or_else(|| "no error".to_owned())
    })
    .await;
    std::fs::create_dir(folder.path().join("later")).unwrap();
    world.settled("audit").await;
    let lines = std::fs::read_to_string(&path).unwrap();
    let labels = r#"{"__name__":"cpu","cluster":"c1","core":"0","instance":"a"}"#;
    let first = format!(r#"{{"labels":{labels},"value":1.0,"timestamp":1767268801000}}"#);
    assert_eq!(lines.lines().next(), Some(&*first));
    assert_eq!(lines.lines().count(), 2);
    world.stop().await;
}

#[tokio::test]
async fn samples_that_waited_too_long_are_not_sent_any_more() {
    let receiver = FakeReceiver::refusing(Reply::status(500)).await;
    let queue = "max_samples_per_send: 4, batch_send_deadline: 5ms, max_backoff: 30ms, \
        sample_age_limit: 1m";
    let world = World::start(&one(&receiver, queue));
    let mut target = world.target("a", 2);
    world.scrape(&mut target, 0);
    world.scrape(&mut target, 30); // in one block with those before
    receiver.wait_for_pushes(1).await;
    world.clock.advance(Duration::from_secs(70));
    receiver.accept();
    let account = world.settled("r").await;
    assert_eq!(dropped(&account, Reason::TooOld), 2);
    let times: Vec<i64> = receiver.samples(&[]).iter().map(|sample| sample.timestamp_ms).collect();
    assert_eq!(times, [NOW_MS + 30_000; 2]);
    world.stop().await;
}

/// Has a bug that every block `bad` meets, and others meet once.
#[derive(Default)]
struct Buggy {
    panics: AtomicU32,
}

impl Module for Buggy {
    fn format(&self) -> Format {
        FORMAT
    }

    fn endpoint(&self) -> String {
        "nowhere".to_owned()
    }

    fn send<'a>(&'a self, parcel: &'a Parcel) -> BoxFuture<'a, Verdict> {
        Box::pin(async {
            let nth = self.panics.fetch_add(1, Ordering::Relaxed);
            assert!(nth > 0 && parcel.bytes != "bad", "this bug is part of the test");
            Verdict::DELIVERED
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_module_with_a_bug_holds_up_nothing_but_what_meets_it() {
    let destination = alone("remote_write: [{ url: x }]", Some(Box::new(Buggy::default())));
    destination.ledger.accept(TEN + TEN + TEN, &[]);
    send_set(&destination, |outlet| {
        for (number, text) in (1..).zip(["good", "bad", "good"]) {
            let bytes = Bytes::from_static(text.as_bytes());
            let block = Block { format: FORMAT, bytes, counts: TEN, oldest_ms: 1, newest_ms: 1 };
            outlet.queue.push(outlet.lane, Number(number), block, std::time::Instant::now());
        }
    });
    destination.finish(Duration::from_secs(60)).await;
    destination.end();
    let account = destination.ledger.balance();
    assert_eq!((account.delivered, account.queued), (TEN + TEN, Counts::NONE));
    assert_eq!(dropped(&account, Reason::Refused), 10);
}

/// Takes lines of JSON alone.
struct TakesLines;

impl Module for TakesLines {
    fn format(&self) -> Format {
        Format { encoding: Encoding::JsonLines, compression: Compression::None }
    }

    fn endpoint(&self) -> String {
        "nowhere".to_owned()
    }

    fn send<'a>(&'a self, _: &'a Parcel) -> BoxFuture<'a, Verdict> {
        Box::pin(async { Verdict::DELIVERED })
    }
}

/// So it is when a durable destination gets another module.
#[tokio::test(start_paused = true)]
async fn what_is_too_old_is_not_lost_again_because_it_can_not_be_encoded() {
    let text = "remote_write: [{ url: x, queue_config: { sample_age_limit: 1h } }]";
    let destination = alone(text, Some(Box::new(TakesLines)));
    destination.ledger.accept(TEN + TEN, &[]);
    send_set(&destination, |outlet| {
        for (number, ms) in (1..).zip([1, NOW_MS]) {
            let bytes = Bytes::new();
            let block = Block { format: FORMAT, bytes, counts: TEN, oldest_ms: ms, newest_ms: ms };
            outlet.queue.push(outlet.lane, Number(number), block, std::time::Instant::now());
        }
    });
    destination.finish(Duration::from_secs(60)).await;
    destination.end();
    let account = destination.ledger.balance();
    assert_eq!((account.accepted, account.queued), (TEN + TEN, Counts::NONE));
    assert_eq!((dropped(&account, Reason::TooOld), dropped(&account, Reason::Damaged)), (10, 10));
}

/// Asks to be left alone for an hour.
struct Rests;

impl Module for Rests {
    fn format(&self) -> Format {
        FORMAT
    }

    fn endpoint(&self) -> String {
        "nowhere".to_owned()
    }

    fn send<'a>(&'a self, _: &'a Parcel) -> BoxFuture<'a, Verdict> {
        let after = Some(Duration::from_secs(3600));
        Box::pin(async move { Verdict::Retry { after, why: SendError::Unconfirmed } })
    }
}

#[tokio::test(start_paused = true)]
async fn a_block_is_tried_for_no_longer_because_its_receiver_asks_for_rest() {
    let text = "remote_write: [{ url: x, delivery: { retry_for: 5s } }]";
    let destination = alone(text, Some(Box::new(Rests)));
    destination.ledger.accept(TEN, &[]);
    send_set(&destination, |outlet| {
        let bytes = Bytes::new();
        let block = Block { format: FORMAT, bytes, counts: TEN, oldest_ms: 1, newest_ms: 1 };
        outlet.queue.push(outlet.lane, Number(1), block, std::time::Instant::now());
    });
    destination.finish(Duration::from_secs(6)).await;
    destination.end();
    let account = destination.ledger.balance();
    assert_eq!(dropped(&account, Reason::RetriesExhausted), 10, "{account:?}");
}
