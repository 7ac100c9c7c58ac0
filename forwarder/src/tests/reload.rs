//! A new configuration while samples wait.

use testkit::{FakeReceiver, Reply};

use super::*;

fn entry(name: &str, receiver: &FakeReceiver, more: &str) -> String {
    let queue = "queue_config: { batch_send_deadline: 5ms, max_backoff: 30ms }";
    format!("- {{ name: {name}, url: {:?}, {queue}{more} }}\n", receiver.url())
}

#[tokio::test]
async fn destinations_that_do_not_change_keep_their_queues() {
    let waiting = FakeReceiver::refusing(Reply::status(503)).await;
    let other = FakeReceiver::accepting().await;
    let one = entry("waiting", &waiting, "");
    let world = World::start(&format!("remote_write:\n{one}"));
    let before = world.destination("waiting");
    let mut target = world.target("a", 5);
    world.scrape(&mut target, 1);
    let two = entry("other", &other, "");
    world.forwarder.apply(config(&format!("remote_write:\n{two}{one}"))).unwrap();
    assert!(Arc::ptr_eq(&before, &world.destination("waiting")));
    world.scrape(&mut target, 2);
    assert_eq!(world.balanced("waiting").queued.samples, 10);
    assert_eq!(other.wait_for_samples(&[], 5).await.len(), 5);
    waiting.accept();
    assert_eq!(waiting.wait_for_samples(&[], 10).await.len(), 10);
    world.stop().await;
}

#[tokio::test]
async fn a_changed_destination_first_sends_what_it_had_and_its_books_go_on() {
    let receiver = FakeReceiver::refusing(Reply::status(503)).await;
    let world = World::start(&format!("remote_write:\n{}", entry("r", &receiver, "")));
    let mut target = world.target("a", 5);
    world.scrape(&mut target, 1);
    receiver.wait_for_pushes(1).await;
    let changed = entry("r", &receiver, ", headers: { x-team: ours }");
    world.forwarder.apply(config(&format!("remote_write:\n{changed}"))).unwrap();
    world.scrape(&mut target, 2);
    assert_eq!(world.balanced("r").queued.samples, 10);
    receiver.accept();
    receiver.wait_for_samples(&[], 10).await;
    let account = world.settled("r").await;
    assert_eq!((account.accepted.samples, account.delivered.samples), (10, 10));
    let teams: Vec<bool> =
        receiver.pushes().iter().map(|push| push.request.header("x-team").is_some()).collect();
    assert_eq!(teams, [false, true]);
    world.stop().await;
}

#[tokio::test]
async fn a_removed_destination_gets_no_more_samples_and_sends_what_it_has() {
    let receiver = FakeReceiver::accepting().await;
    let world = World::start(&format!("remote_write:\n{}", entry("r", &receiver, "")));
    let mut target = world.target("a", 5);
    world.scrape(&mut target, 1);
    world.forwarder.apply(config("remote_write: []")).unwrap();
    world.scrape(&mut target, 2);
    receiver.wait_for_samples(&[], 5).await;
    assert!(world.forwarder.destinations().is_empty());
    let metrics = world.metrics.expose().unwrap();
    assert!(metrics.contains("rollcall_forward_unrouted_samples_total 5\n"), "{metrics}");
    world.stop().await;
    assert_eq!(receiver.samples(&[]).len(), 5);
}

#[tokio::test]
async fn a_route_to_a_part_that_is_not_there_changes_nothing() {
    let receiver = FakeReceiver::accepting().await;
    let world = World::start(&format!("remote_write:\n{}", entry("r", &receiver, "")));
    let mut config = Config::clone(&config("data_types: [{ name: all, types: [gauge] }]"));
    let (data_types, to) = (vec!["all".to_owned()], vec!["status".to_owned()]);
    config.routes.push(crate::config::Route { data_types, to, goes_on: false });
    let error = world.forwarder.apply(Arc::new(config)).unwrap_err();
    let want = r#"no part provides the destination "status" that a route names"#;
    assert_eq!(error.to_string(), want);
    let mut target = world.target("a", 5);
    world.scrape(&mut target, 1);
    receiver.wait_for_samples(&[], 5).await;
    world.stop().await;
}

