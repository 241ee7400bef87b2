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
    exponential_bound(histogram.schema, index)
}

fn exponential_bound(schema: i32, index: i32) -> f64 {
    let (fraction, exponent) = if schema > 0 {
        (fraction(index & ((1 << schema) - 1), schema), (i64::from(index) >> schema) + 1)
    } else {
        (0.5, (i64::from(index) << -schema) + 1)
    };
    // The last bucket ends at the greatest float, and what is greater lies in the one behind it.
    if fraction == 0.5 && exponent == 1025 { f64::MAX } else { scaled(fraction, exponent) }
}

/// `2^(index / 2^schema - 1)`, in `[0.5, 1)`.
///
/// Upstream has a table of these numbers, and clients put observations into buckets by it. Its last
/// digits are those of a product of repeated square roots of 2, the first of which is halved and
/// rounded down, so this is how they are made here too.
fn fraction(index: i32, schema: i32) -> f64 {
    let has_root = |number: i32| index >> (schema - number) & 1 == 1;
    let mut product = if has_root(1) { std::f64::consts::FRAC_1_SQRT_2.next_down() } else { 0.5 };
    let mut root = std::f64::consts::SQRT_2;
    for number in 2..=schema {
        root = root.sqrt();
        if has_root(number) {
            product *= root;
        }
    }
    product
}

/// `fraction * 2^exponent`, rounded once.
fn scaled(fraction: f64, exponent: i64) -> f64 {
    // One power of two would overflow before the product does; no float is beyond 2^±1100.
    let exponent = i32::try_from(exponent.clamp(-2_000, 2_000)).expect("clamped");
    let first = exponent.clamp(-1_000, 1_000);
    fraction * 2f64.powi(first) * 2f64.powi(exponent - first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_have_the_digits_of_prometheus() {
        for (schema, index, expected) in [
            (1, 1, std::f64::consts::SQRT_2.next_down()),
            (2, 3, 1.681_792_830_507_428_8),
            (3, 5, 1.542_210_825_407_940_7),
            (5, 3, 1.067_140_400_676_823_5),
            (5, 31, 1.957_144_124_175_399_7),
            (6, 37, 1.492_907_728_291_264_6),
            (8, 6, 1.016_378_314_910_952_9),
            (8, 100, 1.310_961_211_524_764_4),
            (8, 129, 1.418_047_884_320_415_2),
            (8, 255, 1.994_592_112_170_939_6),
            (0, 10, 1024.0),
            (0, -1_074, 5e-324),
            (1, -2_149, 5e-324),
            (0, 1_023, 8.988_465_674_311_58e307),
            (0, 1_024, f64::MAX),
            (0, 1_025, f64::INFINITY),
            (8, 262_143, 1.792_832_273_450_112_2e308),
            (8, 262_144, f64::MAX),
            (-1, 512, f64::MAX),
            (-1, 511, 4.494_232_837_155_79e307),
            (-4, -68, 0.0),
            (-4, -67, 2e-323),
            (-4, 63, 2.743_062_034_396_844_3e303),
            (3, -66, 0.003_284_751_622_084_822),
        ] {
            assert_eq!(exponential_bound(schema, index), expected, "{schema} {index}");
        }
    }
}
