//! What a queue on disk adds: the next process goes on where this one stopped.

use std::fs;

use testkit::{FakeReceiver, Reply, Sample};

use super::*;

const SHORT: Duration = Duration::from_millis(50);

fn durable(receiver: &FakeReceiver, more: &str) -> String {
    format!(
        "remote_write:\n\
         - name: r/1\n  url: {:?}\n  \
         queue_config: {{ max_samples_per_send: 10, batch_send_deadline: 5ms, min_backoff: 10ms, \
         max_backoff: 30ms }}\n  \
         delivery: {{ durability: disk, disk: {{ min_free_size: 1MB{more} }} }}\n",
        receiver.url()
    )
}

/// The rounds in which the samples of one series arrived, in the order of arrival.
fn rounds(samples: &[Sample]) -> Vec<i64> {
    samples.iter().map(|sample| (sample.timestamp_ms - NOW_MS) / 1000).collect()
}

#[tokio::test]
async fn a_process_goes_on_where_the_one_before_it_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = FakeReceiver::refusing(Reply::status(503)).await;
    let text = durable(&receiver, ", memory_size: 1KB");
    for process in 0..3 {
        let world = World::start_in(&text, folder.path());
        let mut target = world.target("a", 25);
        for round in 1..=20 {
            world.scrape(&mut target, process * 20 + round);
        }
        let account = world.stop_within(DEADLINE).await;
        let found = u64::from(process) * 500;
        assert_eq!(account.dropped_in_all().total(), 0);
        assert_eq!((account.accepted.samples, account.queued.samples), (found + 500, found + 500));
    }
    receiver.accept();
    let world = World::start_in(&text, folder.path());
    receiver.wait_for_samples(&[], 1500).await;
    let account = world.settled("r/1").await;
    assert_eq!((account.delivered.samples, account.recovered.samples), (1500, 1500));
    for core in 0..25 {
        let samples = receiver.samples(&[("core", &core.to_string())]);
        assert_eq!(rounds(&samples), (1..=60).collect::<Vec<_>>());
    }
    world.stop().await;

    // What was acknowledged does not come again.
    let world = World::start_in(&text, folder.path());
    let mut target = world.target("b", 1);
    world.scrape(&mut target, 61);
    receiver.wait_for_samples(&[], 1501).await;
    assert_eq!(world.settled("r/1").await.recovered.samples, 0);
    world.stop().await;
    assert_eq!(receiver.samples(&[]).len(), 1501);
}

#[tokio::test]
async fn what_a_receiver_takes_in_time_is_never_written() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = FakeReceiver::accepting().await;
    let text = durable(&receiver, ", write_interval: 1h");
    let world = World::start_in(&text, folder.path());
    let mut target = world.target("a", 25);
    (1..=4).for_each(|round| world.scrape(&mut target, round));
    assert_eq!(world.settled("r/1").await.delivered.samples, 100);
    assert_eq!(world.view("r/1").disk.unwrap().bytes, 0);

    // What waits at the end is.
    receiver.answer(Reply::status(503));
    world.scrape(&mut target, 5);
    let account = world.stop_within(SHORT).await;
    assert_eq!((account.queued.samples, account.dropped_in_all().total()), (25, 0));
    receiver.accept();
    let world = World::start_in(&text, folder.path());
    receiver.wait_for_samples(&[], 125).await;
    assert_eq!(rounds(&receiver.samples(&[("core", "7")])), [1, 2, 3, 4, 5]);
    world.stop().await;
}

#[tokio::test]
async fn what_waits_is_written_in_time_or_when_memory_gets_short() {
    for more in [", write_interval: 100ms", ", write_interval: 1h, memory_size: 1KB"] {
        let folder = tempfile::tempdir().unwrap();
        let receiver = FakeReceiver::refusing(Reply::never()).await;
        let world = World::start_in(&durable(&receiver, more), folder.path());
        let mut target = world.target("a", 25);
        (1..=8).for_each(|round| world.scrape(&mut target, round));
        wait_until("all is on disk", DEADLINE, || async {
            let disk = world.view("r/1").disk.unwrap();
            let good = disk.unwritten_blocks == 0 && disk.bytes > 0;
            if good { Ok(()) } else { Err(format!("{disk:?}")) }
        })
        .await;
        assert_eq!(world.stop_within(SHORT).await.queued.samples, 200);
    }
}

