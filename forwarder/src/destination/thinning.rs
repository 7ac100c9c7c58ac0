//! `min_interval`: of each source one batch is taken in each span of time, so of each series one
//! sample.
//!
//! What ends a series is taken at any time, and so is the batch with which a scrape begins to
//! fail or to succeed: nobody must think for a minute that a dead host lives.

use std::time::Duration;

use model::{Batch, Outcome, Samples, is_absent, is_stale_marker};

/// What is remembered of one source.
#[derive(Debug, Default)]
pub(super) struct Thinning {
    /// Which span the last batch taken was in, and whether its scrape succeeded.
    last: Option<(i64, bool)>,
}

// === impl Thinning ===

impl Thinning {
    /// Whether the batch comes too soon after another. Spans begin at multiples of the interval.
    pub(super) fn is_too_soon(&mut self, batch: &Batch, interval: Option<Duration>) -> bool {
        let Some(interval) = interval else { return false };
        let interval_ms = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX).max(1);
        let span = batch.timestamp_ms.div_euclid(interval_ms);
        let now = (span, batch.outcome == Outcome::Complete);
        self.last.replace(now) == Some(now)
    }
}

/// Whether there is nothing but stale markers.
pub(super) fn only_ends_series(samples: &Samples) -> bool {
    let ends = |value: &f64| is_absent(*value) || is_stale_marker(*value);
    samples.is_plain() && samples.values.iter().all(ends)
}

#[cfg(test)]
mod tests {
    use model::{Labels, Moment, Source};

    use super::*;

    #[test]
    fn one_batch_a_span_is_taken_and_every_change_of_outcome() {
        let mut thinning = Thinning::default();
        let source = Source::new(Labels::default());
        let mut taken = Vec::new();
        for second in 0..14_i64 {
            let outcome = match second {
                7 => Outcome::Failed("timeout".into()),
                _ => Outcome::Complete,
            };
            let (source, sent, samples) = (source.clone(), Moment::default(), Vec::new());
            let timestamp_ms = 998_500 + second * 1000;
            let batch = Batch { source, sent, timestamp_ms, outcome, samples };
            if !thinning.is_too_soon(&batch, Some(Duration::from_secs(10))) {
                taken.push(second);
            }
        }
        assert_eq!(taken, [0, 2, 7, 8, 12]);
    }
}
