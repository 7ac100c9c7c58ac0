//! Classic histograms made into native ones with custom bounds.
//!
//! The rules are those of Prometheus' `util/convertnhcb`.

use model::ResetHint;

use super::native::{AnyNative, Buckets, CUSTOM_SCHEMA, Count, Native, NativeError};

/// The samples of one classic histogram, as far as they were seen.
#[derive(Debug, Clone, Default)]
pub(crate) struct Classic {
    /// Upper bound and cumulative count, in ascending order.
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
    error: Option<ClassicError>,
}

/// Why the samples make no histogram.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum ClassicError {
    /// A bound is NaN.
    #[error("bucket boundary must not be NaN")]
    NanBound,
    /// A bucket's count is negative.
    #[error("bucket count must be non-negative: le={le}, count={count}")]
    NegativeBucket {
        /// The bound.
        le: f64,
        /// The count.
        count: f64,
    },
    /// The count of the whole is negative.
    #[error("count must be non-negative: count={0}")]
    NegativeCount(f64),
    /// A bucket has fewer observations than one below it.
    #[error("count is not cumulative: {0} and {1}")]
    NotCumulative(f64, f64),
    /// The last bucket and the count differ.
    #[error("count mismatch: count={count} != le={le} count={in_buckets}")]
    CountMismatch {
        /// The count of the whole.
        count: f64,
        /// The last bound.
        le: f64,
        /// What its bucket counts.
        in_buckets: f64,
    },
    /// What came out is not valid.
    #[error(transparent)]
    Native(#[from] NativeError),
}

/// Empty buckets that are rather kept than a span begun, with integer counts.
const INTEGER_GAP_MAX: i32 = 2;

impl Classic {
    /// A `_bucket` sample.
    pub(crate) fn bucket(&mut self, le: f64, count: f64) {
        if self.error.is_some() {
            return;
        }
        if le.is_nan() {
            self.error = Some(ClassicError::NanBound);
        } else if count < 0.0 {
            self.error = Some(ClassicError::NegativeBucket { le, count });
        } else {
            self.insert(le, count);
        }
    }

    /// The `_count` sample.
    pub(crate) fn count(&mut self, count: f64) {
        if self.error.is_some() {
            return;
        }
        if count < 0.0 {
            self.error = Some(ClassicError::NegativeCount(count));
        } else {
            self.count = Some(count);
        }
    }

    /// The `_sum` sample.
    pub(crate) fn sum(&mut self, sum: f64) {
        self.sum = sum;
    }

    /// The native histogram.
    ///
    /// # Errors
    /// When the samples do not fit together.
    pub(crate) fn convert(mut self, reset_hint: ResetHint) -> Result<AnyNative, ClassicError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let count = match (self.count, self.buckets.last()) {
            (Some(count), _) => count,
            (None, Some((_, last))) => *last,
            (None, None) => 0.0,
        };
        if self.buckets.last().is_none_or(|(le, _)| *le != f64::INFINITY) {
            self.buckets.push((f64::INFINITY, count));
        }
        let (le, in_buckets) = self.buckets[self.buckets.len() - 1];
        if count != in_buckets {
            return Err(ClassicError::CountMismatch { count, le, in_buckets });
        }
        let integers = self.buckets.iter().all(|(_, count)| is_integer(*count));
        if integers && is_integer(count) {
            let mut native = self.native(reset_hint, count as i64, |count| count as i64);
            native.positive.fill_gaps(INTEGER_GAP_MAX);
            native.check()?;
            Ok(AnyNative::Integer(native))
        } else {
            let native = self.native(reset_hint, count, |count| count);
            native.check()?;
            Ok(AnyNative::Float(native))
        }
    }

    fn insert(&mut self, le: f64, count: f64) {
        let at = self.buckets.partition_point(|(bound, _)| *bound < le);
        if self.buckets.get(at).is_some_and(|(bound, _)| *bound == le) {
            return; // A duplicate: the first one counts.
        }
        let below = at.checked_sub(1).map_or(0.0, |below| self.buckets[below].1);
        if count < below {
            self.error = Some(ClassicError::NotCumulative(count, below));
            return;
        }
        if let Some((_, above)) = self.buckets.get(at)
            && count > *above
        {
            self.error = Some(ClassicError::NotCumulative(count, *above));
            return;
        }
        self.buckets.insert(at, (le, count));
    }

    fn native<N: Count + std::ops::Sub<Output = N>>(
        &self,
        reset_hint: ResetHint,
        count: N,
        of: impl Fn(f64) -> N,
    ) -> Native<N> {
        let mut before = N::default();
        let buckets = self.buckets.iter().enumerate().map(|(at, (_, cumulative))| {
            let cumulative = of(*cumulative);
            let own = cumulative - before;
            before = cumulative;
            (at as i32, own)
        });
        let mut positive = Buckets(buckets.collect());
        positive.compact();
        let bounds = self.buckets.iter().map(|(le, _)| *le).filter(|le| *le != f64::INFINITY);
        Native {
            reset_hint,
            schema: CUSTOM_SCHEMA,
            zero_threshold: 0.0,
            zero_count: N::default(),
            count,
            sum: self.sum,
            positive,
            negative: Buckets::default(),
            custom_bounds: bounds.collect(),
        }
    }
}