#[tokio::test]
async fn shards_that_wrote_a_backlog_send_it_set_after_set() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = FakeReceiver::refusing(Reply::status(500)).await;
    let text = durable(&receiver, "");
    let world = World::start_in(&text, folder.path());
    let mut targets: Vec<Target> = (0..6).map(|at| world.target(&format!("t{at}"), 15)).collect();
    let feed = world.feed("r/1");
    for round in 1..=12 {
        targets.iter_mut().for_each(|target| world.scrape(target, round));
        feed.reshard([1, 4, 2, 7][round as usize % 4]);
    }
    drop(feed);
    world.stop_within(DEADLINE).await;
    receiver.accept();
    let world = World::start_in(&text, folder.path());
    receiver.wait_for_samples(&[], 12 * 90).await;
    for target in 0..6 {
        let labels = [("instance", &*format!("t{target}")), ("core", "3")];
        assert_eq!(rounds(&receiver.samples(&labels)), (1..=12).collect::<Vec<_>>());
    }
    world.stop().await;
}

#[tokio::test]
async fn a_changed_destination_goes_on_from_the_disk_of_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = FakeReceiver::refusing(Reply::never()).await;
    let text = durable(&receiver, "");
    let world = World::start_in(&text, folder.path());
    let mut target = world.target("a", 25);
    (1..=4).for_each(|round| world.scrape(&mut target, round));
    receiver.wait_for_pushes(1).await;
    let changed = text.replace("max_backoff: 30ms", "max_backoff: 20ms");
    world.forwarder.apply(config(&changed)).unwrap();
    (5..=8).for_each(|round| world.scrape(&mut target, round));
    assert_eq!(world.balanced("r/1").queued.samples, 200);
    receiver.accept();
    receiver.wait_for_samples(&[], 200).await;
    let account = world.settled("r/1").await;
    assert_eq!((account.accepted.samples, account.delivered.samples), (200, 200));
    assert_eq!(rounds(&receiver.samples(&[("core", "7")])), (1..=8).collect::<Vec<_>>());
    world.stop().await;
}

#[tokio::test]
async fn a_disk_that_refuses_leaves_blocks_in_memory_until_it_takes_them() {
    let folder = tempfile::tempdir().unwrap();
    let queues = folder.path().join("queues");
    fs::write(&queues, "a file where the folder should be").unwrap();
    let receiver = FakeReceiver::refusing(Reply::status(503)).await;
    let world = World::start_in(&durable(&receiver, ""), folder.path());
    let mut target = world.target("a", 10);
    (1..=3).for_each(|round| world.scrape(&mut target, round));
    wait_until("the disk was found refusing", DEADLINE, || async {
        let view = world.view("r/1");
        let failing = view.disk.as_ref().is_some_and(|disk| disk.failing);
        if failing && view.alert { Ok(()) } else { Err(format!("{view:?}")) }
    })
    .await;
    receiver.wait_for_pushes(1).await; // it is sent all the same
    assert_eq!(world.view("r/1").disk.unwrap().unwritten_blocks, 3);
    fs::remove_file(&queues).unwrap();
    wait_until("the disk takes blocks", DEADLINE, || async {
        let disk = world.view("r/1").disk.unwrap();
        let good = !disk.failing && disk.unwritten_blocks == 0;
        if good { Ok(()) } else { Err(format!("{disk:?}")) }
    })
    .await;
    assert_eq!(world.view("r/1").disk.unwrap().failures, 1);
    let account = world.stop_within(SHORT).await;
    assert_eq!((account.queued.samples, account.dropped_in_all().total()), (30, 0));
    receiver.accept();
    let world = World::start_in(&durable(&receiver, ""), folder.path());
    receiver.wait_for_samples(&[], 30).await;
    world.stop().await;
}

#[tokio::test]
async fn what_the_disk_does_not_promise_to_keep_counts_as_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let queue = folder.path().join("queues/r%2F1");
    fs::create_dir_all(&queue).unwrap();
    // Takes what is written to it, and refuses every sync.
    std::os::unix::fs::symlink("/dev/null", queue.join("r%2F1.cursor")).unwrap();
    let receiver = FakeReceiver::refusing(Reply::status(503)).await;
    let world = World::start_in(&durable(&receiver, ", fsync: always"), folder.path());
    let mut target = world.target("a", 10);
    (1..=3).for_each(|round| world.scrape(&mut target, round));
    wait_until("the disk was found refusing", DEADLINE, || async {
        let disk = world.view("r/1").disk.unwrap();
        let good = disk.failing && disk.unwritten_blocks == 3;
        if good { Ok(()) } else { Err(format!("{disk:?}")) }
    })
    .await;
    receiver.accept();
    assert_eq!(world.settled("r/1").await.delivered.samples, 30);
    assert_eq!(rounds(&receiver.samples(&[("core", "7")])), [1, 2, 3]);
    world.stop().await;
}

