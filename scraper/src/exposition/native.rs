//! Native histograms: brought into canonical form, checked, and made coarser where a limit asks.
//!
//! Works on absolute counts by bucket index; spans and deltas are made at the end. Rules and words
//! of errors are those of Prometheus' `model/histogram`.

use model::{Histogram, HistogramCounts, ResetHint, Span};

/// A histogram whose counts are of type `N`: `u64`-like integers (as `i64`) or floats.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Native<N> {
    pub(crate) reset_hint: ResetHint,
    pub(crate) schema: i32,
    pub(crate) zero_threshold: f64,
    pub(crate) zero_count: N,
    pub(crate) count: N,
    pub(crate) sum: f64,
    pub(crate) positive: Buckets<N>,
    pub(crate) negative: Buckets<N>,
    /// Upper bounds for [`CUSTOM_SCHEMA`], without +Inf.
    pub(crate) custom_bounds: Vec<f64>,
}

/// A histogram with either type of counts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum AnyNative {
    /// Counts observations.
    Integer(Native<i64>),
    /// Counts by weight, or after arithmetic.
    Float(Native<f64>),
}

/// The buckets of one side: index and absolute count, ascending.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Buckets<N>(pub(crate) Vec<(i32, N)>);

/// What a native histogram may cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NativeLimits {
    /// Most buckets; 0 is no limit.
    pub(crate) buckets: u64,
    /// Finest schema.
    pub(crate) schema: i32,
}

/// A number that counts observations.
pub(crate) trait Count: Copy + Default + PartialOrd + PartialEq {
    /// The sum.
    fn plus(self, other: Self) -> Self;

    /// As Go prints it.
    fn shown(self) -> String;

    /// Counts as they go over the wire.
    fn counts(native: &Native<Self>) -> HistogramCounts;

    /// Whether the counts of all buckets fit to the count of the whole.
    fn check_total(native: &Native<Self>, in_buckets: Self) -> Result<(), NativeError>;
}

/// Why a native histogram makes its scrape fail.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NativeError {
    /// More buckets than allowed, and no coarser schema.
    #[error("histogram bucket limit exceeded")]
    BucketLimit,
    /// Anything else, in Prometheus' words.
    #[error("{0}")]
    Invalid(String),
}

/// The schema of custom bounds.
pub(crate) const CUSTOM_SCHEMA: i32 = -53;

/// The coarsest schema.
const SCHEMA_MIN: i32 = -4;

/// The finest schema.
pub(crate) const SCHEMA_MAX: i32 = 8;

/// Schemas that a scrape may make coarser: finer ones than [`SCHEMA_MAX`] are reserved.
const SCHEMA_MAX_RESERVED: i32 = 52;

/// Growth from bucket to bucket at [`SCHEMA_MAX`].
const FACTOR_MIN: f64 = 1.002_71;

// === impl NativeLimits ===

impl NativeLimits {
    /// At most so many `buckets`, each at least `min_factor` wider than the one before.
    pub(crate) fn new(buckets: u64, min_factor: f64) -> NativeLimits {
        let factor = if min_factor <= 1.0 { FACTOR_MIN } else { min_factor };
        let schema = (-factor.log2().log2()).floor();
        let schema = schema.clamp(f64::from(SCHEMA_MIN), f64::from(SCHEMA_MAX)) as i32;
        NativeLimits { buckets, schema }
    }
}

// === impl Buckets ===

impl<N: Count> Buckets<N> {
    /// From spans and absolute counts. `side` is for messages.
    pub(crate) fn from_spans(
        side: &str,
        spans: impl Iterator<Item = (i32, u32)>,
        counts: &[N],
    ) -> Result<Buckets<N>, NativeError> {
        let mut buckets = Vec::with_capacity(counts.len());
        let mut rest = counts.iter();
        let mut index = 0_i64;
        let mut wanted = 0_u64;
        for (at, (offset, length)) in spans.enumerate() {
            if at > 0 && offset < 0 {
                return Err(NativeError::Invalid(format!(
                    "{side} side: span number {} with offset {offset}: histogram has a span whose \
                     offset is negative",
                    at + 1
                )));
            }
            index += i64::from(offset);
            wanted += u64::from(length);
            for count in rest.by_ref().take(length as usize) {
                let at = i32::try_from(index).map_err(|_| {
                    NativeError::Invalid(format!("{side} side: bucket index {index} out of range"))
                })?;
                buckets.push((at, *count));
                index += 1;
            }
        }
        if wanted != counts.len() as u64 {
            return Err(NativeError::Invalid(format!(
                "{side} side: spans require {wanted} buckets, have {}",
                counts.len()
            )));
        }
        Ok(Buckets(buckets))
    }

