//! Durable destinations that are sent the same blocks: one log on disk, a place in it for each.

use std::fs;
use std::path::{Path, PathBuf};

use testkit::{FakeReceiver, Reply, Sample};

use super::*;

const SHORT: Duration = Duration::from_millis(50);

/// A durable destination of this name. `more` are keys of the entry.
fn entry(name: &str, receiver: &FakeReceiver, more: &str) -> String {
    format!(
        "- name: {name}\n  url: {:?}\n  \
         queue_config: {{ max_samples_per_send: 10, batch_send_deadline: 5ms, min_backoff: 10ms, \
         max_backoff: 30ms }}\n  \
         delivery: {{ durability: disk, disk: {{ min_free_size: 1MB, memory_size: 1KB }} }}\n  \
         {more}\n",
        receiver.url()
    )
}

fn remote_write(entries: &[String]) -> String {
    format!("remote_write:\n{}", entries.concat())
}

/// The rounds in which the samples of one series arrived, in the order of arrival.
fn rounds(receiver: &FakeReceiver) -> Vec<i64> {
    let samples = receiver.samples(&[("core", "3")]);
    samples.iter().map(|sample: &Sample| (sample.timestamp_ms - NOW_MS) / 1000).collect()
}

fn up_to(last: i64) -> Vec<i64> {
    (1..=last).collect()
}

