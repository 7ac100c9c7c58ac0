//! Order, limits, and what a block's place on disk changes.

use bytes::Bytes;
use kit::ManualClock;

use super::*;
use crate::block::{Compression, Encoding, Format};

const NO_LIMITS: Limits = Limits {
    samples_max: u64::MAX,
    bytes_max: u64::MAX,
    spill_bytes: u64::MAX,
    unwritten_for: Duration::ZERO,
};

fn block(name: u8, samples: u64) -> Block {
    let format = Format { encoding: Encoding::RemoteWrite1, compression: Compression::Snappy };
    let bytes = Bytes::from(vec![name; 100]);
    let counts = Counts { samples, ..Counts::default() };
    Block { format, bytes, counts, oldest_ms: 0, newest_ms: 0 }
}

fn queue_of(limits: Limits, keeper: Option<Keeper>) -> (Queue, Arc<Ledger>) {
    let ledger = Arc::new(Ledger::default());
    let (order, clock) = (Order::OldestFirst, ManualClock::at(0));
    (Queue::new(limits, order, Arc::clone(&ledger), clock, keeper), ledger)
}

fn queue(samples_max: u64, bytes_max: u64) -> (Queue, Arc<Ledger>) {
    queue_of(Limits { samples_max, bytes_max, spill_bytes: u64::MAX, ..NO_LIMITS }, None)
}

fn durable(bytes_max: u64, spill_bytes: u64) -> (Queue, Arc<Ledger>) {
    queue_of(Limits { bytes_max, spill_bytes, ..NO_LIMITS }, Some(Keeper::default()))
}

thread_local! {
    static NUMBERS: Numbers = Numbers::default();
}

fn push(queue: &Queue, ledger: &Ledger, lane: Lane, block: Block) {
    ledger.accept(block.counts, &[]);
    NUMBERS.with(|numbers| numbers.give(|number| queue.push(lane, number, block, Instant::now())));
}

/// The name of the next block of the lane, or its sequence on disk; and its number.
fn pop(queue: &Queue, lane: Lane) -> Option<(u64, Number)> {
    let taken = queue.pop(lane)?;
    match taken.place {
        Place::Memory(block) => Some((u64::from(block.bytes[0]), taken.number)),
        Place::Disk(sequence) => Some((1000 + sequence, taken.number)),
    }
}

/// Writes everything that is not written; the first gets this sequence.
fn write_all(queue: &Queue, mut sequence: u64) {
    while let Some((number, _, _)) = queue.next_unwritten() {
        queue.written(number, sequence);
        sequence += 1;
    }
}

#[test]
fn the_oldest_block_of_all_lanes_is_dropped_first_and_counted() {
    let (queue, ledger) = queue(30, u64::MAX);
    let (one, two) = (queue.open_lane(Origin::default()), queue.open_lane(Origin::default()));
    push(&queue, &ledger, two, block(1, 10));
    push(&queue, &ledger, one, block(2, 10));
    push(&queue, &ledger, two, block(3, 10));
    push(&queue, &ledger, one, block(4, 15));
    assert_eq!(ledger.balance().dropped(Reason::QueueFull).samples, 20);
    assert_eq!(pop(&queue, one).unwrap().0, 4);
    assert_eq!(pop(&queue, two).unwrap().0, 3);
    assert!(queue.pop(two).is_none());
}

#[test]
fn a_block_being_sent_still_weighs_and_is_not_dropped() {
    let (queue, ledger) = queue(u64::MAX, 250);
    let lane = queue.open_lane(Origin::default());
    push(&queue, &ledger, lane, block(1, 1));
    let (_, sending) = pop(&queue, lane).unwrap();
    for name in 2..5 {
        push(&queue, &ledger, lane, block(name, 1));
    }
    assert_eq!(ledger.balance().dropped(Reason::QueueFull).samples, 2);
    assert_eq!(queue.load().blocks, 2);
    queue.done(sending);
    assert_eq!(queue.load().bytes, 100);
    assert_eq!(pop(&queue, lane).unwrap().0, 4);
}