#[tokio::test]
async fn a_folder_that_vanishes_is_begun_anew_and_what_comes_then_is_really_there() {
    for is_made_again in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let queue = folder.path().join("queues/r%2F1");
        let receiver = FakeReceiver::refusing(Reply::status(503)).await;
        let text = durable(&receiver, ", memory_size: 1KB");
        let world = World::start_in(&text, folder.path());
        let mut target = world.target("a", 10);
        let all_is_written = || {
            wait_until("all is on disk", DEADLINE, || async {
                let disk = world.view("r/1").disk.unwrap();
                let good = disk.unwritten_blocks == 0 && !disk.failing && disk.bytes > 0;
                if good { Ok(()) } else { Err(format!("{disk:?}")) }
            })
        };
        (1..=20).for_each(|round| world.scrape(&mut target, round));
        all_is_written().await;
        fs::remove_dir_all(&queue).unwrap();
        if is_made_again {
            fs::create_dir(&queue).unwrap();
        }
        (21..=40).for_each(|round| world.scrape(&mut target, round));
        all_is_written().await;
        let disk = world.view("r/1").disk.unwrap();
        assert_eq!((disk.failures, disk.damages), (1, 1));
        let account = world.stop_within(SHORT).await;
        let lost = account.dropped_in_all().samples;
        assert_eq!(account.queued.samples + lost, 400);
        assert_eq!(dropped(&account, Reason::Damaged) + dropped(&account, Reason::Stopped), lost);

        receiver.accept();
        let world = World::start_in(&text, folder.path());
        receiver.wait_for_samples(&[], account.queued.samples as usize).await;
        let account = world.settled("r/1").await;
        assert_eq!(account.dropped_in_all().total(), 0);
        let arrived = rounds(&receiver.samples(&[("core", "7")]));
        assert!(arrived.is_sorted() && arrived.ends_with(&(21..=40).collect::<Vec<_>>()));
        world.stop().await;
    }
}

#[tokio::test]
async fn after_everything_was_asked_for_once_blocks_wait_for_their_time_again() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = FakeReceiver::refusing(Reply::status(503)).await;
    let text = durable(&receiver, ", write_interval: 1h");
    let world = World::start_in(&text, folder.path());
    let mut target = world.target("a", 10);
    world.scrape(&mut target, 1);
    receiver.wait_for_pushes(1).await;
    assert!(world.destination("r/1").may_leave_queue().await);
    assert_eq!(world.view("r/1").disk.unwrap().unwritten_blocks, 0);
    world.scrape(&mut target, 2);
    wait_until("the second block is sealed", DEADLINE, || async {
        let open = world.feed("r/1").open_counts().total();
        if open == 0 { Ok(()) } else { Err(format!("{open} samples are in the open block")) }
    })
    .await;
    for _ in 0..2 {
        // Between two answers the thread has looked what there is to write.
        let read = world.destination("r/1").keepers()[0].read(999).await;
        assert!(read.is_err(), "there is no such block");
    }
    assert_eq!(world.view("r/1").disk.unwrap().unwritten_blocks, 1);
    world.stop_within(SHORT).await;
}

#[tokio::test]
async fn what_the_cap_of_the_disk_does_not_cover_is_dropped_and_counted_exactly() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = FakeReceiver::refusing(Reply::status(503)).await;
    let text = durable(&receiver, ", max_size: 20KB, memory_size: 1KB");
    let world = World::start_in(&text, folder.path());
    let mut target = world.target("a", 10);
    for round in 1..=600 {
        world.scrape(&mut target, round);
        if round % 20 == 0 {
            wait_until("all is on disk", DEADLINE, || async {
                let left = world.view("r/1").disk.unwrap().unwritten_blocks;
                if left == 0 { Ok(()) } else { Err(format!("{left} blocks")) }
            })
            .await;
        }
    }
    let account = world.balanced("r/1");
    let dropped_at_first = dropped(&account, Reason::QueueFull);
    assert!(dropped_at_first > 3000, "{account:?}");
    receiver.accept();
    let account = world.settled("r/1").await;
    assert_eq!(account.delivered.samples + dropped(&account, Reason::QueueFull), 6000);
    assert_eq!(receiver.samples(&[]).len() as u64, account.delivered.samples);
    world.stop().await;
}

