//! Receivers that have the series between them: a series has one of them for ever.

use std::collections::{BTreeMap, BTreeSet};

use testkit::{FakeReceiver, Reply};

use super::*;

const SERIES: usize = 60;

fn text(receivers: &[FakeReceiver], delivery: &str) -> String {
    let urls: Vec<String> = receivers.iter().map(|one| format!("{:?}", one.url())).collect();
    format!(
        "remote_write:\n\
         - name: r\n  url: {}\n  failover_urls: [{}]\n  sharded: true\n  \
         queue_config: {{ max_samples_per_send: 10, batch_send_deadline: 5ms, min_backoff: 10ms, \
         max_backoff: 30ms }}\n  delivery: {delivery}\n",
        urls[0],
        urls[1..].join(", ")
    )
}

async fn receivers(count: usize) -> Vec<FakeReceiver> {
    let mut receivers = Vec::new();
    for _ in 0..count {
        receivers.push(FakeReceiver::accepting().await);
    }
    receivers
}

/// Which series each receiver has, and how many samples in all.
fn series_of(receivers: &[FakeReceiver]) -> (Vec<BTreeSet<String>>, usize) {
    let of = |receiver: &FakeReceiver| -> BTreeSet<String> {
        receiver.series(&[]).iter().map(|labels| labels["core"].clone()).collect()
    };
    let samples = receivers.iter().map(|receiver| receiver.samples(&[]).len()).sum();
    (receivers.iter().map(of).collect(), samples)
}

/// No series is with two receivers; which one has which.
fn owners(receivers: &[FakeReceiver]) -> BTreeMap<String, usize> {
    let mut owners = BTreeMap::new();
    for (at, series) in series_of(receivers).0.into_iter().enumerate() {
        for core in series {
            let before = owners.insert(core.clone(), at);
            assert!(before.is_none(), "{core} is with {before:?} and {at}");
        }
    }
    owners
}

#[tokio::test]
async fn a_series_goes_to_the_same_receiver_for_ever() {
    let receivers = receivers(3).await;
    for process in 0..2 {
        let world = World::start(&text(&receivers, "{}"));
        let mut target = world.target("t", SERIES);
        for round in 1..=10 {
            world.scrape(&mut target, round);
            world.feed("r").reshard([1, 7, 4][round as usize % 3]);
            assert_eq!(world.feed("r").shard_count() % 3, 0);
        }
        let account = world.settled("r").await;
        assert_eq!(account.delivered.samples as usize, 10 * SERIES);
        assert_eq!(series_of(&receivers).1, (process + 1) * 10 * SERIES);
        world.stop().await;
    }
    let owners = owners(&receivers);
    assert_eq!(owners.len(), SERIES);
    for receiver in 0..3 {
        let share = owners.values().filter(|owner| **owner == receiver).count();
        assert!(share >= SERIES / 6, "receiver {receiver} has {share} series");
    }
}

#[tokio::test]
async fn a_receiver_that_is_down_stalls_no_other_and_gets_its_own_later() {
    for delivery in ["{}", "{ durability: disk, disk: { min_free_size: 1MB, memory_size: 1KB } }"] {
        let folder = tempfile::tempdir().unwrap();
        let receivers = receivers(3).await;
        receivers[1].answer(Reply::status(503));
        let text = text(&receivers, delivery);
        let world = World::start_in(&text, folder.path());
        let mut target = world.target("t", SERIES);
        for round in 1..=20 {
            world.scrape(&mut target, round);
            world.feed("r").reshard([1, 6][round as usize % 2]);
        }
        let waits = wait_until("all but one have theirs", DEADLINE, || async {
            let (series, arrived) = series_of(&receivers);
            let known: usize = series.iter().map(BTreeSet::len).sum();
            let queued = world.balanced("r").queued.samples as usize;
            let both_are_served = series[0].len().min(series[2].len()) >= SERIES / 6;
            let done = arrived == 20 * known && queued == 20 * (SERIES - known);
            let report = || format!("{arrived} samples of {known} series, {queued} queued");
            if done && both_are_served { Ok(queued) } else { Err(report()) }
        })
        .await;
        assert!(receivers[1].samples(&[]).is_empty());
        let world = match delivery {
            "{}" => world,
            _ => {
                let account = world.stop_within(Duration::from_millis(50)).await;
                assert_eq!(account.queued.samples as usize, waits);
                World::start_in(&text, folder.path())
            }
        };
        receivers[1].accept();
        receivers[1].wait_for_samples(&[], waits).await;
        world.settled("r").await;
        assert_eq!(series_of(&receivers).1, 20 * SERIES);
        owners(&receivers);
        for receiver in &receivers {
            let core = receiver.series(&[])[0]["core"].clone();
            let samples = receiver.samples(&[("core", &core)]);
            assert!(samples.is_sorted_by_key(|sample| sample.timestamp_ms));
        }
        world.stop().await;
    }
}

#[tokio::test]
async fn what_one_of_two_has_delivered_over_a_long_time_does_not_come_again() {
    const ROUNDS: u32 = 400;
    let folder = tempfile::tempdir().unwrap();
    let receivers = receivers(2).await;
    receivers.iter().for_each(|one| one.answer(Reply::status(503)));
    let disk = "{ durability: disk, disk: { min_free_size: 1MB, memory_size: 1KB } }";
    let text = text(&receivers, disk);
    let world = World::start_in(&text, folder.path());
    let mut target = world.target("t", SERIES);
    for round in 1..=ROUNDS {
        world.scrape(&mut target, round);
    }
    let all = ROUNDS as usize * SERIES;
    wait_until("all is on disk", DEADLINE, || async {
        let (disk, open) = (world.view("r").disk.unwrap(), world.feed("r").open_counts().total());
        if disk.unwritten_blocks + open == 0 { Ok(()) } else { Err(format!("{disk:?} {open}")) }
    })
    .await;
    receivers[0].accept();
    wait_until("one of them has all of its own", DEADLINE, || async {
        let known = receivers[0].series(&[]).len();
        let delivered = world.balanced("r").delivered.samples as usize;
        let done = known > 0 && delivered == ROUNDS as usize * known;
        if done { Ok(()) } else { Err(format!("{delivered} samples of {known} series")) }
    })
    .await;
    world.stop_within(Duration::from_millis(50)).await;

    receivers[1].accept();
    let world = World::start_in(&text, folder.path());
    receivers[1].wait_for_samples(&[], 1).await;
    world.settled("r").await;
    assert_eq!(series_of(&receivers).1, all);
    world.stop().await;
}