    /// Leaves out empty buckets.
    pub(crate) fn compact(&mut self) {
        self.0.retain(|(_, count)| *count != N::default());
    }

    fn coarser(&mut self, by: i32) {
        let mut merged: Vec<(i32, N)> = Vec::with_capacity(self.0.len());
        for (index, count) in self.0.drain(..) {
            let index = ((i64::from(index) - 1) >> by) as i32 + 1;
            match merged.last_mut() {
                Some((last, sum)) if *last == index => *sum = sum.plus(count),
                _ => merged.push((index, count)),
            }
        }
        self.0 = merged;
    }

    fn check(&self, side: &str) -> Result<N, NativeError> {
        let mut sum = N::default();
        for (at, (_, count)) in self.0.iter().enumerate() {
            if *count < N::default() {
                return Err(NativeError::Invalid(format!(
                    "{side} side: bucket number {} has observation count of {}: histogram has a \
                     bucket whose observation count is negative",
                    at + 1,
                    count.shown()
                )));
            }
            sum = sum.plus(*count);
        }
        Ok(sum)
    }

    /// Puts empty buckets into gaps of at most `gap_max` buckets, so that there are fewer spans.
    pub(crate) fn fill_gaps(&mut self, gap_max: i32) {
        let mut filled: Vec<(i32, N)> = Vec::with_capacity(self.0.len());
        for (index, count) in self.0.drain(..) {
            if let Some((last, _)) = filled.last().copied()
                && index - last - 1 <= gap_max
            {
                filled.extend((last + 1..index).map(|empty| (empty, N::default())));
            }
            filled.push((index, count));
        }
        self.0 = filled;
    }

    fn spans(&self) -> Vec<Span> {
        let mut spans: Vec<Span> = Vec::new();
        let mut next = 0_i64;
        for (index, _) in &self.0 {
            match spans.last_mut() {
                Some(span) if i64::from(*index) == next => span.length += 1,
                _ => {
                    let offset = (i64::from(*index) - next) as i32;
                    spans.push(Span { offset, length: 1 });
                }
            }
            next = i64::from(*index) + 1;
        }
        spans
    }
}

// === impl AnyNative ===

impl AnyNative {
    /// Checks the histogram, makes it as coarse as `limits` ask, and gives it its final shape.
    ///
    /// # Errors
    /// When Prometheus would refuse it.
    pub(crate) fn finish(self, limits: NativeLimits) -> Result<Histogram, NativeError> {
        match self {
            AnyNative::Integer(native) => native.finish(limits),
            AnyNative::Float(native) => native.finish(limits),
        }
    }
}

// === impl Native ===

impl<N: Count> Native<N> {
    /// Checks the histogram, makes it as coarse as `limits` ask, and gives it its final shape.
    ///
    /// # Errors
    /// When Prometheus would refuse it.
    pub(crate) fn finish(mut self, limits: NativeLimits) -> Result<Histogram, NativeError> {
        let finer = limits.schema + 1..=SCHEMA_MAX_RESERVED;
        if limits.schema < SCHEMA_MAX && finer.contains(&self.schema) {
            self.coarser(self.schema - limits.schema);
        }
        let limit = limits.buckets;
        while limit > 0 && (self.positive.0.len() + self.negative.0.len()) as u64 > limit {
            if !(SCHEMA_MIN + 1..=SCHEMA_MAX).contains(&self.schema) {
                return Err(NativeError::BucketLimit);
            }
            self.coarser(1);
        }
        self.check()?;
        Ok(self.shaped())
    }

    fn coarser(&mut self, by: i32) {
        self.positive.coarser(by);
        self.negative.coarser(by);
        self.schema -= by;
    }

