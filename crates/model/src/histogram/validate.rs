//! Which histograms are valid: the rules of Prometheus, in its order, so that the same one of
//! several faults is named.

use super::{Buckets, Histogram, HistogramError, Span};

const POSITIVE: &str = "positive side";
const NEGATIVE: &str = "negative side";
const CUSTOM: &str = "custom buckets";

impl Histogram {
    /// Checks that spans and buckets agree, that no count is negative, that the counts add up, and
    /// that there is nothing that the schema does not have.
    ///
    /// Fractional counts need not add up: rounding would refuse what is right.
    pub fn validate(&self) -> Result<(), HistogramError> {
        match &self.buckets {
            Buckets::Integer { count, zero_count, positive, negative } => {
                self.check_layout(positive.len(), negative.len(), *zero_count != 0)?;
                let below = sum_of_deltas(NEGATIVE, negative)?;
                let above = sum_of_deltas(POSITIVE, positive)?;
                self.check_count(*count, below + above + u128::from(*zero_count))
            }
            Buckets::Float { count, zero_count, positive, negative } => {
                self.check_layout(positive.len(), negative.len(), *zero_count != 0.0)?;
                check_counts(NEGATIVE, negative)?;
                check_counts(POSITIVE, positive)?;
                check_not_negative("zero bucket", *zero_count)?;
                check_not_negative("count", *count)
            }
        }
    }

    fn check_layout(
        &self,
        positive: usize,
        negative: usize,
        has_zero_count: bool,
    ) -> Result<(), HistogramError> {
        if self.schema == Self::CUSTOM_SCHEMA {
            check_custom_bounds(&self.custom_values)?;
            self.check_custom_spans(positive)?;
            return self.check_custom_only(negative, has_zero_count);
        }
        if !Self::EXPONENTIAL_SCHEMAS.contains(&self.schema) {
            return Err(HistogramError::Schema(self.schema));
        }
        check_spans(POSITIVE, &self.positive_spans, positive)?;
        check_spans(NEGATIVE, &self.negative_spans, negative)?;
        if !self.custom_values.is_empty() {
            let text = "histogram with exponential schema must not have custom bounds";
            return Err(HistogramError::CustomBounds(text.to_owned()));
        }
        Ok(())
    }

    /// Custom buckets begin at bucket 0, and there is one more of them than bounds.
    fn check_custom_spans(&self, buckets: usize) -> Result<(), HistogramError> {
        let spans = &self.positive_spans;
        if let Some(first) = spans.first().filter(|first| first.offset < 0) {
            return Err(negative_offset(CUSTOM, 0, first.offset));
        }
        check_spans(CUSTOM, spans, buckets)?;
        let reach = |span: &Span| u64::from(span.length) + u64::from(span.offset.unsigned_abs());
        let total: u64 = spans.iter().map(reach).sum();
        let bounds = self.custom_values.len();
        if (bounds as u64) + 1 < total {
            let text = format!(
                "{CUSTOM}: only {bounds} custom bounds defined which is insufficient to cover \
                 total span length of {total}: histogram custom bounds are too few"
            );
            return Err(HistogramError::CustomBounds(text));
        }
        Ok(())
    }

    fn check_custom_only(
        &self,
        negative: usize,
        has_zero_count: bool,
    ) -> Result<(), HistogramError> {
        let text = if has_zero_count {
            "must have zero count of 0"
        } else if self.zero_threshold != 0.0 {
            "must have zero threshold of 0"
        } else if !self.negative_spans.is_empty() {
            "must not have negative spans"
        } else if negative > 0 {
            "must not have negative buckets"
        } else {
            return Ok(());
        };
        Err(HistogramError::CustomOnly(text))
    }

    fn check_count(&self, count: u64, buckets: u128) -> Result<(), HistogramError> {
        let shown = u64::try_from(buckets).unwrap_or(u64::MAX);
        match buckets.cmp(&u128::from(count)) {
            std::cmp::Ordering::Equal => Ok(()),
            // An observation of NaN is counted, makes the sum NaN, and is in no bucket.
            std::cmp::Ordering::Less if self.sum.is_nan() => Ok(()),
            _ if self.sum.is_nan() => {
                Err(HistogramError::CountNotBigEnough { buckets: shown, count })
            }
            _ => Err(HistogramError::CountMismatch { buckets: shown, count }),
        }
    }
}

