//! What a durable destination found on disk when it started: sent before anything that came since.
//! (Unless the destination wants the newest first: then beside it.)
//!
//! The shards that wrote it are there again, set after set: within a set they send side by side,
//! and a set begins when the one before it has ended. So every series keeps its order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Destination;
use crate::disk::{Opened, Waits};
use crate::queue::{Found, Origin};
use crate::sender::{Before, Sender};
use crate::shard::Shard;

/// What the log's thread says.
pub(super) type Told = mpsc::Receiver<Opened>;

/// Sends what is on disk when `before` has ended, and then tells `sent`. A log that cannot be
/// opened does not hold up what comes; what it is found to have later is sent beside it.
pub(super) async fn send(
    destination: Arc<Destination>,
    mut told: Told,
    before: Option<Before>,
    sent: CancellationToken,
) {
    let abandoned = destination.abandoned.clone();
    if let Some(before) = before {
        tokio::select! {
            () = before.ended() => {}
            () = abandoned.cancelled() => {}
        }
    }
    let mut failed = false;
    loop {
        let opened = tokio::select! {
            opened = told.recv() => opened,
            () = abandoned.cancelled() => None,
            () = destination.stopping.cancelled(), if failed => break,
        };
        let Some(opened) = opened else {
            // What came since stays behind what is on disk.
            destination.left.store(true, Ordering::Relaxed);
            break;
        };
        opened.book(&destination.ledger);
        match opened {
            Opened::Failed => {
                failed = true;
                sent.cancel();
            }
            Opened::Found { waiting, .. } => {
                send_sets(&destination, &waiting).await;
                break;
            }
        }
    }
    sent.cancel();
}

async fn send_sets(destination: &Arc<Destination>, waiting: &[Waits]) {
    let mut lanes: BTreeMap<Origin, Arc<Shard>> = BTreeMap::new();
    for one in waiting {
        lanes.entry(one.origin).or_insert_with(|| destination.shard_of(one.origin));
    }
    // All of it is in the queue before any is sent: numbers grow as sequences do.
    let now_ms = destination.clock.unix_ms();
    destination.queue.take_in(waiting.iter().map(|one| {
        let Waits { sequence, origin, counts, bytes, newest_ms } = *one;
        let waited_ms = u64::try_from(now_ms.saturating_sub(newest_ms)).unwrap_or(0);
        let waited = Duration::from_millis(waited_ms);
        (lanes[&origin].lane, Found { sequence, counts, bytes, waited })
    }));
    let mut sets: BTreeMap<u32, Vec<_>> = BTreeMap::new();
    for (origin, shard) in lanes {
        sets.entry(origin.set).or_default().push(shard);
    }
    let mut sets: Vec<Vec<_>> = sets.into_values().collect();
    if !destination.keeps_order() {
        sets.reverse();
    }
    for shards in sets {
        let (senders, finish) = (TaskTracker::new(), CancellationToken::new());
        finish.cancel(); // nothing more comes to these
        for shard in shards {
            let (destination, finish) = (Arc::clone(destination), finish.clone());
            let sender = Sender { destination, shard, finish, before: None };
            senders.spawn(sender.run());
        }
        senders.close();
        senders.wait().await;
    }
}
