//! Histograms finer than we keep, made as coarse as we keep them.

use super::validate::check_spans;
use super::{Buckets, Histogram, HistogramError, Span};

impl Histogram {
    /// The highest schema that is reduced when it is received.
    const HIGHEST_REDUCIBLE: i32 = 52;

    /// Merges the buckets of a histogram whose schema is above the highest that we keep, up to 52,
    /// into those of the highest that we keep. Leaves every other histogram as it is; those that
    /// are invalid are for [`Histogram::validate`] to find, but spans must name as many buckets as
    /// there are.
    pub fn reduce_schema(&mut self) -> Result<(), HistogramError> {
        let highest = *Self::EXPONENTIAL_SCHEMAS.end();
        if self.schema <= highest || self.schema > Self::HIGHEST_REDUCIBLE {
            return Ok(());
        }
        let shift = (self.schema - highest).unsigned_abs();
        let sides = [
            ("positive side", &mut self.positive_spans),
            ("negative side", &mut self.negative_spans),
        ];
        let (above, below) = match &mut self.buckets {
            Buckets::Integer { positive, negative, .. } => {
                (Side::Deltas(positive), Side::Deltas(negative))
            }
            Buckets::Float { positive, negative, .. } => {
                (Side::Counts(positive), Side::Counts(negative))
            }
        };
        for ((name, spans), buckets) in sides.into_iter().zip([above, below]) {
            let indexes = reduced_indexes(name, spans, buckets.len(), shift)?;
            *spans = spans_of(name, &indexes)?;
            buckets.merge(&indexes);
        }
        self.schema = highest;
        Ok(())
    }
}

/// The buckets of one side.
enum Side<'a> {
    Deltas(&'a mut Vec<i64>),
    Counts(&'a mut Vec<f64>),
}

impl Side<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Deltas(deltas) => deltas.len(),
            Self::Counts(counts) => counts.len(),
        }
    }

    /// Merges neighbours of the same index.
    fn merge(self, indexes: &[i64]) {
        match self {
            Self::Counts(counts) => *counts = merged(counts, indexes, |a, b| a + b),
            Self::Deltas(deltas) => {
                let mut count = 0i64;
                for delta in &mut *deltas {
                    count = count.wrapping_add(*delta);
                    *delta = count;
                }
                let counts = merged(deltas, indexes, i64::wrapping_add);
                let before = std::iter::once(&0).chain(&counts);
                *deltas = counts.iter().zip(before).map(|(c, b)| c.wrapping_sub(*b)).collect();
            }
        }
    }
}

fn merged<T: Copy>(counts: &[T], indexes: &[i64], add: impl Fn(T, T) -> T) -> Vec<T> {
    let mut out: Vec<T> = Vec::new();
    for (at, &count) in counts.iter().enumerate() {
        match out.last_mut() {
            Some(last) if at > 0 && indexes[at] == indexes[at - 1] => *last = add(*last, count),
            _ => out.push(count),
        }
    }
    out
}

/// For each bucket its index in the coarser schema. Bucket `i` reaches up to and with its bound
/// `base^i`, so that the ones that become bucket `j` end with `j << shift`.
fn reduced_indexes(
    side: &'static str,
    spans: &[Span],
    buckets: usize,
    shift: u32,
) -> Result<Vec<i64>, HistogramError> {
    check_spans(side, spans, buckets)?;
    let mut indexes = Vec::with_capacity(buckets);
    let mut index = 0i64;
    for span in spans {
        index += i64::from(span.offset);
        for _ in 0..span.length {
            indexes.push(((index - 1) >> shift) + 1);
            index += 1;
        }
    }
    Ok(indexes)
}

