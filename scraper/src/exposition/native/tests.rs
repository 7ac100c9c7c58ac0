//! Shapes, resolutions and faults of native histograms.

use super::*;

const NO_LIMITS: NativeLimits = NativeLimits { buckets: 0, schema: SCHEMA_MAX };

/// A histogram of integer counts.
fn native(schema: i32, positive: &[(i32, i64)]) -> Native<i64> {
    let mut positive = Buckets(positive.to_vec());
    let count = positive.0.iter().map(|(_, count)| count).sum();
    positive.compact();
    Native {
        reset_hint: ResetHint::Unknown,
        schema,
        zero_threshold: 0.0,
        zero_count: 0,
        count,
        sum: 1.0,
        positive,
        negative: Buckets::default(),
        custom_bounds: Vec::new(),
    }
}

/// Schema, spans and deltas of the positive buckets; or the error.
type Want<'w> = Result<(i32, &'w [(i32, u32)], &'w [i64]), &'w str>;

#[track_caller]
fn check(native: Native<i64>, limits: NativeLimits, want: Want<'_>) {
    let got = native.finish(limits).map_err(|error| error.to_string());
    match (got, want) {
        (Ok(histogram), Ok((schema, spans, deltas))) => {
            let got: Vec<_> =
                histogram.positive_spans.iter().map(|span| (span.offset, span.length)).collect();
            let HistogramCounts::Integer { positive_deltas, .. } = histogram.counts else {
                panic!("integer counts");
            };
            assert_eq!((histogram.schema, &*got, &*positive_deltas), (schema, spans, deltas));
        }
        (got, want) => assert_eq!(got.err().as_deref(), want.err()),
    }
}

#[test]
fn spans_and_deltas_leave_out_empty_buckets() {
    let buckets = [(-2, 1), (-1, 0), (0, 3), (1, 2), (9, 5)];
    let want: (i32, &[(i32, u32)], &[i64]) = (3, &[(-2, 1), (1, 2), (7, 1)], &[1, 2, -1, 3]);
    check(native(3, &buckets), NO_LIMITS, Ok(want));
    check(native(3, &[]), NO_LIMITS, Ok((3, &[], &[])));
}

#[test]
fn too_many_buckets_are_merged_until_they_fit() {
    let buckets: Vec<_> = (1..=8).map(|at| (at, at.into())).collect();
    let limits = |buckets| NativeLimits { buckets, ..NO_LIMITS };
    check(native(2, &buckets), limits(4), Ok((1, &[(1, 4)], &[3, 4, 4, 4])));
    check(native(2, &buckets), limits(1), Ok((-1, &[(1, 1)], &[36])));
    let wide = [(-100, 1), (100, 1)];
    check(native(-4, &wide), limits(1), Err("histogram bucket limit exceeded"));
}

#[test]
fn a_factor_limits_the_schema() {
    assert_eq!(NativeLimits::new(0, 0.0).schema, 8);
    assert_eq!(NativeLimits::new(0, 1.1).schema, 2);
    assert_eq!(NativeLimits::new(0, 2.0).schema, 0);
    assert_eq!(NativeLimits::new(0, 1e300).schema, -4);
    let coarse = NativeLimits { schema: 0, ..NO_LIMITS };
    check(native(1, &[(1, 1), (2, 1), (3, 1)]), coarse, Ok((0, &[(1, 2)], &[2, -1])));
}

#[test]
fn what_is_wrong_is_said_in_the_words_of_prometheus() {
    let invalid_schema = "histogram has an invalid schema, which must be between -4 and 8 for \
                          exponential buckets, or -53 for custom buckets, got schema 9";
    check(native(9, &[(0, 1)]), NO_LIMITS, Err(invalid_schema));
    let negative = "positive side: bucket number 2 has observation count of -1: histogram has a \
                    bucket whose observation count is negative";
    check(native(0, &[(0, 1), (1, -1)]), NO_LIMITS, Err(negative));
    let mut wrong = native(0, &[(0, 1)]);
    wrong.count = 3;
    let mismatch = "1 observations found in buckets, but the Count field is 3: histogram's \
                    observation count should equal the number of observations found in the \
                    buckets (in absence of NaN)";
    check(wrong, NO_LIMITS, Err(mismatch));
}

#[test]
fn spans_that_need_other_buckets_are_refused() {
    let read = |spans: &[(i32, u32)], counts: &[i64]| {
        Buckets::from_spans("positive", spans.iter().copied(), counts).map_err(|e| e.to_string())
    };
    assert_eq!(read(&[(1, 2), (2, 1)], &[4, 5, 6]), Ok(Buckets(vec![(1, 4), (2, 5), (5, 6)])));
    assert_eq!(
        read(&[(0, u32::MAX)], &[1]),
        Err("positive side: spans require 4294967295 buckets, have 1".to_owned())
    );
    assert!(read(&[(0, 1), (-1, 1)], &[1, 1]).unwrap_err().contains("offset is negative"));
    assert!(read(&[(i32::MAX, 2)], &[1, 1]).unwrap_err().contains("out of range"));
}