/// Whether a count can be kept as an integer without loss.
fn is_integer(count: f64) -> bool {
    count == (count.round() as i64) as f64
}

#[cfg(test)]
mod tests {
    use model::{Histogram, HistogramCounts};

    use super::super::native::NativeLimits;
    use super::*;

    const NO_LIMITS: NativeLimits = NativeLimits { buckets: 0, schema: 8 };

    fn converted(buckets: &[(f64, f64)], count: Option<f64>) -> Result<Histogram, ClassicError> {
        let mut classic = Classic::default();
        for (le, count) in buckets {
            classic.bucket(*le, *count);
        }
        if let Some(count) = count {
            classic.count(count);
        }
        classic.sum(10.0);
        let native = classic.convert(ResetHint::Unknown)?;
        Ok(native.finish(NO_LIMITS)?)
    }

    #[test]
    fn buckets_become_custom_bounds_and_own_counts() {
        let histogram =
            converted(&[(1.0, 2.0), (5.0, 2.0), (f64::INFINITY, 5.0)], Some(5.0)).unwrap();
        assert_eq!((histogram.schema, histogram.sum), (CUSTOM_SCHEMA, 10.0));
        assert_eq!(histogram.custom_bounds, [1.0, 5.0]);
        let HistogramCounts::Integer { count, positive_deltas, .. } = histogram.counts else {
            panic!("integer counts");
        };
        assert_eq!((count, positive_deltas), (5, vec![2, -2, 3]));
        assert_eq!(histogram.positive_spans.len(), 1);
    }

    #[test]
    fn many_empty_buckets_begin_a_new_span() {
        let bounds = [1.0, 2.0, 3.0, 4.0, 5.0, f64::INFINITY];
        let buckets = bounds.map(|le| (le, if le < 5.0 { 1.0 } else { 2.0 }));
        let histogram = converted(&buckets, None).unwrap();
        let spans: Vec<_> =
            histogram.positive_spans.iter().map(|span| (span.offset, span.length)).collect();
        assert_eq!(spans, [(0, 1), (3, 1)]);
    }

    #[test]
    fn fractions_make_float_counts() {
        let histogram = converted(&[(1.0, 0.5)], Some(1.5)).unwrap();
        let HistogramCounts::Float { count, positive, .. } = histogram.counts else {
            panic!("float counts");
        };
        assert_eq!((count, positive), (1.5, vec![0.5, 1.0]));
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        let refused = |buckets: &[(f64, f64)], count| {
            converted(buckets, count).expect_err("refused").to_string()
        };
        assert_eq!(refused(&[(f64::NAN, 1.0)], None), "bucket boundary must not be NaN");
        assert!(refused(&[(1.0, 2.0), (2.0, 1.0)], None).starts_with("count is not cumulative"));
        assert!(refused(&[(1.0, -2.0)], None).starts_with("bucket count must be non-negative"));
        assert!(refused(&[(f64::INFINITY, 1.0)], Some(2.0)).starts_with("count mismatch"));
        assert!(refused(&[], Some(-1.0)).starts_with("count must be non-negative"));
    }
}
