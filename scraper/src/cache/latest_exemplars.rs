//! The last exemplar of each series: a target shows it again and again until there is a new one,
//! and it is passed on once (Prometheus: `tsdb/agent`, `validateExemplar`).

use std::collections::HashMap;

use model::{Carried, Exemplar, NEW_SERIES};
use rapidhash::v3::rapidhash_v3;

/// Per series a fingerprint of its last exemplar.
#[derive(Debug, Default)]
pub(super) struct LatestExemplars(HashMap<u32, u64>);

impl LatestExemplars {
    /// Keeps those exemplars that their series did not have last. `carried` says where series
    /// were before, if the layout is a new one.
    pub(super) fn keep_new(
        &mut self,
        exemplars: &mut Vec<(u32, Exemplar)>,
        carried: Option<&Carried>,
    ) {
        if let Some(carried) = carried.filter(|_| !self.0.is_empty()) {
            let old = std::mem::take(&mut self.0);
            for (series, before) in carried.index.iter().enumerate() {
                if *before != NEW_SERIES
                    && let Some(last) = old.get(before)
                {
                    self.0.insert(series as u32, *last);
                }
            }
        }
        exemplars.retain(|(series, exemplar)| {
            let print = fingerprint(exemplar);
            self.0.insert(*series, print) != Some(print)
        });
    }

    /// Bytes of memory.
    pub(super) fn memory_bytes(&self) -> usize {
        self.0.capacity() * size_of::<(u32, u64)>()
    }
}

fn fingerprint(exemplar: &Exemplar) -> u64 {
    let timestamp = exemplar.timestamp_ms.map_or(0, |ms| ms as u64 ^ 0x5555);
    let start = exemplar.value.to_bits() ^ timestamp.rotate_left(32);
    exemplar.labels.iter().fold(start, |hash, (name, value)| {
        let pair = rapidhash_v3(name.as_bytes()) ^ rapidhash_v3(value.as_bytes()).rotate_left(32);
        hash.rotate_left(9).wrapping_add(pair)
    })
}
