//! Versions that grow with the clock, and ids that nobody else makes.
//!
//! A version is `unix_ms << 20 | counter << 8 | mark`: unique in this process, growing even when
//! the clock is set back, and after a restart greater than all before it unless the clock was set
//! back by more than the process was down. `mark` is chance per process, so that two replicas do
//! not make the same version in the same millisecond.

use crate::object::ResourceVersion;

/// Bits below the milliseconds.
const COUNTER_BITS: u32 = 20;
/// Of those, the ones that belong to the process.
const MARK_BITS: u32 = 8;

/// Makes versions and ids.
#[derive(Debug)]
pub(crate) struct Versions {
    last: u64,
    mark: u64,
    chance: u64,
}

// === impl Versions ===

impl Versions {
    /// `seed` is chance, other in every process.
    pub(crate) fn new(seed: u64) -> Versions {
        let mark = seed & ((1 << MARK_BITS) - 1);
        Versions { last: mark, mark, chance: seed }
    }

    /// The next version: greater than all before, and not before `unix_ms`.
    pub(crate) fn next(&mut self, unix_ms: i64) -> ResourceVersion {
        let ms = u64::try_from(unix_ms).unwrap_or(0).min(u64::MAX >> (COUNTER_BITS + 1));
        let now = ms << COUNTER_BITS | self.mark;
        self.last = now.max(self.last + (1 << MARK_BITS));
        ResourceVersion(self.last)
    }

    /// A new object's id.
    pub(crate) fn uid(&mut self) -> u128 {
        u128::from(self.split_mix()) << 64 | u128::from(self.split_mix())
    }

    /// SplitMix64, by Guy Steele, Doug Lea and Christine Flood.
    fn split_mix(&mut self) -> u64 {
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.chance;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_grow_when_the_clock_stands_still_or_is_set_back() {
        let mut versions = Versions::new(7);
        let times = [5_000, 5_000, 4_000, -3, 5_001, 5_001];
        let made: Vec<u64> = times.iter().map(|ms| versions.next(*ms).0).collect();
        assert!(made.windows(2).all(|pair| pair[0] < pair[1]), "{made:?}");
        assert_eq!(made[0], 5_000 << 20 | 7);
        assert_eq!(made[4], 5_001 << 20 | 7);
    }

    #[test]
    fn a_millisecond_with_more_changes_than_it_has_versions_runs_ahead_of_the_clock() {
        let mut versions = Versions::new(1);
        let last = (0..10_000).map(|_| versions.next(5_000)).last().unwrap();
        assert!(last.0 >> 20 > 5_000);
        assert!(versions.next(5_000) > last);
    }

    #[test]
    fn two_processes_make_different_versions_and_ids() {
        let (mut a, mut b) = (Versions::new(1), Versions::new(2));
        assert_ne!(a.next(5_000), b.next(5_000));
        assert_ne!(a.uid(), b.uid());
        assert_ne!(a.uid(), a.uid());
    }
}