#[test]
fn what_is_in_no_log_at_the_end_is_counted_as_stopped() {
    let (queue, ledger) = queue(u64::MAX, u64::MAX);
    let lane = queue.open_lane(Origin::default());
    push(&queue, &ledger, lane, block(1, 7));
    queue.close_lane(lane);
    push(&queue, &ledger, lane, block(2, 5));
    assert_eq!((queue.leave(), queue.stopped()), (0, 12));
    assert_eq!(ledger.balance().dropped(Reason::Stopped).samples, 12);
    assert_eq!(queue.load(), Load::default());
}

#[test]
fn a_block_that_comes_when_its_sender_has_left_is_still_of_its_shard() {
    let (queue, ledger) = durable(1000, 1000);
    let origin = Origin { set: 3, shard: 2 };
    let lane = queue.open_lane(origin);
    queue.close_lane(lane);
    push(&queue, &ledger, lane, block(1, 1));
    assert_eq!(queue.next_unwritten().unwrap().2, origin);
}

#[test]
fn the_newest_may_leave_first_and_what_is_given_back_keeps_its_place() {
    let limits = Limits { samples_max: 41, ..NO_LIMITS };
    let ledger = Arc::new(Ledger::default());
    let clock = ManualClock::at(0);
    let queue = Queue::new(limits, Order::NewestFirst, Arc::clone(&ledger), clock, None);
    let lane = queue.open_lane(Origin::default());
    (1..=5).for_each(|name| push(&queue, &ledger, lane, block(name, 10)));
    assert_eq!(ledger.balance().dropped(Reason::QueueFull).samples, 10);
    let (five, four) = (pop(&queue, lane).unwrap(), pop(&queue, lane).unwrap());
    assert_eq!((five.0, four.0), (5, 4));
    push(&queue, &ledger, lane, block(6, 1));
    queue.give_back(four.1, Counts { samples: 3, ..Counts::default() });
    queue.done(five.1);
    let order: Vec<u64> = std::iter::from_fn(|| pop(&queue, lane)).map(|(name, _)| name).collect();
    assert_eq!(order, [6, 4, 3, 2]);
    assert_eq!(queue.load().samples, 10 + 10 + 3 + 1);
}

#[test]
fn what_is_on_disk_gives_up_its_memory_and_nothing_is_dropped() {
    let (queue, ledger) = durable(1000, 250);
    let lane = queue.open_lane(Origin::default());
    for name in 1..=20 {
        push(&queue, &ledger, lane, block(name, 1));
        write_all(&queue, u64::from(name));
    }
    assert_eq!(ledger.balance().dropped_in_all(), Counts::default());
    let load = queue.load();
    assert_eq!((load.blocks, load.bytes, load.memory_bytes), (20, 2000, 200));
    let order: Vec<u64> = std::iter::from_fn(|| pop(&queue, lane)).map(|(name, _)| name).collect();
    assert_eq!(order[..4], [1, 2, 1003, 1004]);
    assert_eq!(order.len(), 20);
}

#[test]
fn a_disk_that_refuses_leaves_the_limits_of_memory() {
    let (queue, ledger) = durable(300, 100);
    let lane = queue.open_lane(Origin::default());
    (1..=5).for_each(|name| push(&queue, &ledger, lane, block(name, 1)));
    assert_eq!(ledger.balance().dropped(Reason::QueueFull).samples, 2);
    assert_eq!(queue.next_unwritten().unwrap().1.bytes[0], 3);
    assert_eq!(queue.unwritten(), 3);
}

#[test]
fn a_block_delivered_before_it_was_written_is_finished_on_disk_at_once() {
    let (queue, ledger) = durable(1000, 1000);
    let lane = queue.open_lane(Origin::default());
    push(&queue, &ledger, lane, block(1, 1));
    let (number, _, _) = queue.next_unwritten().unwrap();
    let (_, sent) = pop(&queue, lane).unwrap();
    queue.done(sent);
    queue.written(number, 7);
    assert_eq!(queue.take_finished(), [7]);
    assert_eq!(queue.load(), Load::default());
}