pub(super) fn check_spans(
    side: &'static str,
    spans: &[Span],
    buckets: usize,
) -> Result<(), HistogramError> {
    let mut needed = 0;
    for (at, span) in spans.iter().enumerate() {
        if at > 0 && span.offset < 0 {
            return Err(negative_offset(side, at, span.offset));
        }
        needed += u64::from(span.length);
    }
    if needed != buckets as u64 {
        return Err(HistogramError::SpansBuckets { side, spans: needed, buckets });
    }
    Ok(())
}

fn negative_offset(side: &'static str, at: usize, offset: i32) -> HistogramError {
    HistogramError::NegativeOffset { side, number: at + 1, offset }
}

fn check_custom_bounds(bounds: &[f64]) -> Result<(), HistogramError> {
    let fault = |text: String| Err(HistogramError::CustomBounds(format!("{CUSTOM}: {text}")));
    let mut previous = f64::NEG_INFINITY;
    for &bound in bounds {
        if bound.is_nan() {
            return fault("histogram custom bounds must not be NaN".to_owned());
        }
        if bound <= previous {
            return fault(format!(
                "previous bound is {previous:.6} and current is {bound:.6}: histogram custom \
                 bounds must be in strictly increasing order"
            ));
        }
        previous = bound;
    }
    if previous == f64::INFINITY {
        return fault(
            "last +Inf bound must not be explicitly defined: histogram custom bounds must be finite"
                .to_owned(),
        );
    }
    Ok(())
}

/// The sum of buckets that are given as differences. A bucket that overflows wraps to a negative
/// one and is refused.
fn sum_of_deltas(side: &'static str, deltas: &[i64]) -> Result<u128, HistogramError> {
    let (mut bucket, mut sum) = (0i64, 0u128);
    for (at, delta) in deltas.iter().enumerate() {
        bucket = bucket.wrapping_add(*delta);
        let count = u64::try_from(bucket).map_err(|_| negative_bucket(side, at, &bucket))?;
        sum += u128::from(count);
    }
    Ok(sum)
}

fn check_counts(side: &'static str, counts: &[f64]) -> Result<(), HistogramError> {
    match counts.iter().enumerate().find(|(_, count)| **count < 0.0) {
        Some((at, count)) => Err(negative_bucket(side, at, count)),
        None => Ok(()),
    }
}

fn negative_bucket(side: &'static str, at: usize, count: &impl ToString) -> HistogramError {
    HistogramError::NegativeBucket { side, number: at + 1, count: count.to_string() }
}