fn folders(storage: &Path) -> Vec<String> {
    let entries = fs::read_dir(storage.join("queues")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

fn segment_bytes(folder: &Path) -> u64 {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let segments = paths.filter(|path| path.extension().is_some_and(|e| e == "segment"));
    segments.map(|path: PathBuf| fs::metadata(path).unwrap().len()).sum()
}

async fn all_is_written(world: &World, name: &str) {
    wait_until("all is on disk", DEADLINE, || async {
        let disk = world.view(name).disk.unwrap();
        let open = world.feed(name).open_counts().total();
        if disk.unwritten_blocks + open == 0 { Ok(()) } else { Err(format!("{disk:?} {open}")) }
    })
    .await;
}

async fn delivered(world: &World, name: &str, samples: u64) {
    wait_until("it is delivered", DEADLINE, || async {
        let account = world.balanced(name);
        let done = account.delivered.samples >= samples;
        if done { Ok(()) } else { Err(format!("{account:?}")) }
    })
    .await;
}

#[tokio::test]
async fn blocks_are_written_once_and_each_destination_has_its_own_place() {
    let (alone, both) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let down = FakeReceiver::refusing(Reply::status(503)).await;
    let well = FakeReceiver::accepting().await;
    let text = remote_write(&[entry("a", &down, "")]);
    let world = World::start_in(&text, alone.path());
    let mut target = world.target("t", 30);
    (1..=20).for_each(|round| world.scrape(&mut target, round));
    world.stop_within(SHORT).await;
    let bytes_alone = segment_bytes(&alone.path().join("queues/a"));

    let text = remote_write(&[entry("a", &down, ""), entry("b", &well, "headers: { X: y }")]);
    let world = World::start_in(&text, both.path());
    let mut target = world.target("t", 30);
    (1..=20).for_each(|round| world.scrape(&mut target, round));
    all_is_written(&world, "a").await;
    delivered(&world, "b", 600).await;
    assert_eq!(world.balanced("a").queued.samples, 600);
    world.stop_within(SHORT).await;
    assert_eq!(folders(both.path()), ["a+b"]);
    let bytes = segment_bytes(&both.path().join("queues/a+b"));
    assert_eq!(bytes, bytes_alone);

    // The next process goes on with what each of them lacks.
    down.accept();
    let world = World::start_in(&text, both.path());
    delivered(&world, "a", 600).await;
    assert_eq!(world.settled("b").await.recovered.samples, 0);
    assert_eq!(world.settled("a").await.recovered.samples, 600);
    assert_eq!((rounds(&down), rounds(&well)), (up_to(20), up_to(20)));
    world.stop().await;
}

#[tokio::test]
async fn what_the_cap_does_not_cover_is_lost_to_those_alone_that_had_not_delivered_it() {
    let folder = tempfile::tempdir().unwrap();
    let down = FakeReceiver::refusing(Reply::status(503)).await;
    let well = FakeReceiver::accepting().await;
    let text = remote_write(&[entry("a", &down, ""), entry("b", &well, "")]);
    let text = text.replace("memory_size: 1KB", "memory_size: 1KB, max_size: 20KB");
    let world = World::start_in(&text, folder.path());
    let mut target = world.target("t", 10);
    for round in 1..=600 {
        world.scrape(&mut target, round);
        if round % 20 == 0 {
            all_is_written(&world, "a").await;
            delivered(&world, "b", u64::from(round) * 10).await;
        }
    }
    let lost = dropped(&world.balanced("a"), Reason::QueueFull);
    assert!(lost > 3000, "{lost}");
    assert_eq!(world.balanced("b").dropped_in_all().total(), 0);
    down.accept();
    let account = world.settled("a").await;
    assert_eq!(account.delivered.samples + dropped(&account, Reason::QueueFull), 6000);
    assert_eq!(well.samples(&[]).len(), 6000);
    world.stop().await;
}

#[tokio::test]
async fn one_that_is_added_gets_what_comes_from_then_on_and_one_that_goes_pins_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let first = FakeReceiver::refusing(Reply::status(503)).await;
    let second = FakeReceiver::refusing(Reply::status(503)).await;
    let one = remote_write(&[entry("a", &first, "")]);
    let two = remote_write(&[entry("a", &first, ""), entry("b", &second, "")]);
    let world = World::start_in(&one, folder.path());
    let mut target = world.target("t", 10);
    (1..=10).for_each(|round| world.scrape(&mut target, round));
    world.forwarder.apply(config(&two)).unwrap();
    (11..=20).for_each(|round| world.scrape(&mut target, round));
    all_is_written(&world, "b").await;
    assert_eq!(world.balanced("a").queued.samples, 200);
    assert_eq!(world.balanced("b").queued.samples, 100);

    world.forwarder.apply(config(&one)).unwrap();
    (21..=30).for_each(|round| world.scrape(&mut target, round));
    first.accept();
    let account = world.settled("a").await;
    assert_eq!((account.delivered.samples, account.dropped_in_all().total()), (300, 0));
    assert_eq!(rounds(&first), up_to(30));
    wait_until("former logs are gone", DEADLINE, || async {
        let folders = folders(folder.path());
        if folders == ["a"] { Ok(()) } else { Err(format!("{folders:?}")) }
    })
    .await;
    assert!(second.samples(&[]).is_empty());
    world.stop().await;
}

#[tokio::test]
async fn reloads_on_the_heels_of_each_other_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let first = FakeReceiver::refusing(Reply::status(503)).await;
    let second = FakeReceiver::refusing(Reply::status(503)).await;
    let one = remote_write(&[entry("a", &first, "")]);
    let two = remote_write(&[entry("a", &first, ""), entry("b", &second, "")]);
    let world = World::start_in(&one, folder.path());
    let mut target = world.target("t", 10);
    for round in 1..=16 {
        world.scrape(&mut target, round);
        let text = if round % 4 < 2 { &one } else { &two };
        world.forwarder.apply(config(text)).unwrap();
    }
    first.accept();
    delivered(&world, "a", 160).await;
    let account = world.settled("a").await;
    assert_eq!((account.delivered.samples, account.dropped_in_all().total()), (160, 0));
    assert_eq!(rounds(&first), up_to(16));
    world.stop().await;
}

#[tokio::test]
async fn two_that_part_each_get_what_they_had_in_common() {
    let folder = tempfile::tempdir().unwrap();
    let first = FakeReceiver::refusing(Reply::status(503)).await;
    let second = FakeReceiver::refusing(Reply::status(503)).await;
    let rules = "write_relabel_configs: [{ action: drop, source_labels: [core], regex: '4' }]";
    let alike = remote_write(&[entry("a", &first, ""), entry("b", &second, "")]);
    let apart = remote_write(&[entry("a", &first, ""), entry("b", &second, rules)]);
    let world = World::start_in(&alike, folder.path());
    let mut target = world.target("t", 10);
    (1..=10).for_each(|round| world.scrape(&mut target, round));
    all_is_written(&world, "a").await;
    world.forwarder.apply(config(&apart)).unwrap();
    (11..=20).for_each(|round| world.scrape(&mut target, round));
    all_is_written(&world, "a").await;
    all_is_written(&world, "b").await;

    // One comes to its end; the other one does so after a restart.
    second.accept();
    let account = world.settled("b").await;
    assert_eq!((account.delivered.samples, dropped(&account, Reason::DroppedSeries)), (190, 10));
    assert_eq!(rounds(&second), up_to(20));
    assert_eq!(world.balanced("a").queued.samples, 200);
    world.stop_within(SHORT).await;
    first.accept();
    let world = World::start_in(&apart, folder.path());
    delivered(&world, "a", 200).await;
    assert_eq!(world.settled("a").await.dropped_in_all().total(), 0);
    assert_eq!(rounds(&first), up_to(20));
    assert_eq!((rounds(&second), second.samples(&[]).len()), (up_to(20), 190));
    wait_until("the common log is gone", DEADLINE, || async {
        let folders = folders(folder.path());
        if folders == ["a", "b"] { Ok(()) } else { Err(format!("{folders:?}")) }
    })
    .await;
    world.stop().await;
}

