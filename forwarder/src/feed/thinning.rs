//! `min_interval`: of each source one batch is taken in each span of time, so of each series one
//! sample. `max_interval`: a series of which a sample was taken in a span of time is left out while
//! its value stays the same.
//!
//! What ends a series is taken at any time, and so is the batch with which a scrape begins to
//! fail or to succeed: nobody must think for a minute that a dead host lives.

use std::sync::Arc;
use std::time::Duration;

use model::{ABSENT, Batch, LayoutId, Outcome, Samples, is_absent, is_stale_marker};

use super::append::Page;

/// What is remembered of one source.
#[derive(Debug, Default)]
pub(super) struct Thinning {
    /// Which span the last batch taken was in, and whether its scrape succeeded.
    last: Option<(i64, bool)>,
}

// === impl Thinning ===

impl Thinning {
    /// Whether the batch comes too soon after another.
    pub(super) fn is_too_soon(&mut self, batch: &Batch, interval: Option<Duration>) -> bool {
        let Some(interval) = interval else { return false };
        let now = (span(batch.timestamp_ms, interval), batch.outcome == Outcome::Complete);
        self.last.replace(now) == Some(now)
    }
}

/// The values of one layout that were taken last; absent where none was in the span.
#[derive(Debug)]
pub(super) struct Taken {
    span: i64,
    layout: LayoutId,
    values: Box<[f64]>,
}

impl Taken {
    /// The samples of `page` without the values that are as they were in `last`, which is brought up
    /// to date; `None` if all are to be taken: they are the first of a span, or of a layout.
    pub(super) fn changed(
        last: &mut Option<Taken>,
        page: &Page<'_>,
        interval: Duration,
    ) -> Option<Samples> {
        let Page { samples, timestamp_ms, .. } = *page;
        let span = span(timestamp_ms, interval);
        let layout = samples.layout.id();
        let known = last.as_mut().filter(|last| last.span == span && last.layout == layout);
        let Some(last) = known else {
            let values = vec![ABSENT; samples.values.len()].into();
            last.insert(Taken { span, layout, values }).note(page);
            return None;
        };
        let values = samples.values.iter().zip(&last.values).map(|(value, last)| {
            let same = value.to_bits() == last.to_bits();
            if same { ABSENT } else { *value }
        });
        let values = values.collect();
        last.note(page);
        Some(Samples {
            role: samples.role,
            layout: Arc::clone(&samples.layout),
            carried: None, // the layout is the one before
            values,
            stamped: samples.stamped.clone(),
            histograms: samples.histograms.clone(),
            exemplars: samples.exemplars.clone(),
            created: samples.created.clone(),
        })
    }

    /// Brings the values up to date. Those of series that are shed now are still to be taken.
    fn note(&mut self, page: &Page<'_>) {
        for run in page.plan.runs().iter().filter(|run| !page.sheds(run)) {
            let series = run.series.start as usize..run.series.end as usize;
            let values = page.samples.values[series.clone()].iter();
            for (last, value) in self.values[series].iter_mut().zip(values) {
                if !is_absent(*value) {
                    *last = *value;
                }
            }
        }
    }
}

/// Which span a time is in. Spans begin at multiples of the interval.
fn span(timestamp_ms: i64, interval: Duration) -> i64 {
    timestamp_ms.div_euclid(i64::try_from(interval.as_millis()).unwrap_or(i64::MAX).max(1))
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
