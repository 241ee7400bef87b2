//! Native histograms as the API writes them:
//! `[t,{"count":…,"sum":…,"buckets":[[rule,lower,upper,count],…]}]`.

use rangekeeper_model::{Buckets, Histogram, Span};

use super::number::{append_seconds, append_value_text};

/// Which of its bounds belong to a bucket, as the API numbers it.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Bounds {
    Upper = 0,
    Lower = 1,
    Both = 3,
}

/// Appends a histogram and its time.
pub(super) fn append_histogram(out: &mut Vec<u8>, at_ms: i64, histogram: &Histogram) {
    let absolute = Absolute::of(histogram);
    out.push(b'[');
    append_seconds(out, at_ms);
    out.extend_from_slice(b",{\"count\":");
    append_value_text(out, absolute.count);
    out.extend_from_slice(b",\"sum\":");
    append_value_text(out, histogram.sum);
    let mut buckets = absolute.buckets(histogram);
    buckets.retain(|bucket| bucket.3 != 0.0);
    if !buckets.is_empty() {
        out.extend_from_slice(b",\"buckets\":");
        super::append_list(out, &buckets, |out, (bounds, lower, upper, count)| {
            out.push(b'[');
            out.push(b'0' + *bounds as u8);
            for value in [lower, upper, count] {
                out.push(b',');
                append_value_text(out, *value);
            }
            out.push(b']');
        });
    }
    out.extend_from_slice(b"}]");
}

/// Counts as floats, each bucket's own.
struct Absolute {
    count: f64,
    zero_count: f64,
    positive: Vec<f64>,
    negative: Vec<f64>,
}

impl Absolute {
    #[expect(clippy::cast_precision_loss, reason = "the API's numbers are floats")]
    fn of(histogram: &Histogram) -> Self {
        let sums = |deltas: &[i64]| {
            let mut sum = 0i64;
            let mut next = |delta: &i64| {
                sum = sum.wrapping_add(*delta);
                sum as f64
            };
            deltas.iter().map(&mut next).collect()
        };
        match &histogram.buckets {
            Buckets::Integer { count, zero_count, positive, negative } => Self {
                count: *count as f64,
                zero_count: *zero_count as f64,
                positive: sums(positive),
                negative: sums(negative),
            },
            Buckets::Float { count, zero_count, positive, negative } => Self {
                count: *count,
                zero_count: *zero_count,
                positive: positive.clone(),
                negative: negative.clone(),
            },
        }
    }

    /// All buckets, from the lowest to the highest.
    fn buckets(&self, histogram: &Histogram) -> Vec<(Bounds, f64, f64, f64)> {
        let mut buckets = Vec::new();
        for (index, count) in indexed(&histogram.negative_spans, &self.negative) {
            let (lower, upper) = (bound(histogram, index - 1), bound(histogram, index));
            buckets.push((Bounds::Lower, -upper, -lower, count));
        }
        buckets.reverse();
        if self.zero_count != 0.0 {
            let threshold = histogram.zero_threshold;
            buckets.push((Bounds::Both, -threshold, threshold, self.zero_count));
        }
        for (index, count) in indexed(&histogram.positive_spans, &self.positive) {
            let (lower, upper) = (bound(histogram, index - 1), bound(histogram, index));
            let first_custom = histogram.schema == Histogram::CUSTOM_SCHEMA && index == 0;
            let bounds = if first_custom { Bounds::Both } else { Bounds::Upper };
            buckets.push((bounds, lower, upper, count));
        }
        buckets
    }
}

/// Each bucket's index and count.
fn indexed<'a>(spans: &'a [Span], counts: &'a [f64]) -> impl Iterator<Item = (i32, f64)> + 'a {
    let mut next = 0i32;
    let indexes = spans.iter().flat_map(move |span| {
        let first = next.wrapping_add(span.offset);
        next = first.wrapping_add(i32::try_from(span.length).unwrap_or(i32::MAX));
        first..next
    });
    indexes.zip(counts.iter().copied())
}

/// The upper bound of bucket `index`.
fn bound(histogram: &Histogram, index: i32) -> f64 {
    if histogram.schema == Histogram::CUSTOM_SCHEMA {
        return match usize::try_from(index) {
            Ok(index) => histogram.custom_values.get(index).copied().unwrap_or(f64::INFINITY),
            Err(_) => f64::NEG_INFINITY,
        };
    }
    let exponent = f64::from(index) * 2f64.powi(-histogram.schema);
    // The last bucket ends at the greatest float, and what is greater lies in the one behind it.
    match 2f64.powf(exponent) {
        bound if bound.is_infinite() && 2f64.powf(exponent - 1.0).is_finite() => f64::MAX,
        bound => bound,
    }
}
