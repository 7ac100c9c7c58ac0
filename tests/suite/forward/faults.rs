//! What goes wrong with processes, receivers and disks: every sample that was scraped is at the
//! receiver, or waits, or is counted with the reason why it was dropped.

use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, RandomState};
use std::path::Path;
use std::time::Duration;

use testkit::{Config, FakeReceiver, FakeTarget, Reply, config};

use super::{balanced, check_all_arrived, counting_target, drained};
use crate::rollcall;

/// Says how often the process is killed in each test, in place of the default: a hundred in all.
const KILLS: &str = "ROLLCALL_TEST_KILLS";
const KILLS_DEFAULT: usize = 34;
/// Seeds the moments of the kills; printed when a test fails.
const SEED: &str = "ROLLCALL_TEST_SEED";

/// One durable destination; its queue outlives the process.
fn durable(target: &FakeTarget, receiver: &FakeReceiver, queue: &Path, more: &str) -> Config {
    let config = config().global("scrape_interval: 400ms").scrape(target);
    config.remote_write(&durable_as("receiver", receiver, queue, more))
}

/// An entry; those that differ in their names and receivers alone share a log.
fn durable_as(name: &str, receiver: &FakeReceiver, queue: &Path, more: &str) -> String {
    format!(
        "name: {name}\nurl: {}\nremote_timeout: 1s\n\
         queue_config: {{ batch_send_deadline: 20ms, max_samples_per_send: 7, min_backoff: 10ms, \
         max_backoff: 50ms }}\n\
         delivery: {{ durability: disk, disk: {{ path: {queue:?}, min_free_size: 1MB{more} }} }}",
        receiver.url()
    )
}

fn n_kills() -> usize {
    let kills = std::env::var(KILLS).ok().and_then(|kills| kills.parse().ok());
    kills.unwrap_or(KILLS_DEFAULT)
}

/// Numbers that depend on a seed alone.
struct Chance(u64);

