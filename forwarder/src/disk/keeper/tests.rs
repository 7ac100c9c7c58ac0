//! What the thread of a log does when things go wrong around it.

use std::path::Path;
use std::sync::mpsc as channel;

use kit::ManualClock;
use model::Moment;
use testkit::{DEADLINE, wait_until};
use tokio::time::timeout;

use super::*;
use crate::block::{Block, Compression, Counts, Encoding, Format};
use crate::disk::Log;
use crate::queue::{self, Order, Origin};

/// A clock that waits for word, and then fails.
struct FailingClock(Mutex<channel::Receiver<()>>);

impl Clock for FailingClock {
    fn now(&self) -> Moment {
        Moment(1)
    }

    fn unix_ms(&self) -> i64 {
        self.0.lock().unwrap().recv().expect("the clock fails");
        0
    }
}

fn limits() -> Limits {
    let (segment_bytes, bytes_max, records_max) = (1 << 20, u64::MAX, usize::MAX);
    Limits { segment_bytes, bytes_max, records_max, age_ms_max: i64::MAX, free_bytes_min: 0 }
}

/// Starts the thread for one reader.
fn start(
    folder: &Path,
    clock: Arc<dyn Clock>,
    after: Vec<CancellationToken>,
) -> (Keeper, mpsc::Receiver<Opened>) {
    let (keeper, told, _) = start_with_queue(folder, clock, after);
    (keeper, told)
}

/// The same, and the reader's queue.
fn start_with_queue(
    folder: &Path,
    clock: Arc<dyn Clock>,
    after: Vec<CancellationToken>,
) -> (Keeper, mpsc::Receiver<Opened>, Arc<Queue>) {
    let keeper = Keeper::default();
    let limits_in_memory = queue::Limits {
        samples_max: u64::MAX,
        bytes_max: u64::MAX,
        spill_bytes: u64::MAX,
        unwritten_for: Duration::ZERO,
    };
    let (order, ledger) = (Order::OldestFirst, Arc::default());
    let (of_queue, in_queue) = (Arc::clone(&clock), Some(keeper.clone()));
    let queue = Arc::new(Queue::new(limits_in_memory, order, ledger, of_queue, in_queue));
    let (destination, name) = ("central".to_owned(), "central".to_owned());
    let config = KeeperConfig {
        folder: folder.into(),
        used: Use::Current,
        limits: limits(),
        fsync: Fsync::Never,
        known: Arc::new(["central".to_owned()].into()),
        after,
    };
    let reader = Reader { destination, name, queue: Arc::clone(&queue) };
    let told = keeper.start(config, vec![reader], clock).unwrap().remove(0);
    (keeper, told, queue)
}

#[tokio::test]
async fn a_predecessor_that_takes_its_time_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let (of_predecessor, _) =
        Log::open(folder.path(), limits(), &["central"], &["central".to_owned()].into()).unwrap();
    let ended = CancellationToken::new();
    let (keeper, mut told) = start(folder.path(), ManualClock::at(0), vec![ended.clone()]);
    assert_eq!(keeper.waits_for().len(), 1); // so does its own successor
    tokio::time::sleep(worker::IN_USE_PATIENCE * 2).await;
    drop(of_predecessor);
    ended.cancel();
    let first = told.recv().await.unwrap();
    assert!(matches!(first, Opened::Found { .. }), "{first:?}");
    assert!(keeper.waits_for().is_empty());
    keeper.close().await;
}

/// A predecessor may hold the log for a minute, and its disk be full.
#[tokio::test]
async fn what_is_in_memory_may_not_be_left_while_the_log_is_not_open() {
    let folder = tempfile::tempdir().unwrap();
    let ended = CancellationToken::new();
    let clock = ManualClock::at(0);
    let (keeper, mut told, queue) = start_with_queue(folder.path(), clock, vec![ended.clone()]);
    assert!(keeper.write_all().await); // there is nothing
    let lane = queue.open_lane(Origin::default());
    let format = Format { encoding: Encoding::JsonLines, compression: Compression::None };
    let counts = Counts { samples: 1, ..Counts::NONE };
    let bytes = bytes::Bytes::from_static(b"{}\n");
    let block = Block { format, bytes, counts, oldest_ms: 0, newest_ms: 0 };
    keeper.numbers().give(|number| queue.push(lane, number, block, Instant::now()));
    assert!(!keeper.write_all().await);
    ended.cancel();
    assert!(matches!(told.recv().await, Some(Opened::Found { .. })));
    assert!(keeper.write_all().await);
    keeper.close().await;
}

#[tokio::test]
async fn nobody_waits_for_a_thread_that_has_ended() {
    let folder = tempfile::tempdir().unwrap();
    let (keeper, _) = start(folder.path(), ManualClock::at(0), Vec::new());
    keeper.close().await;
    let read = timeout(DEADLINE, keeper.read(1)).await.expect("it is answered");
    assert!(matches!(read, Err(ReadError::Closed)), "{read:?}");
    assert!(!keeper.write_all().await);
    keeper.close().await;
}

#[tokio::test]
async fn nobody_waits_for_a_thread_that_failed() {
    let folder = tempfile::tempdir().unwrap();
    let (fail, clock) = channel::channel();
    let clock = Arc::new(FailingClock(Mutex::new(clock)));
    let (keeper, mut told) = start(folder.path(), clock, Vec::new());
    assert!(matches!(told.recv().await, Some(Opened::Found { .. })));
    let reader = keeper.clone();
    let reading = tokio::spawn(async move { reader.read(1).await });
    wait_until("it is asked to read", DEADLINE, || async {
        let reads = keeper.0.inbox().reads.len();
        if reads == 1 { Ok(()) } else { Err(format!("{reads} reads")) }
    })
    .await;
    drop(fail);
    let read = timeout(DEADLINE, reading).await.expect("it is answered").unwrap();
    assert!(matches!(read, Err(ReadError::Closed)), "{read:?}");
    keeper.close().await;
    assert!(keeper.stats().failing.load(Ordering::Relaxed));
}
