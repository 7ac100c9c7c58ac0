//! The end, when somebody does not come back: it comes all the same, and the books are closed.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use bytes::Bytes;
use futures::future::BoxFuture;
use testkit::{FakeReceiver, Reply};
use tokio::time::timeout;

use super::*;
use crate::block::Block;
use crate::module::{Parcel, Verdict};
use crate::queue::{Found, Number};

/// Sends when it is let go, and holds its thread until then.
struct Gated {
    begun: Sender<()>,
    go: Mutex<Receiver<()>>,
    at_work: Arc<AtomicBool>,
}

impl Module for Gated {
    fn format(&self) -> Format {
        FORMAT
    }

    fn endpoint(&self) -> String {
        "a gate".to_owned()
    }

    fn send<'a>(&'a self, _: &'a Parcel) -> BoxFuture<'a, Verdict> {
        Box::pin(async {
            self.at_work.store(true, Ordering::SeqCst);
            self.begun.send(()).unwrap();
            self.go.lock().unwrap().recv().unwrap();
            self.at_work.store(false, Ordering::SeqCst);
            Verdict::DELIVERED
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_hangs_while_it_is_read_is_not_waited_for() {
    let durable = "delivery: { durability: disk }";
    let destination = alone(&format!("remote_write: [{{ url: x, {durable} }}]"), None);
    destination.ledger.recover(TEN);
    send_set(&destination, |outlet| {
        let found = Found { sequence: 1, counts: TEN, bytes: 100, waited: Duration::ZERO };
        destination.queue.take_in([(outlet.lane, found)].into_iter());
    });
    let finished = timeout(Duration::from_secs(2), destination.finish(Duration::from_secs(1)));
    assert!(finished.await.is_ok(), "a sender waits for the disk");
    destination.end();
    let account = destination.ledger.balance();
    assert_eq!((account.queued, account.dropped_in_all()), (TEN, Counts::NONE));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_comes_after_the_last_sender_of_every_set_of_shards() {
    let ((begun, has_begun), (let_go, go)) = (channel(), channel());
    let at_work = Arc::new(AtomicBool::new(false));
    let gated = Gated { begun, go: Mutex::new(go), at_work: Arc::clone(&at_work) };
    let destination = alone("remote_write: [{ url: x }]", Some(Box::new(gated)));
    destination.ledger.accept(TEN, &[]);
    send_set(&destination, |outlet| {
        let bytes = Bytes::new();
        let block = Block { format: FORMAT, bytes, counts: TEN, oldest_ms: 1, newest_ms: 1 };
        outlet.queue.push(outlet.lane, Number(1), block, std::time::Instant::now());
    });
    has_begun.recv().unwrap();
    send_set(&destination, |_| {}); // waits for the set before
    let ending = Arc::clone(&destination);
    let mut ending = tokio::spawn(async move {
        ending.finish(Duration::ZERO).await;
        assert!(!at_work.load(Ordering::SeqCst), "a sender is left at work");
        ending.end();
    });
    destination.abandoned.cancelled().await;
    // An end that does not wait would come at once: time for it to come too early.
    let early = timeout(Duration::from_millis(50), &mut ending).await;
    let_go.send(()).unwrap();
    let ended = match early {
        Ok(ended) => ended,
        Err(_) => ending.await,
    };
    ended.unwrap();
    let account = destination.ledger.balance();
    assert_eq!((account.delivered, account.queued), (TEN, Counts::NONE));
}

#[tokio::test]
async fn a_dead_letter_file_that_hangs_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dead.ndjson");
    // A pipe that nobody reads lets nobody write.
    let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    let receiver = FakeReceiver::refusing(Reply::status(400)).await;
    let world = World::start(&format!(
        "remote_write: [{{ name: r, url: {:?}, queue_config: {{ batch_send_deadline: 5ms }}, \
         delivery: {{ answers: {{ 4xx: dead_letter }}, dead_letter: {{ path: {path:?} }} }} }}]",
        receiver.url()
    ));
    let mut target = world.target("a", 1);
    world.scrape(&mut target, 1);
    wait_until("it was refused", DEADLINE, || async {
        world.view("r").last_error.ok_or_else(|| "no error".to_owned())
    })
    .await;
    let stopped = timeout(DEADLINE, world.stop_within(Duration::ZERO)).await;
    // Lets the thread go that still waits for a reader.
    std::fs::File::options().read(true).write(true).open(&path).unwrap();
    let account = stopped.expect("a sender waits for the file");
    assert_eq!((dropped(&account, Reason::Stopped), account.queued), (1, Counts::NONE));
}

#[tokio::test]
async fn a_destination_on_its_way_out_gets_no_more_time_than_the_process() {
    let receiver = FakeReceiver::refusing(Reply::never()).await;
    for durability in ["memory", "disk"] {
        let folder = tempfile::tempdir().unwrap();
        let world = World::start_in(
            &format!(
                "remote_write: [{{ name: r, url: {:?}, \
                 queue_config: {{ batch_send_deadline: 5ms }}, delivery: {{ \
                 durability: {durability}, disk: {{ min_free_size: 1MB }} }} }}]",
                receiver.url()
            ),
            folder.path(),
        );
        let mut target = world.target("a", 10);
        world.scrape(&mut target, 1);
        let destination = world.destination("r");
        world.forwarder.apply(config("remote_write: []")).unwrap();
        world.forwarder.drained(Duration::from_millis(20)).await;
        assert!(destination.ended.is_cancelled());
        let account = destination.ledger.balance();
        let lost = account.dropped(Reason::Stopped);
        let want = if durability == "disk" { (TEN, Counts::NONE) } else { (Counts::NONE, TEN) };
        assert_eq!((account.queued, lost), want, "{durability}");
    }
}