impl Chance {
    fn new() -> Chance {
        let seed = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| RandomState::new().hash_one(0) >> 1);
        println!("{SEED}={seed}");
        Chance(seed | 1)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Kills the process again and again at moments of chance, and once lets it come to its end.
/// Returns the scrapes that may be missing: those that were too young to be on disk.
async fn kill_again_and_again(
    target: &FakeTarget,
    receivers: &[(&str, &FakeReceiver)],
    config: &Config,
) -> BTreeSet<usize> {
    let mut chance = Chance::new();
    let mut may_miss = BTreeSet::new();
    for _ in 0..n_kills() {
        let app = rollcall().config(config).start().await;
        target.wait_for_more_requests(1 + chance.below(3) as usize).await;
        tokio::time::sleep(Duration::from_millis(chance.below(400))).await;
        app.kill().await;
        let served = target.n_requests();
        may_miss.extend(served.saturating_sub(2)..served);
    }
    receivers.iter().for_each(|(_, receiver)| receiver.accept());
    let app = rollcall().config(config).start().await;
    target.wait_for_more_requests(2).await;
    for (name, _) in receivers {
        drained(&app, name).await;
    }
    app.stop_expecting(&receivers.iter().map(|(name, _)| *name).collect::<Vec<_>>()).await;
    may_miss
}

/// All scrapes arrived but for those that may be missing; first arrivals are in order.
fn check_arrivals(
    receiver: &FakeReceiver,
    served: usize,
    may_miss: &BTreeSet<usize>,
    n_ends: usize,
) {
    let mut seen = BTreeSet::new();
    for sample in receiver.samples(&[("__name__", "n")]) {
        let scrape = sample.value as usize;
        let is_new = seen.insert(scrape);
        let newest = *seen.last().unwrap();
        assert!(!is_new || scrape == newest, "{scrape} arrived after {newest}");
    }
    // The last one may have been under way when the process stopped.
    let missing: Vec<usize> = (0..served - 1).filter(|scrape| !seen.contains(scrape)).collect();
    let lost: Vec<_> = missing.iter().filter(|scrape| !may_miss.contains(scrape)).collect();
    assert!(lost.is_empty(), "scrapes {lost:?} are lost; {missing:?} are missing");
    // Of the two before a kill, one was on disk.
    assert!(missing.len() <= n_ends, "{missing:?} are missing after {n_ends} ends");
}

#[tokio::test]
async fn a_process_that_is_killed_at_any_moment_loses_nothing_whose_time_to_be_written_had_come() {
    let (target, queue) = (counting_target().await, tempfile::tempdir().unwrap());
    // One block in half a second or so: others always wait.
    let receiver = FakeReceiver::answering(|_, nth| match nth % 5 {
        1 => Reply::status(204),
        3 => Reply::closed(),
        _ => Reply::status(503).after(Duration::from_millis(100)),
    })
    .await;
    let config = durable(&target, &receiver, queue.path(), ", write_interval: 20ms");
    let may_miss = kill_again_and_again(&target, &[("receiver", &receiver)], &config).await;
    check_arrivals(&receiver, target.n_requests(), &may_miss, n_kills());
}

#[tokio::test]
async fn a_backlog_survives_every_kill_while_the_receiver_is_down() {
    let (target, queue) = (counting_target().await, tempfile::tempdir().unwrap());
    let receiver = FakeReceiver::refusing(Reply::status(503)).await;
    // Nothing of it stays in memory: all of it is read back.
    let config = durable(&target, &receiver, queue.path(), ", fsync: always, memory_size: 1B");
    let may_miss = kill_again_and_again(&target, &[("receiver", &receiver)], &config).await;
    check_arrivals(&receiver, target.n_requests(), &may_miss, n_kills());
}

#[tokio::test]
async fn those_who_share_a_log_survive_every_kill_each_in_its_own_place() {
    let (target, queue) = (counting_target().await, tempfile::tempdir().unwrap());
    let down = FakeReceiver::refusing(Reply::status(503)).await;
    let slow = FakeReceiver::answering(|_, nth| match nth % 3 {
        0 => Reply::closed(),
        _ => Reply::status(204).after(Duration::from_millis(50)),
    })
    .await;
    let more = ", memory_size: 1B";
    let config = durable(&target, &down, queue.path(), more);
    let config = config.remote_write(&durable_as("slow", &slow, queue.path(), more));
    let receivers = [("receiver", &down), ("slow", &slow)];
    let may_miss = kill_again_and_again(&target, &receivers, &config).await;
    for receiver in [&down, &slow] {
        check_arrivals(receiver, target.n_requests(), &may_miss, n_kills());
    }
    let places = ["receiver.cursor", "slow.cursor"].map(|place| queue.path().join(place).exists());
    assert_eq!(places, [true, true], "they did not share the log");
}

#[tokio::test]
async fn an_open_block_is_on_disk_in_time_whatever_its_receiver_does() {
    let (target, queue) = (counting_target().await, tempfile::tempdir().unwrap());
    let receiver = FakeReceiver::refusing(Reply::never()).await;
    // Nothing but the interval would seal a block: it has room, and time.
    let config = durable(&target, &receiver, queue.path(), ", write_interval: 20ms");
    let yaml = config.yaml().replace("batch_send_deadline: 20ms", "batch_send_deadline: 1h");
    let yaml = yaml.replace("max_samples_per_send: 7", "max_samples_per_send: 10000");
    let app = rollcall().yaml(&yaml).start().await;
    target.wait_for_more_requests(6).await;
    app.kill().await;
    let served = target.n_requests();
    receiver.accept();
    let app = rollcall().yaml(&yaml).start().await;
    target.wait_for_more_requests(2).await;
    let view = app.json("/api/v1/forwarders").await["data"]["destinations"][0].clone();
    assert!(view["recovered"]["samples"].as_u64().unwrap() >= 4 * 7, "{view}");
    app.stop_expecting(&["receiver"]).await;
    let may_miss = (served - 2..served).collect();
    check_arrivals(&receiver, target.n_requests(), &may_miss, 1);
}

#[tokio::test]
async fn a_backlog_is_left_on_disk_at_the_end_and_sent_by_the_next_process() {
    let (target, queue) = (counting_target().await, tempfile::tempdir().unwrap());
    let receiver = FakeReceiver::refusing(Reply::status(503)).await;
    let config = durable(&target, &receiver, queue.path(), "");
    for _ in 0..3 {
        let app = rollcall().config(&config).start().await;
        target.wait_for_more_requests(4).await;
        let (delivered, queued, dropped) = balanced(&app.metrics().await, "receiver");
        assert!(queued > 0.0 && delivered + dropped == 0.0);
        app.stop_expecting(&["receiver"]).await;
    }
    receiver.accept();
    let app = rollcall().config(&config).start().await;
    target.wait_for_more_requests(2).await;
    let (delivered, dropped) = drained(&app, "receiver").await;
    let arrived: usize = receiver.pushes().iter().map(testkit::Push::n_samples).sum();
    assert!(dropped == 0.0 && arrived as f64 >= delivered, "{arrived} of {delivered}");
    let view = app.json("/api/v1/forwarders").await["data"]["destinations"][0].clone();
    assert!(view["recovered"]["samples"].as_u64().unwrap() >= 70, "{view}");
    assert_eq!(
        (&view["alert"], &view["disk"]["failing"]),
        (&false.into(), &false.into()),
        "{view}"
    );
    app.stop_expecting(&["receiver"]).await;
    // Scrapes that were under way at an end were given up: at most one a process.
    let values: BTreeSet<usize> =
        receiver.samples(&[("__name__", "n")]).iter().map(|s| s.value as usize).collect();
    assert!(values.len() + 4 >= target.n_requests(), "{values:?} of {}", target.n_requests());
    assert_eq!(values.len(), receiver.samples(&[("__name__", "n")]).len(), "some came twice");
}

#[tokio::test]
async fn whatever_a_receiver_does_to_a_connection_everything_arrives() {
    let (target, queue) = (counting_target().await, tempfile::tempdir().unwrap());
    let receiver = FakeReceiver::answering(|_, nth| match nth % 8 {
        0 => Reply::status(500),
        1 => Reply::closed(),
        2 => Reply::raw("HTTP/1.1 20"),
        3 => Reply::raw("nonsense\r\n\r\n"),
        4 => Reply::never(),
        5 => Reply::status(503).header("Retry-After", "0"),
        6 => Reply::status(204).after(Duration::from_millis(300)),
        _ => Reply::status(204),
    })
    .await;
    for config in [
        durable(&target, &receiver, queue.path(), ""),
        durable(&target, &receiver, queue.path(), ", memory_size: 1B"),
    ] {
        let app = rollcall().config(&config).start().await;
        target.wait_for_more_requests(8).await;
        balanced(&app.metrics().await, "receiver");
        receiver.accept();
        drained(&app, "receiver").await;
        let (_, _, dropped) = balanced(&app.metrics().await, "receiver");
        assert_eq!(dropped, 0.0);
        app.stop_expecting(&["receiver"]).await;
    }
    let served = target.n_requests();
    check_arrivals(&receiver, served, &BTreeSet::from([served - 2]), 2);
}

#[tokio::test]
async fn a_reload_in_the_middle_of_a_backlog_loses_nothing() {
    for durability in ["memory", "disk"] {
        let (target, queue) = (counting_target().await, tempfile::tempdir().unwrap());
        let receiver = FakeReceiver::refusing(Reply::status(503)).await;
        let yaml = |header: &str| {
            let config = config().global("scrape_interval: 400ms").scrape(&target);
            config.remote_write(&format!(
                "name: receiver\nurl: {}\nheaders: {{ X-Version: {header} }}\n\
                 queue_config: {{ batch_send_deadline: 20ms, min_backoff: 10ms, \
                 max_backoff: 50ms }}\n\
                 delivery: {{ durability: {durability}, disk: {{ path: {:?} }} }}",
                receiver.url(),
                queue.path()
            ))
        };
        let app = rollcall().config(&yaml("v0")).start().await;
        for version in 1..=3 {
            target.wait_for_more_requests(3).await;
            let (status, body) = app.reload(&yaml(&format!("v{version}"))).await;
            assert_eq!(status, 200, "{body}");
        }
        target.wait_for_more_requests(2).await;
        receiver.accept();
        target.wait_for_more_requests(3).await;
        let n_scrapes = target.n_requests() - 1;
        app.stop_expecting(&["receiver"]).await;
        check_all_arrived(&receiver, n_scrapes);
    }
}

#[tokio::test]
async fn a_disk_without_room_leaves_blocks_in_memory_and_is_seen() {
    let (target, queue) = (counting_target().await, tempfile::tempdir().unwrap());
    let mut receiver = FakeReceiver::accepting().await;
    receiver.go_down();
    let full = durable(&target, &receiver, queue.path(), "");
    let full = Config::yaml(&full).replace("min_free_size: 1MB", "min_free_size: 1EB");
    let app = rollcall().yaml(&full).start().await;
    app.wait_for_metrics("the disk is found to be full", |metrics| {
        let of = |name: &str| metrics.sum(name, &[("destination", "receiver")]);
        of("rollcall_forward_disk_failing") == 1.0
            && of("rollcall_forward_disk_unwritten_blocks") > 1.0
            && of("rollcall_forward_alert") == 1.0
    })
    .await;
    balanced(&app.metrics().await, "receiver");
    receiver.come_back().await;
    drained(&app, "receiver").await;
    target.wait_for_more_requests(2).await;
    let n_scrapes = target.n_requests() - 1;
    app.stop_expecting(&["receiver"]).await;
    check_all_arrived(&receiver, n_scrapes);
}

#[tokio::test]
async fn a_reload_while_the_disk_has_no_room_loses_nothing() {
    let (target, queue) = (counting_target().await, tempfile::tempdir().unwrap());
    let receiver = FakeReceiver::refusing(Reply::status(503)).await;
    let full = |sent: usize| {
        let yaml = durable(&target, &receiver, queue.path(), "").yaml();
        let yaml = yaml.replace("min_free_size: 1MB", "min_free_size: 1EB");
        yaml.replace("max_samples_per_send: 7", &format!("max_samples_per_send: {sent}"))
    };
    let app = rollcall().yaml(&full(7)).start().await;
    for sent in [8, 9] {
        app.wait_for_metrics("blocks wait that are not on disk", |metrics| {
            let unwritten = "rollcall_forward_disk_unwritten_blocks";
            metrics.sum(unwritten, &[("destination", "receiver")]) > 1.0
        })
        .await;
        let (status, body) = app.reload_yaml(&full(sent)).await;
        assert_eq!(status, 200, "{body}");
    }
    target.wait_for_more_requests(2).await;
    receiver.accept();
    drained(&app, "receiver").await;
    target.wait_for_more_requests(2).await;
    let n_scrapes = target.n_requests() - 1;
    app.stop_expecting(&["receiver"]).await;
    check_all_arrived(&receiver, n_scrapes);
}

/// A script that runs our program with a small file system of its own at `queue`.
fn with_little_disk(folder: &Path, queue: &Path) -> std::path::PathBuf {
    let script = folder.join("rollcall-with-little-disk");
    let (binary, queue) = (crate::BINARY, queue.display());
    let text = format!(
        "#!/bin/sh\nexec unshare --user --map-root-user --mount sh -c \
         'mount -t tmpfs -o size=400k tmpfs {queue} && exec {binary} \"$@\"' sh \"$@\"\n"
    );
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    script
}

#[tokio::test]
async fn a_file_system_that_fills_up_costs_nothing_but_memory_and_is_used_again() {
    let (folder, queue) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mount = "mount -t tmpfs -o size=400k tmpfs /tmp";
    let unshare = ["--user", "--map-root-user", "--mount", "sh", "-c", mount];
    let may_mount = std::process::Command::new("unshare").args(unshare).status();
    if !may_mount.is_ok_and(|status| status.success()) {
        println!("not tried: this system gives nobody a file system of their own");
        return;
    }
    // 400 values that look like noise: about 10 kB compressed, five times a second.
    let target = FakeTarget::answering(|_, nth| {
        let value = |n: usize| (n * 7919 + nth * 104_729) as f64 * 1.000_000_123;
        let lines = (0..400).map(|n| format!("noise{{n=\"{n}\"}} {:e}\n", value(n)));
        Reply::from(format!("n {nth}\n{}", lines.collect::<String>()))
    })
    .await;
    let mut receiver = FakeReceiver::accepting().await;
    receiver.go_down();
    let config = durable(&target, &receiver, queue.path(), ", memory_size: 1B");
    let yaml = config.yaml().replace("min_free_size: 1MB", "min_free_size: 0");
    let yaml = yaml.replace("max_samples_per_send: 7", "max_samples_per_send: 500");
    let binary = with_little_disk(folder.path(), queue.path());
    let app = testkit::Launch::new(binary).yaml(&yaml).start().await;
    let of = |metrics: &testkit::Metrics, name: &str| {
        metrics.sum(&format!("rollcall_forward_{name}"), &[("destination", "receiver")])
    };
    app.wait_for_metrics("the file system is full", |metrics| {
        of(metrics, "disk_failing") == 1.0 && of(metrics, "disk_unwritten_blocks") > 3.0
    })
    .await;
    assert!(of(&app.metrics().await, "disk_bytes") > 200_000.0);
    balanced(&app.metrics().await, "receiver");
    receiver.come_back().await;
    app.wait_for_metrics("the file system is used again", |metrics| {
        of(metrics, "disk_failing") == 0.0 && of(metrics, "disk_unwritten_blocks") == 0.0
    })
    .await;
    drained(&app, "receiver").await;
    target.wait_for_more_requests(3).await;
    let n_scrapes = target.n_requests() - 1;
    app.stop_expecting(&["receiver"]).await;
    check_all_arrived(&receiver, n_scrapes);
    assert_eq!(receiver.samples(&[("n", "399")]).len(), receiver.samples(&[("n", "0")]).len());
}

#[tokio::test]
async fn a_sample_that_a_receiver_never_takes_does_not_stop_the_others() {
    let page = "good{n=\"1\"} 1\npoison 2\ngood{n=\"2\"} 3\n";
    let target = FakeTarget::serving(page).await;
    let receiver = FakeReceiver::answering(|push, _| {
        let poisoned = push.series.iter().any(|series| series.labels["__name__"] == "poison");
        Reply::status(if poisoned { 500 } else { 204 })
    })
    .await;
    let config = config().scrape(&target).remote_write(&format!(
        "name: receiver\nurl: {}\n\
         queue_config: {{ batch_send_deadline: 20ms, min_backoff: 10ms }}\n\
         delivery: {{ answers: {{ '500': dead_letter }}, dead_letter: {{ path: dead.ndjson }} }}",
        receiver.url()
    ));
    let app = rollcall().config(&config).start().await;
    receiver.wait_for_samples(&[("__name__", "good")], 8).await;
    let (_, dropped) = drained(&app, "receiver").await;
    assert!(dropped >= 3.0);
    let stopped = app.stop_expecting(&["receiver"]).await;
    let dead = std::fs::read_to_string(stopped.folder().join("dead.ndjson")).unwrap();
    assert!(dead.lines().count() >= 4);
    for line in dead.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["sample"]["labels"]["__name__"], "poison");
        assert_eq!(line["sample"]["value"], 2.0);
    }
}