#[tokio::test]
async fn logs_of_former_times_go_first_whatever_the_clocks_of_the_scraped_say() {
    let folder = tempfile::tempdir().unwrap();
    let first = FakeReceiver::refusing(Reply::status(503)).await;
    let second = FakeReceiver::refusing(Reply::status(503)).await;
    let one = remote_write(&[entry("a", &first, "")]);
    let two = remote_write(&[entry("a", &first, ""), entry("b", &second, "")]);
    let world = World::start_in(&one, folder.path());
    let mut target = world.target("t", 10);
    let far_ahead = 1_000_001..=1_000_010;
    far_ahead.clone().for_each(|round| world.scrape(&mut target, round));
    all_is_written(&world, "a").await;
    world.clock.advance(Duration::from_secs(60));
    world.forwarder.apply(config(&two)).unwrap();
    (1..=10).for_each(|round| world.scrape(&mut target, round));
    all_is_written(&world, "a").await;
    world.stop_within(SHORT).await;
    assert_eq!(folders(folder.path()), ["a", "a+b"]);
    first.accept();
    let world = World::start_in(&two, folder.path());
    delivered(&world, "a", 200).await;
    let expected: Vec<i64> = far_ahead.map(i64::from).chain(1..=10).collect();
    assert_eq!(rounds(&first), expected);
    world.stop_within(SHORT).await;
}

#[tokio::test]
async fn a_receiver_that_hangs_delays_nobody_it_shares_with() {
    let folder = tempfile::tempdir().unwrap();
    let hanging = FakeReceiver::refusing(Reply::never()).await;
    let well = FakeReceiver::accepting().await;
    let text = remote_write(&[entry("a", &hanging, ""), entry("b", &well, "")]);
    let world = World::start_in(&text, folder.path());
    let mut target = world.target("t", 25);
    for round in 1..=10 {
        world.scrape(&mut target, round);
        world.feed("b").reshard([1, 3, 2][round as usize % 3]);
    }
    delivered(&world, "b", 250).await;
    assert_eq!(rounds(&well), up_to(10));
    assert_eq!(world.balanced("a").queued.samples, 250);
    world.stop_within(SHORT).await;
}

#[tokio::test]
async fn destinations_of_different_modules_share_what_has_one_encoding() {
    let folder = tempfile::tempdir().unwrap();
    let queue = folder.path().join("q");
    let lines = folder.path().join("lines");
    let disk = format!("{{ durability: disk, disk: {{ path: {queue:?}, min_free_size: 1MB }} }}");
    let of = |name: &str, keys: &str| format!("- {{ name: {name}, {keys}, delivery: {disk} }}\n");
    let (log, also) = (folder.path().join("one.ndjson"), folder.path().join("two.ndjson"));
    let text = format!(
        "forwarders:\n{}{}\
         data_types: [{{ name: cpu, match: [cpu] }}]\nroutes: [{{ data_types: [cpu], to: [one, two] }}]",
        of("one", &format!("module: file, path: {log:?}")),
        of("two", &format!("module: exec, command: [sh, -c, 'cat >> {}']", lines.display())),
    );
    let world = World::start_in(&text, &also);
    let mut target = world.target("t", 4);
    world.scrape(&mut target, 1);
    for name in ["one", "two"] {
        delivered(&world, name, 4).await;
    }
    assert!(queue.join("one.cursor").exists() && queue.join("two.cursor").exists());
    let text = fs::read_to_string(&log).unwrap();
    assert_eq!(text.lines().count(), 4);
    wait_until("the child has written what it was given", DEADLINE, || async {
        let written = fs::read_to_string(&lines).unwrap_or_default();
        if written == text { Ok(()) } else { Err(written) }
    })
    .await;
    world.stop().await;
}