/// The spans of buckets with these indexes, each perhaps several times.
fn spans_of(side: &'static str, indexes: &[i64]) -> Result<Vec<Span>, HistogramError> {
    let mut spans: Vec<Span> = Vec::new();
    let mut next = 0;
    for (at, &index) in indexes.iter().enumerate() {
        match spans.last_mut() {
            Some(_) if at > 0 && index == indexes[at - 1] => continue,
            Some(last) if index == next => last.length += 1,
            _ => {
                let offset = i32::try_from(index - next)
                    .map_err(|_| HistogramError::OffsetRange { side, offset: index - next })?;
                spans.push(Span { offset, length: 1 });
            }
        }
        next = index + 1;
    }
    Ok(spans)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::histogram::testing::{any_valid, integer};

    /// Index → count of each side, empty buckets left out.
    fn by_index(histogram: &Histogram) -> [BTreeMap<i64, f64>; 2] {
        let absolute = |deltas: &[i64]| {
            let sums = deltas.iter().scan(0, |count, delta| {
                *count += delta;
                Some(*count)
            });
            #[expect(clippy::cast_precision_loss, reason = "the counts are small")]
            sums.map(|count| count as f64).collect()
        };
        let [above, below]: [Vec<f64>; 2] = match &histogram.buckets {
            Buckets::Integer { positive, negative, .. } => [absolute(positive), absolute(negative)],
            Buckets::Float { positive, negative, .. } => [positive.clone(), negative.clone()],
        };
        [(&histogram.positive_spans, above), (&histogram.negative_spans, below)].map(
            |(spans, counts)| {
                let mut index = 0i64;
                let mut indexes = Vec::new();
                for span in spans {
                    index += i64::from(span.offset);
                    indexes.extend(index..index + i64::from(span.length));
                    index += i64::from(span.length);
                }
                indexes.into_iter().zip(counts).filter(|(_, count)| *count != 0.0).collect()
            },
        )
    }

    #[test]
    fn buckets_merge_into_the_bucket_that_holds_their_bound() {
        // At schema 9 buckets 1 and 2 make bucket 1 of schema 8, bucket 0 stays alone, bucket 3
        // goes into 2.
        let mut histogram = Histogram {
            schema: 9,
            positive_spans: vec![Span { offset: 0, length: 4 }],
            ..integer(10, 0, &[1, 1, 1, 1], &[])
        };
        histogram.reduce_schema().unwrap();
        assert_eq!(histogram.schema, 8);
        assert_eq!(histogram.positive_spans, [Span { offset: 0, length: 3 }]);
        let Buckets::Integer { positive, .. } = &histogram.buckets else { panic!("no integers") };
        assert_eq!(positive, &[1, 4, -1]);
        assert_eq!(histogram.validate(), Ok(()));
    }

    #[test]
    fn what_need_not_be_reduced_stays_as_it_is() {
        for schema in [-53, -4, 8, 53, -60] {
            let before = Histogram { schema, ..integer(10, 0, &[1, 1, 1, 1], &[]) };
            let mut after = before.clone();
            after.reduce_schema().unwrap();
            assert_eq!(after, before);
        }
    }

    #[test]
    fn spans_that_lie_are_refused_before_they_cost_anything() {
        let mut histogram = Histogram {
            schema: 9,
            positive_spans: vec![Span { offset: 0, length: u32::MAX }],
            ..integer(1, 0, &[1], &[])
        };
        assert!(matches!(histogram.reduce_schema(), Err(HistogramError::SpansBuckets { .. })));
    }

    proptest! {
        #[test]
        fn every_bucket_is_counted_where_its_bound_lies(before in any_valid(9..=52)) {
            let mut after = before.clone();
            after.reduce_schema().unwrap();
            prop_assert_eq!(after.validate(), Ok(()));
            let width = 1i64 << (before.schema - 8);
            let expected = by_index(&before).map(|side| {
                let mut coarse: BTreeMap<i64, f64> = BTreeMap::new();
                for (index, count) in side {
                    // The least multiple of the width that is not below the index.
                    let holds = -((-index).div_euclid(width));
                    *coarse.entry(holds).or_default() += count;
                }
                coarse
            });
            prop_assert_eq!(by_index(&after), expected);
        }
    }
}
