//! Which shard each series of a source goes to, where a source is spread series by series.

use std::sync::Arc;

use model::Layout;

/// Which shard each series of a large source goes to.
#[derive(Debug)]
pub(super) struct Scatter {
    /// By shard: its series, ascending.
    by_shard: Vec<Box<[u32]>>,
    parts: usize,
}

// === impl Scatter ===

impl Scatter {
    /// By the text of each series' labels, so that a series keeps its shard over layouts, and its
    /// part over everything: the number of shards, restarts, and mostly one more part.
    pub(super) fn new(layout: &Arc<Layout>, shards: usize, parts: usize) -> Scatter {
        let table = layout.symbols().read();
        let mut by_shard = vec![Vec::new(); shards];
        for at in 0..layout.len() {
            let hash = layout.pairs(at).fold(0_u64, |hash, id| {
                hash.rotate_left(21) ^ rapidhash::v3::rapidhash_v3(table.framed(id))
            });
            let (part, within) = (part_of(hash, parts), hash % (shards / parts) as u64);
            by_shard[part + parts * within as usize].push(at as u32);
        }
        Scatter { by_shard: by_shard.into_iter().map(Vec::into_boxed_slice).collect(), parts }
    }

    /// For how many shards, and parts, it is.
    pub(super) fn over(&self) -> (usize, usize) {
        (self.by_shard.len(), self.parts)
    }

    /// The series of one shard.
    pub(super) fn of_shard(&self, shard: usize) -> &[u32] {
        &self.by_shard[shard]
    }
}

/// Which of `parts` a hash belongs to. One part more takes its share from all others, and nothing
/// moves between those (Lamping and Veach, "A Fast, Minimal Memory, Consistent Hash Algorithm").
fn part_of(mut hash: u64, parts: usize) -> usize {
    let (mut part, mut next) = (0, 0_u64);
    while next < parts as u64 {
        part = next;
        hash = hash.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        let jump = (1_u64 << 31) as f64 / ((hash >> 33) + 1) as f64;
        next = ((part + 1) as f64 * jump) as u64;
    }
    part as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_part_more_moves_only_what_it_gets() {
        let hashes = || (0..10_000_u64).map(|n| rapidhash::v3::rapidhash_v3(&n.to_le_bytes()));
        for parts in 1..8 {
            let mut counts = vec![0; parts + 1];
            for hash in hashes() {
                let (before, after) = (part_of(hash, parts), part_of(hash, parts + 1));
                assert!(before < parts && (after == before || after == parts));
                counts[after] += 1;
            }
            let fair = 10_000 / (parts + 1);
            assert!(counts.iter().all(|count| (fair * 8 / 10..fair * 12 / 10).contains(count)));
        }
    }
}