#[tokio::test]
async fn what_stays_on_disk_without_a_successor_is_not_said_to_be_queued() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = FakeReceiver::refusing(Reply::status(503)).await;
    let of = |delivery: &str| {
        let delivery = format!(", delivery: {{ {delivery} }}");
        config(&format!("remote_write:\n{}", entry("r", &receiver, &delivery)))
    };
    let durable = of("durability: disk, disk: { min_free_size: 1MB }");
    let world = World::start_in("remote_write: []", folder.path());
    world.forwarder.apply(Arc::clone(&durable)).unwrap();
    let mut target = world.target("a", 10);
    world.scrape(&mut target, 1);
    world.forwarder.apply(of("durability: memory")).unwrap();
    let account = world.settled("r").await;
    assert_eq!((account.accepted.samples, dropped(&account, Reason::Stopped)), (10, 10));

    // One that is durable again finds it.
    receiver.accept();
    world.forwarder.apply(durable).unwrap();
    receiver.wait_for_samples(&[], 10).await;
    let account = world.settled("r").await;
    assert_eq!((account.recovered.samples, account.delivered.samples), (10, 10));
    world.stop().await;
}

#[tokio::test]
async fn what_is_in_no_log_is_not_said_to_be_queued_when_the_last_one_is_open() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = FakeReceiver::refusing(Reply::status(503)).await;
    let of = |path: &Path| {
        let disk = format!("disk: {{ min_free_size: 1MB, path: {path:?} }}");
        let delivery = format!(", delivery: {{ durability: disk, {disk} }}");
        config(&format!("remote_write:\n{}", entry("r", &receiver, &delivery)))
    };
    let (one, other) = (folder.path().join("one"), folder.path().join("other"));
    let world = World::start_in("remote_write: []", folder.path());
    world.forwarder.apply(of(&one)).unwrap();
    let mut target = world.target("a", 10);
    world.scrape(&mut target, 1);
    std::fs::write(&other, "a file where the folder should be").unwrap();
    world.forwarder.apply(of(&other)).unwrap();
    wait_until("the disk was found refusing", DEADLINE, || async {
        let failing = world.view("r").disk.is_some_and(|disk| disk.failing);
        if failing { Ok(()) } else { Err("it takes blocks".to_owned()) }
    })
    .await;
    assert_eq!(world.balanced("r").queued.samples, 10);
    std::fs::remove_file(&other).unwrap();
    let account = world.settled("r").await;
    assert_eq!(dropped(&account, Reason::Stopped), 10);
    world.stop().await;
}

/// A sink before all others, where batches wait until they are let go.
struct Gate {
    waits: std::sync::mpsc::Sender<()>,
    go: std::sync::Mutex<std::sync::mpsc::Receiver<()>>,
}