#[tokio::test]
async fn damaged_records_are_skipped_and_their_samples_counted() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = FakeReceiver::refusing(Reply::status(503)).await;
    let text = durable(&receiver, "");
    let world = World::start_in(&text, folder.path());
    let mut target = world.target("a", 10);
    (1..=30).for_each(|round| world.scrape(&mut target, round));
    world.stop_within(DEADLINE).await;
    let queue = folder.path().join("queues/r%2F1");
    let segment = fs::read_dir(&queue).unwrap().map(|entry| entry.unwrap().path());
    let segment = segment.into_iter().find(|p| p.extension().is_some_and(|e| e == "segment"));
    let segment = segment.unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    for part in [3, 7] {
        let at = bytes.len() * part / 10;
        bytes[at] ^= 0x10;
    }
    fs::write(&segment, bytes).unwrap();
    receiver.accept();
    let world = World::start_in(&text, folder.path());
    let account = wait_until("all is booked", DEADLINE, || async {
        let account = world.balanced("r/1");
        let booked = account.accepted.samples == 300 && account.queued.total() == 0;
        if booked { Ok(account) } else { Err(format!("{account:?}")) }
    })
    .await;
    assert_eq!(dropped(&account, Reason::Damaged), 20);
    assert_eq!(receiver.samples(&[]).len(), 280);
    world.stop().await;
}

#[tokio::test]
async fn what_is_fresh_need_not_wait_for_a_backlog() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = FakeReceiver::refusing(Reply::status(503)).await;
    let text =
        durable(&receiver, "").replace("durability: disk", "order: newest_first, durability: disk");
    let world = World::start_in(&text, folder.path());
    let mut target = world.target("a", 10);
    (1..=30).for_each(|round| world.scrape(&mut target, round));
    world.stop_within(DEADLINE).await;

    let slow = text.replace("order:", "max_samples_per_second: 100, order:");
    let world = World::start_in(&slow, folder.path());
    let mut target = world.target("a", 10);
    wait_until("the backlog is known", DEADLINE, || async {
        let found = world.balanced("r/1").recovered.samples;
        if found == 300 { Ok(()) } else { Err(format!("{found} found")) }
    })
    .await;
    receiver.accept();
    world.scrape(&mut target, 31);
    world.scrape(&mut target, 32);
    receiver.wait_for_samples(&[], 60).await;
    let arrived = rounds(&receiver.samples(&[("core", "3")]));
    assert!(arrived[..5].contains(&31) && arrived[..5].contains(&32), "{arrived:?}");
    let account = world.stop_within(SHORT).await;
    assert_eq!(account.dropped_in_all().total(), 0);

    let world = World::start_in(&text, folder.path());
    wait_until("everything arrived", DEADLINE, || async {
        let mut all = rounds(&receiver.samples(&[("core", "9")]));
        all.sort();
        all.dedup();
        if all == (1..=32).collect::<Vec<_>>() { Ok(()) } else { Err(format!("{all:?}")) }
    })
    .await;
    world.settled("r/1").await;
    world.stop().await;
}

#[tokio::test]
async fn a_clock_that_jumps_between_two_processes_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = FakeReceiver::refusing(Reply::status(503)).await;
    let text = durable(&receiver, "");
    for jump_ms in [86_400_000_i64, -86_400_000] {
        let world = World::start_in(&text, folder.path());
        let mut target = world.target("a", 10);
        (1..=3).for_each(|round| world.scrape(&mut target, round));
        world.clock.set_wall(NOW_MS + jump_ms);
        (4..=6).for_each(|round| world.scrape(&mut target, round));
        let account = world.stop_within(DEADLINE).await;
        assert_eq!(account.dropped_in_all().total(), 0);
    }
    receiver.accept();
    let world = World::start_in(&text, folder.path());
    receiver.wait_for_samples(&[], 120).await;
    assert_eq!(world.settled("r/1").await.delivered.samples, 120);
    world.stop().await;
}

#[tokio::test]
async fn a_folder_that_somebody_else_uses_is_seen_and_holds_nothing_up() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = FakeReceiver::accepting().await;
    let text = durable(&receiver, "");
    let first = World::start_in(&text, folder.path());
    wait_until("the first has the folder", DEADLINE, || async {
        let open = folder.path().join("queues/r%2F1/lock").exists();
        if open { Ok(()) } else { Err("no lock".to_owned()) }
    })
    .await;
    let second = World::start_in(&text, folder.path());
    let mut target = second.target("a", 10);
    second.scrape(&mut target, 1);
    receiver.wait_for_samples(&[], 10).await;
    let view = second.view("r/1");
    assert!(view.disk.as_ref().is_some_and(|disk| disk.failing) && view.alert, "{view:?}");
    first.stop().await;
    wait_until("the second has the folder", DEADLINE, || async {
        let failing = second.view("r/1").disk.unwrap().failing;
        if failing { Err("still in use".to_owned()) } else { Ok(()) }
    })
    .await;
    second.stop().await;
}
