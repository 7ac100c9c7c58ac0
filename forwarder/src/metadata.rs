//! Metadata of metric families, in requests of its own: how remote write 1.0 carries it.
//!
//! Families are remembered by the `Arc` that layouts share, weakly: one that no layout mentions
//! any more is forgotten by itself. Not here: 2.0, which carries metadata with the samples.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use kit::{Backoff, Chain};
use model::{Family, Layout, MetricType, Selection};
use tracing::warn;

use crate::block::{Block, Compression, Compressor, Counts, Encoding, Format};
use crate::delivery::pause;
use crate::destination::Destination;
use crate::encode::metadata_request;
use crate::module::{self, MetadataPlan, Parcel, SendError, Verdict};

/// Families remembered per destination; more are not announced. A fleet of one exporter has a few
/// hundred.
const FAMILIES_MAX: usize = 100_000;
/// Tries of one request; the next round comes anyway.
const ATTEMPTS_MAX: u32 = 10;

/// The families that a destination was sent samples of.
#[derive(Debug, Default)]
pub(crate) struct SeenFamilies(Mutex<HashMap<usize, Weak<Family>>>);

// === impl SeenFamilies ===

impl SeenFamilies {
    /// Notes the families of the selected series.
    pub(crate) fn see(&self, layout: &Layout, selection: &Selection) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut selected = selection.ranges(layout.len()).peekable();
        let families = layout.families();
        for (at, (first, family)) in families.iter().enumerate() {
            let end = families.get(at + 1).map_or(layout.len(), |(next, _)| *next as usize);
            while selected.next_if(|range| range.end <= *first as usize).is_some() {}
            if selected.peek().is_none_or(|range| range.start >= end) || says_nothing(family) {
                continue;
            }
            let key = Arc::as_ptr(family) as usize;
            let known = seen.get(&key).is_some_and(|known| known.strong_count() > 0);
            if !known && (seen.len() < FAMILIES_MAX || seen.contains_key(&key)) {
                seen.insert(key, Arc::downgrade(family));
            }
        }
    }

    /// The families that some layout still mentions, each text once, by name.
    fn living(&self) -> Vec<Arc<Family>> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|_, family| family.strong_count() > 0);
        let living: HashSet<Arc<Family>> = seen.values().filter_map(Weak::upgrade).collect();
        let mut living: Vec<_> = living.into_iter().collect();
        living.sort_by(|one, other| one.name.cmp(&other.name));
        living
    }
}

fn says_nothing(family: &Family) -> bool {
    family.kind == MetricType::Unknown && family.help.is_empty() && family.unit.is_empty()
}

/// Sends the metadata of all families every interval, while the destination lives and its
/// encoding has no other place for it.
pub(crate) async fn keep_sending(destination: Weak<Destination>, plan: MetadataPlan) {
    loop {
        let Some(abandoned) = destination.upgrade().map(|found| found.abandoned.clone()) else {
            return;
        };
        pause(plan.interval, &abandoned).await;
        let Some(destination) = destination.upgrade().filter(|_| !abandoned.is_cancelled()) else {
            return;
        };
        // Asked also when nothing is to be sent: then those are forgotten that are no more.
        let living = destination.families.living();
        if destination.module.format().encoding == Encoding::RemoteWrite1 {
            for families in living.chunks(plan.families_max.max(1)) {
                for part in 0..destination.config.parts {
                    send(&destination, families, part).await;
                }
            }
        }
    }
}

async fn send(destination: &Destination, families: &[Arc<Family>], part: usize) {
    let Destination { module, meters, config, abandoned, .. } = destination;
    let bytes = metadata_request(families.iter().map(|family| &**family)).into();
    let format = Format { encoding: Encoding::RemoteWrite1, compression: Compression::None };
    let counts = Counts::default();
    let block = Block { format, bytes, counts, oldest_ms: 0, newest_ms: 0 };
    let packed = Compressor::default().pack(block, module.format().compression);
    let Ok(Block { format, bytes, .. }) = packed else { return };
    let count = families.len() as u64;
    let mut backoff = Backoff::new(config.queue.backoff_min, config.queue.backoff_max);
    for attempt in 0..ATTEMPTS_MAX {
        let bytes = bytes.clone();
        let parcel = Parcel { bytes, format, counts, families: count, attempt, part };
        let verdict = tokio::select! {
            sent = module::send(&**module, &parcel) => {
                sent.unwrap_or(Verdict::Refused { why: SendError::Panic })
            }
            () = abandoned.cancelled() => return,
        };
        let (after, why) = match verdict {
            Verdict::Delivered { .. } => {
                return meters.metadata.delivered(count, parcel.bytes.len());
            }
            Verdict::Retry { after, why } => (after, why),
            Verdict::Refused { why } | Verdict::OtherFormat { why } => {
                warn!(destination = %config.name, error = %Chain(&why), "metadata was refused");
                break;
            }
        };
        if attempt == 0 {
            warn!(destination = %config.name, error = %Chain(&why), "sending metadata failed");
        }
        meters.metadata.retried(count);
        pause(after.unwrap_or_else(|| backoff.next_wait()), abandoned).await;
    }
    meters.metadata.failed(count);
}
