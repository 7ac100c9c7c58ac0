//! Who a target is, and when in its interval it is scraped: stable over restarts.

use std::time::Duration;

use model::{Labels, LabelsBuilder};

/// A target's identity: equal labels (hidden ones included) and equal URLs make equal targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Identity(u64);

/// Shifts the scrapes of this process against those of its replicas: from the host's name and the
/// external labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct OffsetSeed(u64);

// === impl Identity ===

impl Identity {
    pub(super) fn new(labels: &LabelsBuilder, url: &str) -> Identity {
        let mut hash = Fnv1a::default();
        for (name, value) in labels.iter() {
            hash.write(name.as_bytes());
            hash.write(&[0xff]);
            hash.write(value.as_bytes());
            hash.write(&[0xff]);
        }
        hash.write(url.as_bytes());
        Identity(hash.0)
    }

    /// How long after `now_ms` (milliseconds since the epoch) the target's next turn is. The same
    /// phase whenever it is asked: it hangs on the wall clock.
    pub(crate) fn wait(self, interval: Duration, seed: OffsetSeed, now_ms: i64) -> Duration {
        let interval = interval.as_nanos().max(1);
        let phase = u128::from(self.0 ^ seed.0) % interval;
        let now = now_ms.unsigned_abs() as u128 * 1_000_000 % interval;
        let nanos = (interval - now + phase) % interval;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

// === impl OffsetSeed ===

impl OffsetSeed {
    pub(crate) fn new(host: &str, external_labels: &Labels) -> OffsetSeed {
        let mut hash = Fnv1a::default();
        hash.write(host.as_bytes());
        hash.write(external_labels.to_string().as_bytes());
        OffsetSeed(hash.0)
    }
}

/// FNV-1a, 64 bit: never changes, unlike the hashes that are made for tables.
struct Fnv1a(u64);

impl Default for Fnv1a {
    fn default() -> Fnv1a {
        Fnv1a(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv1a {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(labels: &[(&str, &str)], url: &str) -> Identity {
        Identity::new(&LabelsBuilder::new(&labels.iter().copied().collect()), url)
    }

    #[test]
    fn the_hash_is_fnv_1a() {
        let mut hash = Fnv1a::default();
        hash.write(b"foobar");
        assert_eq!(hash.0, 0x8594_4171_f739_67e8);
    }

    #[test]
    fn labels_and_url_make_the_identity() {
        let one = identity(&[("a", "1")], "http://h/metrics");
        assert_eq!(one, identity(&[("a", "1")], "http://h/metrics"));
        assert_ne!(one, identity(&[("a", "2")], "http://h/metrics"));
        assert_ne!(one, identity(&[("a", "1")], "http://h/metrics?x=1"));
        assert_ne!(identity(&[("a", "1b")], ""), identity(&[("a", "1"), ("b", "")], ""));
    }

    #[test]
    fn the_phase_hangs_on_the_wall_clock_and_the_seed() {
        let interval = Duration::from_secs(15);
        let target = identity(&[("a", "1")], "http://h/metrics");
        let seed = OffsetSeed::new("host", &Labels::default());
        let turn = |now_ms: i64, seed| {
            let wait = target.wait(interval, seed, now_ms);
            assert!(wait < interval);
            (now_ms as u128 * 1_000_000 + wait.as_nanos()) % interval.as_nanos()
        };
        let phase = turn(1_700_000_000_000, seed);
        for now_ms in [1_700_000_000_001, 1_700_000_007_500, 1_700_000_014_999, 1_700_000_999_123] {
            assert_eq!(turn(now_ms, seed), phase);
        }
        let other = OffsetSeed::new("other", &Labels::default());
        assert_ne!(turn(1_700_000_000_000, other), phase);
    }
}