#[test]
fn what_a_restart_found_leaves_before_what_came_since_and_what_the_log_forgot_is_counted() {
    let (queue, ledger) = durable(1000, 0);
    let (old, new) = (queue.open_lane(Origin::default()), queue.open_lane(Origin::default()));
    push(&queue, &ledger, new, block(1, 5));
    let counts = Counts { samples: 10, ..Counts::default() };
    let waited = Duration::from_secs(9);
    let found = |sequence| (old, Found { sequence, counts, bytes: 50, waited });
    ledger.recover(Counts { samples: 30, ..Counts::default() });
    queue.take_in([found(3), found(4), found(5)].into_iter());
    write_all(&queue, 6);
    assert_eq!(queue.load().oldest, Some(waited));
    queue.forgotten(5, Reason::QueueFull);
    assert_eq!(ledger.balance().dropped(Reason::QueueFull).samples, 20);
    assert_eq!(pop(&queue, old).unwrap().0, 1005);
    assert_eq!(pop(&queue, new).unwrap().0, 1006);
    assert_eq!(queue.leave(), 15);
    let account = ledger.balance();
    assert_eq!((account.queued.samples, account.dropped(Reason::Stopped).samples), (15, 0));
    // The successor in the same process finds it again, and counts it once.
    ledger.recover(Counts { samples: 15, ..Counts::default() });
    assert_eq!((ledger.balance().queued.samples, ledger.balance().accepted.samples), (15, 35));
}

#[test]
fn what_a_cap_of_the_log_does_not_cover_does_not_wait_in_memory_either() {
    let (queue, ledger) = durable(u64::MAX, u64::MAX);
    let lane = queue.open_lane(Origin::default());
    (0..3).for_each(|name| push(&queue, &ledger, lane, block(name, 10)));
    write_all(&queue, 1);
    assert_eq!(pop(&queue, lane).unwrap().0, 0); // on its way: it may arrive
    queue.forgotten(3, Reason::TooOld);
    assert_eq!(ledger.balance().dropped(Reason::TooOld).samples, 10);
    assert_eq!(pop(&queue, lane).unwrap().0, 2);
}

#[test]
fn what_the_log_forgot_before_it_was_taken_in_is_dropped_for_the_logs_reason() {
    let (queue, ledger) = durable(u64::MAX, u64::MAX);
    let lane = queue.open_lane(Origin::default());
    let counts = Counts { samples: 10, ..Counts::default() };
    ledger.recover(counts + counts + counts);
    queue.forgotten(3, Reason::TooOld);
    let (bytes, waited) = (100, Duration::ZERO);
    queue.take_in((1..=3).map(|sequence| (lane, Found { sequence, counts, bytes, waited })));
    assert_eq!(ledger.balance().dropped(Reason::TooOld).samples, 20);
    assert_eq!(pop(&queue, lane).unwrap().0, 1003);
}

#[test]
fn when_the_log_vanishes_what_is_in_memory_is_written_again_and_the_rest_is_lost() {
    let (queue, ledger) = durable(u64::MAX, 150);
    let lane = queue.open_lane(Origin::default());
    (0..3).for_each(|name| push(&queue, &ledger, lane, block(name, 10)));
    write_all(&queue, 1); // two of them are on disk alone
    assert_eq!(queue.look_for(|sequence| sequence == 1), 10);
    assert_eq!(ledger.balance().dropped(Reason::Damaged).samples, 10);
    assert_eq!((queue.unwritten(), queue.load().blocks), (1, 2));
    assert_eq!(pop(&queue, lane).unwrap().0, 1001);
    assert_eq!(pop(&queue, lane).unwrap().0, 2);
}
