//! Histograms for the tests of this module.

use std::ops::RangeInclusive;

use proptest::prelude::*;

use super::{Buckets, CounterResetHint, Histogram, Span};

/// An integer histogram of schema 0 with buckets side by side from bucket 0.
pub(super) fn integer(
    count: u64,
    zero_count: u64,
    positive: &[i64],
    negative: &[i64],
) -> Histogram {
    let spans = |deltas: &[i64]| {
        let length = u32::try_from(deltas.len()).unwrap();
        Vec::from_iter((length > 0).then_some(Span { offset: 0, length }))
    };
    Histogram {
        reset_hint: CounterResetHint::Unknown,
        schema: 0,
        zero_threshold: 0.0,
        sum: 1.0,
        positive_spans: spans(positive),
        negative_spans: spans(negative),
        buckets: Buckets::Integer {
            count,
            zero_count,
            positive: positive.to_vec(),
            negative: negative.to_vec(),
        },
        custom_values: vec![],
    }
}

/// Spans, and the counts of their buckets.
fn side() -> impl Strategy<Value = (Vec<Span>, Vec<u32>)> {
    let span = (0i32..1000, 0u32..6).prop_map(|(offset, length)| Span { offset, length });
    let spans = (prop::collection::vec(span, 0..5), -500i32..500).prop_map(|(mut spans, first)| {
        if let Some(span) = spans.first_mut() {
            span.offset = first;
        }
        spans
    });
    spans.prop_flat_map(|spans| {
        let buckets: u32 = spans.iter().map(|span| span.length).sum();
        (Just(spans), prop::collection::vec(0u32..1000, buckets as usize))
    })
}

/// Valid exponential histograms, integer and float, but for schemas that must first be reduced.
pub(super) fn any_valid(schemas: RangeInclusive<i32>) -> impl Strategy<Value = Histogram> {
    (schemas, side(), side(), 0u32..100, any::<bool>()).prop_map(
        |(schema, (positive_spans, positive), (negative_spans, negative), zero_count, float)| {
            let count = positive.iter().chain(&negative).sum::<u32>() + zero_count;
            let buckets = if float {
                let counts = |counts: &[u32]| counts.iter().map(|c| f64::from(*c)).collect();
                Buckets::Float {
                    count: count.into(),
                    zero_count: zero_count.into(),
                    positive: counts(&positive),
                    negative: counts(&negative),
                }
            } else {
                Buckets::Integer {
                    count: count.into(),
                    zero_count: zero_count.into(),
                    positive: deltas(&positive),
                    negative: deltas(&negative),
                }
            };
            let empty = integer(0, 0, &[], &[]);
            Histogram { schema, buckets, positive_spans, negative_spans, ..empty }
        },
    )
}

fn deltas(counts: &[u32]) -> Vec<i64> {
    let before = std::iter::once(&0).chain(counts);
    counts.iter().zip(before).map(|(c, b)| i64::from(*c) - i64::from(*b)).collect()
}