    /// Whether the histogram is one.
    ///
    /// # Errors
    /// When Prometheus would refuse it.
    pub(crate) fn check(&self) -> Result<(), NativeError> {
        match self.schema {
            CUSTOM_SCHEMA => self.check_custom_bounds()?,
            SCHEMA_MIN..=SCHEMA_MAX => {}
            schema => {
                return Err(NativeError::Invalid(format!(
                    "histogram has an invalid schema, which must be between {SCHEMA_MIN} and \
                     {SCHEMA_MAX} for exponential buckets, or {CUSTOM_SCHEMA} for custom buckets, \
                     got schema {schema}"
                )));
            }
        }
        let negative = self.negative.check("negative")?;
        let positive = self.positive.check("positive")?;
        N::check_total(self, negative.plus(positive).plus(self.zero_count))
    }

    fn check_custom_bounds(&self) -> Result<(), NativeError> {
        let invalid = |why: &str| Err(NativeError::Invalid(format!("custom buckets: {why}")));
        let bounds = &self.custom_bounds;
        if bounds.iter().any(|bound| bound.is_nan()) {
            return invalid("histogram custom bounds must not be NaN");
        }
        if !bounds.is_sorted_by(|a, b| a < b) {
            return invalid("histogram custom bounds must be in strictly increasing order");
        }
        if bounds.last() == Some(&f64::INFINITY) {
            return invalid("histogram custom bounds must be finite");
        }
        let last = self.positive.0.last().map_or(-1, |(index, _)| *index);
        if i64::from(last) > bounds.len() as i64 {
            return invalid("histogram custom bounds are too few");
        }
        Ok(())
    }

    fn shaped(self) -> Histogram {
        let counts = N::counts(&self);
        Histogram {
            reset_hint: self.reset_hint,
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            sum: self.sum,
            positive_spans: self.positive.spans(),
            negative_spans: self.negative.spans(),
            custom_bounds: self.custom_bounds,
            counts,
        }
    }
}

// === impl Count ===

impl Count for i64 {
    fn plus(self, other: i64) -> i64 {
        self.wrapping_add(other)
    }

    fn shown(self) -> String {
        self.to_string()
    }

    fn counts(native: &Native<i64>) -> HistogramCounts {
        let deltas = |buckets: &Buckets<i64>| {
            let mut before = 0_i64;
            let deltas = buckets.0.iter().map(|(_, count)| {
                let delta = count.wrapping_sub(before);
                before = *count;
                delta
            });
            deltas.collect()
        };
        HistogramCounts::Integer {
            count: native.count as u64,
            zero_count: native.zero_count as u64,
            positive_deltas: deltas(&native.positive),
            negative_deltas: deltas(&native.negative),
        }
    }

    fn check_total(native: &Native<i64>, in_buckets: i64) -> Result<(), NativeError> {
        let (found, count) = (in_buckets as u64, native.count as u64);
        let why = match native.sum.is_nan() {
            true if found > count => "at least the number of observations found in the buckets",
            false if found != count => {
                "equal the number of observations found in the buckets (in absence of NaN)"
            }
            _ => return Ok(()),
        };
        Err(NativeError::Invalid(format!(
            "{found} observations found in buckets, but the Count field is {count}: histogram's \
             observation count should {}{why}",
            if native.sum.is_nan() { "be " } else { "" }
        )))
    }
}

impl Count for f64 {
    fn plus(self, other: f64) -> f64 {
        self + other
    }

    fn shown(self) -> String {
        self.to_string()
    }

    fn counts(native: &Native<f64>) -> HistogramCounts {
        let absolute = |buckets: &Buckets<f64>| buckets.0.iter().map(|(_, count)| *count).collect();
        HistogramCounts::Float {
            count: native.count,
            zero_count: native.zero_count,
            positive: absolute(&native.positive),
            negative: absolute(&native.negative),
        }
    }

    fn check_total(native: &Native<f64>, _: f64) -> Result<(), NativeError> {
        if native.zero_count < 0.0 {
            return Err(NativeError::Invalid(format!(
                "zero bucket has observation count of {}: histogram has a bucket whose \
                 observation count is negative",
                native.zero_count
            )));
        }
        if native.count < 0.0 {
            return Err(NativeError::Invalid(format!(
                "observation count is  {}: histogram's observation count is negative",
                native.count
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
