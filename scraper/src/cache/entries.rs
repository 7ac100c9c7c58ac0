//! Pages of formats that are not read line by line: every sample comes taken apart, with a key.
//!
//! Keys are remembered as lines are, so that labels are decided once in the life of a series and
//! the layout stays the same as long as the series do.

use model::{ABSENT, Exemplar};

use super::PageFault;
use super::families::Described;
use super::plan::Place;
use super::rebuild::Rebuild;
use crate::exposition::native::{AnyNative, NativeError, NativeLimits};
use crate::exposition::{Entries, Entry, EntryValue, Metadata, RawExemplar, Sample};

impl Entries for Rebuild<'_> {
    type Fault = PageFault;

    fn metadata(&mut self, metadata: &[Metadata<'_>]) {
        let mut described = Described::default();
        for line in metadata {
            described.hear_plain(*line);
        }
        self.plan.describe(described);
    }

    fn entry(&mut self, entry: Entry<'_>) -> Result<(), PageFault> {
        let Entry { key, exposed, value, timestamp_ms, exemplars, created_ms } = entry;
        let hash = self.task.shared.hash.of(key);
        let old_lines = self.task.old_lines;
        let expected = self.candidates().find(|(line, _)| old_lines.hash(*line) == hash);
        let old = match expected {
            Some((line, _)) => {
                self.expect_after(line);
                Some(line)
            }
            None => self.jump_to(hash),
        };
        self.counts.scraped += 1;
        let rules = self.task.rules;
        let place = self.plan.place(hash, old, |_| Ok(rules.decide(exposed)?))?;
        self.note_line(hash, key.len(), place);
        let (Place::First(series) | Place::Other(series) | Place::Repeat(series)) = place else {
            return Ok(());
        };
        let taken = match value {
            EntryValue::Float(value) => {
                let sample = Sample { value, timestamp_ms, exemplar: None, next: 0 };
                let duplicates = self.gathered.duplicates;
                self.take_sample(place, sample, hash, old.is_none());
                self.gathered.duplicates == duplicates
            }
            EntryValue::Histogram(native) => {
                self.take_histogram(place, *native, timestamp_ms, (hash, old.is_none()))?
            }
        };
        if taken {
            let exemplars = exemplars.into_iter().map(|exemplar| {
                let RawExemplar { labels, value, timestamp_ms } = exemplar;
                (series, Exemplar { labels, value, timestamp_ms })
            });
            self.gathered.exemplars.extend(exemplars);
            if rules.start_timestamps
                && let Some(created_ms) = created_ms
            {
                self.gathered.created.push((series, created_ms));
            }
        }
        Ok(())
    }
}

impl Rebuild<'_> {
    /// Counts a native histogram and keeps it. Says whether it was kept.
    fn take_histogram(
        &mut self,
        place: Place,
        native: AnyNative,
        timestamp_ms: Option<i64>,
        (hash, is_new_line): (u64, bool),
    ) -> Result<bool, PageFault> {
        let rules = self.task.rules;
        let own_ms = timestamp_ms.filter(|_| rules.honor_timestamps);
        let scrape_ms = self.task.scrape_ms;
        let (series, own_ms) = match place {
            Place::Dropped => return Ok(false),
            Place::First(series) => {
                self.gathered.values.resize(series as usize + 1, ABSENT);
                (series, own_ms)
            }
            Place::Other(series) => (series, Some(own_ms.unwrap_or(scrape_ms))),
            Place::Repeat(_) if own_ms.is_none() => {
                self.gathered.duplicates += 1;
                self.count_sample(place, false, hash, is_new_line);
                return Ok(false);
            }
            Place::Repeat(series) => (series, own_ms),
        };
        let (buckets, factor) =
            (rules.limits.histogram_buckets, rules.histograms.min_bucket_factor);
        match native.finish(NativeLimits::new(buckets, factor)) {
            Ok(histogram) => self.gathered.histograms.push((series, own_ms, histogram)),
            Err(NativeError::BucketLimit) => {
                self.bucket_limit_hit = true;
                self.count_sample(place, false, hash, is_new_line);
                return Ok(false);
            }
            Err(error @ NativeError::Invalid(_)) => return Err(PageFault::Histogram(error)),
        }
        self.count_sample(place, true, hash, is_new_line);
        Ok(true)
    }
}
