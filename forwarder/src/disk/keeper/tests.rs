//! What the thread of a log does when things go wrong around it.

use std::path::Path;
use std::sync::mpsc as channel;

use kit::ManualClock;
use model::Moment;
use testkit::{DEADLINE, wait_until};
use tokio::time::timeout;

use super::*;
use crate::block::{Block, Compression, Counts, Encoding, Format};
use crate::disk::{Log, Unreadable};
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
    let (segment_bytes, bytes_max, records_max) = (1000, u64::MAX, usize::MAX);
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

/// Of one sample.
fn block() -> Block {
    let format = Format { encoding: Encoding::JsonLines, compression: Compression::None };
    let counts = Counts { samples: 1, ..Counts::NONE };
    let bytes = bytes::Bytes::from_static(b"{}\n");
    Block { format, bytes, counts, oldest_ms: 0, newest_ms: 0 }
}

/// What `central` writes to by hand.
fn open(folder: &Path) -> Log {
    let known = ["central".to_owned()].into();
    Log::open(folder, limits(), &["central"], &known, Unreadable::Fails).unwrap().0
}

#[tokio::test]
async fn a_predecessor_that_takes_its_time_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let of_predecessor = open(folder.path());
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
    keeper.numbers().give(|number| queue.push(lane, number, block(), Instant::now()));
    assert!(!keeper.write_all().await);
    ended.cancel();
    assert!(matches!(told.recv().await, Some(Opened::Found { .. })));
    assert!(keeper.write_all().await);
    keeper.close().await;
}

/// A process' memory has no first page, so the system says of it what it says of a bad sector.
#[tokio::test]
async fn a_segment_that_the_disk_does_not_read_holds_the_others_for_a_while_only() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path());
    for _ in 0..30 {
        log.append(&block(), Origin::default()).unwrap();
    }
    drop(log);
    let segments = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let mut segments: Vec<_> =
        segments.filter(|path| path.extension().is_some_and(|ext| ext == "segment")).collect();
    segments.sort();
    assert!(segments.len() > 2, "{segments:?}");
    std::fs::remove_file(&segments[0]).unwrap();
    std::os::unix::fs::symlink("/proc/self/mem", &segments[0]).unwrap();

    let (keeper, mut told) = start(folder.path(), ManualClock::at(0), Vec::new());
    assert!(matches!(told.recv().await, Some(Opened::Failed)));
    let second = timeout(DEADLINE, told.recv()).await.expect("it opens in the end");
    let Some(Opened::Found { waiting, missing }) = second else { panic!("{second:?}") };
    assert!(missing > 0 && waiting.len() as u64 + missing == 30, "{missing} are missing");
    assert_eq!(keeper.stats().damages.load(Ordering::Relaxed), 1);
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