fn check_not_negative(what: &'static str, count: f64) -> Result<(), HistogramError> {
    if count < 0.0 {
        return Err(HistogramError::NegativeCount { what, count: count.to_string() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::histogram::testing::{any_valid, integer};

    fn text(histogram: &Histogram) -> String {
        histogram.validate().unwrap_err().to_string()
    }

    fn spans(pairs: &[(i32, u32)]) -> Vec<Span> {
        pairs.iter().map(|&(offset, length)| Span { offset, length }).collect()
    }

    fn custom() -> Histogram {
        Histogram {
            schema: Histogram::CUSTOM_SCHEMA,
            positive_spans: spans(&[(0, 2), (1, 1)]),
            custom_values: vec![0.5, 1.0, 2.0],
            ..integer(6, 0, &[1, 1, 1], &[])
        }
    }

    #[test]
    fn spans_must_name_as_many_buckets_as_there_are() {
        let mut histogram = integer(3, 0, &[1, 1], &[]);
        assert_eq!(histogram.validate(), Ok(()));
        histogram.positive_spans = spans(&[(0, 3)]);
        assert_eq!(
            text(&histogram),
            "positive side: spans need 3 buckets, have 2 buckets: histogram spans specify \
             different number of buckets than provided"
        );
        histogram.positive_spans = spans(&[(-3, 1), (-1, 1)]);
        assert_eq!(
            text(&histogram),
            "positive side: span number 2 with offset -1: histogram has a span whose \
             offset is negative"
        );
        histogram.positive_spans = spans(&[(-3, 1), (0, 1)]);
        assert_eq!(histogram.validate(), Ok(()));
    }

    #[test]
    fn counts_must_add_up_but_for_observations_of_nan() {
        let mut histogram = integer(99, 1, &[1, 1], &[2]);
        let mismatch = HistogramError::CountMismatch { buckets: 6, count: 99 };
        assert_eq!(histogram.validate(), Err(mismatch));
        histogram.sum = f64::NAN;
        assert_eq!(histogram.validate(), Ok(()));
        let few = Histogram { sum: f64::NAN, ..integer(5, 1, &[1, 1], &[2]) };
        let error = HistogramError::CountNotBigEnough { buckets: 6, count: 5 };
        assert_eq!(few.validate(), Err(error));
    }

    #[test]
    fn no_bucket_is_negative() {
        assert_eq!(
            text(&integer(0, 0, &[1, -2], &[])),
            "positive side: bucket number 2 has observation count of -1: histogram has a bucket \
             whose observation count is negative"
        );
        assert!(text(&integer(0, 0, &[i64::MAX, 1], &[])).starts_with("positive side: bucket"));
        let float = |count, zero_count, bucket| Histogram {
            positive_spans: spans(&[(0, 1)]),
            buckets: Buckets::Float { count, zero_count, positive: vec![bucket], negative: vec![] },
            ..integer(0, 0, &[], &[])
        };
        assert_eq!(float(7.0, 1.5, 0.25).validate(), Ok(()));
        assert!(text(&float(7.0, 1.5, -0.25)).contains("observation count of -0.25"));
        assert!(text(&float(-7.0, 1.5, 0.25)).starts_with("count is negative: -7"));
        assert!(text(&float(7.0, -1.5, 0.25)).starts_with("zero bucket is negative: -1.5"));
    }

    #[test]
    fn only_schemas_that_exist_are_valid() {
        for schema in [-53, -4, 0, 8] {
            let histogram = Histogram { schema, ..integer(0, 0, &[], &[]) };
            assert_eq!(histogram.validate(), Ok(()), "schema {schema}");
        }
        for schema in [-54, -52, -5, 9, 52, i32::MAX] {
            let histogram = Histogram { schema, ..integer(0, 0, &[], &[]) };
            assert_eq!(histogram.validate(), Err(HistogramError::Schema(schema)));
        }
    }

    #[test]
    fn custom_bounds_rise_and_are_finite_and_enough() {
        assert_eq!(custom().validate(), Ok(()));
        let with = |custom_values: &[f64]| {
            text(&Histogram { custom_values: custom_values.to_vec(), ..custom() })
        };
        assert!(with(&[0.5, 0.5, 2.0]).contains("strictly increasing order"));
        assert!(with(&[0.5, f64::NAN, 2.0]).contains("must not be NaN"));
        assert!(with(&[0.5, 1.0, f64::INFINITY]).contains("must be finite"));
        assert!(with(&[f64::NEG_INFINITY, 1.0, 2.0]).contains("strictly increasing order"));
        assert!(with(&[0.5, 1.0]).contains("only 2 custom bounds"));
        let early = Histogram { positive_spans: spans(&[(-1, 3)]), ..custom() };
        assert!(text(&early).starts_with("custom buckets: span number 1 with offset -1"));
        let exponential = Histogram { schema: 0, ..custom() };
        assert!(text(&exponential).contains("must not have custom bounds"));
    }

    #[test]
    fn custom_buckets_have_nothing_but_positive_ones() {
        let of = |change: fn(&mut Histogram)| {
            let mut histogram = custom();
            change(&mut histogram);
            text(&histogram)
        };
        let zero_count = of(|h| match &mut h.buckets {
            Buckets::Integer { zero_count, .. } => *zero_count = 1,
            Buckets::Float { .. } => unreachable!("the histogram is an integer one"),
        });
        assert_eq!(zero_count, "custom buckets: must have zero count of 0");
        assert!(of(|h| h.zero_threshold = 0.1).contains("zero threshold"));
        assert!(of(|h| h.negative_spans = spans(&[(0, 0)])).contains("negative spans"));
    }

    proptest! {
        #[test]
        fn a_bucket_more_or_less_is_always_found(histogram in any_valid(-4..=8)) {
            prop_assert_eq!(histogram.validate(), Ok(()));
            let mut more = histogram.clone();
            match &mut more.buckets {
                Buckets::Integer { positive, .. } => positive.push(1),
                Buckets::Float { positive, .. } => positive.push(1.0),
            }
            prop_assert!(more.validate().is_err());
            let mut wrong = histogram;
            if let Buckets::Integer { count, .. } = &mut wrong.buckets {
                *count += 1;
                prop_assert!(wrong.validate().is_err());
            }
        }
    }
}