impl BatchSink for Gate {
    fn accept(&self, _: &Batch, _: &[Selection], _: &mut Memo) {
        self.waits.send(()).unwrap();
        self.go.lock().unwrap().recv().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_is_under_way_during_a_reload_is_not_lost() {
    let receiver = FakeReceiver::accepting().await;
    let text = |header: &str| {
        format!(
            "remote_write: [{{ name: r, url: {:?}, headers: {{ X: {header} }}, \
             queue_config: {{ batch_send_deadline: 5ms }} }}]",
            receiver.url()
        )
    };
    let ((waits, waiting), (let_go, go)) = (std::sync::mpsc::channel(), std::sync::mpsc::channel());
    let gate: Arc<dyn BatchSink> = Arc::new(Gate { waits, go: std::sync::Mutex::new(go) });
    let world = World::start_with(&text("one"), Path::new("no-storage"), vec![("gate", gate)]);
    let mut target = world.target("a", 10);
    let world = &world;
    std::thread::scope(|threads| {
        threads.spawn(move || world.scrape(&mut target, 1));
        waiting.recv().unwrap();
        world.forwarder.apply(config(&text("two"))).unwrap();
        // A stop would come at once: time for it to come too early.
        std::thread::sleep(Duration::from_millis(50));
        let_go.send(()).unwrap();
    });
    receiver.wait_for_samples(&[], 10).await;
    let account = world.settled("r").await;
    assert_eq!((account.delivered.samples, account.dropped_in_all().total()), (10, 0));
}

/// Each predecessor has the log until it has ended.
#[tokio::test]
async fn reloads_while_a_receiver_hangs_do_not_keep_samples_off_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = FakeReceiver::refusing(Reply::never()).await;
    let of = |header: u32| {
        let delivery = "delivery: { durability: disk, disk: { min_free_size: 1MB } }";
        let more = format!(", remote_timeout: 10s, headers: {{ x-round: '{header}' }}, {delivery}");
        config(&format!("remote_write:\n{}", entry("r", &receiver, &more)))
    };
    let world = World::start_in("remote_write: []", folder.path());
    let mut target = world.target("a", 5);
    for round in 1..=8 {
        world.forwarder.apply(of(round)).unwrap();
        world.scrape(&mut target, round);
        receiver.wait_for_pushes(1).await; // this is the one that hangs
        // The pace of one who tries things, and the fault itself: at once they would be as one.
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    wait_until("all is on disk", DEADLINE / 2, || async {
        let disk = world.view("r").disk.unwrap();
        let good = disk.unwritten_blocks == 0 && disk.bytes > 0 && !disk.failing;
        if good { Ok(()) } else { Err(format!("{disk:?}")) }
    })
    .await;
    receiver.accept();
    let arrived = receiver.wait_for_samples(&[("core", "1")], 8).await;
    let values: Vec<f64> = arrived.iter().map(|sample| sample.value).collect();
    assert_eq!(values, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
    let account = world.settled("r").await;
    assert_eq!((account.accepted.samples, account.delivered.samples), (40, 40));
    world.stop().await;
}

#[tokio::test]
async fn a_destination_that_comes_back_waits_for_the_one_that_went() {
    let durable = ", delivery: { durability: disk, disk: { min_free_size: 1MB } }";
    for delivery in ["", durable] {
        let folder = tempfile::tempdir().unwrap();
        let receiver = FakeReceiver::refusing(Reply::status(503)).await;
        let text = format!("remote_write:\n{}", entry("r", &receiver, delivery));
        let world = World::start_in(&text, folder.path());
        let mut target = world.target("a", 5);
        world.scrape(&mut target, 1);
        receiver.wait_for_pushes(1).await;
        world.forwarder.apply(config("remote_write: []")).unwrap();
        world.forwarder.apply(config(&text)).unwrap();
        world.scrape(&mut target, 2);
        receiver.wait_for_pushes(receiver.n_pushes() + 2).await;
        receiver.accept();
        let arrived = receiver.wait_for_samples(&[("core", "1")], 2).await;
        let values: Vec<f64> = arrived.iter().map(|sample| sample.value).collect();
        assert_eq!(values, [1.0, 2.0], "{delivery}");
        let account = world.settled("r").await;
        assert_eq!((account.accepted.samples, account.delivered.samples), (10, 10), "{delivery}");
        world.stop().await;
    }
}

/// What waits for a receiver that is named wrongly goes to the one that is meant.
#[tokio::test]
async fn what_waits_in_memory_goes_to_the_successor_in_its_order() {
    let wrong = FakeReceiver::refusing(Reply::never()).await;
    let worse = FakeReceiver::refusing(Reply::status(503)).await;
    let right = FakeReceiver::accepting().await;
    let of = |receiver: &FakeReceiver| format!("remote_write:\n{}", entry("r", receiver, ""));
    let world = World::start(&of(&wrong));
    let mut targets: Vec<Target> = (0..6).map(|at| world.target(&format!("t{at}"), 5)).collect();
    let mut scrape = |rounds: std::ops::RangeInclusive<u32>| {
        for round in rounds {
            targets.iter_mut().for_each(|target| world.scrape(target, round));
            world.feed("r").reshard([1, 4, 2][round as usize % 3]);
        }
    };
    scrape(1..=6);
    wrong.wait_for_pushes(1).await;
    world.forwarder.apply(config(&of(&worse))).unwrap();
    scrape(7..=12);
    worse.wait_for_pushes(3).await;
    world.forwarder.apply(config("remote_write: []")).unwrap();
    world.forwarder.apply(config(&of(&right))).unwrap();
    scrape(13..=15);
    right.wait_for_samples(&[], 15 * 30).await;
    for target in 0..6 {
        let samples = right.samples(&[("instance", &*format!("t{target}")), ("core", "3")]);
        let values: Vec<u32> = samples.iter().map(|sample| sample.value as u32).collect();
        assert_eq!(values, (1..=15).collect::<Vec<_>>(), "t{target}");
    }
    let account = world.settled("r").await;
    assert_eq!((account.accepted.samples, account.delivered.samples), (450, 450));
    world.stop().await;
}

#[tokio::test]
async fn what_nobody_takes_up_is_counted() {
    let wrong = FakeReceiver::refusing(Reply::never()).await;
    let of = |more: &str| config(&format!("remote_write:\n{}", entry("r", &wrong, more)));
    let world = World::start_in("remote_write: []", Path::new("no-storage"));
    let mut target = world.target("a", 5);
    for header in 1..=4 {
        world.forwarder.apply(of(&format!(", headers: {{ x-round: '{header}' }}"))).unwrap();
        world.scrape(&mut target, header);
    }
    let account = world.stop_within(Duration::from_millis(50)).await;
    assert_eq!((account.queued.total(), dropped(&account, Reason::Stopped)), (0, 20));
}
